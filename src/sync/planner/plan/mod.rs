//! Which request to make next; [`answer`] reads what comes back.

mod answer;

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Fetch, Missing, Priority, Progress, Row, Settings, Slot, Step,
    doubt::Doubt,
    head::{Head, Poll},
    order::{Order, OrderSense},
    pace::{Backoff, Rounds},
    roster::Roster,
    sweep::{Sweeps, Want},
    watch::{Means, Watches},
};
use crate::{json, time::Timestamp};

/// After this many other requests, a page of the sweep that is due goes first.
const SWEEP_SHARE: u32 = 8;
/// After this many looks at watched calls, the next page of a poll that is under way goes first.
const HEAD_SHARE: u32 = 4;

/// Why a request is made: it decides how the answer is read.
#[derive(Clone, Debug)]
enum Purpose {
    /// To find new calls.
    Head,
    /// To look at these watched calls.
    Look(Vec<Slot>),
    /// To walk the whole list.
    Sweep,
    /// To see whether a call that was absent from walks is really gone.
    Verify,
}

/// A request that has not been answered.
#[derive(Clone, Debug)]
struct Request {
    fetch: Fetch,
    priority: Priority,
    purpose: Purpose,
}

/// How far `GET /calls/:id` can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gets {
    /// It has not given a call yet.
    Untried,
    /// It has given a call: a 404 means that the call does not exist.
    Proven,
    /// It said 404 for a call that is in the list.
    Broken,
}

/// The state that the planner keeps across restarts.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Checkpoint {
    /// The offset at which the baseline goes on; `None` once it is over.
    baseline: Option<u64>,
    order: Order,
    unsettled: u64,
    length: u64,
    bias: i64,
    doubt: Doubt,
}

/// Decides what to fetch next; see the [module](super).
#[derive(Debug)]
pub struct Planner {
    settings: Settings,
    roster: Roster,
    watches: Watches,
    order: OrderSense,
    rounds: Rounds,
    backoff: Backoff,
    head: Head,
    sweeps: Sweeps,
    gets: Gets,
    /// Whether it was reported that single gets are broken.
    reported_gets: bool,
    /// The API ignores `offset`.
    flat: bool,
    /// The order of the list differs between fetches.
    unstable: bool,
    /// `pagination.total` of the latest page.
    total: Option<u64>,
    in_flight: Option<Request>,
    /// Whether missing calls count as deleted.
    doubt: Doubt,
    /// Calls absent from walks, to be verified one by one.
    suspects: VecDeque<Slot>,
    /// Deletions and notices, to be handed out before any request.
    results: VecDeque<Step>,
    /// Requests since the last one of the sweep, and since the last one of a poll.
    since_sweep: u32,
    since_head: u32,
}

impl Planner {
    /// Starts from the calls the store knows and the checkpoint committed last; the two need not be of the same age.
    /// Without a checkpoint, or if it cannot be read, it begins with a baseline.
    ///
    /// All times given to a planner must come from one clock that never jumps.
    pub fn new(
        settings: Settings,
        known: impl IntoIterator<Item = Row>,
        checkpoint: Option<&Value>,
        now: Timestamp,
    ) -> Self {
        let checkpoint = checkpoint
            .and_then(|value| Checkpoint::deserialize(value).ok())
            .unwrap_or(Checkpoint { baseline: Some(0), ..Checkpoint::default() });
        let mut roster = Roster::default();
        let mut watches = Watches::default();
        for row in known {
            if row.deleted {
                roster.delete(row.slot);
            } else {
                roster.see(row.slot);
                watches.know(&row, now);
            }
        }
        let length = if checkpoint.length == 0 { roster.present() } else { checkpoint.length };
        let mut sweeps =
            Sweeps::new(settings.sweep, settings.interval, settings.page_size, length, checkpoint.bias, now);
        if let Some(offset) = checkpoint.baseline {
            let offset = offset.min(roster.present());
            sweeps.begin_baseline(offset, roster.known(), now);
        }
        Self {
            rounds: Rounds::new(settings.interval, settings.seed, now),
            backoff: Backoff::new(settings.interval, settings.seed, now),
            head: Head::new(checkpoint.unsettled, length),
            order: OrderSense::new(checkpoint.order),
            settings,
            roster,
            watches,
            sweeps,
            gets: Gets::Untried,
            reported_gets: false,
            flat: false,
            unstable: false,
            total: None,
            in_flight: None,
            doubt: checkpoint.doubt,
            suspects: VecDeque::new(),
            results: VecDeque::new(),
            since_sweep: 0,
            since_head: 0,
        }
    }

    /// Returns the next thing to do. A request that has not been answered is forgotten, and returned again unless something is more
    /// urgent by now. So a caller whose request has to wait for the budget asks again after the wait.
    pub fn next(&mut self, now: Timestamp) -> Step {
        if let Some(step) = self.results.pop_front() {
            return step;
        }
        if now < self.backoff.until() {
            return Step::Sleep(self.backoff.until());
        }
        match self.plan(now) {
            Ok(request) => {
                let step = Step::Fetch(request.fetch, request.priority);
                self.in_flight = Some(request);
                step
            }
            Err(until) => Step::Sleep(until),
        }
    }

    /// The most urgent request, or when there will be one.
    fn plan(&mut self, now: Timestamp) -> Result<Request, Timestamp> {
        if self.rounds.due() <= now {
            self.rounds.begin(now);
            self.watches.expire(now);
            if !self.in_baseline() {
                self.head.begin(self.poll());
            }
        }
        let sweep = self.sweep_due(now);
        if self.since_sweep >= SWEEP_SHARE
            && let Ok(request) = sweep
        {
            return Ok(request);
        }
        let due = self.watches.live_due(self.rounds.begun);
        let head = self.head.request();
        let first = head.is_some_and(|(_, first)| first);
        let priority = if first && !due.is_empty() { Priority::Live } else { Priority::Head };
        let mut head = head.map(|((offset, limit), _)| {
            let fetch = Fetch::Page { offset, limit };
            Request { fetch, priority, purpose: Purpose::Head }
        });
        if let Some(request) = head.take_if(|_| first || self.since_head >= HEAD_SHARE) {
            return Ok(request);
        }
        if let Some(request) = self.look(due, Priority::Live, now).or(head) {
            return Ok(request);
        }
        let Settings { interval, analysis_window, .. } = self.settings;
        let due = self.watches.analysis_due(interval, analysis_window, self.rounds.begun);
        if let Some(request) = self.look(due, Priority::Analysis, now) {
            return Ok(request);
        }
        sweep.map_err(|at| at.min(self.rounds.due()))
    }

    fn sweep_due(&mut self, now: Timestamp) -> Result<Request, Timestamp> {
        while let Some(slot) = self.suspects.front() {
            if self.roster.absences(*slot).is_some_and(|absences| absences > 0) {
                let fetch = Fetch::Call(*slot);
                return Ok(Request { fetch, priority: Priority::Sweep, purpose: Purpose::Verify });
            }
            self.suspects.pop_front();
        }
        let (offset, limit) = self.sweeps.due(&self.roster, now)?;
        Ok(Request {
            fetch: Fetch::Page { offset, limit },
            priority: Priority::Sweep,
            purpose: Purpose::Sweep,
        })
    }

    /// The request that looks at the first of these calls. Calls that no request is sure to show are left to a walk over
    /// the whole list.
    fn look(&mut self, mut due: Vec<Slot>, priority: Priority, now: Timestamp) -> Option<Request> {
        let means = Means { page_size: self.settings.page_size, gets: self.gets != Gets::Broken };
        while !due.is_empty() {
            if let Some((fetch, slots)) = self.watches.look(&due, means) {
                return Some(Request { fetch, priority, purpose: Purpose::Look(slots) });
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
            present: self.roster.present(),
            clamp: self.sweeps.clamp(),
            flat: self.flat,
        }
    }

    /// Whether the first walk over the list is still going on: calls seen for the first time are not news.
    pub fn in_baseline(&self) -> bool {
        self.sweeps.baseline().is_some()
    }

    /// The calls that are missing from the list, while they are too many to count as deleted.
    pub fn missing(&self) -> Option<Missing> {
        self.doubt.missing()
    }

    /// How long calls have to be missing until they count as deleted.
    pub fn deleted_after(&self) -> Duration {
        self.doubt.wait(self.settings.deletions_believed_after)
    }

    /// How far the first walk over the list has come.
    pub fn progress(&self) -> Progress {
        Progress { found: self.roster.present(), total: self.total }
    }

    /// The state to hand to [`Planner::new`] after a restart. It is valid whether or not the answer to the request in flight is
    /// committed with it: the rows of that answer count as if they may hide unknown calls.
    pub fn checkpoint(&self) -> Value {
        let in_flight = match &self.in_flight {
            Some(Request { fetch: Fetch::Page { limit, .. }, .. }) => u64::from(*limit),
            _ => 0,
        };
        let checkpoint = Checkpoint {
            baseline: self.sweeps.baseline(),
            order: self.order.order(),
            unsettled: self.head.unsettled() + in_flight,
            length: self.head.length(),
            bias: self.sweeps.bias(),
            doubt: self.doubt,
        };
        json::of_plain(&checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::known, *};

    const INTERVAL: Duration = Duration::from_secs(15);

    /// The first poll after a restart with these calls.
    fn first_poll(known: &[Row]) -> Step {
        let settings = Settings {
            interval: INTERVAL,
            sweep: Duration::from_secs(3600),
            analysis_window: Duration::from_secs(3600),
            deletions_believed_after: Duration::ZERO,
            page_size: 50,
            requests_per_minute: 100,
            seed: 1,
        };
        let checkpoint = json!({ "baseline": null, "order": "newest-first", "length": 1 });
        let now = Timestamp::default();
        let mut planner = Planner::new(settings, known.iter().copied(), Some(&checkpoint), now);
        planner.next(now.after(2 * INTERVAL))
    }

    #[test]
    fn a_poll_that_also_shows_live_calls_is_as_urgent_as_they_are() {
        let live = Row { ongoing: true, ..known(0) };
        assert!(matches!(first_poll(&[live]), Step::Fetch(Fetch::Page { offset: 0, .. }, Priority::Live)));
        assert!(matches!(
            first_poll(&[known(0)]),
            Step::Fetch(Fetch::Page { offset: 0, .. }, Priority::Head)
        ));
    }
}
