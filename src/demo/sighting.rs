//! An arrival as its receiver understands it, without knowing who sent it. Pure.

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    oracle::Debt,
    reading::text_of,
    receivers::{Arrival, Message},
};
use crate::{kind::Kind, privacy::mask_phone, time::Timestamp};

/// The facts that one arrival shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// The message's id, which every repeat shares.
    pub id: String,
    /// When it arrived.
    pub at: Timestamp,
    /// A hash of what every repeat has to say again: all of a message but the date and the boundary of a mail.
    pub content: u128,
    /// One line about the message: a webhook's `type`, the first of a Slack message's or a mail's text.
    pub headline: String,
    /// The call's id, where the message says it.
    pub call: Option<String>,
    /// The rule's name, where the message says it.
    pub rule: Option<String>,
    /// The other rules that the message tells of: their names, or for people the line of their titles.
    pub also: Vec<String>,
    /// The kinds of change; empty where the message does not say them.
    pub kinds: Vec<Kind>,
    /// The phone numbers in the message, each as it is written.
    pub numbers: Vec<String>,
}

impl Sighting {
    /// Reads an arrival.
    pub fn of(arrival: &Arrival) -> Self {
        let read = match &arrival.message {
            // A body that is not JSON says nothing.
            Message::Webhook { body, .. } => {
                let read = serde_json::from_slice(body).map(|body| Self::of_webhook(&body));
                Self { content: xxh3_128(body), ..read.unwrap_or_default() }
            }
            Message::Slack(message) => {
                let text = message.to_string();
                Self {
                    content: xxh3_128(text.as_bytes()),
                    headline: message["text"]
                        .as_str()
                        .and_then(|text| text.lines().next())
                        .unwrap_or_default()
                        .to_owned(),
                    numbers: phone_numbers(&text),
                    also: also_line(&arrival.message),
                    ..Self::default()
                }
            }
            Message::Mail(mail) => {
                let headline = title_line(&arrival.message).or(mail.subject()).unwrap_or_default();
                // Quoted-printable text breaks its lines anywhere.
                let text = String::from_utf8_lossy(&mail.data).replace("=\r\n", "");
                Self {
                    content: xxh3_128(mail.lasting().as_bytes()),
                    numbers: phone_numbers(&format!("{headline} {text}")),
                    headline,
                    also: also_line(&arrival.message),
                    ..Self::default()
                }
            }
        };
        Self { id: arrival.id.clone(), at: arrival.at, ..read }
    }

    /// Reads a webhook. Standard Webhooks and CloudEvents have `type` and `data`, the vendor's own shape has `event`
    /// and `call`.
    fn of_webhook(body: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let data = &body["data"];
        let call = if data.is_object() { &data["call"] } else { &body["call"] };
        let kinds = data["kinds"].as_array().into_iter().flatten();
        Self {
            headline: text(&body["type"]).or_else(|| text(&body["event"])).unwrap_or_default(),
            call: text(&call["id"]),
            rule: text(&data["rule"]),
            also: data["also"].as_array().into_iter().flatten().filter_map(text).collect(),
            kinds: kinds.filter_map(Value::as_str).filter_map(Kind::parse).collect(),
            numbers: text(&call["callerNumber"]).into_iter().collect(),
            ..Self::default()
        }
    }

    /// Whether this tells of a debt. Changes that no poll has told apart arrive as one, so a message may have more
    /// kinds and more rules than the debt.
    pub fn tells(&self, debt: &Debt) -> bool {
        match &self.rule {
            Some(rule) => {
                debt.rules().all(|owed| rule == owed || self.also.iter().any(|also| also == owed))
                    && self.call.as_deref() == debt.call["id"].as_str()
                    && debt.kinds.iter().all(|kind| self.kinds.contains(kind))
            }
            None => debt.title().is_some_and(|title| {
                let says = |title: &String| {
                    self.headline.contains(title) || self.also.iter().any(|also| also.contains(title))
                };
                says(&title) && debt.also().iter().all(says)
            }),
        }
    }
}

/// The title of a mail: the first line of its text, because its subject is that of all mails about a call.
fn title_line(message: &Message) -> Option<String> {
    // The subject goes before it.
    text_of(message)?.lines().nth(1).map(|line| line.trim_end().to_owned())
}

/// The line of a message for people that names other rules, without its first word.
fn also_line(message: &Message) -> Vec<String> {
    let text = text_of(message).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("Also: ")).map(str::to_owned).into_iter().collect()
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
    use crate::demo::receivers::Mail;

    /// All that can be told from a message but the hash of its content.
    fn sighting(message: Message) -> Sighting {
        let sighting = Sighting::of(&Arrival { at: Timestamp::default(), id: String::new(), message });
        Sighting { content: 0, ..sighting }
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
            ..Sighting::default()
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
    fn a_message_about_several_rules_is_read_with_all_of_them() {
        let data = json!({ "rule": "booked", "also": ["vip", "long"] });
        assert_eq!(sighting(webhook(json!({ "type": "call.ended", "data": data }))).also, ["vip", "long"]);
        let lead =
            json!({ "type": "section", "text": { "type": "mrkdwn", "text": "Also: A &amp; B; long" } });
        let slack = sighting(Message::Slack(json!({ "text": "Booked", "blocks": [lead] })));
        assert_eq!(slack.also, ["A & B; long"]);
    }

    #[test]
    fn a_mails_date_and_boundary_are_no_part_of_its_content() {
        let content = |date: &str, boundary: &str, text: &str| {
            let data = format!(
                "Date: {date}\r\nContent-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n--{boundary}\r\n{text}\r\n"
            );
            let message = Message::Mail(Mail { data: data.into(), ..Mail::default() });
            Sighting::of(&Arrival { at: Timestamp::default(), id: String::new(), message }).content
        };
        assert_eq!(content("Mon", "abc", "one"), content("Tue", "def", "one"));
        assert_ne!(content("Mon", "abc", "one"), content("Mon", "abc", "two"));
    }

    #[test]
    fn a_body_that_is_not_json_says_nothing() {
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
