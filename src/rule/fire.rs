//! Whether a rule fires for a change, or after a while without one. Pure.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    Rule,
    condition::{Activation, Condition, ConditionFailure, Explanation, Truth},
};
use crate::{
    call::happened,
    change::Change,
    kind::{Kind, Kinds},
    name::Name,
    snapshot::{RuleMemory, Snapshot},
    time::Timestamp,
};

/// A change, as rules look at it. Made once and shown to every rule.
pub struct Candidate<'a> {
    source: &'a Name,
    kinds: Kinds,
    before: Option<&'a Snapshot>,
    before_record: Option<Map<String, Value>>,
    happened: Option<Timestamp>,
    now: Timestamp,
    activation: Activation,
}

/// What a rule made of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is not for this source or these kinds of change.
    NotConcerned,
    /// The condition does not hold.
    False,
    /// The condition can not be answered: a field is missing or null on the way.
    Unknown,
    /// The condition could not be evaluated.
    Failed(ConditionFailure),
    /// The condition held before already, or the rule has fired for this call and fires only once.
    Already,
    /// The condition holds, but not for long enough yet; it fires at this time if it holds until then.
    Waiting(Timestamp),
    /// It would have fired, but what happened is older than `max_age`.
    TooOld,
    /// It fires.
    Fired,
}

impl<'a> Candidate<'a> {
    /// Prepares a change for the rules. `call` is the record as it is now (for a deleted call: as last seen).
    pub fn new(
        source: &'a Name,
        change: &Change,
        call: &'a Map<String, Value>,
        before: Option<&'a Snapshot>,
        now: Timestamp,
    ) -> Self {
        let before_record = before.map(|snapshot| snapshot.record(call));
        let activation = Activation::new(call, before_record.as_ref(), change.kinds, source, now);
        let happened = happened(call);
        Self { source, kinds: change.kinds, before, before_record, happened, now, activation }
    }

    /// Prepares to look again at a call that has not changed. What is remembered of it is all there is: there is no
    /// transcript.
    pub fn again(source: &'a Name, kinds: Kinds, snapshot: &'a Snapshot, now: Timestamp) -> Self {
        let record = snapshot.fields.clone();
        let activation = Activation::new(&record, Some(&record), kinds, source, now);
        Self {
            source,
            kinds,
            before: Some(snapshot),
            before_record: Some(record),
            happened: None,
            now,
            activation,
        }
    }

    /// What each part of the rule's condition is for it; `None` when the rule has none.
    pub fn explain(&self, rule: &Rule) -> Option<Explanation> {
        Some(rule.when.as_ref()?.explain(&self.activation))
    }

    /// What `rule` makes of it, and what is to be remembered of that.
    ///
    /// A rule with a condition fires when the condition *becomes* true: true now, and not true at the last change
    /// the rule looked at. When nothing is remembered (the rule is new, or its condition was edited) the
    /// condition is asked about the call as it was before, so that old news is not announced again.
    pub fn judge(&self, rule: &Rule) -> (Finding, Option<RuleMemory>) {
        if !rule.looks_at(self.source) || !rule.on.intersects(self.kinds) {
            return (Finding::NotConcerned, None);
        }
        let Some(condition) = &rule.when else {
            return (self.unless_too_old(rule), None);
        };
        let memory = self.before.and_then(|before| before.rules.get(&rule.name)).copied();
        let fired = memory.is_some_and(|memory| memory.fired);
        if let Some(lasting) = rule.lasting {
            return self.look_on(rule, condition, memory, lasting);
        }
        let (finding, is_true) = match condition.evaluate(&self.activation) {
            Err(failure) => (Finding::Failed(failure), false),
            Ok(Truth::Unknown) => (Finding::Unknown, false),
            Ok(Truth::False) => (Finding::False, false),
            Ok(Truth::True) if fired && !rule.repeat => (Finding::Already, true),
            Ok(Truth::True) if self.was_true(rule, condition, memory) => (Finding::Already, true),
            Ok(Truth::True) => (self.unless_too_old(rule), true),
        };
        let fired = fired || finding == Finding::Fired;
        (
            finding,
            Some(RuleMemory { condition: condition.fingerprint(), was_true: is_true, fired, since: None }),
        )
    }

    /// A rule with `for` fires once the condition has been true for `lasting`, and again only after it was not.
    /// What is gone is not true any more.
    fn look_on(
        &self,
        rule: &Rule,
        condition: &Condition,
        memory: Option<RuleMemory>,
        lasting: Duration,
    ) -> (Finding, Option<RuleMemory>) {
        let fingerprint = condition.fingerprint();
        let fired = memory.is_some_and(|memory| memory.fired);
        let now = RuleMemory { condition: fingerprint, was_true: false, fired, since: None };
        let truth = match condition.evaluate(&self.activation) {
            Err(failure) => return (Finding::Failed(failure), Some(now)),
            Ok(Truth::Unknown) => return (Finding::Unknown, Some(now)),
            Ok(truth) => truth == Truth::True && !self.kinds.contains(Kind::Deleted),
        };
        let then = memory.filter(|memory| memory.condition == fingerprint);
        // Of a call that is seen for the first time, the API knows since when it is as it is.
        let first_sight =
            self.happened.filter(|_| self.before.is_none()).map_or(self.now, |at| at.min(self.now));
        let since = then.and_then(|memory| memory.since).unwrap_or(first_sight);
        match then {
            _ if !truth => (Finding::False, Some(now)),
            _ if fired && !rule.repeat => (Finding::Already, Some(RuleMemory { was_true: true, ..now })),
            Some(then) if then.was_true => (Finding::Already, Some(RuleMemory { was_true: true, ..now })),
            _ if since.after(lasting) <= self.now => {
                (Finding::Fired, Some(RuleMemory { was_true: true, fired: true, ..now }))
            }
            _ => (Finding::Waiting(since.after(lasting)), Some(RuleMemory { since: Some(since), ..now })),
        }
    }

    fn was_true(&self, rule: &Rule, condition: &Condition, memory: Option<RuleMemory>) -> bool {
        if let Some(memory) = memory.filter(|memory| memory.condition == condition.fingerprint()) {
            return memory.was_true;
        }
        match (self.before, &self.before_record) {
            // A change the rule would not have looked at is no "before".
            (Some(before), Some(record)) if rule.on.intersects(before.kinds_seen) => {
                let activation = Activation::new(record, None, before.kinds_seen, self.source, self.now);
                // What was forgotten of a call must not make old news new.
                before.shrunk.is_some() || condition.evaluate(&activation) == Ok(Truth::True)
            }
            _ => false,
        }
    }

    fn unless_too_old(&self, rule: &Rule) -> Finding {
        match (rule.max_age, self.happened) {
            (Some(max_age), Some(happened)) if self.now.since(happened) > max_age => Finding::TooOld,
            _ => Finding::Fired,
        }
    }
}
