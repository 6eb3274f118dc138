//! What the store can do: `cargo bench --bench store`. Prints a table for each question; `-- WORD` asks only the
//! questions whose name contains the word.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::{path::Path, sync::Arc, time::Instant};

use callwatch::{
    call::CallId,
    change::{Changes, Kind},
    config::StoreConfig,
    event::{Event, EventId},
    name::Name,
    store::{Attempt, Commit, DeliveryId, LeaseRequest, NewDelivery, Outcome, SledStore, Store, Verdict},
    time::Timestamp,
};
use serde_json::{json, value::RawValue};

const NOW: Timestamp = Timestamp::from_millis(1_765_809_145_000);

#[tokio::main]
async fn main() {
    let asked = std::env::args().skip(1).find(|arg| !arg.starts_with("--")).unwrap_or_default();
    if "deliveries".contains(&asked) {
        println!("lease + settle, each outcome durable; events of 1 KB, each of a call of its own");
        println!(
            "{:>12} {:>12} {:>12} {:>12} {:>10}",
            "destinations", "concurrency", "deliveries/s", "ms/settle", "CPU s/1000"
        );
        for (destinations, concurrency) in [(1, 8), (1, 64), (1, 256), (8, 8), (8, 64)] {
            deliveries(destinations, concurrency).await;
        }
    }
}

async fn open(folder: &Path) -> SledStore {
    let config = StoreConfig {
        path: folder.join("callwatch.db"),
        retain: std::time::Duration::from_secs(86400),
        cache: 64_000_000,
    };
    SledStore::open(&config).await.unwrap()
}

/// A commit as a poll makes it: `calls` calls that ended, told to every destination.
fn commit(from: usize, calls: usize, destinations: &[Name]) -> Commit {
    let source = Name::from("clinic");
    let mut commit = Commit::new(source.clone());
    for number in from..from + calls {
        let call = CallId::from(format!("{number:024x}"));
        let record = json!({"id": call.as_str(), "status": "completed", "summary": "x".repeat(900)});
        let record: Arc<RawValue> = serde_json::value::to_raw_value(&record).unwrap().into();
        let id = EventId::compute(&source, call.as_str(), &"call-completed".into(), b"content", 1);
        commit.deliveries.extend(destinations.iter().map(|destination| NewDelivery {
            id: DeliveryId { event: id.clone(), destination: destination.clone() },
            sequence: 1,
            created: NOW,
        }));
        commit.events.push(Event {
            id,
            source: source.clone(),
            call: Some(call),
            rule: "call-completed".into(),
            kinds: Kind::Ended.into(),
            changes: Changes::default(),
            at: NOW,
            record,
        });
    }
    commit
}

async fn deliveries(destinations: usize, concurrency: usize) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path()).await);
    let names: Vec<Name> = (0..destinations).map(|number| Name::from(format!("crm{number}"))).collect();
    let calls = 20_000 / destinations;
    for from in (0..calls).step_by(100) {
        store.commit(commit(from, 100.min(calls - from), &names)).await.unwrap();
    }
    let (began, cpu) = (Instant::now(), cpu_seconds());
    let tasks: Vec<_> =
        names.into_iter().map(|name| tokio::spawn(drain(Arc::clone(&store), name, concurrency))).collect();
    let (mut settled, mut settles) = (0, 0);
    for task in tasks {
        let (these, writes) = task.await.unwrap();
        settled += these;
        settles += writes;
    }
    let (took, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    assert_eq!(settled, calls * destinations);
    println!(
        "{destinations:>12} {concurrency:>12} {:>12.0} {:>12.2} {:>10.3}",
        settled as f64 / took,
        took * 1000.0 / settles as f64 * destinations as f64,
        cpu * 1000.0 / settled as f64
    );
    store.close().await.unwrap();
}

/// Takes and settles everything there is for a destination; how many deliveries, in how many writes.
async fn drain(store: Arc<SledStore>, destination: Name, concurrency: usize) -> (usize, usize) {
    let (mut settled, mut writes) = (0, 0);
    loop {
        let until = NOW.after(std::time::Duration::from_secs(3600));
        let request = LeaseRequest { destination: destination.clone(), now: NOW, until, limit: concurrency };
        let leased = store.lease(&request).await.unwrap().deliveries;
        if leased.is_empty() {
            return (settled, writes);
        }
        settled += leased.len();
        writes += 1;
        let outcome = |id| Outcome {
            id,
            attempt: Attempt { at: NOW, took_ms: 3, result: "200 OK".to_owned(), response: "ok".to_owned() },
            verdict: Verdict::Delivered,
        };
        store.settle(leased.into_iter().map(|lease| outcome(lease.id)).collect()).await.unwrap();
    }
}

/// The processor time of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = fields.iter().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / 100.0
}
