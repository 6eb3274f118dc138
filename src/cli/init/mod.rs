//! `callwatch init`: from a key to a config, by a few questions. Each has a flag, so it runs unattended as well.

mod draft;
mod glance;

use std::{
    fs::{self, OpenOptions},
    io::{self, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use dialoguer::{Confirm, Input, MultiSelect, Password, Select};
use url::Url;

use self::{
    draft::{Draft, Preset, Project, Receiver, text},
    glance::Glance,
};
use super::{EXIT_USAGE, check, complain, print, send};
use crate::{
    calendar::Zone,
    callem::{Client, FetchError},
    config::{LoadOptions, Report, SourceConfig},
    config_file::{Config, Loaded},
    http::{self, ConnectionError},
    name::Name,
    style::Style,
};

/// Arguments of `init`. Every question that a flag answers is not asked.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The config file to write; the secrets go into `.env` beside it
    #[arg(short, long, value_name = "FILE", default_value = "callwatch.toml")]
    config: PathBuf,
    /// A name for the project
    #[arg(long, value_name = "NAME")]
    project: Option<Name>,
    /// The project's key
    #[arg(long, value_name = "KEY", env = "CALLEM_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Where the API is [default: https://api.callem.ai/v1]
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// The time zone of messages [default: that of this machine]
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// Tell a Slack channel, by its incoming webhook
    #[arg(long, value_name = "URL", env = "SLACK_WEBHOOK_URL", hide_env_values = true)]
    slack: Option<String>,
    /// Tell a Slack channel, by an app: one message for each call (docs/slack.md)
    #[arg(long, value_name = "TOKEN", env = "SLACK_BOT_TOKEN", hide_env_values = true)]
    slack_token: Option<String>,
    /// The channel that the app posts to, by its id or name
    #[arg(long, value_name = "CHANNEL", requires = "slack_token")]
    slack_channel: Option<String>,
    /// Tell a webhook
    #[arg(long, value_name = "URL", conflicts_with = "email")]
    webhook: Option<String>,
    /// Tell this address
    #[arg(long, value_name = "ADDRESS", requires = "smtp")]
    email: Option<String>,
    /// The mail server, as in smtps://user%40example.com@smtp.example.com
    #[arg(long, value_name = "URL")]
    smtp: Option<String>,
    /// The password of the account there
    #[arg(long, value_name = "PASSWORD", env = "SMTP_PASSWORD", hide_env_values = true)]
    smtp_password: Option<String>,
    /// The sender of mails [default: the address that is told]
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// A rule to write; as often as needed [default: all that make sense for the project]
    #[arg(long = "rule", value_name = "NAME")]
    rules: Vec<String>,
    /// Send a test message and show the answer
    #[arg(long, conflicts_with = "offline")]
    send_test: bool,
    /// Try nothing over the network
    #[arg(long)]
    offline: bool,
}

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("{} is there already, and nothing is overwritten; name a file in another folder with --config", .0.display())]
    Exists(PathBuf),
    #[error("{0} is missing; without a terminal nothing can be asked")]
    Missing(&'static str),
    #[error("there is no rule `{name}` to choose; there is {known}")]
    NoRule { name: String, known: String },
    #[error(
        "{0} cannot be written to a file of environment variables: it holds a quote or a control character"
    )]
    Secret(&'static str),
    #[error("a password does not belong into --smtp; give it by --smtp-password or SMTP_PASSWORD")]
    PasswordInUrl,
    #[error("{0}")]
    Config(Box<Report>),
    #[error("{0}; nothing was written. With --offline the key is not tried")]
    Key(#[from] FetchError),
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error(transparent)]
    Http(#[from] http::ClientError),
    #[error(transparent)]
    Send(#[from] send::SendError),
    #[error("no answer: {0}")]
    Asked(#[from] dialoguer::Error),
    #[error("cannot write {}: {why}", path.display())]
    Write { path: PathBuf, why: io::Error },
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

/// Asks, tries, and writes the files. Nothing is written before everything else has worked.
pub async fn init(args: InitArgs) -> ExitCode {
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match &error {
                InitError::Config(report) => complain(&rendered(report)),
                error => complain(&format!("callwatch: {error}")),
            }
            match error {
                InitError::Missing(_) | InitError::NoRule { .. } | InitError::PasswordInUrl => {
                    EXIT_USAGE.into()
                }
                _ => ExitCode::FAILURE,
            }
        }
    }
}

async fn run(args: &InitArgs) -> Result<(), InitError> {
    let env_path = args.config.with_file_name(".env");
    for path in [&args.config, &env_path] {
        if path.symlink_metadata().is_ok() {
            return Err(InitError::Exists(path.clone()));
        }
    }
    // Both, because the questions are written to standard error and answered on standard input.
    let asks = io::stdin().is_terminal() && io::stderr().is_terminal();
    let (project, glance) = project(args, asks).await?;
    let timezone = timezone(args, asks)?;
    let receiver = receiver(args, asks)?;
    let rules = rules(args, asks, Preset::all(glance.as_ref()))?;
    let draft = Draft { project, timezone, receiver, rules };
    let (config, env) = (draft.config(&in_environment), draft.env_file().map_err(InitError::Secret)?);
    let env_of = |name: &str| Some(value(&draft, name).to_owned());
    let warnings = parse(&config, &args.config, &env_of)?.warnings;
    if !warnings.mistakes().is_empty() {
        complain(&rendered(&warnings));
    }
    // With its secrets in it, to be tried out. It is never written.
    let trial = parse(&draft.config(&|name| text(value(&draft, name))), &args.config, &|_| None)?.config;
    let wants_test = args.send_test
        || asks
            && !args.offline
            && Confirm::new().with_prompt("Send a test message now?").default(true).interact()?;
    if wants_test {
        // The answer is shown; whatever it is, the config is worth keeping, because it can be edited.
        let destination = Name::from(draft.destination());
        let _ = send::try_out(&trial, &destination).await?;
    }
    // Only its owner may read the secrets; the config holds none.
    write(&env_path, &env, 0o600)?;
    if let Err(error) = write(&args.config, &config, 0o644) {
        // The next try would take it for somebody's own. The first error is the one to act on.
        let _ = fs::remove_file(&env_path);
        return Err(error);
    }
    let (config, env) = (args.config.display(), env_path.display());
    let named = match args.config.as_os_str() == "callwatch.toml" {
        true => String::new(),
        false => format!(" --config {config}"),
    };
    Ok(print(&format!(
        "Wrote {config} ({}) and {env} (the secrets, for you alone). To start:\n\n  \
         set -a; . {}; set +a\n  callwatch run{named}\n",
        check::counts(&trial),
        Path::new(".").join(&env_path).display(),
    ))?)
}

/// Asks for the key until one works, and looks at the first page of calls.
async fn project(args: &InitArgs, asks: bool) -> Result<(Project, Option<Glance>), InitError> {
    let mut given = args.api_key.clone();
    loop {
        let api_key = match given.take() {
            Some(key) => key,
            None if asks => Password::new().with_prompt("API key (ck_live_…, not shown)").interact()?,
            None => return Err(InitError::Missing("--api-key (or CALLEM_API_KEY)")),
        };
        let name = args.project.as_ref().map_or("calls", Name::as_str).to_owned();
        let project = Project { name, api_key, base_url: args.base_url.clone() };
        let config = parse(&project.table(&|_| text(&project.api_key)), &args.config, &|_| None)?.config;
        let Some(source) = config.sources.first().filter(|_| !args.offline) else {
            return Ok((project, None));
        };
        match first_page(source).await {
            Ok(glance) => {
                print(&format!("The API answers: {glance}\n"))?;
                return Ok((project, Some(glance)));
            }
            Err(InitError::Key(error)) if asks && error.is_refusal() => {
                complain(&format!("callwatch: {error}"))
            }
            Err(error) => return Err(error),
        }
    }
}

async fn first_page(source: &SourceConfig) -> Result<Glance, InitError> {
    let client = Client::new(source, &http::client()?)?;
    Ok(Glance::of(&client.page(0, source.page_size).await?.body))
}

fn timezone(args: &InitArgs, asks: bool) -> Result<String, InitError> {
    if let Some(zone) = &args.timezone {
        return Ok(zone.clone());
    }
    let here = iana_time_zone::get_timezone().unwrap_or_else(|_| "UTC".to_owned());
    if !asks {
        return Ok(here);
    }
    let is_zone = |zone: &String| Zone::parse(zone).map(drop).ok_or("there is no such time zone");
    Ok(Input::new()
        .with_prompt("Time zone of messages")
        .default(here)
        .validate_with(is_zone)
        .interact_text()?)
}

/// Asks who is to be told. A password within an address would end up in the config, which others may read.
fn receiver(args: &InitArgs, asks: bool) -> Result<Receiver, InitError> {
    let receiver = chosen(args, asks)?;
    match &receiver {
        Receiver::Email { smtp, .. } if Url::parse(smtp).is_ok_and(|smtp| smtp.password().is_some()) => {
            Err(InitError::PasswordInUrl)
        }
        _ => Ok(receiver),
    }
}

fn chosen(args: &InitArgs, asks: bool) -> Result<Receiver, InitError> {
    if let Some(url) = &args.webhook {
        return Ok(Receiver::Webhook { url: url.clone() });
    }
    if let (Some(to), Some(smtp)) = (&args.email, &args.smtp) {
        let from = args.from.as_ref().unwrap_or(to).clone();
        let password = args.smtp_password.clone();
        return Ok(Receiver::Email { smtp: smtp.clone(), password, from, to: to.clone() });
    }
    if let (Some(token), Some(channel)) = (&args.slack_token, &args.slack_channel) {
        return Ok(Receiver::SlackApp { token: token.clone(), channel: channel.clone() });
    }
    if let Some(webhook_url) = &args.slack {
        return Ok(Receiver::Slack { webhook_url: webhook_url.clone() });
    }
    if !asks {
        return Err(InitError::Missing(match args.slack_token {
            Some(_) => "--slack-channel, beside the token",
            None => "--slack, --slack-token, --webhook or --email",
        }));
    }
    let kinds = [
        "a Slack channel, by an incoming webhook",
        "a Slack channel, by an app's bot token: one message for each call, edited in place",
        "a webhook",
        "an email address",
    ];
    let line = |prompt: &str| Input::<String>::new().with_prompt(prompt).interact_text();
    Ok(match Select::new().with_prompt("Who is to be told?").items(kinds).default(0).interact()? {
        0 => {
            let prompt = "URL of the channel's incoming webhook (not shown)";
            Receiver::Slack { webhook_url: Password::new().with_prompt(prompt).interact()? }
        }
        1 => {
            let token = match &args.slack_token {
                Some(token) => token.clone(),
                None => Password::new().with_prompt("Bot token (xoxb-…, not shown)").interact()?,
            };
            Receiver::SlackApp { token, channel: line("Channel, by its id or name, which the app is in")? }
        }
        2 => Receiver::Webhook { url: line("URL of the webhook")? },
        _ => {
            let to = line("Address")?;
            let smtp = line("Mail server, as in smtps://user%40example.com@smtp.example.com")?;
            let prompt = "Password there (not shown; empty for none)";
            let password = Password::new().with_prompt(prompt).allow_empty_password(true).interact()?;
            let from = Input::new().with_prompt("Sender").default(to.clone()).interact_text()?;
            Receiver::Email { smtp, password: Some(password).filter(|it| !it.is_empty()), from, to }
        }
    })
}

fn rules(args: &InitArgs, asks: bool, mut presets: Vec<Preset>) -> Result<Vec<Preset>, InitError> {
    if let Some(name) = args.rules.iter().find(|name| presets.iter().all(|preset| preset.name != **name)) {
        let known: Vec<_> = presets.iter().map(|preset| format!("`{}`", preset.name)).collect();
        return Err(InitError::NoRule { name: name.clone(), known: known.join(", ") });
    }
    if !args.rules.is_empty() {
        presets.retain(|preset| args.rules.contains(&preset.name));
    } else if asks {
        let prompt = "What is to be told? (space chooses, enter goes on)";
        let questions = presets.iter().map(|preset| (preset.question.clone(), true));
        let chosen = MultiSelect::new().with_prompt(prompt).items_checked(questions).interact()?;
        presets = chosen.into_iter().filter_map(|place| presets.get(place).cloned()).collect();
    }
    Ok(presets)
}

/// A report of a config, for standard error.
fn rendered(report: &Report) -> String {
    report.render(Style::of(&io::stderr()).is_coloured()).trim_end().to_owned()
}

/// A config as it would be at `path`, in an environment.
fn parse(text: &str, path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, InitError> {
    let options = LoadOptions { env, ..LoadOptions::default() };
    Config::parse(text, path, options).map_err(|report| InitError::Config(Box::new(report)))
}

/// `{ env = "NAME" }`
fn in_environment(name: &str) -> String {
    format!("{{ env = \"{name}\" }}")
}

/// The value of a secret; empty when the draft has no such secret.
fn value<'a>(draft: &'a Draft, name: &str) -> &'a str {
    draft.secrets().into_iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
}

/// Writes a new file.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), InitError> {
    let written = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    written
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|why| InitError::Write { path: path.to_owned(), why })
}
