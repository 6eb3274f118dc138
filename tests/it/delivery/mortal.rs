//! A store on disk that dies at one of its writes.

use std::{
    collections::BTreeMap,
    future::Future,
    path::Path,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use async_trait::async_trait;
use callwatch::{
    call::CallId,
    config::StoreConfig,
    name::Name,
    snapshot::Snapshot,
    store::{
        Commit, DeliveryFilter, DeliveryId, DeliveryRecord, Held, KnownCall, LeaseRequest, Leased, Outcome,
        Pause, SledStore, Sorting, Store, StoreError, Tally,
    },
    summary::BatchKey,
    time::Timestamp,
};
use serde_json::Value;
use tokio::sync::Notify;

/// Where it dies: at its n-th write, from zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Death {
    /// Nothing of the write is done.
    Before(usize),
    /// The write is done, and whoever asked never learns.
    After(usize),
}

pub struct Mortal {
    inner: SledStore,
    death: Option<Death>,
    is_dead: AtomicBool,
    writes: Mutex<Vec<&'static str>>,
}

impl Mortal {
    pub async fn open(folder: &Path, death: Option<Death>) -> Self {
        let config = StoreConfig { path: folder.to_owned(), retain: Duration::ZERO, cache: 1 << 20 };
        let inner = SledStore::open(&config).await.unwrap();
        Self { inner, death, is_dead: AtomicBool::new(false), writes: Mutex::default() }
    }

    pub fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::SeqCst)
    }

    /// What was written so far, by the method's name.
    pub fn writes(&self) -> Vec<&'static str> {
        self.writes.lock().unwrap().clone()
    }

    /// Lets go of the folder.
    pub async fn bury(&self) {
        self.inner.close().await.unwrap();
    }

    fn read<T>(&self, read: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        if self.is_dead() {
            return Err(StoreError::Failed { path: String::new() });
        }
        standing_still(read)
    }

    fn write<T>(
        &self,
        what: &'static str,
        write: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.die(Death::Before(self.writes().len()));
        let done = self.read(write)?;
        self.written(what, done)
    }

    /// Notes that a write is done. What came back is not learned from a store that has died.
    fn written<T>(&self, what: &'static str, done: T) -> Result<T, StoreError> {
        self.die(Death::After(self.writes().len()));
        self.writes.lock().unwrap().push(what);
        self.read(async { Ok(done) })
    }

    fn die(&self, death: Death) {
        self.is_dead.fetch_or(self.death == Some(death), Ordering::SeqCst);
    }
}

/// Waits without giving way to anything: paused time does not go on while the store works.
fn standing_still<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(tokio::task::unconstrained(future));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[async_trait]
impl Store for Mortal {
    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        self.write("commit", self.inner.commit(commit))
    }

    async fn snapshots(&self, source: &Name, calls: &[CallId]) -> Result<Vec<Option<Snapshot>>, StoreError> {
        self.read(self.inner.snapshots(source, calls))
    }

    async fn known(
        &self,
        source: &Name,
        after: Option<&CallId>,
        limit: usize,
    ) -> Result<Vec<KnownCall>, StoreError> {
        self.read(self.inner.known(source, after, limit))
    }

    async fn checkpoint(&self, source: &Name) -> Result<Option<Value>, StoreError> {
        self.read(self.inner.checkpoint(source))
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<Leased, StoreError> {
        let leased = self.read(self.inner.lease(request))?;
        // One that brings nothing is none.
        if leased.deliveries.is_empty() { Ok(leased) } else { self.written("lease", leased) }
    }

    async fn settle(&self, outcomes: Vec<Outcome>) -> Result<(), StoreError> {
        self.write("settle", self.inner.settle(outcomes))
    }

    async fn release(&self, deliveries: Vec<DeliveryId>) -> Result<(), StoreError> {
        self.write("release", self.inner.release(deliveries))
    }

    fn arrivals(&self, destination: &Name) -> Arc<Notify> {
        self.inner.arrivals(destination)
    }

    async fn tally(&self) -> Result<BTreeMap<Name, Tally>, StoreError> {
        self.read(self.inner.tally())
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        after: Option<&DeliveryId>,
        limit: usize,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        self.read(self.inner.deliveries(filter, after, limit))
    }

    async fn retry(&self, deliveries: Vec<DeliveryId>, now: Timestamp) -> Result<usize, StoreError> {
        self.write("retry", self.inner.retry(deliveries, now))
    }

    async fn discard(&self, deliveries: Vec<DeliveryId>) -> Result<usize, StoreError> {
        self.write("discard", self.inner.discard(deliveries))
    }

    async fn pause(&self, destination: &Name, pause: Pause) -> Result<(), StoreError> {
        self.write("pause", self.inner.pause(destination, pause))
    }

    async fn resume(&self, destination: &Name) -> Result<Option<Pause>, StoreError> {
        self.write("resume", self.inner.resume(destination))
    }

    async fn pauses(&self) -> Result<BTreeMap<Name, Pause>, StoreError> {
        self.read(self.inner.pauses())
    }

    async fn held(
        &self,
        destination: &Name,
        batch: &BatchKey,
        after: Option<&Held>,
        limit: usize,
    ) -> Result<Vec<Held>, StoreError> {
        self.read(self.inner.held(destination, batch, after, limit))
    }

    async fn sort(&self, sorting: Sorting) -> Result<(), StoreError> {
        self.write("sort", self.inner.sort(sorting))
    }

    async fn ledgers(&self, destination: &Name) -> Result<BTreeMap<BatchKey, Value>, StoreError> {
        self.read(self.inner.ledgers(destination))
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.write("purge", self.inner.purge(before, limit))
    }

    async fn shrink(&self, source: &Name, before: Timestamp) -> Result<(), StoreError> {
        self.write("shrink", self.inner.shrink(source, before))
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.write("close", self.inner.close())
    }
}
