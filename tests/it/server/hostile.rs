//! Visitors who may not come in, and those who only hold things up.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, UnixStream},
    time::{Instant, timeout},
};

use super::{
    http::{Ask, ask, ask_socket, exchange, rest_of},
    listening, socket, start,
};
use crate::rig::{PATIENCE, Rig};

const TOKEN: &str = "correct horse battery";

/// Every route that needs a token.
pub const ROUTES: [&str; 24] = [
    "GET /metrics",
    "GET /api/v1/status",
    "GET /api/v1/deliveries",
    "GET /api/v1/deliveries/count",
    "GET /api/v1/deliveries/evt_a",
    "GET /api/v1/deliveries/evt_a/crm",
    "GET /api/v1/deliveries/evt_a/crm/message",
    "GET /api/v1/events",
    "GET /api/v1/calls",
    "GET /api/v1/calls/a",
    "GET /api/v1/config",
    "GET /api/v1/openapi.json",
    "POST /api/v1/deliveries/retry",
    "POST /api/v1/deliveries/drop",
    "POST /api/v1/deliveries/resend",
    "POST /api/v1/deliveries/evt_a/resend",
    "POST /api/v1/deliveries/evt_a/crm/resend",
    "POST /api/v1/replay",
    "POST /api/v1/forget",
    "POST /api/v1/destinations/crm/pause",
    "POST /api/v1/destinations/crm/resume",
    "POST /api/v1/destinations/crm/test",
    "POST /api/v1/reload",
    "GET /nowhere",
];

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_token_nothing_is_told_and_nothing_is_done() {
    let rig = Rig::new().await;
    let text =
        listening(&rig.config_text(), &format!("token = \"{TOKEN}\"")).replace("127.0.0.1:0", "0.0.0.0:0");
    let (process, address) = start(&rig, &text).await;
    let address = SocketAddr::from(([127, 0, 0, 1], address.port()));
    for line in ROUTES {
        let answer = ask(address, Ask::new(line)).await;
        assert_eq!((answer.status, answer.problem().as_str()), (401, "no_token"), "{line}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"callwatch\"");
        for odd in ["", "Basic YTpi", "Bearer", "correct horse battery"] {
            let headers = &[("Authorization", odd)];
            assert_eq!(ask(address, Ask::new(line).with(headers)).await.status, 401, "{line} {odd}");
        }
    }
    assert_eq!(ask(address, Ask::new("GET /healthz")).await.status, 200);
    let ready = ask(address, Ask::new("GET /readyz")).await;
    assert!(ready.body.contains("sources") && !ready.body.contains("reason"), "{ready:?}");

    let right = bearer(TOKEN);
    let right = &[("Authorization", &*right), ("Host", "calls.example.com")];
    assert_eq!(ask(address, Ask::new("GET /api/v1/status").with(right)).await.status, 200);
    let ready = ask(address, Ask::new("GET /readyz").with(right)).await;
    assert!(ready.body.contains("reason"), "{ready:?}");

    // Ten guesses a minute, and then nothing for this address, right or wrong. What needs no token is still there.
    for (guess, line) in ROUTES.iter().take(10).enumerate() {
        let wrong = bearer(&format!("guess {guess}"));
        let answer = ask(address, Ask::new(line).with(&[("Authorization", &wrong)])).await;
        assert_eq!((answer.status, answer.problem().as_str()), (401, "wrong_token"), "{line}");
    }
    let answer = ask(address, Ask::new("GET /api/v1/status").with(right)).await;
    assert_eq!((answer.status, answer.problem().as_str()), (429, "too_many_guesses"));
    assert!((1..=61).contains(&answer.headers["retry-after"].parse::<u64>().unwrap()));
    assert_eq!(ask(address, Ask::new("GET /healthz")).await.status, 200);
    assert_eq!(ask_socket(&socket(&rig), Ask::new("GET /api/v1/status")).await.status, 200);
    let log = process.stop().await;
    assert!(!log.contains(TOKEN) && !log.contains("guess 1"), "{log}");
    assert_eq!(log.matches("many wrong tokens came from 127.0.0.1").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_the_proxy_names_comes_in_and_nobody_who_names_themselves() {
    let rig = Rig::new().await;
    let proxy = |from: &str| format!("trusted_proxy = {{ from = [\"{from}\"], header = \"Remote-User\" }}");
    let public = "public_url = \"https://calls.example.com\"";
    let with = |more: &str| listening(&rig.config_text(), more);
    let (process, address) = start(&rig, &with(&format!("{public}\n{}", proxy("127.0.0.0/8")))).await;
    let named = &[("Remote-User", "ada"), ("Host", "calls.example.com")];
    let asked = async |line: &str, headers: &[(&str, &str)]| ask(address, Ask::new(line).with(headers)).await;
    assert_eq!(asked("GET /api/v1/status", named).await.status, 200);
    assert!(asked("GET /readyz", named).await.body.contains("reason"));
    for headers in [
        &[][..],
        &[("Remote-User", "")],
        &[("Remote-User", " ")],
        &[("Remote-User", "ada"), ("Remote-User", "eve")],
        &[("X-Remote-User", "ada")],
        &[("Authorization", "Bearer ada")],
    ] {
        for line in ROUTES {
            let answer = asked(line, headers).await;
            assert_eq!((answer.status, answer.problem().as_str()), (401, "no_user"), "{line} {headers:?}");
        }
        assert_eq!(asked("GET /healthz", headers).await.status, 200);
        assert!(!asked("GET /readyz", headers).await.body.contains("reason"));
    }
    // A browser is not led around in circles.
    for path in ["GET /sign-in", "GET /"] {
        assert_eq!(asked(path, &[("Accept", "text/html")]).await.status, 401, "{path}");
    }
    let from = async |origin: &str| {
        let headers = &[("Remote-User", "ada"), ("Origin", origin)];
        asked("POST /api/v1/destinations/crm/resume", headers).await.status
    };
    assert_eq!((from("https://calls.example.com").await, from("https://evil.example").await), (200, 403));

    // From elsewhere the header means nothing, and a token does.
    process.edit(&with(&format!("token = \"{TOKEN}\"\n{}", proxy("10.0.0.0/8"))));
    assert_eq!(ask_socket(&socket(&rig), Ask::new("POST /api/v1/reload")).await.status, 200);
    let answer = asked("GET /api/v1/status", named).await;
    assert_eq!((answer.status, answer.problem().as_str()), (401, "no_token"));
    let right = bearer(TOKEN);
    assert_eq!(asked("GET /api/v1/status", &[("Authorization", &right)]).await.status, 200);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_reads_nothing_and_changes_nothing() {
    let rig = Rig::new().await;
    let (process, address) = start(&rig, &listening(&rig.config_text(), "")).await;
    let own = address.to_string();
    for line in ROUTES.iter().chain(&["GET /healthz", "GET /readyz"]) {
        // A name of the attacker's that leads here.
        let headers = &[("Host", "rebound.example:9464")];
        let answer = ask(address, Ask::new(line).with(headers)).await;
        assert_eq!((answer.status, answer.problem().as_str()), (421, "wrong_host"), "{line}");
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
    for line in ROUTES.iter().filter(|line| line.starts_with("POST")) {
        for headers in [
            &[("Sec-Fetch-Site", "cross-site")][..],
            &[("Sec-Fetch-Site", "same-site")],
            &[("Origin", "https://evil.example")],
            &[("Origin", "null")],
            &[("Origin", "http://127.0.0.1:1")],
        ] {
            let answer = ask(address, Ask::new(line).with(headers)).await;
            assert_eq!((answer.status, answer.problem().as_str()), (403, "cross_site"), "{line} {headers:?}");
        }
    }
    assert_eq!(process.count("the config is at work"), 1, "nothing was reloaded");
    let own = format!("http://{own}");
    let headers = &[("Origin", &*own), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(ask(address, Ask::new("POST /api/v1/reload").with(headers)).await.status, 200);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_malformed_is_refused_in_words() {
    let rig = Rig::new().await;
    let (process, address) = start(&rig, &listening(&rig.config_text(), "")).await;
    let retry = Ask::new("POST /api/v1/deliveries/retry");
    let plain = &[("Content-Type", "text/plain")];
    for (asked, status, problem) in [
        (Ask::new("GET /nothing"), 404, "no_route"),
        (Ask::new("GET /api/v1/nothing"), 404, "no_route"),
        (Ask::new("DELETE /api/v1/status"), 405, "wrong_method"),
        (Ask::new("GET /api/v1/reload"), 405, "wrong_method"),
        (Ask::new("GET /api/v1/status?x=1"), 400, "malformed"),
        (Ask::new("GET /api/v1/deliveries?stat=dead"), 400, "malformed"),
        (Ask::new("GET /api/v1/deliveries?state=done"), 400, "malformed"),
        (Ask::new("GET /api/v1/deliveries?state=dead&state=held"), 400, "malformed"),
        (Ask::new("GET /api/v1/deliveries?older_than=soon"), 400, "malformed"),
        (Ask::new("GET /api/v1/deliveries?limit=0"), 400, "malformed"),
        (Ask::new("GET /api/v1/deliveries?limit=1001"), 400, "malformed"),
        (Ask::new("GET /api/v1/deliveries?after=zzz"), 400, "malformed"),
        (Ask::new("GET /api/v1/deliveries?destination=cmr"), 404, "no_destination"),
        (Ask::new("GET /api/v1/deliveries/evt_none"), 404, "no_delivery"),
        (Ask::new("GET /api/v1/deliveries/evt_none/crm"), 404, "no_delivery"),
        (Ask::new("GET /api/v1/calls/nobody"), 404, "no_call"),
        (Ask::new("GET /api/v1/calls/%ff"), 400, "malformed"),
        (Ask::new("POST /api/v1/destinations/%ff/pause"), 400, "malformed"),
        (Ask::new("GET /api/v1/calls/%00%2f%2F?source=other"), 404, "no_source"),
        (Ask::new("POST /api/v1/destinations/cmr/pause"), 404, "no_destination"),
        (Ask::new("POST /api/v1/destinations/cmr/resume"), 404, "no_destination"),
        (retry, 400, "malformed"),
        (retry.json("{}"), 400, "malformed"),
        (retry.json("[]"), 400, "malformed"),
        (retry.json("{\"filter\": {}}"), 400, "malformed"),
        (retry.json("{\"filter\": {\"stat\": \"dead\"}}"), 400, "malformed"),
        (retry.json("{\"deliveries\": []}"), 400, "malformed"),
        (retry.json("{\"filter\": {\"state\": \"dead\"}, \"dryrun\": true}"), 400, "malformed"),
        (retry.json("{\"filter\": {\"state\": \"dead\"}").with(plain), 415, "not_json"),
    ] {
        let answer = ask(address, asked).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (status, problem),
            "{} {}",
            asked.line,
            asked.body
        );
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_heads_are_bounded() {
    let rig = Rig::new().await;
    let (process, address) = start(&rig, &listening(&rig.config_text(), "")).await;
    let long = "x".repeat(10 << 20);
    for line in ROUTES {
        // Announced, and in pieces whose end nobody knows.
        let answer = ask(address, Ask::new(line).json(&long)).await;
        assert_eq!((answer.status, answer.problem().as_str()), (413, "too_long"), "{line}");
        let mut chunked = format!("{line} HTTP/1.1\r\nHost: {address}\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..160 {
            chunked += &format!("10000\r\n{}\r\n", &long[..0x10000]);
        }
        let stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(exchange(stream, &chunked).await.status, 413, "{line}");
    }
    for head in [
        format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nX-Long: {}\r\n\r\n", &long[..100_000]),
        format!("GET /{} HTTP/1.1\r\nHost: {address}\r\n\r\n", &long[..100_000]),
        format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n{}\r\n", "A: b\r\n".repeat(1000)),
    ] {
        let stream = TcpStream::connect(address).await.unwrap();
        let answer = exchange(stream, &head).await;
        assert!([414, 431].contains(&answer.status), "{answer:?}");
    }
    assert_eq!(ask(address, Ask::new("GET /healthz")).await.status, 200);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_keep_nobody_out_and_hold_up_no_end() {
    let rig = Rig::new().await;
    let (process, address) = start(&rig, &listening(&rig.config_text(), "")).await;
    let mut held = vec![];
    let beginnings = [
        String::new(),
        "GET /healthz HT".to_owned(),
        format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n"),
        format!("POST /api/v1/reload HTTP/1.1\r\nHost: {address}\r\nContent-Length: 100\r\n\r\nhalf"),
        format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n"),
    ];
    for number in 0..500 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // A connection that had to make room takes nothing any more.
        let _ = stream.write_all(beginnings[number % beginnings.len()].as_bytes()).await;
        held.push(stream);
        if number % 50 == 49 {
            let asked = Instant::now();
            assert_eq!(ask(address, Ask::new("GET /healthz")).await.status, 200);
            // Earlier than any of the others is given up.
            assert!(asked.elapsed() < Duration::from_secs(9), "{number}: {:?}", asked.elapsed());
        }
    }
    let mut sockets = vec![];
    for _ in 0..100 {
        sockets.push(UnixStream::connect(socket(&rig)).await.unwrap());
    }
    assert_eq!(ask_socket(&socket(&rig), Ask::new("GET /healthz")).await.status, 200);
    assert_eq!(process.count("the config is at work"), 1, "half a request does nothing");
    let asked = Instant::now();
    process.stop().await;
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    drop((held, sockets));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_nothing_happens_is_closed() {
    let rig = Rig::new().await;
    let (process, address) = start(&rig, &listening(&rig.config_text(), "")).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    let mut after_one = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n");
    after_one.write_all(request.as_bytes()).await.unwrap();
    let mut half_body = TcpStream::connect(address).await.unwrap();
    let half = format!("POST /api/v1/reload HTTP/1.1\r\nHost: {address}\r\nContent-Length: 9\r\n\r\nhalf");
    half_body.write_all(half.as_bytes()).await.unwrap();
    idle.write_all(b"GET /h").await.unwrap();
    for stream in [idle, after_one, half_body] {
        timeout(PATIENCE, rest_of(stream)).await.expect("it is closed");
    }
    process.stop().await;
}
