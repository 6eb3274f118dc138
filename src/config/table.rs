//! Reading a table key by key, so that one mistake does not hide the next.
//!
//! A [`Table`] is read through the declarations of its keys; a key that nothing asked for is reported as unknown.
//! Each value is read by a function that returns a [`Mistake`] at the exact place when it is wrong.

use std::{collections::HashSet, hash::Hash, ops::Range, time::Duration};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{
    Fingerprint,
    context::Context,
    key::{Absent, Key, Literal},
    report::{Mistake, closest_of},
    slip::NAME_HINT,
    value::{Value, entries_of},
    values::{duration_of, integer_of, one_of},
};
use crate::name::Name;

/// A key that nobody knows, without the rest of a very long one.
fn shortened(text: &str) -> String {
    crate::template::truncate(text, 64)
}

/// The names of some tables, with their places, in the order of the file.
#[derive(Default)]
pub(crate) struct Declared {
    places: Vec<(Name, Range<usize>)>,
    names: HashSet<Name>,
}

impl Declared {
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    pub fn places(&self) -> &[(Name, Range<usize>)] {
        &self.places
    }
}

impl FromIterator<(Name, Range<usize>)> for Declared {
    fn from_iter<I: IntoIterator<Item = (Name, Range<usize>)>>(places: I) -> Self {
        let places: Vec<_> = places.into_iter().collect();
        Self { names: places.iter().map(|(name, _)| name.clone()).collect(), places }
    }
}

/// A table, and the keys of it that were asked for.
pub(crate) struct Table<'a> {
    pub cx: &'a Context<'a>,
    /// The place of its header, or of the whole of an inline table.
    pub span: Range<usize>,
    entries: &'a DeTable<'a>,
    known: Vec<&'static str>,
    /// No key is reported as unknown.
    lenient: bool,
}

impl<'a> Table<'a> {
    pub fn new(cx: &'a Context<'a>, span: Range<usize>, entries: &'a DeTable<'a>) -> Self {
        Self { cx, span, entries, known: Vec::new(), lenient: false }
    }

    /// Reads a value that must be a table.
    ///
    /// # Errors
    /// When it is something else.
    pub fn of(value: &Value<'a>) -> Result<Self, Mistake> {
        Ok(Self::new(value.cx, value.span.clone(), value.table_entries()?))
    }

    /// The value of `key`, which is a known key from here on.
    pub fn value(&mut self, key: &Key) -> Option<Value<'a>> {
        if !self.known.contains(&key.name) {
            self.known.push(key.name);
        }
        self.entries.get(key.name).map(|value| Value::new(self.cx, value))
    }

    /// Reads the value of `key` if there is one. Reports a value that is wrong, and that there is none when it is
    /// required.
    pub fn read<T>(&mut self, key: &Key, read: impl FnOnce(&Value<'a>) -> Result<T, Mistake>) -> Option<T> {
        if let Absent::Required(example) = key.absent {
            self.require(key, example);
        }
        let value = self.value(key)?;
        self.note(read(&value))
    }

    /// Reports that there is no `key`.
    pub fn require(&self, key: &Key, example: &str) {
        let name = key.name;
        if !self.has(key) {
            self.cx.add_absence(
                Mistake::error(self.span.clone(), format!("`{name}` is missing"))
                    .hint(format!("add {name} = {example}")),
            );
        }
    }

    /// Reads a duration within the declared limits, else the declared default; zero when none is declared.
    pub fn duration(&mut self, key: &Key) -> Duration {
        self.read(key, duration_of(key)).unwrap_or(match key.absent {
            Absent::Default(Literal::Duration(default)) => default,
            _ => Duration::ZERO,
        })
    }

    /// Reads a whole number within the declared limits, else the declared default; zero when none is declared.
    pub fn integer(&mut self, key: &Key) -> u32 {
        self.read(key, integer_of(key)).unwrap_or(match key.absent {
            Absent::Default(Literal::Integer(default)) => default,
            _ => 0,
        })
    }

    /// Reads true or false, else the declared default; false when none is declared.
    pub fn boolean(&mut self, key: &Key) -> bool {
        let default = matches!(key.absent, Absent::Default(Literal::Boolean(true)));
        self.read(key, Value::boolean).unwrap_or(default)
    }

    /// Reads one of the declared words and returns what it stands for: the first word stands for the first of
    /// `meanings`, and so on.
    pub fn choice<T: Clone>(&mut self, key: &Key, meanings: &[T]) -> Option<T> {
        self.read(key, |value| one_of(&key.takes, value, meanings))
    }

    /// Whether the key is written, right or wrong.
    pub fn has(&self, key: &Key) -> bool {
        self.entries.contains_key(key.name)
    }

    /// Reads a list element by element.
    pub fn list<T>(
        &mut self,
        key: &Key,
        mut read: impl FnMut(&Value<'a>) -> Result<T, Mistake>,
    ) -> Option<Vec<T>> {
        let elements = self.read(key, Value::elements)?;
        // All elements are read before the first error ends this, so that every wrong one is reported.
        let read: Vec<_> = elements.iter().map(|element| self.note(read(element))).collect();
        read.into_iter().collect()
    }

    /// Reads a list, or a single value in place of a list of one.
    pub fn one_or_list<T>(
        &mut self,
        key: &Key,
        read: impl Fn(&Value<'a>) -> Result<T, Mistake>,
    ) -> Option<Vec<T>> {
        match self.value(key) {
            Some(value) if value.is_list() => self.list(key, read),
            _ => self.read(key, read).map(|one| vec![one]),
        }
    }

    /// Reads a list that must not be empty and must not hold anything twice.
    pub fn set<T: Eq + Hash + Clone>(
        &mut self,
        key: &Key,
        mut read: impl FnMut(&Value<'a>) -> Result<T, Mistake>,
    ) -> Option<Vec<T>> {
        let mut seen = HashSet::new();
        let list = self.list(key, |value| {
            let element = read(value)?;
            if !seen.insert(element.clone()) {
                return Err(value.error("this is in the list twice"));
            }
            Ok(element)
        })?;
        if list.is_empty() {
            self.cx.add(Mistake::error(self.span_of(key), format!("`{}` is empty", key.name)));
            return None;
        }
        Some(list)
    }

    /// Reads the table under `key`, and reports the keys in it that `read` did not ask for.
    pub fn section<T>(&mut self, key: &Key, read: impl FnOnce(&mut Table<'a>) -> T) -> Option<T> {
        self.read(key, |value| {
            let mut table = Self::of(value)?;
            let result = read(&mut table);
            table.finish();
            Ok(result)
        })
    }

    /// Reads the tables `[[key]]` in the order of the file, and reports the keys in them that `read` did not ask for.
    /// Tables that are wrong are left out.
    pub fn each<T>(&mut self, key: &Key, mut read: impl FnMut(&mut Table<'a>) -> Option<T>) -> Vec<T> {
        let elements = self.read(key, |value| {
            value.elements().map_err(|mistake| {
                mistake.hint(format!("write its header with two brackets: [[{}]]", key.name))
            })
        });
        let mut all = Vec::new();
        for element in elements.into_iter().flatten() {
            if let Some(mut table) = self.note(Self::of(&element)) {
                all.extend(read(&mut table));
                table.finish();
            }
        }
        all
    }

    /// Reads the tables `[key.NAME]` in the order of the file. Tables that are wrong are left out.
    pub fn named<T>(&mut self, key: &Key, mut read: impl FnMut(Name, &mut Table<'a>) -> Option<T>) -> Vec<T> {
        let Some(outer) = self.read(key, |value| {
            Self::of(value)
                .map_err(|mistake| mistake.hint(format!("give each one a name: [{}.NAME]", key.name)))
        }) else {
            return Vec::new();
        };
        let mut all = Vec::new();
        for (name, value) in outer.values() {
            let text = name.get_ref();
            if !Name::is_valid(text) {
                self.cx.add(
                    Mistake::error(name.span(), format!("`{}` cannot be a name", text.escape_debug()))
                        .hint(NAME_HINT),
                );
            }
            if let Some(mut table) = self.note(Self::of(&value)) {
                let result = read(Name::from(text.as_ref()), &mut table);
                table.finish();
                all.extend(result);
            }
        }
        all
    }

    /// The names and places of the tables `[key.NAME]`, in the order of the file.
    pub fn declared(&self, key: &Key) -> Declared {
        match self.entries.get(key.name).map(Spanned::get_ref) {
            Some(DeValue::Table(entries)) => entries_of(self.cx, entries)
                .into_iter()
                .map(|(name, value)| (Name::from(name.get_ref().as_ref()), value.span))
                .collect(),
            _ => Declared::default(),
        }
    }

    /// Every key with its value, in the order of the file.
    pub fn values(&self) -> Vec<(&'a Spanned<DeString<'a>>, Value<'a>)> {
        entries_of(self.cx, self.entries)
    }

    /// The line of the file on which the table begins, from 1.
    pub fn line(&self) -> usize {
        let before = self.cx.text.get(..self.span.start).unwrap_or_default();
        before.matches('\n').count() + 1
    }

    /// The place of the value of `key`, or of the table when the key is not written.
    pub fn span_of(&self, key: &Key) -> Range<usize> {
        self.entries.get(key.name).map_or(self.span.clone(), Spanned::span)
    }

    /// Tells this table from an edited one.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.entries)
    }

    /// Reports no key as unknown, because it cannot be told which keys there may be.
    pub fn accept_all(&mut self) {
        self.lenient = true;
    }

    /// Reports every key that was not asked for as unknown.
    pub fn finish(self) {
        for (key, value) in self.values() {
            let text = key.get_ref().as_ref();
            if self.lenient || self.known.contains(&text) {
                continue;
            }
            // It may be a misspelt `api_key`, so the value may be a secret.
            value.hide();
            let hint = match self.cx.top.contains(&text) {
                true => format!("`{text}` is a key of the whole file: move it above the first table"),
                false => closest_of(text, self.known.iter().copied()),
            };
            let message = format!("unknown key `{}`", shortened(text).escape_debug());
            self.cx.add(Mistake::error(key.span(), message).hint(hint));
        }
    }

    /// Adds an error to the report.
    pub fn note<T>(&self, result: Result<T, Mistake>) -> Option<T> {
        result.map_err(|mistake| self.cx.add(mistake)).ok()
    }
}
