//! The texts people read: minijinja templates over an event, in one environment shared by the destinations.
//!
//! A value that is null prints as `–`; one that is not there is an error. See [`Context`] for what a template
//! may speak of.

mod environment;

use std::{
    ops::Range,
    sync::{Arc, LazyLock},
};

use minijinja::{
    Environment, Error, ErrorKind,
    machinery::{Instruction, get_compiled_template},
    value::{Serde, Value},
};
use serde::Serialize;

use self::environment::Capped;
pub(crate) use self::environment::{duration_in_words, environment, truncate};
use crate::{change::Changes, event::Severity, kind::Kinds};

/// The longest text a template may produce, in bytes. What is beyond it is cut.
pub const MAX_OUTPUT: usize = 16 * 1024;

/// Our own filters and the most useful ones of minijinja, for "did you mean".
const FILTERS: [&str; 14] = [
    "mask_phone",
    "duration",
    "truncate",
    "default",
    "upper",
    "lower",
    "title",
    "trim",
    "join",
    "length",
    "replace",
    "round",
    "first",
    "last",
];

/// A template that is known to be one: it compiles, and its filters, tests, functions and variables exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Arc<str>);

/// Why a text is not a template, or could not be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// In words, without any of the call's content.
    pub message: String,
    /// The byte range of the template it is about, when that is known.
    pub span: Option<Range<usize>>,
}

/// What a template may speak of.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Context<'a> {
    /// The call as the API gives it, as far as the receiver may see it; not there for an event about a source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<&'a serde_json::Value>,
    /// What an event about a source says of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<&'a serde_json::Value>,
    /// The fields that differ: `changes.status.from`, `changes.status.to`.
    pub changes: &'a Changes,
    /// `change.kinds`, as conditions have it.
    pub change: ChangeContext,
    /// The kinds, a list of words.
    pub kinds: Kinds,
    /// The source's name.
    pub source: &'a str,
    /// The rule's name.
    pub rule: &'a str,
    /// `info`, `warning` or `critical`.
    #[serde(serialize_with = "severity_word")]
    pub severity: Severity,
    /// `event.id`, `event.type`, `event.time`.
    pub event: EventContext<'a>,
}

/// `change` in a template.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ChangeContext {
    /// The kinds, a list of words.
    pub kinds: Kinds,
}

/// `event` in a template.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct EventContext<'a> {
    /// `evt_…`
    pub id: &'a str,
    /// `call.ended`, …
    pub r#type: &'a str,
    /// RFC 3339
    pub time: &'a str,
}

/// The names in a [`Context`].
const VARIABLES: [&str; 9] =
    ["call", "details", "changes", "change", "kinds", "source", "rule", "severity", "event"];

fn severity_word<S: serde::Serializer>(severity: &Severity, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(severity.as_str())
}

impl Template {
    /// Compiles `source`.
    ///
    /// # Errors
    /// [`TemplateError`] says where it is not a template, or what in it does not exist.
    pub fn compile(source: &str) -> Result<Self, TemplateError> {
        let template = ENVIRONMENT.template_from_str(source).map_err(|error| TemplateError {
            message: error.detail().map_or_else(|| error.kind().to_string(), str::to_owned),
            span: error.range(),
        })?;
        let unknown_variables = template.undeclared_variables(false);
        let instructions = &get_compiled_template(&template).instructions;
        for index in 0.. {
            let Some(instruction) = instructions.get(index) else { break };
            let message = match *instruction {
                Instruction::ApplyFilter(name, ..) if !has_filter(name) => unknown("filter", name, &FILTERS),
                Instruction::PerformTest(name, ..) if !has_test(name) => {
                    format!("there is no test `{name}`")
                }
                Instruction::CallFunction(name, ..) if !is_global(name) => {
                    format!("there is no function `{name}`")
                }
                Instruction::Lookup("before") if unknown_variables.contains("before") => {
                    "`before` is only there in conditions; a template has `changes.FIELD.from`".to_owned()
                }
                Instruction::Lookup(name)
                    if unknown_variables.contains(name) && !VARIABLES.contains(&name) && !is_global(name) =>
                {
                    unknown("variable", name, &VARIABLES)
                }
                _ => continue,
            };
            let span = instructions.get_span(index);
            let span = span.map(|span| span.start_offset as usize..span.end_offset as usize);
            return Err(TemplateError { message, span });
        }
        Ok(Self(source.into()))
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.0
    }

    /// Renders it to plain text of at most [`MAX_OUTPUT`] bytes.
    ///
    /// # Errors
    /// [`TemplateError`] when it speaks of something this event does not have, or takes too long.
    pub fn render(&self, context: &Context<'_>) -> Result<String, TemplateError> {
        let mut output = Capped::default();
        let rendered = ENVIRONMENT.template_from_str(&self.0).and_then(|template| {
            template.render_captured_to(Value::from(Serde(context)), &mut output).map(drop)
        });
        match rendered {
            Err(error) if !output.overflown => Err(self.explain(&error)),
            _ => Ok(output.into_text()),
        }
    }

    /// Says what failed by quoting the template: the error's own words may quote the call.
    fn explain(&self, error: &Error) -> TemplateError {
        let span = error.range();
        let part =
            span.clone().and_then(|span| self.0.get(span)).map(str::trim).filter(|part| !part.is_empty());
        let part = part.map_or_else(|| "a part of it".to_owned(), |part| format!("`{part}`"));
        let message = match error.kind() {
            ErrorKind::UndefinedError => {
                format!("{part} is not there; it is missing in this call or left out by the destination")
            }
            ErrorKind::OutOfFuel => "it takes too many steps".to_owned(),
            kind => format!("{part} does not work with this call ({kind})"),
        };
        TemplateError { message, span }
    }
}

/// The environment of every text for people.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(environment);

fn has_filter(name: &str) -> bool {
    let result = ENVIRONMENT.empty_state().apply_filter(name, &[]);
    !result.is_err_and(|error| error.kind() == ErrorKind::UnknownFilter)
}

fn has_test(name: &str) -> bool {
    let result = ENVIRONMENT.empty_state().perform_test(name, &[]);
    !result.is_err_and(|error| error.kind() == ErrorKind::UnknownTest)
}

fn is_global(name: &str) -> bool {
    ENVIRONMENT.globals().any(|(global, _)| global == name)
}

fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let closest = known.iter().max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
    match closest.filter(|closest| strsim::jaro(closest, name) > 0.7) {
        Some(closest) => format!("there is no {what} `{name}`; did you mean `{closest}`?"),
        None => format!("there is no {what} `{name}`"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind::Kind;

    fn render(source: &str) -> Result<String, TemplateError> {
        let call = json!({
            "callerNumber": "+33612345678", "calledNumber": null, "duration": 145, "summary": "a <b> & c",
            "callAnalysis": { "sentiment": "negative" }
        });
        let changes = json!({ "status": { "from": "live", "to": "completed" } });
        let context = Context {
            call: Some(&call),
            details: None,
            changes: &Changes(changes.as_object().unwrap().clone()),
            change: ChangeContext { kinds: Kind::Ended.into() },
            kinds: Kind::Ended.into(),
            source: "clinic",
            rule: "unhappy",
            severity: Severity::Warning,
            event: EventContext { id: "evt_1", r#type: "call.ended", time: "2025-12-15T14:32:25.000Z" },
        };
        Template::compile(source)?.render(&context)
    }

    #[track_caller]
    fn assert_renders(source: &str, text: &str) {
        assert_eq!(render(source).unwrap(), text);
    }

    #[track_caller]
    fn assert_fails(source: &str, message: &str, at: &str) {
        let error = render(source).unwrap_err();
        assert_eq!(error.message, message);
        assert_eq!(&source[error.span.unwrap()], at);
    }

    #[test]
    fn a_template_speaks_of_the_event() {
        assert_renders("{{ call.callerNumber }}: {{ call.summary }}", "+33612345678: a <b> & c");
        assert_renders(
            "{{ source }} {{ rule }} {{ severity }} {{ kinds[0] }} {{ change.kinds|join('+') }}",
            "clinic unhappy warning ended ended",
        );
        assert_renders(
            "{{ changes.status.from }} {{ event.id }} {{ event.type }} {{ event.time }}",
            "live evt_1 call.ended 2025-12-15T14:32:25.000Z",
        );
    }

    #[test]
    fn null_is_a_dash_and_missing_can_be_asked_for() {
        assert_renders("{{ call.calledNumber }}", "–");
        assert_renders("{{ call.calledNumber|duration }}{{ call.calledNumber|mask_phone }}", "––");
        assert_renders("{{ 'yes' if call.callAnalysis.mood is defined else 'no' }}", "no");
        assert_renders("{{ call.mood|default('none') }}", "none");
    }

    #[test]
    fn filters_say_it_for_people() {
        assert_renders("{{ call.callerNumber|mask_phone }}", "+3361•••5678");
        assert_renders("{{ call.duration|duration }}", "2m 25s");
        assert_renders("{{ call.summary|truncate(4) }}", "a <…");
        for (seconds, words) in [(0.4, "0s"), (59.6, "1m"), (3600.0, "1h"), (3725.0, "1h 2m"), (-3.0, "0s")] {
            assert_eq!(duration_in_words(seconds), words);
        }
    }

    #[test]
    fn what_does_not_exist_is_found_without_running() {
        assert_fails(
            "{% if false %}{{ call.duration | duratoin }}{% endif %}",
            "there is no filter `duratoin`; did you mean `duration`?",
            "duratoin",
        );
        assert_fails("{{ caller }}", "there is no variable `caller`; did you mean `call`?", "caller");
        assert_fails("{% if call is odious %}{% endif %}", "there is no test `odious`", "odious");
        assert_fails("{{ debug() }}", "there is no function `debug`", "debug()");
        assert_fails(
            "{{ before.status }}",
            "`before` is only there in conditions; a template has `changes.FIELD.from`",
            "before.status",
        );
        assert!(Template::compile("{% set x = call.id %}{{ x }}{% for k in kinds %}{{ k }}{{ loop.index }}{% endfor %}{{ range(3) }}").is_ok());
    }

    #[test]
    fn a_syntax_error_has_a_place() {
        let error = Template::compile("Hello {{ call. }}").unwrap_err();
        assert_eq!(error.message, "unexpected end of variable block, expected identifier or integer");
        assert_eq!(error.span, Some(15..17));
        assert!(Template::compile("{% if %}").unwrap_err().span.is_some());
    }

    #[test]
    fn a_failure_quotes_the_template_and_never_the_call() {
        assert_fails(
            "{{ call.callAnalysis.mood }}",
            "`call.callAnalysis.mood` is not there; it is missing in this call or left out by the destination",
            "call.callAnalysis.mood",
        );
        for source in ["{{ call.callerNumber|int }}{{ call.summary|int }}", "{{ call.summary + 1 }}"] {
            let error = render(source).unwrap_err();
            assert!(!format!("{error:?}").contains("a <b>"), "{error:?}");
        }
    }

    #[test]
    fn a_template_ends() {
        let endless =
            "{% for a in range(1000) %}{% for b in range(1000) %}{% set x = a %}{% endfor %}{% endfor %}";
        assert_eq!(render(endless).unwrap_err().message, "it takes too many steps");
        let long = render("{% for a in range(9000) %}é.{% endfor %}").unwrap();
        assert!(long.len() <= MAX_OUTPUT + '…'.len_utf8() && long.ends_with(".…"), "{}", long.len());
    }
}
