//! A delivery's life: how it begins, what an attempt makes of it, and what is asked of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Hold, NewDelivery, Pending, Standing, Token, Verdict};
use crate::{
    batch::BatchKey,
    event::{Event, EventId, Subject},
    name::Name,
    time::Timestamp,
};

/// One event on its way to one destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeliveryId {
    /// What is to be told.
    pub event: EventId,
    /// To whom.
    pub destination: Name,
}

/// Where a delivery is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeliveryState {
    /// To be tried at this time.
    Pending {
        /// When it is due, if it is the first of its lane.
        due: Timestamp,
    },
    /// Not to be tried by itself: it will be told with others, or when its time comes.
    Held {
        /// With which others.
        batch: BatchKey,
    },
    /// It arrived.
    Delivered {
        /// When that was known.
        at: Timestamp,
    },
    /// It is told by another event, which stands for several.
    Merged {
        /// Since when.
        at: Timestamp,
        /// By which.
        into: EventId,
    },
    /// It was given up.
    Dead {
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
    },
}

/// All that is known of a delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliveryRecord {
    /// Names it within the store.
    pub token: Token,
    /// Which event to which destination.
    pub id: DeliveryId,
    /// The thing the event is about.
    pub subject: Subject,
    /// The rule that made it.
    pub rule: Name,
    /// Counts up from 1 per (destination, source, call).
    pub sequence: u64,
    /// When it was made.
    pub created: Timestamp,
    /// When the thing it tells of happened: see [`Hold::happened`].
    pub happened: Timestamp,
    /// Where it is.
    pub state: DeliveryState,
    /// How many attempts were made.
    pub attempts: u32,
    /// The latest attempts, oldest first, at most [`ATTEMPTS_KEPT`].
    pub log: Vec<Attempt>,
    /// Where its schedule last began anew; `None` when it began with the delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
}

/// How many attempts of a delivery are kept word for word.
pub const ATTEMPTS_KEPT: usize = 20;

/// A delivery's state without its details. Serialised as the word that people read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStateKind {
    /// Yet to arrive.
    Pending,
    /// Waiting to be told with others.
    Held,
    /// It arrived.
    Delivered,
    /// Told by another event.
    Merged,
    /// It was given up.
    Dead,
}

impl DeliveryStateKind {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Held => "held",
            Self::Delivered => "delivered",
            Self::Merged => "merged",
            Self::Dead => "dead",
        }
    }
}

impl DeliveryState {
    /// The state without its details.
    pub fn kind(&self) -> DeliveryStateKind {
        match self {
            Self::Pending { .. } => DeliveryStateKind::Pending,
            Self::Held { .. } => DeliveryStateKind::Held,
            Self::Merged { .. } => DeliveryStateKind::Merged,
            Self::Delivered { .. } => DeliveryStateKind::Delivered,
            Self::Dead { .. } => DeliveryStateKind::Dead,
        }
    }
}

/// One try of a delivery, as it is kept for people to look at. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// What happened, in one line: `200 OK`, `connection refused`, `550 mailbox unavailable`.
    pub result: String,
    /// The beginning of what came back, at most 2 KiB, secrets masked.
    pub response: String,
}

/// A point at which a delivery's retry schedule begins anew because a person said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// When.
    pub at: Timestamp,
    /// How many attempts had been made by then.
    pub attempts: u32,
}

/// How many deliveries a destination has in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Yet to arrive.
    pub pending: u64,
    /// Waiting to be told with others.
    #[serde(default)]
    pub held: u64,
    /// Told by another event, and still kept.
    #[serde(default)]
    pub merged: u64,
    /// Arrived, and still kept.
    pub delivered: u64,
    /// Given up, and still kept.
    pub dead: u64,
}

impl DeliveryRecord {
    /// A delivery nobody has tried yet.
    pub(super) fn new(token: Token, new: &NewDelivery, event: &Event) -> Self {
        Self {
            token,
            id: DeliveryId { event: event.id.clone(), destination: new.destination.clone() },
            subject: event.subject.clone(),
            rule: event.rule.clone(),
            sequence: new.sequence,
            created: new.created,
            happened: new.hold.as_ref().map_or(new.created, |hold| hold.happened),
            state: match &new.hold {
                Some(hold) => DeliveryState::Held { batch: hold.batch.clone() },
                None => DeliveryState::Pending { due: new.created },
            },
            attempts: 0,
            log: vec![],
            restart: None,
        }
    }

    /// Notes an attempt and what follows from it; says whether it did, which it does only for the next attempt of a due
    /// delivery. A delivery is finished when its last attempt was over.
    pub(super) fn settle(&mut self, number: u32, attempt: Attempt, verdict: Verdict) -> bool {
        if self.due().is_none() || number != self.attempts.saturating_add(1) {
            return false;
        }
        let at = attempt.at.after(Duration::from_millis(attempt.took_ms));
        self.state = match verdict {
            Verdict::Delivered => DeliveryState::Delivered { at },
            Verdict::Retry(due) => DeliveryState::Pending { due },
            Verdict::Dead(reason) => DeliveryState::Dead { at, reason },
        };
        self.attempts = number;
        self.log.push(attempt);
        let excess = self.log.len().saturating_sub(ATTEMPTS_KEPT);
        self.log.drain(..excess);
        true
    }

    /// Makes it due at `at`, with its schedule begun anew; says whether it did, which it does not for a delivery that has
    /// arrived or was told with others.
    pub(super) fn retry(&mut self, at: Timestamp) -> bool {
        if matches!(self.state, DeliveryState::Delivered { .. } | DeliveryState::Merged { .. }) {
            return false;
        }
        self.state = DeliveryState::Pending { due: at };
        self.restart = Some(Restart { at, attempts: self.attempts });
        true
    }

    /// Puts it into a batch; says whether it did, which it does not for a finished delivery.
    pub(super) fn hold(&mut self, batch: BatchKey) -> bool {
        let may = self.finished().is_none();
        if may {
            self.state = DeliveryState::Held { batch };
        }
        may
    }

    /// Makes it due at `at` if it is held; says whether it was.
    pub(super) fn release(&mut self, at: Timestamp) -> bool {
        let may = self.waits_in().is_some();
        if may {
            self.state = DeliveryState::Pending { due: at };
        }
        may
    }

    /// Ends it because `into` tells it, if it is held; says whether it was.
    pub(super) fn merge(&mut self, at: Timestamp, into: EventId) -> bool {
        let may = self.waits_in().is_some();
        if may {
            self.state = DeliveryState::Merged { at, into };
        }
        may
    }

    /// What its destination's owner needs to know of it; `None` when it is finished.
    pub(super) fn pending(&self) -> Option<Pending> {
        let standing = match &self.state {
            DeliveryState::Pending { due } => Standing::Due(*due),
            DeliveryState::Held { batch } => {
                Standing::Held(Hold { batch: batch.clone(), happened: self.happened })
            }
            _ => return None,
        };
        Some(Pending {
            token: self.token,
            event: self.id.event.clone(),
            subject: self.subject.clone(),
            rule: self.rule.clone(),
            sequence: self.sequence,
            created: self.created,
            attempts: self.attempts,
            restart: self.restart,
            standing,
        })
    }

    /// When it is to be tried; `None` when it is held or finished.
    pub(super) fn due(&self) -> Option<Timestamp> {
        match self.state {
            DeliveryState::Pending { due } => Some(due),
            _ => None,
        }
    }

    /// The batch that holds it; `None` when it is not held.
    pub(super) fn waits_in(&self) -> Option<&BatchKey> {
        match &self.state {
            DeliveryState::Held { batch } => Some(batch),
            _ => None,
        }
    }

    /// When it was finished; `None` when it is pending or held.
    pub fn finished(&self) -> Option<Timestamp> {
        match self.state {
            DeliveryState::Pending { .. } | DeliveryState::Held { .. } => None,
            DeliveryState::Delivered { at }
            | DeliveryState::Merged { at, .. }
            | DeliveryState::Dead { at, .. } => Some(at),
        }
    }
}

impl Tally {
    /// Counts a delivery.
    pub(super) fn add(&mut self, state: &DeliveryState) {
        *self.of(state) += 1;
    }

    /// How many are not finished.
    pub fn unfinished(&self) -> u64 {
        self.pending + self.held
    }

    fn of(&mut self, state: &DeliveryState) -> &mut u64 {
        match state {
            DeliveryState::Pending { .. } => &mut self.pending,
            DeliveryState::Held { .. } => &mut self.held,
            DeliveryState::Merged { .. } => &mut self.merged,
            DeliveryState::Delivered { .. } => &mut self.delivered,
            DeliveryState::Dead { .. } => &mut self.dead,
        }
    }
}
