//! Which fields of a call a receiver is shown: `include` and `exclude` applied to raw JSON. Pure.
//!
//! Values that are shown are copied byte for byte. Paths go through arrays: `transcript.content` is the `content` of
//! every entry of `transcript`. Values that no path leads into are shown whole or not at all, and never looked into. Where
//! a path leads through lists nested more deeply than [`MAX_DEPTH`], a note stands in place of what is below, because a
//! hidden field may be in it.

use std::{borrow::Cow, collections::BTreeSet};

use serde_json::{
    Map, Value,
    value::{RawValue, to_raw_value},
};

use super::FieldFilter;
use crate::{
    change::Changes,
    json::{MAX_DEPTH, Shallow, text},
    privacy::{HIDDEN, is_phone_number, mask_phone, plain, redacted},
    snapshot::TRANSCRIPT,
};

/// Fields that hold no free text.
const IN_ORDER: [&str; 6] = ["id", "status", "callerNumber", "calledNumber", "createdAt", "updatedAt"];

/// Stands in place of a value that is nested too deeply to be looked into, as JSON.
const TOO_DEEP_JSON: &str = "\"(nested too deeply to be shown)\"";

impl FieldFilter {
    /// The record without the fields that the receiver is not shown.
    pub(super) fn record<'a>(&self, record: &'a RawValue) -> Result<Cow<'a, RawValue>, serde_json::Error> {
        if self.shows_all() {
            return Ok(Cow::Borrowed(record));
        }
        let shown = self.pick(record, "", false, 0)?;
        Ok(Cow::Owned(shown.map_or_else(|| to_raw_value(&Map::new()), RawValue::from_string)?))
    }

    /// The changes without the fields that the receiver is not shown.
    pub(super) fn changes<'a>(&self, changes: &'a Changes) -> Result<Cow<'a, Changes>, serde_json::Error> {
        if self.shows_all() {
            return Ok(Cow::Borrowed(changes));
        }
        let mut shown = Changes::default();
        let mut names = BTreeSet::new();
        for (field, change) in &changes.0 {
            let Some(included) = self.verdict(field, false) else { continue };
            let mut sides = Map::new();
            for (side, value) in change.as_object().into_iter().flatten() {
                let raw = to_raw_value(value)?;
                let shown = self.pick(&raw, field, included, 1)?;
                let value = shown.map_or(Ok(Value::Null), |raw| serde_json::from_str(&raw))?;
                sides.insert(side.clone(), value);
            }
            let name = self.name(field, &mut names).unwrap_or_else(|| field.clone());
            shown.0.insert(name, Value::Object(sides));
        }
        Ok(Cow::Owned(shown))
    }

    /// Whether messages for people show the transcript.
    pub(super) fn shows_transcripts(&self) -> bool {
        let include = self.include.iter().flatten();
        self.transcript || include.into_iter().any(|path| starts_with(path, TRANSCRIPT))
    }

    /// Whether the receiver is shown the field at this path.
    pub(super) fn shows(&self, path: &str) -> bool {
        let mut ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
        let included =
            ends.try_fold(self.include.is_none(), |included, end| self.verdict(&path[..end], included));
        included == Some(true)
    }

    /// Whether `exclude`, `mask` or `hash` names this field. Then nothing derived from it may be shown, either.
    pub(super) fn hides(&self, field: &str) -> bool {
        self.exclude.contains(field) || is_at(&self.mask, field) || is_at(&self.hash, field)
    }

    /// Whether the receiver is shown any of the differences. A receiver that gets the call `in_full` is shown a
    /// transcript; in messages, `include` or `show` has to ask for it.
    pub(super) fn shows_any_of(&self, changes: &Changes, in_full: bool) -> bool {
        let Ok(shown) = self.changes(changes) else { return true };
        shown.0.values().any(|change| {
            // Neither side of a transcript is remembered.
            let is_transcript = change.as_object().is_some_and(Map::is_empty);
            if is_transcript { in_full || self.shows_transcripts() } else { change["from"] != change["to"] }
        })
    }

    pub(super) fn shows_all(&self) -> bool {
        let Self { include, exclude, transcript: _, mask, hash, hash_key: _, redact } = self;
        include.is_none() && [exclude, mask, hash].iter().all(|paths| paths.is_empty()) && redact.is_empty()
    }

    /// The fields of a record that the receiver is not shown as they are, each with the reason. Messages for people,
    /// which are not the call `in_full`, name the call and its time whatever fields they show.
    pub(super) fn reasons(&self, record: &RawValue, in_full: bool) -> Vec<(String, &'static str)> {
        let fields = Shallow::read(record.get()).map(|fields| fields.0).unwrap_or_default();
        let is_word = |json: &str| json == "null" || json == "true" || json == "false";
        let words: BTreeSet<String> =
            (fields.iter()).filter(|(_, value)| is_word(value.get())).map(|(name, _)| text(name)).collect();
        let mut names: Vec<_> = fields.into_iter().map(|(name, _)| text(name)).collect();
        // A nested field is listed only if the config names it.
        let named = self.exclude.iter().chain(&self.mask).chain(&self.hash).filter(|path| path.contains('.'));
        names.extend(
            named
                .filter(|path| names.iter().any(|name| starts_with(path, name)))
                .cloned()
                .collect::<Vec<_>>(),
        );
        let reason = |path: &str| match self.shows(path) {
            false if !in_full && path == "id" => None,
            false if !in_full && path == "createdAt" && !self.hides(path) => {
                Some("left out as a field; messages still say when the call was, unless `exclude` names it")
            }
            false if self.exclude.contains(path) => Some("left out, by `exclude` or `show`"),
            false => Some("left out, because neither `include` nor `show` names it"),
            true if is_at(&self.mask, path) => Some("masked, by `mask`"),
            true if is_at(&self.hash, path) && self.hash_key.is_none() => {
                Some("masked here, and hashed where `hash_key` can be read, by `hash`")
            }
            true if is_at(&self.hash, path) => Some("hashed, by `hash`"),
            true if !self.redact.is_empty() && !IN_ORDER.contains(&path) && !words.contains(path) => {
                Some("shown, but for what `redact` replaces in its texts")
            }
            true => None,
        };
        names.into_iter().filter_map(|name| reason(&name).map(|reason| (name, reason))).collect()
    }

    /// Whether values at or below `path` are shown as they are.
    fn is_untouched(&self, path: &str) -> bool {
        let below = |paths: &BTreeSet<String>| paths.iter().any(|other| starts_with(other, path));
        self.redact.is_empty() && ![&self.exclude, &self.mask, &self.hash].into_iter().any(below)
    }

    /// A value that is neither a list nor an object as the receiver is shown it; `is_masked` when its field is.
    fn value(&self, value: &RawValue, path: &str, is_masked: bool) -> Result<String, serde_json::Error> {
        let is_text = value.get().starts_with('"');
        let is_hashed = is_at(&self.hash, path);
        let is_number = value.get().starts_with(|c: char| c == '-' || c.is_ascii_digit());
        let is_shown = !is_masked && !is_hashed && (self.redact.is_empty() || !(is_text || is_number));
        // An empty value gives nothing away.
        if is_shown || matches!(value.get(), "null" | "\"\"") {
            return Ok(value.get().to_owned());
        }
        let text: Cow<'_, str> = match serde_json::from_str(value.get())? {
            Value::String(text) => text.into(),
            // A number that is written without quotes.
            _ => value.get().into(),
        };
        // A number stays a number unless `redact` finds something in its digits.
        if !is_text && !is_masked && !is_hashed {
            let digits = plain_number(&text);
            let clean = self.redacted(&digits);
            let is_kept = IN_ORDER.contains(&path) || digits.contains('.') || clean == digits;
            return if is_kept { Ok(value.get().to_owned()) } else { serde_json::to_string(&clean) };
        }
        serde_json::to_string(&match (&self.hash_key, is_hashed) {
            (Some(key), true) if is_text => key.hash(&plain(&text)),
            (Some(key), true) => key.hash(&plain_number(&text)),
            (None, true) => masked(&text),
            _ if is_masked => masked(&text),
            // The values of these fields are no free text, though they look like it.
            _ if IN_ORDER.contains(&path) => text.into_owned(),
            _ => self.redacted(&text),
        })
    }

    fn redacted(&self, text: &str) -> String {
        redacted(text, self.redact.iter().copied())
    }

    /// The name of a field as the receiver is shown it, when that differs: `redact` may find a phone number in a name.
    /// A name that is in `names`, because another field has it, is numbered.
    fn name(&self, name: &str, names: &mut BTreeSet<String>) -> Option<String> {
        if self.redact.is_empty() {
            return None;
        }
        let clean = self.redacted(name);
        let numbered = (2..).map(|number| format!("{clean} ({number})"));
        let mut candidates = std::iter::once(clean.clone()).chain(numbered);
        let free = candidates.find(|candidate| !names.contains(candidate)).filter(|_| clean != name);
        names.insert(free.clone().unwrap_or_else(|| name.to_owned()));
        free
    }

    /// The part of the value at `path` that is shown. `included` says whether `include` names this path or one above it.
    fn pick(
        &self,
        value: &RawValue,
        path: &str,
        included: bool,
        depth: usize,
    ) -> Result<Option<String>, serde_json::Error> {
        let mut shown = String::new();
        let any = self.write(value, path, included, depth, &mut shown)?;
        Ok(any.then_some(shown))
    }

    /// Appends that part to `out`, and says whether there is any; `depth` says in how many lists and objects it stands.
    fn write(
        &self,
        value: &RawValue,
        path: &str,
        included: bool,
        depth: usize,
        out: &mut String,
    ) -> Result<bool, serde_json::Error> {
        let start = out.len();
        let opening = value.get().bytes().next();
        let is_whole = included && self.is_untouched(path);
        let is_masked = is_at(&self.mask, path);
        match opening {
            Some(b'{' | b'[') if is_whole => out.push_str(value.get()),
            // Neither what it holds nor how much of it.
            Some(b'{' | b'[') if is_masked && included => out.push_str(&serde_json::to_string(HIDDEN)?),
            Some(b'{' | b'[') if depth >= MAX_DEPTH => {
                out.push_str(if included { TOO_DEEP_JSON } else { "" });
            }
            Some(b'{') => {
                out.push('{');
                let mut names = BTreeSet::new();
                for (name, value) in Shallow::read(value.get())?.0 {
                    let (field, before) = (text(name), out.len());
                    let path = if path.is_empty() { field } else { format!("{path}.{field}") };
                    let Some(included) = self.verdict(&path, included) else { continue };
                    let comma = if before > start + 1 { "," } else { "" };
                    let other = self.name(&text(name), &mut names).map(|name| serde_json::to_string(&name));
                    out.extend([comma, other.transpose()?.as_deref().unwrap_or(name.get()), ":"]);
                    if !self.write(value, &path, included, depth + 1, out)? {
                        out.truncate(before);
                    }
                }
                out.push('}');
            }
            Some(b'[') => {
                out.push('[');
                for item in serde_json::from_str::<Vec<&RawValue>>(value.get())? {
                    let before = out.len();
                    out.push_str(if before > start + 1 { "," } else { "" });
                    if !self.write(item, path, included, depth + 1, out)? {
                        out.truncate(before);
                    }
                }
                out.push(']');
            }
            _ if included => out.push_str(&self.value(value, path, is_masked)?),
            _ => {}
        }
        // Empty braces are shown only where the whole value is included.
        if !included && out.len() <= start + 2 {
            out.truncate(start);
        }
        Ok(out.len() > start)
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

/// The mask of a value, which shows only that there is one; of a phone number, the beginning and the end.
fn masked(text: &str) -> String {
    if is_phone_number(text) { mask_phone(text) } else { HIDDEN.to_owned() }
}

/// A number as JSON has it, written in the one way that all its spellings share: `2` for `2.0`.
fn plain_number(json: &str) -> String {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match json.parse::<f64>() {
        Ok(number) if number.fract() == 0.0 && number.abs() < EXACT => format!("{number:.0}"),
        Ok(number) if number.is_finite() && json.contains(['.', 'e', 'E']) => number.to_string(),
        _ => json.to_owned(),
    }
}

/// Whether one of `paths` is `path` or lies above it.
fn is_at(paths: &BTreeSet<String>, path: &str) -> bool {
    paths.iter().any(|other| starts_with(path, other))
}

/// Whether `path` is `prefix` or lies below it.
fn starts_with(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::privacy::{HashKey, Redact};

    const RECORD: &str = r#"{"id": "c1", "big": 12345678901234567890123, "summary": "s", "callAnalysis": {"sentiment":"positive", "x": {"y": 1.0e5, "z": 2}}, "transcript": [{"role": "user", "content": "secret"}, {"role": "assistant", "content": "secret too"}]}"#;

    fn filter(include: Option<&[&str]>, exclude: &[&str]) -> FieldFilter {
        let set = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        FieldFilter { include: include.map(set), exclude: set(exclude), ..FieldFilter::default() }
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
    fn what_is_nested_too_deeply_is_shown_whole_or_not_at_all() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        let text = format!(r#"{{"id":"a\ud83d","deep":{deep}}}"#);
        let record: &RawValue = serde_json::from_str(&text).unwrap();
        let shown = |include, exclude| filter(include, exclude).record(record).unwrap().get().to_owned();
        assert_eq!(shown(None, &["id"]), format!(r#"{{"deep":{deep}}}"#));
        assert_eq!(shown(Some(&["deep"]), &[]), format!(r#"{{"deep":{deep}}}"#));
        assert_eq!(shown(Some(&["id", "deep.x"]), &[]), r#"{"id":"a\ud83d"}"#);
        let noted = shown(None, &["deep.x"]);
        assert!(noted.len() < 300 && noted.contains(TOO_DEEP_JSON), "{noted}");
    }

    #[test]
    fn what_is_masked_shows_that_it_is_there_and_texts_lose_what_is_replaced() {
        const CALL: &str = r#"{"id":"4242424242424242","callerNumber":"+33612345678","n":33612345678,"callAnalysis":{"patient":"Jane Alexandra Doe","tags":["a"],"none":null,"mail":"a@b.example"},"summary":"She paid with 4242 4242 4242 4242.","transcript":[{"role":"user","content":"a@b.example"}]}"#;
        let paths = ["callerNumber", "n", "callAnalysis.patient", "callAnalysis.tags", "callAnalysis.none"];
        let filter = FieldFilter {
            mask: paths.map(str::to_owned).into(),
            redact: [Redact::Card, Redact::Email].into(),
            ..filter(None, &["callAnalysis.nothing"])
        };
        let record: &RawValue = serde_json::from_str(CALL).unwrap();
        assert_eq!(
            filter.record(record).unwrap().get(),
            r#"{"id":"4242424242424242","callerNumber":"+3361•••5678","n":"33612•••5678","callAnalysis":{"patient":"•••","tags":"•••","none":null,"mail":"[email]"},"summary":"She paid with [card].","transcript":[{"role":"user","content":"[email]"}]}"#
        );
        let changes = json!({ "callerNumber": { "from": null, "to": "+33612345678" } });
        let changes = Changes(changes.as_object().unwrap().clone());
        let shown = serde_json::to_string(&*filter.changes(&changes).unwrap()).unwrap();
        assert_eq!(shown, r#"{"callerNumber":{"from":null,"to":"+3361•••5678"}}"#);
        let reasons = filter.reasons(record, true);
        let of = |name: &str| reasons.iter().find(|(it, _)| it == name).map(|(_, reason)| *reason);
        assert_eq!(of("callerNumber"), Some("masked, by `mask`"));
        assert_eq!(of("callAnalysis.patient"), Some("masked, by `mask`"));
        assert_eq!((of("id"), of("summary").is_some()), (None, true));
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
    fn the_same_value_has_the_same_hash_wherever_it_stands() {
        let record = r#"{"id": "c1", "a": "+33612345678", "b": ["+33 6 12 34 56 78", null, ""], "c": {"x": 2, "y": 2.0, "z": true}, "d": 2}"#;
        let paths = ["a", "b", "c"].map(str::to_owned);
        let mut filter = FieldFilter { hash: paths.into(), ..FieldFilter::default() };
        let shown = |filter: &FieldFilter| -> Value {
            let record: &RawValue = serde_json::from_str(record).unwrap();
            serde_json::from_str(filter.record(record).unwrap().get()).unwrap()
        };
        // Without the key nothing more is shown than that there is something.
        let masked = shown(&filter);
        assert_eq!(masked["a"], "+3361•••5678");
        assert_eq!(masked["c"], json!({ "x": "•••", "y": "•••", "z": "•••" }));
        filter.hash_key = Some(HashKey::new("correct horse battery staple"));
        let shown = shown(&filter);
        assert_eq!(shown["a"], "0a0c5ce9ab516d2fc4345cbbfb635e6b878783a625f294f740b12b64e56ed217");
        assert_eq!(shown["b"], json!([shown["a"], null, ""]));
        assert_eq!(shown["c"]["x"], shown["c"]["y"]);
        assert_ne!(shown["c"]["x"], shown["c"]["z"]);
        assert_eq!((&shown["d"], &shown["id"]), (&json!(2), &json!("c1")));
    }

    #[test]
    fn numbers_and_names_of_fields_are_texts_to_redact() {
        let record = r#"{"duration":145,"big":12345.50,"callAnalysis":{"n":33612345678,"card":4242424242424242,"ok":true,"+33612345678":1,"0612345678":2,"0612345679":3}}"#;
        let redact = Redact::ALL.map(|(_, kind)| kind).into();
        let filter = FieldFilter { redact, ..FieldFilter::default() };
        let record: &RawValue = serde_json::from_str(record).unwrap();
        assert_eq!(
            filter.record(record).unwrap().get(),
            r#"{"duration":145,"big":12345.50,"callAnalysis":{"n":"33612•••5678","card":"[card]","ok":true,"+3361•••5678":1,"•••":2,"••• (2)":3}}"#
        );
        let changes = json!({"callAnalysis": {"from": null, "to": {"n": 33612345678_u64}}});
        let changes = Changes(serde_json::from_value(changes).unwrap());
        let shown = serde_json::to_string(&*filter.changes(&changes).unwrap()).unwrap();
        assert_eq!(shown, r#"{"callAnalysis":{"from":null,"to":{"n":"33612•••5678"}}}"#);
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
