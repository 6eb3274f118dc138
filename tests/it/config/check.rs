//! `callwatch check` as a person or a script runs it.

use std::process::{Command, Output};

use super::KEY;

fn check(config: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.toml"), config).unwrap();
    Command::new(env!("CARGO_BIN_EXE_callwatch"))
        .args(["check", "-c", "config.toml"])
        .args(arguments)
        .current_dir(folder.path())
        .env_clear()
        .env("CALLEM_API_KEY", KEY)
        .output()
        .unwrap()
}

fn printed(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

#[test]
fn a_good_config_is_summed_up() {
    let output = check(&super::completed(""), &[]);
    assert_eq!(printed(&output), "config.toml is fine: 1 source, 1 destination, 1 rule\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn warnings_do_not_fail() {
    let text = "[sources.clinic]\napi_key = \"sk_live_1\"\n";
    let output = check(&super::completed(text), &[]);
    assert!(printed(&output).starts_with("warning: this does not look like a key of the API\n"));
    assert!(printed(&output).ends_with("config.toml is fine: 1 source, 1 destination, 1 rule\n"));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn errors_are_listed_counted_and_exit_with_78() {
    let text = "[sources.clinic]\napi_key = \"sk_live_1\"\ninterval = 15\npage_size = 0\n";
    let output = check(&super::completed(text), &[]);
    assert!(printed(&output).ends_with("\nconfig.toml has 2 errors and 1 warning\n"), "{}", printed(&output));
    assert!(!printed(&output).contains(['\x1b']), "no colours: this is not a terminal");
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn programs_get_json() {
    let text = "[sources.clinic]\napi_key = { env = \"CALLEM_API_KEY\" }\ninterval = 15\n";
    let output = check(&super::completed(text), &["--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = serde_json::json!([{
        "severity": "error",
        "file": "config.toml",
        "line": 3,
        "column": 12,
        "message": "expected a duration in quotes, found an integer",
        "hint": "write \"15s\"",
    }]);
    assert_eq!(json, expected);
    assert_eq!(output.status.code(), Some(78));
    let fine = check(&super::completed(""), &["--json"]);
    assert_eq!(printed(&fine), "[]\n");
}
