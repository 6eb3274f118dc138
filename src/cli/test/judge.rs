//! Runs a test, and compares the messages that were sent with those that were expected.

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono::Timelike;
use serde_json::value::to_raw_value;

use super::{
    call::Made,
    file::{Expectation, Happening, Never, Test, Title, When},
};
use crate::{
    call::{Call, CallId},
    config_file::Config,
    destination::{self, DestinationConfig, Notification},
    event::Event,
    kind::Kind,
    name::Name,
    rehearsal::{Log, Rehearsal, Told},
    store::StoreError,
    summary::Summary,
    telemetry::Signal,
    time::Timestamp,
};

/// The longest time that pending deliveries and conditions are waited for after the last step.
const PATIENCE: Duration = Duration::from_secs(8 * 24 * 3600);

/// The result of a test.
pub(super) struct Verdict {
    /// Messages that were expected, sent, or both, in the order of time.
    pub(super) lines: Vec<Line>,
    /// Notes that may explain a failure.
    pub(super) notes: Vec<String>,
}

/// A message that was expected, sent, or both.
pub(super) struct Line {
    pub(super) mark: Mark,
    pub(super) when: When,
    pub(super) destination: Name,
    pub(super) rule: Name,
    /// Its title, with the number of events if it stands for several.
    pub(super) text: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// It was expected and sent.
    Fine,
    /// It was expected and not sent.
    Missing,
    /// It was sent and not expected.
    Unexpected,
}

/// One rule of a message that was sent. A message that tells several rules of one change is here once for each of them.
struct Message {
    at: Timestamp,
    destination: Name,
    rule: Name,
    call: Option<CallId>,
    title: Option<String>,
    /// The rule that gives the message its title, when that is another one.
    told_with: Option<Name>,
    /// How many events it stands for.
    count: u64,
    /// The rules of those events.
    rules: Vec<Name>,
}

impl Verdict {
    pub(super) fn is_fine(&self) -> bool {
        self.lines.iter().all(|line| line.mark == Mark::Fine)
    }
}

/// Runs `test` with the rules of `config`.
pub(super) async fn judge(test: &Test, config: &Config) -> Result<Verdict, StoreError> {
    let mut config = config.clone();
    if let Some(only) = &test.rules {
        config.rules.retain(|rule| only.contains(&rule.name));
    }
    let mut rehearsal = run(test, &config).await?;
    let log = rehearsal.take_log();
    let told = log.told.iter();
    let messages: Vec<_> = told.flat_map(|told| Message::all_of(told, &rehearsal, &config)).collect();
    let wanted: Vec<_> =
        test.expect.iter().flat_map(|expected| expected.to.iter().map(move |to| (expected, to))).collect();
    let found = pair(&wanted, &messages);

    let mut lines = vec![];
    for (&(expected, to), message) in wanted.iter().zip(&found) {
        lines.push(match message {
            Some(message) => messages[*message].line(Mark::Fine),
            None => missing(expected, to),
        });
    }
    for (at, message) in messages.iter().enumerate() {
        let is_expected = found.contains(&Some(at));
        let is_forbidden = test.never.iter().any(|never| never.forbids(message));
        if is_forbidden || (test.nothing_else && !is_expected) {
            lines.push(message.line(Mark::Unexpected));
        }
    }
    lines.sort_by_key(|line| (line.when.begins(), line.mark != Mark::Missing));
    let missed = wanted.iter().zip(&found).filter(|(_, found)| found.is_none());
    let mut rules: Vec<_> = missed.map(|((expected, _), _)| &expected.rule).collect();
    rules.dedup();
    let notes = rules.into_iter().flat_map(|rule| explain(rule, &log, test)).collect();
    Ok(Verdict { lines, notes })
}

async fn run(test: &Test, config: &Config) -> Result<Rehearsal, StoreError> {
    let mut rehearsal = Rehearsal::new(config, test.start).await?;
    let mut calls: HashMap<(Name, CallId), Made> = HashMap::new();
    for step in &test.steps {
        rehearsal.advance(step.at).await?;
        match &step.what {
            Happening::Seen { call, set, clear } => {
                let number = calls.len() + 1;
                let made = calls
                    .entry((step.source.clone(), call.clone()))
                    .or_insert_with(|| Made::new(call.clone(), number, step.at));
                made.apply(set, clear, step.at);
                // Always succeeds: whatever a step sets, the record is an object with an id and a status.
                if let Ok(record) = to_raw_value(&made.record(step.at))
                    && let Ok(call) = Call::parse(&record)
                {
                    rehearsal.observe(&step.source, &call).await?;
                }
            }
            Happening::Deleted(call) => rehearsal.delete(&step.source, call).await?,
            Happening::OfSource(kind) => {
                let mut details = serde_json::json!({ "since": step.at.to_string() });
                if *kind == Kind::SourceFailing {
                    details["cause"] = "unreachable".into();
                    details["error"] = "the API cannot be reached: connection refused".into();
                }
                rehearsal.tell_of_source(&step.source, *kind, step.at, &details).await?;
            }
        }
    }
    let last = rehearsal.now();
    match test.until {
        Some(until) => rehearsal.advance(last.after(until)).await?,
        None => rehearsal.run_out(last.after(PATIENCE)).await?,
    }
    Ok(rehearsal)
}

/// Pairs expectations with messages, as many as possible; each message meets only one for each rule that it tells.
/// Returns the index of the message for each expectation.
fn pair(wanted: &[(&Expectation, &Name)], messages: &[Message]) -> Vec<Option<usize>> {
    /// Finds a message for `want`, if need be by moving another expectation to a new message (Kuhn's algorithm).
    fn place(want: usize, fits: &[Vec<usize>], seen: &mut [bool], taken: &mut [Option<usize>]) -> bool {
        for &message in &fits[want] {
            if std::mem::replace(&mut seen[message], true) {
                continue;
            }
            if taken[message].is_none_or(|other| place(other, fits, seen, taken)) {
                taken[message] = Some(want);
                return true;
            }
        }
        false
    }
    let fits: Vec<Vec<usize>> = wanted
        .iter()
        .map(|(expected, to)| {
            let all = messages.iter().enumerate();
            all.filter(|(_, message)| message.is(expected, to)).map(|(at, _)| at).collect()
        })
        .collect();
    let mut taken = vec![None; messages.len()];
    for want in 0..wanted.len() {
        place(want, &fits, &mut vec![false; messages.len()], &mut taken);
    }
    (0..wanted.len()).map(|want| taken.iter().position(|by| *by == Some(want))).collect()
}

impl Message {
    /// A message, split by the rules that it tells: the first as it would be alone, the others with their titles.
    fn all_of(told: &Told, rehearsal: &Rehearsal, config: &Config) -> Vec<Self> {
        let alone = |rule: &Name| {
            let event = Event { rule: rule.clone(), also: vec![], ..Event::clone(&told.event) };
            Self::of(
                &Told { event: Arc::new(event), destination: told.destination.clone(), ..*told },
                rehearsal,
                config,
            )
        };
        let mut all: Vec<_> = told.event.rules().map(alone).collect();
        for other in all.iter_mut().skip(1) {
            other.told_with = Some(told.event.rule.clone());
        }
        all
    }

    fn of(told: &Told, rehearsal: &Rehearsal, config: &Config) -> Self {
        let Told { at, destination, event, sequence } = told;
        let summary = Summary::of(event).ok().flatten();
        let is_it = |it: &&DestinationConfig| it.name == *destination;
        let notification = Notification {
            event,
            rules: rehearsal.rules(),
            sequence: *sequence,
            memo: None,
            followed: false,
            now: *at,
        };
        let shown = config.destinations.iter().find(is_it).map(|it| destination::show(it, &notification));
        let rules = summary.as_ref().map(|summary| summary.rules.keys().cloned().collect());
        Self {
            at: *at,
            destination: destination.clone(),
            rule: event.rule.clone(),
            call: event.subject.call().cloned(),
            title: shown.and_then(Result::ok).and_then(|shown| shown.title),
            told_with: None,
            count: summary.map_or(1, |summary| summary.count),
            rules: rules.unwrap_or_else(|| vec![event.rule.clone()]),
        }
    }

    /// Whether it is the message to `to` that `expected` describes.
    fn is(&self, expected: &Expectation, to: &Name) -> bool {
        let Expectation { when, rule, call, title, count, .. } = expected;
        let in_time = match when {
            When::At(at) => self.at == *at,
            When::Within(from, to) => (*from..=*to).contains(&self.at),
            When::AnyTime => true,
        };
        let says_so = match (title, &self.title) {
            // Webhooks have no title.
            (None, _) | (_, None) => true,
            (Some(Title::Is(title)), Some(said)) => title == said,
            (Some(Title::Contains(part)), Some(said)) => said.contains(part.as_str()),
        };
        in_time
            && says_so
            && self.rule == *rule
            && self.destination == *to
            && call.as_ref().is_none_or(|call| self.call.as_ref() == Some(call))
            && count.is_none_or(|count| self.count == count)
    }

    fn line(&self, mark: Mark) -> Line {
        let title = self.title.clone().unwrap_or_default();
        let text = match self.count {
            1 => title,
            count => format!("({count}) {title}").trim_end().to_owned(),
        };
        let text = match &self.told_with {
            Some(first) => format!("{text} (told with {first})").trim_start().to_owned(),
            None => text,
        };
        Line {
            mark,
            when: When::At(self.at),
            destination: self.destination.clone(),
            rule: self.rule.clone(),
            text,
        }
    }
}

impl Never {
    fn forbids(&self, message: &Message) -> bool {
        let is_of_it = message.rule == self.rule || message.rules.contains(&self.rule);
        is_of_it && self.to.as_ref().is_none_or(|to| to.contains(&message.destination))
    }
}

impl When {
    fn begins(self) -> Option<Timestamp> {
        match self {
            Self::At(at) | Self::Within(at, _) => Some(at),
            Self::AnyTime => None,
        }
    }
}

fn missing(expected: &Expectation, to: &Name) -> Line {
    let title = match &expected.title {
        Some(Title::Is(title)) => title.clone(),
        Some(Title::Contains(part)) => format!("…{part}…"),
        None => String::new(),
    };
    let count = expected.count.map(|count| format!("({count}) ")).unwrap_or_default();
    let call = expected.call.as_ref().map(|call| format!(" [call {call}]")).unwrap_or_default();
    Line {
        mark: Mark::Missing,
        when: expected.when,
        destination: to.clone(),
        rule: expected.rule.clone(),
        text: format!("{count}{title}{call}").trim().to_owned(),
    }
}

/// Notes on what the rule made of the steps, for an expected message that was not sent.
fn explain(rule: &Name, log: &Log, test: &Test) -> Vec<String> {
    let times = |times: Vec<Timestamp>| {
        let mut times: Vec<_> = times.into_iter().map(|at| test.say(at)).collect();
        times.dedup();
        times.join(", ")
    };
    let (mut unknown, mut too_old, mut failed) = (vec![], vec![], vec![]);
    for (at, signal) in &log.signals {
        match signal {
            Signal::Unknown { rule: of, .. } if of == rule => unknown.push(*at),
            Signal::TooOld { rule: of, .. } if of == rule => too_old.push(*at),
            Signal::RuleFailed { rule: of, error } if of == rule => failed.push((*at, error)),
            _ => {}
        }
    }
    let fired: Vec<_> = log.fired.iter().filter(|event| event.rule == *rule).map(|event| event.at).collect();
    let mut notes = vec![];
    if !fired.is_empty() {
        notes.push(format!("{rule} fired at {}", times(fired)));
    } else if test.rules.as_ref().is_some_and(|only| !only.contains(rule)) {
        notes.push(format!("{rule} is not among the `rules` of this test"));
    } else {
        notes.push(format!("{rule} did not fire"));
    }
    if !unknown.is_empty() {
        notes.push(format!("{rule}: a field of its condition was missing or null at {}", times(unknown)));
    }
    if !too_old.is_empty() {
        notes.push(format!("{rule}: the change was older than max_age at {}", times(too_old)));
    }
    if let Some((at, error)) = failed.first() {
        notes.push(format!("{rule}: its condition failed at {}: {error}", test.say(*at)));
    }
    notes
}

impl Test {
    /// A time as the author of the test thinks of it: with the time of day if the test has a date.
    pub(super) fn say(&self, at: Timestamp) -> String {
        let offset = humantime::format_duration(at.since(self.start));
        match self.zone.local(at).filter(|_| self.is_dated) {
            Some(local) if local.second() > 0 => format!("{} (+{offset})", local.format("%a %H:%M:%S")),
            Some(local) => format!("{} (+{offset})", local.format("%a %H:%M")),
            None => offset.to_string(),
        }
    }

    /// The time of an expectation, likewise.
    pub(super) fn say_when(&self, when: When) -> String {
        match when {
            When::At(at) => self.say(at),
            When::Within(from, to) => format!("{} to {}", self.say(from), self.say(to)),
            When::AnyTime => "any time".to_owned(),
        }
    }
}
