//! Deliveries that are not due by themselves: what waits in batches, and what becomes of it.

use std::sync::Arc;

use serde_json::Value;

#[cfg(doc)]
use super::DeliveryState;
use super::{DeliveryId, NewDelivery};
use crate::{
    batch::BatchKey,
    event::{Event, EventId},
    name::Name,
    time::Timestamp,
};

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

/// What becomes of a destination's held deliveries, in the order of the fields. Whoever is named here and is not
/// what the field asks for is ignored, so that the same sorting may be repeated when it is not known whether it was
/// made.
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

/// Batches that go out as one delivery of an event that stands for all of them. When that delivery is there already,
/// this was done before, and what came into the batches since stays in them.
#[derive(Clone, Debug)]
pub struct Merge {
    /// Everything that is held in these by now becomes [`DeliveryState::Merged`].
    pub batches: Vec<BatchKey>,
    /// What stands for it.
    pub event: Event,
    /// The only delivery of `event`, not held.
    pub delivery: NewDelivery,
}
