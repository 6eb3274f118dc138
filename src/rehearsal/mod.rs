//! The pipeline without a network and without a clock: what would be told of these calls, when, and to whom.
//!
//! Everything that decides is the real thing: the [`Watcher`] of each source, a store (in memory), and the queue and pacer of each
//! destination ([`Rehearsed`]). Calls are shown to it as if the API had just been asked, whatever is due is delivered at once,
//! and time leaps from one thing that is due to the next. The same calls always give the same result.

pub mod clinic;
pub mod trial;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;

use crate::{
    call::{Call, CallId},
    config_file::Config,
    delivery::{self, Rehearsed},
    event::Event,
    kind::Kind,
    name::Name,
    rule::{RuleSet, Rules},
    snapshot::Snapshot,
    store::{Claim, Commit, Duty, MemoryStore, Store, StoreError},
    sync::watcher::{Memory, Observation, Watcher},
    telemetry::Signal,
    time::Timestamp,
};

/// The smallest step of the clock.
const MOMENT: Duration = Duration::from_millis(1);

/// A pipeline that is shown calls.
pub struct Rehearsal {
    rules: Rules,
    store: Arc<MemoryStore>,
    watchers: BTreeMap<Name, Watcher>,
    destinations: BTreeMap<Name, Rehearsed>,
    now: Timestamp,
    log: Log,
}

/// The events and messages of a rehearsal.
#[derive(Debug, Default)]
pub struct Log {
    /// Every match of a rule, whether or not it was told, in the order of time.
    pub fired: Vec<Event>,
    /// Everything that was told, in the order of time.
    pub told: Vec<Told>,
    /// The signals of the watchers, with the time of each.
    pub signals: Vec<(Timestamp, Signal)>,
}

/// A message to a destination.
#[derive(Debug)]
pub struct Told {
    /// When it was sent.
    pub at: Timestamp,
    /// The destination it was sent to.
    pub destination: Name,
    /// The event it tells, which may stand for several.
    pub event: Arc<Event>,
    /// The order within (destination, source, call).
    pub sequence: u64,
}

impl Rehearsal {
    /// Begins to watch at `start`, when there is no call: a first run whose baseline is over at once.
    ///
    /// # Errors
    /// All methods fail only if the store does, and one in memory does not.
    pub async fn new(config: &Config, start: Timestamp) -> Result<Self, StoreError> {
        let store = Arc::new(MemoryStore::new());
        let rules = RuleSet::of(&config.rules);
        let mut destinations = BTreeMap::new();
        for destination in &config.destinations {
            let rehearsed = Rehearsed::new(
                Arc::clone(&store) as Arc<dyn Store>,
                destination.name.clone(),
                Arc::clone(&rules),
                destination.quiet.clone(),
            );
            destinations.insert(destination.name.clone(), rehearsed.await?);
        }
        let watcher = |source: &Name| {
            let mut watcher = Watcher::new(source.clone(), Arc::clone(&rules), Memory::default());
            watcher.baseline_done(start);
            (source.clone(), watcher)
        };
        let watchers = config.sources.iter().map(|source| watcher(&source.name)).collect();
        let mut rehearsal = Self { rules, store, watchers, destinations, now: start, log: Log::default() };
        rehearsal.catch_up().await?;
        Ok(rehearsal)
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The rules at work.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Everything that has happened since the last call.
    pub fn take_log(&mut self) -> Log {
        std::mem::take(&mut self.log)
    }

    /// Lets time pass until `until`. Everything that is due on the way is done at its time.
    pub async fn advance(&mut self, until: Timestamp) -> Result<(), StoreError> {
        while let Some(next) = self.next().filter(|next| *next <= until) {
            // At least one moment, so that time does not stand still if something stays due.
            self.now = next.max(self.now.after(MOMENT));
            self.catch_up().await?;
        }
        self.now = self.now.max(until);
        Ok(())
    }

    /// Lets time pass until nothing is held back and no condition is watched any more, but not beyond `until`.
    pub async fn run_out(&mut self, until: Timestamp) -> Result<(), StoreError> {
        while self.is_pending()
            && let Some(next) = self.next().filter(|next| *next <= until)
        {
            self.advance(next.max(self.now.after(MOMENT))).await?;
        }
        Ok(())
    }

    /// Shows a call as it is now.
    pub async fn observe(&mut self, source: &Name, call: &Call) -> Result<(), StoreError> {
        let before = self.snapshot(source, call.id()).await?;
        self.decide(source, |watcher, now| watcher.observe(before.as_ref(), call, now)).await?;
        self.catch_up().await
    }

    /// Shows that a call is gone; nothing when it was never there.
    pub async fn delete(&mut self, source: &Name, call: &CallId) -> Result<(), StoreError> {
        let Some(before) = self.snapshot(source, call).await? else { return Ok(()) };
        self.decide(source, |watcher, now| watcher.observe_deletion(call, &before, now)).await?;
        self.catch_up().await
    }

    /// A call was created, and will be shown later: there is no silence.
    pub fn hear(&mut self, source: &Name) {
        if let Some(watcher) = self.watchers.get_mut(source) {
            watcher.heard(self.now);
        }
    }

    /// Something happened to the source itself: shows it to the rules that ask for it.
    pub async fn tell_of_source(
        &mut self,
        source: &Name,
        kind: Kind,
        incident: Timestamp,
        details: &Value,
    ) -> Result<(), StoreError> {
        self.decide(source, |watcher, now| watcher.source_event(kind, incident, details, now)).await
    }

    /// Does what is due by now, as if every source had just answered and shown all of its calls.
    async fn catch_up(&mut self) -> Result<(), StoreError> {
        for source in self.watchers.keys().cloned().collect::<Vec<_>>() {
            self.decide(&source, |watcher, now| {
                watcher.saw_all(now);
                watcher.answered(now)
            })
            .await?;
            let due = self.watchers.get_mut(&source).map(Watcher::take_due).unwrap_or_default();
            for call in due {
                if let Some(before) = self.snapshot(&source, &call).await? {
                    self.decide(&source, |watcher, now| watcher.observe_again(&call, &before, now)).await?;
                }
            }
            self.decide(&source, |watcher, now| watcher.tick(now)).await?;
        }
        let next = |(name, rehearsed): (&Name, &Rehearsed)| Some((rehearsed.next()?, name.clone()));
        let due = self.destinations.iter().filter_map(next).filter(|(next, _)| *next <= self.now);
        self.deliver(due.map(|(_, name)| name).collect()).await
    }

    /// Lets the source's watcher decide, and commits and delivers what it made. Nothing for a source that is not in the
    /// config.
    async fn decide(
        &mut self,
        source: &Name,
        decide: impl FnOnce(&mut Watcher, Timestamp) -> Observation,
    ) -> Result<(), StoreError> {
        let now = self.now;
        let Some(made) = self.watchers.get_mut(source).map(|watcher| decide(watcher, now)) else {
            return Ok(());
        };
        self.log.fired.extend(made.fired().cloned());
        let mut commit = Commit::default();
        let signals = made.commit_into(&mut commit);
        self.log.signals.extend(signals.into_iter().map(|signal| (now, signal)));
        if commit.is_empty() {
            return Ok(());
        }
        let deliveries = commit.events.iter().flat_map(|new| &new.deliveries);
        let told = deliveries.map(|delivery| delivery.destination.clone()).collect();
        let claim = self.claim(Duty::Source(source.clone())).await?;
        self.store.commit(&claim, commit).await?;
        self.deliver(told).await
    }

    /// Delivers what is due for these destinations.
    async fn deliver(&mut self, destinations: BTreeSet<Name>) -> Result<(), StoreError> {
        let now = self.now;
        for destination in destinations {
            let Some(rehearsed) = self.destinations.get_mut(&destination) else { continue };
            for delivery::Arrived { event, sequence } in rehearsed.deliver(now).await? {
                let destination = destination.clone();
                self.log.told.push(Told { at: now, destination, event, sequence });
            }
        }
        // Deliveries that were made are in the log; kept in the store they would slow down every later step.
        let claim = self.claim(Duty::Upkeep).await?;
        self.store.purge(&claim, now.after(MOMENT), usize::MAX).await?;
        Ok(())
    }

    /// The claim on a duty. Nobody else knows the store.
    async fn claim(&self, duty: Duty) -> Result<Claim, StoreError> {
        self.store.claim(&duty).await?.ok_or(StoreError::ClaimLost { duty })
    }

    /// When there is something to do next.
    fn next(&self) -> Option<Timestamp> {
        let held = self.destinations.values().filter_map(Rehearsed::next);
        held.chain(self.watchers.values().filter_map(Watcher::due)).min()
    }

    /// Whether a delivery is held, or a rule waits for a condition to last.
    fn is_pending(&self) -> bool {
        let held = self.destinations.values().any(Rehearsed::is_pending);
        held || self.watchers.values().any(Watcher::is_waiting)
    }

    async fn snapshot(&self, source: &Name, call: &CallId) -> Result<Option<Snapshot>, StoreError> {
        let found = self.store.snapshots(source, std::slice::from_ref(call)).await?;
        Ok(found.into_iter().next().flatten())
    }
}
