//! Reads JSON that strangers wrote, within bounds.
//!
//! A text that was cut inside an emoji ends in half a surrogate pair; a number may exceed every float; nesting may be
//! too deep to recurse into; and a list of millions of empty lists would take gigabytes. Such a record is still delivered
//! unchanged. Conditions and messages see the closest readable value of the field.
//!
//! No [`Value`] made here is nested more deeply than [`MAX_DEPTH`], so that comparing, hashing, rendering and dropping
//! it may recurse.

mod excerpt;

use std::{borrow::Cow, collections::HashMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

pub(crate) use self::excerpt::is_small;
pub use self::excerpt::{Budget, excerpt, excerpt_of_fields};

/// The deepest nesting of objects and lists that is read, the outermost one included. What is stored wraps a value in a
/// few more levels, and still stays below the 128 that serde_json reads.
pub const MAX_DEPTH: usize = 64;

/// Data of our own as JSON, to be kept. Only for structures whose keys are texts and whose numbers are whole.
pub(crate) fn of_plain(data: &impl Serialize) -> Value {
    #[expect(clippy::expect_used, reason = "text keys, texts and whole numbers are always JSON")]
    serde_json::to_value(data).expect("plain data")
}

/// The fields of a record, in their order; `None` when the record is not a JSON object. A field that cannot be read even
/// after surrogates are mended, or is nested too deeply, has its JSON text as value; so have the largest ones of a record
/// that holds more than [`MOST_VALUES`] values. Of a record with more fields than that the first ones are read, and `id` and
/// `status` wherever they stand.
pub fn fields(raw: &str) -> Option<Map<String, Value>> {
    let is_readable = is_modest(raw) && !is_deeper(raw, MAX_DEPTH);
    if is_readable && let Ok(fields) = serde_json::from_str(raw) {
        return Some(fields);
    }
    let mended = mend_surrogates(raw);
    if is_readable && let Ok(fields) = serde_json::from_str(&mended) {
        return Some(fields);
    }
    let mut json = serde_json::Deserializer::from_str(&mended);
    let fields = json.deserialize_map(FieldByField).ok()?;
    json.end().ok()?;
    Some(fields)
}

/// Reads the fields of an object one after the other, so that a bad one costs only itself.
struct FieldByField;

impl<'de> Visitor<'de> for FieldByField {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut raws: Vec<(String, &RawValue)> = vec![];
        let mut places: HashMap<String, usize> = HashMap::new();
        while let Some((name, raw)) = map.next_entry::<&RawValue, &RawValue>()? {
            let name = text(name);
            if let Some(place) = places.get(&name) {
                raws[*place].1 = raw;
            } else if raws.len() < MOST_VALUES || matches!(name.as_str(), "id" | "status") {
                places.insert(name.clone(), raws.len());
                raws.push((name, raw));
            }
        }
        // The smallest first, so that a huge field costs only itself.
        let mut by_size: Vec<_> =
            raws.iter().enumerate().map(|(place, (_, raw))| (values_in(raw.get()), place)).collect();
        by_size.sort_unstable();
        let mut read: Vec<Option<Value>> = vec![None; raws.len()];
        let mut left = MOST_VALUES;
        for (values, place) in by_size {
            let raw = raws[place].1.get();
            if values <= left && !is_deeper(raw, MAX_DEPTH - 1) {
                left -= values;
                read[place] = serde_json::from_str(raw).ok();
            }
        }
        let fields = raws.into_iter().zip(read);
        let fields = fields.map(|((name, raw), value)| (name, value.unwrap_or_else(|| raw.get().into())));
        let fields = fields.collect();
        Ok(fields)
    }
}

/// The fields of an object in their order: names and values as they are written, quotes included. Nothing below them is
/// read, so it may be nested as deeply as it likes.
pub(crate) struct Shallow<'a>(pub(crate) Vec<(&'a RawValue, &'a RawValue)>);

impl<'a> Shallow<'a> {
    pub(crate) fn read(raw: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(raw)
    }

    /// The value of a field; the last one when there are several of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(other, _)| is_text(other, name)).map(|(_, value)| *value)
    }

    /// The object without a field, as JSON; `None` when it has no such field.
    pub(crate) fn without(&self, name: &str) -> Option<String> {
        let kept: Vec<_> = self.0.iter().filter(|(other, _)| !is_text(other, name)).collect();
        if kept.len() == self.0.len() {
            return None;
        }
        let fields: Vec<_> =
            kept.iter().map(|(name, value)| format!("{}:{}", name.get(), value.get())).collect();
        Some(format!("{{{}}}", fields.join(",")))
    }
}

/// Whether a JSON string stands for this text.
fn is_text(string: &RawValue, other: &str) -> bool {
    let quoted = string.get();
    quoted.get(1..quoted.len() - 1) == Some(other) || (quoted.contains('\\') && text(string) == other)
}

/// The text that a JSON string stands for. Half a surrogate pair becomes U+FFFD.
pub(crate) fn text(string: &RawValue) -> String {
    let read =
        serde_json::from_str(string.get()).or_else(|_| serde_json::from_str(&mend_surrogates(string.get())));
    read.unwrap_or_else(|_| string.get().to_owned())
}

impl<'de> Deserialize<'de> for Shallow<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Shallow<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = vec![];
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Shallow(fields))
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

/// Whether objects and lists are nested in this JSON by more than `limit` levels. Looks at each byte once.
pub(crate) fn is_deeper(json: &str, limit: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0, false, false);
    for byte in json.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' => depth -= 1,
            _ => {}
        }
    }
    false
}

/// More values than this in one record are not read, beside texts and numbers that are fields of their own: each takes far
/// more memory than its text.
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

/// Whether a JSON text holds at most [`MOST_VALUES`] values.
fn is_modest(raw: &str) -> bool {
    raw.len() <= MOST_VALUES || values_in(raw) <= MOST_VALUES
}

/// How many values a JSON text holds at most beside itself, counted by what separates them. A text is one, whatever it says.
fn values_in(raw: &str) -> usize {
    if raw.starts_with('"') {
        return 0;
    }
    raw.bytes().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count()
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

    #[test]
    fn large_fields_of_a_record_leave_room_for_the_others() {
        let many = |values: usize| format!("[1{}]", ",1".repeat(values - 2));
        let fields_of_it: Vec<_> = (0..200).map(|n| format!(r#""f{n}":{}"#, many(15_000))).collect();
        let text = format!(
            r#"{{{},"id":"a","fine":{},"long":"{}","id":"b"}}"#,
            fields_of_it.join(","),
            many(4_000),
            ",[{".repeat(30_000)
        );
        let read = fields(&text).unwrap();
        assert_eq!(read.keys().map(String::as_str).take(2).collect::<Vec<_>>(), ["f0", "f1"]);
        assert_eq!((read.len(), &read["id"]), (203, &json!("b")));
        assert!(read["fine"].is_array() && read["long"].is_string());
        let built = read.values().filter(|value| value.is_array()).count();
        assert_eq!(built, 2, "one of the large ones fits beside the small one");
    }

    #[test]
    fn what_is_nested_too_deeply_is_its_json_text_and_nothing_is_deeper_than_the_limit() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for (levels, is_read) in [(MAX_DEPTH - 1, true), (MAX_DEPTH, false), (1_000_000, false)] {
            let deep = nested(levels);
            let text = format!(r#"{{"id":"[[[{{\\","deep":{deep},"fine":[[1]]}}"#);
            let read = fields(&text).unwrap();
            assert_eq!((&read["fine"], &read["id"]), (&json!([[1]]), &json!("[[[{\\")));
            assert_eq!(read["deep"].is_array(), is_read, "{levels}");
            assert!(is_read || read["deep"] == json!(deep));
        }
    }

    #[test]
    fn a_name_that_is_cut_inside_an_emoji_is_a_name_all_the_same() {
        let shallow = Shallow::read(r#"{"a\ud83d":1,"b":{"c":[2]},"b":3}"#).unwrap();
        assert_eq!(shallow.0[0].0.get(), r#""a\ud83d""#);
        assert_eq!(text(shallow.0[0].0), "a\u{fffd}");
        assert_eq!(shallow.get("b").map(RawValue::get), Some("3"));
    }
}
