//! The grounds on which a condition is true for one change: the fields and words that decided it. Pure.

use cel::{
    IdedExpr,
    common::ast::{Expr, operators},
};

use super::{
    ConditionFailure, Truth,
    activation::Activation,
    compile::{guard, parse},
    source::text,
};
use crate::snapshot::TRANSCRIPT;

/// A ground on which a condition is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A field of the call, by the names that lead to it: `callAnalysis`, `sentiment`.
    Field(Vec<String>),
    /// Words that somebody said.
    Said {
        /// `user` or `assistant`.
        role: String,
        /// The words, as the condition has them.
        phrase: String,
    },
}

/// The grounds, in the order of the condition and each once; none when it is not true.
pub(super) fn reasons(condition: &str, activation: &Activation) -> Vec<Reason> {
    // A text that cannot be parsed was refused before.
    let Ok(program) = parse(condition) else { return vec![] };
    let mut reasons = vec![];
    if truth(program.expression(), activation) == Ok(Truth::True) {
        decide(program.expression(), activation, &mut reasons);
    }
    reasons
}

fn truth(node: &IdedExpr, activation: &Activation) -> Result<Truth, ConditionFailure> {
    guard(node.clone()).truth(activation)
}

/// Adds the grounds on which `node` has the value that it has.
fn decide(node: &IdedExpr, activation: &Activation, reasons: &mut Vec<Reason>) {
    let Expr::Call(call) = &node.expr else { return read(node, reasons) };
    match (call.func_name.as_str(), &call.args[..]) {
        (operators::LOGICAL_NOT, [part]) => decide(part, activation, reasons),
        (operators::LOGICAL_AND | operators::LOGICAL_OR, parts) => {
            // What is true makes `a || b` true, and what is false makes `a && b` false.
            let whole = truth(node, activation);
            for part in parts.iter().filter(|part| truth(part, activation) == whole) {
                decide(part, activation, reasons);
            }
        }
        (operators::CONDITIONAL, [question, yes, no]) => {
            decide(question, activation, reasons);
            let chosen = if truth(question, activation) == Ok(Truth::True) { yes } else { no };
            decide(chosen, activation, reasons);
        }
        _ => read(node, reasons),
    }
}

/// Adds the fields that an expression reads, and the words that it looks for.
fn read(node: &IdedExpr, reasons: &mut Vec<Reason>) {
    let mut add = |reason| {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    };
    if let Some(path) = path(node) {
        if !path.is_empty() {
            add(Reason::Field(path));
        }
        return;
    }
    match &node.expr {
        Expr::Call(call) => {
            match (call.func_name.as_str(), &call.args[..]) {
                ("said", [_, role, phrase]) => {
                    if let (Some(role), Some(phrase)) = (text(role), text(phrase)) {
                        add(Reason::Said { role: role.to_owned(), phrase: phrase.to_owned() });
                    }
                }
                ("transcript_text", _) => add(Reason::Field(vec![TRANSCRIPT.to_owned()])),
                _ => {}
            }
            call.target.as_deref().into_iter().chain(&call.args).for_each(|part| read(part, reasons));
        }
        Expr::Select(select) => read(&select.operand, reasons),
        Expr::List(list) => list.elements.iter().for_each(|part| read(part, reasons)),
        // Inside a macro, the name stands for another entry each time.
        Expr::Comprehension(inner) => read(&inner.iter_range, reasons),
        _ => {}
    }
}

/// The names that lead to a field of the call: none for the call itself; `None` for anything else.
fn path(node: &IdedExpr) -> Option<Vec<String>> {
    let (way, name) = match &node.expr {
        Expr::Ident(name) => return (name == "call").then(Vec::new),
        Expr::Select(select) => (path(&select.operand)?, select.field.as_str()),
        Expr::Call(call) => match (call.func_name.as_str(), &call.args[..]) {
            (operators::INDEX, [record, name]) => (path(record)?, text(name)?),
            _ => return None,
        },
        _ => return None,
    };
    Some(way.into_iter().chain([name.to_owned()]).collect())
}
