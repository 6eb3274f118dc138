//! `[rules.NAME]`

use std::sync::Arc;

use super::{
    reader::Table,
    report::Mistake,
    value::Value,
    values::{DAY, SECOND, duration, kind, reference, template, word},
};
use crate::{
    event::Severity,
    kind::{Kind, Kinds},
    name::Name,
    rule::{
        Rule, RuleText,
        condition::{Condition, ConditionError},
    },
};

/// Reads every rule.
pub(super) fn read(root: &mut Table<'_>) -> Vec<Rule> {
    let cx = root.cx;
    let sources = root.declared("sources");
    let destinations = root.declared("destinations");
    let mut used: Vec<Name> = Vec::new();

    let rules = root.named("rules", |name, table| {
        let on = table.set("on", kind).map(Kinds::from_iter);
        let looks_at = on.unwrap_or_else(|| Kind::ALL.into_iter().filter(|kind| kind.is_of_call()).collect());
        let when = table.value("when").and_then(|value| condition(&value, looks_at));
        if !table.has("on") && !table.has("when") {
            cx.add_absence(
                Mistake::error(table.span.clone(), "this rule would fire on everything that happens")
                    .hint("say what it is for with `on` or `when`, as in on = [\"ended\"]"),
            );
        }
        let of_source = |kinds: &Kinds| kinds.iter().any(|kind| !kind.is_of_call());
        if table.has("when") && on.as_ref().is_some_and(of_source) {
            cx.add_absence(
                Mistake::error(
                    table.span_of("when"),
                    "a condition is about a call, and this rule is also about a source",
                )
                .hint("make a rule of its own, without `when`, for source.failing and source.recovered"),
            );
        }
        table.require("to", "[\"crm\"]");
        let to = table.set("to", |value| {
            let name = reference(value, "destination", &destinations)?;
            used.push(name.clone());
            Ok(name)
        });
        let of_sources = table.set("sources", |value| reference(value, "source", &sources));
        let repeat = table.optional("repeat", Value::boolean).unwrap_or(false);
        if repeat && !table.has("when") {
            cx.add(
                Mistake::warning(table.span_of("repeat"), "`repeat` changes nothing without `when`")
                    .hint("a rule without `when` fires on every change of the kinds in `on`"),
            );
        }
        let max_age = table.optional("max_age", duration(SECOND..=3650 * DAY));
        let severities = Severity::ALL.map(|severity| (severity.as_str(), severity));
        let text = RuleText {
            title: table.optional("title", template),
            body: table.optional("body", template),
            severity: table
                .optional("severity", |value| word(value, "severity", &severities))
                .unwrap_or_default(),
        };
        Some(Rule {
            name,
            on: looks_at,
            when,
            to: to?,
            sources: of_sources,
            repeat,
            max_age,
            text: Arc::new(text),
        })
    });

    if !root.has("rules") {
        let mistake = Mistake::of_file("there is no rule: nothing will ever be told to anybody");
        cx.add_absence(mistake.into_warning().hint("add a table [rules.NAME] with `on` and `to`"));
    }
    // A destination that seems to be of no use may be the one a mistaken rule means.
    let is_declared = |name: &Name| destinations.iter().any(|(declared, _)| declared == name);
    if rules.len() == root.declared("rules").len() && used.iter().all(is_declared) {
        for (name, place) in destinations.iter().filter(|(name, _)| !used.contains(name)) {
            let message = format!("no rule tells destination `{name}` anything");
            cx.add_absence(Mistake::warning(place.clone(), message));
        }
    }
    rules
}

/// Reads a condition and reports everything that is wrong with it, for a rule that looks at `on`.
fn condition(value: &Value<'_>, on: Kinds) -> Option<Condition> {
    let text = value.text().map_err(|mistake| value.cx.add(mistake)).ok()?;
    let (condition, wrong) = match Condition::compile(text) {
        Ok(condition) => {
            let wrong = condition.check(on);
            (Some(condition), wrong)
        }
        Err(wrong) => (None, wrong),
    };
    for ConditionError { message, span, hint, is_warning } in wrong {
        let mut mistake = Mistake::error(value.part(span), message);
        mistake.hint = hint;
        value.cx.add(if is_warning { mistake.into_warning() } else { mistake });
    }
    condition
}
