//! How values read on a page. Pure.

use std::{fmt, time::Duration};

use askama::filters::HtmlSafe;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use url::form_urlencoded;

use crate::{
    calendar::Zone,
    name::Name,
    ops::{Delivery, Filter, KeptBack, StateFilter},
    server::client::parts_of,
    store::DeliveryStateKind,
    time::Timestamp,
};

/// When and where a page is read, by which its times are written.
#[derive(Clone, Copy)]
pub(super) struct Words {
    pub(super) now: Timestamp,
    pub(super) zone: Zone,
}

/// A time as HTML, for people and for programs.
pub(super) struct Moment {
    at: Timestamp,
    full: String,
    text: String,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, full, text } = self;
        write!(f, "<time datetime=\"{at}\" title=\"{full}\">{text}</time>")
    }
}

/// It is made of digits and names of months and zones alone.
impl HtmlSafe for Moment {}

impl Words {
    /// `09:41`, or with the day when it is another one.
    pub(super) fn clock(&self, at: &Timestamp) -> Moment {
        self.moment(*at, "%H:%M")
    }

    /// `09:41:07`, or with the day when it is another one.
    pub(super) fn second(&self, at: &Timestamp) -> Moment {
        self.moment(*at, "%H:%M:%S")
    }

    /// `4 s ago`, `in 5 min`.
    pub(super) fn ago(&self, at: &Timestamp) -> Moment {
        let text = match *at > self.now {
            true => format!("in {}", span(at.since(self.now))),
            false => format!("{} ago", span(self.now.since(*at))),
        };
        Moment { at: *at, full: self.zone.show(*at), text }
    }

    /// `Mon 14:00`, of an hour of the last days.
    pub(super) fn hour(&self, at: Timestamp) -> String {
        self.zone.local(at).map_or_else(|| at.to_string(), |local| local.format("%a %H:%M").to_string())
    }

    fn moment(&self, at: Timestamp, clock: &str) -> Moment {
        let (Some(local), Some(now)) = (self.zone.local(at), self.zone.local(self.now)) else {
            return Moment { at, full: at.to_string(), text: at.to_string() };
        };
        let days = |format| (local.format(format).to_string(), now.format(format).to_string());
        let (day, today) = days("%F");
        let (year, this_year) = days("%Y");
        let text = match (day == today, year == this_year) {
            (true, _) => local.format(clock).to_string(),
            (false, true) => local.format(&format!("%-d %b {clock}")).to_string(),
            (false, false) => local.format(&format!("%-d %b %Y {clock}")).to_string(),
        };
        Moment { at, full: self.zone.show(at), text }
    }
}

/// A span of time in its largest unit: `4 s`, `24 min`, `3 h`, `12 d`.
pub(super) fn span(time: Duration) -> String {
    let secs = time.as_secs();
    let (unit, word) = match secs {
        0..120 => (1, "s"),
        120..7200 => (60, "min"),
        7200..172_800 => (3600, "h"),
        _ => (86_400, "d"),
    };
    format!("{} {word}", secs / unit)
}

/// The length of an attempt: `0.2 s`, `45 ms`.
pub(super) fn took(millis: &u64) -> String {
    match *millis {
        0..100 => format!("{millis} ms"),
        _ => format!("{:.1} s", *millis as f64 / 1000.0),
    }
}

/// How long a message took, which is known to a tenth: `0.2 s`, `24 s`, `3 h`.
pub(super) fn delay(millis: u64) -> String {
    match millis {
        0..10_000 => took(&millis),
        _ => span(Duration::from_millis(millis)),
    }
}

/// `1,432`
pub(super) fn number(count: &u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 message`, `148 messages`
pub(super) fn messages(count: u64) -> String {
    if count == 1 { "1 message".to_owned() } else { format!("{} messages", number(&count)) }
}

/// How well something is, by which it is coloured. It is always said in words as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tone {
    Plain,
    Good,
    Wait,
    Bad,
}

impl Tone {
    /// The class in the stylesheet.
    pub(super) fn class(&self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Good => "ok",
            Self::Wait => "wait",
            Self::Bad => "dead",
        }
    }
}

/// A state in words, with its colour.
pub(super) struct Tag {
    pub(super) tone: Tone,
    pub(super) text: String,
}

impl Tag {
    pub(super) fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self { tone, text: text.into() }
    }

    /// The state of a delivery.
    pub(super) fn of(delivery: &Delivery, words: Words) -> Self {
        match (delivery.state, &delivery.kept_back) {
            (DeliveryStateKind::Delivered, _) => Self::new(Tone::Good, "✓ arrived"),
            (DeliveryStateKind::Dead, _) => Self::new(Tone::Bad, "✗ given up"),
            (DeliveryStateKind::Merged, _) => Self::new(Tone::Plain, "told with another"),
            (DeliveryStateKind::Held, _) => Self::new(Tone::Wait, "waits for others"),
            (DeliveryStateKind::Pending, Some(KeptBack::Paused)) => Self::new(Tone::Wait, "waits: paused"),
            (DeliveryStateKind::Pending, Some(KeptBack::Failing)) => Self::new(Tone::Wait, "waits: failing"),
            (DeliveryStateKind::Pending, Some(KeptBack::NotInConfig)) => {
                Self::new(Tone::Bad, "waits: not in the config")
            }
            (DeliveryStateKind::Pending, _) => {
                match delivery.due.filter(|due| due.since(words.now) >= Duration::from_secs(1)) {
                    Some(due) => Self::new(Tone::Wait, format!("next try in {}", span(due.since(words.now)))),
                    None => Self::new(Tone::Wait, "due now"),
                }
            }
        }
    }
}

/// The address of the list of these deliveries.
pub(super) fn list_of(filter: &Filter) -> String {
    address("/deliveries", filter, &[])
}

/// An address with a filter, and more, in its query.
pub(super) fn address(path: &str, filter: &impl Serialize, more: &[(&str, &str)]) -> String {
    // A filter is made of texts, so that it can be written.
    let parts = parts_of(filter).unwrap_or_default();
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(more).extend_pairs(parts);
    let query = query.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// The deliveries to this destination in this state.
pub(super) fn to(destination: &Name, state: StateFilter) -> Filter {
    Filter { destination: Some(destination.clone()), state: Some(state), ..Filter::default() }
}

/// The address of a delivery.
pub(super) fn delivery_path(delivery: &Delivery) -> String {
    let Delivery { event, destination, .. } = delivery;
    format!("/deliveries/{}/{}", segment(event.as_str()), segment(destination.as_str()))
}

/// The address of a call.
pub(super) fn call_path(source: &Name, call: &str) -> String {
    format!("/calls/{}/{}", segment(source.as_str()), segment(call))
}

/// Letters and digits are not escaped, and neither are these.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// A part of a path, or of a query.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_people_write_them() {
        for (count, text) in [(0, "0"), (999, "999"), (1432, "1,432"), (1_000_000, "1,000,000")] {
            assert_eq!(number(&count), text);
        }
        for (secs, text) in [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 d")] {
            assert_eq!(span(Duration::from_secs(secs)), text);
        }
        let at = |text| Timestamp::parse(text).unwrap();
        let words = Words { now: at("2026-01-02T08:41:07Z"), zone: Zone::parse("Europe/Paris").unwrap() };
        assert_eq!(words.second(&words.now).text, "09:41:07");
        assert_eq!(words.clock(&at("2026-01-01T22:59:00Z")).text, "1 Jan 23:59");
        assert_eq!(words.clock(&at("2025-12-31T22:59:00Z")).text, "31 Dec 2025 23:59");
        assert_eq!(words.ago(&at("2026-01-02T08:41:00Z")).text, "7 s ago");
        assert_eq!(words.ago(&at("2026-01-02T08:46:07Z")).text, "in 5 min");
        assert_eq!(
            words.clock(&words.now).to_string(),
            "<time datetime=\"2026-01-02T08:41:07.000Z\" title=\"2026-01-02 09:41:07 CET\">09:41</time>"
        );
    }

    #[test]
    fn addresses_hold_any_name() {
        let filter = Filter { error: Some("a&b=\"<".to_owned()), ..to(&"the crm".into(), StateFilter::Dead) };
        assert_eq!(list_of(&filter), "/deliveries?destination=the+crm&state=dead&error=a%26b%3D%22%3C");
        assert_eq!(list_of(&Filter::default()), "/deliveries");
        assert_eq!(call_path(&"a/b".into(), "?#"), "/calls/a%2Fb/%3F%23");
    }
}
