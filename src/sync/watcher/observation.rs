//! The result of one look.

use crate::{
    call::CallId,
    change::Stale,
    event::Event,
    name::Name,
    snapshot::Snapshot,
    store::{Commit, NewEvent},
    telemetry::Signal,
    telling::Told,
};

/// The result of one look at a call, or at a source itself. Nothing of it may be told before it is committed, because
/// after a crash the look simply happens again.
#[must_use]
#[derive(Debug, Default)]
pub struct Observation {
    /// The call as it has to be remembered from now on; `None` when what is remembered stays as it is.
    pub snapshot: Option<(CallId, Snapshot)>,
    /// The events of the rules that fired, and those that tell several of them in one message. A rule's own event may have
    /// no delivery left.
    pub events: Vec<NewEvent>,
    /// Signals to emit once it is committed.
    pub signals: Vec<Signal>,
    /// Whether anything a person could tell apart has changed. A call seen for the first time has.
    pub changed: bool,
    /// The rules whose conditions were evaluated for it, each with why that failed, if it did.
    pub conditions: Vec<(Name, Option<String>)>,
    /// The paths of the fields in which the call differs from what was remembered.
    pub differing: Vec<String>,
    /// Why the record was taken for an older state than what is remembered, and ignored.
    pub stale: Option<Stale>,
}

impl Observation {
    /// Whether there is nothing to commit and nothing to say.
    pub fn is_empty(&self) -> bool {
        self.snapshot.is_none() && self.events.is_empty() && self.signals.is_empty()
    }

    /// One event for each rule that fired.
    pub fn fired(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().map(|new| &new.event).filter(|event| event.also.is_empty())
    }

    /// Adds it to `commit`, and returns the signals to emit once that is durable.
    pub fn commit_into(self, commit: &mut Commit) -> Vec<Signal> {
        commit.snapshots.extend(self.snapshot);
        commit.events.extend(self.events.into_iter().filter(|new| !new.deliveries.is_empty()));
        self.signals
    }

    /// Adds the events and signals of rules that fired.
    pub(super) fn append(&mut self, Told { mut events, mut signals }: Told) {
        self.events.append(&mut events);
        self.signals.append(&mut signals);
    }
}
