//! The store: what it promises, whichever it is; and what is left of one after a crash.

mod backup;
mod batches;
mod by_hand;
mod conformance;
mod crash;
mod damage;
mod model;
mod restored;
mod shrunk;

use std::{path::Path, sync::Arc, time::Duration};

use callwatch::{
    call::{Call, CallId},
    change::Changes,
    config::StoreConfig,
    event::{Event, EventId},
    kind::{Kind, Kinds},
    name::Name,
    snapshot::Snapshot,
    store::{
        Attempt, Commit, DeliveryId, LeaseRequest, MemoryStore, NewDelivery, Outcome, SledStore, Store,
        StoreError, Verdict,
    },
    time::Timestamp,
};
use serde_json::{Value, json, value::RawValue};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn name(text: &str) -> Name {
    Name::from(text)
}

fn clinic() -> Name {
    name("clinic")
}

fn config(path: &Path) -> StoreConfig {
    StoreConfig { path: path.join("callwatch.db"), retain: Duration::from_secs(86400), cache: 8 << 20 }
}

async fn open(path: &Path) -> Result<SledStore, StoreError> {
    SledStore::open(&config(path)).await
}

/// Runs a test against every implementation.
async fn each(test: impl AsyncFn(&dyn Store)) {
    test(&MemoryStore::new()).await;
    let folder = tempfile::tempdir().unwrap();
    test(&open(folder.path()).await.unwrap()).await;
}

fn raw(record: &Value) -> Box<RawValue> {
    RawValue::from_string(record.to_string()).unwrap()
}

/// A completed call with this summary, as it is remembered.
fn snapshot(call: &str, summary: &str) -> Snapshot {
    let record = json!({
        "id": call, "status": "completed", "summary": summary, "duration": 145.3,
        "callAnalysis": { "sentiment": "positive" }, "createdAt": "2025-12-15T14:30:00.000Z",
    });
    let call = Call::parse(&raw(&record)).unwrap();
    Snapshot::first(&call, Kinds::NONE, at(1_000))
}

fn event_id(text: &str) -> EventId {
    EventId::from(text)
}

fn event(id: &str, call: &str) -> Event {
    Event {
        id: event_id(id),
        source: clinic(),
        call: Some(CallId::from(call)),
        rule: name("call-completed"),
        kinds: Kind::Ended.into(),
        changes: Changes::default(),
        at: at(1_000),
        record: Arc::from(raw(&json!({ "id": call, "status": "completed" }))),
        batch: None,
    }
}

fn delivery_id(event: &str, destination: &str) -> DeliveryId {
    DeliveryId { event: event_id(event), destination: name(destination) }
}

fn delivery(event: &str, destination: &str, sequence: u64, created: i64) -> NewDelivery {
    NewDelivery { id: delivery_id(event, destination), sequence, created: at(created), held: false }
}

/// A commit of one event per (id, call, sequence), each with a delivery to `crm` made at `created`.
fn events(of: &[(&str, &str, u64)], created: i64) -> Commit {
    let mut commit = Commit::new(clinic());
    for (id, call, sequence) in of {
        commit.events.push(event(id, call));
        commit.deliveries.push(delivery(id, "crm", *sequence, created));
    }
    commit
}

fn outcome(event: &str, destination: &str, at_millis: i64, verdict: Verdict) -> Outcome {
    let attempt =
        Attempt { at: at(at_millis), took_ms: 0, result: "200 OK".to_owned(), response: String::new() };
    Outcome { id: delivery_id(event, destination), attempt, verdict }
}

fn request(destination: &str, now: i64, until: i64, limit: usize) -> LeaseRequest {
    LeaseRequest { destination: name(destination), now: at(now), until: at(until), limit }
}

/// The events handed out for `crm`, and when the next is due.
async fn lease(store: &dyn Store, now: i64, until: i64, limit: usize) -> (Vec<String>, Option<i64>) {
    let leased = store.lease(&request("crm", now, until, limit)).await.unwrap();
    let events = leased.deliveries.iter().map(|lease| lease.id.event.to_string()).collect();
    (events, leased.next_due.map(Timestamp::as_millis))
}
