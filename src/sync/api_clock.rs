//! The API's clock, by which the ages of calls are measured. Pure.
//!
//! Calls carry times of the API's clock, so their age cannot be taken from our wall clock: somebody may set that, and a
//! call that has just begun would have lasted for two days. Instead, the `Date` header of each answer tells how far the
//! API's clock is ahead of our steady one, which goes on between answers.

use std::{collections::VecDeque, time::Duration};

use super::watcher::Now;
use crate::time::Timestamp;

/// The number of latest answers that have a say. The one in the middle counts, so that neither a cache that gives an old `Date` nor
/// a server whose clock is wrong moves the time.
const ANSWERS: usize = 5;

/// A `Date` has whole seconds and was under way for a while, so a smaller difference says nothing.
const UNCERTAIN: Duration = Duration::from_secs(5);

/// How far the API's clock is ahead of the steady one, in milliseconds. Lost with the process.
#[derive(Debug, Default)]
pub struct ApiClock {
    latest: VecDeque<i64>,
    ahead: i64,
}

impl ApiClock {
    /// An answer that came at `steady` says that it was `date` then.
    pub fn heard(&mut self, date: Timestamp, steady: Timestamp) {
        self.latest.push_back(date.as_millis().saturating_sub(steady.as_millis()));
        if self.latest.len() > ANSWERS {
            self.latest.pop_front();
        }
        let mut sorted: Vec<_> = self.latest.iter().copied().collect();
        sorted.sort_unstable();
        let middle = sorted[(sorted.len() - 1) / 2];
        if u128::from(middle.abs_diff(self.ahead)) > UNCERTAIN.as_millis() {
            self.ahead = middle;
        }
    }

    /// The present moment by all clocks, given the times of our wall clock and our steady clock.
    ///
    /// Until the first answer, the API's time is not known. Waits then go by the steady clock, which started at the
    /// wall clock's time when the process did and never leaps. That time may have been ahead, so the earlier of the two
    /// clocks stands in for the API's: a wrong clock must not make anything look too old.
    pub fn now(&self, wall: Timestamp, steady: Timestamp) -> Now {
        let waits = Timestamp::from_millis(steady.as_millis().saturating_add(self.ahead));
        let api = if self.latest.is_empty() { waits.min(wall) } else { waits };
        Now { wall, steady, waits, api }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::default().after(Duration::from_secs(secs))
    }

    const DAY: u64 = 86_400;

    fn api(clock: &ApiClock, steady: Timestamp) -> Timestamp {
        let now = clock.now(at(7), steady);
        assert_eq!(
            (now.wall, now.steady, now.waits),
            (at(7), steady, now.api),
            "the wall clock says nothing"
        );
        now.api
    }

    #[test]
    fn the_api_says_what_time_it_is_once_it_differs_by_more_than_is_uncertain() {
        let mut clock = ApiClock::default();
        let now = |wall| clock.now(wall, at(100));
        assert_eq!((now(at(200)).api, now(at(200)).waits), (at(100), at(100)));
        assert_eq!(
            (now(at(50)).api, now(at(50)).waits),
            (at(50), at(100)),
            "it was ahead, and was set right"
        );
        clock.heard(at(103), at(100));
        assert_eq!(api(&clock, at(101)), at(101));
        // Ours was behind by a day when the process started.
        let mut clock = ApiClock::default();
        clock.heard(at(DAY + 100), at(100));
        assert_eq!(api(&clock, at(160)), at(DAY + 160));
        for secs in 160..170 {
            clock.heard(at(DAY + secs + secs % 3), at(secs));
            assert_eq!(api(&clock, at(secs)), at(DAY + secs), "it goes on steadily");
        }
    }

    #[test]
    fn a_few_answers_with_another_time_change_nothing_and_many_do() {
        let mut clock = ApiClock::default();
        for secs in 0..10 {
            clock.heard(at(DAY + secs), at(secs));
        }
        for secs in [10, 11] {
            clock.heard(at(0), at(secs));
            assert_eq!(api(&clock, at(secs)), at(DAY + secs));
        }
        for secs in 12..20 {
            clock.heard(at(3 * DAY + secs), at(secs));
        }
        assert_eq!(api(&clock, at(20)), at(3 * DAY + 20), "this machine has slept");
    }
}
