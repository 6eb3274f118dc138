//! The JSON Schema of the config file accepts what the reader accepts, and knows every key.

use std::sync::LazyLock;

use callwatch::{
    calendar::{Hours, Schedule, Zone},
    config_file::schema,
};
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::Value;

use super::{EXAMPLE, completed, parse, reference};

static SCHEMA: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::draft7::new(&schema()).expect("the schema is one"));

/// A file as tools for TOML show it to a schema: dates and times are texts.
fn as_json(file: &str) -> Value {
    fn of(value: toml::Value) -> Value {
        match value {
            toml::Value::Datetime(time) => time.to_string().into(),
            toml::Value::Array(values) => values.into_iter().map(of).collect(),
            toml::Value::Table(table) => table.into_iter().map(|(key, value)| (key, of(value))).collect(),
            other => serde_json::to_value(other).expect("it is JSON"),
        }
    }
    of(toml::from_str(file).expect("it is TOML"))
}

/// The first mistake that the schema finds in a file.
fn mistake(file: &str) -> Option<String> {
    let file = as_json(file);
    let error = SCHEMA.iter_errors(&file).next()?;
    Some(format!("{}: {error}", error.instance_path()))
}

/// Every file that a test of configs finds to be right, without a warning, is shown to the schema as well.
pub(super) fn must_accept(file: &str) {
    assert_eq!(mistake(file), None, "the reader finds nothing in this, and the schema does not:\n{file}");
}

#[test]
fn the_schema_accepts_the_example_with_every_key() {
    must_accept(EXAMPLE);
    must_accept(&reference::uncommented());
}

/// The address in the first line of the example, and of what `callwatch init` writes.
#[test]
fn the_file_for_editors_is_the_schema() {
    assert!(EXAMPLE.starts_with("#:schema ./callwatch.schema.json\n"));
    let text = serde_json::to_string_pretty(&schema()).expect("it is JSON") + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/callwatch.schema.json");
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(path, &text).expect("it can be written");
    }
    let file = std::fs::read_to_string(path).expect("it can be read");
    assert!(file == text, "write it anew: UPDATE_REFERENCE=1 cargo test --test it config::schema");
}

#[test]
fn the_schema_knows_the_keys_of_every_table_and_no_others() {
    for (heading, _) in reference::whole_tables() {
        let table = reference::table(&heading);
        must_accept(&completed(&table));
        let text = if table.is_empty() { "zzzzzz = 1\n".to_owned() } else { format!("{table}zzzzzz = 1\n") };
        let said =
            mistake(&completed(&text)).unwrap_or_else(|| panic!("{heading}: unknown keys are accepted"));
        // A destination's mistake is told as one of no type.
        assert!(said.contains("zzzzzz") || said.contains("/destinations/crm"), "{heading}: {said}");
    }
}

#[test]
fn the_schema_says_what_is_wrong_with_common_mistakes() {
    for (table, wanted) in [
        ("timezone = 3\n", "/timezone"),
        ("[sources.clinic]\napi_key = \"x\"\npage_size = 1001\n", "/sources/clinic/page_size"),
        ("[sources.clinic]\napi_key = { evn = \"x\" }\n", "/sources/clinic/api_key"),
        ("[sources.clinic]\ninterval = \"5s\"\n", "\"api_key\" is a required property"),
        ("[rules.a]\nto = [\"crm\"]\nseverity = \"bad\"\n", "/rules/a/severity"),
        ("[destinations.crm]\ntype = \"pager\"\n", "/destinations/crm"),
        ("[sources.clinic]\napi_key = \"x\"\ninterval = \"5x\"\n", "/sources/clinic/interval"),
        ("[sources.clinic]\napi_key = \"x\"\ninterval = \"15\"\n", "/sources/clinic/interval"),
        ("[rules.a]\nto = [\"the crm\"]\n", "/rules/a/to"),
        ("[rules.\"a b\"]\nto = [\"crm\"]\n", "a b"),
    ] {
        let said = mistake(&completed(table)).unwrap_or_default();
        assert!(said.contains(wanted), "{table}: {said}");
    }
}

/// The schema of one key, by its place in the whole one.
fn part(place: &str) -> Validator {
    let schema = schema();
    let part = schema.pointer(place).unwrap_or_else(|| panic!("the schema has no {place}"));
    jsonschema::draft7::new(part).expect("it is a schema")
}

static QUIET: LazyLock<Validator> =
    LazyLock::new(|| part("/properties/destinations/additionalProperties/oneOf/0/properties/quiet"));
static DIGEST: LazyLock<Validator> =
    LazyLock::new(|| part("/properties/rules/additionalProperties/properties/digest"));
static INTERVAL: LazyLock<Validator> =
    LazyLock::new(|| part("/properties/sources/additionalProperties/properties/interval"));

#[test]
fn times_of_day_are_marked_when_the_reader_would_refuse_them() {
    let quiet = |text: &str| {
        format!(
            "[destinations.crm]\ntype = \"webhook\"\nurl = \"https://crm.example.com/\"\nquiet = {text}\n"
        )
    };
    let silence = |text: &str| format!("[rules.a]\nsilence = \"30s\"\nhours = {text}\nto = [\"crm\"]\n");
    let digest = |text: &str| format!("[rules.a]\non = [\"ended\"]\ndigest = {text}\nto = [\"crm\"]\n");
    let hours = [
        r#""22:00-07:00""#,
        r#""8:00-24:00""#,
        r#""0:00-9:30""#,
        r#""MON-FRI 08:00-18:00""#,
        r#""Saturday""#,
        r#"" sat,SUN ""#,
        r#""mon,Wednesday-fri  23:59-24:00""#,
        r#"["20:00-08:00", "SAT,SUN"]"#,
    ];
    let schedules =
        [r#""0 8 * * MON-FRI""#, r#""*/15 8-18 * * *""#, r#"" 0  8 L * ? ""#, r#""0,30 8 1-7 jan mon#1""#];
    let right = hours.iter().flat_map(|text| [quiet(text), silence(text)]);
    for table in right.chain(schedules.map(digest)) {
        // The schema is shown what the reader takes without a word.
        let loaded = parse(&completed(&table)).unwrap_or_else(|report| panic!("{table}{report}"));
        assert!(loaded.warnings.mistakes().is_empty(), "{table}");
    }
    let not_hours = [
        r#""22-07""#,
        r#""22:00""#,
        r#""25:00-07:00""#,
        r#""24:30-07:00""#,
        r#""22:60-07:00""#,
        r#""22:0-07:00""#,
        r#""10pm-7am""#,
        r#""22:00 - 07:00""#,
        r#""MO-FR 08:00-18:00""#,
        r#""MON- 08:00-18:00""#,
        r#""08:00-18:00 MON-FRI""#,
        r#""MON FRI""#,
        r#""""#,
        r#"["20:00-08:00", "weekend"]"#,
        "22",
    ];
    let not_schedules =
        [r#""8:00""#, r#""08:00 * * * *""#, r#""0 8 * *""#, r#""0 0 8 * * MON""#, r#""daily""#, "8"];
    let wrong = not_hours.iter().flat_map(|text| [quiet(text), silence(text)]);
    for table in wrong.chain(not_schedules.map(digest)) {
        let table = completed(&table);
        assert!(parse(&table).is_err(), "the reader takes this:\n{table}");
        assert!(mistake(&table).is_some(), "the schema takes this:\n{table}");
    }
}

/// Texts that are put together from `pieces`.
fn made_of(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(pieces), 1..9).prop_map(|pieces| pieces.concat())
}

const OF_HOURS: &[&str] = &[
    "mon",
    "Fri",
    "SATURDAY",
    "thursday",
    "-",
    "-",
    ",",
    " ",
    " ",
    "\t",
    "\u{a0}",
    "8:00",
    "24:00",
    "23:59",
    "00:30",
    "07:5",
    "weekend",
    "22:00-07:00",
];
const OF_SCHEDULES: &[&str] = &[
    "0", "8", "30", "1-5", "*", "*/5", ",", "/", "-", " ", " ", " ", " ", "?", "L", "W", "#", "+", "MON",
    "jan", "@daily", "0 8 * * ", "\t", ":",
];
const OF_DURATIONS: &[&str] = &[
    "0", "1", "20", "1.5", ".", " ", "s", "ms", "µs", "min", "m", "hours", "h", "d", "weeks", "M", "years",
    "-", "\t", "hr", "mon", "x",
];

#[test]
fn a_duration_may_have_blanks_even_between_its_digits() {
    for duration in ["1 5s", "0\t0s", "1. 5 h 3 0m", " 2 m "] {
        assert!(humantime::parse_duration(duration).is_ok(), "{duration:?}");
        assert!(INTERVAL.is_valid(&duration.into()), "{duration:?}");
    }
}

proptest! {
    /// An editor must not mark what works.
    #[test]
    fn what_the_reader_takes_is_not_marked(
        hours in made_of(OF_HOURS), schedule in made_of(OF_SCHEDULES), duration in made_of(OF_DURATIONS),
    ) {
        if Hours::parse([hours.as_str()], Zone::UTC).is_ok() {
            prop_assert!(QUIET.is_valid(&hours.as_str().into()), "{hours:?}");
        }
        if Schedule::parse(&schedule, Zone::UTC).is_ok() {
            prop_assert!(DIGEST.is_valid(&schedule.as_str().into()), "{schedule:?}");
        }
        if humantime::parse_duration(&duration).is_ok() {
            prop_assert!(INTERVAL.is_valid(&duration.as_str().into()), "{duration:?}");
        }
    }
}
