//! Hashes of what JSON says, whatever way it is written.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use serde_json::{Number, Value};
use xxhash_rust::xxh3::Xxh3;

use crate::time::Timestamp;

/// 128 bits of xxh3 over a value's content. Two values have the same hash when they say the same to a person: the order of
/// keys and white space do not count, a key with null is as good as none, numbers are compared as numbers, and times with a
/// zone as instants, to the millisecond.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash(u128);

impl ContentHash {
    /// Hashes a JSON value.
    pub fn of(value: &Value) -> Self {
        let mut hasher = Xxh3::new();
        feed(&mut hasher, value);
        Self(hasher.digest128())
    }

    /// Hashes an object given by its fields, in any order: the same as [`ContentHash::of`] that object.
    pub fn of_fields<'v>(fields: impl IntoIterator<Item = (&'v str, Cow<'v, Value>)>) -> Self {
        let mut hasher = Xxh3::new();
        feed_object(&mut hasher, fields.into_iter().collect());
        Self(hasher.digest128())
    }

    /// The lower 64 bits, enough to tell the few states of one call apart.
    pub fn tag(self) -> StateTag {
        StateTag(self.0 as u64)
    }

    /// The hash as 16 bytes, big-endian.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

/// Feeds a value unambiguously: a tag for its type, then its length if it has one, then its content. Recurses as deep as
/// the value is nested, which the parser of records limits.
fn feed(hasher: &mut Xxh3, value: &Value) {
    match value {
        Value::Null => hasher.update(b"n"),
        Value::Bool(b) => hasher.update(if *b { b"t" } else { b"f" }),
        Value::Number(n) => feed_text(hasher, b"#", &plain(n)),
        Value::String(s) => match instant(s) {
            Some(instant) => feed_text(hasher, b"s", &instant.to_string()),
            None => feed_text(hasher, b"s", s),
        },
        Value::Array(items) => {
            hasher.update(b"[");
            hasher.update(&(items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| feed(hasher, item));
        }
        Value::Object(fields) => {
            feed_object(hasher, fields.iter().map(|(k, v)| (k.as_str(), Cow::Borrowed(v))).collect());
        }
    }
}

/// The time that a text is, in whatever zone and precision it is written. A glance tells that most texts are none.
fn instant(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let may_be =
        (20..=40).contains(&bytes.len()) && bytes[4] == b'-' && bytes[7] == b'-' && bytes[13] == b':';
    may_be.then(|| Timestamp::parse(text)).flatten()
}

/// The number in one way of writing it: `145` for `145.0` and `1.45e2`.
fn plain(number: &Number) -> String {
    match number.as_f64() {
        // Beyond that, floats and whole numbers of 64 bits have no values in common.
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 2e19 => {
            (float as i128).to_string()
        }
        _ => number.to_string(),
    }
}

fn feed_object(hasher: &mut Xxh3, mut fields: Vec<(&str, Cow<'_, Value>)>) {
    fields.retain(|(_, value)| !value.is_null());
    fields.sort_unstable_by_key(|(key, _)| *key);
    hasher.update(b"{");
    hasher.update(&(fields.len() as u64).to_le_bytes());
    for (key, value) in fields {
        feed_text(hasher, b"k", key);
        feed(hasher, &value);
    }
}

fn feed_text(hasher: &mut Xxh3, tag: &[u8], text: &str) {
    hasher.update(tag);
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for ContentHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:032x}", self.0))
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Self).map_err(D::Error::custom)
    }
}

/// 64 bits of a [`ContentHash`], to tell the states of one call apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StateTag(u64);

impl StateTag {
    /// The tag as a number.
    pub const fn to_bits(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hash(text: &str) -> ContentHash {
        ContentHash::of(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn what_says_the_same_has_the_same_hash() {
        for (one, other) in [
            (r#"{"a":1,"b":[2]}"#, r#"{ "b": [2.0], "a": 1e0, "c": null }"#),
            ("145", "145.0"),
            ("0", "-0.0"),
            ("0.1", "0.10"),
            ("18446744073709551615", "18446744073709551615"),
            (r#"{"a":{"b":null}}"#, r#"{"a":{}}"#),
            (r#""2025-12-15T14:32:25Z""#, r#""2025-12-15T14:32:25.000+00:00""#),
            (r#"["2025-12-15T14:32:25.120Z"]"#, r#"["2025-12-15T15:32:25.120000+01:00"]"#),
        ] {
            assert_eq!(hash(one), hash(other), "{one} {other}");
        }
        for (one, other) in [
            ("145", "146"),
            ("145", r#""145""#),
            ("[null]", "[]"),
            (r#"{"a":{}}"#, "{}"),
            (r#"{"a":false}"#, "{}"),
            ("0.1", "0.2"),
            (r#""2025-12-15T14:32:25Z""#, r#""2025-12-15T14:32:25.001Z""#),
            (r#""2025-12-15T14:32:25Z""#, r#""2025-12-15T14:32:25+01:00""#),
            (r#""2025-12-15T14:32:25 or so""#, r#""2025-12-15T14:32:25 or not""#),
            ("9007199254740993", "9007199254740992"),
        ] {
            assert_ne!(hash(one), hash(other), "{one} {other}");
        }
    }

    #[test]
    fn fields_have_the_hash_of_their_object() {
        let object = json!({"b": 1, "a": null, "c": {"d": 2}});
        let fields = object.as_object().unwrap();
        let fields = fields.iter().map(|(name, value)| (name.as_str(), Cow::Borrowed(value)));
        assert_eq!(ContentHash::of_fields(fields), ContentHash::of(&object));
    }
}
