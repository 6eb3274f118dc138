//! The store in a folder on this machine, in [sled](https://docs.rs/sled).
//!
//! * [`thread`]: sled blocks, so it has a thread of its own; the store's methods send it jobs.
//! * [`engine`]: what each job does; [`view`]: what it reads, and the writes it prepares; [`outbox`]: what follows
//!   from a change to a delivery.
//! * [`disk`]: writes that are whole or not there, and durable; [`keys`] and [`value`]: what they look like.
//! * [`remembered`]: what snapshots look like, shrunk or not; [`witness`]: how often the store was written to.
//! * [`open`]: the folder, its lock, and what a crash may have left; [`fault`]: what goes wrong.
//! * [`backup`]: the store to and from a file ([`archive`]), with [`dump`] and [`renew`], which also make a store
//!   smaller or bring it up to this schema.

mod archive;
mod backup;
mod disk;
mod dump;
mod engine;
mod fault;
mod keys;
mod lanes;
mod open;
mod outbox;
mod remembered;
mod renew;
mod thread;
mod value;
mod view;
mod witness;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::Notify;

pub use self::backup::{Backup, Restored};
use self::thread::Thread;
use super::{
    Commit, DeliveryFilter, DeliveryId, DeliveryRecord, Held, KnownCall, LeaseRequest, Leased, Outcome,
    Pause, Sorting, Store, StoreError, Tally, arrivals::Arrivals,
};
use crate::{
    batch::BatchKey, call::CallId, config::StoreConfig, name::Name, snapshot::Snapshot, time::Timestamp,
};

/// How many records one job looks at before others have their turn.
const SLICE: usize = 2000;

/// How many held deliveries, whose events may be large, one job reads before others have their turn.
const HELD_SLICE: usize = 200;

/// How many snapshots one job looks at to shrink some of them.
const SHRINK_STEP: usize = 200;

/// The store in a folder on this machine. For one process at a time.
///
/// Dropping it ends it in good order as [`Store::close`] does, but without waiting for it.
pub struct SledStore {
    thread: Thread,
    arrivals: Arc<Arrivals>,
    path: PathBuf,
}

impl SledStore {
    /// Opens the store in `config.path`, or makes one there. After an unclean stop every value is checked first,
    /// which takes a while for a large store.
    ///
    /// # Errors
    /// [`StoreError`]; what is damaged has been tried to repair, and was copied aside before.
    pub async fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        let arrivals = Arc::new(Arrivals::default());
        let thread = Thread::start(config, Arc::clone(&arrivals)).await?;
        Ok(Self { thread, arrivals, path: config.path.clone() })
    }
}

#[async_trait]
impl Store for SledStore {
    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        self.thread.write(move |engine| engine.commit(commit)).await
    }

    async fn snapshots(&self, source: &Name, calls: &[CallId]) -> Result<Vec<Option<Snapshot>>, StoreError> {
        let (source, calls) = (source.clone(), calls.to_vec());
        self.thread.read(move |engine| engine.snapshots(&source, &calls)).await
    }

    async fn known(
        &self,
        source: &Name,
        after: Option<&CallId>,
        limit: usize,
    ) -> Result<Vec<KnownCall>, StoreError> {
        let mut page: Vec<KnownCall> = vec![];
        while page.len() < limit {
            let slice = SLICE.min(limit - page.len());
            let (source, after) = (source.clone(), page.last().map(|call| &call.id).or(after).cloned());
            let mut calls =
                self.thread.read(move |engine| engine.known(&source, after.as_ref(), slice)).await?;
            let is_last = calls.len() < slice;
            page.append(&mut calls);
            if is_last {
                break;
            }
        }
        Ok(page)
    }

    async fn checkpoint(&self, source: &Name) -> Result<Option<Value>, StoreError> {
        let source = source.clone();
        self.thread.read(move |engine| engine.checkpoint(&source)).await
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<Leased, StoreError> {
        let request = request.clone();
        // Answered like a write: what is handed out must be durable. A delivery that was sent and then forgotten
        // in a crash would be observed anew, and sent again with another time in it.
        self.thread.write(move |engine| engine.lease(&request)).await
    }

    async fn settle(&self, outcomes: Vec<Outcome>) -> Result<(), StoreError> {
        self.thread.write(move |engine| engine.settle(outcomes)).await
    }

    async fn release(&self, deliveries: Vec<DeliveryId>) -> Result<(), StoreError> {
        self.thread
            .read(move |engine| {
                engine.release(&deliveries);
                Ok(())
            })
            .await
    }

    fn arrivals(&self, destination: &Name) -> Arc<Notify> {
        self.arrivals.of(destination)
    }

    async fn tally(&self) -> Result<BTreeMap<Name, Tally>, StoreError> {
        self.thread.read(|engine| engine.tally()).await
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        after: Option<&DeliveryId>,
        limit: usize,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        let mut page: Vec<DeliveryRecord> = vec![];
        let mut from = after.cloned();
        while page.len() < limit {
            let (filter, missing) = (filter.clone(), limit - page.len());
            let look =
                move |engine: &mut engine::Engine| engine.deliveries(&filter, from.as_ref(), missing, SLICE);
            let (mut found, last) = self.thread.read(look).await?;
            page.append(&mut found);
            if last.is_none() {
                break;
            }
            from = last;
        }
        Ok(page)
    }

    async fn retry(&self, deliveries: Vec<DeliveryId>, now: Timestamp) -> Result<usize, StoreError> {
        self.thread.write(move |engine| engine.retry(&deliveries, now)).await
    }

    async fn discard(&self, deliveries: Vec<DeliveryId>) -> Result<usize, StoreError> {
        self.thread.write(move |engine| engine.discard(&deliveries)).await
    }

    async fn pause(&self, destination: &Name, pause: Pause) -> Result<(), StoreError> {
        let destination = destination.clone();
        self.thread.write(move |engine| engine.pause(&destination, pause)).await
    }

    async fn resume(&self, destination: &Name) -> Result<Option<Pause>, StoreError> {
        let destination = destination.clone();
        self.thread.write(move |engine| engine.resume(&destination)).await
    }

    async fn pauses(&self) -> Result<BTreeMap<Name, Pause>, StoreError> {
        self.thread.read(|engine| engine.pauses()).await
    }

    async fn held(
        &self,
        destination: &Name,
        batch: &BatchKey,
        after: Option<&Held>,
        limit: usize,
    ) -> Result<Vec<Held>, StoreError> {
        let mut page: Vec<Held> = vec![];
        while page.len() < limit {
            let slice = HELD_SLICE.min(limit - page.len());
            let (destination, batch) = (destination.clone(), batch.clone());
            let after = page.last().or(after).cloned();
            let look =
                move |engine: &mut engine::Engine| engine.held(&destination, &batch, after.as_ref(), slice);
            let mut held = self.thread.read(look).await?;
            let is_last = held.len() < slice;
            page.append(&mut held);
            if is_last {
                break;
            }
        }
        Ok(page)
    }

    async fn sort(&self, sorting: Sorting) -> Result<(), StoreError> {
        self.thread.write(move |engine| engine.sort(sorting)).await
    }

    async fn ledgers(&self, destination: &Name) -> Result<BTreeMap<BatchKey, Value>, StoreError> {
        let destination = destination.clone();
        self.thread.read(move |engine| engine.ledgers(&destination)).await
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let mut purged = 0;
        while purged < limit {
            let missing = limit - purged;
            let step = self.thread.write(move |engine| engine.purge(before, missing)).await?;
            if step == 0 {
                break;
            }
            purged += step;
        }
        Ok(purged)
    }

    async fn shrink(&self, source: &Name, before: Timestamp) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let (source, from) = (source.clone(), after);
            let step =
                move |engine: &mut engine::Engine| engine.shrink(&source, before, from.as_ref(), SHRINK_STEP);
            after = self.thread.write(step).await?;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn back_up(&self, now: Timestamp, every: Duration) -> Result<Option<Timestamp>, StoreError> {
        self.back_up_when_due(now, every).await.map(Some)
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.thread.close().await
    }
}
