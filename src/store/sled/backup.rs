//! Backups: the store copied to a file.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    SledStore,
    archive::{self, Trailer, Writer},
    disk::SCHEMA,
    files,
    probe::{self, Step},
};
use crate::{
    store::{BackedUp, Claim, StoreError},
    time::{Deadline, Timestamp},
};

/// How many backups are kept in the store's folder.
const KEPT: usize = 3;

/// Extension of backup files.
const ENDING: &str = ".backup";

/// A backup that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The file.
    pub file: PathBuf,
    /// Its size, in bytes.
    pub bytes: u64,
}

impl SledStore {
    /// Writes a backup to `to`, or into the store's folder, where all but the last three are then removed: every snapshot,
    /// checkpoint, pause, ledger and memo, and the deliveries that are not finished with their events and attempts, as they
    /// are at one moment. Other work goes on meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Backup`] when the file cannot be written; the file is there whole or not at all.
    pub async fn back_up_to(&self, to: Option<&Path>, now: Timestamp) -> Result<Backup, StoreError> {
        let own = folder(&self.path);
        let file = to.map_or_else(|| own.join(name(now)), Path::to_owned);
        let bytes = self.write_backup(&file, to.is_none(), now).await?;
        if to.is_none() {
            let newest = file.clone();
            on_file(&file, "written", move || prune(&own, &newest, now)).await?;
        }
        Ok(Backup { file, bytes })
    }

    /// Takes a backup into the store's folder when the last one is older than `every`.
    pub(super) async fn back_up_when_due(
        &self,
        claim: &Claim,
        now: Timestamp,
        every: Duration,
    ) -> Result<BackedUp, StoreError> {
        let own = claim.clone();
        self.thread.read(move |engine| engine.claims().check(&own)).await?;
        let folder = folder(&self.path);
        let earlier = on_file(&folder, "read", {
            let folder = folder.clone();
            move || backups(&folder)
        });
        // A backup from the future was made before the clock was set back, and must not put off the next one.
        let last = earlier.await?.iter().filter_map(|file| made(file)).filter(|made| *made <= now).max();
        let left = last.map(|last| Deadline::new(last, every).left(now)).unwrap_or_default();
        if !left.is_zero() {
            return Ok(BackedUp { taken: None, next: now.after(left) });
        }
        let taken = Some(self.back_up_to(None, now).await?);
        Ok(BackedUp { taken, next: now.after(every) })
    }

    async fn write_backup(&self, file: &Path, make_folder: bool, now: Timestamp) -> Result<u64, StoreError> {
        let taker = self.thread.read(|engine| Ok(engine.begin_dump())).await?;
        let taker = taker.ok_or_else(|| failed(file, "written", "another one is being written"))?;
        let to = file.to_owned();
        let mut writer = on_file(file, "written", move || {
            if let Some(folder) = to.parent().filter(|_| make_folder) {
                files::make_folder(folder)?;
                remove_halves(folder)?;
            }
            Writer::create(&to)
        })
        .await?;
        loop {
            let own = Arc::clone(&taker);
            let next = self.thread.read(move |engine| engine.next_of_dump(&own)).await?;
            let (piece, sequence) = next.ok_or_else(|| {
                failed(
                    file,
                    "written",
                    "too much was written to the store meanwhile, or a call was forgotten",
                )
            })?;
            let (writes, is_last) = (piece.writes, piece.is_last);
            writer = on_file(file, "written", move || {
                writer.add(&writes)?;
                Ok(writer)
            })
            .await?;
            if is_last {
                let trailer = Trailer { schema: SCHEMA, sequence, made: now };
                return on_file(file, "written", move || writer.finish(&trailer)).await;
            }
        }
    }
}

/// The folder that holds a store's own backups.
pub(super) fn folder(store: &Path) -> PathBuf {
    store.join("backups")
}

/// The name of a backup made at this time; names sort as the times do.
fn name(made: Timestamp) -> String {
    format!("{}{ENDING}", made.to_string().replace(':', "-"))
}

/// When a backup in the store's folder was made, by its name.
fn made(file: &Path) -> Option<Timestamp> {
    let (date, time) = file.file_name()?.to_str()?.strip_suffix(ENDING)?.split_once('T')?;
    Timestamp::parse(&format!("{date}T{}", time.replace('-', ":")))
}

/// The backups in a folder, oldest first by their names; none when there is no such folder.
pub(super) fn backups(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        entries => entries?,
    };
    let files = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    let mut backups: Vec<_> = files.into_iter().filter(|file| made(file).is_some()).collect();
    backups.sort();
    Ok(backups)
}

/// The copies of the store's content that stand in its folder: backups, and what was moved aside.
pub(super) fn copies(store: &Path) -> io::Result<Vec<PathBuf>> {
    let mut copies = backups(&folder(store))?;
    for entry in fs::read_dir(store)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == "damaged" || name.to_string_lossy().starts_with("quarantine-") {
            copies.push(entry.path());
        }
    }
    Ok(copies)
}

/// Removes the backups that are not needed once `newest` is there: the oldest, and before them those from the future, which
/// were made before the clock was set back.
fn prune(folder: &Path, newest: &Path, now: Timestamp) -> io::Result<()> {
    let mut others = backups(folder)?;
    others.retain(|file| file != newest);
    // The sort is stable, so that the order of the names stays within each half.
    others.sort_by_key(|file| made(file).is_none_or(|made| made <= now));
    others.truncate(others.len().saturating_sub(KEPT - 1));
    for file in others {
        probe::at(Step::Remove)?;
        fs::remove_file(file)?;
    }
    Ok(())
}

/// Removes incomplete backups before the next one is begun: a process that is killed again and again would fill the
/// disk with them.
fn remove_halves(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(archive::PARTIAL) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Runs work on a file in a thread that may block.
async fn on_file<T: Send + 'static>(
    file: &Path,
    doing: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let worked = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    worked.map_err(|error| failed(file, doing, &error.to_string()))
}

/// The error for a backup that cannot be written or read.
pub(super) fn failed(file: &Path, doing: &'static str, why: &str) -> StoreError {
    StoreError::Backup { file: file.display().to_string(), doing, why: why.to_owned() }
}
