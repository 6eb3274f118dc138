//! Time zones, hours of the week, and recurring schedules. Pure.

mod hours;

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
};

use chrono::{DateTime, NaiveDateTime, TimeZone, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use croner::{Cron, parser::CronParser};

pub use self::hours::Hours;
use crate::time::Timestamp;

/// A time zone of the IANA database (`Europe/Berlin`), which is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone(Tz);

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(Tz::UTC);

    /// The zone of this name, in any case; `None` when there is none.
    pub fn parse(name: &str) -> Option<Self> {
        Tz::from_str_insensitive(name).ok().map(Self)
    }

    /// The names of all zones.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TZ_VARIANTS.iter().map(|zone| zone.name())
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// The time at which clocks in this zone show `local`. When they show it twice, the first time; `None` when they skip
    /// it.
    pub fn when(self, local: NaiveDateTime) -> Option<Timestamp> {
        let at = self.0.from_local_datetime(&local).earliest()?;
        Some(Timestamp::from_millis(at.timestamp_millis()))
    }

    /// A time for people, to the second: `2025-12-15 15:32:25 CET`.
    pub fn show(self, at: Timestamp) -> String {
        let local = self.local(at);
        local.map_or_else(|| at.to_string(), |local| local.format("%Y-%m-%d %H:%M:%S %Z").to_string())
    }

    /// The date and time that clocks in this zone show; `None` for years that the calendar does not reach.
    pub fn local(self, at: Timestamp) -> Option<DateTime<Tz>> {
        DateTime::<Utc>::from_timestamp_millis(at.as_millis()).map(|utc| utc.with_timezone(&self.0))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A recurring time, as in a crontab: minute, hour, day of month, month and day of week, in a zone. A time in the hour
/// that clocks skip in spring comes right after it; a time in the hour that they repeat in autumn comes once.
#[derive(Clone)]
pub struct Schedule {
    cron: Cron,
    zone: Zone,
}

impl Schedule {
    /// Reads `0 8 * * MON-FRI`.
    ///
    /// # Errors
    /// Why the text is not a schedule.
    pub fn parse(text: &str, zone: Zone) -> Result<Self, String> {
        if text.split_whitespace().count() != 5 {
            return Err(
                "a schedule has five fields: minute, hour, day of month, month, day of week".to_owned()
            );
        }
        let cron = CronParser::builder().build().parse(text).map_err(|error| {
            let words = error.to_string();
            let words = words.trim_end_matches('.');
            format!("this is not a schedule ({})", words.split_once(": ").map_or(words, |(_, rest)| rest))
        })?;
        let schedule = Self { cron, zone };
        match schedule.next(Timestamp::from_millis(0)) {
            Some(_) => Ok(schedule),
            None => Err("this schedule never comes".to_owned()),
        }
    }

    /// The first time after `at`; `None` when none comes for years.
    pub fn next(&self, at: Timestamp) -> Option<Timestamp> {
        let next = self.cron.find_next_occurrence(&self.zone.local(at)?, false).ok()?;
        Some(Timestamp::from_millis(next.timestamp_millis()))
    }

    /// Its zone.
    pub fn zone(&self) -> Zone {
        self.zone
    }
}

/// Schedules are ordered and hashed by their text, by which they are also equal.
impl PartialOrd for Schedule {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Schedule {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.cron.as_str(), self.zone.name()).cmp(&(other.cron.as_str(), other.zone.name()))
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Schedule {}

impl Hash for Schedule {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.cron.as_str(), self.zone.name()).hash(state);
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.cron.as_str(), self.zone)
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn berlin() -> Zone {
        Zone::parse("europe/berlin").unwrap()
    }

    #[test]
    fn a_zone_has_the_name_of_the_database() {
        assert_eq!(berlin().name(), "Europe/Berlin");
        assert_eq!(Zone::parse("Berlin"), None);
        assert!(Zone::names().any(|name| name == "America/New_York"));
    }

    #[test]
    fn a_schedule_follows_its_zones_clocks() {
        let schedule = Schedule::parse("0 8 * * MON-FRI", berlin()).unwrap();
        // Friday morning before and after eight, then Monday; in winter an hour later by UTC.
        assert_eq!(schedule.next(at("2025-10-24T05:59:59Z")), Some(at("2025-10-24T06:00:00Z")));
        assert_eq!(schedule.next(at("2025-10-24T06:00:00Z")), Some(at("2025-10-27T07:00:00Z")));
    }

    #[test]
    fn a_skipped_time_comes_later_and_a_repeated_one_comes_once() {
        let schedule = Schedule::parse("30 2 * * *", berlin()).unwrap();
        assert_eq!(schedule.next(at("2026-03-28T12:00:00Z")), Some(at("2026-03-29T01:00:00Z")));
        let first = schedule.next(at("2026-10-24T12:00:00Z")).unwrap();
        assert_eq!(first, at("2026-10-25T00:30:00Z"));
        assert_eq!(schedule.next(first), Some(at("2026-10-26T01:30:00Z")));
    }

    #[test]
    fn a_text_that_is_not_a_schedule_is_refused_with_the_reason() {
        for (text, why) in [
            ("8:00", "a schedule has five fields: minute, hour, day of month, month, day of week"),
            ("0 0 8 * * MON", "a schedule has five fields: minute, hour, day of month, month, day of week"),
            ("0 0 30 2 *", "this schedule never comes"),
        ] {
            assert_eq!(Schedule::parse(text, Zone::UTC).unwrap_err(), why);
        }
        for text in ["0 25 * * *", "x 8 * * *", "0 8 * * MONDAI"] {
            assert!(
                Schedule::parse(text, Zone::UTC).unwrap_err().starts_with("this is not a schedule ("),
                "{text}"
            );
        }
    }
}
