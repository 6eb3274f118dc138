//! From rules that fired to events and deliveries. Pure.
//!
//! Rules fire for changes of calls, which `sync` notices, and for incidents: what happens to a source, to a destination or to
//! the config. Whoever notices an incident holds the claim on the duty it is about, and commits what is made of it here like any
//! other event.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};

use crate::{
    batch::BatchKey,
    change::Changes,
    event::{Event, EventId, Subject},
    kind::Kind,
    name::Name,
    rule::{
        Rule,
        pacing::{Placement, placement},
    },
    store::{Hold, NewDelivery, NewEvent},
    telemetry::Signal,
    time::Timestamp,
};

/// Events to be committed, and signals to be emitted once they are.
#[must_use]
#[derive(Debug, Default)]
pub struct Told {
    /// The events of the rules that fired, and those that tell several of them in one message. A rule's own event may have
    /// no delivery left.
    pub events: Vec<NewEvent>,
    /// Signals to emit once they are committed.
    pub signals: Vec<Signal>,
}

impl Told {
    /// Adds what else is told.
    pub fn append(&mut self, mut other: Self) {
        self.events.append(&mut other.events);
        self.signals.append(&mut other.signals);
    }
}

/// Something that happened to a source, a destination or the config.
#[derive(Clone, Debug)]
pub struct Incident<'a> {
    /// The kind of change.
    pub kind: Kind,
    /// The thing it happened to.
    pub subject: Subject,
    /// Identifies the incident among those of its kind and subject. The same incident always makes events with the same ids.
    pub number: String,
    /// The record of its events, an object.
    pub details: &'a Value,
}

impl Incident<'_> {
    /// The events of those `rules` that ask for this incident. `sequences` counts what each destination has been told of the
    /// same subject.
    pub fn tell<'r>(
        &self,
        rules: impl IntoIterator<Item = &'r Rule>,
        sequences: &mut BTreeMap<Name, u64>,
        now: Timestamp,
    ) -> Told {
        let record = to_raw(self.details);
        let content = format!("{}@{}", self.kind, self.number);
        let none = Map::new();
        let fields = self.details.as_object().unwrap_or(&none);
        let about = self.subject.source().or(self.subject.destination()).cloned();
        let about = about.unwrap_or_else(|| Name::from(""));
        let asking = rules.into_iter().filter(|rule| {
            rule.on.contains(self.kind) && self.subject.source().is_none_or(|source| rule.looks_at(source))
        });
        let fired = asking.filter_map(|rule| {
            let event = Event {
                id: EventId::compute(&about, "", &rule.name, content.as_bytes(), 1),
                subject: self.subject.clone(),
                rule: rule.name.clone(),
                also: vec![],
                kinds: self.kind.into(),
                changes: Changes::default(),
                at: now,
                record: Arc::clone(&record),
            };
            Fired::new(rule, event, &about, fields, now)
        });
        tell(fired.collect(), sequences, now)
    }
}

/// JSON as text. Only for values and objects, which always have one.
pub(crate) fn to_raw(json: &impl Serialize) -> Arc<RawValue> {
    #[expect(clippy::expect_used, reason = "a JSON value has text keys and finite numbers, so it has a text")]
    serde_json::value::to_raw_value(json).expect("JSON").into()
}

/// A rule that fired, its event, and where that goes.
pub(crate) struct Fired<'r> {
    rule: &'r Rule,
    event: Event,
    to: Vec<Way>,
}

/// The way of an event to one destination.
struct Way {
    destination: Name,
    /// The batch in which it waits; `None` when it is due at once.
    hold: Option<Hold>,
}

impl<'r> Fired<'r> {
    /// An event of a rule, and the destinations it goes to, each with the batch it waits in, if any. `about` is the source or
    /// destination that it is grouped by, and `fields` are those of the event's record. `None` when the rule names destinations
    /// and none of them is told.
    ///
    /// An event about a destination does not go there: if it is in trouble, nobody would see it.
    pub(crate) fn new(
        rule: &'r Rule,
        event: Event,
        about: &Name,
        fields: &Map<String, Value>,
        now: Timestamp,
    ) -> Option<Self> {
        let told = rule.to.iter().filter(|to| {
            rule.tells(to, event.kinds, &event.changes) && event.subject.destination() != Some(*to)
        });
        let way = |destination: &Name| Way {
            destination: destination.clone(),
            hold: placement(rule, destination, about, fields).map(|Placement { batch, happened }| Hold {
                batch,
                happened: happened.map_or(now, |at| at.min(now)),
            }),
        };
        let to: Vec<_> = told.map(way).collect();
        (!to.is_empty() || rule.to.is_empty()).then_some(Self { rule, event, to })
    }
}

impl Way {
    /// Whether this delivery may be joined with those of other rules. One that waits because of its rule's own pacing may not,
    /// since pacing counts, limits and sends by rule. One that waits only for the end of quiet hours may.
    fn may_be_joined(&self) -> bool {
        self.hold.as_ref().is_none_or(|hold| hold.batch == BatchKey::Quiet)
    }
}

/// The events of all rules that fired on one observation, in the order of the config, and their deliveries.
/// `sequences` counts what each destination has been told of the same subject.
///
/// Where several of the rules tell the same destination, and it wants one message about all of them, one event in their
/// place goes there: that of the most severe rule (of several, the first), which names the others. Each rule's own event
/// stays, with the deliveries that are left to it.
pub(crate) fn tell(mut fired: Vec<Fired<'_>>, sequences: &mut BTreeMap<Name, u64>, now: Timestamp) -> Told {
    let mut told = Told::default();
    for Fired { rule, event, to } in &fired {
        told.signals.push(Signal::Fired {
            event: event.id.clone(),
            rule: rule.name.clone(),
            source: event.subject.source().cloned(),
            call: event.subject.call().cloned(),
            kinds: event.kinds,
            destinations: to.iter().map(|way| way.destination.clone()).collect(),
            waits: to.iter().filter_map(|way| Some((&way.hold.as_ref()?.batch).into())).collect(),
        });
    }
    let joined = join(&mut fired);
    for (event, to) in &joined {
        told.signals.push(Signal::Joined {
            event: event.id.clone(),
            rules: event.rules().cloned().collect(),
            source: event.subject.source().cloned(),
            call: event.subject.call().cloned(),
            destinations: to.iter().map(|way| way.destination.clone()).collect(),
        });
    }
    for (event, to) in fired.into_iter().map(|fired| (fired.event, fired.to)).chain(joined) {
        let delivery = |Way { destination, hold }| {
            let sequence = sequences.entry(Name::clone(&destination)).or_default();
            *sequence += 1;
            NewDelivery { destination, sequence: *sequence, created: now, hold }
        };
        told.events.push(NewEvent { deliveries: to.into_iter().map(delivery).collect(), event });
    }
    told
}

/// Takes the ways that can be joined out of `fired`, and returns the events that go there in place of several.
fn join(fired: &mut [Fired<'_>]) -> Vec<(Event, Vec<Way>)> {
    // Which rules, by their places, tell a destination the same way.
    let mut rules: BTreeMap<(Name, Option<BatchKey>), BTreeSet<usize>> = BTreeMap::new();
    for (place, Fired { rule, to, .. }) in fired.iter().enumerate() {
        let joinable = to.iter().filter(|way| way.may_be_joined() && rule.merging.contains(&way.destination));
        for Way { destination, hold } in joinable {
            let batch = hold.as_ref().map(|hold| hold.batch.clone());
            rules.entry((destination.clone(), batch)).or_default().insert(place);
        }
    }
    // Destinations that are told of the same rules share an event.
    let mut joined: BTreeMap<BTreeSet<usize>, Vec<Way>> = BTreeMap::new();
    for ((destination, batch), places) in rules.into_iter().filter(|(_, places)| places.len() > 1) {
        let is_it = |way: &Way| {
            way.destination == destination && way.hold.as_ref().map(|hold| &hold.batch) == batch.as_ref()
        };
        let mut taken = None;
        for place in &places {
            taken = fired[*place].to.extract_if(.., |way| is_it(way)).next().or(taken);
        }
        joined.entry(places).or_default().extend(taken);
    }
    joined.into_iter().filter_map(|(places, to)| Some((event_of(&places, fired)?, to))).collect()
}

/// The event in place of those of the rules at these places; `None` when there are none.
fn event_of(places: &BTreeSet<usize>, fired: &[Fired<'_>]) -> Option<Event> {
    let of = || places.iter().map(|place| &fired[*place]);
    // Of rules that matter as much it is the first.
    let first = of().min_by_key(|fired| Reverse(fired.rule.text.severity))?;
    Some(Event {
        id: EventId::of_several(of().map(|fired| &fired.event.id)),
        also: of().map(|fired| &fired.rule.name).filter(|name| **name != first.rule.name).cloned().collect(),
        ..first.event.clone()
    })
}
