//! The unfinished deliveries of one destination, as its owner keeps them in memory. Pure.
//!
//! Deliveries about the same subject form a *lane* and go out one after the other, in the order of their tokens. Only the
//! first of a lane can be due. A delivery that is held is in no lane until it is released.
//!
//! A million deliveries must fit into 80 MB, so each is a [`Slot`] of 52 bytes in one vector, found by its token and by its
//! lane through tables of slot numbers. A lane is a circular list through its slots: the table knows the last one, whose
//! link leads to the first. `ready` and `later` only hint at when a slot may be due. A hint is checked when its time
//! has come, so that nothing has to be searched for when a delivery moves.

mod held;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

use hashbrown::HashTable;

use self::held::Held;
use crate::{
    batch::BatchKey,
    store::{Pending, Restart, Standing, Token},
    time::Timestamp,
};

/// All deliveries that are not finished. All times are of one steady clock.
#[derive(Default)]
pub(super) struct Queue {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_token: HashTable<u32>,
    /// The last slot of each lane.
    lanes: HashTable<u32>,
    /// Slots that may be the first of their lanes, and due.
    ready: VecDeque<u32>,
    /// Slots that may be the first of their lanes, by when they are due.
    later: BinaryHeap<Reverse<(Timestamp, u32)>>,
    held: Held,
    /// The deliveries that a person gave a new start.
    restarts: HashMap<Token, Restart>,
    /// The latest time that was passed in.
    now: Timestamp,
}

/// A delivery. Packed: padding would take 4 MB of a million.
#[derive(Clone, Copy)]
#[repr(C, packed(4))]
struct Slot {
    token: Token,
    /// Hash of the subject. Two subjects with the same hash share a lane, and merely wait for each other.
    lane: u64,
    /// When it is due.
    at: Timestamp,
    created: Timestamp,
    sequence: u64,
    attempts: u32,
    /// In a lane: the next slot, or of the last slot the first one. Held: the number of its batch.
    link: u32,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum State {
    /// In its lane.
    Waiting,
    /// The first of its lane, and handed out.
    Taken,
    /// In a batch.
    Held,
    /// It has left its batch and is due when that is written down.
    Leaving,
}

/// A delivery that was handed out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Taken {
    pub(super) token: Token,
    pub(super) sequence: u64,
    /// When it was made.
    pub(super) created: Timestamp,
    /// How many attempts were made before.
    pub(super) attempts: u32,
    pub(super) restart: Option<Restart>,
}

/// How an entry of the feed moved a delivery.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Moved {
    /// The batch it was in, and is not any more.
    pub(super) left: Option<BatchKey>,
    /// Whether it is in a batch that it was not in before.
    pub(super) joined: bool,
}

impl Queue {
    /// How many deliveries are not finished.
    pub(super) fn len(&self) -> usize {
        self.by_token.len()
    }

    /// How many of them wait in batches.
    pub(super) fn held_len(&self) -> usize {
        self.held.len()
    }

    /// When the delivery that is next to go out became due; `None` when none is due.
    pub(super) fn due_since(&mut self) -> Option<Timestamp> {
        self.next().filter(|next| *next <= self.now)?;
        let place = self.ready.front().copied().or_else(|| Some(self.later.peek()?.0.1))?;
        Some(self.at(place))
    }

    /// Takes in how a delivery stands, whether it is new or known: if it is not held, it is due at `due`. One that is
    /// handed out stays so unless it is held now.
    pub(super) fn put(&mut self, pending: Pending, due: Timestamp, now: Timestamp) -> Moved {
        self.now = now;
        let Pending { token, subject, sequence, created, attempts, restart, standing, event: _, rule: _ } =
            pending;
        match restart {
            Some(restart) => self.restarts.insert(token, restart),
            None => self.restarts.remove(&token),
        };
        let (at, batch) = match standing {
            Standing::Due(_) => (due, None),
            Standing::Held(hold) => (hold.happened, Some(hold.batch)),
        };
        let known = self.find(token);
        if let Some(place) = known
            && self.state(place) == State::Taken
            && batch.is_none()
        {
            let slot = self.slot_mut(place);
            (slot.at, slot.attempts) = (at, attempts);
            return Moved::default();
        }
        let before = known.and_then(|place| self.batch_of(place).cloned());
        if let Some(place) = known
            && before.is_some()
            && before == batch
        {
            self.slot_mut(place).attempts = attempts;
            return Moved::default();
        }
        let state = State::Waiting;
        // An age computed once is kept: the wall clock may have been set since.
        let created = known.map_or(created, |place| self.slot(place).created);
        let slot = Slot { token, lane: hash_of(&subject), at, created, sequence, attempts, link: 0, state };
        let place = match known {
            Some(place) => {
                self.detach(place);
                *self.slot_mut(place) = slot;
                place
            }
            None => self.add(slot),
        };
        let joined = batch.is_some();
        match batch {
            Some(batch) => self.join(place, batch),
            None => self.enqueue(place),
        }
        Moved { left: before, joined }
    }

    /// Notes that a delivery that was handed out is finished. One that a person gave another standing meanwhile stays.
    pub(super) fn finish(&mut self, token: Token) {
        if self.find_in(token, State::Taken).is_some() {
            self.remove(token);
        }
    }

    /// Forgets a delivery; returns the batch it was in.
    pub(super) fn remove(&mut self, token: Token) -> Option<BatchKey> {
        let place = self.find(token)?;
        let batch = self.batch_of(place).cloned();
        self.detach(place);
        self.restarts.remove(&token);
        if let Ok(found) = self.by_token.find_entry(hash_of(token), |found| *found == place) {
            found.remove();
        }
        self.free.push(place);
        batch
    }

    /// Hands out deliveries that are due and the first of their lanes, at most `limit`.
    pub(super) fn take(&mut self, limit: usize, now: Timestamp) -> Vec<Taken> {
        self.now = now;
        while let Some(Reverse((at, place))) = self.later.peek().copied()
            && at <= now
        {
            self.later.pop();
            self.ready.push_back(place);
        }
        let mut taken = vec![];
        while taken.len() < limit
            && let Some(place) = self.ready.pop_front()
        {
            if self.is_due(place) {
                self.slot_mut(place).state = State::Taken;
                taken.push(self.taken(place));
            }
        }
        taken
    }

    /// When the next delivery can be taken, as far as time alone decides; a time that has passed means now.
    pub(super) fn next(&mut self) -> Option<Timestamp> {
        while let Some(place) = self.ready.front() {
            if self.is_due(*place) {
                return Some(self.now);
            }
            self.ready.pop_front();
        }
        while let Some(Reverse((at, place))) = self.later.peek().copied() {
            if self.is_first(place) && self.at(place) == at {
                return Some(at);
            }
            self.later.pop();
        }
        None
    }

    /// A delivery as it was handed out, with what has become known of it since; `None` when it is gone.
    pub(super) fn get(&self, token: Token) -> Option<Taken> {
        self.find(token).map(|place| self.taken(place))
    }

    /// Whether another delivery of its lane waits behind this one.
    pub(super) fn has_successor(&self, token: Token) -> bool {
        let in_lane = self.find(token).filter(|place| self.is_in_lane(*place));
        in_lane.is_some_and(|place| self.last_of(place) != Some(place))
    }

    /// Takes a delivery back that was handed out and not tried.
    pub(super) fn put_back(&mut self, token: Token) {
        if let Some(place) = self.find_in(token, State::Taken) {
            let Slot { attempts, at, .. } = self.slot(place);
            self.retry(token, attempts, at);
        }
    }

    /// Takes a delivery back that was handed out and not tried, and makes it due at `at`.
    pub(super) fn postpone(&mut self, token: Token, at: Timestamp) {
        if let Some(place) = self.find_in(token, State::Taken) {
            self.retry(token, self.slot(place).attempts, at);
        }
    }

    /// Makes a delivery that was handed out due again at `at`, with this many attempts made.
    pub(super) fn retry(&mut self, token: Token, attempts: u32, at: Timestamp) {
        if let Some(place) = self.find_in(token, State::Taken) {
            // Another one may have become the first meanwhile.
            self.dequeue(place);
            let slot = self.slot_mut(place);
            (slot.state, slot.attempts, slot.at) = (State::Waiting, attempts, at);
            self.enqueue(place);
        }
    }

    /// Puts a delivery that was handed out into a batch; whether it did.
    pub(super) fn hold(&mut self, token: Token, batch: BatchKey) -> bool {
        let place = self.find_in(token, State::Taken);
        if let Some(place) = place {
            self.dequeue(place);
            self.join(place, batch);
        }
        place.is_some()
    }

    /// The deliveries that wait in a batch, in the order of their tokens.
    pub(super) fn held(&self, batch: &BatchKey) -> Vec<Token> {
        self.held.tokens(batch)
    }

    /// Whether anything waits in a batch.
    pub(super) fn holds_any(&self, batch: &BatchKey) -> bool {
        self.held.has(batch)
    }

    /// Takes a delivery out of its batch, to be due with [`Queue::release`].
    pub(super) fn leave(&mut self, token: Token) {
        if let Some(place) = self.find_in(token, State::Held) {
            self.detach(place);
            self.slot_mut(place).state = State::Leaving;
        }
    }

    /// Makes a delivery that has left its batch due at `at`.
    pub(super) fn release(&mut self, token: Token, at: Timestamp) {
        if let Some(place) = self.find_in(token, State::Leaving) {
            let slot = self.slot_mut(place);
            (slot.state, slot.at) = (State::Waiting, at);
            self.enqueue(place);
        }
    }

    fn taken(&self, place: u32) -> Taken {
        let Slot { token, sequence, created, attempts, .. } = self.slot(place);
        let restart = self.restarts.get(&token).copied();
        Taken { token, sequence, created, attempts, restart }
    }

    fn slot(&self, place: u32) -> Slot {
        self.slots[place as usize]
    }

    fn token(&self, place: u32) -> Token {
        self.slots[place as usize].token
    }

    fn lane(&self, place: u32) -> u64 {
        self.slots[place as usize].lane
    }

    /// When it is due.
    fn at(&self, place: u32) -> Timestamp {
        self.slots[place as usize].at
    }

    fn link(&self, place: u32) -> u32 {
        self.slots[place as usize].link
    }

    fn state(&self, place: u32) -> State {
        self.slots[place as usize].state
    }

    fn slot_mut(&mut self, place: u32) -> &mut Slot {
        &mut self.slots[place as usize]
    }

    fn find(&self, token: Token) -> Option<u32> {
        self.by_token.find(hash_of(token), |place| self.token(*place) == token).copied()
    }

    fn find_in(&self, token: Token, state: State) -> Option<u32> {
        self.find(token).filter(|place| self.state(*place) == state)
    }

    fn add(&mut self, slot: Slot) -> u32 {
        let place = match self.free.pop() {
            Some(place) => {
                *self.slot_mut(place) = slot;
                place
            }
            None => {
                self.slots.push(slot);
                // 2³² deliveries do not fit into any memory.
                (self.slots.len() - 1) as u32
            }
        };
        let slots = &self.slots;
        self.by_token
            .insert_unique(hash_of(slot.token), place, |place| hash_of(slots[*place as usize].token));
        place
    }

    /// Takes a delivery out of its lane or batch.
    fn detach(&mut self, place: u32) {
        let Slot { state, token, link, .. } = self.slot(place);
        match state {
            State::Waiting | State::Taken => self.dequeue(place),
            State::Held => self.held.remove(link, token),
            State::Leaving => {}
        }
    }

    fn join(&mut self, place: u32, batch: BatchKey) {
        let number = self.held.add(batch, self.token(place));
        let slot = self.slot_mut(place);
        (slot.state, slot.link) = (State::Held, number);
    }

    fn batch_of(&self, place: u32) -> Option<&BatchKey> {
        let Slot { state, link, .. } = self.slot(place);
        if state == State::Held { self.held.key(link) } else { None }
    }

    fn is_in_lane(&self, place: u32) -> bool {
        matches!(self.state(place), State::Waiting | State::Taken)
    }

    /// The last of the lane that this slot would be in.
    fn last_of(&self, place: u32) -> Option<u32> {
        let lane = self.lane(place);
        self.lanes.find(lane, |last| self.lane(*last) == lane).copied()
    }

    /// Whether the slot's delivery waits, and is the first of its lane. The slot may be another delivery's by now, or
    /// nobody's.
    fn is_first(&self, place: u32) -> bool {
        self.state(place) == State::Waiting
            && self.last_of(place).is_some_and(|last| self.link(last) == place)
    }

    fn is_due(&self, place: u32) -> bool {
        self.is_first(place) && self.at(place) <= self.now
    }

    /// Puts a slot into its lane, by its token; behind the first one if that is handed out.
    fn enqueue(&mut self, place: u32) {
        let Slot { token, lane, .. } = self.slot(place);
        let Some(last) = self.last_of(place) else {
            self.slot_mut(place).link = place;
            let slots = &self.slots;
            self.lanes.insert_unique(lane, place, |last| slots[*last as usize].lane);
            return self.hint(place);
        };
        let first = self.link(last);
        let is_taken = self.state(first) == State::Taken;
        if token > self.token(last) || (is_taken && first == last) {
            self.slot_mut(place).link = first;
            self.slot_mut(last).link = place;
            self.set_last(lane, place);
            return;
        }
        let mut before = if is_taken { first } else { last };
        while self.token(self.link(before)) < token {
            before = self.link(before);
        }
        self.slot_mut(place).link = self.link(before);
        self.slot_mut(before).link = place;
        if before == last {
            self.hint(place);
        }
    }

    /// Takes a slot out of its lane. The next one may be due then.
    fn dequeue(&mut self, place: u32) {
        let Some(last) = self.last_of(place) else { return };
        let Slot { lane, link: next, .. } = self.slot(place);
        if next == place {
            if let Ok(found) = self.lanes.find_entry(lane, |last| *last == place) {
                found.remove();
            }
            return;
        }
        let mut before = last;
        while self.link(before) != place {
            before = self.link(before);
        }
        self.slot_mut(before).link = next;
        if before == last {
            self.hint(next);
        }
        if place == last {
            self.set_last(lane, before);
        }
    }

    fn set_last(&mut self, lane: u64, place: u32) {
        let slots = &self.slots;
        if let Some(last) = self.lanes.find_mut(lane, |last| { slots[*last as usize].lane } == lane) {
            *last = place;
        }
    }

    /// Notes that a slot has become the first of its lane.
    fn hint(&mut self, place: u32) {
        // Hints that were overtaken pile up when nothing is taken for long while people retry again and again.
        if self.ready.len() + self.later.len() > 2 * self.slots.len() + 64 {
            let mut firsts: Vec<u32> = self.lanes.iter().map(|last| self.link(*last)).collect();
            firsts.sort_unstable_by_key(|first| self.at(*first));
            self.ready.clear();
            self.later.clear();
            return firsts.into_iter().for_each(|first| self.push_hint(first));
        }
        self.push_hint(place);
    }

    fn push_hint(&mut self, place: u32) {
        let at = self.at(place);
        if at <= self.now { self.ready.push_back(place) } else { self.later.push(Reverse((at, place))) }
    }
}

fn hash_of(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
