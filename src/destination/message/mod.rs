//! Messages for people, before they take the shape of a Slack message or a mail: who called, how it went, and why it is
//! told. Pure, except for the signal that a text failed.

mod alerts;
mod body;
mod facts;
mod plain;
mod several;
mod single;
mod visible;

use serde::Serialize;
use serde_json::Value;
use url::Url;

use self::visible::Visible;
pub(super) use self::{
    facts::Fact,
    plain::{WIDTH, wrapped},
};
use super::{DestinationConfig, FieldFilter, Links, Notification};
use crate::{
    calendar::Zone,
    config::is_of_alerts,
    event::{Event, Severity},
    json::Budget,
    kind::Kind,
    language::{Language, capitalized},
    name::Name,
    privacy::one_line,
    rule::{RuleSet, RuleText},
    summary::Summary,
    telemetry::{Signal, Telemetry},
    template::{Context, Template, TemplateError, truncate},
};

/// The longest title, in characters.
const MAX_TITLE: usize = 200;

/// The most that is said of why a message was sent, in characters.
const MAX_WHY: usize = 600;

/// The most remarks about a message itself.
const MAX_NOTES: usize = 8;

/// A message for people.
#[derive(Debug, Serialize)]
pub(super) struct Message {
    /// One line.
    pub(super) title: String,
    /// How urgent it is.
    #[serde(serialize_with = "severity_word")]
    pub(super) severity: Severity,
    /// The line below the title: how many events it stands for, and since when; or which other rules it tells.
    pub(super) lead: Option<String>,
    /// The call's summary, or the rule's own body.
    pub(super) text: Option<String>,
    /// Whether `text` is the call's summary, and so is shown as a quotation.
    pub(super) quoted: bool,
    /// What the reader should do.
    pub(super) advice: Option<String>,
    /// Caller, outcome, duration and so on, or totals; none when the rule has a body of its own.
    pub(super) facts: Vec<Fact>,
    /// The events of a batch, the latest call first; none when it is about one event, or the rule has a body of its own for the
    /// whole batch.
    pub(super) entries: Vec<Entry>,
    /// How many events of the batch are not among `entries`.
    pub(super) more: u64,
    /// The transcript, when the receiver asked for it.
    pub(super) transcript: Vec<Turn>,
    /// Remarks about the message itself, such as that a template failed.
    pub(super) notes: Vec<String>,
    /// The rules that it tells, the one that matters most first; none when the events of a batch are of several rules.
    pub(super) rules: Vec<Applied>,
    /// The source, or the sources; empty when it is about none.
    pub(super) source: String,
    /// A line that is the same for all messages about the call, when it is about one: who called, and when.
    pub(super) conversation: Option<String>,
    /// Pages about the call.
    pub(super) links: Vec<Link>,
    /// The id of the call, when it is about one.
    pub(super) call: Option<String>,
    /// When the call began, in seconds since the Unix epoch; when the event happened, if that is not known or it is
    /// about several calls or none.
    pub(super) at: i64,
    /// The same time for people.
    pub(super) when: String,
    /// Whether that is when the call began.
    pub(super) is_since_it_began: bool,
    /// When it was noticed, where that was minutes after it happened.
    pub(super) noticed: Option<Moment>,
    /// The language that all of it is written in.
    pub(super) language: Language,
}

/// A rule that applied.
#[derive(Debug, Serialize)]
pub(super) struct Applied {
    pub(super) rule: String,
    /// What it found in the call, such as `Sentiment: negative`; `None` where that is not known, and for a batch.
    pub(super) found: Option<String>,
}

/// A time, in seconds since the Unix epoch and for people.
#[derive(Debug, Serialize)]
pub(super) struct Moment {
    pub(super) at: i64,
    pub(super) when: String,
}

/// A web address and what is behind it.
#[derive(Debug, Serialize)]
pub(super) struct Link {
    pub(super) label: String,
    /// An address without `<`, `>` and `|`.
    pub(super) url: String,
}

/// The longest address of a link, in bytes.
const MAX_LINK: usize = 1_000;

impl Link {
    /// A link to an https:// address, or to an http:// one that the config names; `None` when it is too long.
    pub(super) fn new(label: impl Into<String>, url: &Url) -> Option<Self> {
        // Slack ends an address at these.
        let url = url.to_string().replace('|', "%7C").replace('<', "%3C").replace('>', "%3E");
        (url.len() <= MAX_LINK).then(|| Self { label: label.into(), url })
    }
}

/// One event of a batch.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    /// One line, with the caller's name or number.
    pub(super) title: String,
    /// The call's summary in a few words.
    pub(super) said: Option<String>,
    /// A field of the call that is a link, when the destination's `include` asks for it.
    pub(super) link: Option<Link>,
    /// How much it matters, where the events of the batch differ in it; else `Info`.
    #[serde(serialize_with = "severity_word")]
    pub(super) severity: Severity,
    /// The caller's sentiment, if it is known.
    pub(super) mood: Option<Mood>,
    /// When the call was, in seconds since the Unix epoch.
    pub(super) at: i64,
    /// Whether that is the day of the message, in the destination's time zone.
    pub(super) today: bool,
    /// The same time for people; with the day unless it is that of the message.
    pub(super) when: String,
}

/// How a caller felt.
#[derive(Debug, Serialize)]
pub(super) struct Mood {
    /// For people.
    pub(super) word: String,
    /// `good`, `bad`, or `soft` for what is neither.
    tone: &'static str,
}

/// One turn of a transcript.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Turn {
    /// The agent, the caller, or another part in the call.
    pub(super) who: String,
    pub(super) said: String,
}

/// Writes messages for one destination.
#[derive(Debug)]
pub(super) struct Writer {
    fields: FieldFilter,
    zone: Zone,
    language: Language,
    links: Links,
    /// Receives a signal when a text cannot be rendered; `None` when nothing is sent, because the message's own note is
    /// enough then.
    telemetry: Option<Telemetry>,
}

/// The rules' own texts for one message, and notes about those that failed.
struct Words<'a> {
    writer: &'a Writer,
    rules: &'a RuleSet,
    /// A note for each template that failed.
    notes: Vec<String>,
}

impl Writer {
    /// A writer for this destination.
    pub(super) fn new(config: &DestinationConfig, telemetry: Option<Telemetry>) -> Self {
        let DestinationConfig { fields, timezone, language, links, .. } = config;
        Self { fields: fields.clone(), zone: *timezone, language: *language, links: links.clone(), telemetry }
    }

    /// Writes the message with the rule's own texts, or the default ones where the rule has none or they fail.
    ///
    /// # Errors
    /// When the event's record is not JSON, because the store is damaged.
    pub(super) fn write(&self, notification: &Notification<'_>) -> Result<Message, serde_json::Error> {
        let event = notification.event;
        let words = Words { writer: self, rules: notification.rules, notes: vec![] };
        match Summary::of(event)? {
            Some(summary) => self.several(event, &summary, words),
            None => self.single(event, words),
        }
    }

    /// The event without the fields that the receiver is not shown, one of `among` in its message.
    fn show<'e>(
        &self,
        event: &'e Event,
        among: usize,
        words: &mut Words<'_>,
    ) -> Result<Visible<'e>, serde_json::Error> {
        let mut budget = Budget::share(among);
        let shown = Visible::new(event, words.severity(event), self.language, &self.fields, &mut budget)?;
        if budget.exceeded {
            words.note(self.language.too_large());
        }
        Ok(shown)
    }
}

impl Words<'_> {
    fn of(&self, rule: &Name) -> Option<&RuleText> {
        self.rules.get(rule).map(|rule| &*rule.text)
    }

    fn severity_of(&self, rule: &Name) -> Severity {
        self.of(rule).map(|text| text.severity).unwrap_or_default()
    }

    /// How much the event matters: as much as the most severe of the rules that it tells.
    fn severity(&self, event: &Event) -> Severity {
        // That something is well again is good news, however much it mattered that it was not.
        if event.kinds.iter().any(Kind::is_relief) {
            return Severity::Info;
        }
        event.rules().map(|rule| self.severity_of(rule)).max().unwrap_or_default()
    }

    /// The rule's own title.
    fn title(&mut self, context: &Context<'_>, rule: &Name) -> Option<String> {
        let template = self.of(rule)?.title.clone();
        self.rendered("title", template.as_ref(), context, rule).unwrap_or_else(|error| {
            self.note(self.writer.language.default_title(&error.to_string()));
            None
        })
    }

    /// The rule's own body.
    fn body(&mut self, context: &Context<'_>, rule: &Name) -> Option<String> {
        let template = self.of(rule)?.body.clone();
        self.rendered("body", template.as_ref(), context, rule).unwrap_or_else(|error| {
            self.note(self.writer.language.default_body(&error.to_string()));
            None
        })
    }

    /// What the reader should do, as the rule says; `None` when it does not say, and an empty text when nothing is to be said.
    fn advice(&mut self, context: &Context<'_>, rule: &Name) -> Option<String> {
        let template = self.of(rule)?.advice.clone()?;
        match self.rendered("advice", Some(&template), context, rule) {
            Ok(text) => Some(text.unwrap_or_default()),
            Err(error) => {
                self.note(self.writer.language.no_advice_of(rule.as_str(), &error.to_string()));
                None
            }
        }
    }

    /// The rule's advice for several events at once; `None` when it speaks of one of them alone.
    fn advice_for_all(&mut self, context: &Context<'_>, rule: &Name) -> Option<String> {
        let is_for_all =
            |advice: &Template| advice.speaks_of_all() || context.count == 1 || !advice.speaks_of_one();
        self.of(rule)?.advice.as_ref().filter(|advice| is_for_all(advice))?;
        self.advice(context, rule)
    }

    /// The title of a rule that another rule's message tells as well.
    fn title_beside(&mut self, context: &Context<'_>, rule: &Name) -> Option<String> {
        let template = self.of(rule)?.title.clone();
        self.rendered("title", template.as_ref(), context, rule).unwrap_or_else(|error| {
            self.note(self.writer.language.no_title_of(rule.as_str(), &error.to_string()));
            None
        })
    }

    /// The text of a template; `None` when there is no template, or it renders to nothing. Tells of an error.
    fn rendered(
        &self,
        part: &'static str,
        template: Option<&Template>,
        context: &Context<'_>,
        rule: &Name,
    ) -> Result<Option<String>, TemplateError> {
        let Some(template) = template else { return Ok(None) };
        let text = template.render(context).inspect_err(|error| {
            if let Some(telemetry) = &self.writer.telemetry {
                telemetry.emit(Signal::TextFailed { rule: rule.clone(), part, error: error.to_string() });
            }
        })?;
        Ok(Some(text).filter(|text| !text.trim().is_empty()))
    }

    /// Adds a remark about the message itself, once.
    fn note(&mut self, note: String) {
        if self.notes.len() < MAX_NOTES && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

impl Message {
    /// Where it comes from, part by part: why it was sent, its source, and when it was, unless the facts say so. `escape` is for
    /// what strangers wrote, `strong` marks a name, and `time` a time, given in seconds since the Unix epoch and for people.
    pub(super) fn origin(
        &self,
        escape: impl Fn(&str) -> String,
        strong: impl Fn(&str) -> String,
        time: impl Fn(i64, &str) -> String,
    ) -> Vec<String> {
        let language = self.language;
        let mut parts = vec![];
        match &self.rules[..] {
            [] => {}
            [only] if is_of_alerts(&only.rule) => parts.push(language.why(&language.alert_of())),
            rules => {
                let mut room = MAX_WHY;
                let told = rules.iter().take_while(|applied| {
                    let found = applied.found.as_ref().map_or(0, |found| found.chars().count());
                    let is_first = room == MAX_WHY;
                    let fits = room.checked_sub(applied.rule.chars().count() + found);
                    room = fits.unwrap_or(0);
                    is_first || fits.is_some()
                });
                let told = told.count();
                // Rules that found the same are named together.
                let reasons = rules[..told].chunk_by(|one, other| one.found == other.found).map(|rules| {
                    let names: Vec<_> = rules.iter().map(|applied| strong(&applied.rule)).collect();
                    let names = format!("{} {}", language.rule_word(rules.len() as u64), names.join(", "));
                    match &rules[0].found {
                        Some(found) => format!("{} ({names})", escape(found)),
                        None => names,
                    }
                });
                let more = rules.len() - told;
                let more = (more > 0).then(|| language.and_more_rules(more as u64));
                parts.push(language.why(&reasons.chain(more).collect::<Vec<_>>().join(language.semicolon())));
            }
        }
        if !self.source.is_empty() {
            parts.push(format!("{} {}", language.source_word(), strong(&self.source)));
        }
        if self.facts.iter().all(|fact| fact.at.is_none()) {
            let when = time(self.at, &self.when);
            parts.push(if self.is_since_it_began { language.began(&when) } else { when });
        }
        parts.extend(self.noticed.as_ref().map(|Moment { at, when }| language.noticed(&time(*at, when))));
        parts
    }
}

/// The severity in a word; `None` for what nobody has to hurry for.
pub(super) fn urgency(severity: Severity, language: Language) -> Option<String> {
    match severity {
        Severity::Info => None,
        Severity::Warning => Some(language.warning()),
        Severity::Critical => Some(language.critical()),
    }
}

/// `Warning: `, in front of a title.
pub(super) fn in_front(severity: Severity, language: Language) -> String {
    let word = urgency(severity, language);
    word.map(|word| language.labelled(&capitalized(&word), "")).unwrap_or_default()
}

/// `[WARNING] `
fn in_brackets(severity: Severity, language: Language) -> String {
    let word = urgency(severity, language);
    word.map(|word| format!("[{}] ", word.to_uppercase())).unwrap_or_default()
}

/// Whether a line holds more than white space, dashes and punctuation.
fn says_something(line: &str) -> bool {
    let is_mark =
        |c: char| c.is_ascii_punctuation() || matches!(c, '·' | '•' | '…' | '\u{2010}'..='\u{2015}');
    line.chars().any(|c| !c.is_whitespace() && !is_mark(c))
}

/// One line of at most `limit` characters.
fn headline(text: &str, limit: usize) -> String {
    truncate(&line(text), limit)
}

/// A text on one line, as [`one_line`] makes it, with the no-break spaces that belong between a number and its unit.
fn line(text: &str) -> String {
    let is_no_break = |c: char| matches!(c, '\u{a0}' | '\u{202f}');
    let mut whole = String::with_capacity(text.len());
    for part in text.split_inclusive(is_no_break) {
        let space = part.chars().next_back().filter(|last| is_no_break(*last));
        whole.push_str(&one_line(part));
        whole.extend(space.filter(|_| whole.chars().next_back().is_some_and(|last| !last.is_whitespace())));
    }
    whole.truncate(whole.trim_end().len());
    whole
}

/// The caller's sentiment.
fn mood(call: &serde_json::Map<String, Value>, language: Language) -> Option<Mood> {
    let sentiment = headline(call.get("callAnalysis")?.get("sentiment")?.as_str()?, 40);
    let tone = match sentiment.as_str() {
        "" => return None,
        "positive" => "good",
        "negative" => "bad",
        _ => "soft",
    };
    Some(Mood { word: facts::word(&sentiment, &sentiment, language), tone })
}

fn severity_word<S: serde::Serializer>(severity: &Severity, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(severity.as_str())
}
