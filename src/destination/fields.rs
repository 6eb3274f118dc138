//! Which fields of a call a receiver is shown: `include` and `exclude` applied to raw JSON. Pure.
//!
//! Values that are shown are copied byte for byte. Paths go through arrays: `transcript.content` is the `content` of
//! every entry of `transcript`.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{
    Map, Value,
    value::{RawValue, to_raw_value},
};

use super::FieldFilter;
use crate::change::Changes;

impl FieldFilter {
    /// The record without the fields that the receiver is not shown.
    pub(super) fn record<'a>(&self, record: &'a RawValue) -> Result<Cow<'a, RawValue>, serde_json::Error> {
        if self.shows_all() {
            return Ok(Cow::Borrowed(record));
        }
        Ok(match self.pick(record, "", false)? {
            Some(shown) => shown,
            None => Cow::Owned(to_raw_value(&Map::new())?),
        })
    }

    /// The changes without the fields that the receiver is not shown.
    pub(super) fn changes<'a>(&self, changes: &'a Changes) -> Result<Cow<'a, Changes>, serde_json::Error> {
        if self.shows_all() {
            return Ok(Cow::Borrowed(changes));
        }
        let mut shown = Changes::default();
        for (field, change) in &changes.0 {
            let Some(included) = self.verdict(field, false) else { continue };
            let mut sides = Map::new();
            for (side, value) in change.as_object().into_iter().flatten() {
                let raw = to_raw_value(value)?;
                let value = match self.pick(&raw, field, included)? {
                    Some(raw) => serde_json::from_str(raw.get())?,
                    None => Value::Null,
                };
                sides.insert(side.clone(), value);
            }
            shown.0.insert(field.clone(), Value::Object(sides));
        }
        Ok(Cow::Owned(shown))
    }

    /// Whether the receiver asked for this top-level field by name.
    pub(super) fn asks_for(&self, field: &str) -> bool {
        self.include.as_ref().is_some_and(|include| include.iter().any(|path| starts_with(path, field)))
    }

    /// Whether the receiver is shown the field at this path.
    pub(super) fn shows(&self, path: &str) -> bool {
        let mut ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
        let included =
            ends.try_fold(self.include.is_none(), |included, end| self.verdict(&path[..end], included));
        included == Some(true)
    }

    fn shows_all(&self) -> bool {
        self.include.is_none() && self.exclude.is_empty()
    }

    /// The part of the value at `path` that is shown. `included` says whether `include` names this path or one above it.
    fn pick<'a>(
        &self,
        value: &'a RawValue,
        path: &str,
        included: bool,
    ) -> Result<Option<Cow<'a, RawValue>>, serde_json::Error> {
        if included && !self.exclude.iter().any(|excluded| starts_with(excluded, path)) {
            return Ok(Some(Cow::Borrowed(value)));
        }
        let picked = match value.get().as_bytes().first() {
            Some(b'{') => {
                let Fields(fields) = serde_json::from_str(value.get())?;
                let mut shown = vec![];
                for (name, value) in fields {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    let Some(included) = self.verdict(&path, included) else { continue };
                    if let Some(value) = self.pick(value, &path, included)? {
                        shown.push((name, value));
                    }
                }
                (included || !shown.is_empty()).then(|| to_raw_value(&Shown(&shown)))
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(value.get())?;
                let mut shown = vec![];
                for item in items {
                    shown.extend(self.pick(item, path, included)?);
                }
                (included || !shown.is_empty()).then(|| to_raw_value(&shown))
            }
            _ if included => return Ok(Some(Cow::Borrowed(value))),
            _ => None,
        };
        Ok(picked.transpose()?.map(Cow::Owned))
    }

    /// Whether anything at or below `path` may be shown, and if so whether `include` names all of it.
    fn verdict(&self, path: &str, parent_included: bool) -> Option<bool> {
        if self.exclude.contains(path) {
            return None;
        }
        match &self.include {
            Some(include) if !parent_included && !include.contains(path) => {
                include.iter().any(|included| starts_with(included, path)).then_some(false)
            }
            _ => Some(true),
        }
    }
}

/// Whether `path` is `prefix` or lies below it.
fn starts_with(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('.'))
}

/// The fields of an object in their order, with the values as they are written.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = vec![];
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

/// An object made of some fields of another.
struct Shown<'a>(&'a [(String, Cow<'a, RawValue>)]);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"id": "c1", "big": 12345678901234567890123, "summary": "s", "callAnalysis": {"sentiment":"positive", "x": {"y": 1.0e5, "z": 2}}, "transcript": [{"role": "user", "content": "secret"}, {"role": "assistant", "content": "secret too"}]}"#;

    fn filter(include: Option<&[&str]>, exclude: &[&str]) -> FieldFilter {
        let set = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        FieldFilter { include: include.map(set), exclude: set(exclude) }
    }

    fn shown(include: Option<&[&str]>, exclude: &[&str]) -> String {
        let record: &RawValue = serde_json::from_str(RECORD).unwrap();
        filter(include, exclude).record(record).unwrap().get().to_owned()
    }

    #[test]
    fn without_a_filter_every_byte_stays() {
        assert_eq!(shown(None, &[]), RECORD);
    }

    #[test]
    fn what_stays_keeps_its_bytes() {
        assert_eq!(
            shown(Some(&["id", "big", "callAnalysis.x"]), &["callAnalysis.x.z"]),
            r#"{"id":"c1","big":12345678901234567890123,"callAnalysis":{"x":{"y":1.0e5}}}"#
        );
    }

    #[test]
    fn exclude_wins_over_include() {
        assert_eq!(shown(Some(&["id", "summary"]), &["summary"]), r#"{"id":"c1"}"#);
        assert_eq!(shown(Some(&["summary"]), &["summary"]), "{}");
    }

    #[test]
    fn paths_go_through_arrays() {
        assert_eq!(
            shown(Some(&["transcript.role"]), &[]),
            r#"{"transcript":[{"role":"user"},{"role":"assistant"}]}"#
        );
        assert!(!shown(None, &["transcript.content"]).contains("secret"));
    }

    #[test]
    fn a_path_is_more_than_a_prefix() {
        assert_eq!(shown(Some(&["sum", "id.x", "callAnalysis.sent"]), &[]), "{}");
        assert!(shown(None, &["sum"]).contains("summary"));
    }

    #[test]
    fn a_path_is_shown_or_not() {
        let shows = |include, exclude| filter(include, exclude).shows("callAnalysis.sentiment");
        assert!(shows(None, &["summary"]) && shows(Some(&["callAnalysis"]), &["callAnalysis.x"]));
        assert!(shows(Some(&["callAnalysis.sentiment"]), &[]));
        assert!(!shows(None, &["callAnalysis"]) && !shows(None, &["callAnalysis.sentiment"]));
        assert!(
            !shows(Some(&["callAnalysis.x"]), &[])
                && !shows(Some(&["callAnalysis"]), &["callAnalysis.sentiment"])
        );
    }

    #[test]
    fn changes_do_not_tell_what_the_record_may_not() {
        let changes = Changes(
            serde_json::from_str(
                r#"{"summary": {"from": null, "to": "s"}, "status": {"from": "live", "to": "completed"},
                    "callAnalysis": {"from": null, "to": {"sentiment": "positive", "score": 3}}}"#,
            )
            .unwrap(),
        );
        let shown = |include, exclude| {
            serde_json::to_string(&*filter(include, exclude).changes(&changes).unwrap()).unwrap()
        };
        assert_eq!(
            shown(None, &["summary", "callAnalysis.score"]),
            r#"{"status":{"from":"live","to":"completed"},"callAnalysis":{"from":null,"to":{"sentiment":"positive"}}}"#
        );
        assert_eq!(
            shown(Some(&["status", "callAnalysis.score"]), &[]),
            r#"{"status":{"from":"live","to":"completed"},"callAnalysis":{"from":null,"to":{"score":3}}}"#
        );
    }
}
