//! Receivers that are asked before anything is sent to them.

use callwatch::destination::{DestinationKind, Reaction, Turn, WebhookConfig};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

use super::{webhook::webhook, *};

const OWN: &str = "callwatch.example.com";

fn to(server: &MockServer) -> DestinationConfig {
    let auth = Some(callwatch::destination::WebhookAuth::Bearer("a-token".into()));
    config(DestinationKind::Webhook(WebhookConfig {
        handshake: Some(OWN.parse().unwrap()),
        auth,
        ..webhook(&server.uri())
    }))
}

/// A receiver that answers so when it is asked, and takes what it is sent.
async fn server(asked: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("OPTIONS")).respond_with(asked).mount(&server).await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    server
}

fn allows(origin: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).insert_header("WebHook-Allowed-Origin", origin)
}

/// Delivers once.
async fn deliver_by(receiver: &dyn Destination) -> Answer {
    let (event, rules) = (Arc::new(event(Kind::Ended)), Rules::default());
    let event = &event;
    receiver
        .deliver(&Notification { event, rules: &rules, sequence: 7, memo: None, followed: false, now: now() })
        .await
}

async fn methods(server: &MockServer) -> Vec<String> {
    server.received_requests().await.unwrap().iter().map(|request| request.method.to_string()).collect()
}

#[tokio::test]
async fn a_receiver_that_allows_it_is_asked_once() {
    // The last one gives its consent with a status that says something else; only the headers count.
    let not_found = ResponseTemplate::new(404).insert_header("webhook-allowed-origin", OWN);
    for asked in [allows(OWN), allows("*"), allows(" CallWatch.example.COM"), not_found] {
        let server = server(asked).await;
        let receiver = destination(&to(&server));
        let send = || deliver_by(&*receiver);
        // All at once.
        let (a, b, c, d) = tokio::join!(send(), send(), send(), send());
        for answer in [a, b, c, d] {
            assert_eq!(answer.reaction, Reaction::Delivered, "{answer:?}");
        }
        assert_eq!(methods(&server).await, ["OPTIONS", "POST", "POST", "POST", "POST"]);
        let requests = server.received_requests().await.unwrap();
        assert_eq!(requests[0].headers["webhook-request-origin"], OWN);
        assert_eq!(requests[0].headers["authorization"], "Bearer a-token");
        for name in ["webhook-id", "webhook-signature", "content-type"] {
            assert!(requests[0].headers.get(name).is_none(), "{name}");
        }
        assert!(requests[0].body.is_empty());
        // As the specification wants it of whoever was given permission.
        assert_eq!(
            (&requests[1].headers["origin"], &requests[1].headers["authorization"]),
            (&OWN.parse().unwrap(), &"Bearer a-token".parse().unwrap())
        );
    }
}

#[tokio::test]
async fn nothing_is_sent_to_a_receiver_that_does_not_allow_it() {
    for (asked, why) in [
        (ResponseTemplate::new(405), "405 Method Not Allowed, without WebHook-Allowed-Origin"),
        (ResponseTemplate::new(200), "200 OK, without WebHook-Allowed-Origin"),
        (allows("example.com"), "its WebHook-Allowed-Origin is that of somebody else"),
    ] {
        let server = server(asked).await;
        let receiver = destination(&to(&server));
        for _ in 0..2 {
            let answer = deliver_by(&*receiver).await;
            assert_eq!(answer.reaction, Reaction::Retry { after: None });
            assert!(answer.result.contains(why) && answer.result.ends_with("nothing was sent"), "{answer:?}");
        }
        // It may change its mind.
        assert_eq!(methods(&server).await, ["OPTIONS", "OPTIONS"]);
    }
}

#[tokio::test]
async fn a_receiver_that_refuses_what_it_allowed_is_asked_again() {
    let server = MockServer::start().await;
    Mock::given(method("OPTIONS")).respond_with(allows(OWN)).mount(&server).await;
    let refuses = Mock::given(method("POST")).respond_with(ResponseTemplate::new(403));
    refuses.up_to_n_times(1).mount(&server).await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(204)).mount(&server).await;
    let receiver = destination(&to(&server));
    for _ in 0..3 {
        deliver_by(&*receiver).await;
    }
    assert_eq!(methods(&server).await, ["OPTIONS", "POST", "OPTIONS", "POST", "POST"]);
}

#[tokio::test]
async fn the_rate_that_it_allows_is_kept() {
    for (rate, longest) in [("2", 30.0), ("120", 0.5), ("*", 0.0), ("nonsense", 0.0), ("0", 0.0)] {
        let server = server(allows("*").insert_header("WebHook-Allowed-Rate", rate)).await;
        let receiver = destination(&to(&server));
        let (event, rules) = (Arc::new(event(Kind::Ended)), Rules::default());
        let notification = Notification {
            event: &event,
            rules: &rules,
            sequence: 7,
            memo: None,
            followed: false,
            now: now(),
        };
        let wait = || match receiver.turn(&notification) {
            Turn::In(wait) => wait.as_secs_f64(),
            _ => 0.0,
        };
        // Nothing is known of a rate before the first request.
        assert_eq!(wait(), 0.0);
        deliver_by(&*receiver).await;
        assert_eq!(wait(), 0.0, "one may go out");
        let left = wait();
        assert!(left <= longest && left > longest - 0.4 || left == longest, "{rate}: {left}");
    }
}

#[test]
fn its_origin_is_a_domain() {
    let said = |value: &str| {
        let text = format!(
            "[sources.clinic]\napi_key = 'ck_live_{}'\n[destinations.it]\ntype = 'webhook'\nurl = 'https://a.example/'\nhandshake = '{value}'",
            "0".repeat(60)
        );
        let path = std::path::Path::new("config.toml");
        let loaded = callwatch::config_file::Config::parse(&text, path, Default::default());
        loaded.err().map(|report| report.to_string()).unwrap_or_default()
    };
    assert_eq!(said("callwatch.example.com"), "");
    for wrong in ["https://callwatch.example.com", "callwatch.example.com/", "a b", "", "a..b", "ä.example"]
    {
        assert!(said(wrong).contains("this is not a domain"), "{wrong}");
    }
}
