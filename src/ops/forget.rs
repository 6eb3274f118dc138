//! Forgetting the calls of a person for good.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
};

use ring::digest;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    BulkMode, Filter, Ops, OpsError,
    explain::FEWEST_DIGITS,
    number::{Number, digits_of},
    scan::{FEW, PAGE, Scan},
    text,
};
use crate::{
    call::CallId,
    event::{Event, EventId, Subject},
    json::{Shallow, text as json_text},
    name::Name,
    privacy::hex,
    store::{Action, DeliveryRecord, Token},
    summary,
    time::Timestamp,
};

/// How many known calls are read at a time.
const CALLS: usize = 500;

/// How many backups are kept; see docs/operating.md.
const BACKUPS: u32 = 3;

/// A person whose calls are to be forgotten, or one call.
#[derive(Clone, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Whom {
    /// A caller's number, as people type it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// The API's id of a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
}

/// It holds a number, which must not reach a log.
impl fmt::Debug for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Whom").field("call", &self.call).finish_non_exhaustive()
    }
}

/// The things that were forgotten, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Erased {
    /// How many calls.
    pub calls: usize,
    /// How many deliveries told of them.
    pub deliveries: usize,
    /// How many of those had not arrived, and never will.
    pub undelivered: usize,
    /// How many messages that tell of other calls as well, and have not arrived, go out without them.
    pub shared: usize,
    /// Stands for the number in logs: the first four hexadecimal digits of the SHA-256 of its digits. One number in 65,536 has the
    /// same, so it says nothing about whose it is, and whoever knows the number finds it again.
    pub mark: Option<String>,
    /// Copies of the store that were made before.
    pub copies: Vec<OldCopy>,
}

/// A copy of the store from before the calls were forgotten, which holds them still.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OldCopy {
    /// Where it is.
    #[schema(value_type = String)]
    pub path: PathBuf,
    /// When the service has replaced it by newer ones, if it is a backup; others stay until somebody removes them.
    #[serde(with = "text::time_if_any")]
    pub until: Option<Timestamp>,
}

/// The calls that are to be forgotten, and whatever tells of them.
#[derive(Default)]
struct Found {
    calls: BTreeSet<(Name, CallId)>,
    /// The numbers that were meant, by their digits.
    numbers: BTreeSet<String>,
    /// Whether the call that was named has been forgotten before.
    was_forgotten: bool,
    tokens: Vec<Token>,
    undelivered: usize,
    /// Events that tell of others as well and have not arrived.
    shared: BTreeMap<EventId, Event>,
}

impl Ops {
    /// Forgets the calls of a number, or one call: snapshots but for what keeps them from being announced again, events,
    /// deliveries and memos. What has not arrived does not go out any more. Reads everything there is, a little at a time.
    ///
    /// # Errors
    /// [`OpsError::Refused`] when it is not clear who is meant, or nothing is known of them. After [`OpsError::Store`] a part may
    /// have been forgotten; it can be repeated.
    pub async fn forget(&self, whom: &Whom, mode: BulkMode) -> Result<Erased, OpsError> {
        let number = match (&whom.number, &whom.call) {
            (Some(typed), None) => {
                let number = Number::typed(typed, FEWEST_DIGITS);
                let why = "this is no phone number; write it as in +33612345678, or a call's id after --call";
                Some(number.ok_or_else(|| OpsError::Refused(why.to_owned()))?)
            }
            (None, Some(_)) => None,
            _ => {
                let why = "say who is meant: either a number or a call";
                return Err(OpsError::Refused(why.to_owned()));
            }
        };
        let id = whom.call.as_ref();
        let mut found = self.snapshots_of(number.as_ref(), id).await?;
        // Calls may be known from events alone. Each call that is found there may have more events, so search until none is new.
        while self.deliveries_of(number.as_ref(), id, &mut found).await? {}
        if let Some(why) = found.doubt(whom, number.as_ref()) {
            return Err(OpsError::Refused(why));
        }
        if mode == BulkMode::Act {
            let mut forgotten = BTreeSet::new();
            loop {
                let calls: Vec<_> = found.calls.difference(&forgotten).cloned().collect();
                forgotten.extend(calls.iter().cloned());
                // From here on no new event about these calls is stored, so the next search finds everything there is.
                self.store.act(Action::Forget { calls, tokens: vec![], events: vec![] }).await?;
                if !self.deliveries_of(number.as_ref(), id, &mut found).await? {
                    break;
                }
            }
            let events = found.shared.values().cloned().collect();
            self.store.act(Action::Forget { calls: vec![], tokens: found.tokens.clone(), events }).await?;
        }
        Ok(Erased {
            calls: found.calls.len(),
            deliveries: found.tokens.len(),
            undelivered: found.undelivered,
            shared: found.shared.len(),
            mark: found.numbers.first().map(|digits| mark(digits)),
            copies: self.copies().await?,
        })
    }

    /// The calls that are meant, as far as their snapshots say so.
    async fn snapshots_of(&self, number: Option<&Number>, id: Option<&CallId>) -> Result<Found, OpsError> {
        let mut found = Found::default();
        for source in &self.config.sources {
            let source = &source.name;
            if let Some(id) = id {
                let snapshots = self.store.snapshots(source, std::slice::from_ref(id)).await?;
                for snapshot in snapshots.into_iter().flatten() {
                    match snapshot.is_forgotten() {
                        true => found.was_forgotten = true,
                        false => drop(found.calls.insert((source.clone(), id.clone()))),
                    }
                }
            }
            let Some(number) = number else { continue };
            let mut after = None;
            loop {
                let known = self.store.known(source, after.as_ref(), CALLS).await?;
                let Some(last) = known.last() else { break };
                after = Some(last.id.clone());
                for known in known.chunks(FEW) {
                    let ids: Vec<_> = known.iter().map(|call| call.id.clone()).collect();
                    let snapshots = self.store.snapshots(source, &ids).await?;
                    for (id, snapshot) in ids.into_iter().zip(snapshots) {
                        let Some(snapshot) = snapshot else { continue };
                        let caller = match snapshot.fields.get("callerNumber") {
                            Some(serde_json::Value::String(caller)) => caller.clone(),
                            Some(caller) => caller.to_string(),
                            None => continue,
                        };
                        found.note_if_of(number, &caller, source, &id);
                    }
                }
            }
        }
        Ok(found)
    }

    /// Finds the deliveries that tell of the calls; returns whether it found more calls on the way, so that it has to look again.
    async fn deliveries_of(
        &self,
        number: Option<&Number>,
        id: Option<&CallId>,
        found: &mut Found,
    ) -> Result<bool, OpsError> {
        let (filter, known) = (Filter::default(), found.calls.len());
        found.tokens.clear();
        found.shared.clear();
        found.undelivered = 0;
        let mut scan = Scan::new(&*self.store, &filter, None, PAGE, self.clock.wall());
        loop {
            let page = scan.take(PAGE).await?;
            let is_last = page.len() < PAGE;
            for records in page.chunks(FEW) {
                // Read an event only where the delivery's record does not show whether it is about one of the calls.
                let is_unclear = |record: &&DeliveryRecord| match &record.subject {
                    Subject::Call { source, call } => {
                        number.is_some() && !found.calls.contains(&(source.clone(), call.clone()))
                    }
                    Subject::Batch(_) => true,
                    _ => false,
                };
                let unclear: Vec<_> = records.iter().filter(is_unclear).map(|record| record.token).collect();
                let bodies = self.store.bodies(&unclear).await?;
                let bodies: BTreeMap<_, _> = unclear.into_iter().zip(bodies).collect();
                for record in records {
                    let event = bodies.get(&record.token).and_then(Option::as_deref);
                    found.consider(record, event, number, id);
                }
            }
            if is_last {
                return Ok(found.calls.len() > known);
            }
        }
    }

    /// The copies of the store in its folder, and how long they will be there.
    async fn copies(&self) -> Result<Vec<OldCopy>, OpsError> {
        let kept = self.config.backup.every.saturating_mul(BACKUPS);
        let until = self.clock.wall().after(kept);
        let copies = self.store.copies().await?;
        let is_backup = |path: &PathBuf| path.parent().is_some_and(|folder| folder.ends_with("backups"));
        let copy = |path: PathBuf| OldCopy { until: is_backup(&path).then_some(until), path };
        Ok(copies.into_iter().map(copy).collect())
    }
}

impl Found {
    /// Why the request is refused: the number is ambiguous, or nothing is known of the caller or call.
    fn doubt(&self, whom: &Whom, number: Option<&Number>) -> Option<String> {
        if number.is_some_and(|number| !number.is_whole()) && self.numbers.len() > 1 {
            return Some(format!(
                "{} numbers end like this: write it with the code of its country, as in +33 6 12 34 56 78",
                self.numbers.len()
            ));
        }
        match &whom.call {
            _ if !self.calls.is_empty() => None,
            Some(call) if self.was_forgotten => Some(format!("call {call} has been forgotten already")),
            Some(call) => Some(format!("nothing is known of a call {call}")),
            None => Some("nothing is known of a caller with this number".to_owned()),
        }
    }

    /// Takes a call in if it is of the number.
    fn note_if_of(&mut self, number: &Number, caller: &str, source: &Name, call: &CallId) {
        if number.is(caller) {
            self.calls.insert((source.clone(), call.clone()));
            self.numbers.insert(digits_of(caller).trim_start_matches('0').to_owned());
        }
    }

    /// Takes a delivery in if it tells of one of the calls. Its event is given where the head does not say so.
    fn consider(
        &mut self,
        record: &DeliveryRecord,
        event: Option<&Event>,
        number: Option<&Number>,
        id: Option<&CallId>,
    ) {
        let is_finished = record.finished().is_some();
        match &record.subject {
            Subject::Call { source, call } => {
                if id == Some(call) {
                    self.calls.insert((source.clone(), call.clone()));
                }
                if let (Some(number), Some(event)) = (number, event) {
                    self.note_if_of(number, &caller_of(&event.record), source, call);
                }
                if self.calls.contains(&(source.clone(), call.clone())) {
                    self.tokens.push(record.token);
                    self.undelivered += usize::from(!is_finished);
                }
            }
            Subject::Batch(_) => {
                let Some(event) = event else { return };
                self.consider_items(event, number, id);
                let is_one = |subject: &Subject| match subject {
                    Subject::Call { source, call } => self.calls.contains(&(source.clone(), call.clone())),
                    _ => false,
                };
                let Some((left, summary)) = summary::without(event, is_one) else { return };
                if is_finished || summary.items.is_empty() {
                    self.tokens.push(record.token);
                    self.undelivered += usize::from(!is_finished);
                } else {
                    self.shared.insert(event.id.clone(), left);
                }
            }
            _ => {}
        }
    }

    /// Adds the matching calls in a summary.
    fn consider_items(&mut self, event: &Event, number: Option<&Number>, id: Option<&CallId>) {
        let Ok(Some(summary)) = summary::Summary::of(event) else { return };
        for item in summary.items {
            let Subject::Call { source, call } = &item.subject else { continue };
            if id == Some(call) {
                self.calls.insert((source.clone(), call.clone()));
            }
            if let Some(number) = number {
                self.note_if_of(number, &caller_of(&item.record), source, call);
            }
        }
    }
}

/// The caller's number of a record; empty when there is none.
fn caller_of(record: &RawValue) -> String {
    let caller = Shallow::read(record.get()).ok().and_then(|fields| {
        let caller = fields.get("callerNumber")?;
        Some(if caller.get().starts_with('"') { json_text(caller) } else { caller.get().to_owned() })
    });
    caller.unwrap_or_default()
}

/// See [`Erased::mark`].
fn mark(digits: &str) -> String {
    hex(&digest::digest(&digest::SHA256, digits.as_bytes()).as_ref()[..2])
}

impl Erased {
    /// A line for the log.
    pub(crate) fn line(&self) -> String {
        let who =
            self.mark.as_ref().map_or("one call".to_owned(), |mark| format!("a number with mark {mark}"));
        format!(
            "forgot {who}: {} calls, {} deliveries ({} had not arrived), {} messages that tell others as well",
            self.calls, self.deliveries, self.undelivered, self.shared
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_that_of_the_docs() {
        let mark = mark(&digits_of("+33 6 12 34 56 78"));
        assert_eq!(mark, "8a3e");
        assert!(include_str!("../../docs/privacy.md").contains(&format!("a number with mark {mark}\n")));
    }
}
