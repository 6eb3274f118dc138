//! From a checked config to running tasks, and from one config to the next.
//!
//! Each source and each destination has a task; upkeep of the store has one. [`Supervisor::run`] applies the first
//! config and waits; [`Handle::apply`] replaces it while everything runs. Both go the same way:
//!
//! 1. Compare what runs with what is wanted ([`plan`], pure): by name, and by what the config says of it.
//! 2. Build everything that can fail ([`build`]). When something does, nothing has been touched.
//! 3. Swap the rules, set budgets and upkeep, stop what is gone, start what is new, restart what changed. None of this
//!    can fail, and a task that did not change notices nothing but new rules.
//!
//! A task that takes the place of another begins when that one has ended in good order: its attempts in flight are
//! settled or given back by then, so none is made twice and none is lost.
//!
//! When any task fails, all are stopped and the store is closed last: there is no half-alive state. Only when the store
//! hangs everything is dropped where it stands.

mod build;
mod door;
mod error;
mod heartbeat;
mod notes;
mod plan;
mod reload;
mod upkeep;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinError, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use self::{
    build::{Built, Part},
    plan::{Duty, Job, Plan, Version},
    upkeep::{Upkeep, UpkeepConfig},
};
pub use self::{
    door::{Door, Opening},
    error::{ApplyError, ReloadError, RunError},
    reload::Reloader,
};
use crate::{
    callem::budget::{self, Budget},
    config::SourceConfig,
    config_file::Config,
    delivery::{self, DestinationTask},
    rule::{RuleSet, Rules},
    store::{self, Attendance, Share, Store, StoreError},
    sync::task::SourceTask,
    telemetry::{Signal, Telemetry},
    time::Clock,
};

/// How long it may take until others have a duty that was given back. One that this process still has then, or has again, is given
/// back once more.
const GIVE_BACK_AGAIN: Duration = Duration::from_secs(15);

/// Keeps the tasks of a config running.
pub struct Supervisor {
    store: Arc<dyn Store>,
    telemetry: Telemetry,
    clock: Clock,
    /// The config at work; `None` before the first one.
    config: watch::Sender<Option<Arc<Config>>>,
    /// The way in for people, if there is one.
    door: Option<Box<dyn Door>>,
    /// What other processes call this one.
    name: String,
    /// The HTTP client that is shared by everything that needs no connections of its own.
    http: Option<reqwest::Client>,
    rules: watch::Sender<Rules>,
    upkeep: watch::Sender<UpkeepConfig>,
    /// The request budget of each host. It stays when its sources go: a source that comes back may not begin with a new
    /// burst.
    budgets: HashMap<Option<String>, Arc<Mutex<Budget>>>,
    /// The latest task of each duty, until it has ended.
    running: BTreeMap<Duty, Running>,
    /// Duties that are being given back to others, and since when.
    given_back: BTreeMap<Duty, Instant>,
    /// How many processes share the work, as far as known.
    nodes: u32,
    tasks: JoinSet<(Duty, Result<(), StoreError>)>,
    handle: Handle,
    requests: mpsc::Receiver<Request>,
}

/// A task.
struct Running {
    /// The config of its duty; `None` when it is to stop and nothing takes its place.
    version: Option<Version>,
    /// Asks it to stop.
    stop: CancellationToken,
    /// Cancelled when the task has ended, however it did.
    ended: CancellationToken,
}

/// Asks a running [`Supervisor`] for something. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    config: watch::Receiver<Option<Arc<Config>>>,
}

/// A config to be put to work, and the way back for the answer.
#[derive(Debug)]
struct Request {
    config: Config,
    answer: oneshot::Sender<Result<(), ApplyError>>,
}

impl Handle {
    /// Puts another config to work. When it returns `Ok`, the rules are the new ones, what is gone was asked to stop,
    /// and what changed begins as soon as its predecessor has ended.
    ///
    /// # Errors
    /// [`ApplyError`] says why the config before goes on instead.
    pub async fn apply(&self, config: Config) -> Result<(), ApplyError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request { config, answer }).await.map_err(|_| ApplyError::Stopping)?;
        answered.await.unwrap_or(Err(ApplyError::Stopping))
    }

    /// The config at work; `None` before the first one.
    pub fn config(&self) -> Option<Arc<Config>> {
        self.config.borrow().clone()
    }
}

impl Supervisor {
    /// A supervisor that runs nothing yet.
    pub fn new(store: Arc<dyn Store>, telemetry: Telemetry, clock: Clock) -> Self {
        // One after the other: each config is compared with the one before.
        let (sender, requests) = mpsc::channel(1);
        let (config, at_work) = watch::channel(None);
        Self {
            store,
            telemetry,
            clock,
            config,
            door: None,
            name: format!("{}/{}", rustix::system::uname().nodename().to_string_lossy(), std::process::id()),
            http: None,
            rules: watch::Sender::new(Rules::default()),
            upkeep: watch::Sender::new(UpkeepConfig::default()),
            budgets: HashMap::new(),
            running: BTreeMap::new(),
            given_back: BTreeMap::new(),
            nodes: 0,
            tasks: JoinSet::new(),
            handle: Handle { requests: sender, config: at_work },
            requests,
        }
    }

    /// Sets the name by which the processes that share the store know this one, in place of its host name and process
    /// id.
    pub fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// Opens `door` for each config before that is put to work.
    pub fn with_door(self, door: impl Door + 'static) -> Self {
        Self { door: Some(Box::new(door)), ..self }
    }

    /// Puts other configs to work while [`Supervisor::run`] goes on.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Puts `config` to work and waits until `stop` is cancelled, then ends in good order: no new polls, attempts in
    /// flight get their grace period, and the store is closed.
    ///
    /// # Errors
    /// [`RunError`] when the work cannot begin or go on. The store is closed then, too, unless it hangs.
    pub async fn run(self, config: Config, stop: CancellationToken) -> Result<(), RunError> {
        let (store, path) = (Arc::clone(&self.store), config.store.path.display().to_string());
        tokio::select! {
            ended = self.work(config, stop.child_token()) => ended,
            waited = upkeep::until_it_hangs(|| store.destinations()) => Err(RunError::StoreHangs { path, waited }),
        }
    }

    async fn work(mut self, config: Config, stop: CancellationToken) -> Result<(), RunError> {
        let telemetry = self.telemetry.clone();
        self.store.report(Arc::new(move || telemetry.report()));
        let mut outcome = self.apply(config, &stop).await.map_err(RunError::from);
        if outcome.is_err() {
            stop.cancel();
        }
        let mut share = self.store.share();
        loop {
            tokio::select! {
                () = stop.cancelled(), if share.is_some() => {
                    // Others take what this process gives back as soon as it does.
                    self.store.attend(None);
                    share = None;
                }
                () = changed(&mut share), if !stop.is_cancelled() => {
                    let share = share.as_mut().map(|share| share.borrow_and_update().clone());
                    self.share(share.unwrap_or_default(), &stop).await;
                }
                Some(ended) = self.tasks.join_next() => {
                    let ended = self.note_end(ended);
                    // The first failure is the cause; the ones after it are its consequences.
                    if ended.is_err() && outcome.is_ok() {
                        outcome = ended;
                        stop.cancel();
                    }
                }
                Some(Request { config, answer }) = self.requests.recv(), if !stop.is_cancelled() => {
                    let applied = self.apply(config, &stop).await;
                    if let Err(error) = &applied {
                        let (error, mistakes) = (error.to_string(), vec![]);
                        self.telemetry.emit(Signal::ConfigRejected { error, mistakes });
                    }
                    // The caller may have given up waiting.
                    let _ = answer.send(applied);
                }
                else => break,
            }
        }
        let closed = self.store.close().await;
        outcome.and(closed.map_err(Into::into))
    }

    /// Replaces what runs by what `config` wants. All tasks end when `stop` is cancelled.
    async fn apply(&mut self, config: Config, stop: &CancellationToken) -> Result<(), ApplyError> {
        self.keeps_its_store(&config)?;
        let running = self.running.iter().filter_map(|(duty, it)| Some((duty, it.version.as_ref()?)));
        let Plan { start, stop: gone } = Plan::between(running, build::jobs(&config).await?);
        let Built { http, parts } = build::build(start, self.http.clone(), &self.telemetry).await?;
        let open = match &mut self.door {
            Some(door) => Some(door.prepare(&config).await?),
            None => None,
        };

        // Nothing fails from here on.
        self.http = Some(http);
        self.prepare(&config);
        self.set_budgets(&config);
        // The rules are swapped before tasks are stopped: what a rule fires for a destination that is gone would only
        // wait in the store.
        self.rules.send_replace(RuleSet::of(&config.rules));
        let upkeep = UpkeepConfig::of(&config);
        self.upkeep.send_if_modified(|before| std::mem::replace(before, upkeep.clone()) != upkeep);
        for duty in &gone {
            if let Some(running) = self.running.get_mut(duty) {
                running.version = None;
                running.stop.cancel();
            }
        }
        let name = |duty: &Duty| duty.name().cloned();
        let started = parts.iter().filter_map(|(duty, ..)| name(duty)).collect();
        let stopped = gone.iter().filter_map(name).collect();
        self.telemetry.emit(Signal::ConfigApplied {
            sources: config.sources.len(),
            destinations: config.destinations.len(),
            rules: config.rules_written(),
            started,
            stopped,
        });
        if self.store.share().is_some() {
            self.store.attend(Some(self.attendance(&config)));
        }
        self.config.send_replace(Some(Arc::new(config)));
        for (duty, version, part) in parts {
            self.begin(duty, version, part, stop);
        }
        if let Some(open) = open {
            open();
        }
        Ok(())
    }

    /// The sources with the requests that this process may make: all of them, or its part when others share the address.
    fn sources(&self, config: &Config) -> Vec<SourceConfig> {
        let by = if config.cluster.shared_ip { self.nodes.max(1) } else { 1 };
        let mut sources = config.sources.clone();
        for source in &mut sources {
            source.requests_per_minute = (source.requests_per_minute / by).max(1);
        }
        sources
    }

    /// Makes room in the metrics and on the board for everything that the config names.
    fn prepare(&self, config: &Config) {
        let destinations: Vec<_> = config.destinations.iter().map(|it| &it.name).collect();
        let rules: Vec<_> = config.rules.iter().map(|it| &it.name).collect();
        self.telemetry.prepare(&self.sources(config), &destinations, &rules);
        self.telemetry.set_zone(config.timezone);
    }

    /// Sets the budget of each host.
    fn set_budgets(&mut self, config: &Config) {
        let sources = self.sources(config);
        for (host, limit) in budget::limits(&sources) {
            let budget = self.budget(host, limit);
            budget.lock().unwrap_or_else(PoisonError::into_inner).set_limit(limit);
        }
    }

    /// Takes in how the work is shared now. The task of a duty that is given back ends in good order, and a new one
    /// takes its place, which waits until the duty falls to this process again.
    async fn share(&mut self, share: Share, stop: &CancellationToken) {
        let Some(config) = self.config.borrow().clone() else { return };
        let nodes = u32::try_from(share.nodes).unwrap_or(u32::MAX);
        if std::mem::replace(&mut self.nodes, nodes) != nodes {
            self.prepare(&config);
            self.set_budgets(&config);
        }
        let back: BTreeSet<Duty> = share.give_back.iter().map(Duty::from).collect();
        self.given_back.retain(|duty, at| back.contains(duty) && at.elapsed() < GIVE_BACK_AGAIN);
        let new: BTreeSet<_> = back.into_iter().filter(|duty| !self.given_back.contains_key(duty)).collect();
        if new.is_empty() {
            return;
        }
        let built = async {
            let mut jobs = build::jobs(&config).await?;
            jobs.retain(|job| new.contains(&job.duty()));
            build::build(jobs, self.http.clone(), &self.telemetry).await
        };
        match built.await {
            Ok(Built { http: _, parts }) => {
                for (duty, version, part) in parts {
                    self.begin(duty, version, part, stop);
                }
                self.given_back.extend(new.into_iter().map(|duty| (duty, Instant::now())));
            }
            // It keeps the duties, and tries again when something changes.
            Err(error) => {
                let text = format!("other processes have to wait for their share of the work: {error}");
                self.telemetry.emit(Signal::Hindrance { text });
            }
        }
    }

    /// What this process says of itself to those that share its store.
    fn attendance(&self, config: &Config) -> Attendance {
        let duties = Job::all_of(config);
        Attendance {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            serves: duties.iter().map(|job| store::Duty::from(&job.duty())).collect(),
            config: config.of_the_work().as_str().to_owned(),
        }
    }

    /// The budget of a host; one that is not there begins with this limit.
    fn budget(&mut self, host: Option<&str>, per_minute: u32) -> Arc<Mutex<Budget>> {
        let budget = self.budgets.entry(host.map(str::to_owned));
        Arc::clone(budget.or_insert_with(|| Arc::new(Mutex::new(Budget::new(per_minute)))))
    }

    fn keeps_its_store(&self, config: &Config) -> Result<(), ApplyError> {
        let Some(before) = &*self.config.borrow() else { return Ok(()) };
        if before.store.path != config.store.path {
            return Err(ApplyError::NeedsRestart("path"));
        }
        if before.store.database != config.store.database {
            return Err(ApplyError::NeedsRestart("url"));
        }
        if before.cluster.lease != config.cluster.lease {
            return Err(ApplyError::NeedsRestart("lease"));
        }
        if before.store.cache != config.store.cache {
            return Err(ApplyError::NeedsRestart("cache"));
        }
        Ok(())
    }

    /// Starts a task, which waits for the one before it to end.
    fn begin(&mut self, duty: Duty, version: Version, part: Part, stop: &CancellationToken) {
        let (stop, ended) = (stop.child_token(), CancellationToken::new());
        let running = Running { version: Some(version), stop: stop.clone(), ended: ended.clone() };
        let before = self.running.insert(duty.clone(), running);
        let work = self.work_of(part, stop.clone());
        self.tasks.spawn(async move {
            let _ended = ended.drop_guard();
            if let Some(before) = before {
                before.stop.cancel();
                before.ended.cancelled().await;
                if stop.is_cancelled() {
                    // The config changed again meanwhile, so this task would read a whole index only to end.
                    return (duty, Ok(()));
                }
            }
            (duty, work.await)
        });
    }

    fn work_of(
        &mut self,
        part: Part,
        stop: CancellationToken,
    ) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>> {
        let (store, telemetry, clock) = (Arc::clone(&self.store), self.telemetry.clone(), self.clock);
        match part {
            Part::Source { config, client } => {
                let budget = self.budget(config.base_url.host_str(), config.requests_per_minute);
                let rules = self.rules.subscribe();
                Box::pin(SourceTask { config, client, budget, rules, store, telemetry, clock }.run(stop))
            }
            Part::Destination { config, destination, grace } => {
                let rules = self.rules.subscribe();
                let task = DestinationTask { config, destination, rules, store, telemetry, clock, grace };
                Box::pin(delivery::run(task, stop))
            }
            Part::Upkeep => {
                let (config, rules) = (self.upkeep.subscribe(), self.rules.subscribe());
                Box::pin(Upkeep { config, rules, store, telemetry, clock }.run(stop))
            }
        }
    }

    /// Takes note of a task that has ended.
    fn note_end(&mut self, ended: Result<(Duty, Result<(), StoreError>), JoinError>) -> Result<(), RunError> {
        let (duty, result) = ended?;
        // The task's entry is removed, unless another task has taken its place.
        if self.running.get(&duty).is_some_and(|latest| latest.ended.is_cancelled()) {
            self.running.remove(&duty);
        }
        if let Some(config) = &*self.config.borrow() {
            // Signals of a task that was stopping may have put its name back on the board.
            self.prepare(config);
        }
        Ok(result?)
    }
}

/// Waits for another share of the work; for ever when there is nothing to share.
async fn changed(share: &mut Option<watch::Receiver<Share>>) {
    // Without a sender nothing changes any more.
    if let Some(share) = share
        && share.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests;
