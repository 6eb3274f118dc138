//! Walks over the whole list: the baseline, the regular sweep, and walks out of turn because something does not add up.

use std::time::Duration;

use super::{
    Slot,
    roster::Roster,
    walk::{Page, Walk, Walked},
};
use crate::time::Timestamp;

/// After this many walks that found nothing to explain a changed `total`, it is no longer believed.
const FRUITLESS: u32 = 3;

/// Why a walk is wanted out of turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Want {
    /// `total` does not fit what is known.
    Total,
    /// A watched call is not where it was, and no single request finds it.
    Look,
}

/// Why a walk was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Baseline,
    Regular,
    Wanted(Want),
    /// To see whether calls that were absent from the last walk are absent again.
    Confirm,
}

#[derive(Debug)]
struct Sweep {
    cause: Cause,
    walk: Walk,
    started: Timestamp,
    /// Time between two pages.
    gap: Duration,
    /// The first slot that was unknown when it began: only calls before it can be absent.
    known: Slot,
    /// Calls it was the first to show.
    found: u64,
}

/// The result of a walk over the whole list.
pub(super) struct Swept {
    pub baseline: bool,
    pub complete: bool,
    /// The same page comes back whatever the offset.
    pub flat: bool,
    pub unstable: bool,
    pub length: u64,
    /// Calls absent from this walk, with how many complete walks in a row that makes.
    pub absent: Vec<(Slot, u8)>,
    /// `total` has just been found to be unreliable.
    pub total_lies: bool,
    /// How many records were not calls.
    pub bad: u64,
}

#[derive(Debug)]
pub(super) struct Sweeps {
    period: Duration,
    interval: Duration,
    page_size: u32,
    under_way: Option<Sweep>,
    regular: Timestamp,
    confirm: Option<Timestamp>,
    want: Option<Want>,
    /// No walk begins out of turn before this time, so that such walks take half of the time at most.
    not_before: Timestamp,
    /// No walk begins because of `total` before this time: the pause grows while `total` is wrong.
    total_not_before: Timestamp,
    fruitless: u32,
    /// How many requests the last walk took, or the next one will take.
    pages: u64,
    /// The most rows the API gives for one page; `u64::MAX` when no page fell short.
    clamp: u64,
    /// By how much `total` exceeds the length of the list.
    bias: i64,
    /// How many rows of the list are not calls, or repeat one.
    surplus: i64,
}

impl Sweeps {
    pub fn new(
        period: Duration,
        interval: Duration,
        page_size: u32,
        length: u64,
        bias: i64,
        now: Timestamp,
    ) -> Self {
        Self {
            period,
            interval,
            page_size,
            under_way: None,
            regular: now,
            confirm: None,
            want: None,
            not_before: now,
            total_not_before: now,
            fruitless: 0,
            // The list, and two requests to make sure of its end.
            pages: length.div_ceil(page_size.into()) + 2,
            clamp: u64::MAX,
            bias,
            surplus: 0,
        }
    }

    /// Begins the baseline, or goes on with one at `offset` that has shown the calls in `known`.
    pub fn begin_baseline(&mut self, offset: u64, known: impl Iterator<Item = Slot>, now: Timestamp) {
        self.under_way = Some(Sweep {
            cause: Cause::Baseline,
            walk: Walk::whole(offset, self.page_size, true, known),
            started: now,
            gap: Duration::ZERO,
            known: 0,
            found: 0,
        });
    }

    /// The offset at which the baseline can go on if it is interrupted now; `None` when no baseline is under way.
    pub fn baseline(&self) -> Option<u64> {
        self.under_way
            .as_ref()
            .filter(|sweep| sweep.cause == Cause::Baseline)
            .map(|sweep| sweep.walk.resume_at())
    }

    /// The page to fetch now, or when there will be one.
    pub fn due(&mut self, roster: &Roster, now: Timestamp) -> Result<(u64, u32), Timestamp> {
        self.begin(roster, now);
        match &self.under_way {
            Some(sweep) => {
                let pages = u32::try_from(sweep.walk.pages).unwrap_or(u32::MAX);
                let at = match sweep.walk.nears_end(self.clamp) {
                    true => now,
                    // If there are more pages than expected, the walk still ends within the period.
                    false => sweep.started.after(sweep.gap.saturating_mul(pages).min(self.period)),
                };
                if at <= now { Ok(sweep.walk.request()) } else { Err(self.next_start().min(at)) }
            }
            None => Err(self.next_start()),
        }
    }

    fn next_start(&self) -> Timestamp {
        let confirm = self.confirm.into_iter();
        let wanted = self.want.map(|want| self.earliest(want));
        let urgent = confirm.chain(wanted).min();
        match (&self.under_way, urgent) {
            (None, urgent) => urgent.map_or(self.regular, |at| at.min(self.regular)),
            (Some(sweep), Some(at)) if sweep.cause == Cause::Regular => at,
            // A walk out of turn is seen through before another begins.
            (Some(_), _) => Timestamp::from_millis(i64::MAX),
        }
    }

    fn earliest(&self, want: Want) -> Timestamp {
        match want {
            Want::Total => self.not_before.max(self.total_not_before),
            Want::Look => self.not_before,
        }
    }

    fn begin(&mut self, roster: &Roster, now: Timestamp) {
        if self.next_start() > now {
            return;
        }
        let cause = if self.confirm.take_if(|at| *at <= now).is_some() {
            self.want = None;
            Cause::Confirm
        } else if let Some(want) = self.want.filter(|want| self.earliest(*want) <= now) {
            self.want = None;
            Cause::Wanted(want)
        } else {
            Cause::Regular
        };
        let pages = u32::try_from(self.pages).unwrap_or(u32::MAX);
        let gap = if cause == Cause::Regular { self.period / pages } else { Duration::ZERO };
        self.under_way = Some(Sweep {
            cause,
            walk: Walk::whole(0, self.page_size, false, std::iter::empty()),
            started: now,
            gap,
            known: roster.end(),
            found: 0,
        });
    }

    /// How many requests one walk takes.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// The most rows the API gives for one page, as far as is known.
    pub fn clamp(&self) -> u64 {
        self.clamp
    }

    /// Asks for a walk out of turn, unless the baseline or such a walk is under way, or one that confirms absences is
    /// about to begin. It takes the place of a regular sweep under way.
    pub fn want(&mut self, want: Want) {
        if self.under_way.as_ref().is_none_or(|sweep| sweep.cause == Cause::Regular) && self.confirm.is_none()
        {
            self.want = self.want.max(Some(want));
        }
    }

    /// Compares `total` with the calls known at the same moment, and wants a walk if they do not agree.
    pub fn reconcile(&mut self, total: u64, roster: &Roster) {
        let difference = total.cast_signed() - self.bias - self.surplus - roster.present().cast_signed();
        if difference != 0 {
            self.want(Want::Total);
        }
    }

    /// Whether a changed `total` is believed to mean that calls were added or removed.
    pub fn trusts_total(&self) -> bool {
        self.fruitless < FRUITLESS
    }

    /// Another request showed this call.
    pub fn note(&mut self, row: &super::Row) {
        if let Some(sweep) = &mut self.under_way {
            sweep.walk.note(row);
        }
    }

    /// The answer to the request that [`Self::due`] returned. Returns the result if it ends the walk.
    pub fn on_page(&mut self, page: &Page, roster: &mut Roster, now: Timestamp) -> Option<Swept> {
        let sweep = self.under_way.as_mut()?;
        sweep.found += page.rows.iter().filter(|row| row.new).count() as u64;
        let walked = sweep.walk.on_page(page);
        let (length, complete) = match walked {
            Walked::On => return None,
            Walked::End { length, complete } => (length, complete),
            Walked::Flat => (page.received, false),
        };
        let sweep = self.under_way.take()?;
        let mut absent = vec![];
        if complete && sweep.cause != Cause::Baseline {
            let missing: Vec<Slot> = roster
                .known()
                .take_while(|slot| *slot < sweep.known)
                .filter(|slot| !sweep.walk.has_seen(*slot))
                .collect();
            absent = missing.into_iter().map(|slot| (slot, roster.miss(slot))).collect();
        }
        if complete {
            self.surplus = length.saturating_sub(sweep.walk.seen()).cast_signed();
        }
        self.pages = sweep.walk.pages;
        self.clamp = if sweep.walk.widest() < length { sweep.walk.widest() } else { u64::MAX };
        if let Some(total) = page.total {
            self.bias = total.cast_signed() - length.cast_signed();
        }
        let took = now.since(sweep.started).max(self.interval);
        let mut total_lies = false;
        if sweep.found > 0 || absent.iter().any(|(_, absences)| *absences == 1) {
            self.fruitless = 0;
        } else if sweep.cause == Cause::Wanted(Want::Total) {
            self.fruitless = self.fruitless.saturating_add(1);
            total_lies = self.fruitless == FRUITLESS;
            let pause = took.saturating_mul(1 << self.fruitless.min(16)).min(self.period);
            self.total_not_before = now.after(pause);
        }
        self.not_before = now.after(took);
        self.regular =
            if sweep.cause == Cause::Regular { sweep.started.after(self.period).max(now) } else { now };
        Some(Swept {
            baseline: sweep.cause == Cause::Baseline,
            complete,
            flat: walked == Walked::Flat,
            unstable: sweep.walk.is_unstable(),
            length,
            absent,
            total_lies,
            bad: sweep.walk.bad(),
        })
    }

    /// Walks once more after an interval to look for calls that were absent, so that a passing fault of the API is not taken
    /// for a deletion.
    pub fn confirm(&mut self, now: Timestamp) {
        self.confirm = Some(now.after(self.interval));
    }

    /// By how much `total` exceeds the length of the list.
    pub fn bias(&self) -> i64 {
        self.bias
    }
}
