//! The store in a folder on this machine, in [sled](https://docs.rs/sled).
//!
//! * [`thread`]: sled blocks, so it has a thread of its own; the store's methods send it jobs.
//! * [`engine`]: the work of each job; [`outbox`]: deliveries as known without reading the disk; [`claims`].
//! * [`keys`]: the layout of the tree; [`value`]: values sealed with a checksum; [`entry`], [`change`], [`block`] and
//!   [`remembered`]: what the values hold.
//! * [`overlay`]: reads through the writes that are prepared; [`disk`]: writes that are atomic and durable; [`witness`]:
//!   the count of writes beside the tree.
//! * [`open`]: the folder, from its [`lock`] to its [`tree`], after a crash ([`repair`], [`replace`]) or after it has
//!   grown too large ([`renew`]); [`files`]: helpers for files and folders; [`fault`]: errors.
//! * [`backup`]: the store copied to a file ([`archive`]) beside other work ([`dump`]); [`restore`]: a backup put in
//!   the place of the store.
//! * [`probe`]: steps at which tests look on.

#[cfg(any(test, fuzzing))]
mod anything;
mod archive;
mod backup;
mod block;
mod change;
mod claims;
mod disk;
mod dump;
mod engine;
mod entry;
mod fault;
mod files;
mod keys;
mod lock;
mod open;
mod outbox;
mod overlay;
mod probe;
mod remembered;
mod renew;
mod repair;
mod replace;
mod restore;
mod thread;
mod tree;
mod value;
mod witness;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use prometheus_client::metrics::histogram::Histogram;
use serde_json::Value;
use tokio::sync::Notify;

#[cfg(any(test, fuzzing))]
pub(crate) use self::anything::{read_any_backup, read_any_value};
pub use self::{
    backup::Backup,
    probe::{Probe, Step, watch_steps},
    restore::Restored,
};
use self::{
    engine::{PurgeFrom, Purged},
    fault::Fault,
    thread::Thread,
};
use super::{
    Action, BackedUp, Claim, Commit, Cursor, DeliveryRecord, DestinationStanding, Duty, Feed, Figures,
    KnownCall, Page, Position, Query, Settlement, Store, StoreError, Token, arrivals::Arrivals, figures,
};
use crate::{
    batch::BatchKey,
    call::CallId,
    config::StoreConfig,
    event::{Event, Subject},
    name::Name,
    snapshot::Snapshot,
    time::Timestamp,
};

/// The most entries, events or calls that one job reads before others have their turn.
const SLICE: usize = 2000;

/// The most events that one job reads; fewer, because events may be large.
const BODY_SLICE: usize = 200;

/// The most snapshots that one job looks at to shrink some of them.
const SHRINK_STEP: usize = 200;

/// The most deliveries that an action of a person changes in one write.
const ACT_SLICE: usize = 500;

/// The most deliveries that are sent again in one write: each writes its event anew.
const RESEND_SLICE: usize = 50;

/// The most bytes of events that are parsed before other tasks have their turn.
const PARSE_SLICE: usize = 256 << 10;

/// The store in a folder on this machine. For one process at a time.
///
/// Dropping it ends it in good order as [`Store::close`] does, but without waiting for it.
pub struct SledStore {
    thread: Thread,
    arrivals: Arc<Arrivals>,
    path: PathBuf,
    /// Seconds that commits took.
    commits: Histogram,
}

impl SledStore {
    /// Opens the store in `config.path`, or makes one there. The time it takes depends on the number of unfinished
    /// deliveries, not on how much is kept.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be opened. A damaged store is copied aside before a repair is tried.
    pub async fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        let arrivals = Arc::new(Arrivals::default());
        let thread = Thread::start(config, Arc::clone(&arrivals)).await?;
        Ok(Self { thread, arrivals, path: config.path.clone(), commits: figures::seconds() })
    }

    /// Incidents of the opening that a person should know of, such as a repair or a renewal: one sentence each.
    pub fn findings(&self) -> &[String] {
        &self.thread.findings
    }

    /// Opens the store in `config.path`; makes none when there is none.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when there is none; else as [`SledStore::open`].
    pub async fn open_existing(config: &StoreConfig) -> Result<Self, StoreError> {
        if open::is_store(&config.path) {
            Self::open(config).await
        } else {
            Err(StoreError::Missing { path: config.path.display().to_string() })
        }
    }

    /// Has the files rewritten when the store is opened next: sled keeps what was overwritten until it needs the room.
    async fn renew_at_next_start(&self) -> Result<(), StoreError> {
        let path = self.path.clone();
        let failed = |why: Fault| why.at(&self.path, "written");
        let asked = tokio::task::spawn_blocking(move || renew::ask(&path)).await;
        asked
            .map_err(|error| failed(Fault::Io(io::Error::other(error))))?
            .map_err(|error| failed(error.into()))
    }

    /// Folds some changes, as the thread does between other jobs. For tests, which cut it short anywhere.
    ///
    /// # Errors
    /// As all methods, when the store fails.
    #[doc(hidden)]
    pub async fn fold(&self, slices: usize, changes: usize) -> Result<(), StoreError> {
        for _ in 0..slices {
            let slice = move |engine: &mut engine::Engine| {
                engine.fold_when_due(true);
                engine.fold(changes)
            };
            self.thread.write(slice).await?;
        }
        Ok(())
    }

    /// Ends without writing anything more, as a kill does. For tests.
    #[doc(hidden)]
    pub async fn kill(self) {
        let die =
            |_: &mut engine::Engine| -> Result<(), Fault> { std::panic::resume_unwind(Box::new("killed")) };
        // The answer is always that the store has failed.
        let _ = self.thread.read(die).await;
    }
}

#[async_trait]
impl Store for SledStore {
    async fn claim(&self, duty: &Duty) -> Result<Option<Claim>, StoreError> {
        let duty = duty.clone();
        self.thread.read(move |engine| Ok(Some(engine.claims().take(&duty)))).await
    }

    async fn give_up(&self, claim: Claim) -> Result<(), StoreError> {
        self.thread
            .read(move |engine| {
                engine.give_up(&claim);
                Ok(())
            })
            .await
    }

    async fn commit(&self, claim: &Claim, mut commit: Commit) -> Result<(), StoreError> {
        let (claim, begun) = (claim.clone(), Instant::now());
        let committed = self.thread.commit(move |engine| engine.commit(&claim, &mut commit)).await;
        self.commits.observe(begun.elapsed().as_secs_f64());
        committed
    }

    async fn snapshots(&self, source: &Name, calls: &[CallId]) -> Result<Vec<Option<Snapshot>>, StoreError> {
        let (source, calls) = (source.clone(), calls.to_vec());
        self.thread.read(move |engine| engine.snapshots(&source, &calls)).await
    }

    async fn known(
        &self,
        source: &Name,
        after: Option<&CallId>,
        limit: usize,
    ) -> Result<Vec<KnownCall>, StoreError> {
        let mut page: Vec<KnownCall> = vec![];
        while page.len() < limit {
            let slice = SLICE.min(limit - page.len());
            let (source, after) = (source.clone(), page.last().map(|call| &call.id).or(after).cloned());
            let mut calls =
                self.thread.read(move |engine| engine.known(&source, after.as_ref(), slice)).await?;
            let is_last = calls.len() < slice;
            page.append(&mut calls);
            if is_last {
                break;
            }
        }
        Ok(page)
    }

    async fn checkpoint(&self, duty: &Duty) -> Result<Option<Value>, StoreError> {
        let duty = duty.clone();
        self.thread.read(move |engine| engine.checkpoint(&duty)).await
    }

    async fn pending(&self, claim: &Claim, after: Position, limit: usize) -> Result<Feed, StoreError> {
        let mut feed = Feed { next: after, ..Feed::default() };
        loop {
            let slice = SLICE.min(limit - feed.entries.len());
            let (claim, next) = (claim.clone(), feed.next);
            let mut page = self.thread.read(move |engine| engine.pending(&claim, next, slice)).await?;
            let is_last = page.entries.len() < slice;
            feed.entries.append(&mut page.entries);
            (feed.next, feed.pause) = (page.next, page.pause);
            if is_last || feed.entries.len() == limit {
                return Ok(feed);
            }
        }
    }

    async fn bodies(&self, tokens: &[Token]) -> Result<Vec<Option<Arc<Event>>>, StoreError> {
        let mut bodies = Vec::with_capacity(tokens.len());
        for tokens in tokens.chunks(BODY_SLICE) {
            let tokens = tokens.to_vec();
            let found = self.thread.read(move |engine| engine.bodies(&tokens)).await?;
            let mut bytes = 0;
            for json in found {
                bytes += json.as_ref().map_or(0, Vec::len);
                if bytes > PARSE_SLICE {
                    tokio::task::yield_now().await;
                    bytes = 0;
                }
                let event = json.map(|json| value::from_json(&json)).transpose();
                bodies.push(event.map_err(|fault| fault.at(&self.path, "read"))?.map(Arc::new));
            }
        }
        Ok(bodies)
    }

    async fn memos(&self, destination: &Name, lanes: &[Subject]) -> Result<Vec<Option<Value>>, StoreError> {
        let (destination, lanes) = (destination.clone(), lanes.to_vec());
        self.thread.read(move |engine| engine.memos(&destination, &lanes)).await
    }

    async fn ledgers(&self, destination: &Name) -> Result<BTreeMap<BatchKey, Value>, StoreError> {
        let destination = destination.clone();
        self.thread.read(move |engine| engine.ledgers(&destination)).await
    }

    async fn settle(&self, claim: &Claim, mut settlement: Settlement) -> Result<(), StoreError> {
        let claim = claim.clone();
        self.thread.write(move |engine| engine.settle(&claim, &mut settlement)).await
    }

    fn arrivals(&self, destination: &Name) -> Arc<Notify> {
        self.arrivals.of(destination)
    }

    async fn destinations(&self) -> Result<BTreeMap<Name, DestinationStanding>, StoreError> {
        self.thread.read(|engine| Ok(engine.destinations())).await
    }

    async fn query(&self, query: &Query) -> Result<Page<DeliveryRecord>, StoreError> {
        let mut items: Vec<DeliveryRecord> = vec![];
        let mut below = Some(query.after.map_or(u64::MAX, |Cursor(Token(token))| token));
        // One more than was asked for shows whether there is another page.
        let wanted = query.limit.saturating_add(1);
        while let Some(from) = below.filter(|_| items.len() < wanted) {
            let (filter, missing) = (query.filter.clone(), wanted - items.len());
            let mut found = self.thread.read(move |engine| engine.query(&filter, from, missing)).await?;
            items.append(&mut found.items);
            below = found.below;
        }
        let has_more = items.len() > query.limit;
        items.truncate(query.limit);
        let next = items.last().filter(|_| has_more).map(|record| Cursor(record.token));
        Ok(Page { items, next })
    }

    async fn act(&self, action: Action) -> Result<usize, StoreError> {
        let slices = |tokens: Vec<Token>, most| {
            let each_once: Vec<Token> = BTreeSet::from_iter(tokens).into_iter().collect();
            // No tokens make one empty slice, so that a store that is closed says so whatever it is asked.
            let slices = each_once.chunks(most).chain(each_once.is_empty().then_some(&[][..]));
            slices.map(<[Token]>::to_vec).collect::<Vec<_>>()
        };
        let slices: Vec<Action> = match action {
            Action::Retry { tokens, at } => {
                slices(tokens, ACT_SLICE).into_iter().map(|tokens| Action::Retry { tokens, at }).collect()
            }
            Action::Drop { tokens } => {
                slices(tokens, ACT_SLICE).into_iter().map(|tokens| Action::Drop { tokens }).collect()
            }
            Action::Resend { tokens, to, at } => {
                let slice = |tokens| Action::Resend { tokens, to: to.clone(), at };
                slices(tokens, RESEND_SLICE).into_iter().map(slice).collect()
            }
            Action::Forget { calls, tokens, events } => {
                self.renew_at_next_start().await?;
                let part = |calls: &[_], tokens, events: &[_]| Action::Forget {
                    calls: calls.to_vec(),
                    tokens,
                    events: events.to_vec(),
                };
                // The calls come first, so that nothing new of them is written meanwhile.
                let mut parts = vec![part(&calls, vec![], &[])];
                let tokens = slices(tokens, ACT_SLICE).into_iter().filter(|tokens| !tokens.is_empty());
                parts.extend(tokens.map(|tokens| part(&[], tokens, &[])));
                parts.extend(events.chunks(RESEND_SLICE).map(|events| part(&[], vec![], events)));
                parts
            }
            action => vec![action],
        };
        let mut count = 0;
        for slice in slices {
            count += self.thread.write(move |engine| engine.act(slice)).await?;
        }
        Ok(count)
    }

    async fn purge(&self, claim: &Claim, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let mut purged = 0;
        let mut next = Some(PurgeFrom::Memo(None));
        while let Some(from) = next.filter(|_| purged < limit) {
            let (claim, missing) = (claim.clone(), limit - purged);
            let step = move |engine: &mut engine::Engine| engine.purge(&claim, before, missing, from);
            let Purged { deliveries, next: after } = self.thread.write(step).await?;
            purged += deliveries;
            next = after;
        }
        Ok(purged)
    }

    async fn shrink(&self, claim: &Claim, source: &Name, before: Timestamp) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let (claim, source, from) = (claim.clone(), source.clone(), after);
            let step = move |engine: &mut engine::Engine| {
                engine.shrink(&claim, &source, before, from.as_ref(), SHRINK_STEP)
            };
            after = self.thread.write(step).await?;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn back_up(
        &self,
        claim: &Claim,
        now: Timestamp,
        every: Duration,
    ) -> Result<Option<BackedUp>, StoreError> {
        self.back_up_when_due(claim, now, every).await.map(Some)
    }

    async fn copies(&self) -> Result<Vec<PathBuf>, StoreError> {
        let path = self.path.clone();
        let failed = |why: io::Error| Fault::Io(why).at(&self.path, "read");
        let found = tokio::task::spawn_blocking(move || backup::copies(&path)).await;
        found.map_err(|error| failed(io::Error::other(error)))?.map_err(failed)
    }

    async fn figures(&self) -> Result<Figures, StoreError> {
        let (syncs, bytes) = self.thread.read(|engine| engine.figures()).await?;
        Ok(Figures { commits: self.commits.clone(), syncs, bytes })
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.thread.close().await
    }
}
