//! A copy of what a backup holds, taken piece by piece while the store is at work.
//!
//! The copy goes through the tree once. Keys that it has passed and that are written or removed meanwhile are noted,
//! and copied again at the end. The last piece is taken, between two jobs of the store, when nothing noted is left, so
//! that all pieces together are the store as it is at that moment.
//!
//! Of deliveries it takes the entries that have something unfinished when they are looked at; their blocks with the changes
//! that were folded; and all groups that were not. An entry that is finished later stays in the copy with its outcomes. An
//! entry that a person makes unfinished again is added when the change that did so is copied. The index of events is left
//! out: [`super::restore`] makes it anew.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Weak},
};

use ::sled::IVec;

use super::{
    change::{self, Change},
    disk::Disk,
    fault::Fault,
    keys::{self, Key, KeyKind},
    overlay::Writes,
    value::{self, Ends},
};

/// The most values in one piece.
const PIECE: usize = 500;

/// The most bytes in one piece.
const PIECE_BYTES: usize = 256 << 10;

/// The most noted keys that are kept in memory; with more the copy is given up.
const MOST_NOTED: usize = 500_000;

/// The first letters of the keys that are walked through after the entries: ledgers, pauses, memos, checkpoints,
/// snapshots, groups. Groups come last, because a change may add an entry.
const WALK: [u8; 6] = *b"ghnpsx";

/// A copy being taken.
pub(super) struct Dump {
    /// Cannot be upgraded once the taker has dropped its handle; the copy is then given up.
    taker: Weak<()>,
    /// Unfinished deliveries below this number have been looked at; `None` after the last.
    entries_from: Option<u64>,
    /// The index in [`WALK`] of the part that is being walked through.
    walking: usize,
    /// The last key of that part that was copied.
    at: Option<Key>,
    /// Keys to copy next.
    queue: VecDeque<Key>,
    /// Keys that were written or removed since they were copied.
    noted: BTreeSet<IVec>,
    /// The first numbers of the entries that were copied.
    entries: BTreeSet<u64>,
    /// The blocks of those entries.
    blocks: BTreeSet<u64>,
}

/// A piece of the copy. Of two values for one key the later one counts; `None` removes what was copied before.
pub(super) struct Piece {
    pub(super) writes: Writes,
    /// Whether it was the last one.
    pub(super) is_last: bool,
}

/// Finds the first unfinished delivery from a number on.
pub(super) type NextUnfinished<'a> = &'a dyn Fn(u64) -> Option<u64>;

impl Dump {
    /// Begins a copy. It is given up when the second value is dropped.
    pub(super) fn begin() -> (Self, Arc<()>) {
        let taker = Arc::new(());
        let dump = Self {
            taker: Arc::downgrade(&taker),
            entries_from: Some(0),
            walking: 0,
            at: None,
            queue: VecDeque::new(),
            noted: BTreeSet::new(),
            entries: BTreeSet::new(),
            blocks: BTreeSet::new(),
        };
        (dump, taker)
    }

    /// Whether the copy is this taker's.
    pub(super) fn is_for(&self, taker: &Arc<()>) -> bool {
        std::ptr::eq(self.taker.as_ptr(), Arc::as_ptr(taker))
    }

    /// Whether somebody still takes it, and everything that changed could be noted.
    pub(super) fn is_wanted(&self) -> bool {
        self.taker.strong_count() > 0 && self.noted.len() <= MOST_NOTED
    }

    /// Notes keys that are written or removed, so that they are copied again.
    pub(super) fn note<'k>(&mut self, keys: impl Iterator<Item = &'k IVec>) {
        let noted: Vec<IVec> = keys.filter(|key| self.has_passed(key)).cloned().collect();
        self.noted.extend(noted);
    }

    /// Whether a key would be missed if it were not noted.
    fn has_passed(&self, key: &[u8]) -> bool {
        if matches!(KeyKind::of(key), KeyKind::Heads | KeyKind::Folded | KeyKind::Block) {
            return true;
        }
        WALK.iter().position(|letter| key.first() == Some(letter)).is_some_and(|walk| {
            walk < self.walking
                || (walk == self.walking && self.at.as_ref().is_some_and(|at| key <= at.as_ref()))
        })
    }

    /// The next piece, of the store as it is now.
    pub(super) fn next(&mut self, disk: &Disk, unfinished: NextUnfinished<'_>) -> Result<Piece, Fault> {
        let mut piece = Piece { writes: Writes::new(), is_last: false };
        let mut bytes = 0;
        while piece.writes.len() < PIECE && bytes < PIECE_BYTES {
            if let Some(key) = self.queue.pop_front() {
                bytes += self.copy(disk, &key, unfinished, &mut piece.writes)?;
            } else if let Some(from) = self.entries_from {
                self.entries_from = match unfinished(from) {
                    Some(number) => Some(self.keep_entry_of(disk, number)?),
                    None => None,
                };
            } else if let Some(letter) = WALK.get(self.walking) {
                let missing = PIECE - piece.writes.len();
                let found = disk.scan(&keys::all(*letter), self.at.as_ref()).take(missing);
                for item in found {
                    self.queue.push_back(item?.0.into());
                }
                match self.queue.back() {
                    Some(last) => self.at = Some(last.clone()),
                    None => (self.walking, self.at) = (self.walking + 1, None),
                }
            } else if let Some(key) = self.noted.pop_first() {
                bytes += self.copy(disk, &key.into(), unfinished, &mut piece.writes)?;
            } else {
                self.copy(disk, &keys::progress(), unfinished, &mut piece.writes)?;
                piece.is_last = true;
                break;
            }
        }
        Ok(piece)
    }

    /// Queues the entry of a delivery to be copied, unless that was done before; returns the number after its last delivery.
    fn keep_entry_of(&mut self, disk: &Disk, number: u64) -> Result<u64, Fault> {
        let found = disk.view().last_up_to(&keys::all_heads(), &keys::heads(number))?;
        let (key, sealed) = found.ok_or(NO_ENTRY)?;
        let first = keys::last_number(&key).ok_or(NO_ENTRY)?;
        let end = first + Ends(value::unseal(&key, &sealed)?.head).len() as u64;
        if number >= end {
            return Err(NO_ENTRY);
        }
        if self.entries.insert(first) {
            self.queue.push_back(key.into());
            let events = keys::events(first);
            let sealed = disk.view().sealed(events.as_ref())?.ok_or(NO_ENTRY)?;
            let chunks = value::unseal(events.as_ref(), &sealed)?.chunks;
            self.queue.extend((0..chunks).map(|number| keys::chunk(&events, number)));
            self.queue.push_back(events);
            self.keep_block(disk, keys::block_of(first))?;
        }
        Ok(end)
    }

    /// Queues a block and its folded changes to be copied, unless that was done before.
    fn keep_block(&mut self, disk: &Disk, block: u64) -> Result<(), Fault> {
        if self.blocks.insert(block) {
            self.queue.push_back(keys::block(block));
            for item in disk.scan(&keys::all_folded_of(block), None) {
                self.queue.push_back(item?.0.into());
            }
        }
        Ok(())
    }

    /// Copies the value at `key`, or the fact that there is none; returns how many bytes that is.
    fn copy(
        &mut self,
        disk: &Disk,
        key: &Key,
        unfinished: NextUnfinished<'_>,
        into: &mut Writes,
    ) -> Result<usize, Fault> {
        let view = disk.view();
        let found = match KeyKind::of(key.as_ref()) {
            // An entry is large, so each of its parts is copied by itself. Its events change only when a call is forgotten,
            // and then this copy is given up.
            KeyKind::Events | KeyKind::Chunk => match view.sealed(key.as_ref())? {
                Some(sealed) => {
                    value::unseal(key.as_ref(), &sealed)?;
                    vec![(key.as_ref().into(), sealed)]
                }
                // The entry was purged meanwhile; the removal of its heads was noted and is copied.
                None => {
                    let heads = keys::entry_of(key.as_ref()).map(keys::heads).ok_or(NO_ENTRY)?;
                    return if view.sealed(heads.as_ref())?.is_none() { Ok(0) } else { Err(NO_ENTRY) };
                }
            },
            KeyKind::Heads => {
                let first = keys::last_number(key.as_ref()).ok_or(NO_ENTRY)?;
                if !self.entries.contains(&first) {
                    // The entry is new. It is not needed when all of its deliveries are finished already.
                    if let Some(sealed) = view.sealed(key.as_ref())? {
                        let end = first + Ends(value::unseal(key.as_ref(), &sealed)?.head).len() as u64;
                        if let Some(number) = unfinished(first).filter(|number| *number < end) {
                            self.keep_entry_of(disk, number)?;
                        }
                    }
                    return Ok(0);
                }
                view.as_it_stands(key)?
            }
            KeyKind::Group => {
                if let Some((head, body)) = view.parts(key)? {
                    for grouped in change::grouped(&head, &body)? {
                        self.keep_if_again_unfinished(disk, grouped.number, grouped.change, unfinished)?;
                    }
                }
                view.as_it_stands(key)?
            }
            KeyKind::Folded => {
                let block = keys::block_of_folded(key.as_ref()).ok_or(NO_ENTRY)?;
                if let Some((head, body)) = view.parts(key)? {
                    for (place, range) in change::folded(&head) {
                        let change = body.get(range).ok_or(NO_ENTRY)?;
                        let number = keys::number_of(block, place);
                        self.keep_if_again_unfinished(disk, number, change, unfinished)?;
                    }
                }
                if !self.blocks.contains(&block) {
                    return Ok(0);
                }
                view.as_it_stands(key)?
            }
            KeyKind::Block if keys::last_number(key.as_ref()).is_none_or(|it| !self.blocks.contains(&it)) => {
                return Ok(0);
            }
            _ => view.as_it_stands(key)?,
        };
        if found.is_empty() {
            into.insert(key.as_ref().into(), None);
        }
        let bytes = found.iter().map(|(key, value)| key.len() + value.len()).sum();
        into.extend(found.into_iter().map(|(key, value)| (key, Some(value))));
        Ok(bytes)
    }

    /// Queues the entry of a delivery that a person has made unfinished again by a retry.
    fn keep_if_again_unfinished(
        &mut self,
        disk: &Disk,
        number: u64,
        change: &[u8],
        unfinished: NextUnfinished<'_>,
    ) -> Result<(), Fault> {
        if matches!(Change::read(change)?, Change::Retry { .. }) && unfinished(number) == Some(number) {
            self.keep_entry_of(disk, number)?;
        }
        Ok(())
    }
}

const NO_ENTRY: Fault = Fault::Damaged("a delivery has no entry");
