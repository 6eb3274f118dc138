//! The errors of a store.

use super::Duty;

/// Why the store refused or failed. The text says what a person can do about it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the store open.
    #[error("the store {path} is in use by another callwatch{}; stop that one first, or set [store] path to another folder",
        holder.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    InUse {
        /// The store's folder.
        path: String,
        /// The process that holds the lock, if it left its id.
        holder: Option<u32>,
    },
    /// The disk is full.
    #[error("the disk is full; make room where the store {path} is, then start callwatch again")]
    DiskFull {
        /// The store's folder.
        path: String,
    },
    /// The store's files cannot be read or written.
    #[error("the store {path} cannot be {doing}: {why}")]
    Io {
        /// The store's folder.
        path: String,
        /// The operation that failed: `opened`, `read`, `written`.
        doing: &'static str,
        /// The error in the system's words.
        why: String,
    },
    /// The files on disk are not as they were written.
    #[error("the store {path} is damaged ({why}); {advice}")]
    Damaged {
        /// The store's folder.
        path: String,
        /// The damage that was found.
        why: String,
        /// The next step for a person, such as the command that restores a backup.
        advice: String,
    },
    /// A backup could not be written, read or used; the store itself is as it was.
    #[error("the backup {file} cannot be {doing}: {why}")]
    Backup {
        /// The backup's file.
        file: String,
        /// The operation that failed: `written`, `read`.
        doing: &'static str,
        /// The reason, in words a person can act on.
        why: String,
    },
    /// There is no store, and this command does not make one.
    #[error(
        "there is no store at {path}; if the service has another, set [store] path, or STATE_DIRECTORY as the service has it"
    )]
    Missing {
        /// The folder that has no store.
        path: String,
    },
    /// There is no backup to restore.
    #[error(
        "the store {path} has no backup that can be used; name one with --from, or move the folder {path} away and \
         start callwatch again: every call is then remembered afresh without being announced, and what was still to \
         be delivered is only in the old folder"
    )]
    NoBackup {
        /// The store's folder.
        path: String,
    },
    /// The store was written by a newer callwatch.
    #[error(
        "the store {path} was written by a newer callwatch (schema {found}; this one knows up to {known}); install that version, or a later one"
    )]
    TooNew {
        /// The store's folder.
        path: String,
        /// The schema found.
        found: u32,
        /// The newest schema this version knows.
        known: u32,
    },
    /// The store was written by a version that was never released.
    #[error(
        "the store {path} was written by an unreleased callwatch (schema {found}); move the folder away and start again: \
         every call is remembered afresh without being announced"
    )]
    TooOld {
        /// The store's folder.
        path: String,
        /// The schema found.
        found: u32,
    },
    /// A store is being carried into the database, or a migration into it was interrupted.
    #[error(
        "the database {server} is being filled by `callwatch migrate`, or one was interrupted: when none runs, start it \
         again (it begins anew), or remove what is there with DROP SCHEMA callwatch CASCADE"
    )]
    BeingFilled {
        /// Its hosts and its name.
        server: String,
    },
    /// The address of a database cannot be read, or is none.
    #[error("{why}")]
    NoAddress {
        /// The reason, without the address.
        why: String,
    },
    /// The database does not do its work now.
    #[error("the database {server} cannot be used: {why}")]
    Database {
        /// Its hosts and its name.
        server: String,
        /// The reason, in the words of the database or of the system.
        why: String,
    },
    /// The duty has changed hands since it was claimed. Nothing was written.
    #[error("another callwatch has taken over the {duty}")]
    ClaimLost {
        /// The duty that was claimed.
        duty: Duty,
    },
    /// The caller broke the store's contract. Nothing was written.
    #[error("{0}; this is a mistake in callwatch")]
    Mistake(&'static str),
    /// The store broke down while it was open, and its memory cannot be relied on any more.
    #[error("the store {path} broke down; start callwatch again: nothing that was acknowledged is lost")]
    Failed {
        /// The store's folder.
        path: String,
    },
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}
