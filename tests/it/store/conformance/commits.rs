//! Commits: what one observation brings, all of it or nothing.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use super::*;

for_every_store!(
    a_commit_is_remembered,
    repeating_a_commit_changes_nothing,
    a_repeated_commit_adds_only_what_is_missing,
    tokens_count_up_in_the_order_of_the_commits,
    a_later_commit_may_add_a_delivery_to_an_event,
    bodies_come_in_the_order_asked_for,
    a_large_event_comes_back_byte_for_byte,
    a_large_commit_is_whole,
    checkpoints_stay_until_replaced,
    every_duty_has_a_checkpoint_and_may_commit_events,
    snapshots_of_another_duty_than_a_source_are_a_mistake,
    a_commit_wakes_the_owners_of_its_destinations,
    a_restart_forgets_nothing,
    a_dropped_call_leaves_the_store_whole,
);

async fn a_commit_is_remembered(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let mut commit = events(&[("evt_1", "a", 1)], 10);
    commit.snapshots.push((CallId::from("a"), snapshot("a", "hello")));
    commit.checkpoint = Some(json!({ "offset": 7 }));
    store.commit(commit).await;

    let found = store.snapshots(&clinic(), &["a".into(), "b".into()]).await.unwrap();
    assert_eq!(found, [Some(snapshot("a", "hello")), None]);
    assert_eq!(store.checkpoint(&source("clinic")).await.unwrap(), Some(json!({ "offset": 7 })));
    let record = store.record("evt_1").await;
    let expected = DeliveryRecord {
        token: record.token,
        id: delivery_id("evt_1", "crm"),
        subject: call("a"),
        rule: name("call-completed"),
        also: vec![],
        sequence: 1,
        created: at(10),
        happened: at(10),
        state: DeliveryState::Pending { due: Deadline::at_once(at(10)) },
        attempts: 0,
        log: vec![],
        restart: None,
    };
    assert_eq!(record, expected);
    let expected = Pending {
        token: record.token,
        event: event_id("evt_1"),
        subject: call("a"),
        rule: name("call-completed"),
        sequence: 1,
        created: at(10),
        attempts: 0,
        restart: None,
        standing: due_by(10, 10),
    };
    assert_eq!(store.unfinished("crm").await, [expected]);
    let body = store.bodies(&[record.token]).await.unwrap().remove(0).unwrap();
    assert_eq!(body.record.get(), r#"{"id":"a","status":"completed"}"#);
    assert_eq!((&body.id, body.kinds), (&event_id("evt_1"), Kind::Ended.into()));
}

async fn repeating_a_commit_changes_nothing(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let mut commit = calls(&["evt_1", "evt_2", "evt_3", "evt_4"], 10);
    commit.events.extend(held(calls(&["evt_5", "evt_6", "evt_7"], 10), "quiet", 5).events);
    commit.snapshots.push((CallId::from("a"), snapshot("a", "hello")));
    store.commit(commit.clone()).await;
    store.attempt("evt_1", 50, Verdict::Delivered).await;
    store.attempt("evt_2", 50, Verdict::Retry(at(500))).await;
    store.attempt("evt_3", 50, dead()).await;
    let tokens = store.tokens(&["evt_5", "evt_6"]).await;
    let merge = Merge { tokens: vec![tokens[0]], event: summary("sum_1", "quiet"), sequence: 1 };
    store.settle(Settlement { merge: Some(merge), releases: vec![tokens[1]], ..settlement(60) }).await;
    let before = store.dump().await;
    let arrivals = store.arrivals(&crm());
    arrivals.notify_one();
    arrivals.notified().await;

    store.commit(commit).await;

    assert_eq!(store.dump().await, before);
    assert!(!is_woken(&store, "crm").await, "nothing is new");
}

async fn a_repeated_commit_adds_only_what_is_missing(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1"], 10)).await;
    let first = store.record("evt_1").await;
    let mut commit =
        new_event(event("evt_1", "evt_1"), vec![delivery("crm", 9, 90), delivery("mail", 1, 90)]);
    commit.events.extend(calls(&["evt_2"], 90).events);
    store.commit(commit).await;
    assert_eq!(store.record("evt_1").await, first, "it is left as it is");
    assert_eq!(ids(&store.all().await), ["evt_2", "evt_1", "evt_1"]);
}

async fn tokens_count_up_in_the_order_of_the_commits(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    // Their ids, sequences and times make no difference.
    store.commit(events(&[("evt_9", "a", 3), ("evt_1", "a", 2), ("evt_5", "b", 9)], 70)).await;
    store.commit(events(&[("evt_0", "a", 1)], -10)).await;
    let both = vec![delivery("mail", 1, 10), delivery("crm", 1, 10)];
    store.commit(new_event(event("evt_3", "c"), both)).await;
    store.commit(events(&[("evt_2", "a", 1)], 20)).await;
    let expected = ["evt_9", "evt_1", "evt_5", "evt_0", "evt_3", "evt_2"];
    assert_eq!(store.feed().await, expected);
    assert!(store.tokens(&expected).await.is_sorted_by(|a, b| a < b));
    let mail = store.find("evt_3", "mail").await.unwrap().token;
    assert!(mail > store.token("evt_0").await && mail < store.token("evt_2").await);
}

async fn a_later_commit_may_add_a_delivery_to_an_event(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1"], 10)).await;
    store.attempt("evt_1", 20, Verdict::Delivered).await;
    store.commit(new_event(event("evt_1", "evt_1"), vec![delivery("frontdesk", 1, 30)])).await;
    let unfinished = store.unfinished("frontdesk").await;
    assert_eq!(unfinished.len(), 1);
    let body = store.bodies(&[unfinished[0].token]).await.unwrap().remove(0).unwrap();
    assert_eq!(body.rule, name("call-completed"));
}

async fn bodies_come_in_the_order_asked_for(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1", "evt_2", "evt_3"], 10)).await;
    let [one, two, three] = store.tokens(&["evt_1", "evt_2", "evt_3"]).await[..] else { panic!() };
    store.attempt("evt_2", 20, Verdict::Delivered).await;
    store.act(callwatch::store::Action::Drop { tokens: vec![three] }).await.unwrap();
    let bodies = store.bodies(&[two, three, one, two]).await.unwrap();
    let found: Vec<_> = bodies.iter().map(|body| body.as_ref().map(|body| body.id.as_str())).collect();
    assert_eq!(found, [Some("evt_2"), None, Some("evt_1"), Some("evt_2")], "what has arrived can be shown");
    assert!(store.bodies(&[]).await.unwrap().is_empty());
}

/// An event whose record is a bit over `bytes` long.
fn large_event(id: &str, call: &str, bytes: usize) -> Event {
    // Spaces and the order of the keys are kept as well.
    let text = format!(r#"{{ "transcript": "{}", "id":  "{call}" }}"#, "a b\\n".repeat(bytes / 5));
    Event { record: Arc::from(RawValue::from_string(text).unwrap()), ..event(id, call) }
}

async fn a_large_event_comes_back_byte_for_byte(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let sizes = [100, 30_000, 33_000, 64_000, 1_000_000, 3_000_000];
    let all: Vec<_> = sizes.iter().map(|size| large_event(&format!("evt_{size}"), "a", *size)).collect();
    for event in &all[..3] {
        store.commit(new_event(event.clone(), vec![delivery("crm", 1, 10)])).await;
    }
    let new = |event: &Event| NewEvent { event: event.clone(), deliveries: vec![delivery("crm", 1, 10)] };
    store.commit(Commit { events: all[3..].iter().map(new).collect(), ..Commit::default() }).await;
    let tokens: Vec<_> = store.unfinished("crm").await.iter().map(|pending| pending.token).collect();
    let bodies = store.bodies(&tokens).await.unwrap();
    assert_eq!(bodies.len(), sizes.len());
    for (body, event) in bodies.into_iter().zip(all) {
        assert_eq!(body.unwrap().record.get(), event.record.get());
    }
}

async fn a_large_commit_is_whole(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let ids: Vec<_> = (0..3_000).map(|number| format!("{number:05}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let mut commit = calls(&ids, 10);
    for id in &ids {
        commit.snapshots.push((CallId::from(*id), snapshot(id, &"x".repeat(300))));
    }
    store.commit(commit).await;
    assert_eq!(store.known(&clinic(), None, 10_000).await.unwrap().len(), 3_000);
    assert_eq!(store.tally().await, Tally { pending: 3_000, ..Tally::default() });
    assert_eq!(store.feed().await, ids);
    let tokens: Vec<_> = store.unfinished("crm").await.iter().map(|pending| pending.token).collect();
    assert!(
        store.bodies(&tokens).await.unwrap().iter().zip(&ids).all(|(body, id)| body
            .as_ref()
            .unwrap()
            .id
            .as_str()
            == *id)
    );
    let delivered = tokens.into_iter().map(|token| outcome(token, 1, 20, Verdict::Delivered));
    store.settle(outcomes(delivered.collect())).await;
    assert_eq!(store.tally().await, Tally { delivered: 3_000, ..Tally::default() });
    assert!(store.feed().await.is_empty());
}

async fn checkpoints_stay_until_replaced(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    assert_eq!(store.checkpoint(&source("clinic")).await.unwrap(), None);
    let first = json!({ "a": [1] });
    let large = json!("y".repeat(200_000));
    for (given, kept) in [
        (Some(first.clone()), first.clone()),
        (None, first),
        (Some(large.clone()), large),
        (Some(Value::Null), Value::Null),
    ] {
        store.commit(Commit { checkpoint: given, ..remembers("a", snapshot("a", "hello")) }).await;
        assert_eq!(store.checkpoint(&source("clinic")).await.unwrap(), Some(kept));
    }
}

async fn every_duty_has_a_checkpoint_and_may_commit_events(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    // A source and a destination of the same name are not the same.
    let duties = [source("crm"), destination("crm"), source("crm2"), destination("c"), Duty::Upkeep];
    for (number, duty) in duties.iter().enumerate() {
        let about = Event { subject: Subject::Destination(crm()), ..event(&format!("evt_{number}"), "") };
        let mut commit = new_event(about, vec![delivery("mail", 1, 10)]);
        commit.checkpoint = Some(json!(number));
        let claim = store.own(duty.clone()).await;
        store.store.commit(&claim, commit).await.unwrap();
    }
    for (number, duty) in duties.iter().enumerate() {
        assert_eq!(store.checkpoint(duty).await.unwrap(), Some(json!(number)));
    }
    assert_eq!(store.checkpoint(&destination("crm2")).await.unwrap(), None);
    assert_eq!(store.unfinished("mail").await.len(), duties.len());
}

async fn snapshots_of_another_duty_than_a_source_are_a_mistake(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let before = store.dump().await;
    for duty in [destination("crm"), Duty::Upkeep] {
        let commit = Commit {
            snapshots: vec![("a".into(), snapshot("a", "hello"))],
            checkpoint: Some(json!(1)),
            ..calls(&["evt_1"], 10)
        };
        let claim = store.own(duty).await;
        let refused = store.store.commit(&claim, commit).await;
        assert!(matches!(refused, Err(StoreError::Mistake(_))), "{refused:?}");
    }
    assert_eq!(store.dump().await, before);
}

/// Whether somebody who waits is woken at once.
async fn is_woken(store: &Process, destination: &str) -> bool {
    let arrivals = store.arrivals(&name(destination));
    tokio::time::timeout(Duration::ZERO, arrivals.notified()).await.is_ok()
}

async fn a_commit_wakes_the_owners_of_its_destinations(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let waiting = store.arrivals(&crm());
    let waiting = waiting.notified();
    store.commit(calls(&["evt_1"], 10)).await;
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap();
    // A wake-up is kept for one who comes late, held deliveries wake as well, and no other destination is woken.
    store.commit(held(calls(&["evt_2"], 10), "quiet", 5)).await;
    assert!(!is_woken(&store, "frontdesk").await);
    assert!(is_woken(&store, "crm").await);
}

async fn a_restart_forgets_nothing(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let mut commit = calls(&["evt_1", "evt_2", "evt_3", "evt_4"], 10);
    commit.events.extend(held(calls(&["evt_5", "evt_6", "evt_7", "evt_8"], 10), "quiet", 5).events);
    commit.snapshots.push((CallId::from("a"), snapshot("a", "hello")));
    commit.checkpoint = Some(json!(7));
    store.commit(commit).await;
    store.attempt("evt_1", 50, Verdict::Delivered).await;
    store.attempt("evt_2", 50, Verdict::Retry(at(500))).await;
    store.attempt("evt_3", 50, dead()).await;
    let tokens = store.tokens(&["evt_3", "evt_5", "evt_6", "evt_7"]).await;
    let merge = Merge { tokens: vec![tokens[1]], event: summary("sum_1", "quiet"), sequence: 1 };
    store
        .settle(Settlement {
            releases: vec![tokens[2]],
            holds: vec![(tokens[3], batch("digest/0 8 * * * UTC"))],
            merge: Some(merge),
            ledgers: vec![(batch("quiet"), Some(json!({ "since": 5 })))],
            memos: vec![(call("evt_1"), Some(json!("1718")))],
            pause: Some(callwatch::store::PauseChange::Begin(Pause::by_hand(at(5)))),
            ..settlement(60)
        })
        .await;
    store.act(callwatch::store::Action::Retry { tokens: vec![tokens[0]], at: at(70) }).await.unwrap();
    let (dump, unfinished) = (store.dump().await, store.unfinished("crm").await);

    let store = store.restart(backend).await;

    assert_eq!(store.dump().await, dump);
    assert_eq!(store.unfinished("crm").await, unfinished);
    // It goes on where it was.
    let last = store.all().await[0].token;
    store.commit(calls(&["evt_9"], 10)).await;
    assert!(store.token("evt_9").await > last, "no token is given twice");
}

async fn a_dropped_call_leaves_the_store_whole(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let claim = store.own(source("clinic")).await;
    for number in 0..20 {
        let id = format!("evt_{number:02}");
        let mut commit = calls(&[&id], 10);
        commit.snapshots.push((CallId::from(id.as_str()), snapshot(&id, "hello")));
        // Dropped before it was looked at, after the first look, or after a few.
        let mut call = store.store.commit(&claim, commit);
        for _ in 0..number % 4 {
            if is_ready(&mut call) {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    // A later commit stands behind all of them, in a store that works them off in order.
    store.commit(calls(&["evt_99"], 10)).await;
    let known = store.known(&clinic(), None, 100).await.unwrap();
    let mut known: Vec<_> = known.iter().map(|call| call.id.as_str()).collect();
    assert!(!known.is_empty() && known.len() < 20, "some were made and some were not: {known:?}");
    known.push("evt_99");
    assert_eq!(store.feed().await, known);
    assert_eq!(store.tally().await, Tally { pending: known.len() as u64, ..Tally::default() });
    assert_eq!(store.all().await.len(), known.len());
}

/// Looks at a future once; whether it was ready.
fn is_ready<F: Future + Unpin>(future: &mut F) -> bool {
    matches!(Pin::new(future).poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(_))
}
