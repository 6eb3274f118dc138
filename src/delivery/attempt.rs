//! One attempt, in a task of its own, and the gate it waits at until it may begin.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    destination::{Answer, Destination, Notification, Reaction},
    rule::Rules,
    store::Lease,
    time::{Clock, Timestamp},
};

/// What a destination may need beyond its timeout to clean up before it is cut off.
pub(super) const CLEAN_UP: Duration = Duration::from_secs(5);

/// Lets so many attempts through at a time.
#[derive(Clone)]
pub(super) struct Gate {
    slots: Arc<Semaphore>,
    shut: CancellationToken,
}

impl Gate {
    pub(super) fn new(concurrency: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(concurrency)), shut: CancellationToken::new() }
    }

    /// Sends away those who wait; who comes later may wait again.
    pub(super) fn clear(&mut self) {
        std::mem::take(&mut self.shut).cancel();
    }
}

/// What came of an attempt.
pub(super) struct CameBack {
    pub(super) answer: Answer,
    /// When it began.
    pub(super) at: Timestamp,
    pub(super) took: Duration,
}

/// Tries once, for no longer than `limit` and [`CLEAN_UP`], when the gate lets it through; `None` when it was sent
/// away.
pub(super) async fn attempt(
    gate: Gate,
    destination: Arc<dyn Destination>,
    rules: Rules,
    lease: Lease,
    clock: Clock,
    limit: Duration,
) -> Option<CameBack> {
    let _slot = tokio::select! {
        biased;
        () = gate.shut.cancelled() => return None,
        // It is never closed.
        slot = gate.slots.acquire() => slot.ok()?,
    };
    let (now, begun) = (clock.wall(), Instant::now());
    let notification =
        Notification { event: &lease.event, rules: &rules, sequence: lease.sequence, memo: None, now };
    let deadline = limit.saturating_add(CLEAN_UP);
    let answer = timeout(deadline, destination.deliver(&notification))
        .await
        .unwrap_or_else(|_| failed(format!("no answer within {}", humantime::format_duration(deadline))));
    Some(CameBack { answer, at: now, took: begun.elapsed() })
}

/// The answer of an attempt that brought none.
pub(super) fn failed(result: String) -> Answer {
    Answer { reaction: Reaction::Retry { after: None }, result, response: String::new(), memo: None }
}
