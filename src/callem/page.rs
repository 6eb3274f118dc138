//! The bodies of the API's responses, read no deeper than needed.
//!
//! A page is read strictly first, which costs one pass. A page that is not JSON as a whole is read again with lenient
//! borders ([`super::borders`]), so that one bad record costs only itself. Memory is bounded by the body: records are ranges
//! of its text, and nothing is built of anything else.

use std::{borrow::Cow, fmt, ops::Range};

use serde::{
    Deserialize, Deserializer as _,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use tokio::sync::SemaphorePermit;

use super::{FetchError, borders};
use crate::{json, privacy::Mask, template::truncate};

/// How much of a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The most records; further ones are neither read nor counted.
    pub records: usize,
    /// The longest record, in bytes.
    pub record: usize,
}

/// A page: its records, and the length of the whole list by the API.
#[derive(Debug)]
pub struct Page {
    text: String,
    elements: Vec<Result<Range<usize>, Flaw>>,
    /// `pagination.total`, when it is there and a number.
    pub total: Option<u64>,
    /// Given back with the page.
    room: Option<SemaphorePermit<'static>>,
}

/// Why an element of a page is not a record. Never quotes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It is no JSON object.
    #[error("the record is not a JSON object")]
    NotAnObject,
    /// It is longer than the bound.
    #[error("the record is longer than `max_record`")]
    TooLong,
    /// It is not JSON.
    #[error("the record is not JSON: {0}")]
    NotJson(String),
}

impl Flaw {
    /// The reason in a word, to count records of the same kind together.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotAnObject => "not an object",
            Self::TooLong => "too long",
            Self::NotJson(_) => "not JSON",
        }
    }
}

impl Page {
    /// Reads a page without parsing its records. Takes any bytes. Those that are not UTF-8 become `?`, so that one bad text
    /// does not cost the page.
    ///
    /// # Errors
    /// If the body is not JSON, or not a page.
    pub fn read(bytes: Vec<u8>, bounds: Bounds) -> Result<Self, FetchError> {
        let text = to_text(bytes);
        let body = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let start = text.len() - body.len();
        let shape = match strict(body, bounds) {
            Ok(shape) => shape,
            Err(error) if error.is_data() => return Err(FetchError::WrongShape(NO_DATA.to_owned())),
            Err(_) => borders::read(body, bounds)?,
        };
        let shift = |range: Range<usize>| range.start + start..range.end + start;
        let elements = shape.elements.into_iter().map(|element| element.map(shift)).collect();
        Ok(Self { elements, total: shape.total, text, room: None })
    }

    /// Holds the room that a large body takes, for as long as the page is there.
    pub(super) fn keep_room(&mut self, room: Option<SemaphorePermit<'static>>) {
        self.room = room;
    }

    /// How many records there are, bad ones included.
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// The JSON text of each record, or what is wrong with it.
    pub fn records(&self) -> impl Iterator<Item = Result<&str, &Flaw>> {
        self.elements.iter().map(|element| match element {
            Ok(range) => self.text.get(range.clone()).ok_or(&Flaw::NotAnObject),
            Err(flaw) => Err(flaw),
        })
    }
}

/// The parts of a page: ranges of its text.
#[derive(Debug, Default)]
pub(super) struct Shape {
    pub(super) elements: Vec<Result<Range<usize>, Flaw>>,
    pub(super) total: Option<u64>,
}

const NO_DATA: &str = "a list has no array `data`";

/// Replaces what is not UTF-8 in place: text of the same length needs no more memory.
fn to_text(mut bytes: Vec<u8>) -> String {
    let mut from = 0;
    while let Err(error) = std::str::from_utf8(&bytes[from..]) {
        let bad = from + error.valid_up_to();
        let end = error.error_len().map_or(bytes.len(), |length| bad + length);
        bytes[bad..end].fill(b'?');
        from = end;
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// Whether this JSON value, strictly read, is a record within the bounds.
pub(super) fn element(text: &str, range: Range<usize>, bounds: Bounds) -> Result<Range<usize>, Flaw> {
    match text.as_bytes().get(range.start) {
        Some(b'{') if range.len() <= bounds.record => Ok(range),
        Some(b'{') => Err(Flaw::TooLong),
        _ => Err(Flaw::NotAnObject),
    }
}

/// `total` of this `pagination`, read as a number without building anything.
pub(super) fn total_of(pagination: &str) -> Option<u64> {
    let [total] = json::pick(pagination, ["total"])?;
    let number: f64 = total?.parse().ok()?;
    // Beyond 2⁵³ a float is not exact, and no list is that long.
    (0.0..9e15).contains(&number).then_some(number as u64)
}

fn strict(text: &str, bounds: Bounds) -> Result<Shape, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    let shape = json.deserialize_any(Whole { text, bounds })?;
    json.end()?;
    Ok(shape)
}

/// Reads a page as a whole.
struct Whole<'a> {
    text: &'a str,
    bounds: Bounds,
}

impl<'de> Visitor<'de> for Whole<'de> {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a page")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let (mut elements, mut total) = (None, None);
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match &*key {
                "data" => {
                    let Self { text, bounds } = self;
                    elements = Some(map.next_value_seed(Data(Self { text, bounds }))?);
                }
                "pagination" => total = total_of(map.next_value::<&RawValue>()?.get()),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Shape { elements: elements.ok_or_else(|| A::Error::missing_field("data"))?, total })
    }

    // A text of another type is read to its end, so that it is told from one that is not JSON.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Err(A::Error::missing_field("data"))
    }
}

/// Reads `data`: a list, or null for an empty one.
struct Data<'a>(Whole<'a>);

impl<'de> DeserializeSeed<'de> for Data<'de> {
    type Value = Vec<Result<Range<usize>, Flaw>>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Data<'de> {
    type Value = Vec<Result<Range<usize>, Flaw>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(vec![])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let Whole { text, bounds } = self.0;
        let mut elements = vec![];
        while elements.len() < bounds.records
            && let Some(raw) = seq.next_element::<&RawValue>()?
        {
            let start = raw.get().as_ptr() as usize - text.as_ptr() as usize;
            elements.push(element(text, start..start + raw.get().len(), bounds));
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(elements)
    }
}

/// The body of a response with a single call: a bare record.
pub(super) fn single(body: Vec<u8>) -> Result<Box<RawValue>, FetchError> {
    let text = to_text(body);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    serde_json::from_str(text).map_err(|_| FetchError::NotJson(looks_like(text.as_bytes())))
}

/// The longest part of an error's message that is looked at, and that is shown, in characters.
const MESSAGE_READ: usize = 4 << 10;
const MESSAGE_SHOWN: usize = 200;

/// The `message` of an error, without what `mask` hides and without phone numbers. Empty if the body has another shape,
/// because it might quote the request.
pub(super) fn error_message(body: &[u8], mask: &Mask) -> String {
    #[derive(Deserialize)]
    struct Error {
        message: String,
    }
    let message = serde_json::from_slice::<Error>(body).map(|error| error.message).unwrap_or_default();
    let begins: String = message.chars().take(MESSAGE_READ).collect();
    let clean = mask.foreign(&begins);
    // Text with this prefix is an API key, though perhaps not the one in use.
    if clean.contains("ck_") { String::new() } else { truncate(&clean, MESSAGE_SHOWN) }
}

/// The error of a body that is not JSON.
pub(super) fn not_json(body: &str) -> FetchError {
    FetchError::NotJson(looks_like(body.as_bytes()))
}

fn looks_like(body: &[u8]) -> &'static str {
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => "nothing at all",
        Some(b'<') => "HTML",
        Some(b'{' | b'[') => "JSON that breaks off",
        Some(_) => "text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { records: 100, record: 1 << 20 };

    type Read = Result<(Vec<Result<String, Flaw>>, Option<u64>), FetchError>;

    fn page(text: impl AsRef<[u8]>) -> Read {
        let page = Page::read(text.as_ref().to_vec(), BOUNDS)?;
        Ok((page.records().map(|it| it.map(str::to_owned).map_err(Flaw::clone)).collect(), page.total))
    }

    fn ids(text: impl AsRef<[u8]>) -> Vec<String> {
        let (records, _) = page(text).unwrap();
        let id = |record: &str| json::pick(record, ["id"]).unwrap()[0].unwrap().trim_matches('"').to_owned();
        records.iter().map(|record| record.as_ref().map_or("bad".to_owned(), |it| id(it))).collect()
    }

    #[test]
    fn records_are_slices_of_the_body_as_they_came() {
        let text = r#"{"data": [ {"id":"a",  "x": 1.0e2}, 7 ], "pagination": {"total": 1432, "limit": 50}}"#;
        let expected = vec![Ok(r#"{"id":"a",  "x": 1.0e2}"#.to_owned()), Err(Flaw::NotAnObject)];
        assert_eq!(page(text), Ok((expected.clone(), Some(1432))));
        assert_eq!(page(format!("\u{feff}\n{text}\n")), Ok((expected, Some(1432))));
    }

    #[test]
    fn a_missing_or_odd_total_is_no_total() {
        for text in [
            r#"{"data":[]}"#,
            r#"{"data":null}"#,
            r#"{"data":[],"pagination":null}"#,
            r#"{"data":[],"pagination":[1,2]}"#,
            r#"{"data":[],"pagination":{"total":"3"}}"#,
            r#"{"data":[],"pagination":{"total":-3}}"#,
            r#"{"data":[],"pagination":{"total":[3]}}"#,
        ] {
            assert_eq!(page(text), Ok((vec![], None)), "{text}");
        }
        assert_eq!(page(r#"{"pagination":{"total":3.0},"data":null}"#), Ok((vec![], Some(3))));
    }

    #[test]
    fn what_is_not_a_page_says_what_it_is() {
        let wrong = || FetchError::WrongShape(NO_DATA.to_owned());
        for (text, error) in [
            ("<html>", FetchError::NotJson("HTML")),
            ("", FetchError::NotJson("nothing at all")),
            (r#"{"data": [{"id": "a""#, FetchError::NotJson("JSON that breaks off")),
            (
                r#"{"data": [{"id": "a","status":"live"}, {"id": "b"#,
                FetchError::NotJson("JSON that breaks off"),
            ),
            (r#"{"data": [{"id": "a"}"#, FetchError::NotJson("JSON that breaks off")),
            (r#"{"calls": []}"#, wrong()),
            (r#"{"data": {}}"#, wrong()),
            (r#"{"data": "x"}"#, wrong()),
            ("[]", wrong()),
            ("7", wrong()),
        ] {
            assert_eq!(page(text), Err(error), "{text}");
        }
    }

    #[test]
    fn one_bad_record_costs_only_itself() {
        let healthy =
            |id: &str| format!(r#"{{"id":"{id}","status":"live","t":[{{"role":"user"}},{{"role":"bot"}}]}}"#);
        let (a, c) = (healthy("a"), healthy("c"));
        for bad in [
            "{\"id\":\"b\",\"status\":\"live\",\"summary\":\"one\ntwo\"}",
            r#"{"id":"b","status":"live","score":NaN}"#,
            r#"{"id":"b","status":"live","score":Infinity,"t":[{"role":"user"}]}"#,
            r#"{"id":"b","status":"live","summary":"cut sho"#,
            r#"{"id":"b","status":"live","callAnalysis":{"x":[1,{"y":2"#,
            r#"{"id":"b","status":"live","summary":"he said "no" to it"}"#,
            r#"{"id":"b","status":"live","summary":"a lonely quote" "}"#,
            r#"{"id":"b","status":"live",}"#,
            r#"{'id':'b','status':'live'}"#,
            r#"{"id":"b","status":"live","x":"\q"}"#,
            r#"{"id":"b","status":"live"]}"#,
            "undefined",
            "",
        ] {
            for (place, records) in [[bad, &a, &c], [&a, bad, &c], [&a, &c, bad]].iter().enumerate() {
                let text = format!(r#"{{"data":[{}],"pagination":{{"total":3}}}}"#, records.join(","));
                let mut expected = vec!["a".to_owned(), "c".to_owned()];
                expected.insert(place, "bad".to_owned());
                assert_eq!(ids(&text), expected, "{text}");
                assert_eq!(page(&text).unwrap().1, Some(3), "{text}");
            }
            let twice = format!(r#"{{"data":[{a},{bad},{c},{bad},{a}]}}"#);
            assert_eq!(ids(&twice), ["a", "bad", "c", "bad", "a"], "{twice}");
        }
    }

    #[test]
    fn a_page_of_beginnings_is_given_up_soon() {
        let begun = std::time::Instant::now();
        let tail = "x".repeat(4 << 20);
        for part in [r#"{"id":1,"a"#, r#"{"id":"#, r#"{"id":[{"status":1},"#, r#"{"id":"","status":"""#] {
            let page = format!(r#"{{"data":[{}{tail}"#, format!("{part},").repeat(5001));
            assert_eq!(self::page(page).unwrap_err(), FetchError::NotJson("JSON that breaks off"));
        }
        // An hour for 100 MB, when what does not end is looked through without being counted.
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{:?}", begun.elapsed());
    }

    #[test]
    fn no_more_records_are_looked_at_than_were_asked_for_and_long_ones_are_left_out() {
        let bounds = Bounds { records: 3, record: 20 };
        let text = format!(
            r#"{{"data":[1,{{"id":"{}"}},{{"id":"a"}}{}],"pagination":{{"total":9}}}}"#,
            "x".repeat(30),
            ",[]".repeat(500)
        );
        let page = Page::read(text.into_bytes(), bounds).unwrap();
        let found: Vec<_> = page.records().collect();
        assert_eq!(found, [Err(&Flaw::NotAnObject), Err(&Flaw::TooLong), Ok(r#"{"id":"a"}"#)]);
        assert_eq!(page.total, Some(9));
    }

    #[test]
    fn an_error_answer_gives_its_message_and_never_a_key() {
        let mask = Mask::of(["s3cr3t-of-the-clinic"]);
        let message = |body: &str| error_message(body.as_bytes(), &mask);
        for (said, shown) in [
            (r#"Invalid API key"#, "Invalid API key"),
            ("unknown key ck_live_123", ""),
            ("no key s3cr3t-of-the-clinic", "no key •••"),
            ("no key czNjcjN0LW9mLXRoZS1jbGluaWM=", "no key •••"),
            ("no call of +33 6 12 34 56 78 in (030) 1234-5678", "no call of +3361•••5678 in 03012•••5678"),
            (r"a\u202eb\u009b2J\nc", r"a\u{202e}b\u{9b}2J c"),
        ] {
            let body = format!(r#"{{"statusCode":401,"message":"{said}"}}"#);
            assert_eq!(message(&body), shown, "{body}");
        }
        let long = message(&format!(r#"{{"message":"{}"}}"#, "é".repeat(20_000)));
        assert_eq!(long.chars().count(), MESSAGE_SHOWN);
        assert_eq!(message("<html>"), "");
    }

    /// The most memory in use while `read` works, beyond the body itself, by the body's size.
    fn memory(body: Vec<u8>, read: impl FnOnce(Vec<u8>)) -> f64 {
        let size = body.len() as f64;
        allocation_counter::measure(|| read(body)).bytes_max as f64 / size
    }

    #[test]
    fn a_page_takes_at_most_three_times_its_size() {
        let bounds = Bounds { records: 1000, record: 4 << 20 };
        let many = |what: &str| what.repeat(3_000_000);
        let mut bad = vec![0xff; 10_000_000];
        bad[..9].copy_from_slice(br#"{"data":["#);
        let bodies = [
            format!(r#"{{"data":[],"pagination":[1{}]}}"#, many(",1")).into_bytes(),
            format!(r#"{{"data":[],"pagination":{{"total":[1{}]}}}}"#, many(",1")).into_bytes(),
            format!(r#"{{"data":[1{}]}}"#, many(",1")).into_bytes(),
            format!(r#"{{"data":[{{"id":"a","status":"live","x":[[]{}]}}]}}"#, many(",[]")).into_bytes(),
            format!(r#"{{"data":[{{"id":"a","status":"live","x":[[]{}]}}]}}"#, ",[]".repeat(1_000_000))
                .into_bytes(),
            format!(r#"{{"data":[{{"id":"a","status":"live",{}"x":1}}]}}"#, r#""":0,"#.repeat(700_000))
                .into_bytes(),
            format!(
                r#"{{"data":[{{"id":"a","status":"live",{}"x":1}}]}}"#,
                (0..60).map(|n| format!(r#""f{n}":[{{}}{}],"#, ",{}".repeat(19_000))).collect::<String>()
            )
            .into_bytes(),
            format!(r#"{{"data":[{}{}]}}"#, "[".repeat(3_000_000), "]".repeat(3_000_000)).into_bytes(),
            format!(r#"{{"data":[{}]}}"#, many(r#"{"id":"a","#)).into_bytes(),
            bad,
        ];
        for (number, body) in bodies.into_iter().enumerate() {
            let used = memory(body, |body| {
                for record in Page::read(body, bounds).iter().flat_map(Page::records).flatten() {
                    let raw = serde_json::from_str(record).unwrap();
                    drop(crate::call::Call::parse(raw));
                }
            });
            assert!(used <= 3.0, "body {number} took {used} times its size");
        }
    }
}
