use std::time::Duration;

use serde_json::{json, value::to_raw_value};

use super::*;
use crate::{
    batch::BatchKey,
    call::{Call, CallId},
    change::Changes,
    config::{LoadOptions, Secrets},
    event::{Event, Subject},
    kind::{Kind, Kinds},
    snapshot::Snapshot,
    store::{
        Attempt, Commit, DeliveryStateKind, Duty, Hold, MemoryStore, Merge, NewDelivery, NewEvent, Outcome,
        Settlement, Verdict,
    },
    time::Timestamp,
};

const CONFIG: &str = r#"
    [sources.clinic]
    api_key = { env = "CALLWATCH_TEST_NOT_SET" }

    [sources.annex]
    api_key = { env = "CALLWATCH_TEST_NOT_SET" }

    [destinations.crm]
    type = "webhook"
    url = "https://crm.example.com/hooks/calls"
    secret = { env = "CALLWATCH_TEST_NOT_SET" }

    [destinations.frontdesk]
    type = "slack"
    webhook_url = { env = "CALLWATCH_TEST_NOT_SET" }

    [rules.call-completed]
    on = ["ended"]
    to = ["crm"]

    [rules.booked]
    when = 'call.callAnalysis.appointmentBooked'
    to = ["frontdesk"]
"#;

/// The time of all tests.
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn crm() -> Name {
    Name::from("crm")
}

fn ago(seconds: u64) -> Timestamp {
    NOW.before(Duration::from_secs(seconds))
}

/// A store, and the operations on it at [`NOW`].
struct Fixture {
    store: Arc<MemoryStore>,
    ops: Ops,
}

impl Fixture {
    async fn new() -> Self {
        let options = LoadOptions { secrets: Secrets::Ignored, ..LoadOptions::default() };
        let config = Config::parse(CONFIG, "config.toml".as_ref(), options).unwrap().config;
        let store = Arc::new(MemoryStore::new());
        let ops = Ops::new(Arc::clone(&store) as Arc<dyn Store>, Arc::new(config), Clock::starting_at(NOW));
        Self { store, ops }
    }

    async fn commit(&self, commit: Commit) {
        let claim = self.store.claim(&Duty::Source("clinic".into())).await.unwrap().unwrap();
        self.store.commit(&claim, commit).await.unwrap();
    }

    async fn settle(&self, settlement: Settlement) {
        let claim = self.store.claim(&Duty::Destination(crm())).await.unwrap().unwrap();
        self.store.settle(&claim, settlement).await.unwrap();
    }

    async fn token(&self, event: &str) -> crate::store::Token {
        let filter = Filter::event(event.into(), Some(crm()));
        let found = Scan::new(&*self.store, &filter, None, 1, NOW).next().await.unwrap();
        found.expect("the delivery is there").token
    }

    /// Settles the first attempt of the event's delivery to `crm`.
    async fn attempt(&self, event: &str, result: &str, verdict: Verdict) {
        let response = "no room for +33612345678".to_owned();
        let attempt = Attempt { at: ago(60), took_ms: 120, result: result.to_owned(), response };
        let outcome = Outcome { token: self.token(event).await, number: 1, attempt, verdict };
        self.settle(Settlement { outcomes: vec![outcome], ..Settlement::new(NOW) }).await;
    }

    async fn listed(&self, filter: &Filter) -> Vec<String> {
        let Listing { items, next } = self.ops.list(filter, None, 10_000).await.unwrap();
        assert!(next.is_none());
        assert_eq!(self.ops.count(filter).await.unwrap(), items.len() as u64, "{filter:?}");
        items.iter().map(|delivery| delivery.event.to_string()).collect()
    }
}

/// An event about a call of its own, made so many seconds ago.
fn event(id: &str, to: &[&str], seconds: u64) -> Commit {
    let call = CallId::from(format!("call-of-{id}"));
    let event = Event {
        id: id.into(),
        subject: Subject::Call { source: "clinic".into(), call },
        rule: "call-completed".into(),
        also: vec![],
        kinds: Kind::Ended.into(),
        changes: Changes::default(),
        at: ago(seconds),
        record: to_raw_value(&json!({ "callerNumber": "+33612345678" })).unwrap().into(),
    };
    let delivery = |to: &&str| NewDelivery {
        destination: Name::from(*to),
        sequence: 1,
        created: ago(seconds),
        hold: None,
    };
    Commit {
        events: vec![NewEvent { event, deliveries: to.iter().map(delivery).collect() }],
        ..Commit::default()
    }
}

/// A delivery in every state: `evt_a` has arrived, `evt_d` is dead, `evt_p` waits for its next try, `evt_h` is held,
/// `evt_m` was told as part of `evt_s`, and `evt_o` is for a destination that is not in the config.
async fn all_states() -> Fixture {
    let fixture = Fixture::new().await;
    for (id, to, hours) in
        [("evt_a", "crm", 9), ("evt_d", "crm", 8), ("evt_p", "crm", 7), ("evt_o", "old", 6)]
    {
        fixture.commit(event(id, &[to], hours * 3600)).await;
    }
    for id in ["evt_h", "evt_m"] {
        let mut commit = event(id, &["crm"], 5 * 3600);
        commit.events[0].deliveries[0].hold = Some(Hold { batch: BatchKey::Quiet, happened: ago(0) });
        commit.events[0].event.kinds = Kinds::from_iter([Kind::Ended, Kind::Analyzed]);
        commit.events[0].event.rule = "booked".into();
        fixture.commit(commit).await;
    }
    fixture.attempt("evt_a", "200 OK", Verdict::Delivered).await;
    fixture
        .attempt("evt_d", "404 no_service", Verdict::Dead("gave up: 404 No_Service +33612345678".to_owned()))
        .await;
    fixture
        .attempt("evt_p", "503 Service Unavailable", Verdict::Retry(NOW.after(Duration::from_secs(90))))
        .await;
    let mut summary = event("evt_s", &[], 0).events.remove(0).event;
    summary.subject = Subject::Batch(BatchKey::Quiet);
    let merge = Merge { tokens: vec![fixture.token("evt_m").await], event: summary, sequence: 1 };
    let ledgers = vec![(BatchKey::Quiet, Some(json!({ "since": ago(100) })))];
    fixture.settle(Settlement { merge: Some(merge), ledgers, ..Settlement::new(NOW) }).await;
    fixture
}

const ALL: [&str; 7] = ["evt_s", "evt_m", "evt_h", "evt_o", "evt_p", "evt_d", "evt_a"];

#[tokio::test(start_paused = true)]
async fn a_list_is_newest_first_and_goes_on_where_the_last_page_ended() {
    let fixture = all_states().await;
    for limit in 1..9 {
        let (mut found, mut after) = (vec![], None);
        loop {
            let page = fixture.ops.list(&Filter::default(), after, limit).await.unwrap();
            assert!(page.items.len() == limit || page.next.is_none());
            found.extend(page.items.into_iter().map(|delivery| delivery.event.to_string()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, ALL, "{limit} at a time");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_is_filtered_by_every_part() {
    let fixture = all_states().await;
    let any = Filter::default;
    let cases = [
        (any(), &ALL[..]),
        (Filter { destination: Some("old".into()), ..any() }, &["evt_o"]),
        (Filter { rule: Some("booked".into()), ..any() }, &["evt_m", "evt_h"]),
        (Filter { source: Some("annex".into()), ..any() }, &[]),
        (Filter { call: Some("call-of-evt_d".into()), ..any() }, &["evt_d"]),
        (Filter { event: Some("evt_d".into()), ..any() }, &["evt_d"]),
        (Filter { state: Some(StateFilter::Dead), ..any() }, &["evt_d"]),
        (Filter { state: Some(StateFilter::Merged), ..any() }, &["evt_m"]),
        (Filter { state: Some(StateFilter::Delivered), ..any() }, &["evt_a"]),
        (
            Filter { state: Some(StateFilter::Undelivered), ..any() },
            &["evt_s", "evt_h", "evt_o", "evt_p", "evt_d"],
        ),
        (Filter { kind: Some(Kind::Analyzed), ..any() }, &["evt_m", "evt_h"]),
        (Filter { kind: Some(Kind::Deleted), ..any() }, &[]),
        (Filter { error: Some("no_service".into()), ..any() }, &["evt_d"]),
        (Filter { error: Some("service".into()), ..any() }, &["evt_p", "evt_d"]),
        (Filter { older_than: Some(Duration::from_secs(7 * 3600 + 1800)), ..any() }, &["evt_d", "evt_a"]),
        (
            Filter { newer_than: Some(Duration::from_secs(5 * 3600 + 1800)), ..any() },
            &["evt_s", "evt_m", "evt_h"],
        ),
        (
            Filter {
                destination: Some(crm()),
                state: Some(StateFilter::Undelivered),
                error: Some("50".into()),
                ..any()
            },
            &["evt_p"],
        ),
    ];
    for (filter, expected) in cases {
        assert_eq!(fixture.listed(&filter).await, expected, "{filter:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_of_several_states_is_in_order_and_goes_on() {
    let fixture = Fixture::new().await;
    let ids: Vec<_> = (0..40).map(|number| format!("evt_{number:02}")).collect();
    for (number, id) in ids.iter().enumerate() {
        fixture.commit(event(id, &["crm"], 60)).await;
        match number % 3 {
            0 => fixture.attempt(id, "no", Verdict::Dead("no".to_owned())).await,
            1 => fixture.attempt(id, "200 OK", Verdict::Delivered).await,
            _ => {}
        }
    }
    let filter = Filter { state: Some(StateFilter::Undelivered), ..Filter::default() };
    let (mut found, mut after) = (vec![], None);
    loop {
        let page = fixture.ops.list(&filter, after, 4).await.unwrap();
        found.extend(page.items.into_iter().map(|delivery| delivery.event.to_string()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let expected: Vec<_> =
        ids.iter().enumerate().rev().filter(|(number, _)| number % 3 != 1).map(|(_, id)| id).collect();
    assert_eq!(found.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_filter_is_flat_and_refuses_what_it_does_not_know() {
    let text = json!({
        "destination": "crm", "state": "undelivered", "kind": "ended", "error": "404", "older_than": "1h 30m",
    });
    let filter: Filter = serde_json::from_value(text.clone()).unwrap();
    assert_eq!((filter.kind, filter.older_than), (Some(Kind::Ended), Some(Duration::from_secs(5400))));
    assert_eq!(serde_json::to_value(&filter).unwrap(), text);
    assert_eq!(serde_json::from_value::<Filter>(json!({})).unwrap(), Filter::default());
    for wrong in [json!({ "destinations": "crm" }), json!({ "state": "lost" }), json!({ "older_than": "1" })]
    {
        assert!(serde_json::from_value::<Filter>(wrong.clone()).is_err(), "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_is_shown_with_what_keeps_it_back_and_no_phone_number() {
    let fixture = all_states().await;
    let shown =
        async |event: &str, answers| fixture.ops.show(&event.into(), None, answers).await.unwrap().remove(0);
    assert_eq!(shown("evt_h", false).await.kept_back, Some(KeptBack::InBatch(BatchKey::Quiet)));
    assert_eq!(shown("evt_o", false).await.kept_back, Some(KeptBack::NotInConfig));
    assert_eq!(shown("evt_p", false).await.kept_back, None);
    assert_eq!(shown("evt_m", false).await.told_by, Some("evt_s".into()));
    assert_eq!(shown("evt_s", false).await.stands_for, Some(BatchKey::Quiet));
    let dead = shown("evt_d", true).await;
    assert_eq!(dead.reason.as_deref(), Some("gave up: 404 No_Service +3361•••5678"));
    assert_eq!(dead.log[0].answer.as_deref(), Some("no room for +3361•••5678"));
    let object = serde_json::to_value(shown("evt_d", false).await).unwrap();
    assert_eq!(
        (&object["state"], &object["held"], &object["log"][0]["answer"]),
        (&json!("dead"), &json!(null), &json!(null))
    );
    assert_eq!(object["finished"], json!(ago(60).after(Duration::from_millis(120)).to_string()));
    for (event, destination) in [("evt_none", None), ("evt_d", Some(Name::from("frontdesk")))] {
        let none = fixture.ops.show(&event.into(), destination.as_ref(), false).await;
        assert!(matches!(none, Err(OpsError::NoDelivery(_))), "{none:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_counts_what_the_action_then_does() {
    let by_event = |event: &str| Filter::event(event.into(), None);
    let to_crm = || Filter { destination: Some(crm()), ..Filter::default() };
    let none = Changed::default();
    let one = Changed { count: 1, ..Changed::default() };
    let cases = [
        (by_event("evt_a"), none.clone(), one.clone()),
        (by_event("evt_d"), one.clone(), one.clone()),
        (by_event("evt_p"), one.clone(), one.clone()),
        (by_event("evt_h"), Changed { held: 1, ..one.clone() }, Changed { held: 1, ..one.clone() }),
        (
            by_event("evt_m"),
            Changed { told_by: Some("evt_s".into()), ..none },
            Changed { told_by: Some("evt_s".into()), ..one.clone() },
        ),
        // Without a state, the dead are retried, and what has not arrived is dropped.
        (to_crm(), one.clone(), Changed { count: 4, held: 1, ..Changed::default() }),
        (
            Filter { state: Some(StateFilter::Held), ..to_crm() },
            Changed { held: 1, ..one.clone() },
            Changed { held: 1, ..one.clone() },
        ),
        (Filter { error: Some("404".into()), ..to_crm() }, one.clone(), one),
    ];
    for (filter, retried, dropped) in cases {
        let fixture = all_states().await;
        let before = format!("{:?}", fixture.ops.list(&Filter::default(), None, 100).await.unwrap());
        assert_eq!(fixture.ops.retry(&filter, BulkMode::DryRun).await.unwrap(), retried, "{filter:?}");
        assert_eq!(fixture.ops.drop(&filter, BulkMode::DryRun).await.unwrap(), dropped, "{filter:?}");
        assert_eq!(format!("{:?}", fixture.ops.list(&Filter::default(), None, 100).await.unwrap()), before);
        assert_eq!(fixture.ops.retry(&filter, BulkMode::Act).await.unwrap(), retried, "{filter:?}");
        let fixture = all_states().await;
        assert_eq!(fixture.ops.drop(&filter, BulkMode::Act).await.unwrap(), dropped, "{filter:?}");
        assert_eq!(fixture.listed(&Filter::default()).await.len(), ALL.len() - dropped.count);
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_arrived_is_sent_again_and_what_waits_already_is_not() {
    let fixture = all_states().await;
    let resend = async |filter: &Filter, to: Option<&str>, mode| {
        fixture.ops.resend(filter, to.map(Name::from).as_ref(), mode).await
    };
    let by_event = |event: &str| Filter::event(event.into(), None);
    let to_crm = || Filter { destination: Some(crm()), ..Filter::default() };
    let one = Changed { count: 1, ..Changed::default() };
    for (event, expected) in [
        ("evt_d", Changed::default()),
        ("evt_h", Changed { held: 1, ..Changed::default() }),
        ("evt_m", Changed { told_by: Some("evt_s".into()), ..Changed::default() }),
        ("evt_o", Changed::default()),
    ] {
        assert_eq!(resend(&by_event(event), None, BulkMode::Act).await.unwrap(), expected, "{event}");
    }
    assert_eq!(resend(&to_crm(), None, BulkMode::DryRun).await.unwrap(), one);
    assert_eq!(fixture.listed(&by_event("evt_a")).await.len(), 1, "it was only counted");
    assert_eq!(resend(&to_crm(), None, BulkMode::Act).await.unwrap(), one);
    let waits = Changed { waiting: 1, ..Changed::default() };
    assert_eq!(resend(&by_event("evt_a"), None, BulkMode::Act).await.unwrap(), waits);
    let all = fixture.ops.show(&"evt_a".into(), Some(&crm()), false).await.unwrap();
    let all: Vec<_> = all.iter().map(|it| (it.state, it.sequence, it.created)).collect();
    let (then, now) = (ago(9 * 3600), NOW);
    assert_eq!(all, [(DeliveryStateKind::Delivered, 1, then), (DeliveryStateKind::Pending, 1, now)]);

    // To another destination goes whatever is asked for, each event once; without a state what has arrived.
    let dead = Filter { state: Some(StateFilter::Dead), ..Filter::default() };
    assert_eq!(resend(&dead, Some("frontdesk"), BulkMode::Act).await.unwrap(), one);
    assert_eq!(resend(&to_crm(), Some("frontdesk"), BulkMode::Act).await.unwrap(), one);
    let told = Filter { destination: Some("frontdesk".into()), ..Filter::default() };
    assert_eq!(fixture.listed(&told).await, ["evt_a", "evt_d"]);

    for (filter, to, says) in [
        (by_event("evt_none"), None, "what is finished is kept for 30days"),
        (to_crm(), Some("old"), "there is no destination `old`; there is `crm`, `frontdesk`"),
        (to_crm(), Some("crn"), "there is no destination `crn`"),
        (
            Filter { destination: Some("crn".into()), ..Filter::default() },
            None,
            "there is no destination `crn`",
        ),
        (dead, None, "what has not is retried"),
    ] {
        let error = resend(&filter, to, BulkMode::Act).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_went_to_a_destination_that_is_gone_is_not_sent_there_again() {
    let fixture = Fixture::new().await;
    fixture.commit(event("evt_1", &["old"], 60)).await;
    let claim = fixture.store.claim(&Duty::Destination("old".into())).await.unwrap().unwrap();
    let token =
        fixture.ops.store.query(&crate::store::Query { limit: 1, ..Default::default() }).await.unwrap();
    let attempt = Attempt { at: ago(9), took_ms: 1, result: "200 OK".to_owned(), response: String::new() };
    let outcome = Outcome { token: token.items[0].token, number: 1, attempt, verdict: Verdict::Delivered };
    let settlement = Settlement { outcomes: vec![outcome], ..Settlement::new(NOW) };
    fixture.store.settle(&claim, settlement).await.unwrap();
    let stranded = Changed { stranded: 1, ..Changed::default() };
    let filter = Filter::event("evt_1".into(), None);
    assert_eq!(fixture.ops.resend(&filter, None, BulkMode::Act).await.unwrap(), stranded);
    let moved = fixture.ops.resend(&filter, Some(&crm()), BulkMode::Act).await.unwrap();
    assert_eq!(moved, Changed { count: 1, ..Changed::default() });
}

#[tokio::test(start_paused = true)]
async fn more_than_a_bounded_number_is_refused_and_none_of_it_sent() {
    let fixture = Fixture::new().await;
    for number in 0..=MOST_RESENT {
        fixture.commit(event(&format!("evt_{number}"), &["old"], if number == 0 { 7200 } else { 60 })).await;
    }
    let all = Filter { state: Some(StateFilter::Pending), ..Filter::default() };
    for mode in [BulkMode::DryRun, BulkMode::Act] {
        let error = fixture.ops.resend(&all, Some(&crm()), mode).await.unwrap_err();
        assert!(error.to_string().contains("more than 10000 match"), "{error}");
    }
    assert_eq!(fixture.listed(&Filter { destination: Some(crm()), ..Filter::default() }).await.len(), 0);
    let most = Filter { newer_than: Some(Duration::from_secs(3600)), ..all };
    let sent = fixture.ops.resend(&most, Some(&crm()), BulkMode::Act).await.unwrap();
    assert_eq!(sent.count, MOST_RESENT);
}

#[tokio::test(start_paused = true)]
async fn thousands_are_changed_page_by_page() {
    let fixture = Fixture::new().await;
    let ids: Vec<_> = (0..1_200).map(|number| format!("evt_{number:04}")).collect();
    for id in &ids {
        fixture.commit(event(id, &["crm", "frontdesk"], 60)).await;
    }
    let waiting = fixture
        .ops
        .list(&Filter { destination: Some(crm()), ..Filter::default() }, None, 2_000)
        .await
        .unwrap();
    assert_eq!(waiting.items.len(), 1_200);
    let filter = Filter { destination: Some(crm()), state: Some(StateFilter::Pending), ..Filter::default() };
    assert_eq!(fixture.ops.retry(&filter, BulkMode::Act).await.unwrap().count, 1_200);
    assert_eq!(fixture.ops.drop(&filter, BulkMode::Act).await.unwrap().count, 1_200);
    assert_eq!(fixture.listed(&Filter::default()).await.len(), 1_200);
    let left = fixture.ops.list(&Filter::default(), None, 2_000).await.unwrap();
    assert!(left.items.iter().all(|delivery| delivery.destination.as_str() == "frontdesk"));
}

#[tokio::test(start_paused = true)]
async fn what_is_named_must_be_there() {
    let fixture = all_states().await;
    let cmr = Name::from("cmr");
    let filter = Filter { destination: Some(cmr.clone()), ..Filter::default() };
    let answers = [
        fixture.ops.list(&filter, None, 1).await.err(),
        fixture.ops.count(&filter).await.err(),
        fixture.ops.retry(&filter, BulkMode::Act).await.err(),
        fixture.ops.drop(&filter, BulkMode::Act).await.err(),
        fixture.ops.pause(&cmr).await.err(),
        fixture.ops.resume(&cmr).await.err(),
    ];
    for answer in answers {
        assert_eq!(
            answer.unwrap().to_string(),
            "there is no destination `cmr`; there is `crm`, `frontdesk`, `old`"
        );
    }
    for event in ["evt_none", "evt_\n"] {
        let error =
            fixture.ops.drop(&Filter::event(event.into(), Some(crm())), BulkMode::Act).await.unwrap_err();
        let printed = event.escape_debug();
        assert_eq!(error.to_string(), format!("there is no delivery of {printed} to crm"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_destination_is_paused_and_resumed() {
    let fixture = all_states().await;
    fixture.ops.pause(&crm()).await.unwrap();
    let pending = fixture.ops.show(&"evt_p".into(), None, false).await.unwrap().remove(0);
    assert_eq!(pending.kept_back, Some(KeptBack::Paused));
    let status = fixture.ops.status().await.unwrap();
    let found: Vec<_> = status
        .destinations
        .iter()
        .map(|it| (it.name.as_str(), it.is_configured, it.pause.is_some(), it.deliveries.unfinished()))
        .collect();
    assert_eq!(found, [("crm", true, true, 3), ("frontdesk", true, false, 0), ("old", false, false, 1)]);
    assert_eq!(fixture.ops.resume(&crm()).await.unwrap(), Resumed { was_paused: true, waiting: 3 });
    assert_eq!(fixture.ops.resume(&crm()).await.unwrap(), Resumed { was_paused: false, waiting: 3 });
    assert!(fixture.ops.status().await.unwrap().destinations.iter().all(|it| it.pause.is_none()));
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_over_keeps_nothing_back() {
    let fixture = all_states().await;
    let pause = Pause { until: Some(NOW), ..Pause::by_hand(ago(60)) };
    fixture.store.act(Action::Pause { destination: crm(), pause }).await.unwrap();
    let pending = fixture.ops.show(&"evt_p".into(), None, false).await.unwrap().remove(0);
    assert_eq!(pending.kept_back, None);
    assert!(fixture.ops.status().await.unwrap().destinations[0].pause.is_none());
}

/// Remembers a completed call of the source, of which rules have made nothing so far.
async fn remember(fixture: &Fixture, source: &str, id: &str) {
    let record = json!({ "id": id, "status": "completed", "callAnalysis": { "appointmentBooked": false } });
    let call = Call::parse(&to_raw_value(&record).unwrap()).unwrap();
    let snapshot = Snapshot::first(&call, Kinds::from_iter([Kind::Ended, Kind::Analyzed]), ago(60));
    let claim = fixture.store.claim(&Duty::Source(source.into())).await.unwrap().unwrap();
    let commit = Commit { snapshots: vec![(id.into(), snapshot)], ..Commit::default() };
    fixture.store.commit(&claim, commit).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_is_explained_rule_by_rule() {
    let fixture = all_states().await;
    for id in ["call-of-evt_d", "call-of-evt_m", "call-of-evt_h"] {
        remember(&fixture, "clinic", id).await;
    }
    let story = fixture.ops.explain(&"call-of-evt_d".into(), None).await.unwrap();
    let [completed, booked] = &story.rules[..] else { panic!("{story:?}") };
    assert_eq!(completed.standing, RuleStanding::Feed { fired: 1 });
    assert_eq!(completed.deliveries[0].delivery.state, DeliveryStateKind::Dead);
    assert_eq!(booked.standing, RuleStanding::NotLooked);
    assert!(booked.condition.is_some() && booked.deliveries.is_empty());
    let object = serde_json::to_value(&story).unwrap();
    assert_eq!(
        object.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["at", "call", "source", "known", "rules", "other_deliveries"]
    );
    let read: CallStory = serde_json::from_value(object.clone()).unwrap();
    assert_eq!(read.rules[0].standing, completed.standing);
    assert_eq!(serde_json::to_value(&read).unwrap(), object, "what is read back is the same");
    assert_eq!(object["rules"][1]["condition"]["is"], "false");
    assert_eq!((&object["rules"][0]["verdict"], &object["known"]["states"]), (&json!("fired"), &json!(1)));
    assert!(object["rules"][0]["deliveries"][0].get("goes_out").is_none());

    let story = fixture.ops.explain(&"call-of-evt_m".into(), Some(&"clinic".into())).await.unwrap();
    let merged = &story.rules[1].deliveries[0];
    assert_eq!(merged.told_by.as_ref().map(|teller| teller.event.as_str()), Some("evt_s"));
    let story = fixture.ops.explain(&"call-of-evt_h".into(), None).await.unwrap();
    let held = &story.rules[1].deliveries[0];
    assert!(held.waits_for.is_some(), "{held:?}");
}

#[tokio::test(start_paused = true)]
async fn the_call_that_is_meant_must_be_known_and_only_one() {
    let fixture = Fixture::new().await;
    let call = CallId::from("call");
    let explain = async |source: Option<&str>| {
        fixture
            .ops
            .explain(&call, source.map(Name::from).as_ref())
            .await
            .map(|story| story.source.to_string())
    };
    let text = |answer: Result<String, OpsError>| answer.unwrap_or_else(|error| error.to_string());
    assert_eq!(
        text(explain(None).await),
        "no call call is known of `clinic`, `annex`: callwatch has not seen it"
    );
    remember(&fixture, "annex", "call").await;
    assert_eq!(text(explain(None).await), "annex");
    remember(&fixture, "clinic", "call").await;
    assert_eq!(text(explain(None).await), "call call is known of `clinic`, `annex`; say which is meant");
    assert_eq!(text(explain(Some("clinic")).await), "clinic");
    assert_eq!(text(explain(Some("anex")).await), "there is no source `anex`; there is `clinic`, `annex`");
}
