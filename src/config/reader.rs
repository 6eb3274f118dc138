//! Reading TOML piece by piece, so that one mistake does not hide the next.
//!
//! A [`Table`] is asked for its keys; what it was never asked for is an unknown key. A [`Value`] is read by a
//! function that answers with what it made of it or with a [`Mistake`] at the exact place.

use std::{cell::RefCell, ops::Range, path::Path};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{LoadOptions, report::Mistake};
use crate::name::Name;

/// What all readers of one file share.
pub(super) struct Context<'a> {
    /// The file's text.
    text: &'a str,
    /// What relative paths are relative to.
    pub folder: &'a Path,
    pub options: LoadOptions<'a>,
    /// There are syntax errors: what seems to be absent may just not have been understood.
    broken: bool,
    mistakes: RefCell<Vec<Mistake>>,
    hidden: RefCell<Vec<Range<usize>>>,
}

impl<'a> Context<'a> {
    pub fn new(text: &'a str, folder: &'a Path, options: LoadOptions<'a>, broken: bool) -> Self {
        Self { text, folder, options, broken, mistakes: RefCell::default(), hidden: RefCell::default() }
    }

    pub fn add(&self, mistake: Mistake) {
        self.mistakes.borrow_mut().push(mistake);
    }

    /// Notes that something is missing; kept back while the file has syntax errors.
    pub fn add_absence(&self, mistake: Mistake) {
        if !self.broken {
            self.add(mistake);
        }
    }

    /// Keeps this part of the text out of the report.
    pub fn hide(&self, span: Range<usize>) {
        self.hidden.borrow_mut().push(span);
    }

    /// The mistakes found, and the text with stars in place of what is hidden.
    pub fn finish(self) -> (Vec<Mistake>, String) {
        let hidden = self.hidden.into_inner();
        let text = self
            .text
            .char_indices()
            .flat_map(|(at, c)| {
                let hide = !matches!(c, '\n' | '\r') && hidden.iter().any(|span| span.contains(&at));
                let (c, times) = if hide { ('*', c.len_utf8()) } else { (c, 1) };
                std::iter::repeat_n(c, times)
            })
            .collect();
        (self.mistakes.into_inner(), text)
    }
}

/// A table, and which of its keys are known.
pub(super) struct Table<'a> {
    pub cx: &'a Context<'a>,
    /// Its header, or the whole of an inline table.
    pub span: Range<usize>,
    entries: &'a DeTable<'a>,
    known: Vec<&'static str>,
    /// No key is unknown.
    lenient: bool,
}

impl<'a> Table<'a> {
    pub fn new(cx: &'a Context<'a>, span: Range<usize>, entries: &'a DeTable<'a>) -> Self {
        Self { cx, span, entries, known: Vec::new(), lenient: false }
    }

    /// The value of `key`, which is a known key from here on.
    pub fn value(&mut self, key: &'static str) -> Option<Value<'a>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.entries.get(key).map(|value| Value::new(self.cx, value))
    }

    /// Reads the value of `key` if there is one. `None` as well when it is wrong: that is reported here.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value<'a>) -> Result<T, Mistake>,
    ) -> Option<T> {
        let value = self.value(key)?;
        self.note(read(&value))
    }

    /// Reads the value of `key`; that there is none is reported.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&Value<'a>) -> Result<T, Mistake>,
    ) -> Option<T> {
        self.require(key, example);
        self.optional(key, read)
    }

    /// Reports that there is no `key`.
    pub fn require(&self, key: &str, example: &str) {
        if !self.has(key) {
            self.cx.add_absence(
                Mistake::error(self.span.clone(), format!("`{key}` is missing"))
                    .hint(format!("add {key} = {example}")),
            );
        }
    }

    /// Whether there is such a key, right or wrong.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Reads a list element by element.
    pub fn list<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&Value<'a>) -> Result<T, Mistake>,
    ) -> Option<Vec<T>> {
        let elements = self.optional(key, Value::elements)?;
        // Not `?` at the first wrong one: every element is looked at.
        let read: Vec<_> = elements.iter().map(|element| self.note(read(element))).collect();
        read.into_iter().collect()
    }

    /// Reads a list, or a single value in place of a list of one.
    pub fn one_or_list<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Value<'a>) -> Result<T, Mistake>,
    ) -> Option<Vec<T>> {
        match self.value(key) {
            Some(value) if value.is_list() => self.list(key, read),
            _ => self.optional(key, read).map(|one| vec![one]),
        }
    }

    /// Reads a list that must not be empty and must not hold anything twice.
    pub fn set<T: PartialEq>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&Value<'a>) -> Result<T, Mistake>,
    ) -> Option<Vec<T>> {
        let mut seen: Vec<T> = Vec::new();
        let list = self.list(key, |value| {
            let element = read(value)?;
            if seen.contains(&element) {
                return Err(value.error("this is in the list twice"));
            }
            seen.push(element);
            Ok(())
        })?;
        if list.is_empty() {
            self.cx.add(Mistake::error(self.span_of(key), format!("`{key}` is empty")));
            return None;
        }
        Some(seen)
    }

    /// Reads the table under `key`, and reports the keys in it that `read` did not ask for.
    pub fn section<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Table<'a>) -> T) -> Option<T> {
        self.optional(key, |value| {
            let mut table = value.table()?;
            let result = read(&mut table);
            table.finish();
            Ok(result)
        })
    }

    /// Reads the tables `[key.NAME]` in the order of the file; leaves out those that are wrong.
    pub fn named<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(Name, &mut Table<'a>) -> Option<T>,
    ) -> Vec<T> {
        let Some(outer) = self.optional(key, |value| {
            value.table().map_err(|mistake| mistake.hint(format!("give each one a name: [{key}.NAME]")))
        }) else {
            return Vec::new();
        };
        let mut all = Vec::new();
        for (name, value) in outer.values() {
            let text = name.get_ref();
            if !Name::is_valid(text) {
                self.cx.add(
                    Mistake::error(name.span(), format!("`{}` cannot be a name", text.escape_debug()))
                        .hint("a name is up to 64 of the letters A-Z and a-z, digits, `-`, `_` and `.`"),
                );
            }
            if let Some(mut table) = self.note(value.table()) {
                let result = read(Name::from(text.as_ref()), &mut table);
                table.finish();
                all.extend(result);
            }
        }
        all
    }

    /// The names and places of the tables `[key.NAME]`, in the order of the file.
    pub fn declared(&self, key: &str) -> Vec<(Name, Range<usize>)> {
        match self.entries.get(key).map(Spanned::get_ref) {
            Some(DeValue::Table(entries)) => Table::new(self.cx, 0..0, entries)
                .values()
                .into_iter()
                .map(|(name, value)| (Name::from(name.get_ref().as_ref()), value.span))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Every key with its value, in the order of the file. None of them is unknown then.
    pub fn values(&self) -> Vec<(&'a Spanned<DeString<'a>>, Value<'a>)> {
        let mut all: Vec<_> =
            self.entries.iter().map(|(key, value)| (key, Value::new(self.cx, value))).collect();
        all.sort_by_key(|(key, _)| key.span().start);
        all
    }

    /// Where the value of `key` is; the table's own place when it is not there.
    pub fn span_of(&self, key: &str) -> Range<usize> {
        self.entries.get(key).map_or(self.span.clone(), Spanned::span)
    }

    /// Takes every key for a known one.
    pub fn accept_all(&mut self) {
        self.lenient = true;
    }

    /// Reports every key that nobody asked for.
    pub fn finish(self) {
        for (key, value) in self.values() {
            let text = key.get_ref().as_ref();
            if self.lenient || self.known.contains(&text) {
                continue;
            }
            // It may be a misspelt `api_key`.
            value.hide();
            self.cx.add(
                Mistake::error(key.span(), format!("unknown key `{}`", text.escape_debug()))
                    .hint(closest_of(text, &self.known)),
            );
        }
    }

    /// Adds what is wrong to the report.
    fn note<T>(&self, result: Result<T, Mistake>) -> Option<T> {
        result.map_err(|mistake| self.cx.add(mistake)).ok()
    }
}

/// A value and its place.
pub(super) struct Value<'a> {
    pub cx: &'a Context<'a>,
    pub span: Range<usize>,
    value: &'a DeValue<'a>,
}

impl<'a> Value<'a> {
    fn new(cx: &'a Context<'a>, value: &'a Spanned<DeValue<'a>>) -> Self {
        Self { cx, span: value.span(), value: value.get_ref() }
    }

    pub fn error(&self, message: impl Into<String>) -> Mistake {
        Mistake::error(self.span.clone(), message)
    }

    pub fn warning(&self, message: impl Into<String>) -> Mistake {
        Mistake::warning(self.span.clone(), message)
    }

    /// That it is of another type than `expected` ("a text", "a list of texts").
    pub fn wrong_type(&self, expected: &str) -> Mistake {
        if self.is_list() || self.is_table() {
            // There is no telling what is in it.
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

    /// A whole number within `range`.
    pub fn integer(&self, range: std::ops::RangeInclusive<u32>) -> Result<u32, Mistake> {
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

    pub fn table(&self) -> Result<Table<'a>, Mistake> {
        match self.value {
            DeValue::Table(entries) => Ok(Table::new(self.cx, self.span.clone(), entries)),
            _ => {
                self.hide();
                Err(self.wrong_type("a table"))
            }
        }
    }

    /// The place in the file of a part of a text's value. The whole text when escapes make that inexact.
    pub fn part(&self, part: Range<usize>) -> Range<usize> {
        let raw = &self.cx.text[self.span.clone()];
        let inside = inside_quotes(raw);
        match self.value {
            DeValue::String(value) if raw[inside.clone()] == **value && value.get(part.clone()).is_some() => {
                let from = self.span.start + inside.start;
                from + part.start..from + part.end
            }
            _ => self.span.clone(),
        }
    }

    /// Keeps it out of the report.
    pub fn hide(&self) {
        match self.value {
            DeValue::Array(_) => {
                for element in self.elements().unwrap_or_default() {
                    element.hide();
                }
            }
            DeValue::Table(_) => {
                for (_, value) in self.table().iter().flat_map(Table::values) {
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

/// A hint for who wrote `text`: the choice that was probably meant, else all of them.
pub(super) fn closest_of<S: AsRef<str>>(text: &str, choices: &[S]) -> String {
    let text = text.to_lowercase();
    let close = |choice: &&str| {
        let distance = strsim::osa_distance(&text, choice);
        let begins = text.len() >= 3 && (choice.starts_with(&text) || text.starts_with(*choice));
        distance <= text.chars().count().max(3) / 3 || begins
    };
    let choices = || choices.iter().map(AsRef::as_ref);
    match choices().filter(close).min_by_key(|choice| strsim::osa_distance(&text, choice)) {
        Some(choice) => format!("did you mean `{choice}`?"),
        None if choices().next().is_none() => "there are none".to_owned(),
        None => format!("choose from {}", choices().map(|c| format!("`{c}`")).collect::<Vec<_>>().join(", ")),
    }
}
