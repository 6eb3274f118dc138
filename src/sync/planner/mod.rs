//! Decides what to fetch next: a pure state machine, one per source.
//!
//! [`Planner::next`] returns what to fetch, or until when there is nothing to do. The answers are handed back as
//! [`Row`]s without content. It has no clock, does no I/O, and takes random numbers only from the seed it is given.

mod doubt;
mod head;
mod order;
mod pace;
mod plan;
mod roster;
mod sweep;
mod walk;
mod watch;

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::plan::Planner;
pub use crate::callem::budget::Priority;
use crate::time::Timestamp;

/// A call's number in the source's [`super::index::Index`]: dense, from 0, stable for the life of the process.
pub type Slot = u32;

/// How a source is polled.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Time between looks for new calls and at those that are not over.
    pub interval: Duration,
    /// Time within which the whole list is walked.
    pub sweep: Duration,
    /// How long after completion an analysis is waited for.
    pub analysis_window: Duration,
    /// How long many calls that vanished together must stay away until they count as deleted.
    pub deletions_believed_after: Duration,
    /// The largest page to ask for, 1..=1000.
    pub page_size: u32,
    /// Requests per minute this source may count on.
    pub requests_per_minute: u32,
    /// Fixes the phase within the interval and the jitter; the hash of the source's name.
    pub seed: u64,
}

/// One call as the planner sees it: a row of a page, a single call, or one known from before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Which call.
    pub slot: Slot,
    /// Whether this fetch was the first to show it.
    pub new: bool,
    /// Whether its place in the list may have changed since it was last seen: it has another status, `createdAt` or
    /// `updatedAt`, or had been deleted. Other differences say nothing about its place.
    pub moved: bool,
    /// Whether it is not over: live, or in a status that `over` does not name.
    pub ongoing: bool,
    /// Until when its analysis is waited for: `analysis_window` after it was first seen to be over, or after its
    /// `updatedAt` when that is earlier. `None` when no analysis is waited for.
    pub analysis_until: Option<Timestamp>,
    /// Its `createdAt`.
    pub created_at: Option<Timestamp>,
    /// Its `updatedAt`.
    pub updated_at: Option<Timestamp>,
    /// Whether it has been found to be deleted. Only a call known from before can be.
    pub deleted: bool,
}

/// A request to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// `GET /calls?limit=…&offset=…`
    Page {
        /// Calls to skip.
        offset: u64,
        /// Calls wanted, 1..=1000.
        limit: u32,
    },
    /// `GET /calls/:id`
    Call(Slot),
}

/// The next thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Make this request, then hand over its answer or its failure.
    Fetch(Fetch, Priority),
    /// There is nothing to do before this time.
    Sleep(Timestamp),
    /// This call is gone from the list for good: report it. The planner has forgotten it already.
    Deleted(Slot),
    /// Something a person should be told once.
    Notice(Notice),
}

/// Something worth a line in the log.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// The first walk over the list is over; from here on, calls seen for the first time are news.
    BaselineDone {
        /// How many calls it found.
        calls: u64,
    },
    /// The order that the list was found to be in, and the cost of polling it.
    Order(String),
    /// Too many calls are missing from the list together, so this is taken for trouble of the API. Given after every walk
    /// that finds it so; the planner's checkpoint has changed.
    Missing(Missing),
    /// The list is whole again, or the missing calls have been deleted.
    Whole,
    /// A trait of the API's answers that makes polling harder: it ignores `offset`, or its `total` is wrong.
    Odd(String),
}

/// How many of the known calls are missing from the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// How many are missing.
    pub calls: u64,
    /// How many are known, those included.
    pub known: u64,
}

/// One clause, for people.
impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let are = if self.calls == 1 { "is" } else { "are" };
        write!(f, "{} of {} calls {are} missing from the list", self.calls, self.known)
    }
}

/// A failed request, as far as it matters for planning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The API asked to be left alone for this long.
    pub retry_after: Option<Duration>,
    /// The key was refused: only a person can mend that, so requests become rare.
    pub refused: bool,
}

/// How far the first walk over the list has come, for a progress bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Calls found so far.
    pub found: u64,
    /// Calls in the list, by the API's `total`.
    pub total: Option<u64>,
}

/// A completed call that is known from before and has not changed, to make others of.
#[cfg(test)]
fn known(slot: Slot) -> Row {
    Row {
        slot,
        new: false,
        moved: false,
        ongoing: false,
        analysis_until: None,
        created_at: None,
        updated_at: None,
        deleted: false,
    }
}
