//! Snapshots: calls as they are remembered between two looks.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    call::{Call, RecordHash, Status, time_field},
    content::{ContentHash, StateTag},
    kind::{Kind, Kinds},
    lens::{ANALYSIS, Lens, is_blank},
    name::Name,
    time::Timestamp,
};

/// The field that is hashed but never remembered: it is a conversation, and can be tens of kilobytes.
pub const TRANSCRIPT: &str = "transcript";

/// How many different states of a call are remembered, each by its tag.
const PAST: usize = 16;

/// The fields that are kept when a snapshot is shrunk.
const KEPT: [&str; 4] = ["id", "status", "createdAt", "updatedAt"];

/// A call as the store remembers it: its fields without the transcript, and what callwatch did about it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The call's fields as last seen, in the API's order, without its transcript. If `shrunk` is present, only a few.
    pub fields: Map<String, Value>,
    /// Present when most of the fields have been forgotten. A change is still noticed, and of which kind it is, but no
    /// longer which fields differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shrunk: Option<Shrunk>,
    /// Hash of the transcript as last seen, as far as it counts; `None` if there was none.
    pub transcript: Option<ContentHash>,
    /// The tag of the analysis that was there last, while there is none: if the same one comes back, that is no news.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_analysis: Option<StateTag>,
    /// Hash of the record's bytes as last seen.
    #[serde(with = "record_hash")]
    pub record: RecordHash,
    /// Kinds of change that the call has been through. A baselined call counts as having been through those that its state
    /// implies, so that a rule added later does not take them for news.
    pub kinds_seen: Kinds,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// When it was first seen to be over. The analysis window is counted from here.
    pub completed_seen: Option<Timestamp>,
    /// Whether it has been found to be deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// How many times the call has entered a state; 1 for its first.
    pub revision: u32,
    /// The latest different states, at most [`PAST`], each with its occurrence. The present state is the last.
    pub past: Vec<(StateTag, u32)>,
    /// The memory that each rule with a condition has of this call.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<Name, RuleMemory>,
    /// How many deliveries about this call each destination has been given: the last `sequence`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sequences: BTreeMap<Name, u64>,
}

/// The part of a shrunk snapshot that stands in for its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shrunk {
    /// The tag of the analysis, if there was one.
    pub analysis: Option<StateTag>,
}

/// The memory that a rule with a condition has of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleMemory {
    /// Fingerprint of the condition that `was_true` is the value of. If it differs from the rule's, the rule was edited.
    pub condition: u64,
    /// Whether the condition was true at the last change the rule looked at. For a rule with `for`, false while it
    /// still waits.
    pub was_true: bool,
    /// Whether the rule has ever fired for this call.
    pub fired: bool,
    /// For a rule with `for` that still waits: since when its condition has been true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

impl Snapshot {
    /// The snapshot of a call seen for the first time, having been through `kinds_seen`.
    pub fn first(call: &Call, kinds_seen: Kinds, now: Timestamp) -> Self {
        Self {
            fields: without_transcript(call),
            shrunk: None,
            transcript: transcript_hash(call),
            lost_analysis: None,
            record: call.record_hash(),
            kinds_seen,
            first_seen: now,
            completed_seen: call.is_over().then_some(now),
            deleted: false,
            revision: 1,
            past: vec![(call.content().tag(), 1)],
            rules: BTreeMap::new(),
            sequences: BTreeMap::new(),
        }
    }

    /// The snapshot after the call was seen again, having been through `kinds`.
    pub fn next(&self, call: &Call, kinds: Kinds, now: Timestamp) -> Self {
        let tag = call.content().tag();
        let mut past = self.past.clone();
        let mut revision = self.revision;
        if past.last().is_none_or(|(last, _)| *last != tag) || self.deleted {
            revision = revision.saturating_add(1);
            let earlier = past.iter().find(|(earlier, _)| *earlier == tag).map(|(_, occurrence)| *occurrence);
            let occurrence = match earlier {
                Some(occurrence) => occurrence.saturating_add(1),
                // It may be a state that was forgotten. No state can have occurred as often as the call has entered
                // states, so this number is free.
                None if past.len() == PAST => revision,
                None => 1,
            };
            past.retain(|(earlier, _)| *earlier != tag);
            past.push((tag, occurrence));
            let excess = past.len().saturating_sub(PAST);
            past.drain(..excess);
        }
        let over = call.is_over();
        let lens = call.lens();
        let lost_analysis = match lens.counted(ANALYSIS, call.fields().get(ANALYSIS)) {
            Some(_) => None,
            None => self.analysis(lens).or(self.lost_analysis),
        };
        Self {
            fields: without_transcript(call),
            shrunk: None,
            transcript: transcript_hash(call),
            lost_analysis,
            record: call.record_hash(),
            kinds_seen: self.kinds_seen | kinds,
            first_seen: self.first_seen,
            completed_seen: self.completed_seen.or(over.then_some(now)),
            deleted: false,
            revision,
            past,
            rules: self.rules.clone(),
            sequences: self.sequences.clone(),
        }
    }

    /// Forgets most of the fields of a settled call.
    pub fn shrink(&mut self) {
        if self.shrunk.is_none() {
            let analysis = self.fields.get(ANALYSIS).filter(|analysis| !is_blank(analysis));
            self.shrunk = Some(Shrunk { analysis: analysis.map(|analysis| ContentHash::of(analysis).tag()) });
            self.fields.retain(|name, _| KEPT.contains(&name.as_str()));
            self.transcript = None;
            self.lost_analysis = None;
            // No rule waits for a settled call.
            self.rules.values_mut().for_each(|memory| memory.since = None);
        }
    }

    /// Forgets everything but what it takes not to announce the call again: its id, its status, when it was, and the hash of the
    /// record's bytes. That hash says nothing without the record.
    pub fn forget(&mut self) {
        self.shrink();
        self.shrunk = Some(Shrunk { analysis: None });
        self.kinds_seen = Kinds::NONE;
        self.past.clear();
        self.rules.clear();
        self.sequences.clear();
    }

    /// Whether a person had the call forgotten: nothing is told of it any more. Every other call has a past.
    pub fn is_forgotten(&self) -> bool {
        self.shrunk.is_some() && self.past.is_empty()
    }

    /// Whether the call is over or deleted, and has not changed since `before`, so that no change is expected.
    pub fn is_settled(&self, before: Timestamp) -> bool {
        let ended = self.completed_seen.max(self.deleted.then_some(self.first_seen));
        ended.is_some_and(|ended| self.updated_at().map_or(ended, |updated| updated.max(ended)) < before)
    }

    /// Whether `call` is in the state that was last seen. Says nothing about whether it was deleted in between.
    pub fn is_of(&self, call: &Call) -> bool {
        self.past.last().is_some_and(|(tag, _)| *tag == call.content().tag())
    }

    /// Whether the call was in the state of `call` before the one that was last seen, as far as that is remembered.
    pub fn was_in(&self, call: &Call) -> bool {
        let tag = call.content().tag();
        self.past.split_last().is_some_and(|((last, _), earlier)| {
            *last != tag && earlier.iter().any(|(state, _)| *state == tag)
        })
    }

    /// The tag of what counts for `lens` of the analysis last seen; `None` if nothing does.
    fn analysis(&self, lens: &Lens) -> Option<StateTag> {
        match self.shrunk {
            Some(shrunk) => shrunk.analysis,
            None => Some(ContentHash::of(&*lens.counted(ANALYSIS, self.fields.get(ANALYSIS))?).tag()),
        }
    }

    /// Whether there is anything in the analysis last seen that counts for `lens`.
    pub fn has_any_analysis(&self, lens: &Lens) -> bool {
        self.analysis(lens).is_some()
    }

    /// Whether `analysis`, which is all of it that counts for `lens`, says the same as the one that was there last.
    pub fn knows_analysis(&self, analysis: &Value, lens: &Lens) -> bool {
        self.analysis(lens).or(self.lost_analysis) == Some(ContentHash::of(analysis).tag())
    }

    /// The record as last seen, for conditions. The transcript is not remembered, but if that of the call `now` has the same
    /// hash, it is filled in.
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

    /// Whether the call as last seen has an analysis.
    pub fn is_analyzed(&self) -> bool {
        match self.shrunk {
            Some(shrunk) => shrunk.analysis.is_some(),
            None => self.fields.get(ANALYSIS).is_some_and(|analysis| !is_blank(analysis)),
        }
    }

    /// The kinds of change that the state as last seen implies.
    pub fn kinds_now(&self) -> Kinds {
        let of_status = match self.status() {
            _ if self.deleted => Kind::Deleted.into(),
            Status::Live => Kind::Started.into(),
            _ if self.completed_seen.is_some() => Kind::Ended.into(),
            _ => Kind::Updated.into(),
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

    /// The number of the present stay in this state: 1 for the first, unless the state may be one that was forgotten,
    /// and higher for every later one. No two stays in a state have the same number, so that their events have
    /// different ids.
    pub fn occurrence(&self) -> u32 {
        self.past.last().map_or(1, |(_, occurrence)| *occurrence)
    }
}

/// The hash of what counts of the call's transcript.
fn transcript_hash(call: &Call) -> Option<ContentHash> {
    let transcript = call.lens().counted(TRANSCRIPT, call.fields().get(TRANSCRIPT))?;
    Some(ContentHash::of(&transcript))
}

fn without_transcript(call: &Call) -> Map<String, Value> {
    call.fields()
        .iter()
        .filter(|(name, _)| *name != TRANSCRIPT)
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

/// Shows only the shape: snapshots hold phone numbers and summaries.
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The call in its `number`th state.
    fn state(number: u32) -> Call {
        let record = json!({ "id": "a", "status": "live", "summary": number });
        Call::parse(&serde_json::value::to_raw_value(&record).unwrap()).unwrap()
    }

    fn first() -> Snapshot {
        Snapshot::first(&state(0), Kinds::NONE, Timestamp::default())
    }

    fn next(snapshot: &Snapshot, number: u32) -> Snapshot {
        snapshot.next(&state(number), Kinds::NONE, Timestamp::default())
    }

    #[test]
    fn each_stay_in_a_state_has_a_number_of_its_own() {
        let first = first();
        assert_eq!((first.revision, first.occurrence()), (1, 1));
        let same = next(&first, 0);
        assert_eq!((same.revision, same.occurrence(), same.past.len()), (1, 1, 1), "it has not left it");
        let other = next(&same, 1);
        assert_eq!((other.revision, other.occurrence()), (2, 1));
        let back = next(&other, 0);
        assert_eq!((back.revision, back.occurrence(), back.past.len()), (3, 2, 2));
        assert!(back.is_of(&state(0)) && !back.is_of(&state(1)));
        let deleted = Snapshot { deleted: true, ..back };
        let restored = next(&deleted, 0);
        assert_eq!((restored.revision, restored.occurrence(), restored.deleted), (4, 3, false));
    }

    #[test]
    fn a_state_that_was_forgotten_is_not_taken_for_its_first_stay() {
        let past = PAST as u32;
        let mut snapshot = first();
        for number in 1..past {
            snapshot = next(&snapshot, number);
            assert_eq!(snapshot.occurrence(), 1);
        }
        assert_eq!(snapshot.past.len(), PAST);
        // From here on a state that is not among the latest may have occurred before.
        snapshot = next(&snapshot, past);
        assert_eq!((snapshot.revision, snapshot.occurrence()), (past + 1, past + 1));
        assert_eq!(snapshot.past.len(), PAST);
        snapshot = next(&snapshot, 0);
        assert_eq!(snapshot.occurrence(), past + 2, "its first stay was 1");
        snapshot = next(&snapshot, 5);
        assert_eq!(snapshot.occurrence(), 2, "one that is remembered goes on where it was");
    }

    fn of(record: Value) -> Snapshot {
        let call = Call::parse(&serde_json::value::to_raw_value(&record).unwrap()).unwrap();
        Snapshot::first(&call, Kinds::NONE, at(10))
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1000 * seconds)
    }

    #[test]
    fn a_state_implies_the_kinds_of_change_that_lead_to_it() {
        use Kind::{Analyzed, Deleted, Ended, Started, Updated};
        let analysis = json!({ "sentiment": "negative" });
        for (status, implied) in [("live", Started), ("completed", Ended), ("ringing", Updated)] {
            for is_deleted in [false, true] {
                let implied = if is_deleted { Deleted } else { implied };
                let bare = Snapshot { deleted: is_deleted, ..of(json!({ "id": "a", "status": status })) };
                assert_eq!(bare.kinds_now(), implied.into(), "{status}");
                let mut analyzed = of(json!({ "id": "a", "status": status, "callAnalysis": analysis }));
                analyzed.deleted = is_deleted;
                let both = [implied, Analyzed].into_iter().collect();
                assert_eq!(analyzed.kinds_now(), both, "{status}");
                analyzed.shrink();
                assert_eq!(analyzed.kinds_now(), both, "{status}, most of it forgotten");
            }
        }
    }

    #[test]
    fn a_call_is_settled_some_time_after_it_was_over_and_last_updated() {
        let over = of(json!({ "id": "a", "status": "completed" }));
        assert!(over.is_settled(at(11)) && !over.is_settled(at(10)), "it was over at 10");
        let updated = of(json!({ "id": "a", "status": "completed", "updatedAt": at(20).to_string() }));
        assert!(updated.is_settled(at(21)) && !updated.is_settled(at(20)));
        let live = of(json!({ "id": "a", "status": "live" }));
        assert!(!live.is_settled(at(1000)));
        assert!(Snapshot { deleted: true, ..live }.is_settled(at(11)), "nothing more comes of it");
    }

    #[test]
    fn of_a_forgotten_call_only_the_shape_is_left() {
        let record = json!({ "id": "a", "status": "completed", "callerNumber": "+33612345678",
            "callAnalysis": { "sentiment": "negative" }, "transcript": [{ "content": "secret" }] });
        let mut snapshot = of(record);
        let told = format!("{snapshot:?}");
        assert!(told.contains("Completed") && !told.contains("336") && !told.contains("negative"), "{told}");
        assert!(!snapshot.is_forgotten());
        snapshot.forget();
        assert!(snapshot.is_forgotten());
        let kept = serde_json::to_value(&snapshot).unwrap();
        assert_eq!(kept["fields"], json!({ "id": "a", "status": "completed" }));
        assert_eq!((&kept["past"], &kept["transcript"]), (&json!([]), &Value::Null));
        assert_eq!(snapshot.kinds_now(), Kind::Ended.into(), "not even that there was an analysis");
    }
}
