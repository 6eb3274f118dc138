//! Lanes and the queue: pending deliveries stand in the lane of their call, and the first of each lane stands in the
//! queue of its destination.

use super::{
    engine::BAD_KEY,
    fault::Fault,
    keys::{self, Key},
    view::View,
};
use crate::store::{DeliveryId, DeliveryRecord};

/// Puts a delivery into its lane, if it is pending; into the queue, too, when none stands before it.
pub(super) fn enter(view: &mut View<'_>, record: &DeliveryRecord) -> Result<(), Fault> {
    let Some(due) = record.due() else { return Ok(()) };
    let place = keys::in_lane(record);
    let first = first(view, record)?;
    let is_first = first.as_ref().is_none_or(|first| place <= first.in_lane);
    if is_first {
        if let Some(first) = first {
            view.unmark(&first.in_queue);
        }
        view.mark(&keys::in_queue(&record.id, due));
    }
    view.mark_with(&place, &keys::due_in_lane(due));
    Ok(())
}

/// Takes a delivery out of its lane, if it is pending as `record` says; the next one stands in the queue instead.
pub(super) fn leave(view: &mut View<'_>, record: &DeliveryRecord) -> Result<(), Fault> {
    let Some(due) = record.due() else { return Ok(()) };
    let in_queue = keys::in_queue(&record.id, due);
    view.unmark(&keys::in_lane(record));
    if view.contains(&in_queue)? {
        view.unmark(&in_queue);
        if let Some(next) = first(view, record)? {
            view.mark(&next.in_queue);
        }
    }
    Ok(())
}

/// The places of the first delivery of a lane.
struct First {
    in_lane: Key,
    in_queue: Key,
}

/// The first delivery of this one's lane.
fn first(view: &View<'_>, record: &DeliveryRecord) -> Result<Option<First>, Fault> {
    let lane = keys::lane(record);
    let Some((key, due)) = view.first(&lane)? else { return Ok(None) };
    let event = keys::event_in_lane(&lane, &key).ok_or(BAD_KEY)?;
    let id = DeliveryId { event, destination: record.id.destination.clone() };
    let due = keys::to_due_in_lane(&due).ok_or(BAD_KEY)?;
    Ok(Some(First { in_queue: keys::in_queue(&id, due), in_lane: key.into() }))
}
