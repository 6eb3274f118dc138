//! Lines to the database: a small pool of connections, and scripts that are sent over one of them at once.
//!
//! No state of a session is relied on, and no statement is prepared by name, so a pooler that gives out its connections
//! for one transaction at a time can stand between.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::Poll,
    time::Duration,
};

use deadpool::managed::{self, Metrics, Object, RecycleError, RecycleResult};
use secrecy::ExposeSecret;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
    time::timeout,
};
use tokio_postgres::{
    AsyncMessage, Client, Config, NoTls, Row,
    config::{Host, SslMode},
    types::{ToSql, Type},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    config::{Connection, Secret},
    http,
    store::StoreError,
};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(4);

/// The most connections of one process, beside the one that listens.
const MOST: usize = 6;

/// How long one exchange with the database may take.
const EXCHANGE: Duration = Duration::from_secs(20);

/// Begins a transaction. The timeouts end a transaction whose client has gone or stalls, so that another process does not wait
/// long for its locks.
const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = '15s'; SET LOCAL lock_timeout = '8s'; \
     SET LOCAL idle_in_transaction_session_timeout = '4s'; SET LOCAL synchronous_commit = on";

/// As [`BEGIN`], but keeps the database's own `synchronous_commit`, which waits for more than its own disk.
const BEGIN_AS_SET: &str = "BEGIN; SET LOCAL statement_timeout = '15s'; SET LOCAL lock_timeout = '8s'; \
     SET LOCAL idle_in_transaction_session_timeout = '4s'";

const COMMIT: &str = "COMMIT";

/// The address of a database, with the parts that the library leaves to its user.
#[derive(Clone)]
pub(super) struct Address {
    config: Config,
    /// What people are told: no user and no password.
    pub(super) shown: String,
}

/// Why a text is no address of a database. Never holds the text, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct AddressError(String);

impl Address {
    /// Reads `postgres://user:password@host:port/database?sslmode=…`.
    ///
    /// TLS is required, and the server's certificate verified, unless the server is this machine or `sslmode=disable`
    /// says otherwise.
    pub(super) fn parse(url: &str) -> Result<Self, AddressError> {
        let wrong = |why: &str| AddressError(why.to_owned());
        let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
        rest.ok_or_else(|| wrong("the address of a database begins with postgres://"))?;
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (modes, others): (Vec<_>, Vec<_>) =
            query.split('&').filter(|part| !part.is_empty()).partition(|part| part.starts_with("sslmode="));
        let address =
            if others.is_empty() { base.to_owned() } else { format!("{base}?{}", others.join("&")) };
        let mut config: Config = address.parse().map_err(|error: tokio_postgres::Error| {
            let cause = std::error::Error::source(&error).map(|cause| cause.to_string());
            // The library names the key that it does not know, and no value.
            wrong(&format!(
                "this is no address of a database ({})",
                cause.unwrap_or_else(|| error.to_string())
            ))
        })?;
        if config.get_hosts().is_empty() {
            return Err(wrong("the address of the database names no host"));
        }
        let is_here = |host: &Host| match host {
            Host::Tcp(name) => {
                name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
            Host::Unix(_) => true,
        };
        let mode = match modes.last().and_then(|mode| mode.split_once('=')).map(|(_, mode)| mode) {
            None if config.get_hosts().iter().all(is_here) => SslMode::Disable,
            Some("disable") => SslMode::Disable,
            None | Some("require" | "verify-ca" | "verify-full") => SslMode::Require,
            Some(_) => {
                return Err(wrong(
                    "sslmode is require or disable here: a connection that falls back to plain text protects nothing",
                ));
            }
        };
        let shown = |host: &Host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        };
        let hosts: Vec<_> = config.get_hosts().iter().map(shown).collect();
        let database = config.get_dbname().or(config.get_user()).unwrap_or("callwatch");
        let shown = format!("{}/{database}", hosts.join(","));
        config
            .ssl_mode(mode)
            .connect_timeout(CONNECT)
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(5))
            .keepalives_interval(Duration::from_secs(2))
            .tcp_user_timeout(Duration::from_secs(10));
        if config.get_application_name().is_none() {
            config.application_name("callwatch");
        }
        Ok(Self { config, shown })
    }

    /// Whether the connection is to be encrypted.
    fn is_encrypted(&self) -> bool {
        self.config.get_ssl_mode() != SslMode::Disable
    }
}

/// Called with the payload of each notification from another process.
pub(super) type Heard = Box<dyn Fn(&str) + Send + Sync>;

/// The channel on which processes notify each other, each with its own id.
macro_rules! channel {
    () => {
        "callwatch"
    };
}
pub(super) use channel;

/// Makes connections. The address is read again for each, so that a password can be changed without a restart.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) url: Secret,
    pub(super) connection: Connection,
}

/// A connection. Dropping it closes it, and rolls back what was not committed.
pub(super) struct Line {
    client: Client,
    carrier: JoinHandle<()>,
}

impl Drop for Line {
    fn drop(&mut self) {
        // A network that hangs must not keep it.
        self.carrier.abort();
    }
}

impl Connector {
    /// The address as it is now.
    pub(super) async fn address(&self) -> Result<Address, Trouble> {
        let no_address = |why: String| Trouble::Final(StoreError::NoAddress { why });
        let url = self.url.load().await.map_err(|error| no_address(error.to_string()))?;
        Address::parse(url.expose_secret()).map_err(|error| no_address(error.to_string()))
    }

    async fn connect(&self, heard: Option<Heard>) -> Result<Line, Trouble> {
        // While the service runs, the secret's file may be missing for a moment: that passes.
        let address = self.address().await.map_err(|trouble| match trouble {
            Trouble::Final(StoreError::NoAddress { why }) => Trouble::Passing(why),
            other => other,
        })?;
        let connection = self.connection.clone();
        let tls = match address.is_encrypted() {
            false => None,
            true => {
                let made = tokio::task::spawn_blocking(move || http::tls_for(&connection)).await;
                let made = made.map_err(|error| Trouble::Passing(error.to_string()))?;
                Some(made.map_err(|error| Trouble::Passing(error.to_string()))?)
            }
        };
        let connected = async {
            Ok(match tls {
                None => {
                    let (client, connection) = address.config.connect(NoTls).await?;
                    Line { client, carrier: carry(connection, heard) }
                }
                Some(tls) => {
                    let (client, connection) = address.config.connect(MakeRustlsConnect::new(tls)).await?;
                    Line { client, carrier: carry(connection, heard) }
                }
            })
        };
        // The library's own timeout counts for each address of a host name by itself, and does not cover the handshake.
        timeout(CONNECT, connected).await.map_err(|_| Trouble::late(CONNECT))?
    }

    /// Runs a statement that may not be in a transaction, over a connection of its own.
    pub(super) async fn execute(&self, sql: &str) -> Result<(), Trouble> {
        let line = self.connect(None).await?;
        let done = timeout(EXCHANGE, line.client.batch_execute(sql)).await;
        Ok(done.map_err(|_| Trouble::late(EXCHANGE))??)
    }

    /// Opens a connection that receives the notifications of other processes.
    pub(super) async fn listen(&self, heard: Heard) -> Result<Line, Trouble> {
        let line = self.connect(Some(heard)).await?;
        let listening = timeout(EXCHANGE, line.client.batch_execute(concat!("LISTEN ", channel!()))).await;
        listening.map_err(|_| Trouble::late(EXCHANGE))??;
        Ok(line)
    }
}

/// Drives a connection in a task of its own, and passes notifications on to `heard`.
fn carry<S, T>(mut connection: tokio_postgres::Connection<S, T>, heard: Option<Heard>) -> JoinHandle<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        // The task ends when the client is dropped, or on an error, which callers waiting for an answer receive as well.
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let (AsyncMessage::Notification(told), Some(heard)) = (message, &heard) {
                heard(told.payload());
            }
        }
    })
}

impl managed::Manager for Connector {
    type Type = Line;
    type Error = Trouble;

    async fn create(&self) -> Result<Line, Trouble> {
        self.connect(None).await
    }

    async fn recycle(&self, line: &mut Line, _: &Metrics) -> RecycleResult<Trouble> {
        if line.client.is_closed() { Err(RecycleError::message("closed")) } else { Ok(()) }
    }
}

/// The pool.
pub(super) struct Lines {
    pool: managed::Pool<Connector>,
    /// Whether the database's own `synchronous_commit` stays as it is.
    as_set: AtomicBool,
}

impl Lines {
    pub(super) fn new(connector: Connector) -> Self {
        // `session` bounds the wait for a connection by `EXCHANGE`, so the pool needs no timeout, without which it cannot fail.
        let pool = managed::Pool::builder(connector).max_size(MOST).build();
        #[expect(clippy::expect_used, reason = "it only fails when a timeout is set and there is no runtime")]
        let pool = pool.expect("the pool has no timeouts");
        Self { pool, as_set: AtomicBool::new(false) }
    }

    pub(super) fn connector(&self) -> &Connector {
        self.pool.manager()
    }

    /// Leaves `synchronous_commit` as the database has it.
    pub(super) fn leave_commits(&self) {
        self.as_set.store(true, Ordering::Relaxed);
    }

    /// A connection for one transaction.
    pub(super) async fn session(&self) -> Result<Session, Trouble> {
        let object = match timeout(EXCHANGE, self.pool.get()).await {
            Err(_) => return Err(Trouble::Passing("every connection is busy".to_owned())),
            Ok(Err(managed::PoolError::Backend(trouble))) => return Err(trouble),
            Ok(Err(_)) => return Err(Trouble::Final(StoreError::Closed)),
            Ok(Ok(object)) => object,
        };
        let as_set = self.as_set.load(Ordering::Relaxed);
        let begin = if as_set { BEGIN_AS_SET } else { BEGIN };
        Ok(Session { line: Some(object), begin, is_clean: AtomicBool::new(false) })
    }

    /// Closes every connection.
    pub(super) fn close(&self) {
        self.pool.close();
    }
}

/// A connection for one transaction. It goes back to the pool after [`Session::finish`], or when the database is known to have
/// rolled the transaction back; otherwise it is closed.
pub(super) struct Session {
    line: Option<Object<Connector>>,
    begin: &'static str,
    /// Whether the transaction has ended although it failed.
    is_clean: AtomicBool,
}

impl Session {
    /// Sends a script and waits for all answers.
    pub(super) async fn run(&self, script: Script) -> Result<Answers, Trouble> {
        let Some(line) = &self.line else {
            return Err(Trouble::Passing("the connection is closed".to_owned()));
        };
        let ends = matches!(script.0.last(), Some(Step::Plain(sql)) if sql == COMMIT);
        let answers = line.run(script, self.begin).await;
        // After a lost claim the database skipped the rest of the script, and its COMMIT rolled the transaction back.
        self.is_clean.store(ends && matches!(answers, Err(Trouble::Lost)), Ordering::Relaxed);
        answers
    }

    /// Returns the connection to the pool. Call it once the transaction has ended.
    pub(super) fn finish(mut self) {
        drop(self.line.take());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(line) = self.line.take().filter(|_| !self.is_clean.load(Ordering::Relaxed)) {
            drop(Object::take(line));
        }
    }
}

impl Line {
    async fn run(&self, script: Script, begin: &str) -> Result<Answers, Trouble> {
        let answered = timeout(EXCHANGE, send(&self.client, &script, begin)).await;
        answered.map_err(|_| Trouble::late(EXCHANGE))?
    }

    /// Whether the connection has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

/// A value for a statement.
pub(super) type Value = (Box<dyn ToSql + Sync + Send>, Type);

/// A value of this type.
pub(super) fn value<T: ToSql + Sync + Send + 'static>(kind: Type, value: T) -> Value {
    (Box::new(value), kind)
}

pub(super) fn text(of: impl Into<String>) -> Value {
    value(Type::TEXT, of.into())
}

pub(super) fn texts(of: Vec<String>) -> Value {
    value(Type::TEXT_ARRAY, of)
}

pub(super) fn int(of: i64) -> Value {
    value(Type::INT8, of)
}

pub(super) fn ints(of: Vec<i64>) -> Value {
    value(Type::INT8_ARRAY, of)
}

pub(super) fn smalls(of: Vec<i16>) -> Value {
    value(Type::INT2_ARRAY, of)
}

pub(super) fn bytes(of: Vec<u8>) -> Value {
    value(Type::BYTEA, of)
}

pub(super) fn all_bytes(of: Vec<Vec<u8>>) -> Value {
    value(Type::BYTEA_ARRAY, of)
}

enum Step {
    Begin,
    Plain(String),
    Typed(&'static str, Vec<Value>),
}

/// Statements that are sent at once, one behind the other.
#[derive(Default)]
pub(super) struct Script(Vec<Step>);

impl Script {
    /// Statements in a transaction of their own.
    pub(super) fn begin() -> Self {
        Self(vec![Step::Begin])
    }

    /// More statements of a transaction that has begun.
    pub(super) fn more() -> Self {
        Self::default()
    }

    /// Adds a statement with values.
    pub(super) fn then(mut self, sql: &'static str, values: Vec<Value>) -> Self {
        self.0.push(Step::Typed(sql, values));
        self
    }

    /// Adds a statement with values, if `wanted`.
    pub(super) fn then_if(
        self,
        wanted: bool,
        sql: &'static str,
        values: impl FnOnce() -> Vec<Value>,
    ) -> Self {
        if wanted { self.then(sql, values()) } else { self }
    }

    /// Adds statements as they are.
    pub(super) fn plain(mut self, sql: impl Into<String>) -> Self {
        self.0.push(Step::Plain(sql.into()));
        self
    }

    /// Ends the transaction.
    pub(super) fn commit(self) -> Self {
        self.plain(COMMIT)
    }
}

/// The rows that each statement with values brought, in the order of the statements.
pub(super) struct Answers(std::vec::IntoIter<Vec<Row>>);

impl Answers {
    /// The rows of the next statement.
    pub(super) fn next(&mut self) -> Vec<Row> {
        self.0.next().unwrap_or_default()
    }
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<Option<Vec<Row>>, tokio_postgres::Error>> + Send + 'a>>;

async fn send(client: &Client, script: &Script, begin: &str) -> Result<Answers, Trouble> {
    let run = |step: &'_ Step| -> Running<'_> {
        match step {
            Step::Begin => {
                let begin = begin.to_owned();
                Box::pin(async move { client.batch_execute(&begin).await.map(|()| None) })
            }
            Step::Plain(sql) => {
                let sql = sql.clone();
                Box::pin(async move { client.batch_execute(&sql).await.map(|()| None) })
            }
            Step::Typed(..) => Box::pin(std::future::ready(Ok(None))),
        }
    };
    // Each future sends its statement when it is first looked at, so all are under way before the first answer comes.
    let mut running: Vec<Running<'_>> = vec![];
    for step in &script.0 {
        running.push(match step {
            Step::Typed(sql, values) => {
                let values: Vec<(&(dyn ToSql + Sync), Type)> = values
                    .iter()
                    .map(|(value, kind)| (&**value as &(dyn ToSql + Sync), kind.clone()))
                    .collect();
                Box::pin(async move { client.query_typed(sql, &values).await.map(Some) })
            }
            other => run(other),
        });
    }
    let mut answers: Vec<Option<Result<Option<Vec<Row>>, tokio_postgres::Error>>> =
        running.iter().map(|_| None).collect();
    poll_fn(|context| {
        let mut is_done = true;
        for (running, answer) in running.iter_mut().zip(&mut answers) {
            if answer.is_none() {
                match running.as_mut().poll(context) {
                    Poll::Ready(ready) => *answer = Some(ready),
                    Poll::Pending => is_done = false,
                }
            }
        }
        if is_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    // After the first failure all others fail because of it.
    let answers: Result<Vec<_>, _> = answers.into_iter().flatten().collect();
    Ok(Answers(answers?.into_iter().flatten().collect::<Vec<_>>().into_iter()))
}

/// Why an exchange with the database came to nothing.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It may pass: the database cannot be reached, is busy, or ends.
    Passing(String),
    /// Another transaction was in the way; it works at once when it is tried again.
    Clash(String),
    /// Trying again at once does not help, but it may later: a wrong password, a missing right.
    Refused(String),
    /// The claim of the write is lost.
    Lost,
    /// The write tells of a call that was forgotten.
    Forgotten,
    /// Asking again does not help.
    Final(StoreError),
}

impl Trouble {
    fn late(after: Duration) -> Self {
        Self::Passing(format!("no answer within {}", humantime::format_duration(after)))
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Final(error)
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        use std::error::Error;
        let Some(said) = error.as_db_error() else {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            return Self::Passing(text);
        };
        let code = said.code().code();
        // Only the message of a database error is passed on, because its details quote rows.
        let text = format!("{} (SQLSTATE {code})", said.message());
        match code {
            "CW001" => Self::Lost,
            "CW002" => Self::Forgotten,
            // No access, no such database, no right, no such table.
            "28000" | "28P01" | "3D000" | "42501" | "42P01" | "3F000" => Self::Refused(text),
            // A serialization failure, a deadlock, an event that was purged while a delivery of it was added.
            "40001" | "40P01" | "23503" => Self::Clash(text),
            _ => Self::Passing(text),
        }
    }
}
