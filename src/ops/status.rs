//! How things stand now.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Ops, OpsError, Readiness, text};
use crate::{
    name::Name,
    privacy::mask_phones_in,
    store::{Cluster, Pause, Tally},
    telemetry::{Board, DestinationState, DestinationStatus, Incident, SourceStatus},
    time::Timestamp,
};

/// How things stand now: what the store knows and, of a callwatch at work, what its board knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The time of the status.
    #[serde(with = "text::time")]
    pub at: Timestamp,
    /// How the work goes; `None` when callwatch is stopped.
    pub service: Option<ServiceStatus>,
    /// Every destination of the config, and every other that has a delivery or a pause, by name.
    pub destinations: Vec<DestinationOverview>,
    /// The processes that share the work, the oldest first; empty where one does all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeOverview>,
    /// Duties of those processes that nobody works on, as in `source clinic`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub free: Vec<DutyOverview>,
}

/// A process that shares the work with others, and its part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeOverview {
    /// The machine and the number of the process.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whether it is the one that answers.
    pub is_this: bool,
    /// Whether it has been heard of lately.
    pub live: bool,
    /// Whether it is about to end.
    pub leaving: bool,
    /// When it began.
    #[serde(with = "text::time")]
    pub since: Timestamp,
    /// When it was last heard of.
    #[serde(with = "text::time")]
    pub seen: Timestamp,
    /// Its duties.
    pub duties: Vec<DutyOverview>,
    /// Tells its config from those of the others, as far as the work is concerned.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub config: String,
}

/// A duty, and since when a process has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DutyOverview {
    /// `source clinic`, `destination crm`, or `upkeep of the store`.
    pub duty: String,
    /// Since when it is owned, or free.
    #[serde(with = "text::time")]
    pub since: Timestamp,
}

/// How the work of a callwatch goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServiceStatus {
    /// Its version.
    pub version: String,
    /// Whether it does its work.
    pub readiness: Readiness,
    /// The config.
    pub config: ConfigOverview,
    /// The sources of the config, by name.
    pub sources: Vec<SourceOverview>,
}

/// How the config stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConfigOverview {
    /// Since when the present one is at work.
    #[serde(with = "text::time_if_any")]
    pub since: Option<Timestamp>,
    /// Why the last attempt to replace it failed, if it did.
    pub rejected: Option<Mishap>,
    /// Since when the file is known to say something else that nobody has put to work.
    #[serde(with = "text::time_if_any")]
    pub differs: Option<Timestamp>,
}

/// How a source stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SourceOverview {
    /// The source.
    pub name: Name,
    /// When the last request was made, answered or not.
    #[serde(with = "text::time_if_any")]
    pub last_poll: Option<Timestamp>,
    /// When the last request was answered.
    #[serde(with = "text::time_if_any")]
    pub last_success: Option<Timestamp>,
    /// Failed requests in a row.
    pub failures: u32,
    /// Whether the API refuses the key.
    pub refused: bool,
    /// The last failure; it stays after a recovery.
    pub last_error: Option<Mishap>,
    /// Known calls, except for deleted ones.
    pub known_calls: u64,
    /// Known calls that are live.
    pub live_calls: u64,
    /// Calls that the first walk over the list has found, while it goes on.
    pub baseline: Option<u64>,
    /// Requests of the last minute.
    pub requests: u32,
    /// Requests a minute that all sources of the host share.
    pub requests_allowed: u32,
    /// Whether another process polls it, which has reported the rest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub elsewhere: bool,
}

/// How a destination stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DestinationOverview {
    /// The destination.
    pub name: Name,
    /// Whether the config has it. Deliveries for one that it does not have wait for ever.
    pub is_configured: bool,
    /// The pause it is under; `None` when there is none.
    pub pause: Option<PauseStatus>,
    /// How many deliveries it has in each state.
    pub deliveries: Tally,
    /// How the work for it goes; `None` when callwatch is stopped, the config does not have it, or another process works on it
    /// and has not reported yet.
    pub work: Option<DestinationWork>,
    /// Whether another process works on it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub elsewhere: bool,
}

/// How the work for a destination goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DestinationWork {
    /// Whether it takes deliveries.
    pub state: WorkState,
    /// Why it does not.
    pub why: Option<String>,
    /// When it is tried again, if it does not and that is known.
    #[serde(with = "text::time_if_any")]
    pub until: Option<Timestamp>,
    /// When the delivery that has been due for longest became due; `None` when none is due.
    #[serde(with = "text::time_if_any")]
    pub oldest_due: Option<Timestamp>,
    /// When the last delivery arrived.
    #[serde(with = "text::time_if_any")]
    pub last_success: Option<Timestamp>,
    /// The last attempt that failed; it stays after a success.
    pub last_error: Option<Mishap>,
}

/// Whether a destination takes deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkState {
    /// It does, as far as known.
    Ok,
    /// Too many attempts in a row failed.
    Failing,
    /// It is left alone, because its receiver or a person asked for that.
    Paused,
}

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Mishap {
    /// When it happened.
    #[serde(with = "text::time")]
    pub at: Timestamp,
    /// The error in words.
    pub error: String,
}

/// Why a destination is left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PauseStatus {
    /// When the pause began.
    #[serde(with = "text::time")]
    pub since: Timestamp,
    /// The reason, in one line.
    pub reason: String,
    /// When the pause ends by itself; `None` when a person or a change of the config has to end it.
    #[serde(with = "text::time_if_any")]
    pub until: Option<Timestamp>,
}

impl From<&Pause> for PauseStatus {
    fn from(Pause { since, reason, until, config: _ }: &Pause) -> Self {
        Self { since: *since, reason: mask_phones_in(reason), until: *until }
    }
}

impl From<&Incident> for Mishap {
    fn from(Incident { at, error }: &Incident) -> Self {
        Self { at: *at, error: mask_phones_in(error) }
    }
}

impl From<&DestinationStatus> for DestinationWork {
    fn from(DestinationStatus { state, backlog, last_success, last_error, .. }: &DestinationStatus) -> Self {
        let (state, why, until) = match state {
            DestinationState::Ok => (WorkState::Ok, None, None),
            DestinationState::Failing { until, why } => (WorkState::Failing, Some(why), Some(*until)),
            DestinationState::Paused { until, why } => (WorkState::Paused, Some(why), *until),
        };
        Self {
            state,
            why: why.map(|why| mask_phones_in(why)),
            until,
            oldest_due: backlog.oldest_due,
            last_success: *last_success,
            last_error: last_error.as_ref().map(Mishap::from),
        }
    }
}

impl Status {
    /// Whether processes that share the work have different configs, as while they are upgraded one after the other. A rule that
    /// only some have fires while one of them polls.
    pub fn configs_differ(&self) -> bool {
        let configs = self.nodes.iter().filter(|node| node.live).map(|node| &node.config);
        configs.collect::<BTreeSet<_>>().len() > 1
    }

    /// Whether callwatch is at work and there is nothing that a person has to look at. What is tried again by itself, and has
    /// not failed for long, is no trouble.
    pub fn is_well(&self) -> bool {
        self.service.as_ref().is_some_and(|service| service.readiness.ready)
            && !self.configs_differ()
            && !self.destinations.iter().any(DestinationOverview::needs_somebody)
    }
}

impl DestinationOverview {
    /// Whether something is wrong with it that may need a person: it fails, is paused, has given something up, or is not in
    /// the config while something waits for it.
    pub fn needs_somebody(&self) -> bool {
        let is_at_work = self.work.as_ref().is_none_or(|work| work.state == WorkState::Ok);
        let is_missed = !self.is_configured && self.deliveries.unfinished() > 0;
        !is_at_work || self.pause.is_some() || self.deliveries.dead > 0 || is_missed
    }

    /// The last attempt, when it failed and what failed is tried again, although too few have failed for the destination to
    /// count as failing.
    pub fn retrying(&self) -> Option<&Mishap> {
        let work = self.work.as_ref().filter(|work| work.state == WorkState::Ok && self.pause.is_none())?;
        let failed = work.last_error.as_ref().filter(|_| self.deliveries.pending > 0)?;
        work.last_success.is_none_or(|success| success < failed.at).then_some(failed)
    }
}

impl SourceOverview {
    fn of(name: &Name, status: &SourceStatus, now: Timestamp) -> Self {
        Self {
            name: name.clone(),
            last_poll: status.last_poll,
            last_success: status.last_success,
            failures: status.failures,
            refused: status.refused,
            last_error: status.last_error.as_ref().map(Mishap::from),
            known_calls: status.calls.known,
            live_calls: status.calls.live,
            baseline: status.baseline.map(|baseline| baseline.found),
            requests: status.budget.used(now),
            requests_allowed: status.budget.allowed,
            elsewhere: status.elsewhere,
        }
    }
}

impl ServiceStatus {
    fn of(board: &Board, readiness: Readiness, now: Timestamp) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            readiness,
            config: ConfigOverview {
                since: board.config.since,
                rejected: board.config.rejected.as_ref().map(Mishap::from),
                differs: board.config.differs,
            },
            sources: board.sources.iter().map(|(name, it)| SourceOverview::of(name, it, now)).collect(),
        }
    }
}

/// The processes of a cluster with their duties, the oldest first.
fn nodes(cluster: &Cluster, now: Timestamp) -> Vec<NodeOverview> {
    let mut nodes: Vec<_> = (cluster.nodes.iter())
        .map(|node| NodeOverview {
            name: node.says.name.clone(),
            version: node.says.version.clone(),
            is_this: cluster.me.as_ref() == Some(&node.id),
            live: node.live,
            leaving: node.leaving,
            since: now.before(cluster.at.since(node.since)),
            seen: now.before(node.silent),
            config: node.says.config.clone(),
            duties: (cluster.duties.iter())
                .filter(|held| held.owner.as_ref() == Some(&node.id))
                .map(|held| DutyOverview {
                    duty: held.duty.to_string(),
                    since: now.before(cluster.at.since(held.since)),
                })
                .collect(),
        })
        .collect();
    nodes.sort_by(|a, b| (a.since, &a.name).cmp(&(b.since, &b.name)));
    nodes
}

impl Ops {
    /// How things stand now.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn status(&self) -> Result<Status, OpsError> {
        let all = self.destinations().await?;
        let cluster = self.store.cluster().await?.unwrap_or_default();
        let board = self.board_with(&cluster);
        let service = match &board {
            Some(board) => Some(ServiceStatus::of(board, self.readiness().await, all.now)),
            None => None,
        };
        let at_work = board.as_ref().map_or(const { &BTreeMap::new() }, |board| &board.destinations);
        let status = |name: &Name| {
            let standing = all.standings.get(name);
            DestinationOverview {
                name: name.clone(),
                is_configured: all.configured.contains(name),
                pause: standing.and_then(|standing| standing.pause.as_ref()).map(PauseStatus::from),
                deliveries: standing.map(|standing| standing.tally).unwrap_or_default(),
                work: at_work
                    .get(name)
                    .filter(|it| !it.elsewhere || it.is_reported)
                    .map(DestinationWork::from),
                elsewhere: at_work.get(name).is_some_and(|it| it.elsewhere),
            }
        };
        let destinations = all.names().into_iter().map(status).collect();
        let nodes = nodes(&cluster, all.now);
        let free = cluster.free().into_iter();
        let free =
            free.map(|(duty, age)| DutyOverview { duty: duty.to_string(), since: all.now.before(age) });
        Ok(Status { at: all.now, service, destinations, nodes, free: free.collect() })
    }

    /// The board of the process, with what others have reported of the duties that are theirs.
    pub(super) fn board_with(&self, cluster: &Cluster) -> Option<Board> {
        let mut board = self.board.clone()?;
        board.complete(cluster, self.clock.wall(), self.clock.steady());
        Some(board)
    }
}
