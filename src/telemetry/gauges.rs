//! The board, as gauges.
//!
//! The times are those at which something last happened, zero when it never has: Prometheus computes ages itself.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::{family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use super::{
    Board, DestinationState, DestinationStatus, SourceStatus,
    metrics::{Labels, PREFIX},
};
use crate::{name::Name, time::Timestamp};

/// A gauge of a `T`: its name without prefix and unit, its unit, its help, and where its value comes from.
struct Of<T>(&'static str, Option<Unit>, &'static str, fn(&T) -> f64);

const SECONDS: Option<Unit> = Some(Unit::Seconds);

const SOURCES: [Of<SourceStatus>; 9] = [
    Of("source_last_poll_timestamp", SECONDS, "The last request", |it| seconds(it.last_poll)),
    Of("source_last_success_timestamp", SECONDS, "The last request that was answered", |it| {
        seconds(it.last_success)
    }),
    Of("source_consecutive_failures", None, "Failed requests in a row", |it| it.failures.into()),
    Of("source_key_refused", None, "Whether the API refuses the key", |it| it.refused.into()),
    Of("source_known_calls", None, "Calls that are known", |it| it.calls.known as f64),
    Of("source_live_calls", None, "Calls that are live", |it| it.calls.live as f64),
    Of("source_baseline_running", None, "Whether the first walk over the list goes on", |it| {
        it.baseline.is_some().into()
    }),
    Of("source_baseline_found_calls", None, "Calls the first walk has found, while it goes on", |it| {
        it.baseline.map_or(0.0, |baseline| baseline.found as f64)
    }),
    Of(
        "source_requests_per_minute_limit",
        None,
        "Requests a minute that the sources of its host share",
        |it| it.budget.allowed.into(),
    ),
];

const DESTINATIONS: [Of<DestinationStatus>; 4] = [
    Of("destination_pending_deliveries", None, "Deliveries that are still to be tried", |it| {
        it.backlog.pending as f64
    }),
    Of("destination_held_deliveries", None, "Deliveries that are held for a batch", |it| {
        it.backlog.held as f64
    }),
    Of("destination_oldest_due_timestamp", SECONDS, "When the delivery that waits longest was due", |it| {
        seconds(it.backlog.oldest_due)
    }),
    Of("destination_last_success_timestamp", SECONDS, "The last delivery that arrived", |it| {
        seconds(it.last_success)
    }),
];

const WHOLE: [Of<Board>; 5] = [
    Of("store_broken", None, "Whether the store refuses everything", |it| it.store.broken.is_some().into()),
    Of("store_last_backup_timestamp", SECONDS, "The last backup", |it| seconds(it.store.last_backup)),
    Of("config_applied_timestamp", SECONDS, "Since when the config is at work", |it| {
        seconds(it.config.since)
    }),
    Of("config_rejected", None, "Whether the last new config could not be put to work", |it| {
        it.config.rejected.is_some().into()
    }),
    Of("config_differs", None, "Whether the file says something else than the config at work", |it| {
        it.config.differs.is_some().into()
    }),
];

/// All gauges, as the board is now.
pub(super) fn of(board: &Board) -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    for gauge in SOURCES {
        add(&mut registry, gauge, board.sources.iter().map(|(name, it)| (label("source", name), it)));
    }
    for gauge in DESTINATIONS {
        let destinations = board.destinations.iter();
        add(&mut registry, gauge, destinations.map(|(name, it)| (label("destination", name), it)));
    }
    for gauge in WHOLE {
        add(&mut registry, gauge, [(vec![], board)]);
    }
    let states = board.destinations.iter().flat_map(states);
    let help = "Whether the destination is in this state; it is in exactly one";
    add(&mut registry, Of("destination_state", None, help, |is| f64::from(*is)), states);
    registry
}

fn add<'a, T: 'a>(registry: &mut Registry, gauge: Of<T>, all: impl IntoIterator<Item = (Labels, &'a T)>) {
    let Of(name, unit, help, value) = gauge;
    let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
    for (labels, it) in all {
        family.get_or_create(&labels).set(value(it));
    }
    match unit {
        Some(unit) => registry.register_with_unit(name, help, unit, family),
        None => registry.register(name, help, family),
    }
}

/// A series for each state.
fn states<'a>((name, destination): (&Name, &'a DestinationStatus)) -> [(Labels, &'a bool); 3] {
    let now = match destination.state {
        DestinationState::Ok => "ok",
        DestinationState::Failing { .. } => "failing",
        DestinationState::Paused { .. } => "paused",
    };
    ["ok", "failing", "paused"].map(|state| {
        let labels = vec![("destination", name.to_string()), ("state", state.to_owned())];
        (labels, if state == now { &true } else { &false })
    })
}

fn label(about: &'static str, name: &Name) -> Labels {
    vec![(about, name.to_string())]
}

fn seconds(at: Option<Timestamp>) -> f64 {
    at.map_or(0.0, |at| at.as_millis() as f64 / 1000.0)
}
