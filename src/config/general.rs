//! The tables about callwatch itself: `[store]`, `[backup]`, `[delivery]`, `[reload]` and `[server]`.

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use secrecy::ExposeSecret;
use url::Url;

use super::{
    Secrets,
    connection::{Connection, certificates},
    context::Context,
    file::{OpenTo, open_to_others},
    fingerprint::Fingerprint,
    key::{HOUR, Key, Literal, MINUTE, SECOND, ValueType, days},
    report::Mistake,
    secret::{Secret, password},
    table::Table,
    value::Value,
    values::{one_of, size, socket_address, web_address},
};

/// The store beside the config file, when nothing else is said.
pub(crate) const STORE_FOLDER: &str = "callwatch.db";
const RETAIN_DEFAULT: Duration = days(30);
const CACHE_DEFAULT: u64 = 64_000_000;

const PATH: Key = Key::new(
    "path",
    ValueType::Path,
    "the folder of the store; `$STATE_DIRECTORY`, as systemd sets it, goes before the default",
)
.default(Literal::Text(STORE_FOLDER));
const URL: Key = Key::new(
    "url",
    ValueType::Secret,
    "a PostgreSQL database in place of the folder, shared by several machines: see [Several machines](cluster.md); `path` \
     then is only where commands on this machine find the service",
);
const RETAIN: Key = Key::new(
    "retain",
    ValueType::Duration(SECOND, days(3650)),
    "how long finished deliveries and their events are kept for inspection and replay, and all fields of calls that \
     have ended and no longer change",
)
.default(Literal::Duration(RETAIN_DEFAULT));
const CACHE: Key =
    Key::new("cache", ValueType::Size(1_000_000), "how much memory the store may use for its cache of pages")
        .default(Literal::Size(CACHE_DEFAULT));
const STORE_CA_FILE: Key = Key::new(
    "ca_file",
    ValueType::Path,
    "certificates (PEM) to trust for the database, beside the machine's own",
);
pub(crate) const STORE: &[Key] = &[PATH, URL, STORE_CA_FILE, RETAIN, CACHE];

const LEASE_DEFAULT: Duration = Duration::from_secs(15);
const LEASE: Key = Key::new(
    "lease",
    ValueType::Duration(Duration::from_secs(3), HOUR),
    "how long another process waits before it takes over from one that is not heard of",
)
.default(Literal::Duration(LEASE_DEFAULT));
const SHARED_IP: Key = Key::new(
    "shared_ip",
    ValueType::Boolean,
    "the processes reach the API from one IP address, so they share `requests_per_minute`",
)
.default(Literal::Boolean(false));
pub(crate) const CLUSTER: &[Key] = &[LEASE, SHARED_IP];

const EVERY: Key = Key::new(
    "every",
    ValueType::Duration(MINUTE, days(365)),
    "how often the running service backs up its store",
)
.default(Literal::Duration(HOUR));
pub(crate) const BACKUP: &[Key] = &[EVERY];

const GRACE_DEFAULT: Duration = Duration::from_secs(20);
const SHUTDOWN_GRACE: Key = Key::new(
    "shutdown_grace",
    ValueType::Duration(Duration::ZERO, HOUR),
    "how long attempts in flight may go on after a signal to stop",
)
.default(Literal::Duration(GRACE_DEFAULT));
pub(crate) const DELIVERY: &[Key] = &[SHUTDOWN_GRACE];

const WATCH: Key = Key::new(
    "watch",
    ValueType::Boolean,
    "puts this file to work within seconds of a change; `false` waits for SIGHUP or `POST /api/v1/reload`",
)
.default(Literal::Boolean(true));
pub(crate) const RELOAD: &[Key] = &[WATCH];

const LISTEN: Key = Key::new("listen", ValueType::Text, "the IP address and port to listen on")
    .required("\"127.0.0.1:9464\"");
const TOKEN: Key = Key::new(
    "token",
    ValueType::Secret,
    "clients have to send it, as `Authorization: Bearer …`; required unless `listen` is a loopback address or there is a \
     `trusted_proxy`",
);
const PUBLIC_URL: Key = Key::new(
    "public_url",
    ValueType::Url,
    "where people reach the page, such as the address of a proxy; messages to people link to it",
);
const TRUSTED_PROXY: Key = Key::new(
    "trusted_proxy",
    ValueType::Table(PROXY_KEYS),
    "a proxy that signs people in: see [`trusted_proxy`](#trusted_proxy)",
);
const FROM: Key = Key::new(
    "from",
    ValueType::List(&ValueType::Text),
    "the addresses of the proxy, and nobody else's; networks as in `10.0.0.0/8`",
)
.required("[\"10.0.0.2\"]");
const HEADER: Key =
    Key::new("header", ValueType::Text, "the header in which it names whoever it has signed in")
        .required("\"Remote-User\"");
/// The keys of `trusted_proxy`.
pub(crate) const PROXY_KEYS: &[Key] = &[FROM, HEADER];

/// Headers that everybody can send, and that say nothing about who asks.
const NO_USERS: [&str; 6] = ["host", "origin", "cookie", "accept", "user-agent", "x-forwarded-for"];

const SHOW: Key = Key::new(
    "show",
    ValueType::List(&ValueType::Word { what: "field that can be shown", words: &["callerNumber", "transcript"] }),
    "what the page shows of calls beyond masked numbers: `callerNumber` shows phone numbers whole, `transcript` shows \
     transcripts",
)
.default(Literal::Empty);

/// The shortest token that needs no warning, in bytes.
const SHORTEST_TOKEN: usize = 16;

pub(crate) const SERVER: &[Key] = &[LISTEN, TOKEN, PUBLIC_URL, TRUSTED_PROXY, SHOW];

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// The folder. Default: `$STATE_DIRECTORY`, else `callwatch.db` beside the config file. With a database, only the
    /// socket for commands is there.
    pub path: PathBuf,
    /// The database in place of the folder.
    pub database: Option<DatabaseConfig>,
    /// How long finished deliveries and their events are kept, and snapshots of settled calls in full. Default
    /// 30 days.
    pub retain: Duration,
    /// How much memory the store may use for its cache of pages, in bytes. Default 64 MB.
    pub cache: u64,
}

/// The database that `[store]` names.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// Its address, with user and password.
    pub url: Secret,
    /// The certificates to trust.
    pub connection: Connection,
    /// Tells the table's address and certificates from any others.
    pub fingerprint: Fingerprint,
}

impl PartialEq for DatabaseConfig {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for DatabaseConfig {}

/// `[cluster]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// How long a claim holds unless it is renewed. Default 15 s.
    pub lease: Duration,
    /// Whether the processes share one budget of requests. Default false.
    pub shared_ip: bool,
}

impl ClusterConfig {
    /// Reads `[cluster]`.
    pub(crate) fn read(table: &mut Table<'_>) -> Self {
        Self { lease: table.duration(&LEASE), shared_ip: table.boolean(&SHARED_IP) }
    }
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self { lease: LEASE_DEFAULT, shared_ip: false }
    }
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

/// `[reload]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReloadConfig {
    /// Whether a changed file is put to work by itself. Default true.
    pub watch: bool,
}

/// `[server]`
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The token that clients have to send; required unless `listen` is a loopback address or there is a proxy.
    pub token: Option<Secret>,
    /// Where people reach the page.
    pub public_url: Option<Url>,
    /// The proxy that signs people in.
    pub trusted_proxy: Option<TrustedProxy>,
    /// The fields of calls that the page shows.
    pub show: ShownFields,
}

/// A proxy that signs people in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedProxy {
    /// Its addresses.
    pub from: Vec<IpNet>,
    /// The header in which it names whoever asks, in small letters.
    pub header: String,
}

impl TrustedProxy {
    fn read(table: &mut Table<'_>) -> Option<Self> {
        let from = table.list(&FROM, network);
        let header = table.read(&HEADER, |value| {
            let header = value.text()?.to_ascii_lowercase();
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if header.is_empty() || !header.chars().all(is_name) {
                return Err(value.error("this is not the name of a header").hint("write it as in \"Remote-User\""));
            }
            if NO_USERS.contains(&&*header) {
                return Err(value
                    .error("every client sends this header, so it does not say who was signed in")
                    .hint("take the one that the proxy sets and removes from what clients send: \"Remote-User\""));
            }
            Ok(header)
        });
        Some(Self { from: from?, header: header? })
    }

    /// Whether a request from this address comes from the proxy.
    pub fn is_at(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.from.iter().any(|network| network.contains(&address))
    }
}

/// An address, or a network of them.
fn network(value: &Value<'_>) -> Result<IpNet, Mistake> {
    let text = value.text()?;
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    match network {
        Ok(network) if network.prefix_len() == 0 => Err(value
            .error("everybody comes from this network, and could name themselves")
            .hint("write the address of the proxy")),
        Ok(network) => Ok(network),
        Err(_) => Err(value
            .error("this is no address or network")
            .hint("write it as in \"10.0.0.2\" or \"10.0.0.0/8\"")),
    }
}

/// The address of the page, which is made for the root of a host.
fn page_address(value: &Value<'_>) -> Result<Url, Mistake> {
    let url = web_address(value, "what people read there travels")?;
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(value
            .error("the page is made for the root of a host")
            .hint("write the host alone, as in \"https://calls.example.com\""));
    }
    Ok(url)
}

/// Fields of calls that the page shows beyond masked numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShownFields {
    /// Phone numbers are shown whole.
    pub numbers: bool,
    /// Transcripts are shown.
    pub transcripts: bool,
}

impl StoreConfig {
    /// Reads `[store]`.
    pub(crate) fn read(table: &mut Table<'_>) -> Self {
        let cx = table.cx;
        let path = table.read(&PATH, |value| match value.text()? {
            "" => Err(value.error("the path is empty")),
            path => Ok(cx.folder.join(path)),
        });
        let has_url = table.has(&URL);
        let url = table.read(&URL, |value| {
            let found = password(value)?;
            let is_database = |url: &str| url.starts_with("postgres://") || url.starts_with("postgresql://");
            if found.content().is_some_and(|url| !is_database(url)) {
                return Err(value
                    .error("this is not the address of a PostgreSQL database")
                    .hint("write it as in \"postgres://user:password@host/database\""));
            }
            // Several hosts each have a port, which is no URL.
            let has_no_port =
                |url: &str| !url.contains(',') && url::Url::parse(url) == Err(url::ParseError::InvalidPort);
            if found.content().is_some_and(has_no_port) {
                return Err(value.error("the port of this address is no number up to 65535"));
            }
            Ok(found.secret)
        });
        let ca_file = table.read(&STORE_CA_FILE, certificates);
        if !has_url && table.has(&STORE_CA_FILE) {
            table.cx.add_absence(
                Mistake::error(table.span_of(&STORE_CA_FILE), "`url` is missing")
                    .hint("`ca_file` is about the connection to a database"),
            );
        }
        let database = url.map(|url| {
            let shown = format!("{url:?}");
            let plain = match &url {
                Secret::Plain(url) => url.expose_secret().to_owned(),
                Secret::Env(_) | Secret::File(_) => String::new(),
            };
            let ca = ca_file.as_ref().map(|path: &PathBuf| path.display().to_string()).unwrap_or_default();
            let fingerprint = Fingerprint::of_parts([shown.as_bytes(), plain.as_bytes(), ca.as_bytes()]);
            DatabaseConfig { url, connection: Connection { ca_file, ..Connection::default() }, fingerprint }
        });
        Self {
            path: checked(cx, table.span_of(&PATH), path.unwrap_or_else(|| default_folder(cx))),
            database,
            retain: table.duration(&RETAIN),
            cache: table.read(&CACHE, |value| size(&CACHE, value)).unwrap_or(CACHE_DEFAULT),
        }
    }

    /// The table when it is left out.
    pub(crate) fn absent(cx: &Context<'_>) -> Self {
        let path = checked(cx, None, default_folder(cx));
        Self { path, database: None, retain: RETAIN_DEFAULT, cache: CACHE_DEFAULT }
    }
}

/// Reports a folder of the store that other users can look into or change. A command that only looks may go on.
fn checked(cx: &Context<'_>, place: impl Into<Option<Range<usize>>>, folder: PathBuf) -> PathBuf {
    if cx.options.secrets == Secrets::Ignored {
        return folder;
    }
    let shown = folder.display();
    let OpenTo { read, write, replace } = open_to_others(&folder);
    let hint = format!("chmod 700 {shown}");
    let (message, hint) = match (read, write) {
        (_, true) => (format!("other users of this machine can change the store {shown}"), hint),
        (true, false) => {
            (format!("other users of this machine can read the store {shown}, and the calls in it"), hint)
        }
        (false, false) if replace => (
            format!("other users of this machine can put another folder in the place of the store {shown}"),
            format!("chmod go-w the folders that {shown} is in"),
        ),
        (false, false) => return folder,
    };
    let mistake = Mistake::about(place.into(), message).hint(hint);
    cx.add(if write { mistake } else { mistake.into_warning() });
    folder
}

fn default_folder(cx: &Context<'_>) -> PathBuf {
    // systemd gives several folders separated by colons when the unit asks for several.
    let state = (cx.options.env)("STATE_DIRECTORY")
        .and_then(|folders| folders.split(':').next().map(PathBuf::from))
        .filter(|folder| !folder.as_os_str().is_empty());
    state.unwrap_or_else(|| cx.folder.join(STORE_FOLDER))
}

impl BackupConfig {
    /// Reads `[backup]`.
    pub(crate) fn read(table: &mut Table<'_>) -> Self {
        Self { every: table.duration(&EVERY) }
    }
}

impl Default for BackupConfig {
    fn default() -> Self {
        Self { every: HOUR }
    }
}

impl DeliveryConfig {
    /// Reads `[delivery]`.
    pub(crate) fn read(table: &mut Table<'_>) -> Self {
        Self { shutdown_grace: table.duration(&SHUTDOWN_GRACE) }
    }
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self { shutdown_grace: GRACE_DEFAULT }
    }
}

impl ReloadConfig {
    /// Reads `[reload]`.
    pub(crate) fn read(table: &mut Table<'_>) -> Self {
        Self { watch: table.boolean(&WATCH) }
    }
}

impl Default for ReloadConfig {
    fn default() -> Self {
        Self { watch: true }
    }
}

/// A word of `show`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Field {
    Number,
    Transcript,
}

impl ServerConfig {
    /// Reads `[server]`.
    pub(crate) fn read(table: &mut Table<'_>) -> Option<Self> {
        let listen = table.read(&LISTEN, socket_address);
        let has_token = table.has(&TOKEN);
        let token = table.read(&TOKEN, |value| {
            let found = password(value)?;
            if found.content().is_some_and(|token| token.len() < SHORTEST_TOKEN) {
                let message = format!("a token of fewer than {SHORTEST_TOKEN} characters can be guessed");
                value.cx.add(value.warning(message).hint("make one with: openssl rand -hex 16"));
            }
            Ok(found.secret)
        });
        let public_url = table.read(&PUBLIC_URL, page_address);
        let has_proxy = table.has(&TRUSTED_PROXY);
        let trusted_proxy = table.section(&TRUSTED_PROXY, TrustedProxy::read).flatten();
        let shown =
            table.list(&SHOW, |value| one_of(&SHOW.takes, value, &[Field::Number, Field::Transcript]));
        let shown = shown.unwrap_or_default();
        let show = ShownFields {
            numbers: shown.contains(&Field::Number),
            transcripts: shown.contains(&Field::Transcript),
        };
        let listen = listen?;
        if !listen.ip().is_loopback() && !has_token && !has_proxy {
            table.cx.add_absence(
                Mistake::error(
                    table.span_of(&LISTEN),
                    "other machines can reach this, and `token` is missing",
                )
                .hint("add a `token` or a `trusted_proxy`, or listen on 127.0.0.1"),
            );
        }
        Some(Self { listen, token, public_url, trusted_proxy, show })
    }
}
