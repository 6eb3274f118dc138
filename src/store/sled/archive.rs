//! A backup as a file.
//!
//! ```text
//! "callwatch backup 1\n" │ block… │ 0: u32 │ block: the Trailer as JSON
//! block: length of payload: u32 LE │ payload │ xxh3-64 of the payload, seeded with the sum of the block before: u64 LE
//! ```
//!
//! The payload of the blocks before the trailer is written by [`value::from_writes`]: keys and values as they stand in the
//! tree, each value sealed; of two for the same key the later one counts. Sums are chained so that no block can be missing,
//! doubled or out of place.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{
    files,
    overlay::Writes,
    probe::{self, Step},
    value,
};
use crate::time::Timestamp;

const MAGIC: &[u8] = b"callwatch backup 1\n";

/// The longest block that is read, in bytes: a few times what is written.
const LONGEST: u32 = 256 << 20;

/// The last block of a backup. A file without it is incomplete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Trailer {
    /// The schema of the keys and values in it.
    pub(super) schema: u32,
    /// The store's count of writes at the moment that the backup shows.
    pub(super) sequence: u64,
    /// When it was finished.
    pub(super) made: Timestamp,
}

/// Prefix of the file names of incomplete backups.
pub(super) const PARTIAL: &str = ".partial-";

/// Writes a backup under a temporary name, and gives it its own when it is complete and durable. When it is dropped
/// before, nothing is left behind.
pub(super) struct Writer {
    to: PathBuf,
    file: BufWriter<NamedTempFile>,
    sum: u64,
}

impl Writer {
    /// Begins a file that only its owner may read.
    pub(super) fn create(to: &Path) -> io::Result<Self> {
        let partial = tempfile::Builder::new().prefix(PARTIAL).tempfile_in(folder_of(to))?;
        let mut file = BufWriter::new(partial);
        file.write_all(MAGIC)?;
        Ok(Self { to: to.to_owned(), file, sum: 0 })
    }

    /// Adds a piece.
    pub(super) fn add(&mut self, writes: &Writes) -> io::Result<()> {
        if writes.is_empty() {
            return Ok(());
        }
        self.block(&value::from_writes(writes))
    }

    /// Ends the file, makes it durable and gives it its name; returns its size in bytes.
    pub(super) fn finish(mut self, trailer: &Trailer) -> io::Result<u64> {
        self.file.write_all(&0_u32.to_le_bytes())?;
        self.block(&serde_json::to_vec(trailer)?)?;
        let partial = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        partial.as_file().sync_all()?;
        probe::at(Step::Rename)?;
        let file = partial.persist(&self.to)?;
        files::sync_folder(folder_of(&self.to))?;
        Ok(file.metadata()?.len())
    }

    fn block(&mut self, payload: &[u8]) -> io::Result<()> {
        let len = u32::try_from(payload.len()).ok().filter(|len| *len <= LONGEST);
        let len = len.ok_or_else(|| io::Error::other("a block is too long"))?;
        probe::at(Step::Archive)?;
        self.sum = xxh3_64_with_seed(payload, self.sum);
        self.file.write_all(&len.to_le_bytes())?;
        self.file.write_all(payload)?;
        self.file.write_all(&self.sum.to_le_bytes())
    }
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Reads a backup from its beginning to its end.
pub(super) struct Reader<R = File> {
    file: BufReader<R>,
    sum: u64,
}

/// The next thing in a backup.
pub(super) enum Part {
    /// A piece, as it was added.
    Writes(Writes),
    /// The end.
    End(Trailer),
}

impl Reader {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::of(File::open(path)?)
    }
}

impl<R: Read> Reader<R> {
    pub(super) fn of(backup: R) -> io::Result<Self> {
        let mut file = BufReader::new(backup);
        let mut magic = [0; MAGIC.len()];
        match file.read_exact(&mut magic) {
            Ok(()) if magic == MAGIC => Ok(Self { file, sum: 0 }),
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
            _ => Err(io::Error::other("it is not a backup of callwatch")),
        }
    }

    /// Reads the next part. Nothing may be relied on before [`Part::End`] has been read.
    pub(super) fn next(&mut self) -> io::Result<Part> {
        match self.len()? {
            0 => {
                let len = self.len()?;
                let payload = self.block(len)?;
                Ok(Part::End(serde_json::from_slice(&payload)?))
            }
            len => {
                let payload = self.block(len)?;
                value::to_writes(&payload).map(Part::Writes).map_err(|_| damaged())
            }
        }
    }

    /// Reads to the end, to see whether the backup is complete and undamaged.
    pub(super) fn verify(mut self) -> io::Result<Trailer> {
        loop {
            if let Part::End(trailer) = self.next()? {
                return Ok(trailer);
            }
        }
    }

    fn len(&mut self) -> io::Result<u32> {
        let mut len = [0; 4];
        self.file.read_exact(&mut len).map_err(breaks_off)?;
        Ok(u32::from_le_bytes(len))
    }

    fn block(&mut self, len: u32) -> io::Result<Vec<u8>> {
        if len > LONGEST {
            return Err(damaged());
        }
        let mut payload = vec![];
        // A damaged length must not cost memory, so room is made only for what is there.
        (&mut self.file).take(len.into()).read_to_end(&mut payload)?;
        let mut sum = [0; 8];
        self.file.read_exact(&mut sum).map_err(breaks_off)?;
        self.sum = xxh3_64_with_seed(&payload, self.sum);
        if self.sum == u64::from_le_bytes(sum) { Ok(payload) } else { Err(damaged()) }
    }
}

fn breaks_off(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof { io::Error::other("it breaks off") } else { error }
}

fn damaged() -> io::Error {
    io::Error::other("it does not match its checksum")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write(to: &Path) -> u64 {
        let mut writer = Writer::create(to).unwrap();
        for number in 0..3_u8 {
            let value = vec![number; 40];
            writer.add(&[([number].as_slice().into(), Some(value.into()))].into()).unwrap();
        }
        writer.finish(&Trailer { schema: 2, sequence: 7, made: Timestamp::from_millis(1) }).unwrap()
    }

    #[test]
    fn a_file_reads_back_and_nothing_lies_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.backup");
        assert_eq!(write(&file), fs::metadata(&file).unwrap().len());
        let mut reader = Reader::open(&file).unwrap();
        for number in 0..3_u8 {
            let Part::Writes(writes) = reader.next().unwrap() else { panic!("too short") };
            assert_eq!(writes[&[number][..]].as_deref(), Some(&[number; 40][..]));
        }
        let Part::End(trailer) = reader.next().unwrap() else { panic!("too long") };
        assert_eq!(trailer.sequence, 7);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn no_changed_bit_and_no_missing_byte_goes_unnoticed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.backup");
        write(&file);
        let whole = fs::read(&file).unwrap();
        let verify = |bytes: &[u8]| {
            fs::write(&file, bytes).unwrap();
            Reader::open(&file).and_then(Reader::verify)
        };
        assert!(verify(&whole).is_ok());
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(verify(&changed).is_err(), "byte {at}");
            assert!(verify(&whole[..at]).is_err(), "{at} bytes");
        }
    }
}
