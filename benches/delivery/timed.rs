//! A store that measures how long it is busy.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use callwatch::{
    batch::BatchKey,
    call::CallId,
    event::{Event, Subject},
    name::Name,
    snapshot::Snapshot,
    store::{
        Action, Claim, Commit, DeliveryRecord, DestinationStanding, Duty, Feed, KnownCall, Page, Position,
        Query, Settlement, SledStore, Store, StoreError, Token,
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
    /// How many tasks wait for the store, and since when there has been at least one.
    waiting: usize,
    since: Option<Instant>,
    busy: Duration,
    settles: usize,
}

impl Timed {
    pub fn new(inner: SledStore) -> Self {
        Self { inner, work: Mutex::default() }
    }

    /// How long at least one task has waited for the store, and how many groups of outcomes it has been given.
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
    async fn claim(&self, duty: &Duty) -> Result<Option<Claim>, StoreError> {
        self.inner.claim(duty).await
    }

    async fn give_up(&self, claim: Claim) -> Result<(), StoreError> {
        self.inner.give_up(claim).await
    }

    async fn commit(&self, claim: &Claim, commit: Commit) -> Result<(), StoreError> {
        self.timed(self.inner.commit(claim, commit)).await
    }

    async fn pending(&self, claim: &Claim, after: Position, limit: usize) -> Result<Feed, StoreError> {
        self.timed(self.inner.pending(claim, after, limit)).await
    }

    async fn bodies(&self, tokens: &[Token]) -> Result<Vec<Option<Arc<Event>>>, StoreError> {
        self.timed(self.inner.bodies(tokens)).await
    }

    async fn settle(&self, claim: &Claim, settlement: Settlement) -> Result<(), StoreError> {
        self.work.lock().unwrap().settles += 1;
        self.timed(self.inner.settle(claim, settlement)).await
    }

    fn arrivals(&self, destination: &Name) -> Arc<Notify> {
        self.inner.arrivals(destination)
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

    async fn checkpoint(&self, duty: &Duty) -> Result<Option<Value>, StoreError> {
        self.inner.checkpoint(duty).await
    }

    async fn memos(&self, destination: &Name, lanes: &[Subject]) -> Result<Vec<Option<Value>>, StoreError> {
        self.timed(self.inner.memos(destination, lanes)).await
    }

    async fn ledgers(&self, destination: &Name) -> Result<BTreeMap<BatchKey, Value>, StoreError> {
        self.inner.ledgers(destination).await
    }

    async fn destinations(&self) -> Result<BTreeMap<Name, DestinationStanding>, StoreError> {
        self.inner.destinations().await
    }

    async fn query(&self, query: &Query) -> Result<Page<DeliveryRecord>, StoreError> {
        self.inner.query(query).await
    }

    async fn act(&self, action: Action) -> Result<usize, StoreError> {
        self.inner.act(action).await
    }

    async fn purge(&self, claim: &Claim, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.inner.purge(claim, before, limit).await
    }

    async fn shrink(&self, claim: &Claim, source: &Name, before: Timestamp) -> Result<(), StoreError> {
        self.inner.shrink(claim, source, before).await
    }
}
