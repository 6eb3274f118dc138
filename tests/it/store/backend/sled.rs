use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use callwatch::{
    config::StoreConfig,
    store::{SledStore, Store, StoreError},
};
use tempfile::TempDir;

use super::Backend;

/// The embedded store, in a folder that lasts as long as the test.
pub(in crate::store) struct Sled(TempDir);

impl Sled {
    pub(in crate::store) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(in crate::store) fn folder(&self) -> &Path {
        self.0.path()
    }
}

#[async_trait]
impl Backend for Sled {
    async fn process(&self) -> Arc<dyn Store> {
        Arc::new(open(self.0.path()).await.unwrap())
    }

    fn inspect(&self) {
        let blobs = config(self.0.path()).path.join("sled/blobs");
        assert_eq!(std::fs::read_dir(blobs).unwrap().count(), 0, "sled made files that it never syncs");
    }
}

pub(in crate::store) fn config(path: &Path) -> StoreConfig {
    StoreConfig {
        path: path.join("callwatch.db"),
        database: None,
        retain: Duration::from_secs(86400),
        cache: 8 << 20,
    }
}

pub(in crate::store) async fn open(path: &Path) -> Result<SledStore, StoreError> {
    SledStore::open(&config(path)).await
}
