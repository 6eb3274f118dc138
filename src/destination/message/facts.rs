//! The fields of a call as labelled values for people. Pure.

use serde::Serialize;
use serde_json::{Map, Value};
use url::Url;

use super::{Link, says_something};
use crate::{
    call::{DOCUMENTED_FIELDS, Status},
    privacy::{UNKNOWN_NUMBER, one_line},
    template::{duration_in_words, truncate},
};

/// The longest value of a fact, in characters.
const MAX_FACT: usize = 300;

/// The most facts of one message; more would hide what matters.
const MAX_FACTS: usize = 40;

/// The longest name, in characters.
const MAX_NAME: usize = 60;

/// A labelled value, such as `Caller: +33612345678`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(in crate::destination) struct Fact {
    pub(in crate::destination) label: String,
    pub(in crate::destination) value: String,
}

/// The first of these facts, and a note when there are more.
pub(super) fn first(mut facts: Vec<Fact>) -> (Vec<Fact>, Option<String>) {
    let more = facts.len().saturating_sub(MAX_FACTS);
    facts.truncate(MAX_FACTS);
    (facts, (more > 0).then(|| "(There are more fields than are shown here.)".to_owned()))
}

/// The fields that changed, for people; a few more than a message has room for, at most.
pub(super) fn changed(changes: &Map<String, Value>) -> Vec<Fact> {
    let told = changes.iter().filter(|(name, _)| !matches!(name.as_str(), "updatedAt" | "callAnalysis"));
    let analysis = changes.get("callAnalysis").into_iter().flat_map(|change| {
        let side = |side| change.get(side).and_then(Value::as_object);
        let to = side("to").into_iter().flatten();
        to.filter(move |(name, to)| side("from").and_then(|from| from.get(*name)) != Some(to)).map(
            move |(name, to)| {
                let from = side("from").and_then(|from| from.get(name)).unwrap_or(&Value::Null);
                fact(label(name), from_to(from, to))
            },
        )
    });
    let told = told.map(|(name, change)| match (change.get("from"), change.get("to")) {
        (Some(from), Some(to)) => fact(label(name), from_to(&readable(name, from), &readable(name, to))),
        _ => fact(label(name), "changed".to_owned()),
    });
    told.chain(analysis).take(MAX_FACTS + 1).collect()
}

/// The value of a field; a duration in words.
fn readable(name: &str, value: &Value) -> Value {
    match value.as_f64() {
        Some(seconds) if name == "duration" => duration_in_words(seconds).into(),
        _ => value.clone(),
    }
}

/// `fail → success`; for long texts only `changed`, because the new one stands in the message anyway.
fn from_to(from: &Value, to: &Value) -> String {
    const SHORT: usize = 60;
    let (from, to) = (in_words(from), in_words(to));
    match (from, to) {
        (_, Some(to)) if to.chars().count() > SHORT => "changed".to_owned(),
        (Some(from), Some(to)) if from.chars().count() <= SHORT => format!("{from} → {to}"),
        (_, Some(to)) => format!("now {to}"),
        (_, None) => "removed".to_owned(),
    }
}

/// The most telling fields, in the order in which people ask: who called, how it went, and with what outcome.
pub(super) fn facts_of_call(call: &Map<String, Value>) -> Vec<Fact> {
    let mut facts = vec![];
    let mut tell = |label: &str, value: Option<String>| {
        facts.extend(value.filter(|value| !value.is_empty()).map(|value| fact(label.to_owned(), value)));
    };
    tell("Caller", caller(call));
    tell("Called", field(call, "calledNumber").map(str::to_owned));
    let live = field(call, "status").is_some_and(|word| Status::from(word) == Status::Live);
    let status = field(call, "status").map(|status| if live { "Live now".to_owned() } else { label(status) });
    let duration = call.get("duration").and_then(Value::as_f64).filter(|seconds| !live && *seconds > 0.0);
    let duration = duration.map(duration_in_words);
    tell("Status", joined([status, duration]));
    let ended = field(call, "endedReason").map(|reason| label(reason).to_lowercase());
    tell("Outcome", joined([field(call, "evaluation").map(label), ended]));
    tell("Engaged", call.get("isEngaged").and_then(in_words));
    if let Some(Value::Object(analysis)) = call.get("callAnalysis") {
        for (name, value) in analysis.iter().take(MAX_FACTS + 1) {
            tell(&label(name), in_words(value));
        }
    }
    facts
}

/// The fields that the API does not document.
pub(super) fn other_facts(fields: &Map<String, Value>) -> Vec<Fact> {
    // The documented fields have a place of their own in a message, or mean nothing to people.
    let others = fields.iter().filter(|(name, _)| !DOCUMENTED_FIELDS.contains(&name.as_str()));
    let facts = others.filter_map(|(name, value)| Some(fact(label(name), in_words(value)?)));
    facts.take(MAX_FACTS + 1).collect()
}

/// The caller's number, or that it was withheld; `None` when the receiver is not shown it.
pub(super) fn caller(call: &Map<String, Value>) -> Option<String> {
    let number = call.get("callerNumber")?;
    let known = number.as_str().filter(|number| !number.trim().is_empty());
    Some(known.unwrap_or(UNKNOWN_NUMBER).to_owned())
}

/// The names of fields that hold the caller's name, as agents are often told to ask for it: in lower case, without `_`.
const NAMES: [&str; 9] = [
    "callername",
    "customername",
    "patientname",
    "clientname",
    "contactname",
    "guestname",
    "leadname",
    "fullname",
    "name",
];

/// The caller's name if one was noted, else the number; `None` when the receiver is shown neither.
pub(super) fn name_or_number(call: &Map<String, Value>) -> Option<String> {
    let analysis = call.get("callAnalysis").and_then(Value::as_object);
    let mut fields = analysis.into_iter().flatten().chain(call);
    let is_name = |field: &str| NAMES.contains(&field.replace('_', "").to_lowercase().as_str());
    let name = fields.find_map(|(field, value)| value.as_str().filter(|_| is_name(field)));
    let name = name.map(|name| truncate(&one_line(name), MAX_NAME)).filter(|name| says_something(name));
    name.or_else(|| caller(call).map(|number| truncate(&one_line(&number), MAX_NAME)))
}

/// The first field that holds a web address and does not stand in the API's documentation.
pub(super) fn link(call: &Map<String, Value>) -> Option<Link> {
    let others = call.iter().filter(|(name, _)| !DOCUMENTED_FIELDS.contains(&name.as_str()));
    others.filter_map(|(name, value)| Some((name, value.as_str()?))).find_map(|(name, text)| {
        let url = Url::parse(text).ok().filter(|url| url.scheme() == "https")?;
        let label = label(name);
        let label = label.strip_suffix(" url").or(label.strip_suffix(" link")).unwrap_or(&label);
        Link::new(truncate(&one_line(label), MAX_NAME), &url)
    })
}

impl Fact {
    /// Cuts label and value to one line of limited length.
    pub(super) fn new(label: &str, value: &str) -> Self {
        Self { label: truncate(&one_line(label), 60), value: truncate(&one_line(value), MAX_FACT) }
    }
}

fn fact(label: String, value: String) -> Fact {
    Fact::new(&label, &value)
}

fn joined(parts: [Option<String>; 2]) -> Option<String> {
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The value of a text field, unless it is blank.
pub(super) fn field<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str).filter(|text| !text.trim().is_empty())
}

/// A value in words; `None` for null and for blank or empty values.
fn in_words(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Bool(true) => Some("yes".to_owned()),
        Value::Bool(false) => Some("no".to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()).filter(|text| !text.trim().is_empty()),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().filter_map(in_words).collect();
            (!items.is_empty()).then(|| items.join(", "))
        }
        Value::Object(fields) => {
            let fields: Vec<_> = fields
                .iter()
                .filter_map(|(name, value)| {
                    Some(format!("{}: {}", label(name).to_lowercase(), in_words(value)?))
                })
                .collect();
            (!fields.is_empty()).then(|| fields.join(", "))
        }
    }
}

/// The name of a field as a label: `leadQuality` and `user_hangup` become `Lead quality` and `User hangup`.
pub(super) fn label(name: &str) -> String {
    let mut label = String::with_capacity(name.len() + 4);
    let mut after_lower = false;
    for c in name.chars() {
        if matches!(c, '_' | '-') {
            label.push(' ');
        } else if label.is_empty() {
            label.extend(c.to_uppercase());
        } else if c.is_uppercase() && after_lower {
            label.push(' ');
            label.extend(c.to_lowercase());
        } else {
            label.push(c);
        }
        after_lower = c.is_lowercase();
    }
    label
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_become_labels() {
        for (name, words) in [
            ("leadQuality", "Lead quality"),
            ("user_hangup", "User hangup"),
            ("NPS", "NPS"),
            ("appointmentBooked", "Appointment booked"),
            ("", ""),
        ] {
            assert_eq!(label(name), words);
        }
    }

    #[test]
    fn values_become_words() {
        assert_eq!(
            in_words(&json!({ "likedIt": true, "topics": ["a", null, "b"], "x": null })).unwrap(),
            "liked it: yes, topics: a, b"
        );
        assert_eq!(in_words(&json!([])), None);
        assert_eq!(from_to(&json!("fail"), &json!("success")), "fail → success");
        assert_eq!(from_to(&json!(null), &json!("success")), "now success");
        assert_eq!(from_to(&json!("old"), &json!("new ".repeat(40))), "changed");
        assert_eq!(from_to(&json!("old"), &json!(null)), "removed");
    }

    #[test]
    fn only_what_differs_in_an_analysis_is_told() {
        let changes = json!({
            "callAnalysis": { "from": { "a": 1, "b": 2 }, "to": { "a": 1, "b": 3, "c": true } },
            "transcript": {}, "updatedAt": { "from": "x", "to": "y" }
        });
        let told: Vec<_> = changed(changes.as_object().unwrap())
            .into_iter()
            .map(|fact| format!("{}: {}", fact.label, fact.value))
            .collect();
        assert_eq!(told, ["Transcript: changed", "B: 2 → 3", "C: now yes"]);
    }
}
