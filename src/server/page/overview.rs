//! The overview: is it well, what waits, and what happened last.

use askama::Template;
use axum::{
    Router,
    response::{Redirect, Response},
    routing::{get, post},
};

use super::{
    html,
    shell::{Frame, Place, Visit},
    verdict::Verdict,
    words::{Tag, Tone, Words, call_path, delivery_path, list_of, number, segment, span, to},
};
use crate::{
    name::Name,
    ops::{DestinationOverview, Filter, Happening, SourceOverview, StateFilter, WorkState},
    server::{Service, problem::Problem, query::Segments},
    time::Timestamp,
};

/// How many of the latest events are shown.
const LATEST: usize = 12;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    words: Words,
    verdict: Verdict,
    sources: Vec<SourceRow>,
    destinations: Vec<DestinationRow>,
    latest: Vec<Happening>,
}

struct SourceRow {
    source: SourceOverview,
    state: Tag,
    /// When it last answered.
    answered: Option<Timestamp>,
    error: Option<String>,
}

struct DestinationRow {
    it: DestinationOverview,
    state: Tag,
    waiting: u64,
    oldest_due: Option<Timestamp>,
    last_success: Option<Timestamp>,
    error: Option<(Timestamp, String)>,
    /// The list of what waits for it.
    undelivered: String,
    /// Where it is paused or resumed.
    path: String,
}

pub(super) fn routes() -> Router<Service> {
    Router::new()
        .route("/", get(overview))
        .route("/destinations/{name}/pause", post(pause))
        .route("/destinations/{name}/resume", post(resume))
}

async fn overview(visit: Visit) -> Result<Response, Problem> {
    let latest = visit.ops.latest(&Filter::default(), LATEST).await?;
    let frame = visit.frame(Place::Overview);
    let Visit { status, words, verdict, .. } = visit;
    let sources = status.service.into_iter().flat_map(|service| service.sources);
    html(&Overview {
        frame,
        words,
        verdict,
        sources: sources.map(SourceRow::of).collect(),
        destinations: status.destinations.into_iter().map(|it| DestinationRow::of(it, words)).collect(),
        latest,
    })
}

impl SourceRow {
    fn of(source: SourceOverview) -> Self {
        let state = match (source.baseline, source.refused, source.failures, source.last_success) {
            (_, true, ..) => Tag::new(Tone::Bad, "✗ refuses the key"),
            (Some(found), ..) => Tag::new(Tone::Wait, format!("first walk: {} calls so far", number(&found))),
            (None, _, 0, Some(_)) => Tag::new(Tone::Good, "✓ answers"),
            (None, _, 0, None) => Tag::new(Tone::Wait, "not asked yet"),
            (None, _, failures, _) => Tag::new(Tone::Bad, format!("✗ failed {failures} times")),
        };
        let has_failed = source.failures > 0;
        let error = source.last_error.as_ref().filter(|_| has_failed).map(|error| error.error.clone());
        Self { state, answered: source.last_success, error, source }
    }
}

impl DestinationRow {
    fn of(it: DestinationOverview, words: Words) -> Self {
        let state = match (&it.pause, &it.work) {
            (Some(pause), _) => {
                Tag::new(Tone::Wait, format!("paused for {}", span(words.now.since(pause.since))))
            }
            (None, Some(work)) if work.state == WorkState::Ok => match it.deliveries.dead {
                0 => Tag::new(Tone::Good, "✓ takes messages"),
                dead => Tag::new(Tone::Bad, format!("✗ {} given up", number(&dead))),
            },
            (None, Some(work)) => match work.until.filter(|until| *until > words.now) {
                Some(until) => {
                    Tag::new(Tone::Bad, format!("✗ failing, next try in {}", span(until.since(words.now))))
                }
                None => Tag::new(Tone::Bad, "✗ failing"),
            },
            (None, None) if !it.is_configured => Tag::new(Tone::Bad, "not in the config"),
            (None, None) => Tag::new(Tone::Plain, "not at work"),
        };
        let work = it.work.as_ref();
        // One that was overcome is history.
        let error = work.and_then(|work| {
            work.last_error
                .as_ref()
                .filter(|error| work.last_success.is_none_or(|success| success < error.at))
        });
        Self {
            state,
            waiting: it.deliveries.unfinished(),
            oldest_due: work.and_then(|work| work.oldest_due),
            last_success: work.and_then(|work| work.last_success),
            error: error.map(|error| (error.at, error.error.clone())),
            undelivered: list_of(&to(&it.name, StateFilter::Undelivered)),
            path: format!("/destinations/{}", segment(it.name.as_str())),
            it,
        }
    }
}

async fn pause(visit: Visit, Segments(name): Segments<String>) -> Result<Redirect, Problem> {
    visit.ops.pause(&Name::from(name)).await?;
    Ok(Redirect::to("/#destinations"))
}

async fn resume(visit: Visit, Segments(name): Segments<String>) -> Result<Redirect, Problem> {
    visit.ops.resume(&Name::from(name)).await?;
    Ok(Redirect::to("/#destinations"))
}
