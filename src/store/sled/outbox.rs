//! Deliveries as known without reading the disk: which are unfinished, how they differ from their heads, and how many
//! each destination has in each state. The memory it takes does not grow with finished deliveries.

use std::collections::{BTreeMap, VecDeque};

use roaring::RoaringTreemap;

use super::{
    block::{Changed, Places, StoredBlock, Sums},
    change::{Change, Follows, Stage},
    entry::{Head, to_batch},
    fault::Fault,
    keys::{block_of, number_of, numbers_of, place_of},
};
use crate::{
    name::Name,
    store::{DeliveryStateKind, Restart, Tally},
    time::{Deadline, Timestamp},
};

const NOT_AT_HAND: Fault = Fault::Damaged("the counts of a block are missing");

/// All destinations, and the blocks that are held in memory.
#[derive(Default)]
pub(super) struct Outbox {
    pub(super) destinations: BTreeMap<Name, Destination>,
    /// Unfinished deliveries that differ from their heads.
    changed: BTreeMap<u64, Changed>,
    /// The newest block, those changed since they were written, and any that were needed since the last fold.
    blocks: BTreeMap<u64, Sums>,
}

/// A destination's unfinished deliveries, its counts, and the acts of people that its owner has yet to read.
#[derive(Default)]
pub(super) struct Destination {
    pending: RoaringTreemap,
    held: RoaringTreemap,
    pub(super) tally: Tally,
    pub(super) acts: Acts,
}

/// Deliveries that people changed since the destination's owner began to read its feed, in their order.
#[derive(Default)]
pub(super) struct Acts {
    is_read: bool,
    last: u64,
    changed: VecDeque<(u64, u64)>,
}

impl Acts {
    /// The owner begins to read its feed. Earlier changes are part of what it reads, so they are dropped.
    pub(super) fn begin(&mut self) -> u64 {
        self.is_read = true;
        self.changed.clear();
        self.last
    }

    /// The owner has ended, so changes need not be noted any more.
    pub(super) fn end(&mut self) {
        self.is_read = false;
        self.changed = VecDeque::new();
    }

    /// Notes that a person changed a delivery.
    pub(super) fn note(&mut self, number: u64) {
        if self.is_read {
            self.last += 1;
            self.changed.push_back((self.last, number));
        }
    }

    /// The deliveries that were changed after `after`. Those changed before have been read, and are dropped.
    pub(super) fn since(&mut self, after: u64) -> impl Iterator<Item = (u64, u64)> {
        while self.changed.front().is_some_and(|(act, _)| *act <= after) {
            self.changed.pop_front();
        }
        self.changed.iter().copied()
    }
}

impl Destination {
    fn unfinished_in(&self, block: u64) -> (Places, Places) {
        let places = |of: &RoaringTreemap| {
            let mut numbers = of.iter();
            let range = numbers_of(block);
            numbers.advance_to(range.start);
            numbers.take_while(|number| *number < range.end).map(place_of).collect()
        };
        (places(&self.pending), places(&self.held))
    }

    /// Whether a delivery is pending or held; `None` when it is finished, or of another destination.
    pub(super) fn standing(&self, number: u64) -> Option<DeliveryStateKind> {
        if self.pending.contains(number) {
            Some(DeliveryStateKind::Pending)
        } else {
            self.held.contains(number).then_some(DeliveryStateKind::Held)
        }
    }

    /// The first unfinished deliveries after `after`, in their order.
    pub(super) fn unfinished(&self, after: u64, most: usize) -> Vec<u64> {
        let from = |of: &RoaringTreemap| {
            let mut numbers = of.iter();
            numbers.advance_to(after + 1);
            numbers.take(most).collect::<Vec<_>>()
        };
        let (mut all, held) = (from(&self.pending), from(&self.held));
        all.extend(held);
        all.sort_unstable();
        all.truncate(most);
        all
    }
}

impl Outbox {
    /// The first unfinished delivery whose number is at least `number`.
    pub(super) fn unfinished_from(&self, number: u64) -> Option<u64> {
        let first = |of: &RoaringTreemap| {
            let mut numbers = of.iter();
            numbers.advance_to(number);
            numbers.next()
        };
        self.destinations.values().flat_map(|of| [first(&of.pending), first(&of.held)]).flatten().min()
    }

    /// Takes over a block as it was written.
    pub(super) fn load(&mut self, block: u64, stored: StoredBlock) -> Sums {
        for (name, tally) in &stored.sums.tallies {
            let all = &mut self.of(name).tally;
            all.pending += tally.pending;
            all.held += tally.held;
            all.merged += tally.merged;
            all.delivered += tally.delivered;
            all.dead += tally.dead;
        }
        for (name, pending, held) in &stored.unfinished {
            let of = self.of(name);
            of.pending.extend(pending.iter().map(|place| number_of(block, place)));
            of.held.extend(held.iter().map(|place| number_of(block, place)));
        }
        let changed = stored.changed.into_iter();
        self.changed.extend(changed.map(|(place, changed)| (number_of(block, place), changed)));
        stored.sums
    }

    /// A block in the form that is written to disk.
    pub(super) fn store(&self, block: u64, through: u64, end: u64) -> Option<StoredBlock> {
        let sums = self.blocks.get(&block)?.clone();
        let mut unfinished = vec![];
        for (name, tally) in &sums.tallies {
            if let Some(of) = self.destinations.get(name).filter(|_| tally.unfinished() > 0) {
                let (pending, held) = of.unfinished_in(block);
                unfinished.push((name.clone(), pending, held));
            }
        }
        let changed = self.changed.range(numbers_of(block));
        let changed = changed.map(|(number, changed)| (place_of(*number), changed.clone())).collect();
        Some(StoredBlock { through, end, sums, unfinished, changed })
    }

    /// A block that is in memory.
    pub(super) fn block(&self, block: u64) -> Option<&Sums> {
        self.blocks.get(&block)
    }

    /// The numbers of the blocks in memory.
    pub(super) fn blocks(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.blocks.keys().copied()
    }

    /// Keeps a block in memory.
    pub(super) fn keep_block(&mut self, block: u64, sums: Sums) {
        self.blocks.entry(block).or_insert(sums);
    }

    /// Drops a block from memory that is on disk as it is.
    pub(super) fn drop_block(&mut self, block: u64) {
        self.blocks.remove(&block);
    }

    /// Drops all blocks from memory but one.
    pub(super) fn keep_only(&mut self, block: u64) {
        self.blocks.retain(|at_hand, _| *at_hand == block);
    }

    /// Begins a block that has no deliveries yet, unless it is in memory. A block that is on disk must not be begun
    /// anew, since its counts would be written over.
    pub(super) fn begin_block(&mut self, block: u64) {
        self.blocks.entry(block).or_default();
    }

    /// A block that is in memory, to be changed.
    ///
    /// # Errors
    /// When it is not in memory: a change of counts that start from nothing would lose what is on disk.
    pub(super) fn block_mut(&mut self, block: u64) -> Result<&mut Sums, Fault> {
        self.blocks.get_mut(&block).ok_or(NOT_AT_HAND)
    }

    pub(super) fn of(&mut self, destination: &Name) -> &mut Destination {
        self.destinations.entry(destination.clone()).or_default()
    }

    /// How an unfinished delivery differs from its head.
    pub(super) fn changed(&self, number: u64) -> Option<&Changed> {
        self.changed.get(&number)
    }

    /// The state of a delivery in the block with these counts; `None` when it was forgotten.
    pub(super) fn stage(&self, sums: &Sums, destination: &str, number: u64) -> Option<DeliveryStateKind> {
        let place = place_of(number);
        let standing = self.destinations.get(destination).and_then(|of| of.standing(number));
        let finished = || match () {
            () if sums.gone.contains(place) => None,
            () if sums.dead.contains(place) => Some(DeliveryStateKind::Dead),
            () if sums.merged.contains(place) => Some(DeliveryStateKind::Merged),
            () => Some(DeliveryStateKind::Delivered),
        };
        standing.or_else(finished)
    }

    /// Adds a delivery before its first attempt to a block that is in memory.
    pub(super) fn add(&mut self, number: u64, destination: &Name, is_held: bool) -> Result<(), Fault> {
        let stage = if is_held { Stage::Held } else { Stage::Pending };
        let of = self.of(destination);
        if is_held {
            of.held.insert(number)
        } else {
            of.pending.insert(number)
        };
        *count(&mut of.tally, stage) += 1;
        let sums = self.block_mut(block_of(number))?;
        *count(sums.tallies.entry(destination.clone()).or_default(), stage) += 1;
        Ok(())
    }

    /// Adds a delivery whose head was read.
    pub(super) fn add_head(&mut self, number: u64, head: &Head<'_>) -> Result<(), Fault> {
        self.block_mut(block_of(number))?.traits.add(head);
        self.add(number, &head.destination.into(), head.hold.is_some())
    }

    /// Carries out a change in a block that is in memory; returns whether it fits the delivery. A change that does not
    /// fit is skipped, so that all of this can be repeated.
    pub(super) fn carry_out(
        &mut self,
        number: u64,
        destination: &Name,
        change: &Change<'_>,
    ) -> Result<bool, Fault> {
        let stage =
            self.block(block_of(number)).and_then(|sums| self.stage(sums, destination.as_str(), number));
        let Some(stage) = stage.map(Stage::from) else { return Ok(false) };
        let mut changed = self.changed.get(&number).cloned().unwrap_or_default();
        let (from, to) = match (change, stage) {
            (Change::Attempt { at, took_ms, verdict, .. }, Stage::Pending) => {
                let at = at.after(std::time::Duration::from_millis(*took_ms));
                changed.attempts = changed.attempts.saturating_add(1);
                let to = match verdict {
                    Follows::Delivered => Stage::Delivered,
                    Follows::Dead(_) => Stage::Dead,
                    Follows::Retry(due) => {
                        changed.due = Deadline::at(at, *due);
                        Stage::Pending
                    }
                };
                if to != Stage::Pending {
                    self.finished(number, at)?;
                }
                (Stage::Pending, Some(to))
            }
            (Change::Hold { batch }, from @ (Stage::Pending | Stage::Held)) => {
                changed.batch = Some(Box::new(to_batch(batch)?));
                (from, Some(Stage::Held))
            }
            (Change::Release { at }, Stage::Held) => {
                (changed.due, changed.batch) = (Deadline::at_once(*at), None);
                (Stage::Held, Some(Stage::Pending))
            }
            (Change::Merge { at, .. }, Stage::Held) => {
                self.finished(number, *at)?;
                (Stage::Held, Some(Stage::Merged))
            }
            (Change::Retry { at, attempts, was }, stage) if stage == *was => {
                let restart = Some(Box::new(Restart { at: *at, attempts: *attempts }));
                let due = Deadline::at_once(*at);
                changed = Changed { attempts: *attempts, due, restart, batch: None };
                (*was, Some(Stage::Pending))
            }
            (Change::Forget { was }, stage) if stage == *was => (stage, None),
            _ => return Ok(false),
        };
        self.shift(number, destination, from, to)?;
        match to {
            Some(Stage::Pending | Stage::Held) => drop(self.changed.insert(number, changed)),
            _ => drop(self.changed.remove(&number)),
        }
        Ok(true)
    }

    /// Forgets a finished delivery that has been kept long enough.
    pub(super) fn purge(
        &mut self,
        number: u64,
        destination: &Name,
        state: DeliveryStateKind,
    ) -> Result<(), Fault> {
        self.shift(number, destination, state.into(), None)
    }

    /// Moves a delivery from one state to another, or to none.
    fn shift(
        &mut self,
        number: u64,
        destination: &Name,
        from: Stage,
        to: Option<Stage>,
    ) -> Result<(), Fault> {
        let of = self.of(destination);
        match from {
            Stage::Pending => drop(of.pending.remove(number)),
            Stage::Held => drop(of.held.remove(number)),
            _ => {}
        }
        match to {
            Some(Stage::Pending) => drop(of.pending.insert(number)),
            Some(Stage::Held) => drop(of.held.insert(number)),
            _ => {}
        }
        let sums = self.blocks.get_mut(&block_of(number)).ok_or(NOT_AT_HAND)?;
        let place = place_of(number);
        for (stage, places) in [(Stage::Dead, &mut sums.dead), (Stage::Merged, &mut sums.merged)] {
            if from == stage {
                places.remove(place);
            }
            if to == Some(stage) {
                places.insert(place);
            }
        }
        if to.is_none() {
            sums.gone.insert(place);
        }
        let in_block = sums.tallies.entry(destination.clone()).or_default();
        let of = self.destinations.entry(destination.clone()).or_default();
        for tally in [&mut of.tally, in_block] {
            let before = count(tally, from);
            *before = before.saturating_sub(1);
            if let Some(to) = to {
                *count(tally, to) += 1;
            }
        }
        if *in_block == Tally::default() {
            sums.tallies.remove(destination);
        }
        if of.tally == Tally::default() && !of.acts.is_read {
            self.destinations.remove(destination);
        }
        Ok(())
    }

    fn finished(&mut self, number: u64, at: Timestamp) -> Result<(), Fault> {
        let oldest = &mut self.block_mut(block_of(number))?.oldest;
        *oldest = Some(oldest.map_or(at, |oldest| oldest.min(at)));
        Ok(())
    }
}

fn count(tally: &mut Tally, stage: Stage) -> &mut u64 {
    match stage {
        Stage::Pending => &mut tally.pending,
        Stage::Held => &mut tally.held,
        Stage::Merged => &mut tally.merged,
        Stage::Delivered => &mut tally.delivered,
        Stage::Dead => &mut tally.dead,
    }
}
