use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::Notify;

use super::{
    Commit, DeliveryFilter, DeliveryId, DeliveryRecord, Held, KnownCall, Lease, LeaseRequest, Leased, Merge,
    Outcome, Pause, Sorting, Store, StoreError, Tally, arrivals::Arrivals,
};
use crate::{
    batch::BatchKey,
    call::CallId,
    event::{Event, EventId},
    name::Name,
    snapshot::Snapshot,
    time::Timestamp,
};

/// A store that forgets everything when it is dropped: for tests, demonstrations and previews.
///
/// It keeps no index it could do without, so that it also says what is right where another store is fast.
#[derive(Default)]
pub struct MemoryStore {
    state: Mutex<State>,
    arrivals: Arrivals,
}

#[derive(Default)]
struct State {
    closed: bool,
    snapshots: BTreeMap<Name, BTreeMap<CallId, Snapshot>>,
    checkpoints: BTreeMap<Name, Value>,
    events: BTreeMap<EventId, Arc<Event>>,
    deliveries: BTreeMap<DeliveryId, DeliveryRecord>,
    /// The pending deliveries of each destination and lane in their order.
    pending: BTreeMap<Name, BTreeMap<Lane, BTreeSet<(u64, EventId)>>>,
    leases: BTreeMap<DeliveryId, Timestamp>,
    pauses: BTreeMap<Name, Pause>,
    ledgers: BTreeMap<Name, BTreeMap<BatchKey, Value>>,
}

/// A source, and what of it: see [`DeliveryRecord::lane`].
type Lane = (Name, String);

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        // Every change below is complete before anything that could panic.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed { Err(StoreError::Closed) } else { Ok(state) }
    }
}

impl State {
    fn commit(&mut self, commit: Commit) -> Result<BTreeSet<Name>, StoreError> {
        let brought: BTreeSet<_> = commit.events.iter().map(|event| &event.id).collect();
        if let Some(orphan) = commit.deliveries.iter().find(|delivery| {
            !brought.contains(&delivery.id.event) && !self.events.contains_key(&delivery.id.event)
        }) {
            return Err(StoreError::UnknownEvent(orphan.id.clone()));
        }
        self.snapshots.entry(commit.source.clone()).or_default().extend(commit.snapshots);
        for event in commit.events {
            self.events.entry(event.id.clone()).or_insert_with(|| Arc::new(event));
        }
        let mut added = BTreeSet::new();
        for delivery in commit.deliveries {
            let Some(event) = self.events.get(&delivery.id.event) else { continue };
            if self.deliveries.contains_key(&delivery.id) {
                continue;
            }
            let record = DeliveryRecord::new(delivery, event);
            added.insert(record.id.destination.clone());
            self.put(record);
        }
        if let Some(checkpoint) = commit.checkpoint {
            self.checkpoints.insert(commit.source, checkpoint);
        }
        Ok(added)
    }

    fn lane(&mut self, record: &DeliveryRecord) -> &mut BTreeSet<(u64, EventId)> {
        let (destination, source, call) = record.lane();
        let lanes = self.pending.entry(destination.clone()).or_default();
        lanes.entry((source.into(), call.into_owned())).or_default()
    }

    /// Adds a delivery, or replaces it by what has become of it.
    fn put(&mut self, record: DeliveryRecord) {
        let place = (record.sequence, record.id.event.clone());
        let lane = self.lane(&record);
        if record.due().is_some() {
            lane.insert(place)
        } else {
            lane.remove(&place)
        };
        self.deliveries.insert(record.id.clone(), record);
    }

    fn lease(&mut self, request: &LeaseRequest) -> Leased {
        if let Some(pause) = self.pauses.get(&request.destination).filter(|pause| !pause.is_over(request.now))
        {
            return Leased { deliveries: vec![], next_due: pause.until, pause: Some(pause.clone()) };
        }
        self.leases.retain(|id, until| id.destination != request.destination || *until > request.now);
        let mut waiting: Vec<(Timestamp, DeliveryId)> = vec![];
        let mut next_due: Option<Timestamp> = None;
        for (_, event) in
            self.pending.get(&request.destination).into_iter().flatten().filter_map(|(_, lane)| lane.first())
        {
            let id = DeliveryId { event: event.clone(), destination: request.destination.clone() };
            let Some(due) = self.deliveries.get(&id).and_then(DeliveryRecord::due) else { continue };
            match self.leases.get(&id) {
                Some(until) => next_due = earlier(next_due, due.max(*until)),
                None => waiting.push((due, id)),
            }
        }
        waiting.sort();
        let mut leased = Leased::default();
        for (due, id) in waiting {
            let (Some(record), Some(event)) = (self.deliveries.get(&id), self.events.get(&id.event)) else {
                continue;
            };
            if due > request.now || leased.deliveries.len() >= request.limit {
                next_due = earlier(next_due, due);
                break;
            }
            leased.deliveries.push(Lease {
                id: id.clone(),
                event: Arc::clone(event),
                sequence: record.sequence,
                created: record.created,
                attempts: record.attempts,
                restart: record.restart,
            });
            self.leases.insert(id, request.until);
        }
        leased.next_due = next_due;
        leased
    }

    fn settle(&mut self, outcome: Outcome) {
        let Some(mut record) =
            self.deliveries.get(&outcome.id).filter(|record| record.due().is_some()).cloned()
        else {
            return;
        };
        self.leases.remove(&outcome.id);
        record.settle(outcome.attempt, outcome.verdict);
        self.put(record);
    }

    /// Changes a delivery if it is there; says whether it is and `change` did.
    fn change(&mut self, id: &DeliveryId, change: impl FnOnce(&mut DeliveryRecord) -> bool) -> bool {
        let Some(mut record) = self.deliveries.get(id).cloned() else { return false };
        let changed = change(&mut record);
        if changed {
            self.put(record);
        }
        changed
    }

    fn held<'s>(
        &'s self,
        destination: &'s Name,
        batch: &'s BatchKey,
    ) -> impl Iterator<Item = &'s DeliveryRecord> {
        let records = self.deliveries.values().filter(move |record| record.id.destination == *destination);
        records.filter(move |record| record.waits_in() == Some(batch))
    }

    /// Says whether anything became due or was put into a batch.
    fn sort(&mut self, sorting: Sorting) -> Result<bool, StoreError> {
        let Sorting { destination, now, hold, send, forget, merge, ledgers } = sorting;
        let id = |event| DeliveryId { event, destination: destination.clone() };
        let merge = merge.filter(|merge| !self.deliveries.contains_key(&merge.delivery.id));
        if let Some(Merge { event, delivery, .. }) = &merge
            && delivery.id.event != event.id
        {
            return Err(StoreError::UnknownEvent(delivery.id.clone()));
        }
        let mut moved = merge.is_some();
        for (event, batch) in hold {
            let id = id(event);
            if self.change(&id, |record| record.hold(batch)) {
                self.leases.remove(&id);
                moved = true;
            }
        }
        for event in send {
            moved |= self.change(&id(event), |record| record.send(now));
        }
        for id in forget.into_iter().map(id) {
            if self.deliveries.get(&id).is_some_and(|record| record.waits_in().is_some()) {
                self.forget(&id);
            }
        }
        if let Some(Merge { batches, event, delivery }) = merge {
            for batch in &batches {
                let members: Vec<_> = self.held(&destination, batch).cloned().collect();
                for mut record in members {
                    record.merge(now, event.id.clone());
                    self.put(record);
                }
            }
            self.put(DeliveryRecord::new(delivery, &event));
            self.events.entry(event.id.clone()).or_insert_with(|| Arc::new(event));
        }
        let known = self.ledgers.entry(destination).or_default();
        for (batch, ledger) in ledgers {
            match ledger {
                Some(ledger) => known.insert(batch, ledger),
                None => known.remove(&batch),
            };
        }
        Ok(moved)
    }

    fn forget(&mut self, id: &DeliveryId) -> bool {
        let Some(record) = self.deliveries.remove(id) else { return false };
        self.leases.remove(id);
        self.lane(&record).remove(&(record.sequence, id.event.clone()));
        if !self.deliveries.keys().any(|other| other.event == id.event) {
            self.events.remove(&id.event);
        }
        true
    }

    fn purge(&mut self, before: Timestamp, limit: usize) -> usize {
        let mut old: Vec<_> = self
            .deliveries
            .values()
            .filter_map(|record| Some((record.finished()?, record.id.clone())))
            .filter(|(finished, _)| *finished < before)
            .collect();
        old.sort();
        old.truncate(limit);
        old.iter().filter(|(_, id)| self.forget(id)).count()
    }
}

fn earlier(a: Option<Timestamp>, b: Timestamp) -> Option<Timestamp> {
    Some(a.map_or(b, |a| a.min(b)))
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        let added = self.state()?.commit(commit)?;
        added.iter().for_each(|destination| self.arrivals.wake(destination));
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

    async fn checkpoint(&self, source: &Name) -> Result<Option<Value>, StoreError> {
        Ok(self.state()?.checkpoints.get(source).cloned())
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<Leased, StoreError> {
        Ok(self.state()?.lease(request))
    }

    async fn settle(&self, outcomes: Vec<Outcome>) -> Result<(), StoreError> {
        let mut state = self.state()?;
        outcomes.into_iter().for_each(|outcome| state.settle(outcome));
        Ok(())
    }

    async fn release(&self, deliveries: Vec<DeliveryId>) -> Result<(), StoreError> {
        let mut state = self.state()?;
        for id in &deliveries {
            state.leases.remove(id);
        }
        Ok(())
    }

    fn arrivals(&self, destination: &Name) -> Arc<Notify> {
        self.arrivals.of(destination)
    }

    async fn tally(&self) -> Result<BTreeMap<Name, Tally>, StoreError> {
        let mut tallies: BTreeMap<Name, Tally> = BTreeMap::new();
        for record in self.state()?.deliveries.values() {
            tallies.entry(record.id.destination.clone()).or_default().add(&record.state);
        }
        Ok(tallies)
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        after: Option<&DeliveryId>,
        limit: usize,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        let state = self.state()?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let page = state.deliveries.range::<DeliveryId, _>((from, Bound::Unbounded));
        Ok(page
            .map(|(_, record)| record)
            .filter(|record| filter.matches(record))
            .take(limit)
            .cloned()
            .collect())
    }

    async fn retry(&self, deliveries: Vec<DeliveryId>, now: Timestamp) -> Result<usize, StoreError> {
        let mut state = self.state()?;
        let due: Vec<_> =
            deliveries.into_iter().filter(|id| state.change(id, |record| record.retry(now))).collect();
        due.iter().for_each(|id| self.arrivals.wake(&id.destination));
        Ok(due.len())
    }

    async fn discard(&self, deliveries: Vec<DeliveryId>) -> Result<usize, StoreError> {
        let mut state = self.state()?;
        let forgotten: Vec<_> = deliveries.into_iter().filter(|id| state.forget(id)).collect();
        forgotten.iter().for_each(|id| self.arrivals.wake(&id.destination));
        Ok(forgotten.len())
    }

    async fn pause(&self, destination: &Name, pause: Pause) -> Result<(), StoreError> {
        let mut state = self.state()?;
        if state.pauses.get(destination).is_none_or(|now| pause.outlasts(now)) {
            state.pauses.insert(destination.clone(), pause);
        }
        Ok(())
    }

    async fn resume(&self, destination: &Name) -> Result<Option<Pause>, StoreError> {
        let ended = self.state()?.pauses.remove(destination);
        self.arrivals.wake(destination);
        Ok(ended)
    }

    async fn pauses(&self) -> Result<BTreeMap<Name, Pause>, StoreError> {
        Ok(self.state()?.pauses.clone())
    }

    async fn held(
        &self,
        destination: &Name,
        batch: &BatchKey,
        after: Option<&Held>,
        limit: usize,
    ) -> Result<Vec<Held>, StoreError> {
        let state = self.state()?;
        let after = after.map(|held| (held.created, &held.id.event));
        let mut held: Vec<_> = state
            .held(destination, batch)
            .filter(|record| after.is_none_or(|after| after < (record.created, &record.id.event)))
            .collect();
        held.sort_by_key(|record| (record.created, &record.id.event));
        held.truncate(limit);
        Ok(held
            .into_iter()
            .filter_map(|record| {
                let event = Arc::clone(state.events.get(&record.id.event)?);
                Some(Held { id: record.id.clone(), event, created: record.created })
            })
            .collect())
    }

    async fn sort(&self, sorting: Sorting) -> Result<(), StoreError> {
        let destination = sorting.destination.clone();
        if self.state()?.sort(sorting)? {
            self.arrivals.wake(&destination);
        }
        Ok(())
    }

    async fn ledgers(&self, destination: &Name) -> Result<BTreeMap<BatchKey, Value>, StoreError> {
        Ok(self.state()?.ledgers.get(destination).cloned().unwrap_or_default())
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        Ok(self.state()?.purge(before, limit))
    }

    async fn shrink(&self, source: &Name, before: Timestamp) -> Result<(), StoreError> {
        let mut state = self.state()?;
        let known = state.snapshots.entry(source.clone()).or_default();
        known.values_mut().filter(|snapshot| snapshot.is_settled(before)).for_each(Snapshot::shrink);
        Ok(())
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.state()?.closed = true;
        Ok(())
    }
}
