//! Deliveries as people and programs read them. Pure.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    time::Duration,
};

use serde_json::{Value, json};

use super::waiting;
use crate::{
    event::Subject,
    name::Name,
    privacy::mask_phones_in,
    store::{Attempt, DeliveryId, DeliveryRecord, DeliveryState, Pause, Tally},
    style::WIDTH,
    template::truncate,
    time::Timestamp,
};

/// The widest column of destinations; `show` has the whole name.
const NAME_WIDTH: usize = 16;

/// What is needed to say how a delivery stands.
pub(in crate::cli) struct View {
    pub(in crate::cli) now: Timestamp,
    /// Destinations that are left alone.
    pub(in crate::cli) pauses: BTreeMap<Name, Pause>,
    /// Destinations of the config.
    pub(in crate::cli) configured: BTreeSet<Name>,
    pub(in crate::cli) tallies: BTreeMap<Name, Tally>,
}

impl View {
    /// One line each, of `total`, and what keeps deliveries back.
    pub(in crate::cli) fn table(&self, records: &[DeliveryRecord], total: usize) -> String {
        let mut rows = vec![["EVENT", "TO", "STATE", "TRIES", "AGE", "LAST"].map(str::to_owned)];
        rows.extend(records.iter().map(|record| {
            let DeliveryRecord { id, state, attempts, log, created, .. } = record;
            [
                id.event.to_string(),
                truncate(id.destination.as_str(), NAME_WIDTH),
                state_word(state).to_owned(),
                attempts.to_string(),
                brief(self.now.since(*created)),
                self.last(record, log.last()),
            ]
        }));
        let mut out = if records.is_empty() { String::new() } else { lay_out(&rows) };
        if records.len() < total {
            let _ = writeln!(out, "the newest {} of {total}; --limit shows more", records.len());
        } else if total == 0 {
            out.push_str("no deliveries\n");
        }
        out.push_str(&self.held_back());
        out
    }

    /// What happened last, or what it waits for.
    fn last(&self, record: &DeliveryRecord, attempt: Option<&Attempt>) -> String {
        match (self.held(record), attempt) {
            (Some(why), _) => why.into_owned(),
            (None, Some(attempt)) => mask_phones_in(&attempt.result),
            (None, None) => match &record.state {
                DeliveryState::Merged { into, .. } => format!("part of {into}"),
                _ => "not tried yet".to_owned(),
            },
        }
    }

    /// Why a delivery that is not finished is not tried, if it is not.
    fn held(&self, record: &DeliveryRecord) -> Option<Cow<'static, str>> {
        let DeliveryRecord { id: DeliveryId { destination, .. }, state, .. } = record;
        match state {
            DeliveryState::Pending { .. } if !self.configured.contains(destination) => {
                Some("not in the config".into())
            }
            DeliveryState::Pending { .. } if self.pauses.contains_key(destination) => Some("paused".into()),
            DeliveryState::Held { batch } => Some(format!("in batch {batch}").into()),
            _ => None,
        }
    }

    /// Which destinations' deliveries wait for a person.
    fn held_back(&self) -> String {
        let mut out = String::new();
        let unfinished = |name: &Name| self.tallies.get(name).map_or(0, Tally::unfinished);
        for (name, Pause { since, reason, until, .. }) in &self.pauses {
            let end = match until {
                Some(until) => format!("until {until}"),
                None => format!("until `callwatch deliveries resume {name}`"),
            };
            let waiting = waiting(unfinished(name));
            let reason = mask_phones_in(reason);
            let _ = writeln!(out, "{name} is paused since {since} ({reason}): {waiting} {end}");
        }
        for name in
            self.tallies.keys().filter(|name| unfinished(name) > 0 && !self.configured.contains(*name))
        {
            let waiting = waiting(unfinished(name));
            let _ = writeln!(
                out,
                "{name} is not in the config: {waiting} until it is back, or until `callwatch deliveries drop --all \
                 --destination {name}`"
            );
        }
        out
    }

    /// All there is to know, attempt by attempt.
    pub(in crate::cli) fn details(&self, records: &[DeliveryRecord], answers: bool) -> String {
        let mut out = String::new();
        for (n, record) in records.iter().enumerate() {
            if n > 0 {
                out.push('\n');
            }
            self.detail(&mut out, record, answers);
        }
        out
    }

    fn detail(&self, out: &mut String, record: &DeliveryRecord, answers: bool) {
        let DeliveryRecord { id, subject, rule, sequence, created, attempts, log, .. } = record;
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(out, "{name:11} {value}");
        };
        line("event", id.event.as_str());
        line("destination", id.destination.as_str());
        line("state", &self.state(record));
        match subject {
            Subject::Call { source, call } => {
                line("call", &format!("{call} of {source}, delivery {sequence} about it"));
            }
            Subject::Source(source) => line("source", source.as_str()),
            Subject::Destination(destination) => line("about", &format!("destination {destination}")),
            Subject::Batch(batch) => {
                line("stands for", &format!("the deliveries that waited in batch {batch}"))
            }
            Subject::Config => line("about", "the config"),
        }
        line("rule", rule.as_str());
        line("made", &format!("{created} ({} ago)", brief(self.now.since(*created))));
        let kept =
            if log.len() < *attempts as usize { format!(", the last {}:", log.len()) } else { String::new() };
        line("attempts", &format!("{attempts}{kept}"));
        for attempt in log {
            let _ = writeln!(out, "  {}", in_short(attempt));
            if answers && !attempt.response.is_empty() {
                let _ = writeln!(out, "    {}", mask_phones_in(&attempt.response));
            }
        }
    }

    /// Where a delivery is, and what it waits for.
    pub(in crate::cli) fn state(&self, record: &DeliveryRecord) -> String {
        match (&record.state, self.held(record)) {
            (DeliveryState::Pending { .. }, Some(why)) => {
                format!("pending: {} is {why}", record.id.destination)
            }
            (DeliveryState::Held { batch }, _) => format!("held: waits in batch {batch}"),
            (DeliveryState::Merged { at, into }, _) => format!("merged at {at}: told as part of {into}"),
            (DeliveryState::Pending { due }, None) if *due <= self.now => "pending: due now".to_owned(),
            (DeliveryState::Pending { due }, None) => {
                format!("pending: next try at {due} (in {})", brief(due.since(self.now)))
            }
            (DeliveryState::Delivered { at }, _) => format!("delivered at {at}"),
            (DeliveryState::Dead { at, reason }, _) => format!("dead since {at}: {}", mask_phones_in(reason)),
        }
    }

    /// An array of objects.
    pub(in crate::cli) fn json(&self, records: &[DeliveryRecord], answers: bool) -> String {
        let all: Vec<_> = records.iter().map(|record| self.object(record, answers)).collect();
        format!("{:#}\n", Value::from(all))
    }

    /// All there is to know, for programs; with the answers of receivers when `answers` says so.
    pub(in crate::cli) fn object(&self, record: &DeliveryRecord, answers: bool) -> Value {
        let DeliveryRecord { id, subject, rule, sequence, created, state, attempts, log, .. } = record;
        let due = if let DeliveryState::Pending { due } = state { Some(due.to_string()) } else { None };
        let reason =
            if let DeliveryState::Dead { reason, .. } = state { Some(mask_phones_in(reason)) } else { None };
        let waits_in = if let DeliveryState::Held { batch } = state { Some(batch.to_string()) } else { None };
        let told_by = if let DeliveryState::Merged { into, .. } = state { Some(into.as_str()) } else { None };
        let log: Vec<_> = log
            .iter()
            .map(|Attempt { at, took_ms, result, response }| {
                let mut attempt =
                    json!({ "at": at.to_string(), "took_ms": took_ms, "result": mask_phones_in(result) });
                if answers {
                    attempt["answer"] = mask_phones_in(response).into();
                }
                attempt
            })
            .collect();
        json!({
            "event": id.event.as_str(),
            "destination": id.destination.as_str(),
            "state": state_word(state),
            "due": due,
            "held": self.held(record),
            "waits_in": waits_in,
            "finished": record.finished().map(|at| at.to_string()),
            "told_by": told_by,
            "reason": reason,
            "source": subject.source().map(|source| source.as_str()),
            "call": subject.call().map(|call| call.as_str()),
            "stands_for": subject.batch().map(|batch| batch.to_string()),
            "rule": rule.as_str(),
            "sequence": sequence,
            "created": created.to_string(),
            "attempts": attempts,
            "log": log,
        })
    }
}

/// Columns as wide as they need to be; the last has what is left.
fn lay_out<const N: usize>(rows: &[[String; N]]) -> String {
    let mut out = String::new();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..N - 1).map(width).collect();
    let left = WIDTH.saturating_sub(widths.iter().map(|width| width + 2).sum());
    for row in rows {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(out, "{cell:width$}  ");
        }
        out.push_str(&truncate(&row[N - 1], left));
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

fn state_word(state: &DeliveryState) -> &'static str {
    match state {
        DeliveryState::Pending { .. } => "pending",
        DeliveryState::Held { .. } => "held",
        DeliveryState::Merged { .. } => "merged",
        DeliveryState::Delivered { .. } => "delivered",
        DeliveryState::Dead { .. } => "dead",
    }
}

/// An attempt on one line, without its answer.
pub(in crate::cli) fn in_short(attempt: &Attempt) -> String {
    let Attempt { at, took_ms, result, .. } = attempt;
    format!("{at}  {took_ms} ms  {}", mask_phones_in(result))
}

/// In its largest unit: `45s`, `3h`, `12d`.
pub(in crate::cli) fn brief(time: Duration) -> String {
    let secs = time.as_secs();
    let (unit, word) = match secs {
        0..60 => (1, "s"),
        60..3600 => (60, "m"),
        3600..86_400 => (3600, "h"),
        _ => (86_400, "d"),
    };
    format!("{}{word}", secs / unit)
}
