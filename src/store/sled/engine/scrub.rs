//! The search for damage: while nothing else is to be done, all values are compared with their checksums.

use super::Engine;
use crate::store::sled::{fault::Fault, keys::Key, value};

/// The number of values in one slice.
const SLICE: usize = 200;

/// The progress of a pass.
pub(super) struct Scrub {
    /// The last key that was compared; `None` at the beginning.
    after: Option<Key>,
    is_done: bool,
}

impl Scrub {
    /// A search whose first pass begins at once, unless the store was closed in good order.
    pub(super) fn new(was_clean: bool) -> Self {
        Self { after: None, is_done: was_clean }
    }
}

impl Engine {
    /// Begins a pass, unless one is under way.
    pub(in crate::store::sled) fn begin_scrub(&mut self) {
        self.scrub.is_done = false;
    }

    /// Whether a pass is under way.
    pub(in crate::store::sled) fn is_scrubbing(&self) -> bool {
        !self.scrub.is_done
    }

    /// Compares some values with their checksums; fails with the first that does not match.
    pub(in crate::store::sled) fn scrub(&mut self) -> Result<(), Fault> {
        for item in self.disk.scan(&Key::default(), self.scrub.after.take().as_ref()).take(SLICE) {
            let (key, sealed) = item?;
            value::unseal(&key, &sealed)?;
            self.scrub.after = Some(Key::from(key));
        }
        self.scrub.is_done = self.scrub.after.is_none();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::{
        Commit, Duty,
        sled::{disk::Disk, keys, tree},
    };

    #[test]
    fn a_pass_finds_a_flipped_bit_and_ends_when_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let (db, file) = tree::open(folder.path(), 1 << 20).unwrap();
        let disk = Disk::start(db.clone(), file, None).unwrap();
        let mut engine = Engine::start(disk, Arc::default()).unwrap();
        let claim = engine.claims().take(&Duty::Upkeep);
        engine.commit(&claim, &mut Commit { checkpoint: Some(1.into()), ..Commit::default() }).unwrap();
        engine.write().unwrap();
        engine.begin_scrub();
        while engine.is_scrubbing() {
            engine.scrub().unwrap();
        }
        let key = keys::checkpoint(&Duty::Upkeep);
        let mut sealed = db.get(&key).unwrap().unwrap().to_vec();
        sealed[1] ^= 1;
        db.insert(&key, sealed).unwrap();
        engine.begin_scrub();
        let found = std::iter::repeat_with(|| engine.scrub()).take(9).find(Result::is_err);
        assert!(matches!(found, Some(Err(Fault::Damaged(_)))));
    }
}
