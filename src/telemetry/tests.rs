use std::{path::Path, sync::Mutex, time::Duration};

use super::*;
use crate::{
    config::LoadOptions,
    config_file::Config,
    event::EventId,
    store::{DeliveryId, Figures, Verdict},
    time::Timestamp,
};

const NOON: Timestamp = Timestamp::from_millis(1_765_800_000_500);

fn config(text: &str) -> Config {
    let whole = format!(
        r#"
        [sources.clinic]
        api_key = "ck_live_{key}"
        requests_per_minute = 60
        [destinations.crm]
        type = "webhook"
        url = "https://crm.example.com/secret-path"
        {text}
        "#,
        key = "0".repeat(60)
    );
    Config::parse(&whole, Path::new("config.toml"), LoadOptions::default()).unwrap().config
}

fn with_rule(name: &str) -> Config {
    config(&format!("[rules.{name}]\non = [\"ended\"]\nto = [\"crm\"]"))
}

fn prepare(telemetry: &Telemetry, config: &Config) {
    let destinations: Vec<_> = config.destinations.iter().map(|it| &it.name).collect();
    let rules: Vec<_> = config.rules.iter().map(|it| &it.name).collect();
    telemetry.prepare(&config.sources, &destinations, &rules);
}

fn attempted(verdict: Verdict) -> Signal {
    Signal::Attempted {
        delivery: DeliveryId { event: EventId::from("evt_1"), destination: "crm".into() },
        call: Some("c1".into()),
        rule: "unhappy-caller".into(),
        caller: "+3361•••5678".to_owned(),
        attempt: 1,
        result: "503 Service Unavailable".to_owned(),
        took: Duration::from_millis(30),
        verdict,
        created: NOON.before(Duration::from_secs(2)),
        updated: Some(NOON.before(Duration::from_secs(3))),
    }
}

fn telemetry() -> Telemetry {
    Telemetry::new(Clock::starting_at(NOON))
}

/// The value of a series in the encoded text.
fn value(telemetry: &Telemetry, series: &str) -> Option<f64> {
    let text = telemetry.encode(&Figures::default()).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(value.parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn every_name_of_the_config_has_its_series_from_the_start() {
    let telemetry = telemetry();
    prepare(&telemetry, &with_rule("call-completed"));
    for zero in [
        r#"callwatch_requests_total{source="clinic"}"#,
        r#"callwatch_request_failures_total{source="clinic"}"#,
        r#"callwatch_poll_duration_seconds_count{source="clinic"}"#,
        r#"callwatch_source_last_success_timestamp_seconds{source="clinic"}"#,
        r#"callwatch_events_total{rule="call-completed"}"#,
        r#"callwatch_rule_unknown_total{rule="call-completed"}"#,
        r#"callwatch_deliveries_delivered_total{destination="crm"}"#,
        r#"callwatch_deliveries_dead_total{destination="crm"}"#,
        r#"callwatch_delivery_delay_seconds_count{destination="crm"}"#,
        r#"callwatch_destination_pending_deliveries{destination="crm"}"#,
        r#"callwatch_destination_oldest_due_timestamp_seconds{destination="crm"}"#,
        r#"callwatch_destination_state{destination="crm",state="failing"}"#,
        "callwatch_store_failures_total",
        "callwatch_backups_total",
    ] {
        assert_eq!(value(&telemetry, zero), Some(0.0), "{zero}");
    }
    assert_eq!(value(&telemetry, r#"callwatch_destination_state{destination="crm",state="ok"}"#), Some(1.0));
    assert_eq!(
        value(&telemetry, r#"callwatch_source_requests_per_minute_limit{source="clinic"}"#),
        Some(60.0)
    );
}

/// The rules of the format that a scraper is strict about.
#[tokio::test(start_paused = true)]
async fn the_text_is_open_metrics_and_holds_nothing_private() {
    let telemetry = telemetry();
    prepare(&telemetry, &with_rule("call-completed"));
    telemetry.emit(attempted(Verdict::Delivered));
    telemetry.emit(Signal::Changed {
        source: "clinic".into(),
        call: "c1".into(),
        kinds: crate::kind::Kind::Ended.into(),
        caller: "+3361•••5678".to_owned(),
        first_seen: true,
        analysis: None,
    });
    let text = telemetry.encode(&Figures::default()).unwrap();
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
    let mut described = std::collections::BTreeSet::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (what, name) = (words.next().unwrap(), words.next().unwrap());
            assert!(["HELP", "TYPE", "UNIT"].contains(&what), "{line}");
            assert!(name.starts_with("callwatch_"), "{line}");
            assert!(described.insert((what, name)), "described twice: {line}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let name = series.split('{').next().unwrap();
        assert!(described.iter().any(|(what, of)| *what == "TYPE" && name.starts_with(of)), "{line}");
    }
    for private in ["ck_live", "secret-path", "c1", "+33", "5678", "evt_"] {
        assert!(!text.contains(private), "{private} in {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_signal_makes_the_count_the_board_and_the_call_of_the_listener() {
    let heard = Arc::new(Mutex::new(vec![]));
    let listener = Arc::clone(&heard);
    let telemetry = Telemetry::with_listener(Clock::starting_at(NOON), move |signal| {
        listener.lock().unwrap().push(format!("{signal:?}"));
    });
    telemetry.emit(attempted(Verdict::Delivered));
    telemetry.emit(attempted(Verdict::Retry(NOON)));
    telemetry.emit(attempted(Verdict::Dead("404 Not Found".to_owned())));
    let counted = |what| telemetry.counts().get(&(what, "crm".to_owned())).copied();
    assert_eq!(
        ["delivered", "failed_attempts", "dead", "held"].map(counted),
        [Some(1), Some(1), Some(1), None]
    );
    let crm = telemetry.board().destinations.remove("crm").unwrap();
    assert_eq!(crm.last_success, Some(NOON));
    assert_eq!(crm.last_error, Some(Incident { at: NOON, error: "404 Not Found".to_owned() }));
    assert_eq!(heard.lock().unwrap().len(), 3);
    assert_eq!(value(&telemetry, r#"callwatch_delivery_delay_seconds_sum{destination="crm"}"#), Some(2.0));
    assert_eq!(
        value(&telemetry, r#"callwatch_attempt_duration_seconds_count{destination="crm"}"#),
        Some(3.0)
    );
    let last = r#"callwatch_destination_last_success_timestamp_seconds{destination="crm"}"#;
    assert_eq!(value(&telemetry, last), Some(1_765_800_000.5));
}

#[tokio::test(start_paused = true)]
async fn another_config_drops_what_it_does_not_have_and_keeps_the_rest() {
    let telemetry = telemetry();
    prepare(&telemetry, &with_rule("old"));
    telemetry.emit(attempted(Verdict::Delivered));
    telemetry.set_backlog(&"crm".into(), Backlog { pending: 3, held: 1, oldest_due: Some(NOON) });
    prepare(&telemetry, &with_rule("new"));
    let events = |rule: &str| value(&telemetry, &format!("callwatch_events_total{{rule=\"{rule}\"}}"));
    assert_eq!((events("old"), events("new")), (None, Some(0.0)));
    let delivered = r#"callwatch_deliveries_delivered_total{destination="crm"}"#;
    assert_eq!(value(&telemetry, delivered), Some(1.0));
    assert_eq!(telemetry.board().destinations["crm"].backlog.pending, 3);
    let pending = r#"callwatch_destination_pending_deliveries{destination="crm"}"#;
    assert_eq!(value(&telemetry, pending), Some(3.0));
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_arrives_costs_no_memory() {
    let telemetry = telemetry();
    prepare(&telemetry, &with_rule("call-completed"));
    // The first one of an hour makes a place in the sums.
    telemetry.emit(attempted(Verdict::Delivered));
    let signals: Vec<_> = (0..100).map(|_| attempted(Verdict::Delivered)).collect();
    let used = allocation_counter::measure(|| signals.into_iter().for_each(|signal| telemetry.emit(signal)));
    assert_eq!(used.count_total, 0, "{used:?}");
}

#[tokio::test(start_paused = true)]
async fn that_a_store_cannot_be_used_is_told_once_a_minute_and_so_is_its_return() {
    use crate::store::{Duty, StoreError, Turn};
    let told = std::sync::Arc::new(std::sync::Mutex::new(vec![]));
    let heard = std::sync::Arc::clone(&told);
    let telemetry = Telemetry::with_listener(Clock::system(), move |signal| {
        heard.lock().unwrap().push(match signal {
            Signal::StoreFailed { error, .. } => error.clone(),
            other => format!("{other:?}"),
        });
    });
    let error = StoreError::Database { server: "db/x".to_owned(), why: "it is starting up".to_owned() };
    for duty in [Duty::Source("clinic".into()), Duty::Destination("crm".into()), Duty::Upkeep] {
        telemetry.note_turn(&duty, Turn::Unknown(&error));
    }
    tokio::time::advance(std::time::Duration::from_secs(61)).await;
    telemetry.note_turn(&Duty::Upkeep, Turn::Unknown(&error));
    telemetry.note_turn(&Duty::Upkeep, Turn::Own);
    telemetry.note_turn(&Duty::Upkeep, Turn::Own);
    let failed = "the database db/x cannot be used: it is starting up; it is asked again by itself";
    assert_eq!(*told.lock().unwrap(), [failed, failed, "StoreBack"]);
}
