//! Email: one mail per event to all recipients; the mails about one call form a thread.

mod compose;
mod config;
mod smtp;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use lettre::Address;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, timeout};

pub use self::config::{EmailConfig, SmtpSecurity, SmtpServer};
#[cfg(any(test, fuzzing))]
pub(crate) use self::smtp::read_any_reply;
pub(super) use self::{compose::plain, config::TYPE};
use self::{
    compose::{Composer, NotComposed},
    smtp::{Blame, Credential, Receipt, Server, SmtpError},
};
use super::{
    Answer, Destination, MAX_MEMO, Notification,
    message::Writer,
    rendering::{NotRendered, Renderer},
    secrets::FreshSecret,
};
use crate::{
    config::{Secret, SecretError},
    event::EventId,
    http::{self, ConnectionError},
    privacy::Mask,
    template,
};

/// `type = "email"`
pub struct EmailDestination {
    server: Server,
    password: Option<FreshSecret>,
    oauth_token: Option<FreshSecret>,
    composer: Arc<Composer>,
    renderer: Renderer,
    timeout: Duration,
}

/// The memo of the mails about a call.
#[derive(Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
struct Memo {
    /// The subject of the first one, which the others keep: a caller may become known while the call goes on, and mails with
    /// different subjects are no conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    /// The event of a mail that some recipients have while others could not be given it yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<EventId>,
    /// The addresses of those who have it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    have_it: Vec<String>,
}

/// Why no mail could be made. The delivery is tried again, because a secret or the config can be mended.
#[derive(Debug, thiserror::Error)]
enum NotReady {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("no password is given for the account {0}; nothing was sent")]
    NoPassword(String),
    #[error(transparent)]
    NotRendered(#[from] NotRendered),
    #[error("the mail cannot be written ({0}); nothing was sent")]
    NotComposed(#[from] NotComposed),
}

/// The mail that would be sent; `None` when it cannot be written.
pub(super) fn show(config: &EmailConfig, writer: Writer, notification: &Notification<'_>) -> Option<String> {
    let subject = Memo::of(notification).subject;
    let mail = Composer::new(config, writer).compose(notification, subject.as_deref()).ok()?;
    Some(String::from_utf8_lossy(&mail.bytes).replace("\r\n", "\n"))
}

#[async_trait]
impl Destination for EmailDestination {
    async fn deliver(&self, notification: &Notification<'_>) -> Answer {
        let mut secrets = vec![];
        let answer = self.attempt(notification, &mut secrets).await;
        let answer = answer.unwrap_or_else(|error| Answer::retry(error.to_string()));
        answer.clean(&self.mask(&secrets))
    }

    fn keeps_memos(&self) -> bool {
        true
    }

    fn longest_attempt(&self) -> Duration {
        self.timeout.saturating_mul(2).saturating_add(smtp::FINAL_DOT)
    }
}

impl EmailDestination {
    pub(super) fn new(
        config: &EmailConfig,
        writer: Writer,
        timeout: Duration,
        concurrency: usize,
    ) -> Result<Self, ConnectionError> {
        let server = Server::new(config.smtp.clone(), &config.connection, concurrency)?;
        let in_address = config.smtp.password.clone().map(Secret::Plain);
        Ok(Self {
            server,
            password: config.password.clone().or(in_address).map(FreshSecret::new),
            oauth_token: config.oauth_token.clone().map(FreshSecret::new),
            composer: Arc::new(Composer::new(config, writer)),
            renderer: Renderer::new(),
            timeout,
        })
    }

    /// Hides these secrets, and the password as it is sent, together with the user: `AUTH PLAIN` (RFC 4616).
    fn mask(&self, secrets: &[SecretString]) -> Mask {
        let user = self.server.user().unwrap_or_default();
        let exposed = secrets.iter().map(|secret| secret.expose_secret());
        Mask::of(exposed.flat_map(|secret| [secret.to_owned(), format!("\0{user}\0{secret}")]))
    }

    async fn attempt(
        &self,
        notification: &Notification<'_>,
        secrets: &mut Vec<SecretString>,
    ) -> Result<Answer, NotReady> {
        let secret = match (self.password.as_ref().or(self.oauth_token.as_ref()), self.server.user()) {
            (Some(password), _) => match timeout(self.timeout, password.read()).await {
                Ok(secret) => Some(secret?),
                Err(_) => {
                    return Ok(Answer::retry(format!(
                        "the password could not be read: {}",
                        http::timed_out(self.timeout)
                    )));
                }
            },
            (None, Some(user)) => return Err(NotReady::NoPassword(user.to_owned())),
            (None, None) => None,
        };
        let credential = secret.as_ref().map(|secret| match self.password {
            Some(_) => Credential::Password(secret),
            None => Credential::Token(secret),
        });
        secrets.extend(secret.clone());
        let event = notification.event;
        let (owned, composer) = (notification.owned(), Arc::clone(&self.composer));
        let before = Memo::of(notification);
        let subject = before.subject.clone();
        let compose = move || composer.compose(&owned.borrowed(), subject.as_deref());
        let mail = self.renderer.run(Instant::now() + self.timeout, compose).await??;
        let have_it = before.have_it(&event.id);
        let is_missing = |to: &Address| !have_it.iter().any(|has| has == AsRef::<str>::as_ref(to));
        let to: Vec<_> = self.composer.to.iter().map(|to| to.email.clone()).filter(is_missing).collect();
        let sent =
            self.server.send(credential, &self.composer.from.email, &to, &mail.bytes, self.timeout).await;
        // The server's words are masked before they are cut, because half a secret is not recognised.
        let mask = self.mask(secrets);
        Ok(match sent {
            Ok(receipt) => {
                let receipt = masked(receipt, &mask);
                let (answer, response) = judge(&receipt, have_it.len());
                let memo = before.after(&event.id, mail.conversation, receipt);
                answer.with_response(response).with_memo(memo)
            }
            Err(SmtpError::Refused { words, blame, credentials }) => {
                let words = mask.foreign(&words);
                refused(&words, blame, credentials).with_response(words)
            }
            Err(SmtpError::Broken(why)) => Answer::retry(why),
        })
    }
}

impl Memo {
    /// The memo of the lane. One that cannot be read is no reason to hold the mail back: those who have it get it again, with the
    /// same `Message-ID`.
    fn of(notification: &Notification<'_>) -> Self {
        notification.memo.and_then(|memo| Self::deserialize(memo).ok()).unwrap_or_default()
    }

    /// The recipients that have the mail of this event from earlier attempts.
    fn have_it(&self, event: &EventId) -> Vec<String> {
        if self.event.as_ref() == Some(event) { self.have_it.clone() } else { vec![] }
    }

    /// The memo after an attempt; `None` when nothing has changed. It names who has the mail while others still wait
    /// for it, and the subject of the conversation once somebody has a mail of it.
    fn after(&self, event: &EventId, conversation: Option<String>, receipt: Receipt) -> Option<Value> {
        let mut have_it = self.have_it(event);
        have_it.extend(receipt.accepted.iter().map(Address::to_string));
        let is_begun = !have_it.is_empty();
        let is_partly = is_begun && !receipt.deferred.is_empty();
        let mut memo = Self {
            subject: self.subject.clone().or(conversation.filter(|_| is_begun)),
            event: is_partly.then(|| event.clone()),
            have_it: if is_partly { have_it } else { vec![] },
        };
        if memo == *self && !is_partly {
            return None;
        }
        if memo == Self::default() {
            return Some(Value::Null);
        }
        loop {
            let json = serde_json::to_value(&memo).ok()?;
            // Recipients beyond the limit get the mail again with every attempt, with the same `Message-ID`.
            if json.to_string().len() <= MAX_MEMO {
                return Some(json);
            }
            memo.have_it.pop()?;
        }
    }
}

/// The receipt with the server's words as they may be kept.
fn masked(receipt: Receipt, mask: &Mask) -> Receipt {
    let each = |list: Vec<(Address, String)>| {
        list.into_iter().map(|(address, words)| (address, mask.foreign(&words))).collect()
    };
    Receipt {
        reply: mask.foreign(&receipt.reply),
        deferred: each(receipt.deferred),
        refused: each(receipt.refused),
        accepted: receipt.accepted,
    }
}

/// Classifies the server's receipt; the text is everything that it said.
fn judge(receipt: &Receipt, had_it: usize) -> (Answer, String) {
    let Receipt { accepted, reply, deferred, refused } = receipt;
    let listed = |list: &[(Address, String)]| {
        let list: Vec<_> = list.iter().map(|(address, reply)| format!("{address}: {reply}")).collect();
        list.join("; ")
    };
    let arrived = accepted.len() + had_it;
    let response = [reply.clone(), listed(deferred), listed(refused)];
    let response: Vec<_> = response.into_iter().filter(|part| !part.is_empty()).collect();
    let answer = match (&deferred[..], &refused[..]) {
        ([], []) => Answer::delivered(short(reply)),
        ([], refused) if arrived > 0 => {
            Answer::delivered(format!("{}; refused for {}", short(reply), short(&listed(refused))))
        }
        ([], refused) => {
            let who = short(&listed(refused));
            Answer::dead(
                who.clone(),
                format!("every recipient was refused: {who}; correct `to`, then retry the delivery"),
            )
        }
        (deferred, _) if arrived > 0 => {
            let have_it = if arrived == 1 {
                "one recipient has it".to_owned()
            } else {
                format!("{arrived} recipients have it")
            };
            Answer::retry(format!("{}; {have_it}", short(&listed(deferred))))
        }
        (deferred, _) => Answer::retry(short(&listed(deferred))),
    };
    (answer, response.join("; "))
}

/// Classifies a refusal of the mail as a whole. Only one about the mail itself is final: the account, the connection or a
/// limit can be mended, so the mail is tried again.
fn refused(words: &str, blame: Blame, credentials: bool) -> Answer {
    let reply = short(words);
    match blame {
        Blame::Mail | Blame::Recipient => {
            let reason = format!("the server refused the mail: {reply}");
            Answer::dead(reply, reason)
        }
        Blame::Server if credentials => Answer::retry(format!("{reply}; check the account and its password")),
        Blame::Server => Answer::retry(reply),
    }
}

/// A server's reply, short enough for a result.
fn short(reply: &str) -> String {
    template::truncate(reply, 200)
}

/// Shows the server's name, and no secret.
impl fmt::Debug for EmailDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmailDestination").field("server", &self.server.host()).finish_non_exhaustive()
    }
}
