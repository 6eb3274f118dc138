use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{
    event::{EventId, Subject},
    name::Name,
    store::Hold,
    time::Deadline,
};

/// Not held; when it is due is said beside it.
const AT_ONCE: Standing = Standing::Due(Deadline::at_once(Timestamp::from_millis(0)));

fn token(number: u64) -> Token {
    serde_json::from_value(number.into()).unwrap()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_765_809_145_000 + 1000 * seconds as i64)
}

fn pending(number: u64, lane: u64, standing: Standing) -> Pending {
    Pending {
        token: token(number),
        event: EventId::test(number),
        subject: Subject::Source(Name::from(format!("lane{lane}"))),
        rule: "unhappy".into(),
        sequence: number,
        created: at(number),
        attempts: 0,
        restart: None,
        standing,
    }
}

fn batch(number: u64) -> BatchKey {
    BatchKey::Group { rule: "unhappy".into(), by: number }
}

fn held(number: u64, lane: u64, key: u64) -> Pending {
    pending(number, lane, Standing::Held(Hold { batch: batch(key), happened: at(0) }))
}

/// A queue that looks at everything whenever it is asked something.
#[derive(Default)]
struct Model {
    all: BTreeMap<Token, Modelled>,
}

struct Modelled {
    lane: u64,
    at: Timestamp,
    attempts: u32,
    is: Is,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Is {
    Waiting,
    Taken,
    Held(u64),
    Leaving,
}

impl Model {
    /// The deliveries that are the first of their lanes and not handed out.
    fn firsts(&self) -> BTreeSet<Token> {
        let mut lanes: BTreeMap<u64, Vec<(bool, Token)>> = BTreeMap::new();
        for (token, it) in self.all.iter().filter(|(_, it)| matches!(it.is, Is::Waiting | Is::Taken)) {
            lanes.entry(it.lane).or_default().push((it.is == Is::Waiting, *token));
        }
        let first = |lane: Vec<(bool, Token)>| lane.into_iter().min().filter(|(waits, _)| *waits);
        lanes.into_values().filter_map(first).map(|(_, token)| token).collect()
    }

    fn due(&self, now: Timestamp) -> BTreeSet<Token> {
        self.firsts().into_iter().filter(|token| self.all[token].at <= now).collect()
    }

    fn with(&self, is: Is) -> Vec<Token> {
        self.all.iter().filter(|(_, it)| it.is == is).map(|(token, _)| *token).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Due { number: u64, at: u64 },
    Held { number: u64, batch: u64 },
    Gone(u64),
    Take(usize),
    PutBack(usize),
    Retry(usize, u64),
    Finish(usize),
    Hold(usize, u64),
    Leave(u64),
    Release(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    // Few deliveries in few lanes, so that all of them meet.
    let number = || 0u64..24;
    let any = || 0usize..8;
    prop_oneof![
        6 => (number(), 0u64..40).prop_map(|(number, at)| Step::Due { number, at }),
        2 => (number(), 0u64..3).prop_map(|(number, batch)| Step::Held { number, batch }),
        1 => number().prop_map(Step::Gone),
        4 => (1usize..5).prop_map(Step::Take),
        1 => any().prop_map(Step::PutBack),
        2 => (any(), 0u64..40).prop_map(|(nth, at)| Step::Retry(nth, at)),
        3 => any().prop_map(Step::Finish),
        1 => (any(), 0u64..3).prop_map(|(nth, batch)| Step::Hold(nth, batch)),
        2 => number().prop_map(Step::Leave),
        2 => any().prop_map(Step::Release),
        2 => (0u64..10).prop_map(Step::Pass),
    ]
}

/// A lane for each delivery.
fn lane_of_number(number: u64) -> u64 {
    number % 5
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Under any history the queue answers like a plain one that looks at every delivery.
    #[test]
    fn it_answers_as_one_that_looks_at_everything(steps in prop::collection::vec(step(), 1..150)) {
        let (mut queue, mut model) = (Queue::default(), Model::default());
        let mut now = at(10);
        for step in steps {
            let nth = |list: Vec<Token>, nth: usize| list.get(nth % list.len().max(1)).copied();
            match step {
                Step::Due { number, at: due } => {
                    let (lane, due) = (lane_of_number(number), at(due));
                    let moved = queue.put(pending(number, lane, AT_ONCE), due, now);
                    let before = model.all.get(&token(number)).map(|it| it.is);
                    let is = if before == Some(Is::Taken) { Is::Taken } else { Is::Waiting };
                    model.all.insert(token(number), Modelled { lane, at: due, attempts: 0, is });
                    let left = before.and_then(|it| if let Is::Held(key) = it { Some(batch(key)) } else { None });
                    prop_assert_eq!(moved, Moved { left, joined: false });
                }
                Step::Held { number, batch: key } => {
                    let lane = lane_of_number(number);
                    let moved = queue.put(held(number, lane, key), now, now);
                    let is = Is::Held(key);
                    let before = model.all.insert(token(number), Modelled { lane, at: at(0), attempts: 0, is });
                    let left = before.and_then(|it| if let Is::Held(key) = it.is { Some(key) } else { None });
                    let stays = left == Some(key);
                    let left = left.filter(|_| !stays).map(batch);
                    prop_assert_eq!(moved, Moved { left, joined: !stays });
                }
                Step::Gone(number) => {
                    queue.remove(token(number));
                    model.all.remove(&token(number));
                }
                Step::Take(limit) => {
                    let due = model.due(now);
                    let taken = queue.take(limit, now);
                    prop_assert_eq!(taken.len(), due.len().min(limit));
                    for it in taken {
                        prop_assert!(due.contains(&it.token), "{} is not due", it.token);
                        let modelled = model.all.get_mut(&it.token).unwrap();
                        prop_assert_eq!(it.attempts, modelled.attempts);
                        prop_assert_eq!((modelled.is, it.sequence.to_string()), (Is::Waiting, it.token.to_string()));
                        modelled.is = Is::Taken;
                    }
                }
                Step::PutBack(place) => {
                    if let Some(token) = nth(model.with(Is::Taken), place) {
                        queue.put_back(token);
                        model.all.get_mut(&token).unwrap().is = Is::Waiting;
                    }
                }
                Step::Retry(place, due) => {
                    if let Some(token) = nth(model.with(Is::Taken), place) {
                        let it = model.all.get_mut(&token).unwrap();
                        (it.is, it.at, it.attempts) = (Is::Waiting, at(due), it.attempts + 1);
                        queue.retry(token, it.attempts, at(due));
                    }
                }
                Step::Finish(place) => {
                    if let Some(token) = nth(model.with(Is::Taken), place) {
                        queue.finish(token);
                        model.all.remove(&token);
                    }
                }
                Step::Hold(place, key) => {
                    if let Some(token) = nth(model.with(Is::Taken), place) {
                        queue.hold(token, batch(key));
                        model.all.get_mut(&token).unwrap().is = Is::Held(key);
                    }
                }
                Step::Leave(number) => {
                    queue.leave(token(number));
                    if let Some(it) = model.all.get_mut(&token(number)).filter(|it| matches!(it.is, Is::Held(_))) {
                        it.is = Is::Leaving;
                    }
                }
                Step::Release(place) => {
                    if let Some(token) = nth(model.with(Is::Leaving), place) {
                        queue.release(token, now);
                        let it = model.all.get_mut(&token).unwrap();
                        (it.is, it.at) = (Is::Waiting, now);
                    }
                }
                Step::Pass(seconds) => {
                    now = now.after(std::time::Duration::from_secs(seconds));
                    queue.take(0, now);
                }
            }
            prop_assert_eq!(queue.len(), model.all.len());
            let next = match model.due(now).is_empty() {
                false => Some(now),
                true => model.firsts().iter().map(|token| model.all[token].at).min(),
            };
            prop_assert_eq!(queue.next(), next);
            match queue.due_since() {
                Some(since) => prop_assert!(model.due(now).iter().any(|token| model.all[token].at == since)),
                None => prop_assert!(model.due(now).is_empty()),
            }
            let mut waiting = 0;
            for key in 0..3 {
                let held = model.with(Is::Held(key));
                waiting += held.len();
                prop_assert_eq!(queue.holds_any(&batch(key)), !held.is_empty());
                prop_assert_eq!(queue.held(&batch(key)), held);
            }
            prop_assert_eq!(queue.held_len(), waiting);
            for (token, it) in &model.all {
                let behind = |(other, that): (&Token, &Modelled)| {
                    that.lane == it.lane
                        && matches!(that.is, Is::Waiting)
                        && (*other > *token || it.is == Is::Taken)
                        && other != token
                };
                let in_lane = matches!(it.is, Is::Waiting | Is::Taken);
                let expected = in_lane && model.all.iter().any(behind);
                prop_assert_eq!(queue.has_successor(*token), expected, "{}", token);
            }
        }
    }
}

#[test]
fn a_million_deliveries_cost_less_than_80_mb() {
    let mut queue = Queue::default();
    for number in 0..1_000_000 {
        // Two of each call.
        queue.put(pending(number, number / 2, AT_ONCE), at(0), at(1));
    }
    let tables = queue.by_token.allocation_size() + queue.lanes.allocation_size();
    let slots = queue.slots.capacity() * size_of::<Slot>();
    let hints = queue.ready.capacity() * size_of::<u32>() + queue.later.capacity() * 16;
    let megabytes = (tables + slots + hints) / 1_000_000;
    assert!((60..80).contains(&megabytes), "{megabytes} MB");
    assert_eq!(queue.take(1_000_000, at(1)).len(), 500_000);
}

#[test]
fn hints_that_were_overtaken_do_not_pile_up() {
    let mut queue = Queue::default();
    for round in 0..1000 {
        for number in 0..10 {
            queue.put(pending(number, number, AT_ONCE), at(1000 + round), at(0));
        }
    }
    assert!(queue.later.len() + queue.ready.len() < 200);
    assert_eq!(queue.next(), Some(at(1999)));
    assert_eq!(queue.take(100, at(1999)).len(), 10);
}

#[test]
fn a_retried_delivery_goes_before_those_that_came_after_it() {
    let mut queue = Queue::default();
    for number in [1, 2, 3] {
        queue.put(pending(number, 0, AT_ONCE), at(0), at(0));
    }
    let sequences = |taken: Vec<Taken>| taken.iter().map(|it| it.sequence).collect::<Vec<_>>();
    assert_eq!(sequences(queue.take(5, at(1))), [1]);
    queue.put(pending(0, 0, AT_ONCE), at(1), at(1));
    assert!(queue.take(5, at(1)).is_empty(), "one at a time");
    queue.retry(token(1), 1, at(60));
    assert_eq!(sequences(queue.take(5, at(1))), [0]);
    queue.finish(token(0));
    assert!(queue.take(5, at(59)).is_empty(), "the others wait behind the one that is tried again");
    assert_eq!(sequences(queue.take(5, at(60))), [1]);
}
