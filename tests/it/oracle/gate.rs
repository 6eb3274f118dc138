//! A relay in front of a receiver, on a port of its own. It can refuse connections, cut them, and hold answers back.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::rig::free_address;

pub struct Gate {
    addr: SocketAddr,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

struct Shared {
    upstream: SocketAddr,
    closed: watch::Sender<bool>,
    cut: Notify,
    hold: watch::Sender<Hold>,
}

/// Which part of the answers is held back, and until when.
#[derive(Clone, Copy)]
pub enum Hold {
    Nothing,
    /// Whole answers.
    Answers(Instant),
    /// The last byte of each piece, so that the answer comes slowly.
    Ends(Instant),
}

impl Gate {
    pub async fn before(upstream: SocketAddr) -> Self {
        let listener = loop {
            // Another process may have taken the port at the last moment.
            if let Ok(listener) = TcpListener::bind(free_address()).await {
                break listener;
            }
        };
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream,
            closed: watch::Sender::new(false),
            cut: Notify::new(),
            hold: watch::Sender::new(Hold::Nothing),
        });
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(serve(listener, Arc::clone(&shared))));
        Self { addr, shared, _stop: stop.drop_guard() }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops listening and resets every connection.
    pub fn close(&self) {
        self.shared.closed.send_replace(true);
    }

    /// Listens again, on the same port.
    pub fn open(&self) {
        self.shared.closed.send_replace(false);
    }

    /// Resets every connection.
    pub fn cut(&self) {
        self.shared.cut.notify_waiters();
    }

    pub fn hold(&self, hold: Hold) {
        self.shared.hold.send_replace(hold);
    }
}

async fn serve(mut listener: TcpListener, shared: Arc<Shared>) {
    let addr = listener.local_addr().unwrap();
    let mut closed = shared.closed.subscribe();
    loop {
        let mut connections = CancellationToken::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let Ok((client, _)) = accepted else { continue };
                    tokio::spawn(relay(client, Arc::clone(&shared), connections.clone()));
                }
                () = shared.cut.notified() => {
                    connections.cancel();
                    connections = CancellationToken::new();
                }
                _ = closed.wait_for(|closed| *closed) => break,
            }
        }
        drop(listener);
        connections.cancel();
        // The sender lives as long as `shared`.
        let _ = closed.wait_for(|closed| !closed).await;
        listener = loop {
            match TcpListener::bind(addr).await {
                Ok(listener) => break listener,
                Err(_) => sleep(Duration::from_millis(5)).await,
            }
        };
    }
}

async fn relay(mut client: TcpStream, shared: Arc<Shared>, cut: CancellationToken) {
    let Ok(mut server) = TcpStream::connect(shared.upstream).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ended = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        tokio::select! {
            ended = pump(from_client, to_server, || Hold::Nothing) => ended,
            ended = pump(from_server, to_client, || *shared.hold.borrow()) => ended,
            () = cut.cancelled() => Err(io::ErrorKind::ConnectionReset.into()),
        }
    };
    if ended.is_err() {
        // Closing then sends RST instead of FIN.
        let _ = client.set_zero_linger();
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    hold: impl Fn() -> Hold,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let mut bytes = match from.read(&mut buffer).await? {
            0 => return Ok(()),
            count => &buffer[..count],
        };
        match hold() {
            Hold::Nothing => {}
            Hold::Answers(until) => sleep_until(until).await,
            Hold::Ends(until) => {
                let (most, end) = bytes.split_at(bytes.len() - 1);
                to.write_all(most).await?;
                sleep_until(until).await;
                bytes = end;
            }
        }
        to.write_all(bytes).await?;
    }
}
