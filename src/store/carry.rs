//! Copies a store to another store of the same kind or a different one: snapshots, checkpoints, memos, ledgers, pauses, and the
//! pending, held and dead deliveries with their attempts. Delivered and merged deliveries stay behind.
//!
//! It uses only the methods of [`Store`]: deliveries are committed, settled, held and retried again until they stand as they
//! did. Then the contents of both stores are compared.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tokio::time::Instant;
use xxhash_rust::xxh3::Xxh3;

use super::{
    Action, Attempt, Claim, Commit, DeliveryFilter, DeliveryRecord, DeliveryState, DeliveryStateKind, Duty,
    Hold, NewDelivery, NewEvent, Outcome, PauseChange, Query, Settlement, Store, StoreError, Token, Verdict,
};
use crate::{batch::BatchKey, call::CallId, event::Subject, name::Name, snapshot::Snapshot, time::Timestamp};

/// How many calls or deliveries are carried at a time.
const STEP: usize = 500;

/// The states of deliveries that are carried.
const STATES: [DeliveryStateKind; 3] =
    [DeliveryStateKind::Pending, DeliveryStateKind::Held, DeliveryStateKind::Dead];

/// What a store has, as far as it is carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Known calls.
    pub calls: u64,
    /// Deliveries that are pending, held or dead.
    pub deliveries: u64,
    /// Checkpoints, memos, ledgers and pauses.
    pub notes: u64,
    /// A hash of all of it.
    hash: u64,
}

/// Why nothing, or not everything, was carried.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    /// One of the stores failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is something in the other store.
    #[error(
        "the store to be filled has {} calls and {} deliveries already; empty it first, or name another one",
        .0.calls, .0.deliveries
    )]
    NotEmpty(Content),
    /// Somebody works on one of the stores.
    #[error(
        "another callwatch works on the {0}; stop all of them first. After a `migrate` that was interrupted, wait two minutes, \
         until what it claimed is free again"
    )]
    AtWork(Duty),
    /// The filled store differs from the one it was filled from.
    #[error(
        "the filled store differs from the one it was filled from ({} and {} calls, {} and {} \
         deliveries, {} and {} notes): go on with the first one, which is as it was",
        .filled.calls, .from.calls, .filled.deliveries, .from.deliveries, .filled.notes, .from.notes
    )]
    Differs {
        /// What was to be carried.
        from: Content,
        /// What is there now.
        filled: Content,
    },
}

/// Carries what `from` has of these duties, and of all destinations with deliveries, to `to`, which must be empty.
///
/// # Errors
/// [`CarryError`] says what was in the way; `from` is as it was.
pub async fn carry(from: &dyn Store, to: &dyn Store, duties: &BTreeSet<Duty>) -> Result<Content, CarryError> {
    let mut duties = duties.clone();
    duties.extend(from.destinations().await?.into_keys().map(Duty::Destination));
    let there = content(to, &duties, &mut []).await?;
    if there != content_of_nothing() {
        return Err(CarryError::NotEmpty(there));
    }
    // Nobody else may work on them meanwhile.
    let mut hands = [Hands::on(from, &duties).await?, Hands::on(to, &duties).await?];
    let claims = hands[1].claims.clone();
    for (duty, claim) in &claims {
        if let Duty::Source(source) = duty {
            carry_calls(from, to, source, claim, &mut hands).await?;
        }
        if let Some(checkpoint) = from.checkpoint(duty).await? {
            to.commit(claim, Commit { checkpoint: Some(checkpoint), ..Commit::default() }).await?;
        }
    }
    let records = deliveries(from).await?;
    let upkeep = to.claim(&Duty::Upkeep).await?.ok_or(CarryError::AtWork(Duty::Upkeep))?;
    for records in records.chunks(STEP) {
        keep(&mut hands).await?;
        carry_deliveries(from, to, &upkeep, &claims, records).await?;
    }
    for (duty, claim) in &claims {
        if let Duty::Destination(destination) = duty {
            carry_notes(from, to, destination, claim, &records).await?;
        }
    }
    let (from, filled) = (content(from, &duties, &mut hands).await?, content(to, &duties, &mut hands).await?);
    let [here, _] = hands;
    here.give_back().await?;
    if from != filled { Err(CarryError::Differs { from, filled }) } else { Ok(filled) }
}

/// The claims on all duties of a store.
struct Hands<'a> {
    store: &'a dyn Store,
    claims: BTreeMap<Duty, Claim>,
    /// When they were asked for.
    asked: Instant,
}

impl<'a> Hands<'a> {
    async fn on(store: &'a dyn Store, duties: &BTreeSet<Duty>) -> Result<Self, CarryError> {
        let (mut claims, asked) = (BTreeMap::new(), Instant::now());
        for duty in duties {
            let claim = store.claim(duty).await?.ok_or_else(|| CarryError::AtWork(duty.clone()))?;
            claims.insert(duty.clone(), claim);
        }
        Ok(Self { store, claims, asked })
    }

    async fn give_back(self) -> Result<(), StoreError> {
        for claim in self.claims.into_values() {
            self.store.give_up(claim).await?;
        }
        Ok(())
    }
}

/// Renews the claims on both stores when a third of their leases is over.
async fn keep(hands: &mut [Hands<'_>]) -> Result<(), CarryError> {
    for hands in hands {
        let lease = hands.claims.values().filter_map(|claim| claim.lease).min();
        if lease.is_none_or(|lease| hands.asked.elapsed() < lease / 3) {
            continue;
        }
        hands.asked = Instant::now();
        for (duty, claim) in &hands.claims {
            let renewed = hands.store.claim(duty).await?.filter(|renewed| renewed.epoch == claim.epoch);
            renewed.ok_or_else(|| CarryError::AtWork(duty.clone()))?;
        }
    }
    Ok(())
}

async fn carry_calls(
    from: &dyn Store,
    to: &dyn Store,
    source: &Name,
    claim: &Claim,
    hands: &mut [Hands<'_>],
) -> Result<(), CarryError> {
    let mut after = None;
    loop {
        keep(hands).await?;
        let known = from.known(source, after.as_ref(), STEP).await?;
        let Some(last) = known.last() else { return Ok(()) };
        after = Some(last.id.clone());
        let calls: Vec<_> = known.into_iter().map(|call| call.id).collect();
        let found = from.snapshots(source, &calls).await?;
        let snapshots: Vec<_> =
            calls.into_iter().zip(found).filter_map(|(call, snapshot)| Some((call, snapshot?))).collect();
        to.commit(claim, Commit { snapshots, ..Commit::default() }).await?;
    }
}

/// Every delivery that is carried, the oldest first.
async fn deliveries(store: &dyn Store) -> Result<Vec<DeliveryRecord>, StoreError> {
    let mut all = vec![];
    for state in STATES {
        let filter = DeliveryFilter { state: Some(state), ..DeliveryFilter::default() };
        let mut query = Query { filter, after: None, limit: STEP };
        loop {
            let page = store.query(&query).await?;
            all.extend(page.items);
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
    }
    all.sort_by_key(|record| record.token);
    Ok(all)
}

/// All attempts of a delivery with their numbers. Only the latest are kept; the oldest kept one stands in for those before it.
fn attempts(record: &DeliveryRecord) -> impl Iterator<Item = (u32, &Attempt)> {
    let forgotten = record.attempts.saturating_sub(u32::try_from(record.log.len()).unwrap_or(u32::MAX));
    (1..=record.attempts).filter_map(move |number| {
        let at = number.saturating_sub(forgotten).max(1) as usize;
        Some((number, record.log.get(at - 1)?))
    })
}

async fn carry_deliveries(
    from: &dyn Store,
    to: &dyn Store,
    upkeep: &Claim,
    claims: &BTreeMap<Duty, Claim>,
    records: &[DeliveryRecord],
) -> Result<(), StoreError> {
    let tokens: Vec<_> = records.iter().map(|record| record.token).collect();
    let bodies = from.bodies(&tokens).await?;
    let mut events = vec![];
    for (record, body) in records.iter().zip(bodies) {
        let Some(event) = body else { continue };
        // Only a hold carries `happened`, so every delivery is committed as held first.
        let hold = Some(Hold { batch: first_batch(record), happened: record.happened });
        let delivery = NewDelivery {
            destination: record.id.destination.clone(),
            sequence: record.sequence,
            created: record.created,
            hold,
        };
        events.push(NewEvent { event: (*event).clone(), deliveries: vec![delivery] });
    }
    to.commit(upkeep, Commit { events, ..Commit::default() }).await?;

    let mut by_destination: BTreeMap<&Name, Vec<&DeliveryRecord>> = BTreeMap::new();
    for record in records {
        by_destination.entry(&record.id.destination).or_default().push(record);
    }
    for (destination, records) in by_destination {
        let Some(claim) = claims.get(&Duty::Destination(destination.clone())) else { continue };
        for record in records {
            let of_event = DeliveryFilter {
                event: Some(record.id.event.clone()),
                destination: Some(destination.clone()),
                ..DeliveryFilter::default()
            };
            let found = to.query(&Query { filter: of_event, after: None, limit: 1 }).await?;
            if let Some(new) = found.items.first() {
                live_again(to, claim, new.token, record).await?;
            }
        }
    }
    Ok(())
}

/// The batch that a delivery is held in at first.
fn first_batch(record: &DeliveryRecord) -> BatchKey {
    record.waits_in().cloned().unwrap_or(BatchKey::Quiet)
}

/// Repeats the attempts, the restart and the release of `record` on its new copy, until that is in the same state.
async fn live_again(
    to: &dyn Store,
    claim: &Claim,
    token: Token,
    record: &DeliveryRecord,
) -> Result<(), StoreError> {
    let is_as_made = record.attempts == 0 && record.restart.is_none();
    if is_as_made && matches!(record.state, DeliveryState::Held { .. }) {
        return Ok(());
    }
    let released = Settlement { releases: vec![token], ..Settlement::new(record.created) };
    to.settle(claim, released).await?;
    let last = record.attempts;
    let restarted = record.restart.map_or(0, |restart| restart.attempts);
    let outcome = |(number, attempt): (u32, &Attempt)| {
        let again = Verdict::Retry(attempt.ended());
        let verdict = match &record.state {
            _ if number < last || (record.restart.is_some() && number <= restarted) => again,
            DeliveryState::Pending { due } if due.made == attempt.ended() => Verdict::Retry(due.due()),
            DeliveryState::Dead { reason, .. } => Verdict::Dead(reason.clone()),
            _ => again,
        };
        Outcome { token, number, attempt: attempt.clone(), verdict }
    };
    let (before, after): (Vec<_>, Vec<_>) =
        attempts(record).map(outcome).partition(|outcome| outcome.number <= restarted);
    if !before.is_empty() {
        to.settle(claim, Settlement { outcomes: before, ..Settlement::new(record.created) }).await?;
    }
    if let Some(restart) = record.restart {
        to.act(Action::Retry { tokens: vec![token], at: restart.at }).await?;
    }
    let mut rest = Settlement { outcomes: after, ..Settlement::new(record.created) };
    match &record.state {
        DeliveryState::Held { batch } => rest.holds.push((token, batch.clone())),
        // It was released from a batch after its last attempt.
        DeliveryState::Pending { due } if due.wait().is_zero() && was_released(record, due.made) => {
            rest.at = due.made;
            rest.holds.push((token, BatchKey::Quiet));
            rest.releases.push(token);
        }
        _ => {}
    }
    if !rest.is_empty() {
        to.settle(claim, rest).await?;
    }
    Ok(())
}

/// Whether a delivery that is due since `made` became due by being released.
fn was_released(record: &DeliveryRecord, made: Timestamp) -> bool {
    let by_attempt = record.log.last().is_some_and(|attempt| attempt.ended() == made);
    let by_hand = record.restart.is_some_and(|restart| restart.at == made);
    !by_attempt && !by_hand && made != record.created
}

/// The lanes of a destination that may have memos: those with deliveries, and its own.
fn lanes(destination: &Name, records: &[DeliveryRecord]) -> Vec<Subject> {
    let own = Subject::Destination(destination.clone());
    let of_it = records.iter().filter(|record| record.id.destination == *destination);
    let lanes: BTreeSet<_> = of_it.map(|record| record.subject.clone()).chain([own]).collect();
    lanes.into_iter().collect()
}

async fn carry_notes(
    from: &dyn Store,
    to: &dyn Store,
    destination: &Name,
    claim: &Claim,
    records: &[DeliveryRecord],
) -> Result<(), StoreError> {
    let lanes = lanes(destination, records);
    let memos = from.memos(destination, &lanes).await?;
    let memos = lanes.into_iter().zip(memos).filter(|(_, memo)| memo.is_some()).collect();
    let ledgers =
        from.ledgers(destination).await?.into_iter().map(|(batch, ledger)| (batch, Some(ledger))).collect();
    let pause = from.destinations().await?.remove(destination).and_then(|standing| standing.pause);
    let at = records.iter().map(|record| record.created).max().unwrap_or_default();
    let notes = Settlement { memos, ledgers, pause: pause.map(PauseChange::Begin), ..Settlement::new(at) };
    if notes.is_empty() { Ok(()) } else { to.settle(claim, notes).await }
}

fn content_of_nothing() -> Content {
    Content { hash: Xxh3::new().digest(), ..Content::default() }
}

/// Everything that is carried, counted and hashed.
async fn content(
    store: &dyn Store,
    duties: &BTreeSet<Duty>,
    hands: &mut [Hands<'_>],
) -> Result<Content, CarryError> {
    let (mut content, mut hash) = (Content::default(), Xxh3::new());
    let records = deliveries(store).await?;
    for duty in duties {
        if let Duty::Source(source) = duty {
            let mut after = None;
            loop {
                keep(hands).await?;
                let known = store.known(source, after.as_ref(), STEP).await?;
                let Some(last) = known.last() else { break };
                after = Some(last.id.clone());
                let calls: Vec<_> = known.into_iter().map(|call| call.id).collect();
                content.calls += calls.len() as u64;
                let snapshots: Vec<Option<Snapshot>> = store.snapshots(source, &calls).await?;
                let calls: Vec<_> = calls.iter().map(CallId::as_str).collect();
                add(&mut hash, &(source, &calls, &snapshots));
            }
        }
        if let Some(checkpoint) = store.checkpoint(duty).await? {
            content.notes += 1;
            add(&mut hash, &(duty, &checkpoint));
        }
        if let Duty::Destination(destination) = duty {
            let lanes = lanes(destination, &records);
            for (lane, memo) in lanes.iter().zip(store.memos(destination, &lanes).await?) {
                if memo.is_some() {
                    content.notes += 1;
                    add(&mut hash, &(destination, lane, &memo));
                }
            }
            for (batch, ledger) in store.ledgers(destination).await? {
                content.notes += 1;
                add(&mut hash, &(destination, batch, ledger));
            }
            if let Some(pause) = store.destinations().await?.remove(destination).and_then(|it| it.pause) {
                content.notes += 1;
                add(&mut hash, &(destination, pause));
            }
        }
    }
    for records in records.chunks(STEP) {
        keep(hands).await?;
        let tokens: Vec<_> = records.iter().map(|record| record.token).collect();
        for (record, event) in records.iter().zip(store.bodies(&tokens).await?) {
            content.deliveries += 1;
            // Each store has tokens of its own.
            let record = DeliveryRecord { token: Token(0), ..record.clone() };
            add(&mut hash, &(&record, &event.as_deref()));
        }
    }
    content.hash = hash.digest();
    Ok(content)
}

/// Adds a value to a hash.
fn add(hash: &mut Xxh3, value: &impl Serialize) {
    // A value that cannot be serialised adds nothing for either store. Neither store would have accepted it.
    hash.update(&serde_json::to_vec(value).unwrap_or_default());
}
