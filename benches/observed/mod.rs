//! The commit of an observation.

use std::sync::Arc;

use callwatch::{
    call::CallId,
    change::Changes,
    event::{Event, EventId, Subject},
    kind::Kind,
    name::Name,
    store::{Commit, NewDelivery, NewEvent},
    time::Timestamp,
};
use serde_json::{json, value::RawValue};

/// A commit like that of a poll which found `calls` calls that ended at `now`. Each is told to every destination by a
/// webhook of about `bytes` bytes.
pub fn commit(from: usize, calls: usize, bytes: usize, destinations: &[Name], now: Timestamp) -> Commit {
    let source = Name::from("clinic");
    let mut commit = Commit::default();
    for number in from..from + calls {
        let call = CallId::from(format!("{number:024x}"));
        let summary = "x".repeat(bytes.saturating_sub(240));
        let record = json!({"id": call.as_str(), "status": "completed", "summary": summary});
        let record: Arc<RawValue> = serde_json::value::to_raw_value(&record).unwrap().into();
        let id = EventId::compute(&source, call.as_str(), &"call-completed".into(), b"content", 1);
        let event = Event {
            id,
            subject: Subject::Call { source: source.clone(), call },
            rule: "call-completed".into(),
            also: vec![],
            kinds: Kind::Ended.into(),
            changes: Changes::default(),
            at: now,
            record,
        };
        let delivery = |destination: &Name| NewDelivery {
            destination: destination.clone(),
            sequence: 1,
            created: now,
            hold: None,
        };
        commit.events.push(NewEvent { event, deliveries: destinations.iter().map(delivery).collect() });
    }
    commit
}
