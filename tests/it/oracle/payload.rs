//! How each destination has to be told, to the byte.

use std::fmt;

use callwatch::{demo::oracle::Debt, event::Severity, kind::Kind};
use serde_json::{Map, Value, json};

use super::{
    arrivals::{First, MARKS, Payload},
    history::History,
};

impl First {
    /// Whether this is exactly how the debt's destination has to be told of it.
    pub fn says(&self, debt: &Debt, history: &History) -> bool {
        match &self.payload {
            Payload::Webhook(body, record) => self.is_webhook_of(debt, history, body, record),
            Payload::Slack => self.is_message_of(debt, |title| {
                let title = title.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                marked(debt, MARKS[0], &title)
            }),
            Payload::Mail(have_it) => {
                self.is_message_of(debt, |title| marked(debt, MARKS[1], title)) && have_it.len() == 2
            }
        }
    }

    /// Whether it has the debt's title as its headline, and names exactly the other rules.
    fn is_message_of(&self, debt: &Debt, headline: impl Fn(&str) -> String) -> bool {
        let also = (!debt.also.is_empty()).then(|| debt.also().join("; "));
        debt.title().is_some_and(|title| self.sighting.headline == headline(&title))
            && self.sighting.also == Vec::from_iter(also)
    }

    fn is_webhook_of(&self, debt: &Debt, history: &History, body: &Value, record: &str) -> bool {
        let revision = &debt.call["revision"];
        let told = body.pointer("/data/call").or(body.get("call"));
        // The rest is costly to compare.
        if told.is_none_or(|told| told["revision"] != *revision) {
            return false;
        }
        let destination = debt.destination;
        let kinds: Vec<_> = debt.kinds.iter().map(|kind| kind.as_str()).collect();
        let type_name = format!("call.{}", kinds[0]);
        let (mut changes, mut call) = (changes(debt), Value::clone(&debt.call));
        if destination == "bus" {
            (changes, call) = (without_transcript(&changes), without_transcript(&call));
        }
        let mut data = json!({
            "source": "clinic", "rule": debt.promise.rule, "sequence": debt.sequence,
            "kinds": kinds, "changes": changes, "call": call,
        });
        if !debt.also.is_empty() {
            data["also"] = debt.rules().skip(1).collect();
        }
        let expected = match destination {
            "bus" => json!({
                "specversion": "1.0", "id": self.sighting.id, "source": "/callwatch/clinic",
                "type": type_name, "subject": call["id"], "time": body["time"],
                "datacontenttype": "application/json", "data": data,
            }),
            "vendor" => {
                let event = type_name.replace('.', "_");
                json!({ "event": event, "timestamp": body["timestamp"], "call": call })
            }
            _ => json!({ "type": type_name, "timestamp": body["timestamp"], "data": data }),
        };
        // The call's bytes are those of the API, unless fields are left out or the call is told from its snapshot.
        let is_remade = destination == "bus" || debt.kinds == [Kind::Deleted];
        let state = &history.states[revision.as_u64().unwrap() as usize];
        *body == expected && (is_remade || state.text == record)
    }

    /// When the event was observed, where the message says it.
    pub fn time(&self) -> Option<&str> {
        match &self.payload {
            Payload::Webhook(body, _) => {
                Some(body.get("timestamp").or(body.get("time"))?.as_str().expect("a time is a string"))
            }
            Payload::Slack | Payload::Mail(_) => None,
        }
    }

    /// The event's id; Slack messages have none.
    pub fn event(&self) -> Option<&str> {
        match &self.payload {
            Payload::Slack => None,
            _ => Some(self.sighting.id.trim_end_matches("@example.com")),
        }
    }
}

/// One line for people.
impl fmt::Display for First {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.payload {
            Payload::Slack => write!(f, "{} also {:?}", self.sighting.headline, self.sighting.also),
            Payload::Mail(have_it) => {
                write!(f, "{} also {:?} for {have_it:?}", self.sighting.headline, self.sighting.also)
            }
            Payload::Webhook(body, record) => {
                let record = shown(&serde_json::from_str(record).unwrap());
                let [rule, sequence, changes] = ["rule", "sequence", "changes"].map(|it| &body["data"][it]);
                write!(f, "{} of {rule} {sequence} {changes} {record}", self.sighting.headline)
            }
        }
    }
}

/// The title behind the mark of its severity.
fn marked(debt: &Debt, mark: &str, title: &str) -> String {
    let is_warning = debt.promise.severity == Severity::Warning;
    format!("{}{title}", if is_warning { mark } else { "" })
}

/// A record without its transcript, which may be long.
pub fn shown(call: &Value) -> String {
    without_transcript(call).to_string()
}

fn without_transcript(fields: &Value) -> Value {
    let mut fields = fields.clone();
    fields.as_object_mut().unwrap().remove("transcript");
    fields
}

/// The fields that differ from the state before. A transcript is named but not shown.
fn changes(debt: &Debt) -> Value {
    let Some(before) = &debt.before else { return json!({}) };
    let fields = |call: &Value| call.as_object().unwrap().clone();
    let mut changes = Map::new();
    for name in fields(before).keys().chain(fields(&debt.call).keys()) {
        let (from, to) = (&before[name], &debt.call[name]);
        if from != to {
            let change = if name == "transcript" { json!({}) } else { json!({ "from": from, "to": to }) };
            changes.insert(name.clone(), change);
        }
    }
    changes.into()
}
