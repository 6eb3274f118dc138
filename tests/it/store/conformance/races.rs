//! Several processes at once, which claim, write, give up, stall and come back at random.

use std::collections::BTreeSet;

use callwatch::store::Action;
use tokio::task::JoinSet;

use super::*;

for_shared_stores!(two_processes_never_both_write, processes_that_race_write_one_after_the_other);

/// How many random histories are tried.
const HISTORIES: u64 = 60;
/// How many steps each has.
const STEPS: usize = 120;

/// Processes that remember every claim they ever had and go on using it. A write must succeed with the newest claim on the
/// duty and with no other, unless that was given up.
async fn two_processes_never_both_write(backend: &dyn Backend) {
    let histories = if backend.is_slow() { HISTORIES / 6 } else { HISTORIES };
    for seed in 0..histories {
        let mut random = fastrand::Rng::with_seed(seed);
        let processes = [Process::of(backend).await, Process::of(backend).await, Process::of(backend).await];
        let duty = Duty::Destination(Name::from(format!("destination-{seed}")));
        let mut claims: Vec<(usize, Claim)> = vec![];
        let mut given_up = BTreeSet::new();
        let mut checkpoint = None;
        for step in 0..STEPS {
            let who = random.usize(..processes.len());
            let newest = claims.iter().map(|(_, claim)| claim.epoch).max().unwrap_or_default();
            match random.u8(..10) {
                0..3 => {
                    if let Some(claim) = processes[who].claim(&duty).await.unwrap() {
                        let renewed = claims.iter().any(|had| *had == (who, claim.clone()));
                        assert!(
                            renewed && claim.epoch == newest || claim.epoch > newest,
                            "{seed}, {step}: {claim:?}"
                        );
                        claims.push((who, claim));
                    } else {
                        let (owner, _) = claims.iter().find(|(_, claim)| claim.epoch == newest).unwrap();
                        assert!(
                            *owner != who && !given_up.contains(&newest),
                            "{seed}, {step}: nobody else has it"
                        );
                    }
                }
                3 => backend.let_claims_expire().await,
                4 if !claims.is_empty() => {
                    let (who, claim) = &claims[random.usize(..claims.len())];
                    processes[*who].give_up(claim.clone()).await.unwrap();
                    given_up.insert(claim.epoch);
                }
                _ if !claims.is_empty() => {
                    let (who, claim) = &claims[random.usize(..claims.len())];
                    let may = claim.epoch == newest && !given_up.contains(&newest);
                    let commit = Commit { checkpoint: Some(json!(step)), ..Commit::default() };
                    let written = processes[*who].store.commit(claim, commit).await;
                    assert_eq!(
                        written.is_ok(),
                        may,
                        "{seed}, {step}: {claim:?}, newest {newest}: {written:?}"
                    );
                    if may {
                        checkpoint = Some(json!(step));
                    }
                }
                _ => {}
            }
            assert_eq!(processes[who].checkpoint(&duty).await.unwrap(), checkpoint, "{seed}, {step}");
        }
        // A store may keep few processes at a time.
        for process in processes {
            process.close().await.unwrap();
        }
    }
}

/// As in the world: all at once, each as fast as it can. What one epoch wrote is never overwritten by an older one, and
/// what was refused has left nothing behind.
async fn processes_that_race_write_one_after_the_other(backend: &dyn Backend) {
    let mut all = JoinSet::new();
    for who in 0..4 {
        let process = Process::of(backend).await;
        all.spawn(async move {
            let duty = source("clinic");
            let mut written = vec![];
            for round in 0..50 {
                let Some(claim) = process.claim(&duty).await.unwrap() else {
                    tokio::task::yield_now().await;
                    continue;
                };
                for part in 0..3 {
                    let id = format!("evt_{who}_{round}_{part}");
                    let commit = Commit { checkpoint: Some(json!(claim.epoch)), ..calls(&[&id], 10) };
                    match process.store.commit(&claim, commit).await {
                        Ok(()) => written.push((claim.epoch, id)),
                        Err(StoreError::ClaimLost { .. }) => break,
                        Err(error) => panic!("{error}"),
                    }
                    let seen = process.checkpoint(&duty).await.unwrap().unwrap().as_u64().unwrap();
                    assert!(seen >= claim.epoch, "epoch {seen} after {}", claim.epoch);
                    tokio::task::yield_now().await;
                }
                process.give_up(claim).await.unwrap();
                tokio::task::yield_now().await;
            }
            process.close().await.unwrap();
            written
        });
    }
    let mut written = all.join_all().await.concat();
    assert!(!written.is_empty());
    let store = Process::of(backend).await;
    // In the order of the commits the epochs never go down.
    let newest_first = store.all().await;
    assert_eq!(newest_first.len(), written.len(), "all that succeeded is there, and nothing else");
    written.sort();
    let epoch = |id: &str| written.iter().find(|(_, other)| other == id).map(|(epoch, _)| *epoch).unwrap();
    assert!(ids(&newest_first).into_iter().rev().map(epoch).is_sorted());
    let tokens = newest_first.iter().map(|record| record.token).collect();
    assert_eq!(store.act(Action::Drop { tokens }).await.unwrap(), written.len());
}
