//! As much of a store as deliveries need.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use callwatch::{
    call::CallId,
    event::{Event, EventId},
    name::Name,
    snapshot::Snapshot,
    store::{
        ATTEMPTS_KEPT, Commit, DeliveryFilter, DeliveryId, DeliveryRecord, DeliveryState, KnownCall, Lease,
        LeaseRequest, Leased, Outcome, Store, StoreError, Tally, Verdict,
    },
    time::Timestamp,
};
use serde_json::Value;
use tokio::sync::Notify;

#[derive(Default)]
pub struct Double {
    all: Mutex<All>,
    arrivals: Mutex<BTreeMap<Name, Arc<Notify>>>,
}

#[derive(Default)]
struct All {
    events: BTreeMap<EventId, Arc<Event>>,
    deliveries: BTreeMap<DeliveryId, DeliveryRecord>,
    leases: BTreeMap<DeliveryId, Timestamp>,
}

#[async_trait]
impl Store for Double {
    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        let mut all = self.all.lock().unwrap();
        for event in commit.events {
            all.events.insert(event.id.clone(), Arc::new(event));
        }
        for delivery in commit.deliveries {
            let event = Arc::clone(&all.events[&delivery.id.event]);
            all.deliveries.entry(delivery.id.clone()).or_insert_with(|| DeliveryRecord {
                id: delivery.id.clone(),
                source: event.source.clone(),
                call: event.call.clone(),
                rule: event.rule.clone(),
                sequence: delivery.sequence,
                created: delivery.created,
                state: DeliveryState::Pending { due: delivery.created },
                attempts: 0,
                log: vec![],
            });
            self.arrivals(&delivery.id.destination).notify_one();
        }
        Ok(())
    }

    async fn snapshots(&self, _: &Name, _: &[CallId]) -> Result<Vec<Option<Snapshot>>, StoreError> {
        Ok(vec![])
    }

    async fn known(&self, _: &Name, _: Option<&CallId>, _: usize) -> Result<Vec<KnownCall>, StoreError> {
        Ok(vec![])
    }

    async fn checkpoint(&self, _: &Name) -> Result<Option<Value>, StoreError> {
        Ok(None)
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<Leased, StoreError> {
        let mut all = self.all.lock().unwrap();
        let All { events, deliveries, leases } = &mut *all;
        leases.retain(|_, until| *until > request.now);
        let mut heads = BTreeMap::<_, &DeliveryRecord>::new();
        for record in deliveries.values().filter(|it| it.id.destination == request.destination) {
            if !matches!(record.state, DeliveryState::Pending { .. }) {
                continue;
            }
            let head = heads.entry((&record.source, &record.call)).or_insert(record);
            if record.sequence < head.sequence {
                *head = record;
            }
        }
        let mut due: Vec<(Timestamp, &DeliveryRecord)> = heads
            .into_values()
            .map(|record| match (leases.get(&record.id), &record.state) {
                (Some(until), _) => (*until, record),
                (None, DeliveryState::Pending { due }) => (*due, record),
                (None, _) => unreachable!("only pending ones were chosen"),
            })
            .collect();
        due.sort_by_key(|(at, record)| (*at, record.id.clone()));
        let mut leased = Leased::default();
        for (at, record) in due {
            if at > request.now || leased.deliveries.len() == request.limit {
                leased.next_due = Some(at);
                break;
            }
            leases.insert(record.id.clone(), request.until);
            leased.deliveries.push(Lease {
                id: record.id.clone(),
                event: Arc::clone(&events[&record.id.event]),
                sequence: record.sequence,
                created: record.created,
                attempts: record.attempts,
            });
        }
        Ok(leased)
    }

    async fn settle(&self, outcomes: Vec<Outcome>) -> Result<(), StoreError> {
        let mut all = self.all.lock().unwrap();
        for Outcome { id, attempt, verdict } in outcomes {
            all.leases.remove(&id);
            let record = all.deliveries.get_mut(&id).unwrap();
            if !matches!(record.state, DeliveryState::Pending { .. }) {
                continue;
            }
            let at = attempt.at;
            record.attempts += 1;
            record.log.push(attempt);
            let extra = record.log.len().saturating_sub(ATTEMPTS_KEPT);
            record.log.drain(..extra);
            record.state = match verdict {
                Verdict::Delivered => DeliveryState::Delivered { at },
                Verdict::Retry(due) => DeliveryState::Pending { due },
                Verdict::Dead(reason) => DeliveryState::Dead { at, reason },
            };
        }
        Ok(())
    }

    async fn release(&self, deliveries: Vec<DeliveryId>) -> Result<(), StoreError> {
        let mut all = self.all.lock().unwrap();
        for id in deliveries {
            all.leases.remove(&id);
        }
        Ok(())
    }

    fn arrivals(&self, destination: &Name) -> Arc<Notify> {
        Arc::clone(self.arrivals.lock().unwrap().entry(destination.clone()).or_default())
    }

    async fn tally(&self) -> Result<BTreeMap<Name, Tally>, StoreError> {
        Ok(BTreeMap::new())
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        _: Option<&DeliveryId>,
        limit: usize,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        let all = self.all.lock().unwrap();
        let of =
            |it: &&DeliveryRecord| filter.destination.as_ref().is_none_or(|name| *name == it.id.destination);
        Ok(all.deliveries.values().filter(of).take(limit).cloned().collect())
    }

    async fn purge(&self, _: Timestamp, _: usize) -> Result<usize, StoreError> {
        Ok(0)
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
