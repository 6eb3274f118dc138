//! Whether a source is well: whether it answers, whether its answers make sense, and when to report that they do not.

use std::{collections::BTreeMap, time::Duration};

use super::Now;
use crate::{callem::FetchError, time::Timestamp};

/// Something about a source's answers that is wrong although it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Many calls are missing from the list at once.
    Missing,
    /// More calls appear than there can be.
    Flood,
    /// As many calls are remembered as `max_calls` allows.
    Full,
}

impl Standing {
    /// A word for it, for the details of `source.failing`.
    const fn cause(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Flood => "flood",
            Self::Full => "full",
        }
    }

    /// The words for its end.
    pub(super) const fn relief(self) -> &'static str {
        match self {
            Self::Missing => "the list of calls is whole again",
            Self::Flood => "calls appear at a likely rate again",
            Self::Full => "new calls are watched again",
        }
    }
}

/// The outages of a source. Lost with the process: after a restart it has to fail anew for `failing_after`.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Failed requests in a row.
    failures: u32,
    outage: Option<Outage>,
    standing: BTreeMap<Standing, Outage>,
}

#[derive(Debug)]
pub(super) struct Outage {
    /// When it began, by the wall clock.
    pub(super) since: Timestamp,
    /// The same by the steady clock.
    pub(super) began: Timestamp,
    /// When it has lasted for `failing_after`, by the steady clock.
    failing_at: Timestamp,
    pub(super) why: Why,
}

/// Why a source is failing.
#[derive(Debug)]
pub(super) struct Why {
    /// In a word, from [`FetchError::cause`] or [`Standing`].
    pub(super) cause: &'static str,
    /// The latest error.
    pub(super) error: String,
}

impl Outage {
    fn new(why: Why, failing_after: Duration, now: Now) -> Self {
        Self { since: now.wall, began: now.steady, failing_at: now.steady.after(failing_after), why }
    }
}

impl Health {
    /// A request failed. Returns how many have failed in a row.
    pub(super) fn failed(&mut self, error: &FetchError, failing_after: Duration, now: Now) -> u32 {
        self.failures = self.failures.saturating_add(1);
        let why = Why { cause: error.cause(), error: error.to_string() };
        match &mut self.outage {
            Some(outage) => outage.why = why,
            None => self.outage = Some(Outage::new(why, failing_after, now)),
        }
        self.failures
    }

    /// A request was answered. Returns how many had failed in a row before it, and for how long; `None` when none had.
    pub(super) fn answered(&mut self, steady: Timestamp) -> Option<(u32, Duration)> {
        let outage = self.outage.take()?;
        Some((std::mem::take(&mut self.failures), steady.since(outage.began)))
    }

    /// The answers are wrong in this way. Returns whether they were not before.
    pub(super) fn troubled(
        &mut self,
        standing: Standing,
        error: String,
        failing_after: Duration,
        now: Now,
    ) -> bool {
        let why = Why { cause: standing.cause(), error };
        match self.standing.get_mut(&standing) {
            Some(outage) => outage.why = why,
            None => {
                self.standing.insert(standing, Outage::new(why, failing_after, now));
                return true;
            }
        }
        false
    }

    /// The answers are no longer wrong in this way. Returns whether they were.
    pub(super) fn relieved(&mut self, standing: Standing) -> bool {
        self.standing.remove(&standing).is_some()
    }

    /// Whether nothing is wrong with the answers.
    pub(super) fn makes_sense(&self) -> bool {
        self.standing.is_empty()
    }

    /// When it has to be reported that the source does not answer, by the steady clock; `None` while it answers.
    pub(super) fn outage_at(&self) -> Option<Timestamp> {
        self.outage.as_ref().map(|outage| outage.failing_at)
    }

    /// When it has to be reported that the answers are wrong, by the steady clock; `None` while they are not.
    pub(super) fn wrong_at(&self) -> Option<Timestamp> {
        self.standing.values().map(|outage| outage.failing_at).min()
    }

    /// Why and since when the source has not answered, if that has lasted for `failing_after`.
    pub(super) fn outage(&self, steady: Timestamp) -> Option<&Outage> {
        self.outage.iter().find(|outage| outage.failing_at <= steady)
    }

    /// In which way and since when the answers have been wrong, if that has lasted for `failing_after`.
    pub(super) fn wrong(&self, steady: Timestamp) -> Option<&Outage> {
        self.standing.values().find(|outage| outage.failing_at <= steady)
    }
}
