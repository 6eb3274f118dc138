//! A destination with a bug, a store that fails, a task that is cut off: nothing is lost.

use callwatch::store::{DeliveryStateKind, StoreError};

use super::stage::{Reply, Stage, config, is_delivered, millis, secs};

fn unreadable() -> StoreError {
    StoreError::Io { path: "callwatch.db".to_owned(), doing: "read", why: "input/output error".to_owned() }
}

fn full() -> StoreError {
    StoreError::DiskFull { path: "callwatch.db".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn a_panic_loses_nothing() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|it| if it.number == 1 { Reply::Panic } else { Reply::Ok });
    stage.add("crm", &[("a", 1), ("a", 2), ("b", 1)]).await;
    let running = stage.serve(config("crm"), &receiver);
    stage.finished(3).await;
    for record in stage.records("crm").await {
        assert!(is_delivered(&record), "{record:?}");
        assert_eq!(record.attempts, 2);
        assert_eq!(record.log[0].result, "internal error: the attempt panicked");
    }
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_never_ends_is_ended() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|it| if it.number == 1 { Reply::Hang } else { Reply::Ok });
    stage.add("crm", &[("a", 1)]).await;
    let start = stage.clock.steady();
    let running = stage.serve(config("crm"), &receiver);
    tokio::time::sleep(millis(19_999)).await;
    stage.attempted(1).await;
    assert_eq!(stage.elapsed(start), secs(20), "its timeout, and a little to clean up");
    stage.finished(1).await;
    let record = stage.record("crm", "a", 1).await;
    assert_eq!(record.log[0].result, "no answer within 20s");
    assert_eq!(record.log[0].took_ms, 20_000);
    assert!(!receiver.overlapped());
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_for_a_moment_costs_a_moment() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|_| Reply::Ok);
    stage.add("crm", &[("a", 1), ("a", 2)]).await;
    stage.store.fail_reads([unreadable(), unreadable()]);
    stage.store.fail_settles([unreadable(), unreadable(), unreadable()]);
    let start = stage.clock.steady();
    let running = stage.serve(config("crm"), &receiver);
    stage.finished(2).await;
    assert_eq!(receiver.tries().len(), 2, "a settlement is asked for again, not the attempt");
    assert_eq!(stage.elapsed(start), millis(1_100 + 6_100));
    assert_eq!(stage.count("store_failures"), 5);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_goes_on_failing_ends_the_task() {
    let stage = Stage::new();
    let receiver = stage.receiver(|_| Reply::Ok);
    stage.add("crm", &[("a", 1)]).await;
    stage.store.fail_settles(std::iter::repeat_with(unreadable).take(100));
    let start = stage.clock.steady();
    let error = stage.serve(config("crm"), &receiver).task.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), unreadable().to_string());
    assert_eq!(stage.elapsed(start), millis(6_100));
    assert_eq!(stage.record("crm", "a", 1).await.state.kind(), DeliveryStateKind::Pending);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_not_waited_for() {
    let stage = Stage::new();
    let receiver = stage.receiver(|_| Reply::Ok);
    stage.store.fail_reads([full()]);
    let start = stage.clock.steady();
    let error = stage.serve(config("crm"), &receiver).task.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), full().to_string());
    assert_eq!(stage.elapsed(start), secs(0));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_cut_off_is_taken_up_at_once() {
    let mut stage = Stage::new();
    let slow = stage.receiver(|_| Reply::Slow(secs(10)));
    stage.add("crm", &[("a", 1), ("a", 2), ("b", 1)]).await;
    let running = stage.serve(config("crm"), &slow);
    tokio::time::sleep(secs(5)).await;
    running.cut_off().await;
    let cut = stage.clock.steady();
    let receiver = stage.receiver(|_| Reply::Ok);
    let running = stage.serve(config("crm"), &receiver);
    stage.finished(3).await;
    assert_eq!(stage.elapsed(cut), secs(0));
    assert_eq!(receiver.tries().len(), 3);
    running.stop().await.unwrap();
}
