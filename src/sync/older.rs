//! States of calls that look older than what is remembered, and how long the API has said nothing else. Pure.
//!
//! A replica or a cache that lags gives an older state now and then, and others in between. When a clock was set back, every
//! answer gives it: then it is the call's state.

use std::{collections::HashMap, time::Duration};

use super::planner::Slot;
use crate::{change::Stale, content::StateTag, time::Timestamp};

/// An older state counts when it is all that was said of the call for so long,
const STANDS: Duration = Duration::from_secs(60);
/// in so many looks.
const LOOKS: u32 = 3;

/// The most calls that are kept in mind.
const CALLS: usize = 10_000;
/// When there are as many, those that were not looked at for so long give their place to others.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// The older states that are shown of calls. Lost with the process: they then have to stand anew.
#[derive(Debug, Default)]
pub struct Older {
    calls: HashMap<Slot, Shown>,
}

#[derive(Debug)]
struct Shown {
    state: StateTag,
    since: Timestamp,
    last: Timestamp,
    looks: u32,
    is_told: bool,
}

/// The judgement on an older state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is ignored.
    Ignored,
    /// It is ignored although it is all that the API says: to be told once.
    Stands,
    /// It is the call's state.
    Believed,
}

impl Older {
    /// An answer showed this older state of a call.
    pub fn shown(&mut self, call: Slot, state: StateTag, stale: Stale, now: Timestamp) -> Verdict {
        if self.calls.len() >= CALLS && !self.calls.contains_key(&call) {
            self.calls.retain(|_, shown| now.since(shown.last) < FORGOTTEN);
            if self.calls.len() >= CALLS {
                return Verdict::Ignored;
            }
        }
        let anew = Shown { state, since: now, last: now, looks: 0, is_told: false };
        let shown = self.calls.entry(call).or_insert(anew);
        if shown.state != state {
            *shown = Shown { state, since: now, looks: 0, ..*shown };
        }
        shown.last = now;
        shown.looks = shown.looks.saturating_add(1);
        if shown.looks < LOOKS || now.since(shown.since) < STANDS {
            return Verdict::Ignored;
        }
        match stale {
            Stale::Older => {
                self.calls.remove(&call);
                Verdict::Believed
            }
            Stale::Undone if std::mem::replace(&mut shown.is_told, true) => Verdict::Ignored,
            Stale::Undone => Verdict::Stands,
        }
    }

    /// An answer showed the call as it is remembered, or in a later state.
    pub fn current(&mut self, call: Slot) {
        if !self.calls.is_empty() {
            self.calls.remove(&call);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::ContentHash;

    fn state(number: u32) -> StateTag {
        ContentHash::of(&number.into()).tag()
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::default().after(Duration::from_secs(secs))
    }

    #[test]
    fn an_older_state_counts_once_nothing_else_was_said_for_a_minute() {
        let mut older = Older::default();
        let mut shown = |secs, number| older.shown(7, state(number), Stale::Older, at(secs));
        assert_eq!(shown(0, 1), Verdict::Ignored);
        assert_eq!(shown(61, 1), Verdict::Ignored, "two looks say little");
        assert_eq!(shown(62, 1), Verdict::Believed);
        assert_eq!(shown(63, 1), Verdict::Ignored);
        assert_eq!(shown(100, 2), Verdict::Ignored, "another state stands for itself");
        assert_eq!(shown(130, 2), Verdict::Ignored);
        assert_eq!(shown(159, 2), Verdict::Ignored);
        older.current(7);
        let mut shown = |secs, number| older.shown(7, state(number), Stale::Older, at(secs));
        for secs in 160..220 {
            assert_eq!(shown(secs, 2), Verdict::Ignored);
        }
        assert_eq!(shown(220, 2), Verdict::Believed);
    }

    #[test]
    fn what_would_be_undone_never_counts_and_is_told_once() {
        let mut older = Older::default();
        let verdicts: Vec<_> =
            (0..600).map(|secs| older.shown(7, state(1), Stale::Undone, at(secs))).collect();
        let told = verdicts.iter().filter(|verdict| **verdict == Verdict::Stands).count();
        assert_eq!((told, verdicts.contains(&Verdict::Believed)), (1, false));
    }

    #[test]
    fn what_is_kept_in_mind_is_bounded() {
        let mut older = Older::default();
        for call in 0..30_000 {
            older.shown(call, state(1), Stale::Older, at(0));
        }
        assert_eq!(older.calls.len(), CALLS);
        older.shown(30_000, state(1), Stale::Older, at(4000));
        assert_eq!(older.calls.len(), 1, "the others have not been shown for an hour");
    }
}
