//! Text that is not TOML: the rest of the file is checked as far as possible.

use super::check;

#[test]
fn one_broken_line_does_not_hide_the_others() {
    check(
        r#"
[sources.clinic]
api_key = "ck_live_1234
interval = 15s
page_size = 0
sweep
timeout = "1h"
timeout = "1h"
"#,
        r#"
error: the closing quote is missing
 --> config.toml:2:24
  |
2 | api_key =**************
  |                        ^

error: a text must be in quotes
 --> config.toml:3:12
  |
3 | interval = 15s
  |            ^^^

error: expected 1 to 1000
 --> config.toml:4:13
  |
4 | page_size = 0
  |             ^

error: expected `=` and a value after the key
 --> config.toml:5:6
  |
5 | sweep
  |      ^

"#,
    );
}

#[test]
fn a_list_that_is_not_closed_swallows_what_follows() {
    check(
        r#"
[sources.clinic]
page_size = 0

[rules.ended]
on = ["ended"
to = ["crm"]

[destinations.crm]
type = "webhok"
"#,
        r#"
error: expected 1 to 1000
 --> config.toml:2:13
  |
2 | page_size = 0
  |             ^

error: missing comma between array elements, expected `,`
 --> config.toml:6:1
  |
6 | ************
  | ^
  |
  = help: is the list or table before this closed?

"#,
    );
}

#[test]
fn a_header_that_is_not_closed() {
    check(
        r#"
[sources.clinic
api_key = { env = "CALLEM_API_KEY" }

[rules.ended]
on = ["end"]
"#,
        r#"
error: unclosed table, expected `]`
 --> config.toml:1:16
  |
1 | [sources.clinic
  |                ^

"#,
    );
}

#[test]
fn a_text_with_quotes_between_the_same_quotes() {
    check(
        r#"
[rules.ended]
when = "call.status == "live""
"#,
        r#"
error: the text ends at this quote
 --> config.toml:2:24
  |
2 | when = "call.status == "******
  |                        ^
  |
  = help: put a text that has " in it between single quotes, as in '… == "…"'

"#,
    );
}

#[test]
fn a_text_that_is_not_closed() {
    check(
        r#"
[rules.ended]
on = ["end"]
when = '''
call.status == "live"
to = ["crm"]
"#,
        r#"
error: there is no kind of change `end`
 --> config.toml:2:7
  |
2 | on = ["end"]
  |       ^^^^^
  |
  = help: did you mean `ended`?

error: the end of this text is missing
 --> config.toml:3:8
  |
3 | when = '''
  |        ^^^
  |
  = help: close it with '''

"#,
    );
}
