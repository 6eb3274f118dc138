//! What waits in batches, and what becomes of it.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{BAD_KEY, Engine};
use crate::{
    batch::BatchKey,
    name::Name,
    store::{
        DeliveryId, Held, Merge, Sorting,
        sled::{fault::Fault, keys, keys::Key, outbox::Outbox},
    },
};

impl Engine {
    pub(in crate::store::sled) fn held(
        &self,
        destination: &Name,
        batch: &BatchKey,
        after: Option<&Held>,
        limit: usize,
    ) -> Result<Vec<Held>, Fault> {
        let view = self.disk.view();
        let batch = keys::batch(destination, batch);
        let after = after.map(|held| keys::in_batch(&batch, held.created, &held.id.event));
        let page = self.disk.scan(&batch, after.as_ref()).take(limit).map(|item| {
            let (created, event) = keys::held_in_batch(&batch, &item?.0).ok_or(BAD_KEY)?;
            let told = Arc::new(view.require(&keys::event(&event))?);
            Ok(Held { id: DeliveryId { event, destination: destination.clone() }, event: told, created })
        });
        page.collect()
    }

    pub(in crate::store::sled) fn sort(&mut self, sorting: Sorting) -> Result<(), Fault> {
        let Sorting { destination, now, hold, send, forget, merge, ledgers } = sorting;
        let id = |event| DeliveryId { event, destination: destination.clone() };
        let mut outbox = Outbox::new(self.disk.view());
        let merge = match merge {
            Some(Merge { event, delivery, .. }) if delivery.id.event != event.id => {
                return Err(Fault::UnknownEvent(delivery.id));
            }
            Some(merge) if outbox.get(&merge.delivery.id)?.is_some() => None,
            merge => merge,
        };
        let mut moved = merge.is_some();
        let mut taken = vec![];
        for (event, batch) in hold {
            let id = id(event);
            if outbox.change(&id, |record| record.hold(batch))? {
                taken.push(id);
            }
        }
        for event in send {
            moved |= outbox.change(&id(event), |record| record.send(now))?;
        }
        for event in forget {
            outbox.forget(&id(event), |record| record.waits_in().is_some())?;
        }
        if let Some(Merge { batches, event, delivery }) = merge {
            for batch in &batches {
                let batch = keys::batch(&destination, batch);
                for key in outbox.view.keys(&batch)? {
                    let (_, member) = keys::held_in_batch(&batch, &key).ok_or(BAD_KEY)?;
                    outbox.change(&id(member), |record| {
                        record.merge(now, event.id.clone());
                        true
                    })?;
                }
            }
            let key = keys::event(&event.id);
            if !outbox.view.contains(&key)? {
                outbox.view.put(&key, &event)?;
            }
            outbox.add(delivery, Some(&event))?;
        }
        for (batch, ledger) in ledgers {
            let key = keys::ledger(&destination, &batch);
            match ledger {
                Some(ledger) => outbox.view.put(&key, &ledger)?,
                None => outbox.view.remove(&key)?,
            }
        }
        let writes = outbox.into_writes()?;
        self.disk.write(writes)?;
        self.release(&taken);
        if moved || !taken.is_empty() {
            self.arrived.insert(destination);
        }
        Ok(())
    }

    pub(in crate::store::sled) fn ledgers(
        &self,
        destination: &Name,
    ) -> Result<BTreeMap<BatchKey, Value>, Fault> {
        let view = self.disk.view();
        let prefix = keys::ledgers(destination);
        let all = self.disk.scan(&prefix, None).map(|item| {
            let key = Key::from(item?.0);
            let batch = keys::batch_of_ledger(&prefix, key.as_ref()).ok_or(BAD_KEY)?;
            Ok((batch, view.require(&key)?))
        });
        all.collect()
    }
}
