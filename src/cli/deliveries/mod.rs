//! `callwatch deliveries`: lists and shows deliveries, retries, resends and drops them, pauses and resumes destinations;
//! and `callwatch replay`, which resends by what happened.

mod args;
mod view;

use std::{io, process::ExitCode};

use self::args::{Asking, Command, Which};
pub use self::args::{DeliveriesArgs, ReplayArgs};
pub(super) use self::view::{Reader, age, attempt_line, lay_out, listed, state_line};
use super::{
    EXIT_USAGE, complain,
    config_arg::ConfigArg,
    print,
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
    #[error("{0}, and nobody can be asked here: add --yes, or --dry-run to count")]
    NeedsYes(&'static str),
    #[error("nothing was {0}")]
    SaidNo(&'static str),
    #[error("say what is to be told again, such as --rule NAME --newer-than 7d")]
    EmptyReplay,
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
    let config = args.command.config().clone();
    ask(&config, async |ops, zone| run(ops, args.command, zone).await).await
}

/// Tells events again; the exit code is that of [`deliveries`].
pub async fn replay(args: ReplayArgs) -> ExitCode {
    let config = args.config.clone();
    ask(&config, async |ops, _| {
        let filter = args.filter();
        if filter == Filter::default() {
            return Err(DeliveriesError::EmptyReplay);
        }
        resend(ops, &filter, args.to.as_ref(), args.asking).await
    })
    .await
}

/// Reaches whoever answers for a config, and prints what `run` makes of it.
async fn ask(
    config: &ConfigArg,
    run: impl AsyncFnOnce(&Reached, Zone) -> Result<String, DeliveriesError>,
) -> ExitCode {
    let target = match Target::find(config).await {
        Ok(target) => target,
        Err(code) => return code,
    };
    let done: Result<(), DeliveriesError> = async {
        let zone = target.zone();
        let reached = reach(target).await?;
        let done = run(&reached, zone).await;
        let closed = reached.close().await;
        let text = done?;
        closed?;
        Ok(print(&text)?)
    }
    .await;
    match done {
        Err(error @ (DeliveriesError::NeedsYes(_) | DeliveriesError::EmptyReplay)) => {
            complain(&format!("callwatch: {error}"));
            EXIT_USAGE.into()
        }
        done => super::report(done),
    }
}

/// Runs the subcommand; returns its output.
async fn run(ops: &Reached, command: Command, zone: Zone) -> Result<String, DeliveriesError> {
    match command {
        Command::List { event, which, limit, json, .. } => {
            let event = event.as_deref().map(EventId::from);
            let filter = Filter { event, ..which.filter() };
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
        Command::Resend { which, asking, .. } => resend(ops, &which.filter(), None, asking).await,
        Command::Drop { which, asking, .. } => {
            let filter = which.filter();
            if asking.dry_run {
                let Changed { count, .. } = ops.drop(&filter, BulkMode::DryRun).await?;
                return Ok(format!("{} would be dropped\n", deliveries_in_words(count)));
            }
            if !asking.yes {
                let Changed { count, .. } = ops.drop(&filter, BulkMode::DryRun).await?;
                if count > 0 {
                    let question = format!("Drop {}? That cannot be undone.", deliveries_in_words(count));
                    if !confirm(question, "what is dropped is gone for good").await? {
                        return Err(DeliveriesError::SaidNo("dropped"));
                    }
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
        let filter = self.kind.clone().filter();
        let event = self.id.as_ref().map(|id| EventId::from(id.as_str()));
        Filter { event, destination: self.only.clone().or(filter.destination), ..filter }
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

/// Sends again what matches, after asking, or only counts it; returns the message.
async fn resend(
    ops: &Reached,
    filter: &Filter,
    to: Option<&Name>,
    asking: Asking,
) -> Result<String, DeliveriesError> {
    let whom = to.map(|to| format!(" to {to}")).unwrap_or_default();
    if asking.dry_run {
        let Changed { count, stranded, .. } = ops.resend(filter, to, BulkMode::DryRun).await?;
        let would = format!("{} would be sent again{whom}\n", deliveries_in_words(count));
        return Ok(would + &stranded_line(stranded));
    }
    if !asking.yes {
        let Changed { count, .. } = ops.resend(filter, to, BulkMode::DryRun).await?;
        let question = format!("Send {} again{whom}?", deliveries_in_words(count));
        if count > 0 && !confirm(question, "what is sent again arrives twice").await? {
            return Err(DeliveriesError::SaidNo("sent again"));
        }
    }
    let Changed { count, waiting, stranded, told_by, .. } = ops.resend(filter, to, BulkMode::Act).await?;
    let mut said = match waiting {
        0 => String::new(),
        1 => "1 waits already, and is not made twice\n".to_owned(),
        many => format!("{many} wait already, and are not made twice\n"),
    };
    said += &stranded_line(stranded);
    if count > 0 {
        let when = if ops.is_at_work() { "" } else { "; callwatch delivers when it runs" };
        return Ok(format!("{} sent again{whom}{when}\n{said}", are(count)));
    }
    Err(DeliveriesError::NothingToDo(match told_by {
        _ if !said.is_empty() => said.trim_end().replace('\n', "; "),
        Some(into) => format!("it was told as part of {into}; resend that"),
        None if filter.event.is_some() => {
            "it has not arrived; `callwatch deliveries retry` tries again".to_owned()
        }
        None => "nothing that matches has arrived".to_owned(),
    }))
}

fn stranded_line(count: usize) -> String {
    if count == 0 {
        return String::new();
    }
    let went = if count == 1 { "1 went".to_owned() } else { format!("{count} went") };
    format!("{went} to a destination that is not in the config: `callwatch replay --to NAME` names another\n")
}

/// Asks a question that is answered by yes or no.
async fn confirm(question: String, danger: &'static str) -> Result<bool, DeliveriesError> {
    super::confirm(question).await?.ok_or(DeliveriesError::NeedsYes(danger))
}

/// The message after deliveries were dropped; an error, when none was, says why.
fn dropped(which: &Which, Changed { count, held, told_by, .. }: Changed) -> Result<String, String> {
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

fn deliveries_in_words(count: usize) -> String {
    if count == 1 { "1 delivery".to_owned() } else { format!("{count} deliveries") }
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
