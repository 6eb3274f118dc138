//! Whether a source answers, and whom to tell when it has not for a while.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::Poller;
use crate::{
    callem::FetchError,
    kind::Kind,
    rule::Rule,
    store::StoreError,
    sync::{
        observe::{Observations, Observer},
        planner::Trouble,
    },
    telemetry::Signal,
    time::Timestamp,
};

/// For how long an API that says 429 without saying for how long is left alone: its limit is per minute.
const RATE_LIMIT_PAUSE: Duration = Duration::from_secs(10);

/// Failed requests in a row.
#[derive(Debug, Default)]
pub(super) struct Health {
    failures: u32,
    /// When the first of them failed: by the steady clock, and by the one for people.
    since: Option<(Timestamp, Timestamp)>,
    /// What went wrong last.
    last: String,
}

impl Poller {
    /// A request failed: the last known state stays as it is.
    pub(super) async fn failed(&mut self, error: &FetchError) -> Result<(), StoreError> {
        let (now, wall) = (self.task.clock.steady(), self.task.clock.wall());
        if let FetchError::RateLimited { retry_after } = error {
            let pause = retry_after.unwrap_or(RATE_LIMIT_PAUSE);
            self.budget().block_until(now.after(pause));
        }
        let trouble = Trouble { retry_after: error.retry_after(), refused: error.is_refusal() };
        self.planner.on_error(trouble, now);
        self.health.failures = self.health.failures.saturating_add(1);
        self.emit(Signal::FetchFailed {
            source: self.task.config.name.clone(),
            error: error.to_string(),
            refused: error.is_refusal(),
            failures: self.health.failures,
        });
        self.health.last = error.to_string();
        self.health.since.get_or_insert((now, wall));
        Ok(())
    }

    /// When it will have to be told that the source is failing, unless it recovers or that was told.
    pub(super) fn failing_at(&self) -> Option<Timestamp> {
        let (since, _) = self.health.since.filter(|_| self.state.failing_since.is_none())?;
        Some(since.after(self.task.config.failing_after))
    }

    /// Tells that the source has been failing for long enough, even while nothing is asked of it: an API can ask
    /// to be left alone for an hour.
    pub(super) async fn tell_if_failing(&mut self) -> Result<(), StoreError> {
        let due = self.failing_at().is_some_and(|at| at <= self.task.clock.steady());
        let (true, Some((_, since))) = (due, self.health.since) else { return Ok(()) };
        self.state.failing_since = Some(since);
        let details = json!({ "since": since.to_string(), "error": self.health.last });
        let rules = Arc::clone(&self.task.rules);
        self.tell(Kind::SourceFailing, since, &details, &rules).await
    }

    /// A request was answered.
    pub(super) async fn answered(
        &mut self,
        calls: usize,
        new: usize,
        changed: usize,
        took: Duration,
    ) -> Result<(), StoreError> {
        let source = self.task.config.name.clone();
        self.state.clockwork.answered(self.task.clock.wall());
        self.emit(Signal::Fetched { source: source.clone(), calls, new, changed, took });
        let Health { failures, .. } = std::mem::take(&mut self.health);
        if failures > 0 {
            self.emit(Signal::SourceRecovered { source, failures });
        }
        if let Some(since) = self.state.failing_since.take() {
            let details = json!({ "since": since.to_string() });
            let rules = Arc::clone(&self.task.rules);
            self.tell(Kind::SourceRecovered, since, &details, &rules).await?;
        }
        Ok(())
    }

    /// Commits what `rules` make of something that happened to the source, and that it was told.
    pub(super) async fn tell(
        &mut self,
        kind: Kind,
        incident: Timestamp,
        details: &serde_json::Value,
        rules: &[Rule],
    ) -> Result<(), StoreError> {
        let mut observations = Observations::new();
        if let Ok(details) = serde_json::value::to_raw_value(details) {
            let mut sequences = std::mem::take(&mut self.state.sequences);
            let details = Arc::from(details);
            Observer { rules, ..self.observer() }.observe_source(
                kind,
                incident,
                &details,
                &mut sequences,
                &mut observations,
            );
            self.state.sequences = sequences;
        }
        observations.commit.checkpoint = Some(self.state.save(&self.planner));
        self.commit(observations).await
    }
}
