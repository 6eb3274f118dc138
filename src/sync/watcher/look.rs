//! One look at a call with one set of rules: its new snapshot, and the events and deliveries that follow from it.

use std::sync::Arc;

use serde_json::{Map, Value, value::RawValue};

use super::{Now, Observation};
use crate::{
    call::{Call, CallId},
    change::{self, Change, Changes},
    event::{Event, EventId, Subject},
    kind::{Kind, Kinds},
    lens::ANALYSIS,
    name::Name,
    privacy::mask_phone,
    rule::{
        Rule, RuleSet,
        fire::{Candidate, Finding},
    },
    snapshot::Snapshot,
    telemetry::{Analysis, NotFired, Sentiment, Signal},
    telling::{Fired, tell, to_raw},
};

/// Looks at calls of one source.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    pub source: &'a Name,
    pub rules: &'a RuleSet,
    pub now: Now,
}

/// A call at the moment of a look.
struct Seen<'a> {
    id: &'a CallId,
    fields: &'a Map<String, Value>,
    record: Arc<RawValue>,
    /// Identifies the call's state in the ids of events.
    content: &'a [u8],
    before: Option<&'a Snapshot>,
}

impl Seen<'_> {
    /// The call's analysis, for counting; `None` unless this change brought the call's first one. So each call is
    /// counted once, however often its analysis is edited.
    fn first_analysis(&self, kinds: Kinds) -> Option<Analysis> {
        let had_one = self.before.is_some_and(|before| before.kinds_seen.contains(Kind::Analyzed));
        let analysis = self.fields.get(ANALYSIS)?;
        (kinds.contains(Kind::Analyzed) && !had_one).then(|| Analysis {
            sentiment: Sentiment::of(analysis.get("sentiment").and_then(Value::as_str)),
            booked: analysis.get("appointmentBooked") == Some(&Value::Bool(true)),
        })
    }
}

impl Look<'_> {
    /// A call that was there before watching began: remembered, not announced.
    pub fn baseline(&self, call: &Call) -> Observation {
        let mut snapshot = Snapshot::first(call, change::kinds_of_first_sight(call), self.now.api);
        if !call.is_over() {
            // How long a call lasts is news even if it began before watching did.
            self.remember_waits(&mut snapshot);
        }
        Observation { snapshot: Some((call.id().clone(), snapshot)), changed: true, ..Observation::default() }
    }

    /// A call in an answer of the API, and what is remembered of it.
    pub fn observe(&self, before: Option<&Snapshot>, call: &Call) -> Observation {
        if let Some(before) = before.filter(|before| before.is_forgotten()) {
            // The hash of the changed record is remembered, so that the same bytes are not read again, but nothing of
            // what the record says.
            let mut snapshot = before.next(call, Kinds::NONE, self.now.api);
            snapshot.forget();
            return Observation { snapshot: Some((call.id().clone(), snapshot)), ..Observation::default() };
        }
        let change = change::diff(before, call);
        let kinds = change.as_ref().map_or_else(Default::default, |change| change.kinds);
        let mut snapshot = match before {
            Some(before) => before.next(call, kinds, self.now.api),
            None => Snapshot::first(call, kinds, self.now.api),
        };
        let mut made = Observation { changed: change.is_some(), ..Observation::default() };
        if let Some(change) = change {
            made.differing = change.fields.paths();
            let content = call.content().to_bytes();
            let record = Arc::clone(call.raw());
            let seen = Seen { id: call.id(), fields: call.fields(), record, content: &content, before };
            self.apply_rules(&seen, &change, &mut snapshot, &mut made);
        }
        made.snapshot = Some((call.id().clone(), snapshot));
        made
    }

    /// A call that is gone from the list for good. Events carry what was remembered of it. Empty when the deletion is
    /// known already.
    pub fn deletion(&self, id: &CallId, before: &Snapshot) -> Observation {
        let Some(change) = change::deletion(before) else { return Observation::default() };
        let mut snapshot = before.clone();
        snapshot.deleted = true;
        if before.is_forgotten() {
            return Observation { snapshot: Some((id.clone(), snapshot)), ..Observation::default() };
        }
        snapshot.kinds_seen = snapshot.kinds_seen | Kind::Deleted.into();
        // The last state is part of the id: a call that came back in another state can be deleted again.
        let last = before.past.last().map_or(0, |(tag, _)| tag.to_bits()).to_be_bytes();
        let content = [&b"deleted"[..], &last].concat();
        let record = to_raw(&before.fields);
        let seen = Seen { id, fields: &before.fields, record, content: &content, before: Some(before) };
        let mut made = Observation { changed: true, ..Observation::default() };
        self.apply_rules(&seen, &change, &mut snapshot, &mut made);
        made.snapshot = Some((id.clone(), snapshot));
        made
    }

    /// A call that may not have changed, for the sake of rules with `for`.
    pub fn again(&self, id: &CallId, before: &Snapshot) -> Observation {
        if before.is_forgotten() {
            return Observation::default();
        }
        let mut snapshot = before.clone();
        self.remember_waits(&mut snapshot);
        let was_true = |snapshot: &Snapshot, rule: &Rule| {
            snapshot.rules.get(&rule.name).is_some_and(|memory| memory.was_true)
        };
        let fired: Vec<_> = self
            .rules
            .iter()
            .filter(|rule| rule.lasting.is_some() && was_true(&snapshot, rule) && !was_true(before, rule))
            .collect();
        let mut made = Observation::default();
        if !fired.is_empty() {
            let content = [&b"lasting"[..], &before.revision.to_be_bytes()].concat();
            let record = to_raw(&before.fields);
            let seen = Seen { id, fields: &before.fields, record, content: &content, before: Some(before) };
            // Time has passed; nothing else has happened to the call.
            let change = Change { kinds: Kind::Updated.into(), fields: Changes::default() };
            let fired =
                fired.into_iter().filter_map(|rule| self.fire(rule, &seen, &change, &snapshot)).collect();
            made.append(tell(fired, &mut snapshot.sequences, self.now.wall));
        }
        made.snapshot = (snapshot != *before).then(|| (id.clone(), snapshot));
        made
    }

    fn apply_rules(&self, seen: &Seen<'_>, change: &Change, snapshot: &mut Snapshot, made: &mut Observation) {
        // Some projects have the number as a number in JSON.
        let caller = match seen.fields.get("callerNumber") {
            Some(Value::String(number)) => Some(mask_phone(number)),
            Some(Value::Number(number)) => Some(mask_phone(&number.to_string())),
            _ => None,
        };
        made.signals.push(Signal::Changed {
            source: self.source.clone(),
            call: seen.id.clone(),
            kinds: change.kinds,
            caller: caller.unwrap_or_default(),
            first_seen: seen.before.is_none(),
            analysis: seen.first_analysis(change.kinds),
        });
        let candidate = Candidate::new(self.source, change, seen.fields, seen.before, self.now.api)
            .waiting_by(self.now.waits);
        let mut fired = vec![];
        for rule in self.rules {
            let (finding, memory) = candidate.judge(rule);
            if let Some(memory) = memory {
                snapshot.rules.insert(rule.name.clone(), memory);
            }
            let name = || rule.name.clone();
            if rule.when.is_some() && finding != Finding::NotConcerned {
                let failure = match &finding {
                    Finding::Failed(failure) => Some(failure.to_string()),
                    _ => None,
                };
                made.conditions.push((name(), failure));
            }
            match finding {
                Finding::NotConcerned => {}
                Finding::False => made.signals.push(not_fired(rule, NotFired::False)),
                Finding::Already => made.signals.push(not_fired(rule, NotFired::Already)),
                Finding::Waiting(_) => made.signals.push(not_fired(rule, NotFired::Waiting)),
                Finding::Unknown => {
                    let missing = candidate.missing(rule).map(str::to_owned);
                    made.signals.push(Signal::Unknown { rule: name(), missing });
                }
                Finding::Failed(failure) => {
                    made.signals.push(Signal::RuleFailed { rule: name(), error: failure.to_string() });
                }
                Finding::TooOld => {
                    made.signals.push(Signal::TooOld { rule: name(), call: seen.id.clone() });
                }
                Finding::Fired => match self.fire(rule, seen, change, snapshot) {
                    Some(event) => fired.push(event),
                    None => made.signals.push(not_fired(rule, NotFired::NoDifference)),
                },
            }
        }
        made.append(tell(fired, &mut snapshot.sequences, self.now.wall));
    }

    /// The event of a rule that fired for a call; `None` when it goes to no destination.
    fn fire<'r>(
        &self,
        rule: &'r Rule,
        seen: &Seen<'_>,
        change: &Change,
        snapshot: &Snapshot,
    ) -> Option<Fired<'r>> {
        // A rule that fires once per call has one event per call, whatever the call looked like at that moment: even
        // if the store is lost, a receiver that remembers ids cannot take a repeat for news.
        let once = rule.when.is_some() && !rule.repeat;
        let (content, occurrence) =
            if once { (&b"once"[..], 1) } else { (seen.content, snapshot.occurrence()) };
        let event = Event {
            id: EventId::compute(self.source, seen.id.as_str(), &rule.name, content, occurrence),
            subject: Subject::Call { source: self.source.clone(), call: seen.id.clone() },
            rule: rule.name.clone(),
            also: vec![],
            kinds: change.kinds,
            changes: change.fields.clone(),
            at: self.now.wall,
            record: Arc::clone(&seen.record),
        };
        Fired::new(rule, event, self.source, seen.fields, self.now.wall)
    }

    /// Lets the rules with `for` judge a call as it is remembered, and remembers what they wait for.
    fn remember_waits(&self, snapshot: &mut Snapshot) {
        let memories: Vec<_> = {
            let candidate = Candidate::again(self.source, snapshot.kinds_now(), snapshot, self.now.api)
                .waiting_by(self.now.waits);
            let lasting = self.rules.iter().filter(|rule| rule.lasting.is_some());
            lasting.filter_map(|rule| Some((rule.name.clone(), candidate.judge(rule).1?))).collect()
        };
        snapshot.rules.extend(memories);
    }
}

fn not_fired(rule: &Rule, why: NotFired) -> Signal {
    Signal::NotFired { rule: rule.name.clone(), why }
}
