//! The texts that there are, each with its arguments.

use fluent_bundle::FluentArgs;

use super::Language;

/// Declares texts: a method of [`Language`] for each, and all of them for the test.
macro_rules! texts {
    ($($name:ident($($argument:ident: $kind:ty),*);)*) => {
        impl Language {
            $(pub(crate) fn $name(self, $($argument: $kind),*) -> String {
                #[allow(unused_mut, reason = "some texts have no arguments")]
                let mut arguments = FluentArgs::new();
                $(arguments.set(stringify!($argument), $argument);)*
                self.say(stringify!($name), &arguments)
            })*
        }

        /// The names of all texts, each with those of its arguments.
        #[cfg(test)]
        pub(super) const TEXTS: &[(&str, &[&str])] =
            &[$((stringify!($name), &[$(stringify!($argument)),*])),*];
    };
}

texts! {
    call_started();
    call_ended();
    call_analyzed();
    call_updated();
    call_deleted();
    no_calls_in(source: &str);
    no_calls_in_for(source: &str, span: &str);
    rule_for(rule: &str, span: &str);
    test();

    unhappy_caller();

    conversation(caller: &str, when: &str);
    conversation_unknown(when: &str);
    conversation_bare(when: &str);
    conversation_of(call: &str, caller: &str);
    conversation_id(call: &str);

    caller();
    called();
    status();
    outcome();
    how_it_ended();
    engaged();
    rules();
    live_now();
    yes();
    no();
    unknown_number();
    changed();
    now(value: &str);
    removed();
    field(name: &str, label: &str);
    word(key: &str, word: &str);
    more_fields();
    agent();
    transcript();

    digest(many: &str);
    while_quiet(many: &str);
    calls(count: u64);
    events(count: u64);
    and_more_calls(count: u64);
    and_more_events(count: u64);
    and_more_calls_of(calls: u64, events: u64);
    of_one_call(events: u64);
    held_back(count: u64, since: &str);
    at_once(many: &str);
    within(many: &str, span: &str);
    period(from: &str, to: &str);
    many_since(many: &str, since: &str);
    and_more(count: u64);
    and_more_turns(count: u64);
    also(also: &str);
    title_also(title: &str, also: &str);
    and_more_rules(count: u64);

    waited_for_quiet();
    waited_for_group();
    held_by_throttle();
    too_large();
    default_title(error: &str);
    default_body(error: &str);
    no_advice_of(rule: &str, error: &str);
    no_title_of(rule: &str, error: &str);
    no_room();
    transcript_goes_on();

    warning();
    critical();
    rule_word(count: u64);
    source_word();
    alert_of();
    call_word();
    what_to_do();
    advice(urgency: &str);
    advice_unsaid(urgency: &str);
    advice_deleted();
    silent_advice();
    why(what: &str);
    began(when: &str);
    noticed(when: &str);
    open_call();
    open_details();
    open_page();

    reason(error: &str);
    reason_of_last(error: &str);
    source_failing_title(cause: &str, source: &str);
    source_failing(cause: &str, source: &str, since: &str);
    source_advice(cause: &str);
    source_recovered_title(source: &str);
    source_recovered(source: &str, since: &str);
    destination_failing_title(destination: &str);
    destination_paused_title(destination: &str);
    destination_failing(destination: &str, since: &str, waiting: &str);
    waits_for_answer(count: u64);
    waits_for_person(count: u64);
    destination_advice(list: &str);
    destination_paused_advice(resume: &str, list: &str);
    destination_recovered_title(destination: &str);
    destination_recovered(destination: &str, since: &str, count: u64);
    delivery_dead_title(count: u64, destination: &str);
    delivery_dead(count: u64, since: &str);
    delivery_dead_advice(count: u64, retry: &str, list: &str);
    rule_failing_title(rule: &str);
    rule_failing(rule: &str, source: &str, since: &str);
    rule_failing_advice();
    config_rejected_title();
    config_rejected();
    config_rejected_advice(check: &str);

    date_and_time_format(zone: &str, hour: u64);
    day_and_time_format(zone: &str, hour: u64);
    time_format(zone: &str, hour: u64);
    time_this_week_format(zone: &str, hour: u64);
    time_this_year_format(zone: &str, hour: u64);
    time_any_year_format(zone: &str, hour: u64);
    time_and_zone_format(zone: &str, hour: u64);
    since_format(zone: &str, hour: u64);
    since_this_week_format(zone: &str, hour: u64);
    since_this_year_format(zone: &str, hour: u64);
    since_any_year_format(zone: &str, hour: u64);
    silent_since_format(zone: &str, hour: u64);
    local_time_format();
    zone_name(name: &str);

    seconds(count: u64);
    minutes(count: u64);
    hours(count: u64);
    days(count: u64);
}
