//! The API client: one request, one deadline, and a typed error for every way it can fail.
//!
//! It does not decide what is fetched when. Records stay raw: each is a slice of the body, parsed only by a caller that
//! needs its fields.

mod borders;
pub mod budget;
mod page;

use std::{sync::Mutex, time::Duration};

use reqwest::{
    StatusCode,
    header::{AUTHORIZATION, CONTENT_ENCODING, DATE, HeaderMap, HeaderValue},
};
use secrecy::ExposeSecret;
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, SemaphorePermit};
use url::Url;

pub use self::page::{Bounds, Flaw, Page};
use crate::{
    call::CallId,
    config::{Secret, SecretError, SourceConfig},
    http::{self, ConnectionError},
    privacy::{Mask, foreign},
    time::Timestamp,
};

/// The largest body that is read: a page of 1,000 calls with long transcripts is a few tens of megabytes.
const MAX_BODY: usize = 128 << 20;

/// Room for what is around the records of a page.
const AROUND: usize = 64 << 10;

/// A body longer than this is read on a thread of its own, so that it keeps no other task waiting.
const LONG_BODY: usize = 256 << 10;

/// A body longer than this needs [`ROOM`] for itself.
const LARGE_BODY: usize = 16 << 20;

/// Room for one large body at a time, of all sources together, so that they cannot fill the memory between them.
static ROOM: Semaphore = Semaphore::const_new(1);

/// The largest body of an error that is read.
const MAX_ERROR_BODY: usize = 64 << 10;

/// A connection to one project.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    secret: Secret,
    /// The header with the key as last read; `None` after it was refused, so that a rotated key is picked up.
    key: Mutex<Option<HeaderValue>>,
    timeout: Duration,
    /// The longest record, in bytes.
    max_record: usize,
}

/// A response, with the server's time.
#[derive(Debug)]
pub struct Response<T> {
    /// Its body.
    pub body: T,
    /// The `Date` header, in whole seconds: the clock that `createdAt` is taken from.
    pub server_time: Option<Timestamp>,
}

/// Why a request failed. Holds neither the key nor anything of a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// 401 or 403.
    #[error("the API refused the key ({status}{}): check api_key and the key's IP allow-list", detail(.message))]
    KeyRefused {
        /// 401 or 403.
        status: u16,
        /// The API's message.
        message: String,
    },
    /// The key cannot be read from where the config says it is, or has characters that a header cannot have.
    #[error("no API key: {0}")]
    NoKey(String),
    /// 429.
    #[error("the API asked for fewer requests (429{})", wait(.retry_after))]
    RateLimited {
        /// The time for which it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// 5xx.
    #[error("the API is in trouble ({status}{})", detail(.message))]
    Server {
        /// The status.
        status: u16,
        /// The API's message.
        message: String,
        /// The time for which it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// Any other status that is not a success.
    #[error("the API answered {status}{}; is base_url right?", detail(.message))]
    Rejected {
        /// The status.
        status: u16,
        /// The API's message.
        message: String,
    },
    /// The request or its response did not get through.
    #[error("the API cannot be reached: {0}")]
    Network(String),
    /// The response began, and could not be read to its end: it broke off, took too long, or is not the gzip it says it is.
    #[error("the API's answer cannot be read to its end: {0}")]
    BrokenOff(String),
    /// The response is larger than any the API should send.
    #[error("the API's answer is larger than {0} kB; a smaller page_size or a larger max_record may help")]
    TooLarge(usize),
    /// The response is compressed in a way that was not asked for.
    #[error("the API's answer is compressed as `{0}`, which was not asked for; only gzip is understood")]
    Encoded(String),
    /// The response is not JSON.
    #[error("the API's answer is not JSON (it begins like {0})")]
    NotJson(&'static str),
    /// The response is JSON, but not of the documented shape.
    #[error("the API's answer has an unexpected shape: {0}")]
    WrongShape(String),
}

fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

fn wait(retry_after: &Option<Duration>) -> String {
    retry_after.map_or_else(String::new, |wait| {
        format!("; it wants to be left alone for {}", humantime::format_duration(wait))
    })
}

/// The longest time that an API is left alone at its request. Its limit is per minute, so a longer time is a mistake.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

impl FetchError {
    /// Whether the error may concern only the one call that was asked for, while the API is well otherwise.
    pub fn may_be_of_one_call(&self) -> bool {
        matches!(
            self,
            Self::KeyRefused { status: 403, .. }
                | Self::Server { .. }
                | Self::Rejected { .. }
                | Self::BrokenOff(_)
                | Self::NotJson(_)
                | Self::WrongShape(_)
                | Self::TooLarge(_)
                | Self::Encoded(_)
        )
    }

    /// The time for which the API asked to be left alone, if it did.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } | Self::Server { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The kind of error in a word, for the details of `source.failing`: `key`, `limited`, `server`, `unreachable` or `answer`.
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::KeyRefused { .. } | Self::NoKey(_) => "key",
            Self::RateLimited { .. } => "limited",
            Self::Server { .. } => "server",
            Self::Network(_) => "unreachable",
            Self::Rejected { .. }
            | Self::BrokenOff(_)
            | Self::TooLarge(_)
            | Self::Encoded(_)
            | Self::NotJson(_)
            | Self::WrongShape(_) => "answer",
        }
    }

    /// Whether only a person can mend it.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::KeyRefused { .. } | Self::NoKey(_))
    }
}

impl From<SecretError> for FetchError {
    fn from(error: SecretError) -> Self {
        Self::NoKey(error.to_string())
    }
}

/// The body of an answer.
struct Body {
    bytes: Vec<u8>,
    /// Held by a large one as long as it is in memory.
    room: Option<SemaphorePermit<'static>>,
}

impl Client {
    /// A client for one source. Opens no connection yet. `http` is shared by all sources without certificates or a proxy of
    /// their own; for the others, files are read, so this blocks.
    ///
    /// # Errors
    /// [`ConnectionError`] when a certificate, a key or the proxy cannot be used.
    pub fn new(source: &SourceConfig, http: &reqwest::Client) -> Result<Self, ConnectionError> {
        let plain = source.connection.is_plain();
        Ok(Self {
            http: if plain { http.clone() } else { http::client_for(&source.connection)? },
            base: source.base_url.clone(),
            secret: source.api_key.clone(),
            key: Mutex::new(None),
            timeout: source.timeout,
            max_record: source.max_record,
        })
    }

    /// `GET /calls?limit=…&offset=…`
    ///
    /// # Errors
    /// [`FetchError`] says what went wrong.
    pub async fn page(&self, offset: u64, limit: u32) -> Result<Response<Page>, FetchError> {
        let mut url = self.url(&["calls"]);
        url.query_pairs_mut()
            .append_pair("limit", &limit.to_string())
            .append_pair("offset", &offset.to_string());
        let bounds = Bounds { records: limit as usize, record: self.max_record };
        let most = bounds.records.saturating_mul(bounds.record).saturating_add(AROUND);
        let (status, headers, body) = self.get(url, most.min(MAX_BODY)).await?;
        self.check(status, &headers, &body.bytes)?;
        let Body { bytes, room } = body;
        let mut page = if bytes.len() <= LONG_BODY {
            Page::read(bytes, bounds)?
        } else {
            tokio::task::spawn_blocking(move || Page::read(bytes, bounds))
                .await
                .map_err(|_| FetchError::Network("reading its answer was interrupted".to_owned()))??
        };
        page.keep_room(room);
        Ok(Response { server_time: server_time(&headers), body: page })
    }

    /// `GET /calls/:id`; `None` when there is no such call. Whether the record is a call, and the one that was asked for,
    /// is for the caller to see.
    ///
    /// # Errors
    /// [`FetchError`] says what went wrong.
    pub async fn call(&self, id: &CallId) -> Result<Response<Option<Box<RawValue>>>, FetchError> {
        if matches!(id.as_str(), "." | "..") {
            // In a URL these mean steps along the path, however they are escaped.
            return Err(FetchError::WrongShape("the call's id cannot be part of an address".to_owned()));
        }
        let most = self.max_record.saturating_add(AROUND).min(MAX_BODY);
        let (status, headers, body) = self.get(self.url(&["calls", id.as_str()]), most).await?;
        let server_time = server_time(&headers);
        if status == StatusCode::NOT_FOUND {
            return Ok(Response { server_time, body: None });
        }
        self.check(status, &headers, &body.bytes)?;
        Ok(Response { server_time, body: Some(page::single(body.bytes)?) })
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        // An http(s) URL always has a path to extend; the config accepts no other.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    async fn get(&self, url: Url, most: usize) -> Result<(StatusCode, HeaderMap, Body), FetchError> {
        let key = self.key().await?;
        let request = self.http.get(url).header(AUTHORIZATION, key).timeout(self.timeout);
        let in_words = |error: reqwest::Error| http::in_words(&error, self.timeout);
        let response = request.send().await.map_err(|error| FetchError::Network(in_words(error)))?;
        let broken_off = |error| FetchError::BrokenOff(in_words(error));
        let (status, headers) = (response.status(), response.headers().clone());
        if let Some(encoding) = headers.get(CONTENT_ENCODING).filter(|it| *it != "identity" && !it.is_empty())
        {
            let word = encoding.to_str().unwrap_or_default();
            return Err(FetchError::Encoded(foreign(
                &word.chars().filter(char::is_ascii_alphanumeric).take(20).collect::<String>(),
            )));
        }
        let limit = if status.is_success() { most } else { MAX_ERROR_BODY };
        let mut response = response;
        let mut bytes = vec![];
        let mut truncated =
            http::read_more(&mut response, &mut bytes, limit.min(LARGE_BODY)).await.map_err(broken_off)?;
        let mut room = None;
        if truncated && limit > LARGE_BODY {
            // Waiting for it counts towards the request's deadline, which is looked at while reading goes on.
            let late = |_| FetchError::BrokenOff(http::timed_out(self.timeout));
            // Never closed, so never an error.
            room = tokio::time::timeout(self.timeout, ROOM.acquire()).await.map_err(late)?.ok();
            truncated = http::read_more(&mut response, &mut bytes, limit).await.map_err(broken_off)?;
        }
        if truncated && status.is_success() {
            return Err(FetchError::TooLarge(limit >> 10));
        }
        bytes.truncate(limit);
        Ok((status, headers, Body { bytes, room }))
    }

    fn check(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), FetchError> {
        if status.is_success() {
            return Ok(());
        }
        let message = page::error_message(body, &self.mask());
        let retry_after =
            || http::retry_after(headers, server_time(headers)).map(|wait| wait.min(LONGEST_PAUSE));
        Err(match status.as_u16() {
            401 | 403 => {
                *self.key.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
                FetchError::KeyRefused { status: status.as_u16(), message }
            }
            429 => FetchError::RateLimited { retry_after: retry_after() },
            status @ 500.. => FetchError::Server { status, message, retry_after: retry_after() },
            status => FetchError::Rejected { status, message },
        })
    }

    /// Hides the key that was sent.
    fn mask(&self) -> Mask {
        let known = self.key.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let text = known.as_ref().and_then(|header| header.to_str().ok());
        Mask::of(text.and_then(|text| text.strip_prefix("Bearer ")))
    }

    /// The `Authorization` header, made from the key, which is read again after it was refused.
    async fn key(&self) -> Result<HeaderValue, FetchError> {
        let known = self.key.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if let Some(key) = known {
            return Ok(key);
        }
        let key = self.secret.load().await?;
        let mut header = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret().trim()))
            .map_err(|_| FetchError::NoKey("it has characters that no key can have".to_owned()))?;
        header.set_sensitive(true);
        *self.key.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(header.clone());
        Ok(header)
    }
}

fn server_time(headers: &HeaderMap) -> Option<Timestamp> {
    http::date(headers.get(DATE)?)
}
