//! Two HTTP headers that hold a time.

use std::time::Duration;

use chrono::DateTime;
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};

use crate::time::Timestamp;

/// An HTTP date (RFC 9110, section 5.6.7).
pub(super) fn date(value: &HeaderValue) -> Option<Timestamp> {
    let date = DateTime::parse_from_rfc2822(value.to_str().ok()?).ok()?;
    Some(Timestamp::from_millis(date.timestamp_millis()))
}

/// `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date, which is compared with the answer's own `Date`.
pub(super) fn retry_after(headers: &HeaderMap, now: Option<Timestamp>) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?;
    match value.to_str().ok()?.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(date(value)?.since(now?)),
    }
}
