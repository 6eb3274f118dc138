//! Receivers on this machine, in place of a CRM, a Slack channel and a mail server.
//!
//! Each of them checks what a real one would check, keeps what it accepted in its [`Inbox`], and misbehaves when a test
//! tells it to.

mod inbox;
mod slack;
mod smtp;
mod webhook;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

pub use self::{
    inbox::{Arrival, Inbox, InboxCounts, Message},
    slack::{InChannel, SlackReceiver},
    smtp::{Mail, Refusal, SmtpReceiver, Stage},
    webhook::{DEMO_SECRET, WebhookReceiver},
};
use super::{faults::Faults, local::Wire};

/// A way for an HTTP receiver to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// Answers with this status and accepts nothing.
    Status {
        /// The status.
        code: u16,
        /// Seconds for a `Retry-After` header.
        retry_after: Option<u32>,
    },
    /// Accepts the message, but only after this time.
    Delay(Duration),
    /// Resets the connection and accepts nothing.
    Reset,
    /// Accepts the message, but resets the connection instead of answering.
    LoseAnswer,
    /// Accepts the message, but answers with this body, which is said to be gzip.
    Gzip(&'static [u8]),
}

/// The misbehaviour that an HTTP receiver has been told to show.
#[derive(Clone, Debug, Default)]
struct PendingMisbehaviour(Arc<Mutex<Faults<Misbehaviour>>>);

impl PendingMisbehaviour {
    fn add(&self, n: u64, misbehaviour: Misbehaviour) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).add(n, misbehaviour);
    }

    fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Answers a request as `accept` does, unless misbehaviour is pending.
    async fn answer(&self, wire: &Wire, accept: impl FnOnce() -> Response) -> Response {
        let next = self.0.lock().unwrap_or_else(PoisonError::into_inner).next_if(|_| true);
        match next {
            None => accept(),
            Some(Misbehaviour::Status { code, retry_after }) => {
                let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let mut response = (status, "not now").into_response();
                if let Some(seconds) = retry_after {
                    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                }
                response
            }
            Some(Misbehaviour::Delay(delay)) => {
                tokio::time::sleep(delay).await;
                accept()
            }
            Some(Misbehaviour::Reset) => {
                wire.reset();
                StatusCode::OK.into_response()
            }
            Some(Misbehaviour::LoseAnswer) => {
                let answer = accept();
                wire.reset();
                answer
            }
            Some(Misbehaviour::Gzip(body)) => {
                let status = match accept().status() {
                    // This status allows no body.
                    StatusCode::NO_CONTENT => StatusCode::OK,
                    status => status,
                };
                (status, [(header::CONTENT_ENCODING, "gzip")], body).into_response()
            }
        }
    }
}
