//! What fires on the clock: conditions that hold for a while (`for`), and silence.
//!
//! Both speak of the present, so neither is told before the API has confirmed it: a call is told to be still live
//! only when it was seen since, and silence only when the source has answered since.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Poller;
use crate::{
    call::CallId,
    kind::Kind,
    name::Name,
    rule::{Rule, Silence},
    snapshot::Snapshot,
    store::StoreError,
    sync::observe::{Observations, Observer},
    time::Timestamp,
};

/// What waits for its time. Kept in the checkpoint.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Clockwork {
    /// When rules with `for` want to look at a call again.
    waiting: BTreeMap<CallId, Timestamp>,
    /// When the latest call was created, as far as known.
    latest: Option<Timestamp>,
    /// Of each rule with `silence`: the latest call when it last fired.
    told: BTreeMap<Name, Timestamp>,
    /// When the calls that are waited for were last seen.
    #[serde(skip)]
    seen: HashMap<CallId, Timestamp>,
    /// When the source last answered.
    #[serde(skip)]
    answered: Option<Timestamp>,
}

impl Clockwork {
    /// Notes what is committed; whether anything that is kept has changed.
    pub(super) fn learn(&mut self, observations: &Observations, observer: &Observer<'_>) -> bool {
        let mut changed = false;
        for (call, snapshot) in &observations.commit.snapshots {
            let before = match observer.waits(snapshot) {
                Some(due) => self.waiting.insert(call.clone(), due),
                None => self.waiting.remove(call),
            };
            changed |= before != self.waiting.get(call).copied();
        }
        if observations.latest > self.latest && observer.rules.iter().any(|rule| rule.silence.is_some()) {
            self.latest = observations.latest;
            changed = true;
        }
        changed
    }

    /// Whether it wants to know which calls are seen.
    pub(super) fn is_curious(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A call was seen.
    pub(super) fn saw(&mut self, call: &CallId, now: Timestamp) {
        if self.waiting.contains_key(call) {
            self.seen.insert(call.clone(), now);
        }
    }

    /// The source has answered.
    pub(super) fn answered(&mut self, now: Timestamp) {
        self.answered = Some(now);
    }

    /// A live call that was there when the task started: a rule may be new.
    pub(super) fn look_at(&mut self, call: CallId, now: Timestamp) {
        self.waiting.entry(call).or_insert(now);
    }

    /// The calls whose time has come and that were seen since.
    fn due(&self) -> Vec<CallId> {
        let confirmed =
            |(call, due): &(&CallId, &Timestamp)| self.seen.get(*call).is_some_and(|seen| seen >= *due);
        self.waiting.iter().filter(confirmed).map(|(call, _)| call.clone()).collect()
    }
}

/// When silence since `latest` is to be told; `None` when it never lasts so long within the hours.
fn silent_at(silence: &Silence, latest: Timestamp) -> Option<Timestamp> {
    let Some(hours) = &silence.hours else { return Some(latest.after(silence.lasting)) };
    let mut from = hours.next(latest)?;
    // Hours repeat every week, so what does not fit into any of two weeks fits nowhere.
    let last = from.after(std::time::Duration::from_secs(15 * 24 * 3600));
    while from < last {
        let due = from.after(silence.lasting);
        match hours.end(from) {
            Some(end) if end < due => from = hours.next(end)?,
            _ => return Some(due),
        }
    }
    None
}

impl Poller {
    /// Fires the rules whose time has come.
    pub(super) async fn tell_the_time(&mut self) -> Result<(), StoreError> {
        for call in self.state.clockwork.due() {
            self.look_again(call).await?;
        }
        if self.planner.in_baseline() {
            return Ok(());
        }
        for rule in Arc::clone(&self.task.rules).iter() {
            self.tell_silence(rule).await?;
        }
        Ok(())
    }

    async fn look_again(&mut self, call: CallId) -> Result<(), StoreError> {
        let source = self.task.config.name.clone();
        let found = self.task.store.snapshots(&source, std::slice::from_ref(&call)).await?;
        let snapshot: Option<Snapshot> = found.into_iter().next().flatten();
        self.state.clockwork.seen.remove(&call);
        self.state.clockwork.waiting.remove(&call);
        let Some(snapshot) = snapshot else { return Ok(()) };
        let mut observations = Observations::new(source);
        self.observer().observe_again(&call, &snapshot, &mut observations);
        self.commit(observations).await
    }

    /// When there is something to do for the clock, unless something is seen before.
    pub(super) fn clock_due(&self) -> Option<Timestamp> {
        let rules = self.task.rules.iter();
        rules.filter_map(|rule| self.silence_due(rule)).min()
    }

    /// When the silence that `rule` waits for is to be told: not before a source that was away has had the time to
    /// say what happened meanwhile.
    fn silence_due(&self, rule: &Rule) -> Option<Timestamp> {
        let clockwork = &self.state.clockwork;
        let silence = rule.silence.as_ref().filter(|_| rule.looks_at(&self.task.config.name))?;
        let latest = clockwork.latest?;
        if clockwork.told.get(&rule.name) == Some(&latest) {
            return None;
        }
        let settled = self.started.after(self.task.config.interval);
        silent_at(silence, latest).map(|due| due.max(settled))
    }

    async fn tell_silence(&mut self, rule: &Rule) -> Result<(), StoreError> {
        let Some(silence) = &rule.silence else { return Ok(()) };
        let now = self.task.clock.wall();
        // A project without a call is silent from when it was first looked at.
        let latest = *self.state.clockwork.latest.get_or_insert(now);
        let is_confirmed = |due: Timestamp| self.state.clockwork.answered.is_some_and(|at| at >= due);
        if !self.silence_due(rule).is_some_and(|due| due <= now && is_confirmed(due)) {
            return Ok(());
        }
        self.state.clockwork.told.insert(rule.name.clone(), latest);
        let lasting = humantime::format_duration(silence.lasting).to_string();
        let details = json!({ "since": latest.to_string(), "silence": lasting });
        self.tell(Kind::SourceSilent, latest, &details, std::slice::from_ref(rule)).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::calendar::{Hours, Zone};

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn silence_counts_within_its_hours() {
        let hours = Hours::parse(["MON-FRI 08:00-18:00"], Zone::UTC).unwrap();
        let silence =
            |hour: u64| Silence { lasting: Duration::from_secs(hour * 3600), hours: Some(hours.clone()) };
        // Monday morning; Monday evening until Tuesday; Friday evening until Monday; before opening.
        for (latest, due) in [
            ("2025-12-15T09:00:00Z", "2025-12-15T11:00:00Z"),
            ("2025-12-15T17:00:00Z", "2025-12-16T10:00:00Z"),
            ("2025-12-19T16:30:00Z", "2025-12-22T10:00:00Z"),
            ("2025-12-15T05:00:00Z", "2025-12-15T10:00:00Z"),
        ] {
            assert_eq!(silent_at(&silence(2), at(latest)), Some(at(due)), "{latest}");
        }
        assert_eq!(silent_at(&silence(11), at("2025-12-15T09:00:00Z")), None);
        let always = Silence { lasting: Duration::from_secs(3600), hours: None };
        assert_eq!(silent_at(&always, at("2025-12-15T23:30:00Z")), Some(at("2025-12-16T00:30:00Z")));
    }
}
