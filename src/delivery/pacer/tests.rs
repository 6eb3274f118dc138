use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    calendar::{Schedule, Zone},
    change::Changes,
    event::Subject,
    kind::Kind,
    rule::{
        Rule, RuleText,
        pacing::{Field, Group, Pacing, Throttle},
    },
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

/// A destination's deliveries as the store would hold them, with a clock.
struct Desk {
    pacer: Pacer,
    rules: Rules,
    quiet: Option<Hours>,
    ledgers: BTreeMap<BatchKey, Value>,
    now: Timestamp,
    events: usize,
    held: BTreeMap<BatchKey, Vec<EventId>>,
    /// When each message went out, and the events it told.
    sent: Vec<(Timestamp, Option<Reason>, Vec<EventId>)>,
    forgotten: BTreeSet<EventId>,
}

impl Desk {
    fn new(rules: Vec<Rule>, quiet: &[&str]) -> Self {
        let rules: Rules = Arc::new(rules.into_iter().collect());
        let quiet = (!quiet.is_empty()).then(|| Hours::parse(quiet.iter().copied(), Zone::UTC).unwrap());
        Self {
            pacer: Pacer::new(Arc::clone(&rules), quiet.clone(), BTreeMap::new()),
            rules,
            quiet,
            ledgers: BTreeMap::new(),
            now: at(NOON),
            events: 0,
            held: BTreeMap::new(),
            sent: vec![],
            forgotten: BTreeSet::new(),
        }
    }

    /// An event comes in, and is sorted at once.
    fn event(&mut self, rule: &str, caller: &str) -> EventId {
        self.late_event(rule, caller, self.now)
    }

    /// An event that came in at `created` is sorted.
    fn late_event(&mut self, rule: &str, caller: &str, created: Timestamp) -> EventId {
        self.events += 1;
        let record = json!({ "callerNumber": caller });
        let id = EventId::from(format!("evt_{}", self.events).as_str());
        let event = Event {
            id: id.clone(),
            subject: Subject::Call { source: "clinic".into(), call: "a".into() },
            rule: rule.into(),
            kinds: Kind::Ended.into(),
            changes: Changes::default(),
            at: created,
            record: serde_json::value::to_raw_value(&record).unwrap().into(),
        };
        match self.pacer.place(&event, record.as_object().unwrap(), created, self.now) {
            Place::Send => self.sent.push((self.now, None, vec![id.clone()])),
            Place::Hold(batch) => self.held.entry(batch).or_default().push(id.clone()),
        }
        self.expire();
        self.send_due();
        id
    }

    /// Time passes; whatever is due meanwhile goes out when it is.
    fn pass(&mut self, by: Duration) {
        let end = self.now.after(by);
        while let Some(next) = self.pacer.next().filter(|next| *next <= end) {
            // What could be done now has been done.
            assert!(next > self.now, "{next} at {}", self.now);
            self.now = next;
            self.expire();
            self.send_due();
        }
        self.now = end;
    }

    fn expire(&mut self) {
        let late = self.pacer.expire(self.now);
        self.held.values_mut().for_each(|held| held.retain(|event| !late.contains(event)));
        self.forgotten.extend(late);
        self.save();
    }

    fn send_due(&mut self) {
        for Outgoing { batches, reason } in self.pacer.due(self.now) {
            let told: Vec<_> =
                batches.iter().flat_map(|batch| self.held.remove(batch).unwrap_or_default()).collect();
            self.pacer.gone(&batches, !told.is_empty(), self.now);
            self.sent.push((self.now, reason, told));
        }
        self.save();
    }

    fn save(&mut self) {
        for (batch, ledger) in self.pacer.changes() {
            match ledger {
                Some(ledger) => self.ledgers.insert(batch, ledger),
                None => self.ledgers.remove(&batch),
            };
        }
    }

    fn restart(&mut self) {
        self.pacer = Pacer::new(Arc::clone(&self.rules), self.quiet.clone(), self.ledgers.clone());
    }

    /// How many seconds after noon each message went out, and how many events it told.
    fn messages(&self) -> Vec<(u64, usize)> {
        self.sent.iter().map(|(sent, _, told)| (sent.since(at(NOON)).as_secs(), told.len())).collect()
    }
}

#[test]
fn a_group_waits_for_others_and_then_for_its_interval() {
    let mut desk = Desk::new(vec![rule("unhappy", Severity::Info, group())], &[]);
    desk.event("unhappy", "+1");
    desk.pass(secs(10));
    desk.event("unhappy", "+1");
    desk.event("unhappy", "+2");
    desk.pass(secs(90));
    desk.event("unhappy", "+1");
    desk.pass(secs(3600));
    desk.event("unhappy", "+1");
    desk.pass(secs(60));
    // The group of +2 began ten seconds later; the third of +1 waits until 300 s after the first message.
    assert_eq!(desk.messages(), [(30, 2), (40, 1), (330, 1), (3730, 1)]);
    desk.pass(secs(3600));
    assert!(desk.ledgers.is_empty(), "what is over is forgotten: {:?}", desk.ledgers);
}

#[test]
fn a_throttle_tells_what_it_held_back_as_soon_as_it_may() {
    let pacing = Pacing { throttle: throttle(2, secs(60)), ..Pacing::default() };
    let mut desk = Desk::new(vec![rule("feed", Severity::Info, pacing)], &[]);
    for _ in 0..5 {
        desk.event("feed", "+1");
        desk.pass(secs(10));
    }
    desk.pass(secs(600));
    // At 0 and 10 there is room; those of 20, 30 and 40 are told when the first is a minute old.
    assert_eq!(desk.messages(), [(0, 1), (10, 1), (60, 3)]);
}

#[test]
fn a_count_fires_when_it_is_reached_and_begins_anew() {
    let mut desk = Desk::new(vec![rule("three", Severity::Info, count(3, secs(3600)))], &[]);
    let early = desk.event("three", "+1");
    desk.pass(secs(3000));
    desk.event("three", "+1");
    desk.event("three", "+2");
    desk.pass(secs(700));
    // The first is more than an hour old by now.
    desk.event("three", "+1");
    assert_eq!(desk.messages(), []);
    assert!(desk.forgotten.contains(&early));
    desk.event("three", "+1");
    assert_eq!(desk.messages(), [(3700, 3)]);
    desk.event("three", "+1");
    desk.event("three", "+1");
    desk.pass(secs(7200));
    assert_eq!(desk.messages().len(), 1, "the next one takes three more");
    assert!(desk.ledgers.is_empty());
}

#[test]
fn a_count_that_was_reached_is_told_however_late_the_last_one_is_sorted() {
    let mut desk = Desk::new(vec![rule("three", Severity::Info, count(3, secs(60)))], &[]);
    desk.event("three", "+1");
    desk.event("three", "+1");
    // The process ends right after the third came in, and is away for longer than the count's time.
    let created = desk.now;
    desk.now = desk.now.after(secs(600));
    desk.restart();
    desk.late_event("three", "+1", created);
    assert_eq!(desk.messages(), [(600, 3)]);
    assert!(desk.forgotten.is_empty());
}

#[test]
fn what_a_renamed_count_held_is_told_to_nobody() {
    let mut desk = Desk::new(vec![rule("three", Severity::Info, count(3, secs(3600)))], &[]);
    let alone = desk.event("three", "+1");
    desk.rules = Rules::default();
    desk.restart();
    desk.expire();
    desk.send_due();
    assert_eq!((desk.messages(), desk.forgotten.contains(&alone)), (vec![], true));
}

#[test]
fn a_digest_comes_at_its_time_and_not_when_there_is_nothing_to_tell() {
    let digest = Some(Schedule::parse("0 8 * * MON-FRI", Zone::UTC).unwrap());
    let pacing = Pacing { digest, ..Pacing::default() };
    let rules = ["a", "b"].map(|name| rule(name, Severity::Info, pacing.clone()));
    let mut desk = Desk::new(rules.to_vec(), &[]);
    desk.event("a", "+1");
    desk.event("b", "+1");
    desk.restart();
    desk.pass(secs(3 * 24 * 3600));
    let morning = at("2025-12-16T08:00:00Z").since(at(NOON)).as_secs();
    assert_eq!(desk.messages(), [(morning, 2)], "one digest for both rules, and none on the day after");
}

#[test]
fn after_quiet_hours_everything_comes_as_one_and_what_is_critical_came_before() {
    let rules = vec![
        rule("feed", Severity::Info, Pacing::default()),
        rule("grouped", Severity::Warning, group()),
        rule("fire", Severity::Critical, Pacing::default()),
    ];
    let mut desk = Desk::new(rules, &["22:00-07:00"]);
    desk.event("feed", "+1");
    desk.pass(secs(10 * 3600));
    desk.event("feed", "+1");
    desk.event("grouped", "+1");
    desk.event("fire", "+1");
    desk.restart();
    desk.pass(secs(24 * 3600));
    let (night, morning) = (10 * 3600, 19 * 3600);
    assert_eq!(desk.messages(), [(0, 1), (night, 1), (morning, 2)]);
    assert_eq!(desk.sent.last().unwrap().1, Some(Reason::Quiet));
}

#[test]
fn a_rule_that_is_gone_or_paces_no_more_holds_nothing_back() {
    let mut desk = Desk::new(vec![rule("unhappy", Severity::Info, group())], &[]);
    desk.event("unhappy", "+1");
    desk.rules = Rules::default();
    desk.restart();
    assert_eq!(desk.pacer.next(), Some(at(NOON)));
    desk.send_due();
    assert_eq!(desk.messages(), [(0, 1)]);
}

#[test]
fn a_clock_that_was_wrong_holds_nothing_back() {
    let pacing = Pacing { throttle: throttle(1, secs(60)), ..Pacing::default() };
    let rules = vec![rule("feed", Severity::Info, pacing), rule("unhappy", Severity::Info, group())];
    let mut desk = Desk::new(rules, &[]);
    desk.now = at("2031-01-01T00:00:00Z");
    desk.event("feed", "+1");
    desk.event("unhappy", "+1");
    desk.now = at(NOON);
    desk.event("feed", "+1");
    desk.pass(secs(120));
    assert_eq!(desk.messages()[1..], [(30, 1), (60, 1)]);
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
        let mut desk = Desk::new(rules.into_iter().map(|(name, severity, pacing)| rule(name, severity, pacing)).collect(), quiet);
        let mut made: BTreeMap<EventId, (&str, u8, Timestamp)> = BTreeMap::new();
        for happening in happenings {
            match happening {
                Happening::Event(rule, caller) => {
                    let at = desk.now;
                    made.insert(desk.event(names[rule], &format!("+{caller}")), (names[rule], caller, at));
                }
                Happening::Pass(seconds) => desk.pass(secs(seconds)),
                Happening::Restart => desk.restart(),
            }
        }
        desk.pass(secs(4 * 24 * 3600));

        let told: Vec<&EventId> = desk.sent.iter().flat_map(|(_, _, told)| told).collect();
        prop_assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), told.len(), "told once");
        for (event, (rule, ..)) in &made {
            let forgotten = desk.forgotten.contains(event);
            prop_assert_ne!(forgotten, told.contains(&event), "{} is told or forgotten", event);
            prop_assert!(!forgotten || *rule == "counted");
        }
        prop_assert!(desk.held.values().all(Vec::is_empty) && desk.ledgers.is_empty());

        let hours = desk.quiet.clone();
        let is_quiet = |at: Timestamp| hours.as_ref().is_some_and(|hours| hours.contain(at));
        let mut by_group: BTreeMap<(&str, u8), Vec<Timestamp>> = BTreeMap::new();
        for (sent, reason, told) in &desk.sent {
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
