//! Whether a callwatch at work does its work, check by check.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Ops, OpsError};
use crate::{
    config::SourceConfig,
    config_file::Config,
    privacy::mask_phones_in,
    telemetry::{Board, DestinationState, SourceStatus},
    time::Timestamp,
};

/// How long a delivery may be due. A retry that waits is not due.
const DUE_FOR: Duration = Duration::from_secs(300);

/// How long the store may take to answer.
const STORE_PATIENCE: Duration = Duration::from_secs(2);

/// The result of all checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// Whether none of them fails.
    pub ready: bool,
    /// Each of them, always in the same order.
    pub checks: Vec<Check>,
}

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// `sources`, `deliveries`, `store` or `config`.
    pub name: String,
    /// Whether all is well.
    pub ok: bool,
    /// Why, for people; left out for those who may not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Readiness {
    fn of(checks: [Check; 4]) -> Self {
        Self { ready: checks.iter().all(|check| check.ok), checks: checks.into() }
    }

    /// The names and results alone.
    pub fn without_reasons(mut self) -> Self {
        self.checks.iter_mut().for_each(|check| check.reason = None);
        self
    }
}

impl Ops {
    /// Whether callwatch does its work: its sources answer, what is due goes out, the store answers, and the config on disk
    /// is the one at work. A store that does not answer is a failed check, no error.
    pub async fn readiness(&self) -> Readiness {
        let asked = async {
            self.store.destinations().await?;
            self.store.cluster().await
        };
        let (store, cluster) = match tokio::time::timeout(STORE_PATIENCE, asked).await {
            Ok(Ok(cluster)) => (Ok(()), cluster),
            Ok(Err(error)) => (Err(OpsError::from(error).to_string()), None),
            Err(_) => {
                let patience = humantime::format_duration(STORE_PATIENCE);
                (Err(format!("no answer within {patience}")), None)
            }
        };
        let board = match cluster {
            Some(cluster) => self.board_with(&cluster),
            None => self.board.clone(),
        };
        check(&board.unwrap_or_default(), &self.config, store, self.clock.wall(), self.clock.steady())
    }
}

/// Everything that is checked. Pure.
fn check(
    board: &Board,
    config: &Config,
    store: Result<(), String>,
    now: Timestamp,
    steady: Timestamp,
) -> Readiness {
    let store_fails = store.is_err();
    let sources = config.sources.iter().filter_map(|source| {
        let status = board.sources.get(&source.name).cloned().unwrap_or_default();
        // The process that polls this source reports through the store. While the store fails, only the check `store` says so.
        if status.elsewhere && store_fails {
            return None;
        }
        silent(source, &status, steady).map(|why| format!("{}: {why}", source.name))
    });
    let late = board.destinations.iter().filter_map(|(name, status)| {
        let age = now.since(status.backlog.oldest_due?);
        // The person who paused it knows, and a pause that a receiver asked for is told when it begins.
        let is_paused = matches!(status.state, DestinationState::Paused { .. });
        (age > DUE_FOR && !is_paused).then(|| {
            let why = status.last_error.as_ref().map(|error| format!("; last failure: {}", error.error));
            let age = whole(age);
            format!("{name}: a delivery has been due for {age}{}", why.unwrap_or_default())
        })
    });
    let store = store.and(match &board.store.broken {
        Some(broken) => Err(broken.error.clone()),
        None => Ok(()),
    });
    let config_on_disk = match (&board.config.rejected, board.config.differs) {
        (Some(rejected), _) => {
            // The first mistake stands beside how many there are, where those who show one line see it.
            let error = rejected.error.replacen('\n', ": ", 1);
            Err(format!("the config file on disk is not used: {error}"))
        }
        (None, Some(_)) => Err("the config file on disk differs from the config at work".to_owned()),
        (None, None) => Ok(()),
    };
    Readiness::of([
        verdict("sources", all(sources), "every source answers"),
        verdict("deliveries", all(late), "nothing is due for long"),
        verdict("store", store, "it answers"),
        verdict("config", config_on_disk, "the file on disk is at work"),
    ])
}

/// Why nothing is known of what happens in a source now.
fn silent(config: &SourceConfig, status: &SourceStatus, steady: Timestamp) -> Option<String> {
    let error = status.last_error.as_ref().filter(|_| status.failures > 0);
    let error = error.map(|error| format!(": {}", error.error)).unwrap_or_default();
    // A request that is under way may still be answered; one that failed was not.
    let patience = match status.failures {
        0 => config.failing_after.max(config.interval * 3) + config.timeout,
        _ => config.failing_after,
    };
    match status.lag(steady) {
        None => Some(format!("it has not answered yet{error}")),
        Some(lag) if lag > patience => Some(format!("it has not answered for {}{error}", whole(lag))),
        Some(_) => None,
    }
}

fn whole(time: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(time.as_secs()))
}

/// Nothing wrong, or all that is.
fn all(wrong: impl Iterator<Item = String>) -> Result<(), String> {
    let wrong: Vec<_> = wrong.collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

fn verdict(name: &str, result: Result<(), String>, well: &str) -> Check {
    let ok = result.is_ok();
    let reason = result.map_or_else(|why| mask_phones_in(&why), |()| well.to_owned());
    Check { name: name.to_owned(), ok, reason: Some(reason) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        config::LoadOptions,
        telemetry::{Backlog, Signal, Telemetry},
        time::Clock,
    };

    const NOON: Timestamp = Timestamp::from_millis(1_765_800_000_000);

    fn config() -> Config {
        let text = format!(
            "[sources.clinic]\napi_key = \"ck_live_{}\"\n[destinations.crm]\ntype = \"webhook\"\n\
             url = \"https://crm.example.com/\"\n[rules.ended]\non = [\"ended\"]\nto = [\"crm\"]\n",
            "0".repeat(60)
        );
        Config::parse(&text, Path::new("config.toml"), LoadOptions::default()).unwrap().config
    }

    /// The checks that fail so long after `tell` has told what happened.
    fn failing(after: u64, tell: impl Fn(&Telemetry)) -> Vec<(String, String)> {
        let telemetry = Telemetry::new(Clock::starting_at(NOON));
        let config = config();
        telemetry.prepare(&config.sources, &[&"crm".into()], &[]);
        tell(&telemetry);
        let now = NOON.after(Duration::from_secs(after));
        let readiness = check(&telemetry.board(), &config, Ok(()), now, now);
        let failing: Vec<_> = readiness.checks.into_iter().filter(|check| !check.ok).collect();
        assert_eq!(readiness.ready, failing.is_empty());
        failing.into_iter().map(|check| (check.name, check.reason.unwrap())).collect()
    }

    fn fetched() -> Signal {
        Signal::Fetched { source: "clinic".into(), calls: 0, new: 0, changed: 0, took: Duration::ZERO }
    }

    fn backlog(oldest_due: Timestamp) -> Backlog {
        Backlog { pending: 1, held: 0, oldest_due: Some(oldest_due) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_another_process_polls_is_not_judged_while_the_store_fails() {
        let telemetry = Telemetry::new(Clock::starting_at(NOON));
        let config = config();
        telemetry.prepare(&config.sources, &[&"crm".into()], &[]);
        let clinic = crate::store::Duty::Source("clinic".into());
        telemetry.note_turn(&clinic, crate::store::Turn::Others);
        let failing = |store: Result<(), String>| {
            let checks = check(&telemetry.board(), &config, store, NOON, NOON).checks;
            checks.into_iter().filter(|check| !check.ok).map(|check| check.name).collect::<Vec<_>>()
        };
        assert_eq!(failing(Ok(())), ["sources"], "nobody has reported it");
        assert_eq!(failing(Err("no answer within 2s".to_owned())), ["store"]);
    }

    #[tokio::test(start_paused = true)]
    async fn each_check_fails_for_its_own_reason() {
        let one = |name: &str, reason: &str| vec![(name.to_owned(), reason.to_owned())];
        assert_eq!(failing(0, |_| {}), one("sources", "clinic: it has not answered yet"));
        assert_eq!(failing(300, |telemetry| telemetry.emit(fetched())), []);
        let silent = failing(400, |telemetry| {
            telemetry.emit(fetched());
            let error = "the API refused the key".to_owned();
            telemetry.emit(Signal::FetchFailed {
                source: "clinic".into(),
                error,
                refused: true,
                failures: 3,
            });
        });
        assert_eq!(silent, one("sources", "clinic: it has not answered for 6m 40s: the API refused the key"));
        let late = |age: u64| {
            failing(10, move |telemetry| {
                telemetry.emit(fetched());
                telemetry.set_backlog(&"crm".into(), backlog(NOON.before(Duration::from_secs(age))));
            })
        };
        assert_eq!(late(200), []);
        assert_eq!(late(350), one("deliveries", "crm: a delivery has been due for 6m"));
        let paused = failing(10, |telemetry| {
            telemetry.emit(fetched());
            telemetry.set_backlog(&"crm".into(), backlog(NOON.before(Duration::from_secs(999))));
            let why = "paused by hand".to_owned();
            telemetry.emit(Signal::DestinationPaused { destination: "crm".into(), pause: None, why });
        });
        assert_eq!(paused, []);
        let rejected = failing(10, |telemetry| {
            telemetry.emit(fetched());
            let mistakes = vec!["config.toml:3:1: error: no".to_owned()];
            telemetry
                .emit(Signal::ConfigRejected { error: "the config file has 1 error".to_owned(), mistakes });
        });
        let why =
            "the config file on disk is not used: the config file has 1 error: config.toml:3:1: error: no";
        assert_eq!(rejected, one("config", why));
        let differs = failing(10, |telemetry| {
            telemetry.emit(fetched());
            telemetry.emit(Signal::ConfigOnDisk { differs: true });
        });
        assert_eq!(differs, one("config", "the config file on disk differs from the config at work"));
    }
}
