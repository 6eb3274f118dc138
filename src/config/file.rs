//! Reading the files that a config is made of or names, and saying who may.

use std::{
    fmt,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use rustix::{
    fs::OFlags,
    process::{getegid, geteuid},
};

/// Reads a regular file of at most `limit` bytes. A named pipe or a device is refused without waiting for it.
///
/// # Errors
/// As the system has it, and when the file is something else or longer. The message for a file that must not be read
/// says who may read it.
pub(crate) fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let bits = OFlags::NONBLOCK.bits() as i32;
    let opened = OpenOptions::new().read(true).custom_flags(bits).open(path);
    let file: File = opened.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => io::Error::new(error.kind(), not_permitted(path)),
        // A socket.
        _ if fs::metadata(path).is_ok_and(|found| !found.is_file()) => io::Error::other(NOT_REGULAR),
        _ => error,
    })?;
    // The opened file is asked, not the path, which may lead elsewhere by now.
    if !file.metadata()?.is_file() {
        return Err(io::Error::other(NOT_REGULAR));
    }
    let mut content = vec![];
    file.take(limit + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Err(io::Error::other(format!("it is longer than {}", InBytes(limit))));
    }
    Ok(content)
}

const NOT_REGULAR: &str = "it is not a regular file";

struct InBytes(u64);

impl fmt::Display for InBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes % (1 << 20) == 0 => write!(f, "{} MiB", bytes >> 20),
            bytes => write!(f, "{} KiB", bytes >> 10),
        }
    }
}

/// Why this process may not read a file, in words: "only root may read it (mode 600), and callwatch runs as nobody".
fn not_permitted(path: &Path) -> String {
    let me = user(geteuid().as_raw());
    if let Ok(found) = fs::metadata(path) {
        return format!("{} may read it{}, and callwatch runs as {me}", readers(&found), mode(&found));
    }
    // A folder on the way cannot be entered. The last one that can be looked at is the one.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let blocked = path.ancestors().skip(1).find_map(|folder| Some((folder, fs::metadata(folder).ok()?)));
    match blocked {
        Some((folder, found)) => format!(
            "only {} may enter the folder {}{}, and callwatch runs as {me}",
            user(found.uid()),
            folder.display(),
            mode(&found)
        ),
        None => format!("callwatch runs as {me}, who may not read it"),
    }
}

fn readers(found: &Metadata) -> String {
    match found.mode() & 0o440 {
        0o440 => format!("{} and group {}", user(found.uid()), named("/etc/group", found.gid())),
        0o040 => format!("group {}", named("/etc/group", found.gid())),
        _ => format!("only {}", user(found.uid())),
    }
}

fn mode(found: &Metadata) -> String {
    format!(" (mode {:o})", found.mode() & 0o7777)
}

/// A user as people call it.
fn user(id: u32) -> String {
    named("/etc/passwd", id)
}

/// The name for `id` in a file of lines `name:password:id:…`, else the number.
fn named(table: &str, id: u32) -> String {
    let text = fs::read_to_string(table).unwrap_or_default();
    let line = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut found = line.filter(|parts| parts.get(2).is_some_and(|field| field.parse() == Ok(id)));
    found.next().map_or_else(|| format!("user {id}"), |parts| parts[0].to_owned())
}

/// The rights of other users of this machine to a file or folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OpenTo {
    /// They may read it.
    pub read: bool,
    /// They may change it, or for a folder what is in it.
    pub write: bool,
    /// They may put another one in its place, because they may change a folder it is in.
    pub replace: bool,
}

impl OpenTo {
    /// The rights in words; `None` when there are none.
    pub fn in_words(self) -> Option<&'static str> {
        match (self.read, self.write, self.replace) {
            (true, true, _) => Some("read and change"),
            (true, false, true) => Some("read and replace"),
            (true, false, false) => Some("read"),
            (false, true, _) => Some("change"),
            (false, false, true) => Some("replace"),
            (false, false, false) => None,
        }
    }
}

/// The rights of other users to the file or folder at `path`: none when one of the folders on the way is closed to
/// them, or when nothing is there. A group counts as others unless it is the group of this process.
pub(crate) fn open_to_others(path: &Path) -> OpenTo {
    let Ok(path) = path.canonicalize() else { return OpenTo::default() };
    let can_enter = |folder: &Path| {
        fs::metadata(folder).map_or(true, |found| found.mode() & others_of(&found) & 0o011 != 0)
    };
    let Ok(found) = fs::metadata(&path) else { return OpenTo::default() };
    if !path.ancestors().skip(1).all(can_enter) {
        return OpenTo::default();
    }
    let bits = found.mode() & others_of(&found);
    // In a folder with the sticky bit only the owner of a file can replace it.
    const STICKY: u32 = 0o1000;
    let can_change = |folder: &Path| {
        fs::metadata(folder)
            .is_ok_and(|found| found.mode() & others_of(&found) & 0o022 != 0 && found.mode() & STICKY == 0)
    };
    OpenTo {
        read: bits & 0o044 != 0,
        write: bits & 0o022 != 0,
        replace: path.ancestors().skip(1).any(can_change),
    }
}

/// The permission bits that concern others.
fn others_of(found: &Metadata) -> u32 {
    if found.gid() == getegid().as_raw() { 0o007 } else { 0o077 }
}
