//! The files that `init` writes, made from the answers to its questions. Pure.

use std::fmt::Write as _;

use super::glance::Glance;
use crate::language::Language;

/// The answers about the project.
pub(super) struct Project {
    /// Its name in the config.
    pub(super) name: String,
    pub(super) api_key: String,
    /// Where the API is, if not at the usual place.
    pub(super) base_url: Option<String>,
}

/// The answers.
pub(super) struct Draft {
    pub(super) project: Project,
    pub(super) timezone: String,
    pub(super) language: Language,
    /// The token of the page and the admin API: other users of the machine can reach an address that asks for none.
    pub(super) token: String,
    /// Where the store is, if not at the usual place.
    pub(super) store: Option<&'static str>,
    pub(super) receivers: Vec<Receiver>,
    pub(super) rules: Vec<Preset>,
}

/// Somebody to be told.
#[derive(Clone)]
pub(super) enum Receiver {
    Slack { webhook_url: String },
    SlackApp { token: String, channel: String },
    Webhook { url: String },
    Email { smtp: String, password: Option<String>, from: String, to: String },
}

/// A rule to choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Preset {
    /// Its name in the config.
    pub(super) name: String,
    /// The question that chooses it.
    pub(super) question: String,
    /// The lines of its table, without `to`.
    lines: String,
}

/// The names of the environment variables that hold the secrets.
const API_KEY: &str = "CALLEM_API_KEY";
const SLACK: &str = "SLACK_WEBHOOK_URL";
const SLACK_TOKEN: &str = "SLACK_BOT_TOKEN";
const WEBHOOK: &str = "WEBHOOK_URL";
const PASSWORD: &str = "SMTP_PASSWORD";
pub(super) const TOKEN: &str = "CALLWATCH_TOKEN";

/// The file beside the config from which editors learn its keys.
pub(super) const SCHEMA_FILE: &str = "callwatch.schema.json";

/// The most fields of analyses that a rule is offered for.
const MOST_FIELDS: usize = 5;

impl Preset {
    /// The rules that make sense for a project: what its analyses have, or, as long as nothing is known of them, what most
    /// projects have.
    pub(super) fn all(glance: Option<&Glance>, language: Language) -> Vec<Self> {
        let preset = |name: &str, question: &str, lines: String| Self {
            name: name.to_owned(),
            question: question.to_owned(),
            lines,
        };
        let mut presets =
            vec![preset("call-ended", "Every call that has ended", "on = [\"ended\"]\n".to_owned())];
        if glance.is_none_or(|glance| glance.texts.contains("sentiment")) {
            let lines = format!(
                "when = 'call.callAnalysis.sentiment == \"negative\"'\n\
                 title = \"{} {{{{ call.callerNumber }}}}\"\n\
                 severity = \"warning\"\n",
                language.unhappy_caller()
            );
            presets.push(preset("unhappy-caller", "A caller was unhappy", lines));
        }
        let booleans: Vec<_> = match glance {
            Some(glance) => {
                glance.booleans.iter().map(String::as_str).filter(|name| is_plain(name)).collect()
            }
            None => vec!["appointmentBooked"],
        };
        for field in booleans.into_iter().take(MOST_FIELDS) {
            let words = words(field);
            let mut lines = format!("when = 'call.callAnalysis.{field}'\n");
            let title =
                language.labelled(&language.field(field, &capital(&words)), "{{ call.callerNumber }}");
            let _ = writeln!(lines, "title = \"{title}\"");
            presets.push(preset(&words.replace(' ', "-"), &format!("`callAnalysis.{field}` is true"), lines));
        }
        presets
    }
}

/// Whether a field can be written as it is in a condition, and its words as the name of a rule.
fn is_plain(field: &str) -> bool {
    field.len() <= 40
        && field.starts_with(|c: char| c.is_ascii_lowercase())
        && field.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// `appointmentBooked` as `appointment booked`.
fn words(field: &str) -> String {
    field.chars().fold(String::new(), |mut words, c| {
        if c.is_ascii_uppercase() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
        words
    })
}

fn capital(words: &str) -> String {
    let mut chars = words.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

impl Project {
    /// The table of the project. `secret` writes the secret of a variable.
    pub(super) fn table(&self, secret: &dyn Fn(&str) -> String) -> String {
        let mut table = format!("[sources.{}]\napi_key = {}\n", self.name, secret(API_KEY));
        if let Some(base_url) = &self.base_url {
            let _ = writeln!(table, "base_url = {}", text(base_url));
        }
        table
    }
}

/// A text as TOML.
pub(super) fn text(text: &str) -> String {
    toml::Value::from(text).to_string()
}

impl Draft {
    /// The variables of the environment that the config asks for, and their values.
    pub(super) fn secrets(&self) -> Vec<(&'static str, &str)> {
        let mut secrets = vec![(API_KEY, self.project.api_key.as_str()), (TOKEN, &self.token)];
        secrets.extend(self.receivers.iter().filter_map(Receiver::secret));
        secrets
    }

    /// The file with the secrets, one `NAME='value'` a line, as shells and systemd read it.
    ///
    /// # Errors
    /// The name of a secret that cannot be written so.
    pub(super) fn env_file(&self) -> Result<String, &'static str> {
        let mut text =
            String::from("# The secrets of callwatch. Whoever can read this file can read your calls.\n");
        for (name, value) in self.secrets() {
            if value.contains('\'') || value.contains(char::is_control) {
                return Err(name);
            }
            let _ = writeln!(text, "{name}='{value}'");
        }
        Ok(text)
    }

    /// The name of the destination of each receiver. There is one receiver of a kind at the most.
    pub(super) fn destinations(&self) -> Vec<&'static str> {
        let has_webhook = self.receivers.iter().any(|receiver| matches!(receiver, Receiver::Slack { .. }));
        let name = |receiver: &Receiver| match receiver {
            Receiver::SlackApp { .. } if has_webhook => "frontdesk-app",
            Receiver::Slack { .. } | Receiver::SlackApp { .. } => "frontdesk",
            Receiver::Webhook { .. } => "crm",
            Receiver::Email { .. } => "manager",
        };
        self.receivers.iter().map(name).collect()
    }

    /// The config. `secret` writes the secret of a variable: that it is in the environment, or the value itself.
    pub(super) fn config(&self, secret: &dyn Fn(&str) -> String) -> String {
        let mut config = format!(
            "#:schema ./{SCHEMA_FILE}\n\
             # Written by `callwatch init`. `callwatch check` finds mistakes in it; docs/configuration.md and\n\
             # `callwatch schema` have every key. An edit goes to work within seconds.\n\n\
             timezone = {}   # of the times in messages\n\
             language = \"{}\"   # of messages\n\n\
             [server]\n\
             listen = \"127.0.0.1:9464\"   # a page, health, metrics and the admin API, for this machine alone\n\
             token = {}   # the page asks for it once\n\n",
            text(&self.timezone),
            self.language,
            secret(TOKEN),
        );
        if let Some(store) = self.store {
            let _ = writeln!(config, "[store]\npath = {}   # where the service keeps it\n", text(store));
        }
        config.push_str(&self.project.table(secret));
        let names = self.destinations();
        for (receiver, name) in self.receivers.iter().zip(&names) {
            let _ = write!(config, "\n[destinations.{name}]\n{}", receiver.lines(secret));
        }
        let to: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
        for rule in &self.rules {
            let _ = write!(config, "\n[rules.{}]\n{}to = [{}]\n", rule.name, rule.lines, to.join(", "));
        }
        config
    }
}

impl Receiver {
    /// The variable of the environment that its destination asks for, and its value.
    fn secret(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Slack { webhook_url } => Some((SLACK, webhook_url)),
            Self::SlackApp { token, .. } => Some((SLACK_TOKEN, token)),
            // The address of a webhook is often all that it takes to write there.
            Self::Webhook { url } => Some((WEBHOOK, url)),
            Self::Email { password, .. } => Some((PASSWORD, password.as_deref()?)),
        }
    }

    /// A config that tells this receiver, with its secrets in it, to see whether the reader takes the answers.
    pub(super) fn trial(&self, project: &Project) -> String {
        let project = project.table(&|_| text(&project.api_key));
        let lines = self.lines(&|_| text(self.secret().map_or("", |(_, value)| value)));
        format!("{project}\n[destinations.trial]\n{lines}")
    }

    /// The lines of its destination's table.
    fn lines(&self, secret: &dyn Fn(&str) -> String) -> String {
        match self {
            Self::Slack { .. } => format!("type = \"slack\"\nwebhook_url = {}\n", secret(SLACK)),
            Self::SlackApp { channel, .. } => format!(
                "type = \"slack\"   # one message for each call: docs/slack.md\ntoken = {}\nchannel = {}\n",
                secret(SLACK_TOKEN),
                text(channel)
            ),
            Self::Webhook { .. } => format!(
                "type = \"webhook\"   # signed when it has a `secret`: docs/receiving-webhooks.md\nurl = {}\n",
                secret(WEBHOOK)
            ),
            Self::Email { smtp, password, from, to } => {
                let password = password.as_ref().map(|_| format!("password = {}\n", secret(PASSWORD)));
                format!(
                    "type = \"email\"\nsmtp = {}\n{}from = {}\nto = [{}]\n",
                    text(smtp),
                    password.unwrap_or_default(),
                    text(from),
                    text(to)
                )
            }
        }
    }
}

/// The flag that answers for a line of a draft, counted from 1. `None` for the lines that are the same in every draft.
pub(super) fn flag_of(config: &str, line: usize) -> Option<&'static str> {
    let (key, _) = config.lines().nth(line.checked_sub(1)?)?.split_once(" = ")?;
    Some(match key {
        "timezone" => "--timezone",
        "api_key" => API_KEY_FLAG,
        "base_url" => "--base-url",
        "webhook_url" => "--slack",
        "token" => "--slack-token",
        "channel" => "--slack-channel",
        "url" => "--webhook",
        "smtp" => "--smtp",
        "password" => "--smtp-password",
        "from" => "--from",
        "to" => "--email",
        _ => return None,
    })
}

/// The flag of the key.
pub(super) const API_KEY_FLAG: &str = "--api-key";
