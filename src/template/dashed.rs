//! Null in texts that are put together with `~`: it reads as it does between `{{` and `}}`, where the template library would
//! write `None`. Pure.

use std::ops::Range;

use minijinja::{
    machinery::{
        Span,
        ast::{BinOpKind, CallArg, Expr, Stmt},
        parse,
    },
    syntax::SyntaxConfig,
};

/// The filter that makes [`DASH`] of null.
pub(super) const FILTER: &str = "__dashed";

/// Stands in place of a value that is not there.
pub(super) const DASH: &str = "–";

/// A template in which every operand of `~` goes through [`FILTER`].
#[derive(Debug)]
pub(super) struct Dashed {
    pub(super) source: String,
    /// Where text was added, in `source`, in order.
    added: Vec<Range<usize>>,
}

impl Dashed {
    /// The template with the filter; `None` when it has no `~`, or does not compile.
    pub(super) fn of(source: &str) -> Option<Self> {
        let mut operands = vec![];
        if source.contains('~') {
            in_statement(&parse(source, "", SyntaxConfig::default()).ok()?, &mut operands);
        }
        // At the same place, closing text goes before opening text.
        let behind = format!(")|{FILTER}");
        let mut places: Vec<(usize, &str)> = vec![];
        for operand in operands {
            places.extend([(operand.start, "("), (operand.end, &*behind)]);
        }
        places.sort_by_key(|(place, text)| (*place, *text == "("));
        let mut dashed = Self { source: String::new(), added: vec![] };
        let mut done = 0;
        for (place, text) in &places {
            dashed.source.push_str(source.get(done..*place)?);
            let begin = dashed.source.len();
            dashed.source.push_str(text);
            dashed.added.push(begin..dashed.source.len());
            done = *place;
        }
        dashed.source.push_str(source.get(done..)?);
        (!places.is_empty()).then_some(dashed)
    }

    /// The part of the original template that a part of this one stands for.
    pub(super) fn original(&self, part: Range<usize>) -> Range<usize> {
        let place = |place: usize| {
            let before = self.added.iter().take_while(|added| added.start < place);
            place - before.map(|added| added.end.min(place) - added.start).sum::<usize>()
        };
        place(part.start)..place(part.end)
    }
}

fn in_statements(statements: &[Stmt<'_>], found: &mut Vec<Range<usize>>) {
    statements.iter().for_each(|statement| in_statement(statement, found));
}

fn in_statement(statement: &Stmt<'_>, found: &mut Vec<Range<usize>>) {
    let mut of = |expressions: &[&Expr<'_>], bodies: &[&[Stmt<'_>]]| {
        for expression in expressions {
            in_expression(expression, found);
        }
        bodies.iter().for_each(|body| in_statements(body, found));
    };
    match statement {
        Stmt::Template(it) => of(&[], &[&it.children]),
        Stmt::EmitExpr(it) => of(&[&it.expr], &[]),
        Stmt::ForLoop(it) => {
            of(&[&it.iter], &[&it.body, &it.else_body]);
            it.filter_expr.iter().for_each(|filter| of(&[filter], &[]));
        }
        Stmt::IfCond(it) => of(&[&it.expr], &[&it.true_body, &it.false_body]),
        Stmt::WithBlock(it) => {
            it.assignments.iter().for_each(|(_, value)| of(&[value], &[]));
            of(&[], &[&it.body]);
        }
        Stmt::Set(it) => of(&[&it.expr], &[]),
        Stmt::SetBlock(it) => {
            it.filter.iter().for_each(|filter| of(&[filter], &[]));
            of(&[], &[&it.body]);
        }
        Stmt::AutoEscape(it) => of(&[&it.enabled], &[&it.body]),
        Stmt::FilterBlock(it) => of(&[&it.filter], &[&it.body]),
        Stmt::Do(it) => of(&[&it.call.expr], &[]),
        _ => {}
    }
}

/// Adds the operands of `~` in an expression. Returns the place of its first part: a filter's own span begins at its name.
fn in_expression(expression: &Expr<'_>, found: &mut Vec<Range<usize>>) -> usize {
    let own = |span: Span| span.start_offset as usize..span.end_offset as usize;
    let span = own(expression.span());
    let mut of = |parts: &[&Expr<'_>]| {
        parts.iter().map(|part| in_expression(part, found)).fold(span.start, usize::min)
    };
    match expression {
        Expr::BinOp(it) if matches!(it.op, BinOpKind::Concat) => {
            let mut first = span.start;
            for operand in [&it.left, &it.right] {
                let start = in_expression(operand, found);
                let is_joined = matches!(operand, Expr::BinOp(it) if matches!(it.op, BinOpKind::Concat));
                if !is_joined {
                    found.push(start..own(operand.span()).end);
                }
                first = first.min(start);
            }
            first
        }
        Expr::BinOp(it) => of(&[&it.left, &it.right]),
        Expr::UnaryOp(it) => of(&[&it.expr]),
        Expr::Compare(it) => it.ops.iter().fold(of(&[&it.expr]), |first, op| first.min(of(&[&op.expr]))),
        Expr::IfExpr(it) => {
            let first = of(&[&it.test_expr, &it.true_expr]);
            it.false_expr.iter().fold(first, |first, other| first.min(of(&[other])))
        }
        Expr::Slice(it) => {
            let first = of(&[&it.expr]);
            let parts = [&it.start, &it.stop, &it.step];
            parts.into_iter().flatten().fold(first, |first, part| first.min(of(&[part])))
        }
        Expr::GetAttr(it) => of(&[&it.expr]),
        Expr::GetItem(it) => of(&[&it.expr, &it.subscript_expr]),
        Expr::List(it) => it.items.iter().fold(span.start, |first, item| first.min(of(&[item]))),
        Expr::Tuple(it) => it.items.iter().fold(span.start, |first, item| first.min(of(&[item]))),
        Expr::Map(it) => {
            it.keys.iter().chain(&it.values).fold(span.start, |first, item| first.min(of(&[item])))
        }
        Expr::Filter(it) => {
            let first = it.expr.iter().fold(span.start, |first, expr| first.min(of(&[expr])));
            arguments(&it.args).fold(first, |first, argument| first.min(of(&[argument])))
        }
        Expr::Test(it) => {
            let first = of(&[&it.expr]);
            arguments(&it.args).fold(first, |first, argument| first.min(of(&[argument])))
        }
        Expr::Call(it) => {
            let first = of(&[&it.expr]);
            arguments(&it.args).fold(first, |first, argument| first.min(of(&[argument])))
        }
        Expr::Var(_) | Expr::Const(_) => span.start,
    }
}

fn arguments<'e, 's>(all: &'e [CallArg<'s>]) -> impl Iterator<Item = &'e Expr<'s>> {
    all.iter().map(|argument| match argument {
        CallArg::Pos(value) | CallArg::Kwarg(_, value) => value,
        CallArg::PosSplat(value) | CallArg::KwargSplat(value) => value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operand_goes_through_the_filter_and_places_lead_back() {
        for (source, expected) in [
            ("{{ a }}", None),
            ("a ~ b", None),
            ("{{ a ~", None),
            ("{{ a.b ~ 'x' }}", Some("{{ (a.b)| ~ ('x')| }}")),
            ("{{ a ~ b ~ c }}", Some("{{ (a)| ~ (b)| ~ (c)| }}")),
            ("{{ (a or b) ~ (c)|f(d ~ e) }}", Some("{{ ((a or b)|) ~ ((c)|f((d)| ~ (e)|))| }}")),
            (
                "{% if a ~ b == c %}{% set x = -a * 2 ~ [b ~ c][0] %}{% endif %}",
                Some("{% if (a)| ~ (b)| == c %}{% set x = (-a * 2)| ~ ([(b)| ~ (c)|][0])| %}{% endif %}"),
            ),
            (
                "{% for a in b ~ c %}{{ 'é' ~ a is defined }}{% endfor %}",
                Some("{% for a in (b)| ~ (c)| %}{{ ('é')| ~ (a is defined)| }}{% endfor %}"),
            ),
        ] {
            let dashed = Dashed::of(source);
            let text = dashed.as_ref().map(|dashed| dashed.source.replace(FILTER, ""));
            // A paren may be added on either side of one that stands there.
            let bare = |text: &str| text.replace("((", "(").replace("))", ")");
            assert_eq!(text.as_deref().map(bare), expected.map(bare), "{source}");
            if let Some(dashed) = dashed {
                for (place, c) in dashed.source.char_indices().filter(|(_, c)| c.is_alphabetic()) {
                    if !dashed.added.iter().any(|added| added.contains(&place)) {
                        let part = dashed.original(place..place + c.len_utf8());
                        assert_eq!(source.get(part), Some(&*c.to_string()), "{source}");
                    }
                }
            }
        }
    }
}
