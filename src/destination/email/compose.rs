//! Mails: subject, plain text, HTML.

use std::{sync::LazyLock, time::SystemTime};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use lettre::message::{
    Mailbox, Message as Mail, MultiPart,
    header::{HeaderName, HeaderValue},
};
use minijinja::{
    Environment,
    value::{Serde, Value as TemplateValue},
};
use ring::digest;

use super::EmailConfig;
use crate::{
    destination::{
        Notification,
        message::{Message, Moment, Writer},
    },
    event::{EventId, Severity},
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

    /// The mail as it goes over the wire.
    pub(super) fn compose(&self, notification: &Notification<'_>) -> Result<Vec<u8>, NotComposed> {
        let message = self.writer.write(notification)?;
        Ok(self.mail(&notification.event.id, &message, notification.now)?.formatted())
    }

    /// Writes the mail. It is the same at every attempt except for its date.
    fn mail(&self, id: &EventId, message: &Message, now: Timestamp) -> Result<Mail, NotComposed> {
        let domain = self.from.email.domain();
        let date = SystemTime::UNIX_EPOCH + now.since(Timestamp::from_millis(0));
        // Gmail and Outlook put mails into one conversation only if they have the same subject as well.
        let conversation = message.conversation.as_ref().filter(|_| self.threads);
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
        let page = PAGE.get_template("email.html")?.render(TemplateValue::from(Serde(message)))?;
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
fn list_id(rules: &[String], domain: &str) -> String {
    let mut rules: Vec<_> = rules.iter().map(|rule| label(rule)).filter(|label| !label.is_empty()).collect();
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

/// The letters, digits and dashes of a name.
fn label(name: &str) -> String {
    let is_kept = |c: char| c.is_ascii_alphanumeric() || c == '-';
    name.chars()
        .map(|c| if is_kept(c) { c.to_ascii_lowercase() } else { '-' })
        .collect::<String>()
        .trim_matches('-')
        .to_owned()
}

/// The title, behind the severity in words: not every mail program shows importance.
fn headline(message: &Message) -> String {
    match message.severity {
        Severity::Info => message.title.clone(),
        Severity::Warning => format!("Warning: {}", message.title),
        Severity::Critical => format!("Critical: {}", message.title),
    }
}

/// The text part.
pub(in crate::destination) fn plain(message: &Message) -> String {
    let rules = message.rules.join(", ");
    let rules = match message.rules.len() {
        0 => None,
        1 => Some(format!("Rule {rules}")),
        _ => Some(format!("Rules {rules}")),
    };
    let origin = match (rules, message.source.as_str()) {
        (None, "") => String::new(),
        (None, source) => format!("Source {source} · "),
        (Some(rules), "") => format!("{rules} · "),
        (Some(rules), source) => format!("{rules} · source {source} · "),
    };
    let noticed = message.noticed.as_ref().map(|Moment { when, .. }| format!(" · noticed {when}"));
    let call = message.call.as_ref().map(|call| format!("\nCall {call}")).unwrap_or_default();
    let links: String = message.links.iter().map(|link| format!("\n{}: {}", link.label, link.url)).collect();
    format!(
        "{}\n\n{}\n\n{FOOTER}\n{origin}{}{}{call}{links}\n",
        headline(message),
        without_footer(&message.in_columns()),
        message.when,
        noticed.unwrap_or_default(),
    )
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
