//! The board: how things stand now, as far as the signals have told. Pure: the time is passed in.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{ClusterStatus, Signal, StoreSignal};
use crate::{
    name::Name,
    store::{Duty, Verdict},
    time::Timestamp,
};

/// The state of everything callwatch works on.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// The config at work.
    pub config: ConfigStatus,
    /// Every source of the config.
    pub sources: BTreeMap<Name, SourceStatus>,
    /// Every destination of the config.
    pub destinations: BTreeMap<Name, DestinationStatus>,
    /// The store.
    pub store: StoreStatus,
    /// The processes that share it; `None` unless this one looks after the cluster.
    pub cluster: Option<ClusterStatus>,
}

/// The config at work.
#[derive(Clone, Debug, Default)]
pub struct ConfigStatus {
    /// Since when it is at work; `None` before the first one is.
    pub since: Option<Timestamp>,
    /// The last attempt to replace it, when that failed.
    pub rejected: Option<Incident>,
    /// Since when the file is known to say something else, as long as nobody has put it to work.
    pub differs: Option<Timestamp>,
}

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// When it happened.
    pub at: Timestamp,
    /// The error, without a secret: one line, or of a rejected config one for each mistake.
    pub error: String,
}

/// One source.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceStatus {
    /// When the last request was made, answered or not.
    pub last_poll: Option<Timestamp>,
    /// When the last request was answered.
    pub last_success: Option<Timestamp>,
    /// The same by the steady clock, for how long ago that was: a wall clock that is set back must not make a silent
    /// source look well.
    pub answered: Option<Timestamp>,
    /// Failed requests in a row.
    pub failures: u32,
    /// Whether the API refuses the key.
    pub refused: bool,
    /// The last failure; it stays after a recovery.
    pub last_error: Option<Incident>,
    /// How many calls are known.
    pub calls: Calls,
    /// The progress of the first walk over the list; `None` when it is not going on.
    pub baseline: Option<BaselineProgress>,
    /// The requests made lately, and the number allowed. They are not reported to other processes.
    #[serde(skip)]
    pub budget: RequestsPerMinute,
    /// Whether another process polls it. What is known of it is then what that one has reported.
    #[serde(skip)]
    pub elsewhere: bool,
}

impl SourceStatus {
    /// Time since the source last answered, at `steady` by the steady clock. Changes at the source since then are not
    /// known.
    pub fn lag(&self, steady: Timestamp) -> Option<Duration> {
        self.answered.map(|at| steady.since(at))
    }
}

/// How many calls of a source are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// All known calls, except for deleted ones.
    pub known: u64,
    /// Known calls that are live.
    pub live: u64,
}

/// The progress of the first walk over a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaselineProgress {
    /// Calls remembered so far.
    pub found: u64,
    /// Calls in the list, as the API counts them.
    pub total: Option<u64>,
}

/// The requests of a source in the last minute, and the number that its host allows.
#[derive(Clone, Debug, Default)]
pub struct RequestsPerMinute {
    /// Requests that all sources of the host together may make in a minute.
    pub allowed: u32,
    /// The host.
    pub(super) host: Option<Box<str>>,
    /// Requests in each second of the last minute, by the second modulo 60.
    seconds: Box<[u16]>,
    /// The second of the last request, since the Unix epoch.
    last: i64,
}

impl RequestsPerMinute {
    const SECONDS: i64 = 60;

    /// Requests this source made in the minute before `now`.
    pub fn used(&self, now: Timestamp) -> u32 {
        let now = now.as_secs();
        // A clock that was set back makes `now` older than what is remembered; that is then still the best guess.
        let oldest = now.max(self.last) - Self::SECONDS + 1;
        let within = (oldest..=self.last).map(|second| self.seconds[Self::place(second)]);
        if self.seconds.is_empty() { 0 } else { within.map(u32::from).sum() }
    }

    fn note(&mut self, now: Timestamp) {
        let now = now.as_secs();
        if self.seconds.is_empty() {
            self.seconds = vec![0; Self::SECONDS as usize].into();
            self.last = now;
        }
        for second in (self.last + 1..=now).rev().take(Self::SECONDS as usize) {
            self.seconds[Self::place(second)] = 0;
        }
        self.last = self.last.max(now);
        let count = &mut self.seconds[Self::place(self.last)];
        *count = count.saturating_add(1);
    }

    fn place(second: i64) -> usize {
        second.rem_euclid(Self::SECONDS) as usize
    }
}

/// One destination.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DestinationStatus {
    /// Whether it takes deliveries.
    pub state: DestinationState,
    /// The deliveries that wait for it.
    pub backlog: Backlog,
    /// When the last delivery arrived.
    pub last_success: Option<Timestamp>,
    /// The last attempt that failed; it stays after a success.
    pub last_error: Option<Incident>,
    /// Whether another process delivers to it.
    #[serde(skip)]
    pub elsewhere: bool,
    /// Whether the rest of this status is what that process has reported.
    #[serde(skip)]
    pub is_reported: bool,
}

/// Whether a destination takes deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DestinationState {
    /// It takes deliveries, as far as known.
    #[default]
    Ok,
    /// Too many attempts in a row failed. It is probed at `until`.
    Failing {
        /// When the next attempt is made.
        until: Timestamp,
        /// How many attempts in a row failed, and the last result.
        why: String,
    },
    /// Nothing is sent, because its receiver or a person asked for that.
    Paused {
        /// When the pause ends by itself; `None` until a person resumes it.
        until: Option<Timestamp>,
        /// By whose wish, and for which reason.
        why: String,
    },
}

/// The deliveries that wait for a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backlog {
    /// Deliveries that are due or wait for their next attempt.
    pub pending: u64,
    /// Deliveries that are held until their batch is sent.
    pub held: u64,
    /// When the delivery that goes out next became due; `None` when none is due. Others may have been due for longer.
    pub oldest_due: Option<Timestamp>,
}

/// The store.
#[derive(Clone, Debug, Default)]
pub struct StoreStatus {
    /// The last failure of the store.
    pub last_failure: Option<Incident>,
    /// The failure since which it refuses everything; `None` while it works.
    pub broken: Option<Incident>,
    /// When the last backup was made.
    pub last_backup: Option<Timestamp>,
    /// The last backup that failed; it stays after one that succeeded.
    pub last_backup_failure: Option<Incident>,
}

impl Board {
    /// Gives each source (with its host, and the requests per minute that the host allows) and each destination a place on
    /// the board, and takes all others off.
    pub(super) fn prepare(&mut self, sources: &[(&Name, Option<&str>, u32)], destinations: &[&Name]) {
        self.sources.retain(|name, _| sources.iter().any(|(kept, ..)| *kept == name));
        for (name, host, allowed) in sources {
            let budget = &mut self.source(name).budget;
            (budget.host, budget.allowed) = (host.map(Into::into), *allowed);
        }
        self.destinations.retain(|name, _| destinations.contains(&name));
        for name in destinations {
            self.destination(name);
        }
    }

    /// Requests that the host of this budget still allows in the minute before `now`, whichever of its sources makes them.
    pub(super) fn requests_left(&self, budget: &RequestsPerMinute, now: Timestamp) -> u32 {
        let of_host = self.sources.values().map(|source| &source.budget).filter(|it| it.host == budget.host);
        budget.allowed.saturating_sub(of_host.map(|it| it.used(now)).sum())
    }

    /// A source's place; a name that has none gets one.
    pub(super) fn source(&mut self, name: &Name) -> &mut SourceStatus {
        place(&mut self.sources, name)
    }

    /// A destination's place; a name that has none gets one.
    pub(super) fn destination(&mut self, name: &Name) -> &mut DestinationStatus {
        place(&mut self.destinations, name)
    }

    /// Notes whether another process works on a duty. Nothing that was known of it here holds any more when one does.
    pub(super) fn set_elsewhere(&mut self, duty: &Duty, elsewhere: bool) {
        match duty {
            Duty::Source(name) => {
                let status = self.source(name);
                if elsewhere {
                    let budget = std::mem::take(&mut status.budget);
                    *status = SourceStatus { budget, ..SourceStatus::default() };
                }
                status.elsewhere = elsewhere;
            }
            Duty::Destination(name) => {
                let status = self.destination(name);
                if elsewhere {
                    *status = DestinationStatus::default();
                }
                status.elsewhere = elsewhere;
            }
            Duty::Upkeep => {}
        }
    }

    /// Takes in what happened at `now` by the wall clock, and at `steady` by the steady one.
    pub(super) fn note(&mut self, signal: &Signal, now: Timestamp, steady: Timestamp) {
        let incident = |error: &str| Some(Incident { at: now, error: error.to_owned() });
        match signal {
            Signal::BaselineProgress { source, found, total } => {
                self.source(source).baseline = Some(BaselineProgress { found: *found, total: *total });
            }
            Signal::BaselineDone { source, .. } => self.source(source).baseline = None,
            Signal::Fetched { source, .. } => {
                let source = self.source(source);
                source.budget.note(now);
                (source.last_poll, source.last_success, source.answered) =
                    (Some(now), Some(now), Some(steady));
                (source.failures, source.refused) = (0, false);
            }
            Signal::FetchFailed { source, error, refused, failures } => {
                let source = self.source(source);
                source.budget.note(now);
                source.last_poll = Some(now);
                (source.failures, source.refused) = (*failures, *refused);
                source.last_error = incident(error);
            }
            Signal::Attempted { delivery, result, verdict, .. } => {
                let destination = self.destination(&delivery.destination);
                match verdict {
                    Verdict::Delivered => destination.last_success = Some(now),
                    Verdict::Retry(_) => destination.last_error = incident(result),
                    Verdict::Dead(why) => destination.last_error = incident(why),
                }
            }
            Signal::DestinationFailing { destination, pause, failures, last } => {
                let why = format!("{failures} attempts in a row failed; last: {last}");
                self.destination(destination).state =
                    DestinationState::Failing { until: now.after(*pause), why };
            }
            Signal::DestinationPaused { destination, pause, why } => {
                let until = pause.map(|pause| now.after(pause));
                self.destination(destination).state = DestinationState::Paused { until, why: why.clone() };
            }
            Signal::DestinationResumed { destination } => {
                self.destination(destination).state = DestinationState::Ok;
            }
            Signal::StoreFailed { doing, error } => {
                self.store.last_failure = incident(&format!("{doing}: {error}"));
            }
            Signal::Store(StoreSignal::BackedUp { .. }) => self.store.last_backup = Some(now),
            Signal::Store(StoreSignal::BackupFailed { error }) => {
                self.store.last_backup_failure = incident(error);
            }
            Signal::Store(StoreSignal::Broken { error }) => self.store.broken = incident(error),
            Signal::ConfigApplied { .. } => {
                self.config = ConfigStatus { since: Some(now), rejected: None, differs: None };
            }
            Signal::ConfigRejected { error, mistakes } => {
                let all: Vec<_> = [error].into_iter().chain(mistakes).map(String::as_str).collect();
                self.config.rejected = incident(&all.join("\n"));
                self.config.differs = None;
            }
            Signal::ConfigOnDisk { differs: true } => self.config.differs = Some(now),
            Signal::ConfigOnDisk { differs: false } => {
                (self.config.differs, self.config.rejected) = (None, None);
            }
            Signal::SourceTroubled { source, why } => self.source(source).last_error = incident(why),
            // These signals tell of events, not of a state that lasts.
            Signal::SourceFailing { .. }
            | Signal::SourceRecovered { .. }
            | Signal::BadRecord { .. }
            | Signal::Stale { .. }
            | Signal::Forgot { .. }
            | Signal::SourceNotice { .. }
            | Signal::Changed { .. }
            | Signal::Fired { .. }
            | Signal::Joined { .. }
            | Signal::TooOld { .. }
            | Signal::Unknown { .. }
            | Signal::NotFired { .. }
            | Signal::RuleFailed { .. }
            | Signal::TextFailed { .. }
            | Signal::Held { .. }
            | Signal::Summarized { .. }
            | Signal::Store(_)
            | Signal::Started { .. }
            | Signal::ConfigDoubtful { .. }
            | Signal::Listening { .. }
            | Signal::Stranded { .. }
            | Signal::Stopping { .. }
            | Signal::Stopped(_)
            | Signal::HeartbeatSent { .. }
            | Signal::HeartbeatFailed { .. }
            | Signal::HeartbeatWithheld { .. }
            | Signal::TakenOver { .. }
            | Signal::StoreBack
            | Signal::Hindrance { .. } => {}
        }
    }
}

fn place<'a, T: Default>(places: &'a mut BTreeMap<Name, T>, name: &Name) -> &'a mut T {
    match places.entry(name.clone()) {
        Entry::Occupied(place) => place.into_mut(),
        Entry::Vacant(place) => place.insert(T::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(1_765_809_145_000 + secs * 1000)
    }

    #[test]
    fn requests_are_counted_within_a_minute() {
        let mut budget = RequestsPerMinute::default();
        assert_eq!(budget.used(at(0)), 0);
        for second in [0, 0, 1, 30] {
            budget.note(at(second));
        }
        assert_eq!(
            [0, 30, 59, 60, 61, 89, 90, 10_000].map(|now| budget.used(at(now))),
            [4, 4, 4, 2, 1, 1, 0, 0]
        );
        budget.note(at(500));
        assert_eq!(budget.used(at(500)), 1, "older ones are gone");
        budget.note(at(400));
        assert_eq!(budget.used(at(400)), 2, "a clock that is set back hides nothing");
    }

    #[test]
    fn a_destination_is_failing_or_paused_until_it_resumes() {
        let mut board = Board::default();
        let crm = Name::from("crm");
        let pause = Duration::from_secs(10);
        board.note(
            &Signal::DestinationFailing {
                destination: crm.clone(),
                pause,
                failures: 5,
                last: "503".to_owned(),
            },
            at(0),
            at(0),
        );
        let why = "5 attempts in a row failed; last: 503".to_owned();
        assert_eq!(board.destinations[&crm].state, DestinationState::Failing { until: at(10), why });
        board.note(
            &Signal::DestinationPaused { destination: crm.clone(), pause: None, why: "by hand".to_owned() },
            at(1),
            at(1),
        );
        let why = "by hand".to_owned();
        assert_eq!(board.destinations[&crm].state, DestinationState::Paused { until: None, why });
        board.note(&Signal::DestinationResumed { destination: crm.clone() }, at(2), at(2));
        assert_eq!(board.destinations[&crm].state, DestinationState::Ok);
    }

    #[test]
    fn only_names_of_the_config_have_a_place_and_the_others_keep_what_is_known() {
        let mut board = Board::default();
        let (a, b) = (Name::from("a"), Name::from("b"));
        board.prepare(&[(&a, Some("api"), 60)], &[&a]);
        board.set_known(&a);
        board.prepare(&[(&a, Some("api"), 30), (&b, Some("api"), 30)], &[&b]);
        assert_eq!((board.sources[&a].calls.known, board.sources[&a].budget.allowed), (7, 30));
        assert_eq!(board.destinations.keys().collect::<Vec<_>>(), [&b]);
    }

    #[test]
    fn sources_of_one_host_leave_each_other_what_they_do_not_use() {
        let mut board = Board::default();
        let (a, b, c) = (Name::from("a"), Name::from("b"), Name::from("c"));
        board.prepare(&[(&a, Some("api"), 3), (&b, Some("api"), 3), (&c, Some("other"), 3)], &[]);
        for source in [&a, &b, &a, &b] {
            let fetched = Signal::FetchFailed {
                source: source.clone(),
                error: "no answer".to_owned(),
                refused: false,
                failures: 1,
            };
            board.note(&fetched, at(0), at(0));
        }
        let left = |name: &Name, now| board.requests_left(&board.sources[name].budget, at(now));
        assert_eq!([left(&a, 0), left(&b, 0), left(&c, 0)], [0, 0, 3]);
        assert_eq!(left(&a, 61), 3);
    }

    impl Board {
        fn set_known(&mut self, name: &Name) {
            self.source(name).calls.known = 7;
        }
    }
}
