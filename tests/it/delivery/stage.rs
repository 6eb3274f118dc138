//! A store, a scripted receiver and paused time: everything around a dispatcher.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use callwatch::{
    call::CallId,
    delivery::{self, DestinationTask},
    destination::{
        Answer, Destination, DestinationConfig, DestinationKind, Notification, Rate, Reaction, SlackConfig,
        SlackWay, Turn,
    },
    event::{Event, EventId, Severity, Subject},
    kind::Kind,
    rule::{Rule, RuleText, Rules},
    store::{
        Action, Commit, DeliveryFilter, DeliveryRecord, DeliveryState, MemoryStore, NewDelivery, NewEvent,
        Pause, Query, Store, StoreError, Token, Verdict,
    },
    summary::Summary,
    telemetry::{Signal, Telemetry},
    time::{Clock, Timestamp},
};
use serde_json::{Value, value::RawValue};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::store::Watched;

/// Longer than any test's deliveries take, in paused time.
const FOR_EVER: Duration = Duration::from_secs(60 * 24 * 3600);

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// One try as the receiver saw it.
#[derive(Clone, Debug)]
pub struct Try {
    pub at: Timestamp,
    pub event: EventId,
    /// Empty when it stands for several.
    pub call: String,
    /// The events it tells.
    pub told: Vec<String>,
    pub sequence: u64,
    /// The call's record.
    pub record: String,
    /// How the rule says it matters.
    pub severity: Option<Severity>,
    /// The how-many-eth try of this event, from 1.
    pub number: usize,
    pub memo: Option<Value>,
    /// Whether the next of its lane waited already.
    pub followed: bool,
}

/// The reaction of a scripted receiver to a try.
pub enum Reply {
    Ok,
    Slow(Duration),
    Fail,
    FailSlowly(Duration),
    Busy(Duration),
    Refuse,
    Goodbye,
    GoodbyeSlowly(Duration),
    Hang,
    Panic,
    /// Whether it arrives, and what is kept of it for its lane.
    Keep(bool, Value),
}

pub struct Receiver {
    /// The `timeout` of its destination.
    longest: Mutex<Duration>,
    clock: Clock,
    script: Box<dyn Fn(&Try) -> Reply + Send + Sync>,
    tries: Mutex<Vec<Try>>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    keeps_memos: AtomicBool,
    merges: AtomicBool,
    /// How long the deliveries of a call have to wait for their turn, each time they ask.
    turns: Mutex<Vec<(String, Duration)>>,
    /// Whether one event was ever in flight twice.
    overlapped: AtomicBool,
    flying: Mutex<Vec<EventId>>,
}

impl Receiver {
    pub fn tries(&self) -> Vec<Try> {
        self.tries.lock().unwrap().clone()
    }

    pub fn most_in_flight(&self) -> usize {
        self.most_in_flight.load(Ordering::SeqCst)
    }

    /// From now on it asks for memos.
    pub fn keep_memos(&self) {
        self.keeps_memos.store(true, Ordering::SeqCst);
    }

    /// From now on it sends nothing for a delivery behind which another one waits.
    pub fn merge(&self) {
        self.merges.store(true, Ordering::SeqCst);
    }

    /// The next delivery of this call that asks for its turn has to wait so long.
    pub fn make_wait(&self, call: &str, wait: Duration) {
        self.turns.lock().unwrap().push((call.to_owned(), wait));
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    pub fn overlapped(&self) -> bool {
        self.overlapped.load(Ordering::SeqCst)
    }
}

/// Counts down when an attempt ends, however it ends.
struct Flying<'a>(&'a Receiver, EventId);

impl Drop for Flying<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
        let mut flying = self.0.flying.lock().unwrap();
        let at = flying.iter().position(|event| *event == self.1).unwrap();
        flying.remove(at);
    }
}

#[async_trait]
impl Destination for Receiver {
    async fn deliver(&self, notification: &Notification<'_>) -> Answer {
        let event = &notification.event.id;
        let arrived = {
            let mut tries = self.tries.lock().unwrap();
            let arrived = Try {
                at: self.clock.steady(),
                event: event.clone(),
                call: notification.event.subject.call().map_or_else(String::new, ToString::to_string),
                told: told(notification.event),
                sequence: notification.sequence,
                record: notification.event.record.get().to_owned(),
                severity: notification.text().map(|text| text.severity),
                number: tries.iter().filter(|earlier| earlier.event == *event).count() + 1,
                memo: notification.memo.cloned(),
                followed: notification.followed,
            };
            tries.push(arrived.clone());
            arrived
        };
        let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_in_flight.fetch_max(now, Ordering::SeqCst);
        {
            let mut flying = self.flying.lock().unwrap();
            if flying.contains(event) {
                self.overlapped.store(true, Ordering::SeqCst);
            }
            flying.push(event.clone());
        }
        let _flying = Flying(self, event.clone());
        let answer = |reaction, result: &str| Answer {
            reaction,
            result: result.to_owned(),
            response: "the beginning of it".to_owned(),
            memo: None,
        };
        let failed = || answer(Reaction::Retry { after: None }, "500 Internal Server Error");
        let goodbye = || answer(Reaction::Pause("410 Gone: no more of this".to_owned()), "410 Gone");
        match (self.script)(&arrived) {
            Reply::Ok => answer(Reaction::Delivered, "200 OK"),
            Reply::Slow(by) => {
                sleep(by).await;
                answer(Reaction::Delivered, "200 OK")
            }
            Reply::Fail => failed(),
            Reply::FailSlowly(by) => {
                sleep(by).await;
                failed()
            }
            Reply::Busy(after) => answer(Reaction::Retry { after: Some(after) }, "429 Too Many Requests"),
            Reply::Refuse => answer(Reaction::Dead("refused for good".to_owned()), "404 Not Found"),
            Reply::Goodbye => goodbye(),
            Reply::GoodbyeSlowly(by) => {
                sleep(by).await;
                goodbye()
            }
            Reply::Hang => std::future::pending().await,
            Reply::Keep(true, memo) => Answer { memo: Some(memo), ..answer(Reaction::Delivered, "200 OK") },
            Reply::Keep(false, memo) => Answer { memo: Some(memo), ..failed() },
            Reply::Panic => panic!("the receiver's code has a bug"),
        }
    }

    fn keeps_memos(&self) -> bool {
        self.keeps_memos.load(Ordering::SeqCst)
    }

    fn turn(&self, notification: &Notification<'_>) -> Turn {
        if notification.followed && self.merges.load(Ordering::SeqCst) {
            return Turn::Unsent;
        }
        let mut turns = self.turns.lock().unwrap();
        let Some(call) = notification.event.subject.call() else { return Turn::Now };
        let place = turns.iter().position(|(it, _)| *it == call.to_string());
        place.map_or(Turn::Now, |place| Turn::In(turns.remove(place).1))
    }

    fn longest_attempt(&self) -> Duration {
        *self.longest.lock().unwrap()
    }
}

/// The events that one event tells.
fn told(event: &Event) -> Vec<String> {
    match event.subject {
        Subject::Batch(_) => {
            let summary: Summary = serde_json::from_str(event.record.get()).unwrap();
            summary.items.iter().map(|item| item.id.to_string()).collect()
        }
        _ => vec![event.id.to_string()],
    }
}

/// Deliver this now: (call, sequence).
pub type Item<'a> = (&'a str, u64);

pub struct Stage {
    pub store: Arc<Watched>,
    pub telemetry: Telemetry,
    pub clock: Clock,
    /// The rules of the config.
    pub rules: Rules,
    signals: mpsc::UnboundedReceiver<Signal>,
}

/// A dispatcher at work.
pub struct Running {
    pub stop: CancellationToken,
    pub task: JoinHandle<Result<(), StoreError>>,
}

impl Running {
    /// Asks it to stop and waits until it has.
    pub async fn stop(self) -> Result<(), StoreError> {
        self.stop.cancel();
        self.task.await.unwrap()
    }

    /// Cuts it off where it stands.
    pub async fn cut_off(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

impl Stage {
    pub fn new() -> Self {
        Self::on(MemoryStore::new())
    }

    /// One whose store others may know, too.
    pub fn on(store: MemoryStore) -> Self {
        let clock = Clock::starting_at(Timestamp::parse("2025-12-15T14:30:00Z").unwrap());
        let (sender, signals) = mpsc::unbounded_channel();
        // Nobody listens any more when a test has ended.
        let telemetry = Telemetry::with_listener(clock, move |signal| drop(sender.send(signal.clone())));
        let text = Arc::new(RuleText { severity: Severity::Critical, ..RuleText::default() });
        let feed = Rule { text, ..Rule::new("call-completed".into(), Kind::Ended.into(), vec![]) };
        let rules = Arc::new([feed].into_iter().collect());
        Self { store: Arc::new(Watched::new(store)), telemetry, clock, rules, signals }
    }

    pub fn receiver(&self, script: impl Fn(&Try) -> Reply + Send + Sync + 'static) -> Arc<Receiver> {
        Arc::new(Receiver {
            clock: self.clock,
            longest: Mutex::new(secs(15)),
            script: Box::new(script),
            tries: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
            keeps_memos: AtomicBool::new(false),
            merges: AtomicBool::new(false),
            turns: Mutex::default(),
            overlapped: AtomicBool::new(false),
            flying: Mutex::default(),
        })
    }

    pub fn serve(&self, config: DestinationConfig, receiver: &Arc<Receiver>) -> Running {
        let running = self.serve_from(Arc::clone(&self.store) as Arc<dyn Store>, config, receiver);
        self.store.stop_with(&running.stop);
        running
    }

    pub fn serve_from(
        &self,
        store: Arc<dyn Store>,
        config: DestinationConfig,
        receiver: &Arc<Receiver>,
    ) -> Running {
        let stop = CancellationToken::new();
        *receiver.longest.lock().unwrap() = config.timeout;
        let task = DestinationTask {
            config,
            destination: Arc::clone(receiver) as Arc<dyn Destination>,
            rules: watch::channel(Arc::clone(&self.rules)).1,
            store,
            telemetry: self.telemetry.clone(),
            clock: self.clock,
            grace: secs(20),
        };
        Running { task: tokio::spawn(delivery::run(task, stop.clone())), stop }
    }

    /// Commits deliveries of `items` for a destination, all made now.
    pub async fn add(&self, destination: &str, items: &[Item<'_>]) {
        self.store.add(commit(destination, items, self.clock.wall())).await;
    }

    /// Waits until so many more deliveries are delivered or dead.
    pub async fn finished(&mut self, count: usize) {
        let mut left = count;
        let wait = async {
            while left > 0 {
                if let Signal::Attempted { verdict: Verdict::Delivered | Verdict::Dead(_), .. } =
                    self.signals.recv().await.unwrap()
                {
                    left -= 1;
                }
            }
        };
        let waited = tokio::time::timeout(FOR_EVER, wait).await;
        assert!(waited.is_ok(), "{left} of {count} deliveries never finished");
    }

    /// Waits until so many more attempts have been settled.
    pub async fn attempted(&mut self, count: usize) {
        let mut left = count;
        let wait = async {
            while left > 0 {
                left -= usize::from(matches!(self.signals.recv().await.unwrap(), Signal::Attempted { .. }));
            }
        };
        let waited = tokio::time::timeout(FOR_EVER, wait).await;
        assert!(waited.is_ok(), "{left} of {count} attempts were never made");
    }

    /// How often something happened, by the telemetry's name for it.
    pub fn count(&self, what: &str) -> u64 {
        self.telemetry.counts().iter().filter(|((name, _), _)| *name == what).map(|(_, count)| count).sum()
    }

    /// A destination's deliveries in the store, by (call, sequence).
    pub async fn records(&self, destination: &str) -> Vec<DeliveryRecord> {
        let filter = DeliveryFilter { destination: Some(destination.into()), ..DeliveryFilter::default() };
        let query = Query { filter, after: None, limit: 10_000 };
        let mut records = self.store.query(&query).await.unwrap().items;
        records.sort_by_key(|record| (record.subject.clone(), record.sequence));
        records
    }

    pub async fn record(&self, destination: &str, call: &str, sequence: u64) -> DeliveryRecord {
        let records = self.records(destination).await;
        let wanted = CallId::from(call);
        records.into_iter().find(|it| it.subject.call() == Some(&wanted) && it.sequence == sequence).unwrap()
    }

    /// The pause of a destination, as the store keeps it.
    pub async fn pause(&self, destination: &str) -> Option<Pause> {
        self.store.destinations().await.unwrap().remove(destination)?.pause
    }

    /// Ends it, by hand.
    pub async fn resume(&self, destination: &str) {
        let destination = destination.into();
        assert_eq!(self.store.act(Action::Resume { destination }).await.unwrap(), 1);
    }

    /// Retries a delivery by hand.
    pub async fn retry(&self, token: Token) {
        let action = Action::Retry { tokens: vec![token], at: self.clock.wall() };
        assert_eq!(self.store.act(action).await.unwrap(), 1);
    }

    /// Drops a delivery by hand.
    pub async fn discard(&self, token: Token) {
        assert_eq!(self.store.act(Action::Drop { tokens: vec![token] }).await.unwrap(), 1);
    }

    pub fn elapsed(&self, since: Timestamp) -> Duration {
        self.clock.steady().since(since)
    }
}

pub fn is_delivered(record: &DeliveryRecord) -> bool {
    matches!(record.state, DeliveryState::Delivered { .. })
}

/// A destination that retries after 5 s, 1 min and 10 min, with eight slots.
pub fn config(name: &str) -> DestinationConfig {
    DestinationConfig {
        name: name.into(),
        kind: DestinationKind::Slack(SlackConfig {
            way: SlackWay::Webhook("https://hooks.example.com/".into()),
            connection: Default::default(),
        }),
        retry: vec![secs(5), secs(60), secs(600)],
        max_attempts_age: None,
        rate: None,
        concurrency: 8,
        timeout: secs(15),
        failing_after: Duration::from_secs(300),
        merge: false,
        timezone: callwatch::calendar::Zone::UTC,
        language: Default::default(),
        quiet: None,
        fields: Default::default(),
        hash_secret: None,
        links: Default::default(),
        fingerprint: "first".into(),
    }
}

pub fn rate(count: u32, period: Duration) -> Option<Rate> {
    Some(Rate { count, period })
}

pub fn event_id(call: &str, sequence: u64) -> EventId {
    EventId::from(format!("evt_{call}_{sequence}").as_str())
}

pub fn commit(destination: &str, items: &[Item<'_>], now: Timestamp) -> Commit {
    let event = |call: &str, sequence| Event {
        id: event_id(call, sequence),
        subject: Subject::Call { source: "clinic".into(), call: CallId::from(call) },
        rule: "call-completed".into(),
        also: vec![],
        kinds: Kind::Ended.into(),
        changes: Default::default(),
        at: now,
        record: RawValue::from_string("{}".to_owned()).unwrap().into(),
    };
    let new = |(call, sequence): &Item<'_>| NewEvent {
        event: event(call, *sequence),
        deliveries: vec![NewDelivery {
            destination: destination.into(),
            sequence: *sequence,
            created: now,
            hold: None,
        }],
    };
    Commit { events: items.iter().map(new).collect(), ..Commit::default() }
}
