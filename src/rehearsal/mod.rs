//! The pipeline without a network and without a clock: what would be told of these calls, when, and to whom.
//!
//! Everything that decides is the real thing: the [`Observer`], the [`Clockwork`], a store (in memory) and the
//! queue and the pacing of each destination ([`Rehearsed`]). Calls are shown to it as if the API had just been asked, whatever is due is
//! delivered at once, and time leaps from one thing that is to be done to the next. Always the same for the same
//! calls.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, value::to_raw_value};

use crate::{
    call::{Call, CallId},
    config::Config,
    delivery::{self, Rehearsed},
    event::Event,
    kind::Kind,
    name::Name,
    rule::{Rule, RuleSet, Rules},
    snapshot::Snapshot,
    store::{Claim, Duty, MemoryStore, Store, StoreError},
    sync::{
        clockwork::Clockwork,
        observe::{Observations, Observer},
    },
    telemetry::Signal,
    time::Timestamp,
};

/// The smallest step of the clock.
const MOMENT: Duration = Duration::from_millis(1);

/// A pipeline that is shown calls.
pub struct Rehearsal {
    rules: Arc<[Rule]>,
    by_name: Rules,
    store: Arc<MemoryStore>,
    sources: BTreeMap<Name, Watched>,
    destinations: BTreeMap<Name, Rehearsed>,
    now: Timestamp,
    log: Log,
}

/// What is remembered of a source besides its calls.
#[derive(Default)]
struct Watched {
    clockwork: Clockwork,
    sequences: BTreeMap<Name, u64>,
}

/// What has happened.
#[derive(Debug, Default)]
pub struct Log {
    /// Every match of a rule, whatever became of it, in the order of time.
    pub fired: Vec<Event>,
    /// Everything that was told, in the order of time.
    pub told: Vec<Told>,
    /// What else there was to say, and when.
    pub signals: Vec<(Timestamp, Signal)>,
}

/// Something that was told.
#[derive(Debug)]
pub struct Told {
    /// When.
    pub at: Timestamp,
    /// To whom.
    pub destination: Name,
    /// What; it may stand for several events.
    pub event: Arc<Event>,
    /// The order within (destination, source, call).
    pub sequence: u64,
}

impl Rehearsal {
    /// Begins to watch at `start`, when there is no call.
    ///
    /// # Errors
    /// As all methods, when the store fails; one in memory does not.
    pub async fn new(config: &Config, start: Timestamp) -> Result<Self, StoreError> {
        let store = Arc::new(MemoryStore::new());
        let by_name = RuleSet::of(&config.rules);
        let mut destinations = BTreeMap::new();
        for destination in &config.destinations {
            let rehearsed = Rehearsed::new(
                Arc::clone(&store) as Arc<dyn Store>,
                destination.name.clone(),
                Arc::clone(&by_name),
                destination.quiet.clone(),
            );
            destinations.insert(destination.name.clone(), rehearsed.await?);
        }
        let mut rehearsal = Self {
            rules: config.rules.clone().into(),
            by_name,
            store,
            sources: config.sources.iter().map(|source| (source.name.clone(), Watched::default())).collect(),
            destinations,
            now: start,
            log: Log::default(),
        };
        rehearsal.catch_up().await?;
        Ok(rehearsal)
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The rules, by their names.
    pub fn rules(&self) -> &Rules {
        &self.by_name
    }

    /// What has happened since this was last asked.
    pub fn take_log(&mut self) -> Log {
        std::mem::take(&mut self.log)
    }

    /// Lets time pass until `until`: what is due on the way is done at its time.
    pub async fn advance(&mut self, until: Timestamp) -> Result<(), StoreError> {
        while let Some(next) = self.next().filter(|next| *next <= until) {
            // What should have been done already has been: time must not stand still.
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
        let mut observations = Observations::new();
        self.with_observer(source, |observer| observer.observe(before.as_ref(), call, &mut observations));
        self.take(source, observations).await
    }

    /// Shows that a call is gone; nothing when it was never there.
    pub async fn delete(&mut self, source: &Name, call: &CallId) -> Result<(), StoreError> {
        let Some(before) = self.snapshot(source, call).await? else { return Ok(()) };
        let mut observations = Observations::new();
        self.with_observer(source, |observer| observer.observe_deletion(call, &before, &mut observations));
        self.take(source, observations).await
    }

    /// A call was created, and will be shown later: there is no silence.
    pub fn hear(&mut self, source: &Name) {
        let now = self.now;
        self.watched(source).clockwork.heard(now);
    }

    /// Something happened to the source itself: what the rules that ask for it make of it.
    pub async fn tell_of_source(
        &mut self,
        source: &Name,
        kind: Kind,
        incident: Timestamp,
        details: &Value,
    ) -> Result<(), StoreError> {
        let rules = Arc::clone(&self.rules);
        self.tell(source, kind, incident, details, &rules).await
    }

    /// Does what is due by now.
    async fn catch_up(&mut self) -> Result<(), StoreError> {
        for source in self.sources.keys().cloned().collect::<Vec<_>>() {
            let now = self.now;
            let clockwork = &mut self.watched(&source).clockwork;
            clockwork.confirm(now);
            for call in clockwork.take_due() {
                let Some(before) = self.snapshot(&source, &call).await? else { continue };
                let mut observations = Observations::new();
                self.with_observer(&source, |observer| {
                    observer.observe_again(&call, &before, &mut observations)
                });
                self.commit(&source, observations).await?;
            }
            for rule in Arc::clone(&self.rules).iter().filter(|rule| rule.looks_at(&source)) {
                let Some(silence) = &rule.silence else { continue };
                let clockwork = &mut self.watched(&source).clockwork;
                if let Some(since) = clockwork.take_silence(rule, Timestamp::default(), now) {
                    let details = silence.details(since);
                    self.tell(&source, Kind::SourceSilent, since, &details, std::slice::from_ref(rule))
                        .await?;
                }
            }
        }
        let next = |(name, rehearsed): (&Name, &Rehearsed)| Some((rehearsed.next()?, name.clone()));
        let due = self.destinations.iter().filter_map(next).filter(|(next, _)| *next <= self.now);
        self.deliver(due.map(|(_, name)| name).collect()).await
    }

    async fn tell(
        &mut self,
        source: &Name,
        kind: Kind,
        incident: Timestamp,
        details: &Value,
        rules: &[Rule],
    ) -> Result<(), StoreError> {
        let mut observations = Observations::new();
        if let Ok(details) = to_raw_value(details) {
            let mut sequences = std::mem::take(&mut self.watched(source).sequences);
            let observer = Observer { source, rules, now: self.now };
            let details = details.into();
            observer.observe_source(kind, incident, &details, &mut sequences, &mut observations);
            self.watched(source).sequences = sequences;
        }
        self.commit(source, observations).await
    }

    /// Takes in what was observed, and does what is due then.
    async fn take(&mut self, source: &Name, observations: Observations) -> Result<(), StoreError> {
        self.commit(source, observations).await?;
        self.catch_up().await
    }

    async fn commit(&mut self, source: &Name, observations: Observations) -> Result<(), StoreError> {
        let rules = Arc::clone(&self.rules);
        let observer = Observer { source, rules: &rules, now: self.now };
        self.watched(source).clockwork.learn(&observations, &observer);
        let Observations { commit, signals, .. } = observations;
        self.log.fired.extend(commit.events.iter().map(|new| new.event.clone()));
        let now = self.now;
        self.log.signals.extend(signals.into_iter().map(|signal| (now, signal)));
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
            for delivery::Told { event, sequence } in rehearsed.deliver(now).await? {
                let destination = destination.clone();
                self.log.told.push(Told { at: now, destination, event, sequence });
            }
        }
        // What was told is in the log; the store need not go through it again and again.
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
        let on_the_clock = self.sources.iter().flat_map(|(source, watched)| {
            let rules = self.rules.iter().filter(|rule| rule.looks_at(source));
            let silence = rules.filter_map(|rule| watched.clockwork.silence_due(rule, Timestamp::default()));
            silence.chain(watched.clockwork.next_look())
        });
        held.chain(on_the_clock).min()
    }

    /// Whether something is on its way: a delivery that is held, or a condition that has to hold for a while.
    fn is_pending(&self) -> bool {
        let held = self.destinations.values().any(Rehearsed::is_pending);
        held || self.sources.values().any(|watched| watched.clockwork.next_look().is_some())
    }

    async fn snapshot(&self, source: &Name, call: &CallId) -> Result<Option<Snapshot>, StoreError> {
        let found = self.store.snapshots(source, std::slice::from_ref(call)).await?;
        Ok(found.into_iter().next().flatten())
    }

    fn with_observer<T>(&self, source: &Name, look: impl FnOnce(&Observer<'_>) -> T) -> T {
        look(&Observer { source, rules: &self.rules, now: self.now })
    }

    fn watched(&mut self, source: &Name) -> &mut Watched {
        self.sources.entry(source.clone()).or_default()
    }
}
