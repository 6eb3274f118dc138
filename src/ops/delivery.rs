//! A delivery, as people and programs see it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use utoipa::ToSchema;

use super::text;
use crate::{
    batch::BatchKey,
    call::CallId,
    config_file::Config,
    event::{EventId, Subject},
    name::Name,
    privacy::mask_phones_in,
    store::{DeliveryRecord, DeliveryState, DeliveryStateKind, DestinationStanding, Store, StoreError},
    telemetry::{Board, DestinationState},
    time::Timestamp,
};

/// A delivery, and what keeps it back. Phone numbers in the answers of receivers are masked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    /// The event that it tells.
    pub event: EventId,
    /// The destination that it tells it to.
    pub destination: Name,
    /// The state it is in.
    #[serde(with = "text::state")]
    pub state: DeliveryStateKind,
    /// When it is tried, at the earliest; only of a pending one.
    #[serde(with = "text::time_if_any")]
    pub due: Option<Timestamp>,
    /// Why it is not tried even when it is due.
    #[serde(rename = "held")]
    pub kept_back: Option<KeptBack>,
    /// The batch that holds it; only of a held one.
    pub waits_in: Option<BatchKey>,
    /// When it arrived, was merged, or was given up.
    #[serde(with = "text::time_if_any")]
    pub finished: Option<Timestamp>,
    /// The event that tells it; only of a merged one.
    pub told_by: Option<EventId>,
    /// Why it was given up; only of a dead one.
    pub reason: Option<String>,
    /// The source that it is about, directly or through a call.
    pub source: Option<Name>,
    /// The call that it is about.
    pub call: Option<CallId>,
    /// The caller's number, masked; only in lists, and when the number is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// The batch whose deliveries it tells as one.
    pub stands_for: Option<BatchKey>,
    /// The thing it is about, when none of the three fields above says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<Subject>,
    /// The rule that made it.
    pub rule: Name,
    /// The other rules that its event tells.
    pub also: Vec<Name>,
    /// Counts up from 1 per (destination, source, call).
    pub sequence: u64,
    /// When it was made.
    #[serde(with = "text::time")]
    pub created: Timestamp,
    /// How many attempts were made.
    pub attempts: u32,
    /// The latest of them, oldest first.
    pub log: Vec<LoggedAttempt>,
}

/// An attempt that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoggedAttempt {
    /// When it began.
    #[serde(with = "text::time")]
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The result, in one line.
    pub result: String,
    /// The beginning of the receiver's answer, which may quote the call; `None` unless it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// Why a delivery that is not finished is not tried. Serialised as it is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptBack {
    /// Its destination is not in the config.
    NotInConfig,
    /// Its destination is paused.
    Paused,
    /// Its destination is left alone for a while, because too many attempts in a row failed.
    Failing,
    /// It waits to be told with others.
    InBatch(BatchKey),
}

const NOT_IN_CONFIG: &str = "not in the config";
const PAUSED: &str = "paused";
const FAILING: &str = "failing";
const IN_BATCH: &str = "in batch ";

impl fmt::Display for KeptBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInConfig => f.write_str(NOT_IN_CONFIG),
            Self::Paused => f.write_str(PAUSED),
            Self::Failing => f.write_str(FAILING),
            Self::InBatch(batch) => write!(f, "{IN_BATCH}{batch}"),
        }
    }
}

impl<'de> Deserialize<'de> for KeptBack {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match &*String::deserialize(deserializer)? {
            NOT_IN_CONFIG => Ok(Self::NotInConfig),
            PAUSED => Ok(Self::Paused),
            FAILING => Ok(Self::Failing),
            text => match text.strip_prefix(IN_BATCH) {
                Some(batch) => batch.parse().map(Self::InBatch).map_err(D::Error::custom),
                None => Err(D::Error::custom(format!("{text:?} keeps no delivery back"))),
            },
        }
    }
}

impl Serialize for KeptBack {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// All destinations at one moment. They decide how their deliveries stand.
pub(super) struct Destinations {
    pub(super) now: Timestamp,
    /// The destinations of the config.
    pub(super) configured: BTreeSet<Name>,
    /// The counts and the pause of each destination that has a delivery or a pause. Pauses that are over are left out.
    pub(super) standings: BTreeMap<Name, DestinationStanding>,
    /// The destinations that are failing, as far as is known.
    pub(super) failing: BTreeSet<Name>,
}

impl Destinations {
    pub(super) async fn read(
        store: &dyn Store,
        config: &Config,
        board: Option<&Board>,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut standings = store.destinations().await?;
        for standing in standings.values_mut() {
            standing.pause.take_if(|pause| pause.is_over(now));
        }
        let configured = config.destinations.iter().map(|destination| destination.name.clone()).collect();
        let states = board.into_iter().flat_map(|board| &board.destinations);
        let failing = states.filter(|(_, it)| matches!(it.state, DestinationState::Failing { .. }));
        let failing = failing.map(|(name, _)| name.clone()).collect();
        Ok(Self { now, configured, standings, failing })
    }

    /// All of them, by name.
    pub(super) fn names(&self) -> BTreeSet<&Name> {
        self.configured.iter().chain(self.standings.keys()).collect()
    }

    /// A delivery as people and programs see it; with the answers of receivers only when `answers` is true.
    pub(super) fn tell(&self, record: DeliveryRecord, answers: bool) -> Delivery {
        let kept_back = self.kept_back(&record);
        let (state, finished) = (record.state.kind(), record.finished());
        let (mut due, mut waits_in, mut told_by, mut dead) = (None, None, None, None);
        match record.state {
            DeliveryState::Pending { due: at } => due = Some(at.due()),
            DeliveryState::Held { batch } => waits_in = Some(batch),
            DeliveryState::Merged { into, .. } => told_by = Some(into),
            DeliveryState::Dead { reason, .. } => dead = Some(mask_phones_in(&reason)),
            DeliveryState::Delivered { .. } => {}
        }
        let log = record.log.into_iter().map(|attempt| LoggedAttempt {
            at: attempt.at,
            took_ms: attempt.took_ms,
            result: mask_phones_in(&attempt.result),
            answer: answers.then(|| mask_phones_in(&attempt.response)),
        });
        Delivery {
            event: record.id.event,
            destination: record.id.destination,
            state,
            due,
            kept_back,
            waits_in,
            finished,
            told_by,
            reason: dead,
            source: record.subject.source().cloned(),
            call: record.subject.call().cloned(),
            caller: None,
            stands_for: record.subject.batch().cloned(),
            about: Some(record.subject)
                .filter(|subject| matches!(subject, Subject::Destination(_) | Subject::Config)),
            rule: record.rule,
            also: record.also,
            sequence: record.sequence,
            created: record.created,
            attempts: record.attempts,
            log: log.collect(),
        }
    }

    fn kept_back(&self, record: &DeliveryRecord) -> Option<KeptBack> {
        let destination = &record.id.destination;
        let is_paused = || self.standings.get(destination).is_some_and(|standing| standing.pause.is_some());
        match &record.state {
            DeliveryState::Held { batch } => Some(KeptBack::InBatch(batch.clone())),
            DeliveryState::Pending { .. } if !self.configured.contains(destination) => {
                Some(KeptBack::NotInConfig)
            }
            DeliveryState::Pending { .. } if is_paused() => Some(KeptBack::Paused),
            DeliveryState::Pending { due } if self.failing.contains(destination) && due.due() <= self.now => {
                Some(KeptBack::Failing)
            }
            _ => None,
        }
    }
}
