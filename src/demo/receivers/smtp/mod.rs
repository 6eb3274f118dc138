//! A mail server that keeps the mail it accepts. It speaks as much of SMTP (RFC 5321) as a client without TLS needs.

mod mail;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::mail::Mail;
use super::{Inbox, Message};
use crate::demo::faults::Faults;

/// The longest line, in bytes with its end. RFC 5321 allows 1000 for text, but some clients exceed that.
const LINE: u64 = 8192;

/// The largest mail, in bytes.
const MAIL: usize = 8 << 20;

/// The most recipients of a mail.
const RECIPIENTS: usize = 100;

/// The most connections at a time. Further ones wait.
const CONNECTIONS: usize = 64;

/// How long a client may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// A mail server on this machine. Clones share it, and it stops with the last one.
#[derive(Clone, Debug)]
pub struct SmtpReceiver {
    shared: Shared,
    addr: SocketAddr,
    _stop: Arc<DropGuard>,
}

#[derive(Clone, Debug)]
struct Shared {
    inbox: Inbox,
    refusals: Arc<Mutex<Faults<Refusal>>>,
}

/// A refusal that a test asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The step at which to refuse.
    pub stage: Stage,
    /// The code of the reply: 4yz for "not now", 5yz for "never". 421 also ends the connection.
    pub code: u16,
}

/// A step in the transfer of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The client has connected.
    Greeting,
    /// `MAIL FROM`
    Sender,
    /// `RCPT TO`
    Recipient,
    /// `DATA`
    Data,
    /// The mail has been received.
    Message,
    /// The mail has been accepted, and only the reply is missing.
    Taken,
}

impl SmtpReceiver {
    /// Starts a receiver.
    ///
    /// # Errors
    /// When the system grants no loopback port.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let shared = Shared { inbox: Inbox::new(), refusals: Arc::default() };
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(listen(listener, shared.clone(), stop.clone())));
        Ok(Self { shared, addr, _stop: Arc::new(stop.drop_guard()) })
    }

    /// The address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The messages that were accepted.
    pub fn inbox(&self) -> &Inbox {
        &self.shared.inbox
    }

    /// Refuses `n` more times that the refusal's stage is reached, after the refusals that are already pending.
    pub fn refuse(&self, n: u64, refusal: Refusal) {
        self.shared.refusals.lock().unwrap_or_else(PoisonError::into_inner).add(n, refusal);
    }

    /// Whether no refusal is pending.
    pub fn is_behaving(&self) -> bool {
        self.shared.refusals.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Drops all pending refusals.
    pub fn behave(&self) {
        self.shared.refusals.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

async fn listen(listener: TcpListener, shared: Shared, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    // The semaphore is never closed.
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            // Most likely the process has no file handle left, which passes.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let session = Session { stream: BufStream::new(stream), shared: shared.clone() };
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            // When a client leaves or stays silent, only its own session ends.
            let _ = session.run().await;
            drop(slot);
        }));
    }
}

/// One connection.
struct Session {
    stream: BufStream<TcpStream>,
    shared: Shared,
}

impl Session {
    async fn run(mut self) -> io::Result<()> {
        if !self.reach(Stage::Greeting, 220, "callwatch demo").await? {
            return Ok(());
        }
        let mut mail = Mail::default();
        let mut sender_known = false;
        loop {
            let line = self.line().await?;
            let line = String::from_utf8_lossy(&line);
            let (verb, rest) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => {
                    self.send(&format!(
                        "250-localhost\r\n250-SIZE {MAIL}\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"
                    ))
                    .await?;
                }
                "HELO" => self.reply(250, "localhost").await?,
                "NOOP" => self.reply(250, "OK").await?,
                "RSET" => {
                    (mail, sender_known) = (Mail::default(), false);
                    self.reply(250, "OK").await?;
                }
                "QUIT" => return self.reply(221, "Goodbye").await,
                "MAIL" => match path(rest, "FROM:") {
                    None => self.reply(501, "MAIL FROM:<address>").await?,
                    Some(from) => {
                        if self.reach(Stage::Sender, 250, "OK").await? {
                            (mail, sender_known) = (Mail { from, ..Mail::default() }, true);
                        }
                    }
                },
                "RCPT" if !sender_known => self.reply(503, "MAIL first").await?,
                "RCPT" if mail.to.len() == RECIPIENTS => self.reply(452, "Too many recipients").await?,
                "RCPT" => match path(rest, "TO:") {
                    None => self.reply(501, "RCPT TO:<address>").await?,
                    Some(to) => {
                        if self.reach(Stage::Recipient, 250, "OK").await? {
                            mail.to.push(to);
                        }
                    }
                },
                "DATA" if mail.to.is_empty() => self.reply(503, "RCPT first").await?,
                "DATA" => {
                    if self.reach(Stage::Data, 354, "End with a line of a single dot").await? {
                        let mut mail = std::mem::take(&mut mail);
                        sender_known = false;
                        mail.data = self.data().await?;
                        self.deliver(mail).await?;
                    }
                }
                _ => self.reply(502, "Not implemented").await?,
            }
        }
    }

    async fn deliver(&mut self, mail: Mail) -> io::Result<()> {
        if mail.data.len() > MAIL {
            self.shared.inbox.refuse("the mail is too large".to_owned());
            return self.reply(552, "Too large").await;
        }
        let Some(id) = mail.message_id() else {
            self.shared.inbox.refuse("the mail has no Message-ID".to_owned());
            return self.reply(550, "No Message-ID").await;
        };
        match self.refusal(Stage::Message) {
            Some(refusal) => self.refuse(refusal).await,
            None => {
                self.shared.inbox.accept(id, Message::Mail(mail));
                self.reach(Stage::Taken, 250, "OK").await.map(drop)
            }
        }
    }

    /// The lines of a mail up to the single dot, without the dots that the transfer adds (RFC 5321, 4.5.2). A mail that
    /// is too large is read to its end, but not kept beyond the limit.
    async fn data(&mut self) -> io::Result<Vec<u8>> {
        let mut data = Vec::new();
        loop {
            let line = self.line().await?;
            if line == b".\r\n" {
                return Ok(data);
            }
            if data.len() <= MAIL {
                data.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            }
        }
    }

    /// The next line, with its end.
    async fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        timeout(SILENCE, (&mut self.stream).take(LINE).read_until(b'\n', &mut line)).await??;
        if line.ends_with(b"\n") { Ok(line) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn refusal(&self, stage: Stage) -> Option<Refusal> {
        let mut refusals = self.shared.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.next_if(|refusal| refusal.stage == stage)
    }

    /// Replies, or refuses if a refusal at this stage is pending. Returns whether it replied.
    async fn reach(&mut self, stage: Stage, code: u16, text: &str) -> io::Result<bool> {
        let refusal = self.refusal(stage);
        match refusal {
            Some(refusal) => self.refuse(refusal).await?,
            None => self.reply(code, text).await?,
        }
        Ok(refusal.is_none())
    }

    async fn refuse(&mut self, Refusal { code, .. }: Refusal) -> io::Result<()> {
        self.reply(code, "Refused, as asked for").await?;
        if code == 421 { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    async fn reply(&mut self, code: u16, text: &str) -> io::Result<()> {
        self.send(&format!("{code} {text}\r\n")).await
    }

    async fn send(&mut self, text: &str) -> io::Result<()> {
        timeout(SILENCE, async {
            self.stream.write_all(text.as_bytes()).await?;
            self.stream.flush().await
        })
        .await?
    }
}

/// The address of `FROM:<address> PARAMETERS`.
fn path(rest: &str, prefix: &str) -> Option<String> {
    let head = rest.get(..prefix.len()).filter(|head| head.eq_ignore_ascii_case(prefix))?;
    let (address, _) = rest[head.len()..].trim_start().strip_prefix('<')?.split_once('>')?;
    Some(address.to_owned())
}
