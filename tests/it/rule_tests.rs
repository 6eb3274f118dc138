//! `callwatch test` as whoever writes rule tests meets it.

use std::{path::PathBuf, process::Stdio};

use serde_json::Value;
use tokio::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const DOCS: &str = include_str!("../../docs/testing-rules.md");

/// Every key a test file may use, with rules for each of them.
const CONFIG: &str = r#"
timezone = "Europe/Berlin"

[sources.clinic]
api_key = { env = "CALLWATCH_TEST_NOT_SET" }

[sources.annex]
api_key = { env = "CALLWATCH_TEST_NOT_SET" }

[destinations.crm]
type = "webhook"
url = "https://crm.example.com/hooks"

[destinations.desk]
type = "slack"
webhook_url = { env = "CALLWATCH_TEST_NOT_SET" }

[rules.feed]
on = ["ended"]
to = ["crm"]

[rules.gone]
on = ["deleted"]
title = "{{ call.callerNumber }} is gone"
to = ["desk"]

[rules.unhappy]
when = 'call.callAnalysis.sentiment == "negative"'
title = "Unhappy {{ call.callerNumber }}"
to = ["desk"]

[rules.many]
on = ["ended"]
sources = ["annex"]
group = { wait = "30s" }
to = ["desk"]

[rules.away]
on = ["source.failing"]
sources = ["annex"]
to = ["desk"]
"#;

struct Done {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Done {
    #[track_caller]
    fn code(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        if code == 78 { self.err } else { self.out }
    }
}

/// A folder with a config and a file of tests.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new(config: &str, tests: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("clinic.toml"), config).unwrap();
        std::fs::write(folder.path().join("clinic.test.toml"), tests).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn test(&self, args: &[&str]) -> Done {
        let mut command = callwatch();
        command.current_dir(self.folder.path()).args(["test", "clinic.test.toml"]).args(args);
        run(command).await
    }
}

fn callwatch() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callwatch"));
    command.stdin(Stdio::null()).env_remove("CALLWATCH_CONFIG");
    command
}

async fn run(mut command: Command) -> Done {
    let output = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Done { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// The blocks of the page that are written in `language`.
fn blocks(language: &str) -> Vec<&'static str> {
    let begin = format!("```{language}\n");
    DOCS.split(&begin).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[tokio::test]
async fn the_examples_pass_their_tests_and_are_fine_configs() {
    let mut command = callwatch();
    let files = ["config.example.test.toml", "examples/clinic.test.toml", "examples/sales.test.toml"];
    command.current_dir(ROOT).arg("test").args(files);
    let out = run(command).await.code(0);
    assert!(out.contains("ok      an unhappy caller is told once\n"), "{out}");
    let mut command = callwatch();
    command.current_dir(ROOT).args(["test", "examples/clinic.test.toml"]);
    let out = run(command).await.code(0);
    let (first, total) = (out.lines().nth(1).unwrap(), out.lines().last().unwrap());
    assert!(DOCS.contains(&format!("{first}\n")) && DOCS.contains(&format!("…\n\n{total}\n")), "{out}");
    for example in ["examples/clinic.toml", "examples/sales.toml"] {
        let mut command = callwatch();
        command.current_dir(ROOT).args(["check", "-c", example]);
        command.env("CALLEM_API_KEY", format!("ck_live_{}", "0".repeat(60)));
        command.env("CRM_SECRET", callwatch::demo::receivers::DEMO_SECRET);
        command.env("SMTP_PASSWORD", "correct horse battery staple");
        for slack in ["FRONTDESK", "DUTY", "CLOSERS", "FLOOR"] {
            let url = format!("https://hooks.slack.com/services/T000/B000/{slack}");
            command.env(format!("SLACK_{slack}_URL"), url);
        }
        let out = run(command).await.code(0);
        assert!(out.starts_with(&format!("{example} is fine: 1 source, 4 destinations, ")), "{out}");
    }
}

#[tokio::test]
async fn the_page_about_tests_says_what_is_so() {
    let toml = blocks("toml");
    let [first, config, never, night, quiet] = toml[..] else { panic!("{} blocks", toml.len()) };
    Desk::new(config, first).test(&[]).await.code(0);
    Desk::new(config, never).test(&[]).await.code(0);
    let loud =
        "[destinations.frontdesk]\ntype        = \"slack\"\nwebhook_url = { env = \"SLACK_WEBHOOK_URL\" }\n";
    assert!(config.contains(loud));
    Desk::new(&config.replace(loud, quiet), night).test(&[]).await.code(0);

    // The failure that the page shows, of a test that takes the manager to be told a minute later.
    let to_both = "to    = [\"frontdesk\", \"manager\"]\n";
    let expect = first.split("[[test.expect]]").nth(1).unwrap();
    let later = expect.replace("\"3m\"", "\"4m\"").replace(to_both, "to    = [\"manager\"]\n");
    let wrong = first.replace(to_both, "to    = [\"frontdesk\"]\n") + "\n[[test.expect]]" + &later;
    let out = Desk::new(config, &wrong).test(&[]).await.code(1);
    assert!(out.contains(blocks("text")[0]), "{out}");
}

const STEPS: &str = r#"
[[test]]
name = "one call"

[[test.step]]
set = { status = "live", callerNumber = "+49301234567" }

[[test.step]]
at = "2m"
set = { status = "completed" }

[[test.step]]
at = "3m"
set = { callAnalysis = { sentiment = "negative", topic = "bill" } }

[[test.step]]
at = "5m"
delete = true
"#;

const EXPECTED: &str = r#"
[[test.expect]]
at = "2m"
rule = "feed"
call = "call-1"
count = 1

[[test.expect]]
within = ["1m", "2025-12-15 09:04"]
rule = "unhappy"
to = "desk"
title_contains = "4567"

[[test.expect]]
rule = "gone"
title = "+49301234567 is gone"
"#;

#[tokio::test]
async fn a_call_is_followed_from_its_beginning_to_its_deletion() {
    let out = Desk::new(CONFIG, &format!("{STEPS}{EXPECTED}")).test(&[]).await.code(0);
    let expected = "clinic.test.toml, for clinic.toml\nok      one call\n\n1 test: 1 ok\n";
    assert_eq!(out, expected);
}

#[tokio::test]
async fn what_is_not_expected_fails_unless_it_may_be() {
    let desk = Desk::new(CONFIG, STEPS);
    let out = desk.test(&[]).await.code(1);
    let expected = "\
FAILED  one call (line 2)
      + 2m  crm   feed
      + 3m  desk  unhappy  Unhappy +49301234567
      + 5m  desk  gone     +49301234567 is gone
        - was expected and did not happen, + happened and was not expected

1 test: 0 ok, 1 failed
";
    assert!(out.ends_with(expected), "{out}");

    let lenient = STEPS.replace("name = \"one call\"", "name = \"one call\"\nnothing_else = false");
    Desk::new(CONFIG, &lenient).test(&[]).await.code(0);
    let never = format!("{lenient}\n[[test.never]]\nrule = \"gone\"\nto = [\"desk\"]\n");
    let out = Desk::new(CONFIG, &never).test(&[]).await.code(1);
    assert!(out.contains("+ 5m  desk  gone  +49301234567 is gone\n") && !out.contains("unhappy"), "{out}");
    Desk::new(CONFIG, &never.replace("\"gone\"", "\"many\"")).test(&[]).await.code(0);
    let only = STEPS.replace("name = \"one call\"", "name = \"one call\"\nrules = [\"many\"]");
    Desk::new(CONFIG, &only).test(&[]).await.code(0);
}

#[tokio::test]
async fn a_rule_that_does_not_fire_says_why() {
    let tests = r#"
        [[test]]
        name = "nothing is known of the mood"
        start = "2025-12-15 09:00"
        rules = ["unhappy"]

        [[test.step]]
        set = { callAnalysis = { topic = "bill" } }

        [[test.step]]
        at = "1m 30s"
        set = { callAnalysis = { sentiment = "negative" } }
        clear = "callAnalysis.sentiment"

        [[test.expect]]
        at = "1m 30s"
        rule = "unhappy"
        title = "Unhappy +33639980001"
    "#;
    let out = Desk::new(CONFIG, tests).test(&[]).await.code(1);
    let expected = "
      - Mon 09:01:30 (+1m 30s)  desk  unhappy  Unhappy +33639980001
        - was expected and did not happen, + happened and was not expected
        unhappy did not fire
        unhappy: a field of its condition was missing or null at Mon 09:00 (+0s), Mon 09:01:30 (+1m 30s)
";
    assert!(out.contains(expected), "{out}");
}

#[tokio::test]
async fn each_message_is_only_one_of_those_expected() {
    // The first expectation would do with any of the two messages, the second only with the earlier one.
    let tests = r#"
        [[test]]
        name = "two"
        rules = ["unhappy"]
        [[test.step]]
        call = "a"
        set = { callAnalysis = { sentiment = "negative" } }
        [[test.step]]
        at = "1m"
        call = "b"
        set = { callAnalysis = { sentiment = "negative" } }
        [[test.expect]]
        rule = "unhappy"
        [[test.expect]]
        at = "0s"
        rule = "unhappy"
        title = "Unhappy +33639980001"
    "#;
    Desk::new(CONFIG, tests).test(&[]).await.code(0);
    let thrice = format!("{tests}\n[[test.expect]]\nrule = \"unhappy\"");
    let out = Desk::new(CONFIG, &thrice).test(&[]).await.code(1);
    assert!(out.contains("- any time  desk  unhappy\n"), "{out}");
}

#[tokio::test]
async fn sources_are_told_apart_and_can_fail() {
    let tests = r#"
        [[test]]
        name = "the annex"
        [[test.step]]
        source = "annex"
        call = "a"
        [[test.step]]
        at = "10s"
        source = "annex"
        call = "b"
        [[test.step]]
        at = "20s"
        source = "annex"
        happens = "source.failing"
        [[test.expect]]
        at = "0s"
        rule = "feed"
        call = "a"
        [[test.expect]]
        at = "10s"
        rule = "feed"
        call = "b"
        [[test.expect]]
        at = "20s"
        rule = "away"
        title = "callwatch cannot see the calls of annex"
        [[test.expect]]
        at = "30s"
        rule = "many"
        count = 2
    "#;
    Desk::new(CONFIG, tests).test(&[]).await.code(0);
    let clinic = tests.replace("source = \"annex\"", "source = \"clinic\"");
    let out = Desk::new(CONFIG, &clinic).test(&[]).await.code(1);
    assert!(out.contains("away did not fire\n") && out.contains("many did not fire\n"), "{out}");
    let hasty = tests.replace("name =", "until = \"5s\"\nname =");
    let out = Desk::new(CONFIG, &hasty).test(&[]).await.code(1);
    assert!(out.contains("- 30s  desk  many  (2)\n") && out.contains("many fired at 0s, 10s\n"), "{out}");
}

#[tokio::test]
async fn the_outcome_is_there_for_ci_and_for_programs() {
    let fine = STEPS.replace("name = \"one call\"", "name = \"fine & good\"\nnothing_else = false");
    let desk = Desk::new(CONFIG, &format!("{STEPS}{fine}"));
    desk.test(&["--junit", "report.xml"]).await.code(1);
    let xml = std::fs::read_to_string(desk.path("report.xml")).unwrap();
    for part in [
        "<testsuites name=\"callwatch\" tests=\"2\" failures=\"1\" errors=\"0\" time=\"",
        "<testsuite name=\"clinic.test.toml\" file=\"clinic.test.toml\" tests=\"2\" failures=\"1\"",
        "<testcase name=\"one call\" classname=\"clinic.test.toml\" line=\"2\" time=\"",
        "<failure message=\"3 not as expected\">      + 2m  crm   feed\n",
        "<testcase name=\"fine &amp; good\" classname=",
    ] {
        assert!(xml.contains(part), "{part} in\n{xml}");
    }
    let out = desk.test(&["--json"]).await.code(1);
    let all: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&all[0]["ok"], &all[1]["ok"]), (&false.into(), &true.into()));
    assert_eq!(all[0]["lines"][1]["rule"], "unhappy");
    assert_eq!(all[0]["lines"][1]["expected"], false);

    let other = CONFIG.replace("[rules.unhappy]", "[rules.sad]");
    std::fs::write(desk.path("other.toml"), other).unwrap();
    let out = desk.test(&["--config", "other.toml"]).await.code(1);
    assert!(out.contains("for other.toml") && out.contains("desk  sad"), "{out}");
}

#[tokio::test]
async fn every_mistake_is_shown_with_its_place() {
    let tests = r#"
[[test]]
nam = "x"
[[test.step]]
at = "2"
source = "clinik"
set = { id = "x" }
[[test.step]]
happens = "ended"
call = "a"
[[test.expect]]
rule = "unhapy"
within = ["3m", "1m"]
[[test.expect]]
rule = "quiet-hours"
at = "2024-12-15 09:00"
[[test.expect]]
rule = "feed"
title = "x"
"#;
    let err = Desk::new(CONFIG, tests).test(&[]).await.code(78);
    for part in [
        "`name` is missing",
        "unknown key `nam`",
        "clinic.test.toml:3:1",
        "this duration has no unit",
        "there is no source `clinik`",
        "did you mean `clinic`?",
        "the call's id is said by `call`",
        "`happens` is only for source.failing and source.recovered",
        "there is no rule `unhapy`",
        "expected two times, the earlier one first",
        "`to` is missing",
        "this is before the test starts",
        "a webhook is sent the call and no title, so `title` says nothing",
    ] {
        assert!(err.contains(part), "{part} in\n{err}");
    }
    // A mistake in the syntax is shown as it stands: there is nothing secret in a test.
    let err = Desk::new(CONFIG, "[[test]]\nname = unhappy\n").test(&[]).await.code(78);
    assert!(err.contains("name = unhappy") && err.contains("must be in quotes"), "{err}");
    let err = Desk::new("[sources]", STEPS).test(&[]).await.code(78);
    assert!(err.contains("there is no source of calls") && err.contains("clinic.toml"), "{err}");
    let desk = Desk::new(CONFIG, STEPS);
    std::fs::remove_file(desk.path("clinic.toml")).unwrap();
    assert!(desk.test(&[]).await.code(78).contains("`config` is missing"));
    std::fs::remove_file(desk.path("clinic.test.toml")).unwrap();
    assert!(desk.test(&[]).await.code(78).contains("the file of tests does not exist"));
}
