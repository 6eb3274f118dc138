//! Finding calls by what people know of them.

use std::{cmp::Reverse, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use super::{KnownOfCall, Ops, OpsError, number::Number, scan::FEW, text};
use crate::{
    call::CallId,
    json::{self, Budget},
    kind::Kind,
    name::Name,
    snapshot::Snapshot,
    store::KnownCall,
    time::Timestamp,
};

/// Known calls that are read at a time.
const PAGE: usize = 500;

/// The most calls that are put in order for one page of results; a cursor leads to the next as many. It bounds the memory of
/// a search.
const MOST_SORTED: usize = 100_000;

/// The time after which a search ends with what it has found, once the calls are in order.
const PATIENCE: Duration = Duration::from_millis(1500);

/// The fewest digits that a phone number is looked for by.
const FEWEST_DIGITS: usize = 4;

/// The fields that hold phone numbers.
const NUMBERS: [&str; 2] = ["callerNumber", "calledNumber"];

/// The number of calls among which the budget for showing fields is divided, so that long fields stay bounded.
const MOST_TOLD: usize = 50;

/// Which known calls are meant; every part that is given must match.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CallFilter {
    /// Only calls with this text in their id, their summary or their phone numbers. Numbers are compared by their digits, so
    /// `06 12 34` finds `+3361234…`. The whole id of a call finds that call alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Only calls of this source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Name>,
    /// Only calls with this status, as the API words it: `live`, `completed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Only calls that have been through a change of this kind.
    #[param(value_type = Option<Kind>)]
    #[serde(skip_serializing_if = "Option::is_none", with = "text::kind")]
    pub kind: Option<Kind>,
    /// Only calls that began longer ago than this: `1h`.
    #[param(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none", with = "text::duration")]
    pub older_than: Option<Duration>,
    /// Only calls that began no longer ago than this: `7d`.
    #[param(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none", with = "text::duration")]
    pub newer_than: Option<Duration>,
}

/// The text may be a phone number, which must not reach a log.
impl fmt::Debug for CallFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text: _, source, status, kind, older_than, newer_than } = self;
        f.debug_struct("CallFilter")
            .field("source", source)
            .field("status", status)
            .field("kind", kind)
            .field("older_than", older_than)
            .field("newer_than", newer_than)
            .finish_non_exhaustive()
    }
}

/// One page of the calls that were found.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FoundCalls {
    /// The calls, newest first.
    pub calls: Vec<FoundCall>,
    /// How many known calls were opened for it, the newest.
    pub looked_at: u64,
    /// Where the search goes on; `None` when it is at its end. A search that takes long ends early, so even a page without
    /// calls may have it.
    #[serde(with = "text::text_if_any")]
    pub next: Option<CallCursor>,
}

/// A call that was found.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct FoundCall {
    /// Its source.
    pub source: Name,
    /// Its id.
    pub call: CallId,
    /// When it began, as the API says.
    #[serde(with = "text::time_if_any")]
    pub created: Option<Timestamp>,
    /// The call as it is remembered, long fields cut short.
    pub known: KnownOfCall,
}

/// It holds phone numbers and summaries, which must not reach a log.
impl fmt::Debug for FoundCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FoundCall")
            .field("source", &self.source)
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}

/// The place of a call among all of them, newest first. Opaque; it stays valid when it is printed and read again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallCursor {
    /// Calls that have no time come last.
    created: Reverse<Option<Timestamp>>,
    source: Name,
    call: CallId,
}

impl fmt::Display for CallCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { created: Reverse(created), source, call } = self;
        match created {
            Some(at) => write!(f, "{}/{source}/{call}", at.as_millis()),
            None => write!(f, "/{source}/{call}"),
        }
    }
}

/// The text is no place in a list of calls.
#[derive(Debug, thiserror::Error)]
#[error("this is not the `next` of a page of calls")]
pub struct NoCursor;

impl FromStr for CallCursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let mut parts = text.splitn(3, '/');
        let mut part = || parts.next().ok_or(NoCursor);
        let created = match part()? {
            "" => None,
            millis => Some(Timestamp::from_millis(millis.parse().map_err(|_| NoCursor)?)),
        };
        let (source, call) = (Name::from(part()?), CallId::checked(part()?).map_err(|_| NoCursor)?);
        Ok(Self { created: Reverse(created), source, call })
    }
}

impl CallFilter {
    /// Whether a call matches the parts that are known of it without opening it.
    fn is_of(&self, call: &KnownCall, now: Timestamp) -> bool {
        let age = || call.created_at.map(|created| now.since(created));
        self.status.as_ref().is_none_or(|status| status.trim().eq_ignore_ascii_case(call.status.as_str()))
            && self.older_than.is_none_or(|limit| age().is_some_and(|age| age > limit))
            && self.newer_than.is_none_or(|limit| age().is_some_and(|age| age <= limit))
    }
}

impl Ops {
    /// The known calls that match, newest first. Ends after a moment with what it has found by then.
    ///
    /// # Errors
    /// [`OpsError::NoSource`] when the config has no such source.
    pub async fn find_calls(
        &self,
        filter: &CallFilter,
        after: Option<CallCursor>,
        limit: usize,
    ) -> Result<FoundCalls, OpsError> {
        let all: Vec<_> = self.config.sources.iter().map(|source| source.name.clone()).collect();
        if let Some(name) = filter.source.as_ref().filter(|name| !all.contains(name)) {
            return Err(OpsError::NoSource { name: name.clone(), known: all });
        }
        let is_meant = |name: &Name| filter.source.as_ref().is_none_or(|source| source == name);
        let sources: Vec<_> = all.into_iter().filter(is_meant).collect();
        let wanted = filter.text.as_deref().and_then(Wanted::of);
        let by_id = self.by_id(&sources, filter, wanted.as_ref()).await?;
        if !by_id.is_empty() {
            return Ok(FoundCalls { looked_at: by_id.len() as u64, calls: by_id, next: None });
        }
        let places = self.newest(&sources, filter, after).await?;
        let ends = Instant::now() + PATIENCE;
        let matches = |place: &CallCursor, snapshot: &Snapshot| {
            filter.kind.is_none_or(|kind| snapshot.kinds_seen.contains(kind))
                && wanted.as_ref().is_none_or(|wanted| wanted.is_in(&place.call, &snapshot.fields))
        };
        let (mut calls, mut looked_at) = (vec![], 0);
        // Few are in memory at a time: each may be as long as `max_record`.
        let in_reach = &places[..places.len().min(MOST_SORTED)];
        'search: for places in in_reach.chunk_by(|a, b| a.source == b.source).flat_map(|of| of.chunks(FEW)) {
            let Some(first) = places.first() else { break };
            let ids: Vec<_> = places.iter().map(|place| place.call.clone()).collect();
            let snapshots = self.store.snapshots(&first.source, &ids).await?;
            for (place, snapshot) in places.iter().zip(snapshots) {
                looked_at += 1;
                // It can have been forgotten meanwhile.
                if let Some(snapshot) = snapshot.filter(|snapshot| matches(place, snapshot)) {
                    calls.push(FoundCall::of(place, &snapshot));
                }
                if calls.len() == limit {
                    break 'search;
                }
            }
            if Instant::now() >= ends {
                break;
            }
        }
        let next = in_reach[..looked_at].last().filter(|_| looked_at < places.len()).cloned();
        Ok(FoundCalls { calls, looked_at: looked_at as u64, next })
    }

    /// The calls with the whole id that is looked for, looked up without reading others.
    async fn by_id(
        &self,
        sources: &[Name],
        filter: &CallFilter,
        wanted: Option<&Wanted>,
    ) -> Result<Vec<FoundCall>, OpsError> {
        let mut found = vec![];
        let Some(id) = wanted.and_then(|wanted| CallId::checked(&wanted.text).ok()) else { return Ok(found) };
        let now = self.clock.wall();
        for source in sources {
            let snapshots = self.store.snapshots(source, std::slice::from_ref(&id)).await?;
            for snapshot in snapshots.into_iter().flatten() {
                let known = KnownCall::of(id.clone(), &snapshot);
                let is_of_kind = filter.kind.is_none_or(|kind| snapshot.kinds_seen.contains(kind));
                if is_of_kind && filter.is_of(&known, now) {
                    found.push(FoundCall::of(&CallCursor::of(source, &known), &snapshot));
                }
            }
        }
        Ok(found)
    }

    /// The places of the newest calls behind `after` that may match, newest first.
    async fn newest(
        &self,
        sources: &[Name],
        filter: &CallFilter,
        after: Option<CallCursor>,
    ) -> Result<Vec<CallCursor>, OpsError> {
        let now = self.clock.wall();
        let mut places: Vec<CallCursor> = vec![];
        for source in sources {
            let mut last = None;
            loop {
                let known = self.store.known(source, last.as_ref(), PAGE).await?;
                let Some(end) = known.last() else { break };
                last = Some(end.id.clone());
                let known = known.iter().filter(|call| filter.is_of(call, now));
                let known = known.map(|call| CallCursor::of(source, call));
                places.extend(known.filter(|place| after.as_ref().is_none_or(|after| place > after)));
                if places.len() > 2 * MOST_SORTED {
                    // Keep one more than is searched, which shows that the search is not at its end.
                    places.select_nth_unstable(MOST_SORTED);
                    places.truncate(MOST_SORTED + 1);
                }
            }
        }
        places.sort_unstable();
        places.truncate(MOST_SORTED + 1);
        Ok(places)
    }

    /// The transcript of a call, from its latest event: role and text of each turn. `None` when no event of it is kept.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn transcript(
        &self,
        source: &Name,
        call: &CallId,
    ) -> Result<Option<Vec<(String, String)>>, OpsError> {
        let filter = super::Filter {
            source: Some(source.clone()),
            call: Some(call.clone()),
            ..super::Filter::default()
        };
        let now = self.clock.wall();
        let Some(record) = super::Scan::new(&*self.store, &filter, None, 1, now).next().await? else {
            return Ok(None);
        };
        let Some(Some(event)) = self.store.bodies(&[record.token]).await?.into_iter().next() else {
            return Ok(None);
        };
        let raw = json::pick(event.record.get(), ["transcript"]).and_then(|[transcript]| transcript);
        let turns = raw.and_then(|raw| serde_json::from_str::<Vec<Value>>(raw).ok());
        let text =
            |turn: &Value, name: &str| turn.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(turns.map(|turns| turns.iter().map(|turn| (text(turn, "role"), text(turn, "content"))).collect()))
    }
}

impl CallCursor {
    fn of(source: &Name, call: &KnownCall) -> Self {
        Self { created: Reverse(call.created_at), source: source.clone(), call: call.id.clone() }
    }
}

impl FoundCall {
    fn of(place: &CallCursor, snapshot: &Snapshot) -> Self {
        let CallCursor { created: Reverse(created), source, call } = place.clone();
        let known = KnownOfCall::of(snapshot);
        let fields = json::excerpt_of_fields(&known.fields, &mut Budget::share(MOST_TOLD));
        Self { source, call, created, known: KnownOfCall { fields, ..known } }
    }
}

/// The text of a search.
struct Wanted {
    text: String,
    small: String,
    /// The text as a phone number or a part of one, when it may be one.
    number: Option<Number>,
}

impl Wanted {
    fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        let number = Number::typed(text, FEWEST_DIGITS);
        (!text.is_empty()).then(|| Self { text: text.to_owned(), small: text.to_lowercase(), number })
    }

    fn is_in(&self, call: &CallId, fields: &Map<String, Value>) -> bool {
        let field = |name: &str| fields.get(name).and_then(Value::as_str);
        let has_number = |other: &str| self.number.as_ref().is_some_and(|number| number.is_part_of(other));
        call.as_str().to_lowercase().contains(&self.small)
            || NUMBERS.into_iter().filter_map(field).any(has_number)
            || field("summary").is_some_and(|summary| summary.to_lowercase().contains(&self.small))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_phone_number_is_found_as_people_type_it() {
        let fields =
            json!({"callerNumber": "+33612345678", "calledNumber": null, "summary": "An Invoice of 2025"});
        let fields = fields.as_object().unwrap();
        for (text, is) in [
            ("+33 6 12 34 56 78", true),
            ("06 12 34 56 78", true),
            ("0033612345678", true),
            ("5678", true),
            ("678", false),
            ("invoice", true),
            ("+33699", false),
            ("2025", true),
        ] {
            assert_eq!(Wanted::of(text).unwrap().is_in(&"call-1".into(), fields), is, "{text}");
        }
        assert!(Wanted::of("  ").is_none());
    }

    #[test]
    fn calls_stand_newest_first_and_a_cursor_reads_what_it_prints() {
        let cursor = |created: Option<i64>, call: &str| CallCursor {
            created: Reverse(created.map(Timestamp::from_millis)),
            source: "clinic".into(),
            call: call.into(),
        };
        let places = [cursor(Some(9), "b"), cursor(Some(7), "a"), cursor(Some(7), "b/c"), cursor(None, "a")];
        assert!(places.is_sorted());
        for place in places {
            assert_eq!(place.to_string().parse::<CallCursor>().unwrap(), place);
        }
        for wrong in ["", "7", "7/clinic", "x/clinic/a", "7/clinic/\u{1}"] {
            assert!(wrong.parse::<CallCursor>().is_err(), "{wrong:?}");
        }
    }
}
