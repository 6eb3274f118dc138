//! What of `[rules.NAME]` keeps a rule from flooding.

use std::time::Duration;

use super::{
    reader::Table,
    report::Mistake,
    values::{DAY, SECOND, duration, group_field, hours, schedule, zone},
};
use crate::{
    calendar::Zone,
    rule::{
        Silence,
        pacing::{Count, Field, Group, Pacing, Throttle},
    },
    time::Timestamp,
};

/// Alertmanager's defaults.
const WAIT: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_secs(300);

/// Reads `count`, `group`, `digest` and `throttle`.
pub(super) fn pacing(table: &mut Table<'_>, zone: Zone) -> Pacing {
    let pacing = Pacing {
        count: table.section("count", count).flatten(),
        group: table.section("group", group),
        digest: table.optional("digest", |value| schedule(value, zone)),
        throttle: table.section("throttle", throttle).flatten(),
    };
    let ways: Vec<_> = ["count", "group", "digest"].into_iter().filter(|key| table.has(key)).collect();
    let cx = table.cx;
    if let [first, second, ..] = ways.as_slice() {
        let message = format!("a rule can have `{first}` or `{second}`, not both");
        cx.add(Mistake::error(table.span_of(second), message).hint("make two rules of it"));
    }
    if table.has("digest") && table.has("throttle") {
        let message = "a digest comes at its own times, so `throttle` changes nothing";
        cx.add(Mistake::error(table.span_of("throttle"), message));
    }
    let grouped = ["count", "group"].into_iter().find(|key| table.has(key));
    if let (Some(grouped), Some(throttle)) = (grouped, &pacing.throttle)
        && !throttle.by.is_empty()
    {
        let message =
            format!("`throttle` counts the groups of `{grouped}`, so it cannot have a `by` of its own");
        cx.add(Mistake::error(table.span_of("throttle"), message));
    }
    pacing
}

/// Reads `silence` and `hours`.
pub(super) fn silence(table: &mut Table<'_>, zone: Zone) -> Option<Silence> {
    let lasting = table.optional("silence", duration(SECOND..=90 * DAY));
    let hours = table.optional("hours", |value| hours(value, zone));
    if table.has("hours") && !table.has("silence") {
        let message = "`hours` are those in which `silence` counts, and there is no `silence`";
        table.cx.add_absence(
            Mistake::error(table.span_of("hours"), message)
                .hint("to leave people alone at night, give their destination `quiet` hours"),
        );
    }
    let silence = Silence { lasting: lasting?, hours };
    if silence.told_at(Timestamp::default()).is_none() {
        let message = "these hours never last so long without a break, so the rule would never fire";
        table.cx.add(Mistake::error(table.span_of("hours"), message));
    }
    Some(silence)
}

/// The rule's own time zone, or the one of the whole file.
pub(super) fn own_zone(table: &mut Table<'_>, default: Zone) -> Zone {
    let own = table.optional("timezone", zone);
    if table.has("timezone") && !["digest", "hours", "quiet"].iter().any(|key| table.has(key)) {
        let message = "nothing in this table depends on the time zone";
        table.cx.add_absence(Mistake::warning(table.span_of("timezone"), message));
    }
    own.unwrap_or(default)
}

fn count(table: &mut Table<'_>) -> Option<Count> {
    let at_least = table.required("at_least", "3", |value| value.integer(2..=1000));
    let within = table.required("within", "\"1h\"", duration(SECOND..=30 * DAY));
    Some(Count { by: by(table), at_least: at_least?, within: within? })
}

fn group(table: &mut Table<'_>) -> Group {
    Group {
        by: by(table),
        wait: table.optional("wait", duration(Duration::ZERO..=DAY)).unwrap_or(WAIT),
        interval: table.optional("interval", duration(Duration::ZERO..=30 * DAY)).unwrap_or(INTERVAL),
    }
}

fn throttle(table: &mut Table<'_>) -> Option<Throttle> {
    let at_most = table.required("at_most", "5", |value| value.integer(1..=1000));
    let per = table.required("per", "\"1h\"", duration(SECOND..=30 * DAY));
    Some(Throttle { by: by(table), at_most: at_most?, per: per? })
}

fn by(table: &mut Table<'_>) -> Vec<Field> {
    table.one_or_list("by", group_field).unwrap_or_default()
}
