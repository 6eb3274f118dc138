//! Rules that fire on the clock, through the whole pipeline: `for` and `silence`.

use std::time::Duration;

use callwatch::{demo::callem::Failure, telemetry::Signal, time::Clock};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::rig::{PATIENCE, Rig, Running, Webhook, complete, record};

fn with_rules(rig: &Rig, rules: &str) -> String {
    let text = rig.config_text();
    let (head, _) = text.split_once("[rules.").unwrap();
    format!("{head}{rules}")
}

fn still_live(rig: &Rig, lasting: &str) -> String {
    with_rules(
        rig,
        &format!(
            "[rules.still-live]\nwhen = 'call.status == \"live\"'\nfor = \"{lasting}\"\nto = [\"crm\"]\n"
        ),
    )
}

/// A call that is live since now.
fn live(id: &str) -> Value {
    let mut call = record(id, "live");
    let now = Clock::system().wall().to_string();
    for time in ["createdAt", "updatedAt"] {
        call[time] = now.clone().into();
    }
    call
}

/// The call is over since now.
fn over(call: &mut Value) {
    complete(call);
    call["updatedAt"] = Clock::system().wall().to_string().into();
}

fn told(rig: &Rig) -> Vec<String> {
    rig.webhooks().into_iter().map(|webhook| webhook.call).collect()
}

async fn arrived(rig: &Rig, count: usize) -> Vec<Webhook> {
    let waiting = async {
        while rig.webhooks().len() < count {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("only {:?} arrived", told(rig)));
    rig.webhooks()
}

async fn failed(running: &mut Running, times: u32) {
    running
        .wait_for("failures", |s| matches!(s, Signal::FetchFailed { failures, .. } if *failures >= times))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lasts_is_told_once_and_what_ends_in_time_is_not() {
    let rig = Rig::new().await;
    rig.callem.add(record("old", "completed"));
    rig.callem.add(live("before"));
    let mut running = rig.start_with(rig.parse(&still_live(&rig, "1s"))).await;
    running.baseline().await;
    rig.callem.add(live("short"));
    running.wait_for("the call", |s| matches!(s, Signal::Changed { .. })).await;
    rig.callem.update("short", over);
    let webhooks = arrived(&rig, 1).await;
    assert_eq!(
        webhooks[0].call, "before",
        "how long it goes on is news even of a call that was there before"
    );
    assert_eq!(
        (webhooks[0].rule.as_str(), webhooks[0].kinds.as_slice()),
        ("still-live", &["updated".to_owned()][..])
    );
    rig.callem.add(live("long"));
    assert_eq!(arrived(&rig, 2).await[1].call, "long");
    // Changing, and being restarted, does not make them news again.
    rig.callem.update("long", |call| call["summary"] = "Goes on.".into());
    running.wait_for("the change", |s| matches!(s, Signal::Changed { .. })).await;
    running.stop().await;
    let mut running = rig.start_with(rig.parse(&still_live(&rig, "1s"))).await;
    running.quiet_polls(15).await;
    running.stop().await;
    assert_eq!(told(&rig), ["before", "long"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lasts_over_a_restart_is_told_and_nobody_guesses_while_the_api_is_down() {
    let rig = Rig::new().await;
    let mut running = rig.start_with(rig.parse(&still_live(&rig, "2s"))).await;
    running.baseline().await;
    for call in ["goes-on", "ends"] {
        rig.callem.add(live(call));
        running.wait_for("the call", |s| matches!(s, Signal::Changed { .. })).await;
    }
    running.stop().await;
    // Both were live when they were last seen; the time comes while nothing can be known.
    rig.callem.fail_next(u64::MAX, Failure::Status(503));
    let mut running = rig.start_with(rig.parse(&still_live(&rig, "2s"))).await;
    let down = tokio::time::Instant::now();
    while down.elapsed() < Duration::from_secs(3) {
        failed(&mut running, 1).await;
    }
    assert_eq!(told(&rig), [""; 0]);
    rig.callem.update("ends", over);
    rig.callem.heal();
    assert_eq!(arrived(&rig, 1).await[0].call, "goes-on");
    running.quiet_polls(5).await;
    running.stop().await;
    assert_eq!(told(&rig), ["goes-on"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_told_once_until_somebody_calls_again() {
    let rig = Rig::new().await;
    rig.callem.add(record("old", "completed"));
    let config = with_rules(&rig, "[rules.nobody-calls]\nsilence = \"1s\"\nto = [\"crm\"]\n");
    let mut running = rig.start_with(rig.parse(&config)).await;
    running.baseline().await;
    let webhooks = arrived(&rig, 1).await;
    assert_eq!(webhooks[0].body["type"], "source.silent");
    assert_eq!(webhooks[0].body["data"]["details"]["silence"], "1s");
    running.quiet_polls(5).await;
    running.stop().await;
    // A restart is no call.
    let mut running = rig.start_with(rig.parse(&config)).await;
    running.quiet_polls(15).await;
    assert_eq!(rig.webhooks().len(), 1);
    rig.callem.add(live("new"));
    let webhooks = arrived(&rig, 2).await;
    assert_eq!(webhooks[1].body["type"], "source.silent");
    assert_ne!(webhooks[0].id, webhooks[1].id);
    running.stop().await;
}
