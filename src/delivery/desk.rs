//! The deliveries of one destination and what they wait for: order, due times, batches. Pure.
//!
//! Entries of the store's feed come in; out come deliveries that are due, bundles to be told as one, and what has to be
//! written down. The dispatcher drives it against the world, a rehearsal against a clock of its own.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use super::{
    pacer::{Newcomer, Pacer},
    queue::{Moved, Queue, Taken},
};
use crate::{
    batch::BatchKey,
    calendar::Hours,
    event::EventId,
    name::Name,
    rule::Rules,
    store::{Entry, LAZY_SYNC, Outcome, Restart, Settlement, Standing, Token, Verdict},
    summary::Reason,
    telemetry::Backlog,
    time::{Deadline, Timestamp},
};

/// The time, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// The time for people: created, happened, schedules, quiet hours.
    pub(crate) wall: Timestamp,
    /// The time that never jumps: everything that is waited for within the process.
    pub(crate) steady: Timestamp,
}

impl Moment {
    /// The steady time at which a stored deadline is due. Later leaps of the clock for people do not move it.
    pub(super) fn due(self, deadline: Deadline) -> Timestamp {
        self.steady.after(deadline.left(self.wall))
    }

    /// The steady time of something that happened at `wall`; now when that is in the future.
    pub(super) fn steadily(self, wall: Timestamp) -> Timestamp {
        self.steady.before(self.wall.since(wall))
    }
}

/// Deliveries that go out as one.
#[derive(Clone, Debug)]
pub(crate) struct Bundle {
    /// The batches in which they waited.
    pub(crate) batches: Vec<BatchKey>,
    /// The reason for telling them as one.
    pub(crate) reason: Reason,
    /// The deliveries, in order.
    pub(crate) tokens: Vec<Token>,
}

/// The deliveries of one destination, with everything that decides when they go out.
pub(crate) struct Desk {
    queue: Queue,
    pacer: Pacer,
    /// The newest delivery it has heard of.
    newest: Option<Token>,
    /// Held deliveries that are due once their release has been written by a settlement.
    releases: Vec<Token>,
    /// Held deliveries that are not to be told any more.
    forgets: Vec<Token>,
    /// Due deliveries that have to wait for the end of the quiet hours.
    quiet: Vec<Token>,
    bundles: VecDeque<Bundle>,
    /// Deliveries that have arrived, by the (steady) time after which a power cut cannot undo that. Until then the next
    /// of their lanes must not go out.
    unsynced: VecDeque<(Timestamp, Vec<Token>)>,
}

impl Desk {
    /// A desk without deliveries. `ledgers` is what the store keeps of the destination's batches.
    pub(crate) fn new(rules: Rules, quiet: Option<Hours>, ledgers: BTreeMap<BatchKey, Value>) -> Self {
        Self {
            queue: Queue::default(),
            pacer: Pacer::new(rules, quiet, ledgers),
            newest: None,
            releases: vec![],
            forgets: vec![],
            quiet: vec![],
            bundles: VecDeque::new(),
            unsynced: VecDeque::new(),
        }
    }

    /// How many deliveries are not finished.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// How many deliveries wait, and since when the next one to go out is due, for the board.
    pub(super) fn backlog(&mut self, now: Moment) -> Backlog {
        let (all, held) = (self.queue.len() as u64, self.queue.held_len() as u64);
        let due_since = self.queue.due_since();
        let oldest_due = due_since.map(|at| now.wall.before(now.steady.since(at)));
        Backlog { pending: all.saturating_sub(held), held, oldest_due }
    }

    /// Takes over the rules of another config. Held deliveries may be due by them.
    pub(super) fn follow_rules(&mut self, rules: Rules) {
        self.pacer.follow_rules(rules);
    }

    /// Whether all these entries are deliveries it has never heard of.
    pub(super) fn are_new(&self, entries: &[Entry]) -> bool {
        entries.iter().all(|entry| match entry {
            Entry::Unfinished(pending) => self.newest.is_none_or(|newest| pending.token > newest),
            Entry::Gone(_) => false,
        })
    }

    /// Takes in entries of the feed; returns which deliveries wait in which batch from now on.
    pub(crate) fn take_in(
        &mut self,
        entries: impl IntoIterator<Item = Entry>,
        now: Moment,
    ) -> Vec<(EventId, BatchKey)> {
        let mut waiting = vec![];
        for entry in entries {
            let mut pending = match entry {
                Entry::Gone(token) => {
                    self.dropped(token);
                    continue;
                }
                Entry::Unfinished(pending) => pending,
            };
            let token = pending.token;
            self.newest = self.newest.max(Some(token));
            let (due, held) = match &pending.standing {
                Standing::Due(deadline) => (now.due(*deadline), None),
                Standing::Held(hold) => {
                    (now.steady, Some((hold.clone(), pending.created, pending.event.clone())))
                }
            };
            pending.created = now.steadily(pending.created);
            pending.restart =
                pending.restart.map(|restart| Restart { at: now.steadily(restart.at), ..restart });
            let Moved { left, joined } = self.queue.put(pending, due, now.steady);
            self.left(left, token);
            if let Some((hold, came, event)) = held
                && joined
                && !self.joined(&hold.batch, Newcomer { token, came, happened: hold.happened }, now)
            {
                waiting.push((event, hold.batch));
            }
        }
        waiting
    }

    /// Notes that a delivery has been dropped.
    pub(super) fn dropped(&mut self, token: Token) {
        let left = self.queue.remove(token);
        self.left(left, token);
    }

    fn left(&mut self, batch: Option<BatchKey>, token: Token) {
        if let Some(batch) = batch {
            let is_empty = !self.queue.holds_any(&batch);
            self.pacer.left(&batch, token, is_empty);
        }
    }

    /// Takes in a delivery that is held from now on; returns whether it is released at once.
    fn joined(&mut self, batch: &BatchKey, newcomer: Newcomer, now: Moment) -> bool {
        self.pacer.look_at_the_clocks(now);
        let at_once = self.pacer.came(batch, newcomer, now.wall);
        if at_once {
            self.queue.leave(newcomer.token);
            self.releases.push(newcomer.token);
        }
        at_once
    }

    /// When [`Desk::pace`] has something to do, by the clock for people.
    pub(crate) fn paces_at(&self) -> Option<Timestamp> {
        self.pacer.next()
    }

    /// Sends out the batches that are due. The feed must have been read to its end: a delivery that is in the store already
    /// may be the one that a count was waiting for.
    pub(crate) fn pace(&mut self, now: Moment) {
        self.pacer.look_at_the_clocks(now);
        if !self.pacer.is_due(now.wall) {
            return;
        }
        for token in self.pacer.expire(now.wall) {
            self.queue.remove(token);
            self.forgets.push(token);
        }
        for outgoing in self.pacer.due(now.wall) {
            let batches = outgoing.batches;
            let mut tokens: Vec<_> = batches.iter().flat_map(|batch| self.queue.held(batch)).collect();
            match outgoing.reason {
                Some(reason) if !tokens.is_empty() => {
                    self.pacer.gone(&batches, true, now.wall);
                    tokens.sort_unstable();
                    for token in &tokens {
                        self.queue.remove(*token);
                    }
                    self.bundles.push_back(Bundle { batches, reason, tokens });
                }
                _ => {
                    self.pacer.gone(&batches, false, now.wall);
                    tokens.iter().for_each(|token| self.queue.leave(*token));
                    self.releases.append(&mut tokens);
                }
            }
        }
    }

    /// The next bundle that goes out. The caller writes its message and then calls [`Desk::wrote`].
    pub(crate) fn next_bundle(&mut self) -> Option<Bundle> {
        self.bundles.pop_front()
    }

    /// Notes that the message for a bundle is part of the next settlement.
    pub(crate) fn wrote(&mut self, bundle: &Bundle) {
        self.pacer.being_written(&bundle.batches);
    }

    /// Lets the next of a lane go out when the one before it has arrived and is synced.
    pub(super) fn finish_synced(&mut self, now: Moment) {
        while self.unsynced.front().is_some_and(|(at, _)| *at <= now.steady)
            && let Some((_, tokens)) = self.unsynced.pop_front()
        {
            tokens.into_iter().for_each(|token| self.queue.finish(token));
        }
    }

    /// Deliveries that are due, each the first of its lane, at most `limit`.
    pub(crate) fn take(&mut self, limit: usize, now: Moment) -> Vec<Taken> {
        self.queue.take(limit, now.steady)
    }

    /// Whether a delivery that was taken, of an event of `rule`, has to wait for the end of the quiet hours. If so, it
    /// is held.
    pub(crate) fn hold_for_quiet(&mut self, token: Token, rule: &Name, now: Moment) -> bool {
        let is_quiet = self.pacer.is_quiet_for(rule, now.wall);
        if is_quiet {
            self.quiet.push(token);
        }
        is_quiet
    }

    /// When the next delivery can be taken, by the steady clock; a time that has passed means now.
    pub(super) fn due_at(&mut self) -> Option<Timestamp> {
        self.queue.next()
    }

    /// When [`Desk::finish_synced`] has something to do, by the steady clock.
    pub(super) fn synced_at(&self) -> Option<Timestamp> {
        self.unsynced.front().map(|(at, _)| *at)
    }

    /// Takes a delivery back that was not tried.
    pub(super) fn put_back(&mut self, token: Token) {
        self.queue.put_back(token);
    }

    /// Takes a delivery back that was not tried, until `at`, by the steady clock.
    pub(super) fn postpone(&mut self, token: Token, at: Timestamp) {
        self.queue.postpone(token, at);
    }

    /// Whether another delivery of its lane waits behind this one.
    pub(super) fn is_followed(&self, token: Token) -> bool {
        self.queue.has_successor(token)
    }

    /// A delivery as it was taken, with what has become known of it since; `None` when it is gone.
    pub(super) fn get(&self, token: Token) -> Option<Taken> {
        self.queue.get(token)
    }

    /// Adds the desk's decisions to a settlement.
    pub(crate) fn decide(&mut self, settlement: &mut Settlement) {
        settlement.releases.append(&mut self.releases);
        settlement.forgets.append(&mut self.forgets);
        settlement.holds.extend(self.quiet.drain(..).map(|token| (token, BatchKey::Alone)));
        settlement.ledgers.append(&mut self.pacer.changes());
    }

    /// Whether these outcomes may be acknowledged before they are synced: none is a dead delivery, and nothing waits
    /// behind them.
    pub(super) fn may_be_lazy(&self, outcomes: &[Outcome]) -> bool {
        outcomes.iter().all(|outcome| {
            !matches!(outcome.verdict, Verdict::Dead(_)) && !self.queue.has_successor(outcome.token)
        })
    }

    /// Notes that a settlement has been written.
    pub(crate) fn settled(&mut self, settlement: &Settlement, now: Moment) {
        let mut arrived = vec![];
        for Outcome { token, number, attempt, verdict } in &settlement.outcomes {
            match verdict {
                Verdict::Delivered if settlement.lazy => arrived.push(*token),
                Verdict::Delivered | Verdict::Dead(_) => self.queue.finish(*token),
                Verdict::Retry(due) => {
                    // The whole wait from now: the clock for people may have leapt since the attempt ended.
                    let wait = due.since(attempt.ended());
                    self.queue.retry(*token, *number, now.steady.after(wait));
                }
            }
        }
        if !arrived.is_empty() {
            self.unsynced.push_back((now.steady.after(LAZY_SYNC), arrived));
        }
        for (token, batch) in &settlement.holds {
            if self.queue.hold(*token, batch.clone()) {
                let newcomer = Newcomer { token: *token, came: now.wall, happened: now.wall };
                self.joined(batch, newcomer, now);
            }
        }
        for token in &settlement.releases {
            self.queue.release(*token, now.steady);
        }
    }
}

#[cfg(test)]
mod tests;
