//! From the records of an answer to committed observations and rows for the planner.

use std::collections::{HashMap, HashSet};

use serde_json::value::RawValue;

use super::Poller;
use crate::{
    call::{Call, CallId, RecordHash, Status},
    snapshot::Snapshot,
    store::{Commit, KnownCall, StoreError},
    sync::planner::{Row, Slot},
    telemetry::Signal,
    time::Timestamp,
};

/// A commit with this many snapshots, events and deliveries, or with this many bytes of records, is full, and the next
/// one begins. Calls of one page do not depend on each other, so a page may be several commits.
const COMMIT_ITEMS: usize = 400;
const COMMIT_BYTES: usize = 256 << 10;

/// The meaning of an answer.
pub(super) struct Digest {
    /// One row per call, in the order of the answer.
    pub rows: Vec<Row>,
    /// Calls seen for the first time.
    pub new: usize,
    /// Other calls that changed.
    pub changed: usize,
}

/// A record of an answer.
pub(super) enum Record {
    /// The latest record of this call has the same bytes.
    Unchanged(Slot),
    /// Its bytes are not known.
    Changed(Call),
}

impl Poller {
    /// Reads a record of an answer, and parses it only if its bytes are not known. `None` when it is not a call, which
    /// is reported.
    pub(super) fn read(&self, raw: &RawValue) -> Option<Record> {
        let hash = RecordHash::of(raw.get().as_bytes());
        // A deleted call that is back is a change, whatever its bytes.
        let is_deleted = |slot: &Slot| self.index.row(*slot, false, false).deleted;
        if let Some(slot) = self.index.slot_of_record(hash).filter(|slot| !is_deleted(slot)) {
            return Some(Record::Unchanged(slot));
        }
        match Call::parse_hashed(raw, hash) {
            Ok(call) => Some(Record::Changed(call)),
            Err(bad) => {
                let why = format!("left out a record of a page: {bad}");
                self.emit(Signal::BadRecord { source: self.task.config.name.clone(), why });
                None
            }
        }
    }

    /// The id of the call that the record is about.
    pub(super) fn id_of(&self, record: &Record) -> CallId {
        match record {
            Record::Unchanged(slot) => self.index.id(*slot),
            Record::Changed(call) => call.id().clone(),
        }
    }

    /// Compares records with what is remembered, and commits what follows. The index is ahead of the store until then,
    /// but a commit that fails ends the task and the index with it.
    pub(super) async fn digest(&mut self, records: Vec<Record>) -> Result<Digest, StoreError> {
        let records = self.one_per_call(records);
        self.note_seen(&records);
        let remembered = self.remembered_of(&records).await?;
        let mut digest = Digest { rows: Vec::with_capacity(records.len()), new: 0, changed: 0 };
        let (mut commit, mut signals, mut bytes) = (Commit::default(), vec![], 0);
        for record in records {
            let call = match record {
                Record::Unchanged(slot) => {
                    digest.rows.push(self.index.row(slot, false, false));
                    continue;
                }
                Record::Changed(call) => call,
            };
            let before = remembered.get(call.id());
            let made = self.watcher.observe(before, &call, self.task.clock.wall());
            let Some((_, after)) = &made.snapshot else { continue };
            let after = KnownCall::of(call.id().clone(), after);
            let known = before.and_then(|before| self.index.slot_of_record(before.record));
            let slot = match (known, before) {
                (Some(slot), Some(before)) => {
                    self.index.update(slot, before.record, &after);
                    slot
                }
                _ => self.index.insert(&after),
            };
            digest.rows.push(self.index.row(slot, before.is_none(), made.changed));
            digest.new += usize::from(before.is_none());
            digest.changed += usize::from(before.is_some() && made.changed);
            signals.extend(made.commit_into(&mut commit));
            bytes += call.raw().get().len();
            let items = commit.snapshots.len() + commit.events.len() + commit.deliveries();
            if items >= COMMIT_ITEMS || bytes >= COMMIT_BYTES {
                let full = std::mem::take(&mut commit);
                self.commit(full, std::mem::take(&mut signals)).await?;
                bytes = 0;
            }
        }
        self.commit(commit, signals).await?;
        Ok(digest)
    }

    /// Keeps one record of a call that an answer shows twice: the one updated last; of two updated at the same time, the
    /// one that is over. If both counted, every poll would report a change to the one and back.
    fn one_per_call(&self, mut records: Vec<Record>) -> Vec<Record> {
        if !records.iter().any(|record| matches!(record, Record::Changed(_))) {
            return records;
        }
        let mut best: HashMap<CallId, (usize, Option<Timestamp>, bool)> = HashMap::new();
        let mut repeated = HashSet::new();
        for (place, record) in records.iter().enumerate() {
            let id = self.id_of(record);
            let (updated, is_over) = match record {
                Record::Unchanged(slot) => {
                    let row = self.index.row(*slot, false, false);
                    (row.updated_at, !row.live)
                }
                Record::Changed(call) => (call.updated_at(), *call.status() != Status::Live),
            };
            let Some(other) = best.get_mut(&id) else {
                best.insert(id, (place, updated, is_over));
                continue;
            };
            let why = format!("call {id} is in one answer twice; the record that was updated last counts");
            self.emit(Signal::BadRecord { source: self.task.config.name.clone(), why });
            if (updated, is_over) > (other.1, other.2) {
                repeated.insert(std::mem::replace(other, (place, updated, is_over)).0);
            } else {
                repeated.insert(place);
            }
        }
        let mut place = 0..;
        records.retain(|_| place.next().is_none_or(|place| !repeated.contains(&place)));
        records
    }

    /// Tells the watcher which of the calls it waits for are there.
    fn note_seen(&mut self, records: &[Record]) {
        if self.watcher.is_waiting() {
            let now = self.task.clock.wall();
            for record in records {
                let id = self.id_of(record);
                self.watcher.saw(&id, now);
            }
        }
    }

    async fn remembered_of(&self, records: &[Record]) -> Result<HashMap<CallId, Snapshot>, StoreError> {
        let ids: Vec<CallId> = records
            .iter()
            .filter_map(|record| match record {
                Record::Changed(call) => Some(call.id().clone()),
                Record::Unchanged(_) => None,
            })
            .collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let found = self.task.store.snapshots(&self.task.config.name, &ids).await?;
        Ok(ids.into_iter().zip(found).filter_map(|(id, snapshot)| Some((id, snapshot?))).collect())
    }
}
