//! Hours that recur every week.

use std::fmt;

use chrono::{Datelike, Days, NaiveDate, Offset, TimeDelta, TimeZone, Timelike, Weekday};

use super::Zone;
use crate::time::Timestamp;

const DAY: u32 = 24 * 60;

/// Days and their short names, from Monday.
const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Mon),
    ("tue", Weekday::Tue),
    ("wed", Weekday::Wed),
    ("thu", Weekday::Thu),
    ("fri", Weekday::Fri),
    ("sat", Weekday::Sat),
    ("sun", Weekday::Sun),
];

/// Hours that recur every week, in a zone: `22:00-07:00` every night, `MON-FRI 08:00-18:00`, `SAT,SUN` all day.
#[derive(Clone, PartialEq, Eq)]
pub struct Hours {
    spans: Vec<Span>,
    zone: Zone,
}

/// The same hours on one or several days.
#[derive(Clone, PartialEq, Eq)]
struct Span {
    text: String,
    /// Days on which it begins, from Monday.
    days: [bool; 7],
    /// Its beginning, in minutes after midnight.
    from: u32,
    /// Its end, in minutes after the same midnight: more than a day's when it ends on the next day.
    to: u32,
}

impl Hours {
    /// Reads one or several texts. A time is within the hours when it is within any of them.
    ///
    /// ```
    /// use callwatch::{calendar::{Hours, Zone}, time::Timestamp};
    ///
    /// let quiet = Hours::parse(["20:00-07:00", "Saturday"], Zone::parse("Europe/Paris").unwrap()).unwrap();
    /// let night = Timestamp::parse("2025-12-15T22:30:00Z").unwrap();
    /// assert!(quiet.contain(night));
    /// assert_eq!(quiet.end(night), Timestamp::parse("2025-12-16T06:00:00Z"));
    /// ```
    ///
    /// # Errors
    /// The place of the wrong text among `texts`, and what is wrong with it.
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>, zone: Zone) -> Result<Self, (usize, String)> {
        let spans = texts.into_iter().enumerate();
        let spans = spans.map(|(place, text)| Span::parse(text).map_err(|why| (place, why)));
        Ok(Self { spans: spans.collect::<Result<_, _>>()?, zone })
    }

    /// Whether `at` is within the hours.
    pub fn contain(&self, at: Timestamp) -> bool {
        let Some(local) = self.zone.local(at) else { return false };
        let minute = local.hour() * 60 + local.minute();
        let day = local.weekday().num_days_from_monday() as usize;
        self.spans.iter().any(|span| {
            let begun = |days_ago: usize, minute: u32| {
                span.days[(day + 7 - days_ago) % 7] && (span.from..span.to).contains(&minute)
            };
            begun(0, minute) || begun(1, minute + DAY)
        })
    }

    /// The end of the hours around `at`: the first time from `at` on that is not within them. `None` when they never
    /// end.
    pub fn end(&self, at: Timestamp) -> Option<Timestamp> {
        if !self.contain(at) {
            return Some(at);
        }
        let mut ends = self.boundaries(at, |span| span.to);
        ends.retain(|end| *end > at && !self.contain(*end));
        ends.into_iter().min()
    }

    /// The beginning of the hours around `at`. `None` when `at` is not within the hours, or they have no beginning.
    pub fn start(&self, at: Timestamp) -> Option<Timestamp> {
        if !self.contain(at) {
            return None;
        }
        let just_before = |start: Timestamp| Timestamp::from_millis(start.as_millis() - 1);
        let mut starts = self.boundaries(at, |span| span.from);
        starts.retain(|start| *start <= at && !self.contain(just_before(*start)));
        starts.into_iter().max()
    }

    /// The first time from `at` on that is within the hours: `at` itself when it is. `None` when there is none.
    pub fn next(&self, at: Timestamp) -> Option<Timestamp> {
        if self.contain(at) {
            return Some(at);
        }
        let mut starts = self.boundaries(at, |span| span.from);
        starts.retain(|start| *start > at && self.contain(*start));
        starts.into_iter().min()
    }

    /// The times at which every span begins or ends (`minute` says which) or clocks are set, nine days back and ahead:
    /// no span is longer than two days, and all recur weekly.
    fn boundaries(&self, at: Timestamp, minute: impl Fn(&Span) -> u32) -> Vec<Timestamp> {
        let Some(local) = self.zone.local(at) else { return vec![] };
        let Some(first) = local.date_naive().checked_sub_days(Days::new(9)) else { return vec![] };
        let dates: Vec<_> = first.iter_days().take(19).collect();
        let on = |date: &NaiveDate| {
            let spans = self.spans.iter().filter(|span| span.begins_on(date.weekday()));
            spans.flat_map(|span| instants(self.zone, *date, minute(span))).collect::<Vec<_>>()
        };
        // Hours also begin or end when clocks are set: into them, or out of them.
        let midnights = dates.iter().flat_map(|date| instants(self.zone, *date, 0)).collect::<Vec<_>>();
        let set = midnights.windows(2).filter_map(|day| clocks_set(self.zone, day[0], day[1]));
        dates.iter().flat_map(on).chain(set).collect()
    }
}

impl Span {
    fn parse(text: &str) -> Result<Self, String> {
        const HINT: &str = "write \"22:00-07:00\", \"MON-FRI 08:00-18:00\" or \"SAT,SUN\"";
        let wrong = |what: String| format!("{what}; {HINT}");
        let parts: Vec<_> = text.split_whitespace().collect();
        let (days, hours) = match parts.as_slice() {
            [one] if one.starts_with(|c: char| c.is_ascii_digit()) => (None, Some(*one)),
            [one] => (Some(*one), None),
            [days, hours] => (Some(*days), Some(*hours)),
            _ => return Err(wrong("these are not days and hours".to_owned())),
        };
        let days = match days {
            Some(days) => read_days(days).map_err(wrong)?,
            None => [true; 7],
        };
        let (from, to) = match hours {
            None => (0, DAY),
            Some(hours) => {
                let (from, to) = hours
                    .split_once('-')
                    .ok_or_else(|| wrong(format!("`{}` has no end", hours.escape_debug())))?;
                (read_time(from).map_err(wrong)?, read_time(to).map_err(wrong)?)
            }
        };
        if from == to {
            return Err(wrong("these hours end when they begin".to_owned()));
        }
        let to = if to < from { to + DAY } else { to };
        Ok(Self { text: text.to_owned(), days, from, to })
    }

    fn begins_on(&self, day: Weekday) -> bool {
        self.days[day.num_days_from_monday() as usize]
    }
}

fn read_days(text: &str) -> Result<[bool; 7], String> {
    let read = |word: &str| {
        let lower = word.to_lowercase();
        // Full names are accepted as well.
        let day = DAYS.iter().find(|(name, day)| lower == *name || lower == day_name(*day));
        let (_, day) = day.ok_or_else(|| format!("there is no day `{}`", word.escape_debug()))?;
        Ok::<_, String>(day.num_days_from_monday() as usize)
    };
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (read(first)?, read(last)?),
            None => (read(part)?, read(part)?),
        };
        for day in 0..=(last + 7 - first) % 7 {
            days[(first + day) % 7] = true;
        }
    }
    Ok(days)
}

fn day_name(day: Weekday) -> &'static str {
    match day {
        Weekday::Mon => "monday",
        Weekday::Tue => "tuesday",
        Weekday::Wed => "wednesday",
        Weekday::Thu => "thursday",
        Weekday::Fri => "friday",
        Weekday::Sat => "saturday",
        Weekday::Sun => "sunday",
    }
}

/// Reads `08:00`, `8:00` or `24:00`, in minutes after midnight.
fn read_time(text: &str) -> Result<u32, String> {
    let read = || {
        let (hour, minute) = text.split_once(':')?;
        let short = |part: &str| (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        if !short(hour) || minute.len() != 2 || !short(minute) {
            return None;
        }
        let (hour, minute): (u32, u32) = (hour.parse().ok()?, minute.parse().ok()?);
        (minute < 60 && hour * 60 + minute <= DAY).then_some(hour * 60 + minute)
    };
    read().ok_or_else(|| format!("`{}` is not a time of day", text.escape_debug()))
}

/// The times at which clocks show `minute` minutes after the midnight of `date`: two when clocks are set back over it.
/// A time that clocks skip is the moment at which they do.
fn instants(zone: Zone, date: NaiveDate, minute: u32) -> Vec<Timestamp> {
    let midnight = date.and_hms_opt(0, 0, 0);
    let Some(local) = midnight.and_then(|it| it.checked_add_signed(TimeDelta::minutes(minute.into()))) else {
        return vec![];
    };
    // With few exceptions in history, clocks skip an hour at most.
    let found = (0..=180).find_map(|later| {
        let shown = zone.0.from_local_datetime(&local.checked_add_signed(TimeDelta::minutes(later))?);
        Some([shown.earliest()?, shown.latest()?])
    });
    let mut found: Vec<_> =
        found.into_iter().flatten().map(|at| Timestamp::from_millis(at.timestamp_millis())).collect();
    found.dedup();
    found
}

/// The time between two others, at most a day apart, at which clocks are set; `None` when they are not.
fn clocks_set(zone: Zone, from: Timestamp, to: Timestamp) -> Option<Timestamp> {
    let offset = |at: Timestamp| Some(zone.local(at)?.offset().fix());
    let before = offset(from)?;
    if before == offset(to)? {
        return None;
    }
    let (mut early, mut late) = (from.as_millis(), to.as_millis());
    while late - early > 1 {
        let middle = early + (late - early) / 2;
        if offset(Timestamp::from_millis(middle))? == before { early = middle } else { late = middle }
    }
    Some(Timestamp::from_millis(late))
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.spans.iter().map(|span| span.text.as_str()).collect();
        write!(f, "{} {}", texts.join(", "), self.zone)
    }
}

impl fmt::Debug for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn hours(texts: &[&str]) -> Hours {
        Hours::parse(texts.iter().copied(), Zone::parse("Europe/Berlin").unwrap()).unwrap()
    }

    #[test]
    fn nights_go_over_midnight() {
        let nights = hours(&["22:00-07:00"]);
        // 15 December 2025 is a Monday; Berlin is an hour ahead of UTC.
        for (time, quiet) in [("20:59", false), ("21:00", true), ("23:30", true)] {
            assert_eq!(nights.contain(at(&format!("2025-12-15T{time}:00Z"))), quiet, "{time}");
        }
        assert!(nights.contain(at("2025-12-16T05:59:00Z")) && !nights.contain(at("2025-12-16T06:00:00Z")));
        assert_eq!(nights.end(at("2025-12-15T21:00:00Z")), Some(at("2025-12-16T06:00:00Z")));
        assert_eq!(nights.start(at("2025-12-16T05:00:00Z")), Some(at("2025-12-15T21:00:00Z")));
        assert_eq!(nights.next(at("2025-12-16T06:00:00Z")), Some(at("2025-12-16T21:00:00Z")));
    }

    #[test]
    fn hours_that_touch_are_one() {
        let quiet = hours(&["22:00-07:00", "SAT,SUN"]);
        // From Friday night to Monday morning.
        assert_eq!(quiet.end(at("2025-12-19T22:00:00Z")), Some(at("2025-12-22T06:00:00Z")));
        assert_eq!(quiet.start(at("2025-12-22T05:00:00Z")), Some(at("2025-12-19T21:00:00Z")));
    }

    #[test]
    fn days_can_be_lists_and_ranges_over_the_weekend() {
        let open = hours(&["sat-mon 9:00-17:00", "Wednesday"]);
        let local = |day: u32, hour: u32| open.contain(at(&format!("2025-12-{day}T{:02}:00:00Z", hour - 1)));
        assert!(local(20, 9) && local(21, 10) && local(22, 16) && local(17, 23));
        assert!(!local(19, 10) && !local(22, 17) && !local(18, 9));
    }

    #[test]
    fn all_the_time_never_ends() {
        let always = hours(&["mon-sun"]);
        assert_eq!(
            (always.end(at("2025-12-15T10:00:00Z")), always.start(at("2025-12-15T10:00:00Z"))),
            (None, None)
        );
    }

    #[test]
    fn clocks_that_are_set_are_followed() {
        let nights = hours(&["22:00-02:30"]);
        // At 02:00 it is 03:00, so the night ends half an hour early.
        assert_eq!(nights.end(at("2026-03-28T23:00:00Z")), Some(at("2026-03-29T01:00:00Z")));
    }

    #[test]
    fn hours_within_an_hour_that_is_repeated_are_there_twice() {
        // At 03:00 of this Sunday it is 02:00 again, at 01:00 UTC.
        let hours = hours(&["SUN 02:01-03:00"]);
        assert_eq!(hours.end(at("2027-10-31T00:30:00Z")), Some(at("2027-10-31T01:00:00Z")));
        assert_eq!(hours.next(at("2027-10-31T01:00:00Z")), Some(at("2027-10-31T01:01:00Z")));
        assert_eq!(hours.start(at("2027-10-31T01:30:00Z")), Some(at("2027-10-31T01:01:00Z")));
        assert_eq!(hours.end(at("2027-10-31T01:30:00Z")), Some(at("2027-10-31T02:00:00Z")));
    }

    #[test]
    fn mistakes_are_named() {
        let why = |text: &str| Hours::parse([text], Zone::UTC).unwrap_err().1;
        assert!(why("22:00").starts_with("`22:00` has no end; write"));
        assert!(why("25:00-07:00").starts_with("`25:00` is not a time of day"));
        assert!(why("MO-FR 8:00-9:00").starts_with("there is no day `MO`"));
        assert!(why("8:00-8:00").starts_with("these hours end when they begin"));
        assert_eq!(Hours::parse(["8:00-9:00", "x"], Zone::UTC).unwrap_err().0, 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

        /// Also when clocks change, around which half of the times lie: the end is the first time outside the hours, and just before the start is outside.
        #[test]
        fn ends_and_starts_are_where_it_changes(
            minutes in prop_oneof![
                0i64..2 * 366 * 24 * 60,
                // Three days around 2026-03-29, 2026-10-25, 2027-03-28 and 2027-10-31, 01:00 UTC.
                prop::sample::select(vec![149_820i64, 452_220, 673_980, 986_460])
                    .prop_flat_map(|set| set - 3 * 24 * 60..set + 3 * 24 * 60),
            ],
            from in 0u32..DAY, length in 1u32..DAY, days in 1u32..128,
        ) {
            let days: Vec<_> = (0..7).filter(|day| days & (1 << day) != 0).map(|day| DAYS[day].0).collect();
            let to = (from + length) % DAY;
            let time = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
            let hours = hours(&[&format!("{} {}-{}", days.join(","), time(from), time(to))]);
            let at = Timestamp::from_millis(1_765_756_800_000 + minutes * 60_000);
            let minute = |n: i64| Timestamp::from_millis(at.as_millis() + n * 60_000);
            let scan = 10 * 24 * 60;
            if hours.contain(at) {
                let end = (1..scan).map(minute).find(|at| !hours.contain(*at));
                prop_assert_eq!(hours.end(at), end);
                let start = (1..scan).map(|n| minute(-n)).find(|at| !hours.contain(*at));
                prop_assert_eq!(hours.start(at), start.map(|at| Timestamp::from_millis(at.as_millis() + 60_000)));
            } else {
                let next = (1..scan).map(minute).find(|at| hours.contain(*at));
                prop_assert_eq!(hours.next(at), next);
            }
        }
    }
}
