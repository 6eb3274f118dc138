//! A template, compiled once and rendered for many events.

use std::{fmt, ops::Range, sync::Arc};

use minijinja::{
    Environment, Error, ErrorKind, UndefinedBehavior, context,
    value::{Serde, Value},
};

use super::{
    check::{TemplateError, Use, check, check_size},
    context::{Context, OF_ALL, OF_ONE},
    dashed::Dashed,
    environment::{Capped, ENVIRONMENT, FUEL_OF_BODY},
    sharing::{made_key, shared},
    withheld::in_text,
};

/// The longest text a template may produce, in bytes. The rest is cut off.
pub const MAX_OUTPUT: usize = 16 * 1024;

/// The longest body of a webhook a template may produce, in bytes. A longer one is an error, because half a body is of
/// no use.
pub const MAX_BODY: usize = 1024 * 1024;

/// A compiled template whose filters, tests, functions and variables all exist. Cloning it is cheap.
#[derive(Clone)]
pub struct Template {
    source: Arc<str>,
    /// The text that is compiled in place of `source`, if it differs.
    dashed: Option<Arc<Dashed>>,
    /// Holds the compiled template under [`NAME`].
    environment: Arc<Environment<'static>>,
    speaks_of_all: bool,
    speaks_of_one: bool,
    /// The consequence for an event that it fails for, in words.
    consequence: &'static str,
}

/// Not one that ends in `.html`: its output would be escaped.
const NAME: &str = "template";

impl Template {
    /// Compiles a rule's title or body.
    ///
    /// # Errors
    /// [`TemplateError`] when it does not compile, or uses a name that does not exist.
    pub fn compile(source: &str) -> Result<Self, TemplateError> {
        Self::compile_for(source, Use::Text)
    }

    /// Compiles the body of a webhook, which can also use a [`MessageContext`](super::MessageContext) with secrets of
    /// these names.
    ///
    /// # Errors
    /// As [`Template::compile`].
    pub fn compile_body(source: &str, secrets: &[&str]) -> Result<Self, TemplateError> {
        Self::compile_for(source, Use::Body { secrets })
    }

    /// Compiles the address of a call's page. Whoever renders it encodes what it can use, so `urlencode` does nothing more.
    ///
    /// # Errors
    /// As [`Template::compile`].
    pub fn compile_address(source: &str) -> Result<Self, TemplateError> {
        Self::compile_for(source, Use::Address)
    }

    fn compile_for(source: &str, r#use: Use<'_>) -> Result<Self, TemplateError> {
        check_size(source)?;
        let mut environment = ENVIRONMENT.clone();
        match r#use {
            Use::Text => {}
            Use::Body { .. } => {
                environment.set_fuel(Some(FUEL_OF_BODY));
                // Nothing can stand in place of a body, so what is missing reads like null; no delivery dies of it.
                environment.set_undefined_behavior(UndefinedBehavior::Chainable);
            }
            Use::Address => environment.add_filter("urlencode", |text: Value| text),
        }
        let wrong = |error: Error| TemplateError {
            message: error.detail().map_or_else(|| error.kind().to_string(), str::to_owned),
            hint: None,
            span: error.range().map(|part| whole(source, part)),
        };
        environment.add_template_owned(NAME, source.to_owned()).map_err(wrong)?;
        let template = environment.get_template(NAME).map_err(wrong)?;
        check(&template, r#use)?;
        if let Some((name, span)) = shared(source) {
            return Err(TemplateError {
                message: format!(
                    "`{name}` cannot be put into a list or an object, because the template sets it"
                ),
                hint: Some(format!(
                    "put a value of the event there, or make one text of it: `{name}|string`"
                )),
                span: Some(span),
            });
        }
        if let Some(span) = made_key(source) {
            return Err(TemplateError {
                message: "a key of an object is a text or a number that is written out".to_owned(),
                hint: None,
                span: Some(span),
            });
        }
        let variables = template.undeclared_variables(false);
        let speaks_of_all = OF_ALL.iter().any(|name| variables.contains(*name));
        let speaks_of_one = OF_ONE.iter().any(|name| variables.contains(*name));
        let dashed = Dashed::of(source).filter(|dashed| {
            let mut trial = environment.clone();
            let compiles = trial.add_template_owned(NAME, dashed.source.clone()).is_ok();
            if compiles {
                environment = trial;
            }
            compiles
        });
        let (source, dashed) = (source.into(), dashed.map(Arc::new));
        Ok(Self {
            source,
            dashed,
            environment: Arc::new(environment),
            speaks_of_all,
            speaks_of_one,
            consequence: r#use.consequence(),
        })
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it was written with more than one event in mind: it mentions `count` or `calls`.
    pub fn speaks_of_all(&self) -> bool {
        self.speaks_of_all
    }

    /// Whether it is true of one event alone: it mentions the call, or what happened to it.
    pub fn speaks_of_one(&self) -> bool {
        self.speaks_of_one
    }

    /// Renders it to plain text of at most [`MAX_OUTPUT`] bytes.
    ///
    /// # Errors
    /// [`TemplateError`] when it uses a value that this event does not have, or takes too long.
    pub fn render(&self, context: &Context<'_>) -> Result<String, TemplateError> {
        let (mut text, overflown) = self.render_within(MAX_OUTPUT, in_text_context(context))?;
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
        match self.render_within(MAX_BODY, in_text_context(context))? {
            (text, false) => Ok(text),
            (_, true) => Err(TemplateError {
                message: "it becomes longer than 1 MiB".to_owned(),
                hint: None,
                span: None,
            }),
        }
    }

    /// Renders at most `limit` bytes, and says whether there were more.
    fn render_within(&self, limit: usize, context: Value) -> Result<(String, bool), TemplateError> {
        let mut output = Capped::new(limit);
        let rendered =
            self.compiled().and_then(|template| template.render_captured_to(context, &mut output).map(drop));
        match rendered {
            Err(error) if !output.overflown => Err(self.explain(&error)),
            _ => Ok((output.text(), output.overflown)),
        }
    }

    /// The consequence for an event that it fails for, in words.
    pub(super) fn consequence(&self) -> &'static str {
        self.consequence
    }

    pub(super) fn compiled(&self) -> Result<minijinja::Template<'_, '_>, Error> {
        self.environment.get_template(NAME)
    }

    /// The part of the source that a part of what is compiled stands for.
    pub(super) fn original(&self, part: Range<usize>) -> Range<usize> {
        match &self.dashed {
            Some(dashed) => dashed.original(part),
            None => part,
        }
    }

    /// Describes a failure by quoting the template, because the error's own words may quote the call.
    pub(super) fn explain(&self, error: &Error) -> TemplateError {
        let span = error.range().map(|part| whole(&self.source, self.original(part)));
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
        TemplateError { message, hint: None, span }
    }
}

/// A part of a text, made wider where it begins or ends inside a character, as some parts that minijinja finds wrong do.
/// Others of them end before they begin.
fn whole(text: &str, part: Range<usize>) -> Range<usize> {
    let (first, last) = (part.start.min(part.end), part.start.max(part.end));
    let start = (0..=first).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let end = (last..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    start..end
}

/// The context of a template, in which a number that was withheld is told as such.
fn in_text_context(context: &Context<'_>) -> Value {
    let mut all = Value::from(Serde(context));
    if let Some(call) = context.call.and_then(|call| in_text(call, context.language)) {
        all = context! { call, ..all };
    }
    let calls: Vec<_> = context.calls.iter().map(|call| in_text(call, context.language)).collect();
    if calls.iter().any(Option::is_some) {
        let calls: Vec<_> = calls
            .into_iter()
            .zip(context.calls)
            .map(|(withheld, call)| withheld.unwrap_or_else(|| Value::from(Serde(call))))
            .collect();
        all = context! { calls, ..all };
    }
    all
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Template {}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.source).finish()
    }
}
