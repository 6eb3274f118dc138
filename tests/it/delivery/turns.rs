//! Deliveries that wait for their turn, because their receiver limits what several destinations send to it together.

use super::stage::{Reply, Stage, config, millis, rate, secs};

#[tokio::test(start_paused = true)]
async fn who_waits_for_its_turn_holds_up_no_other_call_and_is_not_asked_again_before() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|_| Reply::Ok);
    receiver.make_wait("a", secs(30));
    receiver.make_wait("a", secs(10));
    stage.add("crm", &[("a", 1), ("b", 1)]).await;
    let mut config = config("crm");
    config.concurrency = 1;
    let begun = stage.clock.steady();
    let running = stage.serve(config, &receiver);
    stage.finished(2).await;
    let tries = receiver.tries();
    let order: Vec<_> = tries.iter().map(|it| it.call.as_str()).collect();
    assert_eq!(order, ["b", "a"]);
    let waited = tries[1].at.since(begun);
    assert!(waited >= secs(40) && waited < secs(41), "{waited:?}");
    assert_eq!(stage.record("crm", "a", 1).await.attempts, 1, "waiting is no attempt");
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_comes_meanwhile_waits_behind_it_and_it_learns_of_that() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|_| Reply::Slow(millis(10)));
    receiver.make_wait("a", secs(30));
    stage.add("crm", &[("a", 1)]).await;
    let running = stage.serve(config("crm"), &receiver);
    tokio::time::sleep(secs(5)).await;
    stage.add("crm", &[("a", 2), ("b", 1)]).await;
    stage.finished(3).await;
    let tries = receiver.tries();
    let told: Vec<_> = tries.iter().map(|it| (it.call.as_str(), it.sequence, it.followed)).collect();
    assert_eq!(told, [("b", 1, false), ("a", 1, true), ("a", 2, false)]);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn with_quiet_hours_nobody_relies_on_the_next_of_the_lane() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|_| Reply::Ok);
    stage.add("crm", &[("a", 1)]).await;
    stage.add("crm", &[("a", 2)]).await;
    let mut config = config("crm");
    config.quiet =
        Some(callwatch::calendar::Hours::parse(["01:00-02:00"], callwatch::calendar::Zone::UTC).unwrap());
    let running = stage.serve(config, &receiver);
    stage.finished(2).await;
    assert!(receiver.tries().iter().all(|it| !it.followed));
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_told_by_a_later_one_uses_up_no_rate() {
    let mut stage = Stage::new();
    let receiver = stage.receiver(|_| Reply::Ok);
    receiver.merge();
    let many: Vec<_> = (1..=50).map(|number| ("a", number)).collect();
    stage.add("crm", &many).await;
    let mut config = config("crm");
    config.rate = rate(1, secs(60));
    let begun = stage.clock.steady();
    let running = stage.serve(config, &receiver);
    stage.finished(50).await;
    let waited = stage.clock.steady().since(begun);
    assert!(waited < secs(60), "49 of them made no request, and still it took {waited:?}");
    running.stop().await.unwrap();
}
