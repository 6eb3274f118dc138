//! A number that the caller withheld, in the texts of rules and the bodies of webhooks.

use std::{fmt, sync::Arc};

use minijinja::{
    context,
    value::{Object, ObjectRepr, Serde, Value, ValueKind},
};
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use crate::language::Language;

/// The field that callers can withhold.
const CALLER: &str = "callerNumber";

/// Prints as an unknown number in the language of the message, and is `none` and false in conditions, as null is.
#[derive(Debug)]
pub(super) struct Withheld(Language);

impl Object for Withheld {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        false
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.unknown_number())
    }
}

/// Whether a value is null, or a number that was withheld.
pub(super) fn is_none(value: &Value) -> bool {
    value.is_none() || value.downcast_object_ref::<Withheld>().is_some()
}

/// A call as a template shows it.
struct InText<'a>(&'a Json, Language);

impl Serialize for InText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Json::Object(fields) => serializer.collect_map(fields.iter().map(|(name, value)| {
                let is_withheld = name == CALLER && is_blank(value);
                (
                    name,
                    if is_withheld {
                        Field::Withheld(Value::from_object(Withheld(self.1)))
                    } else {
                        Field::Known(value)
                    },
                )
            })),
            other => other.serialize(serializer),
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Field<'a> {
    Known(&'a Json),
    Withheld(Value),
}

fn is_blank(value: &Json) -> bool {
    value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty())
}

/// The call for a template, if its number was withheld.
pub(super) fn in_text(call: &Json, language: Language) -> Option<Value> {
    call.get(CALLER).is_some_and(is_blank).then(|| Value::from(Serde(InText(call, language))))
}

/// The value for programs, for whom a number that was withheld is null: of that number, a call, or a list of calls.
pub(super) fn as_json(value: &Value) -> Value {
    let is_withheld =
        |call: &Value| call.get_attr(CALLER).is_ok_and(|number| !number.is_none() && is_none(&number));
    let with_null = |call: &Value| context! { callerNumber => Value::from(()), ..call.clone() };
    match value.kind() {
        _ if is_none(value) || value.is_undefined() => Value::from(()),
        ValueKind::Map if is_withheld(value) => with_null(value),
        ValueKind::Seq if value.try_iter().is_ok_and(|mut calls| calls.any(|call| is_withheld(&call))) => {
            let calls = value.try_iter().into_iter().flatten();
            calls.map(|call| if is_withheld(&call) { with_null(&call) } else { call }).collect()
        }
        _ => value.clone(),
    }
}
