//! `callwatch send`: sends one test notification through the real rendering and delivery, and shows the receiver's
//! answer.

mod sample;

use std::{io, process::ExitCode, sync::Arc, time::Instant};

use clap::Args;
use serde_json::json;

use self::sample::Sample;
use super::{check, complain, config_arg::ConfigArg, print, quoted};
use crate::{
    config_file::Config,
    destination::{self, Answer, Notification, Reaction},
    http,
    kind::Kind,
    name::Name,
    privacy::{escaped, escaped_json, mask_phones_in},
    rule::{Rule, RuleSet},
    store::StoreError,
    style::{Colour, Style, WIDTH, wrap},
    telemetry::Telemetry,
    template::truncate,
    time::Clock,
};

/// How much of an answer is shown, in characters.
const EXCERPT: usize = 300;

/// Arguments of `send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The destination
    destination: Name,
    /// Worded as this rule words it [default: the first rule that tells this destination]
    #[arg(long, value_name = "NAME")]
    rule: Option<Name>,
    /// Print what would leave, byte for byte, and send nothing; secrets are masked
    #[arg(long, conflicts_with = "json")]
    show: bool,
    /// With --show: also which fields are left out or changed, and why
    #[arg(long, short, requires = "show")]
    verbose: bool,
    /// Print an object {destination, rule, event, title, arrived, result, response, …}
    #[arg(long)]
    json: bool,
}

/// Why nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("there is no {what} `{name}`; there is {known}")]
    Unknown { what: &'static str, name: Name, known: String },
    #[error(transparent)]
    Http(#[from] http::ClientError),
    #[error(transparent)]
    Build(#[from] destination::BuildError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no event can be made up for rule `{0}`")]
    NoSample(Name),
    #[error("the sample cannot be rendered: {0}")]
    Record(#[from] serde_json::Error),
    #[error("the message for {0} cannot be written")]
    NotWritten(Name),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

/// Sends; the exit code is 0 when it arrived, 1 when it did not, 78 for a bad config.
pub async fn send(args: SendArgs) -> ExitCode {
    let config = match check::load_without_secrets(&args.config) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let outcome = match (args.show, args.json) {
        (true, _) => Outcome::Shown { verbose: args.verbose },
        (false, true) => Outcome::Json,
        (false, false) => Outcome::Text,
    };
    match run(&config, &args.destination, args.rule.as_ref(), outcome).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(&format!("callwatch: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Sends a test message for people, and prints the answer; returns whether it arrived.
pub(super) async fn try_out(config: &Config, destination: &Name) -> Result<bool, SendError> {
    run(config, destination, None, Outcome::Text).await
}

/// The end of a notification: sent, or only shown.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// It is sent, and the answer printed for people.
    Text,
    /// It is sent, and the answer printed as an object.
    Json,
    /// It is printed and not sent.
    Shown {
        /// With the reasons for what is not shown in it.
        verbose: bool,
    },
}

/// Sends, and prints the answer; returns whether it arrived.
async fn run(
    config: &Config,
    destination: &Name,
    rule: Option<&Name>,
    outcome: Outcome,
) -> Result<bool, SendError> {
    let Some(to) = config.destinations.iter().find(|it| it.name == *destination) else {
        let known = quoted(config.destinations.iter().map(|it| &it.name));
        return Err(SendError::Unknown { what: "destination", name: destination.clone(), known });
    };
    let rule = match rule {
        Some(name) => config.rules.iter().find(|rule| rule.name == *name).cloned().ok_or_else(|| {
            let known = quoted(config.rules.iter().map(|rule| &rule.name));
            SendError::Unknown { what: "rule", name: name.clone(), known }
        })?,
        None => {
            let told = config.rules.iter().find(|rule| rule.to.contains(&to.name));
            // No rule of the config tells this destination, so the event comes from a rule made for it.
            let own = || Rule::new("test".into(), Kind::Ended.into(), vec![to.name.clone()]);
            told.cloned().unwrap_or_else(own)
        }
    };
    let now = Clock::system().wall();
    let sample =
        Sample::of(&rule, config, now).await?.ok_or_else(|| SendError::NoSample(rule.name.clone()))?;
    let rules = RuleSet::of(&config.rules);
    let event = Arc::new(sample.event.clone());
    let notification =
        Notification { event: &event, rules: &rules, sequence: 1, memo: None, followed: false, now };
    if let Outcome::Shown { verbose } = outcome {
        let text = destination::leaves(to, &notification)?;
        let text = text.ok_or_else(|| SendError::NotWritten(to.name.clone()))?;
        let reasons = if verbose { destination::reasons(to, &event) } else { vec![] };
        let reasons: String = reasons.iter().map(|(field, why)| format!("{field}: {why}\n")).collect();
        let gap = if reasons.is_empty() { "" } else { "\n" };
        print(&format!("{}\n{gap}{reasons}", text.trim_end()))?;
        return Ok(true);
    }
    let shown = destination::show(to, &notification)?;
    let receiver = destination::build(to, &http::client()?, &Telemetry::default())?;
    let begun = Instant::now();
    let answer = receiver.deliver(&notification).await;
    let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);

    let title =
        shown.title.unwrap_or_else(|| format!("{}, {} bytes", sample.event.type_name(), shown.text.len()));
    let notes = shown.notes;
    let sent = Sent { destination: &to.name, rule: &rule.name, sample, title, notes, answer, took_ms };
    print(&match outcome {
        Outcome::Json => sent.json(),
        Outcome::Text | Outcome::Shown { .. } => sent.text(Style::of(&io::stdout())),
    })?;
    Ok(sent.has_arrived())
}

/// A notification that was sent, and the receiver's answer.
struct Sent<'a> {
    destination: &'a Name,
    rule: &'a Name,
    sample: Sample,
    title: String,
    /// Remarks about the message, such as that the default text was sent, and why.
    notes: Vec<String>,
    answer: Answer,
    took_ms: u64,
}

impl Sent<'_> {
    fn has_arrived(&self) -> bool {
        self.answer.reaction == Reaction::Delivered
    }

    /// For people.
    fn text(&self, style: Style) -> String {
        let Self { destination, rule, sample, title, notes, answer, took_ms } = self;
        let not = if sample.is_true { "" } else { ", for a call that is not one of its" };
        let mut text = format!("to      {destination}, as rule {rule} says it{not}\n");
        text += &format!("event   {}\n", sample.event.id);
        text += &format!("sent    {}\n", truncate(title, WIDTH - 8));
        for note in notes {
            let note = wrap(&escaped(note), WIDTH - 8).replace('\n', "\n        ");
            text += &format!("note    {note}\n");
        }
        let verdict = match self.has_arrived() {
            true => style.paint(Colour::Green, "arrived"),
            false => style.paint(Colour::Red, "did not arrive"),
        };
        text += &format!("{verdict}: {}, after {took_ms} ms\n", mask_phones_in(&answer.result));
        if !answer.response.is_empty() {
            text += &format!("answer  {}\n", truncate(&mask_phones_in(&answer.response), EXCERPT));
        }
        if let Some(advice) = advice(answer) {
            text += &format!("{advice}\n");
        }
        text
    }

    /// An object.
    fn json(&self) -> String {
        let Self { destination, rule, sample, title, notes, answer, took_ms } = self;
        let object = json!({
            "destination": destination.as_str(),
            "rule": rule.as_str(),
            "fulfils_rule": sample.is_true,
            "event": sample.event.id.as_str(),
            "title": title,
            "notes": notes,
            "arrived": self.has_arrived(),
            "result": mask_phones_in(&answer.result),
            "response": mask_phones_in(&answer.response),
            "advice": advice(answer),
            "took_ms": took_ms,
        });
        format!("{}\n", escaped_json(&format!("{object:#}")))
    }
}

/// Tells what would become of a real delivery; `None` when it has arrived.
fn advice(answer: &Answer) -> Option<String> {
    match &answer.reaction {
        Reaction::Delivered => None,
        Reaction::Retry { after: Some(after) } => {
            let after = humantime::format_duration(*after);
            Some(format!("a real delivery would be tried again; it asked to be left alone for {after}"))
        }
        Reaction::Retry { after: None } => Some("a real delivery would be tried again".to_owned()),
        Reaction::Dead(reason) => {
            Some(format!("a real delivery would be given up: {}", mask_phones_in(reason)))
        }
        Reaction::Pause(reason) => {
            Some(format!("a real delivery would wait until the config changes: {}", mask_phones_in(reason)))
        }
    }
}
