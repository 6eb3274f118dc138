//! One suite for every implementation.

use super::*;
use callwatch::store::{
    ATTEMPTS_KEPT, DeliveryFilter, DeliveryState, DeliveryStateKind, KnownCall, MemoryStore, Sorting, Tally,
};

/// Makes a test of each function, for each implementation.
macro_rules! conformance {
    ($($test:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $test() {
                super::$test(&super::MemoryStore::new()).await;
            })*
        }
        mod sled {
            $(#[tokio::test]
            async fn $test() {
                let folder = tempfile::tempdir().unwrap();
                super::$test(&super::open(folder.path()).await.unwrap()).await;
                super::assert_no_blobs(folder.path());
            })*
        }
    };
}

conformance!(
    a_commit_is_remembered,
    repeating_a_commit_changes_nothing,
    a_snapshot_replaces_the_one_before,
    known_calls_come_in_order_page_by_page,
    ids_may_hold_anything,
    a_snapshot_comes_back_as_it_was,
    a_record_as_deep_as_can_be_read_comes_back,
    a_large_event_comes_back_byte_for_byte,
    large_values_shrink_and_grow,
    a_large_commit_is_whole,
    a_delivery_without_event_is_refused_with_all_of_its_commit,
    a_later_commit_may_add_a_delivery_to_an_event,
    only_the_first_of_a_lane_is_handed_out,
    lanes_do_not_wait_for_each_other,
    a_lower_sequence_that_comes_later_goes_first,
    an_event_of_the_source_has_a_lane_of_its_own,
    oldest_due_first_and_no_more_than_asked_for,
    a_lease_keeps_others_away_until_it_ends,
    a_released_delivery_is_due_again,
    releasing_what_is_not_there_is_nothing,
    a_retry_is_due_when_it_was_told,
    the_next_due_is_exact,
    the_dead_do_not_block_their_lane,
    what_is_finished_stays_as_it_is,
    attempts_are_kept_but_not_without_end,
    settling_ends_a_lease_of_any_holder,
    deliveries_are_listed_in_order_and_filtered,
    purge_forgets_in_steps_what_is_old_and_finished,
    purge_keeps_an_event_with_a_delivery_left,
    tally_counts_every_state,
    checkpoints_stay_until_replaced,
    arrivals_wake,
    sources_do_not_see_each_other,
    after_close_everything_says_so,
    a_dropped_call_leaves_the_store_whole,
    many_at_once,
);

fn assert_no_blobs(folder: &Path) {
    let blobs = config(folder).path.join("sled/blobs");
    assert_eq!(std::fs::read_dir(blobs).unwrap().count(), 0, "sled made files that it never syncs");
}

async fn a_commit_is_remembered(store: &dyn Store) {
    let mut commit = events(&[("evt_1", "a", 1)], 10);
    commit.snapshots.push((CallId::from("a"), snapshot("a", "hello")));
    commit.checkpoint = Some(json!({ "offset": 7 }));
    store.commit(commit).await.unwrap();

    let found = store.snapshots(&clinic(), &["a".into(), "b".into()]).await.unwrap();
    assert_eq!(found, [Some(snapshot("a", "hello")), None]);
    assert_eq!(store.checkpoint(&clinic()).await.unwrap(), Some(json!({ "offset": 7 })));
    let leased = store.lease(&request("crm", 10, 20, 5)).await.unwrap();
    let [lease] = &leased.deliveries[..] else { panic!("one delivery: {leased:?}") };
    assert_eq!(lease.id, delivery_id("evt_1", "crm"));
    assert_eq!((lease.sequence, lease.created, lease.attempts), (1, at(10), 0));
    assert_eq!(lease.event.record.get(), r#"{"id":"a","status":"completed"}"#);
    assert_eq!(lease.event.kinds, Kind::Ended.into());
}

async fn repeating_a_commit_changes_nothing(store: &dyn Store) {
    let mut commit = events(&[("evt_1", "a", 1), ("evt_2", "b", 1)], 10);
    commit.snapshots.push((CallId::from("a"), snapshot("a", "hello")));
    store.commit(commit.clone()).await.unwrap();
    store.settle(vec![outcome("evt_1", "crm", 50, Verdict::Delivered)]).await.unwrap();
    store.settle(vec![outcome("evt_2", "crm", 50, Verdict::Retry(at(500)))]).await.unwrap();
    let before = store.deliveries(&DeliveryFilter::default(), None, 10).await.unwrap();

    store.commit(commit).await.unwrap();

    assert_eq!(store.deliveries(&DeliveryFilter::default(), None, 10).await.unwrap(), before);
    assert_eq!(lease(store, 499, 600, 10).await, (vec![], Some(500)));
    let tally = store.tally().await.unwrap();
    assert_eq!(tally[&name("crm")], Tally { pending: 1, delivered: 1, ..Tally::default() });
}

async fn a_snapshot_replaces_the_one_before(store: &dyn Store) {
    for summary in ["hello", "goodbye"] {
        let mut commit = Commit::new(clinic());
        commit.snapshots.push((CallId::from("a"), snapshot("a", summary)));
        store.commit(commit).await.unwrap();
    }
    assert_eq!(store.snapshots(&clinic(), &["a".into()]).await.unwrap(), [Some(snapshot("a", "goodbye"))]);
    assert_eq!(store.known(&clinic(), None, 10).await.unwrap().len(), 1);
}

/// All known calls, read in pages of `limit`.
async fn known_in_pages(store: &dyn Store, limit: usize) -> Vec<KnownCall> {
    let mut all: Vec<KnownCall> = vec![];
    loop {
        let page = store.known(&clinic(), all.last().map(|call| &call.id), limit).await.unwrap();
        assert!(page.len() <= limit);
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

async fn known_calls_come_in_order_page_by_page(store: &dyn Store) {
    let mut commit = Commit::new(clinic());
    for number in (0..60).rev() {
        let id = format!("{number:03}");
        commit.snapshots.push((CallId::from(id.as_str()), snapshot(&id, "hello")));
    }
    let mut expected: Vec<_> =
        commit.snapshots.iter().map(|(id, snapshot)| KnownCall::of(id.clone(), snapshot)).collect();
    expected.reverse();
    store.commit(commit).await.unwrap();
    for limit in [1, 7, 60, 1000] {
        assert_eq!(known_in_pages(store, limit).await, expected);
    }
    assert_eq!(store.known(&clinic(), None, 0).await.unwrap(), []);
}

async fn ids_may_hold_anything(store: &dyn Store) {
    let long = "x".repeat(5_000);
    let mut ids = vec![
        "a",
        "a\0",
        "a\0b",
        "a\0\u{1}b",
        "a/b",
        "\0",
        "\0\0",
        "\u{1}",
        "é",
        "📞",
        "\u{10ffff}",
        " ",
        "a\u{ff}",
        long.as_str(),
    ];
    let mut commit = Commit::new(clinic());
    for (number, id) in ids.iter().enumerate() {
        commit.snapshots.push((CallId::from(*id), snapshot(id, "hello")));
        commit.events.push(event(&format!("evt_{number}"), id));
        commit.deliveries.push(delivery(&format!("evt_{number}"), "crm", 1, 10));
    }
    store.commit(commit).await.unwrap();
    ids.sort_unstable();
    for limit in [1, 4, 100] {
        let known: Vec<_> = known_in_pages(store, limit).await.into_iter().map(|call| call.id).collect();
        assert_eq!(known.iter().map(CallId::as_str).collect::<Vec<_>>(), ids);
    }
    for id in &ids {
        let found = store.snapshots(&clinic(), &[CallId::from(*id)]).await.unwrap();
        assert_eq!(found, [Some(snapshot(id, "hello"))]);
    }
    // Each is a lane of its own.
    assert_eq!(lease(store, 10, 20, 100).await.0.len(), ids.len());
}

async fn a_snapshot_comes_back_as_it_was(store: &dyn Store) {
    let record = json!({
        "id": "a", "status": "on hold", "z": 1, "a": { "y": null, "x": [0.1, 1e300, -0.0, 12.340000000000003] },
        "big": u64::MAX, "small": i64::MIN, "text": "\u{0}\u{7f}\"\\é📞", "": {},
    });
    let mut snapshot = Snapshot::first(&Call::parse(&raw(&record)).unwrap(), Kind::Started.into(), at(-5));
    snapshot.deleted = true;
    snapshot.sequences.insert(name("crm"), 7);
    let mut commit = Commit::new(clinic());
    commit.snapshots.push((CallId::from("a"), snapshot.clone()));
    store.commit(commit).await.unwrap();
    let found = store.snapshots(&clinic(), &["a".into()]).await.unwrap().remove(0).unwrap();
    assert_eq!(found, snapshot);
    let order = |snapshot: &Snapshot| snapshot.fields.keys().cloned().collect::<Vec<_>>();
    assert_eq!(order(&found), order(&snapshot));
    assert_eq!(store.known(&clinic(), None, 5).await.unwrap(), [KnownCall::of(CallId::from("a"), &snapshot)]);
}

async fn a_record_as_deep_as_can_be_read_comes_back(store: &dyn Store) {
    let deep = |levels: usize| {
        let text =
            format!(r#"{{"id":"a","status":"live","deep":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
        Call::parse(&RawValue::from_string(text).unwrap()).ok()
    };
    let call = (1..200).rev().find_map(deep).unwrap();
    let snapshot = Snapshot::first(&call, Kinds::NONE, at(0));
    let mut commit = Commit::new(clinic());
    commit.snapshots.push((CallId::from("a"), snapshot.clone()));
    store.commit(commit).await.unwrap();
    assert_eq!(store.snapshots(&clinic(), &["a".into()]).await.unwrap(), [Some(snapshot)]);
}

/// An event whose record is a bit over `bytes` long.
fn large_event(id: &str, call: &str, bytes: usize) -> Event {
    // Spaces and the order of the keys are kept as well.
    let text = format!(r#"{{ "transcript": "{}", "id":  "{call}" }}"#, "a b\\n".repeat(bytes / 5));
    Event { record: Arc::from(RawValue::from_string(text).unwrap()), ..event(id, call) }
}

async fn a_large_event_comes_back_byte_for_byte(store: &dyn Store) {
    let sizes = [100, 30_000, 33_000, 64_000, 1_000_000, 3_000_000];
    for (number, size) in sizes.iter().enumerate() {
        let id = format!("evt_{number}");
        let mut commit = Commit::new(clinic());
        commit.events.push(large_event(&id, &id, *size));
        commit.deliveries.push(delivery(&id, "crm", 1, 10));
        store.commit(commit).await.unwrap();
    }
    let leased = store.lease(&request("crm", 10, 20, 10)).await.unwrap();
    assert_eq!(leased.deliveries.len(), sizes.len());
    for (lease, size) in leased.deliveries.iter().zip(sizes) {
        let id = lease.id.event.as_str();
        assert_eq!(lease.event.record.get(), large_event(id, id, size).record.get());
    }
}

async fn large_values_shrink_and_grow(store: &dyn Store) {
    for size in [10, 200_000, 40_000, 700_000, 10, 100_000] {
        let large = snapshot("a", &"x".repeat(size));
        let mut commit = Commit::new(clinic());
        commit.snapshots.push((CallId::from("a"), large.clone()));
        commit.checkpoint = Some(json!("y".repeat(size)));
        store.commit(commit).await.unwrap();
        assert_eq!(store.snapshots(&clinic(), &["a".into()]).await.unwrap(), [Some(large)]);
        assert_eq!(store.checkpoint(&clinic()).await.unwrap(), Some(json!("y".repeat(size))));
    }
    assert_eq!(store.known(&clinic(), None, 10).await.unwrap().len(), 1);
}

async fn a_large_commit_is_whole(store: &dyn Store) {
    let mut commit = Commit::new(clinic());
    for number in 0..3_000 {
        let id = format!("{number:05}");
        commit.snapshots.push((CallId::from(id.as_str()), snapshot(&id, &"x".repeat(300))));
        if number % 3 == 0 {
            commit.events.push(event(&format!("evt_{id}"), &id));
            commit.deliveries.push(delivery(&format!("evt_{id}"), "crm", 1, 10));
        }
    }
    store.commit(commit).await.unwrap();
    assert_eq!(known_in_pages(store, 10_000).await.len(), 3_000);
    assert_eq!(store.tally().await.unwrap()[&name("crm")].pending, 1_000);
    let settled =
        (0..3_000).step_by(3).map(|n| outcome(&format!("evt_{n:05}"), "crm", 20, Verdict::Delivered));
    store.settle(settled.collect()).await.unwrap();
    assert_eq!(store.tally().await.unwrap()[&name("crm")].delivered, 1_000);
}

async fn a_delivery_without_event_is_refused_with_all_of_its_commit(store: &dyn Store) {
    let mut commit = events(&[("evt_1", "a", 1)], 10);
    commit.snapshots.push((CallId::from("a"), snapshot("a", "hello")));
    commit.deliveries.push(delivery("evt_nowhere", "crm", 1, 10));
    commit.checkpoint = Some(json!(1));
    let error = store.commit(commit).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::UnknownEvent(id) if *id == delivery_id("evt_nowhere", "crm")),
        "{error}"
    );
    assert_eq!(store.snapshots(&clinic(), &["a".into()]).await.unwrap(), [None]);
    assert_eq!(store.checkpoint(&clinic()).await.unwrap(), None);
    assert_eq!(lease(store, 10, 20, 10).await, (vec![], None));
}

async fn a_later_commit_may_add_a_delivery_to_an_event(store: &dyn Store) {
    store.commit(events(&[("evt_1", "a", 1)], 10)).await.unwrap();
    let mut commit = Commit::new(clinic());
    commit.deliveries.push(delivery("evt_1", "frontdesk", 1, 30));
    store.commit(commit).await.unwrap();
    let leased = store.lease(&request("frontdesk", 30, 40, 5)).await.unwrap();
    assert_eq!(leased.deliveries[0].event.rule, name("call-completed"));
}

async fn only_the_first_of_a_lane_is_handed_out(store: &dyn Store) {
    store.commit(events(&[("evt_c", "a", 1), ("evt_b", "a", 2), ("evt_a", "a", 3)], 10)).await.unwrap();
    for event in ["evt_c", "evt_b", "evt_a"] {
        assert_eq!(lease(store, 100, 200, 10).await, (vec![event.to_owned()], None));
        assert_eq!(lease(store, 100, 200, 10).await, (vec![], Some(200)));
        store.settle(vec![outcome(event, "crm", 100, Verdict::Delivered)]).await.unwrap();
    }
    assert_eq!(lease(store, 100, 200, 10).await, (vec![], None));
}

async fn lanes_do_not_wait_for_each_other(store: &dyn Store) {
    let mut commit = events(&[("evt_a1", "a", 1), ("evt_a2", "a", 2), ("evt_b1", "b", 1)], 10);
    commit.deliveries.push(delivery("evt_a1", "frontdesk", 1, 10));
    store.commit(commit).await.unwrap();
    assert_eq!(lease(store, 10, 90, 10).await.0, ["evt_a1", "evt_b1"]);
    store.settle(vec![outcome("evt_a1", "crm", 20, Verdict::Retry(at(70)))]).await.unwrap();
    store.settle(vec![outcome("evt_b1", "crm", 20, Verdict::Delivered)]).await.unwrap();
    // The second of lane a waits for the first; another destination does not.
    assert_eq!(lease(store, 60, 90, 10).await, (vec![], Some(70)));
    assert_eq!(store.lease(&request("frontdesk", 10, 90, 10)).await.unwrap().deliveries.len(), 1);
}

async fn a_lower_sequence_that_comes_later_goes_first(store: &dyn Store) {
    store.commit(events(&[("evt_5", "a", 5)], 10)).await.unwrap();
    store.commit(events(&[("evt_3", "a", 3)], 30)).await.unwrap();
    assert_eq!(lease(store, 20, 90, 10).await, (vec![], Some(30)));
    assert_eq!(lease(store, 30, 90, 10).await.0, ["evt_3"]);
    store.settle(vec![outcome("evt_3", "crm", 40, Verdict::Delivered)]).await.unwrap();
    assert_eq!(lease(store, 40, 90, 10).await.0, ["evt_5"]);
}

async fn an_event_of_the_source_has_a_lane_of_its_own(store: &dyn Store) {
    let mut commit = events(&[("evt_1", "a", 1)], 10);
    for (id, sequence) in [("evt_down", 1), ("evt_up", 2)] {
        commit.events.push(Event { call: None, kinds: Kind::SourceFailing.into(), ..event(id, "") });
        commit.deliveries.push(delivery(id, "crm", sequence, 10));
    }
    store.commit(commit).await.unwrap();
    let leased = store.lease(&request("crm", 10, 90, 10)).await.unwrap();
    let handed: Vec<_> =
        leased.deliveries.iter().map(|lease| (lease.id.event.as_str(), &lease.event.call)).collect();
    assert_eq!(handed, [("evt_1", &Some(CallId::from("a"))), ("evt_down", &None)]);
}

async fn oldest_due_first_and_no_more_than_asked_for(store: &dyn Store) {
    for (id, created) in [("evt_1", 30), ("evt_2", -10), ("evt_3", 20), ("evt_4", 0)] {
        store.commit(events(&[(id, id, 1)], created)).await.unwrap();
    }
    assert_eq!(lease(store, 25, 90, 0).await, (vec![], Some(-10)));
    assert_eq!(lease(store, 25, 90, 2).await, (vec!["evt_2".into(), "evt_4".into()], Some(20)));
    assert_eq!(lease(store, 25, 90, 2).await, (vec!["evt_3".into()], Some(30)));
    assert_eq!(lease(store, 25, 90, 2).await, (vec![], Some(30)));
}

async fn a_lease_keeps_others_away_until_it_ends(store: &dyn Store) {
    store.commit(events(&[("evt_1", "a", 1)], 10)).await.unwrap();
    assert_eq!(lease(store, 10, 50, 1).await, (vec!["evt_1".into()], None));
    assert_eq!(lease(store, 49, 99, 1).await, (vec![], Some(50)));
    assert_eq!(lease(store, 50, 99, 1).await, (vec!["evt_1".into()], None));
    assert_eq!(lease(store, 60, 99, 1).await, (vec![], Some(99)));
}

async fn a_released_delivery_is_due_again(store: &dyn Store) {
    store.commit(events(&[("evt_1", "a", 1), ("evt_2", "b", 1)], 10)).await.unwrap();
    assert_eq!(lease(store, 10, 50, 5).await.0, ["evt_1", "evt_2"]);
    store.release(vec![delivery_id("evt_1", "crm")]).await.unwrap();
    let leased = store.lease(&request("crm", 11, 50, 5)).await.unwrap();
    assert_eq!((leased.deliveries.len(), leased.next_due), (1, Some(at(50))));
    assert_eq!(
        (leased.deliveries[0].id.clone(), leased.deliveries[0].attempts),
        (delivery_id("evt_1", "crm"), 0)
    );
}

async fn releasing_what_is_not_there_is_nothing(store: &dyn Store) {
    store.commit(events(&[("evt_1", "a", 1)], 10)).await.unwrap();
    store.settle(vec![outcome("evt_1", "crm", 20, Verdict::Delivered)]).await.unwrap();
    store.release(vec![delivery_id("evt_1", "crm"), delivery_id("evt_2", "nowhere")]).await.unwrap();
    store.settle(vec![outcome("evt_2", "nowhere", 20, Verdict::Delivered)]).await.unwrap();
    assert_eq!(lease(store, 30, 50, 5).await, (vec![], None));
}

async fn a_retry_is_due_when_it_was_told(store: &dyn Store) {
    store.commit(events(&[("evt_1", "a", 1)], 10)).await.unwrap();
    lease(store, 10, 50, 1).await;
    store.settle(vec![outcome("evt_1", "crm", 20, Verdict::Retry(at(70)))]).await.unwrap();
    assert_eq!(lease(store, 69, 99, 1).await, (vec![], Some(70)));
    let leased = store.lease(&request("crm", 70, 99, 1)).await.unwrap();
    assert_eq!((leased.deliveries[0].attempts, leased.deliveries[0].created), (1, at(10)));
}

async fn the_next_due_is_exact(store: &dyn Store) {
    assert_eq!(lease(store, 0, 9, 9).await, (vec![], None));
    for (id, created) in [("evt_1", 10), ("evt_2", 20), ("evt_3", 60)] {
        store.commit(events(&[(id, id, 1)], created)).await.unwrap();
    }
    assert_eq!(lease(store, 5, 50, 9).await, (vec![], Some(10)));
    // A lease that ends before the next is due.
    assert_eq!(lease(store, 10, 15, 9).await, (vec!["evt_1".into()], Some(20)));
    assert_eq!(lease(store, 11, 99, 0).await, (vec![], Some(15)));
    // A lease that ends after the next is due, and one in between.
    assert_eq!(lease(store, 20, 80, 9).await, (vec!["evt_1".into(), "evt_2".into()], Some(60)));
    assert_eq!(lease(store, 30, 90, 9).await, (vec![], Some(60)));
    assert_eq!(lease(store, 60, 70, 9).await, (vec!["evt_3".into()], Some(80)));
    assert_eq!(lease(store, 61, 70, 9).await, (vec![], Some(70)));
}

async fn the_dead_do_not_block_their_lane(store: &dyn Store) {
    store.commit(events(&[("evt_1", "a", 1), ("evt_2", "a", 2)], 10)).await.unwrap();
    store.settle(vec![outcome("evt_1", "crm", 20, Verdict::Dead("410 Gone".to_owned()))]).await.unwrap();
    assert_eq!(lease(store, 30, 50, 5).await.0, ["evt_2"]);
    let dead = DeliveryFilter { state: Some(DeliveryStateKind::Dead), ..DeliveryFilter::default() };
    let found = store.deliveries(&dead, None, 5).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].state, DeliveryState::Dead { at: at(20), reason: "410 Gone".to_owned() });
}

async fn what_is_finished_stays_as_it_is(store: &dyn Store) {
    store.commit(events(&[("evt_1", "a", 1)], 10)).await.unwrap();
    let twice = vec![
        outcome("evt_1", "crm", 20, Verdict::Delivered),
        outcome("evt_1", "crm", 30, Verdict::Dead("late".to_owned())),
    ];
    store.settle(twice).await.unwrap();
    store.settle(vec![outcome("evt_1", "crm", 40, Verdict::Retry(at(50)))]).await.unwrap();
    let found = store.deliveries(&DeliveryFilter::default(), None, 5).await.unwrap();
    assert_eq!((&found[0].state, found[0].attempts), (&DeliveryState::Delivered { at: at(20) }, 1));
    assert_eq!(lease(store, 99, 100, 5).await, (vec![], None));
}

async fn attempts_are_kept_but_not_without_end(store: &dyn Store) {
    store.commit(events(&[("evt_1", "a", 1)], 10)).await.unwrap();
    for number in 0..ATTEMPTS_KEPT as i64 + 5 {
        let mut outcome = outcome("evt_1", "crm", number, Verdict::Retry(at(number)));
        // The worst a response can be: each character is six in JSON.
        outcome.attempt.response = "\u{1}".repeat(2048);
        store.settle(vec![outcome]).await.unwrap();
    }
    let found = store.deliveries(&DeliveryFilter::default(), None, 5).await.unwrap().remove(0);
    assert_eq!((found.attempts as usize, found.log.len()), (ATTEMPTS_KEPT + 5, ATTEMPTS_KEPT));
    assert_eq!(
        found.log.iter().map(|attempt| attempt.at.as_millis()).collect::<Vec<_>>(),
        Vec::from_iter(5..25)
    );
}

async fn settling_ends_a_lease_of_any_holder(store: &dyn Store) {
    store.commit(events(&[("evt_1", "a", 1)], 10)).await.unwrap();
    lease(store, 10, 20, 1).await;
    assert_eq!(lease(store, 20, 90, 1).await.0, ["evt_1"]);
    // The first holder is late.
    store.settle(vec![outcome("evt_1", "crm", 25, Verdict::Retry(at(30)))]).await.unwrap();
    assert_eq!(lease(store, 30, 90, 1).await.0, ["evt_1"]);
}

async fn deliveries_are_listed_in_order_and_filtered(store: &dyn Store) {
    let mut commit = Commit::new(clinic());
    for (id, call) in [("evt_b", "1"), ("evt_", "2"), ("evt_a", "1"), ("evt_bb", "3")] {
        commit.events.push(event(id, call));
        for destination in ["crm", "c"] {
            commit.deliveries.push(delivery(id, destination, 1, 10));
        }
    }
    store.commit(commit).await.unwrap();
    store.settle(vec![outcome("evt_a", "crm", 20, Verdict::Delivered)]).await.unwrap();
    let list = async |filter: DeliveryFilter| {
        let mut all: Vec<DeliveryId> = vec![];
        loop {
            let page = store.deliveries(&filter, all.last(), 3).await.unwrap();
            if page.is_empty() {
                return all;
            }
            all.extend(page.into_iter().map(|record| record.id));
        }
    };
    let mut every = vec![];
    for event in ["evt_", "evt_a", "evt_b", "evt_bb"] {
        every.extend([delivery_id(event, "c"), delivery_id(event, "crm")]);
    }
    assert_eq!(list(DeliveryFilter::default()).await, every);
    let of_call = DeliveryFilter { call: Some("1".into()), ..DeliveryFilter::default() };
    assert_eq!(list(of_call.clone()).await, every[2..6]);
    let pending_to_crm =
        DeliveryFilter { destination: Some(name("crm")), state: Some(DeliveryStateKind::Pending), ..of_call };
    assert_eq!(list(pending_to_crm).await, [delivery_id("evt_b", "crm")]);
}

async fn purge_forgets_in_steps_what_is_old_and_finished(store: &dyn Store) {
    let ids: Vec<_> = (0..10).map(|number| format!("evt_{number}")).collect();
    for id in &ids {
        store.commit(events(&[(id, id, 1)], 10)).await.unwrap();
    }
    for (id, finished) in ids.iter().zip([100, 50, 90, 60, 80, 70, 300, 200]) {
        let verdict = if finished == 90 { Verdict::Dead("no".to_owned()) } else { Verdict::Delivered };
        store.settle(vec![outcome(id, "crm", finished, verdict)]).await.unwrap();
    }
    assert_eq!(store.purge(at(50), 100).await.unwrap(), 0);
    assert_eq!(store.purge(at(200), 4).await.unwrap(), 4);
    let left = store.deliveries(&DeliveryFilter::default(), None, 100).await.unwrap();
    let left: Vec<_> = left.iter().map(|record| record.id.event.as_str()).collect();
    assert_eq!(left, ["evt_0", "evt_2", "evt_6", "evt_7", "evt_8", "evt_9"]);
    assert_eq!(store.purge(at(200), 4).await.unwrap(), 2);
    assert_eq!(store.purge(at(200), 4).await.unwrap(), 0);
    assert_eq!(
        store.tally().await.unwrap()[&name("crm")],
        Tally { pending: 2, delivered: 2, ..Tally::default() }
    );
    // The events are gone with them.
    let mut commit = Commit::new(clinic());
    commit.deliveries.push(delivery("evt_0", "frontdesk", 1, 10));
    assert!(matches!(store.commit(commit).await, Err(StoreError::UnknownEvent(_))));
}

async fn purge_keeps_an_event_with_a_delivery_left(store: &dyn Store) {
    let mut commit = events(&[("evt_1", "a", 1)], 10);
    commit.deliveries.push(delivery("evt_1", "frontdesk", 1, 10));
    store.commit(commit).await.unwrap();
    store.settle(vec![outcome("evt_1", "crm", 20, Verdict::Delivered)]).await.unwrap();
    assert_eq!(store.purge(at(1_000), 10).await.unwrap(), 1);
    assert_eq!(store.lease(&request("frontdesk", 30, 40, 1)).await.unwrap().deliveries.len(), 1);
    assert_eq!(store.tally().await.unwrap().keys().collect::<Vec<_>>(), [&name("frontdesk")]);
}

async fn tally_counts_every_state(store: &dyn Store) {
    assert!(store.tally().await.unwrap().is_empty());
    store.commit(events(&[("evt_1", "a", 1), ("evt_2", "a", 2), ("evt_3", "b", 1)], 10)).await.unwrap();
    let settled = vec![
        outcome("evt_1", "crm", 20, Verdict::Delivered),
        outcome("evt_2", "crm", 20, Verdict::Retry(at(30))),
        outcome("evt_3", "crm", 20, Verdict::Dead("no".to_owned())),
    ];
    store.settle(settled).await.unwrap();
    let expected = Tally { pending: 1, delivered: 1, dead: 1, ..Tally::default() };
    assert_eq!(store.tally().await.unwrap(), [(name("crm"), expected)].into());
}

async fn checkpoints_stay_until_replaced(store: &dyn Store) {
    assert_eq!(store.checkpoint(&clinic()).await.unwrap(), None);
    for (given, kept) in [(Some(json!({ "a": [1] })), json!({ "a": [1] })), (None, json!({ "a": [1] }))] {
        let mut commit = Commit::new(clinic());
        commit.checkpoint = given;
        commit.snapshots.push(("a".into(), snapshot("a", "hello")));
        store.commit(commit).await.unwrap();
        assert_eq!(store.checkpoint(&clinic()).await.unwrap(), Some(kept));
    }
    let mut commit = Commit::new(clinic());
    commit.checkpoint = Some(Value::Null);
    store.commit(commit).await.unwrap();
    assert_eq!(store.checkpoint(&clinic()).await.unwrap(), Some(Value::Null));
}

/// Whether somebody was woken, or will be as soon as they wait.
async fn woken(store: &dyn Store, destination: &str) -> bool {
    let arrivals = store.arrivals(&name(destination));
    tokio::time::timeout(Duration::ZERO, arrivals.notified()).await.is_ok()
}

async fn arrivals_wake(store: &dyn Store) {
    let waiting = store.arrivals(&name("crm"));
    let waiting = waiting.notified();
    let commit = events(&[("evt_1", "a", 1)], 10);
    store.commit(commit.clone()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap();
    assert!(!woken(store, "crm").await);
    // A wake-up is kept for whoever comes late, and only of the destination.
    store.commit(events(&[("evt_2", "b", 1)], 10)).await.unwrap();
    assert!(!woken(store, "frontdesk").await);
    assert!(woken(store, "crm").await);
    // Nothing new, nobody woken.
    store.commit(commit).await.unwrap();
    assert!(!woken(store, "crm").await);
}

async fn sources_do_not_see_each_other(store: &dyn Store) {
    for source in ["clinic", "clinic2", "c"] {
        let mut commit = Commit::new(name(source));
        commit.snapshots.push(("a".into(), snapshot("a", source)));
        commit.checkpoint = Some(json!(source));
        store.commit(commit).await.unwrap();
    }
    for source in ["clinic", "clinic2", "c"] {
        assert_eq!(
            store.snapshots(&name(source), &["a".into()]).await.unwrap(),
            [Some(snapshot("a", source))]
        );
        assert_eq!(store.known(&name(source), None, 9).await.unwrap().len(), 1);
        assert_eq!(store.checkpoint(&name(source)).await.unwrap(), Some(json!(source)));
    }
    assert_eq!(store.known(&name("clin"), None, 9).await.unwrap(), []);
}

async fn after_close_everything_says_so(store: &dyn Store) {
    store.commit(events(&[("evt_1", "a", 1)], 10)).await.unwrap();
    store.close().await.unwrap();
    let answers = [
        store.commit(Commit::new(clinic())).await.err(),
        store.snapshots(&clinic(), &[]).await.err(),
        store.known(&clinic(), None, 1).await.err(),
        store.checkpoint(&clinic()).await.err(),
        store.lease(&request("crm", 10, 20, 1)).await.err(),
        store.settle(vec![]).await.err(),
        store.release(vec![]).await.err(),
        store.tally().await.err(),
        store.held(&name("crm"), &"digest".into(), None, 1).await.err(),
        store.sort(Sorting::new(name("crm"), at(10))).await.err(),
        store.ledgers(&name("crm")).await.err(),
        store.deliveries(&DeliveryFilter::default(), None, 1).await.err(),
        store.purge(at(0), 1).await.err(),
        store.close().await.err(),
    ];
    for answer in answers {
        assert!(matches!(answer, Some(StoreError::Closed)), "{answer:?}");
    }
}

async fn a_dropped_call_leaves_the_store_whole(store: &dyn Store) {
    for number in 0..20 {
        let id = format!("evt_{number}");
        let mut commit = events(&[(&id, &id, 1)], 10);
        commit.snapshots.push((CallId::from(id.as_str()), snapshot(&id, "hello")));
        // Dropped before it was looked at, after the first look, or after a few.
        let mut call = store.commit(commit);
        for _ in 0..number % 4 {
            if futures_poll(&mut call).await {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    // Whatever was done is done by now: what follows is behind it in the queue.
    let pending = store.tally().await.unwrap().get(&name("crm")).map_or(0, |tally| tally.pending);
    let known = store.known(&clinic(), None, 100).await.unwrap();
    let listed = store.deliveries(&DeliveryFilter::default(), None, 100).await.unwrap();
    let leased = store.lease(&request("crm", 10, 20, 100)).await.unwrap();
    let ids: Vec<_> = known.iter().map(|call| call.id.as_str()).collect();
    assert_eq!(listed.iter().map(|record| record.id.event.as_str()).collect::<Vec<_>>(), ids);
    assert_eq!((pending as usize, leased.deliveries.len()), (ids.len(), ids.len()));
    assert!(!ids.is_empty() && ids.len() < 20, "some were made and some were not: {ids:?}");
}

/// Looks at a future once; whether it was ready.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_ready())
    })
    .await
}

async fn many_at_once(store: &dyn Store) {
    let one = async |number: usize| {
        let id = format!("evt_{number:04}");
        store.commit(events(&[(&id, &id, 1)], 10)).await.unwrap();
        store.settle(vec![outcome(&id, "crm", 20, Verdict::Delivered)]).await.unwrap();
        // What was acknowledged is seen.
        let filter = DeliveryFilter { call: Some(id.as_str().into()), ..DeliveryFilter::default() };
        store.deliveries(&filter, None, 1).await.unwrap().remove(0).state
    };
    let mut all: Vec<_> = (0..300).map(|number| Box::pin(one(number))).collect();
    let mut left = all.len();
    std::future::poll_fn(|context| {
        all.retain_mut(|future| match future.as_mut().poll(context) {
            std::task::Poll::Ready(state) => {
                assert_eq!(state, DeliveryState::Delivered { at: at(20) });
                left -= 1;
                false
            }
            std::task::Poll::Pending => true,
        });
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    assert_eq!(left, 0);
    assert_eq!(store.tally().await.unwrap()[&name("crm")].delivered, 300);
}
