//! What is remembered across restarts: snapshots of calls, events, and the deliveries they became.
//!
//! [`Store`] speaks of commits, leases and outcomes, not of trees and iterators, so that a database shared by
//! several processes can stand behind it as well as an embedded one. Every implementation passes the same
//! conformance suite.

mod arrivals;
mod error;
mod held;
mod memory;
mod pause;
mod record;
mod sled;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;

pub use self::{
    error::StoreError,
    held::{Held, Merge, Sorting},
    memory::MemoryStore,
    pause::Pause,
    record::{
        ATTEMPTS_KEPT, Attempt, DeliveryFilter, DeliveryRecord, DeliveryState, DeliveryStateKind, Restart,
        Tally,
    },
    sled::{Backup, Restored, SledStore},
};
use crate::{
    batch::BatchKey,
    call::{CallId, RecordHash, Status},
    event::{Event, EventId},
    name::Name,
    snapshot::Snapshot,
    time::Timestamp,
};

/// Remembers. All methods may be called concurrently; what one has acknowledged, the next one sees.
///
/// Cancelling a call (dropping its future) leaves the store as if it had been made or as if it had not,
/// never in between.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Makes everything one observation brought durable at once: all of it, or after an error or a crash none.
    /// When it returns `Ok`, a `kill -9` or a power cut loses nothing of it.
    ///
    /// Repeating a commit (the same snapshots, events and deliveries) changes nothing: an event or delivery
    /// that exists, finished or not, is left as it is.
    async fn commit(&self, commit: Commit) -> Result<(), StoreError>;

    /// The snapshots of these calls, in the order asked for; `None` for a call that is not known.
    async fn snapshots(&self, source: &Name, calls: &[CallId]) -> Result<Vec<Option<Snapshot>>, StoreError>;

    /// One page of what is known of a source's calls, in the order of their ids: those after `after`, at most
    /// `limit`. An empty page is the end.
    async fn known(
        &self,
        source: &Name,
        after: Option<&CallId>,
        limit: usize,
    ) -> Result<Vec<KnownCall>, StoreError>;

    /// What was last committed as the source's [`Commit::checkpoint`].
    async fn checkpoint(&self, source: &Name) -> Result<Option<Value>, StoreError>;

    /// Takes up to `request.limit` deliveries that are due, oldest due first, for this caller alone until
    /// `request.until` or until they are settled. Of the pending deliveries of one lane (destination, source,
    /// call) only the one with the lowest sequence is ever handed out, and none while the destination is paused.
    /// A restart of the process that held a lease ends it.
    async fn lease(&self, request: &LeaseRequest) -> Result<Leased, StoreError>;

    /// Records what became of leased deliveries, all in one durable write. An outcome for a delivery that is not
    /// pending (any more) is ignored.
    async fn settle(&self, outcomes: Vec<Outcome>) -> Result<(), StoreError>;

    /// Ends leases without an attempt: the deliveries are due again as they were before. They need not be pending.
    async fn release(&self, deliveries: Vec<DeliveryId>) -> Result<(), StoreError>;

    /// Woken after everything that may make a delivery for this destination due or held: a commit, a retry, a
    /// sorting, a delivery in front that is discarded, a resumption. Made for one waiter: a wake-up that
    /// finds nobody waiting is kept for the next.
    fn arrivals(&self, destination: &Name) -> Arc<Notify>;

    /// How many deliveries each destination has, by state, as far as they are still kept.
    async fn tally(&self) -> Result<BTreeMap<Name, Tally>, StoreError>;

    /// One page of deliveries with all that is known of them, in the order of their ids (event, destination).
    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        after: Option<&DeliveryId>,
        limit: usize,
    ) -> Result<Vec<DeliveryRecord>, StoreError>;

    /// Makes deliveries that are dead, held, or wait for their next attempt, due at `now`, and begins their schedule
    /// anew ([`DeliveryRecord::restart`]). What was delivered or merged or is not there is left alone. Returns how
    /// many are due.
    async fn retry(&self, deliveries: Vec<DeliveryId>, now: Timestamp) -> Result<usize, StoreError>;

    /// Forgets deliveries, finished or not, and events none of whose deliveries are left. Returns how many there
    /// were.
    async fn discard(&self, deliveries: Vec<DeliveryId>) -> Result<usize, StoreError>;

    /// Leaves a destination alone: nothing is leased for it while the pause lasts, and nothing is lost. Of this
    /// pause and the one there may be already, the one that lasts longer stays.
    async fn pause(&self, destination: &Name, pause: Pause) -> Result<(), StoreError>;

    /// Ends a destination's pause, if there is one; returns it.
    async fn resume(&self, destination: &Name) -> Result<Option<Pause>, StoreError>;

    /// Every pause there is. One that has ended by itself may be among them.
    async fn pauses(&self) -> Result<BTreeMap<Name, Pause>, StoreError>;

    /// One page of what a batch of a destination holds, oldest first: those after `after`, at most `limit`.
    async fn held(
        &self,
        destination: &Name,
        batch: &BatchKey,
        after: Option<&Held>,
        limit: usize,
    ) -> Result<Vec<Held>, StoreError>;

    /// Moves deliveries of a destination into batches and out of them, all in one durable write. Repeating it
    /// changes nothing. Meant for one caller for each destination.
    async fn sort(&self, sorting: Sorting) -> Result<(), StoreError>;

    /// What was last stored in [`Sorting::ledgers`] for each batch of a destination.
    async fn ledgers(&self, destination: &Name) -> Result<BTreeMap<BatchKey, Value>, StoreError>;

    /// Forgets deliveries that were finished before `before`, and events none of whose deliveries are left.
    /// At most `limit` deliveries at a time; returns how many, so that zero means done.
    async fn purge(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError>;

    /// Shrinks the snapshots of a source's calls that have been settled since before `before` (see
    /// [`Snapshot::shrink`]), a few at a time.
    async fn shrink(&self, source: &Name, before: Timestamp) -> Result<(), StoreError>;

    /// Takes a backup when the last one is older than `every`, and returns when the next one will be due; `None`
    /// for a store whose backups are not callwatch's business. What is committed or settled meanwhile does not
    /// wait for it. Fails with [`StoreError::Backup`] when only the backup failed.
    async fn back_up(&self, _now: Timestamp, _every: Duration) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }

    /// Writes out whatever is buffered and ends the store in good order. Later calls fail with
    /// [`StoreError::Closed`].
    async fn close(&self) -> Result<(), StoreError>;
}

/// Everything one observation brought.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The source all of it belongs to.
    pub source: Name,
    /// New snapshots, replacing older ones.
    pub snapshots: Vec<(CallId, Snapshot)>,
    /// New events.
    pub events: Vec<Event>,
    /// New deliveries. Each belongs to an event of this commit or of an earlier one.
    pub deliveries: Vec<NewDelivery>,
    /// What the source's planner wants back after a restart; `None` leaves the last one as it is.
    pub checkpoint: Option<Value>,
}

impl Commit {
    /// A commit with nothing in it yet.
    pub fn new(source: Name) -> Self {
        Self { source, snapshots: vec![], events: vec![], deliveries: vec![], checkpoint: None }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.snapshots.is_empty()
            && self.events.is_empty()
            && self.deliveries.is_empty()
            && self.checkpoint.is_none()
    }
}

/// One event on its way to one destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeliveryId {
    /// What is to be told.
    pub event: EventId,
    /// To whom.
    pub destination: Name,
}

/// A delivery that a commit adds, due at once unless it is held.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDelivery {
    /// Which event to which destination.
    pub id: DeliveryId,
    /// Counts up from 1 per (destination, source, call); the order within the lane.
    pub sequence: u64,
    /// When it was made, which is when it is due first.
    pub created: Timestamp,
    /// Whether it is not due, but held in [`BatchKey::Arrived`] until it is sorted ([`Store::sort`]).
    pub held: bool,
}

/// What is known of a call without opening its snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownCall {
    /// The API's id.
    pub id: CallId,
    /// Hash of its record's bytes as last seen.
    pub record: RecordHash,
    /// Where it is in its life.
    pub status: Status,
    /// Whether an analysis is there.
    pub analyzed: bool,
    /// When it was first seen completed.
    pub completed_seen: Option<Timestamp>,
    /// `createdAt` of the record.
    pub created_at: Option<Timestamp>,
    /// `updatedAt` of the record.
    pub updated_at: Option<Timestamp>,
    /// Whether it was found to be deleted.
    pub deleted: bool,
}

impl KnownCall {
    /// What a snapshot says in short.
    pub fn of(id: CallId, snapshot: &Snapshot) -> Self {
        Self {
            id,
            record: snapshot.record,
            status: snapshot.status(),
            analyzed: snapshot.is_analyzed(),
            completed_seen: snapshot.completed_seen,
            created_at: snapshot.created_at(),
            updated_at: snapshot.updated_at(),
            deleted: snapshot.deleted,
        }
    }
}

/// Asks for due deliveries of one destination.
#[derive(Clone, Debug)]
pub struct LeaseRequest {
    /// Whose deliveries.
    pub destination: Name,
    /// What is due by now.
    pub now: Timestamp,
    /// When the lease ends by itself. Must lie well beyond the longest attempt.
    pub until: Timestamp,
    /// At most this many.
    pub limit: usize,
}

/// What a request for a lease brought.
#[derive(Clone, Debug, Default)]
pub struct Leased {
    /// The deliveries, oldest due first.
    pub deliveries: Vec<Lease>,
    /// When the next delivery that was not handed out will be due or its lease will end; `None` when there is
    /// none, and not after `now` when only `limit` kept it back.
    pub next_due: Option<Timestamp>,
    /// The pause that keeps everything back; then there are no deliveries, and `next_due` is its end.
    pub pause: Option<Pause>,
}

/// A delivery that is this caller's to try.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Which event to which destination.
    pub id: DeliveryId,
    /// What is to be told.
    pub event: Arc<Event>,
    /// The order within (destination, source, call).
    pub sequence: u64,
    /// When the delivery was made.
    pub created: Timestamp,
    /// How many attempts were made before.
    pub attempts: u32,
    /// Where its schedule began anew.
    pub restart: Option<Restart>,
}

/// What became of an attempt.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which delivery.
    pub id: DeliveryId,
    /// What was tried and what came back.
    pub attempt: Attempt,
    /// What follows from it.
    pub verdict: Verdict,
}

/// What follows from an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It arrived.
    Delivered,
    /// It is tried again at this time.
    Retry(Timestamp),
    /// It is given up, for this reason.
    Dead(String),
}
