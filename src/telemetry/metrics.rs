//! Counters, gauges and histograms for Prometheus.
//!
//! Names follow <https://prometheus.io/docs/practices/naming/>: `callwatch_…_total`, seconds, bytes. Labels are names of
//! the config and nothing else, so their number is bounded and they hold nothing private.

use std::{collections::HashMap, fmt};

use prometheus_client::{
    encoding::text,
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Registry, Unit},
};

use super::{Board, Counts, NotFired, Signal, StoreSignal, gauges};
use crate::{
    kind::Kind,
    name::Name,
    store::{Figures, Verdict},
    time::Timestamp,
};

/// The prefix of all names of metrics.
pub(super) const PREFIX: &str = "callwatch";

/// The label that names the source, destination or rule of a series; `None` for callwatch as a whole.
type About = Option<&'static str>;

const SOURCE: About = Some("source");
const RULE: About = Some("rule");
const DESTINATION: About = Some("destination");

/// The things that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    Requests,
    RequestFailures,
    Recoveries,
    BadRecords,
    Stale,
    NewCalls,
    Changes,
    Events,
    TooOld,
    Unknown,
    RuleFailures,
    TextFailures,
    Held,
    Summaries,
    Delivered,
    FailedAttempts,
    Dead,
    Pauses,
    Resumptions,
    StoreFailures,
    Backups,
    BackupFailures,
    ConfigApplications,
    ConfigRejections,
    Heartbeats,
    HeartbeatFailures,
}

impl Count {
    const ALL: [Self; 26] = [
        Self::Requests,
        Self::RequestFailures,
        Self::Recoveries,
        Self::BadRecords,
        Self::Stale,
        Self::NewCalls,
        Self::Changes,
        Self::Events,
        Self::TooOld,
        Self::Unknown,
        Self::RuleFailures,
        Self::TextFailures,
        Self::Held,
        Self::Summaries,
        Self::Delivered,
        Self::FailedAttempts,
        Self::Dead,
        Self::Pauses,
        Self::Resumptions,
        Self::StoreFailures,
        Self::Backups,
        Self::BackupFailures,
        Self::ConfigApplications,
        Self::ConfigRejections,
        Self::Heartbeats,
        Self::HeartbeatFailures,
    ];

    /// Its short name, its metric's name without prefix and `_total`, its label, and its help.
    fn describe(self) -> (&'static str, &'static str, About, &'static str) {
        match self {
            Self::Requests => ("requests", "requests", SOURCE, "Requests to the API"),
            Self::RequestFailures => {
                ("request_failures", "request_failures", SOURCE, "Requests to the API that failed")
            }
            Self::Recoveries => {
                ("recoveries", "source_recoveries", SOURCE, "Answers of the API after a failure")
            }
            Self::BadRecords => ("bad_records", "bad_records", SOURCE, "Malformed records in answers"),
            Self::Stale => (
                "stale",
                "stale_records",
                SOURCE,
                "Records that were older than what was known of their call",
            ),
            Self::NewCalls => ("new_calls", "new_calls", SOURCE, "Calls seen for the first time"),
            Self::Changes => ("changes", "changes", SOURCE, "Changes of calls"),
            Self::Events => ("events", "events", RULE, "Events the rule made"),
            Self::TooOld => ("too_old", "rule_too_old", RULE, "Matches older than the rule's max_age"),
            Self::Unknown => ("unknown", "rule_unknown", RULE, "Conditions that met a missing or null field"),
            Self::RuleFailures => {
                ("rule_failures", "rule_failures", RULE, "Conditions that could not be evaluated")
            }
            Self::TextFailures => (
                "text_failures",
                "rule_text_failures",
                RULE,
                "Titles, bodies and advice that could not be rendered",
            ),
            Self::Held => ("held", "deliveries_held", DESTINATION, "Deliveries that were held for a batch"),
            Self::Summaries => {
                ("summaries", "summaries", DESTINATION, "Batches that were sent as one message")
            }
            Self::Delivered => ("delivered", "deliveries_delivered", DESTINATION, "Deliveries that arrived"),
            Self::FailedAttempts => (
                "failed_attempts",
                "deliveries_retried",
                DESTINATION,
                "Attempts that failed and are repeated",
            ),
            Self::Dead => ("dead", "deliveries_dead", DESTINATION, "Deliveries that were given up"),
            Self::Pauses => {
                ("pauses", "destination_pauses", DESTINATION, "Times the destination was left alone")
            }
            Self::Resumptions => (
                "resumptions",
                "destination_resumptions",
                DESTINATION,
                "Times the destination was used again after being left alone",
            ),
            Self::StoreFailures => ("store_failures", "store_failures", None, "Failures of the store"),
            Self::Backups => ("backups", "backups", None, "Backups written"),
            Self::BackupFailures => ("backup_failures", "backup_failures", None, "Backups that failed"),
            Self::ConfigApplications => (
                "config_applications",
                "config_applications",
                None,
                "Configs that were put to work, the first one included",
            ),
            Self::ConfigRejections => {
                ("config_rejections", "config_rejections", None, "Configs that could not be put to work")
            }
            Self::Heartbeats => ("heartbeats", "heartbeats", None, "Heartbeats sent"),
            Self::HeartbeatFailures => {
                ("heartbeat_failures", "heartbeat_failures", None, "Heartbeats that failed")
            }
        }
    }
}

/// The number of a count is its index among the series.
const _: () = {
    let mut place = 0;
    while place < Count::ALL.len() {
        assert!(Count::ALL[place] as usize == place);
        place += 1;
    }
};

/// The names and values of labels.
pub(super) type Labels = Vec<(&'static str, String)>;

/// One metric. The series of each name is kept at hand, so that counting neither hashes labels nor takes memory.
struct Metric<M> {
    family: Family<Labels, M, fn() -> M>,
    about: About,
    series: HashMap<Name, M>,
}

impl<M: Clone> Metric<M> {
    fn new(about: About, make: fn() -> M) -> Self {
        Self { family: Family::new_with_constructor(make), about, series: HashMap::new() }
    }

    fn labels(&self, name: &Name) -> Labels {
        self.about.iter().map(|label| (*label, name.to_string())).collect()
    }

    /// The series of `name`; one that is not there begins at zero.
    fn of(&mut self, name: &Name) -> &M {
        if !self.series.contains_key(name) {
            let made = self.family.get_or_create_owned(&self.labels(name));
            self.series.insert(name.clone(), made);
        }
        &self.series[name]
    }

    /// Makes a series for each of these names and drops the others.
    fn prepare(&mut self, names: &[&Name]) {
        let gone: Vec<Name> = self.series.keys().filter(|name| !names.contains(name)).cloned().collect();
        for name in gone {
            self.series.remove(&name);
            self.family.remove(&self.labels(&name));
        }
        for name in names {
            self.of(name);
        }
    }
}

/// One metric with a series for each name and each of a few words, all of which are there from the start.
struct Split {
    family: Family<Labels, Counter>,
    about: About,
    /// The label of the words.
    by: &'static str,
    words: &'static [&'static str],
    /// For each name a counter for each word.
    series: HashMap<Name, Vec<Counter>>,
}

impl Split {
    fn new(about: About, by: &'static str, words: &'static [&'static str]) -> Self {
        Self { family: Family::default(), about, by, words, series: HashMap::new() }
    }

    fn labels(&self, name: &Name, word: &str) -> Labels {
        let about = self.about.iter().map(|label| (*label, name.to_string()));
        about.chain([(self.by, word.to_owned())]).collect()
    }

    fn count(&mut self, name: &Name, word: &str) {
        self.add(name);
        let place = self.words.iter().position(|it| *it == word);
        if let Some(counter) = place.and_then(|place| self.series.get(name)?.get(place)) {
            counter.inc();
        }
    }

    fn add(&mut self, name: &Name) {
        if !self.series.contains_key(name) {
            let of = |word: &&str| self.family.get_or_create_owned(&self.labels(name, word));
            let counters = self.words.iter().map(of).collect();
            self.series.insert(name.clone(), counters);
        }
    }

    fn prepare(&mut self, names: &[&Name]) {
        let gone: Vec<Name> = self.series.keys().filter(|name| !names.contains(name)).cloned().collect();
        for name in gone {
            self.series.remove(&name);
            for word in self.words {
                self.family.remove(&self.labels(&name, word));
            }
        }
        names.iter().for_each(|name| self.add(name));
    }
}

/// The kinds of a call's change.
const KINDS: [&str; 5] = [
    Kind::Started.as_str(),
    Kind::Ended.as_str(),
    Kind::Analyzed.as_str(),
    Kind::Updated.as_str(),
    Kind::Deleted.as_str(),
];

/// The results of a rule for a change.
const RESULTS: [&str; 8] =
    ["fired", "false", "unknown", "error", "too_old", "already", "waiting", "no_difference"];

impl NotFired {
    const fn as_str(self) -> &'static str {
        match self {
            Self::False => "false",
            Self::Already => "already",
            Self::Waiting => "waiting",
            Self::NoDifference => "no_difference",
        }
    }
}

/// Everything that is counted as it happens.
pub(super) struct Metrics {
    /// By [`Count`].
    counters: Vec<Metric<Counter>>,
    kinds: Split,
    results: Split,
    poll_seconds: Metric<Histogram>,
    attempt_seconds: Metric<Histogram>,
    delay_seconds: Metric<Histogram>,
    age_seconds: Metric<Histogram>,
    /// The name in the place of a label, for counts of callwatch as a whole.
    nobody: Name,
    /// The counts of names that a config took away.
    gone: Counts,
}

impl Metrics {
    /// All counts at zero, and the registry that shows them.
    pub(super) fn new() -> (Self, Registry) {
        let mut registry = Registry::with_prefix(PREFIX);
        let nobody = Name::from("");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The callwatch that is running", build);
        let counters = Count::ALL.map(|count| {
            let (_, name, about, help) = count.describe();
            let mut metric: Metric<Counter> = Metric::new(about, Counter::default);
            registry.register(name, help, metric.family.clone());
            if about.is_none() {
                metric.prepare(&[&nobody]);
            }
            metric
        });
        let kinds = Split::new(SOURCE, "kind", &KINDS);
        let help = "Changes of calls by kind; one change can be of several";
        registry.register("changes_by_kind", help, kinds.family.clone());
        let results = Split::new(RULE, "result", &RESULTS);
        let help = "What rules made of the changes that they look at";
        registry.register("rule_results", help, results.family.clone());
        let mut seconds = |name, about, help, make| {
            let metric: Metric<Histogram> = Metric::new(about, make);
            registry.register_with_unit(name, help, Unit::Seconds, metric.family.clone());
            metric
        };
        let poll = "Time for a request, the comparison of its answer and the commit";
        let delay = "Time from when a change was seen, and its delivery made, to its arrival";
        let age = "Time from a call's update, as the API says, to the arrival of what tells of it";
        let metrics = Self {
            poll_seconds: seconds("poll_duration", SOURCE, poll, short),
            attempt_seconds: seconds("attempt_duration", DESTINATION, "Time of one attempt", short),
            delay_seconds: seconds("delivery_delay", DESTINATION, delay, long),
            age_seconds: seconds("delivery_delay_since_update", DESTINATION, age, long),
            kinds,
            results,
            counters: counters.into(),
            nobody,
            gone: Counts::new(),
        };
        (metrics, registry)
    }

    /// Makes the series of these names, at zero, and drops those of all others.
    pub(super) fn prepare(&mut self, sources: &[&Name], destinations: &[&Name], rules: &[&Name]) {
        let before = self.counts_at_work();
        let nobody = [&self.nobody];
        let names = |about| match about {
            SOURCE => sources,
            DESTINATION => destinations,
            RULE => rules,
            _ => &nobody,
        };
        self.counters.iter_mut().for_each(|metric| metric.prepare(names(metric.about)));
        let Self { poll_seconds, attempt_seconds, delay_seconds, age_seconds, .. } = self;
        for metric in [poll_seconds, attempt_seconds, delay_seconds, age_seconds] {
            metric.prepare(names(metric.about));
        }
        self.kinds.prepare(sources);
        self.results.prepare(rules);
        let left = self.counts_at_work();
        for (about, count) in before.into_iter().filter(|(about, _)| !left.contains_key(about)) {
            *self.gone.entry(about).or_default() += count;
        }
    }

    fn add(&mut self, count: Count, name: &Name, many: u64) -> u64 {
        self.counters[count as usize].of(name).inc_by(many) + many
    }

    fn one(&mut self, count: Count, name: &Name) -> u64 {
        self.add(count, name, 1)
    }

    fn one_of_all(&mut self, count: Count) -> u64 {
        let nobody = self.nobody.clone();
        self.one(count, &nobody)
    }

    /// Counts a signal that is emitted `now`. Returns how often the like has happened to the same source, destination
    /// or rule, this time included; zero for signals that are not counted.
    pub(super) fn count(&mut self, signal: &Signal, now: Timestamp) -> u64 {
        match signal {
            Signal::Fetched { source, new, took, .. } => {
                self.poll_seconds.of(source).observe(took.as_secs_f64());
                self.add(Count::NewCalls, source, *new as u64);
                self.one(Count::Requests, source)
            }
            Signal::FetchFailed { source, .. } => {
                self.one(Count::Requests, source);
                self.one(Count::RequestFailures, source)
            }
            Signal::SourceRecovered { source, .. } => self.one(Count::Recoveries, source),
            Signal::BadRecord { source, count, .. } => self.add(Count::BadRecords, source, *count),
            Signal::Stale { source, count } => self.add(Count::Stale, source, *count),
            Signal::Changed { source, kinds, .. } => {
                kinds.iter().for_each(|kind| self.kinds.count(source, kind.as_str()));
                self.one(Count::Changes, source)
            }
            Signal::Fired { rule, .. } => {
                self.results.count(rule, "fired");
                self.one(Count::Events, rule)
            }
            Signal::NotFired { rule, why } => {
                self.results.count(rule, why.as_str());
                0
            }
            Signal::TooOld { rule, .. } => {
                self.results.count(rule, "too_old");
                self.one(Count::TooOld, rule)
            }
            Signal::Unknown { rule, .. } => {
                self.results.count(rule, "unknown");
                self.one(Count::Unknown, rule)
            }
            Signal::RuleFailed { rule, .. } => {
                self.results.count(rule, "error");
                self.one(Count::RuleFailures, rule)
            }
            Signal::TextFailed { rule, .. } => self.one(Count::TextFailures, rule),
            Signal::Held { delivery, .. } => self.one(Count::Held, &delivery.destination),
            Signal::Summarized { destination, .. } => self.one(Count::Summaries, destination),
            Signal::Attempted { delivery, verdict, took, created, updated, .. } => {
                let destination = &delivery.destination;
                self.attempt_seconds.of(destination).observe(took.as_secs_f64());
                let count = match verdict {
                    Verdict::Delivered => {
                        self.delay_seconds.of(destination).observe(now.since(*created).as_secs_f64());
                        if let Some(updated) = updated {
                            self.age_seconds.of(destination).observe(now.since(*updated).as_secs_f64());
                        }
                        Count::Delivered
                    }
                    Verdict::Retry(_) => Count::FailedAttempts,
                    Verdict::Dead(_) => Count::Dead,
                };
                self.one(count, destination)
            }
            Signal::DestinationFailing { destination, .. }
            | Signal::DestinationPaused { destination, .. } => self.one(Count::Pauses, destination),
            Signal::DestinationResumed { destination } => self.one(Count::Resumptions, destination),
            Signal::StoreFailed { .. } => self.one_of_all(Count::StoreFailures),
            Signal::Store(StoreSignal::BackedUp { .. }) => self.one_of_all(Count::Backups),
            Signal::Store(StoreSignal::BackupFailed { .. }) => self.one_of_all(Count::BackupFailures),
            Signal::ConfigApplied { .. } => self.one_of_all(Count::ConfigApplications),
            Signal::ConfigRejected { .. } => self.one_of_all(Count::ConfigRejections),
            Signal::HeartbeatSent { .. } => self.one_of_all(Count::Heartbeats),
            Signal::HeartbeatFailed { .. } => self.one_of_all(Count::HeartbeatFailures),
            Signal::HeartbeatWithheld { .. }
            | Signal::BaselineProgress { .. }
            | Signal::BaselineDone { .. }
            | Signal::Joined { .. }
            | Signal::Forgot { .. }
            | Signal::SourceNotice { .. }
            | Signal::SourceFailing { .. }
            | Signal::SourceTroubled { .. }
            | Signal::Store(_)
            | Signal::Started { .. }
            | Signal::ConfigDoubtful { .. }
            | Signal::ConfigOnDisk { .. }
            | Signal::Listening { .. }
            | Signal::Stranded { .. }
            | Signal::Stopping { .. }
            | Signal::Stopped(_)
            | Signal::TakenOver { .. }
            | Signal::StoreBack
            | Signal::Hindrance { .. } => 0,
        }
    }

    /// Every count since the start that is not zero, by its short name and the source, destination or rule that it is about.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = self.gone.clone();
        for (about, count) in self.counts_at_work() {
            *counts.entry(about).or_default() += count;
        }
        counts
    }

    fn counts_at_work(&self) -> Counts {
        let of = |(count, metric): (&Count, &Metric<Counter>)| {
            let (short, ..) = count.describe();
            let counted = |(name, counter): (&Name, &Counter)| ((short, name.to_string()), counter.get());
            metric.series.iter().map(counted).filter(|(_, count)| *count > 0).collect::<Vec<_>>()
        };
        Count::ALL.iter().zip(&self.counters).flat_map(of).collect()
    }
}

/// Buckets for answers, from a local receiver to one that nearly times out: 5 ms to 41 s.
fn short() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 14))
}

/// Buckets for deliveries, from at once to days of retries: 50 ms to about 58 h.
fn long() -> Histogram {
    Histogram::new(exponential_buckets(0.05, 4.0, 12))
}

/// The counts, the board and the store's figures, as OpenMetrics text.
pub(super) fn encode(
    counted: &Registry,
    board: &Board,
    store: &Figures,
    now: Timestamp,
) -> Result<String, fmt::Error> {
    let mut text = String::new();
    text::encode_registry(&mut text, counted)?;
    text::encode_registry(&mut text, &gauges::of(board, store, now))?;
    text::encode_eof(&mut text)?;
    Ok(text)
}
