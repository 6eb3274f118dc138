//! A walk over the deliveries that match a filter.

use std::collections::VecDeque;

use super::Filter;
use crate::{
    event::Event,
    store::{Cursor, DeliveryRecord, Page, Query, Store, StoreError},
    time::Timestamp,
};

/// How many deliveries are read, or changed, at a time.
pub(super) const PAGE: usize = 500;
/// How many deliveries are read at a time when their events are looked at, too.
const PAGE_WITH_EVENTS: usize = 50;
/// How many deliveries are read at a time when those that failed with a text are meant and all of them are wanted: the store
/// looks at thousands of failures together, and would look at them again for each page.
pub(super) const WIDE_PAGE: usize = 4096;

/// The deliveries that match a filter, newest first. Those made while the walk goes on are left out.
pub(super) struct Scan<'a> {
    store: &'a dyn Store,
    filter: &'a Filter,
    now: Timestamp,
    /// One for each state that is asked for, because the store finds by one state at a time.
    streams: Vec<Stream>,
}

/// The answers to one query, page by page.
struct Stream {
    query: Query,
    /// Deliveries that were read and not taken yet; all of them match.
    page: VecDeque<DeliveryRecord>,
    has_more: bool,
}

impl<'a> Scan<'a> {
    /// Begins after the delivery at which the last page ended, or with the newest. Reads about `limit` at a time.
    pub(super) fn new(
        store: &'a dyn Store,
        filter: &'a Filter,
        after: Option<Cursor>,
        limit: usize,
        now: Timestamp,
    ) -> Self {
        let most = match (filter.kind, &filter.error) {
            (Some(_), _) => PAGE_WITH_EVENTS,
            (None, Some(_)) => WIDE_PAGE,
            (None, None) => PAGE,
        };
        let limit = limit.saturating_add(1).min(most);
        let stream =
            |filter| Stream { query: Query { filter, after, limit }, page: VecDeque::new(), has_more: true };
        Self { store, filter, now, streams: filter.indexed().into_iter().map(stream).collect() }
    }

    /// The next delivery; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<DeliveryRecord>, StoreError> {
        for stream in &mut self.streams {
            while stream.page.is_empty() && stream.has_more {
                stream.page = read(self.store, stream, self.filter, self.now).await?;
            }
        }
        let newest =
            self.streams.iter_mut().max_by_key(|stream| stream.page.front().map(|record| record.token));
        Ok(newest.and_then(|stream| stream.page.pop_front()))
    }

    /// The next deliveries, at most `limit`.
    pub(super) async fn take(&mut self, limit: usize) -> Result<Vec<DeliveryRecord>, StoreError> {
        let mut taken = vec![];
        while taken.len() < limit
            && let Some(record) = self.next().await?
        {
            taken.push(record);
        }
        Ok(taken)
    }
}

/// Reads the stream's next page; returns the deliveries in it that match.
async fn read(
    store: &dyn Store,
    stream: &mut Stream,
    filter: &Filter,
    now: Timestamp,
) -> Result<VecDeque<DeliveryRecord>, StoreError> {
    let Page { mut items, next } = store.query(&stream.query).await?;
    stream.has_more = next.is_some();
    stream.query.after = next;
    items.retain(|record| filter.matches(record, now));
    let Some(kind) = filter.kind else { return Ok(items.into()) };
    let is_of_kind = of_events(store, &items, |event| event.kinds.contains(kind)).await?;
    Ok(items
        .into_iter()
        .zip(is_of_kind)
        .filter_map(|(record, is_of_kind)| (is_of_kind == Some(true)).then_some(record))
        .collect())
}

/// How many events, or snapshots of calls, are read at a time. Each may be as long as `max_record` and more.
pub(super) const FEW: usize = 8;

/// What `look` sees in the event of each delivery, in their order; `None` of one that was dropped meanwhile. No more than
/// [`FEW`] events are in memory at a time.
pub(super) async fn of_events<T>(
    store: &dyn Store,
    records: &[DeliveryRecord],
    look: impl Fn(&Event) -> T,
) -> Result<Vec<Option<T>>, StoreError> {
    let mut seen = Vec::with_capacity(records.len());
    for records in records.chunks(FEW) {
        let tokens: Vec<_> = records.iter().map(|record| record.token).collect();
        let events = store.bodies(&tokens).await?;
        seen.extend(events.iter().map(|event| event.as_deref().map(&look)));
    }
    Ok(seen)
}
