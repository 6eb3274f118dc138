//! One SMTP server: its connections, and mail transactions whose recipients are answered for one by one.
//!
//! The protocol is spoken here ([`wire`], [`reply`]) and not by a library, because what strangers send has to be bounded
//! before TLS, because nothing received in clear may be taken for an answer inside TLS, and because a transaction owns its
//! connection: cancelling one closes it, so that the next mail's commands are never read as the last one's text.

mod reply;
mod wire;

use std::{
    borrow::Cow,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use lettre::Address;
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

pub(super) use self::reply::Blame;
#[cfg(any(test, fuzzing))]
pub(crate) use self::reply::read_any_reply;
use self::{
    reply::{Reply, Stage},
    wire::{Broken, Wire},
};
use super::config::{SmtpSecurity, SmtpServer};
use crate::{
    config,
    http::{self, ConnectionError},
    privacy::one_line,
};

/// How long an idle connection is kept; servers close theirs after some minutes.
const MAX_IDLE: Duration = Duration::from_secs(30);

/// How long the answer to the final dot is waited for, whatever the destination's timeout: the server may have taken the
/// mail by then, and giving up early would send it twice (RFC 5321, section 4.5.3.2.6).
pub(super) const FINAL_DOT: Duration = Duration::from_secs(600);

/// A server and the connections to it.
pub(super) struct Server {
    config: SmtpServer,
    tls: Option<TlsConnector>,
    idle: Mutex<Vec<(Instant, Connection)>>,
    slots: Semaphore,
}

/// A refusal or a breakdown that concerns the mail as a whole. Holds the server's words, but no secret.
#[derive(Debug)]
pub(super) enum SmtpError {
    /// The server said no.
    Refused {
        /// The whole reply, code first, on one line.
        words: String,
        /// The party that has to change something.
        blame: Blame,
        /// Whether the server asks for (other) credentials.
        credentials: bool,
    },
    /// There was no usable answer.
    Broken(String),
}

/// The server's answers to a mail for several recipients.
#[derive(Debug, Default)]
pub(super) struct Receipt {
    /// Those whom the server accepts. They have the mail once the final dot is answered.
    pub(super) accepted: Vec<Address>,
    /// The server's last words to the mail as a whole.
    pub(super) reply: String,
    /// Those who may get it later, and why not now.
    pub(super) deferred: Vec<(Address, String)>,
    /// Those who will never get it, and why.
    pub(super) refused: Vec<(Address, String)>,
}

/// The proof that the account is ours.
#[derive(Clone, Copy)]
pub(super) enum Credential<'a> {
    /// Its password.
    Password(&'a SecretString),
    /// An OAuth 2.0 access token.
    Token(&'a SecretString),
}

/// A connection, signed in.
struct Connection {
    wire: Wire,
    /// The extensions that the server announced: keyword and parameters, in capitals.
    features: Vec<String>,
}

impl Server {
    /// A server that is given at most `connections` mails at a time, over TLS as `connection` says. Reads certificates
    /// and keys from disk, so it blocks.
    ///
    /// # Errors
    /// [`ConnectionError`] when one of the files, or TLS as a whole, cannot be used.
    pub(super) fn new(
        config: SmtpServer,
        connection: &config::Connection,
        connections: usize,
    ) -> Result<Self, ConnectionError> {
        let tls = match config.security {
            SmtpSecurity::Insecure => None,
            SmtpSecurity::Tls | SmtpSecurity::StartTls => {
                Some(TlsConnector::from(Arc::new(http::tls_for(connection)?)))
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

    /// Gives `mail` to the server for `to`, within `limit`, but for the answer to the final dot, which has
    /// [`FINAL_DOT`]. Cancelling this closes its connection.
    ///
    /// # Errors
    /// [`SmtpError`] when the mail failed as a whole: before the recipients, in the middle of them, or after the text.
    pub(super) async fn send(
        &self,
        credential: Option<Credential<'_>>,
        from: &Address,
        to: &[Address],
        mail: &[u8],
        limit: Duration,
    ) -> Result<Receipt, SmtpError> {
        let deadline = Instant::now() + limit;
        let greeted = AtomicBool::new(false);
        let late = |_| {
            let hint = if greeted.load(Ordering::Relaxed) { "" } else { self.other_scheme() };
            SmtpError::Broken(format!("{}{hint}", http::timed_out(limit)))
        };
        // Never closed, so never an error.
        let _slot = self.slots.acquire().await;
        let begin = async {
            let mut connection = match self.idle_connection().await {
                Some(connection) => connection,
                None => self.connect(credential, &greeted).await?,
            };
            let begun = begin(&mut connection, from, to, mail).await;
            Ok((connection, begun))
        };
        let (mut connection, begun) = tokio::time::timeout_at(deadline, begin).await.map_err(late)??;
        let result = match begun {
            Ok(receipt) if receipt.accepted.is_empty() => Ok(receipt),
            Ok(receipt) => timeout(FINAL_DOT, end(&mut connection, receipt))
                .await
                .unwrap_or_else(|_| Err(SmtpError::Broken(http::timed_out(FINAL_DOT)))),
            Err(trouble) => Err(trouble),
        };
        let usable = match &result {
            Ok(receipt) if !receipt.accepted.is_empty() => true,
            Ok(_) | Err(SmtpError::Refused { .. }) => {
                let reset = timeout(limit, connection.wire.ask("RSET")).await;
                reset.is_ok_and(|reset| reset.is_ok_and(|reply| reply.is_positive()))
            }
            Err(SmtpError::Broken(_)) => false,
        };
        if usable {
            self.idle().push((Instant::now(), connection));
        }
        result
    }

    async fn idle_connection(&self) -> Option<Connection> {
        loop {
            let (since, mut connection) = self.idle().pop()?;
            if since.elapsed() < MAX_IDLE && connection.wire.is_quiet().await {
                return Some(connection);
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Instant, Connection)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(
        &self,
        credential: Option<Credential<'_>>,
        greeted: &AtomicBool,
    ) -> Result<Connection, SmtpError> {
        let address = (self.config.host.as_str(), self.config.port);
        let tcp = TcpStream::connect(address).await.map_err(|error| broken(error.into()))?;
        let local = tcp.local_addr().map_err(|error| broken(error.into()))?;
        let mut wire = match (&self.config.security, &self.tls) {
            (SmtpSecurity::Tls, Some(tls)) => self.encrypt(tls, tcp).await.map_err(|error| match error {
                SmtpError::Broken(why) if why.contains("TLS") => {
                    SmtpError::Broken(format!("{why}{}", self.other_scheme()))
                }
                error => error,
            })?,
            _ => Wire::new(tcp),
        };
        expect(wire.reply().await, 220, Stage::Opening)?;
        greeted.store(true, Ordering::Relaxed);
        let mut connection = greet(wire, local).await?;
        if let (SmtpSecurity::StartTls, Some(tls)) = (&self.config.security, &self.tls) {
            if !connection.can("STARTTLS") {
                return Err(SmtpError::Broken(
                    "the server offers no STARTTLS; nothing was sent (smtps:// is TLS from the start)"
                        .to_owned(),
                ));
            }
            expect(connection.wire.ask("STARTTLS").await, 220, Stage::Opening)?;
            let stream = connection.wire.into_stream().map_err(broken)?;
            connection = greet(self.encrypt(tls, stream).await?, local).await?;
        }
        if let (Some(user), Some(credential)) = (&self.config.user, credential) {
            sign_in(&mut connection, user, credential).await?;
        }
        Ok(connection)
    }

    /// A hint for when a server does not begin as its scheme says, and its port is usual for the other one.
    fn other_scheme(&self) -> &'static str {
        match (self.config.security, self.config.port) {
            (SmtpSecurity::Tls, 25 | 587) => "; for a server that begins in clear write smtp:// (STARTTLS)",
            (SmtpSecurity::StartTls, 465) => "; for a server that begins with TLS write smtps://",
            _ => "",
        }
    }

    async fn encrypt(
        &self,
        tls: &TlsConnector,
        stream: impl wire::Stream + 'static,
    ) -> Result<Wire, SmtpError> {
        let name = ServerName::try_from(self.config.host.clone())
            .map_err(|_| SmtpError::Broken(format!("{} is not a name TLS can check", self.config.host)))?;
        let encrypted = tls.connect(name, stream).await.map_err(|error| broken(error.into()))?;
        Ok(Wire::new(encrypted))
    }
}

impl Connection {
    fn can(&self, feature: &str) -> bool {
        self.features.iter().any(|line| line.split_whitespace().next() == Some(feature))
    }

    /// Whether the server offers this way to sign in (RFC 4954). Old ones write `AUTH=PLAIN`.
    fn can_sign_in(&self, mechanism: &str) -> bool {
        let offers = self.features.iter().filter_map(|line| line.strip_prefix("AUTH"));
        offers.flat_map(|offer| offer.split([' ', '='])).any(|offered| offered == mechanism)
    }
}

/// Introduces callwatch by its address, since it need not have a name (RFC 5321, section 4.1.3).
async fn greet(mut wire: Wire, local: SocketAddr) -> Result<Connection, SmtpError> {
    let name = match local {
        SocketAddr::V4(local) => format!("[{}]", local.ip()),
        SocketAddr::V6(local) => format!("[IPv6:{}]", local.ip()),
    };
    let reply = expect(wire.ask(&format!("EHLO {name}")).await, 250, Stage::Opening)?;
    let features = reply.lines.iter().skip(1).map(|line| line.to_ascii_uppercase()).collect();
    Ok(Connection { wire, features })
}

async fn sign_in(
    connection: &mut Connection,
    user: &str,
    credential: Credential<'_>,
) -> Result<(), SmtpError> {
    let encode = |text: &str| STANDARD.encode(text);
    let password = match credential {
        Credential::Password(password) => password.expose_secret(),
        Credential::Token(token) if connection.can_sign_in("XOAUTH2") => {
            // https://developers.google.com/workspace/gmail/imap/xoauth2-protocol
            let token = token.expose_secret();
            let line =
                format!("AUTH XOAUTH2 {}", encode(&format!("user={user}\x01auth=Bearer {token}\x01\x01")));
            let mut reply = connection.wire.ask(&line).await;
            if reply.as_ref().is_ok_and(|reply| reply.code == 334) {
                // It says why not in a challenge; an empty answer brings the refusal itself.
                reply = connection.wire.ask("").await;
            }
            return expect(reply, 235, Stage::Opening).map(drop);
        }
        Credential::Token(_) => {
            return Err(SmtpError::Broken(
                "the server does not offer to sign in with a token (XOAUTH2)".to_owned(),
            ));
        }
    };
    if connection.can_sign_in("PLAIN") {
        let line = format!("AUTH PLAIN {}", encode(&format!("\0{user}\0{password}")));
        expect(connection.wire.ask(&line).await, 235, Stage::Opening)?;
    } else if connection.can_sign_in("LOGIN") {
        expect(connection.wire.ask("AUTH LOGIN").await, 334, Stage::Opening)?;
        expect(connection.wire.ask(&encode(user)).await, 334, Stage::Opening)?;
        expect(connection.wire.ask(&encode(password)).await, 235, Stage::Opening)?;
    } else {
        return Err(SmtpError::Broken(
            "the server offers none of the ways to sign in that callwatch knows (PLAIN, LOGIN)".to_owned(),
        ));
    }
    Ok(())
}

/// A mail transaction up to the end of the text (RFC 5321, section 3.3). A refused recipient does not keep it from the
/// others.
async fn begin(
    connection: &mut Connection,
    from: &Address,
    to: &[Address],
    mail: &[u8],
) -> Result<Receipt, SmtpError> {
    let utf8 = !to.iter().chain([from]).all(|address| on_the_wire(address).is_ascii());
    if utf8 && !connection.can("SMTPUTF8") {
        return Err(SmtpError::Broken("the server takes no addresses beyond ASCII (SMTPUTF8)".to_owned()));
    }
    let wire = &mut connection.wire;
    let parameters = if utf8 { " SMTPUTF8" } else { "" };
    let sender = on_the_wire(from);
    expect(wire.ask(&format!("MAIL FROM:<{sender}>{parameters}")).await, 250, Stage::Opening)?;
    let mut receipt = Receipt::default();
    for address in to {
        let reply = wire.ask(&format!("RCPT TO:<{}>", on_the_wire(address))).await.map_err(broken)?;
        let words = one_line(&reply.words());
        match reply.blame(Stage::Recipient) {
            _ if reply.is_positive() => receipt.accepted.push(address.clone()),
            _ if asks_for_credentials(&reply) => return Err(refused(&reply, Stage::Recipient)),
            Blame::Server => receipt.deferred.push((address.clone(), words)),
            Blame::Recipient | Blame::Mail => receipt.refused.push((address.clone(), words)),
        }
    }
    if !receipt.accepted.is_empty() {
        expect(wire.ask("DATA").await, 354, Stage::Text)?;
        wire.text(mail).await.map_err(broken)?;
    }
    Ok(receipt)
}

/// The answer to the final dot.
async fn end(connection: &mut Connection, mut receipt: Receipt) -> Result<Receipt, SmtpError> {
    let reply = expect(connection.wire.reply().await, 250, Stage::Text)?;
    receipt.reply = one_line(&reply.words());
    Ok(receipt)
}

/// The address with its domain as A-labels, so that only a local part beyond ASCII needs SMTPUTF8.
fn on_the_wire(address: &Address) -> String {
    let domain: Cow<'_, str> = match url::Host::parse(address.domain()) {
        Ok(url::Host::Domain(domain)) => domain.into(),
        // An address literal, or a name lettre took for one.
        _ => address.domain().into(),
    };
    format!("{}@{domain}", address.user())
}

/// The reply, if its code is `wanted` or, for 2yz, of its class.
fn expect(reply: Result<Reply, Broken>, wanted: u16, stage: Stage) -> Result<Reply, SmtpError> {
    let reply = reply.map_err(broken)?;
    if reply.code == wanted || (wanted / 100 == 2 && wanted != 220 && reply.is_positive()) {
        Ok(reply)
    } else {
        Err(refused(&reply, stage))
    }
}

fn refused(reply: &Reply, stage: Stage) -> SmtpError {
    SmtpError::Refused {
        words: one_line(&reply.words()),
        blame: reply.blame(stage),
        credentials: asks_for_credentials(reply),
    }
}

/// 530, 534 and 535 (RFC 4954, section 6).
fn asks_for_credentials(reply: &Reply) -> bool {
    matches!(reply.code, 530 | 534 | 535)
}

fn broken(broken: Broken) -> SmtpError {
    SmtpError::Broken(match broken {
        Broken::Io(error) => http::cause_in_words(&error),
        broken => broken.to_string(),
    })
}
