//! How a rule stands to a call, as far as the store remembers. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

use crate::ops::text;
use crate::{
    kind::Kinds, name::Name, rule::Rule, snapshot::Snapshot, store::DeliveryRecord, time::Timestamp,
};

/// How a rule stands to a call. Serialised as [`Self::word`] with what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub enum RuleStanding {
    /// The rule is about sources, destinations or callwatch itself, not about calls.
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
            // tells several rules; those that people had sent again later are of the same events.
            let mut told = BTreeMap::new();
            for delivery in deliveries {
                told.entry(&delivery.id.event).or_insert(delivery.created);
            }
            let times: BTreeSet<_> = told.into_values().collect();
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
            Self::OfSource => "is not about calls".to_owned(),
            Self::OtherSource => "does not look at this source".to_owned(),
            Self::NothingHappened(on) => {
                let on: Vec<_> = on.iter().map(|kind| format!("`{kind}`")).collect();
                format!("did not fire: it looks at {}, and that has not happened", on.join(", "))
            }
            Self::Feed { fired: 0 } => {
                "did not fire, or that is no longer kept: calls that were there when the watching began are not told, and \
                 neither is what is older than the rule's `max_age`"
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

/// A standing as programs read it.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
struct Written {
    verdict: String,
    /// The kinds that a rule looks at to which nothing has happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    looks_at: Option<Kinds>,
    /// How often a feed has fired.
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<usize>,
    /// Whether the rule had fired before it was edited.
    #[serde(skip_serializing_if = "Option::is_none")]
    had_fired: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", with = "text::time_if_any")]
    fired_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeats: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", with = "text::time_if_any")]
    true_since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", with = "text::time_if_any")]
    fires_at: Option<Timestamp>,
}

impl PartialSchema for RuleStanding {
    fn schema() -> RefOr<Schema> {
        Written::schema()
    }
}

impl ToSchema for RuleStanding {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Written::schemas(schemas);
    }
}

impl From<RuleStanding> for Written {
    fn from(standing: RuleStanding) -> Self {
        let mut written = Self { verdict: standing.word().to_owned(), ..Self::default() };
        match standing {
            RuleStanding::NothingHappened(kinds) => written.looks_at = Some(kinds),
            RuleStanding::Feed { fired } => written.times = Some(fired),
            RuleStanding::Edited { fired } => written.had_fired = Some(fired),
            RuleStanding::Fired { at, repeat } => {
                (written.fired_at, written.repeats) = (at, Some(repeat));
            }
            RuleStanding::Waiting { since, at } => {
                (written.true_since, written.fires_at) = (Some(since), Some(at));
            }
            RuleStanding::OfSource
            | RuleStanding::OtherSource
            | RuleStanding::NotLooked
            | RuleStanding::Suppressed
            | RuleStanding::NotTrue => {}
        }
        written
    }
}

impl TryFrom<Written> for RuleStanding {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let standing = match (&*written.verdict, written.times) {
            ("of_source", _) => Some(Self::OfSource),
            ("other_source", _) => Some(Self::OtherSource),
            ("nothing_happened", _) => written.looks_at.map(Self::NothingHappened),
            ("feed" | "fired", Some(fired)) => Some(Self::Feed { fired }),
            ("not_looked", _) => Some(Self::NotLooked),
            ("edited", _) => written.had_fired.map(|fired| Self::Edited { fired }),
            ("fired", None) => written.repeats.map(|repeat| Self::Fired { at: written.fired_at, repeat }),
            ("waiting", _) => {
                written.true_since.zip(written.fires_at).map(|(since, at)| Self::Waiting { since, at })
            }
            ("suppressed", _) => Some(Self::Suppressed),
            ("not_fired", _) => Some(Self::NotTrue),
            _ => None,
        };
        standing.ok_or_else(|| format!("`{}` is no verdict, or is not whole", written.verdict))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Kind;

    #[test]
    fn every_standing_is_read_back_as_it_was_written() {
        let at = Timestamp::from_millis(1_765_800_000_000);
        for standing in [
            RuleStanding::OfSource,
            RuleStanding::OtherSource,
            RuleStanding::NothingHappened([Kind::Ended, Kind::Deleted].into_iter().collect()),
            RuleStanding::Feed { fired: 0 },
            RuleStanding::Feed { fired: 3 },
            RuleStanding::NotLooked,
            RuleStanding::Edited { fired: true },
            RuleStanding::Edited { fired: false },
            RuleStanding::Fired { at: None, repeat: true },
            RuleStanding::Fired { at: Some(at), repeat: false },
            RuleStanding::Waiting { since: at, at },
            RuleStanding::Suppressed,
            RuleStanding::NotTrue,
        ] {
            let written = serde_json::to_value(standing).unwrap();
            assert_eq!(written["verdict"], standing.word());
            assert_eq!(serde_json::from_value::<RuleStanding>(written).unwrap(), standing);
        }
    }
}
