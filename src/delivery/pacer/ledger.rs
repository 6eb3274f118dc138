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

    /// When the messages that went out no longer matter; `None` when there were none, or no limit asks for them.
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
        let Ledger { sent, reached } = &mut self.ledger;
        let is_kept = !sent.is_empty() || reached.is_some();
        let came = self.hits.iter_mut().map(|hit| &mut hit.came);
        sent.iter_mut().chain(reached).chain(&mut self.since).chain(came).for_each(|at| *at = by(*at));
        is_kept
    }

    /// Sets times in the future to `now`: a clock that was wrong and was set must not hold anything back until it is as
    /// late as it was. Whether anything changed that is kept.
    pub(super) fn not_after(&mut self, now: Timestamp) -> bool {
        let hits = self.hits.iter_mut().flat_map(|hit| [&mut hit.at, &mut hit.came]);
        self.since.iter_mut().chain(hits).filter(|at| **at > now).for_each(|at| *at = now);
        let Ledger { sent, reached } = &mut self.ledger;
        let late: Vec<_> = sent.iter_mut().chain(reached).filter(|at| **at > now).collect();
        let changed = !late.is_empty();
        late.into_iter().for_each(|at| *at = now);
        changed
    }
}
