//! `[destinations.NAME]`

use super::check;

#[test]
fn types() {
    check(
        r#"
[destinations.a]
url = "https://crm.example.com/"

[destinations.b]
type = "webhok"
url = "https://crm.example.com/"

[destinations.c]
type = ["slack"]

[rules.r]
on = ["ended"]
to = ["a", "b", "c"]
"#,
        r#"
error: `type` is missing
 --> config.toml:1:1
  |
1 | [destinations.a]
  | ^^^^^^^^^^^^^^^^
  |
  = help: add type = "webhook" (or "slack", "email")

error: there is no type of destination `webhok`
 --> config.toml:5:8
  |
5 | type = "webhok"
  |        ^^^^^^^^
  |
  = help: did you mean `webhook`?

error: expected a text, found a list
 --> config.toml:9:8
  |
9 | type = ["*****"]
  |        ^^^^^^^^^

"#,
    );
}

#[test]
fn languages() {
    check(
        r#"
language = "french"
[destinations.crm]
type = "webhook"
url = "https://crm.example.com/"
language = "fe"
[rules.r]
on = ["ended"]
to = ["crm"]
"#,
        r#"
error: there is no language `french`
 --> config.toml:1:12
  |
1 | language = "french"
  |            ^^^^^^^^
  |
  = help: choose from `en` (English), `fr` (French), `de` (German), `es`
          (Spanish)

error: there is no language `fe`
 --> config.toml:5:12
  |
5 | language = "fe"
  |            ^^^^
  |
  = help: choose from `en` (English), `fr` (French), `de` (German), `es`
          (Spanish)

"#,
    );
}

#[test]
fn keys_common_to_all() {
    check(
        r#"
[destinations.crm]
type = "webhook"
url = "https://crm.example.com/"
retry = ["5s", "10x", 3]
max_attempts_age = "forever"
rate = "0/s"
concurrency = 0
timeout = "1h"
merge = "yes"
include = ["call.summary", "callAnalysis..sentiment"]
exclude = "transcript"
"#,
        r#"
error: there is no unit of time `x`
 --> config.toml:4:16
  |
4 | retry = ["5s", "10x", 3]
  |                ^^^^^
  |
  = help: write numbers with units, as in "15s", "2h 30m" or "7d"

error: expected a duration in quotes, found an integer
 --> config.toml:4:23
  |
4 | retry = ["5s", "10x", 3]
  |                       ^
  |
  = help: write "3s"

error: this is not a duration
 --> config.toml:5:20
  |
5 | max_attempts_age = "forever"
  |                    ^^^^^^^^^
  |
  = help: write numbers with units, as in "15s", "2h 30m" or "7d"

error: this is not a rate
 --> config.toml:6:8
  |
6 | rate = "0/s"
  |        ^^^^^
  |
  = help: write a number per s, m or h, as in "1/s" or "30/m"

error: expected 1 to 100
 --> config.toml:7:15
  |
7 | concurrency = 0
  |               ^

error: too long, at most 10m
 --> config.toml:8:11
  |
8 | timeout = "1h"
  |           ^^^^

error: expected true or false, found a text
 --> config.toml:9:9
  |
9 | merge = "yes"
  |         ^^^^^

warning: calls have no field `call`
  --> config.toml:10:12
   |
10 | include = ["call.summary", "callAnalysis..sentiment"]
   |            ^^^^^^^^^^^^^^
   |
   = help: paths start inside the call: write "summary"

error: this is not the path of a field
  --> config.toml:10:28
   |
10 | include = ["call.summary", "callAnalysis..sentiment"]
   |                            ^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: write the names of fields with dots between them, as in
           "callAnalysis.sentiment"

error: expected a list, found a text
  --> config.toml:11:11
   |
11 | exclude = "transcript"
   |           ^^^^^^^^^^^^
   |
   = help: put it into brackets, as in ["one", "two"]

"#,
    );
}

#[test]
fn webhooks() {
    check(
        r#"
[destinations.crm]
type = "webhook"
url = "http://crm.example.com/hooks/s3cret"
secret = ["whsec_!", { env = "CRM_SECRET" }, 7]
format = "cloudevent"
webhook_url = "https://hooks.slack.com/services/T/B/X"

[destinations.crm.headers]
content-type = "text/plain"
"no spaces" = "x"
x-tenant = "acme\n"
X-A = "1"
x-a = "2"

[destinations.other]
type = "webhook"
url = "mailto:crm@example.com"

[rules.r]
on = ["ended"]
to = ["crm", "other"]
"#,
        r#"
warning: with http, the calls travel in clear
 --> config.toml:3:7
  |
3 | url = "http://crm.example.com/************"
  |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: use https

error: this is not a signing secret
 --> config.toml:4:11
  |
4 | secret = ["*******", { env = "CRM_SECRET" }, *]
  |           ^^^^^^^^^
  |
  = help: a signing secret is `whsec_` and 24 to 64 bytes in base64, or
          `whsk_` and an Ed25519 key of 32 bytes

error: expected a text, { env = "NAME" } or { file = "path" }, found an integer
 --> config.toml:4:46
  |
4 | secret = ["*******", { env = "CRM_SECRET" }, *]
  |                                              ^

error: there is no format `cloudevent`
 --> config.toml:5:10
  |
5 | format = "cloudevent"
  |          ^^^^^^^^^^^^
  |
  = help: did you mean `cloudevents`?

error: unknown key `webhook_url`
 --> config.toml:6:1
  |
6 | webhook_url = "**************************************"
  | ^^^^^^^^^^^
  |
  = help: choose from `type`, `url`, `method`, `auth`, `format`,
          `content_type`, `secrets`, `body`, `secret`, `headers`, `success`,
          `permanent`, `handshake`, `ca_file`, `client_cert`, `client_key`,
          `proxy`, `allow_private`, `retry`, `max_attempts_age`, `rate`,
          `concurrency`, `timeout`, `failing_after`, `merge`, `timezone`,
          `language`, `quiet`, `show`, `include`, `exclude`, `mask`, `hash`,
          `hash_key`, `redact`

error: callwatch sets this header itself
 --> config.toml:9:1
  |
9 | content-type = "**********"
  | ^^^^^^^^^^^^

error: this cannot be the name of a header
  --> config.toml:10:1
   |
10 | "no spaces" = "*"
   | ^^^^^^^^^^^

error: this cannot be the value of a header
  --> config.toml:11:12
   |
11 | x-tenant = "******"
   |            ^^^^^^^^

error: this header is there twice
  --> config.toml:13:1
   |
13 | x-a = "*"
   | ^^^

error: the URL must begin with https:// or http://
  --> config.toml:17:7
   |
17 | url = "**********************"
   |       ^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: write it whole, as in "https://example.com/path"

"#,
    );
}

#[test]
fn bodies_of_webhooks() {
    check(
        r#"
[destinations.a]
type = "webhook"
url = "https://a.example.com/"
format = "standard"
body = '{"key": {{ secrets.routing_kei|tojson }}}'
secrets = { routing_key = "s3cret", "routing key" = "s3cret" }

[destinations.b]
type = "webhook"
url = "https://b.example.com/"
body = '{{ call.createdAt|local_time("Europe/Pariss") }}'
content_type = "json"

[destinations.c]
type = "webhook"
url = "https://c.example.com/"
content_type = "text/plain"

[rules.r]
on = ["ended"]
title = "{{ message }}"
to = ["a", "b", "c"]
"#,
        r#"
error: `body` says what is sent, so `format` cannot as well
 --> config.toml:4:10
  |
4 | format = "standard"
  |          ^^^^^^^^^^
  |
  = help: leave one of them out

error: there is no secret `routing_kei`; did you mean `routing_key`?
 --> config.toml:5:20
  |
5 | body = '{"key": {{ secrets.routing_kei|tojson }}}'
  |                    ^^^^^^^^^^^^^^^^^^^

error: a template cannot speak of a secret with this name
 --> config.toml:6:37
  |
6 | secrets = { routing_key = "******", "routing key" = "******" }
  |                                     ^^^^^^^^^^^^^
  |
  = help: use letters, digits and `_`

error: there is no time zone `Europe/Pariss`
  --> config.toml:11:27
   |
11 | body = '{{ call.createdAt|local_time("Europe/Pariss") }}'
   |                           ^^^^^^^^^^^^^^^^^^^^^^^^^^^

error: this is not a content type
  --> config.toml:12:16
   |
12 | content_type = "json"
   |                ^^^^^^
   |
   = help: write it as in "application/json" or "text/plain; charset=utf-8"

error: `content_type` goes with `body`, and there is none
  --> config.toml:17:16
   |
17 | content_type = "text/plain"
   |                ^^^^^^^^^^^^

error: `message` is only there in the `body` of a webhook
  --> config.toml:21:13
   |
21 | title = "{{ message }}"
   |             ^^^^^^^

"#,
    );
}

#[test]
fn slack() {
    check(
        r##"
[destinations.a]
type = "slack"
webhook_url = "hooks.slack.com/services/T0/B0/XX"

[destinations.b]
type = "slack"
webhook_url = "http://hooks.slack.com/services/T0/B0/XX"

[destinations.c]
type = "slack"
channel = "C0123"

[destinations.d]
type = "slack"
token = "xapp-1-2"
webhook_url = "https://hooks.slack.com/services/T0/B0/XX"

[destinations.e]
type = "slack"
token = "xoxb-1"
channel = "https://acme.slack.com/archives/C0123456"

[destinations.f]
type = "slack"
token = "xoxb-1"
channel = "#calls"
api_url = "https://slack.com/api?x=1"

[rules.r]
on = ["ended"]
to = ["a", "b", "c", "d", "e", "f"]
"##,
        r##"
error: this is not a whole URL
 --> config.toml:3:15
  |
3 | webhook_url = "*********************************"
  |               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: Slack gives it as https://hooks.slack.com/services/…

error: this URL must begin with https://, it is a secret as a whole
 --> config.toml:7:15
  |
7 | webhook_url = "****************************************"
  |               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: Slack gives it as https://hooks.slack.com/services/…

error: `webhook_url` is missing
 --> config.toml:9:1
  |
9 | [destinations.c]
  | ^^^^^^^^^^^^^^^^
  |
  = help: add webhook_url = { env = "SLACK_WEBHOOK_URL" }

error: `channel` goes with a `token`, and there is none
  --> config.toml:11:11
   |
11 | channel = "C0123"
   |           ^^^^^^^
   |
   = help: an incoming webhook belongs to one channel, and cannot edit its
           messages

error: `channel` is missing
  --> config.toml:13:1
   |
13 | [destinations.d]
   | ^^^^^^^^^^^^^^^^
   |
   = help: add channel = "C0123ABCD"

error: this token is for the app's own connections, not for messages
  --> config.toml:15:9
   |
15 | token = "********"
   |         ^^^^^^^^^^
   |
   = help: the Bot User OAuth Token of the app, under OAuth & Permissions,
           begins with xoxb-

error: a `token` is there already, and posts to `channel`
  --> config.toml:16:15
   |
16 | webhook_url = "*****************************************"
   |               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: leave one of them out; a webhook cannot edit its messages

error: this is not a channel
  --> config.toml:21:11
   |
21 | channel = "https://acme.slack.com/archives/C0123456"
   |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: write its id, which its settings show at the bottom, as in
           "C0123ABCD", or its name, as in "#calls"

error: expected only a host and a path
  --> config.toml:27:11
   |
27 | api_url = "https://slack.com/api?x=1"
   |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: as in "https://slack.com/api/"

"##,
    );
}

#[test]
fn email() {
    check(
        r#"
[destinations.a]
type = "email"
smtp = "https://me:s3cret@smtp.example.com"
from = "nobody"
to = ["manager@example.com", "desk at example.com", "manager@example.com"]

[destinations.b]
type = "email"
smtp = "smtps://me@smtp.example.com"
from = "me@example.com"
to = []

[destinations.c]
type = "email"
smtp = "smtp+insecure://me:s3cret@smtp.example.com/inbox"
from = "me@example.com"
to = ["me@example.com"]

[destinations.d]
type = "email"
smtp = "smtp+insecure://me:s3cret@smtp.example.com"
password = { env = "SMTP_PASSWORD" }
from = "me@example.com"
to = "me@example.com"

[rules.r]
on = ["ended"]
to = ["a", "b", "c", "d"]
"#,
        r#"
error: the URL must begin with smtps://, smtp:// or smtp+insecure://
 --> config.toml:3:8
  |
3 | smtp = "https://*********@smtp.example.com"
  |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: write "smtps://user@smtp.example.com"; an @ in the user is written
          %40

error: this is not an email address
 --> config.toml:4:8
  |
4 | from = "nobody"
  |        ^^^^^^^^
  |
  = help: write "alerts@example.com" or "Callwatch <alerts@example.com>"

error: this is not an email address
 --> config.toml:5:30
  |
5 | to = ["manager@example.com", "desk at example.com", "manager@example.com"]
  |                              ^^^^^^^^^^^^^^^^^^^^^
  |
  = help: write "alerts@example.com" or "Callwatch <alerts@example.com>"

error: this is in the list twice
 --> config.toml:5:53
  |
5 | to = ["manager@example.com", "desk at example.com", "manager@example.com"]
  |                                                     ^^^^^^^^^^^^^^^^^^^^^

error: there is a user, and `password` is missing
 --> config.toml:9:8
  |
9 | smtp = "smtps://**@smtp.example.com"
  |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: the user belongs in smtp = "smtps://user@host", the password in
          `password`

error: `to` is empty
  --> config.toml:11:6
   |
11 | to = []
   |      ^^

error: expected nothing after the host and the port
  --> config.toml:15:8
   |
15 | smtp = "smtp+insecure://*********@smtp.example.com/inbox"
   |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: write "smtps://user@smtp.example.com"; an @ in the user is written
           %40

warning: the calls travel in clear
  --> config.toml:21:8
   |
21 | smtp = "smtp+insecure://*********@smtp.example.com"
   |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: use smtps:// or smtp:// unless the server is on this machine

error: the password would travel to smtp.example.com in clear
  --> config.toml:21:8
   |
21 | smtp = "smtp+insecure://*********@smtp.example.com"
   |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: write smtps:// or smtp://, or allow it with
           `allow_plaintext_password = true`

error: there is a password in `smtp` already
  --> config.toml:22:12
   |
22 | password = { env = "SMTP_PASSWORD" }
   |            ^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: the user belongs in smtp = "smtps://user@host", the password in
           `password`

error: expected a list, found a text
  --> config.toml:24:6
   |
24 | to = "me@example.com"
   |      ^^^^^^^^^^^^^^^^
   |
   = help: put it into brackets, as in ["one", "two"]

"#,
    );
}

#[test]
fn connections() {
    check(
        r#"
[destinations.a]
type = "webhook"
url = "https://10.0.0.1/hook"
permanent = [422, 429, 410, 500]
client_cert = "none.pem"
proxy = "proxy.example.com"
allow_private = false

[rules.r]
on = ["ended"]
to = ["a"]
"#,
        r#"
error: this address is not public
 --> config.toml:3:7
  |
3 | url = "https://10.0.0.1/****"
  |       ^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: give a public address, or let go of allow_private = false

error: this status asks for another try later
 --> config.toml:4:19
  |
4 | permanent = [422, 429, 410, 500]
  |                   ^^^

error: this status pauses the whole destination already
 --> config.toml:4:24
  |
4 | permanent = [422, 429, 410, 500]
  |                        ^^^

error: expected 400 to 499
 --> config.toml:4:29
  |
4 | permanent = [422, 429, 410, 500]
  |                             ^^^

error: the file none.pem cannot be read: No such file or directory (os error 2)
 --> config.toml:5:15
  |
5 | client_cert = "none.pem"
  |               ^^^^^^^^^^

error: `client_key` is missing
 --> config.toml:5:15
  |
5 | client_cert = "none.pem"
  |               ^^^^^^^^^^
  |
  = help: a certificate and its private key go together

error: this is not a whole URL
 --> config.toml:6:9
  |
6 | proxy = "*****************"
  |         ^^^^^^^^^^^^^^^^^^^
  |
  = help: write "http://proxy.example.com:3128"

error: the proxy looks the receiver's address up, so it cannot be vetted
 --> config.toml:7:17
  |
7 | allow_private = false
  |                 ^^^^^
  |
  = help: let the proxy refuse private addresses, and let go of allow_private
          = false

"#,
    );
}
