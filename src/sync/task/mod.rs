//! The task that drives one source: it asks the planner what to fetch, fetches it, and commits what it means.

mod clock;
mod digest;
mod health;
mod state;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use self::{health::Health, state::SourceState};
use super::{
    index::Index,
    observe::{Observations, Observer},
    planner::{Fetch, Notice, Planner, Settings, Slot, Step},
};
use crate::{
    callem::{
        Client,
        budget::{Budget, Grant, SweepLoad},
    },
    config::SourceConfig,
    rule::Rule,
    store::{Claim, Commit, Duty, KnownCall, Store, StoreError},
    telemetry::{Signal, Telemetry},
    time::{Clock, Timestamp},
};

/// How many known calls are read from the store at a time when the task starts.
const LOAD_PAGE: usize = 2000;

/// How often a source that another process polls is asked for.
const CLAIM_EVERY: Duration = Duration::from_secs(1);

/// The order of the list is spoken of at most so often.
const ORDER_EVERY: Duration = Duration::from_secs(3600);

/// Everything one source needs.
pub struct SourceTask {
    /// How to poll it.
    pub config: SourceConfig,
    /// Its connection.
    pub client: Client,
    /// What its host allows, shared with the other sources there.
    pub budget: Arc<Mutex<Budget>>,
    /// The rules, all of them; each knows which sources it looks at.
    pub rules: Arc<[Rule]>,
    /// Where everything is remembered.
    pub store: Arc<dyn Store>,
    /// What is said about the work.
    pub telemetry: Telemetry,
    /// The time.
    pub clock: Clock,
}

/// A source being polled.
struct Poller {
    task: SourceTask,
    claim: Claim,
    index: Index,
    planner: Planner,
    state: SourceState,
    health: Health,
    /// When the task was started, by the clock for people.
    started: Timestamp,
    /// When the order of the list was last spoken of.
    order_told: Option<Timestamp>,
}

impl SourceTask {
    /// Polls until `stop` is cancelled. Whatever was fetched by then is committed or will be fetched again.
    ///
    /// # Errors
    /// When the store fails: nothing can be promised any more.
    pub async fn run(self, stop: CancellationToken) -> Result<(), StoreError> {
        let duty = Duty::Source(self.config.name.clone());
        let claim = loop {
            match self.store.claim(&duty).await? {
                Some(claim) => break claim,
                None if stop.is_cancelled() => return Ok(()),
                None => stop.run_until_cancelled(sleep(CLAIM_EVERY)).await,
            };
        };
        let mut poller = Poller::start(self, claim).await?;
        // Only waiting is cancelled; a commit that has begun is seen through.
        while !stop.is_cancelled() {
            poller.step(&stop).await?;
        }
        poller.save().await
    }
}

impl Poller {
    /// Reads what is remembered of the source.
    async fn start(task: SourceTask, claim: Claim) -> Result<Self, StoreError> {
        let SourceConfig { name, analysis_window, .. } = &task.config;
        let mut state = SourceState::load(name, task.store.checkpoint(&claim.duty).await?)?;
        let mut index = Index::new(*analysis_window);
        let mut known = vec![];
        loop {
            let last = known.last().map(|call: &KnownCall| call.id.clone());
            known = task.store.known(name, last.as_ref(), LOAD_PAGE).await?;
            if known.is_empty() {
                break;
            }
            for call in &known {
                index.insert(call);
            }
        }
        let settings = Settings {
            interval: task.config.interval,
            sweep: task.config.sweep,
            analysis_window: *analysis_window,
            page_size: task.config.page_size,
            requests_per_minute: task.config.requests_per_minute,
            seed: xxhash_rust::xxh3::xxh3_64(name.as_str().as_bytes()),
        };
        let now = task.clock.wall();
        if task.rules.iter().any(|rule| rule.lasting.is_some()) {
            let live = index.rows().filter(|row| row.live && !row.deleted);
            live.for_each(|row| state.clockwork.look_at(index.id(row.slot), now));
        }
        let planner = Planner::new(settings, index.rows(), state.planner.as_ref(), task.clock.steady());
        Ok(Self {
            task,
            claim,
            index,
            planner,
            state,
            health: Health::default(),
            started: now,
            order_told: None,
        })
    }

    /// Does one thing, or waits for one.
    async fn step(&mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        self.tell_if_failing().await?;
        self.tell_the_time().await?;
        match self.planner.next(self.task.clock.steady()) {
            Step::Sleep(until) => {
                self.sleep(until, stop).await;
                Ok(())
            }
            Step::Fetch(fetch, claim) => {
                let now = self.task.clock.steady();
                let grant = self.budget().request(&self.task.config.name, claim, now);
                match (grant, fetch) {
                    (Grant::Now, Fetch::Page { offset, limit }) => self.fetch_page(offset, limit, stop).await,
                    (Grant::Now, Fetch::Call(slot)) => self.fetch_call(slot, stop).await,
                    // By then something else may have a better claim, so the planner is asked again.
                    (Grant::At(at), _) => {
                        self.sleep(at, stop).await;
                        Ok(())
                    }
                }
            }
            Step::Deleted(slot) => self.deleted(slot).await,
            Step::Notice(notice) => self.notice(notice).await,
        }
    }

    /// Waits until then, until there is something to be told, or until it is time to stop.
    async fn sleep(&self, until: Timestamp, stop: &CancellationToken) {
        let until = self.failing_at().map_or(until, |at| until.min(at));
        let (steady, wall) = (self.task.clock.steady(), self.task.clock.wall());
        let clock_due = self.clock_due().filter(|due| *due > wall);
        let until = clock_due.map_or(until, |due| until.min(steady.after(due.since(wall))));
        stop.run_until_cancelled(sleep_until(self.task.clock.instant(until))).await;
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.task.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch_page(
        &mut self,
        offset: u64,
        limit: u32,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let started = self.task.clock.steady();
        let Some(answer) = stop.run_until_cancelled(self.task.client.page(offset, limit)).await else {
            return Ok(());
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.failed(&error).await,
        };
        let page = match answer.body.read() {
            Ok(page) => page,
            Err(error) => return self.failed(&error).await,
        };
        let server_time = answer.server_time.unwrap_or_else(|| self.task.clock.wall());
        self.state.begin(server_time, self.task.config.notify_since);
        let digest = self.digest(page.records.iter().copied()).await?;
        let now = self.task.clock.steady();
        self.planner.on_page(&digest.rows, page.records.len(), page.total, now);
        self.answered(digest.rows.len(), digest.new, digest.changed, now.since(started)).await?;
        if self.planner.in_baseline() {
            let progress = self.planner.progress();
            self.emit(Signal::BaselineProgress {
                source: self.task.config.name.clone(),
                found: progress.found,
                total: progress.total,
            });
        }
        Ok(())
    }

    async fn fetch_call(&mut self, slot: Slot, stop: &CancellationToken) -> Result<(), StoreError> {
        let started = self.task.clock.steady();
        let id = self.index.id(slot);
        let Some(answer) = stop.run_until_cancelled(self.task.client.call(&id)).await else {
            return Ok(());
        };
        match answer {
            Err(error) if error.may_be_of_one_call() => {
                self.planner.on_call_unavailable();
                let why =
                    format!("call {id} cannot be had by itself, so it is looked for in the list: {error}");
                self.emit(Signal::BadRecord { source: self.task.config.name.clone(), why });
                Ok(())
            }
            Err(error) => self.failed(&error).await,
            Ok(None) => {
                let now = self.task.clock.steady();
                self.planner.on_call(None, now);
                self.answered(0, 0, 0, now.since(started)).await
            }
            Ok(Some(raw)) => {
                let digest = self.digest(std::iter::once(&*raw)).await?;
                let now = self.task.clock.steady();
                self.planner.on_call(digest.rows.first().copied(), now);
                self.answered(1, digest.new, digest.changed, now.since(started)).await
            }
        }
    }

    /// The planner is sure that a call is gone.
    async fn deleted(&mut self, slot: Slot) -> Result<(), StoreError> {
        let id = self.index.id(slot);
        let source = &self.task.config.name;
        let found = self.task.store.snapshots(source, std::slice::from_ref(&id)).await?;
        let Some(Some(before)) = found.into_iter().next() else { return Ok(()) };
        let mut observations = Observations::new();
        self.observer().observe_deletion(&id, &before, &mut observations);
        let after = observations.commit.snapshots.first().map(|(_, snapshot)| KnownCall::of(id, snapshot));
        self.commit(observations).await?;
        if let Some(after) = after {
            self.index.update(slot, before.record, &after);
        }
        Ok(())
    }

    async fn notice(&mut self, notice: Notice) -> Result<(), StoreError> {
        let source = self.task.config.name.clone();
        match notice {
            Notice::BaselineDone { calls } => {
                // Nor is it silence that nobody called before anybody listened.
                self.state.clockwork.heard(self.task.clock.wall());
                // From here on a restart must not take what it finds for a baseline.
                self.save().await?;
                let events = self.state.baseline_events;
                self.emit(Signal::BaselineDone { source: source.clone(), calls, events });
                let SourceConfig { page_size, sweep, requests_per_minute, .. } = self.task.config;
                let load = SweepLoad { calls, page_size, sweep, requests_per_minute };
                self.emit(Signal::SourceNotice { source, text: load.to_string() });
            }
            Notice::Odd(text) => self.emit(Signal::SourceNotice { source, text }),
            Notice::Order(text) => {
                // An order that is in doubt may be found and lost with every walk.
                let now = self.task.clock.steady();
                if self.order_told.is_none_or(|told| now.since(told) >= ORDER_EVERY) {
                    self.order_told = Some(now);
                    self.emit(Signal::SourceNotice { source, text });
                }
            }
        }
        Ok(())
    }

    fn observer(&self) -> Observer<'_> {
        Observer { source: &self.task.config.name, rules: &self.task.rules, now: self.task.clock.wall() }
    }

    /// Makes observations durable, then says so and learns from them.
    async fn commit(&mut self, observations: Observations) -> Result<(), StoreError> {
        let rules = Arc::clone(&self.task.rules);
        let observer =
            Observer { source: &self.task.config.name, rules: &rules, now: self.task.clock.wall() };
        let waits = self.state.clockwork.learn(&observations, &observer);
        let Observations { mut commit, signals, .. } = observations;
        let in_baseline = self.planner.in_baseline();
        if in_baseline {
            self.state.baseline_events += commit.events.len() as u64;
        }
        if in_baseline || waits {
            commit.checkpoint = Some(self.state.save(&self.planner));
        }
        if !commit.is_empty() {
            self.task.store.commit(&self.claim, commit).await?;
        }
        signals.into_iter().for_each(|signal| self.emit(signal));
        Ok(())
    }

    /// Keeps what the planner wants back after a restart.
    async fn save(&mut self) -> Result<(), StoreError> {
        let checkpoint = Some(self.state.save(&self.planner));
        self.task.store.commit(&self.claim, Commit { checkpoint, ..Commit::default() }).await
    }

    fn emit(&self, signal: Signal) {
        self.task.telemetry.emit(signal);
    }
}
