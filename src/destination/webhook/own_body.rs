//! Bodies in the receiver's own shape, made by the destination's template.

use std::{collections::BTreeMap, fmt, sync::Arc};

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::de::IgnoredAny;
use tokio::time::Instant;

use super::{WebhookBody, payload::Payload};
use crate::{
    config::SecretError,
    destination::{
        Notification,
        message::Writer,
        rendering::{NotRendered, Renderer},
        secrets::FreshSecret,
    },
    template::{Template, TemplateError},
};

/// The `body` of a webhook: its template and the secrets in it.
pub(super) struct OwnBody {
    template: Template,
    content_type: HeaderValue,
    secrets: Vec<(String, FreshSecret)>,
    writer: Arc<Writer>,
}

/// Why no body could be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoBody {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    NotRendered(#[from] NotRendered),
    #[error("the event's record is damaged ({0}); nothing was sent")]
    Record(serde_json::Error),
    /// The template fails for this event, and would fail at every attempt.
    #[error("`body` could not be rendered: {0}")]
    Template(TemplateError),
    #[error("what `body` makes of this is not JSON ({0}); write values with `tojson`")]
    NotJson(serde_json::Error),
}

impl OwnBody {
    pub(super) fn new(config: &WebhookBody, writer: Arc<Writer>) -> Self {
        let secrets = config.secrets.iter();
        Self {
            template: config.template.clone(),
            content_type: config.content_type.clone(),
            secrets: secrets.map(|(name, secret)| (name.clone(), FreshSecret::new(secret.clone()))).collect(),
            writer,
        }
    }

    /// Renders `notification`. Adds the secrets that may be in the body to `secrets`.
    pub(super) async fn render(
        &self,
        notification: &Notification<'_>,
        secrets: &mut Vec<SecretString>,
        renderer: &Renderer,
        deadline: Instant,
    ) -> Result<Payload, NoBody> {
        let mut named = vec![];
        for (name, secret) in &self.secrets {
            let secret = secret.read().await?;
            secrets.push(secret.clone());
            named.push((name.clone(), secret));
        }
        let (owned, template, writer) =
            (notification.owned(), self.template.clone(), Arc::clone(&self.writer));
        let is_json = self.is_json();
        let render = move || {
            let exposed: BTreeMap<_, _> =
                named.iter().map(|(name, secret)| (name.as_str(), secret.expose_secret())).collect();
            let rendered = writer.write_body(&owned.borrowed(), &template, &exposed);
            let (body, _notes) = rendered.map_err(NoBody::Record)?;
            let body = body.map_err(NoBody::Template)?;
            if is_json {
                // The error names a line and a column, and quotes nothing of the body.
                serde_json::from_str::<IgnoredAny>(&body).map_err(NoBody::NotJson)?;
            }
            Ok::<_, NoBody>(body)
        };
        let body = renderer.run(deadline, render).await??;
        Ok(Payload::new(self.content_type.clone(), body.into_bytes()))
    }

    /// Whether the content type is JSON or a format based on JSON (RFC 6839, section 3.1).
    fn is_json(&self) -> bool {
        let text = self.content_type.to_str().unwrap_or_default();
        let kind = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        kind == "application/json" || kind.ends_with("+json")
    }
}

/// Shows nothing: there are secrets in it.
impl fmt::Debug for OwnBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnBody").finish_non_exhaustive()
    }
}
