//! The order of the list, measured from its pages and never taken for granted.

use super::Row;
use crate::time::Timestamp;

/// How many pairs of neighbours must agree before an order is believed.
const ENOUGH: u32 = 3;
/// One pair in this many may disagree, because calls that start at the same moment can overtake each other.
const ONE_IN: u32 = 50;
/// When more pairs than this have been counted, all counts are halved, so that older pairs weigh less.
const MEMORY: u32 = 2000;

/// An order of the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Order {
    #[default]
    Unknown,
    NewestFirst,
    OldestFirst,
    LatestUpdateFirst,
    LatestUpdateLast,
}

/// Where in the list new calls turn up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front {
    Top,
    Bottom,
    Anywhere,
}

impl Order {
    pub fn front(self) -> Front {
        match self {
            Self::NewestFirst | Self::LatestUpdateFirst => Front::Top,
            Self::OldestFirst | Self::LatestUpdateLast => Front::Bottom,
            Self::Unknown => Front::Anywhere,
        }
    }
}

/// How many pairs of neighbours fall in time, and how many rise.
#[derive(Clone, Copy, Debug, Default)]
struct Pairs {
    falling: u32,
    rising: u32,
}

impl Pairs {
    fn count(&mut self, before: Option<Timestamp>, after: Option<Timestamp>) {
        if let (Some(before), Some(after)) = (before, after) {
            self.falling += u32::from(before > after);
            self.rising += u32::from(before < after);
        }
    }

    fn fade(&mut self) {
        if self.falling + self.rising > MEMORY {
            self.falling /= 2;
            self.rising /= 2;
        }
    }

    fn falls(self) -> bool {
        self.falling >= ENOUGH && self.rising * ONE_IN <= self.falling
    }

    fn rises(self) -> bool {
        self.rising >= ENOUGH && self.falling * ONE_IN <= self.rising
    }
}

/// The evidence for an order, and the order it shows.
#[derive(Debug, Default)]
pub(super) struct OrderSense {
    created: Pairs,
    updated: Pairs,
    order: Order,
}

impl OrderSense {
    /// Begins with the order that an earlier run had learned.
    pub fn new(order: Order) -> Self {
        Self { order, ..Self::default() }
    }

    pub fn order(&self) -> Order {
        self.order
    }

    /// Learns from the rows of one page. Returns the order if it has changed.
    pub fn learn(&mut self, rows: &[Row]) -> Option<Order> {
        for pair in rows.windows(2) {
            self.created.count(pair[0].created_at, pair[1].created_at);
            self.updated.count(pair[0].updated_at, pair[1].updated_at);
        }
        let order = match (self.created, self.updated) {
            (created, _) if created.falls() => Order::NewestFirst,
            (created, _) if created.rises() => Order::OldestFirst,
            (_, updated) if updated.falls() => Order::LatestUpdateFirst,
            (_, updated) if updated.rises() => Order::LatestUpdateLast,
            // With too little evidence, the order of an earlier run stands until a pair contradicts it.
            (created, updated) if self.undecided(created, updated) => self.order,
            _ => Order::Unknown,
        };
        self.created.fade();
        self.updated.fade();
        if order == self.order {
            return None;
        }
        // A list that lost its order is measured anew.
        if order == Order::Unknown {
            self.created = Pairs::default();
            self.updated = Pairs::default();
        }
        self.order = order;
        Some(order)
    }

    fn undecided(&self, created: Pairs, updated: Pairs) -> bool {
        match self.order {
            Order::NewestFirst => created.rising == 0,
            Order::OldestFirst => created.falling == 0,
            Order::LatestUpdateFirst => updated.rising == 0,
            Order::LatestUpdateLast => updated.falling == 0,
            Order::Unknown => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::known, *};

    /// Rows with these `createdAt` and `updatedAt`.
    fn rows(times: &[(i64, i64)]) -> Vec<Row> {
        let at = |millis: &i64| Some(Timestamp::from_millis(*millis));
        times
            .iter()
            .map(|(created, updated)| Row { created_at: at(created), updated_at: at(updated), ..known(0) })
            .collect()
    }

    #[test]
    fn the_order_of_an_earlier_run_stands_until_a_pair_contradicts_it() {
        for (order, fits, contradicts) in [
            (Order::NewestFirst, [(2, 0), (1, 0)], [(1, 0), (2, 0)]),
            (Order::OldestFirst, [(1, 0), (2, 0)], [(2, 0), (1, 0)]),
            (Order::LatestUpdateFirst, [(0, 2), (0, 1)], [(0, 1), (0, 2)]),
            (Order::LatestUpdateLast, [(0, 1), (0, 2)], [(0, 2), (0, 1)]),
        ] {
            let mut sense = OrderSense::new(order);
            assert_eq!(sense.learn(&rows(&fits)), None, "{order:?}");
            assert_eq!(sense.learn(&rows(&contradicts)), Some(Order::Unknown), "{order:?}");
        }
    }

    fn learned(times: &[(i64, i64)]) -> Order {
        let mut sense = OrderSense::default();
        sense.learn(&rows(times));
        sense.order()
    }

    #[test]
    fn the_order_is_told_from_the_times() {
        assert_eq!(learned(&[(9, 9), (7, 8), (5, 8), (3, 9)]), Order::NewestFirst);
        assert_eq!(learned(&[(1, 9), (2, 8), (3, 8), (4, 9)]), Order::OldestFirst);
        assert_eq!(learned(&[(1, 9), (7, 8), (5, 7), (9, 6)]), Order::LatestUpdateFirst);
        assert_eq!(learned(&[(1, 1), (7, 8), (5, 9), (9, 10)]), Order::LatestUpdateLast);
        assert_eq!(learned(&[(1, 1), (7, 8), (5, 6), (9, 10)]), Order::Unknown);
    }

    #[test]
    fn two_calls_are_no_evidence() {
        assert_eq!(learned(&[(9, 9), (7, 7)]), Order::Unknown);
        assert_eq!(learned(&[(7, 7), (7, 7), (7, 7), (7, 7), (7, 7)]), Order::Unknown);
    }

    #[test]
    fn what_was_learned_lasts_until_something_speaks_against_it() {
        let mut sense = OrderSense::new(Order::NewestFirst);
        assert_eq!(sense.learn(&rows(&[(9, 9), (7, 7)])), None);
        assert_eq!(sense.learn(&rows(&[(1, 1), (7, 7)])), Some(Order::Unknown));
        assert_eq!(sense.learn(&rows(&[(1, 1), (2, 2), (3, 3), (4, 4)])), Some(Order::OldestFirst));
    }

    #[test]
    fn one_call_that_overtook_another_does_not_overthrow_the_order() {
        let mut times: Vec<_> = (0..100).rev().map(|i| (i, i)).collect();
        times.swap(40, 41);
        assert_eq!(learned(&times), Order::NewestFirst);
    }

    #[test]
    fn a_list_that_turns_round_after_years_is_noticed_within_a_page() {
        let falling: Vec<_> = (0..100).rev().map(|i| (i, 0)).collect();
        let rising: Vec<_> = (0..100).map(|i| (i, 0)).collect();
        let mut sense = OrderSense::default();
        assert_eq!(sense.learn(&rows(&falling)), Some(Order::NewestFirst));
        for _ in 0..500 {
            assert_eq!(sense.learn(&rows(&falling)), None);
        }
        assert_eq!(sense.learn(&rows(&rising)), Some(Order::Unknown));
    }
}
