//! The page: what callwatch knows and can be asked to do, for people with a browser.
//!
//! Another rendering of what [`ops`](crate::ops) answers: it decides nothing, asks nothing from elsewhere, and works without
//! its script, which only keeps what is shown up to date. Changes are forms that POST, and lead to a page again.

mod asked;
mod assets;
mod calls;
mod chart;
mod config;
mod deliveries;
mod events;
mod form;
mod overview;
mod rules;
mod shell;
mod sign_in;
mod verdict;
mod words;

use std::sync::Arc;

use askama::Template;
use axum::{
    Extension, Router,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio_util::sync::CancellationToken;

use self::events::Streams;
pub(super) use self::{asked::Asked, assets::is_for_all};
use super::{Service, guard::Entrance, problem::Problem};

/// Everything that a page may load comes from this server, and no markup can bring a script or a style along.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
     form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
);

pub(super) fn routes(entrance: Arc<Entrance>, close: &CancellationToken) -> Router<Service> {
    Router::new()
        .merge(overview::routes())
        .merge(deliveries::routes())
        .merge(calls::routes())
        .merge(rules::routes())
        .merge(config::routes())
        .merge(sign_in::routes())
        .merge(events::routes())
        .merge(assets::routes())
        .layer(Extension(Streams::until(close)))
        .layer(Extension(entrance))
}

/// A page that is ready to be sent.
fn html(page: &impl Template) -> Result<Response, Problem> {
    html_with(StatusCode::OK, page)
}

fn html_with(status: StatusCode, page: &impl Template) -> Result<Response, Problem> {
    let text = page.render().map_err(|error| {
        let detail = format!("the page cannot be written: {error}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no_page", detail)
    })?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    Ok((status, headers, text).into_response())
}

/// A query without anything in it.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}
