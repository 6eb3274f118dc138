//! `callwatch deliveries`: lists and shows deliveries, retries and drops them, pauses and resumes destinations.

mod args;
mod view;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

pub use self::args::DeliveriesArgs;
use self::args::{Command, Which};
pub(super) use self::view::{Reader, age, attempt_line, lay_out, listed, state_line};
use super::{
    EXIT_USAGE, complain, print,
    reach::{ReachError, Reached, Target, reach},
};
use crate::{
    calendar::Zone,
    call::CallId,
    event::EventId,
    name::Name,
    ops::{BulkMode, Changed, Filter, OpsError, OpsErrorKind, Resumed},
    store::StoreError,
    time::Clock,
};

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
enum DeliveriesError {
    #[error("{0}; `callwatch deliveries list` shows those there are")]
    NoDelivery(OpsError),
    #[error(transparent)]
    Ops(OpsError),
    #[error(transparent)]
    Reach(#[from] ReachError),
    #[error("nothing to do: {0}")]
    NothingToDo(String),
    #[error(
        "what is dropped cannot be had back, and nobody can be asked here: add --yes, or --dry-run to count"
    )]
    NeedsYes,
    #[error("nothing was dropped")]
    SaidNo,
    #[error(transparent)]
    Close(#[from] StoreError),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

impl From<OpsError> for DeliveriesError {
    fn from(error: OpsError) -> Self {
        match error.kind() {
            OpsErrorKind::NoDelivery => Self::NoDelivery(error),
            _ => Self::Ops(error),
        }
    }
}

/// Runs the subcommand; the exit code is 0, or 1 with a message on stderr, or 2 when --yes is missing, or 78 for a
/// bad config.
pub async fn deliveries(args: DeliveriesArgs) -> ExitCode {
    let target = match Target::find(args.command.config()).await {
        Ok(target) => target,
        Err(code) => return code,
    };
    let done: Result<(), DeliveriesError> = async {
        let zone = target.zone();
        let reached = reach(target).await?;
        let done = run(&reached, args.command, zone).await;
        let closed = reached.close().await;
        let text = done?;
        closed?;
        Ok(print(&text)?)
    }
    .await;
    match done {
        Err(error @ DeliveriesError::NeedsYes) => {
            complain(&format!("callwatch: {error}"));
            EXIT_USAGE.into()
        }
        done => super::report(done),
    }
}

/// Runs the subcommand; returns its output.
async fn run(ops: &Reached, command: Command, zone: Zone) -> Result<String, DeliveriesError> {
    match command {
        Command::List { destination, call, which, limit, json, .. } => {
            let call = call.map(Into::into);
            let filter = Filter { destination, call, ..which.filter() };
            let listing = ops.list(&filter, limit).await?;
            if json {
                return Ok(super::json(&listing.items)?);
            }
            let total = ops.count(&filter).await?;
            let mut table = view::table(&listing.items, total, &ops.status().await?, zone);
            let typed = filter.call.as_ref().map_or("", CallId::as_str);
            if total == 0 && typed.starts_with(['+', '0', ' ']) {
                table.push_str(
                    "--call takes the id of a call; `callwatch explain NUMBER` finds those of a number\n",
                );
            }
            Ok(table)
        }
        Command::Show { of, answers, json, .. } => {
            let event = EventId::from(of.id.as_str());
            let all = ops.show(&event, of.destination.as_ref(), answers).await?;
            Ok(if json {
                super::json(&all)?
            } else {
                view::details(&all, Reader { now: Clock::system().wall(), zone })
            })
        }
        Command::Retry { which, .. } => {
            let changed = ops.retry(&which.filter()).await?;
            retried(&which, changed, ops.is_at_work()).map_err(DeliveriesError::NothingToDo)
        }
        Command::Drop { which, dry_run, yes, .. } => {
            let filter = which.filter();
            if dry_run {
                let Changed { count, .. } = ops.drop(&filter, BulkMode::DryRun).await?;
                let deliveries = if count == 1 { "delivery" } else { "deliveries" };
                return Ok(format!("{count} {deliveries} would be dropped\n"));
            }
            if !yes {
                let Changed { count, .. } = ops.drop(&filter, BulkMode::DryRun).await?;
                if count > 0 {
                    confirm(count).await?;
                }
            }
            dropped(&which, ops.drop(&filter, BulkMode::Act).await?).map_err(DeliveriesError::NothingToDo)
        }
        Command::Pause { destination, .. } => {
            ops.pause(&destination).await?;
            Ok(format!("{destination} is paused: what is meant for it waits until it is resumed\n"))
        }
        Command::Resume { destination, .. } => Ok(resumed(&destination, ops.resume(&destination).await?)),
    }
}

impl Which {
    /// The deliveries that are meant.
    fn filter(&self) -> Filter {
        let of_event = self.id.as_ref().map(|id| EventId::from(id.as_str()));
        let destination = if of_event.is_some() { &self.only } else { &self.destination };
        Filter { event: of_event, destination: destination.clone(), ..self.kind.clone().filter() }
    }
}

/// The message after a retry; an error, when nothing was retried, says why.
fn retried(which: &Which, changed: Changed, is_at_work: bool) -> Result<String, String> {
    match changed {
        Changed { count: 0, .. } if !which.kind.is_empty() => {
            Err("nothing that matches is dead, waiting or held".to_owned())
        }
        Changed { count: 0, .. } if which.all => Err("no delivery of it is dead".to_owned()),
        Changed { count: 0, told_by: Some(into), .. } => {
            Err(format!("it was told as part of {into}; retry that"))
        }
        Changed { count: 0, .. } => Err("it has arrived".to_owned()),
        Changed { count, held, .. } => {
            let when = if is_at_work { "" } else { "; callwatch delivers when it runs" };
            let mut said = format!("{} due again{when}\n", are(count));
            if held > 0 {
                said += &format!("{} no longer held: told alone, not with others\n", are(held));
            }
            Ok(said)
        }
    }
}

/// Asks whether so many deliveries are to be dropped.
async fn confirm(count: usize) -> Result<(), DeliveriesError> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(DeliveriesError::NeedsYes);
    }
    let deliveries = if count == 1 { "1 delivery".to_owned() } else { format!("{count} deliveries") };
    // A person takes time, and reading blocks.
    let asked = tokio::task::spawn_blocking(move || {
        let mut terminal = io::stderr();
        write!(terminal, "Drop {deliveries}? That cannot be undone. [y/N] ")?;
        terminal.flush()?;
        let mut said = String::new();
        io::stdin().read_line(&mut said)?;
        io::Result::Ok(matches!(said.trim(), "y" | "Y" | "yes"))
    });
    match asked.await {
        Ok(Ok(true)) => Ok(()),
        Ok(Err(error)) => Err(error.into()),
        Ok(Ok(false)) | Err(_) => Err(DeliveriesError::SaidNo),
    }
}

/// The message after deliveries were dropped; an error, when none was, says why.
fn dropped(which: &Which, Changed { count, held, told_by }: Changed) -> Result<String, String> {
    if count == 0 && !which.kind.is_empty() {
        return Err("nothing matches".to_owned());
    }
    if count == 0 {
        return Err("all of its deliveries have arrived".to_owned());
    }
    let mut said = format!("{} dropped\n", are(count));
    if held > 0 {
        said += "what was held is left out when its batch goes out\n";
    }
    if let Some(into) = told_by {
        said += &format!("{into}, which told it, is left as it is\n");
    }
    Ok(said)
}

fn resumed(destination: &Name, Resumed { was_paused, waiting }: Resumed) -> String {
    let is = if was_paused { "is resumed" } else { "is not paused" };
    format!("{destination} {is}; {} for it\n", wait(waiting))
}

fn are(count: usize) -> String {
    if count == 1 { "1 delivery is".to_owned() } else { format!("{count} deliveries are") }
}

fn wait(count: u64) -> String {
    match count {
        0 => "nothing waits".to_owned(),
        1 => "1 delivery waits".to_owned(),
        count => format!("{count} deliveries wait"),
    }
}
