//! Habits that people bring from other languages, from word processors and from shells.

use std::path::Path;

use callwatch::{config::LoadOptions, config_file::Config};

use super::check;

#[test]
fn typographic_quotes() {
    check(
        r#"
[rules.ended]
on = [“ended”]
to = ["crm"]
"#,
        r#"
error: `“` is a typographic quote
 --> config.toml:2:7
  |
2 | on = [“*********
  |       ^
  |
  = help: write "…" or '…'

"#,
    );
}

#[test]
fn a_space_that_is_not_one() {
    check(
        "
[rules.ended]
on =\u{a0}[\"ended\"]
to = [\"crm\"]
",
        "
error: there is an invisible character (U+00A0)
 --> config.toml:2:5
  |
2 | on =\u{a0}*********
  |     ^
  |
  = help: remove it, or type the space again

",
    );
}

#[test]
fn a_space_in_the_name_of_a_table_hides_only_this_table() {
    check(
        r#"
[rules.unhappy caller]
on = ["ended"]
to = ["crm"]

[rules.ended]
on = ["end"]
to = ["crm"]
"#,
        r#"
error: the name of a table cannot have a space in it
 --> config.toml:1:15
  |
1 | [rules.unhappy caller]
  |               ^
  |
  = help: write [rules.unhappy-caller]

error: there is no kind of change `end`
 --> config.toml:6:7
  |
6 | on = ["end"]
  |       ^^^^^
  |
  = help: did you mean `ended`?

"#,
    );
}

#[test]
fn decimal_commas_and_commas_at_the_end() {
    check(
        r#"
[sources.clinic]
api_key = { env = "CALLEM_API_KEY" }
page_size = 1,5
requests_per_minute = 100,
"#,
        r#"
error: a number has no comma
 --> config.toml:3:14
  |
3 | page_size = 1,*
  |              ^
  |
  = help: decimals follow a point, as in 1.5

error: nothing may follow a value on its line
 --> config.toml:4:26
  |
4 | requests_per_minute = 100,
  |                          ^
  |
  = help: leave the comma out

"#,
    );
}

#[test]
fn comments_of_other_languages() {
    check(
        r#"
// the desk
[rules.ended]
-- the desk
on = ["ended"] // the desk
to = ["crm"] ; the desk
"#,
        r#"
error: `//` does not begin a comment
 --> config.toml:1:1
  |
1 | //*********
  | ^^
  |
  = help: a comment begins with `#`

error: `--` does not begin a comment
 --> config.toml:3:1
  |
3 | ***********
  | ^^
  |
  = help: a comment begins with `#`

error: `//` does not begin a comment
 --> config.toml:4:16
  |
4 | on = ["ended"] //*********
  |                ^^
  |
  = help: a comment begins with `#`

error: `;` does not begin a comment
 --> config.toml:5:14
  |
5 | to = ["crm"] ;*********
  |              ^
  |
  = help: a comment begins with `#`

"#,
    );
}

#[test]
fn a_file_in_another_language_is_one_mistake() {
    let report =
        super::parse("sources:\n  clinic:\n    api_key: hush\n    interval: 15s\nrules:\n  - on: ended\n");
    let report = report.unwrap_err().to_string();
    assert_eq!(
        format!("\n{report}"),
        r#"
error: this is YAML, and the config is written in TOML
 --> config.toml:1:8
  |
1 | sources:
  |        ^
  |
  = help: a table begins with a line [sources.NAME], and each of its lines is
          key = value

"#
    );
    let report =
        super::parse("{\n  \"sources\": { \"clinic\": { \"api_key\": \"hush\" } }\n}\n").unwrap_err();
    assert_eq!(report.mistakes().len(), 1, "{report}");
    assert!(report.mistakes()[0].message.starts_with("this is JSON"), "{report}");
    assert!(!report.to_string().contains("hush"), "{report}");
}

#[test]
fn a_colon_after_a_key() {
    check(
        r#"
[rules.ended]
on: ["ended"]
to = ["crm"]
"#,
        r#"
error: `:` does not separate a key from its value
 --> config.toml:2:3
  |
2 | on:**********
  |   ^
  |
  = help: write key = value

"#,
    );
}

#[test]
fn what_is_there_twice_names_the_first() {
    check(
        r#"
[rules.ended]
on = ["ended"]
to = ["crm"]

[rules.ended]
on = ["analyzed"]
to = ["crm"]

[sources.clinic]
interval = "15s"
api_key = { env = "CALLEM_API_KEY" }
interval = "20s"
"#,
        r#"
error: this table is there twice: the first one is on line 1
 --> config.toml:5:8
  |
5 | [rules.ended]
  |        ^^^^^
  |
  = help: put the two together, or give one of them another name

error: this key is there twice: the first one is on line 10
  --> config.toml:12:1
   |
12 | interval********
   | ^^^^^^^^

"#,
    );
}

#[test]
fn variables_of_a_shell_and_a_key_with_its_scheme() {
    check(
        r#"
[sources.clinic]
api_key = "${CALLEM_API_KEY}"

[sources.annex]
api_key = "Bearer ck_live_1"

[destinations.crm]
type = "webhook"
url = "https://crm.example.com/"
secret = "whsec_${SECRET}"
"#,
        r#"
error: variables are not filled in, so this is taken as it is written
 --> config.toml:2:11
  |
2 | api_key = "*****************"
  |           ^^^^^^^^^^^^^^^^^^^
  |
  = help: write { env = "CALLEM_API_KEY" } in place of the quotes

error: callwatch puts `Bearer` before the key itself
 --> config.toml:5:11
  |
5 | api_key = "****************"
  |           ^^^^^^^^^^^^^^^^^^
  |
  = help: write the key alone

error: variables are not filled in, so this is taken as it is written
  --> config.toml:10:10
   |
10 | secret = "***************"
   |          ^^^^^^^^^^^^^^^^^
   |
   = help: put the whole value into one variable, and write { env = "NAME" }

"#,
    );
}

#[test]
fn a_page_of_slack_is_no_webhook() {
    check(
        r#"
[destinations.desk]
type = "slack"
webhook_url = "https://acme.slack.com/archives/C0123456"

[rules.ended]
on = ["ended"]
to = ["desk"]
"#,
        r#"
error: this is a page of Slack, not an incoming webhook
 --> config.toml:3:15
  |
3 | webhook_url = "****************************************"
  |               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: Slack gives it as https://hooks.slack.com/services/…

"#,
    );
}

#[test]
fn a_secret_where_its_place_belongs_is_hidden() {
    check(
        r#"
[sources.clinic]
api_key = { env = "ck_live_0123456789" }

[destinations.crm]
type = "webhook"
url = "https://crm.example.com/"
secret = { file = "whsec_0123456789" }
headers = { authorization = { env = "4f9d0c2b7a6e4c1db1b2c3d4e5f60718" } }
"#,
        r#"
error: this looks like the secret itself, not like the name of a variable
 --> config.toml:2:19
  |
2 | api_key = { env = "******************" }
  |                   ^^^^^^^^^^^^^^^^^^^^
  |
  = help: set a variable to it, as in export NAME=…, and write { env = "NAME"
          }

error: there is no such file, and this looks like the secret itself
 --> config.toml:7:19
  |
7 | secret = { file = "****************" }
  |                   ^^^^^^^^^^^^^^^^^^
  |
  = help: write it to a file of its own, and the path of that here

error: this looks like the secret itself, not like the name of a variable
 --> config.toml:8:37
  |
8 | headers = { authorization = { env = "********************************" } }
  |                                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: set a variable to it, as in export NAME=…, and write { env = "NAME"
          }

"#,
    );
}

#[test]
fn the_time_zone_at_the_end_of_the_file() {
    check(
        r#"
[rules.ended]
on = ["ended"]
to = ["crm"]
timezone = "Europe/Berlin"

[sources.clinic]
api_key = { env = "CALLEM_API_KEY" }
timezone = "Europe/Berlin"
"#,
        r#"
warning: nothing in this table depends on the time zone
 --> config.toml:4:12
  |
4 | timezone = "Europe/Berlin"
  |            ^^^^^^^^^^^^^^^
  |
  = help: if it is meant for the whole file, move it above the first table

error: unknown key `timezone`
 --> config.toml:8:1
  |
8 | timezone = "*************"
  | ^^^^^^^^
  |
  = help: `timezone` is a key of the whole file: move it above the first table

"#,
    );
}

/// The messages and hints of a file's mistakes.
fn said(text: &str) -> Vec<(String, String)> {
    let report = super::parse(text).unwrap_err();
    let said = report.mistakes().iter();
    said.map(|mistake| (mistake.message.clone(), mistake.hint.clone().unwrap_or_default())).collect()
}

#[test]
fn variables_of_other_shells() {
    for written in ["$CALLEM_API_KEY", "%CALLEM_API_KEY%", "${CALLEM_API_KEY}"] {
        let said = said(&format!("[sources.clinic]\napi_key = \"{written}\"\n"));
        let hint = "write { env = \"CALLEM_API_KEY\" } in place of the quotes";
        let message = "variables are not filled in, so this is taken as it is written";
        assert!(said.contains(&(message.to_owned(), hint.to_owned())), "{written}: {said:?}");
    }
}

#[test]
fn a_key_in_quotes_within_its_variable() {
    for quote in ['"', '\''] {
        let key = format!("{quote}ck_live_{}{quote}", "0".repeat(60));
        let env = |name: &str| (name == "CALLEM_API_KEY").then(|| key.clone());
        let text = "[sources.clinic]\napi_key = { env = \"CALLEM_API_KEY\" }\n";
        let options = LoadOptions { env: &env, ..LoadOptions::default() };
        let report = Config::parse(text, Path::new("config.toml"), options).unwrap_err();
        let message = "the value of CALLEM_API_KEY has quotes around it, which are taken as a part of it";
        let found = report.mistakes().iter().find(|mistake| mistake.message == message);
        let hint = found.and_then(|mistake| mistake.hint.as_deref());
        assert_eq!(hint, Some("leave them out where it is set"), "{report}");
        assert!(!report.to_string().contains("ck_live_0"), "{report}");
    }
}

#[test]
fn words_of_other_languages_and_decimal_commas_in_values() {
    let rule = "[rules.ended]\nwhen = 'call.isEngaged'\nto = [\"crm\"]\n";
    for (line, message, hint) in [
        ("repeat = True", "a text must be in quotes", "true and false are written small: write true"),
        ("repeat = False", "a text must be in quotes", "true and false are written small: write false"),
        ("repeat = yes", "a text must be in quotes", "true and false are written small: write true"),
        ("max_age = None", "a text must be in quotes", "for nothing, leave the key out"),
        ("severity = info", "a text must be in quotes", ""),
        (
            "title = env(\"TITLE\")",
            "a text must be in quotes",
            "write { env = \"NAME\" } or { file = \"path\" }",
        ),
        ("throttle = { at_most: 3 }", "`:` does not separate a key from its value", "write key = value"),
        ("severity ＝ \"info\"", "`＝` is a full-width character", "write `=`"),
        (
            "title = \"C:\\Users\"",
            "too few unicode value digits, expected unicode hexadecimal value",
            "between '…' a backslash is only a backslash",
        ),
        (
            "max_age = \"1,5h\"",
            "a number has no comma",
            "write whole numbers with units, as in \"1h 30m\" or \"500ms\"",
        ),
    ] {
        let said = said(&format!("{rule}{line}\n"));
        assert!(said.contains(&(message.to_owned(), hint.to_owned())), "{line}: {said:?}");
    }
    let rate = "[destinations.crm]\ntype = \"slack\"\nwebhook_url = \"https://hooks.slack.com/services/x\"\nrate = \"1,5/s\"\n";
    assert!(said(rate).iter().any(|(message, _)| message == "a number has no comma"), "{:?}", said(rate));
}

#[test]
fn a_name_with_letters_that_a_name_cannot_have() {
    let hint = "a name is up to 64 of the letters A-Z and a-z, digits, `-`, `_` and `.`";
    for (header, message) in [
        ("[rules.müde]", "`ü` cannot be in the name of a table"),
        ("[rules.\"müde\"]", "`müde` cannot be a name"),
        ("[rules.a/b]", "`/` cannot be in the name of a table"),
    ] {
        let said = said(&format!("{header}\non = [\"ended\"]\nto = [\"crm\"]\n"));
        let found: Vec<_> = said.iter().filter(|(said, _)| said.contains("name")).collect();
        assert_eq!(found, [&(message.to_owned(), hint.to_owned())], "{header}: {said:?}");
    }
}

#[test]
fn utf_16_without_its_mark_is_one_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    for of in [u16::to_le_bytes, u16::to_be_bytes] {
        let text = "# Müller\n[sources.clinic]\napi_key = \"hush\"\n";
        std::fs::write(&path, text.encode_utf16().flat_map(of).collect::<Vec<_>>()).unwrap();
        let report = Config::load(&path, LoadOptions::default()).unwrap_err();
        let [mistake] = report.mistakes() else { panic!("{report}") };
        assert!(mistake.message.ends_with("is UTF-16 text"), "{report}");
        assert_eq!(mistake.hint.as_deref(), Some("save it as UTF-8"));
    }
}

#[test]
fn other_words_for_a_kind_and_single_braces() {
    for (on, hint) in [
        ("call.ended", "did you mean `ended`?"),
        ("completed", "did you mean `ended`?"),
        ("Analysed", "did you mean `analyzed`?"),
        ("call.created", "did you mean `started`?"),
    ] {
        let said = said(&format!("[rules.a]\non = [\"{on}\"]\nto = [\"crm\"]\n"));
        let message = format!("there is no kind of change `{on}`");
        assert!(said.contains(&(message, hint.to_owned())), "{on}: {said:?}");
    }
    for (title, hint) in [
        ("From {call.callerNumber}", Some("write {{ call.callerNumber }}")),
        ("From ${ call.callAnalysis.topic }", Some("write {{ call.callAnalysis.topic }}")),
        ("From {{call.callerNumber}}", None),
        ("{% if call.summary %}{{ call.summary }}{% endif %}", None),
        ("{ call. }", None),
    ] {
        let said = said(&format!("[rules.a]\non = [\"ended\"]\nto = [\"crm\"]\ntitle = '{title}'\n"));
        let message = "what is between single braces is sent as it is written";
        let found = said.iter().find(|(said, _)| said == message).map(|(_, hint)| hint.as_str());
        assert_eq!(found, hint, "{title}: {said:?}");
    }
}
