//! Rewriting a tree that has grown too large on disk: everything is copied into a new one, which then takes its place.
//!
//! sled keeps four to five times what is in it, and more after each unclean stop. Only a copy in a new folder is smaller.

use std::{fs, io, path::Path};

use super::{
    disk::Disk,
    fault::Fault,
    files,
    keys::{Key, KeyKind},
    overlay::Writes,
    replace, tree, value,
};

/// A tree is copied when its files are larger than [`SMALL`] and its content is less than one part in this many of
/// them.
const BLOAT: u64 = 6;

/// The size, in bytes, up to which a tree is never copied.
const SMALL: u64 = 16 * tree::SEGMENT as u64;

/// Memory for the pages of a new tree while it is filled, in bytes.
const CACHE: u64 = 16 << 20;

/// How many bytes are copied at once.
const STEP: usize = 512 << 10;

/// While this file is in the store's folder, its tree is copied at the next start, because what was overwritten in it must not
/// stay on the disk.
const ASKED: &str = "renew";

/// Has the tree copied at the next start.
pub(super) fn ask(store: &Path) -> io::Result<()> {
    files::open_own(&store.join(ASKED))?.sync_all()?;
    files::sync_folder(store)
}

/// Notes that the tree was copied.
pub(super) fn done(store: &Path) -> io::Result<()> {
    match fs::remove_file(store.join(ASKED)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The size of a tree's files, in bytes, if it is too large for what is in them, or if it was [asked](ask) to be copied; else
/// `None`.
pub(super) fn excess(store: &Path, disk: &Disk) -> Result<Option<u64>, Fault> {
    let size = files::size_of_folder(&replace::tree(store))?;
    let is_asked = store.join(ASKED).exists();
    Ok((is_asked || (size > SMALL && !disk.holds_at_least(size / BLOAT)?)).then_some(size))
}

/// Makes an empty tree where a replacement is prepared.
pub(super) fn new_tree(store: &Path) -> Result<Disk, Fault> {
    let folder = replace::new_tree(store);
    files::remove_folder(&folder)?;
    let (db, file) = tree::open(&folder, CACHE)?;
    Disk::start(db, file, None)
}

/// Copies everything into a new tree; every value is compared with its checksum on the way.
pub(super) fn copy(store: &Path, disk: &Disk) -> Result<(), Fault> {
    let mut copy = new_tree(store)?;
    let mut writes = Writes::new();
    let mut bytes = 0;
    for item in disk.scan(&Key::default(), None) {
        let (key, value) = item?;
        value::unseal(&key, &value)?;
        if KeyKind::of(&key) == KeyKind::Meta {
            continue;
        }
        bytes += key.len() + value.len();
        writes.insert(key, Some(value));
        if bytes >= STEP {
            copy.load(std::mem::take(&mut writes))?;
            bytes = 0;
        }
    }
    copy.load(writes)?;
    copy.count_on_from(disk.sequence());
    copy.finish()
}
