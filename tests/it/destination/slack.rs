//! Messages to Slack.

use std::time::Duration;

use callwatch::{
    config::Secret,
    destination::{DestinationConfig, DestinationKind, Reaction, SlackConfig, SlackWay},
    event::Event,
    event::Severity,
    kind::Kind,
    language::Language,
    name::Name,
    rule::{Rule, RuleSet, RuleText, Rules, condition::Condition},
    template::Template,
};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use super::*;

fn to(url: &str) -> DestinationConfig {
    config(DestinationKind::Slack(SlackConfig {
        way: SlackWay::Webhook(url.into()),
        connection: Default::default(),
    }))
}

async fn slack(status: u16, body: &str) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(status).set_body_string(body)).mount(&server).await;
    server
}

/// The message as a channel shows it.
pub(super) async fn posted(
    adjust: impl FnOnce(&mut DestinationConfig),
    event: &Event,
    text: Option<&RuleText>,
) -> Value {
    let rules = text.map(|text| rules(&event.rule, text)).unwrap_or_default();
    posted_ruled(adjust, event, &rules).await
}

/// The same with these rules.
pub(super) async fn posted_ruled(
    adjust: impl FnOnce(&mut DestinationConfig),
    event: &Event,
    rules: &Rules,
) -> Value {
    let server = slack(200, "ok").await;
    let mut config = to(&server.uri());
    adjust(&mut config);
    let answer = deliver_ruled(&config, event, rules).await;
    assert_eq!(answer.reaction, Reaction::Delivered, "{}", answer.result);
    let requests = server.received_requests().await.unwrap();
    let message: Value = serde_json::from_slice(&requests[0].body).unwrap();
    assert_within_limits(&message);
    message
}

/// The line that a channel shows in large letters.
pub(super) fn title(message: &Value) -> &str {
    message["blocks"][0]["text"]["text"].as_str().unwrap()
}

/// <https://docs.slack.dev/reference/block-kit/blocks>
pub(super) fn assert_within_limits(message: &Value) {
    let chars = |text: &Value| text["text"].as_str().unwrap().chars().count();
    let verbatim = |text: &Value, most: usize| {
        assert!((1..=most).contains(&chars(text)), "{text}");
        assert_eq!((&text["type"], &text["verbatim"]), (&json!("mrkdwn"), &json!(true)), "{text}");
    };
    let blocks = message["blocks"].as_array().unwrap();
    assert!((1..=50).contains(&blocks.len()));
    for block in blocks {
        match block["type"].as_str().unwrap() {
            "header" => {
                assert_eq!(block["text"]["type"], "plain_text");
                assert!((1..=150).contains(&chars(&block["text"])));
            }
            "section" => {
                let fields = block.get("fields").and_then(Value::as_array);
                assert!(block.get("text").is_some() || fields.is_some(), "{block}");
                block.get("text").into_iter().for_each(|text| verbatim(text, 3000));
                assert!(fields.is_none_or(|fields| (1..=10).contains(&fields.len())), "{block}");
                fields.into_iter().flatten().for_each(|field| verbatim(field, 2000));
            }
            "context" => {
                let elements = block["elements"].as_array().unwrap();
                assert!((1..=10).contains(&elements.len()), "{block}");
                elements.iter().for_each(|element| verbatim(element, 2000));
            }
            other => panic!("unexpected block {other}"),
        }
    }
    let whole = message["blocks"].to_string().chars().count();
    assert!(whole <= 13_000, "{whole} characters in all");
    let text = message["text"].as_str().unwrap();
    assert!((1..=4000).contains(&text.len()), "{} bytes of text", text.len());
    assert_eq!((&message["unfurl_links"], &message["unfurl_media"]), (&json!(false), &json!(false)));
}

pub(super) fn text(title: Option<&str>, body: Option<&str>, severity: Severity) -> RuleText {
    let template = |source: &str| Template::compile(source).unwrap();
    RuleText { title: title.map(template), body: body.map(template), advice: None, severity }
}

#[tokio::test]
async fn a_reader_sees_who_called_how_it_went_and_why_they_are_told() {
    let message = posted(|_| {}, &event(Kind::Ended), None).await;
    assert_eq!(title(&message), "Call ended · +33612345678 · 2m 25s");
    assert_eq!(
        message["blocks"],
        json!([
            { "type": "header", "text": {
                "type": "plain_text", "text": "Call ended · +33612345678 · 2m 25s", "emoji": false
            } },
            { "type": "section", "text": {
                "type": "mrkdwn", "verbatim": true,
                "text": "> The caller asked about appointment availability next Tuesday. …"
            } },
            { "type": "section", "text": {
                "type": "mrkdwn", "verbatim": true,
                "text": "*What to do:* Nothing, unless something in the summary is still open, such as a promised callback."
            } },
            { "type": "section", "fields": [
                { "type": "mrkdwn", "verbatim": true, "text": "*Caller*\n<tel:+33612345678|+33612345678>" },
                { "type": "mrkdwn", "verbatim": true, "text": "*Began*\n<!date^1765809000^{date_short_pretty}, {time}|Mon 15 Dec 2025, 14:30 UTC>" },
                { "type": "mrkdwn", "verbatim": true, "text": "*Number called*\n+33198765432" },
                { "type": "mrkdwn", "verbatim": true, "text": "*Status*\nEnded, 2m 25s" },
                { "type": "mrkdwn", "verbatim": true, "text": "*Goal*\nMet" },
                { "type": "mrkdwn", "verbatim": true, "text": "*Ended by*\nThe caller" },
                { "type": "mrkdwn", "verbatim": true, "text": "*Sentiment*\npositive" },
                { "type": "mrkdwn", "verbatim": true, "text": "*Sales potential*\nhigh" },
                { "type": "mrkdwn", "verbatim": true, "text": "*Appointment booked*\nyes" }
            ] },
            { "type": "context", "elements": [{
                "type": "mrkdwn", "verbatim": true,
                "text": "Why you get this: rule *call-completed* · source *clinic* · call 6789abcdef0123456789abcd"
            }] }
        ])
    );
}

#[tokio::test]
async fn the_title_says_what_happened() {
    for (kind, record, title) in [
        (
            Kind::Started,
            r#"{"callerNumber": "+331", "status": "live", "duration": 0}"#,
            "Call started · +331",
        ),
        (Kind::Ended, r#"{"callerNumber": null, "duration": 5}"#, "Call ended · unknown number · 5s"),
        (Kind::Analyzed, r#"{"callerNumber": "+331", "duration": 3600}"#, "Call analyzed · +331 · 1h"),
        (Kind::Updated, r#"{"callerNumber": "+331"}"#, "Call updated · +331 · status"),
        (Kind::Deleted, r#"{"callerNumber": "+331"}"#, "Call deleted · +331"),
    ] {
        let message = posted(|_| {}, &event_of(kind, record), None).await;
        assert_eq!(self::title(&message), title);
    }
    let message = posted(|_| {}, &source_event(), None).await;
    assert_eq!(title(&message), "callwatch cannot see the calls of clinic");
    assert_eq!(
        message["blocks"][1]["text"]["text"],
        "callwatch has not been able to read the calls of clinic, so it cannot tell you of new ones. This does not show \
         whether calls are answered. callwatch keeps trying; when it succeeds, it says so in the same way and tells you of the \
         calls that came in meanwhile.\n\nReason: 401 Invalid API key"
    );
    let silent = r#"{"since": "2025-12-15T12:20:00.000Z", "silence": "2h"}"#;
    let silent = Event { kinds: Kind::SourceSilent.into(), record: raw(silent), ..source_event() };
    let message = posted(|_| {}, &silent, None).await;
    assert_eq!(title(&message), "No calls in clinic for 2h");
    assert_eq!(message["blocks"][1]["text"]["text"], "No call has come in since Mon 15 Dec 2025, 12:20 UTC.");
}

#[tokio::test]
async fn a_rule_has_its_own_words_and_its_severity_shows() {
    let text = text(
        Some("Unhappy caller {{ call.callerNumber }}"),
        Some("Call {{ call.callerNumber|mask_phone }} back & be *kind*"),
        Severity::Critical,
    );
    let message = posted(|_| {}, &event(Kind::Analyzed), Some(&text)).await;
    assert_eq!(title(&message), "🚨 Unhappy caller +33612345678");
    assert_eq!(message["blocks"][1]["text"]["text"], "Call +3361•••5678 back &amp; be *kind*");
    let context = message["blocks"][2]["elements"][0]["text"].as_str().unwrap();
    assert!(
        context.starts_with("*critical* · Why you get this: Call analyzed (rule *call-completed*)"),
        "{context}"
    );
}

/// What the message says, in words, behind this.
fn said<'a>(message: &'a Value, behind: &str) -> Option<&'a str> {
    let (_, rest) = message["text"].as_str().unwrap().split_once(behind)?;
    rest.lines().next()
}

#[tokio::test]
async fn a_message_says_why_it_was_sent() {
    let record = json!({
        "callerNumber": "+33612345678", "duration": 145, "summary": "x".repeat(100), "evaluation": "fail",
        "callAnalysis": {
            "sentiment": "negative", "orderTotal": 9.5, "items": [{ "name": "a" }], "callBack": null,
            "name": "none (rule *vip*); Sentiment: positive (rule x) · source hq", "city": "Saint-Étienne", "site": "evil.example.com", "wish": "please pay them now",
            "intent": "book_table", "mark": "_slanted_"
        },
        "transcript": [{ "role": "user", "content": "a refund" }]
    });
    let ended = event_of(Kind::Ended, &record.to_string());
    let told = async |when: &str, adjust: fn(&mut DestinationConfig)| {
        let when = (!when.is_empty()).then(|| Condition::compile(when).unwrap());
        let rule = Rule { when, on: Kind::Ended.into(), ..rule(&ended.rule, &RuleText::default()) };
        let message = posted_ruled(adjust, &ended, &RuleSet::of(&[rule])).await;
        said(&message, "Why you get this: ").unwrap().split(" · ").next().unwrap().to_owned()
    };
    let whole: fn(&mut DestinationConfig) = |_| {};
    let hiding: fn(&mut DestinationConfig) = |config| {
        config.fields = filter(None, &["callAnalysis.sentiment", "transcript"]);
    };
    let negative = r#"call.callAnalysis.sentiment == "negative""#;
    let refund = r#"said(call, "user", "refund")"#;
    for (when, because) in [
        (negative, "Sentiment: negative"),
        ("size(call.transcript) > 0", "Transcript"),
        // Which words it looks for, and whether they were said, is not told beside a transcript that may be shown in part.
        (refund, "Transcript"),
        ("", "Call ended"),
        ("call.duration > 60 && call.callAnalysis.orderTotal > 9", "Duration: 2m 25s, Order total: 9.5"),
        (&format!("call.duration > 1000 || {negative}"), "Sentiment: negative"),
        (r#"call.callerNumber == "+33612345678""#, "Caller: +33612345678"),
        (r#"call.callAnalysis.city != """#, "City: Saint-Étienne"),
        // Of what is long or a list, only that it was looked at; and of what could pass for words of ours.
        (r#"call.summary != "" && size(call.callAnalysis.items) > 0"#, "Summary, Items"),
        (r#"call.callAnalysis.name.contains("vip")"#, "Name"),
        (r#"call.callAnalysis.site.contains("evil")"#, "Site"),
        (r#"call.callAnalysis.wish.contains("pay")"#, "Wish"),
        (r#"call.callAnalysis.intent != "" && call.callAnalysis.mark != """#, "Intent: book_table, Mark"),
        (r#"call.callAnalysis.callBack == null && call.evaluation == "fail""#, "Goal: not met"),
        (
            r#"call.evaluation == "fail" && call.duration > 1 && call.callAnalysis.orderTotal > 9 && call.summary != "" && call.callAnalysis.city != """#,
            "Goal: not met, Duration: 2m 25s, Order total: 9.5, Summary, …",
        ),
    ] {
        assert_eq!(told(when, whole).await, format!("{because} (rule call-completed)"), "{when}");
    }
    for (when, adjust) in [
        // A receiver is not told in this way what it is not shown.
        (negative, hiding),
        (refund, hiding),
        // A condition that looked at what was before, or that was edited since, is no reason that the call shows.
        (r#"before.status == "live" && call.duration > 60"#, whole),
        (r#"call.evaluation == "success""#, whole),
    ] {
        assert_eq!(told(when, adjust).await, "rule call-completed", "{when}");
    }
    // A message that is edited tells rules that fired before, for what may be no longer so.
    let all = ["success", "gone", "feed", "started"].map(Name::from);
    let all = Event { also: all.to_vec(), ..ended.clone() };
    let ruled = |name: &Name, when: Option<&str>, on: Kind| Rule {
        when: when.map(|when| Condition::compile(when).unwrap()),
        on: on.into(),
        ..rule(name, &RuleText::default())
    };
    let known = [
        ruled(&ended.rule, Some(r#"call.evaluation == "fail""#), Kind::Ended),
        ruled(&"success".into(), Some(r#"call.evaluation == "success""#), Kind::Ended),
        ruled(&"feed".into(), None, Kind::Ended),
        ruled(&"started".into(), None, Kind::Started),
    ];
    let message = posted_ruled(whole, &all, &RuleSet::of(&known)).await;
    let because =
        "Goal: not met (rule call-completed); rules success, gone; Call ended (rule feed); rule started · ";
    assert!(said(&message, "Why you get this: ").unwrap().starts_with(because), "{message}");

    let french = |config: &mut DestinationConfig| config.language = Language::French;
    let message = posted_ruled(french, &all, &RuleSet::of(&known)).await;
    let because =
        "Objectif\u{202f}: non atteint (règle call-completed)\u{202f}; règles success, gone\u{202f}; ";
    assert!(message["text"].as_str().unwrap().contains(because), "{message}");

    // However many rules there are, where the message comes from has its place.
    let many = (0..60).map(|number| Name::from(&*format!("{}{number:02}", "r".repeat(50))));
    let message = posted(whole, &Event { also: many.collect(), ..ended.clone() }, None).await;
    let foot = message["blocks"].as_array().unwrap().last().unwrap()["elements"][0]["text"].as_str().unwrap();
    assert!(
        foot.contains("; and 49 more · source *clinic*") && foot.ends_with("call 6789abcdef0123456789abcd"),
        "{foot}"
    );
    assert!(
        said(&message, "Why you get this: ").unwrap().contains("; and 49 more · source clinic"),
        "{message}"
    );
}

#[tokio::test]
async fn a_message_says_what_to_do() {
    let call = |sentiment: &str, evaluation: &str, number: Value| {
        json!({
            "callerNumber": number, "duration": 145, "summary": "A summary.", "evaluation": evaluation,
            "callAnalysis": { "sentiment": sentiment }
        })
    };
    let number = || json!("+33612345678");
    let (content, open) = (call("positive", "success", number()), call("positive", "fail", number()));
    let (unhappy, withheld) = (call("negative", "success", number()), call("negative", "fail", Value::Null));
    let mut live = open.clone();
    live["status"] = json!("live");
    let mut robot = open.clone();
    robot["isEngaged"] = json!(false);
    let mut unsaid = open.clone();
    unsaid["summary"] = Value::Null;
    let mut masked = open.clone();
    masked["callerNumber"] = json!("+3361•••5678");
    for (kind, severity, record, what) in [
        // Nobody calls back somebody who is still on the line.
        (Kind::Updated, Severity::Critical, &live, "Look into it now."),
        (
            Kind::Ended,
            Severity::Info,
            &robot,
            "Nothing, unless something in the summary is still open, such as a promised callback.",
        ),
        (Kind::Ended, Severity::Info, &unsaid, "Look into it: something may be left to do."),
        (Kind::Ended, Severity::Critical, &masked, "Look into it now."),
        (
            Kind::Ended,
            Severity::Info,
            &content,
            "Nothing, unless something in the summary is still open, such as a promised callback.",
        ),
        (
            Kind::Ended,
            Severity::Info,
            &open,
            "Check the summary: something may be left to do, such as calling back.",
        ),
        (
            Kind::Analyzed,
            Severity::Info,
            &unhappy,
            "Check the summary: something may be left to do, such as calling back.",
        ),
        (Kind::Started, Severity::Info, &content, "Nothing: this is for your information."),
        (
            Kind::Deleted,
            Severity::Info,
            &content,
            "Nothing, if the call was deleted on purpose; otherwise ask the provider of the phone agent.",
        ),
        (Kind::Ended, Severity::Warning, &content, "Call back today, unless a colleague already has."),
        (
            Kind::Updated,
            Severity::Critical,
            &unhappy,
            "Call back as soon as you can, unless a colleague already has.",
        ),
        // Nobody can call back there.
        (Kind::Ended, Severity::Critical, &withheld, "Look into it now."),
        (Kind::Started, Severity::Warning, &unhappy, "Look into it today."),
    ] {
        let event = event_of(kind, &record.to_string());
        let message = posted(|_| {}, &event, Some(&text(None, None, severity))).await;
        assert_eq!(said(&message, "What to do: "), Some(what), "{kind} {severity:?} {record}");
    }
    let own =
        |advice: &str| RuleText { advice: Some(Template::compile(advice).unwrap()), ..RuleText::default() };
    let ended = event_of(Kind::Ended, &open.to_string());
    let message = posted(|_| {}, &ended, Some(&own("Call {{ call.callerNumber }}\nbefore <noon>"))).await;
    assert_eq!(said(&message, "What to do: "), Some("Call +33612345678"));
    assert_eq!(message["blocks"][2]["text"]["text"], "*What to do:* Call +33612345678\nbefore &lt;noon&gt;");
    let message = posted(|_| {}, &ended, Some(&own(""))).await;
    assert_eq!(said(&message, "What to do"), None);
    let message = posted(|_| {}, &ended, Some(&own("{{ call.mood }}"))).await;
    assert_eq!(
        said(&message, "What to do: "),
        Some("Check the summary: something may be left to do, such as calling back.")
    );
    assert_eq!(
        said(&message, "(the advice of call-completed could not be rendered: "),
        Some("`call.mood` is not there; it is missing in this call or left out by the destination)")
    );
    // A rule that has words of its own says in them what to do, unless it has advice as well.
    let body = |advice: Option<&str>| RuleText {
        advice: advice.map(|advice| Template::compile(advice).unwrap()),
        ..text(None, Some("Words."), Severity::Critical)
    };
    let message = posted(|_| {}, &ended, Some(&body(None))).await;
    assert_eq!(said(&message, "What to do: "), None);
    let message = posted(|_| {}, &ended, Some(&body(Some("Run.")))).await;
    assert_eq!(said(&message, "What to do: "), Some("Run."));
    // What the other rules of a message say stands below, and takes nothing away.
    let both = Event { also: vec!["other".into(), "quiet".into()], ..ended.clone() };
    let call_back = "Call back as soon as you can, unless a colleague already has.";
    for (first, whole) in [
        (text(None, None, Severity::Critical), format!("{call_back}\nAsk Nina.")),
        (own(""), "Ask Nina.".to_owned()),
        (own("Ask Nina."), "Ask Nina.".to_owned()),
    ] {
        let known = [
            rule(&ended.rule, &first),
            rule(&"other".into(), &own("Ask Nina.")),
            rule(&"quiet".into(), &own("")),
        ];
        let message = posted_ruled(|_| {}, &both, &RuleSet::of(&known)).await;
        assert_eq!(message["blocks"][3]["text"]["text"], format!("*What to do:* {whole}"), "{message}");
    }
    // In a batch stands what is true of all.
    let two = [1, 2].map(|minutes| super::call("feed", minutes, "negative"));
    let message = posted(|_| {}, &summary(Reason::Group, &two), Some(&own("Read all {{ count }}."))).await;
    assert_eq!(said(&message, "What to do: "), Some("Read all 2."));
    let message = posted(|_| {}, &summary(Reason::Group, &two), Some(&own("Ask Nina."))).await;
    assert_eq!(said(&message, "What to do: "), Some("Ask Nina."));
    for of_one in ["Call {{ call.callerNumber }}.", "Ring the office of {{ source }}."] {
        let message = posted(|_| {}, &summary(Reason::Group, &two), Some(&own(of_one))).await;
        assert_eq!(said(&message, "What to do"), None);
    }
    // A long advice takes nothing away from another's.
    let long = [rule(&ended.rule, &own(&"x".repeat(3000))), rule(&"other".into(), &own("Ask Nina."))];
    let message = posted_ruled(|_| {}, &both, &RuleSet::of(&long)).await;
    assert!(message["blocks"][3]["text"]["text"].as_str().unwrap().ends_with("…\nAsk Nina."), "{message}");
    // Who is shown nothing by which it could be told is not told that nothing has to be done.
    let bare = |config: &mut DestinationConfig| config.fields = filter(Some(&["status", "duration"]), &[]);
    let message = posted(bare, &ended, None).await;
    assert_eq!(said(&message, "What to do"), None);
    let message = posted(|_| {}, &summary(Reason::Group, &two), None).await;
    assert_eq!(said(&message, "What to do"), None);
}

#[tokio::test]
async fn a_template_that_fails_loses_nothing() {
    let text = text(Some("{{ call.mood }}"), Some("  "), Severity::Info);
    let message = posted(|_| {}, &event(Kind::Ended), Some(&text)).await;
    assert_eq!(title(&message), "Call ended · +33612345678 · 2m 25s");
    assert_eq!(message["blocks"][3]["fields"][0]["text"], "*Caller*\n<tel:+33612345678|+33612345678>");
    assert_eq!(
        message["blocks"][4]["elements"][1]["text"],
        "(this is the default title: the rule's own could not be rendered: `call.mood` is not there; it is missing in this call or left out by the destination)"
    );
}

#[tokio::test]
async fn a_call_cannot_make_links_or_mentions() {
    let evil = "<!channel> <https://evil.example|click> <@U123> & @here";
    let record = json!({
        "id": "1", "status": evil, "callerNumber": evil, "summary": evil, "endedReason": evil,
        "callAnalysis": { "<!here>": evil }, "transcript": [{ "role": evil, "content": evil }]
    });
    let fields = ["status", "callerNumber", "summary", "endedReason", "callAnalysis", "transcript"];
    let text = text(Some("{{ call.summary }}"), None, Severity::Info);
    let adjust = |config: &mut DestinationConfig| config.fields = filter(Some(&fields), &[]);
    let mut message = posted(adjust, &event_of(Kind::Ended, &record.to_string()), Some(&text)).await;
    let shown = message.to_string();
    // The one thing in angle brackets is the date we put there; the header is plain text.
    let header = message["blocks"][0]["text"].take();
    assert_eq!(header["type"], "plain_text");
    assert_eq!(message["blocks"].to_string().matches('<').count(), 1, "{shown}");
    assert!(!message["text"].as_str().unwrap().contains('<'), "{shown}");
    assert!(shown.contains("&lt;!channel&gt;"), "{shown}");
}

#[tokio::test]
async fn long_texts_keep_to_the_limits() {
    let analysis: Value = (0..40)
        .map(|i| (format!("field{i}"), json!("&".repeat(3000))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let turns: Vec<_> = (0..500).map(|_| json!({ "role": "user", "content": "<".repeat(2000) })).collect();
    let record = json!({
        "id": "1", "status": "completed", "callerNumber": "9".repeat(500), "summary": "&\n".repeat(4000),
        "callAnalysis": analysis, "transcript": turns
    });
    let fields = ["status", "callerNumber", "summary", "callAnalysis", "transcript"];
    let adjust = |config: &mut DestinationConfig| config.fields = filter(Some(&fields), &[]);
    let message = posted(adjust, &event_of(Kind::Ended, &record.to_string()), None).await;
    let last = message["blocks"].as_array().unwrap().last().unwrap();
    assert_eq!(last["type"], "context");
}

#[tokio::test]
async fn the_transcript_is_shown_only_when_asked_for() {
    let message = posted(|_| {}, &event(Kind::Ended), None).await;
    assert!(!message.to_string().contains("thank you for calling"));
    let adjust = |config: &mut DestinationConfig| config.fields = filter(Some(&["transcript"]), &[]);
    let message = posted(adjust, &event(Kind::Ended), None).await;
    assert_eq!(title(&message), "Call ended");
    assert_eq!(
        message["blocks"][2]["text"]["text"],
        "*Agent:* Hello, thank you for calling Acme Clinic. …\n*Caller:* Hi, I'd like to book an appointment for next Tuesday.\n"
    );
}

#[tokio::test]
async fn what_the_receiver_may_not_see_is_nowhere() {
    let adjust = |config: &mut DestinationConfig| {
        config.fields = filter(None, &["callerNumber", "callAnalysis.leadQuality"]);
    };
    let text = text(Some("{{ call.callerNumber }}"), None, Severity::Info);
    let message = posted(adjust, &event(Kind::Ended), Some(&text)).await;
    assert_eq!(title(&message), "Call ended · 2m 25s");
    let shown = message.to_string();
    assert!(!shown.contains("+33612345678") && !shown.contains("hot"), "{shown}");
}

#[tokio::test]
async fn slacks_words_mean_what_slack_says() {
    const DEAD: Option<&str> = Some("then retry the delivery");
    const PAUSED: Option<&str> = Some("then resume the destination");
    for (status, body, advice) in [
        (400, "invalid_blocks", DEAD),
        (400, "invalid_payload", DEAD),
        (400, "user_not_found", PAUSED),
        (403, "action_prohibited", PAUSED),
        (403, "invalid_token", PAUSED),
        (403, "posting_to_general_channel_denied", PAUSED),
        (404, "channel_not_found", PAUSED),
        (404, "no_service", PAUSED),
        (410, "channel_is_archived", PAUSED),
        (400, "something new", None),
        (500, "rollup_error", None),
    ] {
        let server = slack(status, body).await;
        let answer = deliver(&to(&server.uri()), &event(Kind::Ended)).await;
        let (is, reason) = match &answer.reaction {
            Reaction::Dead(reason) => (DEAD, reason.as_str()),
            Reaction::Pause(reason) => (PAUSED, reason.as_str()),
            reaction => {
                assert_eq!(reaction, &Reaction::Retry { after: None }, "{body}");
                (None, "")
            }
        };
        assert_eq!(is, advice, "{body}");
        assert!(advice.is_none_or(|advice| reason.contains(body) && reason.ends_with(advice)), "{reason}");
        assert_eq!(answer.response, body);
    }
}

#[tokio::test]
async fn a_page_that_is_not_slacks_is_no_success() {
    let server = slack(200, "<html>Welcome to our proxy</html>").await;
    let answer = deliver(&to(&server.uri()), &event(Kind::Ended)).await;
    assert_retry(
        &answer,
        None,
        "200 OK, but not Slack's `ok`; check that `webhook_url` is an incoming webhook",
    );
}

#[tokio::test]
async fn slack_is_left_alone_as_long_as_it_asks() {
    let server = MockServer::start().await;
    let answer =
        ResponseTemplate::new(429).insert_header("retry-after", "30").set_body_string("rate_limited");
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let answer = deliver(&to(&server.uri()), &event(Kind::Ended)).await;
    assert_retry(&answer, Some(Duration::from_secs(30)), "429 Too Many Requests");
}

#[tokio::test]
async fn the_address_is_a_secret() {
    let echo =
        |request: &wiremock::Request| ResponseTemplate::new(404).set_body_string(request.url.to_string());
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(echo).mount(&server).await;
    let url = format!("{}/services/T0000/B0000/XXXXXXXXXXXXXXXXXXXXXXXX", server.uri());
    let config = to(&url);
    let answer = deliver(&config, &event(Kind::Ended)).await;
    let shown = format!("{answer:?} {config:?}");
    assert!(shown.contains("•••") && !shown.contains("XXXX"), "{shown}");

    let answer = deliver(&to("http://127.0.0.1:1/services/XXXX"), &event(Kind::Ended)).await;
    assert_retry(&answer, None, "connection refused");
    let answer = deliver(&to("no address/XXXX"), &event(Kind::Ended)).await;
    assert_retry(&answer, None, "`webhook_url` is not an https:// address; nothing was sent");
    let missing = SlackConfig {
        way: SlackWay::Webhook(Secret::Env("CALLWATCH_NOT_SET".to_owned())),
        connection: Default::default(),
    };
    let answer = deliver(&super::config(DestinationKind::Slack(missing)), &event(Kind::Ended)).await;
    assert_retry(&answer, None, "the environment variable CALLWATCH_NOT_SET is not set");
}

/// Mattermost's incoming webhooks, as documented: <https://developers.mattermost.com/integrate/webhooks/incoming/>. They take Slack's
/// payloads; of these, `text` or `attachments` has to be there, blocks are left out, and the text is Markdown.
struct Mattermost;

impl wiremock::Respond for Mattermost {
    fn respond(&self, request: &wiremock::Request) -> ResponseTemplate {
        let refused = |status: u16, id: &str| {
            let body =
                json!({ "id": id, "message": "Unable to parse incoming data.", "status_code": status });
            ResponseTemplate::new(status).set_body_json(body)
        };
        if request.headers["content-type"] != "application/json" {
            return refused(400, "web.incoming_webhook.parse.app_error");
        }
        let Ok(message) = serde_json::from_slice::<Value>(&request.body) else {
            return refused(400, "web.incoming_webhook.parse.app_error");
        };
        let text = message["text"].as_str().unwrap_or_default();
        if text.is_empty() && message["attachments"].as_array().is_none_or(Vec::is_empty) {
            return refused(400, "web.incoming_webhook.text.app_error");
        }
        if text.chars().count() > 16_383 {
            return refused(400, "web.incoming_webhook.text.length.app_error");
        }
        ResponseTemplate::new(200).set_body_string("ok")
    }
}

#[tokio::test]
async fn mattermost_shows_the_whole_message_although_it_knows_no_blocks() {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(Mattermost).mount(&server).await;
    for event in
        [event(Kind::Ended), source_event(), summary(Reason::Digest, &[call("r", 1, "x"), call("r", 2, "x")])]
    {
        let answer = deliver(&to(&server.uri()), &event).await;
        assert_eq!(answer.reaction, Reaction::Delivered, "{answer:?}");
    }
    let requests = server.received_requests().await.unwrap();
    let texts: Vec<Value> = requests.iter().map(|it| serde_json::from_slice(&it.body).unwrap()).collect();
    let first = texts[0]["text"].as_str().unwrap();
    for part in ["Call ended", "+33612345678", "appointment availability", "positive"] {
        assert!(first.contains(part), "{part} in {first}");
    }
    // What is bold in Slack is slanted in Markdown, and a date of Slack's is nothing at all.
    assert!(!first.contains("*Caller*") && !first.contains("<!date"), "{first}");

    // A webhook that was removed there.
    let server = MockServer::start().await;
    let gone = json!({ "id": "web.incoming_webhook.invalid.app_error", "message": "Invalid webhook.", "status_code": 400 });
    Mock::given(any()).respond_with(ResponseTemplate::new(400).set_body_json(gone)).mount(&server).await;
    let answer = deliver(&to(&server.uri()), &event(Kind::Ended)).await;
    assert_eq!(answer.reaction, Reaction::Retry { after: None });
    assert!(answer.response.contains("Invalid webhook."), "{answer:?}");
}

#[tokio::test]
async fn many_long_fields_leave_room_for_what_was_said_and_for_where_it_comes_from() {
    let mut event = event(Kind::Analyzed);
    let mut record: Value = serde_json::from_str(event.record.get()).unwrap();
    let analysis: serde_json::Map<_, _> =
        (0..40).map(|number| (format!("field{number:02}"), json!("long ".repeat(60)))).collect();
    record["callAnalysis"] = analysis.into();
    record["summary"] = json!("She asked for an appointment. ".repeat(60));
    event.record = std::sync::Arc::from(serde_json::value::to_raw_value(&record).unwrap());
    let message = posted(|_| {}, &event, None).await;
    assert_within_limits(&message);
    let blocks = message["blocks"].as_array().unwrap();
    let said = blocks.iter().filter_map(|block| block["text"]["text"].as_str());
    assert!(
        said.into_iter().any(|text| text.starts_with("> She asked for") && text.ends_with("appointment."))
    );
    assert!(message["blocks"].to_string().contains("no room"), "{message}");
    let words = message["text"].as_str().unwrap();
    assert!(words.starts_with("Call analysed") || words.starts_with("Call analyzed"), "{words}");
    assert!(words.ends_with("Why you get this: rule call-completed · source clinic"), "{words}");
}

#[tokio::test]
async fn a_link_to_the_vendor_cannot_be_led_elsewhere_and_holds_no_masked_number() {
    let page = |path: &str| {
        let text = format!(
            "[sources.clinic]\napi_key = \"ck_live_{}\"\ncall_url = \"https://app.example.com/{path}\"\n",
            "0".repeat(60)
        );
        let text = format!(
            "{text}[destinations.d]\ntype = \"slack\"\nwebhook_url = \"https://hooks.slack.com/services/T/B/x\"\n\
                            [rules.r]\non = [\"ended\"]\nto = [\"d\"]\n"
        );
        let loaded = callwatch::config_file::Config::parse(
            &text,
            std::path::Path::new("c.toml"),
            callwatch::config::LoadOptions::default(),
        );
        callwatch::destination::Links::of(&loaded.unwrap().config.sources, None)
    };
    let mut event = event(Kind::Ended);
    let mut record: Value = serde_json::from_str(event.record.get()).unwrap();
    record["room"] = json!("../admin?x=1#y");
    event.record = std::sync::Arc::from(serde_json::value::to_raw_value(&record).unwrap());
    let with = |path: &'static str, mask: bool| {
        let links = page(path);
        let event = event.clone();
        async move {
            let message = posted(
                |config| {
                    config.links = links;
                    if mask {
                        config.fields.mask.insert("callerNumber".to_owned());
                    }
                },
                &event,
                None,
            )
            .await;
            message["blocks"].to_string()
        }
    };
    let led = with("calls/{{ call.room }}", false).await;
    assert!(led.contains("<https://app.example.com/calls/..%2Fadmin%3Fx%3D1%23y|"), "{led}");
    let open = with("calls?from={{ call.callerNumber }}", false).await;
    assert!(open.contains("<https://app.example.com/calls?from=%2B33612345678|"), "{open}");
    let twice = with("calls/{{ call.room|urlencode }}", false).await;
    assert!(
        twice.contains("<https://app.example.com/calls/..%2Fadmin%3Fx%3D1%23y|"),
        "encoded once: {twice}"
    );
    let masked = with("calls?from={{ call.callerNumber }}", true).await;
    assert!(!masked.contains("app.example.com"), "{masked}");
}
