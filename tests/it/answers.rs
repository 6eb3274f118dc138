//! Odd answers of an API: lists that lose calls, records that lose their shape, fields that flap, replicas that lag. A real
//! HTTP answer goes in; what is told, committed and reported comes out.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use callwatch::{store::Store, telemetry::Signal};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

use crate::rig::{PATIENCE, Rig, Running, complete, record};

type Answer = Arc<Mutex<Box<dyn Fn(&Request) -> ResponseTemplate + Send>>>;

/// An API that answers what the test says.
struct Api {
    server: MockServer,
    answer: Answer,
}

struct Answering(Answer);

impl Respond for Answering {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        self.0.lock().unwrap()(request)
    }
}

fn raw(body: impl Into<Vec<u8>>) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_raw(body, "application/json")
}

fn is_single(request: &Request) -> bool {
    !request.url.path().ends_with("/calls")
}

/// A well-behaved answer of an API that has these calls.
fn answer_of(calls: &[Value], request: &Request) -> ResponseTemplate {
    if is_single(request) {
        let id = request.url.path_segments().unwrap().next_back().unwrap().to_owned();
        let found = calls.iter().find(|call| call["id"] == id);
        return found.map_or(ResponseTemplate::new(404), |call| raw(call.to_string()));
    }
    let number = |name: &str| {
        request.url.query_pairs().find(|(key, _)| key == name).and_then(|(_, value)| value.parse().ok())
    };
    let (limit, offset): (usize, usize) = (number("limit").unwrap(), number("offset").unwrap());
    let page: Vec<_> = calls.iter().skip(offset).take(limit).collect();
    raw(json!({"data": page, "pagination": {"total": calls.len()}}).to_string())
}

impl Api {
    async fn new() -> Self {
        let answer: Answer = Arc::new(Mutex::new(Box::new(|_| raw(r#"{"data":[]}"#))));
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(Answering(answer.clone())).mount(&server).await;
        Self { server, answer }
    }

    fn answer(&self, answer: impl Fn(&Request) -> ResponseTemplate + Send + 'static) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }

    fn has(&self, calls: Vec<Value>) {
        self.answer(move |request| answer_of(&calls, request));
    }

    /// Every page has this body, and no single call can be had.
    fn pages(&self, body: impl Into<Vec<u8>>) {
        let body = body.into();
        self.answer(
            move |request| if is_single(request) { ResponseTemplate::new(404) } else { raw(body.clone()) },
        );
    }

    async fn requests(&self) -> usize {
        self.server.received_requests().await.unwrap().len()
    }
}

/// Everything about calls and the source goes to the CRM.
async fn start(rig: &Rig, api: &Api, keys: &str) -> Running {
    let text = rig.config_text().replace(rig.callem.base_url().as_str(), &api.server.uri());
    let (head, _) = text.split_once("[rules.").unwrap();
    let head =
        head.replace("[destinations.crm]", &format!("failing_after = \"300ms\"\n{keys}\n[destinations.crm]"));
    let rules = "[rules.all]\non = [\"started\", \"ended\", \"analyzed\", \"updated\", \"deleted\", \
                 \"source.failing\", \"source.recovered\"]\nto = [\"crm\"]\n";
    rig.start_with(rig.parse(&format!("{head}{rules}"))).await
}

/// Everything that was told: `call:kinds`, or the kind of what happened to the source.
fn told(rig: &Rig) -> Vec<String> {
    let of = |webhook: &crate::rig::Webhook| match webhook.call.as_str() {
        "" => webhook.body["type"].as_str().unwrap_or_default().to_owned(),
        call => format!("{call}:{}", webhook.kinds.join("+")),
    };
    rig.webhooks().iter().map(of).collect()
}

async fn arrived(rig: &Rig, count: usize) {
    let waiting = timeout(PATIENCE, rig.crm.inbox().wait_for(count as u64)).await;
    waiting.unwrap_or_else(|_| panic!("only {:?} arrived", told(rig)));
}

fn calls(count: usize) -> Vec<Value> {
    (0..count).map(|n| record(&format!("call{n}"), "completed")).collect()
}

async fn trouble(running: &mut Running, words: &str) {
    running.wait_for(words, |s| matches!(s, Signal::SourceTroubled { why, .. } if why.contains(words))).await;
}

async fn failure(running: &mut Running, words: &str) {
    running
        .wait_for(words, |s| matches!(s, Signal::FetchFailed { error, .. } if error.contains(words)))
        .await;
}

async fn answers(running: &mut Running, count: usize) {
    for _ in 0..count {
        running.wait_for("an answer", |s| matches!(s, Signal::Fetched { .. })).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_empty_for_a_while_is_trouble_of_the_source() {
    let (rig, api) = (Rig::new().await, Api::new().await);
    api.has(calls(8));
    let mut running = start(&rig, &api, "").await;
    running.baseline().await;
    api.has(vec![]);
    trouble(&mut running, "8 of 8 calls are missing from the list").await;
    arrived(&rig, 1).await;
    answers(&mut running, 60).await;
    // A restart in between neither believes it nor takes it for over.
    running.stop().await;
    let mut running = start(&rig, &api, "").await;
    answers(&mut running, 60).await;
    api.has(calls(8));
    arrived(&rig, 2).await;
    running.quiet_polls(30).await;
    running.stop().await;
    assert_eq!(told(&rig), ["source.failing", "source.recovered"]);
    let details = &rig.webhooks()[0].body["data"]["details"];
    assert!(details["error"].as_str().unwrap().contains("8 of 8 calls are missing"), "{details}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_missing_calls_are_deleted_once_a_person_says_so() {
    let (rig, api) = (Rig::new().await, Api::new().await);
    api.has(calls(8));
    let mut running = start(&rig, &api, "").await;
    running.baseline().await;
    api.has(calls(1));
    trouble(&mut running, "7 of 8").await;
    running.stop().await;
    let running = start(&rig, &api, "deletions_believed_after = \"0s\"").await;
    let all_told = async {
        while told(&rig).iter().filter(|told| told.ends_with(":deleted")).count() < 7 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, all_told).await.unwrap_or_else(|_| panic!("{:?}", told(&rig)));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_without_what_makes_them_records_conclude_nothing() {
    for count in [1, 3, 8] {
        let (rig, api) = (Rig::new().await, Api::new().await);
        api.has(calls(count));
        let mut running = start(&rig, &api, "").await;
        running.baseline().await;
        let renamed: Vec<_> = calls(count)
            .into_iter()
            .map(|mut call| {
                let id = call.as_object_mut().unwrap().remove("id").unwrap();
                call["callId"] = id;
                call
            })
            .collect();
        api.has(renamed);
        failure(
            &mut running,
            &format!("only 0 of {count} records of a page can be read (the record has no `id`)"),
        )
        .await;
        arrived(&rig, 1).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        api.has(calls(count));
        arrived(&rig, 2).await;
        running.quiet_polls(20).await;
        running.stop().await;
        assert_eq!(told(&rig), ["source.failing", "source.recovered"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_malformed_record_costs_only_itself_and_is_told_with_place_and_reason() {
    let a = record("a", "completed").to_string();
    for bad in [
        "{\"id\":\"bad\",\"status\":\"live\",\"summary\":\"one\ntwo\"}",
        r#"{"id":"bad","status":"live","score":NaN}"#,
        r#"{"id":"bad","status":"live","summary":"cut sh"#,
    ] {
        let (rig, api) = (Rig::new().await, Api::new().await);
        let mut running = start(&rig, &api, "").await;
        running.baseline().await;
        api.pages(format!(r#"{{"data":[{bad},{a}],"pagination":{{"total":2}}}}"#));
        let told_of = running.wait_for("the bad record", |s| matches!(s, Signal::BadRecord { .. })).await;
        let Signal::BadRecord { why, again: false, .. } = &*told_of else { panic!("{told_of:?}") };
        assert!(
            why.contains("record 1 of the 2") && why.contains("not JSON") && !why.contains("one"),
            "{why}"
        );
        arrived(&rig, 1).await;
        running.quiet_polls(10).await;
        assert_eq!(running.count("request_failures"), 0);
        running.stop().await;
        assert_eq!(told(&rig), ["a:ended"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_order_mark_and_null_for_an_empty_list_are_understood() {
    let (rig, api) = (Rig::new().await, Api::new().await);
    api.pages("\u{feff}{\"data\": null}");
    let mut running = start(&rig, &api, "").await;
    assert_eq!(running.baseline().await, (0, 0));
    api.pages(format!("\u{feff}{{\"data\": [{}]}}", record("a", "completed")));
    arrived(&rig, 1).await;
    assert_eq!(running.count("request_failures"), 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compression_nobody_asked_for_is_named_and_so_is_gzip_that_is_none() {
    let (rig, api) = (Rig::new().await, Api::new().await);
    for (word, why) in [
        ("deflate", "compressed as `deflate`"),
        ("br", "compressed as `br`"),
        ("gzip", "the API's answer cannot be read to its end: Invalid gzip header"),
    ] {
        api.answer(move |_| raw("\u{1}\u{2}").insert_header("content-encoding", word));
        let mut running = start(&rig, &api, "").await;
        failure(&mut running, why).await;
        running.stop().await;
    }
}

/// An API with `count` calls whose recording has another address in every answer.
fn flapping(api: &Api, count: usize) {
    let number = std::sync::atomic::AtomicU64::new(0);
    api.answer(move |request| {
        let mut calls = calls(count);
        for call in &mut calls {
            let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            call["recordingUrl"] = format!("https://example.com/{number}").into();
            call["callAnalysis"] = json!({"sentiment": "positive", "debug": number});
        }
        answer_of(&calls, request)
    });
}

/// How many requests there are in a while. The interval is 100 ms, the sweep 2 s.
async fn pace(api: &Api) -> f64 {
    let (before, began) = (api.requests().await, Instant::now());
    tokio::time::sleep(Duration::from_secs(3)).await;
    (api.requests().await - before) as f64 / began.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_differs_in_every_answer_is_named_once_and_costs_no_requests() {
    let (rig, api) = (Rig::new().await, Api::new().await);
    flapping(&api, 3);
    let mut running = start(&rig, &api, "").await;
    running.baseline().await;
    trouble(
        &mut running,
        "`callAnalysis.debug` changes in every answer: add it to `ignore` of [sources.clinic]",
    )
    .await;
    trouble(&mut running, "`recordingUrl` changes in every answer").await;
    let pace = pace(&api).await;
    assert!(pace < 13.0, "{pace} requests a second");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_to_ignore_are_passed_on_and_never_news() {
    let (rig, api) = (Rig::new().await, Api::new().await);
    let mut running = start(&rig, &api, "ignore = [\"recordingUrl\", \"callAnalysis.debug\"]").await;
    running.baseline().await;
    flapping(&api, 3);
    arrived(&rig, 3).await;
    answers(&mut running, 40).await;
    running.settled().await;
    running.stop().await;
    let mut told = told(&rig);
    told.sort();
    assert_eq!(told, ["call0:ended+analyzed", "call1:ended+analyzed", "call2:ended+analyzed"]);
    assert!(rig.webhooks()[0].body["data"]["call"]["recordingUrl"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_a_replica_that_lags_are_ignored_and_counted() {
    let (rig, api) = (Rig::new().await, Api::new().await);
    let mut running = start(&rig, &api, "").await;
    running.baseline().await;
    let old = record("a", "live");
    let mut new = old.clone();
    complete(&mut new);
    let turn = std::sync::atomic::AtomicBool::new(false);
    api.answer(move |request| {
        let is_old = turn.fetch_xor(true, std::sync::atomic::Ordering::Relaxed);
        answer_of(std::slice::from_ref(if is_old { &old } else { &new }), request)
    });
    arrived(&rig, 1).await;
    answers(&mut running, 40).await;
    running.settled().await;
    assert!(running.count("stale") > 5);
    running.stop().await;
    let told = told(&rig);
    assert_eq!(told.iter().filter(|told| told.contains("ended")).count(), 1, "{told:?}");
    assert!(told.len() <= 2, "{told:?}");
}

/// The API gives these two records of one call in turn.
fn alternating(api: &Api, records: [Value; 2]) {
    let turn = std::sync::atomic::AtomicUsize::new(0);
    api.answer(move |request| {
        let turn = turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        answer_of(std::slice::from_ref(&records[turn % 2]), request)
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn records_without_times_that_alternate_tell_the_end_once() {
    let (rig, api) = (Rig::new().await, Api::new().await);
    let mut running = start(&rig, &api, "").await;
    running.baseline().await;
    let [mut live, mut over] = ["live", "completed"].map(|status| record("a", status));
    (live["updatedAt"], over["updatedAt"]) = (Value::Null, Value::Null);
    alternating(&api, [live, over]);
    arrived(&rig, 1).await;
    answers(&mut running, 40).await;
    running.settled().await;
    running.stop().await;
    let told = told(&rig);
    assert_eq!(told.iter().filter(|told| told.contains("ended")).count(), 1, "{told:?}");
    assert!(told.len() <= 2, "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_record_does_not_confirm_that_a_call_is_still_live() {
    let (rig, api) = (Rig::new().await, Api::new().await);
    let text = rig.config_text().replace(rig.callem.base_url().as_str(), &api.server.uri());
    let (head, _) = text.split_once("[rules.").unwrap();
    let rules = "[rules.long]\nwhen = 'call.status == \"live\"'\nfor = \"2s\"\nto = [\"crm\"]\n\
                 [rules.started]\non = [\"started\"]\nto = [\"crm\"]\n";
    let mut running = rig.start_with(rig.parse(&format!("{head}{rules}"))).await;
    running.baseline().await;
    let now = callwatch::time::Clock::system().wall();
    let mut live = record("a", "live");
    live["createdAt"] = now.to_string().into();
    live["updatedAt"] = now.to_string().into();
    let mut over = live.clone();
    complete(&mut over);
    over["updatedAt"] = now.before(Duration::from_secs(2)).to_string().into();
    api.has(vec![live]);
    arrived(&rig, 1).await;
    api.has(vec![over]);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        answers(&mut running, 1).await;
    }
    assert!(running.count("stale") > 5);
    running.stop().await;
    assert_eq!(told(&rig), ["a:started"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_on_two_pages_without_a_later_update_is_told_once() {
    let (rig, api) = (Rig::new().await, Api::new().await);
    let mut running = start(&rig, &api, "page_size = 2").await;
    running.baseline().await;
    let mut list = calls(6);
    let mut twice = record("twice", "completed");
    list.push(twice.clone());
    twice["summary"] = "another one".into();
    list.insert(0, twice);
    api.has(list);
    arrived(&rig, 7).await;
    answers(&mut running, 60).await;
    running.settled().await;
    running.stop().await;
    let told: Vec<_> = told(&rig).into_iter().filter(|told| told.starts_with("twice")).collect();
    assert!(told == ["twice:ended"] || told == ["twice:ended", "twice:updated"], "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_stands_in_the_list_twice_on_different_pages_is_the_newer_one() {
    let (rig, api) = (Rig::new().await, Api::new().await);
    let mut running = start(&rig, &api, "page_size = 2").await;
    running.baseline().await;
    let mut list = calls(6);
    let mut twice = record("twice", "live");
    list.push(twice.clone());
    complete(&mut twice);
    list.insert(0, twice);
    api.has(list);
    arrived(&rig, 7).await;
    answers(&mut running, 60).await;
    running.settled().await;
    running.stop().await;
    let told: Vec<_> = told(&rig).into_iter().filter(|told| told.starts_with("twice")).collect();
    assert!(told == ["twice:ended"] || told == ["twice:started", "twice:ended"], "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_analysis_is_waited_for_also_beyond_the_first_page() {
    let (rig, api) = (Rig::new().await, Api::new().await);
    let mut running = start(&rig, &api, "page_size = 10\n").await;
    running.baseline().await;
    let mut call = record("a", "completed");
    call["callAnalysis"] = json!({});
    api.has(vec![call.clone()]);
    arrived(&rig, 1).await;
    let mut list = calls(20);
    for blank in [json!([]), json!(""), json!({"sentiment": null})] {
        call["callAnalysis"] = blank;
        api.has([list.clone(), vec![call.clone()]].concat());
        answers(&mut running, 10).await;
    }
    call["callAnalysis"] = json!({"sentiment": "positive"});
    list.push(call);
    api.has(list);
    arrived(&rig, 22).await;
    answers(&mut running, 30).await;
    running.settled().await;
    running.stop().await;
    let told: Vec<_> = told(&rig).into_iter().filter(|told| told.starts_with("a:")).collect();
    assert_eq!(told, ["a:ended", "a:analyzed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_with_another_status_is_followed_wherever_it_stands_until_it_is_over() {
    let (rig, api) = (Rig::new().await, Api::new().await);
    let mut call = record("a", "in-progress");
    let of = |call: &Value| [calls(40), vec![call.clone()]].concat();
    api.has(of(&call));
    // The next sweep is far away, so only following the call shows its end.
    let mut running = start(&rig, &api, "page_size = 10").await;
    running.baseline().await;
    complete(&mut call);
    call["status"] = "no_answer".into();
    api.has(of(&call));
    arrived(&rig, 1).await;
    running.quiet_polls(10).await;
    running.stop().await;
    assert_eq!(told(&rig), ["a:ended"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_cannot_be_read_is_said_once() {
    let (rig, api) = (Rig::new().await, Api::new().await);
    let mut list = calls(5);
    for call in &mut list {
        call["createdAt"] = "yesterday".into();
        call["updatedAt"] = 1_765_809_145.into();
    }
    api.has(list);
    let mut running = start(&rig, &api, "").await;
    let mut said = vec![];
    running
        .wait_for("polls", |signal| {
            if let Signal::SourceTroubled { why, .. } = signal {
                said.push(why.clone());
            }
            matches!(signal, Signal::BaselineDone { .. })
        })
        .await;
    running.stop().await;
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("`createdAt` of call call"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_cannot_be_worked_with_are_refused_and_nothing_else_is_asked_for() {
    let (rig, api) = (Rig::new().await, Api::new().await);
    let mut running = start(&rig, &api, "").await;
    running.baseline().await;
    let ids = [".\t.", "a\nb", "\u{0}", &"x".repeat(257), "..", "../admin", "a b/c?d#e%2e", "ü"];
    let list: Vec<_> = ids.iter().map(|id| record(id, "live")).collect();
    api.has(list);
    arrived(&rig, 4).await;
    answers(&mut running, 40).await;
    assert!(running.count("bad_records") >= 4);
    running.stop().await;
    let requests = api.server.received_requests().await.unwrap();
    let allowed = ["/calls", "/calls/..%2Fadmin", "/calls/a%20b%2Fc%3Fd%23e%252e", "/calls/%C3%BC"];
    for request in requests {
        assert!(allowed.contains(&request.url.path()), "{}", request.url);
    }
    let mut told = told(&rig);
    told.sort();
    assert_eq!(told, ["../admin:started", "..:started", "a b/c?d#e%2e:started", "ü:started"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_record_is_told_once_per_page_with_its_count() {
    let (rig, api) = (Rig::new().await, Api::new().await);
    let mut running = start(&rig, &api, "").await;
    running.baseline().await;
    api.pages(format!(
        r#"{{"data":[{},{},7,null,[],"x"{}]}}"#,
        record("a", "completed"),
        record("b", "completed"),
        ",1".repeat(100_000)
    ));
    failure(&mut running, "records of a page can be read (the record is not a JSON object)").await;
    assert_eq!(running.count("bad_records"), 0, "nothing is concluded from such a page");
    api.pages(format!(r#"{{"data":[{},{},7,null]}}"#, record("a", "completed"), record("b", "completed")));
    let told_of = running.wait_for("the report", |s| matches!(s, Signal::BadRecord { .. })).await;
    let Signal::BadRecord { why, count: 2, .. } = &*told_of else { panic!("{told_of:?}") };
    assert!(why.contains("2 of the 4 records"), "{why}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_too_long_is_left_out_and_the_store_grows_to_max_calls_and_no_further() {
    let (rig, api) = (Rig::new().await, Api::new().await);
    let mut list = calls(2);
    list[1]["transcript"] = json!([{"role": "user", "content": "word ".repeat(1000)}]);
    api.has(list.clone());
    let mut running = start(&rig, &api, "max_record = \"2KiB\"\nmax_calls = 3").await;
    assert_eq!(running.baseline().await, (1, 0));
    list.extend(calls(9).into_iter().skip(2));
    api.has(list);
    trouble(&mut running, "3 calls are remembered, as many as `max_calls` allows").await;
    arrived(&rig, 3).await;
    answers(&mut running, 30).await;
    let known = running.store.known(&"clinic".into(), None, 100).await.unwrap();
    assert_eq!(known.len(), 3);
    running.stop().await;
    let mut told = told(&rig);
    told.sort();
    assert_eq!(told.len(), 3);
    assert_eq!(told[2], "source.failing");
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_nesting_goes_through_whole() {
    let (rig, api) = (Rig::new().await, Api::new().await);
    let mut running = start(&rig, &api, "").await;
    running.baseline().await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for status in ["live", "completed"] {
        api.pages(format!(
            r#"{{"data":[{{"id":"a","status":"{status}","callAnalysis":{deep},"x":{deep}}}]}}"#
        ));
        running.wait_for("the change", |s| matches!(s, Signal::Changed { .. })).await;
    }
    running.quiet_polls(5).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_of_which_a_destination_is_shown_nothing_is_not_sent_there() {
    let (rig, api) = (Rig::new().await, Api::new().await);
    let mut list = calls(1);
    api.has(list.clone());
    let text = rig.config_text().replace(rig.callem.base_url().as_str(), &api.server.uri());
    let (head, _) = text.split_once("[rules.").unwrap();
    let head = head.replace("type = \"webhook\"", "type = \"webhook\"\nexclude = [\"recordingUrl\"]");
    let rules = "[rules.all]\non = [\"updated\", \"deleted\"]\nto = [\"crm\", \"frontdesk\"]\n";
    let mut running = rig.start_with(rig.parse(&format!("{head}{rules}"))).await;
    running.baseline().await;
    for n in 0..3 {
        list[0]["recordingUrl"] = format!("https://example.com/{n}").into();
        api.has(list.clone());
        running.wait_for("the change", |s| matches!(s, Signal::Changed { .. })).await;
    }
    list[0]["summary"] = "An edit.".into();
    api.has(list);
    arrived(&rig, 1).await;
    running.quiet_polls(5).await;
    running.settled().await;
    running.stop().await;
    let webhooks = rig.webhooks();
    assert_eq!((webhooks.len(), webhooks[0].sequence), (1, 1));
    assert!(webhooks[0].body["data"]["changes"]["summary"].is_object(), "{}", webhooks[0].body);
    assert_eq!(rig.slack_texts().len(), 4, "it is shown everything");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_online_names_fields_that_differ_in_every_answer() {
    let (rig, api) = (Rig::new().await, Api::new().await);
    flapping(&api, 3);
    let text = rig.config_text().replace(rig.callem.base_url().as_str(), &api.server.uri());
    let path = rig.write_config(&text);
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_callwatch"));
    let output = command.args(["check", "--online", "-c"]).arg(path).output().await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    for field in ["recordingUrl", "callAnalysis.debug"] {
        let named = format!("`{field}` changes in every answer: add it to `ignore` of [sources.clinic]");
        assert!(said.contains(&named), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_was_empty_at_the_first_run_announces_no_old_calls() {
    let (rig, api) = (Rig::new().await, Api::new().await);
    let mut running = start(&rig, &api, "page_size = 10").await;
    running.baseline().await;
    let mut list = calls(25);
    for call in &mut list {
        call["updatedAt"] = call["createdAt"].clone();
    }
    api.has(list.clone());
    running
        .wait_for("old calls", |signal| {
            matches!(signal, Signal::SourceNotice { text, .. } if text.contains("from before callwatch was first started"))
        })
        .await;
    running.quiet_polls(10).await;
    let mut fresh = record("fresh", "completed");
    let now = callwatch::time::Clock::system().wall().after(Duration::from_secs(2)).to_string();
    (fresh["createdAt"], fresh["updatedAt"]) = (now.clone().into(), now.into());
    list.insert(0, fresh);
    api.has(list);
    arrived(&rig, 1).await;
    running.quiet_polls(10).await;
    running.stop().await;
    assert_eq!(told(&rig), ["fresh:ended"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_call_that_is_not_shown_for_a_while_is_neither_deleted_nor_updated() {
    let (rig, api) = (Rig::new().await, Api::new().await);
    api.has(calls(1));
    let mut running = start(&rig, &api, "").await;
    running.baseline().await;
    api.has(vec![]);
    trouble(
        &mut running,
        "1 of 1 calls is missing from the list; they count as deleted when that lasts for 10m",
    )
    .await;
    answers(&mut running, 60).await;
    api.has(calls(1));
    arrived(&rig, 2).await;
    running.quiet_polls(10).await;
    running.stop().await;
    assert_eq!(told(&rig), ["source.failing", "source.recovered"]);
}
