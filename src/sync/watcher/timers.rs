//! Timers of one source: rules that wait for a condition to last (`for`), and rules that wait for silence.
//!
//! Both make a claim about the present, so neither is told before the API has confirmed it: a call counts as still
//! live only if it was seen at or after its time, and silence only if the source has answered at or after its time.
//!
//! All times are [`Now::waits`], which goes on steadily within the process. A stored time in the future comes from a
//! clock that was ahead: its wait begins now.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::Now;
use crate::{call::CallId, name::Name, rule::Rule, time::Timestamp};

/// The timers of one source. The serialized part is kept in the source's checkpoint.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Timers {
    /// Calls that rules with `for` must look at again, and from when on.
    waiting: BTreeMap<CallId, Timestamp>,
    /// When the latest call of the source was created, or when watching began if that is later.
    latest: Option<Timestamp>,
    /// For each rule with `silence`, the value of `latest` when it last fired: it fires once per silence.
    told: BTreeMap<Name, Timestamp>,
    /// When each waiting call was last seen. Lost with the process, so that a call is confirmed anew after a restart.
    #[serde(skip)]
    seen: HashMap<CallId, Timestamp>,
    /// When the source last answered a request. Lost with the process, for the same reason.
    #[serde(skip)]
    answered: Option<Now>,
}

impl Timers {
    /// These calls, and all that are waited for, are looked at as soon as they are seen again.
    pub(super) fn look_at(&mut self, calls: impl IntoIterator<Item = CallId>) {
        let at_once = Timestamp::default();
        self.waiting.values_mut().for_each(|due| *due = at_once);
        self.waiting.extend(calls.into_iter().map(|call| (call, at_once)));
        self.seen.clear();
    }

    /// Sets when `call` must be looked at again; `None` when no rule waits for it. Returns whether that is a change.
    pub(super) fn set(&mut self, call: &CallId, due: Option<Timestamp>) -> bool {
        let before = match due {
            Some(due) => self.waiting.insert(call.clone(), due),
            None => self.waiting.remove(call),
        };
        before != due
    }

    /// A call was created, or watching began. Noted even while no rule waits for silence: one may be added. Returns
    /// whether it is the latest.
    pub(super) fn heard(&mut self, created: Timestamp) -> bool {
        let is_latest = self.latest < Some(created);
        self.latest = self.latest.max(Some(created));
        is_latest
    }

    /// Whether any call is waited for, so that sightings matter.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A call was in an answer, changed or not.
    pub(super) fn saw(&mut self, call: &CallId, now: Timestamp) {
        if self.waiting.contains_key(call) {
            self.seen.insert(call.clone(), now);
        }
    }

    /// An answer showed every call that is waited for.
    pub(super) fn saw_all(&mut self, now: Timestamp) {
        self.seen.extend(self.waiting.keys().map(|call| (call.clone(), now)));
    }

    /// The source answered a request. Silence of a project without calls begins when it was first looked at. A call
    /// dated in the future comes from a clock that was ahead: its silence begins now, and is not reported again for
    /// that.
    pub(super) fn answered(&mut self, now: Now) {
        let latest = self.latest.unwrap_or(now.waits);
        self.latest = Some(latest.min(now.waits));
        if latest > now.waits {
            self.told.values_mut().filter(|told| **told == latest).for_each(|told| *told = now.waits);
        }
        self.answered = Some(now);
    }

    /// Removes and returns the calls whose time has come and that were seen at or after it.
    pub(super) fn take_due(&mut self) -> Vec<CallId> {
        let confirmed =
            |(call, due): &(&CallId, &Timestamp)| self.seen.get(*call).is_some_and(|seen| seen >= *due);
        let due: Vec<_> = self.waiting.iter().filter(confirmed).map(|(call, _)| call.clone()).collect();
        for call in &due {
            self.seen.remove(call);
            self.waiting.remove(call);
        }
        due
    }

    /// When the next waiting call must be looked at again.
    pub(super) fn next_look(&self) -> Option<Timestamp> {
        self.waiting.values().min().copied()
    }

    /// When `rule` tells of silence, unless a call comes first or it has told of this silence already.
    pub(super) fn silence_due(&self, rule: &Rule) -> Option<Timestamp> {
        let latest = self.latest?;
        if self.told.get(&rule.name) == Some(&latest) {
            return None;
        }
        rule.silence.as_ref()?.told_at(latest)
    }

    /// If `rule` tells of silence now, marks it as told and returns when the silence began. Not before the source has
    /// answered at `settled`, by the steady clock.
    pub(super) fn take_silence(
        &mut self,
        rule: &Rule,
        settled: Timestamp,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let latest = self.latest?;
        let is_confirmed =
            |due: &Timestamp| self.answered.is_some_and(|at| at.waits >= *due && at.steady >= settled);
        self.silence_due(rule).filter(|due| *due <= now).filter(is_confirmed)?;
        self.told.insert(rule.name.clone(), latest);
        Some(latest)
    }
}
