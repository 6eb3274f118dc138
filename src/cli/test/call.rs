//! A call of a test: what its steps say of it, and for the rest what a real one would have.

use serde_json::{Map, Value, json};

use crate::{call::CallId, time::Timestamp};

/// The number that is called.
const CALLED: &str = "+33536490100";

/// The beginning of French numbers set aside for fiction; four digits follow.
const CALLERS: &str = "+3363998";

/// How long a call lasted that is over when it is first seen, in seconds.
const LASTED: u64 = 120;

/// A call as far as it was told.
pub(super) struct Made {
    id: CallId,
    caller: String,
    created: Timestamp,
    ended: Option<Timestamp>,
    /// What the steps said so far.
    said: Map<String, Value>,
}

impl Made {
    /// The `number`th call of a test, from 1, first spoken of at `at`.
    pub(super) fn new(id: CallId, number: usize, at: Timestamp) -> Self {
        let caller = format!("{CALLERS}{number:04}");
        Self { id, caller, created: at, ended: None, said: Map::new() }
    }

    /// What a step says of it.
    pub(super) fn say(&mut self, set: &Map<String, Value>, clear: &[String], at: Timestamp) {
        let is_new = self.said.is_empty();
        merge(&mut self.said, set);
        for path in clear {
            let nulled = path.rsplit('.').fold(Value::Null, |value, name| json!({ name: value }));
            if let Value::Object(nulled) = nulled {
                merge(&mut self.said, &nulled);
            }
        }
        self.said.entry("status").or_insert_with(|| "completed".into());
        if self.said["status"] == "completed" && self.ended.is_none() {
            self.ended = Some(at);
            if is_new {
                self.created = at.before(std::time::Duration::from_secs(LASTED));
            }
        }
    }

    /// The API's record at `at`.
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
            merge(fields, &self.said);
        }
        record
    }
}

/// Puts `from` over `into`, table by table.
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
