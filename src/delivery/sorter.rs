//! Sorts the held deliveries of a destination: reads them, asks the [`Pacer`], and makes in the store what it says.

use std::{collections::HashMap, sync::Arc};

use serde_json::{Map, Value};

use super::{
    insist,
    pacer::{Outgoing, Pacer, Place},
};
use crate::{
    batch::BatchKey,
    calendar::Hours,
    call::CallId,
    event::EventId,
    json,
    name::Name,
    rule::Rules,
    store::{DeliveryId, Held, Merge, NewDelivery, Sorting, Store, StoreError},
    summary::{self, Reason, Summarizer},
    telemetry::{Signal, Telemetry},
    time::Timestamp,
};

/// How many held deliveries are read at a time.
const PAGE: usize = 500;

/// The held deliveries of one destination.
pub(crate) struct Sorter {
    destination: Name,
    store: Arc<dyn Store>,
    telemetry: Telemetry,
    pacer: Pacer,
}

impl Sorter {
    /// With what the store remembers of the destination.
    pub(crate) async fn load(
        destination: Name,
        rules: Rules,
        quiet: Option<Hours>,
        store: Arc<dyn Store>,
        telemetry: Telemetry,
    ) -> Result<Self, StoreError> {
        let ledgers = insist(&telemetry, "reading what is held", || store.ledgers(&destination)).await?;
        Ok(Self { pacer: Pacer::new(rules, quiet, ledgers), destination, store, telemetry })
    }

    /// Paces by these rules from here on.
    pub(super) fn follow_rules(&mut self, rules: Rules) {
        self.pacer.follow_rules(rules);
    }

    /// When there is something to do even if nothing arrives.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.pacer.next()
    }

    /// When what waits in this batch goes out; `None` when nothing does, or when more has to come in first.
    pub(crate) fn goes_out(&self, batch: &BatchKey) -> Option<Timestamp> {
        self.pacer.goes_out(batch)
    }

    /// Whether what the rule tells has to wait because of the quiet hours.
    pub(super) fn is_quiet_for(&self, rule: &Name, now: Timestamp) -> bool {
        self.pacer.is_quiet_for(rule, now)
    }

    /// Sorts what has arrived, and sends what is due.
    ///
    /// # Errors
    /// When the store fails. The sorter is of no use then: it may know of more than the store does.
    pub(crate) async fn sort(&mut self, now: Timestamp) -> Result<(), StoreError> {
        loop {
            let arrived = self.held(&BatchKey::Arrived, None).await?;
            let mut sorting = Sorting::new(self.destination.clone(), now);
            for Held { id, event, created } in &arrived {
                let call = json::fields(event.record.get()).unwrap_or_default();
                match self.pacer.place(event, &call, *created, now) {
                    Place::Send => sorting.send.push(id.event.clone()),
                    Place::Hold(batch) => sorting.hold.push((id.event.clone(), batch)),
                }
            }
            let held = sorting.hold.clone();
            self.write(sorting).await?;
            self.tell_held(held);
            if arrived.len() < PAGE {
                break;
            }
        }
        self.forget_late(now).await?;
        for Outgoing { batches, reason } in self.pacer.due(now) {
            match reason {
                Some(reason) => self.send_as_one(batches, reason, now).await?,
                None => self.send_each(batches, now).await?,
            }
        }
        self.forget_late(now).await
    }

    /// Keeps deliveries that were due until the quiet hours are over.
    pub(super) async fn hush(&mut self, deliveries: Vec<EventId>, now: Timestamp) -> Result<(), StoreError> {
        let mut sorting = Sorting::new(self.destination.clone(), now);
        sorting.hold = deliveries.into_iter().map(|event| (event, self.pacer.hush(now))).collect();
        let held = sorting.hold.clone();
        self.write(sorting).await?;
        self.tell_held(held);
        Ok(())
    }

    fn tell_held(&self, held: Vec<(EventId, BatchKey)>) {
        for (event, batch) in held {
            let delivery = DeliveryId { event, destination: self.destination.clone() };
            self.telemetry.emit(Signal::Held { delivery, batch });
        }
    }

    async fn forget_late(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let mut sorting = Sorting::new(self.destination.clone(), now);
        sorting.forget = self.pacer.expire(now);
        self.write(sorting).await
    }

    async fn write(&mut self, mut sorting: Sorting) -> Result<(), StoreError> {
        sorting.ledgers = self.pacer.changes();
        if sorting.is_empty() {
            return Ok(());
        }
        insist(&self.telemetry, "sorting deliveries", || self.store.sort(sorting.clone())).await
    }

    async fn held(&self, batch: &BatchKey, after: Option<&Held>) -> Result<Vec<Held>, StoreError> {
        insist(&self.telemetry, "reading what is held", || {
            self.store.held(&self.destination, batch, after, PAGE)
        })
        .await
    }

    async fn send_each(&mut self, batches: Vec<BatchKey>, now: Timestamp) -> Result<(), StoreError> {
        for batch in &batches {
            loop {
                let page = self.held(batch, None).await?;
                let mut sorting = Sorting::new(self.destination.clone(), now);
                sorting.send = page.iter().map(|held| held.id.event.clone()).collect();
                if page.len() < PAGE {
                    self.pacer.gone(&batches, true, now);
                }
                self.write(sorting).await?;
                if page.len() < PAGE {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn send_as_one(
        &mut self,
        batches: Vec<BatchKey>,
        reason: Reason,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut summarizer = Summarizer::new(reason);
        for batch in &batches {
            let mut last: Option<Held> = None;
            loop {
                let page = self.held(batch, last.as_ref()).await?;
                page.iter().for_each(|held| summarizer.add(&held.event));
                let is_last = page.len() < PAGE;
                last = page.into_iter().next_back().or(last);
                if is_last {
                    break;
                }
            }
        }
        let count = summarizer.count();
        let mut sorting = Sorting::new(self.destination.clone(), now);
        sorting.merge = self.merge(batches.clone(), summarizer, now).await?;
        let told = sorting.merge.is_some();
        let summary = sorting.merge.as_ref().map(|merge| merge.event.id.clone());
        self.pacer.gone(&batches, told, now);
        self.write(sorting).await?;
        if let Some(event) = summary {
            let destination = self.destination.clone();
            self.telemetry.emit(Signal::Summarized { event, destination, reason, count });
        }
        Ok(())
    }

    /// What goes out for everything in `batches`; nothing when somebody has dropped it all.
    async fn merge(
        &self,
        batches: Vec<BatchKey>,
        mut summarizer: Summarizer,
        now: Timestamp,
    ) -> Result<Option<Merge>, StoreError> {
        for (source, items) in summarizer.calls_by_source() {
            let calls: Vec<_> = items.iter().map(|(call, _)| call.clone()).collect();
            let ask = || self.store.snapshots(&source, &calls);
            let snapshots = insist(&self.telemetry, "reading calls", ask).await?;
            let current: HashMap<CallId, Map<String, Value>> = calls
                .into_iter()
                .zip(snapshots)
                .filter_map(|(call, snapshot)| {
                    Some((call, snapshot.filter(|snapshot| snapshot.shrunk.is_none())?.fields))
                })
                .collect();
            for (call, item) in items {
                if let Some(fields) = current.get(&call) {
                    summary::show(item, fields);
                }
            }
        }
        // The first names the batch: after quiet hours there may be several.
        let Some(batch) =
            batches.iter().find(|batch| **batch == BatchKey::Quiet).or(batches.first()).cloned()
        else {
            return Ok(None);
        };
        let Some(event) = summarizer.event(&self.destination, batch, now) else { return Ok(None) };
        let id = DeliveryId { event: event.id.clone(), destination: self.destination.clone() };
        // Later ones of a batch have higher numbers, whatever was forgotten in between.
        let sequence = u64::try_from(now.as_millis()).unwrap_or_default();
        let delivery = NewDelivery { id, sequence, created: now, held: false };
        Ok(Some(Merge { batches, event, delivery }))
    }
}
