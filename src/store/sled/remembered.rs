//! A snapshot as it stands in the tree. In front, in compact form, are the fields that every start reads of every call;
//! behind them the whole snapshot as JSON or, when it is shrunk, the remaining fields in compact form.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    fault::Fault,
    value::{self, from_compact, to_compact},
};
use crate::{
    call::{CallId, RecordHash, Status},
    content::StateTag,
    kind::Kinds,
    name::Name,
    snapshot::{RuleMemory, Shrunk, Snapshot},
    store::KnownCall,
    time::Timestamp,
};

/// A snapshot as it is stored.
pub(super) struct Stored {
    pub(super) head: Vec<u8>,
    pub(super) body: Vec<u8>,
}

impl Stored {
    pub(super) fn of(id: &CallId, snapshot: &Snapshot) -> Result<Self, Fault> {
        let front = Front::of(&KnownCall::of(id.clone(), snapshot), snapshot.shrunk.is_some());
        let body = match snapshot.shrunk {
            None => value::to_json(snapshot)?,
            Some(shrunk) => to_compact(&Rest {
                kinds_seen: snapshot.kinds_seen,
                first_seen: snapshot.first_seen,
                revision: snapshot.revision,
                past: snapshot.past.clone(),
                analysis: shrunk.analysis,
                rules: snapshot
                    .rules
                    .iter()
                    .map(|(rule, memory)| (rule.clone(), to_compact_memory(*memory)))
                    .collect(),
                sequences: snapshot.sequences.clone(),
            })?,
        };
        Ok(Self { head: to_compact(&front)?, body })
    }

    pub(super) fn snapshot(&self, id: &CallId) -> Result<Snapshot, Fault> {
        let front: Front = from_compact(&self.head)?;
        if !front.shrunk {
            return value::from_json(&self.body);
        }
        let rest: Rest = from_compact(&self.body)?;
        let known = front.known(id.clone());
        let time = |name: &str, time: Option<Timestamp>| Some((name.to_owned(), time?.to_string().into()));
        let fields: [Option<(String, Value)>; 4] = [
            Some(("id".to_owned(), id.as_str().into())),
            Some(("status".to_owned(), known.status.as_str().into())),
            time("createdAt", known.created_at),
            time("updatedAt", known.updated_at),
        ];
        Ok(Snapshot {
            fields: Map::from_iter(fields.into_iter().flatten()),
            shrunk: Some(Shrunk { analysis: rest.analysis }),
            transcript: None,
            lost_analysis: None,
            record: known.record,
            kinds_seen: rest.kinds_seen,
            first_seen: rest.first_seen,
            completed_seen: known.completed_seen,
            deleted: known.deleted,
            revision: rest.revision,
            past: rest.past,
            rules: rest.rules.into_iter().map(|(rule, memory)| (rule, to_memory(memory))).collect(),
            sequences: rest.sequences,
        })
    }
}

/// Reads the front of a snapshot: the fields that are read of every call, and whether the rest is shrunk.
pub(super) fn known(id: CallId, head: &[u8]) -> Result<(KnownCall, bool), Fault> {
    let front: Front = from_compact(head)?;
    let shrunk = front.shrunk;
    Ok((front.known(id), shrunk))
}

fn to_compact_memory(memory: RuleMemory) -> (u64, bool, bool) {
    (memory.condition, memory.was_true, memory.fired)
}

fn to_memory((condition, was_true, fired): (u64, bool, bool)) -> RuleMemory {
    RuleMemory { condition, was_true, fired, since: None }
}

/// A [`KnownCall`] without its id.
#[derive(Serialize, Deserialize)]
struct Front {
    record: [u8; 16],
    phase: Phase,
    analyzed: bool,
    deleted: bool,
    shrunk: bool,
    completed_seen: Option<Timestamp>,
    created_at: Option<Timestamp>,
    updated_at: Option<Timestamp>,
}

/// A [`Status`] in as little as a byte.
#[derive(Serialize, Deserialize)]
enum Phase {
    Live,
    Completed,
    Other(String),
}

/// The fields of a shrunk snapshot that are not in its front.
#[derive(Serialize, Deserialize)]
struct Rest {
    kinds_seen: Kinds,
    first_seen: Timestamp,
    revision: u32,
    past: Vec<(StateTag, u32)>,
    analysis: Option<StateTag>,
    /// For each rule its condition, whether that was true, and whether the rule has fired. No rule waits for a settled
    /// call, so its waits are not kept.
    rules: BTreeMap<Name, (u64, bool, bool)>,
    sequences: BTreeMap<Name, u64>,
}

impl Front {
    fn of(known: &KnownCall, shrunk: bool) -> Self {
        Self {
            record: known.record.as_u128().to_be_bytes(),
            phase: match &known.status {
                Status::Live => Phase::Live,
                Status::Completed => Phase::Completed,
                Status::Other(text) => Phase::Other(text.clone()),
            },
            analyzed: known.analyzed,
            deleted: known.deleted,
            shrunk,
            completed_seen: known.completed_seen,
            created_at: known.created_at,
            updated_at: known.updated_at,
        }
    }

    fn known(self, id: CallId) -> KnownCall {
        KnownCall {
            id,
            record: RecordHash::from_u128(u128::from_be_bytes(self.record)),
            status: match self.phase {
                Phase::Live => Status::Live,
                Phase::Completed => Status::Completed,
                Phase::Other(text) => Status::Other(text),
            },
            analyzed: self.analyzed,
            completed_seen: self.completed_seen,
            created_at: self.created_at,
            updated_at: self.updated_at,
            deleted: self.deleted,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::call::Call;

    #[test]
    fn a_shrunk_snapshot_comes_back_from_tens_of_bytes() {
        let record = json!({
            "id": "6789abcdef0123456789abcd", "status": "completed", "summary": "x".repeat(1_000),
            "callAnalysis": { "sentiment": "positive" }, "createdAt": "2025-12-15T14:30:00.000Z",
            "updatedAt": "2025-12-15T14:32:25.000Z", "transcript": [{ "role": "user", "content": "Hello." }],
        });
        let call = Call::parse(&serde_json::value::to_raw_value(&record).unwrap()).unwrap();
        let kinds = crate::change::kinds_of_first_sight(&call);
        let mut snapshot = Snapshot::first(&call, kinds, Timestamp::from_millis(1_765_809_146_000));
        snapshot.shrink();
        let stored = Stored::of(call.id(), &snapshot).unwrap();
        assert!(stored.snapshot(call.id()).unwrap() == snapshot);
        let size = stored.head.len() + stored.body.len();
        assert!(size < 100, "{size}");
    }

    #[test]
    fn a_shrunk_snapshot_keeps_what_rules_and_destinations_made_of_it() {
        for (status, deleted) in [("live", true), ("completed", false), ("wrapping_up", true)] {
            let record = json!({ "id": "a", "status": status });
            let call = Call::parse(&serde_json::value::to_raw_value(&record).unwrap()).unwrap();
            let mut snapshot = Snapshot::first(&call, Kinds::NONE, Timestamp::from_millis(7));
            let memory = RuleMemory { condition: u64::MAX, was_true: true, fired: true, since: None };
            snapshot.rules.insert("booked".into(), memory);
            snapshot.sequences.insert("crm".into(), 12);
            snapshot.deleted = deleted;
            snapshot.shrink();
            let stored = Stored::of(call.id(), &snapshot).unwrap();
            assert!(stored.snapshot(call.id()).unwrap() == snapshot);
            assert_eq!(
                known("a".into(), &stored.head).unwrap(),
                (KnownCall::of("a".into(), &snapshot), true)
            );
        }
    }
}
