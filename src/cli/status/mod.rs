//! `callwatch status`: one screen that says whether it works, what is stuck, and what to do.

mod view;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use clap::Args;

use super::{
    complain,
    config_arg::ConfigArg,
    deliveries::Reader,
    json, print,
    reach::{ReachError, Target, at_work, reach},
};
use crate::{config_file::Config, ops::OpsError, store::StoreError, style::Style};

/// Time between two screens.
const REDRAW: Duration = Duration::from_secs(2);

/// Empties the screen, and goes to its beginning.
const CLEAR: &[u8] = b"\x1b[2J\x1b[H";

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Show it again every two seconds, until Ctrl-C
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// Print an object {at, service, destinations, nodes, free}
    #[arg(long)]
    json: bool,
}

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
enum StatusError {
    #[error(transparent)]
    Reach(#[from] ReachError),
    #[error(transparent)]
    Ops(#[from] OpsError),
    #[error(transparent)]
    Close(#[from] StoreError),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

/// Shows the status; the exit code is 0 when callwatch works and nothing needs a person, 1 otherwise, and 78 for a bad
/// config.
pub async fn status(args: StatusArgs) -> ExitCode {
    let target = match Target::find(&args.config).await {
        Ok(target) => target,
        Err(code) => return code,
    };
    let shown = match target {
        Target::Config(config) if args.watch => watch(&config).await,
        target => once(target, args.json).await,
    };
    match shown {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(&format!("callwatch: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Shows the status once; returns whether all is well.
async fn once(target: Target, as_json: bool) -> Result<bool, StatusError> {
    let zone = target.zone();
    let reached = reach(target).await?;
    let status = reached.status().await;
    let closed = reached.close().await;
    let status = status?;
    closed?;
    let reader = Reader { now: status.at, zone };
    print(&if as_json { json(&status)? } else { view::screen(&status, reader, Style::of(&io::stdout())) })?;
    Ok(status.is_well())
}

/// Shows the status again and again. A stopped callwatch is not asked, because its store could not be opened meanwhile.
async fn watch(config: &Config) -> Result<bool, StatusError> {
    let is_terminal = io::stdout().is_terminal();
    loop {
        let screen = match at_work(&config.store.path).await {
            Ok(Some(client)) => match client.status().await {
                Ok(status) => {
                    let reader = Reader { now: status.at, zone: config.timezone };
                    view::screen(&status, reader, Style::of(&io::stdout()))
                }
                Err(error) => format!("{error}\n"),
            },
            Ok(None) => "callwatch is stopped; `callwatch run` starts it\n".to_owned(),
            Err(error) => format!("{error}\n"),
        };
        // What is printed is escaped, so that nothing in it commands the terminal; this does, and is ours.
        if is_terminal {
            io::stdout().write_all(CLEAR)?;
        }
        print(&screen)?;
        if !is_terminal {
            print("\n")?;
        }
        tokio::time::sleep(REDRAW).await;
    }
}
