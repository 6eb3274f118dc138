//! A simulated Callem: the part of the API callwatch uses, over calls that a test or a script changes at will.
//!
//! What it answers follows the vendor's documentation. What that leaves open (the order of the list, whether
//! `limit` is clamped) can be chosen, and every way a request can fail can be asked for.

mod list;
mod project;

use std::{
    io,
    sync::{Arc, MutexGuard},
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;
use url::Url;

pub use self::list::Order;
use self::project::{Project, Simulation};
use super::local::LocalServer;

/// The key that is accepted until [`SimulatedCallem::set_key`] changes it.
pub const API_KEY: &str = "ck_live_000000000000000000000000000000000000000000000000000000000000";

/// A project of the simulated API. Clones share it; the server stops with the last one.
#[derive(Clone, Debug)]
pub struct SimulatedCallem {
    project: Arc<Project>,
    server: Arc<LocalServer>,
}

/// A way for a request to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// This status, with the API's error body.
    Status(u16),
    /// 200 and a page of HTML, as a captive portal or a proxy would.
    Html,
    /// The right answer, but the connection closes in the middle of it.
    HalfBody,
    /// The connection is reset before any answer.
    Reset,
    /// 200 and JSON of another shape.
    WrongShape,
    /// 429, with `Retry-After` when a time is given (rounded up to whole seconds).
    RateLimited {
        /// When to come back.
        retry_after: Option<Duration>,
    },
    /// 401, as for a key that is not known.
    Unauthorized,
    /// The right answer, so much later.
    Slow(Duration),
}

/// A request that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// When it came.
    pub at: Instant,
    /// What for.
    pub asked: Asked,
    /// The status it was answered with; `None` when the connection was cut instead.
    pub status: Option<u16>,
}

/// What a request was for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `GET /v1/calls`, with its query as it came.
    Page {
        /// `limit=50&offset=100`
        query: String,
    },
    /// `GET /v1/calls/:id`
    Call {
        /// The call's id.
        id: String,
    },
}

/// How many requests were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// `GET /v1/calls`
    pub pages: u64,
    /// `GET /v1/calls/:id`
    pub calls: u64,
    /// Of all of them, those that were not answered with 200.
    pub failed: u64,
}

impl RequestCounts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.pages + self.calls
    }
}

impl SimulatedCallem {
    /// Starts an empty project, newest call first, with the API's limit of 120 requests a minute.
    ///
    /// # Errors
    /// When no loopback port can be had.
    pub async fn start() -> io::Result<Self> {
        let project = Arc::new(Project::default());
        let server = Arc::new(LocalServer::start(project::router(Arc::clone(&project))).await?);
        Ok(Self { project, server })
    }

    /// What a source's `base_url` must be to reach it.
    pub fn base_url(&self) -> Url {
        self.server.url("/v1")
    }

    /// Adds a call, or replaces the one with the same `id`. In the list it counts as the newest (only when it
    /// was not there) and as the last one updated.
    ///
    /// # Panics
    /// When `call` has no `id` of type string: the caller's mistake.
    #[track_caller]
    pub fn add(&self, call: Value) {
        self.state().list.put(&call);
    }

    /// Changes a call; `false` when there is none with this id. Its `updatedAt` is the closure's business.
    #[track_caller]
    pub fn update(&self, id: &str, change: impl FnOnce(&mut Value)) -> bool {
        let mut state = self.state();
        let Some(mut call) = state.list.get(id).and_then(|body| serde_json::from_str(body).ok()) else {
            return false;
        };
        change(&mut call);
        state.list.put(&call);
        true
    }

    /// Deletes a call; `false` when there is none with this id.
    pub fn delete(&self, id: &str) -> bool {
        self.state().list.remove(id)
    }

    /// A call's record, byte for byte as it is served.
    pub fn record(&self, id: &str) -> Option<String> {
        self.state().list.get(id).map(str::to_owned)
    }

    /// In the how-many-eth answer that gave out calls, from 1, this one was first given out as it is now.
    pub fn given_out(&self, id: &str) -> Option<u64> {
        self.state().list.given_out(id)
    }

    /// How many answers gave out calls; those that were cut on the way do not count.
    pub fn answers(&self) -> u64 {
        self.state().answers
    }

    /// How many calls there are.
    pub fn len(&self) -> usize {
        self.state().list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Changes the order of the list.
    pub fn set_order(&self, order: Order) {
        self.state().list.set_order(order);
    }

    /// Never gives more than `max` calls in a page, whatever `limit` asks for, and says so in `pagination`.
    pub fn clamp_limit(&self, max: Option<usize>) {
        self.state().clamp = max;
    }

    /// Requests allowed in any 60 seconds; `None` allows all. The API's own limit at first.
    pub fn set_rate_limit(&self, per_minute: Option<usize>) {
        self.state().rate_limit = per_minute;
    }

    /// Accepts this key from now on, and no other.
    pub fn set_key(&self, key: &str) {
        self.state().key = key.to_owned();
    }

    /// Lets the next `n` requests fail, after those that are already going to. `u64::MAX` is until [`Self::heal`].
    pub fn fail_next(&self, n: u64, failure: Failure) {
        self.state().failures.add(n, failure);
    }

    /// Ends what [`Self::fail_next`] began.
    pub fn heal(&self) {
        self.state().failures.clear();
    }

    /// The latest requests, oldest first, at most 10,000.
    pub fn requests(&self) -> Vec<Request> {
        self.state().log.iter().cloned().collect()
    }

    /// How many requests were made so far.
    pub fn request_counts(&self) -> RequestCounts {
        *self.project.counts.borrow()
    }

    /// Waits until as many requests were made as `enough` asks for. Without a deadline of its own.
    pub async fn wait_for_requests(&self, enough: impl FnMut(&RequestCounts) -> bool) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.project.counts.subscribe().wait_for(enough).await;
    }

    fn state(&self) -> MutexGuard<'_, Simulation> {
        self.project.state()
    }
}
