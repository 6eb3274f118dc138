//! `callwatch forget`: forgets the calls of a person for good.

use std::{io, process::ExitCode};

use clap::Args;
use tracing::info;

use super::{
    EXIT_USAGE, complain,
    config_arg::ConfigArg,
    confirm, json, print,
    reach::{ReachError, Reached, Target, reach},
};
use crate::{
    call::CallId,
    config::StoreConfig,
    ops::{BulkMode, Erased, OldCopy, OpsError, Whom},
    store::{SledStore, Store, StoreError},
};

/// Arguments of `forget`.
#[derive(Debug, Args)]
pub struct ForgetArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The caller's number, as in +33 6 12 34 56 78
    #[arg(value_name = "NUMBER", required_unless_present = "call", num_args = 1..)]
    number: Vec<String>,
    /// Only this call, by the API's id
    #[arg(long, value_name = "ID", conflicts_with = "number")]
    call: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Only count what would be forgotten
    #[arg(long)]
    dry_run: bool,
    /// Print an object {calls, deliveries, undelivered, shared, mark, copies}
    #[arg(long)]
    json: bool,
}

/// Why nothing was forgotten, or not all.
#[derive(Debug, thiserror::Error)]
enum ForgetError {
    #[error(transparent)]
    Reach(#[from] ReachError),
    #[error(transparent)]
    Ops(#[from] OpsError),
    #[error(
        "what is forgotten is gone for good, and nobody can be asked here: add --yes, or --dry-run to count"
    )]
    NeedsYes,
    #[error("nothing was forgotten")]
    SaidNo,
    #[error("it is forgotten, and the store's files could not be rewritten yet: {0}")]
    NotRewritten(StoreError),
    #[error(transparent)]
    Close(StoreError),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

/// Forgets; the exit code is 0, or 1 with a message on stderr, or 2 when --yes is missing, or 78 for a bad config.
pub async fn forget(args: ForgetArgs) -> ExitCode {
    let target = match Target::find(&args.config).await {
        Ok(target) => target,
        Err(code) => return code,
    };
    let done: Result<(), ForgetError> = async {
        let store = match &target {
            Target::Config(config) => Some(config.store.clone()),
            Target::AtWork(_) => None,
        };
        let is_database = store.as_ref().is_some_and(|store| store.database.is_some());
        let reached = reach(target).await?;
        let is_at_work = reached.is_at_work();
        let forgotten = run(&reached, &args).await;
        let closed = reached.close().await.map_err(ForgetError::Close);
        let erased = forgotten?;
        closed?;
        if let Some(store) = store.filter(|_| !is_at_work && !is_database && !args.dry_run) {
            info!("{}", erased.line());
            rewrite(&store).await.map_err(ForgetError::NotRewritten)?;
        }
        let traces = match (is_database, is_at_work) {
            (true, _) => "the database overwrites the rows when it vacuums; its own backups and logs hold them as long as they are kept\n",
            (false, true) => "the store's files may hold traces until callwatch is started next\n",
            (false, false) => "",
        };
        let text = if args.json { json(&erased)? } else { text(&erased, &args, traces) };
        Ok(print(&text)?)
    }
    .await;
    match done {
        Err(error @ ForgetError::NeedsYes) => {
            complain(&format!("callwatch: {error}"));
            EXIT_USAGE.into()
        }
        done => super::report(done),
    }
}

/// Opening the store once more rewrites its files, so that nothing is left in them that is no longer in use.
async fn rewrite(store: &StoreConfig) -> Result<(), StoreError> {
    SledStore::open_existing(store).await?.close().await
}

async fn run(ops: &Reached, args: &ForgetArgs) -> Result<Erased, ForgetError> {
    let number = (!args.number.is_empty()).then(|| args.number.join(" "));
    let whom = Whom { number, call: args.call.as_deref().map(CallId::from) };
    if args.dry_run {
        return Ok(ops.forget(&whom, BulkMode::DryRun).await?);
    }
    if !args.yes {
        let would = ops.forget(&whom, BulkMode::DryRun).await?;
        let question = format!("Forget {}? That cannot be undone.", in_words(&would));
        match confirm(question).await? {
            Some(true) => {}
            Some(false) => return Err(ForgetError::SaidNo),
            None => return Err(ForgetError::NeedsYes),
        }
    }
    Ok(ops.forget(&whom, BulkMode::Act).await?)
}

/// `2 calls and 3 deliveries, 1 of which has not arrived and never will`
fn in_words(Erased { calls, deliveries, undelivered, shared, .. }: &Erased) -> String {
    let number = |count: usize, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    };
    let mut words = number(*calls, "call", "calls");
    words += &format!(" and {}", number(*deliveries, "delivery", "deliveries"));
    match undelivered {
        0 => {}
        1 => words += ", 1 of which has not arrived and never will",
        many => words += &format!(", {many} of which have not arrived and never will"),
    }
    match shared {
        0 => {}
        1 => words += "; 1 message that waits tells the other calls in it only",
        many => words += &format!("; {many} messages that wait tell the other calls in them only"),
    }
    words
}

/// `traces` says where something of it may be left.
fn text(erased: &Erased, args: &ForgetArgs, traces: &str) -> String {
    if args.dry_run {
        return format!("{} would be forgotten\n", in_words(erased));
    }
    let mut said = format!("forgotten: {}\n", in_words(erased));
    if let Some(mark) = &erased.mark {
        said += &format!("the log says it of a number with mark {mark}\n");
    }
    said += traces;
    for OldCopy { path, until } in &erased.copies {
        let until = match until {
            Some(until) => {
                format!("until newer backups have taken its place, by {until} while callwatch runs")
            }
            None => "until somebody removes it".to_owned(),
        };
        said += &format!("{} holds it still, {until}\n", path.display());
    }
    said
}
