//! The first page of a project's calls, at a glance: how many there are, in which order, and what their analyses hold.

use std::{collections::BTreeSet, fmt, time::Duration};

use serde_json::Value;

use crate::{call::Call, callem::Page, time::Timestamp};

/// The first page of a project.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Glance {
    /// The number of calls, if the API says it.
    total: Option<u64>,
    order: Order,
    /// Calls that began in a day, as far as the page tells.
    per_day: Option<f64>,
    /// The names of the fields of analyses that are texts.
    pub(super) texts: BTreeSet<String>,
    /// The names of the fields of analyses that are true or false.
    pub(super) booleans: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Order {
    #[default]
    Unknown,
    NewestFirst,
    OldestFirst,
}

impl Glance {
    /// Looks at the calls of a page. Records that are no calls are skipped.
    pub(super) fn of(page: &Page) -> Self {
        let call = |record: &str| Call::parse(serde_json::from_str(record).ok()?).ok();
        Self::of_calls(&page.records().flatten().filter_map(call).collect::<Vec<_>>(), page.total)
    }

    fn of_calls(calls: &[Call], total: Option<u64>) -> Self {
        let times: Vec<_> = calls.iter().filter_map(Call::created_at).collect();
        let mut glance =
            Self { total, order: Order::of(&times), per_day: per_day(&times), ..Self::default() };
        let analyses = calls.iter().filter_map(|call| call.fields().get("callAnalysis")?.as_object());
        for (name, value) in analyses.flatten() {
            match value {
                Value::String(_) => glance.texts.insert(name.clone()),
                Value::Bool(_) => glance.booleans.insert(name.clone()),
                _ => false,
            };
        }
        glance
    }
}

impl Order {
    fn of(times: &[Timestamp]) -> Self {
        match times {
            [] | [_] => Self::Unknown,
            _ if times.is_sorted_by(|a, b| a >= b) => Self::NewestFirst,
            _ if times.is_sorted() => Self::OldestFirst,
            _ => Self::Unknown,
        }
    }
}

/// The shortest time from which a day can be guessed.
const A_WHILE: Duration = Duration::from_secs(3 * 3600);

/// The pace at which calls began between the first and the last of these; `None` when that was too short a time.
fn per_day(times: &[Timestamp]) -> Option<f64> {
    let span = times.iter().max()?.since(*times.iter().min()?);
    let days = span.as_secs_f64() / 86_400.0;
    (span >= A_WHILE).then(|| (times.len() - 1) as f64 / days)
}

/// As in `1432 calls, newest first, about 40 a day`.
impl fmt::Display for Glance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.total {
            Some(1) => write!(f, "1 call")?,
            Some(total) => write!(f, "{total} calls")?,
            None => write!(f, "an unknown number of calls")?,
        }
        match self.order {
            Order::NewestFirst => write!(f, ", newest first")?,
            Order::OldestFirst => write!(f, ", oldest first")?,
            Order::Unknown => {}
        }
        match self.per_day {
            Some(per_day) if per_day >= 1.5 => write!(f, ", about {per_day:.0} a day"),
            Some(_) => write!(f, ", about one a day or fewer"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(id: &str, created: &str, analysis: Value) -> Call {
        let record =
            json!({ "id": id, "status": "completed", "createdAt": created, "callAnalysis": analysis });
        Call::parse(&serde_json::value::to_raw_value(&record).unwrap()).unwrap()
    }

    #[test]
    fn a_page_tells_count_order_and_pace() {
        let analysis =
            json!({ "sentiment": "negative", "appointmentBooked": true, "score": 3, "note": null });
        let calls =
            [call("b", "2026-01-02T12:00:00Z", analysis), call("a", "2026-01-02T06:00:00Z", json!(null))];
        let glance = Glance::of_calls(&calls, Some(1432));
        assert_eq!(glance.to_string(), "1432 calls, newest first, about 4 a day");
        // A burst says nothing about days.
        let burst = ["2026-01-02T12:00:09Z", "2026-01-02T12:00:00Z"].map(|at| call(at, at, json!(null)));
        assert_eq!(Glance::of_calls(&burst, None).to_string(), "an unknown number of calls, newest first");
        assert_eq!(glance.texts, BTreeSet::from(["sentiment".to_owned()]));
        assert_eq!(glance.booleans, BTreeSet::from(["appointmentBooked".to_owned()]));
    }

    #[test]
    fn what_a_page_does_not_tell_is_left_out() {
        assert_eq!(Glance::of_calls(&[], Some(0)).to_string(), "0 calls");
        let one = [call("a", "2026-01-02T06:00:00Z", json!({}))];
        assert_eq!(Glance::of_calls(&one, None).to_string(), "an unknown number of calls");
    }
}
