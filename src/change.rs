//! The difference between a call as it is remembered and as it is now. Pure.

use std::{borrow::Cow, fmt, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    call::{Call, Status},
    content::ContentHash,
    kind::{Kind, Kinds},
    lens::ANALYSIS,
    snapshot::{Snapshot, TRANSCRIPT},
    time::Timestamp,
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

/// The most paths that [`Changes::paths`] returns.
const MOST_PATHS: usize = 64;

impl Changes {
    /// The paths of the fields that differ, as precisely as objects within objects allow.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = vec![];
        for (name, sides) in &self.0 {
            let side = |side: &str| sides.get(side).unwrap_or(&Value::Null);
            add_paths(name, side("from"), side("to"), 4, &mut paths);
        }
        paths
    }
}

/// Adds the paths at or below `path` at which the two values differ, looking at most `levels` levels deeper.
fn add_paths(path: &str, from: &Value, to: &Value, levels: u8, paths: &mut Vec<String>) {
    match (from, to) {
        _ if paths.len() >= MOST_PATHS => {}
        (Value::Object(from), Value::Object(to)) if levels > 0 => {
            let added = to.keys().filter(|name| !from.contains_key(*name));
            for name in from.keys().chain(added) {
                let [from, to] = [from, to].map(|fields| fields.get(name).unwrap_or(&Value::Null));
                if ContentHash::of(from) != ContentHash::of(to) {
                    add_paths(&format!("{path}.{name}"), from, to, levels - 1, paths);
                }
            }
        }
        _ => paths.push(path.to_owned()),
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
        _ if call.is_over() => Kind::Ended.into(),
        _ => Kinds::NONE,
    };
    if analysis(call).is_some() {
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
        _ if call.is_over() && call.lens().is_over(was.as_str()) => {}
        _ if call.is_over() => kinds = kinds | Kind::Ended.into(),
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
    if analysis(call).is_some_and(|now| !before.knows_analysis(&now, call.lens())) {
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

/// How far in the future, by the API's clock, a remembered `updatedAt` may be. One farther ahead was a mistake, so an
/// earlier `updatedAt` does not make a record stale.
const AHEAD: Duration = Duration::from_secs(60);

/// Why a state of a call is taken for an older one than the one that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    /// A lagging cache or replica may have answered, or a clock was set back. The state is believed once the API shows
    /// no other for a while.
    Older,
    /// A call that was over goes on again, or its analysis is gone, without a later `updatedAt`. A call that is really
    /// reopened has a later one. This state is never believed, or the call would end, or be analyzed, again and again.
    Undone,
}

/// Why `call` is an older state than the remembered one; `None` when it is not. It is older when its `updatedAt` is
/// earlier, and when the call has been in exactly this state before and left it. A deleted call that is back is never
/// stale.
pub fn stale(before: &Snapshot, call: &Call, now: Timestamp) -> Option<Stale> {
    if before.deleted {
        return None;
    }
    let (known, updated) = (before.updated_at(), call.updated_at());
    let both = known.zip(updated);
    let is_return = before.was_in(call);
    // When `updatedAt` is among the compared fields, a state that returns has the `updatedAt` it had before, so being
    // later than the present state does not make it new.
    let counts = call.lens().counted("updatedAt", call.fields().get("updatedAt")).is_some();
    if both.is_some_and(|(known, updated)| updated > known) && !(is_return && counts) {
        return None;
    }
    let lens = call.lens();
    let goes_on = lens.is_over(before.status().as_str()) && !call.is_over();
    if goes_on || before.has_any_analysis(lens) && analysis(call).is_none() {
        return Some(Stale::Undone);
    }
    let is_earlier = both.is_some_and(|(known, updated)| updated < known && known <= now.after(AHEAD));
    (is_return || is_earlier).then_some(Stale::Older)
}

/// The analysis, as far as it counts; `None` when there is none.
fn analysis(call: &Call) -> Option<Cow<'_, Value>> {
    call.lens().counted(ANALYSIS, call.fields().get(ANALYSIS))
}

/// Compares what counts of each field by its hash, as whole records are compared, so that the two never disagree.
fn changed_fields(before: &Snapshot, call: &Call) -> Changes {
    let mut changes = Changes::default();
    let lens = call.lens();
    let hash = |name: &str, value: Option<&Value>| {
        lens.counted(name, value).map(|counted| ContentHash::of(&counted))
    };
    for (name, value) in call.fields() {
        let now = hash(name, Some(value));
        if name == TRANSCRIPT {
            if before.transcript != now {
                changes.note_transcript();
            }
        } else if hash(name, before.fields.get(name)) != now {
            changes.note(name, before.fields.get(name), Some(value));
        }
    }
    for (name, value) in &before.fields {
        if !call.fields().contains_key(name) && hash(name, Some(value)).is_some() {
            changes.note(name, Some(value), None);
        }
    }
    if before.transcript.is_some() && !call.fields().contains_key(TRANSCRIPT) {
        changes.note_transcript();
    }
    changes
}
