//! Points in time, and the clocks they come from.
//!
//! The pure core is passed a [`Timestamp`]; only the effectful shell reads a [`Clock`].

use std::{fmt, time::Duration};

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, Utc};
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

    /// Reads a time as APIs write it: RFC 3339 / ISO 8601, also with an offset without a colon (`+0100`), without seconds,
    /// and without a zone, which then is UTC; RFC 2822; or the digits of a number (see [`Timestamp::from_epoch`]).
    pub fn parse_any(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Self::from_epoch(text.parse().ok()?);
        }
        let in_utc = text.strip_suffix("UTC").or(text.strip_suffix("GMT")).map(str::trim_end);
        let is_iso = text.as_bytes().get(4) == Some(&b'-');
        let text = in_utc.filter(|_| is_iso).unwrap_or(text).replacen(' ', "T", usize::from(is_iso));
        let zoned = DateTime::parse_from_rfc3339(&text)
            .or_else(|_| DateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f%#z"))
            .or_else(|_| DateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f %#z"))
            .or_else(|_| DateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M%#z"))
            .or_else(|_| DateTime::parse_from_rfc2822(&text));
        if let Ok(zoned) = zoned {
            return Some(Self(zoned.timestamp_millis()));
        }
        let local = NaiveDateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f")
            .or_else(|_| NaiveDateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M"))
            .or_else(|_| NaiveDate::parse_from_str(&text, "%Y-%m-%d").map(|date| date.into()));
        Some(Self(local.ok()?.and_utc().timestamp_millis()))
    }

    /// Reads a number of seconds since the Unix epoch or, if it is too large for that, of milliseconds, microseconds or
    /// nanoseconds. `None` for a number before 1973, which is more likely not a time at all.
    pub fn from_epoch(number: f64) -> Option<Self> {
        let millis = match number {
            1e8..1e11 => number * 1e3,
            1e11..1e14 => number,
            1e14..1e17 => number / 1e3,
            1e17..1e20 => number / 1e6,
            _ => return None,
        };
        Some(Self(millis.round() as i64))
    }

    /// The time `by` later; saturates.
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// The time `by` earlier; saturates.
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }

    /// The time that has passed since `earlier`; zero when `earlier` is later.
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

/// Tells the time.
///
/// [`Clock::steady`] follows the machine's monotonic clock and is for schedules: setting the system's clock, or a
/// laptop that slept, cannot cause a burst of polls. [`Clock::wall`] is the date and time, and may jump. A simulated
/// clock follows tokio's, so that a test with paused time controls it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Timestamp,
    started: tokio::time::Instant,
    /// Whether `wall` follows tokio's clock in place of the system's.
    simulated: bool,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self { epoch: system_now(), started: tokio::time::Instant::now(), simulated: false }
    }

    /// A simulated clock: it says `epoch` now and moves with tokio's time, which tests can pause.
    pub fn starting_at(epoch: Timestamp) -> Self {
        Self { epoch, started: tokio::time::Instant::now(), simulated: true }
    }

    /// The time for schedules. It never jumps.
    pub fn steady(&self) -> Timestamp {
        self.epoch.after(self.started.elapsed())
    }

    /// The time for people and for the store.
    pub fn wall(&self) -> Timestamp {
        if self.simulated { self.steady() } else { system_now() }
    }

    /// The tokio instant at which `steady` reaches `at`; in the past when it has already.
    pub fn instant(&self, at: Timestamp) -> tokio::time::Instant {
        self.started + at.since(self.epoch)
    }
}

fn system_now() -> Timestamp {
    Timestamp(Utc::now().timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_apis_write_them() {
        let at = Timestamp::parse("2025-12-15T14:32:25.000Z");
        for text in [
            "2025-12-15T14:32:25Z",
            "2025-12-15T14:32:25",
            "2025-12-15 14:32:25",
            "2025-12-15 14:32:25 UTC",
            "2025-12-15T14:32:25.000",
            "2025-12-15T15:32:25+0100",
            "2025-12-15T15:32:25.000+01:00",
            "2025-12-15 15:32:25 +0100",
            "2025-12-15T15:32:25+01",
            "Mon, 15 Dec 2025 14:32:25 GMT",
            "1765809145",
            "1765809145000",
            "1765809145.0",
            "1765809145000000",
        ] {
            assert_eq!(Timestamp::parse_any(text), at, "{text}");
        }
        assert_eq!(Timestamp::parse_any("2025-12-15T14:32"), Timestamp::parse("2025-12-15T14:32:00Z"));
        assert_eq!(Timestamp::parse_any("2025-12-15"), Timestamp::parse("2025-12-15T00:00:00Z"));
        for text in
            ["", "soon", "7", "-1765809145", "15.12.2025", "2025-13-15T14:32:25Z", "é", "1e300", "..."]
        {
            assert_eq!(Timestamp::parse_any(text), None, "{text}");
        }
        assert_eq!(Timestamp::from_epoch(f64::NAN), None);
    }
}
