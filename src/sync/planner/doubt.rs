//! Doubt about a list that lacks many calls: one deletion is news, many at once are more likely the API's trouble.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Missing;
use crate::time::Timestamp;

/// Up to this many missing calls are believed to be deleted, unless they are all the calls there were.
const FEW: u64 = 3;
/// More than one in this many known calls that are missing together are not believed to be deleted.
const ONE_IN: u64 = 10;
/// The last few calls of a list that is empty count as deleted after this time: a project that has deleted its only calls
/// should not wait for a day, and an outage seldom lasts so long.
const EMPTY_BELIEVED_AFTER: Duration = Duration::from_secs(600);

impl Missing {
    /// Whether so many are missing that the list is not believed: many calls, or all there were.
    fn are_many(self) -> bool {
        self.are_all() || self.calls > FEW && self.calls.saturating_mul(ONE_IN) > self.known
    }

    fn are_all(self) -> bool {
        self.calls > 0 && self.calls == self.known
    }
}

/// Decides whether missing calls count as deleted. What it knows is kept across restarts.
///
/// The time that calls have been missing is summed up from one walk to the next. So it does not depend on what the clock
/// said when the process last ended, and the time in which nobody looked does not count.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Doubt {
    /// The calls that are missing, and for how long in milliseconds; `None` when nothing is in doubt.
    standing: Option<(Missing, u64)>,
    /// How many bad records the list had when it was last believed. Missing calls may be among those that came since.
    bad: Option<u64>,
    /// Whether the missing calls may hide behind records that are not calls.
    hides: bool,
    /// The last walk of this run that confirmed the doubt.
    #[serde(skip)]
    walked: Option<Timestamp>,
}

/// The judgement on a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The list is believed. `relieved`: it was not before.
    Believed { relieved: bool },
    /// Too many calls are missing, so nothing is concluded yet.
    Doubted(Missing),
    /// Too many calls are missing, but for so long by now that they count as deleted.
    Accepted,
}

impl Doubt {
    /// The calls that are missing, while that is in doubt.
    pub fn missing(&self) -> Option<Missing> {
        self.standing.map(|(missing, _)| missing)
    }

    /// Whether missing calls do not count as deleted now.
    fn withholds(&self, believed_after: Duration) -> bool {
        let wait = self.wait(believed_after);
        self.standing.is_some_and(|(_, stood)| Duration::from_millis(stood) < wait)
    }

    /// How long the calls in doubt have to be missing until they count as deleted: `believed_after`, or less for the
    /// last few calls of a list that is empty now.
    pub fn wait(&self, believed_after: Duration) -> Duration {
        match self.standing {
            Some((missing, _)) if missing.are_all() && missing.calls <= FEW && !self.hides => {
                believed_after.min(EMPTY_BELIEVED_AFTER)
            }
            _ => believed_after,
        }
    }

    /// Judges a walk over the whole list: `missing` calls are missing, `vanished` of them since the walk before, and
    /// `bad` records are not calls. Only calls that vanish together begin a doubt; calls that a steady purge removes
    /// between walks never add up to one.
    pub fn on_walk(
        &mut self,
        missing: Missing,
        vanished: u64,
        bad: u64,
        believed_after: Duration,
        now: Timestamp,
    ) -> Verdict {
        let more_bad = bad.saturating_sub(self.bad.unwrap_or(bad));
        let may_hide = missing.calls > 0 && missing.calls <= more_bad;
        let together = Missing { calls: vanished, ..missing };
        let are_many =
            if self.standing.is_some() { missing } else { together }.are_many() || missing.are_all();
        self.hides = may_hide;
        if !are_many && !may_hide {
            self.bad = Some(bad);
            self.walked = None;
            return Verdict::Believed { relieved: self.standing.take().is_some() };
        }
        let stood = self.standing.map_or(0, |(_, stood)| stood);
        let since = self.walked.map_or(Duration::ZERO, |walked| now.since(walked));
        let stood = stood.saturating_add(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        self.standing = Some((missing, stood));
        self.walked = Some(now);
        if self.withholds(believed_after) { Verdict::Doubted(missing) } else { Verdict::Accepted }
    }

    /// An answer was read, of a walk or not. Returns whether it ends the doubt, because few enough calls are missing by
    /// now.
    pub fn on_answer(&mut self, missing: Missing) -> bool {
        let ends = self.walked.is_some()
            && self
                .missing()
                .is_some_and(|doubted| missing.calls == 0 || doubted.are_many() && !missing.are_many());
        if ends {
            (self.standing, self.walked) = (None, None);
        }
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn at(hours: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000_000_000).after(Duration::from_secs(3600 * hours))
    }

    fn missing(calls: u64, known: u64) -> Missing {
        Missing { calls, known }
    }

    const FINE: Verdict = Verdict::Believed { relieved: false };

    #[test]
    fn few_calls_or_few_among_many_are_deletions() {
        for (calls, known, is_many) in [
            (3, 3, true),
            (1, 1, true),
            (2, 3, false),
            (4, 8, true),
            (4, 40, false),
            (5, 40, true),
            (100, 1000, false),
            (101, 1000, true),
        ] {
            let verdict = Doubt::default().on_walk(missing(calls, known), calls, 0, DAY, at(0));
            assert_eq!(verdict != FINE, is_many, "{calls} of {known}");
        }
    }

    #[test]
    fn many_count_as_deleted_once_they_were_missing_for_long_while_somebody_looked() {
        let mut doubt = Doubt::default();
        let gone = missing(8, 8);
        assert_eq!(doubt.on_walk(gone, 8, 0, DAY, at(0)), Verdict::Doubted(gone));
        assert_eq!(doubt.on_walk(gone, 8, 0, DAY, at(20)), Verdict::Doubted(gone));
        // The process is away for a year, or the clock leaps.
        let kept = serde_json::to_value(doubt).unwrap();
        let mut doubt: Doubt = serde_json::from_value(kept).unwrap();
        assert_eq!(doubt.missing(), Some(gone));
        assert!(!doubt.on_answer(missing(0, 8)), "no walk of this run has seen whether they are there");
        assert_eq!(doubt.on_walk(gone, 8, 0, DAY, at(9000)), Verdict::Doubted(gone));
        assert_eq!(doubt.on_walk(gone, 8, 0, DAY, at(9003)), Verdict::Doubted(gone));
        assert_eq!(doubt.on_walk(gone, 8, 0, DAY, at(9004)), Verdict::Accepted);
        assert_eq!(doubt.on_walk(missing(0, 0), 0, 0, DAY, at(9005)), Verdict::Believed { relieved: true });
        assert_eq!(Doubt::default().on_walk(gone, 8, 0, Duration::ZERO, at(0)), Verdict::Accepted);
    }

    #[test]
    fn what_a_purge_removes_between_walks_does_not_add_up() {
        let mut doubt = Doubt::default();
        for hours in 0..100 {
            assert_eq!(doubt.on_walk(missing(60, 300), 20, 0, DAY, at(hours)), FINE);
        }
        assert_eq!(doubt.on_walk(missing(60, 300), 31, 0, DAY, at(100)), Verdict::Doubted(missing(60, 300)));
        assert_eq!(doubt.on_walk(missing(60, 300), 0, 0, DAY, at(101)), Verdict::Doubted(missing(60, 300)));
    }

    #[test]
    fn the_last_few_calls_of_an_empty_list_are_believed_sooner_but_never_at_once() {
        let later = |minutes: u32| at(0).after(minutes * Duration::from_secs(60));
        let mut doubt = Doubt::default();
        for (minutes, vanished) in [(0, 1), (1, 0), (9, 0)] {
            assert_eq!(
                doubt.on_walk(missing(1, 1), vanished, 0, DAY, later(minutes)),
                Verdict::Doubted(missing(1, 1))
            );
        }
        assert_eq!(doubt.on_walk(missing(1, 1), 0, 0, DAY, later(10)), Verdict::Accepted);
        let mut doubt = Doubt::default();
        let _ = doubt.on_walk(missing(0, 1), 0, 0, DAY, later(0));
        let _ = doubt.on_walk(missing(1, 1), 1, 1, DAY, later(1));
        assert_eq!(
            doubt.on_walk(missing(1, 1), 0, 1, DAY, later(60)),
            Verdict::Doubted(missing(1, 1)),
            "it may be the record that cannot be read"
        );
    }

    #[test]
    fn calls_that_come_back_end_the_doubt() {
        let mut doubt = Doubt::default();
        let _ = doubt.on_walk(missing(8, 8), 8, 0, DAY, at(0));
        assert!(!doubt.on_answer(missing(4, 8)));
        assert!(doubt.on_answer(missing(3, 8)));
        assert_eq!(doubt.missing(), None);
    }

    #[test]
    fn a_call_may_hide_behind_a_record_that_cannot_be_read() {
        let mut doubt = Doubt::default();
        assert_eq!(doubt.on_walk(missing(0, 5), 0, 1, DAY, at(0)), FINE);
        assert_eq!(doubt.on_walk(missing(1, 5), 1, 1, DAY, at(1)), FINE, "the bad one was there before");
        assert_eq!(doubt.on_walk(missing(2, 5), 2, 3, DAY, at(2)), Verdict::Doubted(missing(2, 5)));
        assert_eq!(doubt.on_walk(missing(3, 5), 3, 3, DAY, at(3)), Verdict::Believed { relieved: true });
    }
}
