//! Whether a source answers, and when that it does not has to be told.

use std::time::Duration;

use super::Now;
use crate::time::Timestamp;

/// Failed requests in a row. Lost with the process: after a restart a source has to fail anew for `failing_after`.
#[derive(Debug, Default)]
pub(super) struct Health {
    failures: u32,
    outage: Option<Outage>,
}

#[derive(Debug)]
struct Outage {
    /// When the first request failed, by the wall clock.
    since: Timestamp,
    /// When it has lasted for `failing_after`, by the steady clock.
    failing_at: Timestamp,
    /// The latest error.
    error: String,
}

impl Health {
    /// A request failed. Returns how many have failed in a row.
    pub(super) fn failed(&mut self, error: String, failing_after: Duration, now: Now) -> u32 {
        self.failures = self.failures.saturating_add(1);
        match &mut self.outage {
            Some(outage) => outage.error = error,
            None => {
                let failing_at = now.steady.after(failing_after);
                self.outage = Some(Outage { since: now.wall, failing_at, error });
            }
        }
        self.failures
    }

    /// A request was answered. Returns how many had failed in a row before it.
    pub(super) fn answered(&mut self) -> u32 {
        std::mem::take(self).failures
    }

    /// When the outage, if there is one, has to be told, by the steady clock.
    pub(super) fn failing_at(&self) -> Option<Timestamp> {
        self.outage.as_ref().map(|outage| outage.failing_at)
    }

    /// Since when the source has been failing, by the wall clock, and the latest error, if that has to be told by now.
    pub(super) fn outage(&self, steady: Timestamp) -> Option<(Timestamp, &str)> {
        let outage = self.outage.as_ref().filter(|outage| outage.failing_at <= steady)?;
        Some((outage.since, &outage.error))
    }
}
