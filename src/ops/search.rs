//! Finding calls by what people know of them.

use std::{fmt, time::Duration};

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{KnownOfCall, Ops, OpsError, number::Number, scan::FEW};
use crate::{call::CallId, json, name::Name, store::KnownCall, time::Timestamp};

/// Known calls that are read at a time.
const PAGE: usize = 500;

/// The time after which a search ends with what it has found.
const PATIENCE: Duration = Duration::from_millis(1500);

/// The fewest digits that a phone number is looked for by.
const FEWEST_DIGITS: usize = 4;

/// The fields that hold phone numbers.
const NUMBERS: [&str; 2] = ["callerNumber", "calledNumber"];

/// The calls that were found.
#[derive(Clone, Debug)]
pub struct FoundCalls {
    /// The newest of them, newest first.
    pub calls: Vec<FoundCall>,
    /// How many known calls were looked at.
    pub looked_at: u64,
    /// Whether those were all there are.
    pub is_all: bool,
}

/// A call that was found.
#[derive(Clone)]
pub struct FoundCall {
    /// Its source.
    pub source: Name,
    /// Its id.
    pub call: CallId,
    /// When it began, as the API says.
    pub created: Option<Timestamp>,
    /// The part of its snapshot that a list shows.
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

impl Ops {
    /// The newest known calls whose id or phone numbers have this text in them, or whose summary has; without a text, all.
    /// Phone numbers are compared by their digits, so `06 12 34` finds `+3361234…`. Ends after a moment with what it has
    /// found by then.
    ///
    /// # Errors
    /// [`OpsError::NoSource`] when the config has no such source.
    pub async fn find_calls(
        &self,
        text: &str,
        source: Option<&Name>,
        limit: usize,
    ) -> Result<FoundCalls, OpsError> {
        let sources: Vec<_> = self.config.sources.iter().map(|source| source.name.clone()).collect();
        if let Some(name) = source.filter(|name| !sources.contains(name)) {
            return Err(OpsError::NoSource { name: name.clone(), known: sources });
        }
        let wanted = Wanted::of(text);
        let ends = Instant::now() + PATIENCE;
        let (mut newest, mut looked_at, mut is_all) = (Newest::of(limit), 0, true);
        for name in sources.into_iter().filter(|name| source.is_none_or(|source| source == name)) {
            // A whole id is looked up at once, without reading the other calls.
            if let Some(id) = wanted.as_ref().and_then(|wanted| CallId::checked(&wanted.text).ok())
                && let Some(Some(snapshot)) =
                    self.store.snapshots(&name, std::slice::from_ref(&id)).await?.into_iter().next()
            {
                newest.add(name.clone(), KnownCall::of(id, &snapshot));
            }
            let mut after = None;
            loop {
                if Instant::now() >= ends {
                    is_all = false;
                    break;
                }
                let known = self.store.known(&name, after.as_ref(), PAGE).await?;
                let Some(last) = known.last() else { break };
                after = Some(last.id.clone());
                looked_at += known.len() as u64;
                for call in self.matching(&name, known, wanted.as_ref()).await? {
                    newest.add(name.clone(), call);
                }
            }
        }
        let mut calls = vec![];
        for (source, call) in newest.calls {
            let snapshots = self.store.snapshots(&source, std::slice::from_ref(&call.id)).await?;
            // It can have been forgotten meanwhile.
            let Some(snapshot) = snapshots.into_iter().flatten().next() else { continue };
            let (created, known) = (call.created_at, KnownOfCall::of(&snapshot));
            calls.push(FoundCall { source, call: call.id, created, known });
        }
        Ok(FoundCalls { calls, looked_at, is_all })
    }

    async fn matching(
        &self,
        source: &Name,
        known: Vec<KnownCall>,
        wanted: Option<&Wanted>,
    ) -> Result<Vec<KnownCall>, OpsError> {
        let Some(wanted) = wanted else { return Ok(known) };
        let matches = |call: &KnownCall, fields: &Map<String, Value>| {
            call.id.as_str().to_lowercase().contains(&wanted.text.to_lowercase()) || wanted.is_in(fields)
        };
        let mut matching = vec![];
        for known in known.chunks(FEW) {
            let ids: Vec<_> = known.iter().map(|call| call.id.clone()).collect();
            let snapshots = self.store.snapshots(source, &ids).await?;
            let found = known.iter().zip(&snapshots);
            let found = found.filter(|(call, snapshot)| {
                snapshot.as_ref().is_some_and(|snapshot| matches(call, &snapshot.fields))
            });
            matching.extend(found.map(|(call, _)| call.clone()));
        }
        Ok(matching)
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

/// The text of a search.
struct Wanted {
    text: String,
    /// The text as a phone number or a part of one, when it may be one.
    number: Option<Number>,
}

impl Wanted {
    fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self { text: text.to_owned(), number: Number::typed(text, FEWEST_DIGITS) })
    }

    fn is_in(&self, fields: &Map<String, Value>) -> bool {
        let field = |name: &str| fields.get(name).and_then(Value::as_str);
        let has_number = |other: &str| self.number.as_ref().is_some_and(|number| number.is_part_of(other));
        NUMBERS.into_iter().filter_map(field).any(has_number)
            || field("summary")
                .is_some_and(|summary| summary.to_lowercase().contains(&self.text.to_lowercase()))
    }
}

/// The newest of many calls.
struct Newest {
    limit: usize,
    calls: Vec<(Name, KnownCall)>,
}

impl Newest {
    fn of(limit: usize) -> Self {
        Self { limit, calls: vec![] }
    }

    fn add(&mut self, source: Name, call: KnownCall) {
        let age = |call: &KnownCall| std::cmp::Reverse(call.created_at);
        let place = self.calls.partition_point(|(_, other)| age(other) <= age(&call));
        let is_there = self.calls.iter().any(|(name, other)| *name == source && other.id == call.id);
        if place < self.limit && !is_there {
            self.calls.insert(place, (source, call));
            self.calls.truncate(self.limit);
        }
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
            assert_eq!(Wanted::of(text).unwrap().is_in(fields), is, "{text}");
        }
        assert!(Wanted::of("  ").is_none());
    }
}
