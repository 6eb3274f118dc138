//! Declarations of keys: every key of the file once, with the values it takes, its default and what it is for.
//!
//! The readers read through these declarations (see [`Table`](super::Table)), and docs/configuration.md and
//! config.example.toml are held against them by tests.

use std::{fmt, time::Duration};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = days(1);

/// This many days of 24 hours.
pub(crate) const fn days(count: u64) -> Duration {
    Duration::from_secs(count * 24 * 3600)
}

/// One key of a table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// The values it takes.
    pub takes: ValueType,
    /// The default, or that there is none.
    pub absent: Absent,
    /// Its purpose, in Markdown, without a full stop at the end.
    pub doc: &'static str,
}

/// The values a key takes. A checker of schemas can know as much; the readers check more.
#[derive(Clone, Copy, Debug)]
pub enum ValueType {
    /// Any text.
    Text,
    /// `true` or `false`.
    Boolean,
    /// A whole number within limits, both included.
    Integer(u32, u32),
    /// A duration in quotes within limits, both included.
    Duration(Duration, Duration),
    /// A size in quotes, at least this many bytes.
    Size(u64),
    /// One of a few words. `what` is what each of them is called.
    Word {
        /// In the singular: `format`.
        what: &'static str,
        /// All there are.
        words: &'static [&'static str],
    },
    /// The name of a table of another kind: `source`, `destination` or `rule`.
    Name(&'static str),
    /// A date and time.
    DateTime,
    /// A duration since a moment, or a date and time.
    Time,
    /// As in `"30/m"`.
    Rate,
    /// Hours of the week, one text or several.
    Hours,
    /// Five fields as in a crontab.
    Schedule,
    /// A name of the IANA time zone database.
    Zone,
    /// An absolute path, or one relative to the file's folder.
    Path,
    /// A URL. May hold a password.
    Url,
    /// An email address with or without a name.
    Mailbox,
    /// A text, `{ env = … }` or `{ file = … }`.
    Secret,
    /// A minijinja template.
    Template,
    /// A CEL expression.
    Condition,
    /// The path of a field of a call.
    FieldPath,
    /// `"source"`, or `call.` and the path of a field.
    GroupField,
    /// A list of such values.
    List(&'static ValueType),
    /// One such value, or a list of them.
    OneOrList(&'static ValueType),
    /// A table of such values under names of the user's choice.
    TableOf(&'static ValueType),
    /// A table with these keys.
    Table(&'static [Key]),
    /// A table of tables, `[key.NAME]`.
    NamedTables,
}

/// The meaning of a key that is not written.
#[derive(Clone, Copy, Debug)]
pub enum Absent {
    /// An error. Holds a value to start from, as it would be written.
    Required(&'static str),
    /// No value at all.
    Nothing,
    /// A default that these words describe.
    Means(&'static str),
    /// This value.
    Default(Literal),
}

/// A default. Displayed as it would be written in the file.
#[derive(Clone, Copy, Debug)]
pub enum Literal {
    /// `true` or `false`
    Boolean(bool),
    /// A whole number.
    Integer(u32),
    /// A text, or a word.
    Text(&'static str),
    /// A duration.
    Duration(Duration),
    /// A list of texts.
    Texts(&'static [&'static str]),
    /// A list of durations.
    Durations(&'static [Duration]),
    /// A list without elements.
    Empty,
    /// A size in bytes.
    Size(u64),
}

impl Key {
    pub(crate) const fn new(name: &'static str, takes: ValueType, doc: &'static str) -> Self {
        Self { name, takes, absent: Absent::Nothing, doc }
    }

    pub(crate) const fn required(self, example: &'static str) -> Self {
        Self { absent: Absent::Required(example), ..self }
    }

    pub(crate) const fn means(self, words: &'static str) -> Self {
        Self { absent: Absent::Means(words), ..self }
    }

    pub(crate) const fn default(self, default: Literal) -> Self {
        Self { absent: Absent::Default(default), ..self }
    }
}

impl ValueType {
    /// The type of the elements of a list or table of values; any other type itself.
    pub(crate) const fn element(&self) -> Self {
        match self {
            Self::List(element) | Self::OneOrList(element) | Self::TableOf(element) => **element,
            _ => *self,
        }
    }

    /// Whether a value can be shown to others although nothing is known of its syntax.
    pub(super) const fn is_harmless(&self) -> bool {
        !matches!(
            self.element(),
            Self::Secret | Self::Url | Self::TableOf(_) | Self::Table(_) | Self::NamedTables
        )
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(boolean) => write!(f, "{boolean}"),
            Self::Integer(integer) => write!(f, "{integer}"),
            Self::Text(text) => write!(f, "\"{text}\""),
            Self::Duration(duration) => write!(f, "\"{}\"", written(*duration)),
            Self::Durations(durations) => {
                let durations: Vec<_> =
                    durations.iter().map(|one| Self::Duration(*one).to_string()).collect();
                write!(f, "[{}]", durations.join(", "))
            }
            Self::Texts(texts) => {
                let texts: Vec<_> = texts.iter().map(|one| Self::Text(one).to_string()).collect();
                write!(f, "[{}]", texts.join(", "))
            }
            Self::Empty => write!(f, "[]"),
            Self::Size(bytes) if bytes % (1 << 20) == 0 => write!(f, "\"{}MiB\"", bytes >> 20),
            Self::Size(bytes) if bytes % 1_000_000 == 0 => write!(f, "\"{}MB\"", bytes / 1_000_000),
            Self::Size(bytes) => write!(f, "\"{}KB\"", bytes / 1000),
        }
    }
}

/// A duration in its largest unit that leaves no rest: `30d`, `90s`.
pub fn written(duration: Duration) -> String {
    let units = [("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND)];
    let millis = duration.as_millis();
    match units.iter().find(|(_, unit)| millis > 0 && millis.is_multiple_of(unit.as_millis())) {
        Some((unit, length)) => format!("{}{unit}", millis / length.as_millis()),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}
