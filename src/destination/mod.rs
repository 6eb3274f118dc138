//! Where notifications go: render one for its kind of receiver, send it, and read the answer.
//!
//! A destination knows nothing of queues, schedules or stores. It is given what to tell, tries once, and says
//! in an [`Answer`] what the receiver made of it.

mod answer;
mod email;
mod facts;
mod fields;
mod message;
mod own_body;
mod payload;
mod secrets;
mod slack;
mod smtp;
mod webhook;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use self::message::Writer;
pub use self::{email::EmailDestination, slack::SlackDestination, webhook::WebhookDestination};
use crate::{
    config::{Connection, DestinationConfig, DestinationKind},
    event::Event,
    http,
    name::Name,
    rule::{RuleSet, RuleText},
    time::Timestamp,
};

/// Makes the destination that `config` describes. `client` is what [`crate::http::client`] gave, shared by all that
/// need nothing special.
///
/// # Errors
/// [`BuildError`] when something it needs is not there.
pub fn build(
    config: &DestinationConfig,
    client: &reqwest::Client,
) -> Result<Arc<dyn Destination>, BuildError> {
    let (fields, timeout) = (config.fields.clone(), config.timeout);
    let writer = Writer::new(fields.clone(), config.timezone);
    let client = |connection: &Connection| {
        if connection.is_plain() {
            return Ok(client.clone());
        }
        let destination = config.name.clone();
        http::client_for(connection).map_err(|source| BuildError::Connection { destination, source })
    };
    Ok(match &config.kind {
        DestinationKind::Webhook(webhook) => {
            Arc::new(WebhookDestination::new(webhook, fields, writer, timeout, client(&webhook.connection)?))
        }
        DestinationKind::Slack(slack) => {
            Arc::new(SlackDestination::new(slack, writer, timeout, client(&slack.connection)?))
        }
        DestinationKind::Email(email) => {
            Arc::new(EmailDestination::new(email, writer, timeout, config.concurrency)?)
        }
    })
}

/// Why a destination cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The system offers no usable TLS for the SMTP server.
    #[error("TLS cannot be used for {host} ({why}); install this machine's CA certificates")]
    Tls {
        /// The server.
        host: String,
        /// The library's words.
        why: String,
    },
    /// The destination cannot be reached as its config says.
    #[error("destination {destination}: {source}")]
    Connection {
        /// Which destination.
        destination: Name,
        /// Why not.
        source: http::ClientError,
    },
}

/// A notification as its receiver would see it.
#[derive(Debug)]
pub(crate) struct Shown {
    /// Its one line; a webhook has none.
    pub(crate) title: Option<String>,
    /// All of it: the text for people, or a webhook's body. No secret is in it.
    pub(crate) text: String,
}

/// What the receiver would be sent; nothing is.
///
/// # Errors
/// When the event's record is not JSON, which a store could only bring back damaged.
pub(crate) fn show(
    config: &DestinationConfig,
    notification: &Notification<'_>,
) -> Result<Shown, serde_json::Error> {
    let writer = Writer::new(config.fields.clone(), config.timezone);
    Ok(match &config.kind {
        DestinationKind::Webhook(webhook) => {
            Shown { title: None, text: webhook::show(webhook, &config.fields, &writer, notification)? }
        }
        DestinationKind::Slack(_) | DestinationKind::Email(_) => {
            let message = writer.write(notification)?;
            Shown { text: email::plain(&message), title: Some(message.title) }
        }
    })
}

/// A receiver of notifications.
#[async_trait]
pub trait Destination: Send + Sync + 'static {
    /// Tries once to tell the receiver. Never takes longer than the destination's timeout (with a little for
    /// the clean-up), never panics, and never puts a secret into the answer.
    async fn deliver(&self, notification: &Notification<'_>) -> Answer;

    /// Whether it wants to be given what it last kept of a lane. Most destinations keep nothing, and cost no read.
    fn keeps_memo(&self) -> bool {
        false
    }
}

/// What a destination is asked to tell.
#[derive(Clone, Copy, Debug)]
pub struct Notification<'a> {
    /// What happened.
    pub event: &'a Event,
    /// How rules want their events said.
    pub rules: &'a RuleSet,
    /// The order within (destination, source, call).
    pub sequence: u64,
    /// The time now, for timestamps and signatures.
    pub now: Timestamp,
}

impl Notification<'_> {
    /// How the event's rule wants it said; `None` when it is no longer in the config.
    pub fn text(&self) -> Option<&RuleText> {
        self.rules.get(&self.event.rule).map(|rule| &*rule.text)
    }
}

/// What came of an attempt: *what happened*, not when to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it means for the delivery.
    pub reaction: Reaction,
    /// What happened, in one line without a secret: `200 OK`, `connection refused`.
    pub result: String,
    /// The beginning of what came back, at most 2 KiB, secrets masked.
    pub response: String,
}

/// What an answer means for the delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// It arrived.
    Delivered,
    /// It did not arrive now, but may later.
    Retry {
        /// The receiver asked not to be bothered before this has passed.
        after: Option<Duration>,
    },
    /// It will never arrive as it is; the reason in a few words, the result among them.
    Dead(String),
    /// The receiver wants nothing any more: the destination is left alone until a person or another config says
    /// otherwise, and the delivery waits. The reason, the result among it.
    Pause(String),
}
