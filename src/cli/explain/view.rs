//! An explanation as people and programs read it. Pure.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::{Explained, Explanation};
use crate::{
    batch::BatchKey,
    cli::deliveries::{brief, in_short},
    rule::condition,
    store::{DeliveryId, DeliveryRecord, DeliveryState},
    style::{Colour, Style, WIDTH, wrap},
    template::truncate,
    time::Timestamp,
};

impl Explained {
    /// For people.
    pub(super) fn text(&self, style: Style) -> String {
        let mut out = style.paint(Colour::Bold, &format!("call {} of {}", self.call, self.source)) + "\n";
        self.known(&mut out);
        let (concerned, others): (Vec<_>, Vec<_>) =
            self.rules.iter().partition(|explanation| explanation.standing.is_concerned());
        for Explanation { rule, standing, condition, deliveries } in concerned {
            let words = standing.words(|at| self.ago(at));
            let said = wrap(&format!("{} {words}", rule.name), WIDTH);
            let (first, rest) = said.split_once('\n').unwrap_or((&said, ""));
            let name = style.paint(Colour::Bold, rule.name.as_str());
            let first = first.strip_prefix(rule.name.as_str()).unwrap_or(first);
            let _ = writeln!(out, "\n{name}{first}");
            wrapped(&mut out, 2, rest);
            if let Some(condition) = condition {
                condition.to_string().lines().for_each(|line| indented(&mut out, 2, line));
            }
            if rule.when.as_ref().is_some_and(|when| when.source().contains("transcript")) {
                indented(&mut out, 2, "(transcripts are not kept: what is asked of it is unknown here)");
            }
            deliveries.iter().for_each(|record| self.delivery(&mut out, record));
        }
        if !self.others.is_empty() {
            out.push_str("\nof rules that are no longer in the config\n");
            self.others.iter().for_each(|record| self.delivery(&mut out, record));
        }
        if !others.is_empty() {
            out.push('\n');
        }
        for Explanation { rule, standing, .. } in others {
            let words = standing.words(|at| self.ago(at));
            out += &(wrap(&format!("{} {words}", rule.name), WIDTH).replace('\n', "\n  ") + "\n");
        }
        out
    }

    /// What is remembered of the call.
    fn known(&self, out: &mut String) {
        let snapshot = &self.snapshot;
        let mut line = |name: &str, value: &str| {
            let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
            indented(out, 2, &format!("{name:13} {value}"));
        };
        line("first seen", &self.ago(snapshot.first_seen));
        if let Some(completed) = snapshot.completed_seen {
            line("seen over", &self.ago(completed));
        }
        let kinds: Vec<_> = snapshot.kinds_seen.iter().map(|kind| kind.as_str()).collect();
        line("has been", &kinds.join(", "));
        let states = if snapshot.revision == 1 {
            "1 state".to_owned()
        } else {
            format!("{} states", snapshot.revision)
        };
        line("seen in", &states);
        if snapshot.deleted {
            line("now", "deleted; this is how it was last seen");
        }
        if snapshot.shrunk.is_some() {
            line("fields", "most are forgotten: it was settled longer ago than [store] retain");
        }
        for (name, value) in flat(&snapshot.fields) {
            line(&name, &value);
        }
    }

    /// A delivery, its attempts, and what it waits for.
    fn delivery(&self, out: &mut String, record: &DeliveryRecord) {
        let DeliveryRecord { id: DeliveryId { event, destination }, state, attempts, log, .. } = record;
        indented(out, 2, &format!("→ {destination}  {event}"));
        wrapped(out, 4, &self.view.state(record));
        let left_out = (*attempts as usize).saturating_sub(log.len());
        if left_out > 0 {
            indented(out, 4, &format!("{left_out} earlier attempts"));
        }
        log.iter().for_each(|attempt| indented(out, 4, &in_short(attempt)));
        match state {
            DeliveryState::Held { batch } => wrapped(out, 4, &self.batch(record, batch)),
            DeliveryState::Merged { into, .. } => {
                let id = DeliveryId { event: into.clone(), destination: destination.clone() };
                let Some(teller) = self.told_by.get(&id) else {
                    return indented(out, 4, &format!("{into} is no longer kept"));
                };
                wrapped(out, 4, &format!("{into} is {}", self.view.state(teller)));
                teller.log.iter().for_each(|attempt| indented(out, 6, &in_short(attempt)));
            }
            _ => {}
        }
    }

    /// Until when something waits.
    fn batch(&self, record: &DeliveryRecord, batch: &BatchKey) -> String {
        if *batch == BatchKey::Arrived {
            return "callwatch has not decided yet with what it is told".to_owned();
        }
        match self.batches.get(&(record.id.destination.clone(), batch.clone())) {
            Some(Some(at)) if *at <= self.now => format!("goes out when callwatch runs: due since {at}"),
            Some(Some(at)) => format!("goes out at {at} (in {})", brief(at.since(self.now))),
            Some(None) => "goes out when as many have come in as the rule's `count` says".to_owned(),
            None => "its destination is not in the config".to_owned(),
        }
    }

    /// `2025-12-15T09:00:00.000Z (3h ago)`
    fn ago(&self, at: Timestamp) -> String {
        if at > self.now {
            return format!("{at} (in {})", brief(at.since(self.now)));
        }
        format!("{at} ({} ago)", brief(self.now.since(at)))
    }

    /// An object.
    pub(super) fn json(&self) -> String {
        let snapshot = &self.snapshot;
        let rules: Vec<_> = self.rules.iter().map(|explanation| self.rule_object(explanation)).collect();
        let all = json!({
            "call": self.call.as_str(),
            "source": self.source.as_str(),
            "known": {
                "first_seen": snapshot.first_seen.to_string(),
                "completed_seen": snapshot.completed_seen.map(|at| at.to_string()),
                "kinds": snapshot.kinds_seen,
                "states": snapshot.revision,
                "deleted": snapshot.deleted,
                "shrunk": snapshot.shrunk.is_some(),
                "fields": snapshot.fields,
            },
            "rules": rules,
            "other_deliveries": self.others.iter().map(|record| self.object(record)).collect::<Vec<_>>(),
        });
        format!("{all:#}\n")
    }

    fn rule_object(&self, explanation: &Explanation) -> Value {
        let Explanation { rule, standing, condition, deliveries } = explanation;
        json!({
            "rule": rule.name.as_str(),
            "verdict": standing.word(),
            "why": standing.words(|at| at.to_string()),
            "condition": condition.as_ref().map(condition_object),
            "deliveries": deliveries.iter().map(|record| self.object(record)).collect::<Vec<_>>(),
        })
    }

    fn object(&self, record: &DeliveryRecord) -> Value {
        let mut object = self.view.object(record, false);
        if let DeliveryState::Held { batch } = &record.state {
            let due = self.batches.get(&(record.id.destination.clone(), batch.clone()));
            object["goes_out"] = due.copied().flatten().map(|at| at.to_string()).into();
        }
        object
    }
}

fn condition_object(explanation: &condition::Explanation) -> Value {
    let condition::Explanation { text, truth, because, parts, seen } = explanation;
    let seen: Map<_, _> =
        seen.iter().map(|seen| (seen.text.clone(), Value::from(seen.value.as_str()))).collect();
    json!({
        "text": text,
        "is": truth.as_ref().map_or("failed".to_owned(), |truth| truth.to_string()),
        "because": truth.as_ref().err().map(|failure| failure.to_string()).or_else(|| because.clone()),
        "seen": seen,
        "parts": parts.iter().map(condition_object).collect::<Vec<_>>(),
    })
}

/// Fields as names and values, those of objects one by one.
fn flat(fields: &Map<String, Value>) -> Vec<(String, String)> {
    let mut all = vec![];
    for (name, value) in fields {
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                all.extend(flat(inner).into_iter().map(|(inner, value)| (format!("{name}.{inner}"), value)));
            }
            Value::String(text) => all.push((name.clone(), text.clone())),
            other => all.push((name.clone(), other.to_string())),
        }
    }
    all
}

/// A text on as many lines as it takes.
fn wrapped(out: &mut String, by: usize, text: &str) {
    wrap(text, WIDTH - by).lines().for_each(|line| indented(out, by, line));
}

/// A line that fits; what does not is left out.
fn indented(out: &mut String, by: usize, line: &str) {
    let line: String = line.chars().filter(|c| !c.is_control()).collect();
    let _ = writeln!(out, "{:by$}{}", "", truncate(&line, WIDTH - by));
}
