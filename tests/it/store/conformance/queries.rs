//! Queries: deliveries by a filter, newest first, page by page.

use callwatch::store::{Action, Cursor, DeliveryStateKind, Page};

use super::*;

for_every_store!(
    deliveries_are_listed_newest_first_by_every_filter,
    an_answer_with_nothing_in_it_is_the_last_page,
    pages_stay_true_while_things_change,
    a_cursor_survives_printing_and_a_restart,
    a_cursor_survives_its_delivery,
    destinations_are_counted_state_by_state,
    many_at_once,
);

/// Deliveries of every kind: calls of two sources that share ids, two rules, three destinations, all states.
async fn all_kinds(store: &Process) {
    let subjects = [
        call("a"),
        call("b"),
        Subject::Call { source: name("annex"), call: "a".into() },
        Subject::Source(clinic()),
        Subject::Destination(crm()),
        Subject::Config,
    ];
    for number in 0..36 {
        let mut event = event(&format!("evt_{:02}", 35 - number), "");
        event.subject = subjects[number % subjects.len()].clone();
        event.rule = name(["call-completed", "call", "booked"][number % 4 % 3]);
        event.also = ["vip", "booked"].into_iter().take(number % 5 % 3).map(name).collect();
        let all = ["crm", "cr", "mail"].map(|name| delivery(name, 1, 10));
        store.commit(new_event(event, all[..=number % 3].to_vec())).await;
    }
    let waits = summary("evt_sum", "quiet");
    store.commit(held(new_event(waits, vec![delivery("crm", 1, 10)]), "quiet", 5)).await;
    for (event, verdict) in [
        ("evt_01", Verdict::Delivered),
        ("evt_02", dead()),
        ("evt_05", Verdict::Delivered),
        ("evt_08", dead()),
        ("evt_09", Verdict::Retry(at(90))),
    ] {
        store.attempt(event, 20, verdict).await;
    }
    let holds =
        vec![(store.token("evt_10").await, batch("quiet")), (store.token("evt_11").await, batch("quiet"))];
    let merge = Merge { tokens: vec![holds[0].0], event: summary("sum_1", "quiet"), sequence: 1 };
    store.settle(Settlement { holds, merge: Some(merge), ..settlement(30) }).await;
}

/// Filters with each part alone and with some together.
fn filters() -> Vec<DeliveryFilter> {
    use DeliveryStateKind::{Dead, Delivered, Held, Merged, Pending};
    let any = DeliveryFilter::default;
    let mut all = vec![any()];
    for event in ["evt_02", "evt_10", "evt_sum", "evt_none", "evt", ""] {
        all.push(DeliveryFilter { event: Some(event_id(event)), ..any() });
    }
    for destination in ["crm", "cr", "mail", "c", "nobody"] {
        all.push(DeliveryFilter { destination: Some(name(destination)), ..any() });
    }
    for rule in ["call-completed", "call", "booked", "vip", "nobody"] {
        all.push(DeliveryFilter { rule: Some(name(rule)), ..any() });
    }
    for source in ["clinic", "annex", "crm", "nobody"] {
        all.push(DeliveryFilter { source: Some(name(source)), ..any() });
    }
    for call in ["a", "b", "nobody", ""] {
        all.push(DeliveryFilter { call: Some(call.into()), ..any() });
    }
    for state in [Pending, Held, Delivered, Merged, Dead] {
        all.push(DeliveryFilter { state: Some(state), ..any() });
        all.push(DeliveryFilter { state: Some(state), destination: Some(crm()), ..any() });
        all.push(DeliveryFilter { state: Some(state), destination: Some(name("mail")), ..any() });
        all.push(DeliveryFilter {
            state: Some(state),
            rule: Some(name("call")),
            source: Some(clinic()),
            ..any()
        });
    }
    all.push(DeliveryFilter { event: Some(event_id("evt_02")), destination: Some(crm()), ..any() });
    all.push(DeliveryFilter { event: Some(event_id("evt_02")), state: Some(Delivered), ..any() });
    all.push(DeliveryFilter { call: Some("a".into()), source: Some(name("annex")), ..any() });
    all.push(DeliveryFilter {
        event: Some(event_id("evt_09")),
        destination: Some(crm()),
        rule: Some(name("booked")),
        source: Some(name("annex")),
        call: Some("a".into()),
        state: Some(Pending),
        error: None,
    });
    for error in ["422", "OK", "such text"] {
        all.push(DeliveryFilter { error: Some(error.to_owned()), ..any() });
        all.push(DeliveryFilter { error: Some(error.to_owned()), state: Some(Dead), ..any() });
    }
    all
}

async fn deliveries_are_listed_newest_first_by_every_filter(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    all_kinds(&store).await;
    let all = store.all().await;
    assert_eq!(all.len(), 12 * (1 + 2 + 3) + 2);
    assert!(all.iter().any(|record| record.also == [name("vip"), name("booked")]));
    for (filter, limit) in filters().iter().flat_map(|filter| [1, 7, 24, 1_000].map(|limit| (filter, limit)))
    {
        let expected: Vec<_> = all.iter().filter(|record| filter.matches(record)).cloned().collect();
        assert_eq!(store.pages(filter, limit).await, expected, "{filter:?}, {limit} at a time");
    }
    let store = store.restart(backend).await;
    for filter in filters() {
        let expected: Vec<_> = all.iter().filter(|record| filter.matches(record)).cloned().collect();
        assert_eq!(store.pages(&filter, 10).await, expected, "{filter:?} after a restart");
    }
}

async fn an_answer_with_nothing_in_it_is_the_last_page(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let query = Query { limit: 10, ..Query::default() };
    let Page { items, next } = store.query(&query).await.unwrap();
    assert!(items.is_empty() && next.is_none());
    store.commit(calls(&["evt_1", "evt_2"], 10)).await;
    let page = store.query(&Query { limit: 2, ..Query::default() }).await.unwrap();
    assert_eq!((ids(&page.items), page.next), (vec!["evt_2", "evt_1"], None), "a full page may be the last");
}

async fn page(
    store: &Process,
    filter: &DeliveryFilter,
    after: Option<Cursor>,
    limit: usize,
) -> (Vec<String>, Option<Cursor>) {
    let Page { items, next } = store.query(&Query { filter: filter.clone(), after, limit }).await.unwrap();
    (ids(&items).into_iter().map(str::to_owned).collect(), next)
}

async fn pages_stay_true_while_things_change(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let names: Vec<_> = (0..9).map(|number| format!("evt_{number}")).collect();
    store.commit(calls(&names.iter().map(String::as_str).collect::<Vec<_>>(), 10)).await;
    let any = DeliveryFilter::default();
    let (first, next) = page(&store, &any, None, 3).await;
    assert_eq!(first, ["evt_8", "evt_7", "evt_6"]);
    // Newer ones come, one that was seen and one that was not are dropped, others change.
    store.commit(calls(&["evt_a", "evt_b"], 10)).await;
    store.act(Action::Drop { tokens: store.tokens(&["evt_7", "evt_4"]).await }).await.unwrap();
    store.attempt("evt_3", 20, dead()).await;
    store.act(Action::Retry { tokens: store.tokens(&["evt_2", "evt_8"]).await, at: at(60) }).await.unwrap();
    let (second, next) = page(&store, &any, next, 3).await;
    assert_eq!(second, ["evt_5", "evt_3", "evt_2"]);
    let (third, next) = page(&store, &any, next, 3).await;
    assert_eq!((third, next), (vec!["evt_1".to_owned(), "evt_0".to_owned()], None));
}

async fn a_cursor_survives_printing_and_a_restart(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    all_kinds(&store).await;
    let filter = DeliveryFilter { rule: Some(name("call")), ..DeliveryFilter::default() };
    let expected = store.pages(&filter, 1_000).await;
    let (mut found, mut next) = page(&store, &filter, None, 4).await;
    let mut store = store;
    while let Some(cursor) = next {
        let printed = cursor.to_string();
        assert!(
            printed.bytes().all(|byte| byte.is_ascii_alphanumeric()),
            "it can stand in an address: {printed}"
        );
        store = store.restart(backend).await;
        let more;
        (more, next) = page(&store, &filter, Some(printed.parse().unwrap()), 4).await;
        found.extend(more);
    }
    assert_eq!(found, ids(&expected));
    assert!("".parse::<Cursor>().is_err() && "no cursor".parse::<Cursor>().is_err());
}

async fn a_cursor_survives_its_delivery(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    store.commit(calls(&["evt_0", "evt_1", "evt_2", "evt_3"], 10)).await;
    let dead = DeliveryFilter { state: Some(DeliveryStateKind::Dead), ..DeliveryFilter::default() };
    for event in ["evt_0", "evt_1", "evt_2", "evt_3"] {
        store.attempt(event, 20, super::dead()).await;
    }
    // As people work through a list: each page is retried or dropped before the next one is read.
    let (first, next) = page(&store, &dead, None, 2).await;
    assert_eq!(first, ["evt_3", "evt_2"]);
    store.act(Action::Drop { tokens: store.tokens(&["evt_2"]).await }).await.unwrap();
    store.act(Action::Retry { tokens: store.tokens(&["evt_3"]).await, at: at(60) }).await.unwrap();
    let (second, next) = page(&store, &dead, next, 2).await;
    assert_eq!((second, next), (vec!["evt_1".to_owned(), "evt_0".to_owned()], None));
}

async fn destinations_are_counted_state_by_state(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    assert!(store.destinations().await.unwrap().is_empty());
    all_kinds(&store).await;
    let expected = Tally { pending: 31, held: 2, merged: 1, delivered: 2, dead: 2 };
    assert_eq!(store.tally().await, expected);
    // The listing agrees with the counts, for each destination and state.
    let before = store.dump().await;
    let store = store.restart(backend).await;
    assert_eq!(store.tally().await, expected);
    assert_eq!(store.dump().await, before);
}

async fn many_at_once(backend: &dyn Backend) {
    let store = Process::of(backend).await;
    let (clinic, crm) = (store.own(source("clinic")).await, store.own(destination("crm")).await);
    let one = async |number: usize| {
        let id = format!("evt_{number:04}");
        store.store.commit(&clinic, calls(&[&id], 10)).await.unwrap();
        // A write that was acknowledged is seen.
        let token = store.token(&id).await;
        store.store.settle(&crm, outcomes(vec![outcome(token, 1, 20, Verdict::Delivered)])).await.unwrap();
        assert_eq!(store.state(&id).await, Some(DeliveryState::Delivered { at: at(20) }));
    };
    let mut all: Vec<_> = (0..300).map(|number| Box::pin(one(number))).collect();
    std::future::poll_fn(|context| {
        all.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    assert_eq!(store.tally().await, Tally { delivered: 300, ..Tally::default() });
    assert!(store.feed().await.is_empty());
}
