//! The recipes of docs/recipes: each is a config, and what it sends is what its receiver documents.

use std::path::Path;

use callwatch::config::{LoadOptions, Secret, Secrets};
use callwatch::config_file::Config;
use callwatch::destination::{WebhookAuth, WebhookFormat, WebhookUrl};
use serde_json::Value;
use wiremock::{MockServer, Request, ResponseTemplate};

use super::{webhook::receiver, *};

/// Stands in for every secret.
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// An answer that says to everybody that it was taken.
const TAKEN: &str = r#"{"ok":true,"success":true,"messages":[{"id":"wamid.1"}]} Accepted callwatchstored"#;

const RECIPES: [(&str, &str); 17] = [
    ("hubspot", include_str!("../../../docs/recipes/hubspot.md")),
    ("pipedrive", include_str!("../../../docs/recipes/pipedrive.md")),
    ("teams", include_str!("../../../docs/recipes/teams.md")),
    ("discord", include_str!("../../../docs/recipes/discord.md")),
    ("pagerduty", include_str!("../../../docs/recipes/pagerduty.md")),
    ("ntfy", include_str!("../../../docs/recipes/ntfy.md")),
    ("twilio-sms", include_str!("../../../docs/recipes/twilio-sms.md")),
    ("whatsapp", include_str!("../../../docs/recipes/whatsapp.md")),
    ("telegram", include_str!("../../../docs/recipes/telegram.md")),
    ("salesforce", include_str!("../../../docs/recipes/salesforce.md")),
    ("gohighlevel", include_str!("../../../docs/recipes/gohighlevel.md")),
    ("zendesk", include_str!("../../../docs/recipes/zendesk.md")),
    ("airtable", include_str!("../../../docs/recipes/airtable.md")),
    ("google-sheets", include_str!("../../../docs/recipes/google-sheets.md")),
    ("n8n", include_str!("../../../docs/recipes/n8n.md")),
    ("make", include_str!("../../../docs/recipes/make.md")),
    ("zapier", include_str!("../../../docs/recipes/zapier.md")),
];

/// The config of a recipe, which has no mistake in it.
fn load(name: &str) -> Config {
    let (_, page) = RECIPES.iter().find(|(recipe, _)| *recipe == name).unwrap();
    let (_, rest) = page.split_once("```toml\n").unwrap();
    let block = rest.split_once("```").unwrap().0;
    let text = format!("[sources.clinic]\napi_key = \"ck_live_{}\"\n\n{block}", "x".repeat(60));
    // Its file is written by a timer of the reader's.
    let text = text.replace("{ file = \"salesforce-token\" }", "{ env = \"TOKEN\" }");
    let env = |name: &str| match name.ends_with("_URL") {
        true => Some(format!("https://hooks.example.com/{KEY}")),
        false => Some(KEY.to_owned()),
    };
    let options = LoadOptions { secrets: Secrets::Required, env: &env };
    let loaded = Config::parse(&text, Path::new("config.toml"), options);
    let loaded = loaded.unwrap_or_else(|report| panic!("{name}: {report}"));
    assert_eq!(loaded.warnings.to_string(), "", "{name}");
    loaded.config
}

/// The bodies a recipe makes of these events.
async fn sent(name: &str, events: &[Event]) -> Vec<(Request, Value)> {
    let server: MockServer = receiver(ResponseTemplate::new(200).set_body_string(TAKEN)).await;
    let config = load(name);
    let rules = callwatch::rule::RuleSet::of(&config.rules);
    let [mut destination] = <[_; 1]>::try_from(config.destinations).unwrap();
    let DestinationKind::Webhook(webhook) = &mut destination.kind else { panic!("{name} is no webhook") };
    match &mut webhook.url {
        WebhookUrl::Plain(url) => {
            let path = url.path().to_owned();
            *url = server.uri().parse().unwrap();
            url.set_path(&path);
        }
        secret => *secret = WebhookUrl::Plain(format!("{}/secret", server.uri()).parse().unwrap()),
    }
    match &mut webhook.auth {
        Some(WebhookAuth::Bearer(secret) | WebhookAuth::Basic { password: secret, .. }) => {
            *secret = Secret::from(KEY);
        }
        None => {}
    }
    webhook.headers.iter_mut().for_each(|(_, value)| *value = Secret::from(KEY));
    let WebhookFormat::Own(body) = &mut webhook.format else { panic!("{name} has no body") };
    body.secrets.iter_mut().for_each(|(_, secret)| *secret = Secret::from(KEY));
    for event in events {
        let answer = deliver_ruled(&destination, event, &rules).await;
        assert_eq!(answer.reaction, Reaction::Delivered, "{name}: {answer:?}");
    }
    let requests = server.received_requests().await.unwrap().into_iter();
    requests.map(|request| (request.clone(), read(&request))).collect()
}

/// The body of a request, JSON or a form.
fn read(request: &Request) -> Value {
    if request.headers["content-type"] != "application/x-www-form-urlencoded" {
        return serde_json::from_slice(&request.body).unwrap();
    }
    url::form_urlencoded::parse(&request.body)
        .map(|(name, value)| (name.into_owned(), json!(value)))
        .collect()
}

/// An ended call, an analysis, a source that fails, several as one, and one whose caller does his worst.
fn samples() -> Vec<Event> {
    let worst = "\"}<!channel> @everyone [click](https://evil.example) <script>&\\ \u{202e}🎉\n".repeat(60);
    let mut record: Value = serde_json::from_str(RECORD).unwrap();
    for field in ["callerNumber", "summary", "endedReason", "evaluation"] {
        record[field] = json!(worst);
    }
    record["callAnalysis"] = json!({ "sentiment": worst, "notes": vec![worst.clone(); 4] });
    record["duration"] = Value::Null;
    record["calledNumber"] = Value::Null;
    let several: Vec<_> = (0..60)
        .map(|minutes| Event { record: raw(&record.to_string()), ..call("several", minutes, "x") })
        .collect();
    vec![
        event(Kind::Ended),
        Event { rule: "hot-leads".into(), ..event(Kind::Analyzed) },
        source_event(),
        summary(Reason::Digest, &several),
        event_of(Kind::Analyzed, &record.to_string()),
    ]
}

fn chars(value: &Value) -> usize {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).chars().count()
}

/// Whether the text is `format`, in which 0 stands for a digit.
fn has_form(value: &Value, format: &str) -> bool {
    let text = value.as_str().unwrap();
    text.len() == format.len()
        && text.bytes().zip(format.bytes()).all(|(b, f)| if f == b'0' { b.is_ascii_digit() } else { b == f })
}

/// Whether the only markup in it is the line break.
fn is_plain_html(value: &Value) -> bool {
    let text = value.as_str().unwrap().replace("<br>", "");
    !text.contains(['<', '>', '\n'])
}

#[tokio::test]
async fn hubspot_gets_call_records() {
    let sent = sent("hubspot", &samples()).await;
    for (request, body) in &sent {
        assert_eq!(request.url.path(), "/crm/v3/objects/calls");
        assert_eq!(request.headers["authorization"], KEY);
        let properties = &body["properties"];
        assert!(has_form(&properties["hs_timestamp"], "0000-00-00T00:00:00.000Z"), "{properties}");
        assert!(chars(&properties["hs_call_body"]) <= 65_536 && is_plain_html(&properties["hs_call_body"]));
        assert_eq!(
            (&properties["hs_call_direction"], &properties["hs_call_status"]),
            (&json!("INBOUND"), &json!("COMPLETED"))
        );
    }
    let of = |event: usize, name: &str| sent[event].1["properties"].get(name).cloned();
    assert_eq!(of(0, "hs_timestamp"), Some(json!("2025-12-15T14:30:00.000Z")));
    assert_eq!(of(0, "hs_call_duration"), Some(json!("145000")));
    assert_eq!(of(0, "hs_call_from_number"), Some(json!("+33612345678")));
    assert_eq!((of(2, "hs_call_duration"), of(3, "hs_call_from_number")), (None, None));
    assert_eq!(of(3, "hs_call_title"), Some(json!("Digest: 60 calls")));
    assert_eq!(
        (of(4, "hs_call_duration"), of(4, "hs_call_to_number")),
        (Some(json!("0")), Some(Value::Null))
    );
}

#[tokio::test]
async fn pipedrive_gets_activities() {
    let sent = sent("pipedrive", &samples()).await;
    for (request, body) in &sent {
        assert_eq!(
            (request.url.path(), &request.headers["x-api-token"]),
            ("/api/v2/activities", &KEY.parse().unwrap())
        );
        assert_eq!((&body["type"], &body["done"]), (&json!("call"), &json!(true)));
        assert!(has_form(&body["due_date"], "0000-00-00") && has_form(&body["due_time"], "00:00"), "{body}");
        assert!(body.get("duration").is_none_or(|duration| has_form(duration, "00:00")), "{body}");
        assert!(is_plain_html(&body["note"]) && chars(&body["note"]) <= 65_536);
    }
    let first = &sent[1].1;
    assert_eq!((&first["subject"], &first["duration"]), (&json!("Call back +33612345678"), &json!("00:03")));
    assert_eq!((&first["due_date"], &first["due_time"]), (&json!("2025-12-15"), &json!("14:30")));
    assert_eq!((sent[2].1.get("duration"), &sent[4].1["duration"]), (None, &json!("00:00")));
}

#[tokio::test]
async fn teams_gets_cards_without_markdown() {
    let sent = sent("teams", &samples()).await;
    for (request, body) in &sent {
        assert!(request.body.len() <= 28 * 1024, "{} bytes", request.body.len());
        assert_eq!(body["type"], "message");
        let [attachment] = body["attachments"].as_array().unwrap().as_slice() else { panic!("{body}") };
        assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
        assert_eq!(attachment["content"]["type"], "AdaptiveCard");
        let blocks = attachment["content"]["body"].as_array().unwrap();
        assert!((1..=61).contains(&blocks.len()), "{body}");
        for block in blocks {
            assert_eq!(
                (&block["type"], &block["inlines"][0]["type"]),
                (&json!("RichTextBlock"), &json!("TextRun"))
            );
            assert!(chars(&block["inlines"][0]["text"]) > 0);
        }
    }
    let blocks = &sent[0].1["attachments"][0]["content"]["body"];
    assert_eq!(blocks[0]["inlines"][0]["text"], "Call ended · +33612345678 · 2m 25s");
    assert!(
        blocks[1]["inlines"][0]["text"].as_str().unwrap().starts_with("The caller asked about"),
        "{blocks}"
    );
}

#[tokio::test]
async fn discord_gets_embeds_that_mention_nobody() {
    let sent = sent("discord", &samples()).await;
    for (_, body) in &sent {
        assert_eq!(body["allowed_mentions"], json!({ "parse": [] }));
        assert!((1..=80).contains(&chars(&body["username"])));
        let [embed] = body["embeds"].as_array().unwrap().as_slice() else { panic!("{body}") };
        let (title, description, footer) =
            (chars(&embed["title"]), chars(&embed["description"]), chars(&embed["footer"]["text"]));
        assert!(
            title <= 256 && description <= 4096 && footer <= 2048 && title + description + footer <= 6000
        );
        assert!(embed["color"].as_u64().unwrap() <= 0xff_ff_ff);
        assert!(has_form(&embed["timestamp"], "0000-00-00T00:00:00.000Z"));
        let described = embed["description"].as_str().unwrap();
        assert_eq!(described.matches('[').count(), described.matches("\\[").count());
    }
    assert_eq!(sent[2].1["embeds"][0]["title"], "callwatch cannot see the calls of clinic");
}

#[tokio::test]
async fn pagerduty_gets_alerts_that_are_recognised_and_resolved() {
    let mut events = samples();
    let of_health =
        |kind: Kind| Event { kinds: kind.into(), rule: "cannot-see-calls".into(), ..source_event() };
    events.extend([of_health(Kind::SourceFailing), of_health(Kind::SourceRecovered)]);
    let of_crm = |kind: Kind| Event {
        subject: Subject::Destination("crm".into()),
        record: raw(r#"{"destination": "crm"}"#),
        ..of_health(kind)
    };
    events.extend([of_crm(Kind::DestinationFailing), of_crm(Kind::DestinationRecovered)]);
    let rejected = raw(r#"{"error": "1 error"}"#);
    events.push(Event { subject: Subject::Config, record: rejected, ..of_health(Kind::ConfigRejected) });
    let sent = sent("pagerduty", &events).await;
    for ((request, body), event) in sent.iter().zip(&events) {
        assert!(request.body.len() <= 512 * 1024);
        assert_eq!(body["routing_key"], KEY);
        assert!(["trigger", "resolve"].contains(&body["event_action"].as_str().unwrap()));
        assert!((1..=255).contains(&chars(&body["dedup_key"])));
        let payload = &body["payload"];
        assert!((1..=1024).contains(&chars(&payload["summary"])) && chars(&payload["source"]) > 0);
        assert!(["critical", "error", "warning", "info"].contains(&payload["severity"].as_str().unwrap()));
        assert_eq!(payload["timestamp"], event.at.to_string());
    }
    let of = |event: usize| (&sent[event].1["event_action"], &sent[event].1["dedup_key"]);
    assert_eq!(of(0), (&json!("trigger"), &json!(events[0].id.as_str())));
    assert_eq!(of(3), (&json!("trigger"), &json!(events[3].id.as_str())));
    assert_eq!(of(5), (&json!("trigger"), &json!("callwatch/clinic")));
    assert_eq!(of(6), (&json!("resolve"), &json!("callwatch/clinic")));
    assert_eq!(of(7), (&json!("trigger"), &json!("callwatch/crm")));
    assert_eq!(of(8), (&json!("resolve"), &json!("callwatch/crm")));
    assert_eq!(sent[9].1["payload"]["source"], "callwatch");
    let severities = [5, 6].map(|event| sent[event].1["payload"]["severity"].clone());
    assert_eq!(severities, ["critical", "info"], "that it is well again wakes nobody");
}

#[tokio::test]
async fn ntfy_gets_notifications_that_fit() {
    let sent = sent("ntfy", &samples()).await;
    for (request, body) in &sent {
        assert_eq!(request.url.path(), "/");
        assert_eq!(body["topic"], KEY);
        assert!(body["message"].as_str().unwrap().len() <= 4096 && chars(&body["title"]) > 0);
        assert!((1..=5).contains(&body["priority"].as_u64().unwrap()));
        assert_eq!(body["tags"].as_array().unwrap().len(), 1);
    }
}

/// The user and the password of basic authentication, or the token of a bearer.
fn who(request: &Request) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let header = request.headers["authorization"].to_str().unwrap();
    match header.strip_prefix("Basic ") {
        Some(encoded) => String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap(),
        None => header.strip_prefix("Bearer ").unwrap().to_owned(),
    }
}

#[tokio::test]
async fn twilio_gets_forms_that_fit_into_a_message() {
    let sent = sent("twilio-sms", &samples()).await;
    const SID: &str = "AC0123456789abcdef0123456789abcdef";
    for (request, body) in &sent {
        assert_eq!(request.url.path(), format!("/2010-04-01/Accounts/{SID}/Messages.json"));
        assert_eq!((request.method.as_str(), who(request)), ("POST", format!("{SID}:{KEY}")));
        assert_eq!(body.as_object().unwrap().len(), 3, "To, From, Body: {body}");
        for number in [&body["To"], &body["From"]] {
            let number = number.as_str().unwrap();
            let is_e164 = number.starts_with('+') && number[1..].bytes().all(|b| b.is_ascii_digit());
            assert!(is_e164 && (8..=16).contains(&number.len()), "{number}");
        }
        assert!((1..=1600).contains(&chars(&body["Body"])));
    }
    let first = sent[1].1["Body"].as_str().unwrap();
    assert!(first.starts_with("Call analyzed") && first.contains('\n'), "{first}");
}

#[tokio::test]
async fn whatsapp_gets_parameters_in_one_line() {
    let sent = sent("whatsapp", &samples()).await;
    for (request, body) in &sent {
        assert!(request.url.path().ends_with("/messages") && who(request) == KEY);
        assert_eq!(
            (&body["messaging_product"], &body["recipient_type"], &body["type"]),
            (&json!("whatsapp"), &json!("individual"), &json!("template"))
        );
        assert!(body["to"].as_str().unwrap().bytes().all(|b| b.is_ascii_digit()));
        assert!(chars(&body["template"]["name"]) > 0 && body["template"]["language"]["code"] == "en");
        let [component] = body["template"]["components"].as_array().unwrap().as_slice() else { panic!() };
        assert_eq!(component["type"], "body");
        let parameters = component["parameters"].as_array().unwrap();
        assert_eq!(parameters.len(), 2);
        for parameter in parameters {
            assert_eq!(parameter["type"], "text");
            let text = parameter["text"].as_str().unwrap();
            assert!(
                !text.is_empty() && !text.contains(['\n', '\t', '\r']) && !text.contains("     "),
                "{text}"
            );
        }
        assert!(parameters.iter().map(|it| chars(&it["text"])).sum::<usize>() <= 900);
    }
}

#[tokio::test]
async fn telegram_gets_plain_text_that_fits() {
    let sent = sent("telegram", &samples()).await;
    for (request, body) in &sent {
        assert_eq!(request.url.path(), "/secret");
        let length = body["text"].as_str().unwrap().encode_utf16().count();
        assert!((1..=4096).contains(&length) && body["chat_id"].is_string(), "{length}");
        assert!(body.get("parse_mode").is_none() && body["disable_notification"].is_boolean());
        assert_eq!(body["link_preview_options"], json!({ "is_disabled": true }));
    }
}

#[tokio::test]
async fn salesforce_gets_completed_calls() {
    let sent = sent("salesforce", &samples()).await;
    for (request, body) in &sent {
        assert!(request.url.path().ends_with("/sobjects/Task") && who(request) == KEY);
        assert!((1..=255).contains(&chars(&body["Subject"])) && chars(&body["Description"]) <= 32_000);
        assert!(has_form(&body["ActivityDate"], "0000-00-00"), "{body}");
        assert_eq!((&body["Status"], &body["TaskSubtype"]), (&json!("Completed"), &json!("Call")));
        assert!(["Normal", "High"].contains(&body["Priority"].as_str().unwrap()));
        assert!(body.get("CallDurationInSeconds").is_none_or(Value::is_u64), "{body}");
        assert!(body.get("CallObject").is_none_or(|it| chars(it) <= 255));
    }
    assert_eq!(sent[0].1["CallDurationInSeconds"], 145);
    assert_eq!((&sent[4].1["CallDurationInSeconds"], sent[2].1.get("CallObject")), (&json!(0), None));
}

#[tokio::test]
async fn highlevel_gets_flat_fields() {
    let sent = sent("gohighlevel", &samples()).await;
    for (request, body) in &sent {
        assert_eq!(request.url.path(), "/secret");
        let fields = body.as_object().unwrap();
        assert!(fields.values().all(|value| value.is_string() || value.is_number()), "{body}");
    }
    let first = &sent[0].1;
    assert_eq!((&first["phone"], &first["duration"]), (&json!("+33612345678"), &json!(145)));
    assert_eq!(first["sentiment"], "positive");
    assert!(sent[3].1.get("phone").is_none(), "several calls have no one caller");
}

#[tokio::test]
async fn zendesk_gets_tickets_with_internal_notes() {
    let events = samples();
    let sent = sent("zendesk", &events).await;
    for ((request, body), event) in sent.iter().zip(&events) {
        assert_eq!(who(request), format!("agent@example.com/token:{KEY}"));
        let ticket = &body["ticket"];
        assert!((1..=150).contains(&chars(&ticket["subject"])), "{ticket}");
        let comment = ticket["comment"]["body"].as_str().unwrap();
        assert!(!comment.trim().is_empty() && comment.len() <= 64 << 10);
        assert_eq!((&ticket["comment"]["public"], &ticket["type"]), (&json!(false), &json!("task")));
        assert!(["low", "normal", "high", "urgent"].contains(&ticket["priority"].as_str().unwrap()));
        assert_eq!(ticket["external_id"], event.id.as_str());
    }
}

#[tokio::test]
async fn airtable_gets_records_that_are_found_again() {
    let events = samples();
    let sent = sent("airtable", &events).await;
    for ((request, body), event) in sent.iter().zip(&events) {
        assert_eq!((request.method.as_str(), who(request)), ("PATCH", KEY.to_owned()));
        assert_eq!(body["performUpsert"], json!({ "fieldsToMergeOn": ["Event"] }));
        let [record] = body["records"].as_array().unwrap().as_slice() else { panic!("{body}") };
        let fields = &record["fields"];
        assert_eq!(fields["Event"], event.id.as_str());
        assert!(has_form(&fields["When"], "0000-00-00T00:00:00.000Z"), "{fields}");
        assert!(chars(&fields["Message"]) <= 100_000);
        assert!(fields.get("Seconds").is_none_or(Value::is_number));
    }
    assert_eq!(sent[0].1["records"][0]["fields"]["Seconds"], 145);
}

#[tokio::test]
async fn google_sheets_get_rows_of_one_length() {
    let events = samples();
    let sent = sent("google-sheets", &events).await;
    for ((_, body), event) in sent.iter().zip(&events) {
        assert_eq!((&body["token"], &body["id"]), (&json!(KEY), &json!(event.id.as_str())));
        let row = body["row"].as_array().unwrap();
        assert_eq!((row.len(), &row[0]), (7, &json!(event.id.as_str())));
        assert!(row.iter().all(|cell| chars(cell) <= 50_000));
    }
    assert_eq!(sent[0].1["row"][5], "+33612345678");
}

#[tokio::test]
async fn workflows_are_begun_with_the_whole_call() {
    for recipe in ["n8n", "make", "zapier"] {
        let events = samples();
        let sent = sent(recipe, &events).await;
        for ((request, body), event) in sent.iter().zip(&events) {
            assert!(request.body.len() <= 10 << 20);
            assert_eq!((&body["id"], &body["calls"].is_u64()), (&json!(event.id.as_str()), &true));
            let is_one = event.subject.call().is_some();
            assert_eq!(body.get("call").is_some(), is_one, "{recipe}");
        }
        assert_eq!(sent[0].1["call"]["callAnalysis"]["leadQuality"], "hot");
        assert_eq!(sent[0].0.headers.get("x-callwatch-key").is_some(), recipe == "n8n");
    }
}

#[test]
fn every_recipe_is_in_the_list() {
    let list = include_str!("../../../docs/recipes/README.md");
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/recipes")).unwrap();
    let mut pages: Vec<_> = folder.map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    pages.retain(|page| page != "README.md");
    assert_eq!(pages.len(), RECIPES.len());
    for (name, _) in RECIPES {
        assert!(pages.contains(&format!("{name}.md")) && list.contains(&format!("({name}.md)")), "{name}");
    }
}
