//! What became of a destination's deliveries, as its owner reports it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Attempt, Pause, StoreError, Token};
use crate::{
    batch::BatchKey,
    event::{Event, Subject},
    time::Timestamp,
};

/// The longest memo, in bytes.
const LONGEST_MEMO: usize = 4 << 10;

/// Everything the owner of a destination has to write down, in one write: all or nothing.
///
/// Its parts are carried out in the order of the fields. Deliveries in the wrong state, or of another destination, are
/// skipped, so that a settlement can be repeated when it is not known whether it was written.
#[derive(Clone, Debug, Default)]
pub struct Settlement {
    /// When.
    pub at: Timestamp,
    /// What became of attempts.
    pub outcomes: Vec<Outcome>,
    /// Deliveries, due or held, that wait in another batch from now on. `happened` stays.
    pub holds: Vec<(Token, BatchKey)>,
    /// Held deliveries that are due from `at` on.
    pub releases: Vec<Token>,
    /// Held deliveries that are of no use any more. They are forgotten, and their events with them.
    pub forgets: Vec<Token>,
    /// What goes out as one.
    pub merge: Option<Merge>,
    /// What is to be remembered of batches; `None` forgets.
    pub ledgers: Vec<(BatchKey, Option<Value>)>,
    /// What is to be remembered of lanes; `None` forgets. At most 4 KiB each.
    pub memos: Vec<(Subject, Option<Value>)>,
    /// A pause that begins, or one that ends.
    pub pause: Option<PauseChange>,
    /// Whether the outcomes may be acknowledged up to [`LAZY_SYNC`](super::LAZY_SYNC) before they survive a power cut.
    /// Then a cut repeats these deliveries, with the same ids. Must be false when another delivery waits behind one of
    /// them in its lane.
    pub lazy: bool,
}

impl Settlement {
    /// Nothing to write yet.
    pub fn new(at: Timestamp) -> Self {
        Self { at, ..Self::default() }
    }

    /// Refuses what no store takes.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let too_long = |memo: &Value| memo.to_string().len() > LONGEST_MEMO;
        if self.memos.iter().filter_map(|(_, memo)| memo.as_ref()).any(too_long) {
            return Err(StoreError::Mistake("a memo is longer than 4 KiB"));
        }
        Ok(())
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
            && self.holds.is_empty()
            && self.releases.is_empty()
            && self.forgets.is_empty()
            && self.merge.is_none()
            && self.ledgers.is_empty()
            && self.memos.is_empty()
            && self.pause.is_none()
    }
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Which delivery.
    pub token: Token,
    /// Counts the delivery's attempts from 1. An outcome that is not of the next attempt of a due delivery is skipped.
    pub number: u32,
    /// What was tried and what came back.
    pub attempt: Attempt,
    /// What follows from it.
    pub verdict: Verdict,
}

/// What follows from an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It arrived.
    Delivered,
    /// It is tried again at this time.
    Retry(Timestamp),
    /// It is given up, for this reason.
    Dead(String),
}

/// Held deliveries that go out as one delivery of an event that stands for all of them.
///
/// Nothing is done when the destination has a delivery of this event already: then the merge was made before.
#[derive(Clone, Debug)]
pub struct Merge {
    /// The deliveries that end as [`Merged`](super::DeliveryState::Merged). Those that are not held are skipped.
    pub tokens: Vec<Token>,
    /// What stands for them; it is due from [`Settlement::at`] on.
    pub event: Event,
    /// The `sequence` of its delivery.
    pub sequence: u64,
}

/// A pause that begins or ends.
#[derive(Clone, Debug, PartialEq)]
pub enum PauseChange {
    /// Of this pause and the one there may be already, the one that lasts longer stays.
    Begin(Pause),
    /// Whatever pause there is ends.
    End,
}
