//! Several processes of the real binary over one database, as a person meets them.

use std::{collections::BTreeSet, path::Path, process::Output, time::Duration};

use callwatch::{
    config::{Connection, Secret},
    demo::callem::Failure,
    store::{Attendance, Duty, FillError, PostgresConfig, PostgresStore, Store, StoreError},
};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::{
    postgres::{self, Database},
    process::{Process, command},
    rig::{PATIENCE, Rig, record},
};

/// The config of a rig, over a database.
fn over(rig: &Rig, database: &Database) -> String {
    let store = format!(
        "[cluster]\nlease = \"3s\"\n[server]\nlisten = \"127.0.0.1:0\"\n[store]\nurl = \"{}\"\n",
        database.url()
    );
    let source = "interval = \"100ms\"\nfailing_after = \"2s\"\n";
    rig.config_text().replacen("[store]\n", &store, 1).replacen("interval = \"100ms\"\n", source, 1)
}

async fn said(config: &Path, args: &[&str]) -> Output {
    timeout(PATIENCE, command(config, args).output()).await.unwrap().unwrap()
}

/// All that a command has printed, in one line.
fn text(output: &Output) -> String {
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

async fn status(node: &Process) -> Value {
    let output = said(&node.config, &["status", "--json"]).await;
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)))
}

/// Waits until the status of a node is so.
async fn until(node: &Process, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let waiting = async {
        loop {
            last = status(node).await;
            if is_so(&last) {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    let waited = timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "waited in vain for {what}: {last:#}\n{}", node.log());
    last
}

fn elsewhere(status: &Value) -> bool {
    status["service"]["sources"][0]["elsewhere"] == true
}

/// Two processes that have shared the work: the one that polls, and the other.
async fn two(first: &Rig, second: &Rig, texts: [&str; 2]) -> (Process, Process) {
    let a = Process::start(first, texts[0]).await;
    let b = Process::start(second, texts[1]).await;
    let is_shared = |status: &Value| {
        let nodes = status["nodes"].as_array().unwrap();
        nodes.len() == 2 && nodes.iter().all(|node| node["duties"].as_array().unwrap().len() > 1)
    };
    let seen = until(&b, "shared work", is_shared).await;
    if elsewhere(&seen) { (a, b) } else { (b, a) }
}

async fn metrics(node: &Process) -> String {
    let log = node.log();
    let address = log.split("listens on http://").nth(1).and_then(|it| it.split('"').next()).unwrap();
    let asked = reqwest::get(format!("http://{address}/metrics")).await.unwrap();
    asked.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_says_how_all_of_it_stands() {
    let Some(database) = postgres::database().await else { return };
    let (rig, folder) = (Rig::new().await, Rig::new().await);
    for id in ["a", "b", "c"] {
        rig.callem.add(record(id, "completed"));
    }
    let config = over(&rig, &database);
    let (owner, other) = two(&rig, &folder, [&config, &config]).await;

    let knows = |status: &Value| {
        let source = &status["service"]["sources"][0];
        source["known_calls"] == 3 && source["last_success"].is_string() && elsewhere(status)
    };
    until(&other, "what the owner of the source has reported", knows).await;
    let works = |status: &Value| {
        let all = status["destinations"].as_array().unwrap();
        all.len() == 3 && all.iter().all(|it| it["work"]["state"] == "ok")
    };
    until(&other, "how each destination stands", works).await;
    let shown = text(&said(&other.config, &["status"]).await);
    assert!(shown.contains("(this one), for") && shown.contains("source clinic"), "{shown}");
    assert!(!shown.contains("different configs"), "{shown}");

    // Whoever looks after the cluster counts it, and nobody else.
    let counted = async {
        loop {
            let all = [metrics(&owner).await, metrics(&other).await];
            let counting: Vec<_> = all.iter().filter(|it| it.contains("callwatch_cluster_nodes 2")).collect();
            if let [text] = &*counting {
                for line in
                    ["configs 1", "free_duties 0", "duties 5", "pending_deliveries{destination=\"crm\"} 0"]
                {
                    assert!(text.contains(&format!("\ncallwatch_cluster_{line}")), "{line} is not in {text}");
                }
                // Every metric of a cluster that the alerting rules name is there.
                let rules = include_str!("../../deploy/prometheus/callwatch.rules.yaml");
                let named: Vec<_> = rules.split(|c: char| !c.is_ascii_lowercase() && c != '_').collect();
                let named: Vec<_> = named.iter().filter(|it| it.starts_with("callwatch_cluster_")).collect();
                assert!(named.len() >= 3 && named.iter().all(|name| text.contains(*name)), "{named:?}");
                return all.iter().filter(|it| it.contains("callwatch_cluster_nodes")).count();
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    assert_eq!(timeout(PATIENCE, counted).await.expect("the cluster is counted"), 1);
    // The series of a source are with the process that polls it.
    let polls = "callwatch_source_last_success_timestamp_seconds{source=\"clinic\"}";
    assert!(metrics(&owner).await.contains(polls) && !metrics(&other).await.contains(polls));

    rig.callem.fail_next(u64::MAX, Failure::Status(500));
    let fails = |status: &Value| {
        let checks = status["service"]["readiness"]["checks"].as_array().unwrap();
        checks
            .iter()
            .any(|check| check["reason"].as_str().unwrap().contains("clinic: it has not answered for"))
    };
    let seen = until(&other, "the failure of a source that another node polls", fails).await;
    assert!(elsewhere(&seen), "{seen:#}");
    rig.callem.heal();
    until(&other, "its recovery", |status| status["service"]["readiness"]["ready"] == true).await;
    owner.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_different_configs_are_told_of() {
    let Some(database) = postgres::database().await else { return };
    let (rig, folder) = (Rig::new().await, Rig::new().await);
    let config = over(&rig, &database);
    let other = format!("{config}\n[rules.only-here]\non = [\"ended\"]\nto = [\"crm\"]\n");
    let (one, two) = two(&rig, &folder, [&config, &other]).await;
    let shown = text(&said(&one.config, &["status"]).await);
    assert!(shown.contains("the nodes have different configs: give all of them the same"), "{shown}");
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_become_too_old_for_the_database_ends_and_says_so() {
    let Some(database) = postgres::database().await else { return };
    let (rig, folder) = (Rig::new().await, Rig::new().await);
    let config = over(&rig, &database);
    let (one, two) = two(&rig, &folder, [&config, &config]).await;
    database.run("INSERT INTO callwatch.schema (version, works_from) VALUES (99, 99)").await;
    for node in [one, two] {
        let (code, log) = node.ended().await;
        assert_ne!(code, Some(0), "{log}");
        assert!(log.contains("was written by a newer callwatch (schema 99"), "{log}");
    }
    assert_eq!(
        database.count("callwatch.duties WHERE owner IS NOT NULL").await,
        0,
        "the others need not wait"
    );
}

/// Its owner waits for a vacancy, and is woken for the error.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_duties_that_has_become_too_old_ends_as_well() {
    let Some(database) = postgres::database().await else { return };
    let lease = Duration::from_secs(3);
    let (url, connection) = (Secret::from(database.url()), Connection::default());
    let store = PostgresStore::open(&PostgresConfig { url, connection, lease }).await.unwrap();
    let serves = BTreeSet::new();
    let (name, version, config) = ("standby".into(), "1".into(), "one".into());
    store.attend(Some(Attendance { name, version, serves, config }));
    let duty = Duty::Source("clinic".into());
    assert!(store.claim(&duty).await.unwrap().is_none(), "it has no share in that");
    database.run("INSERT INTO callwatch.schema (version, works_from) VALUES (99, 99)").await;
    let waiting = async {
        loop {
            store.vacancy(&duty).await;
            if let Err(error) = store.claim(&duty).await {
                return error;
            }
            sleep(Duration::from_millis(1)).await;
        }
    };
    let error = timeout(PATIENCE, waiting).await.expect("it ends");
    assert!(matches!(error, StoreError::TooNew { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_in_a_database_is_left_to_its_vacuum() {
    let Some(database) = postgres::database().await else { return };
    let rig = Rig::new().await;
    rig.callem.add(record("a", "completed"));
    let process = Process::start(&rig, &over(&rig, &database)).await;
    process.says(" baselined, ").await;
    let config = process.config.clone();
    process.stop().await;
    let output = said(&config, &["forget", "--call", "a", "--yes"]).await;
    let said = text(&output);
    assert!(output.status.success() && said.contains("forgotten: 1 call and 0 deliveries"), "{said}");
    assert!(said.contains("the database overwrites the rows when it vacuums"), "{said}");
}

fn fill(database: &Database) -> PostgresConfig {
    let (url, connection) = (Secret::from(database.url()), Connection::default());
    PostgresConfig { url, connection, lease: Duration::from_secs(120) }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_works_on_half_a_store_and_a_migrate_that_was_broken_off_begins_anew() {
    let Some(database) = postgres::database().await else { return };
    let rig = Rig::new().await;
    rig.callem.add(record("a", "in-progress"));
    let process = Process::start(&rig, &rig.config_text()).await;
    process.says(" baselined, ").await;
    let config = process.config.clone();
    process.stop().await;

    // It is killed when it has carried a part.
    let half = PostgresStore::open_to_fill(&fill(&database)).await.unwrap();
    assert!(half.claim(&Duty::Source("clinic".into())).await.unwrap().is_some());
    drop(half);
    let opened = PostgresStore::open(&fill(&database)).await;
    assert!(matches!(opened.err(), Some(StoreError::BeingFilled { .. })));
    let folder = Rig::new().await;
    let over_it = folder.write_config(&over(&rig, &database));
    for args in [&["run"][..], &["status"], &["deliveries", "list"]] {
        let output = said(&over_it, args).await;
        assert!(!output.status.success(), "{args:?}");
        let said = text(&output);
        assert!(said.contains("is being filled by `callwatch migrate`, or one was interrupted"), "{said}");
    }

    // Another one may still be at work, as far as anybody knows.
    let migrate = ["migrate", "--to", database.url()];
    let refused = said(&config, &migrate).await;
    assert!(text(&refused).contains("start this one again in two minutes"), "{}", text(&refused));
    database.run("UPDATE callwatch.duties SET until = clock_timestamp() - interval '1 second'").await;
    let carried = said(&config, &migrate).await;
    assert!(text(&carried).contains("1 calls, 0 deliveries that are not through"), "{}", text(&carried));
    let again = said(&config, &migrate).await;
    assert!(
        text(&again).contains("holds a store already, with 1 calls and 0 deliveries"),
        "{}",
        text(&again)
    );
    assert!(text(&again).contains("DROP SCHEMA callwatch CASCADE"), "{}", text(&again));

    // And back, into a folder that an attempt before has left unfinished.
    let to = rig.dir.path().join("back.db");
    let unfinished = rig.dir.path().join("back.db.filling");
    std::fs::create_dir(&unfinished).unwrap();
    let back = ["migrate", "--to", to.to_str().unwrap()];
    let carried = said(&over_it, &back).await;
    assert!(text(&carried).contains("1 calls, 0 deliveries that are not through"), "{}", text(&carried));
    assert!(to.join("lock").exists() && !unfinished.exists());
    let again = said(&over_it, &back).await;
    assert!(text(&again).contains("there is something in the folder"), "{}", text(&again));

    let process = Process::start(&folder, &over(&rig, &database)).await;
    until(&process, "the process that takes part", |status| status["nodes"][0]["live"] == true).await;
    let refused = PostgresStore::open_to_fill(&fill(&database)).await;
    assert!(matches!(refused.err(), Some(FillError::AtWork(_))));
    process.stop().await;
}

#[tokio::test]
async fn a_mistake_in_an_address_makes_no_folder_and_shows_no_password() {
    let rig = Rig::new().await;
    let process = Process::start(&rig, &rig.config_text()).await;
    let config = process.config.clone();
    process.stop().await;
    for to in [
        "postgres:/callwatch:hunter2@db/callwatch",
        "mysql://callwatch:hunter2@db/x",
        "callwatch:hunter2@db/x",
    ] {
        let output = said(&config, &["migrate", "--to", to]).await;
        let said = text(&output);
        assert!(said.contains("the address of a database begins with postgres://"), "{said}");
        assert!(!output.status.success() && !said.contains("hunter2"), "{said}");
    }
    let names = std::fs::read_dir(rig.dir.path()).unwrap().map(|it| it.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().contains("hunter2")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_refuses_is_told_of_at_once() {
    let Some(database) = postgres::database().await else { return };
    let rig = Rig::new().await;
    let config = over(&rig, &database).replace("/test_", "/nothing_");
    let config = rig.write_config(&config);
    let began = std::time::Instant::now();
    let output = said(&config, &["run"]).await;
    assert!(!output.status.success());
    assert!(text(&output).contains("does not exist (SQLSTATE 3D000)"), "{}", text(&output));
    assert!(began.elapsed() < Duration::from_secs(7), "asking again does not help: {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_behind_one_address_divide_its_requests_and_get_them_back() {
    let Some(database) = postgres::database().await else { return };
    let (rig, folder) = (Rig::new().await, Rig::new().await);
    let config = over(&rig, &database).replacen("[cluster]\n", "[cluster]\nshared_ip = true\n", 1);
    let allowed = |status: &Value| status["service"]["sources"][0]["requests_allowed"].as_u64();
    let (owner, other) = two(&rig, &folder, [&config, &config]).await;
    until(&owner, "half of the requests", |status| allowed(status) == Some(3000)).await;
    other.stop().await;
    until(&owner, "all requests", |status| allowed(status) == Some(6000)).await;
    owner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_elsewhere_is_reached_over_tls_by_the_certificate_that_the_config_trusts() {
    let Some((_server, port, folder)) = postgres::server_with_tls().await else { return };
    let url = format!("postgres://callwatch@127.0.0.1:{port}/postgres?sslmode=require");
    let config = |ca: Option<&str>| PostgresConfig {
        url: Secret::from(url.as_str()),
        connection: Connection { ca_file: ca.map(|name| folder.join(name)), ..Connection::default() },
        lease: Duration::from_secs(15),
    };
    let trusting = PostgresStore::open(&config(Some("cert.pem"))).await.unwrap();
    assert!(trusting.claim(&Duty::Upkeep).await.unwrap().is_some());
    trusting.close().await.unwrap();
    let refused = PostgresStore::open(&config(None)).await.err().unwrap().to_string();
    assert!(refused.contains("certificate"), "{refused}");
}
