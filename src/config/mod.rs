//! The config file: read, checked whole, and handed on as values that cannot be wrong any more.

mod connection;
mod destinations;
mod fingerprint;
mod load;
mod pacing;
mod reader;
mod report;
mod rules;
mod secret;
mod sources;
mod syntax;
mod value;
mod values;

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use url::Url;

pub use self::{
    fingerprint::Fingerprint,
    load::{LoadOptions, Loaded, Secrets},
    report::{Level, Mistake, Report},
    secret::{Secret, SecretError},
};
pub(crate) use self::{
    load::{document, read_file},
    reader::Table,
    value::Value,
    values::{DAY, duration, kind, reference},
};
use crate::{
    calendar::{Hours, Zone},
    name::Name,
    rule::Rule,
    template::Template,
};

/// A config without a mistake in it.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// The time zone of everything that does not say another. Default UTC.
    pub timezone: Zone,
    /// `[store]`
    pub store: StoreConfig,
    /// `[backup]`
    pub backup: BackupConfig,
    /// `[delivery]`
    pub delivery: DeliveryConfig,
    /// `[server]`; `None` listens on nothing.
    pub server: Option<ServerConfig>,
    /// `[sources.*]`, at least one.
    pub sources: Vec<SourceConfig>,
    /// `[destinations.*]`
    pub destinations: Vec<DestinationConfig>,
    /// `[rules.*]`, in the order of the file.
    pub rules: Vec<Rule>,
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// The folder. Default: `$STATE_DIRECTORY`, else `callwatch.db` beside the config file.
    pub path: PathBuf,
    /// How long finished deliveries and their events are kept, and snapshots of settled calls in full. Default
    /// 30 days.
    pub retain: Duration,
    /// How much memory the store may use to keep pages at hand, in bytes. Default 64 MB.
    pub cache: u64,
}

/// `[backup]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupConfig {
    /// How often the store is backed up while the service runs. Default 1 h.
    pub every: Duration,
}

/// `[delivery]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryConfig {
    /// How long attempts in flight may go on after a signal to stop. Default 20 s.
    pub shutdown_grace: Duration,
}

/// `[server]`
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where to listen.
    pub listen: std::net::SocketAddr,
    /// Who may use the admin API; required unless `listen` is a loopback address.
    pub token: Option<Secret>,
}

/// `[sources.NAME]`: one Callem project.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// The table's name.
    pub name: Name,
    /// The key of the project.
    pub api_key: Secret,
    /// Where the API is, without a trailing slash. Default `https://api.callem.ai/v1`.
    pub base_url: Url,
    /// Time between looks for new calls and at live ones. Default 15 s.
    pub interval: Duration,
    /// Time within which the whole list is walked. Default 1 h.
    pub sweep: Duration,
    /// How long after completion an analysis is waited for. Default 1 h.
    pub analysis_window: Duration,
    /// The largest page to ask for, 1..=1000. Default 100.
    pub page_size: u32,
    /// Requests per minute; sources with the same host share the smallest of theirs. Default 100.
    pub requests_per_minute: u32,
    /// On the first run, also announce calls created within this time before it. Default none.
    pub notify_since: Duration,
    /// The deadline of one request. Default 30 s.
    pub timeout: Duration,
    /// After failing for so long the source is said to be failing. Default 5 min.
    pub failing_after: Duration,
    /// Of the whole table.
    pub fingerprint: Fingerprint,
}

/// `[destinations.NAME]`
#[derive(Clone, Debug)]
pub struct DestinationConfig {
    /// The table's name.
    pub name: Name,
    /// What kind of receiver it is, and what only that kind needs.
    pub kind: DestinationKind,
    /// The waits after a failed attempt, in order; after the last one a delivery is dead.
    /// Default 5s, 5m, 30m, 2h, 5h, 10h, 14h, 20h, 24h.
    pub retry: Vec<Duration>,
    /// A delivery older than this is not tried again. Default none.
    pub max_attempts_age: Option<Duration>,
    /// At most this often. Default none; Slack 1/s.
    pub rate: Option<Rate>,
    /// Attempts at the same time. Default 8 (webhook), 1 (Slack), 2 (email).
    pub concurrency: usize,
    /// The deadline of one attempt. Default 15 s (email 30 s).
    pub timeout: Duration,
    /// The time zone of what people read there, and of its quiet hours. Default that of the whole config.
    pub timezone: Zone,
    /// When it is not to be bothered, but for what is critical.
    pub quiet: Option<Hours>,
    /// Which fields of a call the receiver is shown.
    pub fields: FieldFilter,
    /// Of the whole table.
    pub fingerprint: Fingerprint,
}

/// What only one kind of destination needs.
#[derive(Clone, Debug)]
pub enum DestinationKind {
    /// `type = "webhook"`
    Webhook(WebhookConfig),
    /// `type = "slack"`
    Slack(SlackConfig),
    /// `type = "email"`
    Email(EmailConfig),
}

/// `type = "webhook"`
#[derive(Clone)]
pub struct WebhookConfig {
    /// Where to POST. May hold a secret in its path or query: never shown whole.
    pub url: Url,
    /// Secrets to sign with, `whsec_` and base64, every one of them; none leaves the request unsigned.
    pub secrets: Vec<Secret>,
    /// The shape of the body, and of what is signed.
    pub format: WebhookFormat,
    /// Additional headers. Values may be secrets.
    pub headers: Vec<(reqwest::header::HeaderName, Secret)>,
    /// Statuses of 400 to 499 that make a delivery dead at once. Default none.
    pub permanent: BTreeSet<u16>,
    /// How the receiver is reached.
    pub connection: Connection,
}

/// Shows of the URL only where it leads to.
impl std::fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookConfig")
            .field("url", &self.url.origin().ascii_serialization())
            .field("secrets", &self.secrets)
            .field("format", &self.format)
            .field("headers", &self.headers)
            .field("permanent", &self.permanent)
            .field("connection", &self.connection)
            .finish()
    }
}

/// How an HTTP receiver is reached.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// Certificates (PEM) to trust beside the machine's own.
    pub ca_file: Option<PathBuf>,
    /// What callwatch shows a receiver that wants to know who calls.
    pub identity: Option<ClientIdentity>,
    /// The proxy that makes the connections. May hold a password.
    pub proxy: Option<Secret>,
    /// Connect to public addresses only (`allow_private = false`).
    pub public_only: bool,
}

impl Connection {
    /// Whether there is nothing special about it.
    pub fn is_plain(&self) -> bool {
        let Self { ca_file, identity, proxy, public_only } = self;
        ca_file.is_none() && identity.is_none() && proxy.is_none() && !public_only
    }
}

/// A certificate for callwatch itself and its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The certificate, and those that vouch for it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The shape of a webhook's body and headers.
#[derive(Clone, Debug, Default)]
pub enum WebhookFormat {
    /// <https://www.standardwebhooks.com>
    #[default]
    Standard,
    /// The vendor's own webhooks, for receivers written for those.
    Callem,
    /// CloudEvents 1.0, structured JSON mode.
    Cloudevents,
    /// The receiver's own shape, signed as [`WebhookFormat::Standard`] is.
    Own(WebhookBody),
}

/// What a webhook's receiver wants to read.
#[derive(Clone, Debug)]
pub struct WebhookBody {
    /// Makes the body.
    pub template: Template,
    /// The `content-type`. Default `application/json`.
    pub content_type: reqwest::header::HeaderValue,
    /// What the template sees as `secrets.NAME`.
    pub secrets: Vec<(String, Secret)>,
}

/// `type = "slack"`
#[derive(Clone, Debug)]
pub struct SlackConfig {
    /// The incoming webhook's address, a secret as a whole.
    pub webhook_url: Secret,
    /// How Slack is reached.
    pub connection: Connection,
}

/// `type = "email"`
#[derive(Clone, Debug)]
pub struct EmailConfig {
    /// The server.
    pub smtp: SmtpServer,
    /// The account's password, when it is not in `smtp`.
    pub password: Option<Secret>,
    /// The sender.
    pub from: lettre::message::Mailbox,
    /// The receivers, at least one.
    pub to: Vec<lettre::message::Mailbox>,
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
    pub password: Option<secrecy::SecretString>,
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

impl std::fmt::Debug for SmtpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{} ({:?})", self.host, self.port, self.security)
    }
}

/// At most `count` per `period`: `"1/s"`, `"30/m"`, `"500/h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least 1.
    pub count: u32,
    /// In how long: a second, a minute or an hour.
    pub period: Duration,
}

/// Which fields of a call a receiver is shown, as dotted paths (`callAnalysis.sentiment`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldFilter {
    /// Only these; `None` means all (for Slack and email: all but the transcript).
    pub include: Option<BTreeSet<String>>,
    /// Never these.
    pub exclude: BTreeSet<String>,
}
