//! `callwatch migrate`: carries a stopped store into a database that several machines share, or back into a folder.

use std::{collections::BTreeSet, fs, io, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Args;

use super::{check, complain, config_arg::ConfigArg, opened, print, printed, store_folder};
use crate::{
    config::{Secret, StoreConfig},
    config_file::Config,
    store::{
        CarryError, Content, Duty, FillError, PostgresConfig, PostgresStore, SledStore, Store, StoreError,
        carry,
    },
};

/// Arguments of `migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Where to: a folder, or the address of a database, postgres://user:password@host/database. Other users of the machine can
    /// read arguments, so an address with a password belongs in the variable
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
    #[error(transparent)]
    Fill(#[from] FillError),
    #[error("{0} works with the database; stop every callwatch first")]
    AtWork(String),
    #[error("there is something in the folder {0}; name one that is not there")]
    NotEmpty(String),
    #[error("the folder {path} cannot be made: {why}")]
    Folder { path: String, why: io::Error },
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
    let sources = config.sources.iter().map(|source| Duty::Source(source.name.clone()));
    let destinations =
        config.destinations.iter().map(|destination| Duty::Destination(destination.name.clone()));
    let duties: BTreeSet<_> = sources.chain(destinations).chain([Duty::Upkeep]).collect();
    let carried = match is_address(to) {
        true => into_database(config, &*from, &duties, to).await,
        false => into_folder(config, &*from, &duties, PathBuf::from(to)).await,
    };
    let closed = from.close().await;
    let carried = carried?;
    closed?;
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

/// Whether it means a database. A mistake in an address must not make a folder whose name holds a password.
fn is_address(to: &str) -> bool {
    to.contains("://") || to.contains('@') || to.starts_with("postgres:") || to.starts_with("postgresql:")
}

async fn into_database(
    config: &Config,
    from: &dyn Store,
    duties: &BTreeSet<Duty>,
    to: &str,
) -> Result<Content, MigrateError> {
    let connection = config.store.database.as_ref().map(|database| database.connection.clone());
    let connection = connection.unwrap_or_default();
    let to = PostgresStore::open_to_fill(&PostgresConfig { url: Secret::from(to), connection, lease: LEASE })
        .await?;
    let carried = carry(from, &to, duties).await;
    // Until everything is there, nobody may work with it.
    let filled = if carried.is_ok() { to.filled().await } else { Ok(()) };
    let closed = to.close().await;
    let carried = carried?;
    filled.and(closed)?;
    Ok(carried)
}

/// The folder gets its name when everything is in it, so nobody can take half a store for a whole one.
async fn into_folder(
    config: &Config,
    from: &dyn Store,
    duties: &BTreeSet<Duty>,
    to: PathBuf,
) -> Result<Content, MigrateError> {
    let shown = to.display().to_string();
    let cannot = |why| MigrateError::Folder { path: shown.clone(), why };
    let there = to.clone();
    match off_the_runtime(move || Ok(fs::read_dir(there)?.next().is_some())).await {
        Ok(true) => return Err(MigrateError::NotEmpty(shown)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(cannot(error)),
        _ => {}
    }
    let path = PathBuf::from(format!("{}.filling", shown.trim_end_matches('/')));
    let config = StoreConfig { path: path.clone(), database: None, ..config.store.clone() };
    if path.is_dir() {
        // An attempt was broken off, or goes on: that one has the lock.
        SledStore::open(&config).await?.close().await?;
        let path = path.clone();
        off_the_runtime(move || fs::remove_dir_all(path)).await.map_err(cannot)?;
    }
    let store = SledStore::open(&config).await?;
    let carried = carry(from, &store, duties).await;
    let closed = store.close().await;
    drop(store);
    let carried = carried?;
    closed?;
    off_the_runtime(move || fs::rename(path, to)).await.map_err(cannot)?;
    Ok(carried)
}

async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// How long claims hold unless they are renewed. After a migration was killed, another can begin only when this has passed.
const LEASE: Duration = Duration::from_secs(120);
