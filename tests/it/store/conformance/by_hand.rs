//! Actions by people: another try, an end, a pause.

use std::collections::BTreeMap;

use callwatch::store::{Action, DeliveryStateKind, Restart};
use tokio::time::timeout;

use super::*;

for_every_store!(
    a_dead_delivery_is_due_again_in_its_place_and_keeps_its_attempts,
    a_waiting_delivery_is_due_at_once,
    a_delivery_that_has_arrived_is_not_retried,
    each_delivery_is_counted_once,
    a_dropped_delivery_is_gone_with_its_event,
    a_dropped_delivery_may_be_made_again,
    a_paused_destination_loses_nothing,
    a_longer_pause_stays,
    whoever_waits_is_woken,
    many_are_retried_and_dropped_at_once,
    a_restart_forgets_no_pause_and_no_second_chance,
    what_has_arrived_is_sent_again_at_the_end_of_its_lane,
    what_has_not_arrived_or_waits_already_is_not_sent_again,
    an_event_is_sent_to_another_destination_whatever_became_of_it,
    a_delivery_and_its_repeat_are_forgotten_one_by_one,
    a_commit_that_is_repeated_makes_no_third_delivery,
    many_are_sent_again_in_their_order,
);

async fn retry(store: &Process, events: &[&str], millis: i64) -> usize {
    store.act(Action::Retry { tokens: store.tokens(events).await, at: at(millis) }).await.unwrap()
}

async fn drop_all(store: &Process, events: &[&str]) -> usize {
    store.act(Action::Drop { tokens: store.tokens(events).await }).await.unwrap()
}

async fn a_dead_delivery_is_due_again_in_its_place_and_keeps_its_attempts(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(events(&[("evt_1", "a", 1), ("evt_2", "a", 2), ("evt_3", "a", 3)], 10)).await;
    store.attempt("evt_1", 50, dead()).await;
    assert_eq!(retry(&store, &["evt_1"], 300).await, 1);
    let record = store.record("evt_1").await;
    assert_eq!(Some(record.state), due(300));
    assert_eq!((record.attempts, record.log.len()), (1, 1));
    assert_eq!(record.restart, Some(Restart { at: at(300), attempts: 1 }));
    assert_eq!(store.tally().await, Tally { pending: 3, ..Tally::default() });
    assert_eq!(store.feed().await, ["evt_1", "evt_2", "evt_3"]);
    // The count of attempts goes on.
    store.attempt("evt_1", 310, Verdict::Retry(at(400))).await;
    let record = store.record("evt_1").await;
    assert_eq!((record.attempts, record.restart), (2, Some(Restart { at: at(300), attempts: 1 })));
    assert_eq!(retry(&store, &["evt_1"], 350).await, 1);
    assert_eq!(store.record("evt_1").await.restart, Some(Restart { at: at(350), attempts: 2 }));
}

async fn a_waiting_delivery_is_due_at_once(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1", "evt_2"], 10)).await;
    store.attempt("evt_1", 50, Verdict::Retry(at(90_000))).await;
    assert_eq!(retry(&store, &["evt_1", "evt_2"], 100).await, 2);
    assert_eq!((store.state("evt_1").await, store.state("evt_2").await), (due(100), due(100)));
}

async fn a_delivery_that_has_arrived_is_not_retried(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1", "evt_2"], 10)).await;
    store.attempt("evt_1", 50, Verdict::Delivered).await;
    let before = store.dump().await;
    assert_eq!(retry(&store, &["evt_1"], 100).await, 0);
    assert_eq!(store.dump().await, before);
    assert_eq!(store.act(Action::Retry { tokens: vec![], at: at(100) }).await.unwrap(), 0);
}

async fn each_delivery_is_counted_once(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1", "evt_2"], 10)).await;
    assert_eq!(retry(&store, &["evt_1", "evt_2", "evt_1"], 100).await, 2);
    let tokens = store.tokens(&["evt_1", "evt_2", "evt_1"]).await;
    assert_eq!(drop_all(&store, &["evt_1", "evt_1"]).await, 1);
    let before = store.dump().await;
    assert_eq!(store.act(Action::Retry { tokens: vec![tokens[0]], at: at(100) }).await.unwrap(), 0);
    assert_eq!(store.act(Action::Drop { tokens: vec![tokens[0]] }).await.unwrap(), 0);
    assert_eq!(store.dump().await, before);
    assert_eq!(store.act(Action::Drop { tokens }).await.unwrap(), 1);
}

async fn a_dropped_delivery_is_gone_with_its_event(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1", "evt_3", "evt_4"], 10)).await;
    store.commit(new_event(event("evt_2", "a"), vec![delivery("crm", 2, 10), delivery("mail", 1, 10)])).await;
    store.attempt("evt_3", 50, dead()).await;
    store.attempt("evt_4", 50, Verdict::Delivered).await;
    let all = ["evt_1", "evt_2", "evt_3", "evt_4"];
    let tokens = store.tokens(&all).await;
    assert_eq!(drop_all(&store, &all).await, 4, "in whichever state");
    assert_eq!(store.bodies(&tokens).await.unwrap().into_iter().flatten().count(), 0);
    assert!(store.feed().await.is_empty());
    let left: Vec<_> = store.all().await.into_iter().map(|record| record.id).collect();
    assert_eq!(left, [delivery_id("evt_2", "mail")]);
    let mail = store.find("evt_2", "mail").await.unwrap().token;
    assert!(store.bodies(&[mail]).await.unwrap()[0].is_some());
    assert_eq!(store.destinations().await.unwrap().into_keys().collect::<Vec<_>>(), [name("mail")]);
    // The outcome of an attempt that was in flight changes nothing.
    let before = store.dump().await;
    store.settle(outcomes(vec![outcome(tokens[0], 1, 60, Verdict::Retry(at(90)))])).await;
    assert_eq!(store.dump().await, before);
}

async fn a_dropped_delivery_may_be_made_again(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1", "evt_2"], 10)).await;
    let before = store.token("evt_1").await;
    drop_all(&store, &["evt_1"]).await;
    store.commit(calls(&["evt_1"], 20)).await;
    assert!(store.token("evt_1").await > before);
    assert_eq!(store.feed().await, ["evt_2", "evt_1"]);
    let store = store.restart(backend).await;
    assert_eq!(store.feed().await, ["evt_2", "evt_1"]);
    assert_eq!(store.state("evt_1").await, due(20));
}

fn pause(until: Option<i64>) -> Pause {
    Pause { since: at(5), reason: "410 Gone".to_owned(), until: until.map(at), config: None }
}

async fn set_pause(store: &Process, pause: Pause) -> usize {
    store.act(Action::Pause { destination: crm(), pause }).await.unwrap()
}

async fn resume(store: &Process) -> usize {
    store.act(Action::Resume { destination: crm() }).await.unwrap()
}

async fn a_paused_destination_loses_nothing(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1"], 10)).await;
    assert_eq!(set_pause(&store, pause(None)).await, 1);
    store.commit(calls(&["evt_2"], 20)).await;
    assert_eq!(store.tally().await, Tally { pending: 2, ..Tally::default() });
    assert_eq!(store.paused().await, Some(pause(None)));
    assert_eq!((resume(&store).await, resume(&store).await), (1, 0));
    assert_eq!(store.paused().await, None);
    assert_eq!(store.feed().await, ["evt_1", "evt_2"]);
}

async fn a_longer_pause_stays(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    assert_eq!(set_pause(&store, pause(Some(150))).await, 1);
    assert_eq!(set_pause(&store, pause(None)).await, 1);
    assert_eq!(set_pause(&store, pause(Some(150))).await, 0);
    assert_eq!(store.paused().await, Some(pause(None)));
    assert_eq!(resume(&store).await, 1);
    assert_eq!(store.destinations().await.unwrap(), BTreeMap::new());
}

async fn whoever_waits_is_woken(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1", "evt_2"], 10)).await;
    store.commit(held(calls(&["evt_3"], 10), "quiet", 5)).await;
    store.attempt("evt_1", 50, dead()).await;
    let arrivals = store.arrivals(&crm());
    let woken = async || timeout(Duration::from_secs(10), arrivals.notified()).await.unwrap();
    // The commits have left a wake-up behind.
    arrivals.notify_one();
    woken().await;
    retry(&store, &["evt_1"], 60).await;
    woken().await;
    drop_all(&store, &["evt_1"]).await;
    woken().await;
    set_pause(&store, pause(None)).await;
    woken().await;
    resume(&store).await;
    woken().await;
    let merge =
        Merge { tokens: store.tokens(&["evt_3"]).await, event: summary("sum_1", "quiet"), sequence: 1 };
    store.settle(Settlement { merge: Some(merge), ..settlement(60) }).await;
    woken().await;
}

async fn many_are_retried_and_dropped_at_once(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let ids: Vec<_> = (0..2_000).map(|number| format!("evt_{number:04}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    store.commit(calls(&ids, 10)).await;
    let tokens: Vec<_> = store.unfinished("crm").await.iter().map(|pending| pending.token).collect();
    let dead = tokens.iter().map(|token| outcome(*token, 1, 20, dead())).collect();
    store.settle(outcomes(dead)).await;
    let again = Action::Retry { tokens: tokens.clone(), at: at(60) };
    assert_eq!(store.act(again).await.unwrap(), 2_000);
    assert_eq!(store.tally().await, Tally { pending: 2_000, ..Tally::default() });
    let store = store.restart(backend).await;
    assert_eq!(store.unfinished("crm").await.len(), 2_000);
    assert_eq!(store.act(Action::Drop { tokens: tokens[..1_999].to_vec() }).await.unwrap(), 1_999);
    let store = store.restart(backend).await;
    assert_eq!(store.feed().await, ["evt_1999"]);
}

async fn a_restart_forgets_no_pause_and_no_second_chance(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1"], 10)).await;
    store.attempt("evt_1", 50, dead()).await;
    retry(&store, &["evt_1"], 60).await;
    set_pause(&store, pause(None)).await;
    let store = store.restart(backend).await;
    assert_eq!(store.paused().await, Some(pause(None)));
    assert_eq!(store.record("evt_1").await.restart, Some(Restart { at: at(60), attempts: 1 }));
}

/// The deliveries of an event to `crm`, the oldest first.
async fn repeats(store: &Process, event: &str) -> Vec<DeliveryRecord> {
    let filter = DeliveryFilter {
        event: Some(event_id(event)),
        destination: Some(crm()),
        ..DeliveryFilter::default()
    };
    let mut all = store.pages(&filter, 2).await;
    all.reverse();
    all
}

async fn resend(store: &Process, tokens: Vec<Token>, to: Option<&str>, millis: i64) -> usize {
    store.act(Action::Resend { tokens, to: to.map(name), at: at(millis) }).await.unwrap()
}

async fn what_has_arrived_is_sent_again_at_the_end_of_its_lane(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(events(&[("evt_1", "a", 1), ("evt_2", "a", 2)], 10)).await;
    store.attempt("evt_1", 50, Verdict::Delivered).await;
    let mut reader = Reader::new(store.own(destination("crm")).await);
    reader.read(&*store, 10).await;
    let arrivals = store.arrivals(&crm());
    let woken = async || timeout(Duration::from_secs(10), arrivals.notified()).await.unwrap();
    arrivals.notify_one();
    woken().await;

    let token = store.token("evt_1").await;
    assert_eq!(resend(&store, vec![token, token], None, 300).await, 1);

    woken().await;
    assert_eq!(reader.read(&*store, 10).await, 1, "its owner hears of it");
    is_sent_again(&store).await;
    is_sent_again(&store.restart(backend).await).await;
}

/// `evt_1` has arrived and is due again, behind `evt_2`.
async fn is_sent_again(store: &Process) {
    let [first, again]: [DeliveryRecord; 2] = repeats(store, "evt_1").await.try_into().unwrap();
    assert_eq!(first.state.kind(), DeliveryStateKind::Delivered, "what was is left as it is");
    assert_eq!((Some(again.state.clone()), again.attempts, again.created), (due(300), 0, at(300)));
    assert_eq!((&again.subject, &again.rule, again.sequence), (&first.subject, &first.rule, 1));
    assert_eq!(store.feed().await, ["evt_2", "evt_1"]);
    let bodies = store.bodies(&[first.token, again.token]).await.unwrap();
    let bodies: Vec<_> =
        bodies.into_iter().map(|event| serde_json::to_string(&event.unwrap()).unwrap()).collect();
    assert_eq!(bodies[0], bodies[1]);
    assert_eq!(store.tally().await, Tally { pending: 2, delivered: 1, ..Tally::default() });
}

async fn what_has_not_arrived_or_waits_already_is_not_sent_again(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1", "evt_2", "evt_3", "evt_4"], 10)).await;
    store.commit(held(calls(&["evt_5", "evt_6"], 10), "quiet", 5)).await;
    let all = store.tokens(&["evt_1", "evt_2", "evt_3", "evt_4", "evt_5", "evt_6"]).await;
    store.attempt("evt_2", 20, Verdict::Retry(at(90))).await;
    store.attempt("evt_3", 20, dead()).await;
    store.attempt("evt_4", 20, Verdict::Delivered).await;
    let merge = Merge { tokens: vec![all[5]], event: summary("sum_1", "quiet"), sequence: 1 };
    store.settle(Settlement { merge: Some(merge), ..settlement(30) }).await;
    let nobody = serde_json::from_value(9_999.into()).unwrap();
    let [pending, waiting, dead, delivered, held, merged] = all[..].try_into().unwrap();
    let before = store.dump().await;
    for tokens in [vec![pending, waiting, dead, held, merged], vec![], vec![nobody]] {
        assert_eq!(resend(&store, tokens.clone(), None, 300).await, 0, "{tokens:?}");
        assert_eq!(resend(&store, tokens.clone(), Some("crm"), 300).await, 0, "{tokens:?}");
    }
    assert_eq!(store.dump().await, before);
    assert_eq!(resend(&store, vec![delivered], None, 300).await, 1);
    // While the repeat waits or is held there is no other; when it has arrived, it can be repeated as well.
    assert_eq!(resend(&store, vec![delivered], Some("crm"), 310).await, 0);
    let again = repeats(&store, "evt_4").await[1].token;
    store.settle(Settlement { holds: vec![(again, batch("quiet"))], ..settlement(320) }).await;
    assert_eq!(resend(&store, vec![delivered, again], None, 330).await, 0);
    store.settle(Settlement { releases: vec![again], ..settlement(340) }).await;
    store.settle(outcomes(vec![outcome(again, 1, 350, Verdict::Delivered)])).await;
    assert_eq!(resend(&store, vec![delivered, again], None, 360).await, 1, "each event once");
}

async fn an_event_is_sent_to_another_destination_whatever_became_of_it(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(events(&[("evt_1", "a", 7), ("evt_2", "a", 8)], 10)).await;
    store.commit(held(calls(&["evt_3"], 10), "quiet", 5)).await;
    store.commit(new_event(event("evt_4", "a"), vec![delivery("crm", 9, 10), delivery("mail", 4, 10)])).await;
    let all = store.tokens(&["evt_1", "evt_2", "evt_3", "evt_4"]).await;
    store.attempt("evt_1", 20, Verdict::Delivered).await;
    store.attempt("evt_2", 20, dead()).await;
    assert_eq!(resend(&store, all.clone(), Some("mail"), 300).await, 3, "evt_4 waits there already");
    let store = store.restart(backend).await;
    let told: Vec<_> = store.unfinished("mail").await;
    let told: Vec<_> = told.iter().map(|it| (it.event.as_str(), it.sequence)).collect();
    assert_eq!(told, [("evt_4", 4), ("evt_1", 0), ("evt_2", 0), ("evt_3", 0)]);
    assert_eq!(store.tally().await, Tally { pending: 1, held: 1, delivered: 1, dead: 1, ..Tally::default() });
    // A destination that has had it is told again with the number that it knows.
    let claim = store.own(destination("mail")).await;
    let mail = store.find("evt_4", "mail").await.unwrap().token;
    store.store.settle(&claim, outcomes(vec![outcome(mail, 1, 310, Verdict::Delivered)])).await.unwrap();
    assert_eq!(resend(&store, vec![all[3]], Some("mail"), 320).await, 1);
    let told = store.unfinished("mail").await;
    assert_eq!(told.last().map(|it| (it.event.as_str(), it.sequence)), Some(("evt_4", 4)));
}

async fn a_delivery_and_its_repeat_are_forgotten_one_by_one(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1", "evt_2"], 10)).await;
    store.attempt("evt_1", 20, Verdict::Delivered).await;
    store.attempt("evt_2", 20, Verdict::Delivered).await;
    let first = store.tokens(&["evt_1", "evt_2"]).await;
    assert_eq!(resend(&store, first.clone(), None, 300).await, 2);
    assert_eq!(store.purge_all(200, 10).await, 2);
    assert_eq!(
        resend(&store, first.clone(), Some("mail"), 310).await,
        0,
        "what was purged is not sent again"
    );
    let again = store.tokens(&["evt_1", "evt_2"]).await;
    assert!(store.bodies(&again).await.unwrap().iter().all(Option::is_some), "the repeats keep their events");
    assert_eq!(drop_all(&store, &["evt_1"]).await, 1);
    let store = store.restart(backend).await;
    assert_eq!(store.feed().await, ["evt_2"]);
    assert_eq!(store.all().await.len(), 1);
}

async fn a_commit_that_is_repeated_makes_no_third_delivery(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1"], 10)).await;
    store.attempt("evt_1", 20, Verdict::Delivered).await;
    assert_eq!(resend(&store, store.tokens(&["evt_1"]).await, None, 300).await, 1);
    store.commit(calls(&["evt_1"], 10)).await;
    assert_eq!(repeats(&store, "evt_1").await.len(), 2);
}

async fn many_are_sent_again_in_their_order(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let ids: Vec<_> = (0..120).map(|number| format!("evt_{number:03}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    store.commit(calls(&ids, 10)).await;
    let tokens: Vec<_> = store.unfinished("crm").await.iter().map(|pending| pending.token).collect();
    store.settle(outcomes(tokens.iter().map(|it| outcome(*it, 1, 20, Verdict::Delivered)).collect())).await;
    let backwards = tokens.iter().rev().copied().collect();
    assert_eq!(resend(&store, backwards, None, 300).await, 120);
    assert_eq!(store.feed().await, ids);
    assert_eq!(store.restart(backend).await.feed().await, ids);
}
