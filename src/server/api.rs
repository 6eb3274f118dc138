//! The admin API. The routes are for programs: what they answer only ever gains fields.

use std::{str::FromStr, sync::LazyLock};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use utoipa::{
    OpenApi, ToSchema,
    openapi::{
        self, Content, Ref, ResponseBuilder, SecurityRequirement,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Service,
    problem::{Problem, Sent},
    query::{self, Parts, Segments},
};
use crate::{
    call::CallId,
    event::EventId,
    name::Name,
    ops::{
        BulkMode, CallCursor, CallFilter, CallStory, Changed, ConfigOverview, Delivery, Erased, Filter,
        FoundCalls, Happenings, Listing, Ops, OpsError, OpsErrorKind, Resumed, Sent as Message, Status, Whom,
    },
    rehearsal::trial::{Trial, Tried},
    store::Cursor,
    supervisor::ReloadError,
    telemetry::Signal,
};

/// How many deliveries a page has unless `limit` says otherwise, and at most.
const PAGE: usize = 50;
pub(super) const MOST: usize = 1000;

type Answer<T> = Result<Json<T>, Problem>;

/// The prefix of the paths.
pub(super) const PREFIX: &str = "/api/v1";

/// The description of the API as it is served.
static DESCRIPTION: LazyLock<String> = LazyLock::new(|| {
    // It has no keys but texts, so writing it cannot fail.
    description(described().into_openapi()).to_json().unwrap_or_default()
});

#[derive(OpenApi)]
#[openapi(
    info(title = "callwatch", description = "The admin API. Answers only ever gain fields."),
    servers((url = PREFIX)),
    components(schemas(Sent))
)]
struct Api;

/// The routes with what is said of each. A route that is not described cannot be added here.
fn described() -> OpenApiRouter<Service> {
    OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(status))
        .routes(routes!(list))
        .routes(routes!(count))
        .routes(routes!(retry))
        .routes(routes!(forget))
        .routes(routes!(resend))
        .routes(routes!(show_all))
        .routes(routes!(show))
        .routes(routes!(resend_one))
        .routes(routes!(resend_event))
        .routes(routes!(replay))
        .routes(routes!(erase))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(message))
        .routes(routes!(events))
        .routes(routes!(test))
        .routes(routes!(calls))
        .routes(routes!(explain))
        .routes(routes!(reload))
        .routes(routes!(config))
        .routes(routes!(openapi))
}

pub(super) fn routes() -> Router<Service> {
    described().split_for_parts().0.layer(middleware::from_fn(refuse_queries_of_changes))
}

/// A change says everything in its body. A query beside it, such as `dry_run=true`, would be overlooked, and the change made.
async fn refuse_queries_of_changes(request: Request, next: Next) -> Result<Response, Problem> {
    match request.uri().query() {
        Some(query) if !query.is_empty() && request.method() == Method::POST => {
            Err(Problem::malformed("what is meant is said in the body, as JSON; this address takes no query"))
        }
        _ => Ok(next.run(request).await),
    }
}

/// Adds what holds for every route: it may answer with a problem, and it asks for the token where there is one.
fn description(mut api: openapi::OpenApi) -> openapi::OpenApi {
    let problem = Content::new(Some(Ref::from_schema_name("Sent")));
    let problem = ResponseBuilder::new()
        .description("Why it was not done: `type` tells programs, `detail` people.")
        .content("application/problem+json", problem)
        .build();
    for item in api.paths.paths.values_mut() {
        for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
            operation.responses.responses.insert("default".to_owned(), problem.clone().into());
        }
    }
    let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    api.components.get_or_insert_default().security_schemes.insert("token".to_owned(), token.into());
    let nothing = SecurityRequirement::default();
    api.security = Some(vec![nothing, SecurityRequirement::new("token", Vec::<String>::new())]);
    api
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, body = Object)))]
async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DESCRIPTION.as_str())
}

/// How things stand now.
#[utoipa::path(get, path = "/status", responses((status = 200, body = Status)))]
async fn status(State(service): State<Service>, uri: Uri) -> Answer<Status> {
    Parts::of(&uri).rest::<Nothing>()?;
    Ok(Json(service.ops()?.status().await?))
}

/// A query or body without anything in it.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Deliveries that match, newest first.
#[utoipa::path(get, path = "/deliveries", params(Filter, ("limit" = Option<u32>, Query, description = "50, at most 1000."), ("after" = Option<Cursor>, Query, description = "`next` of the page before.")), responses((status = 200, body = Listing)))]
async fn list(State(service): State<Service>, uri: Uri) -> Answer<Listing> {
    let (limit, after, filter) = page_of(&uri)?;
    Ok(Json(service.ops()?.list(&filter, after, limit).await?))
}

/// The limit, the cursor and the filter of a list.
fn page_of<C: FromStr, F: DeserializeOwned>(uri: &Uri) -> Result<(usize, Option<C>, F), Problem> {
    let mut parts = Parts::of(uri);
    let limit = parts.take("limit", |text| text.parse().ok().filter(|limit| (1..=MOST).contains(limit)));
    let limit = limit.map_err(|problem| problem.and_say(format!("it is a number from 1 to {MOST}")))?;
    let after = parts.take("after", |text| text.parse().ok());
    let after = after.map_err(|problem| problem.and_say("it is the `next` of the page before"))?;
    Ok((limit.unwrap_or(PAGE), after, parts.rest()?))
}

/// How many deliveries there are.
#[derive(Deserialize, Serialize, ToSchema)]
pub(super) struct Count {
    pub(super) count: u64,
}

/// How many deliveries match.
#[utoipa::path(get, path = "/deliveries/count", params(Filter), responses((status = 200, body = Count)))]
async fn count(State(service): State<Service>, uri: Uri) -> Answer<Count> {
    let filter: Filter = Parts::of(&uri).rest()?;
    Ok(Json(Count { count: service.ops()?.count(&filter).await? }))
}

/// All deliveries of an event, oldest first, or those to one destination.
#[utoipa::path(get, path = "/deliveries/{event}", params(("event" = EventId, Path), ("destination" = Option<Name>, Query), ("answers" = Option<bool>, Query, description = "With the beginning of what receivers answered, which may quote the call.")), responses((status = 200, body = Vec<Delivery>)))]
async fn show_all(
    State(service): State<Service>,
    Segments(event): Segments<String>,
    uri: Uri,
) -> Answer<Vec<Delivery>> {
    Ok(Json(shown(&service, &event, None, Parts::of(&uri)).await?))
}

/// The newest delivery of an event to a destination; it has several when people sent it again.
#[utoipa::path(get, path = "/deliveries/{event}/{destination}", params(("event" = EventId, Path), ("destination" = Name, Path), ("answers" = Option<bool>, Query)), responses((status = 200, body = Delivery)))]
async fn show(
    State(service): State<Service>,
    Segments((event, destination)): Segments<(String, String)>,
    uri: Uri,
) -> Answer<Delivery> {
    let destination = Name::from(destination);
    let mut all = shown(&service, &event, Some(&destination), Parts::of(&uri)).await?;
    let none = || OpsError::NoDelivery(format!("{} to {destination}", event.escape_debug()));
    Ok(Json(all.pop().ok_or_else(none)?))
}

async fn shown(
    service: &Service,
    event: &str,
    destination: Option<&Name>,
    mut parts: Parts,
) -> Result<Vec<Delivery>, Problem> {
    let named = parts.take("destination", |text| Some(Name::from(text)))?;
    let destination = destination.or(named.as_ref());
    let answers = parts.take("answers", |text| text.parse().ok())?;
    parts.rest::<Nothing>()?;
    Ok(service.ops()?.show(&EventId::from(event), destination, answers.unwrap_or(false)).await?)
}

/// A bulk action: on all deliveries that match, or on these.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
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
#[derive(Debug, Deserialize, Serialize, ToSchema)]
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
#[derive(Clone)]
enum Action {
    Retry,
    Drop,
    /// To the destinations they went to, or to another.
    Resend(Option<Name>),
}

/// Makes deliveries due at once that have not arrived; without `state` the dead ones.
#[utoipa::path(post, path = "/deliveries/retry", request_body = Bulk, responses((status = 200, body = Changed)))]
async fn retry(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> Answer<Changed> {
    act(&service, Action::Retry, query::json(&headers, &body)?).await
}

/// Forgets deliveries; without `state` those that have not arrived.
#[utoipa::path(post, path = "/deliveries/drop", request_body = Bulk, responses((status = 200, body = Changed)))]
async fn forget(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> Answer<Changed> {
    act(&service, Action::Drop, query::json(&headers, &body)?).await
}

/// Sends again what has arrived.
#[utoipa::path(post, path = "/deliveries/resend", request_body = Bulk, responses((status = 200, body = Changed)))]
async fn resend(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> Answer<Changed> {
    act(&service, Action::Resend(None), query::json(&headers, &body)?).await
}

/// Sends an event again to every destination at which it has arrived.
#[utoipa::path(post, path = "/deliveries/{event}/resend", params(("event" = EventId, Path)), responses((status = 200, body = Changed)))]
async fn resend_event(
    State(service): State<Service>,
    Segments(event): Segments<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<Changed> {
    let Nothing {} = query::json(&headers, &body)?;
    Ok(Json(service.ops()?.resend(&Filter::event(EventId::from(&*event), None), None, BulkMode::Act).await?))
}

/// Sends an event again to a destination at which it has arrived.
#[utoipa::path(post, path = "/deliveries/{event}/{destination}/resend", params(("event" = EventId, Path), ("destination" = Name, Path)), responses((status = 200, body = Changed)))]
async fn resend_one(
    State(service): State<Service>,
    Segments((event, destination)): Segments<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<Changed> {
    let Nothing {} = query::json(&headers, &body)?;
    let filter = Filter::event(EventId::from(&*event), Some(destination.into()));
    Ok(Json(service.ops()?.resend(&filter, None, BulkMode::Act).await?))
}

/// Tells the events of deliveries that match again: to their own destinations, or to another.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Replay {
    pub(super) filter: Filter,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<Name>,
    /// Only counts them.
    pub(super) dry_run: bool,
}

/// Sends again what happened, to the same destinations or to another.
#[utoipa::path(post, path = "/replay", request_body = Replay, responses((status = 200, body = Changed)))]
async fn replay(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> Answer<Changed> {
    let Replay { filter, to, dry_run } = query::json(&headers, &body)?;
    act(&service, Action::Resend(to), Bulk { filter: Some(filter), deliveries: None, dry_run }).await
}

/// The calls of a person that are to be forgotten.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Forget {
    pub(super) whom: Whom,
    /// Only counts them.
    pub(super) dry_run: bool,
}

/// Forgets the calls of a person for good, and everything that tells of them.
#[utoipa::path(post, path = "/forget", request_body = Forget, responses((status = 200, body = Erased)))]
async fn erase(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> Answer<Erased> {
    let Forget { whom, dry_run } = query::json(&headers, &body)?;
    let mode = if dry_run { BulkMode::DryRun } else { BulkMode::Act };
    let erased = service.ops()?.forget(&whom, mode).await?;
    if mode == BulkMode::Act {
        service.telemetry.emit(Signal::Forgot { text: erased.line() });
    }
    Ok(Json(erased))
}

/// Acts on everything that is meant. When one of several deliveries does not exist, nothing is changed.
async fn act(service: &Service, action: Action, bulk: Bulk) -> Answer<Changed> {
    let ops = service.ops()?;
    let (mode, filters) = (bulk.mode(), bulk.filters()?);
    if filters.len() > 1 {
        for filter in &filters {
            act_on(&ops, &action, filter, BulkMode::DryRun).await?;
        }
    }
    let mut sum = Changed::default();
    for filter in &filters {
        match act_on(&ops, &action, filter, mode).await {
            Ok(changed) => sum = sum.and(changed),
            // It was there a moment ago: it has been named twice, or somebody else was faster.
            Err(error) if filters.len() > 1 && error.kind() == OpsErrorKind::NoDelivery => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Json(sum))
}

async fn act_on(ops: &Ops, action: &Action, filter: &Filter, mode: BulkMode) -> Result<Changed, OpsError> {
    match action {
        Action::Retry => ops.retry(filter, mode).await,
        Action::Drop => ops.drop(filter, mode).await,
        Action::Resend(to) => ops.resend(filter, to.as_ref(), mode).await,
    }
}

/// Leaves a destination alone until it is resumed.
#[utoipa::path(post, path = "/destinations/{name}/pause", params(("name" = Name, Path)), responses((status = 204, description = "It is paused.")))]
async fn pause(
    State(service): State<Service>,
    Segments(name): Segments<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    let Nothing {} = query::json(&headers, &body)?;
    service.ops()?.pause(&name.into()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a pause, whoever made it.
#[utoipa::path(post, path = "/destinations/{name}/resume", params(("name" = Name, Path)), responses((status = 200, body = Resumed)))]
async fn resume(
    State(service): State<Service>,
    Segments(name): Segments<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<Resumed> {
    let Nothing {} = query::json(&headers, &body)?;
    Ok(Json(service.ops()?.resume(&name.into()).await?))
}

/// The message of a delivery, as its receiver reads it. Numbers are masked and transcripts left out unless `[server] show`
/// says otherwise; null when the config has no such destination any more.
#[utoipa::path(get, path = "/deliveries/{event}/{destination}/message", params(("event" = EventId, Path), ("destination" = Name, Path)), responses((status = 200, body = Option<Message>)))]
async fn message(
    State(service): State<Service>,
    Segments((event, destination)): Segments<(String, String)>,
    uri: Uri,
) -> Answer<Option<Message>> {
    Parts::of(&uri).rest::<Nothing>()?;
    let show = service.config()?.server.as_ref().map(|server| server.show).unwrap_or_default();
    Ok(Json(service.ops()?.sent(&EventId::from(&*event), &Name::from(destination), show).await?))
}

/// The events of deliveries that match, newest first, each with all of its deliveries.
#[utoipa::path(get, path = "/events", params(Filter, ("limit" = Option<u32>, Query, description = "50, at most 1000."), ("after" = Option<Cursor>, Query, description = "`next` of the page before.")), responses((status = 200, body = Happenings)))]
async fn events(State(service): State<Service>, uri: Uri) -> Answer<Happenings> {
    let (limit, after, filter) = page_of(&uri)?;
    Ok(Json(service.ops()?.latest(&filter, after, limit).await?))
}

/// Says which rule words a test message.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct Test {
    /// The first rule that tells the destination, when it is left out.
    rule: Option<Name>,
}

/// Sends a test message about a call that is made up, and waits for the receiver's answer.
#[utoipa::path(post, path = "/destinations/{name}/test", params(("name" = Name, Path)), request_body = Test, responses((status = 200, body = Tried)))]
async fn test(
    State(service): State<Service>,
    Segments(name): Segments<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<Tried> {
    let Test { rule } = query::json(&headers, &body)?;
    Ok(Json(try_out(&service, &Name::from(name), rule.as_ref()).await?))
}

/// Sends a test message.
pub(super) async fn try_out(
    service: &Service,
    destination: &Name,
    rule: Option<&Name>,
) -> Result<Tried, Problem> {
    let config = service.config()?;
    let trial = Trial::of(&config, destination, rule, service.clock.wall()).await?;
    Ok(trial.send().await?)
}

/// Known calls that match, newest first.
#[utoipa::path(get, path = "/calls", params(CallFilter, ("limit" = Option<u32>, Query, description = "50, at most 1000."), ("after" = Option<CallCursor>, Query, description = "`next` of the page before.")), responses((status = 200, body = FoundCalls)))]
async fn calls(State(service): State<Service>, uri: Uri) -> Answer<FoundCalls> {
    let (limit, after, filter) = page_of(&uri)?;
    Ok(Json(service.ops()?.find_calls(&filter, after, limit).await?))
}

/// The story of a call.
#[utoipa::path(get, path = "/calls/{id}", params(("id" = CallId, Path, description = "An id, or a phone number."), ("source" = Option<Name>, Query, description = "Which source is meant, when several know the id.")), responses((status = 200, body = CallStory)))]
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

/// Puts the config file to work.
#[utoipa::path(post, path = "/reload", responses((status = 200, body = Reloaded)))]
async fn reload(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> Answer<Reloaded> {
    let Nothing {} = query::json(&headers, &body)?;
    reload_config(service).await??;
    Ok(Json(Reloaded { reloaded: true }))
}

/// The file is at work.
#[derive(Serialize, ToSchema)]
struct Reloaded {
    reloaded: bool,
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

/// The config at work, and how the file on disk stands to it.
#[derive(Serialize, ToSchema)]
struct ConfigAtWork {
    /// The file it was read from.
    file: String,
    /// As it was written, without its comments and with `***` in place of secrets.
    #[schema(value_type = Object)]
    config: Value,
    /// The same with the defaults of what it leaves out.
    #[schema(value_type = Object)]
    effective: Value,
    /// How the file on disk stands to it.
    status: Option<ConfigOverview>,
}

/// The config at work.
#[utoipa::path(get, path = "/config", responses((status = 200, body = ConfigAtWork)))]
async fn config(State(service): State<Service>, uri: Uri) -> Answer<ConfigAtWork> {
    Parts::of(&uri).rest::<Nothing>()?;
    let (config, status) = (service.config()?, service.ops()?.status().await?);
    Ok(Json(ConfigAtWork {
        file: config.path.display().to_string(),
        config: Value::clone(&config.shown),
        effective: config.effective(),
        status: status.service.map(|service| service.config),
    }))
}
