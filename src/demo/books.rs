//! The books of a demo or a test: what destinations are owed, and what has arrived there. Pure; they know nothing of
//! the pipeline.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;

use super::{
    oracle::{Course, Debt, Promise},
    sighting::Sighting,
};
use crate::{kind::Kind, name::Name, time::Timestamp};

/// Keeps the books. They grow with what happens.
pub struct Books {
    promises: &'static [Promise],
    calls: HashMap<String, Followed>,
    /// The call of each caller's number.
    callers: HashMap<String, String>,
    owed: Vec<Debt>,
    /// All debts so far, by rule.
    expected: BTreeMap<&'static str, u64>,
    destinations: BTreeMap<Name, Receipts>,
    changes: u64,
}

#[derive(Default)]
struct Followed {
    course: Course,
    /// When which kind of change happened, in order.
    changes: Vec<(Kind, Timestamp)>,
}

/// The arrivals at one destination.
#[derive(Clone, Debug, Default)]
pub struct Receipts {
    /// The content of each message that arrived, by its id.
    contents: HashMap<String, u128>,
    /// Messages that arrived, repeats included.
    pub arrived: u64,
    /// Messages whose id had arrived before.
    pub repeats: u64,
    /// Repeats that say something else than what arrived first.
    pub altered: u64,
    /// Messages, without repeats, that settle no debt. Always zero without promises.
    pub unexpected: u64,
    latencies: Vec<Duration>,
}

/// The entry for one arrival.
pub struct Receipt {
    /// Whether a message with this id had arrived before. A repeat settles nothing.
    pub is_repeat: bool,
    /// The debts that are settled by it.
    pub settled: Vec<Debt>,
    /// The time since the change it tells of, when that is known.
    pub latency: Option<Duration>,
}

impl Receipts {
    /// Messages that arrived, without repeats.
    pub fn unique(&self) -> u64 {
        self.arrived - self.repeats
    }

    /// The time from a change to its arrival that this share (0 to 1) of the messages did not exceed; `None` when no
    /// such time is known.
    pub fn latency(&self, share: f64) -> Option<Duration> {
        percentile(&self.latencies, share)
    }

    /// Counts a message. Returns whether it is a repeat.
    fn count(&mut self, sighting: &Sighting) -> bool {
        self.arrived += 1;
        match self.contents.entry(sighting.id.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(sighting.content);
                false
            }
            Entry::Occupied(first) => {
                self.repeats += 1;
                self.altered += u64::from(*first.get() != sighting.content);
                true
            }
        }
    }
}

impl Books {
    /// Books of what `promises` bring to these destinations. Without promises they only count what arrives.
    pub fn new(promises: &'static [Promise], destinations: impl IntoIterator<Item = Name>) -> Self {
        Self {
            promises,
            calls: HashMap::new(),
            callers: HashMap::new(),
            owed: vec![],
            expected: promises.iter().map(|promise| (promise.rule, 0)).collect(),
            destinations: destinations.into_iter().map(|name| (name, Receipts::default())).collect(),
            changes: 0,
        }
    }

    /// Notes a call that was there before the watching began.
    pub fn known(&mut self, call: &str, record: Arc<Value>) {
        let followed = Followed { course: Course::known(record), changes: vec![] };
        self.calls.insert(call.to_owned(), followed);
    }

    /// Notes that a call changed at `now`, to this state; `None` stands for a call that was deleted.
    pub fn happened(&mut self, call: &str, state: Option<Arc<Value>>, now: Timestamp) {
        self.changes += 1;
        if let Some(number) = state.as_ref().and_then(|record| record["callerNumber"].as_str()) {
            self.callers.insert(number.to_owned(), call.to_owned());
        }
        let Followed { course, changes } = self.calls.entry(call.to_owned()).or_default();
        changes.extend(course.kinds(state.as_deref()).into_iter().map(|kind| (kind, now)));
        for debt in course.advance(self.promises, state) {
            for rule in debt.rules() {
                *self.expected.entry(rule).or_default() += 1;
            }
            self.owed.push(debt);
        }
    }

    /// Notes an arrival. A first arrival settles the debts of its destination that `tells` says it tells of.
    pub fn arrived(
        &mut self,
        destination: &Name,
        sighting: &Sighting,
        tells: impl Fn(&Debt) -> bool,
    ) -> Receipt {
        let latency = self.latency(sighting);
        let receipts = self.destinations.entry(destination.clone()).or_default();
        if receipts.count(sighting) {
            return Receipt { is_repeat: true, settled: vec![], latency };
        }
        receipts.latencies.extend(latency);
        let is_settled = |debt: &mut Debt| debt.destination == destination.as_str() && tells(debt);
        let settled: Vec<_> = self.owed.extract_if(.., is_settled).collect();
        receipts.unexpected += u64::from(settled.is_empty() && !self.promises.is_empty());
        Receipt { is_repeat: false, settled, latency }
    }

    /// The time from the change that is told to its arrival. The change is the first of the kinds that are told or,
    /// when those are not said, the latest.
    fn latency(&self, sighting: &Sighting) -> Option<Duration> {
        let call = sighting.call.as_ref();
        let call = call.or_else(|| sighting.numbers.iter().find_map(|number| self.callers.get(number)))?;
        let changes = self.calls.get(call)?.changes.iter().filter(|(_, when)| *when <= sighting.at);
        let change = match &sighting.kinds[..] {
            [] => changes.map(|(_, when)| *when).max(),
            kinds => changes.filter(|(kind, _)| kinds.contains(kind)).map(|(_, when)| *when).min(),
        };
        change.map(|change| sighting.at.since(change))
    }

    /// How many changes there were.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// How many calls there were.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// The messages that have not arrived yet, in the order in which they came up.
    pub fn owed(&self) -> &[Debt] {
        &self.owed
    }

    /// How much each rule has had to bring so far, whether it has arrived or not.
    pub fn expected(&self) -> &BTreeMap<&'static str, u64> {
        &self.expected
    }

    /// The arrivals at a destination.
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
        demo::{
            bundled::PROMISES,
            script::{Script, Step},
        },
        rehearsal::clinic::Outcome,
    };

    const NOON: Timestamp = Timestamp::from_millis(1_765_800_000_000);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// The steps of the first call with this outcome: it starts, ends and is analyzed.
    fn story(outcome: Outcome) -> [Step; 3] {
        let mut steps = Script::new(1, NOON).filter(|step| step.call.outcome() == outcome);
        let started = steps.next().unwrap();
        let mut steps = steps.filter(|step| step.call.id() == started.call.id());
        let [ended, analyzed] = std::array::from_fn(|_| steps.next().unwrap());
        [started.clone(), ended, analyzed]
    }

    /// Books after these steps, 300 ms apart, the last of them at noon.
    fn books_after(promises: &'static [Promise], steps: &[Step]) -> Books {
        let mut books = Books::new(promises, ["crm", "frontdesk", "manager"].map(Name::from));
        for (step, age) in steps.iter().zip((0..steps.len() as u64).rev()) {
            let now = NOON.before(ms(300 * age));
            books.happened(step.call.id(), Some(Arc::new(step.record(now))), now);
        }
        books
    }

    fn webhook(id: &str, step: &Step, rule: &str, kinds: &[Kind]) -> Sighting {
        Sighting {
            id: id.to_owned(),
            at: NOON.after(ms(700)),
            call: Some(step.call.id().to_owned()),
            rule: Some(rule.to_owned()),
            kinds: kinds.to_vec(),
            ..Sighting::default()
        }
    }

    fn to_people(id: &str, step: &Step, title: &str) -> Sighting {
        Sighting {
            id: id.to_owned(),
            at: NOON.after(ms(40)),
            headline: format!("{title} {}", step.call.caller()),
            numbers: vec!["+33199000100".to_owned(), step.call.caller().to_owned()],
            ..Sighting::default()
        }
    }

    fn arrive(books: &mut Books, destination: &str, sighting: &Sighting) -> Receipt {
        books.arrived(&destination.into(), sighting, |debt| sighting.tells(debt))
    }

    fn owed(books: &Books) -> Vec<(&'static str, &'static str)> {
        books.owed().iter().map(|debt| (debt.promise.rule, debt.destination)).collect()
    }

    #[test]
    fn a_change_is_owed_until_it_has_arrived_everywhere() {
        let steps = story(Outcome::Booked);
        let mut books = books_after(PROMISES, &steps[2..]);
        let first_sight = [Kind::Ended, Kind::Analyzed];
        assert_eq!(owed(&books), [("call-completed", "crm"), ("booked", "crm"), ("booked", "frontdesk")]);

        let completed = webhook("1", &steps[2], "call-completed", &first_sight);
        assert_eq!(arrive(&mut books, "crm", &completed).latency, Some(ms(700)));
        arrive(&mut books, "crm", &webhook("2", &steps[2], "booked", &first_sight));
        assert_eq!(owed(&books), [("booked", "frontdesk")]);

        arrive(&mut books, "frontdesk", &to_people("3", &steps[2], "Appointment booked by"));
        assert_eq!(owed(&books), []);
        assert_eq!(books.expected()["booked"], 2);
        assert_eq!(books.receipts(&"crm".into()).unwrap().unexpected, 0);
    }

    #[test]
    fn one_arrival_may_tell_of_two_changes() {
        let steps = story(Outcome::Answered);
        let mut books = books_after(PROMISES, &steps);
        assert_eq!(owed(&books), [("call-completed", "crm"); 2]);

        let both = webhook("1", &steps[2], "call-completed", &[Kind::Ended, Kind::Analyzed]);
        let receipt = arrive(&mut books, "crm", &both);

        assert_eq!((receipt.settled.len(), owed(&books)), (2, vec![]));
        assert_eq!(receipt.latency, Some(ms(1000)), "counted from the first of them");
    }

    #[test]
    fn repeats_altered_repeats_and_unexpected_arrivals_are_told_apart() {
        let steps = story(Outcome::Answered);
        let mut books = books_after(PROMISES, &steps[..2]);
        let ended = webhook("1", &steps[1], "call-completed", &[Kind::Ended]);
        let again = Sighting { id: "2".to_owned(), ..ended.clone() };
        let altered = Sighting { content: 1, ..ended.clone() };

        let repeats = [&ended, &ended, &again, &altered].map(|it| arrive(&mut books, "crm", it).is_repeat);

        assert_eq!(repeats, [false, true, false, true]);
        let receipts = books.receipts(&"crm".into()).unwrap();
        assert_eq!((receipts.arrived, receipts.repeats, receipts.unique()), (4, 2, 2));
        assert_eq!((receipts.altered, receipts.unexpected), (1, 1));
    }

    #[test]
    fn an_arrival_at_the_wrong_place_of_the_wrong_rule_or_about_another_call_settles_nothing() {
        let steps = story(Outcome::Unhappy);
        let mut books = books_after(PROMISES, &steps);
        let before = owed(&books);
        let another = &story(Outcome::Booked)[2];

        arrive(&mut books, "crm", &to_people("1", &steps[2], "Unhappy caller"));
        arrive(&mut books, "manager", &to_people("2", &steps[2], "Appointment booked by"));
        arrive(&mut books, "manager", &to_people("3", another, "Unhappy caller"));
        arrive(&mut books, "crm", &webhook("4", another, "call-completed", &[Kind::Ended]));
        arrive(&mut books, "crm", &webhook("5", &steps[2], "call-completed", &[Kind::Started]));
        arrive(&mut books, "frontdesk", &Sighting::default());

        assert_eq!(owed(&books), before);
    }

    #[test]
    fn without_promises_nothing_is_owed_or_unexpected() {
        let steps = story(Outcome::Spam);
        let mut books = books_after(&[], &steps);

        let receipt = arrive(&mut books, "frontdesk", &to_people("1", &steps[2], "x"));

        assert_eq!((receipt.latency, owed(&books)), (Some(ms(40)), vec![]));
        assert_eq!(books.receipts(&"frontdesk".into()).unwrap().unexpected, 0);
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
