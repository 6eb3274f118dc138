//! How callwatch tells about its own work.
//!
//! One [`Signal`] makes the log line, the counts of [`metrics`], the entry on the [`Board`] and the [`Sums`] of charts. All
//! are made inside [`Telemetry::emit`], before it returns, so they cannot disagree and none can fall behind. A signal costs a
//! short lock and, as long as its line is filtered out of the log, no memory.
//!
//! No signal holds a secret, a transcript or a whole phone number.

mod board;
mod gauges;
mod log;
mod metrics;
mod report;
mod signal;
mod sums;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::registry::Registry;
use serde_json::Value;

pub use self::{
    board::{
        Backlog, BaselineProgress, Board, Calls, ConfigStatus, DestinationState, DestinationStatus, Incident,
        RequestsPerMinute, SourceStatus, StoreStatus,
    },
    report::ClusterStatus,
    signal::{Analysis, NotFired, Sentiment, Signal, StoreSignal, Totals},
    sums::{DAYS, Day, Delays, HOURS, Hour, Outcomes, RuleDay, Sums},
};
use self::{metrics::Metrics, report::Report};
use crate::{
    calendar::Zone,
    callem::budget,
    config::SourceConfig,
    name::Name,
    store::{Duty, Figures, Turn},
    time::{Clock, Timestamp},
};

/// Called with every signal, after it was counted and logged. It must return quickly: it runs where the signal
/// was emitted.
type Listener = Box<dyn Fn(&Signal) + Send + Sync>;

/// How often each thing has happened, by the name of the count (`delivered`) and of its source, destination or rule
/// (`crm`).
pub type Counts = BTreeMap<(&'static str, String), u64>;

/// A store that cannot be used is reported at most this often for one reason, by all the duties that wait for it
/// together.
const UNUSABLE_AGAIN: Duration = Duration::from_secs(60);

/// Where signals go. Cheap to clone; all clones share one board.
#[derive(Clone)]
pub struct Telemetry {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    registry: Registry,
    state: Mutex<State>,
    /// Grows with everything that may have changed the counts or the board.
    news: AtomicU64,
    listener: Option<Listener>,
}

/// Counts, board and sums change together under one lock.
struct State {
    metrics: Metrics,
    board: Board,
    sums: Sums,
    /// The zone whose days are counted.
    zone: Zone,
    /// Whether the sums of the process before have been added.
    has_recalled: bool,
    /// Why the store could not be used when that was last told, and when that was, by the steady clock.
    unusable: Option<(String, Timestamp)>,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new(Clock::system())
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Telemetry whose board tells the time by `clock`.
    pub fn new(clock: Clock) -> Self {
        Self::build(clock, None)
    }

    /// Like [`Telemetry::new`], and calls `listener` with every signal. The call is made inside [`Telemetry::emit`], so
    /// nothing is missed; a listener that blocks holds up the work.
    pub fn with_listener(clock: Clock, listener: impl Fn(&Signal) + Send + Sync + 'static) -> Self {
        Self::build(clock, Some(Box::new(listener)))
    }

    fn build(clock: Clock, listener: Option<Listener>) -> Self {
        let (metrics, registry) = Metrics::new();
        let (board, sums) = (Board::default(), Sums::default());
        let state =
            Mutex::new(State { metrics, board, sums, zone: Zone::UTC, has_recalled: false, unusable: None });
        Self { shared: Arc::new(Shared { clock, registry, state, news: AtomicU64::new(0), listener }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under the lock leaves it half changed.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives every source, destination and rule of a config its series and its place on the board, all at zero, and
    /// forgets those that are not in the config. The others keep theirs.
    pub fn prepare(&self, sources: &[SourceConfig], destinations: &[&Name], rules: &[&Name]) {
        let limits = budget::limits(sources);
        let limit = |host: Option<&str>| limits.get(&host).copied().unwrap_or_default();
        let limited =
            sources.iter().map(|it| (&it.name, it.base_url.host_str(), limit(it.base_url.host_str())));
        let limited: Vec<_> = limited.collect();
        let sources: Vec<_> = sources.iter().map(|it| &it.name).collect();
        let mut state = self.state();
        state.metrics.prepare(&sources, destinations, rules);
        state.board.prepare(&limited, destinations);
    }

    /// Counts a signal, notes it on the board, logs it and passes it to the listener.
    pub fn emit(&self, signal: Signal) {
        let now = self.shared.clock.wall();
        let so_far = {
            let mut state = self.state();
            state.board.note(&signal, now, self.shared.clock.steady());
            let zone = state.zone;
            state.sums.note(&signal, now, zone);
            state.metrics.count(&signal, now)
        };
        self.note_news();
        log::line(&signal, so_far, now);
        if let Some(listener) = &self.shared.listener {
            listener(&signal);
        }
    }

    /// Notes on the board that nothing is known against a destination. Its dispatcher calls this when it begins.
    pub fn set_well(&self, destination: &Name) {
        self.state().board.destination(destination).state = DestinationState::Ok;
        self.note_news();
    }

    /// Notes the backlog of a destination on the board. Its dispatcher calls this whenever the backlog changes.
    pub fn set_backlog(&self, destination: &Name, backlog: Backlog) {
        self.state().board.destination(destination).backlog = backlog;
        self.note_news();
    }

    /// Notes on the board whose turn it is to work on a duty, and tells what is in its way.
    pub fn note_turn(&self, duty: &Duty, turn: Turn<'_>) {
        match turn {
            Turn::Own => {
                let mut state = self.state();
                state.board.set_elsewhere(duty, false);
                let is_back = state.unusable.take().is_some();
                drop(state);
                if is_back {
                    self.emit(Signal::StoreBack);
                }
            }
            Turn::Others => self.state().board.set_elsewhere(duty, true),
            Turn::TakenOver => {
                self.state().board.set_elsewhere(duty, true);
                self.emit(Signal::TakenOver { duty: duty.clone() });
            }
            Turn::Unknown(error) => {
                let error = format!("{error}; it is asked again by itself");
                let now = self.shared.clock.steady();
                let mut state = self.state();
                let told = state.unusable.as_ref().filter(|(told, _)| *told == error);
                if told.is_some_and(|(_, at)| now.since(*at) < UNUSABLE_AGAIN) {
                    return;
                }
                state.unusable = Some((error.clone(), now));
                drop(state);
                self.emit(Signal::StoreFailed { doing: "asking for work", error });
            }
        }
        self.note_news();
    }

    /// Notes on the board how the cluster stands as a whole; `None` when this process does not look after it.
    pub fn set_cluster(&self, cluster: Option<ClusterStatus>) {
        self.state().board.cluster = cluster;
        self.note_news();
    }

    /// How the duties of this process go, for other processes, whose boards it [completes](Board::complete).
    pub fn report(&self) -> Value {
        let clock = &self.shared.clock;
        let report = Report::of(&self.board(), clock.wall(), clock.steady());
        // It fails only for map keys that cannot be text, and names are text.
        serde_json::to_value(report).unwrap_or_default()
    }

    /// Notes on the board how many calls of a source are known. Its task calls this whenever that changes.
    pub fn set_calls(&self, source: &Name, calls: Calls) {
        self.state().board.source(source).calls = calls;
        self.note_news();
    }

    fn note_news(&self) {
        self.shared.news.fetch_add(1, Ordering::Relaxed);
    }

    /// A number that grows whenever counts or board may have changed, for readers that look now and then.
    pub fn news(&self) -> u64 {
        self.shared.news.load(Ordering::Relaxed)
    }

    /// A copy of the board: how things stand now.
    pub fn board(&self) -> Board {
        self.state().board.clone()
    }

    /// Counts by the days of this zone from now on.
    pub fn set_zone(&self, zone: Zone) {
        self.state().zone = zone;
    }

    /// A copy of the sums by the hour and by the day.
    pub fn sums(&self) -> Sums {
        self.state().sums.clone()
    }

    /// A copy of the sums if they have changed since this version, for the task that stores them.
    pub fn sums_since(&self, version: u64) -> Option<Sums> {
        let state = self.state();
        (state.sums.version() != version).then(|| state.sums.clone())
    }

    /// Adds the sums that the process before has kept. The second time nothing is added: what was kept since is of this
    /// process.
    pub fn recall_sums(&self, kept: Sums) {
        let now = self.shared.clock.wall();
        let mut state = self.state();
        let zone = state.zone;
        if !std::mem::replace(&mut state.has_recalled, true) {
            state.sums.recall(kept, now, zone);
        }
    }

    /// How often each thing has happened so far.
    pub fn counts(&self) -> Counts {
        self.state().metrics.counts()
    }

    /// Emits [`Signal::Stopped`], with what was done since the start.
    pub fn emit_stopped(&self) {
        let counts = self.counts();
        let total = |what| counts.iter().filter(|((it, _), _)| *it == what).map(|(_, count)| count).sum();
        let totals = Totals {
            requests: total("requests"),
            changes: total("changes"),
            events: total("events"),
            delivered: total("delivered"),
            dead: total("dead"),
        };
        self.emit(Signal::Stopped(totals));
    }

    /// The metrics as OpenMetrics text: the counts, the board as gauges, and the store's own figures.
    ///
    /// <https://prometheus.io/docs/specs/om/open_metrics_spec/>
    ///
    /// # Errors
    /// When the text cannot be written; writing to memory does not fail.
    pub fn encode(&self, store: &Figures) -> Result<String, fmt::Error> {
        // The board is copied first: writing the text takes longer than a signal may wait for the lock.
        metrics::encode(&self.shared.registry, &self.board(), store, self.shared.clock.wall())
    }
}

#[cfg(test)]
mod tests;
