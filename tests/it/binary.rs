//! The binary as a person or a supervisor meets it: exit codes, messages, signals.

use std::{
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use callwatch::demo::receivers::Misbehaviour;
use tokio::{process::Command, time::timeout};

use crate::rig::{PATIENCE, Rig, record};

fn callwatch(args: &[&str], config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callwatch"));
    command.args(args).arg("--config").arg(config);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn run_refuses_a_config_with_mistakes_and_lists_all_of_them() {
    let rig = Rig::new().await;
    let text =
        rig.config_text().replace("interval =", "intervall =").replace("to = [\"crm\"]", "to = [\"cmr\"]");
    let config = rig.write_config(&text);
    for command in ["run", "check"] {
        let output = callwatch(&[command], &config).output().await.unwrap();
        assert_eq!(output.status.code(), Some(78), "{command}");
        let said = stderr(&output) + &String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("intervall") && said.contains("cmr"), "{command}: {said}");
        assert!(said.contains("config.toml:"), "{command} names file and line: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_in_use_is_refused_with_a_message_that_names_the_process() {
    let rig = Rig::new().await;
    let config = rig.write_config(&rig.config_text());
    let first = callwatch(&["run"], &config).spawn().unwrap();
    let polled = rig.callem.wait_for_requests(|counts| counts.total() >= 1);
    timeout(PATIENCE, polled).await.unwrap();
    let second = callwatch(&["run"], &config).output().await.unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = stderr(&second);
    assert!(said.contains("in use") && said.contains(&first.id().unwrap().to_string()), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_attempts_in_flight_end_and_stops_in_good_order() {
    let rig = Rig::new().await;
    let config = rig.write_config(&rig.config_text());
    let process = callwatch(&["run", "--log-format", "json"], &config).spawn().unwrap();
    timeout(PATIENCE, rig.callem.wait_for_requests(|counts| counts.total() >= 3)).await.unwrap();
    rig.crm.misbehave(1, Misbehaviour::Delay(Duration::from_millis(1500)));
    let mut call = record("a", "completed");
    call["transcript"][0]["content"] = "secret words".into();
    rig.callem.add(call);
    // The next poll commits the call; the attempt begins right after.
    let so_far = rig.callem.request_counts().total();
    timeout(PATIENCE, rig.callem.wait_for_requests(|counts| counts.total() >= so_far + 3)).await.unwrap();
    let pid = process.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    let output = timeout(PATIENCE, process.wait_with_output()).await.expect("it stops").unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(rig.webhooks().len(), 1, "the attempt in flight was let end");
    let so_far = rig.callem.request_counts().total();
    let said = stderr(&output);
    for line in said.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("every log line is JSON");
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
    assert!(said.contains("delivered") && said.contains("+3361•••5678"), "{said}");
    for secret in ["secret words", "ck_live", "+33612345678", callwatch::demo::receivers::DEMO_SECRET] {
        assert!(!said.contains(secret), "{secret} in the log");
    }

    // Started again, it has nothing to do.
    let process = callwatch(&["run"], &config).spawn().unwrap();
    timeout(PATIENCE, rig.callem.wait_for_requests(|counts| counts.total() >= so_far + 5)).await.unwrap();
    drop(process);
    assert_eq!(rig.webhooks().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn help_and_wrong_usage_have_their_exit_codes() {
    let run = |args: &'static [&'static str]| {
        Command::new(env!("CARGO_BIN_EXE_callwatch")).args(args).stdin(Stdio::null()).output()
    };
    for (args, code) in [(&["--help"][..], 0), (&["--version"], 0), (&["runn"], 2), (&["run"], 2), (&[], 2)] {
        assert_eq!(run(args).await.unwrap().status.code(), Some(code), "{args:?}");
    }
}
