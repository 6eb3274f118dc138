//! States of calls that look older than what is remembered, and how long the API has said nothing else. Pure.
//!
//! A replica or a cache that lags gives an older state now and then, and others in between. When a clock was set back, every
//! answer gives it: then it is the call's state.

use std::{collections::HashMap, time::Duration};

use super::planner::Slot;
use crate::{change::Stale, content::StateTag, time::Timestamp};

/// An older state is believed when the API has shown no other state of the call for this long,
const STANDS: Duration = Duration::from_secs(60);
/// and at least this often.
const LOOKS: u32 = 3;

/// The most calls that are kept in mind for each reason.
const CALLS: usize = 10_000;
/// When [`CALLS`] are kept, a call gives its place to others if older states of it were shown this often without one
/// being believed, or if none was shown for [`FORGOTTEN`].
const CHANCES: u32 = 4 * LOOKS;
const FORGOTTEN: Duration = Duration::from_secs(3 * 3600);
/// Room is made at most this often, because every call is looked at for it.
const ROOM_EVERY: Duration = Duration::from_secs(10);

/// The older states that the API shows of calls. Lost with the process: after a restart they have to be shown for
/// `STANDS` again.
#[derive(Debug, Default)]
pub struct Older {
    /// States that count once they are all that the API says.
    calls: HashMap<Slot, Shown>,
    /// States that never count. They stay for as long as the API gives them, so they have a place of their own.
    undone: HashMap<Slot, Shown>,
    /// When room was last made.
    room_made: Option<Timestamp>,
    /// How many older states there was no room for, or that had to make room.
    unwatched: u64,
}

#[derive(Debug)]
struct Shown {
    state: StateTag,
    since: Timestamp,
    last: Timestamp,
    /// How often this state was shown, and how often any older state of the call.
    looks: u32,
    all: u32,
    is_told: bool,
}

/// The judgement on an older state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is ignored.
    Ignored,
    /// It is ignored although the API shows no other. Returned once, so that it is reported once.
    Stands,
    /// It is the call's state.
    Believed,
}

impl Older {
    /// An answer showed this older state of a call.
    pub fn shown(&mut self, call: Slot, state: StateTag, stale: Stale, now: Timestamp) -> Verdict {
        let (calls, others) = match stale {
            Stale::Older => (&mut self.calls, &mut self.undone),
            Stale::Undone => (&mut self.undone, &mut self.calls),
        };
        others.remove(&call);
        if calls.len() >= CALLS && !calls.contains_key(&call) {
            if self.room_made.is_none_or(|made| now.since(made) >= ROOM_EVERY) {
                self.room_made = Some(now);
                let has_its_chance = |shown: &Shown| shown.all < CHANCES && now.since(shown.last) < FORGOTTEN;
                calls.retain(|_, shown| has_its_chance(shown));
                self.unwatched += (CALLS - calls.len()) as u64;
            }
            if calls.len() >= CALLS {
                self.unwatched += 1;
                return Verdict::Ignored;
            }
        }
        let anew = Shown { state, since: now, last: now, looks: 0, all: 0, is_told: false };
        let shown = calls.entry(call).or_insert(anew);
        if shown.state != state {
            *shown = Shown { state, since: now, looks: 0, ..*shown };
        }
        shown.last = now;
        shown.looks = shown.looks.saturating_add(1);
        shown.all = shown.all.saturating_add(1);
        if shown.looks < LOOKS || now.since(shown.since) < STANDS {
            return Verdict::Ignored;
        }
        match stale {
            Stale::Older => {
                calls.remove(&call);
                Verdict::Believed
            }
            Stale::Undone if std::mem::replace(&mut shown.is_told, true) => Verdict::Ignored,
            Stale::Undone => Verdict::Stands,
        }
    }

    /// Takes the number of older states that were ignored without being watched, for lack of room, since this was last
    /// asked.
    pub fn take_unwatched(&mut self) -> u64 {
        std::mem::take(&mut self.unwatched)
    }

    /// An answer showed the call as it is remembered, or in a later state.
    pub fn current(&mut self, call: Slot) {
        for calls in [&mut self.calls, &mut self.undone] {
            if !calls.is_empty() {
                calls.remove(&call);
            }
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
        assert_eq!((older.calls.len(), older.take_unwatched(), older.take_unwatched()), (CALLS, 20_000, 0));
        older.shown(30_000, state(1), Stale::Older, at(4 * 3600));
        assert_eq!(older.calls.len(), 1, "the others have not been shown for hours");
    }

    #[test]
    fn calls_that_never_count_or_always_differ_leave_room_for_others() {
        let (mut older, many) = (Older::default(), CALLS as Slot);
        // A walk every minute shows as many calls as there is room for undone, as many in ever other states, and one more.
        let mut believed = None;
        for minute in 0..60 {
            for call in 0..many {
                older.shown(call, state(1), Stale::Undone, at(60 * minute));
                older.shown(many + call, state(minute as u32), Stale::Older, at(60 * minute));
            }
            if older.shown(2 * many, state(1), Stale::Older, at(60 * minute)) == Verdict::Believed {
                believed.get_or_insert(minute);
            }
        }
        assert!(believed.is_some_and(|minute| minute < 20), "{believed:?}");
        assert!(older.calls.len() <= CALLS && older.undone.len() <= CALLS);
        // Where all stand, all count, however many there are.
        let (mut older, mut counted) = (Older::default(), 0);
        for minute in 0..20 {
            for call in 0..3 * many {
                let verdict = older.shown(call, state(1), Stale::Older, at(60 * minute));
                counted += usize::from(verdict == Verdict::Believed);
            }
        }
        assert!(counted >= 3 * CALLS, "{counted}");
    }
}
