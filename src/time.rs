//! Points in time, and the clocks they come from.
//!
//! The pure core is passed a [`Timestamp`]; only the effectful shell reads a [`Clock`].

use std::{fmt, time::Duration};

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

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

    /// Reads a JSON value in any of the forms in which APIs write times: a text (see [`Timestamp::parse_any`]) or a number
    /// (see [`Timestamp::from_epoch`]).
    pub fn of_json(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Self::parse_any(text),
            Value::Number(number) => Self::from_epoch(number.as_f64()?),
            _ => None,
        }
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

/// Something to be done after a wait, in a form that can be stored and that a wrong clock cannot strand.
///
/// A stored point in time alone cannot be told from one that was computed while the clock was two days ahead. So a
/// deadline says when it was made and how long it waits; one that was made in the future, as the clock says now, is due
/// by its wait from now. Whoever waits for it within a process measures [`Deadline::left`] on the steady clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// When it was made, by the wall clock.
    pub made: Timestamp,
    /// How long it waits, in milliseconds.
    wait: u64,
}

impl Deadline {
    /// `wait` from `made`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use callwatch::time::{Deadline, Timestamp};
    ///
    /// let made = Timestamp::parse("2025-12-15T12:00:00Z").unwrap();
    /// let deadline = Deadline::new(made, Duration::from_secs(60));
    /// assert_eq!(deadline.left(made.after(Duration::from_secs(20))), Duration::from_secs(40));
    /// // The clock was set back by a year: it is not waited for longer than it was meant to be.
    /// let set_back = made.before(Duration::from_secs(365 * 86_400));
    /// assert_eq!(deadline.left(set_back), Duration::from_secs(60));
    /// ```
    pub fn new(made: Timestamp, wait: Duration) -> Self {
        Self { made, wait: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX) }
    }

    /// Due as soon as it is made.
    pub const fn at_once(made: Timestamp) -> Self {
        Self { made, wait: 0 }
    }

    /// At `due`, as computed at `made`; at once when that is earlier.
    pub fn at(made: Timestamp, due: Timestamp) -> Self {
        Self::new(made, due.since(made))
    }

    /// How long it waits in all.
    pub fn wait(self) -> Duration {
        Duration::from_millis(self.wait)
    }

    /// When it is due by the wall clock, for people. A clock that was set since is not known here.
    pub fn due(self) -> Timestamp {
        self.made.after(self.wait())
    }

    /// How much of the wait is left when the wall clock says `now`: all of it when the deadline is from the future, and
    /// never more.
    pub fn left(self, now: Timestamp) -> Duration {
        self.wait().saturating_sub(now.since(self.made))
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
    use proptest::prelude::*;

    use super::*;

    const NOON: Timestamp = Timestamp::from_millis(1_765_800_000_000);

    #[test]
    fn a_deadline_from_the_future_is_due_by_its_wait_from_now() {
        let wait = Duration::from_secs(300);
        let deadline = Deadline::new(NOON, wait);
        assert_eq!(deadline.left(NOON), wait);
        assert_eq!(deadline.left(NOON.after(Duration::from_secs(200))), Duration::from_secs(100));
        assert_eq!(deadline.left(NOON.after(Duration::from_secs(301))), Duration::ZERO);
        // Made while the clock was two days ahead.
        assert_eq!(deadline.left(NOON.before(Duration::from_secs(2 * 86_400))), wait);
        assert_eq!(Deadline::at(NOON, NOON.before(wait)).left(NOON), Duration::ZERO);
        assert_eq!(Deadline::new(NOON, Duration::MAX).left(NOON), Duration::from_millis(u64::MAX));
    }

    #[test]
    fn the_systems_clock_says_what_time_it_is() {
        let since_1970 = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let now = Timestamp::default().after(since_1970);
        for said in [Clock::system().wall(), Clock::system().steady()] {
            assert!(said >= now && said.since(now) < Duration::from_secs(3600), "{said} is not {now}");
        }
    }

    /// Events on the machine while something waits.
    #[derive(Clone, Debug)]
    enum Step {
        /// Time passes, in seconds.
        Passes(u64),
        /// Somebody sets the wall clock, by so many seconds.
        Leaps(i64),
        /// The process ends, and another one reads the deadline from the store.
        Restarts,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0u64..200).prop_map(Step::Passes),
            2 => (-300_000i64..300_000).prop_map(Step::Leaps),
            1 => Just(Step::Restarts),
        ];
        prop::collection::vec(step, 0..40)
    }

    proptest! {
        /// However the wall clock leaps: within one process it is due exactly after its wait, it is due by its wait from
        /// the last restart at the latest, and without leaps restarts change nothing.
        #[test]
        fn a_leaping_clock_strands_nothing(steps in steps(), wait in 1u64..1000) {
            let wait = Duration::from_secs(wait);
            let (mut steady, mut offset) = (NOON, 0i64);
            let wall = |steady: Timestamp, offset: i64| Timestamp::from_millis(steady.as_millis() + offset);
            let deadline = Deadline::new(wall(steady, offset), wait);
            let (mut due, mut restarted) = (steady.after(deadline.left(wall(steady, offset))), None);
            let mut leapt = false;
            for step in steps {
                match step {
                    Step::Passes(seconds) => steady = steady.after(Duration::from_secs(seconds)),
                    Step::Leaps(seconds) => {
                        offset += seconds * 1000;
                        leapt = true;
                    }
                    Step::Restarts if steady < due => {
                        due = steady.after(deadline.left(wall(steady, offset)));
                        restarted = Some(steady);
                    }
                    Step::Restarts => {}
                }
                prop_assert!(due <= restarted.unwrap_or(NOON).after(wait));
                prop_assert!(due == NOON.after(wait) || (leapt && restarted.is_some()));
            }
        }
    }

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
