//! A destination without a network and without a clock: it takes everything that is due, at once.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    desk::{Desk, Moment},
    summaries,
};
use crate::{
    calendar::Hours,
    event::Event,
    name::Name,
    rule::Rules,
    store::{Attempt, Claim, Duty, Outcome, Position, Settlement, Store, StoreError, Verdict},
    telemetry::Telemetry,
    time::Timestamp,
};

/// How many deliveries are taken at a time.
const PAGE: usize = 500;

/// The deliveries of one destination in a rehearsal. They wait as they would in the service, and then all arrive.
pub(crate) struct Rehearsed {
    store: Arc<dyn Store>,
    claim: Claim,
    destination: Name,
    position: Position,
    desk: Desk,
}

/// A delivery that arrived.
pub(crate) struct Arrived {
    /// The event; it may stand for several.
    pub(crate) event: Arc<Event>,
    /// The order within (destination, source, call).
    pub(crate) sequence: u64,
}

impl Rehearsed {
    /// A destination to which nothing was delivered yet.
    ///
    /// # Errors
    /// As all methods, when the store fails, or another process serves the destination.
    pub(crate) async fn new(
        store: Arc<dyn Store>,
        destination: Name,
        rules: Rules,
        quiet: Option<Hours>,
    ) -> Result<Self, StoreError> {
        let duty = Duty::Destination(destination.clone());
        let claim = store.claim(&duty).await?.ok_or(StoreError::ClaimLost { duty })?;
        let desk = Desk::new(rules, quiet, BTreeMap::new());
        Ok(Self { store, claim, destination, position: Position::START, desk })
    }

    /// When there is something to do even if nothing is committed.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.desk.paces_at()
    }

    /// Whether any delivery has yet to go out.
    pub(crate) fn is_pending(&self) -> bool {
        self.desk.len() > 0
    }

    /// Delivers everything that is due at `now`; returns it in order.
    pub(crate) async fn deliver(&mut self, now: Timestamp) -> Result<Vec<Arrived>, StoreError> {
        let moment = Moment { wall: now, steady: now };
        let mut told = vec![];
        loop {
            let feed = self.store.pending(&self.claim, self.position, PAGE).await?;
            self.position = feed.next;
            let is_end = feed.entries.len() < PAGE;
            self.desk.take_in(feed.entries, moment);
            if !is_end {
                continue;
            }
            self.desk.pace(moment);
            let mut settlement = Settlement::new(now);
            if let Some(bundle) = self.desk.next_bundle() {
                let telemetry = Telemetry::default();
                let written =
                    summaries::write(&*self.store, &telemetry, &self.destination, bundle, now).await?;
                self.desk.wrote(&written.bundle);
                settlement.merge = written.merge;
            }
            let due = self.desk.take(PAGE, moment);
            let tokens: Vec<_> = due.iter().map(|delivery| delivery.token).collect();
            for (delivery, event) in due.into_iter().zip(self.store.bodies(&tokens).await?) {
                let Some(event) = event else { continue };
                if self.desk.hold_for_quiet(delivery.token, &event.rule, moment) {
                    continue;
                }
                let attempt = Attempt { at: now, took_ms: 0, result: String::new(), response: String::new() };
                settlement.outcomes.push(Outcome {
                    token: delivery.token,
                    number: delivery.attempts + 1,
                    attempt,
                    verdict: Verdict::Delivered,
                });
                told.push(Arrived { event, sequence: delivery.sequence });
            }
            self.desk.decide(&mut settlement);
            if settlement.is_empty() {
                return Ok(told);
            }
            self.store.settle(&self.claim, settlement.clone()).await?;
            self.desk.settled(&settlement, moment);
        }
    }
}
