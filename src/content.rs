//! Hashes of what JSON says, whatever way it is written.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use serde_json::{Map, Value};
use xxhash_rust::xxh3::Xxh3;

/// 128 bits of xxh3 over a value's content, whatever the order of its keys and the white space between them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash(u128);

impl ContentHash {
    /// Hashes a JSON value.
    pub fn of(value: &Value) -> Self {
        let mut hasher = Xxh3::new();
        feed(&mut hasher, value);
        Self(hasher.digest128())
    }

    /// Hashes an object given by its fields: the same as [`ContentHash::of`] that object.
    pub fn of_fields(fields: &Map<String, Value>) -> Self {
        let mut hasher = Xxh3::new();
        feed_object(&mut hasher, fields);
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

/// Feeds a value unambiguously: a tag for its type, then its length if it has one, then its content.
fn feed(hasher: &mut Xxh3, value: &Value) {
    match value {
        Value::Null => hasher.update(b"n"),
        Value::Bool(b) => hasher.update(if *b { b"t" } else { b"f" }),
        Value::Number(n) => feed_text(hasher, b"#", &n.to_string()),
        Value::String(s) => feed_text(hasher, b"s", s),
        Value::Array(items) => {
            hasher.update(b"[");
            hasher.update(&(items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| feed(hasher, item));
        }
        Value::Object(fields) => feed_object(hasher, fields),
    }
}

fn feed_object(hasher: &mut Xxh3, fields: &Map<String, Value>) {
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_unstable_by_key(|(key, _)| key.as_str());
    hasher.update(b"{");
    hasher.update(&(sorted.len() as u64).to_le_bytes());
    for (key, value) in sorted {
        feed_text(hasher, b"k", key);
        feed(hasher, value);
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
