//! HTTP servers on a loopback port, whose connections can be cut on purpose.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use url::Url;

/// How long requests in flight may take once the server is asked to stop. Without a limit, a half-sent request would
/// keep it from stopping.
const GRACE: Duration = Duration::from_secs(1);

/// A server on a loopback port. It stops when it is dropped.
#[derive(Debug)]
pub struct LocalServer {
    addr: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl LocalServer {
    /// Serves `router` on a free port of 127.0.0.1. Handlers may take a `ConnectInfo<Wire>`.
    ///
    /// # Errors
    /// When the system grants no port.
    pub async fn start(router: Router) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let stop = CancellationToken::new();
        let service = router.into_make_service_with_connect_info::<Wire>();
        let serve = axum::serve(WiredListener(listener), service)
            .with_graceful_shutdown(stop.clone().cancelled_owned());
        let stopping = stop.clone();
        let task = tokio::spawn(async move {
            let overdue = async {
                stopping.cancelled().await;
                tokio::time::sleep(GRACE).await;
            };
            // `serve` never fails, because it retries the errors of a listener.
            tokio::select! { _ = serve => {} () = overdue => {} }
        });
        Ok(Self { addr, stop, task })
    }

    /// The URL of `path`, which begins with a slash, on this server.
    pub fn url(&self, path: &str) -> Url {
        #[expect(clippy::expect_used, reason = "a socket address is a valid authority")]
        let mut url = Url::parse(&format!("http://{}", self.addr)).expect("a URL");
        url.set_path(path);
        url
    }

    /// Stops listening and waits, for at most a second, for the requests in flight.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // It fails only when the task has panicked, and then the server has stopped, too.
        let _ = (&mut self.task).await;
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A handle on the connection that a request came in on.
#[derive(Clone, Debug, Default)]
pub struct Wire(Arc<Mutex<Cut>>);

/// Whether and when a connection is going to be cut.
#[derive(Clone, Copy, Debug, Default)]
enum Cut {
    #[default]
    No,
    /// It is closed once this many more bytes have been written.
    After(usize),
    /// It is reset before anything else is written.
    Reset,
}

impl Wire {
    /// Resets the connection before anything else is written to it.
    pub fn reset(&self) {
        *self.cut() = Cut::Reset;
    }

    /// Closes the connection once this many more bytes have been written to it.
    pub fn cut_after(&self, bytes: usize) {
        *self.cut() = Cut::After(bytes);
    }

    fn cut(&self) -> MutexGuard<'_, Cut> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connected<IncomingStream<'_, WiredListener>> for Wire {
    fn connect_info(stream: IncomingStream<'_, WiredListener>) -> Self {
        stream.io().wire.clone()
    }
}

struct WiredListener(TcpListener);

impl Listener for WiredListener {
    type Io = WiredStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (WiredStream, SocketAddr) {
        let (stream, addr) = Listener::accept(&mut self.0).await;
        // This is only for speed. A socket that refuses it still works.
        let _ = stream.set_nodelay(true);
        (WiredStream { stream, wire: Wire::default() }, addr)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A connection that is cut when its [`Wire`] is told so.
struct WiredStream {
    stream: TcpStream,
    wire: Wire,
}

impl AsyncRead for WiredStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for WiredStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let cut = *self.wire.cut();
        match cut {
            Cut::No => Pin::new(&mut self.stream).poll_write(cx, buf),
            Cut::Reset => {
                // Closing with a linger time of zero sends RST instead of FIN.
                let _ = self.stream.set_zero_linger();
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
            Cut::After(0) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Cut::After(left) => {
                let allowed = &buf[..buf.len().min(left)];
                let written = ready!(Pin::new(&mut self.stream).poll_write(cx, allowed))?;
                *self.wire.cut() = Cut::After(left - written);
                Poll::Ready(Ok(written))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
