//! Wake-ups for the owners of destinations, when their feeds may have something new.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::name::Name;

/// One [`Notify`] per destination that was ever asked for.
#[derive(Debug, Default)]
pub(super) struct Arrivals(Mutex<BTreeMap<Name, Arc<Notify>>>);

impl Arrivals {
    /// The destination's [`Notify`], made when it is first asked for.
    pub(super) fn of(&self, destination: &Name) -> Arc<Notify> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(destination.clone()).or_default())
    }

    /// The destinations that were asked for.
    pub(super) fn names(&self) -> Vec<Name> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Wakes the task that waits for the destination; when none does, the next one to wait is woken at once.
    pub(super) fn wake(&self, destination: &Name) {
        self.of(destination).notify_one();
    }
}
