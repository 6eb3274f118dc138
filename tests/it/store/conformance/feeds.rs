//! The feed: how the owner of a destination learns what is unfinished, and what changes by another hand.

use callwatch::store::{Action, PauseChange, Restart};

use super::*;

for_every_store!(
    the_feed_begins_with_all_that_is_unfinished,
    a_feed_is_read_in_pages_of_any_size,
    the_owner_does_not_hear_of_its_own_doings,
    new_deliveries_come_after_the_owner_has_read_to_the_end,
    deliveries_that_come_while_it_reads_are_neither_lost_nor_repeated,
    what_people_do_comes_through_the_feed,
    what_people_do_and_the_owner_finishes_is_over,
    a_summary_comes_through_the_feed,
    the_feed_tells_of_the_pause,
    destinations_do_not_see_each_other,
    only_a_destination_has_a_feed,
);

async fn the_feed_begins_with_all_that_is_unfinished(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    assert!(store.unfinished("crm").await.is_empty());
    store
        .commit(events(&[("evt_1", "a", 1), ("evt_2", "a", 2), ("evt_3", "b", 1), ("evt_4", "c", 1)], 10))
        .await;
    store.commit(held(calls(&["evt_5", "evt_6"], 20), "quiet", 5)).await;
    store.attempt("evt_1", 50, Verdict::Delivered).await;
    store.attempt("evt_2", 50, Verdict::Retry(at(500))).await;
    store.attempt("evt_3", 50, dead()).await;
    store.act(Action::Drop { tokens: store.tokens(&["evt_6"]).await }).await.unwrap();
    store.act(Action::Retry { tokens: store.tokens(&["evt_4"]).await, at: at(60) }).await.unwrap();

    let found = store.unfinished("crm").await;

    let expected = |event: &str, about: &str, sequence, created, attempts, restart, standing| Pending {
        token: found.iter().find(|pending| pending.event.as_str() == event).expect("it is unfinished").token,
        event: event_id(event),
        subject: call(about),
        rule: name("call-completed"),
        sequence,
        created: at(created),
        attempts,
        restart,
        standing,
    };
    let again = Some(Restart { at: at(60), attempts: 0 });
    let waits = Standing::Held(Hold { batch: batch("quiet"), happened: at(5) });
    let expected = [
        expected("evt_2", "a", 2, 10, 1, None, due_by(50, 500)),
        expected("evt_4", "c", 1, 10, 0, again, due_by(60, 60)),
        expected("evt_5", "evt_5", 1, 20, 0, None, waits),
    ];
    assert_eq!(found, expected);
}

async fn a_feed_is_read_in_pages_of_any_size(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let ids: Vec<_> = (0..50).map(|number| format!("evt_{number:02}")).collect();
    for chunk in ids.chunks(4) {
        store.commit(calls(&chunk.iter().map(String::as_str).collect::<Vec<_>>(), 10)).await;
    }
    for limit in [1, 3, 49, 50, 51, usize::MAX] {
        let mut reader = Reader::new(store.own(destination("crm")).await);
        assert_eq!(reader.read(&*store, limit).await, ids.len(), "each once, {limit} at a time");
        assert_eq!(reader.events(), ids);
        assert_eq!(reader.read(&*store, limit).await, 0, "nothing has changed");
    }
    let mut reader = Reader::new(store.own(destination("crm")).await);
    assert_eq!(reader.read_page(&*store, 0).await, 0);
    assert_eq!(reader.position, Position::START);
}

async fn the_owner_does_not_hear_of_its_own_doings(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1", "evt_2", "evt_3"], 10)).await;
    store.commit(held(calls(&["evt_4", "evt_5"], 10), "quiet", 5)).await;
    let mut reader = Reader::new(store.own(destination("crm")).await);
    reader.read(&*store, 10).await;
    let tokens = store.tokens(&["evt_1", "evt_2", "evt_3", "evt_4", "evt_5"]).await;
    let settlement = Settlement {
        outcomes: vec![
            outcome(tokens[0], 1, 20, Verdict::Delivered),
            outcome(tokens[1], 1, 20, Verdict::Retry(at(90))),
        ],
        holds: vec![(tokens[2], batch("quiet"))],
        releases: vec![tokens[3]],
        forgets: vec![tokens[4]],
        ledgers: vec![(batch("quiet"), Some(json!(1)))],
        memos: vec![(call("evt_1"), Some(json!(1)))],
        ..settlement(20)
    };
    store.settle(settlement).await;
    assert_eq!(reader.read(&*store, 10).await, 0);
}

async fn new_deliveries_come_after_the_owner_has_read_to_the_end(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let mut reader = Reader::new(store.own(destination("crm")).await);
    let mut expected = vec![];
    for number in 0..20 {
        let of: Vec<_> = (0..=number % 3).map(|part| format!("evt_{number:02}_{part}")).collect();
        store.commit(calls(&of.iter().map(String::as_str).collect::<Vec<_>>(), 10)).await;
        assert_eq!(reader.read(&*store, 2).await, of.len());
        expected.extend(of);
        assert_eq!(reader.events(), expected);
    }
}

async fn deliveries_that_come_while_it_reads_are_neither_lost_nor_repeated(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let ids: Vec<_> = (0..40).map(|number| format!("evt_{number:02}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    store.commit(calls(&ids[..10], 10)).await;
    let mut reader = Reader::new(store.own(destination("crm")).await);
    let mut read = 0;
    for id in &ids[10..] {
        read += reader.read_page(&*store, 1).await;
        store.commit(calls(&[id], 10)).await;
        store.attempt(id, 20, Verdict::Retry(at(90))).await;
    }
    read += reader.read(&*store, 4).await;
    assert_eq!((read, reader.events()), (ids.len(), ids));
    assert!(reader.slots.values().all(|slot| slot.attempts == u32::from(slot.event.as_str() >= "evt_10")));
}

async fn what_people_do_comes_through_the_feed(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1", "evt_2", "evt_3", "evt_4"], 10)).await;
    store.commit(held(calls(&["evt_5"], 10), "quiet", 5)).await;
    store.attempt("evt_1", 20, dead()).await;
    store.attempt("evt_2", 20, Verdict::Retry(at(900))).await;
    store.attempt("evt_3", 20, Verdict::Delivered).await;
    let mut reader = Reader::new(store.own(destination("crm")).await);
    reader.read(&*store, 10).await;
    assert_eq!(reader.events(), ["evt_2", "evt_4", "evt_5"]);

    let tokens = store.tokens(&["evt_1", "evt_2", "evt_3", "evt_4", "evt_5"]).await;
    store.act(Action::Retry { tokens: tokens.clone(), at: at(60) }).await.unwrap();
    reader.read(&*store, 3).await;
    let found: Vec<_> = reader
        .slots
        .values()
        .map(|slot| (slot.event.as_str(), slot.standing.clone(), slot.attempts, slot.restart))
        .collect();
    let again = |attempts| Some(Restart { at: at(60), attempts });
    let now = || due_by(60, 60);
    let expected = [
        ("evt_1", now(), 1, again(1)),
        ("evt_2", now(), 1, again(1)),
        ("evt_4", now(), 0, again(0)),
        ("evt_5", now(), 0, again(0)),
    ];
    assert_eq!(found, expected);
    assert!(found.is_sorted_by_key(|found| found.0), "they stay in their places");

    store.act(Action::Drop { tokens: tokens[..4].to_vec() }).await.unwrap();
    store.commit(calls(&["evt_6"], 10)).await;
    reader.read(&*store, 3).await;
    assert_eq!(reader.events(), ["evt_5", "evt_6"]);
    assert_eq!(store.feed().await, ["evt_5", "evt_6"], "an owner that begins now learns the same");
}

async fn what_people_do_and_the_owner_finishes_is_over(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1", "evt_2"], 10)).await;
    let mut reader = Reader::new(store.own(destination("crm")).await);
    reader.read(&*store, 10).await;
    // A person asks for another try while one is in flight, which then arrives; the owner reads of it only afterwards.
    let token = store.token("evt_1").await;
    store.act(Action::Retry { tokens: vec![token], at: at(60) }).await.unwrap();
    store.attempt("evt_1", 70, Verdict::Delivered).await;
    reader.slots.remove(&token);
    reader.read(&*store, 10).await;
    assert_eq!(reader.events(), ["evt_2"]);
}

async fn a_summary_comes_through_the_feed(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(held(calls(&["evt_1", "evt_2"], 10), "quiet", 5)).await;
    let mut reader = Reader::new(store.own(destination("crm")).await);
    reader.read(&*store, 10).await;
    let merge =
        Merge { tokens: store.tokens(&["evt_1"]).await, event: summary("sum_1", "quiet"), sequence: 3 };
    store.settle(Settlement { merge: Some(merge), ..settlement(30) }).await;
    let position = reader.position;
    assert_eq!(reader.read(&*store, 10).await, 1);
    let found = reader.slots.values().find(|slot| slot.event == event_id("sum_1")).unwrap();
    let expected = Pending {
        token: found.token,
        event: event_id("sum_1"),
        subject: Subject::Batch(batch("quiet")),
        rule: name("call-completed"),
        sequence: 3,
        created: at(30),
        attempts: 0,
        restart: None,
        standing: due_by(30, 30),
    };
    assert_eq!(*found, expected);
    assert!(reader.slots.last_key_value().unwrap().1 == &expected, "it goes after all that was there");
    // A page that was read can be read again, when it is not known whether it was.
    reader.position = position;
    assert_eq!(reader.read(&*store, 10).await, 1);
    assert_eq!(store.feed().await, ["evt_2", "sum_1"]);
}

async fn the_feed_tells_of_the_pause(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1"], 10)).await;
    let mut reader = Reader::new(store.own(destination("crm")).await);
    reader.read(&*store, 1).await;
    assert_eq!(reader.pause, None);
    let by_hand = Pause::by_hand(at(5));
    store.act(Action::Pause { destination: crm(), pause: by_hand.clone() }).await.unwrap();
    store.commit(calls(&["evt_2"], 10)).await;
    reader.read(&*store, 1).await;
    assert_eq!((reader.pause.clone(), reader.events()), (Some(by_hand.clone()), vec!["evt_1", "evt_2"]));
    store.act(Action::Resume { destination: crm() }).await.unwrap();
    reader.read(&*store, 1).await;
    assert_eq!(reader.pause, None);
    // The owner's own pause, too.
    let begins = Some(PauseChange::Begin(by_hand.clone()));
    store.settle(Settlement { pause: begins, ..settlement(20) }).await;
    reader.read_page(&*store, 0).await;
    assert_eq!(reader.pause, Some(by_hand));
}

async fn destinations_do_not_see_each_other(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let names = ["crm", "cr", "crm2", "mail"];
    let everywhere = names.map(|name| delivery(name, 1, 10)).to_vec();
    store.commit(new_event(event("evt_1", "a"), everywhere)).await;
    store.attempt("evt_1", 20, Verdict::Delivered).await;
    store.act(Action::Pause { destination: name("cr"), pause: Pause::by_hand(at(5)) }).await.unwrap();
    for name in names {
        let mut reader = Reader::new(store.own(destination(name)).await);
        reader.read(&*store, 10).await;
        assert_eq!(reader.slots.len(), usize::from(name != "crm"), "{name}");
        assert_eq!(reader.pause.is_some(), name == "cr", "{name}");
    }
}

async fn only_a_destination_has_a_feed(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    for duty in [source("crm"), Duty::Upkeep] {
        let claim = store.own(duty).await;
        let refused = store.pending(&claim, Position::START, 10).await;
        assert!(matches!(refused, Err(StoreError::Mistake(_))), "{refused:?}");
        let refused = store.store.settle(&claim, settlement(10)).await;
        assert!(matches!(refused, Err(StoreError::Mistake(_))), "{refused:?}");
    }
}
