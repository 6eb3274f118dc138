//! Reads the list of a source as far as needed.

use std::{collections::HashMap, time::Duration};

use serde_json::value::RawValue;
use tokio::time::sleep_until;

use crate::{
    call::{Call, CallId, RecordHash},
    callem::{
        Client, FetchError, Page, Response,
        budget::{Budget, Grant, Priority},
    },
    config::SourceConfig,
    name::Name,
    time::{Clock, Timestamp},
};

/// The waits before a request is made again after a passing failure.
const WAITS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(60)];

/// The calls read from a source.
pub(super) struct Fetched {
    pub(super) source: Name,
    /// How many records were read.
    pub(super) read: usize,
    /// How many of them are not calls, or do not say when they were.
    pub(super) left_out: usize,
    /// Whether the whole list was read, because it is not newest first.
    pub(super) whole: bool,
    /// The calls of the period, in no order.
    pub(super) calls: Vec<Found>,
}

/// A call of the period, kept raw until its turn comes.
pub(super) struct Found {
    pub(super) created: Timestamp,
    /// When it was last updated.
    pub(super) at: Timestamp,
    pub(super) raw: Box<RawValue>,
}

/// Reads every call of `config` that was created at `since` or later. Calls `progress` with the number of records read so
/// far, and the number of all records if the API says it.
///
/// # Errors
/// [`FetchError`] if a page cannot be had after a few tries.
pub(super) async fn fetch(
    config: &SourceConfig,
    client: &Client,
    budget: &mut Budget,
    clock: Clock,
    since: Timestamp,
    progress: impl Fn(u64, Option<u64>),
) -> Result<Fetched, FetchError> {
    let mut fetched =
        Fetched { source: config.name.clone(), read: 0, left_out: 0, whole: true, calls: vec![] };
    // A call whose place moves between two requests may be on two pages.
    let mut found: HashMap<CallId, Found> = HashMap::new();
    let mut order = Order::default();
    let (mut offset, mut last) = (0, None);
    loop {
        let page = page(config, client, budget, clock, offset).await?.body;
        // An API that gives the same page whatever is asked for has no more than this.
        let hashes: Vec<_> = page.records().flatten().map(|it| RecordHash::of(it.as_bytes())).collect();
        let is_the_same = !hashes.is_empty() && last.as_ref() == Some(&hashes);
        if is_the_same {
            break;
        }
        last = Some(hashes);
        for record in page.records() {
            match record.ok().and_then(read) {
                Some((id, call)) => {
                    order.next(call.created);
                    if call.created >= since {
                        found.insert(id, call);
                    }
                }
                None => fetched.left_out += 1,
            }
        }
        let received = page.len();
        offset += received as u64;
        fetched.read += received;
        progress(offset, page.total);
        if order.is_newest_first && order.last.is_some_and(|last| last < since) {
            fetched.whole = false;
            break;
        }
        // A page can be short without being the last.
        if received == 0 || page.total.is_some_and(|total| offset >= total) {
            break;
        }
    }
    fetched.calls = found.into_values().collect();
    Ok(fetched)
}

/// Fetches a page within the budget, and again after passing failures.
async fn page(
    config: &SourceConfig,
    client: &Client,
    budget: &mut Budget,
    clock: Clock,
    offset: u64,
) -> Result<Response<Page>, FetchError> {
    let mut waits = WAITS.into_iter();
    loop {
        while let Grant::At(at) = budget.request(&config.name, Priority::Sweep, clock.steady()) {
            sleep_until(clock.instant(at)).await;
        }
        let error = match client.page(offset, config.page_size).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let passes = matches!(
            error,
            FetchError::RateLimited { .. }
                | FetchError::Server { .. }
                | FetchError::Network(_)
                | FetchError::BrokenOff(_)
        );
        match waits.next().filter(|_| passes) {
            Some(wait) => {
                let wait = error.retry_after().unwrap_or(wait);
                budget.block_until(clock.steady().after(wait));
            }
            None => return Err(error),
        }
    }
}

/// Reads a record. `None` if it is not a call, or does not say when it was.
fn read(record: &str) -> Option<(CallId, Found)> {
    let raw: &RawValue = serde_json::from_str(record).ok()?;
    let call = Call::parse(raw).ok()?;
    let created = call.created_at().or(call.updated_at())?;
    let at = call.updated_at().map_or(created, |updated| updated.max(created));
    Some((call.id().clone(), Found { created, at, raw: raw.to_owned() }))
}

/// The order of the calls read so far.
struct Order {
    last: Option<Timestamp>,
    is_newest_first: bool,
}

impl Default for Order {
    fn default() -> Self {
        Self { last: None, is_newest_first: true }
    }
}

impl Order {
    fn next(&mut self, created: Timestamp) {
        self.is_newest_first &= self.last.is_none_or(|last| created <= last);
        self.last = Some(created);
    }
}
