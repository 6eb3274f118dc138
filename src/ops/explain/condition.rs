//! The serialised form of an explained condition.

use serde_json::{Map, Value, json};

use crate::rule::condition::Explanation;

/// An object {text, is, because, seen, parts}.
pub(super) fn object(explanation: &Explanation) -> Value {
    let Explanation { text, truth, because, parts, seen } = explanation;
    let seen: Map<_, _> =
        seen.iter().map(|seen| (seen.text.clone(), Value::from(seen.value.as_str()))).collect();
    json!({
        "text": text,
        "is": truth.as_ref().map_or("failed".to_owned(), |truth| truth.to_string()),
        "because": truth.as_ref().err().map(|failure| failure.to_string()).or_else(|| because.clone()),
        "seen": seen,
        "parts": parts.iter().map(object).collect::<Vec<_>>(),
    })
}
