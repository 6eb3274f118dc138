//! Secrets that are read again while the process runs, and those in addresses.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use secrecy::SecretString;
use tokio::time::Instant;
use url::Url;

use crate::config::{Secret, SecretError};

/// A segment of a URL's path that is this long is taken for a secret.
pub(super) const SECRET_IN_PATH: usize = 16;

/// The parts of a URL that can be secrets: the password, the query, and long segments of the path.
pub(super) fn secrets_in_url(url: &Url) -> impl Iterator<Item = Cow<'_, str>> {
    let path = url.path().split('/').filter(|part| part.len() >= SECRET_IN_PATH);
    let parts = url.password().into_iter().chain(url.query()).chain(path).map(Cow::Borrowed);
    parts.chain(url.query_pairs().map(|(_, value)| value))
}

/// A secret whose file is read at most every few seconds: a rotated one is soon used, and not every attempt touches the
/// disk.
#[derive(Clone, Debug)]
pub(super) struct FreshSecret {
    secret: Secret,
    last: Arc<Mutex<Option<(Instant, SecretString)>>>,
}

impl FreshSecret {
    /// How long the content of a file is used. Shorter than the first wait of the retry schedule, so that an attempt
    /// that was refused because of a rotated secret is repeated with the new one.
    const MAX_AGE: Duration = Duration::from_secs(3);

    pub(super) fn new(secret: Secret) -> Self {
        Self { secret, last: Arc::default() }
    }

    pub(super) async fn read(&self) -> Result<SecretString, SecretError> {
        if !matches!(self.secret, Secret::File(_)) {
            return self.secret.read();
        }
        if let Some((at, secret)) = &*self.last.lock().unwrap_or_else(PoisonError::into_inner)
            && at.elapsed() < Self::MAX_AGE
        {
            return Ok(secret.clone());
        }
        let secret = self.secret.load().await?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), secret.clone()));
        Ok(secret)
    }
}
