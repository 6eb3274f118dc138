//! A store that is watched, and can be made to fail.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use callwatch::{
    batch::BatchKey,
    call::CallId,
    event::{Event, Subject},
    name::Name,
    snapshot::Snapshot,
    store::{
        Action, Claim, Commit, DeliveryRecord, DestinationStanding, Duty, Feed, KnownCall, MemoryStore, Page,
        Position, Query, Settlement, Store, StoreError, Token,
    },
    time::Timestamp,
};
use serde_json::Value;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

pub struct Watched {
    inner: MemoryStore,
    /// Wakes only those who wait already, which is less than a store promises.
    arrivals: Arc<Notify>,
    seen: Mutex<Seen>,
    /// Settlements wait here while it has no permits.
    settle_gate: Semaphore,
    /// So do claims, before they are made or renewed.
    claim_gate: Semaphore,
    /// So do reads of the feed, when they have been read and not been handed over.
    read_gate: Semaphore,
}

/// The calls that were made to the store, and the faults to come.
#[derive(Default)]
struct Seen {
    reads: usize,
    settles: Vec<Settlement>,
    /// Fetched and not settled.
    out: usize,
    most_out: usize,
    read_errors: VecDeque<StoreError>,
    settle_errors: VecDeque<StoreError>,
    /// Committed when the next page of the feed has been read and before it is handed over.
    late: Option<Commit>,
    /// Cancelled while the next events are fetched.
    stop: Option<CancellationToken>,
    stop_in_fetch: bool,
}

/// As many permits as anybody may take.
const OPEN: usize = Semaphore::MAX_PERMITS >> 1;

impl Watched {
    pub fn new(inner: MemoryStore) -> Self {
        let [settle_gate, claim_gate, read_gate] = [(); 3].map(|()| Semaphore::new(OPEN));
        let (arrivals, seen) = Default::default();
        Self { inner, arrivals, seen, settle_gate, claim_gate, read_gate }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// Commits what a source has observed.
    pub async fn add(&self, commit: Commit) {
        let claim = self.inner.claim(&Duty::Source("clinic".into())).await.unwrap().unwrap();
        self.commit(&claim, commit).await.unwrap();
    }

    /// How often the feed was read.
    pub fn reads(&self) -> usize {
        self.seen().reads
    }

    /// The settlements.
    pub fn settles(&self) -> Vec<Settlement> {
        self.seen().settles.clone()
    }

    /// The most deliveries that were fetched and not settled at the same time.
    pub fn most_out(&self) -> usize {
        self.seen().most_out
    }

    pub fn fail_reads(&self, errors: impl IntoIterator<Item = StoreError>) {
        self.seen().read_errors.extend(errors);
    }

    pub fn fail_settles(&self, errors: impl IntoIterator<Item = StoreError>) {
        self.seen().settle_errors.extend(errors);
    }

    pub fn commit_during_next_read(&self, commit: Commit) {
        self.seen().late = Some(commit);
    }

    pub fn stop_with(&self, stop: &CancellationToken) {
        self.seen().stop = Some(stop.clone());
    }

    pub fn stop_during_next_fetch(&self) {
        self.seen().stop_in_fetch = true;
    }

    /// Settlements are written, and not acknowledged before [`Watched::acknowledge`].
    pub fn hold_settles(&self) {
        self.settle_gate.forget_permits(OPEN);
    }

    pub fn acknowledge(&self) {
        self.settle_gate.add_permits(OPEN);
    }

    /// Nothing is claimed or renewed before [`Watched::let_claim`].
    pub fn hold_claims(&self) {
        self.claim_gate.forget_permits(OPEN);
    }

    pub fn let_claim(&self) {
        self.claim_gate.add_permits(OPEN);
    }

    /// The feed is read, and not handed over before [`Watched::hand_over`].
    pub fn hold_reads(&self) {
        self.read_gate.forget_permits(OPEN);
    }

    pub fn hand_over(&self) {
        self.read_gate.add_permits(OPEN);
    }
}

#[async_trait]
impl Store for Watched {
    async fn claim(&self, duty: &Duty) -> Result<Option<Claim>, StoreError> {
        if *duty != Duty::Source("clinic".into()) {
            let _passed = self.claim_gate.acquire().await.unwrap();
        }
        self.inner.claim(duty).await
    }

    async fn give_up(&self, claim: Claim) -> Result<(), StoreError> {
        self.inner.give_up(claim).await
    }

    async fn commit(&self, claim: &Claim, commit: Commit) -> Result<(), StoreError> {
        self.inner.commit(claim, commit).await?;
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

    async fn checkpoint(&self, duty: &Duty) -> Result<Option<Value>, StoreError> {
        self.inner.checkpoint(duty).await
    }

    async fn pending(&self, claim: &Claim, after: Position, limit: usize) -> Result<Feed, StoreError> {
        let (error, late) = {
            let mut seen = self.seen();
            seen.reads += 1;
            (seen.read_errors.pop_front(), seen.late.take())
        };
        if let Some(error) = error {
            return Err(error);
        }
        let feed = self.inner.pending(claim, after, limit).await;
        if let Some(commit) = late {
            self.add(commit).await;
        }
        let _passed = self.read_gate.acquire().await.unwrap();
        feed
    }

    async fn bodies(&self, tokens: &[Token]) -> Result<Vec<Option<Arc<Event>>>, StoreError> {
        {
            let mut seen = self.seen();
            seen.out += tokens.len();
            seen.most_out = seen.most_out.max(seen.out);
            if std::mem::take(&mut seen.stop_in_fetch) {
                seen.stop.as_ref().unwrap().cancel();
            }
        }
        self.inner.bodies(tokens).await
    }

    async fn memos(&self, destination: &Name, lanes: &[Subject]) -> Result<Vec<Option<Value>>, StoreError> {
        self.inner.memos(destination, lanes).await
    }

    async fn ledgers(&self, destination: &Name) -> Result<BTreeMap<BatchKey, Value>, StoreError> {
        self.inner.ledgers(destination).await
    }

    async fn settle(&self, claim: &Claim, settlement: Settlement) -> Result<(), StoreError> {
        if let Some(error) = self.seen().settle_errors.pop_front() {
            return Err(error);
        }
        self.inner.settle(claim, settlement.clone()).await?;
        let merges = settlement.merge.is_some();
        {
            let mut seen = self.seen();
            seen.out = seen.out.saturating_sub(settlement.outcomes.len());
            seen.settles.push(settlement);
        }
        let _passed = self.settle_gate.acquire().await.unwrap();
        if merges {
            self.arrivals.notify_waiters();
        }
        Ok(())
    }

    fn arrivals(&self, _: &Name) -> Arc<Notify> {
        Arc::clone(&self.arrivals)
    }

    async fn destinations(&self) -> Result<BTreeMap<Name, DestinationStanding>, StoreError> {
        self.inner.destinations().await
    }

    async fn query(&self, query: &Query) -> Result<Page<DeliveryRecord>, StoreError> {
        self.inner.query(query).await
    }

    async fn act(&self, action: Action) -> Result<usize, StoreError> {
        let changed = self.inner.act(action).await;
        self.arrivals.notify_waiters();
        changed
    }

    async fn purge(&self, claim: &Claim, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.inner.purge(claim, before, limit).await
    }

    async fn shrink(&self, claim: &Claim, source: &Name, before: Timestamp) -> Result<(), StoreError> {
        self.inner.shrink(claim, source, before).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}
