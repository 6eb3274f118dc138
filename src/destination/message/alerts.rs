//! Messages about callwatch itself and about sources: what is wrong, since when, what becomes of the
//! notifications meanwhile, and what to do. Pure.

use serde_json::{Map, Value};

use super::{facts::field, headline};
use crate::{
    calendar::Zone, event::Event, kind::Kind, language::Language, privacy::one_line, time::Timestamp,
};

/// The longest error that is quoted, in characters.
const MAX_ERROR: usize = 300;

/// The default words of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Alert {
    pub(super) title: String,
    pub(super) text: String,
    /// What to do, unless nothing has to be done.
    pub(super) advice: Option<String>,
}

impl Alert {
    /// The words for an event about a source, a destination, a rule or the config; `None` for one that is about a call, or
    /// about silence. What the details do not say is left out. The details are callwatch's own, so `include` and `exclude`
    /// of the destination, which are about calls, do not count.
    pub(super) fn of(event: &Event, zone: Zone, language: Language) -> Option<Self> {
        let details: Map<String, Value> = serde_json::from_str(event.record.get()).unwrap_or_default();
        let told = Told { event, details: &details, zone, language };
        let kind = event.kinds.first()?;
        let (title, text, advice) = told.words(kind)?;
        let several = kind == Kind::DeliveryDead && told.count("count") > 1;
        Some(Self {
            title,
            // The words of an error are English and often another program's, so they stand in a line of their own.
            text: match field(&details, "error").map(|error| headline(&one_line(error), MAX_ERROR)) {
                Some(error) => {
                    let error = error.trim_end_matches('.');
                    let reason =
                        if several { language.reason_of_last(error) } else { language.reason(error) };
                    format!("{text}\n\n{reason}")
                }
                None => text,
            },
            advice,
        })
    }
}

/// The details of an event, as parts of sentences.
struct Told<'a> {
    event: &'a Event,
    details: &'a Map<String, Value>,
    zone: Zone,
    language: Language,
}

impl Told<'_> {
    /// Title, text and advice.
    fn words(&self, kind: Kind) -> Option<(String, String, Option<String>)> {
        let Self { event, details, language, .. } = *self;
        let source = event.subject.source().map_or("", |source| source.as_str());
        let destination = event.subject.destination().map_or("", |destination| destination.as_str());
        let since = &*self.since();
        let list = || format!("callwatch deliveries list --destination {destination}");
        let (title, text, advice) = match kind {
            Kind::SourceFailing => {
                let cause = field(details, "cause").unwrap_or_default();
                (
                    language.source_failing_title(cause, source),
                    language.source_failing(cause, source, since),
                    Some(language.source_advice(cause)),
                )
            }
            Kind::SourceRecovered => {
                (language.source_recovered_title(source), language.source_recovered(source, since), None)
            }
            Kind::DestinationFailing if details.get("resumes") == Some(&Value::Bool(false)) => {
                let waiting = language.waits_for_person(self.count("waiting"));
                let resume = format!("callwatch deliveries resume {destination}");
                (
                    language.destination_paused_title(destination),
                    language.destination_failing(destination, since, &waiting),
                    Some(language.destination_paused_advice(&resume, &list())),
                )
            }
            Kind::DestinationFailing => {
                let waiting = language.waits_for_answer(self.count("waiting"));
                (
                    language.destination_failing_title(destination),
                    language.destination_failing(destination, since, &waiting),
                    Some(language.destination_advice(&list())),
                )
            }
            Kind::DestinationRecovered => (
                language.destination_recovered_title(destination),
                language.destination_recovered(destination, since, self.count("waiting")),
                None,
            ),
            Kind::DeliveryDead => {
                let count = self.count("count");
                let list = format!("{} --state dead", list());
                let retry = format!("callwatch deliveries retry --all --destination {destination}");
                (
                    language.delivery_dead_title(count, destination),
                    language.delivery_dead(count, since),
                    Some(language.delivery_dead_advice(count, &retry, &list)),
                )
            }
            Kind::RuleFailing => {
                let rule = field(details, "rule").unwrap_or("?");
                (
                    language.rule_failing_title(rule),
                    language.rule_failing(rule, source, since),
                    Some(language.rule_failing_advice()),
                )
            }
            Kind::ConfigRejected => (
                language.config_rejected_title(),
                language.config_rejected(),
                Some(language.config_rejected_advice("callwatch check")),
            ),
            Kind::Ended
            | Kind::Started
            | Kind::Analyzed
            | Kind::Updated
            | Kind::Deleted
            | Kind::SourceSilent => return None,
        };
        Some((title, text, advice))
    }

    /// ` since 18:27 CET`
    fn since(&self) -> String {
        let since = field(self.details, "since").and_then(Timestamp::parse);
        since.map_or_else(String::new, |since| {
            format!(" {}", self.language.since(since, self.event.at, self.zone))
        })
    }

    fn count(&self, name: &str) -> u64 {
        self.details.get(name).and_then(Value::as_u64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        change::Changes,
        event::{EventId, Subject},
        telling::to_raw,
    };

    fn said(subject: Subject, kind: Kind, details: &Value) -> (String, String) {
        said_in(Language::English, subject, kind, details)
    }

    fn said_in(language: Language, subject: Subject, kind: Kind, details: &Value) -> (String, String) {
        let event = Event {
            id: EventId::from("evt_1"),
            subject,
            rule: "[alerts]".into(),
            also: vec![],
            kinds: kind.into(),
            changes: Changes::default(),
            at: Timestamp::parse("2025-12-15T17:40:00Z").unwrap(),
            record: to_raw(details),
        };
        let alert = Alert::of(&event, Zone::parse("Europe/Paris").unwrap(), language).unwrap();
        let advice = alert.advice.map(|advice| format!("\n\n{advice}")).unwrap_or_default();
        (alert.title, alert.text + &advice)
    }

    #[test]
    fn an_alert_says_in_local_time_what_is_wrong_and_what_to_do() {
        let since = "2025-12-15T17:27:00.000Z";
        let crm = || Subject::Destination("crm".into());
        let failing = |waiting, resumes| {
            let details = json!({"since": since, "error": "connection refused", "waiting": waiting, "resumes": resumes});
            said(crm(), Kind::DestinationFailing, &details)
        };
        assert_eq!(failing(148, true).0, "Destination crm is failing");
        assert_eq!(failing(148, false).0, "Destination crm waits for you");
        assert_eq!(
            failing(148, true).1,
            "crm has not taken anything since 18:27 CET. 148 notifications wait; they will be sent when the destination answers again.\n\nReason: connection refused\n\nIf somebody else looks after callwatch, forward this to them now; the \
             rest is for them.\nIf no all-clear has come within 15 minutes, find out why the destination does not answer; `callwatch \
             deliveries list --destination crm` shows what waits."
        );
        assert!(
            failing(1, true)
                .1
                .contains("1 notification waits; it will be sent when the destination answers again.")
        );
        assert!(failing(0, true).1.contains(
            "Nothing waits for it; what comes in will be sent when the destination answers again."
        ));
        let shut = failing(2, false).1;
        assert!(
            shut.contains("2 notifications wait; nothing is sent until the destination is resumed."),
            "{shut}"
        );
        assert!(shut.contains("`callwatch deliveries resume crm`"), "{shut}");

        let details = json!({"since": since, "count": 148, "error": "404 Not Found: gone."});
        let (title, text) = said(crm(), Kind::DeliveryDead, &details);
        assert_eq!(title, "148 notifications to crm given up");
        assert!(text.starts_with("148 notifications have been given up since 18:27 CET"), "{text}");
        assert!(text.contains("\n\nReason for the last one: 404 Not Found: gone\n\n"), "{text}");

        let (title, text) = said(crm(), Kind::DestinationRecovered, &json!({"since": since, "waiting": 3}));
        assert_eq!(title, "Destination crm takes notifications again");
        assert_eq!(
            text,
            "crm had not taken anything since 18:27 CET. 3 notifications were waiting and are sent now."
        );
        let clinic = Subject::Source("clinic".into());
        let (_, text) = said(
            clinic.clone(),
            Kind::SourceFailing,
            &json!({"since": since, "cause": "key", "error": "401 Invalid API key"}),
        );
        assert_eq!(
            text,
            "callwatch has not been able to read the calls of clinic since 18:27 CET, so it cannot tell you of new ones. This \
             does not show whether calls are answered. callwatch keeps trying; when it succeeds, it says so in the same way \
             and tells you of the calls that came in meanwhile.\n\nReason: 401 Invalid API key\n\nCall the number that the \
             phone agent answers, to check that it picks up; if it does not, contact the provider of the phone agent.\nIf \
             somebody else looks after callwatch, forward this to them now; the rest is for them.\nThe API of the phone \
             agent's provider refuses the key, which does not clear up by itself: correct `api_key` in the config, or the list of addresses that may use it."
        );
        let details =
            json!({"since": since, "cause": "missing", "error": "12 of 40 calls are missing from the list"});
        let (title, text) = said(clinic, Kind::SourceFailing, &details);
        assert_eq!(title, "Calls are missing from the list of clinic");
        assert!(
            text.starts_with(
                "Calls that callwatch knows have been missing from the list of clinic since 18:27 CET."
            ),
            "{text}"
        );
        assert!(!text.contains("cannot be reached"), "it can: {text}");
        assert!(text.contains("ask the provider of the phone agent where they are"), "{text}");
        assert!(said(Subject::Config, Kind::ConfigRejected, &json!({})).1.contains("`callwatch check`"));
    }

    #[test]
    fn an_alert_says_the_same_in_every_language() {
        let since = "2025-12-15T17:27:00.000Z";
        let (crm, clinic) = (Subject::Destination("crm".into()), Subject::Source("clinic".into()));
        let details = |more: Value| {
            let mut details = json!({"since": since, "cause": "server", "error": "connection refused.", "waiting": 3, "count": 3});
            details.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            details
        };
        for (subject, kind, more, parts) in [
            (&clinic, Kind::SourceFailing, json!({}), &["clinic", "18:27", "\n", "connection refused"][..]),
            (&clinic, Kind::SourceRecovered, json!({}), &["clinic", "18:27"]),
            (
                &crm,
                Kind::DestinationFailing,
                json!({}),
                &["crm", "18:27", "connection refused", "3", "`callwatch deliveries list --destination crm`"],
            ),
            (
                &crm,
                Kind::DestinationFailing,
                json!({"resumes": false}),
                &["crm", "18:27", "connection refused", "3", "`callwatch deliveries resume crm`"],
            ),
            (&crm, Kind::DestinationRecovered, json!({}), &["crm", "18:27", "3"]),
            (
                &crm,
                Kind::DeliveryDead,
                json!({}),
                &[
                    "18:27",
                    "connection refused",
                    "3",
                    "`callwatch deliveries list --destination crm --state dead`",
                    "`callwatch deliveries retry --all --destination crm`",
                ],
            ),
            (
                &clinic,
                Kind::RuleFailing,
                json!({"rule": "booked"}),
                &["booked", "clinic", "18:27", "connection refused", "`when`"],
            ),
            (&Subject::Config, Kind::ConfigRejected, json!({}), &["connection refused", "`callwatch check`"]),
        ] {
            let details = details(more);
            let told = Language::ALL.map(|language| said_in(language, subject.clone(), kind, &details));
            for (title, text) in &told {
                for part in parts {
                    assert!(text.contains(part), "{part} in {text}");
                }
                assert!(!title.is_empty() && !text.contains("..") && !text.contains("  "), "{text}");
            }
            // Nothing is left in English.
            for (title, text) in &told[1..] {
                assert!(*title != told[0].0 && *text != told[0].1, "{text}");
            }
        }
    }
}
