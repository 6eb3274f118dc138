//! The store to a file, and back.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use tracing::{info, warn};

use super::{
    SledStore,
    archive::{self, Part, Reader, Trailer, Writer},
    disk::SCHEMA,
    dump::Keep,
    fault::Fault,
    open::{self, LOCK_PATIENCE},
    renew::{Contents, Renewal},
    witness,
};
use crate::{config::StoreConfig, store::StoreError, time::Timestamp};

/// How many backups are kept in the store's folder.
const KEPT: usize = 3;

/// What the names of backups end with.
const ENDING: &str = ".backup";

/// A backup that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Where it is.
    pub file: PathBuf,
    /// How large it is.
    pub bytes: u64,
}

/// What was done to restore a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The backup.
    pub from: PathBuf,
    /// When it was made.
    pub made: Timestamp,
    /// How many calls it remembers.
    pub calls: u64,
    /// How many deliveries were unfinished.
    pub unfinished: u64,
    /// Where the files are now that were the store's before.
    pub quarantine: Option<PathBuf>,
}

impl SledStore {
    /// Writes a backup to `to`, or into the store's folder, where all but the last three are then removed: every
    /// snapshot and checkpoint, and the deliveries that are not finished, as they are at one moment.
    ///
    /// # Errors
    /// [`StoreError::Backup`] when the file cannot be written; the file is there whole or not at all.
    pub async fn back_up_to(&self, to: Option<&Path>, now: Timestamp) -> Result<Backup, StoreError> {
        let own = self.path.join("backups");
        let file = to.map_or_else(|| own.join(name(now)), Path::to_owned);
        let bytes = self.write_backup(&file, to.is_none(), now).await?;
        if to.is_none() {
            let newest = file.clone();
            on_file(&file, "written", move || prune(&own, &newest)).await?;
        }
        Ok(Backup { file, bytes })
    }

    /// Takes a backup into the store's folder when the last one is older than `every`; returns when the next one
    /// will be due.
    pub(super) async fn back_up_when_due(
        &self,
        now: Timestamp,
        every: Duration,
    ) -> Result<Timestamp, StoreError> {
        let folder = self.path.join("backups");
        let earlier = on_file(&folder, "read", {
            let folder = folder.clone();
            move || backups(&folder)
        });
        // One from the future was made before the clock was set back.
        let last = earlier.await?.iter().filter_map(|file| made(file)).filter(|made| *made <= now).max();
        if let Some(due) = last.map(|last| last.after(every)).filter(|due| *due > now) {
            return Ok(due);
        }
        let Backup { file, bytes } = self.back_up_to(None, now).await?;
        info!("backed up to {} ({bytes} bytes)", file.display());
        Ok(now.after(every))
    }

    async fn write_backup(&self, file: &Path, make_folder: bool, now: Timestamp) -> Result<u64, StoreError> {
        let taker = self.thread.read(|engine| Ok(engine.begin_dump(Keep::Unfinished))).await?;
        let taker = taker.ok_or_else(|| failed(file, "written", "another one is being written"))?;
        let to = file.to_owned();
        let mut writer = on_file(file, "written", move || {
            if let Some(folder) = to.parent().filter(|_| make_folder) {
                open::make_folder(folder)?;
                remove_halves(folder)?;
            }
            Writer::create(&to)
        })
        .await?;
        loop {
            let own = std::sync::Arc::clone(&taker);
            let next = self.thread.read(move |engine| engine.next_of_dump(&own)).await?;
            let (slice, sequence) =
                next.ok_or_else(|| failed(file, "written", "too much was written to the store meanwhile"))?;
            let (writes, is_last) = (slice.writes, slice.is_last);
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

    /// Puts the backup `from`, or the last good one in the store's folder, in the place of a store that no process
    /// has open. The files that were there are moved aside, not removed.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::NoBackup`], [`StoreError::Backup`]: then nothing was changed.
    pub async fn restore(config: &StoreConfig, from: Option<&Path>) -> Result<Restored, StoreError> {
        let (path, from) = (config.path.clone(), from.map(Path::to_owned));
        let shown = path.display().to_string();
        let work = tokio::task::spawn_blocking(move || restore(&path, from.as_deref()));
        work.await.unwrap_or(Err(StoreError::Failed { path: shown }))
    }
}

fn restore(path: &Path, from: Option<&Path>) -> Result<Restored, StoreError> {
    let fail = |fault: Fault| fault.at(path, "written");
    open::make_folder(path).map_err(|error| fail(error.into()))?;
    let _lock = open::lock(path, Instant::now() + LOCK_PATIENCE)?;
    let (file, trailer) = choose(path, from)?;
    let contents = fill(path, &file, &trailer)?;
    let quarantine = replace(path).map_err(|error| fail(error.into()))?;
    let Contents { calls, unfinished } = contents;
    Ok(Restored { from: file, made: trailer.made, calls, unfinished, quarantine })
}

/// The backup to use, read once to the end.
fn choose(path: &Path, from: Option<&Path>) -> Result<(PathBuf, Trailer), StoreError> {
    let verify = |file: &Path| {
        Reader::open(file).and_then(Reader::verify).map_err(|error| failed(file, "read", &error.to_string()))
    };
    if let Some(file) = from {
        return Ok((file.to_owned(), verify(file)?));
    }
    let folder = path.join("backups");
    let all = backups(&folder).map_err(|error| failed(&folder, "read", &error.to_string()))?;
    for file in all.into_iter().rev() {
        match verify(&file) {
            Ok(trailer) => return Ok((file, trailer)),
            Err(error) => warn!("{error}; taking the one before it"),
        }
    }
    Err(StoreError::NoBackup { path: path.display().to_string() })
}

/// Makes a tree of what is in a backup, beside the one there is.
fn fill(path: &Path, file: &Path, trailer: &Trailer) -> Result<Contents, StoreError> {
    let fail = |fault: Fault| fault.at(path, "written");
    let read = |error: io::Error| failed(file, "read", &error.to_string());
    let mut renewal = Renewal::begin(&open::new_folder(path), trailer.schema).map_err(fail)?;
    let mut reader = Reader::open(file).map_err(read)?;
    while let Part::Writes(writes) = reader.next().map_err(read)? {
        renewal.add(writes).map_err(fail)?;
    }
    // It must not look older than the store it takes the place of.
    let reached = witness::count_in(path).map_err(|error| fail(error.into()))?.unwrap_or(0);
    renewal.finish(trailer.sequence.max(reached)).map_err(fail)
}

/// Moves the old tree aside, if there is one, and the new one into its place.
fn replace(path: &Path) -> io::Result<Option<PathBuf>> {
    let old = open::sled_folder(path);
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut aside = path.join(format!("quarantine-{seconds}"));
    for again in 2.. {
        if !aside.exists() {
            break;
        }
        aside = path.join(format!("quarantine-{seconds}-{again}"));
    }
    let quarantine = old.exists().then_some(aside);
    if let Some(aside) = &quarantine {
        fs::rename(&old, aside)?;
    }
    fs::rename(open::new_folder(path), &old)?;
    open::sync_folder(path)?;
    Ok(quarantine)
}

/// What a backup made at this time is called; names sort as the times do.
fn name(made: Timestamp) -> String {
    format!("{}{ENDING}", made.to_string().replace(':', "-"))
}

/// When a backup in the store's folder was made, by its name.
fn made(file: &Path) -> Option<Timestamp> {
    let (date, time) = file.file_name()?.to_str()?.strip_suffix(ENDING)?.split_once('T')?;
    Timestamp::parse(&format!("{date}T{}", time.replace('-', ":")))
}

/// The backups in a folder, oldest first; none when there is no such folder.
fn backups(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        entries => entries?,
    };
    let files = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    let mut backups: Vec<_> = files.into_iter().filter(|file| made(file).is_some()).collect();
    backups.sort();
    Ok(backups)
}

/// Removes the older backups that are not needed once `newest` is there.
fn prune(folder: &Path, newest: &Path) -> io::Result<()> {
    let mut others = backups(folder)?;
    others.retain(|file| file != newest);
    others.truncate(others.len().saturating_sub(KEPT - 1));
    others.iter().try_for_each(fs::remove_file)
}

/// Removes halves of backups that were interrupted. Before the next one is begun, or else a process that is killed
/// again and again fills the disk with them.
fn remove_halves(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(archive::PARTIAL) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Does something with a file where it may block.
async fn on_file<T: Send + 'static>(
    file: &Path,
    doing: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let worked = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    worked.map_err(|error| failed(file, doing, &error.to_string()))
}

fn failed(file: &Path, doing: &'static str, why: &str) -> StoreError {
    StoreError::Backup { file: file.display().to_string(), doing, why: why.to_owned() }
}
