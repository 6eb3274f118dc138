//! `[rules.NAME]`

use super::check;

#[test]
fn no_rule_is_a_warning() {
    check(
        r#"
# neither [destinations.NAME] nor [rules.NAME]
"#,
        r#"
warning: there is no rule: nothing will ever be told to anybody
--> config.toml
 = help: add a table [rules.NAME] with `on` and `to`

"#,
    );
}

#[test]
fn a_rule_says_when_and_to_whom() {
    check(
        r#"
[rules.everything]
severity = "info"
"#,
        r#"
error: this rule would fire on everything that happens
 --> config.toml:1:1
  |
1 | [rules.everything]
  | ^^^^^^^^^^^^^^^^^^
  |
  = help: say what it is for with `on` or `when`, as in on = ["ended"]

error: `to` is missing
 --> config.toml:1:1
  |
1 | [rules.everything]
  | ^^^^^^^^^^^^^^^^^^
  |
  = help: add to = ["crm"]

"#,
    );
}

#[test]
fn words_that_do_not_exist() {
    check(
        r#"
[rules.r]
on = ["succeeded", "end", "ended", "ended"]
to = ["cmr", "pager"]
sources = ["clinc"]
severity = "urgent"
"#,
        r#"
error: there is no kind of change `succeeded`
 --> config.toml:2:7
  |
2 | on = ["succeeded", "end", "ended", "ended"]
  |       ^^^^^^^^^^^
  |
  = help: choose from `ended`, `started`, `analyzed`, `updated`, `deleted`,
          `source.failing`, `source.recovered`, `source.silent`,
          `destination.failing`, `destination.recovered`, `delivery.dead`,
          `rule.failing`, `config.rejected`

error: there is no kind of change `end`
 --> config.toml:2:20
  |
2 | on = ["succeeded", "end", "ended", "ended"]
  |                    ^^^^^
  |
  = help: did you mean `ended`?

error: this is in the list twice
 --> config.toml:2:36
  |
2 | on = ["succeeded", "end", "ended", "ended"]
  |                                    ^^^^^^^

error: there is no destination `cmr`
 --> config.toml:3:7
  |
3 | to = ["cmr", "pager"]
  |       ^^^^^
  |
  = help: did you mean `crm`?

error: there is no destination `pager`
 --> config.toml:3:14
  |
3 | to = ["cmr", "pager"]
  |              ^^^^^^^
  |
  = help: choose from `crm`

error: there is no source `clinc`
 --> config.toml:4:12
  |
4 | sources = ["clinc"]
  |            ^^^^^^^
  |
  = help: did you mean `clinic`?

error: there is no severity `urgent`
 --> config.toml:5:12
  |
5 | severity = "urgent"
  |            ^^^^^^^^
  |
  = help: choose from `info`, `warning`, `critical`

"#,
    );
}

#[test]
fn other_keys() {
    check(
        r#"
[rules.r]
on = []
to = "crm"
sources = []
repeat = "yes"
max_age = "0s"
title = 3
"#,
        r#"
error: `on` is empty
 --> config.toml:2:6
  |
2 | on = []
  |      ^^

error: expected a list, found a text
 --> config.toml:3:6
  |
3 | to = "crm"
  |      ^^^^^
  |
  = help: put it into brackets, as in ["one", "two"]

error: `sources` is empty
 --> config.toml:4:11
  |
4 | sources = []
  |           ^^

error: expected true or false, found a text
 --> config.toml:5:10
  |
5 | repeat = "yes"
  |          ^^^^^

error: too short, at least 1s
 --> config.toml:6:11
  |
6 | max_age = "0s"
  |           ^^^^

error: expected a text, found an integer
 --> config.toml:7:9
  |
7 | title = 3
  |         ^

"#,
    );
}

#[test]
fn repeat_without_when_is_a_warning() {
    check(
        r#"
[rules.r]
on = ["ended"]
to = ["crm"]
repeat = true

[destinations.crm]
type = "webhook"
url = "https://crm.example.com/"

[destinations.unused]
type = "webhook"
url = "https://crm.example.com/"
"#,
        r#"
warning: `repeat` changes nothing without `when`
 --> config.toml:4:10
  |
4 | repeat = true
  |          ^^^^
  |
  = help: a rule without `when` fires on every change of the kinds in `on`

warning: no rule tells destination `unused` anything
  --> config.toml:10:1
   |
10 | [destinations.unused]
   | ^^^^^^^^^^^^^^^^^^^^^

"#,
    );
}

#[test]
fn conditions_are_marked_at_the_exact_place() {
    check(
        r#"
[rules.literal]
when = 'call.status = "live"'
to = ["crm"]

[rules.basic]
when = "call.duration = 3"
to = ["crm"]

[rules.many-lines]
when = '''
  call.status == "live"
  && call.duration = 3'''
to = ["crm"]

[rules.many-lines-basic]
when = """call.isEngaged
  && é = 3"""
to = ["crm"]

[rules.escaped]
when = "call.status = \"live\""
to = ["crm"]
"#,
        r#"
error: `=` is not an operator
 --> config.toml:2:21
  |
2 | when = 'call.status = "live"'
  |                     ^
  |
  = help: write `==`

error: `=` is not an operator
 --> config.toml:6:23
  |
6 | when = "call.duration = 3"
  |                       ^
  |
  = help: write `==`

error: `=` is not an operator
  --> config.toml:12:20
   |
12 |   && call.duration = 3'''
   |                    ^
   |
   = help: write `==`

error: `=` is not an operator
  --> config.toml:17:8
   |
17 |   && é = 3"""
   |        ^
   |
   = help: write `==`

error: `=` is not an operator
  --> config.toml:21:21
   |
21 | when = "call.status = \"live\""
   |                     ^
   |
   = help: write `==`

"#,
    );
}

#[test]
fn every_mistake_of_a_condition_is_told() {
    check(
        r#"
[rules.r]
when = """
call.summary == "\u00e9\t" && \
  call.duraton > 60 &&
  call.status == \"complete\" && call.isEngaged == \"yes\""""
to = ["crm"]
"#,
        r#"
error: a call has no field `duraton`
 --> config.toml:4:3
  |
4 |   call.duraton > 60 &&
  |   ^^^^^^^^^^^^
  |
  = help: did you mean `duration`?

error: no call has the status "complete"
 --> config.toml:5:3
  |
5 |   call.status == \"complete\" && call.isEngaged == \"yes\""""
  |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: write "completed"

error: `call.isEngaged` is true or false, and cannot be compared with a text
 --> config.toml:5:34
  |
5 |   call.status == \"complete\" && call.isEngaged == \"yes\""""
  |                                  ^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: write `call.isEngaged` or `!call.isEngaged`

"#,
    );
}

#[test]
fn a_condition_that_never_holds_for_what_the_rule_looks_at() {
    check(
        r#"
[rules.never]
on = ["started"]
when = 'call.isEngaged && call.status == "completed"'
to = ["crm"]

[rules.hardly]
on = ["started"]
when = 'before != null'
to = ["crm"]

[rules.perhaps]
when = 'call.status == "ringing"'
to = ["crm"]
"#,
        r#"
error: this never holds for a change of the kind `started`
 --> config.toml:3:27
  |
3 | when = 'call.isEngaged && call.status == "completed"'
  |                           ^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: the call is live: `call.status` is "live"

warning: this never holds for a change of the kind `started`
 --> config.toml:8:9
  |
8 | when = 'before != null'
  |         ^^^^^^^^^^^^^^
  |
  = help: the call is seen for the first time: `before` is null

warning: no call has the status "ringing"
  --> config.toml:12:9
   |
12 | when = 'call.status == "ringing"'
   |         ^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = help: choose from "live", "completed"

"#,
    );
}

#[test]
fn templates_are_marked_at_the_exact_place() {
    check(
        r#"
[rules.r]
on = ["ended"]
to = ["crm"]
title = "Call of {{ call.callerNumber "
body = '''
{% if call.isEngaged %}
  {{ call.summary }}'''
"#,
        r#"
error: unexpected end of input, expected end of variable block
 --> config.toml:4:26
  |
4 | title = "Call of {{ call.callerNumber "
  |                          ^^^^^^^^^^^^

error: unexpected end of input, expected end of block
 --> config.toml:7:19
  |
7 |   {{ call.summary }}'''
  |                   ^^

"#,
    );
}

#[test]
fn templates_that_would_fail_are_doubtful() {
    check(
        r#"
[rules.r]
on = ["ended"]
title = "{{ call.callernumber }} {{ call.sentiment }}"
body = "{{ call.createdAt|local_time }}"
to = ["crm"]
[rules.s]
when = 'call.callAnalysis.sentiment == "negative"'
title = "{{ call.callAnalysis.sentiment }}"
body = "{{ call.summary|replace('a', 'b') }}"
to = ["crm"]
"#,
        r#"
warning: the API documents no field `callernumber` of a call
 --> config.toml:3:13
  |
3 | title = "{{ call.callernumber }} {{ call.sentiment }}"
  |             ^^^^^^^^^^^^^^^^^
  |
  = help: did you mean `call.callerNumber`?

warning: the API documents no field `sentiment` of a call
 --> config.toml:3:37
  |
3 | title = "{{ call.callernumber }} {{ call.sentiment }}"
  |                                     ^^^^^^^^^^^^^^
  |
  = help: did you mean `call.callAnalysis.sentiment`?

warning: `local_time` lacks an argument
 --> config.toml:4:27
  |
4 | body = "{{ call.createdAt|local_time }}"
  |                           ^^^^^^^^^^
  |
  = help: where it fails, the default text is sent

"#,
    );
}

#[test]
fn what_is_about_a_destination_needs_another_one() {
    check(
        r#"
[alerts]
to = ["crm"]
[rules.r]
on = ["ended", "delivery.dead"]
to = ["crm"]
[rules.s]
on = ["destination.failing"]
to = ["crm"]
[rules.t]
on = ["source.failing"]
to = ["crm"]
[rules.u]
on = ["rule.failing", "ended"]
when = 'call.isEngaged'
to = ["crm"]
[rules."[alerts]"]
on = ["ended"]
to = ["crm"]
"#,
        r#"
warning: no alert is sent when `crm` itself is in trouble
 --> config.toml:2:6
  |
2 | to = ["crm"]
  |      ^^^^^^^
  |
  = help: what is about a destination is not told through it: add another one
          to `to`

warning: no alert is sent when `crm` itself is in trouble
 --> config.toml:5:6
  |
5 | to = ["crm"]
  |      ^^^^^^^
  |
  = help: what is about a destination is not told through it: add another one
          to `to`

error: this rule can reach nobody: `crm` is the only destination
 --> config.toml:8:6
  |
8 | to = ["crm"]
  |      ^^^^^^^
  |
  = help: what is about a destination is not told through it: add another
          destination

error: a condition is about a call, and this rule is also about callwatch itself
  --> config.toml:14:8
   |
14 | when = 'call.isEngaged'
   |        ^^^^^^^^^^^^^^^^
   |
   = help: make a rule of its own, without `when`, for what happens to
           callwatch itself

error: `[alerts]` cannot be a name
  --> config.toml:16:8
   |
16 | [rules."[alerts]"]
   |        ^^^^^^^^^^
   |
   = help: a name is up to 64 of the letters A-Z and a-z, digits, `-`, `_` and
           `.`

"#,
    );
}

#[test]
fn a_text_without_quotes_and_words_of_other_languages() {
    check(
        r#"
timezone = "Eurpoe/Paris"
[rules.r]
when = "call.callAnalysis.sentiment == negative || call.isEngaged == True"
title = "{{ call.callerNumber }"
"#,
        r#"
error: there is no time zone `Eurpoe/Paris`
 --> config.toml:1:12
  |
1 | timezone = "Eurpoe/Paris"
  |            ^^^^^^^^^^^^^^
  |
  = help: did you mean `Europe/Paris`?

error: `to` is missing
 --> config.toml:2:1
  |
2 | [rules.r]
  | ^^^^^^^^^
  |
  = help: add to = ["crm"]

error: there is no `negative`
 --> config.toml:3:40
  |
3 | when = "call.callAnalysis.sentiment == negative || call.isEngaged == True"
  |                                        ^^^^^^^^
  |
  = help: a text has quotes: "negative"; a field of the call is
          `call.negative`

error: there is no `True`
 --> config.toml:3:70
  |
3 | when = "call.callAnalysis.sentiment == negative || call.isEngaged == True"
  |                                                                      ^^^^
  |
  = help: write `true`

error: unexpected `}`, expected end of variable block
 --> config.toml:4:31
  |
4 | title = "{{ call.callerNumber }"
  |                               ^

"#,
    );
}
