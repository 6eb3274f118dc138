//! Counts what rules would have told, day by day. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use chrono::NaiveDate;

use crate::{
    calendar::Zone,
    event::Event,
    kind::{Kind, Kinds},
    name::Name,
    rehearsal::{Log, Told},
    rule::Rule,
    summary::Summary,
    telemetry::Signal,
    time::Timestamp,
};

/// The kinds of change that a call shows that is looked at once, when it is over.
const SEEN: [Kind; 3] = [Kind::Ended, Kind::Analyzed, Kind::SourceSilent];

/// What was counted.
pub(super) struct Tally {
    zone: Zone,
    until: Timestamp,
    /// The days of the period, in their order.
    pub(super) days: Vec<NaiveDate>,
    pub(super) rules: BTreeMap<Name, OfRule>,
    /// How many messages each destination would have been sent.
    pub(super) destinations: BTreeMap<Name, u64>,
    /// How many messages of each rule are kept.
    keep: usize,
}

/// What was counted of a rule.
#[derive(Default)]
pub(super) struct OfRule {
    /// How often it fired, by day.
    pub(super) fired: BTreeMap<NaiveDate, u64>,
    /// How many messages told it, alone or with others, by day.
    pub(super) messages: BTreeMap<NaiveDate, u64>,
    /// For how many calls its condition was unknown.
    pub(super) unknown: u64,
    /// For how many calls what happened was older than its `max_age`.
    pub(super) too_old: u64,
    /// How often its condition failed, and how it did last.
    pub(super) failed: Option<(u64, String)>,
    /// The latest messages that tell it.
    pub(super) latest: VecDeque<Told>,
}

/// How much a list of calls that are over says of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// All there is.
    Wholly,
    /// Only of these kinds of change.
    Partly(Kinds),
    /// Nothing, for this reason.
    Not(&'static str),
}

impl Judged {
    pub(super) fn of(rule: &Rule) -> Self {
        if rule.lasting.is_some() {
            return Self::Not("`for` watches calls while they last, and these are over");
        }
        let seen: Kinds = SEEN.into_iter().filter(|kind| rule.on.contains(*kind)).collect();
        // A condition is asked whenever anything happens; that a call is over is what it is asked at last.
        if seen == rule.on || (rule.when.is_some() && !seen.is_empty()) {
            Self::Wholly
        } else if !seen.is_empty() {
            Self::Partly(seen)
        } else if rule.on.iter().all(|kind| !kind.is_of_call()) {
            Self::Not("no list tells of what happened to the source itself")
        } else {
            Self::Not("a list tells how calls are, not how they became so")
        }
    }
}

impl Tally {
    /// Nothing counted yet of the time from `since` to `until`. Of each rule the latest `keep` messages are kept.
    pub(super) fn new(zone: Zone, since: Timestamp, until: Timestamp, keep: usize) -> Self {
        let day = |at: Timestamp| zone.local(at).map(|local| local.date_naive());
        let days = day(since)
            .zip(day(until))
            .map(|(first, last)| first.iter_days().take_while(|day| *day <= last).collect());
        Self {
            zone,
            until,
            days: days.unwrap_or_default(),
            rules: BTreeMap::new(),
            destinations: BTreeMap::new(),
            keep,
        }
    }

    /// Counts what has happened: whatever fired in the period, and what it was told by, be that later.
    pub(super) fn add(&mut self, log: Log) {
        let until = self.until;
        for event in log.fired.into_iter().filter(|event| event.at <= until) {
            let day = self.day(event.at);
            *self.rule(&event.rule).fired.entry(day).or_default() += 1;
        }
        for (_, signal) in log.signals {
            match signal {
                Signal::Unknown { rule } => self.rule(&rule).unknown += 1,
                Signal::TooOld { rule, .. } => self.rule(&rule).too_old += 1,
                Signal::RuleFailed { rule, error } => {
                    let failed = self.rule(&rule).failed.get_or_insert_default();
                    *failed = (failed.0 + 1, error);
                }
                _ => {}
            }
        }
        let is_later = |event: &Event| event.subject.batch().is_none() && event.at > until;
        for told in log.told.into_iter().filter(|told| !is_later(&told.event)) {
            self.told(told);
        }
    }

    fn told(&mut self, told: Told) {
        let day = self.day(told.at);
        *self.destinations.entry(told.destination.clone()).or_default() += 1;
        let rules = rules_of(&told.event);
        for rule in &rules {
            *self.rule(rule).messages.entry(day).or_default() += 1;
        }
        let keep = self.keep;
        // What tells several rules is shown once.
        if let Some(rule) = rules.first() {
            let latest = &mut self.rule(rule).latest;
            latest.push_back(told);
            let excess = latest.len().saturating_sub(keep);
            latest.drain(..excess);
        }
    }

    fn rule(&mut self, name: &Name) -> &mut OfRule {
        self.rules.entry(name.clone()).or_default()
    }

    fn day(&self, at: Timestamp) -> NaiveDate {
        self.zone.local(at).map(|local| local.date_naive()).unwrap_or_default()
    }

    /// How long the period is, in days.
    pub(super) fn length(since: Timestamp, until: Timestamp) -> f64 {
        until.since(since).as_secs_f64() / Duration::from_secs(24 * 3600).as_secs_f64()
    }
}

/// The rules whose events a message tells.
fn rules_of(event: &Event) -> BTreeSet<Name> {
    match Summary::of(event) {
        Ok(Some(summary)) => summary.rules.into_keys().collect(),
        _ => BTreeSet::from([event.rule.clone()]),
    }
}
