use std::{collections::BTreeSet, sync::Arc, time::Duration};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    calendar::{Schedule, Zone},
    delivery::schedule::{Schedule as Retries, Tried},
    destination::{Answer, Reaction},
    event::{Severity, Subject},
    kind::Kind,
    rule::{
        Rule, RuleText,
        pacing::{Count, Field, Group, Pacing, Placement, Throttle, placement},
    },
    store::{Attempt, Hold, Pending},
};

/// Monday, 15 December 2025, noon UTC.
const NOON: &str = "2025-12-15T12:00:00Z";

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn rule(name: &str, severity: Severity, pacing: Pacing) -> Rule {
    let text = Arc::new(RuleText { severity, ..RuleText::default() });
    Rule { pacing, text, ..Rule::new(name.into(), Kind::Ended.into(), vec!["team".into()]) }
}

fn caller() -> Vec<Field> {
    vec![Field::parse("call.callerNumber").unwrap()]
}

fn group() -> Pacing {
    let group = Group { by: caller(), wait: secs(30), interval: secs(300) };
    Pacing { group: Some(group), ..Pacing::default() }
}

fn throttle(at_most: u32, per: Duration) -> Option<Throttle> {
    Some(Throttle { at_most, per, by: vec![] })
}

fn count(at_least: u32, within: Duration) -> Pacing {
    Pacing { count: Some(Count { at_least, within, by: caller() }), ..Pacing::default() }
}

/// A destination with a store that keeps its deliveries, a receiver that takes everything unless it is told not to, and
/// clocks.
struct World {
    desk: Desk,
    rules: Rules,
    quiet: Option<Hours>,
    /// The content of the store: the unfinished deliveries and the ledgers.
    unfinished: BTreeMap<Token, Pending>,
    ledgers: BTreeMap<BatchKey, Value>,
    /// By the clock for people.
    now: Timestamp,
    steady: Timestamp,
    events: u64,
    /// How many of the next attempts fail, and by which schedule they are repeated.
    failing: usize,
    retries: Retries,
    dead: BTreeSet<EventId>,
    /// When each message went out by the steady clock, and the events it told.
    sent: Vec<(Timestamp, Option<Reason>, Vec<EventId>)>,
    forgotten: BTreeSet<EventId>,
}

impl World {
    fn new(mut rules: Vec<Rule>, quiet: &[&str]) -> Self {
        for rule in &mut rules {
            let is_quiet = !quiet.is_empty() && rule.text.severity != Severity::Critical;
            if !rule.pacing.is_none() || is_quiet {
                rule.sorted = rule.to.clone();
            }
        }
        let rules: Rules = Arc::new(rules.into_iter().collect());
        let quiet = (!quiet.is_empty()).then(|| Hours::parse(quiet.iter().copied(), Zone::UTC).unwrap());
        let mut world = Self {
            desk: Desk::new(Arc::clone(&rules), quiet.clone(), BTreeMap::new()),
            rules,
            quiet,
            unfinished: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            now: at(NOON),
            steady: at(NOON),
            events: 0,
            failing: 0,
            retries: Retries { waits: vec![], max_age: None },
            dead: BTreeSet::new(),
            sent: vec![],
            forgotten: BTreeSet::new(),
        };
        world.work();
        world
    }

    fn moment(&self) -> Moment {
        Moment { wall: self.now, steady: self.steady }
    }

    /// An event comes in, and is seen at once.
    fn event(&mut self, rule: &str, caller: &str) -> EventId {
        self.late_event(rule, caller, self.now)
    }

    /// An event that came in at `created` is seen now.
    fn late_event(&mut self, rule: &str, caller: &str, created: Timestamp) -> EventId {
        self.events += 1;
        let record = json!({ "callerNumber": caller });
        let call = record.as_object().unwrap();
        let batch = placement(self.rules.get(rule).unwrap(), &"team".into(), &"clinic".into(), call);
        let event = EventId::from(format!("evt_{}", self.events).as_str());
        let pending = Pending {
            token: serde_json::from_value(self.events.into()).unwrap(),
            event: event.clone(),
            subject: Subject::Call {
                source: "clinic".into(),
                call: format!("{}", self.events).as_str().into(),
            },
            rule: rule.into(),
            sequence: 1,
            created,
            attempts: 0,
            restart: None,
            standing: match batch {
                Some(Placement { batch, happened }) => {
                    let happened = happened.map_or(created, |at| at.min(created));
                    Standing::Held(Hold { batch, happened })
                }
                None => Standing::Due(Deadline::at_once(created)),
            },
        };
        self.unfinished.insert(pending.token, pending.clone());
        self.desk.take_in([Entry::Unfinished(pending)], self.moment());
        self.work();
        event
    }

    /// Time passes; whatever is due meanwhile goes out when it is.
    fn pass(&mut self, by: Duration) {
        let end = self.steady.after(by);
        loop {
            let paces = self.desk.paces_at().map(|at| at.since(self.now));
            let due = self.desk.due_at().map(|at| at.since(self.steady));
            let next = paces.into_iter().chain(due).min();
            let Some(wait) = next.filter(|wait| *wait <= end.since(self.steady)) else { break };
            // Everything that could be done by now has been done.
            assert!(!wait.is_zero(), "at {}", self.now);
            self.away(wait);
            self.work();
        }
        self.away(end.since(self.steady));
    }

    /// Time passes, and nobody does anything.
    fn away(&mut self, by: Duration) {
        (self.now, self.steady) = (self.now.after(by), self.steady.after(by));
    }

    /// Somebody sets the clock for people, which is noticed soon after.
    fn leap(&mut self, seconds: i64) {
        self.now = Timestamp::from_millis(self.now.as_millis() + 1000 * seconds);
        self.work();
    }

    /// Does what can be done now.
    fn work(&mut self) {
        self.desk.pace(self.moment());
        while let Some(bundle) = self.desk.next_bundle() {
            let told = bundle.tokens.iter().map(|token| self.unfinished.remove(token).unwrap().event);
            self.sent.push((self.steady, Some(bundle.reason), told.collect()));
            self.desk.wrote(&bundle);
        }
        self.settle(vec![]);
        let due = self.desk.take(usize::MAX, self.moment());
        let mut outcomes = vec![];
        for it in due {
            let attempt =
                Attempt { at: self.now, took_ms: 0, result: String::new(), response: String::new() };
            let number = it.attempts + 1;
            let reaction = match self.failing {
                0 => Reaction::Delivered,
                _ => Reaction::Retry { after: None },
            };
            self.failing = self.failing.saturating_sub(1);
            let answer = Answer { reaction, result: String::new(), response: String::new(), memo: None };
            let age = self.steady.since(it.created);
            let verdict =
                self.retries.verdict(Tried { attempts: number, age, ended: attempt.ended() }, &answer, 0.0);
            if verdict == Verdict::Delivered {
                self.sent.push((self.steady, None, vec![self.unfinished[&it.token].event.clone()]));
            }
            outcomes.push(Outcome { token: it.token, number, attempt, verdict });
        }
        self.settle(outcomes);
    }

    /// The store writes down what the desk has decided.
    fn settle(&mut self, outcomes: Vec<Outcome>) {
        let mut settlement = Settlement { outcomes, ..Settlement::new(self.now) };
        self.desk.decide(&mut settlement);
        for Outcome { token, number, attempt, verdict } in &settlement.outcomes {
            let delivery = self.unfinished.get_mut(token).unwrap();
            assert!(matches!(delivery.standing, Standing::Due(_)));
            if let Verdict::Retry(due) = verdict {
                delivery.attempts = *number;
                delivery.standing = Standing::Due(Deadline::at(attempt.ended(), *due));
                continue;
            }
            let event = self.unfinished.remove(token).unwrap().event;
            if *verdict != Verdict::Delivered {
                self.dead.insert(event);
            }
        }
        for (token, batch) in &settlement.holds {
            let hold = Hold { batch: batch.clone(), happened: self.now };
            self.unfinished.get_mut(token).unwrap().standing = Standing::Held(hold);
        }
        for token in &settlement.releases {
            let held = &mut self.unfinished.get_mut(token).unwrap().standing;
            assert!(matches!(held, Standing::Held(_)));
            *held = Standing::Due(Deadline::at_once(self.now));
        }
        for token in &settlement.forgets {
            self.forgotten.insert(self.unfinished.remove(token).unwrap().event);
        }
        for (batch, ledger) in &settlement.ledgers {
            match ledger {
                Some(ledger) => self.ledgers.insert(batch.clone(), ledger.clone()),
                None => self.ledgers.remove(batch),
            };
        }
        self.desk.settled(&settlement, self.moment());
    }

    fn restart(&mut self) {
        let (rules, quiet) = (Arc::clone(&self.rules), self.quiet.clone());
        self.desk = Desk::new(rules, quiet, self.ledgers.clone());
        let entries: Vec<_> = self.unfinished.values().cloned().map(Entry::Unfinished).collect();
        self.desk.take_in(entries, self.moment());
    }

    /// How many seconds after noon each message went out, and how many events it told.
    fn messages(&self) -> Vec<(u64, usize)> {
        self.sent.iter().map(|(sent, _, told)| (sent.since(at(NOON)).as_secs(), told.len())).collect()
    }
}

#[test]
fn a_group_waits_for_others_and_then_for_its_interval() {
    let mut world = World::new(vec![rule("unhappy", Severity::Info, group())], &[]);
    world.event("unhappy", "+1");
    world.pass(secs(10));
    world.event("unhappy", "+1");
    world.event("unhappy", "+2");
    world.pass(secs(90));
    world.event("unhappy", "+1");
    world.pass(secs(3600));
    world.event("unhappy", "+1");
    world.pass(secs(60));
    // The group of +2 began ten seconds later; the third of +1 waits until 300 s after the first message.
    assert_eq!(world.messages(), [(30, 2), (40, 1), (330, 1), (3730, 1)]);
    world.pass(secs(3600));
    assert!(world.ledgers.is_empty(), "what is over is forgotten: {:?}", world.ledgers);
}

#[test]
fn a_throttle_tells_what_it_held_back_as_soon_as_it_may() {
    let pacing = Pacing { throttle: throttle(2, secs(60)), ..Pacing::default() };
    let mut world = World::new(vec![rule("feed", Severity::Info, pacing)], &[]);
    for _ in 0..5 {
        world.event("feed", "+1");
        world.pass(secs(10));
    }
    world.pass(secs(600));
    // At 0 and 10 there is room; those of 20, 30 and 40 are told when the first is a minute old.
    assert_eq!(world.messages(), [(0, 1), (10, 1), (60, 3)]);
}

#[test]
fn a_count_fires_when_it_is_reached_and_begins_anew() {
    let mut world = World::new(vec![rule("three", Severity::Info, count(3, secs(3600)))], &[]);
    let early = world.event("three", "+1");
    world.pass(secs(3000));
    world.event("three", "+1");
    world.event("three", "+2");
    world.pass(secs(700));
    // The first is more than an hour old by now.
    world.event("three", "+1");
    assert_eq!(world.messages(), []);
    assert!(world.forgotten.contains(&early));
    world.event("three", "+1");
    assert_eq!(world.messages(), [(3700, 3)]);
    world.event("three", "+1");
    world.event("three", "+1");
    world.pass(secs(7200));
    assert_eq!(world.messages().len(), 1, "the next one takes three more");
    assert!(world.ledgers.is_empty());
}

#[test]
fn a_count_that_was_reached_is_told_however_late_the_last_one_is_sorted() {
    let mut world = World::new(vec![rule("three", Severity::Info, count(3, secs(60)))], &[]);
    world.event("three", "+1");
    world.event("three", "+1");
    // The process ends right after the third came in, and is away for longer than the count's time.
    let created = world.now;
    world.away(secs(600));
    world.restart();
    world.late_event("three", "+1", created);
    assert_eq!(world.messages(), [(600, 3)]);
    assert!(world.forgotten.is_empty());
}

#[test]
fn what_a_renamed_count_held_is_told_to_nobody() {
    let mut world = World::new(vec![rule("three", Severity::Info, count(3, secs(3600)))], &[]);
    let alone = world.event("three", "+1");
    world.rules = Rules::default();
    world.restart();
    world.work();
    assert_eq!((world.messages(), world.forgotten.contains(&alone)), (vec![], true));
}

#[test]
fn a_digest_comes_at_its_time_and_not_when_there_is_nothing_to_tell() {
    let digest = Some(Schedule::parse("0 8 * * MON-FRI", Zone::UTC).unwrap());
    let pacing = Pacing { digest, ..Pacing::default() };
    let rules = ["a", "b"].map(|name| rule(name, Severity::Info, pacing.clone()));
    let mut world = World::new(rules.to_vec(), &[]);
    world.event("a", "+1");
    world.event("b", "+1");
    world.restart();
    world.work();
    world.pass(secs(3 * 24 * 3600));
    let morning = at("2025-12-16T08:00:00Z").since(at(NOON)).as_secs();
    assert_eq!(world.messages(), [(morning, 2)], "one digest for both rules, and none on the day after");
}

#[test]
fn after_quiet_hours_everything_comes_as_one_and_what_is_critical_came_before() {
    let rules = vec![
        rule("feed", Severity::Info, Pacing::default()),
        rule("grouped", Severity::Warning, group()),
        rule("fire", Severity::Critical, Pacing::default()),
    ];
    let mut world = World::new(rules, &["22:00-07:00"]);
    world.event("feed", "+1");
    world.pass(secs(10 * 3600));
    world.event("feed", "+1");
    world.event("grouped", "+1");
    world.event("fire", "+1");
    world.restart();
    world.work();
    world.pass(secs(24 * 3600));
    let (night, morning) = (10 * 3600, 19 * 3600);
    assert_eq!(world.messages(), [(0, 1), (night, 1), (morning, 2)]);
    assert_eq!(world.sent.last().unwrap().1, Some(Reason::Quiet));
}

#[test]
fn a_rule_that_is_gone_or_paces_no_more_holds_nothing_back() {
    let mut world = World::new(vec![rule("unhappy", Severity::Info, group())], &[]);
    world.event("unhappy", "+1");
    world.rules = Rules::default();
    world.restart();
    world.work();
    assert_eq!(world.messages(), [(0, 1)]);
}

#[test]
fn a_clock_that_was_wrong_holds_nothing_back() {
    let pacing = Pacing { throttle: throttle(1, secs(60)), ..Pacing::default() };
    let rules = vec![rule("feed", Severity::Info, pacing), rule("unhappy", Severity::Info, group())];
    let mut world = World::new(rules, &[]);
    world.now = at("2031-01-01T00:00:00Z");
    world.event("feed", "+1");
    world.event("unhappy", "+1");
    world.now = at(NOON);
    world.event("feed", "+1");
    world.pass(secs(120));
    assert_eq!(world.messages(), [(0, 1), (30, 1), (60, 1)]);
}

#[test]
fn swapped_rules_hold_for_what_waits_already() {
    let (many, few) = (count(3, secs(3600)), count(2, secs(3600)));
    let mut world = World::new(vec![rule("three", Severity::Info, many)], &[]);
    world.event("three", "+1");
    world.event("three", "+1");
    assert_eq!(world.messages(), []);
    world.desk.follow_rules(Arc::new([rule("three", Severity::Info, few)].into_iter().collect()));
    world.work();
    assert_eq!(world.messages(), [(0, 2)]);
}

#[test]
fn an_attempt_that_failed_while_the_clock_was_wrong_is_repeated_after_its_wait() {
    for is_restarted in [false, true] {
        let mut world = World::new(vec![rule("feed", Severity::Info, Pacing::default())], &[]);
        world.retries = Retries { waits: vec![secs(5), secs(300)], max_age: Some(secs(3600)) };
        world.failing = 2;
        world.leap(2 * 86_400);
        world.event("feed", "+1");
        world.leap(-2 * 86_400);
        if is_restarted {
            world.restart();
            world.work();
        }
        world.pass(secs(1000));
        assert_eq!(world.messages(), [(305, 1)]);
    }
}

#[test]
fn a_leap_of_the_clock_makes_no_delivery_too_old() {
    let mut world = World::new(vec![rule("feed", Severity::Info, Pacing::default())], &[]);
    world.retries = Retries { waits: vec![secs(5), secs(60)], max_age: Some(secs(120)) };
    world.failing = 2;
    world.event("feed", "+1");
    world.leap(86_400);
    world.pass(secs(100));
    assert_eq!((world.messages(), world.dead.len()), (vec![(65, 1)], 0));
}

#[test]
fn a_new_start_that_a_person_gave_counts_from_then_whatever_the_clock_says() {
    let mut world = World::new(vec![rule("feed", Severity::Info, Pacing::default())], &[]);
    let pending = Pending {
        token: serde_json::from_value(1.into()).unwrap(),
        event: "evt_1".into(),
        subject: Subject::Call { source: "clinic".into(), call: "1".into() },
        rule: "feed".into(),
        sequence: 1,
        created: world.now,
        attempts: 7,
        restart: Some(Restart { at: world.now.after(secs(3600)), attempts: 7 }),
        standing: Standing::Due(Deadline::at_once(world.now.after(secs(3600)))),
    };
    // By the steady clock a year has gone by, and by the one for people an hour and a minute.
    let steady = world.steady.after(365 * secs(86_400));
    let now = Moment { wall: world.now.after(secs(3660)), steady };
    world.desk.take_in([Entry::Unfinished(pending)], now);
    let due = world.desk.take(1, now);
    let [taken] = due.as_slice() else { panic!("{due:?}") };
    let restart = taken.restart.map(|restart| (restart.at, restart.attempts));
    assert_eq!(restart, Some((steady.before(secs(60)), 7)));
}

#[derive(Clone, Debug)]
enum Happening {
    Event(usize, u8),
    Pass(u64),
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => (0usize..6, 0u8..3).prop_map(|(rule, caller)| Happening::Event(rule, caller)),
        4 => prop_oneof![0u64..120, 0u64..40_000].prop_map(Happening::Pass),
        1 => Just(Happening::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Under any history everything goes out once, or a count came too late for it; no limit is exceeded; nothing
    /// but what is critical goes out in quiet hours; nothing waits for longer than it has to.
    #[test]
    fn limits_are_kept_and_nothing_is_lost(
        happenings in prop::collection::vec(happening(), 1..120),
        with_quiet in any::<bool>(),
    ) {
        let both = Pacing { throttle: throttle(2, secs(1800)), ..group() };
        let digest = Some(Schedule::parse("0 8,20 * * *", Zone::UTC).unwrap());
        let rules = [
            ("plain", Severity::Info, Pacing::default()),
            ("grouped", Severity::Info, both),
            ("throttled", Severity::Info, Pacing { throttle: throttle(3, secs(600)), ..Pacing::default() }),
            ("counted", Severity::Warning, count(3, secs(3600))),
            ("digested", Severity::Info, Pacing { digest, ..Pacing::default() }),
            ("critical", Severity::Critical, Pacing { throttle: throttle(2, secs(300)), ..Pacing::default() }),
        ];
        let quiet: &[&str] = if with_quiet { &["22:00-07:00", "SUN"] } else { &[] };
        let names = rules.each_ref().map(|(name, ..)| *name);
        let mut world = World::new(rules.into_iter().map(|(name, severity, pacing)| rule(name, severity, pacing)).collect(), quiet);
        let mut made: BTreeMap<EventId, (&str, u8, Timestamp)> = BTreeMap::new();
        for happening in happenings {
            match happening {
                Happening::Event(rule, caller) => {
                    let at = world.now;
                    made.insert(world.event(names[rule], &format!("+{caller}")), (names[rule], caller, at));
                }
                Happening::Pass(seconds) => world.pass(secs(seconds)),
                Happening::Restart => {
                    world.restart();
                    world.work();
                }
            }
        }
        world.pass(secs(4 * 24 * 3600));

        let told: Vec<&EventId> = world.sent.iter().flat_map(|(_, _, told)| told).collect();
        prop_assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), told.len(), "told once");
        for (event, (rule, ..)) in &made {
            let forgotten = world.forgotten.contains(event);
            prop_assert_ne!(forgotten, told.contains(&event), "{} is told or forgotten", event);
            prop_assert!(!forgotten || *rule == "counted");
        }
        prop_assert!(world.unfinished.is_empty() && world.ledgers.is_empty());

        let hours = world.quiet.clone();
        let is_quiet = |at: Timestamp| hours.as_ref().is_some_and(|hours| hours.contain(at));
        let mut by_group: BTreeMap<(&str, u8), Vec<Timestamp>> = BTreeMap::new();
        for (sent, reason, told) in &world.sent {
            let rules: BTreeSet<_> = told.iter().map(|event| made[event].0).collect();
            prop_assert!(!told.is_empty());
            prop_assert!(!is_quiet(*sent) || rules.iter().all(|rule| *rule == "critical"), "{rules:?} at {sent}");
            if *reason == Some(Reason::Quiet) {
                continue;
            }
            for event in told {
                let (rule, caller, at) = made[event];
                let wait = sent.since(at);
                let most = match rule {
                    "plain" => secs(0),
                    "grouped" => secs(1800),
                    "throttled" => secs(600),
                    "counted" => secs(3600),
                    "digested" => secs(12 * 3600),
                    _ => secs(300),
                };
                // Quiet hours may come in between.
                prop_assert!(wait <= most || with_quiet, "{rule} waited {wait:?}");
                let group = if rule == "grouped" { caller } else { 0 };
                let times = by_group.entry((rule, group)).or_default();
                if times.last() != Some(sent) || reason.is_none() {
                    times.push(*sent);
                }
            }
        }
        for ((rule, _), times) in by_group {
            let (at_most, per) = match rule {
                "grouped" => (2, secs(1800)),
                "throttled" => (3, secs(600)),
                "critical" => (2, secs(300)),
                _ => continue,
            };
            for (i, first) in times.iter().enumerate() {
                let within = times[i..].iter().take_while(|at| at.since(*first) < per).count();
                prop_assert!(within <= at_most, "{rule}: {within} within {per:?}");
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Fate {
    Event(usize, u8),
    Pass(u64),
    /// Somebody sets the clock for people, by so many seconds.
    Leap(i64),
    /// The next attempts fail.
    Fail(usize),
    Restart,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => (0usize..5, 0u8..3).prop_map(|(rule, caller)| Fate::Event(rule, caller)),
        4 => prop_oneof![0u64..120, 0u64..4_000].prop_map(Fate::Pass),
        3 => prop_oneof![-60i64..60, -300_000i64..300_000].prop_map(Fate::Leap),
        2 => (1usize..4).prop_map(Fate::Fail),
        1 => Just(Fate::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// However the clock for people leaps, in both directions: everything is told once and nothing is dead or stranded.
    /// As long as the process lives, nothing waits longer than without leaps.
    #[test]
    fn a_leaping_clock_strands_kills_and_repeats_nothing(
        fates in prop::collection::vec(fate(), 1..100),
        may_restart in any::<bool>(),
    ) {
        let both = Pacing { throttle: throttle(2, secs(1800)), ..group() };
        let rules = [
            ("plain", Pacing::default()),
            ("grouped", both),
            ("throttled", Pacing { throttle: throttle(3, secs(600)), ..Pacing::default() }),
            ("counted", count(3, secs(3600))),
            ("pair", count(2, secs(1800))),
        ];
        let names = rules.each_ref().map(|(name, _)| *name);
        let rules = rules.into_iter().map(|(name, pacing)| rule(name, Severity::Info, pacing)).collect();
        let mut world = World::new(rules, &[]);
        // Four attempts in 8 minutes, and never more than three that fail.
        world.retries = Retries { waits: vec![secs(5), secs(60), secs(400)], max_age: Some(secs(3600)) };
        let mut made: BTreeMap<EventId, (&str, Timestamp)> = BTreeMap::new();
        for fate in fates {
            match fate {
                Fate::Event(rule, caller) => {
                    let at = world.steady;
                    made.insert(world.event(names[rule], &format!("+{caller}")), (names[rule], at));
                }
                Fate::Pass(seconds) => world.pass(secs(seconds)),
                Fate::Leap(seconds) => world.leap(seconds),
                Fate::Fail(attempts) if world.failing == 0 && world.desk.len() == 0 => world.failing = attempts,
                Fate::Fail(_) => {}
                Fate::Restart if may_restart => {
                    world.restart();
                    world.work();
                }
                Fate::Restart => {}
            }
        }
        world.pass(secs(2 * 24 * 3600));

        let told: Vec<&EventId> = world.sent.iter().flat_map(|(_, _, told)| told).collect();
        prop_assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), told.len(), "told once");
        // Across a restart only the clock for people tells how old a delivery is.
        prop_assert!(world.dead.is_empty() || may_restart);
        for (event, (rule, _)) in &made {
            let ends = [world.forgotten.contains(event), world.dead.contains(event), told.contains(&event)];
            prop_assert_eq!(ends.into_iter().filter(|is| *is).count(), 1, "{} of {}", event, rule);
            prop_assert!(!ends[0] || matches!(*rule, "counted" | "pair"));
        }
        prop_assert!(world.unfinished.is_empty());
        if may_restart {
            return Ok(());
        }
        for (sent, _, told) in &world.sent {
            for event in told {
                let (rule, at) = made[event];
                let most = match rule {
                    "plain" => secs(465),
                    "grouped" => secs(1800),
                    "throttled" => secs(600 + 465),
                    _ => secs(3600),
                };
                prop_assert!(sent.since(at) <= most, "{rule} waited {:?}", sent.since(at));
            }
        }
    }
}
