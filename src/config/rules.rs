//! `[rules.NAME]`

use std::sync::Arc;

use super::{
    DestinationConfig, DestinationKind, WebhookFormat,
    pacing::{own_zone, pacing, silence},
    reader::Table,
    report::Mistake,
    value::Value,
    values::{DAY, SECOND, duration, kind, reference, template, word},
};
use crate::{
    calendar::Zone,
    event::Severity,
    kind::{Kind, Kinds},
    name::Name,
    rule::{
        Rule, RuleText,
        condition::{Condition, ConditionError},
        pacing::Pacing,
    },
};

/// Reads every rule. `receivers` are the destinations without a mistake.
pub(super) fn read(root: &mut Table<'_>, zone: Zone, receivers: &[DestinationConfig]) -> Vec<Rule> {
    let cx = root.cx;
    let sources = root.declared("sources");
    let destinations = root.declared("destinations");
    let mut used: Vec<Name> = Vec::new();

    let rules = root.named("rules", |name, table| {
        let on = table.set("on", kind).map(Kinds::from_iter);
        let zone = own_zone(table, zone);
        let pacing = pacing(table, zone);
        let silence = silence(table, zone);
        let lasting = table.optional("for", duration(SECOND..=90 * DAY));
        check_time(table, on.as_ref());
        let looks_at = match silence {
            Some(_) => Kind::SourceSilent.into(),
            None => on.unwrap_or_else(|| Kind::ALL.into_iter().filter(|kind| kind.is_of_call()).collect()),
        };
        let when = table.value("when").and_then(|value| condition(&value, looks_at));
        if !table.has("on") && !table.has("when") && !table.has("silence") {
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
                .hint("make a rule of its own, without `when`, for what happens to sources"),
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
        let to = to?;
        let sorted = sorted(table, &to, &pacing, text.severity, receivers);
        Some(Rule {
            name,
            on: looks_at,
            when,
            to,
            sorted,
            lasting,
            silence,
            pacing,
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

/// Reports what rules that fire on the clock cannot be combined with.
fn check_time(table: &Table<'_>, on: Option<&Kinds>) {
    let cx = table.cx;
    let error = |key: &str, message: String| Mistake::error(table.span_of(key), message);
    if table.has("for") && !table.has("when") {
        let mistake = error("for", "`for` says how long a condition holds, and `when` is missing".to_owned());
        cx.add_absence(mistake.hint("add the condition, as in when = 'call.status == \"live\"'"));
    }
    if table.has("for") && table.has("on") {
        let message = "a rule with `for` watches the condition whatever happens to the call";
        cx.add(error("on", message.to_owned()).hint("leave `on` out"));
    }
    let clash = ["on", "when", "for", "repeat", "max_age", "count"].into_iter().find(|key| table.has(key));
    if let Some(key) = clash.filter(|_| table.has("silence")) {
        let message =
            format!("a rule with `silence` fires when nothing happens, so `{key}` does not go with it");
        cx.add(error(key, message).hint("make two rules of it"));
    }
    if on.is_some_and(|on| on.contains(Kind::SourceSilent)) {
        let message = "how long is silence?".to_owned();
        cx.add(error("on", message).hint("write silence = \"2h\" in place of `on`"));
    }
}

/// Those of the destinations whose deliveries are not due at once.
fn sorted(
    table: &Table<'_>,
    to: &[Name],
    pacing: &Pacing,
    severity: Severity,
    receivers: &[DestinationConfig],
) -> Vec<Name> {
    let mut sorted = vec![];
    for receiver in receivers.iter().filter(|receiver| to.contains(&receiver.name)) {
        let is_quiet = receiver.quiet.is_some() && severity != Severity::Critical;
        if pacing.is_none() && !is_quiet {
            continue;
        }
        if matches!(&receiver.kind, DestinationKind::Webhook(webhook) if matches!(webhook.format, WebhookFormat::Callem))
        {
            let message = format!(
                "`{}` has format = \"callem\", in which several calls cannot be told as one",
                receiver.name
            );
            table.cx.add(Mistake::error(table.span_of("to"), message).hint(
                "use format = \"standard\" there, or leave out quiet hours, count, group, digest and throttle",
            ));
        }
        sorted.push(receiver.name.clone());
    }
    sorted
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
