//! A rule matched a change: the thing that is told to people and systems.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    call::CallId,
    change::Changes,
    kind::{Kind, Kinds},
    name::Name,
    summary::BatchKey,
    time::Timestamp,
};

/// `evt_` and 128 bits of SHA-256 over what happened, so that the same observation always has the same id.
/// It is the `webhook-id` and the `Message-ID` of every repeat.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(Arc<str>);

/// How the ids begin of what has not happened.
const TEST: &str = "evt_test_";

impl EventId {
    /// The id of "this rule, this call, this content, for the n-th time".
    ///
    /// `content` identifies the state that was observed; `occurrence` tells a state apart from the same state
    /// earlier in the same call's life. Parts are length-prefixed, so no two lists of parts collide.
    pub fn compute(source: &Name, subject: &str, rule: &Name, content: &[u8], occurrence: u32) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in [source.as_str().as_bytes(), subject.as_bytes(), rule.as_str().as_bytes(), content] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.update(&occurrence.to_le_bytes());
        let digest = hash.finish();
        Self(format!("evt_{}", URL_SAFE_NO_PAD.encode(&digest.as_ref()[..16])).into())
    }

    /// The id of something that has not happened: of a notification that was only sent to see it arrive. Such ids
    /// begin with `evt_test_`.
    pub fn test(number: u64) -> Self {
        Self(format!("{TEST}{number:016x}").into())
    }

    /// Whether it is one of those.
    pub fn is_test(&self) -> bool {
        self.0.starts_with(TEST)
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for EventId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One rule's match of one change. Immutable.
#[derive(Clone, Serialize, Deserialize)]
pub struct Event {
    /// Same observation, same id.
    pub id: EventId,
    /// The source it came from.
    pub source: Name,
    /// The call it is about; `None` when it is about the source itself.
    pub call: Option<CallId>,
    /// The rule that matched.
    pub rule: Name,
    /// What happened.
    pub kinds: Kinds,
    /// The fields that differ.
    pub changes: Changes,
    /// When it was observed.
    pub at: Timestamp,
    /// The call as the API gave it, byte for byte; for an event about a source, an object that describes it; for
    /// one that stands for several, a [`Summary`](crate::summary::Summary).
    pub record: Arc<RawValue>,
    /// The batch it stands for, when it stands for several events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchKey>,
}

impl Event {
    /// The `type` of its payload: `call.ended`, `source.failing`, `summary`, …
    pub fn type_name(&self) -> String {
        if self.batch.is_some() {
            return "summary".to_owned();
        }
        match self.kinds.first() {
            Some(kind) if kind.is_of_call() => format!("call.{kind}"),
            Some(kind) => kind.to_string(),
            None => format!("call.{}", Kind::Updated),
        }
    }

    /// What must stay in order: one call of one source, or the source itself.
    pub fn lane(&self) -> (&Name, &str) {
        (&self.source, self.call.as_ref().map_or("", CallId::as_str))
    }
}

/// Events hold the whole call: only what identifies one is shown.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id)
            .field("source", &self.source)
            .field("call", &self.call)
            .field("rule", &self.rule)
            .field("kinds", &self.kinds)
            .finish_non_exhaustive()
    }
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    #[default]
    Info,
    /// Somebody should look.
    Warning,
    /// Somebody must look now.
    Critical,
}

impl Severity {
    /// Every severity.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// The config's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}
