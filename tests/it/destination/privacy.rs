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
        ("show = 'minimal'", &["Completed, 2m 25s"], &[CALLER, SUMMARY, MOOD, TRANSCRIPT]),
        (
            "show = 'minimal'\ninclude = ['callAnalysis.sentiment']",
            &["2m 25s", MOOD],
            &[CALLER, SUMMARY, "hot"],
        ),
        ("include = ['transcript', 'summary']", &[SUMMARY, TRANSCRIPT], &[CALLER, MOOD]),
        ("show = 'full'\nexclude = ['transcript']", &[CALLER, SUMMARY], &[TRANSCRIPT]),
        (
            "mask = ['callerNumber', 'callAnalysis.sentiment']",
            &["+3361•••5678", SUMMARY, "•••", "hot"],
            &[CALLER, MOOD],
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
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let text = format!("[sources.clinic]\napi_key = 'ck_live_{}'\n{example}", "0".repeat(60));
    let text = text.replace("{ env = \"SLACK_BOT_TOKEN\" }", "'xoxb-1'");
    let path = std::path::Path::new("config.toml");
    let loaded = callwatch::config_file::Config::parse(&text, path, Default::default());
    assert_eq!(loaded.unwrap_or_else(|report| panic!("{report}")).config.destinations.len(), 2);
}
