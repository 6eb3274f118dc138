//! Deliveries as people read them. Pure.

use std::{fmt::Write, time::Duration};

use super::wait;
use crate::{
    calendar::Zone,
    event::Subject,
    name::Name,
    ops::{Delivery, DestinationOverview, KeptBack, LoggedAttempt, PauseStatus, Status},
    privacy::UNKNOWN_NUMBER,
    store::DeliveryStateKind,
    style::WIDTH,
    template::truncate,
    time::Timestamp,
};

/// When and where a report is read, by which its times are shown.
#[derive(Clone, Copy)]
pub(in crate::cli) struct Reader {
    pub(in crate::cli) now: Timestamp,
    pub(in crate::cli) zone: Zone,
}

impl Reader {
    /// `2025-12-15 10:00:00 CET (3h ago)`
    pub(in crate::cli) fn moment(self, at: Timestamp) -> String {
        let shown = self.zone.show(at);
        if at > self.now {
            return format!("{shown} (in {})", age(at.since(self.now)));
        }
        format!("{shown} ({} ago)", age(self.now.since(at)))
    }
}

/// The widest column of destinations; `show` has the whole name.
const NAME_WIDTH: usize = 16;

/// The widest masked number.
const CALLER_WIDTH: usize = 24;

/// How far the second line of a delivery is moved in.
const INDENT: usize = 2;

/// Two lines for each delivery, of `total`, and what keeps deliveries back.
pub(super) fn table(deliveries: &[Delivery], total: u64, status: &Status, zone: Zone) -> String {
    let mut rows = vec![["EVENT", "TO", "STATE", "TRIES", "AGE", "LAST"].map(str::to_owned)];
    // The head of the lines between.
    let mut between = vec!["RULE  CALLER".to_owned()];
    between.extend(deliveries.iter().map(|delivery| {
        let unknown = if delivery.call.is_some() { UNKNOWN_NUMBER } else { "" };
        let caller = delivery.caller.as_deref().unwrap_or(unknown);
        let room = WIDTH - INDENT - 2 - caller.chars().count().min(CALLER_WIDTH);
        format!(
            "{}  {}",
            truncate(&listed(&delivery.rule, &delivery.also), room),
            truncate(caller, CALLER_WIDTH)
        )
    }));
    rows.extend(deliveries.iter().map(|delivery| {
        [
            delivery.event.to_string(),
            truncate(delivery.destination.as_str(), NAME_WIDTH),
            delivery.state.as_str().to_owned(),
            delivery.attempts.to_string(),
            age_at(delivery.created, status.at),
            last(delivery),
        ]
    }));
    let mut out = String::new();
    if !deliveries.is_empty() {
        for (row, between) in lay_out(&rows).lines().zip(&between) {
            let _ = writeln!(out, "{row}\n{:INDENT$}{}", "", between.trim_end());
        }
    }
    if (deliveries.len() as u64) < total {
        let _ = writeln!(out, "the newest {} of {total}; --limit shows more", deliveries.len());
    } else if total == 0 {
        out.push_str("no deliveries\n");
    }
    status.destinations.iter().for_each(|destination| pause_line(&mut out, destination, zone));
    status.destinations.iter().for_each(|destination| stranded_line(&mut out, destination));
    out
}

/// The reason why a delivery waits, or else the result of its last attempt.
fn last(delivery: &Delivery) -> String {
    match (&delivery.kept_back, delivery.log.last(), &delivery.told_by) {
        (Some(why), ..) => why.to_string(),
        (None, Some(attempt), _) => attempt.result.clone(),
        (None, None, Some(into)) => format!("part of {into}"),
        (None, None, None) => "not tried yet".to_owned(),
    }
}

/// Says that a destination is paused, and until when.
fn pause_line(
    out: &mut String,
    DestinationOverview { name, pause, deliveries, .. }: &DestinationOverview,
    zone: Zone,
) {
    let Some(PauseStatus { since, reason, until }) = pause else { return };
    let end = match until {
        Some(until) => format!("until {}", zone.show(*until)),
        None => format!("until `callwatch deliveries resume {name}`"),
    };
    let waits = wait(deliveries.unfinished());
    let _ = writeln!(out, "{name} is paused since {} ({reason}): {waits} {end}", zone.show(*since));
}

/// Says that deliveries wait for a destination that the config does not have.
fn stranded_line(
    out: &mut String,
    DestinationOverview { name, is_configured, deliveries, .. }: &DestinationOverview,
) {
    if *is_configured || deliveries.unfinished() == 0 {
        return;
    }
    let waits = wait(deliveries.unfinished());
    let _ = writeln!(
        out,
        "{name} is not in the config: {waits} until it is back, or until `callwatch deliveries drop --all \
         --destination {name}`"
    );
}

/// All there is to know of each delivery, attempt by attempt.
pub(super) fn details(deliveries: &[Delivery], reader: Reader) -> String {
    deliveries.iter().map(|delivery| detail(delivery, reader)).collect::<Vec<_>>().join("\n")
}

fn detail(delivery: &Delivery, reader: Reader) -> String {
    let Delivery { event, destination, rule, also, sequence, created, attempts, log, .. } = delivery;
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:11} {value}");
    };
    line("event", event.as_str());
    line("destination", destination.as_str());
    line("state", &state_line(delivery, reader));
    match (&delivery.source, &delivery.call) {
        (Some(source), Some(call)) => {
            line("call", &format!("{call} of {source}, delivery {sequence} about it"));
        }
        (Some(source), None) => line("source", source.as_str()),
        (None, _) => {}
    }
    if let Some(batch) = &delivery.stands_for {
        line("stands for", &format!("the deliveries that waited in batch {batch}"));
    }
    match &delivery.about {
        Some(Subject::Destination(destination)) => line("about", &format!("destination {destination}")),
        Some(Subject::Config) => line("about", "the config"),
        _ => {}
    }
    line(if also.is_empty() { "rule" } else { "rules" }, &listed(rule, also));
    line("made", &reader.moment(*created));
    let kept =
        if log.len() < *attempts as usize { format!(", the last {}:", log.len()) } else { String::new() };
    line("attempts", &format!("{attempts}{kept}"));
    for attempt in log {
        let _ = writeln!(out, "  {}", attempt_line(attempt, reader));
        if let Some(answer) = attempt.answer.as_ref().filter(|answer| !answer.is_empty()) {
            let _ = writeln!(out, "    {answer}");
        }
    }
    out
}

/// The rules that a delivery tells: `unhappy-caller, booked`
pub(in crate::cli) fn listed(rule: &Name, also: &[Name]) -> String {
    let names: Vec<_> = std::iter::once(rule).chain(also).map(Name::as_str).collect();
    names.join(", ")
}

/// Where a delivery is, and what it waits for.
pub(in crate::cli) fn state_line(delivery: &Delivery, reader: Reader) -> String {
    let Delivery { destination, state, due, kept_back, finished, told_by, reason, .. } = delivery;
    let at = finished.map(|at| reader.zone.show(at)).unwrap_or_default();
    match (state, kept_back) {
        (DeliveryStateKind::Held, Some(KeptBack::InBatch(batch))) => format!("held: waits in batch {batch}"),
        (DeliveryStateKind::Pending, Some(why)) => format!("pending: {destination} is {why}"),
        (DeliveryStateKind::Pending, None) => match due.filter(|due| *due > reader.now) {
            Some(due) => format!("pending: next try at {}", reader.moment(due)),
            None => "pending: due now".to_owned(),
        },
        (DeliveryStateKind::Merged, _) => {
            let into = told_by.as_ref().map(|into| into.as_str()).unwrap_or_default();
            format!("merged at {at}: told as part of {into}")
        }
        (DeliveryStateKind::Dead, _) => format!("dead since {at}: {}", reason.as_deref().unwrap_or_default()),
        (DeliveryStateKind::Delivered, _) => format!("delivered at {at}"),
        (DeliveryStateKind::Held, _) => "held".to_owned(),
    }
}

/// Columns as wide as they need to be; the last one has the rest of the line.
pub(in crate::cli) fn lay_out<const N: usize>(rows: &[[String; N]]) -> String {
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

/// An attempt on one line, without its answer.
pub(in crate::cli) fn attempt_line(attempt: &LoggedAttempt, reader: Reader) -> String {
    let LoggedAttempt { at, took_ms, result, .. } = attempt;
    format!("{}  {took_ms} ms  {result}", reader.zone.show(*at))
}

/// How long ago it was, or `in 2h` for what a clock that was ahead made.
fn age_at(at: Timestamp, now: Timestamp) -> String {
    if at > now { format!("in {}", age(at.since(now))) } else { age(now.since(at)) }
}

/// A time span in its largest unit: `45s`, `3h`, `12d`.
pub(in crate::cli) fn age(time: Duration) -> String {
    let secs = time.as_secs();
    let (unit, word) = match secs {
        0..60 => (1, "s"),
        60..3600 => (60, "m"),
        3600..86_400 => (3600, "h"),
        _ => (86_400, "d"),
    };
    format!("{}{word}", secs / unit)
}
