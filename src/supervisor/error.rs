//! Why a config is not put to work, and why the work ends.

use std::time::Duration;

use tokio::task::JoinError;

use crate::{config::Report, destination, http, name::Name, store::StoreError};

/// Why a config was not put to work. The tasks that ran before go on as they were.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// No connection can be made at all.
    #[error(transparent)]
    Http(#[from] http::ClientError),
    /// A source cannot be set up.
    #[error("source {name}: {why}")]
    Source {
        /// Which source.
        name: Name,
        /// Why not.
        why: http::ConnectionError,
    },
    /// A destination cannot be set up.
    #[error(transparent)]
    Destination(#[from] destination::BuildError),
    /// Reading certificates and keys did not end.
    #[error(
        "setting up the connections took longer than {}; is one of the certificate or key files on a disk that hangs?",
        humantime::format_duration(*.0)
    )]
    TooSlow(Duration),
    /// Setting up the connections broke, which is a defect.
    #[error("setting up the connections failed unexpectedly ({0})")]
    Panicked(String),
    /// The config has another store. A store is opened once, so this takes a restart.
    #[error("[store] `{0}` is another one than at the start; restart callwatch for it")]
    NeedsRestart(&'static str),
    /// The address to listen on, or another way in for people, cannot be opened.
    #[error("{0}")]
    Door(String),
    /// callwatch is stopping, so no config is put to work any more.
    #[error("callwatch is stopping")]
    Stopping,
}

/// Why the config file was not put to work. The config before goes on.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// There are mistakes in the file, or it cannot be read.
    #[error("the config file has {}", .0.counts())]
    Mistakes(Report),
    /// The config cannot be put to work.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// Reading the file did not end.
    #[error("reading the config file took longer than {}; is it on a disk that hangs?", humantime::format_duration(*.0))]
    TooSlow(Duration),
    /// Reading the file broke, which is a defect.
    #[error("reading the config file failed unexpectedly ({0})")]
    Panicked(String),
}

/// Why the work could not begin, or had to stop by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The first config could not be put to work.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The store failed and cannot be relied on any more.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store takes jobs and does not do them. It cannot be closed in good order, because that would hang as well.
    #[error(
        "the store {path} has not answered for {}; most likely the disk it is on hangs. Ending at once, so that whoever \
         supervises callwatch notices: nothing that was acknowledged is lost",
        humantime::format_duration(*.waited)
    )]
    StoreHangs {
        /// The store's folder.
        path: String,
        /// How long no answer came.
        waited: Duration,
    },
    /// A task broke, which is a defect.
    #[error("a part of callwatch failed unexpectedly ({0}); stopping, so that a restart can mend it")]
    Panicked(String),
}

impl From<JoinError> for RunError {
    fn from(error: JoinError) -> Self {
        Self::Panicked(error.to_string())
    }
}
