//! What a demo comes to, judged by what is known to have happened. Pure.

use std::{collections::BTreeMap, time::Duration};

use super::{
    ledger::{Ledger, Receipts},
    terminal::{Colour, Style},
    view::seconds,
    world::INTERVAL,
};
use crate::{name::Name, store::Tally};

/// Everything there is to judge.
#[derive(Debug)]
pub struct Summary<'a> {
    /// How long calls came and went.
    pub lasted: Duration,
    /// How long was waited afterwards.
    pub waited: Duration,
    /// What happened and what arrived.
    pub ledger: &'a Ledger,
    /// Calls there were before, in all sources.
    pub old_calls: u64,
    /// Calls the store does not know as the simulated API has them.
    pub stale: u64,
    /// Requests to the simulated API.
    pub requests: u64,
    /// Events by rule, as callwatch counted them.
    pub events: BTreeMap<String, u64>,
    /// In the order of the config.
    pub destinations: Vec<Destination>,
    /// Whether it was the user's own config.
    pub own_config: bool,
}

/// A destination in the end.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Its name.
    pub name: Name,
    /// What the store says of it.
    pub tally: Tally,
    /// What its receiver found something wrong with.
    pub refused: u64,
    /// How often its receiver was told to refuse.
    pub provoked: u64,
    /// Whether what arrives says which event it is.
    pub has_ids: bool,
}

impl Summary<'_> {
    /// What went wrong, one sentence each; empty when nothing was lost and nothing came that should not have.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = vec![];
        if self.stale > 0 {
            problems.push(format!("{} calls are not known as they are now", self.stale));
        }
        for ((rule, destination), n) in self.ledger.owed() {
            problems.push(format!("{n} of the rule {rule} never reached {destination}"));
        }
        for Destination { name, tally, refused, has_ids, .. } in &self.destinations {
            let mut count = |n: u64, what: &str| {
                if n > 0 {
                    problems.push(format!("{name}: {n} {what}"));
                }
            };
            let receipts = self.ledger.receipts(name);
            let arrived =
                receipts.map_or(0, |receipts| if *has_ids { receipts.unique() } else { receipts.arrived });
            count(tally.pending, "not delivered yet");
            count(tally.dead, "given up");
            count(tally.delivered.saturating_sub(arrived), "called delivered, but never arrived");
            count(receipts.map_or(0, |receipts| receipts.unexpected), "arrived that nobody expected");
            count(*refused, "refused by the receiver");
        }
        problems
    }

    /// The summary as it is printed.
    pub fn lines(&self, style: Style) -> Vec<String> {
        let mut lines = vec![
            String::new(),
            style.paint(Colour::Bold, &format!("Summary of {}", seconds(self.lasted)))
                + &format!(" (and {} to let what was under way arrive)", seconds(self.waited)),
            String::new(),
            format!("  calls     {} from before, {} new", self.old_calls, self.ledger.calls()),
            format!("  changes   {}, found with {} requests", self.ledger.changes(), self.requests),
            String::new(),
        ];
        self.rules(&mut lines, style);
        self.deliveries(&mut lines, style);
        lines.push(String::new());
        lines.push("  p50 and p99: from the change in the simulated Callem to its arrival. It is".to_owned());
        lines.push(format!(
            "  polled every {}, so about {} of p50 is waiting for the next poll.",
            humantime::format_duration(INTERVAL),
            seconds(INTERVAL / 2)
        ));
        for destination in self.destinations.iter().filter(|destination| destination.provoked > 0) {
            let Destination { name, provoked, .. } = destination;
            lines.push(format!(
                "  {name} was made to answer 503 {}, to show a retry; its p99 has that in it.",
                if *provoked == 1 { "once".to_owned() } else { format!("{provoked} times") }
            ));
        }
        lines.push(String::new());
        let problems = self.problems();
        if problems.is_empty() {
            let all: u64 = self.receipts().map(Receipts::unique).sum();
            let verdict = style.paint(Colour::Green, "none lost");
            lines.push(format!("{verdict}: all {all} notifications arrived."));
            if !self.own_config {
                lines.push("Your own rules, on the same stage: callwatch demo --config FILE".to_owned());
            }
        } else {
            lines.push(style.paint(Colour::Red, "not all is well:"));
            lines.extend(problems.into_iter().map(|problem| format!("  {problem}")));
        }
        lines
    }

    fn receipts(&self) -> impl Iterator<Item = &Receipts> {
        self.destinations.iter().filter_map(|destination| self.ledger.receipts(&destination.name))
    }

    fn rules(&self, lines: &mut Vec<String>, style: Style) {
        let rules = self.ledger.rules();
        let names = self.events.keys().map(String::as_str).chain(rules.keys().copied());
        let names: std::collections::BTreeSet<_> = names.collect();
        let width = names.iter().map(|name| name.len()).max().unwrap_or(0).max(12);
        let head = if rules.is_empty() { "" } else { "  to arrive  arrived" };
        lines.push(style.paint(Colour::Dim, &format!("  {:<width$}  events{head}", "rule")));
        for name in names {
            let events = self.events.get(name).copied().unwrap_or(0);
            let account =
                rules.get(name).map(|account| format!("  {:>9}  {:>7}", account.expected, account.told));
            lines.push(format!("  {name:<width$}  {events:>6}{}", account.unwrap_or_default()));
        }
        lines.push(String::new());
    }

    fn deliveries(&self, lines: &mut Vec<String>, style: Style) {
        let width = self.destinations.iter().map(|d| d.name.as_str().len()).max().unwrap_or(0).max(12);
        let head = format!("  {:<width$}    sent  arrived  repeats     p50     p99", "destination");
        lines.push(style.paint(Colour::Dim, &head));
        for Destination { name, tally, has_ids, .. } in &self.destinations {
            let nothing = Receipts::default();
            let receipts = self.ledger.receipts(name).unwrap_or(&nothing);
            let repeats = if *has_ids { receipts.repeats.to_string() } else { "-".to_owned() };
            let latency = |share| receipts.latency(share).map_or("-".to_owned(), seconds);
            lines.push(format!(
                "  {name:<width$}  {:>6}  {:>7}  {repeats:>7}  {:>6}  {:>6}",
                tally.delivered,
                receipts.arrived,
                latency(0.5),
                latency(0.99)
            ));
        }
    }
}
