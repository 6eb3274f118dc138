//! The outcomes and decisions that the owner of a destination reports about its deliveries.

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
    /// The time of the settlement.
    pub at: Timestamp,
    /// The outcomes of attempts.
    pub outcomes: Vec<Outcome>,
    /// Deliveries, due or held, that wait in another batch from now on. Their `happened` stays as it was.
    pub holds: Vec<(Token, BatchKey)>,
    /// Held deliveries that are due from `at` on.
    pub releases: Vec<Token>,
    /// Held deliveries that are not to be told any more. They are forgotten, and their events with them.
    pub forgets: Vec<Token>,
    /// Held deliveries that go out as one.
    pub merge: Option<Merge>,
    /// Ledgers to be kept for batches; `None` forgets the ledger.
    pub ledgers: Vec<(BatchKey, Option<Value>)>,
    /// Memos to be kept for lanes, at most 4 KiB each; `None` forgets the memo.
    pub memos: Vec<(Subject, Option<Value>)>,
    /// A pause that begins, or one that ends.
    pub pause: Option<PauseChange>,
    /// Whether the outcomes may be acknowledged up to [`LAZY_SYNC`](super::LAZY_SYNC) before they survive a power cut.
    /// Then a cut repeats these deliveries, with the same ids. Must be false when another delivery waits behind one of
    /// them in its lane.
    pub lazy: bool,
}

impl Settlement {
    /// A settlement with nothing to write yet.
    pub fn new(at: Timestamp) -> Self {
        Self { at, ..Self::default() }
    }

    /// Refuses memos that are too long for any store.
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

/// The outcome of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The delivery that was tried.
    pub token: Token,
    /// The number of the attempt, from 1. An outcome is skipped unless it is of the next attempt of a due delivery.
    pub number: u32,
    /// The attempt and its result, as people can look at it later.
    pub attempt: Attempt,
    /// The decision that follows from it.
    pub verdict: Verdict,
}

/// The decision that follows from an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The delivery has arrived.
    Delivered,
    /// The delivery is tried again at this time. Its wait began when the attempt ended: see [`Attempt`].
    Retry(Timestamp),
    /// The delivery is given up, for this reason.
    Dead(String),
}

/// Held deliveries that go out as one delivery of an event that stands for all of them.
///
/// Skipped when the destination has a delivery of this event already: then the merge was made before.
#[derive(Clone, Debug)]
pub struct Merge {
    /// The deliveries that end as [`Merged`](super::DeliveryState::Merged). Those that are not held are skipped.
    pub tokens: Vec<Token>,
    /// The event that stands for them; its delivery is due from [`Settlement::at`] on.
    pub event: Event,
    /// The `sequence` of its delivery.
    pub sequence: u64,
}

/// A pause that begins or ends.
#[derive(Clone, Debug, PartialEq)]
pub enum PauseChange {
    /// Begins a pause. When there is one already, the one that lasts longer stays.
    Begin(Pause),
    /// Ends the pause, whichever it is.
    End,
}
