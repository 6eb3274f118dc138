//! A store that forgets everything when it is dropped.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde_json::Value;
use tokio::{sync::Notify, time::Instant};

use super::{
    Action, Claim, Commit, Cursor, DeliveryId, DeliveryRecord, DeliveryStateKind, DestinationStanding, Duty,
    Entry, Feed, KnownCall, Merge, NewDelivery, Page, Pause, PauseChange, Position, Query, Settlement, Store,
    StoreError, Token, arrivals::Arrivals, forgotten::Forgotten,
};
use crate::{
    batch::BatchKey,
    call::CallId,
    event::{Event, EventId, Subject},
    name::Name,
    snapshot::Snapshot,
    time::Timestamp,
};

/// A store that forgets everything when it is dropped: for tests, demonstrations and previews.
///
/// It keeps as few indexes as it can, so that it is simple enough to show what a faster store has to answer. Several
/// handles can share it as several processes share a database: see [`MemoryStore::another_process`].
pub struct MemoryStore {
    shared: Arc<Shared>,
    /// Stands for the process of this handle: no two handles have the same.
    process: u64,
    closed: AtomicBool,
}

/// The state that all handles share.
struct Shared {
    state: Mutex<State>,
    arrivals: Arrivals,
    /// How long a claim holds unless it is renewed; `None` when there is one process only.
    lease: Option<Duration>,
}

#[derive(Default)]
struct State {
    processes: u64,
    claims: BTreeMap<Duty, Held>,
    snapshots: BTreeMap<Name, BTreeMap<CallId, Snapshot>>,
    checkpoints: BTreeMap<Duty, Value>,
    events: BTreeMap<EventId, Arc<Event>>,
    deliveries: BTreeMap<Token, DeliveryRecord>,
    last_token: u64,
    /// A destination has several deliveries of an event only when people sent it again.
    ids: BTreeSet<(DeliveryId, Token)>,
    /// For each destination, the tokens that changed, by the position of their last change.
    feeds: BTreeMap<Name, BTreeMap<Position, Token>>,
    /// For each token, the position of its last change.
    positions: BTreeMap<Token, Position>,
    last_position: u64,
    pauses: BTreeMap<Name, Pause>,
    ledgers: BTreeMap<(Name, BatchKey), Value>,
    memos: BTreeMap<(Name, Subject), (Timestamp, Value)>,
    forgotten: Forgotten,
}

/// The holder of a duty.
struct Held {
    epoch: u64,
    /// The process that holds the duty; `None` when it was given up.
    process: Option<u64>,
    /// When the claim ends unless it is renewed, by the store's clock; `None` when it never does.
    until: Option<Instant>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::sharing(Arc::new(Shared {
            state: Mutex::default(),
            arrivals: Arrivals::default(),
            lease: None,
        }))
    }
}

impl MemoryStore {
    /// An empty store for one process.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store for several processes, whose claims hold for `lease` unless they are renewed.
    pub fn with_lease(lease: Duration) -> Self {
        Self::sharing(Arc::new(Shared {
            state: Mutex::default(),
            arrivals: Arrivals::default(),
            lease: Some(lease),
        }))
    }

    /// The same store as another process sees it.
    pub fn another_process(&self) -> Self {
        Self::sharing(Arc::clone(&self.shared))
    }

    fn sharing(shared: Arc<Shared>) -> Self {
        let process = {
            let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.processes += 1;
            state.processes
        };
        Self { shared, process, closed: AtomicBool::new(false) }
    }

    fn state(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(StoreError::Closed);
        }
        // A panic cannot leave the state half changed, because every change below is complete before anything that
        // could panic.
        Ok(self.shared.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The state, for a write that carries `claim`. Fails when the claim is lost.
    fn owned(&self, claim: &Claim) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.state()?;
        let holds = |held: &Held| held.epoch == claim.epoch && held.process == Some(self.process);
        if state.claims.get(&claim.duty).is_some_and(holds) {
            Ok(state)
        } else {
            Err(StoreError::ClaimLost { duty: claim.duty.clone() })
        }
    }

    fn wake(&self, destinations: impl IntoIterator<Item = Name>) {
        destinations.into_iter().for_each(|destination| self.shared.arrivals.wake(&destination));
    }
}

impl State {
    fn commit(&mut self, duty: &Duty, mut commit: Commit) -> Result<BTreeSet<Name>, StoreError> {
        match duty {
            Duty::Source(source) => {
                self.forgotten.keep_out_of_commit(source, &mut commit);
                self.snapshots.entry(source.clone()).or_default().extend(commit.snapshots);
            }
            _ if commit.snapshots.is_empty() => {}
            _ => return Err(StoreError::Mistake("only a source has snapshots")),
        }
        let mut woken = BTreeSet::new();
        for new in commit.events {
            for delivery in new.deliveries {
                if self.add(&new.event, &delivery) {
                    woken.insert(delivery.destination);
                }
            }
        }
        if let Some(checkpoint) = commit.checkpoint {
            self.checkpoints.insert(duty.clone(), checkpoint);
        }
        Ok(woken)
    }

    /// Adds a delivery unless the destination has one of this event already; returns whether it did.
    fn add(&mut self, event: &Event, new: &NewDelivery) -> bool {
        let id = DeliveryId { event: event.id.clone(), destination: new.destination.clone() };
        let is_new = self.deliveries_of(&id).next().is_none();
        if is_new {
            self.add_another(event, new, id);
        }
        is_new
    }

    /// The deliveries of an event to a destination, the oldest first.
    fn deliveries_of(&self, id: &DeliveryId) -> impl Iterator<Item = &DeliveryRecord> {
        let tokens = self.ids.range((id.clone(), Token(0))..=(id.clone(), Token(u64::MAX)));
        tokens.filter_map(|(_, token)| self.deliveries.get(token))
    }

    /// Adds a delivery of an event, whether the destination has one or not.
    fn add_another(&mut self, event: &Event, new: &NewDelivery, id: DeliveryId) {
        self.events.entry(event.id.clone()).or_insert_with(|| Arc::new(event.clone()));
        self.last_token += 1;
        let token = Token(self.last_token);
        self.ids.insert((id, token));
        self.deliveries.insert(token, DeliveryRecord::new(token, new, event));
        self.feed_last(&new.destination, token);
    }

    /// Makes a new delivery of the event of one that exists; returns the destination that is told.
    fn resend(&mut self, token: Token, to: Option<&Name>, at: Timestamp) -> Option<Name> {
        let record = self.deliveries.get(&token)?;
        let own = &record.id.destination;
        let destination = to.unwrap_or(own).clone();
        if destination == *own && record.state.kind() != DeliveryStateKind::Delivered {
            return None;
        }
        let id = DeliveryId { event: record.id.event.clone(), destination: destination.clone() };
        if self.deliveries_of(&id).any(|record| record.finished().is_none()) {
            return None;
        }
        let sequence = self.deliveries_of(&id).last().map_or(0, |newest| newest.sequence);
        let event = Arc::clone(self.events.get(&id.event)?);
        let new = NewDelivery { destination: destination.clone(), sequence, created: at, hold: None };
        self.add_another(&event, &new, id);
        Some(destination)
    }

    /// Puts a delivery at the end of its destination's feed, so that the owner reads it again.
    fn feed_last(&mut self, destination: &Name, token: Token) {
        self.last_position += 1;
        let position = Position(self.last_position, 0);
        let feed = self.feeds.entry(destination.clone()).or_default();
        if let Some(before) = self.positions.insert(token, position) {
            feed.remove(&before);
        }
        feed.insert(position, token);
    }

    /// Removes a delivery from its destination's feed.
    fn unfeed(&mut self, destination: &Name, token: Token) {
        if let Some(position) = self.positions.remove(&token)
            && let Some(feed) = self.feeds.get_mut(destination)
        {
            feed.remove(&position);
        }
    }

    fn pending(&self, destination: &Name, after: Position, limit: usize) -> Feed {
        let feed = self.feeds.get(destination);
        let news = feed.into_iter().flat_map(|feed| feed.range((Bound::Excluded(after), Bound::Unbounded)));
        let mut page = Feed { entries: vec![], next: after, pause: self.pauses.get(destination).cloned() };
        for (position, token) in news {
            if page.entries.len() == limit {
                break;
            }
            page.next = *position;
            let pending = self.deliveries.get(token).and_then(DeliveryRecord::pending);
            page.entries.push(pending.map_or(Entry::Gone(*token), Entry::Unfinished));
        }
        page
    }

    /// Changes a delivery of the destination if it is there, and forgets its place in the feed when that finished it.
    fn change(&mut self, destination: &Name, token: Token, change: impl FnOnce(&mut DeliveryRecord) -> bool) {
        let Some(record) = self.deliveries.get_mut(&token).filter(|it| it.id.destination == *destination)
        else {
            return;
        };
        if change(record) && record.finished().is_some() {
            self.unfeed(destination, token);
        }
    }

    /// Carries out a settlement; returns whether the destination's feed has something new.
    fn settle(&mut self, destination: &Name, mut settlement: Settlement) -> Result<bool, StoreError> {
        settlement.check()?;
        self.forgotten.keep_out_of_settlement(&mut settlement);
        let Settlement { at, outcomes, holds, releases, forgets, merge, ledgers, memos, pause, lazy: _ } =
            settlement;
        for outcome in outcomes {
            self.change(destination, outcome.token, |record| {
                record.settle(outcome.number, outcome.attempt, outcome.verdict)
            });
        }
        for (token, batch) in holds {
            self.change(destination, token, |record| record.hold(batch));
        }
        for token in releases {
            self.change(destination, token, |record| record.release(at));
        }
        for token in forgets {
            let is_held = |record: &DeliveryRecord| {
                record.id.destination == *destination && record.waits_in().is_some()
            };
            if self.deliveries.get(&token).is_some_and(is_held) {
                self.forget(token);
            }
        }
        let merged = merge.is_some_and(|merge| self.merge(destination, at, merge));
        for (batch, ledger) in ledgers {
            let key = (destination.clone(), batch);
            match ledger {
                Some(ledger) => self.ledgers.insert(key, ledger),
                None => self.ledgers.remove(&key),
            };
        }
        for (lane, memo) in memos {
            let key = (destination.clone(), lane);
            match memo {
                Some(memo) => self.memos.insert(key, (at, memo)),
                None => self.memos.remove(&key),
            };
        }
        match pause {
            Some(PauseChange::Begin(pause)) => {
                self.pause(destination, pause);
            }
            Some(PauseChange::End) => {
                self.pauses.remove(destination);
            }
            None => {}
        }
        Ok(merged)
    }

    fn merge(&mut self, destination: &Name, at: Timestamp, merge: Merge) -> bool {
        let Merge { tokens, event, sequence } = merge;
        let new = NewDelivery { destination: destination.clone(), sequence, created: at, hold: None };
        if !self.add(&event, &new) {
            return false;
        }
        for token in tokens {
            self.change(destination, token, |record| record.merge(at, event.id.clone()));
        }
        true
    }

    fn pause(&mut self, destination: &Name, pause: Pause) -> bool {
        let begins = self.pauses.get(destination).is_none_or(|now| pause.outlasts(now));
        if begins {
            self.pauses.insert(destination.clone(), pause);
        }
        begins
    }

    /// Forgets a delivery, and its event when no other delivery tells it; returns its destination.
    fn forget(&mut self, token: Token) -> Option<Name> {
        let record = self.deliveries.remove(&token)?;
        self.unfeed(&record.id.destination, token);
        self.ids.remove(&(record.id.clone(), token));
        let first = DeliveryId { event: record.id.event.clone(), destination: "".into() };
        let mut of_event = self.ids.range((first, Token(0))..);
        if of_event.next().map(|(id, _)| &id.event) != Some(&record.id.event) {
            self.events.remove(&record.id.event);
        }
        Some(record.id.destination)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn claim(&self, duty: &Duty) -> Result<Option<Claim>, StoreError> {
        let mut state = self.state()?;
        let now = Instant::now();
        let lease = self.shared.lease;
        let held = state.claims.entry(duty.clone()).or_insert(Held { epoch: 0, process: None, until: None });
        if held.process != Some(self.process) {
            if held.process.is_some() && held.until.is_none_or(|until| until > now) {
                return Ok(None);
            }
            held.epoch += 1;
            held.process = Some(self.process);
        }
        held.until = lease.map(|lease| now + lease);
        Ok(Some(Claim { duty: duty.clone(), epoch: held.epoch, lease }))
    }

    async fn give_up(&self, claim: Claim) -> Result<(), StoreError> {
        match self.owned(&claim) {
            Ok(mut state) => {
                if let Some(held) = state.claims.get_mut(&claim.duty) {
                    held.process = None;
                }
                Ok(())
            }
            Err(StoreError::ClaimLost { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn commit(&self, claim: &Claim, commit: Commit) -> Result<(), StoreError> {
        let woken = self.owned(claim)?.commit(&claim.duty, commit)?;
        self.wake(woken);
        Ok(())
    }

    async fn snapshots(&self, source: &Name, calls: &[CallId]) -> Result<Vec<Option<Snapshot>>, StoreError> {
        let state = self.state()?;
        let known = state.snapshots.get(source);
        Ok(calls.iter().map(|call| known.and_then(|known| known.get(call)).cloned()).collect())
    }

    async fn known(
        &self,
        source: &Name,
        after: Option<&CallId>,
        limit: usize,
    ) -> Result<Vec<KnownCall>, StoreError> {
        let state = self.state()?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let page = state
            .snapshots
            .get(source)
            .into_iter()
            .flat_map(|known| known.range::<CallId, _>((from, Bound::Unbounded)));
        Ok(page.take(limit).map(|(id, snapshot)| KnownCall::of(id.clone(), snapshot)).collect())
    }

    async fn checkpoint(&self, duty: &Duty) -> Result<Option<Value>, StoreError> {
        Ok(self.state()?.checkpoints.get(duty).cloned())
    }

    async fn pending(&self, claim: &Claim, after: Position, limit: usize) -> Result<Feed, StoreError> {
        match &claim.duty {
            Duty::Destination(destination) => Ok(self.owned(claim)?.pending(destination, after, limit)),
            _ => Err(StoreError::Mistake("only a destination has a feed")),
        }
    }

    async fn bodies(&self, tokens: &[Token]) -> Result<Vec<Option<Arc<Event>>>, StoreError> {
        let state = self.state()?;
        let body = |token| Some(Arc::clone(state.events.get(&state.deliveries.get(token)?.id.event)?));
        Ok(tokens.iter().map(body).collect())
    }

    async fn memos(&self, destination: &Name, lanes: &[Subject]) -> Result<Vec<Option<Value>>, StoreError> {
        let state = self.state()?;
        let memo = |lane: &Subject| Some(state.memos.get(&(destination.clone(), lane.clone()))?.1.clone());
        Ok(lanes.iter().map(memo).collect())
    }

    async fn ledgers(&self, destination: &Name) -> Result<BTreeMap<BatchKey, Value>, StoreError> {
        let state = self.state()?;
        let of_it = state.ledgers.iter().filter(|((name, _), _)| name == destination);
        Ok(of_it.map(|((_, batch), ledger)| (batch.clone(), ledger.clone())).collect())
    }

    async fn settle(&self, claim: &Claim, settlement: Settlement) -> Result<(), StoreError> {
        let Duty::Destination(destination) = &claim.duty else {
            return Err(StoreError::Mistake("only deliveries of a destination are settled"));
        };
        if self.owned(claim)?.settle(destination, settlement)? {
            self.wake([destination.clone()]);
        }
        Ok(())
    }

    fn arrivals(&self, destination: &Name) -> Arc<Notify> {
        self.shared.arrivals.of(destination)
    }

    async fn destinations(&self) -> Result<BTreeMap<Name, DestinationStanding>, StoreError> {
        let state = self.state()?;
        let mut all: BTreeMap<Name, DestinationStanding> = BTreeMap::new();
        for record in state.deliveries.values() {
            all.entry(record.id.destination.clone()).or_default().tally.add(&record.state);
        }
        for (destination, pause) in &state.pauses {
            all.entry(destination.clone()).or_default().pause = Some(pause.clone());
        }
        Ok(all)
    }

    async fn query(&self, query: &Query) -> Result<Page<DeliveryRecord>, StoreError> {
        let state = self.state()?;
        let until = query.after.map_or(Bound::Unbounded, |Cursor(token)| Bound::Excluded(token));
        let newest_first = state.deliveries.range((Bound::Unbounded, until)).rev().map(|(_, record)| record);
        let mut matching = newest_first.filter(|record| query.filter.matches(record));
        let items: Vec<_> = matching.by_ref().take(query.limit).cloned().collect();
        let next = items.last().filter(|_| matching.next().is_some()).map(|record| Cursor(record.token));
        Ok(Page { items, next })
    }

    async fn act(&self, action: Action) -> Result<usize, StoreError> {
        let mut state = self.state()?;
        let mut woken = BTreeSet::new();
        let count = match action {
            Action::Retry { tokens, at } => {
                let mut count = 0;
                for token in BTreeSet::from_iter(tokens) {
                    let Some(record) = state.deliveries.get_mut(&token) else { continue };
                    if record.retry(at) {
                        let destination = record.id.destination.clone();
                        state.feed_last(&destination, token);
                        woken.insert(destination);
                        count += 1;
                    }
                }
                count
            }
            Action::Resend { tokens, to, at } => {
                let told: Vec<_> = BTreeSet::from_iter(tokens)
                    .into_iter()
                    .filter_map(|token| state.resend(token, to.as_ref(), at))
                    .collect();
                let count = told.len();
                woken.extend(told);
                count
            }
            Action::Drop { tokens } => {
                let mut count = 0;
                for token in tokens {
                    if let Some(destination) = state.forget(token) {
                        state.feed_last(&destination, token);
                        woken.insert(destination);
                        count += 1;
                    }
                }
                count
            }
            Action::Forget { calls, tokens, events } => {
                for (source, call) in &calls {
                    state.forgotten.add(source, call);
                    let known = state.snapshots.get_mut(source).and_then(|known| known.get_mut(call));
                    known.into_iter().for_each(Snapshot::forget);
                    let lane = Subject::Call { source: source.clone(), call: call.clone() };
                    state.memos.retain(|(_, of), _| *of != lane);
                }
                for event in events {
                    state.events.entry(event.id.clone()).and_modify(|stored| *stored = Arc::new(event));
                }
                let mut count = 0;
                for token in tokens {
                    if let Some(destination) = state.forget(token) {
                        state.feed_last(&destination, token);
                        woken.insert(destination);
                        count += 1;
                    }
                }
                count
            }
            Action::Pause { destination, pause } => {
                let begins = state.pause(&destination, pause);
                woken.insert(destination);
                usize::from(begins)
            }
            Action::Resume { destination } => {
                let ended = state.pauses.remove(&destination).is_some();
                woken.insert(destination);
                usize::from(ended)
            }
        };
        drop(state);
        self.wake(woken);
        Ok(count)
    }

    async fn purge(&self, claim: &Claim, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let mut state = self.owned(claim)?;
        let old = |record: &DeliveryRecord| record.finished().is_some_and(|at| at < before);
        let old: Vec<_> = state
            .deliveries
            .values()
            .filter(|record| old(record))
            .map(|record| record.token)
            .take(limit)
            .collect();
        state.memos.retain(|_, (at, _)| *at >= before);
        Ok(old.into_iter().filter_map(|token| state.forget(token)).count())
    }

    async fn shrink(&self, claim: &Claim, source: &Name, before: Timestamp) -> Result<(), StoreError> {
        let mut state = self.owned(claim)?;
        let known = state.snapshots.entry(source.clone()).or_default();
        known.values_mut().filter(|snapshot| snapshot.is_settled(before)).for_each(Snapshot::shrink);
        Ok(())
    }

    async fn close(&self) -> Result<(), StoreError> {
        let mut state = self.state()?;
        for held in state.claims.values_mut().filter(|held| held.process == Some(self.process)) {
            held.process = None;
        }
        self.closed.store(true, Ordering::Relaxed);
        Ok(())
    }
}
