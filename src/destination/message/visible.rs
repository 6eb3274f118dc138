//! Events without the fields that their receiver is not shown.

use std::{borrow::Cow, time::Duration};

use serde_json::{Map, Value};

use crate::{
    call::time_field,
    change::Changes,
    destination::FieldFilter,
    event::{Event, Severity},
    json::{self, Budget, Shallow},
    language::Language,
    template::{ChangeContext, Context, EventContext},
    time::Timestamp,
};

/// A change noticed this long after it happened is noticed late.
const LATE: Duration = Duration::from_secs(120);

/// An event without the fields that its receiver is not shown.
pub(in crate::destination) struct Visible<'e> {
    pub(in crate::destination) event: &'e Event,
    severity: Severity,
    /// The language of the message.
    language: Language,
    /// The record, always an object.
    record: Value,
    changes: Cow<'e, Changes>,
    type_name: String,
    time: String,
    /// When the call began; `None` when that is not known, or the receiver is not shown it.
    began: Option<Timestamp>,
    /// The latest time at which something is known to have happened to the call.
    happened: Option<Timestamp>,
}

impl<'e> Visible<'e> {
    /// As much of the event as a message for people is made of.
    ///
    /// # Errors
    /// When the event's record is not JSON, because the store is damaged.
    pub(in crate::destination) fn new(
        event: &'e Event,
        severity: Severity,
        language: Language,
        fields: &FieldFilter,
        budget: &mut Budget,
    ) -> Result<Self, serde_json::Error> {
        let record = json::excerpt(fields.record(&event.record)?.get(), budget).unwrap_or_default();
        let changes = Changes(json::excerpt_of_fields(&fields.changes(&event.changes)?.0, budget));
        Ok(Self::of(event, severity, language, fields, record, Cow::Owned(changes)))
    }

    /// The whole event, for the body of a webhook.
    ///
    /// # Errors
    /// As [`Visible::new`].
    pub(super) fn whole(
        event: &'e Event,
        severity: Severity,
        language: Language,
        fields: &FieldFilter,
    ) -> Result<Self, serde_json::Error> {
        let record = json::fields(fields.record(&event.record)?.get()).unwrap_or_default();
        Ok(Self::of(event, severity, language, fields, record, fields.changes(&event.changes)?))
    }

    fn of(
        event: &'e Event,
        severity: Severity,
        language: Language,
        fields: &FieldFilter,
        record: Map<String, Value>,
        changes: Cow<'e, Changes>,
    ) -> Self {
        let times = times(event);
        let began = time_field(&times, "createdAt").filter(|_| !fields.hides("createdAt"));
        let duration = times.get("duration").and_then(Value::as_f64);
        let duration = duration.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let ended = began.map(|began| began.after(duration.unwrap_or_default()));
        Self {
            event,
            severity,
            language,
            record: Value::Object(record),
            changes,
            type_name: event.type_name(),
            time: event.at.to_string(),
            began,
            happened: ended.max(time_field(&times, "updatedAt")),
        }
    }

    /// When the call was, or the event when it is about none.
    pub(super) fn at(&self) -> Timestamp {
        self.began.unwrap_or(self.event.at)
    }

    /// When the call began, if that is known and shown.
    pub(super) fn began(&self) -> Option<Timestamp> {
        self.began
    }

    /// When callwatch noticed what happened, if that was minutes later.
    pub(super) fn noticed(&self) -> Option<Timestamp> {
        let late = self.began.is_some() && self.event.at.since(self.happened?) >= LATE;
        late.then_some(self.event.at)
    }

    /// The fields of the call, or the details of an event about something else.
    pub(super) fn fields(&self) -> &Map<String, Value> {
        match &self.record {
            Value::Object(fields) => fields,
            _ => unreachable!("`new` makes it an object"),
        }
    }

    pub(super) fn changes(&self) -> &Map<String, Value> {
        &self.changes.0
    }

    pub(super) fn severity(&self) -> Severity {
        self.severity
    }

    /// The name of the source it is about; empty when it is about none.
    pub(super) fn source(&self) -> &str {
        self.event.subject.source().map_or("", |source| source.as_str())
    }

    /// The call, when the event is about one.
    pub(in crate::destination) fn call(&self) -> Option<&Value> {
        self.event.subject.call().map(|_| &self.record)
    }

    /// The values that a template can use when this is one of a batch of `count` events about these calls.
    pub(in crate::destination) fn context<'c>(&'c self, count: u64, calls: &'c [&'c Value]) -> Context<'c> {
        let call = self.call();
        Context {
            call,
            details: if call.is_none() { Some(&self.record) } else { None },
            changes: &self.changes,
            change: ChangeContext { kinds: self.event.kinds },
            kinds: self.event.kinds,
            source: self.source(),
            rule: self.event.rule.as_str(),
            severity: self.severity,
            language: self.language,
            event: EventContext { id: self.event.id.as_str(), r#type: &self.type_name, time: &self.time },
            count,
            calls,
            message: None,
        }
    }
}

/// The fields of a call that say when it was, whatever its receiver is shown.
fn times(event: &Event) -> Map<String, Value> {
    let fields = event.subject.call().and_then(|_| Shallow::read(event.record.get()).ok());
    let read = |name: &str| {
        let value = fields.as_ref()?.get(name)?;
        // A list or an object says no time, and may be long.
        let is_plain = !value.get().starts_with(['{', '[']);
        Some((name.to_owned(), serde_json::from_str(value.get()).ok().filter(|_| is_plain)?))
    };
    ["createdAt", "updatedAt", "duration"].into_iter().filter_map(read).collect()
}
