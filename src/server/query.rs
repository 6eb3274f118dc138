//! Queries of addresses and bodies of requests, as values.

use axum::{
    body::Bytes,
    extract::{FromRequestParts, Path, Query},
    http::{HeaderMap, StatusCode, Uri, header, request},
};
use serde::de::DeserializeOwned;
use url::form_urlencoded;

use super::problem::Problem;

/// The variable parts of a path.
pub(super) struct Segments<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, Problem> {
        let read = Path::from_request_parts(parts, state).await;
        read.map(|Path(segments)| Self(segments)).map_err(|error| Problem::malformed(error.body_text()))
    }
}

/// The parts of a query by their names.
pub(super) struct Parts(Vec<(String, String)>);

impl Parts {
    pub(super) fn of(uri: &Uri) -> Self {
        let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        Self(pairs.into_owned().collect())
    }

    /// Of a form of the page, as a browser sends it in a body.
    pub(super) fn of_form(headers: &HeaderMap, body: &Bytes) -> Result<Self, Problem> {
        if !is_of_type(headers, "application/x-www-form-urlencoded") {
            let detail = "this address takes forms of the page; programs use /api/v1";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_a_form", detail));
        }
        Ok(Self(form_urlencoded::parse(body).into_owned().collect()))
    }

    /// Without the parts that are empty: a form has a part for every field, filled in or not.
    pub(super) fn filled_in(mut self) -> Self {
        self.0.retain(|(_, value)| !value.trim().is_empty());
        self
    }

    /// Takes the part of this name out, read by `read`.
    pub(super) fn take<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(at) = self.0.iter().position(|(key, _)| key == name) else { return Ok(None) };
        let (_, value) = self.0.remove(at);
        let wrong = || Problem::malformed(format!("`{name}` cannot be {value:?}"));
        read(&value).map(Some).ok_or_else(wrong)
    }

    /// The rest as one value. Parts that it does not have are refused: one with a typing mistake must not be taken for none.
    pub(super) fn rest<T: DeserializeOwned>(self) -> Result<T, Problem> {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(self.0).finish();
        let uri: Uri =
            format!("/?{query}").parse().map_err(|_| Problem::malformed("the query is too long"))?;
        Query::try_from_uri(&uri).map(|Query(value)| value).map_err(|error| {
            let text = error.body_text();
            let why = text.split_once(": ").map_or(text.as_str(), |(_, why)| why);
            Problem::malformed(format!("the query cannot be read: {why}"))
        })
    }
}

/// The body as JSON; the default when there is none.
pub(super) fn json<T: DeserializeOwned + Default>(headers: &HeaderMap, body: &Bytes) -> Result<T, Problem> {
    if body.is_empty() {
        return Ok(T::default());
    }
    // Pages of other sites can send other types without asking first.
    if !is_of_type(headers, "application/json") {
        let detail = "send JSON, with `Content-Type: application/json`";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", detail));
    }
    serde_json::from_slice(body)
        .map_err(|error| Problem::malformed(format!("the body cannot be read: {error}")))
}

fn is_of_type(headers: &HeaderMap, wanted: &str) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted)
}
