//! What the owner of a destination keeps in memory of its deliveries.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Hold, Pause, Restart};
use crate::{
    event::{EventId, Subject},
    name::Name,
    time::Timestamp,
};

/// Names a delivery within its store. Opaque, but for its order: that of the commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub(super) u64);

/// A place in the feed of a destination's changes. Opaque; means something to the claim it was read with only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub(super) u64, pub(super) u64);

impl Position {
    /// Before everything that is unfinished.
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
    /// What keeps the destination's deliveries back, as of now; may have ended by itself.
    pub pause: Option<Pause>,
}

/// A change.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// The delivery is unfinished, and stands like this.
    Unfinished(Pending),
    /// There is nothing to do for the delivery any more: somebody has dropped it.
    Gone(Token),
}

/// A delivery that is not finished.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    /// Names the delivery.
    pub token: Token,
    /// What it tells.
    pub event: EventId,
    /// What the event is about. Deliveries about the same subject form a lane: they go out one after the other, in the
    /// order of their tokens.
    pub subject: Subject,
    /// The rule that fired.
    pub rule: Name,
    /// Counts up per (destination, source, call), for receivers.
    pub sequence: u64,
    /// When it was made.
    pub created: Timestamp,
    /// How many attempts were made.
    pub attempts: u32,
    /// Where its retry schedule last began anew; `None` when it began with the delivery.
    pub restart: Option<Restart>,
    /// What it waits for.
    pub standing: Standing,
}

/// What an unfinished delivery waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// This time, and that it is the first of its lane.
    Due(Timestamp),
    /// The others of its batch.
    Held(Hold),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
