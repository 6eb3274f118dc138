//! A simulated Callem: the part of the API that callwatch uses, with calls that a test or a script changes at will.
//!
//! Its answers follow the vendor's documentation. Where that is open (the order of the list, whether `limit` is
//! clamped), a test can choose, and it can make requests fail in every way.

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

/// A project of the simulated API. Clones share it, and the server stops with the last one.
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
    /// The right answer, but the connection is closed in the middle of it.
    HalfBody,
    /// The connection is reset before any answer.
    Reset,
    /// 200 and JSON of another shape.
    WrongShape,
    /// 429, with `Retry-After` when a time is given (rounded up to whole seconds).
    RateLimited {
        /// How long the client is asked to wait.
        retry_after: Option<Duration>,
    },
    /// 401, as for a key that is not known.
    Unauthorized,
    /// The right answer, after this time.
    Slow(Duration),
}

/// A request that the simulated API got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// When it came.
    pub at: Instant,
    /// The page or call that it asked for.
    pub asked: Asked,
    /// The status of the answer; `None` when the connection was cut.
    pub status: Option<u16>,
}

/// The page or call that a request asks for.
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

/// How many requests the simulated API got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// `GET /v1/calls`
    pub pages: u64,
    /// `GET /v1/calls/:id`
    pub calls: u64,
    /// Requests of both sorts that were not answered with 200.
    pub failed: u64,
}

impl RequestCounts {
    /// All requests.
    pub fn total(&self) -> u64 {
        self.pages + self.calls
    }
}

impl SimulatedCallem {
    /// Starts an empty project, newest call first, with the API's limit of 120 requests a minute.
    ///
    /// # Errors
    /// When the system grants no loopback port.
    pub async fn start() -> io::Result<Self> {
        let project = Arc::new(Project::default());
        let server = Arc::new(LocalServer::start(project::router(Arc::clone(&project))).await?);
        Ok(Self { project, server })
    }

    /// The `base_url` of a source that is to poll it.
    pub fn base_url(&self) -> Url {
        self.server.url("/v1")
    }

    /// Adds a call, or replaces the one with the same `id`. In the list, an added call is the newest, and either is the
    /// last one updated.
    ///
    /// # Panics
    /// When `call` has no `id` of type string.
    #[track_caller]
    pub fn add(&self, call: Value) {
        self.state().list.put(&call);
    }

    /// The same for a call whose record is this text, which need not be JSON, nor hold the `id` under which it is kept here.
    pub fn add_text(&self, id: &str, record: String) {
        self.state().list.put_text(id, record);
    }

    /// Changes a call; `false` when there is none with this id. `updatedAt` only changes if the closure changes it.
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

    /// The number of the answer that first gave out the call as it is now; `None` when none has. Answers that give out
    /// calls are numbered from 1.
    pub fn given_out(&self, id: &str) -> Option<u64> {
        self.state().list.given_out(id)
    }

    /// How many answers have given out calls. Answers that were cut on the way do not count.
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

    /// Gives at most `max` calls in a page, whatever `limit` asks for, and says so in `pagination`.
    pub fn clamp_limit(&self, max: Option<usize>) {
        self.state().clamp = max;
    }

    /// Sets how many requests are allowed in any 60 seconds; `None` allows all. A new project has the API's own limit.
    pub fn set_rate_limit(&self, per_minute: Option<usize>) {
        self.state().rate_limit = per_minute;
    }

    /// Accepts this key from now on, and no other.
    pub fn set_key(&self, key: &str) {
        self.state().key = key.to_owned();
    }

    /// Makes `n` more requests fail, after those that already are to fail. `u64::MAX` means until [`Self::heal`].
    pub fn fail_next(&self, n: u64, failure: Failure) {
        self.state().failures.add(n, failure);
    }

    /// Drops the failures that [`Self::fail_next`] asked for.
    pub fn heal(&self) {
        self.state().failures.clear();
    }

    /// The latest 10,000 requests, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        self.state().log.iter().cloned().collect()
    }

    /// How many requests there have been so far.
    pub fn request_counts(&self) -> RequestCounts {
        *self.project.counts.borrow()
    }

    /// Waits until the counts are `enough`. It has no deadline of its own.
    pub async fn wait_for_requests(&self, enough: impl FnMut(&RequestCounts) -> bool) {
        // Waiting cannot fail, because the sender lives as long as `self`.
        let _ = self.project.counts.subscribe().wait_for(enough).await;
    }

    fn state(&self) -> MutexGuard<'_, Simulation> {
        self.project.state()
    }
}
