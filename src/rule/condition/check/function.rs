//! Checks calls of functions: that they exist, and that their arguments have the right types.

use cel::{
    ExecutionError, IdedExpr, Value,
    common::ast::{CallExpr, Expr},
};

use super::Checker;
use crate::{
    calendar::Zone,
    rule::condition::{
        failure::in_words,
        functions::{Pattern, empty_context, is_zone},
        signature::{SIGNATURES, Signature},
        source::text,
        types::{
            Type::{self, Any, Text, TimeText},
            closest,
        },
    },
};

impl<'a> Checker<'a> {
    pub(super) fn function(&mut self, node: &'a IdedExpr, call: &'a CallExpr, depth: usize) -> Type {
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

    /// Checks literal arguments by trying them: a duration, a time zone, a pattern.
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
}
