//! A PostgreSQL for tests: one server for all of them, started when the first one asks, and a database for each.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use tokio::sync::OnceCell;
use tokio_postgres::{Client, Config, NoTls};

use crate::{destination::tls::write_identity, rig::free_address, tools::skip};

/// The port that names the socket of a server, unless it listens on one of its own.
const PORT: u16 = 5432;

/// The user that servers run as when the tests run as root, who may not run them.
const NOBODY: u32 = 65_534;

static SERVER: OnceCell<Option<Server>> = OnceCell::const_new();
static POOLER: OnceCell<Option<Pooler>> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A server, with the folder that has its files and its socket.
pub struct Server {
    pub folder: PathBuf,
    /// Ends the server when this process does, however it does: its input ends then.
    keeper: Child,
    is_shared: bool,
    port: u16,
    options: Vec<String>,
}

/// A PgBouncer in front of the server.
struct Pooler {
    folder: PathBuf,
    _keeper: Child,
}

impl Pooler {
    async fn start(server: &Path) -> Option<Self> {
        let Some(pgbouncer) =
            program("pgbouncer").or_else(|| Some("/usr/sbin/pgbouncer".into())).filter(|it| it.is_file())
        else {
            skip("no PgBouncer is installed, so stores behind one are not tested");
            return None;
        };
        let folder = server.to_owned();
        let (config, users) = (folder.join("pgbouncer.ini"), folder.join("users"));
        fs::write(&users, "\"callwatch\" \"\"\n").unwrap();
        let shown = folder.display();
        let text = format!(
            "[databases]\n* = host={shown}\n[pgbouncer]\npool_mode = transaction\nauth_type = trust\n\
             auth_file = {}\nunix_socket_dir = {shown}\nlisten_addr =\nlisten_port = 6432\nmax_client_conn = 1000\n\
             default_pool_size = 6\nserver_idle_timeout = 5\nserver_login_retry = 1\n",
            users.display()
        );
        fs::write(&config, text).unwrap();
        let script = "\"$@\" & pooler=$!; read -r _; kill -TERM $pooler; wait $pooler";
        let keeper = as_user("sh")
            .args(["-c", script, "sh"])
            .arg(pgbouncer)
            .arg(&config)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("pooler.log")).unwrap())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while !folder.join(".s.PGSQL.6432").exists() {
            let log = || fs::read_to_string(folder.join("pooler.log")).unwrap_or_default();
            assert!(began.elapsed() < Duration::from_secs(60), "PgBouncer does not start: {}", log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(Self { folder, _keeper: keeper })
    }
}

/// A database of the server.
pub struct Database {
    folder: PathBuf,
    name: String,
}

/// A new database; `None`, after a line that says so, where PostgreSQL cannot be had.
pub async fn database() -> Option<Database> {
    let server = SERVER.get_or_init(async || Server::start(true).await).await.as_ref()?;
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    let database = Database { folder: server.folder.clone(), name };
    let admin = connect(&database.folder, "postgres").await.unwrap();
    admin.batch_execute(&format!("CREATE DATABASE {}", database.name)).await.unwrap();
    Some(database)
}

/// A server for one test, which may stop it; `None` where PostgreSQL cannot be had.
pub async fn server() -> Option<Server> {
    Server::start(false).await
}

/// A server that listens on a port of this machine, and speaks TLS there, with its port and the folder of its certificate.
pub async fn server_with_tls() -> Option<(Server, u16, PathBuf)> {
    let port = free_address().port();
    let options = ["listen_addresses=127.0.0.1", "ssl=on", "ssl_cert_file=../cert.pem"];
    let options = [&options[..], &["ssl_key_file=../key.pem"]].concat();
    let server = Server::begin(false, port, &options, |folder| {
        write_identity(folder);
        let key = folder.join("key.pem");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&key, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    });
    let server = server.await?;
    let folder = server.folder.clone();
    Some((server, port, folder))
}

impl Database {
    /// Where it is.
    pub fn url(&self) -> &'static str {
        let url = format!("postgres:///{}?host={}&user=callwatch", self.name, self.folder.display());
        // A test makes one or two.
        Box::leak(url.into_boxed_str())
    }

    /// Where it is behind a pooler in transaction mode; `None`, after a line that says so, where there is no pooler.
    pub async fn pooled_url(&self) -> Option<&'static str> {
        let pooler = POOLER.get_or_init(async || Pooler::start(&self.folder).await).await.as_ref()?;
        let url =
            format!("postgres:///{}?host={}&user=callwatch&port=6432", self.name, pooler.folder.display());
        Some(Box::leak(url.into_boxed_str()))
    }

    /// Runs statements on it.
    pub async fn run(&self, sql: &str) {
        connect(&self.folder, &self.name).await.unwrap().batch_execute(sql).await.unwrap();
    }

    /// How many rows there are of this, as in `table WHERE …`.
    pub async fn count(&self, of: &str) -> i64 {
        let client = connect(&self.folder, &self.name).await.unwrap();
        client.query_one(&format!("SELECT count(*) FROM {of}"), &[]).await.unwrap().get(0)
    }
}

async fn connect(folder: &Path, database: &str) -> Result<Client, tokio_postgres::Error> {
    connect_at(folder, PORT, database).await
}

async fn connect_at(folder: &Path, port: u16, database: &str) -> Result<Client, tokio_postgres::Error> {
    let mut config = Config::new();
    config.host_path(folder).port(port).user("callwatch").dbname(database);
    let (client, carrier) = config.connect(NoTls).await?;
    tokio::spawn(carrier);
    Ok(client)
}

/// A program of PostgreSQL: from the folder in `CALLWATCH_POSTGRES`, else of the newest that Debian's packages have installed, else
/// from the path.
fn program(name: &str) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("CALLWATCH_POSTGRES").filter(|_| name != "pgbouncer") {
        return Some(Path::new(&folder).join(name)).filter(|path| path.is_file());
    }
    let mut versions: Vec<_> =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|it| it.path()).collect();
    versions.sort();
    let installed = versions.into_iter().rev().map(|version| version.join("bin").join(name));
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let in_path: Vec<_> = std::env::split_paths(&in_path).map(|folder| folder.join(name)).collect();
    installed.chain(in_path).find(|path| path.is_file())
}

/// The command, as a user that may run a server.
fn as_user(program: impl AsRef<std::ffi::OsStr>) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    command
}

impl Server {
    async fn start(is_shared: bool) -> Option<Self> {
        Self::begin(is_shared, PORT, &[], |_| {}).await
    }

    /// Starts one with these options, after `prepare` has put files into its folder.
    async fn begin(
        is_shared: bool,
        port: u16,
        options: &[&str],
        prepare: impl FnOnce(&Path),
    ) -> Option<Self> {
        let Some(initdb) = program("initdb") else {
            skip("no PostgreSQL is installed, so stores in it are not tested");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("callwatch-pg-").tempdir_in("/tmp").unwrap().keep();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let made = as_user(&initdb)
            .args(["--no-sync", "--no-locale", "-E", "UTF8", "-A", "trust", "-U", "callwatch", "-D"])
            .arg(folder.join("data"))
            .current_dir("/")
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        prepare(&folder);
        let options: Vec<_> = options.iter().map(|it| (*it).to_owned()).collect();
        let keeper = launch(&folder, is_shared, port, &options);
        let server = Self { folder, keeper, is_shared, port, options };
        server.is_up().await;
        Some(server)
    }

    async fn is_up(&self) {
        let began = Instant::now();
        while connect_at(&self.folder, self.port, "postgres").await.is_err() {
            let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(began.elapsed() < Duration::from_secs(60), "PostgreSQL does not start: {}", log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends it at once, as a crash does, and starts it again after `pause`.
    pub async fn crash(&mut self, pause: Duration) {
        drop(self.keeper.stdin.take());
        self.keeper.wait().unwrap();
        tokio::time::sleep(pause).await;
        self.keeper = launch(&self.folder, self.is_shared, self.port, &self.options);
        self.is_up().await;
    }

    /// The socket that it listens on.
    pub fn socket(&self) -> PathBuf {
        self.folder.join(".s.PGSQL.5432")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Starts a server with the files in this folder.
fn launch(folder: &Path, remove: bool, port: u16, options: &[String]) -> Child {
    // The shell waits for the end of its input, which is the end of this process or of the server.
    let script = "\"$@\" & server=$!; read -r _; kill -QUIT $server; wait $server; [ -z \"$REMOVE\" ] || rm -rf \"$FOLDER\"";
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    as_user("sh")
        .args(["-c", script, "sh"])
        .arg(program("postgres").expect("it stands beside initdb"))
        .arg("-D")
        .arg(folder.join("data"))
        .arg("-k")
        .arg(folder)
        .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=300"])
        .args(["-c", "shared_buffers=32MB", "-c", "autovacuum_naptime=5s"])
        .args(["-c", &format!("port={port}")])
        .args(options.iter().flat_map(|option| ["-c", option]))
        .env("FOLDER", folder)
        .env("REMOVE", if remove { "yes" } else { "" })
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}
