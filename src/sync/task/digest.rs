//! From the records of an answer to committed observations and rows for the planner.
//!
//! Callers and the API's operators choose the content of an answer. So records are read one by one, and only one
//! commit's worth of them is built at a time.

use std::collections::{HashMap, HashSet};

use serde_json::value::RawValue;
use tokio::task::yield_now;

use super::{ODDITY_EVERY, OLDER_EVERY, Poller};
use crate::{
    call::{Brief, Call, CallId, RecordHash, is_unreadable_time},
    callem::Flaw,
    change::Stale,
    json::is_small,
    snapshot::Snapshot,
    store::{Commit, KnownCall, StoreError},
    sync::{
        bad_records::BadRecord,
        older::Verdict,
        planner::{Row, Slot},
        watcher::Observation,
    },
    telemetry::Signal,
    time::Timestamp,
};

/// A commit with this many snapshots, events and deliveries, or with this many bytes of records, is full, and the next
/// one begins. Calls of one page do not depend on each other, so a page may be several commits.
const COMMIT_ITEMS: usize = 400;
const COMMIT_BYTES: usize = 256 << 10;

/// A commit whose events weigh this much, in bytes, is full as well. An event holds what its call was before, which may be far
/// longer than the record.
const COMMIT_WEIGHT: usize = 4 << 20;

/// How many snapshots are read at a time. After one that is longer than [`LONG_SNAPSHOT`], in bytes, no more are read for the
/// batch, so that a page of short records of calls that were long does not bring all of them into memory.
const SNAPSHOTS: usize = 16;
const LONG_SNAPSHOT: usize = 64 << 10;

/// Other tasks get their turn after this many bytes or records.
const TURN_BYTES: usize = 1 << 20;
const TURN_RECORDS: usize = 200;

/// A page has lost its shape when its bad records that are not known yet are more than this many times its readable
/// ones.
const FEW: usize = 3;

/// The meaning of an answer.
#[derive(Default)]
pub(super) struct Digest {
    /// One row per call, in the order of the answer.
    pub rows: Vec<Row>,
    /// Calls seen for the first time.
    pub new: usize,
    /// Other calls that changed.
    pub changed: usize,
    /// Records that were older than what is known of their call.
    pub stale: usize,
    /// Calls from before watching began that the baseline has missed, and that are no news.
    pub belated: usize,
    /// New calls that were left out because `max_calls` calls are remembered already.
    pub refused: usize,
}

/// A record of an answer.
pub(super) enum Record<'a> {
    /// The latest record of this call has the same bytes.
    Unchanged(Slot),
    /// Its bytes are not known.
    Changed { text: &'a str, hash: RecordHash, brief: Brief },
}

impl Poller {
    /// Reads the records of a page that begins at `offset`: which are unchanged, and which call each of the others is
    /// about. Records that are not calls are reported.
    ///
    /// # Errors
    /// When so few of the records are calls that nothing can be concluded from the page. Says why.
    pub(super) async fn read<'a>(
        &mut self,
        offset: u64,
        records: impl Iterator<Item = Result<&'a str, &'a Flaw>>,
    ) -> Result<Vec<Record<'a>>, String> {
        let (mut read, mut bad) = (vec![], vec![]);
        let mut bytes = 0;
        for (place, record) in (offset..).zip(records) {
            match record.map_err(|flaw| (flaw.reason(), flaw.to_string())).and_then(|text| {
                bytes += text.len();
                self.read_one(text).map_err(|bad| (bad.reason(), bad.to_string()))
            }) {
                Ok(record) => read.push(record),
                Err((reason, why)) => {
                    let hash = match record {
                        Ok(text) => RecordHash::of(text.as_bytes()),
                        Err(flaw) => RecordHash::of(flaw.to_string().as_bytes()),
                    };
                    bad.push(BadRecord { hash, place, reason, why });
                }
            }
            if bytes >= TURN_BYTES || (read.len() + bad.len()).is_multiple_of(TURN_RECORDS) {
                bytes = 0;
                yield_now().await;
            }
        }
        let all = read.len() + bad.len();
        if self.bad.unknown(&bad) > FEW * read.len() {
            let why = bad.into_iter().next().map(|first| first.why).unwrap_or_default();
            return Err(format!("only {} of {all} records of a page can be read ({why})", read.len()));
        }
        if let Some((why, is_news)) = self.bad.on_page(offset, all, &bad, self.task.clock.steady()) {
            let source = self.task.config.name.clone();
            self.emit(Signal::BadRecord { source, why, count: bad.len() as u64, again: !is_news });
        }
        Ok(read)
    }

    /// Reads one record, and no more of it than tells which call it is about.
    pub(super) fn read_one<'a>(&self, text: &'a str) -> Result<Record<'a>, crate::call::BadRecord> {
        let hash = RecordHash::of(text.as_bytes());
        // A deleted call that is back is a change, whatever its bytes.
        let is_deleted = |slot: &Slot| self.index.row(*slot, false, false).deleted;
        match self.index.slot_of_record(hash).filter(|slot| !is_deleted(slot)) {
            Some(slot) => Ok(Record::Unchanged(slot)),
            None => Ok(Record::Changed { text, hash, brief: Brief::read(text)? }),
        }
    }

    /// Reports an oddity of records; loudly only when none with the same `reason` was reported within [`ODDITY_EVERY`].
    pub(super) fn bad_record(&mut self, reason: &'static str, why: String, count: u64) {
        let now = self.task.clock.steady();
        let again = self.oddities.get(reason).is_some_and(|told| now.since(*told) < ODDITY_EVERY);
        if !again {
            self.oddities.insert(reason, now);
        }
        self.emit(Signal::BadRecord { source: self.task.config.name.clone(), why, count, again });
    }

    /// The id of the call that the record is about.
    pub(super) fn id_of(&self, record: &Record<'_>) -> CallId {
        match record {
            Record::Unchanged(slot) => self.index.id(*slot),
            Record::Changed { brief, .. } => brief.id.clone(),
        }
    }

    /// Compares records with what is remembered, and commits what follows. The index is ahead of the store until then,
    /// but a commit that fails ends the task and the index with it.
    pub(super) async fn digest(&mut self, records: Vec<Record<'_>>) -> Result<Digest, StoreError> {
        let records = self.one_per_call(records);
        let mut digest = Digest { rows: Vec::with_capacity(records.len()), ..Digest::default() };
        let mut rest = &records[..];
        while !rest.is_empty() {
            let (remembered, read) = self.remembered_of(&rest[..batch_of(rest)]).await?;
            let (batch, later) = rest.split_at(read);
            rest = later;
            self.digest_batch(batch, &remembered, &mut digest).await?;
            yield_now().await;
        }
        let (window, now) = (self.task.config.analysis_window, self.now());
        for row in &mut digest.rows {
            *row = super::steadily(*row, now, window);
        }
        for field in self.flapping.page_done() {
            let text = format!(
                "`{field}` changes in every answer: add it to `ignore` of [sources.{}]",
                self.task.config.name
            );
            self.emit(Signal::SourceTroubled { source: self.task.config.name.clone(), why: text });
        }
        if digest.belated > 0 {
            let text = format!(
                "{} calls from before callwatch was first started have appeared; they are remembered, not announced",
                digest.belated
            );
            self.emit(Signal::SourceNotice { source: self.task.config.name.clone(), text });
        }
        let unwatched = self.older.take_unwatched();
        if unwatched > 0 {
            let why = format!(
                "the API shows more calls in older states than can be followed; {unwatched} are ignored for now"
            );
            self.bad_record("older", why, unwatched);
        }
        if digest.stale > 0 {
            let source = self.task.config.name.clone();
            self.emit(Signal::Stale { source, count: digest.stale as u64 });
        }
        Ok(digest)
    }

    /// Digests records that fit into one commit. When the events they make do not, several commits are made.
    async fn digest_batch(
        &mut self,
        records: &[Record<'_>],
        remembered: &HashMap<CallId, Snapshot>,
        digest: &mut Digest,
    ) -> Result<(), StoreError> {
        let (mut commit, mut signals, mut weight) = (Commit::default(), vec![], 0);
        let mut calls: HashMap<CallId, Call> = HashMap::new();
        for record in records {
            if let Record::Changed { text, hash, .. } = record
                && let Some(call) = self.parse(text, *hash)
            {
                calls.insert(call.id().clone(), call);
            }
        }
        digest.belated +=
            self.watcher.meet(calls.values().filter(|call| !remembered.contains_key(call.id())));
        for record in records {
            let call = match record {
                Record::Unchanged(slot) => {
                    let row = self.index.row(*slot, false, false);
                    if !row.ongoing {
                        self.flapping.looked(*slot, &[]);
                    }
                    self.older.current(*slot);
                    if self.watcher.is_waiting() {
                        let id = self.index.id(*slot);
                        self.watcher.saw(&id, self.now());
                    }
                    digest.rows.push(row);
                    continue;
                }
                Record::Changed { brief, .. } => calls.remove(&brief.id),
            };
            let Some(call) = call else { continue };
            self.note_unreadable_times(&call);
            let before = remembered.get(call.id());
            let known = before.and_then(|before| self.index.slot_of_record(before.record));
            if known.is_none() && self.index.len() >= self.task.config.max_calls {
                digest.refused += 1;
                continue;
            }
            let mut made = self.watcher.observe(before, &call, self.now());
            if let (Some(stale), Some(slot), Some(before)) = (made.stale, known, before) {
                match self.judge_older(slot, before, &call, stale) {
                    Some(believed) => made = believed,
                    None => {
                        digest.stale += 1;
                        digest.rows.push(self.index.row(slot, false, false));
                        continue;
                    }
                }
            }
            // An older state says nothing about now, so only others confirm that a condition lasts.
            if self.watcher.is_waiting() {
                self.watcher.saw(call.id(), self.now());
            }
            known.into_iter().for_each(|slot| self.older.current(slot));
            let Some((_, after)) = &made.snapshot else { continue };
            let after = KnownCall::of(call.id().clone(), after);
            let slot = match (known, before) {
                (Some(slot), Some(before)) => {
                    if call.lens().is_over(before.status().as_str()) {
                        self.flapping.looked(slot, &made.differing);
                    }
                    self.index.update(slot, before.record, &after);
                    slot
                }
                _ => self.index.insert(&after),
            };
            let moved = before.is_some_and(|before| self.may_have_moved(before, &call));
            digest.rows.push(self.index.row(slot, before.is_none(), moved));
            digest.new += usize::from(before.is_none());
            digest.changed += usize::from(before.is_some() && made.changed);
            let events = commit.events.len();
            signals.extend(made.commit_into(&mut commit));
            weight += commit.events[events..].iter().map(|new| new.event.weight()).sum::<usize>();
            let items = commit.snapshots.len() + commit.events.len() + commit.deliveries();
            if items >= COMMIT_ITEMS || weight >= COMMIT_WEIGHT {
                let full = std::mem::take(&mut commit);
                self.commit(full, std::mem::take(&mut signals)).await?;
                weight = 0;
            }
        }
        self.commit(commit, signals).await
    }

    fn parse(&self, text: &str, hash: RecordHash) -> Option<Call> {
        let raw: &RawValue = serde_json::from_str(text).ok()?;
        Some(Call::parse_hashed(raw, hash).ok()?.through(&self.task.config.lens))
    }

    /// The observation of a state that looks older than the remembered one, once the API gives no other; `None` while it
    /// is ignored.
    fn judge_older(
        &mut self,
        slot: Slot,
        before: &Snapshot,
        call: &Call,
        stale: Stale,
    ) -> Option<Observation> {
        let now = self.task.clock.steady();
        let (what, believed) = match self.older.shown(slot, call.content().tag(), stale, now) {
            Verdict::Ignored => return None,
            Verdict::Stands => {
                ("it is ignored, because what was over or analyzed stays so until `updatedAt` is later", None)
            }
            Verdict::Believed => {
                let made = self.watcher.believe(Some(before), call, self.now());
                ("it is believed from now on", Some(made))
            }
        };
        if self.older_told.is_none_or(|told| now.since(told) >= OLDER_EVERY) {
            self.older_told = Some(now);
            let text = format!(
                "the API has shown call {} only in an older state than the known one for a minute: {what}",
                call.id()
            );
            self.emit(Signal::SourceNotice { source: self.task.config.name.clone(), text });
        }
        believed
    }

    /// Whether the call may stand in another place of the list than before. Fields that flap say nothing about that.
    fn may_have_moved(&self, before: &Snapshot, call: &Call) -> bool {
        let differs = |field: &str, differs: bool| differs && !self.flapping.includes(field);
        before.deleted
            || differs("status", before.status() != *call.status())
            || differs("createdAt", before.created_at() != call.created_at())
            || differs("updatedAt", before.updated_at() != call.updated_at())
    }

    /// Says once per field that its times cannot be read.
    fn note_unreadable_times(&mut self, call: &Call) {
        for field in ["createdAt", "updatedAt"] {
            if is_unreadable_time(call.fields(), field) && self.told.insert(field) {
                let why = format!(
                    "`{field}` of call {} is not a time that can be read; rules with `max_age` go by when calls were \
                     first seen",
                    call.id()
                );
                self.emit(Signal::SourceTroubled { source: self.task.config.name.clone(), why });
            }
        }
    }

    /// Keeps one record of a call that an answer shows twice: the one updated last; of two updated at the same time, the
    /// one that is over. If both counted, every poll would report a change to the one and back.
    fn one_per_call<'a>(&mut self, mut records: Vec<Record<'a>>) -> Vec<Record<'a>> {
        if !records.iter().any(|record| matches!(record, Record::Changed { .. })) {
            return records;
        }
        let mut best: HashMap<CallId, (usize, Option<Timestamp>, bool)> = HashMap::new();
        let mut repeated = HashSet::new();
        let mut first = None;
        for (place, record) in records.iter().enumerate() {
            let id = self.id_of(record);
            let (updated, is_over) = match record {
                Record::Unchanged(slot) => {
                    let row = self.index.row(*slot, false, false);
                    (row.updated_at, !row.ongoing)
                }
                Record::Changed { brief, .. } => {
                    (brief.updated_at, self.task.config.lens.is_over(brief.status.as_str()))
                }
            };
            let Some(other) = best.get_mut(&id) else {
                best.insert(id, (place, updated, is_over));
                continue;
            };
            if (updated, is_over) > (other.1, other.2) {
                repeated.insert(std::mem::replace(other, (place, updated, is_over)).0);
            } else {
                repeated.insert(place);
            }
            first.get_or_insert(id);
        }
        if let Some(id) = first {
            let why = format!("call {id} is in one answer twice; the record that was updated last counts");
            self.bad_record("twice", why, repeated.len() as u64);
        }
        let mut place = 0..;
        records.retain(|_| place.next().is_none_or(|place| !repeated.contains(&place)));
        records
    }

    /// The snapshots of the calls that the first of the records are about, and how many records these are.
    async fn remembered_of(
        &self,
        records: &[Record<'_>],
    ) -> Result<(HashMap<CallId, Snapshot>, usize), StoreError> {
        let mut remembered = HashMap::new();
        let mut ids = vec![];
        for (place, record) in records.iter().enumerate() {
            if let Record::Changed { brief, .. } = record {
                ids.push(brief.id.clone());
            }
            let is_last = place + 1 == records.len();
            if ids.len() == SNAPSHOTS || (is_last && !ids.is_empty()) {
                let found = self.task.store.snapshots(&self.task.config.name, &ids).await?;
                let is_long = |snapshot: &Snapshot| !is_small(&snapshot.fields, LONG_SNAPSHOT);
                let has_long = found.iter().flatten().any(is_long);
                let found = ids.drain(..).zip(found);
                remembered.extend(found.filter_map(|(id, snapshot)| Some((id, snapshot?))));
                if has_long {
                    return Ok((remembered, place + 1));
                }
            }
        }
        Ok((remembered, records.len()))
    }
}

/// How many of the records, at least one, are one commit's worth.
fn batch_of(records: &[Record<'_>]) -> usize {
    let mut bytes = 0;
    let fits = |record: &&Record<'_>| {
        if let Record::Changed { text, .. } = record {
            bytes += text.len();
        }
        bytes <= COMMIT_BYTES
    };
    records.iter().take(COMMIT_ITEMS).take_while(fits).count().max(1)
}
