//! What is wrong with a template and can be found without running it: names that do not exist, and literal time
//! zones and formats of times that are none.

use std::collections::HashSet;

use minijinja::{
    ErrorKind,
    machinery::{Instruction, Instructions, get_compiled_template},
};

use super::{
    ENVIRONMENT, TemplateError,
    context::{MESSAGE_VARIABLES, VARIABLES},
    environment::{zone_and_format, zone_named},
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

/// What a template is for.
#[derive(Clone, Copy)]
pub(super) enum Use<'a> {
    /// A rule's title or body.
    Text,
    /// The body of a webhook, whose `secrets` have these names.
    Body { secrets: &'a [&'a str] },
}

/// Checks the template, which compiles.
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
            Instruction::PerformTest(name, ..) if !has_test(name) => {
                Some(format!("there is no test `{name}`"))
            }
            Instruction::CallFunction(name, ..) if !is_global(name) => {
                Some(format!("there is no function `{name}`"))
            }
            Instruction::Lookup("secrets") => secret(instructions, index, r#use, &unknown_variables),
            Instruction::Lookup(name) if unknown_variables.contains(name) => variable(name, r#use),
            _ => None,
        };
        if let Some(message) = mistake {
            let span = instructions.get_span(index);
            let span = span.map(|span| span.start_offset as usize..span.end_offset as usize);
            return Err(TemplateError { message, span });
        }
    }
    Ok(())
}

fn variable(name: &str, r#use: Use<'_>) -> Option<String> {
    match (name, r#use) {
        (name, _) if VARIABLES.contains(&name) || is_global(name) => None,
        (name, Use::Body { .. }) if MESSAGE_VARIABLES.contains(&name) => None,
        ("before", _) => {
            Some("`before` is only there in conditions; a template has `changes.FIELD.from`".to_owned())
        }
        (name, Use::Text) if MESSAGE_VARIABLES.contains(&name) => {
            Some(format!("`{name}` is only there in the `body` of a webhook"))
        }
        (name, Use::Text) => Some(unknown("variable", name, &VARIABLES)),
        (name, Use::Body { .. }) => {
            Some(unknown("variable", name, &[&VARIABLES[..], &MESSAGE_VARIABLES[..]].concat()))
        }
    }
}

/// `secrets.NAME`, where it is the destination's and not a variable of the template's own.
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

/// `local_time("ZONE", "FORMAT")`, if its arguments are literal.
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
