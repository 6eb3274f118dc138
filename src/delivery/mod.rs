//! From the store to the destinations: one task per destination takes what is due, tries it, and records what
//! became of it.
//!
//! [`dispatcher`] is the shell: it holds the store, the clock and the attempts in flight. What follows from an
//! attempt ([`schedule`]), when a destination is left alone ([`breaker`]) and how often it may be bothered
//! ([`rate`]) are pure and are told the time.
//!
//! Order within a lane is the store's doing: it hands out only the first pending delivery of each lane, and the
//! next one not before that has been settled.

mod attempt;
mod breaker;
mod dispatcher;
mod rate;
mod schedule;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    config::DestinationConfig,
    destination::Destination,
    name::Name,
    rule::RuleText,
    store::{Store, StoreError},
    telemetry::Telemetry,
    time::{Clock, Timestamp},
};

/// One destination and everything needed to serve it.
pub struct DestinationTask {
    /// How it is served.
    pub config: DestinationConfig,
    /// What tries.
    pub destination: Arc<dyn Destination>,
    /// How each rule wants its events to be said, by the rule's name.
    pub texts: BTreeMap<Name, Arc<RuleText>>,
    /// Where deliveries are taken from and settled.
    pub store: Arc<dyn Store>,
    /// What is said about the work.
    pub telemetry: Telemetry,
    /// The time.
    pub clock: Clock,
    /// How long attempts in flight may go on after a signal to stop.
    pub grace: Duration,
}

/// Serves one destination until `stop` is cancelled. Then nothing new is begun, attempts in flight have
/// [`DestinationTask::grace`] to end, and those that did not are released as if they had not been begun.
///
/// Dropping the future is safe at any time: what was not settled is tried again after a restart, or when its
/// lease ends.
///
/// # Errors
/// [`StoreError`] when the store failed and went on failing. Attempts in flight are then cut off.
pub async fn run(task: DestinationTask, stop: CancellationToken) -> Result<(), StoreError> {
    dispatcher::Dispatcher::new(task).run(stop).await
}

/// How many attempts may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// This many now, at least one.
    For(usize),
    /// None before this (steady) time.
    At(Timestamp),
    /// None before an attempt in flight has ended.
    Full,
}

impl Room {
    /// What two limits leave together.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Full, _) | (_, Self::Full) => Self::Full,
            (Self::At(a), Self::At(b)) => Self::At(a.max(b)),
            (Self::At(at), Self::For(_)) | (Self::For(_), Self::At(at)) => Self::At(at),
            (Self::For(a), Self::For(b)) => Self::For(a.min(b)),
        }
    }
}
