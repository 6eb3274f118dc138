//! The part of a call that each receiver is shown.

use callwatch::destination::DestinationKind;
use serde_json::Value;

use super::{slack::posted, *};

/// The destination of this table, for the receiver of a config.
fn fields(of_type: &str, keys: &str) -> FieldFilter {
    let own = match of_type {
        "webhook" => "url = 'https://crm.example.com/'",
        "slack" => "token = 'xoxb-1'\nchannel = '#calls'",
        _ => "smtp = 'smtps://smtp.example.com'\nfrom = 'a@b.example'\nto = ['c@d.example']",
    };
    let text = format!(
        "[sources.clinic]\napi_key = 'ck_live_{}'\n[destinations.it]\ntype = '{of_type}'\n{own}\n{keys}\n",
        "0".repeat(60)
    );
    let path = std::path::Path::new("config.toml");
    let loaded = callwatch::config_file::Config::parse(&text, path, Default::default());
    let config = loaded.unwrap_or_else(|report| panic!("{text}\n{report}")).config;
    config.destinations.into_iter().next().unwrap().fields
}

/// The text of a message in Slack about the call of the documentation.
async fn said(fields: FieldFilter) -> String {
    let record = RECORD.replace("next Tuesday. …", "next Tuesday, card 4242 4242 4242 4242, a@b.example.");
    let event = event_of(Kind::Ended, &record);
    posted(|config| config.fields = fields, &event, None).await.to_string()
}

/// Of the caller's number, with the key `correct horse battery staple`.
const HASH: &str = "0a0c5ce9ab516d2fc4345cbbfb635e6b878783a625f294f740b12b64e56ed217";

#[tokio::test]
async fn show_is_a_measure_that_include_and_exclude_refine() {
    const CALLER: &str = "+33612345678";
    const SUMMARY: &str = "appointment availability";
    const TRANSCRIPT: &str = "thank you for calling";
    const MOOD: &str = "positive";
    for (keys, shown, hidden) in [
        ("", &[CALLER, SUMMARY, MOOD][..], &[TRANSCRIPT][..]),
        ("show = 'summary'", &[CALLER, SUMMARY, MOOD], &[TRANSCRIPT]),
        ("show = 'full'", &[CALLER, SUMMARY, MOOD, TRANSCRIPT], &[]),
        ("show = 'minimal'", &["Ended, 2m 25s"], &[CALLER, SUMMARY, MOOD, TRANSCRIPT]),
        (
            "show = 'minimal'\ninclude = ['callAnalysis.sentiment']",
            &["2m 25s", MOOD],
            &[CALLER, SUMMARY, "high"],
        ),
        ("include = ['transcript', 'summary']", &[SUMMARY, TRANSCRIPT], &[CALLER, MOOD]),
        ("show = 'full'\nexclude = ['transcript']", &[CALLER, SUMMARY], &[TRANSCRIPT]),
        (
            "mask = ['callerNumber', 'callAnalysis.sentiment']",
            &["+3361•••5678", SUMMARY, "•••", "high"],
            &[CALLER, MOOD],
        ),
        (
            "hash = ['callerNumber']\nhash_key = 'correct horse battery staple'",
            &[&format!("*Caller*\\n{HASH}"), SUMMARY],
            &[CALLER, "tel:+33612345678", "•••"],
        ),
        ("redact = ['card', 'email']", &[CALLER, "card [card], [email]"], &["4242", "a@b.example"]),
    ] {
        let said = said(fields("slack", keys)).await;
        shown.iter().for_each(|part| assert!(said.contains(part), "{keys}: no {part} in {said}"));
        hidden.iter().for_each(|part| assert!(!said.contains(part), "{keys}: {part} in {said}"));
    }
}

#[tokio::test]
async fn a_webhook_is_shown_all_unless_its_config_says_less() {
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};
    for (keys, expected) in [
        ("", ["summary", "transcript", "callerNumber", "callAnalysis"].as_slice()),
        ("show = 'summary'", &["summary", "callerNumber", "callAnalysis"]),
        ("show = 'minimal'", &[]),
    ] {
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
        let mut config = config(DestinationKind::Webhook(super::webhook::webhook(&server.uri())));
        config.fields = fields("webhook", keys);
        deliver(&config, &event(Kind::Ended)).await;
        let body: Value = serde_json::from_slice(&server.received_requests().await.unwrap()[0].body).unwrap();
        let call = body["data"]["call"].as_object().unwrap();
        assert_eq!(call["id"], "6789abcdef0123456789abcd", "{keys}");
        for field in ["summary", "transcript", "callerNumber", "callAnalysis"] {
            assert_eq!(call.contains_key(field), expected.contains(&field), "{keys}: {field}");
        }
    }
}

#[test]
fn the_examples_about_privacy_are_fine() {
    let page = include_str!("../../../docs/privacy.md");
    let example = |place| page.split("```toml\n").nth(place).unwrap().split("```").next().unwrap();
    let text =
        format!("[sources.clinic]\napi_key = 'ck_live_{}'\n{}{}", "0".repeat(60), example(1), example(2));
    let text = text.replace("{ env = \"SLACK_BOT_TOKEN\" }", "'xoxb-1'");
    let text = text.replace("{ env = \"HASH_KEY\" }", "'correct horse battery staple'");
    let path = std::path::Path::new("config.toml");
    let loaded = callwatch::config_file::Config::parse(&text, path, Default::default());
    let destinations = loaded.unwrap_or_else(|report| panic!("{report}")).config.destinations;
    assert_eq!(destinations.len(), 3);
    let key = destinations[2].fields.hash_key.as_ref().unwrap();
    assert_eq!(key.hash("+33612345678"), HASH);
    for spelling in page.split('`').filter(|part| part.starts_with("+33 ") || *part == "0033612345678") {
        assert_eq!(callwatch::privacy::plain(spelling), "+33612345678");
    }
}

#[test]
fn a_hash_needs_a_key_that_cannot_be_guessed_and_check_says_so() {
    let report = |keys: &str| {
        let text = format!(
            "[sources.clinic]\napi_key = 'ck_live_{}'\n[destinations.it]\ntype = 'webhook'\nurl = 'https://a.example/'\n{keys}",
            "0".repeat(60)
        );
        let path = std::path::Path::new("config.toml");
        let loaded = callwatch::config_file::Config::parse(&text, path, Default::default());
        loaded.err().map(|report| report.to_string()).unwrap_or_default()
    };
    let said = report("hash = ['callerNumber']");
    assert!(
        said.contains("there is no key for these hashes") && said.contains("hash_key = { env = "),
        "{said}"
    );
    let said = report("hash = ['callerNumber']\nhash_key = 'too short'");
    assert!(said.contains("fewer than 16 characters") && !said.contains("too short"), "{said}");
    let said = report("hash_key = 'correct horse battery staple'");
    assert!(said.contains("`hash_key` goes with `hash`"), "{said}");
    let key = "hash_key = 'correct horse battery staple'";
    let said = report(&format!("hash = ['callerNumber']\nmask = ['callerNumber']\n{key}"));
    assert!(said.contains("`callerNumber` is masked as well"), "{said}");
    assert_eq!(report(&format!("hash = ['callerNumber']\n{key}")), "");
}
