//! README.md: every command on it works, in the order of the page, beginning in an empty folder.

use std::{net::SocketAddr, path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};

use crate::{
    rig::{PATIENCE, Rig, analyze, record},
    server::http::{Ask, ask},
};

const PAGE: &str = include_str!("../../README.md");

/// The blocks of the page in one language, without their indentation, each with the line of text before it.
fn blocks(language: &str) -> Vec<(String, String)> {
    let mut blocks = vec![];
    let (mut before, mut block) = (String::new(), None::<(String, String)>);
    for line in PAGE.lines() {
        let text = line.trim_start();
        match &mut block {
            Some(_) if text == "```" => blocks.extend(block.take()),
            Some((_, inside)) => inside.push_str(&format!("{text}\n")),
            None if text.strip_prefix("```") == Some(language) => {
                block = Some((before.clone(), String::new()))
            }
            None if !text.is_empty() => before = text.to_owned(),
            None => {}
        }
    }
    blocks
}

/// The name in backticks that the line before a block ends with: the file that the block is.
fn file_named(before: &str) -> &str {
    before.split('`').nth(1).unwrap_or_else(|| panic!("no file is named in: {before}"))
}

async fn run(rig: &Rig, words: &[&str], folder: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callwatch"));
    command.args(words).current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    command.env("CALLEM_API_KEY", format!("ck_live_{}", "0".repeat(60)));
    command.env("SLACK_WEBHOOK_URL", rig.frontdesk.url().as_str());
    command.env_remove("CALLWATCH_CONFIG");
    if words[0] != "run" {
        let output = timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
        return;
    }
    let mut service = command.stderr(Stdio::piped()).spawn().unwrap();
    // The baseline first, then a call that ends.
    let mut log = BufReader::new(service.stderr.take().unwrap()).lines();
    let baselined = async {
        let mut address = None;
        loop {
            let line = log.next_line().await.unwrap().expect("it runs");
            if let Some((_, rest)) = line.split_once("listens on http://") {
                address = rest.split_whitespace().next().map(|address| address.parse().unwrap());
            }
            if line.contains(" baselined, ") {
                return address.expect("it listens");
            }
        }
    };
    let address: SocketAddr = timeout(PATIENCE, baselined).await.expect("it says that it begins");
    // Nobody reads the rest, and a full pipe would hold it up.
    let rest = tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
    let mut call = record("new", "completed");
    analyze(&mut call, "negative", false);
    rig.callem.add(call);
    timeout(PATIENCE, rig.frontdesk.inbox().wait_for(1)).await.expect("one message tells of both rules");
    // The page says to ask it in another terminal.
    let meanwhile = blocks("sh").into_iter().find(|(_, block)| block.contains("callwatch status")).unwrap().1;
    for line in meanwhile.lines() {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["callwatch", ref words @ ..] => Box::pin(run(rig, words, folder)).await,
            ["curl", url] => {
                let path = url.strip_prefix("http://127.0.0.1:9464").unwrap();
                assert_eq!(ask(address, Ask::new(&format!("GET {path}"))).await.status, 200, "{line}");
            }
            _ => panic!("the test does not know what to do with: {line}"),
        }
    }
    let pid = service.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    assert!(timeout(PATIENCE, service.wait()).await.unwrap().unwrap().success());
    rest.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_works_in_order_from_an_empty_folder() {
    let rig = Rig::new().await;
    rig.callem.add(record("old", "completed"));
    let folder = tempfile::tempdir().unwrap();
    for (before, text) in blocks("toml") {
        // The page's API is not there in a test, and nobody waits 15 seconds.
        let local = format!(
            "{{ env = \"CALLEM_API_KEY\" }}\nbase_url = \"{}\"\ninterval = \"1s\"",
            rig.callem.base_url()
        );
        let text = text.replace("{ env = \"CALLEM_API_KEY\" }", &local);
        let text = text.replace("127.0.0.1:9464", "127.0.0.1:0");
        std::fs::write(folder.path().join(file_named(&before)), text).unwrap();
    }
    let mut done = vec![];
    for (_, block) in blocks("sh") {
        for line in block.lines() {
            let line = line.split(" #").next().unwrap_or_default().trim().replace("CALL_ID", "new");
            let words: Vec<_> = line.split_whitespace().collect();
            match words.as_slice() {
                ["cargo", "run", "--release", "--", "demo"] => {
                    run(&rig, &["demo", "--for", "3s"], folder.path()).await;
                }
                // Building takes minutes, and this is what it built.
                ["cargo", "test"] | ["cargo", "build", "--release"] | ["sudo", "install", ..] => {}
                ["export", variable] => {
                    let (name, value) = variable.split_once('=').unwrap();
                    assert!(
                        ["CALLEM_API_KEY", "SLACK_WEBHOOK_URL"].contains(&name) && value.ends_with('…'),
                        "{line}"
                    );
                }
                // They were run while the service ran.
                ["callwatch", "status", ..] | ["curl", ..] => {}
                ["callwatch", words @ ..] => {
                    run(&rig, words, folder.path()).await;
                    done.push(words[0].to_owned());
                }
                _ => panic!("the test does not know what to do with: {line}"),
            }
        }
    }
    assert_eq!(done, ["check", "run", "test", "preview", "send", "explain"]);
}
