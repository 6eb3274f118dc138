//! Mails to a real SMTP server.

use std::{net::SocketAddr, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use callwatch::{
    destination::{
        DestinationConfig, DestinationKind, EmailConfig, MAX_MEMO, Reaction, SmtpSecurity, SmtpServer,
    },
    event::EventId,
    event::Severity,
    kind::Kind,
    rule::{RuleText, Rules},
    template::Template,
};
use serde_json::{Value, json};

use super::{smtp::SmtpReceiver, *};
use crate::rig::free_address;

pub(super) fn email(receiver: &SmtpReceiver, to: &[&str]) -> EmailConfig {
    EmailConfig {
        smtp: SmtpServer {
            security: SmtpSecurity::Insecure,
            host: "127.0.0.1".to_owned(),
            port: receiver.address.port(),
            user: None,
            password: None,
        },
        password: None,
        oauth_token: None,
        from: "Callwatch <alerts@acme.example>".parse().unwrap(),
        to: to.iter().map(|to| to.parse().unwrap()).collect(),
        threads: true,
        connection: Default::default(),
    }
}

/// A mail to one address, by a server on this machine.
pub(super) fn mail_by(security: SmtpSecurity, address: SocketAddr, to: &str) -> EmailConfig {
    EmailConfig {
        smtp: SmtpServer {
            security,
            host: "localhost".to_owned(),
            port: address.port(),
            user: None,
            password: None,
        },
        password: None,
        oauth_token: None,
        from: "alerts@acme.example".parse().unwrap(),
        to: vec![to.parse().unwrap()],
        threads: true,
        connection: Default::default(),
    }
}

fn to(receiver: &SmtpReceiver, to: &[&str]) -> DestinationConfig {
    config(DestinationKind::Email(email(receiver, to)))
}

/// The text and the HTML part of what a manager gets to read.
pub(super) async fn mailed(
    adjust: impl FnOnce(&mut DestinationConfig),
    event: &Event,
    rules: &Rules,
) -> [String; 2] {
    let receiver = SmtpReceiver::start().await;
    let mut config = to(&receiver, MANAGER);
    adjust(&mut config);
    let answer = deliver_ruled(&config, event, rules).await;
    assert_eq!(answer.reaction, Reaction::Delivered, "{}", answer.result);
    parts(&receiver.only_mail().text)
}

pub(super) const MANAGER: &[&str] = &["Manager <manager@acme.example>"];
const BOTH: &[&str] = &["a@acme.example", "b@acme.example"];

/// A header of a mail, unfolded.
pub(super) fn header(mail: &str, name: &str) -> String {
    let head = mail.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ");
    let found: Vec<_> = head.lines().filter_map(|line| line.strip_prefix(&format!("{name}: "))).collect();
    assert_eq!(found.len(), 1, "{name} in {head}");
    found[0].to_owned()
}

/// The text and the HTML part of a mail, decoded.
pub(super) fn parts(mail: &str) -> [String; 2] {
    let boundary = format!("\r\n--{}", header(mail, "Content-Type").split('"').nth(1).unwrap());
    let mut parts = mail.split(&boundary).skip(1).map(|part| {
        let (head, body) = part.split_once("\r\n\r\n").unwrap();
        if head.contains("quoted-printable") {
            decode_quoted_printable(body)
        } else if head.contains("base64") {
            let text = STANDARD.decode(body.replace("\r\n", "")).unwrap();
            String::from_utf8(text).unwrap().replace("\r\n", "\n")
        } else {
            body.to_owned()
        }
    });
    [parts.next().unwrap(), parts.next().unwrap()]
}

fn decode_quoted_printable(text: &str) -> String {
    let text = text.replace("=\r\n", "");
    let mut bytes = vec![];
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'=' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&after[..2]).unwrap(), 16).unwrap());
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
}

#[tokio::test]
async fn a_mail_says_who_called_how_it_went_and_why_they_are_told() {
    let receiver = SmtpReceiver::start().await;
    let event = event(Kind::Ended);
    let answer = deliver(&to(&receiver, MANAGER), &event).await;
    assert_eq!((answer.reaction, answer.result.as_str()), (Reaction::Delivered, "250 2.0.0 queued as 1"));

    let mail = receiver.only_mail();
    assert_eq!(mail.to, ["manager@acme.example"]);
    assert_eq!(header(&mail.text, "From"), "Callwatch <alerts@acme.example>");
    assert_eq!(header(&mail.text, "To"), "Manager <manager@acme.example>");
    assert_eq!(header(&mail.text, "Message-ID"), format!("<{}@acme.example>", event.id));
    assert_eq!(header(&mail.text, "Date"), "Mon, 15 Dec 2025 14:32:30 +0000");
    assert_eq!(header(&mail.text, "Auto-Submitted"), "auto-generated");

    let [text, html] = parts(&mail.text);
    assert_eq!(
        text.trim_end(),
        "Call ended · +33612345678 · 2m 25s

The caller asked about appointment availability next Tuesday. …

What to do: Nothing, unless something in the summary is still open, such as a
promised callback.

Caller              +33612345678
Began               Mon 15 Dec 2025, 14:30 UTC
Number called       +33198765432
Status              Ended, 2m 25s
Goal                Met
Ended by            The caller
Sentiment           positive
Sales potential     high
Appointment booked  yes

-- 
Why you get this: rule call-completed · source clinic
Call 6789abcdef0123456789abcd"
    );
    for part in
        ["<h1", "tel:+33612345678", "Sales potential", "appointment availability", "<b>call-completed</b>"]
    {
        assert!(html.contains(part), "{part} in {html}");
    }
    assert!(!mail.text.contains("thank you for calling"));
}

#[tokio::test]
async fn mails_about_one_call_hang_together_and_a_repeat_is_recognised() {
    let receiver = SmtpReceiver::start().await;
    let destination = destination(&to(&receiver, MANAGER));
    let ended = event(Kind::Ended);
    let analyzed = Event { id: EventId::from("evt_other"), ..event(Kind::Analyzed) };
    let elsewhere = Event { subject: call_of("practice", "6789abcdef0123456789abcd"), ..event(Kind::Ended) };
    for event in [&ended, &analyzed, &elsewhere, &ended] {
        destination
            .deliver(&Notification {
                event: &Arc::new(event.clone()),
                rules: &callwatch::rule::Rules::default(),
                sequence: 1,
                memo: None,
                followed: false,
                now: now(),
            })
            .await;
    }
    let mails = receiver.mails();
    let [ended, analyzed, elsewhere, again] = &mails[..] else { panic!("{} mails", mails.len()) };
    let of = |name| move |mail: &smtp::Received| header(&mail.text, name);
    for name in ["References", "In-Reply-To", "List-Id"] {
        assert_eq!(of(name)(ended), of(name)(analyzed));
    }
    assert_eq!(of("Subject")(ended), "Call from +33612345678, 15 Dec 14:30");
    assert_eq!(
        of("Subject")(analyzed),
        of("Subject")(ended),
        "Gmail and Outlook want the same subject as well"
    );
    for name in ["References", "In-Reply-To"] {
        assert_eq!(of(name)(ended), of(name)(analyzed));
        assert_ne!(of(name)(ended), of(name)(elsewhere));
    }
    assert_eq!(of("Message-ID")(ended), of("Message-ID")(again));
    assert_ne!(of("Message-ID")(ended), of("Message-ID")(analyzed));
    assert_eq!(receiver.connections(), 1, "one connection is enough");
}

/// To a manager who wants no conversations.
fn alone(receiver: &SmtpReceiver) -> DestinationConfig {
    config(DestinationKind::Email(EmailConfig { threads: false, ..email(receiver, MANAGER) }))
}

#[tokio::test]
async fn without_conversations_the_subject_is_the_title_and_words_say_how_much_it_matters() {
    for (severity, subject) in [
        (Severity::Info, "Unhappy caller +33612345678"),
        (Severity::Warning, "Warning: Unhappy caller +33612345678"),
        (Severity::Critical, "Critical: Unhappy caller +33612345678"),
    ] {
        let receiver = SmtpReceiver::start().await;
        let title = Some(Template::compile("Unhappy caller {{ call.callerNumber }}").unwrap());
        let text = RuleText { title, severity, ..RuleText::default() };
        deliver_with(&alone(&receiver), &event(Kind::Ended), Some(&text)).await;
        let mail = receiver.only_mail().text;
        assert_eq!(header(&mail, "Subject"), subject);
        assert!(!mail.contains("References: ") && !mail.contains("In-Reply-To: "), "{mail}");
        assert_eq!(mail.contains("\r\nImportance: high\r\n"), severity == Severity::Critical);
    }
    let receiver = SmtpReceiver::start().await;
    let title = Some(Template::compile(&"word ".repeat(60)).unwrap());
    let text = RuleText { title, ..RuleText::default() };
    deliver_with(&alone(&receiver), &event(Kind::Ended), Some(&text)).await;
    let subject = header(&receiver.only_mail().text, "Subject");
    assert!(!subject.contains(&"word ".repeat(24)), "{subject}");
}

#[tokio::test]
async fn a_conversation_is_named_by_what_the_reader_may_know_of_the_call() {
    let paris = Zone::parse("Europe/Paris").unwrap();
    let id = "6789abcdef0123456789abcd";
    for (exclude, record, subject) in [
        (&[][..], RECORD.to_owned(), "Call from +33612345678, 15 Dec 15:30".to_owned()),
        (&["callerNumber"], RECORD.to_owned(), "Call, 15 Dec 15:30".to_owned()),
        (&["createdAt"], RECORD.to_owned(), format!("Call {id} from +33612345678")),
        (&["callerNumber", "createdAt"], RECORD.to_owned(), format!("Call {id}")),
        (
            &[],
            RECORD.replace("\"+33612345678\"", "null"),
            "Call from unknown number, 15 Dec 15:30".to_owned(),
        ),
    ] {
        let receiver = SmtpReceiver::start().await;
        let mut config = to(&receiver, MANAGER);
        config.timezone = paris;
        config.fields = filter(None, exclude);
        deliver(&config, &event_of(Kind::Ended, &record)).await;
        assert_eq!(header(&receiver.only_mail().text, "Subject"), subject);
    }
    // A mail about no call, and a test mail, has a subject of its own.
    let receiver = SmtpReceiver::start().await;
    deliver(&to(&receiver, MANAGER), &source_event()).await;
    assert_eq!(header(&receiver.only_mail().text, "Subject"), "callwatch cannot see the calls of clinic");
    let receiver = SmtpReceiver::start().await;
    deliver(&to(&receiver, MANAGER), &Event { id: EventId::test(1), ..event(Kind::Ended) }).await;
    assert!(!header(&receiver.only_mail().text, "Subject").starts_with("Call from"));
}

#[tokio::test]
async fn mails_can_be_sorted_by_their_rules() {
    for (rule, also, list) in [
        ("call-completed", &[][..], "<call-completed.callwatch.acme.example>"),
        ("unhappy_caller", &["booked"], "<booked.unhappy-caller.callwatch.acme.example>"),
        ("booked", &["unhappy_caller"], "<booked.unhappy-caller.callwatch.acme.example>"),
        ("[alerts]", &[], "<alerts.callwatch.acme.example>"),
    ] {
        let receiver = SmtpReceiver::start().await;
        let also = also.iter().map(|rule| Name::from(*rule)).collect();
        let event = Event { rule: rule.into(), also, ..event(Kind::Ended) };
        deliver(&to(&receiver, MANAGER), &event).await;
        assert_eq!(header(&receiver.only_mail().text, "List-Id"), list);
    }
    let receiver = SmtpReceiver::start().await;
    let also = (0..60).map(|n| Name::from(format!("rule-{n}").as_str())).collect();
    deliver(&to(&receiver, MANAGER), &Event { also, ..event(Kind::Ended) }).await;
    let list = header(&receiver.only_mail().text, "List-Id");
    assert!(list.len() < 80, "{list}");
}

#[tokio::test]
async fn lists_of_mails_show_the_title_beside_the_subject() {
    let text = RuleText {
        title: Some(Template::compile("Unhappy caller").unwrap()),
        severity: Severity::Critical,
        ..RuleText::default()
    };
    let [plain, html] = mailed(|_| {}, &event(Kind::Ended), &rules(&"call-completed".into(), &text)).await;
    assert!(plain.starts_with("Critical: Unhappy caller\n\n"), "{plain}");
    let first = html.split("<body").nth(1).unwrap().split('>').nth(2).unwrap();
    assert!(first.starts_with("Critical: Unhappy caller – The caller asked about"), "{first}");
}

#[tokio::test]
async fn nothing_of_a_call_becomes_a_header_or_markup() {
    let receiver = SmtpReceiver::start().await;
    let evil = "x\r\nBcc: thief@evil.example\r\n\r\n<script>alert(1)</script>\r\n.\r\nQUIT\r\n";
    let record = json!({ "id": "1", "status": evil, "callerNumber": evil, "summary": evil });
    let event = Event { subject: call_of("clinic", evil), ..event_of(Kind::Ended, &record.to_string()) };
    let text = RuleText {
        title: Some(Template::compile("{{ call.summary }}").unwrap()),
        severity: Severity::Critical,
        ..RuleText::default()
    };
    let answer = deliver_with(&to(&receiver, MANAGER), &event, Some(&text)).await;
    assert_eq!(answer.reaction, Reaction::Delivered, "{}", answer.result);
    let mail = receiver.only_mail();
    assert_eq!(mail.to, ["manager@acme.example"]);
    let head = mail.text.split("\r\n\r\n").next().unwrap();
    assert!(head.lines().all(|line| !line.starts_with("Bcc")), "{head}");
    assert_eq!(header(&mail.text, "Importance"), "high");
    assert!(header(&mail.text, "Subject").starts_with("Call x Bcc: thief"), "{head}");
    let [_, html] = parts(&mail.text);
    assert!(!html.contains("<script") && html.contains("&lt;script"), "{html}");
    assert!(html.contains("#c62828"));
}

#[tokio::test]
async fn a_title_beyond_ascii_arrives_whole() {
    let receiver = SmtpReceiver::start().await;
    let text =
        RuleText { title: Some(Template::compile("Appel terminé ☎").unwrap()), ..RuleText::default() };
    deliver_with(&alone(&receiver), &event(Kind::Ended), Some(&text)).await;
    let mail = receiver.only_mail();
    assert!(mail.text.is_ascii());
    assert!(header(&mail.text, "Subject").contains("=?utf-8?"));
    assert!(parts(&mail.text)[1].contains("Appel terminé ☎"));
}

#[tokio::test]
async fn a_refused_recipient_does_not_keep_a_mail_from_the_others() {
    let receiver = SmtpReceiver::refusing(vec![("RCPT TO:<a@", "550 5.1.1 no such mailbox")]).await;
    let answer = deliver(&to(&receiver, BOTH), &event(Kind::Ended)).await;
    assert_eq!(answer.reaction, Reaction::Delivered);
    assert_eq!(answer.result, "250 2.0.0 queued as 1; refused for a@acme.example: 550 5.1.1 no such mailbox");
    assert_eq!(receiver.only_mail().to, ["b@acme.example"]);
}

#[tokio::test]
async fn when_everybody_is_refused_the_mail_is_dead() {
    let receiver = SmtpReceiver::refusing(vec![("RCPT", "550 5.1.1 no such mailbox")]).await;
    let answer = deliver(&to(&receiver, &["a@acme.example"]), &event(Kind::Ended)).await;
    assert_dead(
        &answer,
        "every recipient was refused: a@acme.example: 550 5.1.1 no such mailbox; correct `to`, then retry the delivery",
    );
    assert_eq!(receiver.mails().len(), 0);
}

/// An attempt by a new destination, as after a restart.
async fn attempt(config: &DestinationConfig, event: &Arc<Event>, memo: Option<&Value>) -> Answer {
    let rules = Rules::default();
    let notification = Notification { event, rules: &rules, sequence: 1, memo, followed: false, now: now() };
    destination(config).deliver(&notification).await
}

#[tokio::test]
async fn who_has_a_mail_does_not_get_it_again_because_another_has_to_wait() {
    let receiver = SmtpReceiver::refusing(vec![("RCPT TO:<a@", "450 4.2.1 come back later")]).await;
    let (config, event) = (to(&receiver, BOTH), Arc::new(event(Kind::Ended)));
    let first = attempt(&config, &event, None).await;
    assert_retry(&first, None, "a@acme.example: 450 4.2.1 come back later; one recipient has it");
    let second = attempt(&config, &event, first.memo.as_ref()).await;
    assert_retry(&second, None, "a@acme.example: 450 4.2.1 come back later; one recipient has it");
    receiver.refuse(vec![]);
    let third = attempt(&config, &event, second.memo.as_ref()).await;
    assert_eq!(third.reaction, Reaction::Delivered);
    // Nobody waits any more, and the conversation keeps its subject.
    assert_eq!(third.memo, Some(json!({ "subject": SUBJECT })));

    let told: Vec<_> = receiver.mails().into_iter().flat_map(|mail| mail.to).collect();
    assert_eq!(told, ["b@acme.example", "a@acme.example"]);
}

/// Of the conversation about the call of the documentation.
const SUBJECT: &str = "Call from +33612345678, 15 Dec 14:30";

#[tokio::test]
async fn a_conversation_keeps_its_subject_when_the_caller_becomes_known() {
    let receiver = SmtpReceiver::start().await;
    let config = to(&receiver, MANAGER);
    let unknown = RECORD.replace("\"+33612345678\"", "\"\"");
    let mut memo: Option<Value> = None;
    for record in [unknown.as_str(), RECORD] {
        let answer = attempt(&config, &Arc::new(event_of(Kind::Updated, record)), memo.as_ref()).await;
        assert_eq!(answer.reaction, Reaction::Delivered, "{}", answer.result);
        memo = answer.memo.or(memo);
    }
    let subjects: Vec<_> = receiver.mails().iter().map(|mail| header(&mail.text, "Subject")).collect();
    assert_eq!(subjects.len(), 2);
    assert!(subjects[0].starts_with("Call from unknown number"), "{subjects:?}");
    assert_eq!(subjects[0], subjects[1]);
}

#[tokio::test]
async fn a_memo_about_another_mail_or_of_another_shape_keeps_nobody_from_this_one() {
    let receiver = SmtpReceiver::start().await;
    let (config, event) = (to(&receiver, BOTH), Arc::new(event(Kind::Ended)));
    for memo in [json!({ "event": "evt_other", "have_it": BOTH }), json!({ "have_it": 3 }), json!("?")] {
        let answer = attempt(&config, &event, Some(&memo)).await;
        assert_eq!(
            (answer.reaction, answer.memo),
            (Reaction::Delivered, Some(json!({ "subject": SUBJECT })))
        );
    }
    assert!(receiver.mails().iter().all(|mail| mail.to == BOTH) && receiver.mails().len() == 3);
}

#[tokio::test]
async fn the_memo_of_a_mail_to_many_stays_small() {
    let many: Vec<_> = (0..100).map(|n| format!("{}{n}@acme.example", "b".repeat(60))).collect();
    let many: Vec<_> = ["a@acme.example"].into_iter().chain(many.iter().map(String::as_str)).collect();
    let receiver = SmtpReceiver::refusing(vec![("RCPT TO:<a@", "450 4.2.1 come back later")]).await;
    let memo = deliver(&to(&receiver, &many), &event(Kind::Ended)).await.memo.expect("some have it");
    let length = memo.to_string().len();
    assert!(length <= MAX_MEMO && length > MAX_MEMO - 100, "{length}");
}

#[tokio::test]
async fn a_refusal_means_what_its_code_says() {
    for (command, reply, dead) in [
        ("MAIL", "550 5.7.1 not from you", false),
        ("DATA", "554 5.6.0 no", true),
        ("DATA", "550 5.4.5 daily quota exceeded", false),
        ("MAIL", "451 4.3.0 busy", false),
        ("DATA", "452 4.3.1 full", false),
        ("MAIL", "530 5.7.0 authenticate first", false),
        ("EHLO", "554 5.7.1 your address is blocked", false),
    ] {
        let receiver = SmtpReceiver::refusing(vec![(command, reply)]).await;
        let answer = deliver(&to(&receiver, MANAGER), &event(Kind::Ended)).await;
        assert_eq!(matches!(answer.reaction, Reaction::Dead(_)), dead, "{answer:?}");
        assert!(answer.result.starts_with(reply), "{answer:?}");
        assert_eq!(answer.response, reply);
    }
}

#[tokio::test]
async fn a_refused_recipient_is_final_only_if_it_is_about_the_recipient() {
    for (reply, dead) in [
        ("550 5.7.1 relaying denied", false),
        ("554 5.7.1 client host blocked", false),
        ("550 5.1.1 nobody of this name", true),
        ("550 no such user", true),
        ("452 4.2.2 mailbox full", false),
    ] {
        let receiver = SmtpReceiver::refusing(vec![("RCPT", reply)]).await;
        let answer = deliver(&to(&receiver, MANAGER), &event(Kind::Ended)).await;
        assert_eq!(matches!(answer.reaction, Reaction::Dead(_)), dead, "{answer:?}");
        assert_eq!(answer.response, format!("manager@acme.example: {reply}"));
    }
}

#[tokio::test]
async fn a_token_signs_in_as_xoauth2_and_its_refusal_is_the_accounts() {
    let refused = [("AUTH", "334 eyJzdGF0dXMiOiI0MDAifQ=="), ("", "535 5.7.8 invalid token")];
    for (refusals, dead) in [
        (vec![], None),
        (refused.to_vec(), Some("535 5.7.8 invalid token; check the account and its password")),
    ] {
        let receiver = SmtpReceiver::refusing(refusals).await;
        let mut email = email(&receiver, MANAGER);
        email.smtp.user = Some("me@acme.example".to_owned());
        email.oauth_token = Some(callwatch::config::Secret::Plain("ya29.token".into()));
        let answer = deliver(&config(DestinationKind::Email(email)), &event(Kind::Ended)).await;
        let auth: Vec<_> = receiver.commands().into_iter().filter(|line| line.starts_with("AUTH")).collect();
        // user=me@acme.example^Aauth=Bearer ya29.token^A^A
        assert_eq!(auth, ["AUTH XOAUTH2 dXNlcj1tZUBhY21lLmV4YW1wbGUBYXV0aD1CZWFyZXIgeWEyOS50b2tlbgEB"]);
        match dead {
            None => assert_eq!(answer.reaction, Reaction::Delivered, "{answer:?}"),
            Some(why) => assert_retry(&answer, None, why),
        }
    }
}

#[tokio::test]
async fn a_refused_account_is_the_destinations_fault_and_its_password_stays_secret() {
    let receiver = SmtpReceiver::refusing(vec![("AUTH", "535 5.7.8 hunter22 is not the password")]).await;
    let mut email = email(&receiver, MANAGER);
    email.smtp.user = Some("alerts@acme.example".to_owned());
    let answer = deliver(&config(DestinationKind::Email(email.clone())), &event(Kind::Ended)).await;
    assert_retry(&answer, None, "no password is given for the account alerts@acme.example; nothing was sent");

    email.password = Some("hunter22".into());
    let config = config(DestinationKind::Email(email));
    let answer = deliver(&config, &event(Kind::Ended)).await;
    assert_eq!(answer.reaction, Reaction::Retry { after: None });
    assert!(answer.result.ends_with("; check the account and its password"), "{answer:?}");
    assert!(!format!("{answer:?} {config:?}").contains("hunter22"), "{answer:?}");

    receiver.refuse(vec![]);
    assert_eq!(deliver(&config, &event(Kind::Ended)).await.reaction, Reaction::Delivered);
    assert!(receiver.commands().iter().any(|command| command.starts_with("AUTH PLAIN ")));
}

#[tokio::test]
async fn without_starttls_nothing_is_said_to_the_server() {
    let receiver = SmtpReceiver::start().await;
    let mut email = email(&receiver, MANAGER);
    email.smtp.security = SmtpSecurity::StartTls;
    email.smtp.user = Some("alerts".to_owned());
    email.password = Some("hunter22".into());
    let answer = deliver(&config(DestinationKind::Email(email.clone())), &event(Kind::Ended)).await;
    assert_retry(
        &answer,
        None,
        "the server offers no STARTTLS; nothing was sent (smtps:// is TLS from the start)",
    );
    assert!(
        receiver.commands().iter().all(|command| command.starts_with("EHLO")),
        "{:?}",
        receiver.commands()
    );

    email.smtp.security = SmtpSecurity::Tls;
    let mut config = config(DestinationKind::Email(email));
    config.timeout = Duration::from_millis(500);
    let answer = deliver(&config, &event(Kind::Ended)).await;
    assert_eq!(answer.reaction, Reaction::Retry { after: None });
    assert!(answer.result.starts_with("TLS: "), "{}", answer.result);
}

#[tokio::test]
async fn one_deadline_covers_a_server_that_stops_in_the_middle() {
    let receiver = SmtpReceiver::refusing(vec![("DATA", "say nothing")]).await;
    let mut config = to(&receiver, MANAGER);
    config.timeout = Duration::from_millis(200);
    config.concurrency = 1;
    let destination = destination(&config);
    let event = Arc::new(event(Kind::Ended));
    let notification = Notification {
        event: &event,
        rules: &callwatch::rule::Rules::default(),
        sequence: 1,
        memo: None,
        followed: false,
        now: now(),
    };
    assert_retry(&destination.deliver(&notification).await, None, "timed out after 200ms");

    // The connection that was left in the middle of a mail is not used again, and its slot is free.
    receiver.refuse(vec![]);
    assert_eq!(destination.deliver(&notification).await.reaction, Reaction::Delivered);
    assert_eq!(receiver.connections(), 2);
    assert_eq!(receiver.only_mail().to, ["manager@acme.example"]);
}

#[tokio::test]
async fn connections_that_fail_are_tried_again() {
    let receiver = SmtpReceiver::refusing(vec![("MAIL", "hang up")]).await;
    let answer = deliver(&to(&receiver, MANAGER), &event(Kind::Ended)).await;
    assert_eq!(answer.reaction, Reaction::Retry { after: None });

    let mut email = email(&receiver, MANAGER);
    email.smtp.port = free_address().port();
    let answer = deliver(&config(DestinationKind::Email(email)), &event(Kind::Ended)).await;
    assert_retry(&answer, None, "connection refused");
}
