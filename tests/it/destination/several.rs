//! Several events told as one.

use callwatch::{
    destination::{WebhookConfig, WebhookFormat},
    event::Severity,
};
use serde_json::Value;
use wiremock::ResponseTemplate;

use super::{
    email::mailed,
    slack::{posted, posted_ruled, text, title},
    webhook::{only_request, receiver, webhook},
    *,
};

fn both(rules: [(&str, RuleText); 2]) -> Rules {
    let rules = rules.map(|(name, text)| super::rule(&name.into(), &text));
    RuleSet::of(&rules)
}

fn unhappy() -> RuleText {
    text(Some("Unhappy caller {{ call.callerNumber }}"), None, Severity::Warning)
}

/// The texts of a message's sections, and of its context.
fn sections(message: &Value) -> Vec<&str> {
    let blocks = message["blocks"].as_array().unwrap().iter();
    blocks
        .filter_map(|block| block["text"]["text"].as_str().or(block["elements"][0]["text"].as_str()))
        .collect()
}

#[tokio::test]
async fn a_group_is_a_headline_and_a_line_for_each() {
    let events = [3, 1, 2].map(|minutes| call("unhappy", minutes, "negative"));
    let message = posted(|_| {}, &summary(Reason::Group, &events), Some(&unhappy())).await;
    assert_eq!(title(&message), "⚠️ Unhappy caller +33612340001 and 2 more calls");
    let line = |minutes: i64| {
        let at = 1_765_809_150 - 60 * minutes;
        let when = 32 - minutes;
        format!(
            "<!date^{at}^{{date_short_pretty}}, {{time}}|14:{when}>  Unhappy caller +3361234000{minutes} · _negative_ · A summary.\n"
        )
    };
    assert_eq!(
        sections(&message),
        [
            "⚠️ Unhappy caller +33612340001 and 2 more calls",
            "3 calls since 14:29 UTC",
            &format!("{}{}{}", line(1), line(2), line(3)),
            "*warning* · Why you get this: rule *unhappy* · source *clinic* · <!date^1765809150^{date_short_pretty}, {time}|Mon 15 Dec 2025, 14:32 UTC>",
        ]
    );

    let rules = rules(&"unhappy".into(), &unhappy());
    let paris = |config: &mut DestinationConfig| config.timezone = Zone::parse("Europe/Paris").unwrap();
    let [plain, html] = mailed(paris, &summary(Reason::Group, &events), &rules).await;
    assert_eq!(
        plain.trim_end(),
        "Warning: Unhappy caller +33612340001 and 2 more calls

3 calls since 15:29 CET

15:31  Unhappy caller +33612340001 (negative) · A summary.
15:30  Unhappy caller +33612340002 (negative) · A summary.
15:29  Unhappy caller +33612340003 (negative) · A summary.

-- 
Why you get this: rule unhappy · source clinic · Mon 15 Dec 2025, 15:32 CET"
    );
    for part in ["and 2 more calls</h1>", "3 calls since 15:29 CET", "15:30</td>", "negative</span>"] {
        assert!(html.contains(part), "{part} in {html}");
    }
}

#[tokio::test]
async fn the_headline_says_why_they_are_told_together() {
    let calls = || (1..=12).map(|minutes| call("unhappy", minutes, "negative")).collect::<Vec<_>>();
    let twice = [call("unhappy", 1, "negative"), call("unhappy", 1, "negative")];
    for (reason, events, headline, lead) in [
        (
            Reason::Throttle,
            calls(),
            "Call ended · +33612340001 · 1m 1s and 11 more calls",
            "12 notifications held back since 14:20 UTC",
        ),
        (
            Reason::Count,
            calls(),
            "Call ended · +33612340001 · 1m 1s and 11 more calls",
            "12 calls within 11m",
        ),
        (
            Reason::Count,
            twice.to_vec(),
            "Call ended · +33612340001 · 1m 1s (2 events)",
            "1 call, 2 events at once",
        ),
        (Reason::Digest, calls(), "Digest: 12 calls", "From 14:20 to 14:32 UTC"),
        (Reason::Digest, calls()[..1].to_vec(), "Digest: 1 call", "From 14:31 to 14:32 UTC"),
        (Reason::Quiet, calls(), "12 calls during quiet hours", "Since 14:20 UTC"),
        (
            Reason::Quiet,
            vec![source_event(), call("a", 1, "x")],
            "2 events during quiet hours",
            "Since 14:31 UTC",
        ),
    ] {
        let message = posted(|_| {}, &summary(reason, &events), None).await;
        assert_eq!((title(&message), sections(&message)[1]), (headline, lead), "{reason:?}");
    }
    let yesterday = [call("a", 2000, "x"), call("a", 5, "x")];
    let message = posted(|_| {}, &summary(Reason::Digest, &yesterday), None).await;
    assert_eq!(sections(&message)[1], "From Sun 05:12 to Mon 15 Dec 2025, 14:32 UTC");
}

#[tokio::test]
async fn totals_are_told_where_they_say_something() {
    let events =
        [call("unhappy", 1, "negative"), call("booked", 2, "positive"), call("booked", 3, "positive")];
    let rules = both([("unhappy", unhappy()), ("booked", text(Some("Booked"), None, Severity::Info))]);
    let digest = summary(Reason::Digest, &events);
    let message = posted_ruled(|_| {}, &digest, &rules).await;
    assert_eq!(title(&message), "⚠️ Digest: 3 calls");
    assert_eq!(
        message["blocks"][2]["fields"],
        json!([
            { "type": "mrkdwn", "verbatim": true, "text": "*Rules*\nbooked 2, unhappy 1" },
            { "type": "mrkdwn", "verbatim": true, "text": "*Sentiment*\npositive 2, negative 1" },
        ])
    );
    let lines = sections(&message)[2];
    assert!(lines.contains("⚠️ Unhappy caller +33612340001 · _negative_ · A summary.\n"), "{lines}");
    assert!(lines.contains("  Booked · +33612340002 · _positive_ · A summary.\n"), "{lines}");
    // A digest of one rule has no totals by rule, only by sentiment.
    let message = posted(|_| {}, &summary(Reason::Digest, &events[1..]), None).await;
    assert_eq!(message["blocks"][2]["fields"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_the_receiver_may_not_see_is_in_no_line_and_no_total() {
    let hide = |config: &mut DestinationConfig| {
        config.fields = filter(None, &["callerNumber", "callAnalysis.sentiment"]);
    };
    let events = [call("unhappy", 1, "negative"), call("booked", 2, "positive")];
    let digest = summary(Reason::Digest, &events);
    let message = posted(hide, &digest, None).await.to_string();
    let [plain, html] = mailed(hide, &digest, &Rules::default()).await;
    let server = receiver(ResponseTemplate::new(200)).await;
    let mut config = config(DestinationKind::Webhook(webhook(&server.uri())));
    hide(&mut config);
    deliver(&config, &digest).await;
    let body = String::from_utf8(only_request(&server).await.body).unwrap();
    for shown in [message, plain, html, body] {
        // The ids of the calls are not among what is hidden, and are their numbers here.
        let shown = shown.replace(r#""id":"+3361234000"#, "");
        for hidden in ["+3361234000", "negative", "positive", "sentiment"] {
            assert!(!shown.to_lowercase().contains(hidden), "{hidden} in {shown}");
        }
    }
}

#[tokio::test]
async fn one_that_was_held_back_alone_is_told_as_always() {
    for (reason, minutes, note) in [
        (Reason::Quiet, 90, Some("This waited for the quiet hours to end.")),
        (Reason::Group, 2, Some("This waited for others of its group.")),
        (Reason::Group, 0, None),
    ] {
        let event = call("unhappy", minutes, "negative");
        let alone = posted(|_| {}, &summary(reason, std::slice::from_ref(&event)), Some(&unhappy())).await;
        let mut expected = posted(|_| {}, &event, Some(&unhappy())).await;
        if let Some(note) = note {
            let context = expected["blocks"].as_array_mut().unwrap().last_mut().unwrap();
            context["elements"]
                .as_array_mut()
                .unwrap()
                .push(json!({ "type": "mrkdwn", "verbatim": true, "text": note }));
            let words = expected["text"].as_str().unwrap();
            let (before, origin) = words.rsplit_once('\n').unwrap();
            expected["text"] = json!(format!("{before}\n\n{note}\n{origin}"));
        }
        assert_eq!(alone, expected);
    }
}

#[tokio::test]
async fn a_rule_can_speak_of_all_of_them() {
    let own = text(
        Some("{{ count }} unhappy callers"),
        Some("{% for call in calls %}* {{ call.callerNumber }}\n{% endfor %}"),
        Severity::Info,
    );
    let events = [1, 2].map(|minutes| call("unhappy", minutes, "negative"));
    let message = posted(|_| {}, &summary(Reason::Group, &events), Some(&own)).await;
    let told = sections(&message);
    assert_eq!(told[..3], ["2 unhappy callers", "2 calls since 14:30 UTC", "* +33612340001\n* +33612340002"]);
    assert_eq!(told.len(), 4, "{told:?}");
    // A body for one event is none for several.
    let own = text(None, Some("Call {{ call.callerNumber }} back"), Severity::Info);
    let message = posted(|_| {}, &summary(Reason::Group, &events), Some(&own)).await;
    assert!(!message.to_string().contains("back"), "{message}");
    // One that fails is replaced by the list, and said so once.
    let own = text(Some("{{ call.mood }}"), Some("{{ count }} {{ call.mood }}"), Severity::Info);
    let message = posted(|_| {}, &summary(Reason::Group, &events), Some(&own)).await;
    assert!(sections(&message)[2].contains("Call ended · +33612340002"), "{message}");
    let notes =
        message["blocks"].as_array().unwrap().last().unwrap()["elements"].as_array().unwrap().len() - 1;
    assert_eq!(notes, 2, "{message}");
}

#[tokio::test]
async fn many_and_wild_ones_keep_to_the_limits() {
    let wild = format!("<!channel> *x* <b>&amp; \u{202e}مرحبا 🎉\n{}", "&<🎉".repeat(1000));
    let events: Vec<_> = (0..90)
        .map(|minutes| {
            let record = json!({
                "id": minutes.to_string(), "status": "completed", "callerNumber": wild, "summary": wild,
                "callAnalysis": { "sentiment": wild },
            });
            Event { record: raw(&record.to_string()), ..call("unhappy", minutes, "x") }
        })
        .collect();
    let own = text(Some("{{ call.summary }}"), None, Severity::Critical);
    let digest = summary(Reason::Digest, &events);
    let message = posted(|_| {}, &digest, Some(&own)).await;
    let shown = message["blocks"].to_string();
    // As many lines as Slack has room for, and the others are counted.
    let lines = shown.matches("<!date").count() - 1;
    assert!((5..20).contains(&lines) && shown.contains(&format!("and {} more", 90 - lines)), "{shown}");
    assert_eq!(shown.matches('<').count(), lines + 1, "only our dates are in angle brackets: {shown}");
    assert!(!shown.contains('\u{202e}'));
    let [plain, html] = mailed(|_| {}, &digest, &rules(&"unhappy".into(), &own)).await;
    assert!(plain.contains("\nand 40 more\n"), "{plain}");
    assert!(html.contains("and 40 more") && !html.contains("<!channel>") && !html.contains("<b>&amp;"));
    let longest = posted(|_| {}, &summary(Reason::Group, &events), Some(&own)).await;
    let first_line = longest["text"].as_str().unwrap().lines().next().unwrap();
    assert!(first_line.ends_with("… and 89 more calls"), "{first_line}");
}

#[tokio::test]
async fn webhooks_carry_every_event_of_several() {
    let events = [call("unhappy", 1, "negative"), source_event()];
    let digest = summary(Reason::Quiet, &events);
    let server = receiver(ResponseTemplate::new(200)).await;
    let cloud = WebhookConfig { format: WebhookFormat::Cloudevents, ..webhook(&server.uri()) };
    deliver(&config(DestinationKind::Webhook(cloud)), &digest).await;
    let body: Value = serde_json::from_slice(&only_request(&server).await.body).unwrap();
    assert_eq!((&body["type"], &body["source"]), (&json!("summary"), &json!("/callwatch")));
    assert_eq!(body.get("subject"), None);
    let data = &body["data"];
    assert_eq!((data.get("rule"), &data["reason"], &data["count"]), (None, &json!("quiet"), &json!(2)));
    assert_eq!(data["totals"]["rules"], json!({ "callwatch-itself": 1, "unhappy": 1 }));
    assert_eq!(data["events"][1]["call"]["callerNumber"], "+33612340001");
    assert_eq!(data["events"][0]["details"]["error"], "401 Invalid API key");
    assert_eq!((data["events"][0].get("call"), data["events"][0].get("changes")), (None, None));

    let callem = WebhookConfig { format: WebhookFormat::Callem, ..webhook(&server.uri()) };
    let answer = deliver(&config(DestinationKind::Webhook(callem)), &digest).await;
    assert_retry(&answer, None, "format = \"callem\" cannot tell several events as one; nothing was sent");
}

/// An event about a call that began at `created`, noticed at the time of the tests' attempts.
fn began(created: &str, fields: Value) -> Event {
    let mut record = json!({
        "id": created, "status": "completed", "duration": 60, "callerNumber": "+33612340000", "createdAt": created,
    });
    record.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    Event {
        id: EventId::from(created),
        subject: call_of("clinic", created),
        at: now(),
        changes: Changes::default(),
        ..event_of(Kind::Ended, &record.to_string())
    }
}

#[tokio::test]
async fn a_message_says_when_the_call_was_and_when_that_was_noticed_if_it_was_late() {
    let berlin = |config: &mut DestinationConfig| config.timezone = Zone::parse("Europe/Berlin").unwrap();
    for (created, fields, began, footer) in [
        ("2025-12-15T14:31:00.000Z", json!({}), "Mon 15 Dec 2025, 15:31 CET", ""),
        ("2025-12-15T08:32:00.000Z", json!({}), "Mon 15 Dec 2025, 09:32 CET", " · noticed 15:32"),
        ("2025-12-13T08:32:00.000Z", json!({}), "Sat 13 Dec 2025, 09:32 CET", " · noticed Mon 15 Dec, 15:32"),
        // A long call that was noticed as soon as it was over.
        ("2025-12-15T13:32:00.000Z", json!({ "duration": 3600 }), "Mon 15 Dec 2025, 14:32 CET", ""),
        // An analysis long after the call.
        (
            "2025-12-15T08:32:00.000Z",
            json!({ "updatedAt": "2025-12-15T14:32:00.000Z" }),
            "Mon 15 Dec 2025, 09:32 CET",
            "",
        ),
        ("never", json!({}), "", " · Mon 15 Dec 2025, 15:32 CET"),
    ] {
        let event = self::began(created, fields);
        let [plain, html] = mailed(berlin, &event, &Rules::default()).await;
        let line = format!("Why you get this: rule call-completed · source clinic{footer}");
        let unfolded = [("Noticed ", "noticed "), ("Mon ", "Mon ")]
            .iter()
            .fold(plain.clone(), |plain, (begun, part)| {
                plain.replace(&format!("\n{begun}"), &format!(" · {part}"))
            });
        assert!(unfolded.contains(&format!("\n{line}\nCall ")), "{line} in {plain}");
        assert!(html.contains(&format!("<b>clinic</b>{footer}<br>")), "{footer} in {html}");
        let fact = plain.lines().find_map(|line| line.strip_prefix("Began   "));
        assert_eq!(fact.unwrap_or_default().trim(), began, "{plain}");
        assert!(html.contains(began), "{began} in {html}");
    }
    let message = posted(berlin, &began("2025-12-13T08:32:00.000Z", json!({})), None).await;
    assert_eq!(
        message["blocks"][1]["fields"][1]["text"],
        "*Began*\n<!date^1765614720^{date_long_pretty}, {time}|Sat 13 Dec 2025, 09:32 CET>"
    );
    assert_eq!(
        *sections(&message).last().unwrap(),
        "Why you get this: rule *call-completed* · source *clinic* · noticed <!date^1765809150^{date_short_pretty}, {time}|Mon 15 Dec, 15:32> · call 2025-12-13T08:32:00.000Z"
    );
    // Unless the receiver is not to know when the call was.
    let secretive = |config: &mut DestinationConfig| config.fields = filter(None, &["createdAt"]);
    let [plain, _] =
        mailed(secretive, &began("2025-12-13T08:32:00.000Z", json!({})), &Rules::default()).await;
    assert!(plain.contains("\nMon 15 Dec 2025, 14:32 UTC\n") && !plain.contains("13 Dec"), "{plain}");
}

#[tokio::test]
async fn lines_stand_in_the_order_of_the_calls_with_the_time_of_each() {
    // All of them were noticed at once, in another order.
    let events = [
        began("2025-12-15T14:02:00.000Z", json!({ "callAnalysis": { "callerName": "Jane\u{202e} Doe" } })),
        began("2024-11-30T09:32:00.000Z", json!({ "callerNumber": null, "summary": "–" })),
        began("2025-12-15T14:29:00.000Z", json!({ "summary": "A long summary. ".repeat(20) })),
        began("2025-12-13T08:32:00.000Z", json!({ "recordingUrl": "https://a.example/r|>1?a=b&c" })),
    ];
    let title = text(Some("Over"), None, Severity::Info);
    let rules = rules(&"call-completed".into(), &title);
    let digest = summary(Reason::Digest, &events);
    let [plain, _] = mailed(|_| {}, &digest, &rules).await;
    assert!(
        plain.contains(
            "Digest: 4 calls

From Sat 30 Nov 2024, 09:32 to Mon 15 Dec 2025, 14:32 UTC

14:29                   Over · +33612340000 · A long summary. A long summary.
                        A long summary. A long summary. A long summary.…
14:02                   Over · Jane Doe
Sat 08:32               Over · +33612340000
Sat 30 Nov 2024, 09:32  Over · unknown number
"
        ),
        "{plain}"
    );
    // A link is shown to those who asked for the field.
    let asked = |config: &mut DestinationConfig| {
        config.fields = filter(Some(&["recordingUrl", "callerNumber"]), &[]);
    };
    let [plain, html] = mailed(asked, &digest, &rules).await;
    assert!(
        plain.contains(
            "Sat 08:32               Over · +33612340000 · Recording:
                        https://a.example/r%7C%3E1?a=b&c\n"
        ),
        "{plain}"
    );
    assert!(html.contains(">Recording</a>"), "{html}");
    let message = posted_ruled(asked, &digest, &rules).await;
    assert!(
        message.to_string().contains("· <https://a.example/r%7C%3E1?a=b&amp;c|Recording>\\n"),
        "{message}"
    );
}

#[tokio::test]
async fn a_headline_counts_calls_and_then_events() {
    let twice = || [call("a", 1, "x"), call("b", 1, "x"), call("a", 2, "x")];
    for (reason, headline) in [
        (Reason::Digest, "Digest: 2 calls, 3 events"),
        (Reason::Quiet, "2 calls, 3 events during quiet hours"),
        (Reason::Group, "Call ended · +33612340001 · 1m 1s and 1 more call (3 events)"),
    ] {
        let message = posted(|_| {}, &summary(reason, &twice()), None).await;
        assert_eq!(title(&message), headline);
    }
    // Also of those that are not listed.
    let many: Vec<_> =
        (0..60).flat_map(|minutes| [call("a", minutes, "x"), call("b", minutes, "x")]).collect();
    assert_eq!(
        title(&posted(|_| {}, &summary(Reason::Digest, &many), None).await),
        "Digest: 60 calls, 120 events"
    );
}

#[tokio::test]
async fn a_title_that_says_nothing_is_replaced_by_the_default() {
    for title in
        ["{{ call.summary }}", "\u{200b}\u{202e} \u{feff}", "{{ call.evaluation }} - {{ call.endedReason }}"]
    {
        let event = event_of(
            Kind::Ended,
            r#"{"callerNumber":"+331","summary":" ","evaluation":null,"endedReason":null}"#,
        );
        let own = text(Some(title), None, Severity::Info);
        assert_eq!(slack::title(&posted(|_| {}, &event, Some(&own)).await), "Call ended · +331", "{title}");
    }
    let own = text(Some("🎉"), None, Severity::Info);
    assert_eq!(slack::title(&posted(|_| {}, &event(Kind::Ended), Some(&own)).await), "🎉");
}

#[tokio::test]
async fn a_number_that_was_withheld_reads_so_in_the_rules_own_words() {
    let own = text(
        Some("Call back {{ call.callerNumber }}"),
        Some("{{ call.callerNumber|mask_phone }} {{ call.endedReason }}"),
        Severity::Info,
    );
    let event = event_of(Kind::Ended, r#"{"callerNumber":null,"endedReason":null}"#);
    let message = posted(|_| {}, &event, Some(&own)).await;
    assert_eq!(
        (slack::title(&message), sections(&message)[1]),
        ("Call back unknown number", "unknown number –")
    );
}

/// An event that tells two rules, the second of them a warning.
fn of_two_rules() -> (Event, Rules) {
    let event = Event { also: vec!["unhappy".into(), "long".into()], ..call("booked", 1, "negative") };
    let booked = text(Some("Booked by {{ call.callerNumber }}"), Some("Call <back>"), Severity::Info);
    (event, both([("booked", booked), ("unhappy", unhappy())]))
}

#[tokio::test]
async fn a_message_about_several_rules_names_all_of_them() {
    let (event, rules) = of_two_rules();
    let message = posted_ruled(|_| {}, &event, &rules).await;
    // A rule that is no longer in the config is named.
    assert_eq!(
        sections(&message),
        [
            "⚠️ Booked by +33612340001",
            "Also: Unhappy caller +33612340001; Long",
            "Call &lt;back&gt;",
            "*warning* · Why you get this: Call ended (rules *booked*, *unhappy*); rule *long* · source *clinic* · \
             <!date^1765809090^{date_short_pretty}, {time}|Mon 15 Dec 2025, 14:31 UTC> · call +33612340001",
        ]
    );
    let [plain, html] = mailed(|_| {}, &event, &rules).await;
    assert_eq!(
        plain.trim_end(),
        "Warning: Booked by +33612340001

Also: Unhappy caller +33612340001; Long

Call <back>

-- 
Why you get this: Call ended (rules booked, unhappy); rule long
Source clinic · Mon 15 Dec 2025, 14:31 UTC
Call +33612340001"
    );
    for part in [
        "Also: Unhappy caller +33612340001; Long</p>",
        "Why you get this: Call ended (rules <b>booked</b>, <b>unhappy</b>); rule <b>long</b> · source",
    ] {
        assert!(html.contains(part), "{part} in {html}");
    }
    // Two titles that say the same are told apart by the second rule's name.
    let rules = both([("booked", unhappy()), ("unhappy", unhappy())]);
    let message = posted_ruled(|_| {}, &event, &rules).await;
    assert_eq!(sections(&message)[1], "Also: Unhappy; Long");
    // However many rules there are, a message stays short.
    let also: Vec<_> = (0..40).map(|n| format!("rule-{n}").as_str().into()).collect();
    let message = posted_ruled(|_| {}, &Event { also, ..event }, &rules).await;
    assert!(sections(&message)[1].ends_with("; Rule 9; and 30 more"), "{message}");
}

#[tokio::test]
async fn what_several_rules_said_in_quiet_hours_is_one_line_and_counts_for_each() {
    let (event, rules) = of_two_rules();
    let other = call("booked", 2, "positive");
    let message = posted_ruled(|_| {}, &summary(Reason::Quiet, &[other, event.clone()]), &rules).await;
    assert_eq!(title(&message), "⚠️ 2 calls during quiet hours");
    let lines =
        sections(&message)[2].lines().map(|line| line.split_once(">  ").unwrap().1).collect::<Vec<_>>();
    assert_eq!(
        lines,
        [
            "⚠️ Booked by +33612340001 (also: Unhappy caller +33612340001; Long) · _negative_ · A summary.",
            "Booked by +33612340002 · _positive_ · A summary.",
        ]
    );
    let fields = &message["blocks"][2]["fields"];
    assert_eq!(fields[0]["text"], "*Rules*\nbooked 2, long 1, unhappy 1");
    // Alone it looks as it would have by day.
    let message = posted_ruled(|_| {}, &summary(Reason::Quiet, &[event]), &rules).await;
    assert_eq!(sections(&message)[1], "Also: Unhappy caller +33612340001; Long");
}

#[tokio::test]
async fn a_webhook_that_merges_is_given_the_names_of_the_other_rules() {
    let server = receiver(ResponseTemplate::new(200)).await;
    let (event, _) = of_two_rules();
    deliver(&config(DestinationKind::Webhook(webhook(&server.uri()))), &event).await;
    let body: Value = only_request(&server).await.body_json().unwrap();
    assert_eq!(
        (&body["data"]["rule"], &body["data"]["also"]),
        (&json!("booked"), &json!(["unhappy", "long"]))
    );
}
