//! The store of a stopped service, for commands that look into it.

use std::sync::Arc;

use crate::{
    config_file::Config,
    store::{SledStore, Store, StoreError},
};

/// Why the store cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoppedError {
    #[error(transparent)]
    Store(StoreError),
    #[error(
        "callwatch is running{} and has the store {path} open; stop it, ask again, and start it afterwards: nothing \
         is lost meanwhile",
        holder.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    Running { path: String, holder: Option<u32> },
    #[error(
        "there is no store at {0}: `callwatch run` makes it. If the service has another, set [store] path, or \
         STATE_DIRECTORY as the service has it"
    )]
    NoStore(String),
}

/// Opens the store if there is one and nobody else has it open.
///
/// # Errors
/// [`StoppedError`] says why not.
pub(super) async fn open(config: &Config) -> Result<Arc<dyn Store>, StoppedError> {
    match SledStore::open_existing(&config.store).await {
        Ok(store) => Ok(Arc::new(store)),
        Err(StoreError::Missing { path }) => Err(StoppedError::NoStore(path)),
        Err(StoreError::InUse { path, holder }) => Err(StoppedError::Running { path, holder }),
        Err(error) => Err(StoppedError::Store(error)),
    }
}
