//! Messages for people, before they take the shape of a Slack message or a mail: who called, how it went, and why it is
//! told. Pure, except for the signal that a text failed.

mod body;
mod facts;
mod several;
mod single;
mod times;
mod visible;

use serde::Serialize;
use serde_json::Value;

use self::{facts::Fact, visible::Visible};
use super::{FieldFilter, Notification, answer::one_line};
use crate::{
    calendar::Zone,
    event::{Event, Severity},
    name::Name,
    rule::{RuleSet, RuleText},
    summary::Summary,
    telemetry::{Signal, Telemetry},
    template::{Context, Template, truncate},
};

/// The longest title, in characters.
const MAX_TITLE: usize = 200;

/// A message for people.
#[derive(Debug, Serialize)]
pub(super) struct Message {
    /// One line.
    pub(super) title: String,
    /// How urgent it is.
    #[serde(serialize_with = "severity_word")]
    pub(super) severity: Severity,
    /// How many events it stands for, and since when.
    pub(super) lead: Option<String>,
    /// The call's summary, or the rule's own body.
    pub(super) text: Option<String>,
    /// Whether `text` is the call's summary, and so is shown as a quotation.
    pub(super) quoted: bool,
    /// Caller, outcome, duration and so on, or totals; none when the rule has a body of its own.
    pub(super) facts: Vec<Fact>,
    /// The events of a batch, newest first; none when it is about one event, or the rule has a body of its own for the
    /// whole batch.
    pub(super) entries: Vec<Entry>,
    /// How many events of the batch are not among `entries`.
    pub(super) more: u64,
    /// The transcript, when the receiver asked for it.
    pub(super) transcript: Vec<Turn>,
    /// Remarks about the message itself, such as that a template failed.
    pub(super) notes: Vec<String>,
    /// The rule; none when the events are of several rules.
    pub(super) rule: Option<String>,
    /// The source, or the sources.
    pub(super) source: String,
    /// The id of the call, when it is about one.
    pub(super) call: Option<String>,
    /// The caller's number, when it can be dialled.
    pub(super) call_back: Option<String>,
    /// When it happened, in seconds since the Unix epoch.
    pub(super) at: i64,
    /// The same time for people.
    pub(super) when: String,
}

/// One event of a batch.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    /// One line.
    pub(super) title: String,
    /// How much it matters, where the events of the batch differ in it; else `Info`.
    #[serde(serialize_with = "severity_word")]
    pub(super) severity: Severity,
    /// The caller's sentiment, if it is known.
    pub(super) mood: Option<String>,
    /// When it happened, in seconds since the Unix epoch.
    pub(super) at: i64,
    /// The same time for people; with the day unless it is that of the message.
    pub(super) when: String,
}

/// One turn of a transcript.
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
    zone: Zone,
    /// Receives a signal when a text cannot be rendered; `None` when nothing is sent, because the message's own note is
    /// enough then.
    telemetry: Option<Telemetry>,
}

/// The rules' own texts for one message, and notes about those that failed.
struct Words<'a> {
    writer: &'a Writer,
    rules: &'a RuleSet,
    /// A note for each template that failed.
    notes: Vec<String>,
}

impl Writer {
    pub(super) fn new(fields: FieldFilter, zone: Zone, telemetry: Option<Telemetry>) -> Self {
        Self { fields, zone, telemetry }
    }

    /// Writes the message with the rule's own texts, or the default ones where the rule has none or they fail.
    ///
    /// # Errors
    /// When the event's record is not JSON, because the store is damaged.
    pub(super) fn write(&self, notification: &Notification<'_>) -> Result<Message, serde_json::Error> {
        let event = notification.event;
        let words = Words { writer: self, rules: notification.rules, notes: vec![] };
        match Summary::of(event)? {
            Some(summary) => self.several(event, &summary, words),
            None => self.single(event, words),
        }
    }

    /// The event without the fields that the receiver is not shown.
    fn show<'e>(&self, event: &'e Event, words: &Words<'_>) -> Result<Visible<'e>, serde_json::Error> {
        Visible::new(event, words.severity(&event.rule), &self.fields)
    }
}

impl Words<'_> {
    fn of(&self, rule: &Name) -> Option<&RuleText> {
        self.rules.get(rule).map(|rule| &*rule.text)
    }

    fn severity(&self, rule: &Name) -> Severity {
        self.of(rule).map(|text| text.severity).unwrap_or_default()
    }

    /// The rule's own title.
    fn title(&mut self, context: &Context<'_>, rule: &Name) -> Option<String> {
        let template = self.of(rule)?.title.clone();
        self.render("title", template.as_ref(), context, rule)
    }

    /// The rule's own body.
    fn body(&mut self, context: &Context<'_>, rule: &Name) -> Option<String> {
        let template = self.of(rule)?.body.clone();
        self.render("body", template.as_ref(), context, rule)
    }

    fn render(
        &mut self,
        part: &'static str,
        template: Option<&Template>,
        context: &Context<'_>,
        rule: &Name,
    ) -> Option<String> {
        let error = match template?.render(context) {
            Ok(text) if !text.trim().is_empty() => return Some(text),
            Ok(_) => return None,
            Err(error) => error,
        };
        if let Some(telemetry) = &self.writer.telemetry {
            telemetry.emit(Signal::TextFailed { rule: rule.clone(), part, error: error.to_string() });
        }
        let note = format!("(the rule's {part} could not be rendered: {error})");
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
        None
    }
}

impl Message {
    /// Everything after the title, as plain text.
    pub(super) fn plain(&self) -> String {
        self.in_lines(|label, value| format!("{label}: {value}"), |when, title| format!("{when} · {title}"))
    }

    /// The same in columns, for a typeface with characters of equal width.
    pub(super) fn in_columns(&self) -> String {
        let width = |cells: &mut dyn Iterator<Item = &String>| {
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let labels = width(&mut self.facts.iter().map(|fact| &fact.label));
        let times = width(&mut self.entries.iter().map(|entry| &entry.when));
        self.in_lines(
            |label, value| format!("{label:labels$}  {value}"),
            |when, title| format!("{when:times$}  {title}"),
        )
    }

    fn in_lines(&self, fact: impl Fn(&str, &str) -> String, entry: impl Fn(&str, &str) -> String) -> String {
        let mut parts = Vec::from_iter(self.lead.clone());
        parts.push(lines(self.facts.iter().map(|Fact { label, value }| fact(label, value))));
        parts.extend(self.text.clone());
        let entries = self.entries.iter().map(|Entry { title, severity, mood, when, .. }| {
            let mood = mood.as_ref().map(|mood| format!(" ({mood})")).unwrap_or_default();
            entry(when, &format!("{}{title}{mood}", in_brackets(*severity)))
        });
        let more = (self.more > 0).then(|| format!("and {} more", self.more));
        parts.push(lines(entries.chain(more)));
        let transcript = self.transcript.iter().map(|turn| format!("{}: {}", turn.who, turn.said));
        if !self.transcript.is_empty() {
            parts.push(lines(["Transcript".to_owned()].into_iter().chain(transcript)));
        }
        parts.extend(self.notes.iter().cloned());
        parts.retain(|part| !part.is_empty());
        parts.join("\n\n")
    }
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().join("\n")
}

/// `[WARNING] `
pub(super) fn in_brackets(severity: Severity) -> String {
    match severity {
        Severity::Info => String::new(),
        severity => format!("[{}] ", severity.as_str().to_uppercase()),
    }
}

/// One line of at most `limit` characters.
fn headline(text: &str, limit: usize) -> String {
    truncate(&one_line(text), limit)
}

/// The caller's sentiment.
fn mood(call: &serde_json::Map<String, Value>) -> Option<String> {
    let sentiment = call.get("callAnalysis")?.get("sentiment")?.as_str()?;
    Some(headline(sentiment, 40)).filter(|mood| !mood.is_empty())
}

fn severity_word<S: serde::Serializer>(severity: &Severity, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(severity.as_str())
}
