//! Events that are told again.

use std::collections::BTreeSet;

use super::{
    BulkMode, Changed, Destinations, Filter, Ops, OpsError, StateFilter, no_delivery,
    scan::{Scan, WIDE_PAGE},
};
use crate::{
    event::EventId,
    name::Name,
    store::{Action, DeliveryRecord, DeliveryState, DeliveryStateKind, Token},
};

/// The most deliveries that are made by one request.
pub const MOST_RESENT: usize = 10_000;

/// The deliveries that are made anew.
#[derive(Default)]
struct Chosen {
    tokens: Vec<Token>,
    /// The events that are told, and whom: each at most once.
    told: BTreeSet<(EventId, Name)>,
    changed: Changed,
}

impl Ops {
    /// Sends the events of matching deliveries again: without `to`, those that have arrived go to their own destinations again;
    /// with `to`, all go there, except those whose own delivery there has not arrived. When the filter names neither an event nor
    /// a state, only delivered ones match. An event that already waits for its destination is skipped, so that a request that
    /// was cut short can be repeated.
    ///
    /// # Errors
    /// [`OpsError::NoDestination`] and [`OpsError::NoDelivery`] when there is nothing of what the request names, and
    /// [`OpsError::Refused`] when more than [`MOST_RESENT`] are meant, or such that have not arrived. Nothing was made then.
    /// After [`OpsError::Store`] some may have been made.
    pub async fn resend(
        &self,
        filter: &Filter,
        to: Option<&Name>,
        mode: BulkMode,
    ) -> Result<Changed, OpsError> {
        let mut filter = filter.clone();
        if filter.event.is_none() {
            filter.state.get_or_insert(StateFilter::Delivered);
        }
        if to.is_none() && !matches!(filter.state, None | Some(StateFilter::Delivered)) {
            let why = "only what has arrived is sent again to its own destination; what has not is retried";
            return Err(OpsError::Refused(why.to_owned()));
        }
        let destinations = self.destinations_for(&filter).await?;
        if let Some(to) = to.filter(|to| !destinations.configured.contains(*to)) {
            let known = destinations.configured.iter().cloned().collect();
            return Err(OpsError::NoDestination { name: to.clone(), known });
        }
        let mut scan = Scan::new(&*self.store, &filter, None, WIDE_PAGE, destinations.now);
        let mut chosen = Chosen::default();
        let mut has_matched = false;
        while let Some(record) = scan.next().await? {
            has_matched = true;
            chosen.consider(record, to, &destinations);
            if chosen.tokens.len() > MOST_RESENT {
                return Err(OpsError::Refused(format!(
                    "more than {MOST_RESENT} match, the most that are sent again at a time: choose a part of them by their \
                     age, the oldest first"
                )));
            }
        }
        if !has_matched && filter.event.is_some() {
            let retain = humantime::format_duration(self.config.store.retain);
            return Err(match no_delivery(&filter) {
                OpsError::NoDelivery(of) => OpsError::NoDelivery(format!(
                    "{of} any more, if there ever was: what is finished is kept for {retain}"
                )),
                error => error,
            });
        }
        let Chosen { tokens, mut changed, .. } = chosen;
        changed.count = tokens.len();
        if mode == BulkMode::Act && !tokens.is_empty() {
            // Made in the order in which the first ones were, so that receivers hear of a call in that order again.
            let action = Action::Resend { tokens, to: to.cloned(), at: destinations.now };
            let made = self.store.act(action).await?;
            changed.waiting = changed.count.saturating_sub(made);
            changed.count = made;
        }
        Ok(changed)
    }
}

impl Chosen {
    /// Takes a delivery in if its event is to be told again by it.
    fn consider(&mut self, record: DeliveryRecord, to: Option<&Name>, destinations: &Destinations) {
        let own = &record.id.destination;
        let destination = to.unwrap_or(own);
        if destination == own && record.state.kind() != DeliveryStateKind::Delivered {
            match record.state {
                DeliveryState::Held { .. } => self.changed.held += 1,
                DeliveryState::Merged { into, .. } => self.changed.told_by = Some(into),
                _ => {}
            }
        } else if !destinations.configured.contains(destination) {
            self.changed.stranded += 1;
        } else if self.told.insert((record.id.event.clone(), destination.clone())) {
            self.tokens.push(record.token);
        }
    }
}
