//! From a text to an expression that is safe to evaluate, or to a message a person can act on.

use cel::{
    IdedExpr, ParseError, Value,
    common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, SourceInfo, operators},
};

use super::{ConditionError, ENV, KNOWN, MAX_LEN, empty_context, facts::VARIABLES, in_words};
use crate::call::DOCUMENTED_FIELDS;

/// How deeply an expression may nest. The interpreter recurses once per level.
const MAX_DEPTH: usize = 40;

/// How deeply `exists`, `all`, `map` and `filter` may nest: one over another multiplies the work.
const MAX_COMPREHENSIONS: usize = 1;

/// The functions a condition can call, besides operators and macros.
const FUNCTIONS: &[&str] = &[
    "bool",
    "bytes",
    "contains",
    "double",
    "duration",
    "dyn",
    "endsWith",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "int",
    "matches",
    "max",
    "min",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "type",
    "uint",
    "hasValue",
    "orValue",
    "or",
    "optMap",
    "optFlatMap",
    "value",
    "optional.of",
    "optional.none",
    "optional.ofNonZeroValue",
];

/// Operators and functions whose result is never true or false.
const NOT_BOOLEAN: &[&str] = &[
    operators::ADD,
    operators::SUBSTRACT,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::NEGATE,
    "size",
    "int",
    "uint",
    "double",
    "string",
    "duration",
    "timestamp",
];

pub(super) fn compile(source: &str) -> Result<IdedExpr, ConditionError> {
    if source.trim().is_empty() {
        return Err(error("the condition is empty", 0..source.len(), None));
    }
    if source.len() > MAX_LEN {
        let message = format!("the condition is {} bytes long; at most {MAX_LEN} are allowed", source.len());
        return Err(error(&message, 0..source.len(), Some("split it into several rules".to_owned())));
    }
    let program = ENV.compile(source).map_err(|errors| syntax_error(source, errors.errors.first()))?;
    let mut checker = Checker { source, info: program.source_info(), bound: vec![], comprehensions: 0 };
    checker.check(program.expression(), 0)?;
    checker.check_result(program.expression())?;
    let mut expression = program.expression().clone();
    guard(&mut expression);
    Ok(expression)
}

fn error(message: &str, span: std::ops::Range<usize>, hint: Option<String>) -> ConditionError {
    ConditionError { message: message.to_owned(), span, hint }
}

/// Says in plain words what CEL's parser stumbled over.
fn syntax_error(source: &str, parse: Option<&ParseError>) -> ConditionError {
    if let Some((at, wrong, right)) = common_slip(source) {
        let message = format!("`{wrong}` is not an operator");
        return error(&message, at..at + wrong.len(), Some(format!("write `{right}`")));
    }
    let at = parse.map_or(0, |parse| byte_offset(source, parse.pos)).min(source.len());
    let rest = source[at..].chars().next();
    let (message, end) = match rest {
        None => ("something is missing at the end of the condition".to_owned(), at),
        Some(c) => (format!("the condition cannot be read from `{c}` on"), at + c.len_utf8()),
    };
    error(&message, at..end, None)
}

/// The byte at a line and column (both from 1; a column counts characters) of CEL's parser.
fn byte_offset(source: &str, (line, column): (isize, isize)) -> usize {
    let line = usize::try_from(line).unwrap_or(1).max(1) - 1;
    let column = usize::try_from(column).unwrap_or(1).max(1) - 1;
    let start: usize = source.split_inclusive('\n').take(line).map(str::len).sum();
    let text = source.get(start..).unwrap_or_default();
    start + text.char_indices().nth(column).map_or(text.len(), |(at, _)| at)
}

/// What people write who know another language: `=`, `and`, `or`, `not`, `<>`. Outside of quoted texts.
fn common_slip(source: &str) -> Option<(usize, &'static str, &'static str)> {
    let bytes = source.as_bytes();
    let mut quote = None;
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if let Some(open) = quote {
            match byte {
                b'\\' => at += 1,
                _ if byte == open => quote = None,
                _ => {}
            }
        } else if matches!(byte, b'"' | b'\'') {
            quote = Some(byte);
        } else {
            let word_before = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
            for (wrong, right) in
                [("and", "&&"), ("or", "||"), ("not", "!"), ("AND", "&&"), ("OR", "||"), ("NOT", "!")]
            {
                let word_after = bytes
                    .get(at + wrong.len())
                    .is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'('));
                let called = bytes.get(at.wrapping_sub(1)) == Some(&b'.');
                if bytes[at..].starts_with(wrong.as_bytes()) && !word_before && !word_after && !called {
                    return Some((at, wrong, right));
                }
            }
            if bytes[at..].starts_with(b"<>") {
                return Some((at, "<>", "!="));
            }
            let doubled = bytes.get(at + 1) == Some(&b'=');
            if byte == b'=' && doubled {
                at += 1;
            } else if byte == b'=' && !(at > 0 && matches!(bytes[at - 1], b'!' | b'<' | b'>')) {
                return Some((at, "=", "=="));
            }
        }
        at += 1;
    }
    None
}

/// Walks an expression and finds what would fail, or never be true, whatever the call.
struct Checker<'a> {
    source: &'a str,
    info: &'a SourceInfo,
    /// Variables that an enclosing comprehension binds.
    bound: Vec<&'a str>,
    comprehensions: usize,
}

impl<'a> Checker<'a> {
    fn check(&mut self, node: &'a IdedExpr, depth: usize) -> Result<(), ConditionError> {
        if depth > MAX_DEPTH {
            let hint = Some("split it into several rules, or use `x in [\"a\", \"b\"]`".to_owned());
            return Err(self.error(node, "the condition nests too deeply", hint));
        }
        match &node.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.check_variable(node, name),
            Expr::Select(select) => {
                match &select.operand.expr {
                    Expr::Ident(name) if name == "call" || name == "before" => {
                        self.check_field(node, &select.field)?;
                    }
                    Expr::Ident(name) if name == "change" && select.field != "kinds" => {
                        let message = format!("a change has no `{}`", select.field);
                        let hint = "write `\"ended\" in change.kinds`".to_owned();
                        return Err(self.error(node, &message, Some(hint)));
                    }
                    _ => {}
                }
                self.check(&select.operand, depth + 1)
            }
            Expr::Call(call) => self.check_call(node, call, depth),
            Expr::List(list) => self.check_all(list.elements.iter(), depth),
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.check(&entry.key, depth + 1)?;
                        self.check(&entry.value, depth + 1)?;
                    }
                }
                Ok(())
            }
            Expr::Struct(_) => Err(self.error(node, "a condition cannot make structures", None)),
            Expr::Comprehension(inner) => {
                if self.comprehensions >= MAX_COMPREHENSIONS {
                    let message = "`exists`, `all`, `map` and `filter` cannot stand inside one another";
                    return Err(self.error(node, message, None));
                }
                self.check(&inner.iter_range, depth + 1)?;
                self.comprehensions += 1;
                let outer = self.bound.len();
                self.bound.extend([inner.iter_var.as_str(), inner.accu_var.as_str()]);
                self.bound.extend(inner.iter_var2.as_deref());
                let parts = [&inner.accu_init, &inner.loop_cond, &inner.loop_step, &inner.result];
                let checked = self.check_all(parts.into_iter(), depth);
                self.bound.truncate(outer);
                self.comprehensions -= 1;
                checked
            }
        }
    }

    /// A condition is true or false; what is plainly a number, a text or a list is neither.
    fn check_result(&self, node: &IdedExpr) -> Result<(), ConditionError> {
        let is_other = match &node.expr {
            Expr::Literal(LiteralValue::Boolean(_)) => false,
            Expr::Literal(_) | Expr::List(_) | Expr::Map(_) => true,
            Expr::Ident(name) => VARIABLES.contains(&name.as_str()),
            Expr::Call(call) if call.func_name == operators::CONDITIONAL => {
                return call.args.iter().skip(1).try_for_each(|branch| self.check_result(branch));
            }
            Expr::Call(call) => NOT_BOOLEAN.contains(&call.func_name.as_str()),
            _ => false,
        };
        if is_other {
            let hint = Some("compare it with something, as in `call.duration > 60`".to_owned());
            return Err(self.error(node, "this is neither true nor false", hint));
        }
        Ok(())
    }

    fn check_all(
        &mut self,
        nodes: impl Iterator<Item = &'a IdedExpr>,
        depth: usize,
    ) -> Result<(), ConditionError> {
        for node in nodes {
            self.check(node, depth + 1)?;
        }
        Ok(())
    }

    fn check_variable(&self, node: &IdedExpr, name: &str) -> Result<(), ConditionError> {
        let types = ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type"];
        if VARIABLES.contains(&name) || types.contains(&name) || self.bound.contains(&name) {
            return Ok(());
        }
        let hint = if DOCUMENTED_FIELDS.contains(&name) {
            Some(format!("write `call.{name}`"))
        } else if ["sentiment", "leadQuality", "appointmentBooked"].contains(&name) {
            Some(format!("write `call.callAnalysis.{name}`"))
        } else {
            closest(name, VARIABLES.iter().copied()).map(|near| format!("did you mean `{near}`?")).or_else(
                || Some(format!("there are {}", VARIABLES.map(|name| format!("`{name}`")).join(", "))),
            )
        };
        Err(self.error(node, &format!("there is no `{name}`"), hint))
    }

    fn check_field(&self, node: &IdedExpr, field: &str) -> Result<(), ConditionError> {
        match closest(field, DOCUMENTED_FIELDS.iter().copied()) {
            Some(near) if !DOCUMENTED_FIELDS.contains(&field) => Err(self.error(
                node,
                &format!("a call has no field `{field}`"),
                Some(format!("did you mean `{near}`?")),
            )),
            _ => Ok(()),
        }
    }

    fn check_call(
        &mut self,
        node: &'a IdedExpr,
        call: &'a CallExpr,
        depth: usize,
    ) -> Result<(), ConditionError> {
        let name = call.func_name.as_str();
        let is_operator = !name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !is_operator && !FUNCTIONS.contains(&name) {
            let hint = closest(name, FUNCTIONS.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            return Err(self.error(node, &format!("there is no function `{name}`"), hint));
        }
        self.check_all(call.target.as_deref().into_iter().chain(&call.args), depth)?;
        self.check_status(node, call)?;
        self.check_constant(node, call)
    }

    /// `call.status == "complete"` is never true.
    fn check_status(&self, node: &IdedExpr, call: &CallExpr) -> Result<(), ConditionError> {
        if !matches!(call.func_name.as_str(), operators::EQUALS | operators::NOT_EQUALS) {
            return Ok(());
        }
        let [a, b] = call.args.as_slice() else { return Ok(()) };
        let is_status = |e: &IdedExpr| matches!(&e.expr, Expr::Select(s) if s.field == "status" && matches!(&s.operand.expr, Expr::Ident(n) if n == "call" || n == "before"));
        let text = |e: &IdedExpr| match &e.expr {
            Expr::Literal(LiteralValue::String(text)) => Some(text.inner().to_owned()),
            _ => None,
        };
        for (path, other) in [(a, b), (b, a)] {
            if let (true, Some(word)) = (is_status(path), text(other)) {
                let known = ["completed", "live"];
                if !known.contains(&word.as_str())
                    && let Some(near) = closest(&word.to_lowercase(), known)
                {
                    let message = format!("no call has the status \"{word}\"");
                    return Err(self.error(node, &message, Some(format!("write \"{near}\""))));
                }
            }
        }
        Ok(())
    }

    /// What only literals go into can be tried at once: `duration("2 minutes")`, a malformed regular expression.
    fn check_constant(&self, node: &IdedExpr, call: &CallExpr) -> Result<(), ConditionError> {
        let literal = |e: &IdedExpr| matches!(e.expr, Expr::Literal(_));
        let tried = if call.func_name == "matches" && call.args.last().is_some_and(literal) {
            let mut probe = call.clone();
            let empty =
                || IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::String(String::new().into())) };
            match (&mut probe.target, probe.args.as_mut_slice()) {
                (Some(target), [_]) => **target = empty(),
                (None, [text, _]) => *text = empty(),
                _ => return Ok(()),
            }
            probe
        } else if call.target.as_deref().is_none_or(literal) && call.args.iter().all(literal) {
            call.clone()
        } else {
            return Ok(());
        };
        match Value::resolve(&IdedExpr { id: node.id, expr: Expr::Call(tried) }, &empty_context()) {
            Ok(_) => Ok(()),
            Err(cel::ExecutionError::FunctionError { function, .. }) => {
                let hint = match function.as_str() {
                    "duration" => Some("write a number and h, m, s or ms, as in duration(\"2h30m\")"),
                    "timestamp" => Some("write timestamp(\"2025-12-15T14:30:00Z\")"),
                    "matches" => Some("this is not a regular expression"),
                    _ => None,
                };
                let message = format!("`{function}` cannot read this text");
                Err(self.error(node, &message, hint.map(str::to_owned)))
            }
            Err(failure) => Err(self.error(node, &in_words(&failure), None)),
        }
    }

    fn error(&self, node: &IdedExpr, message: &str, hint: Option<String>) -> ConditionError {
        let clamp = |at: u32| (at as usize).min(self.source.len());
        let span = match self.info.offset_for(node.id) {
            Some((start, stop)) => clamp(start)..clamp(stop.saturating_add(1)).max(clamp(start)),
            None => 0..self.source.len(),
        };
        let boundary = |at: usize| (at..=self.source.len()).find(|at| self.source.is_char_boundary(*at));
        let whole = 0..self.source.len();
        let span = match (boundary(span.start), boundary(span.end)) {
            (Some(start), Some(end)) => start..end,
            _ => whole,
        };
        error(message, span, hint)
    }
}

fn closest<'w>(word: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    words
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 2 && *distance * 3 <= candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Wraps the operands of `==`, `!=` and `in`, so that null makes the comparison unknown; a comparison with a
/// literal `null` asks for just that and is left alone.
fn guard(node: &mut IdedExpr) {
    match &mut node.expr {
        Expr::Call(call) => {
            if let Some(target) = &mut call.target {
                guard(target);
            }
            call.args.iter_mut().for_each(guard);
            let compares =
                matches!(call.func_name.as_str(), operators::EQUALS | operators::NOT_EQUALS | operators::IN);
            let with_null = call.args.iter().any(|arg| matches!(arg.expr, Expr::Literal(LiteralValue::Null)));
            if compares && !with_null {
                call.args.iter_mut().filter(|arg| !matches!(arg.expr, Expr::Literal(_))).for_each(wrap);
            }
        }
        Expr::Select(select) => guard(&mut select.operand),
        Expr::List(list) => list.elements.iter_mut().for_each(guard),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    guard(&mut entry.key);
                    guard(&mut entry.value);
                }
            }
        }
        Expr::Comprehension(inner) => {
            // The accumulator's own bookkeeping is the macro's, and never null.
            guard(&mut inner.iter_range);
            guard(&mut inner.loop_step);
            guard(&mut inner.result);
        }
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => {}
    }
}

fn wrap(operand: &mut IdedExpr) {
    let inner = std::mem::take(operand);
    operand.id = inner.id;
    operand.expr = Expr::Call(CallExpr { func_name: KNOWN.to_owned(), target: None, args: vec![inner] });
}
