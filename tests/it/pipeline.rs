//! From the API to the receivers, through everything in between.

use std::{collections::BTreeMap, time::Duration};

use callwatch::{
    demo::{
        callem::{Asked, Failure, Order},
        receivers::{Message, Misbehaviour},
    },
    telemetry::Signal,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::rig::{PATIENCE, Rig, analyze, complete, record};

fn by_rule(rig: &Rig) -> BTreeMap<String, usize> {
    rig.webhooks().into_iter().fold(BTreeMap::new(), |mut count, webhook| {
        *count.entry(webhook.rule).or_default() += 1;
        count
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_of_the_example_fire_once_each_on_the_way_of_a_call() {
    let rig = Rig::new().await;
    for n in 0..30 {
        let mut old = record(&format!("old{n}"), "completed");
        analyze(&mut old, "negative", true);
        rig.callem.add(old);
    }
    let mut running = rig.start().await;
    assert_eq!(running.baseline().await, (30, 0), "what was there is remembered, not announced");

    rig.callem.add(record("a", "live"));
    running
        .wait_for(
            "the start",
            |s| matches!(s, Signal::Changed { kinds, .. } if kinds.to_string() == "started"),
        )
        .await;
    rig.callem.update("a", complete);
    running
        .wait_for("the end", |s| matches!(s, Signal::Changed { kinds, .. } if kinds.to_string() == "ended"))
        .await;
    rig.callem.update("a", |call| analyze(call, "negative", true));
    running
        .wait_for(
            "the analysis",
            |s| matches!(s, Signal::Changed { kinds, .. } if kinds.to_string() == "analyzed"),
        )
        .await;
    rig.callem.update("a", |call| call["summary"] = "A later edit.".into());
    running
        .wait_for(
            "the edit",
            |s| matches!(s, Signal::Changed { kinds, .. } if kinds.to_string() == "updated"),
        )
        .await;
    running.quiet_polls(3).await;
    let tally = running.settled().await;
    // The front desk is told of both rules of the analysis in one message.
    assert_eq!((tally.delivered, tally.dead), (5, 0));
    running.stop().await;

    let webhooks = rig.webhooks();
    assert!(webhooks.iter().all(|webhook| webhook.verified && webhook.call == "a"));
    let mut said: Vec<_> =
        webhooks.iter().map(|w| (w.sequence, w.rule.as_str(), w.kinds.join("+"))).collect();
    said.sort_unstable();
    assert_eq!(
        said,
        [
            (1, "call-completed", "ended".to_owned()),
            (2, "call-completed", "analyzed".to_owned()),
            (3, "booked", "analyzed".to_owned()),
        ]
    );
    let arrived: Vec<u64> = webhooks.iter().map(|webhook| webhook.sequence).collect();
    assert_eq!(arrived, [1, 2, 3], "in order");
    let texts = rig.slack_texts();
    assert_eq!(texts, ["Unhappy caller +33612345678"]);
    assert_eq!(rig.mail_titles(), ["Unhappy caller +33612345678"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_one_message_in_slack_over_restarts_and_lost_answers() {
    let rig = Rig::new().await;
    let (token, api_url) = (rig.frontdesk.token(), rig.frontdesk.api_url());
    let text = rig.config_text().replace(
        &format!("webhook_url = \"{}\"", rig.frontdesk.url()),
        &format!("token = \"{token}\"\nchannel = \"#calls\"\napi_url = \"{api_url}\""),
    );
    let text = format!("{text}\n[rules.follow]\non = [\"started\", \"ended\"]\nto = [\"frontdesk\"]\n")
        .replace("title = \"Unhappy", "severity = \"critical\"\ntitle = \"Unhappy");
    let mut running = rig.start_with(rig.parse(&text)).await;
    running.baseline().await;
    // The message is posted, and the answer lost.
    rig.frontdesk.misbehave(1, Misbehaviour::LoseAnswer);
    rig.callem.add(record("a", "live"));
    running.wait_for("a", |s| matches!(s, Signal::Changed { call, .. } if call.as_str() == "a")).await;
    running.settled().await;
    running.stop().await;

    let mut running = rig.start_with(rig.parse(&text)).await;
    rig.callem.update("a", complete);
    running.wait_for("its end", |s| matches!(s, Signal::Changed { .. })).await;
    running.settled().await;
    rig.callem.update("a", |call| analyze(call, "negative", true));
    running.wait_for("its analysis", |s| matches!(s, Signal::Changed { .. })).await;
    let tally = running.settled().await;
    assert_eq!(tally.dead, 0);
    running.stop().await;

    let channel = rig.frontdesk.channel();
    let title = |message: &Value| message["blocks"][0]["text"]["text"].as_str().unwrap().to_owned();
    let said: Vec<_> = channel.iter().map(|it| (title(&it.message), it.edits, it.thread.is_some())).collect();
    let unhappy = "🚨 Unhappy caller +33612345678".to_owned();
    assert_eq!(said, [(unhappy.clone(), 2, false), (unhappy, 0, true)]);
    let message = channel[0].message.to_string();
    let because =
        "Sentiment: negative (rule *unhappy-caller*); Appointment booked: yes (rule *booked*); rule *follow*";
    assert!(message.contains(because), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_repeats_nothing_and_loses_nothing() {
    let rig = Rig::new().await;
    rig.callem.add(record("old", "completed"));
    rig.callem.add(record("a", "live"));
    let mut running = rig.start().await;
    running.baseline().await;
    rig.callem.add(record("b", "live"));
    running.wait_for("b", |s| matches!(s, Signal::Changed { call, .. } if call.as_str() == "b")).await;
    running.stop().await;

    // Meanwhile one call ends, one starts and ends, one is deleted, and an old one stays as it was.
    rig.callem.update("a", complete);
    let mut c = record("c", "live");
    complete(&mut c);
    analyze(&mut c, "negative", false);
    rig.callem.add(c);
    let mut running = rig.start().await;
    running.quiet_polls(5).await;
    running.settled().await;
    running.stop().await;

    let mut running = rig.start().await;
    running.quiet_polls(5).await;
    assert_eq!(running.count("changes"), 0, "nothing happened meanwhile");
    running.stop().await;

    let mut said: Vec<_> = rig.webhooks().into_iter().map(|w| (w.call, w.rule, w.kinds.join("+"))).collect();
    said.sort_unstable();
    let expected = [("a", "call-completed", "ended"), ("c", "call-completed", "ended+analyzed")];
    assert_eq!(said, expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));
    assert_eq!(rig.mail_titles().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_baseline_goes_on_where_it_was() {
    let rig = Rig::new().await;
    for n in 0..500 {
        // Nobody waits for an analysis of a call that ended long ago.
        let mut old = record(&format!("old{n:03}"), "completed");
        old["updatedAt"] = old["createdAt"].clone();
        rig.callem.add(old);
    }
    let mut config = rig.config();
    config.sources[0].page_size = 20;
    config.sources[0].requests_per_minute = 1200;
    let mut running = rig.start_with(config.clone()).await;
    running
        .wait_for(
            "half of the baseline",
            |s| matches!(s, Signal::BaselineProgress { found, .. } if *found >= 200),
        )
        .await;
    running.stop().await;
    let before = rig.callem.requests().len();
    let mut running = rig.start_with(config).await;
    assert_eq!(running.baseline().await, (500, 0));
    let Asked::Page { query } = &rig.callem.requests()[before].asked else { panic!("a page") };
    let offset: u64 = query.rsplit('=').next().unwrap().parse().unwrap();
    assert!(offset > 150, "it began anew, with {query}");
    running.stop().await;
    assert_eq!(rig.webhooks(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn notify_since_announces_recent_calls_on_the_first_run() {
    let rig = Rig::new().await;
    rig.callem.add(record("old", "completed"));
    let mut recent = record("recent", "completed");
    let now = callwatch::time::Clock::system().wall();
    recent["createdAt"] = now.before(Duration::from_secs(60)).to_string().into();
    rig.callem.add(recent);
    let mut config = rig.config();
    config.sources[0].notify_since = Duration::from_secs(3600);
    let mut running = rig.start_with(config).await;
    assert_eq!(running.baseline().await, (2, 1));
    running.settled().await;
    running.stop().await;
    let calls: Vec<String> = rig.webhooks().into_iter().map(|webhook| webhook.call).collect();
    assert_eq!(calls, ["recent"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_found_while_the_baseline_is_taken_is_news_when_it_was_created_after_it_began() {
    let rig = Rig::new().await;
    rig.callem.set_order(Order::OldestFirst);
    for n in 0..300 {
        rig.callem.add(record(&format!("old{n:03}"), "completed"));
    }
    let mut config = rig.config();
    config.sources[0].page_size = 10;
    config.sources[0].requests_per_minute = 1200;
    let mut running = rig.start_with(config).await;
    running.wait_for("a page", |s| matches!(s, Signal::BaselineProgress { .. })).await;
    let mut fresh = record("fresh", "live");
    complete(&mut fresh);
    let later = callwatch::time::Clock::system().wall().after(Duration::from_secs(5));
    fresh["createdAt"] = later.to_string().into();
    rig.callem.add(fresh);
    running.baseline().await;
    running.quiet_polls(3).await;
    running.settled().await;
    running.stop().await;
    let calls: Vec<String> = rig.webhooks().into_iter().map(|webhook| webhook.call).collect();
    assert_eq!(calls, ["fresh"]);
}

/// The response of the API's documentation, with a field nobody knows yet.
const SEED: &str = r#"{
  "id": "6789abcdef0123456789abcd", "status": "completed", "duration": 145,
  "summary": "The caller asked about appointment availability next Tuesday. …", "evaluation": "success",
  "endedReason": "user_hangup", "callerNumber": "+33612345678", "calledNumber": "+33198765432", "isEngaged": true,
  "callAnalysis": { "sentiment": "positive", "leadQuality": "hot", "appointmentBooked": true },
  "transcript": [
    { "role": "assistant", "content": "Hello, thank you for calling Acme Clinic. …" },
    { "role": "user", "content": "Hi, I'd like to book an appointment for next Tuesday." }
  ],
  "createdAt": "2025-12-15T14:30:00.000Z", "updatedAt": "2125-12-15T14:32:25.000Z",
  "queue": { "name": "front ☎", "wait": 1.50, "path": null }
}"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_call_goes_through_unchanged_unknown_fields_included() {
    let rig = Rig::new().await;
    let mut running = rig.start().await;
    running.baseline().await;
    let seed: Value = serde_json::from_str(SEED).unwrap();
    rig.callem.add(seed.clone());
    timeout(PATIENCE, rig.crm.inbox().wait_for(2)).await.unwrap();
    running.settled().await;
    running.stop().await;
    let as_sent = serde_json::to_string(&seed).unwrap();
    for arrival in rig.crm.inbox().arrivals() {
        let Message::Webhook { body, headers, .. } = &arrival.message else { panic!("a webhook") };
        let body = std::str::from_utf8(body).unwrap();
        assert!(body.contains(&format!(r#""call":{as_sent}"#)), "byte for byte: {body}");
        // The reference library agrees about the signature.
        let library = standardwebhooks::Webhook::new(callwatch::demo::receivers::DEMO_SECRET).unwrap();
        let mut theirs = http_headers();
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            theirs.insert(name, headers[name].to_str().unwrap().parse().unwrap());
        }
        library.verify(body.as_bytes(), &theirs).unwrap();
    }
}

fn http_headers() -> reqwest::header::HeaderMap {
    reqwest::header::HeaderMap::new()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_api_answers_no_event_is_lost_or_made_up() {
    let rig = Rig::new().await;
    for n in 0..5 {
        rig.callem.add(record(&format!("old{n}"), "completed"));
    }
    rig.callem.add(record("a", "live"));
    let mut running = rig.start().await;
    running.baseline().await;
    let failures = [
        Failure::Status(500),
        Failure::Status(404),
        Failure::Status(400),
        Failure::Html,
        Failure::HalfBody,
        Failure::Reset,
        Failure::WrongShape,
        Failure::RateLimited { retry_after: None },
    ];
    for (n, failure) in failures.into_iter().enumerate() {
        // A live call can be answered 404 without being gone, so only the list counts as failing then.
        // A connection that is reset while idle is opened again without a word, so it takes two to be felt.
        rig.callem.fail_next(if failure == Failure::Reset { 2 } else { 1 }, failure);
        running
            .wait_for(&format!("{failure:?}"), |s| {
                matches!(s, Signal::FetchFailed { .. })
                    || failure == Failure::Status(404) && matches!(s, Signal::Fetched { .. })
            })
            .await;
        rig.callem.add(record(&format!("during{n}"), "live"));
        rig.callem.heal();
        running.wait_for("an answer", |s| matches!(s, Signal::Fetched { .. })).await;
    }
    rig.callem.update("a", complete);
    timeout(PATIENCE, rig.crm.inbox().wait_for(1)).await.expect("the end of the call arrives");
    running.quiet_polls(10).await;
    running.settled().await;
    assert_eq!(running.count("changes"), 9, "eight started, one ended");
    running.stop().await;
    assert_eq!(by_rule(&rig), BTreeMap::from([("call-completed".to_owned(), 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_is_told_and_tried_again_and_nothing_crashes() {
    let rig = Rig::new().await;
    let mut running = rig.start().await;
    running.baseline().await;
    rig.callem.fail_next(1, Failure::Unauthorized);
    let told = running.wait_for("the refusal", |s| matches!(s, Signal::FetchFailed { .. })).await;
    let Signal::FetchFailed { error, refused, .. } = &*told else { panic!("just matched") };
    assert!(*refused && error.contains("api_key") && !error.contains("ck_live"), "{error}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_record_costs_only_itself() {
    let rig = Rig::new().await;
    let mut running = rig.start().await;
    running.baseline().await;
    rig.callem.add(json!({"id": "odd", "status": 7, "transcript": "secret words"}));
    rig.callem.add(record("a", "completed"));
    timeout(PATIENCE, rig.crm.inbox().wait_for(1)).await.expect("the good record is delivered");
    assert!(running.count("bad_records") >= 1);
    running.stop().await;
    assert_eq!(rig.webhooks()[0].call, "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn nulls_unknown_statuses_and_a_megabyte_of_transcript_are_carried_through() {
    let rig = Rig::new().await;
    let text = rig.config_text().replace(r#"on = ["ended", "analyzed"]"#, r#"on = ["ended", "updated"]"#);
    let mut running = rig.start_with(rig.parse(&text)).await;
    running.baseline().await;
    let mut nulls = record("nulls", "wrapping_up");
    for (name, value) in nulls.as_object_mut().unwrap() {
        if !["id", "status"].contains(&name.as_str()) {
            *value = Value::Null;
        }
    }
    rig.callem.add(nulls.clone());
    let mut long = record("long", "completed");
    long["transcript"] = json!([{"role": "user", "content": "word ".repeat(200_000)}]);
    rig.callem.add(long.clone());
    timeout(PATIENCE, rig.crm.inbox().wait_for(2)).await.expect("both arrive");
    running.stop().await;
    let mut calls: Vec<Value> = rig.webhooks().into_iter().map(|w| w.body["data"]["call"].clone()).collect();
    calls.sort_by_key(|call| call["id"].to_string());
    assert_eq!(calls, [long, nulls]);
    let blobs = rig.store_path().join("blobs");
    let blobs = std::fs::read_dir(blobs).map_or(0, Iterator::count);
    assert_eq!(blobs, 0, "no value may become a file that is never synced");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_refuses_delays_no_other_and_its_deliveries_end_dead_with_the_reason() {
    let rig = Rig::new().await;
    let text = rig.config_text().replacen(
        r#"retry = ["100ms", "200ms", "500ms", "1s", "1s", "1s", "1s", "1s", "1s"]"#,
        r#"retry = ["100ms"]"#,
        1,
    );
    let mut running = rig.start_with(rig.parse(&text)).await;
    running.baseline().await;
    rig.crm.misbehave(u64::MAX, Misbehaviour::Status { code: 500, retry_after: None });
    let mut call = record("a", "completed");
    analyze(&mut call, "negative", true);
    rig.callem.add(call);
    timeout(PATIENCE, rig.frontdesk.inbox().wait_for(1)).await.expect("Slack is told of both rules");
    timeout(PATIENCE, rig.manager.inbox().wait_for(1)).await.expect("the manager is told");
    let dead = running
        .wait_for("a dead delivery", |s| {
            matches!(s, Signal::Attempted { verdict: callwatch::store::Verdict::Dead(_), .. })
        })
        .await;
    let Signal::Attempted { result, .. } = &*dead else { panic!("just matched") };
    assert!(result.contains("500"), "{result}");
    let tally = running.settled().await;
    assert_eq!((tally.delivered, tally.dead), (2, 2), "two rules tell the CRM, in vain");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sources_are_watched_and_never_mixed_up() {
    let rig = Rig::new().await;
    let garage = callwatch::demo::callem::SimulatedCallem::start().await.unwrap();
    garage.set_rate_limit(None);
    garage.set_key(&format!("ck_live_{}", "1".repeat(60)));
    let text = rig.config_text().replace(
        "[destinations.crm]",
        &format!(
            "[sources.garage]\napi_key = \"ck_live_{}\"\nbase_url = \"{}\"\ninterval = \"100ms\"\nrequests_per_minute = 6000\n\n[destinations.crm]",
            "1".repeat(60),
            garage.base_url()
        ),
    );
    let mut running = rig.start_with(rig.parse(&text)).await;
    running.baseline().await;
    running.baseline().await;
    // The same id in both: two projects are two worlds.
    rig.callem.add(record("a", "completed"));
    garage.add(record("a", "completed"));
    timeout(PATIENCE, rig.crm.inbox().wait_for(2)).await.expect("both arrive");
    running.quiet_polls(6).await;
    running.settled().await;
    running.stop().await;
    let mut sources: Vec<String> =
        rig.webhooks().iter().map(|w| w.body["data"]["source"].as_str().unwrap().to_owned()).collect();
    sources.sort_unstable();
    assert_eq!(sources, ["clinic", "garage"]);
    let ids: std::collections::BTreeSet<String> = rig.webhooks().into_iter().map(|w| w.id).collect();
    assert_eq!(ids.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_fails_for_a_while_is_told_once_and_so_is_its_recovery() {
    let rig = Rig::new().await;
    let text = rig.config_text().replace("[destinations.crm]", "failing_after = \"300ms\"\n\n[destinations.crm]").replace(
        "[rules.booked]",
        "[rules.trouble]\non = [\"source.failing\", \"source.recovered\"]\nto = [\"crm\", \"frontdesk\", \"manager\"]\n\n[rules.booked]",
    );
    let mut running = rig.start_with(rig.parse(&text)).await;
    running.baseline().await;
    rig.callem.fail_next(u64::MAX, Failure::Status(500));
    timeout(PATIENCE, rig.crm.inbox().wait_for(1)).await.expect("the trouble is told");
    // A restart in the middle of it tells nothing again.
    running.stop().await;
    let mut running = rig.start_with(rig.parse(&text)).await;
    for _ in 0..3 {
        running.wait_for("a failure", |s| matches!(s, Signal::FetchFailed { .. })).await;
    }
    rig.callem.heal();
    timeout(PATIENCE, rig.crm.inbox().wait_for(2)).await.expect("the recovery is told");
    running.quiet_polls(3).await;
    running.settled().await;
    running.stop().await;
    let said: Vec<_> = rig
        .crm
        .inbox()
        .arrivals()
        .iter()
        .map(|arrival| match &arrival.message {
            Message::Webhook { body, .. } => serde_json::from_slice::<Value>(body).unwrap(),
            _ => panic!("a webhook"),
        })
        .collect();
    assert_eq!(said.len(), 2);
    assert_eq!(
        (said[0]["type"].as_str(), said[1]["type"].as_str()),
        (Some("source.failing"), Some("source.recovered"))
    );
    assert!(said[0]["data"]["details"]["error"].as_str().unwrap().contains("500"), "{}", said[0]);
    assert_eq!(said[0]["data"]["details"]["since"], said[1]["data"]["details"]["since"]);
    assert_eq!((rig.slack_texts().len(), rig.mail_titles().len()), (2, 2));
    println!("{:?} {:?}", rig.slack_texts(), rig.mail_titles());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_stands_twice_in_one_answer_is_told_once() {
    let page = |body: &str| wiremock::ResponseTemplate::new(200).set_body_raw(body, "application/json");
    let api = wiremock::MockServer::start().await;
    let mut later = record("a", "completed");
    later["updatedAt"] = "2125-12-15T14:40:00.000Z".into();
    let twice = json!({"data": [record("a", "live"), later], "pagination": {"total": 1}}).to_string();
    let first = wiremock::Mock::given(wiremock::matchers::any()).respond_with(page(r#"{"data":[]}"#));
    first.up_to_n_times(2).mount(&api).await;
    wiremock::Mock::given(wiremock::matchers::any()).respond_with(page(&twice)).mount(&api).await;
    let rig = Rig::new().await;
    let text = rig.config_text().replace(rig.callem.base_url().as_str(), &api.uri());
    let mut running = rig.start_with(rig.parse(&text)).await;
    timeout(PATIENCE, rig.crm.inbox().wait_for(1)).await.expect("it is told");
    running.quiet_polls(5).await;
    running.stop().await;
    assert_eq!(rig.webhooks().len(), 1);
    assert_eq!(rig.webhooks()[0].body["data"]["call"]["status"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_not_utf8_costs_only_itself() {
    let api = wiremock::MockServer::start().await;
    let mut body = br#"{"data":[{"id":"a","status":"completed","summary":"caf"#.to_vec();
    body.push(0xe9);
    body.extend(br#""},{"id":"b","status":"completed"}],"pagination":{"total":2}}"#);
    let empty = wiremock::ResponseTemplate::new(200).set_body_raw(r#"{"data":[]}"#, "application/json");
    wiremock::Mock::given(wiremock::matchers::any()).respond_with(empty).up_to_n_times(2).mount(&api).await;
    let page = wiremock::ResponseTemplate::new(200).set_body_raw(body, "application/json");
    wiremock::Mock::given(wiremock::matchers::any()).respond_with(page).mount(&api).await;
    let rig = Rig::new().await;
    let text = rig.config_text().replace(rig.callem.base_url().as_str(), &api.uri());
    let running = rig.start_with(rig.parse(&text)).await;
    timeout(PATIENCE, rig.crm.inbox().wait_for(2)).await.expect("both are told");
    running.stop().await;
    let mut calls: Vec<String> = rig.webhooks().into_iter().map(|webhook| webhook.call).collect();
    calls.sort_unstable();
    assert_eq!(calls, ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_asks_to_be_left_alone_for_long_is_told_to_be_failing() {
    let rig = Rig::new().await;
    let text = rig
        .config_text()
        .replace("[destinations.crm]", "failing_after = \"300ms\"\n\n[destinations.crm]")
        .replace(
            "[rules.booked]",
            "[rules.trouble]\non = [\"source.failing\"]\nto = [\"crm\"]\n\n[rules.booked]",
        );
    let mut running = rig.start_with(rig.parse(&text)).await;
    running.baseline().await;
    rig.callem.fail_next(1, Failure::RateLimited { retry_after: Some(Duration::from_secs(3600)) });
    timeout(PATIENCE, rig.crm.inbox().wait_for(1)).await.expect("it is told though nothing is asked");
    running.stop().await;
    assert_eq!(rig.webhooks()[0].rule, "trouble");
}
