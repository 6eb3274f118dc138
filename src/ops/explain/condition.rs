//! The serialised form of an explained condition.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::rule::condition::Explanation;

/// Writes {text, is, because, seen, parts}, or null.
pub(super) fn serialize<S: Serializer>(
    condition: &Option<Explanation>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    condition.as_ref().map(object).serialize(serializer)
}

fn object(explanation: &Explanation) -> Value {
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
