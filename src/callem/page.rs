//! The bodies of the API's responses, read no deeper than needed.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::FetchError;

/// The body of a response with a list.
#[derive(Debug)]
pub struct PageBody(String);

/// A page: raw records, and the length of the whole list by the API.
#[derive(Debug)]
pub struct Page<'a> {
    /// The records, each a slice of the body.
    pub records: Vec<&'a RawValue>,
    /// `pagination.total`, when it is there and a number.
    pub total: Option<u64>,
}

#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    #[serde(default)]
    pagination: Option<Value>,
}

impl PageBody {
    /// Takes any bytes; [`PageBody::read`] says whether they are a page. Bytes that are not UTF-8 are replaced, so that one
    /// bad text does not cost the page.
    pub fn new(bytes: Vec<u8>) -> Self {
        let lossy =
            |error: std::string::FromUtf8Error| String::from_utf8_lossy(error.as_bytes()).into_owned();
        Self(String::from_utf8(bytes).unwrap_or_else(lossy))
    }

    /// Reads the page without parsing its records.
    ///
    /// # Errors
    /// If the body is not JSON, or not a page.
    pub fn read(&self) -> Result<Page<'_>, FetchError> {
        let shape: Shape<'_> = serde_json::from_str(&self.0).map_err(|error| {
            if error.is_data() {
                FetchError::WrongShape("a list has no array `data`")
            } else {
                FetchError::NotJson(looks_like(self.0.as_bytes()))
            }
        })?;
        let total = shape.pagination.as_ref().and_then(|p| p.get("total")).and_then(Value::as_u64);
        Ok(Page { records: shape.data, total })
    }
}

/// The body of a response with a single call: a bare record.
pub(super) fn single(body: &[u8]) -> Result<Box<RawValue>, FetchError> {
    serde_json::from_str(&String::from_utf8_lossy(body)).map_err(|_| FetchError::NotJson(looks_like(body)))
}

/// The `message` of an error. Empty if the body has another shape, because it might quote the request.
pub(super) fn error_message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Error {
        message: String,
    }
    let message = serde_json::from_slice::<Error>(body).map(|error| error.message).unwrap_or_default();
    let clean: String = message.chars().filter(|c| !c.is_control()).take(200).collect();
    // If the API echoes the key, it must not get into a log.
    if clean.contains("ck_") { String::new() } else { clean }
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
    use serde_json::value::RawValue;

    use super::*;

    fn page(text: &str) -> Result<(Vec<String>, Option<u64>), FetchError> {
        let body = PageBody::new(text.as_bytes().to_vec());
        let page = body.read()?;
        Ok((page.records.iter().map(|raw: &&RawValue| raw.get().to_owned()).collect(), page.total))
    }

    #[test]
    fn records_are_slices_of_the_body_as_they_came() {
        let text = r#"{"data": [ {"id":"a",  "x": 1.0e2}, 7 ], "pagination": {"total": 1432, "limit": 50}}"#;
        let expected = vec![r#"{"id":"a",  "x": 1.0e2}"#.to_owned(), "7".to_owned()];
        assert_eq!(page(text), Ok((expected, Some(1432))));
    }

    #[test]
    fn a_missing_or_odd_total_is_no_total() {
        for text in [
            r#"{"data":[]}"#,
            r#"{"data":[],"pagination":null}"#,
            r#"{"data":[],"pagination":{"total":"3"}}"#,
        ] {
            assert_eq!(page(text), Ok((vec![], None)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_page_says_what_it_is() {
        for (text, error) in [
            ("<html>", FetchError::NotJson("HTML")),
            ("", FetchError::NotJson("nothing at all")),
            (r#"{"data": [{"id": "a""#, FetchError::NotJson("JSON that breaks off")),
            (r#"{"calls": []}"#, FetchError::WrongShape("a list has no array `data`")),
            ("[]", FetchError::WrongShape("a list has no array `data`")),
        ] {
            assert_eq!(page(text), Err(error), "{text}");
        }
    }

    #[test]
    fn an_error_answer_gives_its_message_and_never_a_key() {
        assert_eq!(error_message(br#"{"statusCode":401,"message":"Invalid API key"}"#), "Invalid API key");
        assert_eq!(error_message(br#"{"message":"unknown key ck_live_123"}"#), "");
        assert_eq!(error_message(b"<html>"), "");
    }
}
