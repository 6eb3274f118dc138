//! The answers of a callwatch at work, and who gets them.

mod hostile;
pub mod http;
mod openapi;
mod page;
pub mod pages;

use std::{collections::BTreeSet, net::SocketAddr, os::unix::fs::PermissionsExt, path::PathBuf};

use callwatch::demo::receivers::{DEMO_SECRET, Misbehaviour};
use serde_json::json;
use tokio::time::{sleep, timeout};

use self::http::{Answer, Ask, ask, ask_socket};
use crate::{
    process::Process,
    rig::{PATIENCE, Rig, analyze, closed, free_address, record},
};

/// The config of a rig that listens on a free port of this machine, and on nothing else by itself.
fn listening(text: &str, more: &str) -> String {
    format!("[reload]\nwatch = false\n[server]\nlisten = \"127.0.0.1:0\"\n{more}\n{text}")
}

/// Where it listens: the address that its log named last.
fn address(process: &Process) -> SocketAddr {
    let log = process.log();
    let line = log.lines().rfind(|line| line.contains("listens on http://")).expect("it listens");
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    line["address"].as_str().unwrap().parse().unwrap()
}

async fn start(rig: &Rig, text: &str) -> (Process, SocketAddr) {
    let process = Process::start(rig, text).await;
    process.says("listens on").await;
    process.says(" baselined, ").await;
    let address = address(&process);
    (process, address)
}

fn socket(rig: &Rig) -> PathBuf {
    rig.store_path().join("callwatch.sock")
}

/// Asks until the answer is as it should be.
pub async fn until(address: SocketAddr, line: &str, is_so: impl Fn(&Answer) -> bool) -> Answer {
    let mut last = None;
    let asking = async {
        loop {
            let answer = ask(address, Ask::new(line)).await;
            if is_so(&answer) {
                return answer;
            }
            last = Some(answer);
            sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let answer = timeout(PATIENCE, asking).await;
    answer.unwrap_or_else(|_| panic!("{line} is never as it should be, but {last:?}"))
}

async fn get(address: SocketAddr, path: &str) -> serde_json::Value {
    let answer = ask(address, Ask::new(&format!("GET {path}"))).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    assert_eq!(answer.headers["cache-control"], "no-store");
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn monitoring_sees_whether_it_works_and_what_is_wrong() {
    let rig = Rig::new().await;
    let text = rig
        .config_text()
        .replace("interval = \"100ms\"", "interval = \"100ms\"\ntimeout = \"1s\"\nfailing_after = \"0s\"");
    let (process, address) = start(&rig, &listening(&text, "")).await;
    assert_eq!(ask(address, Ask::new("GET /healthz")).await.body, "ok\n");
    let ready = until(address, "GET /readyz", |answer| answer.status == 200).await.json();
    assert_eq!(ready["ready"], true, "{ready}");
    let names: Vec<_> =
        ready["checks"].as_array().unwrap().iter().map(|check| check["name"].clone()).collect();
    assert_eq!(names, ["sources", "deliveries", "store", "config"]);

    let metrics = ask(address, Ask::new("GET /metrics")).await;
    assert_eq!(metrics.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(metrics.body.ends_with("# EOF\n"), "{}", metrics.body);
    for line in [
        "callwatch_deliveries_delivered_total{destination=\"crm\"} 0",
        "callwatch_changes_by_kind_total{source=\"clinic\",kind=\"deleted\"} 0",
        "callwatch_rule_results_total{rule=\"booked\",result=\"too_old\"} 0",
        "callwatch_delivery_delay_since_update_seconds_count{destination=\"manager\"} 0",
        "callwatch_config_applications_total 1",
    ] {
        assert!(metrics.body.lines().any(|said| said == line), "{line} is not in {}", metrics.body);
    }
    let value = |name: &str| -> f64 {
        let line = metrics.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {}", metrics.body)).parse().unwrap()
    };
    assert!(value("callwatch_store_commit_duration_seconds_count") >= 1.0);
    assert!(value("callwatch_store_sync_duration_seconds_sum") > 0.0);
    assert!(value("callwatch_store_bytes") > 0.0);

    // The parser does not know that histograms may have units.
    let lines = metrics.body.lines().filter(|line| !line.starts_with("# UNIT"));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    let parsed = openmetrics_parser::openmetrics::parse_openmetrics(&text);
    let families = parsed.unwrap_or_else(|error| panic!("{error:?} in {}", metrics.body)).families;
    assert!(families.len() > 50 && families.contains_key("callwatch_rule_results"), "{:?}", families.keys());

    // Every metric that the alerting rules and the dashboard name is there.
    let rules = include_str!("../../../deploy/prometheus/callwatch.rules.yaml");
    let dashboard: serde_json::Value =
        serde_json::from_str(include_str!("../../../deploy/grafana/callwatch.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let shown: Vec<_> =
        targets.map(|target| target["expr"].as_str().expect("it asks for something")).collect();
    assert!(shown.len() > 30, "{shown:?}");
    let is_of_name = |c: char| c.is_ascii_lowercase() || c == '_';
    for (text, least) in [(rules, 11), (&*shown.join("\n"), 30)] {
        let named: BTreeSet<_> = text
            .match_indices("callwatch_")
            .map(|(at, _)| text[at..].split(|c| !is_of_name(c)).next().unwrap_or_default())
            .collect();
        assert!(named.len() >= least, "{named:?}");
        // Those of several processes over a database are held by a test of such.
        for name in named.into_iter().filter(|name| !name.starts_with("callwatch_cluster_")) {
            let mut series = metrics.body.lines().filter_map(|line| line.strip_prefix(name));
            assert!(series.any(|rest| rest.starts_with(['{', ' '])), "{name} is not in {}", metrics.body);
        }
    }

    // The API takes the key no more, and the config on disk is wrong.
    rig.callem.set_key("another");
    let wrong = until(address, "GET /readyz", |answer| answer.status == 503).await.json();
    let sources = &wrong["checks"][0];
    assert_eq!((&sources["name"], &sources["ok"]), (&json!("sources"), &json!(false)), "{wrong}");
    assert!(sources["reason"].as_str().unwrap().contains("clinic: it has not answered for"), "{wrong}");
    process.edit("intervall = 1");
    process.signal("-HUP").await;
    let wrong =
        until(address, "GET /readyz", |answer| answer.json()["checks"][3]["ok"] == false).await.json();
    assert!(wrong["checks"][3]["reason"].as_str().unwrap().contains("intervall"), "{wrong}");
    let metrics = ask(address, Ask::new("GET /metrics")).await.body;
    assert!(
        metrics.contains("callwatch_config_rejected 1.0\n")
            && metrics.contains("callwatch_config_rejections_total 1\n"),
        "{metrics}"
    );
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_lists_shows_retries_drops_pauses_and_explains() {
    let rig = Rig::new().await;
    let text = rig.config_text().replace(
        "retry = [\"100ms\", \"200ms\", \"500ms\", \"1s\", \"1s\", \"1s\", \"1s\", \"1s\", \"1s\"]",
        "retry = []",
    );
    let (process, address) = start(&rig, &listening(&text, "")).await;
    let post =
        async |path: &str, body: &str| ask(address, Ask::new(&format!("POST {path}")).json(body)).await;

    rig.crm.misbehave(u64::MAX, Misbehaviour::Status { code: 400, retry_after: None });
    for id in ["a", "b", "c"] {
        let mut call = record(id, "completed");
        analyze(&mut call, "negative", false);
        rig.callem.add(call);
    }
    let dead = "/api/v1/deliveries/count?destination=crm&state=dead";
    until(address, &format!("GET {dead}"), |answer| answer.json()["count"] == 3).await;
    let page = get(address, "/api/v1/deliveries?destination=crm&state=dead&limit=2").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    let next = page["next"].as_str().unwrap();
    let last =
        get(address, &format!("/api/v1/deliveries?destination=crm&state=dead&limit=2&after={next}")).await;
    assert_eq!((last["items"].as_array().unwrap().len(), &last["next"]), (1, &json!(null)));
    let event = last["items"][0]["event"].as_str().unwrap().to_owned();

    let one = get(address, &format!("/api/v1/deliveries/{event}/crm")).await;
    assert_eq!((&one["state"], &one["destination"]), (&json!("dead"), &json!("crm")), "{one}");
    assert!(
        one["log"][0]["result"].as_str().unwrap().starts_with("400") && one["log"][0].get("answer").is_none(),
        "{one}"
    );
    let nothing = ask(address, Ask::new("GET /api/v1/deliveries?rule=alll")).await;
    assert_eq!((nothing.status, nothing.problem().as_str()), (404, "no_rule"), "{nothing:?}");
    let answers = get(address, &format!("/api/v1/deliveries/{event}?answers=true")).await;
    assert!(answers[0]["log"][0]["answer"].is_string(), "{answers}");

    // Retried in a rehearsal, and then really.
    let filter = r#"{"filter": {"destination": "crm", "state": "dead"}, "dry_run": true}"#;
    assert_eq!(post("/api/v1/deliveries/retry", filter).await.json()["count"], 3);
    assert_eq!(get(address, dead).await["count"], 3);
    rig.crm.behave();
    let one = format!(r#"{{"deliveries": [{{"event": "{event}", "destination": "crm"}}]}}"#);
    assert_eq!(post("/api/v1/deliveries/retry", &one).await.json()["count"], 1);
    timeout(PATIENCE, rig.crm.inbox().wait_for(1)).await.unwrap();
    until(address, &format!("GET {dead}"), |answer| answer.json()["count"] == 2).await;
    let none =
        post("/api/v1/deliveries/retry", r#"{"deliveries": [{"event": "evt_none"}, {"event": "evt_none"}]}"#)
            .await;
    assert_eq!((none.status, none.problem().as_str()), (404, "no_delivery"));
    assert_eq!(post("/api/v1/deliveries/drop", filter).await.json()["count"], 2);
    assert_eq!(post("/api/v1/deliveries/drop", &filter.replace("true", "false")).await.json()["count"], 2);
    assert_eq!(get(address, dead).await["count"], 0);

    for (path, body) in [
        ("/api/v1/deliveries/drop?dry_run=true", r#"{"filter": {"state": "delivered"}}"#),
        ("/api/v1/destinations/crm/pause", r#"{"for": "5m"}"#),
        ("/api/v1/destinations/crm/test?rule=booked", ""),
    ] {
        let refused = post(path, body).await;
        assert_eq!((refused.status, refused.problem().as_str()), (400, "malformed"), "{path}: {refused:?}");
    }
    assert_eq!(get(address, "/api/v1/deliveries/count?destination=crm&state=delivered").await["count"], 1);

    assert_eq!(post("/api/v1/destinations/crm/pause", "").await.status, 204);
    let status = get(address, "/api/v1/status").await;
    assert_eq!(
        (&status["destinations"][0]["name"], status["destinations"][0]["pause"].is_object()),
        (&json!("crm"), true),
        "{status}"
    );
    assert_eq!(status["service"]["sources"][0]["known_calls"], 3, "{status}");
    let resumed = post("/api/v1/destinations/crm/resume", "").await.json();
    assert_eq!(resumed, json!({"was_paused": true, "waiting": 0}));

    let story = get(address, "/api/v1/calls/a?source=clinic").await;
    assert_eq!((&story["call"], &story["rules"][1]["verdict"]), (&json!("a"), &json!("fired")), "{story}");
    assert!(!story.to_string().contains("Hello."), "a transcript is not shown: {story}");

    let config = get(address, "/api/v1/config").await;
    assert_eq!(config["config"]["sources"]["clinic"]["interval"], "100ms", "{config}");
    assert_eq!(config["config"]["sources"]["clinic"]["api_key"], "***", "{config}");
    assert_eq!(config["config"]["destinations"]["crm"]["secret"], "***", "{config}");
    let effective = &config["effective"];
    assert_eq!(effective["sources"]["clinic"]["interval"], "100ms", "{config}");
    assert_eq!(
        (&effective["sources"]["clinic"]["page_size"], &effective["store"]["retain"]),
        (&json!(100), &json!("30d"))
    );
    assert_eq!(
        (&effective["destinations"]["crm"]["secret"], &effective["timezone"]),
        (&json!("***"), &json!("UTC"))
    );
    for secret in ["ck_live", DEMO_SECRET, rig.frontdesk.url().path()] {
        assert!(!config.to_string().contains(secret), "{secret} in {config}");
    }
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_finds_calls_and_events_page_by_page_and_sends_a_test() {
    let rig = Rig::new().await;
    let (process, address) = start(&rig, &listening(&rig.config_text(), "")).await;
    for (minute, id) in ["c", "a", "b"].into_iter().enumerate() {
        let mut call = record(id, "completed");
        call["createdAt"] = format!("2025-12-15T14:3{minute}:00.000Z").into();
        rig.callem.add(call);
    }
    rig.callem.add(record("d", "live"));
    until(address, "GET /api/v1/deliveries/count?state=delivered&destination=crm", |answer| {
        answer.json()["count"] == 3
    })
    .await;
    until(address, "GET /api/v1/calls", |answer| answer.json()["calls"].as_array().unwrap().len() == 4).await;

    let ids = |page: &serde_json::Value, list: &str, id: &str| {
        let items = page[list].as_array().unwrap().iter();
        items.map(|item| item[id].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all_of = async |path: &str, list: &str, id: &str| {
        let (mut found, mut after) = (vec![], String::new());
        loop {
            let page = get(address, &format!("{path}&limit=2{after}")).await;
            found.extend(ids(&page, list, id));
            let Some(next) = page["next"].as_str() else { return found };
            let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
            after = format!("&after={next}");
        }
    };
    // Newest first, whatever the order of the ids is.
    assert_eq!(all_of("/api/v1/calls?status=completed", "calls", "call").await, ["b", "a", "c"]);
    assert_eq!(all_of("/api/v1/calls?status=live", "calls", "call").await, ["d"]);
    assert_eq!(all_of("/api/v1/calls?kind=ended", "calls", "call").await.len(), 3);
    assert_eq!(all_of("/api/v1/calls?kind=deleted", "calls", "call").await, [""; 0]);
    assert_eq!(all_of("/api/v1/calls?newer_than=1d", "calls", "call").await, [""; 0]);
    assert_eq!(all_of("/api/v1/calls?text=06+12+34&older_than=1d", "calls", "call").await.len(), 4);
    for wrong in ["after=x", "statuss=live", "limit=0", "kind=exploded", "source=garage"] {
        let answer = ask(address, Ask::new(&format!("GET /api/v1/calls?{wrong}"))).await;
        assert!([400, 404].contains(&answer.status), "{wrong}: {answer:?}");
    }
    let events = all_of("/api/v1/events?rule=call-completed", "events", "event").await;
    assert_eq!(events.len(), 3, "{events:?}");
    assert_eq!(events.iter().collect::<std::collections::BTreeSet<_>>().len(), 3, "{events:?}");
    let message = get(address, &format!("/api/v1/deliveries/{}/crm/message", events[0])).await;
    let text = message["text"].as_str().unwrap();
    assert!(text.contains("call.ended") && !text.contains("612345678") && !text.contains("Hello."), "{text}");

    let post =
        async |path: &str, body: &str| ask(address, Ask::new(&format!("POST {path}")).json(body)).await;
    let tried = post("/api/v1/destinations/crm/test", "{\"rule\": \"unhappy-caller\"}").await.json();
    assert_eq!((&tried["arrived"], &tried["rule"]), (&json!(true), &json!("unhappy-caller")), "{tried}");
    timeout(PATIENCE, rig.crm.inbox().wait_for(4)).await.unwrap();
    let nobody = post("/api/v1/destinations/nobody/test", "").await;
    assert_eq!((nobody.status, nobody.problem().as_str()), (404, "no_destination"), "{nobody:?}");
    let no_rule = post("/api/v1/destinations/crm/test", "{\"rule\": \"nothing\"}").await;
    assert_eq!((no_rule.status, no_rule.problem().as_str()), (404, "no_rule"), "{no_rule:?}");
    rig.crm.misbehave(1, Misbehaviour::Status { code: 503, retry_after: None });
    let tried = post("/api/v1/destinations/crm/test", "").await.json();
    assert_eq!(
        (&tried["arrived"], &tried["advice"]),
        (&json!(false), &json!("a real delivery would be tried again"))
    );
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_is_reloaded_on_request_and_the_server_follows_it() {
    let rig = Rig::new().await;
    let text = listening(&rig.config_text(), "").replace("127.0.0.1:0", &free_address().to_string());
    let (process, old) = start(&rig, &text).await;
    process.edit(&text.replace("[rules.booked]", "[rules.renamed]"));
    let answer = ask(old, Ask::new("POST /api/v1/reload")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"reloaded":true}"#));
    assert!(get(old, "/api/v1/config").await["config"]["rules"]["renamed"].is_object());

    process.edit(&text.replace("interval =", "intervall ="));
    let answer = ask(old, Ask::new("POST /api/v1/reload")).await;
    assert_eq!((answer.status, answer.problem().as_str()), (422, "config_rejected"));
    let mistakes = answer.json()["mistakes"].clone();
    assert!(mistakes.as_array().unwrap().iter().any(|mistake| mistake["line"].is_u64()), "{mistakes}");
    assert!(
        mistakes.to_string().contains("intervall") && !mistakes.to_string().contains("ck_live"),
        "{mistakes}"
    );

    // A port that somebody else has leaves the old one.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = (taken.local_addr().unwrap().to_string(), taken);
    process.edit(&text.replace(&old.to_string(), &taken.0));
    let answer = ask(old, Ask::new("POST /api/v1/reload")).await;
    assert_eq!(answer.status, 422);
    assert!(answer.body.contains("another program listens there"), "{answer:?}");
    assert_eq!(ask(old, Ask::new("GET /healthz")).await.status, 200);

    // A token from now on, at the same address.
    process.edit(&text.replace("[server]", "[server]\ntoken = \"correct horse battery\""));
    assert_eq!(ask(old, Ask::new("POST /api/v1/reload")).await.status, 200);
    assert_eq!(ask(old, Ask::new("GET /api/v1/status")).await.status, 401);
    let sent = &[("Authorization", "Bearer correct horse battery")];
    assert_eq!(ask(old, Ask::new("GET /api/v1/status").with(sent)).await.status, 200);

    // Another address: the old one is closed.
    let free = free_address();
    process.edit(&text.replace(&old.to_string(), &free.to_string()));
    assert_eq!(ask(old, Ask::new("POST /api/v1/reload").with(sent)).await.status, 200);
    assert_eq!(ask(free, Ask::new("GET /api/v1/status")).await.status, 200);
    closed(old).await;
    process.edit(&text.replace(&format!("[server]\nlisten = \"{old}\""), ""));
    assert_eq!(ask_socket(&socket(&rig), Ask::new("POST /api/v1/reload")).await.status, 200);
    closed(free).await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_cannot_be_had_ends_the_start_with_advice() {
    let rig = Rig::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = rig.write_config(&format!("[server]\nlisten = \"{address}\"\n{}", rig.config_text()));
    let output = crate::process::command(&config, &["run"]).output();
    let output = timeout(PATIENCE, output).await.expect("it ends").unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&format!("cannot listen on {address}")), "{said}");
    assert!(said.contains("set [server] listen to another port"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_there_while_it_runs_and_for_its_owner_alone() {
    let rig = Rig::new().await;
    std::fs::create_dir(rig.store_path()).unwrap();
    // A process that was killed left its socket behind.
    drop(std::os::unix::net::UnixListener::bind(socket(&rig)).unwrap());
    let text = listening(&rig.config_text(), "token = \"correct horse battery\"");
    let (process, _) = start(&rig, &text).await;
    let mode = std::fs::metadata(socket(&rig)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for line in ["GET /healthz", "GET /readyz", "GET /metrics", "GET /api/v1/status", "GET /api/v1/config"] {
        assert_eq!(ask_socket(&socket(&rig), Ask::new(line)).await.status, 200, "{line}");
    }
    assert_eq!(ask_socket(&socket(&rig), Ask::new("GET /api/v2")).await.problem(), "no_route");
    process.stop().await;
    assert!(!socket(&rig).exists());
}
