//! What fires on the clock: conditions that hold for a while (`for`), and silence.
//!
//! Both speak of the present, so neither is told before the API has confirmed it: a call is told to be still live
//! only when it was seen since, and silence only when the source has answered since. Pure.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::observe::{Observations, Observer};
use crate::{call::CallId, name::Name, rule::Rule, time::Timestamp};

/// What of a source waits for its time. Kept in the checkpoint.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Clockwork {
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
    pub(crate) fn learn(&mut self, observations: &Observations, observer: &Observer<'_>) -> bool {
        let mut changed = false;
        for (call, snapshot) in &observations.commit.snapshots {
            let before = match observer.waits(snapshot) {
                Some(due) => self.waiting.insert(call.clone(), due),
                None => self.waiting.remove(call),
            };
            changed |= before != self.waiting.get(call).copied();
        }
        // Whether or not a rule asks for it now: one may come back.
        if observations.latest > self.latest {
            self.latest = observations.latest;
            changed = true;
        }
        changed
    }

    /// Whether it wants to know which calls are seen.
    pub(crate) fn is_curious(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A call was seen.
    pub(crate) fn saw(&mut self, call: &CallId, now: Timestamp) {
        if self.waiting.contains_key(call) {
            self.seen.insert(call.clone(), now);
        }
    }

    /// The source has answered.
    pub(crate) fn answered(&mut self, now: Timestamp) {
        self.answered = Some(now);
    }

    /// The source has answered, and everything that is waited for was there.
    pub(crate) fn confirm(&mut self, now: Timestamp) {
        self.answered = Some(now);
        self.seen.extend(self.waiting.keys().map(|call| (call.clone(), now)));
    }

    /// A call was created, or the listening began.
    pub(crate) fn heard(&mut self, created: Timestamp) {
        self.latest = self.latest.max(Some(created));
    }

    /// A live call that was there when the task started: a rule may be new.
    pub(crate) fn look_at(&mut self, call: CallId, now: Timestamp) {
        self.waiting.entry(call).or_insert(now);
    }

    /// Takes out the calls whose time has come and that were seen since, to be looked at again.
    pub(crate) fn take_due(&mut self) -> Vec<CallId> {
        let confirmed =
            |(call, due): &(&CallId, &Timestamp)| self.seen.get(*call).is_some_and(|seen| seen >= *due);
        let due: Vec<_> = self.waiting.iter().filter(confirmed).map(|(call, _)| call.clone()).collect();
        for call in &due {
            self.seen.remove(call);
            self.waiting.remove(call);
        }
        due
    }

    /// When the next call that is waited for has to be looked at again.
    pub(crate) fn next_look(&self) -> Option<Timestamp> {
        self.waiting.values().min().copied()
    }

    /// When the silence that `rule` waits for is to be told, if it was not: not before `settled`, when a source
    /// that was away has had the time to say what happened meanwhile.
    pub(crate) fn silence_due(&self, rule: &Rule, settled: Timestamp) -> Option<Timestamp> {
        let latest = self.latest?;
        if self.told.get(&rule.name) == Some(&latest) {
            return None;
        }
        rule.silence.as_ref()?.told_at(latest).map(|due| due.max(settled))
    }

    /// Whether `rule` is to tell of silence now, and since when it lasts; it is told then.
    pub(crate) fn take_silence(
        &mut self,
        rule: &Rule,
        settled: Timestamp,
        now: Timestamp,
    ) -> Option<Timestamp> {
        rule.silence.as_ref()?;
        // A project without a call is silent from when it was first looked at.
        let latest = *self.latest.get_or_insert(now);
        let is_confirmed = |due: &Timestamp| self.answered.is_some_and(|at| at >= *due);
        self.silence_due(rule, settled).filter(|due| *due <= now).filter(is_confirmed)?;
        self.told.insert(rule.name.clone(), latest);
        Some(latest)
    }
}
