//! The least that can drive a planner: a budget, an index, a store of versions, and a log of what it reports.

use std::{collections::BTreeMap, time::Duration};

use callwatch::{
    call::{CallId, RecordHash, Status},
    callem::budget::{Budget, Grant, Priority},
    name::Name,
    store::KnownCall,
    sync::{
        flapping::Flapping,
        index::Index,
        planner::{Fetch, Missing, Notice, Planner, Row, Settings, Slot, Step, Trouble},
    },
};
use serde_json::Value;

use super::api::{Answer, Api, Happening, SimCall, at};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// First seen, silently (during the baseline) or not.
    Baselined,
    New,
    Changed,
    Deleted,
}

#[derive(Clone, Debug)]
pub struct Report {
    pub at: i64,
    pub id: u32,
    pub version: u32,
    pub what: What,
}

#[derive(Clone, Debug)]
pub struct Request {
    pub at: i64,
    pub fetch: Fetch,
    pub priority: Priority,
}

pub struct Driver {
    pub api: Api,
    settings: Settings,
    planner: Planner,
    index: Index,
    flapping: Flapping,
    store: BTreeMap<u32, (SimCall, KnownCall)>,
    checkpoint: Option<Value>,
    budget: Budget,
    happenings: std::iter::Peekable<std::vec::IntoIter<(i64, Happening)>>,
    restarts: Vec<u32>,
    steps: u32,
    pub now: i64,
    pub reports: Vec<Report>,
    pub requests: Vec<Request>,
    pub notices: Vec<Notice>,
    /// When the baseline was over.
    pub baselined: Option<i64>,
}

fn record(call: &SimCall) -> RecordHash {
    RecordHash::from_u128(u128::from(call.id) << 64 | u128::from(call.flap) << 32 | u128::from(call.version))
}

impl Driver {
    /// `restarts` are the steps after which the process dies; `happenings` are in order of time.
    pub fn new(api: Api, settings: Settings, happenings: Vec<(i64, Happening)>, restarts: Vec<u32>) -> Self {
        Self {
            planner: Planner::new(settings.clone(), [], None, at(0)),
            index: Index::new(settings.analysis_window),
            budget: Budget::new(settings.requests_per_minute),
            api,
            settings,
            flapping: Flapping::default(),
            store: BTreeMap::new(),
            checkpoint: None,
            happenings: happenings.into_iter().peekable(),
            restarts,
            steps: 0,
            now: 0,
            reports: vec![],
            requests: vec![],
            notices: vec![],
            baselined: None,
        }
    }

    pub fn known(&self, id: u32) -> Option<(u32, bool)> {
        self.store.get(&id).map(|(call, known)| (call.version, known.deleted))
    }

    /// The calls that the planner doubts to be gone.
    pub fn doubted(&self) -> Option<Missing> {
        self.planner.missing()
    }

    pub fn known_ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.store.keys().copied()
    }

    pub fn run(&mut self, until: i64) {
        while self.now < until {
            self.step(until);
        }
    }

    /// Whether the process dies here.
    fn dies(&mut self) -> bool {
        self.steps += 1;
        let dies = self.restarts.contains(&self.steps);
        if dies {
            self.restart();
        }
        dies
    }

    /// Loses everything but the store.
    pub fn restart(&mut self) {
        self.index = Index::new(self.settings.analysis_window);
        for (_, known) in self.store.values() {
            self.index.insert(known);
        }
        let checkpoint = self.checkpoint.as_ref();
        self.planner = Planner::new(self.settings.clone(), self.index.rows(), checkpoint, at(self.now));
    }

    /// Lets time pass without callwatch running.
    pub fn sleep(&mut self, millis: i64) {
        self.pass(millis);
        self.restart();
    }

    fn pass(&mut self, millis: i64) {
        self.now += millis;
        while let Some((when, what)) = self.happenings.next_if(|(when, _)| *when <= self.now) {
            self.api.happen(what, when);
        }
    }

    fn step(&mut self, until: i64) {
        match self.planner.next(at(self.now)) {
            Step::Sleep(wake) => {
                assert!(wake > at(self.now), "asked to sleep until a time that has come");
                self.pass(wake.as_millis().min(until) - self.now);
            }
            Step::Notice(notice) => {
                if let Notice::BaselineDone { .. } = notice {
                    assert!(!self.planner.in_baseline());
                    self.checkpoint = Some(self.planner.checkpoint());
                    self.baselined = Some(self.now);
                }
                if let Notice::Missing(_) | Notice::Whole = notice {
                    self.checkpoint = Some(self.planner.checkpoint());
                }
                self.notices.push(notice);
            }
            Step::Deleted(slot) => self.delete(slot),
            Step::Fetch(fetch, priority) => self.fetch(fetch, priority),
        }
        assert!(self.requests.len() < 200_000, "no end of requests");
    }

    fn fetch(&mut self, fetch: Fetch, priority: Priority) {
        if let Grant::At(later) = self.budget.request(&Name::from("sim"), priority, at(self.now)) {
            self.pass(later.as_millis() - self.now);
            return;
        }
        if self.dies() {
            return;
        }
        self.requests.push(Request { at: self.now, fetch, priority });
        let latency = i64::from(self.api.manners.latency_ms);
        let there = self.api.random.i64(0..=latency);
        self.pass(there);
        let answer = match fetch {
            Fetch::Page { offset, limit } => {
                assert!((1..=self.settings.page_size.max(2)).contains(&limit), "a page of {limit}");
                self.api.page(offset, limit)
            }
            Fetch::Call(slot) => self.api.get(number(&self.index.id(slot))),
        };
        self.pass(latency - there);
        if self.dies() {
            return;
        }
        match answer {
            Answer::Error => {
                self.planner.on_error(Trouble { retry_after: None, refused: false }, at(self.now));
            }
            Answer::Page { rows, received, total } => {
                let seen = self.digest(&rows);
                if self.dies() {
                    return;
                }
                self.planner.on_page(&seen, received, total, at(self.now));
            }
            Answer::Call(call) => {
                let seen = call.map(|call| self.digest(&[call]));
                if self.dies() {
                    return;
                }
                self.planner.on_call(seen.map(|rows| rows[0]), at(self.now));
            }
        }
    }

    /// Compares, remembers, reports: what the real driver does with a page.
    fn digest(&mut self, calls: &[SimCall]) -> Vec<Row> {
        let checkpoint = self.planner.checkpoint();
        let mut rows = vec![];
        for call in calls {
            if let Some(slot) = self.index.slot_of_record(record(call)) {
                let row = self.index.row(slot, false, false);
                if !row.deleted {
                    if !row.ongoing {
                        self.flapping.looked(slot, &[]);
                    }
                    rows.push(row);
                    continue;
                }
            }
            let before = self.store.get(&call.id).map(|(_, known)| known.clone());
            let completed = (call.status == Status::Completed).then_some(at(self.now));
            let known = KnownCall {
                id: CallId::from(call.id.to_string()),
                record: record(call),
                status: call.status.clone(),
                analyzed: call.analyzed,
                completed_seen: before.as_ref().and_then(|known| known.completed_seen).or(completed),
                created_at: Some(at(call.created)),
                updated_at: Some(at(call.updated)),
                deleted: false,
            };
            let (slot, what) = match &before {
                None if self.planner.in_baseline() => (self.index.insert(&known), What::Baselined),
                None => (self.index.insert(&known), What::New),
                Some(before) => {
                    let slot = self.index.slot_of_record(before.record).expect("it is in the index");
                    self.index.update(slot, before.record, &known);
                    (slot, What::Changed)
                }
            };
            // A field that flaps differs, but the call has not moved, and it is no report.
            let moved = before.as_ref().is_some_and(|before| {
                let is_updated = before.updated_at != known.updated_at;
                if before.status != Status::Live {
                    let differing: &[_] = if is_updated { &["updatedAt".to_owned()] } else { &[] };
                    self.flapping.looked(slot, differing);
                }
                before.deleted
                    || (&before.status, before.created_at) != (&known.status, known.created_at)
                    || is_updated && !self.flapping.includes("updatedAt")
            });
            let version = self.store.get(&call.id).map(|(before, _)| before.version);
            if what != What::Changed || moved || version != Some(call.version) {
                self.reports.push(Report { at: self.now, id: call.id, version: call.version, what });
            }
            self.store.insert(call.id, (call.clone(), known));
            self.checkpoint = Some(checkpoint.clone());
            rows.push(self.index.row(slot, before.is_none(), moved));
        }
        self.flapping.page_done();
        rows
    }

    fn delete(&mut self, slot: Slot) {
        let id = number(&self.index.id(slot));
        let (call, known) = self.store.get_mut(&id).expect("what is deleted is known");
        assert!(!known.deleted, "call {id} deleted twice");
        known.deleted = true;
        self.index.update(slot, known.record, known);
        self.reports.push(Report { at: self.now, id, version: call.version, what: What::Deleted });
        self.checkpoint = Some(self.planner.checkpoint());
    }
}

fn number(id: &CallId) -> u32 {
    id.as_str().parse().expect("ids are numbers")
}

/// How long many calls must be missing until they count as deleted.
pub const BELIEVED_AFTER: Duration = Duration::from_secs(300);

/// A source polled every 10 s and swept every minute.
pub fn settings(page_size: u32, requests_per_minute: u32, seed: u64) -> Settings {
    Settings {
        interval: Duration::from_secs(10),
        sweep: Duration::from_secs(60),
        analysis_window: Duration::from_secs(120),
        deletions_believed_after: BELIEVED_AFTER,
        page_size,
        requests_per_minute,
        seed,
    }
}
