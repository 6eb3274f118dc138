//! The JSON Schema of the config file accepts what the reader accepts, and knows every key.

use std::sync::LazyLock;

use callwatch::config_file::schema;
use jsonschema::Validator;
use serde_json::Value;

use super::{EXAMPLE, completed, reference};

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
        must_accept(&completed(table));
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
