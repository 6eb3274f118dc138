//! Reads times of a test: durations since its start, or dates.

use std::time::Duration;

use chrono::NaiveDateTime;

use crate::{
    calendar::Zone,
    config::{DAY, Mistake, Value, duration},
    time::Timestamp,
};

/// The longest time that a test may cover, in steps and after them.
pub(super) const LONGEST: Duration = Duration::from_secs(90 * 24 * 3600);

/// The start of a test that does not give one.
const START: &str = "2025-12-15 09:00";

/// The start that times of a test are counted from, and its time zone.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    pub(super) start: Timestamp,
    pub(super) zone: Zone,
}

impl Clock {
    /// Reads a duration since the start, or a date and time.
    pub(super) fn read(self, value: &Value<'_>) -> Result<Timestamp, Mistake> {
        if !is_date(value) {
            return Ok(self.start.after(duration(Duration::ZERO..=LONGEST)(value)?));
        }
        let at = date(value, self.zone)?;
        if at < self.start {
            return Err(value.error("this is before the test starts").hint("`start` says when that is"));
        }
        if at > self.start.after(LONGEST) {
            let days = LONGEST.as_secs() / DAY.as_secs();
            return Err(value.error(format!("this is more than {days} days after the test starts")));
        }
        Ok(at)
    }
}

fn is_date(value: &Value<'_>) -> bool {
    let begins_like_one = |text: &str| text.get(..5).is_some_and(|year| year.ends_with('-'));
    value.datetime().is_some() || value.text().is_ok_and(begins_like_one)
}

/// Reads a date and time, in `zone` unless it has an offset.
pub(super) fn date(value: &Value<'_>, zone: Zone) -> Result<Timestamp, Mistake> {
    let text = match value.datetime() {
        Some(text) => text,
        None => value.text()?.to_owned(),
    };
    let text = text.replacen(' ', "T", 1);
    if let Some(at) = Timestamp::parse(&text) {
        return Ok(at);
    }
    let local = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
        .into_iter()
        .find_map(|format| NaiveDateTime::parse_from_str(&text, format).ok());
    let Some(local) = local else {
        let mistake = value.error("this is not a date and time");
        return Err(mistake.hint("write \"2025-12-15 09:00\", or \"2025-12-15T09:00:00+01:00\" to say where"));
    };
    zone.when(local).ok_or_else(|| value.error(format!("clocks in {zone} never show this time")))
}

/// A Monday morning in `zone`.
pub(super) fn default_start(zone: Zone) -> Timestamp {
    let local = NaiveDateTime::parse_from_str(START, "%Y-%m-%d %H:%M").ok();
    local.and_then(|local| zone.when(local)).unwrap_or_default()
}
