//! `callwatch init` as an administrator's script meets it: flags in, a config out, and nothing overwritten.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Output, Stdio},
};

use serde_json::json;
use tokio::process::Command;

use crate::rig::{Rig, record};

const BINARY: &str = env!("CARGO_BIN_EXE_callwatch");

fn key() -> String {
    format!("ck_live_{}", "0".repeat(60))
}

/// Runs it in a folder of its own, with nobody to ask.
async fn init(rig: &Rig, args: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("init").args(args).current_dir(rig.dir.path()).stdin(Stdio::null());
    for name in ["CALLEM_API_KEY", "SLACK_WEBHOOK_URL", "SLACK_BOT_TOKEN", "SMTP_PASSWORD"] {
        command.env_remove(name);
    }
    command.output().await.unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_alone_lead_to_a_config_that_works() {
    let rig = Rig::new().await;
    let mut call = record("1", "completed");
    call["callAnalysis"] = json!({ "sentiment": "negative", "leadQualified": true });
    rig.callem.add(call);
    let (key, api, slack) = (key(), rig.callem.base_url().to_string(), rig.frontdesk.url().to_string());
    let args = [
        "--api-key",
        &key,
        "--base-url",
        &api,
        "--timezone",
        "Europe/Paris",
        "--slack",
        &slack,
        "--send-test",
    ];
    let output = init(&rig, &args).await;
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("The API answers: 1 call"), "{text}");
    assert!(text.contains("arrived: 200 OK"), "{text}");
    assert!(text.contains("Wrote callwatch.toml (1 source, 1 destination, 3 rules)"), "{text}");
    assert_eq!(rig.slack_texts().len(), 1, "the test message arrived once");

    let folder = rig.dir.path();
    assert_eq!(files(folder), [".env", "callwatch.toml"]);
    let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(".env"), 0o600);
    let config = fs::read_to_string(folder.join("callwatch.toml")).unwrap();
    assert!(!config.contains(&key) && !config.contains(&slack), "{config}");
    for line in ["timezone = \"Europe/Paris\"", "[rules.unhappy-caller]", "[rules.lead-qualified]"] {
        assert!(config.contains(line), "{line} is not in\n{config}");
    }
    // As the last lines of the output say.
    let script = "set -a; . ./.env; set +a; exec \"$0\" check";
    let mut check = std::process::Command::new("sh");
    let check = check.args(["-euc", script, BINARY]).current_dir(folder).output().unwrap();
    assert_eq!(said(&check), "callwatch.toml is fine: 1 source, 1 destination, 3 rules\n");

    // Nothing is overwritten, neither the config nor the secrets.
    let output = init(&rig, &args).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("callwatch.toml is there already"), "{}", said(&output));
    let elsewhere = [&args[..], &["--config", "other.toml"]].concat();
    assert!(said(&init(&rig, &elsewhere).await).contains(".env is there already"));
    assert_eq!(files(folder), [".env", "callwatch.toml"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_refused_writes_nothing_and_is_not_shown() {
    let rig = Rig::new().await;
    rig.callem.set_key("another");
    let (key, api) = (key(), rig.callem.base_url().to_string());
    let args = ["--api-key", &key, "--base-url", &api, "--webhook", "http://127.0.0.1:1/"];
    let output = init(&rig, &args).await;
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("the API refused the key (401"), "{text}");
    assert!(!text.contains(&key[8..20]), "{text}");
    assert_eq!(files(rig.dir.path()), [""; 0]);
    // Offline nothing is tried.
    let output = init(&rig, &[&args[..], &["--offline", "--rule", "call-ended"]].concat()).await;
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("1 source, 1 destination, 1 rule)"), "{}", said(&output));
    // The address of a webhook is often a secret.
    let config = fs::read_to_string(rig.dir.path().join("callwatch.toml")).unwrap();
    assert!(
        config.contains("url = { env = \"WEBHOOK_URL\" }") && !config.contains("127.0.0.1:1/"),
        "{config}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_missing_or_wrong_is_named() {
    let rig = Rig::new().await;
    let (key, slack) = (key(), rig.frontdesk.url().to_string());
    for (args, wanted) in [
        (vec!["--offline"], "--api-key (or CALLEM_API_KEY) is missing"),
        (vec!["--offline", "--api-key", &key], "--slack, --slack-token, --webhook or --email is missing"),
        (
            vec!["--offline", "--api-key", &key, "--slack", &slack, "--rule", "bookd"],
            "there is no rule `bookd` to choose; there is `call-ended`, `unhappy-caller`, `appointment-booked`",
        ),
        (vec!["--offline", "--api-key", &key, "--email", "a@example.com"], "--smtp"),
        (
            vec!["--offline", "--api-key", &key, "--slack-token", "xoxb-1"],
            "--slack-channel, beside the token is missing",
        ),
        (
            vec![
                "--offline",
                "--api-key",
                &key,
                "--email",
                "a@example.com",
                "--smtp",
                "smtps://a:hush@example.com",
            ],
            "a password does not belong into --smtp",
        ),
    ] {
        let output = init(&rig, &args).await;
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", said(&output));
        assert!(said(&output).contains(wanted), "{args:?}: {}", said(&output));
    }
    let args = ["--offline", "--api-key", &key, "--slack", &slack, "--timezone", "Europe/Pariss"];
    assert!(said(&init(&rig, &args).await).contains("there is no time zone `Europe/Pariss`"));
    assert_eq!(files(rig.dir.path()), [""; 0]);
    // Odd, but perhaps right: it is said, and written.
    let output = init(&rig, &["--offline", "--api-key", "sk_odd", "--slack", &slack]).await;
    assert!(output.status.success() && said(&output).contains("ck_live_"), "{}", said(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_of_slack_keeps_its_token_out_of_the_config() {
    let rig = Rig::new().await;
    let key = key();
    let app = ["--slack-token", "xoxb-0123-secret", "--slack-channel", "C0123ABCD"];
    let output = init(&rig, &[&["--offline", "--api-key", &key][..], &app].concat()).await;
    assert!(output.status.success(), "{}", said(&output));
    let read = |name: &str| fs::read_to_string(rig.dir.path().join(name)).unwrap();
    let (config, secrets) = (read("callwatch.toml"), read(".env"));
    assert!(config.contains("token = { env = \"SLACK_BOT_TOKEN\" }\nchannel = \"C0123ABCD\"\n"), "{config}");
    assert!(!config.contains("xoxb") && secrets.contains("SLACK_BOT_TOKEN='xoxb-0123-secret'\n"), "{config}");
}
