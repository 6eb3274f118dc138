//! `callwatch explain` as a person meets it: why a rule did or did not fire for a call, and what became of it.

use std::{process::Stdio, time::Duration};

use callwatch::{
    call::Call,
    config::StoreConfig,
    name::Name,
    rule::RuleSet,
    store::{Commit, Duty, SledStore, Store},
    sync::watcher::{Memory, Watcher},
    time::Timestamp,
};
use serde_json::{Value, value::to_raw_value};
use tokio::{process::Command, time::timeout};

use crate::rig::{PATIENCE, Rig, Running, analyze, complete, record};

/// Rules that hold back, wait, and look at other things.
const MORE: &str = r#"
    [rules.grouped]
    on = ["ended"]
    group = { wait = "1h" }
    to = ["frontdesk"]

    [rules.soon]
    on = ["ended"]
    group = { wait = "100ms" }
    to = ["manager"]

    [rules.three]
    on = ["ended"]
    count = { at_least = 3, within = "1h" }
    to = ["frontdesk"]

    [rules.long]
    when = 'call.status == "live" && call.isEngaged'
    for = "30m"
    to = ["frontdesk"]

    [rules.gone]
    on = ["deleted"]
    to = ["crm"]

    [rules.words]
    when = 'call.transcript.exists(t, t.content.contains("refund"))'
    to = ["crm"]

    [rules.away]
    on = ["source.failing"]
    to = ["crm"]
"#;

async fn explain(rig: &Rig, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callwatch"));
    command.arg("explain").args(args).arg("--config").arg(rig.dir.path().join("config.toml"));
    command.env_remove("STATE_DIRECTORY").stdin(Stdio::null());
    let output = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[track_caller]
fn fine((code, out, err): (Option<i32>, String, String)) -> String {
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    for line in out.lines().filter(|_| !out.starts_with('{')) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    out
}

/// Waits until everything that is not held has arrived, and this many have been told as part of others.
async fn told(running: &Running, merged: u64) {
    let told = async {
        loop {
            let all = running.store.destinations().await.unwrap();
            let done = all.values().map(|standing| standing.tally.merged).sum::<u64>() == merged;
            if done && all.values().all(|standing| standing.tally.pending == 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, told).await.expect("everything arrives");
}

/// The part of an explanation that is about a rule.
fn about<'o>(out: &'o str, rule: &str) -> &'o str {
    let begin = out.find(&format!("\n{rule} ")).unwrap_or_else(|| panic!("{rule} in\n{out}")) + 1;
    let rest = &out[begin..];
    let end = rest.match_indices('\n').find(|(at, _)| !rest[at + 1..].starts_with(' '));
    &rest[..end.map_or(rest.len(), |(at, _)| at)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_explained_rule_by_rule_with_what_became_of_each_delivery() {
    let rig = Rig::new().await;
    let text = rig.config_text() + MORE;
    rig.write_config(&text);
    let mut running = rig.start_with(rig.parse(&text)).await;
    running.baseline().await;
    rig.callem.add(record("unhappy", "live"));
    let mut talking = record("talking", "live");
    let now = Timestamp::from_millis(chrono::Utc::now().timestamp_millis());
    talking["createdAt"] = now.to_string().into();
    talking["updatedAt"] = now.to_string().into();
    // Some projects have it as a number in JSON.
    talking["callerNumber"] = 33_612_345_678_u64.into();
    rig.callem.add(talking);
    running.quiet_polls(2).await;
    rig.callem.update("unhappy", complete);
    running.quiet_polls(2).await;
    rig.callem.update("unhappy", |call| analyze(call, "negative", false));
    running.quiet_polls(2).await;
    told(&running, 1).await;

    // The store is in use, and nobody answers at its socket.
    let (code, out, err) = explain(&rig, &["unhappy"]).await;
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.starts_with(&format!("callwatch: callwatch is running (process {})", std::process::id())),
        "{err}"
    );
    running.stop().await;

    for typed in [&["+33", "6", "12", "34", "56", "78"][..], &["+33 6 12 34 56 78"], &["06.12.34.56.78"]] {
        let out = fine(explain(&rig, typed).await);
        let newest = "call talking of clinic\n  the newest of 2 calls of 33612•••5678; the other:\n    unhappy of clinic, ";
        assert!(out.starts_with(newest), "{typed:?}: {out}");
    }
    let (code, out, err) = explain(&rig, &["+33 6 99 99 99 99"]).await;
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("is known of") && !err.contains("9999"), "{err}");

    let out = fine(explain(&rig, &["unhappy"]).await);
    assert!(out.starts_with("call unhappy of clinic\n  first seen    20"), "{out}");
    for part in [
        "\n  has been      started, ended, analyzed\n",
        "\n  seen in       3 states\n",
        "\n  callerNumber  +33612345678\n",
        "\n  callAnalysis.sentiment negative\n",
    ] {
        assert!(out.contains(part), "{part} in\n{out}");
    }
    assert!(!out.contains("Hello"), "a transcript is not shown: {out}");

    let unhappy = about(&out, "unhappy-caller");
    assert!(unhappy.starts_with("unhappy-caller fired at 20") && unhappy.contains(" ago), once per call\n"));
    assert!(unhappy.contains("\n  true     call.callAnalysis.sentiment == \"negative\"\n"), "{unhappy}");
    assert!(unhappy.contains("\n             call.callAnalysis.sentiment is \"negative\"\n"), "{unhappy}");
    assert!(
        unhappy.contains("\n  → frontdesk  evt_") && unhappy.contains("\n  → manager  evt_"),
        "{unhappy}"
    );
    assert_eq!(unhappy.matches("\n    delivered at 20").count(), 2, "{unhappy}");
    assert!(unhappy.contains(" ms  200 OK"), "{unhappy}");
    let booked = about(&out, "booked");
    assert!(booked.starts_with("booked did not fire: its condition was not true when it last looked\n"));
    assert!(booked.contains("\n  false    call.callAnalysis.appointmentBooked"), "{booked}");
    assert!(about(&out, "call-completed").starts_with("call-completed fired 2 times\n"), "{out}");
    let grouped = about(&out, "grouped");
    assert!(grouped.contains("\n    held: waits in batch group/grouped/"), "{grouped}");
    assert!(grouped.contains("\n    goes out at 20") && grouped.contains(" UTC (in 59m)"), "{grouped}");
    let soon = about(&out, "soon");
    assert!(soon.contains(": told as part of evt_") || soon.contains("told as part of\n    evt_"), "{soon}");
    assert!(soon.contains(" is delivered at 20"), "{soon}");
    let three = about(&out, "three");
    assert!(three.contains("goes out when as many have come in as the rule's `count` says"), "{three}");
    assert!(about(&out, "words").contains("(transcripts are not kept"), "{out}");
    assert_eq!(about(&out, "gone"), "gone did not fire: it looks at `deleted`, and that has not happened");
    assert_eq!(about(&out, "away"), "away is not about calls");

    // A condition in its parts, of a call that is not over and has no analysis.
    let out = fine(explain(&rig, &["talking"]).await);
    let long = about(&out, "long");
    assert!(
        long.starts_with("long waits: true since 20") && long.contains("; fires at")
            || long.contains(", fires at"),
        "{long}"
    );
    assert!(long.contains("\n    true     call.status == \"live\"\n"), "{long}");
    let unhappy = about(&out, "unhappy-caller");
    assert!(unhappy.contains("\n  unknown  call.callAnalysis.sentiment == \"negative\"\n"), "{unhappy}");
    assert!(unhappy.contains("call.callAnalysis is null"), "{unhappy}");
    assert!(about(&out, "call-completed").contains("it looks at `ended`, `analyzed`"), "{out}");

    let all: Value = serde_json::from_str(&fine(explain(&rig, &["unhappy", "--json"]).await)).unwrap();
    assert_eq!((&all["source"], &all["known"]["states"]), (&"clinic".into(), &3.into()));
    assert!(all["known"]["fields"].get("transcript").is_none());
    let rule = |name: &str| {
        all["rules"].as_array().unwrap().iter().find(|rule| rule["rule"] == name).unwrap().clone()
    };
    assert_eq!(rule("unhappy-caller")["verdict"], "fired");
    assert_eq!(rule("unhappy-caller")["condition"]["is"], "true");
    assert_eq!(rule("unhappy-caller")["deliveries"][0]["state"], "delivered");
    assert!(rule("grouped")["deliveries"][0]["goes_out"].is_string());
    assert_eq!(rule("gone")["verdict"], "nothing_happened");

    let (code, _, err) = explain(&rig, &["+3361•••5678"]).await;
    assert!(code == Some(1) && err.contains("a log shows numbers masked"), "{err}");
    let (code, _, err) = explain(&rig, &["nobody"]).await;
    assert_eq!(code, Some(1));
    assert_eq!(err, "callwatch: no call nobody is known of `clinic`: callwatch has not seen it\n");
}

/// Remembers a call that was there before.
async fn remember(store: &SledStore, rig: &Rig, source: &str, call: &Value) {
    let source = Name::from(source);
    let rules = rig.parse(&(rig.config_text() + MORE)).rules;
    let mut watcher = Watcher::new(source.clone(), RuleSet::of(&rules), Memory::default());
    let now = Timestamp::from_millis(chrono::Utc::now().timestamp_millis());
    let call = Call::parse(&to_raw_value(call).unwrap()).unwrap();
    let mut commit = Commit::default();
    let claim = store.claim(&Duty::Source(source)).await.unwrap().unwrap();
    watcher.observe(None, &call, now).commit_into(&mut commit);
    store.commit(&claim, commit).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_before_is_said_so_and_sources_are_told_apart() {
    let rig = Rig::new().await;
    let annex = format!(
        "\n[sources.annex]\napi_key = \"ck_live_{}\"\nbase_url = \"{}\"\n",
        "1".repeat(60),
        rig.callem.base_url()
    );
    rig.write_config(&(rig.config_text() + &annex + MORE));
    let (code, _, err) = explain(&rig, &["old"]).await;
    assert_eq!(code, Some(1));
    assert!(err.contains("there is no store at "), "{err}");

    let config = StoreConfig {
        path: rig.store_path(),
        database: None,
        retain: Duration::from_secs(86_400),
        cache: 8 << 20,
    };
    let store = SledStore::open(&config).await.unwrap();
    let mut call = record("old", "completed");
    analyze(&mut call, "negative", false);
    remember(&store, &rig, "clinic", &call).await;
    remember(&store, &rig, "annex", &record("old", "completed")).await;
    store.close().await.unwrap();

    let (code, _, err) = explain(&rig, &["old"]).await;
    assert_eq!(code, Some(1));
    assert_eq!(err, "callwatch: call old is known of `clinic`, `annex`; say which is meant with --source\n");
    let out = fine(explain(&rig, &["old", "--source", "clinic"]).await);
    let unhappy = about(&out, "unhappy-caller");
    assert!(
        unhappy.starts_with("unhappy-caller did not fire: nothing has happened to the call"),
        "{unhappy}"
    );
    assert!(unhappy.contains("\n  true     call.callAnalysis.sentiment == \"negative\""), "{unhappy}");
    let (code, _, err) = explain(&rig, &["old", "--source", "anex"]).await;
    assert_eq!(code, Some(1));
    assert_eq!(err, "callwatch: there is no source `anex`; there is `clinic`, `annex`\n");
}
