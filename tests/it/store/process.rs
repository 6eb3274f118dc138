//! A process at a store, with what tests ask of it again and again.

use std::{collections::BTreeMap, ops::Deref};

use super::{backend::Backend, *};

/// A process at a store. What it writes through the methods here carries a claim that is taken or renewed first.
pub(super) struct Process {
    pub(super) store: Arc<dyn Store>,
}

impl Deref for Process {
    type Target = dyn Store;

    fn deref(&self) -> &Self::Target {
        &*self.store
    }
}

impl Process {
    pub(super) async fn of(backend: &dyn Backend) -> Self {
        Self { store: backend.process().await }
    }

    /// Ends this process in good order, and begins the next one.
    pub(super) async fn restart(self, backend: &dyn Backend) -> Self {
        self.close().await.unwrap();
        Self::of(backend).await
    }

    /// The process's claim on a duty that nobody else has.
    pub(super) async fn own(&self, duty: Duty) -> Claim {
        let claim = self.claim(&duty).await.unwrap().expect("nobody else has it");
        assert_eq!(claim.duty, duty);
        claim
    }

    /// Commits for the clinic.
    pub(super) async fn commit(&self, commit: Commit) {
        self.store.commit(&self.own(source("clinic")).await, commit).await.unwrap();
    }

    /// Settles for `crm`.
    pub(super) async fn settle(&self, settlement: Settlement) {
        self.store.settle(&self.own(destination("crm")).await, settlement).await.unwrap();
    }

    /// Settles one attempt of the delivery of an event to `crm`: the next one, made at `millis`.
    pub(super) async fn attempt(&self, event: &str, millis: i64, verdict: Verdict) {
        let record = self.record(event).await;
        let next = outcome(record.token, record.attempts + 1, millis, verdict);
        self.settle(outcomes(vec![next])).await;
    }

    /// Purges everything finished before `before`; how many that were.
    pub(super) async fn purge_all(&self, before: i64, limit: usize) -> usize {
        let claim = self.own(Duty::Upkeep).await;
        let mut all = 0;
        loop {
            let count = self.purge(&claim, at(before), limit).await.unwrap();
            assert!(count <= limit, "{count} at a time, at most {limit}");
            if count == 0 {
                return all;
            }
            all += count;
        }
    }

    /// Every delivery that matches, newest first, read in pages of `limit`.
    pub(super) async fn pages(&self, filter: &DeliveryFilter, limit: usize) -> Vec<DeliveryRecord> {
        let mut query = Query { filter: filter.clone(), after: None, limit };
        let mut all: Vec<DeliveryRecord> = vec![];
        loop {
            let page = self.query(&query).await.unwrap();
            assert!(page.items.len() <= limit);
            assert!(page.next.is_none() || !page.items.is_empty(), "a page before the last has something");
            all.extend(page.items);
            query.after = page.next;
            if query.after.is_none() {
                assert!(all.is_sorted_by(|newer, older| newer.token > older.token));
                return all;
            }
        }
    }

    /// Every delivery, newest first.
    pub(super) async fn all(&self) -> Vec<DeliveryRecord> {
        self.pages(&DeliveryFilter::default(), 1_000).await
    }

    pub(super) async fn find(&self, event: &str, destination: &str) -> Option<DeliveryRecord> {
        let (event, destination) = (Some(event_id(event)), Some(name(destination)));
        let mut found =
            self.pages(&DeliveryFilter { event, destination, ..DeliveryFilter::default() }, 2).await;
        assert!(found.len() <= 1, "a destination has one delivery of an event: {found:?}");
        found.pop()
    }

    /// The delivery of an event to `crm`.
    pub(super) async fn record(&self, event: &str) -> DeliveryRecord {
        self.find(event, "crm").await.expect("the delivery is there")
    }

    /// The delivery of an event to `crm`.
    pub(super) async fn token(&self, event: &str) -> Token {
        self.record(event).await.token
    }

    /// The deliveries of events to `crm`.
    pub(super) async fn tokens(&self, events: &[&str]) -> Vec<Token> {
        let mut tokens = vec![];
        for event in events {
            tokens.push(self.token(event).await);
        }
        tokens
    }

    /// The state of the delivery of an event to `crm`.
    pub(super) async fn state(&self, event: &str) -> Option<DeliveryState> {
        self.find(event, "crm").await.map(|record| record.state)
    }

    /// How many deliveries `crm` has in each state.
    pub(super) async fn tally(&self) -> Tally {
        self.destinations().await.unwrap().remove(&crm()).unwrap_or_default().tally
    }

    pub(super) async fn paused(&self) -> Option<Pause> {
        self.destinations().await.unwrap().remove(&crm()).and_then(|standing| standing.pause)
    }

    /// The unfinished deliveries of a destination, as its owner learns of them from the beginning of the feed.
    pub(super) async fn unfinished(&self, of: &str) -> Vec<Pending> {
        let claim = self.own(destination(of)).await;
        let mut reader = Reader::new(claim);
        reader.read(&**self, 7).await;
        reader.slots.into_values().collect()
    }

    /// The unfinished deliveries of `crm`: their events in the order of their tokens.
    pub(super) async fn feed(&self) -> Vec<String> {
        self.unfinished("crm").await.iter().map(|pending| pending.event.to_string()).collect()
    }

    /// Everything that can be asked of the clinic and of `destinations` without a claim, in words.
    pub(super) async fn dump(&self) -> String {
        let mut all = self.all().await;
        let tokens: Vec<_> = all.iter().map(|record| record.token).collect();
        let bodies = self.bodies(&tokens).await.unwrap();
        let bodies: Vec<_> =
            bodies.into_iter().map(|event| serde_json::to_string(&event.unwrap()).unwrap()).collect();
        let lanes: Vec<_> = all.iter().map(|record| record.subject.clone()).collect();
        all.reverse();
        let known = self.known(&clinic(), None, 1_000).await.unwrap();
        let calls: Vec<_> = known.iter().map(|known| known.id.clone()).collect();
        let snapshots = serde_json::to_string(&self.snapshots(&clinic(), &calls).await.unwrap()).unwrap();
        let destinations = self.destinations().await.unwrap();
        let mut counted: BTreeMap<Name, BTreeMap<String, u64>> = BTreeMap::new();
        let mut kept = vec![];
        for name in destinations.keys() {
            kept.push((self.memos(name, &lanes).await.unwrap(), self.ledgers(name).await.unwrap()));
        }
        for record in &all {
            let kind = format!("{:?}", record.state.kind());
            *counted.entry(record.id.destination.clone()).or_default().entry(kind).or_default() += 1;
        }
        for (name, standing) in &destinations {
            let Tally { pending, held, merged, delivered, dead } = standing.tally;
            let tallied = [
                ("Pending", pending),
                ("Held", held),
                ("Merged", merged),
                ("Delivered", delivered),
                ("Dead", dead),
            ];
            let tallied: BTreeMap<_, _> = tallied
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .map(|(kind, count)| (kind.to_owned(), count))
                .collect();
            assert_eq!(
                tallied,
                counted.remove(name).unwrap_or_default(),
                "{name} is counted as it is listed"
            );
        }
        assert!(counted.is_empty(), "every destination with a delivery is counted: {counted:?}");
        let mut checkpoints = vec![];
        for duty in [source("clinic"), destination("crm"), Duty::Upkeep] {
            checkpoints.push(self.checkpoint(&duty).await.unwrap());
        }
        format!(
            "{all:#?}\n{bodies:#?}\n{known:#?}\n{snapshots}\n{destinations:#?}\n{kept:#?}\n{checkpoints:?}"
        )
    }
}

/// The owner of a destination, as far as it reads the feed.
pub(super) struct Reader {
    pub(super) claim: Claim,
    pub(super) position: Position,
    /// The unfinished deliveries, as far as it has read.
    pub(super) slots: BTreeMap<Token, Pending>,
    /// The destination's pause, as of the last page.
    pub(super) pause: Option<Pause>,
}

impl Reader {
    pub(super) fn new(claim: Claim) -> Self {
        Self { claim, position: Position::START, slots: BTreeMap::new(), pause: None }
    }

    /// Reads the feed to its end in pages of `limit`; how many entries that were.
    pub(super) async fn read(&mut self, store: &dyn Store, limit: usize) -> usize {
        let mut all = 0;
        loop {
            let count = self.read_page(store, limit).await;
            all += count;
            if count < limit {
                return all;
            }
        }
    }

    /// Reads one page; how many entries it had.
    pub(super) async fn read_page(&mut self, store: &dyn Store, limit: usize) -> usize {
        let feed = store.pending(&self.claim, self.position, limit).await.unwrap();
        assert!(feed.entries.len() <= limit);
        assert!(feed.next >= self.position, "it goes forward");
        assert!(feed.entries.is_empty() || feed.next > self.position, "what was read is not read again");
        let count = feed.entries.len();
        for entry in feed.entries {
            match entry {
                Entry::Unfinished(pending) => self.slots.insert(pending.token, pending),
                Entry::Gone(token) => self.slots.remove(&token),
            };
        }
        self.position = feed.next;
        self.pause = feed.pause;
        count
    }

    /// The events that are unfinished, in the order of their tokens.
    pub(super) fn events(&self) -> Vec<&str> {
        self.slots.values().map(|pending| pending.event.as_str()).collect()
    }
}
