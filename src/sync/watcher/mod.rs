//! Decides what is news about a source: the one place that turns looks at calls and the passing of time into events.
//!
//! A [`Watcher`] has no clock and does no I/O. Its caller fetches, hands over what it saw together with what the store
//! remembers of it, commits the [`Observation`] that comes back, and only then tells anybody. The source's task does
//! that with the API and a database, a rehearsal with made-up calls and a store in memory.
//!
//! The order of calls per step: [`tick`](Watcher::tick), then [`take_due`](Watcher::take_due) with
//! [`observe_again`](Watcher::observe_again) for each call it names, then one request and
//! [`observe`](Watcher::observe) for what it brought, then [`answered`](Watcher::answered) or
//! [`failed`](Watcher::failed).

mod conditions;
mod health;
mod influx;
mod look;
mod observation;
mod timers;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::{
    conditions::Conditions,
    health::{Health, Outage, Why},
    influx::Influx,
    look::Look,
    timers::Timers,
};
pub use self::{health::Standing, observation::Observation};
use crate::{
    call::{Call, CallId},
    callem::FetchError,
    change,
    event::Subject,
    kind::Kind,
    name::Name,
    rule::{Rule, RuleSet, Rules},
    snapshot::Snapshot,
    telemetry::Signal,
    telling::{Incident, Told},
    time::Timestamp,
};

/// A call created more than this long before watching began was there already. A replica may lag by less.
const WELL_BEFORE: Duration = Duration::from_secs(60);

/// Up to this many calls from before watching began are news when they appear after the baseline, unless that found no
/// calls at all.
const FEW_BELATED: u64 = 3;

/// One moment by several clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The time for people, and of events. Somebody may set this clock at any time, so nothing is decided by it.
    pub wall: Timestamp,
    /// The time for waits within the process: it never jumps.
    pub steady: Timestamp,
    /// The time for waits that outlast the process. It goes on steadily, whatever becomes of the wall clock, and where the
    /// API says what time it is, the next process agrees with it.
    pub waits: Timestamp,
    /// The time of the API's clock, by which calls say when they were; see [`ApiClock`](super::api_clock::ApiClock).
    pub api: Timestamp,
}

/// One clock that stands for all, as where time is made up.
impl From<Timestamp> for Now {
    fn from(at: Timestamp) -> Self {
        Self { wall: at, steady: at, waits: at, api: at }
    }
}

/// Watches one source with one set of rules.
#[derive(Debug)]
pub struct Watcher {
    source: Name,
    rules: Rules,
    memory: Memory,
    /// Whether the first walk over the list is still going on: what it finds was there before, and is no news.
    in_baseline: bool,
    /// Silence is not told before this time, by the steady clock. See [`Watcher::resume`].
    settled: Timestamp,
    health: Health,
    influx: Influx,
    /// Whether `memory` has changed since it was last handed out to be saved.
    is_unsaved: bool,
}

/// The state that a watcher keeps across restarts, besides the snapshots of calls.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// A call created after this is news even during the baseline. By the server's clock.
    news_since: Option<Timestamp>,
    /// How many events the baseline made.
    baseline_events: u64,
    /// How many calls the baseline found; `None` when that was not counted.
    baseline_calls: Option<u64>,
    /// How many calls from before watching began have appeared since the baseline.
    belated: u64,
    /// How many deliveries about the source itself each destination has been given: the last `sequence`.
    sequences: BTreeMap<Name, u64>,
    /// Since when the source's answers have been wrong, once that has been told.
    failing_since: Option<Timestamp>,
    /// Since when the source has not answered, once that has been told. An outage is a failing of its own, also while the
    /// answers before it were doubted.
    outage_since: Option<Timestamp>,
    /// The rules that cannot be evaluated.
    conditions: Conditions,
    #[serde(rename = "clockwork")]
    timers: Timers,
}

impl Watcher {
    /// A watcher whose baseline begins or goes on. [`Watcher::baseline_done`] or [`Watcher::resume`] ends it.
    pub fn new(source: Name, rules: Rules, memory: Memory) -> Self {
        Self {
            source,
            rules,
            memory,
            in_baseline: true,
            settled: Timestamp::default(),
            health: Health::default(),
            influx: Influx::default(),
            is_unsaved: false,
        }
    }

    /// The baseline was over before the process started. Calls that came while it was away are only now being found,
    /// so silence is not told before `settled`: one interval after the start, when the list has been looked at. By the
    /// steady clock.
    pub fn resume(&mut self, settled: Timestamp) {
        self.in_baseline = false;
        self.settled = settled;
    }

    /// Every call in the list has been seen. From now on, calls seen for the first time are news, and silence counts:
    /// the time before watching began is no silence. Returns how many events the baseline made.
    pub fn baseline_done(&mut self, now: impl Into<Now>) -> u64 {
        self.in_baseline = false;
        self.heard(now.into().waits);
        self.memory.baseline_events
    }

    /// The server's time at the first answer of the first run fixes which calls of the baseline are news: those created
    /// within `notify_since` before it, or later. The `Date` header has whole seconds, so a call created within that
    /// second counts as there before.
    pub fn begin(&mut self, server_time: Timestamp, notify_since: Duration) {
        let since = server_time.after(Duration::from_secs(1)).before(notify_since);
        self.memory.news_since.get_or_insert(since);
        if self.in_baseline {
            self.memory.baseline_calls.get_or_insert(0);
        }
    }

    /// Counts those of these calls, about to be observed for the first time, that are from before watching began. When
    /// the baseline found none, or when more than a few appear after it, the list was not whole then: such calls are
    /// remembered without being announced, as the others were. Returns how many of these calls are.
    pub fn meet<'c>(&mut self, calls: impl IntoIterator<Item = &'c Call>) -> usize {
        if self.in_baseline {
            return 0;
        }
        let belated = calls.into_iter().filter(|call| self.memory.is_belated(call)).count();
        self.is_unsaved |= belated > 0;
        self.memory.belated = self.memory.belated.saturating_add(belated as u64);
        if self.memory.lacked() { belated } else { 0 }
    }

    /// The rules at work.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Goes on with other rules. No call is read again: each rule's memory of a call is in the call's snapshot, and a
    /// rule without one does not announce what was already so. Rules with `for` look once at the calls in `live`, those
    /// live as far as is known, and at the calls that wait already: a rule may be new, or the clock may have been set
    /// since the wait began.
    pub fn set_rules(&mut self, rules: Rules, live: impl IntoIterator<Item = CallId>) {
        self.rules = rules;
        self.memory.conditions.follow_rules(&self.rules);
        if self.rules.iter().any(|rule| rule.lasting.is_some()) {
            self.memory.timers.look_at(live);
        }
    }

    /// A call in an answer of the API, and what is remembered of it. A state older than that is ignored.
    pub fn observe(&mut self, before: Option<&Snapshot>, call: &Call, now: impl Into<Now>) -> Observation {
        let now = now.into();
        if let Some(stale) = before.and_then(|before| change::stale(before, call, now.api)) {
            return Observation { stale: Some(stale), ..Observation::default() };
        }
        self.believe(before, call, now)
    }

    /// As [`Watcher::observe`], for a state that counts although it looks older than what is remembered.
    pub fn believe(&mut self, before: Option<&Snapshot>, call: &Call, now: impl Into<Now>) -> Observation {
        let now = now.into();
        if before.is_none() {
            self.heard(call.created_at().map_or(now.waits, |created| created.min(now.waits)));
        }
        let was_there = before.is_none()
            && match self.in_baseline {
                true => !self.memory.is_news(call.created_at()),
                false => self.memory.lacked() && self.memory.is_belated(call),
            };
        if before.is_none() && self.in_baseline {
            self.memory.baseline_calls = self.memory.baseline_calls.map(|calls| calls.saturating_add(1));
        }
        let look = self.look(now);
        let made = if was_there { look.baseline(call) } else { look.observe(before, call) };
        self.note(call.id(), before, made, now)
    }

    /// A call that is gone from the list for good, and what is remembered of it.
    pub fn observe_deletion(&mut self, id: &CallId, before: &Snapshot, now: impl Into<Now>) -> Observation {
        let now = now.into();
        let made = self.look(now).deletion(id, before);
        self.note(id, Some(before), made, now)
    }

    /// One of the calls that [`Watcher::take_due`] returned, and what is remembered of it.
    pub fn observe_again(&mut self, id: &CallId, before: &Snapshot, now: impl Into<Now>) -> Observation {
        let now = now.into();
        let made = self.look(now).again(id, before);
        self.note(id, Some(before), made, now)
    }

    /// Whether calls in answers have to be reported to [`Watcher::saw`].
    pub fn is_waiting(&self) -> bool {
        self.memory.timers.is_waiting()
    }

    /// A call was in an answer, changed or not.
    pub fn saw(&mut self, call: &CallId, now: impl Into<Now>) {
        self.memory.timers.saw(call, now.into().waits);
    }

    /// An answer showed every call that rules with `for` wait for.
    pub fn saw_all(&mut self, now: impl Into<Now>) {
        self.memory.timers.saw_all(now.into().waits);
    }

    /// A call was created at this time, by the API's clock, so there is no silence. The call itself may be shown later.
    pub fn heard(&mut self, created: Timestamp) {
        self.is_unsaved |= self.memory.timers.heard(created);
    }

    /// A request was answered, and what it showed has been observed.
    pub fn answered(&mut self, now: impl Into<Now>) -> Observation {
        let now = now.into();
        self.memory.timers.answered(now);
        let mut made = Observation::default();
        if let Some((failures, lasting)) = self.health.answered(now.steady) {
            made.signals.push(Signal::SourceRecovered { source: self.source.clone(), failures, lasting });
        }
        let outage = self.memory.outage_since.take();
        let wrong = self.memory.failing_since.take_if(|_| self.health.makes_sense());
        for since in [outage, wrong].into_iter().flatten() {
            self.is_unsaved = true;
            let details = json!({ "since": since.to_string() });
            let rules = Rules::clone(&self.rules);
            let number = since.as_millis().to_string();
            made.append(self.incident(rules.iter(), Kind::SourceRecovered, number, &details, now.wall));
        }
        made
    }

    /// A request failed. What is known of the source's calls stays as it is; that the source is failing is told by
    /// [`Watcher::tick`] when no request has been answered for `failing_after`.
    pub fn failed(&mut self, error: &FetchError, failing_after: Duration, now: Now) -> Signal {
        let failures = self.health.failed(error, failing_after, now);
        Signal::FetchFailed {
            source: self.source.clone(),
            error: error.to_string(),
            refused: error.is_refusal(),
            failures,
        }
    }

    /// The source answers, but something about its answers is wrong and lasts until [`Watcher::relieved`]. Returns a signal
    /// if that is new. [`Watcher::tick`] tells that the source is failing when it has lasted for `failing_after`.
    pub fn troubled(
        &mut self,
        standing: Standing,
        why: String,
        failing_after: Duration,
        now: Now,
    ) -> Option<Signal> {
        let source = self.source.clone();
        let is_new = self.health.troubled(standing, why.clone(), failing_after, now);
        is_new.then_some(Signal::SourceTroubled { source, why })
    }

    /// Ends an outage; returns a signal if there was one. The recovery is told with the next answer.
    pub fn relieved(&mut self, standing: Standing) -> Option<Signal> {
        let text = standing.relief().to_owned();
        let source = self.source.clone();
        self.health.relieved(standing).then_some(Signal::SourceNotice { source, text })
    }

    /// An answer showed this many calls for the first time. Too many within an hour are trouble.
    pub fn arrived(&mut self, calls: u64, failing_after: Duration, now: Now) -> Option<Signal> {
        match !self.in_baseline && self.influx.is_flood(calls, now.steady) {
            true => self.troubled(Standing::Flood, Influx::WHY.to_owned(), failing_after, now),
            false => self.relieved(Standing::Flood),
        }
    }

    /// When [`Watcher::tick`] will have to tell that the source is failing, by the steady clock, unless a request is
    /// answered first or it has been told.
    pub fn failing_at(&self) -> Option<Timestamp> {
        let outage = self.health.outage_at().filter(|_| self.memory.outage_since.is_none());
        let wrong = self.health.wrong_at().filter(|_| self.memory.failing_since.is_none());
        outage.into_iter().chain(wrong).min()
    }

    /// The events that follow from the passing of time: the source has been failing, or silent, for long enough.
    pub fn tick(&mut self, now: impl Into<Now>) -> Observation {
        let now = now.into();
        let mut made = Observation::default();
        let Memory { failing_since, outage_since, .. } = &mut self.memory;
        let untold =
            [(self.health.outage(now.steady), outage_since), (self.health.wrong(now.steady), failing_since)];
        let mut failing = vec![];
        for (trouble, told) in untold {
            if let (Some(Outage { since, began, why: Why { cause, error }, .. }), None) = (trouble, &told) {
                *told = Some(*since);
                let (lasting, error) = (now.steady.since(*began), error.clone());
                failing.push((*since, json!({ "since": since.to_string(), "cause": cause, "error": error })));
                made.signals.push(Signal::SourceFailing { source: self.source.clone(), lasting, error });
            }
        }
        for (since, details) in failing {
            let rules = Rules::clone(&self.rules);
            let number = since.as_millis().to_string();
            made.append(self.incident(rules.iter(), Kind::SourceFailing, number, &details, now.wall));
        }
        // A list in doubt may lack calls, so it proves no silence.
        if self.in_baseline || !self.health.makes_sense() {
            return made;
        }
        let rules = Rules::clone(&self.rules);
        for rule in rules.iter() {
            let Some(silence) = rule.silence.as_ref().filter(|_| rule.looks_at(&self.source)) else {
                continue;
            };
            if let Some(since) = self.memory.timers.take_silence(rule, self.settled, now.waits) {
                let details = silence.details(since);
                let number = since.as_millis().to_string();
                made.append(self.incident([rule], Kind::SourceSilent, number, &details, now.wall));
            }
        }
        made
    }

    /// The calls that rules with `for` have to look at again and that were seen when their time had come: each is to be
    /// shown to [`Watcher::observe_again`].
    pub fn take_due(&mut self) -> Vec<CallId> {
        self.memory.timers.take_due()
    }

    /// When [`Watcher::tick`] or [`Watcher::take_due`] has something to do, provided that the source answers then and that
    /// one clock stands for all. Silence counts from the end of the baseline on.
    pub fn due(&self) -> Option<Timestamp> {
        let rules = self.rules.iter().filter(|rule| !self.in_baseline && rule.looks_at(&self.source));
        let silence = rules.filter_map(|rule| self.memory.timers.silence_due(rule));
        silence.map(|due| due.max(self.settled)).chain(self.memory.timers.next_look()).min()
    }

    /// The events that rules make of something that happened to the source itself. `incident`, the time at which it
    /// began, tells one incident from the next; `details` describes it.
    pub fn source_event(
        &mut self,
        kind: Kind,
        incident: Timestamp,
        details: &Value,
        now: Timestamp,
    ) -> Observation {
        let rules = Rules::clone(&self.rules);
        let mut made = Observation::default();
        made.append(self.incident(rules.iter(), kind, incident.as_millis().to_string(), details, now));
        made
    }

    /// Whether the memory has changed since it was last saved.
    pub fn is_unsaved(&self) -> bool {
        self.is_unsaved
    }

    /// The memory, to be saved.
    pub fn save(&mut self) -> &Memory {
        self.is_unsaved = false;
        &self.memory
    }

    /// The events of `rules` about something that happened to the source itself: see [`Incident`].
    fn incident<'r>(
        &mut self,
        rules: impl IntoIterator<Item = &'r Rule>,
        kind: Kind,
        number: String,
        details: &Value,
        now: Timestamp,
    ) -> Told {
        self.is_unsaved = true;
        let incident = Incident { kind, subject: Subject::Source(self.source.clone()), number, details };
        let told = incident.tell(rules, &mut self.memory.sequences, now);
        if self.in_baseline {
            self.memory.baseline_events +=
                told.events.iter().filter(|new| new.event.also.is_empty()).count() as u64;
        }
        told
    }

    fn look(&self, now: Now) -> Look<'_> {
        Look { source: &self.source, rules: &self.rules, now }
    }

    /// Finishes an observation: sets the call's timer by its new snapshot, counts events of the baseline, and judges
    /// conditions that fail.
    fn note(
        &mut self,
        id: &CallId,
        before: Option<&Snapshot>,
        mut made: Observation,
        now: Now,
    ) -> Observation {
        // A wait that began in the future was begun by a clock that was ahead, and begins now.
        let rules = made.snapshot.iter_mut().flat_map(|(_, snapshot)| snapshot.rules.values_mut());
        rules.for_each(|memory| memory.since = memory.since.map(|since| since.min(now.waits)));
        let after = made.snapshot.as_ref().map(|(_, snapshot)| snapshot).or(before);
        let due = after.and_then(|snapshot| next_look(&self.rules, &self.source, snapshot));
        self.is_unsaved |= self.memory.timers.set(id, due);
        let mut made = self.count(made);
        self.judge_conditions(&mut made, now.wall);
        made
    }

    /// Tells of rules whose conditions fail at every evaluation.
    fn judge_conditions(&mut self, made: &mut Observation, now: Timestamp) {
        for (name, failure) in std::mem::take(&mut made.conditions) {
            let rules = Rules::clone(&self.rules);
            let Some(condition) = rules.get(&name).and_then(|rule| rule.when.as_ref()) else { continue };
            let Some(error) = failure else {
                self.is_unsaved |= self.memory.conditions.succeeded(&name);
                continue;
            };
            if let Some(since) = self.memory.conditions.failed(&name, condition, now) {
                let details = json!({ "rule": name.as_str(), "since": since.to_string(), "error": error });
                let number = format!("{}/{name}", since.as_millis());
                let told = self.incident(rules.iter(), Kind::RuleFailing, number, &details, now);
                made.append(told);
            }
        }
    }

    fn count(&mut self, made: Observation) -> Observation {
        if self.in_baseline {
            self.memory.baseline_events += made.fired().count() as u64;
        }
        made
    }
}

impl Memory {
    /// Whether a call created at this time is news while the baseline is taken.
    fn is_news(&self, created_at: Option<Timestamp>) -> bool {
        matches!((created_at, self.news_since), (Some(created), Some(since)) if created > since)
    }

    /// Whether the call was created well before watching began and has not been updated since.
    fn is_belated(&self, call: &Call) -> bool {
        let (Some(created), Some(since)) = (call.created_at(), self.news_since) else { return false };
        created.after(WELL_BEFORE) < since && call.updated_at().is_none_or(|updated| updated < since)
    }

    /// Whether the baseline has missed calls, judging by those that appeared since.
    fn lacked(&self) -> bool {
        self.baseline_calls == Some(0) || self.belated > FEW_BELATED
    }
}

/// When the rules with `for` have to look at a call of `source` again.
fn next_look(rules: &RuleSet, source: &Name, snapshot: &Snapshot) -> Option<Timestamp> {
    let due = |rule: &Rule| Some(snapshot.rules.get(&rule.name)?.since?.after(rule.lasting?));
    rules.iter().filter(|rule| rule.looks_at(source)).filter_map(due).min()
}
