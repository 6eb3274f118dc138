//! Excerpts of values: as much as a message for people can show.

use std::fmt;

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess},
};
use serde_json::{Map, Value};

use super::{MAX_DEPTH, Shallow, mend_surrogates, text};

/// The most entries of one list or object, and the longest text in bytes. A conversation rarely has 200 turns.
const MAX_ENTRIES: usize = 1_000;
const MAX_TEXT: usize = 32 * 1024;

/// The most values, and bytes of text, in all of one message. Rendering takes some milliseconds for them.
const MAX_VALUES: usize = 20_000;
const MAX_BYTES: usize = 1024 * 1024;

/// The least share of one call, in values and bytes of text, however many calls a message is about.
const LEAST_VALUES: usize = 1_000;
const LEAST_BYTES: usize = 64 * 1024;

/// Stands in place of a value that is nested too deeply.
const TOO_DEEP: &str = "(nested too deeply to be shown)";

/// How much may still be read of a value, and whether something was left out.
#[derive(Debug)]
pub struct Budget {
    values: usize,
    bytes: usize,
    /// Whether something was left out or cut.
    pub exceeded: bool,
}

impl Budget {
    /// The part of one among `calls` that a message is about.
    pub fn share(calls: usize) -> Self {
        let calls = calls.max(1);
        Self {
            values: (MAX_VALUES / calls).max(LEAST_VALUES),
            bytes: (MAX_BYTES / calls).max(LEAST_BYTES),
            exceeded: false,
        }
    }

    /// Whether one more value, of so many bytes, may be read.
    fn spend(&mut self, bytes: usize) -> bool {
        let fits = self.values > 0 && self.bytes >= bytes;
        if fits {
            self.values -= 1;
            self.bytes -= bytes;
        } else {
            self.exceeded = true;
        }
        fits
    }

    /// As much of `text` as there is room for.
    fn cut(&mut self, text: &str) -> String {
        let mut end = text.len().min(MAX_TEXT).min(self.bytes);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.bytes -= end;
        if end < text.len() {
            self.exceeded = true;
            return format!("{}…", &text[..end]);
        }
        text.to_owned()
    }
}

/// The fields of a record as far as `budget` reaches; `None` when the record is not a JSON object. Entries beyond it are
/// left out, long texts are cut. A field that cannot be read has the beginning of its JSON text as value.
pub fn excerpt(raw: &str, budget: &mut Budget) -> Option<Map<String, Value>> {
    let read = |raw: &str, budget: &mut Budget| {
        let mut json = serde_json::Deserializer::from_str(raw);
        Cut { budget, depth: 0 }.deserialize(&mut json).ok()
    };
    let mended = mend_surrogates(raw);
    let before = (budget.values, budget.bytes);
    match read(&mended, budget) {
        Some(Value::Object(fields)) => return Some(fields),
        Some(_) => return None,
        None => (budget.values, budget.bytes) = before,
    }
    let mut fields = Map::new();
    for (name, raw) in Shallow::read(&mended).ok()?.0.into_iter().take(MAX_ENTRIES) {
        let name = text(name);
        if !budget.spend(name.len()) {
            break;
        }
        let value = read(raw.get(), budget).unwrap_or_else(|| budget.cut(raw.get()).into());
        fields.insert(name, value);
    }
    Some(fields)
}

/// The same of fields that were read already.
pub fn excerpt_of_fields(fields: &Map<String, Value>, budget: &mut Budget) -> Map<String, Value> {
    match (Cut { budget, depth: 0 }).deserialize(fields) {
        Ok(Value::Object(fields)) => fields,
        // It is an object, and values that were read once can be read again.
        _ => Map::new(),
    }
}

/// Whether there are only a few values in these fields, whose texts have no more than `bytes` bytes together.
pub(crate) fn is_small(fields: &Map<String, Value>, bytes: usize) -> bool {
    fn spend(value: &Value, budget: &mut Budget) -> bool {
        match value {
            Value::String(text) => budget.spend(text.len()),
            Value::Array(items) => budget.spend(0) && items.iter().all(|item| spend(item, budget)),
            Value::Object(fields) => budget.spend(0) && all(fields, budget),
            _ => budget.spend(0),
        }
    }
    fn all(fields: &Map<String, Value>, budget: &mut Budget) -> bool {
        fields.iter().all(|(name, value)| budget.spend(name.len()) && spend(value, budget))
    }
    all(fields, &mut Budget { values: LEAST_VALUES, bytes, exceeded: false })
}

/// Reads a value as far as the budget reaches.
struct Cut<'b> {
    budget: &'b mut Budget,
    /// In how many lists and objects it stands.
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Cut<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> de::Visitor<'de> for Cut<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(self.budget.cut(value).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = vec![];
        if self.depth < MAX_DEPTH {
            while items.len() < MAX_ENTRIES && self.budget.spend(0) {
                let cut = Cut { budget: &mut *self.budget, depth: self.depth + 1 };
                let Some(item) = seq.next_element_seed(cut)? else { return Ok(items.into()) };
                items.push(item);
            }
        }
        let mut left_out = false;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            left_out = true;
        }
        self.budget.exceeded |= left_out;
        Ok(if self.depth < MAX_DEPTH || !left_out { items.into() } else { TOO_DEEP.into() })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        if self.depth < MAX_DEPTH {
            while fields.len() < MAX_ENTRIES && self.budget.values > 0 {
                let Some(name) = map.next_key::<String>()? else { return Ok(fields.into()) };
                if !self.budget.spend(name.len()) {
                    map.next_value::<IgnoredAny>()?;
                    break;
                }
                let cut = Cut { budget: &mut *self.budget, depth: self.depth + 1 };
                fields.insert(name, map.next_value_seed(cut)?);
            }
        }
        let mut left_out = false;
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            left_out = true;
        }
        self.budget.exceeded |= left_out;
        Ok(if self.depth < MAX_DEPTH || !left_out { fields.into() } else { TOO_DEEP.into() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cut(raw: &str) -> (Value, bool) {
        let mut budget = Budget::share(1);
        let fields = excerpt(raw, &mut budget).unwrap();
        (fields.into(), budget.exceeded)
    }

    #[test]
    fn what_is_small_stays_as_it_is() {
        let record =
            json!({ "a": [1, -2, 3.5, null, true, "é"], "b": { "c": { "d": "x" } }, "e": [], "f": {} });
        assert_eq!(cut(&record.to_string()), (record.clone(), false));
        let mut budget = Budget::share(1);
        assert_eq!(Value::from(excerpt_of_fields(record.as_object().unwrap(), &mut budget)), record);
        assert!(!budget.exceeded);
        assert_eq!(excerpt("[1]", &mut budget), None);
    }

    #[test]
    fn one_large_field_leaves_room_for_the_others() {
        let many: Map<_, _> = (0..40_000).map(|n| (format!("field{n}"), json!("value"))).collect();
        let record = json!({ "many": many, "long": "é".repeat(100_000), "after": "here" });
        let (read, exceeded) = cut(&record.to_string());
        assert!(exceeded);
        assert_eq!(read["many"].as_object().unwrap().len(), MAX_ENTRIES);
        assert!(read["long"].as_str().unwrap().len() <= MAX_TEXT + '…'.len_utf8());
        assert_eq!(read["after"], "here");
    }

    #[test]
    fn many_lists_of_many_lists_end_at_the_budget() {
        let record = json!({ "wide": vec![vec![0; 1_000]; 1_000], "after": 1 });
        let (read, exceeded) = cut(&record.to_string());
        let values: usize =
            read["wide"].as_array().unwrap().iter().map(|list| list.as_array().unwrap().len()).sum();
        assert!(exceeded && values <= MAX_VALUES, "{values}");
    }

    #[test]
    fn what_cannot_be_read_costs_only_itself() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let (read, exceeded) =
            cut(&format!(r#"{{"deep":{deep},"half\ud83d":"\ud83d","huge":1e400,"fine":1}}"#));
        assert!(exceeded);
        assert!(read["deep"].is_array());
        assert_eq!(
            (&read["half\u{fffd}"], &read["huge"], &read["fine"]),
            (&json!("\u{fffd}"), &json!("1e400"), &json!(1))
        );
    }
}
