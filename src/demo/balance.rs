//! The balance of the books at the end of a demo: what was lost, and how long everything took. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    books::{Books, Receipts},
    narrator::seconds,
    world::INTERVAL,
};
use crate::{
    name::Name,
    store::Tally,
    style::{Colour, Style},
};

/// The books, and what else is known at the end.
pub struct Balance<'a> {
    /// How long calls came and went.
    pub lasted: Duration,
    /// How long the demo then waited for what was under way.
    pub waited: Duration,
    /// The changes of calls, and the arrivals.
    pub books: &'a Books,
    /// Calls that were there before the demo began, in all sources.
    pub old_calls: u64,
    /// Calls whose record in the store is not that of the simulated API.
    pub stale: u64,
    /// Requests that callwatch made to the simulated API.
    pub requests: u64,
    /// Events by rule, as callwatch itself counted them.
    pub events: BTreeMap<String, u64>,
    /// In the order of the config.
    pub destinations: Vec<DestinationBalance>,
    /// How many processes were killed on the way.
    pub kills: u64,
    /// Whether the config was the user's own.
    pub own_config: bool,
}

/// The sums of a destination at the end.
#[derive(Clone, Debug)]
pub struct DestinationBalance {
    /// Its name.
    pub name: Name,
    /// How many deliveries the store has in each state.
    pub tally: Tally,
    /// Messages that its receiver refused because they were wrong.
    pub refused: u64,
    /// How often its receiver was told to refuse a message that was right.
    pub provoked: u64,
    /// Whether its messages have the id of their event.
    pub has_ids: bool,
    /// Whether one of its messages may tell several deliveries.
    pub edits: bool,
}

impl Balance<'_> {
    /// The faults, in one sentence each; empty when every message arrived that had to, and no other.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = vec![];
        if self.stale > 0 {
            problems.push(format!("{} calls are out of date in the store", self.stale));
        }
        let mut owed = BTreeMap::<_, u64>::new();
        for debt in self.books.owed() {
            for rule in debt.rules() {
                *owed.entry((rule, debt.destination)).or_default() += 1;
            }
        }
        for ((rule, destination), n) in owed {
            problems.push(format!("{destination}: {n} of the rule {rule} never arrived"));
        }
        for DestinationBalance { name, tally, refused, has_ids, edits, .. } in &self.destinations {
            let mut count = |n: u64, what: &str| {
                if n > 0 {
                    problems.push(format!("{name}: {n} {what}"));
                }
            };
            let receipts = self.books.receipts(name);
            let arrived =
                receipts.map_or(0, |receipts| if *has_ids { receipts.unique() } else { receipts.arrived });
            count(tally.pending, "not delivered yet");
            count(tally.dead, "given up");
            if !edits {
                count(tally.delivered.saturating_sub(arrived), "marked as delivered, but never arrived");
            }
            // A message that had arrived when its process was killed comes again. Without an id, it cannot be told from a new one.
            let repeated = if *has_ids { 0 } else { self.kills };
            let unexpected = receipts.map_or(0, |receipts| receipts.unexpected.saturating_sub(repeated));
            count(unexpected, "arrived that no rule explains");
            count(receipts.map_or(0, |receipts| receipts.altered), "arrived again with other contents");
            count(*refused, "refused by the receiver");
        }
        problems
    }

    /// The summary that is printed.
    pub fn lines(&self, style: Style) -> Vec<String> {
        let mut lines = vec![
            String::new(),
            style.paint(Colour::Bold, &format!("Summary of {}", seconds(self.lasted)))
                + &format!(" (and {} to wait for what was under way)", seconds(self.waited)),
            String::new(),
            format!("  calls     {} from before, {} new", self.old_calls, self.books.calls()),
            format!("  changes   {}, found with {} requests", self.books.changes(), self.requests),
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
            let DestinationBalance { name, provoked, .. } = destination;
            lines.push(format!(
                "  {name} was made to answer 503 {}, to show a retry; its p99 includes that.",
                if *provoked == 1 { "once".to_owned() } else { format!("{provoked} times") }
            ));
        }
        if self.kills > 0 {
            lines.push(format!(
                "  {} killed. What had arrived without being noted comes again.",
                if self.kills == 1 {
                    "One process was".to_owned()
                } else {
                    format!("{} processes were", self.kills)
                }
            ));
        }
        lines.push(String::new());
        let problems = self.problems();
        if problems.is_empty() {
            let all: u64 = self.receipts().map(Receipts::unique).sum();
            let verdict = style.paint(Colour::Green, "none lost");
            lines.push(match all {
                0 => format!("{verdict}: there was nothing to tell."),
                1 => format!("{verdict}: the one notification arrived."),
                _ => format!("{verdict}: all {all} notifications arrived."),
            });
            if !self.own_config {
                lines.push("To try your own rules: callwatch demo --config FILE".to_owned());
            }
        } else {
            lines.push(style.paint(Colour::Red, "something went wrong:"));
            lines.extend(problems.into_iter().map(|problem| format!("  {problem}")));
        }
        lines
    }

    fn receipts(&self) -> impl Iterator<Item = &Receipts> {
        self.destinations.iter().filter_map(|destination| self.books.receipts(&destination.name))
    }

    fn rules(&self, lines: &mut Vec<String>, style: Style) {
        let expected = self.books.expected();
        let names: BTreeSet<_> =
            self.events.keys().map(String::as_str).chain(expected.keys().copied()).collect();
        let width = names.iter().map(|name| name.len()).max().unwrap_or(0).max(12);
        let head = if expected.is_empty() { "" } else { "  to arrive  arrived" };
        lines.push(style.paint(Colour::Dim, &format!("  {:<width$}  events{head}", "rule")));
        for name in names {
            let events = self.events.get(name).copied().unwrap_or(0);
            let arrived = expected.get(name).map(|all| {
                let owed =
                    self.books.owed().iter().filter(|debt| debt.rules().any(|rule| rule == name)).count()
                        as u64;
                format!("  {all:>9}  {:>7}", all - owed)
            });
            lines.push(format!("  {name:<width$}  {events:>6}{}", arrived.unwrap_or_default()));
        }
        lines.push(String::new());
    }

    fn deliveries(&self, lines: &mut Vec<String>, style: Style) {
        let width = self.destinations.iter().map(|d| d.name.as_str().len()).max().unwrap_or(0).max(12);
        let head = format!("  {:<width$}    sent  arrived  repeats     p50     p99", "destination");
        lines.push(style.paint(Colour::Dim, &head));
        for DestinationBalance { name, tally, has_ids, .. } in &self.destinations {
            let nothing = Receipts::default();
            let receipts = self.books.receipts(name).unwrap_or(&nothing);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        demo::{bundled::PROMISES, script::Script, sighting::Sighting},
        kind::Kind,
        time::Timestamp,
    };

    const NOON: Timestamp = Timestamp::from_millis(1_765_800_000_000);

    /// The books after one call ended, and the CRM was told of it by messages with these ids.
    fn books(told: &[&str]) -> Books {
        let mut books = Books::new(PROMISES, [Name::from("crm")]);
        let ended = Script::new(1, NOON).find(|step| step.kind == Kind::Ended);
        let ended = ended.unwrap();
        books.happened(ended.call.id(), Some(Arc::new(ended.record(NOON))), NOON);
        for id in told {
            let sighting = Sighting {
                id: (*id).to_owned(),
                at: NOON.after(Duration::from_millis(600)),
                call: Some(ended.call.id().to_owned()),
                rule: Some("call-completed".to_owned()),
                kinds: vec![Kind::Ended],
                ..Sighting::default()
            };
            books.arrived(&"crm".into(), &sighting, |debt| sighting.tells(debt));
        }
        books
    }

    fn crm(tally: Tally) -> DestinationBalance {
        DestinationBalance { name: "crm".into(), tally, refused: 0, provoked: 0, has_ids: true, edits: false }
    }

    fn balance(books: &Books, destination: DestinationBalance) -> Balance<'_> {
        Balance {
            lasted: Duration::from_secs(30),
            waited: Duration::from_millis(900),
            books,
            old_calls: 150,
            stale: 0,
            requests: 31,
            events: BTreeMap::from([("call-completed".to_owned(), 1)]),
            destinations: vec![destination],
            kills: 0,
            own_config: false,
        }
    }

    const DELIVERED: Tally = Tally { pending: 0, held: 0, merged: 0, delivered: 1, dead: 0 };

    #[test]
    fn nothing_is_wrong_when_everything_arrived_once_or_more() {
        for told in [&["1"][..], &["1", "1"]] {
            let books = books(told);
            let balance = balance(&books, crm(DELIVERED));
            assert_eq!(balance.problems(), Vec::<String>::new());
            let text = balance.lines(Style::PLAIN).join("\n");
            assert!(text.contains("none lost: the one notification arrived"), "{text}");
            assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        }
    }

    #[test]
    fn everything_that_went_wrong_is_named() {
        let tally = Tally { pending: 2, delivered: 3, dead: 1, ..Tally::default() };
        let books = books(&[]);
        let destination = DestinationBalance { refused: 4, ..crm(tally) };
        let balance = Balance { stale: 5, ..balance(&books, destination) };
        assert_eq!(
            balance.problems(),
            [
                "5 calls are out of date in the store",
                "crm: 1 of the rule call-completed never arrived",
                "crm: 2 not delivered yet",
                "crm: 1 given up",
                "crm: 3 marked as delivered, but never arrived",
                "crm: 4 refused by the receiver",
            ]
        );
        let text = balance.lines(Style::PLAIN).join("\n");
        assert!(text.contains("something went wrong") && !text.contains("none lost"), "{text}");
    }

    #[test]
    fn a_second_event_for_one_change_is_wrong() {
        let books = books(&["1", "2"]);
        let balance = balance(&books, crm(Tally { delivered: 2, ..DELIVERED }));
        assert_eq!(balance.problems(), ["crm: 1 arrived that no rule explains"]);
    }
}
