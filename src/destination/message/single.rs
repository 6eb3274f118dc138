//! A message about one event.

use std::cell::LazyCell;

use serde_json::{Map, Value};

use super::{
    Applied, MAX_TITLE, Message, Moment, Turn, Visible, Words, Writer,
    alerts::Alert,
    facts::{
        caller, changed, dial, facts_of_call, field, first, looked_at, name_or_number, number, other_facts,
        spelled,
    },
    headline, line, says_something,
};
use crate::{
    calendar::Zone,
    call::Status,
    event::{Event, Severity},
    json,
    kind::Kind,
    language::Language,
    name::Name,
    privacy::one_line,
    rule::{Rule, RuleSet, condition::Activation},
    template::{Context, truncate},
    time::Timestamp,
};

/// The longest summary, in characters.
const MAX_SUMMARY: usize = 4000;

/// The longest number in a subject, in characters.
const MAX_CALLER: usize = 40;

/// The longest advice of one rule, in characters.
const MAX_ADVICE: usize = 1000;

/// The most fields that a rule is said to have found.
const MAX_READ: usize = 4;

/// The most other rules that are named.
const MAX_ALSO: usize = 10;

/// The most lines of a text.
const MAX_LINES: usize = 200;

/// The longest transcript, in turns, and the longest turn, in characters.
const MAX_TURNS: usize = 200;
const MAX_TURN: usize = 1000;

impl Writer {
    pub(super) fn single(&self, event: &Event, mut words: Words<'_>) -> Result<Message, serde_json::Error> {
        let shown = self.show(event, 1, &mut words)?;
        let calls = Vec::from_iter(shown.call());
        let context = shown.context(1, &calls);
        let body = words.body(&context, &event.rule);
        let fields = shown.fields();
        let kind = event.kinds.first().unwrap_or(Kind::Updated);
        let own_body = body.is_some();
        let language = self.language;
        let alert = Alert::of(event, self.zone, language);
        let facts = match kind {
            _ if own_body => vec![],
            kind if !kind.is_of_call() => vec![],
            kind => {
                let mut facts = if kind == Kind::Updated {
                    changed(shown.changes(), language, self.zone)
                } else {
                    vec![]
                };
                let of_call = facts_of_call(fields, shown.began(), language, self.zone).into_iter();
                let untold =
                    of_call.filter(|fact| !facts.iter().any(|change| fact.is_told_by(change, language)));
                let untold: Vec<_> = untold.collect();
                facts.extend(untold);
                if self.fields.include.is_some() {
                    facts.extend(other_facts(fields, language, self.zone));
                }
                facts
            }
        };
        let (facts, note) = first(facts, language);
        note.into_iter().for_each(|note| words.note(note));
        let quoted = !own_body && kind.is_of_call();
        let (default_text, default_advice) = match (kind, alert) {
            (Kind::SourceSilent, _) => (self.silent_since(fields), Some(language.silent_advice())),
            (_, Some(alert)) => (Some(alert.text), alert.advice),
            _ => {
                let summary = field(fields, "summary").map(|summary| truncate(summary, MAX_SUMMARY));
                let advice = advice_on(fields, kind, shown.severity(), language);
                (summary, advice)
            }
        };
        // A rule that has words of its own says in them what to do.
        let default_advice = default_advice.filter(|_| !own_body);
        let advice = self.advice(&shown, &calls, default_advice, &mut words);
        let transcript = match fields.get("transcript") {
            Some(Value::Array(turns)) if self.fields.shows_transcripts() => turns_of(turns, language),
            _ => vec![],
        };
        let links = match (event.subject.source(), event.subject.call()) {
            (Some(source), Some(call)) => self.links.to_call(source, call, &context),
            _ => self.links.to_page(language),
        };
        let title = self.title(&shown, &calls, 1, &mut words);
        let also = self.also(&shown, &calls, &title, &mut words);
        Ok(Message {
            title,
            severity: shown.severity(),
            lead: also.map(|also| language.also(&also)),
            text: body.or(default_text).map(|text| without_controls(text.trim())),
            quoted,
            advice,
            facts,
            entries: vec![],
            more: 0,
            transcript,
            notes: words.notes,
            rules: self.applied(&shown, words.rules),
            source: shown.source().to_owned(),
            conversation: self.conversation(&shown),
            links,
            call: event.subject.call().map(|call| one_line(call.as_str())),
            at: shown.at().as_secs(),
            when: language.date_and_time(shown.at(), self.zone),
            is_since_it_began: shown.began().is_some(),
            noticed: shown
                .noticed()
                .map(|at| Moment { at: at.as_secs(), when: language.time(at, shown.at(), self.zone) }),
            language,
        })
    }

    /// The rule's title, or the default one. `calls` and `count` are those of the whole batch.
    pub(super) fn title(
        &self,
        shown: &Visible<'_>,
        calls: &[&Value],
        count: u64,
        words: &mut Words<'_>,
    ) -> String {
        let own = words.title(&shown.context(count, calls), &shown.event.rule);
        let own = own.map(|title| headline(&title, MAX_TITLE)).filter(|title| says_something(title));
        let title = own.unwrap_or_else(|| {
            default_title(shown, words.rules.get(&shown.event.rule), self.zone, self.language)
        });
        // A test must not alarm anybody.
        let mark = shown.event.id.is_test().then(|| self.language.test() + " ");
        headline(&(mark.unwrap_or_default() + &title), MAX_TITLE)
    }

    /// What each rule that the event tells found in the call, as its receiver is shown it: `Sentiment: negative`; for a feed
    /// what happened, `Call ended`. Nothing where the call as it is does not show why a rule fired: it may have changed since.
    fn applied(&self, shown: &Visible<'_>, rules: &RuleSet) -> Vec<Applied> {
        let event = shown.event;
        let about = shown.call().and(event.subject.source());
        // The whole call, whatever the receiver is shown of it. It may be large, so it is read at most once.
        let activation = LazyCell::new(|| {
            let call = json::fields(event.record.get())?;
            Some(Activation::new(&call, None, event.kinds, about?, event.at))
        });
        let found = |rule: &Rule| match &rule.when {
            None => {
                let kind = event.kinds.iter().find(|kind| rule.on.contains(*kind))?;
                happened(kind, self.language)
            }
            Some(when) => {
                let reasons = when.reasons(activation.as_ref()?);
                let read = |path: &Vec<String>| looked_at(shown.fields(), path, self.language, self.zone);
                let mut read: Vec<_> = reasons.iter().filter_map(read).collect();
                if read.len() > MAX_READ {
                    read.truncate(MAX_READ);
                    read.push("…".to_owned());
                }
                let found = Some(read.join(", ")).filter(|found| !found.is_empty())?;
                Some(match rule.lasting {
                    Some(lasting) => self.language.rule_for(&found, &self.language.span(lasting)),
                    None => found,
                })
            }
        };
        let applied = |name: &Name| {
            let found = about.and(rules.get(name)).and_then(found);
            Applied { rule: name.to_string(), found }
        };
        event.rules().map(applied).collect()
    }

    /// What to do: the first rule's advice, or else the default, followed by the advice of the other rules.
    fn advice(
        &self,
        shown: &Visible<'_>,
        calls: &[&Value],
        default: Option<String>,
        words: &mut Words<'_>,
    ) -> Option<String> {
        let mut said: Vec<String> = vec![];
        for (place, rule) in shown.event.rules().take(1 + MAX_ALSO).enumerate() {
            let context =
                Context { rule: rule.as_str(), severity: words.severity_of(rule), ..shown.context(1, calls) };
            let own = words.advice(&context, rule);
            let advice = if place == 0 { own.or_else(|| default.clone()) } else { own };
            said.extend(advice.and_then(|advice| advised(&advice)).filter(|advice| !said.contains(advice)));
        }
        Some(said.join("\n")).filter(|said| !said.is_empty())
    }

    /// The other rules that the event tells: the title of each in its own words, or else its name; `None` when there are
    /// none. `title` is that of the message, which is not said twice.
    pub(super) fn also(
        &self,
        shown: &Visible<'_>,
        calls: &[&Value],
        title: &str,
        words: &mut Words<'_>,
    ) -> Option<String> {
        let also = &shown.event.also;
        let mut said: Vec<String> = vec![];
        for rule in also.iter().take(MAX_ALSO) {
            let context =
                Context { rule: rule.as_str(), severity: words.severity_of(rule), ..shown.context(1, calls) };
            let own = words.title_beside(&context, rule).map(|own| headline(&own, MAX_TITLE));
            let own = own.filter(|own| says_something(own) && own != title && !said.contains(own));
            said.push(own.unwrap_or_else(|| spelled(rule.as_str())));
        }
        let more = also.len().saturating_sub(MAX_ALSO);
        said.extend((more > 0).then(|| self.language.and_more_rules(more as u64)));
        (!said.is_empty()).then(|| said.join(self.language.semicolon()))
    }

    /// `Call from +33612345678, 15 Dec 09:32`: made only of what stays the same as long as the call goes on.
    fn conversation(&self, shown: &Visible<'_>) -> Option<String> {
        shown.call().filter(|_| !shown.event.id.is_test())?;
        let (language, fields) = (self.language, shown.fields());
        let caller = caller(fields, language).map(|caller| headline(&caller, MAX_CALLER));
        let is_known = number(fields, "callerNumber").is_some();
        // Without its time, all calls of a caller would be one conversation.
        let Some(began) = shown.began() else {
            let id = headline(shown.event.subject.call()?.as_str(), MAX_CALLER);
            return Some(match caller {
                Some(caller) => language.conversation_of(&id, &caller),
                None => language.conversation_id(&id),
            });
        };
        let when = language.day_and_time(began, self.zone);
        Some(match caller {
            Some(caller) if is_known => language.conversation(&caller, &when),
            Some(_) => language.conversation_unknown(&when),
            None => language.conversation_bare(&when),
        })
    }

    fn silent_since(&self, details: &Map<String, Value>) -> Option<String> {
        let since = Timestamp::parse(field(details, "since")?)?;
        Some(self.language.silent_since(since, self.zone))
    }
}

/// `Call ended · +33612345678 · 2m 25s`; for a rule with a condition its name, as in `Appointment booked · Nina Mercier
/// · 2m 25s` or `Still live for 30m · +33612345678`.
fn default_title(shown: &Visible<'_>, rule: Option<&Rule>, zone: Zone, language: Language) -> String {
    if let Some(alert) = Alert::of(shown.event, zone, language) {
        return alert.title;
    }
    let (source, call) = (shown.source(), shown.fields());
    let kind = shown.event.kinds.first().unwrap_or(Kind::Updated);
    let what = match happened(kind, language) {
        Some(what) => what,
        None if kind == Kind::SourceSilent => {
            // The details have it as it is written in a config.
            let span = field(call, "silence").map(|silence| match humantime::parse_duration(silence) {
                Ok(span) => language.span(span),
                Err(_) => silence.to_owned(),
            });
            return match span {
                Some(span) => language.no_calls_in_for(source, &span),
                None => language.no_calls_in(source),
            };
        }
        None => return kind.to_string(),
    };
    let name = || spelled(shown.event.rule.as_str());
    let mut parts = vec![match rule {
        Some(Rule { lasting: Some(lasting), .. }) => language.rule_for(&name(), &language.span(*lasting)),
        Some(Rule { when: Some(_), .. }) => name(),
        _ => what,
    }];
    parts.extend(name_or_number(call, language));
    match kind {
        Kind::Ended | Kind::Analyzed => {
            let seconds = call.get("duration").and_then(Value::as_f64);
            parts.extend(seconds.map(|seconds| language.duration(seconds)));
        }
        Kind::Updated => {
            let facts = changed(shown.changes(), language, zone).into_iter();
            let labels: Vec<_> = facts.map(|fact| language.in_a_sentence(&fact.label)).collect();
            parts.extend(Some(labels.join(", ")).filter(|labels| !labels.is_empty()));
        }
        _ => {}
    }
    parts.join(" · ")
}

/// What happened to a call; `None` for what is about none.
fn happened(kind: Kind, language: Language) -> Option<String> {
    match kind {
        Kind::Started => Some(language.call_started()),
        Kind::Ended => Some(language.call_ended()),
        Kind::Analyzed => Some(language.call_analyzed()),
        Kind::Updated => Some(language.call_updated()),
        Kind::Deleted => Some(language.call_deleted()),
        _ => None,
    }
}

/// What to do about a call of this severity, where the rule does not say; `None` when the receiver is shown too little
/// of the call to say.
fn advice_on(
    call: &Map<String, Value>,
    kind: Kind,
    severity: Severity,
    language: Language,
) -> Option<String> {
    let is_live = field(call, "status").is_some_and(|word| Status::from(word) == Status::Live);
    let is_over = matches!(kind, Kind::Ended | Kind::Analyzed | Kind::Updated) && !is_live;
    let can_be_called = number(call, "callerNumber").is_some_and(|number| dial(&number, true).is_some());
    let is_told = field(call, "summary").is_some();
    Some(match severity {
        Severity::Info if kind == Kind::Deleted => language.advice_deleted(),
        Severity::Info if is_over && seems_unsettled(call) => match is_told {
            true => language.advice("unsettled"),
            false => language.advice_unsaid("unsettled"),
        },
        Severity::Info if is_over && is_told => language.advice(severity.as_str()),
        Severity::Info if is_over && call.get("evaluation").is_none() => return None,
        Severity::Info => language.advice_unsaid(severity.as_str()),
        _ if is_over && can_be_called => language.advice(severity.as_str()),
        _ => language.advice_unsaid(severity.as_str()),
    })
}

/// Whether somebody talked, and the agent missed its goal or the caller was not content.
fn seems_unsettled(call: &Map<String, Value>) -> bool {
    if call.get("isEngaged") == Some(&Value::Bool(false)) {
        return false;
    }
    let is =
        |value: Option<&Value>, word: &str| value.and_then(Value::as_str).is_some_and(|text| text == word);
    let sentiment = call.get("callAnalysis").and_then(|analysis| analysis.get("sentiment"));
    is(call.get("evaluation"), "fail") || is(sentiment, "negative")
}

/// Advice as it is shown; `None` when it says nothing.
pub(super) fn advised(advice: &str) -> Option<String> {
    Some(without_controls(truncate(advice, MAX_ADVICE).trim())).filter(|advice| says_something(advice))
}

fn turns_of(turns: &[Value], language: Language) -> Vec<Turn> {
    let mut told: Vec<_> = turns
        .iter()
        .take(MAX_TURNS)
        .filter_map(|turn| {
            let who = match turn.get("role").and_then(Value::as_str) {
                Some("assistant") => language.agent(),
                Some("user") => language.caller(),
                Some(role) => spelled(&truncate(role, 40)),
                None => "?".to_owned(),
            };
            let said = turn.get("content").and_then(Value::as_str)?;
            Some(Turn { who: one_line(&who), said: truncate(&one_line(said), MAX_TURN) })
        })
        .collect();
    if turns.len() > MAX_TURNS {
        let left = (turns.len() - MAX_TURNS) as u64;
        told.push(Turn { who: "…".to_owned(), said: language.and_more_turns(left) });
    }
    told
}

/// The text without control characters, except line breaks.
pub(super) fn without_controls(text: &str) -> String {
    let mut lines: Vec<_> = text.lines().take(MAX_LINES + 1).map(line).collect();
    if lines.len() > MAX_LINES {
        lines[MAX_LINES] = "…".to_owned();
    }
    lines.join("\n")
}
