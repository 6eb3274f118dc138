//! `callwatch forget`: a caller is forgotten for good, beside an API that still lists the calls.

use std::{fs, path::Path, time::Duration};

use callwatch::demo::receivers::Misbehaviour;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::{
    process::{Process, command},
    rig::{PATIENCE, Rig, analyze, complete, record},
};

const HER_NUMBER: &str = "+33699998888";

async fn run(rig: &Rig, args: &[&str]) -> (Option<i32>, String, String) {
    let output = command(&rig.dir.path().join("config.toml"), args).output();
    let output = timeout(PATIENCE, output).await.expect("it ends").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A call of hers; its id says so, and everything else is hers alone.
fn hers(id: &str, status: &str) -> Value {
    let mut call = record(id, status);
    call["callerNumber"] = HER_NUMBER.into();
    call["callAnalysis"] = serde_json::json!({ "patient": "Ada Quill" });
    call
}

/// Whether a text stands in a file of this folder, backups apart.
fn holds(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => path.file_name().unwrap() != "backups" && holds(&path, text),
            false => fs::read(&path).is_ok_and(|it| it.windows(text.len()).any(|it| it == text.as_bytes())),
        }
    })
}

/// Waits until the list of all deliveries is as it should be.
async fn until(rig: &Rig, is_so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let asking = async {
        loop {
            let (_, out, _) = run(rig, &["deliveries", "list", "--json", "--limit", "500"]).await;
            let all: Vec<Value> = serde_json::from_str(&out).unwrap_or_default();
            if is_so(&all) {
                return all;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, asking).await.expect("the list becomes so")
}

fn about<'a>(all: &'a [Value], call: &'a str) -> impl Iterator<Item = &'a Value> {
    all.iter().filter(move |it| it["call"] == call)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_forgotten_beside_an_api_that_still_lists_the_calls() {
    let rig = Rig::new().await;
    // One receiver takes everything, one nothing, and one is told an hour later, of all calls together.
    let text = rig.config_text()
        + "\n[rules.tells]\non = [\"started\", \"ended\", \"updated\", \"deleted\"]\nto = [\"crm\", \"frontdesk\"]\n\
           [rules.together]\non = [\"ended\"]\ngroup = { wait = \"1h\" }\nto = [\"manager\"]\n";
    rig.frontdesk.misbehave(u64::MAX, Misbehaviour::Status { code: 503, retry_after: None });
    let patient = text.replace("retry = [\"100ms\", \"200ms\",", "retry = [\"100ms\", \"1h\",");
    let process = Process::start(&rig, &patient).await;
    process.says(" baselined, ").await;
    for call in [hers("hers-over", "completed"), hers("hers-live", "live"), record("others", "completed")] {
        rig.callem.add(call);
    }
    until(&rig, |all| {
        let of = |state: &str| all.iter().filter(|it| it["state"] == state).count();
        let is_tried = all.iter().any(|it| it["state"] == "pending" && it["attempts"] != 0);
        is_tried && of("held") == 2 && of("pending") == 3 && of("delivered") >= 5
    })
    .await;
    assert!(holds(&rig.store_path(), HER_NUMBER) && holds(&rig.store_path(), "Ada Quill"));

    let typed = ["forget", "+33", "6", "99 99", "88 88"];
    let (code, out, err) = run(&rig, &typed).await;
    assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
    assert!(err.contains("add --yes, or --dry-run to count"), "{err}");
    let (code, would, _) = run(&rig, &[&typed[..], &["--dry-run"]].concat()).await;
    assert_eq!(code, Some(0));
    assert!(
        would.starts_with("2 calls and ") && would.contains("which have not arrived and never will would be")
    );
    // Six digits are also the end of other numbers; so many say who is meant here.
    let (code, out, err) = run(&rig, &["forget", "06 99 99 88 88", "--yes", "--json"]).await;
    assert_eq!(code, Some(0), "{err}");
    let erased: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&erased["calls"], &erased["mark"]), (&2.into(), &"5a0a".into()), "{erased}");
    assert!(erased["undelivered"].as_u64() >= Some(3), "{erased}");
    let told_before = rig.webhooks().len();

    // The API goes on with these calls, and with others.
    rig.callem.update("hers-live", complete);
    rig.callem.update("hers-over", |call| analyze(call, "negative", true));
    rig.callem.update("others", |call| analyze(call, "negative", true));
    rig.callem.add(record("later", "completed"));
    rig.frontdesk.behave();
    let is_over = |all: &[Value]| {
        about(all, "later").any(|it| it["state"] == "delivered" && it["destination"] == "crm")
            && about(all, "others").any(|it| it["rule"] == "booked")
    };
    let all = until(&rig, is_over).await;
    assert_eq!(about(&all, "hers-over").chain(about(&all, "hers-live")).count(), 0, "{all:?}");
    // A request after that has shown them in their new state.
    let answers = rig.callem.answers();
    while rig.callem.answers() < answers + 3 {
        sleep(Duration::from_millis(20)).await;
    }
    rig.callem.delete("hers-over");
    let log = process.stop().await;
    assert!(log.contains("forgot a number with mark 5a0a: 2 calls, "), "{log}");
    for secret in ["99998888", "99 99", "Ada"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
    let calls: Vec<_> = rig.webhooks().split_off(told_before).into_iter().map(|it| it.call).collect();
    assert!(!calls.is_empty() && calls.iter().all(|call| !call.starts_with("hers")), "{calls:?}");

    // Started again, it takes them neither for new nor for changed.
    let process = Process::start(&rig, &patient).await;
    let answers = rig.callem.answers();
    rig.callem.update("hers-live", |call| analyze(call, "negative", true));
    rig.callem.add(record("last", "completed"));
    until(&rig, |all| about(all, "last").count() > 0).await;
    while rig.callem.answers() < answers + 3 {
        sleep(Duration::from_millis(20)).await;
    }
    let (code, story, _) = run(&rig, &["explain", "hers-live"]).await;
    assert!(story.contains("erased by `callwatch forget`"), "{story}");
    assert!(code == Some(0) && !story.contains("99998888"), "{story}");
    let log = process.stop().await;
    assert!(log.contains("its files were rewritten"), "{log}");
    for text in [HER_NUMBER, "99998888", "Ada Quill"] {
        assert!(!holds(&rig.store_path(), text), "{text} is left in the files");
    }
    assert!(holds(&rig.store_path(), "+33612345678"), "others are there");
    let (_, out, _) = run(&rig, &["deliveries", "list", "--json", "--limit", "500"]).await;
    let all: Vec<Value> = serde_json::from_str(&out).unwrap();
    assert_eq!(about(&all, "hers-over").chain(about(&all, "hers-live")).count(), 0);
    assert!(about(&all, "others").count() >= 4);
    assert!(rig.slack_texts().iter().all(|text| !text.contains("8888")), "{:?}", rig.slack_texts());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_store_forgets_one_call_at_once_and_nothing_of_the_others() {
    let rig = Rig::new().await;
    let process = Process::start(&rig, &rig.config_text()).await;
    process.says(" baselined, ").await;
    rig.callem.add(hers("one", "completed"));
    rig.callem.add(hers("two", "completed"));
    rig.callem.update("one", |call| call["summary"] = "Only in the first.".into());
    until(&rig, |all| all.iter().filter(|it| it["state"] == "delivered").count() >= 2).await;
    process.stop().await;
    assert!(holds(&rig.store_path(), "Only in the first."));

    let (code, _, err) = run(&rig, &["forget", "--call", "nobody", "--yes"]).await;
    assert_eq!((code, err.as_str()), (Some(1), "callwatch: nothing is known of a call nobody\n"));
    let (code, _, err) = run(&rig, &["forget", "+33 1 23 45 67 89", "--yes"]).await;
    assert_eq!((code, err.as_str()), (Some(1), "callwatch: nothing is known of a caller with this number\n"));
    let (code, _, err) = run(&rig, &["forget", "Ada", "--yes"]).await;
    assert!(code == Some(1) && err.contains("this is no phone number"), "{err}");
    let (code, out, _) = run(&rig, &["forget", "--call", "one", "--yes"]).await;
    assert_eq!(code, Some(0));
    assert!(out.starts_with("forgotten: 1 call and ") && !out.contains("started next"), "{out}");
    assert!(!holds(&rig.store_path(), "Only in the first.") && holds(&rig.store_path(), HER_NUMBER));
    let (code, _, err) = run(&rig, &["forget", "--call", "one", "--yes"]).await;
    assert_eq!((code, err.as_str()), (Some(1), "callwatch: call one has been forgotten already\n"));
    let (_, out, _) = run(&rig, &["forget", HER_NUMBER, "--yes"]).await;
    assert!(out.starts_with("forgotten: 1 call and "), "the other one: {out}");
    assert!(!holds(&rig.store_path(), HER_NUMBER));
}
