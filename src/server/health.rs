//! Answers for monitoring: does the process live, does it do its work, and how much of it.

use axum::{
    Extension, Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{Service, guard::IsTrusted, problem::Problem};
use crate::ops::Readiness;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) fn routes() -> Router<Service> {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
}

/// Every check with its reason; 503 when one of them fails. Whoever has not sent the token sees no reasons, which name
/// sources and quote errors.
async fn ready(
    State(service): State<Service>,
    Extension(IsTrusted(is_trusted)): Extension<IsTrusted>,
) -> Result<Response, Problem> {
    let readiness = service.readiness().await?;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let shown = if is_trusted { readiness } else { Readiness::without_reasons(readiness) };
    Ok((status, Json(shown)).into_response())
}

async fn metrics(State(service): State<Service>) -> Result<Response, Problem> {
    let text = service.telemetry.encode(&service.figures().await).map_err(|error| {
        let detail = format!("the metrics cannot be written: {error}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no_metrics", detail)
    })?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}
