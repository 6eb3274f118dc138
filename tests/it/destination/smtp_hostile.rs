//! SMTP servers that do what no server should, and clients that must neither die of it nor believe it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use callwatch::{
    destination::{DestinationConfig, DestinationKind, Notification, Reaction, SmtpSecurity},
    kind::Kind,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::timeout,
};

use super::{email::mail_by, *};
use crate::hostile::listen;

/// A server whose only connection is served so.
async fn server<F>(serve: impl FnOnce(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { serve(listener.accept().await.unwrap().0).await });
    address
}

fn mail(security: SmtpSecurity, address: SocketAddr, to: &str) -> DestinationConfig {
    config(DestinationKind::Email(mail_by(security, address, to)))
}

/// Sends the same bytes until nobody takes them any more.
async fn flood(mut stream: TcpStream, bytes: Vec<u8>) {
    while stream.write_all(&bytes).await.is_ok() {}
}

#[tokio::test]
async fn a_server_that_never_ends_a_line_or_a_reply_is_given_up() {
    for (bytes, why) in [
        (vec![b'2'; 1 << 16], "the server sent a line of more than 4096 bytes; is this an SMTP server?"),
        (
            b"220-hello\r\n".repeat(5_000),
            "the server sent a reply of more than 65536 bytes; is this an SMTP server?",
        ),
        (b"100 wait\r\n".repeat(5_000), "the server does not speak SMTP"),
        (b"HTTP/1.1 400 Bad Request\r\n".to_vec(), "the server does not speak SMTP"),
    ] {
        let address = server(|stream| flood(stream, bytes)).await;
        let answer =
            deliver(&mail(SmtpSecurity::Insecure, address, "a@acme.example"), &event(Kind::Ended)).await;
        assert_retry(&answer, None, why);
    }
}

/// CVE-2011-0411: whoever sits between writes answers behind the `220`, which a client might take for answers that came
/// through TLS.
#[tokio::test]
async fn words_in_clear_behind_the_answer_to_starttls_are_not_believed() {
    let address = server(|stream| async {
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 localhost ESMTP\r\n").await.unwrap();
        for answer in [
            "250-localhost\r\n250 STARTTLS\r\n",
            "220 go on\r\n250 ok\r\n250 ok\r\n354 go on\r\n250 queued\r\n",
        ] {
            stream.read_line(&mut String::new()).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        let mut rest = vec![];
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty(), "nothing more was said to it");
    })
    .await;
    let answer = deliver(&mail(SmtpSecurity::StartTls, address, "a@acme.example"), &event(Kind::Ended)).await;
    let why = "the server sent data before TLS had begun, which would have counted as encrypted; somebody on the way may have put it in";
    assert_retry(&answer, None, why);
}

/// Gives every command a good answer; the one to the final dot waits until it is told to come.
async fn serve(stream: TcpStream, told: Arc<Notify>, commands: tokio::sync::mpsc::UnboundedSender<String>) {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 localhost ESMTP\r\n").await.unwrap();
    let (mut line, mut in_text) = (String::new(), false);
    while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
        let command = std::mem::take(&mut line).trim_end().to_owned();
        let answer = match command.as_str() {
            "." if in_text => {
                let _ = commands.send(command);
                told.notified().await;
                in_text = false;
                "250 queued\r\n"
            }
            _ if in_text => continue,
            "DATA" => {
                in_text = true;
                "354 go on\r\n"
            }
            _ => {
                let _ = commands.send(command);
                "250 ok\r\n"
            }
        };
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn the_answer_to_the_final_dot_is_waited_for_beyond_the_timeout() {
    let (told, (commands, mut asked)) = (Arc::new(Notify::new()), tokio::sync::mpsc::unbounded_channel());
    let tell = Arc::clone(&told);
    let address = server(|stream| serve(stream, told, commands)).await;
    let limit = Duration::from_millis(200);
    let config =
        DestinationConfig { timeout: limit, ..mail(SmtpSecurity::Insecure, address, "a@acme.example") };
    let (destination, event) = (destination(&config), Arc::new(event(Kind::Ended)));
    assert!(destination.longest_attempt() >= Duration::from_secs(600));
    let attempt = tokio::spawn(async move {
        let rules = callwatch::rule::Rules::default();
        let notification = Notification {
            event: &event,
            rules: &rules,
            sequence: 7,
            memo: None,
            followed: false,
            now: now(),
        };
        destination.deliver(&notification).await
    });
    while asked.recv().await.expect("the mail is sent") != "." {}
    let mut attempt = std::pin::pin!(attempt);
    assert!(timeout(2 * limit, &mut attempt).await.is_err(), "it may have been taken, so it is not given up");
    tell.notify_one();
    assert_eq!(attempt.await.unwrap().reaction, Reaction::Delivered);
}

#[tokio::test]
async fn a_domain_beyond_ascii_travels_as_a_labels_and_needs_no_extension() {
    let (told, (commands, mut asked)) = (Arc::new(Notify::new()), tokio::sync::mpsc::unbounded_channel());
    told.notify_one();
    let address = server(|stream| serve(stream, told, commands)).await;
    let config = mail(SmtpSecurity::Insecure, address, "praxis@bücher.example");
    assert_eq!(deliver(&config, &event(Kind::Ended)).await.reaction, Reaction::Delivered);
    let mut all = vec![];
    while let Ok(command) = asked.try_recv() {
        all.push(command);
    }
    assert!(all.contains(&"RCPT TO:<praxis@xn--bcher-kva.example>".to_owned()), "{all:?}");
    assert!(all.contains(&"MAIL FROM:<alerts@acme.example>".to_owned()), "{all:?}");
}

/// Conversations that no mail server should hold: what it says at once, what to each command, and what without an end.
const SMTP: &[(&[u8], &[u8], &[u8])] = &[
    (b"", b"", &[b'2'; 1 << 16]),
    (b"220-a\r\n", b"", b"220-a\r\n"),
    (b"220 a\r\n", b"", b"250-X\r\n"),
    (b"220 a\r\n", b"250 ok\r\n", b""),
    (b"220 a\r\n250 a\r\n250 b\r\n250 c\r\n354 d\r\n250 e\r\n", b"", b""),
    (b"220 a\0b\r\n", b"250-\0\r\n250 \xff\xfe\r\n", b""),
    (b"220 a\r\n", b"250-STARTTLS\r\n250 STARTTLS\r\n", b""),
    (b"220 a\r\n", b"25", b"0"),
    (b"220 a\r\n", b"100 wait\r\n", b"100 wait\r\n"),
    (b"220 a\r\n", b"999 what\r\n", b""),
    (b"220 a\r\n", b"250\r\n", b""),
    (
        b"220 a\r\n",
        b"550 1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1\r\n",
        b"",
    ),
    (b"554 \x1b[2J\xc2\x9b no\r\n", b"", b"\r\n\r\n\r\n"),
    (b"421 busy\r\n", b"", b""),
];

async fn talk(mut stream: TcpStream, number: usize) {
    let (greeting, reply, endless) = SMTP[number % SMTP.len()];
    let mut command = vec![0; 64 << 10];
    if stream.write_all(greeting).await.is_err() {
        return;
    }
    while endless.is_empty() || (!reply.is_empty() && !greeting.is_empty()) {
        match stream.read(&mut command).await {
            Ok(read) if read > 0 && stream.write_all(reply).await.is_ok() => {}
            _ => return,
        }
    }
    while stream.write_all(endless).await.is_ok() {}
}

#[tokio::test]
async fn no_conversation_lasts_longer_than_an_attempt_or_brings_odd_words_along() {
    let mut attempts = tokio::task::JoinSet::new();
    for number in 0..SMTP.len() {
        for security in [SmtpSecurity::Insecure, SmtpSecurity::StartTls, SmtpSecurity::Tls] {
            let address = listen(move |stream| talk(stream, number)).await;
            let limit = Duration::from_secs(1);
            let config = DestinationConfig { timeout: limit, ..mail(security, address, "a@acme.example") };
            attempts.spawn(async move {
                let answer = timeout(Duration::from_secs(60), deliver(&config, &event(Kind::Ended))).await;
                (number, security, answer.expect("an attempt ends"))
            });
        }
    }
    while let Some(attempt) = attempts.join_next().await {
        let (number, security, answer) = attempt.unwrap();
        let said = format!("{answer:?}");
        let odd = [&answer.result, &answer.response].into_iter().any(|text| text.contains(char::is_control));
        assert!(!odd && said.len() < 8 << 10, "{number} {security:?}: {said}");
        // Only who says yes to everything, in clear, has the mail.
        let may_have_it = security == SmtpSecurity::Insecure && number == 4;
        assert!(answer.reaction != Reaction::Delivered || may_have_it, "{number} {security:?}: {said}");
    }
}
