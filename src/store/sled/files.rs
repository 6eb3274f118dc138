//! Small things done to files and folders: made private, synced, measured, copied, removed, given to their owner.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions},
    io,
    path::Path,
};

/// Makes a folder that only its owner may enter, and syncs the one it is in. Folders above it that are missing are made,
/// too. Where a folder is there already, nothing changes. A folder made by root for somebody else's folder belongs to the
/// owner of the folder it is in.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)?;
    share_owner(path, parent)?;
    sync_folder(parent)
}

/// Refuses a store in which a link stands for one of its files: whoever may write to the folder could make root write
/// elsewhere. Backups may lie behind a link, because nothing of them is written over.
pub(super) fn refuse_links(store: &Path) -> io::Result<()> {
    let mut names: Vec<_> =
        ["lock", "sequence", "renew", "sled", "sled.new", "sled.old"].map(str::to_owned).into();
    for entry in fs::read_dir(store.join("sled")).into_iter().flatten() {
        names.push(format!("sled/{}", entry?.file_name().to_string_lossy()));
    }
    let is_link = |name: &String| fs::symlink_metadata(store.join(name)).is_ok_and(|it| it.is_symlink());
    match names.into_iter().find(is_link) {
        Some(name) => {
            let why = format!("`{name}` in it is a link, which is not followed; put the file itself there");
            Err(io::Error::new(io::ErrorKind::InvalidInput, why))
        }
        None => Ok(()),
    }
}

/// Opens a file of a store for writing, or makes it. A symbolic link, and a file with a second hard link, are refused.
pub(super) fn open_own(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let file = match options.clone().create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(path)?,
        made => return made,
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let refused = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{name}` in it {why}")));
    // The name is looked at after it was opened, so that it cannot be exchanged in between.
    let (named, opened) = (fs::symlink_metadata(path)?, file.metadata()?);
    if !named.is_file() || !is_same(&named, &opened) {
        refused("is a link or no file; remove it")
    } else if has_another_name(&opened) {
        refused("has another name elsewhere; remove it")
    } else {
        Ok(file)
    }
}

#[cfg(unix)]
fn is_same(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}

#[cfg(unix)]
fn has_another_name(file: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(file) > 1
}

#[cfg(not(unix))]
fn has_another_name(_: &Metadata) -> bool {
    false
}

/// Makes the names of new files in a folder survive a power cut.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Removes a folder and everything in it; it may be missing.
pub(super) fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Copies a folder with everything in it.
pub(super) fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    make_folder(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// How much the files in a folder take, in bytes.
pub(super) fn size_of_folder(path: &Path) -> io::Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        size += if entry.file_type()?.is_dir() {
            size_of_folder(&entry.path())?
        } else {
            entry.metadata()?.len()
        };
    }
    Ok(size)
}

/// Gives everything in a folder to the owner of the folder, so that a service can use what root has left there. Links are
/// not followed.
pub(super) fn share_owner_within(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        share_owner(&entry.path(), folder)?;
        if entry.file_type()?.is_dir() {
            share_owner_within(&entry.path())?;
        }
    }
    Ok(())
}

/// Gives a file or a folder to the owner of another one. Only root can; for everybody else nothing changes. A file that
/// has a second name is left alone, because the other name may be somebody else's.
#[cfg(unix)]
pub(super) fn share_owner(path: &Path, with: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, lchown};

    let (is, owner) = (fs::symlink_metadata(path)?, fs::metadata(with)?);
    let has_owner = (is.uid(), is.gid()) == (owner.uid(), owner.gid());
    if has_owner || (!is.is_dir() && is.nlink() > 1) {
        return Ok(());
    }
    match lchown(path, Some(owner.uid()), Some(owner.gid())) {
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => Err(error),
        _ => Ok(()),
    }
}

/// Other systems have no such owners.
#[cfg(not(unix))]
pub(super) fn share_owner(_path: &Path, _with: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{MetadataExt, chown, symlink};

    use super::*;

    const SOMEBODY: u32 = 12_345;

    /// Whether this process is root's; as anybody else, files cannot be given away and stay as they are.
    fn give(path: &Path) -> bool {
        chown(path, Some(SOMEBODY), Some(SOMEBODY)).is_ok()
    }

    #[test]
    fn what_root_leaves_in_a_folder_belongs_to_the_owner_of_the_folder_and_nothing_outside_it_does() {
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().join("store");
        make_folder(&folder).unwrap();
        make_folder(&folder.join("inner")).unwrap();
        let [file, elsewhere, linked] =
            [folder.join("inner/file"), outside.path().join("elsewhere"), outside.path().join("linked")];
        for path in [&file, &elsewhere, &linked] {
            fs::write(path, b"").unwrap();
        }
        symlink(&elsewhere, folder.join("link")).unwrap();
        fs::hard_link(&linked, folder.join("second name")).unwrap();
        let own = fs::metadata(&elsewhere).unwrap().uid();
        let expected = if give(&folder) { SOMEBODY } else { own };

        share_owner_within(&folder).unwrap();
        make_folder(&folder.join("later")).unwrap();
        let owner = |path: &Path| fs::symlink_metadata(path).unwrap().uid();
        for path in [folder.join("inner"), file, folder.join("link"), folder.join("later")] {
            assert_eq!(owner(&path), expected, "{}", path.display());
        }
        assert_eq!((owner(&elsewhere), owner(&linked)), (own, own));
    }
}
