//! What is remembered of a batch, and what follows from it alone.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    event::EventId,
    rule::{
        Rule,
        pacing::{Count, Group, Throttle},
    },
    time::Timestamp,
};

/// What is remembered of a batch.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Ledger {
    /// When the first of those that wait came in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) since: Option<Timestamp>,
    /// When messages went out, the latest last, as many as it takes to know when the next one may.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) sent: Vec<Timestamp>,
    /// What counts, in the order in which it happened.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) hits: Vec<Hit>,
    /// When the count was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reached: Option<Timestamp>,
}

/// An event that counts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Hit {
    /// When it happened, as far as the call says.
    pub(super) at: Timestamp,
    /// When it came in.
    pub(super) came: Timestamp,
    pub(super) event: EventId,
}

impl Ledger {
    /// What was kept of it. What cannot be read is due at once.
    pub(super) fn load(kept: Value) -> Self {
        let long_ago = Some(Timestamp::default());
        let due = || Self { since: long_ago, reached: long_ago, ..Self::default() };
        serde_json::from_value(kept).unwrap_or_else(|_| due())
    }

    /// Of the hits, sorted by time, which are among so many within so long.
    pub(super) fn enough(&self, count: &Count) -> Vec<bool> {
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

    /// Drops what does not count any more, and returns it. `count` is gone when the rule is, or has none by now.
    pub(super) fn drop_late(&mut self, count: Option<&Count>, now: Timestamp) -> Vec<EventId> {
        let enough = count.map(|count| self.enough(count));
        let counts = |place: usize, hit: &Hit| match (self.reached, count, &enough) {
            (Some(_), Some(_), Some(enough)) => enough[place],
            // It was reached under another config, and is told.
            (Some(_), ..) => true,
            (None, Some(count), _) => now.since(hit.came) <= count.within,
            (None, ..) => false,
        };
        let hits = std::mem::take(&mut self.hits).into_iter().enumerate();
        let (kept, late): (Vec<_>, Vec<_>) = hits.partition(|(place, hit)| counts(*place, hit));
        self.hits = kept.into_iter().map(|(_, hit)| hit).collect();
        if self.reached.is_none() {
            self.since = self.hits.iter().map(|hit| hit.came).min();
        }
        late.into_iter().map(|(_, hit)| hit.event).collect()
    }

    /// When another message may go out.
    pub(super) fn slot(&self, throttle: Option<&Throttle>) -> Timestamp {
        let Some(throttle) = throttle else { return Timestamp::default() };
        let earlier = self.sent.len().checked_sub(throttle.at_most as usize).and_then(|at| self.sent.get(at));
        earlier.map_or(Timestamp::default(), |at| at.after(throttle.per))
    }

    pub(super) fn group_due(&self, since: Timestamp, group: &Group) -> Timestamp {
        let after_last = self.sent.last().map(|last| last.after(group.interval));
        since.after(group.wait).max(after_last.unwrap_or_default())
    }

    pub(super) fn sent(&mut self, now: Timestamp, throttle: Option<&Throttle>) {
        self.sent.push(now);
        let kept = throttle.map_or(1, |throttle| throttle.at_most as usize);
        let excess = self.sent.len().saturating_sub(kept);
        self.sent.drain(..excess);
    }

    /// When what went out no longer matters; `None` when nothing did.
    pub(super) fn forgotten_at(&self, rule: Option<&Rule>) -> Option<Timestamp> {
        let last = self.sent.last()?;
        let pacing = &rule?.pacing;
        let throttle = pacing.throttle.as_ref().map(|throttle| throttle.per);
        let group = pacing.group.as_ref().map(|group| group.interval);
        Some(last.after(throttle.max(group).unwrap_or_default()))
    }

    /// A clock that was wrong and was set must not hold anything back until it is as late as it was. Whether
    /// anything changed.
    pub(super) fn not_after(&mut self, now: Timestamp) -> bool {
        let hits = self.hits.iter_mut().flat_map(|hit| [&mut hit.at, &mut hit.came]);
        let all = self.sent.iter_mut().chain(&mut self.since).chain(&mut self.reached).chain(hits);
        let late: Vec<_> = all.filter(|at| **at > now).collect();
        let changed = !late.is_empty();
        late.into_iter().for_each(|at| *at = now);
        changed
    }
}
