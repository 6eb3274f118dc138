//! From an edited file to the config at work.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{sync::Mutex, task::spawn_blocking, time};
use tokio_util::sync::CancellationToken;

use super::{Handle, ReloadError};
use crate::{
    config::{Fingerprint, Level, LoadOptions, Report},
    config_file::{Config, Loaded},
    telemetry::{Signal, Telemetry},
};

/// Time between two looks at the file.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long reading the file, and the secrets it names, may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Puts the config file to work again: when it is asked to, and when the file has changed. Cheap to clone.
///
/// Every outcome is told to telemetry, so callers need nothing but the result.
#[derive(Clone, Debug)]
pub struct Reloader {
    path: Arc<PathBuf>,
    handle: Handle,
    telemetry: Telemetry,
    /// The state of the file that was tried last. The lock is held for as long as one is tried, so that of two reloads
    /// the later one reads the file later.
    tried: Arc<Mutex<OnDisk>>,
}

/// The file as it was at one look.
#[derive(Clone, Debug, PartialEq, Eq)]
enum OnDisk {
    Text(Fingerprint),
    /// It is not there, or cannot be read.
    Unreadable,
}

impl Reloader {
    /// For the file that `config` was read from. `config` is the one that the supervisor begins with.
    pub fn new(config: &Config, handle: Handle, telemetry: Telemetry) -> Self {
        let tried = Arc::new(Mutex::new(OnDisk::Text(config.text.clone())));
        Self { path: Arc::new(config.path.clone()), handle, telemetry, tried }
    }

    /// Reads the file, checks it and puts it to work. Secrets are read again as well.
    ///
    /// # Errors
    /// [`ReloadError`] says why the config before goes on. It has been logged and counted by then, and stands on the
    /// board.
    pub async fn reload(&self) -> Result<(), ReloadError> {
        let mut tried = self.tried.lock().await;
        let (on_disk, loaded) = match self.read().await {
            Ok(read) => read,
            Err(error) => return Err(self.rejected(error)),
        };
        *tried = on_disk;
        let Loaded { config, warnings } = match loaded {
            Ok(loaded) => loaded,
            Err(report) => return Err(self.rejected(ReloadError::Mistakes(report))),
        };
        let doubts = warnings.lines(Level::Warning);
        if !doubts.is_empty() {
            self.telemetry.emit(Signal::ConfigDoubtful { doubts });
        }
        // The supervisor tells of its own errors.
        Ok(self.handle.apply(config).await?)
    }

    /// Compares the file with the config at work every few seconds until `stop` is cancelled. A file that has changed is
    /// put to work if the config at work says `watch`, else it is only told that there is one.
    pub async fn watch(self, stop: CancellationToken) {
        let mut last = None;
        while stop.run_until_cancelled(time::sleep(LOOK_EVERY)).await.is_some() {
            let Some(seen) = self.look().await else { continue };
            // Seen only once, it may be half written.
            if last.replace(seen.clone()).is_some_and(|last| last == seen) {
                stop.run_until_cancelled(self.consider(seen)).await;
            }
        }
    }

    async fn consider(&self, seen: OnDisk) {
        let Some(at_work) = self.handle.config() else { return };
        let mut tried = self.tried.lock().await;
        if *tried == seen {
            return;
        }
        let differs = seen != OnDisk::Text(at_work.text.clone());
        if differs && at_work.reload.watch {
            drop(tried);
            // An error has been told.
            let _ = self.reload().await;
        } else {
            *tried = seen;
            self.telemetry.emit(Signal::ConfigOnDisk { differs });
        }
    }

    /// The file as it is now; `None` when the disk does not answer.
    async fn look(&self) -> Option<OnDisk> {
        let path = Arc::clone(&self.path);
        let look = spawn_blocking(move || match Config::read_text(&path) {
            Ok(text) => OnDisk::Text(Fingerprint::of_text(&text)),
            Err(_) => OnDisk::Unreadable,
        });
        time::timeout(DEADLINE, look).await.ok()?.ok()
    }

    async fn read(&self) -> Result<(OnDisk, Result<Loaded, Report>), ReloadError> {
        let path = Arc::clone(&self.path);
        let read = spawn_blocking(move || match Config::read_text(&path) {
            Ok(text) => {
                let on_disk = OnDisk::Text(Fingerprint::of_text(&text));
                (on_disk, Config::parse(&text, &path, LoadOptions::default()))
            }
            Err(report) => (OnDisk::Unreadable, Err(report)),
        });
        match time::timeout(DEADLINE, read).await {
            Ok(Ok(read)) => Ok(read),
            Ok(Err(error)) => Err(ReloadError::Panicked(error.to_string())),
            Err(_) => Err(ReloadError::TooSlow(DEADLINE)),
        }
    }

    fn rejected(&self, error: ReloadError) -> ReloadError {
        let mistakes = match &error {
            ReloadError::Mistakes(report) => report.lines(Level::Error),
            _ => vec![],
        };
        self.telemetry.emit(Signal::ConfigRejected { error: error.to_string(), mistakes });
        error
    }
}
