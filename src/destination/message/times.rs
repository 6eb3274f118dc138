//! Times for people in their own time zone.

use std::time::Duration;

use chrono::{Datelike, NaiveDate};

use crate::{calendar::Zone, template::duration_in_words, time::Timestamp};

/// `Mon 15 Dec 2025, 14:32 UTC`
pub(super) fn date_and_time(at: Timestamp, zone: Zone) -> String {
    formatted(at, zone, "%a %-d %b %Y, %H:%M %Z")
}

/// `15 Dec 14:32`
pub(super) fn day_and_time(at: Timestamp, zone: Zone) -> String {
    formatted(at, zone, "%-d %b %H:%M")
}

/// `14:32`; on one of the six days before `today` `Sun 14:32`, on another day `Sun 30 Nov, 14:32`, in another year
/// `Sun 30 Nov 2024, 14:32`.
pub(super) fn time(at: Timestamp, today: Timestamp, zone: Zone) -> String {
    let format = match (date(at, zone), date(today, zone)) {
        (Some(day), Some(today)) => match (today - day).num_days() {
            0 => "%H:%M",
            1..=6 => "%a %H:%M",
            _ if day.year() == today.year() => "%a %-d %b, %H:%M",
            _ => "%a %-d %b %Y, %H:%M",
        },
        _ => "%a %-d %b %Y, %H:%M",
    };
    formatted(at, zone, format)
}

/// The day; `None` for years that the calendar does not reach.
pub(super) fn date(at: Timestamp, zone: Zone) -> Option<NaiveDate> {
    zone.local(at).map(|local| local.date_naive())
}

/// As [`time`], with the zone.
pub(super) fn time_and_zone(at: Timestamp, today: Timestamp, zone: Zone) -> String {
    format!("{} {}", time(at, today, zone), formatted(at, zone, "%Z"))
}

/// `25m`
pub(super) fn lasting(duration: Duration) -> String {
    duration_in_words(duration.as_secs_f64())
}

fn formatted(at: Timestamp, zone: Zone, format: &str) -> String {
    match zone.local(at) {
        Some(time) => time.format(format).to_string(),
        None => at.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_for_people() {
        let at = Timestamp::parse("2025-12-05T23:02:25.000Z").unwrap();
        let paris = Zone::parse("Europe/Paris").unwrap();
        assert_eq!(date_and_time(at, Zone::UTC), "Fri 5 Dec 2025, 23:02 UTC");
        assert_eq!(date_and_time(at, paris), "Sat 6 Dec 2025, 00:02 CET");
        for (today, text) in [
            ("2025-12-06T12:00:00.000Z", "00:02 CET"),
            ("2025-12-07T12:00:00.000Z", "Sat 00:02 CET"),
            ("2025-12-12T12:00:00.000Z", "Sat 00:02 CET"),
            ("2025-12-13T12:00:00.000Z", "Sat 6 Dec, 00:02 CET"),
            ("2025-12-05T12:00:00.000Z", "Sat 6 Dec, 00:02 CET"),
            ("2026-01-01T12:00:00.000Z", "Sat 6 Dec 2025, 00:02 CET"),
        ] {
            assert_eq!(time_and_zone(at, Timestamp::parse(today).unwrap(), paris), text);
        }
    }
}
