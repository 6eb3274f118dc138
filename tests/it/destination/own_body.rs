//! Webhooks whose body is made by the destination's template.

use callwatch::{
    config::Secret,
    destination::{WebhookBody, WebhookConfig, WebhookFormat},
    template::Template,
};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::any};

use super::{
    webhook::{only_request, receiver, webhook},
    *,
};

const KEY: &str = "0123456789abcdef0123456789abcdef";

pub(super) fn to(url: &str, template: &str, content_type: &'static str) -> DestinationConfig {
    let body = WebhookBody {
        template: Template::compile_body(template, &["key"]).unwrap(),
        content_type: reqwest::header::HeaderValue::from_static(content_type),
        secrets: vec![("key".to_owned(), Secret::from(KEY))],
    };
    config(DestinationKind::Webhook(WebhookConfig { format: WebhookFormat::Own(body), ..webhook(url) }))
}

#[tokio::test]
async fn the_receiver_gets_its_own_shape_in_the_rules_words() {
    let server = receiver(ResponseTemplate::new(200)).await;
    let template = r#"{"text": {{ title|tojson }}, "more": {{ message|tojson }}, "key": "{{ secrets.key }}", "n": {{ call.duration }}}"#;
    let config = to(&server.uri(), template, "application/json");
    let text = RuleText {
        title: Some(Template::compile("Call \"{{ call.callerNumber }}\"").unwrap()),
        ..RuleText::default()
    };
    let event = event(Kind::Ended);
    let answer = deliver_with(&config, &event, Some(&text)).await;
    assert_eq!(answer.reaction, Reaction::Delivered, "{answer:?}");
    let request = only_request(&server).await;
    let header = |name: &str| request.headers[name].to_str().unwrap();
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("webhook-id"), event.id.as_str());
    assert!(header("webhook-signature").starts_with("v1,"));
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(
        body,
        json!({
            "text": "Call \"+33612345678\"",
            "more": "The caller asked about appointment availability next Tuesday. …\n\nWhat to do: Nothing, unless something in \
                     the summary is still open, such as a promised callback.\n\nCaller: +33612345678\nBegan: Mon 15 Dec 2025, 14:30 \
                     UTC\nNumber called: +33198765432\nStatus: Ended, 2m 25s\nGoal: Met\nEnded by: The caller\nSentiment: \
                     positive\nSales potential: high\nAppointment booked: yes",
            "key": KEY,
            "n": 145,
        })
    );
}

#[tokio::test]
async fn several_events_are_told_as_one() {
    let server = receiver(ResponseTemplate::new(200)).await;
    let template = "{{ event.type }} {{ event.id }} {{ count }} {{ rule }} {{ severity }} {{ call.callerNumber }}\n{{ title }}\n{{ message }}";
    let summary = summary(Reason::Group, &[call("unhappy", 1, "negative"), call("unhappy", 2, "negative")]);
    deliver(&to(&server.uri(), template, "text/plain"), &summary).await;
    assert_eq!(
        String::from_utf8(only_request(&server).await.body).unwrap(),
        format!(
            "summary {} 2 unhappy info +33612340001
Call ended · +33612340001 · 1m 1s and 1 more call
2 calls since 14:30 UTC

14:31 · Call ended · +33612340001 · 1m 1s (negative) · A summary.
14:30 · Call ended · +33612340002 · 1m 2s (negative) · A summary.",
            summary.id
        )
    );
}

#[tokio::test]
async fn what_cannot_be_said_is_dead_and_quotes_no_call() {
    let server = receiver(ResponseTemplate::new(200)).await;
    for (template, content_type, reason) in [
        (
            "{{ call.callerNumber|duration }}",
            "text/plain",
            "`body` could not be rendered: `duration` does not work with this call (invalid operation); correct it, then retry the delivery",
        ),
        (
            "{\"a\": {{ call.callerNumber }}}",
            "application/json",
            "what `body` makes of this is not JSON (expected value at line 1 column 7); write values with `tojson`; correct it, then retry the delivery",
        ),
        (
            "{{ secrets.key }}",
            "Application/Problem+JSON; charset=utf-8",
            "what `body` makes of this is not JSON (invalid number at line 1 column 2); write values with `tojson`; correct it, then retry the delivery",
        ),
    ] {
        let answer = deliver(&to(&server.uri(), template, content_type), &event(Kind::Ended)).await;
        assert_dead(&answer, reason);
    }
    assert!(server.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_call_lacks_reads_like_null_and_a_withheld_number_in_words() {
    let server = receiver(ResponseTemplate::new(200)).await;
    let template = "{{ call.callerNumber }}|{{ 'from ' ~ call.callerNumber }}|{{ call.callerNumber|tojson }}|\
                    {{ call.mood }}|{{ call.mood.deep }}|{{ call.mood|tojson }}|{{ call.mood|default('x') }}|\
                    {{ call.mood|duration }}|{{ call.mood|truncate(3) }}|{{ call.endedReason }}|\
                    {% for turn in call.turns %}{{ turn }}{% endfor %}{{ 'none' if call.callerNumber is none }}";
    let record = r#"{"id": "c1", "status": "completed", "callerNumber": null, "endedReason": null}"#;
    let event =
        Event { record: RawValue::from_string(record.to_owned()).unwrap().into(), ..event(Kind::Ended) };
    let answer = deliver(&to(&server.uri(), template, "text/plain"), &event).await;
    assert_eq!(answer.reaction, Reaction::Delivered, "{}", answer.result);
    let body = String::from_utf8(only_request(&server).await.body).unwrap();
    assert_eq!(body, "unknown number|from unknown number|null|–|–|null|x|–|–|–|none");
}

#[tokio::test]
async fn programs_get_a_withheld_number_as_null() {
    let server = receiver(ResponseTemplate::new(200)).await;
    let record = r#"{"id": "c1", "status": "completed", "callerNumber": null}"#;
    let event =
        Event { record: RawValue::from_string(record.to_owned()).unwrap().into(), ..event(Kind::Ended) };
    let answer = deliver(&to(&server.uri(), "{{ call|tojson }}", "application/json"), &event).await;
    assert_eq!(answer.reaction, Reaction::Delivered, "{}", answer.result);
    let body: serde_json::Value = serde_json::from_slice(&only_request(&server).await.body).unwrap();
    assert_eq!(body, serde_json::json!({"id": "c1", "status": "completed", "callerNumber": null}));
}

#[tokio::test]
async fn a_secret_in_a_body_comes_back_in_no_answer() {
    let echo = |request: &Request| ResponseTemplate::new(400).set_body_bytes(request.body.clone());
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(echo).mount(&server).await;
    let config = to(&server.uri(), "key={{ secrets.key }}", "text/plain");
    let answer = deliver(&config, &event(Kind::Ended)).await;
    assert_eq!(answer.response, "key=•••");
    assert!(!format!("{answer:?} {config:?}").contains(KEY));
}
