//! The store: what it promises, whichever it is; and what is left of one after a crash.

mod backend;
mod conformance;
mod process;
// The embedded store's own tests:
mod backup;
mod blocks;
mod carried;
mod crash;
mod damage;
mod forgotten;
mod life;
mod model;
mod power;
mod replaced;
mod restored;
mod shrunk;

use std::{sync::Arc, time::Duration};

use callwatch::{
    batch::BatchKey,
    call::{Call, CallId},
    change::Changes,
    event::{Event, EventId, Subject},
    kind::{Kind, Kinds},
    name::Name,
    snapshot::Snapshot,
    store::{
        Attempt, Claim, Commit, DeliveryFilter, DeliveryId, DeliveryRecord, DeliveryState, Duty, Entry, Hold,
        Merge, NewDelivery, NewEvent, Outcome, Pause, Pending, Position, Query, Settlement, Standing, Store,
        StoreError, Tally, Token, Verdict,
    },
    time::{Deadline, Timestamp},
};
use serde_json::{Value, json, value::RawValue};

use self::{
    backend::sled::{config, open},
    process::Process,
};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn name(text: &str) -> Name {
    Name::from(text)
}

fn clinic() -> Name {
    name("clinic")
}

fn crm() -> Name {
    name("crm")
}

fn source(name: &str) -> Duty {
    Duty::Source(Name::from(name))
}

fn destination(name: &str) -> Duty {
    Duty::Destination(Name::from(name))
}

fn batch(text: &str) -> BatchKey {
    text.parse().unwrap()
}

fn raw(record: &Value) -> Box<RawValue> {
    RawValue::from_string(record.to_string()).unwrap()
}

/// A completed call with this summary, as it is remembered. The store takes any id; a record does not.
fn snapshot(call: &str, summary: &str) -> Snapshot {
    let id = if CallId::checked(call).is_ok() { call } else { "another" };
    let record = json!({
        "id": id, "status": "completed", "summary": summary, "duration": 145.3,
        "callAnalysis": { "sentiment": "positive" }, "createdAt": "2025-12-15T14:30:00.000Z",
    });
    let call = Call::parse(&raw(&record)).unwrap();
    Snapshot::first(&call, Kinds::NONE, at(1_000))
}

/// A commit that remembers only this call of the clinic.
fn remembers(call: &str, snapshot: Snapshot) -> Commit {
    Commit { snapshots: vec![(CallId::from(call), snapshot)], ..Commit::default() }
}

fn event_id(text: &str) -> EventId {
    EventId::from(text)
}

/// A call of the clinic.
fn call(id: &str) -> Subject {
    Subject::Call { source: clinic(), call: CallId::from(id) }
}

/// An event about a call of the clinic.
fn event(id: &str, about: &str) -> Event {
    Event {
        id: event_id(id),
        subject: call(about),
        rule: name("call-completed"),
        also: vec![],
        kinds: Kind::Ended.into(),
        changes: Changes::default(),
        at: at(1_000),
        record: Arc::from(raw(&json!({ "id": about, "status": "completed" }))),
    }
}

/// An event that stands for a batch.
fn summary(id: &str, of: &str) -> Event {
    Event {
        subject: Subject::Batch(batch(of)),
        kinds: Kinds::NONE,
        record: Arc::from(raw(&json!({ "count": 2 }))),
        ..event(id, "")
    }
}

fn delivery_id(event: &str, destination: &str) -> DeliveryId {
    DeliveryId { event: event_id(event), destination: name(destination) }
}

fn delivery(destination: &str, sequence: u64, created: i64) -> NewDelivery {
    NewDelivery { destination: name(destination), sequence, created: at(created), hold: None }
}

/// One event with its deliveries.
fn new_event(event: Event, deliveries: Vec<NewDelivery>) -> Commit {
    Commit { events: vec![NewEvent { event, deliveries }], ..Commit::default() }
}

/// A commit of one event per (id, call, sequence), each with a delivery to `crm` made at `created`.
fn events(of: &[(&str, &str, u64)], created: i64) -> Commit {
    let new = |(id, call, sequence): &(&str, &str, u64)| NewEvent {
        event: event(id, call),
        deliveries: vec![delivery("crm", *sequence, created)],
    };
    Commit { events: of.iter().map(new).collect(), ..Commit::default() }
}

/// A commit of an event for each id, each about a call of its own, each with a delivery to `crm` made at `created`.
fn calls(ids: &[&str], created: i64) -> Commit {
    events(&ids.iter().map(|id| (*id, *id, 1)).collect::<Vec<_>>(), created)
}

/// The commit with all its deliveries held in `in_batch`; they tell of what happened at `happened`.
fn held(mut commit: Commit, in_batch: &str, happened: i64) -> Commit {
    for delivery in commit.events.iter_mut().flat_map(|new| &mut new.deliveries) {
        delivery.hold = Some(Hold { batch: batch(in_batch), happened: at(happened) });
    }
    commit
}

fn attempt(millis: i64) -> Attempt {
    Attempt { at: at(millis), took_ms: 0, result: "200 OK".to_owned(), response: String::new() }
}

/// The outcome of the delivery's attempt number `number`, made at `millis`.
fn outcome(token: Token, number: u32, millis: i64, verdict: Verdict) -> Outcome {
    Outcome { token, number, attempt: attempt(millis), verdict }
}

fn dead() -> Verdict {
    Verdict::Dead("422 Unprocessable Entity".to_owned())
}

fn settlement(millis: i64) -> Settlement {
    Settlement::new(at(millis))
}

/// A settlement of these outcomes only.
fn outcomes(outcomes: Vec<Outcome>) -> Settlement {
    Settlement { outcomes, ..settlement(0) }
}

/// The state of a delivery that waits in a batch.
fn waits_in(text: &str) -> Option<DeliveryState> {
    Some(DeliveryState::Held { batch: batch(text) })
}

fn merged(millis: i64, into: &str) -> Option<DeliveryState> {
    Some(DeliveryState::Merged { at: at(millis), into: event_id(into) })
}

fn due(millis: i64) -> Option<DeliveryState> {
    waits_until(millis, millis)
}

/// The state of a delivery whose attempt failed at `made` and that is tried again at `due`.
fn waits_until(made: i64, due: i64) -> Option<DeliveryState> {
    Some(DeliveryState::Pending { due: Deadline::at(at(made), at(due)) })
}

/// The standing of a delivery that is due at `due` by a wait that began at `made`.
fn due_by(made: i64, due: i64) -> Standing {
    Standing::Due(Deadline::at(at(made), at(due)))
}

/// The events of records, in their order.
fn ids(records: &[DeliveryRecord]) -> Vec<&str> {
    records.iter().map(|record| record.id.event.as_str()).collect()
}
