//! The fields of a call as labelled values for people. Pure.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value};
use url::Url;

use super::{Link, line, says_something};
use crate::{
    calendar::Zone,
    call::{DOCUMENTED_FIELDS, Status},
    language::{Language, capitalized},
    privacy::one_line,
    template::truncate,
    time::Timestamp,
};

/// The longest value of a fact, in characters.
const MAX_FACT: usize = 300;

/// The most facts of one message; more would hide what matters.
const MAX_FACTS: usize = 40;

/// The longest name, in characters.
const MAX_NAME: usize = 60;

/// Stands between the old value of a field and the new one.
const BECAME: &str = " → ";

/// A labelled value, such as `Caller: +33612345678`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(in crate::destination) struct Fact {
    pub(in crate::destination) label: String,
    pub(in crate::destination) value: String,
    /// The digits to dial, when the value is a phone number.
    pub(in crate::destination) dial: Option<String>,
    /// Seconds since the Unix epoch, when the value is that time.
    pub(in crate::destination) at: Option<i64>,
}

/// The first of these facts, and a note when there are more.
pub(super) fn first(mut facts: Vec<Fact>, language: Language) -> (Vec<Fact>, Option<String>) {
    let more = facts.len().saturating_sub(MAX_FACTS);
    facts.truncate(MAX_FACTS);
    (facts, (more > 0).then(|| language.more_fields()))
}

/// The fields that changed, for people; a few more than a message has room for, at most.
pub(super) fn changed(changes: &Map<String, Value>, language: Language, zone: Zone) -> Vec<Fact> {
    let told = changes.iter().filter(|(name, _)| !matches!(name.as_str(), "updatedAt" | "callAnalysis"));
    let differs = |name: &str, [from, to]: [Option<String>; 2]| {
        fact(label(name, language), from_to(from, to, language))
    };
    let analysis = changes.get("callAnalysis").into_iter().flat_map(|change| {
        let side = |side| change.get(side).and_then(Value::as_object);
        let to = side("to").into_iter().flatten();
        to.filter(move |(name, to)| side("from").and_then(|from| from.get(*name)) != Some(to)).map(
            move |(name, to)| {
                let from = side("from").and_then(|from| from.get(name)).unwrap_or(&Value::Null);
                differs(name, [from, to].map(|value| noted(name, value, language, zone)))
            },
        )
    });
    let told = told.map(|(name, change)| match (change.get("from"), change.get("to")) {
        // The new summary stands in the message as a whole.
        (Some(_), Some(Value::String(_))) if name == "summary" => {
            fact(label(name, language), language.changed())
        }
        (Some(from), Some(to)) => {
            differs(name, [from, to].map(|value| readable(name, value, language, zone)))
        }
        _ => fact(label(name, language), language.changed()),
    });
    told.chain(analysis).take(MAX_FACTS + 1).collect()
}

/// The value of a field of the call in words; a duration and a word of the API as people say them.
fn readable(name: &str, value: &Value, language: Language, zone: Zone) -> Option<String> {
    match (name, value.as_f64()) {
        ("duration", Some(seconds)) => Some(language.duration(seconds)),
        ("status" | "evaluation" | "endedReason", _) => known(value, language, zone),
        _ => in_words(value, language, zone),
    }
}

/// The value of a field of the analysis in words. Its fields differ from project to project, so only those of the API's
/// documentation are taken to hold words that are known.
fn noted(name: &str, value: &Value, language: Language, zone: Zone) -> Option<String> {
    match name {
        "sentiment" | "leadQuality" => known(value, language, zone),
        _ => in_words(value, language, zone),
    }
}

fn known(value: &Value, language: Language, zone: Zone) -> Option<String> {
    let words = in_words(value, language, zone)?;
    Some(if value.is_string() { word(&words, &words, language) } else { words })
}

/// A word of the API, or `otherwise` when it is none that is known.
pub(super) fn word(text: &str, otherwise: &str, language: Language) -> String {
    let key = text.trim().to_lowercase().replace(['-', ' '], "_");
    language.word(&key, otherwise)
}

/// `fail → success`; for long texts only `changed`, because the new one stands in the message anyway.
fn from_to(from: Option<String>, to: Option<String>, language: Language) -> String {
    const SHORT: usize = 60;
    match (from, to) {
        (_, Some(to)) if to.chars().count() > SHORT => language.changed(),
        (Some(from), Some(to)) if from.chars().count() <= SHORT => format!("{from}{BECAME}{to}"),
        (_, Some(to)) => language.now(&to),
        (_, None) => language.removed(),
    }
}

/// The most telling fields, in the order in which people ask: who called, when, how it went, and with what outcome.
pub(super) fn facts_of_call(
    call: &Map<String, Value>,
    began: Option<Timestamp>,
    language: Language,
    zone: Zone,
) -> Vec<Fact> {
    let mut facts = vec![];
    let caller = caller(call, language);
    facts.extend(caller.map(|value| Fact { dial: dial(&value, true), ..fact(language.caller(), value) }));
    facts.extend(began.map(|began| {
        let value = language.date_and_time(began, zone);
        Fact { dial: None, at: Some(began.as_secs()), ..fact(label("createdAt", language), value) }
    }));
    // Nobody is to dial their own number by mistake.
    let called = number(call, "calledNumber").map(Cow::into_owned);
    facts.extend(called.map(|value| Fact { dial: None, ..fact(language.called(), value) }));
    let mut tell = |label: String, value: Option<String>| {
        facts.extend(value.filter(|value| !value.is_empty()).map(|value| fact(label, value)));
    };
    let live = field(call, "status").is_some_and(|word| Status::from(word) == Status::Live);
    let first = |text: &str| capitalized(&word(text, &spelled(text), language));
    let status = field(call, "status").map(|status| if live { language.live_now() } else { first(status) });
    let duration = call.get("duration").and_then(Value::as_f64).filter(|seconds| !live && *seconds > 0.0);
    let duration = duration.map(|seconds| language.duration(seconds));
    tell(language.status(), joined([status, duration]));
    let ended = field(call, "endedReason").map(first);
    tell(language.outcome(), field(call, "evaluation").map(first));
    tell(language.how_it_ended(), ended);
    // That somebody talked goes without saying.
    let engaged = call.get("isEngaged").filter(|engaged| **engaged != Value::Bool(true));
    tell(language.engaged(), engaged.and_then(|engaged| in_words(engaged, language, zone)));
    if let Some(Value::Object(analysis)) = call.get("callAnalysis") {
        for (name, value) in analysis.iter().take(MAX_FACTS + 1) {
            tell(label(name, language), noted(name, value, language, zone));
        }
    }
    facts
}

/// The fields that the API does not document.
pub(super) fn other_facts(fields: &Map<String, Value>, language: Language, zone: Zone) -> Vec<Fact> {
    // The documented fields have a place of their own in a message, or mean nothing to people.
    let others = fields.iter().filter(|(name, _)| !DOCUMENTED_FIELDS.contains(&name.as_str()));
    let facts = others
        .filter_map(|(name, value)| Some(fact(label(name, language), in_words(value, language, zone)?)));
    facts.take(MAX_FACTS + 1).collect()
}

/// A field of the call that decided a condition: `Sentiment: negative`, or its name alone when its value is long or could pass
/// for more than a value; `None` when it is not there or not shown. `path` are the names that lead to it.
pub(super) fn looked_at(
    call: &Map<String, Value>,
    path: &[String],
    language: Language,
    zone: Zone,
) -> Option<String> {
    const SHORT: usize = 60;
    let (first, rest) = path.split_first()?;
    let value = rest.iter().try_fold(call.get(first)?, |value, name| value.get(name))?;
    let name = path.last()?;
    let said = match value {
        Value::Null => return None,
        Value::Array(_) | Value::Object(_) => None,
        // A caller's words could go on as if they were the message's.
        Value::String(text) if time(text).is_none() && !is_plain(text) => None,
        value if rest.is_empty() => readable(name, value, language, zone),
        value => noted(name, value, language, zone),
    };
    let said = said.map(|said| line(&said)).filter(|said| said.chars().count() <= SHORT);
    let label = match (name.as_str(), rest.is_empty()) {
        ("callerNumber", true) => language.caller(),
        ("calledNumber", true) => language.called(),
        _ => truncate(&line(&label(name, language)), MAX_NAME),
    };
    Some(said.map_or_else(|| label.clone(), |said| language.labelled(&label, &said)))
}

/// Whether a text is a few words or a number, and nothing that could be read as a sentence, an address or a mark. A `_` between
/// letters joins the words of an API's value, and is no mark there.
fn is_plain(text: &str) -> bool {
    let is_of_word = |c: char| c.is_alphanumeric() || matches!(c, '+' | '-' | '_' | '\'' | '’' | '•');
    let is_joined =
        |part: &str| part.starts_with(char::is_alphanumeric) && part.ends_with(char::is_alphanumeric);
    let is_word =
        |word: &str| word.chars().all(is_of_word) && (!word.contains('_') || word.split('_').all(is_joined));
    let mut words = text.split(' ');
    words.clone().count() <= 3 && words.all(is_word)
}

/// The caller's number, or that it was withheld; `None` when the receiver is not shown it.
pub(super) fn caller(call: &Map<String, Value>, language: Language) -> Option<String> {
    call.get("callerNumber")?;
    Some(number(call, "callerNumber").map_or_else(|| language.unknown_number(), Cow::into_owned))
}

/// A phone number of the call; `None` when it was withheld, or the receiver is not shown it. Some projects have numbers in JSON.
pub(super) fn number<'a>(call: &'a Map<String, Value>, name: &str) -> Option<Cow<'a, str>> {
    match call.get(name)? {
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        _ => field(call, name).map(Cow::Borrowed),
    }
}

/// The digits of a phone number for a `tel:` link (RFC 3966), without what stands between them: of a number with its country, and,
/// where a number is expected, of one that only phones in the same country can dial.
pub(super) fn dial(value: &str, is_expected: bool) -> Option<String> {
    let (plus, rest) = value.strip_prefix('+').map_or(("", value), |rest| ("+", rest));
    let is_between = |c: char| matches!(c, ' ' | '.' | '-' | '/' | '(' | ')' | '\u{a0}' | '\u{202f}');
    // A zero in brackets is dialled in the country alone, and which one is meant cannot be known.
    if rest.contains("(0)") || !rest.chars().all(|c| c.is_ascii_digit() || is_between(c)) {
        return None;
    }
    let digits: String = rest.chars().filter(char::is_ascii_digit).collect();
    // The longest numbers have 15 digits (ITU-T E.164).
    let lengths = if plus.is_empty() { 3..=15 } else { 7..=15 };
    let is_number = lengths.contains(&digits.len()) && (is_expected || !plus.is_empty());
    is_number.then(|| format!("{plus}{digits}"))
}

/// The names of fields that hold the caller's name, as agents are often told to ask for it: in lower case, without `_`.
const NAMES: [&str; 9] = [
    "callername",
    "customername",
    "patientname",
    "clientname",
    "contactname",
    "guestname",
    "leadname",
    "fullname",
    "name",
];

/// The caller's name if one was noted, else the number; `None` when the receiver is shown neither.
pub(super) fn name_or_number(call: &Map<String, Value>, language: Language) -> Option<String> {
    let analysis = call.get("callAnalysis").and_then(Value::as_object);
    let mut fields = analysis.into_iter().flatten().chain(call);
    let is_name = |field: &str| NAMES.contains(&field.replace('_', "").to_lowercase().as_str());
    let name = fields.find_map(|(field, value)| value.as_str().filter(|_| is_name(field)));
    let name = name.map(|name| truncate(&one_line(name), MAX_NAME)).filter(|name| says_something(name));
    name.or_else(|| caller(call, language).map(|number| truncate(&one_line(&number), MAX_NAME)))
}

/// The first field that holds a web address and does not stand in the API's documentation.
pub(super) fn link(call: &Map<String, Value>) -> Option<Link> {
    let others = call.iter().filter(|(name, _)| !DOCUMENTED_FIELDS.contains(&name.as_str()));
    others.filter_map(|(name, value)| Some((name, value.as_str()?))).find_map(|(name, text)| {
        let url = Url::parse(text).ok().filter(|url| url.scheme() == "https")?;
        let label = spelled(name);
        let label = label.strip_suffix(" url").or(label.strip_suffix(" link")).unwrap_or(&label);
        Link::new(truncate(&one_line(label), MAX_NAME), &url)
    })
}

impl Fact {
    /// Cuts label and value to one line of limited length.
    pub(super) fn new(label: &str, value: &str) -> Self {
        let value = truncate(&line(value), MAX_FACT);
        Self { label: truncate(&line(label), 60), dial: dial(&value, false), value, at: None }
    }

    /// Whether a change says this value already, as the new one of the same field. A value that can be dialled, or shown in the
    /// reader's time, is more than its text.
    pub(super) fn is_told_by(&self, change: &Self, language: Language) -> bool {
        let is_text = self.dial.is_none() && self.at.is_none();
        let [value, said] = [&self.value, &change.value].map(|value| value.to_lowercase());
        let is_new =
            said.ends_with(&format!("{BECAME}{value}")) || said == language.now(&value).to_lowercase();
        is_text && change.label == self.label && is_new
    }
}

fn fact(label: String, value: String) -> Fact {
    Fact::new(&label, &value)
}

fn joined(parts: [Option<String>; 2]) -> Option<String> {
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The value of a text field, unless it is blank.
pub(super) fn field<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str).filter(|text| !text.trim().is_empty())
}

/// A value in words; `None` for null and for blank or empty values.
fn in_words(value: &Value, language: Language, zone: Zone) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Bool(true) => Some(language.yes()),
        Value::Bool(false) => Some(language.no()),
        Value::Number(number) => Some(language.number(number)),
        Value::String(text) => match time(text) {
            Some(at) => Some(language.date_and_time(at, zone)),
            None => Some(text.clone()).filter(|text| !text.trim().is_empty()),
        },
        Value::Array(items) => {
            let items: Vec<_> = items.iter().filter_map(|item| in_words(item, language, zone)).collect();
            (!items.is_empty()).then(|| items.join(", "))
        }
        Value::Object(fields) => {
            let fields: Vec<_> = fields
                .iter()
                .filter_map(|(name, value)| {
                    let label = language.in_a_sentence(&label(name, language));
                    Some(language.labelled(&label, &in_words(value, language, zone)?))
                })
                .collect();
            (!fields.is_empty()).then(|| fields.join(", "))
        }
    }
}

/// The moment that a text names: only when it says which zone it is of, as in `2025-12-17T14:00:00Z`.
fn time(text: &str) -> Option<Timestamp> {
    let is_like_one = text.len() >= 20 && text.as_bytes()[10] == b'T';
    is_like_one.then(|| Timestamp::parse(text)).flatten()
}

/// The name of a field as a label, in the reader's language if it is one that many calls have.
pub(super) fn label(name: &str, language: Language) -> String {
    language.field(name, &spelled(name))
}

/// A name in words: `leadQuality` and `user_hangup` become `Lead quality` and `User hangup`.
pub(super) fn spelled(name: &str) -> String {
    let mut label = String::with_capacity(name.len() + 4);
    let mut after_lower = false;
    for c in name.chars() {
        if matches!(c, '_' | '-') {
            label.push(' ');
        } else if label.is_empty() {
            label.extend(c.to_uppercase());
        } else if c.is_uppercase() && after_lower {
            label.push(' ');
            label.extend(c.to_lowercase());
        } else {
            label.push(c);
        }
        after_lower = c.is_lowercase();
    }
    label
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_can_be_dialled_and_other_figures_cannot() {
        let call = json!({
            "callerNumber": 33612345678_u64, "calledNumber": "01 98 76 54 32",
            "callAnalysis": { "back": "+33 6 12.34-56 78", "order": "12345678", "at": "+44 (0)20 7946 0018", "no": "+12 ext" }
        });
        let facts = facts_of_call(call.as_object().unwrap(), None, Language::English, Zone::UTC);
        let told: Vec<_> = facts.iter().map(|fact| (fact.value.as_str(), fact.dial.as_deref())).collect();
        assert_eq!(
            told,
            [
                ("33612345678", Some("33612345678")),
                ("01 98 76 54 32", None),
                ("+33 6 12.34-56 78", Some("+33612345678")),
                ("12345678", None),
                ("+44 (0)20 7946 0018", None),
                ("+12 ext", None),
            ]
        );
        let hidden = json!({ "callerNumber": "+3361•••5678", "calledNumber": "" });
        let facts = facts_of_call(hidden.as_object().unwrap(), None, Language::English, Zone::UTC);
        assert!(facts.iter().all(|fact| fact.dial.is_none()) && facts.len() == 1, "{facts:?}");
    }

    #[test]
    fn a_time_with_a_zone_is_told_as_the_reader_tells_time() {
        let paris = Zone::parse("Europe/Paris").unwrap();
        let told = |value: Value| in_words(&value, Language::French, paris).unwrap();
        assert_eq!(
            told(json!("2025-12-17T14:00:00.000Z")),
            Language::French.date_and_time(Timestamp::parse("2025-12-17T14:00:00Z").unwrap(), paris)
        );
        for text in ["2025-12-17", "2025-12-17T14:00:00", "room T-2025-12-17T14:00:00Z", "éééééééééééééééé"]
        {
            assert_eq!(told(json!(text)), text, "which zone it is of is not known, or it is no time");
        }
    }

    #[test]
    fn names_become_labels() {
        for (name, words) in [
            ("leadQuality", "Lead quality"),
            ("user_hangup", "User hangup"),
            ("NPS", "NPS"),
            ("appointmentBooked", "Appointment booked"),
            ("", ""),
        ] {
            assert_eq!(spelled(name), words);
        }
    }

    #[test]
    fn values_become_words() {
        let value = json!({ "likedIt": true, "topics": ["a", null, "b"], "x": null, "score": 4.5 });
        assert_eq!(
            Language::ALL.map(|language| in_words(&value, language, Zone::UTC).unwrap()),
            [
                "liked it: yes, topics: a, b, score: 4.5",
                "liked it\u{202f}: oui, topics\u{202f}: a, b, score\u{202f}: 4,5",
                "Liked it: ja, Topics: a, b, Score: 4,5",
                "liked it: sí, topics: a, b, score: 4,5",
            ]
        );
        assert_eq!(in_words(&json!([]), Language::English, Zone::UTC), None);
        let changed = |from, to, language| {
            let [from, to] = [from, to].map(|value| readable("evaluation", &value, language, Zone::UTC));
            from_to(from, to, language)
        };
        assert_eq!(changed(json!("fail"), json!("success"), Language::English), "not met → met");
        assert_eq!(changed(json!("fail"), json!("Success"), Language::French), "non atteint → atteint");
        assert_eq!(changed(json!(null), json!("success"), Language::English), "now met");
        assert_eq!(changed(json!("old"), json!("new ".repeat(40)), Language::German), "geändert");
        assert_eq!(changed(json!("old"), json!(null), Language::Spanish), "eliminado");
    }

    #[test]
    fn words_of_the_api_are_in_the_readers_language() {
        let call = json!({
            "status": "no-answer", "evaluation": "success", "endedReason": "user_hangup",
            "callAnalysis": { "sentiment": "negative", "leadQuality": "hot", "mood": "negative" }
        });
        let told = |language| {
            let facts = facts_of_call(call.as_object().unwrap(), None, language, Zone::UTC).into_iter();
            facts.map(|fact| format!("{}: {}", fact.label, fact.value)).collect::<Vec<_>>()
        };
        assert_eq!(
            told(Language::English),
            [
                "Status: No answer",
                "Goal: Met",
                "Ended by: The caller",
                "Sentiment: negative",
                "Sales potential: high",
                "Mood: negative"
            ]
        );
        // A word that only this project knows the meaning of is left as it is.
        assert_eq!(
            told(Language::German),
            [
                "Status: Nicht angenommen",
                "Gesprächsziel: Erreicht",
                "Beendet durch: Anrufer",
                "Stimmung des Anrufers: negativ",
                "Verkaufspotenzial: hoch",
                "Mood: negative"
            ]
        );
    }

    #[test]
    fn only_what_differs_in_an_analysis_is_told() {
        let changes = json!({
            "callAnalysis": { "from": { "a": 1, "b": 2 }, "to": { "a": 1, "b": 3, "c": true } },
            "transcript": {}, "updatedAt": { "from": "x", "to": "y" }
        });
        let told: Vec<_> = changed(changes.as_object().unwrap(), Language::English, Zone::UTC)
            .into_iter()
            .map(|fact| format!("{}: {}", fact.label, fact.value))
            .collect();
        assert_eq!(told, ["Transcript: changed", "B: 2 → 3", "C: now yes"]);
    }
}
