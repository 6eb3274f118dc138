//! News about a source that comes because time passes, rules change, or the source does not answer.

use std::{sync::Arc, time::Duration};

use callwatch::{
    batch::BatchKey,
    call::Call,
    callem::FetchError,
    change::Stale,
    event::{Event, Severity},
    kind::Kind,
    rule::{
        Rule, RuleSet, RuleText, Rules, Silence,
        condition::Condition,
        pacing::{Pacing, Throttle},
    },
    snapshot::Snapshot,
    store::NewEvent,
    sync::watcher::{Memory, Now, Observation, Standing, Watcher},
    telemetry::Signal,
    time::Timestamp,
};
use serde_json::{Value, json, value::to_raw_value};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn at(minutes: u64) -> Timestamp {
    Timestamp::parse("2025-12-15T09:00:00Z").unwrap().after(minutes as u32 * MINUTE)
}

fn both(minutes: u64) -> Now {
    at(minutes).into()
}

fn feed(name: &str, kind: Kind) -> Rule {
    Rule::new(name.into(), kind.into(), vec!["desk".into()])
}

fn still_live(lasting: Duration) -> Rule {
    let kinds =
        [Kind::Started, Kind::Ended, Kind::Analyzed, Kind::Updated, Kind::Deleted].into_iter().collect();
    let when = Some(Condition::compile(r#"call.status == "live""#).unwrap());
    Rule { when, lasting: Some(lasting), ..Rule::new("still-live".into(), kinds, vec!["desk".into()]) }
}

fn nobody_calls() -> Rule {
    Rule { silence: Some(Silence { lasting: HOUR, hours: None }), ..feed("nobody-calls", Kind::SourceSilent) }
}

fn watcher(rules: &[Rule]) -> Watcher {
    Watcher::new("clinic".into(), RuleSet::of(rules), Memory::default())
}

/// A call that is live since `created`.
fn live(id: &str, created: Timestamp) -> Call {
    let times = created.to_string();
    call(&json!({ "id": id, "status": "live", "createdAt": times, "updatedAt": times }))
}

fn call(record: &Value) -> Call {
    Call::parse(&to_raw_value(record).unwrap()).unwrap()
}

fn names(made: &Observation) -> Vec<&str> {
    made.events.iter().map(|new| new.event.rule.as_str()).collect()
}

fn details(event: &Event) -> Value {
    serde_json::from_str(event.record.get()).unwrap()
}

fn snapshot(made: &Observation) -> Snapshot {
    made.snapshot.clone().expect("remembered").1
}

/// The same watcher after a restart.
fn restarted(mut watcher: Watcher, settled: Timestamp) -> Watcher {
    let rules = Rules::clone(watcher.rules());
    let memory = serde_json::from_value(serde_json::to_value(watcher.save()).unwrap()).unwrap();
    let mut watcher = Watcher::new("clinic".into(), rules, memory);
    watcher.resume(settled);
    watcher
}

#[test]
fn silence_counts_from_the_end_of_the_baseline_and_needs_an_answer() {
    let mut watcher = watcher(&[nobody_calls()]);
    let _ = watcher.observe(None, &live("old", at(0)), at(500));
    let _ = watcher.answered(at(500));
    assert!(watcher.tick(both(500)).is_empty(), "the baseline goes on");
    watcher.baseline_done(at(501));
    assert_eq!(watcher.due(), Some(at(561)));
    let _ = watcher.answered(at(560));
    assert!(watcher.tick(both(561)).is_empty(), "nobody has confirmed it");
    let _ = watcher.answered(at(561));
    let made = watcher.tick(both(561));
    assert_eq!(names(&made), ["nobody-calls"]);
    assert_eq!(details(&made.events[0].event)["since"], at(501).to_string());
    let _ = watcher.answered(at(900));
    assert!(watcher.tick(both(900)).is_empty(), "it was told");
    assert_eq!(watcher.due(), None);
    let _ = watcher.observe(None, &live("new", at(900)), at(901));
    assert_eq!(watcher.due(), Some(at(960)));
}

#[test]
fn after_a_restart_silence_waits_until_the_list_has_been_looked_at() {
    let mut first = watcher(&[nobody_calls()]);
    first.baseline_done(at(0));
    assert_eq!(first.due(), Some(at(60)), "a first run has been away from nothing");
    let mut second = restarted(first, at(105));
    assert_eq!(second.due(), Some(at(105)));
    let _ = second.answered(at(104));
    assert!(second.tick(both(104)).is_empty());
    // A call that came meanwhile is found in time.
    let _ = second.observe(None, &live("meanwhile", at(90)), at(104));
    let _ = second.answered(at(105));
    assert!(second.tick(both(105)).is_empty());
    assert_eq!(second.due(), Some(at(150)));
}

#[test]
fn a_call_that_lasts_is_told_over_a_restart_once_it_was_seen_in_time() {
    let mut first = watcher(&[still_live(HOUR)]);
    first.baseline_done(at(0));
    let made = first.observe(None, &live("a", at(0)), at(1));
    assert!(names(&made).is_empty() && first.is_unsaved(), "what is waited for stands in the checkpoint");
    let before = snapshot(&made);
    let mut second = restarted(first, at(5));
    assert_eq!(second.due(), Some(at(60)));
    assert!(second.is_waiting() && second.take_due().is_empty());
    second.saw(&"a".into(), at(59));
    assert!(second.take_due().is_empty(), "it was not seen since its time came");
    second.saw(&"a".into(), at(60));
    assert_eq!(second.take_due(), ["a".into()]);
    let made = second.observe_again(&"a".into(), &before, at(60));
    assert_eq!(names(&made), ["still-live"]);
    assert_eq!((made.events[0].deliveries[0].sequence, second.is_waiting()), (1, false));
    let made = second.observe_again(&"a".into(), &snapshot(&made), at(200));
    assert!(made.is_empty(), "once for each stretch");
}

#[test]
fn a_condition_that_went_on_is_not_told_again_because_its_rule_may_repeat_now() {
    let rule = still_live(HOUR);
    let mut watcher = watcher(std::slice::from_ref(&rule));
    watcher.baseline_done(at(0));
    let before = snapshot(&watcher.observe(None, &live("a", at(0)), at(0)));
    let told = snapshot(&watcher.observe_again(&"a".into(), &before, at(60)));
    let mut record = json!({ "id": "a", "status": "live", "summary": 1 });
    let seen = watcher.observe(Some(&told), &call(&record), at(61));
    assert!(names(&seen).is_empty());
    watcher.set_rules(RuleSet::of(&[Rule { repeat: true, ..rule }]), []);
    record["summary"] = 2.into();
    let seen = watcher.observe(Some(&snapshot(&seen)), &call(&record), at(500));
    assert!(names(&seen).is_empty() && !watcher.is_waiting(), "it is the same stretch");
    // Only after it has ended does another one count.
    record["status"] = "completed".into();
    record["updatedAt"] = at(500).to_string().into();
    let over = watcher.observe(Some(&snapshot(&seen)), &call(&record), at(501));
    record["status"] = "live".into();
    let undone = watcher.observe(Some(&snapshot(&over)), &call(&record), at(501));
    assert_eq!(undone.stale, Some(Stale::Undone), "nothing says that it is later");
    record["updatedAt"] = at(502).to_string().into();
    let again = watcher.observe(Some(&snapshot(&over)), &call(&record), at(502));
    assert_eq!((names(&again).len(), watcher.due()), (0, Some(at(562))));
    assert_eq!(names(&watcher.observe_again(&"a".into(), &snapshot(&again), at(562))), ["still-live"]);
}

#[test]
fn rules_that_are_swapped_take_over_what_others_waited_for() {
    let mut watcher = watcher(&[]);
    watcher.baseline_done(at(0));
    let before = snapshot(&watcher.observe(None, &live("a", at(0)), at(0)));
    assert_eq!(watcher.due(), None);
    // A rule that is new waits from now on for calls that are there.
    watcher.set_rules(RuleSet::of(&[still_live(HOUR)]), ["a".into()]);
    watcher.saw(&"a".into(), at(10));
    assert_eq!(watcher.take_due(), ["a".into()]);
    let made = watcher.observe_again(&"a".into(), &before, at(10));
    assert!(names(&made).is_empty());
    assert_eq!(watcher.due(), Some(at(70)));
    let before = snapshot(&made);
    // One that has to last longer is not forgotten when the shorter time is over, and one that is shorter fires sooner.
    for (lasting, due) in [(3 * HOUR, at(190)), (2 * HOUR, at(130))] {
        watcher.set_rules(RuleSet::of(&[still_live(lasting)]), ["a".into()]);
        watcher.saw(&"a".into(), at(70));
        assert_eq!(watcher.take_due(), ["a".into()]);
        assert!(watcher.observe_again(&"a".into(), &before, at(70)).is_empty());
        assert_eq!(watcher.due(), Some(due));
    }
    // Without the rule nobody waits.
    watcher.set_rules(RuleSet::of(&[]), []);
    watcher.saw_all(at(130));
    assert_eq!(watcher.take_due(), ["a".into()]);
    assert!(watcher.observe_again(&"a".into(), &before, at(130)).is_empty());
    assert!(!watcher.is_waiting());
}

#[test]
fn a_source_that_fails_for_long_enough_is_told_once_and_so_is_its_recovery() {
    let rules = [feed("down", Kind::SourceFailing), feed("up", Kind::SourceRecovered)];
    let mut watcher = watcher(&rules);
    let failure = |text: &str| FetchError::Network(text.to_owned());
    let fail = |watcher: &mut Watcher, text, now: Now| match watcher.failed(&failure(text), 5 * MINUTE, now) {
        Signal::FetchFailed { failures, refused: false, .. } => failures,
        other => panic!("{other:?}"),
    };
    assert_eq!(fail(&mut watcher, "first", both(0)), 1);
    // The clock for people leaps; the wait goes by the steady one.
    let leapt = |minutes| Now { wall: at(1000), ..both(minutes) };
    assert_eq!(fail(&mut watcher, "second", leapt(1)), 2);
    assert_eq!(watcher.failing_at(), Some(at(5)));
    assert!(watcher.tick(leapt(4)).is_empty());
    let down = watcher.tick(leapt(5));
    assert_eq!(names(&down), ["down"]);
    assert!(
        matches!(&down.signals[..], [Signal::SourceFailing { lasting, .. }, ..] if *lasting == 5 * MINUTE),
        "{:?}",
        down.signals
    );
    let told = details(&down.events[0].event);
    assert_eq!(told["since"], at(0).to_string());
    assert!(told["error"].as_str().unwrap().contains("second"), "{told}");
    assert!(watcher.is_unsaved() && watcher.failing_at().is_none());

    // It is not told again after a restart, and neither is it forgotten.
    let mut watcher = restarted(watcher, at(0));
    fail(&mut watcher, "third", both(1010));
    assert!(watcher.tick(both(2000)).is_empty());
    let up = watcher.answered(at(2001));
    assert_eq!(names(&up), ["up"]);
    assert_eq!(details(&up.events[0].event), json!({ "since": at(0).to_string() }));
    assert!(matches!(up.signals[0], Signal::SourceRecovered { failures: 1, .. }), "{:?}", up.signals);
    assert_eq!(
        up.events[0].deliveries[0].sequence, 2,
        "what is told of a source is counted, restarts or not"
    );
    assert!(watcher.answered(at(2002)).is_empty());
}

#[test]
fn a_baseline_announces_only_what_is_recent_enough_and_counts_it() {
    let mut watcher = watcher(&[feed("starts", Kind::Started)]);
    watcher.begin(at(60), 10 * MINUTE);
    watcher.begin(at(600), Duration::ZERO);
    let fired = |made: Observation| made.events.len();
    assert_eq!(fired(watcher.observe(None, &live("old", at(50)), at(60))), 0);
    assert_eq!(fired(watcher.observe(None, &live("recent", at(51)), at(60))), 1);
    let mut watcher = {
        let memory = serde_json::from_value(serde_json::to_value(watcher.save()).unwrap()).unwrap();
        Watcher::new("clinic".into(), Arc::clone(watcher.rules()), memory)
    };
    assert_eq!(fired(watcher.observe(None, &live("recent, too", at(52)), at(61))), 1);
    assert_eq!(watcher.baseline_done(at(62)), 2, "an interrupted baseline goes on counting");
    assert_eq!(fired(watcher.observe(None, &live("late", at(1)), at(63))), 1);
}

/// A feed that its destinations are told of together with others.
fn joined(name: &str, to: &[&str], severity: Severity) -> Rule {
    let to: Vec<_> = to.iter().map(|to| (*to).into()).collect();
    let text = Arc::new(RuleText { severity, ..RuleText::default() });
    Rule { merging: to.clone(), text, ..Rule::new(name.into(), Kind::Started.into(), to) }
}

/// An event in short: its rules, and the destination and sequence of each delivery.
fn told(made: &Observation) -> Vec<(String, Vec<(&str, u64)>)> {
    let told = made.events.iter().filter(|new| !new.deliveries.is_empty()).map(|new| {
        let rules: Vec<_> = new.event.rules().map(|rule| rule.as_str()).collect();
        let to = new.deliveries.iter().map(|it| (it.destination.as_str(), it.sequence)).collect();
        (rules.join("+"), to)
    });
    told.collect()
}

#[test]
fn rules_that_fire_together_are_one_event_for_those_who_want_one_message() {
    let rules = [
        Rule { merging: vec!["desk".into()], ..joined("a", &["crm", "desk"], Severity::Info) },
        joined("b", &["desk", "mail"], Severity::Warning),
        joined("c", &["mail", "desk"], Severity::Warning),
        joined("alone", &["other"], Severity::Critical),
    ];
    let mut watcher = watcher(&rules);
    watcher.baseline_done(at(0));
    let made = watcher.observe(None, &live("x", at(0)), at(1));
    assert_eq!(names(&made)[..4], ["a", "b", "c", "alone"], "each rule has an event of its own");
    assert_eq!(made.fired().count(), 4);
    let expected = [
        ("a", vec![("crm", 1)]),
        ("alone", vec![("other", 1)]),
        // The most severe rule comes first, of several the first in the config.
        ("b+a+c", vec![("desk", 1)]),
        ("b+c", vec![("mail", 1)]),
    ];
    assert_eq!(told(&made), expected.map(|(rules, to)| (rules.to_owned(), to)));
    let fired = |signal: &&Signal| matches!(signal, Signal::Fired { .. });
    assert_eq!(made.signals.iter().filter(fired).count(), 4, "each rule is counted");

    // The same look again, as after a crash, makes the same ids.
    let mut again = self::watcher(&rules);
    again.baseline_done(at(7));
    let again = again.observe(None, &live("x", at(0)), at(8));
    let ids = |made: &Observation| made.events.iter().map(|new| new.event.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&made), ids(&again));

    // Other rules of the same destination give the event another id, whatever their order.
    let mut swapped = rules.clone();
    swapped.swap(1, 2);
    let mut swapped = self::watcher(&swapped);
    swapped.baseline_done(at(0));
    let swapped = swapped.observe(None, &live("x", at(0)), at(1));
    let of_desk = |made: &Observation| {
        let to_desk = |new: &&NewEvent| new.deliveries.iter().any(|it| it.destination.as_str() == "desk");
        made.events.iter().find(to_desk).unwrap().event.clone()
    };
    assert_eq!(of_desk(&swapped).id, of_desk(&made).id);
    assert_eq!(of_desk(&swapped).rule.as_str(), "c");
}

#[test]
fn what_waits_because_of_a_rules_pacing_stays_by_itself_and_quiet_hours_join_their_own() {
    let quiet = |rule: Rule| Rule { sorted: vec!["desk".into()], ..rule };
    let throttle = Some(Throttle { at_most: 1, per: HOUR, by: vec![] });
    let rules = [
        quiet(Rule {
            pacing: Pacing { throttle, ..Pacing::default() },
            ..joined("throttled", &["desk"], Severity::Info)
        }),
        quiet(joined("a", &["desk"], Severity::Info)),
        joined("critical", &["desk"], Severity::Critical),
        quiet(joined("b", &["desk"], Severity::Info)),
        joined("critical-too", &["desk"], Severity::Critical),
    ];
    let mut watcher = watcher(&rules);
    watcher.baseline_done(at(0));
    let made = watcher.observe(None, &live("x", at(0)), at(1));
    let (throttled, critical, quiet) = ("throttled", "critical+critical-too", "a+b");
    assert_eq!(
        told(&made),
        [(throttled, 1), (quiet, 2), (critical, 3)].map(|(rules, n)| (rules.to_owned(), vec![("desk", n)]))
    );
    let holds: Vec<_> =
        made.events.iter().flat_map(|new| &new.deliveries).map(|it| it.hold.clone()).collect();
    assert!(matches!(&holds[0], Some(hold) if hold.batch.to_string().starts_with("throttle/")));
    assert!(matches!(&holds[1], Some(hold) if hold.batch == BatchKey::Quiet), "{holds:?}");
    assert_eq!(holds[2], None);
}

#[test]
fn what_happens_to_a_source_is_one_message_of_several_rules_too() {
    let of_source =
        |name: &str| Rule { on: Kind::SourceFailing.into(), ..joined(name, &["desk"], Severity::Info) };
    let mut watcher = watcher(&[of_source("down"), of_source("away")]);
    let made = watcher.source_event(Kind::SourceFailing, at(0), &json!({ "error": "500" }), at(5));
    assert_eq!(told(&made), [("down+away".to_owned(), vec![("desk", 1)])]);
}

/// The observations of a watcher that sees these records of one call, one a minute.
fn told_of(records: &[Value]) -> Vec<String> {
    let mut watcher = watcher(&[Rule::new(
        "all".into(),
        [Kind::Started, Kind::Ended, Kind::Analyzed, Kind::Updated].into_iter().collect(),
        vec!["desk".into()],
    )]);
    watcher.baseline_done(at(0));
    let (mut before, mut told) = (None, vec![]);
    for (minute, record) in (1..).zip(records) {
        let made = watcher.observe(before.as_ref(), &call(record), at(minute));
        told.extend(made.events.iter().map(|new| new.event.kinds.to_string()));
        before = made.snapshot.map(|(_, snapshot)| snapshot).or(before);
    }
    told
}

fn with(changes: Value) -> Value {
    let mut record = json!({ "id": "a", "status": "live", "createdAt": at(0).to_string() });
    record.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    record
}

#[test]
fn answers_that_alternate_are_told_once() {
    let over = |changes: Value| {
        let mut record = with(changes);
        record["status"] = "completed".into();
        record
    };
    let ahead = at(3 * 24 * 60).to_string();
    for (one, other, expected) in [
        (with(json!({})), over(json!({})), &["started", "ended"][..]),
        (with(json!({ "updatedAt": at(1).to_string() })), over(json!({})), &["started", "ended"]),
        (
            with(json!({ "updatedAt": at(1).to_string() })),
            over(json!({ "updatedAt": at(1).to_string() })),
            &["started", "ended"],
        ),
        (
            over(json!({ "updatedAt": at(1).to_string() })),
            over(json!({ "updatedAt": at(1).to_string(), "callAnalysis": { "a": 1 } })),
            &["ended", "analyzed"],
        ),
        (
            with(json!({ "updatedAt": ahead })),
            over(json!({ "updatedAt": at(1).to_string() })),
            &["started", "ended"],
        ),
        (
            with(json!({ "updatedAt": at(1).to_string() })),
            over(json!({ "updatedAt": ahead })),
            &["started", "ended"],
        ),
        (over(json!({ "summary": "a" })), over(json!({ "summary": "b" })), &["ended", "updated"]),
        (
            over(json!({ "updatedAt": "2025-12-15T09:01:00Z" })),
            over(json!({ "updatedAt": "2025-12-15T10:01:00.000000+01:00" })),
            &["ended"],
        ),
        (
            over(json!({ "updatedAt": 1_765_789_260 })),
            over(json!({ "updatedAt": "2025-12-15 09:01" })),
            &["ended"],
        ),
    ] {
        let records: Vec<_> = std::iter::repeat_n([one.clone(), other.clone()], 5).flatten().collect();
        assert_eq!(told_of(&records), expected, "{one} {other}");
    }
}

#[test]
fn a_call_that_is_reopened_ends_again() {
    let record =
        |status: &str, minute| with(json!({ "status": status, "updatedAt": at(minute).to_string() }));
    let records = [record("live", 1), record("completed", 2), record("live", 3), record("completed", 4)];
    let told = told_of(&records);
    assert_eq!(told, ["started", "ended", "updated", "ended"]);
}

#[test]
fn a_time_from_the_future_does_not_hold_up_what_follows() {
    let ahead = with(json!({ "updatedAt": at(6 * 60).to_string() }));
    let over = with(json!({ "status": "completed", "updatedAt": at(2).to_string() }));
    assert_eq!(told_of(&[ahead, over]), ["started", "ended"]);
}

#[test]
fn status_words_are_the_same_in_any_case() {
    let records = ["LIVE", "Live", "COMPLETED"].map(|status| with(json!({ "status": status })));
    assert_eq!(told_of(&records), ["started", "ended"]);
    let mut watcher = watcher(&[still_live(HOUR)]);
    watcher.baseline_done(at(0));
    let before = snapshot(&watcher.observe(None, &call(&with(json!({ "status": "Live" }))), at(0)));
    assert_eq!(names(&watcher.observe_again(&"a".into(), &before, at(60))), ["still-live"]);
}

#[test]
fn silence_is_not_told_while_the_list_is_doubted_and_an_outage_is_a_failing_of_its_own() {
    let rules = [nobody_calls(), feed("down", Kind::SourceFailing), feed("up", Kind::SourceRecovered)];
    let mut watcher = watcher(&rules);
    watcher.baseline_done(at(0));
    let _ = watcher.troubled(Standing::Missing, "8 of 8 calls are missing".to_owned(), 5 * MINUTE, both(1));
    assert_eq!(watcher.failing_at(), Some(at(6)));
    let _ = watcher.answered(at(10));
    assert_eq!(names(&watcher.tick(both(10))), ["down"]);
    let _ = watcher.answered(at(61));
    assert!(watcher.tick(both(61)).is_empty(), "calls may be there that the list does not show");

    let _ = watcher.failed(&FetchError::Network("gone".to_owned()), 5 * MINUTE, both(70));
    let down = watcher.tick(both(75));
    assert_eq!(names(&down), ["down"]);
    assert!(details(&down.events[0].event)["error"].as_str().unwrap().contains("gone"));
    let mut watcher = restarted(watcher, at(75));
    let _ = watcher.troubled(Standing::Missing, "8 of 8 calls are missing".to_owned(), 5 * MINUTE, both(75));
    let up = watcher.answered(at(80));
    assert_eq!(details(&up.events[0].event)["since"], at(70).to_string());
    assert!(watcher.tick(both(80)).is_empty(), "the doubt goes on and was told");
    let _ = watcher.relieved(Standing::Missing);
    let up = watcher.answered(at(81));
    assert_eq!(details(&up.events[0].event)["since"], at(1).to_string());
    assert_eq!(names(&watcher.tick(both(81))), ["nobody-calls"]);
}

#[test]
fn calls_that_a_baseline_missed_are_no_news_and_late_ones_are() {
    let kinds = [Kind::Started, Kind::Ended].into_iter().collect();
    let rules = [Rule::new("all".into(), kinds, vec!["desk".into()])];
    let over = |minute: u64, updated: u64| {
        let record = json!({ "id": format!("c{minute}-{updated}"), "status": "completed",
            "createdAt": at(minute).to_string(), "updatedAt": at(updated).to_string() });
        call(&record)
    };
    // How many of these calls are told after a baseline at 600 that found so many.
    let told = |found: u64, calls: &[Call]| {
        let mut watcher = watcher(&rules);
        watcher.begin(at(600), Duration::ZERO);
        for minute in 0..found {
            assert!(watcher.observe(None, &over(minute, minute), at(600)).events.is_empty());
        }
        watcher.baseline_done(at(601));
        let mut watcher = restarted(watcher, at(601));
        let silent = watcher.meet(calls);
        let told: usize = calls.iter().map(|call| watcher.observe(None, call, at(602)).events.len()).sum();
        assert_eq!(silent + told, calls.len());
        told
    };
    let old: Vec<_> = (100..110).map(|minute| over(minute, minute + 1)).collect();
    assert_eq!(told(0, &old), 0);
    assert_eq!(told(0, &old[..1]), 0, "the baseline found nothing, so it was there before");
    assert_eq!(told(5, &old), 0);
    assert_eq!(told(5, &old[..3]), 3, "a few are late");
    let late: Vec<_> =
        (590..599).map(|minute| over(minute, 601)).chain([over(600, 600), over(602, 602)]).collect();
    assert_eq!((told(0, &late), told(5, &late)), (late.len(), late.len()), "they ended after watching began");
}

#[test]
fn the_memory_is_saved_when_it_has_changed_and_not_otherwise() {
    let mut watcher = watcher(&[nobody_calls()]);
    watcher.begin(at(0), Duration::ZERO);
    watcher.baseline_done(at(1));
    watcher.save();
    let first = live("a", at(5));
    assert_eq!((watcher.meet([&first]), watcher.is_unsaved()), (0, false), "it was not there before");
    let _ = watcher.observe(None, &first, at(6));
    assert!(watcher.is_unsaved(), "silence counts from it on");
    watcher.save();
    let _ = watcher.observe(None, &live("b", at(4)), at(7));
    assert!(!watcher.is_unsaved(), "another was later");
}

#[test]
fn silence_is_due_after_the_baseline_by_the_rules_of_the_source_alone() {
    let mut watcher = watcher(&[nobody_calls()]);
    watcher.heard(at(0));
    assert_eq!(watcher.due(), None);
    watcher.resume(at(0));
    assert_eq!(watcher.due(), Some(at(60)));
    let elsewhere = Rule { sources: Some(["other".into()].into()), ..nobody_calls() };
    watcher.set_rules(RuleSet::of(&[elsewhere]), []);
    assert_eq!(watcher.due(), None);
}

#[test]
fn a_rule_whose_condition_fails_for_every_call_is_told_of() {
    let odd = Condition::compile("call.a / call.b > 1").unwrap();
    let odd = Rule { when: Some(odd), ..feed("odd", Kind::Started) };
    let mut watcher = watcher(&[odd, feed("alarm", Kind::RuleFailing)]);
    watcher.resume(at(0));
    let look = |watcher: &mut Watcher, id: &str, b: u64| {
        let record = json!({ "id": id, "status": "live", "a": 1, "b": b });
        watcher.observe(None, &call(&record), at(1))
    };
    // What the rule does not look at says nothing of it.
    let over = json!({ "id": "over", "status": "completed", "a": 1, "b": 0 });
    for id in ["a", "b"] {
        assert!(names(&look(&mut watcher, id, 0)).is_empty());
        assert!(names(&watcher.observe(None, &call(&over), at(1))).is_empty());
    }
    let told = look(&mut watcher, "c", 0);
    assert_eq!(names(&told), ["alarm"]);
    let told = details(&told.events[0].event);
    assert_eq!((&told["rule"], &told["error"]), (&json!("odd"), &json!("a division by zero")));
    watcher.save();
    assert!(names(&look(&mut watcher, "d", 0)).is_empty() && !watcher.is_unsaved(), "it was told");
    let _ = look(&mut watcher, "e", 1);
    assert!(watcher.is_unsaved(), "it works again, and is told of when it fails again");
}

#[test]
fn a_forgotten_call_is_followed_without_a_word() {
    let mut watcher = watcher(&[feed("all", Kind::Ended), feed("gone", Kind::Deleted)]);
    watcher.resume(at(0));
    let mut before = snapshot(&watcher.observe(None, &live("a", at(0)), at(0)));
    before.forget();
    let over =
        call(&json!({ "id": "a", "status": "completed", "summary": "bad", "updatedAt": at(1).to_string() }));
    let made = watcher.observe(Some(&before), &over, at(1));
    assert!(made.events.is_empty() && made.signals.is_empty() && !made.changed, "{made:?}");
    let after = snapshot(&made);
    assert!(after.is_forgotten() && !after.fields.contains_key("summary"));
    assert_eq!(after.record, over.record_hash(), "the same bytes are not read again");
    let made = watcher.observe_deletion(&"a".into(), &after, at(2));
    assert!(made.events.is_empty() && made.signals.is_empty(), "{made:?}");
    assert!(snapshot(&made).deleted && snapshot(&made).is_forgotten());
}

#[test]
fn a_rule_that_does_not_repeat_tells_one_stretch_of_a_call() {
    let mut watcher = watcher(&[still_live(HOUR)]);
    watcher.resume(at(0));
    let mut seen = snapshot(&watcher.observe(None, &live("a", at(0)), at(0)));
    let made = watcher.observe_again(&"a".into(), &seen, at(60));
    assert_eq!(names(&made), ["still-live"]);
    seen = snapshot(&made);
    for (minute, status) in [(61, "completed"), (62, "live")] {
        let record = json!({ "id": "a", "status": status, "updatedAt": at(minute).to_string() });
        seen = snapshot(&watcher.observe(Some(&seen), &call(&record), at(minute)));
    }
    assert_eq!(watcher.due(), None, "nothing is waited for");
    assert!(names(&watcher.observe_again(&"a".into(), &seen, at(200))).is_empty());
}

#[test]
fn how_long_a_condition_lasts_is_measured_by_the_clock_of_waits() {
    let mut watcher = watcher(&[still_live(HOUR)]);
    watcher.resume(at(0));
    // The API's clock is ten minutes behind.
    let made = watcher.observe(None, &live("a", at(85)), Now { api: at(90), ..both(100) });
    assert_eq!(watcher.due(), Some(at(95 + 60)), "by then it had been live for five minutes");
    let again = Now { api: at(145), ..both(155) };
    assert_eq!(names(&watcher.observe_again(&"a".into(), &snapshot(&made), again)), ["still-live"]);
}

#[test]
fn fields_that_differ_are_named_down_to_the_fifth_level() {
    let mut watcher = watcher(&[]);
    watcher.resume(at(0));
    let record = |deep: u64| {
        let inner = json!({ "d": { "e": { "f": { "g": deep } } }, "same": 1 });
        call(&json!({ "id": "a", "status": "live", "a": { "b": { "c": inner } } }))
    };
    let before = snapshot(&watcher.observe(None, &record(1), at(0)));
    let made = watcher.observe(Some(&before), &record(2), at(1));
    assert_eq!(made.differing, ["a.b.c.d.e"]);
}
