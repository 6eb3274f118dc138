//! A delivery's life: how it begins, what an attempt makes of it, and what is asked of it.

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Serialize};

use super::{DeliveryId, NewDelivery, Verdict};
use crate::{
    batch::BatchKey,
    call::CallId,
    event::{Event, EventId, Subject},
    name::Name,
    time::Timestamp,
};

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
    /// Which event to which destination.
    pub id: DeliveryId,
    /// The thing the event is about.
    pub subject: Subject,
    /// The rule that made it.
    pub rule: Name,
    /// The order within (destination, source, call).
    pub sequence: u64,
    /// When it was made.
    pub created: Timestamp,
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

/// Which deliveries to list; every part that is given must match.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Of this destination.
    pub destination: Option<Name>,
    /// About this call.
    pub call: Option<CallId>,
    /// In this state.
    pub state: Option<DeliveryStateKind>,
}

/// A delivery's state without its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// A delivery no one has tried yet.
    pub(super) fn new(new: NewDelivery, event: &Event) -> Self {
        Self {
            id: new.id,
            subject: event.subject.clone(),
            rule: event.rule.clone(),
            sequence: new.sequence,
            created: new.created,
            state: if new.held {
                DeliveryState::Held { batch: BatchKey::Arrived }
            } else {
                DeliveryState::Pending { due: new.created }
            },
            attempts: 0,
            log: vec![],
            restart: None,
        }
    }

    /// Notes an attempt and what follows from it. A delivery is finished when its last attempt was over.
    pub(super) fn settle(&mut self, attempt: Attempt, verdict: Verdict) {
        let at = attempt.at.after(Duration::from_millis(attempt.took_ms));
        self.state = match verdict {
            Verdict::Delivered => DeliveryState::Delivered { at },
            Verdict::Retry(due) => DeliveryState::Pending { due },
            Verdict::Dead(reason) => DeliveryState::Dead { at, reason },
        };
        self.attempts = self.attempts.saturating_add(1);
        self.log.push(attempt);
        let excess = self.log.len().saturating_sub(ATTEMPTS_KEPT);
        self.log.drain(..excess);
    }

    /// Makes it due at `now`, with its schedule begun anew; says whether it did, which it does not for what has
    /// arrived or was told with others.
    pub(super) fn retry(&mut self, now: Timestamp) -> bool {
        if matches!(self.state, DeliveryState::Delivered { .. } | DeliveryState::Merged { .. }) {
            return false;
        }
        self.state = DeliveryState::Pending { due: now };
        self.restart = Some(Restart { at: now, attempts: self.attempts });
        true
    }

    /// Puts it into a batch; says whether it did, which it does not for what is finished.
    pub(super) fn hold(&mut self, batch: BatchKey) -> bool {
        let may = matches!(self.state, DeliveryState::Pending { .. } | DeliveryState::Held { .. });
        if may {
            self.state = DeliveryState::Held { batch };
        }
        may
    }

    /// Makes it due at `now` if it is held; says whether it is.
    pub(super) fn send(&mut self, now: Timestamp) -> bool {
        let may = self.waits_in().is_some();
        if may {
            self.state = DeliveryState::Pending { due: now };
        }
        may
    }

    /// Ends it because `into` tells it.
    pub(super) fn merge(&mut self, at: Timestamp, into: EventId) {
        self.state = DeliveryState::Merged { at, into };
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

    /// What must stay in order: what one destination is told of one call, of one batch, or of the source itself.
    pub(super) fn lane(&self) -> (&Name, &str, Cow<'_, str>) {
        let source = self.subject.source().map_or("", Name::as_str);
        let about = match &self.subject {
            Subject::Call { call, .. } => call.as_str().into(),
            Subject::Source(_) => "".into(),
            // No call's id begins with a control character.
            Subject::Destination(name) => format!("\u{1}destination/{name}").into(),
            Subject::Batch(batch) => format!("\u{1}{batch}").into(),
            Subject::Config => "\u{1}config".into(),
        };
        (&self.id.destination, source, about)
    }
}

impl DeliveryFilter {
    /// Whether every part that is given matches.
    pub(super) fn matches(&self, record: &DeliveryRecord) -> bool {
        self.destination.as_ref().is_none_or(|destination| *destination == record.id.destination)
            && self.call.as_ref().is_none_or(|call| Some(call) == record.subject.call())
            && self.state.is_none_or(|state| state == record.state.kind())
    }
}

impl Tally {
    /// Counts a delivery.
    pub(super) fn add(&mut self, state: &DeliveryState) {
        *self.of(state) += 1;
    }

    /// No longer counts a delivery.
    pub(super) fn subtract(&mut self, state: &DeliveryState) {
        let count = self.of(state);
        *count = count.saturating_sub(1);
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
