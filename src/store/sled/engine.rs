//! What the store does, on the one thread that holds the tree.

mod batches;
mod by_hand;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ::sled::IVec;

use super::{
    disk::Disk,
    dump::{Keep, Slice},
    fault::Fault,
    keys::{self, Key},
    outbox::Outbox,
    remembered::{self, Stored},
    value,
};
use crate::{
    call::CallId,
    event::{Event, EventId},
    name::Name,
    snapshot::Snapshot,
    store::{
        Commit, DeliveryFilter, DeliveryId, DeliveryRecord, KnownCall, Lease, LeaseRequest, Leased, Outcome,
        Pause, Tally, arrivals::Arrivals,
    },
    time::Timestamp,
};

/// At most this many deliveries are forgotten in one write.
const PURGE_STEP: usize = 200;

/// The tree, and what is remembered beside it only as long as the process lives.
pub(super) struct Engine {
    disk: Disk,
    /// When the leases of each destination end.
    leases: BTreeMap<Name, BTreeMap<EventId, Timestamp>>,
    arrivals: Arc<Arrivals>,
    /// Destinations with deliveries that were written since the last sync.
    arrived: BTreeSet<Name>,
}

impl Engine {
    pub(super) fn new(disk: Disk, arrivals: Arc<Arrivals>) -> Self {
        Self { disk, leases: BTreeMap::new(), arrivals, arrived: BTreeSet::new() }
    }

    /// Makes what was written durable and wakes those it is for.
    pub(super) fn sync(&mut self) -> Result<(), Fault> {
        self.disk.sync()?;
        std::mem::take(&mut self.arrived).iter().for_each(|destination| self.arrivals.wake(destination));
        Ok(())
    }

    /// See [`Disk::begin_dump`].
    pub(super) fn begin_dump(&mut self, keep: Keep) -> Option<Arc<()>> {
        self.disk.begin_dump(keep)
    }

    /// See [`Disk::next_of_dump`]; with the count of writes that what has been copied by then amounts to.
    pub(super) fn next_of_dump(&mut self, taker: &Arc<()>) -> Result<Option<(Slice, u64)>, Fault> {
        Ok(self.disk.next_of_dump(taker)?.map(|slice| (slice, self.disk.sequence())))
    }

    /// See [`Disk::is_broken`].
    pub(super) fn is_broken(&self) -> bool {
        self.disk.is_broken()
    }

    /// Ends in good order.
    pub(super) fn finish(self) -> Result<(), Fault> {
        self.disk.finish()
    }

    pub(super) fn commit(&mut self, commit: Commit) -> Result<(), Fault> {
        let mut outbox = Outbox::new(self.disk.view());
        let view = &mut outbox.view;
        for (call, snapshot) in &commit.snapshots {
            let stored = Stored::of(call, snapshot)?;
            view.put_bytes(&keys::snapshot(&commit.source, call), &stored.head, &stored.body)?;
        }
        let mut events: BTreeMap<&EventId, &Event> = BTreeMap::new();
        for event in &commit.events {
            let key = keys::event(&event.id);
            if !view.contains(&key)? {
                view.put_new(&key, event)?;
            }
            events.entry(&event.id).or_insert(event);
        }
        if let Some(checkpoint) = &commit.checkpoint {
            view.put(&keys::checkpoint(&commit.source), checkpoint)?;
        }
        let mut arrived = BTreeSet::new();
        for delivery in commit.deliveries {
            let destination = delivery.id.destination.clone();
            let event = events.get(&delivery.id.event).copied();
            if outbox.add(delivery, event)? {
                arrived.insert(destination);
            }
        }
        let writes = outbox.into_writes()?;
        self.disk.write(writes)?;
        self.arrived.append(&mut arrived);
        Ok(())
    }

    pub(super) fn snapshots(&self, source: &Name, calls: &[CallId]) -> Result<Vec<Option<Snapshot>>, Fault> {
        let view = self.disk.view();
        let find = |call| match view.parts(&keys::snapshot(source, call))? {
            Some((head, body)) => Ok(Some(Stored { head, body }.snapshot(call)?)),
            None => Ok(None),
        };
        calls.iter().map(find).collect()
    }

    pub(super) fn known(
        &self,
        source: &Name,
        after: Option<&CallId>,
        limit: usize,
    ) -> Result<Vec<KnownCall>, Fault> {
        let prefix = keys::snapshots(source);
        let after = after.map(|call| keys::snapshot(source, call));
        let page = self.disk.scan(&prefix, after.as_ref()).take(limit);
        page.map(|item| Ok(known(&prefix, &item?)?.0)).collect()
    }

    /// Looks at up to `scan` snapshots after `after`, shrinks those of calls settled before `before`, and returns
    /// where to go on; `None` when there is nothing after that.
    pub(super) fn shrink(
        &mut self,
        source: &Name,
        before: Timestamp,
        after: Option<&CallId>,
        scan: usize,
    ) -> Result<Option<CallId>, Fault> {
        let prefix = keys::snapshots(source);
        let mut view = self.disk.view();
        let mut last = None;
        for item in
            self.disk.scan(&prefix, after.map(|call| keys::snapshot(source, call)).as_ref()).take(scan)
        {
            let (KnownCall { id, .. }, shrunk) = known(&prefix, &item?)?;
            let key = keys::snapshot(source, &id);
            if !shrunk && let Some((head, body)) = view.parts(&key)? {
                let mut snapshot = Stored { head, body }.snapshot(&id)?;
                if snapshot.is_settled(before) {
                    snapshot.shrink();
                    let stored = Stored::of(&id, &snapshot)?;
                    view.put_bytes(&key, &stored.head, &stored.body)?;
                }
            }
            last = Some(id);
        }
        let writes = view.into_writes();
        self.disk.write(writes)?;
        Ok(last)
    }

    pub(super) fn checkpoint(&self, source: &Name) -> Result<Option<serde_json::Value>, Fault> {
        self.disk.view().get(&keys::checkpoint(source))
    }

    pub(super) fn lease(&mut self, request: &LeaseRequest) -> Result<Leased, Fault> {
        let view = self.disk.view();
        let pause = view.get::<Pause>(&keys::pause(&request.destination))?;
        if let Some(pause) = pause.filter(|pause| !pause.is_over(request.now)) {
            return Ok(Leased { deliveries: vec![], next_due: pause.until, pause: Some(pause) });
        }
        let leases = self.leases.entry(request.destination.clone()).or_default();
        leases.retain(|_, until| *until > request.now);
        let mut leased = Leased::default();
        let queue = keys::queue(&request.destination);
        for item in self.disk.scan(&queue, None) {
            let (due, event) = keys::due_in_queue(&queue, &item?.0).ok_or(BAD_KEY)?;
            let waits_until = match leases.get(&event) {
                Some(until) => due.max(*until),
                None if due <= request.now && leased.deliveries.len() < request.limit => {
                    let id = DeliveryId { event, destination: request.destination.clone() };
                    let record: DeliveryRecord = view.require(&keys::delivery(&id))?;
                    leased.deliveries.push(Lease {
                        event: Arc::new(view.require(&keys::event(&id.event))?),
                        id,
                        sequence: record.sequence,
                        created: record.created,
                        attempts: record.attempts,
                        restart: record.restart,
                    });
                    continue;
                }
                None => due,
            };
            leased.next_due = Some(leased.next_due.map_or(waits_until, |next| next.min(waits_until)));
            // What follows is due no earlier than this, and a lease only makes it later.
            if due >= waits_until {
                break;
            }
        }
        leases.extend(leased.deliveries.iter().map(|lease| (lease.id.event.clone(), request.until)));
        Ok(leased)
    }

    pub(super) fn release(&mut self, deliveries: &[DeliveryId]) {
        for id in deliveries {
            if let Some(leases) = self.leases.get_mut(&id.destination) {
                leases.remove(&id.event);
            }
        }
    }

    pub(super) fn settle(&mut self, outcomes: Vec<Outcome>) -> Result<(), Fault> {
        let mut outbox = Outbox::new(self.disk.view());
        let mut settled = vec![];
        for Outcome { id, attempt, verdict } in outcomes {
            let settle = |record: &mut DeliveryRecord| {
                let is_pending = record.due().is_some();
                if is_pending {
                    record.settle(attempt, verdict);
                }
                is_pending
            };
            if outbox.change(&id, settle)? {
                settled.push(id);
            }
        }
        let writes = outbox.into_writes()?;
        self.disk.write(writes)?;
        self.release(&settled);
        Ok(())
    }

    pub(super) fn tally(&self) -> Result<BTreeMap<Name, Tally>, Fault> {
        let prefix = keys::tallies();
        let all = self.disk.scan(&prefix, None).map(|item| {
            let (key, bytes) = item?;
            let destination = std::str::from_utf8(prefix.rest(&key)).map_err(|_| BAD_KEY)?;
            Ok((Name::from(destination), value::from_json(value::unseal(&key, &bytes)?.body)?))
        });
        all.collect()
    }

    /// Looks at up to `scan` deliveries after `after` and returns those that match, at most `limit`, and where to
    /// go on; `None` when there is nothing after that.
    pub(super) fn deliveries(
        &self,
        filter: &DeliveryFilter,
        after: Option<&DeliveryId>,
        limit: usize,
        scan: usize,
    ) -> Result<(Vec<DeliveryRecord>, Option<DeliveryId>), Fault> {
        let view = self.disk.view();
        let after = after.map(keys::delivery);
        let mut found = vec![];
        let mut last = None;
        for item in self.disk.scan(&keys::deliveries(), after.as_ref()).take(scan) {
            let (key, sealed) = item?;
            let record: DeliveryRecord = view.read(&Key::from(key), &sealed)?;
            last = Some(record.id.clone());
            if filter.matches(&record) {
                found.push(record);
            }
            if found.len() >= limit {
                break;
            }
        }
        Ok((found, last))
    }

    /// Forgets at most [`PURGE_STEP`] deliveries.
    pub(super) fn purge(&mut self, before: Timestamp, limit: usize) -> Result<usize, Fault> {
        let mut old = vec![];
        for item in self.disk.scan(&keys::finished(), None).take(limit.min(PURGE_STEP)) {
            let (at, id) = keys::what_finished(&item?.0).ok_or(BAD_KEY)?;
            if at >= before {
                break;
            }
            old.push(id);
        }
        let mut outbox = Outbox::new(self.disk.view());
        for id in &old {
            if !outbox.forget(id, |_| true)? {
                return Err(Fault::Damaged("a delivery is missing"));
            }
        }
        let writes = outbox.into_writes()?;
        self.disk.write(writes)?;
        Ok(old.len())
    }
}

pub(super) const BAD_KEY: Fault = Fault::Damaged("a key cannot be read");

/// Reads what stands in front of a snapshot; also whether the snapshot is shrunk.
fn known(prefix: &Key, (key, bytes): &(IVec, IVec)) -> Result<(KnownCall, bool), Fault> {
    let id = std::str::from_utf8(prefix.rest(key)).map_err(|_| BAD_KEY)?;
    remembered::known(id.into(), value::unseal(key, bytes)?.head)
}
