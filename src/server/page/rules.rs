//! Rules: what each looks for, whom it tells, how often it fired day by day, and what kept it from firing.

use std::collections::BTreeMap;

use askama::Template;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
    routing::get,
};
use chrono::NaiveDate;
use serde_json::Value;

use super::{
    chart::{Chart, Series},
    html,
    shell::{Frame, Place, Visit},
    words::{Tag, Tone, Words, call_path, delivery_path, list_of, number, segment},
};
use crate::{
    name::Name,
    ops::{Filter, Happening},
    privacy::escaped,
    rule::Rule,
    server::{
        Service,
        problem::Problem,
        query::{Parts, Segments},
    },
    summary::Reason,
    telemetry::{Counts, Day, RuleDay, Telemetry},
};

/// The keys of a rule that have a place of their own.
const SHOWN_APART: [&str; 3] = ["on", "when", "to"];

/// How many events the page of a rule has, the latest.
const LATEST: usize = 20;

pub(super) fn routes() -> Router<Service> {
    Router::new().route("/rules", get(rules)).route("/rules/{name}", get(one))
}

#[derive(Template)]
#[template(path = "rules.html")]
struct Rules {
    frame: Frame,
    rows: Vec<Row>,
}

#[derive(Template)]
#[template(path = "rule.html")]
struct RulePage {
    frame: Frame,
    words: Words,
    row: Row,
    latest: Vec<Happening>,
}

struct Row {
    name: Name,
    /// The page of the rule.
    path: String,
    on: String,
    when: Option<String>,
    to: Vec<(String, Name)>,
    /// The other keys, as they are written.
    keys: Vec<(String, String)>,
    fired: u64,
    /// The reasons that kept it from firing, and how often each did.
    others: Vec<Tag>,
    /// Why messages had to wait, and how many.
    waited: Vec<String>,
    deliveries: String,
    chart: Chart,
}

/// The results of rules, as they are known when a page is made.
struct Known {
    days: Vec<(NaiveDate, Day)>,
    counts: Counts,
}

impl Known {
    fn of(telemetry: &Telemetry, words: Words) -> Self {
        Self { days: telemetry.sums().days(words.now, words.zone).collect(), counts: telemetry.counts() }
    }
}

async fn rules(visit: Visit, State(service): State<Service>, uri: Uri) -> Result<Response, Problem> {
    Parts::of(&uri).rest::<super::Nothing>()?;
    let known = Known::of(&service.telemetry, visit.words);
    let row = |(at, rule)| {
        let row = Row::of(at, rule, &visit, &known);
        Row { chart: row.chart.without_figures(), ..row }
    };
    let rows = visit.config.rules.iter().enumerate().map(row);
    html(&Rules { frame: visit.frame(Place::Rules), rows: rows.collect() })
}

async fn one(
    visit: Visit,
    State(service): State<Service>,
    Segments(name): Segments<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    Parts::of(&uri).rest::<super::Nothing>()?;
    let rule = visit.config.rules.iter().find(|rule| rule.name.as_str() == name);
    let rule = rule.ok_or_else(|| {
        let detail = format!("the config has no rule `{}`", escaped(&name));
        Problem::new(StatusCode::NOT_FOUND, "no_rule", detail)
    })?;
    let filter = Filter { rule: Some(rule.name.clone()), ..Filter::default() };
    let latest = visit.ops.latest(&filter, None, LATEST).await?.events;
    let row = Row::of(0, rule, &visit, &Known::of(&service.telemetry, visit.words));
    html(&RulePage { frame: visit.frame(Place::Rules), words: visit.words, row, latest })
}

impl Row {
    fn of(at: usize, rule: &Rule, visit: &Visit, Known { days, counts }: &Known) -> Self {
        let shown = visit.config.shown.get("rules");
        let keys = shown.and_then(|rules| rules.get(rule.name.as_str())).and_then(Value::as_object);
        let keys = keys.into_iter().flatten().filter(|(key, _)| !SHOWN_APART.contains(&key.as_str()));
        let of_rule = Filter { rule: Some(rule.name.clone()), ..Filter::default() };
        let to = rule.to.iter().map(|name| {
            let filter = Filter { destination: Some(name.clone()), ..of_rule.clone() };
            (list_of(&filter), name.clone())
        });
        let none = RuleDay::default();
        let became: Vec<&RuleDay> =
            days.iter().map(|(_, day)| day.rules.get(&rule.name).unwrap_or(&none)).collect();
        let text_failures =
            counts.get(&("text_failures", rule.name.to_string())).copied().unwrap_or_default();
        Self {
            on: rule.on.to_string().replace('+', ", "),
            when: rule.when.as_ref().map(|when| escaped(when.source()).into_owned()),
            to: to.collect(),
            keys: keys.map(|(key, value)| (key.clone(), escaped(&written(value)).into_owned())).collect(),
            fired: became.iter().map(|day| day.fired).sum(),
            others: others(&became, text_failures),
            waited: waited(&became),
            deliveries: list_of(&of_rule),
            path: format!("/rules/{}", segment(rule.name.as_str())),
            chart: chart(at, &rule.name, days, &became),
            name: rule.name.clone(),
        }
    }
}

/// The reasons that kept a rule from firing.
fn others(became: &[&RuleDay], text_failures: u64) -> Vec<Tag> {
    let mut missing: BTreeMap<&str, u64> = BTreeMap::new();
    for (path, count) in became.iter().flat_map(|day| &day.unknown) {
        *missing.entry(path).or_default() += count;
    }
    let mut missing: Vec<_> = missing.into_iter().collect();
    missing.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let missing =
        missing.into_iter().map(|(path, count)| (Tone::Plain, format!("{path} was missing"), count));
    let sum = |value: fn(&RuleDay) -> u64| became.iter().map(|day| value(day)).sum();
    let rest = [
        (Tone::Plain, "older than max_age", sum(|day| day.too_old)),
        (Tone::Bad, "the condition failed", sum(|day| day.failed)),
        (Tone::Bad, "title or body failed, since the start", text_failures),
    ];
    missing
        .chain(rest.map(|(tone, words, count)| (tone, words.to_owned(), count)))
        .filter(|(.., count)| *count > 0)
        .map(|(tone, words, count)| Tag::new(tone, format!("{words}: {}", number(&count))))
        .collect()
}

/// Why messages of a rule had to wait.
fn waited(became: &[&RuleDay]) -> Vec<String> {
    let mut waited: BTreeMap<Reason, u64> = BTreeMap::new();
    for (reason, count) in became.iter().flat_map(|day| &day.waited) {
        *waited.entry(*reason).or_default() += count;
    }
    let words = |reason| match reason {
        Reason::Group => "for others of their group",
        Reason::Throttle => "because of the throttle",
        Reason::Count => "until there were enough",
        Reason::Digest => "for the digest",
        Reason::Quiet => "for the end of quiet hours",
    };
    waited.into_iter().map(|(reason, count)| format!("{} {}", number(&count), words(reason))).collect()
}

fn chart(at: usize, name: &Name, days: &[(NaiveDate, Day)], became: &[&RuleDay]) -> Chart {
    let labels = days.iter().map(|(date, _)| date.format("%-d %b").to_string()).collect();
    let each = |value: fn(&RuleDay) -> u64| became.iter().map(|day| value(day)).collect();
    let fired = Series::up("fired", "solid", each(|day| day.fired));
    let others = [
        Series::down("a field was missing", "outline", each(|day| day.unknown.values().sum())),
        Series::down("too old", "dashed", each(|day| day.too_old)),
        Series::down("the condition failed", "solid bad", each(|day| day.failed)),
    ];
    let series =
        std::iter::once(fired).chain(others.into_iter().filter(|series| series.total() > 0)).collect();
    Chart::new(format!("rule-{}-days", at + 1), format!("{name}, day by day"), "day", labels, series)
}

/// A value about as it is written in the config file.
fn written(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
