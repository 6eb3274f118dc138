//! What a receiver accepted.

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

/// How many arrivals an inbox keeps; older ones are only counted.
const KEPT: usize = 100_000;

/// Something a receiver accepted.
pub struct Arrival {
    /// When.
    pub at: Timestamp,
    /// The same for every repeat: `webhook-id`, `Message-ID`, and for Slack, which has none, a hash of the message.
    pub id: String,
    /// What it was.
    pub message: Message,
}

/// What arrived, by the kind of receiver.
pub enum Message {
    /// A request to a webhook.
    Webhook {
        /// As they came.
        headers: HeaderMap,
        /// Byte for byte.
        body: Bytes,
        /// Whether it was signed, and rightly so; a receiver without a secret cannot tell.
        verified: bool,
    },
    /// A Slack message.
    Slack(Value),
    /// A mail.
    Mail(Mail),
}

/// Messages hold conversations and phone numbers: only what identifies one is shown.
impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival").field("at", &self.at).field("id", &self.id).finish_non_exhaustive()
    }
}

/// How much came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InboxCounts {
    /// Accepted, repeats included.
    pub accepted: u64,
    /// Refused because something was wrong with it (not because the receiver was told to misbehave).
    pub refused: u64,
}

/// What a receiver accepted. Clones share it.
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

    /// What arrived, oldest first; at most the latest 100,000.
    pub fn arrivals(&self) -> Vec<Arc<Arrival>> {
        self.with(|state| state.arrivals.iter().cloned().collect())
    }

    /// Takes out what has arrived since the last time, oldest first.
    pub fn take(&self) -> Vec<Arc<Arrival>> {
        self.with(|state| std::mem::take(&mut state.arrivals).into())
    }

    /// What was wrong with the last message that was refused.
    pub fn last_refusal(&self) -> Option<String> {
        self.with(|state| state.last_refusal.clone())
    }

    /// How much has come so far; changes whenever something does.
    pub fn counts(&self) -> watch::Receiver<InboxCounts> {
        self.0.counts.subscribe()
    }

    /// Waits until at least `n` messages were accepted, repeats included. Without a deadline of its own.
    pub async fn wait_for(&self, n: u64) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.counts().wait_for(|counts| counts.accepted >= n).await;
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
