//! Reads records that a strict JSON parser refuses.
//!
//! A text that was cut inside an emoji ends in half a surrogate pair; a number may exceed every float; nesting may be
//! too deep to recurse into, and a list of millions of empty lists would take gigabytes. Such a record is still delivered unchanged. Conditions and messages see the closest
//! readable value of the field.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

/// The fields of a record, in their order; `None` when the record is not a JSON object. A field that cannot be read even
/// after surrogates are mended, or that holds more than [`MOST_VALUES`] values, has its JSON text as value.
pub fn fields(raw: &str) -> Option<Map<String, Value>> {
    let is_modest_record = is_modest(raw);
    if is_modest_record && let Ok(fields) = serde_json::from_str(raw) {
        return Some(fields);
    }
    let mended = mend_surrogates(raw);
    if is_modest_record && let Ok(fields) = serde_json::from_str(&mended) {
        return Some(fields);
    }
    let shallow: BTreeMap<String, &RawValue> = serde_json::from_str(&mended).ok()?;
    let read = |raw: &RawValue| match is_modest(raw.get()) {
        true => serde_json::from_str(raw.get()).unwrap_or_else(|_| raw.get().into()),
        false => raw.get().into(),
    };
    Some(shallow.into_iter().map(|(name, raw)| (name, read(raw))).collect())
}

/// More values than this in one field are not read: each takes far more memory than its text.
const MOST_VALUES: usize = 20_000;

/// The texts of the fields `names` of a record, the last where a name stands several times. Nothing is built of all
/// others. `None` when the record is not a JSON object.
pub fn pick<'a, const N: usize>(raw: &'a str, names: [&str; N]) -> Option<[Option<&'a str>; N]> {
    struct Picked<'n, const N: usize>([&'n str; N]);

    impl<'de, const N: usize> Visitor<'de> for Picked<'_, N> {
        type Value = [Option<&'de str>; N];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = [None; N];
            while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                match self.0.iter().position(|name| *name == key) {
                    Some(place) => found[place] = Some(map.next_value::<&RawValue>()?.get()),
                    None => drop(map.next_value::<IgnoredAny>()?),
                }
            }
            Ok(found)
        }
    }

    let mut json = serde_json::Deserializer::from_str(raw);
    let found = json.deserialize_map(Picked(names)).ok()?;
    json.end().ok()?;
    Some(found)
}

/// Whether a JSON text holds at most [`MOST_VALUES`] values, counted by what separates them.
fn is_modest(raw: &str) -> bool {
    raw.len() <= MOST_VALUES
        || raw.bytes().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count() <= MOST_VALUES
}

/// Replaces each escape of half a surrogate pair by U+FFFD, the replacement character.
fn mend_surrogates(json: &str) -> Cow<'_, str> {
    let mut mended = String::new();
    let mut copied = 0;
    let mut at = 0;
    let bytes = json.as_bytes();
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            at += 1;
        } else if let Some(unit) = escape(json, at) {
            let is_pair = matches!(unit, 0xd800..=0xdbff)
                && escape(json, at + 6).is_some_and(|low| matches!(low, 0xdc00..=0xdfff));
            if is_pair {
                at += 6;
            } else if matches!(unit, 0xd800..=0xdfff) {
                mended.push_str(&json[copied..at]);
                mended.push_str("\\ufffd");
                copied = at + 6;
            }
            at += 6;
        } else {
            // The escaped character, which may be a backslash, does not begin another escape.
            at += 2;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    mended.push_str(&json[copied..]);
    Cow::Owned(mended)
}

/// The UTF-16 code unit of the `\uXXXX` at `at`, if there is one.
fn escape(json: &str, at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn half_a_pair_is_replaced_and_a_whole_one_kept() {
        for (text, expected) in [
            (r#"{"a":"cut \ud83d"}"#, json!({"a": "cut \u{fffd}"})),
            (r#"{"a":"\ude00\ud83d\ude00"}"#, json!({"a": "\u{fffd}😀"})),
            (r#"{"a":"\\ud83d \ud83d\n"}"#, json!({"a": "\\ud83d \u{fffd}\n"})),
            (r#"{"a":"\ud83d\ud83d\ude00"}"#, json!({"a": "\u{fffd}😀"})),
        ] {
            assert_eq!(fields(text).map(Value::Object), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_value_that_cannot_be_read_is_its_json_text() {
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        let text = format!(r#"{{"id":"a","score":1e400,"deep":{deep},"fine":[1,2]}}"#);
        let expected = json!({"id": "a", "score": "1e400", "deep": deep, "fine": [1, 2]});
        assert_eq!(fields(&text).map(Value::Object), Some(expected));
        assert_eq!(fields("[1]"), None);
    }
}
