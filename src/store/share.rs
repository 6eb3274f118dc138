//! Who works on what when several processes share a store. Pure: each process decides for itself from what it sees, and
//! the epochs of claims make sure that a wrong guess does no harm.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;

use super::Duty;
use crate::time::Timestamp;

/// What a process says of itself when it takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attendance {
    /// What people call it.
    pub name: String,
    /// Its version of callwatch.
    pub version: String,
    /// The duties of its config.
    pub serves: BTreeSet<Duty>,
    /// Tells its config from any other, as far as the work is concerned.
    pub config: String,
}

/// A process that takes part in the work, as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Names the process; no two have the same.
    pub id: String,
    /// What it says of itself.
    pub says: Attendance,
    /// Whether it is about to end, and takes nothing more.
    pub leaving: bool,
    /// Whether it has been heard of within the lease.
    pub live: bool,
    /// When it began, by the store's clock.
    pub since: Timestamp,
    /// How long ago it was heard of.
    pub silent: Duration,
    /// How its duties went then, in its own words (see [`Store::report`](super::Store::report)). Only
    /// [`Store::cluster`](super::Store::cluster) asks for it.
    pub work: Option<Value>,
}

/// A duty, and who works on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The duty.
    pub duty: Duty,
    /// The process whose claim has not run out; `None` when the duty is free.
    pub owner: Option<String>,
    /// Since when it is owned or free, by the store's clock.
    pub since: Timestamp,
}

impl Cluster {
    /// The process that works on a duty: its claim holds, and it has been heard of lately.
    pub fn owner(&self, duty: &Duty) -> Option<&Node> {
        let owner = self.duties.iter().find(|held| held.duty == *duty)?.owner.as_ref()?;
        self.nodes.iter().find(|node| node.live && node.id == *owner)
    }

    /// The duties that a live process serves and nobody works on, each with how long that has been so.
    pub fn free(&self) -> Vec<(&Duty, Duration)> {
        let mut free: BTreeMap<&Duty, Timestamp> = BTreeMap::new();
        for node in self.nodes.iter().filter(|node| node.live) {
            for duty in node.says.serves.iter().filter(|duty| self.owner(duty).is_none()) {
                let held = self.duties.iter().find(|held| held.duty == *duty);
                // A duty that nobody has ever claimed is free since somebody serves it.
                let since = held.map_or(node.since, |held| held.since);
                free.entry(duty).and_modify(|at| *at = since.min(*at)).or_insert(since);
            }
        }
        free.into_iter().map(|(duty, since)| (duty, self.at.since(since))).collect()
    }
}

/// All processes and duties of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// The processes, by their ids.
    pub nodes: Vec<Node>,
    /// The duties that were ever claimed.
    pub duties: Vec<Held>,
    /// The process that asked, when it takes part.
    pub me: Option<String>,
    /// The time, by the store's clock.
    pub at: Timestamp,
}

/// The part of the work that falls to a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Free duties that it may take.
    pub take: BTreeSet<Duty>,
    /// Duties that are its own, as the store says. It may not know so itself, when an answer was lost.
    pub own: BTreeSet<Duty>,
    /// Duties of its own that it should give back, because another process has too little to do.
    pub give_back: BTreeSet<Duty>,
    /// How many processes take part, itself included; 0 when nothing is known yet.
    pub nodes: usize,
}

impl Share {
    /// The share of process `me`.
    ///
    /// The duties are divided equally among the processes. The remainder goes to those that own most already, so that few duties
    /// change hands. A process takes no more than its part, so that others find free duties when several wake at once. It takes
    /// more only of duties that no other process with too few serves.
    pub fn of(cluster: &Cluster, me: &str) -> Self {
        let taking: Vec<&Node> = cluster.nodes.iter().filter(|node| node.live && !node.leaving).collect();
        let Some(own) = taking.iter().find(|node| node.id == me) else { return Self::default() };
        let wanted: BTreeSet<&Duty> = taking.iter().flat_map(|node| &node.says.serves).collect();
        let owners: BTreeMap<&Duty, &str> =
            cluster.duties.iter().filter_map(|held| Some((&held.duty, held.owner.as_deref()?))).collect();
        let count =
            |id: &str| owners.iter().filter(|(duty, owner)| **owner == id && wanted.contains(*duty)).count();
        let mut ranked: Vec<_> =
            taking.iter().map(|node| (Reverse(count(&node.id)), node.id.as_str())).collect();
        ranked.sort_unstable();
        let (each, left) = (wanted.len() / taking.len(), wanted.len() % taking.len());
        let part = |rank: usize| each + usize::from(rank < left);
        // How many duties each process lacks, this one included.
        let lacking: BTreeMap<&str, usize> = (ranked.iter().enumerate())
            .filter_map(|(rank, (Reverse(has), id))| {
                Some((*id, part(rank).checked_sub(*has).filter(|it| *it > 0)?))
            })
            .collect();
        let is_wanted_elsewhere = |duty: &Duty| {
            taking.iter().any(|node| {
                node.id != me && lacking.contains_key(&*node.id) && node.says.serves.contains(duty)
            })
        };
        let mut free: Vec<_> = own.says.serves.iter().filter(|duty| !owners.contains_key(duty)).collect();
        // Each process has an order of its own, so that those that wake together do not all want the same.
        free.sort_by_key(|duty| xxhash_rust::xxh3::xxh3_64(format!("{me} {duty}").as_bytes()));
        let room = lacking.get(me).copied().unwrap_or_default();
        let take = (free.into_iter().enumerate())
            .filter(|(place, duty)| *place < room || !is_wanted_elsewhere(duty))
            .map(|(_, duty)| duty.clone())
            .collect();
        let rank = ranked.iter().position(|(_, id)| *id == me).unwrap_or_default();
        let surplus = count(me).saturating_sub(part(rank));
        let mine = || owners.iter().rev().filter(|(_, owner)| **owner == me).map(|(duty, _)| *duty);
        let give_back = mine().filter(|duty| is_wanted_elsewhere(duty)).take(surplus).cloned().collect();
        let own = mine().cloned().collect();
        Self { take, own, give_back, nodes: taking.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A simulated database and processes around it, whose steps are mixed at random.
    struct World {
        random: fastrand::Rng,
        /// By the database's clock, in milliseconds.
        now: u64,
        rows: BTreeMap<Duty, Row>,
        seen: BTreeMap<String, (u64, bool)>,
        processes: Vec<Process>,
        /// The last epoch with which each duty was written, by whom.
        written: BTreeMap<Duty, (u64, String)>,
    }

    #[derive(Clone, Debug, Default)]
    struct Row {
        epoch: u64,
        owner: Option<String>,
        until: u64,
    }

    struct Process {
        id: String,
        /// Whether it runs, stands still (as after SIGSTOP, or without a network) or has been killed.
        state: State,
        /// What it believes to own, with the epoch.
        claims: BTreeMap<Duty, u64>,
        share: Share,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum State {
        Runs,
        Stands,
        Killed,
    }

    const LEASE: u64 = 15_000;

    fn duties(count: usize) -> BTreeSet<Duty> {
        let named = |number: usize| match number % 3 {
            0 => Duty::Source(format!("s{number}").into()),
            _ => Duty::Destination(format!("d{number}").into()),
        };
        (0..count - 1).map(named).chain([Duty::Upkeep]).collect()
    }

    impl World {
        fn new(seed: u64) -> Self {
            Self {
                random: fastrand::Rng::with_seed(seed),
                now: 0,
                rows: BTreeMap::new(),
                seen: BTreeMap::new(),
                processes: vec![],
                written: BTreeMap::new(),
            }
        }

        fn join(&mut self) {
            let id = format!("{:08x}-{}", self.random.u32(..), self.processes.len());
            let share = Share::default();
            self.processes.push(Process { id, state: State::Runs, claims: BTreeMap::new(), share });
        }

        fn cluster(&self, serves: &BTreeSet<Duty>) -> Cluster {
            let node = |(id, (seen, leaving)): (&String, &(u64, bool))| Node {
                id: id.clone(),
                says: Attendance {
                    name: id.clone(),
                    version: String::new(),
                    serves: serves.clone(),
                    config: String::new(),
                },
                leaving: *leaving,
                live: seen + LEASE > self.now,
                since: Timestamp::default(),
                silent: Duration::from_millis(self.now - seen),
                work: None,
            };
            let held = |(duty, row): (&Duty, &Row)| Held {
                duty: duty.clone(),
                owner: row.owner.clone().filter(|_| row.until > self.now),
                since: Timestamp::default(),
            };
            Cluster {
                nodes: self.seen.iter().map(node).collect(),
                duties: self.rows.iter().map(held).collect(),
                me: None,
                at: Timestamp::default(),
            }
        }

        /// The statement that claims, as the database carries it out; its answer may be lost.
        fn claim(&mut self, who: usize, duty: &Duty) {
            let id = self.processes[who].id.clone();
            let now = self.now;
            let row = self.rows.entry(duty.clone()).or_default();
            let is_free = row.owner.is_none() || row.until <= now;
            let is_mine = row.owner.as_ref() == Some(&id);
            let answer = if is_free || is_mine {
                row.epoch += u64::from(!is_mine);
                row.owner = Some(id);
                row.until = now + LEASE;
                Some(row.epoch)
            } else {
                None
            };
            if self.random.u8(..10) == 0 {
                return;
            }
            let claims = &mut self.processes[who].claims;
            match answer {
                // A renewal that brings another epoch means that it was lost in between.
                Some(epoch) => drop(claims.insert(duty.clone(), epoch)),
                None => drop(claims.remove(duty)),
            }
        }

        /// A write, which must be refused unless its epoch is the newest.
        fn write(&mut self, who: usize, duty: &Duty, epoch: u64) {
            let id = self.processes[who].id.clone();
            let row = self.rows.get(duty).cloned().unwrap_or_default();
            if row.owner.as_ref() == Some(&id) && row.epoch == epoch {
                let before = self.written.insert(duty.clone(), (epoch, id.clone()));
                if let Some((before, by)) = before {
                    assert!(
                        epoch > before || (epoch == before && by == id),
                        "{duty}: two owners of one epoch"
                    );
                }
            } else {
                self.processes[who].claims.remove(duty);
            }
        }

        /// One step of a process that runs.
        fn step(&mut self, who: usize, serves: &BTreeSet<Duty>) {
            let id = self.processes[who].id.clone();
            match self.random.u8(..6) {
                0 => {
                    let leaving = self.seen.get(&id).is_some_and(|(_, leaving)| *leaving);
                    self.seen.insert(id, (self.now, leaving));
                }
                1 | 2 => {
                    let share = Share::of(&self.cluster(serves), &id);
                    self.processes[who].share = share;
                }
                3 => {
                    let Share { take, own, .. } = &self.processes[who].share;
                    let take: Vec<_> = take.union(own).cloned().collect();
                    take.iter().for_each(|duty| self.claim(who, duty));
                }
                4 => {
                    let mine: Vec<_> = self.processes[who].claims.keys().cloned().collect();
                    let back = std::mem::take(&mut self.processes[who].share.give_back);
                    for duty in mine {
                        if back.contains(&duty) {
                            self.give_up(who, &duty);
                        } else {
                            self.claim(who, &duty);
                        }
                    }
                }
                _ => {
                    let mine: Vec<_> = self.processes[who]
                        .claims
                        .iter()
                        .map(|(duty, epoch)| (duty.clone(), *epoch))
                        .collect();
                    mine.iter().for_each(|(duty, epoch)| self.write(who, duty, *epoch));
                }
            }
        }

        fn give_up(&mut self, who: usize, duty: &Duty) {
            let id = self.processes[who].id.clone();
            let epoch = self.processes[who].claims.remove(duty);
            if let Some(row) = self.rows.get_mut(duty)
                && row.owner == Some(id)
                && Some(row.epoch) == epoch
            {
                row.owner = None;
            }
        }

        /// Lets everybody that runs do something for this long, about once a second each at least.
        fn pass(&mut self, millis: u64, serves: &BTreeSet<Duty>) {
            let end = self.now + millis;
            while self.now < end {
                self.now += self.random.u64(1..100);
                let who = self.random.usize(..self.processes.len());
                if self.processes[who].state == State::Runs {
                    self.step(who, serves);
                }
            }
        }

        fn owners(&self) -> BTreeMap<&Duty, &str> {
            let owned = self.rows.iter().filter(|(_, row)| row.until > self.now);
            owned.filter_map(|(duty, row)| Some((duty, row.owner.as_deref()?))).collect()
        }
    }

    #[test]
    fn whatever_happens_every_duty_finds_one_owner_and_the_work_is_shared() {
        for seed in 0..300 {
            let mut world = World::new(seed);
            let serves = duties(2 + seed as usize % 9);
            for _ in 0..2 + seed % 3 {
                world.join();
            }
            for _ in 0..12 {
                let wait = world.random.u64(100..2 * LEASE);
                world.pass(wait, &serves);
                let who = world.random.usize(..world.processes.len());
                let others =
                    world.processes.iter().enumerate().any(|(it, p)| it != who && p.state == State::Runs);
                match (world.random.u8(..4), world.processes[who].state) {
                    (0, State::Runs) if others => world.processes[who].state = State::Killed,
                    (1, State::Runs) if others => world.processes[who].state = State::Stands,
                    (2, _) if world.processes.len() < 6 => world.join(),
                    // It goes on, and believes what it believed.
                    (_, State::Stands) => world.processes[who].state = State::Runs,
                    _ => {}
                }
            }
            // Two leases after the last failure somebody works on everything, and soon after the work is shared.
            world.pass(2 * LEASE, &serves);
            let owners = world.owners();
            assert_eq!(owners.len(), serves.len(), "seed {seed}: {owners:?}");
            world.pass(2 * LEASE, &serves);
            let runs: Vec<_> =
                world.processes.iter().filter(|process| process.state == State::Runs).collect();
            let owners = world.owners();
            assert_eq!(owners.len(), serves.len(), "seed {seed}: {owners:?}");
            for process in &runs {
                let has = owners.values().filter(|owner| **owner == process.id).count();
                let fair = serves.len() / runs.len()..=serves.len().div_ceil(runs.len());
                assert!(
                    fair.contains(&has),
                    "seed {seed}: {has} of {} for one of {}",
                    serves.len(),
                    runs.len()
                );
            }
        }
    }

    fn node(id: &str, serves: &BTreeSet<Duty>) -> Node {
        Node {
            id: id.to_owned(),
            says: Attendance {
                name: id.to_owned(),
                version: String::new(),
                serves: serves.clone(),
                config: String::new(),
            },
            leaving: false,
            live: true,
            since: Timestamp::default(),
            silent: Duration::ZERO,
            work: None,
        }
    }

    #[test]
    fn a_duty_that_only_one_process_serves_is_not_given_back_for_others() {
        let (few, all) = (BTreeSet::from([Duty::Upkeep]), duties(5));
        let held = |duty: &Duty| Held {
            duty: duty.clone(),
            owner: Some("a".to_owned()),
            since: Timestamp::default(),
        };
        let mut cluster = Cluster {
            nodes: vec![node("a", &all), node("b", &few)],
            duties: all.iter().map(held).collect(),
            me: None,
            at: Timestamp::default(),
        };
        assert_eq!(Share::of(&cluster, "a").give_back, few, "the other one can do nothing else");
        cluster.duties.retain(|held| held.duty == Duty::Upkeep);
        cluster.duties[0].owner = Some("b".to_owned());
        assert_eq!(
            Share::of(&cluster, "a").take.len(),
            4,
            "whatever is left falls to the one that serves it"
        );
        cluster.nodes[0].leaving = true;
        assert_eq!(Share::of(&cluster, "a"), Share::default(), "who leaves takes nothing");
    }
}
