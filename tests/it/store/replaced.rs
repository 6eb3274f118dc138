//! A tree in the place of another one, by a restore or because it had grown too large, and what is left when that is cut
//! short.

use std::{fs, path::Path};

use callwatch::store::SledStore;

use super::{
    crash::{Orders, Said, check, copy, live, some_steps},
    life::{Embedded, Host, Part, ROUND, act, describe, find, model_after},
    *,
};

/// How many bytes the files of the tree take.
fn size(folder: &Path) -> u64 {
    let files = fs::read_dir(config(folder).path.join("sled")).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(config(folder).path).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A store after some deeds whose files are mostly unused: many large events have been purged.
async fn bloated(folder: &Path, deeds: u64) {
    let mut host = Embedded::open(folder).await.unwrap();
    for deed in 0..deeds {
        act(&mut host, deed).await.unwrap();
    }
    let process = Process { store: host.store() };
    for number in 0..150 {
        let id = format!("evt_bulk-{number}");
        let mut large = event(&id, &id);
        large.record = Arc::from(raw(&json!({ "id": id, "transcript": "x".repeat(600_000) })));
        process.commit(new_event(large, vec![delivery("bulk", 1, 0)])).await;
        let token = process.find(&id, "bulk").await.unwrap().token;
        let claim = process.own(destination("bulk")).await;
        let delivered = outcomes(vec![outcome(token, 1, 1, Verdict::Delivered)]);
        process.store.settle(&claim, delivered).await.unwrap();
    }
    assert_eq!(process.purge_all(2, 1_000).await, 150);
    process.close().await.unwrap();
}

#[tokio::test]
async fn a_tree_that_is_mostly_unused_is_made_smaller_whenever_that_is_cut_short() {
    const DEEDS: u64 = ROUND + 9;
    let origin = tempfile::tempdir().unwrap();
    bloated(origin.path(), DEEDS).await;
    let large = size(origin.path());
    assert!(large > 80_000_000, "{large}");
    let orders = Orders { from: DEEDS, deeds: Some(0), ..Orders::default() };
    let whole = tempfile::tempdir().unwrap();
    copy(origin.path(), whole.path());
    let steps = live(whole.path(), &orders).steps;
    for step in some_steps(steps, 4) {
        let folder = tempfile::tempdir().unwrap();
        copy(origin.path(), folder.path());
        let said = live(folder.path(), &Orders { abort_at: Some(step), ..orders.clone() });
        assert!(said.error.is_none(), "{said:?}");
        check(folder.path(), DEEDS, DEEDS).await;
        assert!(size(folder.path()) < large / 3, "step {step}: {} of {large}", size(folder.path()));
        let left = names(folder.path());
        assert!(!left.iter().any(|name| name.starts_with("sled.")), "step {step}: {left:?}");
    }
    // A step that fails, as on a full disk, leaves it as it is until there is room.
    for step in some_steps(steps, 8) {
        let folder = tempfile::tempdir().unwrap();
        copy(origin.path(), folder.path());
        let said = live(folder.path(), &Orders { fail_at: Some(step), ..orders.clone() });
        assert!(said.steps <= step || said.error.is_some(), "{said:?}");
        check(folder.path(), DEEDS, DEEDS).await;
        assert!(size(folder.path()) < large / 3, "step {step}");
    }
}

/// A store after more deeds than are in its last backup.
async fn backed_up(folder: &Path) -> (u64, u64) {
    let (in_backup, deeds) = (2 * ROUND + 15, 3 * ROUND + 5);
    let mut host = Embedded::open(folder).await.unwrap();
    for deed in 0..deeds {
        act(&mut host, deed).await.unwrap();
    }
    host.store.close().await.unwrap();
    (in_backup, deeds)
}

#[tokio::test]
async fn a_restore_cut_short_at_any_step_leaves_the_old_store_or_can_be_repeated() {
    let origin = tempfile::tempdir().unwrap();
    let (in_backup, deeds) = backed_up(origin.path()).await;
    let by = in_backup - 1;
    let restored = describe(&model_after(Some(by)).await, by, Part::Unfinished).await;
    let orders = Orders { restore: true, ..Orders::default() };
    let whole = tempfile::tempdir().unwrap();
    copy(origin.path(), whole.path());
    let Said { steps, error, .. } = live(whole.path(), &orders);
    assert!(error.is_none(), "{error:?}");
    for step in some_steps(steps, 3) {
        let folder = tempfile::tempdir().unwrap();
        copy(origin.path(), folder.path());
        live(folder.path(), &Orders { abort_at: Some(step), ..orders.clone() });
        let before = names(folder.path());
        match open(folder.path()).await {
            Ok(store) => {
                let store: Arc<dyn Store> = Arc::new(store);
                if before.iter().any(|name| name.starts_with("quarantine-")) {
                    assert_eq!(describe(&store, by, Part::Unfinished).await, restored, "step {step}");
                } else {
                    find(&store, deeds..=deeds, Part::All).await;
                }
                store.close().await.unwrap();
            }
            Err(error) => {
                assert!(matches!(error, StoreError::Damaged { .. }), "step {step}: {error}");
                assert!(error.to_string().contains("callwatch restore"), "{error}");
            }
        }
        SledStore::restore(&config(folder.path()), None).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(open(folder.path()).await.unwrap());
        assert_eq!(describe(&store, by, Part::Unfinished).await, restored, "step {step}");
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_restore_that_fails_at_any_step_leaves_the_old_store_as_it_was() {
    let origin = tempfile::tempdir().unwrap();
    let (_, deeds) = backed_up(origin.path()).await;
    let orders = Orders { restore: true, ..Orders::default() };
    let whole = tempfile::tempdir().unwrap();
    copy(origin.path(), whole.path());
    let steps = live(whole.path(), &orders).steps;
    for step in some_steps(steps, 3) {
        let folder = tempfile::tempdir().unwrap();
        copy(origin.path(), folder.path());
        let before = names(folder.path());
        let said = live(folder.path(), &Orders { fail_at: Some(step), ..orders.clone() });
        assert!(said.error.is_some(), "step {step} of {steps}");
        assert_eq!(names(folder.path()), before, "step {step}");
        check(folder.path(), deeds, deeds).await;
    }
}
