//! D3 as a property: whatever fails, panics or is stopped, each lane is received in order and nothing is lost.

use std::collections::BTreeMap;

use callwatch::store::DeliveryStateKind;
use proptest::prelude::*;

use super::stage::{Item, Reply, Stage, Try, config, event_id, millis, rate, secs};

/// Events that happen to a run from outside.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Nothing,
    /// Stopped and started again after so many milliseconds.
    Stopped(u64),
    /// Cut off and started again after so many milliseconds.
    CutOff(u64),
}

#[derive(Clone, Debug)]
struct Plan {
    /// How many deliveries each call has.
    lanes: Vec<u64>,
    /// When each lane's next delivery is committed, in milliseconds after the one before.
    pauses: Vec<u64>,
    concurrency: usize,
    rate: Option<u32>,
    fate: Fate,
    /// Decides what the receiver does with each try.
    seed: u64,
}

fn plan() -> impl Strategy<Value = Plan> {
    let fate = prop_oneof![
        Just(Fate::Nothing),
        (0u64..30_000).prop_map(Fate::Stopped),
        (0u64..30_000).prop_map(Fate::CutOff),
    ];
    (
        prop::collection::vec(1u64..6, 1..8),
        prop::collection::vec(0u64..3_000, 6),
        1usize..10,
        prop::option::of(1u32..5),
        fate,
        any::<u64>(),
    )
        .prop_map(|(lanes, pauses, concurrency, rate, fate, seed)| Plan {
            lanes,
            pauses,
            concurrency,
            rate,
            fate,
            seed,
        })
}

/// The same try always meets the same reply, and half of them succeed.
fn reply(seed: u64, it: &Try) -> Reply {
    let mut random = fastrand::Rng::with_seed(seed ^ hash(it));
    match random.u8(..100) {
        0..30 => Reply::Ok,
        30..55 => Reply::Slow(millis(random.u64(..3_000))),
        55..75 => Reply::Fail,
        75..85 => Reply::FailSlowly(millis(random.u64(..3_000))),
        85..88 => Reply::Busy(secs(random.u64(..100))),
        88..92 => Reply::Hang,
        _ => Reply::Refuse,
    }
}

fn hash(it: &Try) -> u64 {
    it.call
        .bytes()
        .map(u64::from)
        .chain([it.sequence, it.number as u64])
        .fold(17, |hash: u64, part| hash.wrapping_mul(1_000_003).wrapping_add(part))
}

async fn play(plan: Plan) -> Result<(), TestCaseError> {
    let stage = Stage::new();
    let seed = plan.seed;
    let receiver = stage.receiver(move |it| reply(seed, it));
    let mut config = config("crm");
    config.concurrency = plan.concurrency;
    config.rate = plan.rate.and_then(|count| rate(count, secs(1)));
    let calls: Vec<String> = (0..plan.lanes.len()).map(|n| format!("call{n}")).collect();
    let total = plan.lanes.iter().sum::<u64>() as usize;
    let committing = async {
        for (sequence, pause) in (1..).zip(&plan.pauses) {
            tokio::time::sleep(millis(*pause)).await;
            let lanes = calls.iter().zip(&plan.lanes).filter(|(_, last)| sequence <= **last);
            let items: Vec<Item> = lanes.map(|(call, _)| (call.as_str(), sequence)).collect();
            stage.add("crm", &items).await;
        }
    };
    let serving = async {
        let running = stage.serve(config.clone(), &receiver);
        match plan.fate {
            Fate::Nothing => running,
            Fate::Stopped(after) => {
                tokio::time::sleep(millis(after)).await;
                running.stop().await.unwrap();
                stage.serve(config.clone(), &receiver)
            }
            Fate::CutOff(after) => {
                tokio::time::sleep(millis(after)).await;
                running.cut_off().await;
                stage.serve(config.clone(), &receiver)
            }
        }
    };
    let (running, ()) = tokio::join!(serving, committing);
    // The longest way of a delivery is a quarter of an hour, if its lane and the breaker let it.
    let mut records = vec![];
    for _ in 0..1000 {
        records = stage.records("crm").await;
        if records.iter().all(|record| record.state.kind() != DeliveryStateKind::Pending) {
            break;
        }
        tokio::time::sleep(secs(600)).await;
    }
    running.stop().await.unwrap();

    prop_assert_eq!(records.len(), total);
    let mut last = BTreeMap::new();
    let tries = receiver.tries();
    for it in &tries {
        let before = last.insert(it.call.clone(), it.sequence).unwrap_or(0);
        prop_assert!(
            it.sequence == before || it.sequence == before + 1,
            "{} received {} after {before}",
            it.call,
            it.sequence
        );
    }
    for record in &records {
        let id = event_id(record.subject.call().unwrap().as_str(), record.sequence);
        let tried = tries.iter().filter(|it| it.event == id).count();
        prop_assert!(record.state.kind() != DeliveryStateKind::Pending, "{record:?} never finished");
        let most = record.attempts as usize + usize::from(!matches!(plan.fate, Fate::Nothing));
        prop_assert!(
            (record.attempts as usize..=most).contains(&tried),
            "tried {tried} times, recorded {}",
            record.attempts
        );
    }
    prop_assert!(receiver.most_in_flight() <= plan.concurrency);
    prop_assert!(!receiver.overlapped(), "an event was in flight twice at the same time");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn each_lane_is_received_in_order_and_nothing_is_lost(plan in plan()) {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(play(plan))?;
    }
}
