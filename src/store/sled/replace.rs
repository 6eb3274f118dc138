//! Replacing the tree by a new one.
//!
//! The new one is made in `sled.new/`. It either replaces the old one, which is then removed, or the old one is kept in
//! `quarantine-…/`. A replacement that a crash interrupts is undone at the next opening.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    files,
    probe::{self, Step},
};

/// The folder of sled's files.
pub(super) fn tree(store: &Path) -> PathBuf {
    store.join("sled")
}

/// The folder in which a replacement is prepared.
pub(super) fn new_tree(store: &Path) -> PathBuf {
    store.join("sled.new")
}

fn old_tree(store: &Path) -> PathBuf {
    store.join("sled.old")
}

/// Undoes a replacement that was interrupted, or clears away what it left.
pub(super) fn tidy(store: &Path) -> io::Result<()> {
    if !tree(store).exists() && old_tree(store).exists() {
        fs::rename(old_tree(store), tree(store))?;
        files::sync_folder(store)?;
    }
    files::remove_folder(&new_tree(store))?;
    files::remove_folder(&old_tree(store))
}

/// Puts the new tree in the place of the old one, and removes that.
pub(super) fn swap(store: &Path) -> io::Result<()> {
    rename(&tree(store), &old_tree(store))?;
    rename(&new_tree(store), &tree(store))?;
    files::sync_folder(store)?;
    probe::at(Step::Remove)?;
    files::remove_folder(&old_tree(store))
}

/// Puts the new tree in the place of the old one, if there is one, and moves that aside; returns where to. When it fails,
/// the old one is where it was.
pub(super) fn quarantine(store: &Path) -> io::Result<Option<PathBuf>> {
    let aside = if tree(store).exists() { Some(set_aside(store)?) } else { None };
    if let Err(error) = rename(&new_tree(store), &tree(store)) {
        if let Some(aside) = &aside {
            fs::rename(aside, tree(store))?;
        }
        return Err(error);
    }
    files::sync_folder(store)?;
    Ok(aside)
}

/// Moves the tree aside; returns where to.
pub(super) fn set_aside(store: &Path) -> io::Result<PathBuf> {
    let aside = free_name(store);
    rename(&tree(store), &aside)?;
    Ok(aside)
}

/// A folder name that is not in use, for a tree that is moved aside.
fn free_name(store: &Path) -> PathBuf {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut name = store.join(format!("quarantine-{seconds}"));
    for again in 2.. {
        if !name.exists() {
            break;
        }
        name = store.join(format!("quarantine-{seconds}-{again}"));
    }
    name
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    probe::at(Step::Rename)?;
    fs::rename(from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The trees that exist, with their content.
    fn trees(store: &Path) -> Vec<(String, String)> {
        let entries = fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path());
        let mut trees: Vec<_> = entries
            .map(|path| {
                let name = path.file_name().unwrap().to_string_lossy();
                let name = name.split('-').next().unwrap().to_owned();
                (name, fs::read_to_string(path.join("db")).unwrap())
            })
            .collect();
        trees.sort();
        trees
    }

    fn make(tree: &Path, content: &str) {
        files::make_folder(tree).unwrap();
        fs::write(tree.join("db"), content).unwrap();
    }

    fn named(trees: &[(&str, &str)]) -> Vec<(String, String)> {
        trees.iter().map(|(name, content)| ((*name).to_owned(), (*content).to_owned())).collect()
    }

    #[test]
    fn wherever_a_replacement_is_interrupted_there_is_one_whole_tree_afterwards() {
        let interruptions: [(&[(&str, &str)], &str); 4] = [
            (&[("sled", "before"), ("sled.new", "half")], "before"),
            (&[("sled.old", "before"), ("sled.new", "after")], "before"),
            (&[("sled", "after"), ("sled.old", "before")], "after"),
            (&[("sled", "after")], "after"),
        ];
        for (found, expected) in interruptions {
            let store = tempfile::tempdir().unwrap();
            for (name, content) in found {
                make(&store.path().join(name), content);
            }
            tidy(store.path()).unwrap();
            assert_eq!(trees(store.path()), named(&[("sled", expected)]));
        }
    }

    #[test]
    fn the_old_tree_is_removed_or_kept_aside_as_asked() {
        let store = tempfile::tempdir().unwrap();
        let store = store.path();
        make(&new_tree(store), "first");
        assert_eq!(quarantine(store).unwrap(), None);
        make(&new_tree(store), "second");
        swap(store).unwrap();
        assert_eq!(trees(store), named(&[("sled", "second")]));
        make(&new_tree(store), "third");
        assert!(quarantine(store).unwrap().is_some());
        make(&new_tree(store), "fourth");
        assert!(quarantine(store).unwrap().is_some(), "within the same second");
        assert_eq!(
            trees(store),
            named(&[("quarantine", "second"), ("quarantine", "third"), ("sled", "fourth")])
        );
    }

    #[test]
    fn a_failed_replacement_leaves_the_old_tree_where_it_was() {
        let store = tempfile::tempdir().unwrap();
        make(&tree(store.path()), "before");
        assert!(quarantine(store.path()).is_err(), "there is no new tree");
        assert_eq!(trees(store.path()), named(&[("sled", "before")]));
    }
}
