//! What can be known to be wrong with a condition before there is a call.

use cel::{
    ExecutionError, IdedExpr, Value,
    common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators},
};

use super::{
    ConditionError,
    compile::empty_context,
    facts::VARIABLES,
    failure::in_words,
    functions::{Pattern, is_zone},
    signature::{SIGNATURES, Signature},
    source::Source,
    types::{
        Type::{self, Any, Bool, Double, Int, Null, Number, Text, TimeText, Word},
        closest,
    },
};
use crate::{calendar::Zone, call::DOCUMENTED_FIELDS};

/// How deeply an expression may nest. The interpreter recurses once per level.
const MAX_DEPTH: usize = 40;

/// Walks an expression and finds what would fail, or never be true, whatever the call.
pub(super) struct Checker<'a> {
    source: &'a Source<'a>,
    /// What `exists`, `all`, `map` or `filter` calls each entry, and of what type it is.
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

    /// Checks a part and tells its type. A part that is wrong is told once: above it, it may be anything.
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
        } else {
            format!("there are {}", VARIABLES.map(|name| format!("`{name}`")).join(", "))
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

    fn comprehension(&mut self, node: &'a IdedExpr, inner: &'a ComprehensionExpr, depth: usize) -> Type {
        if !self.bound.is_empty() {
            // One over another multiplies the work.
            let message = "`exists`, `all`, `map` and `filter` cannot stand inside one another";
            self.refuse(node, message, None);
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
            // What macros are made of.
            (name, parts) if !name.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                for part in parts {
                    self.part(part, depth);
                }
                Any
            }
            _ => self.function(node, call, depth),
        }
    }

    fn equality(&mut self, node: &IdedExpr, a: (&IdedExpr, Type), b: (&IdedExpr, Type)) {
        if !a.1.agrees(b.1) {
            return self.refuse_comparison(node, a, b);
        }
        for (word, (_, of)) in [(a.0, b), (b.0, a)] {
            self.word(node, word, of);
        }
    }

    /// Checks that a text that is written out is one of the words that it is compared with.
    fn word(&mut self, node: &IdedExpr, written: &IdedExpr, of: Type) {
        let (Word(vocabulary), Some(text)) = (of, text(written)) else { return };
        let words = vocabulary.words();
        if words.contains(&text) {
            return;
        }
        let near = vocabulary.nearest(text);
        let hint = match near {
            Some(near) => format!("write \"{near}\""),
            None => format!("choose from \"{}\"", words.join("\", \"")),
        };
        self.refuse(node, vocabulary.refuse(text), hint);
        if let Some(mistake) = self.mistakes.last_mut() {
            mistake.is_warning = near.is_none() && !vocabulary.is_closed();
        }
    }

    fn membership(&mut self, node: &IdedExpr, a: (&IdedExpr, Type), (b, of_b): (&IdedExpr, Type)) {
        if let Expr::List(list) = &b.expr {
            for element in &list.elements {
                if let Expr::Literal(literal) = &element.expr {
                    self.equality(element, a, (element, type_of(literal)));
                }
            }
            return;
        }
        let written = self.source.of(a.0);
        match of_b.element() {
            _ if of_b == Type::Transcript && a.1.agrees(Text) && a.1 != Any => {
                let hint = "write `said(call, \"user\", \"refund\")`".to_owned();
                self.refuse(node, "a transcript holds turns, not texts", hint);
            }
            Some(element) if !a.1.agrees(element) => {
                self.refuse(
                    node,
                    format!("this list holds no {}", a.1.to_string().trim_start_matches("a ")),
                    None,
                );
            }
            Some(element) => self.equality(node, a, (b, element)),
            None if of_b.agrees(Text) => {
                let hint = format!("write `{}.contains({written})`", self.source.of(b));
                self.refuse(node, "`in` looks into a list, and this is a text", hint);
            }
            None => self.refuse(node, format!("`in` looks into a list, and this is {of_b}"), None),
        }
    }

    fn refuse_comparison(&mut self, node: &IdedExpr, a: (&IdedExpr, Type), b: (&IdedExpr, Type)) {
        let hint = [(a, b), (b, a)].into_iter().find_map(|((x, of_x), (y, of_y))| {
            let (x, y_text) = (self.source.of(x), text(y));
            Some(match (of_x, of_y) {
                (Number | Int | Double, Text) => match y_text.filter(|text| text.parse::<f64>().is_ok()) {
                    Some(number) => format!("write {number} without quotes"),
                    None => format!("compare it with a number, as in `{x} > 60`"),
                },
                (Number, Type::Duration) => format!("write it in seconds, as in `{x} > 120`"),
                (Bool, _) => match y_text {
                    Some(word @ ("true" | "false")) => format!("write {word} without quotes"),
                    _ => format!("write `{x}` or `!{x}`"),
                },
                (TimeText, Type::Time) => format!("write `timestamp({x})`"),
                (Type::Time, Text) => "write a time as in `timestamp(\"2025-12-15T14:30:00Z\")`".to_owned(),
                (Type::Duration, Number | Int | Double) => "write `duration(\"2m\")`".to_owned(),
                (Type::Kinds, _) => format!("write `{} in {x}`", self.source.of(y)),
                (Type::Transcript, _) => "write `said(call, \"user\", \"refund\")`".to_owned(),
                _ => return None,
            })
        });
        let what = |(node, of): (&IdedExpr, Type)| match &node.expr {
            Expr::Literal(_) => of.to_string(),
            _ => format!("`{}` is {of}", self.source.of(node)),
        };
        let (a, b) = if matches!(a.0.expr, Expr::Literal(_)) { (b, a) } else { (a, b) };
        let other = if matches!(b.0.expr, Expr::Literal(_)) { "this" } else { "and" };
        let message = match other {
            "this" => format!("{}, and cannot be compared with {}", what(a), what(b)),
            _ => format!("{} and {}: they cannot be compared", what(a), what(b)),
        };
        self.refuse(node, message, hint);
    }

    fn arithmetic(
        &mut self,
        node: &IdedExpr,
        operator: &str,
        a: (&IdedExpr, Type),
        b: (&IdedExpr, Type),
    ) -> Type {
        use Type::{Duration, List, Time};
        let ((a, of_a), (b, of_b)) = (a, b);
        let is_number = |of: Type| matches!(of, Int | Double | Number);
        let sign = operator.trim_matches('_');
        if of_a == Any || of_b == Any || of_a == Null || of_b == Null {
            return Any;
        }
        if is_number(of_a) && is_number(of_b) {
            if (of_a == Double) != (of_b == Double) {
                let whole = self.source.of(if of_a == Double { b } else { a });
                let message = format!("`{sign}` takes two whole numbers or two decimal ones");
                self.refuse(node, message, format!("write `double({whole})`"));
            }
            return if of_a == of_b { of_a } else { Number };
        }
        match (sign, of_a, of_b) {
            ("+" | "-", Time, Duration) | ("+", Duration, Time) => Time,
            ("-", Time, Time) | ("+" | "-", Duration, Duration) => Duration,
            ("+", a, b) if a.agrees(Text) && b.agrees(Text) => Text,
            ("+", a, b) if a.agrees(List) && b.agrees(List) => List,
            _ => {
                let hint = match (of_a, of_b) {
                    (TimeText, _) => Some(format!("write `timestamp({})`", self.source.of(a))),
                    (_, TimeText) => Some(format!("write `timestamp({})`", self.source.of(b))),
                    _ => None,
                };
                self.refuse(node, format!("`{sign}` does not work on {of_a} and {of_b}"), hint);
                Any
            }
        }
    }

    fn function(&mut self, node: &'a IdedExpr, call: &'a CallExpr, depth: usize) -> Type {
        let name = call.func_name.as_str();
        let parts: Vec<&IdedExpr> = call.target.as_deref().into_iter().chain(&call.args).collect();
        let known: Vec<&Signature> = SIGNATURES.iter().filter(|known| known.name == name).collect();
        if known.is_empty() {
            let names =
                || SIGNATURES.iter().map(|known| known.name).chain(["exists", "all", "filter", "map", "has"]);
            // Other dialects say `toLower` and `lowerAscii`.
            let lower = name.to_lowercase();
            let alike = || names().find(|known| known.len() > 3 && lower.contains(*known));
            let near = closest(name, names()).or_else(alike);
            let hint = near.map(|near| format!("did you mean `{near}`?"));
            self.refuse(node, format!("there is no function `{name}`"), hint);
            return Any;
        }
        let given: Vec<Type> = parts.iter().map(|part| self.part(part, depth)).collect();
        let fits =
            |known: &&&Signature| known.is_called(call.target.is_some()) && known.takes.len() == given.len();
        let candidates: Vec<&&Signature> = known.iter().filter(fits).collect();
        let Some(nearest) = candidates.first() else {
            self.refuse(
                node,
                format!("`{name}` is not called like this"),
                format!("write it as in `{}`", known[0].example()),
            );
            return Any;
        };
        let takes =
            |known: &&&&Signature| known.takes.iter().zip(&given).all(|(takes, given)| takes.agrees(*given));
        let Some(found) = candidates.iter().find(takes) else {
            let wrong = nearest
                .takes
                .iter()
                .zip(&given)
                .position(|(takes, given)| !takes.agrees(*given))
                .unwrap_or(0);
            let (of, wanted) = (given[wrong], nearest.takes[wrong]);
            let written = self.source.of(parts[wrong]);
            let hint = match (of, wanted) {
                (TimeText, Type::Time) => format!("write `timestamp({written})`"),
                (Type::Transcript, Text) => "write `said(call, \"user\", \"refund\")`".to_owned(),
                (Type::List | Type::Kinds, Text) if name == "contains" => {
                    format!("write `{} in {written}`", self.source.of(parts[1]))
                }
                _ => format!("write it as in `{}`", nearest.example()),
            };
            self.refuse(parts[wrong], format!("`{name}` works on {wanted}, and this is {of}"), hint);
            return Any;
        };
        if matches!(name, "said" | "transcript_text") {
            self.refuse_in_loop(node, &format!("`{name}`"));
        }
        let gives = found.gives;
        for (part, takes) in parts.iter().zip(found.takes) {
            self.word(part, part, *takes);
        }
        self.constants(node, call, &parts);
        gives
    }

    /// What is written out can be tried at once: a duration, a time zone, a pattern.
    fn constants(&mut self, node: &IdedExpr, call: &CallExpr, parts: &[&IdedExpr]) {
        let name = call.func_name.as_str();
        let last = parts.last().copied();
        match (name, last, last.and_then(text)) {
            ("matches" | "said", Some(last), None) => {
                let message = format!("the pattern of `{name}` must be written out");
                self.refuse(last, message, "write it as a text, as in \"refund\"".to_owned());
            }
            ("matches", Some(last), Some(pattern)) => match Pattern::of_regex(pattern) {
                Ok(_) => {}
                Err(regex::Error::CompiledTooBig(_)) => {
                    let hint = "repeat less of it".to_owned();
                    self.refuse(last, "`matches` cannot take a pattern as large as this", hint);
                }
                Err(_) => {
                    let hint = "this is not a regular expression".to_owned();
                    self.refuse(last, "`matches` cannot read this text", hint);
                }
            },
            ("said", Some(last), Some(phrase)) if Pattern::of_phrase(phrase).is_err() => {
                self.refuse(last, "`said` needs something to look for", None);
            }
            ("weekday", Some(last), Some(zone)) => self.zone(last, zone),
            (_, Some(last), Some(zone)) if name.starts_with("get") && parts.len() == 2 => {
                self.zone(last, zone)
            }
            _ if parts.iter().all(|part| matches!(part.expr, Expr::Literal(_))) => self.try_out(node, call),
            _ => {}
        }
    }

    fn zone(&mut self, node: &IdedExpr, zone: &str) {
        if is_zone(zone) {
            return;
        }
        // "berlin" is as good a guess as "Europe/Berln".
        let is_city =
            |name: &&str| name.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(zone.trim()));
        let near = Zone::parse(zone).map(Zone::name).or_else(|| Zone::names().find(is_city));
        let hint = match near.or_else(|| closest(zone, Zone::names())) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "time zones are named like \"Europe/Berlin\"".to_owned(),
        };
        self.refuse(node, format!("there is no time zone \"{zone}\""), hint);
    }

    fn try_out(&mut self, node: &IdedExpr, call: &CallExpr) {
        let tried = IdedExpr { id: node.id, expr: Expr::Call(call.clone()) };
        match Value::resolve(&tried, &empty_context()) {
            Ok(_) => {}
            Err(ExecutionError::FunctionError { function, .. }) => {
                let hint = match function.as_str() {
                    "duration" => {
                        Some("write a number and h, m, s or ms, as in duration(\"2h30m\")".to_owned())
                    }
                    "timestamp" => Some("write timestamp(\"2025-12-15T14:30:00Z\")".to_owned()),
                    _ => None,
                };
                self.refuse(node, format!("`{function}` cannot read this text"), hint);
            }
            Err(failure) => self.refuse(node, in_words(&failure), None),
        }
    }

    /// The transcript once for every entry of a list would be more work than a condition may make.
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

/// A text that is written out.
pub(super) fn text(node: &IdedExpr) -> Option<&str> {
    match &node.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}
