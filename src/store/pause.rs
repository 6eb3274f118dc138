//! Leaving a destination alone for longer than a process lives.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Why nothing is handed out for a destination, and what ends that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Since when.
    pub since: Timestamp,
    /// Why, in one line without a secret.
    pub reason: String,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// The fingerprint of the config it was made under; another config ends it. `None` when a person made it:
    /// then only a person ends it.
    pub config: Option<String>,
}

impl Pause {
    /// One that a person made and only a person ends.
    pub fn by_hand(since: Timestamp) -> Self {
        Self { since, reason: "paused by hand".to_owned(), until: None, config: None }
    }

    /// Whether it has ended by itself.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// Whether it ends later, or less easily, than `other`.
    pub fn outlasts(&self, other: &Self) -> bool {
        let rank = |pause: &Self| (pause.until.is_none(), pause.until, pause.config.is_none());
        rank(self) > rank(other)
    }
}
