//! A store's figures, for monitoring.

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// A store's figures since the process began. All clones show the same times.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Seconds from the asking for a commit to its being durable.
    pub commits: Histogram,
    /// Seconds that making something durable took.
    pub syncs: Histogram,
    /// Bytes that the store takes on disk; 0 when it is not on a disk of this machine.
    pub bytes: u64,
}

impl Default for Figures {
    fn default() -> Self {
        Self { commits: seconds(), syncs: seconds(), bytes: 0 }
    }
}

/// No times yet, with buckets from a fast disk to one that nearly hangs: 0.5 ms to 16 s.
pub(super) fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 16))
}
