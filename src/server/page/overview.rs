//! The overview: is it well, what waits, and what happened last.

use askama::Template;
use axum::{
    Router,
    extract::State,
    response::{Redirect, Response},
    routing::{get, post},
};

use super::{
    chart::{Chart, Series},
    html,
    shell::{Frame, Place, Visit},
    verdict::Verdict,
    words::{Tag, Tone, Words, call_path, delay, delivery_path, list_of, number, segment, span, to},
};
use crate::{
    name::Name,
    ops::{
        DestinationOverview, DutyOverview, Filter, Happening, NodeOverview, SourceOverview, StateFilter,
        WorkState,
    },
    rehearsal::trial::Tried,
    server::{Service, api::try_out, problem::Problem, query::Segments},
    telemetry::{Delays, Hour, Outcomes, Sentiment, Sums},
    time::Timestamp,
};

/// How many of the latest events are shown.
const LATEST: usize = 12;

/// How many destinations have a chart of their own.
const CHARTS: usize = 8;

/// The hours over which it is told how fast notifications arrive.
const HOURS_OF_DELAYS: usize = 24;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    words: Words,
    verdict: Verdict,
    sources: Vec<SourceRow>,
    destinations: Vec<DestinationRow>,
    /// The processes that share the work, when there are several machines.
    nodes: Vec<NodeOverview>,
    /// Duties that nobody works on.
    free: Vec<DutyOverview>,
    latest: Vec<Happening>,
    /// By the hour.
    hours: Vec<Chart>,
    /// By the day.
    days: Vec<Chart>,
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
    /// Half of the messages of the last day arrived within the first time, 99 of 100 within the second.
    delays: Option<(String, String)>,
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
        .route("/destinations/{name}/test", post(test))
}

async fn overview(visit: Visit, State(service): State<Service>) -> Result<Response, Problem> {
    let latest = visit.ops.latest(&Filter::default(), None, LATEST).await?.events;
    let frame = visit.frame(Place::Overview);
    let Visit { status, words, verdict, .. } = visit;
    let sums = service.telemetry.sums();
    let lately: Vec<_> = sums.hours(words.now).collect();
    let destination = |it: DestinationOverview| {
        let delays = delays_of(&it.name, &lately);
        DestinationRow::of(it, delays, words)
    };
    let sources = status.service.into_iter().flat_map(|service| service.sources);
    html(&Overview {
        frame,
        words,
        verdict,
        sources: sources.map(SourceRow::of).collect(),
        destinations: status.destinations.into_iter().map(destination).collect(),
        nodes: status.nodes,
        free: status.free,
        latest,
        hours: by_hour(&lately, words),
        days: by_day(&sums, words),
    })
}

impl SourceRow {
    fn of(source: SourceOverview) -> Self {
        let state = match (source.baseline, source.refused, source.failures, source.last_success) {
            (_, true, ..) => Tag::new(Tone::Bad, "✗ refuses the key"),
            (Some(found), ..) => Tag::new(Tone::Wait, format!("first walk: {} calls so far", number(&found))),
            (None, _, 0, Some(_)) => Tag::new(Tone::Good, "✓ answers"),
            (None, _, 0, None) if source.elsewhere => Tag::new(Tone::Plain, "polled by another process"),
            (None, _, 0, None) => Tag::new(Tone::Wait, "not asked yet"),
            (None, _, failures, _) => Tag::new(Tone::Bad, format!("✗ failed {failures} times")),
        };
        let has_failed = source.failures > 0;
        let error = source.last_error.as_ref().filter(|_| has_failed).map(|error| error.error.clone());
        Self { state, answered: source.last_success, error, source }
    }
}

impl DestinationRow {
    fn of(it: DestinationOverview, delays: Delays, words: Words) -> Self {
        let state = match (&it.pause, &it.work) {
            (Some(pause), _) => {
                Tag::new(Tone::Wait, format!("paused for {}", span(words.now.since(pause.since))))
            }
            (None, Some(work)) if work.state == WorkState::Ok => match it.deliveries.dead {
                0 => Tag::new(Tone::Good, "✓ takes messages"),
                dead => Tag::new(Tone::Bad, format!("✗ {} given up", number(&dead))),
            },
            (None, Some(work)) => match work.until.map(|until| until.since(words.now)) {
                Some(wait) if wait.as_secs() > 0 => {
                    Tag::new(Tone::Bad, format!("✗ failing, next try in {}", span(wait)))
                }
                _ => Tag::new(Tone::Bad, "✗ failing"),
            },
            (None, None) if it.elsewhere => Tag::new(Tone::Plain, "served by another process"),
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
            delays: delays
                .quantile(0.5)
                .zip(delays.quantile(0.99))
                .map(|(half, most)| (delay(half), delay(most))),
            undelivered: list_of(&to(&it.name, StateFilter::Undelivered)),
            path: format!("/destinations/{}", segment(it.name.as_str())),
            it,
        }
    }
}

/// How long the messages to a destination took in the last day.
fn delays_of(destination: &Name, lately: &[(Timestamp, Hour)]) -> Delays {
    let mut delays = Delays::default();
    let hours = lately.iter().rev().take(HOURS_OF_DELAYS);
    for outcomes in hours.filter_map(|(_, hour)| hour.destinations.get(destination)) {
        delays.merge(&outcomes.delays);
    }
    delays
}

/// Calls and notifications of the last two days.
fn by_hour(lately: &[(Timestamp, Hour)], words: Words) -> Vec<Chart> {
    let labels: Vec<_> = lately.iter().map(|(began, _)| words.hour(*began)).collect();
    let each = |value: &dyn Fn(&Hour) -> u64| lately.iter().map(|(_, hour)| value(hour)).collect();
    let calls = Chart::new(
        "calls-by-hour",
        "Calls",
        "hour",
        labels.clone(),
        vec![
            Series::up("started", "solid", each(&|hour| hour.started)),
            Series::down("ended", "outline", each(&|hour| hour.ended)),
        ],
    );
    let mut totals: Vec<(&Name, u64)> = vec![];
    for (name, it) in lately.iter().flat_map(|(_, hour)| &hour.destinations) {
        let many = it.arrived + it.failed + it.dead;
        match totals.iter_mut().find(|(known, _)| *known == name) {
            Some((_, total)) => *total += many,
            None => totals.push((name, many)),
        }
    }
    totals.sort_by_key(|(name, total)| (std::cmp::Reverse(*total), *name));
    let (own, others) = totals.split_at(totals.len().min(CHARTS));
    let mut own: Vec<_> = own.iter().map(|(name, _)| (name.to_string(), vec![*name])).collect();
    own.sort();
    if !others.is_empty() {
        own.push((format!("{} others", others.len()), others.iter().map(|(name, _)| *name).collect()));
    }
    let destination = |(at, (title, names)): (usize, (String, Vec<&Name>))| {
        let each = |value: fn(&Outcomes) -> u64| {
            let sum =
                |hour: &Hour| names.iter().filter_map(|name| hour.destinations.get(*name)).map(value).sum();
            lately.iter().map(|(_, hour)| sum(hour)).collect()
        };
        let series = vec![
            Series::up("arrived", "solid good", each(|it| it.arrived)),
            Series::down("failed tries", "outline bad", each(|it| it.failed)),
            Series::down("given up", "solid bad", each(|it| it.dead)),
        ];
        Chart::new(format!("to-{at}"), format!("To {title}"), "hour", labels.clone(), series)
    };
    let destinations = own.into_iter().enumerate().map(destination);
    std::iter::once(calls).chain(destinations).collect()
}

/// The sentiments and bookings of the last days, as analyses say them.
fn by_day(sums: &Sums, words: Words) -> Vec<Chart> {
    let days: Vec<_> = sums.days(words.now, words.zone).collect();
    let labels: Vec<_> = days.iter().map(|(date, _)| date.format("%-d %b").to_string()).collect();
    let felt = |sentiment| {
        let of_day = days.iter().map(|(_, day)| day.sentiments.get(&sentiment).copied().unwrap_or_default());
        of_day.collect()
    };
    let series = vec![
        Series::up("positive", "solid good", felt(Sentiment::Positive)),
        Series::up("neutral", "outline", felt(Sentiment::Neutral)),
        Series::up("other", "dashed", felt(Sentiment::Other)),
        Series::down("negative", "solid bad", felt(Sentiment::Negative)),
    ];
    let booked = vec![Series::up("booked", "solid", days.iter().map(|(_, day)| day.booked).collect())];
    vec![
        Chart::new("sentiment-by-day", "How callers felt", "day", labels.clone(), series),
        Chart::new("bookings-by-day", "Appointments", "day", labels, booked),
    ]
}

async fn pause(visit: Visit, Segments(name): Segments<String>) -> Result<Redirect, Problem> {
    visit.ops.pause(&Name::from(name)).await?;
    Ok(Redirect::to("/#destinations"))
}

#[derive(Template)]
#[template(path = "test.html")]
struct Test {
    frame: Frame,
    tried: Tried,
}

async fn test(
    visit: Visit,
    State(service): State<Service>,
    Segments(name): Segments<String>,
) -> Result<Response, Problem> {
    let tried = try_out(&service, &Name::from(name), None).await?;
    html(&Test { frame: visit.frame(Place::Overview), tried })
}

async fn resume(visit: Visit, Segments(name): Segments<String>) -> Result<Redirect, Problem> {
    visit.ops.resume(&Name::from(name)).await?;
    Ok(Redirect::to("/#destinations"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::Zone;

    #[test]
    fn charts_of_many_busy_destinations_stay_small() {
        let now = Timestamp::from_millis(1_765_800_000_000);
        let names: Vec<Name> =
            (0..64).map(|number| format!("destination-{number}").as_str().into()).collect();
        let busy = |many: u64| Outcomes { arrived: 1000 + many, failed: 10, dead: 1, ..Outcomes::default() };
        let hour = |_| {
            let destinations = names.iter().zip(0..).map(|(name, many)| (name.clone(), busy(many))).collect();
            (now, Hour { started: 1000, ended: 1000, destinations })
        };
        let lately: Vec<_> = (0..48).map(hour).collect();
        let charts = by_hour(&lately, Words { now, zone: Zone::UTC });
        let titles: Vec<_> = charts.iter().map(|chart| chart.title()).collect();
        assert_eq!(titles.len(), 2 + CHARTS);
        // Those with the most are shown alone, and the others as one.
        assert_eq!((titles[0], titles[1], titles[9]), ("Calls", "To destination-56", "To 56 others"));
        let html: String = charts.iter().map(Chart::to_string).collect();
        assert!(html.len() < 200_000, "{}", html.len());
    }
}
