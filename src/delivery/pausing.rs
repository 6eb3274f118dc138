//! Pauses of a destination that outlast the process: made by people, or asked for by the receiver. Pure.
//!
//! The store keeps the pause; the feed says which one there is. Here it is decided what follows: whether attempts may begin,
//! what people are told, and whether a pause begins or ends with the next settlement.

use std::time::Duration;

use super::{Moment, Room};
use crate::{
    store::{Pause, PauseChange},
    time::Timestamp,
};

/// A pause that ends sooner than this is not told: to the two clocks that measure it, it may seem to end at two times.
const WORTH_TELLING: Duration = Duration::from_secs(1);

/// Whether a destination is left alone.
#[derive(Debug)]
pub(super) struct Pausing {
    /// Fingerprint of the destination's config.
    config: String,
    /// The pause that the store keeps, as far as known, whether or not it is over.
    kept: Option<Pause>,
    stands: Stands,
    /// Whether people were told that the destination is left alone.
    told: bool,
    /// The beginning or end of a pause that the next settlement has to write.
    change: Option<PauseChange>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    /// Attempts may begin.
    Open,
    /// None may before this (steady) time.
    Until(Timestamp),
    /// None may until something changes.
    Shut,
}

/// A change that people are told of.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Telling {
    /// The destination is left alone because of this pause, for this long; `None` until somebody resumes it.
    Paused(Pause, Option<Duration>),
    /// It takes deliveries again.
    Resumed,
}

impl Pausing {
    pub(super) fn new(config: String) -> Self {
        Self { config, kept: None, stands: Stands::Open, told: false, change: None }
    }

    /// Takes in the pause that the store keeps. One that was made under another config is ended.
    pub(super) fn learn(&mut self, pause: Option<Pause>, now: Moment) -> Option<Telling> {
        if pause == self.kept {
            return self.tick(now);
        }
        self.kept = pause.clone();
        let Some(pause) = pause else { return self.open() };
        if pause.config.as_ref().is_some_and(|made| *made != self.config) {
            self.stands = Stands::Shut;
            self.change = Some(PauseChange::End);
            // Its end is worth telling even if its beginning was told by another process.
            self.told = true;
            return None;
        }
        self.shut(pause, now)
    }

    /// Whether this is the pause that the store is known to keep.
    pub(super) fn knows(&self, pause: &Option<Pause>) -> bool {
        self.kept == *pause
    }

    /// Notes that the receiver wants to be left alone. It is from now on; the store learns it with the next settlement.
    pub(super) fn ask(&mut self, pause: Pause) {
        let outlasts = match &self.change {
            Some(PauseChange::Begin(other)) => pause.outlasts(other),
            _ => true,
        };
        if outlasts {
            self.change = Some(PauseChange::Begin(pause));
        }
    }

    /// Takes out the change that the next settlement writes.
    pub(super) fn take_change(&mut self) -> Option<PauseChange> {
        let change = self.change.take();
        if change.is_some() {
            self.stands = Stands::Shut;
        }
        change
    }

    /// Notes that a change has been written.
    pub(super) fn wrote(&mut self, change: PauseChange, now: Moment) -> Option<Telling> {
        match change {
            PauseChange::End => {
                self.kept = None;
                self.open()
            }
            PauseChange::Begin(pause) => {
                // Of the two, the store keeps the one that lasts longer.
                let kept = self.kept.take().filter(|kept| !kept.is_over(now.wall) && !pause.outlasts(kept));
                let pause = kept.unwrap_or(pause);
                self.kept = Some(pause.clone());
                if pause.until.is_none() {
                    return self.shut(pause, now);
                }
                // The breaker has told people of this pause, and will tell them of its end.
                self.stands = Stands::Until(pause.deadline().map_or(now.steady, |end| now.due(end)));
                None
            }
        }
    }

    /// The pause that the store keeps and that keeps attempts from beginning, as far as is known. One that was made under
    /// another config is about to end.
    pub(super) fn holds(&self) -> Option<&Pause> {
        let is_mine = |pause: &&Pause| pause.config.as_ref().is_none_or(|made| *made == self.config);
        self.kept.as_ref().filter(|pause| self.stands != Stands::Open && is_mine(pause))
    }

    /// Whether attempts may begin.
    pub(super) fn room(&self) -> Room {
        match self.stands {
            _ if self.change.is_some() => Room::Full,
            Stands::Open => Room::For(usize::MAX),
            Stands::Until(at) => Room::At(at),
            Stands::Shut => Room::Full,
        }
    }

    /// Ends a pause whose time has passed.
    pub(super) fn tick(&mut self, now: Moment) -> Option<Telling> {
        match self.stands {
            Stands::Until(at) if at <= now.steady => {
                // A pause that seems to begin in the future, because a clock was wrong, would go on for others: it is
                // ended in the store.
                if self.kept.as_ref().is_some_and(|kept| kept.since > now.wall) {
                    self.stands = Stands::Shut;
                    self.change.get_or_insert(PauseChange::End);
                    return None;
                }
                self.open()
            }
            _ => None,
        }
    }

    fn open(&mut self) -> Option<Telling> {
        self.stands = Stands::Open;
        std::mem::take(&mut self.told).then_some(Telling::Resumed)
    }

    fn shut(&mut self, pause: Pause, now: Moment) -> Option<Telling> {
        let end = pause.deadline().map(|end| now.due(end));
        let left = end.map(|end| end.since(now.steady));
        self.stands = match end {
            Some(end) if end <= now.steady => return self.open(),
            Some(end) => Stands::Until(end),
            None => Stands::Shut,
        };
        let news = !self.told && left.is_none_or(|left| left >= WORTH_TELLING);
        self.told |= news;
        // In whole seconds, as people read it.
        let left = left.map(|left| Duration::from_secs(left.as_secs()));
        news.then_some(Telling::Paused(pause, left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_765_809_145_000);

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn after(seconds: u64) -> Moment {
        // The two clocks need not agree.
        Moment { wall: START.after(secs(seconds)), steady: Timestamp::from_millis(0).after(secs(seconds)) }
    }

    fn asked(at: u64, until: Option<u64>) -> Pause {
        let until = until.map(|until| START.after(secs(until)));
        Pause {
            since: START.after(secs(at)),
            reason: "410 Gone".to_owned(),
            until,
            config: Some("first".to_owned()),
        }
    }

    #[test]
    fn a_pause_is_told_once_and_so_is_its_end() {
        let mut pausing = Pausing::new("first".to_owned());
        let pause = asked(0, Some(60));
        assert_eq!(
            pausing.learn(Some(pause.clone()), after(10)),
            Some(Telling::Paused(pause.clone(), Some(secs(50))))
        );
        assert_eq!(pausing.learn(Some(pause.clone()), after(20)), None);
        assert!(pausing.knows(&Some(pause.clone())) && !pausing.knows(&None));
        assert_eq!(pausing.room(), Room::At(after(60).steady));
        assert_eq!(pausing.tick(after(59)), None);
        assert_eq!(pausing.tick(after(60)), Some(Telling::Resumed));
        assert_eq!(pausing.room(), Room::For(usize::MAX));
        assert_eq!(pausing.learn(Some(pause), after(61)), None, "the store still keeps it");
        assert_eq!(pausing.room(), Room::For(usize::MAX));
    }

    #[test]
    fn a_pause_of_another_config_is_ended() {
        let mut pausing = Pausing::new("second".to_owned());
        assert_eq!(pausing.learn(Some(asked(0, None)), after(10)), None);
        assert_eq!(pausing.room(), Room::Full);
        assert_eq!(pausing.take_change(), Some(PauseChange::End));
        assert_eq!(pausing.room(), Room::Full, "not before that is written");
        assert_eq!(pausing.wrote(PauseChange::End, after(10)), Some(Telling::Resumed));
        assert_eq!(pausing.room(), Room::For(usize::MAX));
    }

    #[test]
    fn what_the_receiver_asks_for_holds_at_once_and_the_longer_wish_wins() {
        let mut pausing = Pausing::new("first".to_owned());
        pausing.ask(asked(0, Some(60)));
        assert_eq!(pausing.room(), Room::Full);
        pausing.ask(asked(1, None));
        pausing.ask(asked(2, Some(90)));
        let change = pausing.take_change().unwrap();
        assert_eq!(change, PauseChange::Begin(asked(1, None)));
        assert_eq!(pausing.wrote(change, after(3)), Some(Telling::Paused(asked(1, None), None)));
        pausing.ask(asked(4, Some(90)));
        let change = pausing.take_change().unwrap();
        assert_eq!(pausing.wrote(change, after(5)), None);
        assert_eq!(pausing.room(), Room::Full, "the store keeps the longer one");
        assert_eq!(pausing.learn(None, after(6)), Some(Telling::Resumed));
        // Of two that end the later end counts, whichever was written first.
        let begin = |pause| PauseChange::Begin(pause);
        for (first, second) in [(60, 90), (90, 60)] {
            let mut pausing = Pausing::new("first".to_owned());
            assert_eq!(pausing.wrote(begin(asked(7, Some(first))), after(7)), None);
            assert_eq!(pausing.room(), Room::At(after(first).steady));
            assert_eq!(pausing.wrote(begin(asked(8, Some(second))), after(8)), None);
            assert_eq!(pausing.room(), Room::At(after(90).steady));
        }
    }

    #[test]
    fn a_pause_from_the_future_lasts_as_long_as_it_was_meant_to() {
        let mut pausing = Pausing::new("first".to_owned());
        let year = 365 * 24 * 3600;
        let told = pausing.learn(Some(asked(year, Some(year + 60))), after(0));
        assert!(matches!(told, Some(Telling::Paused(_, Some(left))) if left == secs(60)), "{told:?}");
        assert_eq!(pausing.room(), Room::At(after(60).steady));
        assert_eq!(pausing.tick(after(60)), None);
        assert_eq!(
            pausing.take_change(),
            Some(PauseChange::End),
            "nobody else takes it for one that goes on"
        );
        assert_eq!(pausing.wrote(PauseChange::End, after(60)), Some(Telling::Resumed));
        assert_eq!(pausing.room(), Room::For(usize::MAX));
    }
}
