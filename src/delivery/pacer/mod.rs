//! When deliveries that are held go out, and with which others. Pure.
//!
//! For each batch a [`Ledger`] says what has come in and what has gone out lately. It stands in the store, so that a
//! restart neither forgets what is held nor how much was told already.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    calendar::{Hours, Schedule, Zone},
    event::{Event, EventId, Severity},
    name::Name,
    rule::{
        Rule, Rules,
        pacing::{Count, Group, Throttle, group_of},
    },
    summary::{BatchKey, Reason},
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

/// What is remembered of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Ledger {
    /// When the first of those that wait came in.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    /// When messages went out, the latest last, as many as it takes to know when the next one may.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sent: Vec<Timestamp>,
    /// Of a `count` that is not reached: when those within the time came in, and which they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hits: Vec<(Timestamp, EventId)>,
    /// When the count was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    reached: Option<Timestamp>,
}

/// Where a delivery belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is due.
    Send,
    /// It waits in this batch.
    Hold(BatchKey),
}

/// Batches that go out as one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    pub(super) batches: Vec<BatchKey>,
    pub(super) reason: Reason,
}

/// What a batch's key says.
enum Batch<'k> {
    Group(&'k str),
    Count(&'k str),
    Throttle(&'k str),
    Digest(Schedule),
    Quiet,
    /// None that this version makes.
    Unknown,
}

impl Pacer {
    /// With what the store remembers. What cannot be read of it is due at once.
    pub(super) fn new(rules: Rules, quiet: Option<Hours>, ledgers: BTreeMap<BatchKey, Value>) -> Self {
        let due = || Ledger { since: Some(Timestamp::default()), ..Ledger::default() };
        let ledgers = ledgers
            .into_iter()
            .map(|(batch, ledger)| (batch, serde_json::from_value(ledger).unwrap_or_else(|_| due())))
            .collect();
        Self { rules, quiet, ledgers, changed: BTreeSet::new() }
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
            return if is_quiet { Place::Hold(self.wait(quiet(), created)) } else { Place::Send };
        };
        let group = |kind: &str| key(kind, &rule, group_of(rule.pacing.by(), &event.source, call));
        let pacing = &rule.pacing;
        if let Some(schedule) = &pacing.digest {
            Place::Hold(self.wait(format!("digest/{schedule}").into(), created))
        } else if let Some(count) = &pacing.count {
            Place::Hold(self.hit(group("count"), count, event, created))
        } else if is_quiet {
            Place::Hold(self.wait(quiet(), created))
        } else if pacing.group.is_some() {
            Place::Hold(self.wait(group("group"), created))
        } else if let Some(throttle) = &pacing.throttle {
            let batch = group("throttle");
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

    /// Keeps a delivery that was due until the quiet hours are over; returns the batch it waits in.
    pub(super) fn hush(&mut self, now: Timestamp) -> BatchKey {
        self.wait(quiet(), now)
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

    fn hit(&mut self, batch: BatchKey, count: &Count, event: &Event, created: Timestamp) -> BatchKey {
        let ledger = self.ledgers.entry(batch.clone()).or_default();
        ledger.since.get_or_insert(created);
        if ledger.reached.is_none() {
            ledger.hits.push((created, event.id.clone()));
            // Those that came in too long ago are still in the batch; `expire` gets them out, which it must do first.
            let within = ledger.hits.iter().filter(|(at, _)| created.since(*at) <= count.within).count();
            if within >= count.at_least as usize {
                ledger.reached = Some(created);
            }
        }
        self.changed.insert(batch.clone());
        batch
    }

    /// Forgets what is over: events that a `count` came too late for, which are returned, and batches nothing waits
    /// in and no limit remembers.
    pub(super) fn expire(&mut self, now: Timestamp) -> Vec<EventId> {
        let mut late = vec![];
        let mut over = vec![];
        for (batch, ledger) in &mut self.ledgers {
            let before = ledger.clone();
            ledger.not_after(now);
            let rule = Batch::of(batch).rule().and_then(|rule| self.rules.get(rule));
            if let Some(count) = rule.and_then(|rule| rule.pacing.count.as_ref()) {
                let newest = ledger.reached.unwrap_or(now);
                ledger.hits.retain(|(at, event)| {
                    let is_late = newest.since(*at) > count.within;
                    if is_late {
                        late.push(event.clone());
                    }
                    !is_late
                });
                if ledger.reached.is_none() {
                    ledger.since = ledger.hits.first().map(|(at, _)| *at);
                }
            }
            if *ledger != before {
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
            |(batch, ledger): (&BatchKey, &Ledger)| self.due_at(batch, ledger).is_some_and(|at| at <= now);
        let due: Vec<_> =
            self.ledgers.iter().filter(|entry| due(*entry)).map(|(batch, _)| batch.clone()).collect();
        if due.contains(&quiet()) {
            return vec![Outgoing { batches: due, reason: Reason::Quiet }];
        }
        let alone = |batch: BatchKey| Outgoing { reason: Batch::of(&batch).reason(), batches: vec![batch] };
        due.into_iter().map(alone).collect()
    }

    /// Notes that these batches have gone out; `told` when there was anything in them.
    pub(super) fn gone(&mut self, batches: &[BatchKey], told: bool, now: Timestamp) {
        for batch in batches {
            let Some(ledger) = self.ledgers.get_mut(batch) else { continue };
            let rule = Batch::of(batch).rule().and_then(|rule| self.rules.get(rule));
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
            let rule = Batch::of(batch).rule().and_then(|rule| self.rules.get(rule));
            let count = rule.and_then(|rule| rule.pacing.count.as_ref());
            let late = ledger.hits.first().zip(count).filter(|_| ledger.reached.is_none());
            let late = late.map(|((at, _), count)| at.after(count.within).after(MOMENT));
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

    /// When a batch goes out, if anything waits in it.
    fn due_at(&self, batch: &BatchKey, ledger: &Ledger) -> Option<Timestamp> {
        let since = ledger.since?;
        let kind = Batch::of(batch);
        let rule = kind.rule().and_then(|rule| self.rules.get(rule));
        let throttle = rule.and_then(|rule| rule.pacing.throttle.as_ref());
        let due = match &kind {
            Batch::Digest(schedule) => schedule.next(since).unwrap_or(since),
            Batch::Count(_) if rule.is_some_and(|rule| rule.pacing.count.is_some()) => ledger.reached?,
            Batch::Group(_) => rule
                .and_then(|rule| rule.pacing.group.as_ref())
                .map_or(since, |group| ledger.group_due(since, group)),
            _ => since,
        };
        let due = due.max(ledger.slot(throttle));
        let critical = kind.rule().is_some_and(|rule| self.is_critical(rule));
        match &self.quiet {
            Some(quiet) if !critical => Some(quiet.end(due).unwrap_or(due)),
            _ => Some(due),
        }
    }
}

/// Something exactly as old as a limit is still within it.
const MOMENT: std::time::Duration = std::time::Duration::from_millis(1);

impl Ledger {
    /// When another message may go out.
    fn slot(&self, throttle: Option<&Throttle>) -> Timestamp {
        let Some(throttle) = throttle else { return Timestamp::default() };
        let earlier = self.sent.len().checked_sub(throttle.at_most as usize).and_then(|at| self.sent.get(at));
        earlier.map_or(Timestamp::default(), |at| at.after(throttle.per))
    }

    fn group_due(&self, since: Timestamp, group: &Group) -> Timestamp {
        let after_last = self.sent.last().map(|last| last.after(group.interval));
        since.after(group.wait).max(after_last.unwrap_or_default())
    }

    fn sent(&mut self, now: Timestamp, throttle: Option<&Throttle>) {
        self.sent.push(now);
        let kept = throttle.map_or(1, |throttle| throttle.at_most as usize);
        let excess = self.sent.len().saturating_sub(kept);
        self.sent.drain(..excess);
    }

    /// When what went out no longer matters; `None` when nothing did.
    fn forgotten_at(&self, rule: Option<&Rule>) -> Option<Timestamp> {
        let last = self.sent.last()?;
        let pacing = &rule?.pacing;
        let throttle = pacing.throttle.as_ref().map(|throttle| throttle.per);
        let group = pacing.group.as_ref().map(|group| group.interval);
        Some(last.after(throttle.max(group).unwrap_or_default()))
    }

    /// A clock that was wrong and was set must not hold anything back until it is as late as it was.
    fn not_after(&mut self, now: Timestamp) {
        let hits = self.hits.iter_mut().map(|(at, _)| at);
        let all = self.sent.iter_mut().chain(&mut self.since).chain(&mut self.reached).chain(hits);
        all.for_each(|at| *at = now.min(*at));
    }
}

impl<'k> Batch<'k> {
    fn of(key: &'k BatchKey) -> Self {
        let (kind, rest) = key.as_str().split_once('/').unwrap_or((key.as_str(), ""));
        let rule = rest.split_once('/').map_or(rest, |(rule, _)| rule);
        match kind {
            "group" => Self::Group(rule),
            "count" => Self::Count(rule),
            "throttle" => Self::Throttle(rule),
            "quiet" => Self::Quiet,
            "digest" => {
                let parts = rest.rsplit_once(' ');
                let parts = parts.and_then(|(cron, zone)| Some((cron, Zone::parse(zone)?)));
                let schedule = parts.and_then(|(cron, zone)| Schedule::parse(cron, zone).ok());
                schedule.map_or(Self::Unknown, Self::Digest)
            }
            _ => Self::Unknown,
        }
    }

    fn rule(&self) -> Option<&'k str> {
        match self {
            Self::Group(rule) | Self::Count(rule) | Self::Throttle(rule) => Some(rule),
            Self::Digest(_) | Self::Quiet | Self::Unknown => None,
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Group(_) | Self::Unknown => Reason::Group,
            Self::Count(_) => Reason::Count,
            Self::Throttle(_) => Reason::Throttle,
            Self::Digest(_) => Reason::Digest,
            Self::Quiet => Reason::Quiet,
        }
    }
}

fn quiet() -> BatchKey {
    "quiet".into()
}

fn key(kind: &str, rule: &Rule, group: u64) -> BatchKey {
    format!("{kind}/{}/{group:016x}", rule.name).into()
}

#[cfg(test)]
mod tests;
