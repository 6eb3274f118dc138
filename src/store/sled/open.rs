//! Opening the store's folder: one process at a time, and with what a crash may have left.
//!
//! | in the folder | is |
//! |---|---|
//! | `lock` | locked by the process that has the store open, whose id is in it: see [`lock`](super::lock) |
//! | `sled/` | what sled keeps: see [`tree`] |
//! | `sequence` | how often the store was written to: see [`witness`] |
//! | `backups/` | see [`backup`](super::backup) |
//! | `renew` | while `sled/` is to be rewritten at the next start: see [`renew`](mod@renew) |
//! | `sled.new/`, `sled.old/` | while `sled/` is being replaced: see [`replace`] |
//! | `damaged/` | a copy of `sled/` from before the first repair: see [`repair`] |
//! | `quarantine-…/` | what was `sled/` before a backup was restored |

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::{
    disk::Disk,
    fault::Fault,
    files,
    lock::Lock,
    renew, repair, replace, tree,
    witness::{self, Witness},
};
use crate::{config::StoreConfig, store::StoreError};

/// An open store, and the lock that keeps others out. The lock is let go last.
pub(super) struct Opened {
    pub(super) disk: Disk,
    pub(super) lock: Lock,
    /// Incidents that a person should know of.
    pub(super) findings: Vec<Finding>,
}

/// Something that was noticed while a store was opened, and did not prevent it.
#[derive(Debug)]
pub(super) enum Finding {
    /// The store was damaged and could be repaired; a copy from before the repair is kept.
    Repaired { copy: PathBuf },
    /// A first start was interrupted before anything was acknowledged; the store was begun anew.
    BegunAnew { aside: PathBuf },
    /// The files held more than is in use and were rewritten; sizes in bytes.
    Renewed { before: u64, after: u64 },
    /// The files hold more than is in use and could not be rewritten.
    NotRenewed(StoreError),
    /// Values stand in files of their own, which sled never syncs.
    Blobs,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repaired { copy } => {
                write!(
                    f,
                    "it was damaged and has been repaired; {} is what was found, and is no longer needed",
                    copy.display()
                )
            }
            Self::BegunAnew { aside } => {
                write!(
                    f,
                    "it was interrupted while it was made, and is made anew; {} is no longer needed",
                    aside.display()
                )
            }
            Self::Renewed { before, after } => {
                write!(
                    f,
                    "its files were rewritten, without what was no longer in use: {} MB before, {} MB now",
                    before / 1_000_000,
                    after / 1_000_000
                )
            }
            Self::NotRenewed(error) => {
                write!(f, "its files could not be rewritten without what is no longer in use: {error}")
            }
            Self::Blobs => {
                f.write_str("it holds values in files of their own, which may not survive a power cut")
            }
        }
    }
}

/// Whether there is a store in this folder, whole or not. Backups alone are none.
pub(super) fn is_store(path: &Path) -> bool {
    ["sled", "sled.old", "sequence"].iter().any(|name| path.join(name).exists())
}

/// Opens the store, or makes one where there is none.
pub(super) fn open(config: &StoreConfig) -> Result<Opened, StoreError> {
    let path = config.path.as_path();
    let fail = |fault: Fault| fault.at(path, "opened");
    files::make_folder(path).map_err(|error| fail(error.into()))?;
    let lock = Lock::take(path)?;
    let mut findings = vec![];
    let disk = open_tree(config, &mut findings).map_err(fail)?;
    if tree::has_blobs(&replace::tree(path)) {
        findings.push(Finding::Blobs);
    }
    Ok(Opened { disk, lock, findings })
}

fn open_tree(config: &StoreConfig, findings: &mut Vec<Finding>) -> Result<Disk, Fault> {
    let path = config.path.as_path();
    replace::tidy(path)?;
    let disk = match start(config) {
        // Without the file `sequence`, a first start was interrupted before anything was acknowledged, so starting over is safe.
        Err(fault) if fault.is_damage() && witness::count_in(path)?.is_none() => {
            let aside = replace::set_aside(path)?;
            findings.push(Finding::BegunAnew { aside });
            start(config)?
        }
        Err(fault) if fault.is_damage() => {
            let (disk, copy) = repair::repair(path, fault, || start(config))?;
            findings.push(Finding::Repaired { copy });
            disk
        }
        started => started?,
    };
    let mut disk = renew(config, disk, findings)?;
    disk.keep_count(Witness::open(path)?)?;
    files::sync_folder(path)?;
    Ok(disk)
}

/// Opens the tree, and finishes what a crash has interrupted.
fn start(config: &StoreConfig) -> Result<Disk, Fault> {
    let least = witness::count_in(&config.path)?;
    tree::catch_panic(|| {
        let (db, file) = tree::open(&replace::tree(&config.path), config.cache)?;
        Disk::start(db, file, least)
    })
}

/// Replaces a tree whose files are too large. When that fails, it stays as it is.
fn renew(config: &StoreConfig, disk: Disk, findings: &mut Vec<Finding>) -> Result<Disk, Fault> {
    let path = config.path.as_path();
    let Some(before) = renew::excess(path, &disk)? else { return Ok(disk) };
    if let Err(fault) = renew::copy(path, &disk) {
        findings.push(Finding::NotRenewed(fault.at(path, "written")));
        files::remove_folder(&replace::new_tree(path))?;
        return Ok(disk);
    }
    drop(disk);
    replace::swap(path)?;
    renew::done(path)?;
    let after = files::size_of_folder(&replace::tree(path))?;
    findings.push(Finding::Renewed { before, after });
    start(config)
}
