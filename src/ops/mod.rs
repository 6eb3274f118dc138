//! Everything people ask of callwatch and do to it: list, show, retry, resend, drop, pause, resume, forget, explain,
//! status.
//!
//! Command line, API and page are three ways to say the same: each reads a request, calls [`Ops`], and prints the
//! result. So nothing here prints, parses arguments, or knows how wide a terminal is. Results are plain data that can
//! be serialised; phone numbers in the answers of receivers are masked already. Nothing here needs a claim: the owner
//! of a destination learns through its feed what people did.

mod bulk;
mod delivery;
mod error;
mod explain;
mod feed;
mod filter;
mod forget;
mod number;
mod readiness;
mod reasons;
mod resend;
mod scan;
mod schema;
mod search;
mod sent;
mod status;
mod text;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::{
    bulk::{BulkMode, Changed},
    delivery::{Delivery, KeptBack, LoggedAttempt},
    error::{OpsError, OpsErrorKind},
    explain::{
        BatchWait, CallStory, DeliveryStory, KnownOfCall, OfNumber, OtherCall, RuleStanding, RuleStory,
    },
    feed::{Happening, Happenings},
    filter::{Filter, StateFilter},
    forget::{Erased, OldCopy, Whom},
    readiness::{Check, Readiness},
    reasons::{Reason, Reasons},
    resend::MOST_RESENT,
    search::{CallCursor, CallFilter, FoundCall, FoundCalls},
    sent::Sent,
    status::{
        ConfigOverview, DestinationOverview, DestinationWork, DutyOverview, Mishap, NodeOverview,
        PauseStatus, ServiceStatus, SourceOverview, Status, WorkState,
    },
};
use self::{delivery::Destinations, scan::Scan};
use crate::{
    config_file::Config,
    event::{Event, EventId},
    name::Name,
    store::{Action, Cursor, Pause, Store, StoreError, Tally},
    telemetry::Board,
    time::Clock,
};

/// The operations on an open store. Cheap to make: one for each request will do.
pub struct Ops {
    store: Arc<dyn Store>,
    config: Arc<Config>,
    clock: Clock,
    /// The board of the process, if it is at work.
    board: Option<Board>,
}

/// A page of deliveries, newest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Listing {
    /// The deliveries.
    pub items: Vec<Delivery>,
    /// Where the next page begins; `None` when this was the last.
    #[serde(with = "text::text_if_any")]
    pub next: Option<Cursor>,
}

/// The result of resuming a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Resumed {
    /// Whether it was paused.
    pub was_paused: bool,
    /// How many deliveries wait for it.
    pub waiting: u64,
}

impl Ops {
    /// The operations on this store, with the sources, rules and destinations of the config.
    pub fn new(store: Arc<dyn Store>, config: Arc<Config>, clock: Clock) -> Self {
        Self { store, config, clock, board: None }
    }

    /// The same in a callwatch at work, whose board this is.
    pub fn beside(self, board: Board) -> Self {
        Self { board: Some(board), ..self }
    }

    /// One page of the deliveries that match.
    ///
    /// # Errors
    /// [`OpsError::NoDestination`] when neither config nor store knows the destination that the filter names.
    pub async fn list(
        &self,
        filter: &Filter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Listing, OpsError> {
        let destinations = self.destinations_for(filter).await?;
        let mut scan = Scan::new(&*self.store, filter, after, limit, destinations.now);
        let records = scan.take(limit).await?;
        let end = records.last().map(|record| record.cursor());
        let next = if scan.next().await?.is_some() { end } else { None };
        if records.is_empty() {
            self.check_names(filter).await?;
        }
        let callers = scan::of_events(&*self.store, &records, Event::masked_caller).await?;
        let items = records.into_iter().zip(callers).map(|(record, caller)| {
            let caller = caller.filter(|caller| !caller.is_empty());
            Delivery { caller, ..destinations.tell(record, false) }
        });
        Ok(Listing { items: items.collect(), next })
    }

    /// How many deliveries match. Goes over all of them when more is asked for than a destination and a state.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn count(&self, filter: &Filter) -> Result<u64, OpsError> {
        let destinations = self.destinations_for(filter).await?;
        if filter.is_counted() {
            let is_meant = |name: &Name| filter.destination.as_ref().is_none_or(|meant| meant == name);
            let meant = destinations.standings.iter().filter(|(name, _)| is_meant(name));
            return Ok(meant.map(|(_, standing)| counted(&standing.tally, filter.state)).sum());
        }
        let mut scan = Scan::new(&*self.store, filter, None, scan::WIDE_PAGE, destinations.now);
        let mut count = 0;
        while scan.next().await?.is_some() {
            count += 1;
        }
        if count == 0 {
            self.check_names(filter).await?;
        }
        Ok(count)
    }

    /// The deliveries of an event, oldest first, or only the one to `destination`; with the answers of receivers when
    /// `answers` says so, which may quote the call.
    ///
    /// # Errors
    /// [`OpsError::NoDelivery`] when there is none.
    pub async fn show(
        &self,
        event: &EventId,
        destination: Option<&Name>,
        answers: bool,
    ) -> Result<Vec<Delivery>, OpsError> {
        let filter = Filter::event(event.clone(), destination.cloned());
        let destinations = self.destinations().await?;
        let mut records =
            Scan::new(&*self.store, &filter, None, scan::PAGE, destinations.now).take(usize::MAX).await?;
        if records.is_empty() {
            return Err(no_delivery(&filter));
        }
        records.reverse();
        Ok(records.into_iter().map(|record| destinations.tell(record, answers)).collect())
    }

    /// Leaves a destination alone until a person resumes it; its deliveries wait.
    ///
    /// # Errors
    /// [`OpsError::NoDestination`] when neither config nor store knows it.
    pub async fn pause(&self, destination: &Name) -> Result<(), OpsError> {
        self.destinations().await?.check(destination)?;
        let pause = Pause::by_hand(self.clock.wall());
        self.store.act(Action::Pause { destination: destination.clone(), pause }).await?;
        Ok(())
    }

    /// Ends a destination's pause, whoever made it.
    ///
    /// # Errors
    /// [`OpsError::NoDestination`] when neither config nor store knows it.
    pub async fn resume(&self, destination: &Name) -> Result<Resumed, OpsError> {
        let destinations = self.destinations().await?;
        destinations.check(destination)?;
        let standing = destinations.standings.get(destination);
        let waiting = standing.map_or(0, |standing| standing.tally.unfinished());
        let ended = self.store.act(Action::Resume { destination: destination.clone() }).await?;
        Ok(Resumed { was_paused: ended > 0, waiting })
    }

    /// Fails when the filter names a rule or a source that neither the config nor a delivery knows. Asked only when nothing
    /// matches: then a name may be a typing mistake.
    async fn check_names(&self, filter: &Filter) -> Result<(), OpsError> {
        let sources = || self.config.sources.iter().map(|source| source.name.clone());
        if let Some(name) = filter.source.as_ref().filter(|name| !sources().any(|it| it == **name)) {
            let of_source = Filter { source: Some(name.clone()), ..Filter::default() };
            if !self.has_any(&of_source).await? {
                return Err(OpsError::NoSource { name: name.clone(), known: sources().collect() });
            }
        }
        let rules = || self.config.rules.iter().map(|rule| rule.name.clone());
        if let Some(name) = filter.rule.as_ref().filter(|name| !rules().any(|it| it == **name)) {
            let of_rule = Filter { rule: Some(name.clone()), ..Filter::default() };
            if !self.has_any(&of_rule).await? {
                return Err(OpsError::NoRule { name: name.clone(), known: rules().collect() });
            }
        }
        Ok(())
    }

    async fn has_any(&self, filter: &Filter) -> Result<bool, StoreError> {
        Ok(Scan::new(&*self.store, filter, None, 1, self.clock.wall()).next().await?.is_some())
    }

    async fn destinations(&self) -> Result<Destinations, OpsError> {
        Ok(Destinations::read(&*self.store, &self.config, self.board.as_ref(), self.clock.wall()).await?)
    }

    /// The destinations, when the one that the filter names is among them. One that is named beside an event is not
    /// looked for: it is enough to say that there is no such delivery.
    async fn destinations_for(&self, filter: &Filter) -> Result<Destinations, OpsError> {
        let destinations = self.destinations().await?;
        if let Some(name) = filter.destination.as_ref().filter(|_| filter.event.is_none()) {
            destinations.check(name)?;
        }
        Ok(destinations)
    }
}

impl Destinations {
    /// Fails unless the config, a delivery or a pause names the destination.
    fn check(&self, name: &Name) -> Result<(), OpsError> {
        let known = self.names();
        if known.contains(name) {
            return Ok(());
        }
        Err(OpsError::NoDestination { name: name.clone(), known: known.into_iter().cloned().collect() })
    }
}

/// How many deliveries are in the states that are meant.
fn counted(tally: &Tally, state: Option<StateFilter>) -> u64 {
    let Tally { pending, held, merged, delivered, dead } = *tally;
    match state {
        None => pending + held + merged + delivered + dead,
        Some(StateFilter::Pending) => pending,
        Some(StateFilter::Held) => held,
        Some(StateFilter::Delivered) => delivered,
        Some(StateFilter::Merged) => merged,
        Some(StateFilter::Dead) => dead,
        Some(StateFilter::Undelivered) => pending + held + dead,
    }
}

fn no_delivery(filter: &Filter) -> OpsError {
    let event = filter.event.as_ref().map(EventId::as_str).unwrap_or_default();
    let to = filter.destination.as_ref().map(|destination| format!(" to {destination}")).unwrap_or_default();
    OpsError::NoDelivery(format!("{}{to}", event.escape_debug()))
}

#[cfg(test)]
mod tests;
