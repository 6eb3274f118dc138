//! Destinations: render a notification for its type of receiver, send it, and classify the response.
//!
//! A destination knows nothing of queues, schedules or stores. It is given one notification, tries once, and returns an
//! [`Answer`]. Each type has a folder with its keys (`config.rs`), its rendering and its protocol; a new type is a new
//! folder, a variant of [`DestinationKind`] and an entry in the list of types; ARCHITECTURE.md lists what else it needs.

mod address;
mod answer;
mod config;
mod connection;
mod email;
mod exchange;
mod fields;
mod links;
mod message;
mod rendering;
mod secrets;
mod slack;
mod webhook;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value;

#[cfg(any(test, fuzzing))]
pub(crate) use self::email::read_any_reply;
use self::{config::Show, message::Writer};
pub use self::{
    config::{DestinationConfig, FieldFilter, Rate},
    email::{EmailConfig, EmailDestination, SmtpSecurity, SmtpServer},
    links::Links,
    slack::{SlackBotConfig, SlackConfig, SlackThread, SlackWay},
    webhook::{WebhookAuth, WebhookBody, WebhookConfig, WebhookDestination, WebhookFormat, WebhookUrl},
};
use crate::{
    config::{Connection, Key, SecretError, Table},
    event::Event,
    http::ConnectionError,
    name::Name,
    rule::{RuleText, Rules},
    telemetry::Telemetry,
    time::Timestamp,
};

/// The settings that only one type of destination has.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one for each destination, however large")]
pub enum DestinationKind {
    /// `type = "webhook"`
    Webhook(WebhookConfig),
    /// `type = "slack"`
    Slack(SlackConfig),
    /// `type = "email"`
    Email(EmailConfig),
}

impl DestinationKind {
    /// How its server is reached.
    pub(crate) fn connection(&self) -> &Connection {
        match self {
            Self::Webhook(webhook) => &webhook.connection,
            Self::Slack(slack) => &slack.connection,
            Self::Email(email) => &email.connection,
        }
    }

    /// Whether it is given messages for people, and not the record of a call for programs.
    pub(crate) fn is_for_people(&self) -> bool {
        match self {
            Self::Webhook(_) => false,
            Self::Slack(_) | Self::Email(_) => true,
        }
    }
}

/// A type of destination: its word, its own keys, and its defaults for the common ones.
#[derive(Clone, Copy, Debug)]
pub struct DestinationType {
    /// As in `type = "webhook"`.
    pub word: &'static str,
    /// The keys that only this type has.
    pub keys: &'static [Key],
    timeout: Duration,
    concurrency: u32,
    rate: Option<&'static str>,
    merge: bool,
    show: Show,
    /// Reads the type's own keys.
    read: fn(&mut Table<'_>) -> Option<DestinationKind>,
}

const TYPES: [DestinationType; 3] = [webhook::TYPE, slack::TYPE, email::TYPE];

/// The types of destination there are.
pub const fn types() -> &'static [DestinationType] {
    &TYPES
}

/// Makes the destination that `config` describes. `client` comes from [`crate::http::client`] and is shared by all
/// destinations without certificates, a proxy or `allow_private = false` of their own. A text that cannot be rendered is
/// reported to `telemetry`.
///
/// # Errors
/// [`BuildError`] when TLS, a certificate or the proxy cannot be used, or the key of hashes cannot be read.
pub fn build(
    config: &DestinationConfig,
    client: &reqwest::Client,
    telemetry: &Telemetry,
) -> Result<Arc<dyn Destination>, BuildError> {
    let mut config = config.clone();
    config
        .read_hash_key()
        .map_err(|source| BuildError::HashKey { destination: config.name.clone(), source })?;
    let config = &config;
    let (fields, timeout) = (config.fields.clone(), config.timeout);
    let writer = Writer::new(config, Some(telemetry.clone()));
    let wrong = |source| BuildError::Connection { destination: config.name.clone(), source };
    // Only a destination over HTTP asks for one.
    let client = || match config.kind.connection() {
        connection if connection.is_plain() => Ok(client.clone()),
        connection => connection::client_for(connection).map_err(wrong),
    };
    Ok(match &config.kind {
        DestinationKind::Webhook(webhook) => {
            Arc::new(WebhookDestination::new(webhook, fields, writer, timeout, client()?))
        }
        DestinationKind::Slack(slack) => slack::build(&config.name, slack, writer, timeout, client()?),
        DestinationKind::Email(email) => {
            Arc::new(EmailDestination::new(email, writer, timeout, config.concurrency).map_err(wrong)?)
        }
    })
}

/// Why a destination cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No client can be made for the connection that its config describes.
    #[error("destination {destination}: {source}")]
    Connection {
        /// Which destination.
        destination: Name,
        /// Why not.
        source: ConnectionError,
    },
    /// What it hashes cannot be hashed.
    #[error("destination {destination}: the key of its hashes: {source}")]
    HashKey {
        /// Which destination.
        destination: Name,
        /// Why not.
        source: SecretError,
    },
}

/// The text of a notification, for `callwatch preview` and the like.
#[derive(Debug)]
pub(crate) struct Shown {
    /// The title; a webhook has none.
    pub(crate) title: Option<String>,
    /// The whole text for people, or a webhook's body with its secrets masked.
    pub(crate) text: String,
    /// Remarks about the message itself: that a text of the rule failed, and the default was used in its place.
    pub(crate) notes: Vec<String>,
}

/// Renders the notification without sending it.
///
/// # Errors
/// When the event's record is not JSON, because the store is damaged.
pub(crate) fn show(
    config: &DestinationConfig,
    notification: &Notification<'_>,
) -> Result<Shown, serde_json::Error> {
    let writer = Writer::new(config, None);
    Ok(match &config.kind {
        DestinationKind::Webhook(webhook) => {
            let (text, notes) = webhook::show(webhook, &config.fields, &writer, notification)?;
            Shown { title: None, text, notes }
        }
        DestinationKind::Slack(_) | DestinationKind::Email(_) => {
            let message = writer.write(notification)?;
            Shown { text: email::plain(&message), title: Some(message.title), notes: message.notes }
        }
    })
}

/// The bytes that would leave for the receiver: the body of a webhook with its secrets masked, the parts of a Slack message that
/// tell the event, a mail. `None` when it cannot be written.
///
/// # Errors
/// As [`show`].
pub(crate) fn leaves(
    config: &DestinationConfig,
    notification: &Notification<'_>,
) -> Result<Option<String>, serde_json::Error> {
    let writer = Writer::new(config, None);
    match &config.kind {
        DestinationKind::Webhook(webhook) => {
            Ok(Some(webhook::show(webhook, &config.fields, &writer, notification)?.0))
        }
        DestinationKind::Slack(_) => Ok(Some(slack::show(&writer.write(notification)?).to_string())),
        DestinationKind::Email(email) => Ok(email::show(email, writer, notification)),
    }
}

/// The request that carries these bytes, without its secrets; `None` for a mail, whose bytes are all of it.
pub(crate) fn carried_by(config: &DestinationConfig) -> Option<String> {
    match &config.kind {
        DestinationKind::Webhook(webhook) => Some(webhook::carried_by(webhook)),
        DestinationKind::Slack(slack) => Some(slack::carried_by(slack)),
        DestinationKind::Email(_) => None,
    }
}

/// The fields of an event's record that its receiver is not shown as they are, each with the reason.
pub(crate) fn reasons(config: &DestinationConfig, event: &Event) -> Vec<(String, &'static str)> {
    match event.subject.call() {
        Some(_) => config.fields.reasons(&event.record, !config.kind.is_for_people()),
        None => vec![],
    }
}

/// A receiver of notifications.
#[async_trait]
pub trait Destination: Send + Sync + 'static {
    /// Tries once to send the notification. Takes no longer than [`Destination::longest_attempt`] and a little for the
    /// clean-up, never panics, and never puts a secret into the answer.
    async fn deliver(&self, notification: &Notification<'_>) -> Answer;

    /// Whether its answers leave memos, so that those of earlier deliveries are to be read first.
    fn keeps_memos(&self) -> bool {
        false
    }

    /// Whether this may be sent now, for receivers with limits of their own. [`Turn::Now`] uses up the room for it, so
    /// it has to be sent. Never blocks.
    fn turn(&self, _notification: &Notification<'_>) -> Turn {
        Turn::Now
    }

    /// How long [`Destination::deliver`] may take at most; whoever waits longer may cut it off.
    fn longest_attempt(&self) -> Duration;
}

/// The turn of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It may be sent now.
    Now,
    /// Nothing is sent for it, because a later one tells it, too. So it counts towards no limit.
    Unsent,
    /// It has to wait for this long.
    In(Duration),
}

/// One event to send, and everything needed to render it.
#[derive(Clone, Copy, Debug)]
pub struct Notification<'a> {
    /// The event.
    pub event: &'a Arc<Event>,
    /// The rules, for the titles, bodies and severities of events.
    pub rules: &'a Rules,
    /// The order within the lane: counts up per (destination, source, call).
    pub sequence: u64,
    /// The last [`Answer::memo`] of the lane, if there is one.
    pub memo: Option<&'a Value>,
    /// Whether the next delivery of the lane waits already, and goes out as soon as this one has.
    pub followed: bool,
    /// The time now, for timestamps and signatures.
    pub now: Timestamp,
}

impl Notification<'_> {
    /// The texts of the event's rule; `None` when the rule is no longer in the config.
    pub fn text(&self) -> Option<&RuleText> {
        self.rules.get(&self.event.rule).map(|rule| &*rule.text)
    }
}

/// The longest [`Answer::memo`], in bytes of JSON.
pub const MAX_MEMO: usize = 4 * 1024;

/// The result of an attempt: what happened, not when to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The consequence for the delivery.
    pub reaction: Reaction,
    /// The result in one line without a secret: `200 OK`, `connection refused`.
    pub result: String,
    /// The beginning of the receiver's response, at most 2 KiB, secrets masked.
    pub response: String,
    /// Something small to keep for the lane: it is handed to the next attempt of this delivery, and to the next delivery
    /// of the lane, over restarts. `None` leaves what is kept as it is, `Some(Value::Null)` forgets it.
    ///
    /// It stands in the store, so it holds no secret, of the call no more than the subject of its mails, and is at most
    /// [`MAX_MEMO`] bytes of JSON.
    pub memo: Option<Value>,
}

/// The consequence of an attempt for its delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// It arrived.
    Delivered,
    /// It did not arrive, but may at a later attempt.
    Retry {
        /// The receiver asked for this wait, by `Retry-After`.
        after: Option<Duration>,
    },
    /// It can never arrive as it is. Holds the reason in a few words, with the result.
    Dead(String),
    /// The receiver wants nothing any more: the destination is paused until a person resumes it or its config changes,
    /// and the delivery waits. Holds the reason, with the result.
    Pause(String),
}
