//! Signed webhooks: <https://www.standardwebhooks.com>, the vendor's own shape, or CloudEvents.

mod config;
mod handshake;
mod own_body;
mod payload;
mod signing;

use std::{borrow::Cow, collections::BTreeSet, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use regex::Regex;
use reqwest::{
    Client, Method, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, ORIGIN},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout_at};

pub(super) use self::config::TYPE;
pub use self::config::{WebhookAuth, WebhookBody, WebhookConfig, WebhookFormat, WebhookUrl};
use self::{
    handshake::Handshake,
    own_body::{NoBody, OwnBody},
    payload::Payload,
    signing::{sign_callem, sign_standard},
};
use super::{
    Answer, Destination, FieldFilter, Notification, Reaction, Turn,
    address::{self, NotPublic},
    answer::{retry_after, status_line},
    connection::in_words,
    exchange::MAX_RESPONSE,
    message::Writer,
    rendering::{NotRendered, Renderer},
    secrets::{FreshSecret, SECRET_IN_PATH, secrets_in_url},
};
use crate::{
    config::{SecretError, is_loopback},
    http,
    privacy::{HIDDEN, Mask},
};

/// `type = "webhook"`
pub struct WebhookDestination {
    client: Client,
    url: Address,
    method: Method,
    auth: Option<Auth>,
    secrets: Vec<FreshSecret>,
    headers: Vec<(HeaderName, FreshSecret)>,
    shape: Shape,
    fields: Arc<FieldFilter>,
    renderer: Renderer,
    timeout: Duration,
    success: Option<Regex>,
    permanent: BTreeSet<u16>,
    public_only: bool,
    /// Asks the receiver before anything is sent to it.
    handshake: Option<Handshake>,
}

/// Where the requests go.
enum Address {
    Plain(Url),
    Secret(FreshSecret),
}

/// The proof of who sends them.
enum Auth {
    Bearer(FreshSecret),
    Basic { user: String, password: FreshSecret },
}

/// The format of bodies and signatures.
#[derive(Debug)]
enum Shape {
    Standard,
    Callem,
    Cloudevents,
    CloudeventsBinary,
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
    #[error("the secret is not `whsk_` followed by an Ed25519 key in base64; nothing was sent")]
    NotEd25519,
    #[error("`url` is not an https address; nothing was sent")]
    Url,
    #[error("the value of the header {0} holds characters a header may not have; nothing was sent")]
    Header(HeaderName),
    #[error(transparent)]
    NotRendered(#[from] NotRendered),
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

/// A rendered and signed request.
struct Request {
    url: Url,
    headers: HeaderMap,
    /// Those of them that say who sends.
    of_sender: HeaderMap,
    body: Vec<u8>,
}

#[async_trait]
impl Destination for WebhookDestination {
    async fn deliver(&self, notification: &Notification<'_>) -> Answer {
        let mut secrets = vec![];
        let answer = self.attempt(notification, &mut secrets).await;
        let secrets = || secrets.iter().map(|secret| secret.expose_secret());
        // An address that is a secret is one in each of its parts, too.
        let urls: Vec<_> = match &self.url {
            Address::Plain(url) => vec![url.clone()],
            Address::Secret(_) => secrets().filter_map(|secret| Url::parse(secret.trim()).ok()).collect(),
        };
        answer.clean(&Mask::of(secrets().flat_map(spellings).chain(urls.iter().flat_map(secrets_in_url))))
    }

    fn turn(&self, _notification: &Notification<'_>) -> Turn {
        let wait = self.handshake.as_ref().and_then(|handshake| handshake.wait(Instant::now()));
        wait.map_or(Turn::Now, Turn::In)
    }

    fn longest_attempt(&self) -> Duration {
        self.timeout
    }
}

/// The request that carries a body: its method, its host and the names of its headers.
pub(super) fn carried_by(config: &WebhookConfig) -> String {
    let to = match &config.url {
        WebhookUrl::Plain(url) => url.origin().ascii_serialization(),
        WebhookUrl::Secret(_) => "an address that is a secret".to_owned(),
    };
    let mut headers = vec!["content-type", "webhook-id"];
    match config.format {
        WebhookFormat::Callem => {
            headers.extend(["x-callem-event", "x-callem-timestamp"]);
            headers.extend((!config.secrets.is_empty()).then_some("x-callem-signature"));
        }
        _ => {
            headers.push("webhook-timestamp");
            headers.extend((!config.secrets.is_empty()).then_some("webhook-signature"));
        }
    }
    if matches!(config.format, WebhookFormat::CloudeventsBinary) {
        headers.push("those of its event, ce-…");
    }
    headers.extend(config.auth.is_some().then_some("authorization"));
    headers.extend(config.headers.iter().map(|(name, _)| name.as_str()));
    format!("a {} to {to}, with the headers {}", config.method, headers.join(", "))
}

/// The body that would be sent, with the secrets in it masked, and remarks about the message in it.
pub(super) fn show(
    config: &WebhookConfig,
    fields: &FieldFilter,
    writer: &Writer,
    notification: &Notification<'_>,
) -> Result<(String, Vec<String>), serde_json::Error> {
    let payload = match &config.format {
        WebhookFormat::Standard => payload::standard(notification, fields)?,
        WebhookFormat::Cloudevents => payload::cloudevents(notification, fields)?,
        WebhookFormat::CloudeventsBinary => payload::cloudevents_binary(notification, fields)?,
        WebhookFormat::Callem => payload::callem(notification.event, fields)?,
        WebhookFormat::Own(body) => {
            let hidden = body.secrets.iter().map(|(name, _)| (name.as_str(), HIDDEN)).collect();
            let (rendered, notes) = writer.write_body(notification, &body.template, &hidden)?;
            return Ok((rendered.unwrap_or_else(|error| NoBody::Template(error).to_string()), notes));
        }
    };
    Ok((String::from_utf8_lossy(&payload.body).into_owned(), vec![]))
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
            url: match &config.url {
                WebhookUrl::Plain(url) => Address::Plain(url.clone()),
                WebhookUrl::Secret(secret) => Address::Secret(FreshSecret::new(secret.clone())),
            },
            method: config.method.clone(),
            auth: config.auth.as_ref().map(|auth| match auth {
                WebhookAuth::Bearer(token) => Auth::Bearer(FreshSecret::new(token.clone())),
                WebhookAuth::Basic { user, password } => {
                    Auth::Basic { user: user.clone(), password: FreshSecret::new(password.clone()) }
                }
            }),
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
                WebhookFormat::CloudeventsBinary => Shape::CloudeventsBinary,
                WebhookFormat::Own(body) => Shape::Own(OwnBody::new(body, Arc::new(writer))),
            },
            fields: Arc::new(fields),
            renderer: Renderer::new(),
            timeout,
            success: config.success.clone(),
            permanent: config.permanent.clone(),
            public_only: config.connection.public_only,
            handshake: config.handshake.clone().map(Handshake::new),
        }
    }

    /// Tries once. Adds the secrets that the request may hold to `secrets`.
    async fn attempt(&self, notification: &Notification<'_>, secrets: &mut Vec<SecretString>) -> Answer {
        let deadline = Instant::now() + self.timeout;
        match timeout_at(deadline, self.request(notification, secrets, deadline)).await {
            Ok(Ok(request)) => self.ask_and_send(request, notification, deadline).await,
            // The template would fail in the same way at every attempt for this event.
            Ok(Err(NotReady::Body(error @ (NoBody::Template(_) | NoBody::NotJson(_))))) => {
                Answer::dead("nothing was sent", format!("{error}; correct it, then retry the delivery"))
            }
            Ok(Err(error)) => Answer::retry(error.to_string()),
            Err(_) => Answer::retry(http::timed_out(self.timeout)),
        }
    }

    async fn request(
        &self,
        notification: &Notification<'_>,
        secrets: &mut Vec<SecretString>,
        deadline: Instant,
    ) -> Result<Request, NotReady> {
        let url = match &self.url {
            Address::Plain(url) => url.clone(),
            Address::Secret(secret) => {
                let secret = secret.read().await?;
                secrets.push(secret.clone());
                let url = Url::parse(secret.expose_secret().trim()).map_err(|_| NotReady::Url)?;
                // As in the config: calls travel in the clear within this machine only.
                let is_safe = url.scheme() == "https" || url.scheme() == "http" && is_loopback(url.host());
                Some(url).filter(|_| is_safe).ok_or(NotReady::Url)?
            }
        };
        if self.public_only {
            address::vet(&url)?;
        }
        let mut signing = vec![];
        for secret in &self.secrets {
            let secret = secret.read().await?;
            secrets.push(secret.clone());
            if secret.expose_secret().trim_start_matches("whsec_").trim_start_matches("whsk_").is_empty() {
                return Err(NotReady::Empty);
            }
            signing.push(secret);
        }
        let mut headers = HeaderMap::new();
        let payload = self.payload(notification, secrets, deadline).await?;
        let Payload { content_type, headers: of_format, body } = payload;
        headers.extend(of_format);
        match &self.shape {
            Shape::Callem => sign_callem(&mut headers, notification, &body, signing.first()),
            _ => sign_standard(&mut headers, notification, &body, &signing)?,
        }
        let id = HeaderValue::from_str(notification.event.id.as_str()).map_err(|_| NotReady::Id)?;
        headers.insert("webhook-id", id);
        headers.insert(CONTENT_TYPE, content_type);
        let mut of_sender = HeaderMap::new();
        if let Some(auth) = &self.auth {
            of_sender.insert(AUTHORIZATION, auth.header(secrets).await?);
        }
        for (name, value) in &self.headers {
            let secret = value.read().await?;
            secrets.push(secret.clone());
            let mut value =
                HeaderValue::from_str(secret.expose_secret()).map_err(|_| NotReady::Header(name.clone()))?;
            value.set_sensitive(true);
            // An additional header never replaces one that the receiver verifies.
            if !headers.contains_key(name) && !of_sender.contains_key(name) {
                of_sender.insert(name, value);
            }
        }
        headers.extend(of_sender.clone());
        Ok(Request { url, headers, of_sender, body })
    }

    async fn payload(
        &self,
        notification: &Notification<'_>,
        secrets: &mut Vec<SecretString>,
        deadline: Instant,
    ) -> Result<Payload, NotReady> {
        type Render = fn(&Notification<'_>, &FieldFilter) -> Result<Payload, serde_json::Error>;
        let render: Render = match &self.shape {
            Shape::Standard => payload::standard,
            Shape::Cloudevents => payload::cloudevents,
            Shape::CloudeventsBinary => payload::cloudevents_binary,
            Shape::Callem if notification.event.subject.batch().is_some() => return Err(NotReady::Several),
            Shape::Callem => |notification, fields| payload::callem(notification.event, fields),
            Shape::Own(body) => {
                return Ok(body.render(notification, secrets, &self.renderer, deadline).await?);
            }
        };
        if notification.is_small() {
            return Ok(render(notification, &self.fields)?);
        }
        let (owned, fields) = (notification.owned(), Arc::clone(&self.fields));
        Ok(self.renderer.run(deadline, move || render(&owned.borrowed(), &fields)).await??)
    }

    /// Sends, after asking where that is wanted. When it did not arrive, the receiver is asked anew before the next attempt.
    async fn ask_and_send(
        &self,
        request: Request,
        notification: &Notification<'_>,
        deadline: Instant,
    ) -> Answer {
        let Some(handshake) = &self.handshake else {
            return self.send(request, notification, deadline).await;
        };
        let of_sender = request.of_sender.clone();
        if let Err(why) = handshake.ask(&self.client, &request.url, of_sender, deadline, self.timeout).await {
            return Answer::retry(why);
        }
        let mut request = request;
        request.headers.insert(ORIGIN, handshake.origin());
        let answer = self.send(request, notification, deadline).await;
        if answer.reaction != Reaction::Delivered {
            handshake.doubt();
        }
        answer
    }

    async fn send(&self, request: Request, notification: &Notification<'_>, deadline: Instant) -> Answer {
        let Request { url, headers, of_sender: _, body } = request;
        let sending = self.client.request(self.method.clone(), url).headers(headers).body(body).send();
        let response = match timeout_at(deadline, sending).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Answer::retry(in_words(&error, self.timeout)),
            Err(_) => return Answer::retry(http::timed_out(self.timeout)),
        };
        let asked = retry_after(response.status(), response.headers(), notification.now);
        let answer = judge(&response, &self.permanent).after(asked);
        let success = self.success.as_ref().filter(|_| answer.reaction == Reaction::Delivered);
        // Without `success` the status alone decides, and the body is only kept for people to read.
        let broken = match timeout_at(deadline, http::read_capped(response, MAX_RESPONSE)).await {
            Ok(Ok((body, _more))) => {
                let body = String::from_utf8_lossy(&body);
                let answer = match success {
                    Some(success) if !success.is_match(&body) => Answer::retry(format!(
                        "{}, but the answer does not hold what `success` asks for",
                        answer.result
                    )),
                    _ => answer,
                };
                return answer.with_response(body);
            }
            Ok(Err(error)) => format!("broke off: {}", in_words(&error, self.timeout)),
            Err(_) => http::timed_out(self.timeout),
        };
        let result = format!("{}, but its body {broken}", answer.result);
        if success.is_some() { Answer::retry(result) } else { Answer { result, ..answer } }
    }
}

impl Auth {
    /// The `authorization` header. Adds the secrets in it to `secrets`.
    async fn header(&self, secrets: &mut Vec<SecretString>) -> Result<HeaderValue, NotReady> {
        let text = match self {
            Self::Bearer(token) => {
                let token = token.read().await?;
                secrets.push(token.clone());
                format!("Bearer {}", token.expose_secret())
            }
            Self::Basic { user, password } => {
                let password = password.read().await?;
                let encoded = STANDARD.encode(format!("{user}:{}", password.expose_secret()));
                secrets.extend([password, encoded.clone().into()]);
                format!("Basic {encoded}")
            }
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| NotReady::Header(AUTHORIZATION))?;
        value.set_sensitive(true);
        Ok(value)
    }
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
        let target = target.map(|target| format!(" to {}", without_secrets(&target, response.url())));
        let target = target.unwrap_or_default();
        Answer::retry(format!("{result}: redirects{target} are not followed; set `url` to the final address"))
    } else {
        Answer::retry(result)
    }
}

/// The address that a receiver redirects to. Of its path, only what `own`, the address in the config, has as well is
/// shown, and nothing that could be a secret: the receiver may have put anything there.
fn without_secrets(target: &Url, own: &Url) -> String {
    let is_known = |part: &str| {
        part.is_empty() || (part.len() < SECRET_IN_PATH && own.path().split('/').any(|other| other == part))
    };
    let shown = |part| if is_known(part) { part } else { HIDDEN };
    let path: Vec<_> = target.path().split('/').map(shown).collect();
    let query = if target.query().is_some() { format!("?{HIDDEN}") } else { String::new() };
    format!("{}{}{query}", target.origin().ascii_serialization(), path.join("/"))
}

/// The spellings in which a receiver may echo a secret: whole, or without its prefix.
fn spellings(secret: &str) -> impl Iterator<Item = Cow<'_, str>> {
    [Some(secret), secret.strip_prefix("whsec_"), secret.strip_prefix("whsk_")]
        .into_iter()
        .flatten()
        .map(Cow::Borrowed)
}

/// Shows the host and the format, and nothing that could be a secret.
impl fmt::Debug for WebhookDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = match &self.url {
            Address::Plain(url) => url.host_str(),
            Address::Secret(_) => None,
        };
        f.debug_struct("WebhookDestination")
            .field("host", &host)
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}
