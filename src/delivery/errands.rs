//! The calls to the store that are under way for one destination, at most one of each kind.

use std::{future::pending, pin::Pin, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::time::Instant;

use super::{
    Bundle,
    queue::Taken,
    retry_io,
    summaries::{self, Written},
};
use crate::{
    event::{Event, Subject},
    name::Name,
    store::{Claim, Commit, Feed, Position, Settlement, Store, StoreError},
    telemetry::{Signal, Telemetry},
    telling::Told,
    time::Timestamp,
};

/// How many entries of the feed are read at a time.
pub(super) const FEED_PAGE: usize = 1000;

/// The most events that are fetched at a time. Their weight is not known in advance, so the first fetch reads one, and
/// each further one twice as many while they weigh less than [`LIGHT`] bytes each.
const FETCH: usize = 8;
const LIGHT: usize = 64 << 10;

/// The store, as the owner of a destination may use it.
pub(super) struct Owner {
    pub(super) store: Arc<dyn Store>,
    pub(super) claim: Claim,
    pub(super) telemetry: Telemetry,
    pub(super) destination: Name,
}

/// The calls that are under way. Cancelling [`Errands::done`] loses nothing.
pub(super) struct Errands<C> {
    owner: Arc<Owner>,
    reading: Call<Feed>,
    fetching: Call<(Vec<Fetched>, Vec<Taken>)>,
    settling: Call<(Settlement, C)>,
    writing: Call<Written>,
    renewing: Call<Instant>,
    telling: Call<Vec<Signal>>,
}

/// The result of a call.
pub(super) enum Done<C> {
    Read(Feed),
    /// Events were fetched; those of the other deliveries did not fit into memory beside them.
    Fetched(Vec<Fetched>, Vec<Taken>),
    /// A settlement was written; with it comes what was handed over beside it.
    Settled(Settlement, C),
    Wrote(Written),
    /// The claim was renewed; the renewal was asked for at this time.
    Renewed(Instant),
    /// Events about the destination itself were committed, so these signals may be emitted.
    Told(Vec<Signal>),
}

/// A delivery that was taken, with everything its attempt needs.
pub(super) struct Fetched {
    pub(super) delivery: Taken,
    /// `None` when it has been dropped meanwhile.
    pub(super) event: Option<Arc<Event>>,
    /// The memo that the last delivery of its lane left.
    pub(super) memo: Option<Value>,
}

type Running<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// A call that may be under way.
struct Call<T>(Option<Running<T>>);

impl<T> Call<T> {
    fn begin(&mut self, call: impl Future<Output = Result<T, StoreError>> + Send + 'static) {
        self.0 = Some(Box::pin(call));
    }

    fn is_busy(&self) -> bool {
        self.0.is_some()
    }

    /// Waits for the call to end; for ever when there is none.
    async fn done(&mut self) -> Result<T, StoreError> {
        let Some(call) = &mut self.0 else { return pending().await };
        let done = call.await;
        self.0 = None;
        done
    }
}

impl<C: Send + 'static> Errands<C> {
    pub(super) fn new(owner: Arc<Owner>) -> Self {
        let (reading, fetching, settling) = (Call(None), Call(None), Call(None));
        let (writing, renewing, telling) = (Call(None), Call(None), Call(None));
        Self { owner, reading, fetching, settling, writing, renewing, telling }
    }

    /// The next call that is done; waits for ever when there is none.
    ///
    /// # Errors
    /// When the store failed, also after it was asked again, or the claim is lost.
    pub(super) async fn done(&mut self) -> Result<Done<C>, StoreError> {
        tokio::select! {
            settled = self.settling.done() => settled.map(|(settlement, beside)| Done::Settled(settlement, beside)),
            fetched = self.fetching.done() => fetched.map(|(fetched, left)| Done::Fetched(fetched, left)),
            feed = self.reading.done() => feed.map(Done::Read),
            written = self.writing.done() => written.map(Done::Wrote),
            renewed = self.renewing.done() => renewed.map(Done::Renewed),
            told = self.telling.done() => told.map(Done::Told),
        }
    }

    /// Reads a page of the feed.
    pub(super) fn read(&mut self, after: Position) {
        self.reading.begin(Arc::clone(&self.owner).feed(after));
    }

    /// Fetches the events of deliveries until they weigh `most` together, but at least one, and the memos of their lanes for
    /// a destination that keeps some.
    pub(super) fn fetch(&mut self, mut deliveries: Vec<Taken>, most: usize, with_memos: bool) {
        let owner = Arc::clone(&self.owner);
        self.fetching.begin(async move {
            let (mut events, mut weight, mut step) = (vec![], 0, 1);
            while events.len() < deliveries.len() && (events.is_empty() || weight < most) {
                let tokens = deliveries[events.len()..].iter().take(step).map(|delivery| delivery.token);
                let tokens: Vec<_> = tokens.collect();
                let ask = || owner.store.bodies(&tokens);
                let read = retry_io(&owner.telemetry, "reading deliveries", ask).await?;
                let added = read.iter().flatten().map(|event| event.weight()).sum::<usize>();
                weight += added;
                step = if added < LIGHT * step { FETCH.min(2 * step) } else { 1 };
                events.extend(read);
            }
            let left = deliveries.split_off(events.len());
            let mut memos = vec![None; events.len()];
            if with_memos {
                // A delivery that has been dropped has no lane, and is asked about like one of the config.
                let lane = |event: &Option<Arc<Event>>| {
                    event.as_ref().map_or(Subject::Config, |event| event.subject.clone())
                };
                let lanes: Vec<_> = events.iter().map(lane).collect();
                let ask = || owner.store.memos(&owner.destination, &lanes);
                memos = retry_io(&owner.telemetry, "reading memos", ask).await?;
            }
            let fetched = deliveries.into_iter().zip(events).zip(memos);
            let fetched = fetched.map(|((delivery, event), memo)| Fetched { delivery, event, memo });
            Ok((fetched.collect(), left))
        });
    }

    /// Writes a settlement.
    pub(super) fn settle(&mut self, settlement: Settlement, beside: C) {
        let owner = Arc::clone(&self.owner);
        self.settling.begin(async move {
            let ask = || owner.store.settle(&owner.claim, settlement.clone());
            retry_io(&owner.telemetry, "settling deliveries", ask).await?;
            Ok((settlement, beside))
        });
    }

    /// Writes the message for a bundle.
    pub(super) fn write(&mut self, bundle: Bundle, now: Timestamp) {
        let owner = Arc::clone(&self.owner);
        self.writing.begin(async move {
            summaries::write(&*owner.store, &owner.telemetry, &owner.destination, bundle, now).await
        });
    }

    /// Commits events about the destination, to be delivered to others, with the checkpoint that notes them.
    pub(super) fn tell(&mut self, told: Told, checkpoint: Value) {
        let owner = Arc::clone(&self.owner);
        self.telling.begin(async move {
            let Told { mut events, signals } = told;
            events.retain(|new| !new.deliveries.is_empty());
            let commit = Commit { events, checkpoint: Some(checkpoint), ..Commit::default() };
            let ask = || owner.store.commit(&owner.claim, commit.clone());
            retry_io(&owner.telemetry, "telling of a destination", ask).await?;
            Ok(signals)
        });
    }

    /// Renews the claim.
    pub(super) fn renew(&mut self) {
        let owner = Arc::clone(&self.owner);
        self.renewing.begin(async move {
            let (claim, asked) = (&owner.claim, Instant::now());
            let ask = || owner.store.claim(&claim.duty);
            match retry_io(&owner.telemetry, "renewing a claim", ask).await? {
                Some(renewed) if renewed.epoch == claim.epoch => Ok(asked),
                _ => Err(StoreError::ClaimLost { duty: claim.duty.clone() }),
            }
        });
    }

    /// How long the claim holds unless it is renewed.
    pub(super) fn lease(&self) -> Option<Duration> {
        self.owner.claim.lease
    }

    pub(super) fn is_reading(&self) -> bool {
        self.reading.is_busy()
    }

    pub(super) fn is_fetching(&self) -> bool {
        self.fetching.is_busy()
    }

    pub(super) fn is_settling(&self) -> bool {
        self.settling.is_busy()
    }

    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_busy()
    }

    pub(super) fn is_telling(&self) -> bool {
        self.telling.is_busy()
    }

    pub(super) fn is_renewing(&self) -> bool {
        self.renewing.is_busy()
    }

    /// Cancels everything but a settlement and the claim.
    pub(super) fn only_settle(&mut self) {
        (self.reading, self.fetching, self.writing) = (Call(None), Call(None), Call(None));
        self.telling = Call(None);
    }
}

impl Owner {
    /// A page of the feed.
    pub(super) async fn feed(self: Arc<Self>, after: Position) -> Result<Feed, StoreError> {
        let ask = || self.store.pending(&self.claim, after, FEED_PAGE);
        retry_io(&self.telemetry, "reading what is to be delivered", ask).await
    }
}
