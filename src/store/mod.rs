//! The store: snapshots of calls, events and deliveries, kept across restarts.
//!
//! [`Store`] speaks of duties, commits and outcomes, not of trees and rows, so that a database shared by several
//! processes can stand behind it as well as an embedded one. Every implementation passes the same conformance suite.
//!
//! # Who may write
//!
//! A [`Duty`] is work that has one owner: a source, a destination, or upkeep. The owner holds a [`Claim`], and every
//! write of its work carries the claim. When the duty has changed hands since, the write changes nothing and fails with
//! [`StoreError::ClaimLost`]; the task then ends, and nothing it did meanwhile counts. Correctness needs no more than
//! that: two processes may *believe* to own a destination for a moment and both send the same delivery, but only one
//! can record an outcome, and the receiver sees the same id twice. Leases only bound how long a duty lies idle when its
//! owner is gone.
//!
//! # The way of a delivery
//!
//! A source's owner [commits](Store::commit) snapshots, events and deliveries at once. The owner of the destination is
//! [woken](Store::arrivals) and reads its [feed](Store::pending): first the unfinished deliveries, then every change.
//! It keeps them in memory as small slots and decides alone about order, due times, rate, breaker and batches; the
//! [bodies](Store::bodies) stay in the store until they are sent. The outcomes of attempts go back in one
//! [settlement](Store::settle) per group. People [query](Store::query) and [act](Store::act) without a claim, and the
//! owner learns of it through its feed.

mod arrivals;
mod carry;
mod claim;
mod commit;
mod error;
mod figures;
mod forgotten;
mod memory;
mod pause;
mod pending;
mod postgres;
mod query;
mod record;
mod settlement;
mod share;
mod sled;
mod turn;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

#[cfg(any(test, fuzzing))]
pub(crate) use self::sled::{read_any_backup, read_any_value};
pub use self::{
    carry::{CarryError, Content, carry},
    claim::{Claim, Duty},
    commit::{Commit, Hold, KnownCall, NewDelivery, NewEvent},
    error::StoreError,
    figures::Figures,
    memory::MemoryStore,
    pause::Pause,
    pending::{Entry, Feed, Pending, Position, Standing, Token},
    postgres::{FillError, PostgresConfig, PostgresStore, ScratchDatabase},
    query::{Action, Cursor, DeliveryFilter, DestinationStanding, Page, Query},
    record::{
        ATTEMPTS_KEPT, Attempt, DeliveryId, DeliveryRecord, DeliveryState, DeliveryStateKind, Restart, Tally,
    },
    settlement::{Merge, Outcome, PauseChange, Settlement, Verdict},
    share::{Attendance, Cluster, Held, Node, Share},
    sled::{Backup, Probe, Restored, SledStore, Step, watch_steps},
    turn::{Turn, work_in_turn},
};
use crate::{
    batch::BatchKey,
    call::CallId,
    event::{Event, Subject},
    name::Name,
    snapshot::Snapshot,
    time::Timestamp,
};

/// Whether a backup was taken, and when the next one is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackedUp {
    /// The backup that was taken; `None` when the last one is young enough.
    pub taken: Option<Backup>,
    /// When the next one is due.
    pub next: Timestamp,
}

/// The longest time between the acknowledgement of a lazy [`Settlement`] and the sync that makes it survive a power
/// cut.
pub const LAZY_SYNC: Duration = Duration::from_millis(50);

/// How often to ask again for a duty that another process holds, in a store that does not notify when it is free.
const VACANCY: Duration = Duration::from_secs(1);

/// Keeps snapshots, events and deliveries. All methods may be called concurrently, and each sees everything that was
/// acknowledged before it was called.
///
/// Cancelling a call (dropping its future) leaves the store as if it had been made or as if it had not, never in between.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Takes a duty, or renews the claim this process has on it; `None` while another process holds it.
    async fn claim(&self, duty: &Duty) -> Result<Option<Claim>, StoreError>;

    /// Gives a duty back, so that others can take it at once. A claim that was lost already is no error.
    async fn give_up(&self, claim: Claim) -> Result<(), StoreError>;

    /// Announces that this process takes part in the work, with these duties; from then on it gets no more than its share of
    /// them. `None` announces that it is about to end, so that others take its duties as soon as it gives them back. A store
    /// for one process ignores this.
    fn attend(&self, _says: Option<Attendance>) {}

    /// Sets the report on this process's duties. It is called and stored each time the process announces itself to the others.
    fn report(&self, _work: Arc<dyn Fn() -> Value + Send + Sync>) {}

    /// Waits until it may be worth while to ask for a duty that another process had.
    async fn vacancy(&self, _duty: &Duty) {
        sleep(VACANCY).await;
    }

    /// The share of the work that falls to this process, as it changes; `None` when there is only this process.
    fn share(&self) -> Option<watch::Receiver<Share>> {
        None
    }

    /// All processes and duties; `None` when there is only this process.
    async fn cluster(&self) -> Result<Option<Cluster>, StoreError> {
        Ok(None)
    }

    /// Makes everything one observation brought durable at once: all of it, or after an error or a crash none. When it
    /// returns `Ok`, a `kill -9` or a power cut loses nothing of it.
    ///
    /// A delivery that exists already, finished or not, is left as it is, so that a commit can be repeated.
    async fn commit(&self, claim: &Claim, commit: Commit) -> Result<(), StoreError>;

    /// The snapshots of these calls, in the order asked for; `None` for a call that is not known.
    async fn snapshots(&self, source: &Name, calls: &[CallId]) -> Result<Vec<Option<Snapshot>>, StoreError>;

    /// One page of what is known of a source's calls, in the order of their ids: those after `after`, at most `limit`. An
    /// empty page is the end.
    async fn known(
        &self,
        source: &Name,
        after: Option<&CallId>,
        limit: usize,
    ) -> Result<Vec<KnownCall>, StoreError>;

    /// The [`Commit::checkpoint`] that was last committed for the duty.
    async fn checkpoint(&self, duty: &Duty) -> Result<Option<Value>, StoreError>;

    /// One page of the feed of a destination: from [`Position::START`] on every unfinished delivery, then every change
    /// that was not the owner's own (new deliveries, [`Action`]s) or that comes of a [`Merge`]. Everything it returns
    /// is durable.
    async fn pending(&self, claim: &Claim, after: Position, limit: usize) -> Result<Feed, StoreError>;

    /// The events of these deliveries, in the order asked for; `None` for a delivery that has been dropped.
    async fn bodies(&self, tokens: &[Token]) -> Result<Vec<Option<Arc<Event>>>, StoreError>;

    /// The [`Settlement::memos`] that were last stored for these lanes of a destination, in the order asked for.
    async fn memos(&self, destination: &Name, lanes: &[Subject]) -> Result<Vec<Option<Value>>, StoreError>;

    /// The [`Settlement::ledgers`] that were last stored, one for each batch of a destination.
    async fn ledgers(&self, destination: &Name) -> Result<BTreeMap<BatchKey, Value>, StoreError>;

    /// Writes the outcomes and decisions of a destination's owner: all of them, or after an error or a crash none.
    async fn settle(&self, claim: &Claim, settlement: Settlement) -> Result<(), StoreError>;

    /// Notified after every write that may bring something new into the destination's feed. Made for one waiter: a
    /// notification that finds nobody waiting is kept for the next. It is only a hint, so the owner also reads its feed
    /// now and then.
    fn arrivals(&self, destination: &Name) -> Arc<Notify>;

    /// The counts and the pause of each destination that has a delivery or a pause.
    async fn destinations(&self) -> Result<BTreeMap<Name, DestinationStanding>, StoreError>;

    /// One page of deliveries with all that is known of them, newest first.
    async fn query(&self, query: &Query) -> Result<Page<DeliveryRecord>, StoreError>;

    /// Carries out an action of a person; returns how many deliveries (or pauses) it changed.
    async fn act(&self, action: Action) -> Result<usize, StoreError>;

    /// Forgets deliveries that were finished before `before`, events of which no delivery is left, and memos not written
    /// since. A store may keep finished deliveries longer when unfinished ones stand beside them. At most `limit` at a
    /// time; returns how many, so that zero means done.
    async fn purge(&self, claim: &Claim, before: Timestamp, limit: usize) -> Result<usize, StoreError>;

    /// Shrinks the snapshots of a source's calls that have been settled since before `before` (see
    /// [`Snapshot::shrink`]), a few at a time.
    async fn shrink(&self, claim: &Claim, source: &Name, before: Timestamp) -> Result<(), StoreError>;

    /// Takes a backup when the last one is older than `every`; `None` for a store whose backups are not callwatch's
    /// business. What is committed or settled meanwhile does not wait for it.
    /// Fails with [`StoreError::Backup`] when only the backup failed.
    async fn back_up(
        &self,
        _claim: &Claim,
        _now: Timestamp,
        _every: Duration,
    ) -> Result<Option<BackedUp>, StoreError> {
        Ok(None)
    }

    /// Copies of the store's content from before now that callwatch has made and that are still there.
    async fn copies(&self) -> Result<Vec<PathBuf>, StoreError> {
        Ok(vec![])
    }

    /// The store's figures, for monitoring.
    async fn figures(&self) -> Result<Figures, StoreError> {
        Ok(Figures::default())
    }

    /// Gives up the claims of this process, writes out whatever is buffered and ends the store in good order. Later calls
    /// fail with [`StoreError::Closed`].
    async fn close(&self) -> Result<(), StoreError>;
}
