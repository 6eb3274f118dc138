//! Times and durations as people say them.

use std::{fmt::Write as _, time::Duration};

use chrono::{DateTime, Datelike, NaiveDate, TimeZone, Timelike, format::StrftimeItems};

use super::Language;
use crate::{calendar::Zone, time::Timestamp};

/// A text that is a format of times, as in strftime. Its arguments are the name of the zone and the hour.
type Format = fn(Language, &str, u64) -> String;

impl Language {
    /// `Mon 15 Dec 2025, 14:32 UTC`
    pub(crate) fn date_and_time(self, at: Timestamp, zone: Zone) -> String {
        self.written(at, zone, Self::date_and_time_format)
    }

    /// `15 Dec 14:32`
    pub(crate) fn day_and_time(self, at: Timestamp, zone: Zone) -> String {
        self.written(at, zone, Self::day_and_time_format)
    }

    /// `14:32`; on one of the six days before `today` `Sun 14:32`, on another day `Sun 30 Nov, 14:32`, in another year
    /// `Sun 30 Nov 2024, 14:32`.
    pub(crate) fn time(self, at: Timestamp, today: Timestamp, zone: Zone) -> String {
        let formats: [Format; 4] = [
            Self::time_format,
            Self::time_this_week_format,
            Self::time_this_year_format,
            Self::time_any_year_format,
        ];
        self.written(at, zone, formats[distance(at, today, zone)])
    }

    /// `14:32 UTC`
    pub(crate) fn time_and_zone(self, at: Timestamp, zone: Zone) -> String {
        self.written(at, zone, Self::time_and_zone_format)
    }

    /// `since 14:32 UTC`; as far away as in [`Language::time`], with the day.
    pub(crate) fn since(self, at: Timestamp, today: Timestamp, zone: Zone) -> String {
        let formats: [Format; 4] = [
            Self::since_format,
            Self::since_this_week_format,
            Self::since_this_year_format,
            Self::since_any_year_format,
        ];
        self.written(at, zone, formats[distance(at, today, zone)])
    }

    /// `No call has come in since Mon 15 Dec 2025, 14:32 UTC.`
    pub(crate) fn silent_since(self, at: Timestamp, zone: Zone) -> String {
        self.written(at, zone, Self::silent_since_format)
    }

    /// A time in a format as in strftime, with the names of the language; `None` when there is no such format. The default
    /// is `15 Dec 2025, 14:32`.
    pub(crate) fn local_time<Tz: TimeZone>(self, at: &DateTime<Tz>, format: Option<&str>) -> Option<String>
    where
        Tz::Offset: std::fmt::Display,
    {
        let default = if format.is_none() { self.local_time_format() } else { String::new() };
        let items = StrftimeItems::new_with_locale(format.unwrap_or(&default), self.locale());
        let mut text = String::new();
        write!(text, "{}", at.format_localized_with_items(items, self.locale())).ok()?;
        Some(text)
    }

    /// Seconds as people say them, rounded: 145 is `2m 25s`, 3700 is `1h 1m`.
    pub(crate) fn duration(self, seconds: f64) -> String {
        let seconds = Duration::try_from_secs_f64(seconds.round()).unwrap_or_default().as_secs();
        let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        match (h, m, s) {
            (0, 0, s) => self.seconds(s),
            (0, m, 0) => self.minutes(m),
            (0, m, s) => format!("{} {}", self.minutes(m), self.seconds(s)),
            (h, 0, _) => self.hours(h),
            (h, m, _) => format!("{} {}", self.hours(h), self.minutes(m)),
        }
    }

    /// A span that somebody has written into a config, to the second: `3 days`, `1h 30m`.
    pub(crate) fn span(self, span: Duration) -> String {
        let seconds = span.as_secs();
        let (d, h, m, s) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let parts: Vec<_> = [
            (d > 0).then(|| self.days(d)),
            (h > 0).then(|| self.hours(h)),
            (m > 0).then(|| self.minutes(m)),
            (s > 0).then(|| self.seconds(s)),
        ]
        .into_iter()
        .flatten()
        .collect();
        if parts.is_empty() { self.seconds(0) } else { parts.join(" ") }
    }

    fn written(self, at: Timestamp, zone: Zone, format: Format) -> String {
        let written = zone.local(at).and_then(|local| {
            let name = self.zone_name(&local.format("%Z").to_string());
            self.local_time(&local, Some(&format(self, &name, local.hour().into())))
        });
        written.unwrap_or_else(|| at.to_string())
    }
}

/// How far a day is from today: it is today, within the six days before, in this year, in any other.
fn distance(at: Timestamp, today: Timestamp, zone: Zone) -> usize {
    match (date(at, zone), date(today, zone)) {
        (Some(day), Some(today)) => match (today - day).num_days() {
            0 => 0,
            1..=6 => 1,
            _ if day.year() == today.year() => 2,
            _ => 3,
        },
        _ => 3,
    }
}

/// The day in this zone; `None` for years that the calendar does not reach.
pub(crate) fn date(at: Timestamp, zone: Zone) -> Option<NaiveDate> {
    zone.local(at).map(|local| local.date_naive())
}
