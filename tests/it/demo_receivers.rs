//! The local receivers check what real ones check, keep what they accepted, and misbehave when they are told to.

use std::time::Duration;

use callwatch::{
    demo::receivers::{
        DEMO_SECRET, Mail, Message, Misbehaviour, Refusal, SlackReceiver, SmtpReceiver, Stage,
        WebhookReceiver,
    },
    time::Clock,
};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor, message::Mailbox};
use reqwest::StatusCode;
use serde_json::json;
use standardwebhooks::Webhook;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

fn client() -> reqwest::Client {
    // Fails only when another test has already done it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// POSTs a body that was signed `age` seconds ago with the demo's secret.
async fn post(
    receiver: &WebhookReceiver,
    id: &str,
    body: &'static str,
    age: i64,
) -> reqwest::Result<StatusCode> {
    let at = Clock::system().wall().as_secs() - age;
    let signature = Webhook::new(DEMO_SECRET).unwrap().sign(id, at, body.as_bytes()).unwrap();
    let request = client()
        .post(receiver.url())
        .header("webhook-id", id)
        .header("webhook-timestamp", at)
        .header("webhook-signature", format!("v1,bm90IHRoaXMgb25l {signature}"))
        .body(body);
    Ok(request.send().await?.status())
}

fn ids(inbox: &callwatch::demo::receivers::Inbox) -> Vec<String> {
    inbox.arrivals().iter().map(|arrival| arrival.id.clone()).collect()
}

#[tokio::test]
async fn a_webhook_with_a_right_signature_is_taken_with_its_headers_and_bytes() {
    let receiver = WebhookReceiver::start([DEMO_SECRET]).await.unwrap();

    assert_eq!(post(&receiver, "evt_1", r#"{"a": 1}"#, 0).await.unwrap(), 204);

    let arrivals = receiver.inbox().arrivals();
    let Message::Webhook { headers, body, verified } = &arrivals[0].message else { panic!() };
    assert_eq!((arrivals[0].id.as_str(), &body[..], verified), ("evt_1", &br#"{"a": 1}"#[..], &true));
    assert_eq!(headers["webhook-id"], "evt_1");
}

#[tokio::test]
async fn a_webhook_with_a_wrong_or_old_signature_or_none_is_refused() {
    let another = WebhookReceiver::start(["whsec_YW5vdGhlciBzZWNyZXQsIGp1c3QgYXMgbG9uZw=="]).await.unwrap();
    assert_eq!(post(&another, "evt_1", "{}", 0).await.unwrap(), 401);
    assert_eq!(another.inbox().last_refusal().as_deref(), Some("no signature is right"));

    let receiver = WebhookReceiver::start([DEMO_SECRET]).await.unwrap();
    for age in [330, -330] {
        assert_eq!(post(&receiver, "evt_1", "{}", age).await.unwrap(), 401);
    }
    assert_eq!(receiver.inbox().last_refusal().as_deref(), Some("webhook-timestamp is too far from now"));
    let unsigned = client().post(receiver.url()).header("webhook-id", "evt_1").send().await.unwrap();
    assert_eq!(unsigned.status(), 401);

    let counts = *receiver.inbox().counts().borrow();
    assert_eq!((counts.accepted, counts.refused), (0, 3));
}

#[tokio::test]
async fn a_webhook_receiver_without_a_secret_takes_everything_and_claims_nothing() {
    let receiver = WebhookReceiver::start(Vec::<String>::new()).await.unwrap();

    assert_eq!(client().post(receiver.url()).body("x").send().await.unwrap().status(), 204);

    let arrivals = receiver.inbox().arrivals();
    assert!(matches!(arrivals[0].message, Message::Webhook { verified: false, .. }));
}

#[tokio::test]
async fn a_webhook_receiver_misbehaves_in_every_way_and_then_behaves() {
    let receiver = WebhookReceiver::start([DEMO_SECRET]).await.unwrap();
    receiver.misbehave(1, Misbehaviour::Status { code: 503, retry_after: Some(7) });
    receiver.misbehave(1, Misbehaviour::Reset);
    receiver.misbehave(1, Misbehaviour::LoseAnswer);
    receiver.misbehave(1, Misbehaviour::Delay(Duration::from_millis(100)));
    receiver.misbehave(1, Misbehaviour::Gzip(b"no gzip at all"));
    assert!(!receiver.is_behaving());

    let busy = client().post(receiver.url()).send().await.unwrap();
    assert_eq!(
        (busy.status(), busy.headers()["retry-after"].to_str().unwrap()),
        (StatusCode::SERVICE_UNAVAILABLE, "7")
    );
    assert!(post(&receiver, "evt_reset", "{}", 0).await.is_err());
    assert!(post(&receiver, "evt_lost", "{}", 0).await.is_err());
    let asked = std::time::Instant::now();
    assert_eq!(post(&receiver, "evt_late", "{}", 0).await.unwrap(), 204);
    assert!(asked.elapsed() >= Duration::from_millis(100));
    assert_eq!(post(&receiver, "evt_gzip", "{}", 0).await.unwrap(), 200);
    assert!(receiver.is_behaving());
    assert_eq!(post(&receiver, "evt_prompt", "{}", 0).await.unwrap(), 204);

    assert_eq!(ids(receiver.inbox()), ["evt_lost", "evt_late", "evt_gzip", "evt_prompt"]);
}

#[tokio::test]
async fn what_was_taken_out_of_an_inbox_does_not_come_again() {
    let receiver = WebhookReceiver::start([DEMO_SECRET]).await.unwrap();
    post(&receiver, "evt_1", "{}", 0).await.unwrap();
    post(&receiver, "evt_2", "{}", 0).await.unwrap();
    receiver.inbox().wait_for(2).await;
    assert_eq!(receiver.inbox().take().len(), 2);

    post(&receiver, "evt_3", "{}", 0).await.unwrap();

    assert_eq!(ids(receiver.inbox()), ["evt_3"]);
    assert_eq!(receiver.inbox().counts().borrow().accepted, 3);
}

#[tokio::test]
async fn slack_says_ok_or_what_is_wrong() {
    let receiver = SlackReceiver::start().await.unwrap();
    let say = async |message: serde_json::Value| {
        let response = client().post(receiver.url()).json(&message).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };

    assert_eq!(say(json!({ "text": "hello" })).await, (200, "ok".to_owned()));
    assert_eq!(say(json!({ "text": "hello" })).await, (200, "ok".to_owned()));
    assert_eq!(
        say(json!({ "text": "x", "blocks": [{ "type": "?" }] })).await,
        (400, "invalid_blocks".to_owned())
    );
    let broken = client().post(receiver.url()).body("{").send().await.unwrap();
    assert_eq!(broken.text().await.unwrap(), "invalid_payload");

    let ids = ids(receiver.inbox());
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1], "the same message has the same id");
}

fn mailer(receiver: &SmtpReceiver) -> AsyncSmtpTransport<Tokio1Executor> {
    let addr = receiver.addr();
    AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(addr.ip().to_string()).port(addr.port()).build()
}

fn letter(subject: &str, body: &str) -> lettre::Message {
    let mailbox = |address: &str| address.parse::<Mailbox>().unwrap();
    lettre::Message::builder()
        .from(mailbox("Callwatch <alerts@example.com>"))
        .to(mailbox("manager@example.com"))
        .cc(mailbox("deputy@example.com"))
        .message_id(Some("<evt_1@example.com>".to_owned()))
        .subject(subject)
        .body(body.to_owned())
        .unwrap()
}

fn mail(receiver: &SmtpReceiver, at: usize) -> Mail {
    match &receiver.inbox().arrivals()[at].message {
        Message::Mail(mail) => mail.clone(),
        _ => panic!("not a mail"),
    }
}

#[tokio::test]
async fn a_mail_arrives_whole() {
    let receiver = SmtpReceiver::start().await.unwrap();

    mailer(&receiver).send(letter("Unhappy caller · +33…", ".\r\n..two dots\r\nlast line")).await.unwrap();

    let mail = mail(&receiver, 0);
    assert_eq!(mail.from, "alerts@example.com");
    assert_eq!(mail.to, ["manager@example.com", "deputy@example.com"]);
    assert_eq!(mail.subject().as_deref(), Some("Unhappy caller · +33…"));
    assert_eq!(mail.message_id().as_deref(), Some("evt_1@example.com"));
    assert_eq!(receiver.inbox().arrivals()[0].id, "evt_1@example.com");
    let text = String::from_utf8(mail.data).unwrap();
    assert!(text.ends_with("\r\n\r\n.\r\n..two dots\r\nlast line\r\n"), "{text}");
}

#[tokio::test]
async fn one_connection_carries_many_mails() {
    let receiver = SmtpReceiver::start().await.unwrap();
    let mailer = mailer(&receiver);

    for _ in 0..5 {
        mailer.send(letter("again", "x")).await.unwrap();
    }

    assert_eq!(receiver.inbox().counts().borrow().accepted, 5);
}

#[tokio::test]
async fn mail_is_refused_at_any_stage_for_now_or_for_ever() {
    for (stage, code, transient) in [
        (Stage::Greeting, 421, true),
        (Stage::Sender, 451, true),
        (Stage::Recipient, 550, false),
        (Stage::Data, 554, false),
        (Stage::Message, 452, true),
    ] {
        let receiver = SmtpReceiver::start().await.unwrap();
        receiver.refuse(1, Refusal { stage, code });
        let mailer = mailer(&receiver);

        let error = mailer.send(letter("x", "x")).await.unwrap_err();
        assert_eq!(
            (error.is_transient(), error.is_permanent()),
            (transient, !transient),
            "{stage:?}: {error}"
        );
        assert_eq!(receiver.inbox().counts().borrow().accepted, 0, "{stage:?}");

        mailer.send(letter("x", "x")).await.unwrap();
        assert_eq!(receiver.inbox().counts().borrow().accepted, 1, "{stage:?}");
    }
}

#[tokio::test]
async fn a_mail_can_be_taken_and_refused_all_the_same() {
    let receiver = SmtpReceiver::start().await.unwrap();
    receiver.refuse(1, Refusal { stage: Stage::Taken, code: 451 });

    assert!(mailer(&receiver).send(letter("x", "x")).await.unwrap_err().is_transient());

    assert_eq!(receiver.inbox().counts().borrow().accepted, 1);
    assert!(receiver.is_behaving());
}

#[tokio::test]
async fn an_smtp_client_that_talks_nonsense_or_too_much_is_put_right() {
    let receiver = SmtpReceiver::start().await.unwrap();
    let mut stream = TcpStream::connect(receiver.addr()).await.unwrap();
    let conversation = [
        "HELO there",
        "DATA",
        "RCPT TO:<b@x>",
        "MAIL from <a@x>",
        "MAIL FROM:<a@x> SIZE=3",
        "RCPT TO:b",
        "NOOP",
        "RSET",
        "RCPT TO:<b@x>",
        "DANCE",
        "QUIT",
    ];
    stream.write_all((conversation.join("\r\n") + "\r\n").as_bytes()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    let codes: Vec<_> = answers.lines().map(|line| &line[..3]).collect();
    assert_eq!(
        codes,
        ["220", "250", "503", "503", "501", "250", "501", "250", "250", "503", "502", "221"],
        "{answers}"
    );

    let mut stream = TcpStream::connect(receiver.addr()).await.unwrap();
    // Writing may fail, because the server closes the connection before it has read everything.
    let _ = stream.write_all(&[b'x'; 100_000]).await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.len() < 100, "an endless line is not answered");
}
