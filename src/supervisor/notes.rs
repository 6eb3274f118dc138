//! The notes of the upkeep for the next process, kept as its checkpoint: which rejected config people have been told of, and
//! the sums of charts.
//!
//! A config that is refused is emitted as [`Signal::ConfigRejected`](crate::telemetry::Signal::ConfigRejected), which puts it
//! on the board; from there it is taken and told. Sums are written once a minute and at the end, when they have changed: a
//! kill loses at most a minute of a chart, and never a notification.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::upkeep::Upkeep;
use crate::{
    event::Subject,
    kind::Kind,
    name::Name,
    rule::Rules,
    store::{Claim, Commit, StoreError},
    telemetry::{Incident as OnBoard, Sums},
    telling::{Incident, Told},
    time::Timestamp,
};

/// How often the board is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often sums that have changed are written.
const WRITE_EVERY: Duration = Duration::from_secs(60);

/// Kept as the checkpoint of the upkeep.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Notes {
    sequences: BTreeMap<Name, u64>,
    /// The error that was told last, until a config is put to work.
    rejected: Option<String>,
    sums: Sums,
}

impl Notes {
    /// The events about the rejection on the board; `None` when there is none, or when it has been reported. The same
    /// mistake found again and again is reported once.
    fn look(&mut self, rejected: Option<&OnBoard>, rules: &Rules, now: Timestamp) -> Option<Told> {
        let Some(OnBoard { at, error }) = rejected else {
            self.rejected = None;
            return None;
        };
        if self.rejected.as_ref() == Some(error) {
            return None;
        }
        self.rejected = Some(error.clone());
        // The error has one line for each mistake; a message has all of them on one line.
        let details = json!({ "since": at.to_string(), "error": error.replace('\n', "; ") });
        let number = at.as_millis().to_string();
        let incident =
            Incident { kind: Kind::ConfigRejected, subject: Subject::Config, number, details: &details };
        Some(incident.tell(rules.iter(), &mut self.sequences, now))
    }
}

impl Upkeep {
    /// Tells of configs that are rejected, and keeps the sums of charts, until `stop` is cancelled.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn keep_notes(self, claim: &Claim, stop: &CancellationToken) -> Result<(), StoreError> {
        let failed = |error| self.failed("keeping notes", error);
        let kept = self.store.checkpoint(&claim.duty).await.map_err(failed)?;
        // A rejection that cannot be read is told again at worst, and a chart begins anew.
        let mut notes: Notes = kept.and_then(|kept| serde_json::from_value(kept).ok()).unwrap_or_default();
        self.telemetry.recall_sums(std::mem::take(&mut notes.sums));
        let (mut written, mut write_at) = (0, Instant::now() + WRITE_EVERY);
        loop {
            let goes_on = stop.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some();
            let rejected = self.telemetry.board().config.rejected;
            let rules = Rules::clone(&self.rules.borrow());
            let told = if goes_on { notes.look(rejected.as_ref(), &rules, self.clock.wall()) } else { None };
            let is_time = told.is_some() || !goes_on || Instant::now() >= write_at;
            let sums = if is_time { self.telemetry.sums_since(written) } else { None };
            if told.is_some() || sums.is_some() {
                if let Some(sums) = sums {
                    (written, notes.sums) = (sums.version(), sums);
                }
                write_at = Instant::now() + WRITE_EVERY;
                let Told { mut events, signals } = told.unwrap_or_default();
                events.retain(|new| !new.deliveries.is_empty());
                let checkpoint = serde_json::to_value(&notes).ok();
                let commit = Commit { events, checkpoint, ..Commit::default() };
                self.store.commit(claim, commit).await.map_err(failed)?;
                signals.into_iter().for_each(|signal| self.telemetry.emit(signal));
            }
            if !goes_on {
                return Ok(());
            }
        }
    }
}
