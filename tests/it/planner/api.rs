//! A simulated calls API: a list in some order, and a history that goes on while it is being read.

use callwatch::{call::Status, time::Timestamp};

/// The order of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Newest,
    Oldest,
    LatestUpdateFirst,
    LatestUpdateLast,
    /// An order nobody knows, but always the same.
    Shuffled,
    /// Another order for every request.
    Unstable,
}

/// The truth of `pagination.total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    True,
    Missing,
    Zero,
    /// Always so many too many or too few.
    Off(i8),
    /// Wrong now and then.
    Erratic,
}

#[derive(Clone, Debug)]
pub struct Manners {
    pub order: Order,
    pub total: Total,
    /// The most rows the server gives, whatever it is asked for.
    pub clamp: Option<usize>,
    /// Pages come shorter than asked for now and then.
    pub short: bool,
    pub ignores_offset: bool,
    pub has_get: bool,
    /// Of so many requests one fails.
    pub error_one_in: Option<u8>,
    /// Every so-manyeth call is not a call.
    pub bad_one_in: Option<u8>,
    pub latency_ms: u16,
    /// A field of every call differs in every answer.
    pub flaps: bool,
    /// So does `updatedAt`.
    pub flaps_updated: bool,
    /// The list shows only calls whose numbers this divides, and single calls only if they are shown: the API has trouble.
    pub shows_one_in: Option<u32>,
}

/// Changes of the calls; the number chooses which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    Start,
    Complete(u16),
    Analyze(u16),
    Edit(u16),
    Delete(u16),
}

/// One state of one call.
#[derive(Clone, Debug, PartialEq)]
pub struct SimCall {
    pub id: u32,
    pub version: u32,
    pub status: Status,
    pub analyzed: bool,
    pub created: i64,
    pub updated: i64,
    pub completed: Option<i64>,
    /// The value of the field that flaps.
    pub flap: u32,
    key: u64,
}

impl SimCall {
    pub fn live(&self) -> bool {
        self.status == Status::Live
    }
}

/// A state of a call and when it was current.
#[derive(Clone, Debug)]
pub struct State {
    pub call: SimCall,
    pub from: i64,
    pub to: i64,
    /// Whether it ended with the call being deleted.
    pub deleted: bool,
}

pub struct Api {
    pub manners: Manners,
    pub list: Vec<SimCall>,
    /// Every state there ever was.
    pub states: Vec<State>,
    pub random: fastrand::Rng,
    next_id: u32,
}

pub enum Answer {
    Page { rows: Vec<SimCall>, received: usize, total: Option<u64> },
    Call(Option<SimCall>),
    Error,
}

pub const FOREVER: i64 = i64::MAX;

impl Api {
    /// `history` calls, the last of them `live`, before time 0.
    pub fn new(manners: Manners, history: u32, live: u32, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        let mut api = Self { manners, list: vec![], states: vec![], random, next_id: 0 };
        for i in 0..history {
            let created = (i64::from(i) - i64::from(history)) * 7_200_000;
            let is_live = i + live >= history;
            let call = api.born(created, is_live);
            api.begin(call, i64::MIN);
        }
        api
    }

    fn born(&mut self, now: i64, live: bool) -> SimCall {
        let id = self.next_id;
        self.next_id += 1;
        SimCall {
            id,
            version: 0,
            status: if live { Status::Live } else { Status::Completed },
            analyzed: !live && !id.is_multiple_of(3),
            created: now,
            updated: now + if live { 0 } else { 60_000 },
            completed: (!live).then_some(now + 60_000),
            flap: 0,
            key: self.random.u64(..),
        }
    }

    fn begin(&mut self, call: SimCall, now: i64) {
        self.states.push(State { call: call.clone(), from: now, to: FOREVER, deleted: false });
        self.list.push(call);
    }

    fn end(&mut self, id: u32, now: i64, deleted: bool) {
        let state = self.states.iter_mut().rev().find(|state| state.call.id == id).expect("it began");
        state.to = now;
        state.deleted = deleted;
    }

    pub fn happen(&mut self, what: Happening, now: i64) {
        let choose = |list: &[SimCall], n: u16, fits: fn(&SimCall) -> bool| {
            let fitting: Vec<usize> = (0..list.len()).filter(|i| fits(&list[*i])).collect();
            (!fitting.is_empty()).then(|| fitting[n as usize % fitting.len()])
        };
        let chosen = match what {
            Happening::Start => {
                let call = self.born(now, true);
                self.begin(call, now);
                return;
            }
            Happening::Complete(n) => choose(&self.list, n, SimCall::live),
            Happening::Analyze(n) => choose(&self.list, n, |call| !call.live() && !call.analyzed),
            Happening::Edit(n) | Happening::Delete(n) => choose(&self.list, n, |_| true),
        };
        let Some(i) = chosen else { return };
        let id = self.list[i].id;
        let deleted = matches!(what, Happening::Delete(_));
        self.end(id, now, deleted);
        let mut call = self.list.remove(i);
        if deleted {
            return;
        }
        call.version += 1;
        call.updated = now;
        match what {
            Happening::Complete(_) => {
                call.status = Status::Completed;
                call.completed = Some(now);
            }
            Happening::Analyze(_) => call.analyzed = true,
            _ => {}
        }
        self.begin(call, now);
    }

    pub fn is_bad(&self, id: u32) -> bool {
        self.manners.bad_one_in.is_some_and(|n| id.is_multiple_of(u32::from(n)))
    }

    pub fn is_there(&self, id: u32) -> bool {
        self.list.iter().any(|call| call.id == id)
    }

    fn fails(&mut self) -> bool {
        let random = &mut self.random;
        self.manners.error_one_in.is_some_and(|n| random.u8(..n.max(1)) == 0)
    }

    pub fn page(&mut self, offset: u64, limit: u32) -> Answer {
        if self.fails() {
            return Answer::Error;
        }
        let shown = self.manners.shows_one_in;
        let is_shown = |call: &&SimCall| shown.is_none_or(|n| n > 0 && call.id.is_multiple_of(n));
        let mut list: Vec<&SimCall> = self.list.iter().filter(is_shown).collect();
        match self.manners.order {
            Order::Newest => list.sort_by_key(|call| std::cmp::Reverse((call.created, call.id))),
            Order::Oldest => list.sort_by_key(|call| (call.created, call.id)),
            Order::LatestUpdateFirst => list.sort_by_key(|call| std::cmp::Reverse((call.updated, call.id))),
            Order::LatestUpdateLast => list.sort_by_key(|call| (call.updated, call.id)),
            Order::Shuffled => list.sort_by_key(|call| call.key),
            Order::Unstable => self.random.shuffle(&mut list),
        }
        let mut limit = self.manners.clamp.map_or(limit as usize, |clamp| clamp.min(limit as usize));
        if self.manners.short && self.random.bool() {
            limit = self.random.usize(1..=limit);
        }
        let offset = if self.manners.ignores_offset { 0 } else { offset as usize };
        let page = || list.iter().skip(offset).take(limit);
        let received = page().count();
        let rows: Vec<SimCall> =
            page().filter(|call| !self.is_bad(call.id)).map(|call| SimCall::clone(call)).collect();
        let length = list.len() as u64;
        let rows = rows.into_iter().map(|call| self.flapped(call)).collect();
        let total = match self.manners.total {
            Total::True => Some(length),
            Total::Missing => None,
            Total::Zero => Some(0),
            Total::Off(by) => Some(length.saturating_add_signed(by.into())),
            Total::Erratic if self.random.u8(..4) == 0 => Some(self.random.u64(..2 * length + 5)),
            Total::Erratic => Some(length),
        };
        Answer::Page { rows, received, total }
    }

    pub fn get(&mut self, id: u32) -> Answer {
        if self.fails() {
            return Answer::Error;
        }
        let shown = self.manners.shows_one_in;
        let found = self.list.iter().find(|call| call.id == id).filter(|_| self.manners.has_get);
        let found = found.filter(|call| shown.is_none_or(|n| n > 0 && call.id.is_multiple_of(n))).cloned();
        Answer::Call(found.map(|call| self.flapped(call)))
    }

    fn flapped(&mut self, mut call: SimCall) -> SimCall {
        if self.manners.flaps {
            call.flap = self.random.u32(1..);
        }
        if self.manners.flaps_updated {
            call.updated = self.random.i64(0..1 << 40);
        }
        call
    }
}

pub fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}
