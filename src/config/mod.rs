//! The language of the config file: tables read key by key into values that cannot be wrong any more, with every
//! mistake reported at its place.
//!
//! This room knows names, spans, secrets and reports, and it reads the tables about callwatch itself, sources and
//! rules. A destination's own room reads the table of its kind, so nothing here knows HTTP or mail; the whole file is
//! put together in [`crate::config_file`].

mod alerts;
mod connection;
mod context;
mod file;
mod fingerprint;
mod general;
mod key;
mod load;
mod pacing;
mod report;
mod rules;
mod secret;
mod slip;
mod sources;
mod syntax;
mod table;
mod value;
mod values;

pub(crate) use self::{
    alerts::{ALERTS, HEARTBEAT, read as read_alerts},
    connection::{CA_FILE, CLIENT_CERT, CLIENT_KEY, MAX_PEM, PROXY},
    file::read_regular,
    general::{BACKUP, CLUSTER, DELIVERY, PROXY_KEYS, RELOAD, SERVER, STORE, STORE_FOLDER},
    key::{DAY, MINUTE, SECOND, days},
    load::{document, read_file},
    pacing::{COUNT_KEYS, GROUP_KEYS, THROTTLE_KEYS},
    rules::{RULE, References, Target, read as read_rules},
    secret::{Found, password, secret},
    sources::{SOURCE, read as read_sources},
    table::{Declared, Table},
    value::Value,
    values::{
        duration, duration_of, field_path, has_decimal_comma, hide_path_of_url, hide_user_of_url, hours,
        integer_of, is_loopback, kind, language, mistake_in, no_comma, one_of, parse_duration, parse_url,
        parse_web_address, reference, web_address, zone,
    },
};
pub use self::{
    alerts::{HeartbeatConfig, is_of_alerts},
    connection::{ClientIdentity, Connection},
    context::{LoadOptions, Secrets},
    fingerprint::Fingerprint,
    general::{
        BackupConfig, ClusterConfig, DatabaseConfig, DeliveryConfig, ReloadConfig, ServerConfig, ShownFields,
        StoreConfig, TrustedProxy,
    },
    key::{Absent, Key, Literal, ValueType, written},
    report::{Level, Mistake, Report},
    secret::{Secret, SecretError},
    sources::{CallUrl, SourceConfig},
};
