//! What people read, before it takes the shape of a Slack message or a mail: who called, how it went, and why
//! they are told. Pure, but for a warning in the log.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::warn;

use super::{
    Notification,
    answer::one_line,
    facts::{Fact, changed, facts_of_call, field, label, other_facts},
};
use crate::{
    config::FieldFilter,
    event::Severity,
    json,
    kind::Kind,
    name::Name,
    template::{self, ChangeContext, Context, EventContext, Template, truncate},
    time::Timestamp,
};

/// The longest title, in characters.
const MAX_TITLE: usize = 200;

/// The longest summary, in characters.
const MAX_SUMMARY: usize = 4000;

/// The longest transcript, in turns, and the longest turn, in characters.
const MAX_TURNS: usize = 200;
const MAX_TURN: usize = 1000;

/// What to tell people.
#[derive(Debug, Serialize)]
pub(super) struct Message {
    /// One line.
    pub(super) title: String,
    /// Why it should be read soon.
    #[serde(serialize_with = "severity_word")]
    pub(super) severity: Severity,
    /// What was said in short, or the rule's own body.
    pub(super) text: Option<String>,
    /// Whether `text` is the rule's body rather than the call's summary.
    pub(super) own_body: bool,
    /// Who, how and how long; none when the rule has a body of its own.
    pub(super) facts: Vec<Fact>,
    /// What was said, when the receiver asked for it.
    pub(super) transcript: Vec<Turn>,
    /// What a reader should know about the message itself.
    pub(super) notes: Vec<String>,
    /// Why they are told.
    pub(super) rule: String,
    /// Where it came from.
    pub(super) source: String,
    /// Which call it is about.
    pub(super) call: Option<String>,
    /// The caller's number, when it is one that can be dialled.
    pub(super) call_back: Option<String>,
    /// When it happened, in seconds since the Unix epoch.
    pub(super) at: i64,
    /// The same for people, in UTC.
    pub(super) when: String,
}

/// What one side said.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Turn {
    /// `Agent` or `Caller`
    pub(super) who: String,
    pub(super) said: String,
}

/// Writes messages for one destination.
#[derive(Debug)]
pub(super) struct Writer {
    fields: FieldFilter,
    /// The templates whose failure is in the log already.
    warned: Mutex<BTreeSet<(Name, &'static str)>>,
}

impl Writer {
    pub(super) fn new(fields: FieldFilter) -> Self {
        Self { fields, warned: Mutex::default() }
    }

    /// Says `notification` in the rule's words, or in ours where the rule has none or they fail.
    ///
    /// # Errors
    /// When the event's record is not JSON, which a store could only bring back damaged.
    pub(super) fn write(&self, notification: &Notification<'_>) -> Result<Message, serde_json::Error> {
        let event = notification.event;
        let record = json::fields(self.fields.record(&event.record)?.get()).unwrap_or_default();
        let record = Value::Object(record);
        let changes = self.fields.changes(&event.changes)?;
        let about_call = event.call.is_some();
        let severity = notification.text().map(|text| text.severity).unwrap_or_default();
        let context = Context {
            call: about_call.then_some(&record),
            details: (!about_call).then_some(&record),
            changes: &changes,
            change: ChangeContext { kinds: event.kinds },
            kinds: event.kinds,
            source: event.source.as_str(),
            rule: event.rule.as_str(),
            severity,
            event: EventContext {
                id: event.id.as_str(),
                r#type: &event.type_name(),
                time: &event.at.to_string(),
            },
        };
        let mut notes = vec![];
        let mut render = |part, template: Option<&Template>| {
            let error = match template?.render(&context) {
                Ok(text) if !text.trim().is_empty() => return Some(text),
                Ok(_) => return None,
                Err(error) => error,
            };
            if self.warn_about(&event.rule, part) {
                warn!(rule = %event.rule, "the rule's {part} could not be rendered: {error}; the default is used");
            }
            notes.push(format!("(the rule's {part} could not be rendered: {error})"));
            None
        };
        let title = render("title", notification.text().and_then(|text| text.title.as_ref()));
        let body = render("body", notification.text().and_then(|text| text.body.as_ref()));

        let none = Map::new();
        let fields = record.as_object().unwrap_or(&none);
        let kind = event.kinds.first().unwrap_or(Kind::Updated);
        let changed: Vec<_> = if kind == Kind::Updated { changed(&changes.0) } else { vec![] };
        let title = title.unwrap_or_else(|| default_title(kind, event.source.as_str(), fields, &changed));
        let own_body = body.is_some();
        let facts = match kind {
            _ if own_body => vec![],
            kind if !kind.is_of_call() => other_facts(fields),
            _ => {
                let mut facts = changed;
                facts.extend(facts_of_call(fields));
                if self.fields.include.is_some() {
                    facts.extend(other_facts(fields));
                }
                facts
            }
        };
        let summary = || field(fields, "summary").map(|summary| truncate(summary, MAX_SUMMARY));
        let transcript = match fields.get("transcript") {
            Some(Value::Array(turns)) if self.fields.asks_for("transcript") => turns_of(turns),
            _ => vec![],
        };
        Ok(Message {
            title: truncate(&one_line(&title), MAX_TITLE),
            severity,
            text: body.or_else(summary).map(|text| without_controls(text.trim())),
            own_body,
            facts,
            transcript,
            notes,
            rule: event.rule.to_string(),
            source: event.source.to_string(),
            call: event.call.as_ref().map(|call| one_line(call.as_str())),
            call_back: field(fields, "callerNumber")
                .filter(|number| can_be_dialled(number))
                .map(str::to_owned),
            at: event.at.as_secs(),
            when: for_people(event.at),
        })
    }

    /// Whether this failure is new.
    fn warn_about(&self, rule: &Name, part: &'static str) -> bool {
        self.warned.lock().unwrap_or_else(PoisonError::into_inner).insert((rule.clone(), part))
    }
}

/// `Call ended · +33612345678 · 2m 25s`
fn default_title(kind: Kind, source: &str, call: &Map<String, Value>, changed: &[Fact]) -> String {
    let what = match kind {
        Kind::Started => "Call started",
        Kind::Ended => "Call ended",
        Kind::Analyzed => "Call analyzed",
        Kind::Updated => "Call updated",
        Kind::Deleted => "Call deleted",
        Kind::SourceFailing => return format!("Source {source} is failing"),
        Kind::SourceRecovered => return format!("Source {source} answers again"),
        Kind::SourceSilent => return format!("No calls in {source}"),
    };
    let mut parts = vec![what.to_owned()];
    match call.get("callerNumber") {
        Some(Value::String(number)) if !number.is_empty() => parts.push(number.clone()),
        Some(_) => parts.push("unknown number".to_owned()),
        // Left out by the destination.
        None => {}
    }
    match kind {
        Kind::Ended | Kind::Analyzed => {
            parts.extend(call.get("duration").and_then(Value::as_f64).map(template::duration_in_words));
        }
        Kind::Updated if !changed.is_empty() => {
            let labels: Vec<_> = changed.iter().map(|fact| fact.label.to_lowercase()).collect();
            parts.push(labels.join(", "));
        }
        _ => {}
    }
    parts.join(" · ")
}

fn turns_of(turns: &[Value]) -> Vec<Turn> {
    let mut told: Vec<_> = turns
        .iter()
        .take(MAX_TURNS)
        .filter_map(|turn| {
            let who = match turn.get("role").and_then(Value::as_str) {
                Some("assistant") => "Agent".to_owned(),
                Some("user") => "Caller".to_owned(),
                Some(role) => label(&truncate(role, 40)),
                None => "?".to_owned(),
            };
            let said = turn.get("content").and_then(Value::as_str)?;
            Some(Turn { who: one_line(&who), said: truncate(&one_line(said), MAX_TURN) })
        })
        .collect();
    if turns.len() > MAX_TURNS {
        let left = turns.len() - MAX_TURNS;
        told.push(Turn { who: "…".to_owned(), said: format!("and {left} more turns") });
    }
    told
}

/// `15 Dec 2025, 14:32 UTC`
fn for_people(at: Timestamp) -> String {
    match DateTime::<Utc>::from_timestamp_millis(at.as_millis()) {
        Some(time) => time.format("%-d %b %Y, %H:%M UTC").to_string(),
        None => at.to_string(),
    }
}

/// Keeps line breaks, but nothing else that is not to be seen.
fn without_controls(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(one_line).collect();
    lines.join("\n")
}

fn severity_word<S: serde::Serializer>(severity: &Severity, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(severity.as_str())
}

fn can_be_dialled(number: &str) -> bool {
    let digits = number.strip_prefix('+').unwrap_or(number);
    (3..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_for_people() {
        assert_eq!(
            for_people(Timestamp::parse("2025-12-05T04:02:25.000Z").unwrap()),
            "5 Dec 2025, 04:02 UTC"
        );
    }
}
