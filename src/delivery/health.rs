//! Incidents of a destination, to be told elsewhere: that it takes nothing any more, that it does again, and how many
//! deliveries to it were given up. Pure.
//!
//! The incidents already told stand in the checkpoint of the destination's duty, which is committed together with the
//! events. How many deliveries were given up stands in a memo, under the destination's own name as the lane, which is
//! written by the settlement that gives them up. Both only count up, so after a kill at any moment the difference is what
//! is left to be told.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Moment;
use crate::{
    destination::Reaction,
    event::Subject,
    json,
    kind::Kind,
    name::Name,
    rule::RuleSet,
    store::{Pause, StoreError},
    telling::{Incident, Told},
    template::truncate,
    time::{Deadline, Timestamp},
};

/// The least time between two messages about deliveries that were given up.
const DEAD_EVERY: Duration = Duration::from_secs(10 * 60);
/// When none has been given up for so long, those that were are told together.
const DEAD_QUIET: Duration = Duration::from_secs(30);
/// The longest reason that is kept, in characters: it stands in a memo.
const MAX_REASON: usize = 300;

/// The health of one destination.
pub(super) struct Health {
    destination: Name,
    failing_after: Duration,
    memory: Memory,
    outage: Option<Outage>,
    /// Whether a delivery has arrived since the destination was last looked at.
    arrived: bool,
    /// Whether it takes deliveries again, as far as is known.
    recovers: bool,
    rest: Rest,
    dead: Dead,
    /// How many of the deliveries counted in `dead` the store knows as given up. Only these are reported.
    dead_written: u64,
    /// When the first and the last of the deliveries were given up that are still to be reported, by the steady clock.
    gathering: Option<(Timestamp, Timestamp)>,
    /// No message about deliveries that were given up is due before this (steady) time.
    dead_not_before: Timestamp,
}

/// The incidents that have been told. Kept as the checkpoint of the destination's duty.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Memory {
    /// How many deliveries about this destination each other one has been given: the last `sequence`.
    sequences: BTreeMap<Name, u64>,
    /// Since when the destination has been failing, once that has been told.
    failing_since: Option<Timestamp>,
    /// How many of the deliveries that were given up have been told.
    dead_told: u64,
    /// When the next message about such deliveries may be sent.
    dead_next: Option<Deadline>,
}

/// The deliveries that were given up, as they are counted in the store.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Dead {
    /// How many there have ever been.
    count: u64,
    /// When the first of those that have not been told was given up.
    since: Timestamp,
    /// Why the last one was.
    reason: String,
}

/// A time in which nothing arrives. Lost with the process, unless the destination is paused.
struct Outage {
    /// When it began, by the wall clock.
    since: Timestamp,
    /// When it has lasted for `failing_after`, by the steady clock.
    failing_at: Timestamp,
    /// The latest reason why nothing arrives.
    error: String,
    /// Whether attempts have failed that may be repeated. Then it only ends when one arrives.
    by_attempts: bool,
    /// Whether an attempt has failed after the outage had lasted for `failing_after`.
    is_proven: bool,
}

/// Why a destination is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// It is not.
    None,
    /// A person wants it so, and knows.
    ByHand,
    /// It fails, or asked for it: until an attempt arrives, or until the pause ends.
    ForNow,
    /// It asked for it, and only a person or another config ends that.
    ForGood,
}

impl Health {
    /// The health of a destination that begins to be served. `checkpoint` and `memo` are what the store keeps of it.
    ///
    /// # Errors
    /// When they cannot be read: beginning anew might report again what has been reported.
    pub(super) fn load(
        destination: Name,
        failing_after: Duration,
        checkpoint: Option<Value>,
        memo: Option<Value>,
        now: Moment,
    ) -> Result<Self, StoreError> {
        let damaged = |error: serde_json::Error| StoreError::Damaged {
            path: format!("(state of destination {destination})"),
            why: error.to_string(),
            advice:
                "stop callwatch and run `callwatch restore`, which puts the last good backup in its place"
                    .to_owned(),
        };
        let memory: Memory =
            checkpoint.map_or_else(|| Ok(Memory::default()), serde_json::from_value).map_err(damaged)?;
        let dead: Option<Dead> = memo.map(serde_json::from_value).transpose().map_err(damaged)?;
        // A memo that was not written for long is forgotten; everything it counted was told long ago.
        let mut dead = dead.unwrap_or_default();
        dead.count = dead.count.max(memory.dead_told);
        let wait = memory.dead_next.map_or(Duration::ZERO, |next| next.left(now.wall).min(DEAD_EVERY));
        Ok(Self {
            gathering: (dead.count > memory.dead_told).then_some((now.steady, now.steady)),
            dead_not_before: now.steady.after(wait),
            destination,
            failing_after,
            memory,
            outage: None,
            arrived: false,
            recovers: false,
            rest: Rest::None,
            dead_written: dead.count,
            dead,
        })
    }

    /// The lane whose memo counts the deliveries of a destination that were given up. No event about a destination goes
    /// there, so the lane has no other memo.
    pub(super) fn lane(destination: &Name) -> Subject {
        Subject::Destination(destination.clone())
    }

    /// An attempt has ended with this result.
    pub(super) fn attempted(&mut self, reaction: &Reaction, result: &str, now: Moment) {
        let (error, by_attempts) = match reaction {
            Reaction::Delivered => {
                self.arrived = true;
                return;
            }
            // It says something about the delivery, not about the destination.
            Reaction::Dead(_) => return,
            Reaction::Retry { .. } => (result, true),
            Reaction::Pause(reason) => (reason.as_str(), false),
        };
        (self.arrived, self.recovers) = (false, false);
        let error = truncate(error, MAX_REASON);
        let failing_after = self.failing_after;
        let outage =
            self.outage.get_or_insert_with(|| Outage::new(now.wall, now.steady.after(failing_after)));
        outage.error = error;
        outage.by_attempts |= by_attempts;
        outage.is_proven |= now.steady >= outage.failing_at;
    }

    /// Takes in whether the destination is left alone now, and the pause that the store keeps, if there is one.
    pub(super) fn look(&mut self, rest: Rest, pause: Option<&Pause>, now: Moment) {
        self.rest = rest;
        if rest == Rest::None && std::mem::take(&mut self.arrived) {
            self.outage = None;
            self.recovers = true;
        }
        match rest {
            Rest::None | Rest::ByHand => drop(self.outage.take_if(|outage| !outage.by_attempts)),
            Rest::ForNow | Rest::ForGood => {
                if let (None, Some(pause)) = (&self.outage, pause) {
                    // It may have begun before the process did.
                    let left = Deadline::new(pause.since, self.failing_after).left(now.wall);
                    let outage = Outage::new(pause.since.min(now.wall), now.steady.after(left));
                    self.outage = Some(Outage { error: truncate(&pause.reason, MAX_REASON), ..outage });
                }
            }
        }
    }

    /// Deliveries have been given up. Returns the memo to be written with that.
    pub(super) fn died(&mut self, count: u64, reason: &str, now: Moment) -> Value {
        if self.dead.count <= self.memory.dead_told {
            self.dead.since = now.wall;
        }
        self.dead.count += count;
        self.dead.reason = truncate(reason, MAX_REASON);
        json::of_plain(&self.dead)
    }

    /// Notes that the store has the count of [`Health::died`].
    pub(super) fn wrote(&mut self, now: Moment) {
        if self.dead.count > self.dead_written {
            self.dead_written = self.dead.count;
            let first = self.gathering.map_or(now.steady, |(first, _)| first);
            self.gathering = Some((first, now.steady));
        }
    }

    /// When [`Health::tick`] has something to tell, by the steady clock, unless something happens first.
    pub(super) fn tells_at(&self) -> Option<Timestamp> {
        [self.failing_at(), self.dead_at()].into_iter().flatten().min()
    }

    /// The events due now, and the checkpoint to be committed with them. `waiting` is how many deliveries are not finished.
    pub(super) fn tick(&mut self, rules: &RuleSet, waiting: usize, now: Moment) -> Option<(Told, Value)> {
        let is_due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now.steady);
        let mut told = None;
        if is_due(self.failing_at())
            && let Some(outage) = &self.outage
        {
            let details = json!({
                "destination": self.destination.as_str(),
                "since": outage.since.to_string(),
                "error": outage.error,
                "waiting": waiting,
                "resumes": self.rest != Rest::ForGood,
            });
            let since = outage.since;
            self.memory.failing_since = Some(since);
            self.tell(
                &mut told,
                Kind::DestinationFailing,
                since.as_millis().to_string(),
                &details,
                rules,
                now,
            );
        }
        if let Some(since) = self.recovers() {
            self.memory.failing_since = None;
            let details = json!({
                "destination": self.destination.as_str(),
                "since": since.to_string(),
                "waiting": waiting,
            });
            self.tell(
                &mut told,
                Kind::DestinationRecovered,
                since.as_millis().to_string(),
                &details,
                rules,
                now,
            );
        }
        self.recovers = false;
        if is_due(self.dead_at()) {
            let details = json!({
                "destination": self.destination.as_str(),
                "since": self.dead.since.to_string(),
                "count": self.dead_written - self.memory.dead_told,
                "error": self.dead.reason,
            });
            // The count begins anew with a new store, or goes back with a backup; the time does not.
            let number = format!("{}-{}", self.memory.dead_told, self.dead.since.as_millis());
            self.memory.dead_told = self.dead_written;
            self.memory.dead_next = Some(Deadline::new(now.wall, DEAD_EVERY));
            self.dead_not_before = now.steady.after(DEAD_EVERY);
            self.gathering = None;
            self.tell(&mut told, Kind::DeliveryDead, number, &details, rules, now);
        }
        told.map(|told| (told, json::of_plain(&self.memory)))
    }

    fn tell(
        &mut self,
        told: &mut Option<Told>,
        kind: Kind,
        number: String,
        details: &Value,
        rules: &RuleSet,
        now: Moment,
    ) {
        let incident = Incident { kind, subject: Self::lane(&self.destination), number, details };
        let more = incident.tell(rules, &mut self.memory.sequences, now.wall);
        told.get_or_insert_default().append(more);
    }

    fn failing_at(&self) -> Option<Timestamp> {
        let outage = self.outage.as_ref().filter(|_| self.memory.failing_since.is_none())?;
        let is_left_alone = matches!(self.rest, Rest::ForNow | Rest::ForGood);
        (is_left_alone || outage.is_proven).then_some(outage.failing_at)
    }

    /// Since when the destination was failing, if it has to be told that it takes deliveries again.
    fn recovers(&self) -> Option<Timestamp> {
        self.memory.failing_since.filter(|_| self.recovers)
    }

    fn dead_at(&self) -> Option<Timestamp> {
        let (first, last) = self.gathering?;
        Some(last.after(DEAD_QUIET).min(first.after(DEAD_EVERY)).max(self.dead_not_before))
    }
}

impl Outage {
    fn new(since: Timestamp, failing_at: Timestamp) -> Self {
        Self { since, failing_at, error: String::new(), by_attempts: false, is_proven: false }
    }
}
