//! The page, as a browser without scripts gets it.

mod browser;
mod calls;
mod charts;
pub mod chromium;
mod deliveries;
mod many;
mod sign_in;

use std::{net::SocketAddr, time::Duration};

use callwatch::demo::receivers::Misbehaviour;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use super::{
    http::{Answer, Ask, ask},
    listening, start, until,
};
use crate::{
    process::Process,
    rig::{PATIENCE, Rig, analyze, complete, record},
};

/// The headers that a browser sends with every request for a page.
const PAGES: (&str, &str) = ("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");

/// Pages, and what their forms do.
pub const ROUTES: [&str; 16] = [
    "GET /",
    "GET /deliveries",
    "GET /deliveries/confirm",
    "GET /deliveries/evt_a/crm",
    "GET /calls",
    "GET /calls/clinic/a",
    "GET /rules",
    "GET /rules/booked",
    "GET /config",
    "GET /events",
    "POST /deliveries/retry",
    "POST /deliveries/drop",
    "POST /destinations/crm/pause",
    "POST /destinations/crm/resume",
    "POST /config/reload",
    "POST /sign-out",
];

/// The page at this address, as a browser gets it.
async fn page(address: SocketAddr, path: &str) -> Answer {
    ask(address, Ask::new(&format!("GET {path}")).with(&[PAGES])).await
}

/// The page, which must be one.
async fn shown(address: SocketAddr, path: &str) -> String {
    let answer = page(address, path).await;
    assert_eq!(
        (answer.status, &*answer.headers["content-type"]),
        (200, "text/html; charset=utf-8"),
        "{answer:?}"
    );
    answer.body
}

/// Sends a form as a page of this server does; returns the address that it leads to.
async fn send(address: SocketAddr, path: &str, form: &str) -> String {
    let own = format!("http://{address}");
    let headers = &[
        PAGES,
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Origin", &own),
        ("Sec-Fetch-Site", "same-origin"),
    ];
    let line = format!("POST {path}");
    let answer = ask(address, Ask { body: form, ..Ask::new(&line).with(headers) }).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    answer.headers["location"].clone()
}

/// Waits until the page has this in it.
async fn until_shown(address: SocketAddr, path: &str, text: &str) -> String {
    until(address, &format!("GET {path}"), |answer| answer.body.contains(text)).await.body
}

/// The page as people read it: without tags, in one line.
fn text(html: &str) -> String {
    let mut text = String::new();
    for part in html.split('<').skip(1) {
        text.push(' ');
        text.push_str(part.split_once('>').map_or("", |(_, text)| text));
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The value of every `name="…"` in the page.
fn values<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
    let begin = format!("{name}=\"");
    html.split(&begin).skip(1).filter_map(|rest| rest.split_once('"')).map(|(value, _)| value).collect()
}

/// The text as it stands in the source of a page.
fn unescaped(html: &str) -> String {
    html.replace("&#38;", "&").replace("&amp;", "&").replace("&#34;", "\"")
}

/// callwatch with three calls, whose webhooks are all given up.
async fn with_dead(rig: &Rig, more: &str) -> (Process, SocketAddr) {
    let config = rig.config_text().replace(
        "retry = [\"100ms\", \"200ms\", \"500ms\", \"1s\", \"1s\", \"1s\", \"1s\", \"1s\", \"1s\"]",
        "retry = []",
    );
    let (process, address) = start(rig, &listening(&config, more)).await;
    rig.crm.misbehave(u64::MAX, Misbehaviour::Status { code: 400, retry_after: None });
    for id in ["a", "b", "c"] {
        let mut call = record(id, "completed");
        complete(&mut call);
        analyze(&mut call, "negative", false);
        call["summary"] = "<script>alert(1)</script> & \"more\", call +33 6 99 88 77 66".into();
        rig.callem.add(call);
    }
    until(address, "GET /api/v1/deliveries/count?destination=crm&state=dead", |answer| {
        answer.json()["count"] == 3
    })
    .await;
    (process, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_says_first_whether_all_is_well() {
    let rig = Rig::new().await;
    let (process, address) = start(&rig, &listening(&rig.config_text(), "")).await;
    let well = until_shown(address, "/", "All is well").await;
    assert!(well.contains("<title>All is well · callwatch</title>"), "{well}");
    assert!(well.contains("/assets/well-") && !well.contains("/assets/trouble-"), "{well}");
    for words in [
        "Nothing waits to be told.",
        "clinic",
        "✓ answers",
        "crm",
        "frontdesk",
        "manager",
        "✓ takes messages",
    ] {
        assert!(text(&well).contains(words), "{words}: {well}");
    }

    // A destination is paused and resumed by hand.
    assert_eq!(send(address, "/destinations/crm/pause", "").await, "/#destinations");
    let paused = until_shown(address, "/", "crm has been paused").await;
    assert!(paused.contains("<title>✗ crm has been paused for"), "{paused}");
    assert!(paused.contains("/assets/trouble-") && !paused.contains("/assets/well-"), "{paused}");
    assert!(paused.contains("action=\"/destinations/crm/resume\""), "{paused}");
    send(address, "/destinations/crm/resume", "").await;
    until_shown(address, "/", "All is well").await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_tells_what_is_wrong_and_what_happened() {
    let rig = Rig::new().await;
    let (process, address) = with_dead(&rig, "").await;
    let overview = until_shown(address, "/", "3 messages to crm were given up").await;
    assert!(text(&overview).contains("Look why, then retry or drop them. Show the 3"), "{overview}");
    assert!(unescaped(&overview).contains("href=\"/deliveries?destination=crm&state=dead\""), "{overview}");
    // The words of callers are text, and their numbers are masked.
    let overview = until_shown(address, "/", "frontdesk <span class=\"tag ok\">✓ arrived").await;
    assert!(!overview.contains("<script>alert") && !overview.contains("612345678"), "{overview}");
    assert!(!overview.contains("99 88 77 66"), "{overview}");
    assert!(overview.contains("&#60;script&#62;alert(1)&#60;/script&#62;"), "{overview}");
    assert!(text(&overview).contains("unhappy-caller +3361•••5678"), "{overview}");
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_may_load_nothing_from_elsewhere_and_its_files_are_kept() {
    let rig = Rig::new().await;
    let (process, address) = start(&rig, &listening(&rig.config_text(), "")).await;
    for path in ["/", "/deliveries", "/calls", "/rules", "/config", "/nowhere"] {
        let answer = page(address, path).await;
        assert_eq!(
            answer.headers["content-security-policy"],
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
             form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
            "{path}"
        );
        assert_eq!(answer.headers["cache-control"], "no-store");
        let body = &answer.body;
        assert!(!body.contains("style=") && !body.contains("<style") && !body.contains("onclick"), "{body}");
        assert!(body.matches("<script").count() == 1 && !body.contains("=\"http"), "{body}");
        assert!(body.contains("<html lang=\"en\">") && body.contains("<main"), "{body}");
        assert_eq!(body.matches("<h1").count(), 1, "{body}");
        // Every table says what it is, and every field has a name.
        assert_eq!(body.matches("<table").count(), body.matches("<caption").count(), "{body}");
        assert!(!body.contains("<th>"), "{body}");
        let files: Vec<_> = ["href", "src"].into_iter().flat_map(|name| values(body, name)).collect();
        let files: Vec<_> = files.into_iter().filter(|file| file.starts_with("/assets/")).collect();
        assert_eq!(files.len(), 3, "{body}");
        for file in files {
            let answer = page(address, file).await;
            assert_eq!(answer.status, 200, "{file}");
            assert_eq!(answer.headers["cache-control"], "public, max-age=31536000, immutable");
        }
    }
    assert_eq!(page(address, "/assets/page-0.css").await.status, 404);
    let unknown = page(address, "/nowhere").await;
    assert_eq!(unknown.status, 404);
    assert!(text(&unknown.body).contains("There is nothing here"), "{unknown:?}");
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_changes_nothing_by_forms() {
    let rig = Rig::new().await;
    let (process, address) = with_dead(&rig, "").await;
    for line in ROUTES.iter().filter(|line| line.starts_with("POST")) {
        for from in [("Sec-Fetch-Site", "cross-site"), ("Origin", "https://evil.example"), ("Origin", "null")]
        {
            let headers = &[PAGES, from, ("Content-Type", "application/x-www-form-urlencoded")];
            let asked = Ask { body: "state=dead", ..Ask::new(line).with(headers) };
            let answer = ask(address, asked).await;
            assert_eq!(answer.status, 403, "{line} {from:?} {answer:?}");
            assert!(text(&answer.body).contains("This is not allowed"), "{answer:?}");
        }
    }
    let overview = shown(address, "/").await;
    assert!(
        overview.contains("3 messages to crm were given up") && !overview.contains("paused"),
        "{overview}"
    );
    process.stop().await;
}

/// Opens the stream, and returns it once its head is there.
async fn open_stream(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let ask = format!("GET /events HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    stream
}

/// Reads until this has come.
async fn reads(stream: &mut TcpStream, what: &str) {
    let mut read = vec![];
    let reading = async {
        while !String::from_utf8_lossy(&read).contains(what) {
            assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "it ended");
        }
    };
    timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("{what} never comes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_tells_that_something_changed_is_bounded_and_ends_with_the_process() {
    let rig = Rig::new().await;
    let (process, address) = start(&rig, &listening(&rig.config_text(), "")).await;
    let mut streams = vec![];
    for _ in 0..32 {
        let mut stream = open_stream(address).await;
        reads(&mut stream, "text/event-stream").await;
        streams.push(stream);
    }
    // It polls ten times a second.
    reads(&mut streams[0], "data: changed\n\n").await;
    reads(&mut streams[31], "data: changed\n\n").await;
    let refused = ask(address, Ask::new("GET /events")).await;
    assert_eq!((refused.status, refused.problem().as_str()), (503, "too_many_streams"));
    // A place is free again when a page was closed.
    streams.pop();
    until(address, "GET /healthz", |answer| answer.status == 200).await;
    let again = async {
        loop {
            let mut stream = open_stream(address).await;
            let mut head = [0; 12];
            stream.read_exact(&mut head).await.unwrap();
            if head.ends_with(b"200") {
                return stream;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    streams.push(timeout(PATIENCE, again).await.expect("there is a place"));
    let asked = Instant::now();
    process.stop().await;
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    for mut stream in streams {
        let mut rest = vec![];
        let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it ends");
    }
}
