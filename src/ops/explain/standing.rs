//! How a rule stands to a call, as far as the store remembers. Pure.

use serde::{Serialize, Serializer};

use crate::{
    kind::Kinds, name::Name, rule::Rule, snapshot::Snapshot, store::DeliveryRecord, time::Timestamp,
};

/// How a rule stands to a call. Serialised as [`Self::word`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleStanding {
    /// The rule is about sources, not about calls.
    OfSource,
    /// The rule does not look at the call's source.
    OtherSource,
    /// The call has had no change of the kinds that the rule looks at.
    NothingHappened(Kinds),
    /// The rule is a feed, and has fired this often, as far as its deliveries are kept.
    Feed {
        /// How often.
        fired: usize,
    },
    /// The rule has not looked at the call.
    NotLooked,
    /// The rule's condition has been edited since it last looked.
    Edited {
        /// Whether it had fired by then.
        fired: bool,
    },
    /// The rule has fired.
    Fired {
        /// When it first did, as far as its deliveries are kept.
        at: Option<Timestamp>,
        /// Whether it may fire again.
        repeat: bool,
    },
    /// The rule's condition has to hold for longer.
    Waiting {
        /// Since when it holds.
        since: Timestamp,
        /// When the rule fires, if it holds until then.
        at: Timestamp,
    },
    /// The rule's condition held when it last looked, and the rule did not fire.
    Suppressed,
    /// The rule's condition did not hold when it last looked.
    NotTrue,
}

impl RuleStanding {
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
            // Deliveries of one observation were made at the same time, whether of the rule's own event or of one that
            // tells several rules.
            let mut times: Vec<_> = deliveries.iter().map(|delivery| delivery.created).collect();
            times.sort_unstable();
            times.dedup();
            return Self::Feed { fired: times.len() };
        };
        let Some(memory) = snapshot.rules.get(&rule.name) else { return Self::NotLooked };
        match (memory.since, rule.lasting) {
            _ if memory.condition != condition.fingerprint() => Self::Edited { fired: memory.fired },
            (Some(since), Some(lasting)) => Self::Waiting { since, at: since.after(lasting) },
            _ if memory.fired => Self::Fired { at: first, repeat: rule.repeat },
            _ if memory.was_true => Self::Suppressed,
            _ => Self::NotTrue,
        }
    }

    /// Whether the rule has anything to do with the call.
    pub fn is_concerned(self) -> bool {
        !matches!(self, Self::OfSource | Self::OtherSource | Self::NothingHappened(_))
    }

    /// The standing in one word, for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::OfSource => "of_source",
            Self::OtherSource => "other_source",
            Self::NothingHappened(_) => "nothing_happened",
            Self::Feed { fired: 0 } => "feed",
            Self::Feed { .. } | Self::Fired { .. } => "fired",
            Self::NotLooked => "not_looked",
            Self::Edited { .. } => "edited",
            Self::Waiting { .. } => "waiting",
            Self::Suppressed => "suppressed",
            Self::NotTrue => "not_fired",
        }
    }

    /// The standing in words for people, to follow the rule's name. `say` writes a time.
    pub fn words(self, say: impl Fn(Timestamp) -> String) -> String {
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
            Self::Suppressed => "did not fire, though it was true: it had been true before the rule looked, or what \
                                 happened was older than max_age"
                .to_owned(),
            Self::NotTrue => "did not fire: its condition was not true when it last looked".to_owned(),
        }
    }
}

impl Serialize for RuleStanding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}
