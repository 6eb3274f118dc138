//! Explains why a condition is true, false or unknown for one change.

use std::fmt;

use cel::{
    IdedExpr, Value,
    common::{
        ast::{CallExpr, Expr, operators},
        types::{CelDuration, CelList, CelMap, CelString, CelTimestamp},
        value::Val,
    },
};
use chrono::SecondsFormat;

use super::{
    ConditionFailure, Truth,
    activation::{Activation, Scope, VARIABLES},
    compile::{Compiled, guard, parse},
    functions::{empty_context, is_null},
    source::{Source, text},
    work,
};
use crate::{privacy::mask_phones_in, snapshot::TRANSCRIPT};

/// The longest text of a call that is quoted, in characters.
const MAX_QUOTED: usize = 60;

/// The width that explanations are wrapped to, in columns.
const WIDTH: usize = 80;

/// A condition, or a part of one, with its value for one change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The part's text.
    pub text: String,
    /// Its value.
    pub truth: Result<Truth, ConditionFailure>,
    /// The path that is null or missing, when that is why the part is unknown; or that it was not said.
    pub because: Option<String>,
    /// The conditions it is made of, if it is: all of them, even where the first one decides.
    pub parts: Vec<Explanation>,
    /// The values it reads, if it is not made of conditions.
    pub seen: Vec<Seen>,
}

/// A value that a condition reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its expression's text.
    pub text: String,
    /// The value in short, with phone numbers masked. A transcript is not quoted.
    pub value: String,
}

pub(super) fn explain(source: &str, activation: &Activation) -> Explanation {
    match parse(source) {
        Ok(program) => {
            let source = Source::new(source, program.source_info());
            Explainer { source: &source, activation }.explain(program.expression())
        }
        // Cannot happen: the same text was compiled before.
        Err(mistake) => Explanation {
            text: source.to_owned(),
            truth: Err(ConditionFailure(mistake.message)),
            because: None,
            parts: Vec::new(),
            seen: Vec::new(),
        },
    }
}

/// A path that a condition reads, or the beginning of one.
pub(super) struct Asked {
    /// As the condition writes it.
    pub(super) text: String,
    expression: IdedExpr,
}

impl Asked {
    /// Whether it is missing or null.
    pub(super) fn is_absent(&self, activation: &Activation) -> bool {
        is_null_at(&self.expression, activation).unwrap_or(true)
    }

    /// Whether it is a field that is missing in a record which is there itself.
    pub(super) fn is_missing(&self, activation: &Activation) -> bool {
        let Expr::Select(select) = &self.expression.expr else { return false };
        is_null_at(&self.expression, activation).is_none()
            && is_null_at(&select.operand, activation) == Some(false)
    }
}

/// Whether the value at a path is null; `None` when there is none.
fn is_null_at(path: &IdedExpr, activation: &Activation) -> Option<bool> {
    let scope = Scope { activation, patterns: &[] };
    let mut context = empty_context();
    context.set_variable_resolver(&scope);
    work::begin();
    Value::resolve_val(path, &context).ok().map(|value| is_null(&*value))
}

/// The paths that a condition reads, in its order, each after its own beginnings: `call`, `call.callAnalysis`, …
pub(super) fn paths(condition: &str) -> Vec<Asked> {
    // A text that cannot be parsed was refused before.
    let Ok(program) = parse(condition) else { return vec![] };
    let source = Source::new(condition, program.source_info());
    let mut asked = Vec::new();
    asked_of(program.expression(), &mut asked);
    let mut paths: Vec<Asked> = vec![];
    for mut path in asked {
        let mut way = vec![path];
        while let Expr::Select(select) = &path.expr {
            path = &select.operand;
            way.push(path);
        }
        for part in way.into_iter().rev() {
            let text = source.of(part);
            if !paths.iter().any(|known| known.text == text) {
                paths.push(Asked { text: text.to_owned(), expression: part.clone() });
            }
        }
    }
    paths
}

struct Explainer<'a> {
    source: &'a Source<'a>,
    activation: &'a Activation,
}

/// The value of a part that is no condition.
enum Found {
    Value(String),
    Null,
    /// It cannot be evaluated.
    Nothing,
}

impl<'a> Explainer<'a> {
    fn explain(&self, node: &'a IdedExpr) -> Explanation {
        let mut parts = Vec::new();
        parts_of(node, &mut parts);
        let truth = guard(node.clone()).truth(self.activation);
        let mut explanation = Explanation {
            text: self.source.of(node).to_owned(),
            because: None,
            parts: parts.into_iter().map(|part| self.explain(part)).collect(),
            seen: Vec::new(),
            truth,
        };
        if explanation.parts.is_empty() {
            let mut asked = Vec::new();
            asked_of(node, &mut asked);
            if is_said(node) && explanation.truth == Ok(Truth::False) {
                explanation.because = Some("not said".to_owned());
            } else if is_said(node) && explanation.truth == Ok(Truth::Unknown) {
                explanation.because = Some("not said, as far as is known: there is no transcript".to_owned());
            } else if explanation.truth == Ok(Truth::Unknown) {
                let because = asked.iter().find_map(|path| self.absent(path));
                explanation.because =
                    Some(because.unwrap_or_else(|| "a field it needs is null or missing".to_owned()));
            }
            // The value of the whole is shown already, unless evaluating it failed.
            let whole = if explanation.truth.is_ok() { explanation.text.as_str() } else { "" };
            for part in operands(node).into_iter().chain(asked) {
                self.see(part, whole, &mut explanation.seen);
            }
        }
        explanation
    }

    fn see(&self, part: &IdedExpr, whole: &str, seen: &mut Vec<Seen>) {
        let text = self.source.of(part).to_owned();
        if text == whole || seen.iter().any(|other| other.text == text) {
            return;
        }
        match self.find(part) {
            // A whole record would be too long to help.
            Found::Value(_) if matches!(part.expr, Expr::Ident(_)) && is_record(&text) => {}
            Found::Value(value) => seen.push(Seen { text, value }),
            Found::Null => seen.push(Seen { text, value: "null".to_owned() }),
            Found::Nothing => {}
        }
    }

    fn find(&self, node: &IdedExpr) -> Found {
        let Compiled { expression, patterns } = guard(node.clone());
        let scope = Scope { activation: self.activation, patterns: &patterns };
        let mut context = empty_context();
        context.set_variable_resolver(&scope);
        work::begin();
        match Value::resolve_val(&expression, &context) {
            Ok(value) if is_null(&*value) => Found::Null,
            Ok(value) => Found::Value(in_short(&*value, !is_of_transcript(node))),
            Err(_) => Found::Nothing,
        }
    }

    /// The first field on the way to `path` that is null or missing.
    fn absent(&self, path: &IdedExpr) -> Option<String> {
        if let Expr::Select(select) = &path.expr
            && let Some(absent) = self.absent(&select.operand)
        {
            return Some(absent);
        }
        let text = self.source.of(path);
        match self.find(path) {
            Found::Value(_) => None,
            Found::Null => Some(format!("{text} is null")),
            Found::Nothing => Some(format!("{text} is missing")),
        }
    }
}

/// The operands of `&&`, `||`, `!` and the like; none for any other expression.
fn parts_of<'a>(node: &'a IdedExpr, parts: &mut Vec<&'a IdedExpr>) {
    let Expr::Call(call) = &node.expr else { return };
    match call.func_name.as_str() {
        operators::LOGICAL_AND | operators::LOGICAL_OR => {
            for part in &call.args {
                match &part.expr {
                    // The parser makes a tree of `a && b && c`; people read it as a list.
                    Expr::Call(inner) if inner.func_name == call.func_name => parts_of(part, parts),
                    _ => parts.push(part),
                }
            }
        }
        operators::LOGICAL_NOT | operators::CONDITIONAL => parts.extend(&call.args),
        _ => {}
    }
}

/// The operands of a comparison that have to be computed, such as `size(call.summary)`.
fn operands(node: &IdedExpr) -> Vec<&IdedExpr> {
    let compares = |call: &CallExpr| {
        matches!(
            call.func_name.as_str(),
            operators::EQUALS
                | operators::NOT_EQUALS
                | operators::LESS
                | operators::LESS_EQUALS
                | operators::GREATER
                | operators::GREATER_EQUALS
                | operators::IN
        )
    };
    match &node.expr {
        Expr::Call(call) if compares(call) => {
            let is_worked_out = |part: &&IdedExpr| {
                matches!(part.expr, Expr::Call(_) | Expr::Comprehension(_)) && !is_constant(part)
            };
            call.args.iter().filter(is_worked_out).collect()
        }
        _ => Vec::new(),
    }
}

/// The paths into `call`, `before` and the other variables that a part reads.
fn asked_of<'a>(node: &'a IdedExpr, asked: &mut Vec<&'a IdedExpr>) {
    match &node.expr {
        Expr::Ident(name) if VARIABLES.contains(&name.as_str()) => asked.push(node),
        Expr::Select(select) if select.test => asked_of(&select.operand, asked),
        Expr::Select(select) if is_path(&select.operand) => asked.push(node),
        Expr::Select(select) => asked_of(&select.operand, asked),
        Expr::Call(call) => {
            for part in call.target.as_deref().into_iter().chain(&call.args) {
                asked_of(part, asked);
            }
        }
        Expr::List(list) => list.elements.iter().for_each(|part| asked_of(part, asked)),
        // Inside a macro, the name stands for another entry each time.
        Expr::Comprehension(inner) => asked_of(&inner.iter_range, asked),
        _ => {}
    }
}

fn is_said(node: &IdedExpr) -> bool {
    matches!(&node.expr, Expr::Call(call) if call.func_name == "said")
}

fn is_path(node: &IdedExpr) -> bool {
    match &node.expr {
        Expr::Ident(name) => VARIABLES.contains(&name.as_str()),
        Expr::Select(select) => !select.test && is_path(&select.operand),
        _ => false,
    }
}

fn is_record(name: &str) -> bool {
    matches!(name, "call" | "before" | "change")
}

fn is_constant(node: &IdedExpr) -> bool {
    let mut asked = Vec::new();
    asked_of(node, &mut asked);
    asked.is_empty()
}

/// Whether a value may contain words of the conversation.
fn is_of_transcript(node: &IdedExpr) -> bool {
    match &node.expr {
        Expr::Select(select) => select.field == TRANSCRIPT || is_of_transcript(&select.operand),
        Expr::Call(call) => {
            call.func_name == "transcript_text"
                || call.target.as_deref().into_iter().chain(&call.args).any(is_of_transcript)
        }
        Expr::Literal(_) => text(node) == Some(TRANSCRIPT),
        Expr::List(list) => list.elements.iter().any(is_of_transcript),
        Expr::Comprehension(inner) => is_of_transcript(&inner.iter_range),
        _ => false,
    }
}

/// A value in a few words.
fn in_short(value: &dyn Val, may_quote: bool) -> String {
    let count = |number: usize, one: &str, many: &str| match number {
        1 => format!("1 {one}"),
        number => format!("{number} {many}"),
    };
    if let Some(text) = value.downcast_ref::<CelString>() {
        let length = text.inner().chars().count();
        if !may_quote {
            return format!("a text of {}", count(length, "character", "characters"));
        }
        let masked = mask_phones_in(text.inner());
        let start: String = masked.chars().take(MAX_QUOTED).collect();
        let cut = if start.len() < masked.len() { "…" } else { "" };
        return format!("{start:?}{cut}");
    }
    if let Some(list) = value.downcast_ref::<CelList>() {
        let texts: Option<Vec<&str>> =
            list.inner().iter().map(|entry| Some(entry.downcast_ref::<CelString>()?.inner())).collect();
        return match texts {
            // Short lists of words, such as kinds of change or tags.
            Some(texts) if may_quote && texts.iter().map(|text| text.len()).sum::<usize>() < MAX_QUOTED => {
                mask_phones_in(&format!("{texts:?}"))
            }
            _ => format!("a list of {}", count(list.inner().len(), "entry", "entries")),
        };
    }
    if let Some(object) = value.downcast_ref::<CelMap>() {
        return format!("an object of {}", count(object.inner().len(), "field", "fields"));
    }
    if let Some(time) = value.downcast_ref::<CelTimestamp>() {
        return time.inner().to_rfc3339_opts(SecondsFormat::AutoSi, true);
    }
    if let Some(duration) = value.downcast_ref::<CelDuration>() {
        let (sign, length) = match duration.inner().to_std() {
            Ok(length) => ("", length),
            Err(_) => ("-", (-*duration.inner()).to_std().unwrap_or_default()),
        };
        return format!("{sign}{}", humantime::format_duration(length));
    }
    match Value::try_from(value) {
        Ok(Value::Bool(truth)) => truth.to_string(),
        Ok(Value::Int(number)) => number.to_string(),
        Ok(Value::UInt(number)) => number.to_string(),
        Ok(Value::Float(number)) => number.to_string(),
        _ => value.get_type().name().to_owned(),
    }
}

impl fmt::Display for Truth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::True => "true",
            Self::False => "false",
            Self::Unknown => "unknown",
        })
    }
}

/// One line for each part, indented under the part that contains it, no line wider than a terminal.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

impl Explanation {
    /// The reasons of all parts that have one: "call.summary is null", "not said".
    pub fn absent(&self) -> Vec<&str> {
        let of_parts = self.parts.iter().flat_map(Self::absent);
        self.because.as_deref().into_iter().chain(of_parts).collect()
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let truth = match &self.truth {
            Ok(truth) => truth.to_string(),
            Err(_) => "failed".to_owned(),
        };
        let indent = "  ".repeat(depth);
        line(f, &format!("{indent}{truth:7}  "), &self.text)?;
        let under = format!("{indent}{:7}    ", "");
        if let (Err(failure), []) = (&self.truth, self.parts.as_slice()) {
            line(f, &under, &failure.to_string())?;
        }
        if let Some(because) = &self.because {
            line(f, &under, because)?;
        }
        for seen in self.seen.iter().map(|Seen { text, value }| format!("{text} is {value}")) {
            if self.because.as_ref() != Some(&seen) {
                line(f, &under, &seen)?;
            }
        }
        self.parts.iter().try_for_each(|part| part.write(f, depth + 1))
    }
}

/// Writes `text` on one line and cuts it if it does not fit.
fn line(f: &mut fmt::Formatter<'_>, start: &str, text: &str) -> fmt::Result {
    let line = format!("{start}{}", text.split_whitespace().collect::<Vec<_>>().join(" "));
    if line.chars().count() <= WIDTH {
        return writeln!(f, "{line}");
    }
    let kept: String = line.chars().take(WIDTH - 1).collect();
    writeln!(f, "{kept}…")
}
