//! Slack by an incoming webhook: <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use reqwest::{
    Client, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout_at};

use super::blocks;
use crate::{
    config::{Secret, SecretError},
    destination::{
        Answer, Destination, Notification,
        answer::{retry_after, status_line},
        exchange::{MAX_RESPONSE, exchange},
        message::Writer,
        rendering::{NotRendered, Renderer},
        secrets::{FreshSecret, secrets_in_url},
    },
    http,
    privacy::Mask,
};

/// A channel that an incoming webhook posts to.
pub(in crate::destination) struct Webhook {
    client: Client,
    url: FreshSecret,
    writer: Arc<Writer>,
    renderer: Renderer,
    timeout: Duration,
}

/// Why a request could not be made. The delivery is tried again, because a secret or the config can be mended.
#[derive(Debug, thiserror::Error)]
enum NotReady {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("`webhook_url` is not an https:// address; nothing was sent")]
    Url,
    #[error(transparent)]
    NotRendered(#[from] NotRendered),
    #[error("the event's record is damaged ({0}); nothing was sent")]
    Record(#[from] serde_json::Error),
}

#[async_trait]
impl Destination for Webhook {
    async fn deliver(&self, notification: &Notification<'_>) -> Answer {
        let deadline = Instant::now() + self.timeout;
        let (secret, answer) = match timeout_at(deadline, self.url.read()).await {
            Ok(Ok(secret)) => (Some(secret.clone()), self.attempt(&secret, notification, deadline).await),
            Ok(Err(error)) => (None, Answer::retry(error.to_string())),
            Err(_) => (None, Answer::retry(http::timed_out(self.timeout))),
        };
        let secret = secret.as_ref().map(|secret| secret.expose_secret().trim());
        let url = secret.and_then(|secret| Url::parse(secret).ok());
        let parts = url.iter().flat_map(secrets_in_url);
        answer.clean(&Mask::of(parts.chain(secret.map(Cow::Borrowed))))
    }

    fn longest_attempt(&self) -> Duration {
        self.timeout
    }
}

impl Webhook {
    pub(super) fn new(url: Secret, writer: Writer, timeout: Duration, client: Client) -> Self {
        let url = FreshSecret::new(url);
        Self { client, url, writer: Arc::new(writer), renderer: Renderer::new(), timeout }
    }

    async fn attempt(
        &self,
        secret: &SecretString,
        notification: &Notification<'_>,
        deadline: Instant,
    ) -> Answer {
        let (url, body) = match self.request(secret, notification, deadline).await {
            Ok(request) => request,
            Err(error) => return Answer::retry(error.to_string()),
        };
        let json = HeaderValue::from_static("application/json");
        let request = self.client.post(url).header(CONTENT_TYPE, json).body(body);
        match exchange(request, MAX_RESPONSE, deadline, self.timeout).await {
            Ok((status, headers, body)) => judge(status, &body)
                .after(retry_after(status, &headers, notification.now))
                .with_response(body),
            Err(answer) => answer,
        }
    }

    /// Where to POST what.
    async fn request(
        &self,
        secret: &SecretString,
        notification: &Notification<'_>,
        deadline: Instant,
    ) -> Result<(Url, Vec<u8>), NotReady> {
        let url = Url::parse(secret.expose_secret().trim()).map_err(|_| NotReady::Url)?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(NotReady::Url);
        }
        let (owned, writer) = (notification.owned(), Arc::clone(&self.writer));
        let render = move || serde_json::to_vec(&blocks::render(&writer.write(&owned.borrowed())?));
        let body: Result<_, serde_json::Error> = self.renderer.run(deadline, render).await?;
        Ok((url, body?))
    }
}

/// Classifies Slack's response: <https://docs.slack.dev/changelog/2016-05-17-changes-to-errors-for-incoming-webhooks>.
///
/// A complaint about the webhook or its channel would meet every message, so the destination is paused; only
/// what it says of the message makes the delivery dead.
fn judge(status: StatusCode, body: &str) -> Answer {
    let word = body.trim();
    let result = status_line(status);
    if status.is_success() {
        // Only Slack says `ok`; a web page of another server, or of a proxy, comes with 200 as well.
        if word == "ok" {
            return Answer::delivered(result);
        }
        return Answer::retry(format!(
            "{result}, but not Slack's `ok`; check that `webhook_url` is an incoming webhook"
        ));
    }
    let named = format!("{result}: {word}");
    let advice = match word {
        "invalid_blocks" | "invalid_payload" => {
            let reason =
                format!("{named}: Slack cannot read this message; please report it, then retry the delivery");
            return Answer::dead(named, reason);
        }
        "channel_not_found" => {
            "the webhook's channel is gone; make a new webhook and set `webhook_url` to it"
        }
        "channel_is_archived" => "unarchive the channel, or make a webhook for another one",
        "no_service" | "no_team" | "team_disabled" | "invalid_token" => {
            "the webhook was removed or switched off; make a new one and set `webhook_url` to it"
        }
        "user_not_found" => "the person the webhook writes to is gone; make a new webhook",
        "action_prohibited" => {
            "an administrator does not let webhooks post there; ask one, or use another channel"
        }
        "posting_to_general_channel_denied" => {
            "webhooks may not post to the general channel; make one for another channel"
        }
        _ => return Answer::retry(result),
    };
    let reason = format!("{named}: {advice}, then resume the destination");
    Answer::pause(named, reason)
}

/// Shows nothing: the address is the secret.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").finish_non_exhaustive()
    }
}
