//! Who is to be woken when there is something new to deliver.

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
    /// The destination's.
    pub(super) fn of(&self, destination: &Name) -> Arc<Notify> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(destination.clone()).or_default())
    }

    /// Wakes whoever waits for the destination, or the next who will.
    pub(super) fn wake(&self, destination: &Name) {
        self.of(destination).notify_one();
    }
}
