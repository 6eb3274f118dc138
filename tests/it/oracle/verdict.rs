//! The arrivals, held against what had to arrive.

use std::{collections::HashMap, sync::Arc};

use callwatch::{
    demo::{books::Books, oracle::Debt},
    time::Timestamp,
};
use serde_json::json;

use super::{
    arrivals::{Arrivals, First, Payload},
    config::PROMISES,
    history::{Histories, History, State},
    payload::shown,
};

/// The destination that refuses some deliveries for good. Those do not arrive; the store says which they are.
const REFUSES_FOR_GOOD: &str = "bus";

/// Something that had to be delivered.
pub struct Expected {
    pub debt: Debt,
    /// The event's id, where it is known.
    pub event: Option<String>,
    pub has_arrived: bool,
}

/// Checks that exactly what is owed has arrived. Returns all of it, or says what is wrong.
pub fn judge(arrivals: &Arrivals, histories: &Histories) -> Result<Vec<Expected>, String> {
    let mut expected = vec![];
    let mut events = Events::default();
    for (id, history) in &histories.calls {
        let of_call = states_seen(arrivals, histories, id, history)
            .and_then(|states| settle(arrivals, id, history, &states, &mut events));
        expected.extend(of_call.map_err(|why| format!("{id}: {why}"))?);
    }
    match arrivals.lanes.keys().find(|(_, id)| !histories.calls.contains_key(id)) {
        Some((name, id)) => Err(format!("{name} was told of {id}, which never existed")),
        None => Ok(expected),
    }
}

/// The states in which callwatch has seen a call, as its feed at the CRM says; `None` stands for its deletion. They
/// are some of the states it had, in their order. Two polls may have missed a state between them, but neither one that
/// was committed nor the last.
fn states_seen<'a>(
    arrivals: &Arrivals,
    histories: &Histories,
    id: &str,
    history: &'a History,
) -> Result<Vec<Option<&'a State>>, String> {
    let mut seen = vec![];
    let mut next = usize::from(history.is_old);
    let may_skip = |states: &[State]| match states.iter().find(|state| histories.was_committed(state)) {
        Some(state) => Err(format!("not told of: {}", shown(&state.record))),
        None => Ok(()),
    };
    for first in arrivals.lane("crm", id) {
        let Payload::Webhook(body, record) = &first.payload else { panic!("the CRM gets webhooks") };
        if body["data"]["rule"] != "feed" {
            continue;
        }
        if body["data"]["kinds"] == json!(["deleted"]) && history.is_deleted {
            may_skip(&history.states[next..])?;
            next = history.states.len();
            seen.push(None);
            continue;
        }
        let skipped = history.states[next..].iter().position(|state| state.text == *record);
        let skipped = skipped.ok_or_else(|| format!("told of a state that it was not in: {first}"))?;
        may_skip(&history.states[next..next + skipped])?;
        seen.push(Some(&history.states[next + skipped]));
        next += skipped + 1;
    }
    let is_known = history.is_old || !seen.is_empty();
    match seen.last() {
        Some(None) => {}
        _ if history.is_deleted && is_known => return Err("its deletion was not told".to_owned()),
        _ if history.is_deleted => may_skip(&history.states)?,
        _ if next < history.states.len() => {
            return Err(format!("its last state was not told: {}", shown(&history.states[next].record)));
        }
        _ => {}
    }
    Ok(seen)
}

/// Settles what is owed for a call that was seen in these states: in each lane every message settles one debt, and
/// they come in order.
fn settle(
    arrivals: &Arrivals,
    id: &str,
    history: &History,
    states: &[Option<&State>],
    events: &mut Events,
) -> Result<Vec<Expected>, String> {
    let mut books = Books::new(PROMISES, []);
    if history.is_old {
        books.known(id, Arc::clone(&history.states[0].record));
    }
    for state in states {
        books.happened(id, state.map(|state| Arc::clone(&state.record)), Timestamp::default());
    }
    let mut expected = vec![];
    for name in arrivals.members.iter().map(|member| member.name) {
        let mut next = 1;
        for first in arrivals.lane(name, id) {
            let tells = |debt: &Debt| first.says(debt, history);
            let debt = match &books.arrived(&name.into(), &first.sighting, tells).settled[..] {
                [debt] if debt.sequence == next => debt.clone(),
                [debt] if debt.sequence > next && name == REFUSES_FOR_GOOD => debt.clone(),
                _ => {
                    let due = books.owed().iter().find(|debt| debt.destination == name);
                    let due = due.map_or("nothing".to_owned(), described);
                    return Err(format!("{name} was told \"{first}\" when {due} was due"));
                }
            };
            next = debt.sequence + 1;
            events.note(&debt, first)?;
            let event = first.event().map(str::to_owned);
            expected.push(Expected { debt, event, has_arrived: true });
        }
    }
    for debt in books.owed() {
        if debt.destination != REFUSES_FOR_GOOD {
            return Err(format!("{} was not told of {}", debt.destination, described(debt)));
        }
        expected.push(Expected { debt: debt.clone(), event: None, has_arrived: false });
    }
    Ok(expected)
}

fn described(debt: &Debt) -> String {
    let Debt { sequence, kinds, call, .. } = debt;
    format!("{} {sequence}: {kinds:?} of revision {}", rules(debt), call["revision"])
}

/// The rules that a debt is about: `long+unhappy`
fn rules(debt: &Debt) -> String {
    debt.rules().collect::<Vec<_>>().join("+")
}

/// The events as messages told them: the id and the time of each, and which event has an id.
#[derive(Default)]
struct Events(HashMap<String, String>);

impl Events {
    /// Checks that an event has the same id and time at every destination, and that no other event has its id.
    fn note(&mut self, debt: &Debt, first: &First) -> Result<(), String> {
        let Some(id) = first.event() else { return Ok(()) };
        let call = &debt.call;
        let event = format!("{} {} {} {:?}", rules(debt), call["id"], call["revision"], debt.kinds);
        self.agree(format!("the id of {event}"), id)?;
        self.agree(format!("the event of {id}"), &event)?;
        first.time().map_or(Ok(()), |time| self.agree(format!("the time of {id}"), time))
    }

    fn agree(&mut self, what: String, now: &str) -> Result<(), String> {
        match self.0.get(&what) {
            Some(known) if known == now => Ok(()),
            Some(known) => Err(format!("{what} is {known} elsewhere, not {now}")),
            None => {
                self.0.insert(what, now.to_owned());
                Ok(())
            }
        }
    }
}
