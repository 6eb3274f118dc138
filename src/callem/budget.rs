//! The budget of requests that all sources of one host share. Plain arithmetic; the time is passed in.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::Duration,
};

use crate::{config::SourceConfig, name::Name, time::Timestamp};

/// How urgent a request is, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Looks at a live call.
    Live,
    /// Looks for new calls.
    Head,
    /// Looks for an analysis that is waited for.
    Analysis,
    /// Walks the whole list: for the baseline, late edits and deletions.
    Sweep,
}

/// Every eighth request goes to the source that has waited longest, whatever its priority, so that nobody starves.
const TURN: u64 = 8;

/// A source that was told to ask again at some time and has not done so this long after it no longer waits.
const GRACE_MS: i64 = 2_000;

const MINUTE_MICROS: i64 = 60_000_000;

/// Whether a request may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// It may be made now, and is counted as made.
    Now,
    /// It may not be made yet: ask again at this time.
    At(Timestamp),
}

/// Decides when a request may be made, and which source is next.
///
/// The rate is kept by the generic cell rate algorithm (ITU-T I.371): a burst of at most a tenth of the minute's
/// requests, then one per emission interval, which is chosen so that no 60 seconds, wherever they begin, hold
/// more than the minute's requests.
#[derive(Debug)]
pub struct Budget {
    /// Time between two requests in the long run, in microseconds.
    emission: i64,
    /// How far ahead of that a burst may run, in microseconds.
    tolerance: i64,
    /// When the next request would be due without a burst, in microseconds.
    expected: i64,
    blocked: Timestamp,
    granted: u64,
    waiting: BTreeMap<Name, Waiting>,
    /// The number of the last request each source was granted.
    last: BTreeMap<Name, u64>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    priority: Priority,
    since: Timestamp,
    promised: Timestamp,
}

impl Budget {
    /// A budget of `per_minute` requests in any 60 seconds, at least one.
    pub fn new(per_minute: u32) -> Self {
        let mut budget = Self {
            emission: 0,
            tolerance: 0,
            expected: i64::MIN / 2,
            blocked: Timestamp::from_millis(i64::MIN / 2),
            granted: 0,
            waiting: BTreeMap::new(),
            last: BTreeMap::new(),
        };
        budget.set_limit(per_minute);
        budget
    }

    /// Allows `per_minute` requests in any 60 seconds from now on. Requests that were made before still count, so that a
    /// changed limit does not allow another burst.
    pub fn set_limit(&mut self, per_minute: u32) {
        let per_minute = i64::from(per_minute.max(1));
        let burst = (per_minute / 10).max(1);
        // In 60 s: the burst, and one request per emission interval that ends within them. With
        // 60 s / emission < per_minute - burst + 1, that is per_minute at most.
        self.emission = MINUTE_MICROS / (per_minute - burst + 1) + 1;
        self.tolerance = (burst - 1) * self.emission;
    }

    /// Asks whether `source` may make a request of this priority now. A source has one request at a time: asking again
    /// replaces the one it asked for before. A source that does not ask again when it was told to loses its place.
    pub fn request(&mut self, source: &Name, priority: Priority, now: Timestamp) -> Grant {
        self.waiting.retain(|_, w| now.as_millis() <= w.promised.as_millis().saturating_add(GRACE_MS));
        let waiting = Waiting { priority, since: now, promised: now };
        let since = self.waiting.get(source).map_or(now, |before| before.since);
        self.waiting.insert(source.clone(), Waiting { since, ..waiting });

        let free = self.free_at(now);
        let turn = self.turn_of(source);
        if turn == 0 && free <= now {
            let micros = micros(now);
            self.expected = self.expected.max(micros) + self.emission;
            self.granted += 1;
            self.last.insert(source.clone(), self.granted);
            self.waiting.remove(source);
            return Grant::Now;
        }
        let at = free.max(now).after(Duration::from_micros(turn * self.emission.unsigned_abs()));
        // Later than now, so that a caller that asks again at once does not loop without time passing.
        let at = at.max(now.after(Duration::from_millis(1)));
        if let Some(waiting) = self.waiting.get_mut(source) {
            waiting.promised = at;
        }
        Grant::At(at)
    }

    /// Grants nothing before this time, because the API asked to be left alone.
    pub fn block_until(&mut self, until: Timestamp) {
        self.blocked = self.blocked.max(until);
    }

    /// When the rate allows the next request, rounded up to a millisecond.
    fn free_at(&self, now: Timestamp) -> Timestamp {
        let micros = (self.expected - self.tolerance).max(micros(now));
        Timestamp::from_millis(micros.div_euclid(1000) + i64::from(micros.rem_euclid(1000) > 0))
            .max(self.blocked)
    }

    /// How many waiting sources go before this one.
    fn turn_of(&self, source: &Name) -> u64 {
        let longest_first = (self.granted + 1).is_multiple_of(TURN);
        let rank = |name: &Name, waiting: &Waiting| {
            let priority = if longest_first { Priority::Live } else { waiting.priority };
            let since = if longest_first { waiting.since } else { Timestamp::default() };
            // Among equals, the source whose last request was granted longest ago goes first.
            (priority, since, self.last.get(name).copied().unwrap_or(0), name.clone())
        };
        let Some(own) = self.waiting.get(source).map(|waiting| rank(source, waiting)) else { return 0 };
        self.waiting.iter().filter(|(name, waiting)| rank(name, waiting) < own).count() as u64
    }
}

fn micros(at: Timestamp) -> i64 {
    at.as_millis().saturating_mul(1000)
}

/// The requests per minute of each host: the API counts per address, so sources of one host share the smallest of
/// theirs.
pub fn limits(sources: &[SourceConfig]) -> HashMap<Option<&str>, u32> {
    let mut limits = HashMap::new();
    for source in sources {
        let limit = limits.entry(source.base_url.host_str()).or_insert(u32::MAX);
        *limit = source.requests_per_minute.min(*limit);
    }
    limits
}

/// The load of walking a whole list regularly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SweepLoad {
    /// Calls in the list.
    pub calls: u64,
    /// Calls per page.
    pub page_size: u32,
    /// The time in which the list is walked once.
    pub sweep: Duration,
    /// The budget it is taken from.
    pub requests_per_minute: u32,
}

impl SweepLoad {
    /// Requests for one walk.
    pub fn requests(&self) -> u64 {
        self.calls.div_ceil(u64::from(self.page_size.max(1))).max(1)
    }

    /// The share of the budget it takes; 1.0 is all of it.
    pub fn share(&self) -> f64 {
        let minutes = self.sweep.as_secs_f64() / 60.0;
        self.requests() as f64 / (minutes * f64::from(self.requests_per_minute.max(1)))
    }
}

/// One sentence, for people.
impl fmt::Display for SweepLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests = self.requests();
        let (verb, noun) = if self.calls == 1 { ("is", "call") } else { ("are", "calls") };
        write!(
            f,
            "{} {noun} at page_size {} {verb} {} request{}; a sweep every {} is {:.0} % of the budget",
            Grouped(self.calls),
            self.page_size,
            Grouped(requests),
            if requests == 1 { "" } else { "s" },
            humantime::format_duration(self.sweep),
            self.share() * 100.0,
        )
    }
}

/// Writes a number with a comma between thousands.
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// Lets sources ask whenever they were told to, and returns who was granted what when.
    fn run(
        budget: &mut Budget,
        wants: &[(Name, Priority, Duration)],
        until: Timestamp,
    ) -> Vec<(Name, Priority, Timestamp)> {
        let mut next: Vec<Timestamp> = vec![at(0); wants.len()];
        let mut granted = vec![];
        while let Some((i, now)) = next.iter().copied().enumerate().min_by_key(|(i, at)| (*at, *i)) {
            if now >= until {
                break;
            }
            let (name, priority, pause) = &wants[i];
            next[i] = match budget.request(name, *priority, now) {
                Grant::Now => {
                    granted.push((name.clone(), *priority, now));
                    now.after(*pause)
                }
                Grant::At(at) => at,
            };
        }
        granted
    }

    fn count(granted: &[(Name, Priority, Timestamp)], name: &str) -> usize {
        granted.iter().filter(|(source, ..)| source.as_str() == name).count()
    }

    proptest! {
        #[test]
        fn no_minute_holds_more_than_the_budget(
            per_minute in 1u32..300,
            wants in prop::collection::vec((0usize..4, 0u64..3000), 1..6),
        ) {
            const PRIORITIES: [Priority; 4] = [Priority::Live, Priority::Head, Priority::Analysis, Priority::Sweep];
            let wants: Vec<_> = wants
                .into_iter()
                .enumerate()
                .map(|(i, (priority, pause))| (Name::from(format!("s{i}")), PRIORITIES[priority], Duration::from_millis(pause)))
                .collect();
            let granted = run(&mut Budget::new(per_minute), &wants, at(200_000));
            for (i, (.., first)) in granted.iter().enumerate() {
                let minute = granted[i..].iter().take_while(|(.., at)| at.since(*first) <= Duration::from_secs(60));
                prop_assert!(minute.count() <= per_minute as usize);
            }
            let greedy = wants.iter().any(|(.., pause)| pause.is_zero());
            // Of a small budget, the request that each priority waits for at the end is a large part.
            prop_assert!(!greedy || granted.len() as f64 >= 200.0 / 60.0 * f64::from(per_minute) * 0.85 - 4.0,
                "a greedy source gets nearly all there is, not {}", granted.len());
        }
    }

    #[test]
    fn live_calls_go_first_and_sweeps_do_not_starve() {
        let wants = [
            (Name::from("sweeping"), Priority::Sweep, Duration::ZERO),
            (Name::from("live"), Priority::Live, Duration::ZERO),
        ];
        let granted = run(&mut Budget::new(60), &wants, at(600_000));
        let (live, sweep) = (count(&granted, "live"), count(&granted, "sweeping"));
        assert!(live > 6 * sweep, "{live} live, {sweep} of the sweep");
        assert!(sweep * 10 >= live, "{live} live, {sweep} of the sweep");
    }

    #[test]
    fn every_eighth_request_goes_to_who_has_waited_longest_and_no_other() {
        let mut budget = Budget::new(200);
        budget.block_until(at(1000));
        let wants = [
            (Name::from("sweeping"), Priority::Sweep, Duration::ZERO),
            (Name::from("live"), Priority::Live, Duration::ZERO),
        ];
        let granted = run(&mut budget, &wants, at(2000));
        let turn = granted.iter().position(|(name, ..)| name.as_str() == "sweeping");
        assert_eq!(turn, Some(7), "{granted:?}");
    }

    #[test]
    fn sources_of_one_priority_share_alike() {
        let wants: Vec<_> = ["a", "b", "c"]
            .map(|name| (Name::from(name), Priority::Live, Duration::ZERO))
            .into_iter()
            .collect();
        let granted = run(&mut Budget::new(100), &wants, at(600_000));
        let counts: Vec<usize> = ["a", "b", "c"].map(|name| count(&granted, name)).into_iter().collect();
        // The first source to ask may take the whole first burst.
        assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 10, "{counts:?}");
    }

    #[test]
    fn another_limit_holds_at_once_and_brings_no_second_burst() {
        let wants = [(Name::from("a"), Priority::Live, Duration::ZERO)];
        let mut budget = Budget::new(100);
        assert_eq!(run(&mut budget, &wants, at(1)).len(), 10, "the burst");
        budget.set_limit(100);
        assert_ne!(budget.request(&wants[0].0, Priority::Live, at(1)), Grant::Now);
        budget.set_limit(10);
        let granted = run(&mut budget, &wants, at(120_000));
        assert!((18..=21).contains(&granted.len()), "{}", granted.len());
    }

    #[test]
    fn retry_after_holds_everybody_back() {
        let mut budget = Budget::new(100);
        budget.block_until(at(30_000));
        let wants = [(Name::from("a"), Priority::Live, Duration::ZERO)];
        assert_eq!(budget.request(&wants[0].0, Priority::Live, at(0)), Grant::At(at(30_000)));
        assert_eq!(budget.request(&wants[0].0, Priority::Live, at(30_000)), Grant::Now);
    }

    #[test]
    fn who_never_comes_back_delays_others_only_briefly() {
        let mut budget = Budget::new(1);
        assert_eq!(budget.request(&"a".into(), Priority::Live, at(0)), Grant::Now);
        let Grant::At(gone) = budget.request(&"gone".into(), Priority::Live, at(1)) else { panic!() };
        let Grant::At(mut next) = budget.request(&"b".into(), Priority::Sweep, at(2)) else { panic!() };
        while let Grant::At(later) = budget.request(&"b".into(), Priority::Sweep, next) {
            next = later;
        }
        assert!(next.since(gone) <= Duration::from_secs(61), "{next}");
    }

    #[test]
    fn the_load_of_a_sweep_reads_as_a_sentence() {
        let load = SweepLoad {
            calls: 4200,
            page_size: 100,
            sweep: Duration::from_secs(60),
            requests_per_minute: 100,
        };
        assert_eq!(
            load.to_string(),
            "4,200 calls at page_size 100 are 42 requests; a sweep every 1m is 42 % of the budget"
        );
    }
}
