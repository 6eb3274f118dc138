//! Kinds of change of a call, of a source and of callwatch itself, and sets of them.

use std::{fmt, ops::BitOr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A kind of change. An event of several kinds takes its `type` from the first of them in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The call is completed and was not, or was first seen after the baseline and was completed then.
    Ended,
    /// The call was first seen while live.
    Started,
    /// `callAnalysis` appeared or changed.
    Analyzed,
    /// Anything else of the call changed.
    Updated,
    /// The call is gone from the list.
    Deleted,
    /// The source itself has been failing for a while.
    SourceFailing,
    /// The source answers again.
    SourceRecovered,
    /// No call has started in the source for a while.
    SourceSilent,
    /// The destination has taken nothing for a while.
    DestinationFailing,
    /// The destination takes deliveries again.
    DestinationRecovered,
    /// Deliveries to the destination were given up.
    DeliveryDead,
    /// The condition of a rule cannot be evaluated.
    RuleFailing,
    /// Another config could not be put to work.
    ConfigRejected,
}

impl Kind {
    /// Every kind, in order of precedence.
    pub const ALL: [Self; 13] = [
        Self::Ended,
        Self::Started,
        Self::Analyzed,
        Self::Updated,
        Self::Deleted,
        Self::SourceFailing,
        Self::SourceRecovered,
        Self::SourceSilent,
        Self::DestinationFailing,
        Self::DestinationRecovered,
        Self::DeliveryDead,
        Self::RuleFailing,
        Self::ConfigRejected,
    ];

    /// The kinds that tell how callwatch itself is doing.
    pub const ALERTS: [Self; 7] = [
        Self::SourceFailing,
        Self::SourceRecovered,
        Self::DestinationFailing,
        Self::DestinationRecovered,
        Self::DeliveryDead,
        Self::RuleFailing,
        Self::ConfigRejected,
    ];

    /// The word used in the config (`on = […]`) and in payloads.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Started => "started",
            Self::Analyzed => "analyzed",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
            Self::SourceFailing => "source.failing",
            Self::SourceRecovered => "source.recovered",
            Self::SourceSilent => "source.silent",
            Self::DestinationFailing => "destination.failing",
            Self::DestinationRecovered => "destination.recovered",
            Self::DeliveryDead => "delivery.dead",
            Self::RuleFailing => "rule.failing",
            Self::ConfigRejected => "config.rejected",
        }
    }

    /// Reads the config's word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Whether it is a change of a call, not of a source or of callwatch itself.
    pub const fn is_of_call(self) -> bool {
        matches!(self, Self::Ended | Self::Started | Self::Analyzed | Self::Updated | Self::Deleted)
    }

    /// Whether it is about a source as a whole.
    pub const fn is_of_source(self) -> bool {
        matches!(self, Self::SourceFailing | Self::SourceRecovered | Self::SourceSilent)
    }

    /// Whether it is about a destination. Then it is never told through that destination.
    pub const fn is_of_destination(self) -> bool {
        matches!(self, Self::DestinationFailing | Self::DestinationRecovered | Self::DeliveryDead)
    }

    /// Whether something is well again. Nobody has to hurry then, however much the rule matters.
    pub const fn is_relief(self) -> bool {
        matches!(self, Self::SourceRecovered | Self::DestinationRecovered)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Kinds(u16);

impl Kinds {
    /// No kind at all.
    pub const NONE: Self = Self(0);

    /// Every kind that is about a call.
    pub fn of_calls() -> Self {
        Kind::ALL.into_iter().filter(|kind| kind.is_of_call()).collect()
    }

    /// Whether `kind` is in the set.
    pub const fn contains(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u16) != 0
    }

    /// Whether the two sets have a kind in common.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether nothing is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members, in order of precedence.
    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }

    /// The kind that gives an event of this set its `type`.
    pub fn first(self) -> Option<Kind> {
        self.iter().next()
    }
}

impl From<Kind> for Kinds {
    fn from(kind: Kind) -> Self {
        Self(1 << kind as u16)
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::NONE, |set, kind| set | kind.into())
    }
}

impl BitOr for Kinds {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, kind) in self.iter().enumerate() {
            if i > 0 {
                f.write_str("+")?;
            }
            f.write_str(kind.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for Kinds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Binary formats need the length first.
        self.iter().map(Kind::as_str).collect::<Vec<_>>().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Kinds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<String>::deserialize(deserializer)?
            .iter()
            .map(|word| Kind::parse(word).ok_or_else(|| D::Error::custom("unknown kind of change")))
            .collect()
    }
}
