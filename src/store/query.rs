//! The questions that people ask about deliveries, and the actions they take on them.

use std::{fmt, str::FromStr};

use super::{DeliveryRecord, DeliveryState, DeliveryStateKind, Pause, Tally, Token};
use crate::{
    call::CallId,
    event::{Event, EventId},
    name::Name,
    time::Timestamp,
};

/// Asks for deliveries, newest first.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// The deliveries that are meant.
    pub filter: DeliveryFilter,
    /// The end of the last page: only older deliveries follow. `None` begins with the newest.
    pub after: Option<Cursor>,
    /// The most deliveries in the page.
    pub limit: usize,
}

/// Which deliveries are meant; every part that is given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// Only deliveries of this event.
    pub event: Option<EventId>,
    /// Only deliveries to this destination.
    pub destination: Option<Name>,
    /// Only deliveries of events that tell this rule, alone or with others.
    pub rule: Option<Name>,
    /// Only deliveries about this source, or about calls of it.
    pub source: Option<Name>,
    /// Only deliveries about calls with this id.
    pub call: Option<CallId>,
    /// Only deliveries in this state.
    pub state: Option<DeliveryStateKind>,
    /// Only deliveries that failed with this text: it is part of the last attempt's result, or of the reason of death.
    /// Case does not matter.
    pub error: Option<String>,
}

/// A page of results.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// Where the next page begins; `None` when this was the last.
    pub next: Option<Cursor>,
}

/// The place where a page ended. Opaque; it stays valid when it is printed and read again, across restarts, and while
/// deliveries change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(pub(super) Token);

impl DeliveryRecord {
    /// The end of a page whose last delivery is this one.
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

/// A destination's number of deliveries in each state, and its pause.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DestinationStanding {
    /// How many deliveries it has in each state.
    pub tally: Tally,
    /// The pause of the destination; it may have ended by itself.
    pub pause: Option<Pause>,
}

/// An action of a person. Needs no claim: the owner of the destination learns of it through its feed.
#[derive(Clone, Debug)]
pub enum Action {
    /// Makes deliveries that are dead, held, or wait for their next attempt, due at `at`, and begins their retry schedule
    /// anew. Those that were delivered or merged are left alone.
    Retry {
        /// The deliveries.
        tokens: Vec<Token>,
        /// When they are due.
        at: Timestamp,
    },
    /// Makes new deliveries of the events of these deliveries, due at `at`, each at the end of its lane, in the order of the
    /// tokens. They have the event's id, and the `sequence` of the destination's newest delivery of the event; 0, which
    /// no first delivery has, when the destination has none. Skipped are deliveries that would only arrive twice: one that has
    /// not arrived at that destination yet, and one whose event waits for it already. So an action that was cut short can be
    /// repeated.
    Resend {
        /// The deliveries.
        tokens: Vec<Token>,
        /// The destination that is told; `None` for each delivery's own.
        to: Option<Name>,
        /// When the new deliveries are made.
        at: Timestamp,
    },
    /// Forgets deliveries, finished or not, and events of which no delivery is left.
    Drop {
        /// The deliveries.
        tokens: Vec<Token>,
    },
    /// Forgets calls for good, and everything that tells of them; returns how many deliveries that were. Snapshots of `calls` keep
    /// what [`Snapshot::forget`](crate::snapshot::Snapshot::forget) leaves, and memos about them go. Deliveries of `tokens`
    /// are dropped, and the texts of their events and of their attempts are erased rather than left to be overwritten.
    /// `events` take the place of those with their ids.
    ///
    /// What was prepared before and is written afterwards brings nothing back: a snapshot of such a call is forgotten, an event
    /// about it left out, and one that tells it among others is [without it](crate::summary::without).
    Forget {
        /// The calls, with their sources.
        calls: Vec<(Name, CallId)>,
        /// The deliveries.
        tokens: Vec<Token>,
        /// Events that stand for several, without those of the calls.
        events: Vec<Event>,
    },
    /// Leaves a destination alone: nothing goes out while the pause lasts, and nothing is lost. When there is a pause
    /// already, the one that lasts longer stays.
    Pause {
        /// The destination.
        destination: Name,
        /// The pause, with its reason and its end.
        pause: Pause,
    },
    /// Ends a destination's pause.
    Resume {
        /// The destination.
        destination: Name,
    },
}

impl DeliveryFilter {
    /// Whether a delivery matches every part that is given.
    pub fn matches(&self, record: &DeliveryRecord) -> bool {
        let Self { event, destination, rule, source, call, state, error } = self;
        event.as_ref().is_none_or(|event| *event == record.id.event)
            && destination.as_ref().is_none_or(|destination| *destination == record.id.destination)
            && rule.as_ref().is_none_or(|rule| record.tells(rule))
            && source.as_ref().is_none_or(|source| Some(source) == record.subject.source())
            && call.as_ref().is_none_or(|call| Some(call) == record.subject.call())
            && state.is_none_or(|state| state == record.state.kind())
            && error.as_ref().is_none_or(|text| has_failed_with(record, text))
    }
}

fn has_failed_with(record: &DeliveryRecord, text: &str) -> bool {
    let reason = match &record.state {
        DeliveryState::Dead { reason, .. } => Some(reason.as_str()),
        _ => None,
    };
    let last = record.log.last().map(|attempt| attempt.result.as_str());
    reason.into_iter().chain(last).any(|said| says(said, &text.to_lowercase()))
}

/// Whether `text`, in small letters, is part of what was said.
pub(super) fn says(said: &str, text: &str) -> bool {
    said.to_lowercase().contains(text)
}
