//! sled's tree: opened in a folder, with a remedy for what is known to go wrong; and read so that its cache stays within its
//! size.
//!
//! sled reads snapshots of its page table that a crash left half written, panics on some damaged files, and keeps its lock
//! for a moment after it was closed.

use std::{
    fs::File,
    io,
    ops::RangeBounds,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ::sled::{Db, IVec};

use super::{fault::Fault, files, lock::SLED_PATIENCE, repair};

/// The size of sled's segments, in bytes. Pages up to a quarter of it stay in the one file that is synced.
pub(super) const SEGMENT: usize = 4 << 20;

/// How often sled writes out by itself, in milliseconds.
const FLUSH_EVERY: u64 = 500;

/// Time between two tries to open a tree that is locked.
const PAUSE: Duration = Duration::from_millis(5);

/// How many bytes are read between two trims of the cache.
const TRIM_EVERY: usize = 256 << 10;

/// How often a page must be read before sled evicts other pages from its part of the cache: sled 0.34.7 queues this many accesses
/// (`MAX_QUEUE_ITEMS` in its `lru.rs`) before it applies them.
const LOOKS: usize = 64;

/// The open tree.
///
/// sled's cache has 256 parts, and one part shrinks to its share only after every 64th look at a page of it. Pages here are
/// large: a scan of a gigabyte makes too few accesses, and all of it would stay in memory, whatever the size of the cache. So
/// the tree counts the bytes read, and every [`TRIM_EVERY`] bytes reads the last page again as often as an eviction takes.
#[derive(Clone)]
pub(super) struct Tree {
    db: Db,
    /// Bytes read since the last trim.
    read: Arc<AtomicUsize>,
}

impl Tree {
    fn new(db: Db) -> Self {
        Self { db, read: Arc::new(AtomicUsize::new(0)) }
    }

    /// The value at a key.
    pub(super) fn get(&self, key: impl AsRef<[u8]>) -> ::sled::Result<Option<IVec>> {
        let found = self.db.get(&key)?;
        self.note(key.as_ref(), found.as_ref().map_or(0, |value| value.len()));
        Ok(found)
    }

    /// The keys of a range with their values, from either end.
    pub(super) fn range<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Items {
        Items { tree: self.clone(), items: self.db.range(range) }
    }

    /// Whether it holds nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        self.db.is_empty()
    }

    /// Carries out a batch: all of it or, after a crash, nothing.
    pub(super) fn apply_batch(&self, batch: ::sled::Batch) -> ::sled::Result<()> {
        self.db.apply_batch(batch)
    }

    /// Hands everything written to the system.
    pub(super) fn flush(&self) -> ::sled::Result<()> {
        self.db.flush().map(drop)
    }

    /// Writes one value.
    #[cfg(test)]
    pub(super) fn insert(&self, key: impl AsRef<[u8]>, value: impl Into<IVec>) -> ::sled::Result<()> {
        self.db.insert(key, value).map(drop)
    }

    /// Counts a read, and trims the cache when enough was read.
    fn note(&self, key: &[u8], bytes: usize) {
        let read = self.read.fetch_add(key.len() + bytes, Ordering::Relaxed);
        if read >= TRIM_EVERY {
            self.read.store(0, Ordering::Relaxed);
            for _ in 0..LOOKS {
                // The value is not needed, only the access.
                let _ = self.db.get(key);
            }
        }
    }
}

/// Items of a range, counted as they are read.
pub(super) struct Items {
    tree: Tree,
    items: ::sled::Iter,
}

impl Items {
    fn note(&self, item: &::sled::Result<(IVec, IVec)>) {
        if let Ok((key, value)) = item {
            self.tree.note(key, value.len());
        }
    }
}

impl Iterator for Items {
    type Item = ::sled::Result<(IVec, IVec)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.items.next().inspect(|item| self.note(item))
    }
}

impl DoubleEndedIterator for Items {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.items.next_back().inspect(|item| self.note(item))
    }
}

/// Opens the tree in a folder, or makes one there; `cache` is in bytes. Returns it with a handle of its file, which sled
/// itself never makes the system write to the disk when it is asked to flush.
///
/// # Errors
/// [`Fault::Locked`] when another process has it open.
pub(super) fn open(folder: &Path, cache: u64) -> Result<(Tree, File), Fault> {
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
    Ok((Tree::new(db), file))
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
