//! How many calls appear for the first time within an hour.

use std::collections::VecDeque;

use crate::time::Timestamp;

/// More new calls than this within an hour are invented: the API gives the same calls other ids every time.
const MOST: u64 = 10_000;

/// New calls by minute, for the last hour. Lost with the process.
#[derive(Debug, Default)]
pub(super) struct Influx {
    minutes: VecDeque<(i64, u64)>,
    sum: u64,
}

impl Influx {
    /// The words for a flood.
    pub(super) const WHY: &str = "more than 10,000 calls appeared within an hour: does the API give the same calls \
                                  another `id` in every answer?";

    /// Counts new calls, and says whether there are too many.
    pub(super) fn is_flood(&mut self, calls: u64, now: Timestamp) -> bool {
        let minute = now.as_secs().div_euclid(60);
        match self.minutes.back_mut() {
            Some((last, count)) if *last == minute => *count += calls,
            _ => self.minutes.push_back((minute, calls)),
        }
        self.sum += calls;
        while let Some((_, calls)) = self.minutes.front().filter(|(first, _)| minute - *first >= 60) {
            self.sum -= *calls;
            self.minutes.pop_front();
        }
        self.sum > MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_more_than_ten_thousand_calls_within_an_hour() {
        let mut influx = Influx::default();
        let at = |minutes: i64| Timestamp::from_millis(minutes * 60_000);
        assert!((0..600).all(|minute| !influx.is_flood(166, at(minute))), "9,960 an hour");
        assert!(influx.is_flood(300, at(600)));
        assert!(influx.is_flood(0, at(600)));
        assert!(!influx.is_flood(0, at(640)));
        // What is counted in the same minute is forgotten together.
        let mut influx = Influx::default();
        assert!(!influx.is_flood(6_000, at(0)) && influx.is_flood(6_000, at(0)));
        assert!(influx.is_flood(0, at(59)));
        assert!(!influx.is_flood(10_000, at(60)) && influx.is_flood(1, at(61)));
    }
}
