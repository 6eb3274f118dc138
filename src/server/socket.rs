//! The Unix socket in the store's folder, by which the commands reach a callwatch at work.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

/// Its file's name.
const NAME: &str = "callwatch.sock";

/// The socket of the store in `folder`.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

/// The file of an open socket; it is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    /// Device and number of the file.
    id: (u64, u64),
}

impl Socket {
    /// Opens the socket for the owner of this process alone. A socket that a killed process left behind is replaced:
    /// whoever has the store open is the only one there.
    ///
    /// # Errors
    /// As the system has it, with the path.
    pub(super) fn bind(folder: &Path) -> io::Result<(Self, UnixListener)> {
        let path = path(folder);
        let fail = |error: io::Error| {
            io::Error::new(error.kind(), format!("the socket {}: {error}", path.display()))
        };
        match fs::symlink_metadata(&path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(&path).map_err(fail)?,
            Ok(_) => return Err(fail(io::Error::other("there is something else at its place; remove it"))),
            Err(_) => {}
        }
        let listener = UnixListener::bind(&path).map_err(fail)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(fail)?;
        let id = id_of(&path).map_err(fail)?;
        Ok((Self { path, id }, listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Another process may have opened the store and made its own. A file that stays is replaced by the next one.
        if id_of(&self.path).is_ok_and(|id| id == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn id_of(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}
