//! Several processes on one store: one of them serves a destination, and nothing of the others counts.

use std::sync::Arc;

use callwatch::store::{MemoryStore, Store};

use super::{
    calls, firsts,
    stage::{Reply, Stage, config, is_delivered, millis, secs},
};

const LEASE: u64 = 30;

/// A stage on the store of one process, and the same store as another process sees it.
fn two_processes() -> (Stage, Arc<dyn Store>) {
    let store = MemoryStore::with_lease(secs(LEASE));
    let other = Arc::new(store.another_process());
    (Stage::on(store), other)
}

#[tokio::test(start_paused = true)]
async fn one_of_two_processes_delivers() {
    let (mut stage, other) = two_processes();
    let receiver = stage.receiver(|_| Reply::Slow(secs(1)));
    let first = stage.serve(config("crm"), &receiver);
    let second = stage.serve_from(other, config("crm"), &receiver);
    let calls = calls(1000);
    stage.add("crm", &firsts(&calls)).await;
    let start = stage.clock.steady();
    stage.finished(1000).await;
    assert_eq!(stage.elapsed(start), secs(125), "its claim is renewed all the while");
    assert_eq!((receiver.tries().len(), receiver.most_in_flight()), (1000, 8));
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_process_that_ends_in_good_order_is_followed_within_a_second() {
    let (mut stage, other) = two_processes();
    let receiver = stage.receiver(|_| Reply::Ok);
    let first = stage.serve(config("crm"), &receiver);
    tokio::time::sleep(secs(1)).await;
    let second = stage.serve_from(other, config("crm"), &receiver);
    tokio::time::sleep(millis(2_300)).await;
    first.stop().await.unwrap();
    let ended = stage.clock.steady();
    stage.add("crm", &[("a", 1)]).await;
    stage.finished(1).await;
    assert!(stage.elapsed(ended) <= secs(1), "{:?}", stage.elapsed(ended));
    second.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_killed_is_followed_when_its_claim_ends() {
    let (mut stage, other) = two_processes();
    let stuck = stage.receiver(|_| Reply::Hang);
    let receiver = stage.receiver(|_| Reply::Ok);
    let first = stage.serve(config("crm"), &stuck);
    stage.add("crm", &[("a", 1), ("a", 2)]).await;
    tokio::time::sleep(secs(3)).await;
    let second = stage.serve_from(other, config("crm"), &receiver);
    first.cut_off().await;
    let killed = stage.clock.steady();
    stage.finished(2).await;
    assert!(stage.elapsed(killed) <= secs(LEASE + 2), "{:?}", stage.elapsed(killed));
    assert!(stage.records("crm").await.iter().all(is_delivered));
    second.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_stopped_and_goes_on_changes_nothing() {
    let (mut stage, other) = two_processes();
    // To the first process the receiver is slow; when it answers, another one has done the work.
    let slow = stage.receiver(|it| if it.number == 1 { Reply::Slow(secs(100)) } else { Reply::Ok });
    let receiver = stage.receiver(|_| Reply::Ok);
    let mut patient = config("crm");
    patient.timeout = secs(3600);
    let first = stage.serve(patient.clone(), &slow);
    tokio::time::sleep(secs(1)).await;
    stage.add("crm", &[("a", 1), ("b", 1)]).await;
    tokio::time::sleep(secs(1)).await;
    assert_eq!(slow.in_flight(), 2);
    stage.store.hold_claims();
    let second = stage.serve_from(other, patient, &receiver);
    stage.finished(2).await;
    assert_eq!(receiver.tries().len(), 2, "it took over");
    stage.store.let_claim();
    tokio::time::sleep(secs(200)).await;
    assert_eq!(slow.in_flight(), 0);
    for record in stage.records("crm").await {
        assert!(is_delivered(&record) && record.attempts == 1, "{record:?}");
    }
    assert_eq!(stage.count("delivered"), 2, "what was not written down is not told");

    second.stop().await.unwrap();
    stage.add("crm", &[("c", 1)]).await;
    stage.attempted(0).await;
    tokio::time::sleep(secs(300)).await;
    assert!(is_delivered(&stage.record("crm", "c", 1).await), "it serves again when nobody else does");
    first.stop().await.unwrap();
}
