//! Checks comparisons that can never be true, and arithmetic that always fails.

use cel::{IdedExpr, common::ast::Expr};

use super::{Checker, type_of};
use crate::rule::condition::{
    source::text,
    types::Type::{self, Any, Bool, Double, Int, Null, Number, Text, TimeText, Word},
};

impl Checker<'_> {
    pub(super) fn equality(&mut self, node: &IdedExpr, a: (&IdedExpr, Type), b: (&IdedExpr, Type)) {
        if !a.1.agrees(b.1) {
            return self.refuse_comparison(node, a, b);
        }
        for (word, (_, of)) in [(a.0, b), (b.0, a)] {
            self.word(node, word, of);
        }
    }

    /// Checks that a literal text is one of the words that the other side can be.
    pub(super) fn word(&mut self, node: &IdedExpr, written: &IdedExpr, of: Type) {
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

    pub(super) fn membership(&mut self, node: &IdedExpr, a: (&IdedExpr, Type), (b, of_b): (&IdedExpr, Type)) {
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

    pub(super) fn refuse_comparison(&mut self, node: &IdedExpr, a: (&IdedExpr, Type), b: (&IdedExpr, Type)) {
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

    pub(super) fn arithmetic(
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
}
