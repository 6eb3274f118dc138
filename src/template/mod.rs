//! The texts people read: minijinja templates over an event, in one environment shared by the destinations; and the
//! bodies of webhooks whose receivers want a shape of their own.
//!
//! A value that is null prints as `–`; one that is not there is an error. See [`Context`] for what a template
//! may speak of.

mod check;
mod context;
mod environment;

use std::{
    ops::Range,
    sync::{Arc, LazyLock},
};

use minijinja::{
    Environment, Error, ErrorKind,
    value::{Serde, Value},
};

pub use self::context::{ChangeContext, Context, EventContext, MessageContext};
pub(crate) use self::environment::{duration_in_words, environment, slack_escape, truncate};
use self::{
    check::{Use, check},
    context::OF_ALL,
    environment::Capped,
};

/// The longest text a template may produce, in bytes. What is beyond it is cut.
pub const MAX_OUTPUT: usize = 16 * 1024;

/// The longest body of a webhook a template may produce, in bytes. A longer one is an error: half of it is of no use.
pub const MAX_BODY: usize = 1024 * 1024;

/// A template that is known to be one: it compiles, and its filters, tests, functions and variables exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    source: Arc<str>,
    speaks_of_all: bool,
}

/// Why a text is not a template, or could not be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// In words, without any of the call's content.
    pub message: String,
    /// The byte range of the template it is about, when that is known.
    pub span: Option<Range<usize>>,
}

impl Template {
    /// Compiles a rule's title or body.
    ///
    /// # Errors
    /// [`TemplateError`] says where it is not a template, or what in it does not exist.
    pub fn compile(source: &str) -> Result<Self, TemplateError> {
        Self::compile_for(source, Use::Text)
    }

    /// Compiles the body of a webhook, which may also speak of what is in a [`MessageContext`]; `secrets` are the
    /// names of those there are.
    ///
    /// # Errors
    /// As [`Template::compile`].
    pub fn compile_body(source: &str, secrets: &[&str]) -> Result<Self, TemplateError> {
        Self::compile_for(source, Use::Body { secrets })
    }

    fn compile_for(source: &str, r#use: Use<'_>) -> Result<Self, TemplateError> {
        let template = ENVIRONMENT.template_from_str(source).map_err(|error| TemplateError {
            message: error.detail().map_or_else(|| error.kind().to_string(), str::to_owned),
            span: error.range(),
        })?;
        check(&template, r#use)?;
        let variables = template.undeclared_variables(false);
        let speaks_of_all = OF_ALL.iter().any(|name| variables.contains(*name));
        Ok(Self { source: source.into(), speaks_of_all })
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it was written with more than one event in mind: it mentions `count` or `calls`.
    pub fn speaks_of_all(&self) -> bool {
        self.speaks_of_all
    }

    /// Renders it to plain text of at most [`MAX_OUTPUT`] bytes.
    ///
    /// # Errors
    /// [`TemplateError`] when it speaks of something this event does not have, or takes too long.
    pub fn render(&self, context: &Context<'_>) -> Result<String, TemplateError> {
        let (mut text, overflown) = self.render_within(MAX_OUTPUT, context)?;
        if overflown {
            text.push('…');
        }
        Ok(text)
    }

    /// Renders it to the body of a webhook of at most [`MAX_BODY`] bytes.
    ///
    /// # Errors
    /// As [`Template::render`], and when it is longer.
    pub fn render_body(&self, context: &Context<'_>) -> Result<String, TemplateError> {
        match self.render_within(MAX_BODY, context)? {
            (text, false) => Ok(text),
            (_, true) => {
                Err(TemplateError { message: "it becomes longer than 1 MiB".to_owned(), span: None })
            }
        }
    }

    /// Renders it, and says whether there was more than `limit` bytes.
    fn render_within(&self, limit: usize, context: &Context<'_>) -> Result<(String, bool), TemplateError> {
        let mut output = Capped::new(limit);
        let rendered = ENVIRONMENT.template_from_str(&self.source).and_then(|template| {
            template.render_captured_to(Value::from(Serde(context)), &mut output).map(drop)
        });
        match rendered {
            Err(error) if !output.overflown => Err(self.explain(&error)),
            _ => Ok((output.text(), output.overflown)),
        }
    }

    /// Says what failed by quoting the template: the error's own words may quote the call.
    fn explain(&self, error: &Error) -> TemplateError {
        let span = error.range();
        let part = span.clone().and_then(|span| self.source.get(span));
        let part = part.map(str::trim).filter(|part| !part.is_empty());
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

/// The environment of every template of a config.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(environment);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use std::collections::BTreeMap;

    use super::*;
    use crate::{change::Changes, event::Severity, kind::Kind};

    fn render(source: &str) -> Result<String, TemplateError> {
        with_context(|context| Template::compile(source)?.render(context))
    }

    fn with_context<T>(act: impl FnOnce(&Context<'_>) -> T) -> T {
        let call = json!({
            "callerNumber": "+33612345678", "calledNumber": null, "duration": 145, "summary": "a <b> & c",
            "callAnalysis": { "sentiment": "negative" }, "createdAt": "2025-12-15T14:32:25.000Z"
        });
        let changes = json!({ "status": { "from": "live", "to": "completed" } });
        act(&Context {
            call: Some(&call),
            details: None,
            changes: &Changes(changes.as_object().unwrap().clone()),
            change: ChangeContext { kinds: Kind::Ended.into() },
            kinds: Kind::Ended.into(),
            source: "clinic",
            rule: "unhappy",
            severity: Severity::Warning,
            event: EventContext { id: "evt_1", r#type: "call.ended", time: "2025-12-15T14:32:25.000Z" },
            count: 2,
            calls: &[&call, &call],
            message: Some(MessageContext {
                title: "A \"title\"",
                message: "Two\nlines </script>",
                secrets: &BTreeMap::from([("routing_key", "hush")]),
            }),
        })
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
    fn times_are_local() {
        for (source, text) in [
            ("{{ call.createdAt|local_time('Europe/Paris') }}", "15 Dec 2025, 15:32"),
            ("{{ call.createdAt|local_time('asia/kolkata', '%H:%M %Z') }}", "20:02 IST"),
            ("{{ call.calledNumber|local_time('UTC') }}", "–"),
        ] {
            assert_renders(source, text);
        }
        let at = "local_time('UTC')";
        let message = format!("`{at}` does not work with this call (invalid operation)");
        assert_fails(&format!("{{{{ call.summary|{at} }}}}"), &message, at);
        assert_fails("{{ 'x'|local_time('Paris') }}", "there is no time zone `Paris`", "local_time('Paris')");
        assert_fails(
            "{{ 'x'|local_time('UTC', '%Q') }}",
            "`%Q` is not a format of times",
            "local_time('UTC', '%Q')",
        );
    }

    #[test]
    fn a_title_can_be_for_several() {
        assert_renders("{{ count }} {{ calls|map(attribute='duration')|join('+') }}", "2 145+145");
        let speaks_of_all = |source| Template::compile(source).unwrap().speaks_of_all();
        assert!(speaks_of_all("{{ count }}") && speaks_of_all("{% for call in calls %}.{% endfor %}"));
        assert!(!speaks_of_all("{{ call.id }}") && !speaks_of_all("{% set count = 1 %}{{ count }}"));
    }

    #[test]
    fn a_body_has_the_message_and_the_secrets() {
        let body = |source: &str| {
            with_context(|context| Template::compile_body(source, &["routing_key"])?.render_body(context))
        };
        let json = body("{\"a\": {{ title|tojson }}, \"b\": {{ message|tojson }}, \"c\": {{ call|tojson }}}")
            .unwrap();
        assert!(!json.contains("</script>"), "{json}");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["a"], &json["b"]), (&json!("A \"title\""), &json!("Two\nlines </script>")));
        assert_eq!((&json["c"]["summary"], &json["c"]["calledNumber"]), (&json!("a <b> & c"), &json!(null)));
        assert_eq!(body("{{ secrets.routing_key }}").unwrap(), "hush");
        assert_eq!(
            body("{{ 'a & b\n<c>'|escape|replace('\n', '<br>') }}").unwrap(),
            "a &amp; b<br>&lt;c&gt;"
        );
        assert_eq!(body("{{ call.summary|slack_escape }}").unwrap(), "a &lt;b&gt; &amp; c");
        assert_eq!(
            body("{{ secrets.routing_kei }}").unwrap_err().message,
            "there is no secret `routing_kei`; did you mean `routing_key`?"
        );
        assert_eq!(
            render("{{ title }}").unwrap_err().message,
            "`title` is only there in the `body` of a webhook"
        );
        let long = "{% for a in range(9000) %}{{ 'x' * 200 }}{% endfor %}";
        assert_eq!(body(long).unwrap_err().message, "it becomes longer than 1 MiB");
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
