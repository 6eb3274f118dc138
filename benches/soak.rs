//! `callwatch run` beside a moving list of 100,000 calls: `cargo bench --bench soak -- --for 10m`.
//!
//! Calls start, end and are analyzed, and old ones are edited and deleted. A webhook receiver is told of every change by
//! a feed. At the end, what arrived is held against what happened.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod process;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use callwatch::{
    demo::{
        books::Books,
        callem::SimulatedCallem,
        oracle::Promise,
        receivers::{Arrival, DEMO_SECRET, Message, WebhookReceiver},
        sighting::Sighting,
    },
    name::Name,
    time::{Clock, Timestamp},
};
use serde_json::{Value, json};
use tokio::time::sleep;

const CALLS: usize = 100_000;
const INTERVAL: Duration = Duration::from_secs(15);
const SWEEP: Duration = Duration::from_secs(180);

/// The messages that the config's only rule has to bring.
const PROMISES: &[Promise] = &[Promise { rule: "all", to: &["crm"], ..Promise::FEED }];

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let wanted = args.iter().position(|arg| arg == "--for").and_then(|at| args.get(at + 1));
    // Short by default, because `cargo bench` runs all benches.
    let duration = wanted.map_or(Duration::from_secs(60), |text| humantime::parse_duration(text).unwrap());
    let clock = Clock::system();
    let mut random = fastrand::Rng::with_seed(5);

    let callem = SimulatedCallem::start().await.unwrap();
    callem.set_rate_limit(Some(120));
    for number in 0..CALLS {
        callem.add(record(number, "completed", clock.wall()));
    }
    let crm = WebhookReceiver::start([DEMO_SECRET]).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    std::fs::write(&config, config_text(&callem, &crm)).unwrap();
    let begun = Instant::now();
    let process = process::Process::run(&config);
    println!("baseline of {CALLS} calls at 100 requests a minute …");
    let pages = CALLS.div_ceil(1000) as u64;
    callem.wait_for_requests(|counts| counts.pages > pages).await;
    // Two intervals later the baseline is certainly over, so that every change from here on is news.
    sleep(2 * INTERVAL + Duration::from_secs(10)).await;
    println!(
        "… took {:.0} s; now calls change for {}",
        begun.elapsed().as_secs_f64(),
        humantime::format_duration(duration)
    );

    let (cpu, requests, started) =
        (process::cpu(process.id(), |_| true), callem.request_counts().total(), Instant::now());
    let mut books = Books::new(PROMISES, [Name::from("crm")]);
    let mut live: Vec<(usize, u8, Instant)> = vec![];
    let mut next = CALLS;
    let mut peak = 0.0_f64;
    let mut touched = BTreeSet::new();
    while started.elapsed() < duration {
        sleep(Duration::from_millis(random.u64(500..2500))).await;
        peak = peak.max(process::memory_mb(process.id(), "VmRSS:"));
        let now = clock.wall();
        // callwatch guarantees to see a state that lasts longer than an interval, while the call is live or waits for
        // its analysis. So each state lasts longer.
        live.retain_mut(|(number, stage, since)| {
            if since.elapsed() < INTERVAL + Duration::from_secs(6) + Duration::from_secs(random.u64(..60)) {
                return true;
            }
            *stage += 1;
            *since = Instant::now();
            let id = id(*number);
            callem.update(&id, |call| match stage {
                1 => {
                    call["status"] = "completed".into();
                    call["updatedAt"] = now.to_string().into();
                }
                _ => {
                    call["callAnalysis"] = json!({"sentiment": "negative"});
                    call["updatedAt"] = now.to_string().into();
                }
            });
            books.happened(&id, Some(record_of(&callem, &id)), now);
            *stage < 2
        });
        match random.u8(..10) {
            0..6 => {
                let mut call = record(next, "live", now);
                call["callAnalysis"] = Value::Null;
                callem.add(call.clone());
                books.happened(&id(next), Some(Arc::new(call)), now);
                live.push((next, 0, Instant::now()));
                next += 1;
            }
            what => {
                let number = random.usize(..CALLS);
                if !touched.insert(number) || started.elapsed() + 3 * SWEEP > duration {
                    continue;
                }
                let id = id(number);
                books.known(&id, record_of(&callem, &id));
                if what < 9 {
                    callem.update(&id, |call| {
                        call["summary"] = "A late edit.".into();
                        call["updatedAt"] = now.to_string().into();
                    });
                    books.happened(&id, Some(record_of(&callem, &id)), now);
                } else {
                    callem.delete(&id);
                    books.happened(&id, None, now);
                }
            }
        }
    }
    let (cpu, requests, took) = (
        process::cpu(process.id(), |_| true) - cpu,
        callem.request_counts().total() - requests,
        started.elapsed(),
    );
    // The latest changes have yet to be found.
    sleep(2 * INTERVAL + Duration::from_secs(15)).await;
    report(books, &crm.inbox().arrivals());
    println!(
        "requests per minute {:.1}, CPU {:.2} % of one core, memory {peak:.0} MB",
        requests as f64 * 60.0 / took.as_secs_f64(),
        100.0 * cpu.as_secs_f64() / took.as_secs_f64(),
    );
}

/// Holds what arrived against what happened.
fn report(mut books: Books, arrivals: &[Arc<Arrival>]) {
    let crm = Name::from("crm");
    let mut lags: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for arrival in arrivals {
        let Message::Webhook { body, verified: true, .. } = &arrival.message else {
            panic!("a signed webhook")
        };
        let body: Value = serde_json::from_slice(body).unwrap();
        let sighting = Sighting::of(arrival);
        let receipt = books.arrived(&crm, &sighting, |debt| {
            sighting.tells(debt) && sighting.kinds == debt.kinds && body["data"]["call"] == *debt.call
        });
        for debt in &receipt.settled {
            let lag = receipt.latency.expect("what is owed happened at a known time");
            lags.entry(debt.kinds[0].as_str()).or_default().push(lag.as_secs_f64());
        }
    }
    for debt in books.owed() {
        println!("missed: {} of {}", debt.kinds[0], debt.call["id"]);
    }
    let receipts = books.receipts(&crm).cloned().unwrap_or_default();
    println!(
        "{} changes: {} missed, {} invented or told twice, {} repeated\n",
        books.changes(),
        books.owed().len(),
        receipts.unexpected,
        receipts.repeats
    );
    println!("| change | times | lag p50 s | p99 s | most s |");
    println!("|---|---:|---:|---:|---:|");
    for (what, mut lags) in lags {
        lags.sort_by(f64::total_cmp);
        let quantile = |q: f64| lags[((lags.len() - 1) as f64 * q) as usize];
        println!(
            "| {what} | {} | {:.1} | {:.1} | {:.1} |",
            lags.len(),
            quantile(0.5),
            quantile(0.99),
            quantile(1.0)
        );
    }
    println!();
}

/// The call's record as the API gives it now.
fn record_of(callem: &SimulatedCallem, id: &str) -> Arc<Value> {
    Arc::new(serde_json::from_str(&callem.record(id).unwrap()).unwrap())
}

fn id(number: usize) -> String {
    format!("{number:024x}")
}

fn record(number: usize, status: &str, now: Timestamp) -> Value {
    let age = Duration::from_secs(60 * (CALLS.saturating_sub(number)) as u64);
    let created = now.before(age).to_string();
    json!({
        "id": id(number), "status": status, "duration": 145, "summary": "The caller asked about a bill.",
        "evaluation": "success", "endedReason": "user_hangup", "callerNumber": "+33612345678",
        "calledNumber": "+33198765432", "isEngaged": true, "callAnalysis": {"sentiment": "positive"},
        "transcript": [{"role": "assistant", "content": "Hello, how can I help?"}],
        "createdAt": created, "updatedAt": created,
    })
}

fn config_text(callem: &SimulatedCallem, crm: &WebhookReceiver) -> String {
    format!(
        "[store]\npath = \"db\"\n[sources.s]\napi_key = \"ck_live_{}\"\nbase_url = \"{}\"\ninterval = \"{}\"\n\
         sweep = \"{}\"\npage_size = 1000\nrequests_per_minute = 100\n\
         [destinations.crm]\ntype = \"webhook\"\nurl = \"{}\"\nsecret = \"{DEMO_SECRET}\"\n\
         [rules.all]\non = [\"started\", \"ended\", \"analyzed\", \"updated\", \"deleted\"]\nto = [\"crm\"]\n",
        "0".repeat(60),
        callem.base_url(),
        humantime::format_duration(INTERVAL),
        humantime::format_duration(SWEEP),
        crm.url()
    )
}
