//! What a condition can see, as CEL values.

use std::{collections::HashMap, sync::Arc};

use cel::{Context, Value, objects::Key};
use chrono::DateTime;
use serde_json::{Map, Value as Json};

use super::empty_context;
use crate::{kind::Kinds, name::Name, time::Timestamp};

/// What a condition can see of one change: `call`, `before`, `change`, `now`, `source`.
#[derive(Clone)]
pub struct Facts {
    variables: [(&'static str, Value); VARIABLES.len()],
}

/// The variables a condition can name.
pub(super) const VARIABLES: [&str; 5] = ["call", "before", "change", "now", "source"];

impl Facts {
    /// Makes the record `call`, the record `before` (or null), the kinds of change, the source and the time
    /// visible. Converts both records once, for as many conditions as there are.
    pub fn new(
        call: &Map<String, Json>,
        before: Option<&Map<String, Json>>,
        kinds: Kinds,
        source: &Name,
        now: Timestamp,
    ) -> Self {
        let kinds = kinds.iter().map(|kind| Value::from(kind.as_str())).collect::<Vec<_>>();
        let change = HashMap::from([(Key::from("kinds"), Value::List(Arc::new(kinds)))]);
        let now = DateTime::from_timestamp_millis(now.as_millis())
            .map_or(Value::Null, |time| Value::Timestamp(time.fixed_offset()));
        Self {
            variables: [
                ("call", record(call)),
                ("before", before.map_or(Value::Null, record)),
                ("change", Value::from(change)),
                ("now", now),
                ("source", Value::from(source.as_str())),
            ],
        }
    }

    pub(super) fn context(&self) -> Context<'static, 'static> {
        let mut context = empty_context();
        for (name, value) in &self.variables {
            context.add_variable_from_value(*name, value.clone());
        }
        context
    }
}

fn record(fields: &Map<String, Json>) -> Value {
    Value::from(
        fields
            .iter()
            .map(|(name, value)| (Key::from(name.as_str()), convert(value)))
            .collect::<HashMap<_, _>>(),
    )
}

/// JSON to CEL. Whole numbers become `int`: CEL's own conversion makes positive ones `uint`, and then
/// `call.duration / 60` is an error.
fn convert(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(whole), _) => Value::Int(whole),
            (None, Some(real)) => Value::Float(real),
            (None, None) => Value::Null,
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::List(Arc::new(items.iter().map(convert).collect())),
        Json::Object(fields) => record(fields),
    }
}
