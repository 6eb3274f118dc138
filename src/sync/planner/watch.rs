//! Calls that are looked at again because something is still to come: live calls, and completed ones whose analysis is
//! waited for.

use std::{collections::BTreeMap, time::Duration};

use super::{Fetch, Row, Slot};
use crate::time::Timestamp;

/// How many rows are asked for on both sides of a call, because its place may have moved.
const MARGIN: u64 = 4;

#[derive(Clone, Copy, Debug)]
struct Watched {
    /// When it was last looked at in this run.
    looked: Option<Timestamp>,
    /// Its row in the list when it was last seen, minus `arrived` at that time, so that it moves down with each arrival.
    place: Option<i64>,
    /// Until when its analysis is waited for; `None` for a live call.
    until: Option<Timestamp>,
    /// A single get said that it does not exist, so it is only looked for in the list.
    refused: bool,
}

#[derive(Debug, Default)]
pub(super) struct Watches {
    calls: BTreeMap<Slot, Watched>,
    /// How many calls have arrived at the top of the list.
    arrived: i64,
}

/// The kinds of requests that can show watched calls.
#[derive(Clone, Copy)]
pub(super) struct Means {
    pub page_size: u32,
    /// Whether single calls can be asked for.
    pub gets: bool,
}

impl Watches {
    /// An answer showed the call, at row `place` of the list if the answer was a page.
    pub fn see(&mut self, row: &Row, place: Option<u64>, now: Timestamp) {
        let until = if row.ongoing { None } else { row.analysis_until.filter(|until| *until > now) };
        if !row.ongoing && until.is_none() {
            self.calls.remove(&row.slot);
            return;
        }
        let arrived = self.arrived;
        let watched = self.calls.entry(row.slot).or_insert(Watched {
            looked: None,
            place: None,
            until,
            refused: false,
        });
        watched.looked = Some(now);
        watched.until = until;
        watched.refused = false;
        if let Some(place) = place {
            watched.place = Some(place.cast_signed() - arrived);
        }
    }

    /// Watches a call known from an earlier run.
    pub fn know(&mut self, row: &Row, now: Timestamp) {
        self.see(row, None, now);
        if let Some(watched) = self.calls.get_mut(&row.slot) {
            watched.looked = None;
        }
    }

    pub fn forget(&mut self, slot: Slot) {
        self.calls.remove(&slot);
    }

    /// This many calls arrived at the top of the list, and every other call is that much further down.
    pub fn arrive(&mut self, calls: u64) {
        self.arrived = self.arrived.saturating_add_unsigned(calls);
    }

    /// The call was not on the page where it was expected.
    pub fn lose(&mut self, slot: Slot) {
        if let Some(watched) = self.calls.get_mut(&slot) {
            watched.place = None;
        }
    }

    /// A single get said there is no such call.
    pub fn refuse(&mut self, slot: Slot) {
        if let Some(watched) = self.calls.get_mut(&slot) {
            watched.refused = true;
        }
    }

    /// Whether a single get said there is no such call, and no page has shown it since.
    pub fn is_refused(&self, slot: Slot) -> bool {
        self.calls.get(&slot).is_some_and(|watched| watched.refused)
    }

    /// The call cannot be looked at in this round. It has its turn in the next one as if it had been.
    pub fn skip(&mut self, slot: Slot, now: Timestamp) {
        if let Some(watched) = self.calls.get_mut(&slot) {
            watched.looked = Some(now);
        }
    }

    /// Stops waiting for analyses that have not come in time.
    pub fn expire(&mut self, now: Timestamp) {
        self.calls.retain(|_, watched| watched.until.is_none_or(|until| until > now));
    }

    /// How many rows from the top it takes to show every live call that a page of `page_size` can show.
    pub fn live_depth(&self, page_size: u32) -> u64 {
        self.calls
            .iter()
            .filter(|(_, watched)| watched.until.is_none())
            .filter_map(|(slot, _)| self.place(*slot))
            .map(|place| place + 1 + MARGIN)
            .filter(|depth| *depth <= u64::from(page_size))
            .max()
            .unwrap_or(0)
    }

    /// Live calls that have not been looked at since the round began, the longest neglected first.
    pub fn live_due(&self, round: Timestamp) -> Vec<Slot> {
        let mut due: Vec<(Option<Timestamp>, Slot)> = self
            .calls
            .iter()
            .filter(|(_, watched)| watched.until.is_none())
            .map(|(slot, watched)| (watched.looked, *slot))
            .filter(|(looked, _)| looked.is_none_or(|looked| looked < round))
            .collect();
        due.sort_unstable();
        due.into_iter().map(|(_, slot)| slot).collect()
    }

    /// Calls whose analysis has to be looked for in the round that began at `round`. The longer an analysis has been
    /// waited for, the rarer the looks: the gap is half of the time since, and at least half an interval.
    pub fn analysis_due(&self, interval: Duration, window: Duration, round: Timestamp) -> Vec<Slot> {
        self.calls
            .iter()
            .filter(|(_, watched)| {
                let Some(until) = watched.until else { return false };
                watched.looked.is_none_or(|looked| {
                    let gap = looked.since(until.before(window)).max(interval) / 2;
                    looked.after(gap) <= round
                })
            })
            .map(|(slot, _)| *slot)
            .collect()
    }

    /// The request that looks at the first of these calls and at as many of the others as it can: one page if that shows
    /// several of them, else a single get. `None` when the call's place is not known and it cannot be got by itself.
    pub fn look(&self, due: &[Slot], means: Means) -> Option<(Fetch, Vec<Slot>)> {
        let first = *due.first()?;
        let gettable = means.gets && self.calls.get(&first).is_some_and(|watched| !watched.refused);
        let get = gettable.then(|| (Fetch::Call(first), vec![first]));
        let Some(place) = self.place(first) else { return get };
        let mut places: Vec<(u64, Slot)> =
            due.iter().filter_map(|slot| Some((self.place(*slot)?, *slot))).collect();
        places.sort_unstable();
        let margin = MARGIN.min(u64::from(means.page_size.saturating_sub(1)) / 2);
        let reach = u64::from(means.page_size) - 2 * margin;
        let shown = (0..places.len())
            .map(|from| &places[from..])
            .filter(|shown| shown[0].0 <= place && place < shown[0].0 + reach)
            .map(|shown| &shown[..shown.partition_point(|(other, _)| *other < shown[0].0 + reach)])
            .max_by_key(|shown| shown.len())?;
        if shown.len() < 2 && gettable {
            return get;
        }
        let offset = shown[0].0.saturating_sub(margin);
        let end = shown[shown.len() - 1].0 + 1 + margin;
        let limit = u32::try_from(end - offset).unwrap_or(u32::MAX).min(means.page_size);
        Some((Fetch::Page { offset, limit }, shown.iter().map(|(_, slot)| *slot).collect()))
    }

    fn place(&self, slot: Slot) -> Option<u64> {
        let place = self.calls.get(&slot)?.place?;
        Some(u64::try_from(place + self.arrived).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::known, *};

    const MEANS: Means = Means { page_size: 50, gets: true };

    /// Live calls at these places; the slot is the index.
    fn watching(places: &[u64]) -> Watches {
        let mut watches = Watches::default();
        for (slot, place) in (0..).zip(places) {
            let row = Row { ongoing: true, ..known(slot) };
            watches.see(&row, Some(*place), Timestamp::from_millis(i64::from(slot)));
        }
        watches
    }

    #[test]
    fn calls_close_together_share_a_page_and_a_lone_one_is_asked_for_by_itself() {
        let watches = watching(&[100, 110, 130, 900]);
        let page = Fetch::Page { offset: 96, limit: 39 };
        assert_eq!(watches.look(&[1, 0, 2, 3], MEANS), Some((page, vec![0, 1, 2])));
        assert_eq!(watches.look(&[3, 0, 1, 2], MEANS), Some((Fetch::Call(3), vec![3])));
        assert_eq!(watches.look(&[], MEANS), None);
        // A page with more of the others that does not show the first one does not do.
        let watches = watching(&[100, 100, 101, 142]);
        let page = Fetch::Page { offset: 97, limit: 50 };
        assert_eq!(watches.look(&[3, 0, 1, 2], MEANS), Some((page, vec![2, 3])));
    }

    #[test]
    fn without_single_gets_a_page_must_do_and_a_lost_call_cannot_be_looked_at() {
        let mut watches = watching(&[900]);
        let listed = Means { gets: false, ..MEANS };
        assert_eq!(watches.look(&[0], listed), Some((Fetch::Page { offset: 896, limit: 9 }, vec![0])));
        watches.lose(0);
        assert_eq!(watches.look(&[0], listed), None);
        assert_eq!(watches.look(&[0], MEANS), Some((Fetch::Call(0), vec![0])));
        watches.refuse(0);
        assert_eq!(watches.look(&[0], MEANS), None);
    }

    #[test]
    fn arrivals_at_the_top_push_everything_down() {
        let mut watches = watching(&[30]);
        watches.arrive(200);
        let listed = Means { gets: false, ..MEANS };
        assert_eq!(watches.look(&[0], listed), Some((Fetch::Page { offset: 226, limit: 9 }, vec![0])));
        assert_eq!(watches.live_depth(50), 0);
        assert_eq!(watches.live_depth(500), 235);
    }

    #[test]
    fn the_longest_neglected_comes_first() {
        let mut watches = watching(&[1, 2, 3]);
        watches.skip(0, Timestamp::from_millis(500));
        assert_eq!(watches.live_due(Timestamp::from_millis(1000)), [1, 2, 0]);
        assert_eq!(watches.live_due(Timestamp::from_millis(500)), [1, 2]);
    }

    #[test]
    fn an_analysis_is_looked_for_more_rarely_the_longer_it_is_waited_for() {
        let (interval, window) = (Duration::from_secs(60), Duration::from_secs(3600));
        let at = |secs: u64| Timestamp::default().after(Duration::from_secs(secs));
        let mut watches = watching(&[7]);
        let completed = Row { analysis_until: Some(at(3600)), ..known(1) };
        watches.know(&completed, at(600));
        assert_eq!(watches.analysis_due(interval, window, at(0)), [1], "not looked at in this run");
        // Completed at 0; the gap is half of the time since then, and at least half an interval.
        for (looked, due) in [(10, 40), (600, 900), (1800, 2700)] {
            watches.see(&completed, None, at(looked));
            assert_eq!(watches.analysis_due(interval, window, at(due - 1)), [0; 0]);
            assert_eq!(watches.analysis_due(interval, window, at(due)), [1]);
        }
        watches.expire(at(3599));
        assert_eq!(watches.analysis_due(interval, window, at(3600)), [1]);
        watches.expire(at(3600));
        assert_eq!(watches.analysis_due(interval, window, at(3600)), [0; 0]);
        assert_eq!(watches.live_due(at(3600)), [0], "a live call is not waited for in this way");
    }
}
