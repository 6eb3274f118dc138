//! A message about several events.

use std::{cmp::Reverse, collections::BTreeSet, time::Duration};

use serde_json::Value;

use super::{
    Applied, Entry, Link, MAX_TITLE, Message, Visible, Words, Writer,
    facts::{Fact, caller, field, label, link, name_or_number, word},
    headline, mood, says_something,
    single::{advised, without_controls},
};
use crate::{
    event::{Event, Severity},
    language::{self, Language, capitalized},
    summary::{Reason, SENTIMENT, Summary},
    template::Template,
    time::Timestamp,
};

/// The longest headline in characters. It leaves room, so that "and 3 more calls" after it is not cut off.
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
        if let ([item], 1, Some(why)) = (&items[..], summary.count, why_late(summary.reason, self.language)) {
            let mut message = self.single(item, words)?;
            if event.at.since(item.at) >= SOON {
                message.notes.push(why);
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
        // Only the rule's own advice can speak of all the events; there is no default.
        let advice = only_rule
            .zip(shown.first())
            .and_then(|(rule, newest)| words.advice_for_all(&newest.context(summary.count, &calls), rule));
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
            advice: advice.as_deref().and_then(advised),
            facts: if own_body { vec![] } else { self.totals(summary) },
            more: if own_body { 0 } else { summary.count.saturating_sub(entries.len() as u64) },
            entries,
            transcript: vec![],
            notes: words.notes,
            rules: only_rule
                .map(|rule| Applied { rule: rule.to_string(), found: None })
                .into_iter()
                .collect(),
            source: sources.into_iter().collect::<Vec<_>>().join(", "),
            conversation: None,
            links: vec![],
            call: None,
            at: event.at.as_secs(),
            when: self.language.date_and_time(event.at, self.zone),
            is_since_it_began: false,
            noticed: None,
            language: self.language,
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
        let (language, many) = (self.language, counted(summary, self.language));
        match (summary.reason, shown) {
            (_, [newest, ..]) if is_for_all => {
                headline(&self.title(newest, calls, count, words), MAX_HEADLINE)
            }
            (Reason::Digest, _) => language.digest(&many),
            (Reason::Quiet, _) => language.while_quiet(&many),
            (_, [newest, ..]) => {
                let title = self.title(newest, &Vec::from_iter(newest.call()), 1, words);
                let more = match (calls_of(summary), count) {
                    (_, 0 | 1) => return headline(&title, MAX_HEADLINE),
                    (None, events) => language.and_more_events(events - 1),
                    (Some(calls), events) if calls == events => language.and_more_calls(calls - 1),
                    (Some(1), events) => language.of_one_call(events),
                    (Some(calls), events) => language.and_more_calls_of(calls - 1, events),
                };
                let room = MAX_HEADLINE.saturating_sub(more.chars().count() + 1);
                format!("{} {more}", headline(&title, room))
            }
            (_, []) => many,
        }
    }

    /// How many, and since when.
    fn lead(&self, event: &Event, summary: &Summary, shown: &[Visible<'_>]) -> String {
        let language = self.language;
        let many = counted(summary, language);
        let first = shown.iter().map(Visible::at).fold(summary.since, Timestamp::min);
        let since = language.since(first, event.at, self.zone);
        let newest = summary.items.first().map_or(event.at, |item| item.at);
        match summary.reason {
            Reason::Throttle => language.held_back(summary.count, &since),
            Reason::Count => match newest.since(summary.since) {
                Duration::ZERO => language.at_once(&many),
                span => language.within(&many, &language.duration(span.as_secs_f64())),
            },
            Reason::Digest => {
                let from = language.time(first, event.at, self.zone);
                let is_of_a_day = language::date(first, self.zone) == language::date(event.at, self.zone);
                let to = match is_of_a_day {
                    true => language.time_and_zone(event.at, self.zone),
                    false => language.date_and_time(event.at, self.zone),
                };
                language.period(&from, &to)
            }
            Reason::Group => language.many_since(&many, &since),
            Reason::Quiet => capitalized(&since),
        }
    }

    /// The number of events of each rule and of each sentiment, where these differ.
    fn totals(&self, summary: &Summary) -> Vec<Fact> {
        let several_rules = summary.only_rule().is_none();
        let mut totals = vec![];
        if several_rules {
            let rules = summary.rules.iter().map(|(rule, count)| (rule.to_string(), *count));
            totals.push(total(&self.language.rules(), rules));
        }
        let is_mixed = several_rules || matches!(summary.reason, Reason::Digest | Reason::Quiet);
        if is_mixed && !summary.sentiments.is_empty() && self.fields.shows(SENTIMENT) {
            let say = |sentiment: &str| word(sentiment, sentiment, self.language);
            let sentiments = summary.sentiments.iter().map(|(sentiment, count)| (say(sentiment), *count));
            totals.push(total(&label("sentiment", self.language), sentiments));
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
                title: self.with_also(with_caller(title, item, self.language), also),
                link: self.link(item),
                severity: if differ { item.severity() } else { Severity::Info },
                mood: mood(item.fields(), self.language),
                at: item.at().as_secs(),
                today: language::date(item.at(), self.zone) == language::date(event.at, self.zone),
                when: self.language.time(item.at(), event.at, self.zone),
            }
        };
        shown.iter().map(entry).collect()
    }

    /// The title with the other rules that the event tells.
    fn with_also(&self, title: String, also: Option<String>) -> String {
        match also {
            Some(also) => headline(&self.language.title_also(&title, &also), MAX_TITLE),
            None => title,
        }
    }

    /// A link of the call. Such addresses often need no password, so only those are shown that were asked for.
    fn link(&self, item: &Visible<'_>) -> Option<Link> {
        self.fields.include.as_ref()?;
        item.call()?;
        link(item.fields())
    }
}

/// The title with the caller's name or number, unless it says who called.
fn with_caller(title: String, item: &Visible<'_>, language: Language) -> String {
    let says = |who: &str| title.contains(who);
    let who = item.call().and_then(|_| name_or_number(item.fields(), language));
    let number = caller(item.fields(), language);
    match who.filter(|who| !says(who) && !number.as_deref().is_some_and(says)) {
        Some(who) => headline(&format!("{title} · {who}"), MAX_TITLE),
        None => title,
    }
}

/// Why an event that is alone in its batch was not told at once; `None` when even one event is shown as a list.
fn why_late(reason: Reason, language: Language) -> Option<String> {
    match reason {
        Reason::Quiet => Some(language.waited_for_quiet()),
        Reason::Group => Some(language.waited_for_group()),
        Reason::Throttle => Some(language.held_by_throttle()),
        Reason::Count | Reason::Digest => None,
    }
}

/// `12 calls`, or `12 calls, 17 events`; `17 events` when they are not all about calls.
fn counted(summary: &Summary, language: Language) -> String {
    match calls_of(summary) {
        Some(calls) if calls == summary.count => language.calls(calls),
        Some(calls) => format!("{}, {}", language.calls(calls), language.events(summary.count)),
        None => language.events(summary.count),
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
fn total(label: &str, counts: impl Iterator<Item = (String, u64)>) -> Fact {
    let mut counts: Vec<_> = counts.collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let counts: Vec<_> = counts.into_iter().map(|(what, count)| format!("{what} {count}")).collect();
    Fact::new(label, &counts.join(", "))
}
