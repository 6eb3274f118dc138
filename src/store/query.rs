//! What people ask about deliveries, and what they do to them.

use std::{fmt, str::FromStr};

use super::{DeliveryRecord, DeliveryStateKind, Pause, Tally, Token};
use crate::{call::CallId, event::EventId, name::Name, time::Timestamp};

/// Asks for deliveries, newest first.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Which.
    pub filter: DeliveryFilter,
    /// Only those older than where the last page ended.
    pub after: Option<Cursor>,
    /// At most this many.
    pub limit: usize,
}

/// Which deliveries are meant; every part that is given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// Of this event.
    pub event: Option<EventId>,
    /// To this destination.
    pub destination: Option<Name>,
    /// Of events of this rule.
    pub rule: Option<Name>,
    /// About this source, or calls of it.
    pub source: Option<Name>,
    /// About calls with this id.
    pub call: Option<CallId>,
    /// In this state.
    pub state: Option<DeliveryStateKind>,
}

/// A page of an answer.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// Where the next page begins; `None` when this was the last.
    pub next: Option<Cursor>,
}

/// Where a page ended. Opaque; survives being printed and read again, a restart, and whatever changes meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(pub(super) Token);

impl DeliveryRecord {
    /// Where a page that ends with this delivery ends.
    pub fn cursor(&self) -> Cursor {
        Cursor(self.token)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0.0)
    }
}

impl FromStr for Cursor {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(|token| Self(Token(token)))
    }
}

/// What the store knows of a destination as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DestinationStanding {
    /// How many deliveries it has in each state.
    pub tally: Tally,
    /// What keeps them back; may have ended by itself.
    pub pause: Option<Pause>,
}

/// Something a person does. Needs no claim: whoever owns the destination hears of it through its feed.
#[derive(Clone, Debug)]
pub enum Action {
    /// Makes deliveries that are dead, held, or wait for their next attempt, due at `at`, and begins their retry schedule
    /// anew. Those that were delivered or merged are left alone.
    Retry {
        /// Which.
        tokens: Vec<Token>,
        /// When.
        at: Timestamp,
    },
    /// Forgets deliveries, finished or not, and events of which no delivery is left.
    Drop {
        /// Which.
        tokens: Vec<Token>,
    },
    /// Leaves a destination alone: nothing goes out while the pause lasts, and nothing is lost. Of this pause and the one
    /// there may be already, the one that lasts longer stays.
    Pause {
        /// Which destination.
        destination: Name,
        /// Why, and until when.
        pause: Pause,
    },
    /// Ends a destination's pause.
    Resume {
        /// Which destination.
        destination: Name,
    },
}

impl DeliveryFilter {
    /// Whether every part that is given matches.
    pub fn matches(&self, record: &DeliveryRecord) -> bool {
        let Self { event, destination, rule, source, call, state } = self;
        event.as_ref().is_none_or(|event| *event == record.id.event)
            && destination.as_ref().is_none_or(|destination| *destination == record.id.destination)
            && rule.as_ref().is_none_or(|rule| *rule == record.rule)
            && source.as_ref().is_none_or(|source| Some(source) == record.subject.source())
            && call.as_ref().is_none_or(|call| Some(call) == record.subject.call())
            && state.is_none_or(|state| state == record.state.kind())
    }
}
