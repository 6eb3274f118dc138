//! Measures how soon after a commit a webhook arrives.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use callwatch::{name::Name, store::Store, time::Clock};
use tokio::{task::JoinSet, time::MissedTickBehavior};

use crate::{
    observed,
    process::cpu,
    quantile,
    receiver::ReceiverProcess,
    service::{Service, destinations, source_claim},
};

const FOR: Duration = Duration::from_secs(10);

pub async fn run() {
    println!(
        "The time from the commit of an observation to its arrival, in ms. Every observation is a commit of its own.\n"
    );
    println!(
        "| destinations | body KB | observations/s | arrivals/s | p50 | p99 | most | from durable p50 | p99 | \
         CPU s per 1,000 |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for (targets, bytes, rate) in
        [(1, 1_000, 200), (1, 1_000, 1_000), (1, 20_000, 200), (1, 20_000, 1_000), (10, 1_000, 100)]
    {
        let paced = pace(targets, bytes, rate).await;
        println!(
            "| {targets} | {} | {rate} | {:.0} | {:.2} | {:.2} | {:.1} | {:.2} | {:.2} | {:.3} |",
            bytes / 1000,
            paced.per_second,
            quantile(&paced.from_commit, 0.5),
            quantile(&paced.from_commit, 0.99),
            quantile(&paced.from_commit, 1.0),
            quantile(&paced.from_durable, 0.5),
            quantile(&paced.from_durable, 0.99),
            paced.cpu,
        );
    }
    println!();
}

/// The times to the arrival, in ms and sorted.
pub struct Paced {
    /// From the call of `commit`.
    pub from_commit: Vec<f64>,
    /// From its return, when the observation is durable.
    pub from_durable: Vec<f64>,
    per_second: f64,
    /// CPU seconds per 1,000 deliveries.
    cpu: f64,
}

async fn pace(targets: usize, bytes: usize, rate: usize) -> Paced {
    let mut receiver = ReceiverProcess::start();
    let folder = tempfile::tempdir().unwrap();
    let destinations = destinations(targets, &receiver.url("noted"));
    let mut service = Service::open(folder.path()).await;
    service.serve(&destinations, 8);
    let before = cpu(std::process::id(), |_| true);
    let paced = observe(&service, &mut receiver, &destinations, bytes, rate).await;
    let used = cpu(std::process::id(), |_| true) - before;
    service.stop().await;
    Paced { cpu: 1000.0 * used.as_secs_f64() / paced.from_commit.len() as f64, ..paced }
}

/// Commits `rate` observations a second for a while, whatever else the service does, and waits until all have arrived.
pub async fn observe(
    service: &Service,
    receiver: &mut ReceiverProcess,
    destinations: &[(Name, String)],
    bytes: usize,
    rate: usize,
) -> Paced {
    let names: Vec<Name> = destinations.iter().map(|(name, _)| name.clone()).collect();
    let observed = rate * FOR.as_secs() as usize;
    let before = service.delivered(destinations);
    let committed = Arc::new(Mutex::new(HashMap::new()));
    let claim = source_claim(&*service.store).await;
    let mut ticks = tokio::time::interval(FOR / observed as u32);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut commits = JoinSet::new();
    let began = Instant::now();
    for number in 0..observed {
        ticks.tick().await;
        let commit = observed::commit(number, 1, bytes, &names, Clock::system().wall());
        let (store, claim, committed) = (Arc::clone(&service.store), claim.clone(), Arc::clone(&committed));
        commits.spawn(async move {
            let (id, began) = (commit.events[0].event.id.to_string(), SystemTime::now());
            store.commit(&claim, commit).await.unwrap();
            committed.lock().unwrap().insert(id, (began, SystemTime::now()));
        });
    }
    commits.join_all().await;
    service.until_delivered(destinations, before + observed * destinations.len()).await;
    let took = began.elapsed();
    let arrivals = receiver.arrivals();
    assert_eq!(arrivals.len(), observed * destinations.len());
    let committed = committed.lock().unwrap();
    let (mut from_commit, mut from_durable): (Vec<f64>, Vec<f64>) = arrivals
        .into_iter()
        .map(|(id, at)| {
            let (began, durable) = committed[&id];
            let since = |then| at.duration_since(then).unwrap_or_default().as_secs_f64() * 1000.0;
            (since(began), since(durable))
        })
        .unzip();
    from_commit.sort_by(f64::total_cmp);
    from_durable.sort_by(f64::total_cmp);
    let per_second = from_commit.len() as f64 / took.as_secs_f64();
    Paced { from_commit, from_durable, per_second, cpu: 0.0 }
}
