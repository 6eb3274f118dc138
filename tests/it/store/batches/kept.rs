//! What is left of batches after a restart, a backup, a kill at any moment.

use super::{
    super::crash::{KILLS, STORE, say, start_child, stores},
    *,
};

/// A store with something in every state.
async fn make_all(store: &SledStore) {
    let of = ["evt_1", "evt_2", "evt_3", "evt_4", "evt_5"].map(|event| (event, "a", 1));
    store.commit(held_events(&of, 10)).await.unwrap();
    store.sort(hold(20, &["evt_2", "evt_3"], "digest")).await.unwrap();
    store.sort(hold(20, &["evt_4", "evt_5"], "quiet")).await.unwrap();
    let ledgers = vec![("digest".into(), Some(json!({ "since": 5 })))];
    let sorting = Sorting { send: vec![event_id("evt_5")], ledgers, ..merge(30, &["digest"], "sum_1", 1) };
    store.sort(sorting).await.unwrap();
}

#[tokio::test]
async fn a_restart_forgets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    make_all(&store).await;
    let before = told(&store).await;
    store.close().await.unwrap();
    let store = open(folder.path()).await.unwrap();
    assert_eq!(told(&store).await, before);
    assert_eq!(lease(&store, 30, 90, 10).await.0, ["evt_5", "sum_1"]);
}

#[tokio::test]
async fn a_backup_holds_what_is_held_and_the_ledgers() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(folder.path()).await.unwrap();
    make_all(&store).await;
    let file = other.path().join("a.backup");
    store.back_up_to(Some(&file), at(5)).await.unwrap();
    let restored = SledStore::restore(&config(other.path()), Some(&file)).await.unwrap();
    assert_eq!(restored.unfinished, 4);
    let copy = open(other.path()).await.unwrap();
    // What was merged is finished, and as such left out.
    store.discard(vec![delivery_id("evt_2", "crm"), delivery_id("evt_3", "crm")]).await.unwrap();
    assert_eq!(told(&copy).await, told(&store).await);
    assert_eq!(tally(&copy).await, Tally { pending: 2, held: 2, ..Tally::default() });
    assert_eq!(lease(&copy, 30, 90, 10).await.0, ["evt_5", "sum_1"]);
    // It goes on from there.
    copy.sort(send(40, &["evt_1", "evt_4"])).await.unwrap();
    assert_eq!(tally(&copy).await, Tally { pending: 4, ..Tally::default() });
}

const CHILD: &str = "store::batches::kept::child_that_sorts_until_it_is_killed";

/// The held deliveries of the `number`-th commit; some are so many that sorting them needs several batches of writes.
fn numbered_events(number: u64) -> Vec<String> {
    let count = if number % 3 == 1 { 550 } else { 6 };
    (0..count).map(|part| format!("evt_{number:04}-{part:03}")).collect()
}

/// What becomes of them: one is sent, one is forgotten, one stays in a batch, the rest goes out as one.
fn numbered_sorting(number: u64) -> Sorting {
    let ids = numbered_events(number);
    let batch = format!("digest/{number}");
    let mut sorting = merge(20, &[&batch], &format!("sum_{number:04}"), number + 1);
    sorting.send.push(event_id(&ids[0]));
    sorting.forget.push(event_id(&ids[1]));
    sorting.hold.push((event_id(&ids[2]), "quiet".into()));
    sorting.hold.extend(ids[3..].iter().map(|id| (event_id(id), batch.as_str().into())));
    sorting.ledgers.push(("digest".into(), Some(json!(number))));
    sorting
}

/// How often the store was committed to, and how often sorted.
async fn counts(store: &SledStore) -> (u64, u64) {
    let count = |last: Option<&Value>| last.map_or(0, |last| last.as_u64().unwrap() + 1);
    let checkpoint = store.checkpoint(&clinic()).await.unwrap();
    (count(checkpoint.as_ref()), count(store.ledgers(&crm()).await.unwrap().get(&"digest".into())))
}

/// Not a test: what the child does.
#[tokio::test]
async fn child_that_sorts_until_it_is_killed() {
    let Some(path) = std::env::var_os(STORE) else { return };
    let store = open(Path::new(&path)).await.unwrap();
    say("opened", 0);
    let (mut committed, sorted) = counts(&store).await;
    for number in sorted.. {
        if number == committed {
            let ids = numbered_events(number);
            let of: Vec<_> = ids.iter().map(|id| (id.as_str(), id.as_str(), 1)).collect();
            let mut commit = held_events(&of, 10);
            commit.checkpoint = Some(json!(number));
            store.commit(commit).await.unwrap();
            committed += 1;
            say("committed", number);
        }
        store.sort(numbered_sorting(number)).await.unwrap();
        say("sorted", number);
    }
}

#[tokio::test]
async fn a_kill_leaves_no_sorting_half_done() {
    for _ in 0..stores().div_ceil(2) {
        let folder = tempfile::tempdir().unwrap();
        let mut acknowledged: BTreeMap<String, u64> = BTreeMap::new();
        for _ in 0..KILLS {
            let (mut child, mut said) = start_child(folder.path(), CHILD);
            acknowledged.extend(said.by_ref().take(fastrand::usize(1..9)));
            // Not to wait for anything, but to strike at any moment of what follows.
            std::thread::sleep(Duration::from_micros(fastrand::u64(0..30_000)));
            child.kill().unwrap();
            acknowledged.extend(said);
            child.wait().unwrap();
            let store = open(folder.path()).await.unwrap();
            check(&store, &acknowledged).await;
            store.close().await.unwrap();
        }
    }
}

async fn check(store: &SledStore, acknowledged: &BTreeMap<String, u64>) {
    let (committed, sorted) = counts(store).await;
    for (what, found) in [("committed", committed), ("sorted", sorted)] {
        let at_least = acknowledged.get(what).map_or(0, |number| number + 1);
        assert!(at_least <= found && found <= at_least + 1, "{what}: {at_least} acknowledged, {found} found");
    }
    let mut expected = BTreeMap::new();
    let mut quiet = vec![];
    let mut arrived = vec![];
    for number in 0..committed {
        let ids = numbered_events(number);
        if number < sorted {
            let summary = format!("sum_{number:04}");
            expected.extend(ids[3..].iter().map(|id| (id.clone(), merged(20, &summary).unwrap())));
            expected.insert(ids[0].clone(), DeliveryState::Pending { due: at(20) });
            expected.insert(ids[2].clone(), in_batch("quiet").unwrap());
            expected.insert(summary, DeliveryState::Pending { due: at(20) });
            quiet.push(ids[2].clone());
        } else {
            expected.extend(ids.iter().map(|id| (id.clone(), in_batch("arrived").unwrap())));
            arrived = ids;
        }
    }
    let found: BTreeMap<_, _> =
        all(store).await.into_iter().map(|record| (record.id.event.to_string(), record.state)).collect();
    assert!(found == expected, "{} found, {} expected", found.len(), expected.len());
    assert_eq!(held(store, "quiet").await, quiet);
    assert_eq!(held(store, "arrived").await, arrived);
    let count = |kind: fn(&DeliveryState) -> bool| found.values().filter(|state| kind(state)).count() as u64;
    let expected = Tally {
        pending: count(|state| matches!(state, DeliveryState::Pending { .. })),
        held: count(|state| matches!(state, DeliveryState::Held { .. })),
        merged: count(|state| matches!(state, DeliveryState::Merged { .. })),
        ..Tally::default()
    };
    assert_eq!(tally(store).await, expected);
    // Each summary stands for a batch of its own, so nothing waits for anything.
    assert_eq!(lease(store, 20, 90, usize::MAX).await.0.len() as u64, expected.pending);
    assert_eq!(expected.pending, 2 * sorted);
}
