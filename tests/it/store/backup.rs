//! The store to a file and back.

use std::{
    fs,
    path::{Path, PathBuf},
};

use callwatch::store::{Restored, SledStore};
use proptest::prelude::*;

use super::{
    life::{Embedded, Host, Part, ROUND, act, describe, find},
    *,
};

const HOUR: Duration = Duration::from_secs(3600);

fn backups(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(config(folder).path.join("backups"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A backup of `from`'s store in a store of its own.
async fn clone(store: &SledStore, to: &Path) -> (Process, Restored) {
    let file = to.join("clone.backup");
    store.back_up_to(Some(&file), at(5)).await.unwrap();
    let restored = SledStore::restore(&config(to), Some(&file)).await.unwrap();
    (Process { store: Arc::new(open(to).await.unwrap()) }, restored)
}

/// A store in which so many deeds were done.
async fn after_deeds(folder: &Path, deeds: u64) -> Embedded {
    let mut host = Embedded::open(folder).await.unwrap();
    for deed in 0..deeds {
        act(&mut host, deed).await.unwrap();
    }
    host
}

#[tokio::test]
async fn snapshots_checkpoints_and_unfinished_deliveries_come_back() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Arc::new(open(folder.path()).await.unwrap());
    let process = Process { store: Arc::clone(&store) as Arc<dyn Store> };
    let mut commit =
        events(&[("evt_1", "a", 1), ("evt_2", "a", 2), ("evt_3", "b", 1), ("evt_4", "c", 1)], 10);
    commit.events[2].deliveries.push(delivery("frontdesk", 1, 10));
    // One that stands in many pieces.
    commit.events[1].event.record = Arc::from(raw(&json!({ "id": "a", "transcript": "x".repeat(200_000) })));
    commit.snapshots =
        vec![("a".into(), snapshot("a", &"y".repeat(100_000))), ("b".into(), snapshot("b", "b"))];
    commit.checkpoint = Some(json!({ "planner": 7 }));
    process.commit(commit.clone()).await;
    process.commit(calls(&["evt_5"], 10)).await;
    process.attempt("evt_1", 20, Verdict::Delivered).await;
    process.attempt("evt_3", 20, dead()).await;
    process.attempt("evt_4", 20, Verdict::Retry(at(500))).await;
    process.attempt("evt_5", 20, Verdict::Delivered).await;

    let (copy, restored) = clone(&store, other.path()).await;
    assert_eq!((restored.calls, restored.unfinished, restored.made), (2, 3, at(5)));
    assert!(restored.quarantine.is_none() && restored.passed_over.is_empty());
    let calls = ["a".into(), "b".into()];
    assert!(
        copy.snapshots(&clinic(), &calls).await.unwrap() == store.snapshots(&clinic(), &calls).await.unwrap()
    );
    assert_eq!(copy.checkpoint(&source("clinic")).await.unwrap(), commit.checkpoint);
    assert_eq!(copy.feed().await, ["evt_2", "evt_4"]);
    assert_eq!(copy.state("evt_4").await, waits_until(20, 500));
    assert_eq!(copy.unfinished("frontdesk").await.len(), 1);
    // Whole, and found by the event.
    for (number, event) in [(1, "evt_2"), (3, "evt_4")] {
        let body = copy.bodies(&[copy.token(event).await]).await.unwrap().remove(0).unwrap();
        assert_eq!(body.record.get(), commit.events[number].event.record.get());
    }
    // One that was finished beside unfinished ones is still known; one that stood alone is not.
    assert!(copy.find("evt_1", "crm").await.unwrap().finished().is_some());
    assert_eq!(copy.find("evt_5", "crm").await, None);
    // It goes on from there: numbers are not given again, and commits can be repeated.
    copy.commit(commit).await;
    assert_eq!(copy.feed().await, ["evt_2", "evt_4"]);
    copy.commit(events(&[("evt_6", "a", 3)], 600)).await;
    copy.attempt("evt_2", 600, Verdict::Delivered).await;
    assert_eq!(copy.feed().await, ["evt_4", "evt_6"]);
    let copy = {
        copy.close().await.unwrap();
        Process { store: Arc::new(open(other.path()).await.unwrap()) }
    };
    assert_eq!(copy.feed().await, ["evt_4", "evt_6"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(super::crash::times("CALLWATCH_STORE_BACKUPS", 8) as u32))]

    #[test]
    fn a_restored_backup_answers_as_the_store_did(deeds in 0..7 * ROUND) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let host = after_deeds(folder.path(), deeds).await;
            let (copy, _) = clone(&host.store, other.path()).await;
            let by = deeds.saturating_sub(1);
            let (before, after) = (
                describe(&host.store(), by, Part::Unfinished).await,
                describe(&copy.store, by, Part::Unfinished).await,
            );
            assert_eq!(before, after);
            // Finished deliveries that it knows are as they were.
            let all = Process { store: host.store() }.all().await;
            for record in copy.all().await {
                let original = all.iter().find(|it| it.token == record.token);
                assert_eq!(original, Some(&record));
            }
        });
    }
}

#[tokio::test]
async fn many_blocks_come_back_as_often_as_they_are_restored() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Arc::new(open(folder.path()).await.unwrap());
    let process = Process { store: Arc::clone(&store) as Arc<dyn Store> };
    for thousand in 0..14 {
        let ids: Vec<_> = (0..1_000).map(|number| format!("evt_{:05}", thousand * 1_000 + number)).collect();
        process.commit(calls(&ids.iter().map(String::as_str).collect::<Vec<_>>(), 10)).await;
    }
    // Of the first block one is left, of the second none, of the third all, of the last few. Numbers begin with 1.
    let is_left = |place: usize| match place + 1 {
        0..4_096 => place == 17,
        4_096..8_192 => false,
        8_192..12_288 => true,
        _ => place % 100 == 99,
    };
    let mut records = process.all().await;
    records.reverse();
    let (left, done): (Vec<_>, Vec<_>) = records.iter().enumerate().partition(|(place, _)| is_left(*place));
    for (number, some) in done.chunks(900).enumerate() {
        let some = some.iter().map(|(_, it)| outcome(it.token, 1, 20, Verdict::Delivered)).collect();
        process.settle(outcomes(some)).await;
        if number == 7 {
            process.purge_all(100, 700).await;
        }
    }
    process.settle(outcomes(vec![outcome(left[0].1.token, 1, 30, Verdict::Retry(at(40)))])).await;
    let left: Vec<_> = left.iter().map(|(_, record)| record.id.event.to_string()).collect();
    assert_eq!(process.feed().await, left);

    let (mut copy, restored) = clone(&store, other.path()).await;
    assert_eq!(restored.unfinished, left.len() as u64);
    for again in 0..3 {
        assert_eq!(copy.feed().await, left, "{again}");
        let known = copy.all().await;
        let unfinished = known.iter().filter(|record| record.finished().is_none()).count();
        assert_eq!(unfinished, left.len());
        // The rest are those that were committed together with one of them.
        assert!(known.len() < 2 * 1_000 + 4_096 + 3_000, "{}", known.len());
        assert_eq!(copy.record(&left[0]).await.attempts, 1);
        copy.commit(calls(&[left[0].as_str(), left[left.len() - 1].as_str()], 10)).await;
        copy.close().await.unwrap();
        if again == 1 {
            let store = open(other.path()).await.unwrap();
            store.back_up_to(None, at(9)).await.unwrap();
            store.close().await.unwrap();
            SledStore::restore(&config(other.path()), None).await.unwrap();
        }
        copy = Process { store: Arc::new(open(other.path()).await.unwrap()) };
    }
    copy.purge_all(1_000, 1_000).await;
    assert_eq!(copy.feed().await, left);
}

#[tokio::test]
async fn a_write_during_a_backup_is_in_it_whole_or_not_at_all() {
    const BEFORE: u64 = 2 * ROUND;
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut host = after_deeds(folder.path(), BEFORE).await;
    let store = Arc::clone(&host.store);
    fill(&store, "zzz").await;
    let file = other.path().join("a.backup");
    let (taken, mut is_taken) = tokio::sync::watch::channel(false);
    let deeds = async {
        // Deeds that are done before the first piece is copied test nothing.
        until_written(other.path(), 1).await;
        for deed in BEFORE.. {
            // Neither a second backup nor a restart.
            if deed % ROUND < 14 {
                act(&mut host, deed).await.unwrap();
            }
            if *is_taken.borrow_and_update() {
                return deed + 1;
            }
        }
        unreachable!("there are many deeds")
    };
    let taking = async {
        store.back_up_to(Some(&file), at(5)).await.unwrap();
        taken.send(true).unwrap();
    };
    let (done, ()) = tokio::join!(deeds, taking);
    assert!(done > BEFORE + ROUND, "only {} deeds were done meanwhile", done - BEFORE);
    SledStore::restore(&config(other.path()), Some(&file)).await.unwrap();
    let copy: Arc<dyn Store> = Arc::new(open(other.path()).await.unwrap());
    let moment = find(&copy, BEFORE..=done, Part::Unfinished).await;
    assert!(moment > BEFORE, "the last piece is the store as it is then");
}

/// Remembers so much for a source that a backup takes a while.
async fn fill(store: &Arc<SledStore>, of: &str) {
    let claim = store.claim(&source(of)).await.unwrap().unwrap();
    for number in 0..60 {
        let mut commit = Commit::default();
        for call in 0..100 {
            let id = format!("{number}-{call}");
            commit.snapshots.push((id.as_str().into(), snapshot(&id, &"x".repeat(3_000))));
        }
        store.commit(&claim, commit).await.unwrap();
    }
}

/// Waits until a backup that is being written in a folder has more than so many bytes.
async fn until_written(folder: &Path, bytes: u64) {
    let partial = || {
        let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
        let mut partial =
            entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(".partial-"));
        partial.next().map_or(0, |entry| entry.metadata().map_or(0, |metadata| metadata.len()))
    };
    let grown = async {
        while partial() <= bytes {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), grown).await.expect("the backup is being written");
}

#[tokio::test]
async fn a_delivery_retried_by_hand_during_a_backup_is_in_it() {
    for is_folded in [false, true] {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Arc::new(open(folder.path()).await.unwrap());
        let process = Process { store: Arc::clone(&store) as Arc<dyn Store> };
        process.commit(calls(&["evt_1"], 10)).await;
        process.attempt("evt_1", 20, dead()).await;
        fill(&store, "zzz").await;
        let token = process.token("evt_1").await;
        let file = other.path().join("a.backup");
        let retry = async {
            // By then the entries have been copied.
            until_written(other.path(), 1_000_000).await;
            let retry = callwatch::store::Action::Retry { tokens: vec![token], at: at(30) };
            assert_eq!(process.act(retry).await.unwrap(), 1);
            if is_folded {
                store.fold(1, 9).await.unwrap();
            }
        };
        let (taken, ()) = tokio::join!(store.back_up_to(Some(&file), at(5)), retry);
        taken.unwrap();
        SledStore::restore(&config(other.path()), Some(&file)).await.unwrap();
        let copy = Process { store: Arc::new(open(other.path()).await.unwrap()) };
        assert_eq!(copy.feed().await, ["evt_1"]);
        let record = copy.record("evt_1").await;
        assert_eq!((record.attempts, Some(record.state)), (1, due(30)));
        let body = copy.bodies(&[record.token]).await.unwrap().remove(0).unwrap();
        assert_eq!(body.id, event_id("evt_1"));
    }
}

#[tokio::test]
async fn the_last_three_are_kept_and_a_new_one_is_made_when_it_is_due() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    let claim = store.claim(&Duty::Upkeep).await.unwrap().unwrap();
    let back_up =
        async |millis: i64| store.back_up(&claim, at(millis), HOUR).await.unwrap().map(|done| done.next);
    let hour = 3_600_000;
    for number in 0..5 {
        let now = number * hour;
        assert_eq!(back_up(now).await, Some(at(now + hour)));
        assert_eq!(back_up(now + 1_000).await, Some(at(now + hour)), "not again");
    }
    let kept = backups(folder.path());
    assert_eq!(kept.len(), 3, "{kept:?}");
    assert!(kept[2].ends_with("1970-01-01T04-00-00.000Z.backup"), "{kept:?}");
    // The clock was set back: one that seems to come from the future is no reason to wait, and the first to go.
    assert_eq!(back_up(hour / 2).await, Some(at(hour / 2 + hour)));
    assert_eq!(back_up(2 * hour).await, Some(at(3 * hour)));
    let kept = backups(folder.path());
    assert_eq!(kept.len(), 3, "{kept:?}");
    assert!(kept[0].ends_with("1970-01-01T00-30-00.000Z.backup"), "{kept:?}");
    assert!(kept[1].ends_with("1970-01-01T02-00-00.000Z.backup"), "{kept:?}");
}

#[tokio::test]
async fn a_lost_claim_takes_no_backup() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    let claim = store.claim(&Duty::Upkeep).await.unwrap().unwrap();
    store.give_up(claim.clone()).await.unwrap();
    store.claim(&Duty::Upkeep).await.unwrap().unwrap();
    let error = store.back_up(&claim, at(5), HOUR).await.err().unwrap();
    assert!(matches!(error, StoreError::ClaimLost { duty: Duty::Upkeep }), "{error}");
    assert!(!config(folder.path()).path.join("backups").exists());
}

#[tokio::test]
async fn the_last_backup_is_the_one_to_which_most_writes_led_whatever_the_clock_said() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    let process = Process { store: Arc::new(store) };
    process.close().await.unwrap();
    let store = Arc::new(open(folder.path()).await.unwrap());
    let process = Process { store: Arc::clone(&store) as Arc<dyn Store> };
    for (number, made) in [(0, 9_000), (1, 1_000), (2, 2_000)] {
        process.commit(Commit { checkpoint: Some(json!(number)), ..Commit::default() }).await;
        store.back_up_to(None, at(made)).await.unwrap();
    }
    store.close().await.unwrap();
    let restored = SledStore::restore(&config(folder.path()), None).await.unwrap();
    assert_eq!(restored.made, at(2_000));
    let store = open(folder.path()).await.unwrap();
    assert_eq!(store.checkpoint(&source("clinic")).await.unwrap(), Some(json!(2)));
}

#[tokio::test]
async fn a_store_in_use_is_not_restored() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    store.back_up_to(None, at(5)).await.unwrap();
    let error = SledStore::restore(&config(folder.path()), None).await.err().unwrap();
    assert!(matches!(error, StoreError::InUse { holder: Some(_), .. }), "{error}");
    Process { store: Arc::new(store) }.commit(calls(&["evt_1"], 10)).await;
}

#[tokio::test]
async fn a_damaged_backup_is_passed_over_and_one_asked_for_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Embedded::open(folder.path()).await.unwrap();
    for deed in 0..3 {
        act(&mut host, deed).await.unwrap();
        host.store.back_up_to(None, at(deed as i64)).await.unwrap();
    }
    host.store.close().await.unwrap();
    let files = backups(folder.path());
    let mut bytes = fs::read(&files[2]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&files[2], bytes).unwrap();

    let before = names(&config(folder.path()).path);
    let error = SledStore::restore(&config(folder.path()), Some(&files[2])).await.err().unwrap();
    assert!(matches!(error, StoreError::Backup { doing: "read", .. }), "{error}");
    assert_eq!(names(&config(folder.path()).path), before, "a restore that fails leaves nothing behind");
    let store: Arc<dyn Store> = Arc::new(open(folder.path()).await.unwrap());
    find(&store, 3..=3, Part::All).await;
    store.close().await.unwrap();

    let restored = SledStore::restore(&config(folder.path()), None).await.unwrap();
    assert_eq!(restored.from, files[1]);
    assert_eq!(restored.passed_over.len(), 1);
    assert!(restored.passed_over[0].to_string().contains("checksum"), "{:?}", restored.passed_over);
    assert!(restored.quarantine.unwrap().is_dir());
    // It goes on from there, however often it is opened.
    for done in 2..5 {
        let mut host = Embedded::open(folder.path()).await.unwrap();
        find(&host.store(), done..=done, Part::Unfinished).await;
        act(&mut host, done).await.unwrap();
        host.store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_restore_that_fails_leaves_nothing_behind() {
    let other = tempfile::tempdir().unwrap();
    let junk = other.path().join("junk.backup");
    fs::write(&junk, b"not a backup").unwrap();
    let folder = tempfile::tempdir().unwrap();
    for from in [None, Some(junk.as_path()), Some(Path::new("/nowhere/a.backup"))] {
        let error = SledStore::restore(&config(folder.path()), from).await.err().unwrap();
        assert!(matches!(error, StoreError::NoBackup { .. } | StoreError::Backup { .. }), "{error}");
        assert!(names(folder.path()).is_empty(), "{:?}", names(folder.path()));
    }
}

#[tokio::test]
async fn only_a_store_that_is_there_can_be_opened_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let error = SledStore::open_existing(&config(folder.path())).await.err().unwrap();
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    assert!(names(folder.path()).is_empty());
    // A folder alone is no store.
    fs::create_dir(config(folder.path()).path).unwrap();
    assert!(matches!(
        SledStore::open_existing(&config(folder.path())).await,
        Err(StoreError::Missing { .. })
    ));
    assert!(names(&config(folder.path()).path).is_empty());
    open(folder.path()).await.unwrap().close().await.unwrap();
    SledStore::open_existing(&config(folder.path())).await.unwrap();
}

#[tokio::test]
async fn a_backup_that_cannot_be_written_leaves_store_and_folder_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    let nowhere = folder.path().join("missing").join("a.backup");
    let error = store.back_up_to(Some(&nowhere), at(5)).await.err().unwrap();
    assert!(matches!(error, StoreError::Backup { doing: "written", .. }), "{error}");
    assert!(error.to_string().contains("missing"), "{error}");
    // The next one is not in its way.
    store.back_up_to(None, at(5)).await.unwrap();
}

#[tokio::test]
async fn an_abandoned_backup_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = after_deeds(folder.path(), 4 * ROUND).await;
    let to = folder.path().join("a.backup");
    for polls in 1..12 {
        let mut taking = std::pin::pin!(host.store.back_up_to(Some(&to), at(5)));
        for _ in 0..polls {
            if tokio::time::timeout(Duration::from_millis(1), &mut taking).await.is_ok() {
                break;
            }
        }
    }
    // A write finds out that nobody takes the copy any more.
    act(&mut host, 4 * ROUND).await.unwrap();
    host.store.back_up_to(Some(&to), at(5)).await.unwrap();
    // The half that was being written when it was abandoned is removed by the thread that wrote it.
    let cleared = async {
        while names(folder.path()).len() > 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), cleared)
        .await
        .expect("only the store and the backup are left");
}
