//! `callwatch init` as an administrator's script meets it: flags in, a config out, and nothing overwritten.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    path::Path,
    process::{ExitStatus, Output, Stdio},
    thread,
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};
use serde_json::json;
use tokio::{
    process::{Child, Command},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::{sleep, timeout},
};

use crate::rig::{PATIENCE, Rig, record};

const BINARY: &str = env!("CARGO_BIN_EXE_callwatch");

fn key() -> String {
    format!("ck_live_{}", "0".repeat(60))
}

/// It, in a folder of its own.
fn command(rig: &Rig, args: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("init").args(args).current_dir(rig.dir.path()).kill_on_drop(true);
    for name in
        ["CALLEM_API_KEY", "SLACK_WEBHOOK_URL", "SLACK_BOT_TOKEN", "SMTP_PASSWORD", "LC_ALL", "LC_MESSAGES"]
    {
        command.env_remove(name);
    }
    command.env("LANG", "de_DE.UTF-8");
    command
}

/// Runs it with nobody to ask.
async fn init(rig: &Rig, args: &[&str]) -> Output {
    command(rig, args).stdin(Stdio::null()).output().await.unwrap()
}

/// Somebody at a terminal, who reads the questions and types the answers.
struct Person {
    keyboard: File,
    screen: UnboundedReceiver<Vec<u8>>,
    /// Everything that stood on the screen, and how much of it has been read.
    shown: String,
    read: usize,
    child: Child,
}

impl Person {
    fn at(rig: &Rig, args: &[&str]) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let size = Winsize { ws_row: 40, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&ours, size).unwrap();
        let name = ptsname(&ours, vec![]).unwrap();
        let its = || -> OwnedFd {
            rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap()
        };
        let mut command = command(rig, args);
        command.stdin(its()).stdout(its()).stderr(its()).env("TERM", "xterm");
        let child = command.spawn().unwrap();
        let keyboard = File::from(ours);
        let mut from = keyboard.try_clone().unwrap();
        let (to, screen) = unbounded_channel();
        // Ends with an error when nobody has the terminal any more.
        thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(n) = from.read(&mut some) {
                if n == 0 || to.send(some[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { keyboard, screen, shown: String::new(), read: 0, child }
    }

    /// Waits until `text` stands on the screen, below what was read so far.
    async fn sees(&mut self, text: &str) {
        let waiting = async {
            loop {
                if let Some(place) = self.shown[self.read..].find(text) {
                    self.read += place + text.len();
                    return true;
                }
                let Some(more) = self.screen.recv().await else { return false };
                self.shown += &String::from_utf8_lossy(&more);
            }
        };
        let seen = timeout(PATIENCE, waiting).await == Ok(true);
        assert!(seen, "`{text}` is not there, but: {}", &self.shown[self.read..]);
    }

    /// Types when the question is ready, which is when keys are no longer shown by the terminal itself.
    async fn types(&mut self, keys: &str) {
        let ready = async {
            while tcgetattr(&self.keyboard).unwrap().local_modes.contains(LocalModes::ECHO) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, ready).await.expect("a question is asked");
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads the rest, to the end of the process.
    async fn leaves(mut self) -> (ExitStatus, String) {
        let status = timeout(PATIENCE, self.child.wait()).await.expect("it ends").unwrap();
        while let Some(more) = timeout(PATIENCE, self.screen.recv()).await.expect("the terminal is free") {
            self.shown += &String::from_utf8_lossy(&more);
        }
        (status, self.shown)
    }
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
        "title = \"Client mécontent {{ call.callerNumber }}\"",
        "[rules.lead-qualified]",
    ] {
        assert!(config.contains(line), "{line} is not in\n{config}");
    }
    // As the last lines of the output say.
    let script = "set -a; . ./.env; set +a; exec \"$0\" check";
    let mut check = std::process::Command::new("sh");
    let check = check.args(["-euc", script, BINARY]).current_dir(folder).output().unwrap();
    assert_eq!(said(&check), "callwatch.toml is fine: 1 source, 1 destination, 3 rules\n");
    // Somebody who forgot the first of them is reminded.
    let mut check = std::process::Command::new(BINARY);
    let check = check.arg("check").current_dir(folder).env_remove("SLACK_WEBHOOK_URL").output().unwrap();
    let reminder = "if it is in ./.env, read that first: set -a; . ./.env; set +a";
    let words: Vec<_> = said(&check).split_whitespace().map(str::to_owned).collect();
    assert!(words.join(" ").contains(reminder), "{}", said(&check));

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
            "a password does not belong in --smtp",
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
        (
            vec![&*key, "--email", "a", "--smtp", "smtps://mail.example.com"],
            "callwatch: --email: this is not an email address; write \"alerts@example.com\" or \"Callwatch <alerts@example.com>\"\n",
        ),
        (
            vec![&*key, "--email", "a@example.com", "--from", "b", "--smtp", "smtps://mail.example.com"],
            "callwatch: --from: ",
        ),
        (vec![&*key, "--project", "the clinic"], "'--project <NAME>': a name is up to 64 letters"),
        (vec!["ck_live_'"], "CALLEM_API_KEY cannot be written"),
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

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_answer_is_asked_for_again() {
    let rig = Rig::new().await;
    let key = key();
    rig.callem.set_key(&key);
    rig.callem.add(record("1", "completed"));
    let (api, slack) = (rig.callem.base_url().to_string(), rig.frontdesk.url().to_string());
    let mut person = Person::at(&rig, &["--base-url", &api]);
    person.sees("API key").await;
    person.types("ck_live_ä\r").await;
    person.sees("callwatch: a key cannot hold control or non-ASCII characters").await;
    person.types("ck_live_another\r").await;
    person.sees("the API refused the key (401").await;
    // As it is often copied.
    person.types(&format!(" {key} \r")).await;
    person.sees("The API answers: 1 call").await;
    person.sees("Time zone of messages").await;
    person.types("Europe/Pariss\r").await;
    person.sees("there is no time zone `Europe/Pariss`; did you mean `Europe/Paris`?").await;
    person.types("Europe/Paris\r").await;
    person.sees("Language of messages").await;
    person.types("\r").await;
    person.sees("> a Slack channel").await;
    person.types("\x1b[B\x1b[B\x1b[B\r").await;
    person.sees("Address").await;
    person.types("manager\r").await;
    person.sees("this is not an email address").await;
    person.types("manager@example.com\r").await;
    person.sees("Mail server").await;
    person.types("smtps://manager:hush@example.com\r").await;
    person.sees("leave the password out").await;
    person.types("smtp://127.0.0.1:1\r").await;
    person.sees("Password there").await;
    person.types("\r").await;
    person.sees("Sender").await;
    person.types("\r").await;
    // Without a sentiment or a truth in the only analysis there is one rule to choose, and it cannot be left out.
    person.sees("> [x] Every call that has ended").await;
    person.types(" \r").await;
    person.sees("nothing would ever be told").await;
    person.types("\r").await;
    person.sees("Send a test message now?").await;
    person.types("y").await;
    person.sees("did not arrive").await;
    // Everything but the receiver is kept.
    person.sees("> write the config all the same").await;
    person.types("\x1b[B\r").await;
    person.sees("> a Slack channel").await;
    person.types("\r").await;
    person.sees("incoming webhook (not shown)").await;
    person.types("hooks.slack.com/services\r").await;
    person.sees("this is not a whole URL").await;
    person.types(&format!("{slack}\r")).await;
    person.sees("Send a test message now?").await;
    person.types("y").await;
    person.sees("arrived").await;
    let (status, shown) = person.leaves().await;
    assert!(status.success(), "{shown}");
    assert!(!shown.contains(&key) && !shown.contains("smtps://manager:hush@example.com\n"), "{shown}");
    assert_eq!(rig.slack_texts().len(), 1);
    let read = |name: &str| fs::read_to_string(rig.dir.path().join(name)).unwrap();
    let (config, secrets) = (read("callwatch.toml"), read(".env"));
    for line in ["timezone = \"Europe/Paris\"", "language = \"de\"", "[rules.call-ended]", "type = \"slack\""]
    {
        assert!(config.contains(line), "{line} is not in\n{config}");
    }
    assert!(secrets.contains(&format!("CALLEM_API_KEY='{key}'\n")) && !config.contains("email"), "{config}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_left_in_order_when_the_questions_are_given_up() {
    let rig = Rig::new().await;
    let key = key();
    let mut person =
        Person::at(&rig, &["--offline", "--api-key", &key, "--timezone", "UTC", "--language", "en"]);
    person.sees("\x1b[?25l").await;
    person.sees("> a Slack channel").await;
    person.types("\x03").await;
    let (status, shown) = person.leaves().await;
    assert_eq!(status.code(), Some(130), "{shown}");
    assert!(shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l"), "the cursor is hidden: {shown:?}");
    assert_eq!(files(rig.dir.path()), [""; 0]);
}
