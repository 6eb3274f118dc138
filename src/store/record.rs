//! A delivery's life: how it begins, what an attempt makes of it, and what is asked of it.

use std::time::Duration;

use super::{
    ATTEMPTS_KEPT, Attempt, DeliveryFilter, DeliveryRecord, DeliveryState, NewDelivery, Restart, Tally,
    Verdict,
};
use crate::{call::CallId, event::Event, name::Name, time::Timestamp};

impl DeliveryRecord {
    /// A delivery no one has tried yet.
    pub(super) fn new(new: NewDelivery, event: &Event) -> Self {
        Self {
            id: new.id,
            source: event.source.clone(),
            call: event.call.clone(),
            rule: event.rule.clone(),
            sequence: new.sequence,
            created: new.created,
            state: DeliveryState::Pending { due: new.created },
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
    /// arrived.
    pub(super) fn retry(&mut self, now: Timestamp) -> bool {
        if matches!(self.state, DeliveryState::Delivered { .. }) {
            return false;
        }
        self.state = DeliveryState::Pending { due: now };
        self.restart = Some(Restart { at: now, attempts: self.attempts });
        true
    }

    /// When it is to be tried; `None` when it is finished.
    pub(super) fn due(&self) -> Option<Timestamp> {
        match self.state {
            DeliveryState::Pending { due } => Some(due),
            DeliveryState::Delivered { .. } | DeliveryState::Dead { .. } => None,
        }
    }

    /// When it was finished; `None` when it is pending.
    pub(super) fn finished(&self) -> Option<Timestamp> {
        match self.state {
            DeliveryState::Pending { .. } => None,
            DeliveryState::Delivered { at } | DeliveryState::Dead { at, .. } => Some(at),
        }
    }

    /// What must stay in order: what one destination is told of one call, or of the source itself.
    pub(super) fn lane(&self) -> (&Name, &Name, &str) {
        (&self.id.destination, &self.source, self.call.as_ref().map_or("", CallId::as_str))
    }
}

impl DeliveryFilter {
    /// Whether every part that is given matches.
    pub(super) fn matches(&self, record: &DeliveryRecord) -> bool {
        self.destination.as_ref().is_none_or(|destination| *destination == record.id.destination)
            && self.call.as_ref().is_none_or(|call| Some(call) == record.call.as_ref())
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

    fn of(&mut self, state: &DeliveryState) -> &mut u64 {
        match state {
            DeliveryState::Pending { .. } => &mut self.pending,
            DeliveryState::Delivered { .. } => &mut self.delivered,
            DeliveryState::Dead { .. } => &mut self.dead,
        }
    }
}
