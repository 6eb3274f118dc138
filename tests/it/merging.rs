//! `merge`: rules that fire on the same change are told in one message where people read it.

use std::{
    path::Path,
    process::{Output, Stdio},
};

use callwatch::demo::{
    receivers::{Arrival, Message, Misbehaviour, Refusal, Stage},
    sighting::Sighting,
};
use serde_json::{Value, json};
use tokio::{process::Command, time::timeout};

use crate::rig::{PATIENCE, Rig, Running, analyze, complete, record};

/// Two rules, the second of which matters more, that tell the same three destinations.
fn config(rig: &Rig) -> String {
    rig.config_text()
        .replace("to = [\"frontdesk\", \"manager\"]", "to = [\"crm\", \"frontdesk\", \"manager\"]")
        .replace(
            "to = [\"crm\", \"frontdesk\"]",
            "title = \"Booked by {{ call.callerNumber }}\"\nseverity = \"critical\"\n\
             to = [\"crm\", \"frontdesk\", \"manager\"]",
        )
}

/// The call "a" begins, and then ends in a way that both rules look for.
async fn both_fire(rig: &Rig, running: &mut Running) {
    running.baseline().await;
    rig.callem.add(record("a", "live"));
    running.quiet_polls(2).await;
    rig.callem.update("a", |call| {
        complete(call);
        analyze(call, "negative", true);
    });
    running.quiet_polls(2).await;
}

fn sightings(arrivals: Vec<std::sync::Arc<Arrival>>) -> Vec<Sighting> {
    arrivals.iter().map(|arrival| Sighting::of(arrival)).collect()
}

/// The lines in which the messages name other rules, and their headlines.
fn said(arrivals: Vec<std::sync::Arc<Arrival>>) -> Vec<(String, Vec<String>)> {
    sightings(arrivals).into_iter().map(|sighting| (sighting.headline, sighting.also)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rules_of_one_change_are_one_message_to_people_and_two_webhooks() {
    let rig = Rig::new().await;
    let mut running = rig.start_with(rig.parse(&config(&rig))).await;
    both_fire(&rig, &mut running).await;
    // Both rules have fired for this call, so another change of it tells nobody again.
    rig.callem.update("a", |call| analyze(call, "positive", false));
    running.quiet_polls(2).await;
    rig.callem.update("a", |call| analyze(call, "negative", true));
    running.quiet_polls(2).await;
    running.settled().await;
    let events = running.telemetry.counts();
    running.stop().await;

    let also = vec!["Unhappy caller +33612345678".to_owned()];
    assert_eq!(
        said(rig.frontdesk.inbox().arrivals()),
        [("🚨 Critical: Booked by +33612345678".to_owned(), also.clone())]
    );
    assert_eq!(said(rig.manager.inbox().arrivals()), [("Critical: Booked by +33612345678".to_owned(), also)]);
    let Message::Slack(slack) = &rig.frontdesk.inbox().arrivals()[0].message else {
        panic!("a Slack message")
    };
    let footer = slack["blocks"].as_array().unwrap().last().unwrap()["elements"][0]["text"].as_str().unwrap();
    assert!(
        footer.starts_with(
            "*critical* · Why you get this: Appointment booked: yes (rule *booked*); Sentiment: negative (rule *unhappy-caller*) · "
        ),
        "{footer}"
    );

    let mut webhooks: Vec<_> = rig.webhooks().into_iter().filter(|it| it.rule != "call-completed").collect();
    webhooks.sort_by(|a, b| a.rule.cmp(&b.rule));
    let rules: Vec<_> = webhooks.iter().map(|webhook| webhook.rule.as_str()).collect();
    assert_eq!(rules, ["booked", "unhappy-caller"]);
    assert!(webhooks.iter().all(|webhook| webhook.body["data"].get("also").is_none()));
    let mail = &sightings(rig.manager.inbox().arrivals())[0];
    assert!(
        webhooks.iter().all(|webhook| !mail.id.starts_with(&webhook.id)),
        "the message is an event of its own"
    );
    for rule in ["booked", "unhappy-caller"] {
        assert_eq!(events[&("events", rule.to_owned())], 1, "each rule fired once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_does_not_merge_is_told_rule_by_rule() {
    let rig = Rig::new().await;
    let apart = config(&rig)
        .replace("type = \"slack\"", "type = \"slack\"\nmerge = false")
        .replace("type = \"email\"", "type = \"email\"\nmerge = false");
    let mut running = rig.start_with(rig.parse(&apart)).await;
    both_fire(&rig, &mut running).await;
    running.settled().await;
    running.stop().await;
    for arrivals in [rig.frontdesk.inbox().arrivals(), rig.manager.inbox().arrivals()] {
        let said = said(arrivals);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said.iter().all(|(_, also)| also.is_empty()), "{said:?}");
        for title in ["Unhappy caller +33612345678", "Booked by +33612345678"] {
            assert!(said.iter().any(|(headline, _)| headline.ends_with(title)), "{said:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_merges_is_sent_one_with_all_rules_and_one_sequence() {
    let rig = Rig::new().await;
    let merged = config(&rig).replace("type = \"webhook\"", "type = \"webhook\"\nmerge = true");
    let mut running = rig.start_with(rig.parse(&merged)).await;
    both_fire(&rig, &mut running).await;
    rig.callem.update("a", |call| analyze(call, "neutral", true));
    running.quiet_polls(2).await;
    running.settled().await;
    running.stop().await;
    let said: Vec<_> = rig
        .webhooks()
        .iter()
        .map(|webhook| (webhook.sequence, webhook.rule.clone(), webhook.body["data"]["also"].clone()))
        .collect();
    assert_eq!(
        said,
        [
            (1, "booked".to_owned(), json!(["call-completed", "unhappy-caller"])),
            (2, "call-completed".to_owned(), Value::Null),
        ]
    );
}

fn callwatch(args: &[&str], config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callwatch"));
    command.args(args).arg("--config").arg(config).env_remove("STATE_DIRECTORY");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

#[track_caller]
fn printed(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_before_its_delivery_the_message_is_the_same_and_stands_under_both_rules() {
    let rig = Rig::new().await;
    let config = rig.write_config(&config(&rig));
    // Neither the mail server nor Slack takes anything until the process has been killed.
    rig.manager.refuse(100_000, Refusal { stage: Stage::Data, code: 451 });
    rig.frontdesk.misbehave(100_000, Misbehaviour::Status { code: 500, retry_after: None });
    let mut first = callwatch(&["run"], &config).stderr(Stdio::null()).spawn().unwrap();
    let polls = |more: u64| {
        let so_far = rig.callem.request_counts().total();
        timeout(PATIENCE, rig.callem.wait_for_requests(move |counts| counts.total() >= so_far + more))
    };
    polls(5).await.expect("it polls");
    rig.callem.add(record("a", "live"));
    polls(5).await.expect("it polls");
    rig.callem.update("a", |call| {
        complete(call);
        analyze(call, "negative", true);
    });
    // The message to the CRM was committed together with the one to people.
    timeout(PATIENCE, rig.crm.inbox().wait_for(3)).await.expect("the CRM is told");
    first.kill().await.unwrap();

    let list = printed(callwatch(&["deliveries", "list", "--json"], &config).output().await.unwrap());
    let list: Vec<Value> = serde_json::from_str(&list).unwrap();
    let to = |name: &str| list.iter().filter(|it| it["destination"] == name).collect::<Vec<_>>();
    let [mail] = to("manager")[..] else { panic!("{list:?}") };
    let [post] = to("frontdesk")[..] else { panic!("{list:?}") };
    assert_eq!((&mail["state"], &post["state"]), (&json!("pending"), &json!("pending")));
    assert_eq!((&mail["rule"], &mail["also"]), (&json!("booked"), &json!(["unhappy-caller"])));
    assert_eq!((&mail["event"], &mail["sequence"]), (&post["event"], &json!(1)));
    let event = mail["event"].as_str().unwrap();

    rig.manager.behave();
    rig.frontdesk.behave();
    let mut second = callwatch(&["run"], &config).stderr(Stdio::null()).spawn().unwrap();
    timeout(PATIENCE, rig.manager.inbox().wait_for(1)).await.expect("the mail arrives");
    timeout(PATIENCE, rig.frontdesk.inbox().wait_for(1)).await.expect("the post arrives");
    polls(10).await.expect("it polls");
    second.kill().await.unwrap();
    let mails = sightings(rig.manager.inbox().arrivals());
    assert_eq!(
        mails.iter().map(|mail| mail.id.as_str()).collect::<Vec<_>>(),
        [format!("{event}@example.com")]
    );
    assert_eq!(mails[0].also, ["Unhappy caller +33612345678"]);
    assert_eq!(rig.frontdesk.inbox().arrivals().len(), 1);

    let story = printed(callwatch(&["explain", "a"], &config).output().await.unwrap());
    let story = story.replace("\n    ", " ");
    for rule in ["unhappy-caller", "booked"] {
        let (_, about) = story.split_once(&format!("\n{rule} fired at")).unwrap_or_else(|| panic!("{story}"));
        let about = about.split("\n\n").next().unwrap();
        for name in ["frontdesk", "manager"] {
            let message = format!("→ {name}  {event} one message for booked, unhappy-caller");
            assert!(about.contains(&message), "{message} in {about}");
        }
        assert_eq!(about.matches("→ crm").count(), 1, "{about}");
    }
    let story = printed(callwatch(&["explain", "a", "--json"], &config).output().await.unwrap());
    let story: Value = serde_json::from_str(&story).unwrap();
    assert_eq!(story["other_deliveries"], json!([]));
    let feed = story["rules"].as_array().unwrap().iter().find(|rule| rule["rule"] == "call-completed");
    assert_eq!(feed.unwrap()["why"], "fired once");
    let shown = printed(callwatch(&["deliveries", "show", event], &config).output().await.unwrap());
    assert!(shown.contains("\nrules       booked, unhappy-caller\n"), "{shown}");
}

/// Three rules of the same calls, to a desk that is left alone at night; one of them also pages.
const AT_NIGHT: &str = r#"
[sources.clinic]
api_key = { env = "CALLWATCH_TEST_NOT_SET" }

[destinations.desk]
type = "slack"
webhook_url = { env = "CALLWATCH_TEST_NOT_SET" }
quiet = "20:00-07:00"

[rules.unhappy]
when = 'call.callAnalysis.sentiment == "negative"'
title = "Unhappy"
to = ["desk"]

[rules.long]
when = 'call.duration > 300'
title = "Long"
to = ["desk"]

[rules.urgent]
when = 'call.callAnalysis.sentiment == "negative" && call.duration > 300'
title = "Urgent"
severity = "critical"
to = ["desk"]
"#;

const BY_NIGHT_AND_DAY: &str = r#"
[[test]]
name = "at night only what is critical is told, without the others"
start = "2025-12-15 22:00"
[[test.step]]
set = { duration = 301, callAnalysis = { sentiment = "negative" } }
[[test.expect]]
at = "2025-12-15 22:00"
rule = "urgent"
title = "Urgent"
[[test.expect]]
at = "2025-12-16 07:00"
rule = "quiet-hours"
to = ["desk"]
title = "Unhappy"
count = 1

[[test]]
name = "by day the others are one message"
start = "2025-12-15 12:00"
[[test.step]]
set = { duration = 301, callAnalysis = { sentiment = "negative" } }
[[test.expect]]
at = "2025-12-15 12:00"
rule = "urgent"
[[test.expect]]
at = "2025-12-15 12:00"
rule = "unhappy"
title = "Unhappy"
[[test.expect]]
at = "2025-12-15 12:00"
rule = "long"
title = "Long"
"#;

#[tokio::test]
async fn rule_tests_show_what_quiet_hours_keep_apart_and_what_they_do_not() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("desk.toml"), AT_NIGHT).unwrap();
    std::fs::write(folder.path().join("desk.test.toml"), BY_NIGHT_AND_DAY).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_callwatch"));
    command.current_dir(folder.path()).args(["test", "desk.test.toml", "--json"]).stdin(Stdio::null());
    let output = command.env_remove("CALLWATCH_CONFIG").output().await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    let tests: Vec<Value> = serde_json::from_str(&said).unwrap();
    let texts = |test: &Value| -> Vec<String> {
        let lines = test["lines"].as_array().unwrap().iter();
        lines
            .map(|line| format!("{}: {}", line["rule"].as_str().unwrap(), line["text"].as_str().unwrap()))
            .collect()
    };
    assert_eq!(texts(&tests[0]), ["urgent: Urgent", "quiet-hours: Unhappy"]);
    assert_eq!(texts(&tests[1]), ["urgent: Urgent", "unhappy: Unhappy", "long: Long (told with unhappy)"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_counts_one_message_for_both_rules() {
    let rig = Rig::new().await;
    let now = chrono::Utc::now() - chrono::Duration::hours(1);
    let mut call = record("a", "completed");
    analyze(&mut call, "negative", true);
    for time in ["createdAt", "updatedAt"] {
        call[time] = now.to_rfc3339_opts(chrono::SecondsFormat::Millis, true).into();
    }
    rig.callem.add(call);
    let config = rig.write_config(&config(&rig));
    let said = printed(callwatch(&["preview", "--json"], &config).output().await.unwrap());
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["destinations"], json!({ "crm": 3, "frontdesk": 1, "manager": 1 }));
    for rule in ["unhappy-caller", "booked"] {
        let of = said["rules"].as_array().unwrap().iter().find(|of| of["rule"] == rule).unwrap();
        // A webhook of its own, and a share in the post and in the mail.
        assert_eq!((&of["fired"], &of["messages"]), (&json!(1), &json!(3)), "{rule}");
    }
}
