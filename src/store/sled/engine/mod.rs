//! The store's work, on the one thread that holds the tree.
//!
//! Changes are staged: carried out in memory and prepared as writes. [`Engine::write`] then writes all that is staged
//! at once, and [`Engine::sync`] makes it durable. After an error in between, memory and tree differ, so the engine
//! ends.

mod commit;
mod feed;
mod fold;
mod forget;
mod purge;
mod query;
mod remember;
mod scrub;
mod settle;
mod start;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use prometheus_client::metrics::histogram::Histogram;

pub(super) use self::purge::{PurgeFrom, Purged};
use self::scrub::Scrub;
use super::{
    block::{Progress, StoredBlock, Sums},
    change::{Change, GroupWriter},
    claims::Claims,
    disk::Disk,
    dump::{Dump, Piece},
    entry::{EntryWriter, Names},
    fault::Fault,
    keys::{self, block_of, numbers_of},
    outbox::Outbox,
    overlay::Overlay,
    value,
};
use crate::{
    event::EventId,
    name::Name,
    store::{Claim, Duty, Pause, arrivals::Arrivals, forgotten::Forgotten},
};

/// The tree, and the part of the store that is kept in memory.
pub(super) struct Engine {
    disk: Disk,
    progress: Progress,
    outbox: Outbox,
    pauses: BTreeMap<Name, Pause>,
    /// Groups that are not folded yet, with the number of changes in each.
    groups: BTreeMap<u64, usize>,
    /// The delivery and the group of each change in those groups.
    unfolded: BTreeSet<(u64, u64)>,
    /// The last group to be folded now.
    fold_to: u64,
    claims: Claims,
    names: Names,
    staged: Staged,
    scrub: Scrub,
    /// Calls that were forgotten since the store was opened: what was prepared before that must not bring them back.
    forgotten: Forgotten,
    /// The copy that is being taken, if there is one.
    dump: Option<Dump>,
    arrivals: Arc<Arrivals>,
    /// Destinations whose feeds have news that is not synced yet.
    arrived: BTreeSet<Name>,
}

/// Writes that are prepared and not written yet.
struct Staged {
    view: Overlay,
    /// The entry that new deliveries go into, with the number of its first.
    entry: Option<(u64, EntryWriter)>,
    /// The deliveries of each new event.
    ids: HashMap<EventId, Vec<(Name, u64)>>,
    group: GroupWriter,
    /// The deliveries the group changes.
    changed: Vec<u64>,
    /// Blocks to be written as they are when everything else is staged.
    blocks: BTreeSet<u64>,
    /// Whether the next numbers must be written.
    progress: bool,
    /// Whether the staged writes must be durable before they are acknowledged.
    durable: bool,
}

impl Staged {
    fn new(view: Overlay) -> Self {
        Self {
            view,
            entry: None,
            ids: HashMap::new(),
            group: GroupWriter::default(),
            changed: vec![],
            blocks: BTreeSet::new(),
            progress: false,
            durable: false,
        }
    }
}

/// The most bytes of changes in one group of jobs, so that it stays one batch.
const GROUP_BYTES: usize = 384 << 10;

/// The most keys in one group of jobs, so that it stays one batch.
const GROUP_KEYS: usize = 1500;

impl Engine {
    /// The claims on duties.
    pub(super) fn claims(&mut self) -> &mut Claims {
        &mut self.claims
    }

    /// Ends a claim.
    pub(super) fn give_up(&mut self, claim: &Claim) {
        if self.claims.give_up(claim)
            && let Duty::Destination(destination) = &claim.duty
        {
            self.outbox.of(destination).acts.end();
        }
    }

    /// Whether so much is staged that other jobs should wait for the next write.
    pub(super) fn is_full(&self) -> bool {
        let (keys, bytes) = self.staged.view.size();
        let entry = self.staged.entry.as_ref().map_or(0, |(_, entry)| entry.bytes());
        keys >= GROUP_KEYS || bytes + entry + self.staged.group.bytes() >= GROUP_BYTES
    }

    /// Writes all that is staged; returns whether it must be durable before it is acknowledged.
    pub(super) fn write(&mut self) -> Result<bool, Fault> {
        self.close_entry()?;
        let view = Overlay::new(self.disk.tree());
        let mut staged = std::mem::replace(&mut self.staged, Staged::new(view));
        if staged.group.len() > 0 {
            let group = self.progress.group;
            let (head, body) = staged.group.parts()?;
            staged.view.put_new(&keys::group(group), &head, body);
            self.progress.group += 1;
            self.groups.insert(group, staged.group.len());
            self.unfolded.extend(staged.changed.iter().map(|number| (*number, group)));
        }
        let through = self.progress.group - 1;
        for block in &staged.blocks {
            self.put_block(&mut staged.view, *block, through)?;
        }
        if staged.progress {
            staged.view.put_bytes(&keys::progress(), &[], &value::to_compact(&self.progress)?)?;
        }
        let writes = staged.view.into_writes();
        if let Some(dump) = &mut self.dump {
            dump.note(writes.keys());
        }
        self.dump.take_if(|dump| !dump.is_wanted());
        self.disk.write(writes)?;
        for block in staged.blocks {
            self.drop_block(block);
        }
        Ok(staged.durable)
    }

    /// Makes what was written durable, and wakes the owners of destinations that have news.
    pub(super) fn sync(&mut self) -> Result<(), Fault> {
        self.disk.sync()?;
        self.wake();
        Ok(())
    }

    /// Hands what was written to the system, where it survives a kill but no power cut.
    pub(super) fn flush(&mut self) -> Result<(), Fault> {
        self.disk.flush()?;
        self.wake();
        Ok(())
    }

    /// How long syncs took, and how many bytes the store takes.
    pub(super) fn figures(&self) -> Result<(Histogram, u64), Fault> {
        self.disk.figures()
    }

    /// Whether something was written since the last sync.
    pub(super) fn is_dirty(&self) -> bool {
        self.disk.is_dirty()
    }

    fn wake(&mut self) {
        std::mem::take(&mut self.arrived).iter().for_each(|destination| self.arrivals.wake(destination));
    }

    /// Begins to take a copy, which is given up when the returned value is dropped. `None` while another is being
    /// taken.
    pub(super) fn begin_dump(&mut self) -> Option<Arc<()>> {
        if self.dump.as_ref().is_some_and(Dump::is_wanted) {
            return None;
        }
        let (dump, taker) = Dump::begin();
        self.dump = Some(dump);
        Some(taker)
    }

    /// The next piece of the copy, and the count of writes that all pieces up to it amount to; `None` when more was written
    /// meanwhile than could be noted.
    pub(super) fn next_of_dump(&mut self, taker: &Arc<()>) -> Result<Option<(Piece, u64)>, Fault> {
        let Some(mut dump) = self.dump.take_if(|dump| dump.is_for(taker)) else { return Ok(None) };
        let piece = dump.next(&self.disk, &|from| self.outbox.unfinished_from(from))?;
        if !piece.is_last {
            self.dump = Some(dump);
        }
        Ok(Some((piece, self.disk.sequence())))
    }

    /// Writes all blocks at hand. A start needs that when entries were added to more than the newest block.
    pub(super) fn write_blocks(&mut self) -> Result<(), Fault> {
        self.staged.blocks.extend(self.outbox.blocks());
        self.write().map(drop)
    }

    /// How many deliveries are not finished.
    pub(super) fn unfinished(&self) -> u64 {
        self.outbox.destinations.values().map(|of| of.tally.unfinished()).sum()
    }

    /// Closes the store in good order.
    pub(super) fn finish(mut self) -> Result<(), Fault> {
        self.fold_all()?;
        self.disk.finish()
    }

    /// Ends the staged entry, so that its deliveries can be read.
    fn close_entry(&mut self) -> Result<(), Fault> {
        if let Some((first, entry)) = self.staged.entry.take() {
            let view = &mut self.staged.view;
            let (head, body) = entry.heads();
            view.put_new(&keys::heads(first), head, body);
            let (head, body) = entry.events();
            view.put_new(&keys::events(first), &head, body);
        }
        Ok(())
    }

    /// Applies a change in memory and stages it; returns false and does nothing when the delivery is not in a state for it.
    fn change(&mut self, number: u64, destination: &Name, change: &Change<'_>) -> Result<bool, Fault> {
        self.have_block(block_of(number))?;
        let done = self.outbox.carry_out(number, destination, change)?;
        if done {
            self.staged.group.add(number, destination.as_str(), change)?;
            self.staged.changed.push(number);
        }
        Ok(done)
    }

    /// Reads a block into memory unless it is there; returns whether the block exists.
    fn have_block(&mut self, block: u64) -> Result<bool, Fault> {
        if self.outbox.block(block).is_some() {
            return Ok(true);
        }
        let stored = self.read_block(block)?;
        let found = stored.is_some();
        if let Some(stored) = stored {
            self.outbox.keep_block(block, stored.sums);
        }
        Ok(found)
    }

    /// A block as it stands on disk.
    fn read_block(&self, block: u64) -> Result<Option<StoredBlock>, Fault> {
        let bytes = self.staged.view.bytes(&keys::block(block))?;
        bytes.map(|bytes| value::from_compact(&bytes)).transpose()
    }

    /// The counts and traits of a block, from memory or from disk.
    fn sums(&self, block: u64) -> Result<Option<std::borrow::Cow<'_, Sums>>, Fault> {
        use std::borrow::Cow;
        match self.outbox.block(block) {
            Some(sums) => Ok(Some(Cow::Borrowed(sums))),
            None => Ok(self.read_block(block)?.map(|stored| Cow::Owned(stored.sums))),
        }
    }

    /// Stages a block as it is by now, if it is at hand.
    fn put_block(&self, view: &mut Overlay, block: u64, through: u64) -> Result<(), Fault> {
        let end = self.progress.next.min(numbers_of(block).end);
        if let Some(stored) = self.outbox.store(block, through, end) {
            view.put_bytes(&keys::block(block), &[], &value::to_compact(&stored)?)?;
        }
        Ok(())
    }

    /// Drops a written block from memory, unless deliveries are still added to it.
    fn drop_block(&mut self, block: u64) {
        if block != block_of(self.progress.next) {
            self.outbox.drop_block(block);
        }
    }

    /// Whether a delivery was forgotten or never existed.
    fn is_gone(&self, number: u64) -> Result<bool, Fault> {
        let sums = self.sums(block_of(number))?;
        Ok(number >= self.progress.next || sums.is_none_or(|sums| sums.gone.contains(keys::place_of(number))))
    }
}
