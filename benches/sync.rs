//! Measures what watching costs: `cargo bench --bench sync`. Both sides of a ratio are measured in one run.
//!
//! * `unchanged`: reading pages of known calls, compared with parsing the same bytes as `serde_json::Value`.
//! * `lag`: the time from a change to its report, simulated, as a fraction of `interval`.
//! * `idle`: one poll of the real binary while nothing changes, by the number of calls.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code)]
#[path = "../tests/it/planner/api.rs"]
mod api;
#[allow(dead_code)]
#[path = "../tests/it/planner/driver.rs"]
mod driver;
mod process;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use callwatch::{
    call::{Call, RecordHash},
    callem::{Bounds, Page},
    change::kinds_of_first_sight,
    demo::callem::{Asked, SimulatedCallem},
    snapshot::Snapshot,
    store::KnownCall,
    sync::{index::Index, planner::Settings},
    time::Timestamp,
};
use serde_json::{Value, json};

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|arg| arg == name);
    if is_wanted("unchanged") {
        unchanged();
    }
    if is_wanted("lag") {
        lag();
    }
    if is_wanted("idle") {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(idle());
    }
}

/// A call whose record has about `bytes` bytes.
fn call(number: usize, bytes: usize) -> Value {
    let turn = "I would like to move my appointment to next Tuesday, if that is possible. ";
    let turns = bytes.saturating_sub(500) / (turn.len() + 40);
    let turn = |n: usize| {
        let role = if n.is_multiple_of(2) { "assistant" } else { "user" };
        json!({ "role": role, "content": turn })
    };
    let transcript: Vec<Value> = (0..turns).map(turn).collect();
    json!({
        "id": format!("{number:024x}"), "status": "completed", "duration": 145,
        "summary": "The caller asked about appointment availability next Tuesday.", "evaluation": "success",
        "endedReason": "user_hangup", "callerNumber": "+33612345678", "calledNumber": "+33198765432",
        "isEngaged": true,
        "callAnalysis": {"sentiment": "positive", "leadQuality": "hot", "appointmentBooked": true},
        "transcript": transcript,
        "createdAt": "2025-12-15T14:30:00.000Z", "updatedAt": "2025-12-15T14:32:25.000Z",
    })
}

/// Megabytes per second in the best of several rounds, which was disturbed least.
fn throughput(bytes: usize, mut work: impl FnMut()) -> f64 {
    let best = (0..9).map(|_| {
        let started = Instant::now();
        work();
        started.elapsed()
    });
    bytes as f64 / 1e6 / best.min().unwrap().as_secs_f64()
}

/// A page without news is split into raw slices, which are hashed and looked up in the index.
fn unchanged() {
    println!("unchanged pages, 1,000 calls each, one core\n");
    println!(
        "| bytes per call | `Value` MB/s | raw slices MB/s | callwatch MB/s | against `Value` | against raw |"
    );
    println!("|---:|---:|---:|---:|---:|---:|");
    for size in [1_000, 8_000, 32_000] {
        let calls: Vec<Value> = (0..1000).map(|n| call(n, size)).collect();
        let body = json!({"data": calls, "pagination": {"total": 1000, "limit": 1000, "offset": 0}});
        let body = serde_json::to_vec(&body).unwrap();
        let mut index = Index::new(Duration::from_secs(3600));
        let bounds = Bounds { records: 1000, record: 4 << 20 };
        let read = || Page::read(black_box(&body).clone(), bounds).unwrap();
        for record in read().records() {
            let call = Call::parse(serde_json::from_str(record.unwrap()).unwrap()).unwrap();
            let snapshot = Snapshot::first(&call, kinds_of_first_sight(&call), Timestamp::from_millis(0));
            index.insert(&KnownCall::of(call.id().clone(), &snapshot));
        }
        let as_value = throughput(body.len(), || {
            black_box(serde_json::from_slice::<Value>(black_box(&body)).unwrap());
        });
        let as_raw = throughput(body.len(), || {
            black_box(read().len());
        });
        let ours = throughput(body.len(), || {
            let page = read();
            let known = page.records().filter_map(|record| {
                let slot = index.slot_of_record(RecordHash::of(record.ok()?.as_bytes()))?;
                Some(index.row(slot, false, false))
            });
            assert_eq!(black_box(known.count()), 1000);
        });
        println!(
            "| {} | {as_value:.0} | {as_raw:.0} | {ours:.0} | {:.1}× | {:.0} % |",
            body.len() / 1000,
            ours / as_value,
            100.0 * ours / as_raw
        );
    }
    println!();
}

/// Calls that start and end at random moments while the list is walked, in simulated time.
fn lag() {
    use api::{Api, Happening, Manners, Order, Total};
    use driver::{Driver, What, settings};
    println!("from a change to its report, simulated, as a fraction of `interval`\n");
    println!("| calls in the list | order | reports | p50 | p90 | p99 | requests per minute |");
    println!("|---:|---|---:|---:|---:|---:|---:|");
    for history in [1_000, 20_000] {
        for order in [Order::Newest, Order::Oldest, Order::LatestUpdateFirst, Order::Shuffled] {
            let settings = Settings { sweep: Duration::from_secs(3600), ..settings(100, 100, 7) };
            let interval = settings.interval.as_millis() as f64;
            let mut random = fastrand::Rng::with_seed(11);
            // Long after the baseline. A call starts every 20 s on average, and each start is news.
            let begin = 2 * 3_600_000;
            let mut when = begin;
            let mut happenings = vec![];
            let mut started = vec![];
            for _ in 0..600 {
                when += random.i64(1..40_000);
                happenings.push((when, Happening::Start));
                started.push(when);
            }
            let manners = Manners {
                order,
                total: Total::True,
                clamp: None,
                short: false,
                ignores_offset: false,
                has_get: true,
                error_one_in: None,
                bad_one_in: None,
                latency_ms: 100,
                flaps: false,
                flaps_updated: false,
                shows_one_in: None,
            };
            let mut driver = Driver::new(Api::new(manners, history, 0, 3), settings, happenings, vec![]);
            driver.run(when + 120_000);
            let news = driver.reports.iter().filter(|report| report.what == What::New);
            let mut lags: Vec<f64> =
                news.zip(&started).map(|(report, at)| (report.at - at) as f64 / interval).collect();
            lags.sort_by(f64::total_cmp);
            let quantile = |q: f64| lags[((lags.len() - 1) as f64 * q) as usize];
            let requests = driver.requests.iter().filter(|request| request.at >= begin).count();
            println!(
                "| {history} | {order:?} | {} | {:.2} | {:.2} | {:.2} | {:.1} |",
                lags.len(),
                quantile(0.5),
                quantile(0.9),
                quantile(0.99),
                requests as f64 * 60_000.0 / (when - begin) as f64
            );
        }
    }
    println!();
}

/// Runs the real binary while no call changes.
async fn idle() {
    println!("one idle poll of the real binary, by the number of calls\n");
    println!("| calls | requests per poll | KB per poll | CPU ms per poll | memory MB | baseline s |");
    println!("|---:|---:|---:|---:|---:|---:|");
    for history in [1_000, 10_000, 100_000, 1_000_000] {
        let callem = SimulatedCallem::start().await.unwrap();
        callem.set_rate_limit(None);
        for number in 0..history {
            callem.add(call(number, 700));
        }
        let bytes = serde_json::to_vec(&call(0, 700)).unwrap().len();
        let dir = tempfile::tempdir().unwrap();
        let interval = Duration::from_millis(250);
        let config = format!(
            "[store]\npath = \"db\"\n[sources.s]\napi_key = \"ck_live_{}\"\nbase_url = \"{}\"\ninterval = \"250ms\"\n\
             sweep = \"30d\"\npage_size = 1000\nrequests_per_minute = 1000000\n\
             [destinations.d]\ntype = \"webhook\"\nurl = \"http://127.0.0.1:9/\"\n[rules.r]\non = [\"ended\"]\nto = [\"d\"]\n",
            "0".repeat(60),
            callem.base_url()
        );
        let path = dir.path().join("config.toml");
        std::fs::write(&path, config).unwrap();
        let started = Instant::now();
        let process = process::Process::run(&path);
        let pages = history.div_ceil(1000) as u64;
        callem.wait_for_requests(|counts| counts.pages > pages).await;
        // The baseline is over once no more requests come than one per interval.
        let baseline = loop {
            let before = callem.request_counts().total();
            let at = started.elapsed();
            tokio::time::sleep(8 * interval).await;
            if callem.request_counts().total() - before <= 9 {
                break at;
            }
        };
        let (cpu, asked) = (process::cpu(process.id(), |_| true), callem.requests().len());
        tokio::time::sleep(80 * interval).await;
        let cpu = process::cpu(process.id(), |_| true) - cpu;
        let requests = callem.requests().split_off(asked);
        let rows: usize = requests
            .iter()
            .map(|request| match &request.asked {
                Asked::Page { query } => limit(query).min(history),
                Asked::Call { .. } => 1,
            })
            .sum();
        let polls = 80.0;
        println!(
            "| {history} | {:.2} | {:.1} | {:.2} | {:.0} | {:.1} |",
            requests.len() as f64 / polls,
            (rows * bytes) as f64 / 1e3 / polls,
            cpu.as_secs_f64() * 1e3 / polls,
            process::memory_mb(process.id(), "VmRSS:"),
            baseline.as_secs_f64()
        );
    }
    println!();
}

fn limit(query: &str) -> usize {
    query.split('&').find_map(|part| part.strip_prefix("limit=")).map_or(100, |n| n.parse().unwrap())
}
