//! One walk along the list: pages that overlap and must join, because rows come and go between two fetches.
//!
//! Why joining is enough: let s1, s2, … be the rows that stay in the list, in the list's order, and assume that every
//! one up to the last row of the previous page has been seen. If the next page shows a row that this walk has shown
//! before and that has not moved (an *anchor*), then everything before the anchor has been seen, and everything from
//! the anchor to the page's end is on the page. If it shows none, rows may have slipped over the border, and the walk
//! steps back until a page joins.

use std::collections::HashMap;

use super::{Row, Slot};

/// How many pages in a row may fail to join before the walk goes on without joining.
const STRAYS: u32 = 16;
/// Marks a call on the trail of a walk that has just turned up or moved, and so cannot be an anchor.
const MOVED: u8 = u8::MAX;
/// The most passes over a list in a stable order.
const PASSES: u8 = 8;
/// The most passes over a list whose order differs every time. Each finds about 63 % of the calls that the last one
/// missed.
const PASSES_UNSTABLE: u8 = 30;

/// The answer to a request for a page.
pub(super) struct Page<'a> {
    pub offset: u64,
    pub limit: u32,
    pub rows: &'a [Row],
    /// How many records were received, including those that are not calls.
    pub received: u64,
    pub total: Option<u64>,
}

impl Page<'_> {
    /// The offset of the first row after the page.
    pub fn end(&self) -> u64 {
        self.offset + self.received
    }
}

/// The state of a walk after a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walked {
    /// There is more to fetch.
    On,
    /// The walk is over. `complete`: every call in the list has been seen.
    End { length: u64, complete: bool },
    /// The same page comes back whatever the offset.
    Flat,
}

/// The purpose of the next page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// To go on. It overlaps the last one.
    Forward,
    /// To see whether anything follows. It begins where the last one ended.
    Probe,
    /// To see whether the offset is ignored. If not, the walk goes on at this offset.
    Recheck(u64),
}

#[derive(Debug)]
pub(super) struct Walk {
    next: u64,
    limit: u32,
    stage: Stage,
    /// Every call seen since the walk began, by any request, with the latest pass of which it is an anchor; 0 for none, or
    /// [`MOVED`].
    trail: HashMap<Slot, u8>,
    /// The calls of the last page.
    previous: Vec<Slot>,
    /// The end of the last page that joined, and by how many rows the page after it overlaps it.
    reached: u64,
    overlap: u64,
    /// Whether the last page joined, and whether any page of the walk has.
    joined: bool,
    anchored: bool,
    /// Whether the last page showed nothing that this pass had not seen, and how many records it had.
    stalls: bool,
    received: u64,
    /// How many pages failed to join since there was progress, how far back the next one begins, and by how many rows
    /// failures have widened the overlap.
    strays: u32,
    back: u64,
    wider: u64,
    /// How many pages in a row showed the same calls as the one before.
    repeats: u32,
    /// The order differs between fetches: joining proves nothing.
    unstable: bool,
    /// Pages do not join, for whatever reason: only the number of calls tells whether all have been seen.
    loose: bool,
    pass: u8,
    last_pass: u8,
    /// Whether the walk ends with one more pass from the beginning, for calls that moved there.
    closing: bool,
    pub pages: u64,
    /// In this pass: the longest page, calls never seen before, and records that are not calls.
    widest: u64,
    found: u64,
    bad: u64,
    /// The length of the list at the end of the last pass.
    length: Option<u64>,
}

impl Walk {
    /// A walk over the whole list from `offset`: 0, or where an interrupted baseline goes on. `known` are the calls it had
    /// seen before it was interrupted.
    pub fn whole(offset: u64, limit: u32, closing: bool, known: impl Iterator<Item = Slot>) -> Self {
        let mut walk = Self::part(offset, limit, std::iter::empty());
        walk.last_pass = PASSES;
        walk.closing = closing;
        walk.trail.extend(known.map(|slot| (slot, 0)));
        walk
    }

    /// A walk from `offset` that goes on until its caller has seen enough. `moved` are calls that may have turned up or
    /// moved since the rows before `offset` were last seen.
    pub fn part(offset: u64, limit: u32, moved: impl Iterator<Item = Slot>) -> Self {
        Self {
            next: offset,
            limit,
            stage: Stage::Forward,
            trail: moved.map(|slot| (slot, MOVED)).collect(),
            previous: vec![],
            reached: 0,
            overlap: 0,
            joined: false,
            anchored: false,
            stalls: false,
            received: u64::MAX,
            strays: 0,
            back: 0,
            wider: 0,
            repeats: 0,
            unstable: false,
            loose: false,
            pass: 1,
            last_pass: 1,
            closing: false,
            pages: 0,
            widest: 0,
            found: 0,
            bad: 0,
            length: None,
        }
    }

    /// Offset and limit of the next page.
    pub fn request(&self) -> (u64, u32) {
        (self.next, self.limit)
    }

    /// Changes the limit of the pages to come.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// The offset at which the walk can go on if it is interrupted now.
    pub fn resume_at(&self) -> u64 {
        if self.pass > 1 { self.length.unwrap_or(0) } else { self.reached }
    }

    /// Whether the last page joined the rows that the walk had seen.
    pub fn joined(&self) -> bool {
        self.joined
    }

    /// The most records received for one page in this pass.
    pub fn widest(&self) -> u64 {
        self.widest
    }

    /// Whether the last page showed nothing new to this pass, or was shorter than asked for and than `clamp`, the most rows
    /// the API gives.
    pub fn nears_end(&self, clamp: u64) -> bool {
        self.stalls || self.received < u64::from(self.limit).min(clamp)
    }

    /// Whether the call was known before the walk began, has not moved since, and has been on none of its pages.
    pub fn is_old(&self, row: &Row) -> bool {
        !row.new && !row.moved && matches!(self.trail.get(&row.slot), None | Some(0))
    }

    /// Whether a page of this pass has shown the call, and it has not moved since.
    fn is_anchor(&self, slot: Slot) -> bool {
        self.trail.get(&slot) == Some(&self.pass)
    }

    pub fn is_unstable(&self) -> bool {
        self.unstable
    }

    /// How many records of this pass are not calls.
    pub fn bad(&self) -> u64 {
        self.bad
    }

    /// How many different calls it has seen.
    pub fn seen(&self) -> u64 {
        self.trail.len() as u64
    }

    pub fn has_seen(&self, slot: Slot) -> bool {
        self.trail.contains_key(&slot)
    }

    /// Another request showed this call. If it is new or changed it may have moved, and cannot be an anchor.
    pub fn note(&mut self, row: &Row) {
        let anchor = self.trail.entry(row.slot).or_insert(0);
        if row.new || row.moved {
            *anchor = MOVED;
        }
    }

    pub fn on_page(&mut self, page: &Page) -> Walked {
        self.pages += 1;
        self.joined = false;
        self.stalls = true;
        self.received = page.received;
        // Records that the page before may have shown already do not count.
        let again = self.reached.saturating_sub(page.offset);
        self.bad += (page.received - page.rows.len() as u64).saturating_sub(again);
        self.widest = self.widest.max(page.received);
        let slots: Vec<Slot> = page.rows.iter().map(|row| row.slot).collect();
        let same = !slots.is_empty() && slots == self.previous;
        if let Stage::Recheck(next) = self.stage {
            if same {
                return Walked::Flat;
            }
            self.remember(page, false);
            self.stage = Stage::Forward;
            self.next = next;
            self.repeats = 0;
            return Walked::On;
        }
        // While the walk steps back, deletions above can make the same page come again, which proves nothing.
        self.repeats = if same && self.back == 0 { self.repeats + 1 } else { 0 };
        self.unstable |= self.is_reordered(page.rows);
        let walked = match self.stage {
            Stage::Probe if page.received == 0 => self.end_of_pass(page.offset),
            Stage::Probe => {
                self.remember(page, false);
                self.stage = Stage::Forward;
                self.next = page.offset.saturating_sub(self.overlap.max(1));
                Walked::On
            }
            Stage::Forward | Stage::Recheck(_) => self.forward(page),
        };
        self.previous = slots;
        if self.repeats >= 2 && walked == Walked::On {
            self.stage = Stage::Recheck(self.next);
            self.next = 0;
        }
        walked
    }

    fn forward(&mut self, page: &Page) -> Walked {
        let whole_overlap_gone = page.received == 0 && page.offset != self.reached;
        if whole_overlap_gone || !self.joins(page) {
            self.remember(page, false);
            self.strays += 1;
            self.wider += 1;
            if self.strays <= STRAYS {
                self.back = (self.back * 2).max(self.widest.div_ceil(2)).max(1);
                self.next = page.offset.saturating_sub(self.back);
                return Walked::On;
            }
            self.loose = true;
        }
        if page.received == 0 {
            return self.end_of_pass(page.offset);
        }
        self.back = 0;
        self.joined = true;
        self.anchored = true;
        let settled = page.rows.iter().any(|row| {
            !row.moved && self.trail.get(&row.slot).is_some_and(|pass| (1..self.pass).contains(pass))
        });
        let progress = self.remember(page, true);
        self.stalls = !progress;
        if progress {
            self.strays = 0;
        }
        if settled && let Some(length) = self.length.filter(|length| self.has_all(*length)) {
            if self.found == 0 {
                return Walked::End { length, complete: true };
            }
            // Calls moved to the beginning during the last pass, so they may have during this one.
            return self.next_pass(length, true);
        }
        self.reached = page.end();
        self.overlap = overlap(page.received, self.wider);
        if !progress && page.received < self.widest {
            self.stage = Stage::Probe;
            self.next = self.reached;
        } else {
            self.next = self.reached - self.overlap;
        }
        Walked::On
    }

    /// Whether nothing can have slipped by between the pages before and this one.
    fn joins(&self, page: &Page) -> bool {
        if page.offset == 0 || self.unstable || self.loose {
            return true;
        }
        if !self.anchored {
            // The walk began in the middle of the list: a call known from before is the anchor.
            return page.rows.iter().find(|row| row.new || self.is_old(row)).is_some_and(|row| !row.new);
        }
        page.offset == self.reached
            // A record that is not a call cannot be recognized. If stepping back does not help, such records are the overlap.
            || self.strays >= 2 && page.received > page.rows.len() as u64
            || page.rows.iter().any(|row| !row.moved && self.is_anchor(row.slot))
    }

    /// Whether rows that were on the last page and have not moved now stand in another order.
    fn is_reordered(&self, rows: &[Row]) -> bool {
        let before: HashMap<Slot, usize> =
            self.previous.iter().enumerate().map(|(i, slot)| (*slot, i)).collect();
        let common = rows
            .iter()
            .filter(|row| !row.moved && self.is_anchor(row.slot))
            .filter_map(|row| before.get(&row.slot));
        !common.is_sorted()
    }

    /// Puts the page's calls on the trail. Returns whether this pass sees any of them for the first time.
    fn remember(&mut self, page: &Page, anchor: bool) -> bool {
        let mut progress = false;
        for row in page.rows {
            let before = self.trail.get(&row.slot).copied();
            self.found += u64::from(before.is_none());
            // A call that this pass has seen and that moved again is no progress: it may do so for ever.
            progress |= !matches!(before, Some(pass) if pass == self.pass || pass == MOVED);
            if anchor {
                self.trail.insert(row.slot, self.pass);
            } else {
                self.note(row);
            }
        }
        progress
    }

    fn has_all(&self, length: u64) -> bool {
        self.seen() + self.bad >= length
    }

    fn end_of_pass(&mut self, length: u64) -> Walked {
        let quiet = self.pass > 1 && self.found == 0;
        let complete = self.has_all(length) && (!self.closing || quiet)
            // A whole pass showed nothing new: the rest of the length is rows that are shown twice.
            || quiet && !self.unstable && !self.loose;
        if complete { Walked::End { length, complete } } else { self.next_pass(length, self.has_all(length)) }
    }

    /// Starts over at the beginning of the list, if there is a pass left.
    fn next_pass(&mut self, length: u64, complete: bool) -> Walked {
        let last_pass = if self.unstable && self.last_pass > 1 { PASSES_UNSTABLE } else { self.last_pass };
        if self.pass >= last_pass {
            return Walked::End { length, complete };
        }
        self.pass += 1;
        self.length = Some(length);
        self.stage = Stage::Forward;
        (self.next, self.reached, self.overlap) = (0, 0, 0);
        (self.widest, self.found, self.bad) = (0, 0, 0);
        (self.strays, self.back, self.loose) = (0, 0, false);
        self.previous = vec![];
        Walked::On
    }
}

/// By how many rows the next page overlaps this one. If more rows than that are deleted between the two requests, or the
/// overlap is only records that are not calls, the walk has to step back.
fn overlap(received: u64, wider: u64) -> u64 {
    ((received / 32).clamp(1, 4) + wider).min(received.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::{super::known, *};

    /// A full page of four of these calls, or a shorter one.
    fn page(offset: u64, rows: &[Row]) -> Page<'_> {
        Page { offset, limit: 4, rows, received: rows.len() as u64, total: None }
    }

    /// A walk that has seen the calls 0, 1, 2 and 3 in this order.
    fn begun() -> Walk {
        let mut walk = Walk::whole(0, 4, false, std::iter::empty());
        let rows = [0, 1, 2, 3].map(known);
        assert_eq!(walk.on_page(&page(0, &rows)), Walked::On);
        assert_eq!(walk.request(), (3, 4), "pages overlap");
        walk
    }

    #[test]
    fn a_page_joins_by_a_call_that_was_seen_and_has_not_moved() {
        let mut walk = begun();
        assert_eq!(walk.on_page(&page(3, &[3, 4, 5, 6].map(known))), Walked::On);
        assert!(walk.joined());
        assert_eq!((walk.request().0, walk.resume_at()), (6, 7));
    }

    #[test]
    fn a_page_without_an_anchor_costs_a_step_back() {
        let changed = Row { moved: true, ..known(3) };
        // Calls above were deleted, so rows slipped over the border; or the call at the border has moved there.
        for rows in [[5, 6, 7, 8].map(known), [changed, known(4), known(5), known(6)]] {
            let mut walk = begun();
            assert_eq!(walk.on_page(&page(3, &rows)), Walked::On);
            assert!(!walk.joined());
            assert_eq!((walk.request().0, walk.resume_at()), (1, 4));
            // A row first seen on a step back is no anchor; one seen before is.
            assert_eq!(walk.on_page(&page(1, &[2, 4, 5, 6].map(known))), Walked::On);
            assert!(walk.joined());
        }
    }

    #[test]
    fn records_that_are_no_calls_count_as_rows_and_are_no_anchor() {
        let mut walk = Walk::whole(0, 4, false, std::iter::empty());
        let rows = [0, 1, 3].map(known);
        assert_eq!(walk.on_page(&Page { received: 4, ..page(0, &rows) }), Walked::On);
        assert_eq!(walk.bad(), 1);
        assert_eq!(walk.on_page(&page(3, &[known(3)])), Walked::On);
        assert_eq!(walk.on_page(&page(4, &[])), Walked::End { length: 4, complete: true });
        let mut walk = begun();
        walk.on_page(&Page { received: 4, ..page(3, &[5, 6, 7].map(known)) });
        assert!(!walk.joined(), "only when stepping back does not help");
    }

    #[test]
    fn the_end_is_looked_for_behind_a_short_page_that_shows_nothing_more() {
        let mut walk = begun();
        assert_eq!(walk.on_page(&page(3, &[3, 4].map(known))), Walked::On);
        assert_eq!(walk.request().0, 4, "it overlaps a short page that showed another call");
        let mut walk = begun();
        assert_eq!(walk.on_page(&page(3, &[3, 2, 1, 0].map(known))), Walked::On);
        assert_eq!(walk.request().0, 6, "and a full one that did not");
    }

    #[test]
    fn a_closing_walk_looks_at_the_beginning_once_more() {
        let mut walk = Walk::whole(0, 4, true, std::iter::empty());
        let rows = [0, 1, 2, 3].map(known);
        assert_eq!(walk.on_page(&page(0, &rows)), Walked::On);
        assert!(!walk.nears_end(u64::MAX));
        assert_eq!(walk.on_page(&page(3, &[3, 4].map(known))), Walked::On);
        assert!(walk.nears_end(u64::MAX) && !walk.nears_end(2), "unless the API gives no more than that");
        assert_eq!(walk.on_page(&page(4, &[4].map(known))), Walked::On);
        assert_eq!(walk.on_page(&page(5, &[])), Walked::On);
        assert_eq!((walk.request().0, walk.resume_at()), (0, 5));
        walk.set_limit(9);
        assert_eq!(walk.request(), (0, 9));
        assert_eq!(walk.on_page(&page(0, &rows)), Walked::End { length: 5, complete: true });
    }

    #[test]
    fn rows_that_change_places_between_two_pages_make_the_order_unstable() {
        let moved = Row { moved: true, ..known(2) };
        for (rows, is_unstable) in [
            ([known(2), known(3), known(4), known(5)], false),
            ([known(3), known(2), known(4), known(5)], true),
            ([known(3), moved, known(4), known(5)], false),
        ] {
            let mut walk = begun();
            walk.on_page(&page(2, &rows));
            assert_eq!(walk.is_unstable(), is_unstable);
        }
    }

    #[test]
    fn a_walk_ends_when_nothing_follows_and_all_was_seen() {
        let mut walk = begun();
        assert_eq!(walk.on_page(&page(3, &[3].map(known))), Walked::On);
        assert!(walk.nears_end(u64::MAX));
        assert_eq!(walk.request().0, 4, "it looks past the end");
        assert_eq!(walk.on_page(&page(4, &[])), Walked::End { length: 4, complete: true });
        assert!(walk.has_seen(3) && !walk.has_seen(4));
    }

    #[test]
    fn records_that_are_no_calls_are_the_overlap_when_stepping_back_twice_did_not_help() {
        let third = |received| {
            let mut walk = begun();
            for (offset, rows) in [(3, [5, 6, 7, 8]), (1, [9, 10, 11, 12])] {
                walk.on_page(&page(offset, &rows.map(known)));
                assert!(!walk.joined());
            }
            walk.on_page(&Page { received, ..page(1, &[13, 14, 15].map(known)) });
            walk.joined()
        };
        assert!(third(4), "one of four is no call");
        assert!(!third(3), "all of them are calls");
    }

    /// The pass in which the walk gives up, where `list` gives the list at each request.
    fn passes(mut walk: Walk, list: impl Fn(usize) -> Vec<Row>) -> u8 {
        for request in 0..10_000 {
            let (offset, limit) = walk.request();
            let rows: Vec<Row> =
                list(request).into_iter().skip(offset as usize).take(limit as usize).collect();
            match walk.on_page(&page(offset, &rows)) {
                Walked::On => {}
                walked => {
                    assert!(matches!(walked, Walked::End { complete: false, .. }), "{walked:?}");
                    return walk.pass;
                }
            }
        }
        panic!("it goes on for ever");
    }

    #[test]
    fn a_walk_gives_up_after_more_passes_where_the_order_differs_every_time() {
        let whole = || Walk::whole(0, 10, false, std::iter::empty());
        // Each call is shown twice, so that the length never fits.
        let moved = |slot| Row { moved: true, ..known(slot) };
        let loose = |_| (0..10).chain(0..10).map(moved).collect();
        assert_eq!(passes(whole(), loose), PASSES);
        let shuffled = |request: usize| {
            let mut random = fastrand::Rng::with_seed(request as u64);
            let mut rows: Vec<Row> = (0..10).chain(0..10).map(known).collect();
            random.shuffle(&mut rows);
            rows
        };
        assert_eq!(passes(whole(), shuffled), PASSES_UNSTABLE);
        assert_eq!(
            passes(Walk::part(0, 10, std::iter::empty()), shuffled),
            1,
            "a poll begins anew by itself"
        );
    }
}
