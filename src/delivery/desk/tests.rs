use std::{collections::BTreeSet, sync::Arc, time::Duration};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    calendar::{Schedule, Zone},
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

/// A destination with a store that keeps its deliveries, a receiver that takes everything, and a clock.
struct World {
    desk: Desk,
    rules: Rules,
    quiet: Option<Hours>,
    /// The content of the store: the unfinished deliveries and the ledgers.
    unfinished: BTreeMap<Token, Pending>,
    ledgers: BTreeMap<BatchKey, Value>,
    now: Timestamp,
    events: u64,
    /// When each message went out, and the events it told.
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
            desk: Desk::new(Arc::clone(&rules), quiet.clone(), secs(3600), BTreeMap::new()),
            rules,
            quiet,
            unfinished: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            now: at(NOON),
            events: 0,
            sent: vec![],
            forgotten: BTreeSet::new(),
        };
        world.work();
        world
    }

    fn moment(&self) -> Moment {
        Moment { wall: self.now, steady: self.now }
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
                None => Standing::Due(created),
            },
        };
        self.unfinished.insert(pending.token, pending.clone());
        self.desk.take_in([Entry::Unfinished(pending)], self.moment());
        self.work();
        event
    }

    /// Time passes; whatever is due meanwhile goes out when it is.
    fn pass(&mut self, by: Duration) {
        let end = self.now.after(by);
        while let Some(next) = self.desk.paces_at().filter(|next| *next <= end) {
            // Everything that could be done by now has been done.
            assert!(next > self.now, "{next} at {}", self.now);
            self.now = next;
            self.work();
        }
        self.now = end;
    }

    /// Does what can be done now.
    fn work(&mut self) {
        self.desk.pace(self.moment());
        while let Some(bundle) = self.desk.next_bundle() {
            let told = bundle.tokens.iter().map(|token| self.unfinished.remove(token).unwrap().event);
            self.sent.push((self.now, Some(bundle.reason), told.collect()));
            self.desk.wrote(&bundle);
        }
        self.settle(vec![]);
        let due = self.desk.take(usize::MAX, self.moment());
        let mut outcomes = vec![];
        for it in due {
            self.sent.push((self.now, None, vec![self.unfinished[&it.token].event.clone()]));
            let attempt =
                Attempt { at: self.now, took_ms: 0, result: String::new(), response: String::new() };
            let number = it.attempts + 1;
            outcomes.push(Outcome { token: it.token, number, attempt, verdict: Verdict::Delivered });
        }
        self.settle(outcomes);
    }

    /// The store writes down what the desk has decided.
    fn settle(&mut self, outcomes: Vec<Outcome>) {
        let mut settlement = Settlement { outcomes, ..Settlement::new(self.now) };
        self.desk.decide(&mut settlement);
        for outcome in &settlement.outcomes {
            assert!(matches!(self.unfinished.remove(&outcome.token).unwrap().standing, Standing::Due(_)));
        }
        for (token, batch) in &settlement.holds {
            let hold = Hold { batch: batch.clone(), happened: self.now };
            self.unfinished.get_mut(token).unwrap().standing = Standing::Held(hold);
        }
        for token in &settlement.releases {
            let held = &mut self.unfinished.get_mut(token).unwrap().standing;
            assert!(matches!(held, Standing::Held(_)));
            *held = Standing::Due(self.now);
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
        self.desk = Desk::new(rules, quiet, secs(3600), self.ledgers.clone());
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
    world.now = world.now.after(secs(600));
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
    assert_eq!(world.messages()[1..], [(30, 1), (60, 1)]);
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
fn a_due_time_that_a_wrong_clock_wrote_is_no_farther_away_than_a_wait() {
    let mut world = World::new(vec![rule("feed", Severity::Info, Pacing::default())], &[]);
    world.desk.take(0, world.moment());
    let subject = Subject::Source("clinic".into());
    let due = at("2031-01-01T00:00:00Z");
    world.desk.take_in(
        [Entry::Unfinished(Pending {
            token: serde_json::from_value(1.into()).unwrap(),
            event: "evt_1".into(),
            subject,
            rule: "feed".into(),
            sequence: 1,
            created: due,
            attempts: 1,
            restart: None,
            standing: Standing::Due(due),
        })],
        world.moment(),
    );
    assert_eq!(world.desk.due_at(), Some(world.now.after(secs(3600))));
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

    /// Whatever happens: everything goes out once, or a count came too late for it; no limit is exceeded; nothing
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
