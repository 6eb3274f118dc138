//! Claims: who may write, and that nobody else can.

use callwatch::store::{Action, PauseChange};

use super::*;

for_every_store!(
    a_renewed_claim_is_the_same,
    a_claim_that_was_given_up_is_worth_nothing,
    a_stale_claim_changes_nothing_whatever_it_calls,
    duties_are_claimed_one_by_one,
    the_next_process_begins_anew,
);

for_shared_stores!(
    only_one_process_has_a_claim,
    a_claim_that_is_renewed_is_never_taken_over,
    a_claim_is_taken_over_when_it_has_expired,
    an_expired_claim_holds_until_somebody_takes_it,
    a_claim_is_taken_over_at_once_when_it_was_given_up,
    a_closed_process_leaves_its_duties_to_others,
    processes_see_what_the_others_did,
    an_outcome_of_the_former_owner_does_not_count,
);

async fn a_renewed_claim_is_the_same(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let claim = store.own(destination("crm")).await;
    for _ in 0..3 {
        assert_eq!(store.own(destination("crm")).await, claim);
    }
    store.store.settle(&claim, settlement(10)).await.unwrap();
}

fn is_lost<T: std::fmt::Debug>(answer: &Result<T, StoreError>, duty: &Duty) -> bool {
    matches!(answer, Err(StoreError::ClaimLost { duty: lost }) if lost == duty)
}

async fn a_claim_that_was_given_up_is_worth_nothing(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let old = store.own(destination("crm")).await;
    store.give_up(old.clone()).await.unwrap();
    assert!(is_lost(&store.store.settle(&old, settlement(10)).await, &old.duty));
    let new = store.own(destination("crm")).await;
    assert!(new.epoch > old.epoch, "{new:?} after {old:?}");
    assert!(is_lost(&store.store.settle(&old, settlement(10)).await, &old.duty));
    // The old one cannot give up the new one.
    store.give_up(old.clone()).await.unwrap();
    store.store.settle(&new, settlement(10)).await.unwrap();
    assert_eq!(store.own(destination("crm")).await, new);
}

/// Everything that an owner can do with these stale claims on `clinic`, `crm` and upkeep. All of it must be refused.
async fn is_refused(store: &Process, stale: &[Claim; 3], tokens: &[Token]) {
    let [clinic_claim, crm_claim, upkeep] = stale;
    let commit = Commit {
        checkpoint: Some(json!("stale")),
        snapshots: vec![("a".into(), snapshot("a", "stale"))],
        ..calls(&["evt_stale"], 10)
    };
    let full = Settlement {
        outcomes: tokens.iter().map(|token| outcome(*token, 1, 20, Verdict::Delivered)).collect(),
        holds: tokens.iter().map(|token| (*token, batch("quiet/alone"))).collect(),
        releases: tokens.to_vec(),
        forgets: tokens.to_vec(),
        merge: Some(Merge { tokens: tokens.to_vec(), event: summary("sum_stale", "quiet"), sequence: 1 }),
        ledgers: vec![(batch("quiet"), Some(json!("stale"))), (batch("quiet/alone"), None)],
        memos: vec![(call("evt_1"), Some(json!("stale")))],
        pause: Some(PauseChange::End),
        ..settlement(20)
    };
    let each = [
        Settlement { outcomes: full.outcomes.clone(), lazy: true, ..settlement(20) },
        Settlement { holds: full.holds.clone(), ..settlement(20) },
        Settlement { releases: full.releases.clone(), ..settlement(20) },
        Settlement { forgets: full.forgets.clone(), ..settlement(20) },
        Settlement { merge: full.merge.clone(), ..settlement(20) },
        Settlement { ledgers: full.ledgers.clone(), ..settlement(20) },
        Settlement { memos: full.memos.clone(), ..settlement(20) },
        Settlement { pause: full.pause.clone(), ..settlement(20) },
        full,
    ];
    for settlement in each {
        let answer = store.store.settle(crm_claim, settlement.clone()).await;
        assert!(is_lost(&answer, &crm_claim.duty), "{answer:?} to {settlement:?}");
    }
    assert!(is_lost(&store.store.commit(clinic_claim, commit).await, &clinic_claim.duty));
    let events_only = calls(&["evt_stale"], 10);
    assert!(is_lost(&store.store.commit(crm_claim, events_only.clone()).await, &crm_claim.duty));
    assert!(is_lost(&store.store.commit(upkeep, events_only).await, &upkeep.duty));
    assert!(is_lost(&store.pending(crm_claim, Position::START, 10).await, &crm_claim.duty));
    assert!(is_lost(&store.purge(upkeep, at(1_000_000), 10).await, &upkeep.duty));
    assert!(is_lost(&store.shrink(upkeep, &clinic(), at(i64::MAX / 4)).await, &upkeep.duty));
    for claim in stale {
        store.give_up(claim.clone()).await.unwrap();
    }
}

/// Fills a store with something that each part of a stale write could change.
async fn fill(store: &Process) -> Vec<Token> {
    let mut commit = calls(&["evt_1", "evt_2"], 10);
    commit.events.extend(held(calls(&["evt_3", "evt_4"], 10), "quiet", 5).events);
    commit.snapshots.push(("a".into(), snapshot("a", "hello")));
    commit.checkpoint = Some(json!("true"));
    store.commit(commit).await;
    store.attempt("evt_2", 20, dead()).await;
    store
        .settle(Settlement {
            ledgers: vec![(batch("quiet"), Some(json!("true"))), (batch("quiet/alone"), Some(json!("true")))],
            memos: vec![(call("evt_1"), Some(json!("true")))],
            pause: Some(PauseChange::Begin(Pause::by_hand(at(5)))),
            ..settlement(20)
        })
        .await;
    store.tokens(&["evt_1", "evt_2", "evt_3", "evt_4"]).await
}

async fn claim_all(store: &Process) -> [Claim; 3] {
    [store.own(source("clinic")).await, store.own(destination("crm")).await, store.own(Duty::Upkeep).await]
}

async fn a_stale_claim_changes_nothing_whatever_it_calls(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let tokens = fill(&store).await;
    let stale = claim_all(&store).await;
    for claim in &stale {
        store.give_up(claim.clone()).await.unwrap();
    }
    let before = store.dump().await;
    is_refused(&store, &stale, &tokens).await;
    assert_eq!(store.dump().await, before);
    let fresh = claim_all(&store).await;
    is_refused(&store, &stale, &tokens).await;
    assert_eq!(store.dump().await, before);
    assert_eq!(claim_all(&store).await, fresh, "the fresh claims have not suffered");
    // People need no claim.
    assert_eq!(store.act(Action::Drop { tokens }).await.unwrap(), 4);
}

async fn duties_are_claimed_one_by_one(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let claims = [
        store.own(source("crm")).await,
        store.own(destination("crm")).await,
        store.own(destination("crm2")).await,
        store.own(Duty::Upkeep).await,
    ];
    store.give_up(claims[1].clone()).await.unwrap();
    for claim in &claims {
        let answer = store.store.commit(claim, calls(&["evt_1"], 10)).await;
        assert_eq!(answer.is_ok(), claim.duty != destination("crm"), "{answer:?}");
    }
}

async fn the_next_process_begins_anew(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    fill(&store).await;
    let store = store.restart(backend).await;
    for claim in claim_all(&store).await {
        store.store.commit(&claim, Commit::default()).await.unwrap();
    }
    assert_eq!(store.feed().await, ["evt_1", "evt_3", "evt_4"]);
}

async fn only_one_process_has_a_claim(backend: &dyn Backend) {
    let (a, b) = (Process::of(backend).await, Process::of(backend).await);
    let claim = a.own(destination("crm")).await;
    assert!(claim.lease.is_some(), "it says until when it must be renewed");
    assert_eq!(b.claim(&destination("crm")).await.unwrap(), None);
    b.own(destination("mail")).await;
    assert_eq!(a.claim(&destination("mail")).await.unwrap(), None);
    assert_eq!(a.own(destination("crm")).await, claim);
}

async fn a_claim_that_is_renewed_is_never_taken_over(backend: &dyn Backend) {
    let (a, b) = (Process::of(backend).await, Process::of(backend).await);
    let claim = a.own(destination("crm")).await;
    for _ in 0..5 {
        backend.let_claims_expire().await;
        assert_eq!(a.own(destination("crm")).await, claim, "nobody has taken it meanwhile");
        assert_eq!(b.claim(&destination("crm")).await.unwrap(), None);
    }
}

async fn a_claim_is_taken_over_when_it_has_expired(backend: &dyn Backend) {
    let (a, b) = (Process::of(backend).await, Process::of(backend).await);
    let tokens = fill(&a).await;
    let stale = claim_all(&a).await;
    backend.let_claims_expire().await;
    let fresh = claim_all(&b).await;
    for (stale, fresh) in stale.iter().zip(&fresh) {
        assert!(fresh.epoch > stale.epoch);
        assert_eq!(a.claim(&stale.duty).await.unwrap(), None);
    }
    let before = b.dump().await;
    is_refused(&a, &stale, &tokens).await;
    assert_eq!(b.dump().await, before);
    assert_eq!(claim_all(&b).await, fresh);
    // When it comes back, it gets neither its old claim nor the other's.
    backend.let_claims_expire().await;
    let again = claim_all(&a).await;
    assert!(again.iter().zip(&fresh).all(|(again, fresh)| again.epoch > fresh.epoch));
    is_refused(&b, &fresh, &tokens).await;
    is_refused(&a, &stale, &tokens).await;
    assert_eq!(a.dump().await, before);
}

async fn an_expired_claim_holds_until_somebody_takes_it(backend: &dyn Backend) {
    let (a, b) = (Process::of(backend).await, Process::of(backend).await);
    a.commit(calls(&["evt_1"], 10)).await;
    let token = a.token("evt_1").await;
    let claim = a.own(destination("crm")).await;
    backend.let_claims_expire().await;
    // Nobody else can have sent it meanwhile, so its outcome is worth keeping.
    a.store.settle(&claim, outcomes(vec![outcome(token, 1, 20, Verdict::Delivered)])).await.unwrap();
    assert_eq!(b.state("evt_1").await, Some(DeliveryState::Delivered { at: at(20) }));
    b.own(destination("crm")).await;
    assert!(is_lost(&a.store.settle(&claim, settlement(10)).await, &claim.duty));
}

async fn a_claim_is_taken_over_at_once_when_it_was_given_up(backend: &dyn Backend) {
    let (a, b) = (Process::of(backend).await, Process::of(backend).await);
    let first = a.own(destination("crm")).await;
    a.give_up(first.clone()).await.unwrap();
    let second = b.own(destination("crm")).await;
    assert!(second.epoch > first.epoch);
    assert_eq!(a.claim(&destination("crm")).await.unwrap(), None);
    a.give_up(first.clone()).await.unwrap();
    assert_eq!(a.claim(&destination("crm")).await.unwrap(), None, "only the owner gives it up");
    b.give_up(second.clone()).await.unwrap();
    assert!(a.own(destination("crm")).await.epoch > second.epoch);
}

async fn a_closed_process_leaves_its_duties_to_others(backend: &dyn Backend) {
    let (a, b) = (Process::of(backend).await, Process::of(backend).await);
    let claim = a.own(destination("crm")).await;
    a.close().await.unwrap();
    assert!(b.own(destination("crm")).await.epoch > claim.epoch);
}

async fn processes_see_what_the_others_did(backend: &dyn Backend) {
    let (a, b) = (Process::of(backend).await, Process::of(backend).await);
    let mut reader = Reader::new(b.own(destination("crm")).await);
    assert_eq!(reader.read(&*b, 10).await, 0);
    let arrivals = b.arrivals(&crm());
    a.commit(calls(&["evt_1", "evt_2"], 10)).await;
    assert_eq!(reader.read(&*b, 10).await, 2);
    b.attempt("evt_1", 20, dead()).await;
    let c = Process::of(backend).await;
    c.act(Action::Retry { tokens: c.tokens(&["evt_1"]).await, at: at(60) }).await.unwrap();
    c.act(Action::Drop { tokens: c.tokens(&["evt_2"]).await }).await.unwrap();
    reader.read(&*b, 10).await;
    assert_eq!(reader.events(), ["evt_1"]);
    // The wake-up is a hint that a shared store may lose; this one does not.
    tokio::time::timeout(Duration::from_secs(10), arrivals.notified()).await.unwrap();
    assert_eq!((a.dump().await, c.dump().await), (b.dump().await, b.dump().await));
}

async fn an_outcome_of_the_former_owner_does_not_count(backend: &dyn Backend) {
    let (a, b) = (Process::of(backend).await, Process::of(backend).await);
    a.commit(calls(&["evt_1"], 10)).await;
    let token = a.token("evt_1").await;
    let stale = a.own(destination("crm")).await;
    backend.let_claims_expire().await;
    let fresh = b.own(destination("crm")).await;
    // Both have tried it, and only the owner says what came of it: also when both outcomes are of the same number.
    let late = outcomes(vec![outcome(token, 1, 20, Verdict::Delivered)]);
    assert!(is_lost(&a.store.settle(&stale, late).await, &stale.duty));
    b.store.settle(&fresh, outcomes(vec![outcome(token, 1, 30, Verdict::Retry(at(90)))])).await.unwrap();
    let record = b.record("evt_1").await;
    assert_eq!((Some(record.state), record.attempts), (waits_until(30, 90), 1));
}
