//! Deliveries that wait in batches, and what becomes of them. Every implementation alike.

mod kept;

use std::collections::BTreeMap;

use callwatch::{
    store::{DeliveryFilter, DeliveryRecord, DeliveryState, Held, Merge, Restart, Sorting, Tally},
    summary::BatchKey,
};

use super::*;

fn crm() -> Name {
    name("crm")
}

/// A commit like [`events`], held.
fn held_events(of: &[(&str, &str, u64)], created: i64) -> Commit {
    let mut commit = events(of, created);
    commit.deliveries.iter_mut().for_each(|delivery| delivery.held = true);
    commit
}

fn sorting(now: i64) -> Sorting {
    Sorting::new(crm(), at(now))
}

/// Puts events into a batch.
fn hold(now: i64, events: &[&str], batch: &str) -> Sorting {
    let hold = events.iter().map(|event| (event_id(event), batch.into())).collect();
    Sorting { hold, ..sorting(now) }
}

fn send(now: i64, events: &[&str]) -> Sorting {
    Sorting { send: events.iter().copied().map(event_id).collect(), ..sorting(now) }
}

fn forget(now: i64, events: &[&str]) -> Sorting {
    Sorting { forget: events.iter().copied().map(event_id).collect(), ..sorting(now) }
}

/// What stands for a batch.
fn summary(id: &str, batch: &str) -> Event {
    Event {
        call: None,
        kinds: Kinds::NONE,
        record: Arc::from(raw(&json!({ "count": 2 }))),
        batch: Some(batch.into()),
        ..event(id, "")
    }
}

fn merge(now: i64, batches: &[&str], into: &str, sequence: u64) -> Sorting {
    let merge = Merge {
        batches: batches.iter().map(|batch| BatchKey::from(*batch)).collect(),
        event: summary(into, batches[0]),
        delivery: delivery(into, "crm", sequence, now),
    };
    Sorting { merge: Some(merge), ..sorting(now) }
}

async fn all(store: &dyn Store) -> Vec<DeliveryRecord> {
    store.deliveries(&DeliveryFilter::default(), None, usize::MAX).await.unwrap()
}

async fn state(store: &dyn Store, event: &str) -> Option<DeliveryState> {
    let id = delivery_id(event, "crm");
    all(store).await.into_iter().find(|record| record.id == id).map(|record| record.state)
}

fn in_batch(batch: &str) -> Option<DeliveryState> {
    Some(DeliveryState::Held { batch: batch.into() })
}

fn merged(since: i64, into: &str) -> Option<DeliveryState> {
    Some(DeliveryState::Merged { at: at(since), into: event_id(into) })
}

/// The events in a batch, read in pages of `limit`.
async fn in_pages(store: &dyn Store, batch: &str, limit: usize) -> Vec<String> {
    let mut held: Vec<Held> = vec![];
    loop {
        let page = store.held(&crm(), &batch.into(), held.last(), limit).await.unwrap();
        assert!(page.len() <= limit);
        if page.is_empty() {
            return held.iter().map(|held| held.id.event.to_string()).collect();
        }
        held.extend(page);
    }
}

async fn held(store: &dyn Store, batch: &str) -> Vec<String> {
    in_pages(store, batch, 1_000).await
}

async fn tally(store: &dyn Store) -> Tally {
    store.tally().await.unwrap().remove(&crm()).unwrap_or_default()
}

/// Everything that can be asked about deliveries, in words.
async fn told(store: &dyn Store) -> String {
    let mut batches = BTreeMap::new();
    for batch in ["arrived", "digest", "quiet"] {
        batches.insert(batch, held(store, batch).await);
    }
    let ledgers = store.ledgers(&crm()).await.unwrap();
    format!("{:?} {:?} {batches:?} {ledgers:?}", all(store).await, store.tally().await.unwrap())
}

#[tokio::test]
async fn what_is_held_waits_and_can_be_read_oldest_first() {
    each(async |store| {
        for (event, created) in [("evt_2", 30), ("evt_3", -10), ("evt_1", 30), ("evt_4", 20)] {
            store.commit(held_events(&[(event, event, 1)], created)).await.unwrap();
        }
        assert_eq!(lease(store, 1_000, 2_000, 10).await, (vec![], None));
        for limit in [1, 3, 100] {
            assert_eq!(in_pages(store, "arrived", limit).await, ["evt_3", "evt_4", "evt_1", "evt_2"]);
        }
        let arrived = BatchKey::arrived();
        assert!(store.held(&crm(), &arrived, None, 0).await.unwrap().is_empty());
        let first = store.held(&crm(), &arrived, None, 1).await.unwrap().remove(0);
        assert_eq!((first.id, first.created), (delivery_id("evt_3", "crm"), at(-10)));
        assert_eq!(first.event.record.get(), event("evt_3", "evt_3").record.get());
        assert_eq!(tally(store).await, Tally { held: 4, ..Tally::default() });
        assert_eq!(state(store, "evt_1").await, in_batch("arrived"));
    })
    .await;
}

#[tokio::test]
async fn repeating_a_commit_leaves_what_was_sorted_where_it_is() {
    each(async |store| {
        let commit = held_events(&[("evt_1", "a", 1), ("evt_2", "a", 2)], 10);
        store.commit(commit.clone()).await.unwrap();
        store.sort(hold(20, &["evt_1"], "digest")).await.unwrap();
        store.sort(send(20, &["evt_2"])).await.unwrap();
        let before = told(store).await;
        store.commit(commit).await.unwrap();
        assert_eq!(told(store).await, before);
    })
    .await;
}

#[tokio::test]
async fn batches_and_destinations_do_not_see_each_other() {
    each(async |store| {
        let batches = ["d", "digest", "digest/a", "d\0", "d\0\u{1}", ""];
        for (number, batch) in batches.iter().enumerate() {
            let event = format!("evt_{number}");
            let mut commit = held_events(&[(&event, &event, 1)], 10);
            let elsewhere = NewDelivery { id: delivery_id(&event, "cr"), ..commit.deliveries[0].clone() };
            commit.deliveries.push(elsewhere);
            store.commit(commit).await.unwrap();
            store.sort(hold(20, &[&event], batch)).await.unwrap();
        }
        for (number, batch) in batches.iter().enumerate() {
            assert_eq!(held(store, batch).await, [format!("evt_{number}")], "{batch:?}");
        }
        assert!(held(store, "arrived").await.is_empty());
        let arrived = BatchKey::arrived();
        assert_eq!(store.held(&name("cr"), &arrived, None, 100).await.unwrap().len(), batches.len());
    })
    .await;
}

#[tokio::test]
async fn what_is_sent_is_due_now_in_its_place() {
    each(async |store| {
        store.commit(events(&[("evt_2", "a", 2)], 10)).await.unwrap();
        store.commit(held_events(&[("evt_1", "a", 1), ("evt_3", "b", 1)], 10)).await.unwrap();
        store.sort(send(50, &["evt_1", "evt_3"])).await.unwrap();
        assert_eq!(tally(store).await, Tally { pending: 3, ..Tally::default() });
        assert_eq!(lease(store, 49, 900, 10).await, (vec![], Some(50)));
        assert_eq!(lease(store, 50, 900, 10).await, (vec!["evt_1".into(), "evt_3".into()], None));
        store.settle(vec![outcome("evt_1", "crm", 60, Verdict::Delivered)]).await.unwrap();
        assert_eq!(lease(store, 60, 900, 10).await.0, ["evt_2"]);
        // It is not sent a second time, and what was pending is not moved.
        store.sort(send(70, &["evt_1", "evt_2"])).await.unwrap();
        assert_eq!(state(store, "evt_1").await, Some(DeliveryState::Delivered { at: at(60) }));
        assert_eq!(state(store, "evt_2").await, Some(DeliveryState::Pending { due: at(10) }));
    })
    .await;
}

#[tokio::test]
async fn what_was_pending_can_be_held_even_while_it_is_tried() {
    each(async |store| {
        store.commit(events(&[("evt_1", "a", 1), ("evt_2", "a", 2)], 10)).await.unwrap();
        store.settle(vec![outcome("evt_1", "crm", 20, Verdict::Retry(at(30)))]).await.unwrap();
        assert_eq!(lease(store, 30, 900, 10).await.0, ["evt_1"]);
        store.sort(hold(40, &["evt_1"], "quiet")).await.unwrap();
        assert_eq!(held(store, "quiet").await, ["evt_1"]);
        // What came of the attempt comes too late, and the next one goes.
        store.settle(vec![outcome("evt_1", "crm", 50, Verdict::Delivered)]).await.unwrap();
        assert_eq!(state(store, "evt_1").await, in_batch("quiet"));
        assert_eq!(lease(store, 50, 900, 10).await.0, ["evt_2"]);
        store.release(vec![delivery_id("evt_2", "crm")]).await.unwrap();
        // Its lease has ended, its attempt is not forgotten, and it goes first again.
        store.sort(send(60, &["evt_1"])).await.unwrap();
        let leased = store.lease(&request("crm", 60, 900, 10)).await.unwrap().deliveries;
        let [lease] = &leased[..] else { panic!("one: {leased:?}") };
        assert_eq!((&lease.id, lease.attempts, lease.restart), (&delivery_id("evt_1", "crm"), 1, None));
    })
    .await;
}

#[tokio::test]
async fn what_is_merged_is_told_by_another_event() {
    each(async |store| {
        store
            .commit(held_events(&[("evt_1", "a", 1), ("evt_2", "b", 1), ("evt_3", "c", 1)], 10))
            .await
            .unwrap();
        store.commit(events(&[("evt_4", "d", 1)], 10)).await.unwrap();
        store.sort(hold(20, &["evt_1"], "digest")).await.unwrap();
        let mut sorting = merge(30, &["digest", "arrived"], "sum_1", 1);
        // These come into the batch, and leave it, in the same breath.
        sorting.hold = vec![(event_id("evt_4"), "digest".into()), (event_id("evt_3"), "quiet".into())];
        store.sort(sorting).await.unwrap();

        for event in ["evt_1", "evt_2", "evt_4"] {
            assert_eq!(state(store, event).await, merged(30, "sum_1"));
        }
        assert_eq!(state(store, "evt_3").await, in_batch("quiet"));
        assert_eq!(held(store, "digest").await, Vec::<String>::new());
        assert_eq!(held(store, "arrived").await, Vec::<String>::new());
        assert_eq!(tally(store).await, Tally { pending: 1, held: 1, merged: 3, ..Tally::default() });
        let leased = store.lease(&request("crm", 30, 900, 10)).await.unwrap().deliveries;
        let [lease] = &leased[..] else { panic!("one: {leased:?}") };
        assert_eq!(lease.event.batch, Some("digest".into()));
        assert_eq!(lease.event.record.get(), r#"{"count":2}"#);
        let summary = all(store).await.into_iter().find(|record| record.id == lease.id).unwrap();
        assert_eq!((summary.batch, summary.call), (Some("digest".into()), None));
        // They are finished as what was delivered is.
        assert_eq!(store.purge(at(30), 10).await.unwrap(), 0);
        assert_eq!(store.purge(at(31), 10).await.unwrap(), 3);
        assert_eq!(tally(store).await, Tally { pending: 1, held: 1, ..Tally::default() });
    })
    .await;
}

#[tokio::test]
async fn summaries_of_one_batch_stay_in_order_and_wait_for_nobody_else() {
    each(async |store| {
        let mut of_source = events(&[("evt_source", "", 1)], 10);
        of_source.events[0].call = None;
        store.commit(of_source).await.unwrap();
        // Nothing is in these batches: that is for others to decide.
        store.sort(merge(20, &["digest"], "sum_1", 1)).await.unwrap();
        store.sort(merge(30, &["digest"], "sum_2", 2)).await.unwrap();
        store.sort(merge(40, &["quiet"], "sum_3", 1)).await.unwrap();
        assert_eq!(lease(store, 50, 900, 10).await.0, ["evt_source", "sum_1", "sum_3"]);
        store.settle(vec![outcome("sum_1", "crm", 60, Verdict::Dead("no".to_owned()))]).await.unwrap();
        assert_eq!(lease(store, 60, 900, 10).await.0, ["sum_2"]);
    })
    .await;
}

#[tokio::test]
async fn repeating_a_sorting_changes_nothing() {
    each(async |store| {
        let of = ["evt_1", "evt_2", "evt_3", "evt_4", "evt_5"].map(|event| (event, event, 1));
        store.commit(held_events(&of, 10)).await.unwrap();
        store.commit(events(&[("evt_6", "f", 1)], 10)).await.unwrap();
        let sorting = Sorting {
            send: vec![event_id("evt_2")],
            forget: vec![event_id("evt_3")],
            ledgers: vec![("digest".into(), Some(json!(7))), ("quiet".into(), None)],
            hold: [("evt_1", "digest"), ("evt_4", "quiet"), ("evt_6", "digest")]
                .map(|(event, batch)| (event_id(event), batch.into()))
                .to_vec(),
            ..merge(20, &["digest"], "sum_1", 1)
        };
        store.sort(sorting.clone()).await.unwrap();
        let before = told(store).await;
        store.sort(sorting.clone()).await.unwrap();
        assert_eq!(told(store).await, before);

        // Not even when the summary has gone out, and more has come into the batch.
        store.settle(vec![outcome("sum_1", "crm", 30, Verdict::Delivered)]).await.unwrap();
        store.sort(hold(30, &["evt_5"], "digest")).await.unwrap();
        let before = told(store).await;
        store.sort(sorting).await.unwrap();
        assert_eq!(told(store).await, before);
        assert_eq!(held(store, "digest").await, ["evt_5"]);
    })
    .await;
}

#[tokio::test]
async fn what_is_forgotten_is_gone_with_its_event() {
    each(async |store| {
        let mut commit = held_events(&[("evt_1", "a", 1), ("evt_2", "b", 1)], 10);
        commit.deliveries.push(delivery("evt_2", "mail", 1, 10));
        store.commit(commit).await.unwrap();
        store.commit(events(&[("evt_3", "c", 1)], 10)).await.unwrap();
        store.sort(forget(20, &["evt_1", "evt_2", "evt_3"])).await.unwrap();
        let left: Vec<_> = all(store).await.into_iter().map(|record| record.id).collect();
        assert_eq!(left, [delivery_id("evt_2", "mail"), delivery_id("evt_3", "crm")], "not what is pending");
        assert_eq!(tally(store).await, Tally { pending: 1, ..Tally::default() });
        assert!(held(store, "arrived").await.is_empty());
        let mut late = Commit::new(clinic());
        late.deliveries.push(delivery("evt_1", "mail", 1, 20));
        assert!(matches!(store.commit(late).await, Err(StoreError::UnknownEvent(_))));
        assert_eq!(store.lease(&request("mail", 20, 90, 10)).await.unwrap().deliveries.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_sorted_is_left_alone() {
    each(async |store| {
        store.commit(events(&[("evt_1", "a", 1), ("evt_2", "b", 1)], 10)).await.unwrap();
        let mut commit = Commit::new(clinic());
        commit.deliveries.push(NewDelivery { held: true, ..delivery("evt_2", "mail", 1, 10) });
        store.commit(commit).await.unwrap();
        store.settle(vec![outcome("evt_1", "crm", 20, Verdict::Delivered)]).await.unwrap();
        store.settle(vec![outcome("evt_2", "crm", 20, Verdict::Dead("no".to_owned()))]).await.unwrap();
        let before = told(store).await;
        let names = ["evt_1", "evt_2", "evt_none"];
        let sorting = Sorting {
            send: send(30, &names).send,
            forget: forget(30, &names).forget,
            ..hold(30, &names, "digest")
        };
        store.sort(sorting).await.unwrap();
        assert_eq!(told(store).await, before);
        assert_eq!(store.held(&name("mail"), &BatchKey::arrived(), None, 9).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_summary_whose_delivery_is_of_another_event_is_refused_with_all_of_its_sorting() {
    each(async |store| {
        store.commit(held_events(&[("evt_1", "a", 1), ("evt_2", "a", 2)], 10)).await.unwrap();
        let before = told(store).await;
        let mut sorting = merge(20, &["arrived"], "sum_1", 1);
        sorting.merge.as_mut().unwrap().delivery.id.event = event_id("sum_2");
        sorting.send = send(20, &["evt_1"]).send;
        sorting.ledgers = vec![("digest".into(), Some(json!(1)))];
        let error = store.sort(sorting).await.unwrap_err();
        assert!(matches!(&error, StoreError::UnknownEvent(id) if id.event == event_id("sum_2")), "{error}");
        assert_eq!(told(store).await, before);
    })
    .await;
}

#[tokio::test]
async fn by_hand_what_is_held_is_sent_and_what_is_merged_is_left_alone() {
    each(async |store| {
        store.commit(held_events(&[("evt_1", "a", 1), ("evt_2", "b", 1)], 10)).await.unwrap();
        store.sort(hold(20, &["evt_1"], "digest")).await.unwrap();
        store.sort(merge(20, &["arrived"], "sum_1", 1)).await.unwrap();
        let ids = ["evt_1", "evt_2"].map(|event| delivery_id(event, "crm"));
        assert_eq!(store.retry(ids.to_vec(), at(40)).await.unwrap(), 1);
        assert!(held(store, "digest").await.is_empty());
        assert_eq!(state(store, "evt_2").await, merged(20, "sum_1"));
        assert_eq!(tally(store).await, Tally { pending: 2, merged: 1, ..Tally::default() });
        let leased = store.lease(&request("crm", 40, 90, 10)).await.unwrap().deliveries;
        let sent = leased.iter().find(|lease| lease.id == ids[0]).unwrap();
        assert_eq!(sent.restart, Some(Restart { at: at(40), attempts: 0 }));

        store.sort(hold(50, &["evt_1"], "digest")).await.unwrap();
        assert_eq!(store.discard(ids.to_vec()).await.unwrap(), 2);
        assert!(held(store, "digest").await.is_empty());
        assert_eq!(tally(store).await, Tally { pending: 1, ..Tally::default() });
        assert_eq!(store.purge(at(1_000), 10).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn ledgers_stay_until_they_are_replaced_or_forgotten() {
    each(async |store| {
        let mut expected = BTreeMap::new();
        let large = json!("x".repeat(100_000));
        let steps = [
            ("digest", Some(json!({ "since": 5 }))),
            ("digest/a", Some(Value::Null)),
            ("digest", Some(large)),
            ("quiet", None),
            ("quiet", Some(json!(1))),
            ("digest", Some(json!(2))),
            ("digest/a", None),
        ];
        for (batch, ledger) in steps {
            let ledgers = vec![(batch.into(), ledger.clone())];
            store.sort(Sorting { ledgers, ..sorting(10) }).await.unwrap();
            match ledger {
                Some(ledger) => expected.insert(BatchKey::from(batch), ledger),
                None => expected.remove(&BatchKey::from(batch)),
            };
            assert_eq!(store.ledgers(&crm()).await.unwrap(), expected);
            assert_eq!(store.ledgers(&name("cr")).await.unwrap(), BTreeMap::new());
        }
    })
    .await;
}

#[tokio::test]
async fn whoever_waits_is_woken_by_what_is_held_or_moved() {
    each(async |store| {
        let arrivals = store.arrivals(&crm());
        let woken =
            async || tokio::time::timeout(Duration::from_secs(10), arrivals.notified()).await.unwrap();
        store.commit(held_events(&[("evt_1", "a", 1), ("evt_2", "b", 1)], 10)).await.unwrap();
        woken().await;
        let moves = [
            hold(20, &["evt_1"], "digest"),
            send(20, &["evt_2"]),
            hold(20, &["evt_2"], "digest"),
            merge(20, &["digest"], "sum_1", 1),
        ];
        for sorting in &moves {
            store.sort(sorting.clone()).await.unwrap();
            woken().await;
        }
        // Nothing moves, nobody is woken.
        store.sort(moves[3].clone()).await.unwrap();
        store.sort(send(30, &["evt_1"])).await.unwrap();
        let ledgers = vec![("digest".into(), Some(json!(1)))];
        store.sort(Sorting { ledgers, ..sorting(30) }).await.unwrap();
        assert!(tokio::time::timeout(Duration::ZERO, arrivals.notified()).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_batch_of_thousands_goes_out_as_one() {
    each(async |store| {
        let ids: Vec<_> = (0..3_000).map(|number| format!("evt_{number:04}")).collect();
        let of: Vec<_> = ids.iter().map(|id| (id.as_str(), id.as_str(), 1)).collect();
        store.commit(held_events(&of, 10)).await.unwrap();
        assert_eq!(in_pages(store, "arrived", 700).await, ids);
        let mut sorting = merge(20, &["digest"], "sum_1", 1);
        sorting.hold = ids.iter().map(|id| (event_id(id), "digest".into())).collect();
        store.sort(sorting).await.unwrap();
        assert_eq!(tally(store).await, Tally { pending: 1, merged: 3_000, ..Tally::default() });
        assert_eq!(lease(store, 20, 90, 10).await, (vec!["sum_1".to_owned()], None));
        assert_eq!(store.purge(at(30), 10_000).await.unwrap(), 3_000);
    })
    .await;
}
