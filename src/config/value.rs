//! One TOML value: its type, its content and its place in the file.

use std::ops::{Range, RangeInclusive};

use serde_json::Value as Json;
use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{context::Context, report::Mistake};

/// A value and its place.
pub(crate) struct Value<'a> {
    pub cx: &'a Context<'a>,
    pub span: Range<usize>,
    value: &'a DeValue<'a>,
}

impl<'a> Value<'a> {
    pub fn new(cx: &'a Context<'a>, value: &'a Spanned<DeValue<'a>>) -> Self {
        Self { cx, span: value.span(), value: value.get_ref() }
    }

    pub fn error(&self, message: impl Into<String>) -> Mistake {
        Mistake::error(self.span.clone(), message)
    }

    pub fn warning(&self, message: impl Into<String>) -> Mistake {
        Mistake::warning(self.span.clone(), message)
    }

    /// The mistake of being of another type than `expected` ("a text", "a list of texts").
    pub fn wrong_type(&self, expected: &str) -> Mistake {
        if self.is_list() || self.is_table() {
            // One of its values may be a secret.
            self.hide();
        }
        let found = match self.value {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a decimal number",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.error(format!("expected {expected}, found {found}"))
    }

    pub fn text(&self) -> Result<&'a str, Mistake> {
        match self.value {
            DeValue::String(text) => Ok(text),
            _ => Err(self.wrong_type("a text")),
        }
    }

    pub fn is_text(&self) -> bool {
        matches!(self.value, DeValue::String(_))
    }

    pub fn is_table(&self) -> bool {
        matches!(self.value, DeValue::Table(_))
    }

    pub fn is_list(&self) -> bool {
        matches!(self.value, DeValue::Array(_))
    }

    /// The digits of an integer written in decimal.
    pub fn digits(&self) -> Option<&'a str> {
        match self.value {
            DeValue::Integer(integer) if integer.radix() == 10 => Some(integer.as_str()),
            _ => None,
        }
    }

    pub fn boolean(&self) -> Result<bool, Mistake> {
        match self.value {
            DeValue::Boolean(boolean) => Ok(*boolean),
            _ => Err(self.wrong_type("true or false")),
        }
    }

    /// A date or time, or both, as it is written.
    pub fn datetime(&self) -> Option<String> {
        match self.value {
            DeValue::Datetime(datetime) => Some(datetime.to_string()),
            _ => None,
        }
    }

    /// The same value in JSON. A date or time becomes its text.
    pub fn json(&self) -> Result<Json, Mistake> {
        Ok(match self.value {
            DeValue::String(text) => Json::from(text.as_ref()),
            DeValue::Boolean(boolean) => Json::from(*boolean),
            DeValue::Datetime(datetime) => Json::from(datetime.to_string()),
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
                .map(Json::from)
                .map_err(|_| self.error("this number is too large"))?,
            DeValue::Float(float) => float
                .as_str()
                .parse()
                .ok()
                .and_then(serde_json::Number::from_f64)
                .map(Json::from)
                .ok_or_else(|| self.error("JSON has no such number"))?,
            DeValue::Array(_) => {
                let elements = self.elements()?;
                elements.iter().map(Self::json).collect::<Result<_, _>>()?
            }
            DeValue::Table(entries) => {
                let fields = entries_of(self.cx, entries).into_iter();
                let fields = fields.map(|(name, value)| Ok((name.get_ref().to_string(), value.json()?)));
                Json::Object(fields.collect::<Result<_, Mistake>>()?)
            }
        })
    }

    /// A whole number within `range`.
    pub fn integer(&self, range: RangeInclusive<u32>) -> Result<u32, Mistake> {
        let DeValue::Integer(integer) = self.value else { return Err(self.wrong_type("an integer")) };
        i128::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| self.error(format!("expected {} to {}", range.start(), range.end())))
    }

    pub fn elements(&self) -> Result<Vec<Value<'a>>, Mistake> {
        let DeValue::Array(elements) = self.value else {
            let mistake = self.wrong_type("a list");
            return Err(match self.is_text() {
                true => mistake.hint("put it into brackets, as in [\"one\", \"two\"]"),
                false => mistake,
            });
        };
        Ok(elements.iter().map(|element| Value::new(self.cx, element)).collect())
    }

    /// The keys and values of a table, as the parser gives them.
    pub(super) fn table_entries(&self) -> Result<&'a DeTable<'a>, Mistake> {
        match self.value {
            DeValue::Table(entries) => Ok(entries),
            _ => {
                self.hide();
                Err(self.wrong_type("a table"))
            }
        }
    }

    /// The place in the file of a part of a text; `part` counts bytes of the text without its quotes and escapes.
    pub fn part(&self, part: Range<usize>) -> Range<usize> {
        let raw = &self.cx.text[self.span.clone()];
        let inside = inside_quotes(raw);
        let from = self.span.start + inside.start;
        let place = match self.value {
            DeValue::String(value) if raw.starts_with('"') => part_of_escaped(&raw[inside], value, part),
            DeValue::String(value) if raw[inside] == **value => value.get(part.clone()).map(|_| part),
            _ => None,
        };
        place.map_or(self.span.clone(), |place| from + place.start..from + place.end)
    }

    /// Keeps the value out of the report.
    pub fn hide(&self) {
        match self.value {
            DeValue::Array(_) => {
                for element in self.elements().unwrap_or_default() {
                    element.hide();
                }
            }
            DeValue::Table(entries) => {
                for (_, value) in entries_of(self.cx, entries) {
                    value.hide();
                }
            }
            _ => {
                let inside = inside_quotes(&self.cx.text[self.span.clone()]);
                self.cx.hide(self.span.start + inside.start..self.span.start + inside.end);
            }
        }
    }
}

/// The keys and values of a table in the order of the file.
pub(super) fn entries_of<'a>(
    cx: &'a Context<'a>,
    entries: &'a DeTable<'a>,
) -> Vec<(&'a Spanned<DeString<'a>>, Value<'a>)> {
    let mut all: Vec<_> = entries.iter().map(|(key, value)| (key, Value::new(cx, value))).collect();
    all.sort_by_key(|(key, _)| key.span().start);
    all
}

/// The part of a TOML string as written that is between its quotes.
fn inside_quotes(raw: &str) -> Range<usize> {
    let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| raw.starts_with(quote)).unwrap_or("");
    let end = raw.len() - if raw.len() >= 2 * quote.len() && raw.ends_with(quote) { quote.len() } else { 0 };
    let mut start = quote.len();
    if quote.len() == 3 {
        // A line break right after the opening quotes does not belong to the value.
        let content = &raw[start..];
        start += if content.starts_with("\r\n") { 2 } else { usize::from(content.starts_with('\n')) };
    }
    start..end.max(start)
}

/// The place of a part of `value` in `raw`, the basic string as it is written between its quotes.
fn part_of_escaped(raw: &str, value: &str, part: Range<usize>) -> Option<Range<usize>> {
    let (mut at, mut read) = (0, 0);
    let (mut start, mut end) = (None, None);
    while let Some(c) = raw[at..].chars().next() {
        let escaped = &raw[at + c.len_utf8()..];
        let code = |digits: usize| {
            let code = u32::from_str_radix(escaped.get(1..1 + digits)?, 16).ok()?;
            Some((2 + digits, char::from_u32(code)?.len_utf8()))
        };
        let (taken, given) = match escaped.chars().next() {
            _ if c != '\\' => (c.len_utf8(), c.len_utf8()),
            Some('x') => code(2)?,
            Some('u') => code(4)?,
            Some('U') => code(8)?,
            // A backslash at the end of a line skips the line break and all white space after it.
            Some(c) if c.is_whitespace() => (1 + escaped.len() - escaped.trim_start().len(), 0),
            // TOML has no such escape of other characters, but the place of what follows is still wanted.
            Some(other) => (1 + other.len_utf8(), 1),
            None => return None,
        };
        if given > 0 && read == part.start {
            start = Some(at);
        }
        at += taken;
        read += given;
        if given > 0 && read == part.end {
            end = Some(at);
        }
    }
    let start = start.or((part.start == value.len()).then_some(raw.len()))?;
    let end = if part.is_empty() { start } else { end? };
    (read == value.len()).then_some(start..end)
}
