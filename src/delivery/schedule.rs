//! The retry schedule: whether and when an attempt is followed by another. Pure.

use std::time::Duration;

use crate::{
    destination::{Answer, Reaction},
    store::Verdict,
    time::Timestamp,
};

/// A wait becomes longer by up to a tenth of it, so that deliveries that failed together are not all repeated together. It
/// never becomes shorter.
const JITTER_PART: u32 = 10;

/// The longest time for which a receiver can ask to be left alone. A longer one is more likely a mistake than meant, and
/// would silence the destination until somebody notices.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a receiver that asked for `after` is left alone; zero when it did not ask.
pub(super) fn asked(after: Option<Duration>) -> Duration {
    after.unwrap_or_default().min(RETRY_AFTER_MAX)
}

/// When to try again, and when to stop trying.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    /// The waits after a failed attempt, in order; after the last one a delivery is dead.
    pub(super) waits: Vec<Duration>,
    /// The age after which no attempt is made, except for the first.
    pub(super) max_age: Option<Duration>,
}

/// An attempt that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tried {
    /// How many attempts there were since the schedule began, this one included.
    pub(super) attempts: u32,
    /// How long the schedule has run: since the delivery was made, or was given a new start. By the steady clock, so that
    /// a leap of the other one makes nothing too old.
    pub(super) age: Duration,
    /// When the attempt ended, by the clock for people.
    pub(super) ended: Timestamp,
}

impl Schedule {
    /// The verdict on a delivery after `answer`. `jitter` is a random number in `[0, 1)`.
    ///
    /// A failed attempt is followed by the next wait of the list, lengthened by the jitter, or by what the
    /// receiver asked for, whichever is longer.
    pub(super) fn verdict(&self, tried: Tried, answer: &Answer, jitter: f64) -> Verdict {
        let after = match &answer.reaction {
            Reaction::Delivered => return Verdict::Delivered,
            Reaction::Dead(reason) => return Verdict::Dead(reason.clone()),
            // The delivery is due at once when the destination is resumed.
            Reaction::Pause(_) => return Verdict::Retry(tried.ended),
            Reaction::Retry { after } => asked(*after),
        };
        let Some(wait) = self.wait_after(tried.attempts) else {
            return Verdict::Dead(gave_up(tried, "", answer));
        };
        let lengthened = wait.saturating_add((wait / JITTER_PART).mul_f64(jitter));
        let wait = lengthened.max(after);
        match self.max_age {
            Some(max) if tried.age.saturating_add(wait) > max => {
                let limit = format!(" (max_attempts_age is {})", humantime::format_duration(max));
                Verdict::Dead(gave_up(tried, &limit, answer))
            }
            _ => Verdict::Retry(tried.ended.after(wait)),
        }
    }

    fn wait_after(&self, attempts: u32) -> Option<Duration> {
        let index = usize::try_from(attempts).ok()?.checked_sub(1)?;
        self.waits.get(index).copied()
    }
}

/// The reason of a delivery that ran out of attempts or of time.
fn gave_up(tried: Tried, limit: &str, answer: &Answer) -> String {
    let plural = if tried.attempts == 1 { "" } else { "s" };
    let over = humantime::format_duration(readable(tried.age));
    format!("gave up after {} attempt{plural} over {over}{limit}; last: {}", tried.attempts, answer.result)
}

/// The age without its seconds, when it has hours.
fn readable(age: Duration) -> Duration {
    let secs = age.as_secs();
    Duration::from_secs(if secs < 60 * 60 { secs } else { secs - secs % 60 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_765_809_145_000);

    fn failed(after: Option<Duration>) -> Answer {
        Answer {
            reaction: Reaction::Retry { after },
            result: "500 Internal Server Error".to_owned(),
            response: String::new(),
            memo: None,
        }
    }

    fn schedule(secs: &[u64]) -> Schedule {
        Schedule { waits: secs.iter().copied().map(Duration::from_secs).collect(), max_age: None }
    }

    fn tried(attempts: u32) -> Tried {
        Tried { attempts, age: Duration::ZERO, ended: NOW }
    }

    #[test]
    fn waits_are_taken_in_order_and_then_it_is_dead() {
        let schedule = schedule(&[5, 300]);
        assert_eq!(
            schedule.verdict(tried(1), &failed(None), 0.0),
            Verdict::Retry(NOW.after(Duration::from_secs(5)))
        );
        assert_eq!(
            schedule.verdict(tried(2), &failed(None), 0.5),
            Verdict::Retry(NOW.after(Duration::from_secs(315)))
        );
        let late = Tried { attempts: 3, age: Duration::from_secs(3 * 3600 + 5 * 60 + 7), ended: NOW };
        assert_eq!(
            schedule.verdict(late, &failed(None), 0.0),
            Verdict::Dead("gave up after 3 attempts over 3h 5m; last: 500 Internal Server Error".to_owned())
        );
    }

    #[test]
    fn a_list_without_waits_means_one_attempt() {
        assert_eq!(
            schedule(&[]).verdict(tried(1), &failed(None), 0.0),
            Verdict::Dead("gave up after 1 attempt over 0s; last: 500 Internal Server Error".to_owned())
        );
    }

    #[test]
    fn what_arrived_is_delivered_and_what_never_will_is_dead_for_the_receivers_reason() {
        let schedule = schedule(&[5]);
        let answer =
            |reaction| Answer { reaction, result: String::new(), response: String::new(), memo: None };
        assert_eq!(schedule.verdict(tried(1), &answer(Reaction::Delivered), 0.0), Verdict::Delivered);
        assert_eq!(
            schedule.verdict(tried(1), &answer(Reaction::Dead("404 Not Found".to_owned())), 0.0),
            Verdict::Dead("404 Not Found".to_owned())
        );
    }

    #[test]
    fn what_a_receiver_wants_nothing_of_waits_however_often_it_was_tried() {
        let answer = Answer {
            reaction: Reaction::Pause("410 Gone".to_owned()),
            result: String::new(),
            response: String::new(),
            memo: None,
        };
        let mut schedule = schedule(&[]);
        schedule.max_age = Some(Duration::ZERO);
        assert_eq!(schedule.verdict(tried(7), &answer, 0.9), Verdict::Retry(NOW));
    }

    #[test]
    fn nothing_is_tried_beyond_its_age() {
        let mut schedule = schedule(&[60, 60, 60]);
        schedule.max_age = Some(Duration::from_secs(100));
        assert!(matches!(schedule.verdict(tried(1), &failed(None), 0.9), Verdict::Retry(_)));
        let just = Tried { attempts: 2, age: Duration::from_secs(40), ended: NOW };
        assert!(
            matches!(schedule.verdict(just, &failed(None), 0.0), Verdict::Retry(_)),
            "at its age, not beyond"
        );
        let second = Tried { attempts: 2, age: Duration::from_secs(65), ended: NOW };
        assert_eq!(
            schedule.verdict(second, &failed(None), 0.0),
            Verdict::Dead(
                "gave up after 2 attempts over 1m 5s (max_attempts_age is 1m 40s); \
                 last: 500 Internal Server Error"
                    .to_owned()
            )
        );
    }

    #[test]
    fn absurd_waits_do_not_overflow() {
        let schedule = Schedule { waits: vec![Duration::MAX], max_age: None };
        assert!(matches!(schedule.verdict(tried(1), &failed(None), 0.99), Verdict::Retry(at) if at > NOW));
    }

    proptest! {
        /// A list of n waits makes n + 1 attempts, each neither before its wait nor before what was asked for,
        /// and later by no more than a tenth.
        #[test]
        fn every_wait_is_kept(
            waits in prop::collection::vec(0u64..200_000_000, 0..12),
            afters in prop::collection::vec(prop::option::of(0u64..200_000_000), 13),
            jitters in prop::collection::vec(0.0f64..1.0, 13),
        ) {
            let schedule =
                Schedule { waits: waits.iter().copied().map(Duration::from_millis).collect(), max_age: None };
            let mut now = NOW;
            let mut attempts = 0u32;
            loop {
                let step = attempts as usize;
                let after = afters[step].map(Duration::from_millis);
                attempts += 1;
                match schedule.verdict(
                    Tried { attempts, age: now.since(NOW), ended: now },
                    &failed(after),
                    jitters[step],
                ) {
                    Verdict::Retry(at) => {
                        let (wait, asked) = (schedule.waits[step], asked(after));
                        prop_assert!(at >= now.after(wait) && at >= now.after(asked));
                        prop_assert!(at <= now.after((wait + wait / 10).max(asked)));
                        now = at;
                    }
                    Verdict::Dead(_) => break,
                    Verdict::Delivered => prop_assert!(false, "a failure is no delivery"),
                }
            }
            prop_assert_eq!(attempts as usize, waits.len() + 1);
        }

        /// A longer wish, more jitter or a later end never make the next attempt earlier.
        #[test]
        fn it_is_monotone(
            wait in 0u64..100_000_000,
            after in (0u64..100_000_000, 0u64..100_000_000),
            jitter in (0.0f64..1.0, 0.0f64..1.0),
            ended in (0u64..100_000_000, 0u64..100_000_000),
        ) {
            let schedule = Schedule { waits: vec![Duration::from_millis(wait)], max_age: None };
            let at = |ended: u64, after: u64, jitter: f64| {
                let age = Duration::from_millis(ended);
                let answer = failed(Some(Duration::from_millis(after)));
                let tried = Tried { attempts: 1, age, ended: NOW.after(age) };
                match schedule.verdict(tried, &answer, jitter) {
                    Verdict::Retry(at) => at,
                    other => panic!("{other:?}"),
                }
            };
            prop_assert!(
                at(ended.0.min(ended.1), after.0.min(after.1), jitter.0.min(jitter.1))
                    <= at(ended.0.max(ended.1), after.0.max(after.1), jitter.0.max(jitter.1))
            );
        }
    }
}
