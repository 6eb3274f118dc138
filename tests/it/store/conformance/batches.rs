//! Deliveries that wait in batches, and what becomes of them.

use callwatch::store::{Action, Restart};

use super::*;

for_every_store!(
    a_held_delivery_waits_in_its_batch,
    a_delivery_moves_from_batch_to_batch_and_keeps_when_it_happened,
    a_due_delivery_can_be_held_even_while_it_is_tried,
    a_released_delivery_is_due_from_then_on,
    merged_deliveries_are_told_by_another_event,
    a_merge_is_made_once,
    a_merge_may_be_of_nothing,
    the_parts_of_a_settlement_are_carried_out_in_their_order,
    repeating_a_settlement_changes_nothing,
    forgotten_deliveries_are_gone_with_their_events,
    deliveries_in_the_wrong_state_are_skipped,
    by_hand_a_held_delivery_is_sent_and_a_merged_one_is_left_alone,
    a_batch_of_thousands_goes_out_as_one,
);

/// The standing of an unfinished delivery, as its owner learns it.
async fn standing(store: &Process, event: &str) -> Standing {
    let found = store.unfinished("crm").await.into_iter().find(|pending| pending.event == event_id(event));
    found.expect("it is unfinished").standing
}

fn waits(text: &str, happened: i64) -> Standing {
    Standing::Held(Hold { batch: batch(text), happened: at(happened) })
}

async fn hold(store: &Process, millis: i64, events: &[&str], in_batch: &str) {
    let holds = store.tokens(events).await.into_iter().map(|token| (token, batch(in_batch))).collect();
    store.settle(Settlement { holds, ..settlement(millis) }).await;
}

async fn release(store: &Process, millis: i64, events: &[&str]) {
    store.settle(Settlement { releases: store.tokens(events).await, ..settlement(millis) }).await;
}

/// Lets `sum_1` tell these deliveries.
async fn merge(store: &Process, millis: i64, events: &[&str]) {
    let merge = Merge { tokens: store.tokens(events).await, event: summary("sum_1", "quiet"), sequence: 1 };
    store.settle(Settlement { merge: Some(merge), ..settlement(millis) }).await;
}

async fn a_held_delivery_waits_in_its_batch(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let batches = [
        "quiet",
        "quiet/alone",
        "group/booked/00000000000000ff",
        "group/booked/00000000000000fe",
        "count/booked/00000000000000ff",
        "throttle/booked/00000000000000ff",
        "digest/0 8 * * * UTC",
        "digest/0 8 * * MON-FRI Europe/Berlin",
    ];
    for (number, key) in batches.iter().enumerate() {
        let id = format!("evt_{number}");
        let mut commit = held(calls(&[&id], 30), key, number as i64);
        let elsewhere = NewDelivery { destination: name("cr"), ..commit.events[0].deliveries[0].clone() };
        commit.events[0].deliveries.push(elsewhere);
        store.commit(commit).await;
    }
    let store = store.restart(backend).await;
    for of in ["crm", "cr"] {
        let unfinished = store.unfinished(of).await;
        assert_eq!(unfinished.len(), batches.len());
        for (number, (pending, key)) in unfinished.into_iter().zip(batches).enumerate() {
            assert_eq!((pending.standing, pending.created), (waits(key, number as i64), at(30)));
        }
    }
    assert_eq!(store.state("evt_3").await, waits_in(batches[3]));
    assert_eq!(store.record("evt_3").await.happened, at(3));
    assert_eq!(store.tally().await, Tally { held: 8, ..Tally::default() });
}

async fn a_delivery_moves_from_batch_to_batch_and_keeps_when_it_happened(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(held(calls(&["evt_1"], 30), "quiet", 5)).await;
    store.commit(calls(&["evt_2"], 30)).await;
    for key in ["quiet/alone", "digest/0 8 * * * UTC", "quiet"] {
        hold(&store, 40, &["evt_1", "evt_2"], key).await;
        assert_eq!(standing(&store, "evt_1").await, waits(key, 5));
        assert_eq!(
            standing(&store, "evt_2").await,
            waits(key, 30),
            "when it was made, if nothing else is known"
        );
        assert_eq!(store.tally().await, Tally { held: 2, ..Tally::default() });
    }
    release(&store, 50, &["evt_1"]).await;
    hold(&store, 60, &["evt_1"], "quiet").await;
    assert_eq!(standing(&store, "evt_1").await, waits("quiet", 5));
}

async fn a_due_delivery_can_be_held_even_while_it_is_tried(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1"], 10)).await;
    store.attempt("evt_1", 20, Verdict::Retry(at(30))).await;
    hold(&store, 40, &["evt_1"], "quiet").await;
    // The outcome of the attempt comes too late.
    store.attempt("evt_1", 50, Verdict::Delivered).await;
    assert_eq!(store.state("evt_1").await, waits_in("quiet"));
    release(&store, 60, &["evt_1"]).await;
    let record = store.record("evt_1").await;
    assert_eq!(
        (record.attempts, record.log.len(), record.restart),
        (1, 1, None),
        "its attempt is not forgotten"
    );
}

async fn a_released_delivery_is_due_from_then_on(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_2"], 10)).await;
    store.commit(held(calls(&["evt_1", "evt_3"], 10), "quiet", 5)).await;
    release(&store, 50, &["evt_1", "evt_3"]).await;
    assert_eq!(standing(&store, "evt_1").await, due_by(50, 50));
    assert_eq!(store.tally().await, Tally { pending: 3, ..Tally::default() });
    assert_eq!(store.feed().await, ["evt_2", "evt_1", "evt_3"], "in its place");
    // It is not released a second time, and one that was due is not moved.
    store.attempt("evt_1", 60, Verdict::Delivered).await;
    release(&store, 70, &["evt_1", "evt_2", "evt_3"]).await;
    assert_eq!(store.state("evt_1").await, Some(DeliveryState::Delivered { at: at(60) }));
    assert_eq!((store.state("evt_2").await, store.state("evt_3").await), (due(10), due(50)));
}

async fn merged_deliveries_are_told_by_another_event(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(held(calls(&["evt_1", "evt_2", "evt_3"], 10), "quiet", 5)).await;
    store.commit(calls(&["evt_4"], 10)).await;
    merge(&store, 30, &["evt_1", "evt_3", "evt_4"]).await;
    for event in ["evt_1", "evt_3"] {
        assert_eq!(store.state(event).await, merged(30, "sum_1"));
    }
    assert_eq!(store.state("evt_2").await, waits_in("quiet"), "only those that are named");
    assert_eq!(store.state("evt_4").await, due(10), "only those that are held");
    assert_eq!(store.tally().await, Tally { pending: 2, held: 1, merged: 2, ..Tally::default() });
    let record = store.record("sum_1").await;
    assert_eq!((&record.subject, record.sequence), (&Subject::Batch(batch("quiet")), 1));
    assert_eq!((record.created, record.happened, &record.state), (at(30), at(30), &due(30).unwrap()));
    let body = store.bodies(&[record.token]).await.unwrap().remove(0).unwrap();
    assert_eq!(body.record.get(), r#"{"count":2}"#);
    // They are finished, as delivered ones are.
    store.attempt("sum_1", 40, Verdict::Delivered).await;
    assert_eq!(store.record("evt_1").await.finished(), Some(at(30)));
}

async fn a_merge_is_made_once(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(held(calls(&["evt_1", "evt_2"], 10), "quiet", 5)).await;
    merge(&store, 30, &["evt_1"]).await;
    // More has come into the batch, and the merge is repeated with it, before and after the summary has gone out.
    merge(&store, 40, &["evt_1", "evt_2"]).await;
    assert_eq!(store.state("evt_2").await, waits_in("quiet"));
    store.attempt("sum_1", 50, Verdict::Delivered).await;
    merge(&store, 60, &["evt_2"]).await;
    assert_eq!(store.state("evt_2").await, waits_in("quiet"));
    assert_eq!(store.state("sum_1").await, Some(DeliveryState::Delivered { at: at(50) }));
}

async fn a_merge_may_be_of_nothing(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    merge(&store, 30, &[]).await;
    assert_eq!(store.state("sum_1").await, due(30));
}

async fn the_parts_of_a_settlement_are_carried_out_in_their_order(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1", "evt_2", "evt_3", "evt_4", "evt_5"], 10)).await;
    let tokens = store.tokens(&["evt_1", "evt_2", "evt_3", "evt_4", "evt_5"]).await;
    let retry = |token: &Token| outcome(*token, 1, 20, Verdict::Retry(at(500)));
    let settlement = Settlement {
        // All of them come back from an attempt and into the batch, and then go their ways.
        outcomes: tokens.iter().map(retry).collect(),
        holds: tokens.iter().map(|token| (*token, batch("quiet"))).collect(),
        releases: vec![tokens[0]],
        forgets: vec![tokens[0], tokens[1]],
        merge: Some(Merge { tokens: tokens[..4].to_vec(), event: summary("sum_1", "quiet"), sequence: 1 }),
        ..settlement(30)
    };
    store.settle(settlement).await;
    assert_eq!(store.state("evt_1").await, due(30));
    assert_eq!(store.state("evt_2").await, None);
    assert_eq!(store.state("evt_3").await, merged(30, "sum_1"));
    assert_eq!(store.state("evt_4").await, merged(30, "sum_1"));
    assert_eq!(store.state("evt_5").await, waits_in("quiet"));
    assert_eq!(store.record("evt_1").await.attempts, 1);
    assert_eq!(store.feed().await, ["evt_1", "evt_5", "sum_1"]);
}

async fn repeating_a_settlement_changes_nothing(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(held(calls(&["evt_1", "evt_2", "evt_3", "evt_4"], 10), "quiet", 5)).await;
    store.commit(calls(&["evt_5", "evt_6", "evt_7"], 10)).await;
    let tokens = store.tokens(&["evt_1", "evt_2", "evt_3", "evt_4", "evt_5", "evt_6", "evt_7"]).await;
    let settlement = Settlement {
        outcomes: vec![
            outcome(tokens[4], 1, 15, Verdict::Delivered),
            outcome(tokens[5], 1, 15, Verdict::Retry(at(500))),
        ],
        holds: vec![(tokens[0], batch("quiet/alone")), (tokens[6], batch("quiet"))],
        releases: vec![tokens[1]],
        forgets: vec![tokens[2]],
        merge: Some(Merge { tokens: vec![tokens[3]], event: summary("sum_1", "quiet"), sequence: 1 }),
        ledgers: vec![(batch("quiet"), Some(json!(7))), (batch("quiet/alone"), None)],
        memos: vec![(call("evt_5"), Some(json!(7)))],
        ..settlement(20)
    };
    store.settle(settlement.clone()).await;
    let (before, unfinished) = (store.dump().await, store.unfinished("crm").await);
    for _ in 0..2 {
        store.settle(settlement.clone()).await;
        assert_eq!(store.dump().await, before);
        assert_eq!(store.unfinished("crm").await, unfinished);
    }
    let store = store.restart(backend).await;
    store.settle(settlement).await;
    assert_eq!(store.dump().await, before);
}

async fn forgotten_deliveries_are_gone_with_their_events(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(held(calls(&["evt_1"], 10), "quiet", 5)).await;
    let both = new_event(event("evt_2", "b"), vec![delivery("crm", 1, 10), delivery("mail", 1, 10)]);
    store.commit(held(both, "quiet", 5)).await;
    store.commit(calls(&["evt_3"], 10)).await;
    let tokens = store.tokens(&["evt_1", "evt_2", "evt_3"]).await;
    store.settle(Settlement { forgets: tokens.clone(), ..settlement(20) }).await;
    let left: Vec<_> = store.all().await.into_iter().map(|record| record.id).collect();
    assert_eq!(left, [delivery_id("evt_3", "crm"), delivery_id("evt_2", "mail")], "not one that is due");
    let bodies = store.bodies(&tokens).await.unwrap();
    assert_eq!(bodies.iter().map(Option::is_some).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(store.feed().await, ["evt_3"]);
    let mail = store.unfinished("mail").await;
    assert!(store.bodies(&[mail[0].token]).await.unwrap()[0].is_some());
}

async fn deliveries_in_the_wrong_state_are_skipped(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(held(calls(&["evt_3", "evt_4"], 10), "quiet", 5)).await;
    store.commit(calls(&["evt_1", "evt_2", "evt_5"], 10)).await;
    store.attempt("evt_1", 20, Verdict::Delivered).await;
    store.attempt("evt_2", 20, dead()).await;
    merge(&store, 20, &["evt_3"]).await;
    let tokens = store.tokens(&["evt_1", "evt_2", "evt_3", "evt_4", "evt_5"]).await;
    store.act(Action::Drop { tokens: vec![tokens[4]] }).await.unwrap();
    let before = store.dump().await;
    let wrong = [tokens[0], tokens[1], tokens[2], tokens[4]];
    store
        .settle(Settlement {
            holds: wrong.map(|token| (token, batch("quiet"))).to_vec(),
            releases: wrong.to_vec(),
            forgets: wrong.to_vec(),
            ..settlement(30)
        })
        .await;
    assert_eq!(store.dump().await, before);
    // They keep nothing back that is right.
    store.settle(Settlement { releases: [&wrong[..], &[tokens[3]]].concat(), ..settlement(30) }).await;
    assert_eq!(store.state("evt_4").await, due(30));
}

async fn by_hand_a_held_delivery_is_sent_and_a_merged_one_is_left_alone(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(held(calls(&["evt_1", "evt_2"], 10), "quiet", 5)).await;
    merge(&store, 20, &["evt_2"]).await;
    let tokens = store.tokens(&["evt_1", "evt_2"]).await;
    assert_eq!(store.act(Action::Retry { tokens: tokens.clone(), at: at(40) }).await.unwrap(), 1);
    assert_eq!(store.state("evt_2").await, merged(20, "sum_1"));
    assert_eq!(store.tally().await, Tally { pending: 2, merged: 1, ..Tally::default() });
    let record = store.record("evt_1").await;
    assert_eq!((record.state, record.restart), (due(40).unwrap(), Some(Restart { at: at(40), attempts: 0 })));

    hold(&store, 50, &["evt_1"], "quiet").await;
    assert_eq!(store.act(Action::Drop { tokens }).await.unwrap(), 2);
    assert_eq!(store.tally().await, Tally { pending: 1, ..Tally::default() });
}

async fn a_batch_of_thousands_goes_out_as_one(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let ids: Vec<_> = (0..3_000).map(|number| format!("evt_{number:04}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    store.commit(calls(&ids, 10)).await;
    let tokens: Vec<_> = store.unfinished("crm").await.iter().map(|pending| pending.token).collect();
    let holds = tokens.iter().map(|token| (*token, batch("quiet"))).collect();
    let merge = Some(Merge { tokens, event: summary("sum_1", "quiet"), sequence: 1 });
    store.settle(Settlement { holds, merge, ..settlement(20) }).await;
    assert_eq!(store.tally().await, Tally { pending: 1, merged: 3_000, ..Tally::default() });
    assert_eq!(store.feed().await, ["sum_1"]);
    let store = store.restart(backend).await;
    assert_eq!(store.tally().await, Tally { pending: 1, merged: 3_000, ..Tally::default() });
    assert_eq!(store.feed().await, ["sum_1"]);
}
