//! The languages of messages for people: their words, numbers, dates and durations. Pure.
//!
//! The words stand in `en.ftl` and its like, in [Fluent](https://projectfluent.org). `texts` declares each of them once, as a
//! method with its arguments, so that a text that nobody has written does not compile, and a test holds the four files complete
//! against these declarations. What strangers wrote is only ever an argument of a text.

mod texts;
mod times;

pub(crate) use self::times::date;

use std::{borrow::Cow, fmt, sync::LazyLock};

use chrono::Locale;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue, concurrent::FluentBundle};
use serde::{Serialize, Serializer};
use unic_langid::LanguageIdentifier;

/// A language that messages are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// `en`
    #[default]
    English,
    /// `fr`
    French,
    /// `de`
    German,
    /// `es`
    Spanish,
}

type Bundle = FluentBundle<FluentResource>;

/// The words of each language, in the order of [`Language::ALL`]; read when they are first needed.
static BUNDLES: [LazyLock<Bundle>; 4] = [
    LazyLock::new(|| Language::English.bundle()),
    LazyLock::new(|| Language::French.bundle()),
    LazyLock::new(|| Language::German.bundle()),
    LazyLock::new(|| Language::Spanish.bundle()),
];

impl Language {
    /// Every language.
    pub const ALL: [Self; 4] = [Self::English, Self::French, Self::German, Self::Spanish];

    /// The tags of all languages (BCP 47), in the same order: the words of the config.
    pub const TAGS: [&'static str; 4] = ["en", "fr", "de", "es"];

    /// Its tag.
    pub const fn tag(self) -> &'static str {
        Self::TAGS[self as usize]
    }

    /// The language of this tag.
    pub(crate) fn of_tag(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.tag() == tag)
    }

    /// A label and what it labels, on one line.
    pub(crate) fn labelled(self, label: &str, value: &str) -> String {
        format!("{label}{} {value}", self.colon())
    }

    /// The colon, with the space that stands before it.
    pub(crate) const fn colon(self) -> &'static str {
        match self {
            Self::French => "\u{202f}:",
            Self::English | Self::German | Self::Spanish => ":",
        }
    }

    /// A semicolon between two parts of a line.
    pub(crate) const fn semicolon(self) -> &'static str {
        match self {
            Self::French => "\u{202f}; ",
            Self::English | Self::German | Self::Spanish => "; ",
        }
    }

    /// A label as it is written within a sentence. German nouns keep their capitals there.
    pub(crate) fn in_a_sentence(self, label: &str) -> String {
        match self {
            Self::German => label.to_owned(),
            Self::English | Self::French | Self::Spanish => label.to_lowercase(),
        }
    }

    /// A number as JSON writes it, with the decimal sign of the language. Its digits are not grouped: it may be a year, or a part
    /// of a name.
    pub(crate) fn number(self, number: &serde_json::Number) -> String {
        let text = number.to_string();
        match self {
            Self::English => text,
            Self::French | Self::German | Self::Spanish => text.replace('.', ","),
        }
    }

    /// The text of this name, in English when it is missing, which a test rules out.
    fn say(self, name: &str, arguments: &FluentArgs<'_>) -> String {
        let said = [self, Self::English].into_iter().find_map(|language| {
            let bundle = &*BUNDLES[language as usize];
            let pattern = bundle.get_message(name)?.value()?;
            // An argument that is missing is written by its name, and a test rules that out as well.
            Some(bundle.format_pattern(pattern, Some(arguments), &mut vec![]))
        });
        said.map_or_else(|| name.to_owned(), Cow::into_owned)
    }

    fn bundle(self) -> Bundle {
        // Fluent chooses plural forms by this identifier. A test checks that each language gets its own.
        let identifier: LanguageIdentifier = self.tag().parse().unwrap_or_default();
        let mut bundle = Bundle::new_concurrent(vec![identifier]);
        // Marks around every argument would be characters of the message, which not every receiver hides.
        bundle.set_use_isolating(false);
        bundle.set_formatter(Some(match self {
            Self::English => |value, _| grouped(value, ','),
            Self::French | Self::Spanish => |value, _| grouped(value, '\u{202f}'),
            Self::German => |value, _| grouped(value, '.'),
        }));
        // A test finds mistakes in the file. The entries without mistakes are used all the same.
        let words = FluentResource::try_new(self.words().to_owned());
        let _ = bundle.add_resource(words.unwrap_or_else(|(words, _)| words));
        bundle
    }

    const fn words(self) -> &'static str {
        match self {
            Self::English => include_str!("en.ftl"),
            Self::French => include_str!("fr.ftl"),
            Self::German => include_str!("de.ftl"),
            Self::Spanish => include_str!("es.ftl"),
        }
    }

    /// The names of its months and weekdays.
    const fn locale(self) -> Locale {
        match self {
            Self::English => Locale::POSIX,
            Self::French => Locale::fr_FR,
            Self::German => Locale::de_DE,
            Self::Spanish => Locale::es_ES,
        }
    }
}

/// By its tag.
impl Serialize for Language {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.tag())
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tag())
    }
}

/// A text that begins with a capital.
pub(crate) fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A number of five digits or more, in groups of three. Of anything else Fluent knows how to write it.
fn grouped(value: &FluentValue<'_>, separator: char) -> Option<String> {
    let FluentValue::Number(number) = value else { return None };
    let digits = number.as_string();
    if digits.len() < 5 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 * separator.len_utf8());
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(separator);
        }
        text.push(digit);
    }
    Some(text)
}

#[cfg(test)]
mod tests;
