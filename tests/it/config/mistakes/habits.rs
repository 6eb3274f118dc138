//! What people bring from other languages, from word processors and from shells.

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
