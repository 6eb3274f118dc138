use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use callwatch::{
    config::{Connection, Secret},
    store::{PostgresConfig, PostgresStore, Store},
};
use tokio::sync::OnceCell;

use super::Backend;
use crate::postgres::{self, Database};

/// How long claims hold here unless they are renewed: longer than any test works.
const LEASE: Duration = Duration::from_secs(600);

/// A database that several processes share.
pub(in crate::store) struct Postgres(OnceCell<Option<Database>>);

impl Postgres {
    pub(in crate::store) fn new() -> Self {
        Self(OnceCell::new())
    }

    async fn database(&self) -> Option<&Database> {
        self.0.get_or_init(postgres::database).await.as_ref()
    }
}

#[async_trait]
impl Backend for Postgres {
    async fn process(&self) -> Arc<dyn Store> {
        open(self.database().await.unwrap().url()).await
    }

    async fn is_there(&self) -> bool {
        self.database().await.is_some()
    }

    fn is_slow(&self) -> bool {
        true
    }

    async fn let_claims_expire(&self) {
        let expire = "UPDATE callwatch.duties SET until = clock_timestamp() - interval '1 second'";
        self.database().await.unwrap().run(expire).await;
    }
}

/// The same, through a pooler that gives out its connections for one transaction at a time.
pub(in crate::store) struct Pooled(Postgres, OnceCell<Option<&'static str>>);

impl Pooled {
    pub(in crate::store) fn new() -> Self {
        Self(Postgres::new(), OnceCell::new())
    }

    async fn url(&self) -> Option<&'static str> {
        let url = async || self.0.database().await?.pooled_url().await;
        *self.1.get_or_init(url).await
    }
}

#[async_trait]
impl Backend for Pooled {
    async fn process(&self) -> Arc<dyn Store> {
        open(self.url().await.unwrap()).await
    }

    async fn is_there(&self) -> bool {
        self.url().await.is_some()
    }

    async fn let_claims_expire(&self) {
        self.0.let_claims_expire().await;
    }
}

async fn open(url: &str) -> Arc<dyn Store> {
    let config = PostgresConfig { url: Secret::from(url), connection: Connection::default(), lease: LEASE };
    Arc::new(PostgresStore::open(&config).await.unwrap())
}
