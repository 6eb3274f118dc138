//! A simulated Callem: the part of the API callwatch uses, over calls that a test or a script changes at will.
//!
//! What it answers follows the vendor's documentation. What that leaves open (the order of the list, whether
//! `limit` is clamped) can be chosen, and every way a request can fail can be asked for.

mod list;

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::{ConnectInfo, Path, RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};
use url::Url;

use self::list::CallList;
pub use self::list::Order;
use super::{
    faults::Faults,
    local::{LocalServer, Wire},
};

/// The key that is accepted until [`SimulatedCallem::set_key`] changes it.
pub const API_KEY: &str = "ck_live_000000000000000000000000000000000000000000000000000000000000";

/// Requests a minute the API allows one IP address.
const RATE_LIMIT: usize = 120;

/// How many requests the log remembers.
const LOG: usize = 10_000;

/// The largest `limit` the API accepts.
const MAX_LIMIT: usize = 1000;

/// The `limit` of a request without one.
const DEFAULT_LIMIT: usize = 100;

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
        let router = Router::new()
            .route("/v1/calls", get(page))
            .route("/v1/calls/{id}", get(call))
            .fallback(|| async { Answer::error(StatusCode::NOT_FOUND, "Not found") })
            .with_state(Arc::clone(&project));
        let server = Arc::new(LocalServer::start(router).await?);
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

/// What the server and its handles share.
#[derive(Debug, Default)]
struct Project {
    state: Mutex<Simulation>,
    counts: watch::Sender<RequestCounts>,
}

#[derive(Debug)]
struct Simulation {
    list: CallList,
    key: String,
    clamp: Option<usize>,
    rate_limit: Option<usize>,
    /// When the requests of the last minute came. One window is enough: all of them come from this machine.
    window: VecDeque<Instant>,
    failures: Faults<Failure>,
    log: VecDeque<Request>,
}

impl Default for Simulation {
    fn default() -> Self {
        Self {
            list: CallList::default(),
            key: API_KEY.to_owned(),
            clamp: None,
            rate_limit: Some(RATE_LIMIT),
            window: VecDeque::new(),
            failures: Faults::default(),
            log: VecDeque::new(),
        }
    }
}

async fn page(
    State(project): State<Arc<Project>>,
    ConnectInfo(wire): ConnectInfo<Wire>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = query.unwrap_or_default();
    project.serve(Asked::Page { query }, &headers, &wire).await
}

async fn call(
    State(project): State<Arc<Project>>,
    ConnectInfo(wire): ConnectInfo<Wire>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    project.serve(Asked::Call { id }, &headers, &wire).await
}

impl Project {
    fn state(&self) -> MutexGuard<'_, Simulation> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request as the API would, or the way the next failure wants it, and writes it down.
    async fn serve(&self, asked: Asked, headers: &HeaderMap, wire: &Wire) -> Response {
        let at = Instant::now();
        let failure = self.state().failures.next_if(|_| true);
        if let Some(Failure::Slow(delay)) = failure {
            tokio::time::sleep(delay).await;
        }
        let mut answer = match failure.and_then(Failure::answer) {
            Some(answer) => answer,
            None => self.state().answer(&asked, headers, at),
        };
        let mut status = Some(answer.status.as_u16());
        match failure {
            Some(Failure::Reset) => {
                wire.reset();
                status = None;
            }
            Some(Failure::HalfBody) => {
                // White space after the JSON makes sure that even the shortest body is cut, not its head.
                answer.body.extend(std::iter::repeat_n(' ', 2 * HEAD));
                wire.cut_after(HEAD + answer.body.len() / 2);
                status = None;
            }
            _ => {}
        }
        self.note(Request { at, asked, status });
        answer.into_response()
    }

    fn note(&self, request: Request) {
        let asked = request.asked.clone();
        let failed = request.status != Some(200);
        {
            let log = &mut self.state().log;
            if log.len() == LOG {
                log.pop_front();
            }
            log.push_back(request);
        }
        self.counts.send_modify(|counts| {
            match asked {
                Asked::Page { .. } => counts.pages += 1,
                Asked::Call { .. } => counts.calls += 1,
            }
            counts.failed += u64::from(failed);
        });
    }
}

/// More than the head of an answer is long, in bytes.
const HEAD: usize = 512;

impl Simulation {
    /// What the API itself would answer: it looks at the rate first, then at the key, then at the question.
    fn answer(&mut self, asked: &Asked, headers: &HeaderMap, now: Instant) -> Answer {
        if let Some(wait) = self.over_the_limit(now) {
            return Answer::rate_limited(Some(wait));
        }
        let key = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        match key {
            None => Answer::error(StatusCode::UNAUTHORIZED, "Missing API key"),
            Some(key) if key != self.key => Answer::unauthorized(),
            Some(_) => match asked {
                Asked::Page { query } => self.page(query),
                Asked::Call { id } => match self.list.get(id) {
                    Some(body) => Answer::json(body.to_owned()),
                    None => Answer::error(StatusCode::NOT_FOUND, "Call not found"),
                },
            },
        }
    }

    /// Counts a request; how long to wait when it is one too many. Refused requests do not count.
    fn over_the_limit(&mut self, now: Instant) -> Option<Duration> {
        const WINDOW: Duration = Duration::from_secs(60);
        let limit = self.rate_limit?;
        while self.window.front().is_some_and(|oldest| now.duration_since(*oldest) >= WINDOW) {
            self.window.pop_front();
        }
        if self.window.len() < limit {
            self.window.push_back(now);
            return None;
        }
        Some(self.window.front().map_or(WINDOW, |oldest| WINDOW - now.duration_since(*oldest)))
    }

    fn page(&mut self, query: &str) -> Answer {
        let (mut limit, mut offset) = (DEFAULT_LIMIT, 0);
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match (&*name, value.parse()) {
                ("limit", Ok(number @ 1..=MAX_LIMIT)) => limit = number,
                ("offset", Ok(number)) => offset = number,
                ("limit" | "offset", _) => {
                    return Answer::error(StatusCode::BAD_REQUEST, &format!("Invalid {name}"));
                }
                _ => {}
            }
        }
        let limit = limit.min(self.clamp.unwrap_or(usize::MAX));
        let total = self.list.len();
        let mut body = String::from(r#"{"data":["#);
        for (i, call) in self.list.page(offset, limit).enumerate() {
            if i > 0 {
                body.push(',');
            }
            body.push_str(call);
        }
        let pagination = json!({ "total": total, "limit": limit, "offset": offset });
        body.push_str(&format!(r#"],"pagination":{pagination}}}"#));
        Answer::json(body)
    }
}

impl Failure {
    /// What is answered in place of the right answer, when something is.
    fn answer(self) -> Option<Answer> {
        Some(match self {
            Self::Status(status) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                Answer::error(status, status.canonical_reason().unwrap_or("Error"))
            }
            Self::Html => Answer {
                content_type: "text/html; charset=utf-8",
                ..Answer::json("<!doctype html><title>Please log in</title><p>Please log in.".to_owned())
            },
            Self::WrongShape => Answer::json(r#"{"calls":[],"next":null}"#.to_owned()),
            Self::RateLimited { retry_after } => Answer::rate_limited(retry_after),
            Self::Unauthorized => Answer::unauthorized(),
            Self::HalfBody | Self::Reset | Self::Slow(_) => return None,
        })
    }
}

/// An answer before it is sent.
struct Answer {
    status: StatusCode,
    content_type: &'static str,
    /// In seconds.
    retry_after: Option<u64>,
    body: String,
}

impl Answer {
    fn json(body: String) -> Self {
        Self {
            status: StatusCode::OK,
            content_type: "application/json; charset=utf-8",
            retry_after: None,
            body,
        }
    }

    fn error(status: StatusCode, message: &str) -> Self {
        let body = json!({ "statusCode": status.as_u16(), "message": message }).to_string();
        Self { status, ..Self::json(body) }
    }

    fn unauthorized() -> Self {
        Self::error(StatusCode::UNAUTHORIZED, "Invalid API key")
    }

    fn rate_limited(retry_after: Option<Duration>) -> Self {
        let seconds = retry_after.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        Self { retry_after: seconds, ..Self::error(StatusCode::TOO_MANY_REQUESTS, "Too many requests") }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response =
            (self.status, [(header::CONTENT_TYPE, self.content_type)], self.body).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
