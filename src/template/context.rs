//! What a template may speak of.

use std::{collections::BTreeMap, fmt};

use serde::{Serialize, Serializer};

use crate::{change::Changes, event::Severity, kind::Kinds};

/// What a template may speak of. Of an event that stands for several, `call`, `details` and `changes` are those of
/// the newest.
#[derive(Clone, Copy, Serialize)]
pub struct Context<'a> {
    /// The call as the API gives it, as far as the receiver may see it; not there for an event about a source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<&'a serde_json::Value>,
    /// What an event about a source says of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<&'a serde_json::Value>,
    /// The fields that differ: `changes.status.from`, `changes.status.to`.
    pub changes: &'a Changes,
    /// `change.kinds`, as conditions have it.
    pub change: ChangeContext,
    /// The kinds, a list of words.
    pub kinds: Kinds,
    /// The source's name.
    pub source: &'a str,
    /// The rule's name.
    pub rule: &'a str,
    /// `info`, `warning` or `critical`.
    #[serde(serialize_with = "severity_word")]
    pub severity: Severity,
    /// `event.id`, `event.type`, `event.time`.
    pub event: EventContext<'a>,
    /// How many events are told; 1 unless this one stands for several.
    pub count: u64,
    /// The calls they are about, newest first, each as `call` is; not more than a summary lists.
    pub calls: &'a [&'a serde_json::Value],
    /// What only the body of a webhook may speak of.
    #[serde(flatten)]
    pub message: Option<MessageContext<'a>>,
}

/// `change` in a template.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ChangeContext {
    /// The kinds, a list of words.
    pub kinds: Kinds,
}

/// `event` in a template.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct EventContext<'a> {
    /// `evt_…`
    pub id: &'a str,
    /// `call.ended`, …
    pub r#type: &'a str,
    /// RFC 3339
    pub time: &'a str,
}

/// What the body of a webhook may speak of beside the event.
#[derive(Clone, Copy, Serialize)]
pub struct MessageContext<'a> {
    /// One line for people: the rule's title, or the default.
    pub title: &'a str,
    /// What follows it, plain text of several lines: the rule's body, or the default.
    pub message: &'a str,
    /// The destination's `secrets`.
    pub secrets: &'a BTreeMap<&'a str, &'a str>,
}

/// The names in a [`Context`].
pub(super) const VARIABLES: [&str; 11] = [
    "call", "details", "changes", "change", "kinds", "source", "rule", "severity", "event", "count", "calls",
];

/// The names in a [`MessageContext`].
pub(super) const MESSAGE_VARIABLES: [&str; 3] = ["title", "message", "secrets"];

/// Those of the names that speak of all the events that are told together.
pub(super) const OF_ALL: [&str; 2] = ["count", "calls"];

fn severity_word<S: Serializer>(severity: &Severity, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(severity.as_str())
}

/// Contexts hold calls: only what identifies the event is shown.
impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("event", &self.event).finish_non_exhaustive()
    }
}

/// Shows nothing: there are secrets in it.
impl fmt::Debug for MessageContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageContext").finish_non_exhaustive()
    }
}
