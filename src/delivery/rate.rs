//! Limits how many attempts begin within a time: a sliding window. Pure.
//!
//! A token bucket that holds `count` lets through nearly twice that within some windows, and one that holds a single token
//! spaces out attempts that could begin at once. A sliding window does neither: in no `period` do more than `count` attempts
//! begin, and each begins as early as that allows.

use std::collections::VecDeque;

use super::Room;
use crate::{destination::Rate, time::Timestamp};

/// The number of parts of a period. The attempts of one part are remembered as one entry, which bounds the memory at
/// any rate. They all count for as long as the last one of their part, so at most a thousandth of a period too long.
const PARTS: u128 = 1000;

/// The attempts that began within the last period.
#[derive(Debug)]
pub(super) struct Window {
    rate: Rate,
    /// How many began, by the end of the part of the period in which they did; oldest first.
    begun: VecDeque<(Timestamp, u32)>,
    /// The sum of `begun`.
    total: u32,
}

impl Window {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, begun: VecDeque::new(), total: 0 }
    }

    /// How many attempts may begin at `now`. Times never go back.
    pub(super) fn room(&mut self, now: Timestamp) -> Room {
        while let Some(&(at, count)) = self.begun.front()
            && at.after(self.rate.period) <= now
        {
            self.begun.pop_front();
            self.total -= count;
        }
        match self.begun.front() {
            Some((at, _)) if self.total >= self.rate.count => Room::At(at.after(self.rate.period)),
            _ => Room::For(usize::try_from(self.rate.count - self.total).unwrap_or(usize::MAX)),
        }
    }

    /// An attempt begins at `now`; [`Window::room`] allowed it.
    pub(super) fn begin(&mut self, now: Timestamp) {
        let part = i64::try_from(self.rate.period.as_millis() / PARTS).unwrap_or(i64::MAX).max(1);
        let begun = now.as_millis();
        let end = Timestamp::from_millis(begun.saturating_add((part - begun.rem_euclid(part)) % part));
        self.total += 1;
        match self.begun.back_mut() {
            Some((at, count)) if *at == end => *count += 1,
            _ => self.begun.push_back((end, 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const START: i64 = 1_765_809_145_123;

    fn rate(count: u32, period: Duration) -> Rate {
        Rate { count, period }
    }

    #[test]
    fn one_a_second_is_one_a_second() {
        let mut window = Window::new(rate(1, Duration::from_secs(1)));
        let start = Timestamp::from_millis(START);
        assert_eq!(window.room(start), Room::For(1));
        window.begin(start);
        let next = start.after(Duration::from_secs(1));
        assert_eq!(window.room(start), Room::At(next));
        assert_eq!(window.room(next.before(Duration::from_millis(1))), Room::At(next));
        assert_eq!(window.room(next), Room::For(1));
    }

    #[test]
    fn a_high_rate_costs_little_memory() {
        let mut window = Window::new(rate(u32::MAX, Duration::from_secs(3600)));
        for ms in 0..200_000 {
            let now = Timestamp::from_millis(START + ms * 50);
            assert!(matches!(window.room(now), Room::For(_)));
            window.begin(now);
        }
        assert!(window.begun.len() <= PARTS as usize + 1, "{}", window.begun.len());
    }

    proptest! {
        /// When attempts begin whenever there is room, no more than `count` do within any period; after a period's rest (and
        /// a part of it) there is all the room again.
        #[test]
        fn no_window_holds_more_than_its_count(
            count in 1u32..20,
            period_ms in prop::sample::select(vec![1_000u64, 60_000, 3_600_000]),
            looks in prop::collection::vec((0u64..400, 0usize..30), 1..200),
        ) {
            let period = Duration::from_millis(period_ms);
            let mut window = Window::new(rate(count, period));
            let mut now = Timestamp::from_millis(START);
            let mut begun = vec![];
            for (pause, wanted) in looks {
                now = now.after(Duration::from_millis(pause * period_ms / 1000));
                match window.room(now) {
                    Room::For(room) => {
                        prop_assert!(room >= 1);
                        for _ in 0..wanted.min(room) {
                            window.begin(now);
                            begun.push(now);
                        }
                    }
                    Room::At(at) => {
                        prop_assert!(at > now && at <= now.after(period + period / 1000));
                        prop_assert!(matches!(window.room(at), Room::For(_)), "the promised time holds");
                        now = at;
                    }
                    Room::Full => prop_assert!(false, "time alone makes room"),
                }
            }
            for (i, first) in begun.iter().enumerate() {
                let within = begun[i..].iter().take_while(|at| **at < first.after(period)).count();
                prop_assert!(within <= count as usize, "{within} within a period");
            }
            let rested = now.after(period + period / 1000);
            prop_assert_eq!(window.room(rested), Room::For(count as usize));
        }
    }
}
