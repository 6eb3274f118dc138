//! docs/operating.md: what it shows of the server is so.

use serde_json::Value;

use super::{
    http::{Answer, Ask, ask, ask_socket},
    listening, socket, start,
};
use crate::rig::Rig;

const PAGE: &str = include_str!("../../../docs/operating.md");

/// The words of a line as a shell reads it.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Does what `curl` with these arguments does.
async fn curl(rig: &Rig, address: std::net::SocketAddr, words: &[String]) -> Answer {
    let (mut method, mut url, mut body, mut by_socket) = ("GET", "", String::new(), false);
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "-X" => method = words.next().unwrap(),
            "--json" => body = words.next().unwrap().to_owned(),
            "--unix-socket" => {
                assert_eq!(words.next(), Some("callwatch.db/callwatch.sock"));
                by_socket = true;
            }
            other => url = other,
        }
    }
    let host = if by_socket { "http://localhost" } else { "http://127.0.0.1:9464" };
    let path = url.strip_prefix(host).unwrap_or_else(|| panic!("{url}"));
    let line = format!("{method} {path}");
    let asked = if body.is_empty() { Ask::new(&line) } else { Ask::new(&line).json(&body) };
    if by_socket { ask_socket(&socket(rig), asked).await } else { ask(address, asked).await }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_on_the_page_is_answered() {
    let rig = Rig::new().await;
    let (process, address) = start(&rig, &listening(&rig.config_text(), "")).await;
    let page = PAGE.replace("\\\n", " ");
    let lines: Vec<_> = page
        .split("```sh\n")
        .skip(1)
        .flat_map(|rest| rest.split_once("```").expect("the block ends").0.lines())
        .collect();
    assert!(lines.len() >= 12, "{lines:?}");
    for line in lines {
        let words = words(line);
        assert_eq!(words[0], "curl", "{line}");
        let answer = curl(&rig, address, &words[1..]).await;
        assert!([200, 204].contains(&answer.status), "{line}: {answer:?}");
        if answer.headers.get("content-type").is_some_and(|kind| kind == "application/json") {
            serde_json::from_str::<Value>(&answer.body).unwrap();
        }
    }
    process.stop().await;
}

/// The routes of the page are those that nobody may ask without a token, and those for probes.
#[test]
fn every_route_is_on_the_page() {
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let mut on_page: Vec<_> = rows
        .filter(|(route, _)| route.starts_with("GET /") || route.starts_with("POST /"))
        .map(|(route, _)| {
            let example = [("EVENT", "evt_a"), ("DESTINATION", "crm"), ("NAME", "crm"), ("ID", "a")];
            example.iter().fold(route.to_owned(), |route, (name, example)| route.replace(name, example))
        })
        .collect();
    let mut routes: Vec<_> = super::hostile::ROUTES.iter().map(|route| (*route).to_owned()).collect();
    routes.retain(|route| route != "GET /nowhere");
    routes.extend(["GET /healthz", "GET /readyz"].map(str::to_owned));
    routes.sort();
    on_page.sort();
    assert_eq!(on_page, routes);
}
