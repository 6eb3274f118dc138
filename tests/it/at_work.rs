//! The commands beside a callwatch at work: they answer as they do when it is stopped.

use std::{collections::BTreeSet, process::Stdio, time::Duration};

use callwatch::{
    change::Changes,
    config::StoreConfig,
    demo::receivers::Misbehaviour,
    event::{Event, EventId, Subject},
    kind::Kind,
    store::{Commit, Duty, NewDelivery, NewEvent, SledStore, Store},
    time::Timestamp,
};
use serde_json::{Value, value::RawValue};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::{sleep, timeout},
};

use crate::{
    process::{Process, command},
    rig::{PATIENCE, Rig, analyze, record},
};

/// Exit code, standard output and standard error.
async fn run(rig: &Rig, args: &[&str]) -> (Option<i32>, String, String) {
    let output = command(&rig.dir.path().join("config.toml"), args).output();
    let output = timeout(PATIENCE, output).await.expect("it ends").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

async fn fine(rig: &Rig, args: &[&str]) -> String {
    let (code, out, err) = run(rig, args).await;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{args:?} {out}");
    out
}

async fn json(rig: &Rig, args: &[&str]) -> Value {
    serde_json::from_str(&fine(rig, args).await).unwrap()
}

/// Waits until a command prints what it should.
async fn until(rig: &Rig, args: &[&str], is_so: impl Fn(&str) -> bool) -> String {
    let asking = async {
        loop {
            let (_, out, _) = run(rig, args).await;
            if is_so(&out) {
                return out;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{args:?} never prints it"))
}

/// Everything but digits and white space, because time passes between two answers.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' if out.ends_with('0') => {}
            '0'..='9' => out.push('0'),
            c if c.is_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

/// Tries once.
fn impatient(rig: &Rig) -> String {
    let retry = "retry = [\"100ms\", \"200ms\", \"500ms\", \"1s\", \"1s\", \"1s\", \"1s\", \"1s\", \"1s\"]";
    rig.config_text().replace(retry, "retry = []")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_the_same_as_when_it_is_stopped() {
    let rig = Rig::new().await;
    let text = impatient(&rig)
        + "\n[rules.grouped]\non = [\"ended\"]\ngroup = { wait = \"1h\" }\nto = [\"frontdesk\"]\n\
           [rules.soon]\non = [\"ended\"]\ngroup = { wait = \"100ms\" }\nto = [\"manager\"]\n\
           [rules.long]\nwhen = 'call.status == \"live\"'\nfor = \"30m\"\nto = [\"frontdesk\"]\n\
           [rules.away]\non = [\"source.failing\"]\nto = [\"crm\"]\n";
    let process = Process::start(&rig, &text).await;
    process.says(" baselined, ").await;
    rig.crm.misbehave(u64::MAX, Misbehaviour::Status { code: 400, retry_after: None });
    for (id, status) in [("a/b ü", "completed"), ("talking", "live")] {
        let mut call = record(id, status);
        analyze(&mut call, "negative", true);
        rig.callem.add(call);
    }
    // Two of them are told as one by mail, one is held for an hour, and the others are dead or have arrived.
    let settled = |out: &str| {
        let all: Vec<Value> = serde_json::from_str(out).unwrap_or_default();
        all.len() >= 9
            && all
                .iter()
                .all(|it| it["state"] != "pending" && (it["state"] != "held" || it["rule"] == "grouped"))
    };
    let all = until(&rig, &["deliveries", "list", "--json"], settled).await;
    let all: Vec<Value> = serde_json::from_str(&all).unwrap();
    let states: BTreeSet<_> = all.iter().map(|it| it["state"].as_str().unwrap()).collect();
    assert_eq!(states, BTreeSet::from(["dead", "delivered", "held", "merged"]));
    fine(&rig, &["deliveries", "pause", "frontdesk"]).await;
    let dead = all.iter().find(|it| it["state"] == "dead").unwrap()["event"].as_str().unwrap().to_owned();

    let asked: &[&[&str]] = &[
        &["deliveries", "list"],
        &["deliveries", "list", "--json"],
        &["deliveries", "list", "--state", "dead", "--destination", "crm", "--limit", "1"],
        &["deliveries", "list", "--destination", "cmr"],
        &["deliveries", "show", &dead],
        &["deliveries", "show", &dead, "--json"],
        &["deliveries", "show", &dead, "crm", "--answers"],
        &["deliveries", "show", &dead, "manager"],
        &["deliveries", "show", "evt_none"],
        &["deliveries", "drop", &dead, "--dry-run"],
        &["deliveries", "drop", &dead],
        &["deliveries", "retry", "--all", "--destination", "manager"],
        &["deliveries", "resend", "--all", "--destination", "manager", "--dry-run"],
        &["deliveries", "resend", "--yes", &dead, "crm"],
        &["deliveries", "resend", "--yes", "evt_none"],
        &["replay", "--to", "nobody", "--rule", "booked", "--yes"],
        &["replay", "--to", "crm", "--source", "clinic", "--state", "merged", "--dry-run"],
        &["explain", "a/b ü"],
        &["explain", "a/b ü", "--json"],
        &["explain", "talking"],
        &["explain", "+33 6 12 34 56 78"],
        &["explain", "talking", "--source", "clinic", "--json"],
        &["explain", "nobody"],
        &["explain", "a/b ü", "--source", "other"],
    ];
    let mut answers = vec![];
    for args in asked {
        answers.push(run(&rig, args).await);
    }
    process.stop().await;
    for (args, (code, out, err)) in asked.iter().zip(answers) {
        let (code_now, out_now, err_now) = run(&rig, args).await;
        assert_eq!((code, err), (code_now, err_now), "{args:?}");
        assert_eq!(without_numbers(&out), without_numbers(&out_now), "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_retried_is_delivered_and_what_is_paused_waits() {
    let rig = Rig::new().await;
    let process = Process::start(&rig, &impatient(&rig)).await;
    process.says(" baselined, ").await;
    fine(&rig, &["deliveries", "pause", "crm"]).await;
    rig.callem.add(record("a", "completed"));
    let waits = |out: &str| out.contains("paused by hand): 1 delivery waits until");
    until(&rig, &["deliveries", "list"], waits).await;
    assert_eq!(rig.webhooks(), []);
    rig.crm.misbehave(1, Misbehaviour::Status { code: 400, retry_after: None });
    assert_eq!(
        fine(&rig, &["deliveries", "resume", "crm"]).await,
        "crm is resumed; 1 delivery waits for it\n"
    );
    let dead = |out: &str| out.contains(" dead ");
    until(&rig, &["deliveries", "list"], dead).await;
    let said = fine(&rig, &["deliveries", "retry", "--all", "--destination", "crm"]).await;
    assert_eq!(said, "1 delivery is due again\n");
    timeout(PATIENCE, rig.crm.inbox().wait_for(1)).await.unwrap();
    let (code, out, err) = run(&rig, &["deliveries", "retry", "--all", "--destination", "crm"]).await;
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (Some(1), "", "callwatch: nothing to do: no delivery of it is dead\n")
    );

    // The receiver sees the repeat by its id, and it is in the list beside the first.
    let said = fine(&rig, &["deliveries", "resend", "--all", "--destination", "crm", "--yes"]).await;
    assert_eq!(said, "1 delivery is sent again\n");
    timeout(PATIENCE, rig.crm.inbox().wait_for(2)).await.unwrap();
    let ids: BTreeSet<_> = rig.webhooks().into_iter().map(|webhook| webhook.id).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let twice = |out: &str| out.matches(" delivered ").count() == 2;
    until(&rig, &["deliveries", "list"], twice).await;
    fine(&rig, &["deliveries", "drop", ids.first().unwrap(), "--yes"]).await;
    rig.callem.add(record("c", "completed"));
    timeout(PATIENCE, rig.crm.inbox().wait_for(3)).await.unwrap();

    rig.crm.misbehave(1, Misbehaviour::Status { code: 400, retry_after: None });
    rig.callem.add(record("b", "completed"));
    until(&rig, &["deliveries", "list", "--state", "dead"], dead).await;
    let drop = ["deliveries", "drop", "--all", "--destination", "crm"];
    assert_eq!(fine(&rig, &[&drop[..], &["--dry-run"]].concat()).await, "1 delivery would be dropped\n");
    let (code, out, err) = run(&rig, &drop).await;
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("add --yes, or --dry-run to count"), "{err}");
    assert_eq!(fine(&rig, &[&drop[..], &["--yes"]].concat()).await, "1 delivery is dropped\n");
    assert_eq!(json(&rig, &["deliveries", "list", "--json"]).await.as_array().unwrap().len(), 1);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_as_long_as_they_were_asked_for() {
    let rig = Rig::new().await;
    let config = StoreConfig {
        path: rig.store_path(),
        database: None,
        retain: Duration::from_secs(86_400),
        cache: 8 << 20,
    };
    let store = SledStore::open(&config).await.unwrap();
    let claim = store.claim(&Duty::Source("clinic".into())).await.unwrap().unwrap();
    let now = Timestamp::from_millis(chrono::Utc::now().timestamp_millis());
    for part in 0..5 {
        let events = (0..500).map(|number| {
            let id = format!("evt_{part}_{number}");
            let event = Event {
                id: EventId::from(id.as_str()),
                subject: Subject::Call { source: "clinic".into(), call: id.as_str().into() },
                rule: "call-completed".into(),
                also: vec![],
                kinds: Kind::Ended.into(),
                changes: Changes::default(),
                at: now,
                record: RawValue::from_string("{}".to_owned()).unwrap().into(),
            };
            let delivery = NewDelivery { destination: "gone".into(), sequence: 1, created: now, hold: None };
            NewEvent { event, deliveries: vec![delivery] }
        });
        store.commit(&claim, Commit { events: events.collect(), ..Commit::default() }).await.unwrap();
    }
    store.close().await.unwrap();
    let process = Process::start(&rig, &rig.config_text()).await;
    for (limit, length) in [("1", 1), ("1000", 1000), ("2100", 2100), ("9999", 2500)] {
        let all = json(&rig, &["deliveries", "list", "--json", "--limit", limit]).await;
        let events: BTreeSet<_> = all.as_array().unwrap().iter().map(|it| it["event"].to_string()).collect();
        assert_eq!((all.as_array().unwrap().len(), events.len()), (length, length), "{limit}");
    }
    let out = fine(&rig, &["deliveries", "drop", "--all", "--destination", "gone", "--yes"]).await;
    assert_eq!(out, "2500 deliveries are dropped\n");
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_whether_it_works_what_is_stuck_and_what_to_do() {
    let rig = Rig::new().await;
    let text = impatient(&rig);
    let process = Process::start(&rig, &text).await;
    process.says(" baselined, ").await;
    let fits = |out: &str| {
        assert!(out.lines().all(|line| line.chars().count() <= 80) && out.lines().count() <= 24, "{out}");
    };
    let out = until(&rig, &["status"], |out| out.contains("all is well")).await;
    fits(&out);
    assert!(
        out.contains("clinic") && out.contains("of 6000 a minute") && !out.contains("what to do"),
        "{out}"
    );
    assert_eq!(run(&rig, &["status"]).await.0, Some(0));

    rig.crm.misbehave(u64::MAX, Misbehaviour::Status { code: 400, retry_after: None });
    rig.callem.add(record("a", "completed"));
    process.says("given up").await;
    fine(&rig, &["deliveries", "pause", "frontdesk"]).await;
    process.edit("intervall = 1");
    process.signal("-HUP").await;
    process.says("the config is not used").await;
    // The mistakes in the file keep nobody from seeing how it does.
    let (code, out, err) = run(&rig, &["status"]).await;
    assert!(err.contains("unknown key `intervall`"), "{err}");
    fits(&out);
    assert_eq!(code, Some(1), "{out}");
    for part in [
        "runs, and not all is well\n  - config: the config file on disk is not used: the config file has ",
        "\nwhat to do\n  - mend the config file; `callwatch check` shows every mistake in it\n",
        "`callwatch deliveries retry --all --destination crm` tries them again",
        "  - frontdesk: paused since 20",
    ] {
        let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat(&out).contains(&flat(part)), "{part} in\n{out}");
    }
    let status: Value = serde_json::from_str(&run(&rig, &["status", "--json"]).await.1).unwrap();
    assert_eq!(status["service"]["readiness"]["ready"], false, "{status}");

    process.edit(&text);
    process.signal("-HUP").await;
    process.says_times("the config is at work", 2).await;
    let mut watching = command(&process.config, &["status", "--watch"]);
    let mut watching = watching.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let twice = async {
        let mut screens = 0;
        while screens < 2 {
            screens += usize::from(lines.next_line().await.unwrap().unwrap().contains("callwatch 0"));
        }
    };
    timeout(PATIENCE, twice).await.expect("it shows it again");
    process.stop().await;
    let stopped =
        async { while !lines.next_line().await.unwrap().unwrap().contains("callwatch is stopped") {} };
    timeout(PATIENCE, stopped).await.expect("it notices the end");
    watching.kill().await.unwrap();
    let (code, out, _) = run(&rig, &["status"]).await;
    fits(&out);
    assert_eq!(code, Some(1));
    assert!(out.starts_with("callwatch is stopped; this is how its store stands\n"), "{out}");
    assert!(out.contains("start it: `callwatch run`") && !out.contains("SOURCE"), "{out}");
    rig.write_config("intervall = 1");
    let (code, out, err) = run(&rig, &["status"]).await;
    assert_eq!((code, out.as_str()), (Some(78), ""), "{err}");
}

/// How crm stands, as `status` and the API have it.
async fn state_of_crm(rig: &Rig) -> (Option<i32>, Value) {
    let (code, out, err) = run(rig, &["status", "--json"]).await;
    let status: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out} {err}"));
    let crm = |it: &&Value| it["name"] == "crm";
    let crm = status["destinations"].as_array().unwrap().iter().find(crm).unwrap().clone();
    (code, crm)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_retries_is_tried_at_once_and_a_mended_destination_is_well_again() {
    let rig = Rig::new().await;
    let process = Process::start(&rig, &rig.config_text()).await;
    process.says(" baselined, ").await;
    rig.crm.misbehave(u64::MAX, Misbehaviour::Status { code: 503, retry_after: None });
    rig.callem.add(record("a", "completed"));
    rig.callem.add(record("b", "completed"));
    let failing = |out: &str| out.contains("failing");
    let screen = until(&rig, &["status"], failing).await;
    let screen = screen.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        screen.contains("runs, and not all is well")
            && screen.contains("retry --all --state pending --destination crm"),
        "{screen}"
    );
    assert_eq!(state_of_crm(&rig).await.0, Some(1));
    let shown = until(&rig, &["explain", "a"], |out| out.contains("crm is failing")).await;
    assert!(!shown.contains("due now"), "{shown}");

    // The receiver is mended. Left alone it is for ten seconds at least, but somebody says that it is well.
    rig.crm.behave();
    fine(&rig, &["deliveries", "retry", "--all", "--state", "pending", "--destination", "crm"]).await;
    let arrived = |out: &str| {
        let all: Vec<Value> = serde_json::from_str(out).unwrap_or_default();
        all.len() == 2
    };
    let list = ["deliveries", "list", "--state", "delivered", "--destination", "crm", "--json"];
    let all = until(&rig, &list, arrived).await;
    let all: Vec<Value> = serde_json::from_str(&all).unwrap();
    let waited = all.iter().map(|delivery| {
        let log = delivery["log"].as_array().unwrap();
        let at = |back: usize| Timestamp::parse(log[log.len() - back]["at"].as_str().unwrap()).unwrap();
        at(1).since(at(2))
    });
    assert!(waited.min().unwrap() < Duration::from_secs(10), "{all:?}");

    // It fails again, and is mended by an edit of the config.
    rig.crm.misbehave(u64::MAX, Misbehaviour::Status { code: 503, retry_after: None });
    rig.callem.add(record("c", "completed"));
    rig.callem.add(record("d", "completed"));
    until(&rig, &["status"], failing).await;
    rig.crm.behave();
    process.edit(&rig.config_text().replace("[destinations.crm]", "[destinations.crm]\ntimeout = \"9s\""));
    until(&rig, &list, |out| serde_json::from_str::<Vec<Value>>(out).unwrap_or_default().len() == 4).await;
    let (code, crm) = state_of_crm(&rig).await;
    assert_eq!((code, &crm["work"]["state"]), (Some(0), &Value::from("ok")), "{crm}");
    process.stop().await;
}
