//! What one observation brings into the store.

use serde_json::Value;

use crate::{
    batch::BatchKey,
    call::{CallId, RecordHash, Status},
    event::Event,
    name::Name,
    snapshot::Snapshot,
    time::Timestamp,
};

/// Everything one observation brought.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// New snapshots, replacing older ones. Only a commit for a source has any.
    pub snapshots: Vec<(CallId, Snapshot)>,
    /// New events with their deliveries.
    pub events: Vec<NewEvent>,
    /// What the duty's task wants back after a restart; `None` leaves the last one as it is.
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
    /// What happened.
    pub event: Event,
    /// To whom it goes; each destination once.
    pub deliveries: Vec<NewDelivery>,
}

/// A delivery that a commit adds, due at once unless it is held.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDelivery {
    /// To whom.
    pub destination: Name,
    /// Counts up from 1 per (destination, source, call), for receivers. The order within a lane is that of the commits.
    pub sequence: u64,
    /// When it was made: it is due from then on, and its retry schedule begins then.
    pub created: Timestamp,
    /// Where it waits to be told with others; `None` when it is due at once.
    pub hold: Option<Hold>,
}

/// A place in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The batch.
    pub batch: BatchKey,
    /// When the thing it tells of happened, as far as the call says: `count` counts by it.
    pub happened: Timestamp,
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
