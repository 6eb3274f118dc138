//! Whether a rule fires: for a change, or because time has passed without one. Pure.

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

/// A change, or the passing of time, for which rules may fire. Made once and judged by every rule.
pub struct Candidate<'a> {
    source: &'a Name,
    kinds: Kinds,
    before: Option<&'a Snapshot>,
    before_record: Option<Map<String, Value>>,
    happened: Option<Timestamp>,
    now: Timestamp,
    /// The time by the clock that waits go by.
    waits: Timestamp,
    activation: Activation,
}

/// A rule's judgment of a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The rule does not look at this source or at these kinds of change.
    NotConcerned,
    /// The condition does not hold.
    False,
    /// The condition is neither true nor false: a field is missing or null on the way.
    Unknown,
    /// The condition could not be evaluated.
    Failed(ConditionFailure),
    /// The condition held before, or the rule has fired for this call and fires only once.
    Already,
    /// The condition holds, but not for long enough yet. The rule fires at this time if it still holds then.
    Waiting(Timestamp),
    /// The rule would have fired, but the change is older than `max_age`.
    TooOld,
    /// The rule fires.
    Fired,
}

impl<'a> Candidate<'a> {
    /// A change. `call` is the record as it is now, or for a deleted call as last seen.
    pub fn new(
        source: &'a Name,
        change: &Change,
        call: &'a Map<String, Value>,
        before: Option<&'a Snapshot>,
        now: Timestamp,
    ) -> Self {
        let before_record = before.map(|snapshot| snapshot.record(call));
        let activation = Activation::new(call, before_record.as_ref(), change.kinds, source, now);
        // A call that does not say when it changed did so after it was first seen, or just now if it is seen only now.
        let happened = happened(call).or(before.map(|before| before.first_seen));
        Self { source, kinds: change.kinds, before, before_record, happened, now, waits: now, activation }
    }

    /// Measures how long a condition has been true by another clock than the one that `now` is of.
    pub fn waiting_by(self, waits: Timestamp) -> Self {
        Self { waits, ..self }
    }

    /// The passing of time for a call that has not changed. Conditions see it as it is remembered, without a transcript.
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
            waits: now,
            activation,
        }
    }

    /// The value of each part of the rule's condition; `None` if the rule has no condition.
    pub fn explain(&self, rule: &Rule) -> Option<Explanation> {
        Some(rule.when.as_ref()?.explain(&self.activation))
    }

    /// The first field that the rule's condition needs and that is missing, or null on the way, as the condition writes it.
    pub fn missing<'r>(&self, rule: &'r Rule) -> Option<&'r str> {
        rule.when.as_ref()?.missing(&self.activation)
    }

    /// Judges it by `rule`. Returns the finding, and the memory that the rule has of the call from now on.
    ///
    /// A rule with a condition fires when the condition *becomes* true: true now, and not true at the last change the rule
    /// looked at. Without a memory of that (the rule is new, or its condition was edited) the condition is evaluated for
    /// the call as it was before, so that old news is not announced again.
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
            return self.judge_lasting(rule, condition, memory, lasting);
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

    /// A rule with `for` fires once the condition has been true for `lasting`, and again only after it was not true. For a
    /// deleted call no condition is true.
    fn judge_lasting(
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
        // A call that is seen for the first time has been in its state since it was updated, as the API says.
        let age = self.happened.filter(|_| self.before.is_none()).map(|at| self.now.since(at));
        let first_sight = self.waits.before(age.unwrap_or_default());
        // A time in the future comes from a clock that was ahead: the wait then begins now.
        let since = then.and_then(|memory| memory.since).unwrap_or(first_sight).min(self.waits);
        match then {
            _ if !truth => (Finding::False, Some(now)),
            _ if fired && !rule.repeat => (Finding::Already, Some(RuleMemory { was_true: true, ..now })),
            Some(then) if then.was_true => (Finding::Already, Some(RuleMemory { was_true: true, ..now })),
            _ if since.after(lasting) <= self.waits => {
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
            // A call that has been through none of the kinds in `on` was never before this rule, so it was not true.
            (Some(before), Some(record)) if rule.on.intersects(before.kinds_seen) => {
                let activation = Activation::new(record, None, before.kinds_seen, self.source, self.now);
                // Fields of a shrunk snapshot are missing, which must not make old news new.
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
