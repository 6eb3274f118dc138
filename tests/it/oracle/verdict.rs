//! What arrived, compared with the truth.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use callwatch::demo::receivers::{Arrival, Mail, Message};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    crowd::{Crowd, Member},
    history::{Histories, History, State},
    truth::{Seen, Told, lanes},
};

/// Everything that arrived, and in which order.
pub struct Arrivals(Vec<Postbox>);

/// What arrived at one receiver.
struct Postbox {
    member: Arc<Member>,
    /// What arrived for the first time, in order, by call.
    lanes: BTreeMap<String, Vec<First>>,
    /// Where each id's first arrival is.
    places: HashMap<String, (String, usize)>,
    repeats: u64,
}

/// Something that arrived for the first time.
struct First {
    /// The event's, but for Slack.
    id: String,
    what: What,
}

/// Repeats are equal.
#[derive(PartialEq)]
enum What {
    /// The body, and of it the call's record.
    Webhook(Value, String),
    Slack(String),
    /// The subject, the text, and who has it.
    Mail(String, String, BTreeSet<String>),
}

/// What was to be delivered, and with which event.
pub struct Expected {
    pub destination: &'static str,
    pub call: String,
    pub sequence: u64,
    pub rule: &'static str,
    /// Where it is known.
    pub event: Option<String>,
    pub has_arrived: bool,
}

impl Arrivals {
    pub fn at(crowd: &Crowd) -> Self {
        let postbox = |member: &Arc<Member>| Postbox {
            member: Arc::clone(member),
            lanes: BTreeMap::new(),
            places: HashMap::new(),
            repeats: 0,
        };
        Self(crowd.members.iter().map(postbox).collect())
    }

    /// Takes in what has arrived since the last time; says how much of it arrived for the first time.
    ///
    /// # Panics
    /// When a repeat is not what arrived first, or something was refused because it was wrong.
    pub fn collect(&mut self) -> usize {
        let mut count = 0;
        for postbox in &mut self.0 {
            let inbox = postbox.member.inbox();
            assert_eq!(inbox.last_refusal(), None, "at {}", postbox.member.name);
            let known = postbox.places.len();
            inbox.take().iter().for_each(|arrival| postbox.take(arrival));
            count += postbox.places.len() - known;
        }
        count
    }

    /// How many arrived for the first time, and how many were repeats.
    pub fn counts(&self) -> (usize, u64) {
        let firsts = self.0.iter().map(|postbox| postbox.places.len()).sum();
        (firsts, self.0.iter().map(|postbox| postbox.repeats).sum())
    }

    /// Everything that was to be delivered, when that is what arrived; else what is wrong.
    pub fn judge(&self, histories: &Histories) -> Result<Vec<Expected>, String> {
        let mut expected = vec![];
        let mut events = Events::default();
        for (id, history) in &histories.calls {
            let seen = self.seen(histories, id, history).map_err(|why| format!("{id}: {why}"))?;
            let known = history.is_old.then(|| &history.states[0].record);
            let mut told = lanes(known, &seen);
            for postbox in &self.0 {
                let name = postbox.member.name;
                let told = told.remove(name).unwrap_or_default();
                let arrived = postbox.lanes.get(id).map_or(&[][..], Vec::as_slice);
                let lane = compare(name, told, arrived, &mut events);
                expected.extend(lane.map_err(|why| format!("{id} at {name}: {why}"))?);
            }
            assert!(told.is_empty(), "every destination has a receiver");
        }
        for postbox in &self.0 {
            let made_up = postbox.lanes.keys().find(|id| !histories.calls.contains_key(*id));
            made_up
                .map_or(Ok(()), |id| Err(format!("{id} never was, and yet at {}", postbox.member.name)))?;
        }
        Ok(expected)
    }

    /// The states of a call that callwatch has seen, by the feed: some of those it had, in their order; among them
    /// every one that it cannot have missed, and the last.
    fn seen<'a>(
        &self,
        histories: &Histories,
        id: &str,
        history: &'a History,
    ) -> Result<Vec<Seen<'a>>, String> {
        let crm = self.0.iter().find(|postbox| postbox.member.name == "crm").unwrap();
        let mut seen = vec![];
        let mut next = usize::from(history.is_old);
        let may_skip = |states: &[State]| match states.iter().find(|state| histories.was_committed(state)) {
            Some(state) => Err(format!("not told of: {}", shown(&state.record))),
            None => Ok(()),
        };
        for first in crm.lanes.get(id).into_iter().flatten() {
            let What::Webhook(body, record) = &first.what else { panic!("crm gets webhooks") };
            if body["data"]["rule"] != "feed" {
                continue;
            }
            if body["data"]["kinds"] == json!(["deleted"]) && history.is_deleted {
                may_skip(&history.states[next..])?;
                next = history.states.len();
                seen.push(Seen::Gone);
                continue;
            }
            let skipped = history.states[next..].iter().position(|state| state.text == *record);
            let skipped = skipped.ok_or_else(|| format!("not so now: {}", shown(&body["data"]["call"])))?;
            may_skip(&history.states[next..next + skipped])?;
            let state = &history.states[next + skipped];
            next += skipped + 1;
            seen.push(Seen::As(&state.record, &state.text));
        }
        let is_known = history.is_old || !seen.is_empty();
        match seen.last() {
            Some(Seen::Gone) => {}
            _ if history.is_deleted && is_known => return Err("its end was not told".to_owned()),
            _ if history.is_deleted => may_skip(&history.states)?,
            _ if next < history.states.len() => {
                return Err(format!("its last state was not told: {}", shown(&history.states[next].record)));
            }
            _ => {}
        }
        Ok(seen)
    }
}

/// Without what is long.
fn shown(call: &Value) -> String {
    let mut call = call.clone();
    call.as_object_mut().map(|call| call.remove("transcript"));
    call.to_string()
}

/// Which event has which id.
#[derive(Default)]
struct Events {
    ids: HashMap<String, String>,
    /// The key of the event, and when it was observed where that is said.
    known: HashMap<String, (String, Option<String>)>,
}

impl Events {
    /// The same event has the same id and time at every destination, and another event another.
    fn note(&mut self, told: &Told<'_>, id: &str, at: Option<&Value>) -> Result<(), String> {
        let call = &told.call;
        let key = format!("{} {} {} {:?}", told.rule, call["id"], call["revision"], told.kinds);
        let known = self.ids.entry(key.clone()).or_insert_with(|| id.to_owned());
        if known != id {
            return Err(format!("{key} is {known} elsewhere, not {id}"));
        }
        let at = at.map(|at| at.as_str().unwrap().to_owned());
        let (event, when) = self.known.entry(id.to_owned()).or_insert_with(|| (key.clone(), at.clone()));
        let when = when.get_or_insert_with(|| at.clone().unwrap_or_default());
        if *event != key || at.is_some_and(|at| at != *when && !when.is_empty()) {
            return Err(format!("{id} is {event} of {when} elsewhere, not {key}"));
        }
        Ok(())
    }
}

/// One lane: everything that was to be told, once each and in order.
fn compare(
    destination: &'static str,
    told: Vec<Told<'_>>,
    arrived: &[First],
    events: &mut Events,
) -> Result<Vec<Expected>, String> {
    let mut arrived = arrived.iter().peekable();
    let mut expected = vec![];
    for (told, sequence) in told.iter().zip(1..) {
        let is_there = arrived.peek().is_some_and(|first| first.says(destination, told, sequence));
        // What this one refuses for good does not arrive; the store says of which it was so.
        if !is_there && destination != "bus" {
            let what = format!("{} {:?} of revision {}", told.rule, told.kinds, told.call["revision"]);
            let instead = arrived.peek().map_or("nothing".to_owned(), |first| first.what.in_short());
            return Err(format!("{sequence}. should be {what}, but there is {instead}"));
        }
        let first = arrived.next_if(|_| is_there);
        let event = first.filter(|first| !matches!(first.what, What::Slack(_)));
        if let Some(First { id, what }) = event {
            events.note(told, id, what.time())?;
        }
        expected.push(Expected {
            destination,
            call: told.call["id"].as_str().unwrap().to_owned(),
            sequence,
            rule: told.rule,
            event: event.map(|first| first.id.clone()),
            has_arrived: is_there,
        });
    }
    match arrived.next() {
        None => Ok(expected),
        Some(first) => Err(format!("more than there is to tell: {}", first.what.in_short())),
    }
}

impl Postbox {
    fn take(&mut self, arrival: &Arrival) {
        let (call, what) = read(&arrival.message);
        let id = arrival.id.trim_end_matches("@example.com").to_owned();
        let Some((lane, place)) = self.places.get(&id) else {
            let lane = self.lanes.entry(call.clone()).or_default();
            self.places.insert(id.clone(), (call, lane.len()));
            lane.push(First { id, what });
            return;
        };
        self.repeats += 1;
        let first = &mut self.lanes.get_mut(lane).unwrap()[*place].what;
        if let (What::Mail(subject, text, have_it), What::Mail(subject_now, text_now, to)) = (first, &what) {
            assert!(subject == subject_now && text == text_now, "a repeat of {id} says something else");
            have_it.extend(to.iter().cloned());
        } else {
            let first = &self.lanes[lane][*place].what;
            assert!(*first == what, "a repeat of {id} says something else at {}", self.member.name);
        }
    }
}

/// What arrived, and about which call.
fn read(message: &Message) -> (String, What) {
    // The title names the call in its second word.
    let named = |title: &str| title.split(' ').nth(1).unwrap_or_default().to_owned();
    match message {
        Message::Webhook { body, verified, .. } => {
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
            assert!(verified);
            let Body { data, call } = serde_json::from_slice(body).unwrap();
            let record = data.map(|data| data.call).or(call).unwrap().get().to_owned();
            let id = serde_json::from_str::<Value>(&record).unwrap()["id"].as_str().unwrap().to_owned();
            (id, What::Webhook(serde_json::from_slice(body).unwrap(), record))
        }
        Message::Slack(message) => {
            let text = message["text"].as_str().unwrap().to_owned();
            (named(&text), What::Slack(text))
        }
        Message::Mail(mail) => {
            let subject = mail.subject().unwrap();
            (named(&subject), What::Mail(subject, lasting(mail), mail.to.iter().cloned().collect()))
        }
    }
}

/// A mail without what is another in every repeat: its date, and what its parts are divided by.
fn lasting(mail: &Mail) -> String {
    let content = mail.header("content-type").unwrap();
    let boundary = content.split('"').nth(1).expect("a boundary");
    let text = String::from_utf8(mail.data.clone()).unwrap().replace(boundary, "");
    text.lines().filter(|line| !line.starts_with("Date:")).collect()
}

impl First {
    /// Whether this is how `destination` is told.
    fn says(&self, destination: &str, told: &Told<'_>, sequence: u64) -> bool {
        let Told { rule, kinds, changes, call, text } = told;
        match &self.what {
            What::Slack(text) => {
                let title = told.title();
                *text == title.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
            }
            What::Mail(subject, _, have_it) => *subject == told.title() && have_it.len() == 2,
            What::Webhook(body, record) => {
                let data = |changes: &Value, call: &Value| {
                    json!({
                        "source": "clinic", "rule": rule, "sequence": sequence,
                        "kinds": kinds, "changes": changes, "call": call,
                    })
                };
                let is_exact = text.is_none_or(|text| text == record);
                match destination {
                    "bus" => {
                        let (changes, call) = (without_transcript(changes), without_transcript(call));
                        *body
                            == json!({
                                "specversion": "1.0", "id": self.id, "source": "/callwatch/clinic",
                                "type": told.type_name(), "subject": call["id"], "time": body["time"],
                                "datacontenttype": "application/json", "data": data(&changes, &call),
                            })
                    }
                    "vendor" => {
                        let event = told.type_name().replace('.', "_");
                        is_exact
                            && *body
                                == json!({ "event": event, "timestamp": body["timestamp"], "call": call })
                    }
                    _ => {
                        is_exact
                            && *body
                                == json!({
                                    "type": told.type_name(), "timestamp": body["timestamp"],
                                    "data": data(changes, call),
                                })
                    }
                }
            }
        }
    }
}

fn without_transcript(fields: &Value) -> Value {
    let mut fields = fields.clone();
    fields.as_object_mut().unwrap().remove("transcript");
    fields
}

impl What {
    /// When the event was observed, where that is said.
    fn time(&self) -> Option<&Value> {
        match self {
            Self::Webhook(body, _) => body.get("timestamp").or(body.get("time")),
            Self::Slack(_) | Self::Mail(..) => None,
        }
    }

    fn in_short(&self) -> String {
        match self {
            Self::Slack(text) => text.clone(),
            Self::Mail(subject, _, have_it) => format!("{subject} for {have_it:?}"),
            Self::Webhook(body, record) => {
                let data = &body["data"];
                let record: Value = serde_json::from_str(record).unwrap();
                format!(
                    "{} {} of {} {} {}",
                    data["rule"],
                    data["sequence"],
                    body["type"],
                    data["changes"],
                    shown(&record)
                )
            }
        }
    }
}
