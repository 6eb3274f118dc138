//! Sums by the hour and by the day, for charts. Pure: the time is passed in.
//!
//! They are fed by the same signals as counts and board, and outlive the process: the upkeep keeps them with its checkpoint.
//! They are small whatever happens: [`HOURS`] hours, [`DAYS`] days, and at most [`NAMES`] names in each.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use super::{Signal, signal::Sentiment};
use crate::{calendar::Zone, kind::Kind, name::Name, store::Verdict, summary::Reason, time::Timestamp};

/// How many hours are kept, the present one included.
pub const HOURS: i64 = 48;

/// How many days are kept, today included.
pub const DAYS: i32 = 30;

/// The most destinations of an hour, the most rules of a day, and the most fields that a rule misses. Whatever comes beyond
/// is counted under [`OTHERS`].
const NAMES: usize = 64;

/// The name for everything that has no place of its own.
const OTHERS: &str = "others";

const MILLIS_PER_HOUR: i64 = 3_600_000;

/// The sums.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sums {
    /// By hours of UTC since the Unix epoch.
    hours: BTreeMap<i64, Hour>,
    /// By days of the zone of the config, counted from the first day of the common era.
    days: BTreeMap<i32, Day>,
    /// Grows with every change.
    #[serde(skip)]
    version: u64,
}

/// The sums of an hour.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hour {
    /// Calls that started.
    pub started: u64,
    /// Calls that ended.
    pub ended: u64,
    /// The outcomes of notifications, by destination.
    pub destinations: BTreeMap<Name, Outcomes>,
}

/// The outcomes of the notifications to a destination.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcomes {
    /// Those that arrived.
    pub arrived: u64,
    /// Attempts that failed and are repeated.
    pub failed: u64,
    /// Those that were given up.
    pub dead: u64,
    /// How long those that arrived took.
    pub delays: Delays,
}

/// The sums of a day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Day {
    /// Calls that were analysed, by how the caller felt.
    pub sentiments: BTreeMap<Sentiment, u64>,
    /// Calls among them in which an appointment was booked.
    pub booked: u64,
    /// The results of rules.
    pub rules: BTreeMap<Name, RuleDay>,
}

/// The results of a rule on a day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuleDay {
    /// How often it fired.
    pub fired: u64,
    /// How many of the notifications of it had to wait, and why.
    pub waited: BTreeMap<Reason, u64>,
    /// How often its condition was neither true nor false, by the field that was missing.
    pub unknown: BTreeMap<String, u64>,
    /// How often it matched something that was older than its `max_age`.
    pub too_old: u64,
    /// How often its condition could not be evaluated.
    pub failed: u64,
}

/// How long deliveries took, as counts in buckets that are each a fifth longer than the one before, so that a quantile is
/// right to a tenth.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Delays(BTreeMap<u8, u64>);

impl Delays {
    /// The first bucket, in milliseconds; everything faster is in it as well.
    const FASTEST: f64 = 10.0;
    /// Buckets for each doubling.
    const PER_DOUBLING: f64 = 4.0;

    /// Adds a delay.
    pub fn add(&mut self, millis: u64) {
        let bucket = (millis as f64 / Self::FASTEST).log2() * Self::PER_DOUBLING;
        // A conversion to an integer saturates: what is faster is in the first bucket, and nothing takes 255 of them.
        *self.0.entry(bucket.round() as u8).or_default() += 1;
    }

    /// Adds those of `other`.
    pub fn merge(&mut self, other: &Self) {
        add_all(&mut self.0, &other.0);
    }

    /// The delay that this part of the deliveries did not exceed, in milliseconds; `None` when there was none.
    pub fn quantile(&self, part: f64) -> Option<u64> {
        let all: u64 = self.0.values().sum();
        let rank = (part * all as f64).ceil() as u64;
        let mut so_far = 0;
        let found = self.0.iter().find(|(_, count)| {
            so_far += *count;
            so_far >= rank.max(1)
        });
        found.map(|(bucket, _)| (Self::FASTEST * (f64::from(*bucket) / Self::PER_DOUBLING).exp2()) as u64)
    }
}

impl Outcomes {
    /// Adds those of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.arrived += other.arrived;
        self.failed += other.failed;
        self.dead += other.dead;
        self.delays.merge(&other.delays);
    }
}

impl Sums {
    /// A number that is another one after each change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Each of the hours until `now`, oldest first, with the time at which it began.
    pub fn hours(&self, now: Timestamp) -> impl Iterator<Item = (Timestamp, Hour)> {
        let last = hour_of(now);
        (last - HOURS + 1..=last).map(|hour| {
            let began = Timestamp::from_millis(hour * MILLIS_PER_HOUR);
            (began, self.hours.get(&hour).cloned().unwrap_or_default())
        })
    }

    /// Each of the days until `now` in this zone, oldest first.
    pub fn days(&self, now: Timestamp, zone: Zone) -> impl Iterator<Item = (NaiveDate, Day)> {
        let last = day_of(now, zone);
        (last - DAYS + 1..=last).filter_map(|day| {
            let date = NaiveDate::from_num_days_from_ce_opt(day)?;
            Some((date, self.days.get(&day).cloned().unwrap_or_default()))
        })
    }

    /// Takes in what happened at `now`; days are those of this zone.
    pub(super) fn note(&mut self, signal: &Signal, now: Timestamp, zone: Zone) {
        match signal {
            Signal::Changed { kinds, first_seen, analysis, .. } => {
                let (has_started, has_ended) = (kinds.contains(Kind::Started), kinds.contains(Kind::Ended));
                if has_started || has_ended {
                    let hour = self.hour(now);
                    // A call that was over before it was first seen has started, too.
                    hour.started += u64::from(has_started || *first_seen);
                    hour.ended += u64::from(has_ended);
                }
                if let Some(analysis) = analysis {
                    let day = self.day(now, zone);
                    *day.sentiments.entry(analysis.sentiment).or_default() += 1;
                    day.booked += u64::from(analysis.booked);
                }
            }
            Signal::Attempted { delivery, verdict, created, .. } => {
                let outcomes = place(&mut self.hour(now).destinations, &delivery.destination);
                match verdict {
                    Verdict::Delivered => {
                        outcomes.arrived += 1;
                        let took = now.since(*created).as_millis();
                        outcomes.delays.add(u64::try_from(took).unwrap_or(u64::MAX));
                    }
                    Verdict::Retry(_) => outcomes.failed += 1,
                    Verdict::Dead(_) => outcomes.dead += 1,
                }
            }
            Signal::Fired { rule, waits, .. } => {
                let rule = self.rule(rule, now, zone);
                rule.fired += 1;
                for reason in waits {
                    *rule.waited.entry(*reason).or_default() += 1;
                }
            }
            Signal::Unknown { rule, missing } => {
                let missing = missing.clone().unwrap_or_else(|| OTHERS.to_owned());
                *place(&mut self.rule(rule, now, zone).unknown, &missing) += 1;
            }
            Signal::TooOld { rule, .. } => self.rule(rule, now, zone).too_old += 1,
            Signal::RuleFailed { rule, .. } => self.rule(rule, now, zone).failed += 1,
            // No chart shows these.
            _ => return,
        }
        self.version += 1;
    }

    /// Adds what was kept before this process began.
    pub(super) fn recall(&mut self, kept: Self, now: Timestamp, zone: Zone) {
        for (hour, of_before) in kept.hours {
            let of_now = self.hours.entry(hour).or_default();
            of_now.started += of_before.started;
            of_now.ended += of_before.ended;
            for (name, outcomes) in of_before.destinations {
                place(&mut of_now.destinations, &name).merge(&outcomes);
            }
        }
        for (day, of_before) in kept.days {
            let of_now = self.days.entry(day).or_default();
            add_all(&mut of_now.sentiments, &of_before.sentiments);
            of_now.booked += of_before.booked;
            for (name, before) in of_before.rules {
                let rule = place(&mut of_now.rules, &name);
                rule.fired += before.fired;
                rule.too_old += before.too_old;
                rule.failed += before.failed;
                add_all(&mut rule.waited, &before.waited);
                for (missing, count) in before.unknown {
                    *place(&mut rule.unknown, &missing) += count;
                }
            }
        }
        self.forget(now, zone);
        self.version += 1;
    }

    fn hour(&mut self, now: Timestamp) -> &mut Hour {
        let hour = hour_of(now);
        if !self.hours.contains_key(&hour) {
            self.hours.retain(|it, _| is_lately(*it, hour, HOURS));
        }
        self.hours.entry(hour).or_default()
    }

    fn day(&mut self, now: Timestamp, zone: Zone) -> &mut Day {
        let day = day_of(now, zone);
        if !self.days.contains_key(&day) {
            self.days.retain(|it, _| is_lately(*it, day, DAYS));
        }
        self.days.entry(day).or_default()
    }

    fn rule(&mut self, name: &Name, now: Timestamp, zone: Zone) -> &mut RuleDay {
        place(&mut self.day(now, zone).rules, name)
    }

    /// Forgets what is older than is kept, and what is from the future: the clock was wrong then.
    fn forget(&mut self, now: Timestamp, zone: Zone) {
        let (hour, day) = (hour_of(now), day_of(now, zone));
        self.hours.retain(|it, _| is_lately(*it, hour, HOURS));
        self.days.retain(|it, _| is_lately(*it, day, DAYS));
    }
}

/// Whether `it` is one of the last `many` hours or days up to `now`.
fn is_lately<T: Copy + PartialOrd + std::ops::Sub<Output = T>>(it: T, now: T, many: T) -> bool {
    it <= now && now - it < many
}

fn hour_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(MILLIS_PER_HOUR)
}

fn day_of(at: Timestamp, zone: Zone) -> i32 {
    let in_utc = || DateTime::<Utc>::from_timestamp_millis(at.as_millis()).map(|at| at.num_days_from_ce());
    zone.local(at).map(|local| local.num_days_from_ce()).or_else(in_utc).unwrap_or_default()
}

/// The place of a name. Beyond [`NAMES`] names, all others share one.
fn place<'a, N, T>(places: &'a mut BTreeMap<N, T>, name: &N) -> &'a mut T
where
    N: Ord + Clone + From<&'static str>,
    T: Default,
{
    let name = match places.len() < NAMES || places.contains_key(name) {
        true => name.clone(),
        false => N::from(OTHERS),
    };
    places.entry(name).or_default()
}

fn add_all<K: Ord + Clone>(sums: &mut BTreeMap<K, u64>, others: &BTreeMap<K, u64>) {
    for (key, count) in others {
        *sums.entry(key.clone()).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{event::EventId, store::DeliveryId, telemetry::Analysis};

    const NOON: Timestamp = Timestamp::from_millis(1_765_800_000_500);
    const HOUR: Duration = Duration::from_secs(3600);

    fn changed(kind: Kind, first_seen: bool, analysis: Option<Analysis>) -> Signal {
        Signal::Changed {
            source: "clinic".into(),
            call: "c1".into(),
            kinds: kind.into(),
            caller: String::new(),
            first_seen,
            analysis,
        }
    }

    fn attempted(destination: &str, verdict: Verdict, created: Timestamp) -> Signal {
        Signal::Attempted {
            delivery: DeliveryId { event: EventId::from("evt_1"), destination: destination.into() },
            call: None,
            rule: "booked".into(),
            caller: String::new(),
            attempt: 1,
            result: String::new(),
            took: Duration::ZERO,
            verdict,
            created,
            updated: None,
        }
    }

    fn unknown(missing: &str) -> Signal {
        Signal::Unknown { rule: "booked".into(), missing: Some(missing.to_owned()) }
    }

    #[test]
    fn hours_and_days_are_counted_and_old_ones_forgotten() {
        let mut sums = Sums::default();
        let zone = Zone::parse("Pacific/Auckland").unwrap();
        let happy = Analysis { sentiment: Sentiment::Positive, booked: true };
        sums.note(&changed(Kind::Started, true, None), NOON, zone);
        sums.note(&changed(Kind::Ended, false, None), NOON, zone);
        sums.note(&changed(Kind::Ended, true, Some(happy)), NOON.after(HOUR), zone);
        let hours: Vec<_> = sums.hours(NOON.after(HOUR)).collect();
        let counts: Vec<_> = hours.iter().map(|(_, hour)| (hour.started, hour.ended)).collect();
        assert_eq!(counts.len(), 48);
        assert_eq!(counts[45..], [(0, 0), (1, 1), (1, 1)]);
        assert_eq!(hours[47].0.to_string(), "2025-12-15T13:00:00.000Z");
        // It is the next day there already.
        let days: Vec<_> = sums.days(NOON, zone).collect();
        assert_eq!((days.len(), days[29].0.to_string()), (30, "2025-12-16".to_owned()));
        assert_eq!((days[29].1.booked, days[29].1.sentiments[&Sentiment::Positive]), (1, 1));

        let later = NOON.after(HOUR * 48);
        sums.note(&changed(Kind::Started, true, None), later, zone);
        assert_eq!(sums.hours.len(), 2, "the first hour is forgotten");
        // A clock that leapt ahead and was set back.
        sums.note(&changed(Kind::Started, true, None), NOON.after(HOUR * 9000), zone);
        sums.note(&changed(Kind::Started, true, None), later, zone);
        assert_eq!(sums.hours.len(), 1, "the future is forgotten");
        assert_eq!(sums.hours(later).last().unwrap().1.started, 1);
    }

    #[test]
    fn names_are_bounded() {
        let mut sums = Sums::default();
        for number in 0..1000 {
            let name = format!("d{number}");
            sums.note(&attempted(&name, Verdict::Delivered, NOON), NOON, Zone::UTC);
            sums.note(&unknown(&name), NOON, Zone::UTC);
        }
        let (_, hour) = sums.hours(NOON).last().unwrap();
        assert_eq!((hour.destinations.len(), hour.destinations[OTHERS].arrived), (65, 936));
        let (_, day) = sums.days(NOON, Zone::UTC).last().unwrap();
        assert_eq!(day.rules["booked"].unknown[OTHERS], 936);
    }

    #[test]
    fn what_is_kept_is_added_to_what_is_counted_since() {
        let (mut before, mut after) = (Sums::default(), Sums::default());
        for sums in [&mut before, &mut after] {
            let sad = Analysis { sentiment: Sentiment::Negative, booked: false };
            sums.note(&changed(Kind::Ended, true, Some(sad)), NOON, Zone::UTC);
            sums.note(&attempted("crm", Verdict::Retry(NOON), NOON), NOON, Zone::UTC);
            sums.note(
                &attempted("crm", Verdict::Delivered, NOON.before(Duration::from_secs(1))),
                NOON,
                Zone::UTC,
            );
            sums.note(&unknown("call.summary"), NOON, Zone::UTC);
        }
        let kept = serde_json::from_value(serde_json::to_value(&before).unwrap()).unwrap();
        after.recall(kept, NOON, Zone::UTC);
        let (_, hour) = after.hours(NOON).last().unwrap();
        let crm = &hour.destinations["crm"];
        assert_eq!((hour.started, hour.ended, crm.failed, crm.arrived), (2, 2, 2, 2));
        assert_eq!(crm.delays.0.values().sum::<u64>(), 2);
        let (_, day) = after.days(NOON, Zone::UTC).last().unwrap();
        assert_eq!(
            (day.sentiments[&Sentiment::Negative], day.rules["booked"].unknown["call.summary"]),
            (2, 2)
        );
        after.recall(before, NOON.after(HOUR * 48), Zone::UTC);
        assert_eq!(after.hours.len(), 0, "what is too old by now is not taken");
    }

    #[test]
    fn quantiles_are_right_to_a_tenth() {
        let mut delays = Delays::default();
        assert_eq!(delays.quantile(0.5), None);
        for millis in 1..=1000 {
            delays.add(millis);
        }
        delays.add(u64::MAX);
        for (part, exact) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0)] {
            let found = delays.quantile(part).unwrap() as f64;
            assert!((found / exact - 1.0).abs() < 0.11, "{part}: {found}");
        }
        assert_eq!(delays.quantile(0.0), Some(10), "the fastest are all in the first");
    }
}
