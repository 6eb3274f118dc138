//! From the rules that fired on one observation to events and deliveries. Pure.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::{Observation, look::Look};
use crate::{
    batch::BatchKey,
    event::{Event, EventId},
    name::Name,
    rule::Rule,
    store::{Hold, NewDelivery, NewEvent},
    telemetry::Signal,
};

/// A rule that fired, its event, and where that goes.
pub(super) struct Fired<'r> {
    pub rule: &'r Rule,
    pub event: Event,
    pub to: Vec<Way>,
}

/// The way of an event to one destination.
pub(super) struct Way {
    pub destination: Name,
    /// The batch in which it waits; `None` when it is due at once.
    pub hold: Option<Hold>,
}

impl Way {
    /// Whether it may be joined with those of other rules. What waits because of its rule's own pacing may not: it is
    /// counted, limited and told by rule. What waits only in quiet hours may: it is due at once in all others.
    fn may_be_joined(&self) -> bool {
        self.hold.as_ref().is_none_or(|hold| hold.batch == BatchKey::Quiet)
    }
}

/// Adds the events of all rules that fired in one look, in the order of the config, and their deliveries.
/// `sequences` counts what each destination has been told of the same subject.
///
/// Where several of the rules tell the same destination, and it wants one message about all of them, one event in their
/// place goes there: that of the most severe rule (of several, the first), which names the others. Each rule's own event
/// stays, with the deliveries that are left to it.
pub(super) fn tell(
    look: Look<'_>,
    mut fired: Vec<Fired<'_>>,
    sequences: &mut BTreeMap<Name, u64>,
    made: &mut Observation,
) {
    for Fired { rule, event, to } in &fired {
        made.signals.push(Signal::Fired {
            event: event.id.clone(),
            rule: rule.name.clone(),
            source: look.source.clone(),
            call: event.subject.call().cloned(),
            kinds: event.kinds,
            destinations: to.iter().map(|way| way.destination.clone()).collect(),
        });
    }
    let joined = join(&mut fired);
    for (event, to) in &joined {
        made.signals.push(Signal::Joined {
            event: event.id.clone(),
            rules: event.rules().cloned().collect(),
            source: look.source.clone(),
            call: event.subject.call().cloned(),
            destinations: to.iter().map(|way| way.destination.clone()).collect(),
        });
    }
    for (event, to) in fired.into_iter().map(|fired| (fired.event, fired.to)).chain(joined) {
        let delivery = |Way { destination, hold }| {
            let sequence = sequences.entry(Name::clone(&destination)).or_default();
            *sequence += 1;
            NewDelivery { destination, sequence: *sequence, created: look.now, hold }
        };
        made.events.push(NewEvent { deliveries: to.into_iter().map(delivery).collect(), event });
    }
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
