//! Opening the store's folder: one process at a time, and with what a crash may have left.
//!
//! | in the folder | is |
//! |---|---|
//! | `lock` | locked by the process that has the store open, whose id is in it |
//! | `sled/` | what sled keeps |
//! | `sequence` | how often the store was written to, see [`witness`](super::witness) |
//! | `backups/` | see [`backup`](super::backup) |
//! | `sled.new/`, `sled.old/` | while `sled/` is being replaced by a smaller or newer one |
//! | `damaged/` | a copy of `sled/` from before the first repair |
//! | `quarantine-…/` | what was `sled/` before a backup was restored |

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use tracing::{info, warn};

use super::{
    disk::Disk,
    fault::Fault,
    witness::{self, Witness},
};
use crate::{config::StoreConfig, store::StoreError};

/// How long a lock is waited for: a process that ends, or sled after a close, needs a moment to let go.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// The size of sled's segments, in bytes. Pages up to a quarter of it stay in the one file that is synced.
const SEGMENT: usize = 4 << 20;

/// An open store and the lock that keeps others out. The lock is let go last.
pub(super) struct Opened {
    pub(super) disk: Disk,
    pub(super) lock: File,
}

/// Opens the store, or makes one where there is none.
pub(super) fn open(config: &StoreConfig) -> Result<Opened, StoreError> {
    let path = config.path.as_path();
    let fail = |fault: Fault| fault.at(path, "opened");
    let deadline = Instant::now() + LOCK_PATIENCE;
    make_folder(path).map_err(|error| fail(error.into()))?;
    let lock = lock(path, deadline)?;
    let disk = tidy(path).map_err(Fault::from).and_then(|()| match start(config, deadline) {
        Err(fault) if fault.is_damage() => repair(config, deadline, fault),
        result => result,
    });
    let disk = disk.and_then(|mut disk| {
        disk.keep_count(Witness::open(path)?)?;
        sync_folder(path)?;
        Ok(disk)
    });
    let disk = disk.map_err(|fault| match fault {
        Fault::Io(error) if is_sled_lock(&error) => {
            StoreError::InUse { path: path.display().to_string(), holder: None }
        }
        fault => fail(fault),
    })?;
    if fs::read_dir(sled_folder(path).join("blobs")).is_ok_and(|mut blobs| blobs.next().is_some()) {
        warn!(
            "the store {} holds values in files of their own, which may not survive a power cut",
            path.display()
        );
    }
    Ok(Opened { disk, lock })
}

/// Where sled's files are.
pub(super) fn sled_folder(path: &Path) -> PathBuf {
    path.join("sled")
}

/// Makes a folder only its owner may enter, and syncs the one it is in.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        fs::create_dir_all(parent)?;
    }
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)?;
    sync_folder(parent.unwrap_or(Path::new(".")))
}

/// Makes the names of new files in a folder survive a power cut.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Takes the store for this process, waiting for it until `deadline`.
pub(super) fn lock(path: &Path, deadline: Instant) -> Result<File, StoreError> {
    let name = path.join("lock");
    let io = |error: io::Error| Fault::from(error).at(path, "opened");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(&name).map_err(io)?;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&name).ok().and_then(|pid| pid.trim().parse().ok());
                return Err(StoreError::InUse { path: path.display().to_string(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(io)?;
    Ok(file)
}

/// Opens what sled keeps and makes it ready. sled panics on some damaged files.
fn start(config: &StoreConfig, deadline: Instant) -> Result<Disk, Fault> {
    let folder = sled_folder(&config.path);
    make_folder(&folder)?;
    // sled would read a snapshot of its page table that a crash interrupted.
    remove_snapshots(&folder, ".generating")?;
    let least = witness::count_in(&config.path)?;
    let started = catch_unwind(AssertUnwindSafe(|| {
        let db = open_sled(&folder, config.cache, deadline)?;
        let file = File::open(folder.join("db"))?;
        Disk::start(db, file, least)
    }));
    let disk = started.unwrap_or(Err(Fault::Panicked))?;
    if least.is_none() {
        sync_folder(&folder)?;
    }
    Ok(disk)
}

/// Where a tree is made that is to replace the one there is.
pub(super) fn new_folder(path: &Path) -> PathBuf {
    path.join("sled.new")
}

fn old_folder(path: &Path) -> PathBuf {
    path.join("sled.old")
}

/// Undoes a replacement that was interrupted, or clears away what it left.
fn tidy(path: &Path) -> io::Result<()> {
    if !sled_folder(path).exists() && old_folder(path).exists() {
        fs::rename(old_folder(path), sled_folder(path))?;
        sync_folder(path)?;
    }
    remove(&new_folder(path))?;
    remove(&old_folder(path))
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Waits for sled's own lock until `deadline`: it lets go of it a moment after it was closed.
pub(super) fn open_sled(folder: &Path, cache: u64, deadline: Instant) -> Result<::sled::Db, Fault> {
    loop {
        let config = ::sled::Config::new()
            .path(folder)
            .cache_capacity(cache)
            .segment_size(SEGMENT)
            .flush_every_ms(Some(500));
        match config.open() {
            Err(::sled::Error::Io(error)) if is_sled_lock(&error) && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(20));
            }
            result => return Ok(result?),
        }
    }
}

fn is_sled_lock(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// Tries once more without sled's snapshots of its page table, which it can do without. The files are copied
/// aside first: whatever is tried, what was found stays. Only once, or a service that is started again and again
/// would fill the disk with copies.
fn repair(config: &StoreConfig, deadline: Instant, found: Fault) -> Result<Disk, Fault> {
    let folder = sled_folder(&config.path);
    if snapshots(&folder, "")?.is_empty() {
        return Err(found);
    }
    let aside = config.path.join("damaged");
    warn!("the store {} is damaged; trying to repair it", config.path.display());
    if !aside.exists() {
        let unfinished = config.path.join("damaged.part");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        copy_folder(&folder, &unfinished)?;
        fs::rename(unfinished, &aside)?;
    }
    remove_snapshots(&folder, "")?;
    let disk = start(config, deadline)?;
    info!("the store {} is repaired; {} is no longer needed", config.path.display(), aside.display());
    Ok(disk)
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    make_folder(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// sled's snapshots of its page table whose name ends like this.
fn snapshots(folder: &Path, ending: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![];
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(ending) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn remove_snapshots(folder: &Path, ending: &str) -> io::Result<()> {
    snapshots(folder, ending)?.iter().try_for_each(fs::remove_file)
}

