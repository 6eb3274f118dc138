//! What a receiver can tell from what arrived, without knowing who sent it.

use serde_json::Value;

use super::receivers::{Arrival, Message};
use crate::{kind::Kind, privacy::mask_phone};

/// The facts in something that arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// One line about it: a webhook's `type`, a Slack message's text, a mail's subject.
    pub headline: String,
    /// The call's id, where it is said.
    pub call: Option<String>,
    /// The rule's name, where it is said.
    pub rule: Option<String>,
    /// The kinds of change; empty where they are not said.
    pub kinds: Vec<Kind>,
    /// The phone numbers in it, each as it is written.
    pub numbers: Vec<String>,
}

impl Sighting {
    /// Reads what arrived.
    pub fn of(arrival: &Arrival) -> Self {
        match &arrival.message {
            // A body that is not JSON says nothing.
            Message::Webhook { body, .. } => {
                serde_json::from_slice(body).map(|body| Self::of_webhook(&body)).unwrap_or_default()
            }
            Message::Slack(message) => Self {
                headline: message["text"].as_str().unwrap_or_default().to_owned(),
                numbers: phone_numbers(&message.to_string()),
                ..Self::default()
            },
            Message::Mail(mail) => {
                let headline = mail.subject().unwrap_or_default();
                // Quoted-printable text breaks its lines anywhere.
                let text = String::from_utf8_lossy(&mail.data).replace("=\r\n", "");
                Self { numbers: phone_numbers(&format!("{headline} {text}")), headline, ..Self::default() }
            }
        }
    }

    /// Standard Webhooks and CloudEvents have `type` and `data`, the vendor's own shape `event` and `call`.
    fn of_webhook(body: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let data = &body["data"];
        let call = if data.is_object() { &data["call"] } else { &body["call"] };
        let kinds = data["kinds"].as_array().into_iter().flatten();
        Self {
            headline: text(&body["type"]).or_else(|| text(&body["event"])).unwrap_or_default(),
            call: text(&call["id"]),
            rule: text(&data["rule"]),
            kinds: kinds.filter_map(Value::as_str).filter_map(Kind::parse).collect(),
            numbers: text(&call["callerNumber"]).into_iter().collect(),
        }
    }
}

/// The byte ranges of what looks like an international phone number: a plus sign and eight digits or more.
fn number_ranges(text: &str) -> impl Iterator<Item = std::ops::Range<usize>> {
    text.match_indices('+').filter_map(|(at, _)| {
        let digits = text[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
        (digits >= 8).then_some(at..at + 1 + digits)
    })
}

fn phone_numbers(text: &str) -> Vec<String> {
    number_ranges(text).map(|range| text[range].to_owned()).collect()
}

/// The text with the middle of every phone number hidden.
pub fn mask_numbers(text: &str) -> String {
    let mut masked = String::new();
    let mut done = 0;
    for range in number_ranges(text) {
        masked.push_str(&text[done..range.start]);
        masked.push_str(&mask_phone(&text[range.clone()]));
        done = range.end;
    }
    masked + &text[done..]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{demo::receivers::Mail, time::Timestamp};

    fn sighting(message: Message) -> Sighting {
        Sighting::of(&Arrival { at: Timestamp::default(), id: String::new(), message })
    }

    fn webhook(body: Value) -> Message {
        Message::Webhook { headers: Default::default(), body: body.to_string().into(), verified: true }
    }

    #[test]
    fn every_shape_of_webhook_is_read() {
        let call = json!({ "id": "c1", "callerNumber": "+33639981234" });
        let data = json!({ "rule": "booked", "kinds": ["ended", "analyzed"], "call": call });
        let told = Sighting {
            headline: "call.ended".to_owned(),
            call: Some("c1".to_owned()),
            rule: Some("booked".to_owned()),
            kinds: vec![Kind::Ended, Kind::Analyzed],
            numbers: vec!["+33639981234".to_owned()],
        };
        assert_eq!(sighting(webhook(json!({ "type": "call.ended", "data": data }))), told);
        assert_eq!(
            sighting(webhook(json!({ "specversion": "1.0", "type": "call.ended", "data": data }))),
            told
        );
        assert_eq!(
            sighting(webhook(json!({ "event": "call_ended", "call": call }))),
            Sighting { headline: "call_ended".to_owned(), rule: None, kinds: vec![], ..told }
        );
    }

    #[test]
    fn slack_and_mail_are_read_by_their_numbers() {
        let slack =
            sighting(Message::Slack(json!({ "text": "Booked", "blocks": [{ "text": "by +33639981234" }] })));
        assert_eq!((slack.headline.as_str(), slack.numbers), ("Booked", vec!["+33639981234".to_owned()]));

        let data = "Subject: Unhappy\r\n\r\ncall +33639=\r\n981234 back\r\n".into();
        let mail = sighting(Message::Mail(Mail { data, ..Mail::default() }));
        assert_eq!((mail.headline.as_str(), mail.numbers), ("Unhappy", vec!["+33639981234".to_owned()]));
    }

    #[test]
    fn what_is_not_json_says_nothing() {
        let message = Message::Webhook { headers: Default::default(), body: "+".into(), verified: false };
        assert_eq!(sighting(message), Sighting::default());
    }

    #[test]
    fn numbers_are_masked_where_they_stand() {
        assert_eq!(
            mask_numbers("from +33639981234, to +33199000100!"),
            "from +3363•••1234, to +3319•••0100!"
        );
        assert_eq!(mask_numbers("1 + 1, +1234567, café"), "1 + 1, +1234567, café");
    }
}
