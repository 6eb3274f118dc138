//! The bodies of webhooks in each format that callwatch defines. Pure.

use std::{borrow::Cow, collections::BTreeMap};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use reqwest::header::{HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    change::Changes,
    destination::{FieldFilter, Notification},
    event::Event,
    kind::{Kind, Kinds},
    name::Name,
    summary::{Reason, SENTIMENT, Summary},
};

/// The body of a request before it is signed.
pub(super) struct Payload {
    pub(super) content_type: HeaderValue,
    /// Headers that belong to the format.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Vec<u8>,
}

impl Payload {
    pub(super) fn new(content_type: HeaderValue, body: Vec<u8>) -> Self {
        Self { content_type, headers: vec![], body }
    }

    fn json(body: Vec<u8>) -> Self {
        Self::new(HeaderValue::from_static("application/json"), body)
    }
}

/// Renders `notification` as <https://www.standardwebhooks.com> recommends.
///
/// # Errors
/// When the event's record is not JSON, because the store is damaged.
pub(super) fn standard(
    notification: &Notification<'_>,
    fields: &FieldFilter,
) -> Result<Payload, serde_json::Error> {
    let event = notification.event;
    let several = several(event)?;
    let body = serde_json::to_vec(&Standard {
        r#type: &event.type_name(),
        timestamp: &event.at.to_string(),
        data: Data::of(notification, several.as_ref(), fields)?,
    })?;
    Ok(Payload::json(body))
}

/// Renders `notification` as CloudEvents 1.0, structured mode.
///
/// # Errors
/// As [`standard`].
pub(super) fn cloudevents(
    notification: &Notification<'_>,
    fields: &FieldFilter,
) -> Result<Payload, serde_json::Error> {
    let event = notification.event;
    let several = several(event)?;
    let source = cloud_source(event);
    let body = serde_json::to_vec(&CloudEvent {
        specversion: "1.0",
        id: event.id.as_str(),
        source: &source,
        r#type: &event.type_name(),
        subject: event.subject.call().map(|call| call.as_str()),
        time: &event.at.to_string(),
        datacontenttype: "application/json",
        data: Data::of(notification, several.as_ref(), fields)?,
    })?;
    Ok(Payload::new(HeaderValue::from_static("application/cloudevents+json"), body))
}

/// Renders `notification` as CloudEvents 1.0, binary mode: the attributes are headers, and the body is the data alone
/// (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>).
///
/// # Errors
/// As [`standard`].
pub(super) fn cloudevents_binary(
    notification: &Notification<'_>,
    fields: &FieldFilter,
) -> Result<Payload, serde_json::Error> {
    let event = notification.event;
    let several = several(event)?;
    let body = serde_json::to_vec(&Data::of(notification, several.as_ref(), fields)?)?;
    let (source, r#type, time) = (cloud_source(event), event.type_name(), event.at.to_string());
    let attributes = [
        ("ce-specversion", Some("1.0")),
        ("ce-id", Some(event.id.as_str())),
        ("ce-source", Some(&source)),
        ("ce-type", Some(&r#type)),
        ("ce-subject", event.subject.call().map(|call| call.as_str())),
        ("ce-time", Some(&time)),
    ];
    let header = |(name, value): (&'static str, Option<&str>)| {
        let encoded = utf8_percent_encode(value?, NOT_IN_HEADERS).to_string();
        // Nothing but visible ASCII is left.
        Some((HeaderName::from_static(name), HeaderValue::from_str(&encoded).ok()?))
    };
    Ok(Payload { headers: attributes.into_iter().filter_map(header).collect(), ..Payload::json(body) })
}

/// The characters that are percent-encoded in the headers of CloudEvents, besides those beyond ASCII (section 3.1.3.2 of the
/// binding).
const NOT_IN_HEADERS: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

fn cloud_source(event: &Event) -> String {
    event.subject.source().map_or("/callwatch".to_owned(), |source| format!("/callwatch/{source}"))
}

/// Renders a single event in the shape of the vendor's own webhooks.
///
/// # Errors
/// As [`standard`].
pub(super) fn callem(event: &Event, fields: &FieldFilter) -> Result<Payload, serde_json::Error> {
    let Content { call, details, .. } = Content::of(event, fields)?;
    let time = event.at.to_string();
    let word = callem_word(event.kinds);
    let body = serde_json::to_vec(&Callem { event: word, timestamp: &time, call, details })?;
    Ok(Payload::json(body))
}

/// The summary that `event` carries when it stands for several, and the events that are listed in it.
fn several(event: &Event) -> Result<Option<(Summary, Vec<Event>)>, serde_json::Error> {
    Ok(Summary::of(event)?.map(|summary| {
        let events = summary.items.clone();
        (summary, events)
    }))
}

/// The vendor's word for the kind of change, or one in its style where it has none.
pub(super) fn callem_word(kinds: Kinds) -> &'static str {
    match kinds.first() {
        Some(Kind::Started) => "call_started",
        Some(Kind::Ended) => "call_ended",
        Some(Kind::Analyzed) => "call_analyzed",
        Some(Kind::Deleted) => "call_deleted",
        Some(Kind::SourceFailing) => "source_failing",
        Some(Kind::SourceRecovered) => "source_recovered",
        Some(Kind::SourceSilent) => "source_silent",
        Some(Kind::DestinationFailing) => "destination_failing",
        Some(Kind::DestinationRecovered) => "destination_recovered",
        Some(Kind::DeliveryDead) => "delivery_dead",
        Some(Kind::RuleFailing) => "rule_failing",
        Some(Kind::ConfigRejected) => "config_rejected",
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
#[serde(untagged)]
enum Data<'a> {
    One {
        source: &'a str,
        rule: &'a str,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        also: &'a [Name],
        sequence: u64,
        #[serde(flatten)]
        told: Content<'a>,
    },
    Several {
        #[serde(skip_serializing_if = "Option::is_none")]
        rule: Option<&'a str>,
        reason: Reason,
        count: u64,
        since: String,
        totals: Totals<'a>,
        sequence: u64,
        events: Vec<Member<'a>>,
    },
}

/// The part of a payload that says what happened.
#[derive(Serialize)]
struct Content<'a> {
    kinds: Kinds,
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Cow<'a, Changes>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<Cow<'a, RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Cow<'a, RawValue>>,
}

#[derive(Serialize)]
struct Totals<'a> {
    rules: &'a BTreeMap<Name, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sentiments: Option<&'a BTreeMap<String, u64>>,
}

/// One of several events.
#[derive(Serialize)]
struct Member<'a> {
    id: &'a str,
    r#type: String,
    timestamp: String,
    source: &'a str,
    rule: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    also: &'a [Name],
    #[serde(flatten)]
    told: Content<'a>,
}

impl<'a> Data<'a> {
    fn of(
        notification: &Notification<'a>,
        several: Option<&'a (Summary, Vec<Event>)>,
        fields: &FieldFilter,
    ) -> Result<Self, serde_json::Error> {
        let (event, sequence) = (notification.event, notification.sequence);
        let Some((summary, events)) = several else {
            let (source, rule) = (source(event), event.rule.as_str());
            return Ok(Self::One {
                source,
                rule,
                also: &event.also,
                sequence,
                told: Content::of(event, fields)?,
            });
        };
        let member = |event: &'a Event| {
            Ok(Member {
                id: event.id.as_str(),
                r#type: event.type_name(),
                timestamp: event.at.to_string(),
                source: source(event),
                rule: event.rule.as_str(),
                also: &event.also,
                told: Content::of(event, fields)?,
            })
        };
        Ok(Self::Several {
            rule: summary.only_rule().map(Name::as_str),
            reason: summary.reason,
            count: summary.count,
            since: summary.since.to_string(),
            totals: Totals {
                rules: &summary.rules,
                sentiments: fields.shows(SENTIMENT).then_some(&summary.sentiments),
            },
            sequence,
            events: events.iter().map(member).collect::<Result<_, serde_json::Error>>()?,
        })
    }
}

/// The source an event belongs to; empty when it belongs to none.
fn source(event: &Event) -> &str {
    event.subject.source().map_or("", Name::as_str)
}

impl<'a> Content<'a> {
    fn of(event: &'a Event, fields: &FieldFilter) -> Result<Self, serde_json::Error> {
        let record = fields.record(&event.record)?;
        let (changes, call, details) = match event.subject.call() {
            Some(_) => (Some(fields.changes(&event.changes)?), Some(record), None),
            None => (None, None, Some(record)),
        };
        Ok(Self { kinds: event.kinds, changes, call, details })
    }
}

/// The shape of the vendor's own webhooks.
#[derive(Serialize)]
struct Callem<'a> {
    event: &'a str,
    timestamp: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<Cow<'a, RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Cow<'a, RawValue>>,
}
