//! A copy of everything that counts, taken bit by bit while the store is at work.
//!
//! It goes through the tree once. What is written meanwhile where it has been already is noted, and copied again at
//! the end; the copy is finished between two jobs, when nothing noted is left, so that what is in it is the store
//! as it is at that moment. What follows from the rest (lanes, queues, batches, tallies) is left out: [`super::renew`]
//! makes it anew.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
};

use ::sled::IVec;

use super::{
    disk::Disk,
    fault::Fault,
    keys::{self, Key, Kind},
    view::{View, Writes},
};
use crate::{event::EventId, store::DeliveryRecord};

/// A slice ends after this many values, …
const SLICE: usize = 500;

/// … or after this many were looked at, …
const SLICE_LOOKS: usize = 5000;

/// … or this many bytes.
const SLICE_BYTES: usize = 256 << 10;

/// More changed keys than this are not kept in memory: the copy is given up.
const MOST_NOTED: usize = 500_000;

/// What is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// Everything.
    All,
    /// Everything but deliveries that are finished, and events of which no delivery is left.
    Unfinished,
}

/// A copy being taken.
pub(super) struct Dump {
    keep: Keep,
    /// Where the walk through the tree is; `None` before the first key.
    at: Option<Key>,
    walked: bool,
    noted: BTreeSet<IVec>,
    /// Gone when nobody takes the copy any more.
    taker: Weak<()>,
    last_event: Option<EventId>,
}

/// A piece of the copy. Of two values for one key the later one counts.
pub(super) struct Slice {
    pub(super) writes: Writes,
    /// Whether it was the last one.
    pub(super) is_last: bool,
}

impl Dump {
    /// Begins. Whoever takes the copy holds on to what is returned beside it.
    pub(super) fn begin(keep: Keep) -> (Self, Arc<()>) {
        let taker = Arc::new(());
        let dump = Self {
            keep,
            at: None,
            walked: false,
            noted: BTreeSet::new(),
            taker: Arc::downgrade(&taker),
            last_event: None,
        };
        (dump, taker)
    }

    /// Whether it is this taker's.
    pub(super) fn is_for(&self, taker: &Arc<()>) -> bool {
        std::ptr::eq(self.taker.as_ptr(), Arc::as_ptr(taker))
    }

    /// Whether there is any point in going on.
    pub(super) fn is_wanted(&self) -> bool {
        self.taker.strong_count() > 0 && self.noted.len() <= MOST_NOTED
    }

    /// Takes notice of keys that have been written.
    pub(super) fn note<'k>(&mut self, keys: impl Iterator<Item = &'k IVec>) {
        let passed =
            |key: &IVec| self.walked || self.at.as_ref().is_some_and(|at| key.as_ref() <= at.as_ref());
        let noted: Vec<IVec> = keys.filter(|key| Kind::of(key).is_copied() && passed(key)).cloned().collect();
        self.noted.extend(noted);
    }

    /// The next piece.
    pub(super) fn next(&mut self, disk: &Disk) -> Result<Slice, Fault> {
        let view = disk.view();
        let mut slice = Slice { writes: Writes::new(), is_last: false };
        let mut bytes = 0;
        if !self.walked {
            for (looks, item) in disk.scan(&Key::default(), self.at.as_ref()).enumerate() {
                let key = Key::from(item?.0);
                if Kind::of(key.as_ref()).is_copied() {
                    bytes += self.copy(&view, &key, &mut slice.writes)?;
                }
                self.at = Some(key);
                if slice.writes.len() >= SLICE || bytes >= SLICE_BYTES || looks >= SLICE_LOOKS {
                    return Ok(slice);
                }
            }
            self.walked = true;
        }
        while slice.writes.len() < SLICE && bytes < SLICE_BYTES {
            let Some(key) = self.noted.pop_first() else {
                slice.is_last = true;
                break;
            };
            self.last_event = None;
            bytes += self.copy(&view, &Key::from(key), &mut slice.writes)?;
        }
        Ok(slice)
    }

    /// Copies what stands at `key`, or that nothing does; returns how many bytes that is.
    fn copy(&mut self, view: &View<'_>, key: &Key, into: &mut Writes) -> Result<usize, Fault> {
        let mut bytes = 0;
        let mut found = view.as_it_stands(key)?;
        if Kind::of(key.as_ref()) == Kind::Delivery && !found.is_empty() {
            let record: DeliveryRecord = view.require(key)?;
            let event = record.id.event.clone();
            if self.keep == Keep::Unfinished && record.finished().is_some() {
                found.clear();
            } else if self.last_event.as_ref() != Some(&event) {
                // An event goes with its first delivery.
                found.extend(view.as_it_stands(&keys::event(&event))?);
                self.last_event = Some(event);
            }
        }
        if self.walked {
            // It may have been copied before.
            into.insert(key.as_ref().into(), None);
        }
        for (key, value) in found {
            bytes += key.len() + value.len();
            into.insert(key, Some(value));
        }
        Ok(bytes)
    }
}
