//! Webhooks at real sockets.

use std::{io::Write, net::SocketAddr, time::Duration};

use callwatch::{
    config::Secret,
    destination::{
        DestinationConfig, DestinationKind, Reaction, WebhookAuth, WebhookConfig, WebhookFormat, WebhookUrl,
    },
    kind::{Kind, Kinds},
};
use ring::hmac;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::any};

use super::*;
use crate::rig::free_address;

/// Two secrets, as during a rotation.
const NEW: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

pub(super) fn webhook(url: &str) -> WebhookConfig {
    WebhookConfig {
        url: url.parse().unwrap(),
        method: reqwest::Method::POST,
        auth: None,
        success: None,
        secrets: vec![NEW.into()],
        format: WebhookFormat::Standard,
        headers: vec![],
        permanent: Default::default(),
        handshake: None,
        connection: Default::default(),
    }
}

fn to(url: &str) -> DestinationConfig {
    config(DestinationKind::Webhook(webhook(url)))
}

pub(super) async fn receiver(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

pub(super) async fn only_request(server: &MockServer) -> Request {
    let mut requests = server.received_requests().await.unwrap();
    assert_eq!(requests.len(), 1);
    requests.remove(0)
}

fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    request.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
}

fn ended_and_analyzed() -> Kinds {
    [Kind::Ended, Kind::Analyzed].into_iter().collect()
}

/// A receiver that does with the connection what `act` does, after having read the request's headers.
async fn raw_receiver<F>(act: impl FnOnce(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 64 * 1024];
        let _ = stream.read(&mut request).await.unwrap();
        act(stream).await;
    });
    address
}

#[tokio::test]
async fn a_webhook_follows_standard_webhooks_and_carries_the_record_byte_for_byte() {
    let server = receiver(ResponseTemplate::new(200)).await;
    let event = event(ended_and_analyzed());
    let answer = deliver(&to(&server.uri()), &event).await;
    assert_eq!((answer.reaction, answer.result.as_str()), (Reaction::Delivered, "200 OK"));

    let request = only_request(&server).await;
    assert_eq!(request.method.as_str(), "POST");
    assert_eq!(header(&request, "content-type"), "application/json");
    assert_eq!(header(&request, "user-agent"), concat!("callwatch/", env!("CARGO_PKG_VERSION")));
    assert_eq!(header(&request, "webhook-id"), event.id.as_str());
    assert_eq!(header(&request, "webhook-timestamp"), now().as_secs().to_string());
    let expected = format!(
        r#"{{"type":"call.ended","timestamp":"2025-12-15T14:32:25.000Z","data":{{"source":"clinic","rule":"call-completed","sequence":7,"kinds":["ended","analyzed"],"changes":{{"status":{{"from":"live","to":"completed"}}}},"call":{RECORD}}}}}"#
    );
    assert_eq!(String::from_utf8(request.body).unwrap(), expected);
}

#[tokio::test]
async fn every_secret_signs_and_a_receiver_with_either_of_them_is_satisfied() {
    let server = receiver(ResponseTemplate::new(204)).await;
    let webhook = WebhookConfig { secrets: vec![NEW.into(), OLD.into()], ..webhook(&server.uri()) };
    let event = event(Kind::Ended);
    deliver(&config(DestinationKind::Webhook(webhook)), &event).await;

    let request = only_request(&server).await;
    // The library checks the time as well, which is long ago here; so the library signs, and we compare.
    let expected: Vec<_> = [NEW, OLD]
        .iter()
        .map(|secret| {
            standardwebhooks::Webhook::new(secret)
                .unwrap()
                .sign(event.id.as_str(), now().as_secs(), &request.body)
                .unwrap()
        })
        .collect();
    assert_eq!(header(&request, "webhook-signature"), expected.join(" "));
}

#[tokio::test]
async fn without_a_secret_nothing_is_signed() {
    let server = receiver(ResponseTemplate::new(200)).await;
    let webhook = WebhookConfig { secrets: vec![], ..webhook(&server.uri()) };
    deliver(&config(DestinationKind::Webhook(webhook)), &event(Kind::Ended)).await;
    assert!(!only_request(&server).await.headers.contains_key("webhook-signature"));
}

#[tokio::test]
async fn a_rotated_secret_file_is_read_again() {
    let server = receiver(ResponseTemplate::new(200)).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{OLD}\n")).unwrap();
    let secret = Secret::File(file.path().to_owned());
    let webhook = WebhookConfig { secrets: vec![secret], ..webhook(&server.uri()) };
    let destination = destination(&config(DestinationKind::Webhook(webhook)));
    let event = Arc::new(event(Kind::Ended));
    let notification = Notification {
        event: &event,
        rules: &callwatch::rule::Rules::default(),
        sequence: 7,
        memo: None,
        followed: false,
        now: now(),
    };

    destination.deliver(&notification).await;
    std::fs::write(file.path(), NEW).unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(5)).await;
    tokio::time::resume();
    destination.deliver(&notification).await;

    for (request, secret) in server.received_requests().await.unwrap().iter().zip([OLD, NEW]) {
        let library = standardwebhooks::Webhook::new(secret).unwrap();
        let expected = library.sign(event.id.as_str(), now().as_secs(), &request.body).unwrap();
        assert_eq!(header(request, "webhook-signature"), expected);
    }
}

#[tokio::test]
async fn nothing_is_sent_unsigned_or_signed_with_nothing() {
    let server = receiver(ResponseTemplate::new(200)).await;
    let nowhere = tempfile::tempdir().unwrap().path().join("secret");
    for (secret, why) in [
        (Secret::from("whsec_"), "the secret is empty; nothing was sent"),
        (Secret::from("whsec_~"), "the secret is not `whsec_` followed by base64; nothing was sent"),
        (
            Secret::Env("CALLWATCH_NOT_SET".to_owned()),
            "the environment variable CALLWATCH_NOT_SET is not set",
        ),
        (
            Secret::File(nowhere.clone()),
            &format!("the secret file {} cannot be read: it does not exist", nowhere.display()),
        ),
    ] {
        let webhook = WebhookConfig { secrets: vec![secret], ..webhook(&server.uri()) };
        let answer = deliver(&config(DestinationKind::Webhook(webhook)), &event(Kind::Ended)).await;
        assert_retry(&answer, None, why);
    }
    assert_eq!(server.received_requests().await.unwrap().len(), 0);
}

#[tokio::test]
async fn the_vendors_format_is_what_a_receiver_of_the_vendor_expects() {
    for (kinds, word) in [
        (Kind::Started.into(), "call_started"),
        (ended_and_analyzed(), "call_ended"),
        (Kind::Analyzed.into(), "call_analyzed"),
        (Kind::Updated.into(), "call_updated"),
        (Kind::Deleted.into(), "call_deleted"),
    ] {
        let server = receiver(ResponseTemplate::new(200)).await;
        let webhook = WebhookConfig {
            secrets: vec!["any text at all".into()],
            format: WebhookFormat::Callem,
            ..webhook(&server.uri())
        };
        deliver(&config(DestinationKind::Webhook(webhook)), &event(kinds)).await;

        let request = only_request(&server).await;
        let expected =
            format!(r#"{{"event":"{word}","timestamp":"2025-12-15T14:32:25.000Z","call":{RECORD}}}"#);
        assert_eq!(String::from_utf8_lossy(&request.body), expected);
        assert_eq!(header(&request, "x-callem-event"), word);
        assert_eq!(header(&request, "x-callem-timestamp"), now().as_secs().to_string());
        let signature: Vec<u8> = header(&request, "x-callem-signature")
            .as_bytes()
            .chunks(2)
            .map(|hex| u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap())
            .collect();
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"any text at all");
        hmac::verify(&key, &request.body, &signature).unwrap();
    }
}

#[tokio::test]
async fn cloudevents_have_what_the_specification_requires() {
    let server = receiver(ResponseTemplate::new(202)).await;
    let webhook = WebhookConfig { format: WebhookFormat::Cloudevents, ..webhook(&server.uri()) };
    let event = event(Kind::Ended);
    deliver(&config(DestinationKind::Webhook(webhook)), &event).await;

    let request = only_request(&server).await;
    assert_eq!(header(&request, "content-type"), "application/cloudevents+json");
    assert!(header(&request, "webhook-signature").starts_with("v1,"));
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["specversion"], "1.0");
    assert_eq!(body["id"], event.id.as_str());
    assert_eq!(body["source"], "/callwatch/clinic");
    assert_eq!(body["type"], "call.ended");
    assert_eq!(body["subject"], "6789abcdef0123456789abcd");
    assert_eq!(body["time"], "2025-12-15T14:32:25.000Z");
    assert_eq!(body["data"]["call"]["duration"], 145);
}

#[tokio::test]
async fn an_event_about_a_source_carries_details_instead_of_a_call() {
    let server = receiver(ResponseTemplate::new(200)).await;
    deliver(&to(&server.uri()), &source_event()).await;
    let body: Value = serde_json::from_slice(&only_request(&server).await.body).unwrap();
    assert_eq!(
        body,
        json!({
            "type": "source.failing",
            "timestamp": "2025-12-15T14:32:25.000Z",
            "data": {
                "source": "clinic", "rule": "callwatch-itself", "sequence": 7, "kinds": ["source.failing"],
                "details": { "error": "401 Invalid API key", "failingSince": "2025-12-15T14:00:00.000Z" }
            }
        })
    );
}

#[tokio::test]
async fn a_receiver_is_shown_only_what_it_may_see() {
    let server = receiver(ResponseTemplate::new(200)).await;
    let mut config = to(&server.uri());
    config.fields = filter(None, &["transcript", "status", "callAnalysis.leadQuality"]);
    deliver(&config, &event(Kind::Ended)).await;
    let body: Value = serde_json::from_slice(&only_request(&server).await.body).unwrap();
    let data = &body["data"];
    assert_eq!(data["changes"], json!({}));
    assert_eq!(data["call"]["callAnalysis"], json!({ "sentiment": "positive", "appointmentBooked": true }));
    assert!(data["call"].get("transcript").is_none() && data["call"].get("status").is_none());
}

#[tokio::test]
async fn additional_headers_are_sent_and_cannot_replace_the_signature() {
    let server = receiver(ResponseTemplate::new(200)).await;
    let webhook = WebhookConfig {
        headers: vec![
            ("x-tenant".parse().unwrap(), "acme".into()),
            ("webhook-signature".parse().unwrap(), "v1,forged".into()),
        ],
        ..webhook(&server.uri())
    };
    deliver(&config(DestinationKind::Webhook(webhook)), &event(Kind::Ended)).await;
    let request = only_request(&server).await;
    assert_eq!(header(&request, "x-tenant"), "acme");
    assert_ne!(header(&request, "webhook-signature"), "v1,forged");
}

#[tokio::test]
async fn an_answer_means_what_the_documentation_says() {
    for (status, line) in [
        (400, "400 Bad Request"),
        (401, "401 Unauthorized"),
        (404, "404 Not Found"),
        (408, "408 Request Timeout"),
        (425, "425 Too Early"),
        (429, "429 Too Many Requests"),
        (500, "500 Internal Server Error"),
        (599, "599"),
    ] {
        let server = receiver(ResponseTemplate::new(status)).await;
        assert_retry(&deliver(&to(&server.uri()), &event(Kind::Ended)).await, None, line);
    }
    let server = receiver(ResponseTemplate::new(410)).await;
    let answer = deliver(&to(&server.uri()), &event(Kind::Ended)).await;
    assert_eq!(answer.reaction, Reaction::Pause("410 Gone: the receiver wants no more of this".to_owned()));
}

#[tokio::test]
async fn what_the_config_calls_permanent_is_not_tried_again() {
    let answers = async |status: u16| {
        let server = receiver(ResponseTemplate::new(status)).await;
        let webhook = WebhookConfig { permanent: [400, 422].into(), ..webhook(&server.uri()) };
        deliver(&config(DestinationKind::Webhook(webhook)), &event(Kind::Ended)).await
    };
    assert_dead(&answers(422).await, "422 Unprocessable Entity, which `permanent` lists");
    assert_retry(&answers(404).await, None, "404 Not Found");
}

#[tokio::test]
async fn retry_after_is_handed_on() {
    for value in ["90", "Mon, 15 Dec 2025 14:34:00 GMT"] {
        let server = receiver(ResponseTemplate::new(503).insert_header("retry-after", value)).await;
        let answer = deliver(&to(&server.uri()), &event(Kind::Ended)).await;
        assert_retry(&answer, Some(Duration::from_secs(90)), "503 Service Unavailable");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_named_without_what_may_be_secret() {
    for (target, named) in [
        ("https://elsewhere.example/hook", "https://elsewhere.example/•••"),
        (
            "https://me:open-sesame@elsewhere.example/s/T0000000000000000000?token=hush",
            "https://elsewhere.example/•••/•••?•••",
        ),
    ] {
        let server = receiver(ResponseTemplate::new(308).insert_header("location", target)).await;
        let answer = deliver(&to(&server.uri()), &event(Kind::Ended)).await;
        let result = format!(
            "308 Permanent Redirect: redirects to {named} are not followed; set `url` to the final address"
        );
        assert_retry(&answer, None, &result);
        only_request(&server).await;
    }
}

#[tokio::test]
async fn no_secret_comes_back_in_an_answer() {
    let echo = |request: &Request| {
        let headers: String = request
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap()))
            .collect();
        let key = NEW.strip_prefix("whsec_").unwrap();
        ResponseTemplate::new(500).set_body_string(format!("{headers} {key} {} \u{1b}[2J", request.url))
    };
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(echo).mount(&server).await;
    let url = server.uri().replace("http://", "http://user:pass-phrase@")
        + "/services/T0000000000000000000?token=open%20sesame";
    let webhook = WebhookConfig {
        headers: vec![("x-api-key".parse().unwrap(), "key-of-the-crm".into())],
        ..webhook(&url)
    };
    let config = config(DestinationKind::Webhook(webhook));
    let answer = deliver(&config, &event(Kind::Ended)).await;
    let shown = format!("{answer:?}");
    assert!(shown.contains("x-api-key: •••"), "{shown}");
    let key = NEW.strip_prefix("whsec_").unwrap();
    for secret in [key, "key-of-the-crm", "T0000000000000000000", "sesame", "pass-phrase", "\u{1b}"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[tokio::test]
async fn a_bomb_in_an_answer_is_read_up_to_its_limit() {
    // 64 MiB of zeros in 64 KiB.
    let mut bomb = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
    bomb.write_all(&vec![b'0'; 64 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    let answer = ResponseTemplate::new(200).set_body_bytes(bomb).insert_header("content-encoding", "gzip");
    let server = receiver(answer).await;
    let answer = deliver(&to(&server.uri()), &event(Kind::Ended)).await;
    assert_eq!(answer.reaction, Reaction::Delivered);
    assert_eq!(answer.response, "0".repeat(2048));
}

#[tokio::test]
async fn one_deadline_covers_a_receiver_that_says_nothing() {
    let address = raw_receiver(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let mut config = to(&format!("http://{address}"));
    config.timeout = Duration::from_millis(200);
    assert_retry(&deliver(&config, &event(Kind::Ended)).await, None, "timed out after 200ms");
}

#[tokio::test]
async fn one_deadline_covers_a_body_that_drips_and_the_status_counts() {
    let address = raw_receiver(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await.unwrap();
        while stream.write_all(b".").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let mut config = to(&format!("http://{address}"));
    config.timeout = Duration::from_millis(200);
    let answer = deliver(&config, &event(Kind::Ended)).await;
    assert_eq!(answer.reaction, Reaction::Delivered);
    assert_eq!(answer.result, "200 OK, but its body timed out after 200ms");
}

#[tokio::test]
async fn connections_that_fail_are_tried_again_and_named_without_the_address() {
    let answer = deliver(&to(&format!("http://{}/secret", free_address())), &event(Kind::Ended)).await;
    assert_retry(&answer, None, "connection refused");

    let answer = deliver(&to("http://nowhere.invalid/secret"), &event(Kind::Ended)).await;
    assert_retry(&answer, None, "name not found");

    let resets = raw_receiver(|stream| async move {
        stream.set_zero_linger().unwrap();
        drop(stream);
    })
    .await;
    let answer = deliver(&to(&format!("http://{resets}/secret")), &event(Kind::Ended)).await;
    assert_retry(&answer, None, "connection reset");

    let hangs_up = raw_receiver(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
    })
    .await;
    let answer = deliver(&to(&format!("http://{hangs_up}/secret")), &event(Kind::Ended)).await;
    assert_eq!(answer.reaction, Reaction::Retry { after: None });
    assert!(!answer.result.contains("secret"), "{}", answer.result);

    let not_tls = raw_receiver(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    })
    .await;
    let answer = deliver(&to(&format!("https://{not_tls}/secret")), &event(Kind::Ended)).await;
    assert_eq!(answer.reaction, Reaction::Retry { after: None });
    assert!(answer.result.starts_with("TLS: "), "{}", answer.result);
}

#[tokio::test]
async fn an_address_can_be_a_secret_and_is_one_in_each_of_its_parts() {
    let server = MockServer::start().await;
    let echo = |request: &Request| ResponseTemplate::new(403).set_body_string(request.url.to_string());
    Mock::given(any()).respond_with(echo).mount(&server).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{}/hooks/abcdefghijklmnopqrst?sig=hush-hush\n", server.uri()))
        .unwrap();
    let url = WebhookUrl::Secret(Secret::File(file.path().to_owned()));
    let config = config(DestinationKind::Webhook(WebhookConfig { url, ..webhook(&server.uri()) }));
    let answer = deliver(&config, &event(Kind::Ended)).await;
    assert_eq!(only_request(&server).await.url.path(), "/hooks/abcdefghijklmnopqrst");
    let shown = format!("{answer:?} {config:?} {:?}", Arc::strong_count(&destination(&config)));
    assert!(shown.contains("•••") && !shown.contains("hush") && !shown.contains("abcdefgh"), "{shown}");

    for (secret, why) in [
        (Secret::from("ftp://example.com/"), "`url` is not an https address; nothing was sent"),
        (Secret::from("http://example.com/"), "`url` is not an https address; nothing was sent"),
        (Secret::from("no address"), "`url` is not an https address; nothing was sent"),
        (
            Secret::Env("CALLWATCH_NOT_SET".to_owned()),
            "the environment variable CALLWATCH_NOT_SET is not set",
        ),
    ] {
        let webhook = WebhookConfig { url: WebhookUrl::Secret(secret), ..webhook(&server.uri()) };
        let answer = deliver(&super::config(DestinationKind::Webhook(webhook)), &event(Kind::Ended)).await;
        assert_retry(&answer, None, why);
    }
    // One that must be public is vetted as well.
    let connection = callwatch::config::Connection { public_only: true, ..Default::default() };
    let url = WebhookUrl::Secret(Secret::from(server.uri().as_str()));
    let webhook = WebhookConfig { url, connection, ..webhook(&server.uri()) };
    let answer = deliver(&super::config(DestinationKind::Webhook(webhook)), &event(Kind::Ended)).await;
    assert!(
        matches!(answer.reaction, Reaction::Retry { .. }) && answer.result.contains("public"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_receiver_learns_who_sends_and_by_which_method() {
    let basic = WebhookAuth::Basic { user: "desk".to_owned(), password: "s3cret-word".into() };
    for (auth, value) in [
        (WebhookAuth::Bearer("a-long-token-of-ours".into()), "Bearer a-long-token-of-ours"),
        (basic, "Basic ZGVzazpzM2NyZXQtd29yZA=="),
    ] {
        let server = MockServer::start().await;
        let echo = |request: &Request| {
            let sent = request.headers["authorization"].to_str().unwrap().to_owned();
            ResponseTemplate::new(401).set_body_string(format!("no: {sent}, s3cret-word"))
        };
        Mock::given(any()).respond_with(echo).mount(&server).await;
        let webhook =
            WebhookConfig { auth: Some(auth), method: reqwest::Method::PUT, ..webhook(&server.uri()) };
        let config = config(DestinationKind::Webhook(webhook));
        let answer = deliver(&config, &event(Kind::Ended)).await;
        let request = only_request(&server).await;
        assert_eq!((request.method.as_str(), header(&request, "authorization")), ("PUT", value));
        let shown = format!("{answer:?} {config:?}");
        let (_, secret) = value.split_once(' ').unwrap();
        assert!(answer.response.contains("•••") && !shown.contains(secret), "{shown}");
        // The password itself as well, where it is one.
        assert!(!value.starts_with("Basic") || !shown.contains("s3cret-word"), "{shown}");
    }
}

#[tokio::test]
async fn an_answer_that_does_not_say_what_success_asks_for_is_none() {
    let asks = |pattern: &str, url: &str| {
        let success = Some(regex::Regex::new(pattern).unwrap());
        config(DestinationKind::Webhook(WebhookConfig { success, ..webhook(url) }))
    };
    let not = "200 OK, but the answer does not hold what `success` asks for";
    for (body, pattern, result) in [
        ("1", "^1$", "200 OK"),
        ("Webhook message delivery failed with error: 429", "^1$", not),
        ("", "ok", not),
        (r#"{"status":"accepted"}"#, r#""status": *"accepted""#, "200 OK"),
    ] {
        let server = receiver(ResponseTemplate::new(200).set_body_string(body)).await;
        let answer = deliver(&asks(pattern, &server.uri()), &event(Kind::Ended)).await;
        assert_eq!(answer.result, result, "{body}");
        let reaction = if result == not { Reaction::Retry { after: None } } else { Reaction::Delivered };
        assert_eq!((answer.reaction, answer.response.as_str()), (reaction, body));
    }
    // Of a refusal nothing is asked, and an answer that breaks off says nothing.
    let server = receiver(ResponseTemplate::new(410).set_body_string("1")).await;
    let answer = deliver(&asks("^1$", &server.uri()), &event(Kind::Ended)).await;
    assert!(matches!(answer.reaction, Reaction::Pause(_)), "{answer:?}");
    let broken = raw_receiver(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n1").await.unwrap();
    })
    .await;
    let answer = deliver(&asks("1", &format!("http://{broken}/")), &event(Kind::Ended)).await;
    assert!(matches!(answer.reaction, Reaction::Retry { .. }), "{answer:?}");
    assert!(answer.result.starts_with("200 OK, but its body broke off"), "{}", answer.result);
}

#[tokio::test]
async fn an_ed25519_key_signs_so_that_a_receiver_needs_no_secret() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
    let seed = [7; 32];
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let public = pair.public_key().as_ref();
    let with_public = [&seed[..], public].concat();
    for key in [&seed[..], &with_public] {
        let server = receiver(ResponseTemplate::new(200)).await;
        let key = format!("whsk_{}", STANDARD.encode(key));
        let webhook =
            WebhookConfig { secrets: vec![NEW.into(), key.as_str().into()], ..webhook(&server.uri()) };
        let event = event(Kind::Ended);
        deliver(&config(DestinationKind::Webhook(webhook)), &event).await;
        let request = only_request(&server).await;
        let (symmetric, asymmetric) = header(&request, "webhook-signature").split_once(' ').unwrap();
        assert!(symmetric.starts_with("v1,"), "{symmetric}");
        let signature = STANDARD.decode(asymmetric.strip_prefix("v1a,").unwrap()).unwrap();
        let signed = format!("{}.{}.", event.id, now().as_secs()).into_bytes();
        let signed = [signed, request.body].concat();
        UnparsedPublicKey::new(&ED25519, public).verify(&signed, &signature).unwrap();
    }
    for wrong in ["whsk_", "whsk_abcd", "whsk_~"] {
        let webhook = WebhookConfig { secrets: vec![wrong.into()], ..webhook("http://127.0.0.1:1/") };
        let answer = deliver(&config(DestinationKind::Webhook(webhook)), &event(Kind::Ended)).await;
        assert!(answer.result.ends_with("nothing was sent"), "{wrong}: {}", answer.result);
    }
}

#[tokio::test]
async fn cloudevents_in_binary_mode_have_their_attributes_in_headers() {
    let server = receiver(ResponseTemplate::new(200)).await;
    let webhook = WebhookConfig { format: WebhookFormat::CloudeventsBinary, ..webhook(&server.uri()) };
    let config = config(DestinationKind::Webhook(webhook));
    let event = Event { subject: call_of("clinic", "a b\"é%"), ..event(ended_and_analyzed()) };
    deliver(&config, &event).await;
    let request = only_request(&server).await;
    for (name, value) in [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", event.id.as_str()),
        ("ce-source", "/callwatch/clinic"),
        ("ce-type", "call.ended"),
        ("ce-subject", "a%20b%22%C3%A9%25"),
        ("ce-time", "2025-12-15T14:32:25.000Z"),
    ] {
        assert_eq!(header(&request, name), value, "{name}");
    }
    let body = String::from_utf8(request.body).unwrap();
    assert!(body.starts_with(r#"{"source":"clinic","rule":"call-completed","sequence":7"#), "{body}");
    assert!(body.ends_with(&format!(r#""call":{RECORD}}}"#)), "{body}");
}
