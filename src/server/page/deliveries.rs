//! Deliveries: what has not arrived and why, every one of them, and what people can do about it.

use askama::Template;
use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, Uri},
    response::{Redirect, Response},
    routing::{get, post},
};

use super::{
    form::{self, AGES, Choice},
    html,
    shell::{Frame, Place, Visit},
    words::{
        Tag, Tone, Words, address, call_path, delivery_path, list_of, messages, number, segment, span, took,
    },
};
use crate::{
    event::EventId,
    name::Name,
    ops::{
        BulkMode, Changed, Delivery, Filter, KeptBack, Listing, LoggedAttempt, OpsError, Reason, Reasons,
        Sent, StateFilter,
    },
    server::{
        Service,
        client::parts_of,
        problem::Problem,
        query::{Parts, Segments},
    },
    store::{Cursor, DeliveryStateKind},
    time::Timestamp,
};

/// How many deliveries a page has.
const PAGE: usize = 50;

/// How many reasons are shown.
const REASONS: usize = 12;

/// The states that can be chosen, with their words.
const STATES: [(&str, &str); 7] = [
    ("", "any state"),
    ("undelivered", "not arrived"),
    ("pending", "on their way"),
    ("held", "waiting for others"),
    ("dead", "given up"),
    ("delivered", "arrived"),
    ("merged", "told with another"),
];

pub(super) fn routes() -> Router<Service> {
    Router::new()
        .route("/deliveries", get(list))
        .route("/deliveries/confirm", get(confirm))
        .route("/deliveries/retry", post(retry))
        .route("/deliveries/resend", post(resend))
        .route("/deliveries/drop", post(forget))
        .route("/deliveries/{event}/{destination}", get(show))
}

#[derive(Template)]
#[template(path = "deliveries.html")]
struct List {
    frame: Frame,
    words: Words,
    form: Form,
    /// The change that was made just before.
    done: Option<String>,
    reasons: Vec<ReasonRow>,
    /// How many reasons are not shown.
    more_reasons: usize,
    /// How many deliveries the reasons are of, and whether that are all that have not arrived.
    looked_at: u64,
    is_all: bool,
    /// How many match, if that is known.
    count: Option<u64>,
    rows: Vec<Row>,
    /// Why nothing matches, where that is known.
    nothing: Option<String>,
    newest: Option<String>,
    older: Option<String>,
    /// Where all that match are retried or dropped; `None` when there is nothing that could be.
    bulk: Option<(String, String)>,
}

/// The fields of the form, filled in with the filter.
struct Form {
    states: Vec<Choice>,
    destinations: Vec<Choice>,
    rules: Vec<Choice>,
    sources: Vec<Choice>,
    ages: Vec<Choice>,
    error: String,
    call: String,
    event: String,
    /// The parts of the filter that the form has no field for.
    others: Vec<(String, String)>,
}

struct ReasonRow {
    it: Reason,
    state: Tag,
    advice: String,
    list: Option<String>,
    /// Where they are retried and dropped after a confirmation.
    retry: Option<String>,
    drop: Option<String>,
}

struct Row {
    state: Tag,
    path: String,
    call: Option<String>,
    last: String,
    it: Delivery,
}

async fn list(visit: Visit, uri: Uri) -> Result<Response, Problem> {
    let mut parts = Parts::of(&uri).filled_in();
    let after = parts.take("after", |text| text.parse::<Cursor>().ok())?;
    let done = done(&mut parts)?;
    let filter: Filter = parts.rest()?;
    // A name that the config does not have any more can still be asked for; when nothing is left of it, that is said.
    let (listing, nothing) = match visit.ops.list(&filter, after, PAGE).await {
        Err(error @ (OpsError::NoRule { .. } | OpsError::NoSource { .. })) => {
            (Listing { items: vec![], next: None }, Some(error.to_string()))
        }
        listing => (listing?, None),
    };
    let Reasons { mut reasons, looked_at, is_all } = visit.ops.reasons(&filter).await?;
    let more_reasons = reasons.len().saturating_sub(REASONS);
    reasons.truncate(REASONS);
    // Other counts go over everything there is.
    let plain = Filter { destination: filter.destination.clone(), state: filter.state, ..Filter::default() };
    let count = if filter == plain { Some(visit.ops.count(&filter).await?) } else { None };
    let has_undelivered = !matches!(filter.state, Some(StateFilter::Delivered | StateFilter::Merged));
    let bulk = (looked_at > 0 && has_undelivered && filter != Filter::default()).then(|| {
        let confirm = |action| address("/deliveries/confirm", &filter, &[("action", action)]);
        (confirm("retry"), confirm("drop"))
    });
    let words = visit.words;
    html(&List {
        frame: visit.frame(Place::Deliveries),
        words,
        form: Form::of(&filter, &visit)?,
        done,
        reasons: reasons.into_iter().map(|reason| ReasonRow::of(reason, words)).collect(),
        more_reasons,
        looked_at: looked_at as u64,
        is_all,
        count,
        nothing,
        rows: listing.items.into_iter().map(|delivery| Row::of(delivery, words)).collect(),
        newest: after.map(|_| list_of(&filter)),
        older: listing.next.map(|next| address("/deliveries", &filter, &[("after", &next.to_string())])),
        bulk,
    })
}

impl Form {
    fn of(filter: &Filter, visit: &Visit) -> Result<Self, Problem> {
        let mut parts = parts_of(filter)?;
        let mut take = |name| form::take(&mut parts, name);
        let config = &visit.config;
        Ok(Self {
            states: form::words(&STATES, &take("state")),
            destinations: form::names(
                "any destination",
                visit.status.destinations.iter().map(|destination| &destination.name),
                &take("destination"),
            ),
            rules: form::names("any rule", config.rules.iter().map(|rule| &rule.name), &take("rule")),
            sources: form::names(
                "any source",
                config.sources.iter().map(|source| &source.name),
                &take("source"),
            ),
            ages: form::words(&AGES, &take("newer_than")),
            error: take("error"),
            call: take("call"),
            event: take("event"),
            others: parts,
        })
    }
}

impl ReasonRow {
    fn of(it: Reason, words: Words) -> Self {
        let text = it.error.as_deref().unwrap_or("not tried yet");
        let tone = if it.state == StateFilter::Dead { Tone::Bad } else { Tone::Wait };
        let state = Tag::new(tone, format!("{} × {text}", number(&it.count)));
        let advice = match (it.state, &it.kept_back) {
            (StateFilter::Dead, _) => "given up; retry them when the cause is gone, or drop them".to_owned(),
            (StateFilter::Held, _) => "wait to be told with others".to_owned(),
            (_, Some(KeptBack::Paused)) => "wait until the destination is resumed".to_owned(),
            (_, Some(KeptBack::Failing)) => {
                let again = if it.error.is_some() { "again " } else { "" };
                format!("tried {again}by itself when the destination takes messages again")
            }
            (_, Some(KeptBack::NotInConfig)) => "wait until the destination is back in the config".to_owned(),
            _ => match it.next.map(|next| next.since(words.now)).filter(|wait| wait.as_secs() > 0) {
                Some(wait) if it.error.is_none() => format!("tried by itself, first in {}", span(wait)),
                Some(wait) => format!("tried again by itself, next in {}", span(wait)),
                None => "due now".to_owned(),
            },
        };
        let confirm = |action| address("/deliveries/confirm", &it.filter, &[("action", action)]);
        let is_sure = it.error.is_some() || it.state == StateFilter::Held;
        Self {
            state,
            advice,
            // A filter cannot ask for those that were not tried yet.
            list: it.error.is_some().then(|| list_of(&it.filter)),
            retry: is_sure.then(|| confirm("retry")),
            drop: is_sure.then(|| confirm("drop")),
            it,
        }
    }
}

impl Row {
    fn of(it: Delivery, words: Words) -> Self {
        let last = match (it.log.last(), &it.kept_back, &it.told_by) {
            (Some(attempt), ..) => attempt.result.clone(),
            (None, Some(why), _) => why.to_string(),
            (None, None, Some(into)) => format!("part of {into}"),
            (None, None, None) => "not tried yet".to_owned(),
        };
        let call = it.source.as_ref().zip(it.call.as_ref());
        let call = call.map(|(source, call)| call_path(source, call.as_str()));
        Self { state: Tag::of(&it, words), path: delivery_path(&it), call, last, it }
    }
}

/// The change that was made just before, in words; it stands in the address that a change leads to.
fn done(parts: &mut Parts) -> Result<Option<String>, Problem> {
    let count = parts.take("count", |text| text.parse::<u64>().ok())?.unwrap_or_default();
    let what = parts.take("done", |text| match text {
        "retry" => Some(format!("{} will be tried at once.", messages(count))),
        "resend" => Some(format!("{} will be sent again.", messages(count))),
        "drop" => Some(format!("{} dropped.", messages(count))),
        _ => None,
    })?;
    Ok(what)
}

/// A change of deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Retry,
    Resend,
    Drop,
}

impl Action {
    fn parse(text: &str) -> Option<Self> {
        [Self::Retry, Self::Resend, Self::Drop].into_iter().find(|action| action.word() == text)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Resend => "resend",
            Self::Drop => "drop",
        }
    }

    /// The word of its button.
    fn verb(self) -> &'static str {
        match self {
            Self::Retry => "Retry",
            Self::Resend => "Resend",
            Self::Drop => "Drop",
        }
    }

    /// The filter with the states that are meant when it names none: a button means what stands beside it, and never
    /// everything there is.
    fn meant(self, filter: Filter) -> Filter {
        let state = filter.state.or(filter.event.is_none().then_some(match self {
            Self::Retry => StateFilter::Dead,
            Self::Resend => StateFilter::Delivered,
            Self::Drop => StateFilter::Undelivered,
        }));
        Filter { state, ..filter }
    }

    async fn on(self, visit: &Visit, filter: &Filter, mode: BulkMode) -> Result<Changed, OpsError> {
        match self {
            Self::Retry => visit.ops.retry(filter, mode).await,
            Self::Resend => visit.ops.resend(filter, None, mode).await,
            Self::Drop => visit.ops.drop(filter, mode).await,
        }
    }
}

#[derive(Template)]
#[template(path = "confirm.html")]
struct Confirm {
    frame: Frame,
    action: Action,
    count: u64,
    /// Whether those that have arrived are meant.
    arrived: bool,
    /// The filter, part by part.
    parts: Vec<(String, String)>,
    back: String,
}

async fn confirm(visit: Visit, uri: Uri) -> Result<Response, Problem> {
    let mut parts = Parts::of(&uri).filled_in();
    let action = parts.take("action", Action::parse)?;
    let action = action
        .ok_or_else(|| Problem::malformed("say what to do: `action` is `retry`, `resend` or `drop`"))?;
    let filter = action.meant(parts.rest()?);
    let changed = action.on(&visit, &filter, BulkMode::DryRun).await?;
    html(&Confirm {
        frame: visit.frame(Place::Deliveries),
        action,
        count: changed.count as u64,
        arrived: matches!(filter.state, Some(StateFilter::Delivered | StateFilter::Merged)),
        parts: parts_of(&filter)?,
        back: back(&filter),
    })
}

async fn retry(visit: Visit, headers: HeaderMap, body: Bytes) -> Result<Redirect, Problem> {
    act(Action::Retry, &visit, &headers, &body).await
}

async fn resend(visit: Visit, headers: HeaderMap, body: Bytes) -> Result<Redirect, Problem> {
    act(Action::Resend, &visit, &headers, &body).await
}

async fn forget(visit: Visit, headers: HeaderMap, body: Bytes) -> Result<Redirect, Problem> {
    act(Action::Drop, &visit, &headers, &body).await
}

async fn act(action: Action, visit: &Visit, headers: &HeaderMap, body: &Bytes) -> Result<Redirect, Problem> {
    let filter: Filter = Parts::of_form(headers, body)?.filled_in().rest()?;
    if filter == Filter::default() {
        return Err(Problem::malformed("an empty filter means everything: name at least a state"));
    }
    let filter = action.meant(filter);
    let Changed { count, .. } = action.on(visit, &filter, BulkMode::Act).await?;
    let (count, done) = (count.to_string(), action.word());
    let more = [("done", done), ("count", &*count)];
    let to = match (&filter.event, &filter.destination, action) {
        (Some(_), Some(_), Action::Retry | Action::Resend) => {
            address(&back(&filter), &Filter::default(), &more)
        }
        (Some(_), ..) => address("/deliveries", &Filter::default(), &more),
        _ => address("/deliveries", &filter, &more),
    };
    Ok(Redirect::to(&to))
}

/// The page of what a filter means: a delivery's own, or a list.
fn back(filter: &Filter) -> String {
    match (&filter.event, &filter.destination) {
        (Some(event), Some(destination)) => {
            format!("/deliveries/{}/{}", segment(event.as_str()), segment(destination.as_str()))
        }
        _ => list_of(filter),
    }
}

#[derive(Template)]
#[template(path = "delivery.html")]
struct Show {
    frame: Frame,
    words: Words,
    done: Option<String>,
    state: Tag,
    it: Delivery,
    rules: String,
    call: Option<String>,
    /// The delivery that tells it.
    told_by: Option<String>,
    /// Other deliveries of the event.
    siblings: Vec<Row>,
    /// Whether the answers of the receiver are shown.
    has_answers: bool,
    /// The notification as it is sent, when that was asked for.
    sent: Option<SentText>,
    /// Whether it is sent as it is, and not as a part of another.
    is_sent: bool,
    /// Where the answers are shown, and what was sent.
    with_answers: String,
    with_sent: String,
    /// Time from each attempt to the one before.
    gaps: Vec<Option<String>>,
    /// Attempts that are no longer kept.
    forgotten: u64,
    can_retry: bool,
}

/// The message of a delivery, or why there is none.
struct SentText {
    message: Option<Sent>,
    /// Whether numbers and transcripts are left out.
    is_masked: bool,
}

async fn show(
    visit: Visit,
    Segments((event, destination)): Segments<(String, String)>,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut parts = Parts::of(&uri);
    let has_answers = parts.take("answers", |text| text.parse().ok())?.unwrap_or(false);
    let shows_sent = parts.take("sent", |text| text.parse().ok())?.unwrap_or(false);
    let done = done(&mut parts)?;
    let (event, destination) = (EventId::from(&*event), Name::from(destination));
    let all = visit.ops.show(&event, None, has_answers).await?;
    let (mut found, siblings): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|it| it.destination == destination);
    let it = found.pop().ok_or_else(|| OpsError::NoDelivery(format!("{event} to {destination}")))?;
    let words = visit.words;
    let rules: Vec<_> = std::iter::once(&it.rule).chain(&it.also).map(Name::as_str).collect();
    let show = visit.show();
    let sent = match shows_sent {
        true => {
            let message = visit.ops.sent(&it.event, &it.destination, show).await?;
            Some(SentText { message, is_masked: !show.numbers || !show.transcripts })
        }
        false => None,
    };
    let before = std::iter::once(None).chain(it.log.iter().map(|attempt| Some(attempt.at)));
    let gap = |(attempt, before): (&LoggedAttempt, Option<Timestamp>)| {
        before.map(|before| span(attempt.at.since(before)))
    };
    let query = |answers: bool, sent: bool| {
        let parts = [("answers", answers), ("sent", sent)];
        let parts: Vec<_> =
            parts.iter().filter(|(_, is)| *is).map(|(name, _)| format!("{name}=true")).collect();
        format!("?{}", parts.join("&"))
    };
    html(&Show {
        frame: visit.frame(Place::Deliveries),
        words,
        done,
        state: Tag::of(&it, words),
        rules: rules.join(", "),
        call: it.source.as_ref().zip(it.call.as_ref()).map(|(source, call)| call_path(source, call.as_str())),
        told_by: it.told_by.as_ref().map(|into| {
            format!("/deliveries/{}/{}", segment(into.as_str()), segment(it.destination.as_str()))
        }),
        siblings: siblings.into_iter().map(|it| Row::of(it, words)).collect(),
        with_answers: query(true, shows_sent),
        with_sent: query(has_answers, true),
        has_answers,
        sent,
        is_sent: it.state != DeliveryStateKind::Merged,
        gaps: it.log.iter().zip(before).map(gap).collect(),
        forgotten: u64::from(it.attempts).saturating_sub(it.log.len() as u64),
        can_retry: !matches!(it.state, DeliveryStateKind::Delivered | DeliveryStateKind::Merged),
        it,
    })
}
