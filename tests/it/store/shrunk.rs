//! Calls that have been settled for long: most of what is known of them is forgotten, and still each change is told once,
//! as what it is.

use super::{
    backend::{Backend, Memory, Sled},
    *,
};
use callwatch::{
    rule::{Rule, RuleSet, condition::Condition},
    sync::watcher::{self, Watcher},
};

const LATER: i64 = 1_770_000_000_000;

fn rule(name: &str, on: &[Kind], when: Option<&str>) -> Rule {
    let feed = Rule::new(name.into(), on.iter().copied().collect(), vec!["crm".into()]);
    Rule { when: when.map(|when| Condition::compile(when).unwrap()), ..feed }
}

const ALL: &[Kind] = &[Kind::Started, Kind::Ended, Kind::Analyzed, Kind::Updated, Kind::Deleted];

fn rules() -> Vec<Rule> {
    vec![rule("feed", ALL, None), rule("unhappy", ALL, Some(r#"call.callAnalysis.sentiment == "negative""#))]
}

fn record(sentiment: &str, summary: &str) -> Value {
    json!({
        "id": "a", "status": "completed", "summary": summary, "callAnalysis": { "sentiment": sentiment },
        "createdAt": "2025-12-15T14:30:00.000Z", "updatedAt": "2025-12-15T14:32:25.000Z",
        "transcript": [{ "role": "user", "content": "Hello." }],
    })
}

/// Looks at a call whose memory has been through the store, shrunk; each (kinds, rule, sequence) that follows.
async fn look(store: &Process, rules: &[Rule], record: Option<&Value>) -> Vec<(String, String, u64)> {
    let clinic = clinic();
    let before = store.snapshots(&clinic, &["a".into()]).await.unwrap().remove(0);
    let now = at(1_765_809_146_000);
    let mut watcher = Watcher::new(clinic.clone(), RuleSet::of(rules), watcher::Memory::default());
    watcher.baseline_done(now);
    let seen = match record {
        Some(record) => watcher.observe(before.as_ref(), &Call::parse(&raw(record)).unwrap(), now),
        None => watcher.observe_deletion(&"a".into(), &before.unwrap(), now),
    };
    let fired = |new: &NewEvent| {
        let (kinds, rule) = (new.event.kinds.to_string(), new.event.rule.to_string());
        new.deliveries.iter().map(|new| (kinds.clone(), rule.clone(), new.sequence)).collect::<Vec<_>>()
    };
    let fired = seen.events.iter().flat_map(fired).collect();
    let mut commit = Commit::default();
    seen.commit_into(&mut commit);
    store.commit(commit).await;
    shrink(store).await;
    let after = store.snapshots(&clinic, &["a".into()]).await.unwrap().remove(0).unwrap();
    assert!(after.shrunk.is_some() && !after.fields.contains_key("summary"));
    fired
}

async fn shrink(store: &Process) {
    let claim = store.own(Duty::Upkeep).await;
    store.store.shrink(&claim, &clinic(), at(LATER)).await.unwrap();
}

fn told(kinds: &str, rule: &str, sequence: u64) -> (String, String, u64) {
    (kinds.to_owned(), rule.to_owned(), sequence)
}

/// The record with a later `updatedAt`: a state that was left and comes back without one may be an old answer.
fn later(mut record: Value) -> Value {
    record["updatedAt"] = "2025-12-15T14:40:00.000Z".into();
    record
}

#[tokio::test]
async fn a_change_of_a_settled_call_is_told_once_as_what_it_is() {
    for backend in [&Sled::new() as &dyn Backend, &Memory::new()] {
        let (store, rules) = (&Process::of(backend).await, rules());
        let first = look(store, &rules, Some(&record("negative", "one"))).await;
        assert_eq!(first, [told("ended+analyzed", "feed", 1), told("ended+analyzed", "unhappy", 2)]);
        assert_eq!(look(store, &rules, Some(&record("negative", "one"))).await, []);
        assert_eq!(look(store, &rules, Some(&record("negative", "two"))).await, [told("updated", "feed", 3)]);
        assert_eq!(look(store, &rules, Some(&record("negative", "two"))).await, []);
        assert_eq!(
            look(store, &rules, Some(&record("positive", "two"))).await,
            [told("analyzed", "feed", 4)]
        );
        // Once per call is once per call.
        let again = later(record("negative", "two"));
        assert_eq!(look(store, &rules, Some(&again)).await, [told("analyzed", "feed", 5)]);
        assert_eq!(look(store, &rules, None).await, [told("deleted", "feed", 6)]);
        assert_eq!(look(store, &rules, Some(&again)).await, [told("updated", "feed", 7)]);
        // No two of them under one id.
        assert_eq!(store.all().await.len(), 7);
    }
}

#[tokio::test]
async fn a_rule_that_never_looked_at_a_settled_call_does_not_take_old_news_for_new() {
    let backend = Sled::new();
    let store = Process::of(&backend).await;
    let baselined = Snapshot::first(
        &Call::parse(&raw(&record("negative", "one"))).unwrap(),
        [Kind::Ended, Kind::Analyzed].into_iter().collect(),
        at(1_765_809_146_000),
    );
    store.commit(remembers("a", baselined)).await;
    shrink(&store).await;
    let rules = rules();
    assert_eq!(look(&store, &rules, Some(&record("negative", "two"))).await, [told("updated", "feed", 1)]);
    // From here on it knows, and what becomes true is told.
    assert_eq!(look(&store, &rules, Some(&record("positive", "two"))).await, [told("analyzed", "feed", 2)]);
    let now_true = look(&store, &rules, Some(&later(record("negative", "two")))).await;
    assert_eq!(now_true, [told("analyzed", "feed", 3), told("analyzed", "unhappy", 4)]);
}

#[tokio::test]
async fn only_what_has_settled_is_shrunk() {
    let backend = Sled::new();
    let store = Process::of(&backend).await;
    let mut commit = Commit::default();
    let mut add = |id: &str, change: &dyn Fn(&mut Value, &mut i64)| {
        let (mut record, mut seen) = (record("negative", "one"), 1_765_809_146_000);
        record["id"] = id.into();
        change(&mut record, &mut seen);
        let call = Call::parse(&raw(&record)).unwrap();
        commit.snapshots.push((id.into(), Snapshot::first(&call, Kinds::NONE, at(seen))));
    };
    add("live", &|record, _| record["status"] = "live".into());
    add("settled", &|_, _| {});
    add("just seen", &|_, seen| *seen = LATER);
    add("just changed", &|record, _| record["updatedAt"] = "2026-06-15T14:32:25.000Z".into());
    add("undated", &|record, _| record["updatedAt"] = Value::Null);
    store.commit(commit).await;
    shrink(&store).await;
    let known = store.known(&clinic(), None, 9).await.unwrap();
    let ids: Vec<CallId> = known.into_iter().map(|call| call.id).collect();
    let snapshots = store.snapshots(&clinic(), &ids).await.unwrap();
    let shrunk =
        ids.iter().zip(snapshots).filter(|(_, snapshot)| snapshot.as_ref().unwrap().shrunk.is_some());
    assert_eq!(shrunk.map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["settled", "undated"]);
}
