//! `type = "email"`: the keys, and what is wrong with their values.

use std::{fmt, time::Duration};

use lettre::message::Mailbox;
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use url::Host;

use crate::{
    config::{
        CA_FILE, CLIENT_CERT, CLIENT_KEY, Connection, Key, Literal, Mistake, Secret, Table, Value, ValueType,
        hide_user_of_url, is_loopback, parse_url, password, secret,
    },
    destination::{DestinationKind, DestinationType, config::Show},
};

const SMTP: Key = Key::new("smtp", ValueType::Url, "the server and the user: `\"smtps://user@host:port\"`")
    .required("\"smtps://user@smtp.example.com\"");
const PASSWORD: Key = Key::new("password", ValueType::Secret, "the user's password");
const TOKEN: Key = Key::new(
    "oauth_token",
    ValueType::Secret,
    "an OAuth 2.0 access token for the user in place of a password (AUTH XOAUTH2); read again when it is refused",
);
const PLAINTEXT: Key = Key::new(
    "allow_plaintext_password",
    ValueType::Boolean,
    "send the password without TLS to a server that is not on this machine (`smtp+insecure://`)",
)
.default(Literal::Boolean(false));
const FROM: Key =
    Key::new("from", ValueType::Mailbox, "the sender").required("\"Callwatch <alerts@example.com>\"");
const TO: Key = Key::new("to", ValueType::List(&ValueType::Mailbox), "the receivers")
    .required("[\"manager@example.com\"]");
const THREAD: Key = Key::new(
    "thread",
    ValueType::Word { what: "choice for threads", words: &["call", "off"] },
    "`\"call\"`: the mails about one call are one conversation, with one subject; `\"off\"`: each has its title as the subject",
)
.default(Literal::Text("call"));

pub(in crate::destination) const TYPE: DestinationType = DestinationType {
    word: "email",
    keys: &[SMTP, PASSWORD, TOKEN, PLAINTEXT, FROM, TO, THREAD, CA_FILE, CLIENT_CERT, CLIENT_KEY],
    timeout: Duration::from_secs(30),
    concurrency: 2,
    rate: None,
    merge: true,
    show: Show::Summary,
    read: |table| email(table).map(DestinationKind::Email),
};

/// `type = "email"`
#[derive(Clone, Debug)]
pub struct EmailConfig {
    /// The server.
    pub smtp: SmtpServer,
    /// The account's password, when it is not in `smtp`.
    pub password: Option<Secret>,
    /// An OAuth 2.0 access token in place of a password.
    pub oauth_token: Option<Secret>,
    /// The sender.
    pub from: Mailbox,
    /// The receivers, at least one.
    pub to: Vec<Mailbox>,
    /// Whether the mails about one call are one conversation. Default yes.
    pub threads: bool,
    /// How the server is reached over TLS.
    pub connection: Connection,
}

/// An SMTP server, as `smtp = "smtps://user@host:port"` says it.
#[derive(Clone)]
pub struct SmtpServer {
    /// How the connection is protected.
    pub security: SmtpSecurity,
    /// The host's name or address.
    pub host: String,
    /// The port; default 465 for smtps, 587 for smtp, 25 for smtp+insecure.
    pub port: u16,
    /// The account.
    pub user: Option<String>,
    /// A password given in the address itself.
    pub password: Option<SecretString>,
}

/// How a connection to an SMTP server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// `smtps://`: TLS from the first byte.
    Tls,
    /// `smtp://`: STARTTLS, and nothing is sent without it.
    StartTls,
    /// `smtp+insecure://`: plain text, for a server on the same machine.
    Insecure,
}

impl fmt::Debug for SmtpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} ({:?})", self.host, self.port, self.security)
    }
}

fn email(table: &mut Table<'_>) -> Option<EmailConfig> {
    let smtp = table.read(&SMTP, smtp_server);
    let password = table.read(&PASSWORD, |value| password(value).map(|found| found.secret));
    let oauth_token = table.read(&TOKEN, |value| secret(value).map(|found| found.secret));
    let plaintext = table.boolean(&PLAINTEXT);
    let from = table.read(&FROM, mailbox);
    let to = table.set(&TO, mailbox);
    let threads = table.choice(&THREAD, &[true, false]).unwrap_or(true);
    let connection = Connection::read_direct(table);
    let smtp = smtp?;
    let (has_password, has_token) = (table.has(&PASSWORD), table.has(&TOKEN));
    let trouble = match (&smtp.user, &smtp.password) {
        _ if has_password && has_token => Some((&TOKEN, "there is a password already")),
        (_, Some(_)) if has_token => Some((&TOKEN, "there is a password in `smtp` already")),
        (Some(_), None) if !has_password && !has_token => {
            Some((&SMTP, "there is a user, and `password` is missing"))
        }
        (None, _) if has_password => Some((&SMTP, "there is a password, and no user to go with it")),
        (None, _) if has_token => Some((&SMTP, "there is a token, and no user to go with it")),
        (_, Some(_)) if has_password => Some((&PASSWORD, "there is a password in `smtp` already")),
        _ => None,
    };
    if smtp.security == SmtpSecurity::Insecure && smtp.user.is_some() && !is_here(&smtp.host) && !plaintext {
        table.cx.add_absence(
            Mistake::error(
                table.span_of(&SMTP),
                format!("the password would travel to {} in clear", smtp.host),
            )
            .hint("write smtps:// or smtp://, or allow it with `allow_plaintext_password = true`"),
        );
    }
    if let Some((key, message)) = trouble {
        table.cx.add_absence(
            Mistake::error(table.span_of(key), message)
                .hint("the user belongs in smtp = \"smtps://user@host\", the password in `password`"),
        );
    }
    let of_tls = [&CA_FILE, &CLIENT_CERT].into_iter().find(|key| table.has(key));
    if let Some(key) = of_tls.filter(|_| smtp.security == SmtpSecurity::Insecure) {
        table.cx.add(
            Mistake::warning(table.span_of(key), format!("`{}` changes nothing without TLS", key.name))
                .hint("write smtps:// or smtp:// in `smtp`"),
        );
    }
    Some(EmailConfig { smtp, password, oauth_token, from: from?, to: to?, threads, connection })
}

/// `smtps://user:password@host:port`, user and password percent-encoded.
fn smtp_server(value: &Value<'_>) -> Result<SmtpServer, Mistake> {
    const HINT: &str = "write \"smtps://user@smtp.example.com\"; an @ in the user is written %40";
    let text = value.text()?;
    hide_user_of_url(value);
    let error = |message: String| value.error(message).hint(HINT);
    let url = parse_url(text).map_err(error)?;
    let (security, port) = match url.scheme() {
        "smtps" => (SmtpSecurity::Tls, 465),
        "smtp" => (SmtpSecurity::StartTls, 587),
        "smtp+insecure" => (SmtpSecurity::Insecure, 25),
        _ => return Err(error("the URL must begin with smtps://, smtp:// or smtp+insecure://".to_owned())),
    };
    let host = match url.host() {
        // The parser does not check the host of a scheme it does not know.
        Some(Host::Domain(name)) => Host::parse(name),
        Some(Host::Ipv4(address)) => Ok(Host::Ipv4(address)),
        Some(Host::Ipv6(address)) => Ok(Host::Ipv6(address)),
        None => return Err(error("the host is missing".to_owned())),
    }
    .map_err(|why| error(format!("this is not a host: {why}")))?;
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(error("expected nothing after the host and the port".to_owned()));
    }
    let decode = |text: &str| match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(error("user and password must be UTF-8".to_owned())),
    };
    let user = Some(url.username()).filter(|user| !user.is_empty()).map(decode).transpose()?;
    let password = url.password().map(decode).transpose()?;
    let here = match &host {
        Host::Domain(name) => is_loopback(Some(Host::Domain(name))),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    if security == SmtpSecurity::Insecure && !here {
        value.cx.add(
            value
                .warning("the calls travel in clear")
                .hint("use smtps:// or smtp:// unless the server is on this machine"),
        );
    }
    let other = match (security, url.port()) {
        (SmtpSecurity::Tls, Some(587)) => {
            Some("port 587 usually begins in clear and then turns to TLS: that is smtp://")
        }
        (SmtpSecurity::StartTls, Some(465)) => Some("port 465 usually begins with TLS: that is smtps://"),
        _ => None,
    };
    if let Some(other) = other {
        value.cx.add(value.warning(other).hint("`callwatch check --online` tries it"));
    }
    let host = match host {
        Host::Domain(name) => name,
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    Ok(SmtpServer {
        security,
        host,
        port: url.port().unwrap_or(port),
        user,
        password: password.map(Into::into),
    })
}

/// Whether a host is this machine.
fn is_here(host: &str) -> bool {
    is_loopback(Host::parse(host).ok().as_ref().map(|host| match host {
        Host::Domain(name) => Host::Domain(name.as_str()),
        Host::Ipv4(address) => Host::Ipv4(*address),
        Host::Ipv6(address) => Host::Ipv6(*address),
    }))
}

/// An email address, with or without a name.
fn mailbox(value: &Value<'_>) -> Result<Mailbox, Mistake> {
    let mailbox = value.text()?.parse::<Mailbox>();
    if mailbox.as_ref().is_ok_and(|mailbox| !mailbox.email.user().is_ascii()) {
        value.cx.add(
            value
                .warning("only servers with the extension SMTPUTF8 take this address")
                .hint("the part before the @ is not ASCII; a domain may be"),
        );
    }
    mailbox.map_err(|_| {
        value
            .error("this is not an email address")
            .hint("write \"alerts@example.com\" or \"Callwatch <alerts@example.com>\"")
    })
}
