//! Polls: looking for new calls where the order of the list lets them turn up, and no further than needed.

use std::collections::HashSet;

use super::{
    Row, Slot,
    order::Front,
    walk::{Page, Walk, Walked},
};

/// How many calls that are known already a poll must meet before everything beyond them counts as known. More than one,
/// because calls that start at the same moment can overtake each other.
const SETTLED: u64 = 3;
/// How many rows a poll asks for when little happens.
const IDLE_ROWS: u64 = 10;
/// How many rows before the end of the list a poll of the end begins.
const TAIL: u64 = 4;

#[derive(Debug, Default)]
pub(super) struct Head {
    /// The poll under way, and the end of the list it began at.
    walk: Option<(Walk, Front)>,
    /// How many calls the poll under way has met that were known before and have not moved.
    settled: u64,
    /// Calls that other requests showed to be new or changed since the last poll began. Unknown calls may hide behind
    /// them, so a poll must go beyond them.
    moved: HashSet<Slot>,
    /// The size of `moved` when the poll under way began, plus the new calls it has found.
    fresh: u64,
    /// The checkpoint's [`Head::unsettled`]: how many calls may have had unknown ones behind them when the process last
    /// ended.
    cut_short: u64,
    /// How many rows polls needed lately.
    depth: u64,
    /// The length of the list when its end was last seen.
    length: u64,
}

/// The facts a poll depends on.
#[derive(Clone, Copy)]
pub(super) struct Poll {
    pub front: Front,
    pub page_size: u32,
    /// How many rows from the top show the live calls.
    pub live_depth: u64,
    /// How many calls are in the list, as far as is known.
    pub present: u64,
    /// The most rows the API gives for one page, as far as is known.
    pub clamp: u64,
    /// The API ignores `offset`, so that only the first page can be had.
    pub flat: bool,
}

/// The state of a poll after a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Polled {
    /// It needs another page.
    On,
    /// Everything new has been seen. `single`: in one page, so that the page's `total` is of the same moment.
    Done { single: bool },
}

impl Head {
    pub fn new(unsettled: u64, length: u64) -> Self {
        Self { cut_short: unsettled, length, ..Self::default() }
    }

    /// Begins a poll unless one is under way.
    pub fn begin(&mut self, poll: Poll) {
        if self.walk.is_some() {
            return;
        }
        let page_size = u64::from(poll.page_size);
        let rows = (self.depth + self.depth / 2).max(IDLE_ROWS);
        let unsettled = self.unsettled();
        let (offset, rows) = match poll.front {
            Front::Top => (0, rows.max(poll.live_depth).max(unsettled + SETTLED)),
            Front::Bottom => (self.length.saturating_sub(TAIL + unsettled), rows + TAIL + unsettled),
            // A list that fits into one page is looked at whole.
            Front::Anywhere if poll.present < page_size => (0, page_size),
            Front::Anywhere => (0, rows.max(poll.live_depth)),
        };
        let rows = if poll.flat { page_size } else { rows.min(page_size) };
        let limit = u32::try_from(rows).unwrap_or(poll.page_size);
        (self.settled, self.fresh) = (0, self.moved.len() as u64);
        self.walk = Some((Walk::part(offset, limit, self.moved.drain()), poll.front));
    }

    /// The next page of the poll under way, and whether it is its first.
    pub fn request(&self) -> Option<((u64, u32), bool)> {
        self.walk.as_ref().map(|(walk, _)| (walk.request(), walk.pages == 0))
    }

    /// A walk over the whole list found this length; `complete` if it saw every call.
    pub fn swept(&mut self, length: u64, complete: bool) {
        self.length = length;
        if complete {
            self.cut_short = 0;
        }
    }

    /// The length of the list when its end was last seen.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Another request showed this call.
    pub fn note(&mut self, row: &Row) {
        if row.new || row.moved {
            self.moved.insert(row.slot);
        }
        if let Some((walk, _)) = &mut self.walk {
            walk.note(row);
        }
    }

    /// How many calls may have unknown ones behind them if the process ends now.
    pub fn unsettled(&self) -> u64 {
        self.cut_short + self.moved.len() as u64 + self.fresh
    }

    pub fn on_page(&mut self, page: &Page, poll: Poll) -> Polled {
        let Some((walk, front)) = &mut self.walk else { return Polled::Done { single: false } };
        let settled = page.rows.iter().filter(|row| walk.is_old(row)).count() as u64;
        let fresh = page.rows.iter().filter(|row| row.new).count() as u64;
        self.fresh += fresh;
        let walked = walk.on_page(page);
        let short = page.received < u64::from(page.limit).min(poll.clamp);
        let enough = walk.joined()
            && match front {
                Front::Top => {
                    self.settled += settled;
                    self.settled >= self.cut_short + SETTLED
                        || fresh == 0 && page.received >= poll.present
                        || short && page.total == Some(page.end())
                }
                Front::Bottom => short && fresh == 0 || page.total == Some(page.end()),
                Front::Anywhere => true,
            };
        if walked == Walked::On && !enough {
            walk.set_limit(poll.page_size);
            return Polled::On;
        }
        if *front == Front::Bottom {
            self.length = match walked {
                Walked::End { length, .. } => length,
                Walked::On | Walked::Flat => page.end(),
            };
        }
        let single = walk.pages == 1;
        let needed =
            if single { last_of_interest(page, *front) + SETTLED } else { u64::from(poll.page_size) };
        self.depth = needed.max(self.depth - self.depth.div_ceil(4));
        self.walk = None;
        (self.cut_short, self.fresh) = (0, 0);
        Polled::Done { single }
    }
}

/// How many rows it took to show every new call: from the top of the page, or at the end of the list just their number.
fn last_of_interest(page: &Page, front: Front) -> u64 {
    match front {
        Front::Bottom => page.rows.iter().filter(|row| row.new).count() as u64,
        _ => page.rows.iter().rposition(|row| row.new).map_or(0, |i| i as u64 + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::known, *};

    const POLL: Poll =
        Poll { front: Front::Top, page_size: 50, live_depth: 0, present: 1000, clamp: u64::MAX, flat: false };

    fn new(slot: Slot) -> Row {
        Row { new: true, ..known(slot) }
    }

    /// The state of a poll after its first page, which has these rows.
    fn polled(poll: Poll, rows: &[Row], total: Option<u64>) -> Polled {
        let mut head = Head::new(0, 1000);
        head.begin(poll);
        let ((offset, limit), is_first) = head.request().unwrap();
        assert!(is_first);
        head.on_page(&Page { offset, limit, rows, received: rows.len() as u64, total }, poll)
    }

    const DONE: Polled = Polled::Done { single: true };

    #[test]
    fn a_poll_from_the_top_ends_beyond_three_calls_that_were_known() {
        assert_eq!(polled(POLL, &[new(9), known(0), known(1), known(2)], None), DONE);
        assert_eq!(polled(POLL, &[new(9), known(0), known(1)], None), Polled::On);
        let moved = Row { moved: true, ..known(2) };
        assert_eq!(polled(POLL, &[new(9), known(0), known(1), moved], None), Polled::On);
    }

    #[test]
    fn a_list_of_fewer_calls_ends_where_all_are_known_or_where_total_says() {
        let two = Poll { present: 2, ..POLL };
        assert_eq!(polled(two, &[known(0), known(1)], None), DONE);
        assert_eq!(polled(POLL, &[known(0), known(1)], None), Polled::On);
        assert_eq!(polled(two, &[new(9), known(0), known(1)], None), Polled::On);
        assert_eq!(polled(two, &[new(9), known(0), known(1)], Some(3)), DONE);
        assert_eq!(polled(two, &[new(9), known(0), known(1)], Some(4)), Polled::On);
        // A full page that ends where `total` says may not be the last: `total` may be wrong.
        let full: Vec<Row> = (10..18).map(new).chain([known(0), known(1)]).collect();
        assert_eq!(polled(two, &full, Some(10)), Polled::On);
    }

    #[test]
    fn a_poll_of_the_end_goes_on_while_there_may_be_more() {
        let bottom = Poll { front: Front::Bottom, ..POLL };
        let begun = || {
            let mut head = Head::new(0, 1000);
            head.begin(bottom);
            let ((offset, limit), _) = head.request().unwrap();
            assert_eq!((offset, limit), (1000 - TAIL, 14));
            (head, offset, limit)
        };
        let full: Vec<Row> = (0..14).map(known).collect();
        for (rows, total, expected) in [
            (&full[..4], None, DONE),
            (&full[..], None, Polled::On),
            (&full[..], Some(996 + 14), DONE),
            (&[known(0), new(9)][..], None, Polled::On),
            (&[known(0), new(9)][..], Some(998), DONE),
        ] {
            let (mut head, offset, limit) = begun();
            let page = Page { offset, limit, rows, received: rows.len() as u64, total };
            assert_eq!(head.on_page(&page, bottom), expected, "{} rows, {total:?}", rows.len());
            if expected == DONE {
                assert_eq!(head.length(), page.end());
            }
        }
    }

    #[test]
    fn a_list_that_fits_into_one_page_is_looked_at_whole() {
        for (present, rows) in [(0, 50), (49, 50), (50, IDLE_ROWS as u32), (1000, IDLE_ROWS as u32)] {
            let mut head = Head::new(0, present);
            head.begin(Poll { front: Front::Anywhere, present, ..POLL });
            assert_eq!(head.request(), Some(((0, rows), true)), "{present} calls");
        }
    }

    #[test]
    fn a_walk_that_saw_every_call_leaves_nothing_unsettled() {
        let mut head = Head::new(2, 1000);
        head.swept(900, false);
        assert_eq!((head.length(), head.unsettled()), (900, 2));
        head.swept(800, true);
        assert_eq!((head.length(), head.unsettled()), (800, 0));
    }

    #[test]
    fn the_next_poll_asks_for_half_as_much_again_as_it_took() {
        let mut rows: Vec<Row> = (0..23).map(known).collect();
        rows[19] = new(99);
        let mut head = Head::new(0, 1000);
        head.begin(Poll { live_depth: 40, ..POLL });
        let ((offset, limit), _) = head.request().unwrap();
        assert_eq!((offset, limit), (0, 40));
        let page = Page { offset, limit, rows: &rows, received: 23, total: None };
        assert_eq!(head.on_page(&page, POLL), DONE);
        head.begin(POLL);
        // The new one was the twentieth row, and three settled ones end a poll.
        assert_eq!(head.request(), Some(((0, 23 + 11), true)));
    }

    #[test]
    fn calls_that_were_cut_off_by_the_end_of_the_process_are_looked_beyond() {
        let mut head = Head::new(2, 1000);
        assert_eq!(head.unsettled(), 2);
        head.begin(POLL);
        let ((offset, limit), _) = head.request().unwrap();
        let rows: Vec<Row> = (0..4).map(known).collect();
        let page = |rows| Page { offset, limit, rows, received: 4, total: None };
        assert_eq!(head.on_page(&page(&rows), POLL), Polled::On, "three known ones are not enough");
        let rows: Vec<Row> = (3..8).map(known).collect();
        let ((offset, limit), _) = head.request().unwrap();
        let page = Page { offset, limit, rows: &rows, received: 5, total: None };
        assert_eq!(head.on_page(&page, POLL), Polled::Done { single: false });
        assert_eq!(head.unsettled(), 0);
    }
}
