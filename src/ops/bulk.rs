//! Actions on all deliveries that match a filter.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Filter, Ops, OpsError, StateFilter, no_delivery,
    scan::{PAGE, Scan, WIDE_PAGE},
};
use crate::{
    event::EventId,
    store::{Action, DeliveryState, DeliveryStateKind, Token},
};

/// Whether a bulk action is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkMode {
    /// The action is carried out.
    Act,
    /// The deliveries are only counted.
    DryRun,
}

/// The deliveries that a bulk action changed, or would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Changed {
    /// How many deliveries.
    pub count: usize,
    /// How many of those that matched waited in a batch.
    pub held: usize,
    /// The event that tells one of those that matched, when one is told as part of another.
    pub told_by: Option<EventId>,
    /// How many were not sent again, because their events wait for their destinations already.
    #[serde(default)]
    pub waiting: usize,
    /// How many were not sent again, because the config does not have their destinations.
    #[serde(default)]
    pub stranded: usize,
}

impl Ops {
    /// Makes deliveries due now, and begins their retry schedule anew. Those that have arrived, or were told as part of
    /// another event, are left alone. When the filter names neither an event nor a state, only the dead are meant.
    ///
    /// # Errors
    /// [`OpsError::NoDestination`] and [`OpsError::NoDelivery`] when there is nothing of what the filter names. After
    /// [`OpsError::Store`] some may have been changed; it can be repeated.
    pub async fn retry(&self, filter: &Filter, mode: BulkMode) -> Result<Changed, OpsError> {
        let at = self.clock.wall();
        let has_not_arrived = |state: &DeliveryState| {
            matches!(
                state.kind(),
                DeliveryStateKind::Pending | DeliveryStateKind::Held | DeliveryStateKind::Dead
            )
        };
        self.bulk(filter, StateFilter::Dead, mode, has_not_arrived, |tokens| Action::Retry { tokens, at })
            .await
    }

    /// Forgets deliveries, and the events that no other delivery tells. When the filter names neither an event nor a
    /// state, those are meant that have not arrived.
    ///
    /// # Errors
    /// As [`Self::retry`].
    pub async fn drop(&self, filter: &Filter, mode: BulkMode) -> Result<Changed, OpsError> {
        self.bulk(filter, StateFilter::Undelivered, mode, |_| true, |tokens| Action::Drop { tokens }).await
    }

    /// Carries out `action` on all deliveries that match, page by page. `default` is the state that is meant when the
    /// filter names none.
    async fn bulk(
        &self,
        filter: &Filter,
        default: StateFilter,
        mode: BulkMode,
        is_changed: impl Fn(&DeliveryState) -> bool,
        action: impl Fn(Vec<Token>) -> Action,
    ) -> Result<Changed, OpsError> {
        let mut filter = filter.clone();
        // An event has few deliveries, and all of them are meant. A wider filter must not touch finished ones.
        if filter.event.is_none() {
            filter.state.get_or_insert(default);
        }
        let destinations = self.destinations_for(&filter).await?;
        // The scan has already passed the deliveries that were changed, so it meets none twice.
        let mut scan = Scan::new(&*self.store, &filter, None, WIDE_PAGE, destinations.now);
        let mut changed = Changed::default();
        let mut matched = 0;
        loop {
            let page = scan.take(PAGE).await?;
            let is_last = page.len() < PAGE;
            matched += page.len();
            let mut tokens = vec![];
            for record in page {
                if is_changed(&record.state) {
                    tokens.push(record.token);
                }
                match record.state {
                    DeliveryState::Held { .. } => changed.held += 1,
                    DeliveryState::Merged { into, .. } => changed.told_by = Some(into),
                    _ => {}
                }
            }
            changed.count += match mode {
                BulkMode::DryRun => tokens.len(),
                BulkMode::Act if tokens.is_empty() => 0,
                BulkMode::Act => self.store.act(action(tokens)).await?,
            };
            if is_last {
                break;
            }
        }
        if matched == 0 {
            self.check_names(&filter).await?;
        }
        if matched == 0 && filter.event.is_some() { Err(no_delivery(&filter)) } else { Ok(changed) }
    }
}

impl Changed {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            held: self.held + other.held,
            told_by: other.told_by.or(self.told_by),
            waiting: self.waiting + other.waiting,
            stranded: self.stranded + other.stranded,
        }
    }
}
