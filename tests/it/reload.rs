//! From one config to the next while everything runs.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use callwatch::{
    demo::{
        callem::SimulatedCallem,
        receivers::{Message, Misbehaviour},
    },
    store::{DeliveryFilter, DeliveryRecord, DeliveryStateKind, Figures, Query, Store},
    supervisor::ApplyError,
    telemetry::Signal,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use crate::rig::{PATIENCE, Rig, Running, analyze, complete, record};

/// Puts `text` to work; returns which sources and destinations were started and stopped.
async fn apply(rig: &Rig, running: &mut Running, text: &str) -> (Vec<String>, Vec<String>) {
    running.handle.apply(rig.parse(text)).await.unwrap();
    let signal = running.wait_for("a config", |s| matches!(s, Signal::ConfigApplied { .. })).await;
    let Signal::ConfigApplied { started, stopped, .. } = &*signal else { unreachable!("just matched") };
    let names = |names: &[callwatch::name::Name]| names.iter().map(ToString::to_string).collect();
    (names(started), names(stopped))
}

async fn arrived(rig: &Rig, count: u64) {
    let waiting = rig.crm.inbox().wait_for(count);
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("only {:?}", rig.webhooks()));
}

/// Waits until something is so.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

/// Passes connections on and counts them.
pub async fn counting_proxy(to: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut to = TcpStream::connect(to).await?;
                tokio::io::copy_bidirectional(&mut from, &mut to).await
            });
        }
    });
    (address, count)
}

/// The deliveries that match.
async fn records_of(running: &Running, filter: DeliveryFilter) -> Vec<DeliveryRecord> {
    let query = Query { filter, after: None, limit: 10 };
    running.store.query(&query).await.unwrap().items
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_rule_restarts_nothing_and_tells_no_old_call() {
    let rig = Rig::new().await;
    let (address, connections) =
        counting_proxy(*rig.crm.url().socket_addrs(|| None).unwrap().first().unwrap()).await;
    let text = rig.config_text().replace(rig.crm.url().as_str(), &format!("http://{address}/"));
    let mut running = rig.start_with(rig.parse(&text)).await;
    running.baseline().await;
    rig.callem.add(record("a", "completed"));
    arrived(&rig, 1).await;

    let edited = text.replace(r#"on = ["ended", "analyzed"]"#, r#"on = ["started", "ended"]"#);
    assert_ne!(edited, text);
    assert_eq!(apply(&rig, &mut running, &edited).await, (vec![], vec![]));
    running.quiet_polls(3).await;
    rig.callem.add(record("b", "live"));
    arrived(&rig, 2).await;
    running.quiet_polls(3).await;
    running.settled().await;
    running.stop().await;
    let told: Vec<_> = rig.webhooks().into_iter().map(|w| (w.call, w.kinds.join("+"))).collect();
    assert_eq!(told, [("a", "ended"), ("b", "started")].map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_is_added_looks_at_calls_that_are_live_already() {
    let rig = Rig::new().await;
    rig.callem.add(record("old", "completed"));
    rig.callem.add(record("live", "live"));
    let mut running = rig.start().await;
    running.baseline().await;
    let text = rig.config_text()
        + "\n[rules.still-live]\nwhen = 'call.status == \"live\"'\nfor = \"1s\"\nto = [\"crm\"]\n";
    running.handle.apply(rig.parse(&text)).await.unwrap();
    arrived(&rig, 1).await;
    running.stop().await;
    let told: Vec<_> = rig.webhooks().into_iter().map(|w| (w.call, w.rule)).collect();
    assert_eq!(told, [("live".to_owned(), "still-live".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_destination_that_changed_restarts_and_its_attempt_in_flight_counts() {
    let rig = Rig::new().await;
    let text = rig.config_text().replace("rate = \"100/s\"", "rate = \"1/h\"");
    let mut running = rig.start_with(rig.parse(&text)).await;
    running.baseline().await;
    rig.crm.misbehave(1, Misbehaviour::Delay(Duration::from_secs(1)));
    let mut call = record("a", "completed");
    analyze(&mut call, "negative", false);
    rig.callem.add(call);
    until("the attempt", || rig.crm.is_behaving()).await;
    timeout(PATIENCE, rig.frontdesk.inbox().wait_for(1)).await.unwrap();
    assert_eq!(rig.webhooks(), [], "it is still in flight");

    let edited = text
        .replace("[destinations.frontdesk]", "headers = { x-tenant = \"acme\" }\n\n[destinations.frontdesk]");
    assert_eq!(apply(&rig, &mut running, &edited).await, (vec!["crm".to_owned()], vec![]));
    let mut call = record("b", "completed");
    analyze(&mut call, "negative", false);
    rig.callem.add(call);
    let mut settled = 0;
    running
        .wait_for("both attempts", |s| {
            settled += usize::from(
                matches!(s, Signal::Attempted { delivery, .. } if delivery.destination.as_str() == "crm"),
            );
            settled == 2
        })
        .await;
    running.quiet_polls(3).await;

    let filter = DeliveryFilter { destination: Some("crm".into()), ..DeliveryFilter::default() };
    let records = records_of(&running, filter).await;
    assert_eq!(records.iter().map(|record| record.attempts).collect::<Vec<_>>(), [1, 1]);
    let filter = DeliveryFilter { destination: Some("frontdesk".into()), ..DeliveryFilter::default() };
    let records = records_of(&running, filter).await;
    let waiting = records.iter().filter(|record| record.state.kind() == DeliveryStateKind::Pending);
    assert_eq!((records.len(), waiting.count()), (2, 1), "Slack's rate has not begun anew");
    running.stop().await;
    let tenants: Vec<_> = rig
        .crm
        .inbox()
        .arrivals()
        .iter()
        .map(|arrival| match &arrival.message {
            Message::Webhook { headers, .. } => headers.get("x-tenant").is_some(),
            _ => panic!("a webhook"),
        })
        .collect();
    assert_eq!(tenants, [false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_is_cut_off_by_a_change_is_made_again_under_the_same_id() {
    let rig = Rig::new().await;
    let text = rig.config_text().replace("shutdown_grace = \"5s\"", "shutdown_grace = \"0s\"");
    let mut running = rig.start_with(rig.parse(&text)).await;
    running.baseline().await;
    rig.crm.misbehave(1, Misbehaviour::Delay(Duration::from_secs(20)));
    rig.callem.add(record("a", "completed"));
    until("the attempt", || rig.crm.is_behaving()).await;
    let edited = text.replace("[destinations.frontdesk]", "timeout = \"9s\"\n\n[destinations.frontdesk]");
    running.handle.apply(rig.parse(&edited)).await.unwrap();
    arrived(&rig, 1).await;
    let tally = running.settled().await;
    assert_eq!((tally.delivered, tally.dead), (1, 0));
    running.stop().await;
    let ids: BTreeSet<_> = rig.webhooks().into_iter().map(|webhook| webhook.id).collect();
    assert_eq!(ids.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_can_be_taken_out_and_put_back_and_goes_on_where_it_was() {
    let rig = Rig::new().await;
    let garage = SimulatedCallem::start().await.unwrap();
    garage.set_rate_limit(None);
    garage.set_key(&format!("ck_live_{}", "1".repeat(60)));
    garage.add(record("old", "completed"));
    let one = rig.config_text();
    let both = one.replace(
        "[destinations.crm]",
        &format!(
            "[sources.garage]\napi_key = \"ck_live_{}\"\nbase_url = \"{}\"\ninterval = \"100ms\"\n\
             requests_per_minute = 6000\n\n[destinations.crm]",
            "1".repeat(60),
            garage.base_url()
        ),
    );
    let mut running = rig.start_with(rig.parse(&one)).await;
    running.baseline().await;
    assert_eq!(apply(&rig, &mut running, &both).await, (vec!["garage".to_owned()], vec![]));
    assert_eq!(running.baseline().await, (1, 0));
    assert_eq!(apply(&rig, &mut running, &one).await, (vec![], vec!["garage".to_owned()]));
    let telemetry = running.telemetry.clone();
    until("garage to leave the board", || !telemetry.board().sources.contains_key("garage")).await;
    until("garage to leave the metrics", || {
        !telemetry.encode(&Figures::default()).unwrap().contains("garage")
    })
    .await;

    let asked = garage.request_counts().total();
    garage.add(record("meanwhile", "completed"));
    rig.callem.add(record("a", "completed"));
    arrived(&rig, 1).await;
    running.quiet_polls(3).await;
    assert_eq!(garage.request_counts().total(), asked, "nobody asks it any more");
    assert_eq!(apply(&rig, &mut running, &both).await, (vec!["garage".to_owned()], vec![]));
    arrived(&rig, 2).await;
    running.settled().await;
    running.stop().await;
    let told: Vec<_> = rig.webhooks().into_iter().map(|webhook| webhook.call).collect();
    assert_eq!(told, ["a", "meanwhile"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_for_a_destination_that_is_taken_out_wait_until_it_is_back() {
    let rig = Rig::new().await;
    let text = rig.config_text();
    let mut running = rig.start().await;
    running.baseline().await;
    rig.crm.misbehave(u64::MAX, Misbehaviour::Status { code: 500, retry_after: None });
    rig.callem.add(record("a", "completed"));
    running.wait_for("a failed attempt", |s| matches!(s, Signal::Attempted { .. })).await;

    let (before, rest) = text.split_once("[destinations.crm]").unwrap();
    let rest = rest.split_once("[destinations.frontdesk]").unwrap().1;
    let without = format!("{before}[destinations.frontdesk]{rest}").replace("\"crm\"", "\"frontdesk\"");
    let without = without.replace("[\"frontdesk\", \"frontdesk\"]", "[\"frontdesk\"]");
    running.handle.apply(rig.parse(&without)).await.unwrap();
    let stranded = running.wait_for("a word about it", |s| matches!(s, Signal::Stranded { .. })).await;
    let Signal::Stranded { destination, waiting } = &*stranded else { unreachable!("just matched") };
    assert_eq!((destination.as_str(), *waiting), ("crm", 1));

    rig.crm.behave();
    rig.callem.add(record("b", "completed"));
    timeout(PATIENCE, rig.frontdesk.inbox().wait_for(1)).await.unwrap();
    assert_eq!(rig.webhooks(), []);
    running.handle.apply(rig.parse(&text)).await.unwrap();
    arrived(&rig, 1).await;
    running.settled().await;
    running.stop().await;
    assert_eq!(rig.webhooks()[0].call, "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_cannot_be_built_leaves_everything_as_it_was() {
    let rig = Rig::new().await;
    let mut running = rig.start().await;
    running.baseline().await;
    let proxy = rig.dir.path().join("proxy");
    std::fs::write(&proxy, "http://127.0.0.1:9").unwrap();
    let text = rig
        .config_text()
        .replace("[sources.clinic]", "[sources.other]")
        .replace("[rules.booked]", "[rules.renamed]")
        .replace("[destinations.frontdesk]", "proxy = { file = \"proxy\" }\n\n[destinations.frontdesk]");
    let config = rig.parse(&text);
    std::fs::remove_file(&proxy).unwrap();
    let error = running.handle.apply(config).await.unwrap_err();
    assert!(matches!(error, ApplyError::Destination(_)) && error.to_string().contains("crm"), "{error}");
    running.wait_for("a word about it", |s| matches!(s, Signal::ConfigRejected { .. })).await;
    let board = running.telemetry.board();
    assert!(board.config.rejected.is_some() && board.sources.keys().map(|name| name.as_str()).eq(["clinic"]));

    let mut call = record("a", "live");
    rig.callem.add(call.clone());
    running.wait_for("the call", |s| matches!(s, Signal::Changed { .. })).await;
    complete(&mut call);
    analyze(&mut call, "positive", true);
    rig.callem.update("a", |it| *it = call);
    arrived(&rig, 2).await;
    running.settled().await;
    running.stop().await;
    let rules: BTreeSet<_> = rig.webhooks().into_iter().map(|webhook| webhook.rule).collect();
    assert_eq!(rules, BTreeSet::from(["booked".to_owned(), "call-completed".to_owned()]));
}
