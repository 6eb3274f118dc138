//! How a rule stands to a call, as far as that is remembered. Pure.

use crate::{
    kind::Kinds, name::Name, rule::Rule, snapshot::Snapshot, store::DeliveryRecord, time::Timestamp,
};

/// What a rule made of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is about the source itself.
    OfSource,
    /// It does not look at this source.
    OtherSource,
    /// Nothing it looks at has happened to the call.
    NothingHappened(Kinds),
    /// A feed; it fired so often, as far as that is kept.
    Feed { fired: usize },
    /// It has not looked at the call.
    NotLooked,
    /// Its condition was another one when it last looked; whether it had fired by then.
    Edited { fired: bool },
    /// It fired, at this time the first time as far as that is kept; whether it may again.
    Fired { at: Option<Timestamp>, repeat: bool },
    /// The condition holds since `since`; it fires at `at` if it holds until then.
    Waiting { since: Timestamp, at: Timestamp },
    /// The condition held when it last looked, and it did not fire.
    Held,
    /// The condition did not hold when it last looked.
    NotHeld,
}

impl Standing {
    /// From what is remembered of the call, and the rule's deliveries about it that are kept, oldest first.
    pub(super) fn of(rule: &Rule, source: &Name, snapshot: &Snapshot, deliveries: &[DeliveryRecord]) -> Self {
        if rule.on.iter().all(|kind| !kind.is_of_call()) {
            return Self::OfSource;
        }
        if !rule.looks_at(source) {
            return Self::OtherSource;
        }
        if !rule.on.intersects(snapshot.kinds_seen) {
            return Self::NothingHappened(rule.on);
        }
        let first = deliveries.first().map(|delivery| delivery.created);
        let Some(condition) = &rule.when else {
            let mut events: Vec<_> = deliveries.iter().map(|delivery| &delivery.id.event).collect();
            events.sort_unstable();
            events.dedup();
            return Self::Feed { fired: events.len() };
        };
        let Some(memory) = snapshot.rules.get(&rule.name) else { return Self::NotLooked };
        match (memory.since, rule.lasting) {
            _ if memory.condition != condition.fingerprint() => Self::Edited { fired: memory.fired },
            (Some(since), Some(lasting)) => Self::Waiting { since, at: since.after(lasting) },
            _ if memory.fired => Self::Fired { at: first, repeat: rule.repeat },
            _ if memory.was_true => Self::Held,
            _ => Self::NotHeld,
        }
    }

    /// Whether its condition has anything to do with the call.
    pub(super) fn is_concerned(self) -> bool {
        !matches!(self, Self::OfSource | Self::OtherSource | Self::NothingHappened(_))
    }

    /// For programs.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::OfSource => "of_source",
            Self::OtherSource => "other_source",
            Self::NothingHappened(_) => "nothing_happened",
            Self::Feed { fired: 0 } => "feed",
            Self::Feed { .. } | Self::Fired { .. } => "fired",
            Self::NotLooked => "not_looked",
            Self::Edited { .. } => "edited",
            Self::Waiting { .. } => "waiting",
            Self::Held => "suppressed",
            Self::NotHeld => "not_fired",
        }
    }

    /// For people. `say` writes a time.
    pub(super) fn words(self, say: impl Fn(Timestamp) -> String) -> String {
        match self {
            Self::OfSource => "is about the source itself, not about a call".to_owned(),
            Self::OtherSource => "does not look at this source".to_owned(),
            Self::NothingHappened(on) => {
                let on: Vec<_> = on.iter().map(|kind| format!("`{kind}`")).collect();
                format!("did not fire: it looks at {}, and that has not happened", on.join(", "))
            }
            Self::Feed { fired: 0 } => {
                "did not fire, or that is no longer kept: calls that were there when the watching began are not told"
                    .to_owned()
            }
            Self::Feed { fired: 1 } => "fired once".to_owned(),
            Self::Feed { fired } => format!("fired {fired} times"),
            Self::NotLooked => "did not fire: nothing has happened to the call since the watching of it, or this \
                                rule, began"
                .to_owned(),
            Self::Edited { fired: true } => "fired before its condition was edited, and has not looked since".to_owned(),
            Self::Edited { fired: false } => {
                "did not fire before its condition was edited, and has not looked since".to_owned()
            }
            Self::Fired { at, repeat } => {
                let at = at.map(|at| format!(" at {}", say(at))).unwrap_or_default();
                let again = if repeat { "" } else { ", once per call" };
                format!("fired{at}{again}")
            }
            Self::Waiting { since, at } => {
                format!("waits: true since {}, fires at {} if it is true until then", say(since), say(at))
            }
            Self::Held => "did not fire, though it was true: it had been true before the rule looked, or what \
                           happened was older than max_age"
                .to_owned(),
            Self::NotHeld => "did not fire: its condition was not true when it last looked".to_owned(),
        }
    }
}
