//! What is remembered across restarts: snapshots of calls, events, and the deliveries they became.
//!
//! [`Store`] speaks of commits, leases and outcomes, not of trees and iterators, so that a database shared by
//! several processes can stand behind it as well as an embedded one. Every implementation passes the same
//! conformance suite.

mod arrivals;
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
    memory::MemoryStore,
    pause::Pause,
    sled::{Backup, Restored, SledStore},
};
use crate::{
    call::{CallId, RecordHash, Status},
    event::{Event, EventId},
    name::Name,
    snapshot::Snapshot,
    summary::BatchKey,
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
    /// pending any more is ignored.
    async fn settle(&self, outcomes: Vec<Outcome>) -> Result<(), StoreError>;

    /// Ends leases without an attempt: the deliveries are due again as they were before. They need not be pending.
    async fn release(&self, deliveries: Vec<DeliveryId>) -> Result<(), StoreError>;

    /// Woken after everything that may make a delivery for this destination due: a commit, a retry, a delivery
    /// in front that is discarded, a resumption. Made for one waiter: a wake-up that
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

    /// Makes deliveries that are dead, or wait for their next attempt, due at `now`, and begins their schedule anew
    /// ([`DeliveryRecord::restart`]). What was delivered or is not there is left alone. Returns how many are due.
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

    /// Moves deliveries of a destination into batches and out of them, all in one durable write.
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
    /// Whether it is not due, but held in [`BatchKey::arrived`] until it is sorted ([`Store::sort`]).
    pub held: bool,
}

/// A delivery that waits in a batch.
#[derive(Clone, Debug)]
pub struct Held {
    /// Which event to which destination.
    pub id: DeliveryId,
    /// What is to be told.
    pub event: Arc<Event>,
    /// When the delivery was made.
    pub created: Timestamp,
}

/// What becomes of a destination's held deliveries. An event named here whose delivery is neither held nor pending
/// is ignored.
#[derive(Clone, Debug)]
pub struct Sorting {
    /// Whose deliveries.
    pub destination: Name,
    /// When.
    pub now: Timestamp,
    /// Deliveries, held or pending, that go into a batch. A lease on one ends.
    pub hold: Vec<(EventId, BatchKey)>,
    /// Held deliveries that are due now, in the order of their lanes.
    pub send: Vec<EventId>,
    /// Held deliveries that are of no use any more: they are forgotten, and their events with them.
    pub forget: Vec<EventId>,
    /// What goes out as one.
    pub merge: Option<Merge>,
    /// What is to be remembered of batches; `None` forgets.
    pub ledgers: Vec<(BatchKey, Option<Value>)>,
}

impl Sorting {
    /// Nothing to be done yet.
    pub fn new(destination: Name, now: Timestamp) -> Self {
        Self { destination, now, hold: vec![], send: vec![], forget: vec![], merge: None, ledgers: vec![] }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.hold.is_empty()
            && self.send.is_empty()
            && self.forget.is_empty()
            && self.merge.is_none()
            && self.ledgers.is_empty()
    }
}

/// Batches that go out as one delivery of an event that stands for all of them.
#[derive(Clone, Debug)]
pub struct Merge {
    /// Everything that is held in these (after [`Sorting::hold`]) becomes [`DeliveryState::Merged`].
    pub batches: Vec<BatchKey>,
    /// What stands for it.
    pub event: Event,
    /// The only delivery of `event`, not held.
    pub delivery: NewDelivery,
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

/// A point at which a delivery's retry schedule begins anew because a person said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// When.
    pub at: Timestamp,
    /// How many attempts had been made by then.
    pub attempts: u32,
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

/// One try of a delivery, as it is kept for people to look at. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// What happened, in one line: `200 OK`, `connection refused`, `550 mailbox unavailable`.
    pub result: String,
    /// The beginning of what came back, at most 2 KiB, secrets masked.
    pub response: String,
}

/// Where a delivery is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeliveryState {
    /// To be tried at this time.
    Pending {
        /// When it is due, if it is the first of its lane.
        due: Timestamp,
    },
    /// Not to be tried by itself: it will be told with others, or when its time comes.
    Held {
        /// With which others.
        batch: BatchKey,
    },
    /// It arrived.
    Delivered {
        /// When that was known.
        at: Timestamp,
    },
    /// It is told by another event, which stands for several.
    Merged {
        /// Since when.
        at: Timestamp,
        /// By which.
        into: EventId,
    },
    /// It was given up.
    Dead {
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
    },
}

/// All that is known of a delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliveryRecord {
    /// Which event to which destination.
    pub id: DeliveryId,
    /// The source the event came from.
    pub source: Name,
    /// The call the event is about.
    pub call: Option<CallId>,
    /// The batch the event stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchKey>,
    /// The rule that made it.
    pub rule: Name,
    /// The order within (destination, source, call).
    pub sequence: u64,
    /// When it was made.
    pub created: Timestamp,
    /// Where it is.
    pub state: DeliveryState,
    /// How many attempts were made.
    pub attempts: u32,
    /// The latest attempts, oldest first, at most [`ATTEMPTS_KEPT`].
    pub log: Vec<Attempt>,
    /// Where its schedule last began anew; `None` when it began with the delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
}

/// How many attempts of a delivery are kept word for word.
pub const ATTEMPTS_KEPT: usize = 20;

/// Which deliveries to list; every part that is given must match.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Of this destination.
    pub destination: Option<Name>,
    /// About this call.
    pub call: Option<CallId>,
    /// In this state.
    pub state: Option<DeliveryStateKind>,
}

/// A delivery's state without its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryStateKind {
    /// Yet to arrive.
    Pending,
    /// Waiting to be told with others.
    Held,
    /// It arrived.
    Delivered,
    /// Told by another event.
    Merged,
    /// It was given up.
    Dead,
}

impl DeliveryState {
    /// The state without its details.
    pub fn kind(&self) -> DeliveryStateKind {
        match self {
            Self::Pending { .. } => DeliveryStateKind::Pending,
            Self::Held { .. } => DeliveryStateKind::Held,
            Self::Merged { .. } => DeliveryStateKind::Merged,
            Self::Delivered { .. } => DeliveryStateKind::Delivered,
            Self::Dead { .. } => DeliveryStateKind::Dead,
        }
    }
}

/// How many deliveries a destination has in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Yet to arrive.
    pub pending: u64,
    /// Waiting to be told with others.
    #[serde(default)]
    pub held: u64,
    /// Told by another event, and still kept.
    #[serde(default)]
    pub merged: u64,
    /// Arrived, and still kept.
    pub delivered: u64,
    /// Given up, and still kept.
    pub dead: u64,
}

/// Why the store could not do what it was asked to. The text says what a person can do about it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("the store {path} is in use by another callwatch{}; stop that one first, or set [store] path to another folder",
        holder.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    InUse {
        /// The store's folder.
        path: String,
        /// The process that holds the lock, when it said so.
        holder: Option<u32>,
    },
    /// The disk is full.
    #[error("the disk is full; make room where the store {path} is, then start callwatch again")]
    DiskFull {
        /// The store's folder.
        path: String,
    },
    /// It cannot be read or written.
    #[error("the store {path} cannot be {doing}: {why}")]
    Io {
        /// The store's folder.
        path: String,
        /// `opened`, `read`, `written`.
        doing: &'static str,
        /// The system's words.
        why: String,
    },
    /// What is on disk is not what was written.
    #[error("the store {path} is damaged ({why}); {advice}")]
    Damaged {
        /// The store's folder.
        path: String,
        /// What was found.
        why: String,
        /// What to do.
        advice: String,
    },
    /// A backup could not be written, read or used; the store itself is as it was.
    #[error("the backup {file} cannot be {doing}: {why}")]
    Backup {
        /// The backup's file.
        file: String,
        /// `written`, `read`.
        doing: &'static str,
        /// What is in the way.
        why: String,
    },
    /// There is nothing to restore.
    #[error(
        "the store {path} has no backup that can be used; name one with --from, or move the folder {path} away and \
         start callwatch again: every call is then remembered afresh without being announced, and what was still to \
         be delivered is only in the old folder"
    )]
    NoBackup {
        /// The store's folder.
        path: String,
    },
    /// It was written by a newer callwatch.
    #[error(
        "the store {path} was written by a newer callwatch (schema {found}; this one knows up to {known}); install that version again"
    )]
    TooNew {
        /// The store's folder.
        path: String,
        /// The schema found.
        found: u32,
        /// The newest schema this version knows.
        known: u32,
    },
    /// A commit holds a delivery whose event is neither in it nor in the store. Nothing of it was written.
    #[error("the delivery to {} belongs to no known event ({}); this is a mistake in callwatch", .0.destination, .0.event)]
    UnknownEvent(DeliveryId),
    /// It broke down while it was open, and what it holds in memory cannot be relied on any more.
    #[error("the store {path} broke down; start callwatch again: nothing that was acknowledged is lost")]
    Failed {
        /// The store's folder.
        path: String,
    },
    /// It has been closed.
    #[error("the store is closed")]
    Closed,
}
