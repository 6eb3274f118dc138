//! Random histories, told to both implementations: whatever is asked, they say the same.

use super::*;
use callwatch::{
    store::{DeliveryFilter, DeliveryStateKind, Held, Leased, MemoryStore, Merge, Sorting},
    summary::BatchKey,
};
use proptest::{collection::vec, option, prelude::*};

#[derive(Clone, Debug)]
enum Step {
    Commit {
        calls: Vec<(usize, u8)>,
        events: Vec<usize>,
        /// Which, its sequence, when it was made, whether it is held.
        deliveries: Vec<(Of, u64, i64, bool)>,
        checkpoint: Option<u8>,
    },
    Lease {
        destination: usize,
        now: i64,
        lasts: i64,
        limit: usize,
    },
    Settle(Vec<(Of, i64, Verdict)>),
    Release(Vec<Of>),
    Sort {
        destination: usize,
        now: i64,
        hold: Vec<(usize, usize)>,
        send: Vec<usize>,
        forget: Vec<usize>,
        /// The batches, and what stands for them.
        merge: Option<(Vec<usize>, usize)>,
        ledgers: Vec<(usize, Option<u8>)>,
    },
    Retry(Vec<Of>, i64),
    Discard(Vec<Of>),
    Purge {
        before: i64,
        limit: usize,
    },
    Reopen,
}

/// A delivery: which event, which destination.
type Of = (usize, usize);

const CALLS: [&str; 4] = ["a", "a\0", "b", ""];
const DESTINATIONS: [&str; 2] = ["crm", "cr"];
const BATCHES: [&str; 3] = ["arrived", "digest", "digest\0"];
const EVENTS: usize = 9;
/// Those from here on stand for a batch, whether they come from a commit or from a sorting.
const SUMMARIES: usize = 7;

fn of() -> impl Strategy<Value = Of> {
    (0..EVENTS, 0..DESTINATIONS.len())
}

fn step() -> impl Strategy<Value = Step> {
    let time = || 0..60_i64;
    let commit = (
        vec((0..CALLS.len(), any::<u8>()), 0..3),
        vec(0..EVENTS, 0..4),
        vec((of(), 1..4_u64, time(), any::<bool>()), 0..5),
        option::of(any::<u8>()),
    );
    let verdict = prop_oneof![
        Just(Verdict::Delivered),
        time().prop_map(|due| Verdict::Retry(at(due))),
        Just(Verdict::Dead("no".to_owned())),
    ];
    let sort = (
        (0..DESTINATIONS.len(), time()),
        vec((0..EVENTS, 0..BATCHES.len()), 0..4),
        vec(0..EVENTS, 0..3),
        vec(0..EVENTS, 0..2),
        option::of((vec(0..BATCHES.len(), 0..3), SUMMARIES..EVENTS)),
        vec((0..BATCHES.len(), option::of(any::<u8>())), 0..2),
    );
    prop_oneof![
        4 => commit.prop_map(|(calls, events, deliveries, checkpoint)| Step::Commit { calls, events, deliveries, checkpoint }),
        4 => (0..DESTINATIONS.len(), time(), 0..40_i64, 0..4_usize)
            .prop_map(|(destination, now, lasts, limit)| Step::Lease { destination, now, lasts, limit }),
        4 => vec((of(), time(), verdict), 0..4).prop_map(Step::Settle),
        1 => vec(of(), 0..3).prop_map(Step::Release),
        4 => sort.prop_map(|((destination, now), hold, send, forget, merge, ledgers)| Step::Sort {
            destination, now, hold, send, forget, merge, ledgers,
        }),
        1 => (vec(of(), 0..3), time()).prop_map(|(of, now)| Step::Retry(of, now)),
        1 => vec(of(), 0..3).prop_map(Step::Discard),
        1 => (time(), 0..3_usize).prop_map(|(before, limit)| Step::Purge { before, limit }),
        1 => Just(Step::Reopen),
    ]
}

/// An event that depends on its number only; some are about the source, some are too large for one piece.
fn numbered_event(number: usize) -> Event {
    let call = CALLS[number % CALLS.len()];
    let mut event = event(&format!("evt_{number}"), call);
    if call.is_empty() {
        event.call = None;
    }
    if number >= SUMMARIES {
        event.batch = Some(BATCHES[number % BATCHES.len()].into());
    }
    if number % 4 == 3 {
        event.record = Arc::from(raw(&json!({ "id": call, "transcript": "x".repeat(90_000) })));
    }
    event
}

fn numbered_id((event, destination): Of) -> DeliveryId {
    delivery_id(&format!("evt_{event}"), DESTINATIONS[destination])
}

/// Does a step and tells what came of it.
async fn take(store: &dyn Store, step: &Step) -> String {
    match step.clone() {
        Step::Commit { calls, events, deliveries, checkpoint } => {
            let mut commit = Commit::new(clinic());
            for (call, summary) in calls {
                let size = if summary % 8 == 0 { 50_000 } else { 1 };
                let summary = format!("{summary}").repeat(size);
                commit.snapshots.push((CallId::from(CALLS[call]), snapshot("id", &summary)));
            }
            commit.events = events.into_iter().map(numbered_event).collect();
            for (of, sequence, created, held) in deliveries {
                commit.deliveries.push(NewDelivery {
                    id: numbered_id(of),
                    sequence,
                    created: at(created),
                    held,
                });
            }
            commit.checkpoint = checkpoint.map(Value::from);
            format!("{:?}", store.commit(commit).await)
        }
        Step::Lease { destination, now, lasts, limit } => {
            let leased = store.lease(&request(DESTINATIONS[destination], now, now + lasts, limit)).await;
            tell(&leased.unwrap())
        }
        Step::Settle(outcomes) => {
            let outcomes = outcomes.into_iter().map(|(of, at_millis, verdict)| {
                let id = numbered_id(of);
                outcome(id.event.as_str(), id.destination.as_str(), at_millis, verdict)
            });
            format!("{:?}", store.settle(outcomes.collect()).await)
        }
        Step::Release(of) => {
            format!("{:?}", store.release(of.into_iter().map(numbered_id).collect()).await)
        }
        Step::Sort { destination, now, hold, send, forget, merge, ledgers } => {
            let destination = name(DESTINATIONS[destination]);
            let event = |number| numbered_event(number).id;
            let batch = |number: usize| BatchKey::from(BATCHES[number]);
            let merge = merge.map(|(batches, summary)| Merge {
                batches: batches.into_iter().map(batch).collect(),
                event: numbered_event(summary),
                delivery: NewDelivery {
                    id: DeliveryId { event: event(summary), destination: destination.clone() },
                    sequence: 1,
                    created: at(now),
                    held: false,
                },
            });
            let sorting = Sorting {
                destination,
                now: at(now),
                hold: hold.into_iter().map(|(number, into)| (event(number), batch(into))).collect(),
                send: send.into_iter().map(event).collect(),
                forget: forget.into_iter().map(event).collect(),
                merge,
                ledgers: ledgers
                    .into_iter()
                    .map(|(number, ledger)| (batch(number), ledger.map(Value::from)))
                    .collect(),
            };
            format!("{:?}", store.sort(sorting).await)
        }
        Step::Retry(of, now) => {
            format!("{:?}", store.retry(of.into_iter().map(numbered_id).collect(), at(now)).await)
        }
        Step::Discard(of) => {
            format!("{:?}", store.discard(of.into_iter().map(numbered_id).collect()).await)
        }
        Step::Purge { before, limit } => format!("{:?}", store.purge(at(before), limit).await),
        Step::Reopen => String::new(),
    }
}

fn tell(leased: &Leased) -> String {
    let mut told = format!("{leased:?}");
    for lease in &leased.deliveries {
        told.push_str(lease.event.record.get());
    }
    told
}

/// Everything that can be asked without changing anything.
async fn ask(store: &dyn Store) -> String {
    let calls = CALLS.map(CallId::from);
    let filters = [
        DeliveryFilter::default(),
        DeliveryFilter { destination: Some(name("cr")), ..DeliveryFilter::default() },
        DeliveryFilter {
            call: Some("a".into()),
            state: Some(DeliveryStateKind::Pending),
            ..DeliveryFilter::default()
        },
    ];
    let mut answers = vec![
        format!("{:?}", store.tally().await.unwrap()),
        format!("{:?}", store.checkpoint(&clinic()).await.unwrap()),
        format!("{:?}", store.known(&clinic(), None, 9).await.unwrap()),
        format!("{:?}", store.known(&clinic(), Some(&calls[0]), 1).await.unwrap()),
    ];
    for snapshot in store.snapshots(&clinic(), &calls).await.unwrap().into_iter().flatten() {
        answers.push(format!("{snapshot:?} {:?}", snapshot.fields));
    }
    for destination in DESTINATIONS.map(name) {
        answers.push(format!("{:?}", store.ledgers(&destination).await.unwrap()));
        for batch in BATCHES.map(BatchKey::from) {
            let mut held: Vec<Held> = vec![];
            loop {
                let page = store.held(&destination, &batch, held.last(), 2).await.unwrap();
                if page.is_empty() {
                    break;
                }
                held.extend(page);
            }
            answers.push(format!("{held:?}"));
        }
    }
    for filter in filters {
        answers.push(format!("{:?}", store.deliveries(&filter, None, 99).await.unwrap()));
    }
    answers.push(format!(
        "{:?}",
        store.deliveries(&DeliveryFilter::default(), Some(&numbered_id((3, 0))), 2).await.unwrap()
    ));
    answers.join("\n")
}

async fn agree(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let mut sled = open(folder.path()).await.unwrap();
    let memory = MemoryStore::new();
    for step in steps {
        if matches!(step, Step::Reopen) {
            sled.close().await.unwrap();
            sled = open(folder.path()).await.unwrap();
            // A restart ends every lease.
            let all = (0..EVENTS).flat_map(|event| [numbered_id((event, 0)), numbered_id((event, 1))]);
            memory.release(all.collect()).await.unwrap();
        }
        prop_assert_eq!(take(&sled, &step).await, take(&memory, &step).await, "{:?}", step);
        prop_assert_eq!(ask(&sled).await, ask(&memory).await, "after {:?}", step);
    }
    Ok(())
}

/// How many histories; more of them with `CALLWATCH_STORE_CASES`.
fn cases() -> u32 {
    std::env::var("CALLWATCH_STORE_CASES").map_or(24, |cases| cases.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_say_the_same(steps in vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(agree(steps))?;
    }
}
