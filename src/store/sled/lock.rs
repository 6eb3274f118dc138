//! One process at a time: the file `lock` in the store's folder.
//!
//! sled has a lock of its own, on its file `db`, but it cannot say who holds it, and its threads keep it for a moment after
//! the tree was closed. So this lock is let go only when sled's is free: the next process to get it can open the tree at once.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{fault::Fault, files};
use crate::store::StoreError;

/// How long to wait for the lock: a process that is ending needs a moment to let go.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long sled may take to let go of its own lock.
pub(super) const SLED_PATIENCE: Duration = Duration::from_secs(10);

/// Time between two looks at a lock that somebody else holds.
const PAUSE: Duration = Duration::from_millis(5);

/// The right of this process to use a store's folder. Ends when it is dropped, or with the process.
pub(super) struct Lock {
    file: File,
    folder: PathBuf,
}

impl Lock {
    /// Takes the store in `folder` for this process, waiting for it up to a second.
    pub(super) fn take(folder: &Path) -> Result<Self, StoreError> {
        let name = folder.join("lock");
        let io = |error: io::Error| Fault::from(error).at(folder, "opened");
        files::refuse_links(folder).map_err(io)?;
        let mut file = files::open_own(&name).map_err(io)?;
        if !lock(&file, PATIENCE).map_err(io)? {
            let holder = fs::read_to_string(&name).ok().and_then(|pid| pid.trim().parse().ok());
            return Err(StoreError::InUse { path: folder.display().to_string(), holder });
        }
        let lock = Self { file: file.try_clone().map_err(io)?, folder: folder.to_owned() };
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(io)?;
        Ok(lock)
    }

    /// Gives everything in the folder to the folder's owner, and lets go.
    pub(super) fn release(self) -> io::Result<()> {
        files::share_owner_within(&self.folder)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Failing to see sled let go only means that the next one to open the store has to wait.
        if let Ok(db) = File::open(self.folder.join("sled/db"))
            && matches!(lock(&db, SLED_PATIENCE), Ok(true))
        {
            let _ = db.unlock();
        }
        // Closing the file is not enough: a child process that was started meanwhile has it open, too, until it runs its
        // own program.
        let _ = self.file.unlock();
    }
}

/// Locks a file; returns whether that was possible within `patience`.
fn lock(file: &File, patience: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_says_who_holds_the_first_and_gets_it_when_that_ends() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path()).unwrap();
        let error = Lock::take(folder.path()).err().unwrap();
        assert!(
            matches!(error, StoreError::InUse { holder, .. } if holder == Some(std::process::id())),
            "{error}"
        );
        drop(first);
        Lock::take(folder.path()).unwrap();
    }

    #[test]
    fn the_lock_is_let_go_when_sled_has_let_go_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sled")).unwrap();
        let db = File::create(folder.path().join("sled/db")).unwrap();
        db.lock().unwrap();
        let lock = Lock::take(folder.path()).unwrap();
        let letting_go = thread::spawn(move || drop(lock));
        assert!(matches!(Lock::take(folder.path()), Err(StoreError::InUse { .. })));
        db.unlock().unwrap();
        letting_go.join().unwrap();
        Lock::take(folder.path()).unwrap();
    }

    #[test]
    fn a_lock_held_open_by_somebody_else_is_let_go_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(folder.path()).unwrap();
        // A child process has the file open like this between its fork and its exec.
        let _inherited = lock.file.try_clone().unwrap();
        drop(lock);
        Lock::take(folder.path()).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_the_place_of_a_file_of_the_store_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, b"precious").unwrap();
        for name in ["lock", "sequence", "sled", "sled.new", "sled.old", "sled/db", "sled/conf"] {
            for target in [elsewhere.as_path(), Path::new("missing")] {
                let store = tempfile::tempdir().unwrap();
                let link = store.path().join(name);
                fs::create_dir_all(link.parent().unwrap()).unwrap();
                std::os::unix::fs::symlink(target, &link).unwrap();
                let error = Lock::take(store.path()).err().unwrap();
                assert!(error.to_string().contains(&format!("`{name}` in it is a link")), "{error}");
            }
        }
        let store = tempfile::tempdir().unwrap();
        fs::hard_link(&elsewhere, store.path().join("lock")).unwrap();
        let error = Lock::take(store.path()).err().unwrap();
        assert!(error.to_string().contains("`lock` in it has another name elsewhere"), "{error}");
        assert_eq!(fs::read(&elsewhere).unwrap(), b"precious");
    }
}
