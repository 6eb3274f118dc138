//! A message about several events.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;

use super::{
    Entry, Message, Visible, Words, Writer,
    facts::Fact,
    headline, mood,
    single::without_controls,
    times::{date_and_time, lasting, time, time_and_zone},
};
use crate::{
    event::{Event, Severity},
    name::Name,
    summary::{Reason, SENTIMENT, Summary},
    template::Template,
};

/// The longest headline in characters. It leaves room, so that "and 3 more" after it is not cut off.
const MAX_HEADLINE: usize = 140;

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
        let shown = items.iter().map(|item| self.show(item, &words)).collect::<Result<Vec<_>, _>>()?;
        let calls: Vec<_> = shown.iter().filter_map(Visible::call).collect();
        let severity = summary.rules.keys().map(|rule| words.severity(rule)).max().unwrap_or_default();
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
            lead: Some(self.lead(event, summary)),
            text: body.map(|body| without_controls(body.trim())),
            quoted: false,
            facts: if own_body { vec![] } else { self.totals(summary) },
            more: if own_body { 0 } else { summary.count.saturating_sub(entries.len() as u64) },
            entries,
            transcript: vec![],
            notes: words.notes,
            rule: only_rule.map(Name::to_string),
            source: sources.into_iter().collect::<Vec<_>>().join(", "),
            call: None,
            call_back: None,
            at: event.at.as_secs(),
            when: date_and_time(event.at, self.zone),
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
        let many = format!("{count} {}", noun(summary));
        match (summary.reason, shown) {
            (_, [newest, ..]) if is_for_all => {
                headline(&self.title(newest, calls, count, words), MAX_HEADLINE)
            }
            (Reason::Digest, _) => format!("Digest: {many}"),
            (Reason::Quiet, _) => format!("While it was quiet: {many}"),
            (_, [newest, ..]) => {
                let title = self.title(newest, &Vec::from_iter(newest.call()), 1, words);
                let more = match count.saturating_sub(1) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                headline(&title, MAX_HEADLINE - more.chars().count()) + &more
            }
            (_, []) => many,
        }
    }

    /// How many, and since when.
    fn lead(&self, event: &Event, summary: &Summary) -> String {
        let (count, noun) = (summary.count, noun(summary));
        let since = time_and_zone(summary.since, event.at, self.zone);
        let newest = summary.items.first().map_or(event.at, |item| item.at);
        match summary.reason {
            Reason::Throttle => format!("{count} held back since {since}"),
            Reason::Count => match newest.since(summary.since) {
                Duration::ZERO => format!("{count} {noun} at once"),
                span => format!("{count} {noun} within {}", lasting(span)),
            },
            Reason::Digest => {
                let from = time(summary.since, event.at, self.zone);
                format!("From {from} to {}", time_and_zone(event.at, summary.since, self.zone))
            }
            Reason::Group => format!("{count} {noun} since {since}"),
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
        let entry = |item: &Visible<'_>| Entry {
            title: self.title(item, &Vec::from_iter(item.call()), 1, words),
            severity: if differ { item.severity() } else { Severity::Info },
            mood: mood(item.fields()),
            at: item.event.at.as_secs(),
            when: time(item.event.at, event.at, self.zone),
        };
        shown.iter().map(entry).collect()
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

/// `calls` when every event is about a call of its own, else `events`.
fn noun(summary: &Summary) -> &'static str {
    let calls: Option<BTreeSet<_>> =
        summary.items.iter().map(|item| item.subject.call().map(|_| &item.subject)).collect();
    match (summary.count, calls) {
        (1, Some(_)) => "call",
        (_, Some(calls)) if calls.len() == summary.items.len() => "calls",
        (1, None) => "event",
        _ => "events",
    }
}

/// `negative 3, positive 1`
fn total<'t>(label: &str, counts: impl Iterator<Item = (&'t str, u64)>) -> Fact {
    let mut counts: Vec<_> = counts.collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let counts: Vec<_> = counts.into_iter().map(|(what, count)| format!("{what} {count}")).collect();
    Fact::new(label, &counts.join(", "))
}
