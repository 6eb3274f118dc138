//! How often a rule's events are told, and which of them are told together. Pure.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value};
use xxhash_rust::xxh3::Xxh3;

use super::Rule;
use crate::{batch::BatchKey, calendar::Schedule, call::happened, name::Name, time::Timestamp};

/// Limits that keep a rule from flooding. At most one of `count`, `group` and `digest`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pacing {
    /// Tell only when enough events come in.
    pub count: Option<Count>,
    /// Tell related events together.
    pub group: Option<Group>,
    /// Tell everything at certain times.
    pub digest: Option<Schedule>,
    /// Tell no more often than this; events beyond the limit are told together as soon as it allows.
    pub throttle: Option<Throttle>,
}

/// `count = { at_least = 3, within = "1h", by = ["call.calledNumber"] }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// How many events it takes, at least 2.
    pub at_least: u32,
    /// The time within which they must have happened.
    pub within: Duration,
    /// Fields whose values they must have in common.
    pub by: Vec<Field>,
}

/// `group = { by = ["call.callerNumber"], wait = "30s", interval = "5m" }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Fields whose values the events of a group have in common; without any, all of the rule's events are one group.
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
    /// The length of the sliding window in which they are counted.
    pub per: Duration,
    /// Fields for each value of which messages are counted separately. Empty when the rule also has `group` or `count`:
    /// then messages are counted for each of its groups.
    pub by: Vec<Field>,
}

/// One thing that events are grouped by: a field of the call, or the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// `source`
    Source,
    /// `call.callAnalysis.topic`, without the `call`.
    OfCall(Vec<String>),
}

impl Pacing {
    /// Whether every event is told by itself and at once.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The fields whose values tell its batches apart.
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

/// A hash of the values that `fields` have in a call: equal for events that belong together. A field that is missing or
/// null counts as one more value.
pub fn group_of(fields: &[Field], source: &Name, call: &Map<String, Value>) -> u64 {
    let mut hasher = Xxh3::new();
    for field in fields {
        let value = match field {
            Field::Source => Some(Value::from(source.as_str())),
            Field::OfCall(path) => find(call, path).filter(|value| !value.is_null()).cloned(),
        };
        // As JSON, so that "1" and 1 differ.
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

/// Where a delivery waits instead of being due at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The batch it belongs to.
    pub batch: BatchKey,
    /// When the event happened, by the call's own times; only for a `count`, whose events have to happen close
    /// together, however late they are found. `None` when the call does not say, and for other batches.
    pub happened: Option<Timestamp>,
}

/// Where a delivery of an event of `rule`, about a call of `source`, waits at `destination`; `None` when it is due at
/// once. `call` is the event's record: the call, or for an event about the source itself its details.
///
/// It depends on nothing but its arguments. What changes with time is left to the destination's task: a delivery placed
/// in [`BatchKey::Throttle`] is due at once while the limit allows, and one in [`BatchKey::Quiet`] while there are no
/// quiet hours; during quiet hours every batch waits for their end, unless its rule is critical.
pub fn placement(
    rule: &Rule,
    destination: &Name,
    source: &Name,
    call: &Map<String, Value>,
) -> Option<Placement> {
    if !rule.sorted.contains(destination) {
        return None;
    }
    let (name, pacing) = (rule.name.clone(), &rule.pacing);
    let by = || group_of(pacing.by(), source, call);
    let batch = match pacing {
        Pacing { digest: Some(schedule), .. } => BatchKey::Digest(Arc::new(schedule.clone())),
        Pacing { count: Some(_), .. } => BatchKey::Count { rule: name, by: by() },
        Pacing { group: Some(_), .. } => BatchKey::Group { rule: name, by: by() },
        Pacing { throttle: Some(_), .. } => BatchKey::Throttle { rule: name, by: by() },
        // Without pacing, only quiet hours hold a delivery.
        _ => BatchKey::Quiet,
    };
    let happened = if pacing.count.is_some() { happened(call) } else { None };
    Some(Placement { batch, happened })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{calendar::Zone, kind::Kinds};

    const HOUR: Duration = Duration::from_secs(3600);

    /// A rule whose deliveries to `desk` are held, but not those to `crm`.
    fn paced(pacing: Pacing) -> Rule {
        let sorted = vec!["desk".into()];
        Rule { sorted, pacing, ..Rule::new("rule".into(), Kinds::NONE, vec!["desk".into(), "crm".into()]) }
    }

    fn place(rule: &Rule, call: Value) -> Option<Placement> {
        placement(rule, &"desk".into(), &"clinic".into(), call.as_object().unwrap())
    }

    fn by() -> Vec<Field> {
        vec![Field::parse("call.callerNumber").unwrap()]
    }

    fn throttle(by: Vec<Field>) -> Option<Throttle> {
        Some(Throttle { at_most: 1, per: HOUR, by })
    }

    #[test]
    fn only_destinations_that_hold_deliveries_have_a_placement() {
        let rule = paced(Pacing::default());
        assert_eq!(placement(&rule, &"crm".into(), &"clinic".into(), &Map::new()), None);
        assert_eq!(place(&rule, json!({})), Some(Placement { batch: BatchKey::Quiet, happened: None }));
    }

    #[test]
    fn a_batch_is_that_of_the_rule_and_of_the_values_it_groups_by() {
        let group = Some(Group { by: by(), wait: HOUR, interval: HOUR });
        let rule = paced(Pacing { group, throttle: throttle(vec![]), ..Pacing::default() });
        let batch = |call| place(&rule, call).unwrap().batch;
        let one = batch(json!({"callerNumber": "1", "id": "a"}));
        assert!(matches!(&one, BatchKey::Group { rule, .. } if rule.as_str() == "rule"));
        assert_eq!(one, batch(json!({"callerNumber": "1", "id": "b"})));
        for other in [json!({"callerNumber": 1}), json!({"callerNumber": null}), json!({"callerNumber": "2"})]
        {
            assert_ne!(one, batch(other));
        }
        assert_eq!(batch(json!({"callerNumber": null})), batch(json!({})));

        let rule = paced(Pacing { throttle: throttle(vec![Field::Source]), ..Pacing::default() });
        let placed = place(&rule, json!({"updatedAt": "2025-12-15T14:30:00Z"})).unwrap();
        assert!(matches!(placed, Placement { batch: BatchKey::Throttle { .. }, happened: None }));
        let elsewhere = placement(&rule, &"desk".into(), &"garage".into(), &Map::new());
        assert_ne!(elsewhere.unwrap().batch, placed.batch);
    }

    #[test]
    fn a_digest_is_shared_by_all_rules_of_one_schedule() {
        let daily = Schedule::parse("0 8 * * *", Zone::UTC).unwrap();
        let pacing = Pacing { digest: Some(daily.clone()), throttle: throttle(vec![]), ..Pacing::default() };
        let placed = place(&paced(pacing), json!({})).unwrap();
        assert_eq!(placed.batch, BatchKey::Digest(Arc::new(daily)));
    }

    #[test]
    fn a_count_goes_by_when_it_happened() {
        let count = Some(Count { at_least: 2, within: HOUR, by: by() });
        let rule = paced(Pacing { count, ..Pacing::default() });
        let happened = |call| place(&rule, call).unwrap().happened.map(|at| at.to_string());
        let (created, updated) = ("2025-12-15T14:30:00.000Z", "2025-12-15T14:32:25.000Z");
        assert_eq!(happened(json!({"createdAt": created, "updatedAt": updated})).as_deref(), Some(updated));
        assert_eq!(happened(json!({"createdAt": created, "updatedAt": 7})).as_deref(), Some(created));
        assert_eq!(happened(json!({})), None);
    }
}
