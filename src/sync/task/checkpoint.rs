//! The state that a source's task keeps across restarts, besides the calls themselves.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    json,
    name::Name,
    store::StoreError,
    sync::{planner::Planner, watcher::Memory},
};

/// Kept in the store as the source's checkpoint.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Checkpoint<M> {
    /// See [`Planner::checkpoint`].
    pub planner: Option<Value>,
    #[serde(flatten)]
    pub watcher: M,
}

impl Checkpoint<Memory> {
    /// Reads what was kept; an empty checkpoint when nothing was.
    ///
    /// # Errors
    /// When it cannot be read. Beginning anew would run a baseline, and so pass over calls that are news.
    pub fn load(source: &Name, kept: Option<Value>) -> Result<Self, StoreError> {
        let Some(kept) = kept else { return Ok(Self::default()) };
        serde_json::from_value(kept).map_err(|error| StoreError::Damaged {
            path: format!("(state of source {source})"),
            why: error.to_string(),
            advice: "start with another [store] path; every call is then baselined afresh".to_owned(),
        })
    }
}

impl<'m> Checkpoint<&'m Memory> {
    /// The JSON to keep.
    pub fn save(planner: &Planner, watcher: &'m Memory) -> Value {
        let checkpoint = Self { planner: Some(planner.checkpoint()), watcher };
        json::of_plain(&checkpoint)
    }
}
