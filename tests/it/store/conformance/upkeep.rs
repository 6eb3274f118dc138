//! Purge and close.

use std::collections::BTreeMap;

use callwatch::store::Action;

use super::*;

for_every_store!(
    purge_forgets_in_steps_what_is_old_and_finished,
    purge_keeps_what_is_young_or_unfinished,
    purge_keeps_an_event_with_a_delivery_left,
    purge_forgets_memos_not_written_since,
    a_purged_delivery_is_gone_for_good,
    after_close_everything_says_so,
);

async fn purge_forgets_in_steps_what_is_old_and_finished(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    for number in 0..10 {
        store.commit(calls(&[&format!("evt_{number}")], 10)).await;
    }
    for number in 0..8 {
        let verdict = if number == 2 { dead() } else { Verdict::Delivered };
        store.attempt(&format!("evt_{number}"), 50 + number, verdict).await;
    }
    let tokens = store.tokens(&["evt_8", "evt_9"]).await;
    let holds = vec![(tokens[0], batch("quiet"))];
    let merge = Some(Merge { tokens: vec![tokens[0]], event: summary("sum_1", "quiet"), sequence: 1 });
    store.settle(Settlement { holds, merge, ..settlement(60) }).await;
    store.attempt("sum_1", 70, Verdict::Delivered).await;
    store.act(Action::Drop { tokens: vec![tokens[1]] }).await.unwrap();
    assert_eq!(store.purge_all(50, 100).await, 0);
    assert_eq!(store.purge_all(1_000, 4).await, 10);
    assert!(store.all().await.is_empty());
    assert_eq!(store.destinations().await.unwrap(), BTreeMap::new());
    let store = store.restart(backend).await;
    assert!(store.all().await.is_empty() && store.feed().await.is_empty());
}

async fn purge_keeps_what_is_young_or_unfinished(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let all = ["evt_1", "evt_2", "evt_3", "evt_4", "evt_5"];
    store.commit(calls(&all, 10)).await;
    store.commit(held(calls(&["evt_6"], 10), "quiet", 5)).await;
    store.attempt("evt_1", 99, Verdict::Delivered).await;
    store.attempt("evt_2", 100, Verdict::Delivered).await;
    store.attempt("evt_3", 101, dead()).await;
    store.attempt("evt_4", 20, Verdict::Retry(at(90))).await;
    // Whether `evt_1` goes is the store's choice, for unfinished ones stand beside it.
    store.purge_all(100, 100).await;
    let left = store.all().await;
    let left: Vec<_> = ids(&left).into_iter().filter(|id| *id != "evt_1").collect();
    assert_eq!(left, ["evt_6", "evt_5", "evt_4", "evt_3", "evt_2"]);
    assert_eq!(store.feed().await, ["evt_4", "evt_5", "evt_6"]);
    // Once all are finished and old, all go.
    let held = store.tokens(&["evt_6"]).await;
    store.settle(Settlement { releases: held, ..settlement(110) }).await;
    for event in ["evt_4", "evt_5", "evt_6"] {
        store.attempt(event, 120, Verdict::Delivered).await;
    }
    store.purge_all(1_000, 100).await;
    assert!(store.all().await.is_empty());
}

async fn purge_keeps_an_event_with_a_delivery_left(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store
        .commit(new_event(event("evt_1", "a"), vec![delivery("crm", 1, 10), delivery("frontdesk", 1, 10)]))
        .await;
    store.attempt("evt_1", 20, Verdict::Delivered).await;
    store.purge_all(1_000, 10).await;
    let unfinished = store.unfinished("frontdesk").await;
    let body = store.bodies(&[unfinished[0].token]).await.unwrap().remove(0);
    assert_eq!(body.unwrap().id, event_id("evt_1"));
}

async fn purge_forgets_memos_not_written_since(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    for (millis, lanes) in [(99, ["a", "b"]), (100, ["b", "c"])] {
        let memos = lanes.map(|lane| (call(lane), Some(json!(millis)))).to_vec();
        store.settle(Settlement { memos, ..settlement(millis) }).await;
    }
    store.purge_all(100, 10).await;
    let lanes = ["a", "b", "c"].map(call);
    let left = [None, Some(json!(100)), Some(json!(100))];
    assert_eq!(store.memos(&crm(), &lanes).await.unwrap(), left);
}

async fn a_purged_delivery_is_gone_for_good(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1"], 10)).await;
    let token = store.token("evt_1").await;
    store.attempt("evt_1", 20, dead()).await;
    store.purge_all(1_000, 10).await;
    assert_eq!(store.act(Action::Retry { tokens: vec![token], at: at(60) }).await.unwrap(), 0);
    assert_eq!(store.act(Action::Drop { tokens: vec![token] }).await.unwrap(), 0);
    assert!(store.bodies(&[token]).await.unwrap()[0].is_none());
    store.commit(calls(&["evt_2"], 10)).await;
    assert!(store.token("evt_2").await > token, "its number is not given again");
}

async fn after_close_everything_says_so(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1"], 10)).await;
    let token = store.token("evt_1").await;
    let claims = [
        store.own(source("clinic")).await,
        store.own(destination("crm")).await,
        store.own(Duty::Upkeep).await,
    ];
    let [clinic_claim, crm_claim, upkeep] = &claims;
    store.close().await.unwrap();
    let answers = [
        store.claim(&Duty::Upkeep).await.err(),
        store.give_up(upkeep.clone()).await.err(),
        store.store.commit(clinic_claim, Commit::default()).await.err(),
        store.snapshots(&clinic(), &["a".into()]).await.err(),
        store.known(&clinic(), None, 1).await.err(),
        store.checkpoint(&source("clinic")).await.err(),
        store.pending(crm_claim, Position::START, 1).await.err(),
        store.bodies(&[token]).await.err(),
        store.memos(&crm(), &[call("a")]).await.err(),
        store.ledgers(&crm()).await.err(),
        store.store.settle(crm_claim, settlement(10)).await.err(),
        store.destinations().await.err(),
        store.query(&Query { limit: 1, ..Query::default() }).await.err(),
        store.act(Action::Resume { destination: crm() }).await.err(),
        store.purge(upkeep, at(0), 1).await.err(),
        store.shrink(upkeep, &clinic(), at(0)).await.err(),
        store.close().await.err(),
    ];
    for (number, answer) in answers.iter().enumerate() {
        assert!(matches!(answer, Some(StoreError::Closed)), "{number}: {answer:?}");
    }
}
