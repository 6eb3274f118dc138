//! The example and the reference are checked like code: what they say is so.

use std::collections::{BTreeMap, BTreeSet};

use callwatch::config::{Level, Report};
use callwatch::config_file::{Config, Loaded};
use callwatch::destination::{DestinationKind, SmtpSecurity};

use super::{OPTIONS, completed, parse};
use crate::destination::tls::{CERTIFICATE, KEY};

const EXAMPLE: &str = include_str!("../../../config.example.toml");
const REFERENCE: &str = include_str!("../../../docs/configuration.md");

/// What is said about a server table as long as there is no server.
const IDLE_SERVER: &str = "this version does not listen on anything yet";

fn messages(report: &Report) -> Vec<&str> {
    report.mistakes().iter().map(|mistake| mistake.message.as_str()).collect()
}

/// Loads a variation of the example from a folder where its secret file exists.
fn load_example(text: &str) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("smtp");
    std::fs::write(&secret, "correct horse battery staple\n").unwrap();
    close_to_others(&secret);
    write_identity(folder.path());
    let path = folder.path().join("config.toml");
    std::fs::write(&path, text.replace("/run/secrets/smtp", "smtp")).unwrap();
    Config::load(&path, OPTIONS).unwrap_or_else(|report| panic!("{report}"))
}

/// The files of certificates that the example names.
fn write_identity(folder: &std::path::Path) {
    let certificate = format!("-----BEGIN CERTIFICATE-----\n{CERTIFICATE}\n-----END CERTIFICATE-----\n");
    std::fs::write(folder.join("ca.pem"), &certificate).unwrap();
    std::fs::write(folder.join("callwatch.pem"), &certificate).unwrap();
    let key = format!("-----BEGIN PRIVATE KEY-----\n{KEY}\n-----END PRIVATE KEY-----\n");
    std::fs::write(folder.join("callwatch.key"), key).unwrap();
}

fn close_to_others(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn the_example_is_fine() {
    let Loaded { config, warnings } = load_example(EXAMPLE);
    assert_eq!(warnings.to_string(), "");
    assert_eq!(config.sources.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["clinic"]);
    assert_eq!(
        config.destinations.iter().map(|d| d.name.as_str()).collect::<Vec<_>>(),
        ["crm", "frontdesk", "manager"]
    );
    assert_eq!(
        config.rules.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(),
        ["call-completed", "unhappy-caller", "booked"]
    );
    let DestinationKind::Email(email) = &config.destinations[2].kind else { panic!("not email") };
    assert_eq!(email.smtp.user.as_deref(), Some("alerts@example.com"));
    assert_eq!((email.smtp.security, email.smtp.port), (SmtpSecurity::Tls, 465));
    assert_eq!(email.smtp.host, "smtp.example.com");
}

#[test]
fn every_key_in_the_comments_of_the_example_is_one() {
    let uncommented: String = EXAMPLE
        .lines()
        .map(|line| {
            let key = line.strip_prefix("# ").filter(|rest| {
                rest.starts_with('[')
                    || rest.split_once('=').is_some_and(|(key, _)| {
                        let key = key.trim_end();
                        !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
                    })
            });
            format!("{}\n", key.unwrap_or(line))
        })
        .collect();
    let Loaded { config, warnings } = load_example(&uncommented);
    assert_eq!(messages(&warnings), [IDLE_SERVER]);
    let mut keys = BTreeMap::new();
    for line in uncommented.lines().filter(|line| !line.starts_with('#')) {
        if let Some((key, _)) = line.split_once('=') {
            keys.insert(key.trim(), ());
        }
    }
    for (section, documented) in sections() {
        for key in documented.keys() {
            assert!(keys.contains_key(key), "{section} {key} is not in the example");
        }
    }
    assert_eq!(config.destinations[0].max_attempts_age, Some(std::time::Duration::from_secs(3 * 86_400)));
}

#[test]
fn the_examples_of_the_reference_are_fine() {
    let examples: Vec<_> = REFERENCE
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split_once("```").expect("the example ends").0)
        .collect();
    assert!(examples.len() >= 6);
    // Together they are one config.
    let whole = examples.concat();
    let Loaded { warnings, .. } = parse(&whole).unwrap_or_else(|report| panic!("{report}"));
    let unused = ["archive", "chat"].map(|name| format!("no rule tells destination `{name}` anything"));
    assert_eq!(messages(&warnings), [IDLE_SERVER, &unused[0], &unused[1]]);
}

#[test]
fn the_examples_about_messages_are_fine() {
    let page = include_str!("../../../docs/messages.md");
    for example in page.split("```toml\n").skip(1) {
        let example = example.split_once("```").expect("the example ends").0.replace("frontdesk", "crm");
        let Loaded { warnings, .. } = parse(&completed(&example)).unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(warnings.to_string(), "");
    }
}

/// The tables of the reference: heading → key → default.
fn sections() -> BTreeMap<&'static str, BTreeMap<&'static str, &'static str>> {
    let mut sections: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    let mut heading = "";
    for line in REFERENCE.lines() {
        if line.starts_with('#') {
            heading = line.trim_matches(['#', ' ', '`']);
        } else if let Some((key, rest)) = line.strip_prefix("| `").and_then(|line| line.split_once("` |")) {
            let default = rest.split('|').nth(1).expect("a column of defaults").trim();
            sections.entry(heading).or_default().insert(key, default);
        }
    }
    sections
}

/// A table of a config by its heading in the reference: what it needs, and a place for another key.
fn table(heading: &str) -> &'static str {
    match heading {
        "[store]" => "[store]\n",
        "[backup]" => "[backup]\n",
        "[delivery]" => "[delivery]\n",
        "[server]" => "[server]\nlisten = \"127.0.0.1:9464\"\n",
        "[sources.NAME]" => "[sources.clinic]\napi_key = { env = \"CALLEM_API_KEY\" }\n",
        "[destinations.NAME]" | "type = \"webhook\"" => {
            "[destinations.crm]\ntype = \"webhook\"\nurl = \"https://crm.example.com/\"\n"
        }
        "type = \"slack\"" => {
            "[destinations.crm]\ntype = \"slack\"\nwebhook_url = { env = \"SLACK_WEBHOOK_URL\" }\n"
        }
        "type = \"email\"" => {
            "[destinations.crm]\ntype = \"email\"\nsmtp = \"smtps://smtp.example.com\"\n\
             from = \"alerts@example.com\"\nto = [\"manager@example.com\"]\n"
        }
        "[rules.NAME]" => "[rules.ended]\nwhen = 'call.isEngaged'\nto = [\"crm\"]\n",
        other => panic!("what is {other}?"),
    }
}

#[test]
fn the_reference_has_exactly_the_keys_there_are() {
    let sections = sections();
    assert_eq!(sections.len(), 10);
    for (heading, documented) in &sections {
        if *heading == "[destinations.NAME]" {
            continue; // Its keys are among those of each type.
        }
        let report = parse(&completed(&format!("{}zzzzzz = 1\n", table(heading)))).unwrap_err();
        let errors: Vec<_> = report.mistakes().iter().filter(|m| m.level == Level::Error).collect();
        let [mistake] = errors.as_slice() else { panic!("{report}") };
        let known: BTreeSet<_> =
            mistake.hint.as_deref().expect("a hint").split('`').skip(1).step_by(2).collect();
        let mut documented: BTreeSet<_> = documented.keys().copied().collect();
        if heading.starts_with("type") {
            documented.extend(sections["[destinations.NAME]"].keys());
        }
        assert_eq!(known, documented, "{heading}");
    }
}

#[test]
fn the_defaults_of_the_reference_are_the_defaults() {
    let load = |text: &str| {
        let path = std::path::Path::new("config.toml");
        let loaded = Config::parse(&completed(text), path, OPTIONS);
        format!("{:?}", loaded.unwrap_or_else(|report| panic!("{text}\n{report}")).config)
    };
    let mut checked = 0;
    for (heading, keys) in sections() {
        for (key, default) in keys {
            let Some(value) = default.strip_prefix('`').and_then(|rest| rest.split_once('`')) else {
                continue;
            };
            let table = table(heading);
            assert_eq!(load(table), load(&format!("{table}{key} = {}\n", value.0)), "{heading} {key}");
            checked += 1;
        }
    }
    assert_eq!(checked, 21);
}
