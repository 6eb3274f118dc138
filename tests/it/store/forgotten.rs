//! What the embedded store's files hold of a call that was forgotten: nothing, once they are rewritten.

use std::{fs, path::Path};

use callwatch::{
    call::Call,
    store::{Action, SledStore},
};

use super::{backend::Sled, *};

/// Whether a text stands in a file of this folder, backups apart.
fn holds(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => path.file_name().unwrap() != "backups" && holds(&path, text),
            false => fs::read(&path).unwrap().windows(text.len()).any(|bytes| bytes == text.as_bytes()),
        }
    })
}

/// A commit about a call of somebody.
fn of_somebody(id: &str, who: &str, large: usize) -> Commit {
    let record = json!({
        "id": id, "status": "completed", "callerNumber": who, "summary": format!("Said by {who}."),
        "transcript": [{ "role": "user", "content": format!("I am {who}. {}", "Yes. ".repeat(large)) }],
    });
    let event = Event { record: Arc::from(raw(&record)), ..event(&format!("evt_{id}"), id) };
    let snapshot = Snapshot::first(&Call::parse(&raw(&record)).unwrap(), Kinds::NONE, at(1));
    let deliveries = vec![delivery("crm", 1, 10), delivery("mail", 1, 10)];
    Commit { snapshots: vec![(id.into(), snapshot)], ..new_event(event, deliveries) }
}

#[tokio::test]
async fn nothing_of_a_forgotten_call_is_left_in_the_files_and_all_of_the_others() {
    let backend = Sled::new();
    let mut store = Process::of(&backend).await;
    let (gone, stays) = ("+33600000001", "+33600000002");
    // Events small and in parts, alone and together, folded and not; snapshots beside them.
    for large in [1, 30_000] {
        let [a, b] = [format!("a{large}"), format!("b{large}")];
        let mut both = of_somebody(&a, gone, large);
        let other = of_somebody(&b, stays, large);
        both.snapshots.extend(other.snapshots);
        both.events.extend(other.events);
        store.commit(both).await;
        for id in [&a, &b] {
            let who = if *id == a { gone } else { stays };
            let mut outcome = outcome(store.token(&format!("evt_{id}")).await, 1, 20, Verdict::Retry(at(30)));
            outcome.attempt.response = format!("cannot find {who}");
            store.settle(outcomes(vec![outcome])).await;
        }
        if large == 1 {
            store = store.restart(&backend).await;
        }
    }
    let folder = config(backend.folder()).path;
    let calls = ["a1", "a30000"].map(CallId::from);
    let mut tokens = vec![];
    for call in &calls {
        for destination in ["crm", "mail"] {
            tokens.push(store.find(&format!("evt_{call}"), destination).await.unwrap().token);
        }
    }
    let action = Action::Forget {
        calls: calls.iter().map(|call| (clinic(), call.clone())).collect(),
        tokens,
        events: vec![],
    };
    assert_eq!(store.act(action).await.unwrap(), 4);
    // sled writes elsewhere and overwrites later.
    assert!(holds(&folder, gone) && holds(&folder, stays));
    let others = |store: &Process| {
        let ids = ["b1", "b30000"].map(CallId::from);
        let store = Arc::clone(&store.store);
        async move { store.snapshots(&clinic(), &ids).await.unwrap() }
    };
    let before = others(&store).await;
    let mut store = store.restart(&backend).await;
    for _ in 0..2 {
        assert!(!holds(&folder, gone), "nothing of it is left");
        assert!(holds(&folder, stays));
        assert!(others(&store).await == before);
        for id in ["b1", "b30000"] {
            let record = store.record(&format!("evt_{id}")).await;
            assert_eq!(record.log[0].response, format!("cannot find {stays}"));
            let body = store.bodies(&[record.token]).await.unwrap().remove(0).unwrap();
            assert!(body.record.get().contains(stays));
        }
        assert!(!folder.join("renew").exists());
        store = store.restart(&backend).await;
    }
}

#[tokio::test]
async fn copies_from_before_are_named() {
    let backend = Sled::new();
    let store = open(backend.folder()).await.unwrap();
    let (folder, now) = (config(backend.folder()).path, at(1_700_000_000_000));
    assert!(store.copies().await.unwrap().is_empty());
    let claim = store.claim(&Duty::Upkeep).await.unwrap().unwrap();
    let taken = store.back_up(&claim, now, Duration::from_secs(60)).await.unwrap().unwrap().taken.unwrap();
    fs::create_dir(folder.join("quarantine-1700000000")).unwrap();
    assert_eq!(store.copies().await.unwrap(), [taken.file, folder.join("quarantine-1700000000")]);
    store.close().await.unwrap();
    assert!(SledStore::open(&config(backend.folder())).await.is_ok());
}
