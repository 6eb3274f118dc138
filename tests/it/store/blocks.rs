//! More deliveries than one block of numbers holds, and kills between them.

use callwatch::store::SledStore;

use super::*;

/// Deliveries in a block of numbers.
const BLOCK: usize = 4_096;

/// Commits an event with a delivery to `crm` for each number.
async fn commit(store: &SledStore, numbers: std::ops::Range<usize>) {
    let claim = store.claim(&source("clinic")).await.unwrap().unwrap();
    let ids: Vec<String> = numbers.map(|number| format!("evt_{number}")).collect();
    for ids in ids.chunks(500) {
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        store.commit(&claim, calls(&ids, 1_000)).await.unwrap();
    }
}

/// The tokens of all deliveries that the feed of `crm` still hands out.
async fn unfinished(store: &SledStore) -> Vec<Token> {
    let claim = store.claim(&destination("crm")).await.unwrap().unwrap();
    let feed = store.pending(&claim, Position::START, 1_000_000).await.unwrap();
    let token = |entry: &Entry| match entry {
        Entry::Unfinished(pending) => pending.token,
        Entry::Gone(token) => panic!("{token:?} is gone"),
    };
    feed.entries.iter().map(token).collect()
}

/// Settles a delivery as delivered at its first attempt.
async fn deliver(store: &SledStore, token: Token) {
    let claim = store.claim(&destination("crm")).await.unwrap().unwrap();
    store.settle(&claim, outcomes(vec![outcome(token, 1, 2_000, Verdict::Delivered)])).await.unwrap();
}

#[tokio::test]
async fn a_kill_after_the_end_of_a_block_loses_none_of_its_deliveries() {
    let folder = tempfile::tempdir().unwrap();
    // Closing writes down how many deliveries there are; the kill comes in the next block, before that is written again.
    let store = open(folder.path()).await.unwrap();
    commit(&store, 0..BLOCK - 100).await;
    store.close().await.unwrap();
    let store = open(folder.path()).await.unwrap();
    commit(&store, BLOCK - 100..BLOCK + 100).await;
    store.kill().await;

    let store = open(folder.path()).await.unwrap();
    let first = unfinished(&store).await;
    assert_eq!(first.len(), BLOCK + 100);
    deliver(&store, first[0]).await;
    store.close().await.unwrap();

    let store = open(folder.path()).await.unwrap();
    assert_eq!(unfinished(&store).await, first[1..]);
    let tally = store.destinations().await.unwrap()[&crm()].tally;
    assert_eq!((tally.pending, tally.delivered), (BLOCK as u64 + 99, 1));
    store.close().await.unwrap();
}
