//! The store to a file and back: what comes back, and what does not.

use std::{fs, path::PathBuf};

use super::{
    crash::{numbered_commit, numbered_outcome},
    *,
};
use callwatch::store::{DeliveryFilter, DeliveryState, Restored, Tally};

const HOUR: Duration = Duration::from_secs(3600);

fn backups(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(config(folder).path.join("backups"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// A backup of `from`'s store in a store of its own.
async fn clone(store: &SledStore, to: &Path) -> (SledStore, Restored) {
    let file = to.join("clone.backup");
    store.back_up_to(Some(&file), at(5)).await.unwrap();
    let restored = SledStore::restore(&config(to), Some(&file)).await.unwrap();
    (open(to).await.unwrap(), restored)
}

async fn listed(store: &dyn Store) -> Vec<(String, u64, DeliveryState, u32)> {
    let records = store.deliveries(&DeliveryFilter::default(), None, usize::MAX).await.unwrap();
    records.into_iter().map(|r| (r.id.event.to_string(), r.sequence, r.state, r.attempts)).collect()
}

#[tokio::test]
async fn snapshots_checkpoints_and_what_is_unfinished_come_back() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(folder.path()).await.unwrap();
    let mut commit =
        events(&[("evt_1", "a", 1), ("evt_2", "a", 2), ("evt_3", "b", 1), ("evt_4", "c", 1)], 10);
    commit.deliveries.push(delivery("evt_3", "frontdesk", 1, 10));
    // One that stands in many pieces.
    commit.events[1].record = Arc::from(raw(&json!({ "id": "a", "transcript": "x".repeat(200_000) })));
    commit.snapshots =
        vec![("a".into(), snapshot("a", &"y".repeat(100_000))), ("b".into(), snapshot("b", "b"))];
    commit.checkpoint = Some(json!({ "planner": 7 }));
    store.commit(commit.clone()).await.unwrap();
    store.settle(vec![outcome("evt_1", "crm", 20, Verdict::Delivered)]).await.unwrap();
    store.settle(vec![outcome("evt_3", "crm", 20, Verdict::Dead("no".to_owned()))]).await.unwrap();
    store.settle(vec![outcome("evt_4", "crm", 20, Verdict::Retry(at(500)))]).await.unwrap();

    let (copy, restored) = clone(&store, other.path()).await;
    assert_eq!((restored.calls, restored.unfinished, restored.made), (2, 3, at(5)));
    assert_eq!(restored.quarantine, None);
    let calls = ["a".into(), "b".into()];
    assert!(
        copy.snapshots(&clinic(), &calls).await.unwrap() == store.snapshots(&clinic(), &calls).await.unwrap()
    );
    assert_eq!(copy.known(&clinic(), None, 9).await.unwrap(), store.known(&clinic(), None, 9).await.unwrap());
    assert_eq!(copy.checkpoint(&clinic()).await.unwrap(), commit.checkpoint);
    let pending = |tally: &Tally| Tally { pending: tally.pending, ..Tally::default() };
    let tally: Vec<_> = store.tally().await.unwrap().values().map(pending).collect();
    assert_eq!(copy.tally().await.unwrap().into_values().collect::<Vec<_>>(), tally);
    let unfinished: Vec<_> = listed(&store)
        .await
        .into_iter()
        .filter(|(_, _, s, _)| matches!(s, DeliveryState::Pending { .. }))
        .collect();
    assert_eq!(listed(&copy).await, unfinished);

    // In order, when due, and whole.
    assert_eq!(lease(&copy, 100, 200, 9).await, (vec!["evt_2".to_owned()], Some(500)));
    let leased = copy.lease(&request("frontdesk", 100, 200, 9)).await.unwrap().deliveries;
    assert_eq!(leased[0].event.record.get(), commit.events[2].record.get());
    assert_eq!(lease(&copy, 500, 600, 9).await.0, ["evt_2", "evt_4"]);
    copy.settle(vec![outcome("evt_2", "crm", 600, Verdict::Delivered)]).await.unwrap();
    // Repeating what was told before the backup adds nothing but what it has forgotten on purpose.
    assert_eq!(copy.purge(at(10_000), 100).await.unwrap(), 1);
}

#[tokio::test]
async fn what_is_written_during_a_backup_is_in_it_whole_or_not_at_all() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Arc::new(open(folder.path()).await.unwrap());
    for number in 0..40 {
        store.commit(numbered_commit(number)).await.unwrap();
    }
    let file = other.path().join("a.backup");
    let (done, mut is_done) = tokio::sync::watch::channel(false);
    let writing = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for number in 40.. {
                store
                    .settle(vec![numbered_outcome(number - 40), numbered_outcome(number - 1)])
                    .await
                    .unwrap();
                store.commit(numbered_commit(number)).await.unwrap();
                if *is_done.borrow_and_update() {
                    return number;
                }
            }
            unreachable!("there are many numbers")
        }
    });
    store.back_up_to(Some(&file), at(5)).await.unwrap();
    done.send(true).unwrap();
    let last_written = writing.await.unwrap();
    SledStore::restore(&config(other.path()), Some(&file)).await.unwrap();

    let copy = open(other.path()).await.unwrap();
    let last = copy.checkpoint(&clinic()).await.unwrap().unwrap().as_u64().unwrap();
    assert!((39..=last_written).contains(&last), "{last} of {last_written}");
    let commits: Vec<Commit> = (0..=last).map(numbered_commit).collect();
    let mut calls: Vec<&CallId> = commits.iter().flat_map(|c| &c.snapshots).map(|(id, _)| id).collect();
    calls.sort();
    let known = copy.known(&clinic(), None, usize::MAX).await.unwrap();
    assert_eq!(known.iter().map(|call| &call.id).collect::<Vec<_>>(), calls);
    // The outcomes of a number are settled before the commit of that number, and after that of the one before.
    let settled_by =
        |number: u64| (40..=number).flat_map(|n| [n - 40, n - 1]).map(|n| numbered_outcome(n).id);
    let found = copy.deliveries(&DeliveryFilter::default(), None, usize::MAX).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|record| record.id).collect();
    let fits = |settled: Vec<DeliveryId>| {
        let all = commits.iter().flat_map(|commit| &commit.deliveries).map(|new| new.id.clone());
        all.filter(|id| !settled.contains(id)).collect::<Vec<_>>() == found
    };
    assert!(fits(settled_by(last).collect()) || fits(settled_by(last + 1).collect()), "up to {last}");
}

#[tokio::test]
async fn the_last_three_are_kept_and_a_new_one_is_made_when_it_is_due() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    let hour = 3_600_000;
    for number in 0..5 {
        let now = number * hour;
        assert_eq!(store.back_up(at(now), HOUR).await.unwrap(), Some(at(now + hour)));
        assert_eq!(store.back_up(at(now + 1_000), HOUR).await.unwrap(), Some(at(now + hour)), "not again");
    }
    let kept = backups(folder.path());
    assert_eq!(kept.len(), 3, "{kept:?}");
    assert!(kept[2].ends_with("1970-01-01T04-00-00.000Z.backup"), "{kept:?}");
    // The clock was set back: one that seems to come from the future is no reason to wait.
    assert_eq!(store.back_up(at(0), HOUR).await.unwrap(), Some(at(hour)));
    assert!(backups(folder.path())[0].ends_with("1970-01-01T00-00-00.000Z.backup"));
}

#[tokio::test]
async fn a_store_in_use_is_not_restored() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    store.back_up_to(None, at(5)).await.unwrap();
    let error = SledStore::restore(&config(folder.path()), None).await.err().unwrap();
    assert!(matches!(error, StoreError::InUse { holder: Some(_), .. }), "{error}");
    store.commit(events(&[("evt_1", "a", 1)], 10)).await.unwrap();
}

#[tokio::test]
async fn a_damaged_backup_is_passed_over_and_one_asked_for_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    for number in 0..3 {
        store.commit(numbered_commit(number)).await.unwrap();
        store.back_up_to(None, at(i64::try_from(number).unwrap())).await.unwrap();
    }
    store.close().await.unwrap();
    let files = backups(folder.path());
    let mut bytes = fs::read(&files[2]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&files[2], bytes).unwrap();

    let error = SledStore::restore(&config(folder.path()), Some(&files[2])).await.err().unwrap();
    assert!(matches!(error, StoreError::Backup { doing: "read", .. }), "{error}");
    assert_eq!(open(folder.path()).await.unwrap().checkpoint(&clinic()).await.unwrap(), Some(json!(2)));

    let restored = SledStore::restore(&config(folder.path()), None).await.unwrap();
    assert_eq!(restored.from, files[1]);
    assert!(restored.quarantine.unwrap().is_dir());
    let store = open(folder.path()).await.unwrap();
    assert_eq!(store.checkpoint(&clinic()).await.unwrap(), Some(json!(1)));
    // It goes on from there, however often it is opened.
    store.commit(numbered_commit(2)).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(open(folder.path()).await.unwrap().checkpoint(&clinic()).await.unwrap(), Some(json!(2)));
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
    let store = open(folder.path()).await.unwrap();
    for number in 0..20 {
        store.commit(numbered_commit(number)).await.unwrap();
    }
    let to = folder.path().join("a.backup");
    for polls in 1..12 {
        let mut taking = std::pin::pin!(store.back_up_to(Some(&to), at(5)));
        for _ in 0..polls {
            let _ = tokio::time::timeout(Duration::from_millis(1), &mut taking).await;
        }
    }
    // A write finds out that nobody takes the copy any more.
    store.commit(numbered_commit(20)).await.unwrap();
    store.back_up_to(Some(&to), at(5)).await.unwrap();
    // What was being written when it was abandoned is cleared away by the thread that wrote it.
    let files = || fs::read_dir(folder.path()).unwrap().count();
    let cleared = async {
        while files() > 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), cleared)
        .await
        .expect("only the store and the backup are left");
}
