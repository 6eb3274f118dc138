//! Makes up an event that looks like a real one of a rule.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json, value::to_raw_value};

use crate::{
    call::Call,
    config_file::Config,
    event::{Event, EventId, Subject},
    kind::{Kind, Kinds},
    rehearsal::{Rehearsal, clinic::Clinic},
    rule::Rule,
    store::StoreError,
    telling::Incident,
    time::Timestamp,
};

/// How many calls are made up, at most, until one fulfils the rule.
const TRIES: usize = 100;

/// How long ago a made-up call began.
const BEGAN: Duration = Duration::from_secs(300);

/// A made-up event.
pub(super) struct Sample {
    /// The event; its id begins with `evt_test_`.
    pub(super) event: Event,
    /// Whether the rule would have told of it.
    pub(super) is_true: bool,
}

impl Sample {
    /// An event of a call that fulfils `rule`, if one can be made up, else of any call; `None` when no source is watched
    /// by the rule.
    ///
    /// # Errors
    /// When the rehearsal fails.
    pub(super) async fn of(rule: &Rule, config: &Config, now: Timestamp) -> Result<Option<Self>, StoreError> {
        let event = match rule.on.iter().find(|kind| !kind.is_of_call()) {
            Some(kind) if kind.is_of_source() => of_source(rule, kind, config, now).await?,
            Some(kind) => of_callwatch(rule, kind, config, now),
            None => of_call(rule, config, now).await?,
        };
        if let Some(event) = event {
            return Ok(Some(Self { event: as_test(event), is_true: true }));
        }
        let feed = Rule {
            text: rule.text.clone(),
            sources: rule.sources.clone(),
            ..Rule::new(rule.name.clone(), Kinds::from_iter([Kind::Ended, Kind::Analyzed]), rule.to.clone())
        };
        let event = of_call(&feed, config, now).await?;
        Ok(event.map(|event| Self { event: as_test(event), is_true: false }))
    }
}

fn as_test(event: Event) -> Event {
    Event { id: EventId::test(fastrand::u64(..)), ..event }
}

/// The event of the first made-up call for which the rule fires.
async fn of_call(rule: &Rule, config: &Config, now: Timestamp) -> Result<Option<Event>, StoreError> {
    let config = only(rule, config);
    let Some(source) = config.sources.iter().map(|source| &source.name).find(|name| rule.looks_at(name))
    else {
        return Ok(None);
    };
    let mut clinic = Clinic::new(fastrand::u64(..));
    let created = now.before(rule.lasting.unwrap_or_default().max(BEGAN));
    for _ in 0..TRIES {
        let made = clinic.next_call(created);
        let mut rehearsal = Rehearsal::new(&config, now).await?;
        for record in [made.live(), made.analyzed(now)] {
            if let Some(call) = call(&record) {
                rehearsal.observe(source, &call).await?;
            }
        }
        // The last event has the fullest record of the call.
        if let Some(event) = rehearsal.take_log().fired.pop() {
            return Ok(Some(event));
        }
    }
    Ok(None)
}

async fn of_source(
    rule: &Rule,
    kind: Kind,
    config: &Config,
    now: Timestamp,
) -> Result<Option<Event>, StoreError> {
    let config = only(rule, config);
    let Some(source) = config.sources.iter().map(|source| &source.name).find(|name| rule.looks_at(name))
    else {
        return Ok(None);
    };
    let since = now.before(rule.silence.as_ref().map_or(BEGAN, |silence| silence.lasting));
    let details = match (&rule.silence, kind) {
        (Some(silence), _) => silence.details(since),
        (None, Kind::SourceFailing) => {
            json!({ "since": since.to_string(), "cause": "unreachable", "error": "the API cannot be reached: connection refused" })
        }
        _ => json!({ "since": since.to_string() }),
    };
    let mut rehearsal = Rehearsal::new(&config, now).await?;
    rehearsal.tell_of_source(source, kind, since, &details).await?;
    Ok(rehearsal.take_log().fired.pop())
}

/// The event of something that happened to callwatch itself; `None` when the config has nothing it could have happened to.
fn of_callwatch(rule: &Rule, kind: Kind, config: &Config, now: Timestamp) -> Option<Event> {
    let since = now.before(BEGAN).to_string();
    let (subject, details) = match kind {
        Kind::RuleFailing => {
            let details = json!({ "rule": rule.name.as_str(), "since": since, "error": "a text is compared with a number" });
            (Subject::Source(config.sources.first()?.name.clone()), details)
        }
        Kind::ConfigRejected => (
            Subject::Config,
            json!({ "since": since, "error": "[store] `path` is another one than at the start" }),
        ),
        _ => {
            // An alert about a destination never goes to that destination.
            let mut names = config.destinations.iter().map(|destination| &destination.name);
            let name = names.find(|name| rule.to.iter().any(|to| to != *name))?;
            let details = json!({
                "destination": name.as_str(), "since": since, "error": "connection refused", "waiting": 3, "count": 3,
                "resumes": true,
            });
            (Subject::Destination(name.clone()), details)
        }
    };
    let incident = Incident { kind, subject, number: "test".to_owned(), details: &details };
    incident.tell([rule], &mut BTreeMap::new(), now).events.into_iter().map(|new| new.event).next()
}

fn only(rule: &Rule, config: &Config) -> Config {
    Config { rules: vec![rule.clone()], ..config.clone() }
}

fn call(record: &Value) -> Option<Call> {
    Call::parse(&to_raw_value(record).ok()?).ok()
}
