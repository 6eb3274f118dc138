//! The attempts in flight and those that stand ready behind them, each in a task of its own.

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    sync::{Semaphore, watch},
    task::{self, JoinError, JoinSet},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    destination::{Answer, Destination, Notification, Reaction},
    event::Event,
    rule::Rules,
    store::Token,
    time::{Clock, Timestamp},
};

/// How much longer than its timeout an attempt may take to clean up before it is cut off.
pub(super) const CLEAN_UP: Duration = Duration::from_secs(5);

/// The attempts that were begun and have not ended.
pub(super) struct Flight {
    destination: Arc<dyn Destination>,
    rules: Rules,
    clock: Clock,
    gate: Gate,
    /// Each attempt ends with its answer, or with `None` when it was sent away before it began.
    attempts: JoinSet<Option<CameBack>>,
    /// The delivery of each attempt, by the task that makes it.
    aboard: HashMap<task::Id, Aboard>,
}

struct Aboard {
    token: Token,
    event: Arc<Event>,
    weight: usize,
    probe: bool,
}

/// An attempt that has ended.
pub(super) struct Landed {
    pub(super) token: Token,
    pub(super) event: Arc<Event>,
    /// Whether it was the breaker's probe.
    pub(super) probe: bool,
    /// `None` when it never began, or was cut off.
    pub(super) came_back: Option<CameBack>,
}

/// The place of a delivery in its lane.
pub(super) struct InLane {
    /// The memo that the last delivery of the lane left.
    pub(super) memo: Option<Value>,
    pub(super) sequence: u64,
    /// Whether the next delivery of the lane waits already.
    pub(super) followed: bool,
}

impl InLane {
    /// The notification of an event in this place.
    pub(super) fn notification<'a>(
        &'a self,
        event: &'a Arc<Event>,
        rules: &'a Rules,
        now: Timestamp,
    ) -> Notification<'a> {
        let Self { memo, sequence, followed } = self;
        let (sequence, followed) = (*sequence, *followed);
        Notification { event, rules, sequence, memo: memo.as_ref(), followed, now }
    }
}

/// The end of an attempt that was made.
pub(super) struct CameBack {
    pub(super) answer: Answer,
    /// When it began, by the clock for people.
    pub(super) at: Timestamp,
    pub(super) took: Duration,
}

/// Lets at most a set number of attempts through at a time.
#[derive(Clone)]
struct Gate {
    slots: Arc<Semaphore>,
    /// Cancelled to send the waiting attempts away.
    shut: CancellationToken,
    /// Until when attempts may begin; `None` for as long as they like.
    open_until: watch::Receiver<Option<Instant>>,
}

impl Flight {
    pub(super) fn new(
        destination: Arc<dyn Destination>,
        rules: Rules,
        clock: Clock,
        concurrency: usize,
        open_until: watch::Receiver<Option<Instant>>,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(concurrency));
        let gate = Gate { slots, shut: CancellationToken::new(), open_until };
        Self { destination, rules, clock, gate, attempts: JoinSet::new(), aboard: HashMap::new() }
    }

    /// Takes over the rules of another config, for the attempts that begin from now on.
    pub(super) fn follow_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// How much memory the events of these attempts take, in bytes.
    pub(super) fn weight(&self) -> usize {
        self.aboard.values().map(|aboard| aboard.weight).sum()
    }

    /// How many attempts are in flight or stand ready.
    pub(super) fn len(&self) -> usize {
        self.aboard.len()
    }

    /// Begins an attempt as soon as there is a slot.
    pub(super) fn begin(&mut self, token: Token, event: Arc<Event>, standing: InLane, probe: bool) {
        let attempt = attempt(
            self.gate.clone(),
            Arc::clone(&self.destination),
            Arc::clone(&self.rules),
            Arc::clone(&event),
            standing,
            self.clock,
        );
        let id = self.attempts.spawn(attempt).id();
        let weight = event.weight();
        self.aboard.insert(id, Aboard { token, event, weight, probe });
    }

    /// The next attempt that ends; waits for ever when there is none.
    pub(super) async fn landed(&mut self) -> Landed {
        loop {
            match self.attempts.join_next_with_id().await {
                Some(ended) => {
                    if let Some(landed) = self.land(ended) {
                        return landed;
                    }
                }
                None => std::future::pending().await,
            }
        }
    }

    /// An attempt that has ended already, without waiting for one.
    pub(super) fn already_landed(&mut self) -> Option<Landed> {
        let ended = self.attempts.try_join_next_with_id()?;
        self.land(ended)
    }

    /// Sends away the attempts that stand ready. Later ones may stand ready again.
    pub(super) fn clear(&mut self) {
        std::mem::take(&mut self.gate.shut).cancel();
    }

    /// Cuts off all attempts. They still land.
    pub(super) fn cut_off(&mut self) {
        self.attempts.abort_all();
    }

    fn land(&mut self, ended: Result<(task::Id, Option<CameBack>), JoinError>) -> Option<Landed> {
        let (id, came_back) = match ended {
            Ok((id, came_back)) => (id, came_back),
            Err(error) if error.is_cancelled() => (error.id(), None),
            Err(error) => {
                // The panic's message may quote the call, so it is not repeated here.
                let answer = failed("internal error: the attempt panicked".to_owned());
                let came_back = CameBack { answer, at: self.clock.wall(), took: Duration::ZERO };
                (error.id(), Some(came_back))
            }
        };
        let Aboard { token, event, probe, weight: _ } = self.aboard.remove(&id)?;
        Some(Landed { token, event, probe, came_back })
    }
}

/// Tries once when the gate lets it through, for at most the destination's longest attempt and [`CLEAN_UP`]. `None`
/// when it was sent away, or when the claim has run out.
async fn attempt(
    gate: Gate,
    destination: Arc<dyn Destination>,
    rules: Rules,
    event: Arc<Event>,
    standing: InLane,
    clock: Clock,
) -> Option<CameBack> {
    let _slot = tokio::select! {
        biased;
        () = gate.shut.cancelled() => return None,
        // The semaphore is never closed.
        slot = gate.slots.acquire() => slot.ok()?,
    };
    // A process that stood still for longer than its lease goes on here. Another one may be making this attempt by now.
    if gate.open_until.borrow().is_some_and(|until| until <= Instant::now()) {
        return None;
    }
    let (at, begun) = (clock.wall(), Instant::now());
    let notification = standing.notification(&event, &rules, at);
    let deadline = destination.longest_attempt().saturating_add(CLEAN_UP);
    let answer = timeout(deadline, destination.deliver(&notification))
        .await
        .unwrap_or_else(|_| failed(format!("no answer within {}", humantime::format_duration(deadline))));
    Some(CameBack { answer, at, took: begun.elapsed() })
}

/// The answer that stands for an attempt without one: it failed, and can be retried.
fn failed(result: String) -> Answer {
    Answer { reaction: Reaction::Retry { after: None }, result, response: String::new(), memo: None }
}
