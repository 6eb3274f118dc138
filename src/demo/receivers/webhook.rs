//! A webhook receiver that checks signatures as <https://www.standardwebhooks.com> demands.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use ring::hmac;
use url::Url;

use super::{Inbox, Message, Misbehaviour, PendingMisbehaviour};
use crate::{
    demo::local::{LocalServer, Wire},
    time::Timestamp,
};

/// The secret of all webhooks in the demo, whatever the config says.
pub const DEMO_SECRET: &str = "whsec_Y2FsbHdhdGNoIGRlbW8sIG5vdCBhIHNlY3JldCE=";

/// How far a signed timestamp may differ from the clock.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// A webhook receiver on this machine. Clones share it, and it stops with the last one.
#[derive(Clone, Debug)]
pub struct WebhookReceiver {
    endpoint: Endpoint,
    server: Arc<LocalServer>,
}

#[derive(Clone, Debug)]
struct Endpoint {
    inbox: Inbox,
    misbehaviour: PendingMisbehaviour,
    keys: Arc<[Keys]>,
}

impl WebhookReceiver {
    /// Starts a receiver that accepts messages signed with one of these secrets (`whsec_` and base64). Without secrets it
    /// accepts everything.
    ///
    /// # Errors
    /// When the system grants no loopback port, or a secret is not base64.
    pub async fn start<S: AsRef<str>>(secrets: impl IntoIterator<Item = S>) -> io::Result<Self> {
        let keys = secrets.into_iter().map(|secret| Keys::of(secret.as_ref())).collect::<io::Result<_>>()?;
        let endpoint = Endpoint { inbox: Inbox::new(), misbehaviour: PendingMisbehaviour::default(), keys };
        let router = Router::new().fallback(receive).with_state(endpoint.clone());
        Ok(Self { endpoint, server: Arc::new(LocalServer::start(router).await?) })
    }

    /// The URL to POST to.
    pub fn url(&self) -> Url {
        self.server.url("/")
    }

    /// Whether it checks signatures.
    pub fn verifies(&self) -> bool {
        !self.endpoint.keys.is_empty()
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

/// The keys made from one secret.
#[derive(Debug)]
struct Keys {
    standard: hmac::Key,
    callem: hmac::Key,
}

impl Keys {
    fn of(secret: &str) -> io::Result<Self> {
        let encoded = secret.strip_prefix("whsec_").unwrap_or(secret).trim_end_matches('=');
        let bytes = STANDARD_NO_PAD.decode(encoded).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, "a webhook secret must be whsec_ and base64")
        })?;
        Ok(Self {
            standard: hmac::Key::new(hmac::HMAC_SHA256, &bytes),
            callem: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
        })
    }
}

async fn receive(
    State(endpoint): State<Endpoint>,
    ConnectInfo(wire): ConnectInfo<Wire>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let accept = || endpoint.accept(headers, body);
    endpoint.misbehaviour.answer(&wire, accept).await
}

impl Endpoint {
    fn accept(&self, headers: HeaderMap, body: Bytes) -> Response {
        if !self.keys.is_empty()
            && let Err(why) = verify(&headers, &body, &self.keys, self.inbox.now())
        {
            self.inbox.refuse(why.to_owned());
            return (StatusCode::UNAUTHORIZED, why).into_response();
        }
        let id = text(&headers, "webhook-id")
            .map_or_else(|| format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&body)), str::to_owned);
        self.inbox.accept(id, Message::Webhook { headers, body, verified: !self.keys.is_empty() });
        StatusCode::NO_CONTENT.into_response()
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Checks that one of the signatures was made with one of the keys, and recently.
fn verify(headers: &HeaderMap, body: &[u8], keys: &[Keys], now: Timestamp) -> Result<(), &'static str> {
    if let Some(signature) = text(headers, "x-callem-signature") {
        return verify_callem(signature, body, keys);
    }
    let id = text(headers, "webhook-id").ok_or("no webhook-id")?;
    let timestamp = text(headers, "webhook-timestamp").ok_or("no webhook-timestamp")?;
    let signatures = text(headers, "webhook-signature").ok_or("no webhook-signature")?;
    let signed_at = timestamp
        .parse()
        .ok()
        .and_then(|seconds: i64| seconds.checked_mul(1000))
        .map(Timestamp::from_millis)
        .ok_or("webhook-timestamp is not a number of seconds")?;
    if now.since(signed_at).max(signed_at.since(now)) > TOLERANCE {
        return Err("webhook-timestamp is too far from now");
    }
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    let right = |tag: &[u8]| keys.iter().any(|key| hmac::verify(&key.standard, &signed, tag).is_ok());
    let tags = signatures.split(' ').filter_map(|signature| signature.strip_prefix("v1,"));
    if tags.filter_map(|tag| STANDARD.decode(tag).ok()).any(|tag| right(&tag)) {
        Ok(())
    } else {
        Err("no signature is right")
    }
}

/// The vendor's own format: hexadecimal HMAC-SHA256 over the body, keyed with the bytes of the secret's text.
fn verify_callem(signature: &str, body: &[u8], keys: &[Keys]) -> Result<(), &'static str> {
    let hex = |tag: hmac::Tag| tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    if keys.iter().any(|key| hex(hmac::sign(&key.callem, body)) == signature) {
        Ok(())
    } else {
        Err("x-callem-signature is wrong")
    }
}
