//! A second attempt to open a tree that cannot be opened.
//!
//! sled keeps snapshots of its page table in files `snap.…`, which it can rebuild from its log. Deleting them loses nothing
//! and cures those that a crash or the disk has damaged.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{fault::Fault, files, replace};

/// Ending of the names of incomplete page table snapshots.
pub(super) const UNFINISHED: &str = ".generating";

/// Opens a damaged store's tree once more with `open`, without sled's snapshots of its page table; returns the result
/// and the path of the copy. The files are copied to `damaged/` first, so that the damage can still be looked into, but
/// only the first time: a service that is started again and again would fill the disk with copies.
///
/// # Errors
/// `found` when there is no snapshot to do without.
pub(super) fn repair<T>(
    store: &Path,
    found: Fault,
    open: impl FnOnce() -> Result<T, Fault>,
) -> Result<(T, PathBuf), Fault> {
    let tree = replace::tree(store);
    if snapshots(&tree, "")?.is_empty() {
        return Err(found);
    }
    let aside = store.join("damaged");
    if !aside.exists() {
        let unfinished = store.join("damaged.part");
        files::remove_folder(&unfinished)?;
        files::copy_folder(&tree, &unfinished)?;
        fs::rename(unfinished, &aside)?;
    }
    remove_snapshots(&tree, "")?;
    Ok((open()?, aside))
}

/// Removes page table snapshots whose names end with `ending`.
pub(super) fn remove_snapshots(tree: &Path, ending: &str) -> io::Result<()> {
    snapshots(tree, ending)?.iter().try_for_each(fs::remove_file)
}

fn snapshots(tree: &Path, ending: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![];
    for entry in fs::read_dir(tree)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(ending) {
            found.push(entry.path());
        }
    }
    Ok(found)
}
