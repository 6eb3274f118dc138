//! Whether a condition can hold at all for the kinds of change a rule looks at.
//!
//! The condition is evaluated abstractly, over every combination of facts that such a change can have: a call that has
//! started is live, a deleted one was known before. Everything else may have any value. The result errs to one side
//! only: a condition that is reported as never holding never does.

use cel::{
    IdedExpr,
    common::ast::{CallExpr, Expr, LiteralValue, operators},
};

use super::{
    ConditionError,
    compile::parse,
    signature::SIGNATURES,
    source::{Source, text},
};
use crate::kind::{Kind, Kinds};

/// The mistake that the condition can never hold for a change of a kind in `on`. It is a warning when the condition
/// could hold if the API had a status that it does not document.
pub(super) fn never(source: &str, on: Kinds) -> Option<ConditionError> {
    let program = parse(source).ok()?;
    let source = Source::new(source, program.source_info());
    let all = worlds(on);
    let documented: Vec<World> = all.iter().filter(|world| world.is_documented()).cloned().collect();
    for (worlds, is_warning) in [(all, false), (documented, true)] {
        if !worlds.is_empty() && is_never(program.expression(), &worlds) {
            let culprit = culprit(program.expression(), &worlds);
            let message = match on.iter().filter(|kind| kind.is_of_call()).collect::<Vec<_>>().as_slice() {
                [kind] => format!("this never holds for a change of the kind `{kind}`"),
                [first, second] => {
                    format!("this never holds for changes of the kinds `{first}` and `{second}`")
                }
                _ => "this never holds for the kinds of change the rule looks at".to_owned(),
            };
            let mistake = ConditionError::new(message, source.span(culprit), reason(culprit, &worlds));
            return Some(ConditionError { is_warning, ..mistake });
        }
    }
    None
}

/// The documented statuses, and all others as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Live,
    Completed,
    Undocumented,
}

/// One combination of facts that a change can have. `None` means "any value".
#[derive(Clone, Debug)]
struct World {
    kinds: Option<Kinds>,
    status: Option<Status>,
    /// The status before; `Some(None)` when the call was not known before.
    before: Option<Option<Status>>,
    /// Whether `call.callAnalysis` is there.
    analysis: Option<bool>,
}

impl World {
    fn is_documented(&self) -> bool {
        self.status != Some(Status::Undocumented) && self.before != Some(Some(Status::Undocumented))
    }
}

/// Every combination that a change can have at which a rule with this `on` looks; see [`crate::change`].
fn worlds(on: Kinds) -> Vec<World> {
    use Kind::{Analyzed, Deleted, Ended, Started, Updated};
    use Status::{Completed, Live, Undocumented};
    let sets: [&[Kind]; 7] =
        [&[Ended], &[Ended, Analyzed], &[Started], &[Started, Analyzed], &[Analyzed], &[Updated], &[Deleted]];
    let mut worlds = Vec::new();
    for kinds in sets.iter().map(|kinds| kinds.iter().copied().collect::<Kinds>()) {
        if !kinds.intersects(on) {
            continue;
        }
        for status in [Live, Completed, Undocumented] {
            for before in [None, Some(Live), Some(Completed), Some(Undocumented)] {
                let can_be = if kinds.contains(Ended) {
                    // The source's `over` says which statuses mean that a call is over.
                    status != Live && before != Some(Completed)
                } else if kinds.contains(Started) {
                    status == Live && !matches!(before, Some(Live | Completed))
                } else if kinds.contains(Deleted) {
                    before.is_some()
                } else {
                    // First seen, a call has started or ended unless its status says neither.
                    (before.is_some() || status == Undocumented)
                        && (status != Completed || before == Some(Completed))
                };
                for analysis in [true, false] {
                    if can_be && (analysis || !kinds.contains(Analyzed)) {
                        worlds.push(World {
                            kinds: Some(kinds),
                            status: Some(status),
                            before: Some(before),
                            analysis: Some(analysis),
                        });
                    }
                }
            }
        }
    }
    worlds
}

fn is_never(node: &IdedExpr, worlds: &[World]) -> bool {
    !worlds.iter().any(|world| world.truth(node).yes)
}

/// The smallest part that alone keeps the condition from holding.
fn culprit<'a>(node: &'a IdedExpr, worlds: &[World]) -> &'a IdedExpr {
    match &node.expr {
        Expr::Call(CallExpr { func_name, args, .. }) if func_name == operators::LOGICAL_AND => {
            args.iter().find(|part| is_never(part, worlds)).map_or(node, |part| culprit(part, worlds))
        }
        _ => node,
    }
}

/// The fact that all these changes share and that keeps `node` from holding, in words.
fn reason(node: &IdedExpr, worlds: &[World]) -> Option<String> {
    let without = |forget: fn(&mut World)| {
        let mut worlds = worlds.to_vec();
        worlds.iter_mut().for_each(forget);
        !is_never(node, &worlds)
    };
    let all = |is_so: fn(&World) -> bool| worlds.iter().all(is_so);
    let hint = if without(|world| world.status = None) {
        match () {
            () if all(|world| world.status == Some(Status::Live)) => {
                "the call is live: `call.status` is \"live\""
            }
            () if all(|world| world.status == Some(Status::Completed)) => {
                "the call is over: `call.status` is \"completed\""
            }
            () => match elsewhere(node) {
                Some(kind) => return Some(format!("it can hold for a change of the kind `{kind}`")),
                None => "`call.status` is one thing at a time",
            },
        }
    } else if without(|world| world.before = None) {
        match () {
            () if all(|world| world.before == Some(None)) => {
                "the call is seen for the first time: `before` is null"
            }
            () if all(|world| world.before != Some(None)) && without(|world| world.before = Some(None)) => {
                "the call was known already: `before` is not null"
            }
            () if all(|world| world.before != Some(Some(Status::Completed))) => {
                "the call was not over before: `before.status` is not \"completed\""
            }
            () => return None,
        }
    } else if without(|world| world.kinds = None) {
        match elsewhere(node) {
            Some(kind) => return Some(format!("it can hold for a change of the kind `{kind}`")),
            None => "of the kinds, only \"analyzed\" comes together with another",
        }
    } else if without(|world| world.analysis = None) {
        "`call.callAnalysis` is not null"
    } else {
        return None;
    };
    Some(hint.to_owned())
}

/// A kind of change for which `node` can hold.
fn elsewhere(node: &IdedExpr) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| !is_never(node, &worlds((*kind).into())))
}

/// The abstract value of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum May<'a> {
    /// Any value, or an error.
    Anything,
    /// Some value that is neither null nor missing.
    There,
    Null,
    /// An error: a field of something that is not there.
    Missing,
    Text(&'a str),
    Undocumented,
    Kinds(Kinds),
}

/// The truth values that a condition may have. Whether it may be unknown makes no difference to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Truths {
    yes: bool,
    no: bool,
}

impl Truths {
    const ANY: Self = Self { yes: true, no: true };
    const UNKNOWN: Self = Self { yes: false, no: false };

    fn exactly(truth: bool) -> Self {
        Self { yes: truth, no: !truth }
    }

    fn not(self) -> Self {
        Self { yes: self.no, no: self.yes }
    }

    fn and(self, other: Self) -> Self {
        Self { yes: self.yes && other.yes, no: self.no || other.no }
    }

    fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }

    /// The union of both.
    fn either(self, other: Self) -> Self {
        Self { yes: self.yes || other.yes, no: self.no || other.no }
    }
}

impl World {
    fn truth(&self, node: &IdedExpr) -> Truths {
        let Expr::Call(call) = &node.expr else {
            return match (&node.expr, self.value(node)) {
                (Expr::Literal(LiteralValue::Boolean(truth)), _) => Truths::exactly(*truth.inner()),
                (_, May::Null | May::Missing) => Truths::UNKNOWN,
                _ => Truths::ANY,
            };
        };
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_AND, [a, b]) => self.truth(a).and(self.truth(b)),
            (operators::LOGICAL_OR, [a, b]) => self.truth(a).or(self.truth(b)),
            (operators::LOGICAL_NOT, [a]) => self.truth(a).not(),
            (operators::CONDITIONAL, [condition, yes, no]) => {
                let condition = self.truth(condition);
                let yes = if condition.yes { self.truth(yes) } else { Truths::UNKNOWN };
                let no = if condition.no { self.truth(no) } else { Truths::UNKNOWN };
                yes.either(no)
            }
            (operators::EQUALS, [a, b]) => self.equal(a, b),
            (operators::NOT_EQUALS, [a, b]) => self.equal(a, b).not(),
            (operators::IN, [a, b]) => self.is_in(a, b),
            _ => match self.value(node) {
                May::Null | May::Missing => Truths::UNKNOWN,
                _ => Truths::ANY,
            },
        }
    }

    fn equal(&self, a: &IdedExpr, b: &IdedExpr) -> Truths {
        let asks_for_null = [a, b].iter().any(|part| matches!(part.expr, Expr::Literal(LiteralValue::Null)));
        match (self.value(a), self.value(b)) {
            (May::Missing, _) | (_, May::Missing) => Truths::UNKNOWN,
            (May::Null, May::Null) if asks_for_null => Truths::exactly(true),
            (May::Anything, _) | (_, May::Anything) => Truths::ANY,
            (May::Null, _) | (_, May::Null) if asks_for_null => Truths::exactly(false),
            (May::Null, _) | (_, May::Null) => Truths::UNKNOWN,
            (a, b) => alike(a, b),
        }
    }

    fn is_in(&self, a: &IdedExpr, b: &IdedExpr) -> Truths {
        if let (May::Text(word), May::Kinds(kinds)) = (self.value(a), self.value(b)) {
            return Truths::exactly(kinds.iter().any(|kind| kind.as_str() == word));
        }
        match (&b.expr, self.value(a), self.value(b)) {
            (_, May::Missing, _) | (_, _, May::Missing | May::Null) => Truths::UNKNOWN,
            (Expr::List(list), word @ (May::Text(_) | May::Undocumented), _) => {
                let each = list.elements.iter().map(|element| match self.value(element) {
                    May::Missing => Truths::UNKNOWN,
                    May::Null | May::Anything => Truths::ANY,
                    element => alike(word, element),
                });
                each.fold(Truths::exactly(false), Truths::or)
            }
            _ => Truths::ANY,
        }
    }

    fn value<'a>(&self, node: &'a IdedExpr) -> May<'a> {
        match &node.expr {
            Expr::Literal(LiteralValue::Null) => May::Null,
            Expr::Literal(_) => text(node).map_or(May::There, May::Text),
            Expr::List(_) | Expr::Map(_) => May::There,
            Expr::Ident(name) if name == "before" => match self.before {
                None => May::Anything,
                Some(None) => May::Null,
                Some(Some(_)) => May::There,
            },
            // Every other variable is always there.
            Expr::Ident(_) => May::There,
            Expr::Select(select) => {
                let of = self.value(&select.operand);
                let word = |status: Option<Status>| match status {
                    None => May::Anything,
                    Some(Status::Live) => May::Text("live"),
                    Some(Status::Completed) => May::Text("completed"),
                    Some(Status::Undocumented) => May::Undocumented,
                };
                match (&select.operand.expr, select.field.as_str()) {
                    _ if matches!(of, May::Null | May::Missing) => May::Missing,
                    _ if select.test => May::Anything,
                    (Expr::Ident(name), "status") if name == "call" => word(self.status),
                    (Expr::Ident(name), "status") if name == "before" => word(self.before.flatten()),
                    (Expr::Ident(name), "kinds") if name == "change" => {
                        self.kinds.map_or(May::Anything, May::Kinds)
                    }
                    (Expr::Ident(name), "callAnalysis") if name == "call" => match self.analysis {
                        None => May::Anything,
                        Some(true) => May::There,
                        // It may also be that there is no such field.
                        Some(false) => May::Anything,
                    },
                    _ => May::Anything,
                }
            }
            Expr::Call(call) => {
                let is_missing = |part: &IdedExpr| matches!(self.value(part), May::Null | May::Missing);
                let parts = call.target.as_deref().into_iter().chain(&call.args);
                if is_strict(&call.func_name) && { parts }.any(is_missing) {
                    May::Missing
                } else {
                    May::Anything
                }
            }
            Expr::Comprehension(inner) => match self.value(&inner.iter_range) {
                May::Null | May::Missing => May::Missing,
                _ => May::Anything,
            },
            _ => May::Anything,
        }
    }
}

/// Whether two present values are equal.
fn alike(a: May<'_>, b: May<'_>) -> Truths {
    match (a, b) {
        (May::Text(a), May::Text(b)) => Truths::exactly(a == b),
        (May::Undocumented, May::Text("live" | "completed"))
        | (May::Text("live" | "completed"), May::Undocumented) => Truths::exactly(false),
        _ => Truths::ANY,
    }
}

/// Whether null in place of an argument makes the result unknown.
fn is_strict(function: &str) -> bool {
    matches!(
        function,
        operators::LESS
            | operators::LESS_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS
            | operators::ADD
            | operators::SUBSTRACT
            | operators::MULTIPLY
            | operators::DIVIDE
            | operators::MODULO
            | operators::NEGATE
    ) || SIGNATURES.iter().any(|known| known.name == function && known.is_strict())
}
