//! Conditions in CEL (Common Expression Language, <https://cel.dev>), behind one door: nothing else knows CEL.
//!
//! A condition is true, false or unknown. It is unknown when a field it needs is missing, or null anywhere on the
//! way. CEL itself would call `null != "success"` true; a rule must not fire because something is *not there*, so
//! the operands of `==`, `!=` and `in` are wrapped (see [`compile`]) unless the condition compares with `null`
//! literally.

mod compile;
mod facts;

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use cel::{Context, Env, ExecutionError, IdedExpr, Value};
use xxhash_rust::xxh3::xxh3_64;

pub use self::facts::Facts;

/// The longest condition, in bytes. CEL's parser and interpreter recurse, and have no other bound.
pub const MAX_LEN: usize = 2048;

/// The function that operands are wrapped in; not a name that a user could write.
const KNOWN: &str = "@known";

/// The message that marks an unknown value on its way up.
const IS_NULL: &str = "null";

/// A compiled condition.
#[derive(Clone)]
pub struct Condition {
    source: Arc<str>,
    expression: Arc<IdedExpr>,
}

/// What a condition says about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// A field it needs is missing, or null on the way.
    Unknown,
}

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

/// Why a condition could not be evaluated; holds nothing of the call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConditionFailure(String);

impl Condition {
    /// Compiles `source`.
    ///
    /// # Errors
    /// [`ConditionError`] says where and why it cannot be one.
    pub fn compile(source: &str) -> Result<Self, ConditionError> {
        Ok(Self { source: source.into(), expression: Arc::new(compile::compile(source)?) })
    }

    /// The condition's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Tells this condition from an edited one.
    pub fn fingerprint(&self) -> u64 {
        xxh3_64(self.source.as_bytes())
    }

    /// Evaluates it over what is known of a change.
    ///
    /// # Errors
    /// [`ConditionFailure`] when it does not make sense for these values: a text compared with a number by `<`,
    /// a division by zero, a result that is neither true nor false.
    pub fn evaluate(&self, facts: &Facts) -> Result<Truth, ConditionFailure> {
        match Value::resolve(&self.expression, &facts.context()) {
            Ok(Value::Bool(true)) => Ok(Truth::True),
            Ok(Value::Bool(false)) => Ok(Truth::False),
            Ok(Value::Null) => Ok(Truth::Unknown),
            Ok(other) => Err(ConditionFailure(format!(
                "its result is not true or false but a value of type {}",
                other.type_of()
            ))),
            Err(error) if is_unknown(&error) => Ok(Truth::Unknown),
            Err(error) => Err(ConditionFailure(in_words(&error))),
        }
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

/// The environment conditions are compiled and evaluated in; making one is a thousand times dearer than using it.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib().with_optional_support(true)));

/// A context with our own function and no variables.
fn empty_context<'v>() -> Context<'static, 'v> {
    let mut context = Context::with_env(Arc::clone(&ENV));
    // The name is not one of the standard library's, so it cannot conflict.
    let _ = context.add_function(KNOWN, known);
    context
}

fn known(value: Value) -> Result<Value, ExecutionError> {
    match value {
        Value::Null => Err(ExecutionError::function_error(KNOWN, IS_NULL)),
        value => Ok(value),
    }
}

/// Whether an error means "a field is missing, or null on the way".
fn is_unknown(error: &ExecutionError) -> bool {
    match error {
        ExecutionError::NoSuchKey(_) => true,
        ExecutionError::FunctionError { function, message } => function == KNOWN && message == IS_NULL,
        ExecutionError::NoSuchOverload(overload) => {
            overload.argument_types().iter().any(|name| name == "null" || name == "null_type")
        }
        ExecutionError::ValuesNotComparable(a, b) | ExecutionError::UnsupportedBinaryOperator(_, a, b) => {
            matches!(a, Value::Null) || matches!(b, Value::Null)
        }
        ExecutionError::UnsupportedTargetType { target }
        | ExecutionError::NotSupportedAsMethod { target, .. } => matches!(target, Value::Null),
        ExecutionError::UnsupportedIndex(index, of) => {
            matches!(index, Value::Null) || matches!(of, Value::Null)
        }
        ExecutionError::UnexpectedType { got, .. } => got == "null" || got == "null_type",
        ExecutionError::IndexOutOfBounds(_) => true,
        _ => false,
    }
}

/// An error in words, without the values CEL would quote: they come from a conversation.
fn in_words(error: &ExecutionError) -> String {
    let operator = |name: &str| name.trim_matches(['_', '@']).replace('_', "");
    match error {
        ExecutionError::NoSuchOverload(overload) => format!(
            "`{}` does not work on {}",
            operator(overload.function()),
            overload.argument_types().join(" and ")
        ),
        ExecutionError::ValuesNotComparable(a, b) => {
            format!("{} and {} cannot be compared", a.type_of(), b.type_of())
        }
        ExecutionError::UnsupportedBinaryOperator(name, a, b) => {
            format!("`{}` does not work on {} and {}", operator(name), a.type_of(), b.type_of())
        }
        ExecutionError::NotSupportedAsMethod { method, target } => {
            format!("`{method}` does not work on {}", target.type_of())
        }
        ExecutionError::UndeclaredReference(name) => format!("there is no `{name}`"),
        ExecutionError::InvalidArgumentCount { expected, actual } => {
            format!("a function wants {expected} arguments and was given {actual}")
        }
        ExecutionError::UnexpectedType { got, want } => format!("a value is of type {got} instead of {want}"),
        ExecutionError::FunctionError { function, .. } => {
            format!("`{function}` could not work on its arguments")
        }
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "a division by zero".to_owned()
        }
        ExecutionError::Overflow(..) => "a number became too large".to_owned(),
        _ => "it does not make sense for these values".to_owned(),
    }
}

#[cfg(test)]
mod tests;
