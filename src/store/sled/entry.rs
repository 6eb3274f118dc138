//! An entry: deliveries that were committed together, their heads and their events.
//!
//! ```text
//! `o` first:  head: where each delivery's head ends, u32 LE │ body: the heads, each a [`Head`] in postcard; behind it, if its
//!             event tells several rules, the names of the others in postcard
//! `e` first:  head: number of events: u16 LE │ where each event ends, u32 LE │ per delivery the place of its event, u16 LE
//!             body: the events, each as JSON, its record byte for byte
//! ```
//!
//! The n-th delivery, from 0, has the number `first + n`. Both keys are written with their entry, and removed when none of its
//! deliveries is left. Heads never change. Events change only when a call is forgotten: an event about it becomes empty, and a
//! summary loses it.

use std::{borrow::Cow, cell::RefCell, collections::HashSet};

use serde::{Deserialize, Serialize};

use ::sled::IVec;

use super::{
    block::Traits,
    fault::Fault,
    keys::{self, Key},
    overlay::Overlay,
    value::{self, Ends},
};
use crate::{
    batch::BatchKey,
    event::{Event, EventId, Subject},
    name::Name,
    store::{DeliveryId, DeliveryRecord, DeliveryState, Hold, NewDelivery, Token},
    time::{Deadline, Timestamp},
};

/// A delivery as it was made: its fields in postcard, in this order; a batch is written as its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Head<'a> {
    pub(super) event: &'a str,
    pub(super) destination: &'a str,
    #[serde(borrow)]
    pub(super) subject: About<'a>,
    pub(super) rule: &'a str,
    pub(super) sequence: u64,
    pub(super) created: Timestamp,
    /// The batch, and when the thing happened.
    pub(super) hold: Option<(&'a str, Timestamp)>,
    /// The other rules that the event tells. They stand behind the rest, because most events tell one rule.
    #[serde(skip)]
    pub(super) also: Vec<&'a str>,
}

/// A [`Subject`] as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum About<'a> {
    Call { source: &'a str, call: &'a str },
    Source(&'a str),
    Destination(&'a str),
    Batch(&'a str),
    Config,
}

/// Names that were read before, so that a million heads share a few texts.
#[derive(Default)]
pub(super) struct Names(RefCell<HashSet<Name>>);

impl Names {
    pub(super) fn get(&self, text: &str) -> Name {
        let mut known = self.0.borrow_mut();
        if let Some(name) = known.get(text) {
            return name.clone();
        }
        let name = Name::from(text);
        known.insert(name.clone());
        name
    }
}

impl<'a> Head<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Fault> {
        let (head, rest) = value::take_compact(bytes)?;
        let also = if rest.is_empty() { vec![] } else { value::from_compact(rest)? };
        Ok(Self { also, ..head })
    }

    fn to_bytes(&self) -> Result<Vec<u8>, Fault> {
        let mut bytes = value::to_compact(self)?;
        if !self.also.is_empty() {
            bytes.extend(value::to_compact(&self.also)?);
        }
        Ok(bytes)
    }

    /// The rules that the event tells.
    pub(super) fn rules(&self) -> impl Iterator<Item = &'a str> {
        std::iter::once(self.rule).chain(self.also.iter().copied())
    }

    pub(super) fn source(&self) -> Option<&'a str> {
        match self.subject {
            About::Call { source, .. } | About::Source(source) => Some(source),
            _ => None,
        }
    }

    pub(super) fn call(&self) -> Option<&'a str> {
        match self.subject {
            About::Call { call, .. } => Some(call),
            _ => None,
        }
    }

    pub(super) fn subject(&self, names: &Names) -> Result<Subject, Fault> {
        Ok(match self.subject {
            About::Call { source, call } => Subject::Call { source: names.get(source), call: call.into() },
            About::Source(name) => Subject::Source(names.get(name)),
            About::Destination(name) => Subject::Destination(names.get(name)),
            About::Batch(batch) => Subject::Batch(to_batch(batch)?),
            About::Config => Subject::Config,
        })
    }

    pub(super) fn hold(&self) -> Result<Option<Hold>, Fault> {
        let hold = |(batch, happened)| Ok(Hold { batch: to_batch(batch)?, happened });
        self.hold.map(hold).transpose()
    }

    /// The delivery as it was made.
    pub(super) fn record(&self, number: u64, names: &Names) -> Result<DeliveryRecord, Fault> {
        Ok(DeliveryRecord {
            token: Token(number),
            id: DeliveryId { event: EventId::from(self.event), destination: names.get(self.destination) },
            subject: self.subject(names)?,
            rule: names.get(self.rule),
            also: self.also.iter().map(|rule| names.get(rule)).collect(),
            sequence: self.sequence,
            created: self.created,
            happened: self.hold.map_or(self.created, |(_, happened)| happened),
            state: match self.hold()? {
                Some(hold) => DeliveryState::Held { batch: hold.batch },
                None => DeliveryState::Pending { due: Deadline::at_once(self.created) },
            },
            attempts: 0,
            log: vec![],
            restart: None,
        })
    }
}

/// Reads the text of a batch.
pub(super) fn to_batch(text: &str) -> Result<BatchKey, Fault> {
    text.parse().map_err(|_| Fault::Damaged("a batch cannot be read"))
}

/// The heads of an entry, as they were read.
pub(super) struct Entry {
    pub(super) first: u64,
    ends: Vec<u8>,
    heads: Vec<u8>,
}

impl Entry {
    /// Opens the sealed heads found at `key`.
    pub(super) fn open(view: &Overlay, key: &IVec, sealed: &[u8]) -> Result<Self, Fault> {
        let first = keys::last_number(key).ok_or(Fault::Damaged("a key cannot be read"))?;
        let value = value::unseal(key, sealed)?;
        let heads = view.body(&Key::from(key.clone()), value)?.into_owned();
        Ok(Self { first, ends: value.head.to_vec(), heads })
    }

    /// The entry that a delivery belongs to; `None` when it does not exist.
    pub(super) fn of(view: &Overlay, number: u64) -> Result<Option<Self>, Fault> {
        let found = view.last_up_to(&keys::all_heads(), &keys::heads(number))?;
        let entry = found.map(|(key, sealed)| Self::open(view, &key, &sealed)).transpose()?;
        Ok(entry.filter(|entry| entry.contains(number)))
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        (self.first..self.end()).contains(&number)
    }

    /// The number after its last delivery.
    pub(super) fn end(&self) -> u64 {
        self.first + Ends(&self.ends).len() as u64
    }

    /// The head of one of its deliveries.
    pub(super) fn head(&self, number: u64) -> Result<Head<'_>, Fault> {
        let place = number.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        let range = place.and_then(|place| Ends(&self.ends).range(place));
        let bytes = range.and_then(|range| self.heads.get(range));
        Head::read(bytes.ok_or(Fault::Damaged("a delivery is missing in its entry"))?)
    }

    /// All heads with their numbers, in order.
    pub(super) fn heads(&self) -> impl DoubleEndedIterator<Item = (u64, Result<Head<'_>, Fault>)> {
        (self.first..self.end()).map(|number| (number, self.head(number)))
    }
}

/// Heads and events of an entry as they will be written.
#[derive(Default)]
pub(super) struct EntryWriter {
    heads: Vec<u8>,
    head_ends: Vec<u8>,
    events: Vec<u8>,
    event_ends: Vec<u8>,
    event_of: Vec<u8>,
    last_event: Option<EventId>,
}

impl EntryWriter {
    /// Adds a delivery, and its traits to those of its block. Deliveries of one event that follow each other share its body.
    pub(super) fn add(&mut self, event: &Event, new: &NewDelivery, traits: &mut Traits) -> Result<(), Fault> {
        let batch = |batch: &BatchKey| batch.to_string();
        let hold = new.hold.as_ref().map(|hold| (batch(&hold.batch), hold.happened));
        let of_batch = event.subject.batch().map(batch).unwrap_or_default();
        let head = Head {
            event: event.id.as_str(),
            destination: new.destination.as_str(),
            subject: match &event.subject {
                Subject::Call { source, call } => {
                    About::Call { source: source.as_str(), call: call.as_str() }
                }
                Subject::Source(name) => About::Source(name.as_str()),
                Subject::Destination(name) => About::Destination(name.as_str()),
                Subject::Batch(_) => About::Batch(&of_batch),
                Subject::Config => About::Config,
            },
            rule: event.rule.as_str(),
            sequence: new.sequence,
            created: new.created,
            hold: hold.as_ref().map(|(batch, happened)| (batch.as_str(), *happened)),
            also: event.also.iter().map(Name::as_str).collect(),
        };
        traits.add(&head);
        self.heads.extend(head.to_bytes()?);
        self.head_ends.extend((self.heads.len() as u32).to_le_bytes());
        if self.last_event.as_ref() != Some(&event.id) {
            self.events.extend(value::to_json(event)?);
            self.event_ends.extend((self.events.len() as u32).to_le_bytes());
            self.last_event = Some(event.id.clone());
        }
        let place = (self.event_ends.len() / 4 - 1) as u16;
        self.event_of.extend(place.to_le_bytes());
        Ok(())
    }

    /// The size it will have, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.heads.len() + self.events.len()
    }

    /// The head and the body of the value with the heads.
    pub(super) fn heads(&self) -> (&[u8], &[u8]) {
        (&self.head_ends, &self.heads)
    }

    /// The head and the body of the value with the events.
    pub(super) fn events(&self) -> (Vec<u8>, &[u8]) {
        let number = (self.event_ends.len() / 4) as u16;
        ([&number.to_le_bytes()[..], &self.event_ends, &self.event_of].concat(), &self.events)
    }
}

/// The head of an entry's events: which event belongs to which delivery, and where it is in the body.
pub(super) struct EventsHead<'b> {
    ends: Ends<'b>,
    event_of: &'b [u8],
}

impl<'b> EventsHead<'b> {
    pub(super) fn read(head: &'b [u8]) -> Result<Self, Fault> {
        let read = || {
            let (number, rest) = head.split_first_chunk()?;
            let (ends, event_of) = rest.split_at_checked(4 * usize::from(u16::from_le_bytes(*number)))?;
            Some(Self { ends: Ends(ends), event_of })
        };
        read().ok_or(Fault::Damaged("the events of an entry cannot be read"))
    }

    /// How many deliveries the entry has.
    pub(super) fn len(&self) -> usize {
        self.event_of.len() / 2
    }

    /// Where the n-th delivery's event stands in the body; `None` when the entry has fewer deliveries.
    pub(super) fn range(&self, delivery: usize) -> Option<std::ops::Range<usize>> {
        let place = u16::from_le_bytes(*self.event_of.get(2 * delivery..)?.first_chunk()?);
        self.ends.range(place.into())
    }
}

/// The head and the body of an entry's events, rewritten: `exchange` gets the places of an event's deliveries in the entry and
/// its JSON, and returns the new JSON.
pub(super) fn with_events<'b>(
    head: &'b [u8],
    body: &'b [u8],
    exchange: impl Fn(&[u64], &'b [u8]) -> Cow<'b, [u8]>,
) -> Result<(Vec<u8>, Vec<u8>), Fault> {
    let EventsHead { ends, event_of } = EventsHead::read(head)?;
    let mut deliveries: Vec<Vec<u64>> = vec![vec![]; ends.len()];
    for (delivery, place) in (0..).zip(event_of.chunks_exact(2)) {
        let place = usize::from(u16::from_le_bytes([place[0], place[1]]));
        deliveries
            .get_mut(place)
            .ok_or(Fault::Damaged("the events of an entry cannot be read"))?
            .push(delivery);
    }
    let (mut new_ends, mut new_body) = (vec![], vec![]);
    for (place, deliveries) in deliveries.iter().enumerate() {
        let json = ends.range(place).and_then(|range| body.get(range));
        let json = json.ok_or(Fault::Damaged("the events of an entry cannot be read"))?;
        new_body.extend_from_slice(&exchange(deliveries, json));
        new_ends.extend((new_body.len() as u32).to_le_bytes());
    }
    Ok(([&(deliveries.len() as u16).to_le_bytes()[..], &new_ends, event_of].concat(), new_body))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::value::RawValue;

    use super::*;
    use crate::{change::Changes, kind::Kinds};

    fn event(id: &str, subject: Subject) -> Event {
        let record = format!(r#"{{ "id" : "{id}" }}"#);
        Event {
            id: id.into(),
            subject,
            rule: "booked".into(),
            also: vec![],
            kinds: Kinds::NONE,
            changes: Changes::default(),
            at: Timestamp::from_millis(5),
            record: Arc::from(RawValue::from_string(record).unwrap()),
        }
    }

    #[test]
    fn heads_and_events_come_back_one_by_one() {
        let batch = BatchKey::Group { rule: "booked".into(), by: 7 };
        let subjects = [
            Subject::Call { source: "clinic".into(), call: "a\0".into() },
            Subject::Source("clinic".into()),
            Subject::Destination("crm".into()),
            Subject::Batch(batch.clone()),
            Subject::Config,
        ];
        let mut writer = EntryWriter::default();
        let mut expected = vec![];
        for (number, subject) in (0_u64..).zip(subjects) {
            let mut event = event(&format!("evt_{number}"), subject);
            event.also = ["vip", "long"].into_iter().take(number as usize % 3).map(Name::from).collect();
            for destination in ["crm", "mail"] {
                let hold = (number % 2 == 0)
                    .then(|| Hold { batch: batch.clone(), happened: Timestamp::from_millis(-3) });
                let new = NewDelivery {
                    destination: destination.into(),
                    sequence: number,
                    created: Timestamp::from_millis(9),
                    hold,
                };
                writer.add(&event, &new, &mut Traits::default()).unwrap();
                let number = expected.len() as u64;
                expected.push((DeliveryRecord::new(Token(number), &new, &event), event.clone()));
            }
        }
        let (head, heads) = writer.heads();
        let (events_head, events) = writer.events();
        let of_events = EventsHead::read(&events_head).unwrap();
        let names = Names::default();
        for (place, (record, event)) in expected.iter().enumerate() {
            let head = Head::read(&heads[Ends(head).range(place).unwrap()]).unwrap();
            assert_eq!(head.record(place as u64, &names).unwrap(), *record);
            let read: Event = value::from_json(&events[of_events.range(place).unwrap()]).unwrap();
            assert_eq!((&read.id, read.record.get()), (&event.id, event.record.get()));
        }
        assert!(of_events.range(expected.len()).is_none() && Ends(head).range(expected.len()).is_none());
    }
}
