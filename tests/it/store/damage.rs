//! Files that are not what was written: never a panic, never a wrong answer taken for a right one.

use std::{fs, path::PathBuf};

use super::*;
use callwatch::store::{DeliveryFilter, Sorting};

/// A closed store with some hundred calls and events, opened and closed a few times.
async fn make(folder: &Path) -> PathBuf {
    for round in 0..4 {
        let store = open(folder).await.unwrap();
        for number in 0..50 {
            let id = format!("{round}-{number}");
            let mut commit = events(&[(&format!("evt_{id}"), &id, 1)], 10);
            commit.snapshots.push((CallId::from(id.as_str()), snapshot(&id, &"x".repeat(500))));
            store.commit(commit).await.unwrap();
        }
        store.sort(sorting(round)).await.unwrap();
        store.close().await.unwrap();
    }
    config(folder).path.join("sled")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn snapshot_files(sled: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(sled).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("snap.")).collect()
}

/// Holds a delivery of the round, and remembers a batch.
fn sorting(round: u64) -> Sorting {
    let mut sorting = Sorting::new(name("crm"), at(15));
    sorting.hold.push((event_id(&format!("evt_{round}-49")), "digest".into()));
    sorting.ledgers.push(("digest".into(), Some(json!(round))));
    sorting
}

/// Uses the store in every way; the first error ends it.
async fn use_all(store: &SledStore) -> Result<usize, StoreError> {
    let known = store.known(&clinic(), None, usize::MAX).await?;
    let calls: Vec<_> = known.iter().map(|call| call.id.clone()).collect();
    store.snapshots(&clinic(), &calls).await?;
    store.deliveries(&DeliveryFilter::default(), None, usize::MAX).await?;
    store.tally().await?;
    store.lease(&request("crm", 10, 20, usize::MAX)).await?;
    store.commit(events(&[("evt_new", "new", 1)], 10)).await?;
    store.settle(vec![outcome("evt_new", "crm", 20, Verdict::Delivered)]).await?;
    store.held(&name("crm"), &"digest".into(), None, usize::MAX).await?;
    store.ledgers(&name("crm")).await?;
    store.sort(sorting(0)).await?;
    store.purge(at(50), 100).await?;
    Ok(known.len())
}

fn assert_clear(error: &StoreError) {
    let text = error.to_string();
    assert!(matches!(error, StoreError::Damaged { .. } | StoreError::Failed { .. }), "{text}");
    assert!(text.contains("callwatch.db") && text.contains("start callwatch again"), "{text}");
    assert_eq!(text.contains("callwatch restore"), matches!(error, StoreError::Damaged { .. }), "{text}");
}

#[tokio::test]
async fn whatever_happens_to_the_file_there_is_a_clear_word_or_a_working_store() {
    let origin = tempfile::tempdir().unwrap();
    make(origin.path()).await;
    for case in 0..16_u64 {
        let folder = tempfile::tempdir().unwrap();
        copy(origin.path(), folder.path());
        let db = config(folder.path()).path.join("sled/db");
        let mut bytes = fs::read(&db).unwrap();
        let used = bytes.windows(100).rposition(|part| part == [b'x'; 100]).unwrap() as u64;
        let mut random = fastrand::Rng::with_seed(case);
        let from = (used * random.u64(0..100) / 100) as usize;
        match case % 4 {
            0 => bytes.truncate(from),
            1 => bytes[from..].fill(0),
            2 => {
                let to = (from + 5_000).min(bytes.len());
                bytes[from..to].fill(0);
            }
            _ => (0..20).for_each(|_| bytes[random.usize(0..used as usize)] ^= 0x55),
        }
        if case % 8 >= 4 {
            snapshot_files(db.parent().unwrap()).iter().for_each(|path| fs::remove_file(path).unwrap());
        }
        fs::write(&db, bytes).unwrap();
        let used = async {
            let store = open(folder.path()).await?;
            let used = use_all(&store).await;
            // Ends one way or another.
            let closed = store.close().await;
            used.and(closed)?;
            // What works goes on working.
            use_all(&open(folder.path()).await?).await
        };
        match tokio::time::timeout(Duration::from_secs(60), used).await.expect("it hangs") {
            Ok(known) => assert!(known <= 200),
            Err(error) => assert_clear(&error),
        }
    }
}

#[tokio::test]
async fn damaged_page_tables_are_rebuilt_and_kept_aside() {
    let origin = tempfile::tempdir().unwrap();
    make(origin.path()).await;
    for case in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        copy(origin.path(), folder.path());
        let sled = config(folder.path()).path.join("sled");
        let files = snapshot_files(&sled);
        assert!(!files.is_empty());
        for file in files {
            let bytes = fs::read(&file).unwrap();
            match case {
                0 => fs::write(&file, &bytes[..bytes.len() / 2]).unwrap(),
                1 => fs::write(&file, vec![0; bytes.len()]).unwrap(),
                _ => fs::write(&file, b"").unwrap(),
            }
        }
        let store = open(folder.path()).await.unwrap_or_else(|error| panic!("case {case}: {error}"));
        assert_eq!(use_all(&store).await.unwrap(), 200, "case {case}");
        assert!(config(folder.path()).path.join("damaged/db").exists());
    }
}

#[tokio::test]
async fn an_unfinished_page_table_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let sled = make(folder.path()).await;
    let torn = sled.join("snap.00000000FFFFFFFF.generating");
    fs::write(&torn, b"half").unwrap();
    let store = open(folder.path()).await.unwrap();
    assert_eq!(use_all(&store).await.unwrap(), 200);
    assert!(!torn.exists());
}

#[tokio::test]
async fn an_emptied_store_is_not_taken_for_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let sled = make(folder.path()).await;
    fs::remove_dir_all(&sled).unwrap();
    let error = open(folder.path()).await.err().unwrap();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert_clear(&error);
    // There is no backup; what is advised then works.
    let error = SledStore::restore(&config(folder.path()), None).await.err().unwrap();
    assert!(matches!(error, StoreError::NoBackup { .. }), "{error}");
    fs::remove_dir_all(config(folder.path()).path).unwrap();
    assert_eq!(use_all(&open(folder.path()).await.unwrap()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_store_that_went_back_in_time_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let sled = make(folder.path()).await;
    let earlier = tempfile::tempdir().unwrap();
    copy(&sled, earlier.path());
    let store = open(folder.path()).await.unwrap();
    store.commit(events(&[("evt_late", "late", 1)], 10)).await.unwrap();
    store.close().await.unwrap();
    fs::remove_dir_all(&sled).unwrap();
    copy(earlier.path(), &sled);
    let error = open(folder.path()).await.err().unwrap();
    assert!(error.to_string().contains("what was written last is missing"), "{error}");
    assert_clear(&error);
}

#[tokio::test]
async fn a_restart_loop_on_a_damaged_store_does_not_fill_the_disk_with_copies() {
    let folder = tempfile::tempdir().unwrap();
    let sled = make(folder.path()).await;
    tamper(&sled, |key, mut value| {
        if key[0] == b'm' {
            value.pop();
        }
        value
    });
    for _ in 0..3 {
        assert_clear(&open(folder.path()).await.err().unwrap());
    }
    let entries = fs::read_dir(config(folder.path()).path).unwrap();
    let copies = entries.filter(|entry| entry.as_ref().unwrap().path().join("db").exists());
    assert!(copies.count() <= 2, "the data and one copy");
}

/// Changes every value of the store with `change`.
fn tamper(sled: &Path, change: impl Fn(&[u8], Vec<u8>) -> Vec<u8>) {
    let db = sled::Config::new().path(sled).segment_size(4 << 20).open().unwrap();
    for (key, value) in db.iter().map(Result::unwrap) {
        db.insert(&key, change(&key, value.to_vec())).unwrap();
    }
    db.flush().unwrap();
}

#[tokio::test]
async fn a_value_that_is_not_what_was_written_is_never_believed() {
    for kind in *b"sedtgm" {
        let folder = tempfile::tempdir().unwrap();
        let sled = make(folder.path()).await;
        let store = open(folder.path()).await.unwrap();
        store.settle(vec![outcome("evt_0-0", "crm", 20, Verdict::Delivered)]).await.unwrap();
        store.close().await.unwrap();
        tamper(&sled, |key, mut value| {
            if key[0] == kind {
                let middle = value.len() / 2;
                value[middle] ^= 1;
            }
            value
        });
        let used = match open(folder.path()).await {
            Ok(store) => use_all(&store).await,
            Err(error) => Err(error),
        };
        assert!(matches!(used, Err(StoreError::Damaged { .. })), "{}: {used:?}", char::from(kind));
    }
}

#[tokio::test]
async fn what_cannot_be_repaired_is_copied_aside_once() {
    let folder = tempfile::tempdir().unwrap();
    let sled = make(folder.path()).await;
    tamper(&sled, |_, value| value[1..].to_vec());
    let entries = || fs::read_dir(config(folder.path()).path).unwrap().count();
    let mut before = None;
    for _ in 0..3 {
        let error = open(folder.path()).await.err().unwrap();
        assert_clear(&error);
        assert!(config(folder.path()).path.join("damaged/db").exists());
        assert_eq!(*before.get_or_insert(entries()), entries());
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_said() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("callwatch.db"), b"a file").unwrap();
    let error = open(folder.path()).await.err().unwrap();
    assert!(matches!(error, StoreError::Io { doing: "opened", .. }), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn only_its_owner_may_look_into_the_folder() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).await.unwrap();
    for path in [config(folder.path()).path, config(folder.path()).path.join("sled")] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
