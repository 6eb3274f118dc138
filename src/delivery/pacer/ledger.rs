//! The state of one batch, and the times that follow from it alone.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    rule::{
        Rule,
        pacing::{Count, Group, Throttle},
    },
    store::Token,
    time::Timestamp,
};

/// The part of a batch that the store keeps. Which deliveries wait in it is known from the deliveries themselves.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Ledger {
    /// When messages went out, the latest last, as many as it takes to know when the next one may.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) sent: Vec<Timestamp>,
    /// When a count was reached whose message has yet to go out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reached: Option<Timestamp>,
}

/// A batch.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) ledger: Ledger,
    /// When the first of those that wait came in; `None` when nothing waits.
    pub(super) since: Option<Timestamp>,
    /// The deliveries that count, in the order in which they happened.
    pub(super) hits: Vec<Hit>,
}

/// A delivery that counts.
#[derive(Clone, Debug)]
pub(super) struct Hit {
    /// When it happened, as far as the call says.
    pub(super) at: Timestamp,
    /// When it came in.
    pub(super) came: Timestamp,
    pub(super) token: Token,
}

impl Ledger {
    /// Reads a ledger as it was kept. When it cannot be read, the batch's count passes for reached, so that nothing
    /// waits for ever.
    pub(super) fn load(kept: Value) -> Self {
        let reached = || Self { reached: Some(Timestamp::default()), ..Self::default() };
        serde_json::from_value(kept).unwrap_or_else(|_| reached())
    }

    /// Whether there is nothing to keep.
    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.reached.is_none()
    }

    /// When the throttle lets another message out.
    pub(super) fn slot(&self, throttle: Option<&Throttle>) -> Timestamp {
        let Some(throttle) = throttle else { return Timestamp::default() };
        let earlier = self.sent.len().checked_sub(throttle.at_most as usize).and_then(|at| self.sent.get(at));
        earlier.map_or(Timestamp::default(), |at| at.after(throttle.per))
    }

    /// When a group goes out whose first delivery came in at `since`.
    pub(super) fn group_due(&self, since: Timestamp, group: &Group) -> Timestamp {
        let after_last = self.sent.last().map(|last| last.after(group.interval));
        since.after(group.wait).max(after_last.unwrap_or_default())
    }

    /// Notes that a message goes out.
    pub(super) fn sent(&mut self, now: Timestamp, throttle: Option<&Throttle>) {
        self.sent.push(now);
        let kept = throttle.map_or(1, |throttle| throttle.at_most as usize);
        let excess = self.sent.len().saturating_sub(kept);
        self.sent.drain(..excess);
    }

    /// When the messages that went out no longer matter to a limit; `None` when there were none, or when the rule is
    /// gone.
    pub(super) fn forgotten_at(&self, rule: Option<&Rule>) -> Option<Timestamp> {
        let last = self.sent.last()?;
        let pacing = &rule?.pacing;
        let throttle = pacing.throttle.as_ref().map(|throttle| throttle.per);
        let group = pacing.group.as_ref().map(|group| group.interval);
        Some(last.after(throttle.max(group).unwrap_or_default()))
    }
}

impl Batch {
    /// Counts a delivery; whether the count is reached by it. One that comes in after the count was reached is told with
    /// the others, and is not counted.
    pub(super) fn hit(&mut self, hit: Hit, count: Option<&Count>) -> bool {
        if self.ledger.reached.is_some_and(|reached| reached < hit.came) {
            return false;
        }
        let came = hit.came;
        let place = self.hits.partition_point(|other| other.at <= hit.at);
        self.hits.insert(place, hit);
        let reached =
            self.ledger.reached.is_none() && count.is_some_and(|count| self.enough(count).contains(&true));
        if reached {
            self.ledger.reached = Some(came);
        }
        reached
    }

    /// Looks again whether the count is reached, by a rule that may have changed; whether it is now.
    pub(super) fn recount(&mut self, count: Option<&Count>) -> bool {
        let reached =
            self.ledger.reached.is_none() && count.is_some_and(|count| self.enough(count).contains(&true));
        if reached {
            self.ledger.reached = self.hits.iter().map(|hit| hit.came).max();
        }
        reached
    }

    /// Which of the hits are among `at_least` that happened within the count's time.
    fn enough(&self, count: &Count) -> Vec<bool> {
        let most = count.at_least as usize;
        let mut enough = vec![false; self.hits.len()];
        for (first, hits) in self.hits.windows(most).enumerate() {
            if let [oldest, .., newest] = hits
                && newest.at.since(oldest.at) <= count.within
            {
                enough[first..first + most].fill(true);
            }
        }
        enough
    }

    /// Drops the hits that do not count any more, and returns them. `count` is `None` when the rule is gone, or has no
    /// count by now.
    pub(super) fn drop_late(&mut self, count: Option<&Count>, now: Timestamp) -> Vec<Token> {
        let enough = count.map(|count| self.enough(count));
        let reached = self.ledger.reached;
        let counts = |place: usize, hit: &Hit| match (reached, count, &enough) {
            (Some(_), Some(_), Some(enough)) => enough[place],
            // It was reached under another config, and is told.
            (Some(_), ..) => true,
            (None, Some(count), _) => now.since(hit.came) <= count.within,
            (None, ..) => false,
        };
        let hits = std::mem::take(&mut self.hits).into_iter().enumerate();
        let (kept, late): (Vec<_>, Vec<_>) = hits.partition(|(place, hit)| counts(*place, hit));
        self.hits = kept.into_iter().map(|(_, hit)| hit).collect();
        if reached.is_none() {
            self.since = self.hits.iter().map(|hit| hit.came).min();
        }
        late.into_iter().map(|(_, hit)| hit.token).collect()
    }

    /// Moves all times that this machine has measured; whether any of them is kept.
    pub(super) fn shift(&mut self, by: impl Fn(Timestamp) -> Timestamp) -> bool {
        let is_kept = !self.ledger.is_empty();
        let Ledger { sent, reached } = &mut self.ledger;
        let came = self.hits.iter_mut().map(|hit| &mut hit.came);
        sent.iter_mut().chain(reached).chain(&mut self.since).chain(came).for_each(|at| *at = by(*at));
        is_kept
    }

    /// Sets times in the future to `now`: a clock that was wrong and was set must not hold anything back until it is as
    /// late as it was. Whether anything changed that is kept.
    pub(super) fn not_after(&mut self, now: Timestamp) -> bool {
        let hits = self.hits.iter_mut().flat_map(|hit| [&mut hit.at, &mut hit.came]);
        self.since.iter_mut().chain(hits).for_each(|at| *at = now.min(*at));
        let Ledger { sent, reached } = &mut self.ledger;
        let late: Vec<_> = sent.iter_mut().chain(reached).filter(|at| **at > now).collect();
        let changed = !late.is_empty();
        late.into_iter().for_each(|at| *at = now);
        changed
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1000 * seconds)
    }

    fn hit(number: u64, happened: i64, came: i64) -> Hit {
        Hit { at: at(happened), came: at(came), token: serde_json::from_value(number.into()).unwrap() }
    }

    fn three_within(seconds: u64) -> Count {
        Count { at_least: 3, within: std::time::Duration::from_secs(seconds), by: vec![] }
    }

    fn numbers(tokens: &[Token]) -> Vec<String> {
        tokens.iter().map(Token::to_string).collect()
    }

    #[test]
    fn a_count_is_reached_by_enough_that_happened_closely_and_what_comes_later_is_not_counted() {
        let count = three_within(60);
        let mut batch = Batch::default();
        assert!(!batch.hit(hit(1, 0, 100), Some(&count)));
        assert!(!batch.hit(hit(2, 61, 101), Some(&count)));
        assert!(!batch.hit(hit(3, 62, 102), Some(&count)), "the three are 62 seconds apart");
        // It comes last and happened between the others.
        assert!(batch.hit(hit(4, 60, 110), Some(&count)));
        assert_eq!(batch.ledger.reached, Some(at(110)));
        assert!(!batch.hit(hit(5, 63, 111), Some(&count)));
        assert_eq!(batch.hits.len(), 4, "one that comes in later is told with them and not counted");
        assert!(!batch.hit(hit(6, 63, 110), Some(&count)), "it was reached before");
        assert_eq!(batch.hits.len(), 5);
        assert_eq!(numbers(&batch.drop_late(Some(&count), at(1000))), ["1"], "it made the count no fuller");
    }

    #[test]
    fn what_a_count_came_too_late_for_is_dropped() {
        let count = three_within(60);
        let batch = || Batch { hits: vec![hit(1, 0, 100), hit(2, 50, 140)], ..Batch::default() };
        let dropped =
            |batch: &mut Batch, count: Option<&Count>, now| numbers(&batch.drop_late(count, at(now)));
        assert_eq!(dropped(&mut batch(), Some(&count), 160), [""; 0]);
        let mut late = batch();
        assert_eq!(dropped(&mut late, Some(&count), 161), ["1"]);
        assert_eq!(late.since, Some(at(140)));
        assert_eq!(dropped(&mut batch(), None, 100), ["1", "2"], "the rule does not count any more");
        // It was reached under another config, and its ledger may be one that could not be read.
        let mut reached = Batch { ledger: Ledger::load(json!("damaged")), ..batch() };
        assert_eq!(dropped(&mut reached, None, 1000), [""; 0]);
        assert_eq!(reached.hits.len(), 2);
    }

    #[test]
    fn of_a_count_that_was_reached_only_what_made_it_is_kept() {
        let count = three_within(60);
        let mut batch = Batch { hits: vec![hit(1, 0, 9), hit(2, 61, 9), hit(3, 70, 9)], ..Batch::default() };
        assert!(batch.hit(hit(4, 80, 10), Some(&count)));
        assert_eq!(numbers(&batch.drop_late(Some(&count), at(10))), ["1"]);
        assert!(!batch.recount(Some(&count)), "it was reached before");
    }

    #[test]
    fn a_rule_that_asks_for_less_finds_its_count_reached_by_what_came_last() {
        let mut batch = Batch { hits: vec![hit(1, 0, 12), hit(2, 1, 11), hit(3, 2, 10)], ..Batch::default() };
        assert!(!batch.recount(None));
        assert!(!batch.recount(Some(&Count { at_least: 4, ..three_within(60) })));
        assert!(batch.recount(Some(&three_within(60))));
        assert_eq!(batch.ledger.reached, Some(at(12)));
    }

    #[test]
    fn only_times_in_the_future_are_set_to_now() {
        let ledger = || Ledger { sent: vec![at(9), at(10)], reached: None };
        let mut batch = Batch { ledger: ledger(), since: Some(at(12)), hits: vec![hit(1, 13, 14)] };
        assert!(!batch.not_after(at(10)), "nothing that is kept has changed");
        assert_eq!((batch.since, batch.hits[0].at, batch.hits[0].came), (Some(at(10)), at(10), at(10)));
        let mut batch = Batch { ledger: ledger(), ..Batch::default() };
        assert!(batch.not_after(at(9)));
        assert_eq!(batch.ledger.sent, [at(9), at(9)]);
    }

    #[test]
    fn a_throttle_keeps_as_many_times_as_it_needs() {
        let throttle = Throttle { at_most: 2, per: std::time::Duration::from_secs(60), by: vec![] };
        let mut ledger = Ledger::default();
        for now in [1, 2, 3] {
            ledger.sent(at(now), Some(&throttle));
        }
        assert_eq!(ledger.sent, [at(2), at(3)]);
        assert_eq!(ledger.slot(Some(&throttle)), at(62));
        ledger.sent(at(4), None);
        assert_eq!(ledger.sent, [at(4)]);
        assert_eq!(ledger.slot(Some(&throttle)), Timestamp::default(), "another one may go at once");
    }
}
