//! Requests as they stand on the wire, so that any of them can be made.

use std::{collections::HashMap, io, net::SocketAddr, path::Path};

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::rig::PATIENCE;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// By their names in lower case.
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The word of a problem, after checking that it is one.
    #[track_caller]
    pub fn problem(&self) -> String {
        assert_eq!(
            self.headers.get("content-type").map(String::as_str),
            Some("application/problem+json"),
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self:?}");
        assert!(problem["title"].is_string() && !problem["detail"].as_str().unwrap().is_empty(), "{self:?}");
        problem["type"].as_str().unwrap().strip_prefix("urn:callwatch:").unwrap().to_owned()
    }

    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        Self { status, headers, body: body.to_owned() }
    }
}

/// A request: `GET /path`, its headers beside `Host`, and its body.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    pub line: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a str,
}

impl<'a> Ask<'a> {
    pub const fn new(line: &'a str) -> Self {
        Self { line, headers: &[], body: "" }
    }

    pub const fn with(self, headers: &'a [(&'a str, &'a str)]) -> Self {
        Self { headers, ..self }
    }

    /// With a body that is JSON.
    pub const fn json(self, body: &'a str) -> Self {
        Self { headers: &[("Content-Type", "application/json")], body, ..self }
    }

    /// The head and the body; `host` is left out when the headers have one.
    fn text(&self, host: &str) -> String {
        let mut text = format!("{} HTTP/1.1\r\nConnection: close\r\n", self.line);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            text += &format!("Host: {host}\r\n");
        }
        for (name, value) in self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !self.body.is_empty() {
            text += &format!("Content-Length: {}\r\n", self.body.len());
        }
        text + "\r\n" + self.body
    }
}

pub async fn ask(address: SocketAddr, ask: Ask<'_>) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    exchange(stream, &ask.text(&address.to_string())).await
}

pub async fn ask_socket(path: &Path, ask: Ask<'_>) -> Answer {
    exchange(UnixStream::connect(path).await.unwrap(), &ask.text("localhost")).await
}

/// Sends this text and reads the answer to its end.
pub async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, text: &str) -> Answer {
    // A server that has seen enough may close before it has read everything.
    let _ = stream.write_all(text.as_bytes()).await;
    Answer::parse(&timeout(PATIENCE, rest_of(stream)).await.expect("it answers and closes"))
}

/// Everything that comes until the other side closes, in whatever way.
pub async fn rest_of(mut stream: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut bytes = vec![];
    let mut buffer = [0; 16 << 10];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => return bytes,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return bytes,
            Ok(length) => bytes.extend_from_slice(&buffer[..length]),
            Err(error) => panic!("{error}"),
        }
    }
}
