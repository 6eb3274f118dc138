//! Looking, when there is nothing else to do, whether everything in the tree is still what was written.

use super::Engine;
use crate::store::sled::{fault::Fault, keys::Key, value};

/// How many values a slice looks at.
const SLICE: usize = 200;

/// How far a pass has come.
pub(super) struct Scrub {
    /// After this key; `None` at the beginning.
    after: Option<Key>,
    is_done: bool,
}

impl Scrub {
    /// A pass begins at once, unless the store was closed in good order.
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
