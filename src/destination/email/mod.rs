//! Email: one mail per event to all recipients; the mails about one call form a thread.

mod config;
mod smtp;

use std::{
    fmt,
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use lettre::{
    Address,
    message::{
        Mailbox, Message as Mail, MultiPart,
        header::{HeaderName, HeaderValue},
    },
};
use minijinja::{
    Environment,
    value::{Serde, Value as TemplateValue},
};
use ring::digest;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;

pub(super) use self::config::TYPE;
pub use self::config::{EmailConfig, SmtpSecurity, SmtpServer};
use self::smtp::{Blame, Credential, Receipt, Server, SmtpError};
use super::{
    Answer, BuildError, Destination, MAX_MEMO, Notification,
    message::{Message, Writer, in_brackets},
    secrets::FreshSecret,
};
use crate::{
    config::{Secret, SecretError},
    event::{EventId, Severity},
    http, template,
    time::Timestamp,
};

/// The template of the HTML part.
static PAGE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut env = template::environment();
    env.set_fuel(None);
    #[expect(clippy::expect_used, reason = "the page is part of the program, and every test renders it")]
    env.add_template("email.html", include_str!("email.html")).expect("a template");
    env
});

/// `type = "email"`
pub struct EmailDestination {
    server: Server,
    password: Option<FreshSecret>,
    oauth_token: Option<FreshSecret>,
    from: Mailbox,
    to: Vec<Mailbox>,
    writer: Writer,
    timeout: Duration,
}

/// The memo of a mail that some recipients have while others could not be given it yet.
#[derive(Deserialize, Serialize)]
struct PartlySent {
    /// The event of the mail; a memo about another one means nothing.
    event: EventId,
    /// The addresses of those who have it.
    have_it: Vec<String>,
}

/// Why no mail could be made. The delivery is tried again, because a secret or the config can be mended.
#[derive(Debug, thiserror::Error)]
enum NotReady {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("no password is given for the account {0}; nothing was sent")]
    NoPassword(String),
    #[error("the event's record is damaged ({0}); nothing was sent")]
    Record(#[from] serde_json::Error),
    #[error("the mail cannot be written ({0}); nothing was sent")]
    Page(#[from] minijinja::Error),
    #[error("the mail cannot be written ({0}); nothing was sent")]
    Mail(#[from] lettre::error::Error),
}

#[async_trait]
impl Destination for EmailDestination {
    async fn deliver(&self, notification: &Notification<'_>) -> Answer {
        self.attempt(notification).await.unwrap_or_else(|error| Answer::retry(error.to_string()))
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
    ) -> Result<Self, BuildError> {
        let host = config.smtp.host.clone();
        let server =
            Server::new(config.smtp.clone(), concurrency).map_err(|why| BuildError::Tls { host, why })?;
        let in_address = config.smtp.password.clone().map(Secret::Plain);
        Ok(Self {
            server,
            password: config.password.clone().or(in_address).map(FreshSecret::new),
            oauth_token: config.oauth_token.clone().map(FreshSecret::new),
            from: config.from.clone(),
            to: config.to.clone(),
            writer,
            timeout,
        })
    }

    async fn attempt(&self, notification: &Notification<'_>) -> Result<Answer, NotReady> {
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
        let secret = secret.as_ref().map(SecretString::expose_secret);
        let event = notification.event;
        let message = self.writer.write(notification)?;
        let mail = self.mail(&event.id, &message, notification.now)?.formatted();
        let have_it = PartlySent::have_it(notification);
        let is_missing = |to: &Address| !have_it.iter().any(|has| has == AsRef::<str>::as_ref(to));
        let to: Vec<_> = self.to.iter().map(|to| to.email.clone()).filter(is_missing).collect();
        let sent = self.server.send(credential, &self.from.email, &to, &mail, self.timeout).await;
        Ok(match sent {
            Ok(receipt) => {
                let (answer, response) = judge(&receipt, have_it.len());
                let memo = PartlySent::memo(&event.id, receipt, have_it);
                answer.with_response(&response, secret).with_memo(memo)
            }
            Err(SmtpError::Refused { words, blame, credentials }) => {
                refused(&words, blame, credentials).with_response(&words, secret)
            }
            Err(SmtpError::Broken(why)) => Answer::retry(why),
        })
    }

    /// Writes the mail. It is the same at every attempt except for its date.
    fn mail(&self, id: &EventId, message: &Message, now: Timestamp) -> Result<Mail, NotReady> {
        let domain = self.from.email.domain();
        let date = SystemTime::UNIX_EPOCH + now.since(Timestamp::from_millis(0));
        let mut builder = Mail::builder()
            .from(self.from.clone())
            .subject(&message.title)
            .date(date)
            .message_id(Some(format!("<{id}@{domain}>")))
            // RFC 3834: asks for no automatic replies, such as holiday notices.
            .raw_header(extra("Auto-Submitted", "auto-generated"))
            .raw_header(extra("X-Auto-Response-Suppress", "All"));
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        if let Some(thread) = thread(message) {
            let thread = format!("<{thread}@{domain}>");
            builder = builder.in_reply_to(thread.clone()).references(thread);
        }
        if message.severity == Severity::Critical {
            builder = builder.raw_header(extra("Importance", "high"));
        }
        let page = PAGE.get_template("email.html")?.render(TemplateValue::from(Serde(message)))?;
        Ok(builder.multipart(MultiPart::alternative_plain_html(plain(message), page))?)
    }
}

impl PartlySent {
    /// The recipients that have this mail from earlier attempts.
    fn have_it(notification: &Notification<'_>) -> Vec<String> {
        // A memo that cannot be read is no reason to hold the mail back: they get it again, with the same `Message-ID`.
        let memo = notification.memo.and_then(|memo| Self::deserialize(memo).ok());
        memo.filter(|memo| memo.event == notification.event.id).map(|memo| memo.have_it).unwrap_or_default()
    }

    /// The memo after an attempt: who has the mail while others wait for it, else that nothing is to be kept.
    fn memo(event: &EventId, receipt: Receipt, mut have_it: Vec<String>) -> Option<Value> {
        let had_some = !have_it.is_empty();
        have_it.extend(receipt.accepted.iter().map(Address::to_string));
        if receipt.deferred.is_empty() || have_it.is_empty() {
            return had_some.then_some(Value::Null);
        }
        // Recipients beyond the limit get the mail again with every attempt, with the same `Message-ID`.
        let mut memo = Self { event: event.clone(), have_it };
        loop {
            let json = serde_json::to_value(&memo).ok()?;
            if json.to_string().len() <= MAX_MEMO {
                return Some(json);
            }
            memo.have_it.pop();
        }
    }
}

fn extra(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// The id of the thread of all mails about one call. The call's own id may hold characters that do not fit into a
/// header, so it is hashed.
fn thread(message: &Message) -> Option<String> {
    let call = message.call.as_ref()?;
    let digest = digest::digest(&digest::SHA256, format!("{}\n{call}", message.source).as_bytes());
    Some(format!("call_{}", URL_SAFE_NO_PAD.encode(&digest.as_ref()[..16])))
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

/// The text part.
pub(super) fn plain(message: &Message) -> String {
    let severity = in_brackets(message.severity);
    let rule = message.rule.as_ref().map(|rule| format!("Rule {rule} · source"));
    let origin = rule.unwrap_or_else(|| "Source".to_owned());
    let call = message.call.as_ref().map(|call| format!("\nCall {call}")).unwrap_or_default();
    format!(
        "{severity}{}\n\n{}\n\n-- \n{origin} {} · {}{call}\n",
        message.title,
        message.in_columns(),
        message.source,
        message.when,
    )
}

/// Shows the server's name, and no secret.
impl fmt::Debug for EmailDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmailDestination").field("server", &self.server.host()).finish_non_exhaustive()
    }
}
