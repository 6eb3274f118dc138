//! The one filter grammar, for lists and for bulk actions.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::text;
use crate::{
    call::CallId,
    event::EventId,
    kind::Kind,
    name::Name,
    store::{DeliveryFilter, DeliveryRecord, DeliveryStateKind},
    time::Timestamp,
};

/// Which deliveries are meant; every part that is given must match.
///
/// Serialised flat, so that it can stand in the query of an address. Unknown keys are refused: in a bulk action, a part
/// with a typing mistake in it must not be taken for no part at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Only deliveries of this event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<EventId>,
    /// Only deliveries to this destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<Name>,
    /// Only deliveries of events that tell this rule, alone or with others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Name>,
    /// Only deliveries about this source, or about calls of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Name>,
    /// Only deliveries about calls with this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// Only deliveries in one of these states.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StateFilter>,
    /// Only deliveries of events of this kind.
    #[param(value_type = Option<Kind>)]
    #[serde(skip_serializing_if = "Option::is_none", with = "text::kind")]
    pub kind: Option<Kind>,
    /// Only deliveries that failed with this text: it is part of the last attempt's result, or of the reason of death.
    /// Case does not matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Only deliveries made longer ago than this: `1h`.
    #[schema(value_type = Option<String>)]
    #[param(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none", with = "text::duration")]
    pub older_than: Option<Duration>,
    /// Only deliveries made no longer ago than this: `7d`.
    #[schema(value_type = Option<String>)]
    #[param(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none", with = "text::duration")]
    pub newer_than: Option<Duration>,
}

/// A state of deliveries, or several that people ask for together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StateFilter {
    /// Due, or waiting for the next attempt.
    Pending,
    /// Waiting in a batch, to be told with others.
    Held,
    /// Arrived.
    Delivered,
    /// Told as part of another event.
    Merged,
    /// Given up.
    Dead,
    /// Pending, held or dead: it has not arrived, and nothing else tells it.
    Undelivered,
}

impl StateFilter {
    /// The states that it means.
    pub fn kinds(self) -> &'static [DeliveryStateKind] {
        match self {
            Self::Pending => &[DeliveryStateKind::Pending],
            Self::Held => &[DeliveryStateKind::Held],
            Self::Delivered => &[DeliveryStateKind::Delivered],
            Self::Merged => &[DeliveryStateKind::Merged],
            Self::Dead => &[DeliveryStateKind::Dead],
            Self::Undelivered => {
                &[DeliveryStateKind::Pending, DeliveryStateKind::Held, DeliveryStateKind::Dead]
            }
        }
    }
}

impl Filter {
    /// The deliveries of one event, or only the one to `destination`.
    pub fn event(event: EventId, destination: Option<Name>) -> Self {
        Self { event: Some(event), destination, ..Self::default() }
    }

    /// The part that the store looks up, as one filter for each state that is meant. [`Self::matches`] checks the rest.
    pub(super) fn indexed(&self) -> Vec<DeliveryFilter> {
        let of_state = |state| DeliveryFilter {
            event: self.event.clone(),
            destination: self.destination.clone(),
            rule: self.rule.clone(),
            source: self.source.clone(),
            call: self.call.clone(),
            state,
            error: self.error.clone(),
        };
        match self.state {
            None => vec![of_state(None)],
            Some(state) => state.kinds().iter().map(|kind| of_state(Some(*kind))).collect(),
        }
    }

    /// Whether a delivery that the store has found matches the rest, all but [`Self::kind`].
    pub(super) fn matches(&self, record: &DeliveryRecord, now: Timestamp) -> bool {
        let age = now.since(record.created);
        self.older_than.is_none_or(|limit| age > limit) && self.newer_than.is_none_or(|limit| age <= limit)
    }

    /// Whether nothing but a destination and a state is asked for, so that the store's counts are the answer.
    pub(super) fn is_counted(&self) -> bool {
        let Self { destination: _, state: _, event, rule, source, call, kind, error, older_than, newer_than } =
            self;
        event.is_none()
            && rule.is_none()
            && source.is_none()
            && call.is_none()
            && kind.is_none()
            && error.is_none()
            && older_than.is_none()
            && newer_than.is_none()
    }
}
