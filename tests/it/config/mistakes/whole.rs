//! The file as a whole, `[store]`, `[delivery]`, `[server]`, names and secrets.

use super::check;

#[test]
fn an_empty_file_has_nothing_to_watch() {
    check(
        r#"
# neither [sources.NAME] nor [destinations.NAME] nor [rules.NAME]
"#,
        r#"
error: there is no source of calls
--> config.toml
 = help: add a table [sources.NAME] with api_key = { env = "CALLEM_API_KEY" }

warning: there is no rule: nothing will ever be told to anybody
--> config.toml
 = help: add a table [rules.NAME] with `on` and `to`

"#,
    );
}

#[test]
fn keys_that_do_not_exist() {
    check(
        r#"
[source.clinic]
api_key = "x"

[sources.clinic]
apikey = "ck_live_0000"
intervall = "1m"
colour = "blue"

[logging]
level = "info"
"#,
        r#"
error: unknown key `source`
 --> config.toml:1:2
  |
1 | [source.clinic]
  |  ^^^^^^
  |
  = help: did you mean `sources`?

error: `api_key` is missing
 --> config.toml:4:1
  |
4 | [sources.clinic]
  | ^^^^^^^^^^^^^^^^
  |
  = help: add api_key = { env = "CALLEM_API_KEY" }

error: unknown key `apikey`
 --> config.toml:5:1
  |
5 | apikey = "************"
  | ^^^^^^
  |
  = help: did you mean `api_key`?

error: unknown key `intervall`
 --> config.toml:6:1
  |
6 | intervall = "**"
  | ^^^^^^^^^
  |
  = help: did you mean `interval`?

error: unknown key `colour`
 --> config.toml:7:1
  |
7 | colour = "****"
  | ^^^^^^
  |
  = help: choose from `api_key`, `base_url`, `interval`, `sweep`,
          `analysis_window`, `page_size`, `requests_per_minute`,
          `notify_since`, `timeout`, `failing_after`, `over`, `ignore`,
          `deletions_believed_after`, `max_record`, `max_calls`, `call_url`,
          `ca_file`, `client_cert`, `client_key`, `proxy`

error: unknown key `logging`
 --> config.toml:9:2
  |
9 | [logging]
  |  ^^^^^^^
  |
  = help: choose from `timezone`, `language`, `store`, `cluster`, `backup`,
          `delivery`, `reload`, `server`, `sources`, `destinations`, `alerts`,
          `heartbeat`, `rules`

"#,
    );
}

#[test]
fn tables_that_are_none() {
    check(
        r#"
# [sources], [destinations] and [rules] are tables of tables
sources = ["clinic"]
rules = 3
server = true

[[destinations]]
type = "slack"
"#,
        r#"
error: expected a table, found a list
 --> config.toml:2:11
  |
2 | sources = ["******"]
  |           ^^^^^^^^^^
  |
  = help: give each one a name: [sources.NAME]

error: expected a table, found an integer
 --> config.toml:3:9
  |
3 | rules = *
  |         ^
  |
  = help: give each one a name: [rules.NAME]

error: expected a table, found a boolean
 --> config.toml:4:10
  |
4 | server = ****
  |          ^^^^

error: expected a table, found a list
 --> config.toml:6:1
  |
6 | [[destinations]]
  | ^^^^^^^^^^^^^^^^
  |
  = help: give each one a name: [destinations.NAME]

"#,
    );
}

#[test]
fn names_that_cannot_be_names() {
    check(
        r#"
[sources."my clinic"]
api_key = { env = "CALLEM_API_KEY" }

[destinations.""]
type = "slack"
webhook_url = { env = "SLACK_WEBHOOK_URL" }

[rules."zoë"]
on = ["ended"]
to = [""]
"#,
        r#"
error: `my clinic` cannot be a name
 --> config.toml:1:10
  |
1 | [sources."my clinic"]
  |          ^^^^^^^^^^^
  |
  = help: a name is up to 64 of the letters A-Z and a-z, digits, `-`, `_` and
          `.`

error: `` cannot be a name
 --> config.toml:4:15
  |
4 | [destinations.""]
  |               ^^
  |
  = help: a name is up to 64 of the letters A-Z and a-z, digits, `-`, `_` and
          `.`

error: `zoë` cannot be a name
 --> config.toml:8:8
  |
8 | [rules."zoë"]
  |        ^^^^^
  |
  = help: a name is up to 64 of the letters A-Z and a-z, digits, `-`, `_` and
          `.`

"#,
    );
}

#[test]
fn store_and_delivery() {
    check(
        r#"
[store]
path = ""
retain = "0s"
cache = "64 potatoes"

[delivery]
shutdown_grace = "2 days"
"#,
        r#"
error: the path is empty
 --> config.toml:2:8
  |
2 | path = ""
  |        ^^

error: too short, at least 1s
 --> config.toml:3:10
  |
3 | retain = "0s"
  |          ^^^^

error: this is not a size
 --> config.toml:4:9
  |
4 | cache = "64 potatoes"
  |         ^^^^^^^^^^^^^
  |
  = help: write a number and a unit, as in "64MB"

error: too long, at most 1h
 --> config.toml:7:18
  |
7 | shutdown_grace = "2 days"
  |                  ^^^^^^^^

"#,
    );
}

#[test]
fn a_server_that_others_can_reach_needs_a_token() {
    check(
        r#"
[server]
listen = "0.0.0.0:9464"
"#,
        r#"
error: other machines can reach this, and `token` is missing
 --> config.toml:2:10
  |
2 | listen = "0.0.0.0:9464"
  |          ^^^^^^^^^^^^^^
  |
  = help: add a `token` or a `trusted_proxy`, or listen on 127.0.0.1

"#,
    );
}

#[test]
fn a_proxy_is_not_everybody_and_names_people_in_a_header_of_its_own() {
    check(
        r#"
[server]
listen = "0.0.0.0:9464"
public_url = "https://example.com/calls"
trusted_proxy = { from = ["0.0.0.0/0", "proxy.lan"], header = "Cookie" }
"#,
        r#"
error: the page is made for the root of a host
 --> config.toml:3:14
  |
3 | public_url = "https://example.com/calls"
  |              ^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: write the host alone, as in "https://calls.example.com"

error: everybody comes from this network, and could name themselves
 --> config.toml:4:27
  |
4 | trusted_proxy = { from = ["0.0.0.0/0", "proxy.lan"], header = "Cookie" }
  |                           ^^^^^^^^^^^
  |
  = help: write the address of the proxy

error: this is no address or network
 --> config.toml:4:40
  |
4 | trusted_proxy = { from = ["0.0.0.0/0", "proxy.lan"], header = "Cookie" }
  |                                        ^^^^^^^^^^^
  |
  = help: write it as in "10.0.0.2" or "10.0.0.0/8"

error: every client sends this header, so it does not say who was signed in
 --> config.toml:4:63
  |
4 | trusted_proxy = { from = ["0.0.0.0/0", "proxy.lan"], header = "Cookie" }
  |                                                               ^^^^^^^^
  |
  = help: take the one that the proxy sets and removes from what clients send:
          "Remote-User"

"#,
    );
}

#[test]
fn a_token_is_not_short() {
    check(
        r#"
[server]
listen = "127.0.0.1:9464"
token = "hunter2"
"#,
        r#"
warning: a token of fewer than 16 characters can be guessed
 --> config.toml:3:9
  |
3 | token = "*******"
  |         ^^^^^^^^^
  |
  = help: make one with: openssl rand -hex 16

"#,
    );
}

#[test]
fn an_address_to_listen_on_has_a_port() {
    check(
        r#"
[server]
listen = "localhost"
"#,
        r#"
error: this is not an address to listen on
 --> config.toml:2:10
  |
2 | listen = "localhost"
  |          ^^^^^^^^^^^
  |
  = help: write an IP address and a port, as in "127.0.0.1:9464"

"#,
    );
}

#[test]
fn secrets_that_are_not_there() {
    check(
        r#"
[server]
token = { env = "NO_SUCH_VARIABLE" }

[sources.clinic]
api_key = { file = "no/such/file" }

[destinations.crm]
type = "email"
smtp = "smtps://me@smtp.example.com"
from = "me@example.com"
to = ["me@example.com"]
password = { env = "A", file = "b" }

[destinations.other]
type = "slack"
webhook_url = { environment = "SLACK_WEBHOOK_URL" }

[destinations.third]
type = "slack"
webhook_url = 42

[rules.r]
on = ["ended"]
to = ["crm", "other", "third"]
"#,
        r#"
error: `listen` is missing
 --> config.toml:1:1
  |
1 | [server]
  | ^^^^^^^^
  |
  = help: add listen = "127.0.0.1:9464"

error: the environment variable NO_SUCH_VARIABLE is not set
 --> config.toml:2:17
  |
2 | token = { env = "NO_SUCH_VARIABLE" }
  |                 ^^^^^^^^^^^^^^^^^^
  |
  = help: set it first: export NO_SUCH_VARIABLE=…

error: the file no/such/file cannot be read: it does not exist
 --> config.toml:5:20
  |
5 | api_key = { file = "no/such/file" }
  |                    ^^^^^^^^^^^^^^

error: a secret can only be in one place
  --> config.toml:12:12
   |
12 | password = { env = "A", file = "b" }
   |            ^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: write { env = "NAME" } or { file = "path" }

error: this does not say where the secret is
  --> config.toml:16:15
   |
16 | webhook_url = { environment = "*****************" }
   |               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: write { env = "NAME" } or { file = "path" }

error: unknown key `environment`
  --> config.toml:16:17
   |
16 | webhook_url = { environment = "*****************" }
   |                 ^^^^^^^^^^^
   |
   = help: did you mean `env`?

error: expected a text, { env = "NAME" } or { file = "path" }, found an integer
  --> config.toml:20:15
   |
20 | webhook_url = **
   |               ^^

"#,
    );
}

#[test]
fn a_cluster_needs_a_database() {
    check(
        r#"
[cluster]
lease = "15s"
"#,
        r#"
warning: `[cluster]` changes nothing without `url` in `[store]`
 --> config.toml:1:1
  |
1 | [cluster]
  | ^^^^^^^^^
  |
  = help: several machines share the work over a database; one machine has a
          folder, and no cluster

"#,
    );
}

#[test]
fn a_database_has_a_port_that_is_one() {
    check(
        r#"
[store]
url = "postgres://callwatch@db.example.com:99999/callwatch"
"#,
        r#"
error: the port of this address is no number up to 65535
 --> config.toml:2:7
  |
2 | url = "***************************************************"
  |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

"#,
    );
}

#[test]
fn the_token_of_a_person_posts_in_their_name() {
    check(
        r##"
[destinations.crm]
type = "slack"
token = "xoxp-1234567890"
channel = "#calls"
"##,
        r#"
warning: this is the token of a person, in whose name messages come
 --> config.toml:3:9
  |
3 | token = "***************"
  |         ^^^^^^^^^^^^^^^^^
  |
  = help: the Bot User OAuth Token of the app, under OAuth & Permissions,
          begins with xoxb-

"#,
    );
}
