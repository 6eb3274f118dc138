//! Several events told as one.
//!
//! What is to be told together waits in a *batch*: the deliveries of one destination that are held for the same
//! reason. When the batch goes out, one event stands for all of them, and its record is a [`Summary`].

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{call::CallId, change::Changes, event::EventId, kind::Kinds, name::Name, time::Timestamp};

/// How many events a summary lists; of the others it only says how many there are.
pub const MAX_ITEMS: usize = 50;

/// Names a batch of one destination: `group/RULE/…`, `digest/…`, `quiet`. Holds nothing of a call: what it is
/// grouped by stands in it as a hash.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchKey(Arc<str>);

impl BatchKey {
    /// Where held deliveries are until the destination's task has decided about them.
    pub fn arrived() -> Self {
        Self("arrived".into())
    }

    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: Into<Arc<str>>> From<T> for BatchKey {
    fn from(key: T) -> Self {
        Self(key.into())
    }
}

impl fmt::Display for BatchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BatchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why events were told together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The rule's `group`.
    Group,
    /// The rule's `throttle`.
    Throttle,
    /// The rule's `count`: so many came in.
    Count,
    /// The rule's `digest`.
    Digest,
    /// The destination's quiet hours.
    Quiet,
}

/// What a summary tells: the record of its event.
#[derive(Serialize, Deserialize)]
pub struct Summary {
    /// Why they are told together.
    pub reason: Reason,
    /// When the first of them happened.
    pub since: Timestamp,
    /// How many events there are.
    pub count: u64,
    /// How many of each rule.
    pub rules: BTreeMap<Name, u64>,
    /// How many calls of each `callAnalysis.sentiment`; calls without one are not counted.
    pub sentiments: BTreeMap<String, u64>,
    /// The latest of them, newest first, at most [`MAX_ITEMS`].
    pub items: Vec<Item>,
}

/// One event of a summary.
#[derive(Serialize, Deserialize)]
pub struct Item {
    /// Its id.
    pub id: EventId,
    /// Its source.
    pub source: Name,
    /// The call it is about.
    pub call: Option<CallId>,
    /// The rule that matched.
    pub rule: Name,
    /// What happened.
    pub kinds: Kinds,
    /// The fields that differed.
    pub changes: Changes,
    /// When it was observed.
    pub at: Timestamp,
    /// The call as it was when the summary was made, without its transcript; for an event about a source, what
    /// describes it.
    pub record: Arc<RawValue>,
}

/// Summaries hold calls: only what identifies them is shown.
impl fmt::Debug for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Summary")
            .field("reason", &self.reason)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}
