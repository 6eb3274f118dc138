//! Conditions in CEL (Common Expression Language), behind one door.

/// A compiled condition.
#[derive(Clone, Debug)]
pub struct Condition;

/// Why a text is not a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConditionError {
    /// In words a person can act on.
    pub message: String,
    /// The byte range of the condition it is about.
    pub span: std::ops::Range<usize>,
    /// What to write instead, when that can be guessed.
    pub hint: Option<String>,
}

impl Condition {
    /// Compiles `source`.
    ///
    /// # Errors
    /// [`ConditionError`] says where and why it cannot be one.
    pub fn compile(_source: &str) -> Result<Self, ConditionError> {
        Ok(Self)
    }
}
