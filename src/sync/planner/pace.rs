//! The times of polls, and the pauses after errors.

use std::time::Duration;

use super::Trouble;
use crate::time::Timestamp;

/// Each poll is delayed by at most one part in this many of the interval, so that many sources do not poll at once.
const JITTER: u32 = 20;
/// The first pause after an error, or the `interval` when that is shorter, so that one lost request goes unnoticed.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest pause after errors, before a jitter of up to a quarter, unless `Retry-After` asks for more. The end of
/// an outage is noticed within it.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The first pause after a refused key: a person must mend it, trying does not.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_REFUSED_PAUSE: Duration = Duration::from_secs(300);

/// The rounds of polls: one per interval, at a phase that depends on the source, each with a little jitter.
#[derive(Debug)]
pub(super) struct Rounds {
    interval: Duration,
    seed: u64,
    beat: Timestamp,
    count: u64,
    /// When the present round began.
    pub begun: Timestamp,
}

impl Rounds {
    /// The first round begins at the source's phase, within one interval from now.
    pub fn new(interval: Duration, seed: u64, now: Timestamp) -> Self {
        let period = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
        let phase = (mix(seed) % period.unsigned_abs()).cast_signed();
        let wait = (phase - now.as_millis()).rem_euclid(period).unsigned_abs();
        Self { interval, seed, beat: now.after(Duration::from_millis(wait)), count: 0, begun: now }
    }

    /// When the next round begins.
    pub fn due(&self) -> Timestamp {
        self.beat.after(fraction(self.interval / JITTER, self.seed ^ mix(self.count)))
    }

    /// Begins a round. Missed rounds are not made up for.
    pub fn begin(&mut self, now: Timestamp) {
        self.begun = now;
        self.count += 1;
        self.beat = self.beat.after(self.interval).max(now);
    }
}

/// The pauses after errors: they double with every error in a row.
#[derive(Debug)]
pub(super) struct Backoff {
    seed: u64,
    first: Duration,
    failures: u32,
    until: Timestamp,
}

impl Backoff {
    pub fn new(interval: Duration, seed: u64, now: Timestamp) -> Self {
        Self { seed, first: interval.min(FIRST_PAUSE), failures: 0, until: now }
    }

    /// No request is made before this time.
    pub fn until(&self) -> Timestamp {
        self.until
    }

    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    pub fn failed(&mut self, trouble: Trouble, now: Timestamp) {
        let (first, longest) = if trouble.refused {
            (REFUSED_PAUSE, LONGEST_REFUSED_PAUSE)
        } else {
            (self.first, LONGEST_PAUSE)
        };
        let pause = first.saturating_mul(1 << self.failures.min(16)).min(longest);
        let pause = pause + fraction(pause / 4, self.seed ^ mix(u64::from(self.failures)));
        self.failures = self.failures.saturating_add(1);
        self.until = now.after(pause.max(trouble.retry_after.unwrap_or_default()));
    }
}

/// A pseudo-random duration from zero to `whole`, the same for the same seed.
fn fraction(whole: Duration, seed: u64) -> Duration {
    let millis = u64::try_from(whole.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(mix(seed) % millis.saturating_add(1).max(1))
}

/// Sebastiano Vigna's SplitMix64: spreads a seed over all bits.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_mixed_as_their_author_does() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(1_234_567), 6_457_827_717_110_365_317);
    }

    #[test]
    fn pauses_double_to_a_bound_and_are_up_to_a_quarter_longer() {
        let now = Timestamp::default();
        for (refused, first, longest) in
            [(false, FIRST_PAUSE, LONGEST_PAUSE), (true, REFUSED_PAUSE, LONGEST_REFUSED_PAUSE)]
        {
            let mut backoff = Backoff::new(Duration::from_secs(3600), 7, now);
            let (mut expected, mut longer) = (first, 0);
            for _ in 0..40 {
                backoff.failed(Trouble { refused, retry_after: None }, now);
                let pause = backoff.until().since(now);
                assert!(expected <= pause && pause <= expected + expected / 4, "{pause:?} for {expected:?}");
                longer += u32::from(pause > expected);
                expected = (expected * 2).min(longest);
            }
            assert!(longer > 30, "they are spread");
            let day = Duration::from_secs(24 * 3600);
            backoff.failed(Trouble { refused, retry_after: Some(day) }, now);
            assert_eq!(backoff.until(), now.after(day));
            backoff.succeeded();
            backoff.failed(Trouble { refused, retry_after: None }, now);
            assert!(backoff.until().since(now) <= first * 5 / 4);
        }
    }

    #[test]
    fn polls_and_pauses_are_spread_whatever_the_seed() {
        let now = Timestamp::default();
        let interval = Duration::from_secs(15);
        for seed in [0, 1, u64::MAX] {
            let mut rounds = Rounds::new(interval, seed, now);
            let mut backoff = Backoff::new(Duration::from_secs(3600), seed, now);
            let (mut jitters, mut pauses) = (vec![], vec![]);
            for _ in 0..40 {
                jitters.push(rounds.due().since(rounds.beat));
                rounds.begin(now);
                backoff.failed(Trouble { refused: false, retry_after: None }, now);
                pauses.push(backoff.until().since(now));
            }
            assert!(jitters.iter().all(|jitter| *jitter <= interval / JITTER), "{jitters:?}");
            // The first pauses are still doubling.
            for mut spread in [jitters, pauses.split_off(10)] {
                spread.sort_unstable();
                spread.dedup();
                assert!(spread.len() > 20, "{seed}: {spread:?}");
            }
        }
    }
}
