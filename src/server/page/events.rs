//! The stream by which an open page learns that something has changed. It says no more than that, at most once a second.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Extension, Router,
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::body::{Bytes, Frame};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Interval, MissedTickBehavior, interval},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::{
    server::{Service, problem::Problem},
    telemetry::Telemetry,
};

/// The most streams of one listener; a page without one asks now and then.
const MOST: usize = 32;

/// Time between two looks for a change.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Quiet looks after which something is sent all the same, so that a client that has gone is found out.
const QUIET: u32 = 15;

/// How long a stream lasts; browsers open another.
const LASTS: Duration = Duration::from_secs(600);

/// The streams of one listener.
#[derive(Clone)]
pub(super) struct Streams {
    places: Arc<Semaphore>,
    close: CancellationToken,
}

impl Streams {
    /// Streams that all end when `close` is cancelled.
    pub(super) fn until(close: &CancellationToken) -> Self {
        Self { places: Arc::new(Semaphore::new(MOST)), close: close.clone() }
    }
}

pub(super) fn routes() -> Router<Service> {
    Router::new().route("/events", get(events))
}

async fn events(
    State(service): State<Service>,
    Extension(streams): Extension<Streams>,
) -> Result<Response, Problem> {
    let place = streams.places.try_acquire_owned().map_err(|_| {
        let detail = "too many pages are open; this one can be loaded again by hand";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", detail)
    })?;
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stream = Stream {
        seen: service.telemetry.news(),
        telemetry: service.telemetry,
        looks,
        quiet: QUIET,
        ends: Instant::now() + LASTS,
        close: Box::pin(streams.close.cancelled_owned()),
        _place: place,
    };
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], Body::new(stream)).into_response())
}

/// A body that is written as things change. It is asked for more only when the client has taken what there was, so it holds
/// nothing that waits.
struct Stream {
    telemetry: Telemetry,
    /// The news that the page has been told of.
    seen: u64,
    looks: Interval,
    /// Looks since something was last sent.
    quiet: u32,
    ends: Instant,
    close: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: OwnedSemaphorePermit,
}

impl hyper::body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let send =
            |text: &'static str| Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(text.as_bytes())))));
        if self.close.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        loop {
            let now = ready!(self.looks.poll_tick(cx));
            if now >= self.ends {
                return Poll::Ready(None);
            }
            let news = self.telemetry.news();
            self.quiet += 1;
            if news != self.seen {
                (self.seen, self.quiet) = (news, 0);
                return send("data: changed\n\n");
            }
            if self.quiet > QUIET {
                self.quiet = 0;
                // A comment. The first look sends one, which tells the page that it is connected.
                return send(":\n\n");
            }
        }
    }
}
