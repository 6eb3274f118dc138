//! Measures how fast a backlog is delivered.

use std::{
    process,
    time::{Duration, Instant},
};

use callwatch::{http, name::Name};
use reqwest::{Client, Url};
use tokio::task::JoinSet;

use crate::{
    process::cpu,
    receiver::ReceiverProcess,
    service::{self, Service, destinations},
};

/// How many rounds are measured. The best counts, because it was disturbed least.
const ROUNDS: usize = 3;

/// The result of a round.
#[derive(Clone, Copy, Default)]
struct Drained {
    per_second: f64,
    /// CPU seconds per 1,000 deliveries.
    cpu: f64,
    receiver_cpu: f64,
    /// The share of the store's threads in the CPU time.
    store_cpu: f64,
    /// The share of the time in which the store had something to do.
    store_busy: f64,
    per_settle: f64,
}

pub async fn run() {
    println!("Draining a backlog; the ceiling is a loop that sends the same bodies, 64 at a time.\n");
    println!(
        "| destinations | concurrency | body KB | deliveries/s | ceiling/s | of the ceiling | CPU s per 1,000 | \
         the receiver's | store's share of CPU | store at work | outcomes per write |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for (bytes, count) in [(1_000, 40_000), (20_000, 10_000)] {
        for (targets, concurrency) in [(1, 8), (1, 64), (10, 8), (100, 8)] {
            row(targets, concurrency, bytes, count, ROUNDS).await;
        }
    }
    println!();
}

/// Prints one row of the table, measured in one round.
pub async fn one(args: &[String]) {
    let [targets, concurrency, bytes, count] = std::array::from_fn(|n| args[n].parse().unwrap());
    row(targets, concurrency, bytes, count, 1).await;
}

async fn row(targets: usize, concurrency: usize, bytes: usize, count: usize, rounds: usize) {
    let mut best = Drained::default();
    let mut ceiling = 0.0_f64;
    for _ in 0..rounds {
        ceiling = ceiling.max(bare(bytes, count).await);
        let drained = drain(targets, concurrency, bytes, count).await;
        if drained.per_second > best.per_second {
            best = drained;
        }
    }
    let Drained { per_second, cpu, receiver_cpu, store_cpu, store_busy, per_settle } = best;
    println!(
        "| {targets} | {concurrency} | {} | {per_second:.0} | {ceiling:.0} | {:.0} % | {cpu:.3} | {receiver_cpu:.3} | \
         {:.0} % | {:.0} % | {per_settle:.1} |",
        bytes / 1000,
        100.0 * per_second / ceiling,
        100.0 * store_cpu,
        100.0 * store_busy,
    );
}

/// Requests per second of a client that does nothing else.
async fn bare(bytes: usize, count: usize) -> f64 {
    const AT_ONCE: usize = 64;
    let receiver = ReceiverProcess::start();
    let client = http::client().unwrap();
    let body: &'static str = "x".repeat(bytes).leak();
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (client, body, url): (Client, _, _) = (client.clone(), body, receiver.url("fast"));
        tasks.spawn(async move {
            let url = Url::parse(&url).unwrap();
            for _ in 0..count / AT_ONCE {
                let sent = client.post(url.clone()).body(body).send().await.unwrap();
                assert!(sent.status().is_success());
                sent.bytes().await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    (count / AT_ONCE * AT_ONCE) as f64 / began.elapsed().as_secs_f64()
}

async fn drain(targets: usize, concurrency: usize, bytes: usize, count: usize) -> Drained {
    let mut receiver = ReceiverProcess::start();
    let folder = tempfile::tempdir().unwrap();
    let destinations = destinations(targets, &receiver.url("fast"));
    let names: Vec<Name> = destinations.iter().map(|(name, _)| name.clone()).collect();
    service::fill(folder.path(), 0, count / targets, bytes, &names);
    let mut service = Service::open(folder.path()).await;
    let used = || {
        let own = process::id();
        let of_store = |name: &str| name == "store" || name.starts_with("sled");
        [cpu(own, |_| true), cpu(own, of_store), cpu(receiver.id(), |_| true)]
    };
    let (before, began) = (used(), Instant::now());
    service.serve(&destinations, concurrency);
    service.until_delivered(&destinations, count).await;
    let (took, after) = (began.elapsed(), used());
    let (busy, settles) = service.store.work();
    service.stop().await;
    assert_eq!(receiver.count(), count);
    let [all, of_store, of_receiver] =
        std::array::from_fn(|n| after[n].saturating_sub(before[n])).map(|it: Duration| it.as_secs_f64());
    Drained {
        per_second: count as f64 / took.as_secs_f64(),
        cpu: 1000.0 * all / count as f64,
        receiver_cpu: 1000.0 * of_receiver / count as f64,
        store_cpu: of_store / all,
        store_busy: busy.as_secs_f64() / took.as_secs_f64(),
        per_settle: count as f64 / settles as f64,
    }
}
