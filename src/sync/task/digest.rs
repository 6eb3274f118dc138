//! From the records of an answer to committed observations and rows for the planner.

use std::collections::{HashMap, HashSet};

use serde_json::value::RawValue;

use super::Poller;
use crate::{
    call::{Call, CallId, RecordHash, Status},
    snapshot::Snapshot,
    store::{KnownCall, StoreError},
    sync::{
        observe::Observations,
        planner::{Row, Slot},
    },
    telemetry::Signal,
    time::Timestamp,
};

/// How much one commit may hold before the next one is begun: snapshots, events and deliveries together, …
const COMMIT_ITEMS: usize = 400;

/// … and bytes of records. Calls of one page do not depend on each other, so a page may be several commits.
const COMMIT_BYTES: usize = 256 << 10;

/// What an answer meant.
pub(super) struct Digest {
    /// One row per call, in the order of the answer.
    pub rows: Vec<Row>,
    /// Calls seen for the first time.
    pub new: usize,
    /// Calls that changed.
    pub changed: usize,
}

/// A digest in the making: the rows of calls that are not committed yet are missing.
struct Rows {
    rows: Vec<Option<Row>>,
    new: usize,
    changed: usize,
}

/// A record of an answer.
enum Record {
    /// Its bytes are known: nothing to look at.
    Unchanged(Slot),
    /// It has to be looked at.
    Look(Call),
}

/// A call that was looked at, until it is committed.
struct Looked {
    /// Its place among the rows.
    place: usize,
    before: Option<RecordHash>,
    after: KnownCall,
    changed: bool,
}

impl Poller {
    /// Compares records with what is remembered, commits what follows, and learns it.
    pub(super) async fn digest(
        &mut self,
        records: impl Iterator<Item = &RawValue>,
    ) -> Result<Digest, StoreError> {
        let records = self.one_per_call(self.sift(records));
        self.note_seen(&records);
        let remembered = self.remembered(&records).await?;
        let mut digest = Rows { rows: Vec::with_capacity(records.len()), new: 0, changed: 0 };
        let mut observations = Observations::new();
        let mut looked = vec![];
        let mut bytes = 0;
        for (place, record) in records.into_iter().enumerate() {
            let call = match record {
                Record::Unchanged(slot) => {
                    digest.rows.push(Some(self.index.row(slot, false, false)));
                    continue;
                }
                Record::Look(call) => call,
            };
            let before = remembered.get(call.id());
            let changed = self.look(before, &call, &mut observations);
            let Some((_, after)) = observations.commit.snapshots.last() else { continue };
            looked.push(Looked {
                place,
                before: before.map(|snapshot| snapshot.record),
                after: KnownCall::of(call.id().clone(), after),
                changed,
            });
            // Its row is known when it is committed.
            digest.rows.push(None);
            bytes += call.raw().get().len();
            let commit = &observations.commit;
            if commit.snapshots.len() + commit.events.len() + commit.deliveries() >= COMMIT_ITEMS
                || bytes >= COMMIT_BYTES
            {
                let full = std::mem::take(&mut observations);
                self.learn(full, std::mem::take(&mut looked), &mut digest).await?;
                bytes = 0;
            }
        }
        self.learn(observations, looked, &mut digest).await?;
        let Rows { rows, new, changed } = digest;
        Ok(Digest { rows: rows.into_iter().flatten().collect(), new, changed })
    }

    /// Tells the records that have to be looked at from those whose bytes are known, and drops what is no call.
    fn sift<'a>(&self, records: impl Iterator<Item = &'a RawValue>) -> Vec<Record> {
        let mut sifted = vec![];
        for raw in records {
            let known = self.index.slot_of_record(RecordHash::of(raw.get().as_bytes()));
            // A deleted call that is back has to be looked at, whatever its bytes.
            if let Some(slot) = known.filter(|slot| !self.index.row(*slot, false, false).deleted) {
                sifted.push(Record::Unchanged(slot));
                continue;
            }
            match Call::parse(raw) {
                Ok(call) => sifted.push(Record::Look(call)),
                Err(bad) => {
                    let why = format!("left out a record of a page: {bad}");
                    self.emit(Signal::BadRecord { source: self.task.config.name.clone(), why });
                }
            }
        }
        sifted
    }

    /// An answer that shows a call twice shows it in one state: the one updated last, over rather than live. Or
    /// else the two would take turns, and each turn would be a change.
    fn one_per_call(&self, mut records: Vec<Record>) -> Vec<Record> {
        if !records.iter().any(|record| matches!(record, Record::Look(_))) {
            return records;
        }
        let mut best: HashMap<CallId, (usize, Option<Timestamp>, bool)> = HashMap::new();
        let mut repeated = HashSet::new();
        for (place, record) in records.iter().enumerate() {
            let (id, updated, is_over) = match record {
                Record::Unchanged(slot) => {
                    let row = self.index.row(*slot, false, false);
                    (self.index.id(*slot), row.updated_at, !row.live)
                }
                Record::Look(call) => (call.id().clone(), call.updated_at(), *call.status() != Status::Live),
            };
            let Some(other) = best.get_mut(&id) else {
                best.insert(id, (place, updated, is_over));
                continue;
            };
            let why = format!("call {id} stands twice in one answer; what was updated last counts");
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

    /// Tells the clockwork which of the calls it waits for are there.
    fn note_seen(&mut self, records: &[Record]) {
        if !self.state.clockwork.is_curious() {
            return;
        }
        let now = self.task.clock.wall();
        for record in records {
            match record {
                Record::Unchanged(slot) => self.state.clockwork.saw(&self.index.id(*slot), now),
                Record::Look(call) => self.state.clockwork.saw(call.id(), now),
            }
        }
    }

    async fn remembered(&self, records: &[Record]) -> Result<HashMap<CallId, Snapshot>, StoreError> {
        let ids: Vec<CallId> = records
            .iter()
            .filter_map(|record| match record {
                Record::Look(call) => Some(call.id().clone()),
                Record::Unchanged(_) => None,
            })
            .collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let found = self.task.store.snapshots(&self.task.config.name, &ids).await?;
        Ok(ids.into_iter().zip(found).filter_map(|(id, snapshot)| Some((id, snapshot?))).collect())
    }

    /// During the baseline a call that was there before it began is remembered in silence.
    fn look(&self, before: Option<&Snapshot>, call: &Call, into: &mut Observations) -> bool {
        let observer = self.observer();
        if before.is_none() && self.planner.in_baseline() && !self.state.is_news(call.created_at()) {
            observer.remember(call, into);
            return true;
        }
        observer.observe(before, call, into)
    }

    /// Commits, and only then takes what was committed for known.
    async fn learn(
        &mut self,
        observations: Observations,
        looked: Vec<Looked>,
        digest: &mut Rows,
    ) -> Result<(), StoreError> {
        digest.new += observations.new;
        digest.changed += observations.changed;
        self.commit(observations).await?;
        for Looked { place, before, after, changed } in looked {
            let slot = match before.and_then(|record| self.index.slot_of_record(record)) {
                Some(slot) => {
                    self.index.update(slot, before.unwrap_or_default(), &after);
                    slot
                }
                None => self.index.insert(&after),
            };
            digest.rows[place] = Some(self.index.row(slot, before.is_none(), changed));
        }
        Ok(())
    }
}
