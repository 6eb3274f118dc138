//! Pending deliveries, as the owner of a destination keeps them in memory.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Hold, Pause, Restart};
use crate::{
    event::{EventId, Subject},
    name::Name,
    time::{Deadline, Timestamp},
};

/// Names a delivery within its store. Opaque, except that tokens sort in the order of the commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub(super) u64);

/// A place in the feed of a destination's changes. Opaque, and valid only for the claim it was read with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub(super) u64, pub(super) u64);

impl Position {
    /// The beginning: all unfinished deliveries come after it.
    pub const START: Self = Self(0, 0);
}

/// A page of the feed.
#[derive(Clone, Debug, Default)]
pub struct Feed {
    /// The changes, in their order; of two entries for one token the later one counts. Fewer than were asked for means that
    /// there is nothing more by now.
    pub entries: Vec<Entry>,
    /// Where the next page begins.
    pub next: Position,
    /// The destination's pause as of now; it may have ended by itself.
    pub pause: Option<Pause>,
}

/// A change in the feed.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// The delivery is unfinished; this is how it stands.
    Unfinished(Pending),
    /// The delivery has been dropped, so nothing is left to do for it.
    Gone(Token),
}

/// A delivery that is not finished.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    /// Names the delivery within its store.
    pub token: Token,
    /// The event that it tells.
    pub event: EventId,
    /// The thing that the event is about. Deliveries about the same subject form a lane: they go out one after the
    /// other, in the order of their tokens.
    pub subject: Subject,
    /// The rule that fired.
    pub rule: Name,
    /// Counts up per (destination, source, call), so that a receiver can discard what arrives late.
    pub sequence: u64,
    /// When it was made.
    pub created: Timestamp,
    /// How many attempts were made.
    pub attempts: u32,
    /// Where its retry schedule last began anew; `None` when it began with the delivery.
    pub restart: Option<Restart>,
    /// The time or the batch that it waits for.
    pub standing: Standing,
}

/// The time or the batch that an unfinished delivery waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is due by then, if it is the first of its lane.
    Due(Deadline),
    /// It is held until its batch goes out.
    Held(Hold),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
