//! The values a template can use.

use std::{collections::BTreeMap, fmt};

use serde::{Serialize, Serializer};

use crate::{change::Changes, event::Severity, kind::Kinds, language::Language};

/// The values a template can use. When an event stands for several, `call`, `details` and `changes` are those of the
/// newest.
#[derive(Clone, Copy, Serialize)]
pub struct Context<'a> {
    /// The call as the API gives it, without the fields that the receiver is not shown; missing in an event about a
    /// source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<&'a serde_json::Value>,
    /// The details of an event about a source; missing in an event about a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<&'a serde_json::Value>,
    /// The fields that differ: `changes.status.from`, `changes.status.to`.
    pub changes: &'a Changes,
    /// `change.kinds`, spelled as in conditions.
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
    /// `en`, `fr`, `de` or `es`: that of the message, which filters of times and durations follow.
    pub language: Language,
    /// `event.id`, `event.type`, `event.time`.
    pub event: EventContext<'a>,
    /// How many events this one stands for; usually 1.
    pub count: u64,
    /// The calls of those events, newest first, as many as a summary lists.
    pub calls: &'a [&'a serde_json::Value],
    /// The values that only the body of a webhook can use.
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

/// The values that only the body of a webhook can use.
#[derive(Clone, Copy, Serialize)]
pub struct MessageContext<'a> {
    /// One line for people: the rule's title, or the default.
    pub title: &'a str,
    /// The plain text of several lines that follows the title: the rule's body, or the default.
    pub message: &'a str,
    /// The destination's `secrets`.
    pub secrets: &'a BTreeMap<&'a str, &'a str>,
}

/// The names in a [`Context`].
pub(super) const VARIABLES: [&str; 12] = [
    "call", "details", "changes", "change", "kinds", "source", "rule", "severity", "language", "event",
    "count", "calls",
];

/// The names that the address of a call's page can use: all else may hold what a caller said, and is not made part of an address.
pub(super) const IN_ADDRESS: [&str; 2] = ["call", "source"];

/// The names in a [`MessageContext`].
pub(super) const MESSAGE_VARIABLES: [&str; 3] = ["title", "message", "secrets"];

/// The names in a [`Context`] that are about all events told together.
pub(super) const OF_ALL: [&str; 2] = ["count", "calls"];

/// The variables that are about one of several events.
pub(super) const OF_ONE: [&str; 7] = ["call", "changes", "change", "kinds", "details", "event", "source"];

fn severity_word<S: Serializer>(severity: &Severity, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(severity.as_str())
}

/// Shows only the event's id, type and time, because contexts hold calls.
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
