//! From the store to the destinations: one task per destination takes what is due, tries it, and records what
//! became of it.
//!
//! [`dispatcher`] is the shell: it holds the store, the clock and the attempts in flight. What follows from an
//! attempt ([`schedule`]), when a destination is left alone ([`breaker`]), how often it may be bothered ([`rate`])
//! and what waits to be told with others ([`pacer`], whose shell is [`sorter`]) are pure and are told the time.
//!
//! Order within a lane is the store's doing: it hands out only the first pending delivery of each lane, and the
//! next one not before that has been settled.

mod attempt;
mod breaker;
mod dispatcher;
mod pacer;
mod rate;
mod schedule;
mod sorter;

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

pub(crate) use self::sorter::Sorter;
use crate::{
    destination::{Destination, DestinationConfig},
    rule::Rules,
    store::{Store, StoreError},
    telemetry::{Signal, Telemetry},
    time::{Clock, Timestamp},
};

/// The waits before a store that could not be read or written is tried again.
const STORE_RETRY: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(5)];

/// One destination and everything needed to serve it.
pub struct DestinationTask {
    /// How it is served.
    pub config: DestinationConfig,
    /// What tries.
    pub destination: Arc<dyn Destination>,
    /// How each rule wants its events to be said, and how often. They are swapped while the task runs, which keeps its
    /// connections, breaker and rate.
    pub rules: watch::Receiver<Rules>,
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
    dispatcher::Dispatcher::new(task).await?.run(stop).await
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

/// Asks the store again when it could not be read or written, which may pass. Nothing else gets better by waiting.
async fn insist<T, F: Future<Output = Result<T, StoreError>>>(
    telemetry: &Telemetry,
    doing: &'static str,
    ask: impl Fn() -> F,
) -> Result<T, StoreError> {
    let mut waits = STORE_RETRY.into_iter();
    loop {
        let error = match ask().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        telemetry.emit(Signal::StoreFailed { doing, error: error.to_string() });
        match waits.next().filter(|_| matches!(error, StoreError::Io { .. })) {
            Some(wait) => sleep(wait).await,
            None => return Err(error),
        }
    }
}
