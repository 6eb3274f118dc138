//! Errors as RFC 9457 has them: <https://www.rfc-editor.org/rfc/rfc9457>.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    ops::{OpsError, OpsErrorKind},
    rehearsal::trial::TrialError,
    supervisor::ReloadError,
};

/// The prefix of every problem's `type`; the kind of the problem follows.
const TYPE: &str = "urn:callwatch:";

/// Why a request was not carried out.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    kind: &'static str,
    detail: String,
    /// Another member of the problem, for programs.
    more: Option<Box<(&'static str, Value)>>,
    /// Seconds after which the same request may succeed.
    retry_after: Option<u64>,
}

/// A problem in the extensions of a response, so that a page can word it in its own way.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) kind: &'static str,
    pub(super) detail: String,
}

/// A problem as RFC 9457 has it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Sent {
    /// `urn:callwatch:` and a word that programs can tell it by.
    #[serde(rename = "type")]
    kind: String,
    /// The status of HTTP in words.
    title: String,
    /// The status of HTTP.
    status: u16,
    /// The reason in words, and how to go on.
    pub(super) detail: String,
    #[serde(flatten)]
    #[schema(value_type = Object)]
    more: Map<String, Value>,
}

impl Sent {
    /// The word that programs can tell it by.
    pub(super) fn kind(&self) -> &str {
        self.kind.strip_prefix(TYPE).unwrap_or(&self.kind)
    }
}

impl Problem {
    pub(super) fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self { status, kind, detail: detail.into(), more: None, retry_after: None }
    }

    /// The request cannot be understood.
    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    /// With advice behind the reason.
    pub(super) fn and_say(mut self, advice: impl AsRef<str>) -> Self {
        self.detail = format!("{}; {}", self.detail, advice.as_ref());
        self
    }

    pub(super) fn with(self, name: &'static str, value: Value) -> Self {
        Self { more: Some(Box::new((name, value))), ..self }
    }

    pub(super) fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }
}

impl From<OpsError> for Problem {
    fn from(error: OpsError) -> Self {
        let status = match error.kind() {
            OpsErrorKind::Store | OpsErrorKind::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
            OpsErrorKind::AmbiguousCall => StatusCode::CONFLICT,
            OpsErrorKind::Refused => StatusCode::BAD_REQUEST,
            OpsErrorKind::NoDestination
            | OpsErrorKind::NoDelivery
            | OpsErrorKind::NoSource
            | OpsErrorKind::NoRule
            | OpsErrorKind::NoCall => StatusCode::NOT_FOUND,
        };
        Self::new(status, error.kind().word(), error.to_string())
    }
}

impl From<TrialError> for Problem {
    fn from(error: TrialError) -> Self {
        let (status, kind) = match &error {
            TrialError::Unknown { what: "destination", .. } => {
                (StatusCode::NOT_FOUND, OpsErrorKind::NoDestination.word())
            }
            TrialError::Unknown { .. } => (StatusCode::NOT_FOUND, OpsErrorKind::NoRule.word()),
            TrialError::NoSample(_) => (StatusCode::CONFLICT, "no_sample"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "not_sent"),
        };
        Self::new(status, kind, error.to_string())
    }
}

impl From<ReloadError> for Problem {
    fn from(error: ReloadError) -> Self {
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "config_rejected", error.to_string());
        match error {
            ReloadError::Mistakes(report) => problem.with("mistakes", report.to_json()),
            _ => problem,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, kind, detail, more, retry_after } = self;
        let told = Told { kind, detail: detail.clone() };
        let sent = Sent {
            kind: format!("{TYPE}{kind}"),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail,
            more: more.into_iter().map(|more| (more.0.to_owned(), more.1)).collect(),
        };
        // It has no keys but texts, so writing it cannot fail.
        let json = serde_json::to_string(&sent).unwrap_or_default();
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], json).into_response();
        response.extensions_mut().insert(told);
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"callwatch\""));
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
