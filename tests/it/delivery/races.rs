//! People and commits that come between a delivery's attempt, its settlement and the reading of the feed.

use callwatch::store::DeliveryStateKind;

use super::stage::{Reply, Stage, config, is_delivered, millis, secs};

#[tokio::test(start_paused = true)]
async fn a_delivery_retried_right_after_its_outcome_was_written_is_tried_again() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|it| if it.number == 1 { Reply::Refuse } else { Reply::Ok });
    stage.store.hold_settles();
    stage.add("crm", &[("a", 1)]).await;
    let running = stage.serve(config("crm"), &receiver);
    tokio::time::sleep(secs(1)).await;
    let dead = stage.record("crm", "a", 1).await;
    assert_eq!(dead.state.kind(), DeliveryStateKind::Dead, "written, and not acknowledged");
    stage.retry(dead.token).await;
    tokio::time::sleep(secs(1)).await;
    stage.store.acknowledge();
    stage.finished(2).await;
    let record = stage.record("crm", "a", 1).await;
    assert!(is_delivered(&record));
    assert_eq!((record.attempts, receiver.tries().len()), (2, 2));
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_page_that_was_read_before_an_outcome_was_written_does_not_undo_it() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|_| Reply::Slow(secs(10)));
    stage.add("crm", &[("a", 1)]).await;
    let running = stage.serve(config("crm"), &receiver);
    tokio::time::sleep(secs(1)).await;
    stage.store.hold_reads();
    stage.retry(stage.record("crm", "a", 1).await.token).await;
    stage.finished(1).await;
    tokio::time::sleep(secs(1)).await;
    stage.store.hand_over();
    tokio::time::sleep(secs(600)).await;
    assert_eq!(receiver.tries().len(), 1);
    let record = stage.record("crm", "a", 1).await;
    assert!(is_delivered(&record) && record.attempts == 1, "{record:?}");
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_delivery_dropped_in_flight_is_forgotten_and_the_next_of_its_lane_goes_out() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|it| if it.sequence == 1 { Reply::Slow(secs(10)) } else { Reply::Ok });
    stage.add("crm", &[("a", 1), ("a", 2)]).await;
    let running = stage.serve(config("crm"), &receiver);
    tokio::time::sleep(secs(1)).await;
    stage.discard(stage.record("crm", "a", 1).await.token).await;
    stage.finished(1).await;
    let records = stage.records("crm").await;
    assert_eq!((records.len(), records[0].sequence), (1, 2));
    tokio::time::sleep(secs(60)).await;
    assert_eq!(receiver.tries().len(), 2);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_new_start_given_in_flight_counts_from_then() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|it| match it.number {
        2 => Reply::FailSlowly(secs(10)),
        4 => Reply::Ok,
        _ => Reply::Fail,
    });
    stage.add("crm", &[("a", 1)]).await;
    let mut brief = config("crm");
    brief.retry = vec![secs(60), secs(3600)];
    let running = stage.serve(brief, &receiver);
    stage.attempted(1).await;
    tokio::time::sleep(secs(67)).await;
    assert_eq!(receiver.in_flight(), 1);
    stage.retry(stage.record("crm", "a", 1).await.token).await;
    // The attempt in flight is the last one of the old start: the new one has its own two waits.
    stage.finished(1).await;
    let record = stage.record("crm", "a", 1).await;
    assert!(is_delivered(&record), "{record:?}");
    assert_eq!(record.attempts, 4);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn only_outcomes_with_nothing_behind_them_are_acknowledged_early() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|it| if it.call == "refused" { Reply::Refuse } else { Reply::Ok });
    let running = stage.serve(config("crm"), &receiver);
    for (items, lazy) in [
        (&[("a", 1)][..], &[true][..]),
        (&[("b", 1), ("b", 2)], &[false, true]),
        (&[("refused", 1)], &[false]),
    ] {
        let before = stage.store.settles().len();
        stage.add("crm", items).await;
        stage.finished(items.len()).await;
        let settles: Vec<_> = stage.store.settles()[before..].iter().map(|it| it.lazy).collect();
        assert_eq!(settles, lazy, "{items:?}");
    }
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_next_of_a_lane_waits_until_an_early_acknowledgement_is_synced() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|_| Reply::Ok);
    let start = stage.clock.steady();
    stage.add("crm", &[("a", 1)]).await;
    let running = stage.serve(config("crm"), &receiver);
    stage.finished(1).await;
    tokio::time::sleep(millis(10)).await;
    stage.add("crm", &[("a", 2), ("b", 1)]).await;
    stage.finished(2).await;
    let mut times: Vec<_> =
        receiver.tries().iter().map(|it| (it.call.clone(), it.at.since(start).as_millis())).collect();
    times.sort();
    assert_eq!(times, [("a".to_owned(), 0), ("a".to_owned(), 50), ("b".to_owned(), 10)]);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_page_that_was_read_before_a_goodbye_does_not_end_the_pause() {
    let mut stage = Stage::new();
    let receiver =
        stage.receiver(|it| if it.call == "a" { Reply::GoodbyeSlowly(secs(10)) } else { Reply::Ok });
    stage.add("crm", &[("a", 1)]).await;
    let running = stage.serve(config("crm"), &receiver);
    tokio::time::sleep(secs(1)).await;
    stage.store.hold_reads();
    stage.add("crm", &[("b", 1)]).await;
    stage.attempted(1).await;
    stage.store.hand_over();
    tokio::time::sleep(secs(600)).await;
    assert_eq!(receiver.tries().len(), 1);
    assert_eq!((stage.count("pauses"), stage.count("resumptions")), (1, 0));
    stage.resume("crm").await;
    stage.finished(1).await;
    running.stop().await.unwrap();
}
