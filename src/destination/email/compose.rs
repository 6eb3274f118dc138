//! Mails: subject, plain text, HTML.

use std::{sync::LazyLock, time::SystemTime};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use lettre::message::{
    Mailbox, Message as Mail, MultiPart,
    header::{HeaderName, HeaderValue},
};
use minijinja::{
    Environment, HtmlEscape,
    value::{Serde, Value as TemplateValue},
};
use ring::digest;
use serde::Serialize;

use super::EmailConfig;
use crate::{
    destination::{
        Notification,
        message::{Applied, Message, WIDTH, Writer, in_front, urgency, wrapped},
    },
    event::{EventId, Severity},
    language::capitalized,
    template::{self, truncate},
    time::Timestamp,
};

/// The longest subject, in characters. Lists of mails show fewer.
const MAX_SUBJECT: usize = 120;

/// The longest list of rules in a `List-Id`, which is 255 characters at most.
const MAX_LIST: usize = 150;

/// The template of the HTML part.
static PAGE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut env = template::environment();
    env.set_fuel(None);
    #[expect(clippy::expect_used, reason = "the page is part of the program, and every test renders it")]
    env.add_template("email.html", include_str!("email.html")).expect("a template");
    env
});

/// Writes the mails of one destination.
pub(super) struct Composer {
    pub(super) from: Mailbox,
    pub(super) to: Vec<Mailbox>,
    /// Whether the mails about one call are one conversation.
    pub(super) threads: bool,
    pub(super) writer: Writer,
}

/// A mail as it goes over the wire.
pub(super) struct Composed {
    pub(super) bytes: Vec<u8>,
    /// Its subject, where the mails about its call are one conversation.
    pub(super) conversation: Option<String>,
}

/// Why there is no mail.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotComposed {
    #[error("the event's record is damaged: {0}")]
    Record(#[from] serde_json::Error),
    #[error(transparent)]
    Page(#[from] minijinja::Error),
    #[error(transparent)]
    Mail(#[from] lettre::error::Error),
}

impl Composer {
    pub(super) fn new(config: &EmailConfig, writer: Writer) -> Self {
        let EmailConfig { from, to, threads, .. } = config;
        Self { from: from.clone(), to: to.clone(), threads: *threads, writer }
    }

    /// Writes the mail. `subject` is that of the conversation, if it has begun.
    pub(super) fn compose(
        &self,
        notification: &Notification<'_>,
        subject: Option<&str>,
    ) -> Result<Composed, NotComposed> {
        let mut message = self.writer.write(notification)?;
        let conversation = message.conversation.take().filter(|_| self.threads);
        message.conversation = conversation.map(|own| truncate(subject.unwrap_or(&own), MAX_SUBJECT));
        let bytes = self.mail(&notification.event.id, &message, notification.now)?.formatted();
        Ok(Composed { bytes, conversation: message.conversation })
    }

    /// Writes the mail. It is the same at every attempt except for its date.
    fn mail(&self, id: &EventId, message: &Message, now: Timestamp) -> Result<Mail, NotComposed> {
        let domain = self.from.email.domain();
        let date = SystemTime::UNIX_EPOCH + now.since(Timestamp::from_millis(0));
        // Gmail and Outlook put mails into one conversation only if they have the same subject as well.
        let conversation = message.conversation.as_ref();
        let subject = conversation.cloned().unwrap_or_else(|| headline(message));
        let mut builder = Mail::builder()
            .from(self.from.clone())
            .subject(truncate(&subject, MAX_SUBJECT))
            .date(date)
            .message_id(Some(format!("<{id}@{domain}>")))
            // RFC 3834: asks for no automatic replies, such as holiday notices.
            .raw_header(extra("Auto-Submitted", "auto-generated"))
            .raw_header(extra("X-Auto-Response-Suppress", "All"))
            .raw_header(extra("List-Id", &list_id(&message.rules, domain)));
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        if let Some(thread) = conversation.and_then(|_| thread(message)) {
            let thread = format!("<{thread}@{domain}>");
            builder = builder.in_reply_to(thread.clone()).references(thread);
        }
        if message.severity == Severity::Critical {
            builder = builder.raw_header(extra("Importance", "high"));
        }
        let page = Page { message, words: PageWords::of(message) };
        let page = PAGE.get_template("email.html")?.render(TemplateValue::from(Serde(&page)))?;
        Ok(builder.multipart(MultiPart::alternative_plain_html(plain(message), page))?)
    }
}

fn extra(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// The id of the thread of all mails about one call. The call's own id may hold characters that do not fit into a
/// header, so it is hashed.
fn thread(message: &Message) -> Option<String> {
    let call = message.call.as_ref()?;
    let digest = digest::digest(&digest::SHA256, format!("{}\n{call}", message.source).as_bytes());
    Some(format!("call_{}", URL_SAFE_NO_PAD.encode(&digest.as_ref()[..16])))
}

/// The list that a mail belongs to, by which programs sort (RFC 2919): one for each set of rules. It lasts as long as their names
/// do.
fn list_id(rules: &[Applied], domain: &str) -> String {
    let mut rules: Vec<_> =
        rules.iter().map(|applied| label(&applied.rule)).filter(|label| !label.is_empty()).collect();
    rules.sort_unstable();
    let whole = rules.join(".");
    let digest = digest::digest(&digest::SHA256, whole.as_bytes());
    let rules = match whole.len() {
        0 => String::new(),
        1..=MAX_LIST => format!("{whole}."),
        // Too many to be listed.
        _ => format!("{}.", label(&URL_SAFE_NO_PAD.encode(&digest.as_ref()[..12]))),
    };
    format!("<{rules}callwatch.{domain}>")
}

/// A name as a label of a domain: in lower case, with dashes in place of all but letters and digits.
fn label(name: &str) -> String {
    let is_kept = |c: char| c.is_ascii_alphanumeric() || c == '-';
    name.chars()
        .map(|c| if is_kept(c) { c.to_ascii_lowercase() } else { '-' })
        .collect::<String>()
        .trim_matches('-')
        .to_owned()
}

/// The values of the HTML part.
#[derive(Serialize)]
struct Page<'a> {
    #[serde(flatten)]
    message: &'a Message,
    words: PageWords,
}

/// The words around the message, in its language.
#[derive(Serialize)]
struct PageWords {
    /// `warning`; empty when it is not urgent.
    urgency: String,
    /// `Warning: `
    in_front: String,
    /// HTML.
    text: String,
    what_to_do: String,
    /// HTML.
    advice: String,
    more: String,
    transcript: String,
    /// HTML.
    origin: String,
    call: String,
}

impl PageWords {
    fn of(message: &Message) -> Self {
        let language = message.language;
        // Messages about callwatch itself have commands in them.
        let prose = |text: &str| if message.call.is_some() { html(text) } else { with_commands(text) };
        let origin = message.origin(html, |name| format!("<b>{}</b>", html(name)), |_, when| html(when));
        Self {
            urgency: urgency(message.severity, language).unwrap_or_default(),
            in_front: in_front(message.severity, language),
            text: message.text.as_deref().map(prose).unwrap_or_default(),
            what_to_do: language.what_to_do(),
            advice: message.advice.as_deref().map(prose).unwrap_or_default(),
            more: language.and_more(message.more),
            transcript: language.transcript(),
            origin: capitalized(&origin.join(" · ")),
            call: capitalized(&language.call_word()),
        }
    }
}

fn html(text: &str) -> String {
    HtmlEscape(text).to_string()
}

/// HTML of a text in which commands stand between backticks.
fn with_commands(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(place, part)| match place % 2 {
        0 => html(part),
        _ => format!(
            "<code style=\"font-family:ui-monospace,Menlo,Consolas,monospace;font-size:13px\">{}</code>",
            html(part)
        ),
    });
    parts.collect()
}

/// The title, behind the severity in words: not every mail program shows importance.
fn headline(message: &Message) -> String {
    in_front(message.severity, message.language) + &message.title
}

/// The text part.
pub(in crate::destination) fn plain(message: &Message) -> String {
    let language = message.language;
    let origin = message.origin(str::to_owned, str::to_owned, |_, when| when.to_owned());
    let mut foot = in_lines(origin.into_iter());
    if let Some(call) = &message.call {
        foot.push_str(&format!("\n{} {call}", capitalized(&language.call_word())));
    }
    for link in &message.links {
        foot.push_str(&format!("\n{}", language.labelled(&link.label, &link.url)));
    }
    let text = without_footer(&message.in_columns());
    format!("{}\n\n{text}\n\n{FOOTER}\n{foot}\n", wrapped(&headline(message), ""))
}

/// The parts beside each other, as many as fit into a line. Each line begins with a capital letter.
fn in_lines(parts: impl Iterator<Item = String>) -> String {
    let mut lines = String::new();
    let mut width = 0;
    for part in parts {
        let length = part.chars().count();
        if width > 0 && width + 3 + length <= WIDTH {
            width += 3 + length;
            lines.push_str(&format!(" · {part}"));
        } else {
            lines.push_str(if width > 0 { "\n" } else { "" });
            lines.push_str(&wrapped(&capitalized(&part), "  "));
            width = length;
        }
    }
    lines
}

/// The line that ends the text; mail programs take the rest for a signature (RFC 3676, section 4.3).
const FOOTER: &str = "-- ";

/// The text without lines that look as if the footer began there: a caller may have said it.
fn without_footer(text: &str) -> String {
    let is_dash = |c: char| {
        matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}')
    };
    let lines = text.lines().map(|line| {
        let marks: String =
            line.chars().filter(|c| !c.is_whitespace() && !matches!(c, '\u{200c}' | '\u{200d}')).collect();
        // Two dashes of any length are all there is.
        if marks.chars().count() == 2 && marks.chars().all(is_dash) {
            format!("> {line}")
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}
