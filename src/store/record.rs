//! A delivery's record: its state, and how attempts, batches and people change it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Hold, NewDelivery, Pending, Standing, Token, Verdict};
use crate::{
    batch::BatchKey,
    event::{Event, EventId, Subject},
    name::Name,
    time::{Deadline, Timestamp},
};

/// One event on its way to one destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeliveryId {
    /// The event to be told.
    pub event: EventId,
    /// The destination that it is told to.
    pub destination: Name,
}

/// The state of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeliveryState {
    /// It is to be tried at this time.
    Pending {
        /// When it is due, if it is the first of its lane.
        due: Deadline,
    },
    /// It is not to be tried by itself: it is told with others, or when its batch's time comes.
    Held {
        /// The batch in which it waits.
        batch: BatchKey,
    },
    /// It arrived.
    Delivered {
        /// When its arrival was known.
        at: Timestamp,
    },
    /// Another event, which stands for several, tells it.
    Merged {
        /// When it was merged.
        at: Timestamp,
        /// The event that tells it.
        into: EventId,
    },
    /// It was given up.
    Dead {
        /// When it was given up.
        at: Timestamp,
        /// The reason for giving up.
        reason: String,
    },
}

/// All that the store knows of a delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliveryRecord {
    /// Names the delivery within its store.
    pub token: Token,
    /// The event and the destination.
    pub id: DeliveryId,
    /// The thing the event is about.
    pub subject: Subject,
    /// The rule that made it.
    pub rule: Name,
    /// The other rules that its event tells: see [`Event::also`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Name>,
    /// Counts up from 1 per (destination, source, call).
    pub sequence: u64,
    /// When it was made.
    pub created: Timestamp,
    /// When the thing it tells of happened: see [`Hold::happened`].
    pub happened: Timestamp,
    /// The state it is in.
    pub state: DeliveryState,
    /// How many attempts were made.
    pub attempts: u32,
    /// The latest attempts, oldest first, at most [`ATTEMPTS_KEPT`].
    pub log: Vec<Attempt>,
    /// Where its schedule last began anew; `None` when it began with the delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
}

/// The most attempts of a delivery that are kept; of older ones only the number is known.
pub const ATTEMPTS_KEPT: usize = 20;

/// A delivery's state without its details. Serialised as the word that people read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStateKind {
    /// Due, or waiting for its next attempt.
    Pending,
    /// Waiting in a batch, to be told with others.
    Held,
    /// Arrived.
    Delivered,
    /// Told by another event.
    Merged,
    /// Given up.
    Dead,
}

impl DeliveryStateKind {
    /// The state's name, as people read it.
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
    /// The result in one line: `200 OK`, `connection refused`, `550 mailbox unavailable`.
    pub result: String,
    /// The beginning of the receiver's answer, at most 2 KiB, secrets masked.
    pub response: String,
}

impl Attempt {
    /// When it ended.
    pub fn ended(&self) -> Timestamp {
        self.at.after(Duration::from_millis(self.took_ms))
    }
}

/// A point at which a delivery's retry schedule begins anew because a person said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// When the schedule begins anew.
    pub at: Timestamp,
    /// How many attempts had been made before that.
    pub attempts: u32,
}

/// How many deliveries a destination has in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Deliveries that are due, or wait for their next attempt.
    pub pending: u64,
    /// Deliveries that wait in a batch, to be told with others.
    #[serde(default)]
    pub held: u64,
    /// Deliveries told by another event, until they are purged.
    #[serde(default)]
    pub merged: u64,
    /// Deliveries that arrived, until they are purged.
    pub delivered: u64,
    /// Deliveries that were given up, until they are purged.
    pub dead: u64,
}

impl DeliveryRecord {
    /// The record of a delivery before its first attempt.
    pub(super) fn new(token: Token, new: &NewDelivery, event: &Event) -> Self {
        Self {
            token,
            id: DeliveryId { event: event.id.clone(), destination: new.destination.clone() },
            subject: event.subject.clone(),
            rule: event.rule.clone(),
            also: event.also.clone(),
            sequence: new.sequence,
            created: new.created,
            happened: new.hold.as_ref().map_or(new.created, |hold| hold.happened),
            state: match &new.hold {
                Some(hold) => DeliveryState::Held { batch: hold.batch.clone() },
                None => DeliveryState::Pending { due: Deadline::at_once(new.created) },
            },
            attempts: 0,
            log: vec![],
            restart: None,
        }
    }

    /// Notes an attempt and its verdict if it is the next attempt of a due delivery; returns whether it is. A delivery
    /// that is finished by it counts as finished from the end of the attempt.
    pub(super) fn settle(&mut self, number: u32, attempt: Attempt, verdict: Verdict) -> bool {
        if self.due().is_none() || number != self.attempts.saturating_add(1) {
            return false;
        }
        let at = attempt.ended();
        self.state = match verdict {
            Verdict::Delivered => DeliveryState::Delivered { at },
            Verdict::Retry(due) => DeliveryState::Pending { due: Deadline::at(at, due) },
            Verdict::Dead(reason) => DeliveryState::Dead { at, reason },
        };
        self.attempts = number;
        self.log.push(attempt);
        let excess = self.log.len().saturating_sub(ATTEMPTS_KEPT);
        self.log.drain(..excess);
        true
    }

    /// Makes it due at `at`, with its schedule begun anew. Returns false and changes nothing when the delivery has
    /// arrived or was told with others.
    pub(super) fn retry(&mut self, at: Timestamp) -> bool {
        if matches!(self.state, DeliveryState::Delivered { .. } | DeliveryState::Merged { .. }) {
            return false;
        }
        self.state = DeliveryState::Pending { due: Deadline::at_once(at) };
        self.restart = Some(Restart { at, attempts: self.attempts });
        true
    }

    /// Puts it into a batch. Returns false and changes nothing when the delivery is finished.
    pub(super) fn hold(&mut self, batch: BatchKey) -> bool {
        let may = self.finished().is_none();
        if may {
            self.state = DeliveryState::Held { batch };
        }
        may
    }

    /// Makes it due at `at` if it is held; returns whether it was.
    pub(super) fn release(&mut self, at: Timestamp) -> bool {
        let may = self.waits_in().is_some();
        if may {
            self.state = DeliveryState::Pending { due: Deadline::at_once(at) };
        }
        may
    }

    /// Ends it because `into` tells it, if it is held; returns whether it was.
    pub(super) fn merge(&mut self, at: Timestamp, into: EventId) -> bool {
        let may = self.waits_in().is_some();
        if may {
            self.state = DeliveryState::Merged { at, into };
        }
        may
    }

    /// Whether its event tells this rule, alone or with others.
    pub fn tells(&self, rule: &Name) -> bool {
        self.rule == *rule || self.also.contains(rule)
    }

    /// The part that its destination's owner keeps in memory; `None` when it is finished.
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
    pub(super) fn due(&self) -> Option<Deadline> {
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
    /// Counts a delivery in this state.
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
