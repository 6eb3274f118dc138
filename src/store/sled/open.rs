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
    disk::{Disk, SCHEMA},
    dump::{Dump, Keep},
    fault::Fault,
    renew::Renewal,
    witness::{self, Witness},
};
use crate::{config::StoreConfig, store::StoreError};

/// How long a lock is waited for: a process that ends, or sled after a close, needs a moment to let go.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// The size of sled's segments, in bytes. Pages up to a quarter of it stay in the one file that is synced.
const SEGMENT: usize = 4 << 20;

/// A tree is renewed when it takes this many times as much of the disk as what is in it …
const BLOAT: u64 = 6;

/// … and more than this many bytes.
const SMALL: u64 = 16 * SEGMENT as u64;

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
    let disk = disk.and_then(|disk| fit(config, deadline, disk)).and_then(|mut disk| {
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

/// Makes a tree in a folder of its own, whatever was there.
pub(super) fn open_new(folder: &Path, cache: u64) -> Result<Disk, Fault> {
    remove(folder)?;
    make_folder(folder)?;
    let db = open_sled(folder, cache, Instant::now())?;
    let disk = Disk::start(db, File::open(folder.join("db"))?, None)?;
    sync_folder(folder)?;
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

/// Replaces a tree of an older schema, which must succeed, or one that is too large on disk, which may fail.
fn fit(config: &StoreConfig, deadline: Instant, disk: Disk) -> Result<Disk, Fault> {
    let path = &config.path;
    let shown = path.display();
    if disk.schema() < SCHEMA {
        info!("the store {shown} is brought from schema {} to {SCHEMA}", disk.schema());
        copy_tree(path, &disk)?;
    } else {
        let size = size_of(&sled_folder(path))?;
        if size <= SMALL || size <= BLOAT * disk.live_bytes()? {
            return Ok(disk);
        }
        info!(
            "the store {shown} takes {} MB of the disk, most of it unused; making it smaller",
            size / 1_000_000
        );
        if let Err(fault) = copy_tree(path, &disk) {
            warn!("the store stays as large as it is: {}", fault.at(path, "written"));
            remove(&new_folder(path))?;
            return Ok(disk);
        }
    }
    drop(disk);
    fs::rename(sled_folder(path), old_folder(path))?;
    fs::rename(new_folder(path), sled_folder(path))?;
    sync_folder(path)?;
    remove(&old_folder(path))?;
    start(config, deadline.max(Instant::now() + LOCK_PATIENCE))
}

/// Copies everything to a new tree beside it.
fn copy_tree(path: &Path, disk: &Disk) -> Result<(), Fault> {
    let mut renewal = Renewal::begin(&new_folder(path), disk.schema())?;
    let (mut dump, _taker) = Dump::begin(Keep::All);
    loop {
        let slice = dump.next(disk)?;
        renewal.add(slice.writes)?;
        if slice.is_last {
            break;
        }
    }
    renewal.finish(disk.sequence())?;
    Ok(())
}

/// What the files in a folder take, in bytes.
fn size_of(folder: &Path) -> io::Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        size += if entry.file_type()?.is_dir() { size_of(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(size)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::{
        DeliveryRecord, DeliveryState, Tally,
        sled::{
            keys::{self, Key, Kind},
            value::{self, Value},
            view::Writes,
        },
    };

    fn config(folder: &Path) -> StoreConfig {
        StoreConfig { path: folder.to_owned(), retain: Duration::ZERO, cache: 1 << 20 }
    }

    /// Everything but what the store knows of itself.
    fn contents(disk: &Disk) -> Writes {
        let all = disk.scan(&Key::default(), None).map(Result::unwrap);
        all.filter(|(key, _)| key[0] != b'm').map(|(key, value)| (key, Some(value))).collect()
    }

    fn record(number: u64, state: DeliveryState) -> DeliveryRecord {
        let id = format!("evt_{number}");
        DeliveryRecord {
            id: crate::store::DeliveryId { event: id.as_str().into(), destination: "crm".into() },
            subject: crate::event::Subject::Call { source: "clinic".into(), call: "a".into() },
            rule: "booked".into(),
            sequence: number,
            created: crate::time::Timestamp::from_millis(5),
            state,
            attempts: 0,
            restart: None,
            log: vec![],
        }
    }

    /// A store of schema 1: JSON in front of a snapshot, nothing beside a place in a lane.
    fn make_schema_1(folder: &Path) {
        let mut disk = open(&config(folder)).unwrap().disk;
        let mut view = disk.view();
        let front = json!({
            "record": 5, "status": "completed", "analyzed": true, "completed_seen": 3, "created_at": null,
            "updated_at": null, "deleted": false,
        });
        let key = keys::snapshot(&"clinic".into(), &"a".into());
        view.put_bytes(&key, front.to_string().as_bytes(), b"{}").unwrap();
        let due = |due| crate::time::Timestamp::from_millis(due);
        let states = [
            DeliveryState::Delivered { at: due(8) },
            DeliveryState::Pending { due: due(7) },
            DeliveryState::Pending { due: due(6) },
        ];
        for (number, state) in (1..).zip(states) {
            let record = record(number, state);
            view.put(&keys::delivery(&record.id), &record).unwrap();
            view.put(&keys::event(&record.id.event), &"its event").unwrap();
            match record.finished() {
                Some(at) => view.mark(&keys::finished_at(&record.id, at)),
                None => view.mark(&keys::in_lane(&record)),
            }
            if number == 2 {
                view.mark(&keys::in_queue(&record.id, due(7)));
            }
        }
        view.put(&keys::tally(&"crm".into()), &json!({ "pending": 2, "delivered": 1, "dead": 0 })).unwrap();
        let writes = view.into_writes();
        disk.write(writes).unwrap();
        disk.finish_as_schema(1).unwrap();
    }

    #[test]
    fn an_older_schema_is_brought_up_to_this_one() {
        let folder = tempfile::tempdir().unwrap();
        make_schema_1(folder.path());
        for _ in 0..2 {
            let Opened { disk, lock } = open(&config(folder.path())).unwrap();
            assert_eq!(disk.schema(), SCHEMA);
            let all = contents(&disk);
            assert_eq!(
                all.len(),
                12,
                "a snapshot, three deliveries with their events, two in a lane, one in the queue, one finished, a tally"
            );
            for (key, value) in &all {
                let value = value::unseal(key, value.as_ref().unwrap()).unwrap();
                if key[0] == b'l' {
                    assert!(keys::to_due_in_lane(value.head).is_some());
                }
                if Kind::of(key) == Kind::Snapshot {
                    let (known, shrunk) = super::super::remembered::known("a".into(), value.head).unwrap();
                    assert!(known.analyzed && !shrunk);
                }
            }
            disk.finish().unwrap();
            drop(lock);
        }
        let left: Vec<_> =
            ["sled.new", "sled.old"].iter().filter(|name| folder.path().join(name).exists()).collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn a_store_of_schema_2_stays_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = open(&config(folder.path())).unwrap().disk;
        let mut view = disk.view();
        let pending = record(1, DeliveryState::Pending { due: crate::time::Timestamp::from_millis(7) });
        super::super::outbox::stand(&mut view, &pending).unwrap();
        // It knew neither held nor merged deliveries.
        let key = keys::tally(&"crm".into());
        view.put(&key, &json!({ "pending": 1, "delivered": 0, "dead": 0 })).unwrap();
        view.put(&keys::delivery(&pending.id), &pending).unwrap();
        let writes = view.into_writes();
        disk.write(writes).unwrap();
        let before = contents(&disk);
        disk.finish_as_schema(2).unwrap();
        for _ in 0..2 {
            let Opened { disk, lock } = open(&config(folder.path())).unwrap();
            assert_eq!(disk.schema(), SCHEMA);
            assert!(contents(&disk) == before);
            let tally: Tally = disk.view().require(&key).unwrap();
            assert_eq!(tally, Tally { pending: 1, ..Tally::default() });
            let found: DeliveryRecord = disk.view().require(&keys::delivery(&pending.id)).unwrap();
            assert_eq!(found, pending);
            disk.finish().unwrap();
            drop(lock);
        }
    }

    #[test]
    fn a_tree_that_is_mostly_unused_is_made_smaller() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = open(&config(folder.path())).unwrap().disk;
        let key = |number: u64| keys::checkpoint(&format!("{number:08}").as_str().into());
        let mut number = 0;
        // What is kept lies between what is not.
        while size_of(&sled_folder(folder.path())).unwrap() <= SMALL + SEGMENT as u64 {
            let mut view = disk.view();
            for _ in 0..16 {
                view.put_bytes(&key(number), &[], &vec![number as u8; value::CHUNK]).unwrap();
                number += 1;
            }
            let writes = view.into_writes();
            disk.write(writes).unwrap();
            disk.sync().unwrap();
        }
        for number in (0..number).filter(|number| number % 50 != 0) {
            let mut view = disk.view();
            view.remove(&key(number)).unwrap();
            let writes = view.into_writes();
            disk.write(writes).unwrap();
        }
        let (sequence, before) = (disk.sequence(), contents(&disk));
        disk.finish().unwrap();
        let Opened { disk, .. } = open(&config(folder.path())).unwrap();
        assert!(contents(&disk) == before);
        assert!(disk.sequence() >= sequence);
        let size = size_of(&sled_folder(folder.path())).unwrap();
        assert!(size < SMALL, "{size}");
    }

    #[test]
    fn a_replacement_that_was_interrupted_is_undone() {
        let folder = tempfile::tempdir().unwrap();
        make_schema_1(folder.path());
        fs::rename(sled_folder(folder.path()), old_folder(folder.path())).unwrap();
        fs::create_dir(new_folder(folder.path())).unwrap();
        let Opened { disk, .. } = open(&config(folder.path())).unwrap();
        assert_eq!(contents(&disk).len(), 12);
    }

    #[test]
    fn values_that_seal_nothing_are_not_taken_for_old_ones() {
        // A migration opens what it changes with its key, so damage is found, not carried over.
        let folder = tempfile::tempdir().unwrap();
        let mut renewal = Renewal::begin(&folder.path().join("new"), 1).unwrap();
        let key = keys::snapshot(&"clinic".into(), &"a".into());
        let sealed = value::seal(b"another key", Value { head: b"{}", body: b"", chunks: 0 });
        let added = renewal.add([(key.as_ref().into(), Some(sealed.into()))].into());
        assert!(matches!(added, Err(Fault::Damaged(_))));
    }
}
