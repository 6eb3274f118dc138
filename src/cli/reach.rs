//! Where a command's questions go: to the callwatch at work or, while it is stopped, to its store.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use super::{
    check,
    config_arg::ConfigArg,
    opened,
    store_folder::{self, NoStore},
};
use crate::{
    calendar::Zone,
    call::CallId,
    config_file::Config,
    event::EventId,
    name::Name,
    ops::{
        BulkMode, CallStory, Changed, Delivery, Erased, Filter, Listing, Ops, OpsError, Resumed, Status, Whom,
    },
    server::Client,
    store::{SledStore, Store, StoreError},
    time::Clock,
};

/// Why neither can be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReachError {
    #[error(transparent)]
    NoStore(#[from] NoStore),
    #[error(transparent)]
    Store(StoreError),
    #[error(
        "callwatch is running{} and has the store {path} open, and nobody answers at its socket there: it may be starting \
         or stopping, else its log says why. Ask again, or stop it: nothing is lost meanwhile",
        holder.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    Silent { path: String, holder: Option<u32> },
    #[error("callwatch may be running, and the socket in {} cannot be used: {why}", folder.display())]
    Socket { folder: PathBuf, why: io::Error },
}

/// Whom a command's config leads to.
pub(super) enum Target {
    /// The service or the store that belongs to this config.
    Config(Box<Config>),
    /// A callwatch at work whose file has mistakes by now. They must not keep people from seeing how it does.
    AtWork(Client),
}

impl Target {
    /// Reads the config of a command.
    ///
    /// # Errors
    /// The exit code, after the report on standard error, when there are mistakes in it and no callwatch is at work.
    pub(super) async fn find(arg: &ConfigArg) -> Result<Self, ExitCode> {
        let path = arg.find()?;
        let code = match check::read_without_secrets(&path) {
            Ok(config) => return Ok(Self::Config(Box::new(config))),
            Err(code) => code,
        };
        let store = Config::store_of(&path).ok_or(code)?;
        match at_work(&store.path).await {
            Ok(Some(client)) => Ok(Self::AtWork(client)),
            Ok(None) | Err(_) => Err(code),
        }
    }

    /// The time zone that times are shown in.
    pub(super) fn zone(&self) -> Zone {
        match self {
            Self::Config(config) => config.timezone,
            Self::AtWork(_) => Zone::UTC,
        }
    }
}

/// The service at work, or the store of a stopped one. The answers are the same.
pub(super) enum Reached {
    /// A callwatch at work.
    AtWork(Client),
    /// The store of a stopped one.
    Stopped(Box<Ops>, Arc<dyn Store>),
}

/// Finds out who answers.
pub(super) async fn reach(target: Target) -> Result<Reached, ReachError> {
    let config = match target {
        Target::Config(config) => *config,
        Target::AtWork(client) => return Ok(Reached::AtWork(client)),
    };
    if config.store.database.is_none() {
        store_folder::look(&config)?;
    }
    if let Some(client) = at_work(&config.store.path).await? {
        return Ok(Reached::AtWork(client));
    }
    // Anybody may open a database beside the service: actions need no claim.
    if let Some(store) = opened::database(&config).await.map_err(ReachError::Store)? {
        let store: Arc<dyn Store> = Arc::new(store);
        let ops = Ops::new(Arc::clone(&store), Arc::new(config), Clock::system());
        return Ok(Reached::Stopped(Box::new(ops), store));
    }
    match SledStore::open_existing(&config.store).await {
        Ok(store) => {
            let store: Arc<dyn Store> = Arc::new(store);
            let ops = Ops::new(Arc::clone(&store), Arc::new(config), Clock::system());
            Ok(Reached::Stopped(Box::new(ops), store))
        }
        Err(StoreError::Missing { path }) => Err(NoStore::Missing { path, of_service: None }.into()),
        Err(StoreError::InUse { path, holder }) => Err(ReachError::Silent { path, holder }),
        Err(error) => Err(ReachError::Store(error)),
    }
}

/// The callwatch at work with the store in this folder; `None` when it is stopped.
pub(super) async fn at_work(folder: &Path) -> Result<Option<Client>, ReachError> {
    Client::of_store(folder).await.map_err(|why| ReachError::Socket { folder: folder.to_owned(), why })
}

impl Reached {
    pub(super) fn is_at_work(&self) -> bool {
        matches!(self, Self::AtWork(_))
    }

    /// Closes the store, if it was opened.
    pub(super) async fn close(self) -> Result<(), StoreError> {
        match self {
            Self::AtWork(_) => Ok(()),
            Self::Stopped(_, store) => store.close().await,
        }
    }

    pub(super) async fn list(&self, filter: &Filter, limit: usize) -> Result<Listing, OpsError> {
        match self {
            Self::AtWork(client) => client.list(filter, None, limit).await,
            Self::Stopped(ops, _) => ops.list(filter, None, limit).await,
        }
    }

    pub(super) async fn count(&self, filter: &Filter) -> Result<u64, OpsError> {
        match self {
            Self::AtWork(client) => client.count(filter).await,
            Self::Stopped(ops, _) => ops.count(filter).await,
        }
    }

    pub(super) async fn show(
        &self,
        event: &EventId,
        destination: Option<&Name>,
        answers: bool,
    ) -> Result<Vec<Delivery>, OpsError> {
        match self {
            Self::AtWork(client) => client.show(event, destination, answers).await,
            Self::Stopped(ops, _) => ops.show(event, destination, answers).await,
        }
    }

    pub(super) async fn retry(&self, filter: &Filter) -> Result<Changed, OpsError> {
        match self {
            Self::AtWork(client) => client.retry(filter, BulkMode::Act).await,
            Self::Stopped(ops, _) => ops.retry(filter, BulkMode::Act).await,
        }
    }

    pub(super) async fn resend(
        &self,
        filter: &Filter,
        to: Option<&Name>,
        mode: BulkMode,
    ) -> Result<Changed, OpsError> {
        match self {
            Self::AtWork(client) => client.resend(filter, to, mode).await,
            Self::Stopped(ops, _) => ops.resend(filter, to, mode).await,
        }
    }

    pub(super) async fn drop(&self, filter: &Filter, mode: BulkMode) -> Result<Changed, OpsError> {
        match self {
            Self::AtWork(client) => client.drop(filter, mode).await,
            Self::Stopped(ops, _) => Ops::drop(ops, filter, mode).await,
        }
    }

    pub(super) async fn forget(&self, whom: &Whom, mode: BulkMode) -> Result<Erased, OpsError> {
        match self {
            Self::AtWork(client) => client.forget(whom, mode).await,
            Self::Stopped(ops, _) => ops.forget(whom, mode).await,
        }
    }

    pub(super) async fn pause(&self, destination: &Name) -> Result<(), OpsError> {
        match self {
            Self::AtWork(client) => client.pause(destination).await,
            Self::Stopped(ops, _) => ops.pause(destination).await,
        }
    }

    pub(super) async fn resume(&self, destination: &Name) -> Result<Resumed, OpsError> {
        match self {
            Self::AtWork(client) => client.resume(destination).await,
            Self::Stopped(ops, _) => ops.resume(destination).await,
        }
    }

    pub(super) async fn explain(&self, call: &CallId, source: Option<&Name>) -> Result<CallStory, OpsError> {
        match self {
            Self::AtWork(client) => client.explain(call, source).await,
            Self::Stopped(ops, _) => ops.explain(call, source).await,
        }
    }

    pub(super) async fn status(&self) -> Result<Status, OpsError> {
        match self {
            Self::AtWork(client) => client.status().await,
            Self::Stopped(ops, _) => ops.status().await,
        }
    }
}
