//! `[rules.NAME]`

use std::{collections::HashSet, sync::Arc};

use super::{
    alerts::insist,
    key::{Key, Literal, SECOND, ValueType, days},
    pacing::{COUNT, DIGEST, GROUP, HOURS, SILENCE, THROTTLE, TIMEZONE, own_zone, pacing, silence},
    report::Mistake,
    table::Table,
    value::Value,
    values::{KIND, duration_of, kind, mistake_in, reference, template},
};
use crate::{
    calendar::Zone,
    event::Severity,
    kind::{Kind, Kinds},
    name::Name,
    rule::{
        Rule, RuleText, Sight,
        condition::{Condition, ConditionError},
        pacing::Pacing,
    },
    template::{Occasion, Template},
};

const ON: Key = Key::new("on", ValueType::List(&KIND), "the kinds of change it looks at")
    .means("every kind that is about a call");
const WHEN: Key = Key::new(
    "when",
    ValueType::Condition,
    "fires when this becomes true for a call; without it, on every change it looks at",
);
const TO: Key = Key::new("to", ValueType::List(&ValueType::Name("destination")), "the destinations")
    .required("[\"crm\"]");
const SOURCES: Key =
    Key::new("sources", ValueType::List(&ValueType::Name("source")), "the sources it looks at").means("all");
const TITLE: Key =
    Key::new("title", ValueType::Template, "one line for people: see [messages.md](messages.md)")
        .means("what happened and with whom");
const BODY: Key = Key::new("body", ValueType::Template, "the text that follows the title")
    .means("the summary and the most telling fields");
const ADVICE: Key = Key::new(
    "advice",
    ValueType::Template,
    "what the reader should do, as in `Call back before noon`; `\"\"` for nothing",
)
.means("words for its `severity`");
const SEVERITY: Key = Key::new(
    "severity",
    ValueType::Word {
        what: "severity",
        words: &[Severity::Info.as_str(), Severity::Warning.as_str(), Severity::Critical.as_str()],
    },
    "how much it matters",
)
.default(Literal::Text(Severity::Info.as_str()));
const REPEAT: Key =
    Key::new("repeat", ValueType::Boolean, "whether it may fire more than once for a call; only with `when`")
        .default(Literal::Boolean(false));
const MAX_AGE: Key = Key::new(
    "max_age",
    ValueType::Duration(SECOND, days(3650)),
    "a change that happened longer ago than this is not announced",
);
const FOR: Key = Key::new(
    "for",
    ValueType::Duration(SECOND, days(90)),
    "fires when `when` [has been true for so long](rules.md#when-something-lasts)",
);

/// The keys of `[rules.NAME]`.
pub(crate) const RULE: &[Key] = &[
    ON, WHEN, TO, SOURCES, TITLE, BODY, ADVICE, SEVERITY, REPEAT, MAX_AGE, FOR, SILENCE, HOURS, COUNT, GROUP,
    DIGEST, THROTTLE, TIMEZONE,
];

/// The keys under which the tables stand that rules refer to, and their own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct References<'a> {
    /// `sources`
    pub sources: &'a Key,
    /// `destinations`
    pub destinations: &'a Key,
    /// `rules`
    pub rules: &'a Key,
}

/// A destination without a mistake, as far as rules have to know it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub name: Name,
    /// It has quiet hours.
    pub is_quiet: bool,
    /// It gets one message about all rules that fire on one observation.
    pub merges: bool,
    /// Its format when that cannot tell several events as one.
    pub only_single: Option<&'static str>,
    /// The fields whose changes it is shown; `None` when it is shown all.
    pub sight: Option<Sight>,
}

/// Reads every rule. `alerts` is that of `[alerts]`, which is none of them.
pub(crate) fn read(
    root: &mut Table<'_>,
    keys: References<'_>,
    zone: Zone,
    targets: &[Target],
    alerts: Option<&Rule>,
) -> Vec<Rule> {
    let cx = root.cx;
    let sources = root.declared(keys.sources);
    let destinations = root.declared(keys.destinations);
    let mut used: HashSet<Name> = alerts.iter().flat_map(|rule| rule.to.iter().cloned()).collect();

    let rules = root.named(keys.rules, |name, table| {
        let on = table.set(&ON, kind).map(Kinds::from_iter);
        let zone = own_zone(table, zone);
        let pacing = pacing(table, zone);
        let silence = silence(table, zone);
        let lasting = table.read(&FOR, duration_of(&FOR));
        check_time(table, on.as_ref());
        let looks_at = match silence {
            Some(_) => Kind::SourceSilent.into(),
            None => on.unwrap_or_else(Kinds::of_calls),
        };
        let when = table.value(&WHEN).and_then(|value| condition(&value, looks_at));
        if ![&ON, &WHEN, &SILENCE].into_iter().any(|key| table.has(key)) {
            cx.add_absence(
                Mistake::error(table.span.clone(), "this rule would fire on everything that happens")
                    .hint("say what it is for with `on` or `when`, as in on = [\"ended\"]"),
            );
        }
        let others: Kinds = on.iter().flat_map(|on| on.iter()).filter(|kind| !kind.is_of_call()).collect();
        if table.has(&WHEN) && !others.is_empty() {
            let (what, whom) = match others.iter().all(Kind::is_of_source) {
                true => ("a source", "sources"),
                false => ("callwatch itself", "callwatch itself"),
            };
            cx.add_absence(
                Mistake::error(
                    table.span_of(&WHEN),
                    format!("a condition is about a call, and this rule is also about {what}"),
                )
                .hint(format!("make a rule of its own, without `when`, for what happens to {whom}")),
            );
        }
        let to = table.set(&TO, |value| {
            let name = reference(value, "destination", &destinations)?;
            used.insert(name.clone());
            Ok(name)
        });
        let of_sources = table.set(&SOURCES, |value| reference(value, "source", &sources));
        let repeat = table.boolean(&REPEAT);
        if repeat && !table.has(&WHEN) {
            cx.add(
                Mistake::warning(table.span_of(&REPEAT), "`repeat` changes nothing without `when`")
                    .hint("a rule without `when` fires on every change of the kinds in `on`"),
            );
        }
        let max_age = table.read(&MAX_AGE, duration_of(&MAX_AGE));
        let text = RuleText {
            title: table.read(&TITLE, template),
            body: table.read(&BODY, template),
            advice: table.read(&ADVICE, template),
            severity: table.choice(&SEVERITY, &Severity::ALL).unwrap_or_default(),
        };
        let occasion = Occasion { kinds: looks_at, when: when.as_ref().map(Condition::source) };
        doubts(table, &TITLE, text.title.as_ref(), occasion);
        doubts(table, &BODY, text.body.as_ref(), occasion);
        doubts(table, &ADVICE, text.advice.as_ref(), occasion);
        let to = to?;
        insist(cx, table.span_of(&TO), looks_at, &to, &destinations);
        let sorted = sorted(table, &to, &pacing, text.severity, targets);
        let names: HashSet<_> = to.iter().collect();
        let told = || targets.iter().filter(|target| names.contains(&target.name));
        let merging = told().filter(|target| target.merges).map(|target| target.name.clone()).collect();
        let sights = told().filter_map(|target| Some((target.name.clone(), target.sight.clone()?))).collect();
        Some(Rule {
            name,
            on: looks_at,
            when,
            to,
            sorted,
            merging,
            sights,
            lasting,
            silence,
            pacing,
            sources: of_sources,
            repeat,
            max_age,
            text: Arc::new(text),
        })
    });

    if !root.has(keys.rules) {
        let mistake = Mistake::of_file("there is no rule: nothing will ever be told to anybody");
        cx.add_absence(mistake.into_warning().hint("add a table [rules.NAME] with `on` and `to`"));
    }
    // A destination that no rule names may be the one that a wrong rule means.
    let is_declared = |name: &Name| destinations.contains(name.as_str());
    if rules.len() == root.declared(keys.rules).places().len() && used.iter().all(is_declared) {
        for (name, place) in destinations.places().iter().filter(|(name, _)| !used.contains(name)) {
            let message = format!("no rule tells destination `{name}` anything");
            cx.add_absence(Mistake::warning(place.clone(), message));
        }
    }
    rules
}

/// Reports keys that do not go together with `for` and `silence`.
fn check_time(table: &Table<'_>, on: Option<&Kinds>) {
    let cx = table.cx;
    let error = |key: &Key, message: String| Mistake::error(table.span_of(key), message);
    if table.has(&FOR) && !table.has(&WHEN) {
        let mistake = error(&FOR, "`for` says how long a condition holds, and `when` is missing".to_owned());
        cx.add_absence(mistake.hint("add the condition, as in when = 'call.status == \"live\"'"));
    }
    if table.has(&FOR) && table.has(&ON) {
        let message = "a rule with `for` watches the condition whatever happens to the call";
        cx.add(error(&ON, message.to_owned()).hint("leave `on` out"));
    }
    let clash = [&ON, &WHEN, &FOR, &REPEAT, &MAX_AGE, &COUNT].into_iter().find(|key| table.has(key));
    if let Some(key) = clash.filter(|_| table.has(&SILENCE)) {
        let message = format!(
            "a rule with `silence` fires when nothing happens, so `{}` does not go with it",
            key.name
        );
        cx.add(error(key, message).hint("make two rules of it"));
    }
    if on.is_some_and(|on| on.contains(Kind::SourceSilent)) {
        let message = "how long is silence?".to_owned();
        cx.add(error(&ON, message).hint("write silence = \"2h\" in place of `on`"));
    }
}

/// The destinations whose deliveries wait in a batch, because of the rule's pacing or their quiet hours. Reports those
/// that cannot tell several events as one.
fn sorted(
    table: &Table<'_>,
    to: &[Name],
    pacing: &Pacing,
    severity: Severity,
    targets: &[Target],
) -> Vec<Name> {
    let mut sorted = vec![];
    let to: HashSet<_> = to.iter().collect();
    for target in targets.iter().filter(|target| to.contains(&target.name)) {
        let is_quiet = target.is_quiet && severity != Severity::Critical;
        if pacing.is_none() && !is_quiet {
            continue;
        }
        if let Some(format) = target.only_single {
            let message = format!(
                "`{}` has format = \"{format}\", in which several calls cannot be told as one",
                target.name
            );
            table.cx.add(Mistake::error(table.span_of(&TO), message).hint(
                "use format = \"standard\" there, or leave out quiet hours, count, group, digest and throttle",
            ));
        }
        sorted.push(target.name.clone());
    }
    sorted
}

/// Reports what is doubtful about a template: for some events the default text would be sent in its place.
fn doubts(table: &mut Table<'_>, key: &Key, template: Option<&Template>, occasion: Occasion<'_>) {
    let Some((template, value)) = template.zip(table.value(key)) else { return };
    for doubt in template.doubts(occasion) {
        value.cx.add(mistake_in(&value, doubt).into_warning());
    }
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
