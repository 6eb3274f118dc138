//! Opening sled's tree in a folder, with a remedy for what is known to go wrong.
//!
//! sled reads snapshots of its page table that a crash left half written, panics on some damaged files, and keeps its lock
//! for a moment after it was closed.

use std::{
    fs::File,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{fault::Fault, files, lock::SLED_PATIENCE, repair};

/// The size of sled's segments, in bytes. Pages up to a quarter of it stay in the one file that is synced.
pub(super) const SEGMENT: usize = 4 << 20;

/// How often sled writes out by itself, in milliseconds.
const FLUSH_EVERY: u64 = 500;

/// Time between two tries to open a tree that is locked.
const PAUSE: Duration = Duration::from_millis(5);

/// Opens the tree in a folder, or makes one there; `cache` is in bytes. Returns it with a handle of its file, which sled
/// itself never makes the system write to the disk when it is asked to flush.
///
/// # Errors
/// [`Fault::Locked`] when another process has it open.
pub(super) fn open(folder: &Path, cache: u64) -> Result<(::sled::Db, File), Fault> {
    files::make_folder(folder)?;
    repair::remove_snapshots(folder, repair::UNFINISHED)?;
    let config = ::sled::Config::new()
        .path(folder)
        .cache_capacity(cache)
        .segment_size(SEGMENT)
        .flush_every_ms(Some(FLUSH_EVERY));
    let deadline = Instant::now() + SLED_PATIENCE;
    let db = loop {
        match config.open() {
            Err(::sled::Error::Io(error)) if is_lock(&error) => {
                if Instant::now() >= deadline {
                    return Err(Fault::Locked);
                }
                thread::sleep(PAUSE);
            }
            result => break result?,
        }
    };
    let file = File::open(folder.join("db"))?;
    files::sync_folder(folder)?;
    Ok((db, file))
}

/// Does something with a tree that may be damaged: a panic of sled becomes an error.
pub(super) fn catch_panic<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(Fault::Panicked))
}

/// Whether sled keeps values in files of their own, which it never syncs: a power cut may lose them.
pub(super) fn has_blobs(folder: &Path) -> bool {
    folder.join("blobs").read_dir().is_ok_and(|mut blobs| blobs.next().is_some())
}

/// sled has no error of its own for a file that another process has locked.
fn is_lock(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_whose_lock_is_held_for_a_moment_is_opened_when_it_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let (db, file) = open(folder.path(), 1 << 20).unwrap();
        drop(db);
        // Another holder, as sled's threads are after a close.
        file.lock().unwrap();
        let opening = thread::spawn({
            let folder = folder.path().to_owned();
            move || open(&folder, 1 << 20).map(|_| ())
        });
        file.unlock().unwrap();
        opening.join().unwrap().unwrap();
    }

    #[test]
    fn a_panic_is_an_error() {
        let worked = catch_panic(|| -> Result<(), Fault> { panic!("on purpose") });
        assert!(matches!(worked, Err(Fault::Panicked)));
    }
}
