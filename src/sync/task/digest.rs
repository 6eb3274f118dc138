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

/// Observations until they are committed together.
struct Batch {
    commit: Commit,
    signals: Vec<Signal>,
    looked: Vec<Looked>,
    items: usize,
    bytes: usize,
}

/// A call that was looked at.
struct Looked {
    /// Its place in the answer.
    place: usize,
    before: Option<RecordHash>,
    after: KnownCall,
    changed: bool,
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

    /// Compares records with what is remembered, commits what follows, and takes it into the index.
    pub(super) async fn digest(&mut self, records: Vec<Record>) -> Result<Digest, StoreError> {
        let records = self.one_per_call(records);
        self.note_seen(&records);
        let remembered = self.remembered_of(&records).await?;
        let mut rows: Vec<Option<Row>> = vec![None; records.len()];
        let (mut new, mut changed) = (0, 0);
        let mut batch = self.batch();
        for (place, record) in records.into_iter().enumerate() {
            let call = match record {
                Record::Unchanged(slot) => {
                    rows[place] = Some(self.index.row(slot, false, false));
                    continue;
                }
                Record::Changed(call) => call,
            };
            let before = remembered.get(call.id());
            let made = self.watcher.observe(before, &call, self.task.clock.wall());
            new += usize::from(before.is_none());
            changed += usize::from(before.is_some() && made.changed);
            if let Some((id, after)) = &made.snapshot {
                batch.looked.push(Looked {
                    place,
                    before: before.map(|snapshot| snapshot.record),
                    after: KnownCall::of(id.clone(), after),
                    changed: made.changed,
                });
            }
            batch.items += made.items();
            batch.bytes += call.raw().get().len();
            batch.signals.extend(made.commit_into(&mut batch.commit));
            if batch.items >= COMMIT_ITEMS || batch.bytes >= COMMIT_BYTES {
                let next = self.batch();
                self.learn(std::mem::replace(&mut batch, next), &mut rows).await?;
            }
        }
        self.learn(batch, &mut rows).await?;
        Ok(Digest { rows: rows.into_iter().flatten().collect(), new, changed })
    }

    fn batch(&self) -> Batch {
        let commit = Commit::new(self.task.config.name.clone());
        Batch { commit, signals: vec![], looked: vec![], items: 0, bytes: 0 }
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

    /// Commits, and only then takes what was committed into the index: after an error the store and the index must not
    /// disagree.
    async fn learn(&mut self, batch: Batch, rows: &mut [Option<Row>]) -> Result<(), StoreError> {
        self.commit(batch.commit, batch.signals).await?;
        for Looked { place, before, after, changed } in batch.looked {
            let known = before.and_then(|record| Some((self.index.slot_of_record(record)?, record)));
            let slot = match known {
                Some((slot, record)) => {
                    self.index.update(slot, record, &after);
                    slot
                }
                None => self.index.insert(&after),
            };
            rows[place] = Some(self.index.row(slot, before.is_none(), changed));
        }
        Ok(())
    }
}
