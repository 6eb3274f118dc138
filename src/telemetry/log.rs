//! One log line for each signal.

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use tracing::{debug, error, field::display, info, warn};

use super::{Signal, StoreSignal, signal::Totals};
use crate::{
    call::CallId,
    kind::Kinds,
    name::Name,
    privacy::UNKNOWN_NUMBER,
    store::{DeliveryId, Verdict},
    time::Timestamp,
};

/// Logs `signal`, which has been counted `so_far` times for the source, destination or rule it is about. Mistakes in
/// data come in thousands: the first one is a warning, the others are for debugging.
///
/// A message says what happened in words; fields are for programs, and for people only as far as the message does not
/// say the same. `now` is the time of the signal.
pub(super) fn line(signal: &Signal, so_far: u64, now: Timestamp) {
    match signal {
        Signal::BaselineProgress { source, found, total } => {
            debug!(%source, found, total, "baseline goes on")
        }
        Signal::BaselineDone { source, calls, events } => {
            let (calls, events) = (Counted(*calls, "call"), Counted(*events, "event"));
            info!(%source, "{source}: {calls} baselined, {events}");
        }
        Signal::Fetched { source, calls, new, changed, took } => {
            let took_ms = took.as_millis() as u64;
            debug!(%source, calls, new, changed, took_ms, "{source}: polled");
        }
        // Only the first failure in a row is loud; the recovery tells how many there were.
        Signal::FetchFailed { source, error, refused: true, failures: 1 } => {
            error!(%source, "{source}: {error}; trying again every few minutes")
        }
        Signal::FetchFailed { source, error, failures: 1, .. } => {
            warn!(%source, "{source}: {error}; trying again")
        }
        Signal::FetchFailed { source, error, failures, .. } => debug!(%source, failures, "{source}: {error}"),
        Signal::SourceFailing { source, lasting, error } => {
            warn!(%source, "{source}: failing for {}: {error}", whole_seconds(*lasting));
        }
        Signal::SourceRecovered { source, failures, lasting } => {
            info!(%source, failures, "{source}: the API answers again, after {}", whole_seconds(*lasting));
        }
        Signal::SourceTroubled { source, why } => warn!(%source, "{source}: {why}"),
        Signal::BadRecord { source, why, again: false, .. } => {
            warn!(%source, "{source}: {why} (further ones are counted)");
        }
        Signal::BadRecord { source, why, .. } => debug!(%source, "{source}: {why}"),
        Signal::Stale { source, count } => {
            debug!(%source, count, "{source}: ignored records that are older than what is known of their calls");
        }
        Signal::Forgot { text } => info!("{text}"),
        Signal::SourceNotice { source, text } => info!(%source, "{source}: {text}"),
        Signal::Changed { source, call, kinds, caller, .. } => {
            info!(%call, %source, %caller, %kinds, "{}: call {}", or_unknown(caller), Joined(*kinds));
        }
        Signal::Fired { event, rule, source, call, kinds, destinations, waits: _ } => {
            let call = call.as_ref().map(CallId::as_str);
            let to = Names(destinations);
            let source = source.as_ref().map(display);
            info!(call, %event, source, %to, %rule, %kinds, "{} → {to}", InWords(rule));
        }
        Signal::Joined { event, rules, source, call, destinations } => {
            let call = call.as_ref().map(CallId::as_str);
            let (rules, to) = (Names(rules), Names(destinations));
            let source = source.as_ref().map(display);
            info!(call, %event, source, %to, %rules, "{rules} in one message → {to}");
        }
        Signal::TooOld { rule, call } => {
            info!(%rule, %call, "{}: not announced, older than max_age", InWords(rule))
        }
        Signal::NotFired { .. } => {}
        Signal::Unknown { rule, missing } => {
            let missing = missing.as_deref().unwrap_or("a field");
            debug!(%rule, "{rule}: the condition is unknown: {missing} is missing or null");
        }
        Signal::RuleFailed { rule, error } if so_far == 1 => {
            warn!(%rule, "{rule}: the condition failed: {error} (further failures are counted)");
        }
        Signal::RuleFailed { rule, error } => debug!(%rule, "{rule}: the condition failed: {error}"),
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
            info!(%destination, %event, %batch, "held for {destination}");
        }
        Signal::Summarized { event, destination, reason, count } => {
            info!(%destination, %event, reason = reason.as_str(), "{count} events in one message → {destination}");
        }
        Signal::Attempted {
            delivery: DeliveryId { event, destination },
            call,
            rule,
            caller,
            attempt,
            result,
            took,
            verdict,
            ..
        } => {
            let call = call.as_ref().map(CallId::as_str);
            let (took_ms, seconds) = (took.as_millis() as u64, took.as_secs_f64());
            let who = if call.is_some() { or_unknown(caller) } else { caller };
            let space = if who.is_empty() { "" } else { " " };
            let what = format_args!("{}{space}{who} → {destination}", InWords(rule));
            match verdict {
                Verdict::Delivered => {
                    let nth = Nth(*attempt);
                    info!(
                        call, %event, %rule, %destination, attempt, took_ms, result,
                        "delivered: {what} ({seconds:.1} s{nth})"
                    );
                }
                Verdict::Retry(at) => {
                    // No wait of its own: the delivery is due as soon as the destination is resumed.
                    let wait = at.since(now);
                    let next = match wait.is_zero() {
                        true => "it waits".to_owned(),
                        false => format!("next try in {}", whole_seconds(wait)),
                    };
                    warn!(
                        call, %event, %rule, %destination, attempt, took_ms,
                        "not delivered: {what}: {result}; {next}"
                    );
                }
                Verdict::Dead(why) => {
                    error!(
                        call, %event, %rule, %destination, attempt, took_ms,
                        "given up: {what}: {why}"
                    );
                }
            }
        }
        Signal::DestinationFailing { destination, pause, failures, last } => {
            let pause = humantime::format_duration(*pause);
            warn!(%destination, "{destination}: left alone for {pause}: {failures} attempts in a row failed; last: {last}");
        }
        Signal::DestinationPaused { destination, pause: Some(pause), why } => {
            warn!(%destination, "{destination}: left alone for {}: {why}", humantime::format_duration(*pause));
        }
        Signal::DestinationPaused { destination, pause: None, why } => {
            error!(%destination, "{destination}: left alone until `callwatch deliveries resume {destination}`: {why}");
        }
        Signal::DestinationResumed { destination } => {
            info!(%destination, "{destination}: takes deliveries again")
        }
        Signal::TakenOver { duty } => warn!(
            "another process has taken over the {duty}: this one was silent for longer than `[cluster] lease`; nothing is lost"
        ),
        Signal::StoreBack => info!("the store can be used again; the work goes on"),
        Signal::StoreFailed { doing, error } => error!("the store failed while {doing}: {error}"),
        Signal::Store(signal) => store_line(signal),
        Signal::Started { version, store } => {
            info!(version, store = %store.display(), "callwatch {version} starts")
        }
        Signal::ConfigApplied { sources, destinations, rules, started, stopped } => info!(
            sources,
            destinations,
            rules,
            started = %Names(started),
            stopped = %Names(stopped),
            "the config is at work: {}, {}, {}",
            Counted(*sources as u64, "source"), Counted(*destinations as u64, "destination"), Counted(*rules as u64, "rule")
        ),
        Signal::ConfigRejected { error, mistakes } => {
            error!("the config is not used, the one before goes on: {error}");
            mistakes.iter().for_each(|mistake| error!("{mistake}"));
        }
        Signal::ConfigDoubtful { doubts } => doubts.iter().for_each(|doubt| warn!("{doubt}")),
        Signal::ConfigOnDisk { differs: true } => warn!(
            "the config file differs from the config at work; SIGHUP or `POST /api/v1/reload` puts it to work"
        ),
        Signal::ConfigOnDisk { differs: false } => {
            info!("the config file is the same again as the config at work")
        }
        Signal::Listening { address } => info!(%address, "listens on http://{address}"),
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
            info!(
                requests,
                changes,
                events,
                delivered,
                dead,
                "callwatch has stopped in good order: {delivered} delivered, {dead} given up"
            );
        }
        Signal::HeartbeatSent { resumed: true } => info!("heartbeats are sent again"),
        Signal::HeartbeatSent { resumed: false } => debug!("heartbeat sent"),
        Signal::HeartbeatFailed { error, again: false } => {
            warn!("the heartbeat was not sent: {error} (further failures are counted)");
        }
        Signal::HeartbeatFailed { error, again: true } => debug!("the heartbeat was not sent: {error}"),
        Signal::HeartbeatWithheld { why } => warn!("no heartbeat is sent as long as {why}"),
        Signal::Hindrance { text } => warn!("{text}"),
    }
}

fn store_line(signal: &StoreSignal) {
    match signal {
        StoreSignal::Found { path, finding } => warn!("the store {}: {finding}", path.display()),
        StoreSignal::BackedUp { file, bytes } => info!("backed up to {} ({bytes} bytes)", file.display()),
        StoreSignal::BackupFailed { error } => error!("no backup was written: {error}"),
        StoreSignal::Broken { error } => error!("the store stops: {error}"),
    }
}

/// A rule's name as people say it, `Unhappy caller` for `unhappy-caller`; written only when the line is.
struct InWords<'a>(&'a Name);

impl fmt::Display for InWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut letters = self.0.as_str().chars();
        if let Some(first) = letters.next() {
            write!(f, "{}", first.to_uppercase())?;
        }
        letters.try_for_each(|c| f.write_char(if matches!(c, '-' | '_') { ' ' } else { c }))
    }
}

fn or_unknown(caller: &str) -> &str {
    if caller.is_empty() { UNKNOWN_NUMBER } else { caller }
}

/// `1 source`, `2 sources`
struct Counted(u64, &'static str);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == 1 { "" } else { "s" })
    }
}

/// `ended and analyzed`; written only when the line is.
struct Joined(Kinds);

impl fmt::Display for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(at, kind)| {
            let before = if at > 0 { " and " } else { "" };
            write!(f, "{before}{kind}")
        })
    }
}

/// The number of an attempt after the first one.
struct Nth(u32);

impl fmt::Display for Nth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > 1 { write!(f, ", attempt {}", self.0) } else { Ok(()) }
    }
}

fn whole_seconds(wait: Duration) -> humantime::FormattedDuration {
    // Rounded up, so that it is never "in 0s" without need.
    humantime::format_duration(Duration::from_secs(wait.as_millis().div_ceil(1000) as u64))
}

/// Names with commas between them; written only when the line is.
struct Names<'a>(&'a [Name]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            f.write_str(name.as_str())?;
        }
        Ok(())
    }
}
