//! The answers of the simulated API.

use std::{
    collections::VecDeque,
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
use serde_json::json;
use tokio::{sync::watch, time::Instant};

use super::{API_KEY, Asked, Failure, Request, RequestCounts, list::CallList};
use crate::demo::{faults::Faults, local::Wire};

/// Requests a minute the API allows one IP address.
const RATE_LIMIT: usize = 120;

/// How many requests the log remembers.
const LOG: usize = 10_000;

/// The largest `limit` the API accepts.
const MAX_LIMIT: usize = 1000;

/// The `limit` of a request without one.
const DEFAULT_LIMIT: usize = 100;

/// The project, shared by the server and the handles on it.
#[derive(Debug, Default)]
pub(super) struct Project {
    state: Mutex<Simulation>,
    pub(super) counts: watch::Sender<RequestCounts>,
}

/// The state of a project, most of which a test can change.
#[derive(Debug)]
pub(super) struct Simulation {
    pub(super) list: CallList,
    pub(super) key: String,
    pub(super) clamp: Option<usize>,
    pub(super) rate_limit: Option<usize>,
    /// When the requests of the last minute came. The limit is per IP address, and all requests come from this machine.
    window: VecDeque<Instant>,
    pub(super) failures: Faults<Failure>,
    /// How many answers have given out calls and were not cut.
    pub(super) answers: u64,
    pub(super) log: VecDeque<Request>,
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
            answers: 0,
            log: VecDeque::new(),
        }
    }
}

/// The API's routes.
pub(super) fn router(project: Arc<Project>) -> Router {
    Router::new()
        .route("/v1/calls", get(page))
        .route("/v1/calls/{id}", get(call))
        .fallback(|| async { ApiAnswer::error(StatusCode::NOT_FOUND, "Not found") })
        .with_state(project)
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
    pub(super) fn state(&self) -> MutexGuard<'_, Simulation> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request as the API would, unless it is to fail, and logs it.
    async fn serve(&self, asked: Asked, headers: &HeaderMap, wire: &Wire) -> Response {
        let at = Instant::now();
        let failure = self.state().failures.next_if(|_| true);
        if let Some(Failure::Slow(delay)) = failure {
            tokio::time::sleep(delay).await;
        }
        let mut answer = match failure.and_then(Failure::answer) {
            Some(answer) => answer,
            None => {
                let whole = !matches!(failure, Some(Failure::Reset | Failure::HalfBody));
                self.state().answer(&asked, headers, at, whole)
            }
        };
        let mut status = Some(answer.status.as_u16());
        match failure {
            Some(Failure::Reset) => {
                wire.reset();
                status = None;
            }
            Some(Failure::HalfBody) => {
                // White space after the JSON makes sure that the cut is in the body, even in the shortest.
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

/// Longer than the head of any answer, in bytes.
const HEAD: usize = 512;

impl Simulation {
    /// The answer that the API itself would give. It checks the rate first, then the key, then the request. Calls count
    /// as given out only if the answer is sent `whole`.
    fn answer(&mut self, asked: &Asked, headers: &HeaderMap, now: Instant, whole: bool) -> ApiAnswer {
        if let Some(wait) = self.over_the_limit(now) {
            return ApiAnswer::rate_limited(Some(wait));
        }
        let key = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        match key {
            None => ApiAnswer::error(StatusCode::UNAUTHORIZED, "Missing API key"),
            Some(key) if key != self.key => ApiAnswer::unauthorized(),
            Some(_) => match asked {
                Asked::Page { query } => self.page(query, whole),
                Asked::Call { id } => match self.list.get(id).map(str::to_owned) {
                    Some(body) => {
                        self.give_out([id.as_str()], whole);
                        ApiAnswer::json(body)
                    }
                    None => ApiAnswer::error(StatusCode::NOT_FOUND, "Call not found"),
                },
            },
        }
    }

    /// Counts a request, or returns how long to wait when it is one too many. Refused requests do not count.
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

    fn give_out<'a>(&mut self, ids: impl IntoIterator<Item = &'a str>, whole: bool) {
        if whole {
            self.answers += 1;
            ids.into_iter().for_each(|id| self.list.give_out(id, self.answers));
        }
    }

    fn page(&mut self, query: &str, whole: bool) -> ApiAnswer {
        let (mut limit, mut offset) = (DEFAULT_LIMIT, 0);
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match (&*name, value.parse()) {
                ("limit", Ok(number @ 1..=MAX_LIMIT)) => limit = number,
                ("offset", Ok(number)) => offset = number,
                ("limit" | "offset", _) => {
                    return ApiAnswer::error(StatusCode::BAD_REQUEST, &format!("Invalid {name}"));
                }
                _ => {}
            }
        }
        let limit = limit.min(self.clamp.unwrap_or(usize::MAX));
        let total = self.list.len();
        let mut body = String::from(r#"{"data":["#);
        let ids = self.list.page(offset, limit);
        for (i, call) in ids.iter().filter_map(|id| self.list.get(id)).enumerate() {
            if i > 0 {
                body.push(',');
            }
            body.push_str(call);
        }
        self.give_out(ids.iter().map(|id| &**id), whole);
        let pagination = json!({ "total": total, "limit": limit, "offset": offset });
        body.push_str(&format!(r#"],"pagination":{pagination}}}"#));
        ApiAnswer::json(body)
    }
}

impl Failure {
    /// The answer that replaces the right one, if the failure has one.
    fn answer(self) -> Option<ApiAnswer> {
        Some(match self {
            Self::Status(status) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                ApiAnswer::error(status, status.canonical_reason().unwrap_or("Error"))
            }
            Self::Html => ApiAnswer {
                content_type: "text/html; charset=utf-8",
                ..ApiAnswer::json("<!doctype html><title>Please log in</title><p>Please log in.".to_owned())
            },
            Self::WrongShape => ApiAnswer::json(r#"{"calls":[],"next":null}"#.to_owned()),
            Self::RateLimited { retry_after } => ApiAnswer::rate_limited(retry_after),
            Self::Unauthorized => ApiAnswer::unauthorized(),
            Self::HalfBody | Self::Reset | Self::Slow(_) => return None,
        })
    }
}

/// An answer before it is sent.
struct ApiAnswer {
    status: StatusCode,
    content_type: &'static str,
    /// In seconds.
    retry_after: Option<u64>,
    body: String,
}

impl ApiAnswer {
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

impl IntoResponse for ApiAnswer {
    fn into_response(self) -> Response {
        let mut response =
            (self.status, [(header::CONTENT_TYPE, self.content_type)], self.body).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
