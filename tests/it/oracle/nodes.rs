//! Several processes over one PostgreSQL: they are killed, stopped for longer than their lease, cut off from the database, ended
//! in good order, upgraded one after the other, and the database crashes. Everything arrives all the same, in order and as it was.
//!
//! `CALLWATCH_ROUNDS` sets how often something happens, and `CALLWATCH_SEED` what.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixStream},
    process::Command,
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Instance, arrivals::Arrivals, asked, check_store, config, crowd::Crowd, from_env, history::Histories,
    last_lines, verdict::judge,
};
use crate::{postgres, rig::PATIENCE};

/// How often something happens unless `CALLWATCH_ROUNDS` says otherwise.
const ROUNDS: u64 = 7;

/// How many processes there are.
const NODES: usize = 3;

/// The lease, as the config below has it.
const LEASE: Duration = Duration::from_secs(3);

/// A way to the database that can be cut: then nothing gets through, and nobody is told.
struct Way {
    address: SocketAddr,
    cut: watch::Sender<bool>,
}

impl Way {
    async fn to(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, is_cut) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (socket, is_cut) = (socket.clone(), is_cut.clone());
                tokio::spawn(async move {
                    let Ok(far) = UnixStream::connect(&socket).await else { return };
                    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                    // When one direction ends, the connection does.
                    tokio::select! {
                        () = carry(near_in, far_out, is_cut.clone()) => {}
                        () = carry(far_in, near_out, is_cut) => {}
                    }
                });
            }
        });
        Self { address, cut }
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut is_cut: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(count) = from.read(&mut buffer).await else { return };
        // Whoever is cut off finds out by waiting.
        if count == 0
            || is_cut.wait_for(|cut| !cut).await.is_err()
            || to.write_all(&buffer[..count]).await.is_err()
        {
            return;
        }
    }
}

async fn signal(node: &Instance, signal: &str) {
    let pid = node.process.as_ref().unwrap().id().unwrap().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().await.unwrap().success());
}

/// Waits for the end after SIGTERM.
async fn has_ended(node: &mut Instance) {
    let mut process = node.process.take().unwrap();
    let ended = timeout(PATIENCE, process.wait()).await.expect("it stops").unwrap();
    // No exit code: the signal came before callwatch listened to it.
    let is_fine = ended.code().is_none_or(|code| code == 0);
    assert!(is_fine, "{ended:?}\n{}", last_lines(&node.log()));
}

/// Changes what tasks of a source and of a destination begin anew for.
fn change(node: &Instance, number: u64) {
    let path = node.path("config.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let changed: Vec<_> = (text.lines())
        .map(|line| match line.split(" = ").next() {
            Some("page_size") => format!("page_size = {}", 40 + number % 10),
            // One at a time is what the order of all is tested with.
            Some("concurrency") if line != "concurrency = 1" => format!("concurrency = {}", 2 + number % 7),
            _ => line.to_owned(),
        })
        .collect();
    let changed = changed.join("\n") + "\n";
    assert_ne!(changed, text);
    std::fs::write(path, changed).unwrap();
}

/// The processes and what is between them and the database.
struct Cluster {
    nodes: Vec<Instance>,
    ways: Vec<Way>,
}

impl Cluster {
    async fn of(socket: &Path, text: &str, histories: &Histories) -> Self {
        let (mut nodes, mut ways) = (vec![], vec![]);
        for _ in 0..NODES {
            let way = Way::to(socket.to_owned()).await;
            let url = format!("url = \"postgres://callwatch@{}/postgres\"", way.address);
            let store = format!("[cluster]\nlease = \"3s\"\n\n[store]\n{url}\n");
            let mut node = Instance::new(&text.replacen("[store]\n", &store, 1));
            node.start(histories);
            nodes.push(node);
            ways.push(way);
        }
        Self { nodes, ways }
    }

    /// Fails when a process has ended by itself.
    fn all_run(&mut self) {
        for node in &mut self.nodes {
            let ended = node.process.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "it ended by itself: {ended:?}\n{}", last_lines(&node.log()));
        }
    }

    /// Waits until any of them says that each has its share of the duties.
    async fn is_shared_out(&self) {
        let mut said = String::new();
        let fair = async {
            loop {
                let output = self.nodes[1].command(&["status", "--json"]).output().await.unwrap();
                said = String::from_utf8_lossy(&output.stdout).into_owned();
                let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
                let nodes =
                    status["nodes"].as_array().into_iter().flatten().filter(|node| node["live"] == true);
                let mut duties: Vec<_> = nodes.map(|node| node["duties"].as_array().unwrap().len()).collect();
                duties.sort_unstable();
                // A source, seven destinations and the upkeep.
                if duties == [3, 3, 3] {
                    return;
                }
                sleep(Duration::from_millis(200)).await;
            }
        };
        let fair = timeout(PATIENCE, fair).await;
        assert!(fair.is_ok(), "the work is not shared out: {said}\n{}", self.logs());
    }

    fn logs(&self) -> String {
        self.nodes.iter().map(|node| last_lines(&node.log())).collect::<Vec<_>>().join("\n-- the next node\n")
    }
}

/// The longest time without a poll after each kind of trouble.
#[derive(Default, Debug)]
struct Gaps {
    kill: Duration,
    term: Duration,
    stop: Duration,
    cut: Duration,
    upgrade: Duration,
    crash: Duration,
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_over_one_database_lose_nothing_and_keep_the_order() {
    let Some(mut server) = postgres::server().await else { return };
    let rounds = from_env("CALLWATCH_ROUNDS").unwrap_or(ROUNDS);
    let seed = from_env("CALLWATCH_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("CALLWATCH_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut histories = Histories::new().await;
    let crowd = Crowd::new().await;
    let mut arrivals = Arrivals::at(&crowd);
    let text = config::text(&histories, &crowd);
    let mut cluster = Cluster::of(&server.socket(), &text, &histories).await;
    let begun = timeout(PATIENCE, async {
        while !cluster.nodes.iter().any(|node| node.log().contains(" baselined, ")) {
            sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(begun.await.is_ok(), "the baseline does not end\n{}", cluster.logs());
    let stop = CancellationToken::new();
    let mischief = crowd.misbehave(seed, &stop);
    let mut gaps = Gaps::default();
    let first = random.u64(..6);
    for round in 0..rounds {
        histories.go_on(&mut random, true);
        if round % 8 == 4 {
            histories.burst(&mut random);
        }
        sleep(Duration::from_millis(random.u64(..500))).await;
        // Whoever polls may get an answer and not commit it.
        let doubtful = histories.callem.answers().saturating_sub(1);
        let who = random.usize(..NODES);
        let began = Instant::now();
        // Each kind of trouble once before one comes again.
        match (first + round) % 6 {
            0 => {
                cluster.nodes[who].process.take().unwrap().kill().await.unwrap();
                gaps.kill = gaps.kill.max(next_poll(&histories, began, &cluster).await);
                cluster.nodes[who].start(&histories);
            }
            1 => {
                signal(&cluster.nodes[who], "-TERM").await;
                gaps.term = gaps.term.max(next_poll(&histories, began, &cluster).await);
                has_ended(&mut cluster.nodes[who]).await;
                cluster.nodes[who].start(&histories);
            }
            // A rolling upgrade with another config: the others work by the former one meanwhile, and the last one reloads.
            4 => {
                for at in 0..NODES {
                    let node = &mut cluster.nodes[(who + at) % NODES];
                    let upgraded = round + 1;
                    change(node, upgraded);
                    if at + 1 < NODES {
                        signal(node, "-TERM").await;
                        has_ended(node).await;
                        node.start(&histories);
                    } else {
                        signal(node, "-HUP").await;
                    }
                    let began = Instant::now();
                    gaps.upgrade = gaps.upgrade.max(next_poll(&histories, began, &cluster).await);
                }
            }
            2 => {
                signal(&cluster.nodes[who], "-STOP").await;
                gaps.stop = gaps.stop.max(next_poll(&histories, began, &cluster).await);
                sleep((LEASE + Duration::from_millis(random.u64(500..2500))).saturating_sub(began.elapsed()))
                    .await;
                signal(&cluster.nodes[who], "-CONT").await;
            }
            3 => {
                cluster.ways[who].cut.send_replace(true);
                gaps.cut = gaps.cut.max(next_poll(&histories, began, &cluster).await);
                sleep((LEASE + Duration::from_millis(random.u64(500..2500))).saturating_sub(began.elapsed()))
                    .await;
                cluster.ways[who].cut.send_replace(false);
            }
            _ => {
                server.crash(Duration::from_millis(random.u64(..2 * LEASE.as_millis() as u64))).await;
                gaps.crash = gaps.crash.max(next_poll(&histories, began, &cluster).await);
            }
        }
        sleep(Duration::from_millis(random.u64(..1500))).await;
        histories.task_replaced(doubtful);
        cluster.all_run();
        arrivals.collect();
    }
    stop.cancel();
    mischief.join_all().await;
    histories.callem.heal();
    histories.begin_with_all();
    let doubtful = histories.callem.answers();
    let mut last_news = Instant::now();
    let expected = loop {
        sleep(Duration::from_millis(200)).await;
        if arrivals.collect() > 0 {
            last_news = Instant::now();
            continue;
        }
        match judge(&arrivals, &histories) {
            Ok(expected) => break expected,
            Err(_) if last_news.elapsed() < PATIENCE => {}
            Err(why) => panic!("{why}; CALLWATCH_SEED={seed}\n{}", cluster.logs()),
        }
    };
    // Nothing more may arrive.
    timeout(PATIENCE, asked(&histories, 30)).await.expect("it polls");
    cluster.is_shared_out().await;
    histories.note();
    histories.task_replaced(doubtful);
    for node in &mut cluster.nodes {
        node.end(&mut histories, true).await;
    }
    arrivals.collect();
    let after = judge(&arrivals, &histories).unwrap_or_else(|why| panic!("{why}; CALLWATCH_SEED={seed}"));
    assert_eq!(after.len(), expected.len());
    let dead = check_store(&cluster.nodes[0], &expected).await;
    let (firsts, repeats) = arrivals.counts();
    println!("{rounds} rounds, longest time without a poll: {gaps:.1?}");
    println!(
        "{} calls, {firsts} deliveries arrived, {dead} were refused for good, {repeats} repeated, 0 lost, 0 made up",
        histories.calls.len(),
    );
}

/// Waits until the API is asked again and answers; how long that took since `began`.
async fn next_poll(histories: &Histories, began: Instant, cluster: &Cluster) -> Duration {
    let polled = timeout(PATIENCE, asked(histories, 2)).await;
    assert!(polled.is_ok(), "nobody polls\n{}", cluster.logs());
    began.elapsed()
}
