//! How often Slack may be bothered with one token: <https://docs.slack.dev/apis/web-api/rate-limits>.
//!
//! Slack counts edits by token, and new messages by channel. Destinations that share a token therefore share a [`Budget`],
//! which belongs to this process. Whoever finds no room is promised a time, and finds room then: so nobody has to ask again
//! and again, and nobody who comes later goes first.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::time::Instant;

/// Edits in any minute, all channels together.
const EDITS: (u32, Duration) = (50, Duration::from_secs(60));

/// How many edits may go out at once after a rest.
const BURST_OF_EDITS: u32 = 5;

/// The time between two new messages in a channel.
const BETWEEN_POSTS: Duration = Duration::from_secs(1);

/// How long a promised time is kept for whoever it was promised to.
const GRACE: Duration = Duration::from_secs(10);

/// The most promised times that are kept. A request beyond them is told to come back after the last one.
const MAX_PROMISES: usize = 1000;

/// The budgets of the tokens that are in use. A destination that is built anew has to find what the former one has used up,
/// so they outlast a config.
static BUDGETS: LazyLock<Mutex<BTreeMap<String, Weak<Budget>>>> = LazyLock::new(Mutex::default);

/// The room that is left for requests with one token.
#[derive(Debug)]
pub(super) struct Budget(Mutex<Paces>);

#[derive(Debug)]
struct Paces {
    edits: Pace,
    /// By channel, as the config writes it.
    posts: BTreeMap<String, Pace>,
}

/// Something to be done with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed<'a> {
    /// A message is edited.
    Edit,
    /// A new message in this channel.
    Post(&'a str),
}

impl Budget {
    /// The budget of everyone who uses the token of this fingerprint.
    pub(super) fn of_token(fingerprint: &str) -> Arc<Self> {
        let mut budgets = BUDGETS.lock().unwrap_or_else(PoisonError::into_inner);
        budgets.retain(|_, budget| budget.strong_count() > 0);
        if let Some(budget) = budgets.get(fingerprint).and_then(Weak::upgrade) {
            return budget;
        }
        let budget = Arc::new(Self(Mutex::new(Paces { edits: Pace::of_edits(), posts: BTreeMap::new() })));
        budgets.insert(fingerprint.to_owned(), Arc::downgrade(&budget));
        budget
    }

    /// Asks for room at `now`: `None` means that there is, and that it is used up. Otherwise the time to wait.
    pub(super) fn ask(&self, deed: Deed<'_>, now: Instant) -> Option<Duration> {
        self.with(deed, |pace| pace.ask(now))
    }

    /// Notes that something is done at `now` whether there is room or not: what follows waits longer for it.
    pub(super) fn spend(&self, deed: Deed<'_>, now: Instant) {
        self.with(deed, |pace| pace.spend(now));
    }

    /// Gives no room before `until`, because Slack asked for it.
    pub(super) fn block(&self, deed: Deed<'_>, until: Instant) {
        self.with(deed, |pace| pace.block(until));
    }

    fn with<T>(&self, deed: Deed<'_>, act: impl FnOnce(&mut Pace) -> T) -> T {
        let mut paces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match deed {
            Deed::Edit => act(&mut paces.edits),
            Deed::Post(channel) => act(paces.posts.entry(channel.to_owned()).or_insert_with(Pace::of_posts)),
        }
    }
}

/// The generic cell rate algorithm (ITU-T I.371), with times that are promised.
#[derive(Debug)]
struct Pace {
    /// The time between two deeds in the long run.
    emission: Duration,
    /// How far ahead of that a burst may run.
    tolerance: Duration,
    /// When the next deed would be due without a burst; `None` before the first.
    expected: Option<Instant>,
    /// The times at which somebody was told to come back, the earliest first.
    promised: VecDeque<Instant>,
}

impl Pace {
    /// No minute holds more than 50: the burst, and one for each emission interval that ends within the minute.
    fn of_edits() -> Self {
        let (count, period) = EDITS;
        let emission = period / (count - BURST_OF_EDITS + 1) + Duration::from_millis(1);
        Self::new(emission, emission * (BURST_OF_EDITS - 1))
    }

    fn of_posts() -> Self {
        Self::new(BETWEEN_POSTS, Duration::ZERO)
    }

    fn new(emission: Duration, tolerance: Duration) -> Self {
        Self { emission, tolerance, expected: None, promised: VecDeque::new() }
    }

    fn ask(&mut self, now: Instant) -> Option<Duration> {
        while self.promised.front().is_some_and(|at| *at + GRACE < now) {
            self.promised.pop_front();
        }
        if self.promised.front().is_some_and(|at| *at <= now) {
            self.promised.pop_front();
            return None;
        }
        let free = self.free_at(now);
        if free <= now {
            self.spend(now);
            return None;
        }
        match self.promised.back() {
            Some(last) if self.promised.len() >= MAX_PROMISES => Some(*last - now + self.emission),
            _ => {
                self.spend(now);
                self.promised.push_back(free);
                Some(free - now)
            }
        }
    }

    fn spend(&mut self, now: Instant) {
        self.expected = Some(self.expected.map_or(now, |expected| expected.max(now)) + self.emission);
    }

    fn block(&mut self, until: Instant) {
        let blocked = until + self.tolerance;
        self.expected = Some(self.expected.map_or(blocked, |expected| expected.max(blocked)));
        self.promised.clear();
    }

    fn free_at(&self, now: Instant) -> Instant {
        self.expected.and_then(|expected| expected.checked_sub(self.tolerance)).unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Asks again whenever it was told to, for `waiters` at once; returns when each found room.
    fn granted(pace: &mut Pace, start: Instant, waiters: usize) -> Vec<Instant> {
        let mut at = VecDeque::from(vec![start; waiters]);
        let mut granted = vec![];
        let mut asked = 0;
        while let Some(now) = at.pop_front() {
            asked += 1;
            match pace.ask(now) {
                None => granted.push(now),
                Some(wait) => {
                    assert!(!wait.is_zero(), "it would be asked again at once");
                    at.push_back(now + wait);
                }
            }
        }
        assert!(asked <= 2 * waiters, "{asked} questions of {waiters}");
        granted.sort();
        granted
    }

    #[test]
    fn no_minute_holds_more_than_fifty_edits_and_all_find_room() {
        let start = Instant::now();
        let granted = granted(&mut Pace::of_edits(), start, 400);
        assert_eq!(granted.len(), 400);
        for (place, first) in granted.iter().enumerate() {
            let within = granted[place..].iter().take_while(|at| **at < *first + EDITS.1).count();
            assert!(within <= 50, "{within}");
        }
        let lasted = *granted.last().unwrap() - start;
        assert!(lasted < Duration::from_secs(400 * 60 / 45), "{lasted:?}: that is far less than is allowed");
    }

    #[test]
    fn a_channel_has_one_post_a_second_and_others_are_not_held_up_by_it() {
        let budget = Budget::of_token("a channel has one post a second");
        let now = Instant::now();
        assert_eq!(budget.ask(Deed::Post("#a"), now), None);
        assert_eq!(budget.ask(Deed::Post("#a"), now), Some(ms(1000)));
        assert_eq!(budget.ask(Deed::Post("#a"), now), Some(ms(2000)));
        assert_eq!(budget.ask(Deed::Post("#b"), now), None);
        assert_eq!(budget.ask(Deed::Edit, now), None);
        assert_eq!(budget.ask(Deed::Post("#a"), now + ms(1000)), None, "as promised");
        assert_eq!(budget.ask(Deed::Post("#a"), now + ms(1000)), Some(ms(2000)), "the other promise stands");
    }

    #[test]
    fn those_who_share_a_token_share_its_budget_also_after_one_of_them_was_built_anew() {
        let now = Instant::now();
        let one = Budget::of_token("shared");
        let other = Budget::of_token("shared");
        for _ in 0..BURST_OF_EDITS {
            assert_eq!(one.ask(Deed::Edit, now), None);
        }
        assert!(other.ask(Deed::Edit, now).is_some());
        drop(one);
        let again = Budget::of_token("shared");
        drop(other);
        assert!(again.ask(Deed::Edit, now).is_some());
        assert!(Budget::of_token("another").ask(Deed::Edit, now).is_none());
    }

    #[test]
    fn slack_is_left_alone_as_long_as_it_asks_and_what_is_done_beside_counts() {
        let now = Instant::now();
        let mut pace = Pace::of_edits();
        pace.block(now + ms(30_000));
        assert_eq!(pace.ask(now), Some(ms(30_000)));
        let mut pace = Pace::of_posts();
        pace.spend(now);
        assert_eq!(pace.ask(now), Some(ms(1000)));
    }

    #[test]
    fn a_promise_that_nobody_asks_for_is_given_up() {
        let now = Instant::now();
        let mut pace = Pace::of_posts();
        assert_eq!(pace.ask(now), None);
        assert!(pace.ask(now).is_some());
        let later = now + GRACE + ms(1001);
        assert_eq!(pace.ask(later), None);
        assert!(pace.ask(later).is_some(), "the old promise is no second room");
    }
}
