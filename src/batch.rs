//! The batches in which deliveries of one destination wait to be told together.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::{
    calendar::{Schedule, Zone},
    name::Name,
};

/// Names a batch of one destination, by the reason for which its deliveries wait.
///
/// Its text, which stands in the store and in front of people, is `group/RULE/HASH`, `count/RULE/HASH`,
/// `throttle/RULE/HASH`, `digest/SCHEDULE ZONE`, `quiet` or `quiet/alone`. Nothing of a call stands in it: the values a
/// rule groups by are a hash.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BatchKey {
    /// A rule's `group`.
    Group {
        /// The rule.
        rule: Name,
        /// Hash of the values of the rule's `by`.
        by: u64,
    },
    /// A rule's `count`.
    Count {
        /// The rule.
        rule: Name,
        /// Hash of the values of the rule's `by`.
        by: u64,
    },
    /// A rule's `throttle`.
    Throttle {
        /// The rule.
        rule: Name,
        /// Hash of the values of the rule's `by`.
        by: u64,
    },
    /// A time of day, shared by all rules that have the same `digest`.
    Digest(Arc<Schedule>),
    /// The end of the destination's quiet hours.
    Quiet,
    /// The end of the quiet hours, for deliveries that may have been sent already: they are told one by one, because a
    /// repeat must carry the id of the first attempt.
    Alone,
}

/// A text that names no batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no batch")]
pub struct NoBatch(String);

impl BatchKey {
    /// The only rule whose events wait in the batch; `None` for batches that several rules share.
    pub fn rule(&self) -> Option<&Name> {
        match self {
            Self::Group { rule, .. } | Self::Count { rule, .. } | Self::Throttle { rule, .. } => Some(rule),
            Self::Digest(_) | Self::Quiet | Self::Alone => None,
        }
    }
}

impl FromStr for BatchKey {
    type Err = NoBatch;

    fn from_str(text: &str) -> Result<Self, NoBatch> {
        let of_rule = |rest: &str| {
            let (rule, by) = rest.rsplit_once('/')?;
            Some((Name::from(rule), u64::from_str_radix(by, 16).ok()?))
        };
        let digest = |rest: &str| {
            let (cron, zone) = rest.rsplit_once(' ')?;
            Schedule::parse(cron, Zone::parse(zone)?).ok()
        };
        let key = match text.split_once('/') {
            Some(("group", rest)) => of_rule(rest).map(|(rule, by)| Self::Group { rule, by }),
            Some(("count", rest)) => of_rule(rest).map(|(rule, by)| Self::Count { rule, by }),
            Some(("throttle", rest)) => of_rule(rest).map(|(rule, by)| Self::Throttle { rule, by }),
            Some(("digest", rest)) => digest(rest).map(|schedule| Self::Digest(Arc::new(schedule))),
            Some(("quiet", "alone")) => Some(Self::Alone),
            None if text == "quiet" => Some(Self::Quiet),
            _ => None,
        };
        key.ok_or_else(|| NoBatch(text.to_owned()))
    }
}

impl fmt::Display for BatchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group { rule, by } => write!(f, "group/{rule}/{by:016x}"),
            Self::Count { rule, by } => write!(f, "count/{rule}/{by:016x}"),
            Self::Throttle { rule, by } => write!(f, "throttle/{rule}/{by:016x}"),
            Self::Digest(schedule) => write!(f, "digest/{schedule}"),
            Self::Quiet => f.write_str("quiet"),
            Self::Alone => f.write_str("quiet/alone"),
        }
    }
}

impl fmt::Debug for BatchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for BatchKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BatchKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_named_by_the_text_it_prints() {
        for text in [
            "group/unhappy.caller/00000000000000ff",
            "count/a/ffffffffffffffff",
            "throttle/a-b_c/0123456789abcdef",
            "digest/0 8 * * 1-5 Europe/Berlin",
            "quiet",
            "quiet/alone",
        ] {
            assert_eq!(text.parse::<BatchKey>().unwrap().to_string(), text);
        }
        for text in
            ["", "group", "group/a", "group/a/x", "digest/8:00 UTC", "digest/daily", "quiet/", "quiet/a"]
        {
            assert_eq!(text.parse::<BatchKey>(), Err(NoBatch(text.to_owned())));
        }
    }
}
