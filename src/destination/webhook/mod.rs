//! Signed webhooks: <https://www.standardwebhooks.com>, the vendor's own shape, or CloudEvents.

mod config;
mod own_body;
mod payload;

use std::{borrow::Cow, collections::BTreeSet, fmt, time::Duration};

use async_trait::async_trait;
use base64::{
    Engine,
    alphabet::STANDARD as ALPHABET,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use reqwest::{
    Client, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION},
};
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout_at};

pub(super) use self::config::TYPE;
pub use self::config::{WebhookBody, WebhookConfig, WebhookFormat};
use self::{
    own_body::{NoBody, OwnBody},
    payload::{Payload, callem_word},
};
use super::{
    Answer, Destination, FieldFilter, Notification,
    address::{self, NotPublic},
    answer::{HIDDEN, retry_after},
    connection::in_words,
    message::Writer,
    secrets::FreshSecret,
};
use crate::{config::SecretError, http};

/// How much of a response is read, in bytes.
pub(super) const MAX_RESPONSE: usize = 64 * 1024;

/// A segment of a URL's path that is this long is taken for a secret.
const SECRET_IN_PATH: usize = 16;

/// Secrets are base64 with or without its padding.
const SECRET_BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// `type = "webhook"`
pub struct WebhookDestination {
    client: Client,
    url: Url,
    secrets: Vec<FreshSecret>,
    headers: Vec<(HeaderName, FreshSecret)>,
    shape: Shape,
    fields: FieldFilter,
    timeout: Duration,
    permanent: BTreeSet<u16>,
    public_only: bool,
}

/// The format of bodies and signatures.
#[derive(Debug)]
enum Shape {
    Standard,
    Callem,
    Cloudevents,
    Own(OwnBody),
}

/// Why a request could not be made. All but a failing template are mended by changing the config or a secret, so the
/// delivery is tried again.
#[derive(Debug, thiserror::Error)]
enum NotReady {
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Anybody could sign with an empty key.
    #[error("the secret is empty; nothing was sent")]
    Empty,
    #[error("the secret is not `whsec_` followed by base64; nothing was sent")]
    NotBase64,
    #[error("the value of the header {0} holds characters a header may not have; nothing was sent")]
    Header(HeaderName),
    #[error(transparent)]
    NotPublic(#[from] NotPublic),
    #[error("the event's id is damaged; nothing was sent")]
    Id,
    #[error("the event's record is damaged ({0}); nothing was sent")]
    Record(#[from] serde_json::Error),
    #[error("format = \"callem\" cannot tell several events as one; nothing was sent")]
    Several,
    #[error(transparent)]
    Body(#[from] NoBody),
}

/// A rendered and signed request, and the secrets in it, which are masked in the response.
struct Request {
    headers: HeaderMap,
    body: Vec<u8>,
    secrets: Vec<SecretString>,
}

#[async_trait]
impl Destination for WebhookDestination {
    async fn deliver(&self, notification: &Notification<'_>) -> Answer {
        let deadline = Instant::now() + self.timeout;
        match timeout_at(deadline, self.request(notification)).await {
            Ok(Ok(request)) => self.send(request, notification, deadline).await,
            // The template would fail in the same way at every attempt for this event.
            Ok(Err(NotReady::Body(error @ (NoBody::Template(_) | NoBody::NotJson(_))))) => {
                Answer::dead("nothing was sent", format!("{error}; correct it, then retry the delivery"))
            }
            Ok(Err(error)) => Answer::retry(error.to_string()),
            Err(_) => Answer::retry(http::timed_out(self.timeout)),
        }
    }

    fn longest_attempt(&self) -> Duration {
        self.timeout
    }
}

/// The body that would be sent, with the secrets in it masked.
pub(super) fn show(
    config: &WebhookConfig,
    fields: &FieldFilter,
    writer: &Writer,
    notification: &Notification<'_>,
) -> Result<String, serde_json::Error> {
    let payload = match &config.format {
        WebhookFormat::Standard => payload::standard(notification, fields)?,
        WebhookFormat::Cloudevents => payload::cloudevents(notification, fields)?,
        WebhookFormat::Callem => payload::callem(notification.event, fields)?,
        WebhookFormat::Own(body) => {
            let hidden = body.secrets.iter().map(|(name, _)| (name.as_str(), HIDDEN)).collect();
            let rendered = writer.write_body(notification, &body.template, &hidden)?;
            return Ok(rendered.unwrap_or_else(|error| NoBody::Template(error).to_string()));
        }
    };
    Ok(String::from_utf8_lossy(&payload.body).into_owned())
}

impl WebhookDestination {
    pub(super) fn new(
        config: &WebhookConfig,
        fields: FieldFilter,
        writer: Writer,
        timeout: Duration,
        client: Client,
    ) -> Self {
        Self {
            client,
            url: config.url.clone(),
            secrets: config.secrets.iter().cloned().map(FreshSecret::new).collect(),
            headers: config
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), FreshSecret::new(value.clone())))
                .collect(),
            shape: match &config.format {
                WebhookFormat::Standard => Shape::Standard,
                WebhookFormat::Callem => Shape::Callem,
                WebhookFormat::Cloudevents => Shape::Cloudevents,
                WebhookFormat::Own(body) => Shape::Own(OwnBody::new(body, writer)),
            },
            fields,
            timeout,
            permanent: config.permanent.clone(),
            public_only: config.connection.public_only,
        }
    }

    async fn request(&self, notification: &Notification<'_>) -> Result<Request, NotReady> {
        if self.public_only {
            address::vet(&self.url)?;
        }
        let mut secrets = vec![];
        for secret in &self.secrets {
            let secret = secret.read().await?;
            if secret.expose_secret().trim_start_matches("whsec_").is_empty() {
                return Err(NotReady::Empty);
            }
            secrets.push(secret);
        }
        let mut headers = HeaderMap::new();
        let (payload, in_body) = match &self.shape {
            Shape::Standard => (payload::standard(notification, &self.fields)?, vec![]),
            Shape::Cloudevents => (payload::cloudevents(notification, &self.fields)?, vec![]),
            Shape::Callem if notification.event.subject.batch().is_some() => return Err(NotReady::Several),
            Shape::Callem => (payload::callem(notification.event, &self.fields)?, vec![]),
            Shape::Own(body) => body.render(notification).await?,
        };
        let Payload { content_type, body } = payload;
        match &self.shape {
            Shape::Callem => sign_callem(&mut headers, notification, &body, secrets.first()),
            _ => sign_standard(&mut headers, notification, &body, &secrets)?,
        }
        secrets.extend(in_body);
        let id = HeaderValue::from_str(notification.event.id.as_str()).map_err(|_| NotReady::Id)?;
        headers.insert("webhook-id", id);
        headers.insert(CONTENT_TYPE, content_type);
        for (name, value) in &self.headers {
            let secret = value.read().await?;
            let mut value =
                HeaderValue::from_str(secret.expose_secret()).map_err(|_| NotReady::Header(name.clone()))?;
            value.set_sensitive(true);
            // An additional header never replaces one that the receiver verifies.
            if !headers.contains_key(name) {
                headers.insert(name, value);
            }
            secrets.push(secret);
        }
        Ok(Request { headers, body, secrets })
    }

    async fn send(&self, request: Request, notification: &Notification<'_>, deadline: Instant) -> Answer {
        let Request { headers, body, secrets } = request;
        let sending = self.client.post(self.url.clone()).headers(headers).body(body).send();
        let response = match timeout_at(deadline, sending).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Answer::retry(in_words(&error, self.timeout)),
            Err(_) => return Answer::retry(http::timed_out(self.timeout)),
        };
        let asked = retry_after(response.status(), response.headers(), notification.now);
        let answer = judge(&response, &self.permanent).after(asked);
        // The status alone decides; the body is only kept for people to read.
        match timeout_at(deadline, http::read_capped(response, MAX_RESPONSE)).await {
            Ok(Ok((body, _more))) => {
                let secrets = secrets.iter().map(|secret| secret.expose_secret());
                let masked = secrets.flat_map(spellings).chain(secrets_in_url(&self.url));
                let masked: Vec<_> = masked.collect();
                answer.with_response(&String::from_utf8_lossy(&body), masked.iter().map(|text| &**text))
            }
            Ok(Err(error)) => {
                let why = in_words(&error, self.timeout);
                Answer { result: format!("{}, but its body broke off: {why}", answer.result), ..answer }
            }
            Err(_) => {
                let why = http::timed_out(self.timeout);
                Answer { result: format!("{}, but its body {why}", answer.result), ..answer }
            }
        }
    }
}

/// Standard Webhooks, symmetric signatures: base64 of HMAC-SHA256 over `id.timestamp.body`, one per secret.
fn sign_standard(
    headers: &mut HeaderMap,
    notification: &Notification<'_>,
    body: &[u8],
    secrets: &[SecretString],
) -> Result<(), NotReady> {
    let timestamp = notification.now.as_secs().to_string();
    let mut signatures = vec![];
    for secret in secrets {
        let text = secret.expose_secret();
        let key = SECRET_BASE64
            .decode(text.strip_prefix("whsec_").unwrap_or(text))
            .map_err(|_| NotReady::NotBase64)?;
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &key));
        for part in [notification.event.id.as_str().as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            context.update(part);
        }
        signatures.push(format!("v1,{}", STANDARD.encode(context.sign())));
    }
    headers.insert("webhook-timestamp", header(&timestamp));
    if !signatures.is_empty() {
        headers.insert("webhook-signature", header(&signatures.join(" ")));
    }
    Ok(())
}

/// The vendor documents HMAC-SHA256 and no more. Receivers usually expect it in hexadecimal, over the body, with the
/// bytes of the secret's text as the key. There is room for one signature, so only the first secret signs.
fn sign_callem(
    headers: &mut HeaderMap,
    notification: &Notification<'_>,
    body: &[u8],
    secret: Option<&SecretString>,
) {
    headers.insert("x-callem-event", HeaderValue::from_static(callem_word(notification.event.kinds)));
    headers.insert("x-callem-timestamp", HeaderValue::from(notification.now.as_secs()));
    if let Some(secret) = secret {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        let mut hex = String::with_capacity(64);
        for byte in hmac::sign(&key, body).as_ref() {
            hex.push_str(&format!("{byte:02x}"));
        }
        headers.insert("x-callem-signature", header(&hex));
    }
}

#[expect(clippy::expect_used, reason = "numbers, base64 and hexadecimal are visible ASCII")]
fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("visible ASCII")
}

/// Classifies a response by its status. A receiver that refuses a delivery because of a bug will accept it once the bug
/// is mended, so every refusal is tried again, except 410 and the statuses that the config lists as `permanent`.
/// docs/delivery.md has the table.
fn judge(response: &reqwest::Response, permanent: &BTreeSet<u16>) -> Answer {
    let status = response.status();
    let result = status_line(status);
    if status.is_success() {
        Answer::delivered(result)
    } else if status == StatusCode::GONE {
        Answer::pause(result, "410 Gone: the receiver wants no more of this")
    } else if permanent.contains(&status.as_u16()) {
        let reason = format!("{result}, which `permanent` lists");
        Answer::dead(result, reason)
    } else if status.is_redirection() {
        let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let target = target.and_then(|target| response.url().join(target).ok());
        let target = target.map(|target| format!(" to {}", without_secrets(target))).unwrap_or_default();
        Answer::retry(format!("{result}: redirects{target} are not followed; set `url` to the final address"))
    } else {
        Answer::retry(result)
    }
}

/// A URL with everything masked that could be a secret.
fn without_secrets(url: Url) -> String {
    let shown = |part: &str| if part.len() < SECRET_IN_PATH { part.to_owned() } else { HIDDEN.to_owned() };
    let path: Vec<_> = url.path().split('/').map(shown).collect();
    let query = if url.query().is_some() { format!("?{HIDDEN}") } else { String::new() };
    format!("{}{}{query}", url.origin().ascii_serialization(), path.join("/"))
}

/// `200 OK`
pub(super) fn status_line(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

/// The spellings in which a receiver may echo a secret: whole, or without its prefix.
fn spellings(secret: &str) -> impl Iterator<Item = Cow<'_, str>> {
    [Some(secret), secret.strip_prefix("whsec_")].into_iter().flatten().map(Cow::Borrowed)
}

/// The parts of a URL that can be secrets: the password, the query, and long segments of the path.
pub(super) fn secrets_in_url(url: &Url) -> impl Iterator<Item = Cow<'_, str>> {
    let path = url.path().split('/').filter(|part| part.len() >= SECRET_IN_PATH);
    let parts = url.password().into_iter().chain(url.query()).chain(path).map(Cow::Borrowed);
    parts.chain(url.query_pairs().map(|(_, value)| value))
}

/// Shows the host and the format, and nothing that could be a secret.
impl fmt::Debug for WebhookDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookDestination")
            .field("host", &self.url.host_str())
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}
