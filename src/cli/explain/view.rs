//! The story of a call as people read it. Pure.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::{
    cli::deliveries::{Reader, attempt_line, listed, state_line},
    kind::Kind,
    ops::{BatchWait, CallStory, Delivery, DeliveryStory, KnownOfCall, OfNumber, OtherCall, RuleStory},
    style::{Colour, Style, WIDTH, wrap},
    template::truncate,
    time::Timestamp,
};

/// The rules that have to do with the call come first, each with its condition and its deliveries.
pub(super) fn text(story: &CallStory, reader: Reader, style: Style) -> String {
    let mut out = style.paint(Colour::Bold, &format!("call {} of {}", story.call, story.source)) + "\n";
    if let Some(of_number) = &story.of_number {
        others(&mut out, of_number, reader);
    }
    known(&mut out, &story.known, reader);
    let (concerned, others): (Vec<_>, Vec<_>) =
        story.rules.iter().partition(|rule| rule.standing.is_concerned());
    for RuleStory { rule, standing, condition_lines, asks_for_transcript, deliveries, .. } in concerned {
        let words = standing.words(|at| reader.moment(at));
        let said = wrap(&format!("{rule} {words}"), WIDTH);
        let (first, rest) = said.split_once('\n').unwrap_or((&said, ""));
        let name = style.paint(Colour::Bold, rule.as_str());
        let first = first.strip_prefix(rule.as_str()).unwrap_or(first);
        let _ = writeln!(out, "\n{name}{first}");
        wrapped(&mut out, 2, rest);
        condition_lines.iter().for_each(|line| indented(&mut out, 2, line));
        if *asks_for_transcript {
            indented(&mut out, 2, "(transcripts are not kept: what is asked of it is unknown here)");
        }
        deliveries.iter().for_each(|story| delivery(&mut out, story, reader));
    }
    if !story.other_deliveries.is_empty() {
        out.push_str("\nof rules that are no longer in the config\n");
        story.other_deliveries.iter().for_each(|story| delivery(&mut out, story, reader));
    }
    if !others.is_empty() {
        out.push('\n');
    }
    for RuleStory { rule, standing, .. } in others {
        let words = standing.words(|at| reader.moment(at));
        out += &(wrap(&format!("{rule} {words}"), WIDTH).replace('\n', "\n  ") + "\n");
    }
    out
}

/// The other calls of the number that was asked for.
fn others(out: &mut String, OfNumber { number, others, newest }: &OfNumber, reader: Reader) {
    let line = match others {
        0 => format!("the only call of {number}"),
        1 => format!("the newest of 2 calls of {number}; the other:"),
        others => format!("the newest of {} calls of {number}; the others:", others + 1),
    };
    indented(out, 2, &line);
    for OtherCall { call, source, at } in newest {
        indented(out, 4, &format!("{call} of {source}, {}", reader.moment(*at)));
    }
    if *others > newest.len() {
        indented(out, 4, &format!("and {} older ones", others - newest.len()));
    }
}

/// The call as it is remembered.
fn known(out: &mut String, known: &KnownOfCall, reader: Reader) {
    let mut line = |name: &str, value: &str| {
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        indented(out, 2, &format!("{name:13} {value}"));
    };
    line("first seen", &reader.moment(known.first_seen));
    if let Some(completed) = known.completed_seen {
        line("seen over", &reader.moment(completed));
    }
    // In the order in which they come to a call.
    let kinds = [Kind::Started, Kind::Ended, Kind::Analyzed, Kind::Updated, Kind::Deleted];
    let kinds = kinds.into_iter().filter(|kind| known.kinds.contains(*kind));
    let kinds: Vec<_> = kinds.map(Kind::as_str).collect();
    line("has been", &kinds.join(", "));
    let states = if known.states == 1 { "1 state".to_owned() } else { format!("{} states", known.states) };
    line("seen in", &states);
    if known.deleted {
        line("now", "deleted; this is how it was last seen");
    }
    if known.erased {
        line("fields", "erased by `callwatch forget`");
    } else if known.shrunk {
        line("fields", "most are forgotten: it was settled longer ago than [store] retain");
    }
    for (name, value) in flat(&known.fields) {
        let local = Timestamp::parse(&value).map(|at| reader.zone.show(at));
        line(&name, local.as_deref().unwrap_or(&value));
    }
}

/// A delivery, its attempts, and what it waits for.
fn delivery(out: &mut String, story: &DeliveryStory, reader: Reader) {
    let DeliveryStory { delivery, waits_for, told_by } = story;
    let Delivery { event, destination, rule, also, attempts, log, .. } = delivery;
    indented(out, 2, &format!("→ {destination}  {event}"));
    if !also.is_empty() {
        wrapped(out, 4, &format!("one message for {}", listed(rule, also)));
    }
    wrapped(out, 4, &state_line(delivery, reader));
    let left_out = (*attempts as usize).saturating_sub(log.len());
    if left_out > 0 {
        indented(out, 4, &format!("{left_out} earlier attempts"));
    }
    log.iter().for_each(|attempt| indented(out, 4, &attempt_line(attempt, reader)));
    if let Some(wait) = waits_for {
        wrapped(out, 4, &wait_line(*wait, reader));
    }
    match (&delivery.told_by, told_by) {
        (Some(into), Some(teller)) => {
            wrapped(out, 4, &format!("{into} is {}", state_line(teller, reader)));
            teller.log.iter().for_each(|attempt| indented(out, 6, &attempt_line(attempt, reader)));
        }
        (Some(into), None) => indented(out, 4, &format!("{into} is no longer kept")),
        (None, _) => {}
    }
}

fn wait_line(wait: BatchWait, reader: Reader) -> String {
    match wait {
        BatchWait::Until(at) if at <= reader.now => {
            format!("goes out when callwatch runs: due since {}", reader.zone.show(at))
        }
        BatchWait::Until(at) => format!("goes out at {}", reader.moment(at)),
        BatchWait::ForMore => "goes out when as many have come in as the rule's `count` says".to_owned(),
        BatchWait::ForConfig => "its destination is not in the config".to_owned(),
    }
}

/// Fields as names and values, those of objects one by one.
fn flat(fields: &Map<String, Value>) -> Vec<(String, String)> {
    let mut all = vec![];
    for (name, value) in fields {
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                all.extend(flat(inner).into_iter().map(|(inner, value)| (format!("{name}.{inner}"), value)));
            }
            Value::String(text) => all.push((name.clone(), text.clone())),
            other => all.push((name.clone(), other.to_string())),
        }
    }
    all
}

/// A text on as many lines as it takes.
fn wrapped(out: &mut String, by: usize, text: &str) {
    wrap(text, WIDTH - by).lines().for_each(|line| indented(out, by, line));
}

/// One line, cut where the terminal's width ends.
fn indented(out: &mut String, by: usize, line: &str) {
    let line: String = line.chars().filter(|c| !c.is_control()).collect();
    let _ = writeln!(out, "{:by$}{}", "", truncate(&line, WIDTH - by));
}
