//! A life that a store can have: numbered deeds, always the same, that leave a state which can be compared.
//!
//! A store that was killed, or lost its latest writes in a power cut, must be as it was after one of the last deeds. The
//! memory store says how that is.

use std::ops::RangeInclusive;

use callwatch::store::{Action, MemoryStore, PauseChange, SledStore};

use super::*;

/// How many deeds are a round. Each round commits events of its own and takes them through all that can become of them.
pub(super) const ROUND: u64 = 16;

/// A store of one kind or another, open for one process.
pub(super) trait Host {
    fn store(&self) -> Arc<dyn Store>;

    /// Ends the process in good order, and begins the next.
    async fn restart(&mut self) -> Result<(), StoreError>;

    async fn back_up(&self, now: Timestamp) -> Result<(), StoreError>;

    /// Does some of what is otherwise done when nothing else is.
    async fn fold(&self) -> Result<(), StoreError>;
}

/// The store that says what is right.
pub(super) struct Model(Arc<MemoryStore>);

impl Host for Model {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.0) as Arc<dyn Store>
    }

    async fn restart(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn back_up(&self, _now: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    async fn fold(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The store on disk.
pub(super) struct Embedded {
    pub(super) folder: std::path::PathBuf,
    pub(super) store: Arc<SledStore>,
}

impl Embedded {
    pub(super) async fn open(folder: &std::path::Path) -> Result<Self, StoreError> {
        Ok(Self { folder: folder.to_owned(), store: Arc::new(open(folder).await?) })
    }
}

impl Host for Embedded {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as Arc<dyn Store>
    }

    async fn restart(&mut self) -> Result<(), StoreError> {
        self.store.close().await?;
        self.store = Arc::new(open(&self.folder).await?);
        Ok(())
    }

    async fn back_up(&self, now: Timestamp) -> Result<(), StoreError> {
        self.store.back_up_to(None, now).await.map(drop)
    }

    async fn fold(&self) -> Result<(), StoreError> {
        self.store.fold(2, 3).await
    }
}

fn id(round: u64, part: u64) -> String {
    format!("evt_{round:04}-{part}")
}

/// The events of a round.
pub(super) fn events_of_round(round: u64) -> impl Iterator<Item = EventId> {
    (0..10).map(move |part| event_id(&id(round, part)))
}

/// When a round begins, in milliseconds.
fn begin(round: u64) -> i64 {
    1_000_000 * (round as i64 + 1)
}

/// Everything finished before this is purged in a round.
fn purged(round: u64) -> i64 {
    begin(round.saturating_sub(1))
}

/// Everything finished before this may have been purged by a deed, or by one before it.
fn purged_by(deed: u64) -> i64 {
    if deed % ROUND >= 11 { purged(deed / ROUND) } else { purged((deed / ROUND).saturating_sub(1)) }
}

/// The commit a round begins with. Some need many batches.
fn round_commit(round: u64) -> Commit {
    let mut commit = Commit { checkpoint: Some(json!(round)), ..Commit::default() };
    for part in 0..6 {
        let mut new = event(&id(round, part), &format!("lane-{part}"));
        if round % 4 == 2 && part == 0 {
            new.record = Arc::from(raw(&json!({ "id": "large", "transcript": "x".repeat(300_000) })));
        }
        let mut deliveries = vec![delivery("crm", round * 6 + part, begin(round))];
        if part == 3 {
            deliveries.push(delivery("mail", round, begin(round)));
        }
        commit.events.push(NewEvent { event: new, deliveries });
        let call = format!("{round}-{part}");
        commit.snapshots.push((CallId::from(call.as_str()), snapshot(&call, "hello")));
    }
    if round % 4 == 3 {
        for more in 0..300 {
            let call = format!("{round}-more-{more}");
            commit.snapshots.push((CallId::from(call.as_str()), snapshot(&call, &"x".repeat(2_000))));
        }
    }
    commit
}

/// Whether a deed may be acknowledged before it survives a power cut.
pub(super) fn is_lazy(deed: u64) -> bool {
    matches!(deed % ROUND, 4 | 9)
}

/// Does a deed; the error is the store's.
pub(super) async fn act(host: &mut impl Host, deed: u64) -> Result<(), StoreError> {
    let (round, step) = (deed / ROUND, deed % ROUND);
    let now = begin(round) + 1_000 * step as i64;
    let store = host.store();
    let token = async |part: u64, to: &str| {
        let filter = DeliveryFilter {
            event: Some(event_id(&id(round, part))),
            destination: Some(name(to)),
            ..DeliveryFilter::default()
        };
        let found = store.query(&Query { filter, after: None, limit: 1 }).await?.items;
        Ok::<_, StoreError>(found.first().expect("the round's commit has made it").token)
    };
    let settle = async |settlement: Settlement| {
        let claim = store.claim(&destination("crm")).await?.expect("nobody else has it");
        store.settle(&claim, settlement).await
    };
    let attempt = async |part: u64, number: u32, verdict: Verdict, lazy: bool| {
        let outcomes = vec![outcome(token(part, "crm").await?, number, now, verdict)];
        settle(Settlement { outcomes, lazy, ..settlement(now) }).await
    };
    match step {
        0 => {
            let claim = store.claim(&source("clinic")).await?.expect("nobody else has it");
            store.commit(&claim, round_commit(round)).await
        }
        1 => {
            let outcomes = vec![outcome(token(0, "crm").await?, 1, now, Verdict::Delivered)];
            let memos = vec![(call(&format!("memo-{round}")), Some(json!({ "thread": round })))];
            settle(Settlement { outcomes, memos, ..settlement(now) }).await
        }
        2 => {
            let outcomes = vec![outcome(token(1, "crm").await?, 1, now, Verdict::Retry(at(now + 500)))];
            let ledgers = vec![(batch("group/booked/7"), Some(json!({ "count": round })))];
            settle(Settlement { outcomes, ledgers, ..settlement(now) }).await
        }
        3 => attempt(2, 1, dead(), is_lazy(deed)).await,
        4 => attempt(1, 2, Verdict::Delivered, is_lazy(deed)).await,
        5 => {
            let holds = vec![
                (token(3, "crm").await?, batch("group/booked/7")),
                (token(4, "crm").await?, batch("group/booked/7")),
                (token(5, "crm").await?, batch("group/booked/7")),
            ];
            let pause = Some(PauseChange::Begin(Pause::by_hand(at(now))));
            settle(Settlement { holds, pause, ..settlement(now) }).await
        }
        6 => {
            let event = summary(&id(round, 9), "group/booked/7");
            let merge = Some(Merge { tokens: vec![token(3, "crm").await?], event, sequence: round + 1 });
            let (ledgers, pause) = (vec![(batch("group/booked/7"), None)], Some(PauseChange::End));
            settle(Settlement { merge, ledgers, pause, ..settlement(now) }).await
        }
        7 => {
            let (forgets, releases) = (vec![token(4, "crm").await?], vec![token(5, "crm").await?]);
            settle(Settlement { forgets, releases, ..settlement(now) }).await
        }
        8 => store.act(Action::Retry { tokens: vec![token(2, "crm").await?], at: at(now) }).await.map(drop),
        9 => attempt(2, 2, Verdict::Delivered, is_lazy(deed)).await,
        10 => {
            let claim = store.claim(&destination("crm")).await?.expect("nobody else has it");
            let mut commit = events(&[(&id(round, 8), "own", round)], now);
            commit.checkpoint = Some(json!({ "sent": round }));
            store.commit(&claim, commit).await
        }
        11 => {
            host.fold().await?;
            let claim = store.claim(&Duty::Upkeep).await?.expect("nobody else has it");
            while store.purge(&claim, at(purged(round)), 3).await? > 0 {}
            Ok(())
        }
        12 if round % 2 == 0 => {
            store.act(Action::Drop { tokens: vec![token(5, "crm").await?] }).await.map(drop)
        }
        12 if round % 4 == 3 => {
            let tokens = vec![token(0, "crm").await?, token(1, "crm").await?];
            let to = (round % 8 == 3).then(|| name("mail"));
            store.act(Action::Resend { tokens, to, at: at(now) }).await.map(drop)
        }
        12 => {
            let (destination, pause) = (name("mail"), Pause::by_hand(at(now)));
            store.act(Action::Pause { destination, pause }).await.map(drop)
        }
        13 if round % 3 == 0 => {
            let claim = store.claim(&Duty::Upkeep).await?.expect("nobody else has it");
            store.shrink(&claim, &clinic(), at(1_765_810_000_000)).await
        }
        13 => {
            let claim = store.claim(&destination("mail")).await?.expect("nobody else has it");
            let outcomes = vec![outcome(token(3, "mail").await?, 1, now, Verdict::Delivered)];
            store.settle(&claim, Settlement { outcomes, ..settlement(now) }).await
        }
        14 => host.back_up(at(now)).await,
        _ => host.restart().await,
    }
}

/// The store after all deeds up to this one; `None` is before the first.
pub(super) async fn model_after(last: Option<u64>) -> Arc<dyn Store> {
    let mut model = Model(Arc::new(MemoryStore::new()));
    for deed in 0..last.map_or(0, |last| last + 1) {
        act(&mut model, deed).await.unwrap();
    }
    model.store()
}

/// Which part of what a store holds is compared.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Part {
    All,
    /// The contents of a backup.
    Unfinished,
}

/// All answers of a store, in words, except about deliveries that may have been purged by this deed.
pub(super) async fn describe(store: &Arc<dyn Store>, by: u64, part: Part) -> String {
    let process = Process { store: Arc::clone(store) };
    let floor = at(purged_by(by));
    let listed = process.all().await;
    let standings = store.destinations().await.unwrap();
    for (name, standing) in &standings {
        let mut counted = Tally::default();
        for record in listed.iter().filter(|record| record.id.destination == *name) {
            match record.state {
                DeliveryState::Pending { .. } => counted.pending += 1,
                DeliveryState::Held { .. } => counted.held += 1,
                DeliveryState::Merged { .. } => counted.merged += 1,
                DeliveryState::Delivered { .. } => counted.delivered += 1,
                DeliveryState::Dead { .. } => counted.dead += 1,
            }
        }
        assert_eq!(counted, standing.tally, "{name} is counted as it is listed");
    }
    let is_described = |record: &&DeliveryRecord| match record.finished() {
        Some(finished) => part == Part::All && finished >= floor,
        None => true,
    };
    let mut words = vec![];
    for record in listed.iter().rev().filter(is_described) {
        let body = store.bodies(&[record.token]).await.unwrap().remove(0).expect("its event is there");
        assert_eq!((&body.id, &body.subject), (&record.id.event, &record.subject));
        let mut record = serde_json::to_value(record).unwrap();
        record.as_object_mut().unwrap().remove("token");
        words.push(format!("{record} {}", serde_json::to_string(&*body).unwrap()));
    }
    for to in ["crm", "mail"] {
        let unfinished = process.unfinished(to).await;
        let heads = unfinished.iter().map(|it| {
            let Pending { token: _, event, subject, rule, sequence, created, attempts, restart, standing } =
                it;
            format!(
                "{to}: {event} {subject:?} {rule} {sequence} {created} {attempts} {restart:?} {standing:?}"
            )
        });
        words.extend(heads);
        words.push(format!("{:?}", store.ledgers(&name(to)).await.unwrap()));
        words.push(format!("{:?}", standings.get(&name(to)).and_then(|standing| standing.pause.clone())));
    }
    for round in (0..=by / ROUND).filter(|round| at(begin(*round) + 1_000) >= floor) {
        let memo = store.memos(&crm(), &[call(&format!("memo-{round}"))]).await.unwrap();
        words.push(format!("{memo:?}"));
    }
    let known = store.known(&clinic(), None, usize::MAX).await.unwrap();
    let calls: Vec<_> = known.iter().map(|known| known.id.clone()).collect();
    // They are shrunk in several writes, each of which is as good as before.
    let mut snapshots = store.snapshots(&clinic(), &calls).await.unwrap();
    snapshots.iter_mut().flatten().for_each(Snapshot::shrink);
    words.push(serde_json::to_string(&snapshots).unwrap());
    words.push(format!("{known:?}"));
    for duty in [source("clinic"), destination("crm"), Duty::Upkeep] {
        words.push(format!("{:?}", store.checkpoint(&duty).await.unwrap()));
    }
    words.join("\n")
}

/// The deed after which the store is; it must be among these, each one more than the deed's number.
pub(super) async fn find(store: &Arc<dyn Store>, among: RangeInclusive<u64>, part: Part) -> u64 {
    let by = among.end().saturating_sub(1);
    let found = describe(store, by, part).await;
    let mut last = String::new();
    for done in among.clone().rev() {
        last = describe(&model_after(done.checked_sub(1)).await, by, part).await;
        if last == found {
            return done;
        }
    }
    let difference = found.lines().zip(last.lines()).find(|(found, last)| found != last);
    panic!("it is as after none of {among:?} deeds; unlike after {}: {difference:#?}", among.start());
}
