//! The JSON Schema of the config file, for editors that complete keys and show what they are for.
//!
//! It is made from the declarations that the reader reads through, so it knows every key. It accepts every file in
//! which [`Config::load`](super::Config::load) finds nothing, and some more: a schema cannot know whether a condition
//! compiles. Draft 7, because editors of TOML files know no later one.

use serde_json::{Map, Value, json};

use super::{
    ALERTS_TABLE, BACKUP_TABLE, CLUSTER_TABLE, DELIVERY_TABLE, DESTINATIONS, HEARTBEAT_TABLE, LANGUAGE,
    RELOAD_TABLE, RULES, SERVER_TABLE, SOURCES, STORE_TABLE, TIMEZONE,
};
use crate::{
    config::{Absent, Key, Literal, RULE, SOURCE, ValueType, written},
    destination::{self, DestinationType},
    name::Name,
};

/// The schema of the config file.
pub fn schema() -> Value {
    let mut properties = Map::new();
    for key in [
        TIMEZONE,
        LANGUAGE,
        STORE_TABLE,
        CLUSTER_TABLE,
        BACKUP_TABLE,
        DELIVERY_TABLE,
        RELOAD_TABLE,
        SERVER_TABLE,
        ALERTS_TABLE,
        HEARTBEAT_TABLE,
    ] {
        properties.insert(key.name.to_owned(), of_key(&key));
    }
    let destination = json!({ "oneOf": destination::types().iter().map(of_destination).collect::<Vec<_>>() });
    for (key, content) in [(SOURCES, of_table(SOURCE)), (DESTINATIONS, destination), (RULES, of_table(RULE))]
    {
        let named = json!({
            "type": "object",
            "description": key.doc,
            "propertyNames": { "pattern": name_pattern() },
            "additionalProperties": content,
        });
        properties.insert(key.name.to_owned(), named);
    }
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "The config of callwatch",
        "type": "object",
        "properties": properties,
        "required": [SOURCES.name],
        "additionalProperties": false,
    })
}

/// A destination of one type: its own keys and the common ones, and in `type` its word and no other.
fn of_destination(of_type: &DestinationType) -> Value {
    let keys: Vec<_> = of_type.common().iter().chain(of_type.keys).copied().collect();
    let mut table = of_table(&keys);
    table["properties"]["type"]["const"] = of_type.word.into();
    table
}

fn of_table(keys: &[Key]) -> Value {
    let properties: Map<_, _> = keys.iter().map(|key| (key.name.to_owned(), of_key(key))).collect();
    let required = keys.iter().filter(|key| matches!(key.absent, Absent::Required(_)));
    let required: Vec<_> = required.map(|key| key.name).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn of_key(key: &Key) -> Value {
    let mut schema = of_value(&key.takes);
    let limits = limits(&key.takes).map(|limits| format!(" ({limits})")).unwrap_or_default();
    schema["description"] = format!("{}{limits}", key.doc).into();
    match key.absent {
        Absent::Default(default) => schema["default"] = of_literal(&default),
        Absent::Means(words) => {
            schema["description"] = format!("{}{limits}. Default: {words}", key.doc).into()
        }
        Absent::Required(_) | Absent::Nothing => {}
    }
    schema
}

/// The limits that a schema cannot express, in words.
fn limits(takes: &ValueType) -> Option<String> {
    match takes.element() {
        ValueType::Duration(least, most) => Some(format!("{} to {}", written(least), written(most))),
        ValueType::Size(least) => {
            Some(format!("at least {}", Literal::Size(least).to_string().trim_matches('"')))
        }
        _ => None,
    }
}

fn of_value(takes: &ValueType) -> Value {
    match takes {
        ValueType::Boolean => json!({ "type": "boolean" }),
        ValueType::Integer(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        ValueType::Word { words, .. } => json!({ "type": "string", "enum": words }),
        ValueType::Hours => {
            let one = json!({ "type": "string", "pattern": hours_pattern() });
            json!({ "anyOf": [one, { "type": "array", "items": one }] })
        }
        ValueType::Secret => json!({ "anyOf": [
            { "type": "string" },
            of_reference("env", "the name of an environment variable"),
            of_reference("file", "the path of a file"),
        ] }),
        ValueType::List(element) => json!({ "type": "array", "items": of_value(element) }),
        ValueType::OneOrList(element) => {
            json!({ "anyOf": [of_value(element), of_value(&ValueType::List(element))] })
        }
        ValueType::TableOf(element) => json!({ "type": "object", "additionalProperties": of_value(element) }),
        ValueType::Table(keys) => of_table(keys),
        ValueType::NamedTables => json!({ "type": "object" }),
        ValueType::Duration(..) => json!({ "type": "string", "pattern": DURATION }),
        ValueType::Size(_) => json!({ "type": "string", "pattern": SIZE }),
        ValueType::Rate => json!({ "type": "string", "pattern": RATE }),
        ValueType::Schedule => json!({ "type": "string", "pattern": SCHEDULE }),
        ValueType::Name(_) => json!({ "type": "string", "pattern": name_pattern() }),
        // Tools for TOML show the schema dates and times as texts.
        ValueType::Text
        | ValueType::DateTime
        | ValueType::Time
        | ValueType::Zone
        | ValueType::Path
        | ValueType::Url
        | ValueType::Mailbox
        | ValueType::Template
        | ValueType::Condition
        | ValueType::FieldPath
        | ValueType::GroupField => json!({ "type": "string" }),
    }
}

/// Numbers with units, as humantime reads them, so that an editor marks `"5x"`. Nothing that the reader takes may fail here, and it
/// takes blanks even between digits.
const DURATION: &str = "^\\s*(0|([0-9][0-9\\s]*(\\.\\s*[0-9][0-9\\s]*)?(nanos|nsec|ns|usec|us|µs|millis|msec|ms|seconds|second|secs|sec|s\
    |minutes|minute|mins|min|m|hours|hour|hrs|hr|h|days|day|d|weeks|week|wks|wk|w|months|month|M|years|year|yrs|yr|y)\\s*)+)\\s*$";
const SIZE: &str = "^[0-9]+\\s*(KB|kB|MB|GB|KiB|MiB|GiB)\\s*$";
const RATE: &str = "^\\s*\\+?[0-9]+\\s*/\\s*[smh]\\s*$";
/// The five fields of a crontab. The reader takes names of months and days in all of them.
const SCHEDULE: &str = "^\\s*[0-9A-Za-z*,/-]+\\s+[0-9A-Za-z*,/-]+(\\s+\\S+){3}\\s*$";

/// Days, hours, or both, as [`Hours`](crate::calendar::Hours) reads them.
fn hours_pattern() -> String {
    let time = "(([01]?[0-9]|2[0-3]):[0-5][0-9]|24:00)";
    // Patterns of a schema have no flag for any case.
    let any_case = |c: char| format!("[{}{c}]", c.to_ascii_uppercase());
    let any_case = |word: &str| word.chars().map(any_case).collect::<String>();
    let name = |(short, rest): (&str, &str)| format!("{}({})?", any_case(short), any_case(rest));
    let day = format!("({})", DAYS.map(name).join("|"));
    let days = format!("{day}(-{day})?(,{day}(-{day})?)*");
    format!("^\\s*({days}(\\s+{time}-{time})?|{time}-{time})\\s*$")
}

/// Short names of the days, and how they go on.
const DAYS: [(&str, &str); 7] = [
    ("mon", "day"),
    ("tue", "sday"),
    ("wed", "nesday"),
    ("thu", "rsday"),
    ("fri", "day"),
    ("sat", "urday"),
    ("sun", "day"),
];

/// As [`Name::is_valid`] has it.
fn name_pattern() -> String {
    format!("^[A-Za-z0-9._-]{{1,{}}}$", Name::MAX_LEN)
}

/// A secret that stands elsewhere: `{ env = … }`, `{ file = … }`.
fn of_reference(word: &str, doc: &str) -> Value {
    json!({
        "type": "object",
        "properties": { word: { "type": "string", "description": doc } },
        "required": [word],
        "additionalProperties": false,
    })
}

fn of_literal(literal: &Literal) -> Value {
    match literal {
        Literal::Boolean(boolean) => (*boolean).into(),
        Literal::Integer(integer) => (*integer).into(),
        Literal::Text(text) => (*text).into(),
        Literal::Texts(texts) => texts.to_vec().into(),
        Literal::Durations(durations) => durations.iter().map(|one| written(*one)).collect(),
        Literal::Empty => json!([]),
        Literal::Duration(_) | Literal::Size(_) => literal.to_string().trim_matches('"').into(),
    }
}
