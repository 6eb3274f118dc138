//! D3, D4, D5 and what keeps a destination from being flooded: what arrives, when, and what the store says.

mod alerts;
mod claims;
mod crash_points;
mod mortal;
mod order;
mod pacing;
mod pause;
mod races;
mod stage;
mod store;
mod trouble;
mod turns;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use callwatch::{
    event::Severity,
    store::{DeliveryRecord, DeliveryState, DeliveryStateKind},
    time::Timestamp,
};

use serde_json::{Value, json};

use self::stage::{Reply, Stage, Try, commit, config, is_delivered, millis, rate, secs};

fn calls(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("call{n:05}")).collect()
}

fn firsts(calls: &[String]) -> Vec<(&str, u64)> {
    calls.iter().map(|call| (call.as_str(), 1)).collect()
}

fn since(start: Timestamp, tries: &[Try]) -> Vec<f64> {
    tries.iter().map(|it| it.at.since(start).as_secs_f64()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_committed_is_delivered_at_once() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|_| Reply::Ok);
    let running = stage.serve(config("crm"), &receiver);
    for n in 1..=3 {
        tokio::time::sleep(secs(100)).await;
        let added = stage.clock.steady();
        stage.add("crm", &[("a", n)]).await;
        stage.finished(1).await;
        let last = receiver.tries().pop().unwrap();
        assert_eq!((last.at, last.sequence), (added, n));
        assert_eq!(last.severity, Some(Severity::Critical), "as the rule wants it said");
    }
    let record = stage.record("crm", "a", 3).await;
    assert!(is_delivered(&record), "{record:?}");
    assert_eq!((record.attempts, record.log[0].result.as_str()), (1, "200 OK"));
    assert_eq!(record.log[0].response, "the beginning of it");
    assert_eq!(stage.count("delivered"), 3);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_committed_while_the_feed_is_read_is_not_missed() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|_| Reply::Ok);
    stage.store.commit_during_next_read(commit("crm", &[("a", 1)], stage.clock.wall()));
    let start = stage.clock.steady();
    let running = stage.serve(config("crm"), &receiver);
    stage.finished(1).await;
    assert_eq!(stage.elapsed(start), secs(0));
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_idle_destination_is_hardly_looked_at() {
    let stage = Stage::new();
    let receiver = stage.receiver(|_| Reply::Ok);
    let running = stage.serve(config("crm"), &receiver);
    tokio::time::sleep(secs(3600)).await;
    let reads = stage.store.reads();
    assert!((59..=63).contains(&reads), "once a minute, in case the clock was set: {reads}");
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_more_is_in_flight_than_memory_has_room_for() {
    // With 16 MiB of events in flight no more are fetched, and eight are fetched at a time.
    const LONG: usize = 3 << 20;
    let mut stage = Stage::new();
    let receiver = stage.receiver(|_| Reply::Slow(secs(1)));
    let calls = calls(60);
    let mut long = commit("crm", &firsts(&calls), stage.clock.wall());
    let text = format!("\"{}\"", "x".repeat(LONG));
    let record: std::sync::Arc<_> = serde_json::value::RawValue::from_string(text).unwrap().into();
    // The first ones are short, so that nobody concludes from them.
    long.events.iter_mut().skip(20).for_each(|new| new.event.record = std::sync::Arc::clone(&record));
    stage.store.add(long).await;
    let mut wide = config("crm");
    wide.concurrency = 20;
    let running = stage.serve(wide, &receiver);
    stage.finished(60).await;
    let tries = receiver.tries();
    let in_flight = |at: Timestamp| {
        let is_long = |it: &&Try| it.record.len() > LONG && it.at <= at && at.since(it.at) < secs(1);
        tries.iter().filter(is_long).count()
    };
    let most = tries.iter().map(|it| in_flight(it.at)).max().unwrap();
    assert!((6..=6 + 8).contains(&most), "{most} of 3 MiB each");
    assert!(receiver.most_in_flight() >= 16, "short ones are not kept back");
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_failed_delivery_is_tried_again_by_its_schedule() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|it| if it.number < 4 { Reply::Fail } else { Reply::Ok });
    stage.add("crm", &[("a", 1)]).await;
    let running = stage.serve(config("crm"), &receiver);
    stage.finished(1).await;
    let tries = receiver.tries();
    let waits: Vec<f64> = tries.windows(2).map(|two| two[1].at.since(two[0].at).as_secs_f64()).collect();
    for (wait, planned) in waits.iter().zip([5.0, 60.0, 600.0]) {
        assert!((planned..=planned * 1.1 + 0.01).contains(wait), "{waits:?}");
    }
    let record = stage.record("crm", "a", 1).await;
    assert!(is_delivered(&record));
    assert_eq!(record.attempts, 4);
    assert_eq!(stage.count("failed_attempts"), 3);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dead_delivery_says_why_and_does_not_block_its_lane() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|it| match it.sequence {
        1 => Reply::Refuse,
        2 => Reply::Fail,
        _ => Reply::Ok,
    });
    stage.add("crm", &[("a", 1), ("a", 2), ("a", 3)]).await;
    let mut brief = config("crm");
    brief.retry = vec![secs(60)];
    let running = stage.serve(brief, &receiver);
    stage.finished(3).await;
    let sequences: Vec<u64> = receiver.tries().iter().map(|it| it.sequence).collect();
    assert_eq!(sequences, [1, 2, 2, 3]);
    let reason = |record: DeliveryRecord| match record.state {
        DeliveryState::Dead { reason, .. } => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(stage.record("crm", "a", 1).await), "refused for good");
    let gave_up = reason(stage.record("crm", "a", 2).await);
    assert!(gave_up.starts_with("gave up after 2 attempts over 1m"), "{gave_up}");
    assert!(gave_up.ends_with("; last: 500 Internal Server Error"), "{gave_up}");
    assert!(is_delivered(&stage.record("crm", "a", 3).await));
    assert_eq!(stage.count("dead"), 2);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn different_calls_do_not_wait_for_each_other() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|it| if it.call == "slow" { Reply::Slow(secs(14)) } else { Reply::Ok });
    let start = stage.clock.steady();
    stage.add("crm", &[("slow", 1), ("slow", 2), ("quick", 1), ("quick", 2)]).await;
    let running = stage.serve(config("crm"), &receiver);
    stage.finished(2).await;
    assert_eq!(stage.elapsed(start), secs(0));
    stage.finished(2).await;
    assert_eq!(stage.elapsed(start), secs(28));
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_hangs_delays_nothing_but_itself() {
    let mut stage = Stage::new();
    let calls = calls(200);
    let hangs = stage.receiver(|_| Reply::Hang);
    let works = stage.receiver(|_| Reply::Slow(millis(100)));
    let start = stage.clock.steady();
    stage.add("dead", &firsts(&calls)).await;
    stage.add("crm", &firsts(&calls)).await;
    let dead = stage.serve(config("dead"), &hangs);
    let crm = stage.serve(config("crm"), &works);
    stage.finished(200).await;
    assert_eq!(stage.elapsed(start), secs(200) / 8 / 10, "as if it were alone");
    assert_eq!(works.tries().len(), 200);
    dead.stop().await.unwrap();
    crm.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_backlog_is_not_loaded_and_slots_are_used() {
    let mut stage = Stage::new();
    let calls = calls(1000);
    let receiver = stage.receiver(|_| Reply::Slow(secs(1)));
    stage.add("crm", &firsts(&calls)).await;
    let start = stage.clock.steady();
    let running = stage.serve(config("crm"), &receiver);
    stage.finished(1000).await;
    assert_eq!(stage.elapsed(start), secs(125));
    assert_eq!(receiver.most_in_flight(), 8);
    assert_eq!(stage.store.most_out(), 32, "in flight, ready, and over");
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_stands_ready_does_not_begin_when_the_destination_fails() {
    let mut stage = Stage::new();
    let calls = calls(200);
    let start = stage.clock.steady();
    let receiver = stage.receiver(move |this| match this.at.since(start) < secs(3) {
        true => Reply::Slow(secs(1)),
        false => Reply::FailSlowly(secs(1)),
    });
    stage.add("crm", &firsts(&calls)).await;
    let running = stage.serve(config("crm"), &receiver);
    // Three waves that arrive, and the first that fails.
    stage.attempted(4 * 8).await;
    tokio::time::sleep(secs(5)).await;
    assert!(receiver.tries().len() <= 5 * 8, "at most one wave had begun by then");
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_ends_together_is_settled_together() {
    let mut stage = Stage::new();
    let calls = calls(640);
    let receiver = stage.receiver(|_| Reply::Slow(millis(20)));
    stage.add("crm", &firsts(&calls)).await;
    let mut many = config("crm");
    many.concurrency = 64;
    let running = stage.serve(many, &receiver);
    stage.finished(640).await;
    let settles: Vec<_> = stage.store.settles().iter().map(|settled| settled.outcomes.len()).collect();
    assert_eq!(settles.iter().sum::<usize>(), 640);
    assert!(settles.len() <= 20, "ten waves of 64: {settles:?}");
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_memo_is_handed_to_the_next_attempt_of_its_lane_over_restarts() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|it| match (it.call.as_str(), it.sequence, it.number) {
        ("a", 1, 1) => Reply::Keep(false, json!(["x"])),
        ("a", 1, _) => Reply::Keep(true, json!(["x", "y"])),
        ("a", 2, _) => Reply::Ok,
        ("a", 3, _) => Reply::Keep(true, Value::Null),
        _ => Reply::Ok,
    });
    receiver.keep_memos();
    stage.add("crm", &[("a", 1), ("a", 2), ("b", 1)]).await;
    let running = stage.serve(config("crm"), &receiver);
    stage.finished(3).await;
    running.stop().await.unwrap();
    stage.add("crm", &[("a", 3), ("a", 4)]).await;
    let running = stage.serve(config("crm"), &receiver);
    stage.finished(2).await;
    let mut told: Vec<_> = receiver.tries().into_iter().map(|it| (it.call, it.sequence, it.memo)).collect();
    told.sort_by_key(|(call, sequence, _)| (call.clone(), *sequence));
    let kept = Some(json!(["x", "y"]));
    let a = |sequence, memo: &Option<Value>| ("a".to_owned(), sequence, memo.clone());
    let expected = [a(1, &None), a(1, &Some(json!(["x"]))), a(2, &kept), a(3, &kept), a(4, &None)];
    assert_eq!(told[..5], expected);
    assert_eq!(told[5].2, None, "another call knows nothing of it");
    running.stop().await.unwrap();
}

/// The one test in real time, with attempts that truly run beside the dispatcher.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_sent_twice_between_threads() {
    let mut stage = Stage::new();
    let calls = calls(300);
    let receiver = stage.receiver(|_| Reply::Ok);
    let mut many = config("crm");
    many.concurrency = 16;
    let running = stage.serve(many, &receiver);
    for sequence in 1..=5 {
        let items: Vec<(&str, u64)> = calls.iter().map(|call| (call.as_str(), sequence)).collect();
        stage.add("crm", &items).await;
    }
    tokio::time::timeout(secs(30), stage.finished(1500)).await.unwrap();
    assert_eq!(receiver.tries().len(), 1500);
    assert!(stage.records("crm").await.iter().all(is_delivered));
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_fails_is_probed_by_one_attempt_at_a_time() {
    let mut stage = Stage::new();
    let works = Arc::new(AtomicBool::new(false));
    let receiver = {
        let works = Arc::clone(&works);
        stage.receiver(
            move |_| if works.load(Ordering::SeqCst) { Reply::Ok } else { Reply::FailSlowly(secs(2)) },
        )
    };
    let calls = calls(50);
    stage.add("crm", &firsts(&calls)).await;
    let start = stage.clock.steady();
    let mut patient = config("crm");
    patient.retry = vec![secs(7 * 24 * 3600)];
    let running = stage.serve(patient, &receiver);
    stage.attempted(8 + 6).await;
    // Eight fail together and open it; then each probe fails after its two seconds and doubles the pause.
    let expected = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 12.0, 34.0, 76.0, 158.0, 320.0, 622.0];
    assert_eq!(since(start, &receiver.tries()), expected);
    let untried = stage.records("crm").await.iter().filter(|record| record.attempts == 0).count();
    assert_eq!(untried, 50 - 14, "waiting is no attempt");
    assert_eq!(stage.count("pauses"), 7);
    assert_eq!(stage.count("resumptions"), 0);

    works.store(true, Ordering::SeqCst);
    stage.finished(36).await;
    assert_eq!(stage.elapsed(start), secs(924), "the probe that arrives opens the way for all");
    assert_eq!(stage.count("resumptions"), 1);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_asks_to_be_left_alone_is() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|it| match (it.call.as_str(), it.sequence, it.number) {
        ("a", 1, 1) => Reply::Busy(secs(3600)),
        _ => Reply::Ok,
    });
    let start = stage.clock.steady();
    stage.add("crm", &[("a", 1), ("a", 2)]).await;
    let running = stage.serve(config("crm"), &receiver);
    stage.attempted(1).await;
    stage.add("crm", &[("b", 1), ("c", 1)]).await;
    stage.finished(4).await;
    let times = since(start, &receiver.tries());
    assert_eq!(times.len(), 5);
    assert!(times[1..].iter().all(|at| (3600.0..3601.0).contains(at)), "{times:?}");
    assert_eq!((stage.count("pauses"), stage.count("resumptions")), (1, 1));
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept_in_every_window_and_used_up() {
    let mut stage = Stage::new();
    let calls = calls(30);
    // Repeats count, and so does what comes in bursts.
    let receiver =
        stage.receiver(|it| if it.number == 1 && it.call.ends_with('3') { Reply::Fail } else { Reply::Ok });
    stage.add("crm", &firsts(&calls)).await;
    let start = stage.clock.steady();
    let mut limited = config("crm");
    limited.rate = rate(5, secs(60));
    let running = stage.serve(limited, &receiver);
    stage.finished(30).await;
    let tries = receiver.tries();
    assert_eq!(tries.len(), 33);
    for (i, first) in tries.iter().enumerate() {
        let within = tries[i..].iter().take_while(|it| it.at.since(first.at) < secs(60)).count();
        assert!(within <= 5, "{within} within a minute of {}", first.at);
    }
    // 33 attempts are six full windows and a part of the seventh.
    assert!(stage.elapsed(start) <= secs(6 * 60 + 1), "{:?}", stage.elapsed(start));
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn stopping_lets_attempts_end_and_marks_nothing_failed() {
    let stage = Stage::new();
    let receiver = stage.receiver(|it| match it.call.as_str() {
        "quick" => Reply::Slow(secs(10)),
        _ => Reply::Hang,
    });
    stage.add("crm", &[("quick", 1), ("quick", 2), ("stuck", 1)]).await;
    let mut patient = config("crm");
    patient.timeout = secs(120);
    let running = stage.serve(patient, &receiver);
    tokio::time::sleep(secs(1)).await;
    assert_eq!(receiver.tries().len(), 2);
    let stopped = stage.clock.steady();
    stage.add("crm", &[("late", 1)]).await;
    tokio::task::yield_now().await;
    let begun = receiver.tries().len();
    running.stop().await.unwrap();
    assert_eq!(stage.elapsed(stopped), secs(20), "the grace period");
    assert_eq!(receiver.tries().len(), begun, "nothing is begun after the stop");
    assert!(is_delivered(&stage.record("crm", "quick", 1).await));
    let stuck = stage.record("crm", "stuck", 1).await;
    assert_eq!((stuck.state.kind(), stuck.attempts), (DeliveryStateKind::Pending, 0));
    assert_eq!(stage.count("failed_attempts"), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_fetched_while_stopping_does_not_begin() {
    let stage = Stage::new();
    let receiver = stage.receiver(|_| Reply::Ok);
    stage.add("crm", &[("a", 1), ("b", 1)]).await;
    stage.store.stop_during_next_fetch();
    let start = stage.clock.steady();
    let running = stage.serve(config("crm"), &receiver);
    running.task.await.unwrap().unwrap();
    assert_eq!(stage.elapsed(start), secs(0), "nothing is in flight, so there is nothing to wait for");
    assert!(receiver.tries().is_empty());
    let untouched =
        |record: &DeliveryRecord| (record.state.kind(), record.attempts) == (DeliveryStateKind::Pending, 0);
    assert!(stage.records("crm").await.iter().all(untouched));
}
