use std::path::Path;

use super::*;
use crate::{config::LoadOptions, store::MemoryStore};

/// A source and a destination that nothing listens for.
fn config() -> Config {
    let text = format!(
        r#"
        [sources.clinic]
        api_key = "ck_live_{key}"
        base_url = "http://127.0.0.1:9"
        [destinations.crm]
        type = "webhook"
        url = "http://127.0.0.1:9/"
        [rules.ended]
        on = ["ended"]
        to = ["crm"]
        "#,
        key = "0".repeat(60)
    );
    Config::parse(&text, Path::new("config.toml"), LoadOptions::default()).unwrap().config
}

fn supervisor(store: &Arc<MemoryStore>) -> Supervisor {
    let clock = Clock::system();
    Supervisor::new(Arc::clone(store) as Arc<dyn Store>, Telemetry::new(clock), clock)
}

async fn is_closed(store: &MemoryStore) -> bool {
    matches!(store.destinations().await, Err(StoreError::Closed))
}

#[tokio::test]
async fn it_stops_in_good_order_and_closes_the_store_last() {
    let store = Arc::new(MemoryStore::new());
    let stop = CancellationToken::new();
    let supervisor = supervisor(&store);
    let handle = supervisor.handle();
    let running = tokio::spawn(supervisor.run(config(), stop.clone()));
    handle.apply(config()).await.unwrap();
    assert!(!is_closed(&store).await);
    stop.cancel();
    running.await.unwrap().unwrap();
    assert!(is_closed(&store).await);
    assert!(matches!(handle.apply(config()).await, Err(ApplyError::Stopping)));
}

#[tokio::test]
async fn a_task_that_fails_stops_everything_and_its_failure_is_the_outcome() {
    let store = Arc::new(MemoryStore::new());
    store.close().await.unwrap();
    let ended = supervisor(&store).run(config(), CancellationToken::new()).await;
    assert!(matches!(ended, Err(RunError::Store(StoreError::Closed))), "{ended:?}");
}

#[tokio::test]
async fn a_first_config_that_cannot_be_put_to_work_closes_the_store() {
    let store = Arc::new(MemoryStore::new());
    let mut config = config();
    let crate::destination::DestinationKind::Webhook(webhook) = &mut config.destinations[0].kind else {
        panic!("a webhook")
    };
    webhook.connection.ca_file = Some("/nowhere/ca.pem".into());
    let ended = supervisor(&store).run(config, CancellationToken::new()).await;
    assert!(ended.unwrap_err().to_string().contains("/nowhere/ca.pem"));
    assert!(is_closed(&store).await);
}

#[tokio::test]
async fn the_store_is_opened_once() {
    let store = Arc::new(MemoryStore::new());
    let stop = CancellationToken::new();
    let supervisor = supervisor(&store);
    let (handle, telemetry) = (supervisor.handle(), supervisor.telemetry.clone());
    let running = tokio::spawn(supervisor.run(config(), stop.clone()));
    let mut elsewhere = config();
    elsewhere.store.path = "elsewhere.db".into();
    assert!(matches!(handle.apply(elsewhere).await, Err(ApplyError::NeedsRestart("path"))));
    assert!(telemetry.board().config.rejected.is_some());
    handle.apply(config()).await.unwrap();
    assert!(telemetry.board().config.rejected.is_none());
    stop.cancel();
    running.await.unwrap().unwrap();
}
