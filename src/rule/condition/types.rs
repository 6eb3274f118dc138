//! The types of expressions: the fields that the API documents, and the words that some of them can be.

use std::fmt;

use super::functions::WEEKDAYS;
use crate::kind::{self, Kind};

/// The type of an expression, as far as it can be known without a call. `Any` agrees with everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Any,
    Null,
    Bool,
    /// A number written without a decimal point.
    Int,
    /// A number written with a decimal point.
    Double,
    /// A number of the API; whole as a rule.
    Number,
    Text,
    /// A text that is one of a few words.
    Word(Vocabulary),
    /// A text that is a time in ISO 8601.
    TimeText,
    Time,
    Duration,
    List,
    /// `change.kinds`.
    Kinds,
    /// `call.transcript`.
    Transcript,
    Object,
    /// `call` and `before`.
    Call,
    /// `change`.
    Change,
    /// An entry of a transcript.
    Turn,
}

impl Type {
    /// Whether a value of this type can equal a value of the other. A field may always be null.
    pub fn agrees(self, other: Self) -> bool {
        use Type::*;
        let general = |of| match of {
            Int | Double => Number,
            Word(_) | TimeText => Text,
            Kinds | Transcript => List,
            Call | Change | Turn => Object,
            of => of,
        };
        let (a, b) = (general(self), general(other));
        a == b || matches!(a, Any | Null) || matches!(b, Any | Null)
    }

    /// The type of the field `name` of a value of this type; `None` when it cannot have fields.
    pub fn field(self, name: &str) -> Option<Self> {
        Some(match (self, name) {
            (Self::Call, "id" | "summary" | "endedReason" | "callerNumber" | "calledNumber") => Self::Text,
            (Self::Call, "status") => Self::Word(Vocabulary::Status),
            (Self::Call, "evaluation") => Self::Word(Vocabulary::Evaluation),
            (Self::Call, "duration") => Self::Number,
            (Self::Call, "isEngaged") => Self::Bool,
            (Self::Call, "callAnalysis") => Self::Object,
            (Self::Call, "transcript") => Self::Transcript,
            (Self::Call, "createdAt" | "updatedAt") => Self::TimeText,
            (Self::Turn, "role") => Self::Word(Vocabulary::Role),
            (Self::Turn, "content") => Self::Text,
            (Self::Change, "kinds") => Self::Kinds,
            (Self::Any | Self::Null | Self::Object | Self::Call | Self::Change | Self::Turn, _) => Self::Any,
            _ => return None,
        })
    }

    /// The type of a list's entries or an object's keys; `None` for other types, which macros cannot walk over.
    pub fn element(self) -> Option<Self> {
        Some(match self {
            Self::Kinds => Self::Word(Vocabulary::Kind),
            Self::Transcript => Self::Turn,
            Self::Call | Self::Change | Self::Turn | Self::Object => Self::Text,
            Self::Any | Self::Null | Self::List => Self::Any,
            _ => return None,
        })
    }
}

/// The type in the words of a message: "a text".
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "anything",
            Self::Null => "null",
            Self::Bool => "true or false",
            Self::Int | Self::Double | Self::Number => "a number",
            Self::Text | Self::Word(_) | Self::TimeText => "a text",
            Self::Time => "a point in time",
            Self::Duration => "a duration",
            Self::List | Self::Kinds | Self::Transcript => "a list",
            Self::Object | Self::Call | Self::Change | Self::Turn => "an object",
        })
    }
}

/// A set of words that a text is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vocabulary {
    Status,
    Evaluation,
    Role,
    Kind,
    Weekday,
}

/// The statuses the API documents.
pub(super) const STATUSES: [&str; 2] = ["live", "completed"];

impl Vocabulary {
    /// The words of the set.
    pub fn words(self) -> Vec<&'static str> {
        match self {
            Self::Status => STATUSES.to_vec(),
            Self::Evaluation => vec!["success", "fail"],
            Self::Role => vec!["user", "assistant"],
            Self::Kind => kind::Kinds::of_calls().iter().map(Kind::as_str).collect(),
            Self::Weekday => WEEKDAYS.to_vec(),
        }
    }

    /// Whether there can be no other words. The API may add to those it documents.
    pub fn is_closed(self) -> bool {
        matches!(self, Self::Kind | Self::Weekday)
    }

    /// The mistake that `word` is not one of them.
    pub fn refuse(self, word: &str) -> String {
        match self {
            Self::Status => format!("no call has the status \"{word}\""),
            Self::Evaluation => format!("no call has the evaluation \"{word}\""),
            Self::Role => format!("nobody in a transcript has the role \"{word}\""),
            Self::Kind => format!("there is no kind of change \"{word}\""),
            Self::Weekday => format!("\"{word}\" is not a weekday"),
        }
    }

    /// The word that `word` is most likely meant to be.
    pub fn nearest(self, word: &str) -> Option<&'static str> {
        let word = word.to_lowercase();
        let alike = |own: &&&str| word.len() >= 3 && (own.starts_with(&word) || word.starts_with(**own));
        let words = self.words();
        words.iter().find(alike).copied().or_else(|| closest(&word, words))
    }
}

/// The candidate nearest to `word`, with at most two letters wrong, and at most one in three.
pub(super) fn closest<'w>(word: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    words
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 2 && *distance * 3 <= candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
