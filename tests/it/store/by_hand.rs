//! What people ask of a store: another try, an end, a pause. Every implementation alike.

use callwatch::store::{DeliveryFilter, DeliveryState, Pause, Restart, Tally};
use tokio::time::timeout;

use super::*;

async fn settle(store: &dyn Store, event: &str, verdict: Verdict) {
    store.settle(vec![outcome(event, "crm", 50, verdict)]).await.unwrap();
}

fn dead() -> Verdict {
    Verdict::Dead("422 Unprocessable Entity".to_owned())
}

async fn record(store: &dyn Store, event: &str) -> Option<callwatch::store::DeliveryRecord> {
    let all = store.deliveries(&DeliveryFilter::default(), None, 100).await.unwrap();
    all.into_iter().find(|record| record.id.event == event_id(event))
}

async fn tally(store: &dyn Store) -> Option<Tally> {
    store.tally().await.unwrap().remove(&name("crm"))
}

fn pause(until: Option<i64>, config: Option<&str>) -> Pause {
    Pause {
        since: at(5),
        reason: "410 Gone".to_owned(),
        until: until.map(at),
        config: config.map(str::to_owned),
    }
}

#[tokio::test]
async fn a_dead_delivery_is_due_again_in_its_place_and_keeps_its_attempts() {
    each(async |store| {
        store.commit(events(&[("evt_1", "a", 1), ("evt_2", "a", 2), ("evt_3", "a", 3)], 10)).await.unwrap();
        settle(store, "evt_1", dead()).await;
        settle(store, "evt_2", Verdict::Delivered).await;
        assert_eq!(lease(store, 100, 200, 10).await.0, ["evt_3"]);
        store.release(vec![delivery_id("evt_3", "crm")]).await.unwrap();

        let ids = ["evt_1", "evt_2", "evt_none"].map(|event| delivery_id(event, "crm"));
        assert_eq!(store.retry(ids.to_vec(), at(300)).await.unwrap(), 1);

        let record = record(store, "evt_1").await.unwrap();
        assert_eq!(record.state, DeliveryState::Pending { due: at(300) });
        assert_eq!((record.attempts, record.log.len()), (1, 1));
        assert_eq!(record.restart, Some(Restart { at: at(300), attempts: 1 }));
        assert_eq!(tally(store).await, Some(Tally { pending: 2, delivered: 1, ..Tally::default() }));
        // It goes before what came after it, which waits as it did before.
        assert_eq!(lease(store, 299, 400, 10).await, (vec![], Some(300)));
        let leased = store.lease(&request("crm", 300, 400, 10)).await.unwrap();
        assert_eq!(leased.deliveries[0].restart, Some(Restart { at: at(300), attempts: 1 }));
        assert_eq!(leased.deliveries[0].attempts, 1);
        settle(store, "evt_1", Verdict::Delivered).await;
        assert_eq!(lease(store, 500, 600, 10).await.0, ["evt_3"]);
        assert_eq!(store.purge(at(1_000), 10).await.unwrap(), 2, "it was finished once, at last");
    })
    .await;
}

#[tokio::test]
async fn a_delivery_that_waits_is_due_at_once() {
    each(async |store| {
        store.commit(events(&[("evt_1", "a", 1)], 10)).await.unwrap();
        settle(store, "evt_1", Verdict::Retry(at(90_000))).await;
        assert_eq!(lease(store, 100, 200, 10).await, (vec![], Some(90_000)));
        assert_eq!(store.retry(vec![delivery_id("evt_1", "crm")], at(100)).await.unwrap(), 1);
        assert_eq!(lease(store, 100, 200, 10).await.0, ["evt_1"]);
    })
    .await;
}

#[tokio::test]
async fn what_is_discarded_is_gone_with_its_event_and_lets_the_next_one_go() {
    each(async |store| {
        let mut commit = events(&[("evt_1", "a", 1), ("evt_2", "a", 2), ("evt_3", "b", 1)], 10);
        commit.deliveries.push(delivery("evt_2", "mail", 1, 10));
        store.commit(commit).await.unwrap();
        settle(store, "evt_3", dead()).await;
        let ids = ["evt_1", "evt_2", "evt_3", "evt_3"].map(|event| delivery_id(event, "crm"));
        assert_eq!(lease(store, 100, 200, 1).await.0, ["evt_1"]);

        assert_eq!(store.discard(ids[..1].to_vec()).await.unwrap(), 1);
        assert_eq!(lease(store, 100, 200, 10).await, (vec!["evt_2".to_owned()], None));
        settle(store, "evt_1", Verdict::Delivered).await;
        assert_eq!(store.discard(ids.to_vec()).await.unwrap(), 2, "those that were left, each once");
        assert_eq!(tally(store).await, None);
        assert_eq!(lease(store, 100, 200, 10).await, (vec![], None));
        let left = store.deliveries(&DeliveryFilter::default(), None, 100).await.unwrap();
        assert_eq!(left.iter().map(|record| &record.id).collect::<Vec<_>>(), [&delivery_id("evt_2", "mail")]);
        assert_eq!(store.purge(at(1_000), 10).await.unwrap(), 0);
        // The event of the last delivery is gone: nothing more can be made of it.
        let mut late = Commit::new(clinic());
        late.deliveries.push(delivery("evt_3", "mail", 1, 20));
        assert!(matches!(store.commit(late).await, Err(StoreError::UnknownEvent(_))));
    })
    .await;
}

#[tokio::test]
async fn a_paused_destination_is_left_alone_and_loses_nothing() {
    each(async |store| {
        store.commit(events(&[("evt_1", "a", 1)], 10)).await.unwrap();
        store.pause(&name("crm"), pause(None, None)).await.unwrap();
        store.commit(events(&[("evt_2", "b", 1)], 20)).await.unwrap();
        let leased = store.lease(&request("crm", 100, 200, 10)).await.unwrap();
        assert!(leased.deliveries.is_empty());
        assert_eq!((leased.pause, leased.next_due), (Some(pause(None, None)), None));
        assert_eq!(tally(store).await, Some(Tally { pending: 2, ..Tally::default() }));

        assert_eq!(store.resume(&name("crm")).await.unwrap(), Some(pause(None, None)));
        assert_eq!(store.resume(&name("crm")).await.unwrap(), None);
        assert!(store.pauses().await.unwrap().is_empty());
        assert_eq!(lease(store, 100, 200, 10).await.0, ["evt_1", "evt_2"]);
    })
    .await;
}

#[tokio::test]
async fn a_pause_with_an_end_ends_by_itself() {
    each(async |store| {
        store.commit(events(&[("evt_1", "a", 1)], 10)).await.unwrap();
        store.pause(&name("crm"), pause(Some(150), Some("config"))).await.unwrap();
        assert_eq!(lease(store, 149, 200, 10).await, (vec![], Some(150)));
        assert_eq!(lease(store, 150, 200, 10).await.0, ["evt_1"]);
    })
    .await;
}

#[tokio::test]
async fn of_two_pauses_the_one_that_lasts_longer_stays() {
    each(async |store| {
        let crm = name("crm");
        let by_increasing_length = [
            pause(Some(150), Some("config")),
            pause(Some(160), Some("config")),
            pause(None, Some("config")),
            pause(None, None),
        ];
        for (n, one) in by_increasing_length.iter().enumerate() {
            store.pause(&crm, one.clone()).await.unwrap();
            for shorter in &by_increasing_length[..n] {
                store.pause(&crm, shorter.clone()).await.unwrap();
            }
            assert_eq!(store.pauses().await.unwrap()[&crm], *one);
        }
    })
    .await;
}

#[tokio::test]
async fn whoever_waits_for_deliveries_is_woken() {
    each(async |store| {
        let crm = name("crm");
        store.commit(events(&[("evt_1", "a", 1), ("evt_2", "a", 2)], 10)).await.unwrap();
        settle(store, "evt_1", dead()).await;
        let arrivals = store.arrivals(&crm);
        let woken = async || timeout(Duration::from_secs(10), arrivals.notified()).await.unwrap();
        // What the commits above left behind.
        arrivals.notify_one();
        woken().await;
        store.retry(vec![delivery_id("evt_1", "crm")], at(60)).await.unwrap();
        woken().await;
        store.discard(vec![delivery_id("evt_1", "crm")]).await.unwrap();
        woken().await;
        store.resume(&crm).await.unwrap();
        woken().await;
    })
    .await;
}

#[tokio::test]
async fn a_restart_forgets_no_pause_and_no_second_chance() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    store.commit(events(&[("evt_1", "a", 1)], 10)).await.unwrap();
    settle(&store, "evt_1", dead()).await;
    store.retry(vec![delivery_id("evt_1", "crm")], at(60)).await.unwrap();
    store.pause(&name("crm"), pause(None, Some("config"))).await.unwrap();
    store.close().await.unwrap();

    let store = open(folder.path()).await.unwrap();
    assert_eq!(store.pauses().await.unwrap()[&name("crm")], pause(None, Some("config")));
    assert_eq!(record(&store, "evt_1").await.unwrap().restart, Some(Restart { at: at(60), attempts: 1 }));
}
