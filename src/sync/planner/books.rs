//! What the planner keeps about every call it knows: one byte.

use super::Slot;

/// Not known.
const UNKNOWN: u8 = u8::MAX;
/// Known, and found to be deleted.
const DELETED: u8 = u8::MAX - 1;

/// For each slot how many complete walks in a row did not show the call.
#[derive(Debug, Default)]
pub(super) struct Books {
    absences: Vec<u8>,
    present: u64,
}

impl Books {
    /// Calls that are in the list as far as is known: not deleted, and not missed by the last walk.
    pub fn present(&self) -> u64 {
        self.present
    }

    /// Slots from here on have never been seen.
    pub fn end(&self) -> Slot {
        Slot::try_from(self.absences.len()).unwrap_or(Slot::MAX)
    }

    /// The call is there.
    pub fn see(&mut self, slot: Slot) {
        let index = slot as usize;
        if index >= self.absences.len() {
            self.absences.resize(index + 1, UNKNOWN);
        }
        if self.absences[index] != 0 {
            self.absences[index] = 0;
            self.present += 1;
        }
    }

    /// A complete walk did not show the call. How often in a row that is.
    pub fn miss(&mut self, slot: Slot) -> u8 {
        let absences = &mut self.absences[slot as usize];
        if *absences == 0 {
            self.present -= 1;
        }
        if *absences < DELETED - 1 {
            *absences += 1;
        }
        *absences
    }

    /// How many complete walks in a row did not show the call; `None` when it is not known or deleted.
    pub fn absences(&self, slot: Slot) -> Option<u8> {
        self.absences.get(slot as usize).copied().filter(|absences| *absences < DELETED)
    }

    /// The call is gone for good.
    pub fn delete(&mut self, slot: Slot) {
        let index = slot as usize;
        if index >= self.absences.len() {
            self.absences.resize(index + 1, UNKNOWN);
        }
        if self.absences[index] == 0 {
            self.present -= 1;
        }
        self.absences[index] = DELETED;
    }

    /// Every call that is known and not deleted.
    pub fn known(&self) -> impl Iterator<Item = Slot> + '_ {
        (0..self.end()).filter(|slot| self.absences(*slot).is_some())
    }
}
