//! docs/receiving-webhooks.md is true.

use callwatch::{destination::DestinationKind, kind::Kind};
use serde_json::Value;
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::any};

use super::{webhook::webhook, *};

pub(super) const PAGE: &str = include_str!("../../../docs/receiving-webhooks.md");

/// The first block of code in a language.
pub(super) fn example(language: &str) -> &'static str {
    examples(language).next().unwrap()
}

/// The blocks of code in a language.
fn examples(language: &str) -> impl Iterator<Item = &'static str> {
    let blocks = PAGE.split(&format!("```{language}\n")).skip(1).collect::<Vec<_>>();
    blocks.into_iter().map(|block| block.split_once("```").unwrap().0)
}

pub(super) async fn delivered(event: &Event, now: Timestamp) -> Request {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    let config = config(DestinationKind::Webhook(webhook(&server.uri())));
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
