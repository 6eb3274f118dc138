//! A sign of life for somebody who watches over callwatch from outside: a dead man's switch, which raises the alarm when the
//! sign fails to come. It comes only while callwatch does its job, and nothing waits for it.

use std::{collections::BTreeMap, time::Duration};

use secrecy::ExposeSecret;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::upkeep::Upkeep;
use crate::{
    config::HeartbeatConfig,
    http,
    name::Name,
    store::StoreError,
    telemetry::{Board, DestinationState, DestinationStatus, Signal},
    time::Timestamp,
};

/// The longest time that one sign, or the question to the store before it, may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// A delivery that has been due for so long says that callwatch does not do its job, whoever is to blame.
const OLDEST_DUE: Duration = Duration::from_secs(15 * 60);
/// How long nobody may work on a duty. One that changes hands is free for a moment.
const FREE_FOR: Duration = Duration::from_secs(15);
/// How often to check whether all is well again, when signs are sent more rarely.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The result of the signs so far.
#[derive(Default)]
struct State {
    client: Option<reqwest::Client>,
    /// When the last sign was tried.
    tried: Option<Instant>,
    /// Whether the last one failed.
    failed: bool,
    /// Whether it was told that none is sent.
    withheld: bool,
    /// Since when there is a source that has not been asked yet.
    unasked: Option<Instant>,
}

impl Upkeep {
    /// Sends signs of life until `stop` is cancelled, as the config at work wants it.
    ///
    /// # Errors
    /// Never: what goes wrong here is told and counted, and tried again.
    pub(super) async fn beat(mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        let mut state = State::default();
        while !stop.is_cancelled() {
            let config = self.config.borrow_and_update().clone();
            let Some(heartbeat) = &config.heartbeat else {
                state = State::default();
                tokio::select! {
                    () = stop.cancelled() => {}
                    Ok(()) = self.config.changed() => {}
                }
                continue;
            };
            let left = state.tried.map_or(Duration::ZERO, |at| heartbeat.every.saturating_sub(at.elapsed()));
            if left.is_zero() {
                let beaten = self.beat_once(heartbeat, &config.sources, &mut state);
                if stop.run_until_cancelled(beaten).await.is_none() {
                    break;
                }
            }
            let left = state.tried.map_or(LOOK_EVERY, |at| heartbeat.every.saturating_sub(at.elapsed()));
            self.wait(left.min(LOOK_EVERY).min(heartbeat.every), stop).await;
        }
        Ok(())
    }

    /// Sends a sign if all is well.
    async fn beat_once(
        &self,
        heartbeat: &HeartbeatConfig,
        sources: &BTreeMap<Name, Duration>,
        state: &mut State,
    ) {
        let asked = async {
            self.store.destinations().await?;
            self.store.cluster().await
        };
        let trouble = match timeout(DEADLINE, asked).await {
            Ok(Ok(cluster)) => {
                let (now, steady) = (self.clock.wall(), self.clock.steady());
                let cluster = cluster.unwrap_or_default();
                let mut board = self.telemetry.board();
                board.complete(&cluster, now, steady);
                // Nothing is known yet of a source whose first request is under way.
                let unasked = sources.iter().find(|(name, _)| is_unasked(&board, name));
                let unasked = unasked.map(|(name, patience)| {
                    (name, patience, *state.unasked.get_or_insert_with(Instant::now))
                });
                match unasked {
                    Some((_, patience, since)) if since.elapsed() <= *patience => return,
                    Some((name, ..)) => Some(format!("source {name} has not been asked yet")),
                    None => {
                        state.unasked = None;
                        trouble(&board, sources, now, steady).or_else(|| {
                            let free = cluster.free();
                            let (duty, _) = free.iter().find(|(_, age)| *age > FREE_FOR)?;
                            Some(format!("nobody works on the {duty}"))
                        })
                    }
                }
            }
            Ok(Err(error)) => Some(format!("the store fails: {error}")),
            Err(_) => Some("the store does not answer".to_owned()),
        };
        if let Some(why) = trouble {
            if !std::mem::replace(&mut state.withheld, true) {
                self.telemetry.emit(Signal::HeartbeatWithheld { why });
            }
            return;
        }
        state.tried = Some(Instant::now());
        match send(heartbeat, &mut state.client).await {
            Ok(()) => {
                let resumed = state.withheld || state.failed;
                (state.withheld, state.failed) = (false, false);
                self.telemetry.emit(Signal::HeartbeatSent { resumed });
            }
            Err(error) => {
                state.withheld = false;
                let again = std::mem::replace(&mut state.failed, true);
                self.telemetry.emit(Signal::HeartbeatFailed { error, again });
            }
        }
    }
}

/// Whether nothing is known of a source yet: its first request is under way.
fn is_unasked(board: &Board, source: &Name) -> bool {
    board.sources.get(source).is_none_or(|source| source.answered.is_none() && source.failures == 0)
}

/// Why no sign of life may be sent; `None` when every source has answered within its time and no delivery has been due
/// for long. Deliveries to a paused destination do not count: a person who paused it knows, and a pause that the
/// receiver asked for is reported as an alert.
fn trouble(
    board: &Board,
    sources: &BTreeMap<Name, Duration>,
    now: Timestamp,
    steady: Timestamp,
) -> Option<String> {
    for (name, patience) in sources {
        let lag = board.sources.get(name).and_then(|source| source.lag(steady));
        if lag.is_none_or(|lag| lag > *patience) {
            return Some(format!("source {name} does not answer"));
        }
    }
    let is_late = |it: &DestinationStatus| {
        let is_paused = matches!(it.state, DestinationState::Paused { .. });
        !is_paused && it.backlog.oldest_due.is_some_and(|at| now.since(at) > OLDEST_DUE)
    };
    let mut late = board.destinations.iter().filter(|(_, it)| is_late(it));
    late.next().map(|(name, _)| format!("deliveries to {name} have been due for long"))
}

/// Asks for the address once.
///
/// # Errors
/// The reason in words, without the address.
async fn send(heartbeat: &HeartbeatConfig, client: &mut Option<reqwest::Client>) -> Result<(), String> {
    let client = match client {
        Some(client) => client,
        None => {
            // Certificates are read from the disk.
            let made = tokio::task::spawn_blocking(http::client).await;
            let made = made.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
            client.insert(made)
        }
    };
    let deadline = DEADLINE.min(heartbeat.every);
    let asked = async {
        let url = heartbeat.url.load().await.map_err(|error| error.to_string())?;
        // The library's error would quote the address.
        let url =
            reqwest::Url::parse(url.expose_secret().trim()).map_err(|_| "`url` is not a URL".to_owned())?;
        let response = client.get(url).send().await.map_err(|error| http::in_words(&error, deadline))?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("the answer was {status}")),
        }
    };
    timeout(deadline, asked).await.unwrap_or_else(|_| Err(http::timed_out(deadline)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Backlog, SourceStatus};

    #[test]
    fn a_sign_of_life_needs_answers_of_every_source_and_no_old_delivery() {
        let at = |secs: i64| Timestamp::from_millis(1_765_809_145_000 + secs * 1000);
        let sources = BTreeMap::from([("clinic".into(), Duration::from_secs(300))]);
        let mut board = Board::default();
        assert!(trouble(&board, &sources, at(0), at(0)).is_some(), "it has never answered");
        // The wall clock was set back by a day since the source answered.
        let last_success = Some(at(86_400));
        let answered = SourceStatus { last_success, answered: Some(at(0)), ..SourceStatus::default() };
        board.sources.insert("clinic".into(), answered);
        assert_eq!(trouble(&board, &sources, at(300), at(300)), None);
        assert_eq!(
            trouble(&board, &sources, at(301), at(301)).as_deref(),
            Some("source clinic does not answer")
        );
        let backlog = Backlog { oldest_due: Some(at(-600)), ..Backlog::default() };
        board
            .destinations
            .insert("crm".into(), DestinationStatus { backlog, ..DestinationStatus::default() });
        assert_eq!(trouble(&board, &sources, at(299), at(299)), None);
        let why = trouble(&board, &BTreeMap::new(), at(301), at(301));
        assert_eq!(why.as_deref(), Some("deliveries to crm have been due for long"));
        let crm = board.destinations.values_mut().next().unwrap();
        crm.state = DestinationState::Paused { until: None, why: "paused by hand".to_owned() };
        assert_eq!(trouble(&board, &BTreeMap::new(), at(301), at(301)), None);
    }
}
