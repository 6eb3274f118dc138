//! The messages that a receiver accepted.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{body::Bytes, http::HeaderMap};
use serde_json::Value;
use tokio::sync::watch;

use super::smtp::Mail;
use crate::time::{Clock, Timestamp};

/// How many arrivals an inbox keeps. Older ones are only counted.
const KEPT: usize = 100_000;

/// A message that a receiver accepted.
pub struct Arrival {
    /// When it came.
    pub at: Timestamp,
    /// The id, which every repeat shares: the `webhook-id`, the `Message-ID`, or the hash of a message without an id.
    pub id: String,
    /// The message itself.
    pub message: Message,
}

/// A message, by the kind of its receiver.
pub enum Message {
    /// A request to a webhook.
    Webhook {
        /// The headers as they came.
        headers: HeaderMap,
        /// The body, byte for byte.
        body: Bytes,
        /// Whether the signature was checked and right. A receiver without a secret does not check.
        verified: bool,
    },
    /// A Slack message.
    Slack(Value),
    /// A mail.
    Mail(Mail),
}

/// Shows only the time and the id: messages hold conversations and phone numbers.
impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival").field("at", &self.at).field("id", &self.id).finish_non_exhaustive()
    }
}

/// How many messages came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InboxCounts {
    /// Accepted, repeats included.
    pub accepted: u64,
    /// Refused because they were wrong. Those that a receiver was told to refuse do not count.
    pub refused: u64,
}

/// The messages that a receiver accepted. Clones share them.
#[derive(Clone, Debug)]
pub struct Inbox(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    state: Mutex<State>,
    counts: watch::Sender<InboxCounts>,
}

#[derive(Debug, Default)]
struct State {
    arrivals: VecDeque<Arc<Arrival>>,
    last_refusal: Option<String>,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared {
            clock: Clock::system(),
            state: Mutex::default(),
            counts: watch::Sender::default(),
        }))
    }

    /// The time by the receiver's clock.
    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.wall()
    }

    pub(super) fn accept(&self, id: String, message: Message) {
        let arrival = Arc::new(Arrival { at: self.now(), id, message });
        self.with(|state| {
            if state.arrivals.len() == KEPT {
                state.arrivals.pop_front();
            }
            state.arrivals.push_back(arrival);
        });
        self.0.counts.send_modify(|counts| counts.accepted += 1);
    }

    pub(super) fn refuse(&self, why: String) {
        self.with(|state| state.last_refusal = Some(why));
        self.0.counts.send_modify(|counts| counts.refused += 1);
    }

    /// The latest 100,000 messages, oldest first.
    pub fn arrivals(&self) -> Vec<Arc<Arrival>> {
        self.with(|state| state.arrivals.iter().cloned().collect())
    }

    /// Takes out the messages that have arrived since the last time, oldest first.
    pub fn take(&self) -> Vec<Arc<Arrival>> {
        self.with(|state| std::mem::take(&mut state.arrivals).into())
    }

    /// Why the last refused message was wrong.
    pub fn last_refusal(&self) -> Option<String> {
        self.with(|state| state.last_refusal.clone())
    }

    /// How many messages have come so far, as a channel that every message changes.
    pub fn counts(&self) -> watch::Receiver<InboxCounts> {
        self.0.counts.subscribe()
    }

    /// Waits until at least `n` messages have been accepted, repeats included. It has no deadline of its own.
    pub async fn wait_for(&self, n: u64) {
        // Waiting cannot fail, because the sender lives as long as `self`.
        let _ = self.counts().wait_for(|counts| counts.accepted >= n).await;
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
