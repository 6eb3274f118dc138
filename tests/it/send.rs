//! `callwatch send` as a person meets it: something arrives, and the answer is shown.

use std::process::Stdio;

use callwatch::demo::receivers::Misbehaviour;
use serde_json::Value;
use tokio::process::Command;

use crate::rig::Rig;

async fn send(rig: &Rig, config: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let path = rig.write_config(config);
    let mut command = Command::new(env!("CARGO_BIN_EXE_callwatch"));
    command.arg("send").args(args).arg("--config").arg(path).stdin(Stdio::null());
    let output = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_arrives_everywhere_as_a_rule_says_it_and_is_marked() {
    let rig = Rig::new().await;
    let config = rig.config_text();
    let (code, out, err) = send(&rig, &config, &["frontdesk"]).await;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    // The first rule that tells it, and a call that fulfils it.
    assert!(out.starts_with("to      frontdesk, as rule unhappy-caller says it\nevent   evt_test_"), "{out}");
    assert!(out.contains("\nsent    [test] Unhappy caller +33"), "{out}");
    assert!(out.contains("\narrived: 200 OK, after ") && out.contains("\nanswer  ok\n"), "{out}");
    let texts = rig.slack_texts();
    assert!(texts.len() == 1 && texts[0].starts_with("[test] Unhappy caller +33"), "{texts:?}");

    let (code, out, _) = send(&rig, &config, &["manager", "--rule", "booked"]).await;
    assert_eq!(code, Some(0), "{out}");
    assert!(rig.mail_titles()[0].starts_with("[test] "), "{:?}", rig.mail_titles());

    let (code, out, _) = send(&rig, &config, &["crm", "--json"]).await;
    assert_eq!(code, Some(0), "{out}");
    let said: Value = serde_json::from_str(&out).unwrap();
    let arrived = rig.webhooks();
    assert!(arrived[0].verified && arrived[0].id.starts_with("evt_test_"), "{arrived:?}");
    assert_eq!((&said["event"], &said["arrived"]), (&arrived[0].id.clone().into(), &true.into()));
    assert_eq!((arrived[0].rule.as_str(), arrived[0].kinds[0].as_str()), ("call-completed", "ended"));
    assert!(!rig.store_path().exists(), "nothing is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_leave_is_shown_byte_for_byte_with_reasons_and_nothing_is_sent() {
    let rig = Rig::new().await;
    let config = rig.config_text().replace(
        "[destinations.frontdesk]\n",
        "[destinations.frontdesk]\nmask = [\"callerNumber\"]\nexclude = [\"callAnalysis\"]\n",
    );
    let (code, shown, err) = send(&rig, &config, &["crm", "--show", "--rule", "booked"]).await;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{shown}");
    let body: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&body["type"], &body["data"]["rule"]), (&"call.ended".into(), &"booked".into()));

    let (code, shown, _) = send(&rig, &config, &["frontdesk", "--show", "-v", "--rule", "booked"]).await;
    assert_eq!(code, Some(0), "{shown}");
    let (message, reasons) = shown.split_once("\n\n").unwrap();
    let message: Value = serde_json::from_str(message).unwrap();
    assert!(message["blocks"][0]["text"]["text"].as_str().unwrap().starts_with("[test] "), "{message}");
    let caller = message["blocks"][3]["fields"][0]["text"].as_str().unwrap();
    assert!(
        caller.starts_with("*Caller*\n") && caller.contains("•••") && !caller.contains("tel:"),
        "{caller}"
    );
    for line in [
        "callerNumber: masked, by `mask`",
        "callAnalysis: left out, by `exclude` or `show`",
        "transcript: left out, by `exclude` or `show`",
    ] {
        assert!(reasons.lines().any(|it| it == line), "{line} in {reasons}");
    }

    assert!(
        reasons.starts_with("carried by a POST to the address of an incoming webhook, which is a secret\n")
    );
    // Numbers are in these texts, and in no yes or no.
    let redacting = config.replace("[destinations.crm]\n", "[destinations.crm]\nredact = [\"phone\"]\n");
    let (_, shown, _) = send(&rig, &redacting, &["crm", "--show", "-v"]).await;
    assert!(shown.contains("\nsummary: shown, but for what `redact` replaces"), "{shown}");
    assert!(!shown.contains("\nisEngaged: "), "{shown}");
    // A message names the call and its time whatever fields it has.
    let few =
        config.replace("[destinations.frontdesk]\n", "[destinations.frontdesk]\ninclude = [\"summary\"]\n");
    let (_, shown, _) = send(&rig, &few, &["frontdesk", "--show", "-v"]).await;
    assert!(
        !shown.contains("\nid: ") && shown.contains("\ncreatedAt: left out as a field; messages still say"),
        "{shown}"
    );
    assert!(shown.contains("\nduration: left out, because"), "{shown}");

    let (code, shown, _) = send(&rig, &config, &["manager", "--show"]).await;
    assert_eq!(code, Some(0), "{shown}");
    assert!(
        shown.contains("\nAuto-Submitted: auto-generated\n") && shown.contains("multipart/alternative"),
        "{shown}"
    );
    assert!(rig.webhooks().is_empty() && rig.slack_texts().is_empty() && rig.mail_titles().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_arrive_is_an_error_that_says_why() {
    let rig = Rig::new().await;
    rig.crm.misbehave(1, Misbehaviour::Status { code: 500, retry_after: None });
    let (code, out, _) = send(&rig, &rig.config_text(), &["crm"]).await;
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("did not arrive: 500 ") && out.contains("would be tried again"), "{out}");

    let no_secret = rig.config_text().replace(
        &format!("secret = \"{}\"", callwatch::demo::receivers::DEMO_SECRET),
        "secret = { env = \"CALLWATCH_TEST_NOT_SET\" }",
    );
    let (code, out, _) = send(&rig, &no_secret, &["crm"]).await;
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("CALLWATCH_TEST_NOT_SET is not set"), "{out}");
    // Only the destination's own secrets are needed.
    let (code, ..) = send(&rig, &no_secret, &["frontdesk"]).await;
    assert_eq!(code, Some(0));

    let (code, _, err) = send(&rig, &rig.config_text(), &["crn"]).await;
    assert_eq!(code, Some(1));
    assert_eq!(err, "callwatch: there is no destination `crn`; there is `crm`, `frontdesk`, `manager`\n");
    let (code, _, err) = send(&rig, &rig.config_text(), &["crm", "--rule", "bookd"]).await;
    assert_eq!(code, Some(1));
    assert!(err.contains("there is no rule `bookd`"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_of_any_sort_has_a_sample() {
    let rig = Rig::new().await;
    let config = rig.config_text()
        + r#"
        [rules.quiet-phone]
        silence = "2h"
        title = "Nobody calls {{ source }}"
        to = ["frontdesk"]

        [rules.away]
        on = ["source.failing"]
        to = ["frontdesk"]

        [rules.long]
        when = 'call.status == "live"'
        for = "30m"
        title = "Still on the phone: {{ call.callerNumber }}"
        to = ["frontdesk"]

        [rules.never]
        when = 'call.callerNumber == "nobody"'
        title = "Never"
        to = ["frontdesk"]
        "#;
    for (rule, title) in [
        ("quiet-phone", "[test] Nobody calls clinic"),
        ("away", "[test] callwatch cannot see the calls of clinic"),
        ("long", "[test] Still on the phone: +33"),
        ("never", "[test] Never"),
    ] {
        let (code, out, err) = send(&rig, &config, &["frontdesk", "--rule", rule]).await;
        assert_eq!(code, Some(0), "{rule}: {out}{err}");
        let texts = rig.slack_texts();
        assert!(texts.last().unwrap().starts_with(title), "{rule}: {texts:?}");
        let is_true = !out.contains("says it, for a call that is not one of its\n");
        assert_eq!(is_true, rule != "never", "{out}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_that_the_default_text_was_sent_and_why() {
    let rig = Rig::new().await;
    let config = rig.config_text()
        + "
        [rules.odd]
        on = [\"ended\"]
        title = \"{{ call.mood }}\"
        to = [\"frontdesk\", \"manager\"]
        ";
    for destination in ["frontdesk", "manager"] {
        let (code, out, err) = send(&rig, &config, &[destination, "--rule", "odd"]).await;
        assert_eq!(code, Some(0), "{out}{err}");
        assert!(
            out.contains("\nsent    [test] Call ended") || out.contains("\nsent    [test] Call analyzed"),
            "{out}"
        );
        assert!(
            out.contains("\nnote    (this is the default title: the rule's own could not be rendered:\n"),
            "{out}"
        );
        assert!(out.contains("`call.mood` is not there"), "{out}");
        let (_, out, _) = send(&rig, &config, &[destination, "--rule", "odd", "--json"]).await;
        let said: Value = serde_json::from_str(&out).unwrap();
        assert!(said["notes"][0].as_str().unwrap().contains("`call.mood` is not there"), "{out}");
    }
}
