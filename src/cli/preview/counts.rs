//! Counts events and messages by rule, day and destination. Pure.

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

/// The kinds of change that can be seen of a call that is looked at once, when it is over.
const SEEN: [Kind; 3] = [Kind::Ended, Kind::Analyzed, Kind::SourceSilent];

/// The counts of a preview.
pub(super) struct Counts {
    zone: Zone,
    until: Timestamp,
    /// The days of the period in order.
    pub(super) days: Vec<NaiveDate>,
    pub(super) rules: BTreeMap<Name, RuleCounts>,
    /// How many messages would have been sent to each destination.
    pub(super) destinations: BTreeMap<Name, u64>,
    /// How many messages of each rule are kept to be shown.
    keep: usize,
}

/// The counts of one rule.
#[derive(Default)]
pub(super) struct RuleCounts {
    /// How often it fired, by day.
    pub(super) fired: BTreeMap<NaiveDate, u64>,
    /// How many messages told its events, alone or with those of other rules, by day.
    pub(super) messages: BTreeMap<NaiveDate, u64>,
    /// For how many calls its condition was unknown.
    pub(super) unknown: u64,
    /// Fields that made it unknown, as in "call.callAnalysis.mood is missing", and for how many of the calls that were
    /// looked at.
    pub(super) absent: BTreeMap<String, u64>,
    /// For how many calls the change was older than its `max_age`.
    pub(super) too_old: u64,
    /// How often its condition failed, and the last error.
    pub(super) failed: Option<(u64, String)>,
    /// The latest messages that tell its events, at most `keep`.
    pub(super) latest: VecDeque<Told>,
}

/// How far a rule can be judged by a list of calls that are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// Fully.
    Wholly,
    /// Only for these kinds of change.
    Partly(Kinds),
    /// Not at all, for this reason.
    Not(&'static str),
}

impl Judged {
    pub(super) fn of(rule: &Rule) -> Self {
        if rule.lasting.is_some() {
            return Self::Not("`for` watches calls while they last, and these are over");
        }
        let seen: Kinds = SEEN.into_iter().filter(|kind| rule.on.contains(*kind)).collect();
        // A condition is evaluated at every change, and the last change is seen here.
        if seen == rule.on || (rule.when.is_some() && !seen.is_empty()) {
            Self::Wholly
        } else if !seen.is_empty() {
            Self::Partly(seen)
        } else if rule.on.iter().all(|kind| !kind.is_of_call()) {
            Self::Not("it is not about calls")
        } else {
            Self::Not("a list shows calls as they are, not how they changed")
        }
    }
}

impl Counts {
    /// Empty counts of the time from `since` to `until`. The latest `keep` messages of each rule are kept.
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

    /// Adds events that happened in the period, and the messages that told them, even later ones.
    pub(super) fn add(&mut self, log: Log) {
        let until = self.until;
        for event in log.fired.into_iter().filter(|event| event.at <= until) {
            let day = self.day(event.at);
            *self.rule(&event.rule).fired.entry(day).or_default() += 1;
        }
        for (_, signal) in log.signals {
            match signal {
                Signal::Unknown { rule, .. } => self.rule(&rule).unknown += 1,
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
        // A message that tells several rules is shown once, under the one whose title it has.
        let first = rules.get(&told.event.rule).or(rules.first());
        if let Some(rule) = first {
            let latest = &mut self.rule(rule).latest;
            latest.push_back(told);
            let excess = latest.len().saturating_sub(keep);
            latest.drain(..excess);
        }
    }

    fn rule(&mut self, name: &Name) -> &mut RuleCounts {
        self.rules.entry(name.clone()).or_default()
    }

    fn day(&self, at: Timestamp) -> NaiveDate {
        self.zone.local(at).map(|local| local.date_naive()).unwrap_or_default()
    }

    /// The length of the period in days.
    pub(super) fn length(since: Timestamp, until: Timestamp) -> f64 {
        until.since(since).as_secs_f64() / Duration::from_secs(24 * 3600).as_secs_f64()
    }
}

/// The rules whose events a message tells.
fn rules_of(event: &Event) -> BTreeSet<Name> {
    match Summary::of(event) {
        Ok(Some(summary)) => summary.rules.into_keys().collect(),
        _ => event.rules().cloned().collect(),
    }
}
