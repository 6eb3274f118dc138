//! Conditions in CEL (Common Expression Language, <https://cel.dev>), behind one door: nothing else knows CEL.
//!
//! A condition is true, false or unknown. It is unknown when a field it needs is missing, or null anywhere on the
//! way. CEL itself would call `null != "success"` true; a rule must not fire because something is *not there*, so
//! the operands of `==`, `!=` and `in` are wrapped (see [`compile`]) unless the condition compares with `null`
//! literally.
//!
//! [`compile`](Condition::compile) finds mistakes that do not depend on the call, [`check`](Condition::check) finds
//! conditions that can never hold for the changes a rule looks at, [`evaluate`](Condition::evaluate) evaluates one for
//! a change, and [`explain`](Condition::explain) says why the result is what it is.

mod activation;
mod check;
mod compile;
mod explain;
mod failure;
mod functions;
mod phrase;
mod reach;
mod reasons;
mod signature;
mod source;
mod types;
mod work;

use std::{fmt, ops::Range, sync::Arc};

use cel::{Value, common::types::CelBool};
use xxhash_rust::xxh3::xxh3_64;

pub use self::{
    activation::Activation,
    explain::{Explanation, Seen},
};
use self::{
    activation::Scope,
    compile::Compiled,
    explain::Asked,
    failure::{in_words, is_unknown, type_in_words},
    functions::{empty_context, is_null},
};
use crate::kind::Kinds;

/// The longest condition, in bytes. CEL's parser and interpreter recurse, and have no other bound.
pub const MAX_LEN: usize = 2048;

/// Quotes that word processors and chat programs put in place of `"` and `'`.
pub(crate) const TYPOGRAPHIC: [char; 10] = ['“', '”', '„', '‟', '«', '»', '‘', '’', '‚', '‛'];

/// A compiled condition.
#[derive(Clone)]
pub struct Condition {
    source: Arc<str>,
    compiled: Arc<Compiled>,
    doubts: Arc<[ConditionError]>,
    paths: Arc<[Asked]>,
}

/// The value of a condition for one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// A field it needs is missing, or null on the way.
    Unknown,
}

/// A mistake in a condition, or a doubt about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConditionError {
    /// The mistake, in words a person can act on.
    pub message: String,
    /// The part of the condition it is about, in bytes.
    pub span: Range<usize>,
    /// The text to write instead, when it can be guessed.
    pub hint: Option<String>,
    /// Whether the condition may be right after all: it contradicts the API's documentation, but the API may do more than
    /// it documents.
    pub is_warning: bool,
}

impl ConditionError {
    fn new(message: impl Into<String>, span: Range<usize>, hint: Option<String>) -> Self {
        Self { message: message.into(), span, hint, is_warning: false }
    }
}

/// Why a condition could not be evaluated. Holds nothing of the call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConditionFailure(String);

impl Condition {
    /// Compiles `source`.
    ///
    /// # Errors
    /// Every mistake in it, in the order of the text. At least one is not a warning.
    pub fn compile(source: &str) -> Result<Self, Vec<ConditionError>> {
        let (compiled, doubts) = compile::compile(source)?;
        let paths = explain::paths(source).into();
        Ok(Self { source: source.into(), compiled: Arc::new(compiled), doubts: doubts.into(), paths })
    }

    /// Finds what is doubtful about it as the condition of a rule that looks at changes of the kinds in `on`: that it
    /// contradicts the API's documentation, or that it can never hold for such changes.
    pub fn check(&self, on: Kinds) -> Vec<ConditionError> {
        let mut doubts = self.doubts.to_vec();
        if let Some(doubt) = reach::never(&self.source, on)
            && (!doubt.is_warning || doubts.is_empty())
        {
            doubts.push(doubt);
        }
        doubts
    }

    /// The condition's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// A hash of the text, to tell an edited condition from the one before.
    pub fn fingerprint(&self) -> u64 {
        xxh3_64(self.source.as_bytes())
    }

    /// Evaluates it for one change.
    ///
    /// ```
    /// use callwatch::{
    ///     kind::Kind,
    ///     rule::condition::{Activation, Condition, Truth},
    ///     time::Timestamp,
    /// };
    ///
    /// let truth = |call: serde_json::Value| {
    ///     let condition = Condition::compile(r#"call.callAnalysis.sentiment == "negative""#).unwrap();
    ///     let (call, now) = (call.as_object().unwrap(), Timestamp::from_millis(0));
    ///     condition.evaluate(&Activation::new(call, None, Kind::Ended.into(), &"clinic".into(), now))
    /// };
    /// assert_eq!(truth(serde_json::json!({ "callAnalysis": { "sentiment": "negative" } })), Ok(Truth::True));
    /// // What is not there makes it neither true nor false, and such a condition fires nothing.
    /// assert_eq!(truth(serde_json::json!({ "callAnalysis": null })), Ok(Truth::Unknown));
    /// ```
    ///
    /// # Errors
    /// [`ConditionFailure`] when it makes no sense for these values: a text compared with a number by `<`,
    /// a division by zero, a result that is neither true nor false.
    pub fn evaluate(&self, activation: &Activation) -> Result<Truth, ConditionFailure> {
        self.compiled.truth(activation)
    }

    /// The first path that it reads and that is missing or null, beginnings of paths included: for
    /// `call.callAnalysis.sentiment` in a call that has not been analyzed, that is `call.callAnalysis`.
    pub fn missing(&self, activation: &Activation) -> Option<&str> {
        self.paths.iter().find(|path| path.is_absent(activation)).map(|path| &*path.text)
    }

    /// The fields that it reads and that are missing in every one of these calls, unless it looks by itself whether they are
    /// there: with `has()`, or by comparing them with `null`. None when there are no calls.
    pub fn missing_in_all(&self, calls: &[Activation]) -> Vec<&str> {
        let text: String = self.source.split_whitespace().collect();
        let is_guarded = |field: &str| {
            let guards = [format!("has({field})"), format!("{field}==null"), format!("{field}!=null")];
            guards.iter().any(|guard| text.contains(guard))
        };
        let missing = |path: &&Asked| {
            !calls.is_empty() && calls.iter().all(|call| path.is_missing(call)) && !is_guarded(&path.text)
        };
        self.paths.iter().filter(missing).map(|path| &*path.text).collect()
    }

    /// The fields of the call that make it true for one change, in its order, each as the names that lead to it: `callAnalysis`,
    /// `sentiment`. None when it is not true, and when it looks at `before`, which an activation may lack.
    pub fn reasons(&self, activation: &Activation) -> Vec<Vec<String>> {
        if self.paths.iter().any(|path| path.text == "before") {
            return vec![];
        }
        reasons::reasons(&self.source, activation)
    }

    /// Evaluates it and each of its parts for one change.
    pub fn explain(&self, activation: &Activation) -> Explanation {
        explain::explain(&self.source, activation)
    }
}

impl Compiled {
    fn truth(&self, activation: &Activation) -> Result<Truth, ConditionFailure> {
        let scope = Scope { activation, patterns: &self.patterns };
        let mut context = empty_context();
        context.set_variable_resolver(&scope);
        work::begin();
        match Value::resolve_val(&self.expression, &context) {
            Ok(value) => match value.downcast_ref::<CelBool>() {
                Some(truth) => Ok(if *truth.inner() { Truth::True } else { Truth::False }),
                None if is_null(&*value) => Ok(Truth::Unknown),
                None => Err(ConditionFailure(format!(
                    "its result is not true or false but {}",
                    type_in_words(value.get_type().name())
                ))),
            },
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

#[cfg(test)]
mod tests;
