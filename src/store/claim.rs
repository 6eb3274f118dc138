//! Duties, and the claims that say which process works on them.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::name::Name;

/// A piece of work that exactly one task may do at a time, among all processes that share a store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Duty {
    /// Poll a source and commit what is observed.
    Source(Name),
    /// Deliver to a destination.
    Destination(Name),
    /// Purge, shrink and back up.
    Upkeep,
}

impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(name) => write!(f, "source {name}"),
            Self::Destination(name) => write!(f, "destination {name}"),
            Self::Upkeep => f.write_str("upkeep of the store"),
        }
    }
}

/// The right to work on a duty. Every write of the work carries it.
///
/// The epoch fences: it grows each time a duty changes hands, and a write that carries an older one changes nothing and
/// fails with [`StoreError::ClaimLost`](super::StoreError::ClaimLost). So a process that was stopped for an hour and
/// goes on can neither overwrite nor settle anything, whatever its clock says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The duty that the holder may work on.
    pub duty: Duty,
    /// Counts the owners that the duty has had: a later owner has a greater number.
    pub epoch: u64,
    /// How long the claim holds unless it is renewed, counted from the call of
    /// [`Store::claim`](super::Store::claim); `None` when nobody else could take it.
    pub lease: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duty_is_named_for_people() {
        let duties = [Duty::Source("clinic".into()), Duty::Destination("desk".into()), Duty::Upkeep];
        let names = duties.map(|duty| duty.to_string());
        assert_eq!(names, ["source clinic", "destination desk", "upkeep of the store"]);
    }
}
