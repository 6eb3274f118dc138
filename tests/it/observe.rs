//! From one look at a call to the next: which changes are reported, which rules fire, under which ids (S2, R1, R2).

use std::{collections::BTreeSet, time::Duration};

use callwatch::{
    call::Call,
    event::Event,
    kind::{Kind, Kinds},
    rule::{Rule, RuleSet, condition::Condition},
    snapshot::Snapshot,
    store::NewDelivery,
    sync::watcher::{Memory, Observation, Watcher},
    telemetry::Signal,
    time::Timestamp,
};
use proptest::prelude::*;
use serde_json::{Value, json, value::to_raw_value};

fn rule(name: &str, on: &[Kind], when: Option<&str>) -> Rule {
    let feed = Rule::new(name.into(), on.iter().copied().collect(), vec!["crm".into()]);
    Rule { when: when.map(|source| Condition::compile(source).expect(source)), ..feed }
}

const CALL_KINDS: &[Kind] = &[Kind::Started, Kind::Ended, Kind::Analyzed, Kind::Updated];

/// One call, looked at again and again.
struct Watch {
    watcher: Watcher,
    snapshot: Option<Snapshot>,
    now: i64,
    deliveries: Vec<NewDelivery>,
}

/// What one look brought.
#[derive(Debug, PartialEq)]
struct Look {
    kinds: Option<Kinds>,
    fired: Vec<String>,
}

fn look(kinds: &[Kind], fired: &[&str]) -> Look {
    let kinds = (!kinds.is_empty()).then(|| kinds.iter().copied().collect());
    Look { kinds, fired: fired.iter().map(|&name| name.to_owned()).collect() }
}

impl Watch {
    fn new(rules: Vec<Rule>) -> Self {
        let mut watch = Self::in_baseline(rules);
        watch.watcher.baseline_done(watch.now());
        watch
    }

    fn in_baseline(rules: Vec<Rule>) -> Self {
        let watcher = Watcher::new("clinic".into(), RuleSet::of(&rules), Memory::default());
        // 2025-12-15T14:32:26Z, just after the records below were written.
        Self { watcher, snapshot: None, now: 1_765_809_146_000, deliveries: vec![] }
    }

    fn baselined(rules: Vec<Rule>, record: Value) -> Self {
        let mut watch = Self::in_baseline(rules);
        let made = watch.watcher.observe(None, &call(&record), watch.now());
        assert!(made.events.is_empty() && made.signals.is_empty());
        watch.snapshot = made.snapshot.map(|(_, snapshot)| snapshot);
        watch.watcher.baseline_done(watch.now());
        watch
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    fn set_rules(&mut self, rules: &[Rule]) {
        self.watcher.set_rules(RuleSet::of(rules), [], self.now());
    }

    fn events(&mut self, record: &Value) -> (Option<Kinds>, Vec<Event>) {
        let now = self.now();
        let made = self.watcher.observe(self.snapshot.as_ref(), &call(record), now);
        self.take(made)
    }

    fn take(&mut self, made: Observation) -> (Option<Kinds>, Vec<Event>) {
        // A snapshot survives being stored.
        if let Some((_, snapshot)) = &made.snapshot {
            let stored = serde_json::to_vec(snapshot).unwrap();
            self.snapshot = Some(serde_json::from_slice(&stored).unwrap());
        }
        self.deliveries.extend(made.events.iter().flat_map(|new| new.deliveries.iter().cloned()));
        self.now += 1000;
        let kinds = made.signals.iter().find_map(|signal| match signal {
            Signal::Changed { kinds, .. } => Some(*kinds),
            _ => None,
        });
        assert_eq!(kinds.is_some(), made.changed);
        (kinds, made.events.into_iter().map(|new| new.event).collect())
    }

    fn see(&mut self, record: Value) -> Look {
        let (kinds, events) = self.events(&record);
        Look { kinds, fired: events.iter().map(|event| event.rule.to_string()).collect() }
    }

    fn gone(&mut self) -> Vec<Event> {
        let before = self.snapshot.clone().expect("known");
        let made = self.watcher.observe_deletion(&"a".into(), &before, self.now());
        self.take(made).1
    }
}

fn call(record: &Value) -> Call {
    Call::parse(&to_raw_value(record).unwrap()).unwrap()
}

fn live() -> Value {
    json!({"id": "a", "status": "live", "duration": 0, "callAnalysis": null, "callerNumber": "+33612345678",
        "transcript": [], "createdAt": "2025-12-15T14:30:00.000Z", "updatedAt": "2025-12-15T14:30:00.000Z"})
}

fn with(mut record: Value, changes: Value) -> Value {
    let fields = record.as_object_mut().unwrap();
    fields.extend(changes.as_object().unwrap().clone());
    record
}

fn completed() -> Value {
    with(live(), json!({"status": "completed", "duration": 145, "updatedAt": "2025-12-15T14:32:25.000Z"}))
}

fn analyzed(sentiment: &str) -> Value {
    with(completed(), json!({"callAnalysis": {"sentiment": sentiment}}))
}

#[test]
fn a_call_starts_ends_and_is_analyzed_and_each_is_reported_once() {
    let mut watch = Watch::new(vec![rule("feed", CALL_KINDS, None)]);
    assert_eq!(watch.see(live()), look(&[Kind::Started], &["feed"]));
    assert_eq!(watch.see(live()), look(&[], &[]));
    assert_eq!(watch.see(completed()), look(&[Kind::Ended], &["feed"]));
    assert_eq!(watch.see(completed()), look(&[], &[]));
    assert_eq!(watch.see(analyzed("negative")), look(&[Kind::Analyzed], &["feed"]));
    assert_eq!(watch.see(analyzed("positive")), look(&[Kind::Analyzed], &["feed"]));
    assert_eq!(
        watch.see(with(analyzed("positive"), json!({"summary": "x"}))),
        look(&[Kind::Updated], &["feed"])
    );
    let sequences: Vec<u64> = watch.deliveries.iter().map(|delivery| delivery.sequence).collect();
    assert_eq!(sequences, [1, 2, 3, 4, 5]);
}

#[test]
fn several_kinds_at_once_are_one_change() {
    let mut watch = Watch::new(vec![rule("feed", CALL_KINDS, None)]);
    assert_eq!(watch.see(analyzed("negative")), look(&[Kind::Ended, Kind::Analyzed], &["feed"]));
    let mut watch = Watch::new(vec![rule("ends", &[Kind::Ended], None)]);
    watch.see(live());
    let (_, events) = watch.events(&analyzed("negative"));
    assert_eq!(events[0].type_name(), "call.ended");
    let changes: Vec<_> = events[0].changes.0.keys().map(String::as_str).collect();
    assert_eq!(changes, ["status", "duration", "callAnalysis", "updatedAt"]);
    assert_eq!(events[0].changes.0["status"], json!({"from": "live", "to": "completed"}));
}

#[test]
fn a_transcript_that_grows_is_an_update_whose_text_is_not_repeated() {
    let mut watch = Watch::new(vec![rule("feed", CALL_KINDS, None)]);
    watch.see(live());
    let grown = with(live(), json!({"transcript": [{"role": "user", "content": "secret words"}]}));
    let (kinds, events) = watch.events(&grown);
    assert_eq!(kinds, Some(Kind::Updated.into()));
    assert_eq!(events[0].changes.0["transcript"], json!({}));
    assert!(!serde_json::to_string(&watch.snapshot).unwrap().contains("secret words"));
    assert!(events[0].record.get().contains("secret words"), "the event carries the whole call");
}

#[test]
fn key_order_and_white_space_are_no_change() {
    let mut watch = Watch::new(vec![rule("feed", CALL_KINDS, None)]);
    watch.see(json!({"id": "a", "status": "live", "callAnalysis": {"x": 1, "y": 2}}));
    assert_eq!(
        watch.see(json!({"callAnalysis": {"y": 2, "x": 1}, "status": "live", "id": "a"})),
        look(&[], &[])
    );
}

#[test]
fn an_unknown_status_is_neither_live_nor_completed() {
    let mut watch = Watch::new(vec![rule("feed", CALL_KINDS, None)]);
    assert_eq!(watch.see(with(live(), json!({"status": "ringing"}))), look(&[Kind::Updated], &["feed"]));
    assert_eq!(watch.see(live()), look(&[Kind::Started], &["feed"]));
    assert_eq!(watch.see(with(live(), json!({"status": "on_hold"}))), look(&[Kind::Updated], &["feed"]));
    assert_eq!(watch.see(live()), look(&[Kind::Updated], &["feed"]), "it did not start twice");
    assert_eq!(watch.see(completed()), look(&[Kind::Ended], &["feed"]));
    assert_eq!(watch.see(live()), look(&[Kind::Updated], &["feed"]), "a completed call does not start again");
}

#[test]
fn a_condition_fires_when_it_becomes_true_and_once_per_call() {
    let negative = r#"call.callAnalysis.sentiment == "negative""#;
    let mut watch = Watch::new(vec![rule("unhappy", CALL_KINDS, Some(negative))]);
    let fired: Vec<usize> =
        [live(), completed(), analyzed("negative"), analyzed("positive"), analyzed("negative")]
            .into_iter()
            .map(|record| watch.see(record).fired.len())
            .collect();
    assert_eq!(fired, [0, 0, 1, 0, 0]);

    let mut again = rule("unhappy", CALL_KINDS, Some(negative));
    again.repeat = true;
    let mut watch = Watch::new(vec![again]);
    let mut ids = BTreeSet::new();
    let mut fired = vec![];
    for record in [
        analyzed("negative"),
        with(analyzed("negative"), json!({"summary": "x"})),
        analyzed("positive"),
        analyzed("negative"),
    ] {
        let (_, events) = watch.events(&record);
        fired.push(events.len());
        ids.extend(events.into_iter().map(|event| event.id));
    }
    assert_eq!(fired, [1, 0, 0, 1], "it fires each time it becomes true, not while it stays so");
    assert_eq!(ids.len(), 2, "and each time is an event of its own");
}

#[test]
fn a_rule_looks_only_at_the_kinds_it_asks_for() {
    // True while the call is still live: it must not be taken for old news when the call ends.
    let mut watch = Watch::new(vec![rule("long", &[Kind::Ended], Some("call.duration > 60"))]);
    assert_eq!(watch.see(with(live(), json!({"duration": 100}))).fired.len(), 0);
    assert_eq!(watch.see(with(live(), json!({"duration": 120}))).fired.len(), 0);
    assert_eq!(watch.see(completed()).fired, ["long"]);
}

#[test]
fn time_alone_makes_a_condition_true_at_the_next_change() {
    let old = r#"now - timestamp(call.createdAt) > duration("30m")"#;
    let mut watch = Watch::new(vec![rule("long", CALL_KINDS, Some(old))]);
    assert_eq!(watch.see(live()).fired.len(), 0);
    watch.now += 3_600_000;
    assert_eq!(watch.see(with(live(), json!({"duration": 3600}))).fired, ["long"]);
}

#[test]
fn what_was_there_before_is_not_announced_and_neither_is_a_late_edit_of_it() {
    let negative = r#"call.callAnalysis.sentiment == "negative""#;
    let rules = || vec![rule("unhappy", CALL_KINDS, Some(negative)), rule("ends", &[Kind::Ended], None)];
    let mut watch = Watch::baselined(rules(), analyzed("negative"));
    assert_eq!(watch.see(with(analyzed("negative"), json!({"summary": "x"}))), look(&[Kind::Updated], &[]));

    // A call that was live then and ends now is news.
    let mut watch = Watch::baselined(rules(), live());
    assert_eq!(watch.see(analyzed("negative")).fired, ["unhappy", "ends"]);
}

#[test]
fn adding_or_editing_a_rule_announces_no_old_call() {
    let mut watch = Watch::new(vec![]);
    watch.see(analyzed("negative"));
    watch.set_rules(&[rule("unhappy", CALL_KINDS, Some(r#"call.callAnalysis.sentiment == "negative""#))]);
    assert_eq!(watch.see(with(analyzed("negative"), json!({"summary": "x"}))).fired.len(), 0);
    watch.set_rules(&[rule("unhappy", CALL_KINDS, Some(r#"call.callAnalysis.sentiment != "positive""#))]);
    assert_eq!(watch.see(with(analyzed("negative"), json!({"summary": "y"}))).fired.len(), 0);

    // A condition on the transcript, which is not remembered, either.
    let said = r#"call.transcript.exists(t, t.content.contains("refund"))"#;
    let told = with(analyzed("neutral"), json!({"transcript": [{"role": "user", "content": "a refund"}]}));
    let mut watch = Watch::new(vec![]);
    watch.see(told.clone());
    watch.set_rules(&[rule("refund", CALL_KINDS, Some(said))]);
    assert_eq!(watch.see(with(told, json!({"summary": "y"}))).fired.len(), 0);
}

#[test]
fn what_is_too_old_is_not_announced_and_not_made_up_for() {
    let mut old = rule("ends", CALL_KINDS, Some(r#"call.status == "completed""#));
    old.max_age = Some(Duration::from_secs(60));
    let mut watch = Watch::new(vec![old]);
    watch.now += 3_600_000;
    assert_eq!(watch.see(completed()).fired.len(), 0);
    assert_eq!(watch.see(with(completed(), json!({"summary": "x"}))).fired.len(), 0);
}

#[test]
fn a_rule_for_another_source_does_not_fire() {
    let mut other = rule("ends", CALL_KINDS, None);
    other.sources = Some(vec!["garage".into()]);
    assert_eq!(Watch::new(vec![other]).see(completed()).fired.len(), 0);
}

#[test]
fn a_deleted_call_is_reported_once_and_again_when_it_came_back_in_between() {
    let mut watch = Watch::new(vec![rule("gone", &[Kind::Deleted], None)]);
    watch.see(completed());
    let first = watch.gone();
    assert_eq!(first[0].type_name(), "call.deleted");
    assert!(watch.gone().is_empty());
    assert_eq!(watch.see(completed()), look(&[Kind::Updated], &[]), "it is back");
    let second = watch.gone();
    assert_ne!(first[0].id, second[0].id);
}

#[test]
fn the_same_observation_has_the_same_id_and_every_other_one_another() {
    let run = || {
        let mut watch = Watch::new(vec![rule("feed", CALL_KINDS, None), rule("other", CALL_KINDS, None)]);
        let records = [live(), completed(), live(), completed(), live(), completed()];
        records.iter().flat_map(|record| watch.events(record).1).map(|event| event.id).collect::<Vec<_>>()
    };
    let ids = run();
    assert_eq!(ids, run());
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 12);
}

#[test]
fn a_call_of_nulls_and_unknown_fields_goes_through_byte_for_byte() {
    let raw = r#"{"id":"ü/1","status":"wrap_up","duration":null,"summary":null,"callAnalysis":null,  "isEngaged":null,
        "transcript":null,"createdAt":null,"updatedAt":"yesterday","queue":{"n":1.50,"big":12345678901234567890123}}"#;
    let raw: Box<serde_json::value::RawValue> = serde_json::from_str(raw).unwrap();
    let call = Call::parse(&raw).unwrap();
    let rules = [rule("feed", CALL_KINDS, None), rule("long", CALL_KINDS, Some("call.duration > 3"))];
    let mut watch = Watch::new(rules.to_vec());
    let made = watch.watcher.observe(None, &call, watch.now());
    assert_eq!(made.events.len(), 1);
    assert_eq!(made.events[0].event.record.get(), raw.get());
    assert!(made.signals.iter().any(|s| matches!(s, Signal::Unknown { rule } if rule.as_str() == "long")));
}

proptest! {
    /// However a call changes: two looks that differ are one change, two that do not are none; no two events of a
    /// history share an id; replaying the history gives the same ids.
    #[test]
    fn every_distinguishable_state_is_exactly_one_change(states in prop::collection::vec((0..3u8, 0..3u8, 0..2u8), 1..40)) {
        let record = |(status, analysis, summary): (u8, u8, u8)| {
            let status = ["live", "completed", "ringing"][status as usize];
            let analysis = [json!(null), json!({"s": 1}), json!({"s": 2})][analysis as usize].clone();
            json!({"id": "a", "status": status, "callAnalysis": analysis, "summary": summary})
        };
        let replay = || {
            let mut watch = Watch::new(vec![rule("feed", CALL_KINDS, None)]);
            states.iter().map(|state| watch.events(&record(*state))).collect::<Vec<_>>()
        };
        let looks = replay();
        for (i, (kinds, events)) in looks.iter().enumerate() {
            let differs = i == 0 || states[i] != states[i - 1];
            prop_assert_eq!(kinds.is_some(), differs);
            prop_assert_eq!(events.len(), usize::from(differs));
        }
        let ids = |looks: &[(Option<Kinds>, Vec<Event>)]| looks.iter().flat_map(|(_, e)| e).map(|e| e.id.clone()).collect::<Vec<_>>();
        prop_assert_eq!(ids(&looks), ids(&replay()));
        prop_assert_eq!(ids(&looks).into_iter().collect::<BTreeSet<_>>().len(), ids(&looks).len());
    }
}

#[test]
fn a_call_that_came_back_in_another_state_can_be_deleted_again() {
    let mut watch = Watch::new(vec![rule("gone", &[Kind::Deleted], None)]);
    watch.see(completed());
    let first = watch.gone();
    watch.see(with(completed(), json!({"summary": "another"})));
    let second = watch.gone();
    assert_ne!(first[0].id, second[0].id);
}

#[test]
fn what_a_strict_parser_refuses_is_carried_through() {
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    for odd in [r#""cut \ud83d""#, "1e400", &deep] {
        let raw = format!(r#"{{"id":"a","status":"completed","summary":{odd}}}"#);
        let raw: Box<serde_json::value::RawValue> = serde_json::from_str(&raw).unwrap();
        let call = Call::parse(&raw).unwrap();
        let mut watch = Watch::new(vec![rule("feed", CALL_KINDS, None)]);
        let made = watch.watcher.observe(None, &call, watch.now());
        assert_eq!(made.events[0].event.record.get(), raw.get());
    }
}
