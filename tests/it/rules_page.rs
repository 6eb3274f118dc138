//! docs/rules.md: every example is accepted, and does what the page says.

use std::process::Command;

const PAGE: &str = include_str!("../../docs/rules.md");
const TESTS: &str = include_str!("rules_page.test.toml");

/// The rest of a config around the page's examples.
const BASE: &str = r#"
[sources.clinic]
api_key = { env = "CALLEM_API_KEY" }

[destinations.crm]
type = "webhook"
url  = "https://crm.example.com/"

[destinations.frontdesk]
type        = "slack"
webhook_url = { env = "SLACK_WEBHOOK_URL" }

[destinations.manager]
type = "email"
smtp = "smtps://smtp.example.com"
from = "alerts@example.com"
to   = ["manager@example.com"]
"#;

fn examples() -> Vec<&'static str> {
    let blocks = PAGE.split("```toml\n").skip(1);
    blocks.map(|rest| rest.split_once("```").expect("the example ends").0).collect()
}

#[test]
fn the_examples_of_the_page_do_what_it_says() {
    let examples = examples();
    assert!(examples.len() > 12);
    for rule in
        examples.iter().flat_map(|example| example.lines()).filter_map(|line| line.strip_prefix("[rules."))
    {
        let rule = rule.trim_end_matches(']');
        assert!(TESTS.contains(&format!("\"{rule}\"")), "{rule} is not tested");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("page.toml"), format!("{BASE}\n{}", examples.concat())).unwrap();
    std::fs::write(folder.path().join("page.test.toml"), TESTS).unwrap();
    let callwatch = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_callwatch"))
            .args(args)
            .current_dir(folder.path())
            .env("CALLEM_API_KEY", format!("ck_live_{}", "0".repeat(60)))
            .env("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/T/B/X")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    };
    let (fine, said) = callwatch(&["check", "--config", "page.toml"]);
    assert!(fine && !said.contains("warning"), "{said}");
    let (fine, said) = callwatch(&["test", "page.test.toml"]);
    assert!(fine, "{said}");
}
