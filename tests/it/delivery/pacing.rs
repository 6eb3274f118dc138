//! Deliveries that are held back: with which others they are told, and when, whatever the process goes through meanwhile.

use std::{collections::BTreeMap, sync::Arc};

use callwatch::{
    calendar::{Hours, Schedule, Zone},
    call::Call,
    event::Severity,
    kind::Kind,
    rule::{
        Rule, RuleText, Rules,
        pacing::{Count, Group, Pacing, Throttle, placement},
    },
    snapshot::Snapshot,
    store::{Commit, DeliveryState, Duty, Hold, Store},
    summary::Summary,
    time::Timestamp,
};
use serde_json::{json, value::to_raw_value};

use super::{
    mortal::{Death, Mortal},
    stage::{Receiver, Reply, Stage, commit, config, event_id, is_delivered, secs},
};

fn rule(name: &str, severity: Severity, pacing: Pacing) -> Rule {
    let text = Arc::new(RuleText { severity, ..RuleText::default() });
    let sorted = vec!["team".into()];
    Rule { pacing, text, sorted, ..Rule::new(name.into(), Kind::Ended.into(), vec!["team".into()]) }
}

fn rules(rules: impl IntoIterator<Item = Rule>) -> Rules {
    Arc::new(rules.into_iter().collect())
}

fn group() -> Pacing {
    let group = Group { by: vec![], wait: secs(30), interval: secs(300) };
    Pacing { group: Some(group), ..Pacing::default() }
}

fn nights() -> Option<Hours> {
    Some(Hours::parse(["22:00-07:00"], Zone::UTC).unwrap())
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

/// One event of `rule`, held where the rule places it.
fn held(rules: &Rules, rule: &str, call: &str, now: Timestamp) -> Commit {
    let mut commit = commit("team", &[(call, 1)], now);
    commit.events[0].event.rule = rule.into();
    let placement =
        placement(rules.get(rule).unwrap(), &"team".into(), &"clinic".into(), &Default::default());
    commit.events[0].deliveries[0].hold =
        placement.map(|placement| Hold { batch: placement.batch, happened: now });
    commit
}

impl Stage {
    async fn fire(&self, rule: &str, call: &str) {
        self.store.add(held(&self.rules, rule, call, self.clock.wall())).await;
    }

    /// Lets paused time pass until then.
    async fn until(&self, time: &str) {
        tokio::time::sleep(at(time).since(self.clock.steady())).await;
    }
}

/// The ids of the first events of these calls.
fn of(calls: &[&str]) -> Vec<String> {
    calls.iter().map(|call| event_id(call, 1).to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_group_is_told_as_one_and_what_it_held_says_so() {
    let mut stage = Stage::new();
    stage.rules = rules([rule("unhappy", Severity::Info, group())]);
    let receiver = stage.receiver(|_| Reply::Ok);
    let running = stage.serve(config("team"), &receiver);
    let begun = stage.clock.steady();
    for call in ["a", "b", "c"] {
        stage.fire("unhappy", call).await;
        tokio::time::sleep(secs(5)).await;
    }
    stage.finished(1).await;
    let tries = receiver.tries();
    assert_eq!(tries.len(), 1);
    assert_eq!((tries[0].at, &tries[0].told), (begun.after(secs(30)), &of(&["c", "b", "a"])), "newest first");
    assert_eq!(tries[0].severity, Some(Severity::Info));
    for call in ["a", "b", "c"] {
        let record = stage.record("team", call, 1).await;
        let into = DeliveryState::Merged { at: begun.after(secs(30)), into: tries[0].event.clone() };
        assert_eq!(record.state, into, "{record:?}");
    }
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_held_and_how_much_was_told_survive_a_restart() {
    let throttle = Throttle { at_most: 1, per: secs(600), by: vec![] };
    let throttled = Pacing { throttle: Some(throttle), ..Pacing::default() };
    let counted = Count { at_least: 3, within: secs(3600), by: vec![] };
    let counted = Pacing { count: Some(counted), ..Pacing::default() };
    let mut stage = Stage::new();
    stage.rules = rules([
        rule("unhappy", Severity::Info, group()),
        rule("feed", Severity::Info, throttled),
        rule("three", Severity::Info, counted),
    ]);
    let receiver = stage.receiver(|_| Reply::Ok);
    let begun = stage.clock.steady();
    // Every event comes in a life of its own, cut off at once, sometimes before it was sorted.
    for (n, (rule, call)) in [
        ("unhappy", "a"),
        ("feed", "b"),
        ("three", "c"),
        ("unhappy", "d"),
        ("feed", "e"),
        ("three", "f"),
        ("feed", "g"),
    ]
    .into_iter()
    .enumerate()
    {
        let running = stage.serve(config("team"), &receiver);
        stage.fire(rule, call).await;
        if n % 2 == 0 {
            tokio::time::sleep(secs(1)).await;
        }
        running.cut_off().await;
    }
    let running = stage.serve(config("team"), &receiver);
    tokio::time::sleep(secs(3000)).await;
    stage.fire("three", "h").await;
    tokio::time::sleep(secs(3000)).await;
    let told: Vec<_> =
        receiver.tries().into_iter().map(|it| (it.at.since(begun).as_secs(), it.told)).collect();
    let expected =
        [(1, of(&["b"])), (30, of(&["d", "a"])), (601, of(&["g", "e"])), (3004, of(&["h", "f", "c"]))];
    assert_eq!(told, expected);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn quiet_hours_hold_everything_but_what_is_critical_and_end_with_one_message() {
    let mut stage = Stage::new();
    stage.rules = rules([
        rule("feed", Severity::Warning, Pacing::default()),
        rule("unhappy", Severity::Info, group()),
        rule("fire", Severity::Critical, Pacing::default()),
    ]);
    // The receiver is down in the evening, so that one message is still on its way when the quiet hours begin.
    let receiver = stage.receiver(|it| match it.at < at("2025-12-15T22:05:00Z") {
        true => Reply::Fail,
        false => Reply::Ok,
    });
    let mut quiet = config("team");
    quiet.quiet = nights();
    quiet.retry = vec![secs(60); 1000];
    let running = stage.serve(quiet, &receiver);
    stage.until("2025-12-15T21:59:30Z").await;
    stage.fire("feed", "late").await;
    stage.until("2025-12-15T23:00:00Z").await;
    stage.fire("feed", "a").await;
    stage.fire("unhappy", "b").await;
    let mut critical = commit("team", &[("late", 2)], stage.clock.wall());
    critical.events[0].event.rule = "fire".into();
    stage.store.add(critical).await;
    stage.until("2025-12-16T03:00:00Z").await;
    let at_night: Vec<_> =
        receiver.tries().into_iter().filter(|it| it.at >= at("2025-12-15T22:05:00Z")).collect();
    assert_eq!(at_night.len(), 1, "{at_night:?}");
    assert_eq!(
        at_night[0].at,
        at("2025-12-15T23:00:00Z"),
        "what is critical does not wait, not even for its call"
    );
    stage.until("2025-12-16T12:00:00Z").await;
    let morning: Vec<_> =
        receiver.tries().into_iter().filter(|it| it.at >= at("2025-12-16T03:00:00Z")).collect();
    assert!(morning.iter().all(|it| it.at == at("2025-12-16T07:00:00Z")), "{morning:?}");
    let mut told: Vec<_> = morning.iter().map(|it| it.told.clone()).collect();
    told.iter_mut().for_each(|told| told.sort());
    told.sort();
    // A delivery that was tried may have arrived, so it must not be told under another id.
    assert_eq!(told, [of(&["a", "b"]), of(&["late"])]);
    let pending = stage
        .records("team")
        .await
        .into_iter()
        .filter(|record| !is_delivered(record) && !matches!(record.state, DeliveryState::Merged { .. }));
    assert_eq!(pending.count(), 0);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_summary_that_fails_is_tried_again_as_it_is() {
    let mut stage = Stage::new();
    stage.rules = rules([rule("unhappy", Severity::Info, group())]);
    let receiver = stage.receiver(|it| if it.number < 3 { Reply::Fail } else { Reply::Ok });
    let running = stage.serve(config("team"), &receiver);
    stage.fire("unhappy", "a").await;
    stage.fire("unhappy", "b").await;
    stage.attempted(1).await;
    // One that comes meanwhile is not added to what is on its way.
    stage.fire("unhappy", "c").await;
    stage.finished(2).await;
    let tries = receiver.tries();
    let first: Vec<_> = tries.iter().filter(|it| it.event == tries[0].event).collect();
    assert_eq!(first.len(), 3);
    assert!(first.iter().all(|it| it.told == of(&["b", "a"]) || it.told == of(&["a", "b"])), "{first:?}");
    assert_eq!(tries.last().unwrap().told, of(&["c"]));
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_digest_shows_each_call_as_it_is_by_then_and_counts_everything() {
    let digest = Some(Schedule::parse("0 8 * * MON-FRI", Zone::UTC).unwrap());
    let mut stage = Stage::new();
    stage.rules = rules([rule("booked", Severity::Info, Pacing { digest, ..Pacing::default() })]);
    let receiver = stage.receiver(|_| Reply::Ok);
    let running = stage.serve(config("team"), &receiver);
    for n in 0..70 {
        let mut commit = held(&stage.rules, "booked", &format!("call{n:02}"), stage.clock.wall());
        let sentiment = if n < 20 { "negative" } else { "positive" };
        let record = json!({
            "id": format!("call{n:02}"), "summary": "old", "callAnalysis": { "sentiment": sentiment },
            "transcript": [{ "role": "user", "content": "secret words" }],
        });
        commit.events[0].event.record = to_raw_value(&record).unwrap().into();
        stage.store.add(commit).await;
        tokio::time::sleep(secs(60)).await;
    }
    let call = Call::parse(
        &to_raw_value(&json!({ "id": "call69", "status": "completed", "summary": "new" })).unwrap(),
    )
    .unwrap();
    let mut changed = Commit::default();
    changed
        .snapshots
        .push((call.id().clone(), Snapshot::first(&call, Kind::Updated.into(), stage.clock.wall())));
    stage.store.add(changed).await;
    stage.finished(1).await;
    assert_eq!(receiver.tries()[0].at, at("2025-12-16T08:00:00Z"));
    let records = stage.records("team").await;
    let told = records.iter().find(|record| record.subject.batch().is_some()).unwrap();
    assert_eq!(told.rule.as_str(), "booked");
    let summary: Summary = serde_json::from_str(&receiver.tries()[0].record).unwrap();
    assert_eq!(
        (summary.count, summary.items.len(), summary.rules[&callwatch::name::Name::from("booked")]),
        (70, 50, 70)
    );
    assert_eq!((summary.sentiments["negative"], summary.sentiments["positive"]), (20, 50));
    assert!(summary.items[0].record.get().contains("new"), "{}", summary.items[0].record);
    assert!(summary.items[1].record.get().contains("old"));
    assert!(!receiver.tries()[0].record.contains("secret words"));
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_somebody_drops_from_a_batch_is_not_told() {
    let mut stage = Stage::new();
    stage.rules = rules([rule("unhappy", Severity::Info, group())]);
    let receiver = stage.receiver(|_| Reply::Ok);
    let running = stage.serve(config("team"), &receiver);
    for call in ["a", "b"] {
        stage.fire("unhappy", call).await;
        tokio::time::sleep(secs(1)).await;
        stage.discard(stage.record("team", call, 1).await.token).await;
    }
    tokio::time::sleep(secs(3600)).await;
    assert_eq!(receiver.tries().len(), 0);
    stage.fire("unhappy", "c").await;
    stage.finished(1).await;
    assert_eq!(receiver.tries()[0].told, of(&["c"]));
    running.stop().await.unwrap();
}

/// The events that come in: seconds after the beginning, rule, call.
const COMING: [(u64, &str, &str); 11] = [
    (1, "feed", "a"),
    (2, "unhappy", "b"),
    (3, "feed", "c"),
    (4, "three", "d"),
    (10, "unhappy", "e"),
    (40, "unhappy", "f"),
    (50, "three", "g"),
    (60, "daily", "h"),
    (4000, "three", "i"),
    (4010, "three", "j"),
    (4020, "three", "k"),
];

/// Serves the destination until the store dies or everything is over; what came is in `stage`'s receiver.
async fn live(stage: &Stage, store: &Arc<Mortal>, receiver: &Arc<Receiver>, come: &mut usize) {
    let running = stage.serve_from(Arc::clone(store) as Arc<dyn Store>, config("team"), receiver);
    let begun = at("2025-12-15T14:30:00Z");
    while let Some((second, rule, call)) = COMING.get(*come) {
        tokio::time::sleep(begun.after(secs(*second)).since(stage.clock.steady())).await;
        let commit = held(&stage.rules, rule, call, begun.after(secs(*second)));
        let committed = async {
            let claim = store.claim(&Duty::Source("clinic".into())).await?;
            store.commit(&claim.unwrap(), commit).await
        };
        if committed.await.is_err() {
            break;
        }
        *come += 1;
    }
    let end = at("2025-12-17T12:00:00Z");
    while !store.is_dead() && stage.clock.steady() < end {
        tokio::time::sleep(secs(60)).await;
    }
    // It fails when the store dies under it, and does not learn of a death at a commit.
    let ended = running.stop().await;
    assert!(ended.is_ok() || store.is_dead(), "{ended:?}");
    store.bury().await;
}

#[tokio::test(start_paused = true)]
async fn at_whichever_write_the_process_ends_everything_held_is_told_once() {
    let throttle = Throttle { at_most: 1, per: secs(600), by: vec![] };
    let counted = Count { at_least: 3, within: secs(3600), by: vec![] };
    let digest = Schedule::parse("0 8 * * *", Zone::UTC).unwrap();
    let all = [
        rule("unhappy", Severity::Info, group()),
        rule("feed", Severity::Info, Pacing { throttle: Some(throttle), ..Pacing::default() }),
        rule("three", Severity::Info, Pacing { count: Some(counted), ..Pacing::default() }),
        rule("daily", Severity::Info, Pacing { digest: Some(digest), ..Pacing::default() }),
    ];
    let mut deaths = 0;
    for death in (0..).flat_map(|n| [Death::Before(n), Death::After(n)]) {
        let mut stage = Stage::new();
        stage.rules = rules(all.clone());
        let receiver = stage.receiver(|_| Reply::Ok);
        let folder = tempfile::tempdir().unwrap();
        let mut come = 0;
        let store = Arc::new(Mortal::open(folder.path(), Some(death)).await);
        live(&stage, &store, &receiver, &mut come).await;
        let died = store.is_dead();
        if died {
            deaths += 1;
            let again = Arc::new(Mortal::open(folder.path(), None).await);
            live(&stage, &again, &receiver, &mut come).await;
        }
        let mut messages: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for it in receiver.tries() {
            let told = messages.entry(it.event).or_insert_with(|| it.told.clone());
            assert_eq!(*told, it.told, "{death:?}: a repeat tells the same");
        }
        let mut told: Vec<_> = messages.into_values().flatten().collect();
        told.sort();
        // The first two of a count of three were alone in their hour.
        assert_eq!(told, of(&["a", "b", "c", "e", "f", "h", "i", "j", "k"]), "{death:?}");
        if !died && matches!(death, Death::After(_)) {
            break;
        }
    }
    assert!(deaths > 40, "{deaths}");
}
