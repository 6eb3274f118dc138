//! Forgetting what was finished long ago, and making room for what was forgotten.

use super::Engine;
use crate::{
    name::Name,
    store::{
        Claim,
        sled::{
            entry::Entry,
            fault::Fault,
            keys::{self, Key, block_of, numbers_of, place_of},
            value,
        },
    },
    time::Timestamp,
};

/// The most deliveries that are forgotten in one write.
const STEP: usize = 500;

/// The most blocks, or memos, that one step looks at.
const LOOKS: usize = 200;

/// The progress of a purge.
pub(in crate::store::sled) struct Purged {
    /// How many deliveries were forgotten.
    pub(in crate::store::sled) deliveries: usize,
    /// Where the purge goes on; `None` at the end.
    pub(in crate::store::sled) next: Option<PurgeFrom>,
}

/// The place where a purge goes on.
#[derive(Clone)]
pub(in crate::store::sled) enum PurgeFrom {
    /// Memos after this key.
    Memo(Option<Key>),
    /// Deliveries of this block and later ones.
    Block(u64),
}

impl Engine {
    /// Forgets some of the deliveries and memos from before `before`.
    pub(in crate::store::sled) fn purge(
        &mut self,
        claim: &Claim,
        before: Timestamp,
        limit: usize,
        from: PurgeFrom,
    ) -> Result<Purged, Fault> {
        self.claims.check(claim)?;
        let mut block = match from {
            PurgeFrom::Memo(after) => {
                let next = self
                    .purge_memos(before, after)?
                    .map_or(PurgeFrom::Block(0), |key| PurgeFrom::Memo(Some(key)));
                return Ok(Purged { deliveries: 0, next: Some(next) });
            }
            PurgeFrom::Block(block) => block,
        };
        for _ in 0..LOOKS {
            let Some(next) = self.block_at_or_after(block)? else {
                return Ok(Purged { deliveries: 0, next: None });
            };
            let (deliveries, is_done) = self.purge_block(next, before, limit.min(STEP))?;
            block = next + u64::from(is_done);
            if deliveries > 0 {
                return Ok(Purged { deliveries, next: Some(PurgeFrom::Block(block)) });
            }
        }
        Ok(Purged { deliveries: 0, next: Some(PurgeFrom::Block(block)) })
    }

    /// Forgets memos that were not written since `before`; returns where to go on.
    fn purge_memos(&mut self, before: Timestamp, after: Option<Key>) -> Result<Option<Key>, Fault> {
        let mut last = None;
        for (looks, item) in self.disk.scan(&keys::all_memos(), after.as_ref()).enumerate() {
            let key = Key::from(item?.0);
            // Read through what is staged: it may have been written again.
            if let Some(sealed) = self.staged.view.sealed(key.as_ref())? {
                let written = value::unseal(key.as_ref(), &sealed)?.head.first_chunk();
                let written = written.ok_or(Fault::Damaged("a memo cannot be read"))?;
                if i64::from_le_bytes(*written) < before.as_millis() {
                    self.staged.view.remove(&key)?;
                }
            }
            if looks == LOOKS {
                last = Some(key);
                break;
            }
        }
        Ok(last)
    }

    fn block_at_or_after(&self, block: u64) -> Result<Option<u64>, Fault> {
        let at_hand = self.outbox.blocks().find(|at_hand| *at_hand >= block);
        let stored = self.disk.scan_from(&keys::all_blocks(), &keys::block(block)).next().transpose()?;
        let stored = stored.and_then(|(key, _)| keys::last_number(&key));
        Ok(at_hand.into_iter().chain(stored).min())
    }

    /// Forgets deliveries of a block; returns how many, and whether that was all.
    fn purge_block(&mut self, block: u64, before: Timestamp, most: usize) -> Result<(usize, bool), Fault> {
        let Some(sums) = self.sums(block)? else { return Ok((0, true)) };
        let is_newest = block == block_of(self.progress.next);
        let is_empty = sums.tallies.is_empty() && !is_newest;
        if !is_empty && sums.oldest.is_none_or(|oldest| oldest >= before) {
            return Ok((0, true));
        }
        let gone = sums.gone.clone();
        self.have_block(block)?;
        let changes = self.changes(block, |place| !gone.contains(place))?;
        let (mut count, mut is_done, mut oldest) = (0, true, None);
        for item in self.disk.scan_from(&keys::all_heads(), &keys::heads(numbers_of(block).start)) {
            let (key, sealed) = item?;
            let entry = Entry::open(&self.staged.view, &key, &sealed)?;
            if block_of(entry.first) != block {
                break;
            }
            let mut is_touched = is_empty;
            for (number, head) in entry.heads() {
                let head = head?;
                let destination: Name = self.names.get(head.destination);
                if gone.contains(place_of(number)) || self.standing(&destination, number).is_some() {
                    continue;
                }
                let record = changes.record(head.record(number, &self.names)?)?;
                let Some((record, at)) = record.and_then(|record| record.finished().map(|at| (record, at)))
                else {
                    continue;
                };
                if at >= before {
                    oldest = Some(oldest.map_or(at, |oldest: Timestamp| oldest.min(at)));
                } else if count == most {
                    is_done = false;
                    break;
                } else {
                    self.outbox.purge(number, &destination, record.state.kind())?;
                    (count, is_touched) = (count + 1, true);
                }
            }
            if is_touched {
                self.remove_if_gone(&entry)?;
            }
            if !is_done {
                break;
            }
        }
        if is_done {
            self.outbox.block_mut(block)?.oldest = oldest;
        }
        let is_empty = self.outbox.block(block).is_some_and(|sums| sums.tallies.is_empty()) && !is_newest;
        if is_done && is_empty {
            self.remove_block(block)?;
        } else {
            self.staged.blocks.insert(block);
            if is_done && count > 0 {
                self.thin_out(block)?;
            }
        }
        Ok((count, is_done))
    }

    fn remove_block(&mut self, block: u64) -> Result<(), Fault> {
        for item in self.disk.scan(&keys::all_folded_of(block), None) {
            self.staged.view.remove(&Key::from(item?.0))?;
        }
        self.staged.view.remove(&keys::block(block))?;
        self.staged.blocks.remove(&block);
        self.staged.progress = true;
        self.outbox.drop_block(block);
        Ok(())
    }

    /// Removes the entry of a delivery that was forgotten, if no other of its deliveries is left.
    pub(super) fn tidy_entry(&mut self, number: u64) -> Result<(), Fault> {
        match Entry::of(&self.staged.view, number)? {
            Some(entry) => self.remove_if_gone(&entry),
            None => Ok(()),
        }
    }

    /// Removes an entry of which no delivery is left.
    pub(super) fn remove_if_gone(&mut self, entry: &Entry) -> Result<(), Fault> {
        let gone = self.outbox.block(block_of(entry.first)).map(|sums| &sums.gone);
        if !gone.is_some_and(|gone| (entry.first..entry.end()).all(|number| gone.contains(place_of(number))))
        {
            return Ok(());
        }
        let mut last = String::new();
        for (_, head) in entry.heads() {
            let event = head?.event;
            if last != event {
                self.unlist(event, entry)?;
                event.clone_into(&mut last);
            }
        }
        self.staged.view.remove(&keys::heads(entry.first))?;
        self.staged.view.remove(&keys::events(entry.first))?;
        // Its numbers must not be given to other deliveries.
        self.staged.progress = true;
        Ok(())
    }

    /// Removes an entry's deliveries from the index.
    fn unlist(&mut self, event: &str, entry: &Entry) -> Result<(), Fault> {
        let key = keys::index(event);
        let numbers = self.staged.view.bytes(&key)?.unwrap_or_default();
        let is_other = |bytes: &&[u8]| {
            bytes.first_chunk().is_none_or(|bytes| !entry.contains(u64::from_le_bytes(*bytes)))
        };
        let left: Vec<u8> = numbers.chunks_exact(8).filter(is_other).flatten().copied().collect();
        match left.len() {
            0 => self.staged.view.remove(&key),
            _ => self.staged.view.put_bytes(&key, &[], &left),
        }
    }
}
