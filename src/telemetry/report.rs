//! How the duties of other processes go, in clusters: each process reports its own, and reads what the others have reported.
//! Pure.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Board, DestinationState, DestinationStatus, Incident, SourceStatus};
use crate::{
    name::Name,
    store::{Cluster, Duty, Node, Tally},
    time::Timestamp,
};

/// How the duties of one process go. Its times are by the clocks of that process, so whoever reads it goes by how long ago they
/// were.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Report {
    /// When it was made, by the wall clock.
    wall: Timestamp,
    /// When it was made, by the steady clock.
    steady: Timestamp,
    sources: BTreeMap<Name, SourceStatus>,
    destinations: BTreeMap<Name, DestinationStatus>,
}

/// How a cluster stands as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterStatus {
    /// Processes that have been heard of lately.
    pub nodes: usize,
    /// Duties in the configs of live processes, whether or not one of them works on it.
    pub duties: usize,
    /// Those of them that nobody works on.
    pub free_duties: usize,
    /// Different configs that live processes have.
    pub configs: usize,
    /// The deliveries of each destination.
    pub deliveries: BTreeMap<Name, Tally>,
}

impl ClusterStatus {
    /// Counts the processes and duties of a cluster.
    pub fn of(cluster: &Cluster, deliveries: BTreeMap<Name, Tally>) -> Self {
        let live: Vec<&Node> = cluster.nodes.iter().filter(|node| node.live).collect();
        let duties: BTreeSet<_> = live.iter().flat_map(|node| &node.says.serves).collect();
        let configs: BTreeSet<_> = live.iter().map(|node| &node.says.config).collect();
        Self {
            nodes: live.len(),
            duties: duties.len(),
            free_duties: cluster.free().len(),
            configs: configs.len(),
            deliveries,
        }
    }
}

/// A clock of another process, as it was when it reported, and the same moment by the clock here.
struct Passage {
    there: Timestamp,
    here: Timestamp,
}

impl Passage {
    fn moved(&self, at: Timestamp) -> Timestamp {
        let passed = at.as_millis().saturating_sub(self.there.as_millis());
        Timestamp::from_millis(self.here.as_millis().saturating_add(passed))
    }

    fn incident(&self, incident: &mut Option<Incident>) {
        incident.iter_mut().for_each(|incident| incident.at = self.moved(incident.at));
    }

    fn time(&self, at: &mut Option<Timestamp>) {
        *at = at.map(|at| self.moved(at));
    }
}

impl Report {
    /// The report of the process whose board this is.
    pub(super) fn of(board: &Board, wall: Timestamp, steady: Timestamp) -> Self {
        let sources = board.sources.iter().filter(|(_, it)| !it.elsewhere);
        let destinations = board.destinations.iter().filter(|(_, it)| !it.elsewhere);
        Self {
            wall,
            steady,
            sources: sources.map(|(name, it)| (name.clone(), it.clone())).collect(),
            destinations: destinations.map(|(name, it)| (name.clone(), it.clone())).collect(),
        }
    }

    /// The same by the clocks of this process; the report is `silent` old.
    fn moved(mut self, silent: Duration, wall: Timestamp, steady: Timestamp) -> Self {
        let wall = Passage { there: self.wall, here: wall.before(silent) };
        let steady = Passage { there: self.steady, here: steady.before(silent) };
        for source in self.sources.values_mut() {
            wall.time(&mut source.last_poll);
            wall.time(&mut source.last_success);
            steady.time(&mut source.answered);
            wall.incident(&mut source.last_error);
        }
        for destination in self.destinations.values_mut() {
            wall.time(&mut destination.backlog.oldest_due);
            wall.time(&mut destination.last_success);
            wall.incident(&mut destination.last_error);
            match &mut destination.state {
                DestinationState::Ok => {}
                DestinationState::Failing { until, .. } => *until = wall.moved(*until),
                DestinationState::Paused { until, .. } => wall.time(until),
            }
        }
        self
    }
}

impl Board {
    /// Fills in the status of everything that other processes work on: as its owner has reported, or else as an earlier
    /// owner did. A source that nobody has reported since it changed hands counts as answered at that time.
    pub fn complete(&mut self, cluster: &Cluster, wall: Timestamp, steady: Timestamp) {
        let reports: Vec<(&Node, Report)> = (cluster.nodes.iter())
            .filter_map(|node| {
                // The report of a later version may not be understood here. Then it is as if that process had not
                // reported.
                let report: Report = serde_json::from_value(node.work.clone()?).ok()?;
                Some((node, report.moved(node.silent, wall, steady)))
            })
            .collect();
        for (name, status) in self.sources.iter_mut().filter(|(_, it)| it.elsewhere) {
            let duty = Duty::Source(name.clone());
            let owner = cluster.owner(&duty).map(|node| &node.id);
            let told = reports.iter().filter_map(|(node, report)| Some((node, report.sources.get(name)?)));
            match told.max_by_key(|(node, it)| (owner == Some(&node.id), it.answered)) {
                Some((_, told)) => {
                    let budget = std::mem::take(&mut status.budget);
                    *status = SourceStatus { budget, elsewhere: true, ..told.clone() };
                }
                None => {
                    let held = cluster.duties.iter().find(|held| held.duty == duty);
                    status.answered = held.map(|held| steady.before(cluster.at.since(held.since)));
                }
            }
        }
        for (name, status) in self.destinations.iter_mut().filter(|(_, it)| it.elsewhere) {
            let owner = cluster.owner(&Duty::Destination(name.clone())).map(|node| &node.id);
            let told =
                reports.iter().filter_map(|(node, report)| Some((node, report.destinations.get(name)?)));
            if let Some((_, told)) =
                told.max_by_key(|(node, _)| (owner == Some(&node.id), Reverse(node.silent)))
            {
                *status = DestinationStatus { elsewhere: true, is_reported: true, ..told.clone() };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        store::{Attendance, Held},
        telemetry::{Backlog, Calls},
    };

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(1_765_809_145_000 + secs * 1000)
    }

    fn clinic() -> Name {
        "clinic".into()
    }

    fn node(id: &str, live: bool, silent: u64, work: Option<serde_json::Value>) -> Node {
        Node {
            id: id.to_owned(),
            says: Attendance {
                name: id.to_owned(),
                version: String::new(),
                serves: [Duty::Source(clinic()), Duty::Destination("crm".into())].into(),
                config: String::new(),
            },
            leaving: false,
            live,
            since: at(0),
            silent: Duration::from_secs(silent),
            work,
        }
    }

    fn held(duty: Duty, owner: Option<&str>, since: Timestamp) -> Held {
        Held { duty, owner: owner.map(str::to_owned), since }
    }

    /// The board of a process to which everything is elsewhere.
    fn idle() -> Board {
        let mut board = Board::default();
        board.set_elsewhere(&Duty::Source(clinic()), true);
        board.set_elsewhere(&Duty::Destination("crm".into()), true);
        board
    }

    /// What a process reports at `wall` by its clock, after it was answered 5 seconds before.
    fn report(wall: Timestamp, steady: Timestamp, known: u64) -> serde_json::Value {
        let mut board = Board::default();
        let source = board.source(&clinic());
        source.calls = Calls { known, live: 1 };
        source.last_success = Some(wall.before(Duration::from_secs(5)));
        source.answered = Some(steady.before(Duration::from_secs(5)));
        let destination = board.destination(&"crm".into());
        let oldest_due = Some(wall.before(Duration::from_secs(60)));
        destination.backlog = Backlog { pending: 2, held: 0, oldest_due };
        let until = wall.after(Duration::from_secs(30));
        destination.state = DestinationState::Failing { until, why: "503".to_owned() };
        serde_json::to_value(Report::of(&board, wall, steady)).unwrap()
    }

    #[test]
    fn a_board_is_completed_by_ages_and_not_by_the_clocks_of_others() {
        // The clock of the other process is a day ahead, and it was last heard of 10 seconds ago.
        let work = report(at(86_400), at(7), 42);
        let mut cluster =
            Cluster { nodes: vec![node("a", true, 10, Some(work))], at: at(100), ..Cluster::default() };
        cluster.duties = vec![held(Duty::Source(clinic()), Some("a"), at(0))];
        let mut board = idle();
        board.complete(&cluster, at(1000), at(500));
        let source = &board.sources[&clinic()];
        assert_eq!((source.calls.known, source.last_success), (42, Some(at(1000 - 15))));
        assert_eq!(source.lag(at(500)), Some(Duration::from_secs(15)));
        assert!(source.elsewhere);
        let destination = &board.destinations[&Name::from("crm")];
        assert_eq!(destination.backlog.oldest_due, Some(at(1000 - 70)));
        assert!(
            matches!(destination.state, DestinationState::Failing { until, .. } if until == at(1000 + 20))
        );
        assert!(destination.elsewhere && destination.is_reported);
    }

    #[test]
    fn the_owner_is_believed_before_others_and_a_lost_one_until_somebody_follows() {
        let (old, new) = (report(at(0), at(0), 1), report(at(0), at(0), 2));
        let nodes = vec![node("lost", false, 3, Some(old)), node("owner", true, 9, Some(new))];
        let mut cluster = Cluster { nodes, at: at(100), ..Cluster::default() };
        let known = |cluster: &Cluster| {
            let mut board = idle();
            board.complete(cluster, at(0), at(0));
            let source = &board.sources[&clinic()];
            (source.calls.known, source.lag(at(0)))
        };
        cluster.duties = vec![held(Duty::Source(clinic()), Some("owner"), at(0))];
        assert_eq!(known(&cluster), (2, Some(Duration::from_secs(14))));
        // Nobody has followed yet: what the lost one said last is the latest that is known.
        cluster.duties = vec![held(Duty::Source(clinic()), None, at(90))];
        assert_eq!(known(&cluster), (1, Some(Duration::from_secs(8))));
        // Whoever followed has not reported yet, and nothing of the former one is left.
        cluster.nodes = vec![node("owner", true, 0, None)];
        cluster.duties = vec![held(Duty::Source(clinic()), Some("owner"), at(90))];
        assert_eq!(known(&cluster), (0, Some(Duration::from_secs(10))));
        // A report that cannot be understood is none.
        cluster.nodes = vec![node("owner", true, 0, Some(serde_json::json!({ "sources": 7 })))];
        assert_eq!(known(&cluster), (0, Some(Duration::from_secs(10))));
        cluster.duties = vec![];
        assert_eq!(known(&cluster), (0, None), "nobody has ever polled it");
    }

    #[test]
    fn a_duty_is_free_when_its_owner_is_no_live_process() {
        let mut cluster = Cluster {
            nodes: vec![node("a", true, 0, None), node("b", false, 90, None)],
            at: at(100),
            ..Cluster::default()
        };
        let crm = Duty::Destination("crm".into());
        let free = |cluster: &Cluster| {
            let free = cluster.free();
            free.into_iter().map(|(duty, age)| (duty.to_string(), age.as_secs())).collect::<Vec<_>>()
        };
        // The claim on the source holds, but by a process that nobody knows, and the other duty was never claimed.
        cluster.duties = vec![held(Duty::Source(clinic()), Some("migrate"), at(40))];
        let both = vec![("source clinic".to_owned(), 60), ("destination crm".to_owned(), 100)];
        assert_eq!(free(&cluster), both);
        cluster.duties =
            vec![held(Duty::Source(clinic()), Some("b"), at(40)), held(crm.clone(), Some("a"), at(0))];
        assert_eq!(free(&cluster), both[..1]);
        let status = ClusterStatus::of(&cluster, BTreeMap::new());
        assert_eq!((status.nodes, status.duties, status.free_duties, status.configs), (1, 2, 1, 1));
    }
}
