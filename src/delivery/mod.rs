//! From the store to the destinations: one task per destination takes what is due, tries it, and records the outcome.
//!
//! [`dispatcher`] is the shell: it drives the calls to the store ([`errands`], [`summaries`]) and the attempts in flight
//! ([`flight`]). Everything that decides is pure and is told the time: which deliveries are due, in which order
//! ([`queue`]), which of them wait to be sent together ([`pacer`]; the two are one [`desk`]), when a failed attempt is
//! repeated ([`schedule`]), when a destination is left alone ([`breaker`] for as long as the process lives, [`pausing`]
//! for longer), how many attempts may begin within a time ([`rate`]), and what others have to be told of it
//! ([`health`]).
//!
//! Only the holder of the destination's claim delivers to it. Order within a lane is the queue's doing; the store keeps a
//! process that has lost its claim from writing anything.

mod breaker;
mod desk;
mod dispatcher;
mod errands;
mod flight;
mod health;
mod pacer;
mod pausing;
mod queue;
mod rate;
mod rehearsed;
mod schedule;
mod summaries;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

pub(crate) use self::rehearsed::{Arrived, Rehearsed};
use self::{
    desk::{Bundle, Moment},
    dispatcher::Dispatcher,
    errands::Owner,
    pacer::{Newcomer, Pacer},
};
use crate::{
    batch::BatchKey,
    destination::{Destination, DestinationConfig},
    rule::Rules,
    store::{self, Duty, Hold, Store, StoreError, Token},
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
    /// Makes the attempts.
    pub destination: Arc<dyn Destination>,
    /// How each rule wants its events to be said, and how often. They are swapped while the task runs, which keeps its
    /// connections, breaker and rate.
    pub rules: watch::Receiver<Rules>,
    /// Where deliveries are taken from and settled.
    pub store: Arc<dyn Store>,
    /// Where signals about the work go.
    pub telemetry: Telemetry,
    /// The clock.
    pub clock: Clock,
    /// How long attempts in flight may go on after a signal to stop.
    pub grace: Duration,
}

/// Serves one destination until `stop` is cancelled, whenever no other process does. Then nothing new is begun, attempts in
/// flight have [`DestinationTask::grace`] to end, and those that did not are as if they had not been begun.
///
/// Dropping the future is safe at any time: what was not settled is tried again, with the same id.
///
/// # Errors
/// [`StoreError`] when the store failed and went on failing. Attempts in flight are then cut off.
pub async fn run(task: DestinationTask, stop: CancellationToken) -> Result<(), StoreError> {
    let task = Arc::new(task);
    let duty = Duty::Destination(task.config.name.clone());
    let work = |claim, asked| {
        let (task, stop) = (Arc::clone(&task), stop.clone());
        // When it ends early, attempts in flight are cut off with the dispatcher, and nothing of them is written.
        async move {
            let (store, telemetry) = (Arc::clone(&task.store), task.telemetry.clone());
            let owner = Owner { store, claim, telemetry, destination: task.config.name.clone() };
            Dispatcher::load(task, owner, asked).await?.run(&stop).await
        }
    };
    store::work_in_turn(&*task.store, &duty, &stop, |turn| task.telemetry.note_turn(&duty, turn), work).await
}

/// When each batch goes out in which one of these deliveries is held, as far as is known now; `None` when more has to come
/// in first. `held` is all that a destination holds, oldest first, and `ledgers` what the store keeps of its batches.
pub(crate) fn go_out(
    destination: &DestinationConfig,
    rules: &Rules,
    ledgers: BTreeMap<BatchKey, Value>,
    held: &[(Token, Hold, Timestamp)],
    now: Timestamp,
) -> BTreeMap<BatchKey, Option<Timestamp>> {
    let mut pacer = Pacer::new(Arc::clone(rules), destination.quiet.clone(), ledgers);
    let mut at_once = BTreeSet::new();
    for (token, Hold { batch, happened }, created) in held {
        let newcomer = Newcomer { token: *token, came: *created, happened: *happened };
        if pacer.came(batch, newcomer, now) {
            at_once.insert(batch);
        }
    }
    let at = |batch: &BatchKey| if at_once.contains(batch) { Some(now) } else { pacer.goes_out(batch, now) };
    held.iter().map(|(_, Hold { batch, .. }, _)| (batch.clone(), at(batch))).collect()
}

/// How many attempts may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// This many now, at least one.
    For(usize),
    /// None before this (steady) time.
    At(Timestamp),
    /// None before something changes: an attempt in flight ends, a pause ends, or the claim is renewed.
    Full,
}

impl Room {
    /// The room that two limits leave together.
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
async fn retry_io<T, F: Future<Output = Result<T, StoreError>>>(
    telemetry: &Telemetry,
    doing: &'static str,
    ask: impl Fn() -> F,
) -> Result<T, StoreError> {
    let mut waits = STORE_RETRY.into_iter();
    loop {
        let error = match ask().await {
            // It is told once, by whoever ends the work.
            Err(error @ StoreError::ClaimLost { .. }) => return Err(error),
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
