//! What is remembered of a call between two looks at it.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    call::{Call, RecordHash, Status, time_field},
    content::{ContentHash, StateTag},
    kind::{Kind, Kinds},
    name::Name,
    time::Timestamp,
};

/// The field that is never remembered, only hashed: it can be tens of kilobytes, and it is a conversation.
pub const TRANSCRIPT: &str = "transcript";

/// The field that makes a call analyzed.
const ANALYSIS: &str = "callAnalysis";

/// How many different states of a call are remembered, by their content hash.
const PAST: usize = 16;

/// The fields that are kept when a snapshot is shrunk.
const KEPT: [&str; 4] = ["id", "status", "createdAt", "updatedAt"];

/// What the store remembers of a call: its fields without the transcript, and what callwatch did about it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The call's fields as last seen, in the API's order, without its transcript; only a few of them when
    /// `shrunk` says so.
    pub fields: Map<String, Value>,
    /// Present when most of the fields have been forgotten: that the call changes is still noticed, and what kind
    /// of change it is, but no longer which fields differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shrunk: Option<Shrunk>,
    /// Hash of the transcript as last seen; `None` when there was no such field.
    pub transcript: Option<ContentHash>,
    /// Hash of the record's bytes as last seen.
    #[serde(with = "record_hash")]
    pub record: RecordHash,
    /// Kinds of change this call has been through. A baselined call counts as having been through those its
    /// state implies, so that a rule added later does not take them for news.
    pub kinds_seen: Kinds,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// When it was first seen completed: the analysis window is counted from here.
    pub completed_seen: Option<Timestamp>,
    /// Whether it was found to be deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// How often the call has entered another state.
    pub revision: u32,
    /// The latest [`PAST`] different states, each with its occurrence; the present one is the last.
    pub past: Vec<(StateTag, u32)>,
    /// What each rule made of this call so far.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<Name, RuleMemory>,
    /// How many deliveries of this call each destination has been given: the last `sequence`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sequences: BTreeMap<Name, u64>,
}

/// What a shrunk snapshot remembers in place of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shrunk {
    /// The analysis, if there was one.
    pub analysis: Option<StateTag>,
}

/// What a rule with a condition remembers of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleMemory {
    /// Fingerprint of the rule's condition when `was_true` was found; another one means the rule was edited.
    pub condition: u64,
    /// Whether the condition was true at the last change the rule looked at.
    pub was_true: bool,
    /// Whether the rule has ever fired for this call.
    pub fired: bool,
    /// Of a rule with `for`: since when the condition has been true, until it fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

impl Snapshot {
    /// What is remembered of a call seen for the first time.
    pub fn first(call: &Call, kinds_seen: Kinds, now: Timestamp) -> Self {
        Self {
            fields: without_transcript(call),
            shrunk: None,
            transcript: call.fields().get(TRANSCRIPT).map(ContentHash::of),
            record: call.record_hash(),
            kinds_seen,
            first_seen: now,
            completed_seen: (*call.status() == Status::Completed).then_some(now),
            deleted: false,
            revision: 1,
            past: vec![(call.content().tag(), 1)],
            rules: BTreeMap::new(),
            sequences: BTreeMap::new(),
        }
    }

    /// What is remembered after the call was seen again, having been through `kinds`.
    pub fn next(&self, call: &Call, kinds: Kinds, now: Timestamp) -> Self {
        let tag = call.content().tag();
        let mut past = self.past.clone();
        let mut revision = self.revision;
        if past.last().is_none_or(|(last, _)| *last != tag) || self.deleted {
            revision = revision.saturating_add(1);
            let earlier = past.iter().find(|(earlier, _)| *earlier == tag).map(|(_, occurrence)| *occurrence);
            let occurrence = match earlier {
                Some(occurrence) => occurrence.saturating_add(1),
                // It may be one of the states that were forgotten; none of those occurred as often as this.
                None if past.len() == PAST => revision,
                None => 1,
            };
            past.retain(|(earlier, _)| *earlier != tag);
            past.push((tag, occurrence));
            let excess = past.len().saturating_sub(PAST);
            past.drain(..excess);
        }
        let completed = *call.status() == Status::Completed;
        Self {
            fields: without_transcript(call),
            shrunk: None,
            transcript: call.fields().get(TRANSCRIPT).map(ContentHash::of),
            record: call.record_hash(),
            kinds_seen: self.kinds_seen | kinds,
            first_seen: self.first_seen,
            completed_seen: self.completed_seen.or(completed.then_some(now)),
            deleted: false,
            revision,
            past,
            rules: self.rules.clone(),
            sequences: self.sequences.clone(),
        }
    }

    /// Forgets most of the fields.
    pub fn shrink(&mut self) {
        if self.shrunk.is_none() {
            let analysis = self.fields.get(ANALYSIS).filter(|analysis| !analysis.is_null());
            self.shrunk = Some(Shrunk { analysis: analysis.map(|analysis| ContentHash::of(analysis).tag()) });
            self.fields.retain(|name, _| KEPT.contains(&name.as_str()));
            self.transcript = None;
            // A call that has settled waits for nothing.
            self.rules.values_mut().for_each(|memory| memory.since = None);
        }
    }

    /// Whether nothing has been heard of the call since `before`, and nothing is expected.
    pub fn is_settled(&self, before: Timestamp) -> bool {
        let ended = self.completed_seen.max(self.deleted.then_some(self.first_seen));
        ended.is_some_and(|ended| self.updated_at().map_or(ended, |updated| updated.max(ended)) < before)
    }

    /// Whether the call, if it was not deleted, is in the state it was last seen in.
    pub fn is_of(&self, call: &Call) -> bool {
        self.past.last().is_some_and(|(tag, _)| *tag == call.content().tag())
    }

    /// Whether this is the analysis as last seen.
    pub fn has_analysis(&self, analysis: &Value) -> bool {
        match self.shrunk {
            Some(shrunk) => shrunk.analysis == Some(ContentHash::of(analysis).tag()),
            None => self.fields.get(ANALYSIS) == Some(analysis),
        }
    }

    /// The record as last seen, for conditions. The transcript is not remembered; when the one of the call `now`
    /// is the same, it stands in.
    pub fn record(&self, now: &Map<String, Value>) -> Map<String, Value> {
        let mut fields = self.fields.clone();
        if let Some(transcript) = now.get(TRANSCRIPT)
            && self.transcript == Some(ContentHash::of(transcript))
        {
            fields.insert(TRANSCRIPT.to_owned(), transcript.clone());
        }
        fields
    }

    /// The status as last seen.
    pub fn status(&self) -> Status {
        self.fields.get("status").and_then(Value::as_str).unwrap_or_default().into()
    }

    /// Whether an analysis is there.
    pub fn is_analyzed(&self) -> bool {
        match self.shrunk {
            Some(shrunk) => shrunk.analysis.is_some(),
            None => self.fields.get(ANALYSIS).is_some_and(|analysis| !analysis.is_null()),
        }
    }

    /// The kinds of change that its state amounts to.
    pub fn kinds_now(&self) -> Kinds {
        let of_status = match self.status() {
            _ if self.deleted => Kind::Deleted.into(),
            Status::Live => Kind::Started.into(),
            Status::Completed => Kind::Ended.into(),
            Status::Other(_) => Kind::Updated.into(),
        };
        if self.is_analyzed() { of_status | Kind::Analyzed.into() } else { of_status }
    }

    /// `createdAt`, when it is there and a time.
    pub fn created_at(&self) -> Option<Timestamp> {
        time_field(&self.fields, "createdAt")
    }

    /// `updatedAt`, when it is there and a time.
    pub fn updated_at(&self) -> Option<Timestamp> {
        time_field(&self.fields, "updatedAt")
    }

    /// Tells this stay in the present state from earlier ones: 1, unless the call went back to a state it had
    /// been in. Never the same twice for one state.
    pub fn occurrence(&self) -> u32 {
        self.past.last().map_or(1, |(_, occurrence)| *occurrence)
    }
}

fn without_transcript(call: &Call) -> Map<String, Value> {
    call.fields()
        .iter()
        .filter(|(name, _)| *name != TRANSCRIPT)
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

/// Snapshots hold phone numbers and summaries: only the shape is shown.
impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("status", &self.status())
            .field("record", &self.record)
            .field("kinds_seen", &self.kinds_seen)
            .finish_non_exhaustive()
    }
}

/// A record hash as hexadecimal text.
mod record_hash {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::call::RecordHash;

    pub fn serialize<S: Serializer>(hash: &RecordHash, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:032x}", hash.as_u128()))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RecordHash, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(RecordHash::from_u128).map_err(serde::de::Error::custom)
    }
}
