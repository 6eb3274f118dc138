# Titles of messages. An event about a call is named by what happened.
call_started = Call started
call_ended = Call ended
call_analyzed = Call analyzed
call_updated = Call updated
call_deleted = Call deleted
no_calls_in = No calls in { $source }
no_calls_in_for = No calls in { $source } for { $span }
# A rule whose condition has held for a while.
rule_for = { $rule } for { $span }
test = [test]
# The title of a rule that `callwatch init` writes.
unhappy_caller = Unhappy caller

# The subject of all mails about one call. $call is its id, which stands there when its time is not known.
conversation = Call from { $caller }, { $when }
conversation_unknown = Call from unknown number, { $when }
conversation_bare = Call, { $when }
conversation_of = Call { $call } from { $caller }
conversation_id = Call { $call }

# Labels of facts, and their values. Words that are written in small letters here begin with a capital where they stand first.
caller = Caller
called = Number called
status = Status
outcome = Goal
how_it_ended = Ended by
engaged = Real conversation
rules = Rules
live_now = Live now
yes = yes
no = no
unknown_number = unknown number
changed = changed
now = now { $value }
removed = removed
# The name of a field, and a word of the API. $label and $word are what to print when it is none that is known.
field = { $name ->
        [evaluation] Goal
        [endedReason] Ended by
        [createdAt] Began
        [isEngaged] Real conversation
        [leadQuality] Sales potential
       *[other] { $label }
    }
word = { $key ->
        [completed] ended
        [success] met
        [fail] not met
        [user_hangup] the caller
        [agent_hangup] the agent
        [customer_ended_call] the caller
        [assistant_ended_call] the agent
        [silence_timeout] silence
        [hot] high
        [warm] medium
        [cold] low
       *[other] { $word }
    }
more_fields = (There are more fields than are shown here.)
agent = Agent
transcript = Transcript

# Several events as one.
digest = Digest: { $many }
while_quiet = { $many } during quiet hours
calls = { $count ->
        [one] { $count } call
       *[other] { $count } calls
    }
events = { $count ->
        [one] { $count } event
       *[other] { $count } events
    }
and_more_calls = { $count ->
        [one] and { $count } more call
       *[other] and { $count } more calls
    }
and_more_events = { $count ->
        [one] and { $count } more event
       *[other] and { $count } more events
    }
and_more_calls_of = { $calls ->
        [one] and { $calls } more call ({ $events } events)
       *[other] and { $calls } more calls ({ $events } events)
    }
of_one_call = ({ $events } events)
held_back = { $count ->
        [one] { $count } notification held back { $since }
       *[other] { $count } notifications held back { $since }
    }
at_once = { $many } at once
within = { $many } within { $span }
period = From { $from } to { $to }
many_since = { $many } { $since }
and_more = and { $count } more
and_more_turns = and { $count } more turns
also = Also: { $also }
title_also = { $title } (also: { $also })
and_more_rules = and { $count } more

# Remarks about the message itself.
waited_for_quiet = This waited for the quiet hours to end.
waited_for_group = This waited for others of its group.
held_by_throttle = This was held back by the rule's throttle.
too_large = (This call is too large to be shown whole here.)
default_title = (this is the default title: the rule's own could not be rendered: { $error })
default_body = (this is the default body: the rule's own could not be rendered: { $error })
no_advice_of = (the advice of { $rule } could not be rendered: { $error })
no_title_of = (the title of { $rule } could not be rendered: { $error })
no_room = Slack has no room for the rest of this message.
transcript_goes_on = … the rest of the transcript is not shown here

# Where a message comes from.
warning = warning
critical = critical
rule_word = { $count ->
        [one] rule
       *[other] rules
    }
source_word = source
alert_of = you receive alerts about callwatch itself ([alerts] in its config)
call_word = call
-ring = Call the number that the phone agent answers, to check that it picks up; if it does not, contact the provider of the phone agent.
-forward = If somebody else looks after callwatch, forward this to them now; the rest is for them.
what_to_do = What to do
advice = { $urgency ->
        [critical] Call back as soon as you can, unless a colleague already has.
        [warning] Call back today, unless a colleague already has.
        [unsettled] Check the summary: something may be left to do, such as calling back.
       *[other] Nothing, unless something in the summary is still open, such as a promised callback.
    }
advice_unsaid = { $urgency ->
        [critical] Look into it now.
        [warning] Look into it today.
        [unsettled] Look into it: something may be left to do.
       *[other] Nothing: this is for your information.
    }
advice_deleted = Nothing, if the call was deleted on purpose; otherwise ask the provider of the phone agent.
silent_advice = { -ring }
why = Why you get this: { $what }
began = began { $when }
noticed = noticed { $when }
open_call = Open the call
open_details = Details in callwatch
open_page = Open callwatch

# callwatch itself. $since is empty, or begins with what stands between it and the words before.
reason = Reason: { $error }
reason_of_last = Reason for the last one: { $error }
source_failing_title = { $cause ->
        [missing] Calls are missing from the list of { $source }
        [flood] Too many calls appear in { $source }
        [full] New calls of { $source } are left out
       *[other] callwatch cannot see the calls of { $source }
    }
source_failing = { $cause ->
        [missing] Calls that callwatch knows have been missing from the list of { $source }{ $since }. All other calls are reported as usual.
        [flood] More calls have appeared in { $source }{ $since } than is plausible.
        [full] callwatch remembers as many calls of { $source } as the config allows, and has left out new ones{ $since }: nobody is told of them.
       *[other] callwatch has not been able to read the calls of { $source }{ $since }, so it cannot tell you of new ones. This does not show whether calls are answered. callwatch keeps trying; when it succeeds, it says so in the same way and tells you of the calls that came in meanwhile.
    }
# What to do about it.
source_advice = { $cause ->
        [missing]
            { -forward }
            If these calls were deleted on purpose, nothing has to be done; otherwise ask the provider of the phone agent where they are.
        [flood]
            { -forward }
            If these calls are real, nothing has to be done; otherwise ask the provider of the phone agent about them, and pause the destinations that get too many messages.
        [full]
            { -forward }
            Raise `max_calls` of the source in the config.
        [key]
            { -ring }
            { -forward }
            The API of the phone agent's provider refuses the key, which does not clear up by itself: correct `api_key` in the config, or the list of addresses that may use it.
        [limited]
            { -ring }
            { -forward }
            The API of the phone agent's provider is getting too many requests, which often clears up by itself. If no all-clear has come within 15 minutes, make `requests_per_minute` smaller, or find out what else uses the API from the same address.
        [server]
            { -ring }
            { -forward }
            The API of the phone agent's provider is in trouble, which often clears up by itself. If no all-clear has come within 15 minutes, contact the provider.
        [answer]
            { -ring }
            { -forward }
            The API of the phone agent's provider does not answer as expected: check `base_url` in the config; if it is right, ask the provider what has changed.
       *[other]
            { -ring }
            { -forward }
            The API of the phone agent's provider cannot be reached or refuses connections, which often clears up by itself. If no all-clear has come within 15 minutes, check `base_url` in the config and the network of the server that callwatch runs on, then contact the provider.
    }
source_recovered_title = callwatch sees the calls of { $source } again
source_recovered = All is well again with the calls of { $source }. There had been trouble{ $since }; calls that came in meanwhile are reported now. Nothing has to be done.
destination_failing_title = Destination { $destination } is failing
destination_paused_title = Destination { $destination } waits for you
destination_failing = { $destination } has not taken anything{ $since }. { $waiting }
waits_for_answer = { $count ->
        [0] Nothing waits for it; what comes in will be sent when the destination answers again.
        [one] { $count } notification waits; it will be sent when the destination answers again.
       *[other] { $count } notifications wait; they will be sent when the destination answers again.
    }
waits_for_person = { $count ->
        [0] Nothing waits for it; nothing is sent until the destination is resumed.
        [one] { $count } notification waits; nothing is sent until the destination is resumed.
       *[other] { $count } notifications wait; nothing is sent until the destination is resumed.
    }
destination_advice =
    { -forward }
    If no all-clear has come within 15 minutes, find out why the destination does not answer; `{ $list }` shows what waits.
destination_paused_advice =
    { -forward }
    Fix the reported problem, then run `{ $resume }`; `{ $list }` shows what waits.
destination_recovered_title = Destination { $destination } takes notifications again
destination_recovered = { $count ->
        [0] { $destination } had not taken anything{ $since }. Nothing waits any more.
        [one] { $destination } had not taken anything{ $since }. { $count } notification was waiting and is sent now.
       *[other] { $destination } had not taken anything{ $since }. { $count } notifications were waiting and are sent now.
    }
delivery_dead_title = { $count ->
        [one] { $count } notification to { $destination } given up
       *[other] { $count } notifications to { $destination } given up
    }
delivery_dead = { $count ->
        [one] { $count } notification has been given up{ $since }. It is kept.
       *[other] { $count } notifications have been given up{ $since }. They are kept.
    }
delivery_dead_advice = { $count ->
        [one]
            { -forward }
            Fix the cause, then run `{ $retry }`, which sends the notification again; `{ $list }` shows it.
       *[other]
            { -forward }
            Fix the causes, then run `{ $retry }`, which sends the notifications again; `{ $list }` shows them.
    }
rule_failing_title = Rule { $rule } does not work
rule_failing = The condition of { $rule } could not be evaluated for any of the latest calls of { $source }{ $since }. The rule sends nothing until that is fixed.
rule_failing_advice =
    { -forward }
    Correct the rule's `when` in the config.
config_rejected_title = The new config is not used
config_rejected = The config on the disk could not be applied. callwatch keeps using the previous one.
config_rejected_advice =
    { -forward }
    Correct the config; `{ $check }` shows every mistake.

# Times, as in strftime (https://docs.rs/chrono/latest/chrono/format/strftime/). $hour is for languages that say one o'clock
# in another way.
date_and_time_format = %a %-d %b %Y, %H:%M { $zone }
day_and_time_format = %-d %b %H:%M
time_format = %H:%M
time_this_week_format = %a %H:%M
time_this_year_format = %a %-d %b, %H:%M
time_any_year_format = %a %-d %b %Y, %H:%M
time_and_zone_format = %H:%M { $zone }
local_time_format = %-d %b %Y, %H:%M
since_format = since %H:%M { $zone }
since_this_week_format = since %a %H:%M { $zone }
since_this_year_format = since %a %-d %b, %H:%M { $zone }
since_any_year_format = since %a %-d %b %Y, %H:%M { $zone }
silent_since_format = No call has come in since %a %-d %b %Y, %H:%M { $zone }.
zone_name = { $name }

# Durations.
seconds = { $count }s
minutes = { $count }m
hours = { $count }h
days = { $count ->
        [one] { $count } day
       *[other] { $count } days
    }
