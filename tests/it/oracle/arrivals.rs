//! The arrivals at the receivers, lane by lane.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use callwatch::demo::{
    books::Books,
    receivers::{Arrival, Message},
    sighting::Sighting,
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::crowd::{Crowd, Member};

/// Everything that has arrived. Repeats are compared with the first arrival and then forgotten.
pub struct Arrivals {
    pub members: Vec<Arc<Member>>,
    /// Without promises: they count repeats, and find those that say something else.
    books: Books,
    /// First arrivals in their order, by destination and call.
    pub lanes: BTreeMap<(&'static str, String), Vec<First>>,
}

/// The first arrival of a message.
pub struct First {
    pub sighting: Sighting,
    pub payload: Payload,
}

pub enum Payload {
    /// The body, and the bytes of the call's record in it.
    Webhook(Value, String),
    Slack,
    /// The recipients who have the mail by now. A repeat goes to those who do not have it yet.
    Mail(BTreeSet<String>),
}

/// How titles that are a warning begin in Slack and in mails.
pub const MARKS: [&str; 2] = ["⚠️ Warning: ", "Warning: "];

impl Arrivals {
    pub fn at(crowd: &Crowd) -> Self {
        let names = crowd.members.iter().map(|member| member.name.into());
        Self { members: crowd.members.clone(), books: Books::new(&[], names), lanes: BTreeMap::new() }
    }

    /// Takes in what has arrived since the last time. Returns how many messages arrived for the first time.
    ///
    /// # Panics
    /// When a repeat differs from the first arrival, or a receiver refused a message because it was wrong.
    pub fn collect(&mut self) -> usize {
        let mut count = 0;
        for member in &self.members {
            let (name, inbox) = (member.name, member.receiver.inbox());
            assert_eq!(inbox.last_refusal(), None, "at {name}");
            for arrival in inbox.take() {
                let (call, message) = First::read(&arrival);
                let is_repeat = self.books.arrived(&name.into(), &message.sighting, |_| false).is_repeat;
                let altered = self.books.receipts(&name.into()).map_or(0, |receipts| receipts.altered);
                assert_eq!(altered, 0, "a repeat of {} says something else at {name}", arrival.id);
                let lane = self.lanes.entry((name, call)).or_default();
                if !is_repeat {
                    lane.push(message);
                    count += 1;
                } else if let Payload::Mail(recipients) = message.payload {
                    let mut firsts = lane.iter_mut().filter(|first| first.sighting.id == arrival.id);
                    let Some(First { payload: Payload::Mail(have_it), .. }) = firsts.next() else {
                        panic!("a repeat of {} is about another call", arrival.id)
                    };
                    have_it.extend(recipients);
                }
            }
        }
        count
    }

    /// How many messages arrived for the first time, and how many were repeats.
    pub fn counts(&self) -> (u64, u64) {
        let receipts = self.members.iter().filter_map(|member| self.books.receipts(&member.name.into()));
        receipts.fold((0, 0), |(firsts, repeats), it| (firsts + it.unique(), repeats + it.repeats))
    }

    /// The messages that a destination got about a call, in order.
    pub fn lane(&self, destination: &'static str, call: &str) -> &[First] {
        self.lanes.get(&(destination, call.to_owned())).map_or(&[], Vec::as_slice)
    }
}

impl First {
    /// Reads an arrival, and which call it is about.
    fn read(arrival: &Arrival) -> (String, Self) {
        let sighting = Sighting::of(arrival);
        // The titles of this config name the call in their second word, behind the mark of their severity.
        let title = MARKS.iter().find_map(|mark| sighting.headline.strip_prefix(mark));
        let title = title.unwrap_or(&sighting.headline);
        let named = || title.split(' ').nth(1).unwrap_or_default().to_owned();
        let (call, payload) = match &arrival.message {
            Message::Webhook { body, verified, .. } => {
                assert!(verified);
                (sighting.call.clone().unwrap(), read_webhook(body))
            }
            Message::Slack(_) => (named(), Payload::Slack),
            Message::Mail(mail) => {
                assert!(std::str::from_utf8(&mail.data).is_ok());
                (named(), Payload::Mail(mail.to.iter().cloned().collect()))
            }
        };
        (call, Self { sighting, payload })
    }
}

fn read_webhook(body: &[u8]) -> Payload {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        data: Option<Data<'a>>,
        #[serde(borrow)]
        call: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(borrow)]
        call: &'a RawValue,
    }
    let Body { data, call } = serde_json::from_slice(body).unwrap();
    let record = data.map(|data| data.call).or(call).unwrap().get().to_owned();
    Payload::Webhook(serde_json::from_slice(body).unwrap(), record)
}
