//! Messages to systemd when it started callwatch: that the work has begun, how it goes, and that it goes on.

use std::{sync::Arc, time::Duration};

use sd_notify::NotifyState;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    ops::Ops,
    store::Store,
    supervisor::Handle,
    telemetry::{Board, Signal, Telemetry},
    template::truncate,
    time::Clock,
};

/// How long the first poll of every source is waited for. systemd waits for 90 s unless it is told otherwise.
const FIRST_POLL: Duration = Duration::from_secs(60);

/// How often it is looked whether every source has been polled.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How often it is looked how the work goes.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// The longest status, in characters.
const LONGEST: usize = 400;

/// Tells systemd something, when it started callwatch.
pub(super) fn tell(telemetry: &Telemetry, state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        let text =
            format!("systemd cannot be told how callwatch is ({error}); it may think that it never started");
        telemetry.emit(Signal::Hindrance { text });
    }
}

/// Tells systemd that the config is read anew.
pub(super) fn tell_reloading(telemetry: &Telemetry) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(telemetry, &[NotifyState::Reloading, now]),
        // systemd wants `MONOTONIC_USEC` beside `RELOADING=1`.
        Err(error) => telemetry.emit(Signal::Hindrance { text: format!("no monotonic clock: {error}") }),
    }
}

/// Keeps systemd informed.
pub(super) struct Informant {
    pub(super) store: Arc<dyn Store>,
    pub(super) telemetry: Telemetry,
    pub(super) clock: Clock,
    pub(super) handle: Handle,
}

impl Informant {
    /// Says that callwatch is ready when every source has answered or failed, and from then on how the work goes, until `stop`
    /// is cancelled. Does nothing when systemd did not start callwatch.
    pub(super) async fn inform(self, stop: CancellationToken) {
        if std::env::var_os("NOTIFY_SOCKET").is_some() {
            stop.run_until_cancelled(self.go_on_informing()).await;
        }
    }

    async fn go_on_informing(&self) {
        let deadline = Instant::now() + FIRST_POLL;
        while !self.has_begun() && Instant::now() < deadline {
            sleep(LOOK_EVERY).await;
        }
        tell(&self.telemetry, &[NotifyState::Ready]);
        let watchdog = sd_notify::watchdog_enabled();
        let every = watchdog.map_or(SAY_EVERY, |within| SAY_EVERY.min(within / 3));
        let mut said = String::new();
        loop {
            let (status, is_alive) = self.status().await;
            if status != said {
                tell(&self.telemetry, &[NotifyState::Status(&status)]);
                said = status;
            }
            // A stuck runtime does not get here, and without an answer from the store the watchdog is not fed either.
            if watchdog.is_some() && is_alive {
                tell(&self.telemetry, &[NotifyState::Watchdog]);
            }
            sleep(every).await;
        }
    }

    /// Whether the config is at work, and each source has answered or failed.
    fn has_begun(&self) -> bool {
        let sources = self.telemetry.board().sources;
        self.handle.config().is_some() && sources.values().all(|source| source.last_poll.is_some())
    }

    /// How the work goes, in one line, and whether the store answers.
    async fn status(&self) -> (String, bool) {
        let Some(config) = self.handle.config() else { return ("starting".to_owned(), true) };
        let board = self.telemetry.board();
        let ops = Ops::new(Arc::clone(&self.store), config, self.clock).beside(board.clone());
        let readiness = ops.readiness().await;
        let wrong: Vec<_> = readiness.checks.iter().filter(|check| !check.ok).collect();
        let is_alive = wrong.iter().all(|check| check.name != "store");
        if wrong.is_empty() {
            return (well(&board), is_alive);
        }
        let reasons: Vec<_> = wrong.iter().filter_map(|check| check.reason.as_deref()).collect();
        let line = reasons.join("; ").replace(['\n', '\r'], "; ");
        (truncate(&format!("not all is well: {line}"), LONGEST), is_alive)
    }
}

/// The figures of a callwatch that does its work.
fn well(board: &Board) -> String {
    let (mut known, mut live) = (0, 0);
    for source in board.sources.values() {
        (known, live) = (known + source.calls.known, live + source.calls.live);
    }
    let waiting: u64 = board.destinations.values().map(|it| it.backlog.pending + it.backlog.held).sum();
    format!("all is well: {known} calls known, {live} live; {waiting} deliveries wait")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Calls;

    #[test]
    fn the_status_says_how_much_there_is() {
        let telemetry = Telemetry::default();
        telemetry.set_calls(&"clinic".into(), Calls { known: 7, live: 2 });
        assert_eq!(well(&telemetry.board()), "all is well: 7 calls known, 2 live; 0 deliveries wait");
    }
}
