//! The words of strangers, as commands and the log print them: nothing in them commands a terminal or reverses its text.

use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::any};

use super::*;
use crate::process::command;

/// Reverses the direction of text, clears a terminal (in two spellings) and sets its title.
const ODD: &str = "\u{202e}\u{9b}2J\u{1b}[2J\u{1b}]0;x\u{7}";
/// The part of it that may stand in an id.
const ODD_ID: &str = "a\u{202e}b";

fn ensure_harmless(what: &str, printed: &str) {
    let harmful = printed.chars().find(|c| (c.is_control() && !matches!(c, '\n' | '\t')) || *c == '\u{202e}');
    assert_eq!(harmful, None, "{what}: {printed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_prints_what_commands_a_terminal() {
    let rig = Rig::new().await;
    let (api, crm) = (MockServer::start().await, MockServer::start().await);
    let mut call = record(ODD_ID, "completed");
    call["endedReason"] = ODD.into();
    call["callAnalysis"] = json!({ "sentiment": ODD, ODD: ODD });
    let [good, page] = [json!([]), json!([call])].map(|calls| json!({ "data": calls }).to_string());
    let refused = json!({ "message": ODD }).to_string();
    let state = Arc::new(AtomicUsize::new(0));
    let now = Arc::clone(&state);
    let answering = move |_: &Request| match now.load(Ordering::SeqCst) {
        0 => ResponseTemplate::new(200).set_body_string(&good),
        1 => ResponseTemplate::new(200).set_body_string(&page),
        _ => ResponseTemplate::new(500).set_body_string(&refused),
    };
    Mock::given(any()).respond_with(answering).mount(&api).await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(400).set_body_string(format!("no {ODD}")))
        .mount(&crm)
        .await;
    let text = rig
        .config_text()
        .replace(rig.callem.base_url().as_str(), &api.uri())
        .replace(rig.crm.url().as_str(), &crm.uri())
        .replace(
            &format!("retry = [{}]", r#""100ms", "200ms", "500ms", "1s", "1s", "1s", "1s", "1s", "1s""#),
            "retry = []",
        )
        .replace(
            "[rules.unhappy-caller]\n            when = 'call.callAnalysis.sentiment == \"negative\"'",
            "[rules.unhappy-caller]\n            when = 'call.callAnalysis.sentiment != \"negative\"'",
        );
    let process = Process::start(&rig, &text).await;
    process.says(" baselined, ").await;
    state.store(1, Ordering::SeqCst);
    process.says("given up").await;
    let config = process.config.clone();
    let run = |args: Vec<String>| {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let shown = format!("{args:?}");
        let mut command = command(&config, &args);
        async move {
            let output = timeout(PATIENCE, command.output())
                .await
                .unwrap_or_else(|_| panic!("{shown} does not end"))
                .unwrap();
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
        }
    };
    let list = run(vec!["deliveries".into(), "list".into(), "--json".into()]).await;
    let all: Vec<Value> = serde_json::from_str(&list).unwrap();
    let dead = all.iter().find(|it| it["state"] == "dead").unwrap()["event"].as_str().unwrap().to_owned();
    let test = rig.dir.path().join("odd.test.toml");
    let odd = json!(ODD).to_string();
    std::fs::write(
        &test,
        format!("config = \"config.toml\"\n[[tests]]\nname = {odd}\ncalls = [{{ id = \"1\", status = {odd} }}]\nexpect = [{{ rule = {odd} }}]\n").replace("\\u0007", "\\u0007"),
    )
    .unwrap();
    let commands = |rest: &str| rest.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let explain = |more: &[&str]| {
        [&["explain", ODD_ID], more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut asked = vec![
        (explain(&[]), true),
        (explain(&["--json"]), true),
        (vec!["explain".into(), format!("nobody{ODD}")], true),
        (commands("deliveries list"), false),
        (commands("deliveries list --json"), true),
        (commands(&format!("deliveries show {dead} --answers")), true),
        (commands(&format!("deliveries show {dead} --answers --json")), true),
        (vec!["deliveries".into(), "list".into(), "--destination".into(), format!("crm{ODD}")], true),
        (vec!["deliveries".into(), "show".into(), format!("evt_{ODD}")], true),
        (commands("send crm"), true),
        (commands("send crm --json"), true),
        (vec!["send".into(), format!("crm{ODD}")], true),
        (commands("preview"), false),
        (commands("status"), false),
        (commands("status --json"), false),
    ];
    for (args, must_show) in asked.drain(..) {
        let printed = run(args.clone()).await;
        ensure_harmless(&format!("{args:?}"), &printed);
        assert!(!must_show || printed.to_lowercase().contains("202e"), "{args:?}: {printed:?}");
        if args.contains(&"--json".to_owned()) {
            serde_json::from_str::<Value>(&printed)
                .unwrap_or_else(|error| panic!("{args:?}: {error}: {printed}"));
        }
    }
    state.store(2, Ordering::SeqCst);
    process.says("202e").await;
    for args in [commands("check --online"), commands("status"), commands("status --json")] {
        ensure_harmless(&format!("{args:?}"), &run(args).await);
    }
    let mut testing = tokio::process::Command::new(crate::process::binary());
    let output = testing.arg("test").arg(&test).output().await.unwrap();
    let printed = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    ensure_harmless("test", &printed);
    let log = process.stop().await;
    ensure_harmless("the log", &log);

    // A config whose own words are odd, and a log for people.
    rig.write_config(&(text.clone() + &format!("\n[rules.{odd}]\non = [{odd}]\n")));
    for args in [&["check"][..], &["run"], &["status"]] {
        ensure_harmless(&format!("{args:?}"), &run(args.iter().map(|arg| (*arg).to_owned()).collect()).await);
    }
    rig.write_config(&text);
    let mut child = command(&config, &["run", "--log", "trace"]);
    let log = rig.dir.path().join("human");
    let mut child = child.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    let said = async {
        while !std::fs::read_to_string(&log).unwrap().to_lowercase().contains("202e") {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, said).await.expect("it says why it cannot be polled");
    child.kill().await.unwrap();
    ensure_harmless("the log for people", &std::fs::read_to_string(&log).unwrap());
}
