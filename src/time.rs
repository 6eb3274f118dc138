//! Points in time as the rest of the house passes them around.
//!
//! The core never asks for the time; it is given a [`Timestamp`]. The shell asks a [`Clock`].

use std::{fmt, time::Duration};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds since the Unix epoch, UTC. Written as RFC 3339 with milliseconds (`2025-12-15T14:32:25.000Z`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Reads RFC 3339 / ISO 8601 with an offset or `Z`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        DateTime::parse_from_rfc3339(text).ok().map(|t| Self(t.timestamp_millis()))
    }

    /// This much later; saturates.
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// This much earlier; saturates.
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::<Utc>::from_timestamp_millis(self.0) {
            Some(t) => f.write_str(&t.to_rfc3339_opts(SecondsFormat::Millis, true)),
            None => write!(f, "{}ms", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        i64::deserialize(deserializer).map(Self)
    }
}

/// Where the shell gets the time from.
///
/// `steady` only ever moves forward with the machine's monotonic clock, so that a clock that is set, or a
/// laptop that slept, cannot cause a burst of polls; `wall` is what people call the time. Both follow
/// tokio's clock, so a test with paused time moves them.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Timestamp,
    started: tokio::time::Instant,
    /// A simulated clock has no system clock to follow.
    simulated: bool,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self { epoch: system_now(), started: tokio::time::Instant::now(), simulated: false }
    }

    /// A clock that says `epoch` now and moves with tokio's (possibly paused) time.
    pub fn starting_at(epoch: Timestamp) -> Self {
        Self { epoch, started: tokio::time::Instant::now(), simulated: true }
    }

    /// The time for schedules: never jumps.
    pub fn steady(&self) -> Timestamp {
        self.epoch.after(self.started.elapsed())
    }

    /// The time for people and for what is stored.
    pub fn wall(&self) -> Timestamp {
        if self.simulated { self.steady() } else { system_now() }
    }

    /// The tokio instant at which `steady` will say `at`; now when that has passed.
    pub fn instant(&self, at: Timestamp) -> tokio::time::Instant {
        self.started + at.since(self.epoch)
    }
}

fn system_now() -> Timestamp {
    Timestamp(Utc::now().timestamp_millis())
}
