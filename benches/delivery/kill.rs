//! Measures how soon after a SIGKILL and a restart all that was in flight arrives again.

use std::{
    collections::HashSet,
    fs,
    time::{Duration, Instant, SystemTime},
};

use callwatch::name::Name;
use tokio::time::sleep;

use crate::{
    process::{Process, memory_mb},
    quantile,
    receiver::ReceiverProcess,
    service::{self, config_text, destinations},
};

const CONCURRENCY: usize = 8;
const KILLS: usize = 5;

pub async fn run() {
    println!(
        "`callwatch run` killed {KILLS} times with {CONCURRENCY} deliveries in flight to a slow receiver, and started again: \
         the time from the start until all of those have arrived again.\n"
    );
    println!("| pending | p50 s | most s | memory at most MB |");
    println!("|---:|---:|---:|---:|");
    for pending in [1_000, 100_000, 1_000_000] {
        let mut receiver = ReceiverProcess::start();
        let folder = tempfile::tempdir().unwrap();
        let crm = destinations(1, &receiver.url("slow"));
        let config = folder.path().join("config.toml");
        fs::write(&config, config_text(&crm, CONCURRENCY)).unwrap();
        service::fill(folder.path(), 0, pending, 1_000, &[Name::clone(&crm[0].0)]);
        let mut process = Process::run(&config);
        let mut resumed = vec![];
        for _ in 0..KILLS {
            receiver.arrivals();
            // Several rounds, of which the last has just begun.
            let mut arrived = vec![];
            while arrived.len() < 3 * CONCURRENCY {
                sleep(Duration::from_millis(5)).await;
                arrived.append(&mut receiver.arrivals());
            }
            drop(process);
            arrived.append(&mut receiver.arrivals());
            let mut missing: HashSet<String> =
                arrived.split_off(arrived.len() - CONCURRENCY).into_iter().map(|(id, _)| id).collect();
            let (began, patience) = (SystemTime::now(), Instant::now());
            process = Process::run(&config);
            let mut last = began;
            while !missing.is_empty() {
                assert!(
                    patience.elapsed() < Duration::from_secs(60),
                    "not all that was in flight arrived again"
                );
                sleep(Duration::from_millis(5)).await;
                for (id, at) in receiver.arrivals() {
                    if missing.remove(&id) {
                        last = last.max(at);
                    }
                }
            }
            resumed.push(last.duration_since(began).unwrap().as_secs_f64());
        }
        resumed.sort_by(f64::total_cmp);
        let memory = memory_mb(process.id(), "VmHWM:");
        println!(
            "| {pending} | {:.2} | {:.2} | {memory:.0} |",
            quantile(&resumed, 0.5),
            quantile(&resumed, 1.0)
        );
    }
    println!();
}
