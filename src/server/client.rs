//! Asks a callwatch at work by the socket in its store's folder, for the commands.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::{net::UnixStream, time::timeout};
use url::form_urlencoded;

use super::{
    api::{Bulk, Count, Forget, MOST, Replay},
    problem::Sent,
    socket,
};
use crate::{
    call::CallId,
    event::EventId,
    name::Name,
    ops::{
        BulkMode, CallStory, Changed, Delivery, Erased, Filter, Listing, OpsError, OpsErrorKind, Resumed,
        Status, Whom,
    },
    store::Cursor,
};

/// How long the answer to a question may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// How long a change may take: longer than the server takes to give up.
const CHANGE_DEADLINE: Duration = Duration::from_secs(150);

/// How long the socket may take to take a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// The longest answer, in bytes: a page of deliveries with all their attempts is far shorter.
const MAX_ANSWER: usize = 64 << 20;

/// Asks one callwatch. Its methods are those of [`Ops`](crate::ops::Ops), and so are their errors.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The callwatch at work that has the store in `folder` open; `None` when there is none.
    ///
    /// # Errors
    /// When it is there and cannot be asked.
    pub async fn of_store(folder: &Path) -> io::Result<Option<Self>> {
        let socket = socket::path(folder);
        match timeout(CONNECT_DEADLINE, UnixStream::connect(&socket)).await {
            Ok(Ok(_)) => Ok(Some(Self { socket })),
            // A socket that nobody listens on was left behind by a process that was killed.
            Ok(Err(error))
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                Ok(None)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// As [`Ops::list`](crate::ops::Ops::list); takes as many pages as `limit` needs.
    ///
    /// # Errors
    /// As there.
    pub async fn list(
        &self,
        filter: &Filter,
        mut after: Option<Cursor>,
        limit: usize,
    ) -> Result<Listing, OpsError> {
        let mut items = vec![];
        loop {
            let left = (limit - items.len()).min(MOST);
            let mut query = parts_of(filter)?;
            query.push(("limit".to_owned(), left.max(1).to_string()));
            query.extend(after.map(|after| ("after".to_owned(), after.to_string())));
            let mut page: Listing = self.get("/deliveries", &query).await?;
            page.items.truncate(left);
            items.append(&mut page.items);
            after = page.next;
            if after.is_none() || items.len() >= limit {
                return Ok(Listing { items, next: after });
            }
        }
    }

    /// As [`Ops::count`](crate::ops::Ops::count).
    ///
    /// # Errors
    /// As there.
    pub async fn count(&self, filter: &Filter) -> Result<u64, OpsError> {
        let Count { count } = self.get("/deliveries/count", &parts_of(filter)?).await?;
        Ok(count)
    }

    /// As [`Ops::show`](crate::ops::Ops::show).
    ///
    /// # Errors
    /// As there.
    pub async fn show(
        &self,
        event: &EventId,
        destination: Option<&Name>,
        answers: bool,
    ) -> Result<Vec<Delivery>, OpsError> {
        let mut query = vec![("answers".to_owned(), answers.to_string())];
        query.extend(destination.map(|name| ("destination".to_owned(), name.to_string())));
        self.get(&format!("/deliveries/{}", segment(event.as_str())), &query).await
    }

    /// As [`Ops::retry`](crate::ops::Ops::retry).
    ///
    /// # Errors
    /// As there.
    pub async fn retry(&self, filter: &Filter, mode: BulkMode) -> Result<Changed, OpsError> {
        self.post("/deliveries/retry", &bulk(filter, mode)).await
    }

    /// As [`Ops::drop`](crate::ops::Ops::drop).
    ///
    /// # Errors
    /// As there.
    pub async fn drop(&self, filter: &Filter, mode: BulkMode) -> Result<Changed, OpsError> {
        self.post("/deliveries/drop", &bulk(filter, mode)).await
    }

    /// As [`Ops::resend`](crate::ops::Ops::resend).
    ///
    /// # Errors
    /// As there.
    pub async fn resend(
        &self,
        filter: &Filter,
        to: Option<&Name>,
        mode: BulkMode,
    ) -> Result<Changed, OpsError> {
        let replay = Replay { filter: filter.clone(), to: to.cloned(), dry_run: mode == BulkMode::DryRun };
        self.post("/replay", &replay).await
    }

    /// As [`Ops::forget`](crate::ops::Ops::forget).
    ///
    /// # Errors
    /// As there.
    pub async fn forget(&self, whom: &Whom, mode: BulkMode) -> Result<Erased, OpsError> {
        let forget = Forget { whom: whom.clone(), dry_run: mode == BulkMode::DryRun };
        self.post("/forget", &forget).await
    }

    /// As [`Ops::pause`](crate::ops::Ops::pause).
    ///
    /// # Errors
    /// As there.
    pub async fn pause(&self, destination: &Name) -> Result<(), OpsError> {
        self.post(&format!("/destinations/{}/pause", segment(destination.as_str())), &json!({})).await
    }

    /// As [`Ops::resume`](crate::ops::Ops::resume).
    ///
    /// # Errors
    /// As there.
    pub async fn resume(&self, destination: &Name) -> Result<Resumed, OpsError> {
        self.post(&format!("/destinations/{}/resume", segment(destination.as_str())), &json!({})).await
    }

    /// As [`Ops::explain`](crate::ops::Ops::explain).
    ///
    /// # Errors
    /// As there.
    pub async fn explain(&self, call: &CallId, source: Option<&Name>) -> Result<CallStory, OpsError> {
        let query: Vec<_> =
            source.iter().map(|source| ("source".to_owned(), source.as_str().to_owned())).collect();
        self.get(&format!("/calls/{}", segment(call.as_str())), &query).await
    }

    /// As [`Ops::status`](crate::ops::Ops::status).
    ///
    /// # Errors
    /// As there.
    pub async fn status(&self) -> Result<Status, OpsError> {
        self.get("/status", &[]).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(String, String)]) -> Result<T, OpsError> {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        self.ask(Method::GET, format!("{path}?{query}"), Bytes::new()).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, OpsError> {
        let body = serde_json::to_vec(body).map_err(|error| self.unreachable(&error.to_string()))?;
        self.ask(Method::POST, path.to_owned(), body.into()).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: String,
        body: Bytes,
    ) -> Result<T, OpsError> {
        let deadline = if method == Method::GET { ANSWER_DEADLINE } else { CHANGE_DEADLINE };
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.unreachable(&error.to_string()))?;
        let (status, answer) = match timeout(deadline, self.exchange(request)).await {
            Ok(answered) => answered.map_err(|error| self.unreachable(&error.to_string()))?,
            Err(_) => return Err(self.unreachable("it took too long")),
        };
        if status.is_success() {
            let answer = if answer.is_empty() { Bytes::from_static(b"null") } else { answer };
            return serde_json::from_slice(&answer)
                .map_err(|error| self.unreachable(&format!("it answered something else ({error})")));
        }
        let problem: Sent = serde_json::from_slice(&answer)
            .map_err(|_| self.unreachable(&format!("it answered {status}")))?;
        let kind = OpsErrorKind::parse(problem.kind()).unwrap_or(OpsErrorKind::Refused);
        Err(OpsError::Answered { kind, detail: problem.detail })
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let stream = UnixStream::connect(&self.socket).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends when the sender is dropped.
        tokio::spawn(connection);
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await?.to_bytes();
        Ok((status, body))
    }

    fn unreachable(&self, why: &str) -> OpsError {
        OpsError::Unreachable(format!(
            "callwatch is running and does not answer at {}: {why}; `callwatch deliveries list` and its log say \
             whether it did what was asked",
            self.socket.display()
        ))
    }
}

fn bulk(filter: &Filter, mode: BulkMode) -> Bulk {
    Bulk { filter: Some(filter.clone()), deliveries: None, dry_run: mode == BulkMode::DryRun }
}

/// The parts of a filter as they stand in a query.
pub(super) fn parts_of(filter: &impl Serialize) -> Result<Vec<(String, String)>, OpsError> {
    let unwritable = || OpsError::Unreachable("the filter cannot be written".to_owned());
    let parts = serde_json::to_value(filter).map_err(|_| unwritable())?;
    let parts = parts.as_object().ok_or_else(unwritable)?.iter();
    Ok(parts.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect())
}

/// A part of a path.
fn segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
