//! A store that notes for how long it has had something to do.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use callwatch::{
    batch::BatchKey,
    call::CallId,
    name::Name,
    snapshot::Snapshot,
    store::{
        Commit, DeliveryFilter, DeliveryId, DeliveryRecord, Held, KnownCall, LeaseRequest, Leased, Outcome,
        Pause, SledStore, Sorting, Store, StoreError, Tally,
    },
    time::Timestamp,
};
use serde_json::Value;
use tokio::sync::Notify;

pub struct Timed {
    inner: SledStore,
    work: Mutex<Work>,
}

#[derive(Default)]
struct Work {
    /// How many wait for it, and since when somebody has.
    waiting: usize,
    since: Option<Instant>,
    busy: Duration,
    settles: usize,
}

impl Timed {
    pub fn new(inner: SledStore) -> Self {
        Self { inner, work: Mutex::default() }
    }

    /// For how long at least one had to wait for it, and how many groups of outcomes it was given.
    pub fn work(&self) -> (Duration, usize) {
        let work = self.work.lock().unwrap();
        (work.busy, work.settles)
    }

    async fn timed<T>(&self, job: impl Future<Output = T>) -> T {
        {
            let mut work = self.work.lock().unwrap();
            work.waiting += 1;
            work.since.get_or_insert_with(Instant::now);
        }
        let done = job.await;
        let mut work = self.work.lock().unwrap();
        work.waiting -= 1;
        if work.waiting == 0 {
            let since = work.since.take().unwrap();
            work.busy += since.elapsed();
        }
        done
    }
}

#[async_trait]
impl Store for Timed {
    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        self.timed(self.inner.commit(commit)).await
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<Leased, StoreError> {
        self.timed(self.inner.lease(request)).await
    }

    async fn settle(&self, outcomes: Vec<Outcome>) -> Result<(), StoreError> {
        self.work.lock().unwrap().settles += 1;
        self.timed(self.inner.settle(outcomes)).await
    }

    async fn release(&self, deliveries: Vec<DeliveryId>) -> Result<(), StoreError> {
        self.inner.release(deliveries).await
    }

    fn arrivals(&self, destination: &Name) -> Arc<Notify> {
        self.inner.arrivals(destination)
    }

    async fn pause(&self, destination: &Name, pause: Pause) -> Result<(), StoreError> {
        self.inner.pause(destination, pause).await
    }

    async fn resume(&self, destination: &Name) -> Result<Option<Pause>, StoreError> {
        self.inner.resume(destination).await
    }

    async fn tally(&self) -> Result<BTreeMap<Name, Tally>, StoreError> {
        self.inner.tally().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
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

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        after: Option<&DeliveryId>,
        limit: usize,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        self.inner.deliveries(filter, after, limit).await
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
        self.inner.sort(sorting).await
    }

    async fn ledgers(&self, destination: &Name) -> Result<BTreeMap<BatchKey, Value>, StoreError> {
        self.inner.ledgers(destination).await
    }

    async fn retry(&self, deliveries: Vec<DeliveryId>, now: Timestamp) -> Result<usize, StoreError> {
        self.inner.retry(deliveries, now).await
    }

    async fn discard(&self, deliveries: Vec<DeliveryId>) -> Result<usize, StoreError> {
        self.inner.discard(deliveries).await
    }

    async fn pauses(&self) -> Result<BTreeMap<Name, Pause>, StoreError> {
        self.inner.pauses().await
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.inner.purge(before, limit).await
    }

    async fn shrink(&self, source: &Name, before: Timestamp) -> Result<(), StoreError> {
        self.inner.shrink(source, before).await
    }
}
