//! One log line for each signal.

use std::fmt;

use tracing::{debug, error, info, warn};

use super::{Signal, StoreSignal, signal::Totals};
use crate::{
    call::CallId,
    name::Name,
    store::{DeliveryId, Verdict},
};

/// Logs `signal`, which has been counted `so_far` times for whom it is about. Mistakes in data come in thousands:
/// the first one is a warning, the others are for debugging.
pub(super) fn line(signal: &Signal, so_far: u64) {
    match signal {
        Signal::BaselineProgress { source, found, total } => {
            debug!(%source, found, total, "baseline goes on")
        }
        Signal::BaselineDone { source, calls, events } => {
            info!(%source, "{calls} calls baselined, {events} events");
        }
        Signal::Fetched { source, calls, new, changed, took } => {
            let took_ms = took.as_millis() as u64;
            if *new + *changed > 0 {
                info!(%source, calls, new, changed, took_ms, "poll found something");
            } else {
                debug!(%source, calls, took_ms, "poll found nothing");
            }
        }
        // Only the first failure in a row is loud; the recovery tells how many there were.
        Signal::FetchFailed { source, error, refused: true, failures: 1 } => error!(%source, "{error}"),
        Signal::FetchFailed { source, error, failures: 1, .. } => warn!(%source, "{error}; trying again"),
        Signal::FetchFailed { source, error, failures, .. } => debug!(%source, failures, "{error}"),
        Signal::SourceRecovered { source, failures } => info!(%source, failures, "the API answers again"),
        Signal::SourceTroubled { source, why } => warn!(%source, "{why}"),
        Signal::BadRecord { source, why, again: false, .. } => {
            warn!(%source, "{why} (further ones are counted)");
        }
        Signal::BadRecord { source, why, .. } => debug!(%source, "{why}"),
        Signal::Stale { source, count } => {
            debug!(%source, "ignored {count} records that are older than what is known of their calls");
        }
        Signal::SourceNotice { source, text } => info!(%source, "{text}"),
        Signal::Changed { source, call, kinds, caller } => {
            info!(%source, %call, %kinds, %caller, "call changed");
        }
        Signal::Fired { event, rule, source, call, kinds, destinations } => {
            let call = call.as_ref().map(CallId::as_str);
            info!(%rule, %source, call, %kinds, %event, to = %Names(destinations), "rule fired");
        }
        Signal::TooOld { rule, call } => info!(%rule, %call, "not announced: older than max_age"),
        Signal::Unknown { rule } => debug!(%rule, "condition unknown: a field is missing or null"),
        Signal::RuleFailed { rule, error } if so_far == 1 => {
            warn!(%rule, "the condition failed: {error} (further failures are counted)");
        }
        Signal::RuleFailed { rule, error } => debug!(%rule, "the condition failed: {error}"),
        Signal::TextFailed { rule, part, error } if so_far == 1 => {
            warn!(
                %rule,
                "the rule's {part} could not be rendered: {error}; the default is used (further failures are counted)"
            );
        }
        Signal::TextFailed { rule, part, error } => {
            debug!(%rule, "the rule's {part} could not be rendered: {error}");
        }
        Signal::Held { delivery: DeliveryId { event, destination }, batch } => {
            info!(%destination, %event, %batch, "held");
        }
        Signal::Summarized { event, destination, reason, count } => {
            info!(%destination, %event, reason = reason.as_str(), "{count} events sent as one");
        }
        Signal::Attempted {
            delivery: DeliveryId { event, destination },
            attempt,
            result,
            took,
            verdict,
            ..
        } => {
            let took_ms = took.as_millis() as u64;
            match verdict {
                Verdict::Delivered => info!(%destination, %event, attempt, took_ms, "delivered: {result}"),
                Verdict::Retry(at) => {
                    warn!(%destination, %event, attempt, took_ms, "attempt failed: {result}; next try at {at}");
                }
                Verdict::Dead(why) => {
                    error!(%destination, %event, attempt, took_ms, "delivery is dead: {why}");
                }
            }
        }
        Signal::DestinationFailing { destination, pause, failures, last } => {
            let pause = humantime::format_duration(*pause);
            warn!(%destination, "left alone for {pause}: {failures} attempts in a row failed; last: {last}");
        }
        Signal::DestinationPaused { destination, pause: Some(pause), why } => {
            warn!(%destination, "left alone for {}: {why}", humantime::format_duration(*pause));
        }
        Signal::DestinationPaused { destination, pause: None, why } => {
            error!(%destination, "left alone until `callwatch deliveries resume {destination}`: {why}");
        }
        Signal::DestinationResumed { destination } => info!(%destination, "takes deliveries again"),
        Signal::StoreFailed { doing, error } => error!("the store failed while {doing}: {error}"),
        Signal::Store(signal) => store_line(signal),
        Signal::Started { version, store } => info!(version, store = %store.display(), "callwatch starts"),
        Signal::ConfigApplied { sources, destinations, rules, started, stopped } => info!(
            sources,
            destinations,
            rules,
            started = %Names(started),
            stopped = %Names(stopped),
            "the config is at work"
        ),
        Signal::ConfigRejected { error } => error!("the config is not used, the one before goes on: {error}"),
        Signal::Stranded { destination, waiting } => warn!(
            %destination,
            waiting,
            "deliveries wait for destination `{destination}`, which is not in the config: put it back, or forget them \
             with `callwatch deliveries drop`"
        ),
        Signal::Stopping { signal, again: false } => {
            info!("{signal}: stopping; attempts in flight may end first");
        }
        Signal::Stopping { signal, again: true } => {
            error!("{signal} again: ending at once; attempts in flight are repeated after the next start");
        }
        Signal::Stopped(Totals { requests, changes, events, delivered, dead }) => {
            info!(requests, changes, events, delivered, dead, "callwatch has stopped in good order");
        }
        Signal::Hindrance { text } => warn!("{text}"),
    }
}

fn store_line(signal: &StoreSignal) {
    match signal {
        StoreSignal::Opened { path } => debug!(store = %path.display(), "the store is open"),
        StoreSignal::Damaged { path, why } => {
            warn!("the store {} is damaged ({why}); trying to repair it", path.display());
        }
        StoreSignal::Repaired { path, copy } => info!(
            "the store {} is repaired; the copy from before, {}, is no longer needed",
            path.display(),
            copy.display()
        ),
        StoreSignal::Quarantined { path, aside } => {
            info!("what was in the store {} is now in {}", path.display(), aside.display());
        }
        StoreSignal::Upgrading { path, from, to } => {
            info!("the store {} is brought from layout {from} to {to}", path.display());
        }
        StoreSignal::Renewing { path, bytes } => info!(
            "the store {} takes {} MB of the disk, most of it unused; making it smaller",
            path.display(),
            bytes / 1_000_000
        ),
        StoreSignal::Renewed { path, bytes } => {
            info!("the store {} now takes {} MB of the disk", path.display(), bytes / 1_000_000);
        }
        StoreSignal::RenewalFailed { error } => warn!("the store stays as large as it is: {error}"),
        StoreSignal::BlobsFound { path, count } => warn!(
            "the store {} holds {count} values in files of their own, which may not survive a power cut",
            path.display()
        ),
        StoreSignal::BackedUp { file, bytes } => info!("backed up to {} ({bytes} bytes)", file.display()),
        StoreSignal::BackupFailed { error } => error!("no backup was written: {error}"),
        StoreSignal::BackupSkipped { error } => warn!("{error}; taking the one before it"),
        StoreSignal::Broken { error } => error!("the store stops: {error}"),
    }
}

/// Names with commas between them; written only when the line is.
struct Names<'a>(&'a [Name]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            f.write_str(name.as_str())?;
        }
        Ok(())
    }
}
