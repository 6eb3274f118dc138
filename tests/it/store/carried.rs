//! A store that is carried into another one says the same there, and so it does on the way back.

use std::collections::BTreeSet;

use callwatch::store::{Action, CarryError, PauseChange, carry};

use super::{
    backend::{Backend, Memory, Postgres, Sled},
    *,
};

/// Deliveries in every state, with attempts, second chances, batches and memos.
async fn fill(store: &Process) {
    let mut commit = calls(&["evt_1", "evt_2", "evt_3", "evt_4", "evt_5", "evt_6", "evt_7"], 10);
    commit.events.extend(held(calls(&["evt_8", "evt_9", "evt_a", "evt_b"], 20), "quiet", 5).events);
    let both = vec![delivery("crm", 3, 30), delivery("mail", 1, 30)];
    commit.events.extend(new_event(event("evt_c", "c"), both).events);
    for id in ["a", "b", "c"] {
        commit.snapshots.push((id.into(), snapshot(id, "hello")));
    }
    commit.checkpoint = Some(json!({ "offset": 7 }));
    store.commit(commit).await;
    store.attempt("evt_1", 50, Verdict::Delivered).await;
    store.attempt("evt_2", 50, Verdict::Retry(at(500))).await;
    store.attempt("evt_3", 50, dead()).await;
    store.attempt("evt_4", 50, dead()).await;
    store.attempt("evt_5", 50, Verdict::Retry(at(90))).await;
    for number in 0..25 {
        store.attempt("evt_6", 100 + number, Verdict::Retry(at(200 + number))).await;
    }
    let tokens = store.tokens(&["evt_4", "evt_5", "evt_7", "evt_8", "evt_9", "evt_a"]).await;
    store.act(Action::Retry { tokens: tokens[..2].to_vec(), at: at(600) }).await.unwrap();
    store.attempt("evt_5", 610, Verdict::Retry(at(700))).await;
    let merge = Merge { tokens: vec![tokens[5]], event: summary("sum_1", "quiet"), sequence: 1 };
    store
        .settle(Settlement {
            holds: vec![(tokens[2], batch("digest/0 8 * * * UTC")), (tokens[3], batch("quiet/alone"))],
            releases: vec![tokens[4]],
            merge: Some(merge),
            ledgers: vec![(batch("quiet"), Some(json!({ "since": 5 })))],
            memos: vec![(call("evt_2"), Some(json!("1718"))), (Subject::Destination(crm()), Some(json!(3)))],
            pause: Some(PauseChange::Begin(Pause::by_hand(at(5)))),
            ..settlement(800)
        })
        .await;
    let claim = store.own(destination("crm")).await;
    store
        .store
        .commit(&claim, Commit { checkpoint: Some(json!("told")), ..Commit::default() })
        .await
        .unwrap();
}

fn duties() -> BTreeSet<Duty> {
    BTreeSet::from([source("clinic"), destination("crm"), Duty::Upkeep])
}

/// What a person and the owners of the destinations see of what is not through.
async fn seen(store: &Process) -> String {
    let mut seen = vec![];
    for of in ["crm", "mail"] {
        for pending in store.unfinished(of).await {
            let Pending { token: _, event, subject, rule, sequence, created, attempts, restart, standing } =
                pending;
            seen.push(format!(
                "{event} {subject:?} {rule} {sequence} {created} {attempts} {restart:?} {standing:?}"
            ));
        }
    }
    for record in store.all().await.into_iter().filter(|record| record.state.kind().as_str() == "dead") {
        seen.push(format!("{:?} {:?}", record.id, record.state));
    }
    seen.join("\n")
}

async fn there_and_back(other: &dyn Backend) {
    let (first, last) = (Sled::new(), Sled::new());
    let from = Process::of(&first).await;
    fill(&from).await;
    let before = (from.dump().await, seen(&from).await);

    let there = Process::of(other).await;
    let carried =
        carry(&*from.store, &*there.store, &duties()).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((carried.calls, carried.deliveries, carried.notes), (3, 12, 6));
    assert_eq!(from.dump().await, before.0, "it is as it was");
    assert_eq!(seen(&there).await, before.1);
    let again = carry(&*from.store, &*there.store, &duties()).await;
    assert!(matches!(again, Err(CarryError::NotEmpty(_))), "{again:?}");

    let there = there.restart(other).await;
    let back = Process::of(&last).await;
    assert_eq!(carry(&*there.store, &*back.store, &duties()).await.unwrap(), carried);
    assert_eq!(seen(&back).await, before.1);
}

#[tokio::test]
async fn a_store_in_memory_and_back() {
    there_and_back(&Memory::new()).await;
}

#[tokio::test]
async fn a_database_and_back() {
    let database = Postgres::new();
    if database.is_there().await {
        there_and_back(&database).await;
    }
}
