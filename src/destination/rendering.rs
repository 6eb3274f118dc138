//! Rendering off the runtime's workers, so that a huge call or a slow template delays nothing else.

use std::sync::Arc;

use tokio::{
    sync::Semaphore,
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

use super::Notification;
use crate::{event::Event, json::is_small, rule::Rules, time::Timestamp};

/// A record this long, in bytes, is made into a webhook's body within a fraction of a millisecond.
const SMALL: usize = 16 * 1024;

/// Renders for one destination, one message at a time: a rendering cannot be stopped from outside, so one that goes on
/// after its deadline keeps the others of its destination waiting, and no more than one thread busy.
#[derive(Debug)]
pub(super) struct Renderer {
    turn: Arc<Semaphore>,
}

/// Why nothing was rendered.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotRendered {
    #[error("the message was not rendered in time; nothing was sent")]
    Late,
    /// The panic is not shown, because its text may quote the call.
    #[error("internal error: rendering the message failed; nothing was sent")]
    Failed,
}

/// A notification that owns what it is about.
pub(super) struct Owned {
    event: Arc<Event>,
    rules: Rules,
    sequence: u64,
    now: Timestamp,
}

impl Owned {
    pub(super) fn borrowed(&self) -> Notification<'_> {
        let Self { event, rules, sequence, now } = self;
        Notification { event, rules, sequence: *sequence, memo: None, followed: false, now: *now }
    }
}

impl Notification<'_> {
    /// The same without its memo, to be rendered in another thread.
    pub(super) fn owned(&self) -> Owned {
        let (event, rules) = (Arc::clone(self.event), Arc::clone(self.rules));
        Owned { event, rules, sequence: self.sequence, now: self.now }
    }

    /// Whether a body without templates is rendered sooner than another thread could begin to.
    pub(super) fn is_small(&self) -> bool {
        self.event.record.get().len() <= SMALL && is_small(&self.event.changes.0, SMALL)
    }
}

impl Renderer {
    pub(super) fn new() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)) }
    }

    /// Runs `render` in a thread of its own, until `deadline`.
    ///
    /// # Errors
    /// [`NotRendered`] when the deadline passes or `render` panics.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        deadline: Instant,
        render: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotRendered> {
        let rendered = async {
            let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|_| NotRendered::Failed)?;
            let rendered = spawn_blocking(move || {
                // Held until the work is over, even when nobody waits for it any more.
                let _turn = turn;
                render()
            });
            rendered.await.map_err(|_| NotRendered::Failed)
        };
        timeout_at(deadline, rendered).await.unwrap_or(Err(NotRendered::Late))
    }
}
