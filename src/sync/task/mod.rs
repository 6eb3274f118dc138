//! The task that drives one source: it asks the planner what to fetch, fetches it, and commits what it means.

mod checkpoint;
mod digest;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use self::{checkpoint::Checkpoint, digest::Digest};
use super::{
    api_clock::ApiClock,
    bad_records::BadRecords,
    flapping::Flapping,
    index::Index,
    older::Older,
    planner::{Fetch, Notice, Planner, Row, Settings, Slot, Step, Trouble},
    watcher::{Now, Observation, Standing, Watcher},
};
use crate::{
    call::CallId,
    callem::{
        Client, FetchError,
        budget::{Budget, Grant, SweepLoad},
    },
    config::SourceConfig,
    rule::Rules,
    snapshot::Snapshot,
    store::{self, Claim, Commit, Duty, KnownCall, Store, StoreError},
    telemetry::{Calls, Signal, Telemetry},
    time::{Clock, Timestamp},
};

/// How many known calls are read from the store at a time when the task starts.
const LOAD_PAGE: usize = 2000;

/// A notice about the order of the list is given at most this often: an order that is in doubt may be found and lost
/// with every walk.
const ORDER_EVERY: Duration = Duration::from_secs(3600);

/// An oddity of records, of one kind, is told loudly at most this often.
const ODDITY_EVERY: Duration = Duration::from_secs(3600);

/// A notice about older states is given at most this often: a clock that was set back affects many calls at once.
const OLDER_EVERY: Duration = Duration::from_secs(60);

/// How long an API is left alone that says 429 without saying for how long: its limit is per minute.
const RATE_LIMIT_PAUSE: Duration = Duration::from_secs(10);

/// Everything one source needs.
pub struct SourceTask {
    /// How to poll it.
    pub config: SourceConfig,
    /// Its connection.
    pub client: Client,
    /// The requests its host allows, shared with the other sources there.
    pub budget: Arc<Mutex<Budget>>,
    /// The rules, all of them; each knows which sources it looks at. They may be swapped while the task runs: it takes
    /// the latest at the start of each step.
    pub rules: watch::Receiver<Rules>,
    /// Where everything is remembered.
    pub store: Arc<dyn Store>,
    /// Where its work is reported.
    pub telemetry: Telemetry,
    /// The time.
    pub clock: Clock,
}

/// A source being polled.
struct Poller {
    task: Arc<SourceTask>,
    /// Where the rules come from; it remembers which version has been taken over.
    rules: watch::Receiver<Rules>,
    index: Index,
    planner: Planner,
    watcher: Watcher,
    claim: Claim,
    /// When the claim is to be renewed; `None` when it cannot end.
    renew_at: Option<Instant>,
    api: ApiClock,
    flapping: Flapping,
    older: Older,
    /// When it was last said that an older state stands, by the steady clock.
    older_told: Option<Timestamp>,
    bad: BadRecords,
    /// When oddities of records were last told loudly, by the steady clock.
    oddities: HashMap<&'static str, Timestamp>,
    /// Fields whose times cannot be read, each reported once.
    told: HashSet<&'static str>,
    /// When the last notice about the order of the list was given, by the steady clock.
    order_told: Option<Timestamp>,
}

impl SourceTask {
    /// Polls until `stop` is cancelled. Every answer that was read by then is committed; a request that was cancelled is
    /// made again after the next start.
    ///
    /// # Errors
    /// When the store fails: nothing can be promised any more.
    pub async fn run(self, stop: CancellationToken) -> Result<(), StoreError> {
        let task = Arc::new(self);
        let duty = Duty::Source(task.config.name.clone());
        let work = |claim, _| {
            let (task, stop) = (Arc::clone(&task), stop.clone());
            // What was not committed is looked at again, here or elsewhere.
            async move { Poller::start(task, claim).await?.run(&stop).await }
        };
        store::work_in_turn(&*task.store, &duty, &stop, |turn| task.telemetry.note_turn(&duty, turn), work)
            .await
    }
}

impl Poller {
    /// Polls until it is time to stop, and then keeps what a restart needs.
    async fn run(mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        self.show_calls();
        // Only waiting is cancelled; a commit that has begun is seen through.
        while !stop.is_cancelled() {
            self.renew().await?;
            self.step(stop).await?;
        }
        self.save().await
    }

    /// Renews the claim when a third of its lease is over.
    async fn renew(&mut self) -> Result<(), StoreError> {
        if self.renew_at.is_some_and(|at| at <= Instant::now()) {
            let duty = self.claim.duty.clone();
            let Some(claim) =
                self.task.store.claim(&duty).await?.filter(|claim| claim.epoch == self.claim.epoch)
            else {
                return Err(StoreError::ClaimLost { duty });
            };
            self.renew_at = claim.lease.map(|lease| Instant::now() + lease / 3);
        }
        Ok(())
    }

    /// Reads what is remembered of the source.
    async fn start(task: Arc<SourceTask>, claim: Claim) -> Result<Self, StoreError> {
        let SourceConfig { name, interval, analysis_window, .. } = &task.config;
        let checkpoint = Checkpoint::load(name, task.store.checkpoint(&claim.duty).await?)?;
        let mut index = Index::new(*analysis_window).through(&task.config.lens);
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
            interval: *interval,
            sweep: task.config.sweep,
            analysis_window: *analysis_window,
            deletions_believed_after: task.config.deletions_believed_after,
            page_size: task.config.page_size,
            requests_per_minute: task.config.requests_per_minute,
            seed: xxhash_rust::xxh3::xxh3_64(name.as_str().as_bytes()),
        };
        let (api, now) = (ApiClock::default(), task.clock.steady());
        let moment = api.now(task.clock.wall(), now);
        let rows = index.rows().map(|row| steadily(row, moment, *analysis_window));
        let planner = Planner::new(settings, rows, checkpoint.planner.as_ref(), now);
        let mut watcher = Watcher::new(name.clone(), Rules::default(), checkpoint.watcher);
        if !planner.in_baseline() {
            watcher.resume(now.after(*interval));
        }
        let rules = task.rules.clone();
        let renew_at = claim.lease.map(|lease| Instant::now() + lease / 3);
        let mut poller = Self {
            task,
            rules,
            index,
            planner,
            watcher,
            claim,
            renew_at,
            api,
            flapping: Flapping::default(),
            older: Older::default(),
            older_told: None,
            bad: BadRecords::default(),
            oddities: HashMap::new(),
            told: HashSet::new(),
            order_told: None,
        };
        if let Some(missing) = poller.planner.missing() {
            poller.troubled(Standing::Missing, missing.to_string());
        }
        poller.take_rules();
        Ok(poller)
    }

    /// Takes over the latest rules.
    fn take_rules(&mut self) {
        let rules = Rules::clone(&self.rules.borrow_and_update());
        let live = self.index.rows().filter(|row| row.ongoing && !row.deleted);
        self.watcher.set_rules(rules, live.map(|row| self.index.id(row.slot)));
    }

    /// Does one thing, or waits for one.
    async fn step(&mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        // An error means that the sender is gone; the rules then stay as they are.
        if self.rules.has_changed().unwrap_or(false) {
            self.take_rules();
        }
        self.tick().await?;
        match self.planner.next(self.task.clock.steady()) {
            Step::Sleep(until) => {
                self.sleep(until, stop).await;
                Ok(())
            }
            Step::Fetch(fetch, priority) => {
                let now = self.task.clock.steady();
                let grant = self.budget().request(&self.task.config.name, priority, now);
                match (grant, fetch) {
                    (Grant::Now, Fetch::Page { offset, limit }) => self.fetch_page(offset, limit, stop).await,
                    (Grant::Now, Fetch::Call(slot)) => self.fetch_call(slot, stop).await,
                    // By then something else may be more urgent, so the planner is asked again.
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

    /// Waits until `until`, or until the source counts as failing, the claim has to be renewed, the rules are swapped,
    /// or the task has to stop.
    async fn sleep(&self, until: Timestamp, stop: &CancellationToken) {
        let until = self.watcher.failing_at().map_or(until, |at| until.min(at));
        let until = self.task.clock.instant(until);
        let mut rules = self.rules.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            Ok(()) = rules.changed() => {}
            () = sleep_until(self.renew_at.map_or(until, |at| at.min(until))) => {}
        }
    }

    /// Commits and tells what follows from the passing of time.
    async fn tick(&mut self) -> Result<(), StoreError> {
        let made = self.watcher.tick(self.now());
        self.tell(made).await?;
        for call in self.watcher.take_due() {
            if let Some(before) = self.remembered(&call).await? {
                let made = self.watcher.observe_again(&call, &before, self.now());
                self.tell(made).await?;
            }
        }
        Ok(())
    }

    async fn remembered(&self, call: &CallId) -> Result<Option<Snapshot>, StoreError> {
        let found = self.task.store.snapshots(&self.task.config.name, std::slice::from_ref(call)).await?;
        Ok(found.into_iter().next().flatten())
    }

    fn now(&self) -> Now {
        self.api.now(self.task.clock.wall(), self.task.clock.steady())
    }

    /// An answer says what time it is.
    fn heard(&mut self, date: Option<Timestamp>) {
        if let Some(date) = date {
            self.api.heard(date, self.task.clock.steady());
        }
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
            Err(error) => {
                self.failed(&error);
                return Ok(());
            }
        };
        let page = answer.body;
        let records = match self.read(offset, page.records()).await {
            Ok(records) => records,
            Err(why) => {
                self.failed(&FetchError::WrongShape(why));
                return Ok(());
            }
        };
        self.heard(answer.server_time);
        let server_time = answer.server_time.unwrap_or_else(|| self.now().api);
        self.watcher.begin(server_time, self.task.config.notify_since);
        let digest = self.digest(records).await?;
        let now = self.task.clock.steady();
        self.planner.on_page(&digest.rows, page.len(), page.total, now);
        self.judge_growth(&digest);
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
        let answer = answer.map(|answer| {
            self.heard(answer.server_time);
            answer.body
        });
        match answer {
            Err(error) if error.may_be_of_one_call() => self.unavailable(&id, &error),
            Err(error) => self.failed(&error),
            Ok(None) => {
                let now = self.task.clock.steady();
                self.planner.on_call(None, now);
                self.answered(0, 0, 0, now.since(started)).await?;
            }
            Ok(Some(raw)) => match self.read_one(raw.get()).ok().filter(|record| self.id_of(record) == id) {
                None => {
                    let why = "asked for one call, it sent something else".to_owned();
                    self.unavailable(&id, &FetchError::WrongShape(why));
                }
                Some(record) => {
                    let digest = self.digest(vec![record]).await?;
                    let now = self.task.clock.steady();
                    self.planner.on_call(digest.rows.first().copied(), now);
                    self.answered(1, digest.new, digest.changed, now.since(started)).await?;
                }
            },
        }
        Ok(())
    }

    /// One call cannot be had by itself, though the API may be well.
    fn unavailable(&mut self, id: &CallId, error: &FetchError) {
        self.planner.on_call_unavailable();
        let why = format!("call {id} cannot be had by itself, so it is looked for in the list: {error}");
        self.bad_record("unavailable", why, 1);
    }

    /// Reports a flood of new calls, or that `max_calls` is reached, as trouble of the source.
    fn judge_growth(&mut self, digest: &Digest) {
        let (config, now) = (&self.task.config, self.now());
        let flood = self.watcher.arrived(digest.new as u64, config.failing_after, now);
        flood.into_iter().for_each(|signal| self.emit(signal));
        if digest.refused > 0 {
            let calls = self.index.len();
            let why = format!(
                "{calls} calls are remembered, as many as `max_calls` allows: new ones are left out until it is raised"
            );
            self.troubled(Standing::Full, why);
        }
    }

    fn troubled(&mut self, standing: Standing, why: String) {
        let now = self.now();
        let signal = self.watcher.troubled(standing, why, self.task.config.failing_after, now);
        signal.into_iter().for_each(|signal| self.emit(signal));
    }

    /// A request failed. What is known of the calls stays as it is.
    fn failed(&mut self, error: &FetchError) {
        let now = self.now();
        if let FetchError::RateLimited { retry_after } = error {
            let pause = retry_after.unwrap_or(RATE_LIMIT_PAUSE);
            self.budget().block_until(now.steady.after(pause));
        }
        let trouble = Trouble { retry_after: error.retry_after(), refused: error.is_refusal() };
        self.planner.on_error(trouble, now.steady);
        let signal = self.watcher.failed(error, self.task.config.failing_after, now);
        self.emit(signal);
    }

    /// A request was answered, and what it showed is committed.
    async fn answered(
        &mut self,
        calls: usize,
        new: usize,
        changed: usize,
        took: Duration,
    ) -> Result<(), StoreError> {
        self.show_calls();
        self.emit(Signal::Fetched { source: self.task.config.name.clone(), calls, new, changed, took });
        let made = self.watcher.answered(self.now());
        self.tell(made).await
    }

    /// Puts the number of known calls on the board.
    fn show_calls(&self) {
        let (known, live) = self.index.known_and_live();
        let calls = Calls { known: known as u64, live: live as u64 };
        self.task.telemetry.set_calls(&self.task.config.name, calls);
    }

    /// The planner is sure that a call is gone.
    async fn deleted(&mut self, slot: Slot) -> Result<(), StoreError> {
        let id = self.index.id(slot);
        let Some(before) = self.remembered(&id).await? else { return Ok(()) };
        let made = self.watcher.observe_deletion(&id, &before, self.now());
        let after = made.snapshot.as_ref().map(|(id, snapshot)| KnownCall::of(id.clone(), snapshot));
        self.tell(made).await?;
        if let Some(after) = after {
            self.index.update(slot, before.record, &after);
        }
        Ok(())
    }

    async fn notice(&mut self, notice: Notice) -> Result<(), StoreError> {
        let source = self.task.config.name.clone();
        match notice {
            Notice::BaselineDone { calls } => {
                let events = self.watcher.baseline_done(self.now());
                // After a restart from here on, calls seen for the first time are news.
                self.save().await?;
                self.emit(Signal::BaselineDone { source: source.clone(), calls, events });
                let SourceConfig { page_size, sweep, requests_per_minute, .. } = self.task.config;
                let load = SweepLoad { calls, page_size, sweep, requests_per_minute };
                self.emit(Signal::SourceNotice { source, text: load.to_string() });
            }
            Notice::Missing(missing) => {
                let wait = self.planner.deleted_after();
                let key = match wait == self.task.config.deletions_believed_after {
                    true => " (`deletions_believed_after`)",
                    false => "",
                };
                let after = humantime::format_duration(wait);
                let why = format!("{missing}; they count as deleted when that lasts for {after}{key}");
                self.troubled(Standing::Missing, why);
                self.save().await?;
            }
            Notice::Whole => {
                let signal = self.watcher.relieved(Standing::Missing);
                self.save().await?;
                signal.into_iter().for_each(|signal| self.emit(signal));
            }
            Notice::Odd(text) => self.emit(Signal::SourceNotice { source, text }),
            Notice::Order(text) => {
                let now = self.task.clock.steady();
                if self.order_told.is_none_or(|told| now.since(told) >= ORDER_EVERY) {
                    self.order_told = Some(now);
                    self.emit(Signal::SourceNotice { source, text });
                }
            }
        }
        Ok(())
    }

    /// Makes an observation durable, then tells of it.
    async fn tell(&mut self, made: Observation) -> Result<(), StoreError> {
        if made.is_empty() && !self.watcher.is_unsaved() {
            return Ok(());
        }
        let mut commit = Commit::default();
        let signals = made.commit_into(&mut commit);
        self.commit(commit, signals).await
    }

    /// Makes a commit durable together with what must agree with it after a restart, then emits `signals`.
    async fn commit(&mut self, mut commit: Commit, signals: Vec<Signal>) -> Result<(), StoreError> {
        if self.planner.in_baseline() || self.watcher.is_unsaved() {
            commit.checkpoint = Some(Checkpoint::save(&self.planner, self.watcher.save()));
        }
        if !commit.is_empty() {
            self.task.store.commit(&self.claim, commit).await?;
        }
        signals.into_iter().for_each(|signal| self.emit(signal));
        Ok(())
    }

    /// Keeps what planner and watcher want back after a restart.
    async fn save(&mut self) -> Result<(), StoreError> {
        let checkpoint = Some(Checkpoint::save(&self.planner, self.watcher.save()));
        let commit = Commit { checkpoint, ..Commit::default() };
        self.task.store.commit(&self.claim, commit).await
    }

    fn emit(&self, signal: Signal) {
        self.task.telemetry.emit(signal);
    }
}

/// The row with the wait for its analysis by the steady clock, as the planner's times are. It never waits for longer than the
/// window, whatever a clock said when the wait began.
fn steadily(row: Row, now: Now, window: Duration) -> Row {
    let left = |until: Timestamp| until.since(now.api).min(window);
    Row { analysis_until: row.analysis_until.map(|until| now.steady.after(left(until))), ..row }
}
