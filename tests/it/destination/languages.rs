//! Messages in the reader's language, as they arrive.

use base64::{Engine, engine::general_purpose::STANDARD};
use callwatch::{
    config::LoadOptions,
    config_file::Config,
    destination::{WebhookConfig, WebhookFormat},
    event::Severity,
};
use serde_json::Value;
use wiremock::ResponseTemplate;

use super::{
    email::{MANAGER, email, header, parts},
    own_body,
    slack::{posted_ruled, text},
    smtp::SmtpReceiver,
    webhook::{only_request, receiver, webhook},
    *,
};

pub(super) fn reading(language: Language) -> impl Fn(&mut DestinationConfig) {
    move |config| {
        config.language = language;
        config.timezone = Zone::parse("Europe/Paris").unwrap();
    }
}

/// Subject, text and HTML of a mail.
pub(super) async fn mail(language: Language, event: &Event, rules: &Rules) -> [String; 3] {
    mail_with(reading(language), event, rules).await
}

async fn mail_with(adjust: impl Fn(&mut DestinationConfig), event: &Event, rules: &Rules) -> [String; 3] {
    let receiver = SmtpReceiver::start().await;
    let mut config = config(DestinationKind::Email(email(&receiver, MANAGER)));
    adjust(&mut config);
    let answer = deliver_ruled(&config, event, rules).await;
    assert_eq!(answer.reaction, Reaction::Delivered, "{}", answer.result);
    let mail = receiver.only_mail().text;
    let [text, html] = parts(&mail);
    [decoded(&header(&mail, "Subject")), text, html]
}

/// A header without its encoding (RFC 2047).
fn decoded(header: &str) -> String {
    let mut text = String::new();
    let mut was_encoded = false;
    for (place, word) in header.split(' ').enumerate() {
        let encoded = word.strip_prefix("=?utf-8?b?").and_then(|word| word.strip_suffix("?="));
        // The space between two encoded words is no part of the text.
        if place > 0 && !(was_encoded && encoded.is_some()) {
            text.push(' ');
        }
        match encoded {
            Some(encoded) => text.push_str(&String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap()),
            None => text.push_str(word),
        }
        was_encoded = encoded.is_some();
    }
    text
}

/// The text with marks in place of its no-break spaces: `_` for those between a number and its unit, `~` for the narrow ones.
pub(super) fn marked(text: &str) -> String {
    text.trim_end().replace('\u{a0}', "_").replace('\u{202f}', "~")
}

/// An alert that a destination has taken nothing for a while.
pub(super) fn failing() -> Event {
    let details = json!({
        "since": "2025-12-15T14:00:00.000Z", "error": "connection refused", "waiting": 148, "resumes": true
    });
    Event {
        subject: Subject::Destination("crm".into()),
        kinds: Kind::DestinationFailing.into(),
        changes: Changes::default(),
        rule: "[alerts]".into(),
        record: raw(&details.to_string()),
        ..event(Kind::Updated)
    }
}

/// Three calls told as one.
pub(super) fn digest() -> Event {
    let events =
        [call("unhappy", 1, "negative"), call("booked", 2, "positive"), call("booked", 3000, "positive")];
    summary(Reason::Digest, &events)
}

/// The rules of the digest: one with the default title, and one with a title of its own that tells a time.
pub(super) fn both_rules() -> Rules {
    let own = "Booked on {{ event.time|local_time('Europe/Paris') }}";
    let booked = text(Some(own), None, Severity::Info);
    let unhappy = text(None, None, Severity::Warning);
    RuleSet::of(&[rule(&"booked".into(), &booked), rule(&"unhappy".into(), &unhappy)])
}

#[tokio::test]
async fn a_webhook_has_the_words_of_its_language_and_the_same_json_in_every_one() {
    let server = receiver(ResponseTemplate::new(200)).await;
    let template = r#"{"title": {{ title|tojson }}, "message": {{ message|tojson }}, "kinds": {{ kinds|tojson }}, "language": {{ language|tojson }}}"#;
    let mut config = own_body::to(&server.uri(), template, "application/json");
    reading(Language::French)(&mut config);
    let answer = deliver(&config, &event(Kind::Ended)).await;
    assert_eq!(answer.reaction, Reaction::Delivered, "{answer:?}");
    let body: Value = serde_json::from_slice(&only_request(&server).await.body).unwrap();
    assert_eq!((&body["kinds"], &body["language"]), (&json!(["ended"]), &json!("fr")));
    assert_eq!(marked(body["title"].as_str().unwrap()), "Appel terminé · +33612345678 · 2_min 25_s");
    let message = marked(body["message"].as_str().unwrap());
    assert!(
        message.contains("\n\nAppelant~: +33612345678\nDébut~: lun. 15 déc. 2025, 15:30 CET\n"),
        "{message}"
    );

    let mut bodies = vec![];
    for language in Language::ALL {
        let server = receiver(ResponseTemplate::new(200)).await;
        let format = WebhookFormat::Standard;
        let mut config =
            super::config(DestinationKind::Webhook(WebhookConfig { format, ..webhook(&server.uri()) }));
        reading(language)(&mut config);
        deliver(&config, &event(Kind::Ended)).await;
        bodies.push(only_request(&server).await.body);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn no_line_of_a_mail_is_wider_than_a_terminal_but_for_addresses() {
    let mut record: Value = serde_json::from_str(RECORD).unwrap();
    record["summary"] = format!("{}\n\n{}", "She asked for a place. ".repeat(20), "word".repeat(10)).into();
    record["callAnalysis"]["notes"] = "The agent promised to call back. ".repeat(8).into();
    record["callAnalysis"]["aVeryLongNameOfAFieldThatSomebodyHasThoughtOfForItsAgent"] =
        "yes ".repeat(30).into();
    record["recordingUrl"] = format!("https://a.example/{}", "x".repeat(100)).into();
    let long = event_of(Kind::Ended, &record.to_string());
    let rules = text(Some("{{ 'A rather long title ' * 6 }}"), None, Severity::Critical);
    let rules = super::rules(&long.rule, &rules);
    for language in Language::ALL {
        for (event, rules) in [(&long, &rules), (&digest(), &both_rules()), (&failing(), &Rules::default())] {
            let shown = |config: &mut DestinationConfig| {
                reading(language)(config);
                config.fields.transcript = true;
                config.fields.include = Some(record.as_object().unwrap().keys().cloned().collect());
            };
            let [_, text, _] = mail_with(shown, event, rules).await;
            for line in text.lines() {
                let is_address = line.trim_start().starts_with("https://") && !line.trim().contains(' ');
                assert!(line.chars().count() <= 78 || is_address, "{language}: {line}");
            }
        }
    }
}

#[tokio::test]
async fn the_page_about_messages_shows_what_arrives() {
    let page = include_str!("../../../docs/messages.md");
    let section = page.split("## In the reader's language").nth(1).unwrap().split("\n## ").next().unwrap();
    let block = |kind: &str| {
        let rest = section.split(&format!("```{kind}\n")).nth(1).unwrap();
        rest.split("```").next().unwrap()
    };
    let whole = format!("{}\n[sources.clinic]\napi_key = \"ck_live_x\"\n", block("toml"));
    let loaded = Config::parse(&whole, std::path::Path::new("config.toml"), LoadOptions::default());
    let config = loaded.unwrap_or_else(|report| panic!("{report}")).config;
    let [accueil, leitung] = &config.destinations[..] else { panic!("{:?}", config.destinations) };
    assert_eq!((accueil.language, leitung.language), (Language::French, Language::German));
    let [_, text, _] = mail(leitung.language, &event(Kind::Ended), &Rules::default()).await;
    assert!(text.replace('\u{a0}', " ").starts_with(block("text")), "{text}");

    let title = text_of(block("jinja"));
    for (language, said) in [(Language::French, "Client mécontent"), (Language::German, "Unhappy caller")] {
        let message =
            posted_ruled(reading(language), &event(Kind::Ended), &rules(&"call-completed".into(), &title))
                .await;
        assert_eq!(super::slack::title(&message), format!("{said} +33612345678"));
    }
}

fn text_of(title: &str) -> RuleText {
    text(Some(title.trim()), None, Severity::Info)
}
