//! A message about several events.

use std::{cmp::Reverse, collections::BTreeSet, time::Duration};

use serde_json::Value;

use super::{
    Entry, Link, MAX_TITLE, Message, Visible, Words, Writer,
    facts::{Fact, caller, field, link, name_or_number},
    headline, mood, says_something,
    single::without_controls,
    times::{date, date_and_time, lasting, time, time_and_zone},
};
use crate::{
    event::{Event, Severity},
    name::Name,
    summary::{Reason, SENTIMENT, Summary},
    template::Template,
    time::Timestamp,
};

/// The longest headline in characters. It leaves room, so that "and 3 more" after it is not cut off.
const MAX_HEADLINE: usize = 140;

/// The most of a call's summary in a line, in characters.
const MAX_SAID: usize = 80;

/// A message that comes this soon after the event needs no explanation of the delay.
const SOON: Duration = Duration::from_secs(60);

impl Writer {
    pub(super) fn several(
        &self,
        event: &Event,
        summary: &Summary,
        mut words: Words<'_>,
    ) -> Result<Message, serde_json::Error> {
        let items = summary.items.clone();
        if let ([item], 1, Some(why)) = (&items[..], summary.count, why_late(summary.reason)) {
            let mut message = self.single(item, words)?;
            if event.at.since(item.at) >= SOON {
                message.notes.push(why.to_owned());
            }
            return Ok(message);
        }
        let shown = items.iter().map(|item| self.show(item, items.len(), &mut words));
        let mut shown = shown.collect::<Result<Vec<_>, _>>()?;
        shown.sort_by_key(|item| Reverse((item.at(), item.event.at)));
        let calls: Vec<_> = shown.iter().filter_map(Visible::call).collect();
        let severity = summary.rules.keys().map(|rule| words.severity_of(rule)).max().unwrap_or_default();
        let only_rule = summary.only_rule();

        let body = only_rule.zip(shown.first()).and_then(|(rule, newest)| {
            let is_for_all = words.of(rule)?.body.as_ref().is_some_and(Template::speaks_of_all);
            is_for_all.then(|| words.body(&newest.context(summary.count, &calls), rule))?
        });
        let title = self.headline(summary, &shown, &calls, &mut words);
        let own_body = body.is_some();
        let entries = if own_body { vec![] } else { self.entries(event, &shown, &mut words) };
        let sources: BTreeSet<_> =
            items.iter().filter_map(|item| Some(item.subject.source()?.as_str())).collect();
        Ok(Message {
            title,
            severity,
            lead: Some(self.lead(event, summary, &shown)),
            text: body.map(|body| without_controls(body.trim())),
            quoted: false,
            facts: if own_body { vec![] } else { self.totals(summary) },
            more: if own_body { 0 } else { summary.count.saturating_sub(entries.len() as u64) },
            entries,
            transcript: vec![],
            notes: words.notes,
            rules: only_rule.map(Name::to_string).into_iter().collect(),
            source: sources.into_iter().collect::<Vec<_>>().join(", "),
            conversation: None,
            links: vec![],
            call: None,
            call_back: None,
            at: event.at.as_secs(),
            when: date_and_time(event.at, self.zone),
            noticed: None,
        })
    }

    fn headline(
        &self,
        summary: &Summary,
        shown: &[Visible<'_>],
        calls: &[&Value],
        words: &mut Words<'_>,
    ) -> String {
        let count = summary.count;
        let title = summary.only_rule().and_then(|rule| words.of(rule)?.title.as_ref());
        let is_for_all = title.is_some_and(Template::speaks_of_all);
        let many = counted(summary);
        match (summary.reason, shown) {
            (_, [newest, ..]) if is_for_all => {
                headline(&self.title(newest, calls, count, words), MAX_HEADLINE)
            }
            (Reason::Digest, _) => format!("Digest: {many}"),
            (Reason::Quiet, _) => format!("While it was quiet: {many}"),
            (_, [newest, ..]) => {
                let title = self.title(newest, &Vec::from_iter(newest.call()), 1, words);
                let more = match (calls_of(summary), count) {
                    (_, 0 | 1) => String::new(),
                    (None, events) => format!(" and {} more", events - 1),
                    (Some(calls), events) if calls == events => format!(" and {} more", calls - 1),
                    (Some(1), events) => format!(" ({events} events)"),
                    (Some(calls), events) => {
                        let calls = if calls == 2 {
                            "1 more call".to_owned()
                        } else {
                            format!("{} more calls", calls - 1)
                        };
                        format!(" and {calls} ({events} events)")
                    }
                };
                headline(&title, MAX_HEADLINE - more.chars().count()) + &more
            }
            (_, []) => many,
        }
    }

    /// How many, and since when.
    fn lead(&self, event: &Event, summary: &Summary, shown: &[Visible<'_>]) -> String {
        let (count, many) = (summary.count, counted(summary));
        let first = shown.iter().map(Visible::at).fold(summary.since, Timestamp::min);
        let since = time_and_zone(first, event.at, self.zone);
        let newest = summary.items.first().map_or(event.at, |item| item.at);
        match summary.reason {
            Reason::Throttle => format!("{count} held back since {since}"),
            Reason::Count => match newest.since(summary.since) {
                Duration::ZERO => format!("{many} at once"),
                span => format!("{many} within {}", lasting(span)),
            },
            Reason::Digest => {
                let from = time(first, event.at, self.zone);
                format!("From {from} to {}", time_and_zone(event.at, event.at, self.zone))
            }
            Reason::Group => format!("{many} since {since}"),
            Reason::Quiet => format!("Since {since}"),
        }
    }

    /// The number of events of each rule and of each sentiment, where these differ.
    fn totals(&self, summary: &Summary) -> Vec<Fact> {
        let several_rules = summary.only_rule().is_none();
        let mut totals = vec![];
        if several_rules {
            totals.push(total("Rules", summary.rules.iter().map(|(rule, count)| (rule.as_str(), *count))));
        }
        let is_mixed = several_rules || matches!(summary.reason, Reason::Digest | Reason::Quiet);
        if is_mixed && !summary.sentiments.is_empty() && self.fields.shows(SENTIMENT) {
            let sentiments = summary.sentiments.iter().map(|(sentiment, count)| (sentiment.as_str(), *count));
            totals.push(total("Sentiment", sentiments));
        }
        totals
    }

    fn entries(&self, event: &Event, shown: &[Visible<'_>], words: &mut Words<'_>) -> Vec<Entry> {
        let severities: BTreeSet<_> = shown.iter().map(Visible::severity).collect();
        let differ = severities.len() > 1;
        let entry = |item: &Visible<'_>| {
            let calls = Vec::from_iter(item.call());
            let title = self.title(item, &calls, 1, words);
            let also = self.also(item, &calls, &title, words);
            let said = field(item.fields(), "summary").map(|said| headline(said, MAX_SAID));
            Entry {
                said: said.filter(|said| says_something(said) && !title.contains(said.trim_end_matches('…'))),
                title: with_also(with_caller(title, item), also),
                link: self.link(item),
                severity: if differ { item.severity() } else { Severity::Info },
                mood: mood(item.fields()),
                at: item.at().as_secs(),
                today: date(item.at(), self.zone) == date(event.at, self.zone),
                when: time(item.at(), event.at, self.zone),
            }
        };
        shown.iter().map(entry).collect()
    }

    /// A link of the call. Such addresses often need no password, so only those are shown that were asked for.
    fn link(&self, item: &Visible<'_>) -> Option<Link> {
        self.fields.include.as_ref()?;
        item.call()?;
        link(item.fields())
    }
}

/// The title with the caller's name or number, unless it says who called.
fn with_caller(title: String, item: &Visible<'_>) -> String {
    let says = |who: &str| title.contains(who);
    let who = item.call().and_then(|_| name_or_number(item.fields()));
    let number = caller(item.fields());
    match who.filter(|who| !says(who) && !number.as_deref().is_some_and(says)) {
        Some(who) => headline(&format!("{title} · {who}"), MAX_TITLE),
        None => title,
    }
}

/// The title with the other rules that the event tells.
fn with_also(title: String, also: Option<String>) -> String {
    match also {
        Some(also) => headline(&format!("{title} (also: {also})"), MAX_TITLE),
        None => title,
    }
}

/// Why an event that is alone in its batch was not told at once; `None` when even one event is shown as a list.
fn why_late(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::Quiet => Some("This waited for the quiet hours to end."),
        Reason::Group => Some("This waited for others of its group."),
        Reason::Throttle => Some("This was held back by the rule's throttle."),
        Reason::Count | Reason::Digest => None,
    }
}

/// `12 calls`, or `12 calls, 17 events`; `17 events` when they are not all about calls.
fn counted(summary: &Summary) -> String {
    let number = |count: u64, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    match calls_of(summary) {
        Some(calls) if calls == summary.count => number(calls, "call"),
        Some(calls) => format!("{}, {}", number(calls, "call"), number(summary.count, "event")),
        None => number(summary.count, "event"),
    }
}

/// How many calls the events are about, when each is about one.
fn calls_of(summary: &Summary) -> Option<u64> {
    let listed: Option<BTreeSet<_>> =
        summary.items.iter().map(|item| item.subject.call().map(|_| &item.subject)).collect();
    let listed = listed?.len() as u64;
    // Events that are told together for the second time may be about the same calls.
    Some(if summary.calls == 0 { listed } else { summary.calls.clamp(listed, summary.count.max(listed)) })
}

/// `negative 3, positive 1`
fn total<'t>(label: &str, counts: impl Iterator<Item = (&'t str, u64)>) -> Fact {
    let mut counts: Vec<_> = counts.collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let counts: Vec<_> = counts.into_iter().map(|(what, count)| format!("{what} {count}")).collect();
    Fact::new(label, &counts.join(", "))
}
