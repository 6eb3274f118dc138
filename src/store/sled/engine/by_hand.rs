//! What people ask of the store: another try, an end, a pause.

use std::collections::BTreeMap;

use super::{BAD_KEY, Engine};
use crate::{
    name::Name,
    store::{
        DeliveryId, Pause,
        sled::{fault::Fault, keys, outbox::Outbox, value},
    },
    time::Timestamp,
};

impl Engine {
    pub(in crate::store::sled) fn retry(
        &mut self,
        deliveries: &[DeliveryId],
        now: Timestamp,
    ) -> Result<usize, Fault> {
        self.change(deliveries, |outbox, id| outbox.change(id, |record| record.retry(now)))
    }

    pub(in crate::store::sled) fn discard(&mut self, deliveries: &[DeliveryId]) -> Result<usize, Fault> {
        let forgotten = self.change(deliveries, |outbox, id| outbox.forget(id, |_| true))?;
        self.release(deliveries);
        Ok(forgotten)
    }

    /// Changes deliveries; returns how many `change` said it changed.
    fn change(
        &mut self,
        deliveries: &[DeliveryId],
        change: impl Fn(&mut Outbox<'_>, &DeliveryId) -> Result<bool, Fault>,
    ) -> Result<usize, Fault> {
        let mut outbox = Outbox::new(self.disk.view());
        let mut changed = vec![];
        for id in deliveries {
            if change(&mut outbox, id)? {
                changed.push(&id.destination);
            }
        }
        let writes = outbox.into_writes()?;
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
