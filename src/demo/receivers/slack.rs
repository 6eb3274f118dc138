//! Slack as an app sees it: an incoming webhook, and the two methods of the API that post and edit. It checks the shape and
//! the limits of messages and answers in Slack's words.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{ConnectInfo, Path, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};
use url::Url;

use super::{Inbox, Message, Misbehaviour, PendingMisbehaviour};
use crate::demo::local::{LocalServer, Wire};

/// A Slack workspace with one channel on this machine. Clones share it, and it stops with the last one.
#[derive(Clone, Debug)]
pub struct SlackReceiver {
    endpoint: Endpoint,
    server: Arc<LocalServer>,
}

#[derive(Clone, Debug)]
struct Endpoint {
    inbox: Inbox,
    misbehaviour: PendingMisbehaviour,
    channel: Arc<Mutex<Vec<InChannel>>>,
}

/// A message as it stands in the channel now.
#[derive(Clone, Debug)]
pub struct InChannel {
    /// Its time, which is its id.
    pub ts: String,
    /// The time of the message that it is a reply to.
    pub thread: Option<String>,
    /// The message as it was posted, or last edited.
    pub message: Value,
    /// How often it was edited.
    pub edits: u32,
    /// The id by which a repeated post is known.
    client_msg_id: Option<String>,
}

impl SlackReceiver {
    /// Starts a receiver.
    ///
    /// # Errors
    /// When the system grants no loopback port.
    pub async fn start() -> io::Result<Self> {
        let endpoint = Endpoint {
            inbox: Inbox::new(),
            misbehaviour: PendingMisbehaviour::default(),
            channel: Arc::default(),
        };
        let router = Router::new()
            .route(PATH, post(receive))
            .route("/api/{method}", post(called))
            .with_state(endpoint.clone());
        Ok(Self { endpoint, server: Arc::new(LocalServer::start(router).await?) })
    }

    /// The `webhook_url` of a destination that is to reach it.
    pub fn url(&self) -> Url {
        self.server.url(PATH)
    }

    /// The `api_url` of a destination with a token.
    pub fn api_url(&self) -> Url {
        self.server.url("/api/")
    }

    /// A token that it takes. Each receiver has another, because what may be done with a token is limited.
    pub fn token(&self) -> String {
        format!("xoxb-{}", self.server.url("/").port().unwrap_or_default())
    }

    /// The messages that were posted with a token, as they stand now.
    pub fn channel(&self) -> Vec<InChannel> {
        self.endpoint.channel.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The messages that were accepted; an edit counts as one.
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

/// The id of the only channel, whatever name it is asked for by.
const CHANNEL: &str = "C0DEMO";

async fn receive(
    State(endpoint): State<Endpoint>,
    ConnectInfo(wire): ConnectInfo<Wire>,
    body: Bytes,
) -> Response {
    let accept = || match serde_json::from_slice(&body).map_err(|_| "invalid_payload").and_then(checked) {
        Ok(message) => {
            endpoint.accept(&body, message);
            "ok".into_response()
        }
        Err(word) => {
            endpoint.inbox.refuse(word.to_owned());
            (StatusCode::BAD_REQUEST, word).into_response()
        }
    };
    endpoint.misbehaviour.answer(&wire, accept).await
}

/// A method of the API, with a bot token.
async fn called(
    State(endpoint): State<Endpoint>,
    ConnectInfo(wire): ConnectInfo<Wire>,
    Path(method): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let act = |message| match method.as_str() {
        "chat.postMessage" => endpoint.post(&body, message),
        "chat.update" => endpoint.edit(&body, message),
        _ => Err("unknown_method"),
    };
    let accept = || endpoint.answer(authorized(&headers, &body).and_then(act));
    endpoint.misbehaviour.answer(&wire, accept).await
}

/// The message of a request with a bot token, or Slack's error code.
fn authorized(headers: &HeaderMap, body: &Bytes) -> Result<Value, &'static str> {
    let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or("not_authed")?;
    token.strip_prefix("Bearer xoxb-").ok_or("invalid_auth")?;
    serde_json::from_slice(body).map_err(|_| "invalid_arguments").and_then(checked)
}

impl Endpoint {
    fn accept(&self, body: &Bytes, message: Value) {
        let id = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(body));
        self.inbox.accept(id, Message::Slack(message));
    }

    /// Slack's answer: the time of the message, or an error code.
    fn answer(&self, done: Result<String, &'static str>) -> Response {
        Json(match done {
            Ok(ts) => json!({ "ok": true, "channel": CHANNEL, "ts": ts }),
            Err(word) => {
                self.inbox.refuse(word.to_owned());
                json!({ "ok": false, "error": word })
            }
        })
        .into_response()
    }

    fn post(&self, body: &Bytes, message: Value) -> Result<String, &'static str> {
        let text = |name: &str| message[name].as_str().map(str::to_owned);
        text("channel").ok_or("channel_not_found")?;
        let mut channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        let client_msg_id = text("client_msg_id");
        // Slack shows a message that it knows only once.
        let known = channel.iter().find(|it| client_msg_id.is_some() && it.client_msg_id == client_msg_id);
        if let Some(known) = known {
            return Ok(known.ts.clone());
        }
        let thread = text("thread_ts");
        if thread.as_ref().is_some_and(|thread| !channel.iter().any(|it| it.ts == *thread)) {
            return Err("thread_not_found");
        }
        let ts = format!("1765800000.{:06}", channel.len() + 1);
        channel.push(InChannel { ts: ts.clone(), thread, message: message.clone(), edits: 0, client_msg_id });
        drop(channel);
        self.accept(body, message);
        Ok(ts)
    }

    fn edit(&self, body: &Bytes, message: Value) -> Result<String, &'static str> {
        // An edit takes no name, and less text than a post.
        if message["channel"] != CHANNEL {
            return Err("channel_not_found");
        }
        if message["text"].as_str().is_some_and(|text| text.len() > 4000) {
            return Err("msg_too_long");
        }
        let mut channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        let edited = channel.iter_mut().find(|it| message["ts"] == *it.ts).ok_or("message_not_found")?;
        edited.message = message.clone();
        edited.edits += 1;
        let ts = edited.ts.clone();
        drop(channel);
        self.accept(body, message);
        Ok(ts)
    }
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
    // Documented nowhere: slackapi/bolt-js issue 2509.
    if message["blocks"].to_string().chars().count() > 13_297 {
        return Err("msg_blocks_too_long");
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
