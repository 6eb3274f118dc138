//! What one look at a call brings: its new snapshot, and the events and deliveries that follow from it. Pure.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value, value::RawValue};

use crate::{
    call::{Call, CallId, Status},
    change::{self, Change, Changes},
    event::{Event, EventId, Subject},
    json,
    kind::Kind,
    name::Name,
    privacy::mask_phone,
    rule::{
        Rule,
        fire::{self, Finding},
        pacing::{happened, placement},
    },
    snapshot::{ContentHash, Snapshot},
    store::{Commit, Hold, NewDelivery, NewEvent},
    telemetry::Signal,
    time::Timestamp,
};

/// Looks at calls of one source with one set of rules.
#[derive(Clone, Copy, Debug)]
pub struct Observer<'a> {
    /// The source.
    pub source: &'a Name,
    /// The rules, in the order of the config.
    pub rules: &'a [Rule],
    /// The time of the observation.
    pub now: Timestamp,
}

/// What is to be committed, and what is to be said once it is.
#[derive(Debug, Default)]
pub struct Observations {
    /// Everything to be made durable at once.
    pub commit: Commit,
    /// What to tell when it is.
    pub signals: Vec<Signal>,
    /// Calls seen for the first time.
    pub new: usize,
    /// Calls that changed.
    pub changed: usize,
    /// When the latest of the calls seen for the first time was created.
    pub latest: Option<Timestamp>,
}

impl Observations {
    /// Nothing observed yet.
    pub fn new() -> Self {
        Self { commit: Commit::default(), signals: vec![], new: 0, changed: 0, latest: None }
    }
}

impl Observations {
    fn first_sight(&mut self, call: &Call, now: Timestamp) {
        self.new += 1;
        let created = call.created_at().map_or(now, |created| created.min(now));
        self.latest = self.latest.max(Some(created));
    }
}

impl Observer<'_> {
    /// A call that is already there when the watching begins: remembered, not announced.
    pub fn remember(&self, call: &Call, into: &mut Observations) {
        let kinds = change::kinds_of_first_sight(call);
        let mut snapshot = Snapshot::first(call, kinds, self.now);
        into.first_sight(call, self.now);
        if *call.status() == Status::Live {
            // How long it lasts is news even of a call that was there before.
            self.wait_on(&mut snapshot);
        }
        into.commit.snapshots.push((call.id().clone(), snapshot));
    }

    /// A call that is looked at again, or for the first time after the baseline. Returns whether anything a
    /// person could tell apart has changed.
    pub fn observe(&self, before: Option<&Snapshot>, call: &Call, into: &mut Observations) -> bool {
        let change = change::diff(before, call);
        let kinds = change.as_ref().map_or_else(Default::default, |change| change.kinds);
        let mut snapshot = match before {
            Some(before) => before.next(call, kinds, self.now),
            None => Snapshot::first(call, kinds, self.now),
        };
        match before {
            Some(_) => into.changed += usize::from(change.is_some()),
            None => into.first_sight(call, self.now),
        }
        let changed = change.is_some();
        if let Some(change) = change {
            let content = ContentHash::of_call(call).to_bytes();
            let record = Arc::from(call.raw().to_owned());
            let seen = Seen { id: call.id(), fields: call.fields(), record, content: &content, before };
            self.apply_rules(&seen, &change, &mut snapshot, into);
        }
        into.commit.snapshots.push((call.id().clone(), snapshot));
        changed
    }

    /// A call that is gone from the list for good. What is left of it is what was remembered.
    pub fn observe_deletion(&self, id: &CallId, before: &Snapshot, into: &mut Observations) {
        let Some(change) = change::deletion(before) else { return };
        let Ok(record) = serde_json::value::to_raw_value(&before.fields) else {
            // Fields that came from JSON go back to JSON.
            return;
        };
        into.changed += 1;
        let mut snapshot = before.clone();
        snapshot.deleted = true;
        snapshot.kinds_seen = snapshot.kinds_seen | Kind::Deleted.into();
        // The last state is part of it: a call that came back in another one can be deleted again.
        let last = before.past.last().map_or(0, |(tag, _)| tag.to_bits()).to_be_bytes();
        let content = [&b"deleted"[..], &last].concat();
        let record = record.into();
        let seen = Seen { id, fields: &before.fields, record, content: &content, before: Some(before) };
        self.apply_rules(&seen, &change, &mut snapshot, into);
        into.commit.snapshots.push((id.clone(), snapshot));
    }

    fn apply_rules(
        &self,
        seen: &Seen<'_>,
        change: &Change,
        snapshot: &mut Snapshot,
        into: &mut Observations,
    ) {
        let caller = seen.fields.get("callerNumber").and_then(Value::as_str).map(mask_phone);
        into.signals.push(Signal::Changed {
            source: self.source.clone(),
            call: seen.id.clone(),
            kinds: change.kinds,
            caller: caller.unwrap_or_default(),
        });
        let subject = fire::Subject::new(self.source, change, seen.fields, seen.before, self.now);
        for rule in self.rules {
            let (finding, memory) = subject.look(rule);
            if let Some(memory) = memory {
                snapshot.rules.insert(rule.name.clone(), memory);
            }
            match finding {
                Finding::NotConcerned | Finding::False | Finding::Already | Finding::Waiting(_) => {}
                Finding::Unknown => into.signals.push(Signal::Unknown { rule: rule.name.clone() }),
                Finding::Failed(failure) => into
                    .signals
                    .push(Signal::RuleFailed { rule: rule.name.clone(), error: failure.to_string() }),
                Finding::TooOld => {
                    into.signals.push(Signal::TooOld { rule: rule.name.clone(), call: seen.id.clone() });
                }
                Finding::Fired => self.fire(rule, seen, change, snapshot, into),
            }
        }
    }

    fn fire(
        &self,
        rule: &Rule,
        seen: &Seen<'_>,
        change: &Change,
        snapshot: &mut Snapshot,
        into: &mut Observations,
    ) {
        // A rule that fires once per call has one event per call, whatever the call looked like at that moment:
        // even a store that was lost cannot make a receiver take a repeat for news.
        let once = rule.when.is_some() && !rule.repeat;
        let (content, occurrence) =
            if once { (&b"once"[..], 1) } else { (seen.content, snapshot.occurrence()) };
        let event = Event {
            id: EventId::compute(self.source, seen.id.as_str(), &rule.name, content, occurrence),
            subject: Subject::Call { source: self.source.clone(), call: seen.id.clone() },
            rule: rule.name.clone(),
            kinds: change.kinds,
            changes: change.fields.clone(),
            at: self.now,
            record: Arc::clone(&seen.record),
        };
        self.deliver(rule, event, &mut snapshot.sequences, into);
    }

    /// A call that may not have changed for a while, for the sake of rules with `for`. Whether anything came of it:
    /// then there is a snapshot to be committed.
    pub fn observe_again(&self, id: &CallId, before: &Snapshot, into: &mut Observations) -> bool {
        let mut snapshot = before.clone();
        self.wait_on(&mut snapshot);
        let fired = |rule: &&Rule| {
            let is_over =
                |snapshot: &Snapshot| snapshot.rules.get(&rule.name).is_some_and(|memory| memory.was_true);
            rule.lasting.is_some() && is_over(&snapshot) && !is_over(before)
        };
        let fired: Vec<&Rule> = self.rules.iter().filter(fired).collect();
        if let Ok(record) = serde_json::value::to_raw_value(&before.fields) {
            let content = [&b"lasting"[..], &before.revision.to_be_bytes()].concat();
            let seen = Seen {
                id,
                fields: &before.fields,
                record: record.into(),
                content: &content,
                before: Some(before),
            };
            // Nothing has happened to the call but that time has passed.
            let change = Change { kinds: Kind::Updated.into(), fields: Changes::default() };
            fired.into_iter().for_each(|rule| self.fire(rule, &seen, &change, &mut snapshot, into));
        }
        let anything = snapshot != *before;
        if anything {
            into.commit.snapshots.push((id.clone(), snapshot));
        }
        anything
    }

    /// Lets the rules with `for` look at a call as it is remembered.
    fn wait_on(&self, snapshot: &mut Snapshot) {
        let kinds = snapshot.kinds_now();
        let memories: Vec<_> = {
            let subject = fire::Subject::again(self.source, kinds, snapshot, self.now);
            let lasting = self.rules.iter().filter(|rule| rule.lasting.is_some());
            lasting.filter_map(|rule| Some((rule.name.clone(), subject.look(rule).1?))).collect()
        };
        snapshot.rules.extend(memories);
    }

    /// When rules with `for` want to look at a call again.
    pub fn waits(&self, snapshot: &Snapshot) -> Option<Timestamp> {
        let due = |rule: &Rule| Some(snapshot.rules.get(&rule.name)?.since?.after(rule.lasting?));
        self.rules.iter().filter_map(due).min()
    }

    /// Something that happened to the source itself (`source.failing`, `source.recovered`, `source.silent`): what the
    /// rules that ask for it make of it. `incident`, when it began, tells one incident from the next; `details` describes it;
    /// `sequences` counts what each destination has been told about this source.
    pub fn observe_source(
        &self,
        kind: Kind,
        incident: Timestamp,
        details: &Arc<RawValue>,
        sequences: &mut BTreeMap<Name, u64>,
        into: &mut Observations,
    ) {
        for rule in self.rules.iter().filter(|rule| rule.looks_at(self.source) && rule.on.contains(kind)) {
            let content = format!("{kind}@{}", incident.as_millis());
            let event = Event {
                id: EventId::compute(self.source, "", &rule.name, content.as_bytes(), 1),
                subject: Subject::Source(self.source.clone()),
                rule: rule.name.clone(),
                kinds: kind.into(),
                changes: Changes::default(),
                at: self.now,
                record: Arc::clone(details),
            };
            self.deliver(rule, event, sequences, into);
        }
    }

    /// Adds an event and its deliveries.
    fn deliver(
        &self,
        rule: &Rule,
        event: Event,
        sequences: &mut BTreeMap<Name, u64>,
        into: &mut Observations,
    ) {
        let fields = json::fields(event.record.get()).unwrap_or_default();
        let mut new = NewEvent { event, deliveries: vec![] };
        for destination in &rule.to {
            let sequence = sequences.entry(destination.clone()).or_default();
            *sequence += 1;
            let batch = placement(rule, destination, self.source, &fields);
            new.deliveries.push(NewDelivery {
                destination: destination.clone(),
                sequence: *sequence,
                created: self.now,
                hold: batch.map(|batch| Hold { batch, happened: happened(&fields, self.now) }),
            });
        }
        into.signals.push(fired(&new.event, self.source, rule));
        into.commit.events.push(new);
    }
}

fn fired(event: &Event, source: &Name, rule: &Rule) -> Signal {
    Signal::Fired {
        event: event.id.clone(),
        rule: rule.name.clone(),
        source: source.clone(),
        call: event.subject.call().cloned(),
        kinds: event.kinds,
        destinations: rule.to.clone(),
    }
}

/// A call at the moment of an observation.
struct Seen<'a> {
    id: &'a CallId,
    fields: &'a Map<String, Value>,
    record: Arc<RawValue>,
    content: &'a [u8],
    before: Option<&'a Snapshot>,
}
