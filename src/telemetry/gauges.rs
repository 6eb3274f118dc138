//! The board, as gauges.
//!
//! The times are those at which something last happened, zero when it never has: Prometheus computes ages itself.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::{family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use super::{
    Board, ClusterStatus, DestinationState, DestinationStatus, SourceStatus,
    metrics::{Labels, PREFIX},
};
use crate::{
    name::Name,
    store::{Figures, Tally},
    time::Timestamp,
};

/// A gauge of a `T`: its name without prefix and unit, its unit, its help, and where its value comes from, now.
struct Of<T>(&'static str, Option<Unit>, &'static str, fn(&T, Timestamp) -> f64);

const SECONDS: Option<Unit> = Some(Unit::Seconds);

const SOURCES: [Of<SourceStatus>; 10] = [
    Of("source_last_poll_timestamp", SECONDS, "The last request", |it, _| seconds(it.last_poll)),
    Of("source_last_success_timestamp", SECONDS, "The last request that was answered", |it, _| {
        seconds(it.last_success)
    }),
    Of("source_consecutive_failures", None, "Failed requests in a row", |it, _| it.failures.into()),
    Of("source_key_refused", None, "Whether the API refuses the key", |it, _| it.refused.into()),
    Of("source_known_calls", None, "Calls that are known", |it, _| it.calls.known as f64),
    Of("source_live_calls", None, "Calls that are live", |it, _| it.calls.live as f64),
    Of("source_baseline_running", None, "Whether the first walk over the list goes on", |it, _| {
        it.baseline.is_some().into()
    }),
    Of("source_baseline_found_calls", None, "Calls the first walk has found, while it goes on", |it, _| {
        it.baseline.map_or(0.0, |baseline| baseline.found as f64)
    }),
    Of(
        "source_requests_per_minute_limit",
        None,
        "Requests a minute that the sources of its host share",
        |it, _| it.budget.allowed.into(),
    ),
    Of("source_requests_last_minute", None, "Requests of the last minute", |it, now| {
        it.budget.used(now).into()
    }),
];

const DESTINATIONS: [Of<DestinationStatus>; 5] = [
    Of("destination_pending_deliveries", None, "Deliveries that are still to be tried", |it, _| {
        it.backlog.pending as f64
    }),
    Of("destination_held_deliveries", None, "Deliveries that are held for a batch", |it, _| {
        it.backlog.held as f64
    }),
    Of(
        "destination_oldest_due_timestamp",
        SECONDS,
        "When the delivery that waits longest was due",
        |it, _| seconds(it.backlog.oldest_due),
    ),
    Of(
        "destination_oldest_due_age",
        SECONDS,
        "Time since the delivery that waits longest was due, zero when none is",
        |it, now| it.backlog.oldest_due.map_or(0.0, |at| now.since(at).as_secs_f64()),
    ),
    Of("destination_last_success_timestamp", SECONDS, "The last delivery that arrived", |it, _| {
        seconds(it.last_success)
    }),
];

const CLUSTER: [Of<ClusterStatus>; 4] = [
    Of("cluster_nodes", None, "Processes that share the work", |it, _| it.nodes as f64),
    Of("cluster_duties", None, "Sources, destinations and the upkeep that they share", |it, _| {
        it.duties as f64
    }),
    Of("cluster_free_duties", None, "Duties that no process works on", |it, _| it.free_duties as f64),
    Of("cluster_configs", None, "Different configs that the processes have", |it, _| it.configs as f64),
];

const CLUSTER_DELIVERIES: [Of<Tally>; 3] = [
    Of(
        "cluster_pending_deliveries",
        None,
        "Deliveries that are still to be tried, of all processes",
        |it, _| it.pending as f64,
    ),
    Of("cluster_held_deliveries", None, "Deliveries that are held for a batch, of all processes", |it, _| {
        it.held as f64
    }),
    Of("cluster_dead_deliveries", None, "Deliveries that were given up, of all processes", |it, _| {
        it.dead as f64
    }),
];

const WHOLE: [Of<Board>; 5] = [
    Of("store_broken", None, "Whether the store refuses everything", |it, _| {
        it.store.broken.is_some().into()
    }),
    Of("store_last_backup_timestamp", SECONDS, "The last backup", |it, _| seconds(it.store.last_backup)),
    Of("config_applied_timestamp", SECONDS, "Since when the config is at work", |it, _| {
        seconds(it.config.since)
    }),
    Of("config_rejected", None, "Whether the last new config could not be put to work", |it, _| {
        it.config.rejected.is_some().into()
    }),
    Of("config_differs", None, "Whether the file differs from the config at work", |it, _| {
        it.config.differs.is_some().into()
    }),
];

/// All gauges, as the board is now.
pub(super) fn of(board: &Board, store: &Figures, now: Timestamp) -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    // The process that works on a duty has its series. Here they would stand still, and raise alarms.
    let own_sources = || board.sources.iter().filter(|(_, it)| !it.elsewhere);
    let own_destinations = || board.destinations.iter().filter(|(_, it)| !it.elsewhere);
    for gauge in SOURCES {
        let sources = own_sources();
        add(&mut registry, gauge, sources.map(|(name, it)| (label("source", name), it)), now);
    }
    let left = own_sources();
    let left: Vec<_> = left.map(|(name, it)| (name, board.requests_left(&it.budget, now))).collect();
    let help = "Requests that the sources of its host may still make in this minute";
    let left = left.iter().map(|(name, left)| (label("source", name), left));
    add(&mut registry, Of("source_requests_left", None, help, |left, _| f64::from(*left)), left, now);
    for gauge in DESTINATIONS {
        let destinations = own_destinations();
        add(&mut registry, gauge, destinations.map(|(name, it)| (label("destination", name), it)), now);
    }
    for gauge in WHOLE {
        add(&mut registry, gauge, [(vec![], board)], now);
    }
    if let Some(cluster) = &board.cluster {
        for gauge in CLUSTER {
            add(&mut registry, gauge, [(vec![], cluster)], now);
        }
        for gauge in CLUSTER_DELIVERIES {
            let tallies = cluster.deliveries.iter();
            add(&mut registry, gauge, tallies.map(|(name, it)| (label("destination", name), it)), now);
        }
    }
    let states = own_destinations().flat_map(states);
    let help = "Whether the destination is in this state; it is in exactly one";
    add(&mut registry, Of("destination_state", None, help, |is, _| f64::from(*is)), states, now);
    let bytes = Of("store", Some(Unit::Bytes), "Bytes that the store takes on disk", |it: &Figures, _| {
        it.bytes as f64
    });
    add(&mut registry, bytes, [(vec![], store)], now);
    for (name, help, times) in [
        ("store_commit_duration", "Time from a commit's asking to its being durable", &store.commits),
        ("store_sync_duration", "Time of making what was written durable", &store.syncs),
    ] {
        registry.register_with_unit(name, help, Unit::Seconds, times.clone());
    }
    registry
}

fn add<'a, T: 'a>(
    registry: &mut Registry,
    gauge: Of<T>,
    all: impl IntoIterator<Item = (Labels, &'a T)>,
    now: Timestamp,
) {
    let Of(name, unit, help, value) = gauge;
    let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
    for (labels, it) in all {
        family.get_or_create(&labels).set(value(it, now));
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
