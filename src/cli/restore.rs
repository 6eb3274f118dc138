//! `callwatch restore`: puts a backup in the place of the store.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use super::{EXIT_USAGE, check, complain, config_arg::ConfigArg, confirm, print, printed};
use crate::{
    config::StoreConfig,
    store::{Restored, SledStore, Store, StoreError},
};

/// Arguments of `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The backup [default: the last good one in the folder backups/ of the store]
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Replace a store that can be read without asking; needed where there is no terminal
    #[arg(long)]
    yes: bool,
}

/// Restores, and prints what is there now and where the former store is.
pub async fn restore(args: RestoreArgs) -> ExitCode {
    let config = match check::load(&args.config) {
        Ok(config) => config,
        Err(code) => return code,
    };
    if config.store.database.is_some() {
        complain("callwatch: the store is a database: restore it with its own tools, such as pg_restore");
        return ExitCode::FAILURE;
    }
    if !args.yes {
        match replaces_a_healthy_one(&config.store).await {
            Ok(Some(true)) => {}
            Ok(Some(false)) => {
                complain("callwatch: nothing was restored");
                return ExitCode::FAILURE;
            }
            Ok(None) => {
                complain(
                    "callwatch: the store can be read, a backup would take its place, and nobody can be asked here: add --yes",
                );
                return EXIT_USAGE.into();
            }
            Err(error) => {
                complain(&format!("callwatch: cannot ask: {error}"));
                return ExitCode::FAILURE;
            }
        }
    }
    match SledStore::restore(&config.store, args.from.as_deref()).await {
        Ok(Restored { from, made, passed_over, calls, unfinished, quarantine }) => {
            let (path, made) = (config.store.path.display(), config.timezone.show(made));
            for error in passed_over {
                complain(&format!("callwatch: {error}; passed over"));
            }
            let former = quarantine.map_or_else(String::new, |aside| {
                let aside = aside.display();
                format!("the former store is in {aside}; remove that folder when it is not needed any more\n")
            });
            let next = match calls {
                0 => {
                    "start callwatch again: it will remember the calls there are by then, and tell of none of them"
                }
                _ => {
                    "start callwatch again: it will find what has happened since, and tell it again under the same ids"
                }
            };
            printed(print(&format!(
                "{path} is now what it was at {made}, from {}\n\
                 it remembers {calls} calls and has {unfinished} deliveries to finish\n\
                 {former}\
                 {next}\n",
                from.display()
            )))
        }
        Err(error) => {
            complain(&format!("callwatch: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Asks when the store can be read as it is; returns whether to go on, `None` when nobody can be asked. A store that is damaged,
/// missing or in use is left to the restoring, which says so.
async fn replaces_a_healthy_one(config: &StoreConfig) -> io::Result<Option<bool>> {
    let path = config.path.display();
    let Ok(store) = SledStore::open_existing(config).await else { return Ok(Some(true)) };
    let standings = store.destinations().await;
    // The store is only looked at; whether it closes well is seen by the restoring.
    let closed = store.close().await;
    let (Ok(standings), Ok(())) = (standings, closed) else { return Ok(Some(true)) };
    let waiting: u64 = standings.values().map(|standing| standing.tally.unfinished()).sum();
    let question = format!(
        "{path} can be read, and {waiting} deliveries in it have not arrived. Put the backup in its place?"
    );
    confirm(question).await
}

/// An error of the store in words; beside damage, the command that mends it.
pub fn explain(error: &StoreError, config: &Path) -> String {
    match error {
        StoreError::Damaged { .. } => {
            format!("{error}. The command is: callwatch restore --config {}", config.display())
        }
        _ => error.to_string(),
    }
}
