//! The store that a config means, opened: the folder, or the database that several processes share.

use std::{os::unix::fs::DirBuilderExt, path::PathBuf, sync::Arc};

use crate::{
    config_file::Config,
    store::{PostgresConfig, PostgresStore, SledStore, Store, StoreError},
};

/// An open store.
pub(super) struct Opened {
    pub(super) store: Arc<dyn Store>,
    /// Where it is, for people.
    pub(super) shown: PathBuf,
    /// What was found out about it when it was opened.
    pub(super) findings: Vec<String>,
}

/// Opens the store, and makes it when there is none.
pub(super) async fn open(config: &Config) -> Result<Opened, StoreError> {
    if let Some(store) = database(config).await? {
        let shown = PathBuf::from(store.server());
        // Only the socket for commands goes there; without it, everything else works, and the server says so.
        let folder = config.store.path.clone();
        let made = move || std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        let _ = tokio::task::spawn_blocking(made).await;
        return Ok(Opened { store: Arc::new(store), shown, findings: vec![] });
    }
    let store = SledStore::open(&config.store).await?;
    let (shown, findings) = (config.store.path.clone(), store.findings().to_vec());
    Ok(Opened { store: Arc::new(store), shown, findings })
}

/// The database of a config, opened; `None` when the config has a folder.
pub(super) async fn database(config: &Config) -> Result<Option<PostgresStore>, StoreError> {
    let Some(database) = &config.store.database else { return Ok(None) };
    let (url, connection) = (database.url.clone(), database.connection.clone());
    Ok(Some(PostgresStore::open(&PostgresConfig { url, connection, lease: config.cluster.lease }).await?))
}
