//! Leaves a destination alone while it fails, or asks for it by `Retry-After`: a circuit breaker. Pure.
//!
//! Only failures that say something about the destination count: a delivery that can never arrive as it is neither opens
//! nor closes the breaker. Pauses that outlast the process are [`super::pausing`]'s.

use std::time::Duration;

use super::{Room, schedule};
use crate::{destination::Reaction, time::Timestamp};

/// How many failed attempts in a row open the breaker.
const FAILURES: u32 = 5;
/// The pause after the first opening; every probe that fails doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause that the breaker makes by itself.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);
/// A pause that grows by no more than this is not told again: attempts in flight together get the same answer.
const NEWS: Duration = Duration::from_secs(1);

/// Whether attempts to a destination may begin.
///
/// Closed: they may. Open: none before the pause is over, then one probe at a time (half-open), until a probe arrives
/// (closed) or fails (open, for longer). Attempts that began before it opened no longer count.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Attempts that failed in a row.
    failures: u32,
    /// How often in a row it opened; zero while closed.
    openings: u32,
    /// Whether the one probe is in flight.
    probing: bool,
    /// The time before which nothing begins, because attempts failed.
    own_until: Timestamp,
    /// The time before which nothing begins, because the receiver asked for that.
    asked_until: Timestamp,
    /// Whether people were told of a pause, and have to be told of its end.
    told: bool,
}

/// A change of state that people are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shift {
    /// The destination is left alone for this long because this many attempts in a row failed.
    Opened { pause: Duration, failures: u32 },
    /// The destination is left alone for this long because its receiver asked for it.
    Asked { pause: Duration },
    /// The destination takes deliveries again.
    Resumed,
}

impl Breaker {
    /// How many attempts may begin at `now`.
    pub(super) fn room(&self, now: Timestamp) -> Room {
        if now < self.until() {
            Room::At(self.until())
        } else if self.openings == 0 {
            Room::For(usize::MAX)
        } else if self.probing {
            Room::Full
        } else {
            Room::For(1)
        }
    }

    /// Whether the destination is left alone, or only probed.
    pub(super) fn is_open(&self, now: Timestamp) -> bool {
        self.openings > 0 || now < self.until()
    }

    fn until(&self) -> Timestamp {
        self.own_until.max(self.asked_until)
    }

    /// A person asks for attempts at `now`, because the cause of the failures may be gone: the next probe may begin at once. A
    /// pause that the receiver asked for goes on.
    pub(super) fn probe_soon(&mut self, now: Timestamp) {
        self.own_until = self.own_until.min(now);
    }

    /// Notes that an attempt begins, which [`Breaker::room`] allowed; returns whether it is the probe.
    pub(super) fn begin(&mut self) -> bool {
        self.probing = self.openings > 0;
        self.probing
    }

    /// Notes that an attempt ended at `now`; returns what people are told of it, if anything.
    pub(super) fn record(&mut self, now: Timestamp, reaction: &Reaction, probe: bool) -> Option<Shift> {
        if probe {
            self.probing = false;
        }
        let counts = probe || self.openings == 0;
        match reaction {
            Reaction::Dead(_) | Reaction::Pause(_) => None,
            Reaction::Delivered => {
                if counts {
                    self.failures = 0;
                    self.openings = 0;
                }
                // A pause that was asked for goes on whatever arrives in the meantime.
                let over = self.openings == 0 && now >= self.until();
                (over && std::mem::take(&mut self.told)).then_some(Shift::Resumed)
            }
            Reaction::Retry { after } => {
                let asked = schedule::asked(*after);
                self.failures += u32::from(counts);
                let own = if probe || (counts && self.failures >= FAILURES) {
                    self.openings += 1;
                    own_pause(self.openings)
                } else {
                    Duration::ZERO
                };
                let pause = asked.max(own);
                let news = !pause.is_zero() && now.after(pause) > self.until().after(NEWS);
                self.own_until = self.own_until.max(now.after(own));
                self.asked_until = self.asked_until.max(now.after(asked));
                self.told |= news;
                news.then_some(if asked > own {
                    Shift::Asked { pause }
                } else {
                    Shift::Opened { pause, failures: self.failures }
                })
            }
        }
    }
}

/// The pause after this many openings in a row: 10 s, 20 s, 40 s, … 5 min.
fn own_pause(openings: u32) -> Duration {
    let doublings = openings.saturating_sub(1).min(16);
    (FIRST_PAUSE * 2u32.pow(doublings)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_765_809_145_000);
    const FAILED: Reaction = Reaction::Retry { after: None };

    fn at(secs: u64) -> Timestamp {
        NOW.after(Duration::from_secs(secs))
    }

    fn asked(secs: u64) -> Reaction {
        Reaction::Retry { after: Some(Duration::from_secs(secs)) }
    }

    /// A breaker that has just opened, at [`NOW`].
    fn open() -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES {
            assert!(!breaker.begin());
            assert_eq!(breaker.record(NOW, &FAILED, false), None);
            assert_eq!(breaker.room(NOW), Room::For(usize::MAX));
        }
        assert_eq!(
            breaker.record(NOW, &FAILED, false),
            Some(Shift::Opened { pause: FIRST_PAUSE, failures: FAILURES })
        );
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_probe_at_a_time_is_let_through() {
        assert!(!Breaker::default().is_open(NOW));
        let mut breaker = open();
        assert_eq!(breaker.room(at(9)), Room::At(at(10)));
        assert_eq!(breaker.room(at(10)), Room::For(1));
        assert!(breaker.is_open(at(9)) && breaker.is_open(at(10)), "it is only probed");
        assert!(breaker.begin());
        assert_eq!(breaker.room(at(10)), Room::Full);
        assert_eq!(breaker.record(at(11), &Reaction::Delivered, true), Some(Shift::Resumed));
        assert_eq!(breaker.room(at(11)), Room::For(usize::MAX));
    }

    #[test]
    fn pauses_grow_to_a_bound_and_start_again_after_a_success() {
        let mut breaker = open();
        let mut now = at(10);
        let mut pauses = vec![];
        for _ in 0..7 {
            assert!(breaker.begin());
            match breaker.record(now, &FAILED, true) {
                Some(Shift::Opened { pause, .. }) => {
                    pauses.push(pause.as_secs());
                    now = now.after(pause);
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(breaker.room(now), Room::For(1));
        }
        assert_eq!(pauses, [20, 40, 80, 160, 300, 300, 300]);
        assert!(breaker.begin());
        assert_eq!(breaker.record(now, &Reaction::Delivered, true), Some(Shift::Resumed));
        for _ in 1..FAILURES {
            assert_eq!(breaker.record(now, &FAILED, false), None);
        }
        assert!(
            matches!(breaker.record(now, &FAILED, false), Some(Shift::Opened { pause, .. }) if pause == FIRST_PAUSE)
        );
    }

    #[test]
    fn a_success_in_between_starts_the_count_again() {
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            for _ in 1..FAILURES {
                assert_eq!(breaker.record(NOW, &FAILED, false), None);
            }
            assert_eq!(breaker.record(NOW, &Reaction::Delivered, false), None);
        }
        assert_eq!(breaker.room(NOW), Room::For(usize::MAX));
    }

    #[test]
    fn what_was_begun_before_it_opened_does_not_count() {
        let mut breaker = open();
        for _ in 0..20 {
            assert_eq!(breaker.record(at(1), &FAILED, false), None);
        }
        assert_eq!(breaker.record(at(2), &Reaction::Delivered, false), None);
        assert_eq!(breaker.room(at(9)), Room::At(at(10)));
        assert!(breaker.begin());
        assert_eq!(breaker.record(at(11), &FAILED, false), None);
        assert_eq!(breaker.room(at(11)), Room::Full, "the probe is still in flight");
    }

    #[test]
    fn a_dead_delivery_says_nothing_about_the_destination() {
        let dead = Reaction::Dead("400 Bad Request".to_owned());
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            assert_eq!(breaker.record(NOW, &dead, false), None);
        }
        assert_eq!(breaker.room(NOW), Room::For(usize::MAX));
        let mut breaker = open();
        assert!(breaker.begin());
        assert_eq!(breaker.record(at(10), &dead, true), None);
        assert_eq!(breaker.room(at(10)), Room::For(1), "the next probe");
    }

    #[test]
    fn a_pause_that_was_asked_for_is_kept_and_told_once() {
        let mut breaker = Breaker::default();
        let hour = Duration::from_secs(3600);
        assert_eq!(breaker.record(NOW, &asked(3600), false), Some(Shift::Asked { pause: hour }));
        assert_eq!(breaker.record(NOW.after(Duration::from_millis(300)), &asked(3600), false), None);
        assert_eq!(breaker.record(at(2), &Reaction::Delivered, false), None);
        assert_eq!(breaker.record(at(3), &asked(10), false), None);
        let over = at(3600).after(Duration::from_millis(300));
        assert_eq!(breaker.room(at(3600)), Room::At(over));
        assert_eq!(breaker.room(over), Room::For(usize::MAX), "it did not fail, it asked");
        assert!(breaker.is_open(at(3600)) && !breaker.is_open(over));
        assert_eq!(breaker.record(over, &Reaction::Delivered, false), Some(Shift::Resumed));
        assert_eq!(breaker.record(over, &Reaction::Delivered, false), None);
    }

    #[test]
    fn a_person_has_a_probe_at_once_unless_the_receiver_asked_for_time() {
        let mut breaker = open();
        breaker.probe_soon(at(1));
        assert_eq!(breaker.room(at(1)), Room::For(1));
        assert!(breaker.begin());
        assert!(matches!(breaker.record(at(2), &FAILED, true), Some(Shift::Opened { .. })));
        assert_eq!(breaker.room(at(2)), Room::At(at(22)), "it is left alone for longer all the same");
        breaker.probe_soon(at(3));
        assert!(breaker.begin());
        assert_eq!(breaker.record(at(4), &Reaction::Delivered, true), Some(Shift::Resumed));

        let mut breaker = open();
        assert!(breaker.record(at(1), &asked(600), false).is_some());
        breaker.probe_soon(at(2));
        assert_eq!(breaker.room(at(2)), Room::At(at(601)));
    }

    #[test]
    fn an_absurd_wish_is_cut_to_a_day() {
        let mut breaker = Breaker::default();
        assert!(breaker.record(NOW, &asked(u64::MAX), false).is_some());
        assert_eq!(breaker.room(NOW), Room::At(at(24 * 3600)));
    }

    #[test]
    fn a_failed_probe_that_asks_for_more_gets_more() {
        let mut breaker = open();
        assert!(breaker.begin());
        assert!(breaker.record(at(10), &asked(600), true).is_some());
        assert_eq!(breaker.room(at(610)), Room::For(1));
        assert_eq!(breaker.room(at(609)), Room::At(at(610)));
    }
}
