//! The task of one destination, while it holds the claim on it.
//!
//! It goes in rounds: begin the calls to the store that there is work for, wait for the first thing that happens, take
//! it in. Reading the feed, fetching events and settling outcomes overlap; attempts that end while one group is being
//! settled are the next group.
//!
//! At most `concurrency` attempts are in flight. While attempts succeed others stand ready behind them, so that no slot
//! waits for the store; together with those that wait to be settled they are bounded by [`AHEAD`] × `concurrency`.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    DestinationTask, Room,
    breaker::{Breaker, Shift},
    desk::{Desk, Moment},
    errands::{Done, Errands, FEED_PAGE, Fetched, Owner},
    flight::{CameBack, Flight, InLane, Landed},
    health::{Health, Rest},
    pausing::{Pausing, Telling},
    queue::Taken,
    rate::Window,
    retry_io,
    schedule::{self, Schedule, Tried},
    summaries::Written,
};
use crate::{
    batch::BatchKey,
    destination::{Answer, MAX_MEMO, Reaction, Turn},
    event::{Event, EventId, Subject},
    rule::Rules,
    store::{
        Attempt, DeliveryId, Entry, Feed, Outcome, Pause, Position, Settlement, StoreError, Token, Verdict,
    },
    summary::Reason,
    telemetry::{Backlog, Signal},
    time::Timestamp,
};

/// While attempts succeed and there is no `rate`, up to this many times `concurrency` deliveries are taken.
const AHEAD: usize = 4;
/// No more deliveries are taken while the events of those in flight or ready weigh this much, in bytes. Making a message of
/// an event takes its weight several times.
const MOST_WEIGHT: usize = 16 << 20;
/// The longest time between two reads of the feed: the arrivals of another process may go unheard.
const READ_AT_LEAST: Duration = Duration::from_secs(5);
/// The same when no other process can write. Then only a change of the clock could go unnoticed.
const READ_AT_LEAST_ALONE: Duration = Duration::from_secs(60);
/// The shortest time between two looks at the batches, which wait by the clock for people.
const LOOK_AT_MOST: Duration = Duration::from_millis(10);

/// Everything about one destination that changes while it is served.
pub(super) struct Dispatcher {
    task: Arc<DestinationTask>,
    rules: watch::Receiver<Rules>,
    errands: Errands<Settling>,
    feed: Reader,
    desk: Desk,
    flight: Flight,
    /// Deliveries that are taken and neither settled nor put back.
    out: usize,
    /// The settlement that is being gathered.
    next: Next,
    schedule: Schedule,
    breaker: Breaker,
    rate: Option<Window>,
    pausing: Pausing,
    health: Health,
    /// Whether the last attempt arrived.
    goes_well: bool,
    renew_at: Option<Instant>,
    /// Until when the claim certainly holds, counted from when it was asked for; `None` when it cannot end.
    holds_until: watch::Sender<Option<Instant>>,
    /// The backlog as the board shows it.
    backlog: Option<Backlog>,
}

/// How far the feed has been read.
struct Reader {
    position: Position,
    /// Whether the feed may have something new.
    unread: bool,
    read_at: Instant,
    /// Whether a settlement was being written during the read that is under way: then nobody can say which of the two
    /// came first.
    overlaps: bool,
    /// Whether the next read must not overlap with a settlement.
    alone: bool,
}

/// The next settlement.
#[derive(Default)]
struct Next {
    outcomes: Vec<Outcome>,
    /// For each outcome, in the same order, the rest of its signal.
    notes: Vec<Note>,
    memos: Vec<(Subject, Option<Value>)>,
    written: Option<Written>,
}

/// A delivery made at least this long after its event is a repeat that a person asked for.
const FIRST_TOLD: Duration = Duration::from_secs(60);

/// The part of an outcome's signal that the store does not need.
struct Note {
    event: Arc<Event>,
    took: Duration,
    created: Timestamp,
    updated: Option<Timestamp>,
}

/// The signals to be emitted when a settlement has been written.
struct Settling {
    notes: Vec<Note>,
    summary: Option<(EventId, Reason, u64)>,
}

impl Dispatcher {
    /// Reads the unfinished deliveries.
    pub(super) async fn load(
        task: Arc<DestinationTask>,
        owner: Owner,
        asked: Instant,
    ) -> Result<Self, StoreError> {
        let owner = Arc::new(owner);
        let config = &task.config;
        let schedule = Schedule { waits: config.retry.clone(), max_age: config.max_attempts_age };
        let ask = || task.store.ledgers(&config.name);
        let ledgers = retry_io(&task.telemetry, "reading what is held", ask).await?;
        let ask = || task.store.checkpoint(&owner.claim.duty);
        let checkpoint = retry_io(&task.telemetry, "reading what has been told", ask).await?;
        let lanes = [Health::lane(&config.name)];
        let ask = || task.store.memos(&config.name, &lanes);
        let memo = retry_io(&task.telemetry, "reading what was given up", ask).await?.pop().flatten();
        let now = Moment { wall: task.clock.wall(), steady: task.clock.steady() };
        let health = Health::load(config.name.clone(), config.failing_after, checkpoint, memo, now)?;
        let mut swapped = task.rules.clone();
        let rules = Arc::clone(&swapped.borrow_and_update());
        let desk = Desk::new(Arc::clone(&rules), config.quiet.clone(), ledgers);
        let destination = Arc::clone(&task.destination);
        let holds_until = watch::Sender::new(owner.claim.lease.map(|lease| asked + lease));
        let open_until = holds_until.subscribe();
        let flight = Flight::new(destination, rules, task.clock, config.concurrency, open_until);
        let errands = Errands::new(Arc::clone(&owner));
        let renew_at = errands.lease().map(|lease| asked + lease / 3);
        let mut dispatcher = Self {
            rules: swapped,
            errands,
            feed: Reader {
                position: Position::START,
                unread: true,
                read_at: Instant::now(),
                overlaps: false,
                alone: false,
            },
            desk,
            flight,
            out: 0,
            next: Next::default(),
            schedule,
            breaker: Breaker::default(),
            rate: config.rate.map(Window::new),
            pausing: Pausing::new(config.fingerprint.as_str().to_owned()),
            health,
            goes_well: false,
            renew_at,
            holds_until,
            backlog: None,
            task,
        };
        // The task before, if there was one, knew another config or another time.
        dispatcher.task.telemetry.set_well(&dispatcher.task.config.name);
        // Nothing goes out before everything is known: a delivery that a person has retried comes late in the feed, and
        // first in its lane.
        while dispatcher.feed.unread {
            let feed = Arc::clone(&owner).feed(dispatcher.feed.position).await?;
            dispatcher.feed.unread = false;
            dispatcher.take_in(feed, false);
        }
        Ok(dispatcher)
    }

    /// Delivers until `stop` is cancelled, then ends in good order.
    pub(super) async fn run(mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        let arrivals = self.task.store.arrivals(&self.task.config.name);
        // Registered before the feed is read, so that a commit during the read wakes the task, too.
        let mut arrived = std::pin::pin!(arrivals.notified());
        self.feed.unread = true;
        while !stop.is_cancelled() {
            self.follow_rules();
            self.begin_errands();
            self.show_backlog();
            let wake = self.wake();
            tokio::select! {
                () = stop.cancelled() => break,
                done = self.errands.done() => self.done(done?),
                landed = self.flight.landed() => self.land(landed),
                () = &mut arrived => {
                    arrived.set(arrivals.notified());
                    self.feed.unread = true;
                }
                Ok(()) = self.rules.changed() => self.rules.mark_changed(),
                () = sleep_until(wake) => {}
            }
            self.gather();
        }
        self.wind_down().await
    }

    /// Takes over the rules of another config.
    fn follow_rules(&mut self) {
        // `has_changed` fails when the sender is gone; the rules then stay as they are.
        if self.rules.has_changed().unwrap_or(false) {
            let rules = Arc::clone(&self.rules.borrow_and_update());
            self.desk.follow_rules(Arc::clone(&rules));
            self.flight.follow_rules(rules);
        }
    }

    /// Shows the backlog on the board, when it has changed.
    fn show_backlog(&mut self) {
        let backlog = self.desk.backlog(self.now());
        if self.backlog != Some(backlog) {
            self.backlog = Some(backlog);
            self.task.telemetry.set_backlog(&self.task.config.name, backlog);
        }
    }

    fn now(&self) -> Moment {
        let clock = self.task.clock;
        Moment { wall: clock.wall(), steady: clock.steady() }
    }

    /// Begins the calls to the store that there is work for.
    fn begin_errands(&mut self) {
        let now = self.now();
        let telling = self.pausing.tick(now);
        self.report(telling);
        self.desk.finish_synced(now);
        self.fetch(now);
        if !self.errands.is_writing()
            && self.next.written.is_none()
            && let Some(bundle) = self.desk.next_bundle()
        {
            self.errands.write(bundle, now.wall);
        }
        self.settle(now);
        self.read(now);
        self.tell(now);
        if self.renew_at.is_some_and(|at| at <= Instant::now()) && !self.errands.is_renewing() {
            self.renew_at = self.errands.lease().map(|lease| Instant::now() + lease / 3);
            self.errands.renew();
        }
    }

    /// Takes in the result of a call to the store.
    fn done(&mut self, done: Done<Settling>) {
        match done {
            Done::Read(feed) => self.was_read(feed),
            Done::Fetched(deliveries, left) => {
                left.into_iter().for_each(|delivery| self.put_back(delivery.token));
                self.begin(deliveries);
            }
            Done::Settled(settlement, beside) => self.settled(settlement, beside),
            Done::Wrote(written) => self.next.written = Some(written),
            Done::Renewed(asked) => {
                self.holds_until.send_replace(self.errands.lease().map(|lease| asked + lease));
            }
            Done::Told(signals) => signals.into_iter().for_each(|signal| self.task.telemetry.emit(signal)),
        }
    }

    /// The next time at which there is something to do even if nothing happens.
    fn wake(&mut self) -> Instant {
        let clock = self.task.clock;
        let at_least = self.read_at_least();
        let mut wake = self.feed.read_at + at_least;
        if self.errands.is_reading() {
            wake = Instant::now() + at_least;
        } else if let Some(at) = self.desk.paces_at() {
            let wait = at.since(clock.wall()).max(LOOK_AT_MOST);
            wake = wake.min(Instant::now() + wait.min(at_least));
        }
        if !self.errands.is_fetching()
            && let Some(due) = self.desk.due_at()
        {
            match self.room() {
                Room::For(_) => wake = wake.min(clock.instant(due)),
                Room::At(at) => wake = wake.min(clock.instant(due.max(at))),
                Room::Full => {}
            }
        }
        if let Room::At(at) = self.pausing.room() {
            wake = wake.min(clock.instant(at));
        }
        if let Some(at) = self.desk.synced_at() {
            wake = wake.min(clock.instant(at));
        }
        if let Some(at) = self.health.tells_at().filter(|_| !self.errands.is_telling()) {
            wake = wake.min(clock.instant(at));
        }
        self.renew_at.filter(|_| !self.errands.is_renewing()).map_or(wake, |at| wake.min(at))
    }

    fn read_at_least(&self) -> Duration {
        if self.errands.lease().is_some() { READ_AT_LEAST } else { READ_AT_LEAST_ALONE }
    }

    /// How many deliveries may be out now, in flight or ready. Ready ones begin whatever the rate, so with a rate none
    /// stands ready.
    fn most_out(&self) -> usize {
        let ahead = if self.goes_well && self.rate.is_none() { AHEAD } else { 1 };
        ahead * self.task.config.concurrency
    }

    /// How many more deliveries may be taken now.
    fn room(&mut self) -> Room {
        let slots = match self.most_out().saturating_sub(self.out) {
            0 => Room::Full,
            _ if self.flight.weight() >= MOST_WEIGHT => Room::Full,
            free => Room::For(free),
        };
        slots.and(self.limits())
    }

    /// How many attempts may begin now, however many are in flight.
    fn limits(&mut self) -> Room {
        if self.holds_until.borrow().is_some_and(|until| until <= Instant::now()) {
            return Room::Full;
        }
        let now = self.task.clock.steady();
        let rate = self.rate.as_mut().map_or(Room::For(usize::MAX), |rate| rate.room(now));
        self.pausing.room().and(self.breaker.room(now)).and(rate)
    }

    /// Takes as many due deliveries as there is room for, and fetches their events.
    fn fetch(&mut self, now: Moment) {
        if self.errands.is_fetching() {
            return;
        }
        let Room::For(limit) = self.room() else { return };
        let due = self.desk.take(limit, now);
        if !due.is_empty() {
            self.out += due.len();
            let most = MOST_WEIGHT.saturating_sub(self.flight.weight());
            self.errands.fetch(due, most, self.task.destination.keeps_memos());
        }
    }

    /// Begins the attempts of deliveries whose events have been fetched, as far as that is still allowed.
    fn begin(&mut self, deliveries: Vec<Fetched>) {
        let now = self.now();
        for Fetched { delivery: Taken { token, .. }, event, memo } in deliveries {
            let Some(event) = event else {
                self.desk.dropped(token);
                self.out -= 1;
                continue;
            };
            // The delivery may have been dropped, or retried by a person, meanwhile.
            let Some(delivery) = self.desk.get(token) else {
                self.out -= 1;
                continue;
            };
            if self.desk.hold_for_quiet(token, &event.rule, now) {
                self.out -= 1;
                let delivery = self.id(event.id.clone());
                self.task.telemetry.emit(Signal::Held { delivery, batch: BatchKey::Alone });
            } else if let Room::For(_) = self.limits() {
                let standing =
                    InLane { memo, sequence: delivery.sequence, followed: self.is_followed(token) };
                let turn = {
                    let rules = self.rules.borrow();
                    self.task.destination.turn(&standing.notification(&event, &rules, now.wall))
                };
                match (turn, &mut self.rate) {
                    (Turn::In(wait), _) => {
                        self.desk.postpone(token, now.steady.after(wait));
                        self.out -= 1;
                        continue;
                    }
                    (Turn::Now, Some(rate)) => rate.begin(now.steady),
                    (Turn::Now, None) | (Turn::Unsent, _) => {}
                }
                // An attempt that sends nothing says nothing about the receiver, so it is no probe, either.
                let probe = turn != Turn::Unsent && self.breaker.begin();
                self.flight.begin(token, event, standing, probe);
            } else {
                self.put_back(token);
            }
        }
    }

    /// Whether the next delivery of the lane goes out as soon as this one has. In quiet hours it may have to wait for long.
    fn is_followed(&self, token: Token) -> bool {
        self.task.config.quiet.is_none() && self.desk.is_followed(token)
    }

    fn put_back(&mut self, token: Token) {
        self.desk.put_back(token);
        self.out -= 1;
    }

    /// Takes in all other attempts that have ended, so that they are settled together.
    fn gather(&mut self) {
        while let Some(landed) = self.flight.already_landed() {
            self.land(landed);
        }
    }

    /// Judges an attempt that has ended. A delivery whose attempt did not begin, or was cut off, is put back.
    fn land(&mut self, landed: Landed) {
        let now = self.now();
        let Landed { token, event, probe, came_back } = landed;
        let Some(CameBack { answer, at, took }) = came_back else {
            return self.put_back(token);
        };
        let shift = self.breaker.record(now.steady, &answer.reaction, probe);
        if let Some(shift) = shift {
            self.report_shift(shift, &answer.result);
        }
        self.health.attempted(&answer.reaction, &answer.result, now);
        self.goes_well = matches!(answer.reaction, Reaction::Delivered);
        if let Some((until, reason)) = asked_for(&answer, now.wall) {
            let config = Some(self.task.config.fingerprint.as_str().to_owned());
            self.pausing.ask(Pause { since: now.wall, reason, until, config });
        }
        // Attempts that stand ready must not begin when the receiver wants to be left alone.
        if !matches!(self.pausing.room().and(self.breaker.room(now.steady)), Room::For(_)) {
            self.flight.clear();
        }
        let Some(delivery) = self.desk.get(token) else {
            // The delivery has been dropped: there is nothing to write down.
            self.out -= 1;
            return;
        };
        let (begun, before) =
            delivery.restart.map_or((delivery.created, 0), |restart| (restart.at, restart.attempts));
        let number = delivery.attempts + 1;
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let tried = Tried {
            attempts: number.saturating_sub(before),
            age: now.steady.since(begun),
            ended: at.after(Duration::from_millis(took_ms)),
        };
        let verdict = self.schedule.verdict(tried, &answer, fastrand::f64());
        if let Some(memo) = answer.memo.filter(|memo| memo.is_null() || memo.to_string().len() <= MAX_MEMO) {
            self.next.memos.push((event.subject.clone(), Some(memo).filter(|memo| !memo.is_null())));
        }
        let attempt = Attempt { at, took_ms, result: answer.result, response: answer.response };
        self.next.outcomes.push(Outcome { token, number, attempt, verdict });
        let created = now.wall.before(now.steady.since(delivery.created));
        let updated = if self.goes_well { updated(&event, created) } else { None };
        self.next.notes.push(Note { event, took, created, updated });
    }

    /// Begins to write all outcomes and decisions that have come together, in one settlement.
    fn settle(&mut self, now: Moment) {
        if self.errands.is_settling() || (self.feed.alone && self.errands.is_reading()) {
            return;
        }
        let Next { outcomes, notes, memos, written } = std::mem::take(&mut self.next);
        let mut settlement = Settlement::new(now.wall);
        settlement.memos = memos;
        let mut summary = None;
        if let Some(Written { bundle, merge, count }) = written {
            self.desk.wrote(&bundle);
            summary = merge.as_ref().map(|merge| (merge.event.id.clone(), bundle.reason, count));
            settlement.merge = merge;
        }
        self.desk.decide(&mut settlement);
        settlement.memos.extend(self.count_dead(&outcomes, &notes, now));
        settlement.pause = self.pausing.take_change();
        settlement.lazy = settlement.is_empty() && self.desk.may_be_lazy(&outcomes);
        settlement.outcomes = outcomes;
        if !settlement.is_empty() {
            self.feed.overlaps = true;
            self.errands.settle(settlement, Settling { notes, summary });
        }
    }

    /// The memo that counts the deliveries that these outcomes give up, if there are any. Deliveries about a
    /// destination do not count, or two destinations that give up the notices about each other would go on for ever.
    fn count_dead(
        &mut self,
        outcomes: &[Outcome],
        notes: &[Note],
        now: Moment,
    ) -> Option<(Subject, Option<Value>)> {
        let told = outcomes.iter().zip(notes).filter_map(|(outcome, note)| match &outcome.verdict {
            Verdict::Dead(reason) if note.event.subject.destination().is_none() => Some(reason),
            _ => None,
        });
        let reasons: Vec<_> = told.collect();
        let memo = self.health.died(reasons.len() as u64, reasons.last()?, now);
        Some((Health::lane(&self.task.config.name), Some(memo)))
    }

    /// Begins to tell others what there is to tell of the destination itself.
    fn tell(&mut self, now: Moment) {
        let pause = self.pausing.holds();
        let rest = match (pause, self.pausing.room(), self.breaker.is_open(now.steady)) {
            (Some(Pause { config: None, .. }), ..) => Rest::ByHand,
            (Some(Pause { until: None, .. }), ..) => Rest::ForGood,
            (_, Room::For(_), false) => Rest::None,
            _ => Rest::ForNow,
        };
        self.health.look(rest, pause, now);
        if !self.errands.is_telling()
            && let Some((told, checkpoint)) = self.health.tick(&self.rules.borrow(), self.desk.len(), now)
        {
            self.errands.tell(told, checkpoint);
        }
    }

    /// Notes that a settlement has been written, and tells people.
    fn settled(&mut self, settlement: Settlement, beside: Settling) {
        let now = self.now();
        self.desk.settled(&settlement, now);
        self.health.wrote(now);
        let Settlement { outcomes, pause, .. } = settlement;
        self.out -= outcomes.len();
        if let Some(change) = pause {
            let telling = self.pausing.wrote(change, now);
            self.report(telling);
        }
        for (Outcome { number, attempt, verdict, .. }, Note { event, took, created, updated }) in
            outcomes.into_iter().zip(beside.notes)
        {
            self.task.telemetry.emit(Signal::Attempted {
                delivery: self.id(event.id.clone()),
                call: event.subject.call().cloned(),
                rule: event.rule.clone(),
                caller: event.masked_caller(),
                attempt: number,
                result: attempt.result,
                took,
                verdict,
                created,
                updated,
            });
        }
        if let Some((event, reason, count)) = beside.summary {
            let destination = self.task.config.name.clone();
            self.task.telemetry.emit(Signal::Summarized { event, destination, reason, count });
        }
    }

    /// Reads the feed if there may be something new, or something is to be paced.
    fn read(&mut self, now: Moment) {
        let paces = self.desk.paces_at().is_some_and(|at| at <= now.wall);
        let wanted = self.feed.unread || paces || Instant::now() >= self.feed.read_at + self.read_at_least();
        if !wanted || self.errands.is_reading() || (self.feed.alone && self.errands.is_settling()) {
            return;
        }
        self.feed.unread = false;
        self.feed.overlaps = self.errands.is_settling();
        self.errands.read(self.feed.position);
    }

    /// Takes in a page of the feed. It is read again when a settlement was being written meanwhile and the page names
    /// deliveries that may be in that settlement: nobody can say which of the two came first.
    fn was_read(&mut self, feed: Feed) {
        let overlaps = std::mem::take(&mut self.feed.overlaps);
        self.feed.alone = overlaps && !self.desk.are_new(&feed.entries);
        if self.feed.alone {
            self.feed.unread = true;
        } else {
            self.take_in(feed, overlaps);
        }
    }

    fn take_in(&mut self, feed: Feed, overlaps: bool) {
        let now = self.now();
        let Feed { entries, next, pause } = feed;
        // A delivery with a new start was retried by a person, who may have mended the receiver.
        let is_retried =
            |entry: &Entry| matches!(entry, Entry::Unfinished(pending) if pending.restart.is_some());
        if entries.iter().any(is_retried) {
            self.breaker.probe_soon(now.steady);
        }
        let is_end = entries.len() < FEED_PAGE;
        for (event, batch) in self.desk.take_in(entries, now) {
            self.task.telemetry.emit(Signal::Held { delivery: self.id(event), batch });
        }
        self.feed.position = next;
        self.feed.read_at = Instant::now();
        if !overlaps {
            let telling = self.pausing.learn(pause, now);
            self.report(telling);
        } else if !self.pausing.knows(&pause) {
            (self.feed.alone, self.feed.unread) = (true, true);
        }
        if is_end {
            self.desk.pace(now);
        } else {
            self.feed.unread = true;
        }
    }

    fn id(&self, event: EventId) -> DeliveryId {
        DeliveryId { event, destination: self.task.config.name.clone() }
    }

    fn report_shift(&self, shift: Shift, result: &str) {
        let destination = self.task.config.name.clone();
        self.task.telemetry.emit(match shift {
            Shift::Opened { pause, failures } => {
                Signal::DestinationFailing { destination, pause, failures, last: result.to_owned() }
            }
            Shift::Asked { pause } => {
                Signal::DestinationPaused { destination, pause: Some(pause), why: why_left_alone(result) }
            }
            Shift::Resumed => Signal::DestinationResumed { destination },
        });
    }

    fn report(&self, telling: Option<Telling>) {
        let destination = self.task.config.name.clone();
        self.task.telemetry.emit(match telling {
            None => return,
            Some(Telling::Resumed) => Signal::DestinationResumed { destination },
            Some(Telling::Paused(kept, pause)) => {
                let why = format!("{} (since {})", kept.reason, kept.since);
                Signal::DestinationPaused { destination, pause, why }
            }
        });
    }

    /// Lets attempts in flight end within the grace period and settles those that did. The others are as if they had not
    /// been begun.
    async fn wind_down(mut self) -> Result<(), StoreError> {
        let deadline = Instant::now() + self.task.grace;
        self.errands.only_settle();
        self.flight.clear();
        let mut may_go_on = true;
        loop {
            self.settle(self.now());
            if self.flight.len() == 0 && !self.errands.is_settling() {
                return Ok(());
            }
            tokio::select! {
                done = self.errands.done() => self.done(done?),
                landed = self.flight.landed() => self.land(landed),
                () = sleep_until(deadline), if may_go_on => {
                    may_go_on = false;
                    self.flight.cut_off();
                }
            }
            self.gather();
        }
    }
}

/// The call's `updatedAt`, for the figure of how long news takes; `None` when a person has the event sent again by the
/// delivery made at `created`.
fn updated(event: &Event, created: Timestamp) -> Option<Timestamp> {
    event.subject.call().filter(|_| created.since(event.at) < FIRST_TOLD)?;
    event.updated_at()
}

/// The pause that a receiver asked for at `now`, if it did: until when, and why.
fn asked_for(answer: &Answer, now: Timestamp) -> Option<(Option<Timestamp>, String)> {
    match &answer.reaction {
        Reaction::Pause(reason) => Some((None, reason.clone())),
        Reaction::Retry { after: Some(after) } if !after.is_zero() => {
            Some((Some(now.after(schedule::asked(Some(*after)))), why_left_alone(&answer.result)))
        }
        _ => None,
    }
}

/// The reason of a pause that a receiver asked for with this result.
fn why_left_alone(result: &str) -> String {
    format!("it asked to be left alone ({result})")
}
