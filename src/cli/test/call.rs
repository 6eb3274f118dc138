//! A call of a test: the fields that its steps set, and for the others the values that a real call would have.

use serde_json::{Map, Value, json};

use crate::{call::CallId, time::Timestamp};

/// The number that callers call.
const CALLED: &str = "+33536490100";

/// The beginning of French mobile numbers reserved for fiction; four digits follow.
const CALLERS: &str = "+3363998";

/// How long a call has lasted that is over when it is first seen, in seconds.
const LASTED: u64 = 120;

/// A call as the steps so far have made it.
pub(super) struct Made {
    id: CallId,
    caller: String,
    created: Timestamp,
    ended: Option<Timestamp>,
    /// The fields that the steps so far have set.
    set: Map<String, Value>,
}

impl Made {
    /// The `number`th call of a test, from 1, first seen at `at`.
    pub(super) fn new(id: CallId, number: usize, at: Timestamp) -> Self {
        let caller = format!("{CALLERS}{number:04}");
        Self { id, caller, created: at, ended: None, set: Map::new() }
    }

    /// Applies a step at `at`: sets fields, and makes fields null.
    pub(super) fn apply(&mut self, set: &Map<String, Value>, clear: &[String], at: Timestamp) {
        let is_new = self.set.is_empty();
        merge(&mut self.set, set);
        for path in clear {
            let nulled = path.rsplit('.').fold(Value::Null, |value, name| json!({ name: value }));
            if let Value::Object(nulled) = nulled {
                merge(&mut self.set, &nulled);
            }
        }
        self.set.entry("status").or_insert_with(|| "completed".into());
        if self.set["status"] == "completed" && self.ended.is_none() {
            self.ended = Some(at);
            if is_new {
                self.created = at.before(std::time::Duration::from_secs(LASTED));
            }
        }
    }

    /// The record that the API would give at `at`.
    pub(super) fn record(&self, at: Timestamp) -> Value {
        let mut record = json!({
            "id": self.id.as_str(),
            "status": "live",
            "duration": 0,
            "summary": null,
            "evaluation": null,
            "endedReason": null,
            "callerNumber": self.caller,
            "calledNumber": CALLED,
            "isEngaged": false,
            "callAnalysis": null,
            "transcript": [],
            "createdAt": self.created.to_string(),
            "updatedAt": at.to_string(),
        });
        if let Some(ended) = self.ended {
            record["duration"] = ended.since(self.created).as_secs().into();
            record["summary"] = "The caller asked a question, and it was answered.".into();
            record["evaluation"] = "success".into();
            record["endedReason"] = "user_hangup".into();
            record["isEngaged"] = true.into();
            record["transcript"] = json!([
                { "role": "assistant", "content": "Hello, how can I help you?" },
                { "role": "user", "content": "I have a question." },
                { "role": "assistant", "content": "With pleasure." },
            ]);
        }
        if let Value::Object(fields) = &mut record {
            merge(fields, &self.set);
        }
        record
    }
}

/// Copies the fields of `from` into `into`. Objects are merged, everything else is replaced.
fn merge(into: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (name, value) in from {
        match (into.get_mut(name), value) {
            (Some(Value::Object(into)), Value::Object(from)) => merge(into, from),
            _ => {
                into.insert(name.clone(), value.clone());
            }
        }
    }
}
