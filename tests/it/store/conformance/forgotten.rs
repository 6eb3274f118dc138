//! Calls that a person had forgotten.

use callwatch::{
    store::Action,
    summary::{Reason, Summarizer, Summary},
};

use super::*;

for_every_store!(
    a_forgotten_call_leaves_its_id_and_what_keeps_it_quiet,
    what_was_prepared_before_brings_nothing_back,
    an_event_that_tells_others_goes_on_without_the_call,
    nothing_is_forgotten_by_naming_nobody,
);

async fn forget(store: &Process, calls: &[&str], events: &[&str], others: Vec<Event>) -> usize {
    let calls = calls.iter().map(|call| (clinic(), CallId::from(*call))).collect();
    let tokens = store.tokens(events).await;
    store.act(Action::Forget { calls, tokens, events: others }).await.unwrap()
}

async fn known(store: &Process, call: &str) -> Snapshot {
    store.snapshots(&clinic(), &[call.into()]).await.unwrap().remove(0).unwrap()
}

async fn memo(store: &Process, about: &str) -> Option<Value> {
    store.memos(&crm(), &[call(about)]).await.unwrap().remove(0)
}

/// Two calls, each with what is told of it.
async fn two_calls(store: &Process) {
    for (call, events) in [("a", ["evt_1", "evt_2"]), ("b", ["evt_3", "evt_4"])] {
        let mut commit = self::events(&events.map(|id| (id, call, 1)), 10);
        commit.snapshots.push((call.into(), snapshot(call, "They asked for a room.")));
        store.commit(commit).await;
        store.attempt(events[0], 20, Verdict::Delivered).await;
        let memos = vec![(self::call(call), Some(json!({ "ts": call })))];
        store.settle(Settlement { memos, ..settlement(20) }).await;
    }
}

async fn a_forgotten_call_leaves_its_id_and_what_keeps_it_quiet(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    two_calls(&store).await;
    let before = known(&store, "a").await;
    let tokens = store.tokens(&["evt_1", "evt_2"]).await;
    // In whichever state.
    assert_eq!(forget(&store, &["a"], &["evt_1", "evt_2"], vec![]).await, 2);
    let mut store = store;
    for _ in 0..2 {
        let a = known(&store, "a").await;
        assert!(a.is_forgotten());
        assert_eq!(a.fields.keys().collect::<Vec<_>>(), ["id", "status", "createdAt"]);
        assert_eq!((a.record, a.completed_seen), (before.record, before.completed_seen));
        assert!(known(&store, "b").await == snapshot("b", "They asked for a room."));
        assert_eq!(store.bodies(&tokens).await.unwrap().into_iter().flatten().count(), 0);
        let left: Vec<_> = store.all().await.into_iter().map(|record| record.id.event).collect();
        assert_eq!(left, [event_id("evt_4"), event_id("evt_3")]);
        assert_eq!(store.feed().await, ["evt_4"]);
        assert_eq!((memo(&store, "a").await, memo(&store, "b").await), (None, Some(json!({ "ts": "b" }))));
        let [b] = &store.bodies(&[store.token("evt_3").await]).await.unwrap()[..] else { panic!() };
        assert_eq!(b.as_ref().unwrap().record.get(), event("evt_3", "b").record.get());
        store = store.restart(backend).await;
    }
}

async fn what_was_prepared_before_brings_nothing_back(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    two_calls(&store).await;
    assert_eq!(forget(&store, &["a"], &["evt_1", "evt_2"], vec![]).await, 2);
    let mut commit = events(&[("evt_5", "a", 2), ("evt_6", "b", 2)], 30);
    commit.snapshots.push(("a".into(), snapshot("a", "They asked for two rooms.")));
    commit.checkpoint = Some(json!(7));
    store.commit(commit).await;
    let memos = vec![(call("a"), Some(json!({ "ts": "a" }))), (call("b"), Some(json!({ "ts": "c" })))];
    store.settle(Settlement { memos, ..settlement(40) }).await;
    assert!(known(&store, "a").await.is_forgotten());
    assert_eq!(store.checkpoint(&source("clinic")).await.unwrap(), Some(json!(7)));
    assert_eq!(store.feed().await, ["evt_4", "evt_6"]);
    assert_eq!((memo(&store, "a").await, memo(&store, "b").await), (None, Some(json!({ "ts": "c" }))));
    // What is remembered of a forgotten call is taken as it is.
    let mut changed = known(&store, "a").await;
    changed.fields["status"] = "live".into();
    store.commit(remembers("a", changed)).await;
    assert_eq!(known(&store, "a").await.status().as_str(), "live");
}

/// An event that stands for those of these calls.
fn telling(calls: &[&str]) -> Event {
    let mut summarizer = Summarizer::new(Reason::Quiet);
    calls.iter().for_each(|call| summarizer.add(&event(&format!("evt_of_{call}"), call)));
    summarizer.event(&crm(), batch("quiet"), at(50)).unwrap()
}

fn without_a(event: &Event) -> Option<(Event, Summary)> {
    callwatch::summary::without(event, |subject| *subject == call("a"))
}

async fn calls_told_by(store: &Process, event: &Event) -> Vec<String> {
    let token = store.token(event.id.as_str()).await;
    let body = store.bodies(&[token]).await.unwrap().remove(0).unwrap();
    let summary = Summary::of(&body).unwrap().unwrap();
    assert_eq!(summary.count, summary.items.len() as u64);
    assert_eq!(summary.calls, summary.items.len() as u64);
    summary.items.iter().map(|item| item.subject.call().unwrap().to_string()).collect()
}

async fn an_event_that_tells_others_goes_on_without_the_call(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(held(calls(&["a", "b", "c", "d"], 10), "quiet", 5)).await;
    let merge = async |calls: &[&str]| {
        let (tokens, event) = (store.tokens(calls).await, telling(calls));
        let merge = Merge { tokens, event: event.clone(), sequence: 1 };
        store.settle(Settlement { merge: Some(merge), ..settlement(60) }).await;
        event
    };
    let both = merge(&["a", "b"]).await;
    let mut told = calls_told_by(&store, &both).await;
    told.sort();
    assert_eq!(told, ["a", "b"]);
    let (left, _) = without_a(&both).unwrap();
    assert!(without_a(&left).is_none());
    forget(&store, &["a"], &["a"], vec![left]).await;
    assert_eq!(calls_told_by(&store, &both).await, ["b"]);
    // A message that was made before, and is written now.
    let merge = Merge { tokens: store.tokens(&["c"]).await, event: telling(&["a", "c"]), sequence: 2 };
    let late = merge.event.clone();
    store.settle(Settlement { merge: Some(merge), ..settlement(70) }).await;
    let store = store.restart(backend).await;
    assert_eq!(calls_told_by(&store, &both).await, ["b"]);
    assert_eq!(calls_told_by(&store, &late).await, ["c"]);
    let id = |event: &Event| event.id.as_str().to_owned();
    assert_eq!(store.feed().await, ["d".to_owned(), id(&both), id(&late)]);
}

async fn nothing_is_forgotten_by_naming_nobody(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    two_calls(&store).await;
    let before = store.dump().await;
    assert_eq!(forget(&store, &[], &[], vec![]).await, 0);
    assert_eq!(forget(&store, &["nobody"], &[], vec![telling(&["b"])]).await, 0);
    assert_eq!(store.dump().await, before);
}
