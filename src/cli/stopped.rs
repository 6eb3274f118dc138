//! The store of a stopped service, for commands that look into it.

use crate::{
    config::Config,
    store::{SledStore, StoreError},
};

/// Why the store cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotOpen {
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
/// [`NotOpen`] says why not.
pub(super) async fn open(config: &Config) -> Result<SledStore, NotOpen> {
    SledStore::open_existing(&config.store).await.map_err(|error| match error {
        StoreError::Missing { path } => NotOpen::NoStore(path),
        StoreError::InUse { path, holder } => NotOpen::Running { path, holder },
        error => NotOpen::Store(error),
    })
}
