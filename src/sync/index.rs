//! The calls of a source in memory, in a small form, so that a page on which nothing changed costs one hash per record
//! and nothing else: no parsing, no read from the store.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
    time::Duration,
};

use super::planner::{Row, Slot};
use crate::{
    call::{CallId, RecordHash},
    lens::Lens,
    store::KnownCall,
    time::Timestamp,
};

const ONGOING: u64 = 1;
const DELETED: u64 = 2;

/// Stands for a missing time.
const NO_TIME: i64 = i64::MIN;

/// The calls of one source by number and by the hash of their record; about 110 bytes per call at a
/// million calls.
///
/// Slots are numbered from 0 and never reused. A record's hash leads to its call for as long as the record is the call's
/// latest. A deleted call keeps its slot and its last record.
#[derive(Debug)]
pub struct Index {
    analysis_window: Duration,
    lens: Arc<Lens>,
    slots: HashMap<RecordHash, Slot, BuildHasherDefault<FirstWord>>,
    entries: Vec<Entry>,
    /// Until when each call's analysis is waited for, by the API's clock. Kept apart because only few calls are in that
    /// state at a time.
    waiting: BTreeMap<Slot, Timestamp>,
    /// All ids, one after the other. An id ends where the next one begins.
    ids: String,
    /// How many calls are neither over nor deleted, and how many are deleted.
    ongoing: usize,
    deleted: usize,
}

#[derive(Debug)]
struct Entry {
    created_at: i64,
    updated_at: i64,
    /// Where the id begins in `ids`, shifted left by two, and the flags in the two lowest bits. That keeps an entry at 24
    /// bytes.
    id_and_flags: u64,
}

impl Entry {
    fn id_start(&self) -> usize {
        usize::try_from(self.id_and_flags >> 2).unwrap_or(usize::MAX)
    }

    fn has(&self, flag: u64) -> bool {
        self.id_and_flags & flag != 0
    }
}

impl Index {
    /// An empty index. A call's analysis is waited for until `analysis_window` after it was first seen to be over.
    pub fn new(analysis_window: Duration) -> Self {
        Self {
            analysis_window,
            lens: Arc::clone(Lens::standard()),
            slots: HashMap::default(),
            entries: vec![],
            waiting: BTreeMap::new(),
            ids: String::new(),
            ongoing: 0,
            deleted: 0,
        }
    }

    /// The index of a source that looks at its calls through `lens`.
    pub fn through(self, lens: &Arc<Lens>) -> Self {
        Self { lens: Arc::clone(lens), ..self }
    }

    /// How many calls there are, the deleted ones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many calls there are without the deleted ones, and how many of these are not over.
    pub fn known_and_live(&self) -> (usize, usize) {
        (self.entries.len() - self.deleted, self.ongoing)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a call that is not in the index.
    pub fn insert(&mut self, call: &KnownCall) -> Slot {
        // 2³² calls would need more than 400 GB.
        let slot = Slot::try_from(self.entries.len()).unwrap_or(Slot::MAX);
        self.entries.push(Entry {
            created_at: NO_TIME,
            updated_at: NO_TIME,
            id_and_flags: (self.ids.len() as u64) << 2,
        });
        self.ids.push_str(call.id.as_str());
        self.set(slot, call);
        slot
    }

    /// Replaces a call whose latest record had the hash `old`.
    pub fn update(&mut self, slot: Slot, old: RecordHash, call: &KnownCall) {
        if self.slots.get(&old) == Some(&slot) {
            self.slots.remove(&old);
        }
        self.set(slot, call);
    }

    /// The call whose latest record has this hash. If that call is deleted (see [`Row::deleted`]), it has come back, which
    /// is a change although the record is the same.
    pub fn slot_of_record(&self, record: RecordHash) -> Option<Slot> {
        self.slots.get(&record).copied()
    }

    /// The call as a row for the planner, except that `analysis_until` is by the API's clock.
    ///
    /// # Panics
    /// If the slot is not from this index.
    pub fn row(&self, slot: Slot, new: bool, moved: bool) -> Row {
        let entry = &self.entries[slot as usize];
        let time = |millis: i64| (millis != NO_TIME).then(|| Timestamp::from_millis(millis));
        Row {
            slot,
            new,
            moved,
            ongoing: entry.has(ONGOING),
            analysis_until: self.waiting.get(&slot).copied(),
            created_at: time(entry.created_at),
            updated_at: time(entry.updated_at),
            deleted: entry.has(DELETED),
        }
    }

    /// Every call, as [`Index::row`] gives it.
    pub fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        (0..self.entries.len()).map(|slot| self.row(Slot::try_from(slot).unwrap_or(Slot::MAX), false, false))
    }

    /// The call's id.
    ///
    /// # Panics
    /// If the slot is not from this index.
    pub fn id(&self, slot: Slot) -> CallId {
        let from = self.entries[slot as usize].id_start();
        let to = self.entries.get(slot as usize + 1).map_or(self.ids.len(), Entry::id_start);
        CallId::from(&self.ids[from..to])
    }

    fn set(&mut self, slot: Slot, call: &KnownCall) {
        self.slots.insert(call.record, slot);
        let millis = |time: Option<Timestamp>| time.map_or(NO_TIME, Timestamp::as_millis);
        let entry = &mut self.entries[slot as usize];
        entry.created_at = millis(call.created_at);
        entry.updated_at = millis(call.updated_at);
        self.ongoing -= usize::from(entry.has(ONGOING) && !entry.has(DELETED));
        self.deleted -= usize::from(entry.has(DELETED));
        entry.id_and_flags &= !(ONGOING | DELETED);
        if !self.lens.is_over(call.status.as_str()) {
            entry.id_and_flags |= ONGOING;
        }
        if call.deleted {
            entry.id_and_flags |= DELETED;
        }
        self.ongoing += usize::from(entry.has(ONGOING) && !entry.has(DELETED));
        self.deleted += usize::from(entry.has(DELETED));
        match self.analysis_until(call) {
            Some(until) => self.waiting.insert(slot, until),
            None => self.waiting.remove(&slot),
        };
    }

    /// Until when the call's analysis is waited for. The analysis of a call that was over long before it was first seen,
    /// like most calls of a baseline, is not waited for.
    fn analysis_until(&self, call: &KnownCall) -> Option<Timestamp> {
        if !self.lens.is_over(call.status.as_str()) || call.analyzed || call.deleted {
            return None;
        }
        let seen = call.completed_seen?;
        let until = seen.min(call.updated_at.unwrap_or(seen)).after(self.analysis_window);
        (until > seen).then_some(until)
    }
}

/// Hashes a [`RecordHash`], which is a hash already, by folding its words.
#[derive(Debug, Default)]
struct FirstWord(u64);

impl Hasher for FirstWord {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = self.0.rotate_left(32) ^ word;
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Status;

    const WINDOW: Duration = Duration::from_secs(3600);

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn hash(n: u128) -> RecordHash {
        RecordHash::from_u128(n << 64 | n)
    }

    fn live(id: &str, record: u128) -> KnownCall {
        KnownCall {
            id: id.into(),
            record: hash(record),
            status: Status::Live,
            analyzed: false,
            completed_seen: None,
            created_at: Some(at(5)),
            updated_at: Some(at(5)),
            deleted: false,
        }
    }

    #[test]
    fn a_record_leads_to_its_call_until_it_is_replaced() {
        let mut index = Index::new(WINDOW);
        let long = "an id may be any text".repeat(9);
        let a = index.insert(&live("a", 1));
        let b = index.insert(&live(&long, 2));
        assert_eq!((index.id(a).as_str(), index.id(b).as_str()), ("a", long.as_str()));
        assert_eq!((index.slot_of_record(hash(1)), index.slot_of_record(hash(2))), (Some(a), Some(b)));
        assert!(index.row(a, true, false).ongoing && index.row(a, true, false).new);
        assert_eq!(index.known_and_live(), (2, 2));

        let ended = KnownCall {
            record: hash(3),
            status: Status::Completed,
            completed_seen: Some(at(9)),
            updated_at: None,
            ..live("a", 3)
        };
        index.update(a, hash(1), &ended);
        assert_eq!((index.slot_of_record(hash(1)), index.slot_of_record(hash(3))), (None, Some(a)));
        let row = index.row(a, false, true);
        assert_eq!((row.ongoing, row.moved, row.updated_at), (false, true, None));
        assert_eq!(index.known_and_live(), (2, 1));
        assert_eq!(row.analysis_until, Some(at(9).after(WINDOW)));

        index.update(a, hash(3), &KnownCall { record: hash(4), analyzed: true, ..ended });
        assert_eq!(index.row(a, false, true).analysis_until, None);
        assert_eq!(index.len(), 2);
    }

    #[test]
    fn a_deleted_call_keeps_its_record_and_says_so() {
        let mut index = Index::new(WINDOW);
        let slot = index.insert(&live("a", 1));
        index.update(slot, hash(1), &KnownCall { deleted: true, ..live("a", 1) });
        assert_eq!(index.slot_of_record(hash(1)), Some(slot));
        assert!(index.row(slot, false, false).deleted);
        assert_eq!(index.known_and_live(), (0, 0));
        index.update(slot, hash(1), &live("a", 2));
        assert_eq!(index.known_and_live(), (1, 1), "it is back");
        index.update(slot, hash(2), &KnownCall { deleted: true, ..live("a", 1) });
        assert_eq!(index.rows().map(|row| row.slot).collect::<Vec<_>>(), [slot]);
    }

    #[test]
    fn the_analysis_of_an_old_call_is_not_waited_for() {
        let mut index = Index::new(WINDOW);
        let old = KnownCall {
            status: Status::Completed,
            completed_seen: Some(at(100_000)),
            updated_at: Some(at(10)),
            ..live("a", 1)
        };
        let recent =
            KnownCall { id: "b".into(), record: hash(2), updated_at: Some(at(99_000)), ..old.clone() };
        let slot = index.insert(&old);
        assert_eq!(index.row(slot, false, false).analysis_until, None);
        let slot = index.insert(&recent);
        assert_eq!(index.row(slot, false, false).analysis_until, Some(at(99_000).after(WINDOW)));
    }
}
