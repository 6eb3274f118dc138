//! The example and the reference are checked like code: what they say is so.

use std::collections::BTreeSet;

use callwatch::{
    config::{Absent, Key, Level, Literal, Report, ValueType, written},
    config_file::{Config, Loaded, TableKeys, tables},
    destination::{DestinationKind, DestinationType, SmtpSecurity, types},
};

use super::{EXAMPLE, OPTIONS, completed, parse};
use crate::destination::tls::{CERTIFICATE, KEY};

const REFERENCE: &str = include_str!("../../../docs/configuration.md");

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
    close_to_others(&folder.join("callwatch.key"));
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
        ["call-completed", "unhappy-caller", "booked", "[alerts]"]
    );
    let DestinationKind::Email(email) = &config.destinations[2].kind else { panic!("not email") };
    assert_eq!(email.smtp.user.as_deref(), Some("alerts@example.com"));
    assert_eq!((email.smtp.security, email.smtp.port), (SmtpSecurity::Tls, 465));
    assert_eq!(email.smtp.host, "smtp.example.com");
}

/// The example with every key in its comments in force.
pub(super) fn uncommented() -> String {
    EXAMPLE
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
        .collect()
}

#[test]
fn every_key_is_in_the_example_and_every_key_in_its_comments_is_one() {
    let uncommented = uncommented();
    let Loaded { config, warnings } = load_example(&uncommented);
    assert_eq!(warnings.to_string(), "", "in config.example.toml, with what its comments hold");
    for TableKeys { heading, keys } in tables() {
        // It stands in for `password`, so the example cannot have both.
        for key in keys.into_iter().filter(|key| key.name != "oauth_token") {
            let is_there = uncommented
                .lines()
                .filter(|line| !line.starts_with('#'))
                .any(|line| line.split(['{', ',']).any(|part| names(part, key.name)));
            assert!(is_there, "config.example.toml does not show `{}` of {heading}", key.name);
        }
    }
    assert_eq!(config.destinations[0].max_attempts_age, Some(std::time::Duration::from_secs(3 * 86_400)));
}

/// Whether this part of a line assigns to `key`.
fn names(part: &str, key: &str) -> bool {
    part.split_once('=').is_some_and(|(before, _)| before.trim() == key)
}

#[test]
fn the_keys_in_the_comments_of_the_example_show_their_defaults() {
    let mut checked = 0;
    let (mut table, mut keys) = (String::new(), tables().swap_remove(0).keys);
    for line in EXAMPLE.lines() {
        let text = line.trim_start_matches(['#', ' ']);
        if let Some(header) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            table = header.0.to_owned();
            keys = match table.split_once('.') {
                Some(("sources", _)) => keys_of("[sources.NAME]"),
                // The one with keys in comments is a webhook.
                Some(("destinations", _)) => {
                    [keys_of("[destinations.NAME]"), keys_of("type = \"webhook\"")].concat()
                }
                Some(("rules", _)) => keys_of("[rules.NAME]"),
                _ => keys_of(&format!("[{table}]")),
            };
        }
        let (Some(commented), false) = (line.strip_prefix("# "), line.contains("no default")) else {
            continue;
        };
        let Some(key) = keys.iter().find(|key| names(commented, key.name)) else { continue };
        if let Absent::Default(default) = key.absent {
            let written = commented.split_once('=').expect("it assigns").1.trim_start();
            assert!(written.starts_with(&default.to_string()), "[{table}] {commented}");
            checked += 1;
        }
    }
    assert!(checked > 20, "{checked}");
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
    let others: Vec<_> = messages(&warnings)
        .into_iter()
        .filter(|message| !message.starts_with("no rule tells destination "))
        .collect();
    assert!(others.is_empty(), "{others:?}");
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

fn keys_of(heading: &str) -> Vec<Key> {
    let table = tables().into_iter().find(|table| table.heading == heading);
    table.unwrap_or_else(|| panic!("there is no table {heading}")).keys
}

/// A table of a config by its heading in the reference: the keys it needs, and a place for another one.
pub(super) fn table(heading: &str) -> String {
    let text = match heading {
        "The top of the file" => "",
        "[store]" => "[store]\n",
        "[cluster]" => "[cluster]\n",
        "[backup]" => "[backup]\n",
        "[delivery]" => "[delivery]\n",
        "[reload]" => "[reload]\n",
        "[server]" => "[server]\nlisten = \"127.0.0.1:9464\"\n",
        "[alerts]" => "[alerts]\nto = [\"crm\"]\n",
        "[heartbeat]" => "[heartbeat]\nurl = \"https://hc.example.com/1\"\n",
        "[sources.NAME]" => "[sources.clinic]\napi_key = { env = \"CALLEM_API_KEY\" }\n",
        "[destinations.NAME]" | "type = \"webhook\"" => {
            "[destinations.crm]\ntype = \"webhook\"\nurl = \"https://crm.example.com/\"\n"
        }
        "type = \"slack\"" => {
            "[destinations.crm]\ntype = \"slack\"\ntoken = { env = \"SLACK_BOT_TOKEN\" }\nchannel = \"C0123ABCD\"\n"
        }
        "type = \"email\"" => {
            "[destinations.crm]\ntype = \"email\"\nsmtp = \"smtps://smtp.example.com\"\n\
             from = \"alerts@example.com\"\nto = [\"manager@example.com\"]\n"
        }
        "trusted_proxy" => {
            "[server]\nlisten = \"0.0.0.0:9464\"\n[server.trusted_proxy]\nfrom = [\"10.0.0.2\"]\nheader = \"Remote-User\"\n"
        }
        "[rules.NAME]" => "[rules.ended]\nwhen = 'call.isEngaged'\nto = [\"crm\"]\n",
        "count" => {
            "[rules.ended]\non = [\"ended\"]\nto = [\"crm\"]\n[rules.ended.count]\nat_least = 3\nwithin = \"1h\"\n"
        }
        "group" => "[rules.ended]\non = [\"ended\"]\nto = [\"crm\"]\n[rules.ended.group]\n",
        "throttle" => {
            "[rules.ended]\non = [\"ended\"]\nto = [\"crm\"]\n[rules.ended.throttle]\nat_most = 3\nper = \"1h\"\n"
        }
        other => {
            let of_type = types().iter().find(|it| other == heading_of(it));
            return required_by(
                of_type.unwrap_or_else(|| panic!("`table` does not say yet what {other} needs")),
            );
        }
    };
    text.to_owned()
}

fn heading_of(of_type: &DestinationType) -> String {
    format!("type = \"{}\"", of_type.word)
}

/// A destination of this type with the keys that it requires, each as its declaration shows it.
fn required_by(of_type: &DestinationType) -> String {
    let mut table = format!("[destinations.crm]\n{}\n", heading_of(of_type));
    for key in of_type.keys {
        if let Absent::Required(example) = key.absent {
            table.push_str(&format!("{} = {example}\n", key.name));
        }
    }
    table
}

#[test]
fn whoever_names_no_type_is_told_of_all() {
    let said = parse(&completed("[destinations.crm]\n")).unwrap_err().to_string();
    for of_type in types() {
        let word = format!("\"{}\"", of_type.word);
        assert!(said.contains(&word), "`TYPE` in src/destination/config.rs does not name {word}:\n{said}");
    }
}

/// Each table by its heading, with the keys it can hold: those of a type of destination with the common ones.
pub(super) fn whole_tables() -> Vec<(String, Vec<Key>)> {
    let mut tables = tables();
    tables.retain(|table| table.heading != "[destinations.NAME]");
    for table in &mut tables {
        let of_type = types().iter().find(|it| table.heading == heading_of(it));
        table.keys.extend(of_type.into_iter().flat_map(DestinationType::common));
    }
    tables.into_iter().map(|table| (table.heading, table.keys)).collect()
}

#[test]
fn every_declared_key_is_read_and_no_other() {
    for (heading, keys) in whole_tables() {
        let mut text = table(&heading);
        match heading.as_str() {
            "The top of the file" => text.insert_str(0, "zzzzzz = 1\n"),
            _ => text.push_str("zzzzzz = 1\n"),
        }
        let report = parse(&completed(&text)).unwrap_err();
        let errors: Vec<_> = report.mistakes().iter().filter(|m| m.level == Level::Error).collect();
        let [mistake] = errors.as_slice() else { panic!("{report}") };
        let mut read: BTreeSet<_> =
            mistake.hint.as_deref().expect("a hint").split('`').skip(1).step_by(2).collect();
        if heading == "The top of the file" {
            let tables =
                ["store", "cluster", "backup", "delivery", "reload", "server", "sources", "destinations"];
            for table in tables.into_iter().chain(["alerts", "heartbeat", "rules"]) {
                assert!(read.remove(table), "{table}");
            }
        }
        assert_eq!(read, keys.iter().map(|key| key.name).collect(), "{heading}");
    }
}

#[test]
fn every_declared_default_is_the_default() {
    let load = |text: &str| {
        let path = std::path::Path::new("config.toml");
        let loaded = Config::parse(&completed(text), path, OPTIONS);
        format!("{:?}", loaded.unwrap_or_else(|report| panic!("{text}\n{report}")).config)
    };
    let mut checked = 0;
    for (heading, keys) in whole_tables() {
        for key in keys {
            // Without a `body` there may be no content type; a test of webhooks looks at its default.
            if let (Absent::Default(default), false) = (key.absent, key.name == "content_type") {
                let table = table(&heading);
                let written = load(&format!("{table}{} = {default}\n", key.name));
                assert_eq!(load(&table), written, "{heading} {}", key.name);
                checked += 1;
            }
        }
    }
    assert!(checked > 50, "{checked}");
}

#[test]
fn every_declared_limit_is_kept() {
    let mut checked = 0;
    for (heading, keys) in whole_tables() {
        for key in keys {
            let (values, list) = match key.takes {
                ValueType::List(element) => (element, true),
                ref other => (other, false),
            };
            let beyond = match *values {
                ValueType::Integer(least, most) => vec![(least - 1).to_string(), (most + 1).to_string()],
                ValueType::Duration(least, most) => {
                    let less = least.checked_sub(std::time::Duration::from_millis(1));
                    let more = most + std::time::Duration::from_secs(1);
                    less.into_iter().chain([more]).map(|value| format!("\"{}\"", written(value))).collect()
                }
                _ => continue,
            };
            for value in beyond {
                let value = if list { format!("[{value}]") } else { value };
                let base: String = table(&heading)
                    .lines()
                    .filter(|line| !names(line, key.name))
                    .map(|l| format!("{l}\n"))
                    .collect();
                let report = parse(&completed(&format!("{base}{} = {value}\n", key.name))).unwrap_err();
                let is_refused = |message: &&str| {
                    ["too short, ", "too long, ", "expected "].iter().any(|start| message.starts_with(start))
                };
                assert!(
                    messages(&report).iter().any(is_refused),
                    "{heading} {} = {value}\n{report}",
                    key.name
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 40, "{checked}");
}

/// The values a key takes, as the reference says it; `many` in the plural.
fn kind(takes: &ValueType, many: bool) -> String {
    let plural = |word: &str| if many { format!("{word}s") } else { word.to_owned() };
    match takes {
        ValueType::Text => plural("text"),
        ValueType::Boolean => "true or false".to_owned(),
        ValueType::Integer(least, most) => format!("{least} to {most}"),
        ValueType::Duration(least, most) if least.is_zero() => {
            format!("{}, up to {}", plural("duration"), written(*most))
        }
        ValueType::Duration(least, most) => {
            format!("{}, {} to {}", plural("duration"), written(*least), written(*most))
        }
        ValueType::Size(least) => {
            format!("{}, at least {}", plural("size"), Literal::Size(*least).to_string().trim_matches('"'))
        }
        ValueType::Word { words, .. } if words.len() <= 4 => {
            let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
            let (last, others) = words.split_last().expect("there are words");
            format!("{} or {last}", others.join(", "))
        }
        ValueType::Word { what, .. } => plural(what).replace("kind of changes", "kinds of change"),
        ValueType::Name(_) => plural("name"),
        ValueType::DateTime => "date and time".to_owned(),
        ValueType::Time => plural("time"),
        ValueType::Rate => plural("rate"),
        ValueType::Hours => "hours".to_owned(),
        ValueType::Schedule => plural("schedule"),
        ValueType::Zone => plural("time zone"),
        ValueType::Path => plural("path"),
        ValueType::Url => plural("URL"),
        ValueType::Mailbox => if many { "email addresses" } else { "email address" }.to_owned(),
        ValueType::Secret => plural("secret"),
        ValueType::Template => plural("template"),
        ValueType::Condition => plural("condition"),
        ValueType::FieldPath => plural("field path"),
        ValueType::GroupField => plural("grouping field"),
        ValueType::List(element) => format!("list of {}", kind(element, true)),
        ValueType::OneOrList(element) => {
            format!("{}, or list of {}", kind(element, false), kind(element, true))
        }
        ValueType::TableOf(element) => format!("table of {}", kind(element, true)),
        ValueType::Table(_) | ValueType::NamedTables => plural("table"),
    }
}

fn default(absent: Absent) -> String {
    match absent {
        Absent::Required(_) => "required".to_owned(),
        Absent::Nothing => "none".to_owned(),
        Absent::Means(words) => words.to_owned(),
        Absent::Default(literal) => format!("`{literal}`"),
    }
}

/// The default of a common key of destinations: one for all types, or each type's.
fn default_of_types(name: &str) -> String {
    let of = |it: &DestinationType| {
        it.common().into_iter().find(|key| key.name == name).map(|key| default(key.absent))
    };
    let defaults: Vec<_> = types().iter().filter_map(|it| Some((it.word, of(it)?))).collect();
    match defaults.iter().all(|(_, default)| *default == defaults[0].1) {
        true => defaults[0].1.clone(),
        false => {
            defaults.iter().map(|(word, default)| format!("{word} {default}")).collect::<Vec<_>>().join(", ")
        }
    }
}

/// A table of the reference, generated from its keys.
fn generated(TableKeys { heading, keys }: &TableKeys) -> String {
    let mut table = "| key | kind | default | |\n|---|---|---|---|\n".to_owned();
    for Key { name, takes, absent, doc } in keys {
        let default = match heading.as_str() {
            "[destinations.NAME]" => default_of_types(name),
            _ => default(*absent),
        };
        table.push_str(&format!("| `{name}` | {} | {default} | {doc} |\n", kind(takes, false)));
    }
    table
}

/// `UPDATE_REFERENCE=1` writes the tables into the page in place of comparing them.
#[test]
fn the_tables_of_the_reference_are_those_of_the_keys() {
    let tables = tables();
    let (mut page, mut sections) = (String::new(), BTreeSet::new());
    let mut heading = "";
    let mut lines = REFERENCE.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with('#') {
            heading = line.trim_matches(['#', ' ', '`']);
        }
        if line == "| key | kind | default | |" {
            while lines.next_if(|line| line.starts_with('|')).is_some() {}
            let table = tables.iter().find(|table| table.heading == heading);
            page.push_str(&generated(table.unwrap_or_else(|| panic!("there is no table {heading}"))));
            assert!(sections.insert(heading), "{heading} is there twice");
        } else {
            page.push_str(line);
            page.push('\n');
        }
    }
    for TableKeys { heading, .. } in &tables {
        assert!(
            sections.contains(heading.as_str()),
            "docs/configuration.md has no table of {heading}: give it the heading ### `{heading}`, and below the line\n\
             | key | kind | default | |\nfrom which UPDATE_REFERENCE=1 writes the table"
        );
    }
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md"), &page).unwrap();
    } else {
        assert!(
            page == REFERENCE,
            "docs/configuration.md differs: update it with UPDATE_REFERENCE=1\n{page}"
        );
    }
}

#[test]
fn the_config_of_several_machines_is_fine() {
    let page = include_str!("../../../docs/cluster.md");
    let text = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let Loaded { config, warnings } = parse(&completed(text)).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(warnings.to_string(), "");
    assert!(config.store.database.is_some());
    let shown = format!("{config:?}");
    assert!(!shown.contains("0123456789"), "the password is not shown");
}

#[test]
fn an_address_that_is_no_database_is_a_mistake() {
    let wrong = |url: &str| {
        let report = parse(&completed(&format!("[store]\nurl = \"{url}\"\n"))).unwrap_err();
        messages(&report).join("; ")
    };
    assert_eq!(
        wrong("mysql://root:hunter2@db/callwatch"),
        "this is not the address of a PostgreSQL database"
    );
    let report = parse(&completed("[store]\nca_file = \"ca.pem\"\n")).unwrap_err();
    assert!(report.to_string().contains("`url` is missing"), "{report}");
}
