//! `callwatch deliveries`: lists and shows deliveries, retries and drops them, pauses and resumes destinations. Works on
//! the store of a stopped service.

mod args;
mod view;

use std::{io, process::ExitCode, sync::Arc};

pub use self::args::DeliveriesArgs;
use self::args::{Command, Which};
pub(super) use self::view::{Reader, attempt_line, listed, state_line};
use super::{
    check, print,
    stopped::{self, StoppedError},
};
use crate::{
    calendar::Zone,
    event::EventId,
    name::Name,
    ops::{BulkMode, Changed, Filter, Ops, OpsError, Resumed},
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
    Stopped(#[from] StoppedError),
    #[error("nothing to do: {0}")]
    NothingToDo(String),
    #[error(transparent)]
    Close(#[from] StoreError),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

impl From<OpsError> for DeliveriesError {
    fn from(error: OpsError) -> Self {
        match error {
            OpsError::NoDelivery(_) => Self::NoDelivery(error),
            error => Self::Ops(error),
        }
    }
}

/// Runs the subcommand; the exit code is 0, or 1 with a message on stderr, or 78 for a bad config.
pub async fn deliveries(args: DeliveriesArgs) -> ExitCode {
    let config = match check::load_without_secrets(args.command.config()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let done: Result<(), DeliveriesError> = async {
        let store = stopped::open(&config).await?;
        let zone = config.timezone;
        let ops = Ops::new(Arc::clone(&store), Arc::new(config), Clock::system());
        let done = run(&ops, args.command, zone).await;
        let closed = store.close().await;
        let text = done?;
        closed?;
        Ok(print(&text)?)
    }
    .await;
    super::report(done)
}

/// Runs the subcommand; returns its output.
async fn run(ops: &Ops, command: Command, zone: Zone) -> Result<String, DeliveriesError> {
    match command {
        Command::List { destination, state, call, limit, json, .. } => {
            let (state, call) = (state.map(Into::into), call.map(Into::into));
            let filter = Filter { destination, state, call, ..Filter::default() };
            let listing = ops.list(&filter, None, limit).await?;
            if json {
                return Ok(super::json(&listing.items)?);
            }
            let total = ops.count(&filter).await?;
            Ok(view::table(&listing.items, total, &ops.status().await?, zone))
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
            let changed = ops.retry(&which.filter(), BulkMode::Act).await?;
            retried(&which, changed).map_err(DeliveriesError::NothingToDo)
        }
        Command::Drop { which, .. } => {
            dropped(ops.drop(&which.filter(), BulkMode::Act).await?).map_err(DeliveriesError::NothingToDo)
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
        match &self.id {
            Some(id) => Filter::event(EventId::from(id.as_str()), self.only.clone()),
            None => Filter { destination: self.destination.clone(), ..Filter::default() },
        }
    }
}

/// The message after a retry; an error, when nothing was retried, says why.
fn retried(which: &Which, changed: Changed) -> Result<String, String> {
    match changed {
        Changed { count: 0, .. } if which.all => Err("no delivery of it is dead".to_owned()),
        Changed { count: 0, told_by: Some(into), .. } => {
            Err(format!("it was told as part of {into}; retry that"))
        }
        Changed { count: 0, .. } => Err("it has arrived".to_owned()),
        Changed { count, held, .. } => {
            let mut said = format!("{} due again; callwatch delivers when it runs\n", are(count));
            if held > 0 {
                said += &format!("{} no longer held: told alone, not with others\n", are(held));
            }
            Ok(said)
        }
    }
}

/// The message after deliveries were dropped; an error, when none was, says why.
fn dropped(Changed { count, held, told_by }: Changed) -> Result<String, String> {
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
