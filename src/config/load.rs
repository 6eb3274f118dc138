//! From a file to a [`Config`] or to the [`Report`] of everything that is wrong with it.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use toml::de::DeTable;

use super::{
    BackupConfig, Config, DeliveryConfig, Report, ServerConfig, StoreConfig, destinations,
    reader::{Context, Table},
    report::{Level, Mistake},
    rules, sources,
    syntax::Syntax,
    values::{DAY, HOUR, MINUTE, SECOND, bytes, duration, secret, socket_address, zone},
};
use crate::calendar::Zone;

/// What a config that can be used comes with.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The config.
    pub config: Config,
    /// What may not do what was meant. Holds no errors.
    pub warnings: Report,
}

/// Whether the secrets a config speaks of have to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// Each one is read and looked at.
    Required,
    /// Variables and files are left alone: nothing will be asked of the outside.
    Ignored,
}

/// How a config is loaded.
#[derive(Clone, Copy)]
pub struct LoadOptions<'a> {
    /// Whether the secrets have to be there.
    pub secrets: Secrets,
    /// Where variables of the environment are looked up.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

impl Default for LoadOptions<'_> {
    fn default() -> Self {
        Self { secrets: Secrets::Required, env: &|name| std::env::var(name).ok() }
    }
}

impl fmt::Debug for LoadOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadOptions").field("secrets", &self.secrets).finish_non_exhaustive()
    }
}

impl Config {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// The report of every mistake, warnings included, when at least one of them is an error.
    pub fn load(path: &Path, options: LoadOptions<'_>) -> Result<Loaded, Report> {
        let hint = "give its path with --config; config.example.toml is one to start from";
        Self::parse(&read_file(path, "config file", hint)?, path, options)
    }

    /// Reads `text` as if it were the content of the file at `path`, which need not exist.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, path: &Path, options: LoadOptions<'_>) -> Result<Loaded, Report> {
        let (config, warnings) = document(text, path, options, true, |root| Self::read(root, path))?;
        Ok(Loaded { config, warnings })
    }

    fn read(root: &mut Table<'_>, path: &Path) -> Self {
        let cx = root.cx;
        let timezone = root.optional("timezone", zone).unwrap_or(Zone::UTC);
        let store = root.section("store", store).unwrap_or_else(|| default_store(cx));
        let backup = root.section("backup", backup).unwrap_or(DEFAULT_BACKUP);
        let delivery = root.section("delivery", delivery).unwrap_or(DEFAULT_DELIVERY);
        let server = root.section("server", server);
        let sources = sources::read(root);
        let destinations = destinations::read(root, timezone);
        let rules = rules::read(root, timezone, &destinations);
        Self {
            path: path.to_owned(),
            timezone,
            store,
            backup,
            delivery,
            server: server.flatten(),
            sources,
            destinations,
            rules,
        }
    }
}

/// Reads `text` as the content of the file at `path` with `read`, which is given its outermost table. Whether it
/// `has_secrets` decides if values are kept out of the report.
///
/// # Errors
/// The report of every mistake, warnings included, when at least one of them is an error; else what was read comes
/// with the warnings.
pub(crate) fn document<T>(
    text: &str,
    path: &Path,
    options: LoadOptions<'_>,
    has_secrets: bool,
    read: impl for<'a> FnOnce(&mut Table<'a>) -> T,
) -> Result<(T, Report), Report> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let syntax = Syntax::new(text, &errors);
    let folder = path.parent().unwrap_or(Path::new(""));
    let cx = Context::new(text, folder, options, !errors.is_empty());
    if has_secrets {
        syntax.hide_secrets(&cx);
    }
    let mut root = Table::new(&cx, 0..0, document.get_ref());
    let result = read(&mut root);
    root.finish();
    let (mistakes, hidden) = cx.finish();
    let shown = if has_secrets { hidden } else { text.to_owned() };
    let report = Report::new(path, shown, syntax.merge(mistakes));
    if report.count(Level::Error) > 0 { Err(report) } else { Ok((result, report)) }
}

/// The text of the file at `path`, which is called `what` in the report; `hint` says what to do when there is none.
///
/// # Errors
/// The report when it cannot be read.
pub(crate) fn read_file(path: &Path, what: &str, hint: &str) -> Result<String, Report> {
    std::fs::read_to_string(path).map_err(|error| {
        let mistake = match error.kind() {
            io::ErrorKind::NotFound => Mistake::of_file(format!("the {what} does not exist")).hint(hint),
            io::ErrorKind::InvalidData => Mistake::of_file(format!("the {what} is not UTF-8 text")),
            _ => Mistake::of_file(format!("the {what} cannot be read: {error}")),
        };
        Report::unreadable(path, mistake)
    })
}

fn default_store(cx: &Context<'_>) -> StoreConfig {
    // systemd gives several folders separated by colons when the unit asks for several.
    let state = (cx.options.env)("STATE_DIRECTORY")
        .and_then(|folders| folders.split(':').next().map(PathBuf::from))
        .filter(|folder| !folder.as_os_str().is_empty());
    StoreConfig {
        path: state.unwrap_or_else(|| cx.folder.join("callwatch.db")),
        retain: Duration::from_secs(30 * 24 * 3600),
        cache: 64_000_000,
    }
}

fn store(table: &mut Table<'_>) -> StoreConfig {
    let cx = table.cx;
    let default = default_store(cx);
    let path = table.optional("path", |value| match value.text()? {
        "" => Err(value.error("the path is empty")),
        path => Ok(cx.folder.join(path)),
    });
    StoreConfig {
        path: path.unwrap_or(default.path),
        retain: table.optional("retain", duration(SECOND..=3650 * DAY)).unwrap_or(default.retain),
        cache: table.optional("cache", |value| bytes(value, 1_000_000)).unwrap_or(default.cache),
    }
}

const DEFAULT_BACKUP: BackupConfig = BackupConfig { every: HOUR };

fn backup(table: &mut Table<'_>) -> BackupConfig {
    let every = table.optional("every", duration(MINUTE..=365 * DAY));
    BackupConfig { every: every.unwrap_or(DEFAULT_BACKUP.every) }
}

const DEFAULT_DELIVERY: DeliveryConfig = DeliveryConfig { shutdown_grace: Duration::from_secs(20) };

fn delivery(table: &mut Table<'_>) -> DeliveryConfig {
    let grace = table.optional("shutdown_grace", duration(Duration::ZERO..=HOUR));
    DeliveryConfig { shutdown_grace: grace.unwrap_or(DEFAULT_DELIVERY.shutdown_grace) }
}

fn server(table: &mut Table<'_>) -> Option<ServerConfig> {
    let listen = table.required("listen", "\"127.0.0.1:9464\"", socket_address);
    let has_token = table.has("token");
    let token = table.optional("token", |value| secret(value).map(|found| found.secret));
    let listen = listen?;
    if !listen.ip().is_loopback() && !has_token {
        table.cx.add_absence(
            Mistake::error(table.span_of("listen"), "other machines can reach this, and `token` is missing")
                .hint("add token = { env = \"CALLWATCH_TOKEN\" }, or listen on 127.0.0.1"),
        );
    } else {
        let idle = Mistake::warning(table.span_of("listen"), "this version does not listen on anything yet");
        table.cx.add(idle.hint("health, metrics and the dashboard come with a later version"));
    }
    Some(ServerConfig { listen, token })
}
