//! Templates (minijinja) of the texts people read, and of the bodies of webhooks whose receivers want a shape of their
//! own. [`Context`] lists the values a template can use.
//!
//! A value that is null prints as `–`; using one that is missing is an error.

mod check;
mod compiled;
mod context;
mod environment;

pub(crate) use self::environment::{duration_in_words, environment, slack_escape, truncate};
pub use self::{
    check::TemplateError,
    compiled::{MAX_BODY, MAX_OUTPUT, Template},
    context::{ChangeContext, Context, EventContext, MessageContext},
};

#[cfg(test)]
mod tests;
