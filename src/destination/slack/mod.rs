//! Slack, by an incoming webhook: <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>.
//!
//! Nothing in a call can become a link or a mention: `&`, `<` and `>` are escaped, and every text is `verbatim`, so
//! that Slack looks for neither addresses nor names in it.

mod config;

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use reqwest::{
    Client, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

pub use self::config::SlackConfig;
pub(super) use self::config::TYPE;
use super::{
    Answer, Destination, Notification,
    answer::retry_after,
    connection::in_words,
    message::{Link, Message, Moment, Writer},
    rendering::{NotRendered, Renderer},
    secrets::FreshSecret,
    webhook::{MAX_RESPONSE, secrets_in_url, status_line},
};
use crate::{
    config::SecretError,
    event::Severity,
    http,
    privacy::Mask,
    template::{slack_escape as escape, truncate},
};

/// Slack's limits: <https://docs.slack.dev/reference/block-kit/blocks>.
const MAX_HEADER: usize = 150;
const MAX_TEXT: usize = 3000;
const MAX_FIELDS: usize = 10;
const MAX_FIELD: usize = 2000;
const MAX_BLOCKS: usize = 50;
const MAX_ELEMENTS: usize = 10;

/// The most events of a batch that are listed; more would bury the channel.
const MAX_ENTRIES: usize = 20;

/// The most blocks of a transcript that are shown; nobody reads more in a channel.
const MAX_TRANSCRIPT_BLOCKS: usize = 10;

/// `type = "slack"`
pub struct SlackDestination {
    client: Client,
    url: FreshSecret,
    writer: Arc<Writer>,
    renderer: Renderer,
    timeout: Duration,
}

/// Why a request could not be made. The delivery is tried again, because a secret or the config can be mended.
#[derive(Debug, thiserror::Error)]
enum NotReady {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("`webhook_url` is not an https:// address; nothing was sent")]
    Url,
    #[error(transparent)]
    NotRendered(#[from] NotRendered),
    #[error("the event's record is damaged ({0}); nothing was sent")]
    Record(#[from] serde_json::Error),
}

#[async_trait]
impl Destination for SlackDestination {
    async fn deliver(&self, notification: &Notification<'_>) -> Answer {
        let deadline = Instant::now() + self.timeout;
        let (secret, answer) = match timeout_at(deadline, self.url.read()).await {
            Ok(Ok(secret)) => (Some(secret.clone()), self.attempt(&secret, notification, deadline).await),
            Ok(Err(error)) => (None, Answer::retry(error.to_string())),
            Err(_) => (None, Answer::retry(http::timed_out(self.timeout))),
        };
        let secret = secret.as_ref().map(|secret| secret.expose_secret().trim());
        let url = secret.and_then(|secret| Url::parse(secret).ok());
        let parts = url.iter().flat_map(secrets_in_url);
        answer.clean(&Mask::of(parts.chain(secret.map(Cow::Borrowed))))
    }

    fn longest_attempt(&self) -> Duration {
        self.timeout
    }
}

impl SlackDestination {
    pub(super) fn new(config: &SlackConfig, writer: Writer, timeout: Duration, client: Client) -> Self {
        let url = FreshSecret::new(config.webhook_url.clone());
        Self { client, url, writer: Arc::new(writer), renderer: Renderer::new(), timeout }
    }

    async fn attempt(
        &self,
        secret: &SecretString,
        notification: &Notification<'_>,
        deadline: Instant,
    ) -> Answer {
        let (url, body) = match self.request(secret, notification, deadline).await {
            Ok(request) => request,
            Err(error) => return Answer::retry(error.to_string()),
        };
        let exchange = async {
            let json = HeaderValue::from_static("application/json");
            let response = self.client.post(url).header(CONTENT_TYPE, json).body(body).send().await?;
            let (status, headers) = (response.status(), response.headers().clone());
            let (body, _more) = http::read_capped(response, MAX_RESPONSE).await?;
            Ok((status, headers, String::from_utf8_lossy(&body).into_owned()))
        };
        match timeout_at(deadline, exchange).await {
            Ok(Ok((status, headers, body))) => judge(status, &body)
                .after(retry_after(status, &headers, notification.now))
                .with_response(body),
            Ok(Err(error)) => Answer::retry(in_words(&error, self.timeout)),
            Err(_) => Answer::retry(http::timed_out(self.timeout)),
        }
    }

    /// Where to POST what.
    async fn request(
        &self,
        secret: &SecretString,
        notification: &Notification<'_>,
        deadline: Instant,
    ) -> Result<(Url, Vec<u8>), NotReady> {
        let url = Url::parse(secret.expose_secret().trim()).map_err(|_| NotReady::Url)?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(NotReady::Url);
        }
        let (owned, writer) = (notification.owned(), Arc::clone(&self.writer));
        let render = move || serde_json::to_vec(&render(&writer.write(&owned.borrowed())?));
        let body: Result<_, serde_json::Error> = self.renderer.run(deadline, render).await?;
        Ok((url, body?))
    }
}

/// Classifies Slack's response: <https://docs.slack.dev/changelog/2016-05-17-changes-to-errors-for-incoming-webhooks>.
///
/// What Slack says of the webhook or of its channel it would say of every message, so the destination is paused; only
/// what it says of the message makes the delivery dead.
fn judge(status: StatusCode, body: &str) -> Answer {
    let word = body.trim();
    let result = status_line(status);
    if status.is_success() {
        // Only Slack says `ok`; a web page of another server, or of a proxy, comes with 200 as well.
        if word == "ok" {
            return Answer::delivered(result);
        }
        return Answer::retry(format!(
            "{result}, but not Slack's `ok`; check that `webhook_url` is an incoming webhook"
        ));
    }
    let named = format!("{result}: {word}");
    let advice = match word {
        "invalid_blocks" | "invalid_payload" => {
            let reason =
                format!("{named}: Slack cannot read this message; please report it, then retry the delivery");
            return Answer::dead(named, reason);
        }
        "channel_not_found" => {
            "the webhook's channel is gone; make a new webhook and set `webhook_url` to it"
        }
        "channel_is_archived" => "unarchive the channel, or make a webhook for another one",
        "no_service" | "no_team" | "team_disabled" | "invalid_token" => {
            "the webhook was removed or switched off; make a new one and set `webhook_url` to it"
        }
        "user_not_found" => "the person the webhook writes to is gone; make a new webhook",
        "action_prohibited" => {
            "an administrator does not let webhooks post there; ask one, or use another channel"
        }
        "posting_to_general_channel_denied" => {
            "webhooks may not post to the general channel; make one for another channel"
        }
        _ => return Answer::retry(result),
    };
    let reason = format!("{named}: {advice}, then resume the destination");
    Answer::pause(named, reason)
}

/// The message in Block Kit, and its title for notifications and screen readers.
fn render(message: &Message) -> Value {
    let title = format!("{}{}", mark(message.severity), message.title);
    // Slack shows only the first blocks until the message is unfolded, so headline, facts and summary come first.
    let mut blocks = vec![json!({
        "type": "header",
        "text": { "type": "plain_text", "text": truncate(&title, MAX_HEADER), "emoji": false }
    })];
    blocks.extend(message.lead.as_ref().map(|lead| section(&capped(&escape(lead), MAX_TEXT))));
    let fields: Vec<_> = message
        .facts
        .iter()
        .map(|fact| {
            mrkdwn(&capped(&format!("*{}*\n{}", escape(&fact.label), escape(&fact.value)), MAX_FIELD))
        })
        .collect();
    blocks.extend(fields.chunks(MAX_FIELDS).map(|fields| json!({ "type": "section", "fields": fields })));
    if let Some(text) = &message.text {
        let text = escape(text);
        blocks.push(section(&capped(&if message.quoted { quoted(&text) } else { text }, MAX_TEXT)));
    }
    blocks.extend(entries(message));
    blocks.extend(transcript(message));
    let severity = match message.severity {
        Severity::Info => String::new(),
        severity => format!("*{}* · ", severity.as_str()),
    };
    let rules: Vec<_> = message.rules.iter().map(|rule| format!("*{}*", escape(rule))).collect();
    let rule = match rules.len() {
        0 => String::new(),
        1 => format!("rule {} · ", rules[0]),
        _ => format!("rules {} · ", rules.join(", ")),
    };
    let call = message.call.as_ref().map(|call| format!(" · call {}", escape(call))).unwrap_or_default();
    let noticed = message.noticed.as_ref();
    let noticed = noticed.map(|Moment { at, when }| format!(" · noticed {}", date(*at, when, true)));
    let noticed = noticed.unwrap_or_default();
    let (source, when) =
        (escape(&message.source), date(message.at, &message.when, message.noticed.is_none()));
    let source = if source.is_empty() { source } else { format!("source *{source}* · ") };
    let mut context =
        vec![mrkdwn(&capped(&format!("{severity}{rule}{source}{when}{noticed}{call}"), MAX_FIELD))];
    context.extend(
        message.notes.iter().take(MAX_ELEMENTS - 1).map(|note| mrkdwn(&capped(&escape(note), MAX_FIELD))),
    );
    blocks.truncate(MAX_BLOCKS - 1);
    blocks.push(json!({ "type": "context", "elements": context }));
    json!({ "text": escape(&title), "blocks": blocks, "unfurl_links": false, "unfurl_media": false })
}

/// The events of a batch, one in a line.
fn entries(message: &Message) -> Vec<Value> {
    let lines = message.entries.iter().take(MAX_ENTRIES).map(|entry| {
        let mood = entry.mood.as_ref().map(|mood| format!(" · _{}_", escape(mood))).unwrap_or_default();
        let said = entry.said.as_ref().map(|said| format!(" · {}", escape(said))).unwrap_or_default();
        let link =
            entry.link.as_ref().map(|Link { label, url }| format!(" · <{}|{}>", escape(url), escape(label)));
        let (mark, title, link) = (mark(entry.severity), escape(&entry.title), link.unwrap_or_default());
        format!("{}  {mark}{title}{mood}{said}{link}\n", date(entry.at, &entry.when, entry.today))
    });
    let more = message.more + message.entries.len().saturating_sub(MAX_ENTRIES) as u64;
    let more = (more > 0).then(|| format!("and {more} more"));
    sections(lines.chain(more)).iter().map(|text| section(text)).collect()
}

/// The transcript in as few sections as possible.
fn transcript(message: &Message) -> Vec<Value> {
    let lines =
        message.transcript.iter().map(|turn| format!("*{}:* {}\n", escape(&turn.who), escape(&turn.said)));
    let mut sections = sections(lines);
    if sections.len() > MAX_TRANSCRIPT_BLOCKS {
        sections.truncate(MAX_TRANSCRIPT_BLOCKS);
        sections.push("_… the rest of the transcript is not shown here_".to_owned());
    }
    sections.iter().map(|text| section(text)).collect()
}

/// Joins the lines into as few texts as possible, each of at most [`MAX_TEXT`] characters.
fn sections(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut sections: Vec<String> = vec![];
    for line in lines {
        let line = capped(&line, MAX_TEXT);
        match sections.last_mut() {
            Some(section) if section.chars().count() + line.chars().count() <= MAX_TEXT => {
                section.push_str(&line)
            }
            _ => sections.push(line),
        }
    }
    sections
}

/// A mark in front of the title that catches the eye.
fn mark(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "",
        Severity::Warning => "⚠️ ",
        Severity::Critical => "🚨 ",
    }
}

/// A time that every reader sees in their own zone, with its weekday unless it is `recent`:
/// <https://docs.slack.dev/messaging/formatting-message-text#date-formatting>.
fn date(at: i64, fallback: &str, recent: bool) -> String {
    let format = if recent { "{date_short_pretty}" } else { "{date_long_pretty}" };
    format!("<!date^{at}^{format}, {{time}}|{}>", escape(fallback))
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": mrkdwn(text) })
}

fn mrkdwn(text: &str) -> Value {
    json!({ "type": "mrkdwn", "text": text, "verbatim": true })
}

fn quoted(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(|line| format!("> {line}")).collect();
    lines.join("\n")
}

/// At most `limit` characters, never cut within an escaped character.
fn capped(text: &str, limit: usize) -> String {
    let cut = truncate(text, limit);
    match cut.rfind('&') {
        Some(at) if cut != text && !cut[at..].contains(';') => format!("{}…", &cut[..at]),
        _ => cut,
    }
}

/// Shows nothing: the address is the secret.
impl fmt::Debug for SlackDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlackDestination").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_does_not_go_through_an_escaped_character() {
        assert_eq!(capped("ab&lt;cd", 6), "ab…");
        assert_eq!(capped("ab&lt;cd", 7), "ab&lt;…");
        assert_eq!(capped("ab&lt;cd", 8), "ab&lt;cd");
    }
}
