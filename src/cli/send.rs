//! `callwatch send`: sends one test notification through the real rendering and delivery, and shows the receiver's
//! answer.

use std::{io, process::ExitCode};

use clap::Args;
use serde_json::json;

use super::{check, complain, config_arg::ConfigArg, leaving, print};
use crate::{
    config_file::Config,
    destination,
    name::Name,
    privacy::{escaped, escaped_json},
    rehearsal::trial::{Trial, TrialError, Tried},
    style::{Colour, Style, WIDTH, wrap},
    template::truncate,
    time::Clock,
};

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

/// Why nothing was sent or printed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error(transparent)]
    Trial(#[from] TrialError),
    #[error("the message for {0} cannot be written")]
    NotWritten(Name),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

/// Sends; the exit code is 0 when it arrived, 1 when it did not, 78 for a bad config.
pub async fn send(args: SendArgs) -> ExitCode {
    let config = match check::load_to_show(&args.config) {
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
    let trial = Trial::of(config, destination, rule, Clock::system().wall()).await?;
    if let Outcome::Shown { verbose } = outcome {
        let text = destination::leaves(trial.to(), &trial.notification()).map_err(TrialError::from)?;
        let text = text.ok_or_else(|| SendError::NotWritten(destination.clone()))?;
        let reasons = if verbose { destination::reasons(trial.to(), trial.event()) } else { vec![] };
        let carried_by = destination::carried_by(trial.to()).filter(|_| verbose);
        print(&leaving(text, carried_by, &reasons))?;
        return Ok(true);
    }
    let tried = trial.send().await?;
    print(&match outcome {
        // Texts, numbers and lists of texts can be written.
        Outcome::Json => format!("{}\n", escaped_json(&format!("{:#}", json!(tried)))),
        Outcome::Text | Outcome::Shown { .. } => text(&tried, Style::of(&io::stdout())),
    })?;
    Ok(tried.arrived)
}

/// For people.
fn text(tried: &Tried, style: Style) -> String {
    let Tried { destination, rule, fulfils_rule, event, title, notes, arrived, result, response, .. } = tried;
    let not = if *fulfils_rule { "" } else { ", for a call that is not one of its" };
    let mut text = format!("to      {destination}, as rule {rule} says it{not}\n");
    text += &format!("event   {event}\n");
    text += &format!("sent    {}\n", truncate(title, WIDTH - 8));
    for note in notes {
        let note = wrap(&escaped(note), WIDTH - 8).replace('\n', "\n        ");
        text += &format!("note    {note}\n");
    }
    let verdict = match arrived {
        true => style.paint(Colour::Green, "arrived"),
        false => style.paint(Colour::Red, "did not arrive"),
    };
    text += &format!("{verdict}: {result}, after {} ms\n", tried.took_ms);
    if !response.is_empty() {
        text += &format!("answer  {response}\n");
    }
    if let Some(advice) = &tried.advice {
        text += &format!("{advice}\n");
    }
    text
}
