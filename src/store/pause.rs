//! Pauses of a destination that outlast the process.

use serde::{Deserialize, Serialize};

use crate::time::{Deadline, Timestamp};

/// A pause: nothing is sent to the destination until it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// When it began.
    pub since: Timestamp,
    /// The reason, in one line without a secret.
    pub reason: String,
    /// When it ends by itself; `None` when it does not.
    pub until: Option<Timestamp>,
    /// The fingerprint of the config under which it was made; under another config it ends. `None` when a person made
    /// it: then only a person ends it.
    pub config: Option<String>,
}

impl Pause {
    /// A pause made by a person, which only a person ends.
    pub fn by_hand(since: Timestamp) -> Self {
        Self { since, reason: "paused by hand".to_owned(), until: None, config: None }
    }

    /// When it ends by itself, as a deadline made when it began; `None` when it does not.
    pub fn deadline(&self) -> Option<Deadline> {
        self.until.map(|until| Deadline::at(self.since, until))
    }

    /// Whether it has ended by itself.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.deadline().is_some_and(|deadline| deadline.left(now).is_zero())
    }

    /// Whether it ends later, or less easily, than `other`.
    pub fn outlasts(&self, other: &Self) -> bool {
        let rank = |pause: &Self| (pause.until.is_none(), pause.until, pause.config.is_none());
        rank(self) > rank(other)
    }
}
