//! The keys of `[rules.NAME]` that keep a rule from flooding, and those that fire on the clock.

use std::time::Duration;

use super::{
    key::{DAY, Key, Literal, SECOND, ValueType, days},
    report::Mistake,
    table::Table,
    values::{duration_of, group_field, hours, integer_of, schedule, zone},
};
use crate::{
    calendar::Zone,
    rule::{
        Silence,
        pacing::{Count, Field, Group, Pacing, Throttle},
    },
    time::Timestamp,
};

const BY: Key = Key::new(
    "by",
    ValueType::OneOrList(&ValueType::GroupField),
    "fields whose values are counted or grouped separately: `\"source\"`, or `\"call.\"` and the path of a field",
)
.means("all together");

const AT_LEAST: Key =
    Key::new("at_least", ValueType::Integer(2, 1000), "tell when so many have come in").required("3");
const WITHIN: Key =
    Key::new("within", ValueType::Duration(SECOND, days(30)), "within this time").required("\"1h\"");
/// The keys of `count`.
pub(crate) const COUNT_KEYS: &[Key] = &[AT_LEAST, WITHIN, BY];

// The defaults of `wait` and `interval` are Alertmanager's.
const WAIT: Key = Key::new(
    "wait",
    ValueType::Duration(Duration::ZERO, DAY),
    "how long the first of a group waits for others",
)
.default(Literal::Duration(Duration::from_secs(30)));
const INTERVAL: Key = Key::new(
    "interval",
    ValueType::Duration(Duration::ZERO, days(30)),
    "how long later ones are collected before they are told",
)
.default(Literal::Duration(Duration::from_secs(300)));
/// The keys of `group`.
pub(crate) const GROUP_KEYS: &[Key] = &[BY, WAIT, INTERVAL];

const AT_MOST: Key = Key::new("at_most", ValueType::Integer(1, 1000), "tell at most so many").required("5");
const PER: Key =
    Key::new("per", ValueType::Duration(SECOND, days(30)), "within this time").required("\"1h\"");
/// The keys of `throttle`.
pub(crate) const THROTTLE_KEYS: &[Key] = &[AT_MOST, PER, BY];

pub(super) const COUNT: Key =
    Key::new("count", ValueType::Table(COUNT_KEYS), "tell only when so many come in: see [`count`](#count)");
pub(super) const GROUP: Key = Key::new(
    "group",
    ValueType::Table(GROUP_KEYS),
    "tell what belongs together in one message: see [`group`](#group)",
);
pub(super) const DIGEST: Key = Key::new(
    "digest",
    ValueType::Schedule,
    "tell everything in one message [at certain times](rules.md#a-digest)",
);
pub(super) const THROTTLE: Key = Key::new(
    "throttle",
    ValueType::Table(THROTTLE_KEYS),
    "tell no more often than this: see [`throttle`](#throttle)",
);
pub(super) const SILENCE: Key = Key::new(
    "silence",
    ValueType::Duration(SECOND, days(90)),
    "fires when [no call has started for so long](rules.md#when-nothing-happens); instead of `on` and `when`",
);
pub(super) const HOURS: Key =
    Key::new("hours", ValueType::Hours, "the hours in which `silence` counts").means("always");
pub(super) const TIMEZONE: Key =
    Key::new("timezone", ValueType::Zone, "the zone of `digest` and `hours`").means("that of the file");

/// Reads `count`, `group`, `digest` and `throttle`.
pub(super) fn pacing(table: &mut Table<'_>, zone: Zone) -> Pacing {
    let pacing = Pacing {
        count: table.section(&COUNT, count).flatten(),
        group: table.section(&GROUP, group),
        digest: table.read(&DIGEST, |value| schedule(value, zone)),
        throttle: table.section(&THROTTLE, throttle).flatten(),
    };
    let ways: Vec<_> = [&COUNT, &GROUP, &DIGEST].into_iter().filter(|key| table.has(key)).collect();
    let cx = table.cx;
    if let [first, second, ..] = ways.as_slice() {
        let message = format!("a rule can have `{}` or `{}`, not both", first.name, second.name);
        cx.add(Mistake::error(table.span_of(second), message).hint("make two rules of it"));
    }
    if table.has(&DIGEST) && table.has(&THROTTLE) {
        let message = "a digest comes at its own times, so `throttle` changes nothing";
        cx.add(Mistake::error(table.span_of(&THROTTLE), message));
    }
    let grouped = [&COUNT, &GROUP].into_iter().find(|key| table.has(key));
    if let (Some(grouped), Some(throttle)) = (grouped, &pacing.throttle)
        && !throttle.by.is_empty()
    {
        let message = format!(
            "`throttle` counts the groups of `{}`, so it cannot have a `by` of its own",
            grouped.name
        );
        cx.add(Mistake::error(table.span_of(&THROTTLE), message));
    }
    pacing
}

/// Reads `silence` and `hours`.
pub(super) fn silence(table: &mut Table<'_>, zone: Zone) -> Option<Silence> {
    let lasting = table.read(&SILENCE, duration_of(&SILENCE));
    let hours = table.read(&HOURS, |value| hours(value, zone));
    if table.has(&HOURS) && !table.has(&SILENCE) {
        let message = "`hours` are those in which `silence` counts, and there is no `silence`";
        table.cx.add_absence(
            Mistake::error(table.span_of(&HOURS), message)
                .hint("to leave people alone at night, give their destination `quiet` hours"),
        );
    }
    let silence = Silence { lasting: lasting?, hours };
    if silence.told_at(Timestamp::default()).is_none() {
        let message = "these hours never last so long without a break, so the rule would never fire";
        table.cx.add(Mistake::error(table.span_of(&HOURS), message));
    }
    Some(silence)
}

/// Reads the rule's own time zone, else returns that of the whole file.
pub(super) fn own_zone(table: &mut Table<'_>, default: Zone) -> Zone {
    let own = table.read(&TIMEZONE, zone);
    if table.has(&TIMEZONE) && ![&DIGEST, &HOURS].into_iter().any(|key| table.has(key)) {
        let message = "nothing in this table depends on the time zone";
        table.cx.add_absence(
            Mistake::warning(table.span_of(&TIMEZONE), message)
                .hint("if it is meant for the whole file, move it above the first table"),
        );
    }
    own.unwrap_or(default)
}

fn count(table: &mut Table<'_>) -> Option<Count> {
    let at_least = table.read(&AT_LEAST, integer_of(&AT_LEAST));
    let within = table.read(&WITHIN, duration_of(&WITHIN));
    Some(Count { by: by(table), at_least: at_least?, within: within? })
}

fn group(table: &mut Table<'_>) -> Group {
    Group { by: by(table), wait: table.duration(&WAIT), interval: table.duration(&INTERVAL) }
}

fn throttle(table: &mut Table<'_>) -> Option<Throttle> {
    let at_most = table.read(&AT_MOST, integer_of(&AT_MOST));
    let per = table.read(&PER, duration_of(&PER));
    Some(Throttle { by: by(table), at_most: at_most?, per: per? })
}

fn by(table: &mut Table<'_>) -> Vec<Field> {
    table.one_or_list(&BY, group_field).unwrap_or_default()
}
