//! A clinic's day, sped up: every second or so a call begins, ends or is analyzed. The same seed makes the same day.
//! Pure.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use crate::rehearsal::clinic::{Clinic, Outcome, PhoneCall};
use crate::{kind::Kind, time::Timestamp};

/// The time between two calls of the past.
const PAST_GAP: Duration = Duration::from_secs(1000);

/// An endless sequence of what happens to the calls of a clinic.
#[derive(Debug)]
pub struct Script {
    clinic: Clinic,
    rng: fastrand::Rng,
    begins: Timestamp,
    /// The future of the calls that have begun: steps by their time and the call's number.
    agenda: BTreeMap<(Duration, u64), Step>,
    next_call: Duration,
    calls: u64,
}

/// One thing that happens to a call.
#[derive(Clone, Debug)]
pub struct Step {
    /// The time since the beginning of the script.
    pub after: Duration,
    /// `Started`, `Ended` or `Analyzed`.
    pub kind: Kind,
    /// The call.
    pub call: PhoneCall,
}

impl Step {
    /// The API's record of the call once this has happened, at `now`.
    pub fn record(&self, now: Timestamp) -> Value {
        match self.kind {
            Kind::Started => self.call.live(),
            Kind::Ended => self.call.ended(now),
            _ => self.call.analyzed(now),
        }
    }
}

impl Script {
    /// A script that begins at `begins`.
    pub fn new(seed: u64, begins: Timestamp) -> Self {
        Self {
            clinic: Clinic::new(seed),
            rng: fastrand::Rng::with_seed(seed),
            begins,
            agenda: BTreeMap::new(),
            next_call: Duration::from_millis(300),
            calls: 0,
        }
    }

    /// The records of `n` calls that were over long before the script begins, oldest first.
    pub fn history(&mut self, n: u32) -> Vec<Value> {
        let record = |age: u32| {
            let created = self.begins.before(PAST_GAP * age);
            self.clinic.next_call(created).analyzed(created.after(PAST_GAP / 2))
        };
        (1..=n).rev().map(record).collect()
    }

    /// Puts all steps of the next call on the agenda.
    fn begin_call(&mut self) {
        let after = self.next_call;
        let created = self.begins.after(after);
        let call = match self.calls {
            // So that every rule of the bundled config fires within the first seconds.
            0 => self.call_that_is(Outcome::Booked, created),
            1 => self.call_that_is(Outcome::Unhappy, created),
            _ => self.clinic.next_call(created),
        };
        let ends = after + self.between(1500, if self.calls == 0 { 1500 } else { 4500 });
        let analyzed = ends + self.between(1200, if self.calls == 0 { 1200 } else { 3000 });
        for (after, kind) in [(after, Kind::Started), (ends, Kind::Ended), (analyzed, Kind::Analyzed)] {
            self.agenda.insert((after, self.calls), Step { after, kind, call: call.clone() });
        }
        self.calls += 1;
        self.next_call = after + self.between(1500, 4000);
    }

    fn call_that_is(&mut self, outcome: Outcome, created: Timestamp) -> PhoneCall {
        loop {
            let call = self.clinic.next_call(created);
            if call.outcome() == outcome {
                return call;
            }
        }
    }

    fn between(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.rng.u64(least..=most))
    }
}

impl Iterator for Script {
    type Item = Step;

    /// The next thing that happens; there always is one.
    fn next(&mut self) -> Option<Step> {
        while self.agenda.first_key_value().is_none_or(|((due, _), _)| self.next_call <= *due) {
            self.begin_call();
        }
        self.agenda.pop_first().map(|(_, step)| step)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const NOON: Timestamp = Timestamp::from_millis(1_765_800_000_000);

    fn steps(seed: u64, n: usize) -> Vec<Step> {
        Script::new(seed, NOON).take(n).collect()
    }

    #[test]
    fn every_call_begins_ends_and_is_analyzed_in_that_order() {
        let mut lives: BTreeMap<String, Vec<Kind>> = BTreeMap::new();
        let steps = steps(1, 3000);
        assert!(steps.is_sorted_by_key(|step| step.after));
        for step in &steps {
            lives.entry(step.call.id().to_owned()).or_default().push(step.kind);
        }
        for life in lives.values() {
            assert!([Kind::Started, Kind::Ended, Kind::Analyzed].starts_with(life), "{life:?}");
        }
    }

    #[test]
    fn something_happens_every_second_or_so() {
        let steps = steps(2, 601);
        let seconds = steps[600].after.as_secs_f64();
        assert!((300.0..900.0).contains(&seconds), "600 steps in {seconds} s");
        let longest = steps.windows(2).map(|pair| pair[1].after - pair[0].after).max().unwrap();
        assert!(longest < Duration::from_secs(5), "{longest:?}");
    }

    #[test]
    fn the_first_ten_seconds_have_a_booking_and_an_unhappy_caller() {
        for seed in 0..50 {
            let analyzed: Vec<_> = Script::new(seed, NOON)
                .take_while(|step| step.after < Duration::from_secs(12))
                .filter(|step| step.kind == Kind::Analyzed)
                .map(|step| step.call.outcome())
                .collect();
            assert!(
                analyzed.contains(&Outcome::Booked) && analyzed.contains(&Outcome::Unhappy),
                "seed {seed}"
            );
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_day() {
        let day = |seed| {
            let mut script = Script::new(seed, NOON);
            let history = script.history(20);
            let records: Vec<_> = script.take(50).map(|step| (step.after, step.record(NOON))).collect();
            (history, records)
        };
        assert_eq!(day(3), day(3));
        assert_ne!(day(3), day(4));
    }

    #[test]
    fn calls_of_the_past_are_over_and_differ_from_each_other() {
        let history = Script::new(5, NOON).history(150);
        let ids: BTreeSet<_> = history.iter().map(|call| call["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), 150);
        for call in &history {
            assert_eq!(call["status"], "completed");
            assert!(call["updatedAt"].as_str().unwrap() < NOON.to_string().as_str());
        }
        assert!(history.is_sorted_by_key(|call| call["createdAt"].as_str().unwrap()));
    }
}
