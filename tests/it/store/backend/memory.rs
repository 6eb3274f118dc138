use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use callwatch::store::{MemoryStore, Store};

use super::Backend;

/// As an embedded store: for one process at a time.
pub(in crate::store) struct Memory(MemoryStore);

impl Memory {
    pub(in crate::store) fn new() -> Self {
        Self(MemoryStore::new())
    }
}

#[async_trait]
impl Backend for Memory {
    async fn process(&self) -> Arc<dyn Store> {
        Arc::new(self.0.another_process())
    }
}

/// As a database: for several processes.
pub(in crate::store) struct SharedMemory(MemoryStore);

const LEASE: Duration = Duration::from_secs(30);

impl SharedMemory {
    pub(in crate::store) fn new() -> Self {
        Self(MemoryStore::with_lease(LEASE))
    }
}

#[async_trait]
impl Backend for SharedMemory {
    async fn process(&self) -> Arc<dyn Store> {
        Arc::new(self.0.another_process())
    }

    async fn let_claims_expire(&self) {
        tokio::time::pause();
        tokio::time::advance(LEASE).await;
        tokio::time::resume();
    }
}
