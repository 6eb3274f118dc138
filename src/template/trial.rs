//! Renders a template for made-up events, to find what would fail for real ones.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use minijinja::{
    ErrorKind, context,
    machinery::{Instruction, get_compiled_template},
    value::{Object, Serde, Value},
};
use serde_json::{Map, json};

use super::{Template, TemplateError, withheld::in_text};
use crate::{
    call::DOCUMENTED_FIELDS,
    kind::{Kind, Kinds},
    language::Language,
};

/// How long one trial may take. A title or a body takes some microseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// The events that a template is for.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
    /// The kinds that the rule looks at.
    pub kinds: Kinds,
    /// The rule's condition; the fields that it names are known when it is true.
    pub when: Option<&'a str>,
}

/// An object that has every field: those of an analysis differ from project to project.
#[derive(Debug)]
struct Anything;

impl Object for Anything {
    fn get_value(self: &Arc<Self>, _: &Value) -> Option<Value> {
        Some(Value::from_object(Self))
    }
}

impl Template {
    /// Its doubtful parts: fields that calls do not have, and expressions that fail for a call that has every field, or for
    /// one that has none but those that every call has.
    pub fn doubts(&self, occasion: Occasion<'_>) -> Vec<TemplateError> {
        let mut doubts = self.undocumented_fields();
        doubts.extend(self.single_braces());
        let of_call = occasion.kinds.iter().any(Kind::is_of_call);
        let mut trials = vec![];
        if of_call {
            trials.push((sample(|_| true), "a call"));
            trials.push((sample(|field| occasion.knows(field)), "a call whose fields are null"));
        }
        if occasion.kinds.iter().any(|kind| !kind.is_of_call()) {
            let is_of_source = occasion.kinds.iter().all(|kind| kind.is_of_call() || kind.is_of_source());
            trials.push((
                None,
                if is_of_source { "an event about a source" } else { "an event about callwatch itself" },
            ));
        }
        for (call, what) in trials {
            let (template, kinds, (done, trial)) = (self.clone(), occasion.kinds, mpsc::channel());
            // On a thread of its own, which is left behind when it does not end.
            let begun = thread::Builder::new().spawn(move || {
                // Nobody waits any more when that fails.
                let _ = done.send(template.trial(call, kinds));
            });
            let error = match begun.ok().map(|_| trial.recv_timeout(PATIENCE)) {
                Some(Ok(Err(error))) => error,
                Some(Err(mpsc::RecvTimeoutError::Timeout)) => {
                    let message = format!("rendering it takes more than {} s", PATIENCE.as_secs());
                    doubts.push(TemplateError {
                        message,
                        hint: Some(self.consequence().to_owned()),
                        span: None,
                    });
                    break;
                }
                _ => continue,
            };
            let is_known = |span| doubts.iter().any(|doubt| doubt.span == span);
            let Some(doubt) = self.doubt(&error, what).filter(|doubt| !is_known(doubt.span.clone())) else {
                continue;
            };
            doubts.push(doubt);
        }
        doubts
    }

    /// `{call.FIELD}`, as other languages fill it in, which is sent as it is written.
    fn single_braces(&self) -> Option<TemplateError> {
        let source = self.source();
        source.match_indices("call.").find_map(|(at, _)| {
            let before = source[..at].trim_end();
            let is_single = before.ends_with('{') && !before.ends_with("{{");
            let (inside, after) = source[at..].split_once('}').filter(|_| is_single)?;
            let is_path = inside.trim_end().chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_'));
            (is_path && inside.trim_end() != "call." && !after.starts_with('}')).then(|| TemplateError {
                message: "what is between single braces is sent as it is written".to_owned(),
                hint: Some(format!("write {{{{ {} }}}}", inside.trim_end())),
                span: Some(before.len() - 1..at + inside.len() + 1),
            })
        })
    }

    /// `call.FIELD` where the API documents no such field, unless the template says what to do without it.
    fn undocumented_fields(&self) -> Vec<TemplateError> {
        let mut doubts = vec![];
        let Ok(template) = self.compiled() else { return doubts };
        let instructions = &get_compiled_template(&template).instructions;
        for index in 1.. {
            let Some(instruction) = instructions.get(index) else { break };
            let (Some(Instruction::Lookup("call")), Instruction::GetAttr(field)) =
                (instructions.get(index - 1), instruction)
            else {
                continue;
            };
            let closest = closest(field);
            // The filter's argument stands between them.
            let mut next = (index + 1..index + 3).map_while(|index| instructions.get(index));
            let next = next.find(|next| !matches!(next, Instruction::LoadConst(_)));
            let is_cared_for = matches!(
                next,
                Some(Instruction::ApplyFilter("default" | "d", ..) | Instruction::PerformTest(..))
            );
            if DOCUMENTED_FIELDS.contains(field) || (is_cared_for && closest.is_none()) {
                continue;
            }
            let hint = match closest {
                Some(closest) => format!("did you mean `call.{closest}`?"),
                None => format!("did you mean `call.callAnalysis.{field}`?"),
            };
            let span = instructions.get_span(index);
            doubts.push(TemplateError {
                message: format!("the API documents no field `{field}` of a call"),
                hint: Some(hint),
                span: span.map(|span| self.original(span.start_offset as usize..span.end_offset as usize)),
            });
        }
        doubts
    }

    /// Renders it for `call`, or for an event about a source.
    fn trial(&self, call: Option<Value>, kinds: Kinds) -> Result<(), minijinja::Error> {
        let kinds: Vec<_> = kinds.iter().map(Kind::as_str).collect();
        let anything = || Value::from_object(Anything);
        let rest = context! {
            changes => anything(), change => context! { kinds => kinds.clone() }, kinds, source => "source", rule => "rule",
            severity => "info", language => "en", count => 3, title => "title", message => "message", secrets => anything(),
            event => context! { id => "evt_", type => "call.ended", time => TIME },
        };
        let context = match call {
            Some(call) => context! { calls => vec![call.clone(); 3], call, ..rest },
            None => context! { details => anything(), calls => Vec::<Value>::new(), ..rest },
        };
        self.compiled()?.render(context).map(drop)
    }

    /// The doubt that a failure raises; none when only the values that were made up may be to blame.
    fn doubt(&self, error: &minijinja::Error, what: &str) -> Option<TemplateError> {
        let made_up = ["callAnalysis", "changes", "details"].iter().any(|name| self.source().contains(name));
        let failed = self.explain(error);
        let part = failed.span.clone().and_then(|span| self.source().get(span)).map(str::trim);
        let part = part
            .filter(|part| !part.is_empty())
            .map_or("a part of it".to_owned(), |part| format!("`{part}`"));
        let message = match error.kind() {
            ErrorKind::UndefinedError => format!("{part} is not there in {what}"),
            ErrorKind::MissingArgument => format!("{part} lacks an argument"),
            ErrorKind::TooManyArguments => format!("{part} has too many arguments"),
            ErrorKind::OutOfFuel => failed.message,
            _ if made_up => return None,
            _ => format!("{part} does not work with {what}"),
        };
        Some(TemplateError { message, hint: Some(self.consequence().to_owned()), span: failed.span })
    }
}

impl Occasion<'_> {
    /// Whether a field is always there and not null when the rule fires.
    fn knows(&self, field: &str) -> bool {
        let asked = self.when.is_some_and(|when| when.contains(&format!("call.{field}")));
        asked || (field == "callAnalysis" && self.kinds == Kind::Analyzed.into())
    }
}

const TIME: &str = "2025-12-15T14:32:25.000Z";

/// A call with these fields; the others are null, except those that every call has.
fn sample(is_known: impl Fn(&str) -> bool) -> Option<Value> {
    let fields = json!({
        "id": "6789abcdef0123456789abcd", "status": "completed", "duration": 145, "summary": "A summary.",
        "evaluation": "success", "endedReason": "user_hangup", "callerNumber": "+33612345678",
        "calledNumber": "+33198765432", "isEngaged": true, "callAnalysis": {}, "createdAt": TIME, "updatedAt": TIME,
        "transcript": [{ "role": "assistant", "content": "Hello" }, { "role": "user", "content": "Hi" }],
    });
    let always = ["id", "status", "createdAt", "updatedAt"];
    let fields: Map<_, _> = fields
        .as_object()?
        .iter()
        .map(|(name, value)| {
            let known = always.contains(&name.as_str()) || is_known(name);
            (name.clone(), if known { value.clone() } else { serde_json::Value::Null })
        })
        .collect();
    let call = serde_json::Value::Object(fields);
    let value = in_text(&call, Language::English).unwrap_or_else(|| Value::from(Serde(&call)));
    match is_known("callAnalysis") {
        true => Some(context! { callAnalysis => Value::from_object(Anything), ..value }),
        false => Some(value),
    }
}

/// The documented field that a name differs from by its case or a slip of the hand.
fn closest(name: &str) -> Option<&'static str> {
    let distance = |field: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &field.to_lowercase());
    let closest = DOCUMENTED_FIELDS.into_iter().min_by_key(|field| distance(field))?;
    (distance(closest) <= 2 && distance(closest) * 3 <= closest.len()).then_some(closest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubts(source: &str, kinds: impl Into<Kinds>, when: Option<&str>) -> Vec<String> {
        let template = Template::compile(source).unwrap();
        let doubts = template.doubts(Occasion { kinds: kinds.into(), when });
        doubts
            .into_iter()
            .map(|TemplateError { message, span, .. }| format!("{message} @{}", &source[span.unwrap()]))
            .collect()
    }

    #[test]
    fn fields_that_calls_do_not_have_are_doubtful() {
        for (source, doubt) in [
            (
                "{{ call.callernumber }}",
                "the API documents no field `callernumber` of a call @call.callernumber",
            ),
            ("{{ call.sentiment }}", "the API documents no field `sentiment` of a call @call.sentiment"),
            ("{{ call.sumary|default('x') }}", "the API documents no field `sumary` of a call @call.sumary"),
            (
                "{% for c in calls %}{{ c.callernumber }}{% endfor %}",
                "`c.callernumber` is not there in a call @c.callernumber",
            ),
        ] {
            assert_eq!(doubts(source, Kind::Ended, None), [doubt]);
        }
        for source in [
            "{{ call.callerNumber }} {{ call.summary|truncate(9) }} {{ call.duration|duration }} {{ count }}",
            "{{ call.recording|default('none') }} {{ 'x' if call.recording is defined }}",
            "{{ call.callAnalysis.anything|default('-') }} {{ changes.status.from }}",
            "{% for turn in call.transcript or [] %}{{ turn.role }}: {{ turn.content }}{% endfor %}",
        ] {
            assert_eq!(doubts(source, Kind::Ended, None), Vec::<String>::new(), "{source}");
        }
    }

    #[test]
    fn what_fails_for_a_call_of_nulls_is_doubtful_unless_the_rule_knows_better() {
        let source = "{{ call.callAnalysis.sentiment }}";
        let doubt = "`call.callAnalysis.sentiment` is not there in a call whose fields are null @call.callAnalysis.sentiment";
        assert_eq!(doubts(source, Kind::Ended, None), [doubt]);
        assert!(doubts(source, Kind::Analyzed, None).is_empty());
        assert!(doubts(source, Kind::Ended, Some("call.callAnalysis.sentiment == 'negative'")).is_empty());
        let doubts = doubts("{{ call.duration - 2 }}", Kind::Ended, None);
        let doubt = " does not work with a call whose fields are null @";
        assert!(doubts.len() == 1 && doubts[0].contains(doubt), "{doubts:?}");
    }

    #[test]
    fn a_field_that_is_only_named_in_the_condition_is_not_known() {
        let when = Some("call.sentiment == 'negative' && has(call.leadQuality)");
        for field in ["sentiment", "leadQuality"] {
            let doubt = format!("the API documents no field `{field}` of a call @call.{field}");
            assert_eq!(doubts(&format!("{{{{ call.{field} }}}}"), Kind::Analyzed, when), [doubt]);
        }
    }

    #[test]
    fn a_filter_without_its_argument_is_doubtful() {
        for source in [
            "{{ call.createdAt|local_time }}",
            "{{ call.summary|truncate }}",
            "{{ call.summary|replace('a') }}",
        ] {
            let doubts = doubts(source, Kind::Ended, None);
            assert!(doubts.len() == 1 && doubts[0].contains(" lacks an argument"), "{doubts:?}");
        }
    }

    #[test]
    fn an_event_about_a_source_has_no_call() {
        assert!(doubts("{{ details.error }}", Kind::SourceFailing, None).is_empty());
        assert_eq!(doubts("{{ call.id }}", Kind::SourceFailing, None).len(), 1);
    }
}
