//! The wall clock leaps, forward and back, while rules wait: for a condition to last, for silence, for a change that is not
//! too old.

use std::time::Duration;

use callwatch::{
    call::Call,
    kind::Kind,
    rule::{Rule, RuleSet, Rules, Silence, condition::Condition},
    snapshot::Snapshot,
    sync::{
        api_clock::ApiClock,
        watcher::{Memory, Now, Observation, Watcher},
    },
    time::Timestamp,
};
use proptest::prelude::*;
use serde_json::{Value, json, value::to_raw_value};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// What happens meanwhile.
#[derive(Clone, Debug)]
enum Step {
    /// So many minutes pass, with a poll in each.
    Passes(u64),
    /// Somebody sets the wall clock, by so many minutes.
    Leaps(i64),
    /// The process ends, and another one begins.
    Restarts,
    /// The call is edited.
    Edited,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0u64..25).prop_map(Step::Passes),
        3 => (-5_000i64..5_000).prop_map(Step::Leaps),
        2 => Just(Step::Restarts),
        2 => Just(Step::Edited),
    ];
    prop::collection::vec(step, 0..30)
}

/// A source with one call, and the process that watches it.
struct World {
    /// The true time, which is the API's.
    truth: Timestamp,
    /// How far the wall clock is ahead of it, in milliseconds.
    ahead: i64,
    /// When the process started, in truth and by the wall clock.
    started: (Timestamp, Timestamp),
    /// Whether the API's answers say what time it is.
    has_date: bool,
    api: ApiClock,
    watcher: Watcher,
    record: Value,
    snapshot: Option<Snapshot>,
    told: Vec<(String, Timestamp)>,
}

fn rules() -> Rules {
    let feed = |name: &str, kinds: &[Kind]| {
        Rule::new(name.into(), kinds.iter().copied().collect(), vec!["desk".into()])
    };
    let all = [Kind::Started, Kind::Ended, Kind::Analyzed, Kind::Updated, Kind::Deleted];
    RuleSet::of(&[
        Rule {
            when: Some(Condition::compile(r#"call.status == "live""#).unwrap()),
            lasting: Some(HOUR),
            ..feed("still-live", &all)
        },
        Rule {
            silence: Some(Silence { lasting: HOUR, hours: None }),
            ..feed("nobody-calls", &[Kind::SourceSilent])
        },
        Rule { max_age: Some(10 * MINUTE), ..feed("ended", &[Kind::Ended]) },
    ])
}

fn moved(at: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(at.as_millis() + millis)
}

impl World {
    /// A call begins right after watching has begun.
    fn new(has_date: bool, ahead: i64) -> Self {
        let truth = Timestamp::parse("2025-12-15T09:00:00Z").unwrap();
        let mut world = Self {
            truth,
            ahead,
            started: (truth, moved(truth, ahead)),
            has_date,
            api: ApiClock::default(),
            watcher: Watcher::new("clinic".into(), rules(), Memory::default()),
            record: json!({ "id": "a", "status": "live", "createdAt": truth.to_string() }),
            snapshot: None,
            told: vec![],
        };
        world.heard();
        let now = world.now();
        world.watcher.baseline_done(now);
        world.change(json!({}));
        world.poll();
        world
    }

    fn now(&self) -> Now {
        let steady = self.started.1.after(self.truth.since(self.started.0));
        self.api.now(moved(self.truth, self.ahead), steady)
    }

    fn heard(&mut self) {
        if self.has_date {
            self.api.heard(self.truth, self.now().steady);
        }
    }

    fn take(&mut self, made: Observation) {
        self.told.extend(made.events.iter().map(|new| (new.event.rule.as_str().to_owned(), self.truth)));
        if let Some((_, snapshot)) = made.snapshot {
            self.snapshot = Some(snapshot);
        }
    }

    /// As the source's task does it: what is due, then an answer.
    fn poll(&mut self) {
        for _ in 0..2 {
            let made = self.watcher.tick(self.now());
            self.take(made);
            for call in self.watcher.take_due() {
                let made = self.watcher.observe_again(&call, self.snapshot.as_ref().unwrap(), self.now());
                self.take(made);
            }
            self.heard();
            let call = Call::parse(&to_raw_value(&self.record).unwrap()).unwrap();
            let made = self.watcher.observe(self.snapshot.as_ref(), &call, self.now());
            assert_eq!(made.stale, None);
            self.watcher.saw(call.id(), self.now());
            self.take(made);
            let made = self.watcher.answered(self.now());
            self.take(made);
        }
    }

    fn change(&mut self, changes: Value) {
        let fields = self.record.as_object_mut().unwrap();
        fields.extend(changes.as_object().unwrap().clone());
        fields.insert("updatedAt".to_owned(), self.truth.to_string().into());
    }

    fn restart(&mut self) {
        self.started = (self.truth, moved(self.truth, self.ahead));
        self.api = ApiClock::default();
        let memory = serde_json::from_value(serde_json::to_value(self.watcher.save()).unwrap()).unwrap();
        self.watcher = Watcher::new("clinic".into(), Rules::default(), memory);
        self.watcher.resume(self.now().steady.after(Duration::from_secs(15)));
        self.watcher.set_rules(rules(), ["a".into()]);
    }

    fn told(&self, rule: &str) -> Vec<Timestamp> {
        self.told.iter().filter(|(name, _)| name == rule).map(|(_, at)| *at).collect()
    }
}

/// Plays the steps and then lets two hours pass. Returns the world, when the last restart was, and whether the clock leapt.
fn play(mut world: World, steps: &[Step]) -> (World, Option<Timestamp>, bool) {
    let (mut restarted, mut leapt, mut edits) = (None, world.ahead != 0, 0);
    for step in steps.iter().chain([&Step::Passes(150)]) {
        match step {
            Step::Passes(minutes) => {
                for _ in 0..*minutes {
                    world.truth = world.truth.after(MINUTE);
                    world.poll();
                }
            }
            Step::Leaps(minutes) => {
                world.ahead += minutes * 60_000;
                leapt = true;
            }
            Step::Restarts => {
                restarted = Some(world.truth);
                world.restart();
            }
            Step::Edited => {
                edits += 1;
                world.truth = world.truth.after(Duration::from_secs(1));
                world.change(json!({ "summary": edits }));
                world.poll();
            }
        }
    }
    world.change(json!({ "status": "completed" }));
    world.poll();
    (world, restarted, leapt)
}

const LATE: Duration = Duration::from_secs(3 * 60);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Where the API says what time it is, as HTTP asks it to, no clock of ours matters.
    #[test]
    fn rules_that_wait_fire_in_time_whatever_becomes_of_the_clock(
        steps in steps(), ahead in -5_000i64..5_000,
    ) {
        let world = World::new(true, ahead * 60_000);
        let due = world.truth.after(HOUR);
        let (world, restarted, _) = play(world, &steps);
        for rule in ["still-live", "nobody-calls"] {
            let told = world.told(rule);
            prop_assert_eq!(told.len(), 1, "{}: {:?}", rule, told);
            prop_assert!(told[0] >= due, "{} was told {:?} too early", rule, due.since(told[0]));
            let latest = due.max(restarted.unwrap_or(due)).after(LATE);
            prop_assert!(told[0] <= latest, "{} was told {:?} too late", rule, told[0].since(due));
        }
        prop_assert_eq!(world.told("ended").len(), 1, "it has just ended");
    }

    /// Where it does not, waits are steady within the process; after a restart they are due by their wait from then at the
    /// latest, and what was told is not told again.
    #[test]
    fn rules_that_wait_fire_once_where_no_answer_says_the_time(steps in steps()) {
        let world = World::new(false, 0);
        let due = world.truth.after(HOUR);
        let (world, restarted, leapt) = play(world, &steps);
        for rule in ["still-live", "nobody-calls"] {
            let told = world.told(rule);
            prop_assert_eq!(told.len(), 1, "{}: {:?}", rule, told);
            prop_assert!(told[0] >= due || leapt && restarted.is_some(), "{} was told too early", rule);
            let latest = due.max(restarted.map_or(due, |at| at.after(HOUR))).after(LATE);
            prop_assert!(told[0] <= latest, "{} was told {:?} too late", rule, told[0].since(due));
        }
        prop_assert!(world.told("ended").len() == 1 || leapt && restarted.is_some());
    }
}
