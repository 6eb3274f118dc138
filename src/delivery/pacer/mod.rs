//! When deliveries that are held go out, and with which others. Pure.
//!
//! The rule that fired decides in which batch a delivery waits ([`crate::rule::pacing::placement`]); the pacer decides when
//! the batch goes out. How much was told lately stands in a [`Ledger`] in the store; what waits is known from the deliveries
//! themselves. So a restart forgets neither, and a delivery that comes in costs no write.
//!
//! # Quiet hours
//!
//! A delivery that fires for a destination with quiet hours waits in [`BatchKey::Quiet`] unless its rule is critical or has a
//! batch of its own. It goes on at once when the hours are not on, and otherwise when they end. Batches of rules wait for
//! that end, too. A due delivery that may have been tried waits in [`BatchKey::Alone`]: see [`Pacer::is_quiet_for`].

mod ledger;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;

use self::ledger::{Batch, Hit, Ledger};
use super::Moment;
use crate::{
    batch::BatchKey,
    calendar::Hours,
    event::Severity,
    name::Name,
    rule::{Rule, Rules},
    store::Token,
    summary::Reason,
    time::Timestamp,
};

/// Something exactly as old as a limit is still within it.
const MOMENT: Duration = Duration::from_millis(1);

/// The two clocks drift apart. Only when they part by more than this at once has somebody set the one for people.
const LEAP: Duration = Duration::from_secs(1);

/// The batches of a destination. All times are those of the clock for people, and move with it when it is set: what was
/// ten minutes old stays so. Only digests and quiet hours go by the clock itself, because it is what people mean by them.
#[derive(Debug)]
pub(super) struct Pacer {
    rules: Rules,
    quiet: Option<Hours>,
    batches: BTreeMap<BatchKey, Batch>,
    /// Batches whose ledgers differ from those in the store.
    changed: BTreeSet<BatchKey>,
    /// Batches that go out by a message that is not in the store yet. Their ledgers are written together with it.
    going: Vec<BatchKey>,
    /// The next time at which there is something to do, or an earlier one.
    next: Option<Timestamp>,
    /// The time by both clocks when they were looked at last.
    looked: Option<Moment>,
}

/// A delivery that is held from now on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newcomer {
    pub(super) token: Token,
    /// When it came in.
    pub(super) came: Timestamp,
    /// When it happened, as far as the call says.
    pub(super) happened: Timestamp,
}

/// Batches that go out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    pub(super) batches: Vec<BatchKey>,
    /// Why as one message; `None` when each delivery goes out by itself.
    pub(super) reason: Option<Reason>,
}

impl Pacer {
    /// A pacer that begins with the ledgers that the store keeps.
    pub(super) fn new(rules: Rules, quiet: Option<Hours>, ledgers: BTreeMap<BatchKey, Value>) -> Self {
        let batch = |kept| Batch { ledger: Ledger::load(kept), ..Batch::default() };
        let batches = ledgers.into_iter().map(|(key, kept)| (key, batch(kept))).collect();
        // A ledger may have expired by now.
        let next = Some(Timestamp::default());
        Self { rules, quiet, batches, changed: BTreeSet::new(), going: vec![], next, looked: None }
    }

    /// Takes in the time, before anything else is asked. When the clock for people was set since, what is measured moves
    /// with it.
    pub(super) fn look_at_the_clocks(&mut self, now: Moment) {
        let Some(before) = self.looked.replace(now) else { return };
        let was_to_be = before.wall.after(now.steady.since(before.steady));
        let (ahead, behind) = (now.wall.since(was_to_be), was_to_be.since(now.wall));
        if ahead.max(behind) < LEAP {
            return;
        }
        for (key, batch) in &mut self.batches {
            if let BatchKey::Group { .. } | BatchKey::Count { .. } | BatchKey::Throttle { .. } = key
                && batch.shift(|at| at.after(ahead).before(behind))
            {
                self.changed.insert(key.clone());
            }
        }
        self.next = Some(Timestamp::default());
    }

    /// Takes over the rules of another config. Every batch is looked at again: it may be due by them.
    pub(super) fn follow_rules(&mut self, rules: Rules) {
        self.rules = rules;
        for (key, batch) in &mut self.batches {
            let rule = key.rule().and_then(|rule| self.rules.get(rule));
            if batch.recount(rule.and_then(|rule| rule.pacing.count.as_ref())) {
                self.changed.insert(key.clone());
            }
        }
        self.next = Some(Timestamp::default());
    }

    /// Takes in a delivery that is held; returns whether it is to be released at once instead of waiting.
    pub(super) fn came(&mut self, key: &BatchKey, newcomer: Newcomer, now: Timestamp) -> bool {
        if self.may_go_at_once(key, newcomer.came, now) {
            if let BatchKey::Throttle { rule, .. } = key {
                let throttle = self.rules.get(rule).and_then(|rule| rule.pacing.throttle.as_ref());
                self.batches.entry(key.clone()).or_default().ledger.sent(now, throttle);
                self.changed.insert(key.clone());
            }
            self.wake_for(key, now);
            return true;
        }
        let Newcomer { token, came, happened } = newcomer;
        let batch = self.batches.entry(key.clone()).or_default();
        batch.since = Some(batch.since.map_or(came, |since| since.min(came)));
        if let BatchKey::Count { rule, .. } = key {
            let count = self.rules.get(rule).and_then(|rule| rule.pacing.count.as_ref());
            if batch.hit(Hit { at: happened, came, token }, count) {
                self.changed.insert(key.clone());
            }
        }
        self.wake_for(key, now);
        false
    }

    /// Whether a delivery that came in at `came` need not wait in its batch.
    fn may_go_at_once(&self, key: &BatchKey, came: Timestamp, now: Timestamp) -> bool {
        let was_quiet = || self.quiet_hours_of(key).is_some_and(|hours| hours.contain(came));
        let is_quiet = || self.quiet_hours_of(key).is_some_and(|hours| hours.contain(now));
        match key {
            BatchKey::Alone => !is_quiet(),
            BatchKey::Quiet => !is_quiet() && !was_quiet(),
            BatchKey::Throttle { rule, .. } => {
                let throttle = self.rules.get(rule).and_then(|rule| rule.pacing.throttle.as_ref());
                let is_free = |batch: &Batch| batch.since.is_none() && batch.ledger.slot(throttle) <= now;
                self.batches.get(key).is_none_or(is_free) && !is_quiet() && !was_quiet()
            }
            BatchKey::Group { .. } | BatchKey::Count { .. } | BatchKey::Digest(_) => false,
        }
    }

    /// Notes that a delivery has left its batch by itself, because a person dropped or retried it. `is_empty` when it
    /// was the last one.
    pub(super) fn left(&mut self, key: &BatchKey, token: Token, is_empty: bool) {
        let Some(batch) = self.batches.get_mut(key) else { return };
        batch.hits.retain(|hit| hit.token != token);
        if is_empty {
            batch.since = None;
            // The batch may be over.
            self.next = Some(Timestamp::default());
        }
    }

    /// Whether what `rule` tells has to wait because of the quiet hours. A due delivery of it may have been tried, so it
    /// waits in [`BatchKey::Alone`]: a repeat must carry the id of the first attempt.
    pub(super) fn is_quiet_for(&self, rule: &Name, now: Timestamp) -> bool {
        self.quiet.as_ref().is_some_and(|hours| hours.contain(now)) && !self.is_critical(rule)
    }

    fn is_critical(&self, rule: &Name) -> bool {
        self.rules.get(rule).is_some_and(|rule| rule.text.severity == Severity::Critical)
    }

    /// The quiet hours that a batch has to keep.
    fn quiet_hours_of(&self, key: &BatchKey) -> Option<&Hours> {
        self.quiet.as_ref().filter(|_| !key.rule().is_some_and(|rule| self.is_critical(rule)))
    }

    fn rule_of(&self, key: &BatchKey) -> Option<&Rule> {
        key.rule().and_then(|rule| self.rules.get(rule))
    }

    /// Forgets what is over: deliveries that are too old for their `count`, which are returned, and batches in which
    /// nothing waits and whose messages no limit remembers. Everything committed must have been taken in before,
    /// because it may complete a count.
    pub(super) fn expire(&mut self, now: Timestamp) -> Vec<Token> {
        let mut late = vec![];
        let mut over = vec![];
        for (key, batch) in &mut self.batches {
            let rule = key.rule().and_then(|rule| self.rules.get(rule));
            if batch.not_after(now) {
                self.changed.insert(key.clone());
            }
            if matches!(key, BatchKey::Count { .. }) {
                late.extend(batch.drop_late(rule.and_then(|rule| rule.pacing.count.as_ref()), now));
            }
            if batch.since.is_none() && batch.ledger.forgotten_at(rule).is_none_or(|at| at <= now) {
                over.push(key.clone());
            }
        }
        for key in over {
            if self.batches.remove(&key).is_some_and(|batch| !batch.ledger.is_empty()) {
                self.changed.insert(key);
            }
        }
        self.next = self.batches.iter().filter_map(|(key, batch)| self.next_of(key, batch, now)).min();
        late
    }

    /// The batches that go out at `now`. When quiet hours end, everything that they held back goes out as one, together with
    /// all other batches that are due.
    pub(super) fn due(&self, now: Timestamp) -> Vec<Outgoing> {
        let is_due =
            |(key, batch): &(&BatchKey, &Batch)| self.due_at(key, batch, now).is_some_and(|at| at <= now);
        let due: Vec<_> = self.batches.iter().filter(is_due).collect();
        let held_back = due.iter().filter(|(key, batch)| self.is_held_back(key, batch)).count();
        let keys = due.into_iter().map(|(key, _)| key.clone());
        let (alone, due): (Vec<_>, Vec<_>) = keys.partition(|key| *key == BatchKey::Alone);
        let alone = alone.into_iter().map(|key| Outgoing { batches: vec![key], reason: None });
        if due.contains(&BatchKey::Quiet) || held_back > 1 {
            return alone.chain([Outgoing { batches: due, reason: Some(Reason::Quiet) }]).collect();
        }
        let each = |key: BatchKey| Outgoing { reason: Some(Reason::from(&key)), batches: vec![key] };
        alone.chain(due.into_iter().map(each)).collect()
    }

    /// Whether a batch of a rule would have gone out within the quiet hours.
    fn is_held_back(&self, key: &BatchKey, batch: &Batch) -> bool {
        let due = self.due_at_any_hour(key, batch);
        key.rule().is_some()
            && self.quiet_hours_of(key).zip(due).is_some_and(|(hours, due)| hours.contain(due))
    }

    /// Notes that these batches go out. When they go by a message that has to be written first, their ledgers are not among
    /// the [`Pacer::changes`] before [`Pacer::being_written`].
    pub(super) fn gone(&mut self, keys: &[BatchKey], by_message: bool, now: Timestamp) {
        for key in keys {
            let rule = key.rule().and_then(|rule| self.rules.get(rule));
            let Some(batch) = self.batches.get_mut(key) else { continue };
            batch.since = None;
            batch.hits.clear();
            let mut changed = batch.ledger.reached.take().is_some();
            let pacing = rule.map(|rule| &rule.pacing);
            // Only groups and throttles depend on when the last message went out.
            let limited = pacing.filter(|pacing| pacing.group.is_some() || pacing.throttle.is_some());
            if let Some(pacing) = limited.filter(|_| by_message) {
                batch.ledger.sent(now, pacing.throttle.as_ref());
                changed = true;
            }
            if batch.ledger.is_empty() {
                self.batches.remove(key);
            }
            if changed {
                self.changed.insert(key.clone());
            }
        }
        if by_message {
            self.going.extend(keys.iter().cloned());
        }
        self.next = self.batches.iter().filter_map(|(key, batch)| self.next_of(key, batch, now)).min();
    }

    /// Notes that the message by which these batches go out is being written.
    pub(super) fn being_written(&mut self, keys: &[BatchKey]) {
        for key in keys {
            if let Some(place) = self.going.iter().position(|going| going == key) {
                self.going.swap_remove(place);
            }
        }
    }

    /// Whether there is something to do.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.next.is_some_and(|next| next <= now)
    }

    /// When there is something to do: then [`Pacer::expire`] and [`Pacer::due`] are to be asked.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.next
    }

    fn wake_for(&mut self, key: &BatchKey, now: Timestamp) {
        let next = self.batches.get(key).and_then(|batch| self.next_of(key, batch, now));
        self.next = self.next.into_iter().chain(next).min();
    }

    fn next_of(&self, key: &BatchKey, batch: &Batch, now: Timestamp) -> Option<Timestamp> {
        let rule = self.rule_of(key);
        let count = rule.and_then(|rule| rule.pacing.count.as_ref());
        let oldest = batch.hits.iter().map(|hit| hit.came).min().filter(|_| batch.ledger.reached.is_none());
        let late = oldest.map(|came| count.map_or(now, |count| came.after(count.within).after(MOMENT)));
        let over = batch.ledger.forgotten_at(rule).filter(|_| batch.since.is_none());
        [self.due_at(key, batch, now), late, over].into_iter().flatten().min()
    }

    /// The ledgers that have changed since this was last asked; `None` forgets one.
    pub(super) fn changes(&mut self) -> Vec<(BatchKey, Option<Value>)> {
        let going = |key: &BatchKey| self.going.contains(key);
        let (later, changed): (BTreeSet<_>, BTreeSet<_>) =
            std::mem::take(&mut self.changed).into_iter().partition(going);
        self.changed = later;
        let kept = |key: &BatchKey| {
            let ledger =
                self.batches.get(key).map(|batch| &batch.ledger).filter(|ledger| !ledger.is_empty())?;
            // A list of numbers always has a JSON form.
            serde_json::to_value(ledger).ok()
        };
        changed.into_iter().map(|key| (key.clone(), kept(&key))).collect()
    }

    /// When a batch goes out; `None` when nothing waits in it, or when more has to come in first.
    pub(super) fn goes_out(&self, key: &BatchKey, now: Timestamp) -> Option<Timestamp> {
        self.batches.get(key).and_then(|batch| self.due_at(key, batch, now))
    }

    /// When a batch goes out, if anything waits in it: not within quiet hours.
    fn due_at(&self, key: &BatchKey, batch: &Batch, now: Timestamp) -> Option<Timestamp> {
        let due = self.due_at_any_hour(key, batch)?;
        match self.quiet_hours_of(key) {
            // What was due yesterday must not go out tonight. During quiet hours without an end nothing goes out.
            Some(hours) => hours.end(due.max(now)),
            None => Some(due),
        }
    }

    fn due_at_any_hour(&self, key: &BatchKey, batch: &Batch) -> Option<Timestamp> {
        let since = batch.since?;
        let rule = self.rule_of(key);
        let throttle = rule.and_then(|rule| rule.pacing.throttle.as_ref());
        let due = match key {
            BatchKey::Digest(schedule) => schedule.next(since).unwrap_or(since),
            BatchKey::Count { .. } => batch.ledger.reached?,
            BatchKey::Group { .. } => rule
                .and_then(|rule| rule.pacing.group.as_ref())
                .map_or(since, |group| batch.ledger.group_due(since, group)),
            BatchKey::Throttle { .. } | BatchKey::Quiet | BatchKey::Alone => since,
        };
        Some(due.max(batch.ledger.slot(throttle)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        calendar::Zone,
        kind::Kind,
        rule::{
            RuleSet,
            pacing::{Count, Group, Pacing, Throttle},
        },
    };

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(&format!("2025-12-15T{text}Z")).unwrap()
    }

    /// A rule that groups for a minute.
    fn grouping() -> Rule {
        let minute = Duration::from_secs(60);
        let group = Group { by: vec![], wait: minute, interval: minute };
        let pacing = Pacing { group: Some(group), ..Pacing::default() };
        Rule { pacing, ..Rule::new("unhappy".into(), Kind::Ended.into(), vec!["desk".into()]) }
    }

    fn group(by: u64) -> BatchKey {
        BatchKey::Group { rule: "unhappy".into(), by }
    }

    /// Two groups, each with a delivery that came in then.
    fn with_two_groups(came: &str) -> Pacer {
        let quiet = Hours::parse(["MON-SUN 20:00-07:00"], Zone::UTC).unwrap();
        let mut pacer = Pacer::new(RuleSet::of(&[grouping()]), Some(quiet), BTreeMap::new());
        for number in [1, 2] {
            let token = serde_json::from_value(number.into()).unwrap();
            let newcomer = Newcomer { token, came: at(came), happened: at(came) };
            assert!(!pacer.came(&group(number), newcomer, at(came)), "it waits");
        }
        pacer
    }

    #[test]
    fn groups_go_out_by_themselves_unless_quiet_hours_held_them_back() {
        let pacer = with_two_groups("19:58:00");
        assert_eq!(pacer.goes_out(&group(1), at("19:58:00")), Some(at("19:59:00")));
        assert_eq!(pacer.goes_out(&group(3), at("19:58:00")), None);
        assert_eq!(pacer.due(at("19:58:59")), []);
        let each = |by: u64| Outgoing { batches: vec![group(by)], reason: Some(Reason::Group) };
        assert_eq!(pacer.due(at("19:59:00")), [each(1), each(2)]);

        let pacer = with_two_groups("05:00:00");
        assert_eq!(pacer.goes_out(&group(1), at("05:00:00")), Some(at("07:00:00")));
        assert_eq!(pacer.due(at("06:59:59")), []);
        let together = Outgoing { batches: vec![group(1), group(2)], reason: Some(Reason::Quiet) };
        assert_eq!(pacer.due(at("07:00:00")), [together]);
    }

    fn newcomer(number: u64, came: &str) -> Newcomer {
        let token = serde_json::from_value(number.into()).unwrap();
        Newcomer { token, came: at(came), happened: at(came) }
    }

    #[test]
    fn only_a_clock_that_was_set_moves_what_was_measured() {
        let kept = |time: Timestamp| serde_json::json!({ "sent": [time] });
        let both = |text: &str| Moment { wall: at(text), steady: at(text) };
        let moved = |by: Duration| {
            let ledgers = BTreeMap::from([(group(1), kept(at("12:00:00")))]);
            let mut pacer = Pacer::new(RuleSet::of(&[grouping()]), None, ledgers);
            pacer.look_at_the_clocks(both("12:00:10"));
            let Moment { wall, steady } = both("12:00:20");
            pacer.look_at_the_clocks(Moment { wall: wall.after(by), steady });
            pacer.changes()
        };
        assert_eq!(moved(Duration::ZERO), []);
        assert_eq!(moved(LEAP - MOMENT), []);
        assert_eq!(moved(LEAP), [(group(1), Some(kept(at("12:00:01"))))]);
    }

    #[test]
    fn what_comes_while_nothing_holds_it_goes_at_once() {
        let throttle = Throttle { at_most: 2, per: Duration::from_secs(60), by: vec![] };
        let pacing = Pacing { throttle: Some(throttle), ..Pacing::default() };
        let rule = Rule { pacing, ..Rule::new("unhappy".into(), Kind::Ended.into(), vec!["desk".into()]) };
        let throttled = BatchKey::Throttle { rule: "unhappy".into(), by: 1 };
        for key in [throttled, BatchKey::Quiet] {
            // What came in while the hours were on goes out with all else that they held back, also when it is seen later.
            for (came, seen, expected) in [
                ("12:00:00", "12:00:01", true),
                ("05:00:00", "07:00:01", false),
                ("19:59:59", "20:00:00", false),
            ] {
                let quiet = Hours::parse(["MON-SUN 20:00-07:00"], Zone::UTC).unwrap();
                let mut pacer =
                    Pacer::new(RuleSet::of(std::slice::from_ref(&rule)), Some(quiet), BTreeMap::new());
                assert_eq!(pacer.came(&key, newcomer(1, came), at(seen)), expected, "{key}, {came}");
            }
        }
    }

    #[test]
    fn what_a_person_took_out_of_a_batch_is_not_counted_in_it() {
        let count = Count { at_least: 3, within: Duration::from_secs(60), by: vec![] };
        let pacing = Pacing { count: Some(count), ..Pacing::default() };
        let rule = Rule { pacing, ..Rule::new("unhappy".into(), Kind::Ended.into(), vec!["desk".into()]) };
        let key = BatchKey::Count { rule: "unhappy".into(), by: 1 };
        let mut pacer = Pacer::new(RuleSet::of(&[rule]), None, BTreeMap::new());
        let now = at("12:00:00");
        assert!(!pacer.came(&key, newcomer(1, "12:00:00"), now));
        pacer.left(&key, newcomer(1, "12:00:00").token, true);
        for number in [2, 3] {
            assert!(!pacer.came(&key, newcomer(number, "12:00:00"), now));
        }
        assert_eq!(pacer.goes_out(&key, now), None);
        assert!(!pacer.came(&key, newcomer(4, "12:00:00"), now));
        assert_eq!(pacer.goes_out(&key, now), Some(now));
    }
}
