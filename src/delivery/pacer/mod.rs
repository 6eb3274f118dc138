//! When deliveries that are held go out, and with which others. Pure.
//!
//! For each batch a [`Ledger`] says what has come in and what has gone out lately. It stands in the store, so that a
//! restart neither forgets what is held nor how much was told already.

mod ledger;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Map, Value};

use self::ledger::{Hit, Ledger};
use crate::{
    batch::BatchKey,
    calendar::Hours,
    call::time_field,
    event::{Event, EventId, Severity},
    name::Name,
    rule::{
        Rules,
        pacing::{Count, group_of},
    },
    summary::Reason,
    time::Timestamp,
};

/// What a destination's deliveries wait for.
#[derive(Debug)]
pub(super) struct Pacer {
    rules: Rules,
    quiet: Option<Hours>,
    ledgers: BTreeMap<BatchKey, Ledger>,
    /// Those that are not in the store as they are here.
    changed: BTreeSet<BatchKey>,
}

/// Where a delivery belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is due.
    Send,
    /// It waits in this batch.
    Hold(BatchKey),
}

/// Batches that go out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    pub(super) batches: Vec<BatchKey>,
    /// Why as one message; `None` when each delivery goes out by itself.
    pub(super) reason: Option<Reason>,
}

impl Pacer {
    /// With what the store remembers. What cannot be read of it is due at once.
    pub(super) fn new(rules: Rules, quiet: Option<Hours>, ledgers: BTreeMap<BatchKey, Value>) -> Self {
        let ledgers = ledgers.into_iter().map(|(key, kept)| (key, Ledger::load(kept))).collect();
        Self { rules, quiet, ledgers, changed: BTreeSet::new() }
    }

    /// Paces by these rules from here on, and what waits already by them as well, as after a restart.
    pub(super) fn follow_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Where the delivery of `event`, which came in at `created`, belongs at `now`. `call` is the event's record.
    pub(super) fn place(
        &mut self,
        event: &Event,
        call: &Map<String, Value>,
        created: Timestamp,
        now: Timestamp,
    ) -> Place {
        let is_quiet = self.is_quiet_for(&event.rule, now);
        let Some(rule) = self.rules.get(&event.rule).cloned() else {
            return if is_quiet { Place::Hold(self.wait(BatchKey::Quiet, created)) } else { Place::Send };
        };
        let name = rule.name.clone();
        let by = || event.subject.source().map_or(0, |source| group_of(rule.pacing.by(), source, call));
        let pacing = &rule.pacing;
        if let Some(schedule) = &pacing.digest {
            Place::Hold(self.wait(BatchKey::Digest(Arc::new(schedule.clone())), created))
        } else if let Some(count) = &pacing.count {
            let happened = ["updatedAt", "createdAt"].iter().find_map(|name| time_field(call, name));
            let at = happened.map_or(created, |at| at.min(created));
            let hit = Hit { at, came: created, event: event.id.clone() };
            Place::Hold(self.hit(BatchKey::Count { rule: name, by: by() }, count, hit))
        } else if is_quiet {
            Place::Hold(self.wait(BatchKey::Quiet, created))
        } else if pacing.group.is_some() {
            Place::Hold(self.wait(BatchKey::Group { rule: name, by: by() }, created))
        } else if let Some(throttle) = &pacing.throttle {
            let batch = BatchKey::Throttle { rule: name, by: by() };
            let ledger = self.ledgers.entry(batch.clone()).or_default();
            if ledger.since.is_some() || ledger.slot(Some(throttle)) > now {
                return Place::Hold(self.wait(batch, created));
            }
            ledger.sent(now, Some(throttle));
            self.changed.insert(batch);
            Place::Send
        } else {
            Place::Send
        }
    }

    /// Keeps a delivery that was due until the quiet hours are over; returns the batch it waits in. It may have been
    /// tried already, so it will be told by itself: a repeat has to carry the same id.
    pub(super) fn hush(&mut self, now: Timestamp) -> BatchKey {
        self.wait(BatchKey::Alone, now)
    }

    /// Whether what `rule` tells has to wait because of the quiet hours.
    pub(super) fn is_quiet_for(&self, rule: &Name, now: Timestamp) -> bool {
        self.quiet.as_ref().is_some_and(|hours| hours.contain(now)) && !self.is_critical(rule.as_str())
    }

    fn is_critical(&self, rule: &str) -> bool {
        self.rules.get(rule).is_some_and(|rule| rule.text.severity == Severity::Critical)
    }

    fn wait(&mut self, batch: BatchKey, created: Timestamp) -> BatchKey {
        let ledger = self.ledgers.entry(batch.clone()).or_default();
        if ledger.since.is_none() {
            ledger.since = Some(created);
            self.changed.insert(batch.clone());
        }
        batch
    }

    fn hit(&mut self, batch: BatchKey, count: &Count, hit: Hit) -> BatchKey {
        let ledger = self.ledgers.entry(batch.clone()).or_default();
        ledger.since.get_or_insert(hit.came);
        if ledger.reached.is_none() {
            let came = hit.came;
            let place = ledger.hits.partition_point(|other| other.at <= hit.at);
            ledger.hits.insert(place, hit);
            ledger.reached = ledger.enough(count).contains(&true).then_some(came);
        }
        self.changed.insert(batch.clone());
        batch
    }

    /// Forgets what is over: events that a `count` came too late for, which are returned, and batches nothing waits
    /// in and no limit remembers. What has arrived must have found its place by then: it may be what a count was
    /// waiting for.
    pub(super) fn expire(&mut self, now: Timestamp) -> Vec<EventId> {
        let mut late = vec![];
        let mut over = vec![];
        for (batch, ledger) in &mut self.ledgers {
            let mut changed = ledger.not_after(now);
            let rule = batch.rule().and_then(|rule| self.rules.get(rule));
            if matches!(batch, BatchKey::Count { .. }) {
                let count = rule.and_then(|rule| rule.pacing.count.as_ref());
                let dropped = ledger.drop_late(count, now);
                changed |= !dropped.is_empty();
                late.extend(dropped);
            }
            if changed {
                self.changed.insert(batch.clone());
            }
            if ledger.since.is_none() && ledger.forgotten_at(rule).is_none_or(|at| at <= now) {
                over.push(batch.clone());
            }
        }
        for batch in over {
            self.ledgers.remove(&batch);
            self.changed.insert(batch);
        }
        late
    }

    /// What goes out at `now`. After quiet hours everything that is due goes out as one.
    pub(super) fn due(&self, now: Timestamp) -> Vec<Outgoing> {
        let due =
            |(batch, ledger): &(&BatchKey, &Ledger)| self.due_at(batch, ledger).is_some_and(|at| at <= now);
        let due = self.ledgers.iter().filter(due).map(|(batch, _)| batch.clone());
        let (by_itself, due): (Vec<_>, Vec<_>) = due.partition(|batch| *batch == BatchKey::Alone);
        let by_itself = by_itself.into_iter().map(|batch| Outgoing { batches: vec![batch], reason: None });
        if due.contains(&BatchKey::Quiet) {
            let together = Outgoing { batches: due, reason: Some(Reason::Quiet) };
            return by_itself.chain([together]).collect();
        }
        let each = |batch: BatchKey| Outgoing { reason: Some(reason(&batch)), batches: vec![batch] };
        by_itself.chain(due.into_iter().map(each)).collect()
    }

    /// Notes that these batches have gone out; `told` when there was anything in them.
    pub(super) fn gone(&mut self, batches: &[BatchKey], told: bool, now: Timestamp) {
        for batch in batches {
            let Some(ledger) = self.ledgers.get_mut(batch) else { continue };
            let rule = batch.rule().and_then(|rule| self.rules.get(rule));
            ledger.since = None;
            ledger.hits.clear();
            ledger.reached = None;
            let pacing = rule.map(|rule| &rule.pacing);
            // Only these care for when the last message went out.
            let limited = pacing.filter(|pacing| pacing.group.is_some() || pacing.throttle.is_some());
            if let Some(pacing) = limited.filter(|_| told) {
                ledger.sent(now, pacing.throttle.as_ref());
            }
            if ledger.sent.is_empty() {
                self.ledgers.remove(batch);
            }
            self.changed.insert(batch.clone());
        }
    }

    /// When there is something to do next.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let next = |(batch, ledger): (&BatchKey, &Ledger)| {
            let rule = batch.rule().and_then(|rule| self.rules.get(rule));
            let count = rule.and_then(|rule| rule.pacing.count.as_ref());
            let oldest = ledger.hits.iter().map(|hit| hit.came).min().filter(|_| ledger.reached.is_none());
            let late = oldest.zip(count).map(|(came, count)| came.after(count.within).after(MOMENT));
            let over = ledger.forgotten_at(rule).filter(|_| ledger.since.is_none());
            [self.due_at(batch, ledger), late, over].into_iter().flatten().min()
        };
        self.ledgers.iter().filter_map(next).min()
    }

    /// What the store has to remember from here on.
    pub(super) fn changes(&mut self) -> Vec<(BatchKey, Option<Value>)> {
        let changed = std::mem::take(&mut self.changed);
        let state =
            |batch: &BatchKey| self.ledgers.get(batch).and_then(|ledger| serde_json::to_value(ledger).ok());
        changed.into_iter().map(|batch| (batch.clone(), state(&batch))).collect()
    }

    /// When what waits in this batch goes out; `None` when nothing does, or when more has to come in first.
    pub(super) fn goes_out(&self, batch: &BatchKey) -> Option<Timestamp> {
        self.ledgers.get(batch).and_then(|ledger| self.due_at(batch, ledger))
    }

    /// When a batch goes out, if anything waits in it.
    fn due_at(&self, batch: &BatchKey, ledger: &Ledger) -> Option<Timestamp> {
        let since = ledger.since?;
        let rule = batch.rule().and_then(|rule| self.rules.get(rule));
        let throttle = rule.and_then(|rule| rule.pacing.throttle.as_ref());
        let due = match batch {
            BatchKey::Digest(schedule) => schedule.next(since).unwrap_or(since),
            BatchKey::Count { .. } => ledger.reached?,
            BatchKey::Group { .. } => rule
                .and_then(|rule| rule.pacing.group.as_ref())
                .map_or(since, |group| ledger.group_due(since, group)),
            _ => since,
        };
        let due = due.max(ledger.slot(throttle));
        let critical = batch.rule().is_some_and(|rule| self.is_critical(rule.as_str()));
        match &self.quiet {
            Some(quiet) if !critical => Some(quiet.end(due).unwrap_or(due)),
            _ => Some(due),
        }
    }
}

/// Something exactly as old as a limit is still within it.
const MOMENT: std::time::Duration = std::time::Duration::from_millis(1);

/// Why what waited in a batch is told together.
fn reason(batch: &BatchKey) -> Reason {
    match batch {
        BatchKey::Group { .. } | BatchKey::Arrived => Reason::Group,
        BatchKey::Count { .. } => Reason::Count,
        BatchKey::Throttle { .. } => Reason::Throttle,
        BatchKey::Digest(_) => Reason::Digest,
        BatchKey::Quiet | BatchKey::Alone => Reason::Quiet,
    }
}

#[cfg(test)]
mod tests;
