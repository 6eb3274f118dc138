//! Damaged files: they are reported in words a person can act on, and never believed.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use callwatch::store::{Action, SledStore};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    crash::{Orders, copy, live, times},
    life::{Embedded, ROUND, act, events_of_round},
    *,
};

/// A closed store in which everything has happened, some of it in large values.
async fn make(folder: &Path) -> PathBuf {
    let mut host = Embedded::open(folder).await.unwrap();
    for deed in 0..3 * ROUND + 9 {
        act(&mut host, deed).await.unwrap();
    }
    host.store.close().await.unwrap();
    config(folder).path.join("sled")
}

fn snapshot_files(sled: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(sled).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("snap.")).collect()
}

/// Asks and does everything; the first error ends it. Returns how many calls are known.
async fn use_all(store: &SledStore) -> Result<usize, StoreError> {
    let known = store.known(&clinic(), None, usize::MAX).await?;
    let ids: Vec<_> = known.iter().map(|call| call.id.clone()).collect();
    store.snapshots(&clinic(), &ids).await?;
    for duty in [source("clinic"), destination("crm"), Duty::Upkeep] {
        store.checkpoint(&duty).await?;
    }
    store.destinations().await?;
    let all = store.query(&Query { limit: usize::MAX, ..Query::default() }).await?.items;
    store.bodies(&all.iter().map(|record| record.token).collect::<Vec<_>>()).await?;
    // Also of deliveries that are forgotten.
    for event in all_events() {
        let filter = DeliveryFilter { event: Some(event), ..DeliveryFilter::default() };
        store.query(&Query { filter, after: None, limit: 9 }).await?;
    }
    let lanes: Vec<_> = (0..9).map(|round| call(&format!("memo-{round}"))).collect();
    for to in ["crm", "mail"] {
        let claim = store.claim(&destination(to)).await?.expect("nobody else has it");
        store.pending(&claim, Position::START, usize::MAX).await?;
        store.memos(&name(to), &lanes).await?;
        store.ledgers(&name(to)).await?;
    }
    let (clinic_claim, crm_claim, upkeep) = (
        store.claim(&source("clinic")).await?.expect("nobody else has it"),
        store.claim(&destination("crm")).await?.expect("nobody else has it"),
        store.claim(&Duty::Upkeep).await?.expect("nobody else has it"),
    );
    let id = format!("evt_new-{}", all.len());
    store.commit(&clinic_claim, events(&[(&id, "new", 1)], 10)).await?;
    let filter = DeliveryFilter { event: Some(event_id(&id)), ..DeliveryFilter::default() };
    let new = store.query(&Query { filter, after: None, limit: 1 }).await?.items.remove(0);
    store.settle(&crm_claim, outcomes(vec![outcome(new.token, 1, 20, dead())])).await?;
    store.act(Action::Retry { tokens: vec![new.token], at: at(30) }).await?;
    store.settle(&crm_claim, outcomes(vec![outcome(new.token, 2, 40, Verdict::Delivered)])).await?;
    store.purge(&upkeep, at(1), 100).await?;
    Ok(known.len())
}

fn all_events() -> impl Iterator<Item = EventId> {
    (0..4).flat_map(events_of_round)
}

fn assert_clear(error: &StoreError) {
    let text = error.to_string();
    assert!(matches!(error, StoreError::Damaged { .. } | StoreError::Failed { .. }), "{text}");
    assert!(text.contains("callwatch.db") && text.contains("start callwatch again"), "{text}");
    assert_eq!(text.contains("callwatch restore"), matches!(error, StoreError::Damaged { .. }), "{text}");
}

#[tokio::test]
async fn any_damage_to_the_file_gives_a_clear_error_or_a_working_store() {
    let origin = tempfile::tempdir().unwrap();
    make(origin.path()).await;
    for case in 0..16_u64 {
        let folder = tempfile::tempdir().unwrap();
        copy(origin.path(), folder.path());
        let db = config(folder.path()).path.join("sled/db");
        let mut bytes = fs::read(&db).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
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
            // A store that works goes on working.
            use_all(&open(folder.path()).await?).await
        };
        match tokio::time::timeout(Duration::from_secs(60), used).await.expect("it hangs") {
            Ok(known) => assert!(known <= 400),
            Err(error) => assert_clear(&error),
        }
    }
}

#[tokio::test]
async fn damaged_page_tables_are_rebuilt_and_kept_aside() {
    let origin = tempfile::tempdir().unwrap();
    make(origin.path()).await;
    let whole = use_all(&open(origin.path()).await.unwrap()).await.unwrap();
    for case in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path()).await;
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
        assert_eq!(use_all(&store).await.unwrap(), whole, "case {case}");
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
    assert!(use_all(&store).await.unwrap() > 0);
    assert!(!torn.exists());
}

#[tokio::test]
async fn an_emptied_store_is_not_taken_for_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let sled = make(folder.path()).await;
    let backups = config(folder.path()).path.join("backups");
    assert!(backups.exists());
    fs::remove_dir_all(backups).unwrap();
    fs::remove_dir_all(&sled).unwrap();
    let error = open(folder.path()).await.err().unwrap();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert_clear(&error);
    // There is no backup; the advice of that error works.
    let error = SledStore::restore(&config(folder.path()), None).await.err().unwrap();
    assert!(matches!(error, StoreError::NoBackup { .. }), "{error}");
    fs::remove_dir_all(config(folder.path()).path).unwrap();
    assert_eq!(use_all(&open(folder.path()).await.unwrap()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_store_that_never_began_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let sled = config(folder.path()).path.join("sled");
    fs::create_dir_all(&sled).unwrap();
    fs::write(sled.join("db"), vec![7; 100_000]).unwrap();
    fs::write(sled.join("conf"), b"half").unwrap();
    assert_eq!(use_all(&open(folder.path()).await.unwrap()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_store_that_went_back_in_time_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let sled = make(folder.path()).await;
    let earlier = tempfile::tempdir().unwrap();
    copy(&sled, earlier.path());
    let store = Process { store: Arc::new(open(folder.path()).await.unwrap()) };
    store.commit(calls(&["evt_late"], 10)).await;
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

/// Changes every value of the store with `change`; returns the keys.
fn tamper(sled: &Path, change: impl Fn(&[u8], Vec<u8>) -> Vec<u8>) -> Vec<Vec<u8>> {
    let db = sled::Config::new().path(sled).segment_size(4 << 20).open().unwrap();
    let keys = db.iter().map(Result::unwrap).map(|(key, value)| {
        let changed = change(&key, value.to_vec());
        if value != changed {
            db.insert(&key, changed).unwrap();
        }
        key.to_vec()
    });
    let keys = keys.collect();
    db.flush().unwrap();
    keys
}

/// Turns a bit in the middle of a value.
fn flip(mut value: Vec<u8>) -> Vec<u8> {
    let middle = value.len() / 2;
    value[middle] ^= 1;
    value
}

async fn use_damaged(folder: &Path) -> Result<usize, StoreError> {
    use_all(&open(folder).await?).await
}

#[tokio::test]
async fn a_value_that_is_not_what_was_written_is_never_believed() {
    let closed = tempfile::tempdir().unwrap();
    make(closed.path()).await;
    // A store that was killed has groups that were not folded yet.
    let killed = tempfile::tempdir().unwrap();
    live(killed.path(), &Orders { deeds: Some(6), kill: true, ..Orders::default() });
    let mut found = BTreeSet::new();
    for (origin, kinds) in [(&closed, *b"bcefghikmnops"), (&killed, *b"bcefghikmnopx")] {
        for kind in kinds {
            let folder = tempfile::tempdir().unwrap();
            copy(origin.path(), folder.path());
            let sled = config(folder.path()).path.join("sled");
            let keys = tamper(&sled, |key, value| if key[0] == kind { flip(value) } else { value });
            if keys.iter().any(|key| key[0] == kind) {
                found.insert(kind);
                let used = use_damaged(folder.path()).await;
                assert!(matches!(used, Err(StoreError::Damaged { .. })), "{}: {used:?}", char::from(kind));
                assert_clear(&used.err().unwrap());
            }
        }
    }
    assert_eq!(found, BTreeSet::from(*b"bcefghikmnopsx"), "every kind of key was tried");
}

#[tokio::test]
async fn a_single_flipped_bit_is_found_whichever_key_it_is_in() {
    let origin = tempfile::tempdir().unwrap();
    let sled = make(origin.path()).await;
    let keys = tamper(&sled, |_, value| value);
    let every = times("CALLWATCH_STORE_EVERY_KEY", 40);
    for key in keys.iter().skip(fastrand::usize(0..every)).step_by(every) {
        let folder = tempfile::tempdir().unwrap();
        copy(origin.path(), folder.path());
        let sled = config(folder.path()).path.join("sled");
        tamper(&sled, |it, value| if it == key.as_slice() { flip(value) } else { value });
        let used = use_damaged(folder.path()).await;
        assert!(matches!(used, Err(StoreError::Damaged { .. })), "{key:?}: {used:?}");
    }
}

#[tokio::test]
async fn damage_that_nobody_reads_is_found_by_a_store_at_rest() {
    let folder = tempfile::tempdir().unwrap();
    live(folder.path(), &Orders { deeds: Some(6), kill: true, ..Orders::default() });
    let sled = config(folder.path()).path.join("sled");
    tamper(&sled, |key, value| if key[0] == b'e' { flip(value) } else { value });
    let store = open(folder.path()).await.unwrap();
    let found = async {
        loop {
            match store.checkpoint(&Duty::Upkeep).await {
                // It looks around only when nothing has been asked for a second.
                Ok(_) => tokio::time::sleep(Duration::from_millis(1_500)).await,
                Err(error) => return error,
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(60), found).await.expect("it is found");
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert_clear(&error);
}

#[tokio::test]
async fn a_store_that_cannot_be_repaired_is_copied_aside_once() {
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

/// A value as schemas before 4 sealed it; the record that tells the schema is read so for ever.
fn seal_as_before(key: &[u8], body: &[u8]) -> Vec<u8> {
    let value = [&[1], &[0; 8][..], body].concat();
    let sum = xxh3_64(&[key, &value].concat());
    [value, sum.to_le_bytes().to_vec()].concat()
}

#[tokio::test]
async fn a_store_of_another_schema_is_refused_with_advice_and_left_as_it_is() {
    for (schema, advice) in [(1, "start again"), (4, "start again"), (6, "install that version")] {
        let folder = tempfile::tempdir().unwrap();
        let sled = make(folder.path()).await;
        let meta = json!({ "schema": schema, "sequence": 900, "clean": true }).to_string();
        tamper(&sled, |key, value| if key == b"m" { seal_as_before(key, meta.as_bytes()) } else { value });
        let path = config(folder.path()).path;
        let before = fs::read_dir(&path).unwrap().count();
        let error = open(folder.path()).await.err().unwrap();
        let text = error.to_string();
        assert!(text.contains(advice) && text.contains(&format!("schema {schema}")), "{text}");
        assert!(matches!(error, StoreError::TooOld { .. } | StoreError::TooNew { .. }), "{text}");
        assert_eq!(fs::read_dir(&path).unwrap().count(), before);
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

#[cfg(unix)]
#[tokio::test]
async fn files_belong_to_the_owner_of_the_folder() {
    use std::os::unix::fs::{MetadataExt, chown};
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path()).path;
    fs::create_dir(&path).unwrap();
    // Only root can give anything away; for anybody else all is as it was.
    let _ = chown(&path, Some(12_345), Some(12_345));
    let owner = |path: &Path| {
        let metadata = fs::metadata(path).unwrap();
        (metadata.uid(), metadata.gid())
    };
    let expected = owner(&path);
    let mut host = Embedded::open(folder.path()).await.unwrap();
    act(&mut host, 0).await.unwrap();
    host.store.back_up_to(None, at(5)).await.unwrap();
    host.store.close().await.unwrap();
    SledStore::restore(&config(folder.path()), None).await.unwrap();
    fn visit(folder: &Path, look: &mut impl FnMut(&Path)) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            look(&entry.path());
            if entry.path().is_dir() {
                visit(&entry.path(), look);
            }
        }
    }
    let mut seen = 0;
    visit(&path, &mut |path| {
        seen += 1;
        assert_eq!(owner(path), expected, "{}", path.display());
    });
    assert!(seen > 6, "{seen}");
}
