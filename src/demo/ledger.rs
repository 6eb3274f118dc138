//! The truth to hold the pipeline against: what the script did, what has to follow from it, and what arrived.
//! Pure; it knows nothing of the pipeline.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use super::{clinic::Outcome, script::Step, sighting::Sighting};
use crate::{kind::Kind, name::Name, time::Timestamp};

/// What a rule of the bundled config has to bring, said a second time and without the pipeline.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// The rule's name.
    pub rule: &'static str,
    /// How its messages to people begin.
    pub title: &'static str,
    /// The destinations.
    pub to: &'static [&'static str],
    /// What must happen to a call.
    pub on: Kind,
    /// To which calls; `None` means all.
    pub outcome: Option<Outcome>,
}

/// Of `demo.toml`.
pub const BUNDLED: &[Promise] = &[
    Promise { rule: "call-completed", title: "", to: &["crm"], on: Kind::Ended, outcome: None },
    Promise { rule: "call-completed", title: "", to: &["crm"], on: Kind::Analyzed, outcome: None },
    Promise {
        rule: "unhappy-caller",
        title: "Unhappy caller",
        to: &["frontdesk", "manager"],
        on: Kind::Analyzed,
        outcome: Some(Outcome::Unhappy),
    },
    Promise {
        rule: "booked",
        title: "Appointment booked",
        to: &["crm", "frontdesk"],
        on: Kind::Analyzed,
        outcome: Some(Outcome::Booked),
    },
];

/// Keeps the books of one demo. Grows with what happens in it.
#[derive(Debug)]
pub struct Ledger {
    promises: &'static [Promise],
    /// What happened to each call, by its id.
    calls: HashMap<String, Vec<(Kind, Timestamp)>>,
    /// Whose number it is.
    callers: HashMap<String, String>,
    owed: Vec<Owed>,
    rules: BTreeMap<&'static str, Account>,
    destinations: BTreeMap<Name, Receipts>,
    changes: u64,
}

/// Something that has to arrive and has not yet.
#[derive(Debug, PartialEq, Eq)]
struct Owed {
    promise: usize,
    destination: &'static str,
    call: String,
}

/// What was promised of something, and what was kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Has to arrive.
    pub expected: u64,
    /// Has arrived.
    pub told: u64,
}

/// What a destination received.
#[derive(Clone, Debug, Default)]
pub struct Receipts {
    ids: HashSet<String>,
    /// All of it.
    pub arrived: u64,
    /// Of that, what had arrived before.
    pub repeats: u64,
    /// Of that, what nobody had promised. Always zero without promises.
    pub unexpected: u64,
    latencies: Vec<Duration>,
}

impl Receipts {
    /// Different things that arrived.
    pub fn unique(&self) -> u64 {
        self.arrived - self.repeats
    }

    /// The time from a change to its arrival that this share (0 to 1) of what arrived did not exceed; `None` when
    /// there is nothing to go by.
    pub fn latency(&self, share: f64) -> Option<Duration> {
        percentile(&self.latencies, share)
    }
}

impl Ledger {
    /// Books to hold `promises` against; without any, only what arrives is counted.
    pub fn new(promises: &'static [Promise], destinations: impl IntoIterator<Item = Name>) -> Self {
        Self {
            promises,
            calls: HashMap::new(),
            callers: HashMap::new(),
            owed: vec![],
            rules: promises.iter().map(|promise| (promise.rule, Account::default())).collect(),
            destinations: destinations.into_iter().map(|name| (name, Receipts::default())).collect(),
            changes: 0,
        }
    }

    /// Something happened to a call at `now`.
    pub fn happened(&mut self, step: &Step, now: Timestamp) {
        let id = step.call.id();
        self.changes += 1;
        self.calls.entry(id.to_owned()).or_default().push((step.kind, now));
        self.callers.insert(step.call.caller().to_owned(), id.to_owned());
        for (at, promise) in self.promises.iter().enumerate() {
            if promise.on == step.kind && promise.outcome.is_none_or(|outcome| outcome == step.call.outcome())
            {
                for destination in promise.to {
                    self.owed.push(Owed { promise: at, destination, call: id.to_owned() });
                    self.rules.entry(promise.rule).or_default().expected += 1;
                }
            }
        }
    }

    /// Something arrived at `at`. Returns how long it took since the change it tells of, when that is known.
    pub fn arrived(
        &mut self,
        destination: &Name,
        id: &str,
        at: Timestamp,
        sighting: &Sighting,
    ) -> Option<Duration> {
        let call = sighting
            .call
            .clone()
            .or_else(|| sighting.numbers.iter().find_map(|number| self.callers.get(number).cloned()));
        let latency = call.as_ref().and_then(|call| self.since_change(call, &sighting.kinds, at));
        let receipts = self.destinations.entry(destination.clone()).or_default();
        receipts.arrived += 1;
        if !receipts.ids.insert(id.to_owned()) {
            receipts.repeats += 1;
            return latency;
        }
        receipts.latencies.extend(latency);
        let kept = |owed: &Owed| {
            let promise = &self.promises[owed.promise];
            owed.destination == destination.as_str()
                && Some(&owed.call) == call.as_ref()
                && match &sighting.rule {
                    Some(rule) => rule == promise.rule && sighting.kinds.contains(&promise.on),
                    None => !promise.title.is_empty() && sighting.headline.contains(promise.title),
                }
        };
        let mut met = 0;
        self.owed.retain(|owed| {
            let kept = kept(owed);
            if kept {
                met += 1;
                self.rules.entry(self.promises[owed.promise].rule).or_default().told += 1;
            }
            !kept
        });
        if met == 0 && !self.promises.is_empty() {
            receipts.unexpected += 1;
        }
        latency
    }

    /// How long before `at` the change happened: the first of these kinds, or, where they are not known, the
    /// latest there was.
    fn since_change(&self, call: &str, kinds: &[Kind], at: Timestamp) -> Option<Duration> {
        let changes = self.calls.get(call)?.iter().filter(|(_, when)| *when <= at);
        let change = match kinds {
            [] => changes.map(|(_, when)| *when).max(),
            _ => changes.filter(|(kind, _)| kinds.contains(kind)).map(|(_, when)| *when).min(),
        };
        change.map(|change| at.since(change))
    }

    /// How many changes there were.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// How many calls began.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// What has to arrive and has not yet: how often, of which rule, for which destination.
    pub fn owed(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        let mut owed = BTreeMap::new();
        for missing in &self.owed {
            *owed.entry((self.promises[missing.promise].rule, missing.destination)).or_default() += 1;
        }
        owed
    }

    /// Each rule's promises.
    pub fn rules(&self) -> &BTreeMap<&'static str, Account> {
        &self.rules
    }

    /// What a destination received.
    pub fn receipts(&self, destination: &Name) -> Option<&Receipts> {
        self.destinations.get(destination)
    }
}

/// The nearest-rank percentile: the smallest value that at least this share of the values does not exceed.
fn percentile(values: &[Duration], share: f64) -> Option<Duration> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{LoadOptions, Secrets},
        config_file::Config,
        demo::script::Script,
    };

    const NOON: Timestamp = Timestamp::from_millis(1_765_800_000_000);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// The first thing of this kind that happens to a call with this outcome.
    fn step(kind: Kind, outcome: Outcome) -> Step {
        let mut script = Script::new(1, NOON);
        script.find(|step| step.kind == kind && step.call.outcome() == outcome).unwrap()
    }

    fn webhook(step: &Step, rule: &str, kinds: &[Kind]) -> Sighting {
        Sighting {
            headline: "call.ended".to_owned(),
            call: Some(step.call.id().to_owned()),
            rule: Some(rule.to_owned()),
            kinds: kinds.to_vec(),
            numbers: vec![step.call.caller().to_owned()],
        }
    }

    fn to_people(step: &Step, headline: &str) -> Sighting {
        Sighting {
            headline: headline.to_owned(),
            numbers: vec!["+33199000100".to_owned(), step.call.caller().to_owned()],
            ..Sighting::default()
        }
    }

    fn ledger() -> Ledger {
        Ledger::new(BUNDLED, ["crm", "frontdesk", "manager"].map(Name::from))
    }

    #[test]
    fn the_promises_are_those_of_the_bundled_config() {
        let options = LoadOptions { secrets: Secrets::Ignored, env: &|_| None };
        let config = Config::parse(include_str!("demo.toml"), "demo.toml".as_ref(), options).unwrap().config;
        for rule in &config.rules {
            let promises: Vec<_> =
                BUNDLED.iter().filter(|promise| promise.rule == rule.name.as_str()).collect();
            assert!(!promises.is_empty(), "{} promises nothing", rule.name);
            for promise in promises {
                assert_eq!(rule.to.iter().map(Name::as_str).collect::<Vec<_>>(), promise.to, "{}", rule.name);
                assert!(rule.on.contains(promise.on), "{}", rule.name);
                let title = rule.text.title.as_ref().map_or("", |title| title.source());
                assert!(title.starts_with(promise.title), "{title}");
            }
        }
        assert!(
            BUNDLED.iter().all(|promise| config.rules.iter().any(|rule| rule.name.as_str() == promise.rule))
        );
    }

    #[test]
    fn what_happens_is_owed_until_it_has_arrived_everywhere() {
        let mut ledger = ledger();
        let step = step(Kind::Analyzed, Outcome::Booked);
        ledger.happened(&step, NOON);
        assert_eq!(
            ledger.owed().into_keys().collect::<Vec<_>>(),
            [("booked", "crm"), ("booked", "frontdesk"), ("call-completed", "crm")]
        );

        let at = NOON.after(ms(700));
        let crm = Name::from("crm");
        let latency = ledger.arrived(&crm, "1", at, &webhook(&step, "call-completed", &[Kind::Analyzed]));
        assert_eq!(latency, Some(ms(700)));
        ledger.arrived(&crm, "2", at, &webhook(&step, "booked", &[Kind::Analyzed]));
        assert_eq!(ledger.owed().into_keys().collect::<Vec<_>>(), [("booked", "frontdesk")]);

        ledger.arrived(&"frontdesk".into(), "3", at, &to_people(&step, "Appointment booked by somebody"));
        assert!(ledger.owed().is_empty());
        assert_eq!(ledger.rules()["booked"], Account { expected: 2, told: 2 });
        assert_eq!(ledger.receipts(&crm).unwrap().unexpected, 0);
    }

    #[test]
    fn one_arrival_may_tell_of_two_changes() {
        let mut ledger = ledger();
        let (ended, analyzed) =
            (step(Kind::Ended, Outcome::Answered), step(Kind::Analyzed, Outcome::Answered));
        ledger.happened(&ended, NOON);
        ledger.happened(&analyzed, NOON.after(ms(300)));

        let both = webhook(&ended, "call-completed", &[Kind::Ended, Kind::Analyzed]);
        let latency = ledger.arrived(&"crm".into(), "1", NOON.after(ms(500)), &both);

        assert!(ledger.owed().is_empty());
        assert_eq!(latency, Some(ms(500)), "counted from the first of them");
    }

    #[test]
    fn repeats_and_what_nobody_promised_are_told_apart() {
        let mut ledger = ledger();
        let step = step(Kind::Ended, Outcome::Answered);
        ledger.happened(&step, NOON);
        let crm = Name::from("crm");
        let told = webhook(&step, "call-completed", &[Kind::Ended]);
        ledger.arrived(&crm, "1", NOON, &told);
        ledger.arrived(&crm, "1", NOON, &told);
        ledger.arrived(&crm, "2", NOON, &told);

        let receipts = ledger.receipts(&crm).unwrap();
        assert_eq!(
            (receipts.arrived, receipts.repeats, receipts.unique(), receipts.unexpected),
            (3, 1, 2, 1)
        );
    }

    #[test]
    fn an_arrival_at_the_wrong_place_or_of_the_wrong_rule_keeps_no_promise() {
        let mut ledger = ledger();
        let step = step(Kind::Analyzed, Outcome::Unhappy);
        ledger.happened(&step, NOON);
        let owed = ledger.owed();

        ledger.arrived(&"crm".into(), "1", NOON, &to_people(&step, "Unhappy caller"));
        ledger.arrived(&"manager".into(), "2", NOON, &to_people(&step, "Appointment booked"));
        ledger.arrived(&"frontdesk".into(), "3", NOON, &Sighting::default());

        assert_eq!(ledger.owed(), owed);
    }

    #[test]
    fn without_promises_nothing_is_owed_or_unexpected() {
        let mut ledger = Ledger::new(&[], [Name::from("mine")]);
        let step = step(Kind::Ended, Outcome::Spam);
        ledger.happened(&step, NOON);
        let mine = Name::from("mine");

        let latency = ledger.arrived(&mine, "1", NOON.after(ms(40)), &to_people(&step, "x"));

        assert_eq!(latency, Some(ms(40)));
        assert!(ledger.owed().is_empty());
        assert_eq!(ledger.receipts(&mine).unwrap().unexpected, 0);
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let values: Vec<_> = (1..=200).rev().map(ms).collect();
        for (share, value) in [(0.0, 1), (0.5, 100), (0.99, 198), (1.0, 200)] {
            assert_eq!(percentile(&values, share), Some(ms(value)), "{share}");
        }
        assert_eq!(percentile(&[ms(7)], 0.5), Some(ms(7)));
        assert_eq!(percentile(&[ms(1), ms(2), ms(3)], 0.5), Some(ms(2)));
        assert_eq!(percentile(&[], 0.5), None);
    }
}
