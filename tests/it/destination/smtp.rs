//! A small SMTP server that keeps what it is given and can be told to refuse.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// A mail as it was accepted.
#[derive(Clone, Debug)]
pub struct Received {
    pub to: Vec<String>,
    pub text: String,
}

/// The refusals of the server: the beginning of a command, and the reply to it.
pub type Refusals = Vec<(&'static str, &'static str)>;

#[derive(Default)]
struct State {
    mails: Vec<Received>,
    commands: Vec<String>,
    connections: usize,
    refusals: Refusals,
}

#[derive(Clone)]
pub struct SmtpReceiver {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl SmtpReceiver {
    pub async fn start() -> Self {
        Self::refusing(vec![]).await
    }

    pub async fn refusing(refusals: Refusals) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { refusals, ..State::default() }));
        let receiver = Self { address, state: state.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                state.lock().unwrap().connections += 1;
                // A client that hangs up in the middle is nothing to report.
                tokio::spawn(serve(stream, state.clone()));
            }
        });
        receiver
    }

    pub fn refuse(&self, refusals: Refusals) {
        self.state.lock().unwrap().refusals = refusals;
    }

    pub fn mails(&self) -> Vec<Received> {
        self.state.lock().unwrap().mails.clone()
    }

    pub fn only_mail(&self) -> Received {
        let mails = self.mails();
        assert_eq!(mails.len(), 1);
        mails[0].clone()
    }

    pub fn commands(&self) -> Vec<String> {
        self.state.lock().unwrap().commands.clone()
    }

    pub fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    write.write_all(b"220 localhost ESMTP\r\n").await?;
    let mut to = vec![];
    let mut line = String::new();
    loop {
        line.clear();
        if (&mut read).take(4096).read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let command = line.trim_end().to_owned();
        let refusal = {
            let mut state = state.lock().unwrap();
            state.commands.push(command.clone());
            let is_meant = |start: &str| command.starts_with(start) && start.is_empty() == command.is_empty();
            state.refusals.iter().find(|(start, _)| is_meant(start)).map(|(_, reply)| *reply)
        };
        let reply = match (refusal, command.split(' ').next().unwrap_or_default()) {
            (Some("hang up"), _) => return Ok(()),
            (Some("say nothing"), _) => {
                std::future::pending::<()>().await;
                return Ok(());
            }
            (Some(reply), _) => reply,
            (None, "EHLO") => "250-localhost\r\n250-AUTH PLAIN LOGIN XOAUTH2\r\n250 8BITMIME",
            (None, "AUTH") => "235 2.7.0 welcome",
            (None, "RCPT") => {
                to.push(command.trim_start_matches("RCPT TO:<").trim_end_matches('>').to_owned());
                "250 2.1.5 ok"
            }
            (None, "RSET") => {
                to.clear();
                "250 2.0.0 ok"
            }
            (None, "DATA") => {
                write.write_all(b"354 go on\r\n").await?;
                let mut text = String::new();
                loop {
                    line.clear();
                    if read.read_line(&mut line).await? == 0 {
                        return Ok(());
                    }
                    // A dot that begins a line was put there by the sender (RFC 5321, section 4.5.2).
                    match line.strip_prefix('.') {
                        Some("\r\n") => break,
                        Some(rest) => text.push_str(rest),
                        None => text.push_str(&line),
                    }
                }
                let to = std::mem::take(&mut to);
                state.lock().unwrap().mails.push(Received { to, text });
                "250 2.0.0 queued as 1"
            }
            (None, "QUIT") => {
                write.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            (None, _) => "250 2.0.0 ok",
        };
        write.write_all(format!("{reply}\r\n").as_bytes()).await?;
    }
}
