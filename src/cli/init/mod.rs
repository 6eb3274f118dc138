//! `callwatch init`: from a key to a config, by a few questions. Each has a flag, so it runs unattended as well.

mod draft;
mod glance;

use std::{
    env,
    fs::{self, OpenOptions},
    io::{self, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{self, ExitCode},
};

use clap::{Args, builder::PossibleValuesParser};
use dialoguer::{Confirm, Input, MultiSelect, Password, Select, console::Term};
use ring::rand::{SecureRandom, SystemRandom};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

use self::{
    draft::{API_KEY_FLAG, Draft, Preset, Project, Receiver, SCHEMA_FILE, TOKEN, flag_of, text},
    glance::Glance,
};
use super::{EXIT_USAGE, check, complain, json, print, send};
use crate::{
    callem::{Client, FetchError},
    config::{Level, LoadOptions, Report, SourceConfig},
    config_file::{Config, Loaded, schema},
    http::{self, ConnectionError},
    language::Language,
    name::Name,
    privacy::hex,
    style::Style,
};

/// The config file that is written if none is named.
const DEFAULT_CONFIG: &str = "callwatch.toml";

/// Arguments of `init`. Every question that a flag answers is not asked. Every receiver that is named is told.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The config file to write; the secrets go into `.env` beside it
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// A name for the project
    #[arg(long, value_name = "NAME", value_parser = name)]
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
    #[error("a password does not belong in --smtp; give it by --smtp-password or SMTP_PASSWORD")]
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
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    flag: &'static str,
    said: String,
}

fn in_words(wrong: &[Wrong]) -> String {
    wrong.iter().map(|Wrong { flag, said }| format!("{flag}: {said}")).collect::<Vec<_>>().join("\n")
}

/// The mistakes without their flags, for a person who has just been asked the question.
fn said(wrong: &[Wrong]) -> String {
    let mut said: Vec<_> = wrong.iter().map(|wrong| wrong.said.as_str()).collect();
    said.dedup();
    said.join("; ")
}

/// Asks, tries, and writes the files. Nothing is written before everything else has worked.
pub async fn init(args: InitArgs) -> ExitCode {
    // Both, because the questions are written to standard error and answered on standard input.
    let asks = io::stdin().is_terminal() && io::stderr().is_terminal();
    let terminal = asks.then(Terminal::keep);
    match run(&args, asks).await {
        Ok(()) => ExitCode::SUCCESS,
        // A question that is waiting hears of Ctrl-C as well.
        Err(InitError::Asked(dialoguer::Error::IO(why))) if why.kind() == io::ErrorKind::Interrupted => {
            terminal.iter().for_each(Terminal::restore);
            INTERRUPTED.into()
        }
        Err(error) => {
            match &error {
                InitError::Config(report) => complain(&rendered(report)),
                error => complain(&format!("callwatch: {error}")),
            }
            match error {
                InitError::Missing(_)
                | InitError::NoRule { .. }
                | InitError::Secret(_)
                | InitError::PasswordInUrl
                | InitError::Answers(_) => EXIT_USAGE.into(),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// The exit code after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

/// The terminal as it was before the first question: some hide the cursor or what is typed.
#[derive(Clone)]
struct Terminal(Option<Termios>);

impl Terminal {
    /// From now on Ctrl-C ends the process with the terminal in order, wherever it waits.
    fn keep() -> Self {
        let terminal = Self(tcgetattr(io::stdin()).ok());
        // Without it Ctrl-C ends the process all the same.
        if let Ok(mut interrupts) = signal(SignalKind::interrupt()) {
            let terminal = terminal.clone();
            tokio::spawn(async move {
                if interrupts.recv().await.is_some() {
                    terminal.restore();
                    process::exit(INTERRUPTED.into());
                }
            });
        }
        terminal
    }

    fn restore(&self) {
        // A terminal that takes neither cannot be helped.
        let _ = Term::stderr().show_cursor();
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
        complain("");
    }
}

async fn run(args: &InitArgs, asks: bool) -> Result<(), InitError> {
    let env_path = args.config.with_file_name(".env");
    for path in [&args.config, &env_path] {
        if path.symlink_metadata().is_ok() {
            return Err(InitError::Exists(path.clone()));
        }
    }
    let (project, glance) = project(args, asks).await?;
    let timezone = timezone(args, asks, &project)?;
    let language = language(args, asks)?;
    let receivers = receivers(args, asks, &project)?;
    let rules = rules(args, asks, Preset::all(glance.as_ref(), language))?;
    // The service of the unit finds its store by an environment variable that commands in a shell do not have, so name it.
    let store = is_of_unit(&args.config).then_some(STORE_OF_UNIT);
    let mut draft = Draft { project, timezone, language, token: token()?, store, receivers, rules };
    let trial = loop {
        let trial = trial(&draft, args)?;
        let question = "Send a test message now?";
        if !args.send_test
            && (!asks || args.offline || !Confirm::new().with_prompt(question).default(true).interact()?)
        {
            break trial;
        }
        let refused = refusals(&trial, &draft).await?;
        if refused.is_empty() {
            break trial;
        }
        if args.send_test || !asks {
            return Err(InitError::NotArrived(refused));
        }
        // Whoever looks on can judge the answer, and can edit the config.
        let prompt = "The test message did not arrive. What now";
        let ways = ["write the config all the same", "name another receiver", "write nothing"];
        match Select::new().with_prompt(prompt).items(ways).default(0).interact()? {
            0 => break trial,
            1 => draft.receivers = vec![chosen(args, &draft.project)?],
            _ => return Err(InitError::NotArrived(refused)),
        }
    };
    let (config, env) = (draft.config(&in_environment), draft.env_file().map_err(InitError::Secret)?);
    // Only its owner may read the secrets; the config holds none.
    write(&env_path, &env, 0o600)?;
    let schema_path = args.config.with_file_name(SCHEMA_FILE);
    if let Err(error) = write_schema(&schema_path).and_then(|()| write(&args.config, &config, 0o644)) {
        // Otherwise the next run would refuse to overwrite it. The first error is the one to report.
        let _ = fs::remove_file(&env_path);
        return Err(error);
    }
    let (config, env, keys) = (args.config.display(), env_path.display(), schema_path.display());
    Ok(print(&format!(
        "Wrote {config} ({}), {env} (the secrets, for you alone) and {keys} (for editors). To start:\n\n\
         {}\n\
         The page at http://127.0.0.1:9464/ asks for the {TOKEN} in {env}.\n",
        check::counts(&trial),
        to_start(&args.config, &env_path),
    ))?)
}

/// The draft as a config with its secrets in it, for the test message only. Prints the warnings about the config that will be
/// written.
fn trial(draft: &Draft, args: &InitArgs) -> Result<Config, InitError> {
    draft.env_file().map_err(InitError::Secret)?;
    let config = draft.config(&in_environment);
    let env_of = |name: &str| Some(value(draft, name).to_owned());
    let warnings = parse(&config, args, &env_of)?.warnings;
    if !warnings.mistakes().is_empty() {
        complain(&match answers(&warnings, &config, args) {
            Some(odd) => format!("callwatch: {}", in_words(&odd)),
            None => rendered(&warnings),
        });
    }
    Ok(parse(&draft.config(&|name| text(value(draft, name))), args, &|_| None)?.config)
}

/// Sends every receiver a test message, and says at which it did not arrive.
async fn refusals(trial: &Config, draft: &Draft) -> Result<String, InitError> {
    let mut refused = vec![];
    for destination in draft.destinations() {
        if !send::try_out(trial, &Name::from(destination)).await? {
            refused.push(destination);
        }
    }
    Ok(refused.join(" and "))
}

/// The commands that start the service with a config: those of its unit, if it is the unit's.
fn to_start(config: &Path, env: &Path) -> String {
    if is_of_unit(config) {
        return "  sudo systemctl enable --now callwatch\n".to_owned();
    }
    let named = match config.as_os_str() == DEFAULT_CONFIG {
        true => String::new(),
        false => format!(" --config {}", config.display()),
    };
    format!("  set -a; . {}; set +a\n  callwatch run{named}\n", Path::new(".").join(env).display())
}

/// Whether a config is that of the unit that is installed on this machine.
fn is_of_unit(config: &Path) -> bool {
    let unit = |folder: &str| Path::new(folder).join("callwatch.service").exists();
    config == Path::new(CONFIG_OF_UNIT) && UNITS.into_iter().any(unit)
}

/// The config that `deploy/callwatch.service` runs, and the folder that systemd makes for its state.
const CONFIG_OF_UNIT: &str = "/etc/callwatch/config.toml";
const STORE_OF_UNIT: &str = "/var/lib/callwatch";

/// Where units of services are.
const UNITS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// Asks for the key until one works, and looks at the first page of calls.
async fn project(args: &InitArgs, asks: bool) -> Result<(Project, Option<Glance>), InitError> {
    let mut given = args.api_key.clone();
    loop {
        let api_key = match given.take() {
            Some(key) => key.trim().to_owned(),
            None if asks => hidden("API key (ck_live_…, not shown)", &|_| Ok(()))?,
            None => return Err(InitError::Missing("--api-key (or CALLEM_API_KEY)")),
        };
        let name = args.project.as_ref().map_or("calls", Name::as_str).to_owned();
        let project = Project { name, api_key, base_url: args.base_url.clone() };
        let config = match parse(&project.table(&|_| text(&project.api_key)), args, &|_| None) {
            Ok(loaded) => loaded.config,
            Err(InitError::Answers(wrong)) if asks && wrong.iter().all(|it| it.flag == API_KEY_FLAG) => {
                complain(&format!("callwatch: {}", said(&wrong)));
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

fn timezone(args: &InitArgs, asks: bool, project: &Project) -> Result<String, InitError> {
    if let Some(zone) = &args.timezone {
        return Ok(zone.clone());
    }
    let here = iana_time_zone::get_timezone().unwrap_or_else(|_| "UTC".to_owned());
    if !asks {
        return Ok(here);
    }
    let draft =
        |zone: &str| format!("timezone = {}\n{}", text(zone), project.table(&|_| text(&project.api_key)));
    line("Time zone of messages", Some(&here), &|zone| is_taken(&draft(zone), args))
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
fn receivers(args: &InitArgs, asks: bool, project: &Project) -> Result<Vec<Receiver>, InitError> {
    let mut receivers = named(args, asks, project)?;
    if receivers.is_empty() {
        if !asks {
            return Err(InitError::Missing("--slack, --slack-token, --webhook or --email"));
        }
        receivers.push(chosen(args, project)?);
    }
    // A password within an address would end up in the config, which others may read.
    for receiver in &receivers {
        if let Receiver::Email { smtp, .. } = receiver
            && has_password(smtp)
        {
            return Err(InitError::PasswordInUrl);
        }
    }
    Ok(receivers)
}

fn named(args: &InitArgs, asks: bool, project: &Project) -> Result<Vec<Receiver>, InitError> {
    let mut receivers = vec![];
    if let Some(webhook_url) = &args.slack {
        receivers.push(Receiver::Slack { webhook_url: webhook_url.clone() });
    }
    if let Some(token) = &args.slack_token {
        let channel = match &args.slack_channel {
            Some(channel) => channel.clone(),
            None if asks => channel(args, project, token)?,
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

/// Asks who is to be told. An answer that the reader of the config would not take is asked for again.
fn chosen(args: &InitArgs, project: &Project) -> Result<Receiver, InitError> {
    let kinds = [
        "a Slack channel, by an incoming webhook",
        "a Slack channel, by an app's bot token: one message for each call, edited in place",
        "a webhook",
        "an email address",
    ];
    let check = |receiver: Receiver| usable(&receiver, args, project);
    Ok(match Select::new().with_prompt("Who is to be told").items(kinds).default(0).interact()? {
        0 => {
            let receiver = |url: &str| Receiver::Slack { webhook_url: url.to_owned() };
            let prompt = "URL of the channel's incoming webhook (not shown)";
            receiver(&hidden(prompt, &|url| check(receiver(url)))?)
        }
        1 => {
            let receiver =
                |token: &str| Receiver::SlackApp { token: token.to_owned(), channel: "C0".to_owned() };
            let token = hidden("Bot token (xoxb-…, not shown)", &|token| check(receiver(token)))?;
            let channel = channel(args, project, &token)?;
            Receiver::SlackApp { token, channel }
        }
        2 => {
            let receiver = |url: &str| Receiver::Webhook { url: url.to_owned() };
            receiver(&line("URL of the webhook", None, &|url| check(receiver(url)))?)
        }
        _ => {
            let receiver = |smtp: &str, from: &str, to: &str| Receiver::Email {
                smtp: smtp.to_owned(),
                password: None,
                from: from.to_owned(),
                to: to.to_owned(),
            };
            let anywhere = "smtps://smtp.example.com";
            let to = line("Address", None, &|to| check(receiver(anywhere, to, to)))?;
            let prompt = "Mail server, as in smtps://user%40example.com@smtp.example.com";
            let smtp = line(prompt, None, &|smtp| match has_password(smtp) {
                true => Err("leave the password out; it is asked for next".to_owned()),
                false => check(receiver(smtp, &to, &to)),
            })?;
            let prompt = "Password there (not shown; empty for none)";
            let password = Password::new().with_prompt(prompt).allow_empty_password(true).interact()?;
            let from = line("Sender", Some(&to), &|from| check(receiver(&smtp, from, &to)))?;
            Receiver::Email { smtp, password: Some(password).filter(|it| !it.is_empty()), from, to }
        }
    })
}

fn channel(args: &InitArgs, project: &Project, token: &str) -> Result<String, InitError> {
    let receiver =
        |channel: &str| Receiver::SlackApp { token: token.to_owned(), channel: channel.to_owned() };
    let prompt = "Channel, by its id or name, which the app is in";
    line(prompt, None, &|channel| usable(&receiver(channel), args, project))
}

/// Whether a config can tell this receiver, or what is wrong with the answers.
fn usable(receiver: &Receiver, args: &InitArgs, project: &Project) -> Result<(), String> {
    is_taken(&receiver.trial(project), args)
}

/// Whether the reader of the config takes a draft, or what is wrong with the answers in it.
fn is_taken(draft: &str, args: &InitArgs) -> Result<(), String> {
    match parse(draft, args, &|_| None) {
        Ok(_) => Ok(()),
        Err(InitError::Answers(wrong)) => Err(said(&wrong)),
        Err(error) => Err(error.to_string()),
    }
}

fn has_password(smtp: &str) -> bool {
    Url::parse(smtp).is_ok_and(|smtp| smtp.password().is_some())
}

/// Asks for a line until `check` accepts it. Blanks around it, which come from copying, are removed.
fn line(
    prompt: &str,
    default: Option<&str>,
    check: &dyn Fn(&str) -> Result<(), String>,
) -> Result<String, InitError> {
    let is_right = |line: &String| match line.trim() {
        "" => Err("an answer is needed; Ctrl-C ends this".to_owned()),
        line => check(line),
    };
    let mut input = Input::new().with_prompt(prompt).allow_empty(default.is_none()).validate_with(is_right);
    if let Some(default) = default {
        input = input.default(default.to_owned());
    }
    Ok(input.interact_text()?.trim().to_owned())
}

/// The same for a secret.
fn hidden(prompt: &str, check: &dyn Fn(&str) -> Result<(), String>) -> Result<String, InitError> {
    let input = Password::new().with_prompt(prompt).validate_with(|line: &String| check(line.trim()));
    Ok(input.interact()?.trim().to_owned())
}

fn rules(args: &InitArgs, asks: bool, mut presets: Vec<Preset>) -> Result<Vec<Preset>, InitError> {
    if let Some(name) = args.rules.iter().find(|name| presets.iter().all(|preset| preset.name != **name)) {
        let known: Vec<_> = presets.iter().map(|preset| format!("`{}`", preset.name)).collect();
        return Err(InitError::NoRule { name: name.clone(), known: known.join(", ") });
    }
    if !args.rules.is_empty() {
        presets.retain(|preset| args.rules.contains(&preset.name));
    } else if asks {
        let prompt = "What is to be told (space chooses, enter goes on)";
        let chosen = loop {
            let questions = presets.iter().map(|preset| (preset.question.clone(), true));
            let chosen = MultiSelect::new().with_prompt(prompt).items_checked(questions).interact()?;
            if !chosen.is_empty() {
                break chosen;
            }
            complain("callwatch: nothing would ever be told; choose one at least");
        };
        presets = chosen.into_iter().filter_map(|place| presets.get(place).cloned()).collect();
    }
    Ok(presets)
}

/// A report of a config, for standard error.
fn rendered(report: &Report) -> String {
    report.render(Style::of(&io::stderr()).is_coloured()).trim_end().to_owned()
}

/// A config as it would be in its file, in an environment.
fn parse(text: &str, args: &InitArgs, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, InitError> {
    let options = LoadOptions { env, ..LoadOptions::default() };
    Config::parse(text, &args.config, options).map_err(|report| match answers(&report, text, args) {
        Some(wrong) => InitError::Answers(wrong),
        None => InitError::Config(Box::new(report)),
    })
}

/// The mistakes of a report by the flags that gave the wrong answers, since there is no file yet whose lines could be shown.
/// `None` when a mistake belongs to no answer.
fn answers(report: &Report, draft: &str, args: &InitArgs) -> Option<Vec<Wrong>> {
    // Beside errors, warnings can be about what is still missing from the draft.
    let worst = if report.count(Level::Error) > 0 { Level::Error } else { Level::Warning };
    let wrong = report.mistakes().iter().filter(|mistake| mistake.level == worst).map(|mistake| {
        let flag = match flag_of(draft, report.place(mistake)?.0)? {
            // Nobody gave a sender: it is the address that is told.
            "--from" if args.from.is_none() => "--email",
            flag => flag,
        };
        let hint = mistake.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        Some(Wrong { flag, said: format!("{}{hint}", mistake.message) })
    });
    let mut wrong: Vec<_> = wrong.collect::<Option<_>>()?;
    wrong.dedup();
    Some(wrong)
}

/// A name of a table, as an argument.
fn name(text: &str) -> Result<Name, String> {
    match Name::is_valid(text) {
        true => Ok(Name::from(text)),
        false => Err(format!("a name is up to {} letters, digits, `-`, `_` and `.`", Name::MAX_LEN)),
    }
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
