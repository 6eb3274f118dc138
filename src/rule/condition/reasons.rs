//! The fields that made a condition true for one change. Pure.

use cel::{
    IdedExpr,
    common::ast::{ComprehensionExpr, Expr, operators},
};

use super::{
    ConditionFailure, Truth,
    activation::Activation,
    compile::{guard, parse},
    source::text,
};
use crate::snapshot::TRANSCRIPT;

/// The fields of the call, in the order of the condition and each once, by the names that lead to them: `callAnalysis`,
/// `sentiment`. None when it is not true.
pub(super) fn reasons(condition: &str, activation: &Activation) -> Vec<Vec<String>> {
    // A text that cannot be parsed was refused before.
    let Ok(program) = parse(condition) else { return vec![] };
    let mut fields = vec![];
    if truth(program.expression(), activation) == Ok(Truth::True) {
        decide(program.expression(), activation, &mut fields);
    }
    fields
}

fn truth(node: &IdedExpr, activation: &Activation) -> Result<Truth, ConditionFailure> {
    guard(node.clone()).truth(activation)
}

/// Adds the fields by which `node` has the value that it has.
fn decide(node: &IdedExpr, activation: &Activation, fields: &mut Vec<Vec<String>>) {
    if let Some(path) = path(node) {
        return add(path, fields);
    }
    match &node.expr {
        Expr::Call(call) => match (call.func_name.as_str(), &call.args[..]) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, parts) => {
                // What is true makes `a || b` true, and what is false makes `a && b` false.
                let whole = truth(node, activation);
                for part in parts.iter().filter(|part| truth(part, activation) == whole) {
                    decide(part, activation, fields);
                }
            }
            (operators::CONDITIONAL, [question, yes, no]) => {
                decide(question, activation, fields);
                let chosen = if truth(question, activation) == Ok(Truth::True) { yes } else { no };
                decide(chosen, activation, fields);
            }
            ("said" | "transcript_text", _) => add(vec![TRANSCRIPT.to_owned()], fields),
            (_, args) => {
                call.target
                    .as_deref()
                    .into_iter()
                    .chain(args)
                    .for_each(|part| decide(part, activation, fields));
            }
        },
        Expr::Select(select) => decide(&select.operand, activation, fields),
        Expr::List(list) => list.elements.iter().for_each(|part| decide(part, activation, fields)),
        Expr::Comprehension(_) => read(node, fields),
        _ => {}
    }
}

/// Adds every field that an expression names. Parts of a macro have no value by themselves, since its name stands for another entry
/// each time.
fn read(node: &IdedExpr, fields: &mut Vec<Vec<String>>) {
    if let Some(path) = path(node) {
        return add(path, fields);
    }
    match &node.expr {
        Expr::Call(call) => {
            call.target.as_deref().into_iter().chain(&call.args).for_each(|part| read(part, fields));
        }
        Expr::Select(select) => read(&select.operand, fields),
        Expr::List(list) => list.elements.iter().for_each(|part| read(part, fields)),
        Expr::Comprehension(inner) => {
            let ComprehensionExpr { iter_range, loop_cond, loop_step, result, .. } = &**inner;
            [iter_range, loop_cond, loop_step, result].into_iter().for_each(|part| read(part, fields));
        }
        _ => {}
    }
}

fn add(path: Vec<String>, fields: &mut Vec<Vec<String>>) {
    if !path.is_empty() && !fields.contains(&path) {
        fields.push(path);
    }
}

/// The names that lead to a field of the call: none for the call itself; `None` for anything else.
fn path(node: &IdedExpr) -> Option<Vec<String>> {
    let (way, name) = match &node.expr {
        Expr::Ident(name) => return (name == "call").then(Vec::new),
        Expr::Select(select) => (path(&select.operand)?, select.field.as_str()),
        Expr::Call(call) => match (call.func_name.as_str(), &call.args[..]) {
            (operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT, [record, name]) => {
                (path(record)?, text(name)?)
            }
            _ => return None,
        },
        _ => return None,
    };
    Some(way.into_iter().chain([name.to_owned()]).collect())
}
