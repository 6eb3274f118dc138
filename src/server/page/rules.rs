//! Rules: what each looks for, whom it tells, and how often it fired.

use askama::Template;
use axum::{Router, extract::State, http::Uri, response::Response, routing::get};
use serde_json::Value;

use super::{
    html,
    shell::{Frame, Place, Visit},
    words::{Tag, Tone, list_of, number},
};
use crate::{
    name::Name,
    ops::Filter,
    privacy::escaped,
    server::{Service, problem::Problem, query::Parts},
    telemetry::Counts,
};

/// The keys of a rule that have a place of their own.
const SHOWN_APART: [&str; 3] = ["on", "when", "to"];

pub(super) fn routes() -> Router<Service> {
    Router::new().route("/rules", get(rules))
}

#[derive(Template)]
#[template(path = "rules.html")]
struct Rules {
    frame: Frame,
    rows: Vec<Row>,
}

struct Row {
    name: Name,
    on: String,
    when: Option<String>,
    to: Vec<(String, Name)>,
    /// The other keys, as they are written.
    keys: Vec<(String, String)>,
    fired: u64,
    /// What kept it from firing, and how often.
    others: Vec<Tag>,
    deliveries: String,
}

async fn rules(visit: Visit, State(service): State<Service>, uri: Uri) -> Result<Response, Problem> {
    Parts::of(&uri).rest::<super::Nothing>()?;
    let counts = service.telemetry.counts();
    let shown = visit.config.shown.get("rules");
    let rows = visit.config.rules.iter().map(|rule| {
        let keys = shown.and_then(|rules| rules.get(rule.name.as_str())).and_then(Value::as_object);
        let keys = keys.into_iter().flatten().filter(|(key, _)| !SHOWN_APART.contains(&key.as_str()));
        let count = |what| count(&counts, what, &rule.name);
        let others = [
            ("unknown", Tone::Plain, "a field was missing"),
            ("too_old", Tone::Plain, "older than max_age"),
            ("rule_failures", Tone::Bad, "condition failed"),
            ("text_failures", Tone::Bad, "title or body failed"),
        ];
        let others = others.into_iter().filter_map(|(what, tone, words)| match count(what) {
            0 => None,
            many => Some(Tag::new(tone, format!("{words}: {}", number(&many)))),
        });
        let of_rule = Filter { rule: Some(rule.name.clone()), ..Filter::default() };
        let to = rule.to.iter().map(|name| {
            let filter = Filter { destination: Some(name.clone()), ..of_rule.clone() };
            (list_of(&filter), name.clone())
        });
        Row {
            on: rule.on.to_string().replace('+', ", "),
            when: rule.when.as_ref().map(|when| escaped(when.source()).into_owned()),
            to: to.collect(),
            keys: keys.map(|(key, value)| (key.clone(), escaped(&written(value)).into_owned())).collect(),
            fired: count("events"),
            others: others.collect(),
            deliveries: list_of(&of_rule),
            name: rule.name.clone(),
        }
    });
    html(&Rules { frame: visit.frame(Place::Rules), rows: rows.collect() })
}

fn count(counts: &Counts, what: &'static str, rule: &Name) -> u64 {
    counts.get(&(what, rule.to_string())).copied().unwrap_or_default()
}

/// A value about as it is written in the config file.
fn written(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
