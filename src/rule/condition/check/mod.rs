//! Finds mistakes in a condition that can be known before there is a call.

mod compare;
mod function;

use cel::{
    IdedExpr,
    common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators},
};

use super::{
    ConditionError,
    activation::VARIABLES,
    source::Source,
    types::{
        Type::{self, Any, Bool, Double, Int, Null, Number, Text, Word},
        closest,
    },
};
use crate::call::DOCUMENTED_FIELDS;

/// How deeply an expression may nest. The interpreter recurses once per level.
const MAX_DEPTH: usize = 40;

/// Walks an expression and finds what would fail, or never be true, whatever the call.
pub(super) struct Checker<'a> {
    source: &'a Source<'a>,
    /// The names that enclosing `exists`, `all`, `map` and `filter` give to entries, with their types.
    bound: Vec<(&'a str, Type)>,
    pub mistakes: Vec<ConditionError>,
}

impl<'a> Checker<'a> {
    pub fn new(source: &'a Source<'a>) -> Self {
        Self { source, bound: Vec::new(), mistakes: Vec::new() }
    }

    /// Checks a whole condition: its result is true or false.
    pub fn check(&mut self, node: &'a IdedExpr) {
        self.boolean(node, 0);
    }

    /// Checks a part that must be true or false.
    fn boolean(&mut self, node: &'a IdedExpr, depth: usize) -> Type {
        let found = self.part(node, depth);
        if !found.agrees(Bool) || found == Null {
            let text = self.source.of(node);
            let hint = match found {
                Null => "compare something with it, as in `call.summary == null`".to_owned(),
                Number => format!("compare it with something, as in `{text} > 60`"),
                Word(of) => {
                    let word = of.words().first().copied().unwrap_or_default();
                    format!("compare it with something, as in `{text} == \"{word}\"`")
                }
                Text => format!("compare it with something, as in `{text} != \"\"`"),
                _ => "compare it with something, as in `call.duration > 60`".to_owned(),
            };
            self.refuse(node, format!("this is neither true nor false but {found}"), hint);
        }
        Bool
    }

    /// Checks a part and returns its type: `Any` for a part with a mistake, so that one mistake is reported once.
    fn part(&mut self, node: &'a IdedExpr, depth: usize) -> Type {
        if depth > MAX_DEPTH {
            if !self.mistakes.iter().any(|mistake| mistake.message.ends_with("too deeply")) {
                let hint = "split it into several rules, or use `x in [\"a\", \"b\"]`".to_owned();
                let span = 0..self.source.text.len();
                self.mistakes.push(ConditionError::new("the condition nests too deeply", span, Some(hint)));
            }
            return Any;
        }
        match &node.expr {
            Expr::Unspecified => Any,
            Expr::Literal(literal) => type_of(literal),
            Expr::Ident(name) => self.variable(node, name),
            Expr::Select(select) => {
                let of = self.part(&select.operand, depth + 1);
                let field = self.field(node, of, &select.field);
                if select.test { Bool } else { field }
            }
            Expr::Call(call) => self.call(node, call, depth),
            Expr::List(list) => {
                for element in &list.elements {
                    self.part(element, depth + 1);
                }
                Type::List
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.part(&entry.key, depth + 1);
                        self.part(&entry.value, depth + 1);
                    }
                }
                Type::Object
            }
            Expr::Struct(_) => {
                self.refuse(node, "a condition cannot make structures", None);
                Any
            }
            Expr::Comprehension(inner) => self.comprehension(node, inner, depth),
        }
    }

    fn variable(&mut self, node: &IdedExpr, name: &str) -> Type {
        if let Some((_, of)) = self.bound.iter().rev().find(|(bound, _)| *bound == name) {
            return *of;
        }
        match name {
            "call" | "before" => return Type::Call,
            "change" => return Type::Change,
            "now" => return Type::Time,
            "source" => return Text,
            "bool" | "int" | "uint" | "double" | "string" | "bytes" | "list" | "map" | "null_type"
            | "type" => {
                return Any;
            }
            _ => {}
        }
        let hint = if DOCUMENTED_FIELDS.contains(&name) {
            format!("write `call.{name}`")
        } else if ["sentiment", "leadQuality", "appointmentBooked"].contains(&name) {
            format!("write `call.callAnalysis.{name}`")
        } else if let Some(near) = closest(name, VARIABLES) {
            format!("did you mean `{near}`?")
        } else if let Some(word) = ["true", "false", "null"].iter().find(|it| name.eq_ignore_ascii_case(it)) {
            format!("write `{word}`")
        } else {
            format!("a text has quotes: \"{name}\"; a field of the call is `call.{name}`")
        };
        self.refuse(node, format!("there is no `{name}`"), hint);
        Any
    }

    fn field(&mut self, node: &IdedExpr, of: Type, field: &str) -> Type {
        let slip = match of {
            Type::Call if !DOCUMENTED_FIELDS.contains(&field) => closest(field, DOCUMENTED_FIELDS),
            _ => None,
        };
        if let Some(near) = slip {
            self.refuse(node, format!("a call has no field `{field}`"), format!("did you mean `{near}`?"));
            return Any;
        }
        if of == Type::Call && !DOCUMENTED_FIELDS.contains(&field) {
            self.doubt_field(node, field);
        }
        if of == Type::Change && field != "kinds" {
            let hint = "write `\"ended\" in change.kinds`".to_owned();
            self.refuse(node, format!("a change has no `{field}`"), hint);
            return Any;
        }
        if field == "transcript" && of == Type::Call {
            self.refuse_in_loop(node, "the transcript");
        }
        match of.field(field) {
            Some(found) => found,
            None => {
                let hint = match of {
                    Type::Transcript => Some(
                        "write `call.transcript[0].content`, or `said(call, \"user\", \"refund\")`"
                            .to_owned(),
                    ),
                    _ => None,
                };
                self.refuse(node, format!("{of} has no fields, so no `{field}`"), hint);
                Any
            }
        }
    }

    /// Warns of a field that the API does not document. A project may have more fields, but a condition on one that
    /// never comes is never true, and nobody would notice. Each such field is reported once.
    fn doubt_field(&mut self, node: &IdedExpr, field: &str) {
        let of = match &node.expr {
            Expr::Select(select) => Some(&*select.operand),
            Expr::Call(call) => call.args.first(),
            _ => None,
        };
        let of = match of.map(|of| &of.expr) {
            Some(Expr::Ident(name)) => name.as_str(),
            _ => "call",
        };
        let message = format!("the API documents no field `{field}` of a call");
        if self.mistakes.iter().any(|mistake| mistake.message == message) {
            return;
        }
        let hint = format!("did you mean `{of}.callAnalysis.{field}`?");
        let doubt = ConditionError::new(message, self.source.span(node), Some(hint));
        self.mistakes.push(ConditionError { is_warning: true, ..doubt });
    }

    fn comprehension(&mut self, node: &'a IdedExpr, inner: &'a ComprehensionExpr, depth: usize) -> Type {
        if !self.bound.is_empty() {
            // Nested macros multiply the work.
            let message = "`exists`, `all`, `map` and `filter` cannot stand inside one another";
            self.refuse(node, message, None);
            return Any;
        }
        if walks(&inner.iter_range) {
            // Each could double what the one before has made.
            let message =
                "`exists`, `all`, `map` and `filter` cannot walk over what another of them has made";
            self.refuse(node, message, "say both in one, as in `xs.exists(x, a && b)`".to_owned());
            return Any;
        }
        let range = self.part(&inner.iter_range, depth + 1);
        let element = range.element().unwrap_or_else(|| {
            let message = format!("{range} cannot be walked over, only a list can");
            self.refuse(&inner.iter_range, message, None);
            Any
        });
        self.bound.extend([(inner.iter_var.as_str(), element), (inner.accu_var.as_str(), Any)]);
        self.bound.extend(inner.iter_var2.as_deref().map(|name| (name, Any)));
        for part in [&inner.loop_cond, &inner.loop_step, &inner.result] {
            self.part(part, depth + 1);
        }
        self.bound.clear();
        if matches!(inner.accu_init.expr, Expr::List(_)) { Type::List } else { Bool }
    }

    fn call(&mut self, node: &'a IdedExpr, call: &'a CallExpr, depth: usize) -> Type {
        let depth = depth + 1;
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT, parts) => {
                for part in parts {
                    self.boolean(part, depth);
                }
                Bool
            }
            (operators::CONDITIONAL, [condition, yes, no]) => {
                self.boolean(condition, depth);
                let (yes, no) = (self.part(yes, depth), self.part(no, depth));
                if yes == no { yes } else { Any }
            }
            (operators::EQUALS | operators::NOT_EQUALS, [a, b]) => {
                let (of_a, of_b) = (self.part(a, depth), self.part(b, depth));
                self.equality(node, (a, of_a), (b, of_b));
                Bool
            }
            (operators::IN, [a, b]) => {
                let (of_a, of_b) = (self.part(a, depth), self.part(b, depth));
                self.membership(node, (a, of_a), (b, of_b));
                Bool
            }
            (
                operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
                [a, b],
            ) => {
                let (of_a, of_b) = (self.part(a, depth), self.part(b, depth));
                if !of_a.agrees(of_b) {
                    self.refuse_comparison(node, (a, of_a), (b, of_b));
                } else if let Some(of) =
                    [of_a, of_b].into_iter().find(|of| of.element().is_some() && !of.agrees(Bool))
                {
                    self.refuse(node, format!("{of} is neither less nor more than something"), None);
                }
                Bool
            }
            (operators::INDEX, [of, at]) => {
                let of = self.part(of, depth);
                self.part(at, depth);
                match &at.expr {
                    Expr::Literal(LiteralValue::String(field)) => self.field(node, of, field.inner()),
                    _ => of.element().filter(|_| !of.agrees(Type::Object)).unwrap_or(Any),
                }
            }
            (operators::OPT_SELECT | operators::OPT_INDEX, [of, at]) => {
                let of = self.part(of, depth);
                match &at.expr {
                    Expr::Literal(LiteralValue::String(field)) => {
                        self.field(node, of, field.inner());
                    }
                    _ => {
                        self.part(at, depth);
                    }
                }
                Any
            }
            (operators::NEGATE, [of]) => self.part(of, depth),
            (
                operators::ADD
                | operators::SUBSTRACT
                | operators::MULTIPLY
                | operators::DIVIDE
                | operators::MODULO,
                [a, b],
            ) => {
                let (of_a, of_b) = (self.part(a, depth), self.part(b, depth));
                self.arithmetic(node, &call.func_name, (a, of_a), (b, of_b))
            }
            // Only expanded macros have these.
            (name, parts) if !name.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                for part in parts {
                    self.part(part, depth);
                }
                Any
            }
            _ => self.function(node, call, depth),
        }
    }

    /// Refuses functions that read the transcript inside a macro: reading it once per entry of a list would be more work
    /// than a condition may take.
    fn refuse_in_loop(&mut self, node: &IdedExpr, what: &str) {
        if !self.bound.is_empty() {
            let message = format!("{what} cannot stand inside `exists`, `all`, `map` or `filter`");
            self.refuse(node, message, None);
        }
    }

    fn refuse(&mut self, node: &IdedExpr, message: impl Into<String>, hint: impl Into<Option<String>>) {
        self.mistakes.push(ConditionError::new(message, self.source.span(node), hint.into()));
    }
}

/// Whether a part of the expression is a macro that walks over a list. Called before its depth is checked, so it does
/// not recurse.
fn walks(node: &IdedExpr) -> bool {
    let mut left = vec![node];
    while let Some(node) = left.pop() {
        match &node.expr {
            Expr::Comprehension(_) => return true,
            Expr::Select(select) => left.push(&select.operand),
            Expr::Call(call) => left.extend(call.target.as_deref().into_iter().chain(&call.args)),
            Expr::List(list) => left.extend(&list.elements),
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        left.extend([&entry.key, &entry.value]);
                    }
                }
            }
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => {}
        }
    }
    false
}

fn type_of(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Bool,
        LiteralValue::Int(_) => Int,
        LiteralValue::Double(_) => Double,
        LiteralValue::String(_) => Text,
        LiteralValue::Null => Null,
        LiteralValue::Bytes(_) | LiteralValue::UInt(_) => Any,
    }
}
