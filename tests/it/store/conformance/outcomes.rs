//! Settlements: what became of attempts, memos, ledgers and pauses.

use std::collections::BTreeMap;

use callwatch::store::{ATTEMPTS_KEPT, PauseChange};

use super::*;

for_every_store!(
    a_retry_is_due_when_it_was_told,
    the_dead_keep_their_reason,
    a_delivery_is_finished_when_its_last_attempt_was_over,
    only_the_outcome_of_the_next_attempt_counts,
    what_is_finished_or_held_stays_as_it_is,
    attempts_are_kept_but_not_without_end,
    a_lazy_settlement_is_seen_at_once,
    a_settlement_touches_no_other_destination,
    ledgers_stay_until_they_are_replaced_or_forgotten,
    memos_stay_until_they_are_replaced_or_forgotten,
    a_memo_that_is_too_long_is_a_mistake,
    the_owner_begins_and_ends_a_pause,
    of_two_pauses_the_one_that_lasts_longer_stays,
    an_empty_settlement_changes_nothing,
);

async fn a_retry_is_due_when_it_was_told(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1"], 10)).await;
    store.attempt("evt_1", 20, Verdict::Retry(at(70))).await;
    let found = store.unfinished("crm").await.remove(0);
    assert_eq!((found.standing, found.attempts, found.created), (due_by(20, 70), 1, at(10)));
    assert_eq!(store.state("evt_1").await, waits_until(20, 70));
    assert_eq!(store.record("evt_1").await.log, [attempt(20)]);
}

async fn the_dead_keep_their_reason(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(events(&[("evt_1", "a", 1), ("evt_2", "a", 2)], 10)).await;
    store.attempt("evt_1", 20, Verdict::Dead("410 Gone".to_owned())).await;
    assert_eq!(store.feed().await, ["evt_2"]);
    let expected = DeliveryState::Dead { at: at(20), reason: "410 Gone".to_owned() };
    assert_eq!(store.state("evt_1").await, Some(expected));
}

async fn a_delivery_is_finished_when_its_last_attempt_was_over(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1", "evt_2"], 10)).await;
    let last = Attempt { took_ms: 30, response: "thank you".to_owned(), ..attempt(20) };
    for (event, verdict) in [("evt_1", Verdict::Delivered), ("evt_2", dead())] {
        let token = store.token(event).await;
        let outcome = Outcome { token, number: 1, attempt: last.clone(), verdict };
        store.settle(Settlement { outcomes: vec![outcome], ..settlement(99) }).await;
        let record = store.record(event).await;
        assert_eq!((record.finished(), &record.log[..]), (Some(at(50)), &[last.clone()][..]));
    }
}

async fn only_the_outcome_of_the_next_attempt_counts(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1", "evt_2"], 10)).await;
    let tokens = store.tokens(&["evt_1", "evt_2"]).await;
    let first = outcomes(vec![outcome(tokens[0], 1, 20, Verdict::Retry(at(70)))]);
    store.settle(first.clone()).await;
    let before = store.dump().await;
    // The same again, one too many, none.
    store.settle(first.clone()).await;
    store.settle(outcomes(vec![outcome(tokens[0], 3, 30, Verdict::Delivered)])).await;
    store.settle(outcomes(vec![outcome(tokens[0], 0, 30, Verdict::Delivered)])).await;
    assert_eq!(store.dump().await, before);
    // Those of one settlement are carried out one after the other, and a wrong one keeps nothing else back.
    store
        .settle(outcomes(vec![
            outcome(tokens[0], 1, 80, Verdict::Delivered),
            outcome(tokens[0], 2, 80, Verdict::Retry(at(90))),
            outcome(tokens[0], 3, 90, Verdict::Delivered),
            outcome(tokens[0], 4, 99, dead()),
            outcome(tokens[1], 1, 80, Verdict::Delivered),
        ]))
        .await;
    let record = store.record("evt_1").await;
    assert_eq!((record.state, record.attempts), (DeliveryState::Delivered { at: at(90) }, 3));
    assert_eq!(store.state("evt_2").await, Some(DeliveryState::Delivered { at: at(80) }));
    let before = store.dump().await;
    store.settle(first).await;
    assert_eq!(store.dump().await, before);
}

async fn what_is_finished_or_held_stays_as_it_is(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1", "evt_2", "evt_4"], 10)).await;
    store.commit(held(calls(&["evt_3"], 10), "quiet", 5)).await;
    store.attempt("evt_1", 20, Verdict::Delivered).await;
    store.attempt("evt_2", 20, dead()).await;
    let dropped = store.token("evt_4").await;
    store.act(callwatch::store::Action::Drop { tokens: vec![dropped] }).await.unwrap();
    let before = store.dump().await;
    let tokens = store.tokens(&["evt_1", "evt_2", "evt_3"]).await;
    for verdict in [Verdict::Delivered, Verdict::Retry(at(50)), dead()] {
        let late = tokens.iter().chain([&dropped]);
        let late = late.flat_map(|token| [1, 2].map(|number| outcome(*token, number, 40, verdict.clone())));
        store.settle(outcomes(late.collect())).await;
        assert_eq!(store.dump().await, before, "{verdict:?}");
    }
}

async fn attempts_are_kept_but_not_without_end(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1"], 10)).await;
    let token = store.token("evt_1").await;
    for number in 1..=ATTEMPTS_KEPT as u32 + 5 {
        let mut outcome = outcome(token, number, number.into(), Verdict::Retry(at(number.into())));
        // The worst a response can be: each character is six in JSON.
        outcome.attempt.response = "\u{1}".repeat(2048);
        store.settle(outcomes(vec![outcome])).await;
    }
    let store = store.restart(backend).await;
    let found = store.record("evt_1").await;
    assert_eq!((found.attempts as usize, found.log.len()), (ATTEMPTS_KEPT + 5, ATTEMPTS_KEPT));
    assert_eq!(
        found.log.iter().map(|attempt| attempt.at.as_millis()).collect::<Vec<_>>(),
        Vec::from_iter(6..=25)
    );
    assert!(found.log.iter().all(|attempt| attempt.response.len() == 2048));
}

async fn a_lazy_settlement_is_seen_at_once(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1", "evt_2"], 10)).await;
    let tokens = store.tokens(&["evt_1", "evt_2"]).await;
    let delivered = tokens.iter().map(|token| outcome(*token, 1, 20, Verdict::Delivered)).collect();
    store.settle(Settlement { lazy: true, ..outcomes(delivered) }).await;
    assert_eq!(store.tally().await, Tally { delivered: 2, ..Tally::default() });
    let store = store.restart(backend).await;
    assert_eq!(store.tally().await, Tally { delivered: 2, ..Tally::default() }, "a good end loses nothing");
}

async fn a_settlement_touches_no_other_destination(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(new_event(event("evt_1", "a"), vec![delivery("crm", 1, 10), delivery("mail", 1, 10)])).await;
    let to_mail = new_event(event("evt_2", "b"), vec![delivery("mail", 1, 10)]);
    store.commit(held(to_mail, "quiet", 5)).await;
    let claim = store.own(destination("mail")).await;
    let ledgers = vec![(batch("quiet"), Some(json!("mail")))];
    let memos = vec![(call("a"), Some(json!("mail")))];
    store.store.settle(&claim, Settlement { ledgers, memos, ..settlement(10) }).await.unwrap();
    let due = store.find("evt_1", "mail").await.unwrap().token;
    let waits = store.find("evt_2", "mail").await.unwrap().token;
    let before = store.dump().await;
    store
        .settle(Settlement {
            outcomes: vec![outcome(due, 1, 20, Verdict::Delivered)],
            holds: vec![(due, batch("quiet")), (waits, batch("quiet/alone"))],
            releases: vec![waits],
            forgets: vec![waits],
            ledgers: vec![(batch("quiet"), None)],
            memos: vec![(call("a"), None)],
            pause: Some(PauseChange::End),
            ..settlement(20)
        })
        .await;
    assert_eq!(store.dump().await, before);
}

async fn ledgers_stay_until_they_are_replaced_or_forgotten(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let mut expected = BTreeMap::new();
    let (digest, group) = ("digest/0 8 * * * Europe/Berlin", "group/booked/00000000000000ff");
    let large = json!("x".repeat(100_000));
    let steps = [
        (digest, Some(json!({ "since": 5 }))),
        (group, Some(Value::Null)),
        (digest, Some(large)),
        ("quiet", None),
        ("quiet", Some(json!(1))),
        ("quiet/alone", Some(json!(1))),
        (digest, Some(json!(2))),
        (group, None),
    ];
    for (key, ledger) in steps {
        store.settle(Settlement { ledgers: vec![(batch(key), ledger.clone())], ..settlement(10) }).await;
        match ledger {
            Some(ledger) => expected.insert(batch(key), ledger),
            None => expected.remove(&batch(key)),
        };
        assert_eq!(store.ledgers(&crm()).await.unwrap(), expected);
        assert_eq!(store.ledgers(&name("cr")).await.unwrap(), BTreeMap::new());
    }
    let store = store.restart(backend).await;
    assert_eq!(store.ledgers(&crm()).await.unwrap(), expected);
}

async fn memos_stay_until_they_are_replaced_or_forgotten(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let lanes = [
        call("a"),
        Subject::Call { source: name("annex"), call: "a".into() },
        Subject::Source(clinic()),
        Subject::Destination(clinic()),
        Subject::Batch(batch("quiet")),
        Subject::Config,
    ];
    let memo = |number: usize| Some(json!({ "ts": number, "text": "x".repeat(4_000) }));
    assert_eq!(store.memos(&crm(), &lanes).await.unwrap(), vec![None; lanes.len()]);
    let memos = lanes.iter().enumerate().map(|(number, lane)| (lane.clone(), memo(number))).collect();
    store.settle(Settlement { memos, ..settlement(10) }).await;
    let mut expected: Vec<_> = (0..lanes.len()).map(memo).collect();
    assert_eq!(store.memos(&crm(), &lanes).await.unwrap(), expected);
    assert_eq!(store.memos(&name("cr"), &lanes).await.unwrap(), vec![None; lanes.len()]);
    let memos = vec![(lanes[0].clone(), None), (lanes[2].clone(), Some(Value::Null)), (call("none"), None)];
    store.settle(Settlement { memos, ..settlement(20) }).await;
    (expected[0], expected[2]) = (None, Some(Value::Null));
    let store = store.restart(backend).await;
    assert_eq!(store.memos(&crm(), &lanes).await.unwrap(), expected);
    let asked = [lanes[5].clone(), lanes[1].clone(), lanes[5].clone()];
    assert_eq!(store.memos(&crm(), &asked).await.unwrap(), [memo(5), memo(1), memo(5)]);
}

async fn a_memo_that_is_too_long_is_a_mistake(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_1"], 10)).await;
    let before = store.dump().await;
    let settlement = Settlement {
        outcomes: vec![outcome(store.token("evt_1").await, 1, 20, Verdict::Delivered)],
        memos: vec![(call("a"), Some(json!(1))), (call("b"), Some(json!("x".repeat(5_000))))],
        ..settlement(20)
    };
    let refused = store.store.settle(&store.own(destination("crm")).await, settlement).await;
    assert!(matches!(refused, Err(StoreError::Mistake(_))), "{refused:?}");
    assert_eq!(store.dump().await, before);
    assert_eq!(store.memos(&crm(), &[call("a")]).await.unwrap(), [None]);
}

fn pause(until: Option<i64>, config: Option<&str>) -> Pause {
    Pause {
        since: at(5),
        reason: "410 Gone".to_owned(),
        until: until.map(at),
        config: config.map(str::to_owned),
    }
}

async fn the_owner_begins_and_ends_a_pause(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let change = async |store: &Process, change| {
        store.settle(Settlement { pause: Some(change), ..settlement(10) }).await
    };
    change(&store, PauseChange::End).await;
    assert_eq!(store.destinations().await.unwrap(), BTreeMap::new());
    change(&store, PauseChange::Begin(pause(Some(50), Some("config")))).await;
    let store = store.restart(backend).await;
    assert_eq!(store.paused().await, Some(pause(Some(50), Some("config"))), "without a delivery, too");
    change(&store, PauseChange::End).await;
    assert_eq!(store.destinations().await.unwrap(), BTreeMap::new());
}

async fn of_two_pauses_the_one_that_lasts_longer_stays(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let by_increasing_length = [
        pause(Some(150), Some("config")),
        pause(Some(160), Some("config")),
        pause(None, Some("config")),
        pause(None, None),
    ];
    for (number, longest) in by_increasing_length.iter().enumerate() {
        for other in [longest].into_iter().chain(&by_increasing_length[..number]) {
            store
                .settle(Settlement { pause: Some(PauseChange::Begin(other.clone())), ..settlement(10) })
                .await;
            assert_eq!(store.paused().await.as_ref(), Some(longest));
        }
    }
}

async fn an_empty_settlement_changes_nothing(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(held(calls(&["evt_1"], 10), "quiet", 5)).await;
    let before = store.dump().await;
    store.settle(settlement(50)).await;
    assert_eq!(store.dump().await, before);
}
