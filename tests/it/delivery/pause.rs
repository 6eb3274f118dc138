//! A destination that wants nothing any more, or is wanted quiet: it is left alone over restarts, and what is meant
//! for it waits.

use callwatch::store::{Action, DeliveryState, DeliveryStateKind, Duty, Pause, Store};

use super::stage::{Reply, Stage, config, is_delivered, secs};

const DAY: u64 = 24 * 3600;

#[tokio::test(start_paused = true)]
async fn a_goodbye_is_kept_over_restarts_until_somebody_resumes() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|it| {
        if it.number == 1 && it.call == "a" && it.sequence == 1 { Reply::Goodbye } else { Reply::Ok }
    });
    stage.add("crm", &[("a", 1)]).await;
    let running = stage.serve(config("crm"), &receiver);
    stage.attempted(1).await;
    stage.add("crm", &[("a", 2), ("b", 1)]).await;
    tokio::time::sleep(secs(40 * DAY)).await;
    running.stop().await.unwrap();
    let running = stage.serve(config("crm"), &receiver);
    tokio::time::sleep(secs(40 * DAY)).await;

    assert_eq!(receiver.tries().len(), 1);
    for record in stage.records("crm").await {
        assert_eq!(record.state.kind(), DeliveryStateKind::Pending, "{record:?}");
    }
    let pause = stage.pause("crm").await.unwrap();
    assert_eq!((pause.reason.as_str(), pause.until), ("410 Gone: no more of this", None));
    assert_eq!((stage.count("pauses"), stage.count("resumptions")), (2, 0), "told at once, and at the start");

    let resumed = stage.clock.steady();
    stage.resume("crm").await;
    stage.finished(3).await;
    assert_eq!(stage.elapsed(resumed), secs(0));
    assert_eq!(stage.count("resumptions"), 1);
    assert_eq!(stage.record("crm", "a", 1).await.attempts, 2);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_to_many_at_once_is_told_once() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|_| Reply::Goodbye);
    stage.add("crm", &[("a", 1), ("b", 1), ("c", 1), ("d", 1)]).await;
    let running = stage.serve(config("crm"), &receiver);
    stage.attempted(4).await;
    tokio::time::sleep(secs(DAY)).await;
    assert_eq!((receiver.tries().len(), stage.count("pauses")), (4, 1));
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_is_not_shortened_by_a_wish_to_be_left_alone_for_a_while() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|it| if it.call == "b" { Reply::Goodbye } else { Reply::Busy(secs(60)) });
    stage.add("crm", &[("a", 1), ("b", 1), ("c", 1)]).await;
    let running = stage.serve(config("crm"), &receiver);
    stage.attempted(3).await;
    tokio::time::sleep(secs(DAY)).await;
    assert_eq!(receiver.tries().len(), 3);
    assert_eq!(stage.pause("crm").await.unwrap().until, None);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn another_config_ends_the_pause_a_receiver_asked_for() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|it| if it.number == 1 { Reply::Goodbye } else { Reply::Ok });
    stage.add("crm", &[("a", 1)]).await;
    let running = stage.serve(config("crm"), &receiver);
    stage.attempted(1).await;
    running.stop().await.unwrap();

    let mut elsewhere = config("crm");
    elsewhere.fingerprint = "second".into();
    let started = stage.clock.steady();
    let running = stage.serve(elsewhere, &receiver);
    stage.finished(1).await;
    assert_eq!(stage.elapsed(started), secs(0));
    assert_eq!(stage.pause("crm").await, None);
    assert_eq!(stage.count("resumptions"), 1);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pause_by_hand_is_ended_by_hand_only() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|_| Reply::Ok);
    let pause = Pause::by_hand(stage.clock.wall());
    stage.store.act(Action::Pause { destination: "crm".into(), pause }).await.unwrap();
    stage.add("crm", &[("a", 1)]).await;
    let mut elsewhere = config("crm");
    elsewhere.fingerprint = "second".into();
    let running = stage.serve(elsewhere, &receiver);
    tokio::time::sleep(secs(DAY)).await;
    assert!(receiver.tries().is_empty());
    stage.resume("crm").await;
    stage.finished(1).await;
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_receiver_asked_for_outlasts_a_restart() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|it| if it.number == 1 { Reply::Busy(secs(3600)) } else { Reply::Ok });
    let start = stage.clock.steady();
    stage.add("crm", &[("a", 1)]).await;
    let running = stage.serve(config("crm"), &receiver);
    stage.attempted(1).await;
    running.stop().await.unwrap();
    stage.add("crm", &[("b", 1)]).await;
    let running = stage.serve(config("crm"), &receiver);
    tokio::time::sleep(secs(3599)).await;
    assert_eq!(receiver.tries().len(), 1, "never earlier");
    stage.finished(1).await;
    assert_eq!(stage.elapsed(start), secs(3600));
    assert_eq!(stage.count("resumptions"), 1);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_retried_by_hand_has_its_whole_schedule_again() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|it| if it.number <= 3 { Reply::Fail } else { Reply::Ok });
    stage.add("crm", &[("a", 1)]).await;
    let mut brief = config("crm");
    (brief.retry, brief.max_attempts_age) = (vec![secs(60)], Some(secs(300)));
    let running = stage.serve(brief, &receiver);
    stage.finished(1).await;
    let dead = stage.record("crm", "a", 1).await;
    assert_eq!((dead.state.kind(), dead.attempts), (DeliveryStateKind::Dead, 2));

    tokio::time::sleep(secs(DAY)).await;
    let retried = stage.clock.steady();
    stage.retry(dead.token).await;
    stage.attempted(1).await;
    assert_eq!(stage.elapsed(retried), secs(0));
    let record = stage.record("crm", "a", 1).await;
    assert!(matches!(record.state, DeliveryState::Pending { .. }), "as after a first failure: {record:?}");
    stage.finished(1).await;
    let record = stage.record("crm", "a", 1).await;
    assert!(is_delivered(&record));
    assert_eq!((record.attempts, record.log.len()), (4, 4), "what was tried before is not forgotten");
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_meant_for_a_destination_without_config_waits() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|_| Reply::Ok);
    stage.add("gone", &[("a", 1)]).await;
    stage.add("crm", &[("a", 1)]).await;
    let running = stage.serve(config("crm"), &receiver);
    stage.finished(1).await;
    tokio::time::sleep(secs(40 * DAY)).await;
    let claim = stage.store.claim(&Duty::Upkeep).await.unwrap().unwrap();
    while stage.store.purge(&claim, stage.clock.wall(), 100).await.unwrap() > 0 {}
    let waiting = stage.record("gone", "a", 1).await;
    assert_eq!((waiting.state.kind(), waiting.attempts), (DeliveryStateKind::Pending, 0));
    running.stop().await.unwrap();

    let back = stage.serve(config("gone"), &receiver);
    stage.finished(1).await;
    back.stop().await.unwrap();
}
