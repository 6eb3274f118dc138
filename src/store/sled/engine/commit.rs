//! Commits: new events with their deliveries.

use std::collections::BTreeSet;

use super::Engine;
use crate::{
    event::{Event, EventId},
    name::Name,
    store::{
        Claim, Commit, Duty, NewDelivery, StoreError,
        sled::{
            entry::{Entry, EntryWriter},
            fault::Fault,
            keys::{self, BLOCK, Key, block_of},
            remembered::Stored,
            value,
        },
    },
    time::Timestamp,
};

/// The deliveries of an event, found by the index.
pub(super) struct Known {
    index: Key,
    /// The value in the index, which also has deliveries of events with the same hash, and deliveries that are gone.
    numbers: Vec<u8>,
    /// The deliveries of the event.
    pub(super) deliveries: Vec<(Name, u64)>,
}

impl Known {
    /// The deliveries to a destination.
    fn to(&self, destination: &Name) -> impl Iterator<Item = u64> {
        self.deliveries.iter().filter(move |(to, _)| to == destination).map(|(_, number)| *number)
    }
}

impl Engine {
    pub(in crate::store::sled) fn commit(&mut self, claim: &Claim, commit: &mut Commit) -> Result<(), Fault> {
        self.claims.check(claim)?;
        match &claim.duty {
            Duty::Source(source) => {
                self.forgotten.keep_out_of_commit(source, commit);
                for (call, snapshot) in &commit.snapshots {
                    let stored = Stored::of(call, snapshot)?;
                    self.staged.view.put_bytes(&keys::snapshot(source, call), &stored.head, &stored.body)?;
                }
            }
            _ if commit.snapshots.is_empty() => {}
            _ => return Err(Fault::Refused(StoreError::Mistake("only a source has snapshots"))),
        }
        for new in &commit.events {
            self.add(&new.event, &new.deliveries)?;
        }
        if let Some(checkpoint) = &commit.checkpoint {
            self.staged.view.put(&keys::checkpoint(&claim.duty), checkpoint)?;
        }
        self.staged.durable = true;
        Ok(())
    }

    /// Adds deliveries of an event to destinations that have none of it; returns how many.
    pub(super) fn add(&mut self, event: &Event, deliveries: &[NewDelivery]) -> Result<usize, Fault> {
        let mut known = self.find(&event.id)?;
        let mut added = 0;
        for new in deliveries {
            if known.to(&new.destination).next().is_none() {
                self.add_another(event, new, &mut known)?;
                added += 1;
            }
        }
        Ok(added)
    }

    /// Makes a new delivery of an event, of which there are deliveries already; returns whether it did. It does not while
    /// one of them waits for the same destination.
    pub(super) fn add_again(
        &mut self,
        event: &Event,
        destination: &Name,
        at: Timestamp,
    ) -> Result<bool, Fault> {
        let mut known = self.find(&event.id)?;
        if known.to(destination).any(|number| self.standing(destination, number).is_some()) {
            return Ok(false);
        }
        let sequence = match known.to(destination).max() {
            Some(newest) => {
                let entry = Entry::of(&self.staged.view, newest)?;
                entry.ok_or(Fault::Damaged("a delivery in the index is missing"))?.head(newest)?.sequence
            }
            None => 0,
        };
        let new = NewDelivery { destination: destination.clone(), sequence, created: at, hold: None };
        self.add_another(event, &new, &mut known)?;
        Ok(true)
    }

    fn add_another(&mut self, event: &Event, new: &NewDelivery, known: &mut Known) -> Result<(), Fault> {
        let number = self.add_one(event, new)?;
        known.numbers.extend(number.to_le_bytes());
        known.deliveries.push((new.destination.clone(), number));
        let ids = self.staged.ids.entry(event.id.clone()).or_default();
        ids.push((new.destination.clone(), number));
        self.staged.view.put_new(&known.index, &[], &known.numbers);
        // A delivery may be handed out only when it is durable.
        self.staged.durable = true;
        Ok(())
    }

    fn add_one(&mut self, event: &Event, new: &NewDelivery) -> Result<u64, Fault> {
        let number = self.progress.next;
        let block = block_of(number);
        if self.staged.entry.as_ref().is_some_and(|(first, _)| block_of(*first) != block) {
            self.close_entry()?;
        }
        self.outbox.begin_block(block);
        let sums = self.outbox.block_mut(block)?;
        let (_, entry) = self.staged.entry.get_or_insert_with(|| (number, EntryWriter::default()));
        entry.add(event, new, &mut sums.traits)?;
        self.outbox.add(number, &new.destination, new.hold.is_some())?;
        self.arrived.insert(new.destination.clone());
        self.progress.next += 1;
        if self.progress.next.is_multiple_of(BLOCK) {
            // The block is full: it is written, because the next start reads it in place of its heads.
            self.staged.blocks.insert(block);
        }
        Ok(number)
    }

    /// The deliveries of an event.
    pub(super) fn find(&self, event: &EventId) -> Result<Known, Fault> {
        let index = keys::index_of(event);
        let view = &self.staged.view;
        let sealed = view.sealed(index.as_ref())?;
        let numbers = match &sealed {
            Some(sealed) => value::unseal(index.as_ref(), sealed)?.body.to_vec(),
            None => vec![],
        };
        let mut deliveries = vec![];
        if !numbers.is_empty() {
            for (destination, number) in self.staged.ids.get(event).into_iter().flatten() {
                if !self.is_gone(*number)? {
                    deliveries.push((destination.clone(), *number));
                }
            }
        }
        let staged: BTreeSet<u64> = deliveries.iter().map(|(_, number)| *number).collect();
        let open = self.staged.entry.as_ref().map_or(u64::MAX, |(first, _)| *first);
        let mut entry: Option<Entry> = None;
        for number in numbers.chunks_exact(8).filter_map(|bytes| bytes.first_chunk()) {
            let number = u64::from_le_bytes(*number);
            if number >= open || staged.contains(&number) || self.is_gone(number)? {
                continue;
            }
            if entry.as_ref().is_none_or(|entry| !entry.contains(number)) {
                entry = Entry::of(view, number)?;
            }
            let found = entry.as_ref().ok_or(Fault::Damaged("a delivery in the index is missing"))?;
            let head = found.head(number)?;
            if head.event == event.as_str() {
                deliveries.push((Name::from(head.destination), number));
            }
        }
        Ok(Known { index, numbers, deliveries })
    }
}
