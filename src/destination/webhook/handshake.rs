//! The abuse protection of CloudEvents' web hooks: before anything is sent, the receiver is asked whether it wants to be sent it,
//! and how often: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md#4-abuse-protection>.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reqwest::{
    Client, Method, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use tokio::time::{Instant, timeout_at};

use crate::{
    destination::{answer::status_line, connection::in_words, exchange::MAX_RESPONSE},
    http,
};

const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

/// How long a permission holds before it is asked for again.
const HOLDS: Duration = Duration::from_secs(3600);

/// What a receiver has allowed the sender that it knows by this origin.
pub(super) struct Handshake {
    origin: HeaderValue,
    /// Until when there is permission. Locked while it is asked for, so that one question serves all attempts.
    permission: tokio::sync::Mutex<Option<Instant>>,
    pace: Mutex<Pace>,
}

/// How often the receiver takes requests.
#[derive(Clone, Copy, Default)]
struct Pace {
    /// The time between two requests; zero when they may be any number.
    every: Duration,
    /// When the next may go out.
    next: Option<Instant>,
}

impl Handshake {
    pub(super) fn new(origin: HeaderValue) -> Self {
        Self { origin, permission: tokio::sync::Mutex::default(), pace: Mutex::default() }
    }

    /// The name by which the receiver knows the sender.
    pub(super) fn origin(&self) -> HeaderValue {
        self.origin.clone()
    }

    /// Asks for permission unless there is one. `headers` say who asks.
    ///
    /// # Errors
    /// Why there is none, in one line.
    pub(super) async fn ask(
        &self,
        client: &Client,
        url: &Url,
        mut headers: HeaderMap,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<(), String> {
        let asking = async {
            let mut permission = self.permission.lock().await;
            if permission.is_some_and(|until| Instant::now() < until) {
                return Ok(());
            }
            headers.insert(REQUEST_ORIGIN, self.origin.clone());
            let asked = client.request(Method::OPTIONS, url.clone()).headers(headers).send().await;
            let answer = asked.map_err(|error| in_words(&error, timeout))?;
            let status = answer.status();
            let header = |name| {
                let value: Option<&HeaderValue> = answer.headers().get(name);
                value.and_then(|value| value.to_str().ok()).map(str::trim).map(str::to_owned)
            };
            let (origin, rate) = (header(ALLOWED_ORIGIN), header(ALLOWED_RATE));
            // The body says nothing more, but has to be read for the connection to be used again.
            let _ = http::read_capped(answer, MAX_RESPONSE).await;
            // The status says nothing about consent: the receiver may answer OPTIONS for other reasons.
            let own = self.origin.to_str().unwrap_or_default();
            match origin {
                Some(allowed) if allowed == "*" || allowed.eq_ignore_ascii_case(own) => {}
                Some(_) => return Err("its WebHook-Allowed-Origin is that of somebody else".to_owned()),
                None => return Err(format!("{}, without WebHook-Allowed-Origin", status_line(status))),
            }
            let a_minute = rate.and_then(|rate| rate.parse::<u32>().ok()).filter(|rate| *rate > 0);
            let every = a_minute.map_or(Duration::ZERO, |rate| Duration::from_secs(60) / rate);
            self.pace().every = every;
            *permission = Some(Instant::now() + HOLDS);
            Ok(())
        };
        let why = match timeout_at(deadline, asking).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(why)) => why,
            Err(_) => http::timed_out(timeout),
        };
        Err(format!("the receiver did not allow it when asked by OPTIONS: {why}; nothing was sent"))
    }

    /// Forgets the permission, so that the next attempt asks again: the receiver may have changed its mind. Does
    /// nothing while it is being asked.
    pub(super) fn doubt(&self) {
        if let Ok(mut permission) = self.permission.try_lock() {
            *permission = None;
        }
    }

    /// How long to wait until the receiver's rate has room; `None` when it has, which uses that room up.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        let mut pace = self.pace();
        match pace.next {
            Some(next) if next > now => Some(next - now),
            _ => {
                pace.next = (!pace.every.is_zero()).then(|| now + pace.every);
                None
            }
        }
    }

    fn pace(&self) -> std::sync::MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
