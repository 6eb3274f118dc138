//! From one look at a call to the next: which changes are reported, which rules fire, under which ids (S2, R1, R2).

use std::{collections::BTreeSet, time::Duration};

use callwatch::{
    call::Call,
    event::Event,
    kind::{Kind, Kinds},
    lens::Lens,
    rule::{Rule, RuleSet, condition::Condition},
    snapshot::Snapshot,
    store::NewDelivery,
    sync::watcher::{Memory, Observation, Watcher},
    telemetry::{Analysis, Sentiment, Signal},
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
    signals: Vec<Signal>,
    /// Whether records may be older states than those before; if not, each is all that the API says.
    may_lag: bool,
}

/// The result of one look.
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
        Self {
            watcher,
            snapshot: None,
            now: 1_765_809_146_000,
            deliveries: vec![],
            signals: vec![],
            may_lag: false,
        }
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
        self.watcher.set_rules(RuleSet::of(rules), []);
    }

    fn events(&mut self, record: &Value) -> (Option<Kinds>, Vec<Event>) {
        let now = self.now();
        let (before, call) = (self.snapshot.as_ref(), call(record));
        let made = match self.may_lag {
            true => self.watcher.observe(before, &call, now),
            false => self.watcher.believe(before, &call, now),
        };
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
        self.signals.extend(made.signals);
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
    let again = with(live(), json!({"updatedAt": "2025-12-15T14:33:00.000Z"}));
    assert_eq!(watch.see(again), look(&[Kind::Updated], &["feed"]), "a completed call does not start again");
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
        // Without `updatedAt` nothing tells an older state from one that the call went back to.
        let [live, over] = [live(), completed()].map(|record| with(record, json!({"updatedAt": null})));
        let records = [live.clone(), over.clone(), live.clone(), over.clone(), live, over];
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
    let missing = made.signals.iter().find_map(|signal| match signal {
        Signal::Unknown { rule, missing } if rule.as_str() == "long" => missing.as_deref(),
        _ => None,
    });
    assert_eq!(missing, Some("call.duration"));
}

#[test]
fn a_call_is_counted_once_as_new_and_once_as_analysed() {
    let mut watch = Watch::new(vec![]);
    let analysis =
        |sentiment: &str, booked: bool| json!({"sentiment": sentiment, "appointmentBooked": booked});
    let happy = with(completed(), json!({"callAnalysis": analysis("Positive", true)}));
    let edited = with(completed(), json!({"callAnalysis": analysis("negative", false)}));
    for record in [live(), completed(), happy, edited] {
        watch.events(&record);
    }
    let counted: Vec<_> = watch
        .signals
        .iter()
        .filter_map(|signal| match signal {
            Signal::Changed { first_seen, analysis, .. } => Some((*first_seen, *analysis)),
            _ => None,
        })
        .collect();
    let happy = Analysis { sentiment: Sentiment::Positive, booked: true };
    assert_eq!(counted, [(true, None), (false, None), (false, Some(happy)), (false, None)]);
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

#[test]
fn an_older_state_is_no_news() {
    let mut watch = Watch::new(vec![rule("feed", CALL_KINDS, None)]);
    watch.may_lag = true;
    watch.see(live());
    for _ in 0..10 {
        watch.see(completed());
        // A replica that lags, a cache, and one that contradicts itself.
        watch.see(live());
        watch.see(with(live(), json!({"updatedAt": "2025-12-15T14:32:25.000Z"})));
        watch.see(with(completed(), json!({"summary": "older", "updatedAt": "2025-12-15T14:31:00.000Z"})));
    }
    let told: Vec<u64> = watch.deliveries.iter().map(|delivery| delivery.sequence).collect();
    assert_eq!(told, [1, 2], "started and ended");
    let again = with(live(), json!({"updatedAt": "2025-12-15T14:33:00.000Z"}));
    assert_eq!(watch.see(again), look(&[Kind::Updated], &["feed"]), "a later one is");
}

#[test]
fn a_time_that_cannot_be_true_does_not_make_everything_after_it_old() {
    let mut watch = Watch::new(vec![rule("feed", CALL_KINDS, None)]);
    watch.may_lag = true;
    watch.see(with(live(), json!({"updatedAt": "9999-12-31T23:59:59Z"})));
    assert_eq!(watch.see(completed()), look(&[Kind::Ended], &["feed"]));
}

#[test]
fn analyzed_means_that_something_is_there() {
    let mut watch = Watch::new(vec![rule("feed", CALL_KINDS, None)]);
    watch.see(completed());
    for blank in [json!({}), json!([]), json!(""), json!({"sentiment": null, "x": {"y": null}}), json!(null)]
    {
        assert_eq!(watch.see(with(completed(), json!({"callAnalysis": blank}))), look(&[], &[]));
        assert!(!watch.snapshot.as_ref().unwrap().is_analyzed());
    }
    assert_eq!(watch.see(analyzed("positive")), look(&[Kind::Analyzed], &["feed"]));
    assert_eq!(watch.see(with(completed(), json!({"callAnalysis": {}}))), look(&[Kind::Updated], &["feed"]));
    let mut new = Watch::new(vec![rule("feed", CALL_KINDS, None)]);
    assert_eq!(new.see(with(completed(), json!({"callAnalysis": {}}))), look(&[Kind::Ended], &["feed"]));
}

#[test]
fn what_is_the_same_to_a_person_is_no_change_whether_or_not_the_snapshot_is_shrunk() {
    for shrunk in [false, true] {
        let mut watch = Watch::new(vec![rule("feed", CALL_KINDS, None)]);
        let before =
            with(analyzed("positive"), json!({"score": 145, "note": null, "x": {"a": 1, "b": null}}));
        watch.see(before.clone());
        if shrunk {
            watch.snapshot.as_mut().unwrap().shrink();
        }
        for same in [
            with(before.clone(), json!({"language": null, "score": 145.0})),
            with(before.clone(), json!({"x": {"a": 1.0}, "transcript": [], "score": 1.45e2})),
        ] {
            assert_eq!(watch.see(same), look(&[], &[]));
        }
        let mut without_nulls = before.clone();
        without_nulls.as_object_mut().unwrap().remove("note");
        assert_eq!(watch.see(without_nulls), look(&[], &[]));
        assert_eq!(watch.see(with(before, json!({"score": 146}))), look(&[Kind::Updated], &["feed"]));
    }
}

#[test]
fn other_words_for_over_end_a_call_and_all_others_do_not() {
    let over =
        ["completed", "failed", "no-answer", "no_answer", "busy", "canceled", "voicemail", "Completed"];
    for word in over {
        let mut watch = Watch::new(vec![rule("feed", CALL_KINDS, None)]);
        watch.see(live());
        assert_eq!(watch.see(with(completed(), json!({"status": word}))), look(&[Kind::Ended], &["feed"]));
        assert_eq!(
            watch.see(with(completed(), json!({"status": "completed"}))).fired.len(),
            usize::from(!word.eq_ignore_ascii_case("completed"))
        );
    }
    let mut watch = Watch::new(vec![rule("feed", CALL_KINDS, None)]);
    for (word, kind) in [("queued", Kind::Updated), ("in-progress", Kind::Updated), ("live", Kind::Started)] {
        assert_eq!(watch.see(with(live(), json!({"status": word}))), look(&[kind], &["feed"]));
        assert_eq!(watch.snapshot.as_ref().unwrap().completed_seen, None);
    }
    let mut new = Watch::new(vec![rule("feed", CALL_KINDS, None)]);
    assert_eq!(new.see(with(completed(), json!({"status": "failed"}))), look(&[Kind::Ended], &["feed"]));
}

#[test]
fn a_call_without_a_readable_time_is_as_old_as_its_first_sight() {
    let mut ends = rule("ends", CALL_KINDS, Some(r#"call.summary == "told""#));
    ends.max_age = Some(Duration::from_secs(60));
    let odd = |changes| with(with(completed(), json!({"createdAt": "soon", "updatedAt": "later"})), changes);
    let mut watch = Watch::new(vec![ends.clone()]);
    assert_eq!(watch.see(odd(json!({"summary": "told"}))).fired, ["ends"], "it is seen just now");
    let mut watch = Watch::new(vec![ends]);
    watch.see(odd(json!({})));
    watch.now += 3_600_000;
    assert_eq!(watch.see(odd(json!({"summary": "told"}))).fired.len(), 0);
}

#[test]
fn ignored_fields_are_passed_on_and_not_compared() {
    let lens = std::sync::Arc::new(Lens::new([], ["recordingUrl", "callAnalysis.debug", "transcript.at"]));
    let record = |n: u32| {
        with(
            analyzed("positive"),
            json!({"recordingUrl": n, "callAnalysis": {"sentiment": "positive", "debug": n},
                "transcript": [{"role": "user", "content": "Hi.", "at": n}]}),
        )
    };
    for shrunk in [false, true] {
        let mut watch = Watch::new(vec![rule("feed", CALL_KINDS, None)]);
        let see = |watch: &mut Watch, record: &Value| {
            let made = watch.watcher.observe(
                watch.snapshot.as_ref(),
                &call(record).through(&lens),
                Timestamp::from_millis(watch.now),
            );
            watch.take(made)
        };
        let (kinds, events) = see(&mut watch, &record(0));
        assert!(kinds.is_some() && events[0].record.get().contains("recordingUrl"));
        if shrunk {
            watch.snapshot.as_mut().unwrap().shrink();
        }
        for n in 1..20 {
            assert_eq!(see(&mut watch, &record(n)).0, None);
            if shrunk {
                watch.snapshot.as_mut().unwrap().shrink();
            }
        }
        let (kinds, _) = see(&mut watch, &with(record(20), json!({"summary": "An edit."})));
        assert!(kinds.is_some_and(|kinds| kinds.contains(Kind::Updated) || shrunk));
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-5i64..5).prop_map(Value::from),
        (-5i64..5).prop_map(|n| Value::from(n as f64)),
        "[a-c]{0,2}".prop_map(Value::String),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec(("[a-d]", inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    /// The hash of a whole record and the comparison of its fields never disagree about whether it changed.
    #[test]
    fn hash_and_diff_agree(
        before in prop::collection::vec(("[a-d]|callAnalysis|transcript", any_value()), 0..5),
        after in prop::collection::vec(("[a-d]|callAnalysis|transcript", any_value()), 0..5),
    ) {
        let record = |fields: Vec<(String, Value)>| {
            with(json!({"id": "a", "status": "live"}), Value::Object(fields.into_iter().collect()))
        };
        let [before, after] = [before, after].map(|fields| call(&record(fields)));
        let snapshot = Snapshot::first(&before, Kinds::NONE, Timestamp::from_millis(0));
        let differs = before.content() != after.content();
        prop_assert_eq!(callwatch::change::diff(Some(&snapshot), &after).is_some(), differs);
        let mut shrunk = snapshot;
        shrunk.shrink();
        prop_assert_eq!(callwatch::change::diff(Some(&shrunk), &after).is_some(), differs);
    }
}

/// The list and `GET /v1/calls/{id}` disagree: one of them lacks a field. The state that was there before is no news.
#[test]
fn answers_that_alternate_with_and_without_a_field_are_told_once() {
    let over = with(live(), json!({ "status": "completed", "updatedAt": "2025-12-15T14:32:25.000Z" }));
    for full in [json!({ "callAnalysis": { "sentiment": "negative" } }), json!({ "summary": "Booked." })] {
        let rules = vec![rule("all", CALL_KINDS, None)];
        let mut watch = Watch { may_lag: true, ..Watch::baselined(rules, live()) };
        let mut told = vec![];
        for _ in 0..20 {
            told.extend(watch.see(over.clone()).kinds);
            told.extend(watch.see(with(over.clone(), full.clone())).kinds);
        }
        let of_field = if full["summary"].is_null() { Kind::Analyzed } else { Kind::Updated };
        assert_eq!(told, [Kind::Ended.into(), of_field.into()], "{full}");
    }
}

#[test]
fn an_analysis_that_comes_back_as_it_was_is_not_analyzed_again() {
    let rules = vec![rule("analyzed", &[Kind::Analyzed], None)];
    let mut watch = Watch { may_lag: true, ..Watch::baselined(rules, live()) };
    let mut second = 0;
    let mut see = |analysis: Value| {
        // Every answer has a later time than the one before.
        second += 1;
        let updated = format!("2025-12-15T14:33:{second:02}.000Z");
        let changes = json!({ "status": "completed", "updatedAt": updated, "callAnalysis": analysis });
        watch.see(with(live(), changes)).fired.len()
    };
    let (good, bad) = (json!({ "sentiment": "positive" }), json!({ "sentiment": "negative" }));
    assert_eq!(see(json!(null)), 0);
    assert_eq!(see(good.clone()), 1);
    for _ in 0..10 {
        assert_eq!((see(json!(null)), see(json!({})), see(good.clone())), (0, 0, 0));
    }
    assert_eq!((see(json!(null)), see(bad.clone())), (0, 1), "another one is news");
    assert_eq!((see(good), see(bad)), (1, 1), "and so is one that was really edited, and edited back");
}
