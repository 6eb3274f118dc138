//! Translates errors of the interpreter.

use cel::{ExecutionError, Value};

use super::{
    functions::{FEW, IS_NULL, KNOWN},
    work::CHARGED,
};

/// Whether an error means "a field is missing, or null on the way".
pub(super) fn is_unknown(error: &ExecutionError) -> bool {
    let is_null = |name: &str| name == "null" || name == "null_type";
    match error {
        ExecutionError::NoSuchKey(_) | ExecutionError::IndexOutOfBounds(_) => true,
        ExecutionError::FunctionError { function, message } => function == KNOWN && message == IS_NULL,
        ExecutionError::NoSuchOverload(overload) => {
            overload.argument_types().iter().any(|name| is_null(name))
        }
        ExecutionError::ValuesNotComparable(a, b)
        | ExecutionError::UnsupportedBinaryOperator(_, a, b)
        | ExecutionError::UnsupportedIndex(a, b) => matches!(a, Value::Null) || matches!(b, Value::Null),
        ExecutionError::UnsupportedTargetType { target }
        | ExecutionError::NotSupportedAsMethod { target, .. } => matches!(target, Value::Null),
        ExecutionError::UnsupportedKeyType(key) => matches!(key, Value::Null),
        ExecutionError::UnexpectedType { got, .. } => is_null(got),
        _ => false,
    }
}

/// An error in words, without the values CEL would quote: they come from a conversation.
pub(super) fn in_words(error: &ExecutionError) -> String {
    let operator = |name: &str| name.trim_matches(['_', '@']).replace('_', "");
    match error {
        ExecutionError::NoSuchOverload(overload) => format!(
            "`{}` does not work on {}",
            operator(overload.function()),
            overload
                .argument_types()
                .iter()
                .map(|name| type_in_words(name))
                .collect::<Vec<_>>()
                .join(" and ")
        ),
        ExecutionError::UnsupportedBinaryOperator(name, a, b) => {
            format!("`{}` does not work on {} and {}", operator(name), a.type_of(), b.type_of())
        }
        ExecutionError::NotSupportedAsMethod { method, target } => {
            format!("`{method}` does not work on {}", target.type_of())
        }
        ExecutionError::InvalidArgumentCount { expected, actual } => {
            format!("a function wants {expected} arguments and was given {actual}")
        }
        ExecutionError::UnexpectedType { want, .. } if want == "bool" => {
            "a value is neither true nor false".to_owned()
        }
        ExecutionError::UnexpectedType { want, .. } if want == "iterable" => {
            "a value is no list to walk over".to_owned()
        }
        ExecutionError::FunctionError { function, .. } if function == CHARGED => {
            "it takes too much time or memory".to_owned()
        }
        ExecutionError::FunctionError { function, .. } if function == FEW => {
            "a list has too many entries to walk over".to_owned()
        }
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

/// A type as CEL calls it, in plain words.
pub(super) fn type_in_words(name: &str) -> &str {
    match name {
        "string" => "a text",
        "int" | "uint" | "double" => "a number",
        "bool" => "true or false",
        "list" => "a list",
        "map" => "an object",
        "google.protobuf.Timestamp" => "a point in time",
        "google.protobuf.Duration" => "a duration",
        other => other,
    }
}
