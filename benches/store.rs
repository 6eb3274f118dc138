//! Measures the store: `cargo bench --bench store`. It prints a table for each part. `-- WORD` runs only the parts whose
//! name contains the word. `-- million` takes minutes and runs only when named, and so do `-- nodes`, `-- shared-million` and
//! `-- bloat`, which need an empty database in `DATABASE_URL`. `CALLWATCH_DELIVERIES` sets how many deliveries they are about.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod observed;

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use callwatch::{
    call::{Call, CallId},
    config::{Connection, Secret, StoreConfig},
    content::ContentHash,
    kind::Kind,
    name::Name,
    snapshot::{RuleMemory, Snapshot},
    store::{
        Attempt, Claim, Commit, DeliveryFilter, DeliveryStateKind, Duty, Entry, Feed, Outcome, Position,
        PostgresConfig, PostgresStore, Query, Settlement, SledStore, Store, Token, Verdict,
    },
    time::Timestamp,
};
use serde_json::json;

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW: Timestamp = Timestamp::from_millis(1_765_809_145_000);

/// The size of a webhook, in bytes.
const BYTES: usize = 1_100;

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    if let [question, folder] = args.as_slice() {
        return match question.as_str() {
            "open" => opened(Path::new(folder)).await,
            "idle" => idle(Path::new(folder)).await,
            other => panic!("there is no part {other} that takes a folder"),
        };
    }
    let asked = args.first().map_or("", String::as_str);
    if "deliveries".contains(asked) {
        deliveries().await;
    }
    if "snapshots".contains(asked) {
        snapshots().await;
    }
    if asked == "nodes" {
        nodes().await;
    }
    if asked == "shared-million" {
        shared_million().await;
    }
    if asked == "bloat" {
        bloat().await;
    }
    if asked == "million" {
        million().await;
    }
}

/// Measures the time, the processor time and the bytes written of this process.
struct Meter {
    began: Instant,
    cpu: f64,
    written: f64,
}

impl Meter {
    fn begin() -> Self {
        Self { began: Instant::now(), cpu: cpu_seconds(), written: written() }
    }

    fn end(self, what: &str, done: usize) {
        let (took, cpu) = (self.began.elapsed().as_secs_f64(), cpu_seconds() - self.cpu);
        println!(
            "  {what:34} {:>9.0}/s {:>8.3} CPU s and {:>8.0} KB written per 1,000",
            done as f64 / took,
            cpu * 1000.0 / done as f64,
            (written() - self.written) / done as f64,
        );
    }
}

/// Commits and settles deliveries of events of 1 KB, each of a call of its own.
async fn deliveries() {
    println!("deliveries of 1 KB to one destination, every commit and every group of outcomes awaited");
    let crm = [Name::from("crm")];
    for (per_commit, count) in [(1, 10_000), (13, 52_000)] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await;
        let meter = Meter::begin();
        fill(&store, 0, count, per_commit, &crm).await;
        meter.end(&format!("commits of {per_commit}"), count);
        store.close().await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let count = 120_000;
    fill(&store, 0, count, 104, &crm).await;
    let claim = claim(&store, &Duty::Destination(crm[0].clone())).await;
    let tokens = tokens(&store, &claim).await;
    let mut rest = tokens.as_slice();
    for group in [8, 64, 256] {
        for lazy in [false, true] {
            let (these, after) = rest.split_at(20_000);
            rest = after;
            let meter = Meter::begin();
            for tokens in these.chunks(group) {
                let bodies = store.bodies(tokens).await.unwrap();
                assert!(bodies.iter().all(Option::is_some));
                store.settle(&claim, settlement(tokens, &Verdict::Delivered, lazy)).await.unwrap();
            }
            let how = if lazy { "flushed" } else { "synced" };
            meter.end(&format!("bodies and outcomes of {group}, {how}"), these.len());
        }
    }
    store.close().await.unwrap();
}

async fn fill(store: &dyn Store, from: usize, count: usize, per_commit: usize, destinations: &[Name]) {
    let claim = claim(store, &Duty::Source("clinic".into())).await;
    for number in (from..from + count).step_by(per_commit) {
        let commit =
            observed::commit(number, per_commit.min(from + count - number), BYTES, destinations, NOW);
        store.commit(&claim, commit).await.unwrap();
    }
}

async fn claim(store: &dyn Store, duty: &Duty) -> Claim {
    store.claim(duty).await.unwrap().unwrap()
}

/// All unfinished deliveries, read as the owner of a destination reads them.
async fn tokens(store: &dyn Store, claim: &Claim) -> Vec<Token> {
    let mut all = vec![];
    let mut next = Position::START;
    loop {
        let Feed { entries, next: after, .. } = store.pending(claim, next, 2000).await.unwrap();
        next = after;
        let is_last = entries.len() < 2000;
        all.extend(entries.into_iter().map(|entry| match entry {
            Entry::Unfinished(pending) => pending.token,
            Entry::Gone(token) => token,
        }));
        if is_last {
            return all;
        }
    }
}

fn settlement(tokens: &[Token], verdict: &Verdict, lazy: bool) -> Settlement {
    let outcome = |token: &Token| Outcome {
        token: *token,
        number: 1,
        attempt: Attempt { at: NOW, took_ms: 3, result: "200 OK".to_owned(), response: "ok".to_owned() },
        verdict: verdict.clone(),
    };
    Settlement { outcomes: tokens.iter().map(outcome).collect(), lazy, ..Settlement::new(NOW) }
}

/// Commits and delivers with one, two and three processes' stores over one database, beside the embedded one. The processor
/// time is that of this process: the database's is not in it.
async fn nodes() {
    const EACH: usize = 13_000;
    println!("deliveries of 1 KB, committed in groups of 13, read, and settled in groups of 64, all durable");
    let folder = tempfile::tempdir().unwrap();
    let embedded = open(folder.path()).await;
    let meter = Meter::begin();
    work(&embedded, 0, EACH).await;
    meter.end("embedded", EACH);
    embedded.close().await.unwrap();
    let meter = Meter::begin();
    bare_loop(EACH).await;
    meter.end("a bare loop over PostgreSQL", EACH);
    for nodes in 1..=3 {
        let mut stores = vec![];
        for _ in 0..nodes {
            stores.push(shared().await);
        }
        let meter = Meter::begin();
        let mut all = tokio::task::JoinSet::new();
        for (number, store) in stores.into_iter().enumerate() {
            all.spawn(async move {
                work(&store, nodes * 10 + number, EACH).await;
                store.close().await.unwrap();
            });
        }
        all.join_all().await;
        meter.end(&format!("PostgreSQL, {nodes} nodes"), nodes * EACH);
    }
}

/// The address of the database.
fn database_url() -> String {
    std::env::var("DATABASE_URL").expect("DATABASE_URL names an empty database")
}

async fn shared() -> PostgresStore {
    let (url, connection) = (Secret::from(database_url().as_str()), Connection::default());
    PostgresStore::open(&PostgresConfig { url, connection, lease: Duration::from_secs(6000) }).await.unwrap()
}

/// A connection to the database that knows nothing of callwatch.
async fn plain() -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(&database_url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The least that a queue in a database has to do: one table, rows that are inserted in groups of 13, locked in groups of 64, and
/// updated. No claims, no counts, no order, no attempts.
async fn bare_loop(count: usize) {
    let (source, destination) = (plain().await, plain().await);
    let table = "CREATE TABLE bare (id bigserial PRIMARY KEY, state smallint NOT NULL DEFAULT 0, body bytea NOT NULL); \
                 CREATE INDEX ON bare (id) WHERE state = 0";
    source.batch_execute(table).await.unwrap();
    let committing = async {
        let insert = source.prepare("INSERT INTO bare (body) SELECT unnest($1::bytea[])").await.unwrap();
        for _ in (0..count).step_by(13) {
            source.execute(&insert, &[&vec![vec![b'x'; BYTES]; 13]]).await.unwrap();
        }
    };
    let delivering = async {
        let take = "WITH taken AS (SELECT id FROM bare WHERE state = 0 ORDER BY id LIMIT 64 FOR UPDATE SKIP LOCKED) \
                    UPDATE bare b SET state = 2 FROM taken WHERE b.id = taken.id RETURNING b.body";
        let take = destination.prepare(take).await.unwrap();
        let mut done = 0;
        while done < count {
            done += destination.query(&take, &[]).await.unwrap().len();
        }
    };
    tokio::join!(committing, delivering);
    source.batch_execute("DROP TABLE bare").await.unwrap();
}

/// How much each of the largest tables takes, with its indexes.
async fn sizes(what: &str) {
    let sql = "SELECT relname, pg_table_size(c.oid), pg_indexes_size(c.oid) FROM pg_class c \
               JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'callwatch' AND relkind = 'r' \
               ORDER BY pg_total_relation_size(c.oid) DESC LIMIT 4";
    println!("  {what}");
    for row in plain().await.query(sql, &[]).await.unwrap() {
        let (name, table, indexes): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
        println!("    {name:24} {:>9.1} MB, indexes {:>9.1} MB", table as f64 / 1e6, indexes as f64 / 1e6);
    }
}

fn count_of(least: usize) -> usize {
    std::env::var("CALLWATCH_DELIVERIES").map_or(least, |count| count.parse().unwrap())
}

/// Measures a million pending deliveries in a database.
async fn shared_million() {
    let count = count_of(1_000_000);
    println!("{count} pending deliveries of 1 KB in a database, in commits of 100");
    let store = shared().await;
    let meter = Meter::begin();
    fill(&store, 0, count, 100, &[Name::from("crm")]).await;
    meter.end("filled", count);
    println!("  memory after that        {:>9.0} MB", memory("VmRSS:") / 1e6);
    sizes("in the database").await;
    ask_about(&store).await;
    store.close().await.unwrap();
}

/// Measures how tables and indexes grow while somebody holds an old snapshot, which keeps a vacuum from clearing up.
async fn bloat() {
    let count = count_of(2_000_000);
    println!("{count} deliveries of 1 KB that are made and arrive, beside a transaction that stays open");
    let (holder, store) = (plain().await, shared().await);
    holder
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM callwatch.duties")
        .await
        .unwrap();
    let meter = Meter::begin();
    work(&store, 0, count).await;
    meter.end("made and arrived", count);
    sizes("while it is open").await;
    holder.batch_execute("COMMIT").await.unwrap();
    plain().await.batch_execute("VACUUM").await.unwrap();
    sizes("after it, and a vacuum").await;
    let meter = Meter::begin();
    work(&store, 1, count / 10).await;
    meter.end("a tenth as many again", count / 10);
    sizes("after those").await;
    store.close().await.unwrap();
}

/// The work of a source and of its destination, at the same time.
async fn work(store: &dyn Store, number: usize, count: usize) {
    let destination = Name::from(format!("crm{number}"));
    let source = claim(store, &Duty::Source(format!("clinic{number}").as_str().into())).await;
    let owner = claim(store, &Duty::Destination(destination.clone())).await;
    let committing = async {
        for from in (0..count).step_by(13) {
            let from = number * 1_000_000 + from;
            let commit = observed::commit(from, 13, BYTES, std::slice::from_ref(&destination), NOW);
            store.commit(&source, commit).await.unwrap();
        }
    };
    let delivering = async {
        let (mut next, mut done) = (Position::START, 0);
        while done < count {
            let Feed { entries, next: after, .. } = store.pending(&owner, next, 64).await.unwrap();
            next = after;
            let tokens: Vec<_> = (entries.iter())
                .map(|entry| match entry {
                    Entry::Unfinished(pending) => pending.token,
                    Entry::Gone(token) => *token,
                })
                .collect();
            if tokens.is_empty() {
                tokio::task::yield_now().await;
                continue;
            }
            assert!(store.bodies(&tokens).await.unwrap().iter().all(Option::is_some));
            store.settle(&owner, settlement(&tokens, &Verdict::Delivered, true)).await.unwrap();
            done += tokens.len();
        }
    };
    tokio::join!(committing, delivering);
}

/// Measures the memory, the disk space and the queries of a million pending deliveries.
async fn million() {
    let count = count_of(1_000_000);
    for per_commit in [13, 1] {
        println!("{count} pending deliveries of 1 KB in commits of {per_commit}");
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await;
        let meter = Meter::begin();
        fill(&store, 0, count, per_commit, &[Name::from("crm")]).await;
        meter.end("filled", count);
        println!("  memory after that        {:>9.0} MB", memory("VmRSS:") / 1e6);
        // Ends as after a kill, when nothing is folded or closed in good order.
        store.kill().await;
        println!("  on disk                  {:>9.0} MB", size_of(folder.path()) as f64 / 1e6);
        run_apart("open", folder.path());
    }
}

/// Runs a part in a process of its own, so that its memory is only that of the store.
fn run_apart(part: &str, folder: &Path) {
    let status = Command::new(std::env::current_exe().unwrap()).arg(part).arg(folder).status().unwrap();
    assert!(status.success());
}

async fn opened(folder: &Path) {
    let began = Instant::now();
    let store = open(folder).await;
    println!("  opened in                {:>9.2} s", began.elapsed().as_secs_f64());
    println!("  memory then              {:>9.0} MB", memory("VmRSS:") / 1e6);
    ask_about(&store).await;
    store.close().await.unwrap();
    println!("  on disk                  {:>9.0} MB", size_of(folder) as f64 / 1e6);
}

/// Measures what the owner of a destination with a long backlog does, and the questions of people beside it.
async fn ask_about(store: &dyn Store) {
    let before = memory("VmRSS:");
    let crm = claim(store, &Duty::Destination("crm".into())).await;
    let began = Instant::now();
    let tokens = tokens(store, &crm).await;
    println!("  feed of {:>9} read in {:>9.2} s", tokens.len(), began.elapsed().as_secs_f64());
    println!("  memory then              {:>9.0} MB ({:.0} before)", memory("VmRSS:") / 1e6, before / 1e6);
    let began = Instant::now();
    assert!(store.bodies(&tokens[..64]).await.unwrap().iter().all(Option::is_some));
    println!("  first 64 bodies in       {:>9.2} ms", millis(began));
    // Some are dead, most are delivered, a tenth stays pending.
    let meter = Meter::begin();
    for (number, tokens) in tokens[..tokens.len() / 10 * 9].chunks(256).enumerate() {
        let verdict = if number % 50 == 0 { Verdict::Dead("gone".to_owned()) } else { Verdict::Delivered };
        store.settle(&crm, settlement(tokens, &verdict, true)).await.unwrap();
    }
    meter.end("settled in groups of 256", tokens.len() / 10 * 9);
    println!("  memory then              {:>9.0} MB", memory("VmRSS:") / 1e6);
    let page = store.query(&Query { limit: 1, ..Query::default() }).await.unwrap();
    let newest = &page.items[0];
    let old_call = CallId::from(format!("{:024x}", 12_345));
    let of = DeliveryFilter::default;
    let questions = [
        ("newest 50", of()),
        ("newest 50 pending", DeliveryFilter { state: Some(DeliveryStateKind::Pending), ..of() }),
        ("newest 50 delivered", DeliveryFilter { state: Some(DeliveryStateKind::Delivered), ..of() }),
        ("newest 50 dead", DeliveryFilter { state: Some(DeliveryStateKind::Dead), ..of() }),
        ("of an old call", DeliveryFilter { call: Some(old_call), ..of() }),
        ("of no call", DeliveryFilter { call: Some("nobody".into()), ..of() }),
        ("of a rule that never fired", DeliveryFilter { rule: Some("never".into()), ..of() }),
        ("of an event", DeliveryFilter { event: Some(newest.id.event.clone()), ..of() }),
    ];
    for (what, filter) in questions {
        let times: Vec<f64> = {
            let mut times = vec![];
            for _ in 0..5 {
                let began = Instant::now();
                let query = Query { filter: filter.clone(), limit: 50, ..Query::default() };
                store.query(&query).await.unwrap();
                times.push(millis(began));
            }
            times
        };
        let warm = times.iter().copied().fold(f64::MAX, f64::min);
        println!("  {what:26} {:>7.2} ms at first, {warm:.2} ms warm", times[0]);
    }
    let upkeep = claim(store, &Duty::Upkeep).await;
    let meter = Meter::begin();
    let purged = store.purge(&upkeep, NOW.after(Duration::from_secs(9)), 100_000).await.unwrap();
    meter.end("purged", purged);
}

/// Measures the memory of a process that has a store of known calls open, and how long it takes to read them.
async fn snapshots() {
    println!("settled calls, each told once by two rules to one destination");
    for (calls, shrunk) in [(1_000, false), (10_000, false), (1_000_000, true)] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await;
        let source = claim(&store, &Duty::Source("clinic".into())).await;
        let began = Instant::now();
        for from in (0..calls).step_by(500) {
            let snapshots = (from..from + 500).map(|number| settled(number, shrunk)).collect();
            store.commit(&source, Commit { snapshots, ..Commit::default() }).await.unwrap();
        }
        store.close().await.unwrap();
        println!("{calls} calls, {}", if shrunk { "shrunk" } else { "in full" });
        println!("  written in               {:>9.1} s", began.elapsed().as_secs_f64());
        println!("  on disk                  {:>9.0} MB", size_of(folder.path()) as f64 / 1e6);
        run_apart("idle", folder.path());
    }
}

async fn idle(folder: &Path) {
    let began = Instant::now();
    let store = open(folder).await;
    let mut after = None;
    while let Some(last) = store.known(&"clinic".into(), after.as_ref(), 2000).await.unwrap().last() {
        after = Some(last.id.clone());
    }
    println!("  opened and read in       {:>9.2} s", began.elapsed().as_secs_f64());
    println!("  memory then              {:>9.1} MB", memory("VmRSS:") / 1e6);
    store.close().await.unwrap();
}

/// The snapshot of a call that has been through two states.
fn settled(number: usize, shrunk: bool) -> (CallId, Snapshot) {
    let id = CallId::from(format!("{:024x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
    let record = json!({
        "id": id.as_str(), "status": "completed", "summary": "s".repeat(300),
        "callAnalysis": {"sentiment": "positive"}, "createdAt": "2025-12-15T14:30:00.000Z",
        "updatedAt": "2025-12-15T14:32:25.000Z", "transcript": [],
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
    if shrunk {
        snapshot.shrink();
    }
    (id, snapshot)
}

fn config(folder: &Path) -> StoreConfig {
    StoreConfig {
        path: folder.join("callwatch.db"),
        database: None,
        retain: Duration::from_secs(86400),
        cache: 64_000_000,
    }
}

async fn open(folder: &Path) -> SledStore {
    SledStore::open(&config(folder)).await.unwrap()
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| match entry.path().is_dir() {
            true => size_of(&entry.path()),
            false => entry.metadata().unwrap().len(),
        })
        .sum()
}

/// The memory of this process, in bytes: `VmRSS:` now, `VmHWM:` at its peak.
fn memory(of: &str) -> f64 {
    number_in("/proc/self/status", of) * 1024.0
}

/// The bytes that this process has written so far.
fn written() -> f64 {
    number_in("/proc/self/io", "write_bytes:")
}

fn number_in(file: &str, line: &str) -> f64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let found = text.lines().find_map(|found| found.strip_prefix(line)).unwrap_or_default();
    found.trim().trim_end_matches(" kB").parse().unwrap_or(0.0)
}

/// The processor time of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = fields.iter().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / 100.0
}
