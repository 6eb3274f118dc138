//! Messages about callwatch itself and about sources: what is wrong, since when, what becomes of the
//! notifications meanwhile, and what to do. Pure.

use serde_json::{Map, Value};

use super::{facts::field, headline, times::time_and_zone};
use crate::{calendar::Zone, event::Event, kind::Kind, privacy::one_line, time::Timestamp};

/// The longest error that is quoted, in characters.
const MAX_ERROR: usize = 300;

/// The default title and text of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Alert {
    pub(super) title: String,
    pub(super) text: String,
}

impl Alert {
    /// The words for an event about a source, a destination, a rule or the config; `None` for one that is about a call, or
    /// about silence. What the details do not say is left out. The details are callwatch's own, so `include` and `exclude`
    /// of the destination, which are about calls, do not count.
    pub(super) fn of(event: &Event, zone: Zone) -> Option<Self> {
        let details: Map<String, Value> = serde_json::from_str(event.record.get()).unwrap_or_default();
        let told = Told { event, details: &details, zone };
        let source = event.subject.source().map_or("", |source| source.as_str());
        let destination = event.subject.destination().map_or("", |destination| destination.as_str());
        let (title, text) = match event.kinds.first()? {
            Kind::SourceFailing => (
                format!("Source {source} is failing"),
                format!(
                    "Calls of {source} are not being seen{}{}. They will be told when the API answers as it should again.",
                    told.since(),
                    told.error()
                ),
            ),
            Kind::SourceRecovered => (
                format!("Source {source} answers again"),
                format!(
                    "Calls of {source} are seen again. They were not{}; what happened meanwhile is told now.",
                    told.since()
                ),
            ),
            Kind::DestinationFailing => {
                let what_follows = match (
                    told.count("waiting"),
                    details.get("resumes") == Some(&Value::Bool(false)),
                ) {
                    (waiting, true) => format!(
                        "{} Put right what it complains of, then run `callwatch deliveries resume {destination}`.",
                        waits(waiting, "nothing is sent before it is resumed")
                    ),
                    (waiting, false) => waits(waiting, "what comes in is sent when it answers again"),
                };
                (
                    format!("Destination {destination} is failing"),
                    format!(
                        "{destination} has not taken anything{}{}. {what_follows} \
                         `callwatch deliveries list --destination {destination}` shows what waits.",
                        told.since(),
                        told.error()
                    ),
                )
            }
            Kind::DestinationRecovered => (
                format!("Destination {destination} takes notifications again"),
                match told.count("waiting") {
                    0 => format!(
                        "{destination} had not taken anything{}. Nothing waits any more.",
                        told.since()
                    ),
                    waiting => format!(
                        "{destination} had not taken anything{}. {} and {} sent now.",
                        told.since(),
                        notifications(waiting, "waits", "wait"),
                        if waiting == 1 { "is" } else { "are" }
                    ),
                },
            ),
            Kind::DeliveryDead => {
                let count = told.count("count");
                (
                    format!("{} to {destination} given up", notifications(count, "", "").trim_end()),
                    format!(
                        "{} given up{}; the last one because of this{}. They are kept: \
                         `callwatch deliveries list --destination {destination} --state dead` shows why, and \
                         `callwatch deliveries retry --all --destination {destination}` sends them again.",
                        notifications(count, "was", "were"),
                        told.since(),
                        told.error()
                    ),
                )
            }
            Kind::RuleFailing => {
                let rule = field(&details, "rule").unwrap_or("?");
                (
                    format!("Rule {rule} does not work"),
                    format!(
                        "The condition of {rule} could not be evaluated for any of the latest calls of {source}{}{}. The rule \
                         tells nothing until that is mended: correct its `when`.",
                        told.since(),
                        told.error()
                    ),
                )
            }
            Kind::ConfigRejected => (
                "The new config is not used".to_owned(),
                format!(
                    "The config on the disk could not be put to work{}. callwatch goes on with the one before; \
                     `callwatch check` shows every mistake.",
                    told.error()
                ),
            ),
            Kind::Ended
            | Kind::Started
            | Kind::Analyzed
            | Kind::Updated
            | Kind::Deleted
            | Kind::SourceSilent => {
                return None;
            }
        };
        Some(Self { title, text })
    }
}

/// The details of an event, as parts of sentences.
struct Told<'a> {
    event: &'a Event,
    details: &'a Map<String, Value>,
    zone: Zone,
}

impl Told<'_> {
    /// ` since 18:27 CET`
    fn since(&self) -> String {
        let since = field(self.details, "since").and_then(Timestamp::parse);
        since.map_or_else(String::new, |since| {
            format!(" since {}", time_and_zone(since, self.event.at, self.zone))
        })
    }

    /// `: connection refused`
    fn error(&self) -> String {
        let error = field(self.details, "error").map(|error| headline(&one_line(error), MAX_ERROR));
        error.map_or_else(String::new, |error| format!(": {}", error.trim_end_matches('.')))
    }

    fn count(&self, name: &str) -> u64 {
        self.details.get(name).and_then(Value::as_u64).unwrap_or_default()
    }
}

/// `148 notifications wait; they are sent …`
fn waits(waiting: u64, otherwise: &str) -> String {
    let then = otherwise.strip_prefix("what comes in is ");
    match (waiting, then) {
        (0, _) => format!("Nothing waits for it; {otherwise}."),
        (1, Some(then)) => format!("1 notification waits; it is {then}."),
        (waiting, Some(then)) => format!("{waiting} notifications wait; they are {then}."),
        (waiting, None) => format!("{}; {otherwise}.", notifications(waiting, "waits", "wait")),
    }
}

/// `148 notifications were`
fn notifications(count: u64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 notification {one}") } else { format!("{count} notifications {many}") }
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
        let alert = Alert::of(&event, Zone::parse("Europe/Paris").unwrap()).unwrap();
        (alert.title, alert.text)
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
        assert_eq!(
            failing(148, true).1,
            "crm has not taken anything since 18:27 CET: connection refused. 148 notifications wait; they are sent when it \
             answers again. `callwatch deliveries list --destination crm` shows what waits."
        );
        assert!(failing(1, true).1.contains("1 notification waits; it is sent when it answers again."));
        assert!(
            failing(0, true).1.contains("Nothing waits for it; what comes in is sent when it answers again.")
        );
        let shut = failing(2, false).1;
        assert!(shut.contains("2 notifications wait; nothing is sent before it is resumed."), "{shut}");
        assert!(shut.contains("`callwatch deliveries resume crm`"), "{shut}");

        let details = json!({"since": since, "count": 148, "error": "404 Not Found: gone."});
        let (title, text) = said(crm(), Kind::DeliveryDead, &details);
        assert_eq!(title, "148 notifications to crm given up");
        assert!(text.starts_with("148 notifications were given up since 18:27 CET"), "{text}");
        assert!(text.contains(": 404 Not Found: gone. They are kept"), "{text}");

        let (title, text) = said(crm(), Kind::DestinationRecovered, &json!({"since": since, "waiting": 3}));
        assert_eq!(title, "Destination crm takes notifications again");
        assert_eq!(
            text,
            "crm had not taken anything since 18:27 CET. 3 notifications wait and are sent now."
        );
        let clinic = Subject::Source("clinic".into());
        let (_, text) =
            said(clinic, Kind::SourceFailing, &json!({"since": since, "error": "401 Invalid API key"}));
        assert_eq!(
            text,
            "Calls of clinic are not being seen since 18:27 CET: 401 Invalid API key. They will be told when the API answers \
             as it should again."
        );
        assert!(said(Subject::Config, Kind::ConfigRejected, &json!({})).1.contains("`callwatch check`"));
    }
}
