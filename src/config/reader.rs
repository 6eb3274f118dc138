//! Reading TOML piece by piece, so that one mistake does not hide the next.
//!
//! A [`Table`] is asked for its keys; what it was never asked for is an unknown key. Each [`Value`] is read by
//! a function that answers with what it made of it or with a [`Mistake`] at the exact place.

use std::{cell::RefCell, ops::Range, path::Path};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{Fingerprint, LoadOptions, report::Mistake, value::Value};
use crate::name::Name;

/// What all readers of one file share.
pub(crate) struct Context<'a> {
    /// The file's text.
    pub text: &'a str,
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
pub(crate) struct Table<'a> {
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

    /// Reads the tables `[[key]]` in the order of the file, and reports the keys in them that `read` did not ask for;
    /// leaves out those that are wrong.
    pub fn each<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Table<'a>) -> Option<T>,
    ) -> Vec<T> {
        let elements = self.optional(key, |value| {
            value
                .elements()
                .map_err(|mistake| mistake.hint(format!("write its header with two brackets: [[{key}]]")))
        });
        let mut all = Vec::new();
        for element in elements.into_iter().flatten() {
            if let Some(mut table) = self.note(element.table()) {
                all.extend(read(&mut table));
                table.finish();
            }
        }
        all
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

    /// The line of the file it begins on, from 1.
    pub fn line(&self) -> usize {
        let before = self.cx.text.get(..self.span.start).unwrap_or_default();
        before.matches('\n').count() + 1
    }

    /// Where the value of `key` is; the table's own place when it is not there.
    pub fn span_of(&self, key: &str) -> Range<usize> {
        self.entries.get(key).map_or(self.span.clone(), Spanned::span)
    }

    /// Of all it says.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.entries)
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
    pub fn note<T>(&self, result: Result<T, Mistake>) -> Option<T> {
        result.map_err(|mistake| self.cx.add(mistake)).ok()
    }
}

/// A hint for who wrote `text`: the choice that was probably meant, else all of them.
pub(crate) fn closest_of<S: AsRef<str>>(text: &str, choices: &[S]) -> String {
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
