//! Where notifications go: render one for its kind of receiver, send it, and read the answer.
//!
//! A destination knows nothing of queues, schedules or stores. It is given what to tell, tries once, and says
//! in an [`Answer`] what the receiver made of it.

mod email;
mod payload;
mod slack;
mod webhook;

use std::time::Duration;

use async_trait::async_trait;

pub use self::{email::EmailDestination, slack::SlackDestination, webhook::WebhookDestination};
use crate::{event::Event, rule::RuleText, time::Timestamp};

/// A receiver of notifications.
#[async_trait]
pub trait Destination: Send + Sync + 'static {
    /// Tries once to tell the receiver. Never takes longer than the destination's timeout (with a little for
    /// the clean-up), never panics, and never puts a secret into the answer.
    async fn deliver(&self, notification: &Notification<'_>) -> Answer;
}

/// What a destination is asked to tell.
#[derive(Clone, Copy, Debug)]
pub struct Notification<'a> {
    /// What happened.
    pub event: &'a Event,
    /// How the rule wants it said; `None` when the rule is no longer in the config.
    pub text: Option<&'a RuleText>,
    /// The order within (destination, source, call).
    pub sequence: u64,
    /// The time now, for timestamps and signatures.
    pub now: Timestamp,
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
    /// It will never arrive as it is; the reason in a few words.
    Dead(String),
}
