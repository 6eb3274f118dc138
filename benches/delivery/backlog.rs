//! Measures what a destination that is down costs, and how it affects a healthy one.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use callwatch::name::Name;

use crate::{
    pace,
    process::memory_mb,
    quantile,
    receiver::ReceiverProcess,
    service::{self, Service, config_text},
};

/// How many deliveries are pending for the healthy destination.
const HEALTHY: usize = 20_000;

pub async fn run() {
    println!(
        "Deliveries of 1 KB pending for a destination that is down, beside a healthy one that first drains {HEALTHY} and \
         then gets 200 observations a second.\n"
    );
    println!(
        "| pending | memory MB when open | at the end | at most | opened in s | healthy deliveries/s | from commit p50 ms | p99 | `deliveries list` s | fill s | disk MB |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for pending in [0, 100_000, 1_000_000] {
        // In a process of its own, because the most memory is counted from its beginning.
        let mut command = Command::new(std::env::current_exe().unwrap());
        assert!(command.args(["--pending", &pending.to_string()]).status().unwrap().success());
    }
    println!();
}

pub async fn beside(pending: usize) {
    let mut receiver = ReceiverProcess::start();
    let folder = tempfile::tempdir().unwrap();
    let gone = [(Name::from("gone"), "http://127.0.0.1:9/".to_owned())];
    let healthy = [(Name::from("healthy"), receiver.url("fast"))];
    let began = Instant::now();
    if pending > 0 {
        service::fill(folder.path(), 10_000_000, pending, 1_000, &[gone[0].0.clone()]);
    }
    service::fill(folder.path(), 1_000_000, HEALTHY, 1_000, &[healthy[0].0.clone()]);
    let (filled, disk) = (began.elapsed().as_secs_f64(), size_of(folder.path()) as f64 / 1e6);
    let began = Instant::now();
    let mut service = Service::open(folder.path()).await;
    let opened = began.elapsed().as_secs_f64();
    let memory = |line| memory_mb(std::process::id(), line);
    let when_open = memory("VmRSS:");
    service.serve(&gone, 8);
    let began = Instant::now();
    service.serve(&healthy, 8);
    service.until_delivered(&healthy, HEALTHY).await;
    let per_second = HEALTHY as f64 / began.elapsed().as_secs_f64();
    let noted = [(Name::from("noted"), receiver.url("noted"))];
    service.serve(&noted, 8);
    let paced = pace::observe(&service, &mut receiver, &noted, 1_000, 200).await;
    service.stop().await;
    let listed = list(folder.path(), &[gone, healthy, noted].concat());
    println!(
        "| {pending} | {when_open:.0} | {:.0} | {:.0} | {opened:.1} | {per_second:.0} | {:.2} | {:.2} | {listed:.1} | {filled:.0} | {disk:.0} |",
        memory("VmRSS:"),
        memory("VmHWM:"),
        quantile(&paced.from_commit, 0.5),
        quantile(&paced.from_commit, 0.99),
    );
}

/// How long `deliveries list` takes, in seconds.
fn list(folder: &Path, destinations: &[(Name, String)]) -> f64 {
    let config = folder.join("config.toml");
    fs::write(&config, config_text(destinations, 8)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_callwatch"));
    command.args(["deliveries", "list", "--config"]).arg(config).stdout(Stdio::null());
    let began = Instant::now();
    assert!(command.status().unwrap().success());
    began.elapsed().as_secs_f64()
}

fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let size = |entry: fs::DirEntry| {
        if entry.path().is_dir() { size_of(&entry.path()) } else { entry.metadata().unwrap().len() }
    };
    entries.map(size).sum()
}
