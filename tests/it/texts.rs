//! What a person reads, word for word, so that a text that changes is seen in review. After a change that is meant,
//! `INSTA_UPDATE=always cargo test --test it texts::` writes them anew.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Stdio, time::Duration};

use callwatch::demo::receivers::{Arrival, Message};
use regex::Regex;
use tokio::{
    process::Command,
    time::{sleep, timeout},
};

use crate::{
    process::command,
    rig::{PATIENCE, Rig, analyze, complete, record},
};

/// Holds a text against `snapshots/NAME.snap`.
#[track_caller]
pub(crate) fn is_as_before(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// A text without what differs from run to run: times, durations, and counts of polls.
fn lasting(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, word) in [
        (r"\x1b\[[0-9;]*m", ""),
        (r"\b\w{3} \d+ \w{3} \d\d:\d\d\b", "TIME"),
        (r"\b\d+ \w{3} to \d+ \w{3}\b", "TIME to TIME"),
        (r"\b20(2[6-9]|[3-9]\d)-\d\d-\d\d\b[T ]?", ""),
        (r"\b\d\d:\d\d:\d\d(\.\d+)?Z?( CES?T\b)?", "TIME"),
        (r"\b\d+(\.\d+)? ?(ms|us|µs|s|m)\b", "WHILE"),
        (r"\b\d+ of 6000\b", "N of 6000"),
        (r"\brequests=\d+", "requests=N"),
        // The days of a preview, as a picture.
        (r"[·▁-█]{5,}", "DAYS"),
    ] {
        text = Regex::new(pattern).unwrap().replace_all(&text, word).into_owned();
    }
    // Columns are as wide as what stood in them.
    let spaces = Regex::new(r"(\S) {2,}").unwrap();
    let lines = text.lines().map(|line| spaces.replace_all(line.trim_end(), "$1  ").into_owned());
    lines.collect::<Vec<_>>().join("\n")
}

/// Everything that a command prints, with a word in place of the rig's folder.
async fn said(rig: &Rig, args: &[&str]) -> String {
    let folder = rig.dir.path();
    let mut command = command(&folder.join("config.toml"), args);
    let output =
        timeout(PATIENCE, command.env("LC_ALL", "C.UTF-8").output()).await.expect("it ends").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout) + &text(output.stderr)).replace(&folder.display().to_string(), "FOLDER")
}

#[tokio::test(flavor = "multi_thread")]
async fn help() {
    async fn help_of(path: Vec<String>) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callwatch"));
        command.args(&path).arg("--help").env_clear().stdin(Stdio::null());
        let said = String::from_utf8(command.output().await.unwrap().stdout).unwrap();
        let mut all = format!("$ callwatch {}\n{said}\n", [&path[..], &["--help".into()]].concat().join(" "));
        let commands =
            said.split("Commands:\n").nth(1).unwrap_or_default().split("\n\n").next().unwrap_or_default();
        let names = commands.lines().filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
        for name in names.filter(|name| *name != "help") {
            all += &Box::pin(help_of([&path[..], &[name.to_owned()]].concat())).await;
        }
        all
    }
    is_as_before("help", &help_of(vec![]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_mistakes() {
    let rig = Rig::new().await;
    let text = rig
        .config_text()
        .replace("interval =", "intervall =")
        .replace("to = [\"crm\"]", "to = [\"cmr\"]")
        .replace("sentiment ==", "sentiment =")
        .replace("{{ call.callerNumber }}", "{{ caller.number }}")
        .replace("retry = [\"100ms\"", "retry = [\"soon\"");
    let config = rig.write_config(&text);
    fs::set_permissions(config, fs::Permissions::from_mode(0o600)).unwrap();
    is_as_before("check", &said(&rig, &["check"]).await);
}

/// The mail's text for those who read no HTML.
fn plain_part(arrival: &Arrival) -> String {
    let Message::Mail(mail) = &arrival.message else { panic!("only mails arrive here") };
    let text = String::from_utf8_lossy(&mail.data).replace("\r\n", "\n");
    let part = text.split("Content-Type: text/plain").nth(1).expect("it has a plain part");
    let body = part.split_once("\n\n").unwrap().1;
    let body = body.split("\n--").next().unwrap().replace("=\n", "");
    format!("Subject: {}\n\n{body}", mail.subject().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_from_the_log_to_the_messages() {
    let rig = Rig::new().await;
    let text = format!("timezone = \"Europe/Paris\"\n{}", rig.config_text());
    let config = rig.write_config(&text);
    rig.callem.add(record("old", "completed"));
    let log = rig.dir.path().join("log");
    let mut run = command(&config, &["run"]);
    let mut process = run.env("TZ", "UTC").stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    let logged = |what: &'static str| {
        let log = &log;
        async move {
            let waiting = async {
                while !fs::read_to_string(log).unwrap().contains(what) {
                    sleep(Duration::from_millis(10)).await;
                }
            };
            timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never logged: {what}"));
        }
    };
    logged(" baselined, ").await;
    let mut call = record("unhappy", "live");
    complete(&mut call);
    analyze(&mut call, "negative", false);
    rig.callem.add(call);
    for inbox in [rig.crm.inbox(), rig.frontdesk.inbox(), rig.manager.inbox()] {
        timeout(PATIENCE, inbox.wait_for(1)).await.expect("it arrives");
    }
    let finished = async {
        while said(&rig, &["deliveries", "list", "--json"]).await.matches("\"state\": \"delivered\"").count()
            < 3
        {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, finished).await.expect("what arrived is known to have arrived");

    is_as_before("status", &lasting(&said(&rig, &["status"]).await));
    is_as_before("explain", &lasting(&said(&rig, &["explain", "unhappy"]).await));
    is_as_before("preview", &lasting(&said(&rig, &["preview", "--since", "36500d"]).await));
    let arrivals = rig.frontdesk.inbox().arrivals();
    let Message::Slack(message) = &arrivals[0].message else { panic!("only Slack messages arrive here") };
    is_as_before("slack", &serde_json::to_string_pretty(message).unwrap());
    is_as_before("mail", &plain_part(&rig.manager.inbox().arrivals()[0]));

    let pid = process.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    timeout(PATIENCE, process.wait()).await.expect("it stops").unwrap();
    // Destinations and the source log at the same time, and how often it polls and backs up is no part of the story.
    let log = lasting(&fs::read_to_string(&log).unwrap());
    let of_story = ["baselined", "+3361", "→", "at work", "SIGTERM", "has stopped"];
    let mut lines: Vec<_> =
        log.lines().filter(|line| of_story.iter().any(|part| line.contains(part))).collect();
    lines.sort_unstable();
    is_as_before("log", &lines.join("\n"));
}
