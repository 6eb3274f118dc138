//! Formats a preview for people and for programs. Pure.

use std::fmt::Write;

use chrono::NaiveDate;
use serde_json::{Value, json};

use super::{
    Messages, Preview,
    counts::{Counts, Judged, RuleCounts},
    fetch::Fetched,
};
use crate::{
    cli::leaving,
    destination::{self, DestinationConfig, Notification},
    kind::Kinds,
    name::Name,
    rehearsal::Told,
    rule::Rule,
    style::{Colour, Style, WIDTH, wrap},
    template::truncate,
    time::Timestamp,
};

/// The widest column of names.
const NAME: usize = 24;

/// The widest chart, in columns. In a longer period a column stands for several days.
const CHART: usize = 24;

/// The longest message that is shown in full, in characters.
const LONGEST: usize = 4000;

/// The characters of a chart's bars, from nothing to the highest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocks(&'static [char]);

impl Blocks {
    const UNICODE: Self = Self(&['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']);
    const ASCII: Self = Self(&['.', ':', '-', '=', '+', '*', '#', '%', '@']);

    /// The characters that the terminal can show, by its locale.
    pub(super) fn of_locale(variable: impl Fn(&str) -> Option<String>) -> Self {
        let locale =
            ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(variable).find(|it| !it.is_empty());
        let is_utf8 = locale.is_some_and(|locale| locale.to_lowercase().replace('-', "").contains("utf8"));
        if is_utf8 { Self::UNICODE } else { Self::ASCII }
    }

    /// One bar for each count, the largest at full height. Only a count of zero has the lowest bar.
    fn chart(self, counts: &[u64]) -> String {
        let most = counts.iter().max().copied().unwrap_or(0).max(1);
        let top = self.0.len() as u64 - 1;
        let bar = |count: &u64| self.0[usize::try_from((count * top).div_ceil(most)).unwrap_or(0)];
        counts.iter().map(bar).collect()
    }
}

impl Preview<'_> {
    /// The preview as text, for people.
    pub(super) fn text(&self, style: Style, blocks: Blocks) -> String {
        let mut out = String::new();
        for fetched in &self.fetched {
            out += &self.source(fetched);
        }
        out += "Each call is shown once, as it is now, at its last update. Nothing is sent.\n\n";
        out += &self.rules_table(style, blocks);
        for rule in &self.rules {
            for note in self.notes(rule) {
                let _ = writeln!(out, "{}", remark(&rule.name, &note));
            }
        }
        out += &self.destinations_table(style);
        for (rule, told) in self.shown() {
            let when = self.moment(told.at);
            let head = format!("{} to {}, {when}", rule.name, told.destination);
            let message = match self.messages {
                Messages::Read => self.render(told, "  "),
                Messages::Leaving { verbose } => self.leaving(told, verbose),
            };
            let _ = write!(out, "\n{}\n{message}", style.paint(Colour::Bold, &head));
        }
        out
    }

    /// `clinic: 300 calls read, the newest of its list; 212 since Mon 15 Dec 09:00`
    fn source(&self, fetched: &Fetched) -> String {
        let Fetched { source, read, left_out, whole, calls } = fetched;
        let list = if *whole { "its whole list" } else { "the newest of its list" };
        let left_out = match left_out {
            0 => String::new(),
            count => format!("; {count} are not calls, or do not say when they were"),
        };
        let since = self.moment(self.since);
        let said = format!("{source}: {read} calls read, {list}; {} since {since}{left_out}", calls.len());
        wrap(&said, WIDTH) + "\n"
    }

    fn rules_table(&self, style: Style, blocks: Blocks) -> String {
        let name = self.rules.iter().map(|rule| rule.name.as_str().chars().count()).max().unwrap_or(0);
        let name = name.clamp("RULE".len(), NAME);
        let day =
            |day: Option<&NaiveDate>| day.map(|day| day.format("%-d %b").to_string()).unwrap_or_default();
        let days = format!("{} to {}", day(self.counts.days.first()), day(self.counts.days.last()));
        let head = format!("{:name$}  FIRED  MESSAGES   A DAY  PEAK  {days}", "RULE");
        let mut out = style.paint(Colour::Dim, &head) + "\n";
        for rule in &self.rules {
            let shown = truncate(rule.name.as_str(), name);
            if matches!(Judged::of(rule), Judged::Not(_)) {
                let _ = writeln!(out, "{shown:name$}  {:>5}  {:>8}  {:>6}  {:>4}", "?", "?", "?", "?");
                continue;
            }
            let by_day = self.by_day(rule, |of| &of.fired);
            let (fired, peak): (u64, u64) = (by_day.iter().sum(), by_day.iter().max().copied().unwrap_or(0));
            let messages: u64 = self.of(rule).map_or(0, |of| of.messages.values().sum());
            let per_column = by_day.len().div_ceil(CHART).max(1);
            let columns: Vec<u64> = by_day.chunks(per_column).map(|days| days.iter().sum()).collect();
            let chart = style.paint(Colour::Cyan, &blocks.chart(&columns));
            let a_day = self.per_day(fired);
            let _ =
                writeln!(out, "{shown:name$}  {fired:>5}  {messages:>8}  {a_day:>6.1}  {peak:>4}  {chart}");
        }
        out
    }

    fn destinations_table(&self, style: Style) -> String {
        let told = &self.counts.destinations;
        let name = told.keys().map(|name| name.as_str().chars().count()).max().unwrap_or(0);
        let name = name.clamp("TO".len(), NAME);
        let head = format!("\n{:name$}  MESSAGES   A DAY", "TO");
        let mut out = style.paint(Colour::Dim, &head) + "\n";
        for (destination, messages) in told {
            let shown = truncate(destination.as_str(), name);
            let a_day = self.per_day(*messages);
            let _ = writeln!(out, "{shown:name$}  {messages:>8}  {a_day:>6.1}");
        }
        if told.is_empty() {
            return "\nNobody would have been told anything.\n".to_owned();
        }
        let merges = |name: &&Name| self.rules.iter().filter(|rule| rule.merging.contains(name)).count() > 1;
        for destination in told.keys().filter(merges) {
            let shared = "rules that match a call at once share a message there";
            let _ = writeln!(out, "{}", remark(destination, shared));
        }
        out
    }

    /// Notes on a rule that its numbers do not show.
    fn notes(&self, rule: &Rule) -> Vec<String> {
        let mut notes = vec![];
        match Judged::of(rule) {
            Judged::Wholly => {}
            Judged::Partly(kinds) => {
                notes.push(format!("only {} can be judged from a list", in_words(kinds)))
            }
            Judged::Not(why) => notes.push(format!("cannot be judged: {why}")),
        }
        let Some(of) = self.of(rule) else { return notes };
        if of.unknown > 0 {
            let calls = if of.unknown == 1 { "call" } else { "calls" };
            notes.push(format!("a field of its condition is missing or null in {} {calls}", of.unknown));
            let mut absent: Vec<_> = of.absent.iter().collect();
            absent.sort_by_key(|(_, calls)| std::cmp::Reverse(**calls));
            let shown = absent.iter().take(3).map(|(field, calls)| format!("{field} in {calls}"));
            if !absent.is_empty() {
                notes.push(format!("of the latest calls, {}", shown.collect::<Vec<_>>().join(", ")));
            }
        }
        if of.too_old > 0 {
            notes.push(format!("{} matches were older than max_age", of.too_old));
        }
        if let Some((times, error)) = &of.failed {
            notes.push(format!("its condition failed {times} times: {error}"));
        }
        notes
    }

    /// The preview as a JSON object, for programs.
    pub(super) fn json(&self) -> String {
        let sources: Vec<_> = self
            .fetched
            .iter()
            .map(|fetched| {
                json!({
                    "source": fetched.source.as_str(),
                    "read": fetched.read,
                    "left_out": fetched.left_out,
                    "whole_list": fetched.whole,
                    "calls": fetched.calls.len(),
                })
            })
            .collect();
        let rules: Vec<_> = self
            .rules
            .iter()
            .map(|rule| {
                let (fired, messages) =
                    (self.by_day(rule, |of| &of.fired), self.by_day(rule, |of| &of.messages));
                let days = self.counts.days.iter().zip(fired.iter().zip(&messages));
                let days = days.map(|(day, (fired, messages))| {
                    json!({ "day": day.to_string(), "fired": fired, "messages": messages })
                });
                json!({
                    "rule": rule.name.as_str(),
                    "judged": !matches!(Judged::of(rule), Judged::Not(_)),
                    "fired": fired.iter().sum::<u64>(),
                    "messages": self.of(rule).map_or(0, |of| of.messages.values().sum()),
                    "days": days.collect::<Vec<_>>(),
                    "notes": self.notes(rule),
                })
            })
            .collect();
        let shown = self.shown().map(|(rule, told)| {
            let shown = self.show(told);
            let mut message = json!({
                "rule": rule.name.as_str(),
                "destination": told.destination.as_str(),
                "at": told.at.to_string(),
                "title": shown.as_ref().and_then(|shown| shown.title.clone()),
                "text": shown.map(|shown| shown.text),
            });
            if let (Messages::Leaving { .. }, Some((leaves, reasons))) = (self.messages, self.leaves(told)) {
                message["leaves"] = leaves.into();
                let reason = |(field, why)| json!({ "field": field, "why": why });
                message["not_as_it_is"] = reasons.into_iter().map(reason).collect();
            }
            message
        });
        let all = json!({
            "since": self.since.to_string(),
            "until": self.until.to_string(),
            "sources": sources,
            "rules": rules,
            "destinations": self.counts.destinations,
            "messages": shown.collect::<Vec<Value>>(),
        });
        format!("{all:#}\n")
    }

    fn of(&self, rule: &Rule) -> Option<&RuleCounts> {
        self.counts.rules.get(&rule.name)
    }

    /// One count for each day of the period.
    fn by_day(
        &self,
        rule: &Rule,
        which: impl Fn(&RuleCounts) -> &std::collections::BTreeMap<NaiveDate, u64>,
    ) -> Vec<u64> {
        let counts = self.of(rule).map(which);
        let count = |day| counts.and_then(|counts| counts.get(day)).copied().unwrap_or(0);
        self.counts.days.iter().map(count).collect()
    }

    fn per_day(&self, count: u64) -> f64 {
        count as f64 / Counts::length(self.since, self.until).max(1.0)
    }

    /// The messages to show, by rule, the latest last.
    fn shown(&self) -> impl Iterator<Item = (&Rule, &Told)> {
        self.rules.iter().flat_map(|rule| {
            let latest = self.of(rule).into_iter().flat_map(|of| &of.latest);
            latest.map(move |told| (*rule, told))
        })
    }

    fn show(&self, told: &Told) -> Option<destination::Shown> {
        destination::show(self.receiver(told)?, &self.notification(told)).ok()
    }

    /// The bytes that would leave, and the fields that are not in them as they are, each with the reason.
    fn leaves(&self, told: &Told) -> Option<(String, Vec<(String, &'static str)>)> {
        let receiver = self.receiver(told)?;
        let leaves = destination::leaves(receiver, &self.notification(told)).ok()??;
        Some((leaves, destination::reasons(receiver, &told.event)))
    }

    fn receiver(&self, told: &Told) -> Option<&DestinationConfig> {
        self.config.destinations.iter().find(|it| it.name == told.destination)
    }

    fn notification<'t>(&'t self, told: &'t Told) -> Notification<'t> {
        Notification {
            event: &told.event,
            rules: &self.rule_set,
            sequence: told.sequence,
            memo: None,
            followed: false,
            now: told.at,
        }
    }

    /// The message as it would leave, and behind it the reasons.
    fn leaving(&self, told: &Told, verbose: bool) -> String {
        match self.leaves(told) {
            Some((leaves, reasons)) if verbose => {
                leaving(leaves, self.receiver(told).and_then(destination::carried_by), &reasons)
            }
            Some((leaves, _)) => leaving(leaves, None, &[]),
            None => "(this message cannot be written)\n".to_owned(),
        }
    }

    /// The message as it would be sent; a webhook's body with one field per line.
    fn render(&self, told: &Told, indent: &str) -> String {
        let Some(shown) = self.show(told) else { return String::new() };
        let text = match shown.title {
            Some(_) => shown.text,
            None => serde_json::from_str::<Value>(&shown.text).map_or(shown.text, |body| format!("{body:#}")),
        };
        let text = truncate(text.trim_end(), LONGEST);
        text.lines().map(|line| format!("{indent}{line}").trim_end().to_owned() + "\n").collect()
    }

    /// `Mon 15 Dec 09:00`
    fn moment(&self, at: Timestamp) -> String {
        let local = self.config.timezone.local(at);
        local.map_or_else(|| at.to_string(), |local| local.format("%a %-d %b %H:%M").to_string())
    }
}

fn in_words(kinds: Kinds) -> String {
    let words: Vec<_> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
    words.join(" and ")
}

/// A remark below a table.
fn remark(of: &Name, remark: &str) -> String {
    format!("  {}", wrap(&format!("{of}: {remark}"), WIDTH - 2).replace('\n', "\n    "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_counts_and_only_nothing_is_nothing() {
        assert_eq!(Blocks::UNICODE.chart(&[0, 1, 50, 100]), "·▁▄█");
        assert_eq!(Blocks::ASCII.chart(&[0, 0]), "..");
        assert_eq!(Blocks::ASCII.chart(&[8, 1]), "@:");
    }

    #[test]
    fn blocks_are_for_terminals_that_have_them() {
        let of = |locale: &'static str| {
            let Blocks(bars) = Blocks::of_locale(|name| (name == "LANG").then(|| locale.to_owned()));
            bars[8]
        };
        assert_eq!((of("en_US.UTF-8"), of("C"), of("")), ('█', '@', '@'));
    }
}
