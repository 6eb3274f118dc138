//! Why deliveries have not arrived, told together.

use std::collections::{BTreeMap, btree_map::Entry};

use super::{Delivery, Filter, KeptBack, Ops, OpsError, StateFilter, scan::Scan};
use crate::{name::Name, privacy::HIDDEN, store::DeliveryStateKind, time::Timestamp};

/// The most deliveries of each state that are looked at, the newest.
const LOOKED_AT: usize = 2000;

/// The reasons why deliveries that match a filter have not arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Reasons {
    /// Each of them once for each destination, the one of most deliveries first.
    pub reasons: Vec<Reason>,
    /// How many deliveries were looked at, the newest of each state.
    pub looked_at: usize,
    /// Whether that were all of them.
    pub is_all: bool,
}

/// Why some deliveries to a destination have not arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// The destination.
    pub destination: Name,
    /// Whether they wait for an attempt, wait for others, or were given up.
    pub state: StateFilter,
    /// The result of the last attempt, or the reason of death; `None` when they were not tried.
    pub error: Option<String>,
    /// Another cause that keeps them back, beside the error.
    pub kept_back: Option<KeptBack>,
    /// How many they are.
    pub count: u64,
    /// When the first of them is tried.
    pub next: Option<Timestamp>,
    /// The filter that finds them, and others that failed in the same way. It finds those that were tried, too, when these
    /// were not.
    pub filter: Filter,
}

impl Ops {
    /// The reasons why deliveries that match have not arrived. Looks at the newest few thousand.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn reasons(&self, filter: &Filter) -> Result<Reasons, OpsError> {
        let state = match filter.state {
            None => StateFilter::Undelivered,
            Some(StateFilter::Delivered | StateFilter::Merged) => {
                return Ok(Reasons::of([].into_iter(), filter));
            }
            Some(state) => state,
        };
        let filter = Filter { state: Some(state), ..filter.clone() };
        let destinations = self.destinations_for(&filter).await?;
        // State by state, so that a long backlog does not hide the few that were given up.
        let states: &[StateFilter] = match state {
            StateFilter::Undelivered => &[StateFilter::Dead, StateFilter::Pending, StateFilter::Held],
            _ => std::slice::from_ref(&state),
        };
        let (mut told, mut is_all) = (vec![], true);
        for state in states {
            let of_state = Filter { state: Some(*state), ..filter.clone() };
            let mut scan = Scan::new(&*self.store, &of_state, None, LOOKED_AT, destinations.now);
            let records = scan.take(LOOKED_AT).await?;
            is_all &= records.len() < LOOKED_AT || scan.next().await?.is_none();
            told.extend(records.into_iter().map(|record| destinations.tell(record, false)));
        }
        Ok(Reasons { is_all, ..Reasons::of(told.into_iter(), &filter) })
    }
}

impl Reasons {
    fn of(deliveries: impl Iterator<Item = Delivery>, filter: &Filter) -> Self {
        let mut groups: BTreeMap<_, Reason> = BTreeMap::new();
        let mut looked_at = 0;
        for delivery in deliveries {
            looked_at += 1;
            let state = match delivery.state {
                DeliveryStateKind::Dead => StateFilter::Dead,
                DeliveryStateKind::Pending => StateFilter::Pending,
                DeliveryStateKind::Held => StateFilter::Held,
                DeliveryStateKind::Delivered | DeliveryStateKind::Merged => continue,
            };
            let last = delivery.log.last().map(|attempt| attempt.result.clone());
            let error = last.or(delivery.reason);
            // Which batch it is does not matter here.
            let kept_back = delivery.kept_back.filter(|_| state == StateFilter::Pending);
            let key = (
                delivery.destination,
                delivery.state.as_str(),
                error,
                kept_back.as_ref().map(ToString::to_string),
            );
            match groups.entry(key) {
                Entry::Occupied(mut group) => {
                    let group = group.get_mut();
                    group.count += 1;
                    group.next = group.next.into_iter().chain(delivery.due).min();
                }
                Entry::Vacant(group) => {
                    let (destination, _, error, _) = group.key().clone();
                    // The store has the text unmasked, so the filter looks for the part in front of the mask.
                    let text = error.as_deref().map(|error| error.split(HIDDEN).next().unwrap_or_default());
                    let filter = Filter {
                        destination: Some(destination.clone()),
                        state: Some(state),
                        error: text.map(str::to_owned).or(filter.error.clone()),
                        ..filter.clone()
                    };
                    let next = delivery.due;
                    group.insert(Reason { destination, state, error, kept_back, count: 1, next, filter });
                }
            }
        }
        let mut reasons: Vec<_> = groups.into_values().collect();
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.count));
        Self { reasons, looked_at, is_all: true }
    }
}
