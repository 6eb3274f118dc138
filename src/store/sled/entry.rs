//! An entry: deliveries that were committed together, their heads and their events.
//!
//! ```text
//! `o` first:  head: where each delivery's head ends, u32 LE │ body: the heads, each a [`Head`] in postcard
//! `e` first:  head: number of events: u16 LE │ where each event ends, u32 LE │ per delivery the place of its event, u16 LE
//!             body: the events, each as JSON, its record byte for byte
//! ```
//!
//! The n-th delivery has the number `first + n`. Both keys are written with their entry and never change; they go when
//! none of its deliveries is left.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{
    fault::Fault,
    value::{self, Ends},
};
use crate::{
    batch::BatchKey,
    event::{Event, EventId, Subject},
    name::Name,
    store::{DeliveryId, DeliveryRecord, DeliveryState, Hold, NewDelivery, Token},
    time::Timestamp,
};

/// How a delivery begins. Its fields in postcard, in this order; batches stand as their texts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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
}

/// A [`Subject`].
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
pub(super) struct Names(HashSet<Name>);

impl Names {
    pub(super) fn get(&mut self, text: &str) -> Name {
        match self.0.get(text) {
            Some(name) => name.clone(),
            None => {
                let name = Name::from(text);
                self.0.insert(name.clone());
                name
            }
        }
    }
}

impl<'a> Head<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Fault> {
        value::from_compact(bytes)
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

    pub(super) fn subject(&self, names: &mut Names) -> Result<Subject, Fault> {
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
    pub(super) fn record(&self, number: u64, names: &mut Names) -> Result<DeliveryRecord, Fault> {
        Ok(DeliveryRecord {
            token: Token(number),
            id: DeliveryId { event: EventId::from(self.event), destination: names.get(self.destination) },
            subject: self.subject(names)?,
            rule: names.get(self.rule),
            sequence: self.sequence,
            created: self.created,
            happened: self.hold.map_or(self.created, |(_, happened)| happened),
            state: match self.hold()? {
                Some(hold) => DeliveryState::Held { batch: hold.batch },
                None => DeliveryState::Pending { due: self.created },
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
    /// Adds a delivery. Deliveries of one event that follow each other share its body.
    pub(super) fn add(&mut self, event: &Event, new: &NewDelivery) -> Result<(), Fault> {
        let batch = |batch: &BatchKey| batch.to_string();
        let hold = new.hold.as_ref().map(|hold| (batch(&hold.batch), hold.happened));
        let of_batch = event.subject.batch().map(batch).unwrap_or_default();
        let head = Head {
            event: event.id.as_str(),
            destination: new.destination.as_str(),
            subject: match &event.subject {
                Subject::Call { source, call } => About::Call { source: source.as_str(), call: call.as_str() },
                Subject::Source(name) => About::Source(name.as_str()),
                Subject::Destination(name) => About::Destination(name.as_str()),
                Subject::Batch(_) => About::Batch(&of_batch),
                Subject::Config => About::Config,
            },
            rule: event.rule.as_str(),
            sequence: new.sequence,
            created: new.created,
            hold: hold.as_ref().map(|(batch, happened)| (batch.as_str(), *happened)),
        };
        self.heads.extend(value::to_compact(&head)?);
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

    /// How many deliveries it has.
    pub(super) fn len(&self) -> usize {
        self.event_of.len() / 2
    }

    /// How many bytes it will take.
    pub(super) fn bytes(&self) -> usize {
        self.heads.len() + self.events.len()
    }

    /// Head and body of the heads.
    pub(super) fn heads(&self) -> (&[u8], &[u8]) {
        (&self.head_ends, &self.heads)
    }

    /// Head and body of the events.
    pub(super) fn events(&self) -> (Vec<u8>, &[u8]) {
        let number = (self.event_ends.len() / 4) as u16;
        ([&number.to_le_bytes()[..], &self.event_ends, &self.event_of].concat(), &self.events)
    }
}

/// The head of an entry's events: which event is whose, and where it stands.
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

    /// Where the n-th delivery's event stands in the body; `None` when the entry has fewer deliveries.
    pub(super) fn range(&self, delivery: usize) -> Option<std::ops::Range<usize>> {
        let place = u16::from_le_bytes(*self.event_of.get(2 * delivery..)?.first_chunk()?);
        self.ends.range(place.into())
    }
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
            let event = event(&format!("evt_{number}"), subject);
            for destination in ["crm", "mail"] {
                let hold = (number % 2 == 0).then(|| Hold { batch: batch.clone(), happened: Timestamp::from_millis(-3) });
                let new = NewDelivery {
                    destination: destination.into(),
                    sequence: number,
                    created: Timestamp::from_millis(9),
                    hold,
                };
                writer.add(&event, &new).unwrap();
                let number = expected.len() as u64;
                expected.push((DeliveryRecord::new(Token(number), &new, &event), event.clone()));
            }
        }
        assert_eq!(writer.len(), expected.len());
        let (head, heads) = writer.heads();
        let (events_head, events) = writer.events();
        let of_events = EventsHead::read(&events_head).unwrap();
        let mut names = Names::default();
        for (place, (record, event)) in expected.iter().enumerate() {
            let head = Head::read(&heads[Ends(head).range(place).unwrap()]).unwrap();
            assert_eq!(head.record(place as u64, &mut names).unwrap(), *record);
            let read: Event = value::from_json(&events[of_events.range(place).unwrap()]).unwrap();
            assert_eq!((&read.id, read.record.get()), (&event.id, event.record.get()));
        }
        assert!(of_events.range(expected.len()).is_none() && Ends(head).range(expected.len()).is_none());
    }
}
