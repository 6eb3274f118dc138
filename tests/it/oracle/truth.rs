//! What callwatch has to tell, computed from the states of a call it has seen.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// A rule of [`config`](super::config), once more.
struct Rule {
    name: &'static str,
    on: &'static [&'static str],
    when: Option<fn(&Value) -> bool>,
    repeat: bool,
    to: &'static [&'static str],
}

const RULES: [Rule; 4] = [
    Rule {
        name: "feed",
        on: &["started", "ended", "analyzed", "updated", "deleted"],
        when: None,
        repeat: false,
        to: &["crm", "serial"],
    },
    Rule {
        name: "over",
        on: &["ended", "analyzed", "deleted"],
        when: None,
        repeat: false,
        to: &["bus", "crm", "vendor"],
    },
    Rule {
        name: "unhappy",
        on: &["started", "ended", "analyzed", "updated", "deleted"],
        when: Some(|call| call["callAnalysis"]["sentiment"] == "negative"),
        repeat: false,
        to: &["frontdesk", "manager"],
    },
    Rule {
        name: "long",
        on: &["started", "ended", "analyzed", "updated", "deleted"],
        when: Some(|call| call["duration"].as_u64() > Some(300)),
        repeat: true,
        to: &["bus", "frontdesk", "manager", "oncall"],
    },
];

/// A call as it was seen.
#[derive(Clone, Copy)]
pub enum Seen<'a> {
    /// In this state.
    As(&'a Value, &'a str),
    /// Not any more.
    Gone,
}

/// Something one destination has to be told about a call.
pub struct Told<'a> {
    pub rule: &'static str,
    pub kinds: Vec<&'static str>,
    pub changes: Value,
    pub call: Value,
    /// The call's record byte for byte; of one that is gone only the fields are remembered.
    pub text: Option<&'a str>,
}

impl Told<'_> {
    /// The title that the rule's template makes.
    pub fn title(&self) -> String {
        let word = if self.rule == "long" { "Long" } else { "Unhappy" };
        format!("{word} {} <revision> & {}", self.call["id"].as_str().unwrap(), self.call["revision"])
    }

    /// `call.ended`, as the first of its kinds.
    pub fn type_name(&self) -> String {
        format!("call.{}", self.kinds[0])
    }
}

/// What each destination has to be told about a call, in order, when it was known as `known` and then seen as
/// `seen`, one after the other.
pub fn lanes<'a>(known: Option<&'a Value>, seen: &[Seen<'a>]) -> BTreeMap<&'static str, Vec<Told<'a>>> {
    let mut lanes: BTreeMap<&str, Vec<Told<'_>>> = BTreeMap::new();
    let mut fired: Vec<&str> = vec![];
    let mut before = known;
    for seen in seen {
        let (kinds, changes, call, text) = match (*seen, before) {
            (Seen::As(call, text), None) => (kinds(None, call), json!({}), call.clone(), Some(text)),
            (Seen::As(call, text), Some(before)) => {
                (kinds(Some(before), call), changes(before, call), call.clone(), Some(text))
            }
            (Seen::Gone, before) => {
                let mut call = before.expect("only what was seen can be gone").clone();
                call.as_object_mut().unwrap().remove("transcript");
                (vec!["deleted"], json!({}), call, None)
            }
        };
        for rule in RULES.iter().filter(|rule| rule.on.iter().any(|kind| kinds.contains(kind))) {
            let holds = |call: &Value| rule.when.is_none_or(|when| when(call));
            let is_new = rule.when.is_none() || !before.is_some_and(holds);
            let may_fire = rule.when.is_none() || rule.repeat || !fired.contains(&rule.name);
            if holds(&call) && is_new && may_fire {
                fired.push(rule.name);
                for to in rule.to {
                    let (kinds, changes, call) = (kinds.clone(), changes.clone(), call.clone());
                    lanes.entry(to).or_default().push(Told { rule: rule.name, kinds, changes, call, text });
                }
            }
        }
        if let Seen::As(call, _) = seen {
            before = Some(call);
        }
    }
    lanes
}

fn kinds(before: Option<&Value>, now: &Value) -> Vec<&'static str> {
    let is = |call: &Value, status: &str| call["status"] == status;
    let mut kinds = vec![];
    if is(now, "completed") && !before.is_some_and(|before| is(before, "completed")) {
        kinds.push("ended");
    }
    if is(now, "live") && before.is_none() {
        kinds.push("started");
    }
    let analysis = &now["callAnalysis"];
    if !analysis.is_null() && before.is_none_or(|before| before["callAnalysis"] != *analysis) {
        kinds.push("analyzed");
    }
    if kinds.is_empty() {
        kinds.push("updated");
    }
    kinds
}

fn changes(before: &Value, now: &Value) -> Value {
    let fields = |call: &Value| call.as_object().unwrap().clone();
    let mut changes = Map::new();
    for name in fields(before).keys().chain(fields(now).keys()) {
        let (from, to) = (&before[name], &now[name]);
        if from != to {
            let change = if name == "transcript" { json!({}) } else { json!({ "from": from, "to": to }) };
            changes.insert(name.clone(), change);
        }
    }
    changes.into()
}
