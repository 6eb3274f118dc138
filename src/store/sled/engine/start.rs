//! Opening the store: reads which deliveries are unfinished, but neither events nor finished deliveries.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

use super::{Engine, Staged, scrub::Scrub};
use crate::store::{
    arrivals::Arrivals,
    forgotten::Forgotten,
    sled::{
        block::{Progress, StoredBlock},
        change::{self, Change},
        claims::Claims,
        disk::Disk,
        entry::{Entry, Names},
        fault::Fault,
        keys::{self, Key, block_of, numbers_of, place_of},
        outbox::Outbox,
        value,
    },
};

pub(super) const BAD_KEY: Fault = Fault::Damaged("a key cannot be read");

impl Engine {
    /// Reads into memory all that the engine needs.
    pub(in crate::store::sled) fn start(disk: Disk, arrivals: Arc<Arrivals>) -> Result<Self, Fault> {
        let view = disk.view();
        let was_clean = disk.was_clean();
        let mut engine = Self {
            staged: Staged::new(disk.view()),
            disk,
            progress: Progress::default(),
            outbox: Outbox::default(),
            pauses: BTreeMap::new(),
            groups: BTreeMap::new(),
            unfolded: BTreeSet::new(),
            fold_to: 0,
            claims: Claims::default(),
            names: Names::default(),
            scrub: Scrub::new(was_clean),
            forgotten: Forgotten::default(),
            dump: None,
            arrivals,
            arrived: BTreeSet::new(),
        };
        if let Some(bytes) = view.bytes(&keys::progress())? {
            engine.progress = value::from_compact(&bytes)?;
        }
        let (through, covered) = engine.read_blocks()?;
        engine.read_heads(covered)?;
        engine.read_groups(&through)?;
        for item in engine.disk.scan(&keys::pauses(), None) {
            let (key, sealed) = item?;
            let destination = keys::paused(&key).ok_or(BAD_KEY)?;
            let pause = view.read(&Key::from(key), &sealed)?;
            engine.pauses.insert(destination, pause);
        }
        Ok(engine)
    }

    /// Reads all blocks; returns the last group that each takes into account, and the first number that none covers.
    fn read_blocks(&mut self) -> Result<(BTreeMap<u64, u64>, u64), Fault> {
        let view = self.disk.view();
        let mut through = BTreeMap::new();
        let mut covered = 1;
        for item in self.disk.scan(&keys::all_blocks(), None) {
            let (key, sealed) = item?;
            let block = keys::last_number(&key).ok_or(BAD_KEY)?;
            let key = Key::from(key);
            let body = view.body(&key, value::unseal(key.as_ref(), &sealed)?)?;
            let stored: StoredBlock = value::from_compact(&body)?;
            self.progress.group = self.progress.group.max(stored.through + 1);
            through.insert(block, stored.through);
            covered = stored.end;
            debug_assert_eq!(
                stored.counted(),
                stored.numbers(block),
                "each delivery of block {block} counts once"
            );
            let sums = self.outbox.load(block, stored);
            // Deliveries are still added to the last block, which is therefore always at hand.
            if block == block_of(covered) {
                self.outbox.keep_block(block, sums);
            }
        }
        Ok((through, covered))
    }

    /// Reads the heads that no block covers.
    fn read_heads(&mut self, covered: u64) -> Result<(), Fault> {
        let view = self.disk.view();
        let mut next = covered;
        for item in self.disk.scan_from(&keys::all_heads(), &keys::heads(covered)) {
            let (key, sealed) = item?;
            let entry = Entry::open(&view, &key, &sealed)?;
            self.gone(next..entry.first)?;
            for (number, head) in entry.heads() {
                self.outbox.begin_block(block_of(number));
                self.outbox.add_head(number, &head?)?;
                next = number + 1;
            }
        }
        // The gap that removed entries leave.
        self.gone(next..self.progress.next)?;
        self.progress.next = self.progress.next.max(next);
        self.outbox.begin_block(block_of(self.progress.next));
        Ok(())
    }

    /// Notes that there are no deliveries of these numbers, which no block covers, in the blocks where the gap begins and
    /// ends. A block between them has no delivery at all and does not exist.
    fn gone(&mut self, numbers: Range<u64>) -> Result<(), Fault> {
        // The numbers that stand in `progress` may be far behind the heads: then there is no gap.
        if numbers.is_empty() {
            return Ok(());
        }
        let (begins, ends) = (block_of(numbers.start), block_of(numbers.end));
        self.outbox.begin_block(ends);
        for block in BTreeSet::from([begins, ends]) {
            if self.outbox.block(block).is_some() {
                let of = numbers_of(block);
                let gone = &mut self.outbox.block_mut(block)?.gone;
                for number in numbers.start.max(of.start)..numbers.end.min(of.end) {
                    gone.insert(place_of(number));
                }
            }
        }
        Ok(())
    }

    /// Carries out the changes that are not in their blocks yet.
    fn read_groups(&mut self, through: &BTreeMap<u64, u64>) -> Result<(), Fault> {
        let view = self.disk.view();
        for item in self.disk.scan(&keys::all_groups(), None) {
            let (key, sealed) = item?;
            let group = keys::last_number(&key).ok_or(BAD_KEY)?;
            let key = Key::from(key);
            let value = value::unseal(key.as_ref(), &sealed)?;
            let body = view.body(&key, value)?;
            let changes = change::grouped(value.head, &body)?;
            for change in &changes {
                let block = block_of(change.number);
                self.unfolded.insert((change.number, group));
                let is_taken = through.get(&block).is_some_and(|through| *through >= group);
                if !is_taken && self.have_block(block)? {
                    let destination = self.names.get(change.destination);
                    self.outbox.carry_out(change.number, &destination, &Change::read(change.change)?)?;
                }
            }
            self.groups.insert(group, changes.len());
            self.progress.group = self.progress.group.max(group + 1);
        }
        Ok(())
    }
}
