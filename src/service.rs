//! The whole pipeline, put together from a config: what `run` and `demo` both start.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    callem::{
        Client,
        budget::{self, Budget},
    },
    config::{Config, StoreConfig},
    delivery::{self, DestinationTask},
    destination, http,
    name::Name,
    rule::{Rule, RuleSet},
    store::{Claim, Duty, Store, StoreError},
    sync::task::SourceTask,
    telemetry::{Signal, Telemetry},
    time::Clock,
};

/// How often finished deliveries that are older than `retain` are looked for.
const PURGE_EVERY: Duration = Duration::from_secs(600);

/// How often snapshots of calls that have settled since are looked for.
const SHRINK_EVERY: Duration = Duration::from_secs(24 * 3600);

/// How soon a backup that failed is tried again, at the latest.
const BACKUP_RETRY: Duration = Duration::from_secs(600);

/// How many of them are forgotten at a time, so that nobody waits long for the store.
const PURGE_STEP: usize = 500;

/// How long the store may take to answer before it counts as hung, and in how many steps that is waited for:
/// a process that was stopped for a while has not waited.
const STORE_PATIENCE: (Duration, u32) = (Duration::from_secs(10), 12);

/// How often it is asked whether it still answers.
const STORE_PROBE: Duration = Duration::from_secs(30);

/// Everything the pipeline needs.
pub struct Service {
    /// What to watch, when to tell, and whom.
    pub config: Config,
    /// Where it is remembered.
    pub store: Arc<dyn Store>,
    /// What is said about the work.
    pub telemetry: Telemetry,
    /// The time.
    pub clock: Clock,
}

/// Why the service could not start, or had to stop by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The store failed and cannot be relied on any more.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No connection can be made at all.
    #[error(transparent)]
    Http(#[from] http::ClientError),
    /// A destination cannot be set up.
    #[error(transparent)]
    Destination(#[from] destination::BuildError),
    /// The store takes jobs and does not do them. There is no ending in good order: that would hang as well.
    #[error(
        "the store {path} has not answered for {}; most likely the disk it is on hangs. Ending at once, so that whoever \
         supervises callwatch notices: nothing that was acknowledged is lost",
        humantime::format_duration(*.waited)
    )]
    StoreHangs {
        /// The store's folder.
        path: String,
        /// For how long it was waited for.
        waited: Duration,
    },
    /// A part of the service broke, which is a defect.
    #[error("a part of callwatch failed unexpectedly ({0}); stopping, so that a restart can mend it")]
    Panicked(String),
}

impl Service {
    /// Runs until `stop` is cancelled, then ends in good order: no new polls, attempts in flight get their grace
    /// period, and the store is closed. When any part fails the others are stopped in the same order: there is no
    /// half-alive state. Only when the store hangs everything is dropped where it stands.
    ///
    /// # Errors
    /// [`ServiceError`] when it cannot start or go on.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ServiceError> {
        let (store, path) = (Arc::clone(&self.store), self.config.store.path.display().to_string());
        tokio::select! {
            ended = self.work(stop) => ended,
            waited = until_it_hangs(|| store.destinations()) => Err(ServiceError::StoreHangs { path, waited }),
        }
    }

    async fn work(self, stop: CancellationToken) -> Result<(), ServiceError> {
        let stop = stop.child_token();
        let mut tasks = JoinSet::new();
        let rules: Arc<[Rule]> = self.config.rules.clone().into();
        let http = http::client()?;
        for task in self.sources(&rules, &http) {
            tasks.spawn(task.run(stop.clone()));
        }
        for task in self.destinations(&rules, &http)? {
            tasks.spawn(delivery::run(task, stop.clone()));
        }
        tasks.spawn(purge(
            self.config.store.clone(),
            self.config.sources.iter().map(|source| source.name.clone()).collect(),
            Arc::clone(&self.store),
            self.telemetry.clone(),
            self.clock,
            stop.clone(),
        ));
        tasks.spawn(back_up(
            self.config.backup.every,
            Arc::clone(&self.store),
            self.telemetry.clone(),
            self.clock,
            stop.clone(),
        ));
        let mut outcome = Ok(());
        while let Some(ended) = tasks.join_next().await {
            let ended = match ended {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(error.into()),
                Err(error) => Err(ServiceError::Panicked(error.to_string())),
            };
            // The first failure is the cause; the ones after it are its consequences.
            if ended.is_err() && outcome.is_ok() {
                outcome = ended;
                stop.cancel();
            }
        }
        let closed = self.store.close().await;
        outcome.and(closed.map_err(Into::into))
    }

    fn sources(&self, rules: &Arc<[Rule]>, http: &reqwest::Client) -> Vec<SourceTask> {
        let budgets: HashMap<_, _> = budget::limits(&self.config.sources)
            .into_iter()
            .map(|(host, limit)| (host, Arc::new(Mutex::new(Budget::new(limit)))))
            .collect();
        self.config
            .sources
            .iter()
            .map(|source| SourceTask {
                config: source.clone(),
                client: Client::new(source, http),
                budget: Arc::clone(&budgets[&source.base_url.host_str()]),
                rules: Arc::clone(rules),
                store: Arc::clone(&self.store),
                telemetry: self.telemetry.clone(),
                clock: self.clock,
            })
            .collect()
    }

    fn destinations(
        &self,
        rules: &Arc<[Rule]>,
        http: &reqwest::Client,
    ) -> Result<Vec<DestinationTask>, ServiceError> {
        let by_name = RuleSet::of(rules);
        self.config
            .destinations
            .iter()
            .map(|config| {
                Ok(DestinationTask {
                    config: config.clone(),
                    destination: destination::build(config, http)?,
                    rules: Arc::clone(&by_name),
                    store: Arc::clone(&self.store),
                    telemetry: self.telemetry.clone(),
                    clock: self.clock,
                    grace: self.config.delivery.shutdown_grace,
                })
            })
            .collect()
    }
}

/// Asks again and again, and returns when no answer came, not even an error, for how long it waited.
async fn until_it_hangs<F: Future>(ask: impl Fn() -> F) -> Duration {
    let (step, steps) = STORE_PATIENCE;
    loop {
        tokio::time::sleep(STORE_PROBE).await;
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

/// Waits for the claim on upkeep; `None` when it is time to stop.
async fn upkeep(store: &dyn Store, stop: &CancellationToken) -> Result<Option<Claim>, StoreError> {
    while !stop.is_cancelled() {
        let claim = store.claim(&Duty::Upkeep).await?;
        if claim.is_some() {
            return Ok(claim);
        }
        stop.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1))).await;
    }
    Ok(None)
}

/// Forgets what was finished longer ago than `retain`, and most of what is remembered of calls that have been
/// settled for so long, in small steps.
async fn purge(
    config: StoreConfig,
    sources: Vec<Name>,
    store: Arc<dyn Store>,
    telemetry: Telemetry,
    clock: Clock,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    let told = |error: StoreError| {
        telemetry.emit(Signal::StoreFailed { doing: "purging", error: error.to_string() });
        error
    };
    let Some(claim) = upkeep(&*store, &stop).await.map_err(told)? else { return Ok(()) };
    let mut shrink_at = tokio::time::Instant::now();
    while !stop.is_cancelled() {
        let before = clock.wall().before(config.retain);
        if store.purge(&claim, before, PURGE_STEP).await.map_err(told)? > 0 {
            tokio::task::yield_now().await;
            continue;
        }
        if tokio::time::Instant::now() >= shrink_at {
            for source in &sources {
                let shrunk = stop.run_until_cancelled(store.shrink(&claim, source, before)).await;
                shrunk.unwrap_or(Ok(())).map_err(told)?;
            }
            shrink_at = tokio::time::Instant::now() + SHRINK_EVERY;
        }
        stop.run_until_cancelled(tokio::time::sleep(PURGE_EVERY)).await;
    }
    Ok(())
}

/// Backs the store up again and again. A backup that fails is told and tried again; it stops nothing.
async fn back_up(
    every: Duration,
    store: Arc<dyn Store>,
    telemetry: Telemetry,
    clock: Clock,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    let Some(claim) = upkeep(&*store, &stop).await? else { return Ok(()) };
    while let Some(taken) = stop.run_until_cancelled(store.back_up(&claim, clock.wall(), every)).await {
        let wait = match taken {
            Ok(None) => return Ok(()),
            Ok(Some(due)) => due.since(clock.wall()),
            Err(error) => {
                telemetry.emit(Signal::StoreFailed { doing: "backing up", error: error.to_string() });
                if !matches!(error, StoreError::Backup { .. }) {
                    return Err(error);
                }
                every.min(BACKUP_RETRY)
            }
        };
        stop.run_until_cancelled(tokio::time::sleep(wait)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_store_that_answers_however_slowly_does_not_hang() {
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
