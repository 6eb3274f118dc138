//! The count of writes, kept beside the tree. A tree that lost its latest pages looks whole to sled, but its count is
//! lower than the one kept here.
//!
//! The file `sequence` holds the count and its xxh3-64, each u64 LE. It is written after every sync of the tree, and itself
//! synced only about once a second: after a power cut it may say too little, never too much.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
    time::{Duration, Instant},
};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    files,
    probe::{self, Step},
};

const SYNC_EVERY: Duration = Duration::from_secs(1);

/// The file, open for writing.
pub(super) struct Witness {
    file: File,
    synced: Instant,
}

/// The count in `folder`: `None` when there is no file, 0 when it cannot be read.
pub(super) fn count_in(folder: &Path) -> io::Result<Option<u64>> {
    let mut bytes = vec![];
    match File::open(folder.join("sequence")) {
        Ok(file) => file.take(17).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let count = bytes
        .split_first_chunk::<8>()
        .and_then(|(count, sum)| (xxh3_64(count).to_le_bytes() == sum).then_some(u64::from_le_bytes(*count)));
    Ok(Some(count.unwrap_or(0)))
}

impl Witness {
    /// Opens the file in `folder`, or makes it.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        Ok(Self { file: files::open_own(&folder.join("sequence"))?, synced: Instant::now() })
    }

    /// Notes a count that is durable in the tree.
    pub(super) fn note(&mut self, count: u64) -> io::Result<()> {
        probe::at(Step::Witness)?;
        let count = count.to_le_bytes();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&[count, xxh3_64(&count).to_le_bytes()].concat())?;
        if self.synced.elapsed() >= SYNC_EVERY {
            self.sync()?;
        }
        Ok(())
    }

    /// Makes the noted count survive a power cut.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.synced = Instant::now();
        Ok(())
    }
}
