//! Connections: from a listener to answers, each within bounds of time and memory.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, serve::Listener};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::unix, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_service::Service as _;

use super::{
    guard::Peer,
    lobby::{Lobby, Place},
};

/// How long the head of a request may take to come, and how long a connection may wait for the next request.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// The most headers of a request.
const MAX_HEADERS: usize = 64;

/// How long answers under way may take when the listener is closed.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self(Some(address.ip()))
    }
}

impl From<unix::SocketAddr> for Peer {
    fn from(_: unix::SocketAddr) -> Self {
        Self(None)
    }
}

/// Serves the connections that come until `close` is cancelled. Each has a task of its own in `tasks`, which ends soon after
/// `close`, whatever its client does.
pub(super) async fn serve<L>(
    mut listener: L,
    routes: Router,
    lobby: Arc<Lobby>,
    tasks: TaskTracker,
    close: CancellationToken,
) where
    L: Listener,
    L::Addr: Into<Peer>,
{
    while let Some((io, peer)) = close.run_until_cancelled(listener.accept()).await {
        // When everybody is being served, a new connection is closed at once.
        if let Some(place) = lobby.enter() {
            tasks.spawn(converse(io, peer.into(), place, routes.clone(), close.clone()));
        }
    }
}

/// Answers the requests of one connection.
async fn converse(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    place: Place,
    routes: Router,
    close: CancellationToken,
) {
    let guest = place.guest();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(Arc::clone(&guest));
        routes.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    tokio::select! {
        // Errors of a connection are its client's business, so they are not told here.
        _ = connection.as_mut() => {}
        () = place.is_needed() => {}
        () = close.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(LAST_ANSWERS, connection).await;
        }
    }
}
