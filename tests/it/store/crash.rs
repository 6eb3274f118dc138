//! Processes that crash: a child of this test binary does deeds, and is killed, or aborts at a step of the store's work on
//! disk.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use callwatch::store::{SledStore, Step, watch_steps};

use super::{
    life::{Embedded, Host, Part, ROUND, act, find},
    *,
};

const STORE: &str = "CALLWATCH_TEST_STORE";
const FROM: &str = "CALLWATCH_TEST_FROM";
const DEEDS: &str = "CALLWATCH_TEST_DEEDS";
const ABORT_AT: &str = "CALLWATCH_TEST_ABORT_AT";
const FAIL_AT: &str = "CALLWATCH_TEST_FAIL_AT";
const RESTORE: &str = "CALLWATCH_TEST_RESTORE";
const WAIT: &str = "CALLWATCH_TEST_WAIT";
const KILL: &str = "CALLWATCH_TEST_KILL";
const IMAGE: &str = "CALLWATCH_TEST_IMAGE";

/// How often a store is killed before a new one is begun.
const KILLS: usize = 5;

/// The task of a child.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders {
    /// How many deeds have been done before.
    pub(super) from: u64,
    /// How many it does; without end when `None`.
    pub(super) deeds: Option<u64>,
    /// Ends without a word at this step.
    pub(super) abort_at: Option<u64>,
    /// Ends without a word after its deeds, instead of closing the store.
    pub(super) kill: bool,
    /// Restores the last backup instead.
    pub(super) restore: bool,
    /// Waits to be killed after its deeds.
    pub(super) wait: bool,
    /// Every step fails from this one on, as with a full disk.
    pub(super) fail_at: Option<u64>,
    /// Where it leaves the files as they were at the last sync, when it ends at a step.
    pub(super) image: Option<std::path::PathBuf>,
}

/// The report of a child.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Said {
    /// How many deeds were done, with those before it.
    pub(super) done: u64,
    /// How many of them survive a power cut.
    pub(super) durable: u64,
    /// How many steps it made.
    pub(super) steps: u64,
    /// The error it ended with.
    pub(super) error: Option<String>,
}

/// Not a test: what the child does. Says how far it is, line by line.
#[tokio::test]
async fn child_that_lives_until_it_ends() {
    let Some(folder) = env::var_os(STORE) else { return };
    let folder = Path::new(&folder);
    let number = |name| env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    let from = number(FROM).unwrap();
    let done = Arc::new(AtomicU64::new(from));
    let steps = Arc::new(AtomicU64::new(0));
    watch_steps(probe(folder, &done, &steps, number(ABORT_AT), number(FAIL_AT)));
    let lived = async {
        if env::var_os(RESTORE).is_some() {
            return SledStore::restore(&config(folder), None).await.map(drop);
        }
        let mut host = Embedded::open(folder).await?;
        say("opened", 0);
        let end = number(DEEDS).map_or(u64::MAX, |deeds| from + deeds);
        for deed in from..end {
            act(&mut host, deed).await?;
            done.store(deed + 1, Ordering::SeqCst);
            say("done", deed + 1);
        }
        if env::var_os(WAIT).is_some() {
            std::future::pending::<()>().await;
        }
        if env::var_os(KILL).is_some() {
            std::process::abort();
        }
        host.store().close().await
    };
    if let Err(error) = lived.await {
        say("error", error);
    }
    say("steps", steps.load(Ordering::SeqCst));
}

/// The probe in the child: counts steps, and ends or fails where it is told to.
fn probe(
    folder: &Path,
    done: &Arc<AtomicU64>,
    steps: &Arc<AtomicU64>,
    abort_at: Option<u64>,
    fail_at: Option<u64>,
) -> callwatch::store::Probe {
    let (done, steps, sled) = (Arc::clone(done), Arc::clone(steps), config(folder).path.join("sled"));
    let image = env::var_os(IMAGE).map(std::path::PathBuf::from);
    let wrote = AtomicBool::new(false);
    let syncing = AtomicU64::new(done.load(Ordering::SeqCst));
    let synced = std::sync::Mutex::new((syncing.load(Ordering::SeqCst), vec![]));
    Box::new(move |step| {
        let number = steps.fetch_add(1, Ordering::SeqCst);
        let is_second_write = step == Step::Write && wrote.load(Ordering::SeqCst);
        wrote.store(step == Step::Write, Ordering::SeqCst);
        match step {
            Step::Sync => syncing.store(done.load(Ordering::SeqCst), Ordering::SeqCst),
            Step::Synced if image.is_some() => {
                let bytes = std::fs::read(sled.join("db")).unwrap_or_default();
                *synced.lock().unwrap() = (syncing.load(Ordering::SeqCst), bytes);
            }
            _ => {}
        }
        if abort_at == Some(number) {
            if is_second_write {
                // sled writes out by itself now and then, so it may have the first half of a large write by now.
                std::thread::sleep(Duration::from_millis(700));
            }
            if let Some(image) = &image {
                let (durable, bytes) = &*synced.lock().unwrap();
                std::fs::write(image, bytes).unwrap();
                say("durable", durable);
            }
            std::process::abort();
        }
        if fail_at.is_some_and(|at| number >= at) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        Ok(())
    })
}

fn say(what: &str, detail: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what} {detail}").unwrap();
    out.flush().unwrap();
}

/// Starts a child; returns it, and what it says line by line.
fn start(folder: &Path, orders: &Orders) -> (Child, impl Iterator<Item = (String, String)> + use<>) {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", "store::crash::child_that_lives_until_it_ends", "--nocapture"])
        .env(STORE, folder)
        .env(FROM, orders.from.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    for (name, value) in [(DEEDS, orders.deeds), (ABORT_AT, orders.abort_at), (FAIL_AT, orders.fail_at)] {
        if let Some(value) = value {
            command.env(name, value.to_string());
        }
    }
    for (name, is_ordered) in [(KILL, orders.kill), (WAIT, orders.wait), (RESTORE, orders.restore)] {
        if is_ordered {
            command.env(name, "1");
        }
    }
    if let Some(image) = &orders.image {
        command.env(IMAGE, image);
    }
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = lines.map_while(Result::ok).filter_map(|line| {
        let (what, detail) = line.split_once(' ')?;
        let is_said = ["opened", "done", "durable", "steps", "error"].contains(&what);
        is_said.then(|| (what.to_owned(), detail.to_owned()))
    });
    (child, said)
}

fn hear(orders: &Orders, said: impl Iterator<Item = (String, String)>) -> Said {
    let mut heard = Said { done: orders.from, durable: orders.from, ..Said::default() };
    for (what, detail) in said {
        match what.as_str() {
            "done" => heard.done = detail.parse().unwrap(),
            "durable" => heard.durable = detail.parse().unwrap(),
            "steps" => heard.steps = detail.parse().unwrap(),
            "error" => heard.error = Some(detail),
            _ => {}
        }
    }
    heard
}

/// Lets a child live as it is ordered, until it ends by itself.
pub(super) fn live(folder: &Path, orders: &Orders) -> Said {
    let (mut child, said) = start(folder, orders);
    let heard = hear(orders, said);
    child.wait().unwrap();
    heard
}

/// Copies a folder with everything in it.
pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// How often something is tried by default, or as often as the environment says.
pub(super) fn times(name: &str, default: usize) -> usize {
    env::var(name).map_or(default, |times| times.parse().unwrap())
}

/// Opens what a crash has left, which must be as after one of these numbers of deeds; returns which.
pub(super) async fn check(folder: &Path, at_least: u64, at_most: u64) -> u64 {
    let store = open(folder).await.unwrap_or_else(|error| panic!("{at_least} to {at_most}: {error}"));
    let store: Arc<dyn Store> = Arc::new(store);
    let done = find(&store, at_least..=at_most, Part::All).await;
    store.close().await.unwrap();
    done
}

#[tokio::test]
async fn a_kill_loses_nothing_acknowledged_and_leaves_nothing_half_done() {
    for _ in 0..times("CALLWATCH_STORE_KILLS", 4) {
        let folder = tempfile::tempdir().unwrap();
        let mut done = 0;
        for _ in 0..KILLS {
            let orders = Orders { from: done, ..Orders::default() };
            let (mut child, mut said) = start(folder.path(), &orders);
            let lines = fastrand::usize(0..40);
            let mut heard: Vec<_> = said.by_ref().take(lines).collect();
            // This waits for nothing: the kill is to strike at any moment of opening or writing.
            let longest = if lines == 0 { 40_000 } else { 5_000 };
            std::thread::sleep(Duration::from_micros(fastrand::u64(0..longest)));
            child.kill().unwrap();
            // Lines it still managed to write count.
            heard.extend(said);
            child.wait().unwrap();
            let acknowledged = hear(&orders, heard.into_iter()).done;
            done = check(folder.path(), acknowledged, acknowledged + 1).await;
        }
    }
}

/// The steps at which something happens: all of them when the environment asks for it, else about every n-th.
pub(super) fn some_steps(steps: u64, every: usize) -> impl Iterator<Item = u64> {
    let every = times("CALLWATCH_STORE_EVERY_STEP", every);
    (fastrand::usize(0..every) as u64..steps).step_by(every)
}

#[tokio::test]
async fn a_crash_at_any_step_leaves_each_deed_done_or_not_done() {
    let whole = tempfile::tempdir().unwrap();
    let orders = Orders { deeds: Some(4 * ROUND), ..Orders::default() };
    let Said { steps, done, error, .. } = live(whole.path(), &orders);
    assert!(error.is_none() && done == 4 * ROUND, "{error:?}");
    for step in some_steps(steps, 12) {
        let folder = tempfile::tempdir().unwrap();
        let said = live(folder.path(), &Orders { abort_at: Some(step), ..orders.clone() });
        assert!(said.error.is_none(), "{said:?}");
        // How many steps it takes differs a little: a lazy sync may be saved by another one.
        assert!(said.steps <= step, "it ended at step {step}: {said:?}");
        let done = check(folder.path(), said.done, (said.done + 1).min(4 * ROUND)).await;
        // It goes on from there.
        let rest = Orders { from: done, deeds: Some(4), ..Orders::default() };
        assert_eq!(live(folder.path(), &rest).done, done + 4, "after step {step}");
        check(folder.path(), done + 4, done + 4).await;
    }
}

#[tokio::test]
async fn a_failure_at_any_step_is_reported_and_nothing_is_half_done() {
    let whole = tempfile::tempdir().unwrap();
    let orders = Orders { deeds: Some(2 * ROUND), ..Orders::default() };
    let steps = live(whole.path(), &orders).steps;
    for step in some_steps(steps, 10) {
        let folder = tempfile::tempdir().unwrap();
        let said = live(folder.path(), &Orders { fail_at: Some(step), ..orders.clone() });
        if said.error.is_none() && said.steps <= step {
            // How many steps it takes differs a little: a lazy sync may be saved by another one.
            continue;
        }
        let error = said.error.unwrap_or_else(|| panic!("step {step} failed in silence"));
        assert!(
            error.contains("the disk is full") || error.contains("no storage space"),
            "step {step}: {error}"
        );
        check(folder.path(), said.done, said.done + 1).await;
    }
}

#[tokio::test]
async fn a_store_in_use_says_by_whom() {
    let folder = tempfile::tempdir().unwrap();
    let orders = Orders { deeds: Some(1), wait: true, ..Orders::default() };
    let (mut child, mut said) = start(folder.path(), &orders);
    assert_eq!(said.next().unwrap().0, "opened");
    let error = open(folder.path()).await.err().unwrap();
    assert!(matches!(error, StoreError::InUse { holder, .. } if holder == Some(child.id())), "{error}");
    assert!(error.to_string().contains(&format!("process {}", child.id())), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    open(folder.path()).await.unwrap();
}

#[tokio::test]
async fn a_store_in_use_by_this_process_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Embedded::open(folder.path()).await.unwrap();
    let error = open(folder.path()).await.err().unwrap();
    assert!(
        matches!(error, StoreError::InUse { holder, .. } if holder == Some(std::process::id())),
        "{error}"
    );
    act(&mut first, 0).await.unwrap();
}

#[tokio::test]
async fn a_closed_store_can_be_opened_at_once_and_holds_everything() {
    let folder = tempfile::tempdir().unwrap();
    for deed in 0..20 {
        let mut host = Embedded::open(folder.path()).await.unwrap();
        find(&host.store(), deed..=deed, Part::All).await;
        act(&mut host, deed).await.unwrap();
        host.store().close().await.unwrap();
    }
}
