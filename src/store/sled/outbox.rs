//! Deliveries being changed, and what follows from them: of each, its record says where else it stands.
//!
//! | state | stands in |
//! |---|---|
//! | pending | its lane, with when it is due; the first of a lane also in the queue |
//! | held | its batch |
//! | finished | the list of what was finished |

use std::collections::BTreeMap;

use super::{
    fault::Fault,
    keys::{self, Key},
    lanes,
    view::{View, Writes},
};
use crate::{
    event::Event,
    name::Name,
    store::{DeliveryId, DeliveryRecord, NewDelivery, Tally},
};

/// Collects changes to deliveries. Tallies are brought up to date once, at the end.
pub(super) struct Outbox<'t> {
    pub(super) view: View<'t>,
    /// The tallies that change, as they are by now.
    tallies: BTreeMap<Name, Tally>,
}

impl<'t> Outbox<'t> {
    pub(super) fn new(view: View<'t>) -> Self {
        Self { view, tallies: BTreeMap::new() }
    }

    /// A delivery as it is by now.
    pub(super) fn get(&self, id: &DeliveryId) -> Result<Option<DeliveryRecord>, Fault> {
        self.view.get(&keys::delivery(id))
    }

    /// Adds a delivery unless it is there already; says whether it did. `event` is given when it comes with it.
    pub(super) fn add(&mut self, new: NewDelivery, event: Option<&Event>) -> Result<bool, Fault> {
        if self.view.contains(&keys::delivery(&new.id))? {
            return Ok(false);
        }
        let record = match event {
            Some(event) => DeliveryRecord::new(new, event),
            None => match self.view.get::<Event>(&keys::event(&new.id.event))? {
                Some(event) => DeliveryRecord::new(new, &event),
                None => return Err(Fault::UnknownEvent(new.id)),
            },
        };
        self.view.put_new(&keys::delivery(&record.id), &record)?;
        self.enter(&record)?;
        Ok(true)
    }

    /// Changes a delivery if it is there; says whether it is and `change` did.
    pub(super) fn change(
        &mut self,
        id: &DeliveryId,
        change: impl FnOnce(&mut DeliveryRecord) -> bool,
    ) -> Result<bool, Fault> {
        let Some(before) = self.get(id)? else { return Ok(false) };
        let mut after = before.clone();
        let changed = change(&mut after);
        if changed {
            self.leave(&before)?;
            self.view.put(&keys::delivery(id), &after)?;
            self.enter(&after)?;
        }
        Ok(changed)
    }

    /// Forgets a delivery if it is there and `may` says so, and its event when that has no other; says whether it
    /// did.
    pub(super) fn forget(
        &mut self,
        id: &DeliveryId,
        may: impl FnOnce(&DeliveryRecord) -> bool,
    ) -> Result<bool, Fault> {
        let Some(record) = self.get(id)?.filter(may) else { return Ok(false) };
        self.leave(&record)?;
        self.view.remove(&keys::delivery(id))?;
        if self.view.first(&keys::deliveries_of(&id.event))?.is_none() {
            self.view.remove(&keys::event(&id.event))?;
        }
        Ok(true)
    }

    /// What is to be written.
    pub(super) fn into_writes(self) -> Result<Writes, Fault> {
        let Self { mut view, tallies } = self;
        for (destination, tally) in tallies {
            let key = keys::tally(&destination);
            // A destination without deliveries has none.
            if tally == Tally::default() { view.remove(&key)? } else { view.put(&key, &tally)? }
        }
        Ok(view.into_writes())
    }

    fn enter(&mut self, record: &DeliveryRecord) -> Result<(), Fault> {
        stand(&mut self.view, record)?;
        self.tally(&record.id.destination)?.add(&record.state);
        Ok(())
    }

    fn leave(&mut self, record: &DeliveryRecord) -> Result<(), Fault> {
        match place(record) {
            Some(place) => self.view.unmark(&place),
            None => lanes::leave(&mut self.view, record)?,
        }
        self.tally(&record.id.destination)?.subtract(&record.state);
        Ok(())
    }

    fn tally(&mut self, destination: &Name) -> Result<&mut Tally, Fault> {
        if !self.tallies.contains_key(destination) {
            let tally = self.view.get(&keys::tally(destination))?.unwrap_or_default();
            self.tallies.insert(destination.clone(), tally);
        }
        Ok(self.tallies.entry(destination.clone()).or_default())
    }
}

/// Where a delivery stands besides its record; `None` for one that is pending, which stands in its lane.
fn place(record: &DeliveryRecord) -> Option<Key> {
    let DeliveryRecord { id, created, .. } = record;
    match (record.waits_in(), record.finished()) {
        (Some(batch), _) => Some(keys::in_batch(&keys::batch(&id.destination, batch), *created, &id.event)),
        (None, at) => at.map(|at| keys::finished_at(id, at)),
    }
}

/// Puts a delivery where it stands besides its record.
pub(super) fn stand(view: &mut View<'_>, record: &DeliveryRecord) -> Result<(), Fault> {
    match place(record) {
        Some(place) => view.mark(&place),
        None => lanes::enter(view, record)?,
    }
    Ok(())
}
