//! The real binary, killed at random moments: nothing is lost, nothing is made up, repeats carry the same id.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Stdio,
    time::Duration,
};

use callwatch::demo::receivers::Message;
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::rig::{PATIENCE, Rig, analyze, complete, record};

/// How many times the process is killed; more with `CALLWATCH_KILLS`.
const KILLS: usize = 25;

fn spawn(config: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_callwatch"))
        .args(["run", "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Waits until the API has been asked again: the process is up and polls.
async fn polls(rig: &Rig, more: u64) {
    let so_far = rig.callem.request_counts().total();
    let polled = rig.callem.wait_for_requests(|counts| counts.total() >= so_far + more);
    timeout(PATIENCE, polled).await.expect("the process polls");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_loses_nothing_and_makes_nothing_up() {
    let kills = std::env::var("CALLWATCH_KILLS").map_or(KILLS, |n| n.parse().expect("a number"));
    let seed =
        std::env::var("CALLWATCH_SEED").map_or_else(|_| fastrand::u64(..), |n| n.parse().expect("a number"));
    println!("CALLWATCH_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let rig = Rig::new().await;
    for n in 0..40 {
        let mut old = record(&format!("old{n}"), "completed");
        analyze(&mut old, "negative", true);
        rig.callem.add(old);
    }
    let config = rig.write_config(&rig.config_text());
    let mut process = spawn(&config);
    // The first kills may interrupt the baseline: what is new by then was created after it began.
    polls(&rig, 1).await;

    let mut calls: BTreeMap<String, usize> = BTreeMap::new();
    for kill in 0..kills {
        for _ in 0..random.usize(1..4) {
            let id = format!("call{:04}", calls.len());
            let mut call = record(&id, "live");
            call["createdAt"] = "2100-01-01T00:00:00.000Z".into();
            rig.callem.add(call);
            calls.insert(id, 0);
        }
        for (id, stage) in calls.iter_mut().filter(|(_, stage)| **stage < 2) {
            if random.bool() {
                *stage += 1;
                let number: usize = id[4..].parse().unwrap();
                match stage {
                    1 => rig.callem.update(id, complete),
                    _ => rig.callem.update(id, |call| {
                        analyze(call, ["negative", "positive"][number % 2], number.is_multiple_of(3))
                    }),
                };
            }
        }
        // Sometimes before it is up, sometimes in the middle of the work.
        if random.u8(..4) > 0 {
            polls(&rig, random.u64(1..6)).await;
        }
        sleep(Duration::from_micros(random.u64(..30_000))).await;
        process.kill().await.unwrap();
        assert!(kill < kills);
        process = spawn(&config);
    }
    for (id, stage) in calls.iter_mut().filter(|(_, stage)| **stage < 2) {
        let number: usize = id[4..].parse().unwrap();
        rig.callem.update(id, |call| {
            complete(call);
            analyze(call, ["negative", "positive"][number % 2], number.is_multiple_of(3));
        });
        *stage = 2;
    }

    // The truth, from what was done to the API alone.
    let ids = |wanted: &dyn Fn(usize) -> bool| -> BTreeSet<String> {
        calls.keys().filter(|id| wanted(id[4..].parse().unwrap())).cloned().collect()
    };
    let (all, unhappy, booked) =
        (ids(&|_| true), ids(&|n| n.is_multiple_of(2)), ids(&|n| n.is_multiple_of(3)));
    let arrived = |rig: &Rig| -> bool {
        let webhooks = rig.webhooks();
        let with = |rule: &str, kind: &str| -> BTreeSet<String> {
            let fits = |w: &&crate::rig::Webhook| w.rule == rule && w.kinds.iter().any(|k| k == kind);
            webhooks.iter().filter(fits).map(|w| w.call.clone()).collect()
        };
        with("call-completed", "ended") == all
            && with("call-completed", "analyzed") == all
            && with("booked", "analyzed") == booked
            && distinct_mails(rig).len() == unhappy.len()
    };
    let waiting = async {
        while !arrived(&rig) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let missing = timeout(PATIENCE, waiting).await.is_err();
    assert!(!missing, "not everything arrived; seed {seed}");
    polls(&rig, 20).await;

    // Nothing invented: every (rule, call, kinds) at most once but for repeats, which carry the same id and body.
    let webhooks = rig.webhooks();
    let mut bodies = BTreeMap::new();
    for webhook in &webhooks {
        assert!(webhook.verified);
        let said = bodies.entry(webhook.id.clone()).or_insert_with(|| webhook.body.clone());
        assert_eq!(*said, webhook.body, "a repeat says the same");
    }
    let mut told: BTreeMap<(String, String, String), BTreeSet<String>> = BTreeMap::new();
    for webhook in &webhooks {
        for kind in webhook.kinds.iter().filter(|kind| *kind == "ended" || webhook.rule == "booked") {
            let what = (webhook.rule.clone(), webhook.call.clone(), kind.clone());
            told.entry(what).or_default().insert(webhook.id.clone());
        }
    }
    assert!(told.values().all(|ids| ids.len() == 1), "told twice under two ids: {told:?}");
    assert!(webhooks.iter().all(|webhook| calls.contains_key(&webhook.call)), "an old call was announced");
    let in_order = webhooks.iter().fold(BTreeMap::<&str, (u64, bool)>::new(), |mut lanes, webhook| {
        let (highest, ok) = lanes.entry(&webhook.call).or_insert((0, true));
        let repeat = webhook.sequence <= *highest;
        *ok &= repeat || webhook.sequence == *highest + 1;
        *highest = (*highest).max(webhook.sequence);
        lanes
    });
    assert!(in_order.values().all(|(_, ok)| *ok), "out of order: {in_order:?}");
    assert_eq!(distinct_mails(&rig).len(), unhappy.len());
    let repeats = webhooks.len() - bodies.len();
    println!("{kills} kills, {} calls, {} webhooks, {repeats} repeated, 0 lost", calls.len(), webhooks.len());
    process.kill().await.unwrap();
}

/// The mails that arrived, by their `Message-ID`.
fn distinct_mails(rig: &Rig) -> BTreeSet<String> {
    let id = |arrival: &std::sync::Arc<callwatch::demo::receivers::Arrival>| match &arrival.message {
        Message::Mail(mail) => mail.message_id(),
        _ => None,
    };
    rig.manager.inbox().arrivals().iter().filter_map(id).collect()
}
