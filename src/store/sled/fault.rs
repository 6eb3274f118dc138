//! The store's own errors, before the folder and an advice are added to them.

use std::{io, path::Path};

use super::disk::SCHEMA;
use crate::store::StoreError;

/// An error, with all that is known where it happens.
#[derive(Debug)]
pub(super) enum Fault {
    /// A value is not as it was written; the text names it.
    Damaged(&'static str),
    /// sled found something wrong with its files.
    Sled(::sled::Error),
    /// The system refused something.
    Io(io::Error),
    /// Another process has the tree open.
    Locked,
    /// The store has a newer schema than [`SCHEMA`].
    TooNew(u32),
    /// The store has an older schema than [`SCHEMA`].
    TooOld(u32),
    /// The request is refused; nothing was changed.
    Refused(StoreError),
    /// Code below panicked.
    Panicked,
}

impl From<::sled::Error> for Fault {
    fn from(error: ::sled::Error) -> Self {
        match error {
            ::sled::Error::Io(error) => Self::Io(error),
            other => Self::Sled(other),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Fault {
    /// Whether opening the same files again, without sled's snapshots of its page table, may help.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(_) | Self::Sled(_) | Self::Panicked)
    }

    /// The error for a person, about the store at `path`, which could not be `doing`: `opened`, `read`, `written`.
    pub(super) fn at(self, path: &Path, doing: &'static str) -> StoreError {
        let path = path.display().to_string();
        match self {
            Self::Damaged(why) => damaged(path, why.to_owned()),
            // Some of sled's errors quote keys and values; its corruption does not say anything useful.
            Self::Sled(::sled::Error::Unsupported(why)) => damaged(path, why),
            Self::Sled(_) => damaged(path, "its pages do not fit together".to_owned()),
            Self::Panicked => damaged(path, "reading it failed badly".to_owned()),
            Self::Io(error) if is_full(&error) => StoreError::DiskFull { path },
            Self::Io(error) => StoreError::Io { path, doing, why: error.to_string() },
            Self::Locked => StoreError::InUse { path, holder: None },
            Self::TooNew(found) => StoreError::TooNew { path, found, known: SCHEMA },
            Self::TooOld(found) => StoreError::TooOld { path, found },
            Self::Refused(error) => error,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn damaged(path: String, why: String) -> StoreError {
    let advice =
        "`callwatch restore --config FILE`, with your config file, puts the last backup in its place; \
                  then start callwatch again"
            .to_owned();
    StoreError::Damaged { path, why, advice }
}
