//! Points in the store's work on disk at which a test can look on, let the step fail, or end the process.
//!
//! Nothing is watched unless a test has asked for it, once per process.

use std::{io, sync::OnceLock};

/// A step that is about to be done or, for [`Step::Synced`], was just done.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Before a batch is handed to sled.
    Write,
    /// Before sled hands what it has to the system.
    Flush,
    /// Before the system is made to write its file to the disk.
    Sync,
    /// After the sync: what was written before survives a power cut.
    Synced,
    /// Before the count of writes is noted beside the tree.
    Witness,
    /// Before a piece of a backup is written.
    Archive,
    /// Before a file or a folder gets another name.
    Rename,
    /// Before a file or a folder is removed.
    Remove,
}

/// Called at each step; an error makes the step fail instead of being done.
#[doc(hidden)]
pub type Probe = Box<dyn Fn(Step) -> io::Result<()> + Send + Sync>;

static PROBE: OnceLock<Probe> = OnceLock::new();

/// Calls `probe` at every step of all stores of this process from now on. Only the first call has an effect; returns
/// whether this was it. For tests of what a crash leaves behind.
#[doc(hidden)]
pub fn watch_steps(probe: Probe) -> bool {
    PROBE.set(probe).is_ok()
}

/// Calls the probe, if a test has set one.
pub(super) fn at(step: Step) -> io::Result<()> {
    PROBE.get().map_or(Ok(()), |probe| probe(step))
}
