//! Compiles a condition's text to an expression that is safe to evaluate, or to messages a person can act on.

use cel::{
    IdedExpr, ParseError, Program,
    common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators},
};

use super::{
    ConditionError, MAX_LEN, TYPOGRAPHIC,
    check::Checker,
    functions::{ENV, FEW, KNOWN, Pattern, pattern_variable},
    source::{Source, byte_offset, code, text, unclosed_quote},
    work::CHARGED,
};

/// A compiled expression, and the regular expressions it refers to by index.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    pub expression: IdedExpr,
    pub patterns: Vec<Pattern>,
}

/// The expression to evaluate, and warnings about it.
pub(super) fn compile(source: &str) -> Result<(Compiled, Vec<ConditionError>), Vec<ConditionError>> {
    let program = parse(source).map_err(|mistake| vec![mistake])?;
    let source = Source::new(source, program.source_info());
    let mut checker = Checker::new(&source);
    checker.check(program.expression());
    let mut mistakes = checker.mistakes;
    if mistakes.iter().any(|mistake| !mistake.is_warning) {
        mistakes.sort_by_key(|mistake| mistake.span.start);
        return Err(mistakes);
    }
    Ok((guard(program.expression().clone()), mistakes))
}

/// The expression as the author wrote it, before it was made safe.
pub(super) fn parse(source: &str) -> Result<Program, ConditionError> {
    let whole = 0..source.len();
    if source.trim().is_empty() {
        return Err(ConditionError::new("the condition is empty", whole, None));
    }
    if source.len() > MAX_LEN {
        let message = format!("the condition is {} bytes long; at most {MAX_LEN} are allowed", source.len());
        return Err(ConditionError::new(message, whole, Some("split it into several rules".to_owned())));
    }
    ENV.compile(source).map_err(|errors| syntax_error(source, errors.errors.first()))
}

/// Turns an error of CEL's parser into plain words.
fn syntax_error(source: &str, parse: Option<&ParseError>) -> ConditionError {
    if let Some((at, wrong, right)) = common_slip(source) {
        let message = format!("`{wrong}` is not an operator");
        return ConditionError::new(message, at..at + wrong.len(), Some(format!("write `{right}`")));
    }
    let at = parse.map_or(0, |parse| byte_offset(source, parse.pos)).min(source.len());
    let is_digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    if let Some(decimals) = source[at..].strip_prefix(',')
        && is_digit(source[..at].chars().next_back())
        && is_digit(decimals.chars().next())
    {
        let hint = "decimals follow a point, as in 1.5".to_owned();
        return ConditionError::new("a number has no comma", at..at + 1, Some(hint));
    }
    if let Some(mistake) = foreign_slip(source) {
        return mistake;
    }
    if let Some((opened, c)) = unclosed(source).filter(|(opened, _)| *opened <= at) {
        let message = match c {
            '(' | '[' | '{' => format!("this `{c}` is not closed"),
            _ => format!("this text has no closing `{c}`"),
        };
        return ConditionError::new(message, opened..opened + 1, None);
    }
    let rest = source[at..].chars().next();
    let (message, end) = match rest {
        None => ("something is missing at the end of the condition".to_owned(), at),
        Some(c) => (format!("the condition cannot be read from `{c}` on"), at + c.len_utf8()),
    };
    ConditionError::new(message, at..end, None)
}

/// The bracket or quote that is never closed, and where it stands. A bracket that another kind closes counts as such.
fn unclosed(source: &str) -> Option<(usize, char)> {
    let mut open = vec![];
    for (at, byte) in code(source) {
        match byte {
            b'(' | b'[' | b'{' => open.push((at, char::from(byte))),
            b')' | b']' | b'}' => {
                let (opened, bracket) = open.pop()?;
                if !matches!((bracket, byte), ('(', b')') | ('[', b']') | ('{', b'}')) {
                    return Some((opened, bracket));
                }
            }
            _ => {}
        }
    }
    unclosed_quote(source).or_else(|| open.pop())
}

/// Finds what else people write outside of quoted texts: typographic quotes, `===`, `?.`, and functions as words.
fn foreign_slip(source: &str) -> Option<ConditionError> {
    let unquoted: Vec<usize> = code(source).map(|(at, _)| at).collect();
    let places = source.char_indices().filter(|(at, _)| unquoted.binary_search(at).is_ok());
    let mistake = |at: usize, wrong: &str, message: String, hint: &str| {
        Some(ConditionError::new(message, at..at + wrong.len(), Some(hint.to_owned())))
    };
    let word = |at: usize| {
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
        let word = source[at..].split(|c: char| !is_part(c)).next().unwrap_or_default();
        (!source[..at].ends_with(is_part)).then_some(word)
    };
    places.into_iter().find_map(|(at, c)| {
        if TYPOGRAPHIC.contains(&c) {
            let message = format!("`{c}` is a typographic quote");
            return mistake(at, &source[at..at + c.len_utf8()], message, "write \"…\" or '…'");
        }
        for (wrong, right) in [("===", "=="), ("!==", "!=")] {
            if source[at..].starts_with(wrong) {
                return mistake(
                    at,
                    wrong,
                    format!("`{wrong}` is not an operator"),
                    &format!("write `{right}`"),
                );
            }
        }
        if source[at..].starts_with("?.") {
            let hint = "write `.`: where a field is missing, the condition is unknown and does not fire";
            return mistake(at, "?.", "`?.` is not an operator".to_owned(), hint);
        }
        let hint = match word(at)?.to_lowercase().as_str() {
            "contains" | "includes" | "like" => "write `call.summary.contains(\"word\")`",
            "startswith" => "write `call.summary.startsWith(\"word\")`",
            "endswith" => "write `call.summary.endsWith(\"word\")`",
            "matches" => "write `call.summary.matches(\"pattern\")`",
            "is" => "write `==`, as in `call.summary == null`",
            "between" => "write `60 <= call.duration && call.duration <= 120`",
            _ => return None,
        };
        let wrong = word(at)?;
        mistake(at, wrong, format!("`{wrong}` does not stand between two values"), hint)
    })
}

/// Finds operators of other languages outside of quoted texts: `=`, `and`, `or`, `not`, `<>`.
fn common_slip(source: &str) -> Option<(usize, &'static str, &'static str)> {
    let bytes = source.as_bytes();
    let before = |at: usize| at.checked_sub(1).and_then(|before| bytes.get(before)).copied().unwrap_or(b' ');
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    code(source).find_map(|(at, byte)| {
        for (wrong, right) in
            [("and", "&&"), ("or", "||"), ("not", "!"), ("AND", "&&"), ("OR", "||"), ("NOT", "!")]
        {
            let goes_on = bytes.get(at + wrong.len()).is_some_and(|byte| is_word(*byte) || *byte == b'(');
            let is_part = is_word(before(at)) || before(at) == b'.';
            if bytes[at..].starts_with(wrong.as_bytes()) && !is_part && !goes_on {
                return Some((at, wrong, right));
            }
        }
        if bytes[at..].starts_with(b"<>") {
            return Some((at, "<>", "!="));
        }
        let is_single = bytes.get(at + 1) != Some(&b'=') && !b"=!<>".contains(&before(at));
        (byte == b'=' && is_single).then_some((at, "=", "=="))
    })
}

/// Makes `expression` safe to evaluate: a comparison with null becomes unknown, lists that macros walk over are
/// bounded, and patterns are compiled.
pub(super) fn guard(mut expression: IdedExpr) -> Compiled {
    let mut patterns = Vec::new();
    guard_part(&mut expression, &mut patterns);
    Compiled { expression, patterns }
}

/// Wraps the operands of `==`, `!=` and `in`, so that null makes the comparison unknown. A comparison with a literal
/// `null` asks about null itself and is left alone.
fn guard_part(node: &mut IdedExpr, patterns: &mut Vec<Pattern>) {
    match &mut node.expr {
        Expr::Call(call) => {
            for part in call.target.as_deref_mut().into_iter().chain(&mut call.args) {
                guard_part(part, patterns);
            }
            if matches!(call.func_name.as_str(), operators::EQUALS | operators::NOT_EQUALS | operators::IN)
                && !call.args.iter().any(names_null)
            {
                call.args.iter_mut().for_each(refuse_null);
            }
            compile_pattern(call, patterns);
            charge_operands(call);
        }
        Expr::Select(select) => guard_part(&mut select.operand, patterns),
        Expr::List(list) => {
            for part in &mut list.elements {
                guard_part(part, patterns);
                charge(part);
            }
        }
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    guard_part(&mut entry.key, patterns);
                    guard_part(&mut entry.value, patterns);
                    charge(&mut entry.value);
                }
            }
        }
        Expr::Comprehension(inner) => {
            // The accumulator belongs to the macro's expansion and is never null.
            charge_compared(&mut inner.loop_step, &[Some(&inner.iter_var), inner.iter_var2.as_ref()]);
            guard_part(&mut inner.iter_range, patterns);
            guard_part(&mut inner.loop_step, patterns);
            guard_part(&mut inner.result, patterns);
            wrap(&mut inner.iter_range, FEW);
        }
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => {}
    }
}

/// Charges for what is compared in the step of a macro, again and again, unless it is a part of the `entries`, which are
/// charged by [`FEW`].
fn charge_compared(step: &mut IdedExpr, entries: &[Option<&String>]) {
    match &mut step.expr {
        Expr::Call(call) => {
            for part in call.target.as_deref_mut().into_iter().chain(&mut call.args) {
                charge_compared(part, entries);
            }
            let compares =
                matches!(call.func_name.as_str(), operators::EQUALS | operators::NOT_EQUALS | operators::IN);
            if compares {
                call.args.iter_mut().filter(|side| !is_part_of(side, entries)).for_each(charge);
            }
        }
        Expr::Select(select) => charge_compared(&mut select.operand, entries),
        Expr::List(list) => list.elements.iter_mut().for_each(|part| charge_compared(part, entries)),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    charge_compared(&mut entry.value, entries);
                }
            }
        }
        Expr::Comprehension(inner) => charge_compared(&mut inner.loop_step, entries),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => {}
    }
}

/// Whether it is one of the `entries` or a field of one.
fn is_part_of(node: &IdedExpr, entries: &[Option<&String>]) -> bool {
    match &node.expr {
        Expr::Ident(name) => entries.contains(&Some(name)),
        Expr::Select(select) => is_part_of(&select.operand, entries),
        _ => false,
    }
}

/// Charges for what an operation makes or scans. Comparisons are left out: outside of macros there are not enough of
/// them, and in macros see [`charge_compared`].
fn charge_operands(call: &mut CallExpr) {
    let is_function = call.func_name.starts_with(|c: char| c.is_ascii_alphabetic());
    match call.func_name.as_str() {
        // These charge for what they read of the call.
        "said" | "transcript_text" => {}
        operators::ADD => call.args.iter_mut().for_each(charge),
        _ if is_function => call.target.as_deref_mut().into_iter().chain(&mut call.args).for_each(charge),
        _ => {}
    }
}

/// Wraps an operand so that it is charged. Literals are bounded by the condition's length, the elements of a list that
/// is written out are charged one by one, and names with `@` are the patterns and the lists that macros gather.
fn charge(operand: &mut IdedExpr) {
    match &operand.expr {
        Expr::Literal(_) | Expr::List(_) => {}
        Expr::Ident(name) if name.starts_with('@') => {}
        _ => wrap(operand, CHARGED),
    }
}

/// Whether the expression is a literal `null`, or a list that has one.
fn names_null(node: &IdedExpr) -> bool {
    match &node.expr {
        Expr::Literal(literal) => matches!(literal, LiteralValue::Null),
        Expr::List(list) => list.elements.iter().any(names_null),
        _ => false,
    }
}

fn refuse_null(operand: &mut IdedExpr) {
    match &mut operand.expr {
        Expr::Literal(_) => {}
        Expr::List(list) => list.elements.iter_mut().for_each(refuse_null),
        _ => wrap(operand, KNOWN),
    }
}

fn wrap(operand: &mut IdedExpr, function: &str) {
    let inner = std::mem::take(operand);
    operand.id = inner.id;
    operand.expr = Expr::Call(CallExpr { func_name: function.to_owned(), target: None, args: vec![inner] });
}

/// Replaces a literal pattern by a variable that holds it compiled. Invalid patterns have been refused before.
fn compile_pattern(call: &mut CallExpr, patterns: &mut Vec<Pattern>) {
    let compile = match call.func_name.as_str() {
        "matches" => Pattern::of_regex,
        "said" => Pattern::of_phrase,
        _ => return,
    };
    if let Some(last) = call.args.last_mut()
        && let Some(Ok(pattern)) = text(last).map(compile)
    {
        last.expr = Expr::Ident(pattern_variable(patterns.len()));
        patterns.push(pattern);
    }
}
