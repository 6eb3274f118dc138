//! The lines of an SMTP conversation, in both directions. Bounded, whatever the server sends.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::reply::Reply;

/// The longest line of a reply, in bytes with its end. RFC 5321 (section 4.5.3.1.5) allows 512.
const MAX_LINE: usize = 4 << 10;

/// The longest reply, in bytes.
const MAX_REPLY: usize = 64 << 10;

/// A connection, in clear or encrypted.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection and what was received of the next line. After an error it is of no use.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    /// Received and not read yet; at most [`MAX_LINE`] and a little.
    received: Vec<u8>,
}

/// Why a conversation cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the server sent a line of more than {MAX_LINE} bytes; is this an SMTP server?")]
    LongLine,
    #[error("the server sent a reply of more than {MAX_REPLY} bytes; is this an SMTP server?")]
    LongReply,
    #[error("the server does not speak SMTP")]
    NoReply,
    #[error(
        "the server sent data before TLS had begun, which would have counted as encrypted; somebody on the way may have put it in"
    )]
    Injected,
}

impl Wire {
    pub(super) fn new(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), received: vec![] }
    }

    /// The bare connection, for TLS to begin on.
    ///
    /// # Errors
    /// [`Broken::Injected`] when something was received that nobody has read: it came in clear, and would be taken for
    /// an answer inside TLS (CVE-2011-0411 and its kind).
    pub(super) fn into_stream(self) -> Result<Box<dyn Stream>, Broken> {
        if self.received.is_empty() { Ok(self.stream) } else { Err(Broken::Injected) }
    }

    /// Whether the server has sent nothing unasked, such as a farewell, and has not closed the connection.
    pub(super) async fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let read = self.stream.read(&mut byte);
        self.received.is_empty() && tokio::time::timeout(std::time::Duration::ZERO, read).await.is_err()
    }

    /// Sends a command and reads its reply. `line` holds no line end.
    pub(super) async fn ask(&mut self, line: &str) -> Result<Reply, Broken> {
        debug_assert!(!line.contains(['\r', '\n']), "a command is one line");
        self.stream.write_all(format!("{line}\r\n").as_bytes()).await?;
        self.stream.flush().await?;
        self.reply().await
    }

    /// Sends the text of a mail and the dot that ends it.
    pub(super) async fn text(&mut self, mail: &[u8]) -> Result<(), Broken> {
        self.stream.write_all(&transparent(mail)).await?;
        Ok(self.stream.flush().await?)
    }

    /// Reads a reply.
    pub(super) async fn reply(&mut self) -> Result<Reply, Broken> {
        let mut reply = Reply::empty();
        let mut bytes = 0;
        loop {
            let line = self.line().await?;
            bytes += line.len();
            if bytes > MAX_REPLY {
                return Err(Broken::LongReply);
            }
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            if reply.push(text).map_err(|_| Broken::NoReply)? {
                return Ok(reply);
            }
        }
    }

    async fn line(&mut self) -> Result<Vec<u8>, Broken> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.received[searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.received.split_off(searched + end + 1);
                return Ok(std::mem::replace(&mut self.received, rest));
            }
            searched = self.received.len();
            if searched >= MAX_LINE {
                return Err(Broken::LongLine);
            }
            let mut chunk = [0; 1 << 10];
            let read = self.stream.read(&mut chunk).await?;
            if read == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.received.extend_from_slice(&chunk[..read]);
        }
    }
}

/// The text as it travels: every line ends with CR LF, one that begins with a dot has another in front of it, and a line
/// with a dot alone ends it (RFC 5321, section 4.5.2).
fn transparent(mail: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(mail.len() + mail.len() / 64 + 5);
    let mut lines = mail.split(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() && lines.peek().is_none() {
            break;
        }
        if line.first() == Some(&b'.') {
            out.push(b'.');
        }
        // A CR alone would be a line end to some servers, and could smuggle a command.
        out.extend(line.iter().copied().filter(|byte| *byte != b'\r'));
        out.extend(b"\r\n");
    }
    out.extend(b".\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_a_mail_ends_it() {
        for (mail, sent) in [
            ("", ".\r\n"),
            ("a", "a\r\n.\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            ("a\n.\nb\r\n..c", "a\r\n..\r\nb\r\n...c\r\n.\r\n"),
            ("a\r\n\r\n", "a\r\n\r\n.\r\n"),
            ("a\r.\r\nb", "a.\r\nb\r\n.\r\n"),
        ] {
            assert_eq!(String::from_utf8(transparent(mail.as_bytes())).unwrap(), sent, "{mail:?}");
        }
    }

    /// The reply that a server's words make; the connection ends behind them.
    async fn reply_of(server: &[u8]) -> Result<Reply, Broken> {
        Wire::new(io::Cursor::new(server.to_vec())).reply().await
    }

    #[tokio::test]
    async fn replies_are_read_line_by_line_and_bounded() {
        assert_eq!(reply_of(b"250-a\r\n250 b\n").await.unwrap().lines, ["a", "b"]);
        assert!(matches!(reply_of(&[b'2'; 100_000]).await, Err(Broken::LongLine)));
        assert!(matches!(reply_of(&b"250-a\r\n".repeat(20_000)).await, Err(Broken::LongReply)));
        assert!(matches!(reply_of(&b"150 wait\r\n".repeat(20_000)).await, Err(Broken::NoReply)));
        assert!(matches!(reply_of(b"250 a").await, Err(Broken::Io(_))));
    }

    #[tokio::test]
    async fn words_behind_the_answer_to_starttls_do_not_get_into_tls() {
        let mut wire = Wire::new(io::Cursor::new(b"220 go ahead\r\n250 done\r\n".to_vec()));
        assert_eq!(wire.reply().await.unwrap().code, 220);
        assert!(matches!(wire.into_stream().err(), Some(Broken::Injected)));
    }
}
