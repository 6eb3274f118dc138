//! Tells people that another config could not be put to work. Whoever refuses a config emits
//! [`Signal::ConfigRejected`](crate::telemetry::Signal::ConfigRejected), which puts it on the board; from there it is taken here.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::upkeep::Upkeep;
use crate::{
    event::Subject,
    kind::Kind,
    name::Name,
    rule::Rules,
    store::{Claim, Commit, StoreError},
    telemetry::Incident as OnBoard,
    telling::{Incident, Told},
    time::Timestamp,
};

/// How often the board is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The rejection that was told last. Kept as the checkpoint of the upkeep.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Memory {
    sequences: BTreeMap<Name, u64>,
    /// The error that was told last, until a config is put to work.
    rejected: Option<String>,
}

impl Memory {
    /// The events about the rejection on the board; `None` when it has been told. The same mistake that is found
    /// again and again is told once.
    fn look(&mut self, rejected: Option<&OnBoard>, rules: &Rules, now: Timestamp) -> Option<Told> {
        let Some(OnBoard { at, error }) = rejected else {
            self.rejected = None;
            return None;
        };
        if self.rejected.as_ref() == Some(error) {
            return None;
        }
        self.rejected = Some(error.clone());
        let details = json!({ "since": at.to_string(), "error": error });
        let number = at.as_millis().to_string();
        let incident =
            Incident { kind: Kind::ConfigRejected, subject: Subject::Config, number, details: &details };
        Some(incident.tell(rules.iter(), &mut self.sequences, now))
    }
}

impl Upkeep {
    /// Tells of configs that are rejected, until `stop` is cancelled.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn tell_rejections(
        self,
        claim: &Claim,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let failed = |error| self.failed("telling of a rejected config", error);
        let kept = self.store.checkpoint(&claim.duty).await.map_err(failed)?;
        // A checkpoint that cannot be read costs one repeated message at worst.
        let mut memory: Memory = kept.and_then(|kept| serde_json::from_value(kept).ok()).unwrap_or_default();
        while stop.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some() {
            let rejected = self.telemetry.board().config.rejected;
            let rules = Rules::clone(&self.rules.borrow());
            let Some(Told { mut events, signals }) =
                memory.look(rejected.as_ref(), &rules, self.clock.wall())
            else {
                continue;
            };
            events.retain(|new| !new.deliveries.is_empty());
            let checkpoint = serde_json::to_value(&memory).ok();
            let commit = Commit { events, checkpoint, ..Commit::default() };
            self.store.commit(claim, commit).await.map_err(failed)?;
            signals.into_iter().for_each(|signal| self.telemetry.emit(signal));
        }
        Ok(())
    }
}
