//! A process that ends at any write of its deliveries' lives, before it or right after it, and is started again:
//! D1 to D3 and D5, at every such point.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use callwatch::{
    call::{Call, CallId},
    kind::Kind,
    name::Name,
    rule::{Rule, RuleSet, condition::Condition},
    store::{
        Action, Claim, Commit, DeliveryRecord, DeliveryState, DeliveryStateKind, Duty, Query, Store,
        StoreError,
    },
    sync::watcher::{Memory, Watcher},
    time::Clock,
};
use serde_json::{Value, value::to_raw_value};
use tokio::time::sleep;

use super::{
    mortal::{Death, Mortal},
    stage::{Receiver, Reply, Running, Stage, Try, config, is_delivered, secs},
};
use crate::rig::{analyze, complete, record};

const DESTINATIONS: [&str; 2] = ["crm", "audit"];

/// The world outside the process, which outlives it.
struct World {
    stage: Stage,
    /// The states of calls that the API shows, one after the other.
    states: Vec<Value>,
    /// How many of them are over.
    over: usize,
    /// By destination, in the order of [`DESTINATIONS`].
    receivers: [Arc<Receiver>; 2],
}

/// The behaviour of the receivers: each way a delivery's life can take is taken by one of them.
fn crm(it: &Try) -> Reply {
    match (it.call.as_str(), it.sequence, it.number) {
        ("a", 1, 1) => Reply::Fail,
        ("a", 2, 1) => Reply::Busy(secs(30)),
        ("b", 1, 1) => Reply::Refuse,
        ("b", 2, 1) => Reply::Hang,
        ("junk", ..) => Reply::Refuse,
        _ => Reply::Ok,
    }
}

fn audit(it: &Try) -> Reply {
    match (it.call.as_str(), it.sequence, it.number) {
        ("a", 1, 1) => Reply::Goodbye,
        ("b", 1, 1) => Reply::FailSlowly(secs(3)),
        _ => Reply::Ok,
    }
}

impl World {
    fn new() -> Self {
        let stage = Stage::new();
        let receivers = [stage.receiver(crm), stage.receiver(audit)];
        let mut states = vec![];
        let mut shown = |call: &Value| states.push(call.clone());
        let (mut a, mut b) = (record("a", "live"), record("b", "live"));
        shown(&a);
        complete(&mut a);
        shown(&a);
        analyze(&mut a, "negative", true);
        shown(&a);
        complete(&mut b);
        shown(&b);
        analyze(&mut b, "negative", false);
        shown(&b);
        b["summary"] = "Edited.".into();
        shown(&b);
        shown(&record("junk", "live"));
        Self { stage, states, over: 0, receivers }
    }

    fn clock(&self) -> Clock {
        self.stage.clock
    }

    /// The messages that a receiver took in, in order: call, sequence, event, record.
    fn taken(&self, destination: usize) -> Vec<(String, u64, String, String)> {
        let script = [crm, audit][destination];
        let taken = |it: &Try| matches!(script(it), Reply::Ok);
        let tries = self.receivers[destination].tries();
        let all = tries.into_iter().filter(taken);
        all.map(|it| (it.call, it.sequence, it.event.to_string(), it.record)).collect()
    }
}

fn clinic() -> Name {
    "clinic".into()
}

/// A feed to both destinations, and a rule with a condition to one of them.
fn rules() -> Vec<Rule> {
    let rule = |name: &str, when: Option<&str>, to: &[&str]| {
        let to = to.iter().map(|to| Name::from(*to)).collect();
        let feed =
            Rule::new(name.into(), Kind::ALL.into_iter().filter(|kind| kind.is_of_call()).collect(), to);
        Rule { when: when.map(|when| Condition::compile(when).unwrap()), ..feed }
    };
    let unhappy = "call.callAnalysis.sentiment == \"negative\"";
    vec![rule("feed", None, &DESTINATIONS), rule("unhappy", Some(unhappy), &["crm"])]
}

/// The process's life: it watches, delivers, is looked after by a person, and forgets what is finished.
async fn live(store: &Arc<Mortal>, world: &mut World) -> Result<(), StoreError> {
    let mut deliveries = serve(store, world);
    let lived = async {
        watch(store, world).await?;
        // A restart in good order, with an attempt under way that does not end.
        for running in std::mem::take(&mut deliveries) {
            running.stop().await?;
        }
        deliveries = serve(store, world);
        look_after(store, world.clock()).await
    };
    let lived = lived.await;
    for running in deliveries {
        match &lived {
            Ok(()) => running.stop().await?,
            // It is gone, whatever it was doing.
            Err(_) => running.task.abort(),
        }
    }
    lived?;
    let all = all(store).await?;
    assert!(all.iter().all(is_delivered), "{all:?}");
    let upkeep = claim(store, Duty::Upkeep).await?;
    while store.purge(&upkeep, world.clock().wall().after(secs(1)), 4).await? > 0 {}
    store.shrink(&upkeep, &clinic(), world.clock().wall().after(secs(1))).await
}

async fn claim(store: &Mortal, duty: Duty) -> Result<Claim, StoreError> {
    Ok(store.claim(&duty).await?.expect("nobody else works on the store"))
}

/// All deliveries there are.
async fn all(store: &Mortal) -> Result<Vec<DeliveryRecord>, StoreError> {
    Ok(store.query(&Query { limit: 1000, ..Query::default() }).await?.items)
}

fn serve(store: &Arc<Mortal>, world: &World) -> Vec<Running> {
    let serve = |(name, receiver): (&str, &Arc<Receiver>)| {
        let mut config = config(name);
        config.timeout = secs(120);
        world.stage.serve_from(Arc::clone(store) as Arc<dyn Store>, config, receiver)
    };
    DESTINATIONS.into_iter().zip(&world.receivers).map(serve).collect()
}

/// The API shows the next state when this one has been committed.
async fn watch(store: &Mortal, world: &mut World) -> Result<(), StoreError> {
    let source = clinic();
    let mut watcher = Watcher::new(source.clone(), RuleSet::of(&rules()), Memory::default());
    watcher.baseline_done(world.clock().wall());
    while let Some(state) = world.states.get(world.over) {
        let raw = to_raw_value(state).unwrap();
        let call = Call::parse(&raw).unwrap();
        let before = store.snapshots(&source, std::slice::from_ref(call.id())).await?.remove(0);
        let mut commit = Commit::default();
        watcher.observe(before.as_ref(), &call, world.clock().wall()).commit_into(&mut commit);
        let claim = claim(store, Duty::Source(source.clone())).await?;
        store.commit(&claim, commit).await?;
        world.over += 1;
        sleep(secs(1)).await;
    }
    Ok(())
}

/// Resumes what is paused, retries what is dead but the junk, until everything has arrived.
async fn look_after(store: &Mortal, clock: Clock) -> Result<(), StoreError> {
    loop {
        sleep(secs(30)).await;
        for (destination, standing) in store.destinations().await? {
            if standing.pause.is_some_and(|pause| pause.until.is_none()) {
                store.act(Action::Resume { destination }).await?;
            }
        }
        let all = all(store).await?;
        for delivery in &all {
            if matches!(delivery.state, DeliveryState::Dead { .. }) {
                let tokens = vec![delivery.token];
                let action = if delivery.subject.call() == Some(&CallId::from("junk")) {
                    Action::Drop { tokens }
                } else {
                    Action::Retry { tokens, at: clock.wall() }
                };
                store.act(action).await?;
            }
        }
        if all.iter().all(|delivery| delivery.state.kind() == DeliveryStateKind::Delivered) {
            // When all is well, something is sent again, once.
            let mut again = all.iter().filter(|delivery| is_sent_again(delivery));
            match (again.next(), again.next()) {
                (Some(delivery), None) => {
                    let tokens = vec![delivery.token];
                    store.act(Action::Resend { tokens, to: None, at: clock.wall() }).await?;
                }
                _ => return Ok(()),
            }
        }
    }
}

/// Whether it is the event that is sent again, to the receiver that is busy at the first attempt of each delivery of it.
fn is_sent_again(delivery: &DeliveryRecord) -> bool {
    let DeliveryRecord { id, subject, sequence, .. } = delivery;
    id.destination.as_str() == "crm" && subject.call() == Some(&CallId::from("a")) && *sequence == 2
}

/// Lives until the end, over a death if there is one; what was written before it.
async fn live_on(folder: &Path, world: &mut World, death: Option<Death>) -> Vec<&'static str> {
    let store = Arc::new(Mortal::open(folder, death).await);
    let lived = live(&store, world).await;
    assert_eq!(lived.is_err(), store.is_dead(), "{lived:?}");
    store.bury().await;
    if store.is_dead() {
        let again = Arc::new(Mortal::open(folder, None).await);
        live(&again, world).await.unwrap();
        again.bury().await;
    }
    store.writes()
}

#[tokio::test(start_paused = true)]
async fn at_whichever_write_it_ends_nothing_is_lost_made_up_or_told_out_of_order() {
    let mut reference = World::new();
    let folder = tempfile::tempdir().unwrap();
    let writes = live_on(folder.path(), &mut reference, None).await;
    let told = [0, 1].map(|destination| reference.taken(destination));
    assert_eq!((told[0].len(), told[1].len()), (9, 7), "{told:?}");
    let all = [
        "commit",
        "drop",
        "purge",
        "resend",
        "resume",
        "retry",
        "settle a pause",
        "settle outcomes",
        "shrink",
    ];
    for write in all {
        assert!(writes.contains(&write), "{write} is not among {writes:?}");
    }

    let mut repeats = BTreeMap::new();
    for (number, write) in writes.iter().enumerate() {
        for death in [Death::Before(number), Death::After(number)] {
            let folder = tempfile::tempdir().unwrap();
            let mut world = World::new();
            live_on(folder.path(), &mut world, Some(death)).await;
            for (destination, told) in told.iter().enumerate() {
                let why = || format!("{death:?} {write} to {}", DESTINATIONS[destination]);
                assert!(!world.receivers[destination].overlapped(), "{}", why());
                let taken = world.taken(destination);
                *repeats.entry(*write).or_insert(0) += taken.len().saturating_sub(told.len());
                assert_eq!(by_lane(&taken), by_lane(told), "{}", why());
                let again = taken.iter().filter(|(call, sequence, ..)| call == "a" && *sequence == 2);
                assert!(destination != 0 || again.count() >= 2, "what was sent again arrives: {}", why());
            }
        }
    }
    println!("{} writes, ended before and after each; repeats by the write: {repeats:?}", writes.len());
}

/// The first arrivals, in order, by call.
fn by_lane(taken: &[(String, u64, String, String)]) -> BTreeMap<&str, Vec<(u64, &str, &str)>> {
    let mut seen = BTreeSet::new();
    let mut lanes: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for it @ (call, sequence, event, record) in taken {
        if seen.insert(it) {
            lanes.entry(call).or_default().push((*sequence, event.as_str(), record.as_str()));
        }
    }
    // A dead delivery does not hold up the others, and comes whenever it is retried.
    if let Some(lane) = lanes.get_mut("b") {
        lane.sort_by_key(|(sequence, ..)| *sequence == 1);
    }
    lanes
}
