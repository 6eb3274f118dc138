//! Processes that end without a word: a child of this test binary writes, and is killed.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
};

use super::*;
use callwatch::store::{DeliveryFilter, DeliveryRecord, DeliveryState, Tally};

pub(super) const STORE: &str = "CALLWATCH_TEST_STORE";

const CHILD: &str = "store::crash::child_that_writes_until_it_is_killed";

/// How often a store is killed before a new one is begun.
pub(super) const KILLS: usize = 5;

/// How many stores are killed; more of them with `CALLWATCH_STORE_KILLS`.
pub(super) fn stores() -> usize {
    std::env::var("CALLWATCH_STORE_KILLS").map_or(4, |stores| stores.parse().unwrap())
}

/// Everything of the `number`-th commit of the child. Some need many batches.
pub(super) fn numbered_commit(number: u64) -> Commit {
    let mut commit = Commit::new(clinic());
    for part in 0..3 {
        let id = format!("{number:06}-{part}");
        // Five calls share the events, so that there are lanes.
        let mut event = event(&format!("evt_{id}"), &format!("lane-{}", number % 5));
        if number % 7 == 2 && part == 0 {
            event.record = Arc::from(raw(&json!({ "id": id, "transcript": "x".repeat(600_000) })));
        }
        commit.snapshots.push((CallId::from(id.as_str()), snapshot(&id, "hello")));
        commit.deliveries.push(delivery(event.id.as_str(), "crm", number * 3 + part, 10));
        commit.events.push(event);
    }
    if number % 7 == 5 {
        for more in 3..300 {
            let id = format!("{number:06}-{more:03}");
            commit.snapshots.push((CallId::from(id.as_str()), snapshot(&id, &"x".repeat(2_000))));
        }
    }
    commit.checkpoint = Some(json!(number));
    commit
}

/// Settles the second event of a commit, and nothing else.
pub(super) fn numbered_outcome(number: u64) -> Outcome {
    outcome(&format!("evt_{number:06}-1"), "crm", 20, Verdict::Delivered)
}

/// Not a test: what the child does. Says what has been acknowledged, line by line.
#[tokio::test]
async fn child_that_writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(STORE) else { return };
    let store = open(Path::new(&path)).await.unwrap();
    say("opened", 0);
    let last = store.checkpoint(&clinic()).await.unwrap().and_then(|last| last.as_u64());
    if let Some(last) = last {
        store.settle(vec![numbered_outcome(last)]).await.unwrap();
        say("settled", last);
    }
    for number in last.map_or(0, |last| last + 1).. {
        store.commit(numbered_commit(number)).await.unwrap();
        say("committed", number);
        store.settle(vec![numbered_outcome(number)]).await.unwrap();
        say("settled", number);
    }
}

/// Says, as a child, what has been done.
pub(super) fn say(what: &str, number: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what} {number}").unwrap();
    out.flush().unwrap();
}

/// Starts a child and reads what it says.
pub(super) fn start_child(folder: &Path, child: &str) -> (Child, impl Iterator<Item = (String, u64)>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", child, "--nocapture"])
        .env(STORE, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = lines.map_while(Result::ok).filter_map(|line| {
        let (what, number) = line.split_once(' ')?;
        ["opened", "committed", "settled", "sorted"]
            .contains(&what)
            .then(|| (what.to_owned(), number.parse().unwrap()))
    });
    (child, said)
}

#[tokio::test]
async fn a_kill_loses_nothing_acknowledged_and_leaves_nothing_half_done() {
    for _ in 0..stores() {
        let folder = tempfile::tempdir().unwrap();
        let mut acknowledged: BTreeMap<String, u64> = BTreeMap::new();
        for kill in 0..KILLS {
            let (mut child, mut said) = start_child(folder.path(), CHILD);
            let lines = fastrand::usize(0..16);
            acknowledged.extend(said.by_ref().take(lines));
            // Not to wait for anything, but to strike at any moment of what follows: of opening, or of writing.
            let longest = if lines == 0 { 40_000 } else { 5_000 };
            std::thread::sleep(Duration::from_micros(fastrand::u64(0..longest)));
            child.kill().unwrap();
            // What it still managed to say counts.
            acknowledged.extend(said);
            child.wait().unwrap();

            let store = open(folder.path()).await.unwrap();
            let (committed, settled) = check(&store, &acknowledged).await;
            // What was found is there from here on, whether or not it was said.
            acknowledged.extend(committed.map(|number| ("committed".to_owned(), number)));
            acknowledged.extend(settled.map(|number| ("settled".to_owned(), number)));
            if kill % 2 == 0 {
                store.close().await.unwrap();
            }
        }
    }
}

/// Returns the last that is committed, and the last that is settled.
async fn check(store: &SledStore, acknowledged: &BTreeMap<String, u64>) -> (Option<u64>, Option<u64>) {
    let last = store.checkpoint(&clinic()).await.unwrap().map_or(-1, |last| last.as_i64().unwrap());
    let at_least = acknowledged.get("committed").map_or(-1, |number| *number as i64);
    assert!(at_least <= last && last <= at_least + 1, "{at_least} acknowledged, {last} found");

    let mut expected: Vec<_> = (0..=last).map(|number| numbered_commit(number as u64)).collect();
    let mut calls: Vec<CallId> =
        expected.iter().flat_map(|commit| &commit.snapshots).map(|(id, _)| id.clone()).collect();
    calls.sort();
    let known = store.known(&clinic(), None, usize::MAX).await.unwrap();
    assert_eq!(known.into_iter().map(|call| call.id).collect::<Vec<_>>(), calls);

    let found = store.deliveries(&DeliveryFilter::default(), None, usize::MAX).await.unwrap();
    let deliveries: Vec<_> =
        expected.iter().flat_map(|commit| &commit.deliveries).map(|new| &new.id).collect();
    assert_eq!(found.iter().map(|record| &record.id).collect::<Vec<_>>(), deliveries);
    let settled: Vec<_> =
        found.iter().filter(|record| is_delivered(record)).map(|record| &record.id).collect();
    let at_least = acknowledged.get("settled").map_or(0, |number| *number as usize + 1);
    assert!(
        at_least <= settled.len() && settled.len() <= at_least + 1,
        "{at_least} settled, {}",
        settled.len()
    );
    let expected_settled: Vec<_> =
        (0..settled.len() as u64).map(|number| numbered_outcome(number).id).collect();
    assert_eq!(settled, expected_settled.iter().collect::<Vec<_>>());
    if !found.is_empty() {
        let tally = Tally {
            pending: (found.len() - settled.len()) as u64,
            delivered: settled.len() as u64,
            ..Tally::default()
        };
        assert_eq!(store.tally().await.unwrap(), [(name("crm"), tally)].into());
    }

    // What is handed out is the first of each lane, whole.
    let mut heads = BTreeMap::new();
    for record in found.iter().filter(|record| !is_delivered(record)) {
        heads.entry(record.call.clone()).or_insert_with(|| record.id.clone());
    }
    let leased = store.lease(&request("crm", 10, 20, usize::MAX)).await.unwrap();
    let mut handed: Vec<_> = leased.deliveries.iter().map(|lease| lease.id.clone()).collect();
    handed.sort();
    let mut heads: Vec<_> = heads.into_values().collect();
    heads.sort();
    assert_eq!(handed, heads);
    let events: BTreeMap<_, _> = expected
        .iter_mut()
        .flat_map(|commit| commit.events.drain(..))
        .map(|event| (event.id.clone(), event))
        .collect();
    for lease in &leased.deliveries {
        assert_eq!(lease.event.record.get(), events[&lease.id.event].record.get());
    }
    (u64::try_from(last).ok(), (settled.len() as u64).checked_sub(1))
}

fn is_delivered(record: &DeliveryRecord) -> bool {
    matches!(record.state, DeliveryState::Delivered { .. })
}

#[tokio::test]
async fn a_store_in_use_says_by_whom() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, mut said) = start_child(folder.path(), CHILD);
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
    let first = open(folder.path()).await.unwrap();
    let error = open(folder.path()).await.err().unwrap();
    assert!(
        matches!(error, StoreError::InUse { holder, .. } if holder == Some(std::process::id())),
        "{error}"
    );
    first.commit(numbered_commit(1)).await.unwrap();
}

#[tokio::test]
async fn a_closed_store_can_be_opened_at_once_and_holds_everything() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..5_u64 {
        let store = open(folder.path()).await.unwrap();
        let acknowledged = number.checked_sub(1).map(|last| ("committed".to_owned(), last));
        let settled = number.checked_sub(1).map(|last| ("settled".to_owned(), last));
        check(&store, &acknowledged.into_iter().chain(settled).collect()).await;
        store.commit(numbered_commit(number)).await.unwrap();
        store.settle(vec![numbered_outcome(number)]).await.unwrap();
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_restart_ends_leases() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let store = open(folder.path()).await.unwrap();
        store.commit(events(&[("evt_1", "a", 1)], 10)).await.unwrap();
        assert_eq!(lease(&store, 10, 1_000, 1).await.0, ["evt_1"]);
        store.close().await.unwrap();
    }
}
