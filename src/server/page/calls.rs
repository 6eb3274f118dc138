//! Calls: found by what people know of them, and the story of each.

use askama::Template;
use axum::{Router, http::Uri, response::Response, routing::get};
use serde_json::Value;

use super::{
    form::{self, AGES, Choice},
    html,
    shell::{Frame, Place, Visit},
    words::{Tag, Tone, Words, address, call_path, delivery_path, number},
};
use crate::{
    call::CallId,
    config::ShownFields,
    kind::Kind,
    name::Name,
    ops::{
        CallCursor, CallFilter, CallStory, Delivery, Filter, FoundCall, Happening, KnownOfCall, RuleStanding,
        RuleStory,
    },
    privacy::{escaped, mask_phones_in},
    server::{
        Service,
        client::parts_of,
        problem::Problem,
        query::{Parts, Segments},
    },
    template::truncate,
    time::Timestamp,
};

/// How many calls a page has.
const PAGE: usize = 50;

/// How many events of a call its story has, the latest.
const EVENTS: usize = 100;

/// The most of a value that is shown, in characters.
const VALUE: usize = 300;

/// The fields that the head of a call's story tells.
const IN_HEAD: [&str; 4] = ["id", "summary", "transcript", "callerNumber"];

pub(super) fn routes() -> Router<Service> {
    Router::new().route("/calls", get(search)).route("/calls/{source}/{id}", get(story))
}

#[derive(Template)]
#[template(path = "calls.html")]
struct Search {
    frame: Frame,
    words: Words,
    form: Form,
    rows: Vec<Row>,
    /// Whether only some calls are asked for.
    is_search: bool,
    looked_at: u64,
    newest: Option<String>,
    older: Option<String>,
}

/// The fields of the form, filled in with the filter.
struct Form {
    text: String,
    sources: Vec<Choice>,
    states: Vec<Choice>,
    kinds: Vec<Choice>,
    ages: Vec<Choice>,
    /// The parts of the filter that the form has no field for.
    others: Vec<(String, String)>,
}

/// The states that can be chosen, with their words.
const STATES: [(&str, &str); 3] = [("", "any state"), ("live", "live"), ("completed", "completed")];

/// The kinds of change that can be chosen, with their words.
const KINDS: [(&str, &str); 6] = [
    ("", "anything"),
    (Kind::Started.as_str(), "started"),
    (Kind::Ended.as_str(), "ended"),
    (Kind::Analyzed.as_str(), "analyzed"),
    (Kind::Updated.as_str(), "updated"),
    (Kind::Deleted.as_str(), "deleted"),
];

struct Row {
    path: String,
    created: Option<Timestamp>,
    caller: String,
    state: Tag,
    duration: String,
    mood: String,
    summary: String,
    it: FoundCall,
}

/// How fields of calls are shown.
#[derive(Clone, Copy)]
struct Sight(ShownFields);

impl Sight {
    /// A text of a call, safe to be shown.
    fn text(self, text: &str) -> String {
        let text = if self.0.numbers { text.to_owned() } else { mask_phones_in(text) };
        truncate(&escaped(&text), VALUE)
    }

    /// A value of a call on one line.
    fn value(self, value: &Value) -> String {
        match value {
            Value::Null => "–".to_owned(),
            Value::String(text) if text.trim().is_empty() => "–".to_owned(),
            Value::String(text) => self.text(text),
            Value::Bool(is) => if *is { "yes" } else { "no" }.to_owned(),
            Value::Number(number) => number.to_string(),
            Value::Array(_) | Value::Object(_) => self.text(&value.to_string()),
        }
    }

    fn field(self, known: &KnownOfCall, name: &str) -> String {
        known
            .fields
            .get(name)
            .filter(|value| !value.is_null())
            .map(|value| self.value(value))
            .unwrap_or_default()
    }
}

/// The state of a call, as the API has it.
fn state(known: &KnownOfCall) -> Tag {
    let status = known.fields.get("status").and_then(Value::as_str).unwrap_or("unknown");
    let status = truncate(&escaped(status), 24);
    match (known.deleted, &*status) {
        (true, _) => Tag::new(Tone::Plain, "deleted"),
        (false, "live") => Tag::new(Tone::Wait, "● live"),
        (false, "completed") => Tag::new(Tone::Good, "✓ completed"),
        (false, other) => Tag::new(Tone::Plain, other),
    }
}

/// `4 min 12 s`
fn duration(known: &KnownOfCall) -> String {
    match known.fields.get("duration").and_then(Value::as_u64) {
        None | Some(0) => String::new(),
        Some(secs @ 1..60) => format!("{secs} s"),
        Some(secs) => format!("{} min {} s", number(&(secs / 60)), secs % 60),
    }
}

async fn search(visit: Visit, uri: Uri) -> Result<Response, Problem> {
    let mut parts = Parts::of(&uri).filled_in();
    let after = parts.take("after", |text| text.parse::<CallCursor>().ok())?;
    let filter: CallFilter = parts.rest()?;
    let found = visit.ops.find_calls(&filter, after.clone(), PAGE).await?;
    let sight = Sight(visit.show());
    html(&Search {
        frame: visit.frame(Place::Calls),
        words: visit.words,
        form: Form::of(&filter, &visit)?,
        rows: found.calls.into_iter().map(|call| Row::of(call, sight)).collect(),
        is_search: filter != CallFilter::default(),
        looked_at: found.looked_at,
        newest: after.map(|_| address("/calls", &filter, &[])),
        older: found.next.map(|next| address("/calls", &filter, &[("after", &next.to_string())])),
    })
}

impl Form {
    fn of(filter: &CallFilter, visit: &Visit) -> Result<Self, Problem> {
        let mut parts = parts_of(filter)?;
        let mut take = |name| form::take(&mut parts, name);
        let sources = visit.config.sources.iter().map(|source| &source.name);
        Ok(Self {
            text: take("text"),
            sources: form::names("any source", sources, &take("source")),
            states: form::words(&STATES, &take("status")),
            kinds: form::words(&KINDS, &take("kind")),
            ages: form::words(&AGES, &take("newer_than")),
            others: parts,
        })
    }
}

impl Row {
    fn of(it: FoundCall, sight: Sight) -> Self {
        let known = &it.known;
        let mood = known.fields.get("callAnalysis").and_then(|analysis| analysis.get("sentiment"));
        Self {
            path: call_path(&it.source, it.call.as_str()),
            created: it.created,
            caller: sight.field(known, "callerNumber"),
            state: state(known),
            duration: duration(known),
            mood: mood.filter(|mood| !mood.is_null()).map(|mood| sight.value(mood)).unwrap_or_default(),
            summary: truncate(&sight.field(known, "summary"), 160),
            it,
        }
    }
}

#[derive(Template)]
#[template(path = "call.html")]
struct Story {
    frame: Frame,
    words: Words,
    call: CallId,
    source: Name,
    caller: String,
    state: Tag,
    duration: String,
    summary: String,
    created: Option<Timestamp>,
    first_seen: Timestamp,
    shrunk: bool,
    erased: bool,
    moments: Vec<Moment>,
    rules: Vec<RuleRow>,
    facts: Vec<(String, String)>,
    transcript: Option<Vec<(String, String)>>,
}

/// The changes that were noticed at once.
struct Moment {
    at: Timestamp,
    kinds: String,
    /// The fields that differ, each as it was and as it is.
    changes: Vec<(String, String)>,
    events: Vec<Told>,
}

/// An event, and its deliveries.
struct Told {
    rules: String,
    deliveries: Vec<(String, Delivery, Tag)>,
}

struct RuleRow {
    name: Name,
    verdict: Tag,
    why: String,
    condition: Vec<String>,
}

async fn story(
    visit: Visit,
    Segments((source, id)): Segments<(String, String)>,
    uri: Uri,
) -> Result<Response, Problem> {
    Parts::of(&uri).rest::<super::Nothing>()?;
    let (source, id) = (Name::from(source), CallId::from(&*id));
    let CallStory { known, rules, .. } = visit.ops.explain(&id, Some(&source)).await?;
    let filter = Filter { source: Some(source.clone()), call: Some(id.clone()), ..Filter::default() };
    let mut happenings = visit.ops.latest(&filter, None, EVENTS).await?.events;
    happenings.reverse();
    let show = visit.show();
    let transcript = match show.transcripts {
        true => visit.ops.transcript(&source, &id).await?,
        false => None,
    };
    let (sight, words) = (Sight(show), visit.words);
    let created = known.fields.get("createdAt").and_then(Value::as_str).and_then(Timestamp::parse_any);
    let mut facts = vec![];
    for (name, value) in known.fields.iter().filter(|(name, _)| !IN_HEAD.contains(&name.as_str())) {
        match value.as_str().and_then(Timestamp::parse) {
            Some(at) => facts.push((escaped(name).into_owned(), words.zone.show(at))),
            None => add_facts(&mut facts, &escaped(name), value, sight),
        }
    }
    let transcript = transcript.map(|turns| {
        let clean = |text: String| match show.numbers {
            true => escaped(&text).into_owned(),
            false => escaped(&mask_phones_in(&text)).into_owned(),
        };
        turns.into_iter().map(|(who, what)| (clean(who), clean(what))).collect()
    });
    html(&Story {
        frame: visit.frame(Place::Calls),
        words,
        caller: sight.field(&known, "callerNumber"),
        state: state(&known),
        duration: duration(&known),
        summary: sight.field(&known, "summary"),
        created,
        first_seen: known.first_seen,
        shrunk: known.shrunk,
        erased: known.erased,
        moments: moments(happenings, sight, words),
        rules: rules.into_iter().map(|rule| RuleRow::of(rule, sight, words)).collect(),
        facts,
        transcript,
        call: id,
        source,
    })
}

/// A field, or those within it.
fn add_facts(facts: &mut Vec<(String, String)>, name: &str, value: &Value, sight: Sight) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let within = fields.iter().take(50);
            facts.extend(
                within.map(|(inner, value)| (format!("{name}.{}", escaped(inner)), sight.value(value))),
            );
        }
        value => facts.push((name.to_owned(), sight.value(value))),
    }
}

/// The events that were made of one observation stand together.
fn moments(happenings: Vec<Happening>, sight: Sight, words: Words) -> Vec<Moment> {
    let mut moments: Vec<Moment> = vec![];
    for Happening { at, kinds, changes, rules, deliveries, .. } in happenings {
        let rules: Vec<_> = rules.iter().map(Name::as_str).collect();
        let deliveries = deliveries.into_iter().map(|it| (delivery_path(&it), Tag::of(&it, words), it));
        let told = Told {
            rules: rules.join(", "),
            deliveries: deliveries.map(|(path, tag, it)| (path, it, tag)).collect(),
        };
        if let Some(moment) = moments.iter_mut().find(|moment| moment.at == at) {
            moment.events.push(told);
            continue;
        }
        let mut told_changes = vec![];
        for (name, sides) in changes.0.iter().filter(|(name, _)| *name != "updatedAt") {
            let side = |side: &str| sides.get(side).unwrap_or(&Value::Null);
            match sides.get("to") {
                Some(_) => add_changes(&mut told_changes, &escaped(name), side("from"), side("to"), sight),
                // A transcript is not remembered.
                None => told_changes.push((escaped(name).into_owned(), "changed".to_owned())),
            }
        }
        let kinds = kinds.to_string().replace('+', ", ");
        moments.push(Moment { at, kinds, changes: told_changes, events: vec![told] });
    }
    moments
}

/// A field that differs, or those within it that do.
fn add_changes(changes: &mut Vec<(String, String)>, name: &str, from: &Value, to: &Value, sight: Sight) {
    match to {
        Value::Object(fields) if !fields.is_empty() => {
            for (inner, to) in fields.iter().take(50) {
                let from = from.get(inner).unwrap_or(&Value::Null);
                if from != to {
                    changes.push((escaped(inner).into_owned(), difference(from, to, sight)));
                }
            }
        }
        to => changes.push((name.to_owned(), difference(from, to, sight))),
    }
}

/// `live → completed`, or only that it differs when that is long.
fn difference(from: &Value, to: &Value, sight: Sight) -> String {
    let (from, to) = (sight.value(from), sight.value(to));
    if from.len() + to.len() > 80 { "changed".to_owned() } else { format!("{from} → {to}") }
}

impl RuleRow {
    fn of(rule: RuleStory, sight: Sight, words: Words) -> Self {
        let verdict = match rule.standing {
            RuleStanding::Feed { fired: 0 } => Tag::new(Tone::Plain, "not fired"),
            RuleStanding::Feed { .. } | RuleStanding::Fired { .. } => Tag::new(Tone::Good, "fired"),
            RuleStanding::Waiting { .. } => Tag::new(Tone::Wait, "waits"),
            RuleStanding::Edited { .. } => Tag::new(Tone::Plain, "edited since"),
            RuleStanding::Suppressed => Tag::new(Tone::Wait, "held back"),
            RuleStanding::OfSource | RuleStanding::OtherSource => Tag::new(Tone::Plain, "not concerned"),
            RuleStanding::NothingHappened(_) | RuleStanding::NotLooked | RuleStanding::NotTrue => {
                Tag::new(Tone::Plain, "not fired")
            }
        };
        let condition = rule.condition_lines.iter().map(|line| match sight.0.numbers {
            true => escaped(line).into_owned(),
            false => escaped(&mask_phones_in(line)).into_owned(),
        });
        Self {
            why: rule.standing.words(|at| words.zone.show(at)),
            verdict,
            condition: condition.collect(),
            name: rule.rule,
        }
    }
}
