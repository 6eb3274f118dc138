//! A second opinion on what the rules have to bring, computed from the states of a call. Pure.
//!
//! The demo and the kill test hold what arrives against it. So it must not use the pipeline's own comparison of calls,
//! its conditions or its rules: a mistake in those would then be found by neither.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::Value;

use crate::{event::Severity, kind::Kind};

/// The kinds of change that a rule looks at when its `on` says nothing else.
pub const EVERY_KIND: &[Kind] = &[Kind::Ended, Kind::Started, Kind::Analyzed, Kind::Updated, Kind::Deleted];

/// The messages that one rule of a config has to bring.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// The rule's name.
    pub rule: &'static str,
    /// The kinds of change that it looks at.
    pub on: &'static [Kind],
    /// Its condition, as a plain function of the call's record. A rule without one is a feed.
    pub when: Option<fn(&Value) -> bool>,
    /// Whether it may fire more than once for a call.
    pub repeat: bool,
    /// Its title, as a plain function of the call's record. `None` when it has none of its own.
    pub title: Option<fn(&Value) -> String>,
    /// How much it matters.
    pub severity: Severity,
    /// The destinations that it tells.
    pub to: &'static [&'static str],
    /// Those of them that get one message about all rules that one change makes fire.
    pub merging: &'static [&'static str],
}

impl Promise {
    /// A feed of all changes to no destination. Other promises name only the fields in which they differ from it.
    pub const FEED: Self = Self {
        rule: "",
        on: EVERY_KIND,
        when: None,
        repeat: false,
        title: None,
        severity: Severity::Info,
        to: &[],
        merging: &[],
    };
}

/// Something that one destination has to be told about one call.
#[derive(Clone)]
pub struct Debt {
    /// The destination that has to be told.
    pub destination: &'static str,
    /// Why. When the message tells of several rules, the one that matters most; of several, the first.
    pub promise: &'static Promise,
    /// The others that the message tells of, in their order.
    pub also: Vec<&'static Promise>,
    /// Its place among all that this destination is told about this call, from 1.
    pub sequence: u64,
    /// The kinds of the change. The message's `type` comes from the first.
    pub kinds: Vec<Kind>,
    /// The call's record before the change; `None` when the call is new or deleted.
    pub before: Option<Arc<Value>>,
    /// The call's record. That of a deleted call has no transcript, because a snapshot does not keep it.
    pub call: Arc<Value>,
}

impl Debt {
    /// The title of the message, when the rule has one of its own.
    pub fn title(&self) -> Option<String> {
        self.promise.title.map(|title| title(&self.call))
    }

    /// The other rules as the message names them: by their titles, or else their names.
    pub fn also(&self) -> Vec<String> {
        let said =
            |promise: &&Promise| promise.title.map_or(promise.rule.to_owned(), |title| title(&self.call));
        self.also.iter().map(said).collect()
    }

    /// All rules that the message tells of.
    pub fn rules(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.promise.rule).chain(self.also.iter().map(|promise| promise.rule))
    }

    /// Adds a rule to the message that comes after those in it.
    fn join(&mut self, promise: &'static Promise, promises: &[Promise]) {
        let matters_more = promise.severity > self.promise.severity;
        self.also.push(if matters_more { std::mem::replace(&mut self.promise, promise) } else { promise });
        self.also.sort_by_key(|also| promises.iter().position(|promise| promise.rule == also.rule));
    }
}

/// Follows one call through its states.
#[derive(Default)]
pub struct Course {
    last: Option<Arc<Value>>,
    fired: BTreeSet<&'static str>,
    /// The sequence of the latest debt to each destination.
    sequences: BTreeMap<&'static str, u64>,
}

impl Course {
    /// The course of a call that was there before the watching began: its state then is not news.
    pub fn known(record: Arc<Value>) -> Self {
        Self { last: Some(record), ..Self::default() }
    }

    /// The kinds of the change to this state; `None` stands for a call that is deleted.
    pub fn kinds(&self, state: Option<&Value>) -> Vec<Kind> {
        let Some(now) = state else { return vec![Kind::Deleted] };
        let before = self.last.as_deref();
        let is = |call: &Value, status: &str| call["status"] == status;
        let mut kinds = vec![];
        if is(now, "completed") && !before.is_some_and(|before| is(before, "completed")) {
            kinds.push(Kind::Ended);
        }
        if is(now, "live") && before.is_none() {
            kinds.push(Kind::Started);
        }
        let analysis = &now["callAnalysis"];
        if !analysis.is_null() && before.is_none_or(|before| before["callAnalysis"] != *analysis) {
            kinds.push(Kind::Analyzed);
        }
        if kinds.is_empty() {
            kinds.push(Kind::Updated);
        }
        kinds
    }

    /// The call was seen in its next state, or is deleted (`None`). Returns what has to be told of that, in the order of
    /// the promises. Of a deleted call that was never seen nothing has to be told.
    pub fn advance(&mut self, promises: &'static [Promise], state: Option<Arc<Value>>) -> Vec<Debt> {
        let kinds = self.kinds(state.as_deref());
        let last = self.last.take();
        self.last.clone_from(&state);
        let (before, call) = match (state, &last) {
            (Some(now), before) => (before.clone(), now),
            (None, Some(last)) => (None, Arc::new(without_transcript(last))),
            (None, None) => return vec![],
        };
        let mut debts: Vec<Debt> = vec![];
        for promise in promises.iter().filter(|promise| promise.on.iter().any(|kind| kinds.contains(kind))) {
            if let Some(holds) = promise.when {
                let became_true = holds(&call) && !last.as_deref().is_some_and(holds);
                if !became_true || (!promise.repeat && self.fired.contains(promise.rule)) {
                    continue;
                }
                self.fired.insert(promise.rule);
            }
            for destination in promise.to {
                let is_joined = |debt: &&mut Debt| {
                    debt.destination == *destination
                        && [promise, debt.promise].iter().all(|of| of.merging.contains(destination))
                };
                if let Some(debt) = debts.iter_mut().find(is_joined) {
                    debt.join(promise, promises);
                    continue;
                }
                let sequence = self.sequences.entry(destination).or_default();
                *sequence += 1;
                debts.push(Debt {
                    destination,
                    promise,
                    also: vec![],
                    sequence: *sequence,
                    kinds: kinds.clone(),
                    before: before.clone(),
                    call: Arc::clone(&call),
                });
            }
        }
        debts
    }
}

fn without_transcript(record: &Value) -> Value {
    let mut record = record.clone();
    if let Some(fields) = record.as_object_mut() {
        fields.remove("transcript");
    }
    record
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LONG: Promise = Promise {
        rule: "long",
        when: Some(|call| call["duration"].as_u64() > Some(300)),
        repeat: true,
        to: &["crm", "desk"],
        ..Promise::FEED
    };
    const PROMISES: &[Promise] = &[
        Promise { rule: "over", on: &[Kind::Ended, Kind::Deleted], to: &["crm"], ..Promise::FEED },
        LONG,
        Promise { rule: "once", repeat: false, ..LONG },
    ];

    fn state(status: &str, duration: u64) -> Option<Arc<Value>> {
        Some(Arc::new(json!({ "id": "c1", "status": status, "duration": duration, "transcript": [] })))
    }

    /// The destinations that are told of the next state, by which rule, and with which sequence.
    fn told(course: &mut Course, state: Option<Arc<Value>>) -> Vec<(&'static str, &'static str, u64)> {
        let debts = course.advance(PROMISES, state);
        debts.iter().map(|debt| (debt.promise.rule, debt.destination, debt.sequence)).collect()
    }

    #[test]
    fn a_condition_fires_when_it_becomes_true_and_once_unless_the_rule_repeats() {
        let mut course = Course::default();
        assert_eq!(told(&mut course, state("live", 0)), []);
        let first = [
            ("over", "crm", 1),
            ("long", "crm", 2),
            ("long", "desk", 1),
            ("once", "crm", 3),
            ("once", "desk", 2),
        ];
        assert_eq!(told(&mut course, state("completed", 301)), first);
        assert_eq!(told(&mut course, state("completed", 302)), [], "it was true before");
        assert_eq!(told(&mut course, state("completed", 1)), []);
        assert_eq!(told(&mut course, state("completed", 303)), [("long", "crm", 4), ("long", "desk", 3)]);
    }

    #[test]
    fn a_destination_that_merges_is_owed_one_message_about_all_rules_of_a_change() {
        const ALL: &[Promise] = &[
            Promise { rule: "a", to: &["crm", "desk"], merging: &["desk"], ..Promise::FEED },
            Promise { rule: "b", to: &["desk", "mail"], merging: &["desk", "mail"], ..Promise::FEED },
            Promise {
                rule: "c",
                on: &[Kind::Ended],
                severity: Severity::Warning,
                to: &["crm", "desk", "mail"],
                merging: &["desk"],
                ..Promise::FEED
            },
        ];
        let mut course = Course::default();
        let mut told = |state| -> Vec<_> {
            let debts = course.advance(ALL, state);
            debts
                .iter()
                .map(|debt| (debt.destination, debt.rules().collect::<Vec<_>>(), debt.sequence))
                .collect()
        };
        assert_eq!(
            told(state("live", 0)),
            [("crm", vec!["a"], 1), ("desk", vec!["a", "b"], 1), ("mail", vec!["b"], 1)]
        );
        assert_eq!(
            told(state("completed", 1)),
            [
                ("crm", vec!["a"], 2),
                ("desk", vec!["c", "a", "b"], 2),
                ("mail", vec!["b"], 2),
                ("crm", vec!["c"], 3),
                ("mail", vec!["c"], 3),
            ]
        );
    }

    #[test]
    fn a_known_call_is_news_only_when_it_changes_and_a_deleted_one_is_told_without_its_transcript() {
        let mut course = Course::known(state("completed", 301).unwrap());
        assert_eq!(told(&mut course, state("completed", 400)), []);

        let debts = course.advance(PROMISES, None);

        assert_eq!(debts.len(), 1);
        assert_eq!((&debts[0].kinds[..], debts[0].promise.rule), (&[Kind::Deleted][..], "over"));
        assert_eq!(*debts[0].call, json!({ "id": "c1", "status": "completed", "duration": 400 }));
        assert_eq!(told(&mut Course::default(), None), [], "nobody had heard of it");
    }

    #[test]
    fn a_state_that_was_skipped_makes_the_next_change_one_of_several_kinds() {
        let live = Course::known(state("live", 0).unwrap());
        let over = json!({ "status": "completed", "callAnalysis": { "sentiment": "neutral" } });
        assert_eq!(live.kinds(Some(&over)), [Kind::Ended, Kind::Analyzed]);
        assert_eq!(Course::default().kinds(Some(&over)), [Kind::Ended, Kind::Analyzed]);
        assert_eq!(Course::known(Arc::new(over.clone())).kinds(Some(&over)), [Kind::Updated]);
    }
}
