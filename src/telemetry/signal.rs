//! Signals: everything that callwatch tells about itself.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    batch::BatchKey,
    call::CallId,
    event::EventId,
    kind::Kinds,
    name::Name,
    store::{DeliveryId, Duty, Verdict},
    summary::Reason,
    time::Timestamp,
};

/// Something that callwatch did, or that happened to it.
#[derive(Clone, Debug)]
pub enum Signal {
    /// The first walk over a source's list has moved on.
    BaselineProgress {
        /// The source.
        source: Name,
        /// Calls remembered so far.
        found: u64,
        /// Calls in the list, as the API counts them.
        total: Option<u64>,
    },
    /// The first walk over a source's list is complete.
    BaselineDone {
        /// The source.
        source: Name,
        /// Calls remembered.
        calls: u64,
        /// Events made meanwhile. Without `notify_since`, only rules with `for` and incidents of the source itself make
        /// any.
        events: u64,
    },
    /// A request was answered.
    Fetched {
        /// The source.
        source: Name,
        /// Calls in the answer.
        calls: usize,
        /// Calls among them that were seen for the first time.
        new: usize,
        /// Calls among them that have changed.
        changed: usize,
        /// Time for the request, the comparison and the commit.
        took: Duration,
    },
    /// A request failed.
    FetchFailed {
        /// The source.
        source: Name,
        /// The error, in words a person can act on.
        error: String,
        /// Whether the key was refused, which only a person can change.
        refused: bool,
        /// Failures in a row, this one included.
        failures: u32,
    },
    /// A source has been in trouble for `failing_after`, which the rules are told as well.
    SourceFailing {
        /// The source.
        source: Name,
        /// How long it has been so.
        lasting: Duration,
        /// The latest error, in words a person can act on.
        error: String,
    },
    /// A source answers again.
    SourceRecovered {
        /// The source.
        source: Name,
        /// Failures in a row before that.
        failures: u32,
        /// The time since the first of them.
        lasting: Duration,
    },
    /// A source answers, but not as it should, and nothing is concluded from what is odd about it.
    SourceTroubled {
        /// The source.
        source: Name,
        /// The oddity, and how callwatch deals with it.
        why: String,
    },
    /// Records of an answer are malformed.
    BadRecord {
        /// The source.
        source: Name,
        /// The mistakes in the records, and how they were dealt with.
        why: String,
        /// How many.
        count: u64,
        /// Whether the same has been told lately.
        again: bool,
    },
    /// Records of an answer are older than what is known of their calls, and were ignored.
    Stale {
        /// The source.
        source: Name,
        /// How many.
        count: u64,
    },
    /// A person had calls forgotten.
    Forgot {
        /// A line for the log: whose calls, without the phone number, and how much was forgotten.
        text: String,
    },
    /// Something about a source that is worth one line.
    SourceNotice {
        /// The source.
        source: Name,
        /// The line.
        text: String,
    },
    /// A call changed.
    Changed {
        /// The source.
        source: Name,
        /// The call.
        call: CallId,
        /// The kinds of change.
        kinds: Kinds,
        /// The caller's number, masked.
        caller: String,
        /// Whether the call was not known before.
        first_seen: bool,
        /// The analysis, when it is the first one of the call.
        analysis: Option<Analysis>,
    },
    /// A rule fired.
    Fired {
        /// The event it made.
        event: EventId,
        /// The rule.
        rule: Name,
        /// The source; `None` for an event that is about none.
        source: Option<Name>,
        /// The call; `None` for an event that is about none.
        call: Option<CallId>,
        /// The kinds of change it fired on.
        kinds: Kinds,
        /// The destinations that are told of it, by this event or by one that tells several rules.
        destinations: Vec<Name>,
        /// Why it waits, for each of the destinations that is not told at once.
        waits: Vec<Reason>,
    },
    /// Several rules fired on one observation, and these destinations are told of them in one message.
    Joined {
        /// The event that tells them.
        event: EventId,
        /// The rules, the one that matters most first.
        rules: Vec<Name>,
        /// The source; `None` when it is about none.
        source: Option<Name>,
        /// The call; `None` when it is about none.
        call: Option<CallId>,
        /// The destinations.
        destinations: Vec<Name>,
    },
    /// A rule matched, but what happened is older than its `max_age`.
    TooOld {
        /// The rule.
        rule: Name,
        /// The call.
        call: CallId,
    },
    /// A rule's condition was neither true nor false: a field it needs is missing or null.
    Unknown {
        /// The rule.
        rule: Name,
        /// The path of the first field that is missing or null, as the condition writes it.
        missing: Option<String>,
    },
    /// A rule looked at a change and did not fire, and nothing was wrong.
    NotFired {
        /// The rule.
        rule: Name,
        /// Why it did not.
        why: NotFired,
    },
    /// A rule's condition could not be evaluated.
    RuleFailed {
        /// The rule.
        rule: Name,
        /// The error, without anything of the call.
        error: String,
    },
    /// A rule's own title, body or advice could not be rendered, so the default was sent.
    TextFailed {
        /// The rule.
        rule: Name,
        /// `title`, `body` or `advice`.
        part: &'static str,
        /// The error, without anything of the call.
        error: String,
    },
    /// A delivery waits to be sent with others.
    Held {
        /// The delivery.
        delivery: DeliveryId,
        /// The batch it waits in.
        batch: BatchKey,
    },
    /// Events that waited in a batch are sent as one.
    Summarized {
        /// The event that lists them.
        event: EventId,
        /// The destination.
        destination: Name,
        /// The reason for which they waited.
        reason: Reason,
        /// How many events there are.
        count: u64,
    },
    /// A delivery was tried, and the outcome is in the store.
    Attempted {
        /// The delivery.
        delivery: DeliveryId,
        /// The call; `None` for an event that is about none.
        call: Option<CallId>,
        /// The rule of the event.
        rule: Name,
        /// The caller's number, masked; empty when the event is not about a call or the number is withheld.
        caller: String,
        /// The number of the attempt, from 1.
        attempt: u32,
        /// The result, in one line.
        result: String,
        /// Time the attempt took.
        took: Duration,
        /// The decision that follows.
        verdict: Verdict,
        /// When the delivery was made.
        created: Timestamp,
        /// For a delivery that arrived, the call's `updatedAt`; `None` when it is not known, or when a person had the
        /// event sent again.
        updated: Option<Timestamp>,
    },
    /// The breaker of a destination has opened: too many attempts in a row failed.
    DestinationFailing {
        /// The destination.
        destination: Name,
        /// Time until the next attempt.
        pause: Duration,
        /// Failed attempts in a row.
        failures: u32,
        /// The result of the last one.
        last: String,
    },
    /// Nothing is sent to a destination because its receiver or a person asked for that.
    DestinationPaused {
        /// The destination.
        destination: Name,
        /// Time until the pause ends by itself; `None` until a person resumes it.
        pause: Option<Duration>,
        /// The reason for the pause.
        why: String,
    },
    /// A destination that was failing or paused takes deliveries again.
    DestinationResumed {
        /// The destination.
        destination: Name,
    },
    /// Another process has taken over a duty that this one did not give back: it was silent for longer than its lease.
    TakenOver {
        /// The duty.
        duty: Duty,
    },
    /// A store that was reported as unusable can be used again.
    StoreBack,
    /// The store could not do something that callwatch asked of it.
    StoreFailed {
        /// The operation that failed (`settling deliveries`).
        doing: &'static str,
        /// The error, in words a person can act on.
        error: String,
    },
    /// Something that the store did, or that happened to it, by itself.
    Store(StoreSignal),
    /// The process has begun its work.
    Started {
        /// callwatch's version.
        version: &'static str,
        /// The store's folder.
        store: PathBuf,
    },
    /// Another config is at work, or the first one.
    ConfigApplied {
        /// Sources it has.
        sources: usize,
        /// Destinations it has.
        destinations: usize,
        /// Rules it has.
        rules: usize,
        /// Sources and destinations that were started, restarted ones included.
        started: Vec<Name>,
        /// Sources and destinations that were stopped for good.
        stopped: Vec<Name>,
    },
    /// A config could not be put to work; the one before goes on.
    ConfigRejected {
        /// The error, in words a person can act on.
        error: String,
        /// The mistakes in the file, one line each; empty when the file is not what is wrong.
        mistakes: Vec<String>,
    },
    /// A config that is about to be put to work may not do what was meant.
    ConfigDoubtful {
        /// The doubts, one line each.
        doubts: Vec<String>,
    },
    /// The config file began to differ from the config at work, or to agree with it again, without being put to work.
    ConfigOnDisk {
        /// Whether it says something else.
        differs: bool,
    },
    /// The server listens.
    Listening {
        /// Where.
        address: SocketAddr,
    },
    /// Deliveries wait for a destination that the config does not have.
    Stranded {
        /// The destination.
        destination: Name,
        /// Deliveries that wait.
        waiting: u64,
    },
    /// The process was asked to stop.
    Stopping {
        /// The system's signal (`SIGTERM`).
        signal: &'static str,
        /// Whether it was asked before, so that it ends at once.
        again: bool,
    },
    /// The process has stopped in good order.
    Stopped(Totals),
    /// The heartbeat's receiver was told that all is well.
    HeartbeatSent {
        /// Whether none was sent for a while before it, or the one before failed.
        resumed: bool,
    },
    /// The heartbeat's receiver could not be told.
    HeartbeatFailed {
        /// The error, without the address.
        error: String,
        /// Whether the one before failed as well.
        again: bool,
    },
    /// No heartbeat is sent, because something is wrong.
    HeartbeatWithheld {
        /// The fault in words.
        why: String,
    },
    /// Something around the process is not as it should be, and the work goes on without it.
    Hindrance {
        /// The hindrance, and what follows from it.
        text: String,
    },
}

/// Why a rule that looked at a change did not fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFired {
    /// Its condition is false.
    False,
    /// Its condition was true before, or it has fired for the call and fires once.
    Already,
    /// Its condition has not been true for long enough.
    Waiting,
    /// Nothing that its destinations are told has changed.
    NoDifference,
}

/// Something that the store did, or that happened to it, by itself.
#[derive(Clone, Debug)]
pub enum StoreSignal {
    /// Something was found, or mended, when the store was opened.
    Found {
        /// Its folder.
        path: PathBuf,
        /// The finding, and what follows from it.
        finding: String,
    },
    /// A backup was written.
    BackedUp {
        /// The file.
        file: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// A backup could not be written; the next one will be tried.
    BackupFailed {
        /// The error, in words a person can act on.
        error: String,
    },
    /// The store has stopped working and refuses everything from now on.
    Broken {
        /// The error, in words a person can act on.
        error: String,
    },
}

/// Counts of the work done since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests to the API.
    pub requests: u64,
    /// Changes of calls.
    pub changes: u64,
    /// Events made.
    pub events: u64,
    /// Deliveries that arrived.
    pub delivered: u64,
    /// Deliveries given up.
    pub dead: u64,
}

/// The part of a call's analysis that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Analysis {
    /// How the caller felt.
    pub sentiment: Sentiment,
    /// Whether an appointment was booked.
    pub booked: bool,
}

/// How a caller felt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sentiment {
    /// `positive`
    Positive,
    /// `neutral`
    Neutral,
    /// `negative`
    Negative,
    /// Another word, or none.
    Other,
}

impl Sentiment {
    /// Reads the API's word.
    pub fn of(word: Option<&str>) -> Self {
        match word.map(|word| word.trim().to_ascii_lowercase()).as_deref() {
            Some("positive") => Self::Positive,
            Some("neutral") => Self::Neutral,
            Some("negative") => Self::Negative,
            _ => Self::Other,
        }
    }
}
