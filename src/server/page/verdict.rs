//! The first words of the page: that all is well, or what is wrong and what to do. Pure.

use super::words::{Tone, Words, address, list_of, messages, number, span, to};
use crate::{
    ops::{
        Check, ConfigOverview, DestinationOverview, ServiceStatus, SourceOverview, StateFilter, Status,
        WorkState,
    },
    store::Tally,
};

/// How things are, in sentences.
pub(super) struct Verdict {
    /// The one sentence.
    pub(super) headline: String,
    /// The sentence after it, when nothing or one thing is wrong.
    pub(super) more: String,
    /// Everything that is wrong, the most pressing first.
    pub(super) points: Vec<Point>,
}

/// One thing that is wrong.
pub(super) struct Point {
    pub(super) tone: Tone,
    /// The trouble in a few words.
    pub(super) what: String,
    /// Its consequence, and how to go on.
    pub(super) advice: String,
    /// Where to look, and the words for it.
    pub(super) link: Option<(String, String)>,
}

impl Verdict {
    pub(super) fn of(status: &Status, words: Words) -> Self {
        let mut points = vec![];
        if let Some(service) = &status.service {
            of_service(service, status, &mut points);
        }
        for destination in &status.destinations {
            of_destination(destination, words, &mut points);
        }
        if status.configs_differ() {
            points.push(Point {
                tone: Tone::Wait,
                what: "The processes have different configs".to_owned(),
                advice:
                    "A rule that only some have fires while one of them polls. Give all of them the same."
                        .to_owned(),
                link: None,
            });
        }
        points.sort_by_key(|point| std::cmp::Reverse(point.tone));
        let (headline, more) = match &*points {
            [] => ("All is well".to_owned(), summary(status)),
            [only] => (only.what.clone(), only.advice.clone()),
            many => (format!("{} things need you", many.len()), String::new()),
        };
        Self { headline, more, points }
    }

    pub(super) fn is_trouble(&self) -> bool {
        !self.points.is_empty()
    }

    /// The tone of the whole.
    pub(super) fn tone(&self) -> Tone {
        self.points.iter().map(|point| point.tone).max().unwrap_or(Tone::Good)
    }

    /// The link of the only thing that is wrong.
    pub(super) fn link(&self) -> Option<&(String, String)> {
        match &*self.points {
            [only] => only.link.as_ref(),
            _ => None,
        }
    }
}

/// The figures to show when nothing is wrong.
fn summary(status: &Status) -> String {
    let sources = status.service.iter().flat_map(|service| &service.sources);
    let (known, live) =
        sources.fold((0, 0), |(known, live), source| (known + source.known_calls, live + source.live_calls));
    let sum = |of: fn(&Tally) -> u64| status.destinations.iter().map(|it| of(&it.deliveries)).sum::<u64>();
    let waiting = match (sum(|it| it.pending), sum(|it| it.held)) {
        (0, 0) => "Nothing waits to be told.".to_owned(),
        (1, 0) => "1 message is on its way.".to_owned(),
        (many, 0) => format!("{} are on their way.", messages(many)),
        (0, 1) => "1 message waits to be told with others.".to_owned(),
        (0, many) => format!("{} wait to be told with others.", messages(many)),
        (many, held) => format!(
            "{} {} on the way, and {} {} to be told with others.",
            messages(many),
            if many == 1 { "is" } else { "are" },
            number(&held),
            if held == 1 { "waits" } else { "wait" },
        ),
    };
    let calls = if known == 1 { "call is" } else { "calls are" };
    format!("{} {calls} known, {} live. {waiting}", number(&known), number(&live))
}

fn of_service(service: &ServiceStatus, status: &Status, points: &mut Vec<Point>) {
    for Check { name, reason, .. } in service.readiness.checks.iter().filter(|check| !check.ok) {
        let reason = reason.as_deref().unwrap_or("all is not well");
        match &**name {
            "sources" => points.extend(reason.lines().map(|line| of_source(line, service))),
            "deliveries" => {
                // A destination that is failing tells of itself below.
                let is_told = |line: &&str| !status.destinations.iter().any(|it| is_failing_in(it, line));
                points.extend(reason.lines().filter(is_told).map(|line| Point {
                    tone: Tone::Bad,
                    what: line.to_owned(),
                    advice: "It is tried again by itself; nothing is lost.".to_owned(),
                    link: Some(("/deliveries?state=pending".to_owned(), "Show what waits".to_owned())),
                }));
            }
            "config" => points.push(of_config(&service.config)),
            _ => points.push(Point {
                tone: Tone::Bad,
                what: format!("The {name} does not work"),
                advice: reason.to_owned(),
                link: None,
            }),
        }
    }
    for source in service.sources.iter().filter(|source| source.failures > 0) {
        let is_told = points.iter().any(|point| of(source, &point.what));
        if let Some(failed) = source.last_error.as_ref().filter(|_| !is_told) {
            points.push(Point {
                tone: Tone::Wait,
                what: format!("The last request to {} failed", source.name),
                advice: format!(
                    "{}. It is asked again by itself.",
                    capital(failed.error.trim_end_matches('.'))
                ),
                link: None,
            });
        }
    }
}

/// Whether a line of a check is about this source.
fn of(source: &SourceOverview, line: &str) -> bool {
    line.strip_prefix(source.name.as_str()).is_some_and(|rest| rest.starts_with(':'))
}

/// Whether the line is about this destination, and the destination is failing.
fn is_failing_in(destination: &DestinationOverview, line: &str) -> bool {
    let is_failing = destination.work.as_ref().is_some_and(|work| work.state != WorkState::Ok);
    is_failing && line.strip_prefix(destination.name.as_str()).is_some_and(|rest| rest.starts_with(':'))
}

fn of_source(line: &str, service: &ServiceStatus) -> Point {
    let source = service.sources.iter().find(|source| of(source, line));
    let (tone, advice) = match source {
        Some(source) if source.refused => {
            (Tone::Bad, "The API refuses the key. Give it another one, and reload the config.")
        }
        Some(source) if source.last_success.is_none() && source.failures == 0 => {
            (Tone::Wait, "It has just begun to be asked.")
        }
        _ => (Tone::Bad, "Calls are not seen meanwhile; they will be told when the API answers again."),
    };
    Point { tone, what: line.to_owned(), advice: advice.to_owned(), link: None }
}

fn of_config(config: &ConfigOverview) -> Point {
    let link = Some(("/config".to_owned(), "Show the config".to_owned()));
    match &config.rejected {
        Some(_) => Point {
            tone: Tone::Bad,
            what: "The config file cannot be used".to_owned(),
            advice: "The config before goes on. Mend the file; it goes to work when it is right.".to_owned(),
            link,
        },
        None => Point {
            tone: Tone::Wait,
            what: "The config file differs from the config at work".to_owned(),
            advice: "Reload it to put it to work.".to_owned(),
            link,
        },
    }
}

fn of_destination(destination: &DestinationOverview, words: Words, points: &mut Vec<Point>) {
    let DestinationOverview { name, is_configured, pause, deliveries, work, elsewhere: _ } = destination;
    let Tally { dead, pending, .. } = *deliveries;
    let waiting = deliveries.unfinished();
    let waits = match waiting {
        0 => "Nothing waits for it.".to_owned(),
        1 => "1 message waits and is not lost.".to_owned(),
        many => format!("{} wait, and none is lost.", messages(many)),
    };
    let show_waiting = (waiting > 0)
        .then(|| (list_of(&to(name, StateFilter::Undelivered)), format!("Show the {}", number(&waiting))));
    let for_how_long = |since| span(words.now.since(since));
    if !is_configured && waiting > 0 {
        points.push(Point {
            tone: Tone::Bad,
            what: format!("{name} is not in the config, and {} for it", wait(waiting)),
            advice: "Put it back into the config, or drop what waits for it.".to_owned(),
            link: show_waiting.clone(),
        });
    } else if let Some(pause) = pause {
        let by_itself = match pause.until {
            Some(until) => format!("It is tried again in {}.", span(until.since(words.now))),
            None => "It stays so until somebody resumes it, below.".to_owned(),
        };
        points.push(Point {
            tone: Tone::Wait,
            what: format!("{name} has been paused for {}", for_how_long(pause.since)),
            advice: format!("{}. {waits} {by_itself}", capital(&pause.reason)),
            link: show_waiting.clone(),
        });
    } else if let Some(work) = work.as_ref().filter(|work| work.state != WorkState::Ok) {
        let since = work.last_success.map_or_else(
            || format!("{name} takes nothing"),
            |at| format!("{name} has not taken anything for {}", for_how_long(at)),
        );
        let again = match work.until.filter(|until| *until > words.now) {
            Some(until) => format!("It is tried again in {}.", span(until.since(words.now))),
            None => "It is tried again by itself.".to_owned(),
        };
        let why = work.why.as_deref().unwrap_or("it failed too often");
        let now = (pending > 0).then(|| {
            let retry =
                address("/deliveries/confirm", &to(name, StateFilter::Pending), &[("action", "retry")]);
            (retry, "Try now…".to_owned())
        });
        points.push(Point {
            tone: Tone::Bad,
            what: since,
            advice: format!("{}. {waits} {again}", capital(why.trim_end_matches('.'))),
            link: now.or(show_waiting.clone()),
        });
    }
    if let Some(failed) = destination.retrying() {
        points.push(Point {
            tone: Tone::Wait,
            what: format!("The last attempt to reach {name} failed"),
            advice: format!(
                "{}. {waits} It is tried again by itself.",
                capital(failed.error.trim_end_matches('.'))
            ),
            link: show_waiting.clone(),
        });
    }
    if dead > 0 {
        points.push(Point {
            tone: Tone::Bad,
            what: format!("{} to {name} {} given up", messages(dead), if dead == 1 { "was" } else { "were" }),
            advice: "Look why, then retry or drop them.".to_owned(),
            link: Some((list_of(&to(name, StateFilter::Dead)), format!("Show the {}", number(&dead)))),
        });
    }
}

fn wait(count: u64) -> String {
    format!("{} {}", messages(count), if count == 1 { "waits" } else { "wait" })
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default() + chars.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        calendar::Zone,
        ops::{DestinationWork, PauseStatus},
        time::Timestamp,
    };

    const NOW: Timestamp = Timestamp::from_millis(1_765_800_000_000);

    fn ago(secs: u64) -> Timestamp {
        NOW.before(std::time::Duration::from_secs(secs))
    }

    fn destination(name: &str) -> DestinationOverview {
        DestinationOverview {
            name: name.into(),
            is_configured: true,
            pause: None,
            deliveries: Tally::default(),
            work: Some(DestinationWork {
                state: WorkState::Ok,
                why: None,
                until: None,
                oldest_due: None,
                last_success: Some(ago(1440)),
                last_error: None,
            }),
            elsewhere: false,
        }
    }

    fn verdict(destinations: Vec<DestinationOverview>) -> Verdict {
        let status = Status { at: NOW, service: None, destinations, nodes: vec![], free: vec![] };
        Verdict::of(&status, Words { now: NOW, zone: Zone::UTC })
    }

    #[test]
    fn one_sentence_says_what_is_wrong() {
        let well = verdict(vec![destination("crm")]);
        assert_eq!((&*well.headline, well.is_trouble()), ("All is well", false));

        let mut retrying = destination("crm");
        retrying.deliveries.pending = 1;
        let work = retrying.work.as_mut().unwrap();
        work.last_error =
            Some(crate::ops::Mishap { at: ago(3), error: "503 Service Unavailable".to_owned() });
        let tried_again = verdict(vec![retrying]);
        assert_eq!(tried_again.headline, "The last attempt to reach crm failed");
        assert_eq!(
            tried_again.more,
            "503 Service Unavailable. 1 message waits and is not lost. It is tried again by itself."
        );

        let mut failing = destination("frontdesk");
        failing.deliveries.pending = 6;
        let work = failing.work.as_mut().unwrap();
        (work.state, work.why) =
            (WorkState::Failing, Some("5 attempts in a row failed; last: 503".to_owned()));
        let one = verdict(vec![destination("crm"), failing.clone()]);
        assert_eq!(one.headline, "frontdesk has not taken anything for 24 min");
        assert_eq!(
            one.more,
            "5 attempts in a row failed; last: 503. 6 messages wait, and none is lost. It is tried again by itself."
        );
        let link = one.link().unwrap();
        assert_eq!(
            (&*link.0, &*link.1),
            ("/deliveries/confirm?action=retry&destination=frontdesk&state=pending", "Try now…")
        );

        let mut paused = destination("crm");
        paused.deliveries.dead = 1;
        paused.pause = Some(PauseStatus { since: ago(60), reason: "paused by hand".to_owned(), until: None });
        let many = verdict(vec![paused, failing]);
        assert_eq!(many.headline, "3 things need you");
        let told: Vec<_> = many.points.iter().map(|point| (point.tone, &*point.what)).collect();
        assert_eq!(
            told,
            [
                (Tone::Bad, "1 message to crm was given up"),
                (Tone::Bad, "frontdesk has not taken anything for 24 min"),
                (Tone::Wait, "crm has been paused for 60 s"),
            ]
        );
    }
}
