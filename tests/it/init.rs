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
    for name in
        ["CALLEM_API_KEY", "SLACK_WEBHOOK_URL", "SLACK_BOT_TOKEN", "SMTP_PASSWORD", "LC_ALL", "LC_MESSAGES"]
    {
        command.env_remove(name);
    }
    command.env("LANG", "de_DE.UTF-8");
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
        "--language",
        "fr",
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
    assert_eq!(files(folder), [".env", "callwatch.schema.json", "callwatch.toml"]);
    let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(".env"), 0o600);
    let config = fs::read_to_string(folder.join("callwatch.toml")).unwrap();
    assert!(!config.contains(&key) && !config.contains(&slack), "{config}");
    assert!(config.starts_with("#:schema ./callwatch.schema.json\n"), "{config}");
    let schema = fs::read_to_string(folder.join("callwatch.schema.json")).unwrap();
    let kept = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/callwatch.schema.json")).unwrap();
    assert!(schema == kept, "it is the one that lies beside the example");
    for line in [
        "timezone = \"Europe/Paris\"",
        "language = \"fr\"",
        "[rules.unhappy-caller]",
        "[rules.lead-qualified]",
    ] {
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
    assert_eq!(files(folder), [".env", "callwatch.schema.json", "callwatch.toml"]);
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
    // There is no file yet whose lines could be looked at.
    let base = ["--offline", "--slack", &slack, "--api-key"];
    for (args, wanted) in [
        (
            vec![&*key, "--timezone", "Europe/Pariss"],
            "callwatch: --timezone: there is no time zone `Europe/Pariss`",
        ),
        (vec!["ck_live_ä"], "callwatch: --api-key: "),
        (vec![&*key, "--base-url", "api.callem.ai"], "callwatch: --base-url: "),
        (vec![&*key, "--webhook", "crm.example.com"], "callwatch: --webhook: "),
        (vec![&*key, "--email", "a@b", "--smtp", "mail.example.com"], "callwatch: --smtp: "),
        (vec![&*key, "--email", "a", "--smtp", "smtps://mail.example.com"], "\n--email: "),
        (vec![&*key, "--language", "it"], "[possible values: en, fr, de, es]"),
        (vec![&*key, "--smtp", "smtps://mail.example.com"], "--email <ADDRESS>"),
    ] {
        let output = init(&rig, &[&base[..], &args].concat()).await;
        let text = said(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.contains(wanted) && !text.contains("callwatch.toml"), "{args:?}: {text}");
    }
    assert_eq!(files(rig.dir.path()), [""; 0]);
    // Odd, but perhaps right: it is said, and written.
    let output = init(&rig, &["--offline", "--api-key", "sk_odd", "--slack", &slack]).await;
    assert!(output.status.success() && said(&output).contains("callwatch: --api-key: "), "{}", said(&output));
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

#[tokio::test(flavor = "multi_thread")]
async fn everybody_who_is_named_is_told() {
    let rig = Rig::new().await;
    let (key, slack) = (key(), rig.frontdesk.url().to_string());
    let args = [
        "--offline",
        "--api-key",
        &key,
        "--slack",
        &slack,
        "--slack-token",
        "xoxb-1",
        "--slack-channel",
        "C0123ABCD",
        "--webhook",
        "https://crm.example.com/hooks",
        "--email",
        "manager@example.com",
        "--smtp",
        "smtps://mail.example.com",
    ];
    let output = init(&rig, &args).await;
    let text = said(&output);
    assert!(output.status.success() && text.contains("(1 source, 4 destinations, 3 rules)"), "{text}");
    let read = |name: &str| fs::read_to_string(rig.dir.path().join(name)).unwrap();
    let (config, secrets) = (read("callwatch.toml"), read(".env"));
    let config: toml::Table = config.parse().unwrap();
    assert_eq!(config["language"].as_str(), Some("de"), "as the machine has it");
    let names: Vec<_> = config["destinations"].as_table().unwrap().keys().cloned().collect();
    assert_eq!(names, ["crm", "frontdesk", "frontdesk-app", "manager"]);
    for (rule, table) in config["rules"].as_table().unwrap() {
        assert_eq!(table["to"].as_array().map(Vec::len), Some(4), "{rule}");
    }
    // Other users of the machine reach the page as well.
    assert_eq!(config["server"]["token"]["env"].as_str(), Some("CALLWATCH_TOKEN"));
    let token = secrets.lines().find_map(|line| line.strip_prefix("CALLWATCH_TOKEN='")).unwrap();
    assert!(token.len() > 32 && text.contains("asks for the CALLWATCH_TOKEN in .env"), "{text}");
    assert!(!text.contains(token.trim_end_matches('\'')), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_refuses_the_test_message_ends_it() {
    let rig = Rig::new().await;
    rig.callem.add(record("1", "completed"));
    let (key, api) = (key(), rig.callem.base_url().to_string());
    let (slack, nowhere) =
        (rig.frontdesk.url().to_string(), rig.callem.base_url().join("nowhere").unwrap().to_string());
    let args =
        ["--api-key", &key, "--base-url", &api, "--webhook", &nowhere, "--slack", &slack, "--send-test"];
    let output = init(&rig, &args).await;
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("did not arrive: 404"), "{text}");
    assert!(text.contains("the test message did not arrive at crm; nothing was written"), "{text}");
    assert_eq!(rig.slack_texts().len(), 1, "every receiver is tried");
    assert_eq!(files(rig.dir.path()), [""; 0]);
}
