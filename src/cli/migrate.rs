//! `callwatch migrate`: carries a stopped store into a database that several machines share, or back into a folder.

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Args;

use super::{check, complain, config_arg::ConfigArg, opened, print, printed, store_folder};
use crate::{
    config::{Secret, StoreConfig},
    config_file::Config,
    store::{CarryError, Content, Duty, PostgresConfig, PostgresStore, SledStore, Store, StoreError, carry},
};

/// Arguments of `migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Where to: a folder, or the address of a database, postgres://user:password@host/database. Other users of the machine can
    /// read arguments, so an address with a password belongs into the variable
    #[arg(long, value_name = "STORE", env = "CALLWATCH_MIGRATE_TO", hide_env_values = true)]
    to: String,
}

/// Why a store was not carried.
#[derive(Debug, thiserror::Error)]
enum MigrateError {
    #[error(transparent)]
    NoStore(#[from] store_folder::NoStore),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Carry(#[from] CarryError),
    #[error("{0} works with the database; stop every callwatch first")]
    AtWork(String),
}

/// Carries the store, and prints what was carried and how to go on.
pub async fn migrate(args: MigrateArgs) -> ExitCode {
    let config = match check::load(&args.config) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match carried(&config, &args.to).await {
        Ok(Content { calls, deliveries, notes, .. }) => printed(print(&format!(
            "{calls} calls, {deliveries} deliveries that are not through, and {notes} notes have been carried, and both stores \
             say the same\n\
             name the new store in the config and start callwatch again; the former one is as it was\n\
             what has arrived stays in the former store, and so do calls of sources that the config does not have\n"
        ))),
        Err(error) => {
            complain(&format!("callwatch: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn carried(config: &Config, to: &str) -> Result<Content, MigrateError> {
    let from = from(config).await?;
    let to = match self::to(config, to).await {
        Ok(to) => to,
        Err(error) => {
            from.close().await?;
            return Err(error.into());
        }
    };
    let sources = config.sources.iter().map(|source| Duty::Source(source.name.clone()));
    let destinations =
        config.destinations.iter().map(|destination| Duty::Destination(destination.name.clone()));
    let duties: BTreeSet<_> = sources.chain(destinations).chain([Duty::Upkeep]).collect();
    let carried = carry(&*from, &*to, &duties).await;
    let closed = (to.close().await, from.close().await);
    let carried = carried?;
    closed.0?;
    closed.1?;
    Ok(carried)
}

/// The store of the config, which must be stopped.
async fn from(config: &Config) -> Result<Arc<dyn Store>, MigrateError> {
    if let Some(store) = opened::database(config).await? {
        let cluster = store.cluster().await?.unwrap_or_default();
        if let Some(node) = cluster.nodes.iter().find(|node| node.live) {
            return Err(MigrateError::AtWork(node.says.name.clone()));
        }
        return Ok(Arc::new(store));
    }
    store_folder::look(config)?;
    Ok(Arc::new(SledStore::open_existing(&config.store).await?))
}

async fn to(config: &Config, to: &str) -> Result<Arc<dyn Store>, StoreError> {
    if to.contains("://") {
        let connection = config.store.database.as_ref().map(|database| database.connection.clone());
        let url = Secret::from(to);
        let config = PostgresConfig { url, connection: connection.unwrap_or_default(), lease: LEASE };
        return Ok(Arc::new(PostgresStore::open(&config).await?));
    }
    let store = StoreConfig { path: PathBuf::from(to), database: None, ..config.store.clone() };
    Ok(Arc::new(SledStore::open(&store).await?))
}

/// How long the claims hold while it works. Nothing renews them, and nobody else may work on the database then.
const LEASE: Duration = Duration::from_secs(3600);
