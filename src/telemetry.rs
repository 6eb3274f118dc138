//! What callwatch says about its own work: one [`Signal`] is one log line, one count, and one thing to watch live,
//! so that the three never disagree. No signal holds a secret, a transcript or a whole phone number.

use std::{collections::BTreeMap, sync::Arc, sync::Mutex, time::Duration};

use tokio::sync::broadcast;
use tracing::{debug, error, info, warn};

use crate::{
    batch::BatchKey,
    call::CallId,
    event::EventId,
    kind::Kinds,
    name::Name,
    store::{DeliveryId, Verdict},
    summary::Reason,
    time::Timestamp,
};

/// How many signals a slow watcher may fall behind before it misses some.
const BACKLOG: usize = 4096;

/// Something callwatch did or met.
#[derive(Clone, Debug)]
pub enum Signal {
    /// The first walk over a source's list moved on.
    BaselineProgress {
        /// Which source.
        source: Name,
        /// Calls remembered so far.
        found: u64,
        /// Calls there are, by the API's word.
        total: Option<u64>,
    },
    /// The first walk over a source's list is over.
    BaselineDone {
        /// Which source.
        source: Name,
        /// How many calls were remembered.
        calls: u64,
        /// How many events it made (`notify_since`).
        events: u64,
    },
    /// A request was answered.
    Fetched {
        /// Which source.
        source: Name,
        /// Calls in the answer.
        calls: usize,
        /// Of those, seen for the first time.
        new: usize,
        /// Of those, changed.
        changed: usize,
        /// How long request, comparison and commit took.
        took: Duration,
    },
    /// A request failed.
    FetchFailed {
        /// Which source.
        source: Name,
        /// What went wrong, in words a person can act on.
        error: String,
        /// Whether the key was refused, which only a person can mend.
        refused: bool,
        /// How many times in a row, this one included.
        failures: u32,
    },
    /// A source answers again.
    SourceRecovered {
        /// Which source.
        source: Name,
        /// After how many failures in a row.
        failures: u32,
    },
    /// A record is not as it should be, and what was done about it.
    BadRecord {
        /// Which source.
        source: Name,
        /// What is wrong with it.
        why: String,
    },
    /// Something about a source worth telling once.
    SourceNotice {
        /// Which source.
        source: Name,
        /// In words.
        text: String,
    },
    /// A call changed.
    Changed {
        /// Which source.
        source: Name,
        /// Which call.
        call: CallId,
        /// How.
        kinds: Kinds,
        /// The caller's number, masked.
        caller: String,
    },
    /// A rule fired.
    Fired {
        /// What came of it.
        event: EventId,
        /// Which rule.
        rule: Name,
        /// Which source.
        source: Name,
        /// Which call; `None` for an event about the source.
        call: Option<CallId>,
        /// On what.
        kinds: Kinds,
        /// To whom it goes.
        destinations: Vec<Name>,
    },
    /// A rule would have fired, but what happened is older than its `max_age`.
    TooOld {
        /// Which rule.
        rule: Name,
        /// Which call.
        call: CallId,
    },
    /// A rule's condition was neither true nor false: a field is missing or null on the way.
    Unknown {
        /// Which rule.
        rule: Name,
    },
    /// A rule's condition could not be evaluated.
    RuleFailed {
        /// Which rule.
        rule: Name,
        /// Why, without any of the call's content.
        error: String,
    },
    /// A delivery waits to be told with others.
    Held {
        /// Which delivery.
        delivery: DeliveryId,
        /// With which others.
        batch: BatchKey,
    },
    /// Events that waited are told as one.
    Summarized {
        /// By which event.
        event: EventId,
        /// To whom.
        destination: Name,
        /// Why they waited.
        reason: Reason,
        /// How many there are.
        count: u64,
    },
    /// A delivery was tried.
    Attempted {
        /// Which delivery.
        delivery: DeliveryId,
        /// Which call; `None` for an event about a source.
        call: Option<CallId>,
        /// The how-many-eth attempt, from 1.
        attempt: u32,
        /// What happened, in one line.
        result: String,
        /// How long it took.
        took: Duration,
        /// What follows.
        verdict: Verdict,
        /// When the delivery was made.
        created: Timestamp,
    },
    /// A destination is left alone.
    DestinationPaused {
        /// Which destination.
        destination: Name,
        /// For how long; `None` until somebody resumes it.
        pause: Option<Duration>,
        /// Why.
        why: String,
    },
    /// A destination that was left alone takes deliveries again.
    DestinationResumed {
        /// Which destination.
        destination: Name,
    },
    /// The store failed.
    StoreFailed {
        /// What was being done.
        doing: &'static str,
        /// What went wrong.
        error: String,
    },
}

impl Signal {
    /// What it counts as: a name and a label.
    fn count(&self) -> Option<(&'static str, String)> {
        Some(match self {
            Self::BaselineProgress { .. } | Self::BaselineDone { .. } => return None,
            Self::Fetched { source, .. } => ("requests", source.to_string()),
            Self::FetchFailed { source, .. } => ("request_failures", source.to_string()),
            Self::SourceRecovered { source, .. } => ("recoveries", source.to_string()),
            Self::BadRecord { source, .. } => ("bad_records", source.to_string()),
            Self::SourceNotice { .. } => return None,
            Self::Changed { source, .. } => ("changes", source.to_string()),
            Self::Fired { rule, .. } => ("events", rule.to_string()),
            Self::TooOld { rule, .. } => ("too_old", rule.to_string()),
            Self::Unknown { rule } => ("unknown", rule.to_string()),
            Self::RuleFailed { rule, .. } => ("rule_failures", rule.to_string()),
            Self::Held { delivery, .. } => ("held", delivery.destination.to_string()),
            Self::Summarized { destination, .. } => ("summaries", destination.to_string()),
            Self::Attempted { delivery, verdict, .. } => (
                match verdict {
                    Verdict::Delivered => "delivered",
                    Verdict::Retry(_) => "failed_attempts",
                    Verdict::Dead(_) => "dead",
                },
                delivery.destination.to_string(),
            ),
            Self::DestinationPaused { destination, .. } => ("pauses", destination.to_string()),
            Self::DestinationResumed { destination } => ("resumptions", destination.to_string()),
            Self::StoreFailed { doing, .. } => ("store_failures", (*doing).to_owned()),
        })
    }

    /// Writes its log line. What repeats while a trouble lasts is loud only the first time.
    fn log(&self, so_far: u64) {
        match self {
            Self::BaselineProgress { source, found, total } => {
                debug!(%source, found, total, "baseline goes on");
            }
            Self::BaselineDone { source, calls, events } => {
                info!(%source, "{calls} calls baselined, {events} events");
            }
            Self::Fetched { source, calls, new, changed, took } => {
                let took_ms = took.as_millis() as u64;
                if *new + *changed > 0 {
                    info!(%source, calls, new, changed, took_ms, "poll found something");
                } else {
                    debug!(%source, calls, took_ms, "poll found nothing");
                }
            }
            Self::FetchFailed { source, error, refused, failures } => {
                if *refused && *failures == 1 {
                    error!(%source, "{error}");
                } else if *failures == 1 {
                    warn!(%source, "{error}; trying again");
                } else {
                    debug!(%source, failures, "{error}");
                }
            }
            Self::SourceRecovered { source, failures } => info!(%source, failures, "the API answers again"),
            Self::BadRecord { source, why } => {
                if so_far == 1 {
                    warn!(%source, "{why} (further ones are counted)");
                } else {
                    debug!(%source, "{why}");
                }
            }
            Self::SourceNotice { source, text } => info!(%source, "{text}"),
            Self::Changed { source, call, kinds, caller } => {
                info!(%source, %call, %kinds, %caller, "call changed");
            }
            Self::Fired { event, rule, source, call, kinds, destinations } => {
                let call = call.as_ref().map(CallId::as_str);
                let to = destinations.iter().map(Name::as_str).collect::<Vec<_>>().join(",");
                info!(%rule, %source, call, %kinds, %event, to, "rule fired");
            }
            Self::TooOld { rule, call } => info!(%rule, %call, "not announced: older than max_age"),
            Self::Unknown { rule } => debug!(%rule, "condition unknown: a field is missing or null"),
            Self::RuleFailed { rule, error } => {
                if so_far == 1 {
                    warn!(%rule, "the condition failed: {error} (further failures are counted)");
                } else {
                    debug!(%rule, "the condition failed: {error}");
                }
            }
            Self::Held { delivery: DeliveryId { event, destination }, batch } => {
                info!(%destination, %event, %batch, "held");
            }
            Self::Summarized { event, destination, reason, count } => {
                info!(%destination, %event, reason = reason.as_str(), "{count} events told as one");
            }
            Self::Attempted {
                delivery: DeliveryId { event, destination },
                attempt,
                result,
                took,
                verdict,
                ..
            } => {
                let took_ms = took.as_millis() as u64;
                match verdict {
                    Verdict::Delivered => {
                        info!(%destination, %event, attempt, took_ms, "delivered: {result}")
                    }
                    Verdict::Retry(at) => {
                        warn!(%destination, %event, attempt, took_ms, "attempt failed: {result}; next try at {at}");
                    }
                    Verdict::Dead(why) => {
                        error!(%destination, %event, attempt, took_ms, "delivery is dead: {why}");
                    }
                }
            }
            Self::DestinationPaused { destination, pause, why } => match pause {
                Some(pause) => {
                    warn!(%destination, "left alone for {}: {why}", humantime::format_duration(*pause));
                }
                None => error!(
                    %destination,
                    "left alone until `callwatch deliveries resume {destination}`: {why}"
                ),
            },
            Self::DestinationResumed { destination } => info!(%destination, "takes deliveries again"),
            Self::StoreFailed { doing, error } => error!("the store failed while {doing}: {error}"),
        }
    }
}

/// Where signals go. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Telemetry {
    watchers: broadcast::Sender<Arc<Signal>>,
    counts: Arc<Mutex<Counts>>,
}

/// How often each thing happened: by name (`delivered`) and label (`crm`).
pub type Counts = BTreeMap<(&'static str, String), u64>;

impl Default for Telemetry {
    fn default() -> Self {
        Self { watchers: broadcast::Sender::new(BACKLOG), counts: Arc::default() }
    }
}

impl Telemetry {
    /// Counts, logs and shows a signal.
    pub fn emit(&self, signal: Signal) {
        let so_far = signal.count().map_or(0, |key| {
            let mut counts = self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let count = counts.entry(key).or_default();
            *count += 1;
            *count
        });
        signal.log(so_far);
        // Nobody watching is not an error.
        let _ = self.watchers.send(Arc::new(signal));
    }

    /// All signals from here on.
    pub fn watch(&self) -> broadcast::Receiver<Arc<Signal>> {
        self.watchers.subscribe()
    }

    /// How often each thing has happened so far.
    pub fn counts(&self) -> Counts {
        self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}
