//! The admin API. The routes are for programs: what they answer only ever gains fields.

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Service,
    problem::Problem,
    query::{self, Parts, Segments},
};
use crate::{
    call::CallId,
    event::EventId,
    name::Name,
    ops::{
        BulkMode, CallStory, Changed, Delivery, Filter, Listing, Ops, OpsError, OpsErrorKind, Resumed, Status,
    },
    store::Cursor,
    supervisor::ReloadError,
};

/// How many deliveries a page has unless `limit` says otherwise, and at most.
const PAGE: usize = 50;
pub(super) const MOST: usize = 1000;

type Answer<T> = Result<Json<T>, Problem>;

pub(super) fn routes() -> Router<Service> {
    Router::new()
        .route("/status", get(status))
        .route("/deliveries", get(list))
        .route("/deliveries/count", get(count))
        .route("/deliveries/retry", post(retry))
        .route("/deliveries/drop", post(forget))
        .route("/deliveries/{event}", get(show_all))
        .route("/deliveries/{event}/{destination}", get(show))
        .route("/destinations/{name}/pause", post(pause))
        .route("/destinations/{name}/resume", post(resume))
        .route("/calls/{id}", get(explain))
        .route("/reload", post(reload))
        .route("/config", get(config))
}

async fn status(State(service): State<Service>, uri: Uri) -> Answer<Status> {
    Parts::of(&uri).rest::<Nothing>()?;
    Ok(Json(service.ops()?.status().await?))
}

/// A query or body without anything in it.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn list(State(service): State<Service>, uri: Uri) -> Answer<Listing> {
    let mut parts = Parts::of(&uri);
    let limit = parts.take("limit", |text| text.parse().ok().filter(|limit| (1..=MOST).contains(limit)))?;
    let after = parts.take("after", |text| text.parse::<Cursor>().ok())?;
    let filter: Filter = parts.rest()?;
    Ok(Json(service.ops()?.list(&filter, after, limit.unwrap_or(PAGE)).await?))
}

/// How many deliveries there are.
#[derive(Deserialize, Serialize)]
pub(super) struct Count {
    pub(super) count: u64,
}

async fn count(State(service): State<Service>, uri: Uri) -> Answer<Count> {
    let filter: Filter = Parts::of(&uri).rest()?;
    Ok(Json(Count { count: service.ops()?.count(&filter).await? }))
}

async fn show_all(
    State(service): State<Service>,
    Segments(event): Segments<String>,
    uri: Uri,
) -> Answer<Vec<Delivery>> {
    Ok(Json(shown(&service, &event, None, &uri).await?))
}

async fn show(
    State(service): State<Service>,
    Segments((event, destination)): Segments<(String, String)>,
    uri: Uri,
) -> Answer<Delivery> {
    let destination = Name::from(destination);
    let mut all = shown(&service, &event, Some(&destination), &uri).await?;
    let none = || OpsError::NoDelivery(format!("{} to {destination}", event.escape_debug()));
    Ok(Json(all.pop().ok_or_else(none)?))
}

async fn shown(
    service: &Service,
    event: &str,
    destination: Option<&Name>,
    uri: &Uri,
) -> Result<Vec<Delivery>, Problem> {
    let mut parts = Parts::of(uri);
    let answers = parts.take("answers", |text| text.parse().ok())?;
    parts.rest::<Nothing>()?;
    Ok(service.ops()?.show(&EventId::from(event), destination, answers.unwrap_or(false)).await?)
}

/// A bulk action: on all deliveries that match, or on these.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Bulk {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) filter: Option<Filter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deliveries: Option<Vec<One>>,
    /// Only counts them.
    pub(super) dry_run: bool,
}

/// One delivery, or all of an event.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct One {
    event: EventId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    destination: Option<Name>,
}

impl Bulk {
    fn mode(&self) -> BulkMode {
        if self.dry_run { BulkMode::DryRun } else { BulkMode::Act }
    }

    /// The filters that together mean the deliveries.
    fn filters(self) -> Result<Vec<Filter>, Problem> {
        match (self.filter, self.deliveries) {
            (Some(filter), None) if filter == Filter::default() => {
                Err(Problem::malformed("an empty filter means everything: name at least a state"))
            }
            (Some(filter), None) => Ok(vec![filter]),
            (None, Some(all)) if !all.is_empty() => {
                Ok(all.into_iter().map(|one| Filter::event(one.event, one.destination)).collect())
            }
            _ => Err(Problem::malformed("say which deliveries are meant: `filter`, or `deliveries`")),
        }
    }
}

/// An action on many deliveries.
#[derive(Clone, Copy)]
enum Action {
    Retry,
    Drop,
}

async fn retry(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> Answer<Changed> {
    act(&service, Action::Retry, query::json(&headers, &body)?).await
}

async fn forget(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> Answer<Changed> {
    act(&service, Action::Drop, query::json(&headers, &body)?).await
}

/// Acts on everything that is meant. When one of several deliveries does not exist, nothing is changed.
async fn act(service: &Service, action: Action, bulk: Bulk) -> Answer<Changed> {
    let ops = service.ops()?;
    let (mode, filters) = (bulk.mode(), bulk.filters()?);
    if filters.len() > 1 {
        for filter in &filters {
            act_on(&ops, action, filter, BulkMode::DryRun).await?;
        }
    }
    let mut sum = Changed::default();
    for filter in &filters {
        match act_on(&ops, action, filter, mode).await {
            Ok(Changed { count, held, told_by }) => {
                sum.count += count;
                sum.held += held;
                sum.told_by = told_by.or(sum.told_by);
            }
            // It was there a moment ago: it has been named twice, or somebody else was faster.
            Err(error) if filters.len() > 1 && error.kind() == OpsErrorKind::NoDelivery => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Json(sum))
}

async fn act_on(ops: &Ops, action: Action, filter: &Filter, mode: BulkMode) -> Result<Changed, OpsError> {
    match action {
        Action::Retry => ops.retry(filter, mode).await,
        Action::Drop => ops.drop(filter, mode).await,
    }
}

async fn pause(
    State(service): State<Service>,
    Segments(name): Segments<String>,
) -> Result<StatusCode, Problem> {
    service.ops()?.pause(&name.into()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn resume(State(service): State<Service>, Segments(name): Segments<String>) -> Answer<Resumed> {
    Ok(Json(service.ops()?.resume(&name.into()).await?))
}

async fn explain(
    State(service): State<Service>,
    Segments(id): Segments<String>,
    uri: Uri,
) -> Answer<CallStory> {
    let mut parts = Parts::of(&uri);
    let source = parts.take("source", |text| Some(Name::from(text)))?;
    parts.rest::<Nothing>()?;
    Ok(Json(service.ops()?.explain(&CallId::from(id), source.as_ref()).await?))
}

async fn reload(State(service): State<Service>) -> Answer<Value> {
    reload_config(service).await??;
    Ok(Json(json!({ "reloaded": true })))
}

/// Puts the config file to work, on a task of its own, so that it is carried through even if the client goes away meanwhile.
pub(super) async fn reload_config(service: Service) -> Result<Result<(), ReloadError>, Problem> {
    let Some(reloader) = service.reloader else {
        let detail = "the config at work is not that of a file, so there is nothing to reload";
        return Err(Problem::new(StatusCode::CONFLICT, "no_file", detail));
    };
    let reloading = tokio::spawn(async move { reloader.reload().await });
    reloading.await.map_err(|error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", format!("reloading failed: {error}"))
    })
}

/// The config at work as it was written, without its comments and with `***` in place of secrets, and how the file on disk
/// stands to it.
async fn config(State(service): State<Service>, uri: Uri) -> Answer<Value> {
    Parts::of(&uri).rest::<Nothing>()?;
    let status = service.ops()?.status().await?;
    let Some(config) = service.handle.config() else { return Ok(Json(Value::Null)) };
    let status = status.service.map(|service| service.config);
    Ok(Json(json!({ "file": config.path, "config": &*config.shown, "status": status })))
}
