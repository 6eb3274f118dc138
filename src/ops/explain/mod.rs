//! The story of a call: what is known of it, how each rule stands to it and why, and the outcome of each delivery.

mod condition;
mod number;
mod standing;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value};
use utoipa::ToSchema;

pub(super) use self::number::FEWEST_DIGITS;
pub use self::{
    number::{OfNumber, OtherCall},
    standing::RuleStanding,
};
use super::{
    Delivery, Filter, Ops, OpsError, StateFilter,
    delivery::Destinations,
    number::Number,
    scan::{PAGE, Scan},
    text,
};
use crate::{
    batch::BatchKey,
    call::CallId,
    delivery,
    kind::Kinds,
    name::Name,
    privacy::mask_phone,
    rule::{RuleSet, fire::Candidate},
    snapshot::Snapshot,
    store::{DeliveryRecord, DeliveryState, Hold, StoreError, Token},
    time::Timestamp,
};

/// All that is known of a call.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CallStory {
    /// The time of the story.
    #[serde(rename = "at", with = "text::time")]
    pub now: Timestamp,
    /// The call.
    pub call: CallId,
    /// The source of the call.
    pub source: Name,
    /// The other calls of its number; only when the call was asked for by that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_number: Option<OfNumber>,
    /// The call as it is remembered.
    pub known: KnownOfCall,
    /// How each rule of the config stands to it, in the order of the config.
    pub rules: Vec<RuleStory>,
    /// Deliveries of rules that are no longer in the config, oldest first.
    pub other_deliveries: Vec<DeliveryStory>,
}

/// A call as it is remembered.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct KnownOfCall {
    /// When it was first seen.
    #[serde(with = "text::time")]
    pub first_seen: Timestamp,
    /// When it was first seen completed.
    #[serde(with = "text::time_if_any")]
    pub completed_seen: Option<Timestamp>,
    /// The kinds of change it has been through.
    pub kinds: Kinds,
    /// How many states it was seen in.
    pub states: u32,
    /// Whether it was found to be deleted.
    pub deleted: bool,
    /// Whether most of its fields have been forgotten, because it was settled long ago.
    pub shrunk: bool,
    /// Whether a person has had it forgotten: nothing of it is kept but that it is known.
    #[serde(default)]
    pub erased: bool,
    /// Its fields, without the transcript.
    #[schema(value_type = Object)]
    pub fields: Map<String, Value>,
}

/// How a rule stands to a call, why, and its deliveries.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RuleStory {
    /// The rule.
    pub rule: Name,
    /// How it stands to the call.
    #[serde(flatten)]
    pub standing: RuleStanding,
    /// The same in words, to follow the rule's name.
    pub why: String,
    /// Its condition part by part, evaluated for the call as it is remembered; `None` when it has no condition, or
    /// nothing to do with the call.
    #[schema(value_type = Option<Object>)]
    pub condition: Option<Value>,
    /// The same as lines for people.
    pub condition_lines: Vec<String>,
    /// Whether its condition asks about the transcript, which is not remembered.
    pub asks_for_transcript: bool,
    /// Its deliveries about the call, oldest first. One that tells several rules is among those of each.
    pub deliveries: Vec<DeliveryStory>,
}

/// A delivery about a call and, when it was merged, the delivery that tells it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeliveryStory {
    /// The delivery.
    #[serde(flatten)]
    pub delivery: Delivery,
    /// When its batch goes out; only of a held one.
    #[serde(rename = "goes_out", default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<BatchWait>,
    /// The delivery that tells it; only of a merged one, and as long as it is kept.
    #[serde(rename = "teller", default, skip_serializing_if = "Option::is_none")]
    pub told_by: Option<Delivery>,
}

/// The thing that a batch waits for. Serialised as the time, or in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchWait {
    /// This time.
    Until(Timestamp),
    /// More deliveries, as the rule's `count` says.
    ForMore,
    /// Its destination, which is not in the config.
    ForConfig,
}

impl Serialize for BatchWait {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Until(at) => text::time::serialize(at, serializer),
            Self::ForMore => serializer.serialize_str(FOR_MORE),
            Self::ForConfig => serializer.serialize_str(FOR_CONFIG),
        }
    }
}

const FOR_MORE: &str = "when more have come in";
const FOR_CONFIG: &str = "when its destination is in the config";

impl<'de> Deserialize<'de> for BatchWait {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match &*String::deserialize(deserializer)? {
            FOR_MORE => Ok(Self::ForMore),
            FOR_CONFIG => Ok(Self::ForConfig),
            text => match Timestamp::parse(text) {
                Some(at) => Ok(Self::Until(at)),
                None => Err(D::Error::custom(format!("{text:?} is no time"))),
            },
        }
    }
}

impl Ops {
    /// The story of a call: of that with this id or, when there is none, of the newest one of this phone number. Changes
    /// nothing.
    ///
    /// # Errors
    /// [`OpsError::NoSource`], [`OpsError::NoCall`], and [`OpsError::AmbiguousCall`] when several sources know a call of
    /// this id and `source` does not say which is meant.
    pub async fn explain(&self, call: &CallId, source: Option<&Name>) -> Result<CallStory, OpsError> {
        let destinations = self.destinations().await?;
        let now = destinations.now;
        let (call, of_number, source, snapshot) = self.find_call_or_number(call, source).await?;
        let call = &call;
        let filter = Filter { source: Some(source.clone()), call: Some(call.clone()), ..Filter::default() };
        let mut records = Scan::new(&*self.store, &filter, None, PAGE, now).take(usize::MAX).await?;
        records.reverse();
        let waits = self.waits(&records, now).await?;
        let subject = Candidate::again(&source, snapshot.kinds_now(), &snapshot, now);
        let mut rules = vec![];
        for rule in &self.config.rules {
            let of_rule: Vec<_> = records.iter().filter(|record| record.tells(&rule.name)).cloned().collect();
            let standing = RuleStanding::of(rule, &source, &snapshot, &of_rule);
            let explanation = standing.is_concerned().then(|| subject.explain(rule)).flatten();
            let lines = explanation.as_ref().map(ToString::to_string).unwrap_or_default();
            rules.push(RuleStory {
                rule: rule.name.clone(),
                standing,
                why: standing.words(|at| at.to_string()),
                condition: explanation.as_ref().map(condition::object),
                condition_lines: lines.lines().map(str::to_owned).collect(),
                asks_for_transcript: rule.when.as_ref().is_some_and(|when| {
                    ["transcript", "said("].iter().any(|word| when.source().contains(word))
                }),
                deliveries: self.stories(&destinations, &waits, of_rule).await?,
            });
        }
        // A delivery that tells several rules stands under each of them that is in the config.
        records.retain(|record| !self.config.rules.iter().any(|rule| record.tells(&rule.name)));
        let other_deliveries = self.stories(&destinations, &waits, records).await?;
        let known = KnownOfCall::of(&snapshot);
        Ok(CallStory { now, call: call.clone(), source, of_number, known, rules, other_deliveries })
    }

    /// The call with this id, else the newest of this phone number.
    async fn find_call_or_number(
        &self,
        asked: &CallId,
        source: Option<&Name>,
    ) -> Result<(CallId, Option<OfNumber>, Name, Snapshot), OpsError> {
        let number = Number::typed(asked.as_str(), FEWEST_DIGITS);
        let sources = match (self.find_call(asked, source).await, &number) {
            (Err(OpsError::NoCall { sources, .. }), Some(_)) => sources,
            (found, _) => return found.map(|(source, snapshot)| (asked.clone(), None, source, snapshot)),
        };
        // An error is read by people who may not see numbers.
        let none = |sources| OpsError::NoCall { call: mask_phone(asked.as_str()).as_str().into(), sources };
        let Some(number) = number else { return Err(none(sources)) };
        let Some((call, source, of_number)) = self.calls_of(&number, &sources).await? else {
            return Err(none(sources));
        };
        let (source, snapshot) = self.find_call(&call, Some(&source)).await?;
        Ok((call, Some(of_number), source, snapshot))
    }

    /// The call as it is remembered, and the source that knows it.
    async fn find_call(&self, call: &CallId, source: Option<&Name>) -> Result<(Name, Snapshot), OpsError> {
        let known: Vec<_> = self.config.sources.iter().map(|source| source.name.clone()).collect();
        let asked: Vec<_> =
            known.iter().filter(|name| source.is_none_or(|asked| asked == *name)).cloned().collect();
        if let Some(name) = source.filter(|_| asked.is_empty()) {
            return Err(OpsError::NoSource { name: name.clone(), known });
        }
        let mut found = vec![];
        for source in &asked {
            let snapshots = self.store.snapshots(source, std::slice::from_ref(call)).await?;
            found.extend(snapshots.into_iter().flatten().map(|snapshot| (source.clone(), snapshot)));
        }
        if found.len() > 1 {
            let sources = found.into_iter().map(|(source, _)| source).collect();
            return Err(OpsError::AmbiguousCall { call: call.clone(), sources });
        }
        found.pop().ok_or_else(|| OpsError::NoCall { call: call.clone(), sources: asked })
    }

    /// When each batch goes out that holds one of these deliveries, by destination and batch.
    async fn waits(
        &self,
        records: &[DeliveryRecord],
        now: Timestamp,
    ) -> Result<BTreeMap<(Name, BatchKey), BatchWait>, StoreError> {
        let mut batches: BTreeMap<&Name, BTreeSet<&BatchKey>> = BTreeMap::new();
        for record in records {
            if let DeliveryState::Held { batch } = &record.state {
                batches.entry(&record.id.destination).or_default().insert(batch);
            }
        }
        let rules = RuleSet::of(&self.config.rules);
        let mut waits = BTreeMap::new();
        for (name, batches) in batches {
            let destination = self.config.destinations.iter().find(|destination| destination.name == *name);
            let Some(destination) = destination else {
                waits.extend(
                    batches.into_iter().map(|batch| ((name.clone(), batch.clone()), BatchWait::ForConfig)),
                );
                continue;
            };
            let held = self.held(name, now).await?;
            let mut times =
                delivery::go_out(destination, &rules, self.store.ledgers(name).await?, &held, now);
            for batch in batches {
                let wait = times.remove(batch).flatten().map_or(BatchWait::ForMore, BatchWait::Until);
                waits.insert((name.clone(), batch.clone()), wait);
            }
        }
        Ok(waits)
    }

    /// Everything that a destination holds, oldest first, with when it was made.
    async fn held(
        &self,
        destination: &Name,
        now: Timestamp,
    ) -> Result<Vec<(Token, Hold, Timestamp)>, StoreError> {
        let filter = Filter {
            destination: Some(destination.clone()),
            state: Some(StateFilter::Held),
            ..Filter::default()
        };
        let mut scan = Scan::new(&*self.store, &filter, None, PAGE, now);
        let mut held = vec![];
        while let Some(record) = scan.next().await? {
            if let DeliveryState::Held { batch } = record.state {
                held.push((record.token, Hold { batch, happened: record.happened }, record.created));
            }
        }
        held.reverse();
        Ok(held)
    }

    async fn stories(
        &self,
        destinations: &Destinations,
        waits: &BTreeMap<(Name, BatchKey), BatchWait>,
        records: Vec<DeliveryRecord>,
    ) -> Result<Vec<DeliveryStory>, StoreError> {
        let mut stories = vec![];
        for record in records {
            let to = record.id.destination.clone();
            let (mut waits_for, mut told_by) = (None, None);
            match &record.state {
                DeliveryState::Held { batch } => waits_for = waits.get(&(to, batch.clone())).copied(),
                DeliveryState::Merged { into, .. } => {
                    let filter = Filter::event(into.clone(), Some(to));
                    let teller = Scan::new(&*self.store, &filter, None, 1, destinations.now).next().await?;
                    told_by = teller.map(|record| destinations.tell(record, false));
                }
                _ => {}
            }
            stories.push(DeliveryStory { delivery: destinations.tell(record, false), waits_for, told_by });
        }
        Ok(stories)
    }
}

impl KnownOfCall {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        Self {
            first_seen: snapshot.first_seen,
            completed_seen: snapshot.completed_seen,
            kinds: snapshot.kinds_seen,
            states: snapshot.revision,
            deleted: snapshot.deleted,
            shrunk: snapshot.shrunk.is_some(),
            erased: snapshot.is_forgotten(),
            fields: snapshot.fields.clone(),
        }
    }
}

/// The fields of a call hold phone numbers and summaries: they are left out.
impl std::fmt::Debug for KnownOfCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KnownOfCall")
            .field("first_seen", &self.first_seen)
            .field("kinds", &self.kinds)
            .finish_non_exhaustive()
    }
}
