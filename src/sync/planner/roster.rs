//! Which calls are in the list, as far as the planner knows: one byte per call.

use super::{Missing, Slot};

/// A slot that was never seen.
const UNKNOWN: u8 = u8::MAX;
/// A call that was found to be deleted.
const DELETED: u8 = u8::MAX - 1;

/// For each slot, how many complete walks in a row did not show the call.
#[derive(Debug, Default)]
pub(super) struct Roster {
    absences: Vec<u8>,
    present: u64,
    missing: u64,
}

impl Roster {
    /// How many calls are in the list as far as is known: neither deleted nor missed by the last walk.
    pub fn present(&self) -> u64 {
        self.present
    }

    /// How many of the calls that are not deleted are missing: complete walks did not show them, and no answer has
    /// since.
    pub fn missing(&self) -> Missing {
        Missing { calls: self.missing, known: self.present + self.missing }
    }

    /// The first slot that was never seen, and neither was any after it.
    pub fn end(&self) -> Slot {
        Slot::try_from(self.absences.len()).unwrap_or(Slot::MAX)
    }

    /// An answer showed the call.
    pub fn see(&mut self, slot: Slot) {
        let index = slot as usize;
        if index >= self.absences.len() {
            self.absences.resize(index + 1, UNKNOWN);
        }
        match self.absences(slot) {
            Some(0) => return,
            Some(_) => self.missing -= 1,
            None => {}
        }
        self.absences[index] = 0;
        self.present += 1;
    }

    /// A complete walk did not show the call. Returns how many in a row did not.
    pub fn miss(&mut self, slot: Slot) -> u8 {
        let absences = &mut self.absences[slot as usize];
        if *absences == 0 {
            self.present -= 1;
            self.missing += 1;
        }
        if *absences < DELETED - 1 {
            *absences += 1;
        }
        *absences
    }

    /// How many complete walks in a row did not show the call; `None` for a call that is unknown or deleted.
    pub fn absences(&self, slot: Slot) -> Option<u8> {
        self.absences.get(slot as usize).copied().filter(|absences| *absences < DELETED)
    }

    /// The call is gone for good.
    pub fn delete(&mut self, slot: Slot) {
        let index = slot as usize;
        if index >= self.absences.len() {
            self.absences.resize(index + 1, UNKNOWN);
        }
        match self.absences(slot) {
            Some(0) => self.present -= 1,
            Some(_) => self.missing -= 1,
            None => {}
        }
        self.absences[index] = DELETED;
    }

    /// Every call that is known and not deleted.
    pub fn known(&self) -> impl Iterator<Item = Slot> + '_ {
        (0..self.end()).filter(|slot| self.absences(*slot).is_some())
    }
}
