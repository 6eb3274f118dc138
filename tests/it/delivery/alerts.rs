//! Alerts about a destination, told elsewhere: that it takes nothing any more, that it does again, and what was given up.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use callwatch::{
    event::Severity,
    kind::{Kind, Kinds},
    rule::{Rule, RuleText},
    store::{Action, Duty, Pause, Store},
};
use serde_json::Value;

use super::{
    mortal::{Death, Mortal},
    stage::{Receiver, Reply, Running, Stage, Try, commit, config, secs},
};

const MINUTE: u64 = 60;

/// A stage whose rules tell `ops` and `crm` of everything that callwatch tells of itself.
fn stage() -> Stage {
    let mut stage = Stage::new();
    let text = Arc::new(RuleText { severity: Severity::Critical, ..RuleText::default() });
    let alerts =
        Rule::new("[alerts]".into(), Kinds::from_iter(Kind::ALERTS), vec!["ops".into(), "crm".into()]);
    let feed = Rule::new("call-completed".into(), Kind::Ended.into(), vec![]);
    stage.rules = Arc::new([feed, Rule { text, ..alerts }].into_iter().collect());
    stage
}

/// A receiver that fails until it is mended.
fn mendable(stage: &Stage, broken: fn() -> Reply) -> (Arc<Receiver>, Arc<AtomicBool>) {
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = Arc::clone(&mended);
    let script = move |_: &Try| if is_mended.load(Ordering::SeqCst) { Reply::Ok } else { broken() };
    (stage.receiver(script), mended)
}

/// Serves `crm` and `ops`, which takes everything.
fn serve(stage: &Stage, crm: &Arc<Receiver>, ops: &Arc<Receiver>) -> [Running; 2] {
    let mut patient = config("crm");
    patient.retry = vec![secs(5); 10_000];
    [stage.serve(patient, crm), stage.serve(config("ops"), ops)]
}

/// The messages that arrived at `ops`.
fn told(ops: &Receiver) -> Vec<Value> {
    ops.tries().iter().map(|it| serde_json::from_str(&it.record).unwrap()).collect()
}

async fn wait(seconds: u64) {
    tokio::time::sleep(secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_refuses_for_long_is_told_elsewhere_once_and_so_is_its_recovery() {
    let stage = stage();
    let (crm, mended) = mendable(&stage, || Reply::Fail);
    let ops = stage.receiver(|_| Reply::Ok);
    stage.add("crm", &[("a", 1), ("b", 1), ("c", 1)]).await;
    let running = serve(&stage, &crm, &ops);
    wait(4 * MINUTE + 50).await;
    assert_eq!(told(&ops), Vec::<Value>::new(), "it has not failed for long enough");
    wait(20).await;
    let failing = told(&ops);
    assert_eq!(failing.len(), 1, "{failing:?}");
    assert_eq!(failing[0]["destination"], "crm");
    assert_eq!(failing[0]["error"], "500 Internal Server Error");
    assert_eq!(failing[0]["since"], "2025-12-15T14:30:00.000Z");
    assert_eq!((&failing[0]["waiting"], &failing[0]["resumes"]), (&3.into(), &true.into()));
    wait(600 * MINUTE).await;
    assert_eq!(told(&ops).len(), 1, "it is told once");

    mended.store(true, Ordering::SeqCst);
    wait(10 * MINUTE).await;
    let all = told(&ops);
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!((&all[1]["since"], all[1].get("error")), (&failing[0]["since"], None));
    wait(600 * MINUTE).await;
    assert_eq!(told(&ops).len(), 2);
    assert!(crm.tries().iter().all(|it| !it.call.is_empty()), "nothing about crm goes through crm");
    for running in running {
        running.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_trouble_is_not_told_and_neither_is_its_end() {
    let stage = stage();
    let (crm, mended) = mendable(&stage, || Reply::Fail);
    let ops = stage.receiver(|_| Reply::Ok);
    stage.add("crm", &[("a", 1), ("b", 1), ("c", 1)]).await;
    let running = serve(&stage, &crm, &ops);
    wait(MINUTE).await;
    mended.store(true, Ordering::SeqCst);
    wait(600 * MINUTE).await;
    assert_eq!(told(&ops), Vec::<Value>::new());
    for running in running {
        running.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn one_delivery_in_a_quiet_hour_shows_it_as_well() {
    let stage = stage();
    let crm = stage.receiver(|_| Reply::Fail);
    let ops = stage.receiver(|_| Reply::Ok);
    stage.add("crm", &[("a", 1)]).await;
    let mut usual = config("crm");
    // The breaker does not open before the fifth failure.
    usual.retry = vec![secs(5), secs(5 * MINUTE), secs(30 * MINUTE), secs(120 * MINUTE)];
    let running = [stage.serve(usual, &crm), stage.serve(config("ops"), &ops)];
    wait(5 * MINUTE).await;
    assert_eq!(told(&ops).len(), 0, "it may be well since the second attempt");
    wait(MINUTE).await;
    assert_eq!(told(&ops).len(), 1, "the third attempt shows that it is not");
    for running in running {
        running.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_the_receiver_wanted_is_told_and_one_by_hand_is_not() {
    let stage = stage();
    let (crm, mended) = mendable(&stage, || Reply::Goodbye);
    let ops = stage.receiver(|_| Reply::Ok);
    stage.add("crm", &[("a", 1)]).await;
    stage
        .store
        .act(Action::Pause { destination: "desk".into(), pause: Pause::by_hand(stage.clock.wall()) })
        .await
        .unwrap();
    stage.add("desk", &[("a", 1)]).await;
    let desk = stage.receiver(|_| Reply::Ok);
    let [crm_runs, ops_runs] = serve(&stage, &crm, &ops);
    let desk_runs = stage.serve(config("desk"), &desk);
    wait(2 * MINUTE).await;
    // The pause is kept over a restart, and so is the time it has lasted.
    crm_runs.stop().await.unwrap();
    let crm_runs = stage.serve(config("crm"), &crm);
    wait(3 * MINUTE + 1).await;
    let all = told(&ops);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0]["error"], "410 Gone: no more of this");
    assert_eq!(all[0]["resumes"], false);

    mended.store(true, Ordering::SeqCst);
    stage.resume("crm").await;
    wait(MINUTE).await;
    assert_eq!(told(&ops).len(), 2);
    assert_eq!(told(&ops)[1]["destination"], "crm");
    for running in [crm_runs, ops_runs, desk_runs] {
        running.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn many_deliveries_that_die_are_one_message() {
    let stage = stage();
    let crm = stage.receiver(|_| Reply::Refuse);
    let ops = stage.receiver(|_| Reply::Ok);
    let calls: Vec<_> = (0..148).map(|call| format!("c{call}")).collect();
    let items: Vec<_> = calls.iter().map(|call| (call.as_str(), 1)).collect();
    stage.add("crm", &items).await;
    let mut slow = config("crm");
    slow.rate = super::stage::rate(1, secs(1));
    let running = [stage.serve(slow, &crm), stage.serve(config("ops"), &ops)];
    wait(160).await;
    assert_eq!(told(&ops).len(), 0, "there may be more");
    wait(30).await;
    let all = told(&ops);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!((&all[0]["count"], &all[0]["error"]), (&148.into(), &"refused for good".into()));

    // Not more often than every ten minutes, and nothing is left out.
    stage.add("crm", &[("x", 1), ("y", 1)]).await;
    wait(9 * MINUTE).await;
    assert_eq!(told(&ops).len(), 1);
    wait(2 * MINUTE).await;
    let all = told(&ops);
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(all[1]["count"], 2);
    for running in running {
        running.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn alerts_that_nobody_takes_come_to_an_end() {
    let stage = stage();
    let (crm, ops) = (stage.receiver(|_| Reply::Refuse), stage.receiver(|_| Reply::Refuse));
    stage.add("crm", &[("a", 1)]).await;
    stage.add("ops", &[("a", 1)]).await;
    let running = serve(&stage, &crm, &ops);
    wait(24 * 60 * MINUTE).await;
    assert_eq!((crm.tries().len(), ops.tries().len()), (2, 2), "a call and what is told of the other one");
    for running in running {
        running.stop().await.unwrap();
    }
}

/// Lives for an hour with `deliveries` to crm, over a death if there is one, and then for another one. Returns how many writes
/// there were, and how many deliveries are dead.
async fn live(stage: &Stage, receivers: [&Arc<Receiver>; 2], folder: &Path, death: Option<Death>) -> usize {
    let store = Arc::new(Mortal::open(folder, None).await);
    let claim = store.claim(&Duty::Source("clinic".into())).await.unwrap().unwrap();
    let calls: Vec<_> = (0..12).map(|call| format!("c{call}")).collect();
    let items: Vec<_> = calls.iter().map(|call| (call.as_str(), 1)).collect();
    store.commit(&claim, commit("crm", &items, stage.clock.wall())).await.unwrap();
    store.bury().await;
    let mut writes = 0;
    for death in [death, None] {
        let store = Arc::new(Mortal::open(folder, death).await);
        let serve = |name: &str, receiver| {
            let mut config = config(name);
            config.rate = super::stage::rate(1, secs(1));
            stage.serve_from(Arc::clone(&store) as Arc<dyn Store>, config, receiver)
        };
        let running = [serve("crm", receivers[0]), serve("ops", receivers[1])];
        for _ in 0..60 {
            wait(MINUTE).await;
            if store.is_dead() {
                break;
            }
        }
        for running in running {
            if store.is_dead() {
                running.task.abort();
            } else {
                running.stop().await.unwrap();
            }
        }
        writes = writes.max(store.writes().len());
        store.bury().await;
    }
    writes
}

#[tokio::test(start_paused = true)]
async fn at_whichever_write_it_ends_everything_is_told_once() {
    for (reply, key, sum) in [
        // Twelve deliveries that die are twelve, however many messages tell them.
        ((|| Reply::Refuse) as fn() -> Reply, "count", 12),
        // One trouble is told once.
        (|| Reply::Goodbye, "resumes", 1),
    ] {
        let mut writes = 1;
        let mut number = 0;
        while number < writes {
            for death in [Death::Before(number), Death::After(number)] {
                let (stage, folder) = (stage(), tempfile::tempdir().unwrap());
                let crm = stage.receiver(move |_| reply());
                let ops = stage.receiver(|_| Reply::Ok);
                writes = writes.max(live(&stage, [&crm, &ops], folder.path(), Some(death)).await);
                let mut events: BTreeMap<_, u64> = BTreeMap::new();
                for it in ops.tries() {
                    let record: Value = serde_json::from_str(&it.record).unwrap();
                    let many = if key == "count" { record[key].as_u64().unwrap() } else { 1 };
                    assert!(record.get(key).is_some(), "{record}");
                    assert_eq!(*events.entry(it.event).or_insert(many), many, "the same id tells the same");
                }
                assert_eq!(events.values().sum::<u64>(), sum, "{death:?} of {writes}: {events:?}");
            }
            number += 1;
        }
        assert!(writes > 2, "{writes}");
    }
}
