//! When: the beat of the polls, and the pauses after errors.

use std::time::Duration;

use super::Trouble;
use crate::time::Timestamp;

/// Polls vary by at most this part of the interval, so that many sources do not fall into step.
const JITTER: u32 = 20;
/// The first pause is no longer than an interval either: one lost request should not be felt.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// An outage that ends is noticed within this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A refused key is mended by a person, not by trying.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_REFUSED_PAUSE: Duration = Duration::from_secs(300);

/// The beat of the polls: one per interval at a phase of the source's own, each a little off.
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
    /// The first round is at the source's phase, within one interval from now.
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

    /// Begins a round. Rounds that did not happen in time are not made up for.
    pub fn begin(&mut self, now: Timestamp) {
        self.begun = now;
        self.count += 1;
        self.beat = self.beat.after(self.interval).max(now);
    }
}

/// The pauses after errors: longer with every error in a row.
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

    /// Until when nothing is asked.
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

/// A part of `whole` that `seed` decides.
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
