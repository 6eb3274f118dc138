//! `callwatch explain`: tells the story of a call, with what each rule made of it and what became of each delivery.
//! Changes nothing.

mod view;

use std::{io, process::ExitCode};

use clap::Args;

use super::{
    config_arg::ConfigArg,
    deliveries::Reader,
    json, print,
    reach::{ReachError, Target, reach},
};
use crate::{
    call::CallId,
    name::Name,
    ops::{OpsError, OpsErrorKind},
    privacy::HIDDEN,
    store::StoreError,
    style::Style,
};

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The call, by the API's id or by its caller's number (the newest call of it)
    #[arg(value_name = "CALL_ID", required = true, num_args = 1..)]
    call: Vec<String>,
    /// Of this source; needed only when several know a call of this id
    #[arg(long, value_name = "NAME")]
    source: Option<Name>,
    /// Print an object {at, call, source, of_number, known, rules, other_deliveries}
    #[arg(long)]
    json: bool,
}

/// Why the call cannot be explained.
#[derive(Debug, thiserror::Error)]
enum ExplainError {
    #[error(transparent)]
    Reach(#[from] ReachError),
    #[error(
        "a log shows numbers masked, and `{0}` may be anybody's: give the whole number, or the id behind `call=`"
    )]
    Masked(String),
    #[error("{0} with --source")]
    Ambiguous(OpsError),
    #[error(transparent)]
    Ops(OpsError),
    #[error(transparent)]
    Close(#[from] StoreError),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

impl From<OpsError> for ExplainError {
    fn from(error: OpsError) -> Self {
        match error.kind() {
            OpsErrorKind::AmbiguousCall => Self::Ambiguous(error),
            _ => Self::Ops(error),
        }
    }
}

/// Explains a call; the exit code is 0, or 1 with a message on stderr, or 78 for a bad config.
pub async fn explain(args: ExplainArgs) -> ExitCode {
    let target = match Target::find(&args.config).await {
        Ok(target) => target,
        Err(code) => return code,
    };
    let done: Result<(), ExplainError> = async {
        let zone = target.zone();
        let call = args.call.join(" ");
        if call.contains(HIDDEN) {
            return Err(ExplainError::Masked(call));
        }
        let reached = reach(target).await?;
        let story = reached.explain(&CallId::from(call.as_str()), args.source.as_ref()).await;
        let closed = reached.close().await;
        let story = story?;
        closed?;
        let text = if args.json {
            json(&story)?
        } else {
            view::text(&story, Reader { now: story.now, zone }, Style::of(&io::stdout()))
        };
        Ok(print(&text)?)
    }
    .await;
    super::report(done)
}
