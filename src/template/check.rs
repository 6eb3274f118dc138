//! Finds mistakes in a template without running it: names that do not exist, and time zones and formats of times that
//! are written out and wrong.

use std::{collections::HashSet, ops::Range};

use minijinja::{
    ErrorKind,
    machinery::{Instruction, Instructions, Token, get_compiled_template, tokenize},
    syntax::SyntaxConfig,
};

use super::{
    context::{IN_ADDRESS, MESSAGE_VARIABLES, VARIABLES},
    environment::{ENVIRONMENT, zone_and_format, zone_named},
};

/// Our own filters and the most useful ones of minijinja, for "did you mean".
const FILTERS: [&str; 18] = [
    "mask_phone",
    "duration",
    "local_time",
    "truncate",
    "slack_escape",
    "tojson",
    "escape",
    "default",
    "upper",
    "lower",
    "title",
    "trim",
    "join",
    "length",
    "lines",
    "replace",
    "first",
    "last",
];

/// The longest template, in bytes.
const MAX_SOURCE: usize = 64 * 1024;

/// The longest list or text that is written out, or that follows from what is.
const MAX_LIST: usize = MAX_SOURCE;

/// The most operators in one expression. The compiler recurses for each of them.
const MAX_OPERATORS: usize = 250;

pub(super) const WORD_OPERATORS: [&str; 7] = ["not", "and", "or", "if", "else", "is", "in"];

/// Why a text is not a template, or could not be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// In words that quote nothing of the call.
    pub message: String,
    /// A better text, when it can be guessed, or the consequence.
    pub hint: Option<String>,
    /// The byte range of the template that is wrong, when it is known.
    pub span: Option<Range<usize>>,
}

/// The purpose of a template, which decides the names it can use.
#[derive(Clone, Copy)]
pub(super) enum Use<'a> {
    /// A rule's title or body.
    Text,
    /// The body of a webhook with secrets of these names.
    Body { secrets: &'a [&'a str] },
    /// The address of a call's page.
    Address,
}

impl Use<'_> {
    /// The consequence for an event that it fails for, in words.
    pub(super) const fn consequence(self) -> &'static str {
        match self {
            Self::Text => "where it fails, the default text is sent",
            Self::Body { .. } => "a delivery for which it fails is dead",
            Self::Address => "a message for which it fails has no such link",
        }
    }
}

/// Checks a compiled template and returns its first mistake.
pub(super) fn check(template: &minijinja::Template<'_, '_>, r#use: Use<'_>) -> Result<(), TemplateError> {
    let unknown_variables = template.undeclared_variables(false);
    let instructions = &get_compiled_template(template).instructions;
    for index in 0.. {
        let Some(instruction) = instructions.get(index) else { break };
        let mistake = match *instruction {
            Instruction::ApplyFilter(name, ..) if !has_filter(name) => {
                Some(unknown("filter", name, &FILTERS))
            }
            Instruction::ApplyFilter("local_time", Some(arguments), _) => {
                local_time(instructions, index, arguments.into())
            }
            Instruction::ApplyFilter("tojson" | "indent", Some(arguments), _) if arguments > 1 => {
                width(instructions, index, arguments.into())
            }
            Instruction::PerformTest(name, ..) if !has_test(name) => {
                Some(format!("there is no test `{name}`"))
            }
            Instruction::CallFunction(name, ..) if !is_global(name) => {
                Some(format!("there is no function `{name}`"))
            }
            // minijinja adds lists lazily, which costs no fuel: `x + x` thirty times over is a list of 10⁹ entries. If one side
            // certainly is a scalar, adding a list to it fails, so such an addition is allowed.
            Instruction::Add if !has_one_thing(instructions, index) => {
                let span = span_of(instructions, index);
                let message = "`+` adds numbers, and these may be lists".to_owned();
                let hint = "write `x + y|float` to add numbers, `x ~ y` to join texts; lists cannot be added";
                return Err(TemplateError { message, hint: Some(hint.to_owned()), span });
            }
            Instruction::Mul if !multiplies_numbers(instructions, index) => {
                let span = span_of(instructions, index);
                let message = "`*` multiplies numbers, and one of these may be a list".to_owned();
                let hint = "write `x|float * y`; a list cannot be repeated".to_owned();
                return Err(TemplateError { message, hint: Some(hint), span });
            }
            Instruction::Eq
            | Instruction::Ne
            | Instruction::Gt
            | Instruction::Gte
            | Instruction::Lt
            | Instruction::Lte
            | Instruction::CompareAndPreserve(_)
                if !has_one_thing(instructions, index) =>
            {
                let span = span_of(instructions, index);
                let message = "both sides of this comparison may be lists or objects".to_owned();
                let hint =
                    "write `x|string == y` to compare texts, `x|float == y` to compare numbers".to_owned();
                return Err(TemplateError { message, hint: Some(hint), span });
            }
            Instruction::In if !looks_for_one_thing(instructions, index) => {
                let span = span_of(instructions, index);
                let message = "what is looked for may be a list or an object".to_owned();
                let hint = "write `x|string in y` to look for a text".to_owned();
                return Err(TemplateError { message, hint: Some(hint), span });
            }
            Instruction::CallMethod("changed", _)
                if !index.checked_sub(1).is_some_and(|last| makes_one_thing(instructions, last, index)) =>
            {
                let span = span_of(instructions, index);
                let message = "what `loop.changed` compares may be a list or an object".to_owned();
                let hint = "write `loop.changed(x|string)`".to_owned();
                return Err(TemplateError { message, hint: Some(hint), span });
            }
            Instruction::LoadConst(ref value) if value.len().is_some_and(|length| length > MAX_LIST) => {
                Some(format!("this has more than {MAX_LIST} entries or characters"))
            }
            Instruction::Lookup("secrets") => secret(instructions, index, r#use, &unknown_variables),
            Instruction::Lookup(name) if unknown_variables.contains(name) => variable(name, r#use),
            _ => None,
        };
        if let Some(message) = mistake {
            let span = span_of(instructions, index);
            return Err(TemplateError { message, hint: None, span });
        }
    }
    Ok(())
}

fn span_of(instructions: &Instructions<'_>, index: u32) -> Option<Range<usize>> {
    instructions.get_span(index).map(|span| span.start_offset as usize..span.end_offset as usize)
}

/// Whether the multiplication at `index` certainly is not one of a list by a number. A list that is repeated a billion times
/// takes neither memory nor steps, until it is compared or becomes a text.
fn multiplies_numbers(instructions: &Instructions<'_>, index: u32) -> bool {
    let is_text = |at: Option<u32>| {
        let instruction = at.and_then(|at| instructions.get(at));
        matches!(instruction, Some(Instruction::LoadConst(value)) if value.as_str().is_some())
    };
    let [left, right] = sides(instructions, index);
    // A text by a list is an error, and a text by a number has to fit.
    is_text(left) || is_text(right) || one_things(instructions, index) == [true, true]
}

/// Whether one side of the operator at `index` certainly is one number, text or truth value. Then comparing the sides takes one
/// step. Two lists or objects are compared to their depths, which counts no steps.
fn has_one_thing(instructions: &Instructions<'_>, index: u32) -> bool {
    one_things(instructions, index).contains(&true)
}

/// Whether the `in` at `index` certainly looks for a scalar, or looks in a list literal.
fn looks_for_one_thing(instructions: &Instructions<'_>, index: u32) -> bool {
    let [is_one, _] = one_things(instructions, index);
    let last = index.checked_sub(1).and_then(|last| instructions.get(last));
    is_one || matches!(last, Some(Instruction::LoadConst(list)) if list.as_str().is_none())
}

/// For each side of the operator at `index`, whether it certainly is a scalar: one number, text or truth value.
fn one_things(instructions: &Instructions<'_>, index: u32) -> [bool; 2] {
    let [left, right] = sides(instructions, index);
    let right_begins = left.map_or(index, |left| left + 1);
    [
        left.is_some_and(|left| makes_one_thing(instructions, left, right_begins)),
        right.is_some_and(|right| makes_one_thing(instructions, right, index)),
    ]
}

/// The last instructions of the two sides of the operator at `index`. That of the left side is only found when the right side is
/// a literal or a variable, with fields and filters behind it.
fn sides(instructions: &Instructions<'_>, index: u32) -> [Option<u32>; 2] {
    let right = index.checked_sub(1);
    let mut first = right;
    loop {
        let Some(at) = first else { return [None, right] };
        let behind = match instructions.get(at) {
            Some(Instruction::LoadConst(_) | Instruction::Lookup(_)) => return [at.checked_sub(1), right],
            Some(Instruction::GetAttr(_)) => 0,
            Some(Instruction::GetItem) => 1,
            Some(Instruction::ApplyFilter(_, Some(arguments), _)) => u32::from(*arguments).saturating_sub(1),
            _ => return [None, right],
        };
        // Its arguments stand in front of it.
        let are_literals = (1..=behind).all(|place| {
            let argument = at.checked_sub(place).and_then(|at| instructions.get(at));
            matches!(argument, Some(Instruction::LoadConst(_)))
        });
        first = at.checked_sub(behind + 1).filter(|_| are_literals);
    }
}

/// Whether what this filter makes certainly is one number or text.
pub(super) fn is_one_thing_behind(filter: &str) -> bool {
    const FILTERS: [&str; 20] = [
        "abs",
        "capitalize",
        "count",
        "duration",
        "float",
        "int",
        "join",
        "length",
        "local_time",
        "lower",
        "mask_phone",
        "round",
        "slack_escape",
        "string",
        "sum",
        "title",
        "tojson",
        "trim",
        "truncate",
        "upper",
    ];
    FILTERS.contains(&filter)
}

/// Whether what the instruction at `index` leaves, as found at `end`, certainly is one number, text or truth value.
fn makes_one_thing(instructions: &Instructions<'_>, index: u32, end: u32) -> bool {
    let is_one = match instructions.get(index) {
        Some(Instruction::LoadConst(value)) => value.is_number() || value.as_str().is_some(),
        Some(Instruction::ApplyFilter(name, ..)) => is_one_thing_behind(name),
        Some(Instruction::Lookup(name)) => ONE_THINGS.contains(name) && !is_set(instructions, name),
        Some(Instruction::GetAttr(field)) => {
            let of_loop = index.checked_sub(1).and_then(|before| instructions.get(before));
            matches!(of_loop, Some(Instruction::Lookup("loop")))
                && OF_LOOP.contains(field)
                && !is_set(instructions, "loop")
        }
        // One operand of a permitted `+` is a scalar, and adding a list to a scalar fails, so the result is one. `*` likewise.
        Some(Instruction::Add | Instruction::Mul) => true,
        Some(
            Instruction::Eq
            | Instruction::Ne
            | Instruction::Gt
            | Instruction::Gte
            | Instruction::Lt
            | Instruction::Lte
            | Instruction::In
            | Instruction::Not
            | Instruction::PerformTest(..),
        ) => true,
        Some(
            Instruction::Sub
            | Instruction::Div
            | Instruction::IntDiv
            | Instruction::Rem
            | Instruction::Pow
            | Instruction::Neg
            | Instruction::StringConcat,
        ) => true,
        _ => false,
    };
    // If a jump leads to `end`, as in `x if y else 1`, the value may come from another instruction.
    is_one && !(0..).map_while(|at| instructions.get(at)).any(|it| leads_to(it, end))
}

/// The variables that are one number or text, unless the template sets them.
const ONE_THINGS: [&str; 7] = ["count", "language", "message", "rule", "severity", "source", "title"];

/// The fields of `loop` that are one number or truth value.
const OF_LOOP: [&str; 8] = ["depth", "first", "index", "index0", "last", "length", "revindex", "revindex0"];

/// Whether the template sets a variable of this name.
fn is_set(instructions: &Instructions<'_>, name: &str) -> bool {
    (0..)
        .map_while(|at| instructions.get(at))
        .any(|instruction| matches!(instruction, Instruction::StoreLocal(other) if *other == name))
}

fn leads_to(instruction: &Instruction<'_>, index: u32) -> bool {
    match instruction {
        Instruction::Jump(to)
        | Instruction::JumpIfFalse(to)
        | Instruction::JumpIfFalseOrPop(to)
        | Instruction::JumpIfTrueOrPop(to) => *to == index,
        _ => false,
    }
}

/// Finds a template that is too long, or has an expression so long that parsing it would need too much of the stack.
/// Called before anything is parsed.
pub(super) fn check_size(source: &str) -> Result<(), TemplateError> {
    if source.len() > MAX_SOURCE {
        let message = format!("this is {} bytes long; at most {MAX_SOURCE} are allowed", source.len());
        return Err(TemplateError { message, hint: None, span: None });
    }
    let mut operators = 0;
    // The parser reports what is not a token.
    for (token, span) in tokenize(source, false, SyntaxConfig::default()).map_while(Result::ok) {
        match token {
            Token::VariableStart | Token::BlockStart => operators = 0,
            // None of these makes an expression deeper.
            Token::TemplateData(_)
            | Token::VariableEnd
            | Token::BlockEnd
            | Token::Str(_)
            | Token::String(_)
            | Token::Int(_)
            | Token::Int128(_)
            | Token::Float(_)
            | Token::Comma
            | Token::Colon
            | Token::BracketClose
            | Token::ParenClose
            | Token::BraceClose => {}
            Token::Ident(word) if !WORD_OPERATORS.contains(&word) => {}
            _ => operators += 1,
        }
        if operators > MAX_OPERATORS {
            let message = format!("this expression has more than {MAX_OPERATORS} operators");
            return Err(TemplateError {
                hint: None,
                message,
                span: Some(span.start_offset as usize..span.end_offset as usize),
            });
        }
    }
    Ok(())
}

fn variable(name: &str, r#use: Use<'_>) -> Option<String> {
    match (name, r#use) {
        (name, _) if is_global(name) => None,
        (name, Use::Address) if !IN_ADDRESS.contains(&name) => {
            Some(format!("an address can use `call` and `source`, and not `{name}`"))
        }
        (name, _) if VARIABLES.contains(&name) => None,
        (name, Use::Body { .. }) if MESSAGE_VARIABLES.contains(&name) => None,
        ("before", _) => {
            Some("`before` is only there in conditions; a template has `changes.FIELD.from`".to_owned())
        }
        (name, Use::Text) if MESSAGE_VARIABLES.contains(&name) => {
            Some(format!("`{name}` is only there in the `body` of a webhook"))
        }
        (name, Use::Text | Use::Address) => Some(unknown("variable", name, &VARIABLES)),
        (name, Use::Body { .. }) => {
            Some(unknown("variable", name, &[&VARIABLES[..], &MESSAGE_VARIABLES[..]].concat()))
        }
    }
}

/// The mistake in `secrets.NAME`, unless the template has set a variable `secrets` of its own.
fn secret(
    instructions: &Instructions<'_>,
    index: u32,
    r#use: Use<'_>,
    unknown_variables: &HashSet<String>,
) -> Option<String> {
    if !unknown_variables.contains("secrets") {
        return None;
    }
    match (r#use, instructions.get(index + 1)) {
        (Use::Body { secrets }, Some(Instruction::GetAttr(name))) if !secrets.contains(name) => {
            Some(unknown("secret", name, secrets))
        }
        _ => variable("secrets", r#use),
    }
}

/// The mistake in `local_time("ZONE", "FORMAT")`, as far as its arguments are literals.
fn local_time(instructions: &Instructions<'_>, index: u32, arguments: u32) -> Option<String> {
    let literal = |place: u32| match instructions.get(index.checked_sub(place)?)? {
        Instruction::LoadConst(value) => value.as_str(),
        _ => None,
    };
    let checked = match arguments {
        2 => zone_named(literal(1)?).map(drop),
        3 => {
            let format = literal(1)?;
            zone_and_format(literal(2)?, Some(format)).map(drop)
        }
        _ => return None,
    };
    checked.err()
}

/// The mistake of an indentation, given as a literal, that is wider than any text needs.
fn width(instructions: &Instructions<'_>, index: u32, arguments: u32) -> Option<String> {
    const WIDEST: i64 = 80;
    let given = (1..arguments).filter_map(|place| match instructions.get(index.checked_sub(place)?)? {
        Instruction::LoadConst(value) => value.as_i64().or_else(|| value.get_attr("indent").ok()?.as_i64()),
        _ => None,
    });
    let widest = given.max()?;
    (widest > WIDEST).then(|| format!("an indentation of {widest} spaces is too wide"))
}

fn has_filter(name: &str) -> bool {
    let result = ENVIRONMENT.empty_state().apply_filter(name, &[]);
    !result.is_err_and(|error| error.kind() == ErrorKind::UnknownFilter)
}

fn has_test(name: &str) -> bool {
    let result = ENVIRONMENT.empty_state().perform_test(name, &[]);
    !result.is_err_and(|error| error.kind() == ErrorKind::UnknownTest)
}

fn is_global(name: &str) -> bool {
    ENVIRONMENT.globals().any(|(global, _)| global == name)
}

fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let closest = known.iter().max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
    match closest.filter(|closest| strsim::jaro(closest, name) > 0.7) {
        Some(closest) => format!("there is no {what} `{name}`; did you mean `{closest}`?"),
        None => format!("there is no {what} `{name}`"),
    }
}
