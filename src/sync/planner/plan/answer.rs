//! The meaning of answers: what they teach the planner, which calls they show to be gone, and what is worth a notice.

use super::{
    super::{
        Fetch, Notice, Row, Slot, Step, Trouble,
        doubt::Verdict,
        head::Polled,
        order::{Front, Order},
        sweep::Swept,
        walk::Page,
    },
    Gets, Planner, Purpose, Request,
};
use crate::time::Timestamp;

impl Planner {
    /// The page in flight was answered: `rows` are its calls in the order of the list, `received` counts its records
    /// including those that are not calls, and `total` is `pagination.total`. Does nothing if no page is in flight.
    pub fn on_page(&mut self, rows: &[Row], received: usize, total: Option<u64>, now: Timestamp) {
        let Some(Request { fetch: Fetch::Page { offset, limit }, purpose, .. }) = self.in_flight.take()
        else {
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
        if self.doubt.on_answer(self.roster.missing()) {
            self.notice(Notice::Whole);
        }
        match purpose {
            Purpose::Head => {
                let polled = self.head.on_page(&page, self.poll());
                if let (Polled::Done { single: true }, Some(total)) = (polled, total) {
                    self.sweeps.reconcile(total, &self.roster);
                }
            }
            Purpose::Sweep => {
                if let Some(swept) = self.sweeps.on_page(&page, &mut self.roster, now) {
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

    /// The single call in flight was answered; `None` when it does not exist. Does nothing if no single call is in flight.
    pub fn on_call(&mut self, row: Option<Row>, now: Timestamp) {
        let Some(Request { fetch: Fetch::Call(slot), purpose, .. }) = self.in_flight.take() else { return };
        self.backoff.succeeded();
        self.count(&purpose);
        if let Some(row) = row {
            self.gets = Gets::Proven;
            self.saw(&row, None, &purpose, now);
        } else if let Purpose::Verify = purpose {
            self.suspects.retain(|suspect| *suspect != slot);
            // Two walks in a row missed every suspect: a doubt clears the suspects, and no walk goes on while there are
            // any.
            if self.gets == Gets::Proven {
                self.delete(slot);
            }
        } else {
            self.watches.refuse(slot);
        }
    }

    /// The single call in flight cannot be had by itself, though the API may be well. It is looked for in the list, and
    /// nothing is concluded about whether it exists.
    pub fn on_call_unavailable(&mut self) {
        let Some(Request { fetch: Fetch::Call(slot), purpose, .. }) = self.in_flight.take() else { return };
        self.count(&purpose);
        match purpose {
            Purpose::Verify => self.suspects.retain(|suspect| *suspect != slot),
            _ => self.watches.refuse(slot),
        }
    }

    /// The request in flight failed. Nothing is concluded, and the next request waits.
    pub fn on_error(&mut self, trouble: Trouble, now: Timestamp) {
        self.backoff.failed(trouble, now);
        // One call that keeps failing must not keep the others waiting.
        if let Some(Request { fetch: Fetch::Call(slot), purpose, .. }) = self.in_flight.take() {
            self.watches.skip(slot, now);
            if matches!(purpose, Purpose::Verify)
                && let Some(suspect) = self.suspects.pop_front()
            {
                self.suspects.push_back(suspect);
            }
        }
    }

    /// An answer showed a call.
    fn saw(&mut self, row: &Row, place: Option<u64>, purpose: &Purpose, now: Timestamp) {
        self.roster.see(row.slot);
        self.watches.see(row, place, now);
        let known_to_polls = match purpose {
            Purpose::Head => true,
            // Polls begin after the baseline, so what it shows is known to them.
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
            self.notice_order();
        }
    }

    /// A walk over the whole list is over.
    fn swept(&mut self, mut swept: Swept, now: Timestamp) {
        self.head.swept(swept.length, swept.complete);
        self.unstable = swept.unstable;
        if swept.flat && !self.flat {
            self.notice(Notice::Odd(format!(
                "the API ignores `offset`: only the first {} calls of the list can be seen",
                swept.length
            )));
        }
        self.flat = swept.flat;
        if swept.total_lies {
            self.notice(Notice::Odd(
                "the API's `total` does not follow the list; callwatch relies on it less".into(),
            ));
        }
        if swept.baseline {
            self.results.push_back(Step::Notice(Notice::BaselineDone { calls: self.roster.present() }));
            self.notice_order();
            return;
        }
        // A deletion takes two walks and a single get, or three walks while no single get can be trusted yet.
        let enough = if self.gets == Gets::Proven { 2 } else { 3 };
        if swept.absent.iter().any(|(_, absences)| *absences < enough) {
            self.sweeps.confirm(now);
        }
        let vanished = swept.absent.iter().filter(|(_, absences)| *absences == 1).count() as u64;
        if swept.complete && self.is_doubtful(vanished, swept.bad, now) {
            swept.absent.clear();
        }
        for (slot, absences) in swept.absent {
            match (self.gets, absences) {
                (Gets::Untried | Gets::Broken, 3..) if !swept.unstable => self.delete(slot),
                (Gets::Untried | Gets::Proven, 2..) => self.suspects.push_back(slot),
                _ => {}
            }
        }
        // The 404 may have been a passing fault, so single gets are tried again.
        if self.gets == Gets::Broken {
            self.gets = Gets::Untried;
        }
    }

    /// Whether so many calls are missing after a complete walk, or have vanished since the one before, that nothing is
    /// concluded from it.
    fn is_doubtful(&mut self, vanished: u64, bad: u64, now: Timestamp) -> bool {
        let believed_after = self.settings.deletions_believed_after;
        match self.doubt.on_walk(self.roster.missing(), vanished, bad, believed_after, now) {
            Verdict::Doubted(missing) => {
                self.suspects.clear();
                self.notice(Notice::Missing(missing));
                true
            }
            Verdict::Believed { relieved: true } => {
                self.notice(Notice::Whole);
                false
            }
            Verdict::Believed { relieved: false } | Verdict::Accepted => false,
        }
    }

    fn delete(&mut self, slot: Slot) {
        self.roster.delete(slot);
        self.watches.forget(slot);
        self.results.push_back(Step::Deleted(slot));
    }

    /// `GET /calls/:id` said 404 for a call that is in the list.
    fn gets_are_broken(&mut self) {
        self.gets = Gets::Broken;
        if !std::mem::replace(&mut self.reported_gets, true) {
            self.notice(Notice::Odd(
                "GET /calls/:id says 404 for a call that is in the list; callwatch uses the list instead"
                    .into(),
            ));
        }
    }

    fn notice_order(&mut self) {
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
        self.notice(Notice::Order(text));
    }

    fn notice(&mut self, notice: Notice) {
        self.results.push_back(Step::Notice(notice));
    }
}
