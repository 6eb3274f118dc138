//! The difference between a call as it is remembered and as it is now. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    call::{Call, Status},
    content::ContentHash,
    kind::{Kind, Kinds},
    snapshot::{Snapshot, TRANSCRIPT},
};

/// The difference that one observation of a call shows: a set of kinds, and the fields that differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The kinds of change; never empty.
    pub kinds: Kinds,
    /// The top-level fields that differ, in the API's order; empty when the call was not known before, or when
    /// too little is remembered of it to tell (see [`Snapshot::shrunk`]).
    pub fields: Changes,
}

/// The fields that differ, by name.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Changes(pub Map<String, Value>);

impl Changes {
    /// Adds a field that went from one value to another. An absent field is noted as null.
    fn note(&mut self, name: &str, from: Option<&Value>, to: Option<&Value>) {
        let or_null = |value: Option<&Value>| value.cloned().unwrap_or(Value::Null);
        self.0.insert(name.to_owned(), serde_json::json!({ "from": or_null(from), "to": or_null(to) }));
    }

    /// Adds the transcript. Its text is not remembered, so neither side is noted.
    fn note_transcript(&mut self) {
        self.0.insert(TRANSCRIPT.to_owned(), Value::Object(Map::new()));
    }
}

/// Shows only the names of the fields: values can be summaries and phone numbers.
impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The kinds of change that a call has been through if it is first seen in this state.
pub fn kinds_of_first_sight(call: &Call) -> Kinds {
    let mut kinds = match call.status() {
        Status::Live => Kind::Started.into(),
        Status::Completed => Kind::Ended.into(),
        Status::Other(_) => Kinds::NONE,
    };
    if call.fields().get("callAnalysis").is_some_and(|analysis| !analysis.is_null()) {
        kinds = kinds | Kind::Analyzed.into();
    }
    if kinds.is_empty() { Kind::Updated.into() } else { kinds }
}

/// Compares a call with what is remembered of it. `None` when nothing has changed that a person could tell apart.
pub fn diff(before: Option<&Snapshot>, call: &Call) -> Option<Change> {
    let Some(before) = before else {
        return Some(Change { kinds: kinds_of_first_sight(call), fields: Changes::default() });
    };
    let is_shrunk = before.shrunk.is_some();
    let fields = if is_shrunk { Changes::default() } else { changed_fields(before, call) };
    let same = if is_shrunk { before.is_of(call) } else { fields.0.is_empty() };
    if same && !before.deleted {
        return None;
    }
    let mut kinds = Kinds::NONE;
    let was = before.status();
    match call.status() {
        Status::Completed if was != Status::Completed => kinds = kinds | Kind::Ended.into(),
        // A call that has started or ended before and is live again did not start again.
        Status::Live
            if was != Status::Live
                && before.completed_seen.is_none()
                && !before.kinds_seen.contains(Kind::Started) =>
        {
            kinds = kinds | Kind::Started.into();
        }
        _ => {}
    }
    let analysis = call.fields().get("callAnalysis");
    if analysis.is_some_and(|now| !now.is_null() && !before.has_analysis(now)) {
        kinds = kinds | Kind::Analyzed.into();
    }
    if kinds.is_empty() {
        kinds = Kind::Updated.into();
    }
    Some(Change { kinds, fields })
}

/// The change of a call that is gone. `None` if its deletion is known already.
pub fn deletion(before: &Snapshot) -> Option<Change> {
    (!before.deleted).then(|| Change { kinds: Kind::Deleted.into(), fields: Changes::default() })
}

fn changed_fields(before: &Snapshot, call: &Call) -> Changes {
    let mut changes = Changes::default();
    for (name, value) in call.fields() {
        if name == TRANSCRIPT {
            if before.transcript != Some(ContentHash::of(value)) {
                changes.note_transcript();
            }
        } else if before.fields.get(name) != Some(value) {
            changes.note(name, before.fields.get(name), Some(value));
        }
    }
    for (name, value) in &before.fields {
        if !call.fields().contains_key(name) {
            changes.note(name, Some(value), None);
        }
    }
    if before.transcript.is_some() && !call.fields().contains_key(TRANSCRIPT) {
        changes.note_transcript();
    }
    changes
}
