//! What people ask of the store: another try, an end, a pause.

use std::collections::BTreeMap;

use super::{BAD_KEY, Engine, count, forget, lanes};
use crate::{
    name::Name,
    store::{
        DeliveryId, DeliveryRecord, Pause,
        sled::{fault::Fault, keys, value, view::View},
    },
    time::Timestamp,
};

impl Engine {
    pub(in crate::store::sled) fn retry(
        &mut self,
        deliveries: &[DeliveryId],
        now: Timestamp,
    ) -> Result<usize, Fault> {
        self.change(deliveries, |view, before| {
            let mut after = before.clone();
            if !after.retry(now) {
                return Ok(false);
            }
            lanes::leave(view, before)?;
            view.put(&keys::delivery(&after.id), &after)?;
            lanes::enter(view, &after)?;
            if let Some(at) = before.finished() {
                view.unmark(&keys::finished_at(&before.id, at));
                count(view, &before.id.destination, |tally| {
                    tally.subtract(&before.state);
                    tally.add(&after.state);
                })?;
            }
            Ok(true)
        })
    }

    pub(in crate::store::sled) fn discard(&mut self, deliveries: &[DeliveryId]) -> Result<usize, Fault> {
        let forgotten = self.change(deliveries, |view, record| forget(view, record).map(|()| true))?;
        self.release(deliveries);
        Ok(forgotten)
    }

    /// Changes those of the deliveries that are there; returns how many `change` said it changed.
    fn change(
        &mut self,
        deliveries: &[DeliveryId],
        change: impl Fn(&mut View<'_>, &DeliveryRecord) -> Result<bool, Fault>,
    ) -> Result<usize, Fault> {
        let mut view = self.disk.view();
        let mut changed = vec![];
        for id in deliveries {
            if let Some(record) = view.get(&keys::delivery(id))?
                && change(&mut view, &record)?
            {
                changed.push(&id.destination);
            }
        }
        let writes = view.into_writes();
        self.disk.write(writes)?;
        self.arrived.extend(changed.iter().copied().cloned());
        Ok(changed.len())
    }

    pub(in crate::store::sled) fn pause(&mut self, destination: &Name, pause: Pause) -> Result<(), Fault> {
        let mut view = self.disk.view();
        let key = keys::pause(destination);
        if view.get::<Pause>(&key)?.is_none_or(|now| pause.outlasts(&now)) {
            view.put(&key, &pause)?;
        }
        let writes = view.into_writes();
        self.disk.write(writes)
    }

    pub(in crate::store::sled) fn resume(&mut self, destination: &Name) -> Result<Option<Pause>, Fault> {
        let mut view = self.disk.view();
        let key = keys::pause(destination);
        let ended = view.get(&key)?;
        view.remove(&key)?;
        let writes = view.into_writes();
        self.disk.write(writes)?;
        self.arrived.insert(destination.clone());
        Ok(ended)
    }

    pub(in crate::store::sled) fn pauses(&self) -> Result<BTreeMap<Name, Pause>, Fault> {
        let all = self.disk.scan(&keys::pauses(), None).map(|item| {
            let (key, bytes) = item?;
            let destination = keys::paused(&key).ok_or(BAD_KEY)?;
            Ok((destination, value::from_json(value::unseal(&key, &bytes)?.body)?))
        });
        all.collect()
    }
}
