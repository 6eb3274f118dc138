//! `callwatch restore`: puts a backup in the place of the store.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use super::{check, complain, config_arg::ConfigArg, print, printed};
use crate::store::{Restored, SledStore, StoreError};

/// Arguments of `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The backup [default: the last good one in the folder backups/ of the store]
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

/// Restores, and prints what is there now and where the former store is.
pub async fn restore(args: RestoreArgs) -> ExitCode {
    let config = match check::load(&args.config) {
        Ok(config) => config,
        Err(code) => return code,
    };
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
            printed(print(&format!(
                "{path} is now what it was at {made}, from {}\n\
                 it remembers {calls} calls and has {unfinished} deliveries to finish\n\
                 {former}\
                 start callwatch again: it will find what has happened since, and tell it again under the same ids\n",
                from.display()
            )))
        }
        Err(error) => {
            complain(&format!("callwatch: {error}"));
            ExitCode::FAILURE
        }
    }
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
