//! docs/receiving-webhooks.md is true.

use std::{io::Write, process::Stdio, time::SystemTime};

use callwatch::{
    destination::{DestinationKind, WebhookConfig, WebhookFormat},
    kind::Kind,
};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::any};

use super::*;

const PAGE: &str = include_str!("../../../docs/receiving-webhooks.md");
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The first block of code in a language.
fn example(language: &str) -> &'static str {
    examples(language).next().unwrap()
}

/// The blocks of code in a language.
fn examples(language: &str) -> impl Iterator<Item = &'static str> {
    let blocks = PAGE.split(&format!("```{language}\n")).skip(1).collect::<Vec<_>>();
    blocks.into_iter().map(|block| block.split_once("```").unwrap().0)
}

async fn delivered(event: &Event, now: Timestamp) -> Request {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    let config = config(DestinationKind::Webhook(WebhookConfig {
        url: server.uri().parse().unwrap(),
        method: reqwest::Method::POST,
        auth: None,
        success: None,
        secrets: vec![SECRET.into()],
        format: WebhookFormat::Standard,
        headers: vec![],
        permanent: Default::default(),
        connection: Default::default(),
    }));
    destination(&config)
        .deliver(&Notification {
            event: &Arc::new(event.clone()),
            rules: &callwatch::rule::Rules::default(),
            sequence: 7,
            memo: None,
            followed: false,
            now,
        })
        .await;
    server.received_requests().await.unwrap().remove(0)
}

/// Runs a program that reads `{secret, headers, body}` and verifies it. `None` when there is no such program here.
fn verified(program: &str, code: &str, input: &Value) -> Option<bool> {
    let child = std::process::Command::new(program)
        .args([if program == "node" { "-e" } else { "-c" }, code])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        child => child.unwrap(),
    };
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || stderr.contains("not signed with this secret"), "{stderr}");
    Some(output.status.success())
}

#[tokio::test]
async fn the_code_accepts_what_arrives_and_nothing_else() {
    let event = event(Kind::Ended);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let request = delivered(&event, Timestamp::from_millis(0).after(now)).await;
    let headers: Value = request
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap())))
        .collect();
    let body = String::from_utf8(request.body).unwrap();
    let genuine = json!({ "secret": SECRET, "headers": headers, "body": body });
    let mut forged = genuine.clone();
    forged["body"] = json!(body.replace("+33612345678", "+33600000000"));

    let python = example("python").to_owned()
        + "\nimport json, sys\ni = json.load(sys.stdin)\nverify(i['secret'], i['headers'], i['body'].encode())\n";
    let node = example("js").to_owned()
        + "\nconst i = JSON.parse(require('node:fs').readFileSync(0));verify(i.secret, i.headers, Buffer.from(i.body));";
    for (program, code) in [("python3", python), ("node", node)] {
        assert_ne!(verified(program, &code, &genuine), Some(false), "{program}");
        assert_ne!(verified(program, &code, &forged), Some(true), "{program}");
    }
}

#[tokio::test]
async fn the_body_is_the_one_shown() {
    let shown: Value = serde_json::from_str(example("json")).unwrap();
    let event = event_of(
        [Kind::Ended, Kind::Analyzed].into_iter().collect::<callwatch::kind::Kinds>(),
        &shown["data"]["call"].to_string(),
    );
    let body: Value = serde_json::from_slice(&delivered(&event, now()).await.body).unwrap();
    assert_eq!(body, shown);
}

#[tokio::test]
async fn the_body_of_several_events_is_the_one_shown() {
    let shown: Value = serde_json::from_str(examples("json").nth(1).unwrap()).unwrap();
    let events = [call("unhappy", 4, "negative"), call("unhappy", 9, "negative")];
    let body = delivered(&summary(Reason::Group, &events), now()).await.body;
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), shown);
}

#[test]
fn the_signature_to_compare_with_is_right() {
    let part = |name| {
        let line = example("text").lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name}")).trim()
    };
    let library = standardwebhooks::Webhook::new(part("secret")).unwrap();
    let timestamp = part("webhook-timestamp").parse().unwrap();
    let signature = library.sign(part("webhook-id"), timestamp, part("body").as_bytes()).unwrap();
    assert_eq!(part("webhook-signature"), signature);
}
