//! Fuzz targets for everything that reads foreign input. Each function takes any bytes, and panics when a property is violated
//! that must hold for all input.
//!
//! The targets in `fuzz/` look for such bytes for as long as they are let; the tests below try some in every `cargo test`. The
//! program has none of this.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "to panic is what these functions are for"
)]

use std::{collections::BTreeMap, path::Path};

use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use serde_json::{Value, json};

use crate::{
    call::Call,
    callem::{Bounds, Page},
    change::Changes,
    config::{Level, LoadOptions, Secrets},
    config_file::Config,
    destination,
    event::Severity,
    http,
    kind::{Kind, Kinds},
    language::Language,
    rule::condition::{Activation, Condition, Truth},
    store,
    template::{ChangeContext, Context, EventContext, MAX_BODY, MAX_OUTPUT, MessageContext, Template},
    time::Timestamp,
};

/// A page of the API, and each of its records as a call.
pub fn api_page(bytes: &[u8]) {
    let bounds = Bounds { records: 20, record: 4096 };
    let Ok(page) = Page::read(bytes.to_vec(), bounds) else { return };
    assert!(page.len() <= bounds.records);
    for record in page.records().flatten() {
        assert!(record.len() <= bounds.record);
        let raw = serde_json::from_str(record).expect("what is given out as a record is JSON");
        if let Ok(call) = Call::parse(raw) {
            assert!(!call.id().as_str().is_empty());
        }
    }
}

/// A config file: it is put together, or each mistake has its place.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let options = LoadOptions { secrets: Secrets::Ignored, env: &|_| None };
    match Config::parse(text, Path::new("callwatch.toml"), options) {
        Ok(loaded) => drop(loaded.config.effective()),
        Err(report) => {
            assert!(!report.mistakes().is_empty());
            report.render(true);
            report.to_json();
            for level in [Level::Error, Level::Warning] {
                assert!(report.lines(level).iter().all(|line| !line.contains('\n')));
            }
        }
    }
}

/// A condition: what compiles is evaluated, and explained with the same result; what is not true has no reasons.
pub fn condition(bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else { return };
    match Condition::compile(source) {
        Ok(condition) => {
            let call = a_call();
            let (fields, kinds) =
                (call.as_object().unwrap(), Kinds::from_iter([Kind::Ended, Kind::Analyzed]));
            let activation =
                Activation::new(fields, None, kinds, &"clinic".into(), Timestamp::from_millis(0));
            let explanation = condition.explain(&activation);
            assert_eq!(explanation.truth, condition.evaluate(&activation));
            // Only what is true has reasons.
            let is_true = explanation.truth == Ok(Truth::True);
            assert!(is_true || condition.reasons(&activation).is_empty());
            condition.check(Kind::ALL.into_iter().collect());
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            for mistake in mistakes {
                assert!(source.get(mistake.span.clone()).is_some(), "{:?} is no part of it", mistake.span);
            }
        }
    }
}

/// A template, as a title and as the body of a webhook: what compiles ends within its steps and its length.
pub fn template(bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else { return };
    let (call, changes) = (a_call(), Changes::default());
    let context = Context {
        call: Some(&call),
        details: None,
        changes: &changes,
        change: ChangeContext { kinds: Kind::Ended.into() },
        kinds: Kind::Ended.into(),
        source: "clinic",
        rule: "unhappy",
        severity: Severity::Warning,
        language: Language::default(),
        event: EventContext { id: "evt_1", r#type: "call.ended", time: "2025-12-15T14:32:25.000Z" },
        count: 2,
        calls: &[&call, &call],
        message: Some(MessageContext {
            title: "A \"title\"",
            message: "Two\nlines",
            secrets: &BTreeMap::from([("routing_key", "hush")]),
        }),
    };
    let in_source = |span: Option<std::ops::Range<usize>>| span.is_none_or(|span| source.get(span).is_some());
    match Template::compile(source) {
        Ok(template) => match template.render(&context) {
            Ok(text) => {
                assert!(text.len() <= MAX_OUTPUT + '…'.len_utf8());
            }
            Err(error) => assert!(in_source(error.span)),
        },
        Err(error) => assert!(in_source(error.span)),
    }
    match Template::compile_body(source, &["routing_key"]) {
        Ok(template) => match template.render_body(&context) {
            Ok(text) => assert!(text.len() <= MAX_BODY),
            Err(error) => assert!(in_source(error.span)),
        },
        Err(error) => assert!(in_source(error.span)),
    }
}

/// The header `Retry-After`, of the API or a receiver.
pub fn retry_after(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let headers = HeaderMap::from_iter([(RETRY_AFTER, value)]);
    http::retry_after(&headers, Some(Timestamp::from_millis(1_765_809_145_000)));
    assert!(http::retry_after(&headers, None).is_none_or(|wait| wait.subsec_nanos() == 0));
}

/// The replies of a mail server, line by line.
pub fn smtp_reply(bytes: &[u8]) {
    destination::read_any_reply(bytes);
}

/// A value of the embedded store whose checksum is right.
pub fn store_value(bytes: &[u8]) {
    store::read_any_value(bytes);
}

/// A backup file.
pub fn backup(bytes: &[u8]) {
    store::read_any_backup(bytes);
}

fn a_call() -> Value {
    json!({
        "id": "a", "status": "completed", "duration": 145, "callerNumber": "+33612345678", "calledNumber": null,
        "createdAt": "2025-12-15T14:30:00.000Z", "updatedAt": "2025-12-15T14:32:25.000Z", "summary": "",
        "callAnalysis": { "sentiment": "negative", "appointmentBooked": true, "list": [1, "a", null, { "b": 2.5 }] },
        "transcript": [{ "role": "user", "content": "I want my money back" }],
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Examples of what a target reads: the files of `fuzz/seeds/TARGET`, from which cargo-fuzz begins as well.
    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let mut files: Vec<_> = fs::read_dir(&folder)
            .expect("every target has seeds")
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files.into_iter().map(|file| fs::read(file).unwrap()).collect()
    }

    /// An example after a few edits: bytes or words put in, and pieces cut out or doubled.
    fn edited(target: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
        let seeds = seeds(target);
        // Words of all the languages that are read.
        let words = "{{ }} {% %} ( ) [ ] { } \" ' \\ , : = == && null true -1 1e999 18446744073709551616 \
                     \u{feff} \u{1f600} \r\n 250- 550 5.1.1 id data call. has( .map(x, Mon, 00:00 \0";
        let words: Vec<Vec<u8>> = words.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let piece = prop_oneof![prop::sample::select(words), vec(any::<u8>(), 1..5)];
        let edit = (any::<prop::sample::Index>(), 0usize..40, 0u8..3, piece);
        let of_seed = (prop::sample::select(seeds), vec(edit, 0..6)).prop_map(|(mut bytes, edits)| {
            for (at, length, what, piece) in edits {
                let at = at.index(bytes.len() + 1);
                let end = (at + length).min(bytes.len());
                match what {
                    0 => drop(bytes.splice(at..at, piece)),
                    1 => drop(bytes.drain(at..end)),
                    _ => {
                        let doubled = bytes[at..end].to_vec();
                        bytes.splice(at..at, doubled);
                    }
                }
            }
            bytes
        });
        prop_oneof![9 => of_seed, 1 => vec(any::<u8>(), 0..300)]
    }

    fn tried(target: &str, cases: u32, read: impl Fn(&[u8])) {
        for seed in seeds(target) {
            read(&seed);
        }
        let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
        let run = proptest::test_runner::TestRunner::new(config).run(&edited(target), |bytes| {
            read(&bytes);
            Ok(())
        });
        run.unwrap();
    }

    #[test]
    fn any_page_of_the_api() {
        tried("api_page", 2000, api_page);
    }

    #[test]
    fn any_config() {
        tried("config", 200, config);
    }

    #[test]
    fn any_condition() {
        tried("condition", 300, condition);
    }

    #[test]
    fn any_template() {
        tried("template", 500, template);
    }

    #[test]
    fn any_retry_after() {
        tried("retry_after", 2000, retry_after);
    }

    #[test]
    fn any_reply_of_a_mail_server() {
        tried("smtp_reply", 2000, smtp_reply);
    }

    #[test]
    fn any_value_of_the_store() {
        tried("store_value", 2000, store_value);
    }

    #[test]
    fn any_backup() {
        tried("backup", 2000, backup);
    }
}
