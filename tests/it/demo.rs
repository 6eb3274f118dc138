//! `callwatch demo` as a newcomer sees it: it explains itself, loses nothing, and leaves nothing behind.

use std::{path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{postgres, rig::PATIENCE, server::until};

fn demo(args: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callwatch"));
    command.arg("demo").args(args).env("TMPDIR", folder).env_remove("CALLWATCH_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Everything on standard output, after checking the exit code and that nothing is on standard error.
async fn printed(mut command: Command, code: i32) -> String {
    let output = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*stderr), (Some(code), ""), "{text}");
    text
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

/// Reads up to and including the first line that contains `part`.
async fn read_until(child: &mut Child, part: &str) -> BufReader<tokio::process::ChildStdout> {
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains(part) {
        line.clear();
        let read = timeout(PATIENCE, out.read_line(&mut line)).await.unwrap().unwrap();
        assert!(read > 0, "it ended before it said {part:?}");
    }
    out
}

async fn interrupt(child: &Child) {
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
}

#[tokio::test]
async fn a_short_demo_shows_everything_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();

    let text = printed(demo(&["--for", "3s"], folder.path()), 0).await;

    for part in [
        "a simulated Callem, 150 old calls",
        "150 calls were here before: remembered, not announced",
        "call-completed → crm",
        "call-completed: call.ended, signature verified, in ",
        "none lost: ",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    assert!(!text.contains('\x1b'), "no colours in a pipe");
    let number =
        |line: &str| line.split('+').skip(1).any(|rest| rest.bytes().take(8).all(|b| b.is_ascii_digit()));
    assert!(!text.lines().any(number), "a whole phone number is shown in\n{text}");
    assert!(!text.contains('…'), "something is cut in a pipe in\n{text}");
    assert_eq!(entries(folder.path()), 0, "the temporary folder is gone");
}

#[tokio::test]
async fn its_page_is_at_the_address_that_it_prints() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = demo(&[], folder.path()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some((_, address)) = line.split_once("in a browser: http://") {
                return address.trim_end_matches('/').parse().unwrap();
            }
        }
        panic!("it ended without an address");
    };
    let address = timeout(PATIENCE, address).await.unwrap();
    let page = until(address, "GET /", |answer| answer.body.contains("call-completed")).await;
    assert!(page.body.contains("All is well") && page.body.contains("Calls since"), "{page:?}");
    // When nobody reads what it prints, it ends.
    drop(lines);
    timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
}

#[tokio::test]
async fn ones_own_rules_run_without_ones_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    let text = r#"
        [sources.north]
        api_key = { env = "CALLWATCH_TEST_UNSET_1" }

        [sources.south]
        api_key = { env = "CALLWATCH_TEST_UNSET_2" }
        base_url = "https://callem.example.com/v1"

        [destinations.mine]
        type = "webhook"
        url = "https://hooks.example.com/in"
        secret = { file = "there/is/no/such/file" }
        headers = { "x-tenant" = { env = "CALLWATCH_TEST_UNSET_3" } }
        format = "callem"

        [destinations.mailbox]
        type = "email"
        smtp = "smtps://somebody@smtp.example.com"
        password = { env = "CALLWATCH_TEST_UNSET_4" }
        from = "a@example.com"
        to = ["b@example.com"]

        [rules.begun]
        on = ["started"]
        to = ["mine", "mailbox"]
    "#;
    std::fs::write(&config, text).unwrap();

    let text = printed(demo(&["--for", "2s", "--config", config.to_str().unwrap()], folder.path()), 0).await;

    for part in ["north", "south", "begun → mine, mailbox", "call_started, signature verified", "none lost: "]
    {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

#[tokio::test]
async fn a_config_with_mistakes_is_reported_like_anywhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    std::fs::write(&config, "[sources.clinic]\napi_kee = \"x\"\n").unwrap();

    let output = demo(&["--config", config.to_str().unwrap()], folder.path()).output().await.unwrap();

    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("api_kee"));
    assert!(output.stdout.is_empty());
}

#[tokio::test]
async fn an_interrupt_ends_it_with_the_summary() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = demo(&[], folder.path()).spawn().unwrap();
    let mut out = read_until(&mut child, "✓ crm").await;

    interrupt(&child).await;

    let mut rest = String::new();
    timeout(PATIENCE, out.read_to_string(&mut rest)).await.unwrap().unwrap();
    assert!(rest.contains("none lost: "), "{rest}");
    assert_eq!(timeout(PATIENCE, child.wait()).await.unwrap().unwrap().code(), Some(0));
}

#[tokio::test]
async fn it_ends_when_nobody_reads_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = demo(&[], folder.path()).spawn().unwrap();
    drop(read_until(&mut child, "callwatch demo").await);

    assert!(timeout(PATIENCE, child.wait()).await.unwrap().is_ok());
    assert_eq!(entries(folder.path()), 0);
}

#[tokio::test]
async fn several_processes_lose_nothing_when_one_is_killed_and_leave_no_database_behind() {
    let Some(database) = postgres::database().await else { return };
    let folder = tempfile::tempdir().unwrap();

    let text =
        printed(demo(&["--for", "10s", "--nodes", "2", "--store", database.url()], folder.path()), 0).await;

    for part in ["2 processes over one database", "node 2 works on: ", "node 2 is killed", "none lost: "] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    assert_eq!(database.count("pg_database WHERE datname LIKE 'callwatch_demo_%'").await, 0);
}

#[tokio::test]
async fn a_database_that_cannot_be_had_is_told_without_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = demo(&["--nodes", "2"], folder.path());
    command.env("CALLWATCH_DEMO_STORE", "postgres://me:hunter2@127.0.0.1:1/db");

    let output = timeout(PATIENCE, command.output()).await.unwrap().unwrap();

    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("127.0.0.1/db") && !error.contains("hunter2"), "{error}");
}
