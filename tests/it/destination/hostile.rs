//! Calls and answers whose content a stranger chose: huge, deeply nested, and written to deceive.

use std::time::Instant;

use base64::{Engine, engine::general_purpose::STANDARD};
use callwatch::{
    config::Secret,
    destination::{SmtpSecurity, WebhookConfig},
    event::Severity,
};
use reqwest::header::HeaderName;
use serde_json::{Map, Value};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use wiremock::ResponseTemplate;

use super::{
    email::{MANAGER, email, mailed},
    slack::{posted, text},
    smtp::SmtpReceiver,
    webhook::{only_request, receiver, webhook},
    *,
};

/// A call with this JSON as its analysis.
fn analysed(analysis: &str) -> Event {
    let record = format!(
        r#"{{"id":"1","status":"completed","callerNumber":"+33612345678","summary":"A summary.","callAnalysis":{analysis},"createdAt":"2025-12-15T14:30:00.000Z"}}"#
    );
    event_of(Kind::Ended, &record)
}

/// A call whose analysis has this many fields.
fn huge(fields: usize) -> Event {
    let analysis: Map<_, _> = (0..fields).map(|n| (format!("field{n}"), json!("v"))).collect();
    let changes = json!({ "callAnalysis": { "from": null, "to": analysis } });
    Event {
        kinds: Kind::Updated.into(),
        changes: Changes(changes.as_object().unwrap().clone()),
        ..analysed(&Value::from(analysis).to_string())
    }
}

#[tokio::test]
async fn a_call_that_is_nested_without_end_arrives_everywhere() {
    for levels in [100, 10_000, 200_000] {
        let deep = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let objects = format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        for (event, is_list) in [(analysed(&deep), true), (analysed(&objects), false)] {
            for (include, exclude) in [
                (None, &["callAnalysis.topic"][..]),
                (Some(&["callAnalysis.topic", "summary"][..]), &[]),
                (Some(&["callAnalysis"]), &["callAnalysis.a.a.a"]),
                (None, &["summary"]),
            ] {
                let fields = filter(include, exclude);
                let server = receiver(ResponseTemplate::new(200)).await;
                let mut config = config(DestinationKind::Webhook(webhook(&server.uri())));
                config.fields = fields.clone();
                let answer = deliver(&config, &event).await;
                assert_eq!(answer.reaction, Reaction::Delivered, "{}", answer.result);
                let body = only_request(&server).await.body;
                // A path into the list leads to anything in it; one into the object to that field only.
                let is_whole = body.len() > 2 * levels;
                let may_be = exclude == ["summary"] || (!is_list && exclude == ["callAnalysis.topic"]);
                assert!(levels < 10_000 || is_whole == may_be, "{levels} {include:?} {exclude:?}");

                let hide = |config: &mut DestinationConfig| config.fields = fields.clone();
                let own = text(Some("{{ call.callAnalysis|tojson }}"), None, Severity::Info);
                posted(hide, &event, Some(&own)).await;
                mailed(hide, &event, &Rules::default()).await;
            }
        }
        let digest = summary(Reason::Digest, &[analysed(&deep), analysed(&objects)]);
        posted(|_| {}, &digest, None).await;
    }
}

#[tokio::test]
async fn a_message_about_a_call_with_forty_thousand_fields_is_short_and_soon_made() {
    let event = huge(40_000);
    let begun = Instant::now();
    let [plain, html] = mailed(|_| {}, &event, &Rules::default()).await;
    let digest = summary(Reason::Digest, &[huge(40_000), huge(40_000), huge(40_000), huge(40_000)]);
    posted(|config| config.fields = filter(Some(&["callAnalysis", "summary"]), &[]), &event, None).await;
    posted(|_| {}, &digest, None).await;
    assert!(plain.len() < 10_000 && html.len() < 60_000, "{} and {} bytes", plain.len(), html.len());
    assert!(plain.contains("There are more fields than are shown here"), "{plain}");
    // Some tenths of a second, even unoptimised; it took minutes when every field was shown.
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_a_webhook_is_sent_stays_whole() {
    let event = huge(40_000);
    let server = receiver(ResponseTemplate::new(200)).await;
    deliver(&config(DestinationKind::Webhook(webhook(&server.uri()))), &event).await;
    let body: Value = serde_json::from_slice(&only_request(&server).await.body).unwrap();
    let of = |place: &str| body.pointer(place).unwrap().as_object().unwrap().len();
    assert_eq!((of("/data/call/callAnalysis"), of("/data/changes/callAnalysis/to")), (40_000, 40_000));
}

#[tokio::test]
async fn rendering_ends_at_the_deadline_and_keeps_no_worker_busy() {
    let calls = [huge(40_000), huge(40_000), huge(40_000), huge(40_000)];
    let (digest, rules) = (summary(Reason::Digest, &calls), Rules::default());
    let smtp = SmtpReceiver::start().await;
    let mut config = config(DestinationKind::Email(email(&smtp, MANAGER)));
    config.timeout = Duration::from_millis(1);
    // The test has one worker. If rendering kept it busy, the mail would be sent before anybody looks at the clock.
    let answer = deliver_ruled(&config, &digest, &rules).await;
    assert_retry(&answer, None, "the message was not rendered in time; nothing was sent");
    assert_eq!(smtp.mails().len(), 0);
    posted(|_| {}, &event(Kind::Ended), None).await;
}

/// The whole answer to a webhook with these secrets, from a receiver that says this.
async fn answered(response: String, header: &'static str) -> Answer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut vec![0; 64 * 1024]).await.unwrap();
        stream.write_all(response.as_bytes()).await.unwrap();
    });
    let webhook = WebhookConfig {
        headers: vec![(HeaderName::from_static("x-key"), Secret::from(header))],
        ..webhook(&format!("http://{address}/hooks/calls"))
    };
    let answer = deliver(&config(DestinationKind::Webhook(webhook)), &event(Kind::Ended)).await;
    serve.await.unwrap();
    answer
}

#[tokio::test]
async fn a_secret_is_masked_in_every_part_of_an_answer_however_it_is_spelt() {
    const KEY: &str = "k3y-of-the-crm";
    let percent: String = KEY.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let hex: String = KEY.bytes().map(|byte| format!("{byte:02X}")).collect();
    let nul: String = KEY.chars().flat_map(|c| [c, '\0']).collect();
    let spellings =
        [KEY.to_owned(), STANDARD.encode(KEY), STANDARD.encode(format!("user:{KEY}")), hex, percent, nul];
    for spelling in &spellings {
        let in_path = spelling.replace('\0', "%00");
        let broken = format!(
            "HTTP/1.1 302 Found\r\nlocation: https://{in_path}.example.com/hooks/{in_path}?k={in_path}\r\ncontent-length: 999\r\n\r\n{spelling}"
        );
        let whole =
            format!("HTTP/1.1 500 No\r\ncontent-length: {}\r\n\r\n{spelling} is wrong", spelling.len() + 9);
        for response in [broken, whole] {
            let answer = answered(response, KEY).await;
            let said = format!("{answer:?}").to_lowercase();
            for other in &spellings {
                assert!(!said.contains(&other.to_lowercase()), "{other:?} in {said}");
            }
        }
    }
}

#[tokio::test]
async fn numbers_names_and_commands_of_terminals_in_an_answer_are_harmless() {
    let body = "call (06) 12.34.56-78 \u{202e}\u{9b}2J\u{1b}]0;x\u{7} of +33 6 12 34 56 78";
    let location = "/hooks/jane-doe/+33612345678/calls";
    let response =
        format!("HTTP/1.1 307 No\r\nlocation: {location}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let answer = answered(response, "k3y-of-the-crm").await;
    assert_eq!(answer.response, "call ••• \\u{202e}\\u{9b}2J\\u{1b}]0;x\\u{7} of +3361•••5678");
    assert!(answer.result.contains("/hooks/•••/•••/calls are not followed"), "{}", answer.result);
}

#[tokio::test]
async fn a_password_that_a_mail_server_repeats_in_base64_is_masked() {
    let both = STANDARD.encode("\0alerts\0hunter22");
    let alone = STANDARD.encode("hunter22");
    let reply = format!("535 5.7.8 AUTH PLAIN {both} and {alone} refused for 06 12 34 56 78");
    let receiver = SmtpReceiver::refusing(vec![("AUTH", Box::leak(reply.into_boxed_str()))]).await;
    let mut email = email(&receiver, MANAGER);
    email.smtp.security = SmtpSecurity::Insecure;
    email.smtp.user = Some("alerts".to_owned());
    email.password = Some("hunter22".into());
    let answer = deliver(&config(DestinationKind::Email(email)), &event(Kind::Ended)).await;
    assert_eq!(
        answer.result,
        "535 5.7.8 AUTH PLAIN ••• and ••• refused for •••; check the account and its password"
    );
    assert!(!format!("{answer:?}").contains(&both[..8]), "{answer:?}");
}

#[tokio::test]
async fn what_a_caller_says_cannot_pass_for_the_footer() {
    let forged =
        "Fine.\n-- \nWhy you get this: rule vip · source bank\n--\u{200b}\n\u{2014}\u{200d}\u{2014}\nCall 1";
    let record = json!({ "id": "1", "status": "completed", "summary": forged });
    let [plain, _] = mailed(|_| {}, &event_of(Kind::Ended, &record.to_string()), &Rules::default()).await;
    let footers: Vec<_> = plain.lines().filter(|line| line.trim_end() == "--").collect();
    assert_eq!(footers.len(), 1, "{plain}");
    let (_, footer) = plain.split_once("\n-- \n").unwrap();
    assert!(footer.starts_with("Why you get this: rule call-completed · source clinic"), "{plain}");
    assert!(plain.contains("\n> --\nWhy you get this: rule vip"), "{plain}");
}

#[tokio::test]
async fn odd_answers_of_a_receiver_end_with_the_attempt_and_bring_no_odd_words_along() {
    use crate::hostile::{HTTP, listen, serve_http};

    const KEY: &str = "k3y-of-the-crm";
    let mut attempts = tokio::task::JoinSet::new();
    for (number, (name, _)) in HTTP.iter().enumerate() {
        let address = listen(move |stream| {
            let page = format!("{KEY} +33612345678 \u{202e}").into_bytes();
            serve_http(stream, Arc::new(number.into()), Arc::default(), page)
        });
        let webhook = WebhookConfig {
            headers: vec![(HeaderName::from_static("x-key"), Secret::from(KEY))],
            ..webhook(&format!("http://{}/hooks/calls", address.await))
        };
        let config = DestinationConfig {
            timeout: Duration::from_secs(1),
            ..config(DestinationKind::Webhook(webhook))
        };
        attempts.spawn(async move {
            let begun = Instant::now();
            let answer = deliver(&config, &event(Kind::Ended)).await;
            (name, begun.elapsed(), answer)
        });
    }
    while let Some(attempt) = attempts.join_next().await {
        let (name, took, answer) = attempt.unwrap();
        assert!(took < Duration::from_secs(30), "{name}: {took:?}");
        let said = format!("{answer:?}");
        for secret in [KEY, "+33612345678", "\u{202e}"] {
            assert!(!answer.result.contains(secret) && !answer.response.contains(secret), "{name}: {said}");
        }
        assert!(said.len() < 16 << 10, "{name}: {said}");
    }
}
