//! How the calls of one source are looked at: which status words mean that a call is over, and which fields count when
//! two states of a call are compared. Pure.

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
};

use serde_json::{Map, Value};

use crate::time::Timestamp;

/// The field that holds the analysis.
pub(crate) const ANALYSIS: &str = "callAnalysis";

/// The status words, besides `completed`, that mean that a call is over, unless the source's `over` says otherwise.
pub const OVER_DEFAULT: &[&str] = &[
    "failed",
    "no-answer",
    "busy",
    "canceled",
    "cancelled",
    "voicemail",
    "missed",
    "rejected",
    "declined",
    "abandoned",
    "unanswered",
    "expired",
    "timeout",
    "error",
    "ended",
    "finished",
    "done",
    "hangup",
    "disconnected",
];

/// How the calls of one source are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lens {
    /// Words in the form of [`folded`].
    over: Vec<String>,
    /// Paths of fields that are not compared.
    ignore: Vec<Vec<String>>,
}

impl Default for Lens {
    /// [`OVER_DEFAULT`], and every field counts.
    fn default() -> Self {
        Self { over: OVER_DEFAULT.iter().map(|word| (*word).to_owned()).collect(), ignore: vec![] }
    }
}

impl Lens {
    /// Calls with one of the statuses `over` are over, as `completed` ones are; upper case and the choice between `-`, `_`
    /// and a space do not matter. The fields at the paths `ignore` (`callAnalysis.debug`) are not compared. A path goes
    /// through arrays.
    pub fn new<'a>(
        over: impl IntoIterator<Item = &'a str>,
        ignore: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let path = |path: &str| path.split('.').map(str::to_owned).collect();
        Self { over: over.into_iter().map(folded).collect(), ignore: ignore.into_iter().map(path).collect() }
    }

    /// The lens of a source whose config says nothing about it.
    pub fn standard() -> &'static Arc<Self> {
        static STANDARD: LazyLock<Arc<Lens>> = LazyLock::new(Arc::default);
        &STANDARD
    }

    /// Whether a call with this status is over. One that is not is followed, whatever its status is called.
    pub fn is_over(&self, status: &str) -> bool {
        match status {
            "live" => false,
            "completed" => true,
            word => {
                let word = folded(word);
                word == "completed" || word != "live" && self.over.contains(&word)
            }
        }
    }

    /// The part of a top-level field that counts in comparisons. `None` when nothing of it does: it is missing, null or
    /// ignored, or an analysis in which there is nothing.
    pub fn counted<'v>(&self, name: &str, value: Option<&'v Value>) -> Option<Cow<'v, Value>> {
        let value = value.filter(|value| !value.is_null())?;
        let mut counted = Cow::Borrowed(value);
        for path in self.ignore.iter().filter(|path| path[0] == name) {
            match &path[1..] {
                [] => return None,
                below => remove(counted.to_mut(), below),
            }
        }
        if let Some(said) = said_by(name, &counted) {
            return Some(Cow::Owned(said));
        }
        (name != ANALYSIS || !is_blank(&counted)).then_some(counted)
    }

    /// The fields that count, each as far as it does.
    pub fn counted_fields<'v>(
        &self,
        fields: &'v Map<String, Value>,
    ) -> impl Iterator<Item = (&'v str, Cow<'v, Value>)> {
        fields.iter().filter_map(|(name, value)| Some((name.as_str(), self.counted(name, Some(value))?)))
    }
}

/// The canonical form of a status, `createdAt` or `updatedAt`, for comparing. `None` for any other field, for a value that is in
/// that form already, and for one that cannot be read.
fn said_by(name: &str, value: &Value) -> Option<Value> {
    let said = match (name, value) {
        ("status", Value::String(word)) => word.trim().to_lowercase(),
        ("createdAt" | "updatedAt", value) => Timestamp::of_json(value)?.to_string(),
        _ => return None,
    };
    (value.as_str() != Some(&said)).then(|| said.into())
}

/// The form in which status words are compared.
fn folded(word: &str) -> String {
    word.trim().to_lowercase().replace(['_', ' '], "-")
}

/// Removes the field at `path`. Recurses no deeper than the path is long.
fn remove(value: &mut Value, path: &[String]) {
    match (value, path) {
        (Value::Array(items), _) => items.iter_mut().for_each(|item| remove(item, path)),
        (Value::Object(fields), [last]) => drop(fields.shift_remove(last)),
        (Value::Object(fields), [first, below @ ..]) => {
            if let Some(value) = fields.get_mut(first) {
                remove(value, below);
            }
        }
        _ => {}
    }
}

/// Whether there is nothing in a value: it is null, an empty text, or a list or an object of nothing else. Values come
/// from a parser that refuses deep nesting, see [`crate::json::fields`].
pub(crate) fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.iter().all(is_blank),
        Value::Object(fields) => fields.values().all(is_blank),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_for_over_are_compared_by_what_they_say() {
        let lens = Lens::default();
        let over = |word: &str| lens.is_over(word);
        assert!(
            over("completed")
                && over("Completed")
                && over("no_answer")
                && over("NO ANSWER")
                && over("failed")
        );
        assert!(!over("live") && !over("in-progress") && !over("queued") && !over("ringing") && !over(""));
        let own = Lens::new(["Wrapped_Up"], []);
        assert!(own.is_over("wrapped-up") && !own.is_over("failed"));
        assert!(own.is_over("completed"));
    }

    #[test]
    fn ignored_fields_and_empty_analyses_do_not_count() {
        let lens = Lens::new([], ["url", "callAnalysis.debug", "transcript.at"]);
        let counted = |name: &str, value: Value| lens.counted(name, Some(&value)).map(Cow::into_owned);
        assert_eq!(counted("url", json!("a")), None);
        assert_eq!(counted("urls", json!("a")), Some(json!("a")));
        assert_eq!(counted("callAnalysis", json!({"debug": 1, "x": 2})), Some(json!({"x": 2})));
        assert_eq!(counted("callAnalysis", json!({"debug": 1})), None);
        assert_eq!(counted("transcript", json!([{"at": 1, "a": 2}, 3])), Some(json!([{"a": 2}, 3])));
        for blank in [json!({}), json!([]), json!(""), json!(null), json!({"a": null, "b": [{"c": " "}]})] {
            assert_eq!(counted("callAnalysis", blank), None);
        }
        assert_eq!(counted("callAnalysis", json!({"a": false})), Some(json!({"a": false})));
        assert_eq!(counted("summary", json!("")), Some(json!("")));
    }
}
