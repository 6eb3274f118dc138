//! `callwatch check` as a person or a script runs it.

use std::{
    path::Path,
    process::{Command, Output},
};

use callwatch::{
    config::{LoadOptions, Secrets},
    config_file::Config,
};

use super::KEY;

fn check(config: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(folder.path(), private).unwrap();
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
fn the_file_is_found_in_the_usual_places_and_may_be_named_without_an_option() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    std::fs::create_dir_all(home.join("callwatch")).unwrap();
    let run = |arguments: &[&str], env: &[(&str, &std::path::Path)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callwatch"));
        command.arg("check").args(arguments).current_dir(folder.path()).env_clear();
        command.env("CALLEM_API_KEY", KEY).envs(env.iter().copied());
        let output = command.output().unwrap();
        let said = format!("{}{}", printed(&output), String::from_utf8_lossy(&output.stderr));
        (output.status.code(), said)
    };
    let (code, said) = run(&[], &[("XDG_CONFIG_HOME", &home)]);
    assert_eq!(code, Some(2));
    for place in
        ["`callwatch.toml`", "home/callwatch/config.toml`", "`/etc/callwatch/config.toml`", "--config"]
    {
        assert!(said.contains(place), "{place}: {said}");
    }
    std::fs::write(home.join("callwatch/config.toml"), super::completed("")).unwrap();
    let (code, said) = run(&[], &[("XDG_CONFIG_HOME", &home)]);
    assert!(code == Some(0) && said.contains("home/callwatch/config.toml is fine"), "{said}");
    std::fs::write(folder.path().join("callwatch.toml"), super::completed("")).unwrap();
    let (code, said) = run(&[], &[("XDG_CONFIG_HOME", &home)]);
    assert!(code == Some(0) && said.starts_with("callwatch.toml is fine"), "{said}");
    std::fs::write(folder.path().join("other.toml"), super::completed("")).unwrap();
    for (arguments, env) in [
        (&["other.toml"][..], &[][..]),
        (&["-c", "other.toml"], &[]),
        (&[], &[("CALLWATCH_CONFIG", std::path::Path::new("other.toml"))]),
    ] {
        let (code, said) = run(arguments, env);
        assert!(code == Some(0) && said.starts_with("other.toml is fine"), "{said}");
    }
    assert_eq!(run(&["other.toml", "-c", "callwatch.toml"], &[]).0, Some(2));
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

#[test]
fn configs_to_start_from_are_right() {
    for (file, config) in [
        ("deploy/config.example.toml", include_str!("../../../deploy/config.example.toml")),
        ("fuzz/seeds/config/small.toml", include_str!("../../../fuzz/seeds/config/small.toml")),
        ("fuzz/seeds/config/clinic.toml", include_str!("../../../fuzz/seeds/config/clinic.toml")),
    ] {
        let options = LoadOptions { secrets: Secrets::Ignored, ..super::OPTIONS };
        if let Err(report) = Config::parse(config, Path::new("config.toml"), options) {
            panic!("{file}:\n{}", report.render(false));
        }
    }
}

/// deploy/compose.yaml hands these over, and no others.
#[test]
fn the_config_for_containers_needs_what_compose_gives() {
    let env = |name: &str| match name {
        "CALLEM_API_KEY" | "CALLWATCH_TOKEN" => super::env(name),
        _ => None,
    };
    let options = LoadOptions { env: &env, ..super::OPTIONS };
    let config = include_str!("../../../deploy/config.example.toml");
    let loaded = Config::parse(config, Path::new("config.toml"), options).unwrap();
    let server = loaded.config.server.expect("it has a page");
    assert!(server.listen.ip().is_unspecified() && server.token.is_some());
    let compose = include_str!("../../../deploy/compose.yaml");
    assert!(compose.contains("CALLEM_API_KEY: ") && compose.contains("CALLWATCH_TOKEN: "), "{compose}");
}
