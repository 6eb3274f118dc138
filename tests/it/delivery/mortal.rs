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
    batch::BatchKey,
    call::CallId,
    config::StoreConfig,
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
        let config =
            StoreConfig { path: folder.to_owned(), database: None, retain: Duration::ZERO, cache: 1 << 20 };
        let inner = SledStore::open(&config).await.unwrap();
        Self { inner, death, is_dead: AtomicBool::new(false), writes: Mutex::default() }
    }

    pub fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::SeqCst)
    }

    /// The writes so far, by the method's name.
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
        // A store that has died gives no answer.
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
    async fn claim(&self, duty: &Duty) -> Result<Option<Claim>, StoreError> {
        self.read(self.inner.claim(duty))
    }

    async fn give_up(&self, claim: Claim) -> Result<(), StoreError> {
        self.read(self.inner.give_up(claim))
    }

    async fn commit(&self, claim: &Claim, commit: Commit) -> Result<(), StoreError> {
        self.write("commit", self.inner.commit(claim, commit))
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

    async fn checkpoint(&self, duty: &Duty) -> Result<Option<Value>, StoreError> {
        self.read(self.inner.checkpoint(duty))
    }

    async fn pending(&self, claim: &Claim, after: Position, limit: usize) -> Result<Feed, StoreError> {
        self.read(self.inner.pending(claim, after, limit))
    }

    async fn bodies(&self, tokens: &[Token]) -> Result<Vec<Option<Arc<Event>>>, StoreError> {
        self.read(self.inner.bodies(tokens))
    }

    async fn memos(&self, destination: &Name, lanes: &[Subject]) -> Result<Vec<Option<Value>>, StoreError> {
        self.read(self.inner.memos(destination, lanes))
    }

    async fn ledgers(&self, destination: &Name) -> Result<BTreeMap<BatchKey, Value>, StoreError> {
        self.read(self.inner.ledgers(destination))
    }

    async fn settle(&self, claim: &Claim, settlement: Settlement) -> Result<(), StoreError> {
        let part = part(&settlement);
        self.write(part, self.inner.settle(claim, settlement))
    }

    fn arrivals(&self, destination: &Name) -> Arc<Notify> {
        self.inner.arrivals(destination)
    }

    async fn destinations(&self) -> Result<BTreeMap<Name, DestinationStanding>, StoreError> {
        self.read(self.inner.destinations())
    }

    async fn query(&self, query: &Query) -> Result<Page<DeliveryRecord>, StoreError> {
        self.read(self.inner.query(query))
    }

    async fn act(&self, action: Action) -> Result<usize, StoreError> {
        let what = match &action {
            Action::Retry { .. } => "retry",
            Action::Resend { .. } => "resend",
            Action::Drop { .. } => "drop",
            Action::Forget { .. } => "forget",
            Action::Pause { .. } => "pause by hand",
            Action::Resume { .. } => "resume",
        };
        self.write(what, self.inner.act(action))
    }

    async fn purge(&self, claim: &Claim, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.write("purge", self.inner.purge(claim, before, limit))
    }

    async fn shrink(&self, claim: &Claim, source: &Name, before: Timestamp) -> Result<(), StoreError> {
        self.write("shrink", self.inner.shrink(claim, source, before))
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.write("close", self.inner.close())
    }
}

/// The subject of a settlement, by its rarest part.
fn part(settlement: &Settlement) -> &'static str {
    let Settlement { pause, merge, forgets, holds, releases, outcomes, .. } = settlement;
    [
        (pause.is_some(), "settle a pause"),
        (merge.is_some(), "settle a merge"),
        (!forgets.is_empty(), "settle what is late"),
        (!holds.is_empty(), "settle holds"),
        (!releases.is_empty(), "settle releases"),
        (!outcomes.is_empty(), "settle outcomes"),
    ]
    .into_iter()
    .find_map(|(is, part)| is.then_some(part))
    .unwrap_or("settle ledgers")
}
