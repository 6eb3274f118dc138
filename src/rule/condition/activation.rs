//! The variables of conditions, as CEL values.

use std::collections::HashMap;

use cel::{
    common::{
        types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelTimestamp},
        value::{CowVal, Val},
    },
    context::VariableResolver,
};
use chrono::DateTime;
use serde_json::{Map, Value as Json};

use super::functions::{Pattern, pattern_of};
use crate::{call::Status, kind::Kinds, name::Name, time::Timestamp};

/// The values of the variables `call`, `before`, `change`, `now` and `source` for one change: CEL calls this an
/// activation.
#[derive(Clone)]
pub struct Activation {
    /// In the order of [`VARIABLES`].
    values: [Box<dyn Val>; VARIABLES.len()],
}

/// The variables a condition can name.
pub(super) const VARIABLES: [&str; 5] = ["call", "before", "change", "now", "source"];

impl Activation {
    /// Converts the record `call`, the record `before` (or null), the kinds of change, the source and the time to CEL
    /// values, once for all conditions.
    pub fn new(
        call: &Map<String, Json>,
        before: Option<&Map<String, Json>>,
        kinds: Kinds,
        source: &Name,
        now: Timestamp,
    ) -> Self {
        let kinds: Vec<Box<dyn Val>> = kinds.iter().map(|kind| text(kind.as_str())).collect();
        let kinds: Box<dyn Val> = Box::new(CelList::from(kinds));
        let now = DateTime::from_timestamp_millis(now.as_millis());
        Self {
            values: [
                record(call),
                before.map_or_else(null, record),
                Box::new(CelMap::from(HashMap::from([(key("kinds"), kinds)]))),
                now.map_or_else(null, |time| Box::new(CelTimestamp::from(time.fixed_offset()))),
                text(source.as_str()),
            ],
        }
    }
}

/// Resolves the variables of one condition while it is evaluated, without copying values.
pub(super) struct Scope<'a> {
    pub activation: &'a Activation,
    pub patterns: &'a [Pattern],
}

impl VariableResolver for Scope<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        if let Some(at) = VARIABLES.iter().position(|variable| *variable == name) {
            return Some(CowVal::Borrowed(&*self.activation.values[at]));
        }
        let pattern: &dyn Val = pattern_of(name, self.patterns)?;
        Some(CowVal::Borrowed(pattern))
    }
}

/// The deepest value that conditions can look into. What lies deeper is null for them, because everything that walks a
/// value recurses.
const MAX_DEPTH: usize = 64;

/// A call's record. A status is `live` or `completed` for conditions, however the API writes it.
fn record(fields: &Map<String, Json>) -> Box<dyn Val> {
    let field = |(name, value): (&String, &Json)| match value {
        Json::String(word) if name == "status" => (key(name), text(Status::from(word.as_str()).as_str())),
        value => (key(name), convert(value, 1)),
    };
    Box::new(CelMap::from(fields.iter().map(field).collect::<HashMap<_, _>>()))
}

fn object(fields: &Map<String, Json>, depth: usize) -> Box<dyn Val> {
    let fields = fields.iter().map(|(name, value)| (key(name), convert(value, depth + 1)));
    Box::new(CelMap::from(fields.collect::<HashMap<_, _>>()))
}

/// JSON to CEL. Whole numbers become `int`: CEL's own conversion makes positive ones `uint`, and then
/// `call.duration / 60` is an error.
fn convert(json: &Json, depth: usize) -> Box<dyn Val> {
    match json {
        Json::Null => null(),
        Json::Array(_) | Json::Object(_) if depth > MAX_DEPTH => null(),
        Json::Bool(truth) => Box::new(CelBool::from(*truth)),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Box::new(CelInt::from(whole)),
            (None, Some(real)) => Box::new(CelDouble::from(real)),
            (None, None) => null(),
        },
        Json::String(string) => text(string),
        Json::Array(items) => {
            let items = items.iter().map(|item| convert(item, depth + 1));
            Box::new(CelList::from(items.collect::<Vec<_>>()))
        }
        Json::Object(fields) => object(fields, depth),
    }
}

fn null() -> Box<dyn Val> {
    Box::new(CelNull)
}

fn text(text: &str) -> Box<dyn Val> {
    Box::new(CelString::from(text.to_owned()))
}

fn key(name: &str) -> CelMapKey<'static> {
    CelMapKey::from(name.to_owned())
}
