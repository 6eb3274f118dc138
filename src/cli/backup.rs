//! `callwatch backup`: writes the store of a stopped service to a file.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::{check, complain, config_arg::ConfigArg, print, printed, restore, store_folder};
use crate::{
    store::{Backup, SledStore, Store, StoreError},
    time::Clock,
};

/// Arguments of `backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Where to write it [default: the folder backups/ of the store, where the last three are kept]
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// Writes a backup and prints where it is.
pub async fn backup(args: BackupArgs) -> ExitCode {
    let config = match check::load(&args.config) {
        Ok(config) => config,
        Err(code) => return code,
    };
    if config.store.database.is_some() {
        complain(
            "callwatch: the store is a database: back it up with its own tools, such as pg_dump --schema=callwatch",
        );
        return ExitCode::FAILURE;
    }
    if let Err(error) = store_folder::look(&config) {
        complain(&format!("callwatch: {error}"));
        return ExitCode::FAILURE;
    }
    let written: Result<Backup, StoreError> = async {
        let store = SledStore::open_existing(&config.store).await?;
        let written = store.back_up_to(args.to.as_deref(), Clock::system().wall()).await;
        let closed = store.close().await;
        written.and_then(|backup| closed.map(|()| backup))
    }
    .await;
    match written {
        Ok(Backup { file, bytes }) => {
            let store = config.store.path.display();
            printed(print(&format!("{store} has been backed up to {} ({bytes} bytes)\n", file.display())))
        }
        // A running service makes backups itself, and the newest is seldom older than an hour.
        Err(error @ StoreError::InUse { .. }) => {
            let own = config.store.path.join("backups");
            complain(&format!("callwatch: {error}; its own backups are in {}", own.display()));
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(&format!("callwatch: {}", restore::explain(&error, &config.path)));
            ExitCode::FAILURE
        }
    }
}
