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
how_it_ended = How it ended
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
        [endedReason] How it ended
        [isEngaged] Real conversation
       *[other] { $label }
    }
word = { $key ->
        [success] reached
        [fail] not reached
        [user_hangup] the caller hung up
        [agent_hangup] the agent hung up
       *[other] { $word }
    }
more_fields = (There are more fields than are shown here.)
agent = Agent
transcript = Transcript

# Several events as one.
digest = Digest: { $many }
while_quiet = While it was quiet: { $many }
calls = { $count ->
        [one] { $count } call
       *[other] { $count } calls
    }
events = { $count ->
        [one] { $count } event
       *[other] { $count } events
    }
and_more_calls = and { $count } more
and_more_events = and { $count } more
and_more_calls_of = { $calls ->
        [one] and { $calls } more call ({ $events } events)
       *[other] and { $calls } more calls ({ $events } events)
    }
of_one_call = ({ $events } events)
held_back = { $count } held back { $since }
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
alert_of = callwatch alert
call_word = call
began = began { $when }
noticed = noticed { $when }
open_call = Open the call
open_details = Why this was sent
open_page = Open callwatch

# callwatch itself. $since is empty, or begins with what stands between it and the words before.
reason = Reason: { $error }
reason_of_last = Reason of the last one: { $error }
source_failing_title = { $cause ->
        [missing] Calls are missing from the list of { $source }
        [flood] Too many calls appear in { $source }
        [full] New calls of { $source } are left out
       *[other] callwatch cannot see the calls of { $source }
    }
source_failing = { $cause ->
        [missing] Calls that callwatch knows have been missing from the list of { $source }{ $since }. All other calls are told as usual. If they were deleted on purpose, nothing has to be done; else ask the provider of the phone agent where they are.
        [flood] More calls have appeared in { $source }{ $since } than is likely. If they are real, nothing has to be done; else ask the provider of the phone agent about them, and pause the destinations that are flooded.
        [full] callwatch remembers as many calls of { $source } as it may, and has left out new ones{ $since }: nobody is told of them. Raise `max_calls` of the source.
       *[other] callwatch has not been able to read the calls of { $source }{ $since }, so it does not report new ones. The phone line itself is probably working. callwatch keeps trying: when it succeeds, you are told, and calls that came in meanwhile are reported late.
    }
# Follows source_failing, when the calls cannot be read.
source_advice = { $cause ->
        [key] The API refuses the key: put `api_key` in the config right, or the list of addresses that may use the key.
        [limited] The API asks for fewer requests. If this continues, make `requests_per_minute` smaller, or find out what else uses the API from the same address.
        [server] The API itself is in trouble. If this continues, contact the provider of the phone agent.
        [answer] The API does not answer as expected. Check `base_url`; if it is right, ask the provider of the phone agent what has changed.
       *[other] The API cannot be reached. If this continues, check the network of the server that callwatch runs on, and contact the provider of the phone agent.
    }
source_recovered_title = callwatch sees the calls of { $source } again
source_recovered = All is well again with the calls of { $source }. It had not been{ $since }; calls that came in meanwhile are reported now. Nothing has to be done.
destination_failing_title = Destination { $destination } is failing
destination_paused_title = Destination { $destination } waits for you
destination_failing = { $destination } has not taken anything{ $since }. { $waiting } `{ $list }` shows what waits.
waits_for_answer = { $count ->
        [0] Nothing waits for it; what comes in is sent when it answers again. If this continues, somebody has to find out why.
        [one] { $count } notification waits; it is sent when it answers again. If this continues, somebody has to find out why.
       *[other] { $count } notifications wait; they are sent when it answers again. If this continues, somebody has to find out why.
    }
waits_for_person = { $count ->
        [0] Nothing waits for it; nothing is sent before it is resumed. Put right what it complains of, then run `{ $resume }`.
        [one] { $count } notification waits; nothing is sent before it is resumed. Put right what it complains of, then run `{ $resume }`.
       *[other] { $count } notifications wait; nothing is sent before it is resumed. Put right what it complains of, then run `{ $resume }`.
    }
destination_recovered_title = Destination { $destination } takes notifications again
destination_recovered = { $count ->
        [0] { $destination } had not taken anything{ $since }. Nothing waits any more.
        [one] { $destination } had not taken anything{ $since }. { $count } notification waits and is sent now.
       *[other] { $destination } had not taken anything{ $since }. { $count } notifications wait and are sent now.
    }
delivery_dead_title = { $count ->
        [one] { $count } notification to { $destination } given up
       *[other] { $count } notifications to { $destination } given up
    }
delivery_dead = { $count ->
        [one] { $count } notification has been given up{ $since }. It is kept: `{ $list }` shows it, and `{ $retry }` sends it again once the reason is gone.
       *[other] { $count } notifications have been given up{ $since }. They are kept: `{ $list }` shows why, and `{ $retry }` sends them again once the reason is gone.
    }
rule_failing_title = Rule { $rule } does not work
rule_failing = The condition of { $rule } could not be evaluated for any of the latest calls of { $source }{ $since }. The rule tells nothing until that is mended: correct its `when`.
config_rejected_title = The new config is not used
config_rejected = The config on the disk could not be put to work. callwatch goes on with the one before; `{ $check }` shows every mistake.

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
