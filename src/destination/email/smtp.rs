//! One SMTP server: its connections, and mail transactions with a verdict for every recipient.
//!
//! lettre speaks the protocol. Its pool is not used, because it gives up a transaction at the first refused recipient,
//! and because it takes back a connection whose transaction was cancelled half-way: the server would read the next
//! mail's commands as text of the last mail. Here a transaction owns its connection, so cancelling it closes the
//! connection.

use std::{
    error::Error as _,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use lettre::{
    Address,
    transport::smtp::{
        Error,
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, TlsParameters},
        commands::{Data, Mail, Rcpt, Rset},
        extension::{ClientId, Extension, MailParameter},
    },
};
use secrecy::{ExposeSecret, SecretString};
use tokio::{sync::Semaphore, time::Instant};

use super::config::{SmtpSecurity, SmtpServer};
use crate::{destination::answer::one_line, http};

/// How long an idle connection is kept; servers close theirs after some minutes.
const MAX_IDLE: Duration = Duration::from_secs(30);

/// A server and the connections to it.
pub(super) struct Server {
    config: SmtpServer,
    tls: Option<TlsParameters>,
    idle: Mutex<Vec<(Instant, AsyncSmtpConnection)>>,
    slots: Semaphore,
}

/// Why a transaction ended without a verdict for any recipient. Holds the server's words, but no secret.
#[derive(Debug)]
pub(super) enum SmtpError {
    /// The server refused with this code.
    Refused {
        /// 400 to 599
        code: u16,
        /// The whole reply, code first, on one line.
        reply: String,
        /// Whether the refusal is about this mail, not about the connection or the account.
        about_mail: bool,
    },
    /// There was no usable reply.
    Broken(String),
}

/// The server's verdicts on a mail, one for every recipient.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    /// The recipients that have it.
    pub(super) accepted: Vec<Address>,
    /// The server's reply to the mail as a whole.
    pub(super) reply: String,
    /// The recipients that may get it later, and why not now.
    pub(super) deferred: Vec<(Address, String)>,
    /// The recipients that can never get it, and why.
    pub(super) refused: Vec<(Address, String)>,
}

impl Server {
    /// A server that receives at most `connections` mails at a time.
    ///
    /// # Errors
    /// lettre's message when the system has no usable TLS.
    pub(super) fn new(config: SmtpServer, connections: usize) -> Result<Self, String> {
        http::install_tls();
        let tls = match config.security {
            SmtpSecurity::Insecure => None,
            SmtpSecurity::Tls | SmtpSecurity::StartTls => {
                Some(TlsParameters::new(config.host.clone()).map_err(|error| http::cause_in_words(&error))?)
            }
        };
        Ok(Self { config, tls, idle: Mutex::default(), slots: Semaphore::new(connections.max(1)) })
    }

    /// The host's name.
    pub(super) fn host(&self) -> &str {
        &self.config.host
    }

    /// The account's name.
    pub(super) fn user(&self) -> Option<&str> {
        self.config.user.as_deref()
    }

    /// Sends `mail` to the recipients `to`. Cancelling this closes its connection.
    ///
    /// # Errors
    /// [`SmtpError`] when nobody was accepted or refused by name.
    pub(super) async fn send(
        &self,
        password: Option<&SecretString>,
        from: &Address,
        to: &[Address],
        mail: &[u8],
    ) -> Result<Verdicts, SmtpError> {
        // The semaphore is never closed, so this is never an error.
        let _slot = self.slots.acquire().await;
        let mut connection = match self.idle_connection().await {
            Some(connection) => connection,
            None => self.connect(password).await?,
        };
        let result = transaction(&mut connection, from, to, mail).await;
        let usable = match &result {
            Ok(verdicts) if !verdicts.accepted.is_empty() => true,
            Ok(_) | Err(SmtpError::Refused { .. }) => connection.command(Rset).await.is_ok(),
            Err(SmtpError::Broken(_)) => false,
        };
        if usable {
            self.idle().push((Instant::now(), connection));
        }
        result
    }

    async fn idle_connection(&self) -> Option<AsyncSmtpConnection> {
        loop {
            let (since, mut connection) = self.idle().pop()?;
            if since.elapsed() < MAX_IDLE && connection.test_connected().await {
                return Some(connection);
            }
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(Instant, AsyncSmtpConnection)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self, password: Option<&SecretString>) -> Result<AsyncSmtpConnection, SmtpError> {
        let hello = ClientId::default();
        let address = (self.config.host.as_str(), self.config.port);
        let from_the_start = self.tls.clone().filter(|_| self.config.security == SmtpSecurity::Tls);
        let mut connection = AsyncSmtpConnection::connect_tokio1(address, None, &hello, from_the_start, None)
            .await
            .map_err(before)?;
        if self.config.security == SmtpSecurity::StartTls
            && let Some(tls) = self.tls.clone()
        {
            if !connection.can_starttls() {
                return Err(SmtpError::Broken(
                    "the server offers no STARTTLS; nothing was sent (smtps:// is TLS from the start)"
                        .to_owned(),
                ));
            }
            connection.starttls(tls, &hello).await.map_err(before)?;
        }
        if let (Some(user), Some(password)) = (&self.config.user, password) {
            let credentials = Credentials::new(user.clone(), password.expose_secret().to_owned());
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            connection.auth(&mechanisms, &credentials).await.map_err(before)?;
        }
        Ok(connection)
    }
}

/// One mail transaction (RFC 5321, section 3.3). A refused recipient does not keep the mail from the others.
async fn transaction(
    connection: &mut AsyncSmtpConnection,
    from: &Address,
    to: &[Address],
    mail: &[u8],
) -> Result<Verdicts, SmtpError> {
    let mut parameters = vec![];
    if !to.iter().chain([from]).all(|address| AsRef::<str>::as_ref(address).is_ascii()) {
        if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
            return Err(SmtpError::Broken(
                "the server takes no addresses beyond ASCII (SMTPUTF8)".to_owned(),
            ));
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    connection.command(Mail::new(Some(from.clone()), parameters)).await.map_err(during)?;
    let mut verdicts = Verdicts::default();
    for address in to {
        match connection.command(Rcpt::new(address.clone(), vec![])).await {
            Ok(_) => verdicts.accepted.push(address.clone()),
            Err(error) if is_about_account(&error) => return Err(during(error)),
            Err(error) if error.is_permanent() => verdicts.refused.push((address.clone(), reply(&error))),
            Err(error) if error.is_transient() => verdicts.deferred.push((address.clone(), reply(&error))),
            Err(error) => return Err(during(error)),
        }
    }
    if verdicts.accepted.is_empty() {
        return Ok(verdicts);
    }
    connection.command(Data).await.map_err(during)?;
    let response = connection.message(mail).await.map_err(during)?;
    let words: Vec<_> = response.message().collect();
    verdicts.reply = one_line(&format!("{} {}", response.code(), words.join(" ")));
    Ok(verdicts)
}

/// An error of the connection, the greeting or the account, before there is a mail.
fn before(error: Error) -> SmtpError {
    smtp_error(&error, false)
}

/// An error within a transaction.
fn during(error: Error) -> SmtpError {
    smtp_error(&error, !is_about_account(&error))
}

/// 530, 534 and 535 ask for authentication (RFC 4954, section 6).
fn is_about_account(error: &Error) -> bool {
    error.status().is_some_and(|code| matches!(u16::from(code), 530 | 534 | 535))
}

fn smtp_error(error: &Error, about_mail: bool) -> SmtpError {
    match error.status() {
        Some(code) => SmtpError::Refused { code: code.into(), reply: reply(error), about_mail },
        None => SmtpError::Broken(http::cause_in_words(error)),
    }
}

/// `550 5.1.1 no such mailbox`
fn reply(error: &Error) -> String {
    let code = error.status().map(|code| code.to_string()).unwrap_or_default();
    let words = error.source().map(|words| words.to_string()).unwrap_or_default();
    one_line(&format!("{code} {words}"))
}
