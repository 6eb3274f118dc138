//! The task of one destination.
//!
//! It goes round: settle what has ended, lease what may begin, hand it to tasks of its own, wait for whatever comes
//! first. What ends while one group is being settled is the next group.
//!
//! At most `concurrency` attempts are in flight. While all goes well others stand ready behind them, so that no slot
//! waits for the store; they too, and so memory and leases, are bounded by `concurrency`.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::{self, JoinError, JoinSet},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    DestinationTask, Room, Sorter,
    attempt::{CLEAN_UP, CameBack, Gate, attempt, failed},
    breaker::{Breaker, Shift},
    insist,
    rate::Window,
    schedule::{self, Schedule, Tried},
};
use crate::{
    destination::{Answer, Reaction},
    event::EventId,
    rule::Rules,
    store::{Attempt, Lease, LeaseRequest, Outcome, Pause, StoreError, Verdict},
    telemetry::Signal,
    time::Timestamp,
};

/// So many times `concurrency` are taken at once while all goes well.
const AHEAD: u32 = 4;
/// How much longer than it can take to get through with all that is taken a lease lasts. Whoever else leases would
/// send a second time.
const LEASE_MARGIN: Duration = Duration::from_secs(60);
/// The queue is looked at this often even if nothing is said to be due: the system's clock may have been set.
const LOOK_AT_LEAST: Duration = Duration::from_secs(60);
/// The queue is not looked at more often than this when looking brought nothing.
const LOOK_AT_MOST: Duration = Duration::from_millis(10);
/// Everything about one destination that changes while it is served.
pub(super) struct Dispatcher {
    task: DestinationTask,
    /// The rules as they are now.
    rules: Rules,
    sorter: Sorter,
    schedule: Schedule,
    breaker: Breaker,
    rate: Option<Window>,
    gate: Gate,
    /// Each says what came of it; nothing when it was not to begin.
    attempts: JoinSet<Option<CameBack>>,
    /// The attempts in flight and those that stand ready, by the task that makes them.
    in_flight: HashMap<task::Id, InFlight>,
    /// What has ended and is not settled yet.
    ended: Vec<Ended>,
    /// What was not to begin and is to be given back.
    unbegun: Vec<Lease>,
    /// The events of all deliveries in one of these.
    taken: HashSet<EventId>,
    /// Whether the last attempt arrived.
    goes_well: bool,
    /// A pause the receiver asked for, to be kept in the store with the next settlement.
    asked: Option<Pause>,
    /// Whether people were told of a pause that the store keeps.
    paused: bool,
    /// When to look at the queue again.
    look_at: Instant,
    /// Whether something may have arrived that has to be sorted.
    unsorted: bool,
}

/// An attempt in flight, or one that stands ready.
struct InFlight {
    lease: Lease,
    /// Whether it is the breaker's probe.
    probe: bool,
}

/// An attempt that has ended.
struct Ended {
    lease: Lease,
    attempt: Attempt,
    took: Duration,
    verdict: Verdict,
}

impl Dispatcher {
    pub(super) async fn new(mut task: DestinationTask) -> Result<Self, StoreError> {
        let rules = Arc::clone(&task.rules.borrow_and_update());
        let config = &task.config;
        let (store, telemetry) = (Arc::clone(&task.store), task.telemetry.clone());
        let sorter =
            Sorter::load(config.name.clone(), Arc::clone(&rules), config.quiet.clone(), store, telemetry);
        let sorter = sorter.await?;
        Ok(Self {
            rules,
            sorter,
            schedule: Schedule { waits: config.retry.clone(), max_age: config.max_attempts_age },
            breaker: Breaker::default(),
            rate: config.rate.map(Window::new),
            gate: Gate::new(config.concurrency),
            attempts: JoinSet::new(),
            in_flight: HashMap::new(),
            ended: vec![],
            unbegun: vec![],
            taken: HashSet::new(),
            goes_well: false,
            asked: None,
            paused: false,
            look_at: Instant::now(),
            unsorted: true,
            task,
        })
    }

    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<(), StoreError> {
        let arrivals = self.task.store.arrivals(&self.task.config.name);
        // Woken by whatever is committed from here on, so also by what comes while the queue is looked at.
        let mut arrived = std::pin::pin!(arrivals.notified());
        while !stop.is_cancelled() {
            self.follow_rules();
            self.settle().await?;
            self.sort().await?;
            self.fill(&stop).await?;
            let wake = self.wake();
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = self.attempts.join_next_with_id() => self.end(ended),
                () = &mut arrived => {
                    arrived.set(arrivals.notified());
                    self.look_at = Instant::now();
                    self.unsorted = true;
                }
                Ok(()) = self.task.rules.changed() => self.task.rules.mark_changed(),
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
            self.gather();
        }
        self.wind_down().await
    }

    /// Takes over the rules of another config. What is held may be due by them.
    fn follow_rules(&mut self) {
        // When nobody can swap them any more they stay as they are.
        if self.task.rules.has_changed().unwrap_or(false) {
            self.rules = Arc::clone(&self.task.rules.borrow_and_update());
            self.sorter.follow_rules(Arc::clone(&self.rules));
            self.unsorted = true;
        }
    }

    /// Decides about what has arrived to be held, and makes what it waited for due.
    async fn sort(&mut self) -> Result<(), StoreError> {
        let now = self.task.clock.wall();
        if std::mem::take(&mut self.unsorted) || self.sorter.next().is_some_and(|next| next <= now) {
            self.sorter.sort(now).await?;
            self.look_at = Instant::now();
        }
        Ok(())
    }

    /// So many times `concurrency` may be taken now. What stands ready begins whatever the rate.
    fn ahead(&self) -> u32 {
        if self.goes_well && self.rate.is_none() { AHEAD } else { 1 }
    }

    /// How many more deliveries may be taken now.
    fn room(&mut self) -> Room {
        let now = self.task.clock.steady();
        let most = self.ahead() as usize * self.task.config.concurrency;
        let slots = match most.saturating_sub(self.taken.len()) {
            0 => Room::Full,
            free => Room::For(free),
        };
        let rate = self.rate.as_mut().map_or(Room::For(usize::MAX), |rate| rate.room(now));
        slots.and(self.breaker.room(now)).and(rate)
    }

    /// When there is something to do even if nothing happens.
    fn wake(&mut self) -> Option<Instant> {
        let look_at = match self.room() {
            Room::For(_) => Some(self.look_at),
            Room::At(at) => Some(self.look_at.max(self.task.clock.instant(at))),
            Room::Full => None,
        };
        // The system's clock may be set meanwhile.
        let sort_in = self.sorter.next().map(|next| next.since(self.task.clock.wall()).min(LOOK_AT_LEAST));
        let sort_at = sort_in.map(|wait| Instant::now() + wait.max(LOOK_AT_MOST));
        look_at.into_iter().chain(sort_at).min()
    }

    /// Leases as much as may begin now, if it is time to look, and begins it.
    async fn fill(&mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        let Room::For(limit) = self.room() else { return Ok(()) };
        if Instant::now() < self.look_at {
            return Ok(());
        }
        let DestinationTask { config, store, telemetry, clock, .. } = &self.task;
        let now = clock.wall();
        let longest = config.timeout.saturating_add(CLEAN_UP).saturating_mul(self.ahead());
        let until = now.after(longest.saturating_add(LEASE_MARGIN));
        let request = LeaseRequest { destination: config.name.clone(), now, until, limit };
        let leased = insist(telemetry, "leasing deliveries", || store.lease(&request)).await?;
        if stop.is_cancelled() {
            self.unbegun = leased.deliveries;
            return Ok(());
        }
        let due_in = leased.next_due.map_or(LOOK_AT_LEAST, |due| due.since(clock.wall()).min(LOOK_AT_LEAST));
        let at_most = if leased.deliveries.is_empty() { LOOK_AT_MOST } else { Duration::ZERO };
        self.look_at = Instant::now() + due_in.max(at_most);
        self.heed(leased.pause).await?;
        let (quiet, due): (Vec<_>, Vec<_>) =
            leased.deliveries.into_iter().partition(|lease| self.sorter.is_quiet_for(&lease.event.rule, now));
        if !quiet.is_empty() {
            self.sorter.hush(quiet.into_iter().map(|lease| lease.id.event).collect(), now).await?;
            self.look_at = Instant::now();
        }
        for lease in due {
            self.begin(lease);
        }
        Ok(())
    }

    fn begin(&mut self, lease: Lease) {
        // After the system's clock leapt forward (a laptop slept) leases seem to have ended that have not.
        if !self.taken.insert(lease.id.event.clone()) {
            return;
        }
        let probe = self.breaker.begin();
        if let Some(rate) = &mut self.rate {
            rate.begin(self.task.clock.steady());
        }
        let attempt = attempt(
            self.gate.clone(),
            Arc::clone(&self.task.destination),
            Arc::clone(&self.rules),
            lease.clone(),
            self.task.clock,
            self.task.config.timeout,
        );
        let id = self.attempts.spawn(attempt).id();
        self.in_flight.insert(id, InFlight { lease, probe });
    }

    /// Takes in whatever else has ended, so that it is settled together.
    fn gather(&mut self) {
        while let Some(ended) = self.attempts.try_join_next_with_id() {
            self.end(ended);
        }
    }

    /// Judges an attempt that has ended. One that was not to begin, or was cut off, is given back.
    fn end(&mut self, ended: Result<(task::Id, Option<CameBack>), JoinError>) {
        let now = self.task.clock.wall();
        let (id, came_back) = match ended {
            Ok((id, came_back)) => (id, came_back),
            Err(error) if error.is_cancelled() => (error.id(), None),
            Err(error) => {
                // What it panicked with may quote the call, so it is not repeated here.
                let answer = failed("internal error: the attempt panicked".to_owned());
                (error.id(), Some(CameBack { answer, at: now, took: Duration::ZERO }))
            }
        };
        // There is one for every task that was spawned.
        let Some(InFlight { lease, probe }) = self.in_flight.remove(&id) else { return };
        let Some(CameBack { answer, at, took }) = came_back else {
            self.unbegun.push(lease);
            return;
        };
        let (begun, before) =
            lease.restart.map_or((lease.created, 0), |restart| (restart.at, restart.attempts));
        let tried = Tried { attempts: (lease.attempts + 1).saturating_sub(before), begun, now };
        let verdict = self.schedule.verdict(tried, &answer, fastrand::f64());
        let shift = self.breaker.record(self.task.clock.steady(), &answer.reaction, probe);
        if let Some(shift) = shift {
            self.tell(shift, &answer.result);
        }
        self.goes_well = matches!(answer.reaction, Reaction::Delivered);
        if let Some((until, reason)) = asked_for(&answer, now) {
            let config = Some(self.task.config.fingerprint.as_str().to_owned());
            let pause = Pause { since: now, reason, until, config };
            if self.asked.as_ref().is_none_or(|other| pause.outlasts(other)) {
                self.asked = Some(pause);
            }
        }
        // What stands ready is not to begin either.
        if self.asked.is_some() || !matches!(self.breaker.room(self.task.clock.steady()), Room::For(_)) {
            self.gate.clear();
        }
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let attempt = Attempt { at, took_ms, result: answer.result, response: answer.response };
        self.ended.push(Ended { lease, attempt, took, verdict });
    }

    fn tell(&self, shift: Shift, result: &str) {
        let destination = self.task.config.name.clone();
        self.task.telemetry.emit(match shift {
            Shift::Opened { pause, failures } => {
                Signal::DestinationFailing { destination, pause, failures, last: result.to_owned() }
            }
            Shift::Asked { pause } => {
                Signal::DestinationPaused { destination, pause: Some(pause), why: it_asked(result) }
            }
            Shift::Resumed => Signal::DestinationResumed { destination },
        });
    }

    /// Says what keeps the destination's deliveries back, or no longer does. A pause that was made under another
    /// config is ended.
    async fn heed(&mut self, pause: Option<Pause>) -> Result<(), StoreError> {
        let DestinationTask { config, store, telemetry, .. } = &self.task;
        let Some(pause) = pause else {
            if std::mem::take(&mut self.paused) {
                telemetry.emit(Signal::DestinationResumed { destination: config.name.clone() });
            }
            return Ok(());
        };
        if pause.config.as_ref().is_none_or(|made| made == config.fingerprint.as_str()) {
            self.tell_paused(&pause);
            return Ok(());
        }
        insist(telemetry, "resuming a destination", || store.resume(&config.name)).await?;
        self.paused = true;
        self.look_at = Instant::now();
        Ok(())
    }

    /// Says that the store keeps the destination's deliveries back, unless that is known or as good as over.
    fn tell_paused(&mut self, pause: &Pause) {
        // In whole seconds; less is not worth telling: to the store's clock, a pause that was told may end a little
        // later than to the breaker's.
        let left = pause.until.map(|until| until.since(self.task.clock.wall()).as_secs());
        if self.paused || left == Some(0) {
            return;
        }
        self.paused = true;
        let destination = self.task.config.name.clone();
        let why = format!("{} (since {})", pause.reason, pause.since);
        self.task.telemetry.emit(Signal::DestinationPaused {
            destination,
            pause: left.map(Duration::from_secs),
            why,
        });
    }

    /// Records what has ended in one write, and gives back what was not to begin.
    async fn settle(&mut self) -> Result<(), StoreError> {
        let DestinationTask { config, store, telemetry, .. } = &self.task;
        if !self.unbegun.is_empty() {
            let ids = || self.unbegun.iter().map(|lease| lease.id.clone()).collect();
            insist(telemetry, "releasing deliveries", || store.release(ids())).await?;
            for lease in self.unbegun.drain(..) {
                self.taken.remove(&lease.id.event);
            }
            self.look_at = Instant::now();
        }
        if self.ended.is_empty() {
            return Ok(());
        }
        // Before the deliveries are given back: they must not be handed out again meanwhile.
        if let Some(pause) = &self.asked {
            insist(telemetry, "pausing a destination", || store.pause(&config.name, pause.clone())).await?;
        }
        let outcomes = || self.ended.iter().map(Ended::outcome).collect();
        insist(telemetry, "settling deliveries", || store.settle(outcomes())).await?;
        for Ended { lease, attempt, took, verdict } in self.ended.drain(..) {
            self.taken.remove(&lease.id.event);
            telemetry.emit(Signal::Attempted {
                delivery: lease.id,
                call: lease.event.subject.call().cloned(),
                attempt: lease.attempts + 1,
                result: attempt.result,
                took,
                verdict,
                created: lease.created,
            });
        }
        // The next ones of their lanes may be due now.
        self.look_at = Instant::now();
        if let Some(pause) = self.asked.take().filter(|pause| pause.until.is_none()) {
            self.tell_paused(&pause);
        }
        Ok(())
    }

    /// Lets attempts in flight end within the grace period, settles those that did and releases the others.
    async fn wind_down(mut self) -> Result<(), StoreError> {
        let deadline = Instant::now() + self.task.grace;
        self.gate.clear();
        self.settle().await?;
        while let Ok(Some(ended)) = timeout_at(deadline, self.attempts.join_next_with_id()).await {
            self.end(ended);
            self.gather();
            self.settle().await?;
        }
        self.attempts.abort_all();
        while let Some(ended) = self.attempts.join_next_with_id().await {
            self.end(ended);
        }
        self.settle().await
    }
}

impl Ended {
    fn outcome(&self) -> Outcome {
        Outcome { id: self.lease.id.clone(), attempt: self.attempt.clone(), verdict: self.verdict.clone() }
    }
}

/// The pause that a receiver asked for at `now`, if it did: until when, and why.
fn asked_for(answer: &Answer, now: Timestamp) -> Option<(Option<Timestamp>, String)> {
    match &answer.reaction {
        Reaction::Pause(reason) => Some((None, reason.clone())),
        Reaction::Retry { after: Some(after) } if !after.is_zero() => {
            Some((Some(now.after(schedule::asked(Some(*after)))), it_asked(&answer.result)))
        }
        _ => None,
    }
}

/// Why a receiver is left alone that answered so.
fn it_asked(result: &str) -> String {
    format!("it asked to be left alone ({result})")
}
