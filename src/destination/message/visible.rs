//! Events without the fields that their receiver is not shown.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::{
    change::Changes,
    destination::FieldFilter,
    event::{Event, Severity},
    json,
    template::{ChangeContext, Context, EventContext},
};

/// An event without the fields that its receiver is not shown.
pub(in crate::destination) struct Visible<'e> {
    pub(in crate::destination) event: &'e Event,
    severity: Severity,
    /// The record, always an object.
    record: Value,
    changes: Cow<'e, Changes>,
    type_name: String,
    time: String,
}

impl<'e> Visible<'e> {
    /// # Errors
    /// When the event's record is not JSON, because the store is damaged.
    pub(in crate::destination) fn new(
        event: &'e Event,
        severity: Severity,
        fields: &FieldFilter,
    ) -> Result<Self, serde_json::Error> {
        let record = json::fields(fields.record(&event.record)?.get()).unwrap_or_default();
        Ok(Self {
            event,
            severity,
            record: Value::Object(record),
            changes: fields.changes(&event.changes)?,
            type_name: event.type_name(),
            time: event.at.to_string(),
        })
    }

    /// The fields of the call, or the details of an event about a source.
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
            event: EventContext { id: self.event.id.as_str(), r#type: &self.type_name, time: &self.time },
            count,
            calls,
            message: None,
        }
    }
}
