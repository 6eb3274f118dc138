//! `callwatch init`: from a key to a config, by a few questions. Each has a flag, so it runs unattended as well.

mod draft;
mod glance;

use std::{
    env,
    fs::{self, OpenOptions},
    io::{self, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, builder::PossibleValuesParser};
use dialoguer::{Confirm, Input, MultiSelect, Password, Select};
use ring::rand::{SecureRandom, SystemRandom};
use url::Url;

use self::{
    draft::{API_KEY_FLAG, Draft, Preset, Project, Receiver, SCHEMA_FILE, TOKEN, flag_of, text},
    glance::Glance,
};
use super::{EXIT_USAGE, check, complain, json, print, send};
use crate::{
    calendar::Zone,
    callem::{Client, FetchError},
    config::{Level, LoadOptions, Report, SourceConfig},
    config_file::{Config, Loaded, schema},
    http::{self, ConnectionError},
    language::Language,
    name::Name,
    privacy::hex,
    style::Style,
};

/// Arguments of `init`. Every question that a flag answers is not asked. Every receiver that is named is told.
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
    /// The language of messages [default: that of this machine]
    #[arg(long, value_name = "LANGUAGE", value_parser = PossibleValuesParser::new(Language::TAGS))]
    language: Option<String>,
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
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// Tell this address
    #[arg(long, value_name = "ADDRESS", requires = "smtp")]
    email: Option<String>,
    /// The mail server, as in smtps://user%40example.com@smtp.example.com
    #[arg(long, value_name = "URL", requires = "email")]
    smtp: Option<String>,
    /// The password of the account there
    #[arg(long, value_name = "PASSWORD", env = "SMTP_PASSWORD", hide_env_values = true)]
    smtp_password: Option<String>,
    /// The sender of mails [default: the address that is told]
    #[arg(long, value_name = "ADDRESS", requires = "email")]
    from: Option<String>,
    /// A rule to write; as often as needed [default: all that make sense for the project]
    #[arg(long = "rule", value_name = "NAME")]
    rules: Vec<String>,
    /// Send every receiver a test message and show the answers; write nothing when one does not arrive
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
    #[error("{}", in_words(.0))]
    Answers(Vec<Wrong>),
    #[error(
        "the test message did not arrive at {0}; nothing was written. Without --send-test nothing is sent"
    )]
    NotArrived(String),
    #[error("the system has no random bytes for a token")]
    NoToken,
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

/// An answer that cannot be used.
#[derive(Debug)]
struct Wrong {
    flag: &'static str,
    said: String,
}

fn in_words(wrong: &[Wrong]) -> String {
    wrong.iter().map(|Wrong { flag, said }| format!("{flag}: {said}")).collect::<Vec<_>>().join("\n")
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
                InitError::Missing(_)
                | InitError::NoRule { .. }
                | InitError::PasswordInUrl
                | InitError::Answers(_) => EXIT_USAGE.into(),
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
    let language = language(args, asks)?;
    let receivers = receivers(args, asks)?;
    let rules = rules(args, asks, Preset::all(glance.as_ref()))?;
    let draft = Draft { project, timezone, language, token: token()?, receivers, rules };
    let (config, env) = (draft.config(&in_environment), draft.env_file().map_err(InitError::Secret)?);
    let env_of = |name: &str| Some(value(&draft, name).to_owned());
    let warnings = parse(&config, &args.config, &env_of)?.warnings;
    if !warnings.mistakes().is_empty() {
        complain(&match answers(&warnings, &config) {
            Some(odd) => format!("callwatch: {}", in_words(&odd)),
            None => rendered(&warnings),
        });
    }
    // With its secrets in it, to be tried out. It is never written.
    let trial = parse(&draft.config(&|name| text(value(&draft, name))), &args.config, &|_| None)?.config;
    let question = "Send a test message now?";
    if args.send_test
        || asks && !args.offline && Confirm::new().with_prompt(question).default(true).interact()?
    {
        let mut refused = vec![];
        for destination in draft.destinations() {
            if !send::try_out(&trial, &Name::from(destination)).await? {
                refused.push(destination);
            }
        }
        // Whoever looks on can judge the answer, and can edit the config.
        let keep = "The test message did not arrive. Write the config all the same?";
        if !refused.is_empty()
            && (args.send_test || !Confirm::new().with_prompt(keep).default(true).interact()?)
        {
            return Err(InitError::NotArrived(refused.join(" and ")));
        }
    }
    // Only its owner may read the secrets; the config holds none.
    write(&env_path, &env, 0o600)?;
    let schema_path = args.config.with_file_name(SCHEMA_FILE);
    if let Err(error) = write_schema(&schema_path).and_then(|()| write(&args.config, &config, 0o644)) {
        // The next try would take it for somebody's own. The first error is the one to act on.
        let _ = fs::remove_file(&env_path);
        return Err(error);
    }
    let (config, env, keys) = (args.config.display(), env_path.display(), schema_path.display());
    let named = match args.config.as_os_str() == "callwatch.toml" {
        true => String::new(),
        false => format!(" --config {config}"),
    };
    Ok(print(&format!(
        "Wrote {config} ({}), {env} (the secrets, for you alone) and {keys} (for editors). To start:\n\n  \
         set -a; . {}; set +a\n  callwatch run{named}\n\n\
         The page at http://127.0.0.1:9464/ asks for the {TOKEN} in {env}.\n",
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
        let config = match parse(&project.table(&|_| text(&project.api_key)), &args.config, &|_| None) {
            Ok(loaded) => loaded.config,
            Err(InitError::Answers(wrong)) if asks && wrong.iter().all(|it| it.flag == API_KEY_FLAG) => {
                complain(&format!("callwatch: {}", in_words(&wrong)));
                continue;
            }
            Err(error) => return Err(error),
        };
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

fn language(args: &InitArgs, asks: bool) -> Result<Language, InitError> {
    if let Some(language) = args.language.as_deref().and_then(Language::of_tag) {
        return Ok(language);
    }
    let here = language_of(&|name| env::var(name).ok());
    if !asks {
        return Ok(here);
    }
    let all = Language::ALL.map(|language| format!("{language:?}"));
    let chosen =
        Select::new().with_prompt("Language of messages").items(all).default(here as usize).interact()?;
    Ok(Language::ALL.get(chosen).copied().unwrap_or(here))
}

/// The language of an environment: the first of these variables that is set says it (POSIX, Environment Variables, 8.2), as in
/// `fr_FR.UTF-8`. English where it is another.
fn language_of(variable: &dyn Fn(&str) -> Option<String>) -> Language {
    let names = ["LC_ALL", "LC_MESSAGES", "LANG"];
    let set = names.into_iter().filter_map(variable).find(|locale| !locale.is_empty()).unwrap_or_default();
    let tag = set.split(['_', '-', '.', '@']).next().unwrap_or_default();
    Language::of_tag(&tag.to_ascii_lowercase()).unwrap_or_default()
}

/// A token that nobody can guess.
fn token() -> Result<String, InitError> {
    let mut bytes = [0; 24];
    SystemRandom::new().fill(&mut bytes).map_err(|_| InitError::NoToken)?;
    Ok(hex(&bytes))
}

/// Everybody who is to be told: all that flags and variables name, or one who is asked for.
fn receivers(args: &InitArgs, asks: bool) -> Result<Vec<Receiver>, InitError> {
    let mut receivers = named(args, asks)?;
    if receivers.is_empty() {
        if !asks {
            return Err(InitError::Missing("--slack, --slack-token, --webhook or --email"));
        }
        receivers.push(chosen()?);
    }
    // A password within an address would end up in the config, which others may read.
    for receiver in &receivers {
        if let Receiver::Email { smtp, .. } = receiver
            && Url::parse(smtp).is_ok_and(|smtp| smtp.password().is_some())
        {
            return Err(InitError::PasswordInUrl);
        }
    }
    Ok(receivers)
}

fn named(args: &InitArgs, asks: bool) -> Result<Vec<Receiver>, InitError> {
    let mut receivers = vec![];
    if let Some(webhook_url) = &args.slack {
        receivers.push(Receiver::Slack { webhook_url: webhook_url.clone() });
    }
    if let Some(token) = &args.slack_token {
        let channel = match &args.slack_channel {
            Some(channel) => channel.clone(),
            None if asks => line(CHANNEL)?,
            None => return Err(InitError::Missing("--slack-channel, beside the token")),
        };
        receivers.push(Receiver::SlackApp { token: token.clone(), channel });
    }
    if let Some(url) = &args.webhook {
        receivers.push(Receiver::Webhook { url: url.clone() });
    }
    if let (Some(to), Some(smtp)) = (&args.email, &args.smtp) {
        let from = args.from.as_ref().unwrap_or(to).clone();
        let password = args.smtp_password.clone();
        receivers.push(Receiver::Email { smtp: smtp.clone(), password, from, to: to.clone() });
    }
    Ok(receivers)
}

const CHANNEL: &str = "Channel, by its id or name, which the app is in";

fn line(prompt: &str) -> Result<String, InitError> {
    Ok(Input::new().with_prompt(prompt).interact_text()?)
}

fn chosen() -> Result<Receiver, InitError> {
    let kinds = [
        "a Slack channel, by an incoming webhook",
        "a Slack channel, by an app's bot token: one message for each call, edited in place",
        "a webhook",
        "an email address",
    ];
    Ok(match Select::new().with_prompt("Who is to be told?").items(kinds).default(0).interact()? {
        0 => {
            let prompt = "URL of the channel's incoming webhook (not shown)";
            Receiver::Slack { webhook_url: Password::new().with_prompt(prompt).interact()? }
        }
        1 => {
            let token = Password::new().with_prompt("Bot token (xoxb-…, not shown)").interact()?;
            Receiver::SlackApp { token, channel: line(CHANNEL)? }
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
    Config::parse(text, path, options).map_err(|report| match answers(&report, text) {
        Some(wrong) => InitError::Answers(wrong),
        None => InitError::Config(Box::new(report)),
    })
}

/// The answers that a report on a draft is about: there is no file yet whose lines could be looked at. `None` when it is about
/// something else as well.
fn answers(report: &Report, draft: &str) -> Option<Vec<Wrong>> {
    // Beside errors, warnings can be about what is still missing from the draft.
    let worst = if report.count(Level::Error) > 0 { Level::Error } else { Level::Warning };
    let wrong = report.mistakes().iter().filter(|mistake| mistake.level == worst).map(|mistake| {
        let flag = flag_of(draft, report.place(mistake)?.0)?;
        let hint = mistake.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        Some(Wrong { flag, said: format!("{}{hint}", mistake.message) })
    });
    wrong.collect()
}

/// `{ env = "NAME" }`
fn in_environment(name: &str) -> String {
    format!("{{ env = \"{name}\" }}")
}

/// The value of a secret; empty when the draft has no such secret.
fn value<'a>(draft: &'a Draft, name: &str) -> &'a str {
    draft.secrets().into_iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
}

/// Writes the keys of the config for editors. A file that is there already stays: nothing but an editor reads it.
fn write_schema(path: &Path) -> Result<(), InitError> {
    match path.symlink_metadata() {
        Ok(_) => Ok(()),
        Err(_) => write(path, &json(&schema())?, 0o644),
    }
}

/// Writes a new file.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), InitError> {
    let written = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    written
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|why| InitError::Write { path: path.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_that_of_the_machine() {
        for (set, wanted) in [
            (&[("LANG", "fr_FR.UTF-8")][..], Language::French),
            (&[("LANG", "fr_FR.UTF-8"), ("LC_ALL", "de_AT@euro")], Language::German),
            (&[("LANG", "es"), ("LC_ALL", "")], Language::Spanish),
            (&[("LANG", "fr_FR"), ("LC_MESSAGES", "C.UTF-8")], Language::English),
            (&[("LANG", "nl_NL.UTF-8")], Language::English),
            (&[], Language::English),
        ] {
            let variable = |name: &str| Some(set.iter().find(|(known, _)| *known == name)?.1.to_owned());
            assert_eq!(language_of(&variable), wanted, "{set:?}");
        }
    }
}
