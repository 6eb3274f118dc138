//! The config file as a whole: every table read by the room it is about.

mod schema;

use std::{
    fmt,
    ops::Deref,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Map, Value};

use crate::{
    calendar::Zone,
    config::{
        ALERTS, Absent, BACKUP, BackupConfig, CLUSTER, COUNT_KEYS, ClusterConfig, DELIVERY, DeliveryConfig,
        Fingerprint, GROUP_KEYS, HEARTBEAT, HeartbeatConfig, Key, Literal, LoadOptions, Mistake, PROXY_KEYS,
        RELOAD, RULE, References, ReloadConfig, Report, SERVER, SOURCE, STORE, Secrets, ServerConfig,
        SourceConfig, StoreConfig, THROTTLE_KEYS, Table, ValueType, document, is_of_alerts, language,
        read_alerts, read_file, read_rules, read_sources, zone,
    },
    destination::{self, DestinationConfig, Links},
    language::Language,
    rule::Rule,
};

pub use self::schema::schema;

const TIMEZONE: Key = Key::new(
    "timezone",
    ValueType::Zone,
    "the time zone of everything that does not name another; it stands before the first table",
)
.default(Literal::Text("UTC"));
const LANGUAGE: Key = Key::new(
    "language",
    ValueType::Word { what: "language", words: &Language::TAGS },
    "the [language of messages](messages.md#in-the-readers-language) of destinations that do not name another; it stands before \
     the first table",
)
.default(Literal::Text(Language::English.tag()));
const STORE_TABLE: Key =
    Key::new("store", ValueType::Table(STORE), "where and how long things are remembered");
const CLUSTER_TABLE: Key =
    Key::new("cluster", ValueType::Table(CLUSTER), "several machines that share a database");
const BACKUP_TABLE: Key = Key::new("backup", ValueType::Table(BACKUP), "copies of the store");
const DELIVERY_TABLE: Key = Key::new("delivery", ValueType::Table(DELIVERY), "attempts of all destinations");
const RELOAD_TABLE: Key = Key::new("reload", ValueType::Table(RELOAD), "changes of this file");
const SERVER_TABLE: Key = Key::new(
    "server",
    ValueType::Table(SERVER),
    "a page for people, health, metrics and the admin API over HTTP",
);
const ALERTS_TABLE: Key =
    Key::new("alerts", ValueType::Table(ALERTS), "who is told when callwatch itself is in trouble");
const HEARTBEAT_TABLE: Key = Key::new(
    "heartbeat",
    ValueType::Table(HEARTBEAT),
    "a sign of life for somebody who watches over callwatch from outside",
);
const SOURCES: Key = Key::new("sources", ValueType::NamedTables, "the projects to watch");
const DESTINATIONS: Key = Key::new("destinations", ValueType::NamedTables, "the receivers of notifications");
const RULES: Key = Key::new("rules", ValueType::NamedTables, "which changes matter, and to whom");

/// The keys before the first table.
const TOP: &[Key] = &[TIMEZONE, LANGUAGE];

/// A config without a mistake in it.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// Tells the file's text from any other.
    pub text: Fingerprint,
    /// The keys and values of the file, with `***` in place of secrets.
    pub shown: Shown,
    /// The time zone of everything that does not name another. Default UTC.
    pub timezone: Zone,
    /// `[store]`
    pub store: StoreConfig,
    /// `[cluster]`
    pub cluster: ClusterConfig,
    /// `[backup]`
    pub backup: BackupConfig,
    /// `[delivery]`
    pub delivery: DeliveryConfig,
    /// `[reload]`
    pub reload: ReloadConfig,
    /// `[server]`; `None` listens on nothing.
    pub server: Option<ServerConfig>,
    /// `[sources.*]`, at least one.
    pub sources: Vec<SourceConfig>,
    /// `[destinations.*]`
    pub destinations: Vec<DestinationConfig>,
    /// `[heartbeat]`; `None` sends none.
    pub heartbeat: Option<HeartbeatConfig>,
    /// `[rules.*]`, in the order of the file, and behind them the rule that `[alerts]` stands for.
    pub rules: Vec<Rule>,
}

/// The keys and values of a config file, without secrets and comments.
#[derive(Clone, Default)]
pub struct Shown(Arc<Value>);

impl Deref for Shown {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0
    }
}

/// Shows nothing: the config it stands in shows the same.
impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

/// A config that can be used, and the warnings about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The config.
    pub config: Config,
    /// Values that may not do what was meant. Holds no errors.
    pub warnings: Report,
}

/// The declared keys of one table.
#[derive(Clone, Debug)]
pub struct TableKeys {
    /// As docs/configuration.md heads its section: `[store]`, `type = "webhook"`.
    pub heading: String,
    /// In the order in which they are explained.
    pub keys: Vec<Key>,
}

/// Every key there is, table by table. A destination takes the keys of its type and those of `[destinations.NAME]`,
/// which are listed here with the defaults of the first type.
pub fn tables() -> Vec<TableKeys> {
    let table = |heading: &str, keys: &[Key]| TableKeys { heading: heading.to_owned(), keys: keys.to_vec() };
    let mut tables = vec![
        table("The top of the file", TOP),
        table("[store]", STORE),
        table("[cluster]", CLUSTER),
        table("[backup]", BACKUP),
        table("[delivery]", DELIVERY),
        table("[reload]", RELOAD),
        table("[server]", SERVER),
        table("trusted_proxy", PROXY_KEYS),
        table("[alerts]", ALERTS),
        table("[heartbeat]", HEARTBEAT),
        table("[sources.NAME]", SOURCE),
    ];
    let types = destination::types();
    tables.extend(types.first().map(|first| table("[destinations.NAME]", &first.common())));
    tables.extend(types.iter().map(|r#type| table(&format!("type = \"{}\"", r#type.word), r#type.keys)));
    tables.extend([
        table("[rules.NAME]", RULE),
        table("count", COUNT_KEYS),
        table("group", GROUP_KEYS),
        table("throttle", THROTTLE_KEYS),
    ]);
    tables
}

/// The tables that are about a process and its machine.
const OF_THE_MACHINE: [Key; 6] =
    [STORE_TABLE, CLUSTER_TABLE, BACKUP_TABLE, RELOAD_TABLE, SERVER_TABLE, HEARTBEAT_TABLE];

impl Config {
    /// How many rules `[rules]` has.
    pub fn rules_written(&self) -> usize {
        self.rules.iter().filter(|rule| !is_of_alerts(rule.name.as_str())).count()
    }

    /// A fingerprint of the part of the config that decides the shared work. It leaves out the tables about a process and its
    /// machine, which may differ between the machines that share the work.
    pub fn of_the_work(&self) -> Fingerprint {
        let mut shown = Value::clone(&self.shown.0);
        if let Some(tables) = shown.as_object_mut() {
            tables.retain(|name, _| !OF_THE_MACHINE.iter().any(|table| table.name == name));
        }
        shown.sort_all_objects();
        Fingerprint::of_text(&shown.to_string())
    }

    /// The keys and values at work: those of the file, with `***` in place of secrets, and the defaults of those that it
    /// leaves out and that have one.
    pub fn effective(&self) -> Value {
        let mut all = self.shown.0.as_object().cloned().unwrap_or_default();
        for table in [STORE_TABLE, CLUSTER_TABLE, BACKUP_TABLE, DELIVERY_TABLE, RELOAD_TABLE] {
            all.entry(table.name).or_insert_with(|| Value::Object(Map::new()));
        }
        fill_in(
            &mut all,
            &[
                TIMEZONE,
                LANGUAGE,
                STORE_TABLE,
                CLUSTER_TABLE,
                BACKUP_TABLE,
                DELIVERY_TABLE,
                RELOAD_TABLE,
                SERVER_TABLE,
            ],
        );
        fill_in(&mut all, &[HEARTBEAT_TABLE]);
        each_table(&mut all, SOURCES, |table| fill_in(table, SOURCE));
        each_table(&mut all, RULES, |table| fill_in(table, RULE));
        each_table(&mut all, DESTINATIONS, |table| {
            let types = destination::types();
            let is_its = |it: &&destination::DestinationType| table.get("type") == Some(&it.word.into());
            if let Some(own) = types.iter().find(is_its) {
                fill_in(table, own.keys);
                fill_in(table, &own.common());
            }
        });
        Value::Object(all)
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// The report of every mistake, warnings included, when at least one of them is an error.
    pub fn load(path: &Path, options: LoadOptions<'_>) -> Result<Loaded, Report> {
        Self::parse(&Self::read_text(path)?, path, options)
    }

    /// The store that the file at `path` means, even if there are mistakes in the rest of it; `None` when the file does not
    /// say so in an orderly way.
    pub fn store_of(path: &Path) -> Option<StoreConfig> {
        let text = Self::read_text(path).ok()?;
        let options = LoadOptions { secrets: Secrets::Ignored, ..LoadOptions::default() };
        let mut store = None;
        // The mistakes are reported by whoever needs all of it.
        let _ = document(&text, path, options, Some(&[]), |root| {
            let read = root.section(&STORE_TABLE, StoreConfig::read);
            store = Some(read.unwrap_or_else(|| StoreConfig::absent(root.cx)));
            root.accept_all();
        });
        store
    }

    /// The text of the file at `path`.
    ///
    /// # Errors
    /// The report, when it cannot be read.
    pub fn read_text(path: &Path) -> Result<String, Report> {
        let hint = "give its path with --config, or let `callwatch init` write one";
        read_file(path, "config file", hint)
    }

    /// Reads `text` as if it were the content of the file at `path`, which need not exist.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, path: &Path, options: LoadOptions<'_>) -> Result<Loaded, Report> {
        let tables = tables();
        let keys: Vec<_> = tables.iter().map(|table| &*table.keys).collect();
        let document = document(text, path, options, Some(&keys), |root| {
            Self::read(root, path, Fingerprint::of_text(text))
        })?;
        let config = Config { shown: Shown(Arc::new(document.shown)), ..document.read };
        Ok(Loaded { config, warnings: document.report })
    }

    fn read(root: &mut Table<'_>, path: &Path, text: Fingerprint) -> Self {
        let cx = root.cx;
        let timezone = root.read(&TIMEZONE, zone).unwrap_or(Zone::UTC);
        let language = root.read(&LANGUAGE, language).unwrap_or_default();
        let store = root.section(&STORE_TABLE, StoreConfig::read);
        let cluster = root.section(&CLUSTER_TABLE, ClusterConfig::read);
        let has_database = store.as_ref().is_some_and(|store| store.database.is_some());
        if root.has(&CLUSTER_TABLE) && !has_database {
            root.cx.add(
                Mistake::warning(
                    root.span_of(&CLUSTER_TABLE),
                    "`[cluster]` changes nothing without `url` in `[store]`",
                )
                .hint("several machines share the work over a database; one machine has a folder, and no cluster"),
            );
        }
        let backup = root.section(&BACKUP_TABLE, BackupConfig::read);
        let delivery = root.section(&DELIVERY_TABLE, DeliveryConfig::read);
        let reload = root.section(&RELOAD_TABLE, ReloadConfig::read);
        let server = root.section(&SERVER_TABLE, ServerConfig::read);
        let sources = read_sources(root, &SOURCES);
        let page = server.as_ref().and_then(|server| server.as_ref()?.public_url.as_ref());
        let links = Links::of(&sources, page);
        let read =
            |name, table: &mut Table<'_>| DestinationConfig::read(name, table, timezone, language, &links);
        let destinations = root.named(&DESTINATIONS, read);
        let targets: Vec<_> = destinations.iter().map(DestinationConfig::target).collect();
        let references = References { sources: &SOURCES, destinations: &DESTINATIONS, rules: &RULES };
        let declared = root.declared(&DESTINATIONS);
        let alerts = root.section(&ALERTS_TABLE, |table| read_alerts(table, &declared, &targets)).flatten();
        let heartbeat = root.section(&HEARTBEAT_TABLE, HeartbeatConfig::read).flatten();
        let mut rules = read_rules(root, references, timezone, &targets, alerts.as_ref());
        rules.extend(alerts);
        Self {
            path: path.to_owned(),
            text,
            shown: Shown::default(),
            timezone,
            store: store.unwrap_or_else(|| StoreConfig::absent(cx)),
            cluster: cluster.unwrap_or_default(),
            backup: backup.unwrap_or_default(),
            delivery: delivery.unwrap_or_default(),
            reload: reload.unwrap_or_default(),
            server: server.flatten(),
            sources,
            destinations,
            heartbeat,
            rules,
        }
    }
}

/// Writes the defaults of the keys that a table leaves out, in it and in the tables that it has.
fn fill_in(table: &mut Map<String, Value>, keys: &[Key]) {
    for key in keys {
        match (table.get_mut(key.name), key.takes, key.absent) {
            (Some(Value::Object(inner)), ValueType::Table(keys), _) => fill_in(inner, keys),
            (None, _, Absent::Default(default)) => {
                // Defaults are written in the same way in JSON as in TOML.
                if let Ok(value) = serde_json::from_str(&default.to_string()) {
                    table.insert(key.name.to_owned(), value);
                }
            }
            _ => {}
        }
    }
}

/// Goes over the tables of a key such as `[sources.NAME]`.
fn each_table(all: &mut Map<String, Value>, key: Key, fill_in: impl Fn(&mut Map<String, Value>)) {
    if let Some(Value::Object(tables)) = all.get_mut(key.name) {
        tables.values_mut().filter_map(Value::as_object_mut).for_each(fill_in);
    }
}
