//! The server: health, metrics, the admin API and the page, for people and programs that ask a callwatch at work.
//!
//! It parses a request, calls [`ops`](crate::ops), and renders the result. It decides nothing itself, keeps nothing, and
//! knows the work only through the store, telemetry, and the supervisor's [`Handle`].
//!
//! It listens where `[server]` says, and always on a Unix socket in the store's folder, which the commands use. Both have
//! the same routes. The server is a [`Door`] of the supervisor: whatever can fail happens before a config is put to work.

mod api;
mod client;
mod guard;
mod health;
mod lobby;
mod page;
mod problem;
mod query;
mod serve;
mod session;
mod socket;
mod token;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use axum::{Router, http::StatusCode, middleware};
use tokio::{
    net::TcpListener,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::client::Client;
use self::{
    guard::{Admission, Entrance},
    lobby::Lobby,
    problem::Problem,
    socket::Socket,
};
use crate::{
    config::ServerConfig,
    config_file::Config,
    ops::{Ops, Readiness},
    store::{Figures, Store},
    supervisor::{ApplyError, Door, Handle, Opening, Reloader},
    telemetry::{Signal, Telemetry},
    time::Clock,
};

/// The most connections to the address of `[server]`.
const CONNECTIONS: usize = 128;

/// The most connections to the socket.
const CONNECTIONS_TO_SOCKET: usize = 32;

/// How long the end of all connections is waited for. They end earlier by themselves.
const FAREWELL: Duration = Duration::from_secs(5);

/// Everything that answers are made from. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    store: Arc<dyn Store>,
    telemetry: Telemetry,
    clock: Clock,
    handle: Handle,
    /// Puts the config file to work, where there is one.
    reloader: Option<Reloader>,
    /// The last result of the checks: whoever asks again and again does not keep the store and the board busy.
    readiness: Arc<tokio::sync::Mutex<Option<(Instant, Readiness)>>>,
    /// The last figures of the store: one that does not answer must not hide the other metrics.
    figures: Arc<Mutex<Figures>>,
}

/// The server of one process. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    service: Service,
    lobby: Arc<Lobby>,
    open: Mutex<Open>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The entrances that are open now.
#[derive(Default)]
struct Open {
    address: Option<Address>,
    socket: Option<Socket>,
}

/// An address that is listened on.
struct Address {
    /// As the config says it.
    listen: SocketAddr,
    entrance: Arc<Entrance>,
    close: CancellationToken,
}

impl Server {
    /// A server that listens nowhere yet. Everything it opens is closed when `stop` is cancelled.
    pub fn new(service: Service, stop: &CancellationToken) -> Self {
        let shared = Shared {
            service,
            lobby: Lobby::new(CONNECTIONS),
            open: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: stop.child_token(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Closes everything, and waits until the last answers are out, for a few seconds at most.
    pub async fn close(self) {
        self.shared.stop.cancel();
        // The socket's file is removed, unless another process has its own there by now.
        drop(std::mem::take(&mut *self.open()));
        self.shared.tasks.close();
        // A task that is not through by then ends with the process.
        let _ = timeout(FAREWELL, self.shared.tasks.wait()).await;
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.shared.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to serve a listener; everything that comes through it passes `entrance`.
    fn serve<L>(&self, listener: L, entrance: Arc<Entrance>, lobby: Arc<Lobby>, close: CancellationToken)
    where
        L: axum::serve::Listener,
        L::Addr: Into<guard::Peer>,
    {
        let Shared { service, tasks, .. } = &*self.shared;
        let routes = routes(service.clone(), entrance, &close);
        tasks.spawn(serve::serve(listener, routes, lobby, tasks.clone(), close));
    }

    /// Opens the socket in the store's folder, the first time. Without it, everything but the commands works.
    fn open_socket(&self, config: &Config) {
        let mut open = self.open();
        if open.socket.is_some() {
            return;
        }
        match Socket::bind(&config.store.path) {
            Ok((socket, listener)) => {
                open.socket = Some(socket);
                drop(open);
                let lobby = Lobby::new(CONNECTIONS_TO_SOCKET);
                let close = self.shared.stop.clone();
                self.serve(listener, Arc::new(Entrance::Socket), lobby, close);
            }
            Err(error) => {
                let text = format!("commands cannot reach callwatch while it runs: {error}");
                self.shared.service.telemetry.emit(Signal::Hindrance { text });
            }
        }
    }

    /// Binds the address of the config, unless it is open already.
    async fn bind(&self, config: &ServerConfig) -> Result<Option<TcpListener>, ApplyError> {
        let before = self.open().address.as_ref().map(|address| address.listen);
        if before == Some(config.listen) {
            return Ok(None);
        }
        let bound = TcpListener::bind(config.listen).await;
        Ok(Some(bound.map_err(|error| cannot_listen(config.listen, before, &error))?))
    }

    /// Listens as the config says, from now on.
    fn switch(&self, listener: Option<TcpListener>, config: Option<ServerConfig>) {
        let mut open = self.open();
        let Some(config) = config else {
            if let Some(address) = open.address.take() {
                address.close.cancel();
            }
            return;
        };
        let (listen, admission) = (config.listen, Admission::of(&config));
        let Some(listener) = listener else {
            if let Some(address) = &open.address {
                address.entrance.admit(admission);
            }
            return;
        };
        let telemetry = &self.shared.service.telemetry;
        let entrance = Arc::new(Entrance::address(admission, telemetry.clone()));
        let close = self.shared.stop.child_token();
        let address = Address { listen, entrance: Arc::clone(&entrance), close: close.clone() };
        if let Some(before) = open.address.replace(address) {
            before.close.cancel();
        }
        drop(open);
        if let Ok(address) = listener.local_addr() {
            telemetry.emit(Signal::Listening { address });
        }
        self.serve(listener, entrance, Arc::clone(&self.shared.lobby), close);
    }
}

#[async_trait]
impl Door for Server {
    async fn prepare(&mut self, config: &Config) -> Result<Opening, ApplyError> {
        let listener = match &config.server {
            Some(server) => self.bind(server).await?,
            None => None,
        };
        self.open_socket(config);
        let (server, wanted) = (self.clone(), config.server.clone());
        Ok(Box::new(move || server.switch(listener, wanted)))
    }
}

/// How long the figures of the store are waited for.
const FIGURES_DEADLINE: Duration = Duration::from_secs(2);

/// How long the result of the checks is good for.
const CHECK_EVERY: Duration = Duration::from_secs(1);

impl Service {
    /// A process with this store, board and config. Without a reloader its config is not one of a file.
    pub fn new(
        store: Arc<dyn Store>,
        telemetry: Telemetry,
        clock: Clock,
        handle: Handle,
        reloader: Option<Reloader>,
    ) -> Self {
        Self { store, telemetry, clock, handle, reloader, readiness: Arc::default(), figures: Arc::default() }
    }

    /// Whether the process does its work, as it was found a second ago at most.
    async fn readiness(&self) -> Result<Readiness, Problem> {
        let mut last = self.readiness.lock().await;
        if let Some((at, readiness)) = &*last
            && at.elapsed() < CHECK_EVERY
        {
            return Ok(readiness.clone());
        }
        let readiness = self.ops()?.readiness().await;
        *last = Some((Instant::now(), readiness.clone()));
        Ok(readiness)
    }

    /// The figures of the store, as it said them last.
    async fn figures(&self) -> Figures {
        let answer = timeout(FIGURES_DEADLINE, self.store.figures()).await;
        let mut last = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(Ok(figures)) = answer {
            *last = figures;
        }
        last.clone()
    }

    /// The config at work.
    fn config(&self) -> Result<Arc<Config>, Problem> {
        self.handle.config().ok_or_else(|| {
            let detail = "callwatch is starting; ask again in a moment";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "starting", detail)
        })
    }

    /// Whether the config is that of a file, which can be reloaded.
    fn has_file(&self) -> bool {
        self.reloader.is_some()
    }

    /// The operations on the store under the config at work.
    fn ops(&self) -> Result<Ops, Problem> {
        let ops = Ops::new(Arc::clone(&self.store), self.config()?, self.clock);
        Ok(ops.beside(self.telemetry.board()))
    }
}

/// All routes behind an entrance.
fn routes(service: Service, entrance: Arc<Entrance>, close: &CancellationToken) -> Router {
    let unknown = || Problem::new(StatusCode::NOT_FOUND, "no_route", "there is nothing at this address");
    let wrong_method = || {
        let detail = "this address does not take this method";
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", detail)
    };
    health::routes()
        .merge(page::routes(Arc::clone(&entrance), close))
        .nest(api::PREFIX, api::routes())
        .fallback(async move || unknown())
        .method_not_allowed_fallback(async move || wrong_method())
        .with_state(service)
        .layer(middleware::from_fn_with_state(entrance, guard::admit))
}

/// Why an address cannot be listened on, and what to do.
fn cannot_listen(listen: SocketAddr, before: Option<SocketAddr>, error: &io::Error) -> ApplyError {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse if before.is_some_and(|before| before.port() == listen.port()) => {
            "the port is in use by this callwatch itself; restart it to change the address alone"
        }
        io::ErrorKind::AddrInUse => "another program listens there; set [server] listen to another port",
        io::ErrorKind::PermissionDenied => "take a port of 1024 or more",
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address; `ip address` lists those it has"
        }
        _ => "set [server] listen to another address",
    };
    ApplyError::Door(format!("cannot listen on {listen} ({error}): {advice}"))
}
