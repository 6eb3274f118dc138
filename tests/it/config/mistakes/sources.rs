//! `[sources.NAME]`

use super::check;

#[test]
fn numbers_and_durations() {
    check(
        r#"
[sources.clinic]
api_key = { env = "CALLEM_API_KEY" }
interval = 15
sweep = "1 fortnight"
analysis_window = "soon"
page_size = 1001
requests_per_minute = 121
notify_since = ["1d"]
timeout = "0s"
"#,
        r#"
error: expected a duration in quotes, found an integer
 --> config.toml:3:12
  |
3 | interval = 15
  |            ^^
  |
  = help: write "15s"

error: there is no unit of time `fortnight`
 --> config.toml:4:9
  |
4 | sweep = "1 fortnight"
  |         ^^^^^^^^^^^^^
  |
  = help: write numbers with units, as in "15s", "2h 30m" or "7d"

error: this is not a duration
 --> config.toml:5:19
  |
5 | analysis_window = "soon"
  |                   ^^^^^^
  |
  = help: write numbers with units, as in "15s", "2h 30m" or "7d"

error: expected 1 to 1000
 --> config.toml:6:13
  |
6 | page_size = 1001
  |             ^^^^

error: expected 1 to 120
 --> config.toml:7:23
  |
7 | requests_per_minute = 121
  |                       ^^^
  |
  = help: the API allows 120 per minute and IP address, all keys together

error: expected a text, found a list
 --> config.toml:8:16
  |
8 | notify_since = ["**"]
  |                ^^^^^^

error: too short, at least 100ms
 --> config.toml:9:11
  |
9 | timeout = "0s"
  |           ^^^^

"#,
    );
}

#[test]
fn a_page_size_in_words() {
    check(
        r#"
[sources.clinic]
api_key = { env = "CALLEM_API_KEY" }
page_size = "100"
requests_per_minute = 0
timeout = "90"
"#,
        r#"
error: expected an integer, found a text
 --> config.toml:3:13
  |
3 | page_size = "100"
  |             ^^^^^

error: expected 1 to 120
 --> config.toml:4:23
  |
4 | requests_per_minute = 0
  |                       ^
  |
  = help: the API allows 120 per minute and IP address, all keys together

error: this duration has no unit
 --> config.toml:5:11
  |
5 | timeout = "90"
  |           ^^^^
  |
  = help: write numbers with units, as in "15s", "2h 30m" or "7d"

"#,
    );
}

#[test]
fn polling_faster_than_the_budget() {
    check(
        r#"
[sources.clinic]
api_key = { env = "CALLEM_API_KEY" }
interval = "200ms"
"#,
        r#"
error: this asks for 300 requests a minute, 100 are allowed
 --> config.toml:3:12
  |
3 | interval = "200ms"
  |            ^^^^^^^
  |
  = help: make `interval` longer; requests_per_minute is the limit

"#,
    );
}

#[test]
fn a_sweep_shorter_than_the_interval() {
    check(
        r#"
[sources.clinic]
api_key = { env = "CALLEM_API_KEY" }
interval = "2h"
"#,
        r#"
error: a sweep cannot be shorter than the interval
 --> config.toml:1:1
  |
1 | [sources.clinic]
  | ^^^^^^^^^^^^^^^^
  |
  = help: interval is 2h

"#,
    );
}

#[test]
fn addresses_of_the_api() {
    check(
        r#"
[sources.a]
api_key = { env = "CALLEM_API_KEY" }
base_url = "api.callem.ai/v1"

[sources.b]
api_key = { env = "CALLEM_API_KEY" }
base_url = "ftp://api.callem.ai/v1"

[sources.c]
api_key = { env = "CALLEM_API_KEY" }
base_url = "https://user:password@api.callem.ai/v1"

[sources.d]
api_key = { env = "CALLEM_API_KEY" }
base_url = "https://api.callem.ai/v1?limit=3"
"#,
        r#"
error: this is not a whole URL
 --> config.toml:3:12
  |
3 | base_url = "api.callem.ai/v1"
  |            ^^^^^^^^^^^^^^^^^^
  |
  = help: write it whole, as in "https://example.com/path"

error: the URL must begin with https:// or http://
 --> config.toml:7:12
  |
7 | base_url = "ftp://api.callem.ai/v1"
  |            ^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: write it whole, as in "https://example.com/path"

error: expected only a host and a path
  --> config.toml:11:12
   |
11 | base_url = "https://*************@api.callem.ai/v1"
   |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: as in "https://api.callem.ai/v1"

error: expected only a host and a path
  --> config.toml:15:12
   |
15 | base_url = "https://api.callem.ai/v1?limit=3"
   |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: as in "https://api.callem.ai/v1"

"#,
    );
}

#[test]
fn what_is_only_odd_is_a_warning() {
    check(
        r#"
[sources.a]
api_key = "sk_live_1234"
base_url = "http://proxy.example.com/v1/"
requests_per_minute = 600

[sources.b]
api_key = "sk_live_1234"
base_url = "https://proxy.example.com/v1"
"#,
        r#"
warning: this does not look like a key of the API
 --> config.toml:2:11
  |
2 | api_key = "************"
  |           ^^^^^^^^^^^^^^
  |
  = help: keys are `ck_live_` and 60 characters

warning: with http, the key and the calls travel in clear
 --> config.toml:3:12
  |
3 | base_url = "http://proxy.example.com/v1/"
  |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: use https

warning: the API itself allows 120 per minute and IP address
 --> config.toml:4:23
  |
4 | requests_per_minute = 600
  |                       ^^^

warning: source `a` on the same host allows 600
 --> config.toml:6:1
  |
6 | [sources.b]
  | ^^^^^^^^^^^
  |
  = help: the smaller number counts for both: 100 a minute

warning: this does not look like a key of the API
 --> config.toml:7:11
  |
7 | api_key = "************"
  |           ^^^^^^^^^^^^^^
  |
  = help: keys are `ck_live_` and 60 characters

warning: source `a` has the same key
 --> config.toml:7:11
  |
7 | api_key = "************"
  |           ^^^^^^^^^^^^^^
  |
  = help: every call of this project will be seen twice

"#,
    );
}

#[test]
fn the_address_of_a_calls_page() {
    check(
        r#"
[sources.a]
api_key = "ck_live_000000000000000000000000000000000000000000000000000000000000"
call_url = "https://app.example.com/{{ call.ID }}"

[sources.b]
api_key = "ck_live_111111111111111111111111111111111111111111111111111111111111"
call_url = "https://app.example.com/{{ changes.summary.to }}"
"#,
        r#"
warning: the API documents no field `ID` of a call
 --> config.toml:3:40
  |
3 | call_url = "https://app.example.com/{{ call.ID }}"
  |                                        ^^^^^^^
  |
  = help: did you mean `call.id`?

error: an address can use `call` and `source`, and not `changes`
 --> config.toml:7:40
  |
7 | call_url = "https://app.example.com/{{ changes.summary.to }}"
  |                                        ^^^^^^^^^^^^^^^

"#,
    );
}

#[test]
fn a_key_is_missing() {
    check(
        r#"
[sources.clinic]
interval = "15s"
"#,
        r#"
error: `api_key` is missing
 --> config.toml:1:1
  |
1 | [sources.clinic]
  | ^^^^^^^^^^^^^^^^
  |
  = help: add api_key = { env = "CALLEM_API_KEY" }

"#,
    );
}
