//! Random histories, told to the embedded store and to the one in memory: whatever is asked, they say the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use callwatch::{
    batch::BatchKey,
    call::{Call, CallId},
    change::Changes,
    config::StoreConfig,
    event::{Event, EventId, Subject},
    kind::{Kind, Kinds},
    name::Name,
    snapshot::Snapshot,
    store::{
        Action, Attempt, Claim, Commit, DeliveryFilter, DeliveryStateKind, Duty, Entry, Hold, MemoryStore,
        Merge, NewDelivery, NewEvent, Outcome, Pause, PauseChange, Pending, Position, Query, Settlement,
        SledStore, Store, Token, Verdict,
    },
    time::Timestamp,
};
use proptest::{collection::vec, option, prelude::*};
use serde_json::{Value, json, value::RawValue};

const CALLS: [&str; 4] = ["a", "a!", "b", "c"];
const DESTINATIONS: [&str; 3] = ["crm", "cr", "mail"];
const RULES: [&str; 2] = ["booked", "unhappy"];
const EVENTS: usize = 12;
/// Those from here on stand for a batch, whether they come from a commit or from a merge.
const SUMMARIES: usize = 10;
/// More tokens than a history gives.
const TOKENS: u64 = 60;
/// A history begins with the first number, or shortly before the end of a block of numbers.
const BEGINNINGS: [u64; 2] = [0, 4070];

/// A delivery that a step makes: its destination, when it was made, and where it waits.
type Made = (usize, i64, Option<usize>);

#[derive(Clone, Debug)]
enum Step {
    Commit {
        calls: Vec<(usize, u8)>,
        /// Each event, and its deliveries.
        events: Vec<(usize, Vec<Made>)>,
        checkpoint: Option<u8>,
    },
    Settle(usize, Told),
    Retry(Vec<u64>, i64),
    /// To their own destinations, or to another.
    Resend(Vec<u64>, Option<usize>, i64),
    Drop(Vec<u64>),
    /// Deliveries whose events are erased.
    Forget(Vec<u64>),
    Pause(usize, i64),
    Resume(usize),
    Purge {
        before: i64,
        limit: usize,
    },
    Shrink(i64),
    /// The owner of a destination reads on, so many at a time.
    Read(usize, usize),
    /// It reads everything anew.
    ReadAll(usize),
    /// The duty changes hands: what the last owner writes is refused.
    GiveUp(usize),
    /// A number of slices, and the changes in each.
    Fold(usize, usize),
    Reopen,
    Kill,
}

/// A settlement; deliveries are chosen among all tokens.
#[derive(Clone, Debug)]
struct Told {
    at: i64,
    outcomes: Vec<(u64, u32, Verdict)>,
    holds: Vec<(u64, usize)>,
    releases: Vec<u64>,
    forgets: Vec<u64>,
    merge: Option<(Vec<u64>, usize)>,
    ledgers: Vec<(usize, Option<u8>)>,
    memos: Vec<(usize, Option<u8>)>,
    pause: Option<Option<i64>>,
    lazy: bool,
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn token(number: u64) -> Token {
    serde_json::from_value(number.into()).unwrap()
}

fn batch(number: usize) -> BatchKey {
    let rule = RULES[0].into();
    [BatchKey::Quiet, BatchKey::Alone, BatchKey::Group { rule, by: 7 }][number % 3].clone()
}

fn subject(event: usize) -> Subject {
    let call = CALLS[event % CALLS.len()];
    if event >= SUMMARIES {
        Subject::Batch(batch(event))
    } else if call == "c" {
        [Subject::Source("clinic".into()), Subject::Destination("crm".into()), Subject::Config][event % 3]
            .clone()
    } else {
        Subject::Call { source: ["clinic", "ward"][event % 2].into(), call: call.into() }
    }
}

/// An event that depends on its number only; some are too large for one piece.
fn event(number: usize) -> Event {
    let size = if number % 4 == 3 { 90_000 } else { 10 };
    let record = json!({ "id": number, "transcript": "x".repeat(size) });
    Event {
        id: EventId::from(format!("evt_{number}").as_str()),
        subject: subject(number),
        rule: RULES[number % RULES.len()].into(),
        also: ["vip", "long"].into_iter().take(number % 3).map(Name::from).collect(),
        kinds: Kind::Ended.into(),
        changes: Changes::default(),
        at: at(1_000),
        record: Arc::from(RawValue::from_string(record.to_string()).unwrap()),
    }
}

fn snapshot(call: &str, summary: u8) -> Snapshot {
    let size = if summary.is_multiple_of(8) { 50_000 } else { 1 };
    let record = json!({
        "id": call, "status": "completed", "summary": format!("{summary}").repeat(size),
        "callAnalysis": { "sentiment": "positive" }, "createdAt": "1970-01-01T00:00:00.010Z",
    });
    let call = Call::parse(&RawValue::from_string(record.to_string()).unwrap()).unwrap();
    Snapshot::first(&call, Kinds::NONE, at(summary.into()))
}

fn told(began: u64) -> impl Strategy<Value = Told> {
    let token = move || began + 1..began + TOKENS;
    let time = || 0..60_i64;
    let verdict = prop_oneof![
        2 => Just(Verdict::Delivered),
        2 => time().prop_map(|due| Verdict::Retry(at(due))),
        1 => Just(Verdict::Dead("no".to_owned())),
    ];
    let lists = (
        vec((token(), prop_oneof![4 => Just(1_u32), 2 => Just(2), 1 => 0..4_u32], verdict), 0..20),
        vec((token(), 0..3_usize), 0..4),
        vec(token(), 0..4),
        vec(token(), 0..3),
        option::weighted(0.3, (vec(token(), 0..20), SUMMARIES..EVENTS)),
    );
    let rest = (
        time(),
        vec((0..3_usize, option::of(any::<u8>())), 0..2),
        vec((0..EVENTS, option::of(any::<u8>())), 0..2),
        option::weighted(0.2, option::of(time())),
        any::<bool>(),
    );
    (lists, rest).prop_map(
        |((outcomes, holds, releases, forgets, merge), (at, ledgers, memos, pause, lazy))| Told {
            at,
            outcomes,
            holds,
            releases,
            forgets,
            merge,
            ledgers,
            memos,
            pause,
            lazy,
        },
    )
}

fn step(began: u64) -> impl Strategy<Value = Step> {
    let time = || 0..60_i64;
    let destination = || 0..DESTINATIONS.len();
    let delivery = (destination(), time(), option::weighted(0.3, 0..3_usize));
    let commit = (
        vec((0..CALLS.len(), any::<u8>()), 0..3),
        vec((0..EVENTS, vec(delivery, 0..4)), 0..5),
        option::of(any::<u8>()),
    );
    let tokens = || vec(began + 1..began + TOKENS, 0..6);
    prop_oneof![
        6 => commit.prop_map(|(calls, events, checkpoint)| Step::Commit { calls, events, checkpoint }),
        8 => (destination(), told(began)).prop_map(|(destination, told)| Step::Settle(destination, told)),
        2 => (tokens(), time()).prop_map(|(tokens, now)| Step::Retry(tokens, now)),
        2 => (tokens(), option::of(destination()), time()).prop_map(|(tokens, to, now)| Step::Resend(tokens, to, now)),
        1 => tokens().prop_map(Step::Drop),
        1 => tokens().prop_map(Step::Forget),
        1 => (destination(), time()).prop_map(|(destination, until)| Step::Pause(destination, until)),
        1 => destination().prop_map(Step::Resume),
        2 => (time(), 1..9_usize).prop_map(|(before, limit)| Step::Purge { before, limit }),
        1 => time().prop_map(Step::Shrink),
        4 => (destination(), 1..9_usize).prop_map(|(destination, limit)| Step::Read(destination, limit)),
        1 => destination().prop_map(Step::ReadAll),
        1 => destination().prop_map(Step::GiveUp),
        3 => (1..3_usize, 1..9_usize).prop_map(|(slices, changes)| Step::Fold(slices, changes)),
        1 => Just(Step::Reopen),
        2 => Just(Step::Kill),
    ]
}

fn history() -> impl Strategy<Value = (u64, Vec<Step>)> {
    prop::sample::select(&BEGINNINGS[..]).prop_flat_map(|began| (Just(began), vec(step(began), 1..60)))
}

/// The deliveries that the owner of a destination has read.
#[derive(Default)]
struct Owner {
    next: Position,
    knows: BTreeMap<Token, Pending>,
    /// Deliveries it has settled itself, of which it needs not to be told.
    settled: BTreeSet<Token>,
}

/// A store and the claims of all its duties.
struct Party<S> {
    store: S,
    claims: BTreeMap<Duty, Claim>,
}

impl<S: Store> Party<S> {
    async fn new(store: S) -> Self {
        let duties = DESTINATIONS.map(|name| Duty::Destination(name.into()));
        let mut party = Self { store, claims: BTreeMap::new() };
        for duty in duties.into_iter().chain([Duty::Source("clinic".into()), Duty::Upkeep]) {
            party.take(&duty).await;
        }
        party
    }

    async fn take(&mut self, duty: &Duty) {
        let claim = self.store.claim(duty).await.unwrap().unwrap();
        self.claims.insert(duty.clone(), claim);
    }

    fn destination(&self, number: usize) -> &Claim {
        &self.claims[&Duty::Destination(DESTINATIONS[number].into())]
    }

    fn source(&self) -> &Claim {
        &self.claims[&Duty::Source("clinic".into())]
    }

    /// Does a step and tells what came of it.
    async fn take_step(&mut self, step: &Step) -> String {
        let upkeep = &self.claims[&Duty::Upkeep];
        match step.clone() {
            Step::Commit { calls, events, checkpoint } => {
                let mut commit = Commit { checkpoint: checkpoint.map(Value::from), ..Commit::default() };
                for (call, summary) in calls {
                    commit.snapshots.push((CallId::from(CALLS[call]), snapshot(CALLS[call], summary)));
                }
                for (number, to) in events {
                    let deliveries = to.into_iter().map(|(destination, created, hold)| NewDelivery {
                        destination: DESTINATIONS[destination].into(),
                        sequence: number as u64,
                        created: at(created),
                        hold: hold.map(|number| Hold { batch: batch(number), happened: at(created - 5) }),
                    });
                    commit.events.push(NewEvent { event: event(number), deliveries: deliveries.collect() });
                }
                format!("{:?}", self.store.commit(self.source(), commit).await)
            }
            Step::Settle(destination, told) => {
                let settled = self.store.settle(self.destination(destination), settlement(told)).await;
                format!("{settled:?}")
            }
            Step::Retry(tokens, now) => {
                let tokens = tokens.into_iter().map(token).collect();
                format!("{:?}", self.store.act(Action::Retry { tokens, at: at(now) }).await)
            }
            Step::Resend(tokens, to, now) => {
                let tokens = tokens.into_iter().map(token).collect();
                let to = to.map(|to| DESTINATIONS[to].into());
                format!("{:?}", self.store.act(Action::Resend { tokens, to, at: at(now) }).await)
            }
            Step::Drop(tokens) => {
                let tokens = tokens.into_iter().map(token).collect();
                format!("{:?}", self.store.act(Action::Drop { tokens }).await)
            }
            Step::Forget(tokens) => {
                let tokens = BTreeSet::from_iter(tokens).into_iter().map(token).collect();
                let action = Action::Forget { calls: vec![], tokens, events: vec![] };
                format!("{:?}", self.store.act(action).await)
            }
            Step::Pause(destination, until) => {
                let pause = Pause { until: Some(at(until)), ..Pause::by_hand(at(0)) };
                let destination = DESTINATIONS[destination].into();
                format!("{:?}", self.store.act(Action::Pause { destination, pause }).await)
            }
            Step::Resume(destination) => {
                let destination = DESTINATIONS[destination].into();
                format!("{:?}", self.store.act(Action::Resume { destination }).await)
            }
            Step::Purge { before, limit } => {
                format!("{:?}", self.store.purge(upkeep, at(before), limit).await)
            }
            Step::Shrink(before) => {
                format!("{:?}", self.store.shrink(upkeep, &"clinic".into(), at(before)).await)
            }
            Step::GiveUp(destination) => {
                let old = self.destination(destination).clone();
                self.store.give_up(old.clone()).await.unwrap();
                let refused = self.store.settle(&old, Settlement::new(at(1))).await.is_err();
                self.take(&old.duty).await;
                let again = self.store.settle(&old, Settlement::new(at(1))).await;
                format!("{refused} {again:?}")
            }
            Step::Read(..) | Step::ReadAll(_) | Step::Fold(..) | Step::Reopen | Step::Kill => String::new(),
        }
    }

    /// Everything that can be asked without changing anything.
    async fn ask(&self) -> Vec<String> {
        let store = &self.store;
        let clinic = Name::from("clinic");
        let calls = CALLS.map(CallId::from);
        let mut answers = vec![
            format!("{:?}", store.destinations().await.unwrap()),
            format!("{:?}", store.checkpoint(&self.source().duty).await.unwrap()),
            format!("{:?}", store.checkpoint(&Duty::Upkeep).await.unwrap()),
            format!("{:?}", store.known(&clinic, None, 9).await.unwrap()),
            format!("{:?}", store.known(&clinic, Some(&calls[0]), 1).await.unwrap()),
        ];
        for snapshot in store.snapshots(&clinic, &calls).await.unwrap().into_iter().flatten() {
            answers.push(format!("{snapshot:?} {:?}", snapshot.fields));
        }
        let lanes: Vec<Subject> = (0..EVENTS).map(subject).collect();
        for destination in DESTINATIONS.map(Name::from) {
            answers.push(format!("{:?}", store.ledgers(&destination).await.unwrap()));
            answers.push(format!("{:?}", store.memos(&destination, &lanes).await.unwrap()));
        }
        for filter in filters() {
            for limit in [2, 99] {
                answers.push(format!("{filter:?} by {limit}: {}", self.pages(&filter, limit).await));
            }
        }
        let all = Query { limit: 99, ..Query::default() };
        let mut tokens = vec![];
        for record in store.query(&all).await.unwrap().items {
            tokens.push(record.token);
        }
        tokens.extend((1..9_999).map(token).find(|token| !tokens.contains(token)));
        for body in store.bodies(&tokens).await.unwrap() {
            answers.push(
                body.map_or("gone".to_owned(), |event| {
                    format!("{event:?} {} {}", event.at, event.record.get())
                }),
            );
        }
        answers
    }

    async fn pages(&self, filter: &DeliveryFilter, limit: usize) -> String {
        let mut query = Query { filter: filter.clone(), after: None, limit };
        let mut told = String::new();
        loop {
            let page = self.store.query(&query).await.unwrap();
            told += &format!("{:?}\n", page.items);
            query.after = page.next.map(|next| next.to_string().parse().unwrap());
            if query.after.is_none() {
                return told;
            }
        }
    }

    /// The unfinished deliveries, as a new reader is told.
    async fn unfinished(&self, destination: usize) -> BTreeMap<Token, Pending> {
        let feed = self.store.pending(self.destination(destination), Position::START, 9_999).await.unwrap();
        let unfinished = feed.entries.into_iter().filter_map(|entry| match entry {
            Entry::Unfinished(pending) => Some((pending.token, pending)),
            Entry::Gone(_) => None,
        });
        unfinished.collect()
    }
}

fn settlement(told: Told) -> Settlement {
    let Told { at: now, outcomes, holds, releases, forgets, merge, ledgers, memos, pause, lazy } = told;
    let outcome = |(number, attempt, verdict)| Outcome {
        token: token(number),
        number: attempt,
        attempt: Attempt {
            at: at(now),
            took_ms: 2,
            result: format!("{verdict:?}"),
            response: "ok".to_owned(),
        },
        verdict,
    };
    Settlement {
        at: at(now),
        outcomes: outcomes.into_iter().map(outcome).collect(),
        holds: holds.into_iter().map(|(number, into)| (token(number), batch(into))).collect(),
        releases: releases.into_iter().map(token).collect(),
        forgets: forgets.into_iter().map(token).collect(),
        merge: merge.map(|(tokens, summary)| Merge {
            tokens: tokens.into_iter().map(token).collect(),
            event: event(summary),
            sequence: 1,
        }),
        ledgers: ledgers
            .into_iter()
            .map(|(number, ledger)| (batch(number), ledger.map(Value::from)))
            .collect(),
        memos: memos.into_iter().map(|(lane, memo)| (subject(lane), memo.map(Value::from))).collect(),
        pause: pause.map(|until| match until {
            Some(until) => PauseChange::Begin(Pause { until: Some(at(until)), ..Pause::by_hand(at(0)) }),
            None => PauseChange::End,
        }),
        lazy,
    }
}

/// The tokens a settlement speaks of, which its owner knows about.
fn spoken_of(told: &Told) -> BTreeSet<Token> {
    let outcomes = told.outcomes.iter().map(|(number, ..)| *number);
    let holds = told.holds.iter().map(|(number, _)| *number);
    let merged = told.merge.iter().flat_map(|(tokens, _)| tokens.iter().copied());
    let rest = told.releases.iter().chain(&told.forgets).copied();
    outcomes.chain(holds).chain(merged).chain(rest).map(token).collect()
}

fn filters() -> Vec<DeliveryFilter> {
    use DeliveryStateKind::{Dead, Delivered, Held, Merged, Pending};
    let mut filters = vec![
        DeliveryFilter::default(),
        DeliveryFilter { event: Some("evt_3".into()), ..DeliveryFilter::default() },
        DeliveryFilter { event: Some("none".into()), ..DeliveryFilter::default() },
        DeliveryFilter { destination: Some("cr".into()), ..DeliveryFilter::default() },
        DeliveryFilter { rule: Some("booked".into()), ..DeliveryFilter::default() },
        DeliveryFilter { source: Some("ward".into()), ..DeliveryFilter::default() },
        DeliveryFilter { call: Some("a".into()), state: Some(Pending), ..DeliveryFilter::default() },
        DeliveryFilter { call: Some("nobody".into()), ..DeliveryFilter::default() },
    ];
    for state in [Pending, Held, Delivered, Merged, Dead] {
        filters.push(DeliveryFilter { state: Some(state), ..DeliveryFilter::default() });
        let crm = Some("crm".into());
        filters.push(DeliveryFilter { state: Some(state), destination: crm, ..DeliveryFilter::default() });
        let error = Some("RETRY".to_owned());
        filters.push(DeliveryFilter { state: Some(state), error, ..DeliveryFilter::default() });
    }
    filters
}

async fn open(path: &Path) -> SledStore {
    let path = path.join("callwatch.db");
    SledStore::open(&StoreConfig { path, database: None, retain: Duration::from_secs(86400), cache: 8 << 20 })
        .await
        .unwrap()
}

/// The owner of a destination reads to the end, and is told all that it could not know.
async fn read(
    sled: &Party<SledStore>,
    memory: &Party<MemoryStore>,
    destination: usize,
    limit: usize,
    owner: &mut Owner,
) -> Result<(), TestCaseError> {
    let truth = memory.unfinished(destination).await;
    loop {
        let feed = sled.store.pending(sled.destination(destination), owner.next, limit).await.unwrap();
        owner.next = feed.next;
        let is_last = feed.entries.len() < limit;
        for entry in feed.entries {
            match entry {
                Entry::Unfinished(pending) => {
                    prop_assert_eq!(Some(&pending), truth.get(&pending.token));
                    owner.settled.remove(&pending.token);
                    owner.knows.insert(pending.token, pending);
                }
                Entry::Gone(token) => {
                    prop_assert_eq!(None, truth.get(&token));
                    owner.knows.remove(&token);
                }
            }
        }
        if is_last {
            break;
        }
    }
    for token in owner.knows.keys().chain(truth.keys()).filter(|token| !owner.settled.contains(token)) {
        prop_assert_eq!(
            owner.knows.get(token),
            truth.get(token),
            "{:?} of {}",
            token,
            DESTINATIONS[destination]
        );
    }
    Ok(())
}

/// Uses up the first numbers.
async fn begin_after<S: Store>(party: &Party<S>, began: u64) {
    let mut commit = Commit::default();
    for number in 0..began as usize {
        let destination = "other".into();
        let new = NewDelivery { destination, sequence: 1, created: at(0), hold: None };
        commit.events.push(NewEvent {
            event: Event { id: format!("old_{number}").as_str().into(), ..event(0) },
            deliveries: vec![new],
        });
    }
    party.store.commit(party.source(), commit).await.unwrap();
    let tokens = (1..=began).map(token).collect();
    assert_eq!(party.store.act(Action::Drop { tokens }).await.unwrap(), began as usize);
}

async fn agree(began: u64, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let mut sled = Party::new(open(folder.path()).await).await;
    let mut memory = Party::new(MemoryStore::new()).await;
    begin_after(&sled, began).await;
    begin_after(&memory, began).await;
    let mut owners: [Owner; DESTINATIONS.len()] = Default::default();
    for step in steps {
        let told = (sled.take_step(&step).await, memory.take_step(&step).await);
        prop_assert_eq!(told.0, told.1, "{:?}", step);
        match &step {
            Step::Reopen | Step::Kill => {
                match step {
                    Step::Kill => sled.store.kill().await,
                    _ => sled.store.close().await.unwrap(),
                }
                sled = Party::new(open(folder.path()).await).await;
                owners = Default::default();
            }
            Step::Fold(slices, changes) => sled.store.fold(*slices, *changes).await.unwrap(),
            Step::Settle(destination, told) => owners[*destination].settled.extend(spoken_of(told)),
            Step::GiveUp(destination) => owners[*destination] = Owner::default(),
            Step::ReadAll(destination) => {
                owners[*destination] = Owner::default();
                read(&sled, &memory, *destination, 3, &mut owners[*destination]).await?;
            }
            Step::Read(destination, limit) => {
                read(&sled, &memory, *destination, *limit, &mut owners[*destination]).await?;
            }
            _ => {}
        }
        for (sled, memory) in sled.ask().await.into_iter().zip(memory.ask().await) {
            prop_assert_eq!(sled, memory, "after {:?}", step);
        }
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
    fn both_say_the_same((began, steps) in history()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(agree(began, steps))?;
    }
}
