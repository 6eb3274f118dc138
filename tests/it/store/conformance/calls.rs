//! Snapshots: what is remembered of calls.

use callwatch::store::KnownCall;

use super::*;

for_every_store!(
    a_snapshot_replaces_the_one_before,
    known_calls_come_in_order_page_by_page,
    ids_may_hold_anything,
    a_snapshot_comes_back_as_it_was,
    a_record_as_deep_as_can_be_read_comes_back,
    large_snapshots_shrink_and_grow,
    sources_do_not_see_each_other,
    only_calls_of_the_source_settled_before_are_shrunk,
);

async fn a_snapshot_replaces_the_one_before(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    for summary in ["hello", "goodbye"] {
        store.commit(remembers("a", snapshot("a", summary))).await;
    }
    let asked = ["b".into(), "a".into(), "a".into()];
    let found = store.snapshots(&clinic(), &asked).await.unwrap();
    let goodbye = Some(snapshot("a", "goodbye"));
    assert_eq!(found, [None, goodbye.clone(), goodbye]);
    assert_eq!(store.known(&clinic(), None, 10).await.unwrap().len(), 1);
}

/// All known calls, read in pages of `limit`.
async fn known_in_pages(store: &dyn Store, limit: usize) -> Vec<KnownCall> {
    let mut all: Vec<KnownCall> = vec![];
    loop {
        let page = store.known(&clinic(), all.last().map(|call| &call.id), limit).await.unwrap();
        assert!(page.len() <= limit);
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

async fn known_calls_come_in_order_page_by_page(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let mut commit = Commit::default();
    for number in (0..60).rev() {
        let id = format!("{number:03}");
        commit.snapshots.push((CallId::from(id.as_str()), snapshot(&id, "hello")));
    }
    let mut expected: Vec<_> =
        commit.snapshots.iter().map(|(id, snapshot)| KnownCall::of(id.clone(), snapshot)).collect();
    expected.reverse();
    store.commit(commit).await;
    for limit in [1, 7, 60, 1000] {
        assert_eq!(known_in_pages(&*store, limit).await, expected);
    }
    assert_eq!(store.known(&clinic(), None, 0).await.unwrap(), []);
}

async fn ids_may_hold_anything(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let long = "x".repeat(5_000);
    let mut ids = vec![
        "a",
        "a\0",
        "a\0b",
        "a\0\u{1}b",
        "a/b",
        "\0",
        "\0\0",
        "\u{1}",
        "é",
        "📞",
        "\u{10ffff}",
        " ",
        "a\u{ff}",
        long.as_str(),
    ];
    let mut commit = calls(&ids, 10);
    for id in &ids {
        commit.snapshots.push((CallId::from(*id), snapshot(id, "hello")));
    }
    store.commit(commit).await;
    let memos = ids.iter().map(|id| (call(id), Some(json!(id.len())))).collect();
    store.settle(Settlement { memos, ..settlement(10) }).await;
    ids.sort_unstable();
    for limit in [1, 4, 100] {
        let known: Vec<_> = known_in_pages(&*store, limit).await.into_iter().map(|call| call.id).collect();
        assert_eq!(known.iter().map(CallId::as_str).collect::<Vec<_>>(), ids);
    }
    for id in &ids {
        let found = store.snapshots(&clinic(), &[CallId::from(*id)]).await.unwrap();
        assert_eq!(found, [Some(snapshot(id, "hello"))]);
        assert_eq!(store.memos(&crm(), &[call(id)]).await.unwrap(), [Some(json!(id.len()))]);
        let of_call = DeliveryFilter { call: Some(CallId::from(*id)), ..DeliveryFilter::default() };
        assert_eq!(self::ids(&store.pages(&of_call, 5).await), [*id]);
        assert_eq!(store.record(id).await.subject, call(id));
    }
}

async fn a_snapshot_comes_back_as_it_was(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let record = json!({
        "id": "a", "status": "on hold", "z": 1, "a": { "y": null, "x": [0.1, 1e300, -0.0, 12.340000000000003] },
        "big": u64::MAX, "small": i64::MIN, "text": "\u{0}\u{7f}\"\\é📞", "": {},
    });
    let mut snapshot = Snapshot::first(&Call::parse(&raw(&record)).unwrap(), Kind::Started.into(), at(-5));
    snapshot.deleted = true;
    snapshot.sequences.insert(crm(), 7);
    store.commit(remembers("a", snapshot.clone())).await;
    let store = store.restart(backend).await;
    let found = store.snapshots(&clinic(), &["a".into()]).await.unwrap().remove(0).unwrap();
    assert_eq!(found, snapshot);
    let order = |snapshot: &Snapshot| snapshot.fields.keys().cloned().collect::<Vec<_>>();
    assert_eq!(order(&found), order(&snapshot));
    assert_eq!(store.known(&clinic(), None, 5).await.unwrap(), [KnownCall::of(CallId::from("a"), &snapshot)]);
}

async fn a_record_as_deep_as_can_be_read_comes_back(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let deep = |levels: usize| {
        let text =
            format!(r#"{{"id":"a","status":"live","deep":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
        Call::parse(&RawValue::from_string(text).unwrap()).ok()
    };
    let call = (1..200).rev().find_map(deep).unwrap();
    let snapshot = Snapshot::first(&call, Kinds::NONE, at(0));
    store.commit(remembers("a", snapshot.clone())).await;
    assert_eq!(store.snapshots(&clinic(), &["a".into()]).await.unwrap(), [Some(snapshot)]);
}

async fn large_snapshots_shrink_and_grow(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    for size in [10, 200_000, 40_000, 700_000, 10, 100_000] {
        let large = snapshot("a", &"x".repeat(size));
        store.commit(remembers("a", large.clone())).await;
        assert_eq!(store.snapshots(&clinic(), &["a".into()]).await.unwrap(), [Some(large)]);
    }
    assert_eq!(store.known(&clinic(), None, 10).await.unwrap().len(), 1);
}

async fn sources_do_not_see_each_other(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let names = ["clinic", "clinic2", "c"];
    for of in names {
        let claim = store.own(source(of)).await;
        let commit = Commit { checkpoint: Some(json!(of)), ..remembers("a", snapshot("a", of)) };
        store.store.commit(&claim, commit).await.unwrap();
    }
    for of in names {
        assert_eq!(store.snapshots(&name(of), &["a".into()]).await.unwrap(), [Some(snapshot("a", of))]);
        assert_eq!(store.known(&name(of), None, 9).await.unwrap().len(), 1);
        assert_eq!(store.checkpoint(&source(of)).await.unwrap(), Some(json!(of)));
    }
    assert_eq!(store.known(&name("clin"), None, 9).await.unwrap(), []);
}

async fn only_calls_of_the_source_settled_before_are_shrunk(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let record = |id: &str, status: &str, updated: i64| {
        let record =
            json!({ "id": id, "status": status, "summary": "hello", "updatedAt": at(updated).to_string() });
        Snapshot::first(&Call::parse(&raw(&record)).unwrap(), Kinds::NONE, at(1_000))
    };
    let old = record("old", "completed", 2_000);
    let all = [
        ("late", record("late", "completed", 9_000)),
        ("live", record("live", "live", 2_000)),
        ("old", old.clone()),
    ];
    let remembered = || all.iter().map(|(id, snapshot)| (CallId::from(*id), snapshot.clone())).collect();
    store.commit(Commit { snapshots: remembered(), ..Commit::default() }).await;
    let other = store.own(source("other")).await;
    store.store.commit(&other, Commit { snapshots: remembered(), ..Commit::default() }).await.unwrap();

    let upkeep = store.own(Duty::Upkeep).await;
    let asked = all.each_ref().map(|(id, _)| CallId::from(*id));
    let mut shrunk = old;
    shrunk.shrink();
    // It may take several calls, a few at a time.
    for _ in 0..10 {
        store.shrink(&upkeep, &clinic(), at(5_000)).await.unwrap();
    }
    let found = store.snapshots(&clinic(), &asked).await.unwrap();
    assert_eq!(found, [Some(all[0].1.clone()), Some(all[1].1.clone()), Some(shrunk)]);
    let found = store.snapshots(&name("other"), &asked).await.unwrap();
    assert_eq!(found, all.map(|(_, snapshot)| Some(snapshot)));
}
