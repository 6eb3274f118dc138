//! An incoming webhook like Slack's. It checks the shape and the limits of messages and answers in Slack's words.

use std::{io, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::Value;
use url::Url;

use super::{Inbox, Message, Misbehaviour, PendingMisbehaviour};
use crate::demo::local::{LocalServer, Wire};

/// A Slack incoming webhook on this machine. Clones share it, and it stops with the last one.
#[derive(Clone, Debug)]
pub struct SlackReceiver {
    endpoint: Endpoint,
    server: Arc<LocalServer>,
}

#[derive(Clone, Debug)]
struct Endpoint {
    inbox: Inbox,
    misbehaviour: PendingMisbehaviour,
}

impl SlackReceiver {
    /// Starts a receiver.
    ///
    /// # Errors
    /// When the system grants no loopback port.
    pub async fn start() -> io::Result<Self> {
        let endpoint = Endpoint { inbox: Inbox::new(), misbehaviour: PendingMisbehaviour::default() };
        let router = Router::new().route(PATH, post(receive)).with_state(endpoint.clone());
        Ok(Self { endpoint, server: Arc::new(LocalServer::start(router).await?) })
    }

    /// The `webhook_url` of a destination that is to reach it.
    pub fn url(&self) -> Url {
        self.server.url(PATH)
    }

    /// The messages that were accepted.
    pub fn inbox(&self) -> &Inbox {
        &self.endpoint.inbox
    }

    /// Misbehaves at `n` more requests, after the misbehaviour that is already pending.
    pub fn misbehave(&self, n: u64, misbehaviour: Misbehaviour) {
        self.endpoint.misbehaviour.add(n, misbehaviour);
    }

    /// Whether no misbehaviour is pending.
    pub fn is_behaving(&self) -> bool {
        self.endpoint.misbehaviour.is_empty()
    }

    /// Drops all pending misbehaviour.
    pub fn behave(&self) {
        self.endpoint.misbehaviour.clear();
    }
}

/// A path as long as that of a real webhook.
const PATH: &str = "/services/T00000000/B00000000/demo";

async fn receive(
    State(endpoint): State<Endpoint>,
    ConnectInfo(wire): ConnectInfo<Wire>,
    body: Bytes,
) -> Response {
    let accept = || match serde_json::from_slice(&body).map_err(|_| "invalid_payload").and_then(checked) {
        Ok(message) => {
            let id = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&body));
            endpoint.inbox.accept(id, Message::Slack(message));
            "ok".into_response()
        }
        Err(word) => {
            endpoint.inbox.refuse(word.to_owned());
            (StatusCode::BAD_REQUEST, word).into_response()
        }
    };
    endpoint.misbehaviour.answer(&wire, accept).await
}

/// The message if Slack would accept it, or else Slack's error code.
///
/// Limits: <https://docs.slack.dev/reference/block-kit/blocks>, <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>
fn checked(message: Value) -> Result<Value, &'static str> {
    let text = message["text"].as_str().unwrap_or_default();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let blocks = list(&message["blocks"]);
    let attachments = list(&message["attachments"]);
    if text.is_empty() && blocks.is_empty() && attachments.is_empty() {
        return Err("no_text");
    }
    if text.chars().count() > 40_000 {
        return Err("msg_too_long");
    }
    let attached = attachments.iter().map(|attachment| list(&attachment["blocks"]));
    for blocks in attached.chain([blocks]) {
        if blocks.len() > 50 || !blocks.iter().all(is_block) {
            return Err("invalid_blocks");
        }
    }
    Ok(message)
}

fn is_block(block: &Value) -> bool {
    let elements = |most: usize| {
        block["elements"].as_array().is_some_and(|elements| (1..=most).contains(&elements.len()))
    };
    match block["type"].as_str() {
        Some("header") => is_text(&block["text"], 150) && block["text"]["type"] == "plain_text",
        Some("section") => {
            let text = block.get("text");
            let fields = block.get("fields").and_then(Value::as_array);
            (text.is_some() || fields.is_some())
                && text.is_none_or(|text| is_text(text, 3000))
                && fields.is_none_or(|fields| {
                    (1..=10).contains(&fields.len()) && fields.iter().all(|field| is_text(field, 2000))
                })
        }
        Some("context") => elements(10),
        Some("actions") => elements(25),
        Some("divider" | "image" | "rich_text") => true,
        _ => false,
    }
}

/// A text object of 1 to `most` characters.
fn is_text(object: &Value, most: usize) -> bool {
    matches!(object["type"].as_str(), Some("plain_text" | "mrkdwn"))
        && object["text"].as_str().is_some_and(|text| (1..=most).contains(&text.chars().count()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn section(length: usize) -> Value {
        json!({ "type": "section", "text": { "type": "mrkdwn", "text": "x".repeat(length) } })
    }

    #[test]
    fn messages_within_the_limits_are_taken() {
        let field = json!({ "type": "mrkdwn", "text": "*Duration*\n2m 25s" });
        let header = json!({ "type": "header", "text": { "type": "plain_text", "text": "x".repeat(150) } });
        let blocks = json!([
            header,
            section(3000),
            { "type": "section", "fields": vec![field; 10] },
            { "type": "divider" },
            { "type": "context", "elements": [{ "type": "mrkdwn", "text": "clinic" }] },
        ]);
        for message in [
            json!({ "text": "hello" }),
            json!({ "text": "hello", "blocks": blocks }),
            json!({ "attachments": [{ "color": "#cc0000", "blocks": blocks }] }),
        ] {
            assert!(checked(message.clone()).is_ok(), "{message}");
        }
    }

    #[test]
    fn messages_beyond_the_limits_are_refused_in_slacks_words() {
        let header = json!({ "type": "header", "text": { "type": "plain_text", "text": "x".repeat(151) } });
        for (message, word) in [
            (json!({}), "no_text"),
            (json!({ "text": "" }), "no_text"),
            (json!({ "text": "x".repeat(40_001) }), "msg_too_long"),
            (json!({ "text": "x", "blocks": vec![section(1); 51] }), "invalid_blocks"),
            (json!({ "text": "x", "blocks": [section(3001)] }), "invalid_blocks"),
            (json!({ "text": "x", "blocks": [section(0)] }), "invalid_blocks"),
            (json!({ "text": "x", "blocks": [header] }), "invalid_blocks"),
            (json!({ "text": "x", "blocks": [{ "type": "section" }] }), "invalid_blocks"),
            (json!({ "text": "x", "blocks": [{ "type": "context", "elements": [] }] }), "invalid_blocks"),
            (json!({ "text": "x", "blocks": [{ "type": "poem" }] }), "invalid_blocks"),
            (json!({ "attachments": [{ "blocks": [section(3001)] }] }), "invalid_blocks"),
        ] {
            assert_eq!(checked(message.clone()), Err(word), "{message}");
        }
    }
}
