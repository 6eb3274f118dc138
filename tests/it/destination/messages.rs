//! Messages of every sort in every language, word for word, as `snapshots/messages-LANGUAGE.snap` has them.

use std::fmt::Write as _;

use callwatch::{event::Severity, rule::condition::Condition, template::Template};
use serde_json::Value;

use super::{
    languages::{both_rules, digest, mail, marked, reading},
    slack::{posted_ruled, text, title},
    *,
};
use crate::texts::is_as_before;

/// A sort of message: what it is about, its event, and the rules that it tells.
type Sort = (&'static str, Event, Rules);

/// A call by somebody who was not content.
fn unhappy_call() -> Value {
    json!({
        "id": "6789abcdef0123456789abcd", "status": "completed", "duration": 145, "callerNumber": "+33612345678",
        "calledNumber": "+33198765432", "summary": "She was charged twice and wants a refund.", "evaluation": "fail",
        "endedReason": "user_hangup", "isEngaged": true, "createdAt": "2025-12-15T14:30:00.000Z",
        "callAnalysis": { "sentiment": "negative", "callerName": "Nina Mercier", "appointmentBooked": false }
    })
}

fn of_calls() -> Vec<Sort> {
    let fired = |name: &str, on: Kind, when: Option<&str>, severity| Rule {
        on: on.into(),
        when: when.map(|when| Condition::compile(when).unwrap()),
        ..rule(&name.into(), &text(None, None, severity))
    };
    let told = |kind: Kind, record: &Value, rules: &[Rule]| {
        let names: Vec<_> = rules.iter().map(|rule| rule.name.clone()).collect();
        let event = Event {
            rule: names[0].clone(),
            also: names[1..].to_vec(),
            ..event_of(kind, &record.to_string())
        };
        (event, RuleSet::of(rules))
    };
    let unhappy = unhappy_call();
    let with = |more: Value| {
        let mut record = unhappy.clone();
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        record
    };
    let live = json!({
        "id": "6789abcdef0123456789abcd", "status": "live", "callerNumber": "+33612345678",
        "createdAt": "2025-12-15T14:30:00.000Z"
    });
    let negative = Some(r#"call.callAnalysis.sentiment == "negative""#);
    let began = fired("began", Kind::Started, None, Severity::Info);
    let lasting = Rule {
        lasting: Some(Duration::from_secs(1_800)),
        ..fired("long-call", Kind::Started, Some(r#"call.status == "live""#), Severity::Critical)
    };
    let ended = fired("completed", Kind::Ended, None, Severity::Info);
    let critical = fired("unhappy-caller", Kind::Analyzed, negative, Severity::Critical);
    let follow =
        fired("missed-goal", Kind::Analyzed, Some(r#"call.evaluation == "fail""#), Severity::Warning);
    let booked = fired("booked", Kind::Analyzed, Some("call.callAnalysis.appointmentBooked"), Severity::Info);
    let advised = Rule {
        text: Arc::new(RuleText {
            advice: Some(Template::compile("Ring {{ call.callAnalysis.callerName }}.").unwrap()),
            ..text(Some("Refund"), None, Severity::Warning)
        }),
        ..fired("refund", Kind::Ended, None, Severity::Warning)
    };
    let content = with(json!({
        "evaluation": "success", "summary": "Booked for Tuesday.",
        "callAnalysis": { "sentiment": "positive", "callerName": "Nina Mercier", "appointmentBooked": true }
    }));
    let withheld = with(json!({ "callerNumber": null, "summary": null, "callAnalysis": null }));
    let changed = json!({
        "evaluation": { "from": "fail", "to": "success" }, "duration": { "from": 60, "to": 145 },
        "callAnalysis": { "from": { "sentiment": "neutral" }, "to": { "sentiment": "positive" } }
    });
    let sort = |name, (event, rules)| (name, event, rules);
    let mut sorts = vec![
        sort("A call has started", told(Kind::Started, &live, &[began])),
        sort("A call lasts", told(Kind::Started, &live, &[lasting])),
        sort(
            "A call has ended",
            told(Kind::Ended, &serde_json::from_str(RECORD).unwrap(), std::slice::from_ref(&ended)),
        ),
        sort("A call of which little is known has ended", told(Kind::Ended, &withheld, &[ended])),
        sort("A caller was unhappy, as two rules say", told(Kind::Analyzed, &unhappy, &[critical, follow])),
        sort("An appointment was booked", told(Kind::Analyzed, &content, &[booked])),
        sort("A rule says what to do", told(Kind::Ended, &unhappy, &[advised])),
    ];
    let plain = |kind: Kind| fired("feed", kind, None, Severity::Info);
    let (mut updated, rules) = told(Kind::Updated, &content, &[plain(Kind::Updated)]);
    updated.changes = Changes(changed.as_object().unwrap().clone());
    sorts.push(("A call has changed", updated, rules));
    sorts.push(sort("A call is gone", told(Kind::Deleted, &unhappy, &[plain(Kind::Deleted)])));
    let late = told(Kind::Ended, &unhappy, &[plain(Kind::Ended)]);
    let late = (Event { at: now().after(Duration::from_secs(7_200)), ..late.0 }, late.1);
    sorts.push(sort("A call is told late", late));
    sorts
}

fn of_several() -> Vec<Sort> {
    let calls =
        [call("unhappy", 1, "negative"), call("unhappy", 2, "positive"), call("unhappy", 3000, "neutral")];
    let unhappy = || rules(&"unhappy".into(), &text(None, None, Severity::Warning));
    let of = |reason| summary(reason, &calls);
    vec![
        ("A digest of two rules", digest(), both_rules()),
        ("A digest of one rule", of(Reason::Digest), unhappy()),
        ("A group", of(Reason::Group), unhappy()),
        ("What a rule's throttle held back", of(Reason::Throttle), unhappy()),
        ("So many as a rule counts", of(Reason::Count), unhappy()),
        ("What quiet hours held back", of(Reason::Quiet), unhappy()),
    ]
}

fn of_callwatch() -> Vec<Sort> {
    let since = "2025-12-15T14:00:00.000Z";
    let (crm, clinic) = (Subject::Destination("crm".into()), Subject::Source("clinic".into()));
    let told = |name, subject: &Subject, kind: Kind, mut details: Value| {
        details["since"] = since.into();
        let event = Event {
            subject: subject.clone(),
            kinds: kind.into(),
            changes: Changes::default(),
            rule: "[alerts]".into(),
            record: raw(&details.to_string()),
            ..event(Kind::Updated)
        };
        (name, event, Rules::default())
    };
    let failing = |name, cause: &str, error: &str| {
        told(name, &clinic, Kind::SourceFailing, json!({ "cause": cause, "error": error }))
    };
    let waiting = |count: u64, resumes: bool| json!({ "error": "connection refused", "waiting": count, "resumes": resumes });
    let (name, silent, _) =
        told("A source is silent", &clinic, Kind::SourceSilent, json!({ "silence": "4h" }));
    let silent = Event { rule: "quiet-phone".into(), ..silent };
    let quiet = rules(&silent.rule, &text(None, None, Severity::Critical));
    let silent = (name, silent, quiet);
    let dead = |count: u64| json!({ "count": count, "error": "404 Not Found: gone." });
    vec![
        failing("The API cannot be reached", "unreachable", "connection refused"),
        failing("The API refuses the key", "key", "401 Invalid API key"),
        failing("The API asks for fewer requests", "limited", "429 Too Many Requests"),
        failing("The API is in trouble", "server", "503 Service Unavailable"),
        failing("The API does not answer as expected", "answer", "the answer is not JSON"),
        failing("Calls are missing", "missing", "12 of 40 calls are missing from the list"),
        failing("Too many calls appear", "flood", "more calls appeared than can be"),
        failing("A source is full", "full", "1000 calls are known"),
        told("A source is well again", &clinic, Kind::SourceRecovered, json!({})),
        silent,
        told(
            "A destination fails, and one notification waits",
            &crm,
            Kind::DestinationFailing,
            waiting(1, true),
        ),
        told("A destination fails, and many wait", &crm, Kind::DestinationFailing, waiting(148, true)),
        told("A destination waits for a person", &crm, Kind::DestinationFailing, waiting(2, false)),
        told("A destination is well again", &crm, Kind::DestinationRecovered, json!({ "waiting": 3 })),
        told("A notification was given up", &crm, Kind::DeliveryDead, dead(1)),
        told("Notifications were given up", &crm, Kind::DeliveryDead, dead(148)),
        told(
            "A condition fails",
            &clinic,
            Kind::RuleFailing,
            json!({ "rule": "booked", "error": "a text is compared with a number" }),
        ),
        told(
            "A config was refused",
            &Subject::Config,
            Kind::ConfigRejected,
            json!({ "error": "line 3: a typing mistake" }),
        ),
    ]
}

/// The texts of a Slack message, block by block, and what a screen reader says.
fn in_slack(message: &Value) -> String {
    let blocks = message["blocks"].as_array().unwrap().iter();
    let texts = blocks.flat_map(|block| {
        let one = block["text"]["text"].as_str().into_iter();
        let many = ["fields", "elements"].into_iter().filter_map(|list| block[list].as_array()).flatten();
        one.chain(many.filter_map(|part| part["text"].as_str())).collect::<Vec<_>>()
    });
    let shown: String = texts.map(|text| format!("| {}\n", text.trim_end().replace('\n', "\n| "))).collect();
    format!("{shown}--- in words\n{}", message["text"].as_str().unwrap())
}

#[tokio::test]
async fn every_message_reads_as_before_in_every_language() {
    for language in Language::ALL {
        let mut all = String::new();
        for (name, event, rules) in [of_calls(), of_several(), of_callwatch()].concat() {
            let [subject, text, html] = mail(language, &event, &rules).await;
            let message = posted_ruled(reading(language), &event, &rules).await;
            let headline = marked(title(&message));
            writeln!(all, "== {name}\n--- mail: {}\n{}", marked(&subject), marked(&text)).unwrap();
            // What is told of callwatch itself is the same text in both.
            if event.kinds.iter().all(Kind::is_of_call) {
                writeln!(all, "--- Slack\n{}", marked(&in_slack(&message))).unwrap();
            }
            all.push('\n');
            let headline = headline.trim_start_matches(|c: char| !c.is_alphanumeric());
            let headline = format!("{}</h1>", headline.replace(" · ", "_· "));
            assert!(html.contains(&format!("<html lang=\"{language}\">")), "{html}");
            assert!(marked(&html).contains(&headline), "{headline} in {html}");
        }
        is_as_before(&format!("messages-{language}"), &all);
    }
}
