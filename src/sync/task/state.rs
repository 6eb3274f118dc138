//! What a source's task keeps across restarts besides the calls themselves.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    name::Name,
    store::StoreError,
    sync::{clockwork::Clockwork, planner::Planner},
    time::Timestamp,
};

/// Kept in the store as the source's checkpoint.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SourceState {
    /// The planner's own.
    pub planner: Option<Value>,
    /// A call created after this is news even while the baseline is taken. By the server's clock.
    news_since: Option<Timestamp>,
    /// How many events the baseline made.
    pub baseline_events: u64,
    /// How many deliveries about the source itself each destination has been given.
    pub sequences: BTreeMap<Name, u64>,
    /// Since when the source has been failing, once that was told.
    pub failing_since: Option<Timestamp>,
    /// What waits for its time.
    pub clockwork: Clockwork,
}

impl SourceState {
    /// What was kept; the beginning of everything when nothing was.
    ///
    /// # Errors
    /// When it cannot be read: beginning anew would take news for what was there already.
    pub fn load(source: &Name, checkpoint: Option<Value>) -> Result<Self, StoreError> {
        let Some(checkpoint) = checkpoint else { return Ok(Self::default()) };
        serde_json::from_value(checkpoint).map_err(|error| StoreError::Damaged {
            path: format!("(state of source {source})"),
            why: error.to_string(),
            advice: "start with another [store] path; every call is then baselined afresh".to_owned(),
        })
    }

    /// What to keep.
    pub fn save(&mut self, planner: &Planner) -> Value {
        self.planner = Some(planner.checkpoint());
        // A map with text keys and plain values always has a JSON form.
        serde_json::to_value(&*self).unwrap_or_default()
    }

    /// The first answer of the first run fixes what is news. The `Date` header has whole seconds, so a call
    /// created within that second counts as there already.
    pub fn begin(&mut self, server_time: Timestamp, notify_since: Duration) {
        self.news_since.get_or_insert_with(|| server_time.after(Duration::from_secs(1)).before(notify_since));
    }

    /// Whether a call created at this time is news while the baseline is taken.
    pub fn is_news(&self, created_at: Option<Timestamp>) -> bool {
        matches!((created_at, self.news_since), (Some(created), Some(since)) if created > since)
    }
}
