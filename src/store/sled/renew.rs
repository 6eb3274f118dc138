//! A new folder with what was copied from another one: how a backup is restored, how a store that has grown too
//! large on disk shrinks, and how one of an older schema is brought up to this one.

use std::{collections::BTreeMap, path::Path};

use super::{
    disk::{Disk, SCHEMA},
    fault::Fault,
    keys::{self, Key, Kind},
    open, outbox,
    remembered::migrate_head,
    value::{self, Value},
    view::Writes,
};
use crate::{
    name::Name,
    store::{DeliveryRecord, Tally},
};

/// Memory for the new tree's pages while it is filled, in bytes.
const CACHE: u64 = 16 << 20;

/// How many deliveries are looked at before what follows from them is written.
const STEP: usize = 500;

/// What a new folder holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// Snapshots.
    pub(super) calls: u64,
    /// Deliveries that are not finished.
    pub(super) unfinished: u64,
}

/// A folder being filled.
pub(super) struct Renewal {
    disk: Disk,
    schema: u32,
}

impl Renewal {
    /// Begins in a folder that is empty or does not exist; `schema` is that of what will be added.
    pub(super) fn begin(folder: &Path, schema: u32) -> Result<Self, Fault> {
        if schema > SCHEMA {
            return Err(Fault::TooNew(schema));
        }
        Ok(Self { disk: open::open_new(folder, CACHE)?, schema })
    }

    /// Adds a piece of the copy.
    pub(super) fn add(&mut self, writes: Writes) -> Result<(), Fault> {
        // What is gone by the end of the copy may have been copied with its chunks.
        let mut view = self.disk.view();
        for (key, value) in &writes {
            if value.is_none() {
                view.remove(&Key::from(key.clone()))?;
            }
        }
        let mut prepared = view.into_writes();
        for (key, sealed) in writes {
            if let Some(sealed) = sealed {
                let sealed = migrate(self.schema, &key, &sealed)?;
                prepared.insert(key, Some(sealed.into()));
            }
        }
        self.disk.load(prepared)
    }

    /// Adds what follows from the rest, and makes everything durable. `sequence` counts the writes so far.
    pub(super) fn finish(mut self, sequence: u64) -> Result<Contents, Fault> {
        let mut tallies: BTreeMap<Name, Tally> = BTreeMap::new();
        self.each(&keys::deliveries(), |disk, keys| {
            let mut view = disk.view();
            for key in keys {
                let record: DeliveryRecord = view.require(key)?;
                tallies.entry(record.id.destination.clone()).or_default().add(&record.state);
                outbox::stand(&mut view, &record)?;
            }
            disk.load(view.into_writes())
        })?;
        let mut calls = 0;
        self.each(&keys::events(), |disk, keys| {
            let mut view = disk.view();
            for key in keys {
                let event = keys::event_of(key).ok_or(Fault::Damaged("a key cannot be read"))?;
                if view.first(&keys::deliveries_of(&event))?.is_none() {
                    view.remove(key)?;
                }
            }
            disk.load(view.into_writes())
        })?;
        self.each(&keys::all_snapshots(), |_, keys| {
            calls += keys.len() as u64;
            Ok(())
        })?;
        let mut view = self.disk.view();
        for (destination, tally) in &tallies {
            view.put(&keys::tally(destination), tally)?;
        }
        let writes = view.into_writes();
        self.disk.load(writes)?;
        self.disk.finish_renewed(sequence)?;
        Ok(Contents { calls, unfinished: tallies.values().map(Tally::unfinished).sum() })
    }

    /// Does something with every key that begins with `prefix`, some at a time.
    fn each(
        &mut self,
        prefix: &Key,
        mut work: impl FnMut(&mut Disk, &[Key]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut last: Option<Key> = None;
        loop {
            let step = self.disk.scan(prefix, last.as_ref()).take(STEP);
            let keys = step.map(|item| Ok(item?.0.into())).collect::<Result<Vec<Key>, Fault>>()?;
            let Some(key) = keys.last() else { return Ok(()) };
            last = Some(key.clone());
            work(&mut self.disk, &keys)?;
        }
    }
}

/// A value as this schema has it. What a schema derives from the rest need not be migrated: it is made anew.
///
/// | schema | |
/// |---|---|
/// | 1 | the front of a snapshot was JSON |
/// | 2 | snapshots can be shrunk; a place in a lane says when it is due |
/// | 3 | deliveries can be held and merged, batches have ledgers; otherwise as 2 |
fn migrate(from: u32, key: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Fault> {
    let value = value::unseal(key, sealed)?;
    if from < 2 && Kind::of(key) == Kind::Snapshot {
        return Ok(value::seal(key, Value { head: &migrate_head(value.head)?, ..value }));
    }
    Ok(sealed.to_vec())
}
