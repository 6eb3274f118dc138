//! The kill test, of D1 to D5: the real binary between an API that changes and receivers that misbehave is killed again
//! and again at random moments.
//!
//! `CALLWATCH_KILLS` sets the number of kills, and `CALLWATCH_SEED` what happens. When it happens depends on the machine.

mod arrivals;
mod config;
mod crowd;
mod gate;
mod history;
mod nodes;
mod payload;
mod reloads;
mod verdict;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::{self, OpenOptions},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use callwatch::demo::callem::Failure;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use self::{
    arrivals::Arrivals,
    crowd::Crowd,
    history::Histories,
    verdict::{Expected, judge},
};
use crate::rig::PATIENCE;

/// How many times the process is killed unless `CALLWATCH_KILLS` says otherwise.
const KILLS: usize = 25;

/// The number of rounds between two bursts of changes.
const BURST_EVERY: usize = 12;

/// How many kills were special in some way.
#[derive(Debug, Default)]
struct Hits {
    /// Done by SIGTERM instead of SIGKILL.
    in_good_order: u32,
    /// Before the process got its first answer from the API.
    starting: u32,
    /// While the process was writing a backup.
    backing_up: u32,
    /// While the process was compacting the store.
    compacting: u32,
}

/// callwatch as a process, in a folder of its own.
struct Instance {
    folder: TempDir,
    process: Option<Child>,
}

impl Instance {
    fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.toml"), config).unwrap();
        Self { folder, process: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callwatch"));
        command.args(args).arg("--config").arg(self.path("config.toml"));
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    fn start(&mut self, histories: &Histories) {
        histories.begin();
        let log = OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let mut run = self.command(&["run"]);
        run.env("CALLEM_API_KEY", histories.key()).stdout(Stdio::null()).stderr(log);
        self.process = Some(run.spawn().unwrap());
    }

    /// The log so far.
    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Waits until this stands in the log.
    async fn says(&self, what: &str) {
        while !self.log().contains(what) {
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends the process with SIGKILL, or in good order with SIGTERM.
    async fn end(&mut self, histories: &mut Histories, in_good_order: bool) {
        let mut process = self.process.take().unwrap();
        let ended = process.try_wait().unwrap();
        assert!(ended.is_none(), "it ended by itself: {ended:?}\n{}", last_lines(&self.log()));
        if in_good_order {
            let pid = process.id().unwrap().to_string();
            assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
            let ended = timeout(PATIENCE, process.wait()).await.expect("it stops").unwrap();
            // No exit code: the signal came before callwatch listened to it.
            let is_fine = ended.code().is_none_or(|code| code == 0);
            assert!(is_fine, "{ended:?}\n{}", last_lines(&self.log()));
        } else {
            process.kill().await.unwrap();
        }
        histories.end_of_life();
    }

    /// The backups that are being written, or were being written when the process was killed.
    fn partial_backups(&self) -> BTreeSet<OsString> {
        let backups = fs::read_dir(self.path("callwatch.db/backups")).into_iter().flatten();
        let names = backups.flatten().map(|entry| entry.file_name());
        names.filter(|name| name.to_string_lossy().starts_with(".partial-")).collect()
    }

    /// All deliveries in the store, by destination, call and sequence.
    async fn deliveries(&self) -> BTreeMap<(String, String, u64), Value> {
        let args = ["deliveries", "list", "--json", "--limit", "1000000"];
        let output = self.command(&args).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let all: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let key =
            |it: &Value| (text(&it["destination"]), text(&it["call"]), it["sequence"].as_u64().unwrap());
        all.into_iter().map(|delivery| (key(&delivery), delivery)).collect()
    }
}

fn last_lines(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|number| number.parse().expect("a number"))
}

/// Waits until the API has got this many more requests.
async fn asked(histories: &Histories, more: u64) {
    let so_far = histories.callem.request_counts().total();
    histories.callem.wait_for_requests(|counts| counts.total() >= so_far + more).await;
}

fn api_fault(random: &mut fastrand::Rng) -> Failure {
    match random.u8(..6) {
        0 => Failure::Status(500),
        1 => Failure::Reset,
        2 => Failure::HalfBody,
        3 => Failure::Html,
        4 => Failure::RateLimited { retry_after: Some(Duration::from_secs(1)) },
        _ => Failure::Slow(Duration::from_millis(50)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_everything_arrives_once_in_order_and_as_it_was() {
    let kills = from_env("CALLWATCH_KILLS").map_or(KILLS, |kills| kills as usize);
    let seed = from_env("CALLWATCH_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("CALLWATCH_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut histories = Histories::new().await;
    let crowd = Crowd::new().await;
    let mut instance = Instance::new(&config::text(&histories, &crowd));
    let mut arrivals = Arrivals::at(&crowd);
    let mut hits = Hits::default();
    let mut partial_backups = BTreeSet::new();

    instance.start(&histories);
    // Calls that begin from here on are news.
    timeout(PATIENCE, asked(&histories, 1)).await.expect("it polls");
    let stop = CancellationToken::new();
    let mischief = crowd.misbehave(seed, &stop);
    let mut is_begun = false;
    for kill in 0..kills {
        // The first kills may hit the baseline.
        if kill == 3 {
            // A process that was killed may have finished the baseline before it could log that.
            let begun = async {
                tokio::select! {
                    () = instance.says(" baselined, ") => {}
                    () = asked(&histories, 50) => {}
                }
            };
            let begun = timeout(PATIENCE, begun).await;
            assert!(begun.is_ok(), "the baseline does not end\n{}", last_lines(&instance.log()));
            is_begun = true;
        }
        let so_far = histories.callem.answers();
        histories.go_on(&mut random, is_begun);
        if is_begun && kill % BURST_EVERY == BURST_EVERY / 2 {
            histories.burst(&mut random);
        }
        if random.u8(..4) == 0 {
            histories.callem.fail_next(random.u64(1..3), api_fault(&mut random));
        }
        // The kill comes mostly in the middle of the work, and sometimes before the process is up.
        let polls = [0, 1, 2, 3, 4, 5, 6, 15][random.usize(..8)];
        if polls > 0 {
            timeout(PATIENCE, asked(&histories, 1)).await.expect("it polls");
            // It polls less often when the API has told it to wait.
            let _ = timeout(PATIENCE / 10, asked(&histories, polls - 1)).await;
        }
        sleep(Duration::from_micros(random.u64(..50_000))).await;
        let in_good_order = random.u8(..8) == 0;
        instance.end(&mut histories, in_good_order).await;
        hits.in_good_order += u32::from(in_good_order);
        hits.starting += u32::from(histories.callem.answers() == so_far);
        hits.backing_up += u32::from(!instance.partial_backups().is_subset(&partial_backups));
        assert!(instance.partial_backups().len() <= 1, "partial backups pile up");
        hits.compacting += u32::from(instance.path("callwatch.db/sled.new").exists());
        if random.u8(..6) == 0 && instance.path("callwatch.db/backups").exists() {
            // Without a backup, callwatch takes one at once.
            fs::remove_dir_all(instance.path("callwatch.db/backups")).unwrap();
        }
        partial_backups = instance.partial_backups();
        instance.start(&histories);
        arrivals.collect();
    }
    stop.cancel();
    mischief.join_all().await;
    histories.callem.heal();
    histories.begin_with_all();
    histories.note();
    instance.end(&mut histories, false).await;
    instance.start(&histories);

    let expected = wait_for_all(&instance, &histories, &mut arrivals, seed).await;
    // Nothing more may arrive.
    timeout(PATIENCE, asked(&histories, 30)).await.expect("it polls");
    histories.note();
    instance.end(&mut histories, true).await;
    arrivals.collect();
    let after = judge(&arrivals, &histories).unwrap_or_else(|why| panic!("{why}; CALLWATCH_SEED={seed}"));
    assert_eq!(after.len(), expected.len());
    let dead = check_store(&instance, &expected).await;

    let joined = |to: &[&str]| {
        let is_it = |it: &&Expected| !it.debt.also.is_empty() && to.contains(&it.debt.destination);
        expected.iter().filter(is_it).count()
    };
    let (to_people, to_programs) = (joined(&["frontdesk", "manager"]), joined(&["bus"]));
    assert!(to_people > 0 && to_programs > 0, "no message was about several rules");
    let (firsts, repeats) = arrivals.counts();
    let faults = crowd.faults.lock().unwrap();
    println!("{kills} kills: {hits:?}");
    println!("{} faults: {:?}", faults.values().sum::<u64>(), *faults);
    println!(
        "{} calls in {} states, {firsts} deliveries arrived, {dead} were refused for good, {repeats} repeated, 0 lost, 0 made up",
        histories.calls.len(),
        histories.calls.values().map(|history| history.states.len()).sum::<usize>(),
    );
    println!("{to_people} messages to people and {to_programs} webhooks told several rules");
}

/// Waits until everything that is owed has arrived. Fails when that is not so and nothing more arrives.
async fn wait_for_all(
    instance: &Instance,
    histories: &Histories,
    arrivals: &mut Arrivals,
    seed: u64,
) -> Vec<Expected> {
    let mut last_news = Instant::now();
    loop {
        sleep(Duration::from_millis(200)).await;
        // Judging is costly, and pointless while more arrives.
        if arrivals.collect() > 0 {
            last_news = Instant::now();
            continue;
        }
        match judge(arrivals, histories) {
            Ok(expected) => return expected,
            Err(_) if last_news.elapsed() < PATIENCE => {}
            Err(why) => panic!("{why}; CALLWATCH_SEED={seed}\n{}", last_lines(&instance.log())),
        }
    }
}

/// Checks that the store says the same. Returns how many deliveries are dead.
async fn check_store(instance: &Instance, expected: &[Expected]) -> usize {
    let mut kept = instance.deliveries().await;
    let mut dead = 0;
    for Expected { debt, event, has_arrived } in expected {
        let call = debt.call["id"].as_str().unwrap().to_owned();
        let key = (debt.destination.to_owned(), call, debt.sequence);
        let Some(delivery) = kept.remove(&key) else { panic!("the store does not know {key:?}") };
        assert_eq!(delivery["rule"], debt.promise.rule, "{delivery}");
        let also: Vec<_> = debt.rules().skip(1).collect();
        assert_eq!(delivery["also"], json!(also), "{delivery}");
        assert!(event.as_ref().is_none_or(|event| delivery["event"] == **event), "{event:?}: {delivery}");
        let is_refused = delivery["reason"].as_str().is_some_and(|reason| reason.starts_with("422"));
        match delivery["state"].as_str() {
            Some("delivered") => assert!(has_arrived, "{delivery}"),
            Some("dead") => assert!(is_refused && debt.destination == "bus", "{delivery}"),
            _ => panic!("{delivery}"),
        }
        dead += usize::from(is_refused);
    }
    assert!(kept.is_empty(), "the store has a delivery that was not owed: {:?}", kept.values().next());
    dead
}
