//! callwatch speaks up when it cannot do its job, from the config to what arrives at real sockets; and a sign of life for
//! when it cannot even do that.

use std::time::Duration;

use callwatch::{
    demo::{
        callem::Failure,
        receivers::{Message, Misbehaviour},
    },
    telemetry::Signal,
};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

use crate::rig::{PATIENCE, Rig, complete, record};

/// Waits until something is so.
async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let waiting = async {
        while !is_so().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

/// The config of a rig with `more`, whose crm and frontdesk fail after half a second.
fn config_text(rig: &Rig, more: &str) -> String {
    let soon = "failing_after = \"500ms\"\n";
    let text = rig.config_text();
    let text = text.replace("[destinations.frontdesk]\n", &format!("[destinations.frontdesk]\n{soon}"));
    format!("{}\n{more}\n", text.replace("[destinations.crm]\n", &format!("[destinations.crm]\n{soon}")))
}

fn slack_bodies(rig: &Rig) -> Vec<Value> {
    let body = |message: &Message| match message {
        Message::Slack(message) => Some(message.clone()),
        _ => None,
    };
    rig.frontdesk.inbox().arrivals().iter().filter_map(|arrival| body(&arrival.message)).collect()
}

#[tokio::test]
async fn a_dead_crm_is_told_in_slack_and_by_mail_and_its_recovery_without_a_siren() {
    let rig = Rig::new().await;
    let mut running =
        rig.start_with(rig.parse(&config_text(&rig, "[alerts]\nto = [\"crm\", \"frontdesk\"]"))).await;
    running.baseline().await;
    rig.crm.misbehave(u64::MAX, Misbehaviour::Status { code: 503, retry_after: None });
    let mut call = record("c1", "live");
    rig.callem.add(call.clone());
    complete(&mut call);
    rig.callem.update("c1", |record| *record = call.clone());
    until("the alert", async || !rig.slack_texts().is_empty()).await;
    let alert = slack_bodies(&rig).remove(0);
    assert_eq!(alert["blocks"][0]["text"]["text"], "🚨 Destination crm is failing");
    let text = alert["blocks"][1]["text"]["text"].as_str().unwrap();
    assert!(text.starts_with("crm has not taken anything since "), "{text}");
    assert!(
        text.contains(" 1 notification waits; it will be sent when the destination answers again."),
        "{text}"
    );
    let advice = alert["blocks"][2]["text"]["text"].as_str().unwrap();
    assert!(
        advice.starts_with("*What to do:* ")
            && advice.contains("`callwatch deliveries list --destination crm`"),
        "{advice}"
    );
    let footer = alert["blocks"].as_array().unwrap().last().unwrap()["elements"][0]["text"].to_string();
    assert!(
        footer.contains("you receive alerts about callwatch itself") && !footer.contains("source"),
        "{footer}"
    );

    rig.crm.behave();
    until("the recovery", async || rig.slack_texts().len() > 1).await;
    assert_eq!(rig.slack_texts()[1], "Destination crm takes notifications again");
    running.settled().await;
    assert_eq!(rig.slack_texts().len(), 2);
    assert!(rig.webhooks().iter().all(|webhook| webhook.rule == "call-completed"), "{:?}", rig.webhooks());
    running.stop().await;
}

#[tokio::test]
async fn a_config_that_cannot_be_put_to_work_is_told_once() {
    let rig = Rig::new().await;
    let text = config_text(&rig, "[alerts]\nto = [\"frontdesk\", \"manager\"]");
    let mut running = rig.start_with(rig.parse(&text)).await;
    running.baseline().await;
    let other = text.replace("path = \"callwatch.db\"", "path = \"another.db\"");
    for _ in 0..3 {
        running.handle.apply(rig.parse(&other)).await.unwrap_err();
    }
    until("the alert", async || !rig.slack_texts().is_empty()).await;
    assert_eq!(rig.slack_texts(), ["🚨 Critical: The new config is not used"]);
    let text = slack_bodies(&rig)[0]["blocks"][1]["text"]["text"].to_string();
    assert!(text.contains("[store] `path` is another one than at the start"), "{text}");
    until("the mail", async || !rig.mail_titles().is_empty()).await;
    assert_eq!(rig.mail_titles(), ["Critical: The new config is not used"]);
    running.handle.apply(rig.parse(&other)).await.unwrap_err();
    running.wait_for("the refusal", |signal| matches!(signal, Signal::ConfigRejected { .. })).await;
    // The next look at the board, which tells nothing new, has passed when the upkeep has looked twice.
    running.quiet_polls(30).await;
    assert_eq!(rig.slack_texts().len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_rule_that_fails_for_every_call_is_told_once() {
    let rig = Rig::new().await;
    let odd = "[alerts]\nto = [\"frontdesk\", \"manager\"]\n[rules.odd]\nwhen = 'call.duration / (call.duration - call.duration) > 1'\nto = [\"crm\"]";
    let mut running = rig.start_with(rig.parse(&config_text(&rig, odd))).await;
    running.baseline().await;
    for number in 0..5 {
        rig.callem.add(record(&format!("c{number}"), "live"));
    }
    until("the alert", async || !rig.slack_texts().is_empty()).await;
    running.quiet_polls(2).await;
    running.settled().await;
    assert_eq!(rig.slack_texts(), ["🚨 Critical: Rule odd does not work"]);
    running.stop().await;
}

/// How often the switch was asked for.
async fn beats(server: &MockServer) -> usize {
    server.received_requests().await.unwrap().len()
}

#[tokio::test]
async fn the_sign_of_life_stops_when_the_api_is_gone_and_comes_again() {
    let server = MockServer::start().await;
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    let rig = Rig::new().await;
    let heartbeat = format!("[heartbeat]\nurl = \"{}/ping/s3cret\"\nevery = \"1s\"", server.uri());
    let text = config_text(&rig, &heartbeat)
        .replace("interval = \"100ms\"", "interval = \"100ms\"\nfailing_after = \"300ms\"\ntimeout = \"2s\"");
    let mut running = rig.start_with(rig.parse(&text)).await;
    running.baseline().await;
    until("two signs", async || beats(&server).await >= 2).await;

    rig.callem.fail_next(u64::MAX, Failure::Status(500));
    let withheld = |signal: &Signal| matches!(signal, Signal::HeartbeatWithheld { .. });
    let signal = running.wait_for("silence", withheld).await;
    assert!(format!("{signal:?}").contains("source clinic does not answer"), "{signal:?}");
    let before = beats(&server).await;
    for _ in 0..4 {
        running.wait_for("a failure", |signal| matches!(signal, Signal::FetchFailed { .. })).await;
    }
    assert_eq!(beats(&server).await, before, "nothing is sent while the API is gone");

    rig.callem.heal();
    until("another sign", async || beats(&server).await > before).await;

    // Another config: no signs. Then a switch that is gone: one warning, and the work goes on.
    running.handle.apply(rig.parse(&config_text(&rig, ""))).await.unwrap();
    let gone = config_text(&rig, "[heartbeat]\nurl = \"http://127.0.0.1:9/ping/s3cret\"\nevery = \"1s\"");
    running.handle.apply(rig.parse(&gone)).await.unwrap();
    for is_again in [false, true] {
        let failed =
            |signal: &Signal| matches!(signal, Signal::HeartbeatFailed { again, .. } if *again == is_again);
        let signal = running.wait_for("a failure", failed).await;
        assert!(!format!("{signal:?}").contains("s3cret"), "{signal:?}");
    }
    running.quiet_polls(2).await;
    running.stop().await;
}
