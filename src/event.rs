//! Events: a rule matched a change, and people and systems are told of it.

use std::{borrow::Cow, fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

use crate::{
    batch::BatchKey,
    call::CallId,
    change::Changes,
    json,
    kind::{Kind, Kinds},
    name::Name,
    privacy::mask_phone,
    time::Timestamp,
};

/// `evt_` and 128 bits of SHA-256 over what happened, so that the same observation always has the same id.
/// It is the `webhook-id` and the `Message-ID` of every repeat.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(Arc<str>);

/// The prefix of the ids of test notifications.
const TEST: &str = "evt_test_";

impl EventId {
    /// The id of "this rule, this call, this content, for the n-th time".
    ///
    /// `content` identifies the state that was observed; `occurrence` tells a state apart from the same state
    /// earlier in the same call's life. Parts are length-prefixed, so no two lists of parts collide.
    pub fn compute(source: &Name, subject: &str, rule: &Name, content: &[u8], occurrence: u32) -> Self {
        let parts = [source.as_str().as_bytes(), subject.as_bytes(), rule.as_str().as_bytes(), content];
        Self::hash(parts, occurrence)
    }

    /// The id of one event that stands for several, from their ids in any order. Each of those depends on its rule and
    /// on what was observed, so the same observation always yields the same id.
    pub fn of_several<'a>(ids: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut ids: Vec<_> = ids.into_iter().map(|id| id.as_str().as_bytes()).collect();
        ids.sort_unstable();
        // No source has an empty name, so this is never the id of a single rule's event.
        Self::hash([&b""[..], b"several"].into_iter().chain(ids), 1)
    }

    fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>, occurrence: u32) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in parts {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.update(&occurrence.to_le_bytes());
        let digest = hash.finish();
        Self(format!("evt_{}", URL_SAFE_NO_PAD.encode(&digest.as_ref()[..16])).into())
    }

    /// The id of a notification that was only sent to see it arrive. Such ids begin with `evt_test_`.
    pub fn test(number: u64) -> Self {
        Self(format!("{TEST}{number:016x}").into())
    }

    /// Whether it is the id of such a notification.
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

/// One rule's match of one change, or that of several rules when a destination is told of them in one message. Immutable.
#[derive(Clone, Serialize, Deserialize)]
pub struct Event {
    /// The same observation always has the same id.
    pub id: EventId,
    /// The thing it is about.
    pub subject: Subject,
    /// The rule that matched; of several, the one that matters most.
    pub rule: Name,
    /// The other rules that matched the same change, in the order of the config, when this event tells them as well. Then
    /// each of the rules also has an event of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Name>,
    /// The kinds of change that the rule matched.
    pub kinds: Kinds,
    /// The fields that differ.
    pub changes: Changes,
    /// When the change was observed.
    pub at: Timestamp,
    /// About a call: the call as the API gave it, byte for byte. About a batch: a
    /// [`Summary`](crate::summary::Summary). Otherwise an object that describes what happened.
    pub record: Arc<RawValue>,
}

/// The thing an event is about. Events about the same thing reach a destination in order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A call of a source.
    Call {
        /// The source.
        source: Name,
        /// The API's id of the call.
        call: CallId,
    },
    /// A source itself: it is failing, silent, or has recovered, or the condition of a rule cannot be evaluated for its
    /// calls.
    Source(Name),
    /// A destination itself: it is failing, has recovered, or deliveries to it were given up.
    Destination(Name),
    /// The events that waited in a batch of the destination, told as one.
    Batch(BatchKey),
    /// The config.
    Config,
}

impl Subject {
    /// The source it belongs to; `None` when it belongs to none, or to several.
    pub fn source(&self) -> Option<&Name> {
        match self {
            Self::Call { source, .. } | Self::Source(source) => Some(source),
            Self::Destination(_) | Self::Batch(_) | Self::Config => None,
        }
    }

    /// The destination, when it is about one. An event about a destination is never delivered to that destination.
    pub fn destination(&self) -> Option<&Name> {
        match self {
            Self::Destination(destination) => Some(destination),
            _ => None,
        }
    }

    /// The call, when it is about one.
    pub fn call(&self) -> Option<&CallId> {
        match self {
            Self::Call { call, .. } => Some(call),
            _ => None,
        }
    }

    /// The batch, when it is about one.
    pub fn batch(&self) -> Option<&BatchKey> {
        match self {
            Self::Batch(batch) => Some(batch),
            _ => None,
        }
    }
}

impl Event {
    /// The rules that it tells, the one that matters most first.
    pub fn rules(&self) -> impl Iterator<Item = &Name> {
        std::iter::once(&self.rule).chain(&self.also)
    }

    /// About how much memory it takes, in bytes.
    pub(crate) fn weight(&self) -> usize {
        fn of(value: &Value) -> usize {
            size_of::<Value>()
                + match value {
                    Value::String(text) => text.len(),
                    Value::Array(items) => items.iter().map(of).sum(),
                    Value::Object(fields) => of_all(fields),
                    _ => 0,
                }
        }
        fn of_all(fields: &Map<String, Value>) -> usize {
            fields.iter().map(|(name, value)| 2 * size_of::<String>() + name.len() + of(value)).sum()
        }
        self.record.get().len() + of_all(&self.changes.0)
    }

    /// When the call was updated, as the API says; `None` when its record does not say it.
    pub(crate) fn updated_at(&self) -> Option<Timestamp> {
        let [updated] = json::pick(self.record.get(), ["updatedAt"])?;
        Timestamp::of_json(&serde_json::from_str(updated?).ok()?)
    }

    /// The caller's number, masked for logs; empty when the event is not about a call, or the number is withheld.
    pub fn masked_caller(&self) -> String {
        #[derive(Deserialize)]
        struct Caller<'a> {
            #[serde(rename = "callerNumber", borrow, default)]
            number: Option<&'a RawValue>,
        }
        if self.subject.call().is_none() {
            return String::new();
        }
        let number =
            serde_json::from_str::<Caller<'_>>(self.record.get()).ok().and_then(|caller| caller.number);
        // Some projects have the number as a number in JSON.
        let number = number.map(|number| (number.get(), serde_json::from_str::<Cow<'_, str>>(number.get())));
        match number {
            Some((_, Ok(number))) => mask_phone(&number),
            Some((json, Err(_))) if json.starts_with(|c: char| c.is_ascii_digit()) => mask_phone(json),
            _ => String::new(),
        }
    }

    /// The `type` of its payload: `call.ended`, `source.failing`, `summary`, …
    pub fn type_name(&self) -> String {
        if self.subject.batch().is_some() {
            return "summary".to_owned();
        }
        match self.kinds.first() {
            Some(kind) if kind.is_of_call() => format!("call.{kind}"),
            Some(kind) => kind.to_string(),
            None => format!("call.{}", Kind::Updated),
        }
    }
}

/// Events hold the whole call, which must not reach a log, so only what identifies one is shown.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id)
            .field("subject", &self.subject)
            .field("rule", &self.rule)
            .field("also", &self.also)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_in_place_of_several_has_an_id_that_follows_from_theirs_in_any_order() {
        let id = |rule: &str| EventId::compute(&"clinic".into(), "c1", &rule.into(), b"once", 1);
        let (a, b, c) = (id("a"), id("b"), id("c"));
        let both = EventId::of_several([&a, &b]);
        assert_eq!(both, EventId::of_several([&b, &a]));
        assert!(both.as_str().starts_with("evt_") && both.as_str().len() == a.as_str().len());
        for other in [EventId::of_several([&a, &c]), EventId::of_several([&a, &b, &c]), a, b] {
            assert_ne!(both, other);
        }
    }
}
