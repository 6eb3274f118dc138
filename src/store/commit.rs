//! The result of one observation, as it is written to the store.

use serde_json::Value;

use crate::{
    batch::BatchKey,
    call::{CallId, RecordHash, Status},
    event::Event,
    name::Name,
    snapshot::Snapshot,
    time::Timestamp,
};

/// Everything that one observation brought, written all or nothing.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// New snapshots, replacing older ones. Only a commit for a source has any.
    pub snapshots: Vec<(CallId, Snapshot)>,
    /// New events with their deliveries.
    pub events: Vec<NewEvent>,
    /// State that the duty's task reads back after a restart; `None` keeps the state that is stored.
    pub checkpoint: Option<Value>,
}

impl Commit {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.snapshots.is_empty() && self.events.is_empty() && self.checkpoint.is_none()
    }

    /// How many deliveries it makes.
    pub fn deliveries(&self) -> usize {
        self.events.iter().map(|new| new.deliveries.len()).sum()
    }
}

/// An event and its deliveries.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The event.
    pub event: Event,
    /// Its deliveries, at most one for each destination.
    pub deliveries: Vec<NewDelivery>,
}

/// A delivery that a commit adds, due at once unless it is held.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDelivery {
    /// The destination that the event goes to.
    pub destination: Name,
    /// Counts up from 1 per (destination, source, call), for receivers. The order within a lane is that of the commits.
    pub sequence: u64,
    /// When the delivery was made: it is due from then on, and its retry schedule begins then.
    pub created: Timestamp,
    /// The batch in which it waits to be told with others; `None` when it is due at once.
    pub hold: Option<Hold>,
}

/// A place in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The batch in which the delivery waits.
    pub batch: BatchKey,
    /// When the thing that the event tells of happened, as far as the call says; a rule's `count` goes by this time.
    pub happened: Timestamp,
}

/// The part of a snapshot that is read without opening the rest: enough to see whether a call has changed.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownCall {
    /// The API's id.
    pub id: CallId,
    /// Hash of its record's bytes as last seen.
    pub record: RecordHash,
    /// Its status when it was last seen.
    pub status: Status,
    /// Whether it has an analysis.
    pub analyzed: bool,
    /// When it was first seen completed.
    pub completed_seen: Option<Timestamp>,
    /// `createdAt` of the record.
    pub created_at: Option<Timestamp>,
    /// `updatedAt` of the record.
    pub updated_at: Option<Timestamp>,
    /// Whether the call was found to be deleted.
    pub deleted: bool,
}

impl KnownCall {
    /// The summary of a snapshot.
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
