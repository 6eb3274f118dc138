//! The status as people read it. Pure.

use std::fmt::Write;

use crate::{
    cli::deliveries::{Reader, age, lay_out},
    ops::{
        DestinationOverview, DutyOverview, Mishap, NodeOverview, ServiceStatus, SourceOverview, Status,
        WorkState,
    },
    style::{Colour, Style, WIDTH, wrap},
    template::truncate,
    time::Timestamp,
};

/// How many sources, destinations and pieces of advice have room on one screen.
const ROWS: usize = 12;

/// The widest column of names.
const NAME_WIDTH: usize = 20;

/// Whether it works, what is stuck, and what to do: everything in 80 columns.
pub(super) fn screen(status: &Status, reader: Reader, style: Style) -> String {
    let mut out = headline(status, style) + "\n";
    if let Some(service) = &status.service {
        for check in service.readiness.checks.iter().filter(|check| !check.ok) {
            let mut lines = check.reason.iter().flat_map(|reason| reason.lines());
            let first = lines.next().unwrap_or("all is not well");
            let others = match lines.count() {
                0 => String::new(),
                others => format!(" (and {others} more)"),
            };
            item(&mut out, &format!("{}: {first}{others}", check.name));
        }
        out.push('\n');
        table(&mut out, ["SOURCE", "CALLS", "LIVE", "ANSWERED", "REQUESTS"], &service.sources, |source| {
            source_row(source, reader.now)
        });
    }
    out.push('\n');
    let heads = ["DESTINATION", "STATE", "PENDING", "HELD", "DEAD", "ARRIVED", "OLDEST DUE"];
    table(&mut out, heads, &status.destinations, |destination| destination_row(destination, reader.now));
    if !status.nodes.is_empty() {
        out.push('\n');
        out.push_str("nodes\n");
        for node in status.nodes.iter().take(ROWS) {
            item(&mut out, &node_line(node, reader.now));
        }
        more(&mut out, status.nodes.len());
    }
    for DutyOverview { duty, since } in &status.free {
        item(&mut out, &format!("nobody works on the {duty}, for {}", age(reader.now.since(*since))));
    }
    let advice = advice(status, reader);
    if !advice.is_empty() {
        out.push_str("\nwhat to do\n");
        advice.iter().take(ROWS).for_each(|line| item(&mut out, line));
        more(&mut out, advice.len());
    }
    out
}

fn headline(status: &Status, style: Style) -> String {
    match &status.service {
        None if status.nodes.iter().any(|node| node.live) => {
            "callwatch runs on the nodes below; this is how its database stands".to_owned()
        }
        None => style.paint(Colour::Yellow, "callwatch is stopped; this is how its store stands"),
        Some(ServiceStatus { version, sources, .. }) if status.is_well() => {
            let is_retrying = status.destinations.iter().any(|it| it.retrying().is_some())
                || sources.iter().any(|source| source.failures > 0);
            let (colour, well) = if is_retrying {
                (Colour::Yellow, "some is tried again")
            } else {
                (Colour::Green, "all is well")
            };
            style.paint(colour, &format!("callwatch {version} works, and {well}"))
        }
        Some(ServiceStatus { version, .. }) => {
            style.paint(Colour::Red, &format!("callwatch {version} runs, and not all is well"))
        }
    }
}

fn source_row(source: &SourceOverview, now: Timestamp) -> [String; 5] {
    let answered = match (source.last_success, source.failures) {
        (None, _) if source.elsewhere => "elsewhere".to_owned(),
        (None, _) => "not yet".to_owned(),
        (Some(at), 0) => format!("{} ago", age(now.since(at))),
        (Some(at), failures) => format!("{} ago, failed {failures}×", age(now.since(at))),
    };
    let requests = match source.baseline {
        Some(found) => format!("baseline: {found} calls so far"),
        None if source.elsewhere => "another node asks".to_owned(),
        None => format!("{} of {} a minute", source.requests, source.requests_allowed),
    };
    let name = truncate(source.name.as_str(), NAME_WIDTH);
    [name, source.known_calls.to_string(), source.live_calls.to_string(), answered, requests]
}

fn destination_row(destination: &DestinationOverview, now: Timestamp) -> [String; 7] {
    let state = match (&destination.work, &destination.pause) {
        (_, Some(_)) => "paused",
        (Some(work), None) => match work.state {
            WorkState::Ok if destination.retrying().is_some() => "retrying",
            WorkState::Ok => "ok",
            WorkState::Failing => "failing",
            WorkState::Paused => "paused",
        },
        (None, None) if destination.elsewhere => "elsewhere",
        (None, None) if !destination.is_configured => "not in config",
        (None, None) => "stopped",
    };
    let oldest = destination.work.as_ref().and_then(|work| work.oldest_due);
    let oldest = oldest.map_or("-".to_owned(), |due| format!("{} ago", age(now.since(due))));
    let tally = &destination.deliveries;
    [
        truncate(destination.name.as_str(), NAME_WIDTH),
        state.to_owned(),
        tally.pending.to_string(),
        tally.held.to_string(),
        tally.dead.to_string(),
        tally.delivered.to_string(),
        oldest,
    ]
}

/// A process and all it works on.
fn node_line(node: &NodeOverview, now: Timestamp) -> String {
    let (this, name) = (if node.is_this { " (this one)" } else { "" }, &node.name);
    let since = age(now.since(node.since));
    if !node.live {
        let silent = age(now.since(node.seen));
        return format!("{name}{this}: lost, last heard of {silent} ago; it began {since} ago");
    }
    let leaving = if node.leaving { ", is leaving" } else { "" };
    let duties: Vec<_> = node.duties.iter().map(|it| it.duty.as_str()).collect();
    let duties = if duties.is_empty() { "nothing".to_owned() } else { duties.join(", ") };
    format!("{name}{this}, for {since}{leaving}, works on: {duties}")
}

/// The next steps for a person, the most pressing first.
fn advice(status: &Status, reader: Reader) -> Vec<String> {
    let mut advice = vec![];
    if status.configs_differ() {
        advice.push(
            "the nodes have different configs: give all of them the same; a rule that only some have fires while one of \
             them polls, and a source that only some have is polled only while one of them runs"
                .to_owned(),
        );
    }
    match &status.service {
        None if status.nodes.iter().any(|node| node.live) => {}
        None => advice.push("start it: `callwatch run`".to_owned()),
        Some(service) => {
            if service.config.rejected.is_some() {
                advice.push("mend the config file; `callwatch check` shows every mistake in it".to_owned());
            } else if service.config.differs.is_some() {
                advice.push("put the config file to work with SIGHUP, or look why it differs".to_owned());
            }
            let failed = service.sources.iter().filter(|source| source.failures > 0 && !source.refused);
            advice.extend(failed.filter_map(|source| {
                let Mishap { error, .. } = source.last_error.as_ref()?;
                Some(format!(
                    "{}: the last request failed ({error}); it is asked again by itself",
                    source.name
                ))
            }));
            let refused = service.sources.iter().filter(|source| source.refused);
            advice.extend(refused.map(|source| {
                format!(
                    "{}: give it a key that the API takes, then reload the config with SIGHUP",
                    source.name
                )
            }));
        }
    }
    for destination in &status.destinations {
        let DestinationOverview { name, is_configured, pause, deliveries, work, elsewhere: _ } = destination;
        if !is_configured && deliveries.unfinished() > 0 {
            advice.push(format!(
                "{name}: put it back into the config, or forget what waits for it with `callwatch deliveries drop \
                 --all --destination {name}`"
            ));
        }
        if let Some(pause) = pause {
            let since = reader.zone.show(pause.since);
            let resume = format!("`callwatch deliveries resume {name}`");
            advice.push(match pause.until {
                Some(until) => {
                    let until = reader.zone.show(until);
                    format!(
                        "{name}: paused since {since} ({}) until {until}, or until {resume}",
                        pause.reason
                    )
                }
                None => format!("{name}: paused since {since} ({}) until {resume}", pause.reason),
            });
        } else if let Some(work) = work.as_ref().filter(|work| work.state == WorkState::Failing) {
            let why = work.why.as_deref().unwrap_or_default();
            advice.push(format!(
                "{name}: {why}; it is tried again by itself, and at once by `callwatch deliveries retry --all --state \
                 pending --destination {name}`"
            ));
        }
        if let Some(failed) = destination.retrying() {
            let ago = age(reader.now.since(failed.at));
            advice.push(format!(
                "{name}: the last attempt failed {ago} ago ({}); it is tried again by itself",
                failed.error
            ));
        }
        if deliveries.dead > 0 {
            let dead = deliveries.dead;
            advice.push(format!(
                "{name}: `callwatch deliveries list --state dead --destination {name}` says why {dead} were given up, \
                 `callwatch deliveries retry --all --destination {name}` tries them again"
            ));
        }
    }
    advice
}

/// A line for each of `all`, as many as have room.
fn table<T, const N: usize>(out: &mut String, heads: [&str; N], all: &[T], row: impl Fn(&T) -> [String; N]) {
    let mut rows = vec![heads.map(str::to_owned)];
    rows.extend(all.iter().take(ROWS).map(row));
    out.push_str(&lay_out(&rows));
    more(out, all.len());
}

fn more(out: &mut String, count: usize) {
    if count > ROWS {
        let _ = writeln!(out, "and {} more", count - ROWS);
    }
}

/// A piece of text with a mark, on as many lines as it takes.
fn item(out: &mut String, text: &str) {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    for (at, line) in wrap(&text, WIDTH - 4).lines().enumerate() {
        let mark = if at == 0 { "  - " } else { "    " };
        let _ = writeln!(out, "{mark}{}", truncate(line, WIDTH - 4));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{calendar::Zone, time::Timestamp};

    const NOW: Timestamp = Timestamp::from_millis(1_765_809_145_000);

    fn before(secs: u64) -> Timestamp {
        NOW.before(std::time::Duration::from_secs(secs))
    }

    fn node(name: &str, seen: u64, duties: &[&str], config: &str) -> NodeOverview {
        NodeOverview {
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            is_this: name == "b/2",
            live: seen == 0,
            leaving: false,
            since: before(7200),
            seen: before(seen),
            duties: duties.iter().map(|duty| DutyOverview { duty: (*duty).to_owned(), since: NOW }).collect(),
            config: config.to_owned(),
        }
    }

    #[test]
    fn every_node_and_all_it_works_on_has_room() {
        let nodes = vec![
            node(
                "a/1",
                0,
                &["source clinic", "source garage", "destination crm", "destination frontdesk"],
                "x",
            ),
            node("b/2", 0, &[], "y"),
            node("c/3", 360, &[], "x"),
        ];
        let free = vec![DutyOverview { duty: "upkeep of the store".to_owned(), since: before(40) }];
        let status = Status { at: NOW, service: None, destinations: vec![], nodes, free };
        let shown = screen(&status, Reader { now: NOW, zone: Zone::UTC }, Style::PLAIN);
        let nodes = shown.split_once("nodes\n").unwrap().1;
        let expected = "  - a/1, for 2h, works on: source clinic, source garage, destination crm,\n    destination frontdesk\n  \
                        - b/2 (this one), for 2h, works on: nothing\n  \
                        - c/3: lost, last heard of 6m ago; it began 2h ago\n  \
                        - nobody works on the upkeep of the store, for 40s\n\nwhat to do\n  \
                        - the nodes have different configs: give all of them the same; a rule that\n    only some have fires while one of them polls, and a source that only some\n    have is polled only while one of them runs\n";
        assert_eq!(nodes, expected);
        assert!(shown.lines().all(|line| line.chars().count() <= 80));
    }
}
