//! Upkeep of the store while everything else runs: room, backups, and a watch for a store that hangs.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::HeartbeatConfig,
    config_file::Config,
    name::Name,
    rule::Rules,
    store::{self, BackedUp, Backup, Claim, Duty, Store, StoreError, Tally, Turn},
    telemetry::{ClusterStatus, Signal, StoreSignal, Telemetry},
    time::Clock,
};

/// How often finished deliveries that are older than `retain` are looked for.
const PURGE_EVERY: Duration = Duration::from_secs(600);

/// How many deliveries are forgotten at a time, so that nobody waits long for the store.
const PURGE_STEP: usize = 500;

/// How often snapshots of calls that have settled are looked for.
const SHRINK_EVERY: Duration = Duration::from_secs(24 * 3600);

/// A backup that failed is tried again after this time, or earlier when backups are made more often.
const BACKUP_RETRY: Duration = Duration::from_secs(600);

/// How often the cluster is looked at for its gauges.
const SURVEY_EVERY: Duration = Duration::from_secs(15);

/// How often the store is asked whether it still answers.
const STORE_PROBE: Duration = Duration::from_secs(30);

/// How long the store may take to answer before it counts as hung, and in how many steps that is waited for: a process
/// that was stopped for a while wakes within one step, and has not waited for the others.
const STORE_PATIENCE: (Duration, u32) = (Duration::from_secs(10), 12);

/// The part of the config that is about upkeep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct UpkeepConfig {
    /// How long finished deliveries are kept, and snapshots of settled calls in full.
    retain: Duration,
    /// How often the store is backed up.
    backup_every: Duration,
    /// The sources whose snapshots are shrunk, each with the time within which it is to have answered.
    pub(super) sources: BTreeMap<Name, Duration>,
    /// The sign of life; `None` sends none.
    pub(super) heartbeat: Option<HeartbeatConfig>,
    /// The destinations of the config. Deliveries for any other would wait without end.
    destinations: Vec<Name>,
}

impl UpkeepConfig {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            retain: config.store.retain,
            backup_every: config.backup.every,
            sources: config
                .sources
                .iter()
                .map(|it| (it.name.clone(), it.failing_after.max(it.interval * 3) + it.timeout))
                .collect(),
            heartbeat: config.heartbeat.clone(),
            destinations: config.destinations.iter().map(|destination| destination.name.clone()).collect(),
        }
    }
}

/// The task that keeps the store in shape.
#[derive(Clone)]
pub(super) struct Upkeep {
    /// The config, which can be swapped while the task runs.
    pub(super) config: watch::Receiver<UpkeepConfig>,
    /// The rules, for what is told of the config.
    pub(super) rules: watch::Receiver<Rules>,
    pub(super) store: Arc<dyn Store>,
    pub(super) telemetry: Telemetry,
    pub(super) clock: Clock,
}

impl Upkeep {
    /// Keeps the store in shape until `stop` is cancelled.
    ///
    /// # Errors
    /// When the store fails. A backup that fails is told and tried again; it stops nothing.
    pub(super) async fn run(self, stop: CancellationToken) -> Result<(), StoreError> {
        let work = |claim: Claim, _| {
            let (it, stop) = (self.clone(), stop.clone());
            async move {
                let kept = tokio::try_join!(
                    it.clone().make_room(&claim, &stop),
                    it.clone().back_up(&claim, &stop),
                    it.renew(&claim, &stop),
                    it.clone().keep_notes(&claim, &stop),
                    it.survey(&stop),
                    it.clone().beat(&stop),
                );
                it.telemetry.set_cluster(None);
                kept.map(drop)
            }
        };
        let hear = |turn: Turn<'_>| self.telemetry.note_turn(&Duty::Upkeep, turn);
        store::work_in_turn(&*self.store, &Duty::Upkeep, &stop, hear, work).await
    }

    /// Notes on the board how the cluster as a whole stands, until `stop` is cancelled.
    ///
    /// # Errors
    /// When the store fails.
    async fn survey(&self, stop: &CancellationToken) -> Result<(), StoreError> {
        let failed = |error| self.failed("looking at the cluster", error);
        while let Some(cluster) = self.store.cluster().await.map_err(failed)? {
            let destinations = self.store.destinations().await.map_err(failed)?;
            let mut deliveries: BTreeMap<Name, Tally> = BTreeMap::new();
            for destination in &self.config.borrow().destinations {
                deliveries.insert(destination.clone(), Tally::default());
            }
            deliveries.extend(destinations.into_iter().map(|(name, standing)| (name, standing.tally)));
            // Right after an outage of the database nobody has been heard of lately, this process included.
            let status = ClusterStatus::of(&cluster, deliveries);
            self.telemetry.set_cluster((status.nodes > 0).then_some(status));
            if stop.run_until_cancelled(sleep(SURVEY_EVERY)).await.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Renews the claim every third of its lease, until `stop` is cancelled.
    async fn renew(&self, claim: &Claim, stop: &CancellationToken) -> Result<(), StoreError> {
        let Some(lease) = claim.lease else { return Ok(()) };
        while stop.run_until_cancelled(sleep(lease / 3)).await.is_some() {
            let renewed = self.store.claim(&claim.duty).await;
            let renewed = renewed.map_err(|error| self.failed("renewing a claim", error))?;
            if renewed.is_none_or(|renewed| renewed.epoch != claim.epoch) {
                return Err(StoreError::ClaimLost { duty: claim.duty.clone() });
            }
        }
        Ok(())
    }

    /// Waits for this long, or until the config changes or `stop` is cancelled.
    pub(super) async fn wait(&mut self, wait: Duration, stop: &CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            Ok(()) = self.config.changed() => {}
            () = sleep(wait) => {}
        }
    }

    /// Forgets deliveries that were finished longer ago than `retain`, and most fields of calls that have been settled
    /// for as long. Tells of deliveries that wait for a destination that the config does not have.
    async fn make_room(mut self, claim: &Claim, stop: &CancellationToken) -> Result<(), StoreError> {
        let mut shrink_at = Instant::now();
        let mut destinations = vec![];
        while !stop.is_cancelled() {
            let config = self.config.borrow_and_update().clone();
            if destinations != config.destinations {
                destinations.clone_from(&config.destinations);
                self.tell_stranded(&destinations).await?;
            }
            // A wall clock that leaps ahead must not make what has just ended old.
            let now = self.clock.wall().min(self.clock.steady());
            let before = now.before(config.retain);
            let purged = self.store.purge(claim, before, PURGE_STEP).await;
            if purged.map_err(|error| self.failed("purging", error))? > 0 {
                tokio::task::yield_now().await;
                continue;
            }
            if Instant::now() >= shrink_at {
                for source in config.sources.keys() {
                    // Shrinking takes a while, and can be stopped anywhere without harm.
                    let shrunk = stop.run_until_cancelled(self.store.shrink(claim, source, before)).await;
                    shrunk.unwrap_or(Ok(())).map_err(|error| self.failed("shrinking snapshots", error))?;
                }
                shrink_at = Instant::now() + SHRINK_EVERY;
            }
            self.wait(PURGE_EVERY, stop).await;
        }
        Ok(())
    }

    async fn tell_stranded(&self, destinations: &[Name]) -> Result<(), StoreError> {
        let all =
            self.store.destinations().await.map_err(|error| self.failed("counting deliveries", error))?;
        for (destination, standing) in all {
            let waiting = standing.tally.unfinished();
            if waiting > 0 && !destinations.contains(&destination) {
                self.telemetry.emit(Signal::Stranded { destination, waiting });
            }
        }
        Ok(())
    }

    /// Backs the store up again and again.
    async fn back_up(mut self, claim: &Claim, stop: &CancellationToken) -> Result<(), StoreError> {
        loop {
            let every = self.config.borrow_and_update().backup_every;
            let taken = stop.run_until_cancelled(self.store.back_up(claim, self.clock.wall(), every)).await;
            let wait = match taken {
                // The task was told to stop, or the store's backups are not callwatch's business.
                None | Some(Ok(None)) => return Ok(()),
                Some(Ok(Some(BackedUp { taken, next }))) => {
                    if let Some(Backup { file, bytes }) = taken {
                        self.telemetry.emit(Signal::Store(StoreSignal::BackedUp { file, bytes }));
                    }
                    next.since(self.clock.wall())
                }
                Some(Err(error @ StoreError::Backup { .. })) => {
                    self.telemetry
                        .emit(Signal::Store(StoreSignal::BackupFailed { error: error.to_string() }));
                    every.min(BACKUP_RETRY)
                }
                Some(Err(error)) => return Err(self.failed("backing up", error)),
            };
            self.wait(wait, stop).await;
        }
    }

    /// Reports a failure of the store and returns it.
    pub(super) fn failed(&self, doing: &'static str, error: StoreError) -> StoreError {
        self.telemetry.emit(Signal::StoreFailed { doing, error: error.to_string() });
        error
    }
}

/// Asks the store again and again, and returns how long it waited when no answer came, not even an error.
pub(super) async fn until_it_hangs<F: Future>(ask: impl Fn() -> F) -> Duration {
    let (step, steps) = STORE_PATIENCE;
    loop {
        sleep(STORE_PROBE).await;
        let mut answer = std::pin::pin!(ask());
        let mut unanswered = 0;
        while tokio::time::timeout(step, &mut answer).await.is_err() {
            unanswered += 1;
            if unanswered == steps {
                return step * steps;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_store_that_answers_slowly_does_not_hang() {
        let slow = || sleep(Duration::from_secs(119));
        assert!(timeout(Duration::from_secs(24 * 3600), until_it_hangs(slow)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_answers_no_more_hangs_after_two_minutes() {
        let begun = Instant::now();
        let asked = std::cell::Cell::new(0);
        let third_hangs = || {
            asked.set(asked.get() + 1);
            let hangs = asked.get() == 3;
            async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
            }
        };
        assert_eq!(until_it_hangs(third_hangs).await, Duration::from_secs(120));
        assert_eq!(begun.elapsed().as_secs(), 3 * 30 + 120);
    }
}
