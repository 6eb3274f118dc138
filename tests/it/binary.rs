//! The binary as a person or a supervisor meets it: exit codes, messages, signals.

use std::{
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use callwatch::demo::receivers::Misbehaviour;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::rig::{PATIENCE, Rig, analyze, record};

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

/// Sends a signal to a process.
async fn kill(signal: &str, process: &Child) {
    let pid = process.id().expect("it has not been waited for").to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().await.unwrap().success());
}

/// Polls go on and a call is delivered, and SIGTERM ends the process in good order.
async fn works_and_stops(rig: &Rig, mut process: Child) {
    timeout(PATIENCE, rig.callem.wait_for_requests(|counts| counts.total() >= 3)).await.unwrap();
    rig.callem.add(record("a", "completed"));
    timeout(PATIENCE, rig.crm.inbox().wait_for(1)).await.unwrap();
    let so_far = rig.callem.request_counts().total();
    timeout(PATIENCE, rig.callem.wait_for_requests(|counts| counts.total() >= so_far + 20)).await.unwrap();
    kill("-TERM", &process).await;
    let status = timeout(Duration::from_secs(10), process.wait()).await.expect("it stops in time").unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_any_more_stops_nothing() {
    for format in ["human", "json"] {
        let rig = Rig::new().await;
        let config = rig.write_config(&rig.config_text());
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut run = callwatch(&["run", "--log", "trace", "--log-format", format], &config);
        works_and_stops(&rig, run.stderr(writer).spawn().unwrap()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_reader_is_held_up_stops_nothing() {
    let rig = Rig::new().await;
    let config = rig.write_config(&rig.config_text());
    let (_reader, writer) = std::io::pipe().unwrap();
    let mut filler = writer.try_clone().unwrap();
    // Full before callwatch writes its first line. The thread ends with the test, when the reader is gone.
    std::thread::spawn(move || std::io::Write::write_all(&mut filler, &[b'.'; 4 << 20]));
    let mut run = callwatch(&["run", "--log", "trace"], &config);
    works_and_stops(&rig, run.stderr(writer).spawn().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_within_a_second_is_the_same_one() {
    let rig = Rig::new().await;
    let config = rig.write_config(&rig.config_text());
    let process = callwatch(&["run"], &config).spawn().unwrap();
    timeout(PATIENCE, rig.callem.wait_for_requests(|counts| counts.total() >= 3)).await.unwrap();
    rig.crm.misbehave(1, Misbehaviour::Delay(Duration::from_millis(1500)));
    rig.callem.add(record("a", "completed"));
    let so_far = rig.callem.request_counts().total();
    timeout(PATIENCE, rig.callem.wait_for_requests(|counts| counts.total() >= so_far + 3)).await.unwrap();
    for signal in ["-TERM", "-TERM", "-INT"] {
        kill(signal, &process).await;
    }
    let output = timeout(PATIENCE, process.wait_with_output()).await.expect("it stops").unwrap();
    assert_eq!((output.status.code(), rig.webhooks().len()), (Some(0), 1), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_output_that_nobody_reads_is_no_panic() {
    let rig = Rig::new().await;
    let config = rig.write_config(&rig.config_text());
    for args in [
        &["check"][..],
        &["check", "--online"],
        &["preview"],
        &["send", "crm"],
        &["backup"],
        &["deliveries", "list"],
        &["restore"],
        &["explain", "nobody"],
        &["status"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = callwatch(args, &config);
        let output = command.stdout(writer.try_clone().unwrap()).output().await.unwrap();
        assert!(!stderr(&output).contains("panicked"), "{args:?}: {}", stderr(&output));
        let blind = callwatch(args, &config).stdout(writer.try_clone().unwrap()).stderr(writer).output();
        assert_ne!(blind.await.unwrap().status.code(), Some(101), "{args:?}");
    }
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

#[tokio::test(flavor = "multi_thread")]
async fn check_online_tries_the_key_and_says_what_watching_costs() {
    let rig = Rig::new().await;
    for n in 0..250 {
        rig.callem.add(record(&format!("old{n}"), "completed"));
    }
    let text = rig.config_text().replace("sweep = \"2s\"", "sweep = \"1m\"").replace("= 6000", "= 1000");
    let config = rig.write_config(&text);
    let output = callwatch(&["check", "--online"], &config).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let expected = "clinic: the API answers; 250 calls at page_size 100 are 3 requests; a sweep every 1m is 0 % of the budget";
    assert!(said.contains(expected), "{said}");

    // A field that no call has is told, once a call shows what an analysis has.
    assert!(!said.contains("spelled right"), "no call was analyzed: {said}");
    let mut call = record("newest", "completed");
    analyze(&mut call, "negative", true);
    rig.callem.add(call);
    let odd = text.replace("callAnalysis.sentiment", "callAnalysis.sentimnt");
    assert_ne!(odd, text);
    // One that may be missing is not doubted.
    let rule = "[rules.topic]\non = [\"analyzed\"]\nwhen = 'has(call.callAnalysis.topic) && call.callAnalysis.topic == \"x\"'";
    let odd = format!("{odd}\n{rule}\nto = [\"crm\"]\n");
    let output = callwatch(&["check", "--online"], &rig.write_config(&odd)).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = "rule unhappy-caller: call.callAnalysis.sentimnt is missing in what the API shows first (1 analyzed call); is it spelled right?";
    assert_eq!((output.status.code(), said.matches("spelled right").count()), (Some(0), 1), "{said}");
    assert!(said.contains(expected), "{said}");

    let config = rig.write_config(&text.replace("ck_live_0", "ck_live_1"));
    let output = callwatch(&["check", "--online"], &config).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("refused the key") && !said.contains("ck_live"), "{said}");
}
