//! Changes move from their groups to the blocks of their deliveries, a few at a time.
//!
//! A slice takes the oldest groups, adds their changes to what stands at the blocks, writes these blocks as they are by
//! now, and removes the groups, all in one write. So a start reads a few groups only, and the changes of one delivery stand
//! together.

use std::collections::BTreeMap;

use super::Engine;
use crate::store::sled::{
    change::{self, FoldedWriter},
    fault::Fault,
    keys::{self, Key, block_of, place_of},
    value,
};

/// The number of unfolded changes at which folding begins.
const FOLD: usize = 20_000;

/// The most bytes of changes in one slice.
const SLICE_BYTES: usize = 256 << 10;

/// The number of parts of a block's changes from which on they are merged.
const PARTS: usize = 8;

/// The most bytes in a part that comes of merging.
const PARTS_BYTES: usize = 128 << 10;

impl Engine {
    /// Begins to fold the present groups when they have many changes, or when `it_is_time`.
    pub(in crate::store::sled) fn fold_when_due(&mut self, it_is_time: bool) {
        if it_is_time || self.unfolded.len() >= FOLD {
            self.fold_to = self.progress.group - 1;
        }
    }

    /// Whether there are changes that are not folded yet.
    pub(in crate::store::sled) fn has_unfolded(&self) -> bool {
        !self.groups.is_empty()
    }

    /// Whether a slice is due.
    pub(in crate::store::sled) fn is_folding(&self) -> bool {
        self.groups.keys().next().is_some_and(|group| *group <= self.fold_to)
    }

    /// Folds everything and writes the newest block, so that the next start reads no more than blocks.
    pub(super) fn fold_all(&mut self) -> Result<(), Fault> {
        self.fold_to = u64::MAX;
        while self.is_folding() {
            self.fold(usize::MAX)?;
        }
        self.staged.blocks.insert(block_of(self.progress.next));
        self.staged.progress = true;
        self.write()?;
        Ok(())
    }

    /// Folds a slice of about `most` changes and writes it.
    pub(in crate::store::sled) fn fold(&mut self, most: usize) -> Result<(), Fault> {
        let mut folded: BTreeMap<u64, FoldedWriter> = BTreeMap::new();
        let (mut taken, mut changes, mut bytes) = (vec![], 0, 0);
        for group in self.groups.keys().copied().take_while(|group| *group <= self.fold_to) {
            let key = keys::group(group);
            let (head, body) =
                self.staged.view.parts(&key)?.ok_or(Fault::Damaged("a group of changes is missing"))?;
            if !taken.is_empty() && bytes + body.len() > SLICE_BYTES {
                break;
            }
            for change in change::grouped(&head, &body)? {
                folded
                    .entry(block_of(change.number))
                    .or_default()
                    .add(place_of(change.number), change.change);
                self.unfolded.remove(&(change.number, group));
                changes += 1;
            }
            bytes += body.len();
            taken.push(group);
            if changes >= most {
                break;
            }
        }
        let Some(last) = taken.last().copied() else { return Ok(()) };
        for (block, parts) in folded {
            // A block is missing when all of its deliveries were purged; its changes are dropped.
            if self.have_block(block)? {
                self.add_folded(block, last, parts)?;
                self.staged.blocks.insert(block);
            }
        }
        for group in taken {
            self.staged.view.remove(&keys::group(group))?;
            self.groups.remove(&group);
        }
        self.staged.progress = true;
        self.write()?;
        if self.groups.is_empty() {
            self.outbox.keep_only(block_of(self.progress.next));
        }
        Ok(())
    }

    /// Adds changes to those of a block. When there are many parts already, the latest small ones become one with the
    /// new.
    fn add_folded(&mut self, block: u64, group: u64, new: FoldedWriter) -> Result<(), Fault> {
        let parts = self.disk.scan(&keys::all_folded_of(block), None).collect::<Result<Vec<_>, _>>()?;
        let mut from = parts.len();
        if parts.len() >= PARTS {
            let mut bytes = new.body.len();
            while let Some((_, sealed)) = from.checked_sub(1).and_then(|before| parts.get(before)) {
                bytes += sealed.len();
                if bytes > PARTS_BYTES || value::unsealed(sealed)?.chunks > 0 {
                    break;
                }
                from -= 1;
            }
        }
        let mut all = FoldedWriter::default();
        for (key, sealed) in parts.into_iter().skip(from) {
            let value = value::unseal(&key, &sealed)?;
            let key = Key::from(key);
            all.add_all(value.head, &self.staged.view.body(&key, value)?);
            self.staged.view.remove(&key)?;
        }
        all.add_all(&new.head, &new.body);
        self.staged.view.put_new(&keys::folded(block, group), &all.head, &all.body);
        Ok(())
    }

    /// Removes the changes of forgotten deliveries from those of a block.
    pub(super) fn thin_out(&mut self, block: u64) -> Result<(), Fault> {
        let Some(sums) = self.sums(block)?.map(std::borrow::Cow::into_owned) else { return Ok(()) };
        for item in self.disk.scan(&keys::all_folded_of(block), None) {
            let (key, sealed) = item?;
            let value = value::unseal(&key, &sealed)?;
            let key = Key::from(key);
            let body = self.staged.view.body(&key, value)?;
            let mut left = FoldedWriter::default();
            for (place, range) in change::folded(value.head).filter(|(place, _)| !sums.gone.contains(*place))
            {
                left.add(place, body.get(range).unwrap_or_default());
            }
            match left.head.len() {
                0 => self.staged.view.remove(&key)?,
                some if some < value.head.len() => {
                    self.staged.view.put_bytes(&key, &left.head, &left.body)?
                }
                _ => {}
            }
        }
        Ok(())
    }
}
