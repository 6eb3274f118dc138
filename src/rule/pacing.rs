//! How often a rule's events are told, and together with what else.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value};
use xxhash_rust::xxh3::Xxh3;

use super::Rule;
use crate::{batch::BatchKey, calendar::Schedule, call::time_field, name::Name, time::Timestamp};

/// What keeps a rule from flooding. At most one of `count`, `group` and `digest`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pacing {
    /// Tell only when so many come in.
    pub count: Option<Count>,
    /// Tell together what belongs together.
    pub group: Option<Group>,
    /// Tell everything at certain times.
    pub digest: Option<Schedule>,
    /// Tell no more often than this; what is held back is told together when it may be.
    pub throttle: Option<Throttle>,
}

/// `count = { at_least = 3, within = "1h", by = ["call.calledNumber"] }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// How many events it takes, at least 2.
    pub at_least: u32,
    /// Within how long.
    pub within: Duration,
    /// What they must have in common.
    pub by: Vec<Field>,
}

/// `group = { by = ["call.callerNumber"], wait = "30s", interval = "5m" }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What they have in common; nothing groups all of the rule's events.
    pub by: Vec<Field>,
    /// How long the first one waits for others.
    pub wait: Duration,
    /// The least time between two messages of a group.
    pub interval: Duration,
}

/// `throttle = { at_most = 5, per = "1h", by = ["call.calledNumber"] }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// How many messages, at least 1.
    pub at_most: u32,
    /// Within any such time.
    pub per: Duration,
    /// Counted separately for each value of these; none when the rule also has `group` or `count`, whose groups
    /// it then counts.
    pub by: Vec<Field>,
}

/// What events are grouped by: a field of the call, or the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// `source`
    Source,
    /// `call.callAnalysis.topic`, without the `call`.
    OfCall(Vec<String>),
}

impl Pacing {
    /// Whether events are told one by one and at once.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// What tells its groups apart.
    pub fn by(&self) -> &[Field] {
        match self {
            Self { count: Some(count), .. } => &count.by,
            Self { group: Some(group), .. } => &group.by,
            Self { throttle: Some(throttle), .. } => &throttle.by,
            _ => &[],
        }
    }
}

impl Field {
    /// Reads `call.FIELD…` or `source`.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "source" {
            return Some(Self::Source);
        }
        let path: Vec<_> = text.strip_prefix("call.")?.split('.').map(str::to_owned).collect();
        let is_name = |part: &String| !part.is_empty() && !part.contains(char::is_whitespace);
        path.iter().all(is_name).then_some(Self::OfCall(path))
    }
}

/// The batch in which a delivery waits that `rule` makes of a call; `None` when it is due at once. Whatever has no batch of
/// its own and goes to a destination with quiet hours waits in [`BatchKey::Quiet`].
pub fn placement(
    rule: &Rule,
    destination: &Name,
    source: &Name,
    call: &Map<String, Value>,
) -> Option<BatchKey> {
    if !rule.sorted.contains(destination) {
        return None;
    }
    let pacing = &rule.pacing;
    let name = rule.name.clone();
    let by = || group_of(pacing.by(), source, call);
    Some(match pacing {
        Pacing { digest: Some(schedule), .. } => BatchKey::Digest(Arc::new(schedule.clone())),
        Pacing { count: Some(_), .. } => BatchKey::Count { rule: name, by: by() },
        Pacing { group: Some(_), .. } => BatchKey::Group { rule: name, by: by() },
        Pacing { throttle: Some(_), .. } => BatchKey::Throttle { rule: name, by: by() },
        _ => BatchKey::Quiet,
    })
}

/// When what a call tells happened, as far as the call says; not after `observed`.
pub fn happened(call: &Map<String, Value>, observed: Timestamp) -> Timestamp {
    let said = ["updatedAt", "createdAt"].iter().find_map(|name| time_field(call, name));
    said.map_or(observed, |at| at.min(observed))
}

/// A hash of what `fields` say of a call: equal for events that belong together. A field that is missing or null is
/// a value like any other.
pub fn group_of(fields: &[Field], source: &Name, call: &Map<String, Value>) -> u64 {
    let mut hasher = Xxh3::new();
    for field in fields {
        let value = match field {
            Field::Source => Some(Value::from(source.as_str())),
            Field::OfCall(path) => find(call, path).filter(|value| !value.is_null()).cloned(),
        };
        // JSON tells "1" from 1, and its end from what follows.
        let text = value.map(|value| value.to_string()).unwrap_or_default();
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.digest()
}

fn find<'v>(call: &'v Map<String, Value>, path: &[String]) -> Option<&'v Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(call.get(first)?, |value, name| value.get(name))
}
