//! A store that is watched, and can be made to fail.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use callwatch::{
    call::CallId,
    name::Name,
    snapshot::Snapshot,
    store::{
        Commit, DeliveryFilter, DeliveryId, DeliveryRecord, Held, KnownCall, LeaseRequest, Leased,
        MemoryStore, Outcome, Pause, Sorting, Store, StoreError, Tally,
    },
    summary::BatchKey,
    time::{Clock, Timestamp},
};
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub struct Watched {
    inner: MemoryStore,
    /// Wakes only those who wait already, which is less than a store promises.
    arrivals: Arc<Notify>,
    clock: Clock,
    seen: Mutex<Seen>,
}

/// What was asked of the store, and what is to go wrong.
#[derive(Default)]
struct Seen {
    leases: usize,
    settles: Vec<usize>,
    released: Vec<DeliveryId>,
    /// Leased and neither settled nor released.
    out: usize,
    most_out: usize,
    lease_errors: VecDeque<StoreError>,
    settle_errors: VecDeque<StoreError>,
    /// Committed when the next lease has been computed and before it is handed over.
    late: Option<Commit>,
    /// How far the system's clock has leapt ahead of the steady one.
    leap: Duration,
    /// Cancelled while the next lease is under way.
    stop: Option<CancellationToken>,
    stop_in_lease: bool,
}

impl Watched {
    pub fn new(clock: Clock) -> Self {
        Self { inner: MemoryStore::new(), arrivals: Arc::default(), clock, seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    pub fn leases(&self) -> usize {
        self.seen().leases
    }

    /// The sizes of the groups that were settled.
    pub fn settles(&self) -> Vec<usize> {
        self.seen().settles.clone()
    }

    pub fn released(&self) -> Vec<DeliveryId> {
        self.seen().released.clone()
    }

    /// The most deliveries that were leased at the same time.
    pub fn most_out(&self) -> usize {
        self.seen().most_out
    }

    pub fn fail_leases(&self, errors: impl IntoIterator<Item = StoreError>) {
        self.seen().lease_errors.extend(errors);
    }

    pub fn fail_settles(&self, errors: impl IntoIterator<Item = StoreError>) {
        self.seen().settle_errors.extend(errors);
    }

    pub fn commit_during_next_lease(&self, commit: Commit) {
        self.seen().late = Some(commit);
    }

    pub fn leap(&self, by: Duration) {
        self.seen().leap = by;
    }

    pub fn stop_with(&self, stop: &CancellationToken) {
        self.seen().stop = Some(stop.clone());
    }

    pub fn stop_during_next_lease(&self) {
        self.seen().stop_in_lease = true;
    }

    /// What another caller would be given now.
    pub async fn due(&self, destination: &str) -> Vec<DeliveryId> {
        let now = self.clock.wall();
        let request = LeaseRequest {
            destination: destination.into(),
            now,
            until: now.after(Duration::from_secs(1)),
            limit: 1000,
        };
        let leased = self.inner.lease(&request).await.unwrap();
        leased.deliveries.into_iter().map(|lease| lease.id).collect()
    }
}

#[async_trait]
impl Store for Watched {
    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        self.inner.commit(commit).await?;
        self.arrivals.notify_waiters();
        Ok(())
    }

    async fn snapshots(&self, source: &Name, calls: &[CallId]) -> Result<Vec<Option<Snapshot>>, StoreError> {
        self.inner.snapshots(source, calls).await
    }

    async fn known(
        &self,
        source: &Name,
        after: Option<&CallId>,
        limit: usize,
    ) -> Result<Vec<KnownCall>, StoreError> {
        self.inner.known(source, after, limit).await
    }

    async fn checkpoint(&self, source: &Name) -> Result<Option<Value>, StoreError> {
        self.inner.checkpoint(source).await
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<Leased, StoreError> {
        let (error, late, leap) = {
            let mut seen = self.seen();
            seen.leases += 1;
            (seen.lease_errors.pop_front(), seen.late.take(), seen.leap)
        };
        if let Some(error) = error {
            return Err(error);
        }
        let mut request = request.clone();
        request.now = request.now.after(leap);
        request.until = request.until.after(leap);
        let mut leased = self.inner.lease(&request).await?;
        leased.next_due = leased.next_due.map(|due| due.before(leap));
        if let Some(commit) = late {
            self.commit(commit).await?;
        }
        let mut seen = self.seen();
        seen.out += leased.deliveries.len();
        seen.most_out = seen.most_out.max(seen.out);
        if std::mem::take(&mut seen.stop_in_lease) {
            seen.stop.as_ref().unwrap().cancel();
        }
        Ok(leased)
    }

    async fn settle(&self, outcomes: Vec<Outcome>) -> Result<(), StoreError> {
        if let Some(error) = self.seen().settle_errors.pop_front() {
            return Err(error);
        }
        let count = outcomes.len();
        self.inner.settle(outcomes).await?;
        let mut seen = self.seen();
        seen.settles.push(count);
        seen.out -= count;
        Ok(())
    }

    async fn release(&self, deliveries: Vec<DeliveryId>) -> Result<(), StoreError> {
        self.inner.release(deliveries.clone()).await?;
        let mut seen = self.seen();
        seen.out -= deliveries.len();
        seen.released.extend(deliveries);
        Ok(())
    }

    fn arrivals(&self, _: &Name) -> Arc<Notify> {
        Arc::clone(&self.arrivals)
    }

    async fn tally(&self) -> Result<BTreeMap<Name, Tally>, StoreError> {
        self.inner.tally().await
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        after: Option<&DeliveryId>,
        limit: usize,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        self.inner.deliveries(filter, after, limit).await
    }

    async fn retry(&self, deliveries: Vec<DeliveryId>, now: Timestamp) -> Result<usize, StoreError> {
        let retried = self.inner.retry(deliveries, now).await;
        self.arrivals.notify_waiters();
        retried
    }

    async fn discard(&self, deliveries: Vec<DeliveryId>) -> Result<usize, StoreError> {
        self.inner.discard(deliveries).await
    }

    async fn pause(&self, destination: &Name, pause: Pause) -> Result<(), StoreError> {
        self.inner.pause(destination, pause).await
    }

    async fn resume(&self, destination: &Name) -> Result<Option<Pause>, StoreError> {
        let ended = self.inner.resume(destination).await;
        self.arrivals.notify_waiters();
        ended
    }

    async fn pauses(&self) -> Result<BTreeMap<Name, Pause>, StoreError> {
        self.inner.pauses().await
    }

    async fn held(
        &self,
        destination: &Name,
        batch: &BatchKey,
        after: Option<&Held>,
        limit: usize,
    ) -> Result<Vec<Held>, StoreError> {
        self.inner.held(destination, batch, after, limit).await
    }

    async fn sort(&self, sorting: Sorting) -> Result<(), StoreError> {
        self.inner.sort(sorting).await?;
        self.arrivals.notify_waiters();
        Ok(())
    }

    async fn ledgers(&self, destination: &Name) -> Result<BTreeMap<BatchKey, Value>, StoreError> {
        self.inner.ledgers(destination).await
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.inner.purge(before, limit).await
    }

    async fn shrink(&self, source: &Name, before: Timestamp) -> Result<(), StoreError> {
        self.inner.shrink(source, before).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}
