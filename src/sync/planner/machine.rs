//! The state machine itself: which request has the best claim, and what its answer means.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Claim, Fetch, Notice, Progress, Row, Settings, Slot, Step, Trouble,
    books::Books,
    head::{Head, Poll, Polled},
    order::{Front, Order, OrderSense},
    pace::{Backoff, Rounds},
    sweep::{Sweeps, Swept, Want},
    walk::Page,
    watch::{Means, Watches},
};
use crate::time::Timestamp;

/// Other requests after which a page of the sweep that is due goes first.
const SWEEP_SHARE: u32 = 8;
/// Looks at single calls after which a poll that is under way goes first.
const HEAD_SHARE: u32 = 4;

/// What a request was made for, to know what its answer means.
#[derive(Clone, Debug)]
enum Purpose {
    Head,
    /// To look at these watched calls.
    Look(Vec<Slot>),
    Sweep,
    /// To see whether a call absent from walks is really gone.
    Verify,
}

#[derive(Clone, Debug)]
struct Asked {
    fetch: Fetch,
    claim: Claim,
    purpose: Purpose,
}

/// What is known of `GET /calls/:id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gets {
    /// It has not given a call yet.
    Untried,
    /// It has: a 404 means what it says.
    Proven,
    /// It said 404 for a call that is in the list.
    Broken,
}

/// What comes back after a restart.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Checkpoint {
    /// Where the baseline goes on; `None` once it is over.
    baseline: Option<u64>,
    order: Order,
    unsettled: u64,
    length: u64,
    bias: i64,
}

/// Decides what to fetch next; see the [module](super).
#[derive(Debug)]
pub struct Planner {
    settings: Settings,
    books: Books,
    watches: Watches,
    order: OrderSense,
    rounds: Rounds,
    backoff: Backoff,
    head: Head,
    sweeps: Sweeps,
    gets: Gets,
    told_of_gets: bool,
    /// The API ignores `offset`.
    flat: bool,
    /// The order of the list differs between fetches.
    unstable: bool,
    total: Option<u64>,
    asked: Option<Asked>,
    /// Calls absent from walks, to be asked for one by one.
    suspects: VecDeque<Slot>,
    /// What to say before anything else.
    news: VecDeque<Step>,
    /// Requests since the last of the sweep, and since the last of a poll.
    since_sweep: u32,
    since_head: u32,
}

impl Planner {
    /// Starts from what the store knows of the source's calls and the checkpoint committed last; the two need not
    /// be of the same age. Without a checkpoint (or one that can be read) the first thing is a baseline.
    ///
    /// All times given to a planner are of one clock that never jumps.
    pub fn new(
        settings: Settings,
        known: impl IntoIterator<Item = Row>,
        checkpoint: Option<&Value>,
        now: Timestamp,
    ) -> Self {
        let checkpoint = checkpoint
            .and_then(|value| Checkpoint::deserialize(value).ok())
            .unwrap_or(Checkpoint { baseline: Some(0), ..Checkpoint::default() });
        let mut books = Books::default();
        let mut watches = Watches::default();
        for row in known {
            if row.deleted {
                books.delete(row.slot);
            } else {
                books.see(row.slot);
                watches.know(&row, now);
            }
        }
        let length = if checkpoint.length == 0 { books.present() } else { checkpoint.length };
        let mut sweeps =
            Sweeps::new(settings.sweep, settings.interval, settings.page_size, length, checkpoint.bias, now);
        if let Some(offset) = checkpoint.baseline {
            let offset = offset.min(books.present());
            sweeps.begin_baseline(offset, books.known(), now);
        }
        Self {
            rounds: Rounds::new(settings.interval, settings.seed, now),
            backoff: Backoff::new(settings.interval, settings.seed, now),
            head: Head::new(checkpoint.unsettled, length),
            order: OrderSense::new(checkpoint.order),
            settings,
            books,
            watches,
            sweeps,
            gets: Gets::Untried,
            told_of_gets: false,
            flat: false,
            unstable: false,
            total: None,
            asked: None,
            suspects: VecDeque::new(),
            news: VecDeque::new(),
            since_sweep: 0,
            since_head: 0,
        }
    }

    /// What to do now. A request that has not been answered is forgotten, and asked for again unless something
    /// has a better claim by now: while a request waits for the budget, ask again.
    pub fn next(&mut self, now: Timestamp) -> Step {
        if let Some(step) = self.news.pop_front() {
            return step;
        }
        if now < self.backoff.until() {
            return Step::Sleep(self.backoff.until());
        }
        match self.plan(now) {
            Ok(asked) => {
                let step = Step::Fetch(asked.fetch, asked.claim);
                self.asked = Some(asked);
                step
            }
            Err(until) => Step::Sleep(until),
        }
    }

    /// The request with the best claim, or when there will be one.
    fn plan(&mut self, now: Timestamp) -> Result<Asked, Timestamp> {
        if self.rounds.due() <= now {
            self.rounds.begin(now);
            self.watches.expire(now);
            if !self.in_baseline() {
                self.head.begin(self.poll());
            }
        }
        let sweep = self.sweep_due(now);
        if self.since_sweep >= SWEEP_SHARE
            && let Ok(asked) = sweep
        {
            return Ok(asked);
        }
        let due = self.watches.live_due(self.rounds.begun);
        let head = self.head.request();
        let first = head.is_some_and(|(_, first)| first);
        let claim = if first && !due.is_empty() { Claim::Live } else { Claim::Head };
        let mut head = head.map(|((offset, limit), _)| {
            let fetch = Fetch::Page { offset, limit };
            Asked { fetch, claim, purpose: Purpose::Head }
        });
        if let Some(asked) = head.take_if(|_| first || self.since_head >= HEAD_SHARE) {
            return Ok(asked);
        }
        if let Some(asked) = self.look(due, Claim::Live, now).or(head) {
            return Ok(asked);
        }
        let Settings { interval, analysis_window, .. } = self.settings;
        let due = self.watches.analysis_due(interval, analysis_window, self.rounds.begun);
        if let Some(asked) = self.look(due, Claim::Analysis, now) {
            return Ok(asked);
        }
        sweep.map_err(|at| at.min(self.rounds.due()))
    }

    fn sweep_due(&mut self, now: Timestamp) -> Result<Asked, Timestamp> {
        while let Some(slot) = self.suspects.front() {
            if self.books.absences(*slot).is_some_and(|absences| absences > 0) {
                let fetch = Fetch::Call(*slot);
                return Ok(Asked { fetch, claim: Claim::Sweep, purpose: Purpose::Verify });
            }
            self.suspects.pop_front();
        }
        let (offset, limit) = self.sweeps.due(&self.books, now)?;
        Ok(Asked { fetch: Fetch::Page { offset, limit }, claim: Claim::Sweep, purpose: Purpose::Sweep })
    }

    /// The request that looks at the first of these calls. Those nobody can find are left to a walk.
    fn look(&mut self, mut due: Vec<Slot>, claim: Claim, now: Timestamp) -> Option<Asked> {
        let means = Means { page_size: self.settings.page_size, gets: self.gets != Gets::Broken };
        while !due.is_empty() {
            if let Some((fetch, slots)) = self.watches.look(&due, means) {
                return Some(Asked { fetch, claim, purpose: Purpose::Look(slots) });
            }
            self.watches.skip(due.remove(0), now);
            self.sweeps.want(Want::Look);
        }
        None
    }

    fn poll(&self) -> Poll {
        Poll {
            front: self.order.order().front(),
            page_size: self.settings.page_size,
            live_depth: self.watches.live_depth(self.settings.page_size),
            present: self.books.present(),
            clamp: self.sweeps.clamp(),
            flat: self.flat,
        }
    }

    /// The answer to the page asked for: its calls in the order of the list, how many records were received with
    /// those that are no calls, and `pagination.total`. Without a page asked for, nothing happens.
    pub fn on_page(&mut self, rows: &[Row], received: usize, total: Option<u64>, now: Timestamp) {
        let Some(Asked { fetch: Fetch::Page { offset, limit }, purpose, .. }) = self.asked.take() else {
            return;
        };
        let page = Page { offset, limit, rows, received: received.max(rows.len()) as u64, total };
        self.backoff.succeeded();
        self.total = total;
        self.count(&purpose);
        if self.order.order().front() == Front::Top {
            self.watches.arrive(rows.iter().filter(|row| row.new).count() as u64);
        }
        for (place, row) in (offset..).zip(rows) {
            if self.watches.is_refused(row.slot) {
                self.gets_are_broken();
            }
            self.saw(row, Some(place), &purpose, now);
        }
        self.learn(rows);
        match purpose {
            Purpose::Head => {
                let polled = self.head.on_page(&page, self.poll());
                if let (Polled::Done { single: true }, Some(total)) = (polled, total) {
                    self.sweeps.reconcile(total, &self.books);
                }
            }
            Purpose::Sweep => {
                if let Some(swept) = self.sweeps.on_page(&page, &mut self.books, now) {
                    self.swept(swept, now);
                }
            }
            Purpose::Look(slots) => {
                for slot in slots {
                    if !rows.iter().any(|row| row.slot == slot) {
                        self.watches.lose(slot);
                    }
                }
            }
            Purpose::Verify => {}
        }
    }

    /// The answer to the single call asked for; `None` when it does not exist. Without one asked for, nothing
    /// happens.
    pub fn on_call(&mut self, row: Option<Row>, now: Timestamp) {
        let Some(Asked { fetch: Fetch::Call(slot), purpose, .. }) = self.asked.take() else { return };
        self.backoff.succeeded();
        self.count(&purpose);
        if let Some(row) = row {
            self.gets = Gets::Proven;
            self.saw(&row, None, &purpose, now);
        } else if let Purpose::Verify = purpose {
            self.suspects.retain(|suspect| *suspect != slot);
            if self.gets == Gets::Proven && self.books.absences(slot).is_some_and(|absences| absences > 1) {
                self.delete(slot);
            }
        } else {
            self.watches.refuse(slot);
        }
    }

    /// The single call asked for cannot be had by itself, though the API may be well: it is looked for in the
    /// list. Says nothing about whether it exists.
    pub fn on_call_unavailable(&mut self) {
        let Some(Asked { fetch: Fetch::Call(slot), purpose, .. }) = self.asked.take() else { return };
        self.count(&purpose);
        match purpose {
            Purpose::Verify => self.suspects.retain(|suspect| *suspect != slot),
            _ => self.watches.refuse(slot),
        }
    }

    /// The request asked for has failed. What is known stays as it is; the next request waits.
    pub fn on_error(&mut self, trouble: Trouble, now: Timestamp) {
        self.backoff.failed(trouble, now);
        // One call that cannot be had must not keep the others waiting.
        if let Some(Asked { fetch: Fetch::Call(slot), purpose, .. }) = self.asked.take() {
            self.watches.skip(slot, now);
            if matches!(purpose, Purpose::Verify)
                && let Some(suspect) = self.suspects.pop_front()
            {
                self.suspects.push_back(suspect);
            }
        }
    }

    /// Whether the first walk over the list is still going on: calls first seen now are not news.
    pub fn in_baseline(&self) -> bool {
        self.sweeps.baseline().is_some()
    }

    /// How far the first walk has come.
    pub fn progress(&self) -> Progress {
        Progress { found: self.books.present(), total: self.total }
    }

    /// What to hand to [`Planner::new`] after a restart. Holds for the time before as well as after the answer
    /// to the request asked for.
    pub fn checkpoint(&self) -> Value {
        let in_flight = match &self.asked {
            Some(Asked { fetch: Fetch::Page { limit, .. }, .. }) => u64::from(*limit),
            _ => 0,
        };
        let checkpoint = Checkpoint {
            baseline: self.sweeps.baseline(),
            order: self.order.order(),
            unsettled: self.head.unsettled() + in_flight,
            length: self.head.length(),
            bias: self.sweeps.bias(),
        };
        #[expect(clippy::expect_used, reason = "a struct of numbers and an enum without data is always JSON")]
        serde_json::to_value(checkpoint).expect("plain data")
    }

    /// A call was seen.
    fn saw(&mut self, row: &Row, place: Option<u64>, purpose: &Purpose, now: Timestamp) {
        self.books.see(row.slot);
        self.watches.see(row, place, now);
        let known_to_polls = match purpose {
            Purpose::Head => true,
            // What the baseline shows is what polls go by.
            Purpose::Sweep => self.in_baseline(),
            Purpose::Look(_) | Purpose::Verify => false,
        };
        if !known_to_polls {
            self.head.note(row);
        }
        if !matches!(purpose, Purpose::Sweep) {
            self.sweeps.note(row);
        }
    }

    fn count(&mut self, purpose: &Purpose) {
        self.since_sweep = self.since_sweep.saturating_add(1);
        self.since_head = self.since_head.saturating_add(1);
        match purpose {
            Purpose::Head => self.since_head = 0,
            Purpose::Sweep | Purpose::Verify => self.since_sweep = 0,
            Purpose::Look(_) => {}
        }
    }

    fn learn(&mut self, rows: &[Row]) {
        if self.order.learn(rows).is_some() && !self.in_baseline() {
            self.say_order();
        }
    }

    /// A walk over the whole list is over.
    fn swept(&mut self, swept: Swept, now: Timestamp) {
        self.head.swept(swept.length, swept.complete);
        self.unstable = swept.unstable;
        if swept.flat && !self.flat {
            self.say(Notice::Odd(format!(
                "the API ignores `offset`: only the first {} calls of the list can be seen",
                swept.length
            )));
        }
        self.flat = swept.flat;
        if swept.total_lies {
            self.say(Notice::Odd(
                "the API's `total` does not follow the list; callwatch relies on it less".into(),
            ));
        }
        if swept.baseline {
            self.news.push_back(Step::Notice(Notice::BaselineDone { calls: self.books.present() }));
            self.say_order();
            return;
        }
        let mut confirm = false;
        for (slot, absences) in swept.absent {
            match (self.gets, absences) {
                (Gets::Untried | Gets::Broken, 3..) if !swept.unstable => self.delete(slot),
                (Gets::Untried | Gets::Proven, 2..) => {
                    self.suspects.push_back(slot);
                    confirm |= self.gets == Gets::Untried && absences < 3;
                }
                _ => confirm |= absences < 3,
            }
        }
        if confirm {
            self.sweeps.confirm(now);
        }
        // It may have been a passing fault.
        if self.gets == Gets::Broken {
            self.gets = Gets::Untried;
        }
    }

    fn delete(&mut self, slot: Slot) {
        self.books.delete(slot);
        self.watches.forget(slot);
        self.news.push_back(Step::Deleted(slot));
    }

    /// `GET /calls/:id` said 404 for a call that is in the list.
    fn gets_are_broken(&mut self) {
        self.gets = Gets::Broken;
        if !std::mem::replace(&mut self.told_of_gets, true) {
            self.say(Notice::Odd(
                "GET /calls/:id says 404 for a call that is in the list; callwatch uses the list instead"
                    .into(),
            ));
        }
    }

    fn say_order(&mut self) {
        let pages = self.sweeps.pages();
        let minutes = pages as f64 / f64::from(self.settings.requests_per_minute.max(1));
        let walk = format!("{pages} requests, {minutes:.1} minutes of the budget");
        let by_walking = match self.total {
            Some(_) if self.sweeps.trusts_total() => {
                format!("when `total` changes callwatch walks all of it ({walk})")
            }
            _ => {
                format!("new calls are found within one sweep ({walk}); a shorter `sweep` finds them sooner")
            }
        };
        let text = match self.order.order() {
            Order::Unknown if self.unstable => {
                format!("the list comes in another order every time: {by_walking}, several times over")
            }
            Order::Unknown => format!("the list is in no order callwatch knows: {by_walking}"),
            Order::NewestFirst => "the list is newest first: a poll is one request".into(),
            Order::OldestFirst => "the list is oldest first: a poll is one request at its end".into(),
            Order::LatestUpdateFirst => {
                "the list begins with the latest update: a poll is one request".into()
            }
            Order::LatestUpdateLast => {
                "the list ends with the latest update: a poll is one request at its end".into()
            }
        };
        self.say(Notice::Order(text));
    }

    fn say(&mut self, notice: Notice) {
        self.news.push_back(Step::Notice(notice));
    }
}
