//! Destinations at their edge: the requests and mails that arrive, and how the answers are classified.

mod connection;
mod docs;
mod email;
mod handshake;
mod hostile;
mod languages;
mod mail_page;
mod mail_servers;
mod messages;
mod own_body;
mod privacy;
mod recipes;
mod several;
mod slack;
mod slack_bot;
mod smtp;
mod smtp_hostile;
pub mod tls;
mod verifying;
mod webhook;

use std::{sync::Arc, time::Duration};

use callwatch::{
    batch::BatchKey,
    calendar::Zone,
    change::Changes,
    destination::{
        Answer, Destination, DestinationConfig, DestinationKind, FieldFilter, Notification, Reaction, build,
    },
    event::{Event, EventId, Subject},
    http,
    kind::{Kind, Kinds},
    language::Language,
    name::Name,
    rule::{Rule, RuleSet, RuleText, Rules},
    summary::{Reason, Summarizer},
    telemetry::Telemetry,
    time::Timestamp,
};
use serde_json::{json, value::RawValue};

/// The record of the API's documentation, with a field nobody knows and numbers that a parser would respell.
pub const RECORD: &str = r#"{
      "id": "6789abcdef0123456789abcd",
      "status": "completed",
      "duration": 145,
      "summary": "The caller asked about appointment availability next Tuesday. …",
      "evaluation": "success",
      "endedReason": "user_hangup",
      "callerNumber": "+33612345678",
      "calledNumber": "+33198765432",
      "isEngaged": true,
      "callAnalysis": { "sentiment": "positive", "leadQuality": "hot", "appointmentBooked": true },
      "transcript": [
        { "role": "assistant", "content": "Hello, thank you for calling Acme Clinic. …" },
        { "role": "user", "content": "Hi, I'd like to book an appointment for next Tuesday." }
      ],
      "cost": { "exact": 0.100000000000000000001, "big": 123456789012345678901234567890 },
      "createdAt": "2025-12-15T14:30:00.000Z",
      "updatedAt": "2025-12-15T14:32:25.000Z"
    }"#;

/// When the tests' attempts are made.
pub fn now() -> Timestamp {
    Timestamp::parse("2025-12-15T14:32:30.000Z").unwrap()
}

/// An event about the call of the documentation.
pub fn event(kinds: impl Into<Kinds>) -> Event {
    event_of(kinds, RECORD)
}

pub fn event_of(kinds: impl Into<Kinds>, record: &str) -> Event {
    let changes = json!({ "status": { "from": "live", "to": "completed" } });
    Event {
        id: EventId::compute(&"clinic".into(), "6789abcdef0123456789abcd", &"feed".into(), b"state", 0),
        subject: call_of("clinic", "6789abcdef0123456789abcd"),
        rule: "call-completed".into(),
        also: vec![],
        kinds: kinds.into(),
        changes: Changes(changes.as_object().unwrap().clone()),
        at: Timestamp::parse("2025-12-15T14:32:25.000Z").unwrap(),
        record: raw(record),
    }
}

/// A call of a source, as an event's subject.
pub fn call_of(source: &str, call: &str) -> Subject {
    Subject::Call { source: source.into(), call: call.into() }
}

/// An event about a source.
pub fn source_event() -> Event {
    Event {
        subject: Subject::Source("clinic".into()),
        kinds: Kind::SourceFailing.into(),
        changes: Changes::default(),
        rule: "callwatch-itself".into(),
        also: vec![],
        record: raw(r#"{"error": "401 Invalid API key", "failingSince": "2025-12-15T14:00:00.000Z"}"#),
        ..event(Kind::Updated)
    }
}

pub fn raw(json: &str) -> Arc<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap().into()
}

pub fn config(kind: DestinationKind) -> DestinationConfig {
    DestinationConfig {
        name: "receiver".into(),
        kind,
        retry: vec![],
        max_attempts_age: None,
        rate: None,
        concurrency: 2,
        timeout: Duration::from_secs(30),
        failing_after: Duration::from_secs(300),
        merge: false,
        timezone: Zone::UTC,
        language: Language::English,
        quiet: None,
        fields: FieldFilter::default(),
        hash_secret: None,
        links: Default::default(),
        fingerprint: Default::default(),
    }
}

pub fn destination(config: &DestinationConfig) -> Arc<dyn Destination> {
    build(config, &http::client().unwrap(), &Telemetry::default()).unwrap()
}

/// Delivers once, as the seventh of its lane.
pub async fn deliver(config: &DestinationConfig, event: &Event) -> Answer {
    deliver_with(config, event, None).await
}

pub async fn deliver_with(config: &DestinationConfig, event: &Event, text: Option<&RuleText>) -> Answer {
    let rules = text.map(|text| rules(&event.rule, text)).unwrap_or_default();
    deliver_ruled(config, event, &rules).await
}

/// Delivers once with these rules.
pub async fn deliver_ruled(config: &DestinationConfig, event: &Event, rules: &Rules) -> Answer {
    let event = &Arc::new(event.clone());
    destination(config)
        .deliver(&Notification { event, rules, sequence: 7, memo: None, followed: false, now: now() })
        .await
}

/// A rule that wants its events said so.
pub fn rule(name: &Name, text: &RuleText) -> Rule {
    Rule {
        name: name.clone(),
        on: Kinds::of_calls(),
        when: None,
        to: vec![],
        sorted: vec![],
        merging: vec![],
        sights: vec![],
        sources: None,
        repeat: false,
        max_age: None,
        lasting: None,
        silence: None,
        pacing: Default::default(),
        text: Arc::new(text.clone()),
    }
}

/// The only rule, which wants its events said so.
pub fn rules(name: &Name, text: &RuleText) -> Rules {
    RuleSet::of(&[rule(name, text)])
}

/// The event that stands for all of these, at the time of the tests' attempts.
pub fn summary(reason: Reason, events: &[Event]) -> Event {
    let mut summarizer = Summarizer::new(reason);
    events.iter().for_each(|event| summarizer.add(event));
    summarizer.event(&"receiver".into(), BatchKey::Quiet, now()).unwrap()
}

/// An event of a call of its own, so many minutes before the tests' attempts.
pub fn call(rule: &str, minutes: u64, sentiment: &str) -> Event {
    let number = format!("+3361234{minutes:04}");
    let record = json!({
        "id": number, "status": "completed", "duration": 60 + minutes, "callerNumber": number,
        "summary": "A summary.", "callAnalysis": { "sentiment": sentiment },
    });
    Event {
        id: EventId::from(format!("evt_{rule}_{minutes}").as_str()),
        subject: call_of("clinic", &number),
        rule: rule.into(),
        also: vec![],
        at: now().before(Duration::from_secs(60 * minutes)),
        ..event_of(Kind::Ended, &record.to_string())
    }
}

pub fn filter(include: Option<&[&str]>, exclude: &[&str]) -> FieldFilter {
    let set = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    FieldFilter { include: include.map(set), exclude: set(exclude), ..FieldFilter::default() }
}

#[track_caller]
pub fn assert_retry(answer: &Answer, after: Option<Duration>, result: &str) {
    assert_eq!((&answer.reaction, answer.result.as_str()), (&Reaction::Retry { after }, result));
}

#[track_caller]
pub fn assert_dead(answer: &Answer, reason: &str) {
    assert_eq!(answer.reaction, Reaction::Dead(reason.to_owned()), "{}", answer.result);
}
