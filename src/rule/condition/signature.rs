//! The functions that conditions can use, with their parameters and results.

use super::types::{
    Type::{self, Any, Bool, Duration, Int, List, Object, Text, Time, Word},
    Vocabulary::{Role, Weekday},
};

/// One way to call a function.
pub(super) struct Signature {
    pub name: &'static str,
    /// The types of its arguments; for a method, the receiver comes first.
    pub takes: &'static [Type],
    pub gives: Type,
    form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Function,
    Method,
    Either,
}

impl Signature {
    /// Whether it can be called like this: as a method, or as a function.
    pub fn is_called(&self, as_method: bool) -> bool {
        match self.form {
            Form::Function => !as_method,
            Form::Method => as_method,
            Form::Either => true,
        }
    }

    /// An example that can be copied.
    pub fn example(&self) -> String {
        let argument = |of: &Type| match of {
            Word(Role) => "\"user\"",
            Text => "\"text\"",
            Time => "now",
            Object | Type::Call => "call",
            _ => "x",
        };
        let (first, rest) = self.takes.split_first().map_or(("", &[][..]), |(of, rest)| {
            let of_call = if *of == Text { "call.summary" } else { argument(of) };
            (of_call, rest)
        });
        let zoned = |at: usize| self.takes[0] == Time && at == 0;
        let rest = rest.iter().enumerate();
        let rest: Vec<&str> =
            rest.map(|(at, of)| if zoned(at) { "\"Europe/Berlin\"" } else { argument(of) }).collect();
        match self.form {
            Form::Method => format!("{first}.{}({})", self.name, rest.join(", ")),
            _ => {
                let arguments: Vec<&str> = [first].into_iter().chain(rest).collect();
                format!("{}({})", self.name, arguments.join(", "))
            }
        }
    }

    /// Whether null in place of an argument makes its result unknown.
    pub fn is_strict(&self) -> bool {
        self.takes.first().is_some_and(|first| *first != Any)
    }
}

const fn function(name: &'static str, takes: &'static [Type], gives: Type) -> Signature {
    Signature { name, takes, gives, form: Form::Function }
}

const fn method(name: &'static str, takes: &'static [Type], gives: Type) -> Signature {
    Signature { name, takes, gives, form: Form::Method }
}

const fn either(name: &'static str, takes: &'static [Type], gives: Type) -> Signature {
    Signature { name, takes, gives, form: Form::Either }
}

/// Every way to call every function, besides operators and macros.
pub(super) const SIGNATURES: &[Signature] = &[
    method("contains", &[Text, Text], Bool),
    method("startsWith", &[Text, Text], Bool),
    method("endsWith", &[Text, Text], Bool),
    either("matches", &[Text, Text], Bool),
    either("lower", &[Text], Text),
    either("upper", &[Text], Text),
    function("transcript_text", &[Type::Call], Text),
    function("said", &[Type::Call, Word(Role), Text], Bool),
    either("weekday", &[Time, Text], Word(Weekday)),
    either("size", &[Text], Int),
    either("size", &[List], Int),
    either("size", &[Object], Int),
    function("duration", &[Text], Duration),
    function("duration", &[Duration], Duration),
    function("timestamp", &[Text], Time),
    function("timestamp", &[Int], Time),
    function("timestamp", &[Time], Time),
    method("getFullYear", &[Time], Int),
    method("getFullYear", &[Time, Text], Int),
    method("getMonth", &[Time], Int),
    method("getMonth", &[Time, Text], Int),
    method("getDate", &[Time], Int),
    method("getDate", &[Time, Text], Int),
    method("getDayOfMonth", &[Time], Int),
    method("getDayOfMonth", &[Time, Text], Int),
    method("getDayOfWeek", &[Time], Int),
    method("getDayOfWeek", &[Time, Text], Int),
    method("getDayOfYear", &[Time], Int),
    method("getDayOfYear", &[Time, Text], Int),
    method("getHours", &[Time], Int),
    method("getHours", &[Time, Text], Int),
    method("getHours", &[Duration], Int),
    method("getMinutes", &[Time], Int),
    method("getMinutes", &[Time, Text], Int),
    method("getMinutes", &[Duration], Int),
    method("getSeconds", &[Time], Int),
    method("getSeconds", &[Time, Text], Int),
    method("getSeconds", &[Duration], Int),
    method("getMilliseconds", &[Time], Int),
    method("getMilliseconds", &[Time, Text], Int),
    method("getMilliseconds", &[Duration], Int),
    function("bool", &[Any], Bool),
    function("bytes", &[Any], Any),
    function("double", &[Any], Type::Double),
    function("int", &[Any], Int),
    function("string", &[Any], Text),
    function("uint", &[Any], Any),
    function("dyn", &[Any], Any),
    function("type", &[Any], Any),
    method("hasValue", &[Any], Bool),
    method("or", &[Any, Any], Any),
    method("orValue", &[Any, Any], Any),
    method("value", &[Any], Any),
];
