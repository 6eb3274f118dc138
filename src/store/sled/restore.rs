//! Restoring: a backup put in the place of a store.
//!
//! A backup holds heads, events and changes of deliveries. They are written to the new tree as if the deliveries had just
//! been committed and changed: all changes stand in new groups, folded ones first, and the engine does the rest as at any
//! start. From a block only the list of forgotten deliveries is used, because their changes may be missing; they are forgotten
//! again. Events and changes of deliveries that are not in the backup are left out.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use roaring::RoaringTreemap;

use super::{
    SledStore,
    archive::{Part, Reader, Trailer},
    backup::{backups, failed, folder},
    block::{Places, Progress, StoredBlock},
    change::{self, Change, GroupWriter, Stage},
    disk::{Disk, SCHEMA},
    engine::Engine,
    entry::Head,
    fault::Fault,
    files,
    keys::{self, Key, KeyKind, block_of, number_of, place_of},
    lock::Lock,
    overlay::Writes,
    renew, replace,
    value::{self, Ends},
    witness,
};
use crate::{config::StoreConfig, store::StoreError, time::Timestamp};

/// The most keys that are read before the writes that follow from them are made.
const STEP: usize = 500;

/// The most changes in one group.
const GROUP: usize = 1_000;

/// A store that was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The backup that was used.
    pub from: PathBuf,
    /// When it was made.
    pub made: Timestamp,
    /// Newer backups that could not be used, with the reasons.
    pub passed_over: Vec<StoreError>,
    /// Calls in the restored store.
    pub calls: u64,
    /// Unfinished deliveries in the restored store.
    pub unfinished: u64,
    /// Where the former store's files were moved; `None` when there were none.
    pub quarantine: Option<PathBuf>,
}

impl SledStore {
    /// Puts the backup `from`, or the last good one in the store's folder, in the place of a store that no process has open.
    /// The files that were there are moved aside, not removed.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::NoBackup`], [`StoreError::Backup`], or the disk's: then everything is as it was.
    pub async fn restore(config: &StoreConfig, from: Option<&Path>) -> Result<Restored, StoreError> {
        let (config, from) = (config.clone(), from.map(Path::to_owned));
        let shown = config.path.display().to_string();
        let work = tokio::task::spawn_blocking(move || restore(&config.path, from.as_deref()));
        work.await.unwrap_or(Err(StoreError::Failed { path: shown }))
    }
}

fn restore(store: &Path, from: Option<&Path>) -> Result<Restored, StoreError> {
    let fail = |fault: Fault| fault.at(store, "written");
    // The folder is made only once there is something to put into it: an unusable backup must not leave one behind.
    let chosen = from.map(verify).transpose()?;
    if chosen.is_none() && !folder(store).exists() {
        return Err(StoreError::NoBackup { path: store.display().to_string() });
    }
    let was_there = store.exists();
    files::make_folder(store).map_err(|error| fail(error.into()))?;
    let restored = Lock::take(store).and_then(|lock| {
        let (chosen, passed_over) = match chosen {
            Some(chosen) => (chosen, vec![]),
            None => choose(store)?,
        };
        let filled = fill(store, &chosen);
        let placed = filled.and_then(|contents| {
            let quarantine = replace::quarantine(store).map_err(|error| fail(error.into()))?;
            Ok((contents, quarantine))
        });
        if placed.is_err() {
            files::remove_folder(&replace::new_tree(store)).map_err(|error| fail(error.into()))?;
        }
        let (Contents { calls, unfinished }, quarantine) = placed?;
        lock.release().map_err(|error| fail(error.into()))?;
        let Chosen { file: from, trailer: Trailer { made, .. } } = chosen;
        Ok(Restored { from, made, passed_over, calls, unfinished, quarantine })
    });
    if restored.is_err() && !was_there {
        files::remove_folder(store).map_err(|error| fail(error.into()))?;
    }
    restored
}

/// A backup that was read once to its end.
struct Chosen {
    file: PathBuf,
    trailer: Trailer,
}

fn verify(file: &Path) -> Result<Chosen, StoreError> {
    let read = Reader::open(file).and_then(Reader::verify);
    let trailer = read.map_err(|error| failed(file, "read", &error.to_string()))?;
    match trailer.schema {
        SCHEMA => Ok(Chosen { file: file.to_owned(), trailer }),
        older if older < SCHEMA => {
            Err(failed(file, "read", &format!("it was written by an unreleased callwatch (schema {older})")))
        }
        newer => Err(failed(file, "read", &format!("it was written by a newer callwatch (schema {newer})"))),
    }
}

/// The last good backup in the store's folder, and why others were passed over. The last is the one with the highest count of
/// writes, because the clock may have been wrong.
fn choose(store: &Path) -> Result<(Chosen, Vec<StoreError>), StoreError> {
    let folder = folder(store);
    let all = backups(&folder).map_err(|error| failed(&folder, "read", &error.to_string()))?;
    let mut passed_over = vec![];
    let mut last: Option<Chosen> = None;
    for file in all {
        match verify(&file) {
            Ok(good) => {
                if last.as_ref().is_none_or(|last| last.trailer.sequence <= good.trailer.sequence) {
                    last = Some(good);
                }
            }
            Err(error) => passed_over.push(error),
        }
    }
    let last = last.ok_or_else(|| StoreError::NoBackup { path: store.display().to_string() })?;
    Ok((last, passed_over))
}

/// The contents of a tree that was restored.
struct Contents {
    /// Snapshots.
    calls: u64,
    /// Deliveries that are not finished.
    unfinished: u64,
}

/// Makes a tree from a backup, beside the present one.
fn fill(store: &Path, chosen: &Chosen) -> Result<Contents, StoreError> {
    let fail = |fault: Fault| fault.at(store, "written");
    let read = |error: std::io::Error| failed(&chosen.file, "read", &error.to_string());
    let mut disk = renew::new_tree(store).map_err(fail)?;
    let mut reader = Reader::open(&chosen.file).map_err(read)?;
    while let Part::Writes(writes) = reader.next().map_err(read)? {
        add(&mut disk, writes).map_err(fail)?;
    }
    // The new tree must not look older than the store whose place it takes.
    let reached = witness::count_in(store).map_err(|error| fail(error.into()))?.unwrap_or(0);
    complete(disk, chosen.trailer.sequence.max(reached)).map_err(fail)
}

/// Adds a piece of the backup. A value takes the place of one that was added before, with all its parts.
fn add(disk: &mut Disk, writes: Writes) -> Result<(), Fault> {
    let mut view = disk.view();
    for (key, value) in &writes {
        if let Some(sealed) = value {
            value::unseal(key, sealed)?;
        }
        if KeyKind::of(key) != KeyKind::Chunk {
            view.remove(&Key::from(key.clone()))?;
        }
    }
    let mut prepared = view.into_writes();
    prepared.extend(writes.into_iter().filter(|(_, value)| value.is_some()));
    disk.load(prepared)
}

/// Makes the tree complete, and opens it once to see that it can be opened; `sequence` counts the writes to it.
fn complete(disk: Disk, sequence: u64) -> Result<Contents, Fault> {
    let progress = match disk.view().bytes(&keys::progress())? {
        Some(bytes) => value::from_compact(&bytes)?,
        None => Progress::default(),
    };
    // There may be groups with higher numbers than the stored progress knows.
    let last = disk.view().last_up_to(&keys::all_groups(), &keys::group(u64::MAX))?;
    let last = last.and_then(|(key, _)| keys::last_number(&key)).unwrap_or(0);
    let old_groups_end = progress.group.max(last + 1);
    let mut filling = Filling {
        disk,
        firsts: RoaringTreemap::new(),
        numbers: RoaringTreemap::new(),
        group: GroupWriter::default(),
        next_group: old_groups_end,
    };
    filling.take_entries()?;
    filling.remove_orphans()?;
    filling.take_groups(old_groups_end)?;
    filling.close_group()?;
    let calls = filling.count(&keys::all_snapshots())?;
    let Filling { mut disk, next_group: group, .. } = filling;
    let mut view = disk.view();
    view.put_bytes(&keys::progress(), &[], &value::to_compact(&Progress { group, ..progress })?)?;
    disk.load(view.into_writes())?;
    disk.count_on_from(sequence);
    let mut engine = Engine::start(disk, Arc::default())?;
    engine.write_blocks()?;
    let unfinished = engine.unfinished();
    engine.finish()?;
    Ok(Contents { calls, unfinished })
}

/// A tree that is being filled from a backup.
struct Filling {
    disk: Disk,
    /// The first numbers of the entries that are there.
    firsts: RoaringTreemap,
    /// The numbers of the deliveries that are there and not forgotten.
    numbers: RoaringTreemap,
    group: GroupWriter,
    next_group: u64,
}

impl Filling {
    /// Goes through the entries: writes down where their events are found, and moves the folded changes of each block into
    /// groups.
    fn take_entries(&mut self) -> Result<(), Fault> {
        let mut block = 0;
        let mut gone = self.gone_of(block)?;
        let mut destinations: BTreeMap<u16, String> = BTreeMap::new();
        let mut after = None;
        loop {
            let keys = self.keys(&keys::all_heads(), after.as_ref())?;
            let mut index: BTreeMap<Key, Vec<u8>> = BTreeMap::new();
            for key in &keys {
                let first = keys::last_number(key.as_ref()).ok_or(BAD_KEY)?;
                let view = self.disk.view();
                let (head, body) = view.parts(key)?.ok_or(BAD_KEY)?;
                view.sealed(keys::events(first).as_ref())?.ok_or(Fault::Damaged("an entry has no events"))?;
                if block_of(first) != block {
                    self.take_folded(block, &destinations)?;
                    destinations.clear();
                    block = block_of(first);
                    gone = self.gone_of(block)?;
                }
                self.firsts.insert(first);
                let ends = Ends(&head);
                for (number, item) in (first..).zip(0..ends.len()) {
                    let bytes = ends.range(item).and_then(|range| body.get(range)).ok_or(BAD_KEY)?;
                    let head = Head::read(bytes)?;
                    if gone.contains(place_of(number)) {
                        let was = if head.hold.is_some() { Stage::Held } else { Stage::Pending };
                        self.add_change(number, head.destination, &Change::Forget { was })?;
                    } else {
                        self.numbers.insert(number);
                        destinations.insert(place_of(number), head.destination.to_owned());
                    }
                    index.entry(keys::index(head.event)).or_default().extend(number.to_le_bytes());
                }
            }
            let mut view = self.disk.view();
            for (key, numbers) in index {
                let all = [view.bytes(&key)?.unwrap_or_default(), numbers].concat();
                view.put_bytes(&key, &[], &all)?;
            }
            self.disk.load(view.into_writes())?;
            match keys.last() {
                Some(last) => after = Some(last.clone()),
                None => return self.take_folded(block, &destinations),
            }
        }
    }

    /// The places of deliveries that were forgotten.
    fn gone_of(&self, block: u64) -> Result<Places, Fault> {
        let Some(bytes) = self.disk.view().bytes(&keys::block(block))? else { return Ok(Places::default()) };
        Ok(value::from_compact::<StoredBlock>(&bytes)?.sums.gone)
    }

    /// Moves the changes that were folded into a block into groups.
    fn take_folded(&mut self, block: u64, destinations: &BTreeMap<u16, String>) -> Result<(), Fault> {
        let folded = self.disk.scan(&keys::all_folded_of(block), None);
        for item in folded.map(|item| item.map(|(key, _)| Key::from(key))) {
            let key = item?;
            let (head, body) = self.disk.view().parts(&key)?.ok_or(BAD_KEY)?;
            for (place, range) in change::folded(&head) {
                let change = body.get(range).ok_or(BAD_KEY)?;
                if let Some(destination) = destinations.get(&place) {
                    self.add_change(number_of(block, place), destination, &Change::read(change)?)?;
                }
            }
        }
        Ok(())
    }

    /// Removes events that belong to no entry, and blocks and folded changes, which were moved.
    fn remove_orphans(&mut self) -> Result<(), Fault> {
        for prefix in [keys::all_events(), keys::all_folded(), keys::all_blocks()] {
            let mut after = None;
            loop {
                let keys = self.keys(&prefix, after.as_ref())?;
                let mut view = self.disk.view();
                for key in &keys {
                    let is_kept =
                        keys::entry_of(key.as_ref()).is_some_and(|first| self.firsts.contains(first));
                    if !is_kept {
                        view.remove(key)?;
                    }
                }
                self.disk.load(view.into_writes())?;
                match keys.last() {
                    Some(last) => after = Some(last.clone()),
                    None => break,
                }
            }
        }
        Ok(())
    }

    /// Moves the changes of the groups below `end` behind those that were folded, because folded changes are older.
    fn take_groups(&mut self, end: u64) -> Result<(), Fault> {
        loop {
            let keys = self.keys(&keys::all_groups(), None)?;
            let before = |key: &&Key| keys::last_number(key.as_ref()).is_some_and(|group| group < end);
            let keys: Vec<&Key> = keys.iter().take_while(before).collect();
            if keys.is_empty() {
                return Ok(());
            }
            for key in keys {
                let (head, body) = self.disk.view().parts(key)?.ok_or(BAD_KEY)?;
                for grouped in change::grouped(&head, &body)? {
                    if self.numbers.contains(grouped.number) {
                        let change = Change::read(grouped.change)?;
                        self.add_change(grouped.number, grouped.destination, &change)?;
                    }
                }
                let mut view = self.disk.view();
                view.remove(key)?;
                self.disk.load(view.into_writes())?;
            }
        }
    }

    fn add_change(&mut self, number: u64, destination: &str, change: &Change<'_>) -> Result<(), Fault> {
        self.group.add(number, destination, change)?;
        if self.group.len() >= GROUP { self.close_group() } else { Ok(()) }
    }

    fn close_group(&mut self) -> Result<(), Fault> {
        let group = std::mem::take(&mut self.group);
        if group.len() > 0 {
            let (head, body) = group.parts()?;
            let mut view = self.disk.view();
            view.put_new(&keys::group(self.next_group), &head, body);
            self.disk.load(view.into_writes())?;
            self.next_group += 1;
        }
        Ok(())
    }

    /// Some keys that begin with `prefix`, in their order; none at the end.
    fn keys(&self, prefix: &Key, after: Option<&Key>) -> Result<Vec<Key>, Fault> {
        self.disk.scan(prefix, after).take(STEP).map(|item| Ok(item?.0.into())).collect()
    }

    /// How many keys begin with `prefix`.
    fn count(&self, prefix: &Key) -> Result<u64, Fault> {
        self.disk.scan(prefix, None).try_fold(0, |count, item| item.map(|_| count + 1))
    }
}

const BAD_KEY: Fault = Fault::Damaged("an entry cannot be read");
