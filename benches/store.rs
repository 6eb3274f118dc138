//! What the store can do: `cargo bench --bench store`. Prints a table for each question; `-- WORD` asks only the
//! questions whose name contains the word.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod observed;

use std::{path::Path, sync::Arc, time::Instant};

use callwatch::{
    batch::BatchKey,
    call::{Call, CallId},
    config::StoreConfig,
    content::ContentHash,
    kind::Kind,
    name::Name,
    snapshot::{RuleMemory, Snapshot},
    store::{Attempt, Commit, LeaseRequest, Merge, Outcome, SledStore, Sorting, Store, Verdict},
    sync::index::Index,
    time::Timestamp,
};
use serde_json::json;

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
    if "batches".contains(&asked) {
        println!("10,000 held deliveries of one destination; events of 1 KB, each of a call of its own");
        batches().await;
    }
    if "snapshots".contains(&asked) {
        snapshots().await;
    }
}

/// What it takes to put many deliveries into a batch, and to let it go out as one.
async fn batches() {
    const HELD: usize = 10_000;
    let folder = tempfile::tempdir().unwrap();
    let (store, crm) = (open(folder.path()).await, Name::from("crm"));
    let mut ids = vec![];
    for from in (0..HELD).step_by(100) {
        let mut commit = observed::commit(from, 100, 1_100, std::slice::from_ref(&crm), NOW);
        commit.deliveries.iter_mut().for_each(|delivery| delivery.held = true);
        ids.extend(commit.events.iter().map(|event| event.id.clone()));
        store.commit(commit).await.unwrap();
    }
    let batch = BatchKey::Quiet;
    let mut hold = Sorting::new(crm.clone(), NOW);
    hold.hold = ids.into_iter().map(|id| (id, batch.clone())).collect();
    let mut merge = Sorting::new(crm.clone(), NOW);
    let mut summary = observed::commit(HELD, 1, 1_100, std::slice::from_ref(&crm), NOW);
    let (event, delivery) = (summary.events.remove(0), summary.deliveries.remove(0));
    merge.merge = Some(Merge { batches: vec![batch.clone()], event, delivery });
    measured("put into a batch in", store.sort(hold)).await.unwrap();
    let read = measured("read in", store.held(&crm, &batch, None, HELD)).await.unwrap();
    assert_eq!(read.len(), HELD);
    drop(read);
    measured("merged in", store.sort(merge)).await.unwrap();
    assert_eq!(store.tally().await.unwrap()[&crm].merged, HELD as u64);
    store.close().await.unwrap();
}

/// Waits for something; says what that took, and by how much it raised the most memory there ever was.
async fn measured<T>(what: &str, work: impl Future<Output = T>) -> T {
    let (began, cpu, before) = (Instant::now(), cpu_seconds(), memory("VmHWM:"));
    let done = work.await;
    let (took, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let more = (memory("VmHWM:") - before) / 1e6;
    println!("  {what:24} {took:>8.2} s, {cpu:.2} s of CPU, {more:.0} MB more at its peak");
    done
}

/// What a million calls that have settled cost, and how long a start, a backup and a restore take with them.
async fn snapshots() {
    const CALLS: usize = 1_000_000;
    let folder = tempfile::tempdir().unwrap();
    let source = Name::from("clinic");
    let began = Instant::now();
    let store = open(folder.path()).await;
    for from in (0..CALLS).step_by(500) {
        let mut commit = Commit::new(source.clone());
        commit.snapshots.extend((from..from + 500).map(settled));
        store.commit(commit).await.unwrap();
    }
    store.close().await.unwrap();
    println!("{CALLS} settled calls, shrunk, each told once by two rules to one destination");
    println!("  written in               {:>8.1} s", began.elapsed().as_secs_f64());
    println!("  on disk                  {:>8.0} MB", size_of(folder.path()) as f64 / 1e6);
    let before = memory("VmRSS:");
    let began = Instant::now();
    let store = open(folder.path()).await;
    let (mut after, mut index) = (None, Index::new(std::time::Duration::ZERO));
    loop {
        let known = store.known(&source, after.as_ref(), 2000).await.unwrap();
        let Some(last) = known.last() else { break };
        after = Some(last.id.clone());
        known.iter().for_each(|call| {
            index.insert(call);
        });
    }
    assert_eq!(index.len(), CALLS);
    println!("  opened and read in       {:>8.1} s", began.elapsed().as_secs_f64());
    println!("  memory (index and cache) {:>8.0} MB", (memory("VmRSS:") - before) / 1e6);
    let began = Instant::now();
    let file = folder.path().join("calls.backup");
    let backup = store.back_up_to(Some(&file), NOW).await.unwrap();
    println!("  backed up in             {:>8.1} s", began.elapsed().as_secs_f64());
    println!("  the backup               {:>8.0} MB", backup.bytes as f64 / 1e6);
    store.close().await.unwrap();
    let began = Instant::now();
    SledStore::restore(&config(folder.path()), Some(&file)).await.unwrap();
    println!("  restored in              {:>8.1} s", began.elapsed().as_secs_f64());
    println!(
        "  on disk then             {:>8.0} MB",
        size_of(&folder.path().join("callwatch.db/sled")) as f64 / 1e6
    );
}

/// What is left of a call that has been through two states.
fn settled(number: usize) -> (CallId, Snapshot) {
    let id = CallId::from(format!("{:024x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
    let record = json!({
        "id": id.as_str(), "status": "completed", "summary": "s", "callAnalysis": {"sentiment": "positive"},
        "createdAt": "2025-12-15T14:30:00.000Z", "updatedAt": "2025-12-15T14:32:25.000Z", "transcript": [],
    });
    let call = Call::parse(&serde_json::value::to_raw_value(&record).unwrap()).unwrap();
    let mut snapshot =
        Snapshot::first(&call, [Kind::Started, Kind::Ended, Kind::Analyzed].into_iter().collect(), NOW);
    snapshot.past.insert(0, (ContentHash::of(&json!("live")).tag(), 1));
    snapshot.rules.insert(
        "unhappy-caller".into(),
        RuleMemory { condition: u64::MAX, was_true: false, fired: false, since: None },
    );
    snapshot.sequences.insert("crm".into(), 2);
    snapshot.shrink();
    (id, snapshot)
}

fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(
            |entry| {
                if entry.path().is_dir() { size_of(&entry.path()) } else { entry.metadata().unwrap().len() }
            },
        )
        .sum()
}

/// The memory of this process, in bytes: `VmRSS:` now, `VmHWM:` at its peak.
fn memory(of: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(of)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0.0) * 1024.0
}

fn config(folder: &Path) -> StoreConfig {
    StoreConfig {
        path: folder.join("callwatch.db"),
        retain: std::time::Duration::from_secs(86400),
        cache: 64_000_000,
    }
}

async fn open(folder: &Path) -> SledStore {
    SledStore::open(&config(folder)).await.unwrap()
}

async fn deliveries(destinations: usize, concurrency: usize) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path()).await);
    let names: Vec<Name> = (0..destinations).map(|number| Name::from(format!("crm{number}"))).collect();
    let calls = 20_000 / destinations;
    for from in (0..calls).step_by(100) {
        store.commit(observed::commit(from, 100.min(calls - from), 1_100, &names, NOW)).await.unwrap();
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
