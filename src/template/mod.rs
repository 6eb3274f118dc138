//! Templates (minijinja) of the texts people read, and of the bodies of webhooks whose receivers want a shape of their
//! own. [`Context`] lists the values a template can use.
//!
//! A value that is null prints as `–`, a caller's number that is null as `unknown number`; using a value that is missing
//! is an error.

mod check;
mod compiled;
mod context;
mod dashed;
mod environment;
mod sharing;
mod trial;
mod withheld;

pub(crate) use self::environment::{environment, slack_escape, truncate};
pub use self::{
    check::TemplateError,
    compiled::{MAX_BODY, MAX_OUTPUT, Template},
    context::{ChangeContext, Context, EventContext, MessageContext},
    trial::Occasion,
};

#[cfg(test)]
mod tests;
