//! The tree on disk: writes that are whole or not there, however large, and durable once synced.

use std::{
    fs::File,
    ops::Bound::{self, Excluded, Included, Unbounded},
    time::Instant,
};

use ::sled::{Batch, IVec};
use prometheus_client::metrics::histogram::Histogram;
use serde::{Deserialize, Serialize};

use super::{
    fault::Fault,
    keys::{self, Key},
    overlay::{Overlay, Writes},
    probe::{self, Step},
    tree::Tree,
    value,
    witness::Witness,
};
use crate::store::figures::seconds;

/// The most operations in one batch; larger ones cost sled memory out of proportion.
const BATCH_OPERATIONS: usize = 2000;

/// The most bytes of keys and values in one batch.
const BATCH_BYTES: usize = 512 << 10;

/// The schema of what this version writes.
pub(super) const SCHEMA: u32 = 5;

/// The store's record of itself. Later schemas must keep it readable to earlier versions.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Meta {
    /// The schema of all other values.
    schema: u32,
    /// The number of writes so far.
    sequence: u64,
    /// Whether the store was closed in good order.
    clean: bool,
}

/// An open tree.
pub(super) struct Disk {
    tree: Tree,
    /// Our own handle of sled's file, to sync it: sled's `flush` hands everything to the system but does not make the
    /// system write it out.
    file: File,
    meta: Meta,
    /// Whether the store was closed in good order before it was opened.
    was_clean: bool,
    /// Whether something was written since the last sync.
    dirty: bool,
    /// Keeps the count of writes beside the tree, so that a tree that has lost writes is noticed.
    witness: Option<Witness>,
    /// Seconds that syncs took.
    syncs: Histogram,
}

impl Disk {
    /// Takes over a tree that sled has opened, and finishes a write that was interrupted. `least` is the count of
    /// writes that the tree must have reached; `None` when it may be new.
    pub(super) fn start(tree: Tree, file: File, least: Option<u64>) -> Result<Self, Fault> {
        let meta = match Overlay::new(&tree).get::<Meta>(&keys::meta())? {
            Some(meta) if meta.schema > SCHEMA => return Err(Fault::TooNew(meta.schema)),
            Some(meta) if meta.schema < SCHEMA => return Err(Fault::TooOld(meta.schema)),
            Some(meta) if least.is_some_and(|least| meta.sequence < least) => {
                return Err(Fault::Damaged("what was written last is missing"));
            }
            Some(meta) => meta,
            None if least.is_some() || !tree.is_empty() => {
                return Err(Fault::Damaged("its contents are gone"));
            }
            None => Meta { schema: SCHEMA, sequence: 0, clean: true },
        };
        let was_clean = meta.clean;
        let mut disk = Self { tree, file, meta, was_clean, dirty: false, witness: None, syncs: seconds() };
        if !was_clean {
            disk.finish_journal()?;
        }
        disk.mark_clean(false)?;
        Ok(disk)
    }

    /// Keeps the count of writes beside the tree from now on.
    pub(super) fn keep_count(&mut self, mut witness: Witness) -> Result<(), Fault> {
        witness.note(self.meta.sequence)?;
        witness.sync()?;
        self.witness = Some(witness);
        Ok(())
    }

    /// Whether the store was closed in good order before it was opened.
    pub(super) fn was_clean(&self) -> bool {
        self.was_clean
    }

    /// How long syncs took, and how many bytes the tree takes.
    pub(super) fn figures(&self) -> Result<(Histogram, u64), Fault> {
        Ok((self.syncs.clone(), self.file.metadata()?.len()))
    }

    /// The number of writes so far.
    pub(super) fn sequence(&self) -> u64 {
        self.meta.sequence
    }

    /// Whether keys and values have at least `bytes` bytes together. Stops reading as soon as that is known.
    pub(super) fn holds_at_least(&self, bytes: u64) -> Result<bool, Fault> {
        let mut held = 0;
        for item in self.tree.range::<&[u8]>(..) {
            let (key, value) = item?;
            held += (key.len() + value.len()) as u64;
            if held >= bytes {
                return Ok(true);
            }
        }
        Ok(held >= bytes)
    }

    /// Adds to a new tree, which is neither complete nor durable before [`Disk::finish`].
    pub(super) fn load(&mut self, writes: Writes) -> Result<(), Fault> {
        self.dirty = true;
        self.apply(writes)
    }

    /// Makes a new tree count its writes on from `sequence`, the count of the tree that it is a copy of.
    pub(super) fn count_on_from(&mut self, sequence: u64) {
        self.meta.sequence = sequence;
    }

    /// Closes the tree in good order.
    pub(super) fn finish(mut self) -> Result<(), Fault> {
        self.mark_clean(true)?;
        Ok(self.witness.as_mut().map_or(Ok(()), Witness::sync)?)
    }

    /// The tree itself.
    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Hands everything written so far to the system: it survives a kill, but no power cut.
    pub(super) fn flush(&mut self) -> Result<(), Fault> {
        if self.dirty {
            self.hand_over()?;
        }
        Ok(())
    }

    /// Whether something was written since the last sync.
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// A view of the tree as it is now, with nothing prepared.
    pub(super) fn view(&self) -> Overlay {
        Overlay::new(&self.tree)
    }

    /// The values at keys that begin with `prefix` and are not after `to`, backwards.
    pub(super) fn scan_back(
        &self,
        prefix: &Key,
        to: &Key,
    ) -> impl Iterator<Item = Result<(IVec, IVec), Fault>> + use<> {
        self.tree.range(prefix.as_ref()..=to.as_ref()).rev().map(|item| Ok(item?))
    }

    /// The values at keys that begin with `prefix`, in order; only those after `after` when that is given.
    pub(super) fn scan(
        &self,
        prefix: &Key,
        after: Option<&Key>,
    ) -> impl Iterator<Item = Result<(IVec, IVec), Fault>> + use<> {
        self.scan_bound(prefix, after.map_or(Included(prefix.as_ref()), |after| Excluded(after.as_ref())))
    }

    /// The values at keys that begin with `prefix`, in order, from `from` on.
    pub(super) fn scan_from(
        &self,
        prefix: &Key,
        from: &Key,
    ) -> impl Iterator<Item = Result<(IVec, IVec), Fault>> + use<> {
        self.scan_bound(prefix, Included(from.as_ref()))
    }

    fn scan_bound(
        &self,
        prefix: &Key,
        from: Bound<&[u8]>,
    ) -> impl Iterator<Item = Result<(IVec, IVec), Fault>> + use<> {
        let prefix = prefix.clone();
        self.tree
            .range::<&[u8]>((from, Unbounded))
            .take_while(move |item| item.as_ref().map_or(true, |(key, _)| prefix.is_prefix_of(key)))
            .map(|item| Ok(item?))
    }

    /// Writes all or nothing; durable after the next [`Disk::sync`].
    pub(super) fn write(&mut self, mut writes: Writes) -> Result<(), Fault> {
        if writes.is_empty() {
            return Ok(());
        }
        self.meta.sequence += 1;
        writes.append(&mut self.meta_writes()?);
        self.dirty = true;
        let one_batch =
            writes.len() <= BATCH_OPERATIONS && writes.iter().map(size).sum::<usize>() <= BATCH_BYTES;
        if one_batch {
            return self.apply(writes);
        }
        self.write_journal(&writes)?;
        self.finish_journal()
    }

    /// Makes everything written so far survive a power cut.
    pub(super) fn sync(&mut self) -> Result<(), Fault> {
        if self.dirty {
            let begun = Instant::now();
            self.force()?;
            self.syncs.observe(begun.elapsed().as_secs_f64());
            self.dirty = false;
            if let Some(witness) = &mut self.witness {
                witness.note(self.meta.sequence)?;
            }
        }
        Ok(())
    }

    /// Closes the tree as a version of callwatch that knew only `schema` would have left it.
    #[cfg(test)]
    pub(super) fn finish_as_schema(mut self, schema: u32) -> Result<(), Fault> {
        self.meta.schema = schema;
        self.finish()
    }

    fn mark_clean(&mut self, clean: bool) -> Result<(), Fault> {
        self.meta.clean = clean;
        self.write(self.meta_writes()?)?;
        self.sync()
    }

    fn meta_writes(&self) -> Result<Writes, Fault> {
        let mut view = self.view();
        view.put(&keys::meta(), &self.meta)?;
        Ok(view.into_writes())
    }

    fn hand_over(&self) -> Result<(), Fault> {
        probe::at(Step::Flush)?;
        self.tree.flush()?;
        Ok(())
    }

    fn force(&self) -> Result<(), Fault> {
        self.hand_over()?;
        probe::at(Step::Sync)?;
        // `sync_data` writes out all that is needed to find the data again; only the file's times may be lost.
        self.file.sync_data()?;
        Ok(probe::at(Step::Synced)?)
    }

    /// Applies writes in as many batches as they need.
    fn apply(&self, writes: Writes) -> Result<(), Fault> {
        let mut batch = Batch::default();
        let (mut operations, mut bytes) = (0, 0);
        for (key, value) in writes {
            let size = size((&key, &value));
            if operations == BATCH_OPERATIONS || (operations > 0 && bytes + size > BATCH_BYTES) {
                self.apply_batch(std::mem::take(&mut batch))?;
                (operations, bytes) = (0, 0);
            }
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
            operations += 1;
            bytes += size;
        }
        self.apply_batch(batch)
    }

    fn apply_batch(&self, batch: Batch) -> Result<(), Fault> {
        probe::at(Step::Write)?;
        Ok(self.tree.apply_batch(batch)?)
    }

    /// Writes the journal of a write that needs several batches. The journal counts once its head is there, which is
    /// written last; the syncs keep a power cut from leaving the head without the rest, or a part of the write without
    /// the head.
    fn write_journal(&self, writes: &Writes) -> Result<(), Fault> {
        let mut view = self.view();
        view.put_bytes(&keys::journal(), &[], &value::from_writes(writes))?;
        let mut chunks = view.into_writes();
        let head = chunks.split_off(keys::journal().as_ref());
        self.apply(chunks)?;
        self.force()?;
        self.apply(head)?;
        self.force()
    }

    /// Applies the journal, if there is one, and removes it. A crash on the way is harmless: the next start applies all
    /// of it again.
    fn finish_journal(&mut self) -> Result<(), Fault> {
        if let Some(writes) = self.view().bytes(&keys::journal())? {
            self.apply(value::to_writes(&writes)?)?;
            self.dirty = true;
        }
        let head = [(keys::journal().as_ref().into(), None)];
        self.apply(head.into())?;
        let parts = self.scan(&keys::chunks(&keys::journal()), None);
        self.apply(parts.map(|part| Ok((part?.0, None))).collect::<Result<_, Fault>>()?)
    }
}

/// The size of a write in a batch, in bytes.
fn size((key, value): (&IVec, &Option<IVec>)) -> usize {
    key.len() + value.as_ref().map_or(0, |value| value.len())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{super::tree, *};

    fn start(folder: &Path) -> Result<Disk, Fault> {
        let (tree, file) = tree::open(folder, 1 << 20)?;
        Disk::start(tree, file, None)
    }

    fn writes(range: std::ops::Range<u64>, value: &[u8]) -> Writes {
        range.map(|number| (number.to_be_bytes().as_slice().into(), Some(value.into()))).collect()
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let disk = start(folder.path()).unwrap();
        disk.finish_as_schema(SCHEMA + 1).unwrap();
        assert!(matches!(start(folder.path()), Err(Fault::TooNew(found)) if found == SCHEMA + 1));
    }

    #[test]
    fn every_write_counts() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = start(folder.path()).unwrap();
        let before = disk.meta.sequence;
        disk.write(writes(0..1, b"one")).unwrap();
        disk.write(Writes::new()).unwrap();
        disk.write(writes(0..5_000, b"many")).unwrap();
        assert_eq!(disk.meta.sequence, before + 2);
    }

    #[test]
    fn a_journal_without_head_is_as_if_it_had_never_been() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = start(folder.path()).unwrap();
        disk.write(writes(0..10, b"small")).unwrap();
        disk.write_journal(&writes(0..5_000, &[7; 200])).unwrap();
        disk.apply([(keys::journal().as_ref().into(), None)].into()).unwrap();
        disk.finish_journal().unwrap();
        assert_eq!(
            disk.tree
                .range(0_u64.to_be_bytes()..)
                .filter(|item| item.as_ref().unwrap().1 == b"small")
                .count(),
            10
        );
        assert!(disk.scan(&keys::chunks(&keys::journal()), None).next().is_none());
    }

    #[test]
    fn a_journal_with_its_head_is_carried_out_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let disk = start(folder.path()).unwrap();
        let mut view = disk.view();
        for number in 0..3_000 {
            view.put(&keys::heads(number), &"x".repeat(300)).unwrap();
        }
        let mut large = view.into_writes();
        disk.write_journal(&large).unwrap();
        // A crash left some of the writes applied already.
        let rest = large.split_off(keys::heads(500).as_ref());
        disk.apply(large).unwrap();
        drop(disk);

        let disk = start(folder.path()).unwrap();
        for key in rest.keys() {
            assert!(disk.tree.get(key).unwrap().is_some());
        }
        assert!(disk.tree.get(keys::journal()).unwrap().is_none());
        assert!(disk.scan(&keys::chunks(&keys::journal()), None).next().is_none());
    }
}
