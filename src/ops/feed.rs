//! The latest events, newest first.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Delivery, Filter, Ops, OpsError,
    scan::{Scan, of_events},
    text,
};
use crate::{
    call::CallId,
    change::Changes,
    event::{Event, EventId},
    json::{self, Budget},
    kind::Kinds,
    name::Name,
    privacy::mask_phones_in,
    store::Cursor,
    template::truncate,
    time::Timestamp,
};

/// The number of events among which the budget for showing changes is divided, so that long changes stay bounded.
const MOST_TOLD: usize = 50;

/// How many deliveries are read for each event of a page, on average. A page whose events have more of them ends early.
const DELIVERIES_PER_EVENT: usize = 5;

/// The most of a summary that is told, in characters, and that is looked at for it.
const SUMMARY: usize = 160;
const SUMMARY_READ: usize = 4096;

/// An event, and how its deliveries stand.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Happening {
    /// The event.
    pub event: EventId,
    /// When it was observed.
    #[serde(with = "text::time")]
    pub at: Timestamp,
    /// Its type: `call.ended`, `source.failing`, `summary`.
    #[serde(rename = "type")]
    pub what: String,
    /// The kinds of change.
    pub kinds: Kinds,
    /// The fields of the call that differ from before, each with both values, as an excerpt when they are long.
    #[schema(value_type = Object)]
    pub changes: Changes,
    /// The rules that it tells, the one that matters most first.
    pub rules: Vec<Name>,
    /// The source that it is about, directly or through a call.
    pub source: Option<Name>,
    /// The call that it is about.
    pub call: Option<CallId>,
    /// The caller's number, masked; empty when there is none.
    pub caller: String,
    /// The beginning of the call's summary, with phone numbers masked.
    pub summary: Option<String>,
    /// Its deliveries, in the order in which they were made.
    pub deliveries: Vec<Delivery>,
}

/// A page of events, newest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Happenings {
    /// The events.
    pub events: Vec<Happening>,
    /// Where the next page begins; `None` when this was the last.
    #[serde(with = "text::text_if_any")]
    pub next: Option<Cursor>,
}

impl Ops {
    /// One page of the events of deliveries that match, newest first. An event that was sent again much later stands where it
    /// was last told, and once more where it was told before when that is on another page.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn latest(
        &self,
        filter: &Filter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Happenings, OpsError> {
        let destinations = self.destinations_for(filter).await?;
        let most = limit.saturating_mul(DELIVERIES_PER_EVENT);
        let mut scan = Scan::new(&*self.store, filter, after, most, destinations.now);
        let (mut events, mut end): (Vec<(EventId, Vec<_>)>, _) = (vec![], None);
        let mut has_more = false;
        for _ in 0..=most {
            let Some(record) = scan.next().await? else {
                has_more = false;
                break;
            };
            has_more = true;
            let cursor = record.cursor();
            match events.iter().position(|(event, _)| *event == record.id.event) {
                Some(at) => events[at].1.push(record),
                None if events.len() < limit => events.push((record.id.event.clone(), vec![record])),
                None => break,
            }
            end = Some(cursor);
        }
        if events.is_empty() {
            self.check_names(filter).await?;
        }
        let newest: Vec<_> = events.iter().filter_map(|(_, records)| records.first().cloned()).collect();
        let happenings = of_events(&*self.store, &newest, |event| Happening::of(event, vec![])).await?;
        // A delivery that was dropped meanwhile has no event any more.
        let found =
            events.into_iter().zip(happenings).filter_map(|((_, records), found)| Some((records, found?)));
        let latest = found.map(|(mut records, happening)| {
            records.reverse();
            let deliveries = records.into_iter().map(|record| destinations.tell(record, false)).collect();
            Happening { deliveries, ..happening }
        });
        Ok(Happenings { events: latest.collect(), next: end.filter(|_| has_more) })
    }
}

impl Happening {
    fn of(event: &Event, deliveries: Vec<Delivery>) -> Self {
        let is_of_call = event.subject.call().is_some();
        let summary = json::pick(event.record.get(), ["summary"]).and_then(|[summary]| summary);
        let summary = summary.and_then(|raw| serde_json::from_str::<Option<String>>(raw).ok().flatten());
        let summary = summary.filter(|summary| is_of_call && !summary.trim().is_empty());
        Self {
            event: event.id.clone(),
            at: event.at,
            what: event.type_name(),
            kinds: event.kinds,
            changes: Changes(json::excerpt_of_fields(&event.changes.0, &mut Budget::share(MOST_TOLD))),
            rules: event.rules().cloned().collect(),
            source: event.subject.source().cloned(),
            call: event.subject.call().cloned(),
            caller: event.masked_caller(),
            // Masked first: what is cut in the middle of a number would not be known for one.
            summary: summary
                .map(|summary| truncate(&mask_phones_in(&truncate(&summary, SUMMARY_READ)), SUMMARY)),
            deliveries,
        }
    }
}

/// The summary is left out: a log must not have it.
impl fmt::Debug for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event, at, what, rules, deliveries, .. } = self;
        f.debug_struct("Happening")
            .field("event", event)
            .field("at", at)
            .field("what", what)
            .field("rules", rules)
            .field("deliveries", deliveries)
            .finish_non_exhaustive()
    }
}
