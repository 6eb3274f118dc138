//! The bodies of webhooks, in each of their formats. Pure.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::Notification;
use crate::{
    change::Changes,
    config::{FieldFilter, WebhookFormat},
    kind::{Kind, Kinds},
};

/// What is POSTed, before it is signed.
pub(super) struct Payload {
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
}

/// Renders `notification`.
///
/// # Errors
/// When the event's record is not JSON, which a store could only bring back damaged.
pub(super) fn render(
    notification: &Notification<'_>,
    format: WebhookFormat,
    fields: &FieldFilter,
) -> Result<Payload, serde_json::Error> {
    let event = notification.event;
    let record = fields.record(&event.record)?;
    let time = event.at.to_string();
    let (call, details) = match &event.call {
        Some(_) => (Some(&*record), None),
        None => (None, Some(&*record)),
    };
    let data = || -> Result<_, serde_json::Error> {
        Ok(Data {
            source: event.source.as_str(),
            rule: event.rule.as_str(),
            sequence: notification.sequence,
            kinds: event.kinds,
            changes: event.call.as_ref().map(|_| fields.changes(&event.changes)).transpose()?,
            call,
            details,
        })
    };
    let (content_type, body) = match format {
        WebhookFormat::Standard => (
            "application/json",
            serde_json::to_vec(&Standard { r#type: &event.type_name(), timestamp: &time, data: data()? })?,
        ),
        WebhookFormat::Callem => (
            "application/json",
            serde_json::to_vec(&Callem { event: callem_word(event.kinds), timestamp: &time, call, details })?,
        ),
        WebhookFormat::Cloudevents => (
            "application/cloudevents+json",
            serde_json::to_vec(&CloudEvent {
                specversion: "1.0",
                id: event.id.as_str(),
                source: &format!("/callwatch/{}", event.source),
                r#type: &event.type_name(),
                subject: event.call.as_ref().map(|call| call.as_str()),
                time: &time,
                datacontenttype: "application/json",
                data: data()?,
            })?,
        ),
    };
    Ok(Payload { content_type, body })
}

/// The vendor's word for what happened; where it has none, one in its style.
pub(super) fn callem_word(kinds: Kinds) -> &'static str {
    match kinds.first() {
        Some(Kind::Started) => "call_started",
        Some(Kind::Ended) => "call_ended",
        Some(Kind::Analyzed) => "call_analyzed",
        Some(Kind::Deleted) => "call_deleted",
        Some(Kind::SourceFailing) => "source_failing",
        Some(Kind::SourceRecovered) => "source_recovered",
        Some(Kind::SourceSilent) => "source_silent",
        Some(Kind::Updated) | None => "call_updated",
    }
}

/// The payload structure that <https://www.standardwebhooks.com> recommends.
#[derive(Serialize)]
struct Standard<'a> {
    r#type: &'a str,
    timestamp: &'a str,
    data: Data<'a>,
}

/// CloudEvents 1.0, structured mode: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'a str,
    id: &'a str,
    source: &'a str,
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    time: &'a str,
    datacontenttype: &'a str,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    source: &'a str,
    rule: &'a str,
    sequence: u64,
    kinds: Kinds,
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Cow<'a, Changes>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a RawValue>,
}

/// The shape of the vendor's own webhooks.
#[derive(Serialize)]
struct Callem<'a> {
    event: &'a str,
    timestamp: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a RawValue>,
}
